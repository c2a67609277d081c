package gateway

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"airegw/policies"
)

// now is the instant of these tests.
var testNow = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// allEvents answers every event type that eventTarget or facts knows.
func allEvents() []EventType {
	all := slices.Collect(maps.Keys(eventTarget))
	for t := range facts {
		all = append(all, t)
	}
	slices.Sort(all)
	return all
}

func TestEveryStateCanBeReachedFromTheFirst(t *testing.T) {
	t.Parallel()
	reached := map[State]bool{StateSubmitted: true}
	for again := true; again; {
		again = false
		for from := range reached {
			next, _ := from.Next()
			for _, to := range next {
				if !reached[to] {
					reached[to], again = true, true
				}
			}
		}
	}
	for _, s := range States() {
		if !reached[s] {
			t.Errorf("nothing leads to %s", s)
		}
	}
}

func TestStatesAndTransitionsNameTheSameStates(t *testing.T) {
	t.Parallel()
	listed := map[State]bool{}
	for _, s := range States() {
		if listed[s] {
			t.Errorf("%s is listed twice", s)
		}
		listed[s] = true
		if _, ok := transitions[s]; !ok {
			t.Errorf("%s has no line in the table", s)
		}
	}
	for from, next := range transitions {
		if !listed[from] {
			t.Errorf("%s is in the table and not listed", from)
		}
		for _, to := range next {
			if !listed[to] {
				t.Errorf("%s leads to %s, which is not listed", from, to)
			}
		}
	}
}

func TestFinalStatesHaveNoExitAndEveryOtherCanEnd(t *testing.T) {
	t.Parallel()
	final := map[State]bool{StateDelivered: true, StateRefused: true, StateCancelled: true, StateAbandoned: true, StateDestroyed: true}
	for _, s := range States() {
		if s.Final() != final[s] {
			t.Errorf("%s final: %v", s, s.Final())
		}
	}
	// From every state some final state can be reached: nobody is caught.
	for _, s := range States() {
		seen, todo, ends := map[State]bool{s: true}, []State{s}, false
		for len(todo) > 0 && !ends {
			at := todo[0]
			todo, ends = todo[1:], at.Final()
			next, _ := at.Next()
			for _, to := range next {
				if !seen[to] {
					seen[to] = true
					todo = append(todo, to)
				}
			}
		}
		if !ends {
			t.Errorf("there is no way out of %s", s)
		}
	}
}

func TestOnlyEndedRequestsLetAPersonAskAgain(t *testing.T) {
	t.Parallel()
	open := OpenStates()
	for _, s := range States() {
		want := !s.Final() && s != StateUnclaimed
		if slices.Contains(open, s) != want {
			t.Errorf("%s open: %v", s, !want)
		}
	}
}

func TestAnUnknownStateIsAnErrorAndNeverADefault(t *testing.T) {
	t.Parallel()
	if _, known := State("teapot").Next(); known {
		t.Error("an unknown state has successors")
	}
	if State("teapot").Final() || State("").Final() {
		t.Error("an unknown state is final")
	}
	for _, c := range []struct{ from, to State }{
		{"teapot", StateSubmitted}, {StateSubmitted, "teapot"}, {"", StatePrechecked}, {StateDelivered, StateSubmitted}, {StateSubmitted, ""},
	} {
		if step(c.from, c.to) == nil {
			t.Errorf("%q → %q is allowed", c.from, c.to)
		}
	}
}

func TestEveryEventEitherMovesTheStateOrIsAFact(t *testing.T) {
	t.Parallel()
	for e, to := range eventTarget {
		if facts[e] {
			t.Errorf("%s is both", e)
		}
		if _, ok := transitions[to]; !ok {
			t.Errorf("%s leads to the unknown state %s", e, to)
		}
		enters := to == StateSubmitted
		for _, next := range transitions {
			enters = enters || slices.Contains(next, to)
		}
		if !enters {
			t.Errorf("%s leads to %s, which no state does", e, to)
		}
	}
	for _, s := range States() {
		if !slices.Contains(slices.Collect(maps.Values(eventTarget)), s) {
			t.Errorf("no event leads to %s", s)
		}
	}
	// The core speaks only in events we know, and of facts only of a failed try.
	for name, e := range coreEvents {
		if _, ok := eventTarget[e]; !ok && e != EventAttemptFailed {
			t.Errorf("the core's %s is %s, which moves nothing", name, e)
		}
	}
}

