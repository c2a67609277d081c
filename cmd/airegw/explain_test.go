package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"airegw/delivery"
	"airegw/policies"
)

func TestEveryISOCodeOfTheRegistryIsExplained(t *testing.T) {
	t.Parallel()
	code, out, _ := airegw(t, "", "registry", "states", "--json")
	if code != 0 {
		t.Fatalf("registry states: exit %d", code)
	}
	codes := []string{"IT"}
	for line := range strings.Lines(out) {
		var s stateLine
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		if s.ISO2 != "" {
			codes = append(codes, s.ISO2)
		}
	}
	if len(codes) < 230 {
		t.Fatalf("only %d codes", len(codes))
	}
	for _, iso2 := range codes {
		for _, channel := range []string{"comune", "post"} {
			code, out, text := airegw(t, "", "explain", "--country", iso2, "--channel", channel, "--on", "2026-11-21", "--json")
			var a struct {
				Outcome    string                                   `json:"outcome"`
				LegalBasis string                                   `json:"legal_basis"`
				Expiry     string                                   `json:"expiry"`
				Options    map[policies.DeliveryOption]optionAnswer `json:"options"`
				Country    countryName                              `json:"country"`
			}
			err := json.Unmarshal([]byte(out), &a)
			if code != 0 || err != nil || a.Outcome != "accepted" || a.LegalBasis == "" || a.Expiry != "2036-11-21" || a.Country.IT == "" || len(a.Options) != 4 {
				t.Errorf("%s %s: exit %d, %v\n%s%s", iso2, channel, code, err, out, text)
				continue
			}
			possible := false
			for option, o := range a.Options {
				possible = possible || o.Allowed
				if o.Rule == "" || o.LegalRef == "" || o.Reason.IT == "" || o.Reason.EN == "" || o.Allowed != (o.Expected != nil) {
					t.Errorf("%s %s %s: got %+v", iso2, channel, option, o)
				}
			}
			if !possible {
				t.Errorf("%s %s: no delivery is possible", iso2, channel)
			}
		}
	}
}

func TestExplainExitsWithTwoForWrongUsageOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code int
		args string
	}{
		"a refusal":             {0, "--country AR --on 2026-05-31"},
		"IT":                    {0, "--country IT"},
		"lower case":            {0, "--country ar"},
		"an instant":            {0, "--country AR --on 2026-06-01T00:00:00+02:00"},
		"a birth date":          {0, "--country AR --birth-date 1980-11-20 --reason theft --delivery CONSULATE"},
		"a post":                {0, "--country AR --channel post --post ar-cordoba"},
		"an unknown post":       {2, "--country AR --channel post --post ar-nowhere"},
		"an unknown code":       {2, "--country XX"},
		"three letters":         {2, "--country ARG"},
		"an unknown channel":    {2, "--country AR --channel embassy"},
		"an unknown reason":     {2, "--country AR --reason boredom"},
		"an unknown delivery":   {2, "--country AR --delivery MOON"},
		"a bad day":             {2, "--country AR --on 2026-02-30"},
		"a bad birth date":      {2, "--country AR --birth-date 20.11.1980"},
		"born tomorrow":         {2, "--country AR --on 2026-11-21 --birth-date 2026-11-22"},
		"two ages":              {2, "--country AR --birth-date 1980-11-20 --age 46"},
		"a negative age":        {2, "--country AR --age=-1"},
		"nothing":               {2, ""},
		"country and request":   {2, "--country AR R26-000000000"},
		"two requests":          {2, "R26-000000000 R26-000000001"},
		"an unknown kind":       {2, "colour -"},
		"no such rules":         {2, "--country AR --rules testdata/nowhere"},
		"no such database":      {1, "R26-000000000 --database testdata/nowhere.db"},
		"no line is no problem": {0, "-"},
	} {
		code, _, text := airegw(t, "", append([]string{"explain"}, strings.Fields(c.args)...)...)
		if code != c.code || (code == 0) != (text == "") {
			t.Errorf("%s: exit %d, %s", name, code, text)
		}
	}
}

