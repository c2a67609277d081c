package policies

import (
	"encoding/json"
	"testing"
)

// FuzzSituation holds that whatever is sent as a situation is refused or
// answered whole, and that the answer can be written as JSON.
func FuzzSituation(f *testing.F) {
	base := `{"on":"2026-11-21T12:00:00+01:00","channel":"comune","reason":"theft","residence_country":"AR","person":{"birth_date":"1980-11-20"}`
	for _, seed := range []string{
		``, `{}`, `[]`, base, base + `}`, base + `,"given_policy":{"option":"CONSULATE","allowed":true}}`,
		base + `,"given_policy":[{"country":"AR","post":"x","option":"IT_ADDRESS","valid_from":"2026-01-01","valid_to":"2025-01-01"}]}`,
		base + `,"given_policy":[{},{}]}`, base + `,"given_policy":3}`, base + `,"given_policy":[[]]}`, base + `,"evidence":["police_report"],"changed":null}`,
		`{"request_date":"2026-06-08","birth_date":"1980-11-20","fingerprints":"taken"}`, `{"request_date":"9999-12-31","birth_date":"1800-02-29"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := Shipped().ExplainSituation(b)
		if err == nil {
			if len(x.Options) != 4 || x.Outcome == "" || x.LegalBasis == "" || x.RuleSet == "" {
				t.Errorf("%s: not whole: %+v", b, x)
			}
			if _, err := json.Marshal(x); err != nil {
				t.Errorf("%s: %v", b, err)
			}
		}
		e, err := Shipped().ExplainExpiry(b)
		if err == nil && (e.Expiry == "" || e.Rule == "") {
			t.Errorf("%s: not whole: %+v", b, e)
		}
	})
}
