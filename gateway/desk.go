package gateway

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"airegw/delivery"
	"airegw/gateway/fault"
	"airegw/policies"
)

// Holder says in whose hands a request is now.
type Holder struct {
	Kind   string `json:"kind"` // citizen, office, register, core, carrier, nobody
	Office Office `json:"office,omitzero"`
}

// Holder answers whose turn it is.
func (r *Request) Holder() Holder {
	switch r.State {
	case StateSubmitted:
		return Holder{Kind: "register"}
	case StateMisaligned, StatePrechecked, StateSuspended:
		if r.State == StateMisaligned && !r.Office.IsZero() {
			return Holder{Kind: "office", Office: r.Office}
		}
		return Holder{Kind: "citizen"}
	case StateInEnquiry, StateFormsReady, StateAtComune, StateAtConsulate, StateUnclaimed, StateRejectedCNSD:
		return Holder{Kind: "office", Office: r.Office}
	case StateSigned, StateRelayed, StateCertified, StateInProduction, StateProductionDefect:
		return Holder{Kind: "core"}
	case StateShipped, StateReshipped, StateOutForDelivery, StateOnHoldPost, StateReturned:
		return Holder{Kind: "carrier"}
	case StateDelivered:
		return Holder{Kind: "citizen"}
	default:
		return Holder{Kind: "nobody"}
	}
}

// NextStep answers the message code of what happens next, or of what to do.
func (r *Request) NextStep() string {
	if r.Mark.Kind == MarkParked {
		return "next.parked"
	}
	if slices.Contains(askableStates, r.State) && !r.DeliveryAllowed() {
		if o := r.Order(); o != nil && !o.Dead {
			return "next.void_then_choose"
		}
		return "next.choose_delivery"
	}
	return "next." + string(r.State)
}

// DeliveryAllowed says whether the chosen delivery is allowed by the last
// decision; before any decision it is not known to be refused.
func (r *Request) DeliveryAllowed() bool {
	if r.Decision == nil {
		return true
	}
	return r.Decision.Decision.Options.For(r.Delivery.Option).Verdict != policies.VerdictRefuse
}

// Tracking is what the tracker shows to whoever holds number and code: no name,
// no address.
type Tracking struct {
	Number    string         `json:"number"`
	State     State          `json:"state"`
	Holder    Holder         `json:"holder"`
	NextStep  string         `json:"next_step"`
	Expected  *delivery.Plan `json:"expected,omitempty"`
	UpdatedAt time.Time      `json:"updated_at"`
	Steps     []TrackStep    `json:"steps"`
	Findings  []Finding      `json:"findings,omitempty"`
	Outcome   *Outcome       `json:"outcome,omitempty"`
	Mark      Mark           `json:"mark,omitzero"`

	// What Gateway.Tracking adds.
	Parcel *Transit        `json:"-"` // of a card that is or was on its way
	Travel *policies.Value `json:"-"` // what the rules say of travelling with the card
	Past   *Past           `json:"-"` // of the delivery chosen; no cards: too few to tell of
}

// TrackStep is one change of state.
type TrackStep struct {
	State State     `json:"state"`
	At    time.Time `json:"at"`
}

// Track answers what the tracker shows. A wrong number, a wrong and a revoked
// code are the same NotFound.
func (g *Gateway) Track(ctx context.Context, number, code string) (Tracking, error) {
	number, code = strings.ToUpper(strings.TrimSpace(number)), strings.ToUpper(strings.TrimSpace(code))
	err := g.store.Track(ctx, number, code)
	if err != nil {
		return Tracking{}, wrap("track", err)
	}
	r, err := g.load(ctx, systemScope("tracker"), number)
	if err != nil {
		return Tracking{}, err
	}
	return g.Tracking(ctx, r)
}

// Tracking answers the request as the tracker shows it.
func (r *Request) Tracking() Tracking {
	t := Tracking{
		Number: r.ID, State: r.State, Holder: r.Holder(), NextStep: r.NextStep(), Expected: r.Expected,
		UpdatedAt: r.UpdatedAt, Outcome: r.Outcome, Mark: r.Mark,
	}
	t.Mark.Detail = "" // for the operator
	if !r.DeliveryAllowed() {
		t.Expected = nil // nothing arrives where nothing may be sent
	}
	last := State("")
	for _, e := range r.Events {
		if e.To != last {
			t.Steps = append(t.Steps, TrackStep{e.To, e.At})
			last = e.To
		}
	}
	if r.State == StateMisaligned && r.Register != nil {
		t.Findings = r.Register.Findings
	}
	return t
}

// List answers the requests of the scope, newest first.
func (d Desk) List(ctx context.Context, q Criteria) ([]Row, error) {
	q.FiscalCode = tidyCode(q.FiscalCode)
	rows, err := d.g.store.Find(ctx, d.scope, q)
	if _, citizen := d.scope.Person(); citizen {
		for i := range rows {
			rows[i].Mark.Detail = "" // for the operator
		}
	}
	return rows, wrap("list requests", err)
}

