package policies

import (
	"slices"
	"strings"
	"time"
)

// Check reports the first thing that makes facts undecidable: a member that
// Facts.Check refuses, or a country that is not in the table. The error is a
// *FactsError.
func (s *Set) Check(f *Facts) error {
	if err := f.Check(); err != nil {
		return err
	}
	if s.place(f.ResidenceCountry, "") == 0 {
		return &FactsError{Code: CodeFactsCountry, Field: "residence_country", Value: clip(f.ResidenceCountry)}
	}
	return nil
}

// Decide applies the rules that hold at f.On to the facts. It is pure and
// deterministic and may be called by many goroutines. Facts that Check refuses
// give OutcomeRefused with one finding about "facts" and no option allowed; a
// caller that wants an error calls Check first. Decide leaves FactsDigest
// empty: a SHA-256 costs more than the decision. Use Record where the decision
// is stored.
func (s *Set) Decide(f Facts) (d Decision) {
	d.RuleSet = s.hash
	if err := s.Check(&f); err != nil {
		d.undecidable(err)
		return d
	}
	e := evaluation{
		set:   s,
		f:     &f,
		d:     &d,
		rules: s.viewAt(s.place(f.ResidenceCountry, f.Post), f.On.Unix()),
		today: DateOf(f.On),
		age:   -1,
	}
	if !f.Person.BirthDate.IsZero() {
		e.age = ageOn(f.Person.BirthDate, e.today, e.rule(keyValidityLeapDay).Word)
	}
	e.channel()
	e.person()
	e.office()
	e.document()
	e.reason()
	e.minor()
	e.capture()
	e.delivery()
	e.validity()
	e.fee()
	e.note()
	d.conclude()
	return d
}

// Record is Decide with the facts' digest filled in, as it is stored.
func (s *Set) Record(f Facts) Decision {
	d := s.Decide(f)
	d.FactsDigest = f.Digest()
	return d
}

func (d *Decision) undecidable(err error) {
	fe, ok := err.(*FactsError) //nolint:errorlint // Check returns the bare type
	if !ok {
		fe = &FactsError{Code: CodeFactsValue, Field: "$"}
	}
	d.Outcome = OutcomeRefused
	d.Findings = []Finding{{
		Code: fe.Code, Verdict: VerdictRefuse, About: "facts",
		Reason: Text{
			IT: "I dati della situazione non sono leggibili: " + fe.Field + ".",
			EN: "The facts of the situation cannot be read: " + fe.Field + ".",
		},
	}}
	for i := range d.Options {
		d.Options[i] = Option{Verdict: VerdictRefuse, Code: fe.Code, Reason: d.Findings[0].Reason}
	}
}

// conclude derives the outcome from the findings: a refusal outweighs a choice
// to be made again, which outweighs what is missing.
func (d *Decision) conclude() {
	d.Outcome = OutcomeAllowed
	again := false
	for i := range d.Findings {
		switch d.Findings[i].Verdict {
		case VerdictRefuse:
			if d.Findings[i].Code != codeAskedAgain {
				d.Outcome = OutcomeRefused
				return
			}
			again = true
		case VerdictNeeds:
			d.Outcome = OutcomeNeeds
		case VerdictAllow:
		}
	}
	if again {
		d.Outcome = OutcomeAskedAgain
	}
}

// codeAskedAgain marks a delivery that was allowed when it was chosen.
const codeAskedAgain = "delivery.asked_again"

// evaluation is one run of Decide.
type evaluation struct {
	set   *Set
	f     *Facts
	d     *Decision
	rules *view
	today Date
	age   int // completed years, -1 if the birth date is not known
}

func (e *evaluation) rule(k keyID) *Rule { return e.rules[k] }

// apply records what a rule says of a condition that was met.
func (e *evaluation) apply(k keyID) { e.applyOpen(k, false) }

