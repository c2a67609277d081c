package anprsim

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"airegw/testharness/sim"
)

type koBody struct {
	Operation string    `json:"idOperazioneANPR"`
	Errors    []anomaly `json:"listaErrori"`
}

// ko calls and expects a refusal of the application.
func (w *world) ko(a ask) (int, koBody) {
	w.t.Helper()
	res, body := w.call(a)
	var out koBody
	if err := json.Unmarshal(body, &out); err != nil {
		w.t.Fatalf("%d %s: %v", res.StatusCode, body, err)
	}
	return res.StatusCode, out
}

func TestTheAwkwardSubjectsAnswerAsTheRegisterWould(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	get := func(code, scenario string) subject {
		return w.good(ask{code: code, criteria: byCF(person(t, scenario).CF)}).Subjects.List[0]
	}
	if s := get("C019", "deceased"); s.Info[0].Value != "N" || s.Info[1].ID != "1015" || s.Info[1].Date != "2025-04-09" {
		t.Errorf("dead: %+v", s.Info)
	}
	if s := get("C018", "not-italian"); s.Citizenship[0].State != "ARGENTINA" {
		t.Errorf("foreigner: %+v", s.Citizenship)
	}
	if s := get("C020", "not-aire"); s.General.AIRE != "" || s.Residence[0].Foreign != nil || s.Residence[0].Address.Comune.ISTAT != "058091" || s.Residence[0].Kind != "1" {
		t.Errorf("resident: %+v", s)
	}
	if s := get("C015", "cf-not-validated"); s.General.CF.Validity != "9" || s.General.CF.ValidFrom != "" {
		t.Errorf("tax code: %+v", s.General.CF)
	}
	if s := get("C015", "no-first-name"); s.General.Name != "" || s.General.NoName != "S" {
		t.Errorf("no first name: %+v", s.General)
	}
	if s := get("C015", "partial-birth-date"); s.General.NoDayMonth != "S" {
		t.Errorf("partial date: %+v", s.General)
	}
	if s := get("C020", "undeliverable"); s.Residence[0].Foreign.Address.Street.Number != "" {
		t.Errorf("undeliverable: %+v", s.Residence[0].Foreign.Address)
	}
	if s := get("C020", "post-mismatch"); s.Residence[0].Foreign.Post.Code[:3] == "233" {
		t.Errorf("mismatch: %+v", s.Residence[0].Foreign.Post)
	}
	twins := w.good(ask{code: "C020", criteria: byCF(person(t, "duplicate").CF)}).Subjects.List
	if len(twins) != 2 || twins[0].IDs.IDANPR == twins[1].IDs.IDANPR {
		t.Errorf("duplicates come as two subjects without a warning of it, got %+v", twins)
	}
	for scenario, want := range map[string]string{"aire-cancelled-5": "cancellato", "aire-cancelled-6": "cancellato", "": "registrato"} {
		cf := "AAAAAA00A00A000A"
		if scenario != "" {
			cf = person(t, scenario).CF
		}
		status, ko := w.ko(ask{code: "C030", criteria: byCF(cf)})
		if status != 404 || ko.Errors[0].Code != "EN122" || ko.Errors[0].Kind != "E" || !strings.Contains(ko.Errors[0].Text, want) || ko.Operation == "" {
			t.Errorf("%s: %d %+v", scenario, status, ko)
		}
	}
}

func TestC030FindsByPersonalDataButNotByID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person(t, "ok")
	data := map[string]any{"cognome": p.Surname, "nome": p.Name, "sesso": p.Sex, "datiNascita": map[string]any{"dataEvento": p.Birth.Date}}
	if got := w.good(ask{code: "C030", criteria: data}).Subjects.List[0].IDs.IDANPR; got != p.IDANPR {
		t.Errorf("got %s", got)
	}
	if status, ko := w.ko(ask{code: "C030", criteria: map[string]any{"idANPR": p.IDANPR}}); status != 400 || ko.Errors[0].Code != "EN081" {
		t.Errorf("by id: %d %+v", status, ko)
	}
}

