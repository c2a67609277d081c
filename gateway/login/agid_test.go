package login_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"airegw/gateway/login"
	"airegw/testharness/opsim"
	"airegw/testharness/sim"
)

// The cases of the AgID catalogue for relying parties (spid-oidc-check-rp) that
// belong to a login, by number; 1.2.0 to 1.3.20 are gateway/federation's. Not
// applicable: 3.1.1, 3.1.2, 5.1.0, 5.1.1 and 5.2.0 to 5.2.5 (grant tokens of
// SPID's attribute authorities, which CIE has not, and their introspection).
func TestAgIDRelyingPartyCase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	events := func(kind string) int {
		n := 0
		for _, e := range w.Events() {
			if e.Kind == kind && e.Outcome != "refused" {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		number string
		test   func(t *testing.T)
	}{
		{"2.0.0 the request is sent by GET or POST, 2.0.1 with the parameter request", func(t *testing.T) {
			r, err := w.citizens.Begin(t.Context(), login.Start{Level: login.Level2, Binding: w.binding})
			if err != nil || !strings.HasPrefix(r.URL, w.Endpoints().Authorization+"?") || strings.Count(r.URL, "request=") != 1 {
				t.Errorf("%v %v", r, err)
			}
			answer, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			back, err := browser.Do(answer)
			if err != nil {
				t.Fatal(err)
			}
			_ = back.Body.Close()
			if back.StatusCode != http.StatusSeeOther {
				t.Errorf("the provider answers %d: %+v", back.StatusCode, w.Refusals())
			}
		}},
		{"2.2.0 a correct response, 3.1.0 correct tokens, 4.1.0 correct data", func(t *testing.T) {
			if _, err := w.enter(t, login.Start{}); err != nil {
				t.Error(err)
			}
		}},
		{"2.4.7 the provider answers invalid_request", func(t *testing.T) {
			w.fault(t, "error-invalid-request", opsim.OpAuthorize)
			if _, err := w.enter(t, login.Start{}); login.CodeOf(err) != login.CodeProviderRefused {
				t.Error(err)
			}
		}},
		{"3.0.0 the token request is a form", func(t *testing.T) {
			// The simulator takes nothing else.
			before := events("token")
			if _, err := w.enter(t, login.Start{}); err != nil || events("token") != before+1 {
				t.Error(err)
			}
		}},
		{"4.0.0 the data are asked for by GET", func(t *testing.T) {
			before := events("userinfo")
			if _, err := w.enter(t, login.Start{}); err != nil || events("userinfo") != before+1 {
				t.Error(err)
			}
		}},
		{"4.2.1 the data are refused by 405", func(t *testing.T) {
			w.fault(t, "userinfo-not-allowed", opsim.OpUserInfo)
			if _, err := w.enter(t, login.Start{}); login.CodeOf(err) != login.CodeUserInfoRefused {
				t.Error(err)
			}
		}},
	} {
		t.Run(c.number, c.test)
	}
	if slices.ContainsFunc(w.Refusals(), func(r opsim.Refusal) bool { return r.Operation == "token" }) {
		t.Errorf("the provider refused a token request of ours: %+v", w.Refusals())
	}
}

// fault switches one fault on for a test.
func (w *world) fault(t *testing.T, name, op string) {
	t.Helper()
	if err := w.Faults().Set(sim.Rule{Name: name, Op: op, Probability: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Faults().Reset)
}
