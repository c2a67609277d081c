package gateway

import (
	"context"
	"errors"

	"airegw/gateway/fault"
)

// TakeCoreEvent takes an event the core pushed: it verifies it and keeps it,
// durable on return; applying it is a worker's step. Unauthenticated when the
// signature or its claims do not verify.
func (g *Gateway) TakeCoreEvent(ctx context.Context, jws []byte) error {
	e, err := g.core.Verify(jws, g.clock.Now())
	if err != nil {
		return &Error{Kind: Unauthenticated, Code: "core_event_not_verified", Err: err}
	}
	err = fault.Point("event.verified")
	if err == nil {
		err = g.store.SaveCoreEvents(ctx, []CoreEvent{e}, "")
	}
	if err == nil {
		err = fault.Point("event.kept")
	}
	if err != nil {
		return wrap("keep core event", err)
	}
	poke(g.wakeStatus)
	return nil
}

// FeedOnce reads one page of the core's feed, so that a lost push heals. again
// says that the core has more at once.
func (g *Gateway) FeedOnce(ctx context.Context) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, g.set.Lease)
	defer cancel()
	after, err := g.store.FeedCursor(ctx)
	if err != nil {
		return false, wrap("read feed cursor", err)
	}
	events, next, more, err := g.core.Feed(ctx, after)
	g.sawCore(err)
	if err != nil {
		// The peer's health says so; the next look heals it.
		return false, nil //nolint:nilerr // not our failure
	}
	if len(events) == 0 && (next == "" || next == after) {
		return false, nil
	}
	err = fault.Point("feed.read")
	if err == nil {
		err = g.store.SaveCoreEvents(ctx, events, next)
	}
	if err != nil {
		return false, wrap("keep core events", err)
	}
	poke(g.wakeStatus)
	return more, nil
}

// ApplyOnce applies kept core events, per order in sequence. again says that
// something was applied and more may follow.
func (g *Gateway) ApplyOnce(ctx context.Context) (again bool, err error) {
	orders, err := g.store.PendingCoreEvents(ctx, 50)
	if err != nil {
		return false, wrap("read pending core events", err)
	}
	var errs []error
	for _, events := range orders {
		applied, err := g.applyOrder(ctx, events)
		again = again || applied
		if err != nil && KindOf(err) != Conflict {
			errs = append(errs, err)
		}
	}
	return again, errors.Join(errs...)
}

// applyOrder applies one order's pending events in sequence: what was seen is
// settled, a gap waits for the feed, what cannot be is parked and never applied.
func (g *Gateway) applyOrder(ctx context.Context, events []CoreEvent) (applied bool, err error) {
	id, ok := requestOf(events[0].OrderKey)
	if !ok {
		return true, g.parkAll(ctx, events, "order_unknown_here")
	}
	for _, e := range events {
		r, err := g.load(ctx, systemScope("status"), id)
		if KindOf(err) == NotFound {
			return true, g.parkAll(ctx, events, "order_unknown_here")
		}
		if err != nil {
			return applied, err
		}
		o := r.Order()
		switch {
		case o == nil || o.Key != e.OrderKey:
			err = g.store.ParkCoreEvent(ctx, e.OrderKey, e.Seq, "not_the_current_order")
		case e.Seq <= o.CoreSeq:
			// Seen: settle it without an event.
			err = g.commit(ctx, r, Change{Applied: &CoreRef{e.OrderKey, e.Seq}})
		case e.Seq > o.CoreSeq+1 && !fault.Mutant("gateway.core-sequence"):
			return applied, nil // a gap: the feed fills it
		case r.State == StateSigned:
			// The events overtook the receipt: the relay fetches it first.
			return applied, nil
		default:
			err = g.applyEvent(ctx, r, e)
		}
		if err != nil {
			return applied, err
		}
		applied = true
	}
	return applied, nil
}

// requestOf answers the request id of an order key.
func requestOf(key string) (string, bool) {
	for i := len(key) - 1; i > 0; i-- {
		if key[i] == '.' {
			return key[:i], true
		}
	}
	return "", false
}

func (g *Gateway) parkAll(ctx context.Context, events []CoreEvent, code string) error {
	for _, e := range events {
		err := g.store.ParkCoreEvent(ctx, e.OrderKey, e.Seq, code)
		if err != nil {
			return wrap("park core event", err)
		}
	}
	return nil
}

// coreEvents translates the contract's event names. at_office and shipped
// depend on the request.
var coreEvents = map[string]EventType{
	"cnsd_certified":    EventCertified,
	"cnsd_rejected":     EventRejected,
	"in_production":     EventInProduction,
	"production_defect": EventDefect,
	"shipped":           EventShipped,
	"out_for_delivery":  EventOutForDelivery,
	"attempt_failed":    EventAttemptFailed,
	"held_at_post":      EventHeldAtPost,
	"at_office":         EventAtComune,
	"returned":          EventReturned,
	"lost":              EventLost,
	"delivered":         EventDelivered,
}

// applyEvent applies the next event of the current order. One that does not fit
// the state (in production before certified, say) is parked with the request,
// never applied.
func (g *Gateway) applyEvent(ctx context.Context, r *Request, e CoreEvent) error {
	now := g.clock.Now()
	t, known := coreEvents[e.Type]
	switch {
	case !known:
		return g.parkEvent(ctx, r, e, "core_event_unknown")
	case t == EventShipped && r.State == StateReturned:
		t = EventReshipped
	case t == EventAtComune && r.parcelAtPost(e.Details.Office):
		t = EventAtConsulate
	}
	if !coreMaySpeak(r.State) || !r.mayFollow(t) {
		return g.parkEvent(ctx, r, e, "core_event_out_of_order")
	}
	data := coreData{
		Key: e.OrderKey, Seq: e.Seq, EventID: e.EventID, At: e.At, NUN: e.NUN, Reason: e.Details.Reason,
		Tracking: e.Details.Tracking, Carrier: e.Details.Carrier, Until: e.Details.Until,
		Ended: t == EventDefect && !e.Details.Remake,
	}
	if post, ok := r.CompetentPost(); ok && t == EventAtConsulate {
		// The post hands the card over, whoever took the request in.
		data.Office = Office{OfficePost, post.Key}
	}
	if t == EventShipped || t == EventReshipped || t == EventCertified {
		data.Expected = g.expected(r, e.At)
	}
	err := fault.Point("event.apply")
	if err != nil {
		return wrap("apply core event", err)
	}
	if t == EventShipped || t == EventReshipped {
		data.Handling = g.handling(r, e.At)
	}
	return g.commit(ctx, r, Change{Applied: &CoreRef{e.OrderKey, e.Seq}, Mark: &Mark{}, Passage: r.passage(t, e.At)},
		Event{Type: t, At: now, Actor: Actor{Kind: ActorCore, ID: "core"}, Data: payload(data)})
}

// parkEvent sets an event aside and parks its request: a person must look.
func (g *Gateway) parkEvent(ctx context.Context, r *Request, e CoreEvent, code string) error {
	err := g.store.ParkCoreEvent(ctx, e.OrderKey, e.Seq, code)
	if err != nil {
		return wrap("park core event", err)
	}
	g.log.Error("core event parked", "order", e.OrderKey, "seq", e.Seq, "type", e.Type, "state", string(r.State), "code", code)
	return g.commit(ctx, r, Change{Mark: &Mark{Kind: MarkParked, Code: code, Detail: e.Type}},
		Event{Type: EventParked, At: g.clock.Now(), Actor: Actor{Kind: ActorCore, ID: "core"}, Data: payload(reasonData{Code: code, Detail: e.Type})})
}