// Open answers a request with everything in it. The look is audited.
func (d Desk) Open(ctx context.Context, number string) (*Request, error) {
	r, err := d.g.load(ctx, d.scope, number)
	if err != nil {
		return nil, err
	}
	err = d.g.store.Audit(ctx, AuditEntry{At: d.g.clock.Now(), Actor: d.scope.actor, Act: "opened", Subject: r.ID})
	if err != nil {
		return nil, wrap("audit look", err)
	}
	if _, citizen := d.scope.Person(); citizen {
		r.Mark.Detail = "" // for the operator
	}
	return r, nil
}

// act loads a request, lets f say what happens, and commits it. f returns the
// change and its events; no events means that there is nothing to do.
func (d Desk) act(ctx context.Context, number string, f func(r *Request, now time.Time) (Change, []Event, error)) error {
	r, err := d.g.load(ctx, d.scope, number)
	if err != nil {
		return err
	}
	change, events, err := f(r, d.g.clock.Now())
	if err != nil || len(events) == 0 {
		return err
	}
	return d.g.commit(ctx, r, change, events...)
}

// fact records one counter fact, in the states in which the counter may work:
// before an order is opened at the core.
func (d Desk) fact(ctx context.Context, number string, t EventType, data, private any) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		if err := r.counterOpen(); err != nil {
			return Change{}, nil, err
		}
		return Change{}, []Event{{Type: t, At: now, Actor: d.scope.actor, Data: payload(data), Private: payload(private)}}, nil
	})
}

// counterOpen says whether counter facts may still be recorded. Once an order
// is open its body is what the core saw: void it first.
func (r *Request) counterOpen() error {
	switch r.State {
	case StateSubmitted, StatePrechecked, StateMisaligned, StateInEnquiry, StateSuspended:
	default:
		return moved(r)
	}
	if o := r.Order(); o != nil && !o.Dead {
		return NewError(Conflict, "order_open")
	}
	return nil
}

// moved says that the request's state does not allow the act (any more).
func moved(r *Request) *Error {
	return NewError(Conflict, "state_moved", "state", string(r.State))
}

// officeOnly: counter work belongs to the office's operators and machines.
func (d Desk) officeOnly() error {
	if _, ok := d.scope.Office(); !ok {
		return NewError(Forbidden, "office_only")
	}
	return nil
}

// RecordPresence records that the person stands at the counter (A72).
func (d Desk) RecordPresence(ctx context.Context, number string) error {
	return d.fact(ctx, number, EventPresence, nil, nil)
}

// RecordDocuments records what was shown.
func (d Desk) RecordDocuments(ctx context.Context, number string, docs Documents) error {
	if !slices.Contains([]string{"passport", "paper_card", "electronic_card", "two_witnesses", "other_id"}, docs.Identity) {
		return invalid("/identity", "identity_unknown")
	}
	for i, e := range docs.Evidence {
		if len(e) == 0 || len(e) > 40 {
			return invalid(fmt.Sprintf("/evidence/%d", i), "evidence_unknown")
		}
	}
	if err := d.cardProves(ctx, number, docs.Identity); err != nil {
		return err
	}
	return d.fact(ctx, number, EventDocuments, docs, nil)
}

// RecordDeclaration records the declaration of art. 3 L. 1185/1967, or that it
// was not made: then the card carries the printed note (A74).
func (d Desk) RecordDeclaration(ctx context.Context, number string, decl Declaration) error {
	if decl.NoObstacles {
		decl.Letters = "bcdefg"
	}
	return d.fact(ctx, number, EventDeclaration, decl, nil)
}

// RecordCapture records references to what the station acquired. Photo always;
// prints and signature by age, or with a coded exemption (A30–A32).
func (d Desk) RecordCapture(ctx context.Context, number string, c Capture) error {
	var problems []Problem
	if c.Station == "" {
		c.Station = d.scope.actor.Station
	}
	if !stationOf(d.scope.actor, c.Station) {
		problems = append(problems, Problem{Field: "/station", Code: "station_unknown"})
	}
	if c.Photo == "" {
		problems = append(problems, Problem{Field: "/photo", Code: "photo_missing"})
	}
	switch c.Exemption {
	case "":
		if len(c.Fingerprints) != 2 || c.Fingerprints[0].Hand == c.Fingerprints[1].Hand {
			problems = append(problems, Problem{Field: "/fingerprints", Code: "fingerprints_two_hands"})
		}
	case "under_12", "temporary", "permanent":
	default:
		problems = append(problems, Problem{Field: "/exemption", Code: "exemption_unknown"})
	}
	if c.Signature == "" && c.Exemption != "under_12" {
		problems = append(problems, Problem{Field: "/signature", Code: "signature_missing"})
	}
	for field, ref := range captureRefs(c) {
		if !refShape.MatchString(ref) {
			problems = append(problems, Problem{Field: field, Code: "capture_ref_shape"})
		}
	}
	if len(problems) > 0 {
		return &Error{Kind: Invalid, Code: "invalid_input", Problems: problems}
	}
	return d.fact(ctx, number, EventCapture, c, nil)
}

