package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/delivery"
	"airegw/policies"
)

// explainCmd says what the rules answer and why: for a country, for a request
// that was decided, or for situations line by line.
type explainCmd struct {
	Country      string `placeholder:"XX" help:"Country of the AIRE residence, ISO 3166-1 alpha-2 (XK for Kosovo)."`
	Channel      string `enum:"comune,post" default:"comune" help:"Where the card is asked for: comune or post."`
	Age          *int   `placeholder:"YEARS" help:"Age in completed years, the birthday taken on the day itself (default: 40)."`
	BirthDate    string `placeholder:"DATE" help:"The exact date of birth, instead of --age."`
	On           string `placeholder:"DATE" help:"Day in Rome, or RFC 3339 instant, the request counts from (default: now)."`
	Reason       string `default:"first_issue" placeholder:"CODE" help:"Why the card is asked for."`
	Delivery     string `placeholder:"OPTION" help:"The delivery wanted."`
	Fingerprints string `placeholder:"OUTCOME" help:"Outcome of taking the fingerprints, such as taken or temporarily_impossible."`
	Expatriation string `placeholder:"DECLARATION" help:"Declaration for travel: declared, not_declared or obstacle."`
	Post         string `placeholder:"KEY" help:"Key or ANPR code of the competent post, for rules of that post."`
	Rules        string `placeholder:"DIR" type:"path" help:"Folder of another rule set (default: the one in this binary)."`
	JSON         bool   `name:"json" help:"One JSON object."`
	database
	What []string `arg:"" optional:"" name:"request" help:"A request number; or \"-\", \"expiry -\", \"due -\", \"label -\" for JSON Lines."`
}

// Help is printed by --help.
func (explainCmd) Help() string {
	return `airegw explain --country AR answers without a request: every delivery with its verdict, reason,
rule and legal reference, and expiry, fee, printed note, legal basis. A refusal is an answer
(exit 0); an unknown country code is wrong usage (exit 2).

airegw explain R26-… replays the decisions taken on a request from the database, beside a running
server, and says whether the rules in force today would answer otherwise. Exit 1 when there is no
such request, or when a decision does not follow from its facts and the rules it names.

JSON Lines, one answer a line, in order, never stopping at a bad one:

  airegw explain -          situations in, decisions out
  airegw explain expiry -   {"request_date","birth_date","fingerprints"}
  airegw explain due -      {"from","working_days"}
  airegw explain label -    {"address":{…}}

The members of every line are in docs/explain.md; unknown ones are refused.

Reasons: ` + words(policies.Reasons[:]) + `.
Deliveries: ` + words(policies.DeliveryOptions[:]) + `.`
}

func words[S ~string](list []S) string {
	all := make([]string, len(list))
	for i, one := range list {
		all[i] = string(one)
	}
	return strings.Join(all, ", ")
}

// Run is called by kong.
func (c *explainCmd) Run(ctx context.Context, std streams) error {
	lines := len(c.What) > 0 && c.What[len(c.What)-1] == "-"
	switch {
	case c.Country != "" && len(c.What) > 0:
		return usage("give a country or %q, not both", strings.Join(c.What, " "))
	case c.Country == "" && len(c.What) == 0:
		return usage("give --country, a request number, or \"-\" for JSON Lines")
	case len(c.What) > 2, len(c.What) == 2 && !lines:
		return usage("%q: give one request number, or one of \"-\", \"expiry -\", \"due -\", \"label -\"", strings.Join(c.What, " "))
	}
	set, err := loadRules(std, c.Rules)
	if err != nil {
		return err
	}
	switch {
	case c.Country != "":
		return c.country(std, set)
	case lines:
		kind := ""
		if len(c.What) == 2 {
			kind = c.What[0]
		}
		return explainLines(std, set, kind)
	default:
		return c.request(ctx, std, set, c.What[0])
	}
}

