package testharness

import (
	"strings"
	"testing"
	"time"

	"airegw/delivery"
	"airegw/gateway"
	"airegw/policies"
	"airegw/testharness/coresim"
	"airegw/testharness/sim"
)

// A parcel on its way: tries, storage, return, another try, the free duplicate
// and the end of what nobody collects.

const day = 24 * time.Hour

// parcel takes a request as far as the core's receipt and plans its way.
func (w *flow) parcel(d gateway.Desk, in gateway.Input, steps ...coresim.PlanStep) string {
	w.t.Helper()
	number := w.relayed(d, in)
	plan := append([]coresim.PlanStep{{Type: "cnsd_certified"}, {Type: "in_production"}, {Type: "shipped"}}, steps...)
	w.must("plan", w.sims.Core.SetPlan(coresim.Plan{RequestID: number, Steps: plan}))
	w.advance(number, 3)
	w.is(d, number, gateway.StateShipped)
	return number
}

// transit answers the parcel as the desk sees it; there must be one.
func (w *flow) transit(d gateway.Desk, number string) gateway.Transit {
	w.t.Helper()
	t := d.Transit(w.open(d, number))
	if t == nil {
		w.t.Fatalf("%s has no parcel", number)
	}
	return *t
}

// time lets what time alone demands happen.
func (w *flow) time(d time.Duration) {
	w.t.Helper()
	w.pass(d)
	w.drain("transit", w.g.TransitOnce)
}

func step(kind string) coresim.PlanStep { return coresim.PlanStep{Type: kind} }

func back(reason delivery.ReturnReason) coresim.PlanStep {
	return coresim.PlanStep{Type: "returned", Reason: string(reason)}
}

// atHome is a form delivered to an Italian address.
func atHome(p sim.Person) gateway.Input {
	in := ask(p)
	in.Delivery = gateway.DeliveryChoice{Option: policies.DeliveryITAddress, Address: italianAddress()}
	return in
}

func roman(t time.Time) policies.Date { return policies.DateOf(t) }

func TestAParcelIsTriedStoredAndGoesBackAsTheRulesSay(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.parcel(d, atHome(ordinary(t, 0)), step("out_for_delivery"), step("attempt_failed"), step("out_for_delivery"), step("attempt_failed"),
		step("held_at_post"), back(delivery.ReturnUnclaimed), step("at_office"))
	got := w.transit(d, number)
	if got.AttemptsLeft != 2 || got.Tracking == "" || got.Carrier == "" || got.ByOffice {
		t.Errorf("shipped: %+v", got)
	}
	w.advance(number, 2)
	w.is(d, number, gateway.StateOutForDelivery)
	if got = w.transit(d, number); got.Movement != delivery.MovementAttemptFailed || got.Attempts != 1 || got.AttemptsLeft != 1 {
		t.Errorf("after the first try: %+v", got)
	}
	w.advance(number, 2)
	if got = w.transit(d, number); got.Attempts != 2 || got.AttemptsLeft != 0 {
		t.Errorf("after the second: %+v", got)
	}
	w.advance(number, 1)
	w.is(d, number, gateway.StateOnHoldPost)
	if got = w.transit(d, number); got.CollectBy != roman(dawn).AddDays(30) || got.ReturnTo != "comune" || got.Overdue {
		t.Errorf("stored: %+v", got)
	}
	// The tracker says so too, without a name.
	track := w.trackOf(d, number)
	if track.Parcel == nil || track.Parcel.CollectBy != got.CollectBy || track.Parcel.Tracking != got.Tracking {
		t.Errorf("tracker: %+v", track.Parcel)
	}
	w.time(31 * day)
	if r := w.is(d, number, gateway.StateOnHoldPost); r.Mark.Code != "storage_over" || r.Mark.Kind != gateway.MarkWaiting {
		t.Errorf("beyond its storage: mark %+v", r.Mark)
	}
	if !w.transit(d, number).Overdue {
		t.Error("not overdue")
	}
	w.advance(number, 1)
	if r := w.is(d, number, gateway.StateReturned); r.Mark != (gateway.Mark{}) {
		t.Errorf("returned: mark %+v", r.Mark)
	}
	// An unclaimed parcel of an Italian address goes to the comune.
	w.advance(number, 1)
	w.is(d, number, gateway.StateAtComune)
	if got = w.transit(d, number); got.FreeDuplicate != policies.No || got.CollectBy != roman(w.clock.Now()).AddDays(365) {
		t.Errorf("at the comune: %+v", got)
	}
	w.must("hand over", d.HandOver(w.ctx, number, "holder", "ok"))
	w.is(d, number, gateway.StateDelivered)
	w.sound()
}

