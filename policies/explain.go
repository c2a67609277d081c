package policies

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// Explanation is the answer to a situation, for other systems: the published
// form of a Decision (schema in docs of the command "explain").
type Explanation struct {
	// Outcome is "accepted", "refused" or "asked_again". What is only not known
	// yet (Finding.Open) does not refuse: its code is in Reasons, what to supply
	// in Needs. What was said and is not enough refuses.
	Outcome string                               `json:"outcome"`
	Reasons []string                             `json:"reasons"`
	Needs   []string                             `json:"needs"`
	Options map[DeliveryOption]OptionExplanation `json:"options"`
	Expiry  *string                              `json:"expiry"` // null if the birth date is not known
	// FeeEUR is in euro with two decimals.
	FeeEUR json.Number `json:"fee_eur"`
	// PrintNote is the Italian text printed on the card, null for none.
	PrintNote  *string   `json:"print_note"`
	LegalBasis string    `json:"legal_basis"`
	RuleSet    string    `json:"rule_set"`
	Findings   []Finding `json:"findings"`
	// Notices are what others are told of; they decide nothing.
	Notices []Notice `json:"notices"`
}

// Notice is what the rules have told to somebody who does not decide.
type Notice struct {
	Code        string `json:"code"`
	WorkingDays int    `json:"working_days"` // within which they may object
	Rule        string `json:"rule"`
	LegalRef    string `json:"legal_ref"`
	Status      Status `json:"status"`
	Reason      Text   `json:"reason"`
}

// Notices returns what others are told of a request: the comune of AIRE
// enrolment and the post, of one at another comune (B.7 Q1). With no working
// days nobody is told.
func (s *Set) Notices(f *Facts) []Notice {
	if f.Channel != ChannelComune || f.OfficeIsAIREComune != No {
		return nil
	}
	r := s.at(keyClearanceDays, 0, f.On.Unix())
	if r.Number == 0 {
		return nil
	}
	return []Notice{{"comune.clearance", r.Number, r.ID, r.LegalRef, r.Status, r.Reason}}
}

// OptionExplanation is the published form of an Option.
type OptionExplanation struct {
	Allowed  bool     `json:"allowed"`
	Code     string   `json:"code"`
	Reason   Text     `json:"reason"`
	Rule     string   `json:"rule"`
	LegalRef string   `json:"legal_ref"`
	Status   Status   `json:"status"`
	Needs    []string `json:"needs"`
}

// Outcomes of an Explanation that a Decision has no word for.
const explainedAccepted = "accepted"

// Explain turns a decision into its published form.
func (d *Decision) Explain() Explanation {
	x := Explanation{
		Outcome: explainedAccepted, Reasons: []string{}, Needs: []string{}, Options: map[DeliveryOption]OptionExplanation{},
		FeeEUR:     json.Number(EUR(d.FeeCents)),
		LegalBasis: d.LegalBasis, RuleSet: d.RuleSet, Findings: d.Findings, Notices: []Notice{},
	}
	if x.Findings == nil {
		x.Findings = []Finding{}
	}
	switch d.Outcome {
	case OutcomeRefused, OutcomeAskedAgain:
		x.Outcome = string(d.Outcome)
	case OutcomeNeeds, OutcomeAllowed:
	}
	for i := range d.Findings {
		fd := &d.Findings[i]
		// The request and the delivery asked for may fail for one and the same reason.
		if !slices.Contains(x.Reasons, fd.Code) {
			x.Reasons = append(x.Reasons, fd.Code)
		}
		x.Needs = append(x.Needs, fd.Needs...)
		if fd.Verdict == VerdictNeeds && !fd.Open && x.Outcome == explainedAccepted {
			x.Outcome = string(OutcomeRefused)
		}
	}
	for i := range d.Options {
		o := &d.Options[i]
		needs := o.Needs
		if needs == nil {
			needs = []string{}
		}
		x.Options[DeliveryOptions[i]] = OptionExplanation{o.Allowed, o.Code, o.Reason, o.Rule, o.LegalRef, o.Status, needs}
	}
	if !d.Expiry.IsZero() {
		s := d.Expiry.String()
		x.Expiry = &s
	}
	if d.PrintNoteText != "" {
		s := d.PrintNoteText
		x.PrintNote = &s
	}
	return x
}

// situation is Facts with rules that are only supposed.
type situation struct {
	factsJSON
	GivenPolicy json.RawMessage `json:"given_policy"`
}

