package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/delivery"
	"airegw/gateway/fault"
	"airegw/policies"
)

// Desk is the only door to a request's data. What it shows and allows follows
// its Scope: an office its own requests, a citizen the ones naming them.
type Desk struct {
	g     *Gateway
	scope Scope
}

// Desk opens the door for a scope.
func (g *Gateway) Desk(scope Scope) Desk { return Desk{g, scope} }

// Ack is what whoever submitted gets: once they hold it, the request is durable.
type Ack struct {
	Number      string `json:"number"`
	TrackerCode string `json:"tracker_code"`
	Created     bool   `json:"created"` // false: the same form had been taken before
	State       State  `json:"state"`
}

var (
	keyShape     = regexp.MustCompile(`^[A-Za-z0-9._:-]{8,100}$`)
	nameShape    = regexp.MustCompile(`^[\p{L}\p{M}' .’-]{1,80}$`)
	cardShape    = regexp.MustCompile(`^[A-Z0-9 ]{1,20}$`)
	changedShape = regexp.MustCompile(`^[a-z_]{2,40}$`)
	reportShape  = regexp.MustCompile(`^[^\p{C}]{1,120}$`)
)

// Submit takes a request: it validates everything that needs nobody else,
// stores request, event and audit entry in one commit and answers the number.
// When it returns nil the request is durable. A key seen before in the same
// namespace (the office, or the citizen) with the same input answers the same
// number; with another input it is Conflict "key_reused". A person with an open
// request is Conflict "already_open" if the scope may see that request (its
// number is in Args), else "already_open_elsewhere".
func (d Desk) Submit(ctx context.Context, in Input) (Ack, error) {
	g := d.g
	now := g.clock.Now()
	err := d.levelled(policies.ActOpenRequest)
	if err != nil {
		return Ack{}, err
	}
	in, err = d.prepareInput(in, now)
	if err != nil {
		return Ack{}, err
	}
	if !keyShape.MatchString(in.Key) {
		return Ack{}, invalid("/key", "key_shape")
	}
	number, err := g.newNumber(now)
	if err != nil {
		return Ack{}, wrap("draw number", err)
	}
	tracker, err := g.code(10)
	if err != nil {
		return Ack{}, wrap("draw tracker code", err)
	}
	office, _ := ParseOffice(in.Office)
	if in.Channel == policies.ChannelPost {
		// The competent post is the register's word, not the applicant's; an
		// operator's own post already sees what it took in.
		if own, ok := d.scope.Office(); ok {
			office = own
		} else {
			office = Office{}
		}
	}
	event := Event{
		Seq: 1, Type: EventSubmitted, To: StateSubmitted, At: now, Actor: d.scope.actor,
		Data: payload(submittedData{
			Channel: in.Channel, Reason: in.Reason, Office: office,
			LegalBasis: g.rules.now(now).LegalBasis(in.Channel, now),
		}),
		Private: payload(submittedPrivate{Input: in, Tracker: tracker}),
	}
	persons := []string{in.Applicant.FiscalCode}
	for _, p := range in.Parents {
		persons = append(persons, p.FiscalCode)
	}
	err = fault.Point("intake.commit")
	if err != nil {
		return Ack{}, wrap("store request", err)
	}
	id, created, err := g.store.Create(ctx, NewRequest{
		ID: number, Namespace: d.namespace(), Key: in.Key, BodyDigest: in.Digest(), Office: office,
		Applicant: in.Applicant.FiscalCode, Persons: persons, Surname: in.Applicant.Surname, Tracker: tracker,
		Event: event, Work: Work{Step: StepCheck, Due: now, Actor: d.scope.actor},
	})
	if err != nil {
		return Ack{}, d.hideOther(ctx, wrap("store request", err))
	}
	err = fault.Point("intake.committed")
	if err != nil {
		return Ack{}, wrap("answer", err)
	}
	if created {
		poke(g.wakeWork)
		return Ack{Number: number, TrackerCode: tracker, Created: true, State: StateSubmitted}, nil
	}
	r, err := g.load(ctx, d.scope, id)
	if KindOf(err) == NotFound {
		// It has gone to another office since; whoever holds the key is still told
		// its number, and no code that is newer than the one they were given.
		r, err = g.load(ctx, systemScope("intake"), id)
		if err == nil {
			return Ack{Number: id, State: r.State}, nil
		}
	}
	if err != nil {
		return Ack{}, err
	}
	return Ack{Number: id, TrackerCode: r.TrackerCode, State: r.State}, nil
}

