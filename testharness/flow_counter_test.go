package testharness

import (
	"errors"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/policies"
	"airegw/testharness/coresim"
	"airegw/testharness/sim"
)

func TestTheCounterWorksInOrderAndSaysWhichActIsMissing(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.submit(d, ask(ordinary(t, 0)))
	refusedAs(t, d.OpenEnquiry(w.ctx, number), gateway.Conflict, "register_not_asked_yet")
	refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Conflict, "state_moved")
	again, err := w.g.WorkOnce(w.ctx) // the check alone
	if err != nil || !again {
		t.Fatal(again, err)
	}
	refusedAs(t, d.OpenEnquiry(w.ctx, number), gateway.Conflict, "not_decided_yet")
	w.work()
	refusedAs(t, d.OpenEnquiry(w.ctx, number), gateway.Conflict, "presence_missing")
	w.must("presence", d.RecordPresence(w.ctx, number))
	w.must("enquiry", d.OpenEnquiry(w.ctx, number))
	refusedAs(t, d.OpenEnquiry(w.ctx, number), gateway.Conflict, "state_moved")
	for _, step := range []struct {
		missing string
		act     func() error
	}{
		{"documents_missing", func() error {
			return d.RecordDocuments(w.ctx, number, gateway.Documents{Identity: "passport"})
		}},
		{"declaration_missing", func() error {
			return d.RecordDeclaration(w.ctx, number, gateway.Declaration{NoObstacles: true})
		}},
		{"capture_missing", func() error { return d.RecordCapture(w.ctx, number, capture()) }},
		{"fee_missing", func() error { return d.RecordFee(w.ctx, number, gateway.Fee{Cents: 1, Means: "cash"}) }},
	} {
		refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Conflict, step.missing)
		w.must(step.missing, step.act())
	}
	// The fee must be the one that is due.
	var e *gateway.Error
	err = d.PrepareForms(w.ctx, number)
	if !errors.As(err, &e) || len(e.Problems) != 1 || e.Problems[0].Field != "/fee/cents" || e.Problems[0].Code != "fee_differs" || e.Problems[0].Args["due"] == "" {
		t.Fatalf("a wrong fee: %v", err)
	}
	if len(w.sims.Core.Ledger().Orders) != 0 {
		t.Fatal("the core heard of an order that may not be")
	}
	w.must("fee", d.RecordFee(w.ctx, number, gateway.Fee{Cents: w.open(d, number).Decision.Decision.FeeCents, Means: "cash"}))
	w.must("prepare", d.PrepareForms(w.ctx, number))
	refusedAs(t, d.RecordFee(w.ctx, number, gateway.Fee{Means: "cash"}), gateway.Conflict, "state_moved")
	refusedAs(t, d.ConfirmForms(w.ctx, number), gateway.Conflict, "print_missing")
	refusedAs(t, d.Sign(w.ctx, number), gateway.Conflict, "forms_not_confirmed")
	_, err = d.PrintForms(w.ctx, number)
	w.must("print", err)
	refusedAs(t, d.Sign(w.ctx, number), gateway.Conflict, "forms_not_confirmed")
	w.must("confirm", d.ConfirmForms(w.ctx, number))
	w.must("confirm again", d.ConfirmForms(w.ctx, number))
	w.must("sign", d.Sign(w.ctx, number))
	refusedAs(t, d.Sign(w.ctx, number), gateway.Conflict, "state_moved")
	_, err = d.PrintForms(w.ctx, number)
	refusedAs(t, err, gateway.Conflict, "state_moved")
	refusedAs(t, d.HandOver(w.ctx, number, "holder", "ok"), gateway.Conflict, "state_moved")
	w.relay()
	w.once(number + ".1")
	w.sound()
}