// applyOpen is apply for a condition that may only not be known yet.
func (e *evaluation) applyOpen(k keyID, open bool) {
	r := e.rule(k)
	if r.Verdict == VerdictAllow {
		return
	}
	fd := r.finding(r.Needs)
	fd.Open = open
	e.d.Findings = append(e.d.Findings, fd)
}

func (r *Rule) finding(needs []string) Finding {
	return Finding{
		Code: r.Code, Verdict: r.Verdict, Stage: r.Stage, About: keyTable[r.key].about,
		Rule: r.ID, LegalRef: r.LegalRef, Status: r.Status, Reason: r.Reason, Needs: needs,
	}
}

// channel: who may be asked, since when, and on which legal basis (A1, A2, A5).
func (e *evaluation) channel() {
	k := keyChannelPost
	if e.f.Channel == ChannelComune {
		k = keyChannelComune
	}
	e.d.LegalBasis = e.rule(k).LegalRef
	e.apply(k)
}

// person: Italian, alive, in AIRE, known to the register with a validated
// fiscal code (A47, A75, B.1.4).
func (e *evaluation) person() {
	p := &e.f.Person
	if p.AIRE == Unknown || p.Alive == Unknown || p.CFValidated == Unknown || p.Citizenship == "" || p.BirthDate.IsZero() {
		e.applyOpen(keyRegisterIncomplete, true)
	}
	if e.f.RegisterSubjects > 1 {
		e.apply(keySeveralSubjects)
	}
	if p.Alive == No {
		e.apply(keyDead)
	}
	if p.Citizenship != "" && p.Citizenship != italian {
		e.apply(keyForeign)
	}
	if p.AIRE == No {
		e.apply(keyNotAIRE)
	}
	if p.CFValidated == No {
		e.apply(keyCFNotValidated)
	}
	if e.f.BirthActTranscribed == No {
		e.apply(keyBirthAct)
	}
	if e.f.OpenRequestElsewhere == Yes {
		e.apply(keyOpenElsewhere)
	}
}

// italian is the citizenship that the AIRE path is for.
const italian = "IT"

// office: the competent post is the register's, never chosen (A16, A58).
func (e *evaluation) office() {
	if e.f.Channel != ChannelPost {
		return
	}
	switch e.f.PostCompetent {
	case No:
		e.apply(keyPostNotCompetent)
	case Unknown:
		e.applyOpen(keyPostCompetenceUnknown, true)
	case Yes:
	}
}

// document: the paper fallback and its end (A7, A42, A43, G18).
func (e *evaluation) document() {
	if e.f.RequestedDocument != DocumentPaper {
		return
	}
	r := e.rule(keyPaper)
	if r.Verdict == VerdictNeeds && e.f.Urgency != UrgencyNone && len(e.missing(r.Needs)) == 0 {
		return
	}
	e.apply(keyPaper)
}

// reason: whether the card may be asked for this reason now, and what must be
// shown for it (B.1.2).
func (e *evaluation) reason() {
	i := keyID(reasonIndex(e.f.Reason)) //nolint:gosec // Check refused unknown reasons
	e.apply(keyReasonFirst + i)
	card := &e.f.Person.ExistingCard
	switch e.f.Reason {
	case ReasonFirstIssue:
		if e.holdsValidCard() {
			e.apply(keyHasCard)
		}
	case ReasonExpiry:
		// A cancelled or lost card does not wait for its day to expire.
		// Paper ended with its day, whatever is printed on it (A7).
		ended := card.Kind == CardPaper && e.rule(keyPaperCard).Verdict != VerdictAllow
		if !ended && (card.State == CardValid || card.State == CardStateUnknown) && !card.Expires.IsZero() &&
			e.today.Before(card.Expires.AddDays(-e.rule(keyEarlyDays).Number)) {
			e.apply(keyTooEarly)
		}
	case ReasonPaperReplacement:
		if card.Kind == CardCIE || card.Kind == CardNone {
			e.apply(keyNoPaperCard)
		}
	case ReasonChangedData:
		e.changed()
	case ReasonCertificateRefresh:
		if e.age >= 0 && e.age < e.rule(keyRefreshAge).Number {
			e.apply(keyRefreshTooYoung)
		}
	case ReasonTheft, ReasonLoss, ReasonDeterioration, ReasonUndelivered:
	}
	if r := e.rule(keyEvidenceMissing); r.Verdict != VerdictAllow {
		if missing := e.missing(e.rule(keyEvidenceFirst + i).Codes); len(missing) > 0 {
			fd := r.finding(missing)
			fd.Open = e.f.Evidence == nil
			e.d.Findings = append(e.d.Findings, fd)
		}
	}
	// Before 2023-06-14 a parent of minors needed the other parent's assent.
	if e.f.HasMinorChildren == Yes && e.f.OtherParentAssent != Yes {
		e.applyOpen(keyOtherParent, e.f.OtherParentAssent == Unknown)
	}
}

