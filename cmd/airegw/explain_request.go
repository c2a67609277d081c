package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"airegw/gateway"
	"airegw/policies"
)

// requestAnswer is the answer to `explain REQUEST`.
type requestAnswer struct {
	Request   string           `json:"request"`
	Decisions []replayedAnswer `json:"decisions"` // oldest first
	Notices   []sentAnswer     `json:"notices"`   // to other offices, oldest first
}

// sentAnswer is a notice to another office, with what it answered by then. Whom
// it is about and what the office says in its own words are not told here.
type sentAnswer struct {
	Office      string     `json:"office"` // comune:ISTAT or post:key
	ToldAs      string     `json:"told_as"`
	ToldAt      time.Time  `json:"told_at"`
	LastDay     string     `json:"last_day"`
	Rule        string     `json:"rule"`
	Status      string     `json:"status"` // as of --on
	Ground      string     `json:"ground,omitempty"`
	AnsweredAt  *time.Time `json:"answered_at"`
	OverruledAt *time.Time `json:"overruled_at"`
}

func sentOf(list []gateway.Clearance, now time.Time) []sentAnswer {
	out := []sentAnswer{}
	instant := func(at time.Time) *time.Time {
		if at.IsZero() {
			return nil
		}
		return &at
	}
	for _, c := range list {
		out = append(out, sentAnswer{
			Office: c.Office.ID(), ToldAs: string(c.As), ToldAt: c.ToldAt, LastDay: c.LastDay, Rule: c.Rule, Status: c.Status(now),
			Ground: c.Ground, AnsweredAt: instant(c.AnsweredAt), OverruledAt: instant(c.OverruledAt),
		})
	}
	return out
}

// replayedAnswer is one decision of the past, checked and weighed again.
type replayedAnswer struct {
	DecidedAt time.Time `json:"decided_at"`
	// Facts hold no name, fiscal code or address.
	Facts policies.Facts `json:"facts"`
	// FactsHold says that the facts still have the digest that was recorded.
	FactsHold   bool                 `json:"facts_hold"`
	FactsDigest string               `json:"facts_digest"`
	Decision    policies.Explanation `json:"decision"`
	Replay      weighedAgain         `json:"replay"`
	Today       weighedAgain         `json:"today"`
}

// weighedAgain is what rules answer to the same facts.
type weighedAgain struct {
	// RulesFound says that these are the rules that decided then: the replay is
	// a proof only if they are. Always true of today's.
	RulesFound  bool         `json:"rules_found"`
	RuleSet     string       `json:"rule_set"`
	On          time.Time    `json:"on"`
	Same        bool         `json:"same"`
	Differences []difference `json:"differences"`
}

// difference is one answer that is not the recorded one.
type difference struct {
	What string `json:"what"` // such as "outcome" or "options.CONSULATE"
	Then string `json:"then"`
	Now  string `json:"now"`
}

// request replays what was decided on a request, from the database's file. Like
// audit verify it changes nothing and may run beside a server.
func (c *explainCmd) request(ctx context.Context, std streams, set *policies.Set, number string) error {
	now, err := readInstant(c.On, time.Now())
	if err != nil {
		return usage("--on: %w", err)
	}
	db, err := c.open(ctx)
	switch {
	case gateway.CodeOf(err) == "store_absent":
		return bad("no database at %s: see --database", c.Database)
	case err != nil:
		return err
	}
	decisions, err := gateway.Replay(ctx, db, number)
	rules := storedRules{ctx, db, set}
	today := rules.at(now)
	then := make([]*policies.Set, len(decisions))
	for i, d := range decisions {
		then[i] = rules.of(d.Decision.RuleSet)
	}
	var notices []gateway.Clearance
	if err == nil {
		notices, err = gateway.NoticesOf(ctx, db, number)
	}
	err = errors.Join(err, db.Close())
	switch {
	case gateway.KindOf(err) == gateway.NotFound && err != nil:
		return bad("no request %q in %s", number, c.Database)
	case err != nil:
		return err
	case len(decisions) == 0:
		return bad("nothing has been decided on %s yet", number)
	}
	answer := requestAnswer{Request: number, Notices: sentOf(notices, now)}
	broken := 0
	for i, d := range decisions {
		one := replay(d, then[i], today, now)
		if !one.FactsHold || one.Replay.RulesFound && !one.Replay.Same {
			broken++
		}
		answer.Decisions = append(answer.Decisions, one)
	}
	if c.JSON {
		err = writeJSON(std.out, answer)
	} else {
		err = printReplay(std.out, answer)
	}
	if err != nil {
		return err
	}
	if broken > 0 {
		return bad("%d of %d decisions do not follow from their facts and rules", broken, len(decisions))
	}
	return nil
}