func TestWhatTheCounterCannotReadIsRefusedWithItsField(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.taken(d, ask(ordinary(t, 0)))
	before := w.open(d, number).Version
	with := func(f func(c *gateway.Capture)) gateway.Capture {
		c := capture()
		f(&c)
		return c
	}
	record := func(f func(c *gateway.Capture)) func() error {
		return func() error { return d.RecordCapture(w.ctx, number, with(f)) }
	}
	for name, c := range map[string]struct {
		field, code string
		act         func() error
	}{
		"another station":  {"/station", "station_unknown", record(func(c *gateway.Capture) { c.Station = "PDL-ELSEWHERE" })},
		"no photo":         {"/photo", "photo_missing", record(func(c *gateway.Capture) { c.Photo = "" })},
		"one finger":       {"/fingerprints", "fingerprints_two_hands", record(func(c *gateway.Capture) { c.Fingerprints = c.Fingerprints[:1] })},
		"one hand":         {"/fingerprints", "fingerprints_two_hands", record(func(c *gateway.Capture) { c.Fingerprints[1].Hand = "right" })},
		"an odd exemption": {"/exemption", "exemption_unknown", record(func(c *gateway.Capture) { c.Exemption = "lazy" })},
		"no signature":     {"/signature", "signature_missing", record(func(c *gateway.Capture) { c.Signature = "" })},
		"an odd document":  {"/identity", "identity_unknown", func() error { return d.RecordDocuments(w.ctx, number, gateway.Documents{Identity: "face"}) }},
		"empty evidence": {"/evidence/0", "evidence_unknown", func() error {
			return d.RecordDocuments(w.ctx, number, gateway.Documents{Identity: "passport", Evidence: []string{""}})
		}},
		"odd means":         {"/means", "fee_means_unknown", func() error { return d.RecordFee(w.ctx, number, gateway.Fee{Means: "gold"}) }},
		"exempt from what":  {"/exemption", "fee_exemption_missing", func() error { return d.RecordFee(w.ctx, number, gateway.Fee{Means: "exempt"}) }},
		"a negative fee":    {"/cents", "fee_amount", func() error { return d.RecordFee(w.ctx, number, gateway.Fee{Means: "cash", Cents: -1}) }},
		"no parent of hers": {"/parent", "parent_not_named", func() error { return d.GiveAssent(w.ctx, number, "LVRTRS90P63L219X", true, "counter") }},
		"an odd assent":     {"/how", "assent_how_unknown", func() error { return d.GiveAssent(w.ctx, number, "LVRTRS90P63L219X", true, "by dream") }},
	} {
		var e *gateway.Error
		err := c.act()
		if !errors.As(err, &e) || e.Kind != gateway.Invalid || len(e.Problems) != 1 || e.Problems[0].Field != c.field || e.Problems[0].Code != c.code {
			t.Errorf("%s: wanted %s %s, got %v", name, c.field, c.code, err)
		}
	}
	if after := w.open(d, number).Version; after != before {
		t.Errorf("refused acts left %d events", after-before)
	}
}

// An exemption for children under twelve excused anybody from prints and
// signature until the core refused the order.
func TestAnAdultIsNotExcusedAsAChild(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.taken(d, ask(ordinary(t, 0)))
	w.enquiry(d, number)
	w.must("capture", d.RecordCapture(w.ctx, number, gateway.Capture{Station: station, Photo: "photo:1", Exemption: "under_12", HeightCM: 170}))
	err := d.PrepareForms(w.ctx, number)
	if gateway.KindOf(err) != gateway.Conflict && gateway.KindOf(err) != gateway.Invalid {
		t.Fatalf("an adult without prints: %v", err)
	}
	t.Log(err)
	if len(w.sims.Core.Ledger().Orders) != 0 {
		t.Error("the core took an order for an adult without prints")
	}
	if o := w.open(d, number).Order(); o != nil {
		t.Errorf("an order was opened that can never be: %+v", o.Key)
	}
}

