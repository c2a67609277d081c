package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"airegw/gateway"
	"airegw/gateway/messages"
)

type auditReconcileCmd struct {
	database
	Days int  `help:"How many reports, the newest first." default:"1"`
	JSON bool `help:"Machine output: one JSON document." name:"json"`
}

// Run prints the last reports; the running gateway makes them, once a day.
func (c *auditReconcileCmd) Run(ctx context.Context, std streams) error {
	if c.Days < 1 || c.Days > 400 {
		return usage("--days is from 1 to 400")
	}
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	reports, err := db.Reconciliations(ctx, c.Days)
	err = errors.Join(err, db.Close())
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(std.out).Encode(map[string]any{"reports": reports})
		if err != nil {
			return fmt.Errorf("write reports: %w", err)
		}
	} else {
		printReconciliations(std, reports)
	}
	switch {
	case len(reports) == 0:
		return bad("no comparison with the core was made yet")
	case reports[0].Open > 0:
		return bad("%s: %d differences are open", reports[0].Day, reports[0].Open)
	}
	return nil
}

func printReconciliations(std streams, reports []gateway.Reconciliation) {
	for _, r := range reports {
		fmt.Fprintf(std.out, "%s: %d events read again, %d orders asked about, %d questions unanswered; %d differences, %d open\n",
			r.Day, r.Events, r.Orders, r.Unanswered, r.Found, r.Open)
		for _, d := range r.Differences {
			state := "open"
			if d.Healed {
				state = "healed"
			}
			fmt.Fprintf(std.out, "  %-6s %s event %d: %s (ours %q, the core's %q)\n", state, d.OrderKey, d.Seq, messages.Text(messages.EN, d.Code, nil), d.Ours, d.Theirs)
		}
	}
}
