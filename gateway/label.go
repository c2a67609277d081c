package gateway

import (
	"context"
	"errors"

	"airegw/delivery"
	"airegw/policies"
)

// Label is what the courier prints for a request, or why nothing is printed.
type Label struct {
	Lines  []string
	Doubts []delivery.Problem // what should be confirmed and stops nothing
	// Problems are why the address cannot be printed.
	Problems []delivery.Problem
	// Frozen says that the address was fixed at signature.
	Frozen bool
	// Register says that the address is the register's, not typed by anybody.
	Register bool
	// Office is where the card is collected instead, when no address is printed.
	Office Office
	// Known is false while the address is not known: nobody has asked the
	// register yet.
	Known bool
}

// Label answers the label of a request as it stands: the frozen address once the
// forms are signed, before that the one chosen. The look is audited: it shows a
// home.
func (d Desk) Label(ctx context.Context, number string) (Label, *Request, error) {
	r, err := d.Open(ctx, number)
	if err != nil {
		return Label{}, nil, err
	}
	l := Label{Known: true, Register: r.Delivery.Address == nil}
	address := r.Address
	l.Frozen = address != nil
	if address == nil {
		address = r.DeliveryAddress()
	}
	switch {
	case address != nil:
		l.print(*address)
	case r.Delivery.collected():
		l.Office = r.Office
		if post, ok := r.CompetentPost(); ok && r.Delivery.Option == policies.DeliveryConsulate {
			l.Office = Office{OfficePost, post.Key}
		}
	default:
		l.Known = false
	}
	return l, r, nil
}

// PreviewLabel answers the label of an address that is only typed so far.
func PreviewLabel(a delivery.Address) Label {
	l := Label{Known: true}
	l.print(a)
	return l
}

func (l *Label) print(a delivery.Address) {
	lines, err := delivery.Label(a)
	var bad *delivery.AddressError
	if errors.As(err, &bad) {
		l.Problems = bad.Problems
		return
	}
	l.Lines, l.Doubts = lines, delivery.Validate(a)
}

// collected says that the card is handed over at an office.
func (c DeliveryChoice) collected() bool {
	return c.Option == policies.DeliveryComunePickup || c.Option == policies.DeliveryConsulate
}