// storedRules finds rule sets in the database, which keeps every set that ever
// decided; one that no gateway has started on yet has none.
type storedRules struct {
	ctx   context.Context
	store gateway.RuleStore
	given *policies.Set // of --rules, or the shipped one
}

// of answers the set with a hash: stored, given or shipped; else the given one,
// which then proves nothing.
func (r storedRules) of(hash string) *policies.Set {
	if set, err := gateway.StoredRules(r.ctx, r.store, hash); err == nil {
		return set
	}
	if shipped := policies.Shipped(); shipped.Hash() == hash {
		return shipped
	}
	return r.given
}

// at answers the set in force at an instant, else the shipped one.
func (r storedRules) at(now time.Time) *policies.Set {
	if set, err := gateway.StoredRulesAt(r.ctx, r.store, now); err == nil {
		return set
	}
	return policies.Shipped()
}

// replay weighs a past decision again: at its own instant with the rules of
// that day, and now with today's.
func replay(d gateway.Decided, then, today *policies.Set, now time.Time) replayedAnswer {
	out := replayedAnswer{
		DecidedAt: d.At, Facts: d.Facts, FactsDigest: d.Decision.FactsDigest, FactsHold: d.Facts.Digest() == d.Decision.FactsDigest,
		Decision: d.Decision.Explain(),
	}
	again := then.Decide(d.Facts)
	out.Replay = weigh(d.Decision, again, d.Facts.On)
	out.Replay.RulesFound = then.Hash() == d.Decision.RuleSet

	facts := d.Facts
	facts.On = now
	if facts.RequestedDelivery != "" && facts.OnChosen.IsZero() {
		// The choice was made then: if it is allowed no more, it is asked again.
		facts.OnChosen = d.Facts.On
	}
	out.Today = weigh(d.Decision, today.Decide(facts), now)
	out.Today.RulesFound = true
	return out
}

func weigh(then, now policies.Decision, on time.Time) weighedAgain {
	out := weighedAgain{RuleSet: now.RuleSet, On: on, Differences: differences(then, now)}
	out.Same = len(out.Differences) == 0
	return out
}

// differences lists the answers in which two decisions differ. The expiry is
// compared by its rule: it runs from the day of the request, so that another
// day alone would move it.
func differences(then, now policies.Decision) []difference {
	out := []difference{}
	same := func(what, a, b string) {
		if a != b {
			out = append(out, difference{what, a, b})
		}
	}
	same("outcome", then.Explain().Outcome, now.Explain().Outcome)
	same("reasons", codesOf(then), codesOf(now))
	for _, option := range policies.DeliveryOptions {
		a, b := then.Options.For(option), now.Options.For(option)
		same("options."+string(option), verdictOf(a), verdictOf(b))
		same("expected."+string(option), expectedOf(a), expectedOf(b))
	}
	same("expiry_rule", then.ExpiryRule, now.ExpiryRule)
	same("fee_eur", euros(then.FeeCents), euros(now.FeeCents))
	same("print_note", then.PrintNoteText, now.PrintNoteText)
	same("fingerprints_required", fmt.Sprint(then.FingerprintsRequired), fmt.Sprint(now.FingerprintsRequired))
	same("signature_required", fmt.Sprint(then.SignatureRequired), fmt.Sprint(now.SignatureRequired))
	same("legal_basis", then.LegalBasis, now.LegalBasis)
	return out
}

func codesOf(d policies.Decision) string {
	var codes []string
	for i := range d.Findings {
		codes = append(codes, d.Findings[i].Code)
	}
	slices.Sort(codes)
	return strings.Join(codes, " ")
}

func verdictOf(o policies.Option) string {
	text := string(o.Verdict) + " " + o.Code
	if len(o.Needs) > 0 {
		text += " [" + strings.Join(o.Needs, ", ") + "]"
	}
	if o.Status == policies.StatusProvisional {
		text += " provisional"
	}
	return text
}

