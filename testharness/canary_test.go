package testharness

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"airegw/gateway"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// written collects what many write.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// Marked people live through good and bad days; then everything that was logged
// at the most talkative level, and every error that was answered, is searched for
// the marks. A page may show its caller what the caller has just
// written; a machine's answer may not even do that.
func TestNoCanaryIsInLogMetricsOrErrorPage(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	err := w.app.Close()
	if err != nil {
		t.Fatal(err)
	}
	var log written
	w.log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.assemble()

	// Good days, and some of the register's and the core's bad ones.
	p, q := ordinary(t, 0), ordinary(t, 1)
	w.change(p.CF, func(p *sim.Person) { p.Address.Street = "CANARINO STREET" })
	in := ask(p)
	in.Contacts.Email = "canary-7q2@example.org"
	w.coreFault(sim.Rule{Name: sim.FaultDropAnswer, Op: "prepare", Count: 1})
	d := w.desk("H501")
	number := w.relayed(d, in)
	half, err := d.PrintForms(w.ctx, number)
	if err == nil {
		t.Fatalf("printed after the confirmation: %v", half.Prints)
	}
	w.advance(number, 4)
	tracker := w.open(d, number).TrackerCode
	second := ask(q)
	second.Contacts.Email = "canary-8r3@example.org"
	w.registerFault(sim.Rule{Name: anprsim.FaultHTMLError, Probability: 1})
	w.submit(d, second)
	w.work()
	_, err = d.Submit(w.ctx, second)
	_, err2 := w.desk("F205").Submit(w.ctx, ask(p))
	said := map[string]string{text(err): "", text(err2): ""} // and what was written to be answered so

	// Errors over HTTP: marks in every place a caller can put one.
	server := w.app.Handler()
	for _, c := range []struct{ method, path, kind, body, head string }{
		{"GET", "/operator/requests/CANARY-PATH-" + p.CF, "", "", ""},
		{"GET", "/api/v1/requests/" + p.CF, "", "", ""},
		{"GET", "/api/v1/requests?surname=CANARINO&fiscal_code=" + p.CF, "", "", ""},
		{"GET", "/api/v1/track/" + number, "", "", tracker},
		{"GET", "/api/v1/track/" + number, "", "", "CANARYCODE"},
		{"POST", "/api/v1/requests", "application/json", `{"applicant":{"fiscal_code":"` + p.CF + `","surname":"CANARINO`, ""},
		{"POST", "/api/v1/requests", "text/canarino", p.CF, ""},
		{"POST", "/track", "application/x-www-form-urlencoded", "number=" + p.CF + "&code=CANARYCODE", ""},
		{"POST", "/api/v1/card-notices", "application/jwt", "CANARINO." + p.CF + ".x", ""},
		{"PUT", "/CANARINO", "", "", ""},
		{"GET", "/nowhere/CANARINO?canary-7q2@example.org", "", "", ""},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		r.Header.Set("Authorization", "Bearer CANARYBEARER")
		r.Header.Set("Tracker-Code", c.head)
		a := httptest.NewRecorder()
		server.ServeHTTP(a, r)
		if a.Code >= http.StatusBadRequest {
			said[a.Body.String()] = c.path + c.body + c.head + "CANARYBEARER"
		}
	}
	if len(said) < 8 || !strings.Contains(log.String(), number) {
		t.Fatalf("%d errors; the log is not this gateway's: %.300s", len(said), log.String())
	}
	// There are no metrics beside the status, which counts requests only.
	status := httptest.NewRecorder()
	server.ServeHTTP(status, httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/status", nil))
	said[status.Body.String()] = ""

	marks := []string{
		p.CF, q.CF, "CANARINO", "canary-7q2", "canary-8r3", "CANARYCODE", "CANARYBEARER", tracker, p.Address.Street, q.Surname,
	}
	for _, mark := range marks {
		if mark == "" {
			t.Fatalf("an empty mark: %q", marks)
		}
		if at := strings.Index(strings.ToUpper(log.String()), strings.ToUpper(mark)); at >= 0 {
			t.Errorf("the log holds %q: …%.200s", mark, log.String()[max(0, at-100):])
		}
		for answer, written := range said {
			if strings.Contains(strings.ToUpper(answer), strings.ToUpper(mark)) && (!strings.Contains(written, mark) || strings.HasPrefix(answer, "{")) {
				t.Errorf("an error answers with %q: %.300s", mark, answer)
			}
		}
	}
}

func text(err error) string {
	var e *gateway.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