func TestExplainIsReadableByPeople(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]string{
		"ar-comune-34.txt":      "--country AR --channel comune --age 34 --on 2026-11-21",
		"ke-comune-child.txt":   "--country KE --channel comune --age 9 --on 2026-11-21 --delivery IT_ADDRESS",
		"ch-post-before.txt":    "--country CH --channel post --age 71 --on 2026-07-29 --reason theft --expatriation not_declared",
		"af-comune-refused.txt": "--country AF --channel comune --age 40 --on 2026-05-31 --delivery FOREIGN_RESIDENCE",
	} {
		code, out, text := airegw(t, "", append([]string{"explain"}, strings.Fields(args)...)...)
		if code != 0 {
			t.Errorf("%s: exit %d, %s", name, code, text)
		}
		golden(t, "explain/"+name, out)
	}
}

func TestTheFactsOfAnAnswerAreASituationWithTheSameAnswer(t *testing.T) {
	t.Parallel()
	code, out, text := airegw(t, "", "explain", "--country", "AR", "--age", "12", "--reason", "loss", "--delivery", "IT_ADDRESS", "--on", "2026-11-21", "--json")
	if code != 0 {
		t.Fatal(text)
	}
	var a struct {
		Facts   json.RawMessage `json:"facts"`
		Outcome string          `json:"outcome"`
		Reasons []string        `json:"reasons"`
		Fee     json.Number     `json:"fee_eur"`
	}
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatal(err)
	}
	_, out, _ = airegw(t, string(a.Facts)+"\n", "explain", "-")
	var b policies.Explanation
	if err := json.Unmarshal([]byte(out), &b); err != nil || b.Outcome != a.Outcome || fmt.Sprint(b.Reasons) != fmt.Sprint(a.Reasons) || b.FeeEUR != a.Fee {
		t.Errorf("got %s for %s (%v)", out, a.Facts, err)
	}
}

func TestAnAgeIsCompletedOnTheDayItself(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ day, age, want string }{
		{"2026-11-21", "34", "1992-11-21"}, {"2028-02-29", "1", "2027-02-28"}, {"2028-02-29", "4", "2024-02-29"}, {"2026-11-21", "0", "2026-11-21"},
	} {
		day, err := policies.ParseDate(c.day)
		if err != nil {
			t.Fatal(err)
		}
		var age int
		if _, err := fmt.Sscan(c.age, &age); err != nil {
			t.Fatal(err)
		}
		if got := bornOn(day, age); got.String() != c.want {
			t.Errorf("%s aged %s: got %s", c.day, c.age, got)
		}
	}
}

// lines runs a JSON Lines kind over inputs and compares each answer with a part
// it must hold; a part that ends the answer is written with its brace.
func checkLines(t *testing.T, args []string, cases [][2]string) {
	t.Helper()
	var input strings.Builder
	for _, c := range cases {
		input.WriteString(c[0] + "\n")
	}
	code, out, text := airegw(t, input.String(), append([]string{"explain"}, args...)...)
	answers := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if code != 0 || text != "" || len(answers) != len(cases) {
		t.Fatalf("exit %d, %d answers to %d lines: %s\n%s", code, len(answers), len(cases), text, out)
	}
	for i, c := range cases {
		if !json.Valid([]byte(answers[i])) || !strings.Contains(answers[i], c[1]) {
			t.Errorf("%s\ngot  %s\nwant %s", c[0], answers[i], c[1])
		}
	}
}

