package policies

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// AnswerChange is one answer that people would get differently from another
// rule set: for a channel, an age band, a stretch of time and all the countries
// in which it changes in the same way.
type AnswerChange struct {
	// About is what is answered: "delivery", "expected" (both of Delivery),
	// "outcome", "fee" (both of Reasons), "validity" or "capture".
	About    string         `json:"about"`
	Channel  Channel        `json:"channel"`
	Delivery DeliveryOption `json:"delivery,omitempty"`
	Reasons  []Reason       `json:"reasons,omitempty"`
	// AgeFrom and AgeTo bound the age in completed years, both included; AgeTo
	// is -1 for no end.
	AgeFrom int `json:"age_from"`
	AgeTo   int `json:"age_to"`
	// From and To bound the stretch; zero: from the first instant compared, for
	// ever.
	From   time.Time `json:"from,omitzero"`
	To     time.Time `json:"to,omitzero"`
	Before string    `json:"before"`
	After  string    `json:"after"`
	// BeforeRule and AfterRule are the rules of the first country, "" where
	// several rules make the answer.
	BeforeRule string   `json:"before_rule,omitempty"`
	AfterRule  string   `json:"after_rule,omitempty"`
	Countries  []string `json:"countries"` // ISO2, and "XX/post" for posts with rules of their own
}

// ageKeys are the rules that make an age matter; their values in both sets cut
// the ages into bands in which nothing can change but with time.
var ageKeys = [...]keyID{
	keyRefreshAge, keyAdultAge, keyPrintsAge, keySignatureAge, keyDelegateUnder, keyDelegateUnder2, keyDelegateUnder3,
	keyDelegateUnder4, keyValidityChildUnder, keyValiditySeniorFrom,
}

// noAnswer is what a set says of a country it does not know.
const noAnswer = "(no answer)"

// DiffAnswers lists what next would answer otherwise than s from an instant on,
// weighed with the facts of an applicant in good order: in AIRE, alive, Italian,
// fiscal code validated, post competent, obstacles declared absent, both parents
// assenting, nothing else said. Where Diff compares rules, this compares
// decisions, so that a changed age limit shows as the ages it moves. What only
// other facts bring out (a wrong post, a dead applicant, a login level) is in
// Diff. The list is ordered by subject, channel, delivery, time and age.
func (s *Set) DiffAnswers(next *Set, since time.Time) []AnswerChange {
	ages := []int{0}
	for _, set := range []*Set{s, next} {
		for _, r := range set.rules {
			if slices.Contains(ageKeys[:], r.key) {
				ages = append(ages, r.Number)
			}
		}
	}
	slices.Sort(ages)
	ages = slices.Compact(ages)

	// Most countries share the rules of another: each pair of rules is weighed
	// once.
	weighed := map[string][]AnswerChange{}
	merged := map[string]*AnswerChange{}
	for _, place := range placesOf(s, next) {
		country, post, _ := strings.Cut(place, "/")
		a, b := s.place(country, post), next.place(country, post)
		id := s.history(a) + "|" + next.history(b)
		changes, known := weighed[id]
		if !known {
			changes = weighPlace([2]*Set{s, next}, [2]int16{a, b}, country, post, ages, since.Unix())
			weighed[id] = changes
		}
		for _, c := range changes {
			key := c.key()
			if merged[key] == nil {
				one := c
				one.Countries = nil
				merged[key] = &one
			}
			merged[key].Countries = append(merged[key].Countries, place)
		}
	}
	out := make([]AnswerChange, 0, len(merged))
	for _, c := range merged {
		out = append(out, *c)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].key() < out[j].key() })
	return out
}

// history names the rules that hold at a place over time: places with the same
// history have the same answers.
func (s *Set) history(place int16) string {
	if place == 0 {
		return ""
	}
	var b strings.Builder
	for _, e := range s.eras[place] {
		fmt.Fprintf(&b, "%d:%p ", e.from, e.view)
	}
	return b.String()
}

// key tells apart changes that are not the same; sorting by it gives the order
// of DiffAnswers.
func (c *AnswerChange) key() string {
	return fmt.Sprintf("%d %s %d %s %020d %020d %03d %03d %s\x00%s", slices.Index(answerOrder, c.About), c.Channel, optionIndex(c.Delivery),
		reasonOrder(c.Reasons), stretch(c.From), stretch(c.To), c.AgeFrom, c.AgeTo+1, c.Before, c.After)
}

