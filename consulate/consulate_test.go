package consulate_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/currency"

	"airegw/anpr"
	"airegw/consulate"
)

// shared opens a reference table outside the repository, if there is one.
func shared(t *testing.T, name string) []byte {
	t.Helper()
	root := os.Getenv("AIREGW_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "shared")
	}
	data, err := os.ReadFile(filepath.Join(root, "data", name))
	if err != nil {
		t.Logf("the reference table %s is not here (set AIREGW_SHARED): only what ships is tested", name)
		return nil
	}
	return data
}

func day(text string) time.Time {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return at.Add(12 * time.Hour)
}

func keys(posts []consulate.Post) []string {
	var all []string
	for _, p := range posts {
		all = append(all, p.Key)
	}
	return all
}

func post(t *testing.T, key string) consulate.Post {
	t.Helper()
	p, ok := consulate.PostByKey(key)
	if !ok {
		t.Fatalf("there is no post %s", key)
	}
	return p
}

func TestTheWholeNetworkIsThere(t *testing.T) {
	t.Parallel()
	open, states := 0, map[string]bool{}
	for _, p := range consulate.Posts() {
		if p.Kind != consulate.Honorary && p.Open(day("2026-11-21")) {
			open++
			states[p.ISO2] = true
		}
	}
	if open < 180 || len(states) < 120 {
		t.Errorf("%d open career posts in %d states; at least 180 in 120 are expected", open, len(states))
	}
}

