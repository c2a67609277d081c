package delivery

import (
	"time"

	"airegw/policies"
)

// Plan is when a card is expected and on what that rests.
type Plan struct {
	Option policies.DeliveryOption `json:"option"`
	// From is the day in Rome that the term runs from: the core's acceptance,
	// since nothing moves before it (G6).
	From policies.Date `json:"from"`
	// Due is the expected day; zero if nobody promises one.
	Due policies.Date `json:"due,omitzero"`
	// Days are Italian working days if Working, else calendar days.
	Days     int             `json:"days,omitempty"`
	Working  bool            `json:"working,omitempty"`
	Basis    policies.Text   `json:"basis"`
	Rule     string          `json:"rule"`
	LegalRef string          `json:"legal_ref"`
	Status   policies.Status `json:"status"`
}

// PlanFor turns the verdict on a delivery into an expected day, counted from an
// instant whose day is taken in Rome. A refused verdict, and one for which no
// rule promises a term, give a plan without Due that says so in Basis.
func PlanFor(option policies.DeliveryOption, verdict policies.Option, from time.Time) Plan {
	p := Plan{
		Option: option, From: policies.DateOf(from), Basis: verdict.ExpectedReason,
		Rule: verdict.ExpectedRule, LegalRef: verdict.ExpectedRef, Status: verdict.ExpectedStatus,
	}
	if !verdict.Allowed {
		p.Basis, p.Rule, p.LegalRef, p.Status = verdict.Reason, verdict.Rule, verdict.LegalRef, verdict.Status
		return p
	}
	if verdict.ExpectedDays <= 0 {
		return p
	}
	p.Days, p.Working = verdict.ExpectedDays, verdict.ExpectedWorking
	if !p.Working {
		p.Due = p.From.AddDays(p.Days)
		return p
	}
	due, _, err := Due(p.From, p.Days)
	if err != nil {
		// Rules hold at most 400 days; only an instant centuries away gets here,
		// and no date is better than a wrong one.
		p.Days, p.Working = 0, false
		return p
	}
	p.Due = due
	return p
}

// Late reports whether a card that has not arrived on a day is overdue.
func (p Plan) Late(today policies.Date) bool { return !p.Due.IsZero() && p.Due.Before(today) }
