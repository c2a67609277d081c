package gateway

import (
	"testing"
	"time"

	"airegw/policies"
)

// parcelEvents lead to the states of a parcel.
var parcelEvents = map[State][]EventType{
	StateShipped: {EventShipped}, StateReshipped: {EventReshipped}, StateOutForDelivery: {EventOutForDelivery}, StateOnHoldPost: {EventHeldAtPost},
	StateAtComune: {EventAtComune}, StateAtConsulate: {EventAtConsulate}, StateReturned: {EventReturned}, StateUnclaimed: {EventUnclaimed},
	StateDestroyed: {EventDestroyed}, StateDelivered: {EventDelivered}, StateCancelled: {EventLost},
}

func TestEveryWayOfAParcelThatTheStatesAllowCanBeFollowed(t *testing.T) {
	t.Parallel()
	h := policies.Handling{StorageDays: 30, Attempts: 2, ReturnPath: "post", UnclaimedDays: 365}
	seen := map[State]bool{}
	var walk func(r *Request, left int)
	walk = func(r *Request, left int) {
		seen[r.State] = true
		if _, err := r.transit(h, policies.DateOf(testNow)); err != nil {
			var way []EventType
			for _, e := range r.Events {
				way = append(way, e.Type)
			}
			t.Fatalf("%v: %v", way, err)
		}
		if left == 0 {
			return
		}
		next, _ := r.State.Next()
		for _, to := range next {
			for _, typ := range parcelEvents[to] {
				if !r.mayFollow(typ) {
					continue
				}
				further := &Request{State: to, Events: append(append([]Event{}, r.Events...), Event{
					Type: typ, At: testNow.Add(time.Duration(len(r.Events)) * time.Hour), Data: payload(coreData{Key: "R.1", Reason: "moved"}),
				})}
				walk(further, left-1)
			}
		}
	}
	walk(&Request{State: StateInProduction}, 6)
	for s := range parcelEvents {
		if !seen[s] {
			t.Errorf("no way leads to %s", s)
		}
	}
}

func TestTwoClocksDoNotMakeAParcelsHistoryImpossible(t *testing.T) {
	t.Parallel()
	r := &Request{Events: []Event{
		{Type: EventShipped, At: testNow, Data: payload(coreData{Seq: 3, At: testNow.Add(time.Minute), Tracking: "RR1"})},
		{Type: EventAttemptFailed, At: testNow, Data: payload(coreData{Seq: 4, At: testNow, Reason: "a_dog"})},
	}}
	got, err := r.transit(policies.Handling{Attempts: 2}, policies.DateOf(testNow))
	if err != nil || got.Attempts != 1 || got.AttemptsLeft != 1 || got.ByOffice {
		t.Errorf("%+v %v", got, err)
	}
	// A card made again is another parcel.
	r.Events = append(r.Events, Event{Type: EventInProduction}, Event{Type: EventShipped, At: testNow.Add(time.Hour)})
	if got, err = r.transit(policies.Handling{Attempts: 2}, policies.DateOf(testNow)); err != nil || got.Attempts != 0 || !got.ByOffice {
		t.Errorf("%+v %v", got, err)
	}
	if got, err = new(Request).transit(policies.Handling{}, policies.Date{}); got != nil || err != nil {
		t.Errorf("nothing was shipped: %+v %v", got, err)
	}
}

func TestOurRecordOutweighsWhatWasShown(t *testing.T) {
	t.Parallel()
	shown := []string{"old_card", nonDeliveryEvidence}
	for _, c := range []struct {
		free policies.Tri
		in   []string
		want bool
	}{{policies.Yes, nil, true}, {policies.Yes, shown, true}, {policies.No, shown, false}, {policies.Unknown, shown, true}, {policies.Unknown, nil, false}} {
		r := &Request{NonDelivery: &NonDelivery{Free: c.free}}
		f := policies.Facts{Evidence: c.in}
		r.weighNonDelivery(&f)
		n := 0
		for _, e := range f.Evidence {
			if e == nonDeliveryEvidence {
				n++
			}
		}
		if (n == 1) != c.want || n > 1 {
			t.Errorf("%+v: %v", c, f.Evidence)
		}
	}
	if len(shown) != 2 || shown[1] != nonDeliveryEvidence {
		t.Error("what the counter recorded was changed")
	}
}

func TestAParcelLiesWhereTheCoreSaysOrItsDeliveryMeans(t *testing.T) {
	t.Parallel()
	post, comune := Office{OfficePost, "gb-london"}, Office{OfficeComune, "058091"}
	for _, c := range []struct {
		told   string
		office Office
		state  State
		option policies.DeliveryOption
		want   bool
	}{
		{"post:2600103", comune, StateReturned, policies.DeliveryITAddress, true},
		{"comune:058091", comune, StateReturned, policies.DeliveryForeignResidence, false},
		{"", comune, StateReturned, policies.DeliveryITAddress, false},
		{"", comune, StateReturned, policies.DeliveryForeignResidence, true},
		{"", comune, StateShipped, policies.DeliveryConsulate, true},
		{"", comune, StateShipped, policies.DeliveryComunePickup, false},
		{"", post, StateShipped, policies.DeliveryITAddress, true},
		{"post:", comune, StateShipped, policies.DeliveryComunePickup, false},
	} {
		r := &Request{Office: c.office, State: c.state, Delivery: DeliveryChoice{Option: c.option}}
		if got := r.parcelAtPost(c.told); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