// stretch orders instants before 1970 too; the zero time stands for no bound.
func stretch(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix() + 1<<40
}

var answerOrder = []string{"delivery", "outcome", "validity", "capture", "fee", "expected"}

func reasonOrder(rs []Reason) string {
	var b strings.Builder
	for _, r := range rs {
		fmt.Fprintf(&b, "%d", reasonIndex(r))
	}
	return b.String()
}

// question is one thing that a decision answers.
type question struct {
	about    string
	delivery DeliveryOption
	reason   Reason
}

// answer is what it answers and by which rule.
type answer struct{ text, rule string }

// weighPlace compares the decisions of two sets at one place. The changes have
// no countries.
func weighPlace(sets [2]*Set, places [2]int16, country, post string, ages []int, since int64) []AnswerChange {
	cuts := []int64{since}
	for i, set := range sets {
		if places[i] == 0 {
			continue
		}
		for _, e := range set.eras[places[i]] {
			if e.from > since {
				cuts = append(cuts, e.from)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)

	var out []AnswerChange
	for _, channel := range []Channel{ChannelComune, ChannelPost} {
		// bands holds, for every question, what changes in the band of age
		// before this one, to be widened if it changes here as well.
		bands := map[question][]AnswerChange{}
		for i, age := range ages {
			to := -1
			if i+1 < len(ages) {
				to = ages[i+1] - 1
			}
			now := weighAge(sets, places, country, post, channel, age, cuts)
			for q, changes := range now {
				for j := range changes {
					c := &changes[j]
					c.AgeFrom, c.AgeTo = age, to
					for _, before := range bands[q] {
						if before.AgeTo == age-1 && before.From.Equal(c.From) && before.To.Equal(c.To) && before.Before == c.Before && before.After == c.After {
							c.AgeFrom, c.BeforeRule, c.AfterRule = before.AgeFrom, before.BeforeRule, before.AfterRule
						}
					}
				}
			}
			for _, q := range questions {
				out = append(out, ended(bands[q], now[q])...)
			}
			bands = now
		}
		for _, q := range questions {
			out = append(out, bands[q]...)
		}
	}
	return joinReasons(out)
}

// ended returns the changes that no change of the next band has taken over.
func ended(changes, next []AnswerChange) []AnswerChange {
	var out []AnswerChange
	for _, c := range changes {
		if !slices.ContainsFunc(next, func(n AnswerChange) bool {
			return n.AgeFrom == c.AgeFrom && n.From.Equal(c.From) && n.To.Equal(c.To) && n.Before == c.Before && n.After == c.After
		}) {
			out = append(out, c)
		}
	}
	return out
}

// weighAge compares the decisions for one channel and age over time.
func weighAge(sets [2]*Set, places [2]int16, country, post string, channel Channel, age int, cuts []int64) map[question][]AnswerChange {
	open := map[question]AnswerChange{}
	out := map[question][]AnswerChange{}
	flush := func(q question, to time.Time) {
		c := open[q]
		c.To = to
		out[q] = append(out[q], c)
		delete(open, q)
	}
	for _, cut := range cuts {
		at := time.Unix(cut, 0).UTC()
		var said [2]map[question]answer
		for i := range sets {
			if places[i] != 0 {
				said[i] = sets[i].answers(country, post, channel, age, at)
			}
		}
		for _, q := range questions {
			before, after := answerTo(said[0], q), answerTo(said[1], q)
			if c, ok := open[q]; ok && (c.Before != before.text || c.After != after.text) {
				flush(q, at)
			}
			if _, ok := open[q]; ok || before.text == after.text {
				continue
			}
			c := AnswerChange{
				About: q.about, Channel: channel, Delivery: q.delivery, Before: before.text, After: after.text,
				BeforeRule: before.rule, AfterRule: after.rule,
			}
			if q.reason != "" {
				c.Reasons = []Reason{q.reason}
			}
			if cut != cuts[0] {
				c.From = at
			}
			open[q] = c
		}
	}
	for q := range open {
		flush(q, time.Time{})
	}
	return out
}

func answerTo(said map[question]answer, q question) answer {
	if said == nil {
		return answer{text: noAnswer}
	}
	return said[q]
}

// questions lists everything answers answers.
var questions = func() []question {
	out := []question{{about: "validity"}, {about: "capture"}}
	for _, o := range DeliveryOptions {
		out = append(out, question{about: "delivery", delivery: o}, question{about: "expected", delivery: o})
	}
	for _, r := range Reasons {
		out = append(out, question{about: "outcome", reason: r}, question{about: "fee", reason: r})
	}
	return out
}()

// answers decides for an applicant in good order whose birthday is today.
func (s *Set) answers(country, post string, channel Channel, age int, at time.Time) map[question]answer {
	today := DateOf(at)
	f := Facts{
		On: at, Channel: channel, ResidenceCountry: country, Post: post, Expatriation: ExpatriationDeclared, ParentsAssent: AssentBoth,
		PostCompetent: Yes, RegisterSubjects: 1,
		Person: Person{BirthDate: today.addMonths(-12 * age), AIRE: Yes, Citizenship: italian, Alive: Yes, CFValidated: Yes},
	}
	out := make(map[question]answer, len(questions))
	for i, reason := range Reasons {
		f.Reason = reason
		d := s.Decide(f)
		text := string(d.Outcome)
		for _, fd := range d.Findings {
			text += " " + fd.Code
		}
		out[question{about: "outcome", reason: reason}] = answer{text: text}
		out[question{about: "fee", reason: reason}] = answer{fmt.Sprintf("%d.%02d EUR", d.FeeCents/100, d.FeeCents%100), d.FeeRule}
		if i > 0 {
			continue
		}
		for j, o := range DeliveryOptions {
			v := &d.Options[j]
			out[question{about: "delivery", delivery: o}] = answer{deliveryAnswer(v), v.Rule}
			out[question{about: "expected", delivery: o}] = answer{expectedAnswer(v), v.ExpectedRule}
		}
		out[question{about: "validity"}] = answer{s.term(d.ExpiryRule), d.ExpiryRule}
		out[question{about: "capture"}] = answer{text: captureAnswer(&d)}
	}
	return out
}

func deliveryAnswer(o *Option) string {
	out := string(o.Verdict)
	if len(o.Needs) > 0 {
		out += " [" + strings.Join(o.Needs, ", ") + "]"
	}
	if o.Verdict != VerdictAllow {
		out += " (" + o.Code + ")"
	}
	if o.Status == StatusProvisional {
		out += " provisional"
	}
	return out
}

func expectedAnswer(o *Option) string {
	switch {
	case !o.Allowed:
		return "not delivered"
	case o.ExpectedDays == 0:
		return "nobody promises a day"
	case o.ExpectedWorking:
		return fmt.Sprintf("%d working days", o.ExpectedDays)
	default:
		return fmt.Sprintf("%d days", o.ExpectedDays)
	}
}

// term is the length of validity, since a date would differ with every day.
func (s *Set) term(rule string) string {
	r := s.RuleByID(rule)
	if r == nil {
		return noAnswer
	}
	return fmt.Sprintf("%d years (%s)", r.Number, r.Key)
}

func captureAnswer(d *Decision) string {
	switch {
	case d.FingerprintsRequired && d.SignatureRequired:
		return "fingerprints and signature"
	case d.FingerprintsRequired:
		return "fingerprints"
	case d.SignatureRequired:
		return "signature"
	default:
		return "neither fingerprints nor signature"
	}
}

// joinReasons makes one change of those that differ in the reason only.
func joinReasons(changes []AnswerChange) []AnswerChange {
	type sameBut struct {
		about, before, after string
		channel              Channel
		delivery             DeliveryOption
		ageFrom, ageTo       int
		from, to             int64
	}
	at := map[sameBut]int{}
	var out []AnswerChange
	for _, c := range changes {
		k := sameBut{c.About, c.Before, c.After, c.Channel, c.Delivery, c.AgeFrom, c.AgeTo, stretch(c.From), stretch(c.To)}
		i, ok := at[k]
		if !ok {
			at[k] = len(out)
			out = append(out, c)
			continue
		}
		out[i].Reasons = append(out[i].Reasons, c.Reasons...)
	}
	for i := range out {
		slices.SortFunc(out[i].Reasons, func(a, b Reason) int { return reasonIndex(a) - reasonIndex(b) })
	}
	return out
}