func TestADeliveryThatIsNotAllowedIsRefusedWithRuleAndLegalReference(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := byCF(t, "MRTSRA92H49Z133T") // Zurich
	d := w.desk("2500603")
	in := atPost(ask(p))
	in.Delivery.Option = policies.DeliveryConsulate
	number := w.submit(d, in)
	w.work()
	r := w.is(d, number, gateway.StatePrechecked)
	if r.DeliveryAllowed() || r.NextStep() != "next.choose_delivery" {
		t.Fatalf("delivery at the post: %+v", r.Decision.Decision.Options)
	}
	check := func(err error) {
		t.Helper()
		var e *gateway.Error
		if !errors.As(err, &e) || e.Kind != gateway.Invalid || len(e.Problems) != 1 || e.Problems[0].Field != "/delivery/option" || e.Problems[0].Code != "delivery_refused" {
			t.Fatalf("%v", err)
		}
		for _, name := range []string{"rule", "legal_ref", "code", "it", "en"} {
			if e.Problems[0].Args[name] == "" {
				t.Errorf("no %s in %+v", name, e.Problems[0].Args)
			}
		}
	}
	check(d.ChooseDelivery(w.ctx, number, gateway.DeliveryChoice{Option: policies.DeliveryConsulate}))
	w.must("home", d.ChooseDelivery(w.ctx, number, gateway.DeliveryChoice{Option: policies.DeliveryForeignResidence}))
	if r := w.open(d, number); !r.DeliveryAllowed() || r.Delivery.Option != policies.DeliveryForeignResidence {
		t.Errorf("%+v", r.Delivery)
	}
	refusedAs(t, d.ChooseDelivery(w.ctx, number, gateway.DeliveryChoice{Option: "DRONE"}), gateway.Invalid, "invalid_input")
}

func TestADoubleClickOnPrepareGivesOneOrderWithOneNumber(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.taken(d, ask(ordinary(t, 0)))
	w.enquiry(d, number)
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() { errs <- d.PrepareForms(w.ctx, number) }()
	}
	good := 0
	for range cap(errs) {
		err := <-errs
		switch {
		case err == nil:
			good++
		case gateway.KindOf(err) != gateway.Conflict:
			t.Errorf("a click met %v", err)
		}
	}
	r := w.is(d, number, gateway.StateFormsReady)
	if good == 0 || len(r.Orders) != 1 || r.Order().NUN == "" {
		t.Fatalf("%d good clicks, orders %+v", good, r.Orders)
	}
	ledger := w.sims.Core.Ledger()
	if len(ledger.Orders) != 1 || ledger.Orders[0].NUN != r.Order().NUN {
		t.Fatalf("the core has %+v", ledger.Orders)
	}
	w.must("again", d.PrepareForms(w.ctx, number))
}

func TestAnAnswerOfPrepareThatWasLostIsAskedForAgainWithTheSameBody(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.taken(d, ask(ordinary(t, 0)))
	w.enquiry(d, number)
	key := number + ".1"
	w.coreFault(sim.Rule{Name: sim.FaultDropAnswer, Op: "prepare", Match: key, Probability: 1})
	refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Unavailable, "core_unavailable")
	r := w.is(d, number, gateway.StateInEnquiry)
	if r.Order() == nil || r.Order().NUN != "" {
		t.Fatalf("the intent is not kept: %+v", r.Orders)
	}
	held, ok := w.sims.Core.Order(key)
	if !ok {
		t.Fatal("the fault did not reach the core")
	}
	w.coreFault(sim.Rule{Name: sim.FaultDropAnswer, Op: "prepare", Match: key})
	w.pass(10 * time.Second)
	w.must("prepare", d.PrepareForms(w.ctx, number))
	if got := w.is(d, number, gateway.StateFormsReady).Order().NUN; got != held.NUN {
		t.Errorf("number %s, the core gave %s", got, held.NUN)
	}
	if n := len(w.sims.Core.Ledger().Orders); n != 1 {
		t.Errorf("%d orders", n)
	}
}

