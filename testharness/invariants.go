package testharness

import (
	"context"
	"fmt"
	"path/filepath"
	"sort"
	"time"

	"airegw/gateway/store"
)

// Judged is what CheckInvariants judges: a gateway's folder, read beside a
// running server, and the core's own testimony.
type Judged struct {
	Dir          string     // with airegw.db and keys/database.keys
	URL          string     // of the PostgreSQL database in place of airegw.db
	Conn         Connection // the simulators; its management must answer
	Acknowledged []string   // numbers somebody was given
	Now          time.Time
	Quiet        bool // the run is over: every relayed key must have its acceptance by now
	Requests     int  // how many requests there must be; 0 does not ask
}

// CheckInvariants answers every breach of the promises, empty when they hold:
//
//	I1 every acknowledged request exists with its full history
//	I2 the core accepted each relayed key exactly once, and nothing else of ours;
//	   at most one live order per request
//	I4 the audit chain verifies
//	I5 nothing is in a non-final state without a due time, a mark or somebody's turn
//
// (I3, no byte of an office in another's answers, is the isolation matrix's.)
func CheckInvariants(ctx context.Context, j Judged) ([]string, error) {
	o := store.Options{
		Path: filepath.Join(j.Dir, "airegw.db"), Keys: filepath.Join(j.Dir, "keys", "database.keys"),
		Environment: store.Simulation, ReadOnly: true,
	}
	if j.URL != "" {
		o.Path, o.URL = "", j.URL
	}
	db, err := store.Open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open database to judge it: %w", err)
	}
	defer db.Close() //nolint:errcheck // read-only
	broken, err := db.Invariants(ctx, j.Now)
	if err != nil {
		return nil, fmt.Errorf("judge database: %w", err)
	}
	requests, err := db.Overview(ctx)
	if err != nil {
		return nil, fmt.Errorf("judge database: %w", err)
	}
	for _, number := range j.Acknowledged {
		if _, ok := requests[number]; !ok {
			broken = append(broken, "I1: acknowledged and lost: "+number)
		}
	}
	if j.Requests > 0 && len(requests) != j.Requests {
		broken = append(broken, fmt.Sprintf("I1: %d requests where there were %d", len(requests), j.Requests))
	}
	ledger, err := j.Conn.CoreLedger(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the core: %w", err)
	}
	for _, v := range ledger.Violations {
		broken = append(broken, "I2: "+v)
	}
	for _, n := range ledger.Registry {
		if n.State == "refused" {
			broken = append(broken, fmt.Sprintf("the register refuses %s of %s: %s", n.Operation, n.OrderKey, n.Code))
		}
	}
	broken = append(broken, judgeOrders(requests, ledger, j.Quiet)...)
	report, err := db.VerifyAudit(ctx)
	if err != nil {
		return nil, fmt.Errorf("verify audit: %w", err)
	}
	if !report.OK() {
		broken = append(broken, fmt.Sprintf("I4: %+v", *report.Bad))
	}
	sort.Strings(broken)
	return broken, nil
}

// judgeOrders compares what we say we relayed with what the core says it took.
func judgeOrders(requests map[string]store.Overview, ledger CoreLedger, quiet bool) []string {
	var broken []string
	ours := map[string]bool{}
	for number, r := range requests {
		for _, key := range r.Relayed {
			ours[key] = true
			if n := ledger.Acceptances[key]; n != 1 {
				broken = append(broken, fmt.Sprintf("I2: %s relayed as %s, accepted %d times", number, key, n))
			}
		}
	}
	for key, n := range ledger.Acceptances {
		// An acceptance whose receipt has not reached us yet is no breach while
		// the run goes on: the relay asks and finds it.
		if quiet && !ours[key] {
			broken = append(broken, fmt.Sprintf("I2: the core accepted %s %d times, we never learned", key, n))
		}
	}
	for request, keys := range ledger.Live {
		if len(keys) > 1 {
			broken = append(broken, fmt.Sprintf("I2: %s has %d live orders", request, len(keys)))
		}
	}
	return broken
}
