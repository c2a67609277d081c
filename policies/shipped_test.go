package policies

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestEveryCaseBesideTheShippedRulesHolds(t *testing.T) {
	t.Parallel()
	rep, err := Shipped().RunCases(ShippedCases())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range rep.Failures {
		t.Error(f)
	}
	if rep.Cases < 250 {
		t.Errorf("only %d cases", rep.Cases)
	}
	t.Logf("%d cases in %d files", rep.Cases, rep.Files)
}

func TestAWrongCaseFailsOnEachMemberItGetsWrong(t *testing.T) {
	t.Parallel()
	rep, err := Shipped().RunCases(fstest.MapFS{"x.yaml": {Data: []byte(`
base: {on: 2026-11-21T12:00, channel: comune, reason: first_issue, residence_country: AR}
cases:
  - name: all wrong
    facts: {person: {birth_date: 1980-11-20}}
    want:
      outcome: refused
      codes: [nothing]
      options: {CONSULATE: allow}
      reason_codes: {CONSULATE: x}
      status: {CONSULATE: provisional}
      days: {IT_ADDRESS: 7}
      expiry: 2040-01-01
      fee_cents: 1
      print_note: x
      print_note_text: x
      legal_basis: x
      fingerprints_required: false
      signature_required: false
      misaligned: false
      holds_valid_card: true
expiry: [{request: 2026-06-08, birth: 1980-11-20, expiry: 2035-11-21}]
deliveries: [{country: AR, channel: post, on: 2026-11-21, allowed: CONSULATE}]
`)}})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Cases != 3 || len(rep.Failures) != 17 {
		t.Errorf("%d cases, %d failures:\n%v", rep.Cases, len(rep.Failures), rep.Failures)
	}
}

func TestACaseFileThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no case":           "base: {channel: post}\n",
		"unknown member":    "cases: [{name: x, facts: {}, want: {outcom: allowed}}]\n",
		"unknown fact":      "cases: [{name: x, facts: {on: 2026-01-01, channel: post, reason: loss, residence_country: AR, colour: red}, want: {}}]\n",
		"unknown country":   "cases: [{name: x, facts: {on: 2026-01-01, channel: moon, reason: loss, residence_country: AR}, want: {}}]\n",
		"case without name": "cases: [{facts: {on: 2026-01-01, channel: post, reason: loss, residence_country: AR}, want: {}}]\n",
		"broken YAML":       "cases: [\n",
		"no facts at all":   "cases: [{name: x, want: {}}]\n",
	} {
		if _, err := Shipped().RunCases(fstest.MapFS{"x.yaml": {Data: []byte(text)}}); err == nil {
			t.Errorf("%s: accepted", name)
		} else if !strings.Contains(err.Error(), "x.yaml") {
			t.Errorf("%s: the file is not named: %v", name, err)
		}
	}
	if _, err := Shipped().RunCases(fstest.MapFS{}); err == nil {
		t.Error("an empty folder passes")
	}
}
