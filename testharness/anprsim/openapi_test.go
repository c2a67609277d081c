package anprsim

import (
	"encoding/json"
	"mime"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"airegw/testharness/sim"
)

func openDocument(t *testing.T, name string) *openapi3.T {
	t.Helper()
	loader := openapi3.NewLoader()
	loader.IsExternalRefsAllowed = true
	doc, err := loader.LoadFromFile(filepath.Join("openapi", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return doc
}

// validates holds an answer to what the operation says of its status and type.
func validates(t *testing.T, op *openapi3.Operation, what string, res *http.Response, body []byte) {
	t.Helper()
	declared := op.Responses.Status(res.StatusCode)
	if declared == nil {
		t.Errorf("%s: %d is not declared", what, res.StatusCode)
		return
	}
	mediaType, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	content := declared.Value.Content.Get(mediaType)
	if content == nil {
		t.Errorf("%s: %d has no %s", what, res.StatusCode, mediaType)
		return
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if err := content.Schema.Value.VisitJSON(v, openapi3.MultiErrors()); err != nil {
		t.Errorf("%s: %d %s: %v", what, res.StatusCode, mediaType, err)
	}
}

func TestEveryServiceHasADocumentAndKeepsToIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for code := range serviceNames {
		doc := openDocument(t, code)
		op := doc.Paths.Value("/anpr-service-e002").Post
		// One voucher for all: signing is what takes the time.
		pair := w.pair(code)
		ask1 := func(what string, a ask) int {
			t.Helper()
			a.code, a.evidence, a.voucher = code, pair.evidence, pair.voucher
			if code == "C004" && a.body == nil {
				a.body = map[string]any{"verifica": map[string]any{"datiDecesso": map[string]string{"dataEvento": "2026-01-01"}}}
			}
			res, body := w.call(a)
			validates(t, op, code+" "+what, res, body)
			return res.StatusCode
		}
		seen := map[string]bool{}
		good := 0
		for _, p := range sim.People() {
			if seen[p.Scenario] {
				continue
			}
			seen[p.Scenario] = true
			if ask1(p.Scenario, ask{criteria: byCF(p.CF)}) == 200 {
				good++
			}
		}
		if good < 10 {
			t.Errorf("%s: %d good answers", code, good)
		}
		p := person(t, "ok")
		ask1("empty criteria", ask{criteria: map[string]any{}})
		ask1("no signature", ask{criteria: byCF(p.CF), headers: map[string]string{"Agid-JWT-Signature": "-"}})
		ask1("no voucher", ask{criteria: byCF(p.CF), headers: map[string]string{"Authorization": "-"}})
		ask1("not JSON", ask{rawBody: []byte("x")})
		for _, fault := range []string{FaultOutage, FaultApp999, FaultFlap, FaultAPIUnavailable, FaultNotFoundFront, FaultSpurious429} {
			if err := w.sim.faults.Set(sim.Rule{Name: fault, Op: code, Count: 1}); err != nil {
				t.Fatal(err)
			}
			ask1(fault, ask{criteria: byCF(p.CF)})
		}
		res, err := http.Get(w.http.URL + w.id.Services[code] + w.id.StatusPath)
		if err != nil {
			t.Fatal(err)
		}
		validates(t, doc.Paths.Value("/status").Get, code+" status", res, read(t, res))
	}
}

func TestTheDocumentsAcceptOurRequestsAndRefuseBrokenOnes(t *testing.T) {
	t.Parallel()
	schema := openDocument(t, "C030").Paths.Value("/anpr-service-e002").Post.RequestBody.Value.Content.Get("application/json").Schema.Value
	for text, good := range map[string]bool{
		`{"idOperazioneClient":"20261121211530000001","criteriRicerca":{"codiceFiscale":"FRRLCU86D57Z600N"},"datiRichiesta":{"dataRiferimentoRichiesta":"2026-11-21","motivoRichiesta":"PR-1","casoUso":"C030"}}`:  true,
		`{"idOperazioneClient":20261121,"criteriRicerca":{"codiceFiscale":"FRRLCU86D57Z600N"},"datiRichiesta":{"dataRiferimentoRichiesta":"2026-11-21","motivoRichiesta":"PR-1","casoUso":"C030"}}`:                false,
		`{"idOperazioneClient":"1","criteriRicerca":{"idANPR":"ZN15688CX"},"datiRichiesta":{"dataRiferimentoRichiesta":"2026-11-21","motivoRichiesta":"PR-1","casoUso":"C030"}}`:                                   false,
		`{"idOperazioneClient":"1","criteriRicerca":{"codiceFiscale":"FRRLCU86D57Z600N"},"datiRichiesta":{"dataRiferimentoRichiesta":"21/11/2026","motivoRichiesta":"PR-1","casoUso":"C030"}}`:                     false,
		`{"idOperazioneClient":"123e4567-e89b-12d3-a456-426614174000","criteriRicerca":{"codiceFiscale":"X"},"datiRichiesta":{"dataRiferimentoRichiesta":"2026-11-21","motivoRichiesta":"PR-1","casoUso":"C030"}}`: false,
	} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.VisitJSON(v); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestTheTokenEndpointKeepsToItsDocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	op := openDocument(t, "pdnd").Paths.Value("/token.oauth2").Post
	for what, a := range map[string]ask{
		"good": {}, "bad aud": {assertion: map[string]any{"aud": "x"}}, "stranger": {wrongKey: "assertion"}, "no jti": {assertion: map[string]any{"jti": nil}},
	} {
		a.code = "C030"
		res := w.token(a, "evidence")
		validates(t, op, what, res, read(t, res))
	}
	for _, fault := range []string{FaultToken429, FaultToken500, FaultMaintenance} {
		if err := w.sim.faults.Set(sim.Rule{Name: fault, Op: "token", Count: 1}); err != nil {
			t.Fatal(err)
		}
		res := w.token(ask{code: "C030"}, "evidence")
		validates(t, op, fault, res, read(t, res))
	}
}

// A document that lets everything through would prove nothing.
func TestTheDocumentsSeeAnAnswerThatIsNotTheirs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for mutant, code := range map[string]string{MutantNumbers: "C015", MutantC030Talks: "C030", MutantNotFoundEmpty: "C020", MutantValidityDropped: "C015"} {
		if err := w.sim.SetMutant(mutant); err != nil {
			t.Fatal(err)
		}
		cf := person(t, "ok").CF
		if mutant == MutantNotFoundEmpty {
			cf = "NOBODY"
		}
		_, body := w.call(ask{code: code, criteria: byCF(cf)})
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatal(err)
		}
		op := openDocument(t, code).Paths.Value("/anpr-service-e002").Post
		if op.Responses.Status(200).Value.Content.Get("application/json").Schema.Value.VisitJSON(v) == nil {
			t.Errorf("%s: the document accepts %s", mutant, body)
		}
	}
}

func TestARuleIsBrokenAndMendedOverTheManagementAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	post := func(body string) int {
		t.Helper()
		res, err := http.Post(w.mgmt.URL+"/mutants", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		read(t, res)
		return res.StatusCode
	}
	a := ask{code: "C030", criteria: byCF(person(t, "ok").CF), audit: map[string]any{"userID": nil}}
	status := func() int { res, _ := w.call(a); return res.StatusCode }
	if got := status(); got != 400 {
		t.Errorf("whole: %d", got)
	}
	if got := post(`{"name":"` + MutantAuditUserID + `"}`); got != 200 || w.sim.Mutant() != MutantAuditUserID || status() != 200 {
		t.Errorf("broken: %d, %q", got, w.sim.Mutant())
	}
	if got := post(`{"name":"no such rule"}`); got != 400 || w.sim.Mutant() != MutantAuditUserID {
		t.Errorf("unknown: %d, %q", got, w.sim.Mutant())
	}
	if got := post(`{"name":""}`); got != 200 || status() != 400 {
		t.Errorf("mended: %d", got)
	}
}
