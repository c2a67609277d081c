package policies

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// tinySet returns the smallest files that load: the shipped ones.
func tinySet(t *testing.T) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	names, err := fs.Glob(ShippedFS(), "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		b, err := fs.ReadFile(ShippedFS(), n)
		if err != nil {
			t.Fatal(err)
		}
		out[n] = &fstest.MapFile{Data: b}
	}
	return out
}

const extraRule = `rules:
  - key: delivery.comune.CONSULATE
    scope: country:AR
    value: allow
    valid_from: 2027-01-01
    legal_ref: "test"
    status: provisional
    source: "test"
    reason:
      it: "prova"
      en: "test"
`

func TestAnExtraCountryRuleLoadsAndWinsOverTheDefault(t *testing.T) {
	t.Parallel()
	files := tinySet(t)
	files["90-extra.yaml"] = &fstest.MapFile{Data: []byte(extraRule)}
	s, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	if s.Hash() == Shipped().Hash() {
		t.Error("another set has the same hash")
	}
	before, after := rome2(t, "2026-12-31T23:59"), rome2(t, "2027-01-01T00:00")
	for _, c := range []struct {
		on   Facts
		want bool
	}{{plainFacts(before, "AR"), false}, {plainFacts(after, "AR"), true}, {plainFacts(after, "UY"), false}} {
		d := s.Decide(c.on)
		if o := d.Options.For(DeliveryConsulate); o.Allowed != c.want {
			t.Errorf("%s on %s: %+v", c.on.ResidenceCountry, c.on.On, o)
		}
	}
}

func TestTheMostSpecificRuleWinsAndGivesWayWhenItEnds(t *testing.T) {
	t.Parallel()
	files := tinySet(t)
	files["90-extra.yaml"] = &fstest.MapFile{Data: []byte(extraRule + strings.ReplaceAll(`
  - key: delivery.comune.CONSULATE
    scope: [post:AR/ar-cordoba]
    value: refuse
    code: test.post
    valid_from: 2028-01-01
    valid_to: 2029-01-01
    legal_ref: "test"
    reason: {it: prova, en: test}
  - key: delivery.comune.CONSULATE
    scope: group:europe
    value: allow
    code: test.group
    valid_from: 2028-01-01
    legal_ref: "test"
    reason: {it: prova, en: test}
  - key: delivery.comune.CONSULATE
    scope: country:FR
    value: refuse
    code: test.country
    valid_from: 2029-01-01
    legal_ref: "test"
    reason: {it: prova, en: test}
`, "\t", ""))}
	s, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		on, country, post, code string
	}{
		{"2027-06-01T00:00", "AR", "ar-cordoba", "delivery.comune.CONSULATE"},
		{"2028-01-01T00:00", "AR", "ar-cordoba", "test.post"},
		{"2028-01-01T00:00", "AR", "ar-rosario", "delivery.comune.CONSULATE"},
		{"2028-12-31T23:59", "AR", "ar-cordoba", "test.post"},
		{"2029-01-01T00:00", "AR", "ar-cordoba", "delivery.comune.CONSULATE"},
		{"2027-12-31T23:59", "FR", "", "delivery.consulate_no_local_need"},
		{"2028-01-01T00:00", "FR", "", "test.group"},
		{"2029-01-01T00:00", "FR", "", "test.country"},
		{"2029-01-01T00:00", "DE", "", "test.group"},
		{"2029-01-01T00:00", "US", "us-boston", "delivery.consulate_no_local_need"},
	} {
		f := plainFacts(rome2(t, c.on), c.country)
		f.Post = c.post
		d := s.Decide(f)
		if got := d.Options.For(DeliveryConsulate).Code; got != c.code {
			t.Errorf("%s %s %s: got %s, want %s", c.on, c.country, c.post, got, c.code)
		}
	}
}

