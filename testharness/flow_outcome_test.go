package testharness

import (
	"slices"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/gateway"
	"airegw/gateway/messages"
	"airegw/policies"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

func TestADeadPersonAForeignerAndAResidentAreOutcomesOfANumberedRequest(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	for scenario, code := range map[string]string{
		"deceased":    "register." + string(anpr.FindingDeceased),
		"not-italian": "register." + string(anpr.FindingForeigner),
		"not-aire":    "register." + string(anpr.FindingNotAIRE),
	} {
		number := w.submit(d, ask(by(t, scenario)))
		w.work()
		r := w.is(d, number, gateway.StateRefused)
		if r.Outcome == nil || r.Outcome.Code != code {
			t.Errorf("%s: %+v, not %s", scenario, r.Outcome, code)
		}
		if !messages.Has(code) {
			t.Errorf("%s has no text", code)
		}
		if r.Register == nil || len(r.Register.Evidence) == 0 || r.Register.Evidence[0].Answer == "" {
			t.Errorf("%s: refused without evidence", scenario)
		}
	}
	w.sound()
}

func TestACancelledADoubleAndAnUnvalidatedPersonWaitForACorrectionAndAreNotRefused(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	for scenario, code := range map[string]anpr.FindingCode{
		"aire-cancelled-5": anpr.FindingCancelled, "aire-cancelled-6": anpr.FindingCancelled, "aire-cancelled-10": anpr.FindingCancelled,
		"duplicate": anpr.FindingDuplicate, "cf-not-validated": anpr.FindingCFNotValidated,
	} {
		number := w.submit(d, ask(by(t, scenario)))
		w.work()
		r := w.open(d, number)
		w.is(d, number, gateway.StateMisaligned)
		if !slices.ContainsFunc(r.Register.Findings, func(f gateway.Finding) bool { return f.Code == "register."+string(code) && f.Blocks && f.Who != "" }) {
			t.Errorf("%s: %+v", scenario, r.Register.Findings)
		}
		if r.Mark.Kind != gateway.MarkWaiting || r.Mark.Code != "correction_due" || !r.Mark.Due.After(w.clock.Now()) {
			t.Errorf("%s: mark %+v", scenario, r.Mark)
		}
		refusedAs(t, d.OpenEnquiry(w.ctx, number), gateway.Conflict, "state_moved")
	}
	w.sound()
}

func TestACorrectedRecordGoesOnAfterARecheckAndByItself(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	asked := byCF(t, by(t, "cf-not-validated").CF)
	waits := ordinary(t, 0)
	w.change(waits.CF, func(p *sim.Person) { p.CFValidity = "9" })
	first, second := w.submit(d, ask(asked)), w.submit(d, ask(waits))
	w.work()
	w.is(d, first, gateway.StateMisaligned)
	w.is(d, second, gateway.StateMisaligned)
	// Asked again too early it still waits, and is not told twice.
	before := w.open(d, first).Version
	w.must("recheck", d.Recheck(w.ctx, first))
	w.work()
	r := w.is(d, first, gateway.StateMisaligned)
	if r.Version != before+1 {
		t.Errorf("a check without news wrote %d events", r.Version-before)
	}
	w.change(asked.CF, func(p *sim.Person) { p.CFValidity = "1" })
	w.change(waits.CF, func(p *sim.Person) { p.CFValidity = "1" })
	w.must("recheck", d.Recheck(w.ctx, first))
	w.work()
	w.is(d, first, gateway.StatePrechecked)
	w.is(d, second, gateway.StateMisaligned)
	w.pass(7 * time.Hour)
	w.work()
	w.is(d, second, gateway.StatePrechecked)
	w.sound()
}

func TestAPersonWithoutFirstNameAndOneWithAPartialBirthDateGetTheirCard(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	for _, scenario := range []string{"no-first-name", "partial-birth-date"} {
		w.change(by(t, scenario).CF, func(*sim.Person) {})
		number := w.relayed(d, ask(by(t, scenario)))
		w.once(number + ".1")
	}
	w.sound()
}

func TestEveryNamedPersonIsCheckedOnceWithTheirOwnCode(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	for _, scenario := range []string{"ok", "minor-sole-parent", "minor-two-parents", "minor-two-countries"} {
		p := by(t, scenario)
		number := w.taken(d, ask(p))
		want := append([]string{p.CF}, p.Parents...)
		got := w.checksOf(number)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: asked about %v, not %v", scenario, got, want)
		}
		r := w.open(d, number)
		if r.Register.Persons != len(want) {
			t.Errorf("%s: %d persons checked", scenario, r.Register.Persons)
		}
		seen := map[int]bool{}
		operations := map[string]bool{}
		for _, e := range r.Register.Evidence {
			seen[e.PersonOrdinal] = true
			if e.Answer == "" || e.Tracking == "" || e.Operation == "" || operations[e.Operation] {
				t.Errorf("%s: evidence %+v", scenario, e)
			}
			operations[e.Operation] = true
		}
		if len(seen) != len(want) {
			t.Errorf("%s: evidence of %d persons", scenario, len(seen))
		}
	}
}

