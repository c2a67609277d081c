package storetest

import (
	"slices"
	"testing"
	"time"

	"airegw/gateway"
)

func reconciliationsKept(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	kept := coreEvent(r.ID+".1", 1)
	must(t, b.SaveCoreEvents(b.ctx, []gateway.CoreEvent{kept, coreEvent("o.1", 2)}, "c"))
	must(t, b.ParkCoreEvent(b.ctx, r.ID+".1", 1, "why"))
	begin := func(day string, mine bool, from string) {
		t.Helper()
		got, cursor, err := b.BeginReconciliation(b.ctx, day, b.clock.Now())
		if err != nil || got != mine || cursor != from {
			t.Errorf("%s: %v %q %v, wanted %v %q", day, got, cursor, err, mine, from)
		}
	}
	keep := func(day, next string) {
		t.Helper()
		must(t, b.KeepReconciliation(b.ctx, gateway.Reconciliation{
			Day: day, BegunAt: b.clock.Now(), FinishedAt: b.clock.Now(), Next: next, Found: 1, Differences: []gateway.Difference{{Code: "x", OrderKey: "o.1"}},
		}))
	}
	begin("2026-11-21", true, "")
	begin("2026-11-21", false, "") // another replica
	b.clock.Advance(2 * time.Hour)
	begin("2026-11-21", true, "") // which died over it
	keep("2026-11-21", "c1")
	begin("2026-11-21", false, "") // done
	begin("2026-11-22", true, "")
	keep("2026-11-22", "c2")
	begin("2026-11-23", true, "c1") // a day is read twice
	keep("2026-11-23", "c3")
	begin("2026-11-24", true, "c2")
	reports, err := b.Reconciliations(b.ctx, 2)
	if err != nil || len(reports) != 2 || reports[0].Day != "2026-11-23" || reports[1].Day != "2026-11-22" || len(reports[0].Differences) != 1 {
		t.Errorf("%+v %v", reports, err)
	}

	// Whose requests are among some numbers, each office for itself.
	elsewhere := b.create(t, 2, buenosAires)
	for office, want := range map[gateway.Office]string{castello: r.ID, buenosAires: elsewhere.ID} {
		rows, err := b.Find(b.ctx, gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorOperator, ID: "op", Office: office}), gateway.Criteria{Numbers: []string{elsewhere.ID, "o", r.ID}})
		if err != nil || len(rows) != 1 || rows[0].ID != want {
			t.Errorf("%s: %+v %v", office.ID(), rows, err)
		}
	}

	other := kept
	other.Type = "another"
	lost, differ, err := b.CompareCoreEvents(b.ctx, []gateway.CoreEvent{kept, coreEvent(r.ID+".1", 2)})
	if err != nil || len(differ) != 0 || len(lost) != 1 || lost[0].Seq != 2 {
		t.Errorf("lost %+v, differ %+v, %v", lost, differ, err)
	}
	lost, differ, err = b.CompareCoreEvents(b.ctx, []gateway.CoreEvent{other})
	if err != nil || len(differ) != 1 || len(lost) != 0 {
		t.Errorf("lost %+v, differ %+v, %v", lost, differ, err)
	}
	for _, c := range []struct {
		before time.Time
		want   int
	}{{b.clock.Now().Add(-3 * time.Hour), 1}, {b.clock.Now(), 2}} {
		waiting, err := b.UnappliedCoreEvents(b.ctx, c.before, 9)
		if err != nil || len(waiting) != c.want || !slices.Contains(waiting, gateway.UnappliedEvent{OrderKey: r.ID + ".1", Seq: 1, Type: kept.Type, Parked: "why"}) {
			t.Errorf("%+v %v", waiting, err)
		}
	}
	quiet, err := b.QuietRequests(b.ctx, []gateway.State{gateway.StateSubmitted, gateway.StateRelayed}, b.clock.Now(), 9)
	if err != nil || !slices.Equal(quiet, []string{r.ID}) {
		t.Errorf("%v %v", quiet, err)
	}
	quiet, err = b.QuietRequests(b.ctx, []gateway.State{gateway.StateRelayed}, b.clock.Now(), 9)
	if err != nil || len(quiet) != 0 {
		t.Errorf("%v %v", quiet, err)
	}
}