// Validate checks everything about an input that needs nobody else. It answers
// nil or an Invalid error with one Problem per fault.
func (d Desk) Validate(in Input) error {
	_, err := d.prepareInput(in, d.g.clock.Now())
	return err
}

// namespace answers who owns an idempotency key of this scope.
func (d Desk) namespace() string {
	if office, ok := d.scope.Office(); ok {
		return office.ID()
	}
	return string(d.scope.actor.Kind) + ":" + d.scope.actor.ID
}

// hideOther turns the store's already_open into what this scope may know.
func (d Desk) hideOther(ctx context.Context, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Code != "already_open" {
		return err
	}
	_, _, seen := d.g.store.Load(ctx, d.scope, e.Args["request"])
	if seen == nil {
		return NewError(Conflict, "already_open", "request", e.Args["request"])
	}
	return NewError(Conflict, "already_open_elsewhere")
}

// prepareInput normalises and validates an input under this scope.
func (d Desk) prepareInput(in Input, now time.Time) (Input, error) {
	var problems []Problem
	bad := func(field, code string, args ...string) {
		p := Problem{Field: field, Code: code}
		for i := 0; i+1 < len(args); i += 2 {
			if p.Args == nil {
				p.Args = map[string]string{}
			}
			p.Args[args[i]] = args[i+1]
		}
		problems = append(problems, p)
	}
	if d.scope.actor.Kind == "" && !fault.Mutant("gateway.scope") {
		return in, NewError(Unauthenticated, "login_needed")
	}
	if own, ok := d.scope.Office(); ok && in.Office == "" {
		in.Office = own.Code
	}
	checkOffice(in, now, bad)
	in.AIREComune = tidyCode(in.AIREComune)
	if in.AIREComune != "" && in.declaredComune() == (anpr.ComuneRef{}) {
		bad("/aire_comune", "comune_unknown")
	}
	if own, ok := d.scope.Office(); ok {
		if office, known := ParseOffice(in.Office); known && office != own && !fault.Mutant("gateway.own-office") {
			bad("/office", "office_not_yours")
		}
	}
	if !slices.Contains(policies.Reasons[:], in.Reason) {
		bad("/reason", "reason_unknown")
	}
	in.Applicant.FiscalCode = tidyCode(in.Applicant.FiscalCode)
	birth := checkPerson("/applicant", in.Applicant, now, bad)
	if person, ok := d.scope.Person(); ok && person != in.Applicant.FiscalCode && !hasParent(in.Parents, person) && !fault.Mutant("gateway.own-person") {
		bad("/applicant/fiscal_code", "not_for_others")
	}
	in.Parents = slices.Clone(in.Parents)
	checkParents(&in, birth, now, bad)
	checkDelivery(in, bad)
	checkContacts(&in, bad)
	checkPapers(in, now, bad)
	if len(problems) > 0 {
		return in, &Error{Kind: Invalid, Code: "invalid_input", Problems: problems}
	}
	return in, nil
}

type report func(field, code string, args ...string)

func tidyCode(s string) string { return strings.ToUpper(strings.TrimSpace(s)) }