// givenJSON is the published form of Given (B.2.4).
type givenJSON struct {
	Country    string         `json:"country"`
	Post       string         `json:"post"`
	Option     DeliveryOption `json:"option"`
	Channel    Channel        `json:"channel"`
	Allowed    bool           `json:"allowed"`
	ReasonCode string         `json:"reason_code"`
	ReasonText Text           `json:"reason_text"`
	LegalRef   string         `json:"legal_ref"`
	ValidFrom  string         `json:"valid_from"` // as in rule files; "" for always
	ValidTo    string         `json:"valid_to"`
}

// ParseSituation reads the facts of one situation with the rules it supposes
// ("given_policy": one rule or a list). It is as strict as ParseFacts.
func ParseSituation(b []byte) (Facts, []Given, error) {
	var s situation
	if err := readStrictly(b, &s); err != nil {
		return Facts{}, nil, err
	}
	f := Facts(s.factsJSON)
	if err := f.Check(); err != nil {
		return Facts{}, nil, err
	}
	given, err := parseGiven(s.GivenPolicy)
	if err != nil {
		return Facts{}, nil, err
	}
	return f, given, nil
}

func parseGiven(raw json.RawMessage) ([]Given, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if raw[0] == '{' {
		raw = append(append([]byte{'['}, raw...), ']')
	}
	var in []givenJSON
	if err := readStrictly(raw, &in); err != nil {
		return nil, err
	}
	out := make([]Given, 0, len(in))
	for _, g := range in {
		one := Given{
			Country: g.Country, Post: g.Post, Option: g.Option, Channel: g.Channel, Allowed: g.Allowed,
			Code: g.ReasonCode, LegalRef: g.LegalRef, Reason: g.ReasonText,
		}
		for _, at := range []struct {
			text  string
			field string
			into  *time.Time
		}{{g.ValidFrom, "given_policy.valid_from", &one.From}, {g.ValidTo, "given_policy.valid_to", &one.To}} {
			if at.text == "" || at.text == "always" {
				continue
			}
			t, err := parseInstant(at.text)
			if err != nil {
				return nil, &FactsError{Code: CodeFactsDate, Field: at.field, Value: clip(at.text)}
			}
			*at.into = t
		}
		out = append(out, one)
	}
	return out, nil
}

// ExplainSituation answers one situation in JSON: ParseSituation, With if rules
// are supposed, Check, Decide, Explain. The error is a *FactsError, or
// LoadErrors about the supposed rules.
func (s *Set) ExplainSituation(b []byte) (Explanation, error) {
	f, given, err := ParseSituation(b)
	if err != nil {
		return Explanation{}, err
	}
	if err := s.Check(&f); err != nil {
		return Explanation{}, err
	}
	if len(given) > 0 {
		if s, err = s.With(given); err != nil {
			return Explanation{}, err
		}
	}
	d := s.Decide(f)
	x := d.Explain()
	x.Notices = append(x.Notices, s.Notices(&f)...)
	return x, nil
}

// ExpiryExplanation is the answer to ExplainExpiry.
type ExpiryExplanation struct {
	Expiry   string `json:"expiry"`
	Rule     string `json:"rule"`
	LegalRef string `json:"legal_ref"`
	Reason   Text   `json:"reason"`
}

// ExplainExpiry answers {"request_date","birth_date","fingerprints"}: until
// when a card would be valid and by which rule. The error is a *FactsError.
func (s *Set) ExplainExpiry(b []byte) (ExpiryExplanation, error) {
	var in struct {
		RequestDate  Date         `json:"request_date"`
		BirthDate    Date         `json:"birth_date"`
		Fingerprints Fingerprints `json:"fingerprints"`
	}
	if err := readStrictly(b, &in); err != nil {
		return ExpiryExplanation{}, err
	}
	exp, id, err := s.Expiry(in.RequestDate, in.BirthDate, in.Fingerprints)
	if err != nil {
		return ExpiryExplanation{}, err
	}
	out := ExpiryExplanation{Expiry: exp.String(), Rule: id}
	if r := s.RuleByID(id); r != nil {
		out.LegalRef, out.Reason = r.LegalRef, r.Reason
	}
	return out, nil
}

// RuleByID returns a rule of the set, nil if there is none of that id.
func (s *Set) RuleByID(id string) *Rule {
	for _, r := range s.rules {
		if r.ID == id {
			return r
		}
	}
	return nil
}