func TestEachDefectOfARuleFileIsNamedWithFileAndLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from, to string // replaced in extraRule; or from "" and to is the whole file
		code     string
		line     int
	}{
		"unknown key":                 {"delivery.comune.CONSULATE", "delivery.comune.MOON", CodeLoadKey, 2},
		"unknown member":              {"    status: provisional", "    colour: red\n    status: provisional", CodeLoadMember, 7},
		"member twice":                {"    status: provisional", "    value: allow\n    status: provisional", CodeLoadSyntax, 7},
		"unknown top member":          {"rules:", "rulez:", CodeLoadMember, 1},
		"unknown language":            {"      en: ", "      de: ", CodeLoadMember, 11},
		"missing English":             {"      en: \"test\"\n", "", CodeLoadText, 2},
		"blank Italian":               {"it: \"prova\"", "it: \"  \"", CodeLoadText, 2},
		"missing reason":              {"    reason:\n      it: \"prova\"\n      en: \"test\"\n", "", CodeLoadText, 2},
		"missing legal reference":     {"    legal_ref: \"test\"\n", "", CodeLoadMissing, 2},
		"empty legal reference":       {"legal_ref: \"test\"", "legal_ref: \" \"", CodeLoadMissing, 2},
		"missing value":               {"    value: allow\n", "", CodeLoadMissing, 2},
		"missing scope":               {"    scope: country:AR\n", "", CodeLoadMissing, 2},
		"missing date":                {"    valid_from: 2027-01-01\n", "", CodeLoadMissing, 2},
		"provisional without source":  {"    source: \"test\"\n", "", CodeLoadMissing, 2},
		"day that does not exist":     {"2027-01-01", "2027-02-29", CodeLoadDate, 5},
		"date in another order":       {"2027-01-01", "01-01-2027", CodeLoadDate, 5},
		"date with a zone":            {"2027-01-01", "2027-01-01T00:00Z", CodeLoadDate, 5},
		"year out of range":           {"2027-01-01", "9999-01-01", CodeLoadDate, 5},
		"unknown named date":          {"2027-01-01", "some_day", CodeLoadDate, 5},
		"end before start":            {"valid_from: 2027-01-01", "valid_from: 2027-01-01\n    valid_to: 2027-01-01", CodeLoadDate, 2},
		"unknown verdict":             {"value: allow", "value: maybe", CodeLoadValue, 4},
		"value of another kind":       {"value: allow", "value: [allow]", CodeLoadSyntax, 4},
		"needs without a list":        {"value: allow", "value: needs", CodeLoadMissing, 4},
		"needs for an allowance":      {"value: allow", "value: allow\n    needs: [x]", CodeLoadValue, 4},
		"unknown status":              {"status: provisional", "status: draft", CodeLoadValue, 7},
		"unknown country":             {"country:AR", "country:ZZ", CodeLoadCountry, 2},
		"small letters":               {"country:AR", "country:ar", CodeLoadScope, 2},
		"unknown group":               {"country:AR", "group:moon", CodeLoadScope, 2},
		"unknown scope":               {"country:AR", "planet:AR", CodeLoadScope, 2},
		"post of an unknown country":  {"country:AR", "post:ZZ/x", CodeLoadCountry, 2},
		"empty scope list":            {"scope: country:AR", "scope: []", CodeLoadScope, 2},
		"key that no place may set":   {"delivery.comune.CONSULATE", "validity.adult_years", CodeLoadValue, 4},
		"same rule twice":             {"country:AR", "[country:AR, country:AR]", CodeLoadScope, 2},
		"overlap with another file":   {"scope: country:AR", "scope: default", CodeLoadOverlap, 2},
		"two groups for one country":  {"scope: country:AR", "scope: group:rival", CodeLoadAmbiguous, 2},
		"not a mapping":               {"", "- a\n- b\n", CodeLoadSyntax, 1},
		"empty file":                  {"", "", CodeLoadSyntax, 1},
		"broken YAML":                 {"", "rules:\n  - key: [\n", CodeLoadSyntax, 2},
		"two documents":               {"", "rules: []\n---\nrules: []\n", CodeLoadSyntax, 3},
		"invalid UTF-8":               {"test", "te\xffst", CodeLoadSyntax, 0},
		"rules are no list":           {"", "rules: 3\n", CodeLoadSyntax, 1},
		"an anchor":                   {"value: allow", "value: &a allow", CodeLoadSyntax, 4},
		"country twice":               {"", "countries: [AR]\n", CodeLoadCountry, 1},
		"group with unknown country":  {"", "groups:\n  g: [ZZ]\n", CodeLoadCountry, 0},
		"named date twice":            {"", "dates:\n  paper_end: 2026-08-03\n", CodeLoadRepeated, 2},
		"named date that is no date":  {"", "dates:\n  soon: tomorrow\n", CodeLoadDate, 2},
		"rule that can never be used": {"", strings.Replace(unreachable, "X", "", 1), CodeLoadUnreachable, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := tinySet(t)
			text := c.to
			if c.from != "" {
				text = strings.Replace(extraRule, c.from, c.to, 1)
				if text == extraRule {
					t.Fatal("the case changes nothing")
				}
			}
			if strings.Contains(text, "group:rival") {
				text = "groups: {rival: [CU, KE]}\n" + strings.Replace(text, "2027-01-01", "2026-01-01", 1)
				c.line++
			}
			files["90-extra.yaml"] = &fstest.MapFile{Data: []byte(text)}
			_, err := Load(files)
			var all LoadErrors
			if !errors.As(err, &all) {
				t.Fatalf("got %v", err)
			}
			for _, e := range all {
				if e.Code == c.code && e.Line == c.line && (e.File == "90-extra.yaml" || e.Line == 0) {
					return
				}
			}
			t.Errorf("want %s at line %d, got:\n%v", c.code, c.line, err)
		})
	}
}

