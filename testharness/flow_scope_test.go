package testharness

import (
	"strings"
	"testing"

	"airegw/gateway"
	"airegw/policies"
)

func TestAnotherOfficeMeetsNotFoundWhateverItTries(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	own := w.desk("H501")
	number := w.taken(own, ask(ordinary(t, 0)))
	before := w.open(own, number).Version
	stranger := ordinary(t, 1)
	for who, d := range map[string]gateway.Desk{
		"another comune": w.deskOf("F205", gateway.RoleReferent), "a post": w.deskOf("post:de-berlino", gateway.RoleReferent),
		"another citizen": w.citizen(stranger), "nobody": w.g.Desk(gateway.Scope{}),
		"an operator of no office": w.g.Desk(gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorOperator, ID: "x"})),
	} {
		office := true
		if who == "another citizen" || strings.HasPrefix(who, "nobody") || strings.HasPrefix(who, "an operator") {
			office = false
		}
		for act, f := range acts(w, d, number) {
			err, missing := f(number), acts(w, d, "R26-ZZZZZZZZZ")[act]("R26-ZZZZZZZZZ")
			if err == nil || missing == nil || gateway.KindOf(err) != gateway.KindOf(missing) || gateway.CodeOf(err) != gateway.CodeOf(missing) {
				t.Errorf("%s, %s: %v; of a missing one: %v", who, act, err, missing)
			}
			// Whoever has no office is told so before anything is looked up.
			if kind := gateway.KindOf(err); kind != gateway.NotFound && (office || (kind != gateway.Forbidden && act != "capture")) {
				t.Errorf("%s, %s: %v", who, act, err)
			}
		}
		rows, err := d.List(w.ctx, gateway.Criteria{FiscalCode: ordinary(t, 0).CF})
		if err != nil || len(rows) != 0 {
			t.Errorf("%s lists %+v %v", who, rows, err)
		}
	}
	if after := w.open(own, number).Version; after != before {
		t.Errorf("strangers left %d events", after-before)
	}
}

// acts are all acts on one request.
func acts(w *flow, d gateway.Desk, _ string) map[string]func(number string) error {
	ctx := w.ctx
	return map[string]func(string) error{
		"open":        func(n string) error { _, err := d.Open(ctx, n); return err },
		"presence":    func(n string) error { return d.RecordPresence(ctx, n) },
		"documents":   func(n string) error { return d.RecordDocuments(ctx, n, gateway.Documents{Identity: "passport"}) },
		"declaration": func(n string) error { return d.RecordDeclaration(ctx, n, gateway.Declaration{}) },
		"fee":         func(n string) error { return d.RecordFee(ctx, n, gateway.Fee{Means: "cash"}) },
		"capture":     func(n string) error { return d.RecordCapture(ctx, n, stationCapture()) },
		"enquiry":     func(n string) error { return d.OpenEnquiry(ctx, n) },
		"suspend":     func(n string) error { return d.Suspend(ctx, n, "waits", "") },
		"resume":      func(n string) error { return d.Resume(ctx, n) },
		"refuse":      func(n string) error { return d.Refuse(ctx, n, "fraud", "") },
		"cancel":      func(n string) error { return d.Cancel(ctx, n, "", "") },
		"tracker":     func(n string) error { _, err := d.RevokeTracker(ctx, n); return err },
		"recheck":     func(n string) error { return d.Recheck(ctx, n) },
		"prepare":     func(n string) error { return d.PrepareForms(ctx, n) },
		"print":       func(n string) error { _, err := d.PrintForms(ctx, n); return err },
		"confirm":     func(n string) error { return d.ConfirmForms(ctx, n) },
		"void":        func(n string) error { return d.VoidOrder(ctx, n, "") },
		"sign":        func(n string) error { return d.Sign(ctx, n) },
		"choose delivery": func(n string) error {
			return d.ChooseDelivery(ctx, n, gateway.DeliveryChoice{Option: policies.DeliveryComunePickup})
		},
		"change delivery": func(n string) error {
			return d.ChangeDelivery(ctx, n, gateway.DeliveryChoice{Option: policies.DeliveryComunePickup})
		},
		"hand over": func(n string) error { return d.HandOver(ctx, n, "holder", "ok") },
		"unpark":    func(n string) error { return d.Unpark(ctx, n) },
		"reopen":    func(n string) error { return d.Reopen(ctx, n) },
	}
}

// stationCapture leaves the station to the operator's session, so that only the
// scope can refuse it.
func stationCapture() gateway.Capture {
	c := capture()
	c.Station = ""
	return c
}

func TestACitizenSeesTheOwnRequestAndDoesNoCounterWork(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := ordinary(t, 0)
	number := w.taken(w.desk("H501"), ask(p))
	self := w.citizen(p)
	w.is(self, number, gateway.StatePrechecked)
	rows, err := self.List(w.ctx, gateway.Criteria{})
	if err != nil || len(rows) != 1 || rows[0].ID != number {
		t.Fatalf("%+v %v", rows, err)
	}
	for act, f := range acts(w, self, number) {
		switch act {
		case "open", "cancel", "tracker", "recheck", "choose delivery", "change delivery":
		case "capture": // no station is theirs
			if gateway.KindOf(f(number)) != gateway.Invalid {
				t.Errorf("%s: %v", act, f(number))
			}
		case "unpark":
			refusedAs(t, f(number), gateway.Forbidden, "referent_only")
		default:
			refusedAs(t, f(number), gateway.Forbidden, "office_only")
		}
	}
}

