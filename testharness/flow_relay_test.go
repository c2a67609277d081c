package testharness

import (
	"context"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/testharness/coresim"
	"airegw/testharness/sim"
)

func TestNoDisorderOfTheCoreIsTakenForSuccessAndEachOrderIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{
		sim.FaultDropAnswer, sim.FaultHTTP503, sim.FaultCutBody, sim.FaultHTML200, sim.FaultEmpty200, sim.FaultDropRequest,
		coresim.FaultWrongSignature, coresim.FaultWrongTyp, coresim.FaultStaleAnswer,
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			w := newFlow(t, dawn)
			d := w.desk("H501")
			number := w.signed(d, ask(ordinary(t, 0)))
			key := number + ".1"
			// More often than one call tries, for the submission and for the question
			// that must follow it.
			w.coreFault(sim.Rule{Name: fault, Op: "submission", Match: key, Probability: 1})
			w.coreFault(sim.Rule{Name: fault, Op: "look_up", Match: key, Count: 4})
			w.relay()
			if n := w.sims.Core.Faults().Injected(fault); n == 0 {
				t.Fatal("the fault never happened")
			}
			r := w.is(d, number, gateway.StateSigned)
			if r.Order().Receipt != "" {
				t.Fatalf("a receipt out of %s: %s", fault, r.Order().Receipt)
			}
			if h := w.g.Health(w.ctx); h.Core.OK {
				t.Error("the core is thought to be well")
			}
			w.pass(time.Minute)
			w.relay()
			w.is(d, number, gateway.StateSigned)
			w.coreFault(sim.Rule{Name: fault, Op: "submission", Match: key})
			w.until("relayed", time.Minute, func() bool {
				w.relay()
				return w.open(d, number).State == gateway.StateRelayed
			})
			w.once(key)
			held, _ := w.sims.Core.Order(key)
			if r := w.open(d, number); r.Order().Receipt != held.ReceiptID {
				t.Errorf("receipt %q, the core gave %q", r.Order().Receipt, held.ReceiptID)
			}
			w.sound()
		})
	}
}

func TestAnAnswerThatComesTooLateIsNoSuccessAndNoSecondOrder(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn, func(c *app.Config) { c.Core.Deadline = 5 * time.Second })
	d := w.desk("H501")
	number := w.signed(d, ask(ordinary(t, 0)))
	key := number + ".1"
	// It waits on a clock that stands still: for ever.
	w.coreFault(sim.Rule{Name: sim.FaultSlow, Op: "submission", Match: key, Count: 10, Param: "24h"})
	w.relay()
	w.is(d, number, gateway.StateSigned)
	w.coreFault(sim.Rule{Name: sim.FaultSlow, Op: "submission", Match: key})
	w.until("relayed", time.Minute, func() bool {
		w.relay()
		return w.open(d, number).State == gateway.StateRelayed
	})
	w.once(key)
	w.sound()
}

func TestAnOldCheckIsMadeAgainBeforeTheOrderGoes(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	young, old := ordinary(t, 0), ordinary(t, 1)
	first, second := w.signed(d, ask(young)), w.signed(d, ask(old))
	w.pass(23 * time.Hour)
	w.relay()
	if n := len(w.checksOf(first)); n != 1 {
		t.Errorf("checked %d times within a day", n)
	}
	_ = second
	third := w.signed(d, ask(ordinary(t, 2)))
	w.pass(24*time.Hour + time.Second)
	w.relay()
	w.is(d, third, gateway.StateRelayed)
	if n := len(w.checksOf(third)); n != 2 {
		t.Errorf("checked %d times after a day", n)
	}
	r := w.open(d, third)
	if !r.Register.At.Equal(w.clock.Now()) {
		t.Errorf("the check of record is of %s", r.Register.At)
	}
	w.sound()
}

func TestAnOutageOfTheRegisterAtTheRelayWaits(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.signed(d, ask(ordinary(t, 0)))
	w.pass(25 * time.Hour)
	w.registerFault(sim.Rule{Name: "outage", Probability: 1})
	w.relay()
	r := w.is(d, number, gateway.StateSigned)
	if r.Mark.Kind == gateway.MarkParked {
		t.Fatalf("parked: %+v", r.Mark)
	}
	if accepted, _ := w.acceptances(number + ".1"); accepted != 0 {
		t.Fatal("sent on an old check")
	}
	w.registerFault(sim.Rule{Name: "outage"})
	w.until("relayed", time.Minute, func() bool {
		w.relay()
		return w.open(d, number).State == gateway.StateRelayed
	})
	w.once(number + ".1")
}