func TestHalvesAreOnTheFormUntilItIsConfirmedAndThenNowhere(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.taken(d, ask(ordinary(t, 0)))
	w.enquiry(d, number)
	w.must("prepare", d.PrepareForms(w.ctx, number))
	first, err := d.PrintForms(w.ctx, number)
	w.must("print", err)
	second, err := d.PrintForms(w.ctx, number)
	w.must("print again", err)
	if len(first.PIN) != 4 || len(first.PUK) != 4 || first.PIN != second.PIN || first.PUK != second.PUK || first.Prints != 1 || second.Prints != 2 {
		t.Fatalf("%d and %d prints; halves of %d and %d digits", first.Prints, second.Prints, len(first.PIN), len(first.PUK))
	}
	w.must("confirm", d.ConfirmForms(w.ctx, number))
	if _, err := w.app.Store.Halves(w.ctx, number+".1"); gateway.KindOf(err) != gateway.NotFound {
		t.Errorf("after the confirmation: %v", err)
	}
	if _, err := d.PrintForms(w.ctx, number); gateway.KindOf(err) != gateway.Conflict {
		t.Errorf("printed after the confirmation: %v", err)
	}
}

func TestHalvesDieAnHourAfterTheFirstPrintAndTheCoreGivesThemAgain(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.taken(d, ask(ordinary(t, 0)))
	w.enquiry(d, number)
	w.must("prepare", d.PrepareForms(w.ctx, number))
	w.pass(20 * time.Minute)
	first, err := d.PrintForms(w.ctx, number)
	w.must("print", err)
	w.pass(40 * time.Minute)
	_, err = d.PrintForms(w.ctx, number)
	w.must("print again", err)
	w.pass(19 * time.Minute)
	house := func() {
		t.Helper()
		_, err := w.g.HouseOnce(w.ctx)
		w.must("house", err)
	}
	house()
	if _, err := w.app.Store.Halves(w.ctx, number+".1"); err != nil {
		t.Fatalf("wiped after 59 minutes: %v", err)
	}
	w.pass(2 * time.Minute)
	house()
	if _, err := w.app.Store.Halves(w.ctx, number+".1"); gateway.KindOf(err) != gateway.NotFound {
		t.Fatalf("there after 61 minutes: %v", err)
	}
	again, err := d.PrintForms(w.ctx, number)
	w.must("print after the wipe", err)
	if again.PIN != first.PIN || again.PUK != first.PUK || again.NUN != first.NUN {
		t.Error("the core gave other halves")
	}
	house()
	w.must("confirm", d.ConfirmForms(w.ctx, number))
}

func TestAVoidedOrderMakesRoomForANewGenerationOnlyAfterTheCoresWord(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.taken(d, ask(ordinary(t, 0)))
	w.enquiry(d, number)
	w.must("prepare", d.PrepareForms(w.ctx, number))
	w.must("void", d.VoidOrder(w.ctx, number, "data_changed"))
	refusedAs(t, d.VoidOrder(w.ctx, number, "data_changed"), gateway.Conflict, "change_under_way")
	refusedAs(t, d.RecordCapture(w.ctx, number, capture()), gateway.Conflict, "state_moved")
	// The core is away: nothing new may be opened.
	w.coreFault(sim.Rule{Name: sim.FaultHTTP503, Op: "cancellation", Probability: 1})
	w.relay()
	w.is(d, number, gateway.StateFormsReady)
	w.coreFault(sim.Rule{Name: sim.FaultHTTP503, Op: "cancellation"})
	w.until("voided", 30*time.Second, func() bool {
		w.relay()
		return w.open(d, number).State == gateway.StateInEnquiry
	})
	w.acquire(d, number)
	w.forms(d, number)
	w.must("sign", d.Sign(w.ctx, number))
	w.relay()
	r := w.is(d, number, gateway.StateRelayed)
	if len(r.Orders) != 2 || !r.Orders[0].Dead || r.Orders[1].Key != number+".2" || r.Orders[0].NUN == r.Orders[1].NUN {
		t.Fatalf("%+v", r.Orders)
	}
	w.once(number + ".2")
	if accepted, _ := w.acceptances(number + ".1"); accepted != 0 {
		t.Error("the voided order was accepted")
	}
	w.sound()
}