func (e *evaluation) changed() {
	if len(e.f.Changed) == 0 {
		e.applyOpen(keyChangedUnknown, e.f.Changed == nil)
		return
	}
	accepted := e.rule(keyChangedAccepted).Codes
	for _, c := range e.f.Changed {
		if slices.Contains(accepted, c) {
			return
		}
	}
	e.apply(keyChangedOther)
}

// holdsValidCard reports a card that still counts. Paper stopped counting with
// its end date (A7), whatever is printed on it.
func (e *evaluation) holdsValidCard() bool {
	c := &e.f.Person.ExistingCard
	if c.State != CardValid || (!c.Expires.IsZero() && c.Expires.Before(e.today)) {
		return false
	}
	switch c.Kind {
	case CardCIE:
		return true
	case CardPaper:
		return e.rule(keyPaperCard).Verdict == VerdictAllow
	case CardUnknown, CardNone:
	}
	return false
}

// missing returns the needs that the evidence does not meet. Without any
// evidence it is the rule's own list, so that the common case before the
// counter allocates nothing.
func (e *evaluation) missing(needs []string) []string {
	if len(e.f.Evidence) == 0 {
		return needs
	}
	var out []string
	for _, n := range needs {
		if !met(n, e.f.Evidence) {
			out = append(out, n)
		}
	}
	return out
}

// met reads "a|b+c": a, or b and c together.
func met(need string, have []string) bool {
	for alt := range strings.SplitSeq(need, "|") {
		all := true
		for part := range strings.SplitSeq(alt, "+") {
			if !slices.Contains(have, part) {
				all = false
				break
			}
		}
		if all {
			return true
		}
	}
	return false
}

// minor: the parents' assent, for the card and for travel (B.1.4).
func (e *evaluation) minor() {
	if !e.isMinor() {
		return
	}
	assent := string(e.f.ParentsAssent)
	if assent != "" && slices.Contains(e.rule(keyAssentExpatriation).Codes, assent) {
		return
	}
	if e.domesticOnly() {
		return // the card is issued, with the note
	}
	e.applyOpen(keyAssentMissing, assent == "")
}

// domesticOnly reports a minor's card that has the assent for a card, but not
// that for travel abroad: whatever else was declared, it carries the note (A74).
func (e *evaluation) domesticOnly() bool {
	return e.f.ParentsAssent != AssentUnknown && e.isMinor() && slices.Contains(e.rule(keyAssentDomestic).Codes, string(e.f.ParentsAssent))
}

func (e *evaluation) isMinor() bool {
	return e.age >= 0 && e.age < e.rule(keyAdultAge).Number
}

// capture: prints and signature from the age set, refusal means no card, and
// the expatriation declaration is asked of everybody (A73, B.1.4).
func (e *evaluation) capture() {
	if e.age >= 0 {
		e.d.FingerprintsRequired = e.age >= e.rule(keyPrintsAge).Number
		e.d.SignatureRequired = e.age >= e.rule(keySignatureAge).Number
	}
	if e.f.Fingerprints == PrintsRefused && e.d.FingerprintsRequired {
		e.apply(keyPrintsRefused)
	}
	if e.f.Expatriation == ExpatriationUnknown {
		e.applyOpen(keyExpatriationUnknown, true)
	}
}

