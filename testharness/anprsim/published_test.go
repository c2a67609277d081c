package anprsim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"airegw/testharness/sim"
)

// published are the OpenAPI files of others at hand, by the service they are of.
var published = map[string]string{"C001": "pn-C001-servizioNotifica.yaml", "C030": "gaia-SpecificaAPI_C030.yaml"}

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
		judged := 0
		for _, p := range append(sim.People(), OfficialSubjects()...) {
			res, body := w.call(ask{code: code, criteria: byCF(p.CF)})
			var v any
			if err := json.Unmarshal(body, &v); err != nil {
				t.Fatalf("%s %s: %v", code, p.Scenario, err)
			}
			content := good
			if res.StatusCode != 200 {
				if op.Responses.Status(res.StatusCode) == nil {
					t.Errorf("%s %s: %d is not published", code, p.Scenario, res.StatusCode)
					continue
				}
				content = op.Responses.Status(res.StatusCode).Value.Content
			}
			for _, media := range content {
				if media.Schema == nil {
					continue
				}
				if err := media.Schema.Value.VisitJSON(v, openapi3.MultiErrors()); err != nil {
					t.Errorf("%s %s %d: %v", code, p.Scenario, res.StatusCode, err)
				}
				judged++
			}
		}
		if judged < 20 {
			t.Errorf("%s: %d answers were judged", code, judged)
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