// checkOffice checks channel and office: a comune must exist today, a post must
// be able to capture (B.2.5: honorary posts never do).
func checkOffice(in Input, now time.Time, bad report) {
	if in.Channel != policies.ChannelComune && in.Channel != policies.ChannelPost {
		bad("/channel", "channel_unknown")
		return
	}
	if in.Office == "" {
		if in.Channel == policies.ChannelComune {
			bad("/office", "office_missing")
		}
		return
	}
	office, ok := ParseOffice(in.Office)
	switch {
	case !ok:
		former, successors := formerComune(in.Office)
		if former != "" {
			bad("/office", "comune_ceased", "comune", former, "successors", successors)
			return
		}
		bad("/office", "office_unknown")
	case office.Kind == OfficeComune && in.Channel != policies.ChannelComune,
		office.Kind == OfficePost && in.Channel != policies.ChannelPost:
		bad("/office", "office_wrong_kind")
	case office.Kind == OfficePost:
		post, _ := consulate.PostByKey(office.Code)
		switch {
		case !post.Open(now):
			bad("/office", "post_closed", "post", post.Seat)
		case !post.CanCapture(now):
			bad("/office", "post_cannot_capture", "post", post.Seat)
		}
	}
}

// formerComune answers the name of a comune that ceased and its successors.
func formerComune(code string) (name, successors string) {
	c, ok := anpr.ComuneByISTAT(strings.TrimSpace(code))
	if !ok {
		c, ok = anpr.ComuneByCatastale(strings.ToUpper(strings.TrimSpace(code)))
	}
	if !ok {
		return "", ""
	}
	var names []string
	for _, istat := range c.Successors {
		if s, ok := anpr.ComuneByISTAT(istat); ok {
			names = append(names, s.Name+" ("+s.ISTAT+")")
		}
	}
	return c.Name, strings.Join(names, ", ")
}

// checkPerson checks the applicant's code and what is given beside it; it
// answers the birth date when it is certain.
func checkPerson(at string, a Applicant, now time.Time, bad report) (birth policies.Date) {
	code, err := anpr.ParseFiscalCode(a.FiscalCode)
	switch {
	case err != nil:
		bad(at+"/fiscal_code", cfCode(err))
	case code.Provisional:
		// A card needs the final code, validated (B.1.4).
		bad(at+"/fiscal_code", "cf_provisional")
	}
	if a.Surname != "" && !nameShape.MatchString(a.Surname) {
		bad(at+"/surname", "name_shape")
	}
	if a.GivenName != "" && !nameShape.MatchString(a.GivenName) {
		bad(at+"/given_name", "name_shape")
	}
	var candidates []policies.Date
	if err == nil {
		for _, c := range code.BirthDates(now) {
			candidates = append(candidates, policies.DateOf(c))
		}
	}
	if a.BirthDate != "" {
		date, dateErr := policies.ParseDate(a.BirthDate)
		switch {
		case dateErr != nil:
			bad(at+"/birth_date", "date_impossible")
		case policies.DateOf(now).Before(date):
			bad(at+"/birth_date", "date_in_future")
		case err == nil && !slices.Contains(candidates, date):
			bad(at+"/birth_date", "birth_date_not_of_code")
		default:
			return date
		}
		return policies.Date{}
	}
	// Of the two centuries a code may mean, the younger person is the likely
	// one; the register settles it before anything is decided.
	if len(candidates) > 0 {
		return slices.MaxFunc(candidates, func(a, b policies.Date) int {
			if a.Before(b) {
				return -1
			}
			return 1
		})
	}
	return policies.Date{}
}

// checkParents: a minor names one or two holders of responsibility, nobody else
// names any.
func checkParents(in *Input, birth policies.Date, now time.Time, bad report) {
	seen := map[string]bool{in.Applicant.FiscalCode: true}
	for i := range in.Parents {
		p := &in.Parents[i]
		at := fmt.Sprintf("/parents/%d", i)
		p.FiscalCode = tidyCode(p.FiscalCode)
		_, err := anpr.ParseFiscalCode(p.FiscalCode)
		if err != nil {
			bad(at+"/fiscal_code", cfCode(err))
		} else if seen[p.FiscalCode] {
			bad(at+"/fiscal_code", "person_twice")
		}
		seen[p.FiscalCode] = true
		if (p.Surname != "" && !nameShape.MatchString(p.Surname)) || (p.GivenName != "" && !nameShape.MatchString(p.GivenName)) {
			bad(at, "name_shape")
		}
	}
	if len(in.Parents) > 2 {
		bad("/parents", "too_many_parents")
	}
	if birth.IsZero() {
		return
	}
	minor := !adultOn(birth, now)
	if minor && len(in.Parents) == 0 {
		bad("/parents", "parents_missing")
	}
	// birth is the youngest the code may mean: an adult for certain. Whoever is
	// named as a parent sees the request, so naming one here would show an
	// adult's record to anybody.
	if !minor && len(in.Parents) > 0 {
		bad("/parents", "parents_not_needed")
	}
}

