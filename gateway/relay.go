package gateway

import (
	"context"
	"errors"
	"slices"
	"time"

	"airegw/anpr"
	"airegw/gateway/fault"
	"airegw/policies"
)

// RelayOnce claims due outbox rows and sends them to the core: claim, recheck,
// send, settle or park. again says that there may be more at once.
func (g *Gateway) RelayOnce(ctx context.Context) (again bool, err error) {
	return g.once(ctx, g.claimOutbox)
}

// claimOutbox claims at most n due rows.
func (g *Gateway) claimOutbox(ctx context.Context, n int) ([]func() error, error) {
	err := fault.Point("outbox.claim")
	if err != nil {
		return nil, wrap("claim outbox", err)
	}
	rows, err := g.store.ClaimOutbox(ctx, g.now(), g.set.Lease, n)
	if err == nil && len(rows) > 0 {
		err = fault.Point("outbox.claimed")
	}
	if err != nil {
		return nil, wrap("claim outbox", err)
	}
	steps := make([]func() error, len(rows))
	for i, row := range rows {
		steps[i] = func() error { return g.send(ctx, row) }
	}
	return steps, nil
}

// send brings one row to its end, or gives it back. A lost compare-and-set
// means that the row is somebody else's by now.
func (g *Gateway) send(ctx context.Context, row Outbox) error {
	ctx, cancel := context.WithTimeout(ctx, g.set.Lease)
	defer cancel()
	r, err := g.load(ctx, systemScope("relay"), row.RequestID)
	if err != nil {
		return err
	}
	if o := r.Order(); o == nil || o.Key != row.OrderKey {
		return g.store.ReleaseOutbox(ctx, row, time.Time{}, "order_gone", "", true)
	}
	switch row.Kind {
	case OutboxSubmission:
		err = g.sendSubmission(ctx, r, row)
	case OutboxCancellation:
		err = g.sendCancellation(ctx, r, row)
	case OutboxDelivery:
		err = g.sendDelivery(ctx, r, row)
	default:
		err = g.store.ReleaseOutbox(ctx, row, time.Time{}, "outbox_kind_unknown", "", true)
	}
	if KindOf(err) == Conflict {
		// Often, it says that leases are short for this disk, or this machine.
		g.log.Warn("a late worker was refused", "order", row.OrderKey, "kind", string(row.Kind), "fence", row.Fence, "code", CodeOf(err))
		return nil
	}
	return err
}

// later gives a row back after a failure that says nothing about the order;
// after many, a person must look. Nothing is ever discarded.
func (g *Gateway) later(ctx context.Context, row Outbox, code string) error {
	if row.Tries+1 >= g.set.ParkAfter {
		return g.store.ReleaseOutbox(ctx, row, time.Time{}, code, "", true)
	}
	return g.store.ReleaseOutbox(ctx, row, g.clock.Now().Add(g.after(row.Tries+1)), code, "", false)
}

// sendSubmission relays a signed order. It never repeats without asking: after
// any unclear answer the core is asked what it holds.
func (g *Gateway) sendSubmission(ctx context.Context, r *Request, row Outbox) error {
	o := r.Order()
	if r.State != StateSigned {
		return g.store.ReleaseOutbox(ctx, row, time.Time{}, "not_signed", "", true)
	}
	if len(row.Private) > 0 {
		held, err := g.core.Lookup(ctx, o.Key)
		g.sawCore(err)
		var verdict *CoreVerdict
		if err != nil && (o.Asked != askedCancellation || !errors.As(err, &verdict)) {
			return g.coreDelay(ctx, row, err)
		}
		if held.Receipt != nil {
			return g.settleSubmission(ctx, r, row, *held.Receipt)
		}
	}
	if o.Asked == askedCancellation {
		// Given up before the core accepted it: the cancellation behind this row
		// goes first by this one going away.
		return g.commit(ctx, r, Change{Settle: &row})
	}
	if objected := r.Objected(); objected != nil {
		mark := objected.mark()
		return g.store.ReleaseOutbox(ctx, row, time.Time{}, mark.Code, mark.Detail, true)
	}
	stopped, err := g.refresh(ctx, r, row)
	if err != nil || stopped {
		return err
	}
	if len(row.Private) == 0 || staleSubmission(r, row) {
		body, err := g.core.ComposeSubmission(r, row.Actor)
		if err != nil {
			return wrap("compose submission", err)
		}
		row.Private = payload(submissionKept{Body: body, Check: r.Register.At})
		err = g.store.KeepOutbox(ctx, row)
		if err != nil {
			return wrap("keep submission", err)
		}
	}
	err = fault.Point("relay.kept")
	if err != nil {
		return wrap("send submission", err)
	}
	var kept submissionKept
	err = read(row.Private, &kept)
	if err != nil {
		return wrap("read submission", err)
	}
	receipt, err := g.core.Submit(ctx, o.Key, kept.Body)
	g.sawCore(err)
	if err == nil {
		err = fault.Point("relay.sent")
	}
	if err != nil {
		var verdict *CoreVerdict
		if errors.As(err, &verdict) && verdict.Code == "submission_differs" {
			// An earlier body of ours got through: its receipt is the truth.
			return g.later(ctx, row, "core_has_another_body")
		}
		return g.coreDelay(ctx, row, err)
	}
	return g.settleSubmission(ctx, r, row, receipt)
}