// refShape is a reference into the capture store, as the core takes it.
var refShape = regexp.MustCompile(`^[A-Za-z0-9:._/-]{4,200}$`)

// captureRefs answers the references given, by field.
func captureRefs(c Capture) map[string]string {
	refs := map[string]string{}
	if c.Photo != "" {
		refs["/photo"] = c.Photo
	}
	if c.Signature != "" {
		refs["/signature"] = c.Signature
	}
	for i, f := range c.Fingerprints {
		refs[fmt.Sprintf("/fingerprints/%d/ref", i)] = f.Ref
	}
	return refs
}

// stationOf: stations belong to the Ministry and are the only means of issuing
// (A96); the operator's session names the one it sits at.
func stationOf(a Actor, station string) bool {
	return station != "" && (a.Station == station || a.Kind == ActorClient)
}

// RecordFee records what was taken, or the exemption.
func (d Desk) RecordFee(ctx context.Context, number string, fee Fee) error {
	switch {
	case fee.Means != "cash" && fee.Means != "card" && fee.Means != "exempt":
		return invalid("/means", "fee_means_unknown")
	case fee.Means == "exempt" && fee.Exemption == "":
		return invalid("/exemption", "fee_exemption_missing")
	case fee.Cents < 0 || fee.Cents > 100_00:
		return invalid("/cents", "fee_amount")
	}
	return d.fact(ctx, number, EventFee, fee, nil)
}

// GiveAssent records a parent's word. A citizen speaks only for the own fiscal
// code; the counter records the word of a parent who is present or whose
// signature was authenticated. It can be taken back until signature.
func (d Desk) GiveAssent(ctx context.Context, number, parent string, given bool, how string) error {
	parent = tidyCode(parent)
	if person, ok := d.scope.Person(); ok {
		if person != parent {
			return NewError(Forbidden, "assent_own_only")
		}
		if err := d.levelled(policies.ActSecondParentAssent); err != nil {
			return err
		}
		how = "online"
	} else if how != "counter" && how != "authenticated" {
		return invalid("/how", "assent_how_unknown")
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		if err := r.counterOpen(); err != nil {
			return Change{}, nil, err
		}
		if !hasParent(r.Input.Parents, parent) {
			return Change{}, nil, invalid("/parent", "parent_not_named")
		}
		return Change{}, []Event{{
			Type: EventAssent, At: now, Actor: d.scope.actor,
			Private: payload(assentPrivate{Parent: parent, Assent: Assent{Given: given, How: how, At: now}}),
		}}, nil
	})
}

// ChooseDelivery replaces the chosen delivery until an order is opened. A choice
// that the rules refuse is not taken: Invalid with the reason's code, rule and
// legal reference.
func (d Desk) ChooseDelivery(ctx context.Context, number string, choice DeliveryChoice) error {
	if err := d.levelled(policies.ActChangeDelivery); err != nil {
		return err
	}
	if err := shapeOfChoice(choice); err != nil {
		return err
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		if err := r.counterOpen(); err != nil {
			return Change{}, nil, err
		}
		chosen := Event{Type: EventDeliveryChosen, At: now, Actor: d.scope.actor, Private: payload(choice)}
		if r.Register == nil {
			// Not decided yet: the worker decides with this choice.
			return Change{}, []Event{chosen}, nil
		}
		r.Delivery = choice
		facts := factsOf(r, now)
		decision := d.g.rules.now(now).Decide(facts)
		decision.FactsDigest = facts.Digest()
		if refused := decision.Options.For(choice.Option); refused.Verdict == policies.VerdictRefuse {
			return Change{}, nil, refusedOption("/delivery/option", refused)
		}
		change := Change{}
		if r.Mark.Code == markAskedAgain {
			change.Mark = &Mark{} // what new rules asked is answered
		}
		return change, []Event{chosen, decidedEvent(facts, decision, now, d.scope.actor)}, nil
	})
}

func shapeOfChoice(choice DeliveryChoice) error {
	var problems []Problem
	checkDelivery(Input{Delivery: choice}, func(field, code string, args ...string) {
		problems = append(problems, Problem{Field: field, Code: code})
	})
	if len(problems) > 0 {
		return &Error{Kind: Invalid, Code: "invalid_input", Problems: problems}
	}
	return nil
}

// refusedOption names rule and legal reference of a delivery that is not
// allowed, so that the answer explains itself.
func refusedOption(field string, o policies.Option) *Error {
	return invalid(field, "delivery_refused", "code", o.Code, "rule", o.Rule, "legal_ref", o.LegalRef, "it", o.Reason.IT, "en", o.Reason.EN)
}

// OpenEnquiry opens the dossier at the counter: never without a positive check
// of the register and the person's presence.
func (d Desk) OpenEnquiry(ctx context.Context, number string) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		switch {
		case r.State == StateSubmitted:
			return Change{}, nil, NewError(Conflict, "register_not_asked_yet")
		case r.State != StatePrechecked:
			return Change{}, nil, moved(r)
		case r.Decision == nil || !routed(r):
			return Change{}, nil, NewError(Conflict, "not_decided_yet")
		case r.Counter.PresentAt.IsZero():
			return Change{}, nil, NewError(Conflict, "presence_missing")
		}
		return Change{Dialogue: d.g.opensDialogue(r)}, []Event{{Type: EventEnquiryOpened, At: now, Actor: d.scope.actor}}, nil
	})
}