// adultOn says whether somebody born on a date is 18 on a day in Rome.
func adultOn(birth policies.Date, now time.Time) bool {
	today := policies.DateOf(now.In(policies.Rome()))
	adult := policies.Date{Year: birth.Year + 18, Month: birth.Month, Day: birth.Day}
	return !today.Before(adult)
}

func hasParent(parents []Parent, code string) bool {
	return slices.ContainsFunc(parents, func(p Parent) bool { return tidyCode(p.FiscalCode) == code })
}

// checkDelivery checks the shape of the choice; whether it is allowed is the
// rules' word.
func checkDelivery(in Input, bad report) {
	choice := in.Delivery
	if !slices.Contains(policies.DeliveryOptions[:], choice.Option) {
		bad("/delivery/option", "delivery_unknown")
		return
	}
	if choice.Option == policies.DeliveryITAddress {
		if choice.Address == nil {
			bad("/delivery/address", "address_missing")
		} else {
			checkAddress(*choice.Address, bad)
		}
	} else if choice.Address != nil {
		bad("/delivery/address", "address_is_the_registers")
	}
	if d := choice.Delegate; d != nil {
		if !nameShape.MatchString(d.Surname) || !nameShape.MatchString(d.GivenName) {
			bad("/delivery/delegate", "name_shape")
		}
		if d.FiscalCode != "" {
			if _, err := anpr.ParseFiscalCode(tidyCode(d.FiscalCode)); err != nil {
				bad("/delivery/delegate/fiscal_code", cfCode(err))
			}
		}
	}
}

func checkAddress(a delivery.Address, bad report) {
	if a.ISO2 != "IT" {
		bad("/delivery/address/iso2", "address_not_italian")
		return
	}
	for _, p := range delivery.Validate(a) {
		// The holder's name is printed from the register, not typed.
		if p.Fatal && p.Field != "recipient" {
			bad("/delivery/address/"+p.Field, p.Code)
		}
	}
}

// checkContacts: e-mail is mandatory (A62) and, with the phone, security data.
func checkContacts(in *Input, bad report) {
	in.Contacts.Email = strings.TrimSpace(in.Contacts.Email)
	if in.Contacts.Email == "" {
		bad("/contacts/email", "email_missing")
	} else if addr, err := mail.ParseAddress(in.Contacts.Email); err != nil || addr.Address != in.Contacts.Email || len(in.Contacts.Email) > 254 {
		bad("/contacts/email", "email_shape")
	}
	if in.Contacts.Phone != "" {
		number, err := phonenumbers.Parse(in.Contacts.Phone, "")
		if err != nil || !phonenumbers.IsPossibleNumber(number) {
			bad("/contacts/phone", "phone_shape")
		} else {
			in.Contacts.Phone = phonenumbers.Format(number, phonenumbers.E164)
		}
	}
	switch in.Contacts.Language {
	case "":
		in.Contacts.Language = "it"
	case "it", "en":
	default:
		bad("/contacts/language", "language_unknown")
	}
}

func checkPapers(in Input, now time.Time, bad report) {
	if len(in.Changed) > 10 {
		bad("/changed", "too_many_items")
	}
	for i, c := range in.Changed {
		if !changedShape.MatchString(c) {
			bad(fmt.Sprintf("/changed/%d", i), "changed_unknown")
		}
	}
	if c := in.PreviousCard; c != nil {
		if c.Kind != "paper" && c.Kind != "electronic" {
			bad("/previous_card/kind", "card_kind_unknown")
		}
		if c.Number != "" && !cardShape.MatchString(c.Number) {
			bad("/previous_card/number", "card_number_shape")
		}
		if c.Expires != "" {
			if _, err := policies.ParseDate(c.Expires); err != nil {
				bad("/previous_card/expires", "date_impossible")
			}
		}
	}
	if r := in.Report; r != nil {
		if !reportShape.MatchString(r.Authority) {
			bad("/report/authority", "report_authority_missing")
		}
		date, err := policies.ParseDate(r.Date)
		switch {
		case err != nil:
			bad("/report/date", "date_impossible")
		case policies.DateOf(now).Before(date):
			bad("/report/date", "date_in_future")
		}
	}
}