// situationAnswer is the answer to `explain --country`: the published form of a
// decision with what only a person asks for.
type situationAnswer struct {
	Country countryName    `json:"country"`
	Facts   policies.Facts `json:"facts"`
	policies.Explanation
	// Options hides the member of Explanation: it says more of each.
	Options              map[policies.DeliveryOption]optionAnswer `json:"options"`
	ExpiryRule           string                                   `json:"expiry_rule"`
	FeeRule              string                                   `json:"fee_rule"`
	FingerprintsRequired bool                                     `json:"fingerprints_required"`
	SignatureRequired    bool                                     `json:"signature_required"`
	Travel               policies.Value                           `json:"travel"`
}

type countryName struct {
	ISO2 string `json:"iso2"`
	IT   string `json:"it"`
	EN   string `json:"en"`
}

// optionAnswer is one delivery's verdict with its rule's dates and, where it is
// allowed, the day the card is expected if the core accepted it on that day.
type optionAnswer struct {
	policies.OptionExplanation
	Verdict   policies.Verdict `json:"verdict"`
	ValidFrom *time.Time       `json:"valid_from"` // null: always
	ValidTo   *time.Time       `json:"valid_to"`   // null: no end; the first instant the rule no longer holds
	Source    string           `json:"source,omitempty"`
	Expected  *delivery.Plan   `json:"expected"`
}

// country answers for a country without any request.
func (c *explainCmd) country(std streams, set *policies.Set) error {
	facts, err := c.facts(time.Now())
	if err != nil {
		return err
	}
	if err := set.Check(&facts); err != nil {
		var wrong *policies.FactsError
		if errors.As(err, &wrong) && wrong.Code == policies.CodeFactsCountry {
			return usage("unknown country code %q: see airegw registry states", c.Country)
		}
		return usage("%w", err)
	}
	answer, err := explainSituation(set, facts)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(std.out, answer)
	}
	return printSituation(std.out, set, answer)
}

// facts turns the flags into a situation in which the register and the office
// have nothing to object.
func (c *explainCmd) facts(now time.Time) (policies.Facts, error) {
	on, err := readInstant(c.On, now)
	if err != nil {
		return policies.Facts{}, usage("--on: %w", err)
	}
	var birth policies.Date
	switch {
	case c.BirthDate != "" && c.Age != nil:
		return policies.Facts{}, usage("give --age or --birth-date, not both")
	case c.BirthDate != "":
		birth, err = policies.ParseDate(c.BirthDate)
		if err != nil {
			return policies.Facts{}, usage("--birth-date: %q is no date YYYY-MM-DD", c.BirthDate)
		}
	default:
		age := 40
		if c.Age != nil {
			age = *c.Age
		}
		if age < 0 || age > 130 {
			return policies.Facts{}, usage("--age: %d is no age in completed years", age)
		}
		birth = bornOn(policies.DateOf(on), age)
	}
	post := ""
	if c.Post != "" {
		known, ok := consulate.PostByKey(c.Post)
		if !ok {
			known, ok = consulate.PostByCode(c.Post)
		}
		if !ok {
			return policies.Facts{}, usage("--post: no post %q: see airegw registry posts", c.Post)
		}
		post = known.Key
	}
	return policies.Facts{
		On: on, Channel: policies.Channel(c.Channel), Reason: policies.Reason(c.Reason),
		ResidenceCountry: strings.ToUpper(strings.TrimSpace(c.Country)), Post: post,
		RequestedDelivery: policies.DeliveryOption(c.Delivery), Fingerprints: policies.Fingerprints(c.Fingerprints),
		Expatriation: policies.Expatriation(c.Expatriation), RegisterSubjects: 1, PostCompetent: policies.Yes,
		Person: policies.Person{
			BirthDate: birth, AIRE: policies.Yes, Citizenship: "IT", Alive: policies.Yes, CFValidated: policies.Yes,
		},
	}, nil
}