// A void that was asked between signature and relay was sent after the order:
// the core cancelled what it had accepted, and the request hung in "relayed".
func TestAVoidBeforeTheRelayWithdrawsTheSubmission(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.signed(d, ask(ordinary(t, 0)))
	w.must("void", d.VoidOrder(w.ctx, number, "wrong_photo"))
	w.relay()
	r := w.is(d, number, gateway.StateInEnquiry)
	if !r.Order().Dead {
		t.Fatalf("%+v", r.Order())
	}
	if accepted, live := w.acceptances(number + ".1"); accepted != 0 || live != 0 {
		t.Fatalf("accepted %d times, %d live", accepted, live)
	}
	w.acquire(d, number)
	w.forms(d, number)
	w.must("sign", d.Sign(w.ctx, number))
	w.relay()
	w.once(number + ".2")
	w.sound()
}

// A submission the core refuses for good is parked; its order could then never
// be given up, because the cancellation waited behind it.
func TestAnOrderTheCoreRefusesCanBeGivenUp(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.signed(d, ask(ordinary(t, 0)))
	// Somebody cancelled it at the core behind our back: the submission cannot be.
	w.cancelBehindOurBack(number)
	w.relay()
	r := w.is(d, number, gateway.StateSigned)
	if r.Mark.Kind != gateway.MarkParked || r.Mark.Code != "core_refuses" || r.Mark.Detail == "" {
		t.Fatalf("mark %+v", r.Mark)
	}
	w.must("void", d.VoidOrder(w.ctx, number, "core_refuses"))
	w.relay()
	r = w.is(d, number, gateway.StateInEnquiry)
	if r.Mark != (gateway.Mark{}) {
		t.Errorf("mark %+v", r.Mark)
	}
	w.acquire(d, number)
	w.forms(d, number)
	w.must("sign", d.Sign(w.ctx, number))
	w.relay()
	w.once(number + ".2")
	w.sound()
}

func TestACancellationIsFinalAtOnceBeforeAnOrderAndAskedForAfterwards(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	early := w.taken(d, ask(ordinary(t, 0)))
	w.must("cancel", d.Cancel(w.ctx, early, "", ""))
	r := w.is(d, early, gateway.StateCancelled)
	if r.Outcome.Code != "withdrawn" {
		t.Errorf("%+v", r.Outcome)
	}
	refusedAs(t, d.Cancel(w.ctx, early, "", ""), gateway.Conflict, "state_moved")

	forms := w.taken(d, ask(ordinary(t, 1)))
	w.enquiry(d, forms)
	w.forms(d, forms)
	w.must("cancel", d.Cancel(w.ctx, forms, "withdrawn", ""))
	w.is(d, forms, gateway.StateFormsReady)
	refusedAs(t, d.Sign(w.ctx, forms), gateway.Conflict, "change_under_way")
	w.relay()
	w.is(d, forms, gateway.StateCancelled)

	// Signed and not relayed yet: nothing of it may reach production.
	signed := w.signed(d, ask(ordinary(t, 2)))
	w.must("cancel", d.Cancel(w.ctx, signed, "withdrawn", ""))
	w.relay()
	w.is(d, signed, gateway.StateCancelled)
	if accepted, live := w.acceptances(signed + ".1"); accepted != 0 || live != 0 {
		t.Errorf("accepted %d times, %d live", accepted, live)
	}

	granted := w.relayed(d, ask(ordinary(t, 3)))
	w.must("cancel", d.Cancel(w.ctx, granted, "withdrawn", ""))
	refusedAs(t, d.Cancel(w.ctx, granted, "withdrawn", ""), gateway.Conflict, "change_under_way")
	w.is(d, granted, gateway.StateRelayed)
	w.relay()
	w.is(d, granted, gateway.StateCancelled)
	if _, live := w.acceptances(granted + ".1"); live != 0 {
		t.Error("a cancelled order lives")
	}

	// Production has begun and we do not know it yet: the core says too late.
	late := w.relayed(d, ask(ordinary(t, 4)))
	w.core(late, 2)
	w.must("cancel", d.Cancel(w.ctx, late, "withdrawn", ""))
	w.relay()
	r = w.is(d, late, gateway.StateRelayed)
	if r.Order().Asked != "" || r.Order().Dead {
		t.Errorf("%+v", r.Order())
	}
	w.news()
	w.is(d, late, gateway.StateInProduction)
	refusedAs(t, d.Cancel(w.ctx, late, "withdrawn", ""), gateway.Conflict, "too_late")
	w.sound()
}

