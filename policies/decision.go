package policies

import (
	"bytes"
	"encoding/json"
)

// Outcome is what a decision says of the request as a whole.
type Outcome string

// The outcomes. OutcomeNeeds: nothing forbids the request, but Findings list
// what is still missing and at which stage it is supplied. OutcomeAskedAgain:
// the delivery was allowed when it was chosen and no longer is; the applicant
// must choose again, nothing is changed in silence.
const (
	OutcomeAllowed    Outcome = "allowed"
	OutcomeRefused    Outcome = "refused"
	OutcomeNeeds      Outcome = "needs"
	OutcomeAskedAgain Outcome = "asked_again"
)

// Verdict is the effect of one rule.
type Verdict string

// The verdicts a rule can give.
const (
	VerdictAllow  Verdict = "allow"
	VerdictRefuse Verdict = "refuse"
	VerdictNeeds  Verdict = "needs"
)

// Stage says where a missing thing is supplied.
type Stage string

// The stages. A need at StageRegister is a misalignment that the AIRE comune or
// the post must repair before counter work; one at StageCounter is collected at
// the counter; one at StageChoice is asked of the applicant.
const (
	StageRegister Stage = "register"
	StageCounter  Stage = "counter"
	StageChoice   Stage = "choice"
)

// Status says on what a rule stands.
type Status string

// The two states of a rule. A provisional rule is no Italian rule in force: it
// rests on the knowledge named in its source and is shown with that label.
const (
	StatusEnacted     Status = "enacted"
	StatusProvisional Status = "provisional"
)

// Text is a text for people in both languages.
type Text struct {
	IT string `json:"it"`
	EN string `json:"en"`
}

// Finding is one reason why a request is refused or incomplete.
type Finding struct {
	// Code is stable and machine-readable, such as "person.not_aire".
	Code    string  `json:"code"`
	Verdict Verdict `json:"verdict"`
	Stage   Stage   `json:"stage,omitempty"`
	// About is what the finding speaks of: "channel", "person", "office",
	// "reason", "minor", "document", "delivery" or "facts".
	About    string `json:"about"`
	Rule     string `json:"rule,omitempty"`
	LegalRef string `json:"legal_ref,omitempty"`
	Status   Status `json:"status,omitempty"`
	Reason   Text   `json:"reason"`
	// Needs lists what is missing. "a|b" means one of them, "a+b" both. The
	// slice belongs to the rule set: do not change it.
	Needs []string `json:"needs,omitempty"`
	// Open says that the fact is only not known yet; without it something was
	// said, and it is not enough.
	Open bool `json:"open,omitzero"`
}

// Option is the verdict on one delivery.
type Option struct {
	Allowed bool `json:"allowed"`
	// Verdict is allow, refuse, or needs (allowed once Needs are supplied).
	Verdict  Verdict `json:"verdict"`
	Code     string  `json:"code"`
	Rule     string  `json:"rule"`
	LegalRef string  `json:"legal_ref"`
	Status   Status  `json:"status"`
	Reason   Text    `json:"reason"`
	// Needs belongs to the rule set: do not change it.
	Needs []string `json:"needs,omitempty"`
	// ExpectedDays is how long delivery is expected to take from the core's
	// acceptance; 0 means that nobody promises anything. They are Italian
	// working days if ExpectedWorking, else calendar days.
	ExpectedDays    int    `json:"expected_days,omitempty"`
	ExpectedWorking bool   `json:"expected_working,omitempty"`
	ExpectedRule    string `json:"expected_rule,omitempty"`
	ExpectedRef     string `json:"expected_ref,omitempty"`
	ExpectedStatus  Status `json:"expected_status,omitempty"`
	ExpectedReason  Text   `json:"expected_reason,omitzero"`
}

// Options holds the verdicts on the four deliveries in the order of
// DeliveryOptions. In JSON it is an object with one member each.
type Options [4]Option

// For returns the verdict on one delivery. An unknown delivery is refused.
func (o *Options) For(d DeliveryOption) Option {
	i := optionIndex(d)
	if i < 0 {
		return Option{Verdict: VerdictRefuse, Code: CodeFactsValue}
	}
	return o[i]
}

// MarshalJSON writes {"IT_ADDRESS":{…},…} in the order of DeliveryOptions.
func (o Options) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + string(DeliveryOptions[i]) + `":`)
		v, err := json.Marshal(o[i])
		if err != nil {
			return nil, err
		}
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (o *Options) UnmarshalJSON(b []byte) error {
	var m map[DeliveryOption]Option
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	var out Options
	for k, v := range m {
		i := optionIndex(k)
		if i < 0 {
			return &FactsError{Code: CodeFactsValue, Field: "options", Value: clip(string(k))}
		}
		out[i] = v
	}
	*o = out
	return nil
}

// Decision is the answer to one set of facts. It refers to texts owned by the
// rule set and must be treated as read-only.
type Decision struct {
	Outcome  Outcome   `json:"outcome"`
	Findings []Finding `json:"findings,omitempty"`
	Options  Options   `json:"options"`
	// Expiry is the last day of the card's validity; zero if the birth date is
	// not known. ExpiryRule is the rule that gave the term.
	Expiry     Date   `json:"expiry,omitzero"`
	ExpiryRule string `json:"expiry_rule,omitempty"`
	// FeeCents is the whole fee in euro cents, state share and postage
	// included (A71, B.1.3, Q4).
	FeeCents int    `json:"fee_cents"`
	FeeRule  string `json:"fee_rule,omitempty"`
	// PrintNote is the code of the note printed on the card ("" none yet or
	// none), PrintNoteText its Italian text, word for word (G8).
	PrintNote     string `json:"print_note,omitempty"`
	PrintNoteText string `json:"print_note_text,omitempty"`
	// FingerprintsRequired and SignatureRequired follow the age (B.1.4).
	FingerprintsRequired bool `json:"fingerprints_required"`
	SignatureRequired    bool `json:"signature_required"`
	// LegalBasis is the basis the dossier records (A1).
	LegalBasis string `json:"legal_basis"`
	// RuleSet is Set.Hash of the rules that decided.
	RuleSet string `json:"rule_set"`
	// FactsDigest is Facts.Digest. Decide leaves it empty, Record fills it.
	FactsDigest string `json:"facts_digest,omitempty"`
}

// Misaligned reports whether something is missing that only the register can
// supply: counter work must not start.
func (d *Decision) Misaligned() bool {
	for i := range d.Findings {
		if d.Findings[i].Verdict == VerdictNeeds && d.Findings[i].Stage == StageRegister {
			return true
		}
	}
	return false
}

// Missing returns the findings whose needs are supplied at the given stage.
func (d *Decision) Missing(s Stage) []Finding {
	var out []Finding
	for i := range d.Findings {
		if d.Findings[i].Verdict == VerdictNeeds && d.Findings[i].Stage == s {
			out = append(out, d.Findings[i])
		}
	}
	return out
}

// Refusals returns the findings that refuse the request.
func (d *Decision) Refusals() []Finding {
	var out []Finding
	for i := range d.Findings {
		if d.Findings[i].Verdict == VerdictRefuse {
			out = append(out, d.Findings[i])
		}
	}
	return out
}
