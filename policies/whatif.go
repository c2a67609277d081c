package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Given is a delivery rule that is only supposed, to see what it would change
// (B.2.4). It outweighs every rule of the set at its place.
type Given struct {
	Country  string         // ISO2; "" for every country
	Post     string         // code of a post of that country; "" for the whole country
	Option   DeliveryOption // required
	Channel  Channel        // "" for both
	Allowed  bool
	Code     string // reason code; "" for the key's own
	LegalRef string // "" reads as "supposed"
	Reason   Text   // empty texts read as a plain statement that the rule is supposed
	From, To time.Time
}

// With returns a set in which the given rules hold beside and above those of s,
// which stays as it is. Its hash is its own, so that no what-if answer can pass
// for a decision of s. Bad places, options and overlapping dates are LoadErrors
// whose line is the index of the rule, from 1.
//
// Only the places that the given rules touch are laid anew: other systems ask
// what-if questions by the thousand.
func (s *Set) With(given []Given) (*Set, error) {
	l := loader{}
	h := sha256.New()
	fmt.Fprintln(h, s.hash)
	for i, g := range given {
		g.From, g.To = g.From.UTC(), g.To.UTC()
		fmt.Fprintf(h, "%q\n", fmt.Sprintf("%+v", g))
		l.suppose(i+1, &g)
	}
	byKey := map[keyID]map[scope][]*Rule{}
	for _, r := range l.rules {
		if name := r.scope.name; name != "" && !s.KnowsCountry(name[:2]) {
			l.fail(r.File, r.Line, CodeLoadCountry, name)
		}
		if byKey[r.key] == nil {
			byKey[r.key] = map[scope][]*Rule{}
		}
		byKey[r.key][r.scope] = append(byKey[r.key][r.scope], r)
	}
	for k := range keyCount {
		l.overlaps(byKey[k])
	}
	if len(l.errs) > 0 {
		return nil, l.errs
	}
	out := *s
	out.hash = "supposed-sha256:" + hex.EncodeToString(h.Sum(nil))
	out.rules = slices.Concat(s.rules, l.rules)
	out.lay(l.rules)
	return &out, nil
}

// lay puts rules over the views of every place they speak of.
func (s *Set) lay(rules []*Rule) {
	s.eras, s.posts = slices.Clone(s.eras), maps.Clone(s.posts)
	names := make([]string, len(s.eras)) // of each place
	for i, c := range s.countries {
		names[i+1] = c
	}
	for post, p := range s.posts {
		names[p] = post
	}
	for _, r := range rules {
		if r.scope.level != levelGiven+levelPost || s.posts[r.scope.name] != 0 {
			continue
		}
		// A post without rules of its own has been its country until now.
		s.posts[r.scope.name] = int16(len(s.eras)) //nolint:gosec // as many as the caller supposes
		names = append(names, r.scope.name)
		s.eras = append(s.eras, s.eras[s.place(r.scope.name[:2], "")])
	}
	type before struct {
		first *era
		rules string
	}
	known := map[before][]era{}
	for p, name := range names {
		var here []*Rule
		for _, r := range rules {
			if r.scope.name == "" || r.scope.name == name || (len(name) > 2 && r.scope.name == name[:2]) {
				here = append(here, r)
			}
		}
		if len(here) == 0 {
			continue
		}
		slices.SortStableFunc(here, func(a, b *Rule) int { return int(b.scope.level) - int(a.scope.level) })
		at := before{&s.eras[p][0], fmt.Sprint(here)}
		if _, ok := known[at]; !ok {
			known[at] = overlay(s.eras[p], here)
		}
		s.eras[p] = known[at]
	}
}

// overlay lays rules, the most specific first, over the views of one place.
func overlay(eras []era, rules []*Rule) []era {
	var cuts []int64
	for _, e := range eras {
		cuts = append(cuts, e.from)
	}
	for _, r := range rules {
		cuts = append(cuts, r.from)
		if r.to != maxInstant {
			cuts = append(cuts, r.to)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	out := make([]era, 0, len(cuts))
	i := 0
	for _, c := range cuts {
		for i+1 < len(eras) && eras[i+1].from <= c {
			i++
		}
		v := eras[i].view
		for _, r := range slices.Backward(rules) {
			if r.from <= c && c < r.to {
				if v == eras[i].view {
					own := *v
					v = &own
				}
				v[r.key] = r
			}
		}
		out = append(out, era{c, v})
	}
	return out
}

// givenFile stands for the file name in errors and rules of With.
const givenFile = "given"

func (l *loader) suppose(line int, g *Given) {
	option := optionIndex(g.Option)
	if option < 0 {
		l.fail(givenFile, line, CodeLoadValue, "option: "+string(g.Option))
		return
	}
	if !oneOf(g.Channel, "", ChannelComune, ChannelPost) {
		l.fail(givenFile, line, CodeLoadValue, "channel: "+string(g.Channel))
		return
	}
	text := "default"
	switch {
	case g.Post != "":
		text = "post:" + g.Country + "/" + g.Post
	case g.Country != "":
		text = "country:" + g.Country
	}
	sc, bad := parseScope(text)
	if bad != "" {
		l.fail(givenFile, line, CodeLoadScope, text+": "+bad)
		return
	}
	if g.Code != "" && !isCodeName(g.Code) {
		l.fail(givenFile, line, CodeLoadValue, "code: "+g.Code)
		return
	}
	r := Rule{
		File: givenFile, Line: line, Verdict: VerdictRefuse, Code: g.Code, LegalRef: g.LegalRef,
		Status: StatusProvisional, Source: "supposed", Reason: g.Reason, From: g.From, To: g.To,
		from: unixOr(g.From, minInstant), to: unixOr(g.To, maxInstant),
	}
	if g.Allowed {
		r.Verdict = VerdictAllow
	}
	if r.LegalRef == "" {
		r.LegalRef = "supposed"
	}
	if r.Reason.IT == "" || r.Reason.EN == "" {
		r.Reason = Text{"Regola solo ipotizzata, non in vigore.", "A rule that is only supposed, not in force."}
	}
	if r.from >= r.to {
		l.fail(givenFile, line, CodeLoadDate, "the end is not after the start")
		return
	}
	for _, ch := range []struct {
		channel Channel
		key     keyID
	}{{ChannelComune, keyDeliveryComune}, {ChannelPost, keyDeliveryPost}} {
		if g.Channel != "" && g.Channel != ch.channel {
			continue
		}
		one := r
		one.key = ch.key + keyID(option) //nolint:gosec // optionIndex is below four
		one.Key = keyTable[one.key].name
		one.scope = scope{levelGiven + sc.level, sc.name}
		one.Scope = one.scope.String()
		one.ID = one.Key + "@" + one.Scope + "@" + instantName(one.from)
		if one.Code == "" {
			one.Code = one.Key
		}
		l.rules = append(l.rules, &one)
	}
}

func unixOr(t time.Time, none int64) int64 {
	if t.IsZero() {
		return none
	}
	return t.Unix()
}