// A certification refused while a cancellation was on its way left the outbox
// row to be claimed for ever.
func TestACancellationThatMeetsARejectionEnds(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := ordinary(t, 0)
	number := w.relayed(d, ask(p))
	w.must("plan", w.sims.Core.SetPlan(coresim.Plan{RequestID: number, Steps: []coresim.PlanStep{{Type: "cnsd_rejected", Reason: "data_mismatch"}}, Uses: 1}))
	w.must("cancel", d.Cancel(w.ctx, number, "withdrawn", ""))
	w.advance(number, 1)
	w.is(d, number, gateway.StateRejectedCNSD)
	w.relay()
	w.pass(time.Hour)
	again, err := w.g.RelayOnce(w.ctx)
	if again || err != nil {
		t.Fatalf("the cancellation is still under way: %v %v", again, err)
	}
	w.must("reopen", d.Reopen(w.ctx, number))
	w.acquire(d, number)
	w.forms(d, number)
	w.must("sign", d.Sign(w.ctx, number))
	w.relay()
	w.once(number + ".2")
	w.sound()
}

func TestARejectedOrderIsReopenedUnderANewGenerationWithOneLiveOrder(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.relayed(d, ask(ordinary(t, 0)))
	w.must("plan", w.sims.Core.SetPlan(coresim.Plan{RequestID: number, Steps: []coresim.PlanStep{{Type: "cnsd_rejected", Reason: "data_mismatch"}}, Uses: 1}))
	refusedAs(t, d.Reopen(w.ctx, number), gateway.Conflict, "state_moved")
	w.advance(number, 1)
	r := w.is(d, number, gateway.StateRejectedCNSD)
	if !r.Order().Dead {
		t.Fatal("the rejected order is not dead")
	}
	w.must("reopen", d.Reopen(w.ctx, number))
	refusedAs(t, d.Reopen(w.ctx, number), gateway.Conflict, "state_moved")
	refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Conflict, "capture_missing")
	w.acquire(d, number)
	w.forms(d, number)
	w.must("sign", d.Sign(w.ctx, number))
	w.relay()
	w.once(number + ".2")
	w.advance(number, 4)
	w.is(d, number, gateway.StateAtComune)
	w.sound()
}

func TestASpoiltCardIsMadeAgainUnderANewNumber(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.relayed(d, ask(ordinary(t, 0)))
	w.must("plan", w.sims.Core.SetPlan(coresim.Plan{RequestID: number, Steps: []coresim.PlanStep{
		{Type: "cnsd_certified"}, {Type: "in_production"}, {Type: "production_defect"}, {Type: "in_production"}, {Type: "shipped"}, {Type: "at_office"},
	}}))
	spoilt := w.open(d, number).Order().NUN
	w.advance(number, 3)
	w.is(d, number, gateway.StateProductionDefect)
	refusedAs(t, d.Reopen(w.ctx, number), gateway.Conflict, "state_moved") // it is being made again
	w.advance(number, 1)
	r := w.is(d, number, gateway.StateInProduction)
	if held, _ := w.sims.Core.Order(number + ".1"); r.Order().NUN == spoilt || r.Order().NUN != held.NUN {
		t.Fatalf("number %s after %s, the core says %s", r.Order().NUN, spoilt, held.NUN)
	}
	w.advance(number, 2)
	w.is(d, number, gateway.StateAtComune)
	w.must("hand over", d.HandOver(w.ctx, number, "holder", ""))
	w.sound()
}

