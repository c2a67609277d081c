package gateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"airegw/anpr"
	"airegw/delivery"
	"airegw/policies"
)

// Input is what somebody asks for: RequestInput of the OpenAPI file, the body
// of a form, a line of a file. Unknown members are refused where it is read
// (DecodeInput).
type Input struct {
	Key          string           `json:"key,omitempty"` // idempotency key, born with the form
	Channel      policies.Channel `json:"channel"`
	Office       string           `json:"office,omitempty"` // see ParseOffice; the post channel may leave it out
	Reason       policies.Reason  `json:"reason"`
	Applicant    Applicant        `json:"applicant"`
	Parents      []Parent         `json:"parents,omitempty"` // of a minor: whoever holds responsibility
	Delivery     DeliveryChoice   `json:"delivery"`
	Contacts     Contacts         `json:"contacts"`
	PreviousCard *PreviousCard    `json:"previous_card,omitempty"`
	Report       *Report          `json:"report,omitempty"`  // of theft or loss
	Changed      []string         `json:"changed,omitempty"` // which data changed, of reason changed_data: name, surname, birth, sex, citizenship
	// AIREComune is the comune of AIRE registration as the applicant or the consular
	// file says (ISTAT or catastale code); it only helps to ask the register.
	AIREComune string `json:"aire_comune,omitempty"`
}

// Applicant is the person the card is for. Only the fiscal code is needed: the
// register knows the rest (once only, A48). What is given beside it must agree.
type Applicant struct {
	FiscalCode string `json:"fiscal_code"`
	Surname    string `json:"surname,omitempty"`
	GivenName  string `json:"given_name,omitempty"`
	BirthDate  string `json:"birth_date,omitempty"` // YYYY-MM-DD
}

// Parent holds responsibility for a minor applicant.
type Parent struct {
	FiscalCode string `json:"fiscal_code"`
	Surname    string `json:"surname,omitempty"`
	GivenName  string `json:"given_name,omitempty"`
}

// DeliveryChoice is where the card should go. Address is given only for
// IT_ADDRESS: a foreign residence is the register's, never free text (A56).
type DeliveryChoice struct {
	Option   policies.DeliveryOption `json:"option"`
	Address  *delivery.Address       `json:"address,omitempty"`
	Delegate *Delegate               `json:"delegate,omitempty"`
}

// Delegate may take the card in the holder's stead; mandatory in Italy for
// holders under 14.
type Delegate struct {
	Surname    string `json:"surname"`
	GivenName  string `json:"given_name"`
	FiscalCode string `json:"fiscal_code,omitempty"`
}

// Contacts are security data abroad: code recovery depends on them (B.1.6).
type Contacts struct {
	Email    string `json:"email"`
	Phone    string `json:"phone,omitempty"`    // E.164
	Language string `json:"language,omitempty"` // it (default) or en
}

// PreviousCard is the card to be replaced, as the citizen declares it.
type PreviousCard struct {
	Kind    string `json:"kind"` // paper or electronic
	Number  string `json:"number,omitempty"`
	Expires string `json:"expires,omitempty"` // YYYY-MM-DD
}

// Report is the police report of a theft or loss.
type Report struct {
	Authority string `json:"authority"`
	Number    string `json:"number,omitempty"`
	Date      string `json:"date"` // YYYY-MM-DD
}

// Request is everything known of one request, derived from its events.
type Request struct {
	ID          string // the number people see: see newNumber
	State       State
	Version     int // sequence number of the last event
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Input       Input
	TrackerCode string // 10 characters; revocable
	Channel     policies.Channel
	LegalBasis  string
	Office      Office // zero until routed, unless the applicant chose a comune
	Register    *Checked
	Decision    *Decided
	Delivery    DeliveryChoice    // as it stands now
	Address     *delivery.Address // frozen at signature; for FOREIGN_RESIDENCE the register's
	Counter     Counter
	Orders      []Order // one per generation, the last is the current one
	Outcome     *Outcome
	Expected    *delivery.Plan     // expected delivery, with its basis
	Handling    *policies.Handling // what the rules said of the parcel when it was shipped; nil before
	Duplicate   *Duplicate         // once it is decided whether a new card is free
	NonDelivery *NonDelivery       // of a request for a card that did not arrive
	Told        []Told             // other offices that know of it
	Objections  []Objection        // of those, in the order in which they were raised
	Mark        Mark
	Events      []Event

	// stored is the request as its events say, whatever is tried out on this one;
	// nil on one that was not loaded.
	stored *Request
}