// cfCode answers the reason why a text is no fiscal code.
func cfCode(err error) string {
	var wrong *anpr.FiscalCodeError
	if errors.As(err, &wrong) {
		return wrong.Code
	}
	return anpr.CFCharacters
}

// WorkOnce claims due worker steps and does them: check, decide, route. again
// says that there may be more at once.
func (g *Gateway) WorkOnce(ctx context.Context) (again bool, err error) {
	return g.once(ctx, g.claimWork)
}

// claimWork claims at most n due steps.
func (g *Gateway) claimWork(ctx context.Context, n int) ([]func() error, error) {
	tasks, err := g.store.ClaimWork(ctx, g.now(), g.set.Lease, n)
	if err == nil && len(tasks) > 0 {
		err = fault.Point("work.claimed")
	}
	if err != nil {
		return nil, wrap("claim work", err)
	}
	steps := make([]func() error, len(tasks))
	for i, t := range tasks {
		steps[i] = func() error { return g.work(ctx, t) }
	}
	return steps, nil
}

// work does one claimed step. A lost compare-and-set means that somebody else
// moved the request: the step is theirs now and nothing is wrong.
func (g *Gateway) work(ctx context.Context, t Task) error {
	ctx, cancel := context.WithTimeout(ctx, g.set.Lease)
	defer cancel()
	r, err := g.load(ctx, systemScope(string(t.Step)), t.RequestID)
	if err != nil {
		return err
	}
	switch t.Step {
	case StepCheck:
		err = g.check(ctx, r, t)
	case StepDecide:
		err = g.decide(ctx, r, t)
	case StepRoute:
		err = g.route(ctx, r, t)
	default:
		err = fmt.Errorf("unknown step %q", t.Step)
	}
	if KindOf(err) == Conflict {
		return nil
	}
	return err
}

// check asks the register about every person the request names: exactly one
// check each. An outage makes the request wait, it never refuses anybody.
func (g *Gateway) check(ctx context.Context, r *Request, t Task) error {
	now := g.clock.Now()
	who, urgency := asking(r, t)
	checked, err := g.ask(ctx, r, who, urgency)
	if err == nil {
		err = fault.Point("check.answered")
	}
	if err != nil {
		mark := g.registerMark(err, now, t.Tries+1)
		return g.store.ReleaseWork(ctx, t, latest(mark.Due, now), mark)
	}
	actor := systemScope(string(StepCheck)).actor
	events := []Event{checkedEvent(checked, now, actor)}
	if r.Input.Reason == policies.ReasonUndelivered && r.NonDelivery == nil {
		record, err := g.nonDelivery(ctx, r)
		if err != nil {
			return err
		}
		events = append(events, Event{Type: EventNonDelivery, At: now, Actor: actor, Data: payload(record)})
	}
	change := Change{Fence: t.Fence, Surname: checked.Applicant.Person.Surname, Mark: &Mark{}}
	refusal, blocked := sortFindings(checked.Findings)
	o := r.Order()
	live := o != nil && !o.Dead
	// When the rules come next they say what else is to be mended.
	if refusal != nil || blocked {
		change.Corrections, err = g.corrections(ctx, r, checked)
		if err != nil {
			return err
		}
	}
	switch {
	case refusal != nil && refusableStates[r.State] && !live:
		events = append(events, Event{Type: EventRefused, At: now, Actor: actor, Data: payload(Outcome{Code: refusal.Code, Field: refusal.Field, Args: refusal.Args})})
	case blocked && !live && (r.State == StateMisaligned || step(r.State, StateMisaligned) == nil):
		if r.State != StateMisaligned {
			events = append(events, Event{Type: EventMisaligned, At: now, Actor: actor, Data: payload(alignmentData{Findings: checked.Findings})})
		}
		due := now.Add(g.set.Realign)
		change.Work = &Work{Step: StepCheck, Due: due}
		change.Mark = &Mark{Kind: MarkWaiting, Code: "correction_due", Due: due}
	case refusal != nil || blocked:
		// The counter waits for the citizen, or an order lives: the answer is kept,
		// and neither the next prepare nor the relay goes on against it.
		change.Work = &Work{}
	default:
		if r.State == StateSubmitted || r.State == StateMisaligned {
			events = append(events, Event{Type: EventAligned, At: now, Actor: actor})
		}
		change.Work = &Work{Step: StepDecide, Due: now}
	}
	err = g.commit(ctx, r, change, events...)
	if err != nil {
		return err
	}
	return g.closeReported(ctx, r, checked)
}

