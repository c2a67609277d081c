package policies

import "testing"

// FuzzTexts: dates, instants, scopes and rates as clerks write them.
func FuzzTexts(f *testing.F) {
	for _, seed := range []string{"2026-11-22", "2026-11-22T10:30", "0000-00-00", "default", "country:AR", "post:AR/buenos-aires", "group:eu", "1.5", "1e3", "-1", "00.0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := ParseDate(text); err == nil && d.String() != text {
			t.Fatalf("the date %q is %s", text, d)
		}
		if at, err := parseInstant(text); err == nil && (at.Year() < 1900 || at.Year() > 2200) {
			t.Fatalf("the instant %q is %v", text, at)
		}
		if s, why := parseScope(text); why == "" && text != "default" && s == (scope{}) {
			t.Fatalf("the scope %q is the default", text)
		}
		if r, ok := parseRate(text); ok && r.Sign() <= 0 {
			t.Fatalf("the rate %q is %v", text, r)
		}
	})
}
