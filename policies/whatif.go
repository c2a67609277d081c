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
func (s *Set) With(given []Given) (*Set, error) {
	l := loader{groups: maps.Clone(s.groups), countries: slices.Clone(s.countries), supposed: true}
	for _, r := range s.rules {
		c := *r
		c.used = false
		l.rules = append(l.rules, &c)
	}
	h := sha256.New()
	fmt.Fprintln(h, s.hash)
	for i, g := range given {
		g.From, g.To = g.From.UTC(), g.To.UTC()
		fmt.Fprintf(h, "%q\n", fmt.Sprintf("%+v", g))
		l.suppose(i+1, &g)
	}
	out := l.build()
	if len(l.errs) > 0 {
		return nil, l.errs
	}
	out.hash = "supposed-sha256:" + hex.EncodeToString(h.Sum(nil))
	return out, nil
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
