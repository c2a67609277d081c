package testharness

import (
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// evidenceOf answers who asked the register for a request, as the tracking
// evidence at the mock says: user@station/level, each once, in order.
func (w *flow) evidenceOf(number string) []string {
	var out []string
	for _, c := range w.sims.ANPR.Calls() {
		if c.Reason != number || c.Operation == "token" {
			continue
		}
		who := c.UserID + "@" + c.Location + "/" + c.LoA
		if len(out) == 0 || out[len(out)-1] != who {
			out = append(out, who)
		}
	}
	return out
}

func TestTheTrackingEvidenceNamesOperatorCitizenAndWorker(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d, p, q := w.desk("H501"), ordinary(t, 0), ordinary(t, 1)

	atCounter := w.submit(d, ask(p))
	online := ask(q)
	online.Office = "H501"
	own := w.submit(w.citizen(q), online)
	machine := w.g.Desk(gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorClient, ID: "client-1", Office: office(t, "H501")}))
	byMachine := w.submit(machine, ask(ordinary(t, 2)))
	w.work()
	operator := "op-H501-clerk@" + station + "/operator"
	for number, want := range map[string]string{
		atCounter: operator,
		own:       "citizen-" + q.IDANPR + "@portal/L3",
		byMachine: "client-1@comune:058091/client",
	} {
		if got := w.evidenceOf(number); !slices.Equal(got, []string{want}) {
			t.Errorf("%v, not %s", got, want)
		}
	}
	for _, c := range w.sims.ANPR.Calls() {
		if len(c.Subject) == 16 && strings.Contains(c.UserID+c.Location, c.Subject) {
			t.Errorf("the evidence names the citizen: %+v", c)
		}
	}

	// A recheck that somebody asks for is theirs; one that time brings, and the
	// one before relay, are the service's, with the request number as reason.
	w.registerFault(sim.Rule{Name: anprsim.FaultDoubleReg, Match: q.CF, Probability: 1})
	w.must("recheck", d.Recheck(w.ctx, own))
	w.work()
	w.pass(7 * time.Hour)
	w.work()
	want := []string{"citizen-" + q.IDANPR + "@portal/L3", operator, "airegw-request@airegw/service"}
	if got := w.evidenceOf(own); !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	w.enquiry(d, atCounter)
	w.forms(d, atCounter)
	w.must("sign", d.Sign(w.ctx, atCounter))
	w.pass(25 * time.Hour)
	w.relay()
	if got := w.evidenceOf(atCounter); !slices.Equal(got, []string{operator, "airegw-relay@airegw/service"}) {
		t.Errorf("%v", got)
	}
	w.is(d, atCounter, gateway.StateRelayed)
}

// perDay sets our budget of every service.
func perDay(n int) func(*app.Config) {
	return func(c *app.Config) {
		for name, s := range c.Register.Services {
			s.PerDay = n
			c.Register.Services[name] = s
		}
	}
}

func TestTheBudgetIsKeptForTheCounterThenRelayThenNewRequests(t *testing.T) {
	t.Parallel()
	// Of 10 calls a refresh may use 6, a new request 8, a relay 9, the counter all.
	w := newFlow(t, dawn, perDay(10))
	d := w.desk("H501")
	citizenAsks := func(n int) string {
		in := ask(ordinary(t, n))
		in.Office = "H501"
		return w.submit(w.citizen(ordinary(t, n)), in)
	}
	signed := w.signed(d, ask(ordinary(t, 0)))
	misaligned := ordinary(t, 1)
	w.registerFault(sim.Rule{Name: anprsim.FaultCFUnvalidated, Match: misaligned.CF, Probability: 1})
	refreshed := w.submit(d, ask(misaligned))
	w.work()
	for n := 2; n < 6; n++ {
		citizenAsks(n)
	}
	w.work() // 6 checks by now
	waiting := func(number, code string) {
		t.Helper()
		if r := w.open(d, number); r.Mark.Kind != gateway.MarkWaiting || r.Mark.Code != code || r.Outcome != nil {
			t.Errorf("%s is %s with %+v", number, r.State, r.Mark)
		}
	}
	w.pass(7 * time.Hour) // still the same day
	w.work()
	waiting(refreshed, "register_budget")
	var late []string
	for n := 6; n < 10; n++ {
		late = append(late, citizenAsks(n))
	}
	w.work()
	checked := 0
	for _, number := range late {
		if w.open(d, number).State == gateway.StatePrechecked {
			checked++
		} else {
			waiting(number, "register_budget")
		}
	}
	if checked != 2 {
		t.Errorf("%d new requests were checked, not 2", checked)
	}
	// An old check before relay still goes: 8 of 10 are spent.
	w.must("age", w.app.Close())
	w.config.Workers.RecheckAfter = time.Hour
	w.assemble()
	d = w.desk("H501")
	w.relay()
	w.is(d, signed, gateway.StateRelayed)
	// The counter has what is left; then it waits too, and tomorrow all go on.
	w.taken(d, ask(ordinary(t, 10)))
	last := w.submit(d, ask(ordinary(t, 11)))
	w.work()
	waiting(last, "register_budget")
	state, err := w.g.RegisterState(w.ctx)
	if err != nil || len(state.Usage) != 5 || state.Usage[0].Used != 10 || state.Usage[0].PerDay != 10 {
		t.Errorf("%+v %v", state, err)
	}
	w.sims.ANPR.Faults().Reset()
	w.pass(7 * time.Hour) // 2026-11-22 00:00 in Rome has passed
	w.work()
	for _, number := range append(late, last, refreshed) {
		w.is(d, number, gateway.StatePrechecked)
	}
	w.sound()
}

func TestAfterA429NobodyAsksUntilMidnightAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	w.sims.ANPR.SetLimit("C020", 1)
	w.taken(d, ask(ordinary(t, 0)))
	first, second := w.submit(d, ask(ordinary(t, 1))), w.submit(d, ask(ordinary(t, 2)))
	w.work()
	calls := len(w.sims.ANPR.Calls())
	r := w.is(d, first, gateway.StateSubmitted)
	midnight := time.Date(2026, 11, 21, 23, 0, 0, 0, time.UTC)
	if r.Mark.Code != "register_quota" || r.Mark.Due.Before(midnight) || r.Mark.Due.After(midnight.Add(6*time.Minute)) || !strings.Contains(r.Mark.Detail, "C020") {
		t.Fatalf("%+v", r.Mark)
	}
	w.must("close", w.app.Close())
	w.assemble()
	d = w.desk("H501")
	w.must("recheck", d.Recheck(w.ctx, second))
	for range 3 {
		w.pass(time.Hour)
		w.work()
	}
	if n := len(w.sims.ANPR.Calls()); n != calls {
		t.Errorf("%d calls after the stop", n-calls)
	}
	state, err := w.g.RegisterState(w.ctx)
	if err != nil || len(state.Stops) != 1 || state.Stops[0].Service != "C020" || !state.Stops[0].Until.Equal(midnight) {
		t.Errorf("%+v %v", state, err)
	}
	w.sims.ANPR.SetLimit("C020", 2000)
	w.pass(11 * time.Hour)
	w.work()
	w.is(d, first, gateway.StatePrechecked)
	w.is(d, second, gateway.StatePrechecked)
	w.sound()
}

func TestA429ThatOurCountDoesNotExplainIsProbedOnceAnHour(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn, perDay(1000))
	d := w.desk("H501")
	w.registerFault(sim.Rule{Name: anprsim.FaultSpurious429, Op: "C030", Count: 2})
	numbers := []string{w.submit(d, ask(ordinary(t, 0))), w.submit(d, ask(ordinary(t, 1)))}
	asked := func() int {
		n := 0
		for _, c := range w.sims.ANPR.Calls() {
			if c.Operation == "C030" {
				n++
			}
		}
		return n
	}
	w.work()
	before := asked()
	w.pass(30 * time.Minute)
	w.work()
	if asked() != before {
		t.Error("asked within the hour")
	}
	for range 4 {
		w.pass(time.Hour + 4*time.Minute)
		w.work()
	}
	for _, number := range numbers {
		w.is(d, number, gateway.StatePrechecked)
	}
	if n := asked(); n > before+3+len(numbers) {
		t.Errorf("%d calls, of which %d before", n, before)
	}
	state, err := w.g.RegisterState(w.ctx)
	if err != nil || len(state.Stops) != 0 {
		t.Errorf("%+v %v", state, err)
	}
}

func TestAQuotaAtRelayTimeHoldsTheOrderAndSaysWhy(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.signed(d, ask(ordinary(t, 0)))
	w.pass(25 * time.Hour)
	w.registerFault(sim.Rule{Name: anprsim.FaultSpurious429, Op: "C030", Probability: 1})
	w.relay()
	r := w.is(d, number, gateway.StateSigned)
	if r.Mark.Kind != gateway.MarkWaiting || r.Mark.Code != "register_quota" || r.NextStep() == "" {
		t.Fatalf("%+v", r.Mark)
	}
	w.sims.ANPR.Faults().Reset()
	w.pass(24 * time.Hour)
	w.relay()
	if r := w.is(d, number, gateway.StateRelayed); r.Mark != (gateway.Mark{}) {
		t.Errorf("%+v", r.Mark)
	}
	w.once(number + ".1")
	w.sound()
}
