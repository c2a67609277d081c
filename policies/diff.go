package policies

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Change is one answer that another rule set gives differently, for a stretch
// of time and all the countries for which it changes in the same way.
type Change struct {
	Key string `json:"key"`
	// From and To bound the stretch; zero: from the first instant compared, for
	// ever.
	From   time.Time `json:"from,omitzero"`
	To     time.Time `json:"to,omitzero"`
	Before string    `json:"before"` // the value, with its code or needs
	After  string    `json:"after"`
	// BeforeRule and AfterRule are the rules of the first country.
	BeforeRule string   `json:"before_rule"`
	AfterRule  string   `json:"after_rule"`
	Countries  []string `json:"countries"` // ISO2, and "XX/post" for posts with rules of their own
}

// Diff lists what next answers otherwise than s from an instant on: changed
// answers, not changed lines. Rules that are only written differently are no
// change; a country that only one of the sets knows is "(no answer)" in the
// other. The list is ordered by key, then time.
func (s *Set) Diff(next *Set, since time.Time) []Change {
	type group struct {
		key           keyID
		from, to      int64
		before, after string
	}
	found := map[group]*Change{}
	for _, place := range placesOf(s, next) {
		country, post, _ := strings.Cut(place, "/")
		a, b := s.place(country, post), next.place(country, post)
		cuts := []int64{since.Unix()}
		for _, set := range []struct {
			s *Set
			p int16
		}{{s, a}, {next, b}} {
			if set.p == 0 {
				continue
			}
			for _, e := range set.s.eras[set.p] {
				if e.from > since.Unix() {
					cuts = append(cuts, e.from)
				}
			}
		}
		slices.Sort(cuts)
		cuts = slices.Compact(cuts)
		for k := range keyCount {
			var run *group
			var rules [2]*Rule
			flush := func(to int64) {
				if run == nil {
					return
				}
				run.to = to
				c, ok := found[*run]
				if !ok {
					c = &Change{Key: keyTable[k].name, Before: run.before, After: run.after}
					c.BeforeRule, c.AfterRule = idOf(rules[0]), idOf(rules[1])
					if run.from != since.Unix() {
						c.From = time.Unix(run.from, 0).UTC()
					}
					if to != maxInstant {
						c.To = time.Unix(to, 0).UTC()
					}
					found[*run] = c
				}
				c.Countries = append(c.Countries, place)
				run = nil
			}
			for _, cut := range cuts {
				ra, rb := ruleAt(s, a, k, cut), ruleAt(next, b, k, cut)
				before, after := answerOf(ra), answerOf(rb)
				if run != nil && (run.before != before || run.after != after) {
					flush(cut)
				}
				if run == nil && before != after {
					run = &group{key: k, from: cut, before: before, after: after}
					rules = [2]*Rule{ra, rb}
				}
			}
			flush(maxInstant)
		}
	}
	out := make([]Change, 0, len(found))
	for _, c := range found {
		out = append(out, *c)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := &out[i], &out[j]
		switch {
		case a.Key != b.Key:
			return a.Key < b.Key
		case !a.From.Equal(b.From):
			return a.From.Before(b.From)
		case !a.To.Equal(b.To):
			return a.To.Before(b.To)
		case a.Before != b.Before:
			return a.Before < b.Before
		default:
			return a.After < b.After
		}
	})
	return out
}

// placesOf lists the countries of both sets and the posts with own rules.
func placesOf(a, b *Set) []string {
	out := slices.Concat(a.countries, b.countries)
	for _, s := range []*Set{a, b} {
		for p := range s.posts {
			out = append(out, p)
		}
	}
	sort.Strings(out)
	return slices.Compact(out)
}

func ruleAt(s *Set, place int16, k keyID, at int64) *Rule {
	if place == 0 {
		return nil
	}
	return s.at(k, place, at)
}

func idOf(r *Rule) string {
	if r == nil {
		return ""
	}
	return r.ID
}

// answerOf writes what a rule answers, without its texts and references: two
// rules with the same answer are no change for anybody's request.
func answerOf(r *Rule) string {
	if r == nil {
		return "(no answer)"
	}
	switch keyTable[r.key].kind {
	case kindNumber:
		return fmt.Sprint(r.Number)
	case kindWord:
		return r.Word
	case kindCodes:
		return "[" + strings.Join(r.Codes, ", ") + "]"
	case kindVerdict:
	}
	out := string(r.Verdict)
	if len(r.Needs) > 0 {
		out += " [" + strings.Join(r.Needs, ", ") + "]"
	}
	if r.Code != r.Key {
		out += " (" + r.Code + ")"
	}
	if r.Status == StatusProvisional {
		out += " provisional"
	}
	return out
}
