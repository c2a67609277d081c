package policies

import "time"

// InForce returns the rules that hold for a country and post ("" for none) at
// an instant, one for every key, in the order of keys. The list is the
// caller's, the rules are the set's. An unknown country is a *FactsError.
func (s *Set) InForce(country, post string, on time.Time) ([]*Rule, error) {
	place := s.place(country, post)
	if place == 0 {
		return nil, &FactsError{Code: CodeFactsCountry, Field: "country", Value: clip(country)}
	}
	v := s.viewAt(place, on.Unix())
	return append([]*Rule(nil), v[:]...), nil
}

// Value returns what the rule answers in the form its key has: a Verdict, an
// int, a string or a []string.
func (r *Rule) Value() any {
	switch keyTable[r.key].kind {
	case kindNumber:
		return r.Number
	case kindWord:
		return r.Word
	case kindCodes:
		return append([]string{}, r.Codes...)
	default:
		return r.Verdict
	}
}

// Answer writes what the rule answers, for people: its value with what it
// needs, a code of its own and whether it is provisional.
func (r *Rule) Answer() string { return answerOf(r) }