func TestSituationsAreAnsweredLineByLine(t *testing.T) {
	t.Parallel()
	base := `"on":"2026-11-21T12:00:00+01:00","channel":"comune","residence_country":"AR"`
	person := `"register_subjects":1,"expatriation":"declared","person":{"birth_date":"1980-11-20","aire":true,"citizenship":"IT","alive":true,"cf_validated":true,` +
		`"existing_card":{"kind":"paper","state":"valid","expires":"2028-11-20"}}`
	given := func(rules string) string { return `{` + base + `,"reason":"first_issue","given_policy":` + rules + `}` }
	checkLines(t, []string{"-"}, [][2]string{
		{`{` + base + `,"reason":"first_issue",` + person + `}`, `{"outcome":"accepted","reasons":[],"needs":[],"options":{"COMUNE_PICKUP":{"allowed":true,`},
		{`{` + base + `,"reason":"first_issue",` + person + `}`, `"expiry":"2036-11-20","fee_eur":22.21,"print_note":null,"legal_basis":"L. 11/2026 art. 5(2)"`},
		{`{` + base + `,"reason":"loss",` + person + `,"evidence":[],"requested_delivery":"CONSULATE","delegate":false,"urgency":"","requested_document":"cie"}`, `{"outcome":"refused","reasons":["reason.evidence_missing","delivery.consulate_no_local_need"]`},
		{`{` + base + `,"reason":"changed_data",` + person + `,"changed":["surname"],"birth_act_transcribed":true,"office_is_aire_comune":false,"requesting_comune":"058091","pickup_comune":"058091","italian_address":true,"foreign_address_equals_register":true,"open_request_elsewhere":false,"has_minor_children":false,"other_parent_assent":null,"parents_assent":""}`, `"outcome":"`},
		{`{` + base + `,"reason":"first_issue",` + person + `,"requested_delivery":"CONSULATE","given_policy":{"country":"AR","option":"CONSULATE","channel":"comune","allowed":true,"reason_code":"delivery.consulate_local_need","reason_text":{"it":"a","en":"b"},"legal_ref":"X","valid_from":"2026-11-01"}}`, `"outcome":"accepted"`},
		{`{` + base + `,"reason":"first_issue",` + person + `,"requested_delivery":"FOREIGN_RESIDENCE","on_chosen":"2026-11-01T10:00:00Z","given_policy":[{"country":"AR","option":"FOREIGN_RESIDENCE","allowed":false,"valid_from":"2026-11-15"}]}`, `"outcome":"asked_again"`},
		{`{` + base + `,"reason":"first_issue","colour":"red"}`, `{"error":{"code":"unknown_member","field":"colour"`},
		{`{` + base + `,"reason":"first_issue","person":{"existing_card":{"number":1}}}`, `{"error":{"code":"unknown_member","field":"person.existing_card.number"`},
		{`{` + base + `,"Reason":"first_issue"}`, `{"error":{"code":"unknown_member","field":"Reason"`},
		{`{` + base + `,"reason":"first_issue","given_policy":{"option":"CONSULATE","colour":1}}`, `{"error":{"code":"unknown_member","field":"given_policy.colour"`},
		{`{` + base + `,"reason":"first_issue","given_policy":{"option":"CONSULATE","country":"ZZ"}}`, `{"error":{"code":"required","field":"given_policy.allowed"`},
		{given(`{"option":"CONSULATE","country":"ZZ","allowed":true}`), `{"error":{"code":"unknown_country","field":"given_policy"`},
		{given(`{"option":"MOON","allowed":true}`), `{"error":{"code":"unknown_value","field":"given_policy.option"`},
		{given(`[{"option":"CONSULATE","allowed":true},{"option":"CONSULATE","allowed":"yes"}]`), `{"error":{"code":"wrong_type","field":"given_policy[1].allowed"`},
		{given(`{"option":"CONSULATE","allowed":true,"valid_from":"soon"}`), `{"error":{"code":"bad_date","field":"given_policy.valid_from"`},
		{given(`{"option":"CONSULATE","allowed":true,"reason_text":{"de":"x"}}`), `{"error":{"code":"wrong_type","field":"given_policy.reason_text"`},
		{given(`3`), `{"error":{"code":"wrong_type","field":"given_policy"`},
		{given(`[3]`), `{"error":{"code":"wrong_type","field":"given_policy[0]"`},
		{given(`{"country":"AR","post":null,"option":"CONSULATE","channel":null,"allowed":true,"reason_code":"local_need","reason_text":"per prova","legal_ref":"X","decided_by":["interior","maeci"],` +
			`"valid_from":"2026-11-01T00:00:00+01:00","valid_to":null,"storage_days":30,"return_path":"post","max_attempts":2,"est_days":20}`), `"CONSULATE":{"allowed":true,"code":"local_need","reason":{"it":"per prova","en":"per prova"}`},
		{given(`{"country":"AR","option":"CONSULATE","allowed":true,"valid_from":"2026-11-21T12:01:00+01:00"}`), `"CONSULATE":{"allowed":false`},
		{given(`[]`), `"CONSULATE":{"allowed":false`},
		{`{` + base + `,"reason":"first_issue","reason":"loss"}`, `{"error":{"code":"repeated_member","field":"reason"`},
		{`{` + base + `}`, `{"error":{"code":"required","field":"reason"`},
		{`{` + base + `,"reason":"boredom"}`, `{"error":{"code":"unknown_value","field":"reason"`},
		{`{` + strings.Replace(base, `"AR"`, `"XX"`, 1) + `,"reason":"loss"}`, `{"error":{"code":"unknown_country","field":"residence_country"`},
		{`{` + strings.Replace(base, "2026-11-21T12:00:00+01:00", "2026-11-21", 1) + `,"reason":"loss"}`, `{"error":{"code":"bad_date","field":"on"`},
		{`{` + base + `,"reason":"loss","on_chosen":"yesterday"}`, `{"error":{"code":"bad_date","field":"on_chosen"`},
		{`{` + base + `,"reason":"loss","person":{"birth_date":"1981-02-29"}}`, `{"error":{"code":"bad_date","field":"person.birth_date"`},
		{`{` + base + `,"reason":"loss","person":{"existing_card":{"expires":"soon"}}}`, `{"error":{"code":"bad_date","field":"person.existing_card.expires"`},
		{`{` + base + `,"reason":"loss","person":[]}`, `{"error":{"code":"wrong_type","field":"person"`},
		{`[]`, `{"error":{"code":"not_an_object"`},
		{`{` + base + `,"reason":"loss","register_subjects":1.5}`, `{"error":{"code":"wrong_type","field":"register_subjects"`},
		{`{` + base + `,"reason":"loss","evidence":"old_card"}`, `{"error":{"code":"wrong_type","field":"evidence"`},
		{`{` + base + `,"reason":"loss","evidence":[null]}`, `{"error":{"code":"unknown_value","field":"evidence"`},
		{``, `{"error":{"code":"empty_line"`},
		{`{` + base + `,"reason":"theft"}`, `{"outcome":"accepted"`},
	})
}

