package gateway

import (
	"context"
	"errors"
	"slices"
	"time"
)

// A database that was restored from a backup lacks the last minutes before it was
// lost. An order that was opened in them is unknown here and lives at the core;
// when the counter does its work again, the new order has the key of the old one
// and another body. The core refuses that ("order_key_reused": its contract, POST
// /v1/orders), and what becomes of it is settled here.

// codeKeyReused is the core's verdict: it holds another order under this key.
const codeKeyReused = "order_key_reused"

func reused(err error) bool {
	var verdict *CoreVerdict
	return errors.As(err, &verdict) && verdict.Code == codeKeyReused
}

// settleReused asks the core what it holds under the key of the current order,
// which was never prepared here, and goes on from there.
//
// An order that the core accepted is the one the citizen signed: it is adopted,
// the request goes on with it, and what the core has told of it meanwhile is
// applied. The answer is Conflict "order_adopted", since no forms are ready.
//
// One that it never accepted, or that ended there, was signed by nobody who can
// still rely on it: the core is asked to cancel it, and once that is granted a
// new order, with a new key, opens with a new capture. The answer is Conflict
// "core_has_other_order".
//
// Unavailable when the core gives no clear answer: nothing has changed then.
func (d Desk) settleReused(ctx context.Context, r *Request) error {
	g, o := d.g, r.Order()
	held, err := g.core.Lookup(ctx, o.Key)
	g.sawCore(err)
	if err != nil {
		return coreTrouble("look up order", err)
	}
	now := g.clock.Now()
	var change Change
	var events []Event
	code := "core_has_other_order"
	if held.Receipt != nil && !slices.Contains([]string{coreCancelled, coreRejected}, held.State) {
		code = "order_adopted"
		change, events = adopt(r, held, now)
		change.Audit = []AuditEntry{{
			At: now, Actor: d.scope.actor, Act: code, Subject: r.ID, Payload: map[string]string{"order": o.Key, "receipt": held.Receipt.ID, "state": held.State},
		}}
	} else {
		change, events, err = d.askCancel(r, o, "void:superseded", now)
		change.WipeKey = o.Key
	}
	if err == nil {
		err = g.commit(ctx, r, change, events...)
	}
	if err != nil {
		return wrap("settle order that the core holds", err)
	}
	g.log.Warn("the core holds another order under this key: was the database restored?", "order", o.Key, "state", held.State, "settled", code)
	poke(g.wakeRelay)
	poke(g.wakeStatus)
	return NewError(Conflict, code, "nun", held.NUN)
}

// adopt answers the events by which an order that the core accepted becomes the
// request's own, in one commit. Whoever acted then is not known any more: the
// events are the gateway's, and the core's receipt is their proof. The core's
// events that were set aside meanwhile are due again.
func adopt(r *Request, held CoreOrder, now time.Time) (Change, []Event) {
	o, actor := r.Order(), systemScope("adopt").actor
	to := signedPrivate{Delivery: held.Delivery, Address: held.Delivery.Address}
	if held.Delivery.Option == r.Delivery.Option {
		to = signedPrivate{Delivery: r.Delivery, Address: r.DeliveryAddress()}
	}
	event := func(t EventType, data any) Event { return Event{Type: t, At: now, Actor: actor, Data: payload(data)} }
	signed := Event{Type: EventSigned, At: now, Actor: actor, Private: payload(to)}
	return Change{Unpark: true, Mark: &Mark{}, WipeKey: o.Key}, []Event{
		event(EventPrepared, preparedData{Key: o.Key, NUN: held.NUN, Digest: held.PrepareDigest}),
		event(EventFormsConfirmed, orderData{Key: o.Key}),
		signed,
		event(EventRelayed, relayedData{Key: o.Key, Receipt: held.Receipt.ID, AcceptedAt: held.Receipt.AcceptedAt, Digest: held.Receipt.Digest}),
	}
}
