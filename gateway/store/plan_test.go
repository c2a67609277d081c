package store

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"airegw/gateway"
)

// TestHotQueriesNeverReadAWholeTable holds each statement that runs all the
// time to an index: with a million requests a scan is an outage.
func TestHotQueriesNeverReadAWholeTable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(context.Background(), Options{
		Path: filepath.Join(dir, "a.db"), Keys: filepath.Join(dir, "k.json"), Environment: Simulation, SealEvery: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// A scan of what another part of the query left, of an index that holds only
	// what waits or is marked, and the one count that reads an index whole.
	fine := map[string]bool{
		"SCAN CONSTANT ROW": true, "SCAN p": true, "SCAN o": true, "SCAN x": true,
		"SCAN core_events USING INDEX core_events_pending":              true,
		"SCAN requests USING COVERING INDEX requests_mark":              true,
		"SCAN audit_blocks USING INDEX sqlite_autoindex_audit_blocks_1": true, // LIMIT 1
		"SCAN halves USING INDEX halves_kept":                           true,
		"SCAN requests USING INDEX requests_work":                       true, // what a worker has to do
		"SCAN outbox USING INDEX outbox_due":                            true, // what is to be sent
		"SCAN corrections USING INDEX corrections_office":               true, // once a minute, what is not closed
		"SCAN requests USING COVERING INDEX requests_office":            true,
	}
	var seen []string
	explain := func(name, text string, args ...any) {
		t.Helper()
		rows, err := s.reader.Query("EXPLAIN QUERY PLAN "+text, args...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer rows.Close()
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var step string
			err = rows.Scan(&id, &parent, &unused, &step)
			if err != nil {
				t.Fatal(err)
			}
			plan = append(plan, step)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, name)
		narrowed := strings.HasPrefix(name, "find person") || strings.HasPrefix(name, "find surname")
		for _, step := range plan {
			slow := strings.HasPrefix(step, "SCAN") && !fine[step]
			if narrowed && step == "SEARCH r USING INDEX requests_office (office_id=?)" {
				slow = true // all requests of an office, to find one person's
			}
			if slow {
				t.Errorf("%s: %s\n  %s", name, step, strings.Join(plan, "\n  "))
			}
		}
	}
	arguments := func(n int) []any { return make([]any, n) }
	explain("claim work", sqlClaimWork, arguments(3)...)
	explain("claim outbox", sqlClaimOutbox, arguments(3)...)
	explain("by key", sqlByKey, arguments(2)...)
	explain("open of person", sqlOpenOfPerson, arguments(1)...)
	explain("change", sqlChange, arguments(19)...)
	explain("stand", sqlStand, arguments(1)...)
	explain("applied", sqlApplied, arguments(2)...)
	explain("unpark outbox", sqlUnparkOutbox, arguments(2)...)
	explain("unpark core", sqlUnparkCore, arguments(1)...)
	explain("last block", sqlLastBlock)
	explain("notices of a request", sqlClearancesOf, arguments(2)...)
	explain("notices", sqlClearancesAll, arguments(2)...)
	explain("older notices", sqlClearancesPast, arguments(3)...)
	explain("open notices", sqlClearancesOpen, arguments(3)...)
	explain("more open notices", sqlClearancesNext, arguments(4)...)
	explain("count notices", sqlCountClearances, arguments(3)...)
	explain("overrule", sqlOverrule, arguments(2)...)
	explain("close notices", sqlCloseClearances, arguments(2)...)
	for _, text := range officeFollows {
		explain(text, text, arguments(2)...)
	}
	explain("pending", sqlPending, 10)
	explain("count states", sqlCountStates)
	explain("count work", sqlCountWork, 1)
	explain("claim corrections", sqlClaimCorrections, arguments(3)...)
	explain("claim followed", sqlClaimFollowed, arguments(3)...)
	explain("wipe", sqlWipeBefore, arguments(2)...)
	for _, text := range []string{
		sqlNearWorkLease, sqlNearOutboxLease, sqlBackWork, sqlBackOutbox, sqlBackCorrections, sqlBackDialogues,
		sqlNearWork, sqlNearOutbox, sqlNearCorrections, sqlNearDialogues, sqlWipeFuture,
	} {
		explain(text, text, arguments(2)...)
	}
	office := sight{office: castelloID}
	person := sight{person: strings.Repeat("0", 2*digestSize)}
	for name, v := range map[string]sight{"office": office, "person": person} {
		for criteria, q := range map[string]gateway.Criteria{
			"all":     {},
			"number":  {Number: "x"},
			"person":  {FiscalCode: "x"},
			"surname": {Surname: "x"},
			"marked":  {Marked: gateway.MarkParked},
			"after":   {After: "x"},
		} {
			text, args, ok := s.findQuery(v, q)
			if !ok {
				t.Fatalf("%s by %s finds nothing", name, criteria)
			}
			explain("find "+criteria+" as "+name, text, args...)
		}
	}
	if len(seen) < 30 {
		t.Errorf("only %d statements were looked at", len(seen))
	}
}

const castelloID = "comune:054013"
