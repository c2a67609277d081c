package anprcontract

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// mode switches one unpleasantness on, asks, and looks at the answer.
func mode(idOf, clause, sentence, fault, param, service, role string, want func(answer) error) Scenario {
	return Scenario{ID: idOf, Clause: clause, Sentence: sentence, Management: true, Services: []string{service}, Roles: []string{role}, run: func(s *session) error {
		// The pair is fetched before the fault is set: it may touch the token too.
		_, err := s.cached(service)
		if err == nil {
			err = s.fault(fault, service, param)
		}
		if err != nil {
			return err
		}
		return s.asks(service, s.byCF(role), want)
	}}
}

// tokenMode is the same at the token endpoint.
func tokenMode(idOf, clause, sentence, fault string, status int) Scenario {
	return Scenario{ID: idOf, Clause: clause, Sentence: sentence, Management: true, Services: []string{"C030"}, run: func(s *session) error {
		err := s.fault(fault, "token", "")
		if err != nil {
			return err
		}
		a, err := s.token(tokenCall{service: "C030"})
		if err != nil {
			return err
		}
		if a.status != status || str(a.object, "access_token") != "" {
			return expected(fmt.Sprintf("%d without a voucher", status), a)
		}
		return nil
	}}
}

// person looks at the first subject of a good answer.
func person(what string, check func(map[string]any) bool) func(answer) error {
	return func(a answer) error {
		if a.status != http.StatusOK || len(a.people()) == 0 || !check(a.people()[0]) {
			return expected("200 with "+what, a)
		}
		return nil
	}
}