func TestAMinorWhoseParentsAreNotNamedIsRefusedAtTheForm(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	in := ask(by(t, "minor-sole-parent"))
	in.Parents = nil
	_, err := w.desk("H501").Submit(w.ctx, in)
	refusedAs(t, err, gateway.Invalid, "invalid_input")
}

func TestAMinorsCardNeedsEveryNamedParentsWord(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := by(t, "minor-two-parents")
	number := w.taken(d, ask(p))
	w.enquiry(d, number)
	refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Conflict, "assent_missing")
	w.must("first assent", d.GiveAssent(w.ctx, number, p.Parents[0], true, "counter"))
	refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Conflict, "assent_missing")
	w.must("second assent", d.GiveAssent(w.ctx, number, p.Parents[1], true, "authenticated"))
	w.forms(d, number)
	w.must("sign", d.Sign(w.ctx, number))
	w.relay()
	w.once(number + ".1")
}

func TestASoleParentsWordIsEnough(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := by(t, "minor-sole-parent")
	in := ask(p)
	in.Delivery.Delegate = &gateway.Delegate{Surname: "Olivieri", GivenName: "Teresa"}
	number := w.taken(d, in)
	w.must("presence", d.RecordPresence(w.ctx, number))
	w.must("documents", d.RecordDocuments(w.ctx, number, gateway.Documents{Identity: "passport"}))
	w.must("declaration", d.RecordDeclaration(w.ctx, number, gateway.Declaration{NoObstacles: true}))
	w.must("enquiry", d.OpenEnquiry(w.ctx, number))
	w.must("assent", d.GiveAssent(w.ctx, number, p.Parents[0], true, "counter"))
	child := gateway.Capture{Station: station, Photo: "photo:1", Exemption: "under_12", HeightCM: 120}
	w.must("capture", d.RecordCapture(w.ctx, number, child))
	w.must("fee", d.RecordFee(w.ctx, number, gateway.Fee{Cents: w.open(d, number).Decision.Decision.FeeCents, Means: "cash"}))
	w.forms(d, number)
	w.must("sign", d.Sign(w.ctx, number))
	w.relay()
	r := w.is(d, number, gateway.StateRelayed)
	if r.Decision.Decision.Expiry.String() < "2031" || r.Decision.Decision.Expiry.String() > "2032-02" {
		t.Errorf("a seven-year-old's card expires on %s", r.Decision.Decision.Expiry)
	}
	w.once(number + ".1")
}

func TestACardOfSeventyAndOverLastsFiftyYears(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.relayed(d, ask(by(t, "over-70")))
	if got := w.open(d, number).Decision.Decision.Expiry.String(); got < "2075" || got > "2077-12-31" {
		t.Errorf("expires on %s", got)
	}
	order, ok := w.sims.Core.Order(number + ".1")
	if !ok || order.Prepare.Expiry != w.open(d, number).Decision.Decision.Expiry.String() {
		t.Errorf("the core was told %+v", order.Prepare.Expiry)
	}
}