// tale tells legal histories: it proposes events that fit the request so far.
type tale struct {
	r *Request
}

// born is a request's first event.
func born() Event {
	in := Input{
		Channel: policies.ChannelComune, Reason: policies.ReasonFirstIssue,
		Applicant: Applicant{FiscalCode: "RSSCHR95D65H501Q"}, Parents: []Parent{{FiscalCode: "LVRTRS90P63L219X"}},
	}
	return Event{
		Seq: 1, Type: EventSubmitted, To: StateSubmitted, At: testNow,
		Data: payload(submittedData{Channel: in.Channel, Office: Office{OfficeComune, "058091"}}), Private: payload(submittedPrivate{Input: in, Tracker: "AAAAAAAAAA"}),
	}
}

// event fills in an event of a type as the gateway would write it next; ok is
// false when the request as it stands has no place for it.
func (k tale) event(t EventType) (e Event, ok bool) {
	r := k.r
	e = Event{Seq: r.Version + 1, Type: t, To: r.State, At: testNow.Add(time.Duration(r.Version) * time.Minute)}
	if to, moves := eventTarget[t]; moves {
		e.To = to
		if step(r.State, to) != nil {
			return e, false
		}
	}
	o := r.Order()
	live := o != nil && !o.Dead
	switch t {
	case EventSubmitted:
		return e, false
	case EventOrderOpened:
		if live {
			return e, false
		}
		n := len(r.Orders) + 1
		e.Data, e.Private = payload(orderOpenedData{n, orderKey(r.ID, n)}), payload(orderOpenedPrivate{json.RawMessage(`{}`)})
	case EventPrepared, EventPrinted, EventFormsConfirmed, EventOrderVoided, EventReopened, EventCancelAsked, EventCancelDenied, EventDeliveryDenied, EventRelayed:
		if o == nil {
			return e, false
		}
		e.Data = payload(map[string]any{"key": o.Key, "nun": "CZ00001ZZ", "receipt": "R"})
	case EventSigned:
		if o == nil || !o.FormsConfirmed {
			return e, false
		}
		e.Private = payload(signedPrivate{})
	case EventDeliveryAsked, EventDeliveryGranted:
		if o == nil {
			return e, false
		}
		e.Private = payload(signedPrivate{})
	case EventCertified, EventRejected, EventInProduction, EventDefect, EventShipped, EventReshipped, EventOutForDelivery,
		EventHeldAtPost, EventAtComune, EventAtConsulate, EventReturned, EventAttemptFailed, EventLost:
		if o == nil {
			return e, false
		}
		e.Data = payload(coreData{Key: o.Key, Seq: o.CoreSeq + 1})
	case EventRouted:
		e.Data = payload(routedData{Findings: []Finding{{Code: "post_differs"}}})
	case EventAssent:
		e.Private = payload(assentPrivate{Parent: r.Input.Parents[0].FiscalCode, Assent: Assent{Given: true}})
	}
	return e, true
}