// delivery: the verdict on each of the four, then on the one that is wanted.
func (e *evaluation) delivery() {
	for i := range e.d.Options {
		e.option(i, &e.d.Options[i])
	}
	i := optionIndex(e.f.RequestedDelivery)
	if i < 0 {
		return
	}
	o := &e.d.Options[i]
	if o.Verdict == VerdictAllow {
		return
	}
	fd := Finding{
		Code: o.Code, Verdict: o.Verdict, About: "delivery", Rule: o.Rule,
		LegalRef: o.LegalRef, Status: o.Status, Reason: o.Reason, Needs: o.Needs,
	}
	if o.Verdict == VerdictNeeds {
		fd.Stage = StageChoice
		fd.Open = o.Code == e.rule(keyDelegateMissing).Code && e.f.Delegate == Unknown
	} else if e.allowedWhenChosen(i) {
		fd.Code = codeAskedAgain
	}
	e.d.Findings = append(e.d.Findings, fd)
}

// allowedWhenChosen weighs the same delivery at the instant it was chosen.
func (e *evaluation) allowedWhenChosen(i int) bool {
	if e.f.OnChosen.IsZero() || !e.f.OnChosen.Before(e.f.On) {
		return false
	}
	then := *e
	then.rules = e.set.viewAt(e.set.place(e.f.ResidenceCountry, e.f.Post), e.f.OnChosen.Unix())
	then.today = DateOf(e.f.OnChosen)
	if !e.f.Person.BirthDate.IsZero() {
		then.age = ageOn(e.f.Person.BirthDate, then.today, then.rule(keyValidityLeapDay).Word)
	}
	var o Option
	then.option(i, &o)
	return o.Verdict != VerdictRefuse
}

// deliveryKeys are the first of each channel's four keys.
func (e *evaluation) deliveryKey(i int) keyID {
	if e.f.Channel == ChannelComune {
		return keyDeliveryComune + keyID(i) //nolint:gosec // i indexes the four options
	}
	return keyDeliveryPost + keyID(i) //nolint:gosec // as above
}

// option writes the verdict in place: it is large, and four are made each time.
func (e *evaluation) option(i int, o *Option) {
	k := keyID(i) //nolint:gosec // i indexes the four options
	r := e.rule(e.deliveryKey(i))
	if r.Verdict != VerdictRefuse {
		if c := e.condition(i); c != nil {
			// What stands against this person's choice decides, since the
			// place's own rule would allow it.
			r = c
		}
	}
	o.Allowed, o.Verdict, o.Code, o.Rule = r.Verdict != VerdictRefuse, r.Verdict, r.Code, r.ID
	o.LegalRef, o.Status, o.Reason, o.Needs = r.LegalRef, r.Status, r.Reason, r.Needs
	if o.Allowed {
		x := e.rule(keyExpected + k)
		o.ExpectedDays, o.ExpectedRule, o.ExpectedRef = x.Number, x.ID, x.LegalRef
		o.ExpectedStatus, o.ExpectedReason = x.Status, x.Reason
		o.ExpectedWorking = e.rule(keyExpectedUnit+k).Word == "working"
	}
}

// condition returns the rule that the person's own facts break, if any.
func (e *evaluation) condition(i int) *Rule {
	f := e.f
	var k keyID
	switch o := DeliveryOptions[i]; {
	case o == DeliveryITAddress && f.ItalianAddress == No:
		k = keyItalianAddress
	case o == DeliveryComunePickup && f.RequestingComune != "" && f.PickupComune != "" && f.RequestingComune != f.PickupComune:
		k = keyPickupElsewhere
	case o == DeliveryForeignResidence && f.ForeignAddressEqualsRegister == No:
		k = keyForeignAddress
	case e.age >= 0 && f.Delegate != Yes && e.age < e.rule(keyDelegateUnder+keyID(i)).Number: //nolint:gosec // four options
		k = keyDelegateMissing
	default:
		return nil
	}
	if r := e.rule(k); r.Verdict != VerdictAllow {
		return r
	}
	return nil
}

