package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/gateway/store"
	"airegw/gateway/store/pgtest"
	"airegw/testharness"
	"airegw/testharness/sim"
)

// world is a gateway in the test's own process, with its workers, among
// simulators and bad lines: for what is about numbers and not about processes.
type world struct {
	t     *testing.T
	dir   string
	dbURL string
	sims  *testharness.Sims
	app   *app.App
	desk  gateway.Desk

	core, registerLine *testharness.FaultProxy

	db     *store.Store
	now    func() time.Time
	client string // the gateway's name at the core
	whole  int    // every how many go all the way; 0: all

	model  *gateway.Request // others begin as it is
	signed *gateway.Request // others begin as it was when it was signed

	mu      sync.Mutex
	numbers []string
	retries atomic.Int64
}

type worldOptions struct {
	engine engine
	people int
	rates  testharness.FaultRates
	seed   uint64
	// whole says that of so many requests one goes all the way to the core, the
	// others begin signed; 0: all go all the way
	whole int
	// profile of the simulators; zero: polite
	profile sim.Profile
}

func newWorld(t *testing.T, o worldOptions) *world {
	t.Helper()
	underWay(t)
	keys, err := rsaKeys()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: memoryDir(t), whole: o.whole}
	var people []sim.Person
	for n := 0; n < o.people; n += farShare {
		people = append(people, testharness.SyntheticPerson(n))
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	w.sims = simulate(t, testharness.SimOptions{Profile: o.profile, Seed: 11, VoucherKey: keys.voucher, People: people, Log: quiet})
	err = os.MkdirAll(filepath.Join(w.dir, "keys"), 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, "keys", "pdnd.jwk"), keys.client, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := testharness.Configure(t.Context(), w.sims.Connection, w.dir, testharness.GatewayOptions{Workers: app.WorkerConfig{
		Lease: 20 * time.Second, Poll: 20 * time.Millisecond, Count: 24, RetryFirst: 20 * time.Millisecond, RetryMost: 500 * time.Millisecond, FeedEvery: time.Second,
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.core, w.registerLine = badLines(t, w.sims, w.dir, &c, o.rates, o.seed)
	w.client = c.Core.ClientID
	if o.engine == onPostgreSQL {
		w.dbURL = pgtest.Database(t)
		c.Database = app.DatabaseConfig{URLFile: filepath.Join(w.dir, "database.url"), Keys: "keys/database.keys"}
		err = os.WriteFile(c.Database.URLFile, []byte(w.dbURL+"\n"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	w.app, err = app.Assemble(t.Context(), c, app.Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, "gateway", w.app.Close)
	w.db, w.now = w.app.Store, gateway.SystemClock{}.Now
	office, _ := gateway.ParseOffice(comune)
	w.desk = w.app.Gateway.Desk(gateway.OperatorScope(gateway.Actor{
		Kind: gateway.ActorOperator, ID: "op-1", Office: office, Role: gateway.RoleClerk, Station: "PDL-TEST-01",
	}))
	return w
}

// badLines puts a line that fails at these rates between the gateway of a folder
// and the core, and one between it and the register.
func badLines(t *testing.T, sims *testharness.Sims, dir string, c *app.Config, rates testharness.FaultRates, seed uint64) (core, register *testharness.FaultProxy) {
	t.Helper()
	core, err := sims.CoreProxy(dir, rates, seed+1)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, "line to the core", core.Close)
	register, err = testharness.StartFaultProxy(testharness.FaultProxyOptions{Target: sims.ANPRURL, Rates: rates, Seed: seed + 2})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, "line to the register", register.Close)
	c.Core.URL, c.Core.EventsAddr = core.URL, ""
	c.Register.TokenURL = strings.Replace(c.Register.TokenURL, sims.ANPRURL, register.URL, 1)
	for name, s := range c.Register.Services {
		s.BaseURL = strings.Replace(s.BaseURL, sims.ANPRURL, register.URL, 1)
		c.Register.Services[name] = s
	}
	return core, register
}

// memoryDir answers a folder in memory where the machine has one: what is killed
// here are processes, whose writes the kernel keeps, and hundreds of databases
// need not wait for one disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "airegw-crash-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		err := os.RemoveAll(dir)
		if err != nil {
			t.Error(err)
		}
	})
	return dir
}

func closeAtEnd(t *testing.T, what string, f func() error) {
	t.Helper()
	t.Cleanup(func() {
		err := f()
		if err != nil {
			t.Errorf("close %s: %v", what, err)
		}
	})
}

// run lets the workers work until the test ends.
func (w *world) run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.app.Run(ctx) }()
	closeAtEnd(w.t, "workers", func() error {
		stop()
		return <-done
	})
}

