package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/delivery"
	"airegw/policies"
)

// Translation between what the register says and what the rules and the
// deliveries understand. No decision is taken here.

// ask checks every person the request names, one check each, with that person's
// own code (N of N). The register's audit keeps who asks, and the request number
// as the reason.
func (g *Gateway) ask(ctx context.Context, r *Request, who anpr.Actor, urgency anpr.Urgency) (*Checked, error) {
	checked := &Checked{At: g.clock.Now()}
	people := []Applicant{r.Input.Applicant}
	for _, p := range r.Input.Parents {
		people = append(people, Applicant{FiscalCode: p.FiscalCode, Surname: p.Surname, GivenName: p.GivenName})
	}
	for i, person := range people {
		record, err := g.register.Check(ctx, queryFor(r, person, who, urgency))
		g.saw("register", err)
		if err != nil {
			return nil, fmt.Errorf("check person %d of %s: %w", i, r.ID, err)
		}
		for _, c := range record.Calls {
			checked.Evidence = append(checked.Evidence, Evidence{
				Service: string(c.Service), Operation: c.OperationID, Answer: c.AnswerDigest, Tracking: c.TrackingDigest,
				Transaction: c.TransactionID, AnswerCode: c.RegisterOperationID, PersonOrdinal: i,
			})
		}
		if i == 0 {
			checked.Applicant = record
		} else {
			checked.Parents = append(checked.Parents, record)
		}
		for _, f := range record.Findings {
			if finding, matters := findingFor(i, f); matters {
				checked.Findings = append(checked.Findings, finding)
			}
		}
		if record.Provenance.Historical() {
			// INA, the Revenue Agency or the central AIRE answered: an office must
			// confirm what they say.
			checked.Findings = append(checked.Findings, Finding{
				Code: "register.historical_source", Person: i, Who: string(anpr.OwnerOffice), Blocks: true,
				Args: map[string]string{"source": string(record.Provenance)},
			})
		}
		checked.Persons++
	}
	checked.Findings = append(checked.Findings, r.disagreements(checked)...)
	return checked, nil
}

// findingFor translates one finding of the register. A parent need not be in
// AIRE, nor Italian, nor have a deliverable address; a dead parent is for the
// office to look at.
func findingFor(person int, f anpr.Finding) (Finding, bool) {
	out := Finding{Code: "register." + string(f.Code), Person: person, Who: string(f.Owner())}
	if f.Code == anpr.FindingCancelled && slices.Contains(anpr.CancelReasons(), f.Detail) {
		// Each reason has its own next step, and its own text.
		out.Code += "_" + strings.TrimPrefix(f.Detail, "reason_")
	}
	if f.Detail != "" {
		out.Args = map[string]string{"detail": f.Detail}
	}
	if person > 0 {
		switch f.Code {
		case anpr.FindingDeceased, anpr.FindingDuplicate, anpr.FindingNamesDiffer:
			out.Blocks = true
			out.Who = string(anpr.OwnerOffice)
			return out, true
		default:
			return Finding{}, false
		}
	}
	switch f.Outcome() {
	case anpr.OutcomeRefuse:
		out.Refuses = true
	case anpr.OutcomeCorrect, anpr.OutcomeReview:
		out.Blocks = true
	}
	return out, true
}

// disagreements compares what the applicant said beside the fiscal code with
// the register, and the minor's age with the parents named.
func (r *Request) disagreements(c *Checked) []Finding {
	var out []Finding
	person := c.Applicant.Person
	if said := r.Input.Applicant.BirthDate; said != "" && person.BirthDate != "" && !strings.HasPrefix(said, person.BirthDate) {
		out = append(out, Finding{Code: "birth_date_differs", Field: "/applicant/birth_date", Who: "citizen", Blocks: true})
	}
	if c.Applicant.Found && person.AIRE != anpr.No && residenceCountry(person) == "" {
		// No rule can be found for a state that is none (any more).
		out = append(out, Finding{Code: "residence_state_unknown", Who: string(anpr.OwnerAIREComune), Blocks: true})
	}
	if birth := birthDate(person.BirthDate); !birth.IsZero() && c.Applicant.Found {
		minor := !adultOn(birth, r.CreatedAt)
		if minor && len(r.Input.Parents) == 0 {
			out = append(out, Finding{Code: "parents_missing", Field: "/parents", Who: "citizen", Refuses: true})
		}
		if !minor && len(r.Input.Parents) > 0 {
			// The code left the century open; the register says an adult, about
			// whom nobody else may ask.
			out = append(out, Finding{Code: "parents_not_needed", Field: "/parents", Who: "citizen", Refuses: true})
		}
	}
	return out
}

