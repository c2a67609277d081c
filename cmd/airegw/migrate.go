package main

import (
	"context"
	"encoding/json"
	"fmt"

	"airegw/gateway/store"
)

// migrateCmd groups the moves between databases.
type migrateCmd struct {
	Keys             keysCmd `cmd:"" name:"keys" help:"Encrypt everything with the newest key of the key file. May be stopped and begun again. A running server does the same by itself, within the hour."`
	SQLiteToPostgres moveCmd `cmd:"" name:"sqlite-to-postgres" help:"Copy a database into an empty PostgreSQL and compare counts, digests and the audit chain; all of it arrives or nothing. Stop the server first."`
}

type moveCmd struct {
	From        string `help:"SQLite database file; it is only read, but for sealing its audit trail." default:"data/airegw.db" type:"path"`
	ToURLFile   string `help:"File with the address of the PostgreSQL database, as database.url_file of the configuration." name:"to-url-file" required:"" type:"existingfile" placeholder:"FILE"`
	Keys        string `help:"Key file of the database; it stays the same." default:"data/keys/database.keys" type:"path"`
	Environment string `help:"What the database is marked as." enum:"simulation,production" default:"simulation"`
	JSON        bool   `help:"Machine output." name:"json"`
}

// Run moves one database.
func (c *moveCmd) Run(ctx context.Context, std streams) error {
	address, err := readAddress(c.ToURLFile)
	if err != nil {
		return err
	}
	moved, report, err := store.Move(ctx, store.MoveOptions{
		From: c.From, To: address, Keys: c.Keys, Environment: c.Environment,
	})
	if err != nil {
		return bad("migrate: %w", err)
	}
	if c.JSON {
		err = json.NewEncoder(std.out).Encode(map[string]any{"tables": moved, "audit": report})
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	} else {
		for _, m := range moved {
			fmt.Fprintf(std.out, "%-16s %8d rows, the same on both sides, sha256 %.16s\n", m.Table, m.Rows, m.SHA256)
		}
		printReport(std, report)
	}
	if !report.OK() {
		return bad("audit chain: first bad entry, before and after: %+v", *report.Bad)
	}
	return nil
}
