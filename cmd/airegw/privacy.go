package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"airegw/anpr"
	"airegw/gateway"
	"airegw/gateway/store"
)

// This file holds what is asked of a database about personal data: the proofs of
// deletion, one person's data, the move to a new key.

type auditErasuresCmd struct {
	database
	JSON bool `help:"Machine output." name:"json"`
}

// Run lists the proofs of deletion beside a running server.
func (c *auditErasuresCmd) Run(ctx context.Context, std streams) error {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	report, err := db.Erasures(ctx)
	err = errors.Join(err, db.Close())
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(std.out).Encode(report)
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	} else {
		for _, e := range report.Erasures {
			fmt.Fprintf(std.out, "%s  %-16s %6d, of before %s, sha256 %.16s\n", e.At.Format(time.RFC3339), e.Class, e.Entries, e.Cutoff.Format(time.RFC3339), e.Digest)
		}
		fmt.Fprintf(std.out, "%d erasures\n", len(report.Erasures))
	}
	switch {
	case len(report.Unproven) > 0:
		return bad("%d erasures differ from the audit trail, the first: %s", len(report.Unproven), report.Unproven[0])
	case len(report.Left) > 0:
		return bad("left although due: %v", report.Left)
	}
	return nil
}

type auditPersonCmd struct {
	File string `arg:"" name:"code-file" help:"File with the person's fiscal code, - for standard input: a command line is read by others."`
	database
	Unrecorded bool `help:"Give the data out although a running server holds the database file and the trail cannot be written."`
}

// Run writes one person's data. It opens the database for writing, because who
// was given what belongs into the audit trail.
func (c *auditPersonCmd) Run(ctx context.Context, std streams) error {
	var raw []byte
	var err error
	if c.File == "-" {
		raw, err = io.ReadAll(io.LimitReader(std.in, 100))
	} else {
		raw, err = os.ReadFile(c.File)
	}
	if err != nil {
		return fmt.Errorf("read fiscal code: %w", err)
	}
	person, err := anpr.ParseFiscalCode(strings.ToUpper(strings.TrimSpace(string(raw))))
	if err != nil {
		return usage("that is no fiscal code")
	}
	o, err := c.options()
	if err != nil {
		return err
	}
	o.ReadOnly = c.Unrecorded
	db, err := store.Open(ctx, o)
	if errors.Is(err, store.ErrLocked) {
		return bad("a running server holds the database: the person can fetch the data at /citizen/data.json; or stop the server; or say --unrecorded")
	}
	if err != nil {
		return err
	}
	data, err := gateway.PersonData(ctx, db, person.Code, gateway.Actor{Kind: gateway.ActorOperator, ID: "command-line"}, time.Now().UTC(), !c.Unrecorded)
	err = errors.Join(err, db.Close())
	if err != nil {
		return err
	}
	enc := json.NewEncoder(std.out)
	enc.SetIndent("", "  ")
	err = enc.Encode(data)
	if err != nil {
		return fmt.Errorf("write data: %w", err)
	}
	return nil
}

type keysCmd struct {
	database
	JSON bool `help:"Machine output." name:"json"`
}

// Run moves every encrypted column to the newest key.
func (c *keysCmd) Run(ctx context.Context, std streams) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, o)
	if errors.Is(err, store.ErrLocked) {
		return bad("a running server holds the database: it moves to the newest key by itself; or stop it first")
	}
	if err != nil {
		return err
	}
	total, key := 0, ""
	for {
		var moved int
		moved, key, err = db.Rotate(ctx)
		total += moved
		if err != nil || moved == 0 {
			break
		}
	}
	if err == nil && total > 0 {
		err = db.Audit(ctx, gateway.AuditEntry{
			At: time.Now().UTC(), Actor: gateway.Actor{Kind: gateway.ActorOperator, ID: "command-line"}, Act: "keys_rotated", Subject: key,
			Payload: map[string]string{"columns": fmt.Sprint(total)},
		})
	}
	err = errors.Join(err, db.Close())
	if err != nil {
		return bad("moved %d columns to key %s, then: %w", total, key, err)
	}
	if c.JSON {
		err = json.NewEncoder(std.out).Encode(map[string]any{"key": key, "columns": total})
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		return nil
	}
	fmt.Fprintf(std.out, "%d columns encrypted anew; all are encrypted with key %s now\n", total, key)
	return nil
}
