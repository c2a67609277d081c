package policies

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestASituationIsAcceptedRefusedOrAskedAgain(t *testing.T) {
	t.Parallel()
	base := `"on":"2026-11-21T12:00:00+01:00","channel":"comune","residence_country":"AR","register_subjects":1,` +
		`"person":{"birth_date":"1980-11-20","aire":true,"citizenship":"IT","alive":true,"cf_validated":true}`
	child := strings.Replace(base, "1980-11-20", "2016-01-01", 1)
	for name, c := range map[string]struct {
		json, outcome, reasons string
	}{
		"in order":                    {`{` + base + `,"reason":"first_issue","expatriation":"declared"}`, "accepted", ""},
		"the declaration is to come":  {`{` + base + `,"reason":"first_issue"}`, "accepted", "expatriation.not_asked"},
		"the report is to come":       {`{` + base + `,"reason":"theft","expatriation":"declared"}`, "accepted", "reason.evidence_missing"},
		"there is no report":          {`{` + base + `,"reason":"theft","expatriation":"declared","evidence":[]}`, "refused", "reason.evidence_missing"},
		"the delegate is to come":     {`{` + child + `,"reason":"first_issue","expatriation":"declared","parents_assent":"both","requested_delivery":"IT_ADDRESS"}`, "accepted", "delivery.delegate_missing"},
		"there is no delegate":        {`{` + child + `,"reason":"first_issue","expatriation":"declared","parents_assent":"both","requested_delivery":"IT_ADDRESS","delegate":false}`, "refused", "delivery.delegate_missing"},
		"one parent, no travel":       {`{` + child + `,"reason":"first_issue","expatriation":"declared","parents_assent":"one"}`, "accepted", ""},
		"no parent":                   {`{` + child + `,"reason":"first_issue","expatriation":"declared","parents_assent":"none"}`, "refused", "minor.assent_missing"},
		"tax code not validated":      {`{` + strings.Replace(base, `"cf_validated":true`, `"cf_validated":false`, 1) + `,"reason":"first_issue","expatriation":"declared"}`, "refused", "person.cf_not_validated"},
		"not in AIRE":                 {`{` + strings.Replace(base, `"aire":true`, `"aire":false`, 1) + `,"reason":"first_issue","expatriation":"declared"}`, "refused", "person.not_aire"},
		"the post by a supposed rule": {`{` + base + `,"reason":"first_issue","expatriation":"declared","requested_delivery":"CONSULATE","given_policy":{"country":"AR","option":"CONSULATE","allowed":true}}`, "accepted", ""},
		"not open yet, said once":     {`{` + strings.Replace(base, "2026-11-21T12:00:00+01:00", "2026-05-31T23:59:00+02:00", 1) + `,"reason":"first_issue","expatriation":"declared","requested_delivery":"FOREIGN_RESIDENCE"}`, "refused", "channel.comune_not_open_yet"},
		"the post without it":         {`{` + base + `,"reason":"first_issue","expatriation":"declared","requested_delivery":"CONSULATE","given_policy":[]}`, "refused", "delivery.consulate_no_local_need"},
		"asked again": {`{` + base + `,"reason":"first_issue","expatriation":"declared","requested_delivery":"FOREIGN_RESIDENCE","on_chosen":"2026-11-01T12:00:00Z",` +
			`"given_policy":[{"country":"AR","option":"FOREIGN_RESIDENCE","allowed":false,"valid_from":"2026-11-15"},{"country":"AR","option":"FOREIGN_RESIDENCE","allowed":true,"valid_to":"2026-11-15"}]}`, "asked_again", "delivery.asked_again"},
	} {
		x, err := Shipped().ExplainSituation([]byte(c.json))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if x.Outcome != c.outcome || strings.Join(x.Reasons, " ") != c.reasons {
			t.Errorf("%s: got %s %v", name, x.Outcome, x.Reasons)
		}
		if len(x.Options) != 4 || x.FeeEUR == "" || x.Expiry == nil {
			t.Errorf("%s: not whole: %+v", name, x)
		}
	}
}

func TestAnExplanationHasThePublishedMembers(t *testing.T) {
	t.Parallel()
	x, err := Shipped().ExplainSituation([]byte(`{"on":"2026-11-21T12:00:00+01:00","channel":"post","reason":"loss","residence_country":"AR",
	"expatriation":"not_declared","person":{"birth_date":"1980-11-20"}}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"outcome":"accepted"`, `"fee_eur":27.11`, `"expiry":"2036-11-20"`, `"print_note":"non valida ai fini dell'espatrio"`,
		`"legal_basis":"D.Lgs. 71/2011`, `"CONSULATE":{"allowed":false`, `"IT_ADDRESS":{"allowed":true`, `"needs":[]`,
	} {
		if !strings.Contains(strings.ReplaceAll(string(b), `\u0027`, "'"), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
}

func TestBadSituationsAreRefused(t *testing.T) {
	t.Parallel()
	good := `{"on":"2026-11-21T12:00:00+01:00","channel":"post","reason":"loss","residence_country":"AR","given_policy":GIVEN}`
	for name, given := range map[string]string{
		"unknown member":  `{"option":"CONSULATE","colour":1}`,
		"unknown option":  `{"option":"MOON"}`,
		"unknown country": `{"option":"CONSULATE","country":"ZZ"}`,
		"bad date":        `{"option":"CONSULATE","valid_from":"soon"}`,
		"a number":        `3`,
		"member twice":    `{"option":"CONSULATE","option":"IT_ADDRESS"}`,
	} {
		if _, err := Shipped().ExplainSituation([]byte(strings.Replace(good, "GIVEN", given, 1))); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	_, err := Shipped().ExplainSituation([]byte(strings.NewReplacer(`"AR"`, `"XX"`, "GIVEN", "null").Replace(good)))
	var fe *FactsError
	if !errors.As(err, &fe) || fe.Code != CodeFactsCountry {
		t.Errorf("XX: got %v", err)
	}
}

func TestExpiryIsExplainedWithItsRule(t *testing.T) {
	t.Parallel()
	x, err := Shipped().ExplainExpiry([]byte(`{"request_date":"2026-06-08","birth_date":"1980-11-20","fingerprints":"taken"}`))
	if err != nil || x.Expiry != "2035-11-20" || x.Rule != "validity.adult_years@default@always" || x.Reason.EN == "" {
		t.Errorf("got %+v %v", x, err)
	}
	for _, bad := range []string{
		`{}`, `{"request_date":"2026-06-08"}`, `{"request_date":"2026-06-08","birth_date":"2027-01-01"}`,
		`{"request_date":"2026-06-08","birth_date":"1980-11-20","fingerprints":"eaten"}`,
		`{"request_date":"2026-06-08","birth_date":"1980-11-20","x":1}`, `{"request_date":"2026-02-30","birth_date":"1980-11-20"}`, `[]`, "\xff",
	} {
		if _, err := Shipped().ExplainExpiry([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}