func TestMalformedBodiesNameThePath(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for body, want := range map[string]string{
		`{}`: "idOperazioneClient",
		`{"idOperazioneClient":1,"criteriRicerca":{},"datiRichiesta":{}}`:                            "Type expected 'string'",
		`{"idOperazioneClient":"1","criteriRicerca":{},"datiRichiesta":{}}`:                          "datiRichiesta.dataRiferimentoRichiesta",
		`{"idOperazioneClient":"1","criteriRicerca":{},"datiRichiesta":{"casoUso":"C030"}} trailing`: "follows",
		`[]`: "Type expected",
		`{`:  "not a JSON object",
	} {
		res, got := w.call(ask{code: "C030", rawBody: []byte(body)})
		var problem govwayBody
		if err := json.Unmarshal(got, &problem); err != nil || res.StatusCode != 400 || problem.Title != "InvalidRequestContent" || !strings.Contains(problem.Detail, want) {
			t.Errorf("%s: %d %s", body, res.StatusCode, got)
		}
	}
	for name, a := range map[string]ask{
		"wrong use case": {body: map[string]any{"datiRichiesta": map[string]string{"dataRiferimentoRichiesta": "2026-11-21", "motivoRichiesta": "x", "casoUso": "C020"}}},
		"dashed uuid":    {body: map[string]any{"idOperazioneClient": "123e4567-e89b-12d3-a456-426614174000"}},
		"no such date":   {body: map[string]any{"datiRichiesta": map[string]string{"dataRiferimentoRichiesta": "2026-02-30", "motivoRichiesta": "x", "casoUso": "C030"}}},
	} {
		a.code, a.criteria = "C030", byCF(person(t, "ok").CF)
		if status, ko := w.ko(a); status != 400 || ko.Errors[0].Code != "EN080" {
			t.Errorf("%s: %d %+v", name, status, ko)
		}
	}
}

func TestThe404OfTheFrontApplianceIsNotACitizenAbsent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{"/nowhere", "/" + w.id.Services["C030"] + w.id.QueryPath, basePath + "C030–servizioAccertamentoIdUnicoNazionale/v1/anpr-service-e002", basePath + "C030-servizioAccertamentoIdUnicoNazionale/v1/anpr-service-e003"} {
		res, body := w.call(ask{code: "C030", criteria: byCF("X"), path: path})
		if res.StatusCode != 404 || strings.Contains(string(body), "EN122") || res.Header.Get("X-Global-Transaction-ID") == "" || !strings.Contains(string(body), "Unknown API Request") {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
}

func TestStatusAnswersAsTheRegisterDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	res, err := http.Get(w.http.URL + w.id.Services["C020"] + w.id.StatusPath)
	if err != nil {
		t.Fatal(err)
	}
	var ko koBody
	if err := json.Unmarshal(read(t, res), &ko); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/problem+json" || ko.Errors[0].Code != "200" || ko.Errors[0].Text != "OK" {
		t.Errorf("%d %+v", res.StatusCode, ko)
	}
}

func TestTheQuotaIsADay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sim.SetLimit("C030", 2)
	a := ask{code: "C030", criteria: byCF(person(t, "ok").CF)}
	w.good(a)
	w.call(ask{code: "C030", criteria: byCF("NOBODY")}) // a failed call counts too
	res, body := w.call(a)
	if res.StatusCode != 429 || !strings.Contains(string(body), "LimitExceeded") || res.Header.Get("Retry-After") != "" {
		t.Errorf("third call: %d %s", res.StatusCode, body)
	}
	w.clock.Advance(12 * 3600e9)
	w.good(a)
}

