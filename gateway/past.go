package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"airegw/policies"
)

// DeliveryStore keeps what deliveries need beside the requests. Neither the
// rates nor the record of passages says anything of anybody.
type DeliveryStore interface {
	// SaveRate adds a rate that a post entered. Durable on return.
	SaveRate(ctx context.Context, r ConsularRate, audit ...AuditEntry) error
	// Rates answers the rates a post entered, the newest first, of ten years at
	// most.
	Rates(ctx context.Context, post string) ([]ConsularRate, error)
	// Passages answers how many cards took how many days since the month of an
	// instant.
	Passages(ctx context.Context, since time.Time) ([]PassageCount, error)
}

// Passage is one card that arrived, or will not: what is counted of it.
type Passage struct {
	Country string // ISO 3166-1 alpha-2 of the residence
	Option  policies.DeliveryOption
	Days    int    // from the core's acceptance, as the expected days are counted
	Outcome string // PassageDelivered or PassageNotDelivered
	At      time.Time
}

// The outcomes of a passage.
const (
	PassageDelivered    = "delivered"
	PassageNotDelivered = "not_delivered"
)

// PassageCount is how many cards of a country and delivery took how many days.
type PassageCount struct {
	Country string
	Option  policies.DeliveryOption
	Outcome string
	Days    int
	Cards   int
}

// passage answers what an event adds to the record; nil for all but those that
// end a parcel's way.
func (r *Request) passage(t EventType, at time.Time) *Passage {
	outcome := ""
	switch t {
	case EventDelivered:
		outcome = PassageDelivered
	case EventLost, EventDestroyed:
		outcome = PassageNotDelivered
	}
	o := r.Order()
	if outcome == "" || r.Decision == nil || o == nil || o.AcceptedAt.IsZero() {
		return nil
	}
	return &Passage{
		Country: r.Decision.Facts.ResidenceCountry, Option: r.Delivery.Option, Outcome: outcome, At: at,
		Days: max(0, daysBetween(policies.DateOf(o.AcceptedAt), policies.DateOf(at))),
	}
}

func daysBetween(from, to policies.Date) int {
	day := func(d policies.Date) time.Time { return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC) }
	return int(day(to).Sub(day(from)).Hours() / 24)
}

// Past is what happened to the deliveries to a country. It stands beside the
// expected days, which for most countries nobody promises.
type Past struct {
	Cards        int // that arrived
	Half, Most   int // days within which half, and nine in ten, of them did
	NotDelivered int // lost, or destroyed unclaimed
}

const (
	// pastLeast is the fewest cards that are told of: below it a figure would say
	// something of single people, and nothing of the country.
	pastLeast = 5
	// pastMonths is how far back the record goes.
	pastMonths = 24
	// pastFresh is how long what was read is shown.
	pastFresh = 5 * time.Minute
)

// PastLeast answers the fewest cards that the record tells of.
func PastLeast() int { return pastLeast }

// pastRecord keeps what was read. It is safe for concurrent use.
type pastRecord struct {
	mu     sync.Mutex
	read   time.Time
	counts []PassageCount
}

// Past answers the record of the last two years for a country and delivery;
// false when there are too few cards to tell of.
func (g *Gateway) Past(ctx context.Context, country string, option policies.DeliveryOption) (Past, bool, error) {
	g.past.mu.Lock()
	defer g.past.mu.Unlock()
	now := g.clock.Now()
	if g.past.read.IsZero() || now.Sub(g.past.read) >= pastFresh {
		counts, err := g.store.Passages(ctx, now.AddDate(0, -pastMonths, 0))
		if err != nil {
			return Past{}, false, wrap("read past deliveries", err)
		}
		g.past.read, g.past.counts = now, counts
	}
	var arrived []PassageCount
	var p Past
	for _, c := range g.past.counts {
		switch {
		case c.Country != country || c.Option != option:
		case c.Outcome == PassageDelivered:
			arrived = append(arrived, c)
			p.Cards += c.Cards
		default:
			p.NotDelivered += c.Cards
		}
	}
	if p.Cards < pastLeast {
		return Past{}, false, nil
	}
	slices.SortFunc(arrived, func(a, b PassageCount) int { return a.Days - b.Days })
	within := func(share int) int { // days within which that many of ten arrived
		seen := 0
		for _, c := range arrived {
			seen += c.Cards
			if seen*10 >= p.Cards*share {
				return c.Days
			}
		}
		return 0
	}
	p.Half, p.Most = within(5), within(9)
	return p, true, nil
}

// Tracking answers a request as the tracker shows it, with its parcel, the past
// of the delivery chosen and what travelling needs.
func (g *Gateway) Tracking(ctx context.Context, r *Request) (Tracking, error) {
	t := r.Tracking()
	t.Parcel = g.Transit(r)
	if v, known := g.Caveat(r); known {
		t.Travel = &v
	}
	if r.Decision == nil || r.State.Final() || !r.DeliveryAllowed() {
		return t, nil
	}
	past, _, err := g.Past(ctx, r.ResidenceCountry(), r.Delivery.Option)
	if err != nil {
		return t, err
	}
	t.Past = &past
	return t, nil
}

// ResidenceCountry answers the country by which a request was decided, "" before
// the first decision.
func (r *Request) ResidenceCountry() string {
	if r.Decision == nil {
		return ""
	}
	return r.Decision.Facts.ResidenceCountry
}

// Caveat is what the rules say of travelling with the card from the country of
// residence (A76, B.2.6); false before a decision.
func (g *Gateway) Caveat(r *Request) (policies.Value, bool) {
	if r.Decision == nil {
		return policies.Value{}, false
	}
	now := g.clock.Now()
	v, err := g.rules.now(now).Value("travel.caveat", r.Decision.Facts.ResidenceCountry, r.Decision.Facts.Post, now)
	return v, err == nil
}
