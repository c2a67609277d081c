package gateway

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	"airegw/delivery"
	"airegw/policies"
)

// A parcel on its way, from IPZS to the holder's hand or to its destruction
// (B.2.4): how often it was tried, until when it is kept, where it goes if
// nobody takes it, and whether a new card is then free. The carrier's word comes
// through the core; of a parcel that an office has sent on itself, the office
// tells. Time alone ends what nobody collects.

// Transit is where a parcel is and what follows from it by the rules that held
// when it was shipped.
type Transit struct {
	delivery.Standing
	Tracking string // the carrier's number; "" when none is known
	Carrier  string
	// StorageDays is how long the last post office keeps it.
	StorageDays int
	// OfficeDays is how long an office keeps it before it is destroyed.
	OfficeDays int
	ReturnRule string // which rule says where it goes back to
	// ByOffice says that an office sent it on, so that no carrier's message comes
	// through the core.
	ByOffice bool
}

// parcelMovements translates the events of a parcel.
var parcelMovements = map[EventType]delivery.Movement{
	EventShipped: delivery.MovementShipped, EventReshipped: delivery.MovementReshipped,
	EventOutForDelivery: delivery.MovementOutForDelivery, EventAttemptFailed: delivery.MovementAttemptFailed,
	EventHeldAtPost: delivery.MovementHeldAtPost, EventAtComune: delivery.MovementAtOffice, EventAtConsulate: delivery.MovementAtOffice,
	EventReturned: delivery.MovementReturned, EventLost: delivery.MovementLost, EventUnclaimed: delivery.MovementUnclaimed,
	EventDestroyed: delivery.MovementDestroyed, EventDelivered: delivery.MovementDelivered,
}

// steps answers the movements of the current parcel, oldest first, and whether
// an office sent it last.
func (r *Request) steps() (steps []delivery.Step, byOffice bool) {
	for _, e := range r.Events {
		if e.Type == EventInProduction || e.Type == EventOrderOpened {
			steps, byOffice = nil, false // another card than the one before
			continue
		}
		movement, ok := parcelMovements[e.Type]
		if !ok {
			continue
		}
		var d coreData
		if read(e.Data, &d) != nil {
			continue // our own payload; Derive has read it before
		}
		if e.Type == EventShipped || e.Type == EventReshipped {
			byOffice = d.Seq == 0
		}
		step := delivery.Step{Movement: movement, At: e.At}
		if !d.At.IsZero() {
			step.At = d.At
		}
		if n := len(steps); n > 0 && step.At.Before(steps[n-1].At) {
			// Two clocks, the core's and ours: the order of events is the truth.
			step.At = steps[n-1].At
		}
		if reason := delivery.ReturnReason(d.Reason); reason.Known() {
			step.Reason = reason
		}
		steps = append(steps, step)
	}
	return steps, byOffice
}

// transit follows the parcel to a day; nil before it is shipped.
func (r *Request) transit(h policies.Handling, today policies.Date) (*Transit, error) {
	steps, byOffice := r.steps()
	if len(steps) == 0 {
		return nil, nil
	}
	standing, err := delivery.Follow(steps, h, today)
	if err != nil {
		return nil, err
	}
	if standing.Movement == delivery.MovementReturned {
		// It lies where it went back to as long as an office would keep it.
		standing.CollectBy = policies.DateOf(steps[len(steps)-1].At).AddDays(h.UnclaimedDays)
		standing.Overdue = standing.CollectBy.Before(today)
	}
	t := &Transit{
		Standing: standing, StorageDays: h.StorageDays, OfficeDays: h.UnclaimedDays, ReturnRule: h.ReturnRule, ByOffice: byOffice,
	}
	if o := r.Order(); o != nil {
		t.Tracking, t.Carrier = o.Tracking, o.Carrier
	}
	if r.Duplicate != nil {
		t.FreeDuplicate = policies.Known(r.Duplicate.Free)
	}
	return t, nil
}

// Transit answers where the parcel of a request is today; nil before it is
// shipped.
func (g *Gateway) Transit(r *Request) *Transit {
	h := r.Handling
	if h == nil {
		// Shipped before parcels were followed: by the rules of today.
		h = g.handling(r, r.UpdatedAt)
	}
	if h == nil {
		return nil
	}
	t, err := r.transit(*h, policies.DateOf(g.clock.Now()))
	if err != nil {
		g.log.Error("a parcel's history cannot be", "request", r.ID, "err", err)
		return nil
	}
	return t
}

