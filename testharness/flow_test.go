package testharness

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/delivery"
	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/gateway/issuance"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
	"airegw/gateway/web"
	"airegw/policies"
	"airegw/testharness/coresim"
	"airegw/testharness/sim"
)

// The instant at which the little worlds of these tests begin, unless they say
// otherwise.
var dawn = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// handClock is a clock that only a test moves, for gateway and simulators.
type handClock struct{ *sim.ManualClock }

func (c handClock) After(d time.Duration) <-chan time.Time {
	done := make(chan time.Time, 1)
	c.AfterFunc(d, func() { done <- c.Now() })
	return done
}

// flow is a whole gateway among simulators that stands still until the test
// moves it: no worker runs, the clock is the test's.
type flow struct {
	t      *testing.T
	ctx    context.Context
	clock  handClock
	sims   *Sims
	app    *app.App
	config app.Config
	dir    string
	g      *gateway.Gateway

	alignment gateway.Alignment // the register's consular door, of the next assemble
	log       *slog.Logger      // of the next assemble; nil: nowhere
	own       gateway.Clock     // the gateway's own, of the next assemble; nil: the world's
	door      *web.DemoDoor     // of the next assemble
	dbURL     string            // of a PostgreSQL database in place of the file
}

// clientKey is our key at PDND, made once: RSA keys are slow to make and say
// nothing in these tests.
var (
	clientKey = sync.OnceValues(newClientKey)
	otherKey  = sync.OnceValues(newClientKey) // the second one of a rotation
)