// Mark says that a request waits (a worker will try again at Due) or is parked
// (a person must look). The zero mark is none.
type Mark struct {
	Kind   MarkKind  `json:"kind,omitempty"`
	Code   string    `json:"code,omitempty"` // a key of gateway/messages
	Due    time.Time `json:"due,omitzero"`
	Tries  int       `json:"tries,omitempty"`
	Detail string    `json:"detail,omitempty"` // for the operator; no personal data
}

// MarkKind is the kind of a mark.
type MarkKind string

// The marks.
const (
	MarkWaiting MarkKind = "waiting"
	MarkParked  MarkKind = "parked"
)

// Finding is something in the way, with who must do what about it.
type Finding struct {
	Code    string            `json:"code"`             // a key of gateway/messages: what, and what to do
	Person  int               `json:"person,omitempty"` // 0 the applicant, 1… a parent
	Who     string            `json:"who,omitempty"`    // citizen, post, aire_comune, operator
	Field   string            `json:"field,omitempty"`
	Args    map[string]string `json:"args,omitempty"`
	Blocks  bool              `json:"blocks"` // misaligned until corrected
	Refuses bool              `json:"refuses"`
}

// Checked is the register's answer about every person a request names.
type Checked struct {
	At        time.Time     `json:"at"`
	Persons   int           `json:"persons"`
	Findings  []Finding     `json:"findings,omitempty"`
	Evidence  []Evidence    `json:"evidence"`
	Told      []Told        `json:"told,omitempty"` // the notices that went with this answer
	Applicant anpr.Record   `json:"-"`
	Parents   []anpr.Record `json:"-"`
}

// Evidence proves what was asked and answered in one call to the register.
type Evidence struct {
	Service       string `json:"service"`
	Operation     string `json:"operation,omitempty"`   // ours
	Answer        string `json:"answer,omitempty"`      // SHA-256 of the answer's exact bytes, hex
	Tracking      string `json:"tracking,omitempty"`    // SHA-256 of our tracking evidence, hex
	Transaction   string `json:"transaction,omitempty"` // the register's
	AnswerCode    string `json:"answer_code,omitempty"` // idOperazioneANPR
	PersonOrdinal int    `json:"person"`
}

type checkedPrivate struct {
	Applicant anpr.Record   `json:"applicant"`
	Parents   []anpr.Record `json:"parents,omitempty"`
}

// Decided is what the rules answered, with the facts it rests on.
type Decided struct {
	At       time.Time         `json:"at"`
	Facts    policies.Facts    `json:"facts"`
	Decision policies.Decision `json:"decision"`
}

type decidedData struct {
	Allowed bool   `json:"allowed"`
	RuleSet string `json:"rule_set"`
	Facts   string `json:"facts_digest"`
}

// Counter is the counter work done so far.
type Counter struct {
	PresentAt   time.Time         `json:"present_at,omitzero"`
	Documents   *Documents        `json:"documents,omitempty"`
	Declaration *Declaration      `json:"declaration,omitempty"`
	Assents     map[string]Assent `json:"assents,omitempty"` // by parent's fiscal code
	Capture     *Capture          `json:"capture,omitempty"`
	Fee         *Fee              `json:"fee,omitempty"`
}

// Documents are what the person showed at the counter.
type Documents struct {
	Identity string   `json:"identity"`           // passport, paper_card, electronic_card, two_witnesses
	Evidence []string `json:"evidence,omitempty"` // police_report, damaged_card, act, …
}

// Declaration is the absence of the obstacles of art. 3 b–g L. 1185/1967.
// Without it the card carries the printed note (A74).
type Declaration struct {
	NoObstacles bool   `json:"no_obstacles"`
	Letters     string `json:"letters"` // "bcdefg": the letters that were read out
}

// Assent is a parent's word on a minor's card.
type Assent struct {
	Given bool      `json:"given"`
	How   string    `json:"how"` // counter, online, authenticated
	At    time.Time `json:"at"`
}

