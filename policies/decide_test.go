package policies

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"airegw/anpr"
)

// rome2 reads a Roman wall-clock minute.
func rome2(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.ParseInLocation("2006-01-02T15:04", s, rome)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// plainFacts is an adult Italian enrolled in AIRE at a comune, everything known
// and in order.
func plainFacts(on time.Time, country string) Facts {
	return Facts{
		On: on, Channel: ChannelComune, Reason: ReasonFirstIssue, ResidenceCountry: country,
		Person: Person{
			BirthDate: Date{1980, 11, 20}, AIRE: Yes, Citizenship: "IT", Alive: Yes, CFValidated: Yes,
			ExistingCard: Card{Kind: CardNone},
		},
		Expatriation: ExpatriationDeclared, RegisterSubjects: 1, BirthActTranscribed: Yes, OpenRequestElsewhere: No,
		PostCompetent: Yes,
	}
}

func TestEveryStateOfTheRegistryHasAnAnswer(t *testing.T) {
	t.Parallel()
	s := Shipped()
	n := 0
	for _, st := range anpr.States() {
		if st.ISO2 == "" || st.Kind == anpr.KindFormer || st.Kind == anpr.KindSpecial {
			continue
		}
		n++
		if !s.KnowsCountry(st.ISO2) {
			t.Errorf("%s %s has no answer", st.ISO2, st.NameEN)
		}
	}
	if n < 200 {
		t.Errorf("the registry shows only %d states", n)
	}
	if len(s.Countries()) != 250 {
		t.Errorf("%d countries, want the 249 of ISO 3166-1 and Kosovo", len(s.Countries()))
	}
}

func TestAnUnknownCountryIsAnErrorAndNeverAllowed(t *testing.T) {
	t.Parallel()
	for _, c := range []string{"XX", "ar", "A", "ARG", "", "A1", "ÀR"} {
		f := plainFacts(rome2(t, "2026-11-21T12:00"), c)
		if err := Shipped().Check(&f); err == nil {
			t.Errorf("%q passes Check", c)
		}
		d := Shipped().Decide(f)
		if d.Outcome != OutcomeRefused || len(d.Findings) != 1 || d.Findings[0].About != "facts" {
			t.Errorf("%q: %+v", c, d)
		}
		for _, o := range d.Options {
			if o.Allowed {
				t.Errorf("%q: an option is allowed", c)
			}
		}
	}
}

// ruleDates returns every instant at which any rule starts or ends.
func ruleDates(s *Set) []int64 {
	var out []int64
	for _, r := range s.Rules() {
		if !r.From.IsZero() {
			out = append(out, r.from)
		}
		if !r.To.IsZero() {
			out = append(out, r.to)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// checkWhole holds what every decision must have, whatever the facts.
func checkWhole(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *Set, f Facts,
) {
	t.Helper()
	d := s.Decide(f)
	possible := false
	for i := range d.Options {
		o := &d.Options[i]
		if o.Rule == "" || o.LegalRef == "" || o.Reason.IT == "" || o.Reason.EN == "" || o.Code == "" {
			t.Fatalf("%+v: option %s is not explained: %+v", f, DeliveryOptions[i], o)
		}
		if o.Allowed != (o.Verdict != VerdictRefuse) {
			t.Fatalf("option contradicts itself: %+v", o)
		}
		possible = possible || o.Allowed
	}
	for i := range d.Findings {
		x := &d.Findings[i]
		if x.Rule == "" || x.LegalRef == "" || x.Reason.IT == "" || x.Reason.EN == "" || x.Code == "" || x.About == "" {
			t.Fatalf("finding is not explained: %+v", x)
		}
		if x.Verdict == VerdictNeeds && (len(x.Needs) == 0 || x.Stage == "") {
			t.Fatalf("finding needs nothing: %+v", x)
		}
	}
	switch d.Outcome {
	case OutcomeRefused:
		if len(d.Refusals()) == 0 {
			t.Fatalf("refused without a reason: %+v", f)
		}
	case OutcomeAllowed, OutcomeNeeds, OutcomeAskedAgain:
		if !possible {
			t.Fatalf("not refused and yet nothing can be delivered: %+v", f)
		}
	default:
		t.Fatalf("outcome %q", d.Outcome)
	}
	if d.LegalBasis == "" || d.RuleSet != s.Hash() || d.FeeRule == "" {
		t.Fatalf("decision is not complete: %+v", d)
	}
	if !f.Person.BirthDate.IsZero() {
		if d.ExpiryRule == "" || !DateOf(f.On).Before(d.Expiry) {
			t.Fatalf("expiry %s of a request on %s born %s", d.Expiry, DateOf(f.On), f.Person.BirthDate)
		}
	}
}

// deciders finds, without the index that Decide uses, the rules written for a
// delivery that hold at an instant, and returns those of the most specific
// scope that speaks of the country.
func deciders(s *Set, byKey map[keyID][]*Rule, country string, ch Channel, option int, at int64) []*Rule {
	k := keyDeliveryPost
	if ch == ChannelComune {
		k = keyDeliveryComune
	}
	var best []*Rule
	for _, r := range byKey[k+keyID(option)] { //nolint:gosec // four options
		ours := r.scope.level == levelDefault ||
			(r.scope.level == levelCountry && r.scope.name == country) ||
			(r.scope.level == levelGroup && s.InGroup(r.scope.name, country))
		if !ours || at < r.from || at >= r.to {
			continue
		}
		if len(best) > 0 && r.scope.level > best[0].scope.level {
			best = nil
		}
		if len(best) == 0 || r.scope.level == best[0].scope.level {
			best = append(best, r)
		}
	}
	return best
}

func rulesByKey(s *Set) map[keyID][]*Rule {
	out := map[keyID][]*Rule{}
	for _, r := range s.Rules() {
		out[r.key] = append(out[r.key], r)
	}
	return out
}

// checkDeciders holds that exactly one rule decides each delivery, and that it
// is the one Decide names for somebody without conditions of their own.
func checkDeciders(t *testing.T, s *Set, byKey map[keyID][]*Rule, f Facts) {
	t.Helper()
	d := s.Decide(f)
	for i := range DeliveryOptions {
		found := deciders(s, byKey, f.ResidenceCountry, f.Channel, i, f.On.Unix())
		if len(found) != 1 {
			t.Fatalf("%s %s %s at %s: %d rules decide", f.ResidenceCountry, f.Channel, DeliveryOptions[i], f.On, len(found))
		}
		o := &d.Options[i]
		if o.Rule != found[0].ID && (found[0].Verdict == VerdictRefuse || o.Code != "delivery.delegate_missing") {
			t.Fatalf("%s %s %s at %s: %s decides, %s is written", f.ResidenceCountry, f.Channel, DeliveryOptions[i], f.On, o.Rule, found[0].ID)
		}
	}
}

// ageLimits are the ages at which any rule of the set begins to answer
// otherwise.
func ageLimits(s *Set) []int {
	var out []int
	for _, r := range s.Rules() {
		switch {
		case r.Number == 0:
		case r.key == keyValidityChildUnder, r.key == keyAdultAge, r.key == keyValiditySeniorFrom, r.key == keyRefreshAge,
			r.key == keyPrintsAge, r.key == keySignatureAge, r.key >= keyDelegateUnder && r.key <= keyDelegateUnder4:
			out = append(out, r.Number)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestOneRuleDecidesEachOptionForEveryCountryChannelAgeAndDate(t *testing.T) {
	t.Parallel()
	s := Shipped()
	byKey, ages := rulesByKey(s), ageLimits(s)
	if !slices.Equal(ages, []int{3, 12, 14, 18, 70}) {
		t.Errorf("age limits %v", ages)
	}
	n := 0
	for _, country := range s.Countries() {
		for _, at := range ruleDates(s) {
			for _, on := range []int64{at - 86400, at - 1, at, at + 86400} {
				when := time.Unix(on, 0).UTC()
				today := DateOf(when)
				for _, ch := range []Channel{ChannelComune, ChannelPost} {
					f := plainFacts(when, country)
					f.Channel = ch
					checkDeciders(t, s, byKey, f)
					for _, age := range ages {
						for _, shift := range []int{-1, 0, 1} {
							f.Person.BirthDate = Date{today.Year - age, today.Month, today.Day}.AddDays(shift)
							checkWhole(t, s, f)
							n++
						}
					}
				}
			}
		}
	}
	t.Logf("%d situations", n)
}

func TestAHundredThousandRandomPointsHaveOneAnswer(t *testing.T) {
	t.Parallel()
	s := Shipped()
	byKey := rulesByKey(s)
	r := rand.New(rand.NewPCG(20261121, 1)) //nolint:gosec // a fixed seed is wanted
	from := time.Date(2016, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	to := time.Date(2036, 12, 31, 0, 0, 0, 0, time.UTC).Unix()
	for range 100_000 {
		on := time.Unix(from+r.Int64N(to-from), 0).UTC()
		f := plainFacts(on, s.Countries()[r.IntN(len(s.Countries()))])
		if r.IntN(2) == 0 {
			f.Channel = ChannelPost
		}
		f.Reason = Reasons[r.IntN(len(Reasons))]
		f.Person.BirthDate = DateOf(on).AddDays(-r.IntN(36_500))
		checkWhole(t, s, f)
		checkDeciders(t, s, byKey, f)
	}
}

func TestDecisionsAreWholeAtRandomPoints(t *testing.T) {
	t.Parallel()
	s := Shipped()
	tri := rapid.SampledFrom([]Tri{Unknown, Yes, No})
	from := time.Date(2016, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	to := time.Date(2036, 12, 31, 0, 0, 0, 0, time.UTC).Unix()
	rapid.Check(t, func(t *rapid.T) {
		on := time.Unix(rapid.Int64Range(from, to).Draw(t, "on"), 0).UTC()
		f := Facts{
			On:                on,
			Channel:           rapid.SampledFrom([]Channel{ChannelComune, ChannelPost}).Draw(t, "channel"),
			Reason:            rapid.SampledFrom(Reasons[:]).Draw(t, "reason"),
			ResidenceCountry:  rapid.SampledFrom(s.Countries()).Draw(t, "country"),
			RequestedDelivery: rapid.SampledFrom(append([]DeliveryOption{""}, DeliveryOptions[:]...)).Draw(t, "delivery"),
			Fingerprints:      rapid.SampledFrom([]Fingerprints{"", PrintsTaken, PrintsTemporarilyImpossible, PrintsRefused}).Draw(t, "prints"),
			ParentsAssent:     rapid.SampledFrom([]Assent{"", AssentBoth, AssentOne, AssentNone}).Draw(t, "assent"),
			Expatriation:      rapid.SampledFrom([]Expatriation{"", ExpatriationDeclared, ExpatriationNotDeclared}).Draw(t, "expatriation"),
			RequestedDocument: rapid.SampledFrom([]Document{"", DocumentPaper}).Draw(t, "document"),
			HasMinorChildren:  tri.Draw(t, "children"), OtherParentAssent: tri.Draw(t, "other"), Delegate: tri.Draw(t, "delegate"),
			BirthActTranscribed: tri.Draw(t, "act"), OpenRequestElsewhere: tri.Draw(t, "open"), PostCompetent: tri.Draw(t, "competent"),
			ItalianAddress: tri.Draw(t, "address"), ForeignAddressEqualsRegister: tri.Draw(t, "foreign"),
			RegisterSubjects: rapid.IntRange(0, 3).Draw(t, "subjects"),
			Person: Person{
				BirthDate: DateOf(on).AddDays(-rapid.IntRange(0, 40000).Draw(t, "days")),
				AIRE:      tri.Draw(t, "aire"), Alive: tri.Draw(t, "alive"), CFValidated: tri.Draw(t, "cf"),
				Citizenship: rapid.SampledFrom([]string{"", "IT", "FR"}).Draw(t, "citizenship"),
			},
		}
		checkWhole(t, s, f)
		a, b := s.Decide(f), s.Decide(f)
		ja, _ := json.Marshal(a)
		jb, _ := json.Marshal(b)
		if string(ja) != string(jb) {
			t.Fatal("two answers to the same facts")
		}
		back, err := ParseFacts(f.Canonical())
		if err != nil {
			t.Fatal(err)
		}
		if back.Digest() != f.Digest() {
			t.Fatal("the digest changes on the way through JSON")
		}
		jc, _ := json.Marshal(s.Decide(back))
		if string(jc) != string(ja) {
			t.Fatal("a replay from the recorded facts decides otherwise")
		}
	})
}

func TestTheZoneOfTheCallerDoesNotMoveMidnightInRome(t *testing.T) {
	t.Parallel()
	s := Shipped()
	for _, c := range []struct {
		at   time.Time
		want Outcome
	}{
		{time.Date(2026, 5, 31, 21, 59, 59, 0, time.UTC), OutcomeRefused},
		{time.Date(2026, 5, 31, 22, 0, 0, 0, time.UTC), OutcomeAllowed},
		{time.Date(2026, 5, 31, 19, 0, 0, 0, time.FixedZone("ART", -3*3600)), OutcomeAllowed},
		{time.Date(2026, 6, 1, 7, 59, 59, 0, time.FixedZone("AEST", 10*3600)), OutcomeRefused},
	} {
		f := plainFacts(c.at, "AR")
		if d := s.Decide(f); d.Outcome != c.want {
			t.Errorf("%s: got %s, want %s", c.at, d.Outcome, c.want)
		}
	}
}

func TestAChoiceThatIsNoLongerAllowedIsAskedAgainAndNeverChanged(t *testing.T) {
	t.Parallel()
	s := Shipped()
	f := plainFacts(rome2(t, "2026-05-30T12:00"), "KE")
	f.Channel, f.RequestedDelivery = ChannelPost, DeliveryForeignResidence
	// Kenya's rule starts with the posts; a choice before that day was allowed.
	f.OnChosen = rome2(t, "2019-09-01T12:00")
	d := s.Decide(f)
	if d.Outcome != OutcomeAskedAgain || d.Findings[0].Code != codeAskedAgain {
		t.Errorf("got %s %+v", d.Outcome, d.Findings)
	}
	f.OnChosen = time.Time{}
	if d := s.Decide(f); d.Outcome != OutcomeRefused {
		t.Errorf("a first choice that is not allowed: got %s", d.Outcome)
	}
	f.Person.Alive, f.OnChosen = No, rome2(t, "2019-09-01T12:00")
	if d := s.Decide(f); d.Outcome != OutcomeRefused {
		t.Errorf("a dead person is asked again: %s", d.Outcome)
	}
}

func TestDecideLeavesTheDigestToRecord(t *testing.T) {
	t.Parallel()
	f := plainFacts(rome2(t, "2026-11-21T12:00"), "AR")
	if d := Shipped().Decide(f); d.FactsDigest != "" {
		t.Error("Decide spent a digest")
	}
	if d := Shipped().Record(f); d.FactsDigest != f.Digest() {
		t.Error("Record left the digest out")
	}
}

func TestADecisionSurvivesJSON(t *testing.T) {
	t.Parallel()
	f := plainFacts(rome2(t, "2026-11-21T12:00"), "CU")
	f.Reason, f.RequestedDelivery = ReasonTheft, DeliveryConsulate
	d := Shipped().Record(f)
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var back Decision
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(b) {
		t.Errorf("changed on the way: %v\n%s\n%s", err, b, again)
	}
}

// Not parallel: testing.AllocsPerRun counts the whole process.
func TestAnAllowedDecisionAllocatesNothing(t *testing.T) { //nolint:paralleltest // as said above
	s := Shipped()
	f := plainFacts(rome2(t, "2026-11-21T12:00"), "AR")
	f.RequestedDelivery = DeliveryForeignResidence
	if d := s.Decide(f); d.Outcome != OutcomeAllowed {
		t.Fatalf("got %s %+v", d.Outcome, d.Findings)
	}
	if n := testing.AllocsPerRun(100, func() { _ = s.Decide(f) }); n != 0 {
		t.Errorf("%v allocations for a decision", n)
	}
}

func TestLoginLevelsAndBookingHoldFollowTheRules(t *testing.T) {
	t.Parallel()
	s := Shipped()
	now := rome2(t, "2026-11-21T12:00")
	for a, want := range map[Act]int{ActView: 1, ActOpenRequest: 2, ActChangeDelivery: 2, ActReportLoss: 2, ActSecondParentAssent: 3, "other": 3} {
		if got := s.LoginLevel(a, now); got != want {
			t.Errorf("%s: got %d, want %d", a, got, want)
		}
	}
	if got := s.BookingHold(rome2(t, "2026-05-31T23:59")); got != 15*time.Minute {
		t.Errorf("before: %s", got)
	}
	if got := s.BookingHold(rome2(t, "2026-06-01T00:00")); got != 30*time.Minute {
		t.Errorf("after: %s", got)
	}
}

func TestHandlingFollowsTheCountry(t *testing.T) {
	t.Parallel()
	s := Shipped()
	now := rome2(t, "2026-11-21T12:00")
	for _, c := range []struct {
		o       DeliveryOption
		country string
		days    int
		working bool
		back    string
	}{
		{DeliveryITAddress, "AR", 6, true, "comune"},
		{DeliveryForeignResidence, "AR", 0, false, "post"},
		{DeliveryForeignResidence, "CH", 15, false, "post"},
		{DeliveryForeignResidence, "ME", 0, false, "ipzs"},
	} {
		h, err := s.Handling(c.o, c.country, "", now)
		if err != nil || h.ExpectedDays != c.days || h.ExpectedWorking != c.working || h.ReturnPath != c.back || h.UnclaimedDays != 365 {
			t.Errorf("%s %s: got %+v, %v", c.o, c.country, h, err)
		}
	}
	if _, err := s.Handling(DeliveryITAddress, "XX", "", now); err == nil {
		t.Error("XX has an answer")
	}
	if _, err := s.Handling("MOON", "AR", "", now); err == nil {
		t.Error("MOON has an answer")
	}
	if v, err := s.Value("travel.caveat", "AR", "", now); err != nil || v.Word != "not_a_travel_document" {
		t.Errorf("got %+v, %v", v, err)
	}
	if v, err := s.Value("travel.caveat", "SM", "", now); err != nil || v.Word != "travel_document" {
		t.Errorf("got %+v, %v", v, err)
	}
	if _, err := s.Value("moon", "AR", "", now); err == nil {
		t.Error("an unknown key has an answer")
	}
}

func TestThePaperEndDateIsOneConstantForBothReadings(t *testing.T) {
	t.Parallel()
	s := Shipped()
	// G18, first reading: 2026-08-02 is the last valid day.
	// G18, second reading: 2026-08-03 is the first invalid one.
	last, first := rome2(t, "2026-08-02T23:59"), rome2(t, "2026-08-03T00:00")
	for at, want := range map[time.Time]bool{last: true, first: false} {
		f := plainFacts(at, "AR")
		f.Person.ExistingCard = Card{Kind: CardPaper, State: CardValid, Expires: Date{2030, 1, 1}}
		if got := s.HoldsValidCard(&f); got != want {
			t.Errorf("%s: a paper card counts: %v", at, got)
		}
	}
	n := 0
	for _, r := range s.Rules() {
		if r.from == first.Unix() || r.to == first.Unix() {
			n++
		}
	}
	if n != 4 {
		t.Errorf("%d rules turn on the paper end, want 4", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	s := Shipped()
	f := plainFacts(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), "AR")
	f.RequestedDelivery = DeliveryForeignResidence
	b.ReportAllocs()
	for b.Loop() {
		if d := s.Decide(f); d.Outcome != OutcomeAllowed {
			b.Fatal(d.Outcome)
		}
	}
}