func TestEveryLegalHistoryDerivesAndEveryDamagedOneIsRefused(t *testing.T) {
	t.Parallel()
	all := allEvents()
	rapid.Check(t, func(t *rapid.T) {
		r, err := Derive("R26-TEST", []Event{born()})
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 60).Draw(t, "length") {
			var possible []Event
			for _, typ := range all {
				if e, ok := (tale{r}).event(typ); ok {
					possible = append(possible, e)
				}
			}
			e := rapid.SampledFrom(possible).Draw(t, "event")
			before, kept := r.State, r
			r = r.twin()
			if err := r.apply(e); err != nil {
				t.Fatalf("%s from %s: %v", e.Type, before, err)
			}
			if rapid.IntRange(0, 9).Draw(t, "watched") > 0 {
				continue
			}
			earlier, err := Derive(kept.ID, kept.Events)
			if err != nil || !reflect.DeepEqual(kept, earlier) {
				t.Fatalf("%s changed the request it came upon: %+v, %v", e.Type, kept, err)
			}
			next, _ := before.Next()
			if r.State != before && !slices.Contains(next, r.State) {
				t.Fatalf("%s led from %s to %s", e.Type, before, r.State)
			}
		}
		again, err := Derive(r.ID, r.Events)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again, r) {
			t.Fatalf("derived again it is %+v, not %+v", again, r)
		}
		live := 0
		for _, o := range r.Orders {
			if !o.Dead {
				live++
			}
		}
		if live > 1 {
			t.Fatalf("%d orders live", live)
		}
		if r.Version < 2 {
			return
		}
		i := rapid.IntRange(0, r.Version-1).Draw(t, "damaged")
		if i < r.Version-1 {
			if _, err := Derive(r.ID, slices.Delete(slices.Clone(r.Events), i, i+1)); err == nil {
				t.Fatalf("a gap at %d goes unnoticed", i+1)
			}
		}
		if _, err := Derive(r.ID, slices.Insert(slices.Clone(r.Events), i, r.Events[i])); err == nil {
			t.Fatalf("event %d twice goes unnoticed", i+1)
		}
		wrong := slices.Clone(r.Events)
		wrong[i].To = "teapot"
		if _, err := Derive(r.ID, wrong); err == nil {
			t.Fatalf("event %d leads to an unknown state unnoticed", i+1)
		}
	})
}

func TestDeriveRefusesWhatCannotHaveHappened(t *testing.T) {
	t.Parallel()
	at := func(seq int, typ EventType, to State, data any) Event {
		return Event{Seq: seq, Type: typ, To: to, At: testNow, Data: payload(data)}
	}
	for name, c := range map[string]struct {
		events []Event
		says   string
	}{
		"no events":                {nil, "no events"},
		"born elsewhere":           {[]Event{at(1, EventAligned, StatePrechecked, nil)}, "is born as"},
		"a gap at the start":       {[]Event{at(2, EventSubmitted, StateSubmitted, nil)}, "sequence 2 after 0"},
		"an unknown event":         {[]Event{born(), at(2, "teapot", StateSubmitted, nil)}, "unknown event"},
		"a wrong target":           {[]Event{born(), at(2, EventAligned, StateRefused, nil)}, "leads to"},
		"an illegal transition":    {[]Event{born(), at(2, EventSigned, StateSigned, nil)}, "no way from"},
		"a fact that moves":        {[]Event{born(), at(2, EventPresence, StatePrechecked, nil)}, "a fact cannot lead"},
		"something after the end":  {[]Event{born(), at(2, EventCancelled, StateCancelled, Outcome{}), at(3, EventAligned, StatePrechecked, nil)}, "no way from"},
		"a payload that is broken": {[]Event{born(), {Seq: 2, Type: EventDecided, To: StateSubmitted, Private: json.RawMessage(`{`)}}, "JSON"},
		"another order's print":    {[]Event{born(), at(2, EventPrinted, StateSubmitted, orderData{Key: "X.1"})}, "no current order"},
		"a generation out of turn": {[]Event{born(), at(2, EventOrderOpened, StateSubmitted, orderOpenedData{2, "R26-TEST.2"})}, "not generation 1"},
		"two live orders": {[]Event{
			born(), at(2, EventOrderOpened, StateSubmitted, orderOpenedData{1, "R26-TEST.1"}), at(3, EventOrderOpened, StateSubmitted, orderOpenedData{2, "R26-TEST.2"}),
		}, "still lives"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Derive("R26-TEST", c.events)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("wanted %q, got %v", c.says, err)
			}
		})
	}
}