// Capture holds references to what the station acquired, never the biometrics.
type Capture struct {
	Station      string        `json:"station"`
	Photo        string        `json:"photo"`
	Signature    string        `json:"signature,omitempty"`
	Fingerprints []Fingerprint `json:"fingerprints,omitempty"`
	Exemption    string        `json:"exemption,omitempty"` // under_12, temporary, permanent
	HeightCM     int           `json:"height_cm,omitempty"`
}

// Fingerprint is one finger's reference (A31).
type Fingerprint struct {
	Hand    string `json:"hand"`   // left, right
	Finger  string `json:"finger"` // index, middle, ring, thumb
	Quality int    `json:"quality"`
	Ref     string `json:"ref"`
}

// Fee is what was taken at the counter.
type Fee struct {
	Cents     int    `json:"cents"`
	Means     string `json:"means"` // cash, card, exempt
	Exemption string `json:"exemption,omitempty"`
}

// Order is one generation of the request at the issuance core.
type Order struct {
	Generation     int             `json:"generation"`
	Key            string          `json:"key"`              // request id and generation: the core's idempotency key
	Body           json.RawMessage `json:"-"`                // of prepare, as composed when the order was opened
	Digest         string          `json:"digest,omitempty"` // of Body, as the core saw it
	Actor          Actor           `json:"actor,omitzero"`   // who opened it
	NUN            string          `json:"nun,omitempty"`
	PreparedAt     time.Time       `json:"prepared_at,omitzero"`
	Prints         int             `json:"prints,omitempty"`
	FirstPrintAt   time.Time       `json:"first_print_at,omitzero"`
	FormsConfirmed bool            `json:"forms_confirmed,omitempty"`
	SignedAt       time.Time       `json:"signed_at,omitzero"`
	Receipt        string          `json:"receipt,omitempty"`
	AcceptedAt     time.Time       `json:"accepted_at,omitzero"`
	CoreSeq        int             `json:"core_seq,omitempty"` // last core event applied
	Tracking       string          `json:"tracking,omitempty"`
	Carrier        string          `json:"carrier,omitempty"`
	Ended          bool            `json:"ended,omitempty"` // a defect that is not made again
	Dead           bool            `json:"dead,omitempty"`  // the core's final verdict: voided, rejected, cancelled
	Asked          string          `json:"asked,omitempty"` // a cancellation or delivery change on its way
}

// What may be asked of the core about an order (Order.Asked).
const (
	askedCancellation = "cancellation"
	askedDelivery     = "delivery"
)

// Order answers the current order; nil before the first.
func (r *Request) Order() *Order {
	if len(r.Orders) == 0 {
		return nil
	}
	return &r.Orders[len(r.Orders)-1]
}

// Outcome is why a request ended as refused or cancelled.
type Outcome struct {
	Code     string            `json:"code"`
	Field    string            `json:"field,omitempty"`
	Args     map[string]string `json:"args,omitempty"`
	Rule     string            `json:"rule,omitempty"`
	LegalRef string            `json:"legal_ref,omitempty"`
}

// Person answers the fiscal codes that may see the request as citizens: the
// applicant and the named parents.
func (r *Request) persons() []string {
	persons := []string{r.Input.Applicant.FiscalCode}
	for _, p := range r.Input.Parents {
		persons = append(persons, p.FiscalCode)
	}
	return persons
}