// Transit answers where the parcel of a request of the scope is today.
func (d Desk) Transit(r *Request) *Transit { return d.g.Transit(r) }

// handling answers what the rules say of a parcel of a request shipped at an
// instant; nil when the residence is not known.
func (g *Gateway) handling(r *Request, on time.Time) *policies.Handling {
	if r.Decision == nil {
		return nil
	}
	facts := r.Decision.Facts
	h, err := g.rules.now(g.clock.Now()).Handling(r.Delivery.Option, facts.ResidenceCountry, facts.Post, on)
	if err != nil {
		g.log.Error("no rule for a parcel", "request", r.ID, "err", err)
		return nil
	}
	return &h
}

// parcelAtPost says whether a parcel that came to an office came to a consular
// post: the core says to which; without its word it follows from the delivery.
func (r *Request) parcelAtPost(told string) bool {
	if kind, _, ok := cutKind(told); ok {
		return kind == OfficePost
	}
	return r.Delivery.Option == policies.DeliveryConsulate || r.Office.Kind == OfficePost ||
		(r.State == StateReturned && r.Delivery.Option == policies.DeliveryForeignResidence)
}

// cutKind splits "post:4030010".
func cutKind(office string) (kind OfficeKind, code string, ok bool) {
	for _, k := range []OfficeKind{OfficePost, OfficeComune} {
		prefix := string(k) + ":"
		if len(office) > len(prefix) && office[:len(prefix)] == prefix {
			return k, office[len(prefix):], true
		}
	}
	return "", "", false
}

// onTheWay are the states of a parcel between two places.
var onTheWay = []State{StateShipped, StateReshipped, StateOutForDelivery, StateOnHoldPost}

// mayFollow says whether an event of a parcel or an order fits the state.
func (r *Request) mayFollow(t EventType) bool {
	target, moves := eventTarget[t]
	switch {
	case t == EventLost:
		return slices.Contains(onTheWay, r.State) || r.State == StateReturned
	case !moves:
		return t == EventAttemptFailed && slices.Contains(onTheWay, r.State)
	default:
		return step(r.State, target) == nil
	}
}

// Duplicate is whether a new card is free, and on what that rests (B.1.2,
// B.1.3: non-delivery that is not due to the holder).
type Duplicate struct {
	Free bool `json:"free"`
	// Basis is "evidence" when the parcel's own history decides, "office" when it
	// leaves it open and the office has found the cause.
	Basis  string                `json:"basis"`
	Reason delivery.ReturnReason `json:"reason,omitempty"` // the carrier's
	Cause  string                `json:"cause,omitempty"`  // the office's
}

// Destruction is the record of a card that was destroyed.
type Destruction struct {
	Record  string `json:"record"`  // number of the record in the office's register
	Witness string `json:"witness"` // id of the second person present
}

// destroyedData is the payload of EventDestroyed.
type destroyedData struct {
	Destruction
	Key  string `json:"key"`
	NUN  string `json:"nun"`
	Code string `json:"code"` // unclaimed, undelivered
}

// Outcomes of a card that did not arrive.
const (
	outcomeLost        = "parcel_lost"
	outcomeUnclaimed   = "card_unclaimed"
	outcomeUndelivered = "card_undelivered"
)

func (r *Request) absorbDestruction(e Event) error {
	var d destroyedData
	if err := read(e.Data, &d); err != nil {
		return err
	}
	r.Outcome = &Outcome{Code: d.Code, Args: map[string]string{"record": d.Record}}
	return nil
}

