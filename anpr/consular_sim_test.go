package anpr_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/anpr/wssec"
	"airegw/gateway/outbound"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// consular is door C's client in front of the simulator, with a hook for the
// answers on their way.
type consular struct {
	server *anprsim.Server
	clock  *sim.ManualClock
	client *anpr.Consular
	change func([]byte) []byte
	status int
	ids    *counter
}

func newConsular(t *testing.T, edit ...func(*anpr.ConsularConfig)) *consular {
	t.Helper()
	w := &consular{clock: sim.NewManual(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)), ids: &counter{}}
	var err error
	w.server, err = anprsim.New(anprsim.Options{Clock: w.clock, Seed: 1, Key: voucherKey()})
	if err != nil {
		t.Fatal(err)
	}
	inner := w.server.Handler()
	h := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.change == nil && w.status == 0 {
			inner.ServeHTTP(rw, r)
			return
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		body, _ := io.ReadAll(rec.Result().Body)
		if w.change != nil {
			body = w.change(body)
		}
		if w.status == 0 {
			w.status = rec.Code
		}
		rw.WriteHeader(w.status)
		_, _ = rw.Write(body)
	}))
	t.Cleanup(func() {
		h.Close()
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
	})
	id, err := w.server.IssueSOAP("260010", "PDL-1", voucherKey())
	if err != nil {
		t.Fatal(err)
	}
	site, err := wssec.ParseIdentity([]byte(id.SitePEM), []byte(id.SiteKey))
	if err != nil {
		t.Fatal(err)
	}
	station, err := wssec.ParseIdentity([]byte(id.StationPEM), []byte(id.StationKey))
	if err != nil {
		t.Fatal(err)
	}
	register, err := wssec.ParseCertificates([]byte(id.Register))
	if err != nil {
		t.Fatal(err)
	}
	out, err := outbound.New(outbound.Config{
		Peer: "consular", Deadline: 10 * time.Second, MaxBody: 1 << 20, Tries: 1, BackoffMin: 1, BackoffMax: 2,
		Clock: w.clock.Now, Rand: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	cfg := anpr.ConsularConfig{
		URL: h.URL + w.server.Identity().ConsularPath, Sender: "260010", Environment: "TEST", Site: "260010", Station: "PDL-1", Application: "airegw", User: "SERVICE",
		Signer:  wssec.Signer{Suite: wssec.SuiteSHA256, Site: site, Station: station, Issuer: "airegw"},
		Answers: wssec.Checker{Suites: []wssec.Suite{wssec.SuiteSHA256}, Trust: wssec.TrustOnly(register...), Skew: 5 * time.Second},
		Out:     out, OperationIDs: w.ids, Clock: w.clock.Now, Rand: rand.Reader,
		PostServes: func(string, string) (bool, bool) { return true, true },
	}
	for _, e := range edit {
		e(&cfg)
	}
	if w.client, err = anpr.NewConsular(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func aireQuery(t *testing.T) (anpr.Query, sim.Person) {
	t.Helper()
	p, ok := sim.PersonByScenario("ok")
	if !ok {
		t.Fatal("no ordinary person")
	}
	q := ask(p.CF)
	q.Surname, q.GivenName = p.Surname, p.Name
	q.AIREComune = anpr.ComuneRef{ISTAT: p.AIRE.ComuneISTAT}
	return q, p
}

func TestDoorCReadsEverySyntheticPersonAsTheyAre(t *testing.T) {
	t.Parallel()
	w := newConsular(t)
	for _, p := range sim.People() {
		q := ask(p.CF)
		q.AIREComune.ISTAT = "058091"
		if p.AIRE != nil {
			q.AIREComune.ISTAT = p.AIRE.ComuneISTAT
		}
		rec, err := w.client.Check(t.Context(), q)
		if err != nil {
			t.Errorf("%s (%s): %v", p.CF, p.Scenario, err)
			continue
		}
		got := rec.Person
		switch {
		case p.Scenario == "duplicate":
			if !rec.Has(anpr.FindingDuplicate) {
				t.Errorf("%s duplicate: %s", p.CF, codes(rec))
			}
		case p.Status == sim.StatusAIRE:
			if got.AIRE != anpr.Yes || got.Alive != anpr.Yes || got.FiscalCode != p.CF || got.Surname != p.Surname || !got.Address.Foreign || (p.Post != nil && got.Post.Code != p.Post.Code) {
				t.Errorf("%s: %+v", p.CF, got)
			}
			if p.CFValidity == "9" != rec.Has(anpr.FindingCFNotValidated) {
				t.Errorf("%s: validity %s, %s", p.CF, p.CFValidity, codes(rec))
			}
		case p.Status == sim.StatusResident:
			if !rec.Has(anpr.FindingNotAIRE) {
				t.Errorf("%s resident: %s", p.CF, codes(rec))
			}
		case p.Status == sim.StatusCancelled && p.AIRE != nil:
			if !rec.Has(anpr.FindingCancelled) {
				t.Errorf("%s cancelled: %s", p.CF, codes(rec))
			}
		case p.Status == sim.StatusDeceased && p.AIRE != nil:
			if !rec.Has(anpr.FindingDeceased) {
				t.Errorf("%s deceased: %s", p.CF, codes(rec))
			}
		}
		if call, ok := rec.LastCall(); !ok || call.Service != anpr.ConsularC001 || call.OperationID == "" || call.RegisterOperationID == "" || len(call.AnswerDigest) != 64 {
			t.Errorf("%s: evidence %+v", p.CF, call)
		}
	}
}

func TestDoorCSaysWhoIsInAIRE(t *testing.T) {
	t.Parallel()
	w := newConsular(t)
	q, _ := aireQuery(t)
	if answer, calls, err := w.client.IsAIRE(t.Context(), q); err != nil || answer != anpr.Yes || len(calls) != 1 {
		t.Errorf("%s %v", answer, err)
	}
	q.FiscalCode = "RSSMRA80A01H501U" // nobody
	if answer, _, err := w.client.IsAIRE(t.Context(), q); err != nil || answer != anpr.No {
		t.Errorf("%s %v", answer, err)
	}
}

func TestTheFindingsOfDoorCComeFromItsCodes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fault, param string
		finding      anpr.FindingCode
	}{
		{anprsim.FaultConsularWarn, "EA044", anpr.FindingConsulateDisagrees},
		{anprsim.FaultConsularWarn, "EA045", anpr.FindingConsulateDisagrees},
		{anprsim.FaultConsularWarn, "EA046", anpr.FindingConsulateDisagrees},
		{anprsim.FaultConsularWarn, "EA047", anpr.FindingConsulateDisagrees},
		{anprsim.FaultDoubleReg, "", anpr.FindingDoubleRegistration},
		{anprsim.FaultCFUnvalidated, "", anpr.FindingCFNotValidated},
		{anprsim.FaultAIREMissing, "", anpr.FindingNotFound},
	} {
		t.Run(tc.fault+tc.param, func(t *testing.T) {
			t.Parallel()
			w := newConsular(t)
			if err := w.server.Faults().Set(sim.Rule{Name: tc.fault, Probability: 1, Param: tc.param}); err != nil {
				t.Fatal(err)
			}
			q, p := aireQuery(t)
			rec, err := w.client.Check(t.Context(), q)
			if err != nil || !rec.Has(tc.finding) {
				t.Errorf("%v %s", err, codes(rec))
			}
			// A warning stands beside good data, inside listaErrori.
			if tc.fault == anprsim.FaultConsularWarn && (rec.Person.Surname != p.Surname || rec.Findings[0].Source != anpr.Code(tc.param)) {
				t.Errorf("%+v", rec)
			}
		})
	}
	w := newConsular(t)
	q, _ := aireQuery(t)
	q.AIREComune.ISTAT = "058091"
	if rec, err := w.client.Check(t.Context(), q); err != nil || !rec.Has(anpr.FindingComuneUnknown) || rec.Findings[0].Detail != "other_comune" {
		t.Errorf("another comune: %v %+v", err, rec.Findings)
	}
	q, _ = aireQuery(t)
	q.Surname = "ALTRO"
	if rec, err := w.client.Check(t.Context(), q); err != nil || !rec.Has(anpr.FindingNamesDiffer) {
		t.Errorf("another surname: %v %+v", err, rec.Findings)
	}
}

func TestWhatIsNoAnswerOfDoorCWaits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault  string
		change func([]byte) []byte
		status int
		code   anpr.ErrorCode
		kind   anpr.ErrorKind
	}{
		"an HTML page with 200":        {change: func([]byte) []byte { return []byte("<!DOCTYPE html><html><body>ok</body></html>") }, code: anpr.CodeNotJSON, kind: anpr.KindTemporary},
		"nothing with 200":             {change: func([]byte) []byte { return nil }, code: anpr.CodeNotJSON, kind: anpr.KindTemporary},
		"a cut answer":                 {change: func(b []byte) []byte { return b[:len(b)/2] }, code: anpr.CodeNotJSON, kind: anpr.KindTemporary},
		"an HTML page with 500":        {fault: anprsim.FaultHTMLError, code: anpr.CodeOutage, kind: anpr.KindTemporary},
		"an unsigned answer":           {fault: anprsim.FaultAnswerUnsigned, code: anpr.CodeAnswerNotSigned, kind: anpr.KindConfiguration},
		"a changed answer":             {change: func(b []byte) []byte { return bytes.Replace(b, []byte("FERRARIS"), []byte("FERRARIN"), 1) }, code: anpr.CodeAnswerNotSigned, kind: anpr.KindConfiguration},
		"the register's own outage":    {fault: anprsim.FaultOutage, code: anpr.CodeOutage, kind: anpr.KindTemporary},
		"503":                          {status: 503, change: func([]byte) []byte { return nil }, code: anpr.CodeOutage, kind: anpr.KindTemporary},
		"404 of the appliance":         {status: 404, code: anpr.CodePathUnknown, kind: anpr.KindTemporary},
		"403":                          {status: 403, code: anpr.CodeForbidden, kind: anpr.KindConfiguration},
		"429":                          {status: 429, code: anpr.CodeQuota, kind: anpr.KindTemporary},
		"a fault, which says no cause": {fault: anprsim.FaultCIEOutage, code: anpr.CodeRequestRefused, kind: anpr.KindConfiguration},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newConsular(t)
			w.change, w.status = tc.change, tc.status
			if tc.fault != "" {
				if err := w.server.Faults().Set(sim.Rule{Name: tc.fault, Probability: 1}); err != nil {
					t.Fatal(err)
				}
			}
			q, _ := aireQuery(t)
			_, err := w.client.Check(t.Context(), q)
			if e := registerError(t, err); e.Code != tc.code || e.Kind != tc.kind || len(e.Calls) != 1 {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestAnAnswerToAnotherQuestionIsNoAnswer(t *testing.T) {
	t.Parallel()
	w := newConsular(t)
	q, _ := aireQuery(t)
	if _, err := w.client.Check(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	// The id comes again, as after a restored backup: the register repeats what
	// it answered then, whoever is asked about now.
	w.clock.Advance(time.Minute)
	w.ids.n = 0
	other := q
	for _, p := range sim.People() {
		if p.Status == sim.StatusAIRE && p.CF != q.FiscalCode && p.Scenario == "ok" {
			other.FiscalCode, other.AIREComune.ISTAT, other.Surname, other.GivenName = p.CF, p.AIRE.ComuneISTAT, "", ""
		}
	}
	_, err := w.client.Check(t.Context(), other)
	if e := registerError(t, err); e.Code != anpr.CodeUnexpected || e.Detail != "answer_of_an_earlier_question" {
		t.Errorf("%+v", e)
	}
}

func TestAnAlignmentIsAskedOnceAndFollowed(t *testing.T) {
	t.Parallel()
	w := newConsular(t)
	q, p := aireQuery(t)
	ask := anpr.AlignmentQuery{Service: anpr.ConsularC002, OperationID: "20261121120000000500", Person: q, Post: anpr.PostRef{Code: p.Post.Code, Description: p.Post.Seat}, Residence: anpr.Address{
		Foreign: true, Street: "AVENIDA NUEVA", Number: "1", Locality: "ROSARIO", StateISTAT: "602", StateName: "ARGENTINA",
	}}
	first, err := w.client.Align(t.Context(), ask)
	if err != nil || first.Reference == "" || first.Done || first.Pending {
		t.Fatalf("%+v %v", first, err)
	}
	// The answer was lost: the same id again is the same request.
	again, err := w.client.Align(t.Context(), ask)
	if err != nil || again.Reference != first.Reference || len(w.server.Alignments()) != 1 {
		t.Errorf("%+v %v, %d requests", again, err, len(w.server.Alignments()))
	}
	ask.OperationID = "20261121120000000501"
	if pending, err := w.client.Align(t.Context(), ask); err != nil || !pending.Pending {
		t.Errorf("asked by somebody else meanwhile: %+v %v", pending, err)
	}
	// An id that others overtook was never taken.
	ask.OperationID = "20261121120000000499"
	_, err = w.client.Align(t.Context(), ask)
	if e := registerError(t, err); e.Code != anpr.CodeOperationPassed {
		t.Errorf("%+v", e)
	}
	if err := w.server.CloseAlignment(first.Reference); err != nil {
		t.Fatal(err)
	}
	ask.OperationID, ask.Follow = "20261121120000000502", first.Reference
	if done, err := w.client.Align(t.Context(), ask); err != nil || !done.Done {
		t.Errorf("closed: %+v %v", done, err)
	}
	ask = anpr.AlignmentQuery{Service: anpr.ConsularC003, OperationID: "20261121120000000503", Person: q}
	_, err = w.client.Align(t.Context(), ask)
	var refused *anpr.RefusedError
	if !errors.As(err, &refused) || refused.Code != "EN403" {
		t.Errorf("a code that is valid already: %v", err)
	}
	for _, p := range sim.People() {
		if p.CFValidity == "9" && p.AIRE != nil {
			ask.OperationID, ask.Person.FiscalCode, ask.Person.AIREComune.ISTAT = "20261121120000000504", p.CF, p.AIRE.ComuneISTAT
			ask.Person.Surname, ask.Person.GivenName = "", ""
			if asked, err := w.client.Align(t.Context(), ask); err != nil || asked.Done || asked.Reference == "" {
				t.Errorf("%+v %v", asked, err)
			}
			break
		}
	}
}

func TestDoorCIsNotAskedWithoutWhatItNeeds(t *testing.T) {
	t.Parallel()
	w := newConsular(t)
	q, _ := aireQuery(t)
	q.AIREComune = anpr.ComuneRef{}
	_, err := w.client.Check(t.Context(), q)
	if e := registerError(t, err); e.Kind != anpr.KindQuery || e.Detail != "aire_comune" {
		t.Errorf("%+v", e)
	}
	for _, bad := range []anpr.AlignmentQuery{
		{Service: anpr.C030, OperationID: "1", Person: q},
		{Service: anpr.ConsularC002, OperationID: "x", Person: q},
		{Service: anpr.ConsularC002, OperationID: "1", Follow: "x", Person: q},
		{Service: anpr.ConsularC003, OperationID: "1", Person: q},
	} {
		_, err := w.client.Align(t.Context(), bad)
		if e := registerError(t, err); e.Kind != anpr.KindQuery {
			t.Errorf("%+v", e)
		}
	}
	if len(w.server.Calls()) != 0 {
		t.Error("the register was asked")
	}
	// An expired certificate is found before anything is sent.
	late := newConsular(t, func(c *anpr.ConsularConfig) {
		c.Clock = func() time.Time { return time.Date(2101, 1, 1, 0, 0, 0, 0, time.UTC) }
	})
	q, _ = aireQuery(t)
	_, err = late.client.Check(t.Context(), q)
	if e := registerError(t, err); e.Code != anpr.CodePreflight || !strings.Contains(e.Detail, "station_certificate") {
		t.Errorf("%+v", e)
	}
}

func TestTheConfigurationOfDoorCIsChecked(t *testing.T) {
	t.Parallel()
	var good anpr.ConsularConfig
	newConsular(t, func(c *anpr.ConsularConfig) { good = *c })
	for name, edit := range map[string]func(*anpr.ConsularConfig){
		"no address":          func(c *anpr.ConsularConfig) { c.URL = "x" },
		"no sender":           func(c *anpr.ConsularConfig) { c.Sender = "" },
		"a long station":      func(c *anpr.ConsularConfig) { c.Station = strings.Repeat("x", 21) },
		"a long user":         func(c *anpr.ConsularConfig) { c.User = strings.Repeat("x", 17) },
		"another environment": func(c *anpr.ConsularConfig) { c.Environment = "LIVE" },
		"no suite":            func(c *anpr.ConsularConfig) { c.Signer.Suite = "" },
		"nobody to trust":     func(c *anpr.ConsularConfig) { c.Answers.Trust = nil },
		"no ids":              func(c *anpr.ConsularConfig) { c.OperationIDs = nil },
	} {
		c := good
		edit(&c)
		if _, err := anpr.NewConsular(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	c := good
	c.Answers.Trust, c.UnsignedAnswers = nil, true
	if _, err := anpr.NewConsular(c); err != nil {
		t.Error(err)
	}
}
