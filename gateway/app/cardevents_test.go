package app

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/gateway"
	"airegw/gateway/jose"
	"airegw/gateway/store"
	"airegw/policies"
)

// eventReceiver is who is told: it keeps what verifies, once for each jti, and
// answers as it is told to.
type eventReceiver struct {
	t      *testing.T
	key    jose.KeySet
	mu     sync.Mutex
	answer func(id string) int
	tries  []string
	kept   map[string]cardEvent
}

func (r *eventReceiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	raw, err := io.ReadAll(q.Body)
	if err != nil || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/jwt" {
		r.t.Errorf("%s %s: %v", q.Method, q.Header.Get("Content-Type"), err)
	}
	var said cardEvent
	v, err := jose.Verify(string(raw), r.key, jose.Expect{
		Algs: []jose.Algorithm{jose.ES256}, Typ: []string{CardEventType}, Now: fixedClock{}.Now(), MaxLife: 5 * time.Minute,
		Issuer: "airegw-test", Audience: "ps-test",
	}, &said)
	if err != nil {
		r.t.Errorf("the event does not verify: %v", err)
	}
	r.tries = append(r.tries, v.ID)
	status := r.answer(v.ID)
	if status == http.StatusNoContent {
		r.kept[v.ID] = said
	}
	w.WriteHeader(status)
	if status == http.StatusOK {
		_, _ = w.Write([]byte("<html>"))
	}
}

// told is a gateway with a receiver of card events and a store of its own.
func told(t *testing.T) (*gateway.Gateway, *store.Store, *eventReceiver) {
	t.Helper()
	dir := t.TempDir()
	key, err := jose.GenerateKey(jose.ES256)
	if err == nil {
		err = jose.SaveKey(filepath.Join(dir, "events.jwk"), key)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &eventReceiver{t: t, key: jose.NewKeySet(key.Public()), kept: map[string]cardEvent{}}
	h := httptest.NewServer(r)
	t.Cleanup(h.Close)
	c := Config{Environment: store.Simulation, dir: dir, CardEvents: CardEventsConfig{
		URL: h.URL, Issuer: "airegw-test", Audience: "ps-test", KeyFile: "events.jwk", Peer: Peer{Deadline: 2 * time.Second},
	}}
	o := Options{Clock: fixedClock{}, Random: rand.Reader}
	a := &App{log: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	a.Store, err = store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "a.db"), Keys: filepath.Join(dir, "store.keys"), Environment: store.Simulation, Now: o.Clock.Now, Random: o.Random})
	if err != nil {
		t.Fatal(err)
	}
	a.closers = append(a.closers, a.Store.Close)
	events, err := newCardEvents(c, o, a)
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Parts{
		Store: a.Store, Register: anpr.Doors{}, Core: &core{}, Rules: policies.Shipped(), Cards: events, Clock: o.Clock, Random: o.Random, Log: a.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, a.Store, r
}

func reported(t *testing.T, s *store.Store, id string, police *gateway.Report) {
	t.Helper()
	at := fixedClock{}.Now().Add(-time.Hour)
	_, _, err := s.SaveCardReport(t.Context(), gateway.CardReport{
		ID: id, At: at, Actor: gateway.Actor{Kind: gateway.ActorCitizen, ID: "cie:x"}, Person: "RSSMRA85A01H501Z",
		CardReportInput: gateway.CardReportInput{Key: "form of " + id, Kind: gateway.ReportTheft, On: "2026-11-21", Card: "CA12345AA", Police: police},
	}, "digest")
	if err != nil {
		t.Fatal(err)
	}
}

func TestReportsOfCardsReachTheirReceiverOnceItIsThere(t *testing.T) {
	t.Parallel()
	g, s, r := told(t)
	reported(t, s, "D26-AAAAAAAA1", &gateway.Report{Authority: "Comisaría 1ª", Number: "7/2026", Date: "2026-11-21"})
	reported(t, s, "D26-AAAAAAAA2", nil)
	step := func(answer func(string) int, want ...string) {
		t.Helper()
		r.mu.Lock()
		r.answer, r.tries = answer, nil
		r.mu.Unlock()
		if _, err := g.TellOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := slices.Compact(r.tries); !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	}
	always := func(status int) func(string) int { return func(string) int { return status } }
	// Only 204 is success: out of order, a page that says 200, a door that is
	// closed to us. The second waits for none of these to be tried in vain.
	for _, status := range []int{503, 200, 302, 401, 429} {
		step(always(status), "D26-AAAAAAAA1")
	}
	// One that is refused for what it says holds up no other.
	step(func(id string) int {
		if id == "D26-AAAAAAAA1" {
			return http.StatusUnprocessableEntity
		}
		return http.StatusNoContent
	}, "D26-AAAAAAAA1", "D26-AAAAAAAA2")
	step(always(http.StatusNoContent), "D26-AAAAAAAA1")
	step(always(http.StatusNoContent))
	raw, err := json.Marshal(r.kept["D26-AAAAAAAA1"])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"iss":"airegw-test","aud":"ps-test","iat":1795334400,"exp":1795334700,"jti":"D26-AAAAAAAA1","kind":"theft","on":"2026-11-21",` +
		`"reported_at":"2026-11-22T07:00:00Z","fiscal_code":"RSSMRA85A01H501Z","card":"CA12345AA","police":{"authority":"Comisaría 1ª","number":"7/2026","date":"2026-11-21"}}`
	if string(raw) != want || len(r.kept) != 2 {
		t.Errorf("kept %d\n%s, want\n%s", len(r.kept), raw, want)
	}
}

func TestTheReceiverOfCardEventsIsConfiguredWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	good := "card_events: {url: \"http://127.0.0.1:1/events\", issuer: us, audience: them, key_file: k}\n"
	for section, want := range map[string]string{
		"": "", good: "",
		"card_events: {issuer: us}\n":                             "card_events.url card_events.audience card_events.key_file",
		strings.Replace(good, "127.0.0.1:1", "events.example", 1): "card_events.url",
		strings.Replace(good, "issuer: us, ", "", 1):              "card_events.issuer",
	} {
		if got := pathsBelow(t, "card_events", "environment: simulation\nbase_url: http://localhost:8080\n"+section); got != want {
			t.Errorf("%s%q, want %q", section, got, want)
		}
	}
	_, err := newCardEvents(Config{CardEvents: CardEventsConfig{URL: "http://127.0.0.1:1", KeyFile: filepath.Join(t.TempDir(), "none")}}, Options{}, &App{})
	var f *FieldError
	if !errors.As(err, &f) || f.Path != "card_events.key_file" {
		t.Errorf("no key: %v", err)
	}
}