var (
	trackingShape = regexp.MustCompile(`^[A-Z0-9]{8,40}$`)
	recordShape   = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N} ./_-]{0,59}$`)
)

func checkDestruction(d Destruction, actor Actor) *Error {
	switch {
	case !recordShape.MatchString(d.Record):
		return invalid("/record", "destruction_record")
	case !recordShape.MatchString(d.Witness):
		return invalid("/witness", "destruction_witness")
	case d.Witness == actor.ID:
		return invalid("/witness", "destruction_witness_same")
	}
	return nil
}

// Reship records that the office sends a parcel on which lies with it: a
// further try, at the address of the request (B.2.4). Durable on return.
// Conflict "parcel_not_here" when it does not lie at the office.
func (d Desk) Reship(ctx context.Context, number, carrier, tracking string) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	switch {
	case !recordShape.MatchString(carrier):
		return invalid("/carrier", "carrier_missing")
	case !trackingShape.MatchString(tracking):
		return invalid("/tracking", "tracking_shape")
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		if r.State != StateAtComune && r.State != StateAtConsulate {
			return Change{}, nil, NewError(Conflict, "parcel_not_here", "state", string(r.State))
		}
		if r.Address == nil {
			return Change{}, nil, NewError(Conflict, "parcel_no_address")
		}
		return Change{Mark: &Mark{}}, []Event{{Type: EventReshipped, At: now, Actor: d.scope.actor, Data: payload(coreData{
			Key: r.Order().Key, At: now, Carrier: carrier, Tracking: tracking, Expected: d.g.expected(r, now), Handling: d.g.handling(r, now),
		})}}, nil
	})
}

// parcelWords are the movements an office may tell, with their events.
var parcelWords = map[delivery.Movement]EventType{
	delivery.MovementOutForDelivery: EventOutForDelivery, delivery.MovementAttemptFailed: EventAttemptFailed,
	delivery.MovementHeldAtPost: EventHeldAtPost, delivery.MovementReturned: EventReturned, delivery.MovementLost: EventLost,
	delivery.MovementDelivered: EventDelivered, delivery.MovementAtOffice: EventAtComune,
}

// RecordMovement records what an office knows of a parcel: of one it sent on
// itself everything the carrier tells it, of any other that it came back to the
// office. Conflict "carrier_speaks" for what the core tells by itself.
func (d Desk) RecordMovement(ctx context.Context, number string, movement delivery.Movement, reason delivery.ReturnReason) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	t, known := parcelWords[movement]
	if !known {
		return invalid("/movement", "movement_unknown")
	}
	if !reason.Known() && (reason != "" || movement == delivery.MovementReturned) {
		return invalid("/reason", "return_reason_unknown")
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		t := t
		_, byOffice := r.steps()
		if t == EventAtComune {
			if r.Office.Kind == OfficePost {
				t = EventAtConsulate
			}
		} else if !byOffice {
			return Change{}, nil, NewError(Conflict, "carrier_speaks")
		}
		if !r.mayFollow(t) {
			return Change{}, nil, moved(r)
		}
		return Change{Mark: &Mark{}, Passage: r.passage(t, now)}, []Event{{
			Type: t, At: now, Actor: d.scope.actor, Data: payload(coreData{Key: r.Order().Key, At: now, Reason: string(reason)}),
		}}, nil
	})
}

// duplicateCauses are what an office may find where the carrier's word leaves
// open whose fault it was; true: not the holder's.
var duplicateCauses = map[string]bool{"register_wrong": true, "carrier_fault": true, "address_given_wrongly": false, "holder_moved": false}

// DecideDuplicate ends a request whose card will not reach the holder: it
// decides from the evidence whether a new card is free and records that this
// one was destroyed. cause is needed, of a referent, only where the parcel's
// history leaves it open; where that decides, it must be empty: Conflict
// "evidence_decides".
func (d Desk) DecideDuplicate(ctx context.Context, number, cause string, record Destruction) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	if err := checkDestruction(record, d.scope.actor); err != nil {
		return err
	}
	fault, known := duplicateCauses[cause]
	if cause != "" && !known {
		return invalid("/cause", "duplicate_cause_unknown")
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		if r.State != StateReturned && r.State != StateAtComune && r.State != StateAtConsulate {
			return Change{}, nil, moved(r)
		}
		t := d.g.Transit(r)
		if t == nil {
			return Change{}, nil, moved(r)
		}
		decided := Duplicate{Free: t.FreeDuplicate == policies.Yes, Basis: "evidence", Reason: r.lastReason()}
		switch {
		case t.FreeDuplicate != policies.Unknown && cause != "":
			return Change{}, nil, NewError(Conflict, "evidence_decides")
		case t.FreeDuplicate != policies.Unknown:
		case cause == "":
			return Change{}, nil, invalid("/cause", "duplicate_cause_missing")
		case d.scope.actor.Role != RoleReferent:
			return Change{}, nil, NewError(Forbidden, "referent_only")
		default:
			decided.Free, decided.Basis, decided.Cause = fault, "office", cause
		}
		return Change{Passage: r.passage(EventDestroyed, now)}, []Event{
			{Type: EventDuplicate, At: now, Actor: d.scope.actor, Data: payload(decided)},
			d.destroyed(r, now, record, outcomeUndelivered),
		}, nil
	})
}

func (d Desk) destroyed(r *Request, now time.Time, record Destruction, code string) Event {
	o := r.Order()
	return Event{Type: EventDestroyed, At: now, Actor: d.scope.actor, Data: payload(destroyedData{Destruction: record, Key: o.Key, NUN: o.NUN, Code: code})}
}

// lastReason is what the carrier said when the parcel last went back.
func (r *Request) lastReason() delivery.ReturnReason {
	steps, _ := r.steps()
	for _, s := range slices.Backward(steps) {
		if s.Movement == delivery.MovementReturned {
			return s.Reason
		}
	}
	return ""
}

// DestroyUnclaimed records the destruction of a card that nobody collected for
// the time the rules set (one year: B.1.8, B.2.4).
func (d Desk) DestroyUnclaimed(ctx context.Context, number string, record Destruction) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	if err := checkDestruction(record, d.scope.actor); err != nil {
		return err
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		if r.State != StateUnclaimed {
			return Change{}, nil, moved(r)
		}
		return Change{Passage: r.passage(EventDestroyed, now)}, []Event{d.destroyed(r, now, record, outcomeUnclaimed)}, nil
	})
}

// transitStates are the states in which time alone may end something.
var (
	parcelWaits  = []State{StateOnHoldPost, StateAtComune, StateAtConsulate, StateReturned}
	citizenWaits = []State{StatePrechecked, StateMisaligned, StateSuspended}
)

// transitEvery is how often time is weighed; the rules count in days.
const transitEvery = time.Hour

// markStorageOver is on a parcel that the post office should have sent back.
const markStorageOver = "storage_over"

// TransitOnce does what time alone demands: a card that nobody collected
// becomes unclaimed, a parcel kept beyond its storage is marked, a request
// nobody came back to is abandoned. again is always false.
func (g *Gateway) TransitOnce(ctx context.Context) (again bool, err error) {
	now := g.clock.Now()
	err = errors.Join(
		g.eachOf(ctx, parcelWaits, now.AddDate(0, 0, -1), g.parcelTime),
		g.eachOf(ctx, citizenWaits, now.Add(-g.set.AbandonAfter), g.abandon),
	)
	return false, err
}

// eachOf does one thing to every request in these states made before an
// instant. What somebody else moves meanwhile is theirs.
func (g *Gateway) eachOf(ctx context.Context, states []State, before time.Time, do func(context.Context, *Request, time.Time) error) error {
	const page = 500
	scope := systemScope("transit")
	var errs []error
	for after := ""; ; {
		rows, err := g.store.Find(ctx, scope, Criteria{States: states, Limit: page, After: after})
		if err != nil {
			return errors.Join(append(errs, wrap("find parcels", err))...)
		}
		for _, row := range rows {
			after = row.ID
			if row.CreatedAt.After(before) {
				continue
			}
			r, err := g.load(ctx, scope, row.ID)
			if err == nil {
				err = do(ctx, r, g.clock.Now())
			}
			if err != nil && KindOf(err) != Conflict {
				errs = append(errs, err)
			}
		}
		if len(rows) < page {
			return errors.Join(errs...)
		}
	}
}

// parcelTime ends what nobody collected in time.
func (g *Gateway) parcelTime(ctx context.Context, r *Request, now time.Time) error {
	t := g.Transit(r)
	if t == nil || !t.Overdue {
		return nil
	}
	actor := systemScope("transit").actor
	if r.State == StateOnHoldPost {
		if r.Mark.Kind != "" {
			return nil // marked, or parked for another reason
		}
		// Only the carrier knows where it is now; somebody should ask.
		return g.commit(ctx, r, Change{
			Mark:  &Mark{Kind: MarkWaiting, Code: markStorageOver},
			Audit: []AuditEntry{{At: now, Actor: actor, Act: "storage_over", Subject: r.ID}},
		})
	}
	return g.commit(ctx, r, Change{Mark: &Mark{Kind: MarkWaiting, Code: "destruction_due"}}, Event{
		Type: EventUnclaimed, At: now, Actor: actor, Data: payload(coreData{Key: r.Order().Key, At: now}),
	})
}

// abandon ends a request that no person has touched for the time set. What the
// register or the rules wait for does not count as a touch.
func (g *Gateway) abandon(ctx context.Context, r *Request, now time.Time) error {
	last := r.CreatedAt
	for _, e := range r.Events {
		if e.Actor.Kind != ActorWorker && e.Actor.Kind != ActorCore {
			last = e.At
		}
	}
	if now.Sub(last) < g.set.AbandonAfter || r.Mark.Kind == MarkParked {
		return nil
	}
	if o := r.Order(); o != nil && !o.Dead {
		return nil // an order lives at the core: a person decides
	}
	return g.commit(ctx, r, Change{}, Event{
		Type: EventAbandoned, At: now, Actor: systemScope("transit").actor, Data: payload(Outcome{Code: "abandoned_by_time"}),
	})
}

// NonDelivery is what our own record says of the card before, when a new one is
// asked for because that did not arrive.
type NonDelivery struct {
	// Free is yes when the record proves that it was not the holder's fault, no
	// when it proves the contrary, unknown when we have no record of a card.
	Free   policies.Tri `json:"free,omitzero"`
	Reason string       `json:"reason"` // delivered, lost, the carrier's reason, no_record
	Order  string       `json:"order,omitempty"`
}

// nonDelivery looks for the last card that was sent to the applicant.
func (g *Gateway) nonDelivery(ctx context.Context, r *Request) (NonDelivery, error) {
	scope := systemScope("transit")
	rows, err := g.store.Find(ctx, scope, Criteria{FiscalCode: r.Input.Applicant.FiscalCode, Limit: 100})
	if err != nil {
		return NonDelivery{}, wrap("find earlier requests", err)
	}
	for _, row := range rows {
		if row.ID == r.ID {
			continue
		}
		earlier, err := g.load(ctx, scope, row.ID)
		if err != nil {
			return NonDelivery{}, err
		}
		t := g.Transit(earlier)
		if t == nil {
			continue // never shipped
		}
		out := NonDelivery{Free: t.FreeDuplicate, Reason: string(t.Movement), Order: earlier.Order().Key}
		if reason := earlier.lastReason(); reason != "" && t.Movement != delivery.MovementDelivered && t.Movement != delivery.MovementLost {
			out.Reason = string(reason)
		}
		return out, nil
	}
	return NonDelivery{Reason: "no_record"}, nil
}

// nonDeliveryEvidence is the rules' name of the evidence that a card did not
// arrive.
const nonDeliveryEvidence = "non_delivery_record"

// weighNonDelivery lets our own record stand for, or against, what was shown.
func (r *Request) weighNonDelivery(f *policies.Facts) {
	if r.NonDelivery == nil {
		return
	}
	switch r.NonDelivery.Free {
	case policies.Yes:
		if !slices.Contains(f.Evidence, nonDeliveryEvidence) {
			f.Evidence = append(slices.Clip(f.Evidence), nonDeliveryEvidence)
		}
	case policies.No:
		f.Evidence = slices.DeleteFunc(append([]string{}, f.Evidence...), func(e string) bool { return e == nonDeliveryEvidence })
	}
}

// parcelActs adds what an office may do with a parcel to its checklist.
func (d Desk) parcelActs(r *Request, add func(act string, done, possible bool, why string)) {
	here := r.State == StateAtComune || r.State == StateAtConsulate
	if here || r.State == StateUnclaimed {
		add("handover", false, true, "")
	}
	if here {
		add("reship", false, r.Address != nil, "parcel_no_address")
	}
	if _, byOffice := r.steps(); r.State == StateReturned || (byOffice && slices.Contains(onTheWay, r.State)) {
		add("movement", false, true, "")
	}
	if here || r.State == StateReturned {
		add("duplicate", false, true, "")
	}
	if r.State == StateUnclaimed {
		add("destroy", false, true, "")
	}
}