var refusableStates = map[State]bool{StateSubmitted: true, StatePrechecked: true, StateMisaligned: true, StateInEnquiry: true, StateSuspended: true}

// gravest are the refusals that say most about a person, in that order: a
// foreigner must not be told to enrol in AIRE.
var gravest = []string{"register." + string(anpr.FindingDeceased), "register." + string(anpr.FindingForeigner)}

// sortFindings answers the gravest finding that refuses, else the first, and
// whether any blocks.
func sortFindings(findings []Finding) (refusal *Finding, blocked bool) {
	rank := func(f *Finding) int {
		i := slices.Index(gravest, f.Code)
		if i < 0 {
			return len(gravest)
		}
		return i
	}
	for i := range findings {
		f := &findings[i]
		if f.Refuses && (refusal == nil || rank(f) < rank(refusal)) {
			refusal = f
		}
		blocked = blocked || findings[i].Blocks
	}
	return refusal, blocked
}

func checkedEvent(c *Checked, now time.Time, actor Actor) Event {
	return Event{
		Type: EventChecked, At: now, Actor: actor, Data: payload(c),
		Private: payload(checkedPrivate{Applicant: c.Applicant, Parents: c.Parents}),
	}
}

// decide asks the rules, with the facts as the register and the input tell them
// and the moment the request was made.
func (g *Gateway) decide(ctx context.Context, r *Request, t Task) error {
	now := g.clock.Now()
	actor := systemScope(string(StepDecide)).actor
	rules, since := g.rules.at(now)
	// A request counts from its making, but not from before the rules it is
	// decided by.
	facts := factsOf(r, latest(r.CreatedAt, since))
	decision := rules.Decide(facts)
	decision.FactsDigest = facts.Digest()
	events := []Event{decidedEvent(facts, decision, now, actor)}
	change := Change{Fence: t.Fence, Mark: &Mark{}}
	err := fault.Point("decision.commit")
	if err != nil {
		return wrap("decide", err)
	}
	missing := findingsOf(decision)
	if !decision.Misaligned() || r.State != StatePrechecked {
		missing = nil
	}
	if r.Register != nil {
		change.Corrections, err = g.corrections(ctx, r, r.Register, missing...)
		if err != nil {
			return err
		}
	}
	if r.Decision != nil && r.Decision.Decision.RuleSet != decision.RuleSet && routed(r) {
		return g.decideAgain(ctx, r, change, events, decision)
	}
	if outcome, refused := refusalOf(decision); refused && refusableStates[r.State] {
		if post, known := r.CompetentPost(); known && outcome.Code == "post.not_competent" {
			// The refusal says where to go instead (A58).
			outcome.Code, outcome.Field, outcome.Args = "post_not_competent", "/office", map[string]string{"competent": post.Seat}
		}
		events = append(events, Event{Type: EventRefused, At: now, Actor: actor, Data: payload(outcome)})
		return g.commit(ctx, r, change, events...)
	}
	if r.NonDelivery != nil && r.NonDelivery.Free == policies.No && refusableStates[r.State] {
		// The evidence the rules ask for is our own record, and it says otherwise.
		rule := rules.Evidence(r.Input.Reason, now)
		events = append(events, Event{Type: EventRefused, At: now, Actor: actor, Data: payload(Outcome{
			Code: "undelivered_not_free", Field: "/reason", Rule: rule.ID, LegalRef: rule.LegalRef,
		})})
		return g.commit(ctx, r, change, events...)
	}
	if decision.Misaligned() && r.State == StatePrechecked {
		events = append(events, Event{Type: EventMisaligned, At: now, Actor: actor, Data: payload(alignmentData{Findings: missing})})
		due := now.Add(g.set.Realign)
		change.Work = &Work{Step: StepCheck, Due: due}
		change.Mark = &Mark{Kind: MarkWaiting, Code: "correction_due", Due: due}
		return g.commit(ctx, r, change, events...)
	}
	change.Work = &Work{Step: StepRoute, Due: now}
	return g.commit(ctx, r, change, events...)
}

