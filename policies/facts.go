package policies

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"airegw/gateway/strictjson"
)

// Channel says at which kind of office the request is made.
type Channel string

// The two channels. ChannelComune is any comune in Italy (L. 11/2026 art. 5(2),
// from 2026-06-01 in Rome); ChannelPost is the competent consular post
// (D.Lgs. 71/2011 art. 22, circ. 11/2019).
const (
	ChannelComune Channel = "comune"
	ChannelPost   Channel = "post"
)

// Reason is why a card is asked for (specs/cie-aire-domain.md B.1.2).
type Reason string

// The reasons to ask for a card.
const (
	ReasonFirstIssue         Reason = "first_issue"
	ReasonExpiry             Reason = "expiry"
	ReasonPaperReplacement   Reason = "paper_replacement"
	ReasonTheft              Reason = "theft"
	ReasonLoss               Reason = "loss"
	ReasonDeterioration      Reason = "deterioration"
	ReasonChangedData        Reason = "changed_data"
	ReasonUndelivered        Reason = "undelivered"
	ReasonCertificateRefresh Reason = "certificate_refresh" // holders of the 50-year card only
)

// DeliveryOption is one of the four places a card can be sent to (A54-A57).
type DeliveryOption string

// The four deliveries.
const (
	DeliveryITAddress        DeliveryOption = "IT_ADDRESS"
	DeliveryComunePickup     DeliveryOption = "COMUNE_PICKUP"
	DeliveryForeignResidence DeliveryOption = "FOREIGN_RESIDENCE"
	DeliveryConsulate        DeliveryOption = "CONSULATE"
)

// DeliveryOptions lists the four deliveries in the order in which they are
// shown and in which Options stores their verdicts.
var DeliveryOptions = [4]DeliveryOption{
	DeliveryITAddress, DeliveryComunePickup, DeliveryForeignResidence, DeliveryConsulate,
}

// Reasons lists every reason in the order in which forms show them.
var Reasons = [9]Reason{
	ReasonFirstIssue, ReasonExpiry, ReasonPaperReplacement, ReasonTheft, ReasonLoss,
	ReasonDeterioration, ReasonChangedData, ReasonUndelivered, ReasonCertificateRefresh,
}

// Fingerprints is what is known about taking the two fingerprints. The empty
// value means not known yet, as before the counter visit.
type Fingerprints string

// The outcomes of fingerprint capture (B.1.1, B.1.4).
const (
	PrintsUnknown               Fingerprints = ""
	PrintsTaken                 Fingerprints = "taken"
	PrintsTemporarilyImpossible Fingerprints = "temporarily_impossible"
	PrintsPermanentlyImpossible Fingerprints = "permanently_impossible"
	PrintsNotRequired           Fingerprints = "not_required"
	PrintsRefused               Fingerprints = "refused"
)

// CardKind is the kind of the card the register knows, "" when not known.
type CardKind string

// The kinds of an existing card.
const (
	CardUnknown CardKind = ""
	CardNone    CardKind = "none"
	CardCIE     CardKind = "cie"
	CardPaper   CardKind = "paper"
)

// CardState is the state of the card the register knows, "" when not known.
type CardState string

// The states of an existing card. An expired card may still read "valid" in
// the register: Decide looks at the expiry date too.
const (
	CardStateUnknown CardState = ""
	CardValid        CardState = "valid"
	CardExpired      CardState = "expired"
	CardCancelled    CardState = "cancelled"
	CardStolen       CardState = "stolen"
	CardLost         CardState = "lost"
	CardDamaged      CardState = "damaged"
	CardUndelivered  CardState = "undelivered"
)

// Assent is the parents' assent for a minor, "" when not asked yet (B.1.4).
type Assent string

// The forms of parents' assent.
const (
	AssentUnknown    Assent = ""
	AssentBoth       Assent = "both"
	AssentOne        Assent = "one"
	AssentOneJudge   Assent = "one+judge"
	AssentSoleHolder Assent = "sole_holder"
	AssentNone       Assent = "none"
)

// Expatriation is the declaration that none of the obstacles of art. 3 letters
// b-g of L. 1185/1967 applies, "" when not asked yet (A73, A74).
type Expatriation string

// The outcomes of the declaration. ExpatriationObstacle means that an obstacle
// was declared or found.
const (
	ExpatriationUnknown     Expatriation = ""
	ExpatriationDeclared    Expatriation = "declared"
	ExpatriationNotDeclared Expatriation = "not_declared"
	ExpatriationObstacle    Expatriation = "obstacle"
)