func TestEveryPostHasValidValuesEachWithItsSource(t *testing.T) {
	t.Parallel()
	rank := map[string]consulate.Kind{
		"00": consulate.Embassy, "02": consulate.Consulate, "03": consulate.ConsulateGeneral, "04": consulate.Consulate,
		"05": consulate.ViceConsulate, "10": consulate.ConsularAgency,
	}
	kinds := []consulate.Kind{
		consulate.Embassy, consulate.ConsulateGeneral, consulate.Consulate, consulate.ViceConsulate,
		consulate.ConsularAgency, consulate.Honorary,
	}
	statuses := []consulate.CaptureStatus{consulate.CapturesKnown, consulate.CapturesAssumed, consulate.CapturesNo}
	date := regexp.MustCompile(`^(\d{4}(-\d{2}(-\d{2})?)?)?$`)
	seenKeys, seenCodes := map[string]bool{}, map[string]bool{}
	for _, p := range consulate.Posts() {
		if seenKeys[p.Key] || !regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+$`).MatchString(p.Key) {
			t.Errorf("%s: the key is used twice or is no slug", p.Key)
		}
		seenKeys[p.Key] = true
		if !slices.Contains(kinds, p.Kind) || !slices.Contains(statuses, p.Captures.Status) {
			t.Errorf("%s: kind %q, captures %q", p.Key, p.Kind, p.Captures.Status)
		}
		if p.Kind == consulate.Honorary && p.Captures.Status != consulate.CapturesNo {
			t.Errorf("%s is honorary and captures", p.Key)
		}
		state, ok := anpr.StateByISO2(p.ISO2)
		if !ok || p.ISO2 == "IT" {
			t.Errorf("%s: no foreign state %s", p.Key, p.ISO2)
		}
		if p.ANPRCode != "" {
			switch {
			case seenCodes[p.ANPRCode]:
				t.Errorf("%s: the code %s is used twice", p.Key, p.ANPRCode)
			case !regexp.MustCompile(`^\d{7}$`).MatchString(p.ANPRCode):
				t.Errorf("%s: code %s", p.Key, p.ANPRCode)
			case p.ANPRCode[:3] != state.MAE:
				t.Errorf("%s: code %s in the state of MAE %s", p.Key, p.ANPRCode, state.MAE)
			case rank[p.ANPRCode[5:]] != p.Kind:
				t.Errorf("%s: code %s is not of a %s", p.Key, p.ANPRCode, p.Kind)
			}
			seenCodes[p.ANPRCode] = true
		}
		if _, err := time.LoadLocation(p.TimeZone); err != nil || p.TimeZone == "" {
			t.Errorf("%s: time zone %q: %v", p.Key, p.TimeZone, err)
		}
		// The library's table is older than two currencies of 2018.
		if _, err := currency.ParseISO(p.Currency); err != nil && p.Currency != "MRU" && p.Currency != "VES" {
			t.Errorf("%s: currency %q: %v", p.Key, p.Currency, err)
		}
		for _, d := range []consulate.Date{p.Captures.Since, p.Opened, p.Closed, p.Moved} {
			if !date.MatchString(string(d)) {
				t.Errorf("%s: date %q", p.Key, d)
			}
		}
		if p.Seat == "" || p.Sources.Post == "" || p.Sources.Place == "" || p.Captures.Source == "" {
			t.Errorf("%s: a value without a source: %+v", p.Key, p)
		}
		if p.Opened+p.Closed+p.Moved != "" && p.Sources.Life == "" {
			t.Errorf("%s: a date of its life without a source", p.Key)
		}
		if (p.Closed != "" || p.Moved != "") != (p.Successor != "") {
			t.Errorf("%s: closed %q, moved %q, successor %q", p.Key, p.Closed, p.Moved, p.Successor)
		}
		if p.Successor != "" {
			if s := post(t, p.Successor); s.Closed != "" || s.Moved != "" {
				t.Errorf("%s: the successor %s is gone too", p.Key, s.Key)
			}
		}
	}
}

func TestAPostIsFoundByAnyOfItsNamesTypedBadly(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"stuttgart": "de-stoccarda", "STOCCARDA": "de-stoccarda", "Londra": "gb-londra", "london": "gb-londra",
		"sao paulo": "br-san-paolo", "São Paulo": "br-san-paolo", "san paolo": "br-san-paolo", "BOGOTA'": "co-bogota",
		"2290103": "fr-parigi", "fr-parigi": "fr-parigi", "Koeln": "de-colonia", "koln": "de-colonia", "l'aja": "nl-l-aja",
		"SAN JOSE' DE COSTARICA": "cr-san-jose-de-costarica", "smirne": "tr-izmir", "Thành phố Hồ Chí Minh": "vn-ho-chi-minh-city",
		"izmir": "tr-izmir", "calcutta-kolkata": "in-calcutta-kolkata", "CAPETOWN": "za-capetown", "Città del Capo": "za-capetown",
		"bengaluru": "in-bangalore", "Zuerich": "ch-zurigo", "2483705": "es-arona", "tenerife": "es-arona", "munich": "de-monaco-di-baviera",
	} {
		if got := keys(consulate.FindPosts(query)); !slices.Equal(got, []string{want}) {
			t.Errorf("%q finds %v, not %s", query, got, want)
		}
	}
	if got := consulate.FindPosts("Timbuctù"); len(got) != 0 {
		t.Errorf("nonsense finds %v", keys(got))
	}
	if got := keys(consulate.FindPosts("uk")); !slices.Contains(got, "gb-manchester") || len(got) < 3 {
		t.Errorf("the state finds %v", got)
	}
	if got := consulate.FindPosts(""); len(got) != len(consulate.Posts()) {
		t.Errorf("no query finds %d posts", len(got))
	}
}

func TestAPostIsFoundByTheCodeOfARecord(t *testing.T) {
	t.Parallel()
	paris, ok := consulate.PostByCode("2290103")
	if !ok || paris.Key != "fr-parigi" || paris.Seat != "Parigi" || paris.Kind != consulate.ConsulateGeneral {
		t.Errorf("2290103 is %+v", paris)
	}
	closed, ok := consulate.PostByCode("2301204")
	if !ok || closed.Open(day("2026-11-21")) || closed.Successor != "de-monaco-di-baviera" {
		t.Errorf("the closed post of Nuremberg, which records still name, is %+v", closed)
	}
	if _, ok := consulate.PostByCode(""); ok {
		t.Error("an empty code finds a post: those without a code would all answer")
	}
	if _, ok := consulate.PostByCode("9999999"); ok {
		t.Error("an unknown code finds a post")
	}
}

func TestTheCitizensOfAPostThatIsGoneHaveAPostInCharge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key  string
		on   time.Time
		want string
	}{
		{"es-madrid-amb", day("2024-06-30"), "es-madrid-amb"},
		{"es-madrid-amb", day("2024-07-01"), "es-madrid-cg"},
		{"de-norimberga-con", day("2026-11-21"), "de-monaco-di-baviera"},
		{"fr-parigi", day("2026-11-21"), "fr-parigi"},
		{"in-bangalore", day("2020-01-01"), ""},
	} {
		got, ok := post(t, c.key).InCharge(c.on)
		if ok != (c.want != "") || ok && got.Key != c.want {
			t.Errorf("%s on %s: %s, %v; not %q", c.key, c.on.Format(time.DateOnly), got.Key, ok, c.want)
		}
	}
}

func TestAPostCapturesFromItsDayInItsOwnTimeZone(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		instant, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return instant
	}
	for _, c := range []struct {
		key  string
		on   time.Time
		want bool
	}{
		{"gr-atene", day("2019-09-19"), false},
		{"gr-atene", day("2019-09-20"), true},
		{"gr-atene", at("2019-09-19T21:00:00Z"), true}, // midnight in Athens
		{"gr-atene", at("2019-09-19T20:59:59Z"), false},
		{"de-stoccarda", day("2020-09-30"), false},
		{"de-stoccarda", day("2020-10-01"), true},
		{"ca-ottawa", day("2023-03-31"), false},
		{"ca-ottawa", day("2023-04-01"), true},
		{"ar-cordoba", day("2023-03-01"), false}, // assumed: not before the first posts beyond Europe
		{"ar-cordoba", day("2026-11-21"), true},
		{"ro-bucarest", day("2019-09-01"), false}, // known without a date: not before the first pilot
		{"ro-bucarest", day("2020-12-31"), true},
		{"us-boise", day("2026-11-21"), false},
		{"gb-edimburgo", day("2020-12-09"), false}, // known without a date: not before the first of its state
		{"gb-edimburgo", day("2020-12-10"), true},
		{"gb-manchester", day("2022-07-17"), false},
		{"gb-manchester", day("2022-07-18"), true},
		{"es-madrid-amb", day("2024-06-30"), true},
		{"es-madrid-amb", day("2024-07-01"), false},
		{"es-madrid-cg", day("2024-06-30"), false},
		{"es-madrid-cg", day("2024-07-01"), true},
		{"de-norimberga-con", day("2026-11-21"), false},
		{"af-kabul", day("2026-11-21"), false},
	} {
		if got := post(t, c.key).CanCapture(c.on); got != c.want {
			t.Errorf("%s captures on %s: %v, not %v", c.key, c.on.Format(time.RFC3339), got, c.want)
		}
	}
	for _, p := range consulate.Posts() {
		if p.CanCapture(day("2019-09-18")) {
			t.Errorf("%s captures before the first pilot", p.Key)
		}
		if p.Kind == consulate.Honorary && p.CanCapture(day("2026-11-21")) {
			t.Errorf("%s is honorary and captures", p.Key)
		}
	}
}

func TestTheSnapshotOfSeed003IsReproduced(t *testing.T) {
	t.Parallel()
	s := consulate.Snapshot2020()
	if s.Posts != 52 || s.States != 32 || len(s.Named) != 10 {
		t.Errorf("%d posts in %d states, %d named; 52 in 32 and ten are stated", s.Posts, s.States, len(s.Named))
	}
	status := map[consulate.RollOutStatus][]string{}
	for _, state := range s.Named {
		status[state.Status] = append(status[state.Status], state.ISO2)
	}
	if got := strings.Join(status[consulate.RollOutActive], " "); got != "FR GR AT RO CY LT EE LV" {
		t.Errorf("active: %s", got)
	}
	if got := strings.Join(status[consulate.RollOutSoon], " "); got != "DE LU" {
		t.Errorf("soon: %s", got)
	}
	// What the snapshot calls active had begun by the middle of 2020's last
	// quarter, what it calls soon began in October 2020 (spec B.2.1).
	for _, iso2 := range status[consulate.RollOutActive] {
		posts, _ := consulate.PostsServing(iso2)
		for _, p := range posts {
			if p.Captures.Status != consulate.CapturesKnown || !p.CanCapture(day("2020-09-30")) {
				t.Errorf("%s did not capture on 2020-09-30", p.Key)
			}
		}
	}
	for _, iso2 := range status[consulate.RollOutSoon] {
		posts, _ := consulate.PostsServing(iso2)
		for _, p := range posts {
			if p.CanCapture(day("2020-09-30")) || !p.CanCapture(day("2020-10-31")) {
				t.Errorf("%s did not begin in October 2020", p.Key)
			}
		}
	}
}

func TestTheBeginningsAreThoseOfTheSpec(t *testing.T) {
	t.Parallel()
	want := map[consulate.Date]int{
		"2019-09-20": 3, "2020-02-24": 4, "2020-07-27": 1, "2020-10": 10, "2020-11": 8, "2020-11-16": 5, "2020-11-30": 1,
		"2020-12-01": 1, "2020-12-10": 1, "2023-04": 8, "2023-11": 15, "2024-01": 1, "2024-01-15": 5, "2024-05-15": 1,
	}
	activations := consulate.Activations()
	if len(activations) != len(want) {
		t.Errorf("%d days, not %d", len(activations), len(want))
	}
	for i, a := range activations {
		if len(a.Posts) != want[a.Since] {
			t.Errorf("%s: %d posts %v, not %d", a.Since, len(a.Posts), keys(a.Posts), want[a.Since])
		}
		if i > 0 && a.Since < activations[i-1].Since {
			t.Errorf("%s stands after %s", a.Since, activations[i-1].Since)
		}
	}
}

func TestTheFirstGroupIsTheOneOfSeed003(t *testing.T) {
	t.Parallel()
	if got := len(consulate.FirstGroup()); got != 26+8 {
		t.Errorf("%d states; 26 of the Union without Italy and eight others are stated", got)
	}
	if !consulate.InFirstGroup("ch") || consulate.InFirstGroup("GB") || consulate.InFirstGroup("IT") {
		t.Error("Switzerland is in the group, the United Kingdom and Italy are not")
	}
}

func TestEveryStateWhereAnItalianMayLiveIsServedByOpenPosts(t *testing.T) {
	t.Parallel()
	// No resident population, or no state to register in.
	uninhabited := []string{"AQ", "BV", "HM", "IT"}
	for _, s := range anpr.States() {
		if s.ISO2 == "" || s.Kind == anpr.KindSpecial || slices.Contains(uninhabited, s.ISO2) {
			continue
		}
		posts, source := consulate.PostsServing(s.ISO2)
		if len(posts) == 0 || source == "" {
			t.Errorf("%s (%s): no post, or no source", s.ISO2, s.NameEN)
		}
		for _, p := range posts {
			if p.Closed != "" || p.Moved != "" || p.Kind == consulate.Honorary {
				t.Errorf("%s is served by %s, which is not there", s.ISO2, p.Key)
			}
		}
	}
	for _, iso2 := range consulate.Served() {
		if _, ok := anpr.StateByISO2(iso2); !ok {
			t.Errorf("%s is served and no state", iso2)
		}
	}
}

func TestEveryOpenCareerPostServesSomebody(t *testing.T) {
	t.Parallel()
	serving := map[string]bool{}
	for _, iso2 := range consulate.Served() {
		posts, _ := consulate.PostsServing(iso2)
		for _, p := range posts {
			serving[p.Key] = true
		}
	}
	for _, p := range consulate.Posts() {
		if p.Kind != consulate.Honorary && p.Open(day("2026-11-21")) && !serving[p.Key] {
			t.Errorf("%s is open and serves nobody", p.Key)
		}
	}
}

// firstLevel counts the first-level divisions of ISO 3166-2 in the states that
// several posts share (China without Taiwan, which has its own post).
var firstLevel = map[string]int{
	"AE": 7, "AL": 12, "AR": 24, "AU": 8, "BE": 3, "BQ": 3, "BR": 27, "CA": 13, "CH": 26, "CN": 33, "DE": 16, "ES": 19,
	"FR": 26, "GB": 4, "HR": 21, "IL": 6, "IN": 36, "IQ": 18, "JP": 47, "LY": 22, "MA": 12, "NG": 37, "PK": 7, "RU": 83,
	"SA": 13, "SI": 212, "TR": 81, "US": 57, "VE": 25, "VN": 63, "ZA": 9,
}

func TestEveryDivisionOfASharedStateMapsToOnePostOrToNamedCandidates(t *testing.T) {
	t.Parallel()
	shared := 0
	for _, iso2 := range consulate.Served() {
		serving, _ := consulate.PostsServing(iso2)
		divisions := consulate.Divisions(iso2)
		if len(serving) == 1 {
			if len(divisions) > 0 {
				t.Errorf("%s has one post and districts", iso2)
			}
			continue
		}
		shared++
		used, codes, level1 := map[string]bool{}, map[string]bool{}, map[string][]string{}
		split := map[string]map[string]bool{}
		for _, d := range divisions {
			if codes[d.Code] {
				t.Errorf("%s is listed twice", d.Code)
			}
			codes[d.Code] = true
			if len(d.Posts) == 0 || d.Source == "" || len(d.Names) == 0 || d.Names[0] == "" {
				t.Errorf("%s: no post, no name or no source", d.Code)
			}
			for _, key := range d.Posts {
				used[key] = true
				if !slices.Contains(keys(serving), key) {
					t.Errorf("%s: %s does not serve the state", d.Code, key)
				}
			}
			switch d.Level {
			case 1:
				level1[d.Code] = d.Posts
				if !regexp.MustCompile(`^` + iso2 + `-[A-Z0-9]{1,3}$`).MatchString(d.Code) {
					t.Errorf("%s is no code of ISO 3166-2", d.Code)
				}
			case 2:
				if split[d.Parent] == nil {
					split[d.Parent] = map[string]bool{}
				}
				for _, key := range d.Posts {
					split[d.Parent][key] = true
				}
			default:
				t.Errorf("%s: level %d", d.Code, d.Level)
			}
		}
		if len(level1) != firstLevel[iso2] {
			t.Errorf("%s: %d first-level divisions, not %d", iso2, len(level1), firstLevel[iso2])
		}
		for parent, posts := range split {
			for key := range posts {
				if !slices.Contains(level1[parent], key) {
					t.Errorf("%s: a part is served by %s, the division is not", parent, key)
				}
			}
			for _, key := range level1[parent] {
				if !posts[key] {
					t.Errorf("%s: no part is served by %s", parent, key)
				}
			}
		}
		for _, p := range serving {
			if !used[p.Key] {
				t.Errorf("%s serves no division of %s", p.Key, iso2)
			}
		}
	}
	if shared != len(firstLevel) {
		t.Errorf("%d states have several posts, %d are counted", shared, len(firstLevel))
	}
}

func TestEveryDivisionIsFoundByItsCodeAndByEachOfItsNames(t *testing.T) {
	t.Parallel()
	for iso2 := range firstLevel {
		for _, d := range consulate.Divisions(iso2) {
			if d.Level != 1 {
				continue
			}
			check := func(region string, exact bool) {
				answer := consulate.Competent(consulate.Address{ISO2: iso2, Region: region})
				got := keys(answer.Candidates)
				if answer.Post != nil {
					got = []string{answer.Post.Key}
				}
				for _, key := range d.Posts {
					if !slices.Contains(got, key) {
						t.Errorf("%s as %q answers %v, not %v", d.Code, region, got, d.Posts)
					}
				}
				if exact && len(got) != len(d.Posts) {
					t.Errorf("%s as %q answers %v, not just %v", d.Code, region, got, d.Posts)
				}
			}
			check(d.Code, true)
			for _, name := range d.Names {
				check(name, false)
				check(strings.ToUpper(name), false)
			}
		}
	}
}

// addresses reads testdata/addresses.tsv.
func addresses(t *testing.T) (all []consulate.Address, expected []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "addresses.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "iso2\t") {
			continue
		}
		c := strings.Split(line, "\t")
		if len(c) != 8 || c[7] == "" {
			t.Fatalf("a row without its source: %q", line)
		}
		all = append(all, consulate.Address{ISO2: c[0], Street: c[1], City: c[2], Postcode: c[3], Region: c[4], County: c[5]})
		expected = append(expected, c[6])
	}
	return all, expected
}

func described(answer consulate.Answer) string {
	if answer.Post != nil {
		return answer.Post.Key
	}
	return "?" + strings.Join(keys(answer.Candidates), ",")
}

func TestSixtyAddressesFindTheirPost(t *testing.T) {
	t.Parallel()
	all, expected := addresses(t)
	if len(all) < 60 {
		t.Fatalf("%d addresses", len(all))
	}
	unsure := 0
	for i, a := range all {
		answer := consulate.Competent(a)
		if got := described(answer); got != expected[i] {
			t.Errorf("%+v: %s (%s by %s), not %s", a, got, answer.Reason, answer.Division, expected[i])
		}
		if answer.Ambiguous {
			unsure++
		}
		if answer.Source == "" {
			t.Errorf("%+v: no source", a)
		}
	}
	if unsure*10 > len(all) {
		t.Errorf("%d of %d are ambiguous", unsure, len(all))
	}
}

func TestAnAddressWithoutItsRegionStillFindsThePost(t *testing.T) {
	t.Parallel()
	all, expected := addresses(t)
	lost := 0
	for i, a := range all {
		a.Region, a.County = "", ""
		got := described(consulate.Competent(a))
		switch {
		case got == expected[i] || strings.HasPrefix(expected[i], "?"):
		case strings.HasPrefix(got, "?"):
			lost++
			t.Logf("%s %s %s: %s, not %s", a.ISO2, a.Postcode, a.City, got, expected[i])
		default:
			t.Errorf("%+v: %s, not %s: a wrong post is worse than none", a, got, expected[i])
		}
	}
	if lost*20 > len(all) {
		t.Errorf("%d of %d addresses need their region", lost, len(all))
	}
}

func TestThePartsOfAnAddressAreWeighed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		address consulate.Address
		want    string
		reason  consulate.Reason
	}{
		"state alone is never enough": {consulate.Address{ISO2: "US"}, "?", consulate.ReasonNoClue},
		"nothing known":               {consulate.Address{ISO2: "AR", City: "Xyzzy", Region: "Nowhere"}, "?", consulate.ReasonNoClue},
		"split region":                {consulate.Address{ISO2: "US", Region: "California"}, "?us-los-angeles,us-san-francisco", consulate.ReasonSplit},
		"region in the city":          {consulate.Address{ISO2: "US", City: "Springfield, MA"}, "us-boston", consulate.ReasonRegion},
		"code behind the city":        {consulate.Address{ISO2: "BR", City: "Bragança SP"}, "br-san-paolo", consulate.ReasonRegion},
		"homonym outside the region":  {consulate.Address{ISO2: "US", City: "Portland", Region: "Maine"}, "us-boston", consulate.ReasonRegion},
		"homonym without region":      {consulate.Address{ISO2: "US", City: "Portland"}, "?us-boston,us-san-francisco", consulate.ReasonSplit},
		"homonym with postcode":       {consulate.Address{ISO2: "US", City: "Portland", Postcode: "97201"}, "us-san-francisco", consulate.ReasonPostcode},
		"city and postcode disagree":  {consulate.Address{ISO2: "DE", City: "München", Postcode: "70173"}, "?de-stoccarda,de-monaco-di-baviera", consulate.ReasonConflict},
		"all but the region agree":    {consulate.Address{ISO2: "DE", City: "München", Postcode: "80331", Region: "Hessen"}, "?de-francoforte-sul-meno,de-monaco-di-baviera", consulate.ReasonConflict},
		"lost leading zero":           {consulate.Address{ISO2: "US", Postcode: "2110"}, "us-boston", consulate.ReasonPostcode},
		"ZIP+4":                       {consulate.Address{ISO2: "US", Postcode: "90067-1234"}, "us-los-angeles", consulate.ReasonPostcode},
		"state's prefix":              {consulate.Address{ISO2: "DE", Postcode: "D-79098"}, "de-friburgo", consulate.ReasonPostcode},
		"lower-case state":            {consulate.Address{ISO2: "uk", Postcode: "ec1a 1bb"}, "gb-londra", consulate.ReasonPostcode},
		"postcode without its space":  {consulate.Address{ISO2: "GB", Postcode: "M11AE"}, "gb-manchester", consulate.ReasonPostcode},
		"Warwickshire in CV":          {consulate.Address{ISO2: "GB", Postcode: "CV34 4AA"}, "gb-londra", consulate.ReasonPostcode},
		"Coventry in CV":              {consulate.Address{ISO2: "GB", Postcode: "CV1 1AA"}, "gb-manchester", consulate.ReasonPostcode},
		"region in the county field":  {consulate.Address{ISO2: "CH", County: "Kanton Zürich"}, "ch-zurigo", consulate.ReasonRegion},
		"Italian name":                {consulate.Address{ISO2: "DE", Region: "Renania-Palatinato"}, "de-francoforte-sul-meno", consulate.ReasonRegion},
		"local script marks":          {consulate.Address{ISO2: "TR", Region: "izmir"}, "tr-izmir", consulate.ReasonRegion},
		"county written in full":      {consulate.Address{ISO2: "US", Region: "NJ", County: "Camden County"}, "us-filadelfia", consulate.ReasonCounty},
		"province with its word":      {consulate.Address{ISO2: "ES", Region: "Provincia de Alicante"}, "es-barcellona", consulate.ReasonRegion},
		"French department number":    {consulate.Address{ISO2: "FR", Region: "69"}, "fr-lione", consulate.ReasonRegion},
		"Isle of Man as kingdom":      {consulate.Address{ISO2: "GB", Postcode: "IM1 1AA"}, "gb-manchester", consulate.ReasonOnePost},
		"Jersey as kingdom":           {consulate.Address{ISO2: "GB", Postcode: "JE2 3AB"}, "gb-londra", consulate.ReasonOnePost},
		"partido that is a city too":  {consulate.Address{ISO2: "AR", City: "La Plata", Region: "Buenos Aires", County: "La Plata"}, "ar-la-plata", consulate.ReasonCounty},
		"one post":                    {consulate.Address{ISO2: "UY"}, "uy-montevideo", consulate.ReasonOnePost},
		"territory of another state":  {consulate.Address{ISO2: "GP"}, "fr-parigi", consulate.ReasonOnePost},
		"Hong Kong by itself":         {consulate.Address{ISO2: "HK"}, "cn-hong-kong", consulate.ReasonOnePost},
		"Hong Kong as part of China":  {consulate.Address{ISO2: "CN", Region: "Hong Kong"}, "cn-hong-kong", consulate.ReasonRegion},
		"Italy":                       {consulate.Address{ISO2: "IT", City: "Roma"}, "?", consulate.ReasonItaly},
		"no state":                    {consulate.Address{ISO2: "ZZ"}, "?", consulate.ReasonUnknownState},
		"empty":                       {consulate.Address{}, "?", consulate.ReasonUnknownState},
	} {
		answer := consulate.Competent(c.address)
		got := described(answer)
		if c.reason == consulate.ReasonNoClue {
			serving, _ := consulate.PostsServing(c.address.ISO2)
			if len(answer.Candidates) != len(serving) {
				t.Errorf("%s: %d candidates of %d", name, len(answer.Candidates), len(serving))
			}
			got = "?"
		}
		if got != c.want || answer.Reason != c.reason {
			t.Errorf("%s: %s by %s (%s), not %s by %s", name, got, answer.Reason, answer.Division, c.want, c.reason)
		}
		if answer.Ambiguous != (answer.Post == nil && len(answer.Candidates) > 0) {
			t.Errorf("%s: ambiguous is %v", name, answer.Ambiguous)
		}
	}
}

const (
	postsHead     = "codice_consolato,cod_mae_stato,stato_appartenenza,sede,rango,indirizzo\n"
	districtsHead = "cod_istat_stato_residenza,stato_residenza,codice_consolato,rango,sede,cod_mae_stato,stato_appartenenza\n"
)

func TestTheOfficialTableOfPostsDiffersOnlyAsKnown(t *testing.T) {
	t.Parallel()
	data := shared(t, "consolati.csv")
	if data == nil {
		return
	}
	report, err := consulate.ImportPosts(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if report.Rows != 197 || report.Same != 197 {
		t.Errorf("%d of %d rows are the same", report.Same, report.Rows)
	}
	var got []string
	for _, c := range report.Changes {
		got = append(got, c.Kind+" "+c.Code)
	}
	// Nuremberg closed before the table; Arona opened after it (spec 5.3, B.2.1).
	if want := []string{"missing 2301204", "missing 2483705"}; !slices.Equal(got, want) {
		t.Errorf("the table differs by %v, not %v", got, want)
	}
}

func TestTheOfficialTableOfDistrictsDiffersOnlyAsKnown(t *testing.T) {
	t.Parallel()
	data := shared(t, "consolati_competenza_territoriale.csv")
	if data == nil {
		return
	}
	report, err := consulate.ImportDistricts(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if report.Rows != 308 {
		t.Errorf("%d rows", report.Rows)
	}
	var got []string
	for _, c := range report.Changes {
		got = append(got, c.Kind+" "+c.State+" "+c.Key)
	}
	want := []string{
		// Posts and districts that changed after 2015, each with its source in the tables.
		"added AG pa-panama", "added BE be-bruxelles-amb", "added BF ci-abidjan", "added DO pa-panama", "added ES es-madrid-amb",
		"added FM au-canberra", "added GN sn-dakar", "added HT pa-panama", "added IM gb-londra", "added KN pa-panama",
		"added MH nz-wellington", "added ML sn-dakar", "added MN cn-pechino", "added MR ma-rabat", "added NE ci-abidjan",
		"missing AG do-santo-domingo", "missing BE be-bruxelles-cg", "missing BF bf-ouagadougou", "missing DO do-santo-domingo",
		"missing ES es-madrid-cg", "missing ES es-arona", "missing FM ph-manila", "missing GB gb-manchester", "missing GN gn-conakry",
		"missing HT do-santo-domingo", "missing IM gb-manchester", "missing IN in-bangalore", "missing KN do-santo-domingo",
		"missing LY ly-bengasi", "missing MH ph-manila", "missing ML ml-bamako", "missing MN mn-ulan-bator",
		"missing MR mr-nouakchott", "missing NE ne-niamey",
		"rank_changed BQ us-miami", // the table's own slip
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the table differs by\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(report.Unplaced) > 2 {
		t.Errorf("unplaced: %v", report.Unplaced)
	}
}

func TestAWrongRowRefusesTheWholeTableOfPosts(t *testing.T) {
	t.Parallel()
	good := "2290103,229,FRANCIA,PARIGI,CONSOLATO GENERALE D'ITALIA,\"5, BOULEVARD\"\n"
	for name, c := range map[string]struct {
		table string
		code  string
		line  int
		field string
	}{
		"no header":       {good, consulate.ProblemHeader, 1, ""},
		"other header":    {districtsHead + good, consulate.ProblemHeader, 1, ""},
		"empty":           {"", consulate.ProblemNoRows, 0, ""},
		"header alone":    {postsHead, consulate.ProblemNoRows, 0, ""},
		"short code":      {postsHead + good + "229010,229,FRANCIA,X,AMBASCIATA,Y\n", consulate.ProblemCode, 3, "codice_consolato"},
		"letters":         {postsHead + good + "22901AA,229,FRANCIA,X,AMBASCIATA,Y\n", consulate.ProblemCode, 3, "codice_consolato"},
		"other state":     {postsHead + good + "2300100,229,FRANCIA,X,AMBASCIATA,Y\n", consulate.ProblemMAE, 3, "cod_mae_stato"},
		"unknown state":   {postsHead + good + "9990100,999,UTOPIA,X,AMBASCIATA,Y\n", consulate.ProblemState, 3, "cod_mae_stato"},
		"rank and text":   {postsHead + good + "2290200,229,FRANCIA,X,CONSOLATO D'ITALIA,Y\n", consulate.ProblemRank, 3, "rango"},
		"unknown rank":    {postsHead + good + "2290277,229,FRANCIA,X,CONSOLATO D'ITALIA,Y\n", consulate.ProblemRank, 3, "rango"},
		"duplicate":       {postsHead + good + good, consulate.ProblemDuplicate, 3, "codice_consolato"},
		"no seat":         {postsHead + good + "2290200,229,FRANCIA, ,AMBASCIATA,Y\n", consulate.ProblemEmpty, 3, "sede"},
		"too few cells":   {postsHead + good + "2290200,229\n", consulate.ProblemCSV, 3, ""},
		"broken quote":    {postsHead + good + "\"2290200,229\n", consulate.ProblemCSV, 3, ""},
		"not UTF-8":       {postsHead + good + "2290200,229,FRANCIA,\xff,AMBASCIATA,Y\n", consulate.ProblemUTF8, 3, ""},
		"too large":       {postsHead + strings.Repeat(" ", 5<<20), consulate.ProblemTooLarge, 0, ""},
		"bad cell before": {postsHead + "2290200,229\n" + good, consulate.ProblemCSV, 2, ""},
	} {
		report, err := consulate.ImportPosts(strings.NewReader(c.table))
		var refused *consulate.ImportError
		if !errors.As(err, &refused) || len(refused.Problems) == 0 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p := refused.Problems[0]; p.Code != c.code || p.Line != c.line || p.Field != c.field {
			t.Errorf("%s: %+v", name, p)
		}
		if report.Rows != 0 || len(report.Changes) != 0 {
			t.Errorf("%s: a refused table is reported on: %+v", name, report)
		}
	}
}

func TestATableOfPostsReportsWhatItWouldChange(t *testing.T) {
	t.Parallel()
	table := "\uFEFF" + postsHead +
		"2290103,229,FRANCIA,PARIGI,CONSOLATO GENERALE D''ITALIA,A\r\n" + // same, with the register's doubled apostrophe
		"2290303,229,FRANCIA,LIONE SUL RODANO,CONSOLATO GENERALE D'ITALIA,B\r\n" +
		"2290404,229,FRANCIA,MARSIGLIA,CONSOLATO D'ITALIA,C\r\n" +
		"2292203,229,FRANCIA,LILLA,CONSOLATO GENERALE D'ITALIA,D\r\n"
	report, err := consulate.ImportPosts(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	if report.Rows != 4 || report.Same != 1 {
		t.Errorf("%d rows, %d the same", report.Rows, report.Same)
	}
	for _, want := range []consulate.Change{
		{Kind: consulate.ChangeAdded, Code: "2292203", Theirs: "LILLA"},
		{Kind: consulate.ChangeRenamed, Code: "2290303", Key: "fr-lione", Ours: "LIONE", Theirs: "LIONE SUL RODANO"},
		{Kind: consulate.ChangeRankChanged, Code: "2290403", Key: "fr-marsiglia", Ours: "consulate_general", Theirs: "consulate"},
		{Kind: consulate.ChangeMissing, Code: "2290503", Key: "fr-nizza", Ours: "NIZZA"},
	} {
		if !slices.Contains(report.Changes, want) {
			t.Errorf("%+v is not reported", want)
		}
	}
}

func TestAWrongRowRefusesTheWholeTableOfDistricts(t *testing.T) {
	t.Parallel()
	good := "215,FRANCIA,2290103,CONSOLATO GENERALE D'ITALIA,PARIGI,229,FRANCIA\n"
	for name, c := range map[string]struct {
		row  string
		code string
	}{
		"unknown state":  {"999,X,2290103,AMBASCIATA,PARIGI,229,FRANCIA\n", consulate.ProblemState},
		"code":           {"215,X,229010,AMBASCIATA,PARIGI,229,FRANCIA\n", consulate.ProblemCode},
		"code's state":   {"215,X,9990103,AMBASCIATA,PARIGI,229,FRANCIA\n", consulate.ProblemMAE},
		"MAE":            {"215,X,2290303,AMBASCIATA,PARIGI,999,FRANCIA\n", consulate.ProblemState},
		"rank":           {"215,X,2290303,UFFICIO POSTALE,PARIGI,229,FRANCIA\n", consulate.ProblemRank},
		"duplicate":      {good, consulate.ProblemDuplicate},
		"empty name":     {"215,,2290303,AMBASCIATA,PARIGI,229,FRANCIA\n", consulate.ProblemEmpty},
		"too many cells": {"215,FRANCIA,2290303,AMBASCIATA,PARIGI,229,FRANCIA,X\n", consulate.ProblemCSV},
	} {
		report, err := consulate.ImportDistricts(strings.NewReader(districtsHead + good + c.row))
		var refused *consulate.ImportError
		if !errors.As(err, &refused) || !slices.ContainsFunc(refused.Problems, func(p consulate.Problem) bool { return p.Code == c.code && p.Line == 3 }) {
			t.Errorf("%s: %v", name, err)
		}
		if report.Rows != 0 {
			t.Errorf("%s: a refused table is reported on", name)
		}
	}
	report, err := consulate.ImportDistricts(strings.NewReader(districtsHead + good))
	if err != nil || report.Same != 1 || len(report.Changes) != 4 {
		t.Errorf("Paris alone for France: %+v, %v; four posts of ours are missing there", report, err)
	}
}

func TestAReaderThatFailsIsReportedAsSuch(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	for _, read := range []func() error{
		func() error { _, err := consulate.ImportPosts(failingReader{broken}); return err },
		func() error { _, err := consulate.ImportDistricts(failingReader{broken}); return err },
	} {
		if err := read(); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func FuzzImportPosts(f *testing.F) {
	f.Add([]byte(postsHead + "2290103,229,FRANCIA,PARIGI,CONSOLATO GENERALE D'ITALIA,\"5, BOULEVARD\"\n"))
	f.Add([]byte(postsHead + "2290103,229\n\"x"))
	f.Add([]byte("\uFEFF" + postsHead))
	f.Fuzz(func(t *testing.T, data []byte) {
		report, err := consulate.ImportPosts(bytes.NewReader(data))
		mustBeAllOrNothing(t, data, report, err)
	})
}

func FuzzImportDistricts(f *testing.F) {
	f.Add([]byte(districtsHead + "215,FRANCIA,2290103,CONSOLATO GENERALE D'ITALIA,PARIGI,229,FRANCIA\n"))
	f.Add([]byte(districtsHead + "540,\"BONAIRE, SABA\",2812403,CONSOLATO D'ITALIA,MIAMI,242,PAESI BASSI\r\n"))
	f.Add([]byte(districtsHead + "325,GERUSALEMME,3170203,CONSOLATO GENERALE D'ITALIA,GERUSALEMME,888,CIRCOSCRIZIONE AUTONOMA\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		report, err := consulate.ImportDistricts(bytes.NewReader(data))
		mustBeAllOrNothing(t, data, report, err)
	})
}

// mustBeAllOrNothing holds for any input: a refusal names problems and reports
// nothing, an acceptance counts every record.
func mustBeAllOrNothing(t *testing.T, data []byte, report consulate.Report, err error) {
	t.Helper()
	if err != nil {
		var refused *consulate.ImportError
		if !errors.As(err, &refused) || len(refused.Problems) == 0 || len(refused.Problems) > 100 {
			t.Fatalf("a refusal without its problems: %v", err)
		}
		if report.Rows != 0 || report.Changes != nil {
			t.Fatalf("refused and reported on: %+v", report)
		}
		return
	}
	records, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\uFEFF")))).ReadAll()
	if err != nil || len(records) != report.Rows+1 {
		t.Fatalf("accepted with %d rows; the file has %d records (%v)", report.Rows, len(records), err)
	}
}

func FuzzCompetent(f *testing.F) {
	f.Add("AR", "Banfield", "B1828", "Buenos Aires", "Lomas de Zamora")
	f.Add("US", "Springfield, MA", "01101-1234", "", "")
	f.Add("GB", "", "EC1A 1BB", "England", "")
	f.Add("DE", "Köln (Ehrenfeld)", "D-50823", "NRW", "")
	f.Fuzz(func(t *testing.T, iso2, city, postcode, region, county string) {
		answer := consulate.Competent(consulate.Address{ISO2: iso2, City: city, Postcode: postcode, Region: region, County: county})
		serving, _ := consulate.PostsServing(iso2)
		switch {
		case answer.Reason == "":
			t.Fatal("an answer without its reason")
		case answer.Ambiguous != (answer.Post == nil && len(answer.Candidates) > 0):
			t.Fatalf("ambiguous is %v: %+v", answer.Ambiguous, answer)
		case answer.Post != nil && !slices.Contains(keys(serving), answer.Post.Key):
			t.Fatalf("%s does not serve the state", answer.Post.Key)
		case answer.Post == nil && len(serving) > 0 && len(answer.Candidates) < 2:
			t.Fatalf("no post and %d candidates", len(answer.Candidates))
		}
	})
}