// submissionKept is what an outbox row keeps: the exact body, and which check
// of the register stands in it.
type submissionKept struct {
	Body  []byte    `json:"body"`
	Check time.Time `json:"check"`
}

// staleSubmission says that the kept body names an older check than the request
// has by now; it was never accepted, or its receipt would have been found.
func staleSubmission(r *Request, row Outbox) bool {
	var kept submissionKept
	return read(row.Private, &kept) != nil || !kept.Check.Equal(r.Register.At)
}

// coreDelay parks on a verdict and waits on everything else.
func (g *Gateway) coreDelay(ctx context.Context, row Outbox, err error) error {
	var verdict *CoreVerdict
	if errors.As(err, &verdict) {
		return g.store.ReleaseOutbox(ctx, row, time.Time{}, "core_refuses", verdict.Code, true)
	}
	g.log.Warn("core gave no clear answer", "kind", string(row.Kind), "order", row.OrderKey, "try", row.Tries+1, "err", err)
	return g.later(ctx, row, "core_unavailable")
}

// trusted says whether the last answers of register and rules still let an
// order go: young enough, and nothing in them against it. A referent who
// un-parks an order has it asked again, never sent on an answer that forbids it.
//
// An answer of the future is one that a clock set back has dated: its age is not
// known.
func (g *Gateway) trusted(r *Request, now time.Time) bool {
	return r.positive() && now.Sub(r.Register.At) < g.set.RecheckAfter && r.Register.At.Sub(now) <= clockSlack &&
		r.Decision != nil && r.Decision.Decision.Outcome == policies.OutcomeAllowed &&
		r.Decision.Decision.RuleSet == g.rules.now(now).Hash() // else other rules hold by now
}

// refresh asks the register and the rules again when their last answers are not
// to be trusted any more. If they no longer allow the order it is parked with
// the reason: stopped is true.
func (g *Gateway) refresh(ctx context.Context, r *Request, row Outbox) (stopped bool, err error) {
	now := g.clock.Now()
	if g.trusted(r, now) {
		return false, nil
	}
	checked, err := g.ask(ctx, r, serviceActor("relay"), anpr.UrgencyRelay)
	if err != nil {
		return true, g.waitForRegister(ctx, r, row, err)
	}
	actor := systemScope("relay").actor
	events := []Event{checkedEvent(checked, now, actor)}
	refusal, blocked := sortFindings(checked.Findings)
	code := ""
	switch {
	case refusal != nil:
		code = refusal.Code
	case blocked:
		code = "correction_due"
	default:
		r.Register = checked
		facts := factsOf(r, now)
		facts.OnChosen = r.Order().SignedAt
		decision := g.rules.now(now).Decide(facts)
		decision.FactsDigest = facts.Digest()
		events = append(events, decidedEvent(facts, decision, now, actor))
		if decision.Outcome != policies.OutcomeAllowed {
			code = "rules_changed"
		}
	}
	corrections, err := g.corrections(ctx, r, checked)
	if err != nil {
		return true, err
	}
	err = g.commit(ctx, r, Change{Surname: checked.Applicant.Person.Surname, Corrections: corrections, Mark: &Mark{}}, events...)
	if err != nil {
		return true, err
	}
	if code != "" {
		return true, g.store.ReleaseOutbox(ctx, row, time.Time{}, code, "", true)
	}
	return false, nil
}

