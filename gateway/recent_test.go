package gateway

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
)

// counterTale is a request at the counter, up to its order.
func counterTale(t *testing.T) []Event {
	t.Helper()
	r, err := Derive("R26-TEST", []Event{born()})
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []EventType{EventChecked, EventAligned, EventDecided, EventRouted, EventPresence, EventAssent, EventEnquiryOpened, EventOrderOpened} {
		e, ok := tale{r}.event(typ)
		if !ok {
			t.Fatalf("%s is not possible in %s", typ, r.State)
		}
		err = r.apply(e)
		if err != nil {
			t.Fatal(err)
		}
	}
	return r.Events
}

// sameAsDerived compares a request with what Derive makes of the same events.
func sameAsDerived(t *testing.T, r *Request, events []Event) {
	t.Helper()
	want, err := Derive("R26-TEST", events)
	if err != nil {
		t.Fatal(err)
	}
	got := *r
	got.stored = nil
	if !reflect.DeepEqual(&got, want) {
		t.Errorf("remembered: %+v\nderived:    %+v", got, want)
	}
}

func TestARememberedRequestIsWhatItsEventsSay(t *testing.T) {
	t.Parallel()
	events := counterTale(t)
	var c recent
	for _, n := range []int{1, 1, 4, 4, 6, len(events), len(events), 5} {
		r, err := c.derive("R26-TEST", slices.Clone(events[:n]))
		if err != nil {
			t.Fatal(err)
		}
		sameAsDerived(t, r, events[:n])
		// What is tried out on it stays here.
		r.Delivery, r.Register, r.Orders, r.Counter = DeliveryChoice{Option: "CONSULATE"}, nil, nil, Counter{}
	}
}

func TestEventsThatChangedInTheStoreAreReadAnew(t *testing.T) {
	t.Parallel()
	events := counterTale(t)
	assent := slices.IndexFunc(events, func(e Event) bool { return e.Type == EventAssent })
	for name, change := range map[string]func(*Event){
		"erased":  func(e *Event) { e.Private = nil },
		"actor":   func(e *Event) { e.Actor.ID = "somebody-else" },
		"instant": func(e *Event) { e.At = e.At.Add(1) },
		"private": func(e *Event) {
			e.Private = json.RawMessage(`{"parent":"X","assent":{"given":false,"how":"online"}}`)
		},
	} {
		var c recent
		_, err := c.derive("R26-TEST", slices.Clone(events))
		if err != nil {
			t.Fatal(err)
		}
		other := slices.Clone(events)
		change(&other[assent])
		r, err := c.derive("R26-TEST", other)
		if err != nil {
			t.Fatal(name, err)
		}
		sameAsDerived(t, r, other)
	}
	var c recent
	_, err := c.derive("R26-TEST", slices.Clone(events))
	if err != nil {
		t.Fatal(err)
	}
	wrong := slices.Clone(events)
	wrong[2].To = "teapot"
	for _, bad := range [][]Event{wrong, nil, slices.Delete(slices.Clone(events), 2, 3)} {
		_, err = c.derive("R26-TEST", bad)
		if err == nil {
			t.Error("a damaged history is believed since another was read before")
		}
	}
}

func TestFewRequestsAreRememberedAndTheQuietOnesForgotten(t *testing.T) {
	t.Parallel()
	var c recent
	for i := range 10 * fewRecent {
		_, err := c.derive(fmt.Sprint(i), []Event{born()})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(c.newer) + len(c.older); n > 2*fewRecent {
			t.Fatalf("%d are remembered", n)
		}
	}
	_, err := c.derive("R26-TEST", []Event{born()})
	if err != nil {
		t.Fatal(err)
	}
	c.forget()
	if c.get("R26-TEST") == nil {
		t.Error("what was just loaded is forgotten")
	}
	c.forget()
	if len(c.newer)+len(c.older) > 0 {
		t.Error("what nobody loads is remembered")
	}
}

func TestTwoWhoLoadOneRequestDoNotMeet(t *testing.T) {
	t.Parallel()
	events := counterTale(t)
	var c recent
	var both sync.WaitGroup
	for i := range 4 {
		both.Go(func() {
			for range 20 {
				r, err := c.derive("R26-TEST", slices.Clone(events))
				if err != nil {
					t.Error(err)
					return
				}
				next, possible := tale{r}.event(EventAssent)
				if !possible {
					next, _ = tale{r}.event(EventCancelAsked)
				}
				err = r.stored.twin().apply(next)
				if err != nil {
					t.Error(err)
				}
				r.Orders[0].Asked = fmt.Sprint(i)
			}
		})
	}
	both.Wait()
}
