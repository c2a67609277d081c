package testharness

import (
	"testing"
	"time"

	"airegw/gateway"
	"airegw/testharness/coresim"
	"airegw/testharness/sim"
)

// report makes the day's comparison and answers it.
func (w *flow) report() gateway.Reconciliation {
	w.t.Helper()
	w.drain("reconcile", w.g.ReconcileOnce)
	reports, err := w.app.Store.Reconciliations(w.ctx, 1)
	if err != nil || len(reports) != 1 || reports[0].Day != w.clock.Now().Format(time.DateOnly) {
		w.t.Fatalf("%+v %v", reports, err)
	}
	return reports[0]
}

// codes answers the codes of a report's differences.
func codes(r gateway.Reconciliation) (all []string) {
	for _, d := range r.Differences {
		all = append(all, d.Code)
	}
	return all
}

func TestEventsThatFeedAndPushLostHealByTheDailyComparison(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.relayed(d, ask(ordinary(t, 0)))
	if r := w.report(); r.Found != 0 || r.Orders != 0 {
		t.Errorf("nothing happened yet: %+v", r)
	}
	// The cursor moves past two events that nobody kept.
	w.core(number, 2)
	w.must("lose", w.app.Store.SaveCoreEvents(w.ctx, nil, w.coreCursor()))
	w.news()
	w.is(d, number, gateway.StateRelayed)
	w.drain("reconcile", w.g.ReconcileOnce) // not twice a day
	w.is(d, number, gateway.StateRelayed)
	w.pass(24 * time.Hour)
	r := w.report()
	if r.Found != 2 || r.Open != 0 || r.Events != 2 || r.Differences[0].Code != gateway.DiffEventLost {
		t.Errorf("%+v", r)
	}
	w.news()
	w.is(d, number, gateway.StateInProduction)
	w.pass(24 * time.Hour)
	if r := w.report(); r.Found != 0 {
		t.Errorf("healed and found again: %+v", r)
	}
	w.sound()
}

func TestAnOrderThatIsBehindIsReadAgainFromTheBeginning(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number, other := w.relayed(d, ask(ordinary(t, 0))), w.relayed(d, ask(ordinary(t, 1)))
	w.core(number, 1)
	w.must("lose", w.app.Store.SaveCoreEvents(w.ctx, nil, w.coreCursor()))
	// Three reports that saw nothing: the next begins after the lost event.
	now := w.clock.Now()
	for range 3 {
		now = now.Add(24 * time.Hour)
		day := now.Format(time.DateOnly)
		_, _, err := w.app.Store.BeginReconciliation(w.ctx, day, now)
		w.must("begin", err)
		w.must("keep", w.app.Store.KeepReconciliation(w.ctx, gateway.Reconciliation{Day: day, BegunAt: now, FinishedAt: now, Next: w.coreCursor()}))
	}
	w.pass(4 * 24 * time.Hour)
	r := w.report()
	if got := codes(r); len(got) != 2 || got[0] != gateway.DiffEventsMissing || got[1] != gateway.DiffEventLost || r.Orders != 2 {
		t.Errorf("%+v", r)
	}
	w.news()
	w.is(d, number, gateway.StateCertified)
	w.is(d, other, gateway.StateRelayed)
}

func TestWhatCannotHealIsNamedInTheDailyReport(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	cancelled, parked := w.relayed(d, ask(ordinary(t, 0))), w.relayed(d, ask(ordinary(t, 1)))
	w.cancelBehindOurBack(cancelled)
	w.must("plan", w.sims.Core.SetPlan(coresim.Plan{RequestID: parked, Steps: []coresim.PlanStep{{Type: "in_production"}}, Misbehave: true}))
	w.advance(parked, 1)
	w.pass(25 * time.Hour)
	r := w.report()
	found := map[string]bool{}
	for _, c := range codes(r) {
		found[c] = true
	}
	if !found[gateway.DiffCancelled] || !found[gateway.DiffEventParked] || r.Open != r.Found || r.Found < 2 {
		t.Errorf("%+v", r)
	}
	// A core that does not answer is no difference.
	w.pass(24 * time.Hour)
	w.coreFault(sim.Rule{Name: sim.FaultHTTP503, Probability: 1})
	if r := w.report(); r.Unanswered == 0 || r.Found != 1 {
		t.Errorf("%+v", r)
	}
}

func TestAnEventThatIsHeldBackIsAppliedWhenItComes(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.relayed(d, ask(ordinary(t, 0)))
	w.coreFault(sim.Rule{Name: coresim.FaultHoldEvents, Count: 1, Param: "240h"})
	w.advance(number, 2)
	w.is(d, number, gateway.StateRelayed)
	w.must("release", w.sims.Core.ReleaseHeld())
	w.news()
	w.is(d, number, gateway.StateInProduction)
	w.sound()
}

// coreCursor answers the end of the core's feed.
func (w *flow) coreCursor() string {
	w.t.Helper()
	page, err := w.coreClient().Feed(w.ctx, "", 500)
	w.must("feed", err)
	return page.Next
}