// Payloads of events that have no type of their own above.
type (
	submittedPrivate struct {
		Input   Input  `json:"input"`
		Tracker string `json:"tracker"`
	}
	submittedData struct {
		Channel    policies.Channel `json:"channel"`
		Reason     policies.Reason  `json:"reason"`
		Office     Office           `json:"office,omitzero"`
		LegalBasis string           `json:"legal_basis"`
	}
	alignmentData struct {
		Findings []Finding `json:"findings,omitempty"`
	}
	routedData struct {
		Office   Office         `json:"office"`
		Basis    string         `json:"basis"` // chosen_comune, register_record
		Findings []Finding      `json:"findings,omitempty"`
		Expected *delivery.Plan `json:"expected,omitempty"`
	}
	assentPrivate struct {
		Parent string `json:"parent"`
		Assent Assent `json:"assent"`
	}
	reasonData struct {
		Code   string `json:"code"`
		Detail string `json:"detail,omitempty"`
	}
	orderOpenedData struct {
		Generation int    `json:"generation"`
		Key        string `json:"key"`
	}
	preparedData struct {
		Key    string `json:"key"`
		NUN    string `json:"nun"`
		Digest string `json:"digest"`
	}
	orderOpenedPrivate struct {
		Body json.RawMessage `json:"body"`
	}
	orderData struct {
		Key    string `json:"key"`
		Code   string `json:"code,omitempty"`
		Prints int    `json:"prints,omitempty"`
	}
	signedPrivate struct {
		Delivery DeliveryChoice    `json:"delivery"`
		Address  *delivery.Address `json:"address,omitempty"`
	}
	relayedData struct {
		Key        string    `json:"key"`
		Receipt    string    `json:"receipt"`
		AcceptedAt time.Time `json:"accepted_at"`
		Digest     string    `json:"digest"`
	}
	coreData struct {
		Key      string             `json:"key"`
		Seq      int                `json:"seq"`
		EventID  string             `json:"event_id"`
		At       time.Time          `json:"at"`
		Reason   string             `json:"reason,omitempty"`
		Tracking string             `json:"tracking,omitempty"`
		Carrier  string             `json:"carrier,omitempty"`
		Until    string             `json:"until,omitempty"`
		Ended    bool               `json:"ended,omitempty"`
		NUN      string             `json:"nun,omitempty"`
		Office   Office             `json:"office,omitzero"` // to whom the parcel came, when that is another office
		Expected *delivery.Plan     `json:"expected,omitempty"`
		Handling *policies.Handling `json:"handling,omitempty"` // of a parcel shipped now
	}
	handedOverData struct {
		Key   string `json:"key"`
		To    string `json:"to"`    // holder, delegate, parent
		Check string `json:"check"` // ok, defect (A34)
	}
	trackerPrivate struct {
		Tracker string `json:"tracker"`
	}
)

// Derive folds events into a request and checks every transition on the way.
// id names the request; events come in sequence from 1.
func Derive(id string, events []Event) (*Request, error) {
	r := &Request{ID: id}
	return r, r.applyAll(events)
}

func (r *Request) applyAll(events []Event) error {
	for _, e := range events {
		err := r.apply(e)
		if err != nil {
			return fmt.Errorf("request %s event %d %s: %w", r.ID, e.Seq, e.Type, err)
		}
	}
	if r.State == "" {
		return fmt.Errorf("request %s has no events", r.ID)
	}
	return nil
}

// twin answers a request that takes further events without changing this one.
// What apply changes in place is copied; the rest it replaces, never touches, and
// the two share it.
func (r *Request) twin() *Request {
	c := *r
	c.Events, c.Orders, c.Counter.Assents = slices.Clip(r.Events), slices.Clone(r.Orders), maps.Clone(r.Counter.Assents)
	c.stored = nil
	return &c
}

// keep remembers the request as it stands by its events, so that the next ones
// build upon it and not upon what is tried out on r meanwhile.
func (r *Request) keep() { r.stored = r.twin() }

// apply adds one event. It is the only place that changes a Request.
func (r *Request) apply(e Event) error {
	if e.Seq != r.Version+1 {
		return fmt.Errorf("sequence %d after %d", e.Seq, r.Version)
	}
	target, moves := eventTarget[e.Type]
	switch {
	case moves:
		if target != e.To {
			return fmt.Errorf("leads to %q, not %q", target, e.To)
		}
		err := step(r.State, target)
		if err != nil {
			return err
		}
	case !facts[e.Type]:
		return fmt.Errorf("unknown event")
	case e.To != r.State:
		return fmt.Errorf("a fact cannot lead from %q to %q", r.State, e.To)
	}
	err := r.absorb(e)
	if err != nil {
		return err
	}
	if r.Version == 0 {
		r.CreatedAt = e.At
	}
	r.State, r.Version, r.UpdatedAt = e.To, e.Seq, e.At
	r.Events = append(r.Events, e)
	return nil
}