// routed says that the route step has named the office.
func routed(r *Request) bool {
	return slices.ContainsFunc(r.Events, func(e Event) bool { return e.Type == EventRouted })
}

// Suspend sets the dossier aside with a reason; Resume goes on.
func (d Desk) Suspend(ctx context.Context, number, code, detail string) error {
	return d.move(ctx, number, EventSuspended, reasonData{Code: code, Detail: detail}, StateInEnquiry)
}

// Resume goes on with a suspended dossier.
func (d Desk) Resume(ctx context.Context, number string) error {
	return d.move(ctx, number, EventResumed, nil, StateSuspended)
}

// Refuse ends the request with a reason. An order that lives at the core is
// voided first.
func (d Desk) Refuse(ctx context.Context, number, code, detail string) error {
	if code == "" {
		return invalid("/code", "reason_missing")
	}
	return d.move(ctx, number, EventRefused, Outcome{Code: code, Args: args("detail", detail)})
}

// reasonShape is a reason's code as the core takes it.
var reasonShape = regexp.MustCompile(`^[a-z][a-z0-9_]{1,50}$`)

func args(name, value string) map[string]string {
	if value == "" {
		return nil
	}
	return map[string]string{name: value}
}

// move records an office's event that changes the state, while no order lives.
// from, when given, are the only states it may leave: the table alone would let
// a request resume that was never suspended, past the presence check.
func (d Desk) move(ctx context.Context, number string, t EventType, data any, from ...State) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		if o := r.Order(); o != nil && !o.Dead {
			return Change{}, nil, NewError(Conflict, "order_open")
		}
		if len(from) > 0 && !slices.Contains(from, r.State) {
			return Change{}, nil, moved(r)
		}
		return Change{}, []Event{{Type: t, At: now, Actor: d.scope.actor, Data: payload(data)}}, nil
	})
}

// Cancel withdraws a request. Before an order lives at the core it is final at
// once; after that the core is asked, and the answer comes as an event.
func (d Desk) Cancel(ctx context.Context, number, code, detail string) error {
	if code == "" {
		code = "withdrawn"
	}
	if err := d.levelled(policies.ActOpenRequest); err != nil {
		return err // whoever may not make a request may not take it back
	}
	if !reasonShape.MatchString(code) {
		return invalid("/code", "reason_missing")
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		o := r.Order()
		if o == nil || o.Dead {
			return Change{}, []Event{{
				Type: EventCancelled, At: now, Actor: d.scope.actor,
				Data: payload(Outcome{Code: code, Args: args("detail", detail)}),
			}}, nil
		}
		return d.askCancel(r, o, code, now)
	})
}

// askCancel stores the intent to cancel the current order beside the event.
func (d Desk) askCancel(r *Request, o *Order, code string, now time.Time) (Change, []Event, error) {
	switch {
	case o.Asked != "":
		return Change{}, nil, NewError(Conflict, "change_under_way")
	case r.State.Final() || r.State == StateInProduction || o.CoreSeq > 1:
		return Change{}, nil, NewError(Conflict, "too_late")
	}
	change := Change{Outbox: []Outbox{{
		RequestID: r.ID, OrderKey: o.Key, Kind: OutboxCancellation, Key: changeKey(o, "cancel", r.Version), Due: now, Actor: d.scope.actor,
		Private: payload(reasonData{Code: code}),
	}}}
	if r.State == StateSigned && r.Mark.Kind == MarkParked {
		// A submission that is parked would hold this back for ever: it comes up
		// once more and is withdrawn.
		change.Unpark, change.Mark = true, &Mark{}
	}
	return change, []Event{{
		Type: EventCancelAsked, At: now, Actor: d.scope.actor, Data: payload(orderData{Key: o.Key, Code: code}),
	}}, nil
}

// changeKey is the idempotency key of a change of an order; the version makes
// a second attempt another one.
func changeKey(o *Order, what string, version int) string {
	return fmt.Sprintf("%s-%s-%d", o.Key, what, version)
}

// RevokeTracker kills the tracker code and answers a new one.
func (d Desk) RevokeTracker(ctx context.Context, number string) (string, error) {
	fresh, err := d.g.code(10)
	if err != nil {
		return "", wrap("draw tracker code", err)
	}
	err = d.act(ctx, number, func(_ *Request, now time.Time) (Change, []Event, error) {
		return Change{Tracker: fresh}, []Event{{
			Type: EventTrackerRevoked, At: now, Actor: d.scope.actor, Private: payload(trackerPrivate{Tracker: fresh}),
		}}, nil
	})
	if err != nil {
		return "", err
	}
	return fresh, nil
}

// recheckable are the states in which the register may be asked again.
var recheckable = []State{StateSubmitted, StateMisaligned, StatePrechecked, StateInEnquiry}

