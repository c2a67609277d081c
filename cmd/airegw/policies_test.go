package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airegw/gateway/jose"
	"airegw/policies"
)

// copyRules writes the shipped rules with their cases to a folder.
func copyRules(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, policies.ShippedFS()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func edit(t *testing.T, file, old, now string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s does not hold %q", file, old)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, now, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheShippedRulesAreInOrderAndTheirCasesHold(t *testing.T) {
	t.Parallel()
	code, out, text := airegw(t, "", "policies", "check")
	if code != 0 || !strings.Contains(out, policies.Shipped().Hash()) || text != "" {
		t.Errorf("check: exit %d, %s%s", code, out, text)
	}
	code, out, text = airegw(t, "", "policies", "test", "--json")
	var a testAnswer
	if err := json.Unmarshal([]byte(out), &a); err != nil || code != 0 || !a.OK || a.Cases < 250 || len(a.Failures) != 0 {
		t.Errorf("test: exit %d, %v: %s%s", code, err, out, text)
	}
}

func TestACopyOfTheRulesIsTheSameRuleSet(t *testing.T) {
	t.Parallel()
	dir := copyRules(t)
	if code, out, text := airegw(t, "", "policies", "test", "--rules", dir); code != 0 || !strings.Contains(out, " 0 falliti / failed") {
		t.Errorf("test: exit %d, %s%s", code, out, text)
	}
	code, out, text := airegw(t, "", "policies", "diff", "--rules", dir, "--json")
	var a diffAnswer
	if err := json.Unmarshal([]byte(out), &a); err != nil || code != 0 || a.Before != a.After || len(a.Answers)+len(a.Values) != 0 {
		t.Errorf("diff: exit %d, %v: %s%s", code, err, out, text)
	}
}

func TestEveryDefectIsNamedWithFileAndLine(t *testing.T) {
	t.Parallel()
	dir := copyRules(t)
	file := filepath.Join(dir, "70-fees-login-booking-travel.yaml")
	edit(t, file, "value: 2221", "value: dear")
	code, out, text := airegw(t, "", "policies", "check", "--rules", dir)
	if code != 1 || !strings.HasPrefix(out, file+":") || !strings.Contains(out, policies.CodeLoadValue) || !strings.Contains(text, "defects") {
		t.Errorf("check: exit %d, %s%s", code, out, text)
	}
	code, out, _ = airegw(t, "", "policies", "check", "--rules", dir, "--json")
	var a checkAnswer
	if err := json.Unmarshal([]byte(out), &a); err != nil || code != 1 || a.OK || len(a.Defects) == 0 || a.Defects[0].Line == 0 || a.Defects[0].File != file {
		t.Errorf("check --json: exit %d, %v: %s", code, err, out)
	}
	for _, args := range [][]string{{"policies", "test"}, {"policies", "diff"}, {"policies", "show"}, {"explain", "--country", "AR"}} {
		code, out, text := airegw(t, "", append(args, "--rules", dir)...)
		if code != 1 || out != "" || !strings.HasPrefix(text, file+":") {
			t.Errorf("%v: exit %d, %s%s", args, code, out, text)
		}
	}
}

func TestACaseThatNoLongerHoldsFailsTheTest(t *testing.T) {
	t.Parallel()
	dir := copyRules(t)
	edit(t, filepath.Join(dir, "70-fees-login-booking-travel.yaml"), "value: 2195", "value: 2300")
	code, out, _ := airegw(t, "", "policies", "test", "--rules", dir, "--json")
	var a testAnswer
	if err := json.Unmarshal([]byte(out), &a); err != nil || code != 1 || a.OK || len(a.Failures) == 0 || a.Failures[0].Got != "2300" || a.Failures[0].Want != "2195" {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
	if code, _, text := airegw(t, "", "policies", "test", "--cases", t.TempDir()); code != 1 || !strings.HasPrefix(text, "airegw: ") {
		t.Errorf("no cases: exit %d, %s", code, text)
	}
}

func TestADiffTellsWhoseAnswersChange(t *testing.T) {
	t.Parallel()
	dir := copyRules(t)
	extra := `rules:
  - key: delivery.comune.CONSULATE
    scope: country:AR
    value: allow
    valid_from: 2027-01-01
    legal_ref: "draft"
    status: provisional
    source: "draft"
    reason:
      it: "Prova."
      en: "A draft."
`
	if err := os.WriteFile(filepath.Join(dir, "90-extra.yaml"), []byte(extra), 0o600); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(dir, "70-fees-login-booking-travel.yaml"), "value: 2195", "value: 2300")
	code, out, text := airegw(t, "", "policies", "diff", "--rules", dir)
	if code != 0 {
		t.Fatalf("exit %d, %s", code, text)
	}
	golden(t, "explain/diff.txt", out)
	// The other way round every change is undone.
	code, back, _ := airegw(t, "", "policies", "diff", "--against", dir, "--since", "2027-06-01")
	if code != 0 || !strings.Contains(back, "23.00 EUR -> 21.95 EUR") || !strings.Contains(back, "dal / from 2027-06-01") {
		t.Errorf("exit %d, %s", code, back)
	}
	if code, _, _ := airegw(t, "", "policies", "diff"); code != 2 {
		t.Errorf("nothing to compare: exit %d", code)
	}
}

func TestRulesAreShownByKeyAndByCountryAndDay(t *testing.T) {
	t.Parallel()
	code, out, _ := airegw(t, "", "policies", "show", "--json")
	if got := strings.Count(out, "\n"); code != 0 || got != len(policies.Shipped().Rules()) {
		t.Errorf("all: exit %d, %d rules", code, got)
	}
	for line := range strings.Lines(out) {
		var r ruleLine
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.ID == "" || r.Value == nil || r.LegalRef == "" || r.Reason.IT == "" || r.Line == 0 {
			t.Errorf("%s: %v", line, err)
		}
		if _, err := fs.Stat(policies.ShippedFS(), r.File); err != nil {
			t.Errorf("%s: %v", r.ID, err)
		}
	}
	show := func(want int, args ...string) string {
		t.Helper()
		code, out, text := airegw(t, "", append([]string{"policies", "show"}, args...)...)
		if code != want {
			t.Errorf("%v: exit %d, %s", args, code, text)
		}
		return out
	}
	if out := show(0, "delivery.comune.CONSULATE", "--country", "af", "--on", "2026-11-21"); !strings.HasPrefix(out, "delivery.comune.CONSULATE@group:mail_suspended@2026-06-01\n") || strings.Count(out, "@") != 2 {
		t.Errorf("AF: %s", out)
	}
	if out := show(0, "delivery.comune.CONSULATE", "--country", "AF", "--on", "2026-05-31"); !strings.HasPrefix(out, "delivery.comune.CONSULATE@default@always\n") {
		t.Errorf("AF before: %s", out)
	}
	if out := show(0, "validity.adult_years@default@always", "--json"); strings.Count(out, "\n") != 1 || !strings.Contains(out, `"value":10,`) {
		t.Errorf("one: %s", out)
	}
	show(1, "no.such.rule")
	show(1, "valid") // a key is not cut within a word
	show(2, "--country", "XX")
	show(2, "--on", "2026-11-21")
	show(2, "--country", "AR", "--on", "someday")
}

func TestOnlyAllCountriesAreEveryCountry(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"ogni paese / every country (2)": places([]string{"AR", "AR/ar-cordoba", "BR"}, 2),
		"AR AR/ar-cordoba":               places([]string{"AR", "AR/ar-cordoba"}, 2),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTheApprovalsBesideTheRulesAreCheckedToo(t *testing.T) {
	t.Parallel()
	dir := copyRules(t)
	approvals := filepath.Join(dir, policies.ApprovalsDir)
	if err := os.Mkdir(approvals, 0o700); err != nil {
		t.Fatal(err)
	}
	code, out, _ := airegw(t, "", "policies", "check", "--rules", dir)
	if code != 1 || !strings.Contains(out, filepath.Join(approvals, "interior.jws")+":1: rules.approval_missing") {
		t.Errorf("without signatures: exit %d\n%s", code, out)
	}
	for _, o := range policies.Owners {
		key, err := jose.GenerateKey(jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		jwks, err := jose.NewKeySet(key.Public()).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		jws, err := policies.Shipped().Approve(o, key)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{".jwks": jwks, ".jws": []byte(jws)} {
			if err := os.WriteFile(filepath.Join(approvals, string(o)+name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The folder beside the rules, and the same for the set in the binary.
	for _, args := range [][]string{{"--rules", dir}, {"--approvals", approvals}} {
		code, out, text := airegw(t, "", append([]string{"policies", "check"}, args...)...)
		if code != 0 || !strings.Contains(out, "approved by both owners") {
			t.Errorf("%v: exit %d\n%s%s", args, code, out, text)
		}
	}
	edit(t, filepath.Join(dir, "70-fees-login-booking-travel.yaml"), "2221", "2222")
	code, out, _ = airegw(t, "", "policies", "check", "--rules", dir, "--json")
	var a checkAnswer
	if err := json.Unmarshal([]byte(out), &a); err != nil || code != 1 || a.OK || a.Approved == nil || *a.Approved || len(a.Defects) != 2 ||
		a.Defects[0].Code != "rules.approval_invalid" || a.Defects[0].Line != 1 || a.RuleSet == "" {
		t.Errorf("after a change: exit %d\n%s", code, out)
	}
	if code, _, _ := airegw(t, "", "policies", "check", "--approvals", filepath.Join(dir, "none")); code != 2 {
		t.Errorf("a folder that is not there: exit %d", code)
	}
}