// absorb reads an event's payload into the request.
func (r *Request) absorb(e Event) error {
	order := func(key string) (*Order, error) {
		o := r.Order()
		if o == nil || o.Key != key {
			return nil, fmt.Errorf("no current order %q", key)
		}
		return o, nil
	}
	switch e.Type {
	case EventSubmitted:
		var d submittedData
		var p submittedPrivate
		if err := both(e, &d, &p); err != nil {
			return err
		}
		r.Input, r.TrackerCode, r.Channel, r.Office, r.LegalBasis = p.Input, p.Tracker, d.Channel, d.Office, d.LegalBasis
		r.Delivery = p.Input.Delivery
	case EventChecked:
		var c Checked
		var p checkedPrivate
		if err := both(e, &c, &p); err != nil {
			return err
		}
		c.Applicant, c.Parents = p.Applicant, p.Parents
		r.Register = &c
		r.Told = append(slices.Clip(r.Told), c.Told...)
	case EventDecided:
		var d Decided
		if err := read(e.Private, &d); err != nil {
			return err
		}
		r.Decision = &d
		r.LegalBasis = d.Decision.LegalBasis
	case EventRouted:
		var d routedData
		if err := read(e.Data, &d); err != nil {
			return err
		}
		r.Office, r.Expected = d.Office, d.Expected
		if r.Register != nil {
			// What the districts hold against the register is shown beside what
			// the register itself was found to say.
			register := *r.Register
			register.Findings = append(slices.Clone(register.Findings), d.Findings...)
			r.Register = &register
		}
	case EventRefused, EventCancelled, EventAbandoned:
		var o Outcome
		if err := read(e.Data, &o); err != nil {
			return err
		}
		r.Outcome = &o
		if current := r.Order(); current != nil {
			current.Dead = true
			current.Asked = ""
		}
	case EventPresence:
		r.Counter.PresentAt = e.At
	case EventDocuments:
		r.Counter.Documents = new(Documents)
		return read(e.Data, r.Counter.Documents)
	case EventDeclaration:
		r.Counter.Declaration = new(Declaration)
		return read(e.Data, r.Counter.Declaration)
	case EventAssent:
		var p assentPrivate
		if err := read(e.Private, &p); err != nil {
			return err
		}
		if r.Counter.Assents == nil {
			r.Counter.Assents = map[string]Assent{}
		}
		r.Counter.Assents[p.Parent] = p.Assent
	case EventCapture:
		r.Counter.Capture = new(Capture)
		return read(e.Data, r.Counter.Capture)
	case EventFee:
		r.Counter.Fee = new(Fee)
		return read(e.Data, r.Counter.Fee)
	case EventDeliveryChosen:
		// Into a fresh one: what the new choice leaves out (delegate, address) is
		// not the old one's.
		var chosen DeliveryChoice
		if err := read(e.Private, &chosen); err != nil {
			return err
		}
		r.Delivery = chosen
	case EventOrderOpened:
		var d orderOpenedData
		if err := read(e.Data, &d); err != nil {
			return err
		}
		if last := r.Order(); last != nil && !last.Dead {
			return fmt.Errorf("order %s still lives", last.Key)
		}
		if d.Generation != len(r.Orders)+1 || d.Key != orderKey(r.ID, d.Generation) {
			return fmt.Errorf("order %s is not generation %d", d.Key, len(r.Orders)+1)
		}
		var p orderOpenedPrivate
		if err := read(e.Private, &p); err != nil {
			return err
		}
		r.Orders = append(r.Orders, Order{Generation: d.Generation, Key: d.Key, Body: p.Body, Actor: e.Actor})
	case EventPrepared:
		var d preparedData
		if err := read(e.Data, &d); err != nil {
			return err
		}
		o, err := order(d.Key)
		if err != nil {
			return err
		}
		o.NUN, o.Digest, o.PreparedAt = d.NUN, d.Digest, e.At
	case EventPrinted, EventFormsConfirmed, EventOrderVoided, EventReopened, EventCancelAsked, EventCancelDenied, EventDeliveryDenied:
		return r.absorbOrder(e, order)
	case EventSigned:
		var p signedPrivate
		if err := read(e.Private, &p); err != nil {
			return err
		}
		o := r.Order()
		if o == nil || !o.FormsConfirmed {
			return fmt.Errorf("signed before the forms were confirmed")
		}
		o.SignedAt = e.At
		r.Delivery, r.Address = p.Delivery, p.Address
	case EventRelayed:
		var d relayedData
		if err := read(e.Data, &d); err != nil {
			return err
		}
		o, err := order(d.Key)
		if err != nil {
			return err
		}
		o.Receipt, o.AcceptedAt = d.Receipt, d.AcceptedAt
	case EventDeliveryAsked:
		o := r.Order()
		if o == nil {
			return fmt.Errorf("no order to change")
		}
		o.Asked = askedDelivery
	case EventDeliveryGranted:
		var p signedPrivate
		if err := read(e.Private, &p); err != nil {
			return err
		}
		r.Delivery, r.Address = p.Delivery, p.Address
		if o := r.Order(); o != nil {
			o.Asked = ""
		}
	case EventTrackerRevoked:
		var p trackerPrivate
		if err := read(e.Private, &p); err != nil {
			return err
		}
		r.TrackerCode = p.Tracker
	case EventCertified, EventRejected, EventInProduction, EventDefect:
		return r.absorbCore(e, order)
	case EventShipped, EventReshipped, EventOutForDelivery, EventAttemptFailed, EventHeldAtPost, EventAtComune, EventAtConsulate,
		EventReturned, EventLost, EventDelivered:
		var d coreData
		if err := read(e.Data, &d); err != nil {
			return err
		}
		if e.Type == EventLost {
			r.Outcome = &Outcome{Code: outcomeLost}
		}
		if d.Seq > 0 {
			return r.absorbCore(e, order)
		}
		r.absorbParcel(d) // an office's word
	case EventDuplicate:
		r.Duplicate = new(Duplicate)
		return read(e.Data, r.Duplicate)
	case EventNonDelivery:
		r.NonDelivery = new(NonDelivery)
		return read(e.Data, r.NonDelivery)
	case EventDestroyed:
		return r.absorbDestruction(e)
	case EventClearanceGiven, EventObjected, EventObjectionWithdrawn, EventObjectionOverruled:
		return r.absorbClearance(e)
	}
	return nil
}

