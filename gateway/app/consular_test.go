package app

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// fixedClock stands still: the simulator and the gateway agree on it.
type fixedClock struct{ gateway.SystemClock }

func (fixedClock) Now() time.Time { return time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC) }

// doorC is the consular door of a configuration, in front of the simulator.
func doorC(t *testing.T, edit ...func(*ConsularConfig)) (alignment, *anprsim.Server, Config) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	clock := sim.NewManual(fixedClock{}.Now())
	server, err := anprsim.New(anprsim.Options{Clock: clock, Seed: 1, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		h.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	id, err := server.IssueSOAP("260010", "PDL-1", key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"site.pem": id.SitePEM, "site.key": id.SiteKey, "station.pem": id.StationPEM, "station.key": id.StationKey, "register.pem": id.Register} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{Environment: store.Simulation, dir: dir, Consular: &ConsularConfig{
		URL: h.URL + server.Identity().ConsularPath, Sender: "260010", Environment: "TEST", Station: "PDL-1", User: "AIREGW",
		SiteCert: "site.pem", SiteKey: "site.key", StationCert: "station.pem", StationKey: "station.key", RegisterCert: "register.pem",
	}}
	for _, e := range edit {
		e(c.Consular)
	}
	o := Options{Clock: fixedClock{}, Random: rand.Reader}
	a := &App{log: slog.New(slog.DiscardHandler)}
	a.Store, err = store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "a.db"), Keys: filepath.Join(dir, "store.keys"), Environment: store.Simulation, Now: o.Clock.Now, Random: o.Random})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Store.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := a.newConsular(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return alignment{client, growingIDs{a.Store, o.Clock, consularSeries}}, server, c
}

func correction(t *testing.T) gateway.AlignmentRequest {
	t.Helper()
	p, ok := sim.PersonByScenario("ok")
	if !ok {
		t.Fatal("no ordinary person")
	}
	post, _ := consulate.PostByCode(p.Post.Code)
	return gateway.AlignmentRequest{
		Operation: gateway.AlignComune, Key: "k-1", Post: post, Reason: "R26-1", FiscalCode: p.CF,
		Actor:  gateway.Actor{Kind: gateway.ActorOperator, ID: "op-7", Station: "S1"},
		Comune: anpr.ComuneRef{ISTAT: p.AIRE.ComuneISTAT},
	}
}

func TestACorrectionIsAskedOfDoorCOnce(t *testing.T) {
	t.Parallel()
	door, server, _ := doorC(t)
	ask := correction(t)
	// The answer to the first try is lost after the register took it.
	if err := server.Faults().Inject(sim.FaultDropAnswer, 1); err != nil {
		t.Fatal(err)
	}
	first, err := door.Align(t.Context(), ask)
	if err != nil {
		// The breaker and the retries may give up: the hub asks again.
		first, err = door.Align(t.Context(), ask)
	}
	if err != nil || first.Reference == "" || first.Closed {
		t.Fatalf("%+v %v", first, err)
	}
	again, err := door.Align(t.Context(), ask)
	if err != nil || again != first || len(server.Alignments()) != 1 {
		t.Errorf("again: %+v %v, %d requests", again, err, len(server.Alignments()))
	}
	calls := server.Calls()
	if id := calls[0].ClientOp; len(id) != 18 || !strings.HasPrefix(id, "20261122080000") {
		t.Errorf("operation id %q does not start from the clock", id)
	}
}

func TestARefusalOfDoorCIsFinalAndWhatIsMissingToo(t *testing.T) {
	t.Parallel()
	door, server, _ := doorC(t)
	ask := correction(t)
	ask.Operation = gateway.AlignTaxCode
	_, err := door.Align(t.Context(), ask)
	var refused *gateway.AlignmentRefusal
	if !errors.As(err, &refused) || refused.Code != "EN403" {
		t.Errorf("%v", err)
	}
	ask.Key, ask.Comune = "k-2", anpr.ComuneRef{}
	if _, err = door.Align(t.Context(), ask); !errors.As(err, &refused) || refused.Code != "aire_comune" {
		t.Errorf("%v", err)
	}
	if err := server.Faults().Set(sim.Rule{Name: anprsim.FaultCIEOutage, Probability: 1}); err != nil {
		t.Fatal(err)
	}
	ask = correction(t)
	var waits *anpr.RegisterError
	if _, err = door.Align(t.Context(), ask); !errors.As(err, &waits) || errors.As(err, &refused) && refused == nil {
		t.Errorf("an outage: %v", err)
	}
}

func TestAnOvertakenOperationIDIsGivenUp(t *testing.T) {
	t.Parallel()
	door, server, _ := doorC(t)
	ask := correction(t)
	// The id was kept, then the process died; another question went before it.
	if _, err := door.ids.of(t.Context(), ask.Key, false); err != nil {
		t.Fatal(err)
	}
	other := ask
	other.Key, other.Operation = "k-other", gateway.AlignTaxCode
	_, err := door.Align(t.Context(), other)
	var refused *gateway.AlignmentRefusal
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	if got, err := door.Align(t.Context(), ask); err != nil || got.Reference == "" || len(server.Alignments()) != 1 {
		t.Errorf("%+v %v", got, err)
	}
}

func TestTheConsularSectionNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, _, c := doorC(t)
	for want, edit := range map[string]func(*ConsularConfig){
		"consular.url":                func(s *ConsularConfig) { s.URL = "ftp://x" },
		"consular.station":            func(s *ConsularConfig) { s.Station = "" },
		"consular.suite":              func(s *ConsularConfig) { s.Suite = "md5" },
		"consular.posts.1":            func(s *ConsularConfig) { s.Posts = []string{"2600103", "H501"} },
		"consular.posts.0":            func(s *ConsularConfig) { s.Posts = []string{"*", "2600103"} },
		"consular.follow_every":       func(s *ConsularConfig) { s.Follow = time.Second },
		"consular.overdue_after":      func(s *ConsularConfig) { s.Overdue = -time.Hour },
		"consular.register_cert_file": func(s *ConsularConfig) { s.RegisterCert = "" },
		"consular.unsigned_answers":   func(s *ConsularConfig) { s.UnsignedAnswers = true },
	} {
		section := *c.Consular
		edit(&section)
		broken := c
		broken.Consular = &section
		if err := broken.Check(); err == nil || !strings.Contains(err.Error(), want+":") {
			t.Errorf("%s is not among %v", want, err)
		}
	}
	section := *c.Consular
	section.Suite = "basic128rsa15"
	c.Consular = &section
	if err := c.Check(); err != nil && strings.Contains(err.Error(), "consular.") {
		t.Errorf("the old suite by name: %v", err)
	}
}
