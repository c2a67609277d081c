package coresim

import (
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"airegw/testharness/sim"
)

// The bodies of the contract, member by member. Optional members are pointers
// or omitempty: a body must encode back to what it was, so that an unknown, a
// misspelt or an empty member never passes unseen.

type office struct {
	Kind string `json:"kind"`
	Code string `json:"code"`
	Name string `json:"name,omitempty"`
}

type actor struct {
	Operator string `json:"operator"`
	Station  string `json:"station"`
}

type address struct {
	CareOf      string `json:"care_of,omitempty"`
	Street      string `json:"street,omitempty"`
	Number      string `json:"number,omitempty"`
	Notes       string `json:"notes,omitempty"`
	Postcode    string `json:"postcode,omitempty"`
	Place       string `json:"place"`
	ComuneIstat string `json:"comune_istat,omitempty"`
	Province    string `json:"province,omitempty"`
	Country     string `json:"country"`
}

type birthPlace struct {
	Country     string `json:"country"`
	ComuneIstat string `json:"comune_istat,omitempty"`
	Name        string `json:"name"`
}

type aire struct {
	ComuneIstat string `json:"comune_istat"`
	PostCode    string `json:"post_code"`
}

type applicant struct {
	FiscalCode  string     `json:"fiscal_code"`
	IDANPR      string     `json:"id_anpr"`
	Surname     string     `json:"surname,omitempty"`
	GivenName   string     `json:"given_name,omitempty"`
	Sex         string     `json:"sex"`
	BirthDate   string     `json:"birth_date"`
	BirthPlace  birthPlace `json:"birth_place"`
	Citizenship string     `json:"citizenship"`
	HeightCM    int        `json:"height_cm,omitempty"`
	Residence   address    `json:"residence"`
	AIRE        *aire      `json:"aire,omitempty"`
}

type parent struct {
	Role       string `json:"role"`
	FiscalCode string `json:"fiscal_code,omitempty"`
	Surname    string `json:"surname"`
	GivenName  string `json:"given_name"`
	Assent     string `json:"assent"`
	AssentAt   string `json:"assent_at,omitempty"`
}

type fingerprint struct {
	Hand    string `json:"hand"`
	Finger  string `json:"finger"`
	Quality int    `json:"quality"`
	Ref     string `json:"ref"`
}

type exemption struct {
	What        string `json:"what"`
	Code        string `json:"code"`
	EvidenceRef string `json:"evidence_ref,omitempty"`
}

type captures struct {
	PhotoRef        string        `json:"photo_ref,omitempty"`
	FingerprintRefs []fingerprint `json:"fingerprint_refs"`
	SignatureRef    string        `json:"signature_ref,omitempty"`
	Exemptions      []exemption   `json:"exemptions"`
}

type delegate struct {
	FiscalCode string `json:"fiscal_code,omitempty"`
	Surname    string `json:"surname"`
	GivenName  string `json:"given_name"`
}

type delivery struct {
	Kind     string    `json:"kind"`
	Address  *address  `json:"address,omitempty"`
	Office   *office   `json:"office,omitempty"`
	Delegate *delegate `json:"delegate,omitempty"`
}

type contacts struct {
	Email  string `json:"email,omitempty"`
	Mobile string `json:"mobile,omitempty"`
}

type previousCard struct {
	Number string `json:"number"`
	Kind   string `json:"kind"`
}

type prepareBody struct {
	OrderKey     string        `json:"order_key"`
	Channel      string        `json:"channel"`
	Resident     bool          `json:"resident"`
	Office       office        `json:"office"`
	Actor        actor         `json:"actor"`
	Applicant    applicant     `json:"applicant"`
	Reason       string        `json:"reason"`
	PreviousCard *previousCard `json:"previous_card,omitempty"`
	Expiry       string        `json:"expiry"`
	PrintNote    string        `json:"print_note"`
	Parents      []parent      `json:"parents"`
	Captures     captures      `json:"captures"`
	Delivery     delivery      `json:"delivery"`
	Contacts     contacts      `json:"contacts"`
}