func (e *evaluation) validity() {
	if e.f.Person.BirthDate.IsZero() {
		return
	}
	var r *Rule
	e.d.Expiry, r = e.expiry(e.f.Person.BirthDate, e.f.Fingerprints)
	e.d.ExpiryRule = r.ID
}

// fee: the tariff of the channel for the reason's class (B.1.3). A duplicate is
// of a card that still counts: an expired one is renewed at the ordinary fee.
func (e *evaluation) fee() {
	i := keyID(reasonIndex(e.f.Reason)) //nolint:gosec // Check refused unknown reasons
	class := e.rule(keyFeeClassFirst + i).Word
	if exp := e.f.Person.ExistingCard.Expires; class == feeDuplicate && !exp.IsZero() && exp.Before(e.today) {
		class = feeFirst
	}
	k := keyFeeFree
	switch {
	case class == feeFree:
	case class == feeDuplicate && e.f.Channel == ChannelComune:
		k = keyFeeComuneDuplicate
	case class == feeDuplicate:
		k = keyFeePostDuplicate
	case e.f.Channel == ChannelComune:
		k = keyFeeComuneFirst
	default:
		k = keyFeePostFirst
	}
	r := e.rule(k)
	e.d.FeeCents, e.d.FeeRule = r.Number, r.ID
}

// The words of the fee class keys.
const (
	feeFirst     = "first"
	feeDuplicate = "duplicate"
	feeFree      = "free"
)

// note: the two printed notes are different texts (A74, A75, G8).
func (e *evaluation) note() {
	k := keyNoteNoDeclaration
	switch {
	case e.f.Person.Citizenship != "" && e.f.Person.Citizenship != italian:
		k = keyNoteForeign
	case e.f.Expatriation == ExpatriationNotDeclared, e.f.Expatriation == ExpatriationObstacle, e.domesticOnly():
	default:
		return
	}
	r := e.rule(k)
	e.d.PrintNote, e.d.PrintNoteText = r.Word, r.Reason.IT
}

// Value is what one key holds at a place and an instant.
type Value struct {
	Verdict  Verdict `json:"verdict,omitempty"`
	Number   int     `json:"number,omitempty"`
	Word     string  `json:"word,omitempty"`
	Rule     string  `json:"rule"`
	LegalRef string  `json:"legal_ref"`
	Status   Status  `json:"status"`
	Reason   Text    `json:"reason"`
}

// Value returns what a key says for a country and post ("" for none) at an
// instant; for keys that no place changes, country may be "". An unknown key or
// country is a *FactsError.
func (s *Set) Value(key, country, post string, on time.Time) (Value, error) {
	k, ok := keyByName[key]
	if !ok {
		return Value{}, &FactsError{Code: CodeFactsValue, Field: "key", Value: clip(key)}
	}
	return s.value(k, country, post, on)
}

func (s *Set) value(k keyID, country, post string, on time.Time) (Value, error) {
	var place int16
	if country != "" || keyTable[k].places {
		place = s.place(country, post)
		if place == 0 {
			return Value{}, &FactsError{Code: CodeFactsCountry, Field: "country", Value: clip(country)}
		}
	}
	r := s.at(k, place, on.Unix())
	return Value{r.Verdict, r.Number, r.Word, r.ID, r.LegalRef, r.Status, r.Reason}, nil
}

// Act is something that a person who is logged in does.
type Act string

// The acts that a login level is set for (Q12).
const (
	ActView               Act = "view"
	ActOpenRequest        Act = "open_request"
	ActChangeDelivery     Act = "change_delivery"
	ActReportLoss         Act = "report_loss"
	ActSecondParentAssent Act = "second_parent_assent"
)

