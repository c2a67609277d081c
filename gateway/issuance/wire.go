package issuance

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"
)

// The bodies of the contract; field names and limits are those of
// core.openapi.yaml, which explains them. Optional members are left out when
// empty, never null.

// Instant is a moment in UTC on the wire.
type Instant struct{ t time.Time }

// At makes an Instant of a moment; it keeps microseconds, as the store does.
func At(t time.Time) Instant { return Instant{t.UTC().Truncate(time.Microsecond)} }

// Time is the moment, UTC.
func (i Instant) Time() time.Time { return i.t }

// IsZero is true for no moment.
func (i Instant) IsZero() bool { return i.t.IsZero() }

// MarshalJSON writes RFC 3339 ending in Z.
func (i Instant) MarshalJSON() ([]byte, error) {
	if i.t.IsZero() {
		return nil, errors.New("an instant is missing")
	}
	return []byte(`"` + i.t.UTC().Format(time.RFC3339Nano) + `"`), nil
}

var instantShape = regexp.MustCompile(`^"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z"$`)

// UnmarshalJSON reads exactly what the contract allows.
func (i *Instant) UnmarshalJSON(data []byte) error {
	if !instantShape.Match(data) {
		return errors.New("not an instant in UTC")
	}
	t, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(data))
	if err != nil {
		return errors.New("not an instant in UTC")
	}
	i.t = t
	return nil
}

// Half is the first half of a PIN or PUK: four digits. It shows itself to no
// format verb, log or JSON encoder; string(h) is the one way to read it.
type Half string

// Format hides the half from every verb.
func (h Half) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("****")) }

// LogValue hides it from slog.
func (h Half) LogValue() slog.Value { return slog.StringValue("****") }

// MarshalJSON hides it from encoders.
func (h Half) MarshalJSON() ([]byte, error) { return []byte(`"****"`), nil }

// Office is a comune (code = ISTAT) or a consular post (code = ANPR).
type Office struct {
	Kind string `json:"kind"` // comune, post
	Code string `json:"code"`
	Name string `json:"name,omitempty"`
}

// Actor is who did it and on which station.
type Actor struct {
	Operator string `json:"operator"`
	Station  string `json:"station"` // at most 20 characters
}

// Address in Italy (comune_istat, two-letter province) or abroad.
type Address struct {
	CareOf      string `json:"care_of,omitempty"`
	Street      string `json:"street,omitempty"`
	Number      string `json:"number,omitempty"`
	Notes       string `json:"notes,omitempty"`
	Postcode    string `json:"postcode,omitempty"`
	Place       string `json:"place"`
	ComuneISTAT string `json:"comune_istat,omitempty"`
	Province    string `json:"province,omitempty"`
	Country     string `json:"country"` // ISO 3166-1 alpha-2
}

// BirthPlace of the applicant.
type BirthPlace struct {
	Country     string `json:"country"`
	ComuneISTAT string `json:"comune_istat,omitempty"`
	Name        string `json:"name"`
}

// AIRE is present if and only if the order is not a resident's.
type AIRE struct {
	ComuneISTAT string `json:"comune_istat"`
	PostCode    string `json:"post_code"` // seven digits
}

// Applicant as in the register.
type Applicant struct {
	FiscalCode  string     `json:"fiscal_code"`
	IDANPR      string     `json:"id_anpr"`
	Surname     string     `json:"surname,omitempty"`
	GivenName   string     `json:"given_name,omitempty"`
	Sex         string     `json:"sex"`        // M, F, N
	BirthDate   string     `json:"birth_date"` // YYYY, YYYY-MM or YYYY-MM-DD
	BirthPlace  BirthPlace `json:"birth_place"`
	Citizenship string     `json:"citizenship"` // ITA
	HeightCM    int        `json:"height_cm,omitempty"`
	Residence   Address    `json:"residence"`
	AIRE        *AIRE      `json:"aire,omitempty"`
}

// Parent of a minor.
type Parent struct {
	Role       string  `json:"role"` // parent, guardian
	FiscalCode string  `json:"fiscal_code,omitempty"`
	Surname    string  `json:"surname"`
	GivenName  string  `json:"given_name"`
	Assent     string  `json:"assent"` // given, not_given, not_needed
	AssentAt   Instant `json:"assent_at,omitzero"`
}

// Fingerprint is a reference to one print.
type Fingerprint struct {
	Hand    string `json:"hand"`
	Finger  string `json:"finger"`
	Quality int    `json:"quality"` // 0 to 100
	Ref     string `json:"ref"`
}

// Exemption from a capture.
type Exemption struct {
	What        string `json:"what"` // fingerprints, signature
	Code        string `json:"code"`
	EvidenceRef string `json:"evidence_ref,omitempty"`
}