// birthDate reads the register's birth date; of a partial one the earliest day
// it may mean, so that nobody is taken for younger than they can prove.
func birthDate(s string) policies.Date {
	switch len(s) {
	case 4:
		s += "-01-01"
	case 7:
		s += "-01"
	}
	d, err := policies.ParseDate(s)
	if err != nil {
		return policies.Date{}
	}
	return d
}

func tri(a anpr.Answer) policies.Tri {
	switch a {
	case anpr.Yes:
		return policies.Yes
	case anpr.No:
		return policies.No
	default:
		return policies.Unknown
	}
}

// residenceCountry answers the ISO code of the state of residence in the record.
func residenceCountry(p anpr.Person) string {
	if s, ok := anpr.StateByISTAT(p.Address.StateISTAT); ok {
		return s.ISO2
	}
	return ""
}

// CompetentPost answers the post of the register's record. The register names
// posts that closed for years: then it is the one that took over their citizens.
func (r *Request) CompetentPost() (consulate.Post, bool) {
	if r.Register == nil {
		return consulate.Post{}, false
	}
	post, ok := consulate.PostByCode(r.Register.Applicant.Person.Post.Code)
	if !ok {
		return consulate.Post{}, false
	}
	return post.InCharge(r.Register.At)
}

// districtDisagrees is between our table of districts and the register: it is
// shown to the office, and nothing in the register is to be mended for it.
const districtDisagrees = "district_disagrees"

// districtFindings says where the districts disagree with the register: shown
// to the office, the register wins.
func districtFindings(r *Request, post consulate.Post) []Finding {
	a := r.Register.Applicant.Person.Address
	answer := consulate.Competent(consulate.Address{
		ISO2: residenceCountry(r.Register.Applicant.Person), Street: a.Street, City: a.Locality, Postcode: a.Postcode, Region: a.Province,
	})
	if answer.Post == nil || answer.Post.Key == post.Key {
		return nil
	}
	for _, c := range answer.Candidates {
		if c.Key == post.Key {
			return nil
		}
	}
	return []Finding{{Code: districtDisagrees, Who: string(anpr.OwnerConsulate), Args: map[string]string{
		"register": post.Seat, "district": answer.Post.Seat,
	}}}
}

// factsOf assembles the facts of a request as they are known now, at an instant.
// What nobody said yet stays unknown.
func factsOf(r *Request, on time.Time) policies.Facts {
	f := policies.Facts{
		On: on, Channel: r.Channel, Reason: r.Input.Reason, RequestedDelivery: r.Delivery.Option,
		Delegate: policies.Known(r.Delivery.Delegate != nil),
	}
	if r.Register != nil {
		registerFacts(r, &f)
	}
	switch r.Delivery.Option {
	case policies.DeliveryITAddress:
		f.ItalianAddress = policies.Known(r.Delivery.Address != nil)
	case policies.DeliveryForeignResidence:
		f.ForeignAddressEqualsRegister = policies.Yes // it is the register's by construction
	}
	if r.Channel == policies.ChannelComune {
		f.RequestingComune, f.PickupComune = r.Office.Code, r.Office.Code
	}
	f.Changed = r.Input.Changed
	counterFacts(r, &f)
	r.weighNonDelivery(&f)
	return f
}

