package policies

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Sized is a rule set cut or grown to a number of rules, so that the cost of a
// decision can be measured against it. It decides and does nothing else: it is
// no set that an owner could approve.
type Sized struct{ set *Set }

// Decide is Set.Decide.
func (z Sized) Decide(f Facts) Decision { return z.set.Decide(f) }

// Rules answers how many rules the set has.
func (z Sized) Rules() int { return len(z.set.rules) }

// Sized returns a set of exactly n rules that decides a request on a day, of a
// country without rules of its own, as s does: the one default rule of each key
// that a decision reads, and for the rest rules of single countries for the
// years after. An error when n is below the number of those keys.
func (s *Set) Sized(n int, on time.Time) (Sized, error) {
	l := loader{countries: s.countries, partial: true}
	for k, r := range s.viewAt(0, on.Unix()) {
		if decides(keyID(k)) { //nolint:gosec // an index of keyTable
			one := *r
			one.from, one.to, one.From, one.To = minInstant, maxInstant, time.Time{}, time.Time{}
			l.rules = append(l.rules, &one)
		}
	}
	if n < len(l.rules) {
		return Sized{}, fmt.Errorf("a decision reads %d rules, %d are not enough", len(l.rules), n)
	}
	for year := on.Year() + 1; len(l.rules) < n; year++ {
		for _, c := range s.countries {
			for i := range DeliveryOptions {
				if len(l.rules) == n {
					break
				}
				one := *s.at(keyDeliveryComune+keyID(i), 0, on.Unix()) //nolint:gosec // four options
				one.scope = scope{levelCountry, c}
				one.from = time.Date(year, 1, 1, 0, 0, 0, 0, rome).Unix()
				one.to = time.Date(year+1, 1, 1, 0, 0, 0, 0, rome).Unix()
				one.ID = fmt.Sprintf("%s@%s@%d", one.Key, one.scope, year)
				l.rules = append(l.rules, &one)
			}
		}
	}
	out := l.build()
	if len(l.errs) > 0 {
		return Sized{}, l.errs
	}
	out.hash = "supposed-sized"
	return Sized{out}, nil
}

// decides says whether a decision reads a key. The others are about a parcel on
// its way, logins, bookings and travel.
func decides(k keyID) bool {
	name := keyTable[k].name
	return !slices.ContainsFunc([]string{
		"delivery.storage_days.", "delivery.attempts.", "delivery.return_path.", "delivery.unclaimed_days", "travel.", "login.",
		"booking.", "organ_donation", "comune.clearance_working_days",
	}, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}
