package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// order is a situation in which everything is known and nothing is missing.
const order = `{"on":"2026-11-21T12:00:00+01:00","channel":"comune","reason":"first_issue","residence_country":"AR","fingerprints":"taken",
"person":{"birth_date":"1980-11-20","aire":true,"citizenship":"IT","alive":true,"cf_validated":true,"existing_card":{"kind":"none"}},
"expatriation":"declared","register_subjects":1,"birth_act_transcribed":true,"open_request_elsewhere":false,"office_is_aire_comune":true}`

// merge lays one JSON object over another, member by member.
func merge(t *testing.T, base, over string) map[string]any {
	t.Helper()
	var a, b map[string]any
	if err := json.Unmarshal([]byte(base), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(over), &b); err != nil {
		t.Fatalf("%s: %v", over, err)
	}
	var lay func(a, b map[string]any)
	lay = func(a, b map[string]any) {
		for k, v := range b {
			inner, ok := v.(map[string]any)
			into, there := a[k].(map[string]any)
			if ok && there {
				lay(into, inner)
				continue
			}
			a[k] = v
		}
	}
	lay(a, b)
	return a
}

// TestEveryMemberOfASituationChangesAnAnswer asks two situations that differ in
// one member only and demands that the named part of the answers differ too, as
// the tables of the domain notes say.
func TestEveryMemberOfASituationChangesAnAnswer(t *testing.T) {
	t.Parallel()
	minor := `"person":{"birth_date":"2010-06-01"}`
	at2022 := `"on":"2022-03-01T12:00:00Z","channel":"post","post_competent":true`
	cases := []struct{ member, base, one, other, path, oneSays, otherSays string }{
		{"on", `{}`, `{"on":"2026-05-31T23:59:59+02:00"}`, `{"on":"2026-06-01T00:00:00+02:00"}`, "outcome", "refused", "accepted"},
		{"channel", `{"post_competent":true}`, `{"channel":"comune"}`, `{"channel":"post"}`, "fee_eur", "22.21", "21.95"},
		{"reason", `{"evidence":["police_report","old_card"]}`, `{"reason":"theft"}`, `{"reason":"expiry"}`, "fee_eur", "27.37", "22.21"},
		{"residence_country", `{"requested_delivery":"FOREIGN_RESIDENCE"}`, `{"residence_country":"SY"}`, `{"residence_country":"CH"}`, "reasons", "[delivery.mail_suspended]", "[]"},
		{"post", `{"channel":"post","post_competent":true,"given_policy":{"country":"AR","post":"ar-cordoba","option":"CONSULATE","allowed":true}}`, `{"post":"ar-cordoba"}`, `{"post":"ar-rosario"}`, "options.CONSULATE.allowed", "true", "false"},
		{"requested_delivery", `{}`, `{"requested_delivery":"CONSULATE"}`, `{"requested_delivery":"FOREIGN_RESIDENCE"}`, "outcome", "refused", "accepted"},
		{"fingerprints", `{}`, `{"fingerprints":"temporarily_impossible"}`, `{"fingerprints":"permanently_impossible"}`, "expiry", "2027-11-21", "2036-11-20"},
		{"fingerprints", `{}`, `{"fingerprints":"refused"}`, `{"fingerprints":"taken"}`, "outcome", "refused", "accepted"},
		{"person.birth_date", `{}`, `{"person":{"birth_date":"1950-01-10"}}`, `{"person":{"birth_date":"1980-01-10"}}`, "expiry", "2076-01-10", "2036-01-10"},
		{"person.aire", `{}`, `{"person":{"aire":false}}`, `{"person":{"aire":true}}`, "reasons", "[person.not_aire]", "[]"},
		{"person.citizenship", `{}`, `{"person":{"citizenship":"FR"}}`, `{"person":{"citizenship":"IT"}}`, "print_note", "non valida per l'espatrio", "<nil>"},
		{"person.alive", `{}`, `{"person":{"alive":false}}`, `{"person":{"alive":null}}`, "outcome", "refused", "accepted"},
		{"person.cf_validated", `{}`, `{"person":{"cf_validated":false}}`, `{"person":{"cf_validated":true}}`, "reasons", "[person.cf_not_validated]", "[]"},
		{"person.existing_card.kind", `{"person":{"existing_card":{"state":"valid","expires":"2030-01-01"}}}`, `{"person":{"existing_card":{"kind":"cie"}}}`, `{"person":{"existing_card":{"kind":"paper"}}}`, "reasons", "[reason.first_issue.has_card]", "[]"},
		{"person.existing_card.state", `{"person":{"existing_card":{"kind":"cie","expires":"2030-01-01"}}}`, `{"person":{"existing_card":{"state":"valid"}}}`, `{"person":{"existing_card":{"state":"cancelled"}}}`, "outcome", "refused", "accepted"},
		{"person.existing_card.expires", `{"reason":"expiry","evidence":["old_card"],"person":{"existing_card":{"kind":"cie","state":"valid"}}}`, `{"person":{"existing_card":{"expires":"2027-05-21"}}}`, `{"person":{"existing_card":{"expires":"2027-05-20"}}}`, "reasons", "[reason.expiry.too_early]", "[]"},
		{"parents_assent", `{` + minor + `}`, `{"parents_assent":"both"}`, `{"parents_assent":"none"}`, "outcome", "accepted", "refused"},
		{"parents_assent", `{` + minor + `}`, `{"parents_assent":"one"}`, `{"parents_assent":"one+judge"}`, "print_note", "non valida ai fini dell'espatrio", "<nil>"},
		{"parents_assent", `{` + minor + `}`, `{"parents_assent":"sole_holder"}`, `{"parents_assent":"one"}`, "print_note", "<nil>", "non valida ai fini dell'espatrio"},
		{"has_minor_children", `{` + at2022 + `,"other_parent_assent":false}`, `{"has_minor_children":true}`, `{"has_minor_children":false}`, "outcome", "refused", "accepted"},
		{"other_parent_assent", `{` + at2022 + `,"has_minor_children":true}`, `{"other_parent_assent":false}`, `{"other_parent_assent":true}`, "reasons", "[parent.other_parent_assent]", "[]"},
		{"delegate", `{"person":{"birth_date":"2014-06-01"},"parents_assent":"both","requested_delivery":"IT_ADDRESS","italian_address":true}`, `{"delegate":false}`, `{"delegate":true}`, "reasons", "[delivery.delegate_missing]", "[]"},
		{"expatriation", `{}`, `{"expatriation":"not_declared"}`, `{"expatriation":"declared"}`, "print_note", "non valida ai fini dell'espatrio", "<nil>"},
		{"expatriation", `{}`, `{"expatriation":"obstacle"}`, `{"expatriation":"declared"}`, "print_note", "non valida ai fini dell'espatrio", "<nil>"},
		{"evidence", `{"reason":"loss"}`, `{"evidence":["foreign_report"]}`, `{"evidence":["foreign_report","declaration"]}`, "outcome", "refused", "accepted"},
		{"changed", `{"reason":"changed_data","evidence":["change_act"]}`, `{"changed":["address"]}`, `{"changed":["surname"]}`, "reasons", "[reason.changed_data.not_on_card]", "[]"},
		{"birth_act_transcribed", `{}`, `{"birth_act_transcribed":false}`, `{"birth_act_transcribed":true}`, "reasons", "[person.birth_act_not_transcribed]", "[]"},
		{"register_subjects", `{}`, `{"register_subjects":2}`, `{"register_subjects":1}`, "reasons", "[person.several_subjects]", "[]"},
		{"open_request_elsewhere", `{}`, `{"open_request_elsewhere":true}`, `{"open_request_elsewhere":false}`, "outcome", "refused", "accepted"},
		{"office_is_aire_comune", `{}`, `{"office_is_aire_comune":false}`, `{"office_is_aire_comune":true}`, "notices", "comune.clearance", "[]"},
		{"post_competent", `{"channel":"post"}`, `{"post_competent":false}`, `{"post_competent":true}`, "reasons", "[post.not_competent]", "[]"},
		{"requesting_comune", `{"pickup_comune":"058091"}`, `{"requesting_comune":"015146"}`, `{"requesting_comune":"058091"}`, "options.COMUNE_PICKUP.allowed", "false", "true"},
		{"pickup_comune", `{"requesting_comune":"058091"}`, `{"pickup_comune":"015146"}`, `{"pickup_comune":"058091"}`, "options.COMUNE_PICKUP.allowed", "false", "true"},
		{"italian_address", `{"requested_delivery":"IT_ADDRESS"}`, `{"italian_address":false}`, `{"italian_address":true}`, "options.IT_ADDRESS.needs", "[italian_address]", "[]"},
		{"foreign_address_equals_register", `{}`, `{"foreign_address_equals_register":false}`, `{"foreign_address_equals_register":true}`, "options.FOREIGN_RESIDENCE.allowed", "false", "true"},
		{"requested_document", `{}`, `{"requested_document":"paper"}`, `{"requested_document":"cie"}`, "reasons", "[document.paper_ended]", "[]"},
		{"urgency", `{"on":"2026-08-02T23:59:59+02:00","requested_document":"paper","evidence":["urgency_evidence"]}`, `{"urgency":""}`, `{"urgency":"election"}`, "outcome", "refused", "accepted"},
		{"given_policy", `{"requested_delivery":"CONSULATE"}`, `{"given_policy":[]}`, `{"given_policy":{"country":"AR","option":"CONSULATE","allowed":true,"reason_code":"local_need"}}`, "outcome", "refused", "accepted"},
		{"on_chosen", `{"channel":"post","post_competent":true,"residence_country":"KE","requested_delivery":"FOREIGN_RESIDENCE"}`, `{"on_chosen":"2019-09-01T12:00:00Z"}`, `{"on_chosen":"2026-01-01T12:00:00Z"}`, "outcome", "asked_again", "refused"},
	}
	seen := map[string]bool{}
	var input strings.Builder
	for _, c := range cases {
		seen[c.member] = true
		for _, over := range []string{c.one, c.other} {
			base, err := json.Marshal(merge(t, order, c.base))
			if err != nil {
				t.Fatal(err)
			}
			line, err := json.Marshal(merge(t, string(base), over))
			if err != nil {
				t.Fatal(err)
			}
			input.Write(append(line, '\n'))
		}
	}
	code, out, text := airegw(t, input.String(), "explain", "-")
	answers := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if code != 0 || len(answers) != 2*len(cases) {
		t.Fatalf("exit %d, %d answers to %d lines: %s", code, len(answers), 2*len(cases), text)
	}
	for i, c := range cases {
		for j, want := range []string{c.oneSays, c.otherSays} {
			if got := said(t, answers[2*i+j], c.path); got != want && (c.path != "notices" || want == "[]" || !strings.Contains(got, want)) {
				t.Errorf("%s %s over %s: %s is %s, want %s", c.member, []string{c.one, c.other}[j], c.base, c.path, got, want)
			}
		}
	}
	// No member of the shape is left out.
	for _, name := range memberNames(reflect.TypeFor[situationShape](), "") {
		if !seen[name] {
			t.Errorf("%s is asked nowhere", name)
		}
	}
}

// said answers one part of an answer as text.
func said(t *testing.T, answer, path string) string {
	t.Helper()
	var v any
	d := json.NewDecoder(strings.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(path, ".") {
		m, ok := v.(map[string]any)
		if !ok || !slices.Contains(slices.Collect(maps.Keys(m)), part) {
			return "nothing in " + answer
		}
		v = m[part]
	}
	return fmt.Sprint(v)
}

// memberNames lists the members of a shape that hold values, with their path.
func memberNames(shape reflect.Type, path string) []string {
	var out []string
	for _, f := range reflect.VisibleFields(shape) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			continue
		}
		if f.Type.Kind() == reflect.Struct && (name == "person" || name == "existing_card") {
			out = append(out, memberNames(f.Type, path+name+".")...)
			continue
		}
		out = append(out, path+name)
	}
	return out
}