// trackOf answers what the tracker shows.
func (w *flow) trackOf(d gateway.Desk, number string) gateway.Tracking {
	w.t.Helper()
	track, err := w.g.Track(w.ctx, number, w.open(d, number).TrackerCode)
	w.must("track", err)
	return track
}

func TestACardNobodyCollectsForAYearIsDestroyedWithARecord(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := ordinary(t, 0)
	number := w.parcel(d, ask(p), step("at_office"))
	w.advance(number, 1)
	record := gateway.Destruction{Record: "2027/118", Witness: "op-other"}
	refusedAs(t, d.DestroyUnclaimed(w.ctx, number, record), gateway.Conflict, "state_moved")
	w.time(365 * day)
	w.is(d, number, gateway.StateAtComune)
	w.time(day)
	r := w.is(d, number, gateway.StateUnclaimed)
	if r.Mark.Code != "destruction_due" || r.Events[len(r.Events)-1].Actor.Kind != gateway.ActorWorker {
		t.Errorf("%+v", r.Mark)
	}
	// Whoever lets it lie may ask again; the card before is not free.
	in := ask(p)
	in.Key, in.Reason = "key-again-1", policies.ReasonUndelivered
	again := w.submit(d, in)
	w.work()
	if r := w.is(d, again, gateway.StateRefused); r.Outcome.Code != "undelivered_not_free" || r.NonDelivery.Free != policies.No {
		t.Errorf("%+v %+v", r.Outcome, r.NonDelivery)
	}
	for name, bad := range map[string]gateway.Destruction{
		"destruction_record": {Witness: "op-other"}, "destruction_witness": {Record: "1"}, "destruction_witness_same": {Record: "1", Witness: "op-H501-clerk"},
	} {
		err := d.DestroyUnclaimed(w.ctx, number, bad)
		if gateway.KindOf(err) != gateway.Invalid || gateway.CodeOf(err) != "invalid_input" && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.must("destroy", d.DestroyUnclaimed(w.ctx, number, record))
	r = w.is(d, number, gateway.StateDestroyed)
	if r.Outcome == nil || r.Outcome.Code != "card_unclaimed" || r.Outcome.Args["record"] != "2027/118" {
		t.Errorf("%+v", r.Outcome)
	}
	w.sound()
}

func TestALateHolderStillGetsAnUnclaimedCard(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.parcel(d, ask(ordinary(t, 0)), step("at_office"))
	w.advance(number, 1)
	w.time(366 * day)
	w.is(d, number, gateway.StateUnclaimed)
	w.must("hand over", d.HandOver(w.ctx, number, "holder", "ok"))
	w.is(d, number, gateway.StateDelivered)
	w.sound()
}

func TestALostParcelEndsTheRequestAndTheNewCardIsFree(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := ordinary(t, 0)
	number := w.parcel(d, atHome(p), step("lost"))
	w.advance(number, 1)
	r := w.is(d, number, gateway.StateCancelled)
	if r.Outcome == nil || r.Outcome.Code != "parcel_lost" || w.transit(d, number).FreeDuplicate != policies.Yes {
		t.Errorf("%+v", r.Outcome)
	}
	in := atHome(p)
	in.Key, in.Reason = "key-again-1", policies.ReasonUndelivered
	again := w.taken(d, in)
	r = w.open(d, again)
	if r.NonDelivery == nil || r.NonDelivery.Free != policies.Yes || r.NonDelivery.Order != number+".1" || r.Decision.Decision.FeeCents != 0 {
		t.Fatalf("%+v, fee %d", r.NonDelivery, r.Decision.Decision.FeeCents)
	}
	// The counter shows nothing: our own record is the evidence.
	w.enquiry(d, again)
	w.forms(d, again)
	w.must("sign", d.Sign(w.ctx, again))
	w.relay()
	w.once(again + ".1")
	w.advance(again, 5)
	w.is(d, again, gateway.StateDelivered)
	w.sound()
}

func TestTheFreeDuplicateIsDecidedFromTheEvidence(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d, referent := w.desk("H501"), w.deskOf("H501", gateway.RoleReferent)
	record := gateway.Destruction{Record: "12/2026", Witness: "op-other"}
	for i, c := range []struct {
		reason delivery.ReturnReason
		cause  string // that the office must find, "" when the carrier's word decides
		free   bool
	}{
		{delivery.ReturnDamaged, "", true},
		{delivery.ReturnNoService, "", true},
		{delivery.ReturnRefused, "", false},
		{delivery.ReturnMoved, "", false},
		{delivery.ReturnUnknown, "register_wrong", true},
		{delivery.ReturnUnknown, "address_given_wrongly", false},
		{"eaten_by_a_dog", "carrier_fault", true}, // no reason we know: the office decides
	} {
		p := ordinary(t, i)
		number := w.parcel(d, atHome(p), coresim.PlanStep{Type: "returned", Reason: string(c.reason)})
		w.advance(number, 1)
		w.is(d, number, gateway.StateReturned)
		if c.cause == "" {
			refusedAs(t, referent.DecideDuplicate(w.ctx, number, "carrier_fault", record), gateway.Conflict, "evidence_decides")
			w.must("decide", d.DecideDuplicate(w.ctx, number, "", record))
		} else {
			if err := d.DecideDuplicate(w.ctx, number, "", record); gateway.KindOf(err) != gateway.Invalid {
				t.Errorf("%s: without a cause: %v", c.reason, err)
			}
			refusedAs(t, d.DecideDuplicate(w.ctx, number, c.cause, record), gateway.Forbidden, "referent_only")
			w.must("decide", referent.DecideDuplicate(w.ctx, number, c.cause, record))
		}
		r := w.is(d, number, gateway.StateDestroyed)
		if r.Duplicate == nil || r.Duplicate.Free != c.free || (r.Duplicate.Basis == "office") != (c.cause != "") {
			t.Errorf("%s %s: %+v", c.reason, c.cause, r.Duplicate)
		}
		in := atHome(p)
		in.Key, in.Reason = "key-again-"+p.CF, policies.ReasonUndelivered
		again := w.submit(d, in)
		w.work()
		want := gateway.StateRefused
		if c.free {
			want = gateway.StatePrechecked
		}
		w.is(d, again, want)
	}
	w.sound()
}

func TestTheCountersTickDoesNotOutweighOurRecord(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := ordinary(t, 0)
	first := w.relayed(d, ask(p))
	w.advance(first, 4)
	w.must("hand over", d.HandOver(w.ctx, first, "holder", "ok"))
	in := ask(p)
	in.Key, in.Reason = "key-again-1", policies.ReasonUndelivered
	again := w.submit(d, in)
	w.work()
	if r := w.is(d, again, gateway.StateRefused); r.Outcome.Code != "undelivered_not_free" || r.NonDelivery.Reason != "delivered" {
		t.Errorf("%+v %+v", r.Outcome, r.NonDelivery)
	}
	// Of a card from before this gateway we know nothing: what the counter sees counts.
	q := ordinary(t, 1)
	in = ask(q)
	in.Reason = policies.ReasonUndelivered
	number := w.taken(d, in)
	if r := w.open(d, number); r.NonDelivery == nil || r.NonDelivery.Free != policies.Unknown || r.NonDelivery.Reason != "no_record" {
		t.Errorf("%+v", r.NonDelivery)
	}
	w.enquiry(d, number)
	refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Conflict, "rules_not_satisfied")
	w.must("documents", d.RecordDocuments(w.ctx, number, gateway.Documents{Identity: "passport", Evidence: []string{"non_delivery_record"}}))
	w.forms(d, number)
	w.sound()
}