func TestExpiriesAreAnsweredLineByLine(t *testing.T) {
	t.Parallel()
	checkLines(t, []string{"expiry", "-"}, [][2]string{
		{`{"request_date":"2026-06-08","birth_date":"1980-11-20","fingerprints":"taken"}`, `{"expiry":"2035-11-20","rule":"validity.adult_years@default@always"`},
		{`{"request_date":"2026-06-08","birth_date":"1980-11-20"}`, `{"expiry":"2035-11-20"`},
		{`{"request_date":"2026-06-08","birth_date":"1980-11-20","fingerprints":"temporarily_impossible"}`, `{"expiry":"2027-06-08","rule":"validity.temporary_months`},
		{`{"request_date":"2026-07-30","birth_date":"1950-01-01","fingerprints":"taken"}`, `"rule":"validity.senior_years`},
		{`{"request_date":"2026-06-08"}`, `{"error":{"code":"required","field":"birth_date"`},
		{`{"birth_date":"1980-11-20"}`, `{"error":{"code":"required","field":"request_date"`},
		{`{"request_date":"2026-06-08","birth_date":""}`, `{"error":{"code":"required","field":"birth_date"`},
		{`{"request_date":"2026-06-08","birth_date":"2027-01-01"}`, `{"error":{"code":"bad_date","field":"birth_date"`},
		{`{"request_date":"2026-06-31","birth_date":"1980-11-20"}`, `{"error":{"code":"bad_date","field":"request_date"`},
		{`{"request_date":"2026-06-08","birth_date":"1980-11-20","fingerprints":"wet"}`, `{"error":{"code":"unknown_value","field":"fingerprints"`},
		{`{"request_date":"2026-06-08","birth_date":"1980-11-20","sex":"F"}`, `{"error":{"code":"unknown_member","field":"sex"`},
		{`{"request_date":20260608,"birth_date":"1980-11-20"}`, `{"error":{"code":"wrong_type","field":"request_date"`},
	})
}

func TestDueDaysAreAnsweredLineByLine(t *testing.T) {
	t.Parallel()
	checkLines(t, []string{"due", "-"}, [][2]string{
		{`{"from":"2026-12-23","working_days":6}`, `{"due":"2027-01-04","holidays_skipped":[{"date":"2026-12-25",`},
		{`{"from":"2026-06-08","working_days":0}`, `{"due":"2026-06-08","holidays_skipped":[]}`},
		{`{"from":"2026-06-08"}`, `{"error":{"code":"required","field":"working_days"`},
		{`{"working_days":6}`, `{"error":{"code":"required","field":"from"`},
		{`{"from":null,"working_days":6}`, `{"error":{"code":"required","field":"from"`},
		{`{"from":"2026-02-30","working_days":6}`, `{"error":{"code":"bad_date","field":"from"`},
		{`{"from":"2026-06-08","working_days":-1}`, `{"error":{"code":"out_of_range","field":"working_days"`},
		{`{"from":"2026-06-08","working_days":1.5}`, `{"error":{"code":"wrong_type","field":"working_days"`},
		{`{"from":"2026-06-08","working_days":6,"patron":true}`, `{"error":{"code":"unknown_member","field":"patron"`},
	})
}