func TestFaultsAreMarkedCountedAndForOnePersonIfAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, other := person(t, "ok"), person(t, "theft")
	on := func(name, param string) {
		t.Helper()
		w.sim.faults.Reset()
		if err := w.sim.faults.Set(sim.Rule{Name: name, Match: p.CF, Probability: 1, Param: param}); err != nil {
			t.Fatal(err)
		}
	}
	data := func(code string) subject {
		t.Helper()
		res, body := w.call(ask{code: code, criteria: byCF(p.CF)})
		var out answerOK
		if err := json.Unmarshal(body, &out); err != nil || res.StatusCode != 200 {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		if res.Header.Get(sim.FaultHeader) == "" {
			t.Errorf("no %s on %s", sim.FaultHeader, body)
		}
		return out.Subjects.List[len(out.Subjects.List)-1]
	}
	checks := map[string]func() bool{
		FaultCFUnvalidated: func() bool { return data("C015").General.CF.Validity == "9" },
		FaultNoCF:          func() bool { return data("C015").General.CF == nil },
		FaultNoName:        func() bool { return data("C015").General.NoName == "S" },
		FaultNoSince:       func() bool { return data("C020").Residence[0].Since == "" },
		FaultTruncate:      func() bool { return len([]rune(data("C015").General.Surname)) == 36 },
		FaultConsulate:     func() bool { return data("C020").Residence[0].Foreign.Post.Code == "2301204" },
		FaultAddrMess:      func() bool { return data("C020").Residence[0].Foreign.Address.Street.Number == "" },
		FaultComuneLiteral: func() bool { return data("C015").General.ComuneRecord.ISTAT == "AIRE" },
		FaultAIREFlagNull:  func() bool { return data("C015").General.AIRE == "" },
		FaultDeceased:      func() bool { return data("C019").Info[1].Date == "2026-01-15" },
		FaultDeadNoDate:    func() bool { i := data("C019").Info; return i[0].Value == "N" && len(i) == 1 },
		FaultIDChange:      func() bool { return data("C030").IDs.IDANPR != p.IDANPR },
		FaultDuplicate:     func() bool { return data("C020").IDs.IDANPR != p.IDANPR },
		FaultOmocodia:      func() bool { return data("C015").General.Name == "OMONIMO" },
		FaultMerged:        func() bool { return data("C015").General.Name == "ALTRO" },
	}
	for name, check := range checks {
		on(name, "")
		before := w.sim.faults.Injected(name)
		if !check() {
			t.Errorf("%s did not show", name)
		}
		if w.sim.faults.Injected(name) != before+1 {
			t.Errorf("%s counted %d times", name, w.sim.faults.Injected(name)-before)
		}
		res, _ := w.call(ask{code: "C015", criteria: byCF(other.CF)})
		if res.StatusCode != 200 || res.Header.Get(sim.FaultHeader) != "" {
			t.Errorf("%s touched somebody else", name)
		}
	}
	for name, want := range map[string]struct {
		status int
		code   string
	}{
		FaultOutage: {500, "999"}, FaultApp999: {400, "999"}, FaultNotFound: {404, "EN122"}, FaultAIREMissing: {404, "EN122"},
		FaultCFSuperseded: {404, "EN122"}, FaultDoubleReg: {400, "EN470"}, FaultManySubjects: {400, "EN095"},
	} {
		on(name, "")
		if status, ko := w.ko(ask{code: "C020", criteria: byCF(p.CF)}); status != want.status || ko.Errors[0].Code != want.code {
			t.Errorf("%s: %d %+v", name, status, ko)
		}
	}
	// A superseded tax code is still found by personal data.
	on(FaultCFSuperseded, "")
	w.good(ask{code: "C030", criteria: map[string]any{"cognome": p.Surname, "nome": p.Name, "sesso": p.Sex, "datiNascita": map[string]any{"dataEvento": p.Birth.Date}}})
	// And the record has the other code, not the one that was asked for.
	if got := w.good(ask{code: "C015", criteria: map[string]any{"idANPR": p.IDANPR}}).Subjects.List[0].General.CF.CF; got == p.CF || len(got) != 16 || got[:11] != p.CF[:11] {
		t.Errorf("superseded: C015 shows %s", got)
	}
	on(FaultWarnInErrors, "")
	res, body := w.call(ask{code: "C020", criteria: byCF(p.CF)})
	if res.StatusCode != 200 || !strings.Contains(string(body), `"listaErrori":[{"codiceErroreAnomalia":"EN148","tipoErroreAnomalia":"W"`) || !strings.Contains(string(body), "datiSoggetto") {
		t.Errorf("warn-in-errors: %s", body)
	}
	on(FaultOddOpID, "")
	if got := w.good(ask{code: "C020", criteria: byCF(p.CF)}).Operation; got != "XXXX" {
		t.Errorf("odd id %s", got)
	}
	on(FaultBadEncoding, "")
	if _, body := w.call(ask{code: "C020", criteria: byCF(p.CF)}); json.Valid(body) {
		t.Error("bad-encoding gave valid JSON")
	}
}

func TestTheFrontFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := ask{code: "C030", criteria: byCF(person(t, "ok").CF)}
	for name, want := range map[string]struct {
		param  string
		status int
		holds  string
	}{
		FaultFlap: {"", 503, "0x00c30008"}, FaultAPIUnavailable: {"", 503, "APIUnavailable"}, FaultHTMLError: {"", 500, "GovWay-OP20000-9999"},
		FaultNotFoundFront: {"", 404, "Unknown API Request"}, FaultSpurious429: {"", 429, "TooManyRequests"}, FaultKeyPropagation: {"", 400, "InteroperabilityInvalidRequest"},
	} {
		if err := w.sim.faults.Set(sim.Rule{Name: name, Op: "C030", Count: 1, Param: want.param}); err != nil {
			t.Fatal(err)
		}
		res, body := w.call(a)
		if res.StatusCode != want.status || !strings.Contains(string(body), want.holds) || res.Header.Get(sim.FaultHeader) != name {
			t.Errorf("%s: %d %s, header %q", name, res.StatusCode, body, res.Header.Get(sim.FaultHeader))
		}
	}
	if err := w.sim.faults.Set(sim.Rule{Name: FaultSpurious429, Count: 1, Param: "empty"}); err != nil {
		t.Fatal(err)
	}
	if res, body := w.call(a); res.StatusCode != 429 || len(body) != 0 {
		t.Errorf("empty 429: %d %q", res.StatusCode, body)
	}
	for name, want := range map[string]int{FaultMaintenance: 503, FaultPurposeSuspended: 400, FaultAgreementSuspended: 400, FaultToken429: 429, FaultToken500: 500} {
		if err := w.sim.faults.Set(sim.Rule{Name: name, Op: "token", Count: 1}); err != nil {
			t.Fatal(err)
		}
		if res := w.token(ask{code: "C030"}, "e"); res.StatusCode != want || res.Header.Get(sim.FaultHeader) != name {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	w.good(a)
}

func TestStrictOperationIDsReplayTheOldAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.sim.faults.Set(sim.Rule{Name: FaultStrictOpID, Probability: 1}); err != nil {
		t.Fatal(err)
	}
	p, other := person(t, "ok"), person(t, "theft")
	with := func(id, cf string) ask {
		return ask{code: "C030", criteria: byCF(cf), body: map[string]any{"idOperazioneClient": id}}
	}
	first := w.good(with("100", p.CF))
	again := w.good(with("100", other.CF))
	if again.Subjects.List[0].IDs.IDANPR != p.IDANPR || again.Operation != first.Operation {
		t.Error("a repeated id must answer what it answered before, even to another question")
	}
	if status, ko := w.ko(with("99", p.CF)); status != 400 || ko.Errors[0].Code != "EN080" {
		t.Errorf("lower id: %d %+v", status, ko)
	}
	if status, ko := w.ko(with("abc", p.CF)); status != 400 || ko.Errors[0].Code != "EN080" {
		t.Errorf("letters: %d %+v", status, ko)
	}
	a := with("100", p.CF)
	a.code = "C020"
	if status, ko := w.ko(a); status != 400 || ko.Errors[0].Code != "EN079" {
		t.Errorf("id of another service: %d %+v", status, ko)
	}
}

func TestEveryScalarOfAnAnswerIsAString(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bare := regexp.MustCompile(`[:\[,](-?[0-9]|true|false|null)`)
	for _, scenario := range []string{"ok", "not-aire", "deceased", "partial-birth-date", "duplicate"} {
		_, body := w.call(ask{code: "C029", criteria: byCF(person(t, scenario).CF)})
		text := regexp.MustCompile(`"[^"]*"`).ReplaceAllString(string(body), `""`)
		if bare.MatchString(text) {
			t.Errorf("%s: a scalar that is no string in %s", scenario, body)
		}
	}
}