func TestAnOutageOfTheRegisterWaitsWithADueTimeAndNeverRefuses(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{anprsim.FaultOutage, anprsim.FaultFlap, anprsim.FaultHTMLError, anprsim.FaultMaintenance, anprsim.FaultNotFoundFront, anprsim.FaultSpurious429} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			w := newFlow(t, dawn)
			d := w.desk("H501")
			p := by(t, "minor-two-parents")
			w.registerFault(sim.Rule{Name: fault, Probability: 1})
			number := w.submit(d, ask(p))
			w.work()
			r := w.is(d, number, gateway.StateSubmitted)
			code, step := "register_unavailable", 30*time.Second
			if fault == anprsim.FaultSpurious429 {
				code, step = "register_quota", time.Hour // until midnight
			}
			if r.Mark.Kind != gateway.MarkWaiting || r.Mark.Code != code || !r.Mark.Due.After(w.clock.Now()) || r.Mark.Tries != 1 {
				t.Fatalf("mark %+v", r.Mark)
			}
			if h := w.g.Health(w.ctx); h.Register.OK || !h.OK {
				t.Errorf("health %+v", h)
			}
			// The counter goes on meanwhile; only the enquiry waits.
			w.must("presence", d.RecordPresence(w.ctx, number))
			refusedAs(t, d.OpenEnquiry(w.ctx, number), gateway.Conflict, "register_not_asked_yet")
			w.sims.ANPR.Faults().Reset()
			w.must("no more "+fault, w.sims.ANPR.Faults().Set(sim.Rule{Name: fault}))
			w.until("prechecked", step, func() bool {
				w.work()
				return w.open(d, number).State == gateway.StatePrechecked
			})
			if r := w.open(d, number); r.Mark != (gateway.Mark{}) || r.Register.Persons != 3 {
				t.Errorf("mark %+v, %d persons", r.Mark, r.Register.Persons)
			}
			w.sound()
		})
	}
}

func TestAPersonTheRegisterDoesNotKnowWaitsForTheOffices(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := ordinary(t, 3)
	w.registerFault(sim.Rule{Name: anprsim.FaultNotFound, Match: p.CF, Probability: 1})
	number := w.submit(d, ask(p))
	w.work()
	w.is(d, number, gateway.StateMisaligned)
}

func TestAComuneServesFromTheFirstOfJune2026InRomeAndNotAMinuteBefore(t *testing.T) {
	t.Parallel()
	rome := policies.Rome()
	w := newFlow(t, time.Date(2026, 5, 31, 23, 59, 0, 0, rome).UTC())
	d := w.desk("H501")
	early, late := ordinary(t, 0), ordinary(t, 1)
	first := w.submit(d, ask(early))
	w.work()
	r := w.is(d, first, gateway.StateRefused)
	if r.Outcome.Code != "channel.comune_not_open_yet" || r.Outcome.LegalRef == "" || r.Outcome.Rule == "" {
		t.Fatalf("%+v", r.Outcome)
	}
	// Asked a minute before, it is judged by that minute, whenever it is checked.
	third := w.submit(d, ask(ordinary(t, 2)))
	w.pass(time.Minute)
	second := w.submit(d, ask(late))
	w.work()
	w.is(d, third, gateway.StateRefused)
	r = w.is(d, second, gateway.StatePrechecked)
	if r.LegalBasis == "" || r.Decision.Decision.Outcome == policies.OutcomeRefused {
		t.Errorf("%q %+v", r.LegalBasis, r.Decision.Decision)
	}
	w.sound()
}

func TestThePostIsTheRegistersWhateverWasAskedAndWhateverTheDistrictSays(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	// At the wrong post: refused, with the competent one named.
	p := byCF(t, "FRRLCU86D57Z600N") // Buenos Aires
	berlin := w.desk("post:de-berlino")
	number := w.submit(berlin, atPost(ask(p)))
	w.work()
	r := w.is(berlin, number, gateway.StateRefused)
	if r.Outcome.Code != "post_not_competent" || r.Outcome.Args["competent"] != "Buenos Aires" || r.Outcome.Field != "/office" || r.Outcome.LegalRef == "" {
		t.Errorf("the competent post is not named: %+v", r.Outcome)
	}
	// A citizen who names none is brought to the register's post.
	in := atPost(ask(p))
	in.Key += "-2"
	number = w.submit(w.citizen(p), in)
	w.work()
	post := w.desk("2600103")
	r = w.is(post, number, gateway.StatePrechecked)
	if r.Office.Name() != "Buenos Aires" {
		t.Errorf("routed to %s", r.Office.Name())
	}
	// The register still names London for somebody who lives in Ireland.
	moved := by(t, "post-mismatch")
	number = w.submit(w.citizen(moved), atPost(ask(moved)))
	w.work()
	london := w.desk("2310103")
	r = w.open(london, number)
	if r.Office.Name() != "Londra" {
		t.Errorf("routed to %s", r.Office.Name())
	}
	if !slices.ContainsFunc(r.Register.Findings, func(f gateway.Finding) bool {
		return f.Code == "district_disagrees" && f.Args["register"] == "Londra" && f.Args["district"] == "Dublino" && !f.Blocks
	}) {
		t.Errorf("nobody is told that register and districts disagree: %+v", r.Register.Findings)
	}
}