func registerFacts(r *Request, f *policies.Facts) {
	p := r.Register.Applicant.Person
	f.ResidenceCountry = residenceCountry(p)
	f.Person = policies.Person{
		BirthDate: birthDate(p.BirthDate), AIRE: tri(p.AIRE), Alive: tri(p.Alive), CFValidated: tri(p.FiscalCodeValidated),
	}
	switch p.Italian {
	case anpr.Yes:
		f.Person.Citizenship = "IT"
	case anpr.No:
		f.Person.Citizenship = "XX"
		if len(p.Citizenships) > 0 {
			if s, ok := anpr.StateByISTAT(p.Citizenships[0].StateISTAT); ok {
				f.Person.Citizenship = s.ISO2
			}
		}
	}
	if r.Register.Applicant.Has(anpr.FindingDuplicate) {
		f.RegisterSubjects = 2
	} else if r.Register.Applicant.Found {
		f.RegisterSubjects = 1
	}
	if r.Channel == policies.ChannelPost {
		// A post the network does not know is nobody's fault: competence stays
		// unknown, and the record is to be mended.
		if post, ok := r.CompetentPost(); ok {
			f.Post = post.Key
			asked, given := ParseOffice(r.Input.Office)
			f.PostCompetent = policies.Known(!given || asked == Office{OfficePost, post.Key})
		}
	} else {
		f.OfficeIsAIREComune = policies.Known(p.AIREComune.ISTAT == r.Office.Code)
	}
	if c := r.Input.PreviousCard; c != nil {
		f.Person.ExistingCard = previousCard(*c, r.Input.Reason)
	}
}

// previousCard reads the card the applicant declared.
func previousCard(c PreviousCard, reason policies.Reason) policies.Card {
	card := policies.Card{Kind: policies.CardCIE, State: policies.CardValid}
	if c.Kind == "paper" {
		card.Kind = policies.CardPaper
	}
	switch reason {
	case policies.ReasonTheft:
		card.State = policies.CardStolen
	case policies.ReasonLoss:
		card.State = policies.CardLost
	case policies.ReasonDeterioration:
		card.State = policies.CardDamaged
	case policies.ReasonUndelivered:
		card.State = policies.CardUndelivered
	}
	if d, err := policies.ParseDate(c.Expires); err == nil {
		card.Expires = d
	}
	return card
}

func counterFacts(r *Request, f *policies.Facts) {
	c := r.Counter
	if c.Documents != nil {
		// An empty list says that nothing was shown; nil, that nobody asked yet.
		f.Evidence = append([]string{}, c.Documents.Evidence...)
	}
	if c.Declaration != nil {
		f.Expatriation = policies.ExpatriationNotDeclared
		if c.Declaration.NoObstacles {
			f.Expatriation = policies.ExpatriationDeclared
		}
	}
	if c.Capture != nil {
		switch {
		case len(c.Capture.Fingerprints) == 2:
			f.Fingerprints = policies.PrintsTaken
		case c.Capture.Exemption == "temporary":
			f.Fingerprints = policies.PrintsTemporarilyImpossible
		case c.Capture.Exemption == "permanent":
			f.Fingerprints = policies.PrintsPermanentlyImpossible
		case c.Capture.Exemption == "under_12":
			f.Fingerprints = policies.PrintsNotRequired
		}
	}
	if n := len(r.Input.Parents); n > 0 {
		f.ParentsAssent = assents(r, n)
	}
}

// assents sums up the parents' words: unknown until all have spoken.
func assents(r *Request, named int) policies.Assent {
	given, spoke := 0, 0
	for _, p := range r.Input.Parents {
		if a, ok := r.Counter.Assents[p.FiscalCode]; ok {
			spoke++
			if a.Given {
				given++
			}
		}
	}
	switch {
	case spoke < named:
		return policies.AssentUnknown
	case given == 0:
		return policies.AssentNone
	case given < named:
		return policies.AssentOne
	case named == 1:
		return policies.AssentSoleHolder
	default:
		return policies.AssentBoth
	}
}