// Un-parking an order trusted the very answer that had parked it: a dead
// person's card was ordered.
func TestAnOrderParkedByTheRegisterIsAskedAboutAgainAndNotSent(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	clerk, referent := w.desk("H501"), w.deskOf("H501", gateway.RoleReferent)
	p := ordinary(t, 0)
	number := w.signed(clerk, ask(p))
	w.change(p.CF, func(p *sim.Person) { p.Status, p.DiedOn = sim.StatusDeceased, "2026-11-21" })
	w.pass(25 * time.Hour)
	w.relay()
	r := w.is(clerk, number, gateway.StateSigned)
	if r.Mark.Kind != gateway.MarkParked || r.Mark.Code != "register.deceased" {
		t.Fatalf("mark %+v", r.Mark)
	}
	refusedAs(t, clerk.Unpark(w.ctx, number), gateway.Forbidden, "referent_only")
	w.must("unpark", referent.Unpark(w.ctx, number))
	w.relay()
	r = w.is(clerk, number, gateway.StateSigned)
	if r.Mark.Kind != gateway.MarkParked || r.Mark.Code != "register.deceased" {
		t.Errorf("mark %+v", r.Mark)
	}
	if accepted, _ := w.acceptances(number + ".1"); accepted != 0 {
		t.Fatal("a dead person's card was ordered")
	}
	// It was a mistake of the register: corrected, it goes on.
	w.change(p.CF, func(p *sim.Person) { p.Status, p.DiedOn = sim.StatusAIRE, "" })
	w.must("unpark", referent.Unpark(w.ctx, number))
	w.relay()
	r = w.is(clerk, number, gateway.StateRelayed)
	if r.Mark != (gateway.Mark{}) {
		t.Errorf("mark %+v", r.Mark)
	}
	refusedAs(t, referent.Unpark(w.ctx, number), gateway.Conflict, "not_parked")
	w.once(number + ".1")
	w.sound()
}

func TestAVerdictOfTheCoreParksWithItsReasonAndIsNeverDiscarded(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.signed(d, ask(ordinary(t, 0)))
	w.cancelBehindOurBack(number)
	w.relay()
	r := w.is(d, number, gateway.StateSigned)
	if r.Mark.Kind != gateway.MarkParked || r.Mark.Code != "core_refuses" || r.Mark.Detail != "order_closed" || r.NextStep() != "next.parked" {
		t.Fatalf("mark %+v", r.Mark)
	}
	if tr := r.Tracking(); tr.Mark.Detail != "" {
		t.Error("the tracker tells the operator's detail")
	}
	// It rests: no time makes it go by itself.
	w.pass(1000 * time.Hour)
	again, err := w.g.RelayOnce(w.ctx)
	if again || err != nil {
		t.Fatalf("%v %v", again, err)
	}
	counts, err := w.app.Store.Counts(w.ctx, w.clock.Now())
	if err != nil || counts.Parked != 1 {
		t.Fatalf("%+v %v", counts, err)
	}
	w.must("unpark", w.deskOf("H501", gateway.RoleReferent).Unpark(w.ctx, number))
	w.relay()
	if r := w.open(d, number); r.Mark.Kind != gateway.MarkParked {
		t.Errorf("mark %+v", r.Mark)
	}
	w.sound()
}

func TestAWorkerThatWakesLateLosesItsStep(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.submit(d, ask(ordinary(t, 0)))
	late, err := w.app.Store.ClaimWork(w.ctx, w.clock.Now(), 30*time.Second, 4)
	if err != nil || len(late) != 1 {
		t.Fatalf("%+v %v", late, err)
	}
	// Leased: nobody else works on it …
	w.work()
	w.is(d, number, gateway.StateSubmitted)
	// … until the lease has ended.
	w.pass(31 * time.Second)
	w.work()
	r := w.is(d, number, gateway.StatePrechecked)
	err = w.app.Store.ReleaseWork(w.ctx, late[0], w.clock.Now(), gateway.Mark{Kind: gateway.MarkWaiting})
	refusedAs(t, err, gateway.Conflict, "lease_lost")
	if again := w.open(d, number); again.Version != r.Version || again.Mark != r.Mark {
		t.Error("the late worker left a trace")
	}
	if n := len(w.checksOf(number)); n != 1 {
		t.Errorf("%d checks", n)
	}
}