// Document is what is asked for; "" reads as the electronic card.
type Document string

// The two documents. Paper is the urgency fallback of A42, off by law since
// the date of the rule document.paper.
const (
	DocumentCIE   Document = "cie"
	DocumentPaper Document = "paper"
)

// Urgency is the documented urgency that a paper card needed (A42).
type Urgency string

// The urgencies that circ. 4/2017 admits.
const (
	UrgencyNone        Urgency = ""
	UrgencyHealth      Urgency = "health"
	UrgencyTravel      Urgency = "travel"
	UrgencyElection    Urgency = "election"
	UrgencyCompetition Urgency = "competition"
	UrgencyTender      Urgency = "tender"
)

// Tri is a fact that may not be known yet. The zero value is Unknown, which
// Decide never reads as No. In JSON: true, false, null or absent.
type Tri uint8

// The three values of Tri.
const (
	Unknown Tri = iota
	Yes
	No
)

// Known turns a plain truth value into a Tri.
func Known(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// String returns "unknown", "yes" or "no".
func (t Tri) String() string {
	switch t {
	case Yes:
		return "yes"
	case No:
		return "no"
	default:
		return "unknown"
	}
}

// MarshalJSON writes true, false or null.
func (t Tri) MarshalJSON() ([]byte, error) {
	switch t {
	case Yes:
		return []byte("true"), nil
	case No:
		return []byte("false"), nil
	case Unknown:
		return []byte("null"), nil
	default:
		return nil, &FactsError{Code: CodeFactsValue, Field: "tri", Value: fmt.Sprint(uint8(t))}
	}
}

// UnmarshalJSON accepts exactly true, false and null.
func (t *Tri) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "true":
		*t = Yes
	case "false":
		*t = No
	case "null":
		*t = Unknown
	default:
		return fmt.Errorf("want true, false or null, got %s", clip(string(b)))
	}
	return nil
}

// Date is a civil date without zone. The zero value means not known.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// ParseDate reads YYYY-MM-DD and refuses days that do not exist.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Year() < 1800 {
		return Date{}, &FactsError{Code: CodeFactsDate, Field: "date", Value: clip(s)}
	}
	return Date{t.Year(), t.Month(), t.Day()}, nil
}

// DateOf returns the civil date of an instant in Europe/Rome, the zone in which
// every rule is evaluated.
func DateOf(t time.Time) Date {
	y, m, d := t.In(rome).Date()
	return Date{y, m, d}
}

// IsZero reports whether the date is not known.
func (d Date) IsZero() bool { return d == Date{} }

// String returns YYYY-MM-DD, or "" for an unknown date.
func (d Date) String() string {
	if d.IsZero() {
		return ""
	}
	return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day)
}

// Before reports whether d is earlier than e.
func (d Date) Before(e Date) bool { return d.ordinal() < e.ordinal() }

// AddDays returns the date n days later (earlier if n is negative).
func (d Date) AddDays(n int) Date {
	t := time.Date(d.Year, d.Month, d.Day+n, 0, 0, 0, 0, time.UTC)
	return Date{t.Year(), t.Month(), t.Day()}
}

// ordinal orders dates; it is not a day count.
func (d Date) ordinal() int { return d.Year*512 + int(d.Month)*32 + d.Day }

// MarshalJSON writes "YYYY-MM-DD", or null for an unknown date.
func (d Date) MarshalJSON() ([]byte, error) {
	if d.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + d.String() + `"`), nil
}