func TestThePostSendsAReturnedParcelOnAndTellsOfItItself(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("2600103")
	number := w.parcel(d, atPost(ask(byCF(t, "FRRLCU86D57Z600N"))), step("out_for_delivery"), back(delivery.ReturnUnclaimed), step("at_office"))
	refusedAs(t, d.Reship(w.ctx, number, "Correo", "RR00000001AR"), gateway.Conflict, "parcel_not_here")
	w.advance(number, 1)
	// While the carrier speaks through the core, nobody else does.
	refusedAs(t, d.RecordMovement(w.ctx, number, delivery.MovementDelivered, ""), gateway.Conflict, "carrier_speaks")
	w.advance(number, 2)
	w.is(d, number, gateway.StateAtConsulate)
	if err := d.Reship(w.ctx, number, "Correo", "no number"); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("a tracking number of any shape: %v", err)
	}
	w.must("reship", d.Reship(w.ctx, number, "Correo", "RR00000001AR"))
	w.is(d, number, gateway.StateReshipped)
	got := w.transit(d, number)
	if got.Tracking != "RR00000001AR" || got.Carrier != "Correo" || !got.ByOffice || got.Attempts != 0 || got.FreeDuplicate != policies.Unknown {
		t.Errorf("%+v", got)
	}
	for _, m := range []delivery.Movement{delivery.MovementOutForDelivery, delivery.MovementAttemptFailed, delivery.MovementHeldAtPost} {
		w.must(string(m), d.RecordMovement(w.ctx, number, m, ""))
	}
	if err := d.RecordMovement(w.ctx, number, delivery.MovementReturned, ""); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("returned without a reason: %v", err)
	}
	w.must("returned", d.RecordMovement(w.ctx, number, delivery.MovementReturned, delivery.ReturnMoved))
	w.must("back", d.RecordMovement(w.ctx, number, delivery.MovementAtOffice, ""))
	w.is(d, number, gateway.StateAtConsulate)
	w.must("again", d.Reship(w.ctx, number, "Correo", "RR00000002AR"))
	w.must("delivered", d.RecordMovement(w.ctx, number, delivery.MovementDelivered, ""))
	w.is(d, number, gateway.StateDelivered)
	refusedAs(t, d.RecordMovement(w.ctx, number, delivery.MovementLost, ""), gateway.Conflict, "state_moved")
	w.sound()
}

