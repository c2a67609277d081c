package web_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/delivery"
	"airegw/gateway"
	"airegw/gateway/jose"
	"airegw/gateway/store"
	"airegw/gateway/web"
	"airegw/policies"
	"airegw/testharness/sim"
)

// world is a real gateway over a real database, served over real HTTP; only
// the register and the issuance core are played here.
type world struct {
	t      *testing.T
	url    string
	coreH  http.Handler
	g      *gateway.Gateway
	store  *store.Store
	core   *core
	reg    *register
	log    *safeBuffer
	client jose.Key
	other  jose.Key
	police jose.Key // of the one who may report cards
	owners *gateway.RuleOwners
	own    *registry // of castello

	mu  sync.Mutex
	now time.Time
}

// Now is the world's clock; it stands still unless moved.
func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// After never delivers: no worker runs on its own in this world.
func (w *world) After(time.Duration) <-chan time.Time { return nil }

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const (
	clientID      = "castello-desk-system"
	otherClientID = "torino-desk-system"
)

var (
	castello = gateway.Office{Kind: gateway.OfficeComune, Code: "054013"}
	torino   = gateway.Office{Kind: gateway.OfficeComune, Code: "001272"}
)

// worldStart is when every world begins.
var worldStart = time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)

func newWorld(t *testing.T, change ...func(*web.Options)) *world {
	t.Helper()
	return newWorldOf(t, nil, change...)
}