func TestARelayThatWakesLateCannotSettle(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.signed(d, ask(ordinary(t, 0)))
	rows, err := w.app.Store.ClaimOutbox(w.ctx, w.clock.Now(), 30*time.Second, 4)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%+v %v", rows, err)
	}
	w.relay()
	w.is(d, number, gateway.StateSigned)
	w.pass(31 * time.Second)
	w.relay()
	w.is(d, number, gateway.StateRelayed)
	refusedAs(t, w.app.Store.KeepOutbox(w.ctx, rows[0]), gateway.Conflict, "lease_lost")
	refusedAs(t, w.app.Store.ReleaseOutbox(w.ctx, rows[0], w.clock.Now(), "x", "", true), gateway.Conflict, "lease_lost")
	w.is(d, number, gateway.StateRelayed)
	w.once(number + ".1")
}

func TestAGatewayStartedAgainFinishesWhatTheOneBeforeItHadClaimed(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.signed(d, ask(ordinary(t, 0)))
	key := number + ".1"
	waiting := w.submit(d, ask(ordinary(t, 1)))
	w.coreFault(sim.Rule{Name: sim.FaultDropAnswer, Op: "submission", Match: key, Probability: 1})
	w.coreFault(sim.Rule{Name: sim.FaultDropAnswer, Op: "look_up", Match: key, Probability: 1})
	w.relay()
	_, err := w.app.Store.ClaimWork(w.ctx, w.clock.Now(), 30*time.Second, 4)
	w.must("claim", err)
	w.must("close", w.app.Close())
	w.sims.Core.Faults().Reset()
	w.coreFault(sim.Rule{Name: sim.FaultDropAnswer, Op: "submission", Match: key})
	w.coreFault(sim.Rule{Name: sim.FaultDropAnswer, Op: "look_up", Match: key})
	w.assemble()
	d = w.desk("H501")
	w.until("both finish", 20*time.Second, func() bool {
		w.work()
		w.relay()
		return w.open(d, number).State == gateway.StateRelayed && w.open(d, waiting).State == gateway.StatePrechecked
	})
	w.once(key)
	w.sound()
}

func TestACancelledContextStopsAStepWithoutHarm(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.signed(d, ask(ordinary(t, 0)))
	stopped, stop := context.WithCancel(w.ctx)
	stop()
	_, _ = w.g.RelayOnce(stopped)
	w.is(d, number, gateway.StateSigned)
	w.until("relayed", time.Minute, func() bool {
		w.relay()
		return w.open(d, number).State == gateway.StateRelayed
	})
	w.once(number + ".1")
}

func TestASlowCheckHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	// The late answer is waited for as long as the test lasts, on any machine.
	w.must("close", w.app.Close())
	w.config.Register.Deadline = 10 * time.Minute
	w.assemble()
	d := w.desk("H501")
	slow, quick := ordinary(t, 0), ordinary(t, 1)
	w.registerFault(sim.Rule{Name: sim.FaultSlow, Op: "C030", Count: 1, Param: "10m"})
	late := w.submit(d, ask(slow))
	running, stop := context.WithCancel(w.ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.g.Run(running) }()
	// The register has the first question and does not answer …
	w.eventually("the register was asked", func() bool { return len(w.sims.ANPR.Calls()) > 0 || w.sims.ANPR.Faults().Injected(sim.FaultSlow) > 0 })
	// … and the next citizen is served.
	number := w.submit(d, ask(quick))
	w.eventually("the other is checked", func() bool { return w.open(d, number).State == gateway.StatePrechecked })
	w.is(d, late, gateway.StateSubmitted)
	stop()
	w.pass(time.Hour)
	w.must("run", <-ended)
	w.sound()
}

// eventually waits for what workers do beside the test.
func (w *flow) eventually(what string, f func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond) // a busy loop would take the workers' core
	defer tick.Stop()
	for !f() {
		if time.Now().After(deadline) {
			w.t.Fatalf("never: %s", what)
		}
		<-tick.C
	}
}
