package anprsim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"airegw/testharness/sim"
)

// published are OpenAPI files of others, by the service they are of; which of
// them are at hand differs from place to place.
var published = map[string]string{
	"C001": "pn-C001-servizioNotifica.yaml", "C004": "gaia-C004-servizioVerificaDichDecesso.yaml",
	"C021": "idpay-C021-servizioAccertamentoStatoFamiglia.yaml", "C030": "gaia-SpecificaAPI_C030.yaml",
}

// closed makes every object of a schema refuse members that it does not name:
// the published files leave that open, and a misspelt member would pass.
func closed(s *openapi3.SchemaRef, seen map[*openapi3.Schema]bool) {
	if s == nil || s.Value == nil || seen[s.Value] {
		return
	}
	seen[s.Value] = true
	if no := false; s.Value.Type.Is("object") && len(s.Value.Properties) > 0 {
		s.Value.AdditionalProperties.Has = &no
	}
	for _, p := range s.Value.Properties {
		closed(p, seen)
	}
	closed(s.Value.Items, seen)
}

func TestTheAnswersValidateAgainstThePublishedDocuments(t *testing.T) {
	t.Parallel()
	shared := os.Getenv("AIREGW_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	w := newWorld(t)
	for code, file := range published {
		loader := openapi3.NewLoader()
		doc, err := loader.LoadFromFile(filepath.Join(shared, "fixtures", "anpr", file))
		if err != nil {
			t.Logf("%s: the published document is not at hand (AIREGW_SHARED): %v", code, err)
			continue
		}
		op := doc.Paths.Value("/anpr-service-e002").Post
		good := op.Responses.Status(200).Value.Content
		judged, seen := 0, map[*openapi3.Schema]bool{}
		for _, res := range op.Responses.Map() {
			for _, media := range res.Value.Content {
				closed(media.Schema, seen)
			}
		}
		pair := w.pair(code) // one voucher for all: signing is what takes the time
		judge := func(what string, cf, died string) {
			question := ask{code: code, criteria: byCF(cf), evidence: pair.evidence, voucher: pair.voucher}
			if code == "C004" {
				if died == "" {
					died = "2026-01-01"
				}
				question.body = map[string]any{"verifica": map[string]any{"datiDecesso": map[string]string{"dataEvento": died}}}
			}
			res, body := w.call(question)
			var v any
			if err := json.Unmarshal(body, &v); err != nil {
				t.Fatalf("%s %s: %v", code, what, err)
			}
			content := good
			if res.StatusCode != 200 {
				if op.Responses.Status(res.StatusCode) == nil {
					t.Errorf("%s %s: %d is not published", code, what, res.StatusCode)
					return
				}
				content = op.Responses.Status(res.StatusCode).Value.Content
			}
			for _, media := range content {
				if media.Schema == nil {
					continue
				}
				if err := media.Schema.Value.VisitJSON(v, openapi3.MultiErrors()); err != nil {
					t.Errorf("%s %s %d: %v", code, what, res.StatusCode, err)
				}
				judged++
			}
		}
		for _, p := range append(sim.People(), OfficialSubjects()...) {
			judge(p.Scenario, p.CF, p.DiedOn)
		}
		for _, fault := range []string{FaultOutage, FaultApp999} {
			if err := w.sim.faults.Inject(fault, 1); err != nil {
				t.Fatal(err)
			}
			judge(fault, person(t, "ok").CF, "")
		}
		if judged < 30 {
			t.Errorf("%s: %d answers were judged", code, judged)
		}
	}
}

// TestEveryServiceIsAskedByPersonalDataToo: the published schemas of the
// services have the same criteria, keys and personal data.
func TestEveryServiceIsAskedByPersonalDataToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person(t, "ok")
	criteria := map[string]any{"cognome": p.Surname, "nome": p.Name, "sesso": p.Sex, "datiNascita": map[string]any{"dataEvento": p.Birth.Date}}
	for _, code := range []string{"C001", "C015", "C020", "C021", "C030"} {
		got := w.good(ask{code: code, criteria: criteria})
		if len(got.Subjects.List) == 0 || got.Subjects.List[0].IDs.IDANPR != p.IDANPR {
			t.Errorf("%s: %+v", code, got.Subjects.List)
		}
		if status, ko := w.ko(ask{code: code, criteria: map[string]any{"cognome": p.Surname, "nome": p.Name}}); status != 400 || ko.Errors[0].Code != "EN081" {
			t.Errorf("%s without sex and birth: %d %+v", code, status, ko)
		}
	}
}

func TestThePublishedSubjectsAreThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for cf, id := range map[string]string{
		"STTSGT90A01H501J": "AF41450AS", "NNOSGT90A01H501I": "EV45959WW", "TTVSGT90A01H501H": "TK44563XB", "PRVGNN90R10H501Q": "UK79569LF",
		"NRECLD90R50H501G": "JF28000UG", "NDRCPL01A01H501S": "LB27131ED", "NDRMRC02B02H501D": "RE03592S1", "TDSPRM00R10A952C": "DU58740Y1",
		"SLVDNN00R50L424L": "DJ02468WZ", "TSDSND90R10A952M": "GS66689VV",
	} {
		got := w.good(ask{code: "C030", criteria: byCF(cf)})
		if len(got.Subjects.List) != 1 || got.Subjects.List[0].IDs.IDANPR != id {
			t.Errorf("%s: %+v", cf, got.Subjects.List)
		}
		if p := w.good(ask{code: "C015", criteria: byCF(cf)}).Subjects.List[0].General; p.CF.CF != cf || p.AIRE != "" || p.Birth[2:4] != cf[6:8] {
			t.Errorf("%s: %+v", cf, p)
		}
	}
	if status, ko := w.ko(ask{code: "C030", criteria: byCF("PRVCCL60B50G393U")}); status != 404 || ko.Errors[0].Code != "EN122" {
		t.Errorf("cancelled: %d", status)
	}
	if got := w.good(ask{code: "C030", criteria: byCF("DPLPRM90R10H501I")}); len(got.Subjects.List) != 2 {
		t.Errorf("duplicate: %d subjects", len(got.Subjects.List))
	}
}