func expectedOf(o policies.Option) string {
	switch {
	case o.ExpectedDays == 0:
		return ""
	case o.ExpectedWorking:
		return fmt.Sprintf("%d working days", o.ExpectedDays)
	default:
		return fmt.Sprintf("%d days", o.ExpectedDays)
	}
}

func euros(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

// printReplay writes the answer for people.
func printReplay(out io.Writer, a requestAnswer) error {
	var b strings.Builder
	for i, d := range a.Decisions {
		if i > 0 {
			b.WriteString("\n")
		}
		f := &d.Facts
		fmt.Fprintf(&b, "%s: decisione / decision %d, %s\n", a.Request, i+1, inRome(d.DecidedAt).Format("2006-01-02 15:04:05 MST"))
		fmt.Fprintf(&b, "  %s (%s), %s, %s, consegna / delivery %s\n", nameOf(f.ResidenceCountry).IT, dashed(f.ResidenceCountry), f.Channel, f.Reason, dashed(string(f.RequestedDelivery)))
		fmt.Fprintf(&b, "  dati / facts: %s, %s\n", d.FactsDigest, map[bool]string{true: "integri / intact", false: "NON corrispondono / DO NOT MATCH"}[d.FactsHold])
		fmt.Fprintf(&b, "  regole / rules: %s\n", d.Decision.RuleSet)
		outcome := "  esito / outcome: " + outcomeWords[d.Decision.Outcome] + "  " + strings.Join(d.Decision.Reasons, " ")
		fmt.Fprintln(&b, strings.TrimRight(outcome, " "))
		for _, option := range policies.DeliveryOptions {
			o := d.Decision.Options[option]
			word := verdictWords[policies.VerdictRefuse]
			if o.Allowed {
				word = verdictWords[policies.VerdictAllow]
			}
			fmt.Fprintf(&b, "  %-17s  %s  %s\n    it  %s\n    en  %s\n    %s\n", option, word, o.Rule, o.Reason.IT, o.Reason.EN, o.LegalRef)
		}
		if d.Decision.Expiry != nil {
			fmt.Fprintf(&b, "  scadenza / expiry: %s\n", *d.Decision.Expiry)
		}
		fmt.Fprintf(&b, "  costo / fee: %s EUR\n  base giuridica / legal basis: %s\n", d.Decision.FeeEUR, d.Decision.LegalBasis)
		switch {
		case !d.Replay.RulesFound:
			b.WriteString("  le regole di quel giorno non sono in questo programma (vedi --rules); con le sue / the rules of that day are not in this binary (see --rules); with its own:\n")
			printDifferences(&b, d.Replay, "stessa decisione / the same decision")
		default:
			b.WriteString("  con le regole di quel giorno / with the rules of that day:\n")
			printDifferences(&b, d.Replay, "stessa decisione / the same decision")
		}
		fmt.Fprintf(&b, "  con le regole del / with the rules of %s:\n", inRome(d.Today.On).Format(time.DateOnly))
		printDifferences(&b, d.Today, "nulla cambierebbe / nothing would differ")
	}
	printNotices(&b, a.Notices)
	_, err := io.WriteString(out, b.String())
	return err
}

// printNotices says whom the request was told to and what they answered.
func printNotices(b *strings.Builder, list []sentAnswer) {
	if len(list) == 0 {
		return
	}
	b.WriteString("\navvisi ad altri uffici / notices to other offices:\n")
	for _, n := range list {
		fmt.Fprintf(b, "  %s (%s), %s, fino al / until %s: %s", gateway.OfficeFromID(n.Office).Name(), n.Office,
			inRome(n.ToldAt).Format("2006-01-02 15:04 MST"), n.LastDay, n.Status)
		if n.Ground != "" {
			b.WriteString(" " + n.Ground)
		}
		if n.AnsweredAt != nil {
			b.WriteString(", " + inRome(*n.AnsweredAt).Format("2006-01-02 15:04 MST"))
		}
		fmt.Fprintf(b, "\n    %s\n", n.Rule)
	}
}

func printDifferences(b *strings.Builder, w weighedAgain, same string) {
	if w.Same {
		fmt.Fprintf(b, "    %s\n", same)
	}
	for _, d := range w.Differences {
		fmt.Fprintf(b, "    %s: %s -> %s\n", d.What, dashed(d.Then), dashed(d.Now))
	}
}