// UnmarshalJSON reads "YYYY-MM-DD", "" or null.
func (d *Date) UnmarshalJSON(b []byte) error {
	if string(b) == "null" || string(b) == `""` {
		*d = Date{}
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("want a date as a string: %w", err)
	}
	v, err := ParseDate(s)
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// Card is the card the register or the office knows of.
type Card struct {
	Kind    CardKind  `json:"kind,omitempty"`
	State   CardState `json:"state,omitempty"`
	Expires Date      `json:"expires,omitzero"`
}

// Person is what the register says of the applicant.
type Person struct {
	// BirthDate is in the calendar of the birth act.
	BirthDate Date `json:"birth_date,omitzero"`
	// AIRE says whether the person is enrolled in AIRE now.
	AIRE Tri `json:"aire,omitzero"`
	// Citizenship is "IT" for an Italian citizen (also one among several
	// citizenships), another code for a foreigner, "" when not known.
	Citizenship string `json:"citizenship,omitempty"`
	Alive       Tri    `json:"alive,omitzero"`
	// CFValidated is validitaCF 1 in the register.
	CFValidated  Tri  `json:"cf_validated,omitzero"`
	ExistingCard Card `json:"existing_card,omitzero"`
}

// Facts is everything a decision is taken from. What is not known stays at its
// zero value, and Decide asks for it instead of reading it as a no. Facts hold
// no name, fiscal code or address: a stored digest of them identifies nobody.
type Facts struct {
	// On is the instant the request counts from (submission, counter, relay).
	On time.Time `json:"on"`
	// OnChosen is when the delivery was chosen, if a choice made earlier is
	// weighed again; zero otherwise.
	OnChosen time.Time `json:"on_chosen,omitzero"`
	Channel  Channel   `json:"channel"`
	Reason   Reason    `json:"reason"`
	// ResidenceCountry is the ISO 3166-1 alpha-2 code of the AIRE residence.
	ResidenceCountry string `json:"residence_country"`
	// Post is the code of the competent post by which post rules are scoped;
	// "" when not known.
	Post              string         `json:"post,omitempty"`
	RequestedDelivery DeliveryOption `json:"requested_delivery,omitempty"`
	RequestedDocument Document       `json:"requested_document,omitempty"`
	Urgency           Urgency        `json:"urgency,omitempty"`
	Fingerprints      Fingerprints   `json:"fingerprints,omitempty"`
	Person            Person         `json:"person"`
	ParentsAssent     Assent         `json:"parents_assent,omitempty"`
	HasMinorChildren  Tri            `json:"has_minor_children,omitzero"`
	OtherParentAssent Tri            `json:"other_parent_assent,omitzero"`
	// Delegate says whether a person who may collect the card is named.
	Delegate     Tri          `json:"delegate,omitzero"`
	Expatriation Expatriation `json:"expatriation,omitempty"`
	// Evidence lists what was presented, by the codes of the evidence rules.
	// Nil means not known yet, empty means nothing was presented.
	Evidence []string `json:"evidence,omitzero"`
	// Changed lists which data changed, by the codes of reason.changed_data.
	// Nil means not said yet.
	Changed             []string `json:"changed,omitzero"`
	BirthActTranscribed Tri      `json:"birth_act_transcribed,omitzero"`
	// RegisterSubjects is how many subjects the register answered; 0 unknown.
	RegisterSubjects int `json:"register_subjects,omitzero"`
	// OpenRequestElsewhere says whether the person has another open request.
	OpenRequestElsewhere Tri `json:"open_request_elsewhere,omitzero"`
	// OfficeIsAIREComune says whether the comune is that of AIRE enrolment.
	OfficeIsAIREComune Tri `json:"office_is_aire_comune,omitzero"`
	// PostCompetent says whether the chosen post is the one in the register.
	PostCompetent Tri `json:"post_competent,omitzero"`
	// RequestingComune and PickupComune are ISTAT codes; "" when not known.
	RequestingComune string `json:"requesting_comune,omitempty"`
	PickupComune     string `json:"pickup_comune,omitempty"`
	// ItalianAddress says whether a complete Italian address was given.
	ItalianAddress Tri `json:"italian_address,omitzero"`
	// ForeignAddressEqualsRegister compares the foreign address with AIRE.
	ForeignAddressEqualsRegister Tri `json:"foreign_address_equals_register,omitzero"`
}

// Codes of FactsError.
const (
	CodeFactsMember  = "facts.unknown_member"
	CodeFactsValue   = "facts.unknown_value"
	CodeFactsType    = "facts.wrong_type"
	CodeFactsDate    = "facts.bad_date"
	CodeFactsMissing = "facts.missing"
	CodeFactsJSON    = "facts.bad_json"
	CodeFactsCountry = "facts.unknown_country"
)

// FactsError says which member of the facts cannot be read and why.
type FactsError struct {
	Code  string // one of the CodeFacts constants
	Field string // JSON path of the member
	Value string // the offending value, shortened; never personal data but a date
}

func (e *FactsError) Error() string {
	if e.Value == "" {
		return "facts: " + e.Field + ": " + e.Code
	}
	return "facts: " + e.Field + ": " + e.Code + ": " + e.Value
}

// Check reports the first member whose value is not one of the codes above, or
// that must be there and is not (on, channel, reason, residence_country). It
// does not know which countries have rules: Set.Check does. The error is a
// *FactsError.
func (f *Facts) Check() error {
	bad := func(field, v string) error {
		return &FactsError{Code: CodeFactsValue, Field: field, Value: clip(v)}
	}
	switch {
	case f.On.IsZero():
		return &FactsError{Code: CodeFactsMissing, Field: "on"}
	case f.Channel == "":
		return &FactsError{Code: CodeFactsMissing, Field: "channel"}
	case f.Channel != ChannelComune && f.Channel != ChannelPost:
		return bad("channel", string(f.Channel))
	case f.Reason == "":
		return &FactsError{Code: CodeFactsMissing, Field: "reason"}
	case reasonIndex(f.Reason) < 0:
		return bad("reason", string(f.Reason))
	case f.ResidenceCountry == "":
		return &FactsError{Code: CodeFactsMissing, Field: "residence_country"}
	case f.RequestedDelivery != "" && optionIndex(f.RequestedDelivery) < 0:
		return bad("requested_delivery", string(f.RequestedDelivery))
	case !oneOf(f.RequestedDocument, "", DocumentCIE, DocumentPaper):
		return bad("requested_document", string(f.RequestedDocument))
	case !oneOf(f.Urgency, UrgencyNone, UrgencyHealth, UrgencyTravel, UrgencyElection, UrgencyCompetition, UrgencyTender):
		return bad("urgency", string(f.Urgency))
	case !oneOf(f.Fingerprints, PrintsUnknown, PrintsTaken, PrintsTemporarilyImpossible, PrintsPermanentlyImpossible, PrintsNotRequired, PrintsRefused):
		return bad("fingerprints", string(f.Fingerprints))
	case !oneOf(f.Person.ExistingCard.Kind, CardUnknown, CardNone, CardCIE, CardPaper):
		return bad("person.existing_card.kind", string(f.Person.ExistingCard.Kind))
	case !oneOf(f.Person.ExistingCard.State, CardStateUnknown, CardValid, CardExpired, CardCancelled, CardStolen, CardLost, CardDamaged, CardUndelivered):
		return bad("person.existing_card.state", string(f.Person.ExistingCard.State))
	case !oneOf(f.ParentsAssent, AssentUnknown, AssentBoth, AssentOne, AssentOneJudge, AssentSoleHolder, AssentNone):
		return bad("parents_assent", string(f.ParentsAssent))
	case !oneOf(f.Expatriation, ExpatriationUnknown, ExpatriationDeclared, ExpatriationNotDeclared, ExpatriationObstacle):
		return bad("expatriation", string(f.Expatriation))
	case slices.Contains(f.Evidence, ""):
		return bad("evidence", "")
	case slices.Contains(f.Changed, ""):
		return bad("changed", "")
	case f.RegisterSubjects < 0:
		return bad("register_subjects", fmt.Sprint(f.RegisterSubjects))
	case f.Person.Citizenship != "" && !isCode2(f.Person.Citizenship):
		return bad("person.citizenship", f.Person.Citizenship)
	case !f.Person.BirthDate.IsZero() && DateOf(f.On).Before(f.Person.BirthDate):
		return &FactsError{Code: CodeFactsDate, Field: "person.birth_date", Value: f.Person.BirthDate.String()}
	}
	return nil
}

// factsJSON has the members of Facts without its methods.
type factsJSON Facts

// UnmarshalJSON reads facts strictly: unknown or repeated members, unknown
// codes, trailing bytes and invalid UTF-8 are *FactsError.
func (f *Facts) UnmarshalJSON(b []byte) error {
	var v factsJSON
	if err := readStrictly(b, &v); err != nil {
		return err
	}
	out := Facts(v)
	if err := out.Check(); err != nil {
		return err
	}
	*f = out
	return nil
}

// ParseFacts reads one JSON object of facts; see Facts.UnmarshalJSON. Bytes
// after the object are refused.
func ParseFacts(b []byte) (Facts, error) {
	var f Facts
	if err := f.UnmarshalJSON(b); err != nil {
		return Facts{}, err
	}
	return f, nil
}

// Canonical returns the bytes that Digest is taken over: the JSON of the facts
// with times in UTC to the second and members in a fixed order.
func (f Facts) Canonical() []byte {
	f.On = f.On.UTC().Truncate(time.Second)
	if !f.OnChosen.IsZero() {
		f.OnChosen = f.OnChosen.UTC().Truncate(time.Second)
	}
	b, err := json.Marshal(factsJSON(f))
	if err != nil {
		// Only a Tri outside its three values or a year beyond 9999 can fail;
		// both are programming errors, yet a digest must never be of nothing.
		b = []byte("unencodable facts: " + err.Error())
	}
	return b
}

// Digest returns "sha256:" and the lower-case hex SHA-256 of Canonical. It is
// what a stored decision keeps to prove which facts it was taken from.
func (f Facts) Digest() string {
	sum := sha256.Sum256(f.Canonical())
	return "sha256:" + hex.EncodeToString(sum[:])
}

// readStrictly reads one document, so that no two readers of the same line can
// see two different situations. The error is a *FactsError that names the first
// member at fault.
func readStrictly(b []byte, dst any) error {
	err := strictjson.Rules{}.Decode(b, dst)
	var wrong *strictjson.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &wrong):
		return selfReadError(b, err)
	}
	p := wrong.Problems[0]
	if p.Code == strictjson.WrongType && len(p.Path) == 0 {
		return selfReadError(b, err) // a type that reads text, given none
	}
	whole := &FactsError{Code: CodeFactsJSON, Field: "$"}
	switch p.Code {
	case strictjson.Unknown:
		return &FactsError{Code: CodeFactsMember, Field: clip(p.Path.Last())}
	case strictjson.Repeated:
		return &FactsError{Code: CodeFactsMember, Field: clip(p.Path.Last()), Value: "repeated"}
	case strictjson.WrongType:
		// A situation embeds the facts; the path must not say so.
		return &FactsError{Code: CodeFactsType, Field: strings.TrimPrefix(p.Path.Dotted(), "factsJSON."), Value: "JSON " + p.Found}
	case strictjson.NotJSON:
		whole.Value = clip(p.Err.Error())
		if len(bytes.TrimSpace(b)) == 0 {
			whole.Value = "empty"
		}
	case strictjson.NotUTF8:
		whole.Value = "invalid UTF-8"
	case strictjson.NotObject:
		whole.Value = "not an object"
	case strictjson.Follows:
		whole.Value = "bytes after the object"
	default:
		whole.Value = string(p.Code)
	}
	return whole
}