type preparedBody struct {
	OrderKey      string    `json:"order_key"`
	NUN           string    `json:"nun"`
	PreparedAt    time.Time `json:"prepared_at"`
	PrepareDigest string    `json:"prepare_digest"`
	PINFirstHalf  string    `json:"pin_first_half,omitempty"`
	PUKFirstHalf  string    `json:"puk_first_half,omitempty"`
}

type confirmBody struct {
	OrderKey    string `json:"order_key"`
	NUN         string `json:"nun"`
	ConfirmedAt string `json:"confirmed_at"`
	Prints      int    `json:"prints"`
	Actor       actor  `json:"actor"`
}

type confirmedBody struct {
	OrderKey    string    `json:"order_key"`
	NUN         string    `json:"nun"`
	ConfirmedAt time.Time `json:"confirmed_at"`
}

type submissionBody struct {
	OrderKey      string `json:"order_key"`
	NUN           string `json:"nun"`
	PrepareDigest string `json:"prepare_digest"`
	Form          struct {
		Serial    string `json:"serial"`
		Digest    string `json:"digest,omitempty"`
		SignedAt  string `json:"signed_at"`
		Signature string `json:"signature"`
		ScanRef   string `json:"scan_ref,omitempty"`
	} `json:"form"`
	Fee struct {
		Status      string `json:"status"`
		AmountCents *int64 `json:"amount_cents,omitempty"`
		Currency    string `json:"currency,omitempty"`
		Receipt     string `json:"receipt,omitempty"`
	} `json:"fee"`
	RegisterCheck struct {
		OperationID   string `json:"operation_id"`
		TransactionID string `json:"transaction_id,omitempty"`
		CheckedAt     string `json:"checked_at"`
		AnswerDigest  string `json:"answer_digest"`
	} `json:"register_check"`
	Decision struct {
		RulesDigest string `json:"rules_digest"`
		FactsDigest string `json:"facts_digest"`
		DecidedAt   string `json:"decided_at"`
	} `json:"decision"`
	Actor actor `json:"actor"`
}

// Receipt is the proof of an acceptance.
type Receipt struct {
	ReceiptID        string    `json:"receipt_id"`
	OrderKey         string    `json:"order_key"`
	NUN              string    `json:"nun"`
	AcceptedAt       time.Time `json:"accepted_at"`
	SubmissionDigest string    `json:"submission_digest"`
}

type deliveryChangeBody struct {
	OrderKey  string   `json:"order_key"`
	ChangeKey string   `json:"change_key"`
	Delivery  delivery `json:"delivery"`
	Actor     actor    `json:"actor"`
}

type cancellationBody struct {
	OrderKey  string `json:"order_key"`
	ChangeKey string `json:"change_key"`
	Reason    string `json:"reason"`
	Actor     actor  `json:"actor"`
}

// Outcome is the answer to a delivery change or a cancellation.
type Outcome struct {
	OrderKey  string    `json:"order_key"`
	ChangeKey string    `json:"change_key"`
	Change    string    `json:"change"`  // delivery_change, cancellation
	Outcome   string    `json:"outcome"` // accepted, too_late
	At        time.Time `json:"at"`
}

type orderBody struct {
	OrderKey         string     `json:"order_key"`
	RequestID        string     `json:"request_id"`
	Generation       int        `json:"generation"`
	NUN              string     `json:"nun"`
	State            string     `json:"state"`
	PreparedAt       time.Time  `json:"prepared_at"`
	PrepareDigest    string     `json:"prepare_digest"`
	FormsConfirmedAt *time.Time `json:"forms_confirmed_at,omitempty"`
	Receipt          *Receipt   `json:"receipt,omitempty"`
	Delivery         delivery   `json:"delivery"`
	LastSeq          int64      `json:"last_seq"`
	Changes          []Outcome  `json:"changes"`
}

