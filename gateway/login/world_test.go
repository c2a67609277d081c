package login_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/federation"
	"airegw/gateway/jose"
	"airegw/gateway/login"
	"airegw/gateway/outbound"
	"airegw/gateway/store"
	"airegw/testharness/opsim"
	"airegw/testharness/sim"
)

// shared is what all worlds of this binary have in common, RSA keys being slow
// to make.
var shared = sync.OnceValues(func() (folder string, err error) {
	folder, err = os.MkdirTemp("", "login-test-")
	if err != nil {
		return "", err
	}
	madeFolder.Store(folder)
	_, err = federation.GenerateKeys(filepath.Join(folder, "keys"))
	return folder, err
})

var madeFolder atomic.Value

var simKeys = sync.OnceValues(opsim.NewKeys)

func TestMain(m *testing.M) {
	code := m.Run()
	if folder, made := madeFolder.Load().(string); made {
		_ = os.RemoveAll(folder)
	}
	if end, opened := atEnd.Load().(func() error); opened {
		if err := end(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

var start = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// safeBuffer is a log that several goroutines write.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.b.String()
	s.b.Reset()
	return text
}

// watched is the store with an eye on what goes into the audit trail.
type watched struct {
	*store.Store
	mu      sync.Mutex
	entries []gateway.AuditEntry
}

func (s *watched) note(entries []gateway.AuditEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append(s.entries, entries...)
}

func (s *watched) CompleteLogin(ctx context.Context, c login.Completed) error {
	err := s.Store.CompleteLogin(ctx, c)
	if err == nil {
		s.note(c.Audit)
	}
	return err
}

func (s *watched) RecordLogin(ctx context.Context, reference string, records []login.Record, audit ...gateway.AuditEntry) error {
	err := s.Store.RecordLogin(ctx, reference, records, audit...)
	if err == nil {
		s.note(audit)
	}
	return err
}

// audit answers the entries of an act.
func (s *watched) audit(act string) []gateway.AuditEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.entries), func(e gateway.AuditEntry) bool { return e.Act != act })
}

// world is a gateway's logins beside a simulated federation, all on one clock.
type world struct {
	*opsim.Running
	clock     *sim.ManualClock
	member    *federation.Member
	store     *watched
	citizens  *login.Citizens
	operators *login.Operators
	log       *safeBuffer
	binding   string
	ourID     string
}