// DeliveryAddress answers the address a card goes to: the Italian one given, or
// the register's foreign residence, never free text.
func (r *Request) DeliveryAddress() *delivery.Address {
	switch r.Delivery.Option {
	case policies.DeliveryITAddress:
		if r.Delivery.Address == nil {
			return nil
		}
		a := *r.Delivery.Address
		if r.Register != nil {
			a.Recipient = fullName(r.Register.Applicant.Person)
		}
		return &a
	case policies.DeliveryForeignResidence:
		if r.Register == nil {
			return nil
		}
		a := registerAddress(r.Register.Applicant.Person)
		return &a
	default:
		return nil
	}
}

// registerAddress translates the register's foreign residence.
func registerAddress(p anpr.Person) delivery.Address {
	return delivery.Address{
		ISO2: residenceCountry(p), Recipient: fullName(p), CareOf: p.Address.CareOf, Street: p.Address.Street,
		HouseNumber: p.Address.Number, Postcode: p.Address.Postcode, Locality: p.Address.Locality, Region: p.Address.Province,
	}
}

func fullName(p anpr.Person) string { return strings.TrimSpace(p.GivenName + " " + p.Surname) }

// expected answers when the card should arrive, counted from a day, and on what
// that rests; nil before a decision and for a delivery that is not allowed.
func (g *Gateway) expected(r *Request, from time.Time) *delivery.Plan {
	if r.Decision == nil {
		return nil
	}
	option := r.Decision.Decision.Options.For(r.Delivery.Option)
	if option.Verdict == policies.VerdictRefuse {
		return nil
	}
	plan := delivery.PlanFor(r.Delivery.Option, option, from)
	return &plan
}

// lastRecord is what the last check found of a person; zero before there was one.
func (r *Request) lastRecord(fiscalCode string) anpr.Record {
	if r.Register == nil {
		return anpr.Record{}
	}
	for _, rec := range append([]anpr.Record{r.Register.Applicant}, r.Register.Parents...) {
		if rec.AskedFor == fiscalCode {
			return rec
		}
	}
	return anpr.Record{}
}

// askingPost is the post that the check of a request is for, as anpr.Query has
// it: the one that holds it, or the competent one that nobody knows yet.
func (r *Request) askingPost() string {
	switch {
	case r.Office.Kind == OfficePost:
		return r.Office.Code
	case r.Channel == policies.ChannelPost:
		return anpr.AnyPost
	default:
		return ""
	}
}

// declaredComune is the comune of AIRE registration as the form has it.
func (in Input) declaredComune() anpr.ComuneRef {
	o, ok := ParseOffice(in.AIREComune)
	if !ok || o.Kind != OfficeComune {
		return anpr.ComuneRef{}
	}
	c, _ := anpr.ComuneByISTAT(o.Code)
	return anpr.ComuneRef{ISTAT: o.Code, Name: c.Name}
}

// queryFor is the question about one person.
func queryFor(r *Request, person Applicant, who anpr.Actor, urgency anpr.Urgency) anpr.Query {
	q := anpr.Query{
		FiscalCode: person.FiscalCode, Surname: person.Surname, GivenName: person.GivenName, BirthDate: person.BirthDate,
		Reason: r.ID, Actor: who, Urgency: urgency,
	}
	if person.FiscalCode == r.Input.Applicant.FiscalCode {
		// Parents need not be in AIRE.
		q.Post, q.DeclaredComune = r.askingPost(), r.Input.declaredComune()
	}
	last := r.lastRecord(person.FiscalCode).Person
	q.AIREComune, q.KnownSurname, q.KnownGivenName = last.AIREComune, last.Surname, last.GivenName
	// The code itself tells sex and birth, for the search by personal data of
	// somebody whom the register knows under another code (§8 row 21).
	if code, err := anpr.ParseFiscalCode(person.FiscalCode); err == nil && !code.Provisional {
		q.Sex = code.Sex
		if births := code.BirthDates(r.CreatedAt); q.BirthDate == "" && len(births) == 1 {
			q.BirthDate = births[0].Format(time.DateOnly)
		}
	}
	return q
}