// The unpleasant modes of §8, as the switches of a simulator.
func modeScenarios() []Scenario {
	residence := func(p map[string]any) map[string]any {
		if r := list(p["residenza"]); len(r) > 0 {
			return r[0]
		}
		return nil
	}
	return []Scenario{
		mode("mode-key-propagation", "§8 row 6", "A key that has not arrived yet is the opaque 400 too.", "key-propagation-delay", "", "C030", "aire", opaque),
		mode("mode-spurious-429", "§8 row 10", "A 429 may come with quota left, without Retry-After.", "spurious-429", "", "C030", "aire", func(a answer) error {
			if a.status != 429 || a.header.Get("Retry-After") != "" {
				return expected("429 without Retry-After", a)
			}
			return nil
		}),
		{ID: "quota", Clause: "§1.8", Sentence: "Over the daily quota every call is 429, failed calls having counted too.", Management: true, Services: []string{"C018"}, Roles: []string{"aire"}, run: overQuota},
		mode("mode-flap", "§8 row 11", "The appliance's own 503 is GatewayError without govway_id.", "flap", "", "C030", "aire", func(a answer) error {
			if gateway(503, "GatewayError")(a) != nil || str(a.object, "govway_id") != "" {
				return expected("503 GatewayError without govway_id", a)
			}
			return nil
		}),
		mode("mode-api-unavailable", "§8 row 11", "A backend that is down is 503 APIUnavailable.", "api-unavailable", "", "C030", "aire", gateway(503, "APIUnavailable")),
		mode("mode-html", "§8 row 11", "The front end may answer an HTML page.", "html-error", "", "C030", "aire", func(a answer) error {
			if a.object != nil || !strings.Contains(a.header.Get("Content-Type"), "text/html") || a.status < 500 {
				return expected("an HTML page with 5xx", a)
			}
			return nil
		}),
		mode("mode-html-200", "§8 row 11", "The HTML page may come with 200: still no answer.", "html-error", "200", "C030", "aire", func(a answer) error {
			if a.object != nil || a.status != 200 {
				return expected("an HTML page with 200", a)
			}
			return nil
		}),
		mode("mode-outage", "§8 row 12", "An outage of the register is 500 with 999 and EN527.", "outage", "", "C020", "aire", func(a answer) error {
			return errors.Join(appError(500, "999")(a), appError(500, "EN527")(a))
		}),
		mode("mode-app-999", "§1.6", "The catch-all is 400 with 999.", "app-999", "", "C020", "aire", appError(400, "999")),
		tokenMode("mode-maintenance", "§8 row 12", "An announced stop of PDND gives no voucher.", "maintenance", 503),
		mode("mode-front-404", "§8 row 13", "The appliance's 404 has no register code and adds X-Global-Transaction-ID.", "404-notfound", "", "C030", "aire", func(a answer) error {
			if a.status != 404 || len(a.codes("")) > 0 || str(a.object, "X-Global-Transaction-ID") == "" {
				return expected("404 with X-Global-Transaction-ID and without EN122", a)
			}
			return nil
		}),
		{ID: "mode-en122-text", Clause: "§8 row 14", Sentence: "EN122 had one text until July 2025 and has two since, under the same code.", Management: true, Services: []string{"C030"}, Roles: []string{"absent"}, run: en122Texts},
		mode("mode-warn-in-errors", "§8 row 15", "EN148 may sit in listaErrori beside good data, as a W.", "warn-in-errors", "", "C020", "aire", func(a answer) error {
			errs := list(a.object["listaErrori"])
			if found(a) != nil || len(errs) != 1 || str(errs[0], "codiceErroreAnomalia") != "EN148" || str(errs[0], "tipoErroreAnomalia") != "W" {
				return expected("200 with data and EN148 W in listaErrori", a)
			}
			return nil
		}),
		mode("mode-odd-operation-id", "§8 row 16", "idOperazioneANPR may be no number.", "odd-op-id", "XXXX", "C030", "aire", func(a answer) error {
			if str(a.object, "idOperazioneANPR") != "XXXX" {
				return expected("idOperazioneANPR XXXX", a)
			}
			return found(a)
		}),
		mode("mode-duplicate", "§8 row 17", "A subject may be there twice, with two idANPR.", "duplicate", "", "C020", "aire", twoIDs),
		mode("mode-omocodia", "§8 row 17", "Two different people may share a tax code.", "omocodia", "", "C020", "aire", twoIDs),
		mode("mode-many-subjects", "§8 row 17", "Several subjects may also be EN095, without data.", "many-subjects", "", "C020", "aire", appError(400, "EN095")),
		mode("mode-double-registration", "§8 row 18", "A person in Italy and in AIRE at once is EN470.", "double-registration", "", "C020", "aire", appError(400, "EN470")),
		mode("mode-aire-missing", "§8 row 19", "An AIRE person the register does not know is EN122.", "aire-missing", "", "C020", "aire", absent),
		mode("mode-cf-unvalidated", "§8 row 20", "A tax code may be there without being validated.", "cf-unvalidated", "", "C015", "aire", person("validitaCF 9", func(p map[string]any) bool {
			return str(p, "generalita", "codiceFiscale", "validitaCF") == "9"
		})),
		mode("mode-no-cf", "§8 row 20", "A record may have no tax code.", "no-cf", "", "C015", "aire", person("no codiceFiscale", func(p map[string]any) bool {
			return at(p, "generalita") != nil && at(p, "generalita", "codiceFiscale") == nil
		})),
		{ID: "mode-cf-superseded", Clause: "§8 row 21", Sentence: "Whoever is known under another tax code is EN122 by this one and found by personal data.", Management: true, Services: []string{"C030"}, Roles: []string{"aire"}, run: superseded},
		mode("mode-truncate", "§8 row 22", "Names may be cut at 36 characters.", "truncate36", "", "C015", "aire", person("a surname of 36 characters", func(p map[string]any) bool {
			return utf8.RuneCountInString(str(p, "generalita", "cognome")) == 36
		})),
		mode("mode-translit", "§8 row 23", "A surname may come transliterated.", "translit", "", "C015", "accented", person("a surname in ASCII", func(p map[string]any) bool {
			surname := str(p, "generalita", "cognome")
			return surname != "" && ascii(surname) && !strings.Contains(surname, "?")
		})),
		mode("mode-diacritics", "§8 row 23", "Letters of a surname may be lost to a question mark.", "diacritics", "", "C015", "accented", person("a question mark in the surname", func(p map[string]any) bool {
			return strings.Contains(str(p, "generalita", "cognome"), "?")
		})),
		mode("mode-bad-encoding", "§8 row 24", "An answer may hold bytes that are not UTF-8.", "bad-encoding", "", "C015", "aire", func(a answer) error {
			if a.status != 200 || utf8.Valid(a.body) && json.Valid(a.body) {
				return expected("200 with a broken encoding", a)
			}
			return nil
		}),
		mode("mode-addr-mess", "§8 row 25", "A foreign address may have no civic number and a city for a street.", "addr-mess", "", "C020", "aire", person("no civic number", func(p map[string]any) bool {
			return str(residence(p), "localitaEstera", "indirizzoEstero", "toponimo", "numeroCivico") == ""
		})),
		mode("mode-consulate-stale", "§8 row 26", "The consulate may be one that was suppressed.", "consulate-stale", "2301204|NORIMBERGA", "C020", "aire", person("consulate 2301204", func(p map[string]any) bool {
			return str(residence(p), "localitaEstera", "consolato", "codiceConsolato") == "2301204"
		})),
		mode("mode-comune-literal", "§8 row 27", "The comune of AIRE registration may be the word AIRE.", "comune-literal", "", "C015", "aire", person("the word AIRE", func(p map[string]any) bool {
			return str(p, "generalita", "idSchedaSoggettoComune", "idSchedaSoggettoComuneIstat") == "AIRE"
		})),
		mode("mode-aire-flag-null", "§8 row 29", "soggettoAIRE may be absent for an AIRE person.", "aire-flag-null", "", "C015", "aire", person("no soggettoAIRE", func(p map[string]any) bool {
			return at(p, "generalita") != nil && str(p, "generalita", "soggettoAIRE") == ""
		})),
		mode("mode-dead-nodate", "§8 row 29", "A dead person may have no date of death.", "dead-nodate", "", "C019", "aire", person("1003 N without 1015", func(p map[string]any) bool {
			i := list(p["infoSoggettoEnte"])
			return len(i) == 1 && str(i[0], "valore") == "N"
		})),
		mode("mode-no-name", "§8 row 30", "A person may have no first name: senzaNome is S.", "no-name", "", "C015", "aire", person("senzaNome S", func(p map[string]any) bool {
			return str(p, "generalita", "senzaNome") == "S" && str(p, "generalita", "nome") == ""
		})),
		{ID: "mode-mae-lag", Clause: "§8 row 31", Sentence: "The record may be the one before its last change.", Management: true, Services: []string{"C020"}, Roles: []string{"other"}, run: lag},
		broken("mode-no-answer", "The connection may close without an answer.", "drop_request"),
		broken("mode-cut-body", "An answer may break off half-way.", "cut_body"),
		mode("mode-empty-200", "B.6", "A 200 may come without a body: no answer.", "empty_200", "", "C030", "aire", func(a answer) error {
			if a.status != 200 || len(a.body) != 0 {
				return expected("200 without a body", a)
			}
			return nil
		}),
		{ID: "opid-replayed", Clause: "§8 row 33", Sentence: "A repeated idOperazioneClient answers what it answered before, even to another question.", Management: true, Services: []string{"C030"}, Roles: []string{"aire", "other"}, run: replayedID},
		{ID: "opid-lower", Clause: "§8 row 33", Sentence: "A lower unknown idOperazioneClient is an error.", Management: true, Services: []string{"C030"}, Roles: []string{"aire"}, run: lowerID},
		{ID: "opid-other-service", Clause: "§6", Sentence: "An idOperazioneClient used for another service is EN079.", Management: true, Services: []string{"C030", "C020"}, Roles: []string{"aire"}, run: otherServiceID},
		mode("mode-no-since", "§8 row 34", "dataDecorrenzaResidenza may be missing.", "no-since", "", "C020", "aire", person("no dataDecorrenzaResidenza", func(p map[string]any) bool {
			return residence(p) != nil && str(residence(p), "dataDecorrenzaResidenza") == ""
		})),
		tokenMode("mode-purpose-suspended", "§8 row 35", "A suspended purpose gives no voucher, opaquely.", "purpose-suspended", 400),
		tokenMode("mode-agreement-suspended", "§8 row 35", "A suspended agreement gives no voucher, opaquely.", "agreement-suspended", 400),
		tokenMode("mode-token-429", "§2.4", "Too many vouchers are 429.", "token-429", 429),
		tokenMode("mode-token-500", "§2.4", "The token endpoint may fail with 500.", "token-500", 500),
		mode("mode-id-change", "§8 row 37", "An idANPR may change.", "idanpr-change", "", "C030", "aire", person("an idANPR", func(p map[string]any) bool {
			return idShape.MatchString(str(p, "identificativi", "idANPR"))
		})),
		{ID: "ledger", Clause: "§3.4", Sentence: "A simulator's ledger tells who asked, from where and why.", Management: true, Services: []string{"C030"}, Roles: []string{"aire"}, run: ledger},
		mode("fault-marked", "B.6", "An answer touched by a fault of a simulator says so.", "outage", "", "C020", "aire", func(a answer) error {
			if a.header.Get("X-Sim-Fault") == "" {
				return expected("X-Sim-Fault", a)
			}
			return nil
		}),
	}
}