func TestAParcelThatLiesWithTheProducerForAYearIsUnclaimedToo(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.parcel(d, atHome(ordinary(t, 0)), back(delivery.ReturnMoved))
	w.advance(number, 1)
	w.time(364 * day)
	w.is(d, number, gateway.StateReturned)
	w.time(2 * day)
	w.is(d, number, gateway.StateUnclaimed)
	w.must("destroy", d.DestroyUnclaimed(w.ctx, number, gateway.Destruction{Record: "1", Witness: "op-other"}))
	w.sound()
}

func TestARequestNobodyComesBackToIsAbandonedAfterAYear(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := ordinary(t, 0)
	number := w.taken(d, ask(p))
	touched := w.taken(d, ask(ordinary(t, 1)))
	open := w.taken(d, ask(ordinary(t, 2)))
	w.enquiry(d, open)
	w.time(364 * day)
	w.is(d, number, gateway.StatePrechecked)
	w.must("presence", d.RecordPresence(w.ctx, touched))
	w.time(2 * day)
	if r := w.is(d, number, gateway.StateAbandoned); r.Outcome == nil || r.Outcome.Code != "abandoned_by_time" {
		t.Errorf("%+v", r.Outcome)
	}
	w.is(d, touched, gateway.StatePrechecked)
	w.is(d, open, gateway.StateInEnquiry) // the office's to end
	// The person may ask again.
	in := ask(p)
	in.Key = "key-again-1"
	w.taken(d, in)
	w.sound()
}