// settleSubmission records the receipt and settles the row in one commit.
func (g *Gateway) settleSubmission(ctx context.Context, r *Request, row Outbox, receipt Receipt) error {
	err := g.commit(ctx, r, Change{Settle: &row, Mark: &Mark{}}, Event{
		Type: EventRelayed, At: g.clock.Now(), Actor: systemScope("relay").actor,
		Data: payload(relayedData{Key: row.OrderKey, Receipt: receipt.ID, AcceptedAt: receipt.AcceptedAt, Digest: receipt.Digest}),
	})
	if err == nil {
		// Events may have overtaken the receipt.
		poke(g.wakeStatus)
		err = fault.Point("relay.settled")
	}
	return err
}

// sendCancellation asks the core to cancel an order; a void is a cancellation
// whose request goes on.
func (g *Gateway) sendCancellation(ctx context.Context, r *Request, row Outbox) error {
	var why reasonData
	err := read(row.Private, &why)
	if err != nil {
		return wrap("read cancellation", err)
	}
	voiding := len(why.Code) > 5 && why.Code[:5] == "void:"
	code := why.Code
	target := StateCancelled
	if voiding {
		code, target = why.Code[5:], StateInEnquiry
	}
	actor := systemScope("relay").actor
	denied := Event{Type: EventCancelDenied, At: g.clock.Now(), Actor: actor, Data: payload(orderData{Key: row.OrderKey, Code: "too_late"})}
	if step(r.State, target) != nil {
		// The order went on while this waited (accepted, or refused for good): a
		// grant could not be recorded, so none is asked for.
		return g.commit(ctx, r, Change{Settle: &row}, denied)
	}
	granted, err := g.askOnce(ctx, row, func() (bool, error) {
		return g.core.Cancel(ctx, row.OrderKey, row.Key, code, row.Actor)
	})
	var verdict *CoreVerdict
	if errors.As(err, &verdict) && verdict.Code == "order_unknown" {
		// The core never heard of it: nothing lives there.
		granted, err = true, nil
	}
	if err != nil {
		return g.coreDelay(ctx, row, err)
	}
	e, change := denied, Change{Settle: &row}
	switch {
	case granted && voiding:
		e.Type, e.Data = EventOrderVoided, payload(orderData{Key: row.OrderKey, Code: code})
		change.WipeKey = row.OrderKey
		change.Mark = &Mark{}
	case granted:
		e.Type, e.Data = EventCancelled, payload(Outcome{Code: code})
		change.WipeKey = row.OrderKey
	}
	return g.commit(ctx, r, change, e)
}

// askOnce asks what became of an earlier try before it tries again.
func (g *Gateway) askOnce(ctx context.Context, row Outbox, try func() (bool, error)) (granted bool, err error) {
	if row.Tries > 0 {
		held, err := g.core.Lookup(ctx, row.OrderKey)
		g.sawCore(err)
		if err != nil {
			return false, err
		}
		if answer, known := held.Changes[row.Key]; known {
			return answer, nil
		}
	}
	granted, err = try()
	g.sawCore(err)
	if err == nil {
		err = fault.Point("change.answered")
	}
	return granted, err
}

// sendDelivery asks the core to change the delivery of an accepted order.
func (g *Gateway) sendDelivery(ctx context.Context, r *Request, row Outbox) error {
	var to signedPrivate
	err := read(row.Private, &to)
	if err != nil {
		return wrap("read delivery change", err)
	}
	granted, err := g.askOnce(ctx, row, func() (bool, error) {
		return g.core.ChangeDelivery(ctx, r, row.Key, to.Delivery, to.Address, row.Actor)
	})
	if err != nil {
		return g.coreDelay(ctx, row, err)
	}
	e := Event{Type: EventDeliveryDenied, At: g.clock.Now(), Actor: systemScope("relay").actor, Data: payload(orderData{Key: row.OrderKey, Code: "too_late"})}
	if granted {
		e.Type, e.Private = EventDeliveryGranted, row.Private
	}
	return g.commit(ctx, r, Change{Settle: &row}, e)
}

// coreMay lists the states in which the core may still speak of an order.
var coreMay = []State{
	StateSigned, StateRelayed, StateCertified, StateInProduction, StateProductionDefect, StateShipped,
	StateReshipped, StateOutForDelivery, StateOnHoldPost, StateReturned, StateAtComune, StateAtConsulate,
}

func coreMaySpeak(s State) bool { return slices.Contains(coreMay, s) }