func TestADefectThatEndsAnOrderLetsTheCounterStartAgain(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.relayed(d, ask(ordinary(t, 0)))
	no := false
	w.must("plan", w.sims.Core.SetPlan(coresim.Plan{RequestID: number, Uses: 1, Steps: []coresim.PlanStep{
		{Type: "cnsd_certified"}, {Type: "in_production"}, {Type: "production_defect", Remake: &no},
	}}))
	w.advance(number, 3)
	w.is(d, number, gateway.StateProductionDefect)
	w.must("reopen", d.Reopen(w.ctx, number))
	w.acquire(d, number)
	w.forms(d, number)
	w.must("sign", d.Sign(w.ctx, number))
	w.relay()
	w.once(number + ".2")
	w.sound()
}

func TestADeliveryChangeHoldsOnlyOnceTheCoreGrantsIt(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	home := gateway.DeliveryChoice{Option: policies.DeliveryITAddress, Address: italianAddress()}
	number := w.relayed(d, ask(ordinary(t, 0)))
	w.must("ask", d.ChangeDelivery(w.ctx, number, home))
	refusedAs(t, d.ChangeDelivery(w.ctx, number, home), gateway.Conflict, "change_under_way")
	if r := w.open(d, number); r.Delivery.Option != policies.DeliveryComunePickup || r.Order().Asked != "delivery" {
		t.Fatalf("%+v %q", r.Delivery, r.Order().Asked)
	}
	w.relay()
	r := w.open(d, number)
	if r.Delivery.Option != policies.DeliveryITAddress || r.Address == nil || r.Address.Recipient == "" || r.Order().Asked != "" {
		t.Fatalf("%+v %+v", r.Delivery, r.Address)
	}
	if held, _ := w.sims.Core.Order(number + ".1"); held.Delivery.Kind != string(policies.DeliveryITAddress) {
		t.Fatalf("the core delivers by %s", held.Delivery.Kind)
	}
	w.advance(number, 5)
	w.is(d, number, gateway.StateDelivered)

	late := w.relayed(d, ask(ordinary(t, 1)))
	w.advance(late, 2)
	w.core(late, 1) // shipped, and we do not know it
	w.must("ask", d.ChangeDelivery(w.ctx, late, home))
	w.relay()
	if r := w.is(d, late, gateway.StateInProduction); r.Delivery.Option != policies.DeliveryComunePickup || r.Order().Asked != "" {
		t.Fatalf("a change that came too late holds: %+v", r.Delivery)
	}
	w.news()
	refusedAs(t, d.ChangeDelivery(w.ctx, late, home), gateway.Conflict, "state_moved")
	w.advance(late, 1)
	w.is(d, late, gateway.StateAtComune)
	w.sound()
}

func TestANewDeliveryChoiceForgetsTheDelegateOfTheOldOne(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	in := ask(ordinary(t, 0))
	in.Delivery.Delegate = &gateway.Delegate{Surname: "BIANCHI", GivenName: "ADA"}
	number := w.submit(d, in)
	w.work()
	w.must("choose again", d.ChooseDelivery(w.ctx, number, gateway.DeliveryChoice{Option: policies.DeliveryComunePickup}))
	if r := w.open(d, number); r.Delivery.Delegate != nil {
		t.Errorf("the delegate %+v may still take the card", *r.Delivery.Delegate)
	}
}