// Recheck asks the register again now, as long as no order is open at the core.
func (d Desk) Recheck(ctx context.Context, number string) error {
	r, err := d.g.load(ctx, d.scope, number)
	if err != nil {
		return err
	}
	if !slices.Contains(recheckable, r.State) {
		return moved(r)
	}
	if o := r.Order(); o != nil && !o.Dead {
		return NewError(Conflict, "order_open")
	}
	now := d.g.clock.Now()
	return d.g.commit(ctx, r, Change{Work: &Work{Step: StepCheck, Due: now, Actor: d.scope.actor}, Mark: &Mark{}, Audit: []AuditEntry{{
		At: now, Actor: d.scope.actor, Act: "recheck_asked", Subject: r.ID,
	}}})
}

// PrepareForms asks the core for the NUN. The intent, with the exact body, is
// stored before the core is asked; a repeat after any failure sends the same
// body and gets the same NUN. Unavailable when the core gives no clear answer;
// Conflict "order_adopted" or "core_has_other_order" when the core holds another
// order under the same key (see settleReused).
func (d Desk) PrepareForms(ctx context.Context, number string) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	g := d.g
	r, err := g.load(ctx, d.scope, number)
	if err != nil {
		return err
	}
	if r.State == StateFormsReady {
		return nil // a double click
	}
	if r.State != StateInEnquiry {
		return moved(r)
	}
	if objected := r.Objected(); objected != nil {
		return objected.error()
	}
	o := r.Order()
	if o == nil || o.Dead {
		err := d.openOrder(ctx, r)
		if err != nil {
			return err
		}
		o = r.Order()
	}
	if o.Asked != "" {
		return NewError(Conflict, "change_under_way")
	}
	if !r.positive() {
		return NewError(Conflict, "correction_due")
	}
	err = fault.Point("prepare.send")
	if err != nil {
		return wrap("prepare order", err)
	}
	prepared, err := g.core.Prepare(ctx, o.Key, o.Body)
	g.sawCore(err)
	if err == nil {
		err = fault.Point("prepare.answered")
	}
	if reused(err) {
		return d.settleReused(ctx, r)
	}
	if err != nil {
		return coreTrouble("prepare order", err)
	}
	// The halves are stored before the NUN is known to anybody: if we stop in
	// between, a repeat stores the same again.
	if prepared.Halves != (Halves{}) {
		err = g.store.PutHalves(ctx, r.ID, o.Key, prepared.Halves)
		if err != nil {
			return wrap("keep first halves", err)
		}
	}
	err = fault.Point("prepare.kept")
	if err != nil {
		return wrap("prepare order", err)
	}
	return g.commit(ctx, r, Change{}, Event{
		Type: EventPrepared, At: g.clock.Now(), Actor: d.scope.actor,
		Data: payload(preparedData{Key: o.Key, NUN: prepared.NUN, Digest: prepared.Digest}),
	})
}

// openOrder decides with the counter's facts and stores the intent.
func (d Desk) openOrder(ctx context.Context, r *Request) error {
	g := d.g
	now := g.clock.Now()
	if missing := r.missing(); missing != "" {
		return NewError(Conflict, missing)
	}
	if !r.positive() {
		return NewError(Conflict, "correction_due")
	}
	facts := factsOf(r, now)
	decision := g.rules.now(now).Decide(facts)
	decision.FactsDigest = facts.Digest()
	if o := decision.Options.For(r.Delivery.Option); o.Verdict == policies.VerdictRefuse {
		return refusedOption("/delivery/option", o)
	}
	if decision.Outcome != policies.OutcomeAllowed {
		return undecided(decision)
	}
	if r.Counter.Fee == nil || (r.Counter.Fee.Means != "exempt" && r.Counter.Fee.Cents != decision.FeeCents) {
		return invalid("/fee/cents", "fee_differs", "due", fmt.Sprintf("%d.%02d", decision.FeeCents/100, decision.FeeCents%100))
	}
	if decision.FingerprintsRequired && r.Counter.Capture.Exemption == "under_12" {
		// The age is the rules' word, and only known here for certain.
		return invalid("/fingerprints", "fingerprints_two_hands")
	}
	decided := decidedEvent(facts, decision, now, d.scope.actor)
	r.Decision = &Decided{At: now, Facts: facts, Decision: decision}
	generation := len(r.Orders) + 1
	key := orderKey(r.ID, generation)
	body, err := g.core.Compose(r, key, d.scope.actor)
	if err != nil {
		return wrap("compose order", err)
	}
	return g.commit(ctx, r, Change{}, decided, Event{
		Type: EventOrderOpened, At: now, Actor: d.scope.actor,
		Data: payload(orderOpenedData{Generation: generation, Key: key}), Private: payload(orderOpenedPrivate{Body: body}),
	})
}

// positive says that nothing in the register's last answer stands against the
// card: nothing is prepared or relayed otherwise.
func (r *Request) positive() bool {
	if r.Register == nil {
		return false
	}
	refusal, blocked := sortFindings(r.Register.Findings)
	return refusal == nil && !blocked
}