func twoIDs(a answer) error {
	if found(a) != nil || len(a.people()) != 2 || str(a.people()[0], "identificativi", "idANPR") == str(a.people()[1], "identificativi", "idANPR") {
		return expected("200 with two subjects and two ids", a)
	}
	return nil
}

// broken is a mode whose answer never arrives whole.
func broken(idOf, sentence, fault string) Scenario {
	return Scenario{ID: idOf, Clause: "B.6", Sentence: sentence, Management: true, Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
		_, err := s.cached("C030")
		if err == nil {
			err = s.fault(fault, "C030", "")
		}
		if err != nil {
			return err
		}
		a, err := s.call(draft{service: "C030", criteria: s.byCF("aire")})
		if err == nil {
			return expected("no whole answer", a)
		}
		if errors.Is(err, errBudget) {
			return err
		}
		return nil
	}}
}

// lag changes a record, asks for it with the ministry's delay on, and puts it back.
func lag(s *session) error {
	since := func() (string, error) {
		a, err := s.call(draft{service: "C020", criteria: s.byCF("other")})
		if err == nil {
			err = found(a)
		}
		if err != nil {
			return "", err
		}
		all := list(a.people()[0]["residenza"])
		if len(all) == 0 {
			return "", expected("a residence", a)
		}
		return str(all[0], "dataDecorrenzaResidenza"), nil
	}
	before, err := since()
	if err != nil {
		return err
	}
	path := "/people/" + s.target.Subjects["other"].CF
	_, err = s.manage(http.MethodPost, path, map[string]any{"residence_since": "2026-10-01"})
	if err != nil {
		return err
	}
	now, err := since()
	if err == nil {
		err = s.fault("mae-lag", "C020", "")
	}
	late := ""
	if err == nil {
		late, err = since()
	}
	_, back := s.manage(http.MethodDelete, path, nil)
	if err != nil || back != nil {
		return errors.Join(err, back)
	}
	if now != "2026-10-01" || late != before {
		return fmt.Errorf("changed to %q, answered %q late; expected %q", now, late, before)
	}
	return nil
}