// A record that changed while the dossier was suspended was asked for again with
// every lease, for ever, and its answer thrown away.
func TestARecordThatChangesWhileTheDossierIsSuspendedHoldsThePreparation(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := ordinary(t, 0)
	number := w.taken(d, ask(p))
	w.change(p.CF, func(p *sim.Person) { p.CFValidity = "9" })
	w.must("recheck", d.Recheck(w.ctx, number))
	w.must("presence", d.RecordPresence(w.ctx, number))
	w.must("documents", d.RecordDocuments(w.ctx, number, gateway.Documents{Identity: "passport"}))
	w.must("declaration", d.RecordDeclaration(w.ctx, number, gateway.Declaration{NoObstacles: true}))
	w.must("enquiry", d.OpenEnquiry(w.ctx, number))
	w.must("suspend", d.Suspend(w.ctx, number, "document_awaited", ""))
	w.work()
	w.is(d, number, gateway.StateSuspended)
	asked := len(w.checksOf(number))
	w.pass(time.Hour)
	w.work()
	if n := len(w.checksOf(number)); n != asked {
		t.Errorf("asked %d times more", n-asked)
	}
	w.must("resume", d.Resume(w.ctx, number))
	w.acquire(d, number)
	refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Conflict, "correction_due")
	if n := len(w.sims.Core.Ledger().Orders); n != 0 {
		t.Fatal("an order without a positive check")
	}
	w.must("recheck", d.Recheck(w.ctx, number))
	w.work()
	w.is(d, number, gateway.StateMisaligned)
	w.change(p.CF, func(p *sim.Person) { p.CFValidity = "1" })
	w.must("recheck", d.Recheck(w.ctx, number))
	w.work()
	w.is(d, number, gateway.StatePrechecked)
	w.must("enquiry", d.OpenEnquiry(w.ctx, number))
	w.forms(d, number)
	w.must("sign", d.Sign(w.ctx, number))
	w.relay()
	w.once(number + ".1")
	w.sound()
}

func TestAPersonFoundDeadAtTheCounterIsRefused(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	for n, suspended := range []bool{false, true} {
		p := ordinary(t, n)
		number := w.taken(d, ask(p))
		w.enquiry(d, number)
		w.must("recheck", d.Recheck(w.ctx, number))
		if suspended {
			w.must("suspend", d.Suspend(w.ctx, number, "document_awaited", ""))
		}
		w.change(p.CF, func(p *sim.Person) { p.Status, p.DiedOn = sim.StatusDeceased, "2026-11-20" })
		w.work()
		if r := w.is(d, number, gateway.StateRefused); r.Outcome.Code != "register.deceased" {
			t.Errorf("%+v", r.Outcome)
		}
	}
	w.sound()
}

func TestAPostTheNetworkDoesNotKnowParksAndGoesOnOnceItIsMended(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := byCF(t, "FRRLCU86D57Z600N")
	w.change(p.CF, func(p *sim.Person) { p.Post = &sim.Post{Code: "9999999", Seat: "ATLANTIDE"} })
	d := w.desk("2600103")
	number := w.submit(d, atPost(ask(p)))
	w.work()
	r := w.open(d, number)
	if r.State.Final() {
		t.Fatalf("%s %+v: an unknown post is no reason to refuse a citizen", r.State, r.Outcome)
	}
	if r.Mark.Kind == "" {
		t.Errorf("nobody is told: %s %+v", r.State, r.Mark)
	}
	w.change(p.CF, func(p *sim.Person) { p.Post = &sim.Post{Code: "2600103", Seat: "BUENOS AIRES"} })
	w.must("recheck", d.Recheck(w.ctx, number))
	w.work()
	r = w.is(d, number, gateway.StatePrechecked)
	if r.Mark != (gateway.Mark{}) || r.Office.Name() != "Buenos Aires" {
		t.Errorf("%+v %s", r.Mark, r.Office.Name())
	}
	w.sound()
}