// bornOn is the birth date of somebody who completes that many years today;
// born on 28 February if the year of birth had no 29th.
func bornOn(today policies.Date, age int) policies.Date {
	birth := policies.Date{Year: today.Year - age, Month: today.Month, Day: today.Day}
	if time.Date(birth.Year, birth.Month, birth.Day, 0, 0, 0, 0, time.UTC).Day() != birth.Day {
		birth.Day--
	}
	return birth
}

// readInstant reads a day, which begins in Rome, or an instant.
func readInstant(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return now.UTC().Truncate(time.Second), nil
	}
	if at, err := time.ParseInLocation(time.DateOnly, text, policies.Rome()); err == nil {
		return at, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a day YYYY-MM-DD nor an RFC 3339 instant", text)
	}
	return at, nil
}

// explainSituation decides and adds what a person wants to know beside.
func explainSituation(set *policies.Set, facts policies.Facts) (situationAnswer, error) {
	decision := set.Decide(facts)
	travel, err := set.Value("travel.caveat", facts.ResidenceCountry, facts.Post, facts.On)
	if err != nil {
		return situationAnswer{}, fmt.Errorf("travel caveat: %w", err)
	}
	answer := situationAnswer{
		Country: nameOf(facts.ResidenceCountry), Facts: facts, Explanation: decision.Explain(),
		Options:    map[policies.DeliveryOption]optionAnswer{},
		ExpiryRule: decision.ExpiryRule, FeeRule: decision.FeeRule,
		FingerprintsRequired: decision.FingerprintsRequired, SignatureRequired: decision.SignatureRequired, Travel: travel,
	}
	for _, option := range policies.DeliveryOptions {
		verdict := decision.Options.For(option)
		one := optionAnswer{OptionExplanation: answer.Explanation.Options[option], Verdict: verdict.Verdict}
		if rule := set.RuleByID(verdict.Rule); rule != nil {
			one.ValidFrom, one.ValidTo, one.Source = inRome(rule.From), inRome(rule.To), rule.Source
		}
		if verdict.Allowed {
			plan := delivery.PlanFor(option, verdict, facts.On)
			one.Expected = &plan
		}
		answer.Options[option] = one
	}
	return answer, nil
}

// inRome writes a rule's bound as its authors meant it; nil for none.
func inRome(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.In(policies.Rome())
	return &at
}

func nameOf(iso2 string) countryName {
	name := countryName{ISO2: iso2, IT: iso2, EN: iso2}
	switch state, ok := anpr.StateByISO2(iso2); {
	case ok:
		name.IT, name.EN = state.NameIT, state.NameEN
	case iso2 == "IT":
		name.IT, name.EN = "Italia", "Italy"
	}
	return name
}

var outcomeWords = map[string]string{
	"accepted": "accettata / accepted", "refused": "rifiutata / refused", "asked_again": "da richiedere / asked again",
}

var verdictWords = map[policies.Verdict]string{
	policies.VerdictAllow:  "ammessa / allowed",
	policies.VerdictRefuse: "non ammessa / not allowed",
	policies.VerdictNeeds:  "ammessa se / allowed if",
}