// missing answers the message code of the first counter act still to do.
func (r *Request) missing() string {
	switch {
	case r.Counter.PresentAt.IsZero():
		return "presence_missing"
	case r.Counter.Documents == nil:
		return "documents_missing"
	case r.Counter.Declaration == nil:
		return "declaration_missing"
	case r.Counter.Capture == nil:
		return "capture_missing"
	case r.Counter.Fee == nil:
		return "fee_missing"
	}
	for _, p := range r.Input.Parents {
		if _, ok := r.Counter.Assents[p.FiscalCode]; !ok {
			return "assent_missing"
		}
	}
	return ""
}

// undecided answers what the rules still miss or refuse, as one error.
func undecided(decision policies.Decision) *Error {
	e := &Error{Kind: Conflict, Code: "rules_not_satisfied"}
	for _, f := range decision.Findings {
		if f.Verdict == policies.VerdictAllow {
			continue
		}
		e.Problems = append(e.Problems, Problem{Field: "/" + f.About, Code: f.Code, Args: map[string]string{
			"it": f.Reason.IT, "en": f.Reason.EN, "rule": f.Rule, "legal_ref": f.LegalRef, "needs": strings.Join(f.Needs, ", "),
		}})
	}
	return e
}

// coreTrouble translates the core's silence and its verdicts.
func coreTrouble(doing string, err error) error {
	var verdict *CoreVerdict
	if errors.As(err, &verdict) {
		return &Error{Kind: Conflict, Code: "core_refuses", Args: map[string]string{"code": verdict.Code}, Err: fmt.Errorf("%s: %w", doing, err)}
	}
	return &Error{Kind: Unavailable, Code: "core_unavailable", Err: fmt.Errorf("%s: %w", doing, err)}
}

// sawCore remembers the core's health: a verdict is an answer.
func (g *Gateway) sawCore(err error) {
	var verdict *CoreVerdict
	if errors.As(err, &verdict) {
		err = nil
	}
	g.saw("core", err)
}

// Forms is what the summary form shows. PIN and PUK are first halves.
type Forms struct {
	Request *Request
	NUN     string
	PIN     string
	PUK     string
	Prints  int
}

// PrintForms answers the form's content and records the print: again until the
// forms are confirmed good, each print audited.
func (d Desk) PrintForms(ctx context.Context, number string) (Forms, error) {
	if err := d.officeOnly(); err != nil {
		return Forms{}, err
	}
	g := d.g
	r, err := g.load(ctx, d.scope, number)
	if err != nil {
		return Forms{}, err
	}
	o := r.Order()
	if r.State != StateFormsReady || o == nil || o.FormsConfirmed {
		return Forms{}, moved(r)
	}
	if o.Asked != "" {
		return Forms{}, NewError(Conflict, "change_under_way")
	}
	halves, err := g.store.Halves(ctx, o.Key)
	if KindOf(err) == NotFound {
		// Wiped by time: the core gives them again until the forms are confirmed.
		prepared, coreErr := g.core.Prepare(ctx, o.Key, o.Body)
		g.sawCore(coreErr)
		if coreErr != nil {
			return Forms{}, coreTrouble("prepare order again", coreErr)
		}
		halves = prepared.Halves
		err = g.store.PutHalves(ctx, r.ID, o.Key, halves)
	}
	if err != nil {
		return Forms{}, wrap("read first halves", err)
	}
	err = g.commit(ctx, r, Change{Printed: o.Key}, Event{
		Type: EventPrinted, At: g.clock.Now(), Actor: d.scope.actor, Data: payload(orderData{Key: o.Key}),
	})
	if err != nil {
		return Forms{}, err
	}
	return Forms{Request: r, NUN: o.NUN, PIN: halves.PIN, PUK: halves.PUK, Prints: r.Order().Prints}, nil
}

// ConfirmForms says that the printed forms are good. The core is told first;
// then the halves are wiped in the same commit that records it.
func (d Desk) ConfirmForms(ctx context.Context, number string) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	g := d.g
	r, err := g.load(ctx, d.scope, number)
	if err != nil {
		return err
	}
	o := r.Order()
	switch {
	case r.State != StateFormsReady || o == nil:
		return moved(r)
	case o.FormsConfirmed:
		return nil
	case o.Asked != "":
		return NewError(Conflict, "change_under_way")
	case o.Prints == 0:
		return NewError(Conflict, "print_missing")
	}
	now := g.clock.Now()
	err = g.core.ConfirmForms(ctx, *o, o.FirstPrintAt, d.scope.actor)
	g.sawCore(err)
	if err == nil {
		err = fault.Point("forms.confirmed")
	}
	if err != nil {
		return coreTrouble("confirm forms", err)
	}
	return g.commit(ctx, r, Change{WipeKey: o.Key}, Event{
		Type: EventFormsConfirmed, At: now, Actor: d.scope.actor, Data: payload(orderData{Key: o.Key, Prints: o.Prints}),
	})
}