func overQuota(s *session) error {
	before, err := s.manage(http.MethodGet, "/quota", nil)
	if err != nil {
		return err
	}
	limit, _ := number(at(before.object, "quota", "C018", "limit"))
	_, err = s.manage(http.MethodPost, "/quota", map[string]any{"C018": 0})
	if err != nil {
		return err
	}
	a, err := s.call(draft{service: "C018", criteria: s.byCF("aire")})
	_, back := s.manage(http.MethodPost, "/quota", map[string]any{"C018": limit})
	if err != nil || back != nil {
		return errors.Join(err, back)
	}
	if a.status != 429 || a.header.Get("Retry-After") != "" {
		return expected("429 without Retry-After", a)
	}
	return nil
}

func en122Texts(s *session) error {
	textOf := func() (string, error) {
		a, err := s.call(draft{service: "C030", criteria: s.byCF("absent")})
		if err == nil {
			err = absent(a)
		}
		if err != nil {
			return "", err
		}
		for _, e := range list(a.object["listaErrori"]) {
			if str(e, "codiceErroreAnomalia") == "EN122" {
				return str(e, "testoErroreAnomalia"), nil
			}
		}
		return "", nil
	}
	now, err := textOf()
	if err == nil {
		err = s.fault("en122-old", "C030", "")
	}
	if err != nil {
		return err
	}
	old, err := textOf()
	if err != nil {
		return err
	}
	if old == now {
		return errors.New("the old text is the same as the new")
	}
	return nil
}

