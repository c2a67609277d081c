package gateway

import (
	"context"
	"fmt"
	"slices"

	"airegw/anpr"
	"airegw/delivery"
	"airegw/policies"
)

// changeable are the states in which the core may still change a delivery.
var changeable = []State{StateRelayed, StateCertified, StateInProduction}

// residenceNow asks the register where the applicant lives today, when a card on
// its way to be made is to go to the foreign residence: what is in our record
// may be the one that has just changed. nil for every other choice. Only a
// record without anything against the card, and with an address a label can be
// printed of, is taken.
func (d Desk) residenceNow(ctx context.Context, number string, choice DeliveryChoice) (*Checked, error) {
	if choice.Option != policies.DeliveryForeignResidence {
		return nil, nil
	}
	r, err := d.g.load(ctx, d.scope, number)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(changeable, r.State) {
		return nil, moved(r)
	}
	if o := r.Order(); o != nil && o.Asked != "" {
		return nil, NewError(Conflict, "change_under_way")
	}
	checked, err := d.g.ask(ctx, r, auditActor(d.scope.actor), anpr.UrgencyCounter)
	if err != nil {
		return nil, &Error{Kind: Unavailable, Code: "register_unavailable", Err: fmt.Errorf("ask for the residence: %w", err)}
	}
	if refusal, blocked := sortFindings(checked.Findings); refusal != nil || blocked {
		return nil, NewError(Conflict, "correction_due")
	}
	if _, err := delivery.Label(registerAddress(checked.Applicant.Person)); err != nil {
		return nil, &Error{Kind: Conflict, Code: "correction_due", Err: fmt.Errorf("the address of the register: %w", err)}
	}
	return checked, nil
}
