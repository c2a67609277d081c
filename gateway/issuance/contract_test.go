package issuance_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"airegw/gateway/issuance"
)

var update = flag.Bool("update", false, "write the golden files")

func contract(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("core.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func fits(t *testing.T, doc *openapi3.T, schema string, body any) error {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return doc.Components.Schemas[schema].Value.VisitJSON(v, openapi3.EnableFormatValidation())
}

func TestEveryBodyWeSendFitsTheContract(t *testing.T) {
	t.Parallel()
	doc := contract(t)
	actor := issuance.Actor{Operator: "OP-0007", Station: "RM-0001"}
	minor := order()
	minor.Parents = []issuance.Parent{{Role: "parent", Surname: "ROSSI", GivenName: "ADA", Assent: "given", AssentAt: issuance.At(now)}}
	minor.PreviousCard = &issuance.PreviousCard{Number: "CA00001AB", Kind: "electronic"}
	minor.Captures.Exemptions = []issuance.Exemption{{What: "fingerprints", Code: "under_12"}}
	minor.Captures.FingerprintRefs = []issuance.Fingerprint{}
	minor.Delivery.Delegate = &issuance.Delegate{Surname: "ROSSI", GivenName: "ADA"}
	plain := order()
	plain.Parents, plain.Captures.Exemptions = []issuance.Parent{}, []issuance.Exemption{}
	for schema, bodies := range map[string][]any{
		"PrepareOrder":   {plain, minor},
		"ConfirmForms":   {issuance.ConfirmForms{OrderKey: key1, NUN: "CA00000AA", ConfirmedAt: issuance.At(now.Add(1234 * time.Microsecond)), Prints: 1, Actor: actor}},
		"Submission":     {submission()},
		"DeliveryChange": {issuance.DeliveryChange{OrderKey: key1, ChangeKey: "change-0001", Delivery: plain.Delivery, Actor: actor}},
		"Cancellation":   {issuance.Cancellation{OrderKey: key1, ChangeKey: "cancel-0001", Reason: "citizen_asked", Actor: actor}},
	} {
		for _, body := range bodies {
			if err := fits(t, doc, schema, body); err != nil {
				t.Errorf("%s: %v", schema, err)
			}
		}
	}
	// The schema does bite.
	bad := order()
	bad.OrderKey = "no generation"
	if fits(t, doc, "PrepareOrder", bad) == nil {
		t.Error("the schema takes anything")
	}
}

// example reads a named example of the contract into our struct, strictly, and
// says whether writing it again loses anything.
func example[T any](t *testing.T, doc *openapi3.T, name string) (T, any) {
	t.Helper()
	var out T
	raw := doc.Components.Examples[name].Value.Value
	data, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	again, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if json.Unmarshal(data, &a) != nil || json.Unmarshal(again, &b) != nil {
		t.Fatal("not JSON")
	}
	if diff := differences("", a, b); len(diff) > 0 && name != "Prepared" { // halves do not show themselves
		t.Errorf("%s: lost or changed %v", name, diff)
	}
	return out, a
}

func TestOurStructsCarryTheContractsExamplesWhole(t *testing.T) {
	t.Parallel()
	doc := contract(t)
	p, _ := example[issuance.Prepared](t, doc, "Prepared")
	if string(p.PINFirstHalf) != "0042" {
		t.Error("half lost")
	}
	example[issuance.Submission](t, doc, "Submission")
	example[issuance.Receipt](t, doc, "Receipt")
	example[issuance.Event](t, doc, "Shipped")
	example[issuance.Outcome](t, doc, "TooLate")
	example[issuance.PrepareOrder](t, doc, "ResidentOrder")
}

// One contract for residents and AIRE (A21, A24): the golden file holds every
// difference there is.
func TestAnAIREOrderDiffersFromAResidentsOnlyAsDocumented(t *testing.T) {
	t.Parallel()
	doc := contract(t)
	_, resident := example[issuance.PrepareOrder](t, doc, "ResidentOrder")
	_, aire := example[issuance.PrepareOrder](t, doc, "AIREOrder")
	got := strings.Join(differences("", resident, aire), "\n") + "\n"
	const golden = "testdata/aire_differences.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differences\n%swant\n%s", got, want)
	}
	for line := range strings.Lines(got) {
		path, _, _ := strings.Cut(line, ":")
		if path != "resident" && !strings.HasPrefix(path, "applicant.aire") && !strings.HasPrefix(path, "applicant.residence.") && !strings.HasPrefix(path, "delivery.") {
			t.Errorf("undocumented difference %s", line)
		}
	}
}

func differences(path string, a, b any) []string {
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if aok && bok {
		names := map[string]bool{}
		for _, m := range []map[string]any{am, bm} {
			for k := range m {
				names[k] = true
			}
		}
		var out []string
		for _, k := range slices.Sorted(maps.Keys(names)) {
			at := strings.TrimPrefix(path+"."+k, ".")
			x, inA := am[k]
			y, inB := bm[k]
			switch {
			case !inA:
				out = append(out, at+": added")
			case !inB:
				out = append(out, at+": removed")
			default:
				out = append(out, differences(at, x, y)...)
			}
		}
		return out
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if bytes.Equal(x, y) {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s becomes %s", path, x, y)}
}