// newWorldOf is a world with a consular door.
func newWorldOf(t *testing.T, door gateway.Alignment, change ...func(*web.Options)) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, now: worldStart, core: &core{orders: map[string]*held{}}, reg: &register{}, own: &registry{}, log: &safeBuffer{}}
	w.core.now = w.Now
	var err error
	w.store, err = store.Open(context.Background(), store.Options{
		Path: filepath.Join(dir, "airegw.db"), Keys: filepath.Join(dir, "keys"), Environment: store.Simulation, Now: w.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	w.owners = newOwners(t)
	w.police, err = jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	w.g, err = gateway.New(gateway.Parts{
		Notices: gateway.Notices{
			Reporters: []gateway.Reporter{{ID: "questura", Keys: jose.NewKeySet(w.police.Public())}}, Audience: reportAudience,
		},
		Alignment: door,
		Store:     w.store, Register: w.reg, Core: w.core, Rules: policies.Shipped(), Owners: w.owners, Registries: w.own, Clock: w, Random: rand.Reader, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.client, w.other = w.newClient(clientID), w.newClient(otherClientID)
	srv := httptest.NewUnstartedServer(nil)
	w.url = "http://" + srv.Listener.Addr().String()
	opt := web.Options{
		Gateway: w.g, Sessions: w.store.Sessions(), Book: w.store, Clients: clients{w.store}, Clock: w.Now, Log: log,
		BaseURL: w.url, Environment: "simulation", Version: "test", Demo: demoDoor(), Limits: web.Limits{LoginPerMinute: 1000},
	}
	for _, c := range change {
		c(&opt)
	}
	s, err := web.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	w.coreH = s.CoreHandler()
	srv.Config = web.HTTPServer(s.Handler(), log)
	srv.Start()
	t.Cleanup(srv.Close)
	return w
}

// newClient registers a machine client: of Torino for the other one, else of
// Città di Castello.
func (w *world) newClient(id string) jose.Key {
	w.t.Helper()
	key, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		w.t.Fatal(err)
	}
	jwks, err := json.Marshal(jose.NewKeySet(key.Public()))
	if err != nil {
		w.t.Fatal(err)
	}
	office := castello
	if id == otherClientID {
		office = torino
	}
	err = w.store.PutClient(context.Background(), store.Client{ID: id, Office: office, JWKS: jwks})
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

type clients struct{ s *store.Store }

func (c clients) Client(ctx context.Context, id string) (web.Client, error) {
	k, err := c.s.Client(ctx, id)
	return web.Client{ID: k.ID, Office: k.Office, JWKS: k.JWKS, Revoked: k.Revoked}, err
}

// person answers a synthetic person of a scenario, the nth.
func person(scenario string, n int) sim.Person {
	for _, p := range sim.People() {
		if p.Scenario == scenario {
			if n == 0 {
				return p
			}
			n--
		}
	}
	panic("no such person: " + scenario)
}

func demoDoor() *web.DemoDoor {
	ba, ok := consulate.PostByCode("2600103")
	if !ok {
		panic("no post in Buenos Aires")
	}
	d := &web.DemoDoor{Operators: []web.DemoOperator{
		{ID: "op-1", Name: "Silvia Amato", Office: castello, Role: gateway.RoleClerk, Station: "PDL-C745-01", Note: "Città di Castello"},
		{ID: "op-2", Name: "Bruno Neri", Office: castello, Role: gateway.RoleReferent, Station: "PDL-C745-02", Note: "può rimettere in moto una richiesta"},
		{ID: "op-3", Name: "Carla Rossi", Office: torino, Role: gateway.RoleClerk, Station: "PDL-L219-01"},
		{ID: "op-4", Name: "Dario Bruni", Office: gateway.Office{Kind: gateway.OfficePost, Code: ba.Key}, Role: gateway.RoleClerk, Station: "PDL-BA-01"},
		{ID: "owner-1", Name: "Livia Serrani", Role: gateway.RoleOwnerInterior},
		{ID: "owner-2", Name: "Ettore Valmarin", Role: gateway.RoleOwnerMAECI},
	}}
	for _, p := range sim.People() {
		d.Citizens = append(d.Citizens, web.DemoCitizen{
			ID: "citizen-" + p.IDANPR, Name: p.Name + " " + p.Surname, FiscalCode: p.CF, Where: p.Address.Locality, Level: 3, Note: p.Note,
		})
	}
	return d
}

// register answers what the synthetic people's file says.
type register struct {
	mu   sync.Mutex
	down bool
}

func (r *register) Check(_ context.Context, q anpr.Query) (anpr.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return anpr.Record{}, errors.New("register is down")
	}
	for _, p := range sim.People() {
		if p.CF != q.FiscalCode {
			continue
		}
		rec := anpr.Record{Version: 1, Provenance: anpr.FromANPR, AskedFor: p.CF, Found: true, Person: anpr.Person{
			FiscalCode: p.CF, FiscalCodeValidated: anpr.Yes, Surname: p.Surname, GivenName: p.Name, Sex: p.Sex, BirthDate: p.Birth.Date,
			BirthPlace: anpr.BirthPlace{ComuneName: p.Birth.ComuneName}, AIRE: anpr.Yes, Italian: anpr.Yes, Alive: anpr.Yes,
			Post:         anpr.PostRef{},
			Citizenships: []anpr.Citizenship{{StateISTAT: "100", StateName: "ITALIA"}},
			Address: anpr.Address{
				Foreign: true, Street: p.Address.Street, Number: p.Address.Number, Postcode: p.Address.Postcode,
				Locality: p.Address.Locality, Province: p.Address.Province, StateISTAT: p.Address.StateISTAT, StateName: p.Address.State,
			},
		}}
		if p.Post != nil {
			rec.Person.Post = anpr.PostRef{Code: p.Post.Code, Description: p.Post.Seat}
		}
		if p.AIRE != nil {
			rec.Person.AIREComune = anpr.ComuneRef{ISTAT: p.AIRE.ComuneISTAT, Name: p.AIRE.ComuneName}
		}
		switch p.Scenario {
		case "deceased":
			rec.Person.Alive = anpr.No
			rec.Findings = []anpr.Finding{{Code: anpr.FindingDeceased}}
		case "cf-not-validated":
			rec.Person.FiscalCodeValidated = anpr.No
			rec.Findings = []anpr.Finding{{Code: anpr.FindingCFNotValidated}}
		}
		return rec, nil
	}
	return anpr.Record{Version: 1, AskedFor: q.FiscalCode, Findings: []anpr.Finding{{Code: anpr.FindingNotFound}}}, nil
}

func (r *register) set(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// core accepts everything once per key.
type core struct {
	mu     sync.Mutex
	now    func() time.Time
	orders map[string]*held
}

type held struct {
	nun     string
	receipt *gateway.Receipt
}

func (c *core) Compose(r *gateway.Request, key string, _ gateway.Actor) (json.RawMessage, error) {
	return json.Marshal(map[string]string{"key": key, "request": r.ID})
}

func (c *core) Prepare(_ context.Context, key string, _ json.RawMessage) (gateway.Prepared, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.orders[key]
	if o == nil {
		o = &held{nun: fmt.Sprintf("CA%05dAA", len(c.orders)+1)}
		c.orders[key] = o
	}
	return gateway.Prepared{NUN: o.nun, Digest: "d", Halves: gateway.Halves{PIN: "1234", PUK: "5678"}}, nil
}

func (c *core) ConfirmForms(context.Context, gateway.Order, time.Time, gateway.Actor) error {
	return nil
}

func (c *core) ComposeSubmission(r *gateway.Request, _ gateway.Actor) (json.RawMessage, error) {
	return json.Marshal(map[string]string{"request": r.ID})
}

func (c *core) Submit(_ context.Context, key string, _ json.RawMessage) (gateway.Receipt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orders[key].receipt = &gateway.Receipt{ID: "receipt-" + key, AcceptedAt: c.now(), Digest: "d"}
	return *c.orders[key].receipt, nil
}

func (c *core) Lookup(_ context.Context, key string) (gateway.CoreOrder, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.orders[key]
	if o == nil {
		return gateway.CoreOrder{}, &gateway.CoreVerdict{Code: "order_unknown"}
	}
	return gateway.CoreOrder{NUN: o.nun, Receipt: o.receipt}, nil
}

func (c *core) Cancel(context.Context, string, string, string, gateway.Actor) (bool, error) {
	return true, nil
}

func (c *core) ChangeDelivery(context.Context, *gateway.Request, string, gateway.DeliveryChoice, *delivery.Address, gateway.Actor) (bool, error) {
	return true, nil
}

func (c *core) Feed(context.Context, string) ([]gateway.CoreEvent, string, bool, error) {
	return nil, "", false, nil
}

// Verify takes plain JSON: signatures are the business of other packages.
func (c *core) Verify(raw []byte, _ time.Time) (gateway.CoreEvent, error) {
	var e gateway.CoreEvent
	err := json.Unmarshal(raw, &e)
	return e, err
}

// work lets the workers do everything that is due.
func (w *world) work() {
	w.t.Helper()
	ctx := context.Background()
	for _, step := range []func(context.Context) (bool, error){w.g.WorkOnce, w.g.RelayOnce, w.g.ApplyOnce} {
		for i := 0; i < 50; i++ {
			again, err := step(ctx)
			if err != nil {
				w.t.Fatal(err)
			}
			if !again {
				break
			}
		}
	}
}

// browser is one person's browser: cookies, no redirects followed.
type browser struct {
	w    *world
	http *http.Client
	lang string
	auth string
}

func (w *world) browser(lang string) *browser {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{w: w, lang: lang, http: &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// as answers the browser of a synthetic person who has logged in: "operator"
// or "citizen", and the id.
func (w *world) as(kind, id string) *browser {
	w.t.Helper()
	b := w.browser("it")
	a := b.post("/login", url.Values{kind: {id}})
	if a.status != http.StatusSeeOther {
		w.t.Fatalf("login as %s %s: %d %s", kind, id, a.status, a.body)
	}
	return b
}

// machine answers a caller with a bearer of a client.
func (w *world) machine(id string, key jose.Key) *browser {
	w.t.Helper()
	b := w.browser("en")
	b.auth = "Bearer " + w.bearer(id, key, 5*time.Minute, w.url+"/api/v1")
	return b
}

func (w *world) bearer(id string, key jose.Key, life time.Duration, audience string) string {
	w.t.Helper()
	now := w.Now()
	token, err := jose.Sign(key, "client-authentication+jwt", struct {
		Iss string `json:"iss"`
		Sub string `json:"sub"`
		Aud string `json:"aud"`
		Iat int64  `json:"iat"`
		Exp int64  `json:"exp"`
		Jti string `json:"jti"`
	}{id, id, audience, now.Unix(), now.Add(life).Unix(), rand.Text()})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
}

func (b *browser) do(method, path, contentType, body string, header map[string]string) reply {
	b.w.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = b.w.url + path
	}
	req, err := http.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	if err != nil {
		b.w.t.Fatal(err)
	}
	req.Header.Set("Accept-Language", b.lang)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if b.auth != "" {
		req.Header.Set("Authorization", b.auth)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(raw)}
}

func (b *browser) get(path string) reply { b.w.t.Helper(); return b.do("GET", path, "", "", nil) }

func (b *browser) post(path string, f url.Values) reply {
	b.w.t.Helper()
	return b.do("POST", path, "application/x-www-form-urlencoded", f.Encode(), nil)
}

func (b *browser) json(path, body string) reply {
	b.w.t.Helper()
	return b.do("POST", path, "application/json", body, nil)
}

// input is a good RequestInput for a person at the comune of Città di Castello.
func input(cf, option string) string {
	return `{"key":"test-` + rand.Text() + `","channel":"comune","office":"054013","reason":"first_issue","applicant":{"fiscal_code":"` + cf +
		`"},"delivery":{"option":"` + option + `"},"contacts":{"email":"someone@example.org"}}`
}

// submitted answers the number of a new request made by the client of Castello.
func (w *world) submitted(cf, option string) (number, code string) {
	w.t.Helper()
	a := w.machine(clientID, w.client).json("/api/v1/requests", input(cf, option))
	if a.status != http.StatusCreated {
		w.t.Fatalf("submit: %d %s", a.status, a.body)
	}
	var ack struct {
		Number string `json:"number"`
		Code   string `json:"tracker_code"`
	}
	if err := json.Unmarshal([]byte(a.body), &ack); err != nil {
		w.t.Fatal(err)
	}
	return ack.Number, ack.Code
}

// minor answers the number of a checked request for a child with two parents.
func (w *world) minor(cf string, parents []string) string {
	w.t.Helper()
	body := strings.Replace(input(cf, "FOREIGN_RESIDENCE"), `"delivery"`, fmt.Sprintf(`"parents":[{"fiscal_code":%q},{"fiscal_code":%q}],"delivery"`, parents[0], parents[1]), 1)
	a := w.machine(clientID, w.client).json("/api/v1/requests", body)
	if a.status != http.StatusCreated {
		w.t.Fatalf("%d %s", a.status, a.body)
	}
	var ack struct{ Number string }
	if err := json.Unmarshal([]byte(a.body), &ack); err != nil {
		w.t.Fatal(err)
	}
	w.work()
	return ack.Number
}

// must does counter acts through the API, each of which must succeed.
func (w *world) must(number string, acts ...string) {
	w.t.Helper()
	b := w.machine(clientID, w.client)
	for _, a := range acts {
		name, body, _ := strings.Cut(a, " ")
		got := b.json("/api/v1/requests/"+number+"/counter/"+name, body)
		if got.status != http.StatusOK {
			w.t.Fatalf("%s: %d %s", name, got.status, got.body)
		}
		if name == "fee" || name == "sign" {
			w.work()
		}
	}
}

// The counter's work for an adult, up to the fee.
var counterWork = []string{
	"presence", `documents {"identity":"passport"}`, `declaration {"no_obstacles":true,"letters":"bcdefg"}`, "enquiry",
	`capture {"station":"PDL-C745-01","photo":"photo-1","signature":"signature-1","fingerprints":[{"hand":"right","finger":"index","quality":80,"ref":"right-1"},{"hand":"left","finger":"index","quality":80,"ref":"left-1"}],"height_cm":170}`,
}

// event delivers one of the core's events on the mutual TLS surface.
func (w *world) event(number string, seq int, kind string, details gateway.CoreDetails) {
	w.t.Helper()
	key := number + ".1"
	w.core.mu.Lock()
	nun := w.core.orders[key].nun
	w.core.mu.Unlock()
	raw, err := json.Marshal(gateway.CoreEvent{
		EventID: fmt.Sprintf("%s-%d", key, seq), OrderKey: key, Seq: seq, NUN: nun, Type: kind, At: w.Now(), Details: details,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	w.coreH.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), "POST", "/core/v1/events", bytes.NewReader(raw)))
	if rec.Code != http.StatusNoContent {
		w.t.Fatalf("event %s: %d %s", kind, rec.Code, rec.Body)
	}
	w.work()
}

// trackerCode answers the live code of a request of Castello.
func (w *world) trackerCode(number string) string {
	w.t.Helper()
	var r struct {
		Code string `json:"tracker_code"`
	}
	a := w.machine(clientID, w.client).get("/api/v1/requests/" + number)
	if err := json.Unmarshal([]byte(a.body), &r); err != nil || r.Code == "" {
		w.t.Fatalf("%d %s", a.status, a.body)
	}
	return r.Code
}