// printSituation writes the answer for people, in both languages.
func printSituation(out io.Writer, set *policies.Set, a situationAnswer) error {
	var b strings.Builder
	f := &a.Facts
	name := a.Country.IT
	if a.Country.EN != name {
		name += " / " + a.Country.EN
	}
	fmt.Fprintf(&b, "%s (%s), %s, %s, %s\n", name, a.Country.ISO2, f.Channel, f.Reason, f.On.In(policies.Rome()).Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(&b, "supposto / supposed: nato il / born on %s, cittadinanza italiana / Italian, AIRE, codice fiscale validato / fiscal code validated\n\n", f.Person.BirthDate)
	fmt.Fprintf(&b, "esito / outcome: %s\n", outcomeWords[a.Outcome])
	for i := range a.Findings {
		finding := &a.Findings[i]
		fmt.Fprintf(&b, "  %s  %s\n    it  %s\n    en  %s\n    %s\n", finding.Code, finding.Rule, finding.Reason.IT, finding.Reason.EN, finding.LegalRef)
		if len(finding.Needs) > 0 {
			fmt.Fprintf(&b, "    serve / needed: %s\n", strings.Join(finding.Needs, ", "))
		}
	}
	b.WriteString("\nconsegne / deliveries:\n")
	for _, option := range policies.DeliveryOptions {
		o := a.Options[option]
		fmt.Fprintf(&b, "  %s  %s", option, verdictWords[o.Verdict])
		if len(o.Needs) > 0 {
			fmt.Fprintf(&b, " %s", strings.Join(o.Needs, ", "))
		}
		if o.Status == policies.StatusProvisional {
			b.WriteString("  (provvisoria, non è una regola italiana / provisional, not an Italian rule)")
		}
		fmt.Fprintf(&b, "\n    it  %s\n    en  %s\n    %s  %s\n    %s, %s\n", o.Reason.IT, o.Reason.EN, o.Code, o.Rule, o.LegalRef, period(o.ValidFrom, o.ValidTo))
		if o.Source != "" {
			fmt.Fprintf(&b, "    fonte / source: %s\n", o.Source)
		}
		printExpected(&b, o.Expected)
	}
	b.WriteString("\n")
	if a.Expiry != nil {
		fmt.Fprintf(&b, "scadenza / expiry: %s  %s\n", *a.Expiry, a.ExpiryRule)
	}
	fmt.Fprintf(&b, "costo / fee: %s EUR  %s\n", a.FeeEUR, a.FeeRule)
	note := "nessuna / none"
	if a.PrintNote != nil {
		note = *a.PrintNote
	}
	fmt.Fprintf(&b, "annotazione stampata / printed note: %s\n", note)
	fmt.Fprintf(&b, "impronte / fingerprints: %s, firma / signature: %s\n", yesNo(a.FingerprintsRequired), yesNo(a.SignatureRequired))
	fmt.Fprintf(&b, "viaggio / travel: %s\n    %s\n", a.Travel.Reason.IT, a.Travel.Reason.EN)
	fmt.Fprintf(&b, "base giuridica / legal basis: %s\n", a.LegalBasis)
	fmt.Fprintf(&b, "regole / rules: %s\n", set.Hash())
	_, err := io.WriteString(out, b.String())
	return err
}

func printExpected(b *strings.Builder, plan *delivery.Plan) {
	switch {
	case plan == nil:
	case plan.Due.IsZero():
		fmt.Fprintf(b, "    attesa / expected: nessun termine / no term  %s\n", plan.Rule)
	case plan.Working:
		fmt.Fprintf(b, "    attesa / expected: %s, %d giorni lavorativi / working days  %s\n", plan.Due, plan.Days, plan.Rule)
	default:
		fmt.Fprintf(b, "    attesa / expected: %s, %d giorni / days  %s\n", plan.Due, plan.Days, plan.Rule)
	}
}

func yesNo(yes bool) string {
	if yes {
		return "sì / yes"
	}
	return "no"
}

// period writes when a rule holds; the last day is written, as people say it.
func period(from, to *time.Time) string {
	text := "da sempre / always"
	if from != nil {
		text = "dal / from " + dayOrMinute(*from)
	}
	switch {
	case to == nil:
	case to.Hour() == 0 && to.Minute() == 0:
		text += " fino al / until " + to.AddDate(0, 0, -1).Format(time.DateOnly)
	default:
		text += " prima di / before " + dayOrMinute(*to)
	}
	return text
}

func dayOrMinute(at time.Time) string {
	if at.Hour() == 0 && at.Minute() == 0 {
		return at.Format(time.DateOnly)
	}
	return at.Format("2006-01-02 15:04")
}