// Captures are references, never the biometrics themselves.
type Captures struct {
	PhotoRef        string        `json:"photo_ref,omitempty"`
	FingerprintRefs []Fingerprint `json:"fingerprint_refs"`
	SignatureRef    string        `json:"signature_ref,omitempty"`
	Exemptions      []Exemption   `json:"exemptions"`
}

// Delegate may take the parcel.
type Delegate struct {
	FiscalCode string `json:"fiscal_code,omitempty"`
	Surname    string `json:"surname"`
	GivenName  string `json:"given_name"`
}

// The kinds of delivery.
const (
	DeliverToItaly     = "IT_ADDRESS"
	DeliverAtComune    = "COMUNE_PICKUP"
	DeliverAbroad      = "FOREIGN_RESIDENCE"
	DeliverAtConsulate = "CONSULATE"
)

// Delivery holds exactly the member its kind names.
type Delivery struct {
	Kind     string    `json:"kind"`
	Address  *Address  `json:"address,omitempty"`
	Office   *Office   `json:"office,omitempty"`
	Delegate *Delegate `json:"delegate,omitempty"`
}

// Contacts over which PUK recovery runs.
type Contacts struct {
	Email  string `json:"email,omitempty"`
	Mobile string `json:"mobile,omitempty"` // E.164
}

// PreviousCard is the one this card takes the place of.
type PreviousCard struct {
	Number string `json:"number"`
	Kind   string `json:"kind"` // electronic, paper
}

// PrepareOrder asks for a number and the first halves. Body of airegw-prepare+jwt.
type PrepareOrder struct {
	OrderKey     string        `json:"order_key"` // request id, dot, generation
	Channel      string        `json:"channel"`   // comune, post
	Resident     bool          `json:"resident"`  // false for AIRE
	Office       Office        `json:"office"`
	Actor        Actor         `json:"actor"`
	Applicant    Applicant     `json:"applicant"`
	Reason       string        `json:"reason"`
	PreviousCard *PreviousCard `json:"previous_card,omitempty"`
	Expiry       string        `json:"expiry"`     // YYYY-MM-DD
	PrintNote    string        `json:"print_note"` // none, not_valid_for_travel
	Parents      []Parent      `json:"parents"`
	Captures     Captures      `json:"captures"`
	Delivery     Delivery      `json:"delivery"`
	Contacts     Contacts      `json:"contacts"`
}

// Prepared is the answer: both halves until the forms are confirmed, none after.
type Prepared struct {
	OrderKey      string  `json:"order_key"`
	NUN           string  `json:"nun"`
	PreparedAt    Instant `json:"prepared_at"`
	PrepareDigest string  `json:"prepare_digest"`
	PINFirstHalf  Half    `json:"pin_first_half,omitempty"`
	PUKFirstHalf  Half    `json:"puk_first_half,omitempty"`
}

// ConfirmForms says that the printed forms are good.
type ConfirmForms struct {
	OrderKey    string  `json:"order_key"`
	NUN         string  `json:"nun"`
	ConfirmedAt Instant `json:"confirmed_at"`
	Prints      int     `json:"prints"`
	Actor       Actor   `json:"actor"`
}

// FormsConfirmed is the first confirmation, whatever repeat it answers.
type FormsConfirmed struct {
	OrderKey    string  `json:"order_key"`
	NUN         string  `json:"nun"`
	ConfirmedAt Instant `json:"confirmed_at"`
}

// Form is the signed summary form.
type Form struct {
	Serial    string  `json:"serial"`
	Digest    string  `json:"digest,omitempty"`
	SignedAt  Instant `json:"signed_at"`
	Signature string  `json:"signature"` // handwritten, cannot_sign
	ScanRef   string  `json:"scan_ref,omitempty"`
}

// Fee paid at the counter.
type Fee struct {
	Status      string `json:"status"` // paid, exempt
	AmountCents int64  `json:"amount_cents,omitempty"`
	Currency    string `json:"currency,omitempty"`
	Receipt     string `json:"receipt,omitempty"`
}

// RegisterCheck is the last positive look at the register, at most 24 hours
// old when sent; see anpr.Record.AnswerDigest.
type RegisterCheck struct {
	OperationID   string  `json:"operation_id"`
	TransactionID string  `json:"transaction_id,omitempty"`
	CheckedAt     Instant `json:"checked_at"`
	AnswerDigest  string  `json:"answer_digest"`
}

// Decision names the rules that allowed the order.
type Decision struct {
	RulesDigest string  `json:"rules_digest"`
	FactsDigest string  `json:"facts_digest"`
	DecidedAt   Instant `json:"decided_at"`
}

// Submission is the act that makes a card. It is built once and kept with the
// intent to send it, so that a repeat is the same body.
type Submission struct {
	OrderKey      string        `json:"order_key"`
	NUN           string        `json:"nun"`
	PrepareDigest string        `json:"prepare_digest"`
	Form          Form          `json:"form"`
	Fee           Fee           `json:"fee"`
	RegisterCheck RegisterCheck `json:"register_check"`
	Decision      Decision      `json:"decision"`
	Actor         Actor         `json:"actor"`
}