// absorbOrder reads the desk's events about the current order.
func (r *Request) absorbOrder(e Event, order func(string) (*Order, error)) error {
	var d orderData
	if err := read(e.Data, &d); err != nil {
		return err
	}
	o, err := order(d.Key)
	if err != nil {
		return err
	}
	switch e.Type {
	case EventPrinted:
		o.Prints++
		if o.FirstPrintAt.IsZero() {
			o.FirstPrintAt = e.At
		}
	case EventFormsConfirmed:
		o.FormsConfirmed = true
	case EventOrderVoided, EventReopened:
		o.Dead, o.Asked = true, ""
		r.Counter.Capture = nil // a new order needs a new capture and signature
	case EventCancelAsked:
		o.Asked = askedCancellation
	case EventCancelDenied, EventDeliveryDenied:
		o.Asked = ""
	}
	return nil
}

// absorbCore reads one of the core's events: in sequence, of the current order.
func (r *Request) absorbCore(e Event, order func(string) (*Order, error)) error {
	var d coreData
	if err := read(e.Data, &d); err != nil {
		return err
	}
	o, err := order(d.Key)
	if err != nil {
		return err
	}
	if d.Seq != o.CoreSeq+1 {
		return fmt.Errorf("core event %d after %d", d.Seq, o.CoreSeq)
	}
	o.CoreSeq = d.Seq
	r.absorbParcel(d)
	if d.NUN != "" {
		o.NUN = d.NUN // a defect is remade under a new number, which the producer decides
	}
	o.Ended = d.Ended
	if e.Type == EventRejected {
		o.Dead = true
	}
	return nil
}

// absorbParcel reads what an event says of the parcel, whoever tells it.
func (r *Request) absorbParcel(d coreData) {
	if o := r.Order(); o != nil && d.Tracking != "" {
		o.Tracking, o.Carrier = d.Tracking, d.Carrier
	}
	if d.Expected != nil {
		r.Expected = d.Expected
	}
	if d.Handling != nil {
		r.Handling = d.Handling
	}
	if !d.Office.IsZero() {
		r.Office = d.Office
	}
}

// both reads the two sides of an event.
func both(e Event, data, private any) error {
	err := read(e.Data, data)
	if err != nil {
		return err
	}
	return read(e.Private, private)
}

// orderKey answers the core's idempotency key of a generation.
func orderKey(id string, generation int) string { return fmt.Sprintf("%s.%d", id, generation) }