// VoidOrder gives up the current order: the core is asked to cancel it, and
// once it grants that the request is back in the enquiry, ready for a new
// generation.
func (d Desk) VoidOrder(ctx context.Context, number, code string) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	if code == "" {
		code = "data_changed"
	}
	if !reasonShape.MatchString(code) {
		return invalid("/code", "reason_missing")
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		o := r.Order()
		if o == nil || o.Dead || (r.State != StateFormsReady && r.State != StateSigned && r.State != StateInEnquiry) {
			return Change{}, nil, moved(r)
		}
		change, events, err := d.askCancel(r, o, "void:"+code, now)
		change.WipeKey = o.Key
		return change, events, err
	})
}

// Sign records the citizen's signature on the forms and stores the intent to
// relay the order, in one commit. The delivery address freezes here: of a
// foreign residence it is the register's (A56).
func (d Desk) Sign(ctx context.Context, number string) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	err := d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		o := r.Order()
		switch {
		case r.State != StateFormsReady || o == nil:
			return Change{}, nil, moved(r)
		case !o.FormsConfirmed:
			return Change{}, nil, NewError(Conflict, "forms_not_confirmed")
		case o.Asked != "":
			return Change{}, nil, NewError(Conflict, "change_under_way")
		case r.Objected() != nil:
			return Change{}, nil, r.Objected().error()
		}
		decision := d.g.rules.now(now).Decide(factsOf(r, now))
		if refused := decision.Options.For(r.Delivery.Option); refused.Verdict == policies.VerdictRefuse {
			// The rules changed under the forms: void them, ask again.
			return Change{}, nil, refusedOption("/delivery/option", refused)
		}
		row := Outbox{RequestID: r.ID, OrderKey: o.Key, Kind: OutboxSubmission, Key: o.Key, Due: now, Actor: d.scope.actor}
		signed := Event{
			Type: EventSigned, At: now, Actor: d.scope.actor,
			Private: payload(signedPrivate{Delivery: r.Delivery, Address: r.DeliveryAddress()}),
		}
		return Change{Outbox: []Outbox{row}}, []Event{signed}, fault.Point("sign.commit")
	})
	if err == nil {
		err = fault.Point("sign.committed")
	}
	return wrap("sign", err)
}

// ChangeDelivery asks the core to send the card elsewhere, until it is shipped.
// The change holds only once the core grants it. A foreign residence is the
// register's of this moment, which is asked for it: the one frozen at signature
// stays until the core accepts the new one. Unavailable "register_unavailable"
// when the register does not answer; Conflict "delivery_unchanged" when nothing
// would change.
func (d Desk) ChangeDelivery(ctx context.Context, number string, choice DeliveryChoice) error {
	if err := d.levelled(policies.ActChangeDelivery); err != nil {
		return err
	}
	if err := shapeOfChoice(choice); err != nil {
		return err
	}
	residence, err := d.residenceNow(ctx, number, choice)
	if err != nil {
		return err
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		o := r.Order()
		switch {
		case o == nil || o.Dead || !slices.Contains(changeable, r.State):
			return Change{}, nil, moved(r)
		case o.Asked != "":
			return Change{}, nil, NewError(Conflict, "change_under_way")
		}
		var events []Event
		if residence != nil {
			r.Register = residence
			events = append(events, checkedEvent(residence, now, d.scope.actor))
		}
		before := r.Delivery
		r.Delivery = choice
		address := r.DeliveryAddress()
		if reflect.DeepEqual(before, choice) && reflect.DeepEqual(r.Address, address) {
			return Change{}, nil, NewError(Conflict, "delivery_unchanged")
		}
		decision := d.g.rules.now(now).Decide(factsOf(r, now))
		if refused := decision.Options.For(choice.Option); refused.Verdict == policies.VerdictRefuse {
			return Change{}, nil, refusedOption("/delivery/option", refused)
		}
		to := payload(signedPrivate{Delivery: choice, Address: address})
		row := Outbox{
			RequestID: r.ID, OrderKey: o.Key, Kind: OutboxDelivery, Key: changeKey(o, "delivery", r.Version), Due: now, Actor: d.scope.actor, Private: to,
		}
		asked := Event{Type: EventDeliveryAsked, At: now, Actor: d.scope.actor, Data: payload(orderData{Key: o.Key}), Private: to}
		return Change{Outbox: []Outbox{row}}, append(events, asked), nil
	})
}

// HandOver records the pick-up at the office, with the identity check and the
// print check the holder may ask for (A34).
func (d Desk) HandOver(ctx context.Context, number, to, check string) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	if !slices.Contains([]string{"holder", "delegate", "parent"}, to) {
		return invalid("/to", "handover_to_unknown")
	}
	if check == "" {
		check = "ok"
	}
	if check != "ok" && check != "defect" {
		return invalid("/check", "print_check_unknown")
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		if r.State != StateAtComune && r.State != StateAtConsulate && r.State != StateUnclaimed {
			return Change{}, nil, moved(r)
		}
		if (to == "delegate" && r.Delivery.Delegate == nil) || (to == "parent" && len(r.Input.Parents) == 0) {
			return Change{}, nil, invalid("/to", "handover_to_nobody_named")
		}
		if o := r.Order(); o != nil {
			if err := d.g.notNoticed(ctx, o.NUN); err != nil {
				return Change{}, nil, err
			}
		}
		return Change{Passage: r.passage(EventDelivered, now)}, []Event{{
			Type: EventDelivered, At: now, Actor: d.scope.actor, Data: payload(handedOverData{To: to, Check: check}),
		}}, nil
	})
}