// newStore is a store of a test's own.
func newStore(t testing.TB, clock func() time.Time) *watched {
	t.Helper()
	s, err := openStore(t.TempDir(), clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &watched{Store: s}
}

func openStore(dir string, clock func() time.Time) (*store.Store, error) {
	return store.Open(context.Background(), store.Options{
		Path: filepath.Join(dir, "airegw.db"), Keys: filepath.Join(dir, "keys.json"), Environment: store.Simulation, Now: clock, SealEvery: -1,
	})
}

// common is one store for all tests that ask nothing about the whole of it.
func common(t testing.TB) *watched {
	t.Helper()
	s, err := commonStore()
	if err != nil {
		t.Fatal(err)
	}
	return &watched{Store: s}
}

var commonStore = sync.OnceValues(func() (*store.Store, error) {
	dir, err := os.MkdirTemp("", "login-store-")
	if err != nil {
		return nil, err
	}
	s, err := openStore(dir, func() time.Time { return start })
	if err != nil {
		return nil, err
	}
	atEnd.Store(func() error { return errors.Join(s.Close(), os.RemoveAll(dir)) })
	return s, nil
})

// atEnd closes the common store, if one was opened.
var atEnd atomic.Value

func newWorld(t testing.TB) *world {
	t.Helper()
	folder, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := simKeys()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{clock: sim.NewManual(start), log: &safeBuffer{}}
	w.Running, err = opsim.Start(opsim.Options{Seed: 11, Clock: w.clock, Keys: keys}, opsim.Listen{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	// Our own side, as web serves it: gateway and provider on different sites.
	mux := http.NewServeMux()
	ours := httptest.NewServer(mux)
	t.Cleanup(ours.Close)
	w.ourID = strings.Replace(ours.URL, "127.0.0.1", "localhost", 1) + "/c_h501"
	mux.HandleFunc("/c_h501/.well-known/openid-federation", func(rw http.ResponseWriter, _ *http.Request) {
		answer, err := w.member.Configuration(w.member.Entity)
		if err != nil {
			t.Error(err)
		}
		rw.Header().Set("Content-Type", answer.ContentType)
		rw.WriteHeader(answer.Status)
		_, _ = rw.Write(answer.Body)
	})
	pins := filepath.Join(t.TempDir(), "pins.json")
	if err := os.WriteFile(pins, w.AnchorJWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	w.member, err = federation.Open(federation.Settings{
		ID: w.ourID, Organization: "Comune di Prova", HomepageURI: w.ourID, PolicyURI: w.ourID + "/privacy", LogoURI: w.ourID + "/logo.svg",
		Contacts: []string{"ente@pec.example.test"}, RedirectURIs: []string{w.ourID + "/callback"},
		Keys: filepath.Join(folder, "keys"), Anchor: w.Addresses.Anchor, AnchorKeys: pins, Provider: w.Addresses.Provider, RequireMark: true,
	}, federation.Options{Clock: w.clock.Now, Rand: func() float64 { return 0.5 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.member.Close)
	if _, err := w.Register(t.Context(), w.ourID); err != nil {
		t.Fatal(err)
	}
	w.member.StepMarks(t.Context())
	if err := w.member.MarkError(); err != nil {
		t.Fatal(err)
	}
	w.member.Chain.Step(t.Context())
	w.store = common(t)
	w.citizens, err = login.NewCitizens(login.CitizensConfig{
		Entity: w.member.Entity, RedirectURI: w.ourID + "/callback", Provider: w.member.Provider, Client: w.member.Protocol,
		Store: w.store, Clock: w.clock.Now, Random: rand.Reader, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.binding, err = login.NewBinding(rand.Reader); err != nil {
		t.Fatal(err)
	}
	if err := w.SetAuto(&opsim.Auto{People: []string{person}}); err != nil {
		t.Fatal(err)
	}
	w.openOperators(t, logger)
	return w
}

// operatorRoles are the words of the operators' providers for ours.
var operatorRoles = map[string]gateway.Role{
	"operator": gateway.RoleClerk, "supervisor": gateway.RoleReferent,
	"owner_interior": gateway.RoleOwnerInterior, "owner_maeci": gateway.RoleOwnerMAECI,
}

func client(t testing.TB, clock func() time.Time) *outbound.Client {
	t.Helper()
	c, err := outbound.New(outbound.Config{Peer: "operators", Deadline: 5 * time.Second, MaxBody: 256 << 10, Clock: clock, Rand: func() float64 { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (w *world) openOperators(t testing.TB, logger *slog.Logger) {
	t.Helper()
	key, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jose.NewKeySet(key.Public()).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	callback := w.ourID + "/operator/callback"
	for _, c := range []opsim.OperatorClient{
		{ID: "airegw-keyed", RedirectURIs: []string{callback}, JWKS: public},
		{ID: "airegw-secret", RedirectURIs: []string{callback}, Secret: "not a secret: a test's"},
	} {
		if err := w.RegisterClient(c); err != nil {
			t.Fatal(err)
		}
	}
	w.operators, err = login.NewOperators(login.OperatorsConfig{
		Providers: []login.OperatorProvider{
			{Name: "interno", Issuer: w.Issuer(opsim.RealmInterno), ClientID: "airegw-keyed", Key: key, Offices: w.offices(opsim.RealmInterno), Roles: operatorRoles, Client: client(t, w.clock.Now)},
			{Name: "esteri", Issuer: w.Issuer(opsim.RealmEsteri), ClientID: "airegw-secret", Secret: "not a secret: a test's", Offices: w.offices(opsim.RealmEsteri), Roles: operatorRoles, Client: client(t, w.clock.Now)},
		},
		RedirectURI: callback, Store: w.store, Cards: w.store, Clock: w.clock.Now, Random: rand.Reader, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// offices are those of a realm's operators.
func (w *world) offices(realm string) []gateway.Office {
	var out []gateway.Office
	known := map[gateway.Office]bool{}
	for _, o := range w.OperatorList() {
		code, _ := o.Claims["office"].(string)
		office, ok := gateway.ParseOffice(code)
		if o.Realm == realm && ok && !known[office] {
			known[office] = true
			out = append(out, office)
		}
	}
	return out
}

// person is a synthetic citizen who reaches level 3.
var person = func() string {
	for _, c := range opsim.Citizens() {
		if c.MaxLevel == 3 && c.Credentials == opsim.CredentialsActive {
			return c.CF
		}
	}
	panic("nobody reaches level 3")
}()

var browser = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       20 * time.Second,
}

// visit follows redirects from the provider until they lead to us, and answers
// the parameters we are given.
func (w *world) visit(t testing.TB, address, callback string) url.Values {
	t.Helper()
	for range 5 {
		response, err := browser.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		location, err := response.Location()
		if err != nil {
			t.Fatalf("status %d and no way on from %.200s; refusals: %+v", response.StatusCode, address, w.Refusals())
		}
		if strings.HasPrefix(location.String(), callback) {
			return location.Query()
		}
		address = location.String()
	}
	t.Fatal("too many redirects")
	return nil
}

// enter logs a citizen in from begin to end.
func (w *world) enter(t testing.TB, s login.Start) (login.Identity, error) {
	t.Helper()
	if s.Binding == "" {
		s.Binding = w.binding
	}
	if s.Level == 0 {
		s.Level = login.Level2
	}
	r, err := w.citizens.Begin(t.Context(), s)
	if err != nil {
		return login.Identity{}, err
	}
	return w.citizens.Finish(t.Context(), w.visit(t, r.URL, w.ourID+"/callback"), s.Binding)
}

func (w *world) enterOperator(t testing.TB, id string, s login.OperatorStart) (login.OperatorIdentity, error) {
	t.Helper()
	if err := w.SetOperatorAuto(id); err != nil {
		t.Fatal(err)
	}
	s.Binding = w.binding
	r, err := w.operators.Begin(t.Context(), s)
	if err != nil {
		return login.OperatorIdentity{}, err
	}
	return w.operators.Finish(t.Context(), w.visit(t, r.URL, w.ourID+"/operator/callback"), w.binding)
}

// renew lets the chain end and has it made again.
func (w *world) renew(t testing.TB) {
	t.Helper()
	w.clock.Advance(31 * time.Minute)
	w.member.Chain.Step(t.Context())
}

// operator finds an operator of a realm.
func (w *world) operator(t testing.TB, realm, role string) (id string, office gateway.Office) {
	t.Helper()
	for _, o := range w.OperatorList() {
		if o.Realm == realm && o.Claims["role"] == role {
			code, _ := o.Claims["office"].(string)
			office, _ = gateway.ParseOffice(code)
			return o.ID, office
		}
	}
	t.Fatalf("no %s at %s", role, realm)
	return "", gateway.Office{}
}

func errorOf(t testing.TB, err error) *login.Error {
	t.Helper()
	e, ok := err.(*login.Error) //nolint:errorlint // exactly what the contract says
	if !ok {
		t.Fatalf("not an error of the package: %v", err)
	}
	return e
}

func reason(e *login.Error) string { return fmt.Sprintf("%s|%s|%v", e.Code, e.Field, e.Err) }