func superseded(s *session) error {
	err := s.fault("cf-superseded", "C030", "")
	if err == nil {
		err = s.asks("C030", s.byCF("aire"), absent)
	}
	if err != nil {
		return err
	}
	p := s.target.Subjects["aire"]
	return s.asks("C030", map[string]any{"cognome": p.Surname, "nome": p.Name, "sesso": p.Sex, "datiNascita": map[string]any{"dataEvento": p.Birth}}, found)
}

// withID asks with an operation id, the strict order of ids being on.
func (s *session) withID(service, role, operation string) (answer, error) {
	return s.call(draft{service: service, criteria: s.byCF(role), body: map[string]any{"idOperazioneClient": operation}})
}

func replayedID(s *session) error {
	err := s.fault("strict-opid", "", "")
	if err != nil {
		return err
	}
	op := s.operationID()
	first, err := s.withID("C030", "aire", op)
	if err == nil {
		err = found(first)
	}
	if err != nil {
		return err
	}
	again, err := s.withID("C030", "other", op)
	if err != nil {
		return err
	}
	if string(first.body) != string(again.body) {
		return errors.New("the second answer is not the first")
	}
	return nil
}

func lowerID(s *session) error {
	err := s.fault("strict-opid", "", "")
	if err != nil {
		return err
	}
	lower := s.operationID()
	a, err := s.withID("C030", "aire", s.operationID())
	if err == nil {
		err = found(a)
	}
	if err != nil {
		return err
	}
	a, err = s.withID("C030", "aire", lower)
	if err != nil {
		return err
	}
	return refusedByApp(a)
}

func otherServiceID(s *session) error {
	err := s.fault("strict-opid", "", "")
	if err != nil {
		return err
	}
	op := s.operationID()
	a, err := s.withID("C030", "aire", op)
	if err == nil {
		err = found(a)
	}
	if err != nil {
		return err
	}
	a, err = s.withID("C020", "aire", op)
	if err != nil {
		return err
	}
	return appError(400, "EN079")(a)
}

func ledger(s *session) error {
	_, err := s.call(draft{service: "C030", criteria: s.byCF("aire")})
	if err != nil {
		return err
	}
	a, err := s.manage(http.MethodGet, "/calls?service=C030&limit=1", nil)
	if err != nil {
		return err
	}
	calls := list(a.object["calls"])
	if len(calls) != 1 || str(calls[0], "user_id") != "contratto-1" || str(calls[0], "user_location") != "POSTAZIONE-1" || str(calls[0], "reason") != "CONTRATTO-1" {
		return errors.New("the last call does not name the user, the location and the reason we sent")
	}
	return nil
}

// fixedBody writes the body of a draft once, for scenarios that need its bytes.
func (s *session) fixedBody(d *draft) (body string, sum [32]byte, err error) {
	b, err := json.Marshal(map[string]any{
		"idOperazioneClient": s.operationID(), "criteriRicerca": d.criteria,
		"datiRichiesta": map[string]any{
			"dataRiferimentoRichiesta": s.opt.Now().UTC().Format(time.DateOnly), "motivoRichiesta": "CONTRATTO-1", "casoUso": d.service,
		},
	})
	return string(b), sha256.Sum256(b), err
}

func hexDigest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// compactParts takes header and claims out of a compact JWS, unverified.
func compactParts(raw string) (header, claims map[string]any, err error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, nil, errors.New("not a compact JWS")
	}
	for i, into := range []*map[string]any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return nil, nil, errors.New("not a compact JWS")
		}
		dec := json.NewDecoder(strings.NewReader(string(b)))
		dec.UseNumber()
		err = dec.Decode(into)
		if err != nil {
			return nil, nil, errors.New("not a compact JWS")
		}
	}
	return header, claims, nil
}

func audienceHolds(aud any, want string) bool {
	if aud == want {
		return true
	}
	items, _ := aud.([]any)
	for _, a := range items {
		if a == want {
			return true
		}
	}
	return false
}