// selfReadError names the member whose own reading refused: encoding/json does
// not say where a type that reads itself stood.
func selfReadError(b []byte, err error) error {
	var doc map[string]any
	if json.Unmarshal(b, &doc) == nil {
		if at, code, v := badMember("", doc); at != "" {
			return &FactsError{Code: code, Field: at, Value: clip(v)}
		}
	}
	var fe *FactsError
	if errors.As(err, &fe) {
		return fe
	}
	return &FactsError{Code: CodeFactsJSON, Field: "$", Value: clip(err.Error())}
}

// Members that read themselves.
var (
	dateMembers    = []string{"birth_date", "expires", "request_date"}
	instantMembers = []string{"on", "on_chosen"}
	triMembers     = []string{
		"aire", "alive", "cf_validated", "has_minor_children", "other_parent_assent", "delegate", "birth_act_transcribed",
		"open_request_elsewhere", "office_is_aire_comune", "post_competent", "italian_address", "foreign_address_equals_register",
	}
)

// badMember finds the first date, instant or truth value that cannot be read.
func badMember(path string, doc map[string]any) (at, code, value string) {
	for _, name := range sortedKeys(doc) {
		v := doc[name]
		if m, ok := v.(map[string]any); ok {
			if at, code, value = badMember(path+name+".", m); at != "" {
				return at, code, value
			}
			continue
		}
		text, isText := v.(string)
		switch {
		case v == nil:
		case oneOf(name, dateMembers...):
			if _, err := ParseDate(text); err != nil && (!isText || text != "") {
				return path + name, CodeFactsDate, fmt.Sprint(v)
			}
		case oneOf(name, instantMembers...):
			if _, err := time.Parse(time.RFC3339, text); err != nil {
				return path + name, CodeFactsDate, fmt.Sprint(v)
			}
		case oneOf(name, triMembers...):
			if _, isBool := v.(bool); !isBool {
				return path + name, CodeFactsValue, fmt.Sprint(v)
			}
		}
	}
	return "", "", ""
}

func reasonIndex(r Reason) int {
	for i := range Reasons {
		if Reasons[i] == r {
			return i
		}
	}
	return -1
}

func optionIndex(o DeliveryOption) int {
	for i := range DeliveryOptions {
		if DeliveryOptions[i] == o {
			return i
		}
	}
	return -1
}

func oneOf[T comparable](v T, allowed ...T) bool {
	for _, a := range allowed {
		if v == a {
			return true
		}
	}
	return false
}

func isCode2(s string) bool {
	return len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
}

// clip keeps error texts short and printable, whatever was sent.
func clip(s string) string {
	const most = 60
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