// LoginLevel returns the CIE or SPID level (1 to 3) that an act needs at an
// instant. An unknown act needs the highest level.
func (s *Set) LoginLevel(a Act, on time.Time) int {
	k, ok := map[Act]keyID{
		ActView: keyLoginView, ActOpenRequest: keyLoginOpen, ActChangeDelivery: keyLoginDelivery,
		ActReportLoss: keyLoginLoss, ActSecondParentAssent: keyLoginAssent,
	}[a]
	if !ok {
		return 3
	}
	return s.at(k, 0, on.Unix()).Number
}

// BookingHold returns how long a slot stays held while a booking is completed
// (A63): 15 minutes before the 2026 change, 30 after.
func (s *Set) BookingHold(on time.Time) time.Duration {
	return time.Duration(s.at(keyBookingHold, 0, on.Unix()).Number) * time.Minute
}

// HoldsValidCard reports whether the person's card still counts at f.On, which
// is what opens or closes priority slots (A7, A64). Paper cards stop counting
// at the paper end date. A card that is not known does not count.
func (s *Set) HoldsValidCard(f *Facts) bool {
	e := evaluation{set: s, f: f, today: DateOf(f.On), rules: s.viewAt(s.place(f.ResidenceCountry, f.Post), f.On.Unix())}
	return e.holdsValidCard()
}

// Handling is what the rules say of a parcel on its way to one delivery.
type Handling struct {
	ExpectedDays    int    `json:"expected_days"` // 0: nobody promises anything
	ExpectedWorking bool   `json:"expected_working"`
	ExpectedRule    string `json:"expected_rule"`
	ExpectedRef     string `json:"expected_ref"`
	ExpectedStatus  Status `json:"expected_status"`
	ExpectedReason  Text   `json:"expected_reason"`
	StorageDays     int    `json:"storage_days"` // calendar days at the last post office
	Attempts        int    `json:"attempts"`
	ReturnPath      string `json:"return_path"` // "post", "ipzs" or "comune"
	ReturnRule      string `json:"return_rule"`
	UnclaimedDays   int    `json:"unclaimed_days"` // then destroyed with a record
}

// Handling returns the expected days, storage, attempts and return path of a
// delivery for a country and post at an instant. The error is a *FactsError.
func (s *Set) Handling(o DeliveryOption, country, post string, on time.Time) (Handling, error) {
	i := optionIndex(o)
	if i < 0 {
		return Handling{}, &FactsError{Code: CodeFactsValue, Field: "delivery", Value: clip(string(o))}
	}
	place := s.place(country, post)
	if place == 0 {
		return Handling{}, &FactsError{Code: CodeFactsCountry, Field: "country", Value: clip(country)}
	}
	k, v := keyID(i), s.viewAt(place, on.Unix()) //nolint:gosec // four options
	x := v[keyExpected+k]
	back := v[keyReturnPath+k]
	return Handling{
		ExpectedDays:    x.Number,
		ExpectedWorking: v[keyExpectedUnit+k].Word == "working",
		ExpectedRule:    x.ID,
		ExpectedRef:     x.LegalRef,
		ExpectedStatus:  x.Status,
		ExpectedReason:  x.Reason,
		StorageDays:     v[keyStorage+k].Number,
		Attempts:        v[keyAttempts+k].Number,
		ReturnPath:      back.Word,
		ReturnRule:      back.ID,
		UnclaimedDays:   v[keyUnclaimedDays].Number,
	}, nil
}

// Evidence returns the rule that says what must be shown for a reason at an
// instant; of an unknown reason, for a first issue.
func (s *Set) Evidence(r Reason, on time.Time) *Rule {
	return s.at(keyEvidenceFirst+keyID(max(reasonIndex(r), 0)), 0, on.Unix()) //nolint:gosec // an index of Reasons
}
