package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"airegw/gateway/app"
	"airegw/gateway/store"
)

// database names a database for commands that read it beside a running server.
type database struct {
	Database    string `help:"Database file." default:"data/airegw.db" type:"path"`
	URLFile     string `help:"In place of a file: where the address of the PostgreSQL database is, as database.url_file of the configuration." name:"database-url-file" type:"existingfile" placeholder:"FILE"`
	Keys        string `help:"Key file of the database." default:"data/keys/database.keys" type:"path"`
	Environment string `help:"What the database is marked as." enum:"simulation,production" default:"simulation"`
}

// open opens it beside a running server, for reading.
func (d database) open(ctx context.Context) (*store.Store, error) {
	o, err := d.options()
	if err != nil {
		return nil, err
	}
	o.ReadOnly = true
	return store.Open(ctx, o)
}

func (d database) options() (store.Options, error) {
	o := store.Options{Path: d.Database, Keys: d.Keys, Environment: d.Environment}
	if d.URLFile != "" {
		address, err := readAddress(d.URLFile)
		if err != nil {
			return o, err
		}
		o.Path, o.URL = "", address
	}
	return o, nil
}

// readAddress answers the first line of a file that may hold a password.
func readAddress(path string) (string, error) {
	raw, err := app.ReadSecret(path)
	if err != nil {
		return "", fmt.Errorf("read address: %w", err)
	}
	address, _, _ := strings.Cut(strings.TrimSpace(string(raw)), "\n")
	return strings.TrimSpace(address), nil
}

type auditCmd struct {
	Verify    auditVerifyCmd    `cmd:"" help:"Verify the audit chain; names the first bad entry (exit 1)."`
	Erasures  auditErasuresCmd  `cmd:"" help:"What retention erased, each with its proof; exit 1 when one is not in the trail or something due is left."`
	Person    auditPersonCmd    `cmd:"" help:"Everything kept about one person, as JSON, for that person; recorded in the trail."`
	Login     auditLoginCmd     `cmd:"" help:"Print the transaction register of one login as JSON, its hash chain checked (exit 1 when it is broken). It holds personal data: for appointed staff only."`
	Reconcile auditReconcileCmd `cmd:"" help:"The daily comparison with the issuance core; exit 1 when a difference is open."`
}

type auditLoginCmd struct {
	database
	Reference string `arg:"" help:"Reference code of the login, as pages and log show it."`
}

// Run exports what is kept of a login, beside a running server.
func (c *auditLoginCmd) Run(ctx context.Context, std streams) error {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	export, err := db.ExportLogin(ctx, c.Reference)
	err = errors.Join(err, db.Close())
	if err != nil {
		return bad("login %s: %w", c.Reference, err)
	}
	e := json.NewEncoder(std.out)
	e.SetIndent("", "  ")
	err = e.Encode(export)
	if err != nil {
		return fmt.Errorf("write register: %w", err)
	}
	return nil
}

type auditVerifyCmd struct {
	database
	JSON bool `help:"Machine output." name:"json"`
}

// Run verifies the chain beside a running server.
func (c *auditVerifyCmd) Run(ctx context.Context, std streams) error {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	report, err := db.VerifyAudit(ctx)
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
		printReport(std, report)
	}
	if !report.OK() {
		return bad("audit chain: first bad entry: %+v", *report.Bad)
	}
	return nil
}

type backupCmd struct {
	Create  backupCreateCmd  `cmd:"" help:"A consistent copy with its manifest, beside a running server."`
	Restore backupRestoreCmd `cmd:"" help:"Prove a backup and put it in place; never overwrites."`
}

type backupCreateCmd struct {
	database
	To   string `arg:"" help:"File to write; it must not exist." type:"path"`
	JSON bool   `help:"Machine output." name:"json"`
}

// Run copies the database.
func (c *backupCreateCmd) Run(ctx context.Context, std streams) error {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	manifest, err := db.Backup(ctx, c.To)
	err = errors.Join(err, db.Close())
	if err != nil {
		return err
	}
	return printManifest(std, c.JSON, "backup "+c.To, manifest)
}

type backupRestoreCmd struct {
	From        string `arg:"" help:"Backup file; its manifest lies beside it." type:"existingfile"`
	To          string `arg:"" help:"Database file to make; it must not exist." type:"path"`
	Keys        string `help:"Key file of the database." default:"data/keys/database.keys" type:"path"`
	Environment string `help:"What the database is marked as." enum:"simulation,production" default:"simulation"`
	JSON        bool   `help:"Machine output." name:"json"`
}

// Run proves the backup, then restores it.
func (c *backupRestoreCmd) Run(ctx context.Context, std streams) error {
	manifest, report, err := store.Restore(ctx, store.RestoreOptions{From: c.From, To: c.To, Keys: c.Keys, Environment: c.Environment})
	if err != nil {
		return bad("restore: %w", err)
	}
	if !c.JSON {
		printReport(std, report)
	}
	return printManifest(std, c.JSON, "restored "+c.To, manifest)
}

func printReport(std streams, r store.Report) {
	fmt.Fprintf(std.out, "audit chain: %d entries, %d sealed in %d blocks, %d in the unsealed tail, %d erased payloads, head %.16s\n",
		r.Entries, r.Sealed, r.Blocks, r.Unsealed, r.Erased, r.Head)
}

func printManifest(std streams, asJSON bool, what string, m store.Manifest) error {
	if asJSON {
		err := json.NewEncoder(std.out).Encode(m)
		if err != nil {
			return fmt.Errorf("write manifest: %w", err)
		}
		return nil
	}
	fmt.Fprintf(std.out, "%s: %d bytes, schema %d, %d requests, %d events, audit head %.16s, sha256 %s\n",
		what, m.Bytes, m.Schema, m.Rows["requests"], m.Rows["events"], m.AuditHead, m.SHA256)
	return nil
}