func decidedEvent(facts policies.Facts, decision policies.Decision, now time.Time, actor Actor) Event {
	return Event{
		Type: EventDecided, At: now, Actor: actor,
		Data:    payload(decidedData{Allowed: decision.Outcome != policies.OutcomeRefused, RuleSet: decision.RuleSet, Facts: decision.FactsDigest}),
		Private: payload(Decided{At: now, Facts: facts, Decision: decision}),
	}
}

// refusalOf answers the first finding that refuses the request as a whole. A
// delivery that is not allowed does not: the request goes on and the applicant
// is asked for another choice.
func refusalOf(d policies.Decision) (Outcome, bool) {
	for _, f := range d.Refusals() {
		if f.About != "delivery" {
			return Outcome{Code: f.Code, Rule: f.Rule, LegalRef: f.LegalRef, Args: ruleText(f)}, true
		}
	}
	return Outcome{}, false
}

// findingsOf translates what the rules miss in the register.
func findingsOf(d policies.Decision) []Finding {
	var out []Finding
	for _, f := range d.Missing(policies.StageRegister) {
		out = append(out, Finding{Code: f.Code, Who: "aire_comune", Blocks: true, Args: ruleText(f)})
	}
	return out
}

// ruleText carries a rule's own text for people: rules bring theirs along, so
// that a new rule needs no new program.
func ruleText(f policies.Finding) map[string]string {
	return map[string]string{"it": f.Reason.IT, "en": f.Reason.EN}
}

// route names the responsible office: the comune that was chosen, or the
// competent post, which is the one in the register's record; the districts only
// check it, and where they disagree that is a finding and the register wins.
func (g *Gateway) route(ctx context.Context, r *Request, t Task) error {
	now := g.clock.Now()
	actor := systemScope(string(StepRoute)).actor
	data := routedData{Office: r.Office, Basis: "chosen_comune"}
	err := fault.Point("route.commit")
	if err != nil {
		return wrap("route", err)
	}
	if r.Channel == policies.ChannelPost {
		post, ok := r.CompetentPost()
		if !ok {
			return g.commit(ctx, r, Change{Fence: t.Fence, Mark: &Mark{Kind: MarkParked, Code: "no_competent_post"}, Work: &Work{}},
				Event{Type: EventParked, At: now, Actor: actor, Data: payload(reasonData{Code: "no_competent_post"})})
		}
		competent := Office{OfficePost, post.Key}
		if asked, ok := ParseOffice(r.Input.Office); ok && asked != competent && refusableStates[r.State] {
			// A58: the competent post is derived, never chosen.
			return g.commit(ctx, r, Change{Fence: t.Fence, Mark: &Mark{}},
				Event{Type: EventRefused, At: now, Actor: actor, Data: payload(Outcome{
					Code: "post_not_competent", Field: "/office", Args: map[string]string{"competent": post.Seat},
				})})
		}
		data.Office, data.Basis = competent, "register_record"
		data.Findings = districtFindings(r, post)
	}
	data.Expected = g.expected(r, now)
	return g.commit(ctx, r, Change{Fence: t.Fence, Mark: &Mark{}, Work: &Work{}},
		Event{Type: EventRouted, At: now, Actor: actor, Data: payload(data)})
}