// Details says more about an event; which members, the contract says.
type Details struct {
	Reason      string  `json:"reason,omitempty"`
	Remake      *bool   `json:"remake,omitempty"`
	ReplacesNUN string  `json:"replaces_nun,omitempty"`
	Carrier     string  `json:"carrier,omitempty"`
	Tracking    string  `json:"tracking,omitempty"`
	Until       string  `json:"until,omitempty"`
	Office      *office `json:"office,omitempty"`
}

// Event is one thing that happened to an order.
type Event struct {
	EventID    string    `json:"event_id"`
	OrderKey   string    `json:"order_key"`
	NUN        string    `json:"nun"`
	Generation int       `json:"generation"`
	Seq        int64     `json:"seq"`
	Type       string    `json:"type"`
	At         time.Time `json:"at"`
	Details    Details   `json:"details"`
}

type pageBody struct {
	Events []Event `json:"events"`
	Next   string  `json:"next"`
	More   bool    `json:"more"`
}

// decodeBody fills v from a verified body and gives the body's canonical form.
// What does not come out as it went in is named field by field.
func decodeBody(raw []byte, v any) ([]byte, *refusal) {
	came, err := parseValue(raw)
	if err != nil {
		return nil, refuse(422, "body_invalid", err.Error())
	}
	text := appendCanonical(make([]byte, 0, len(raw)), came)
	// Members of the wrong type leave the rest filled in; unknown ones show below.
	err = json.Unmarshal(text, v)
	if err != nil {
		return nil, refuse(422, "body_invalid", err.Error())
	}
	back, err := marshal(v)
	if err != nil {
		return nil, refuse(422, "body_invalid", err.Error())
	}
	var understood any
	dec := json.NewDecoder(strings.NewReader(string(back)))
	dec.UseNumber()
	err = dec.Decode(&understood)
	if err != nil {
		return nil, refuse(422, "body_invalid", err.Error())
	}
	var c check
	c.compare("", came, understood)
	if len(c.errors) > 0 {
		return nil, c.refusal("body_invalid")
	}
	return text, nil
}

// check collects what is wrong with a body.
type check struct{ errors []sim.ProblemField }

func (c *check) add(field, code string) {
	if len(c.errors) < 100 {
		c.errors = append(c.errors, sim.ProblemField{Field: field, Code: code})
	}
}