// Unpark lets a parked request go on: its worker step and its outbox rows are
// due now. Only a referent may. One that is parked for an objection goes on by
// Overrule: Conflict "clearance_objection".
func (d Desk) Unpark(ctx context.Context, number string) error {
	if d.scope.actor.Role != RoleReferent {
		return NewError(Forbidden, "referent_only")
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		if r.Mark.Kind != MarkParked {
			return Change{}, nil, NewError(Conflict, "not_parked")
		}
		if o := r.Objected(); o != nil && r.Mark.Code == markObjection {
			return Change{}, nil, o.error() // Overrule says why it goes on
		}
		change := Change{Unpark: true, Mark: &Mark{}}
		if r.State == StatePrechecked && !routed(r) {
			change.Work = &Work{Step: StepRoute, Due: now}
		}
		return change, []Event{{Type: EventUnparked, At: now, Actor: d.scope.actor, Data: payload(reasonData{Code: r.Mark.Code})}}, nil
	})
}

// Reopen takes a request back to the counter after the core's final no
// (certification refused, or a defect that ended the order).
func (d Desk) Reopen(ctx context.Context, number string) error {
	if err := d.officeOnly(); err != nil {
		return err
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		o := r.Order()
		if o == nil || (r.State != StateRejectedCNSD && (r.State != StateProductionDefect || !o.Ended)) {
			return Change{}, nil, moved(r)
		}
		return Change{Mark: &Mark{}}, []Event{{Type: EventReopened, At: now, Actor: d.scope.actor, Data: payload(orderData{Key: o.Key})}}, nil
	})
}

// Decision answers what the rules say of a request today, with everything known
// of it by now. It stores nothing: the decision of record is made when an order
// opens.
func (d Desk) Decision(r *Request) policies.Decision {
	return d.g.RulesInForce().Decide(factsOf(r, d.g.clock.Now()))
}

// NextAct is one act of the counter's checklist.
type NextAct struct {
	Act      string `json:"act"`
	Done     bool   `json:"done"`
	Possible bool   `json:"possible"`
	Why      string `json:"why,omitempty"` // message code when not possible
}

// Checklist answers the counter's work for a request, step by step.
func (d Desk) Checklist(r *Request) []NextAct {
	c, o := r.Counter, r.Order()
	live := o != nil && !o.Dead
	open := r.counterOpen() == nil
	var list []NextAct
	add := func(act string, done, possible bool, why string) {
		if possible {
			why = ""
		}
		list = append(list, NextAct{act, done, possible, why})
	}
	fact := func(act string, done bool) { add(act, done, open, "order_open") }
	if _, office := d.scope.Office(); office {
		fact("presence", !c.PresentAt.IsZero())
		fact("documents", c.Documents != nil)
		fact("declaration", c.Declaration != nil)
		if len(r.Input.Parents) > 0 {
			fact("assent", len(c.Assents) == len(r.Input.Parents))
		}
		add("enquiry", r.State != StateSubmitted && r.State != StatePrechecked && r.State != StateMisaligned,
			r.State == StatePrechecked && routed(r) && !c.PresentAt.IsZero(), "presence_missing")
		fact("capture", c.Capture != nil)
		fact("fee", c.Fee != nil)
		ready := r.State == StateInEnquiry && r.missing() == ""
		add("prepare", live && o.NUN != "", ready, firstOf(r.missing(), "enquiry_missing"))
		printable := r.State == StateFormsReady && live && !o.FormsConfirmed
		add("print", live && o.Prints > 0, printable, "not_prepared")
		add("confirm", live && o.FormsConfirmed, printable && o.Prints > 0, "print_missing")
		add("sign", live && !o.SignedAt.IsZero(), r.State == StateFormsReady && live && o.FormsConfirmed && o.Asked == "", "forms_not_confirmed")
		d.parcelActs(r, add)
		if r.State == StateRejectedCNSD || (r.State == StateProductionDefect && o != nil && o.Ended) {
			add("reopen", false, true, "")
		}
		if r.Objected() != nil {
			add("overrule", false, d.scope.actor.Role == RoleReferent, "referent_only")
		}
		if r.Mark.Kind == MarkParked && r.Mark.Code != markObjection {
			add("unpark", false, d.scope.actor.Role == RoleReferent, "referent_only")
		}
		if live && (r.State == StateFormsReady || r.State == StateSigned || r.State == StateInEnquiry) {
			add("void", false, o.Asked == "", "change_under_way")
		}
	}
	if r.State == StateSubmitted || r.State == StateMisaligned {
		add("recheck", false, true, "")
	}
	return list
}

func firstOf(codes ...string) string {
	for _, c := range codes {
		if c != "" {
			return c
		}
	}
	return ""
}