func TestLabelsAreAnsweredLineByLine(t *testing.T) {
	t.Parallel()
	address := func(members string) string {
		return `{"address":{"iso2":"DE","recipient":"Luca Verdi","house_number":"116",` + members + `}}`
	}
	checkLines(t, []string{"label", "-"}, [][2]string{
		{address(`"street":"Invalidenstraße","postcode":"10115","locality":"Berlin"`), `{"lines":["Luca Verdi","Invalidenstraße 116","10115 BERLIN","GERMANIA - GERMANY"]`},
		{address(`"unit":"3 OG","street_line":"Invalidenstraße 116","dependent_locality":"","postcode":"10115","locality":"Berlin","region":""`), `{"lines":["Luca Verdi",`},
		{address(`"street":"Berlin","postcode":"10115","locality":"Berlin"`), `{"error":{"code":"address_street_is_locality","field":"address.street","text":"Street and locality are the same."}}`},
		{address(`"street":"Invalidenstraße","postcode":"1011","locality":"Berlin"`), `{"error":{"code":"address_postcode_format","field":"address.postcode"`},
		{address(`"street":"Invalidenstraße","postcode":"10115","locality":"Berlin","zip":"1"`), `{"error":{"code":"unknown_member","field":"address.zip"`},
		{`{"address":null}`, `{"error":{"code":"required","field":"address"`},
		{`{}`, `{"error":{"code":"required","field":"address"`},
		{`{"address":[]}`, `{"error":{"code":"wrong_type","field":"address","text":"a list stands where an object is expected"}}`},
		{`{"address":{"iso2":"QQ"}}`, `{"error":{"code":"address_country_unknown","field":"address.iso2"`},
	})
}

func TestAPeriodNamesItsLastDay(t *testing.T) {
	t.Parallel()
	day := func(text string) *time.Time {
		at, err := readInstant(text, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return inRome(at)
	}
	for want, got := range map[string]string{
		"da sempre / always":                                             period(nil, nil),
		"da sempre / always fino al / until 2026-08-02":                  period(nil, day("2026-08-03")),
		"dal / from 2026-06-01":                                          period(day("2026-06-01"), nil),
		"dal / from 2026-06-01 12:30 prima di / before 2026-06-02 08:00": period(day("2026-06-01T10:30:00Z"), day("2026-06-02T06:00:00Z")),
		"dal / from 2026-03-29 fino al / until 2026-03-29":               period(day("2026-03-29"), day("2026-03-30")),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTheDocumentedExamplesAreAnsweredAsWritten(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "explain.md"))
	if err != nil {
		t.Fatal(err)
	}
	args, question, seen := []string{"explain", "-"}, "", 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			args = []string{"explain", "-"}
			if kind := line[3:]; kind != "" {
				args = []string{"explain", kind, "-"}
			}
		case strings.HasPrefix(line, "> "):
			question = line[2:]
		case strings.HasPrefix(line, "< "):
			seen++
			want, open := strings.CutSuffix(line[2:], "…")
			_, got, _ := airegw(t, question+"\n", args...)
			got = strings.TrimSuffix(got, "\n")
			if got != want && (!open || !strings.HasPrefix(got, want)) {
				t.Errorf("%v %s\ngot  %s\nwant %s", args, question, got, line[2:])
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d examples", seen)
	}
}

func TestEveryMemberOfASituationIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "explain.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, shape := range []reflect.Type{
		reflect.TypeFor[situationShape](), reflect.TypeFor[policies.Person](), reflect.TypeFor[policies.Card](),
		reflect.TypeFor[policies.Explanation](), reflect.TypeFor[policies.OptionExplanation](), reflect.TypeFor[delivery.Address](),
	} {
		for _, field := range reflect.VisibleFields(shape) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name != "" && !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("%s: %s is not in docs/explain.md", shape, name)
			}
		}
	}
}