func (c *check) refusal(code string) *refusal {
	fields := make([]string, 0, len(c.errors))
	for _, e := range c.errors[:min(3, len(c.errors))] {
		fields = append(fields, e.Field+": "+e.Code)
	}
	r := refuse(422, code, strings.Join(fields, "; "))
	r.Errors = c.errors
	return r
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (c *check) compare(path string, came, understood any) {
	switch a := came.(type) {
	case map[string]any:
		b, ok := understood.(map[string]any)
		if !ok {
			c.add(path, "unexpected")
			return
		}
		for _, name := range names(a) {
			inner, known := b[name]
			if !known {
				// Longer than the problem allows is no name of ours.
				c.add(join(path, name[:min(len(name), 60)]), "unknown_or_empty")
				continue
			}
			c.compare(join(path, name), a[name], inner)
		}
		for _, name := range names(b) {
			_, there := a[name]
			if !there {
				c.add(join(path, name), "missing")
			}
		}
	case []any:
		b, ok := understood.([]any)
		if !ok || len(a) != len(b) {
			c.add(path, "unexpected")
			return
		}
		for i := range a {
			c.compare(path+"["+strconv.Itoa(i)+"]", a[i], b[i])
		}
	default:
		if came != understood {
			c.add(path, "unexpected")
		}
	}
}

func names(m map[string]any) []string {
	list := make([]string, 0, len(m))
	for name := range m {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

var (
	keyPattern       = regexp.MustCompile(`^([A-Za-z0-9_-]{1,64})\.([1-9][0-9]{0,3})$`)
	changeKeyPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{8,128}$`)
	nunPattern       = regexp.MustCompile(`^C[A-Z][0-9]{5}[A-Z]{2}$`)
	digestPattern    = regexp.MustCompile(`^sha-256:[0-9a-f]{64}$`)
	instantPattern   = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$`)
	partialPattern   = regexp.MustCompile(`^[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?$`)
	fiscalPattern    = regexp.MustCompile(`^[A-Z]{6}[0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]$`)
	iso2Pattern      = regexp.MustCompile(`^[A-Z]{2}$`)
	istatPattern     = regexp.MustCompile(`^[0-9]{6}$`)
	postPattern      = regexp.MustCompile(`^[0-9]{7}$`)
	refPattern       = regexp.MustCompile(`^[A-Za-z0-9:._/-]{4,200}$`)
	codePattern      = regexp.MustCompile(`^[a-z][a-z0-9_]{1,63}$`)
	idANPRPattern    = regexp.MustCompile(`^[A-Z0-9]{1,16}$`)
	cardPattern      = regexp.MustCompile(`^[A-Z0-9 ]{1,20}$`)
	emailPattern     = regexp.MustCompile(`^[^@\s]{1,64}@[^@\s]{1,189}$`)
	mobilePattern    = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	serialPattern    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	currencyPattern  = regexp.MustCompile(`^[A-Z]{3}$`)
)

func (c *check) match(field, value string, p *regexp.Regexp) {
	if !p.MatchString(value) {
		c.add(field, "malformed")
	}
}

func (c *check) matchOptional(field, value string, p *regexp.Regexp) {
	if value != "" {
		c.match(field, value, p)
	}
}

// text is mandatory, up to limit characters, not only white space.
func (c *check) text(field, value string, limit int) {
	if strings.TrimSpace(value) == "" {
		c.add(field, "missing")
	}
	c.limit(field, value, limit)
}

func (c *check) limit(field, value string, limit int) {
	if len([]rune(value)) > limit {
		c.add(field, "too_long")
	}
	if value != "" && strings.TrimSpace(value) == "" {
		c.add(field, "malformed")
	}
}

func (c *check) oneOf(field, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	c.add(field, "unknown_value")
}

func (c *check) instant(field, value string) {
	_, err := time.Parse(time.RFC3339Nano, value)
	if err != nil || !instantPattern.MatchString(value) {
		c.add(field, "malformed")
	}
}

func (c *check) date(field, value string) {
	_, err := time.Parse(time.DateOnly, value)
	if err != nil {
		c.add(field, "malformed")
	}
}

func (c *check) partialDate(field, value string) {
	if !partialPattern.MatchString(value) {
		c.add(field, "malformed")
		return
	}
	_, err := time.Parse("2006-01-02"[:len(value)], value)
	if err != nil {
		c.add(field, "malformed")
	}
}

func (c *check) office(field string, o office) {
	c.oneOf(field+".kind", o.Kind, "comune", "post")
	switch o.Kind {
	case "comune":
		c.match(field+".code", o.Code, istatPattern)
	case "post":
		c.match(field+".code", o.Code, postPattern)
	}
	c.limit(field+".name", o.Name, 80)
}

func (c *check) actor(field string, a actor) {
	c.text(field+".operator", a.Operator, 64)
	c.text(field+".station", a.Station, 20)
}

func (c *check) address(field string, a address) {
	c.limit(field+".care_of", a.CareOf, 100)
	c.limit(field+".street", a.Street, 120)
	c.limit(field+".number", a.Number, 20)
	c.limit(field+".notes", a.Notes, 240)
	c.limit(field+".postcode", a.Postcode, 10)
	c.text(field+".place", a.Place, 120)
	c.matchOptional(field+".comune_istat", a.ComuneIstat, istatPattern)
	c.limit(field+".province", a.Province, 30)
	c.match(field+".country", a.Country, iso2Pattern)
}

func (c *check) delivery(field string, d delivery) {
	c.oneOf(field+".kind", d.Kind, "IT_ADDRESS", "COMUNE_PICKUP", "FOREIGN_RESIDENCE", "CONSULATE")
	if d.Address != nil {
		c.address(field+".address", *d.Address)
	}
	if d.Office != nil {
		c.office(field+".office", *d.Office)
	}
	if d.Delegate != nil {
		c.matchOptional(field+".delegate.fiscal_code", d.Delegate.FiscalCode, fiscalPattern)
		c.text(field+".delegate.surname", d.Delegate.Surname, 80)
		c.text(field+".delegate.given_name", d.Delegate.GivenName, 80)
	}
}

// deliveryRule is what the kind asks for (contract, schema Delivery).
func (d delivery) rule(field string, resident bool) *refusal {
	var c check
	byAddress := d.Kind == "IT_ADDRESS" || d.Kind == "FOREIGN_RESIDENCE"
	switch {
	case byAddress && d.Address == nil:
		c.add(field+".address", "missing")
	case byAddress && (d.Address.Country == "IT") != (d.Kind == "IT_ADDRESS"):
		c.add(field+".address.country", "wrong_for_kind")
	case byAddress && d.Office != nil:
		c.add(field+".office", "wrong_for_kind")
	case !byAddress && d.Address != nil:
		c.add(field+".address", "wrong_for_kind")
	case !byAddress && d.Office == nil:
		c.add(field+".office", "missing")
	case !byAddress && (d.Office.Kind == "post") != (d.Kind == "CONSULATE"):
		c.add(field+".office.kind", "wrong_for_kind")
	}
	if resident && (d.Kind == "FOREIGN_RESIDENCE" || d.Kind == "CONSULATE") {
		c.add(field+".kind", "not_for_residents")
	}
	if len(c.errors) > 0 {
		return c.refusal("delivery_invalid")
	}
	return nil
}

func (b *prepareBody) validate(today string) *refusal {
	var c check
	c.match("order_key", b.OrderKey, keyPattern)
	c.oneOf("channel", b.Channel, "comune", "post")
	c.office("office", b.Office)
	c.actor("actor", b.Actor)
	a := b.Applicant
	c.match("applicant.fiscal_code", a.FiscalCode, fiscalPattern)
	c.match("applicant.id_anpr", a.IDANPR, idANPRPattern)
	if a.Surname == "" && a.GivenName == "" {
		c.add("applicant.surname", "missing")
	}
	c.limit("applicant.surname", a.Surname, 80)
	c.limit("applicant.given_name", a.GivenName, 80)
	c.oneOf("applicant.sex", a.Sex, "M", "F", "N")
	c.partialDate("applicant.birth_date", a.BirthDate)
	c.match("applicant.birth_place.country", a.BirthPlace.Country, iso2Pattern)
	c.matchOptional("applicant.birth_place.comune_istat", a.BirthPlace.ComuneIstat, istatPattern)
	c.text("applicant.birth_place.name", a.BirthPlace.Name, 120)
	c.oneOf("applicant.citizenship", a.Citizenship, "ITA")
	if a.HeightCM != 0 && (a.HeightCM < 30 || a.HeightCM > 272) {
		c.add("applicant.height_cm", "out_of_range")
	}
	c.address("applicant.residence", a.Residence)
	if a.AIRE != nil {
		c.match("applicant.aire.comune_istat", a.AIRE.ComuneIstat, istatPattern)
		c.match("applicant.aire.post_code", a.AIRE.PostCode, postPattern)
	}
	c.oneOf("reason", b.Reason, "first_issue", "expiry", "paper_replacement", "theft", "loss", "deterioration", "changed_data", "undelivered")
	if b.PreviousCard != nil {
		c.match("previous_card.number", b.PreviousCard.Number, cardPattern)
		c.oneOf("previous_card.kind", b.PreviousCard.Kind, "electronic", "paper")
	}
	c.date("expiry", b.Expiry)
	c.oneOf("print_note", b.PrintNote, "none", "not_valid_for_travel")
	if len(b.Parents) > 2 {
		c.add("parents", "too_many")
	}
	for i, p := range b.Parents {
		field := fmt.Sprintf("parents[%d]", i)
		c.oneOf(field+".role", p.Role, "parent", "guardian")
		c.matchOptional(field+".fiscal_code", p.FiscalCode, fiscalPattern)
		c.text(field+".surname", p.Surname, 80)
		c.text(field+".given_name", p.GivenName, 80)
		c.oneOf(field+".assent", p.Assent, "given", "not_given", "not_needed")
		if p.AssentAt != "" {
			c.instant(field+".assent_at", p.AssentAt)
		}
	}
	b.Captures.validate(&c)
	c.delivery("delivery", b.Delivery)
	c.matchOptional("contacts.email", b.Contacts.Email, emailPattern)
	c.matchOptional("contacts.mobile", b.Contacts.Mobile, mobilePattern)
	if len(c.errors) > 0 {
		return c.refusal("body_invalid")
	}
	if b.Resident == (a.AIRE != nil) {
		return (&check{[]sim.ProblemField{{Field: "applicant.aire", Code: "differs_from_resident"}}}).refusal("aire_invalid")
	}
	if (b.Channel == "post") != (b.Office.Kind == "post") || (b.Channel == "post" && b.Resident) {
		return (&check{[]sim.ProblemField{{Field: "channel", Code: "wrong_for_office"}}}).refusal("channel_invalid")
	}
	if b.Expiry <= today {
		return (&check{[]sim.ProblemField{{Field: "expiry", Code: "past"}}}).refusal("expiry_invalid")
	}
	r := b.Captures.rule()
	if r != nil {
		return r
	}
	return b.Delivery.rule("delivery", b.Resident)
}

func (cap *captures) validate(c *check) {
	c.matchOptional("captures.photo_ref", cap.PhotoRef, refPattern)
	c.matchOptional("captures.signature_ref", cap.SignatureRef, refPattern)
	if len(cap.FingerprintRefs) > 2 {
		c.add("captures.fingerprint_refs", "too_many")
	}
	for i, f := range cap.FingerprintRefs {
		field := fmt.Sprintf("captures.fingerprint_refs[%d]", i)
		c.oneOf(field+".hand", f.Hand, "left", "right")
		c.oneOf(field+".finger", f.Finger, "thumb", "index", "middle", "ring", "little")
		if f.Quality < 0 || f.Quality > 100 {
			c.add(field+".quality", "out_of_range")
		}
		c.match(field+".ref", f.Ref, refPattern)
	}
	if len(cap.Exemptions) > 4 {
		c.add("captures.exemptions", "too_many")
	}
	for i, e := range cap.Exemptions {
		field := fmt.Sprintf("captures.exemptions[%d]", i)
		c.oneOf(field+".what", e.What, "fingerprints", "signature")
		c.oneOf(field+".code", e.Code, "under_12", "permanent_impediment", "temporary_impediment", "same_hand")
		if e.Code == "same_hand" && e.What != "fingerprints" {
			c.add(field+".code", "unknown_value")
		}
		c.matchOptional(field+".evidence_ref", e.EvidenceRef, refPattern)
	}
}

// rule is what a card needs (A30, A31, A32).
func (cap *captures) rule() *refusal {
	exempt := map[string]bool{}
	for _, e := range cap.Exemptions {
		exempt[e.What] = true
		exempt[e.What+"/"+e.Code] = true
	}
	if cap.PhotoRef == "" {
		return (&check{[]sim.ProblemField{{Field: "captures.photo_ref", Code: "missing"}}}).refusal("photo_missing")
	}
	prints := cap.FingerprintRefs
	enough := len(prints) == 2
	if enough && prints[0].Hand == prints[1].Hand {
		enough = exempt["fingerprints/same_hand"] && prints[0].Finger != prints[1].Finger
	} else if !enough {
		// same_hand explains which two prints there are, not why there are fewer.
		enough = exempt["fingerprints/under_12"] || exempt["fingerprints/permanent_impediment"] || exempt["fingerprints/temporary_impediment"]
	}
	if !enough {
		return (&check{[]sim.ProblemField{{Field: "captures.fingerprint_refs", Code: "two_hands_or_exemption"}}}).refusal("fingerprints_missing")
	}
	if cap.SignatureRef == "" && !exempt["signature"] {
		return (&check{[]sim.ProblemField{{Field: "captures.signature_ref", Code: "missing"}}}).refusal("signature_missing")
	}
	return nil
}

func (b *confirmBody) validate() *refusal {
	var c check
	c.match("order_key", b.OrderKey, keyPattern)
	c.match("nun", b.NUN, nunPattern)
	c.instant("confirmed_at", b.ConfirmedAt)
	if b.Prints < 1 || b.Prints > 1000 {
		c.add("prints", "out_of_range")
	}
	c.actor("actor", b.Actor)
	if len(c.errors) > 0 {
		return c.refusal("body_invalid")
	}
	return nil
}

func (b *submissionBody) validate() *refusal {
	var c check
	c.match("order_key", b.OrderKey, keyPattern)
	c.match("nun", b.NUN, nunPattern)
	c.match("prepare_digest", b.PrepareDigest, digestPattern)
	c.match("form.serial", b.Form.Serial, serialPattern)
	c.matchOptional("form.digest", b.Form.Digest, digestPattern)
	c.instant("form.signed_at", b.Form.SignedAt)
	c.oneOf("form.signature", b.Form.Signature, "handwritten", "cannot_sign")
	c.matchOptional("form.scan_ref", b.Form.ScanRef, refPattern)
	c.oneOf("fee.status", b.Fee.Status, "paid", "exempt")
	if b.Fee.AmountCents != nil && (*b.Fee.AmountCents < 0 || *b.Fee.AmountCents > 100000000) {
		c.add("fee.amount_cents", "out_of_range")
	}
	c.matchOptional("fee.currency", b.Fee.Currency, currencyPattern)
	c.limit("fee.receipt", b.Fee.Receipt, 64)
	c.text("register_check.operation_id", b.RegisterCheck.OperationID, 64)
	c.limit("register_check.transaction_id", b.RegisterCheck.TransactionID, 64)
	c.instant("register_check.checked_at", b.RegisterCheck.CheckedAt)
	c.match("register_check.answer_digest", b.RegisterCheck.AnswerDigest, digestPattern)
	c.match("decision.rules_digest", b.Decision.RulesDigest, digestPattern)
	c.match("decision.facts_digest", b.Decision.FactsDigest, digestPattern)
	c.instant("decision.decided_at", b.Decision.DecidedAt)
	c.actor("actor", b.Actor)
	if len(c.errors) > 0 {
		return c.refusal("body_invalid")
	}
	return nil
}

func (b *deliveryChangeBody) validate() *refusal {
	var c check
	c.match("order_key", b.OrderKey, keyPattern)
	c.match("change_key", b.ChangeKey, changeKeyPattern)
	c.delivery("delivery", b.Delivery)
	c.actor("actor", b.Actor)
	if len(c.errors) > 0 {
		return c.refusal("body_invalid")
	}
	return nil
}

func (b *cancellationBody) validate() *refusal {
	var c check
	c.match("order_key", b.OrderKey, keyPattern)
	c.match("change_key", b.ChangeKey, changeKeyPattern)
	c.match("reason", b.Reason, codePattern)
	c.actor("actor", b.Actor)
	if len(c.errors) > 0 {
		return c.refusal("body_invalid")
	}
	return nil
}