// Receipt of an accepted submission, the same for ever.
type Receipt struct {
	ReceiptID        string  `json:"receipt_id"`
	OrderKey         string  `json:"order_key"`
	NUN              string  `json:"nun"`
	AcceptedAt       Instant `json:"accepted_at"`
	SubmissionDigest string  `json:"submission_digest"`
}

// Order is what the core durably holds.
type Order struct {
	OrderKey         string    `json:"order_key"`
	RequestID        string    `json:"request_id"`
	Generation       int       `json:"generation"`
	NUN              string    `json:"nun"`
	State            string    `json:"state"`
	PreparedAt       Instant   `json:"prepared_at"`
	PrepareDigest    string    `json:"prepare_digest"`
	FormsConfirmedAt Instant   `json:"forms_confirmed_at,omitzero"`
	Receipt          *Receipt  `json:"receipt,omitempty"` // if and only if a submission was accepted
	Delivery         Delivery  `json:"delivery"`
	LastSeq          int64     `json:"last_seq"`
	Changes          []Outcome `json:"changes"`
}

// The states of an order in the core.
var orderStates = []string{
	"prepared", "forms_confirmed", "accepted", "certified", "rejected", "in_production", "production_defect", "shipped",
	"out_for_delivery", "held_at_post", "at_office", "returned", "lost", "delivered", "cancelled",
}

// DeliveryChange asks for another delivery.
type DeliveryChange struct {
	OrderKey  string   `json:"order_key"`
	ChangeKey string   `json:"change_key"` // 8 to 128 of A-Za-z0-9._-
	Delivery  Delivery `json:"delivery"`
	Actor     Actor    `json:"actor"`
}

// Cancellation asks to make no card of the order.
type Cancellation struct {
	OrderKey  string `json:"order_key"`
	ChangeKey string `json:"change_key"`
	Reason    string `json:"reason"` // machine code
	Actor     Actor  `json:"actor"`
}

// Outcome of a change, the same for ever for the same key and body.
type Outcome struct {
	OrderKey  string  `json:"order_key"`
	ChangeKey string  `json:"change_key"`
	Change    string  `json:"change"`  // delivery_change, cancellation
	Outcome   string  `json:"outcome"` // accepted, too_late
	At        Instant `json:"at"`
}

// Values of Outcome.
const (
	ChangeDelivery     = "delivery_change"
	ChangeCancellation = "cancellation"
	OutcomeAccepted    = "accepted"
	OutcomeTooLate     = "too_late"
)

// The types of events.
const (
	EventCertified        = "cnsd_certified"
	EventRejected         = "cnsd_rejected"
	EventInProduction     = "in_production"
	EventProductionDefect = "production_defect"
	EventShipped          = "shipped"
	EventOutForDelivery   = "out_for_delivery"
	EventAttemptFailed    = "attempt_failed"
	EventHeldAtPost       = "held_at_post"
	EventAtOffice         = "at_office"
	EventReturned         = "returned"
	EventLost             = "lost"
	EventDelivered        = "delivered"
)

var eventTypes = []string{
	EventCertified, EventRejected, EventInProduction, EventProductionDefect, EventShipped, EventOutForDelivery, EventAttemptFailed,
	EventHeldAtPost, EventAtOffice, EventReturned, EventLost, EventDelivered,
}

// EventDetails by type, see the contract.
type EventDetails struct {
	Reason      string  `json:"reason,omitempty"`
	Remake      *bool   `json:"remake,omitempty"`
	ReplacesNUN string  `json:"replaces_nun,omitempty"`
	Carrier     string  `json:"carrier,omitempty"`
	Tracking    string  `json:"tracking,omitempty"`
	Until       string  `json:"until,omitempty"` // YYYY-MM-DD
	Office      *Office `json:"office,omitempty"`
}

// Event is one thing that happened to an order; Seq counts 1, 2, 3 per order.
type Event struct {
	EventID    string       `json:"event_id"`
	OrderKey   string       `json:"order_key"`
	NUN        string       `json:"nun"`
	Generation int          `json:"generation"`
	Seq        int64        `json:"seq"`
	Type       string       `json:"type"`
	At         Instant      `json:"at"`
	Details    EventDetails `json:"details"`
}

// EventPage is one page of the feed.
type EventPage struct {
	Events []Event `json:"events"`
	Next   string  `json:"next"` // cursor for the next page, always given
	More   bool    `json:"more"`
}

type problem struct {
	Type     string       `json:"type"`
	Title    string       `json:"title"`
	Status   int          `json:"status"`
	Detail   string       `json:"detail"`
	Code     string       `json:"code"`
	OrderKey string       `json:"order_key"`
	Errors   []fieldEntry `json:"errors"`
}

type fieldEntry struct {
	Field   string `json:"field"`
	Code    string `json:"code"`
	Message string `json:"message"`
}