func newClientKey() ([]byte, error) {
	dir, err := os.MkdirTemp("", "airegw-key-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	key, err := jose.GenerateKey(jose.RS256)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "pdnd.jwk")
	err = jose.SaveKey(path, key)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// voucherKey is PDND's key, made once for the same reason.
var voucherKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// newFlow makes a world that begins at an instant.
func newFlow(t *testing.T, at time.Time, set ...func(*app.Config)) *flow {
	t.Helper()
	w := &flow{t: t, ctx: context.Background(), clock: handClock{sim.NewManual(at)}, dir: t.TempDir()}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	voucher, err := voucherKey()
	if err != nil {
		t.Fatal(err)
	}
	w.sims, err = StartSims(SimOptions{Seed: 7, Clock: w.clock.ManualClock, Log: quiet, VoucherKey: voucher, RegistryTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := w.sims.Close()
		if err != nil {
			t.Errorf("close simulators: %v", err)
		}
	})
	raw, err := clientKey()
	if err != nil {
		t.Fatal(err)
	}
	err = os.MkdirAll(filepath.Join(w.dir, "keys"), 0o700)
	if err != nil {
		t.Fatal(err)
	}
	err = os.WriteFile(filepath.Join(w.dir, "keys", "pdnd.jwk"), raw, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w.config, err = Configure(w.ctx, w.sims.Connection, w.dir, GatewayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Nobody serves pushes here: the feed tells, or the test hands events in.
	w.takePushes("")
	w.config.Core.EventsAddr = ""
	for _, f := range set {
		f(&w.config)
	}
	w.assemble()
	return w
}

// takePushes says where the core pushes events; empty: nowhere.
func (w *flow) takePushes(url string) {
	w.t.Helper()
	key, err := jose.LoadKey(filepath.Join(w.dir, w.config.Core.KeyFile), jose.ES256)
	if err != nil {
		w.t.Fatal(err)
	}
	jwks, err := jose.NewKeySet(key.Public()).MarshalJSON()
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.sims.Core.RegisterGateway(coresim.Gateway{ID: w.config.Core.ClientID, JWKS: jwks, PushURL: url})
	if err != nil {
		w.t.Fatal(err)
	}
}

// assemble starts the gateway on its folder, as after a restart.
func (w *flow) assemble() {
	w.t.Helper()
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	var clock gateway.Clock = w.clock
	if w.own != nil {
		clock = w.own
	}
	a, err := app.Assemble(w.ctx, w.config, app.Options{Log: w.log, Clock: clock, Random: rand.Reader, Version: "test", Alignment: w.alignment, Demo: w.door})
	if err != nil {
		w.t.Fatal(err)
	}
	w.app, w.g = a, a.Gateway
	w.t.Cleanup(func() {
		err := a.Close()
		if err != nil {
			w.t.Errorf("close gateway: %v", err)
		}
	})
}

// office answers the office of a text; it must exist.
func office(t *testing.T, name string) gateway.Office {
	t.Helper()
	o, ok := gateway.ParseOffice(name)
	if !ok {
		t.Fatalf("no office answers to %q", name)
	}
	return o
}

// desk is the desk of a clerk of an office, sitting at a station.
func (w *flow) desk(name string) gateway.Desk { return w.deskOf(name, gateway.RoleClerk) }

func (w *flow) deskOf(name string, role gateway.Role) gateway.Desk {
	w.t.Helper()
	return w.g.Desk(gateway.OperatorScope(gateway.Actor{
		Kind: gateway.ActorOperator, ID: "op-" + name + "-" + string(role), Office: office(w.t, name), Role: role, Station: station,
	}))
}

func (w *flow) citizen(p sim.Person) gateway.Desk {
	return w.g.Desk(gateway.CitizenScope(p.CF, "citizen-"+p.IDANPR, 3))
}

const station = "PDL-TEST-01"

// by answers the first person with a scenario.
func by(t *testing.T, scenario string) sim.Person {
	t.Helper()
	p, ok := sim.PersonByScenario(scenario)
	if !ok {
		t.Fatalf("no person for the scenario %q", scenario)
	}
	return p
}

func byCF(t *testing.T, cf string) sim.Person {
	t.Helper()
	p, ok := sim.PersonByCF(cf)
	if !ok {
		t.Fatalf("no person has the fiscal code %s", cf)
	}
	return p
}

// ordinary answers the n-th ordinary AIRE citizen without a card.
func ordinary(t *testing.T, n int) sim.Person {
	t.Helper()
	for _, p := range sim.People() {
		if p.Scenario != "ok" || p.Card != nil {
			continue
		}
		if n == 0 {
			return p
		}
		n--
	}
	t.Fatal("not so many ordinary people")
	return sim.Person{}
}

// ask is the form of a first issue at a comune with pick-up there.
func ask(p sim.Person) gateway.Input {
	in := gateway.Input{
		Key: "key-" + p.CF, Channel: policies.ChannelComune, Reason: policies.ReasonFirstIssue,
		Applicant: gateway.Applicant{FiscalCode: p.CF},
		Delivery:  gateway.DeliveryChoice{Option: policies.DeliveryComunePickup},
		Contacts:  gateway.Contacts{Email: p.Email},
	}
	for _, cf := range p.Parents {
		in.Parents = append(in.Parents, gateway.Parent{FiscalCode: cf})
	}
	return in
}

// atPost turns a form into one of the post channel, delivered home.
func atPost(in gateway.Input) gateway.Input {
	in.Channel, in.Delivery = policies.ChannelPost, gateway.DeliveryChoice{Option: policies.DeliveryForeignResidence}
	return in
}

func italianAddress() *delivery.Address {
	return &delivery.Address{ISO2: "IT", Street: "Via dei Serpenti", HouseNumber: "12", Postcode: "00184", Locality: "Roma", Region: "RM", CareOf: "Famiglia Rossi"}
}

func (w *flow) submit(d gateway.Desk, in gateway.Input) string {
	w.t.Helper()
	ack, err := d.Submit(w.ctx, in)
	if err != nil {
		w.t.Fatalf("submit: %v", err)
	}
	return ack.Number
}

// drain does one kind of work until there is none due now.
func (w *flow) drain(what string, once func(context.Context) (bool, error)) {
	w.t.Helper()
	for range 200 {
		again, err := once(w.ctx)
		if err != nil {
			w.t.Fatalf("%s: %v", what, err)
		}
		if !again {
			return
		}
	}
	w.t.Fatalf("%s never ends", what)
}

func (w *flow) work()  { w.t.Helper(); w.drain("work", w.g.WorkOnce) }
func (w *flow) relay() { w.t.Helper(); w.drain("relay", w.g.RelayOnce) }

// news brings what the core says: feed, then apply.
func (w *flow) news() {
	w.t.Helper()
	w.drain("feed", w.g.FeedOnce)
	w.drain("apply", w.g.ApplyOnce)
}

// advance moves the core's orders of a request by steps and brings the news.
func (w *flow) advance(number string, steps int) {
	w.t.Helper()
	w.core(number, steps)
	w.news()
}

func (w *flow) core(number string, steps int) {
	w.t.Helper()
	_, err := w.sims.Core.Advance(coresim.AdvanceRequest{RequestID: number, Steps: steps})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *flow) pass(d time.Duration) { w.clock.Advance(d) }

// until repeats f, moving the clock by step before each further try, until it
// holds: for what an outside in disorder brings about sooner or later.
func (w *flow) until(what string, step time.Duration, f func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			w.t.Fatalf("never: %s", what)
		}
		w.pass(step)
		runtime.Gosched()
	}
}

func (w *flow) open(d gateway.Desk, number string) *gateway.Request {
	w.t.Helper()
	r, err := d.Open(w.ctx, number)
	if err != nil {
		w.t.Fatalf("open %s: %v", number, err)
	}
	return r
}

// is checks the state and answers the request.
func (w *flow) is(d gateway.Desk, number string, want gateway.State) *gateway.Request {
	w.t.Helper()
	r := w.open(d, number)
	if r.State != want {
		w.t.Fatalf("%s is %s (mark %+v, outcome %+v), not %s", number, r.State, r.Mark, r.Outcome, want)
	}
	return r
}

// taken submits and lets the workers check, decide and route.
func (w *flow) taken(d gateway.Desk, in gateway.Input) string {
	w.t.Helper()
	number := w.submit(d, in)
	w.work()
	w.is(d, number, gateway.StatePrechecked)
	return number
}

func capture() gateway.Capture {
	return gateway.Capture{
		Station: station, Photo: "photo:1", Signature: "signature:1", HeightCM: 170,
		Fingerprints: []gateway.Fingerprint{{Hand: "right", Finger: "index", Quality: 80, Ref: "print:right"}, {Hand: "left", Finger: "index", Quality: 80, Ref: "print:left"}},
	}
}

// must fails on an error of an act.
func (w *flow) must(what string, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

// enquiry does the counter's acts until the dossier is ready to be prepared.
func (w *flow) enquiry(d gateway.Desk, number string) {
	w.t.Helper()
	w.must("presence", d.RecordPresence(w.ctx, number))
	w.must("documents", d.RecordDocuments(w.ctx, number, gateway.Documents{Identity: "passport"}))
	w.must("declaration", d.RecordDeclaration(w.ctx, number, gateway.Declaration{NoObstacles: true}))
	w.must("enquiry", d.OpenEnquiry(w.ctx, number))
	w.acquire(d, number)
}

// acquire captures and takes the fee.
func (w *flow) acquire(d gateway.Desk, number string) {
	w.t.Helper()
	w.must("capture", d.RecordCapture(w.ctx, number, capture()))
	w.must("fee", d.RecordFee(w.ctx, number, gateway.Fee{Cents: w.open(d, number).Decision.Decision.FeeCents, Means: "card"}))
}

// prepare does all up to the printed and confirmed forms.
func (w *flow) forms(d gateway.Desk, number string) {
	w.t.Helper()
	w.must("prepare", d.PrepareForms(w.ctx, number))
	_, err := d.PrintForms(w.ctx, number)
	w.must("print", err)
	w.must("confirm", d.ConfirmForms(w.ctx, number))
}

// signed takes a form as far as the citizen's signature.
func (w *flow) signed(d gateway.Desk, in gateway.Input) string {
	w.t.Helper()
	number := w.taken(d, in)
	w.enquiry(d, number)
	w.forms(d, number)
	w.must("sign", d.Sign(w.ctx, number))
	return number
}

// relayed takes a form as far as the core's receipt.
func (w *flow) relayed(d gateway.Desk, in gateway.Input) string {
	w.t.Helper()
	number := w.signed(d, in)
	w.relay()
	w.is(d, number, gateway.StateRelayed)
	return number
}

// refusedAs checks kind and code of an error.
func refusedAs(t *testing.T, err error, kind gateway.Kind, code string) {
	t.Helper()
	if err == nil || gateway.KindOf(err) != kind || gateway.CodeOf(err) != code {
		t.Fatalf("wanted %s %s, got %v", kind, code, err)
	}
}

// acceptances answers how often the core accepted an order, and how many orders
// of the request live there.
func (w *flow) acceptances(key string) (accepted, live int) {
	ledger := w.sims.Core.Ledger()
	request, _, _ := strings.Cut(key, ".")
	return ledger.Acceptances[key], len(ledger.Live[request])
}

// once checks that the core accepted an order exactly once and that it is the
// request's only live one.
func (w *flow) once(key string) {
	w.t.Helper()
	accepted, live := w.acceptances(key)
	if accepted != 1 || live != 1 {
		w.t.Fatalf("%s was accepted %d times, %d orders live", key, accepted, live)
	}
}

// sound checks that every invariant holds.
func (w *flow) sound() {
	w.t.Helper()
	broken, err := CheckInvariants(w.ctx, Judged{Dir: w.dir, URL: w.dbURL, Conn: w.sims.Connection, Now: w.clock.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, b := range broken {
		w.t.Error(b)
	}
}

// coreFault sets a fault of the core for one order and operation.
func (w *flow) coreFault(r sim.Rule) {
	w.t.Helper()
	w.must("fault "+r.Name, w.sims.Core.Faults().Set(r))
}

func (w *flow) registerFault(r sim.Rule) {
	w.t.Helper()
	w.must("fault "+r.Name, w.sims.ANPR.Faults().Set(r))
}

// checksOf answers the fiscal codes the register was asked about for a request.
func (w *flow) checksOf(number string) []string {
	var codes []string
	for _, c := range w.sims.ANPR.Calls() {
		if c.Reason == number && c.Operation == "C030" {
			codes = append(codes, c.Subject)
		}
	}
	return codes
}

// change edits a person's record in the register.
func (w *flow) change(cf string, f func(p *sim.Person)) {
	w.t.Helper()
	w.must("change "+cf, w.sims.ANPR.Change(cf, 0, func(p *sim.Person) error { f(p); return nil }))
}

// cancelBehindOurBack cancels an order at the core with a key of its own, as
// another copy of us would.
func (w *flow) cancelBehindOurBack(number string) {
	w.t.Helper()
	granted, err := w.coreClient().Cancel(w.ctx, issuance.Cancellation{
		OrderKey: number + ".1", ChangeKey: number + ".1-behind", Reason: "withdrawn", Actor: issuance.Actor{Operator: "somebody", Station: station},
	})
	if err != nil || granted.Outcome != issuance.OutcomeAccepted {
		w.t.Fatalf("cancel: %+v %v", granted, err)
	}
}

// coreClient is a second client of the core with our own keys.
func (w *flow) coreClient() *issuance.Client {
	w.t.Helper()
	file := func(name string) string { return filepath.Join(w.dir, name) }
	key, err := jose.LoadKey(file(w.config.Core.KeyFile), jose.ES256)
	w.must("key", err)
	raw, err := os.ReadFile(file(w.config.Core.JWKSFile))
	w.must("keys of the core", err)
	keys, err := jose.ParseKeySet(raw)
	w.must("keys of the core", err)
	tls, err := outbound.LoadTLS(outbound.TLSFiles{CA: file(w.config.Core.CAFile), Cert: file(w.config.Core.CertFile), Key: file(w.config.Core.CertKey)})
	w.must("certificates", err)
	out, err := outbound.New(outbound.Config{
		Peer: "core", Deadline: 10 * time.Second, PerTry: 5 * time.Second, MaxBody: 1 << 20, Tries: 1, TLS: tls, Clock: w.clock.Now,
		Rand: func() float64 { return 0 }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	w.must("way out", err)
	client, err := issuance.New(issuance.Config{
		BaseURL: w.config.Core.URL, ClientID: w.config.Core.ClientID, CoreID: w.config.Core.ID, Key: key, CoreKeys: keys,
		Out: out, Clock: w.clock.Now, Rand: rand.Reader,
	})
	w.must("client", err)
	return client
}