func TestAParentSeesTheChildsRequestAndSpeaksOnlyForThemselves(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	child := by(t, "minor-two-parents")
	first, second := byCF(t, child.Parents[0]), byCF(t, child.Parents[1])
	number := w.taken(w.desk("H501"), ask(child))
	w.is(w.citizen(first), number, gateway.StatePrechecked)
	w.is(w.citizen(child), number, gateway.StatePrechecked)
	refusedAs(t, w.citizen(first).GiveAssent(w.ctx, number, second.CF, true, "counter"), gateway.Forbidden, "assent_own_only")
	refusedAs(t, w.citizen(child).GiveAssent(w.ctx, number, first.CF, true, "online"), gateway.Forbidden, "assent_own_only")
	refusedAs(t, w.citizen(child).GiveAssent(w.ctx, number, child.CF, true, "online"), gateway.Invalid, "invalid_input")
	refusedAs(t, w.citizen(ordinary(t, 0)).GiveAssent(w.ctx, number, ordinary(t, 0).CF, true, "online"), gateway.NotFound, "not_found")
	w.must("assent", w.citizen(first).GiveAssent(w.ctx, number, first.CF, true, "counter"))
	r := w.open(w.desk("H501"), number)
	if a := r.Counter.Assents[first.CF]; !a.Given || a.How != "online" {
		t.Errorf("%+v", a)
	}
	// And takes it back.
	w.must("withdrawal", w.citizen(first).GiveAssent(w.ctx, number, first.CF, false, "online"))
	if a := w.open(w.desk("H501"), number).Counter.Assents[first.CF]; a.Given {
		t.Errorf("%+v", a)
	}
}

func TestTheTrackerOpensWithTheRightCodeAndNothingElseTells(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := ordinary(t, 0)
	ack, err := d.Submit(w.ctx, ask(p))
	w.must("submit", err)
	other, err := d.Submit(w.ctx, ask(ordinary(t, 1)))
	w.must("submit", err)
	w.work()
	got, err := w.g.Track(w.ctx, " "+strings.ToLower(ack.Number)+" ", strings.ToLower(ack.TrackerCode))
	if err != nil || got.Number != ack.Number || got.State != gateway.StatePrechecked || got.Holder.Kind != "citizen" || got.NextStep == "" || got.Expected == nil {
		t.Fatalf("%+v %v", got, err)
	}
	fresh, err := d.RevokeTracker(w.ctx, ack.Number)
	w.must("revoke", err)
	first := ""
	for name, c := range map[string][2]string{
		"revoked": {ack.Number, ack.TrackerCode}, "another's code": {ack.Number, other.TrackerCode}, "another number": {other.Number, fresh},
		"no such number": {"R26-ZZZZZZZZZ", fresh}, "no code": {ack.Number, ""}, "nothing": {"", ""}, "almost": {ack.Number, fresh[:9]},
	} {
		_, err := w.g.Track(w.ctx, c[0], c[1])
		refusedAs(t, err, gateway.NotFound, "not_found")
		if first == "" {
			first = err.Error()
		}
		if err.Error() != first {
			t.Errorf("%s: %q, others %q", name, err, first)
		}
	}
	if _, err := w.g.Track(w.ctx, ack.Number, fresh); err != nil {
		t.Errorf("the new code: %v", err)
	}
}

func TestTheTrackerTellsNoNameAndNoAddress(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := byCF(t, "FRRLCU86D57Z600N")
	d := w.desk("2600103")
	number := w.relayed(d, atPost(ask(p)))
	w.advance(number, 3)
	r := w.open(d, number)
	text := strings.ToUpper(encode(t, r.Tracking()))
	for _, secret := range []string{p.CF, p.Surname, p.Name, p.Address.Street, p.Email, p.IDANPR, r.Order().NUN} {
		if secret != "" && strings.Contains(text, strings.ToUpper(secret)) {
			t.Errorf("the tracker tells %q", secret)
		}
	}
}

func TestACardAtThePostIsThePostsAndNoLongerTheComunes(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := byCF(t, "CRSWJR94E68Z322K") // Nairobi: home mail goes to boxes, the post delivers
	comune, post := w.desk("A944"), w.desk("3640100")
	in := ask(p)
	in.Delivery.Option = policies.DeliveryConsulate
	number := w.relayed(comune, in)
	w.advance(number, 4)
	w.is(post, number, gateway.StateAtConsulate)
	_, err := comune.Open(w.ctx, number)
	refusedAs(t, err, gateway.NotFound, "not_found")
	// The comune's file submitted again still answers the same number.
	ack, err := comune.Submit(w.ctx, in)
	if err != nil || ack.Created || ack.Number != number || ack.TrackerCode != "" {
		t.Fatalf("%+v %v", ack, err)
	}
	w.must("hand over", post.HandOver(w.ctx, number, "holder", ""))
	w.sound()
}