// unreachable: every country of a group has its own rule for the whole time.
const unreachable = `groups:
  pair: [AR, UY]
rules:
  - key: delivery.comune.CONSULATE
    scope: group:pair
    value: allow
    valid_from: 2027-01-01
    legal_ref: "test"
    reason: {it: prova, en: test}
  - key: delivery.comune.CONSULATE
    scope: [country:AR, country:UY]
    value: refuse
    valid_from: 2027-01-01
    legal_ref: "test"
    reason: {it: prova, en: test}
`

func TestAGapInTheDefaultRulesIsRefused(t *testing.T) {
	t.Parallel()
	files := tinySet(t)
	name := "40-validity.yaml"
	files[name] = &fstest.MapFile{Data: []byte(strings.Replace(string(files[name].Data), "valid_to: over70_start", "valid_to: 2026-07-29", 1))}
	_, err := Load(files)
	var e *LoadError
	if !errors.As(err, &e) || e.Code != CodeLoadGap || !strings.Contains(e.Detail, "2026-07-29") {
		t.Errorf("got %v", err)
	}
}

func TestAFolderWithoutRulesIsNoRuleSet(t *testing.T) {
	t.Parallel()
	if _, err := Load(fstest.MapFS{"readme.txt": {Data: []byte("x")}}); err == nil {
		t.Error("loaded")
	}
}

func TestEveryDefectIsReportedAtOnceInOrder(t *testing.T) {
	t.Parallel()
	files := tinySet(t)
	bad := strings.Replace(extraRule, "value: allow", "value: maybe", 1)
	bad = strings.Replace(bad, "2027-01-01", "never", 1)
	files["90-extra.yaml"] = &fstest.MapFile{Data: []byte(bad)}
	files["91-extra.yaml"] = &fstest.MapFile{Data: []byte("x: 1\n")}
	_, err := Load(files)
	var all LoadErrors
	if !errors.As(err, &all) || len(all) != 3 {
		t.Fatalf("got %v", err)
	}
	if all[0].Line != 4 || all[1].Line != 5 || all[2].File != "91-extra.yaml" {
		t.Errorf("out of order: %v", err)
	}
}

// FuzzLoad feeds one more file to the shipped set: Load must answer with a set
// that decides, or with errors, and never panic.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(extraRule))
	f.Add([]byte(unreachable))
	f.Add([]byte("rules:\n  - &a {key: x}\n  - *a\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("rules: [[[[[[{"))
	f.Add([]byte("a: !!binary x\n<<: {}\n"))
	names, err := fs.Glob(ShippedFS(), "*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	small := fstest.MapFS{}
	for _, n := range names {
		b, err := fs.ReadFile(ShippedFS(), n)
		if err != nil {
			f.Fatal(err)
		}
		small[n] = &fstest.MapFile{Data: b}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		files := fstest.MapFS{"90-extra.yaml": {Data: b}}
		for n, m := range small {
			files[n] = m
		}
		s, err := Load(files)
		if err != nil {
			var all LoadErrors
			if !errors.As(err, &all) || len(all) == 0 {
				t.Fatalf("not LoadErrors: %v", err)
			}
			return
		}
		d := s.Decide(plainFacts(rome2(t, "2026-11-21T12:00"), "AR"))
		for _, o := range d.Options {
			if o.Rule == "" {
				t.Fatal("an option without a rule")
			}
		}
	})
}

func TestFilesEqualToTheShippedOnesAnswerTheShippedSet(t *testing.T) {
	t.Parallel()
	s, err := Load(ShippedFS())
	if err != nil || s != Shipped() {
		t.Errorf("the shipped files answer another set than Shipped (%v)", err)
	}
	fresh, err := shippedFiles().load()
	if err != nil || fresh == s || fresh.Hash() != s.Hash() || len(fresh.Rules()) != len(s.Rules()) {
		t.Errorf("the files load to another set than the one that is shared (%v)", err)
	}
	files := fstest.MapFS{}
	for name, b := range shippedFiles().contents {
		files[name] = &fstest.MapFile{Data: b}
	}
	files["zz.yaml/inside"] = &fstest.MapFile{}
	_, err = Load(files)
	var wrong LoadErrors
	if !errors.As(err, &wrong) || len(wrong) != 1 || wrong[0].File != "zz.yaml" || wrong[0].Code != CodeLoadRead {
		t.Errorf("beside the shipped files one that cannot be read: %v", err)
	}
	delete(files, "zz.yaml/inside")
	last := shippedFiles().names[len(shippedFiles().names)-1]
	files[last] = &fstest.MapFile{Data: append(slices.Clone(files[last].Data), '\n')}
	other, err := Load(files)
	if err != nil || other == s || other.Hash() == s.Hash() {
		t.Errorf("one more byte answers the shipped set (%v)", err)
	}
}