func TestThePastOfACountryIsToldOnceThereAreFiveCards(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	country, home := "", ordinary(t, 0)
	for i := range 6 {
		p := ordinary(t, i)
		w.change(p.CF, func(p *sim.Person) { p.Address, p.Post = home.Address, home.Post })
		in := ask(p)
		in.Delivery = gateway.DeliveryChoice{Option: policies.DeliveryForeignResidence}
		number := w.relayed(d, in)
		country = w.open(d, number).ResidenceCountry()
		w.pass(time.Duration(10+i) * day)
		kind := "delivered"
		if i == 5 {
			kind = "lost"
		}
		w.must("plan", w.sims.Core.SetPlan(coresim.Plan{RequestID: number, Steps: []coresim.PlanStep{step("cnsd_certified"), step("in_production"), step("shipped"), step(kind)}}))
		w.advance(number, 4)
		past, told, err := w.g.Past(w.ctx, country, policies.DeliveryForeignResidence)
		w.must("past", err)
		if told != (i >= 4) {
			t.Fatalf("after %d cards: %+v %v", i+1, past, told)
		}
		if i == 5 && past != (gateway.Past{Cards: 5, Half: 12, Most: 14, NotDelivered: 1}) {
			t.Errorf("%+v", past)
		}
		w.pass(10 * time.Minute)
	}
	if _, told, _ := w.g.Past(w.ctx, country, policies.DeliveryITAddress); told {
		t.Error("another delivery has a past")
	}
	w.sound()
}

func TestTheResidenceIsFrozenAtSignatureAndALaterOneIsAnActOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := byCF(t, "FRRLCU86D57Z600N")
	d, citizen := w.desk("2600103"), w.citizen(p)
	number := w.signed(d, atPost(ask(p)))
	frozen := w.open(d, number).Address
	if frozen == nil || frozen.Locality != p.Address.Locality {
		t.Fatalf("%+v", frozen)
	}
	// The person moves within the country after signature: the order goes where
	// it was signed for, even though the relay asks the register again.
	w.change(p.CF, func(p *sim.Person) { p.Address.Street, p.Address.Number = "CALLE FLORIDA", "100" })
	w.pass(25 * time.Hour)
	w.relay()
	r := w.is(d, number, gateway.StateRelayed)
	if *r.Address != *frozen || r.Register.Applicant.Person.Address.Street == frozen.Street {
		t.Errorf("frozen %+v, now %+v", *frozen, *r.Address)
	}
	// The new one is an act: of the citizen at level 2, or at the counter.
	home := gateway.DeliveryChoice{Option: policies.DeliveryForeignResidence}
	low := w.g.Desk(gateway.CitizenScope(p.CF, "citizen-low", 1))
	refusedAs(t, low.ChangeDelivery(w.ctx, number, home), gateway.Forbidden, "level_too_low")
	w.must("ask", citizen.ChangeDelivery(w.ctx, number, home))
	if r = w.open(d, number); *r.Address != *frozen || r.Order().Asked != "delivery" {
		t.Errorf("a change holds before the core accepts it: %+v", *r.Address)
	}
	w.relay()
	r = w.open(d, number)
	if r.Address.Street != "CALLE FLORIDA" || r.Address.HouseNumber != "100" || r.Order().Asked != "" {
		t.Errorf("%+v", *r.Address)
	}
	kinds := map[gateway.EventType]int{}
	for _, e := range r.Events {
		kinds[e.Type]++
	}
	if kinds[gateway.EventDeliveryAsked] != 1 || kinds[gateway.EventDeliveryGranted] != 1 {
		t.Errorf("%v", kinds)
	}
	held, _ := w.sims.Core.Order(number + ".1")
	if held.Delivery.Address == nil || held.Delivery.Address.Street != "CALLE FLORIDA" {
		t.Errorf("the core sends it to %+v", held.Delivery.Address)
	}
	refusedAs(t, d.ChangeDelivery(w.ctx, number, home), gateway.Conflict, "delivery_unchanged")
	// Without the register no residence is taken from an old record.
	w.registerFault(sim.Rule{Name: "outage", Probability: 1})
	refusedAs(t, d.ChangeDelivery(w.ctx, number, home), gateway.Unavailable, "register_unavailable")
	w.registerFault(sim.Rule{Name: "outage"})
	w.advance(number, 3)
	w.is(d, number, gateway.StateShipped)
	refusedAs(t, d.ChangeDelivery(w.ctx, number, home), gateway.Conflict, "state_moved")
	w.sound()
}