// takeAll takes people 0 to n-1 as far as the signature, by many clerks at once,
// and answers how many it took: all, unless the time it may take is over before.
func (w *world) takeAll(ctx context.Context, n int, long time.Duration) int {
	w.t.Helper()
	from := time.Now()
	err := w.take(ctx, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	const clerks = 32
	var wg sync.WaitGroup
	var next, taken atomic.Int64
	taken.Add(1)
	failed := make(chan error, clerks)
	for range clerks {
		wg.Go(func() {
			for time.Since(from) < long {
				i := int(next.Add(1))
				if i >= n {
					return
				}
				err := w.take(ctx, i)
				if err != nil {
					failed <- err
					return
				}
				if done := taken.Add(1); done%500 == 0 {
					tell(w.t, "%d of %d requests", done, n)
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		w.t.Fatal(err)
	default:
	}
	return int(taken.Load())
}

// take takes person i to the signature.
func (w *world) take(ctx context.Context, i int) error {
	switch {
	case i%farShare == 0:
		return w.takeFar(ctx, i)
	case w.whole > 0 && i%w.whole != 0:
		return w.hold(ctx, i)
	}
	number, err := w.plant(ctx, i, true)
	if err != nil {
		return fmt.Errorf("dossier %d: %w", i, err)
	}
	return w.do(ctx, number, w.order(number))
}

// takeFar takes person i all the way from the submission, and has the first one
// stand model for others.
func (w *world) takeFar(ctx context.Context, i int) error {
	number, err := w.submit(ctx, i)
	if err != nil {
		return fmt.Errorf("submit %d: %w", i, err)
	}
	err = w.do(ctx, number, w.dossier(number))
	if err == nil && w.model == nil {
		w.model, err = w.desk.Open(ctx, number)
	}
	if err == nil {
		err = w.do(ctx, number, w.order(number))
	}
	if err != nil || w.signed != nil {
		return err
	}
	r, err := w.desk.Open(ctx, number)
	if err != nil {
		return err
	}
	last := slices.IndexFunc(r.Events, func(e gateway.Event) bool { return e.Type == gateway.EventSigned })
	w.signed, err = gateway.Derive(number, r.Events[:last+1])
	return err
}

// planted is the number of person i's planted request.
func planted(i int) string { return fmt.Sprintf("R26-L%08d", i) }

// about answers the pairs that make what is on record of person 0's request speak
// of person i's.
func about(model *gateway.Request, i int) []string {
	from, p := testharness.SyntheticPerson(0), testharness.SyntheticPerson(i)
	return []string{from.CF, p.CF, from.IDANPR, p.IDANPR, model.ID, planted(i)}
}

// hold stores for person i what is on record of a signed request; the core holds
// its order, as if prepare and the confirmation had come over a good line.
func (w *world) hold(ctx context.Context, i int) error {
	pairs, o := about(w.signed, i), w.signed.Order()
	nun, digest, err := w.sims.Core.Hold(w.client, []byte(strings.NewReplacer(pairs...).Replace(string(o.Body))))
	if err != nil {
		return fmt.Errorf("order of %d: %w", i, err)
	}
	_, err = w.plantAs(ctx, w.signed, i, append(pairs, o.NUN, nun, o.Digest, digest), true)
	return err
}

// plant stores for person i what is on record of the model, about themselves:
// all of it, with its row in the outbox if it is signed, or the form alone, for
// the workers to check.
func (w *world) plant(ctx context.Context, i int, whole bool) (number string, err error) {
	return w.plantAs(ctx, w.model, i, about(w.model, i), whole)
}

func (w *world) plantAs(ctx context.Context, model *gateway.Request, i int, pairs []string, whole bool) (number string, err error) {
	number = planted(i)
	p, about := testharness.SyntheticPerson(i), strings.NewReplacer(pairs...)
	events := slices.Clone(model.Events)
	for k := range events {
		for _, side := range []*json.RawMessage{&events[k].Data, &events[k].Private} {
			if *side != nil {
				*side = json.RawMessage(about.Replace(string(*side)))
			}
		}
	}
	request := gateway.NewRequest{
		ID: number, Namespace: "planted", Key: number, BodyDigest: number, Office: model.Office, Applicant: p.CF, Persons: []string{p.CF},
		Tracker: number, Event: events[0],
	}
	if !whole {
		request.Work = gateway.Work{Step: gateway.StepCheck, Due: w.now()}
	}
	err = w.patiently(ctx, func() error {
		_, _, err := w.db.Create(ctx, request)
		return err
	})
	if err != nil {
		return "", err
	}
	w.acknowledged(number)
	if !whole {
		return number, nil
	}
	change := gateway.Change{
		ID: number, Version: 1, State: gateway.StateSubmitted, Events: events[1:], To: model.State, Office: model.Office, Persons: []string{p.CF},
	}
	if model.State == gateway.StateSigned {
		key := about.Replace(model.Order().Key)
		change.Outbox = []gateway.Outbox{{RequestID: number, OrderKey: key, Kind: gateway.OutboxSubmission, Key: key, Due: w.now(), Actor: model.Order().Actor}}
	}
	return number, w.patiently(ctx, func() error { return w.db.Commit(ctx, change) })
}

func (w *world) acknowledged(number string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.numbers = append(w.numbers, number)
}

// moving are the conflicts that end by themselves.
var moving = map[string]bool{"state_moved": true, "register_not_asked_yet": true, "not_decided_yet": true}

// patiently repeats what may pass by itself: a peer that gave no clear answer, a
// worker that was quicker.
func (w *world) patiently(ctx context.Context, act func() error) error {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 160*time.Millisecond) {
		err := act()
		if err == nil || (gateway.KindOf(err) != gateway.Unavailable && !moving[gateway.CodeOf(err)]) {
			return err
		}
		w.retries.Add(1)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

func (w *world) submit(ctx context.Context, i int) (string, error) {
	p := testharness.SyntheticPerson(i)
	var ack gateway.Ack
	err := w.patiently(ctx, func() (err error) {
		ack, err = w.desk.Submit(ctx, gateway.Input{
			Key: "line-" + p.CF, Channel: "comune", Office: comune, Reason: "first_issue", Applicant: gateway.Applicant{FiscalCode: p.CF},
			Delivery: gateway.DeliveryChoice{Option: "COMUNE_PICKUP"}, Contacts: gateway.Contacts{Email: p.Email},
		})
		return err
	})
	if err != nil {
		return "", err
	}
	w.acknowledged(ack.Number)
	return ack.Number, nil
}

// act is one thing a clerk does.
type act struct {
	name string
	do   func(context.Context) error
}

// dossier is the counter's work up to the order.
func (w *world) dossier(number string) []act {
	d := w.desk
	return []act{
		{"presence", func(ctx context.Context) error { return d.RecordPresence(ctx, number) }},
		{"enquiry", func(ctx context.Context) error { return d.OpenEnquiry(ctx, number) }},
		{"documents", func(ctx context.Context) error {
			return d.RecordDocuments(ctx, number, gateway.Documents{Identity: "passport"})
		}},
		{"declaration", func(ctx context.Context) error {
			return d.RecordDeclaration(ctx, number, gateway.Declaration{NoObstacles: true})
		}},
		{"capture", func(ctx context.Context) error {
			return d.RecordCapture(ctx, number, gateway.Capture{Station: "PDL-TEST-01", Photo: "photo:1", Signature: "signature:1", HeightCM: 170, Fingerprints: []gateway.Fingerprint{
				{Hand: "right", Finger: "index", Quality: 80, Ref: "print:right"}, {Hand: "left", Finger: "index", Quality: 80, Ref: "print:left"},
			}})
		}},
		{"fee", func(ctx context.Context) error {
			r, err := d.Open(ctx, number)
			if err != nil {
				return err
			}
			return d.RecordFee(ctx, number, gateway.Fee{Cents: r.Decision.Decision.FeeCents, Means: "card"})
		}},
	}
}

// order is the counter's work with the core, up to the signature.
func (w *world) order(number string) []act {
	d := w.desk
	return []act{
		{"prepare", func(ctx context.Context) error { return d.PrepareForms(ctx, number) }},
		{"print", func(ctx context.Context) error {
			_, err := d.PrintForms(ctx, number)
			return err
		}},
		{"confirm", func(ctx context.Context) error { return d.ConfirmForms(ctx, number) }},
		{"sign", func(ctx context.Context) error { return d.Sign(ctx, number) }},
	}
}

// do does acts one after the other, patiently.
func (w *world) do(ctx context.Context, number string, acts []act) error {
	for _, a := range acts {
		err := w.patiently(ctx, func() error { return a.do(ctx) })
		if err != nil {
			r, look := w.desk.Open(context.WithoutCancel(ctx), number)
			if look != nil {
				return errors.Join(fmt.Errorf("%s %s: %w", number, a.name, err), look)
			}
			return fmt.Errorf("%s %s in %s, mark %+v: %w", number, a.name, r.State, r.Mark, err)
		}
	}
	return nil
}

// settle waits until the core's receipt of each of n orders is on record.
func (w *world) settle(ctx context.Context, n int) {
	w.t.Helper()
	for {
		asked := time.Now()
		counts, err := w.app.Store.Counts(ctx, asked.UTC())
		if err != nil {
			w.t.Fatal(err)
		}
		if counts.ByState[gateway.StateRelayed] == n {
			return
		}
		if counts.Parked > 0 {
			w.t.Fatalf("%d requests are parked: %+v", counts.Parked, counts)
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("not all are relayed: %+v", counts)
		case <-time.After(max(50*time.Millisecond, 10*time.Since(asked))): // counting many takes the time of the relay
		}
	}
}

// judge holds the invariants, quietly: every order on record has its one
// acceptance in the core's ledger, and the ledger holds no other.
func (w *world) judge(n int) (breaches int) {
	w.t.Helper()
	broken, err := testharness.CheckInvariants(w.t.Context(), testharness.Judged{
		Dir: w.dir, URL: w.dbURL, Conn: w.sims.Connection, Acknowledged: w.numbers, Now: time.Now().UTC(), Quiet: true, Requests: n,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, b := range broken {
		w.t.Error(b)
	}
	if len(w.numbers) != n {
		w.t.Errorf("%d acknowledged, not %d", len(w.numbers), n)
	}
	return len(broken)
}
