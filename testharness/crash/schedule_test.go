package crash

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/delivery"
	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/policies"
	"airegw/testharness"
)

// schedules is how many orders of events are played; each is replayed by its
// seed.
const schedules = 1_000

// TestAStaleWorkerIsRefusedInAThousandSchedules plays three workers on one
// database, who stop before and after every touch of the database, the core and
// the register, for as long as the dice say: also far past their leases, while
// another takes over. Whoever wakes late is refused, and the core accepted each
// order once, with the body that is on record.
func TestAStaleWorkerIsRefusedInAThousandSchedules(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	takeovers := 0
	for seed := range uint64(schedules) {
		s.play(t, seed)
		if t.Failed() {
			t.Fatalf("schedule %d", seed)
		}
		if s.refused > 0 {
			takeovers++
		}
	}
	if takeovers < schedules/10 {
		t.Errorf("somebody woke too late in %d of %d schedules only", takeovers, schedules)
	}
	s.settled(t)
	t.Logf("%d schedules, in %d of them a late worker was refused; %d submissions, %d acceptances", schedules, takeovers, s.core.sent, len(s.core.accepted))
}

// handClock is a clock that only the stage moves.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) After(time.Duration) <-chan time.Time { return nil }

func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// stage is three workers and whoever tells them when to move: one at a time.
type stage struct {
	clock   *handClock
	db      *store.Store
	dir     string
	core    *ledgerCore
	workers []*actor
	desk    gateway.Desk
	model   *gateway.Request
	arrived chan *actor
	dice    *mathrand.Rand
	refused int // late acts of this schedule
}

// actor is one worker between its stops.
type actor struct {
	*stage
	gateway.Store
	g      *gateway.Gateway
	resume chan struct{}
	at     string // where it stands; "" when it does nothing
	err    error

	asked bool // looked the order up since it claimed the row
	begun bool // a submission had begun when it claimed the row
}

// stop is where the stage may leave a worker standing.
func (a *actor) stop(at string) {
	if a.resume == nil {
		return // the model is made without stops
	}
	a.at = at
	a.arrived <- a
	<-a.resume
}

func (a *actor) late(err error) error {
	if gateway.CodeOf(err) == "lease_lost" || gateway.CodeOf(err) == "state_moved" {
		a.refused++
	}
	return err
}

func (a *actor) ClaimWork(ctx context.Context, now time.Time, lease time.Duration, n int) ([]gateway.Task, error) {
	tasks, err := a.Store.ClaimWork(ctx, now, lease, n)
	a.stop("work claimed")
	return tasks, err
}

func (a *actor) ReleaseWork(ctx context.Context, t gateway.Task, due time.Time, mark gateway.Mark) error {
	a.stop("release work")
	return a.late(a.Store.ReleaseWork(ctx, t, due, mark))
}

func (a *actor) ClaimOutbox(ctx context.Context, now time.Time, lease time.Duration, n int) ([]gateway.Outbox, error) {
	rows, err := a.Store.ClaimOutbox(ctx, now, lease, n)
	a.asked = false
	for _, r := range rows {
		a.begun = a.core.begun[r.OrderKey]
	}
	a.stop("outbox claimed")
	return rows, err
}

func (a *actor) KeepOutbox(ctx context.Context, o gateway.Outbox) error {
	a.stop("keep body")
	return a.late(a.Store.KeepOutbox(ctx, o))
}

func (a *actor) ReleaseOutbox(ctx context.Context, o gateway.Outbox, due time.Time, code, detail string, park bool) error {
	a.stop("release row")
	return a.late(a.Store.ReleaseOutbox(ctx, o, due, code, detail, park))
}

func (a *actor) Commit(ctx context.Context, c gateway.Change) error {
	a.stop("commit")
	err := a.late(a.Store.Commit(ctx, c))
	a.stop("committed")
	return err
}

// Check answers, or does not.
func (a *actor) Check(_ context.Context, q anpr.Query) (anpr.Record, error) {
	a.stop("ask the register")
	if a.resume != nil && a.dice.IntN(5) == 0 {
		return anpr.Record{}, errors.New("no answer")
	}
	p := testharness.SyntheticPerson(0)
	return anpr.Record{
		Version: 1, Provenance: anpr.FromANPR, AskedAt: a.clock.Now(), AskedFor: q.FiscalCode, Found: true,
		Person: anpr.Person{
			IDANPR: p.IDANPR, FiscalCode: q.FiscalCode, FiscalCodeValidated: anpr.Yes, Surname: p.Surname, GivenName: p.Name, Sex: p.Sex, BirthDate: p.Birth.Date,
			BirthPlace: anpr.BirthPlace{ComuneISTAT: "058091", ComuneName: "ROMA"}, AIRE: anpr.Yes, AIREComune: anpr.ComuneRef{ISTAT: "058091", Name: "ROMA"},
			Post: anpr.PostRef{Code: p.Post.Code, Description: p.Post.Seat}, Italian: anpr.Yes, Alive: anpr.Yes,
			Citizenships: []anpr.Citizenship{{StateISTAT: "100", StateName: "ITALIA"}},
			Address: anpr.Address{
				Foreign: true, Street: p.Address.Street, Number: p.Address.Number, Postcode: p.Address.Postcode, Locality: p.Address.Locality,
				Province: p.Address.Province, StateISTAT: p.Address.StateISTAT, StateName: p.Address.State,
			},
		},
	}, nil
}

// ledgerCore is an issuance core that remembers who asked before repeating. It
// keeps the contract: the same key and body answer the same receipt, another
// body of an accepted key is refused.
type ledgerCore struct {
	begun    map[string]bool
	accepted map[string]gateway.Receipt
	blind    []string // submissions repeated without asking
	sent     int
}

// asCore is the core as one worker meets it.
type asCore struct{ *actor }

var _ gateway.Core = asCore{}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func (c asCore) Compose(_ *gateway.Request, key string, _ gateway.Actor) (json.RawMessage, error) {
	return json.Marshal(map[string]string{"order_key": key})
}

func (c asCore) Prepare(_ context.Context, key string, body json.RawMessage) (gateway.Prepared, error) {
	return gateway.Prepared{NUN: "CA00000AA", Digest: digestOf(body), Halves: gateway.Halves{PIN: "1111", PUK: "2222"}}, nil
}

func (c asCore) ConfirmForms(context.Context, gateway.Order, time.Time, gateway.Actor) error {
	return nil
}

func (c asCore) ComposeSubmission(r *gateway.Request, _ gateway.Actor) (json.RawMessage, error) {
	return json.Marshal(map[string]any{"order_key": r.Order().Key, "check": r.Register.At})
}

func (c asCore) Submit(_ context.Context, key string, body json.RawMessage) (gateway.Receipt, error) {
	c.core.sent++
	if c.begun && !c.asked {
		c.core.blind = append(c.core.blind, key)
	}
	c.core.begun[key] = true
	c.stop("submission on its way")
	if c.dice.IntN(8) == 0 {
		return gateway.Receipt{}, errors.New("it never arrived")
	}
	receipt, known := c.core.accepted[key]
	switch {
	case !known:
		receipt = gateway.Receipt{ID: fmt.Sprintf("r-%d", len(c.core.accepted)), AcceptedAt: c.clock.Now(), Digest: digestOf(body)}
		c.core.accepted[key] = receipt
	case receipt.Digest != digestOf(body):
		return gateway.Receipt{}, &gateway.CoreVerdict{Code: "submission_differs", Err: errors.New("another body")}
	}
	c.stop("receipt on its way")
	if c.dice.IntN(5) == 0 {
		return gateway.Receipt{}, errors.New("the receipt was lost")
	}
	return receipt, nil
}

func (c asCore) Lookup(_ context.Context, key string) (gateway.CoreOrder, error) {
	c.stop("look up")
	held := gateway.CoreOrder{State: "forms_confirmed"}
	if receipt, known := c.core.accepted[key]; known {
		held.Receipt = &receipt
	}
	c.stop("looked up")
	if c.dice.IntN(8) == 0 {
		return gateway.CoreOrder{}, errors.New("no answer")
	}
	c.asked = true
	return held, nil
}

func (c asCore) Cancel(context.Context, string, string, string, gateway.Actor) (bool, error) {
	return false, errors.New("nobody cancels here")
}

func (c asCore) ChangeDelivery(context.Context, *gateway.Request, string, gateway.DeliveryChoice, *delivery.Address, gateway.Actor) (bool, error) {
	return false, errors.New("nobody changes a delivery here")
}

func (c asCore) Feed(context.Context, string) ([]gateway.CoreEvent, string, bool, error) {
	return nil, "", false, nil
}

func (c asCore) Verify([]byte, time.Time) (gateway.CoreEvent, error) {
	return gateway.CoreEvent{}, errors.New("nobody pushes here")
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{
		clock: &handClock{now: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)}, dir: memoryDir(t), arrived: make(chan *actor),
		core: &ledgerCore{begun: map[string]bool{}, accepted: map[string]gateway.Receipt{}},
	}
	var err error
	s.db, err = store.Open(t.Context(), store.Options{
		Path: filepath.Join(s.dir, "airegw.db"), Keys: filepath.Join(s.dir, "database.keys"), Environment: store.Simulation, Now: s.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, "database", s.db.Close)
	hire := func() *actor {
		a := &actor{stage: s, Store: s.db}
		a.g, err = gateway.New(gateway.Parts{
			Store: a, Register: a, Core: asCore{a}, Rules: policies.Shipped(), Clock: s.clock, Random: rand.Reader,
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	s.makeModel(t, hire())
	for range 3 {
		a := hire()
		a.resume = make(chan struct{})
		s.workers = append(s.workers, a)
	}
	return s
}

// makeModel takes one request to the signature, undisturbed.
func (s *stage) makeModel(t *testing.T, a *actor) {
	t.Helper()
	s.dice = mathrand.New(mathrand.NewPCG(1, 1)) //nolint:gosec // a seed to replay
	office, _ := gateway.ParseOffice(comune)
	s.desk = a.g.Desk(gateway.OperatorScope(gateway.Actor{
		Kind: gateway.ActorOperator, ID: "op-1", Office: office, Role: gateway.RoleClerk, Station: "PDL-TEST-01",
	}))
	w := &world{t: t, desk: s.desk}
	number, err := w.submit(t.Context(), 0)
	for again := true; err == nil && again; {
		again, err = a.g.WorkOnce(t.Context())
	}
	if err == nil {
		err = w.do(t.Context(), number, append(w.dossier(number), w.order(number)...))
	}
	if err == nil {
		s.model, err = s.desk.Open(t.Context(), number)
	}
	if err != nil || s.model.State != gateway.StateSigned {
		t.Fatalf("the model: %v", err)
	}
	// Nobody relays the model itself.
	rows, err := s.db.ClaimOutbox(t.Context(), s.clock.Now(), 1000*24*time.Hour, 1)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
}

// play plays the schedule of a seed: an order to relay, or a request to check.
func (s *stage) play(t *testing.T, seed uint64) {
	t.Helper()
	ctx := t.Context()
	s.dice, s.refused = mathrand.New(mathrand.NewPCG(seed, 5)), 0 //nolint:gosec // a seed to replay
	relay := seed%4 != 0
	number := s.plant(t, int(seed)+1, relay)
	run := func(a *actor) {
		var err error
		if relay {
			_, err = a.g.RelayOnce(ctx)
		} else {
			_, err = a.g.WorkOnce(ctx)
		}
		a.at, a.err = "", err
		s.arrived <- a
	}
	move := func(a *actor) {
		if a.at == "" {
			go run(a)
		} else {
			a.resume <- struct{}{}
		}
		<-s.arrived
		if a.at == "" && a.err != nil {
			t.Errorf("worker: %v", a.err)
		}
	}
	for range 40 + s.dice.IntN(60) {
		move(s.workers[s.dice.IntN(len(s.workers))])
		switch s.dice.IntN(6) {
		case 0:
			s.clock.pass(time.Duration(s.dice.IntN(20)) * time.Second)
		case 1:
			s.clock.pass(31 * time.Second) // past every lease
		case 2:
			if s.dice.IntN(25) == 0 {
				s.clock.pass(25 * time.Hour) // the check is too old by now
			}
		}
	}
	// Everybody wakes and goes home; then one of them finishes what is left.
	for _, a := range s.workers {
		for a.at != "" {
			move(a)
		}
	}
	r, err := s.desk.Open(ctx, number)
	for n := 0; err == nil && !s.done(r, relay) && n < 200; n++ {
		a := s.workers[0]
		for move(a); a.at != ""; {
			move(a)
		}
		s.clock.pass(20 * time.Minute)
		r, err = s.desk.Open(ctx, number)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.judgePlay(t, r, relay)
}

func (s *stage) done(r *gateway.Request, relay bool) bool {
	if relay {
		return r.State == gateway.StateRelayed
	}
	return count(r, gateway.EventRouted) > 0
}

func count(r *gateway.Request, typ gateway.EventType) int {
	n := 0
	for _, e := range r.Events {
		if e.Type == typ {
			n++
		}
	}
	return n
}

func (s *stage) judgePlay(t *testing.T, r *gateway.Request, relay bool) {
	t.Helper()
	if len(s.core.blind) > 0 {
		t.Errorf("repeated without asking: %v", s.core.blind)
	}
	if !relay {
		if r.State != gateway.StatePrechecked || count(r, gateway.EventAligned) != 1 || count(r, gateway.EventRouted) != 1 || count(r, gateway.EventChecked) != 1 {
			t.Errorf("%s is %s after %d checks, aligned %d times, routed %d times", r.ID, r.State,
				count(r, gateway.EventChecked), count(r, gateway.EventAligned), count(r, gateway.EventRouted))
		}
		return
	}
	o := r.Order()
	receipt, accepted := s.core.accepted[o.Key]
	if r.State != gateway.StateRelayed || count(r, gateway.EventRelayed) != 1 || !accepted || o.Receipt != receipt.ID {
		t.Errorf("%s is %s (mark %+v), relayed %d times with receipt %q; accepted %v with %q", r.ID, r.State, r.Mark, count(r, gateway.EventRelayed), o.Receipt, accepted, receipt.ID)
	}
}

// plant stores a request of person i: as the model stands, or as it was
// submitted.
func (s *stage) plant(t *testing.T, i int, signed bool) string {
	t.Helper()
	w := &world{t: t, model: s.model, now: s.clock.Now, db: s.db}
	number, err := w.plant(t.Context(), i, signed)
	if err != nil {
		t.Fatal(err)
	}
	return number
}

// settled holds the invariants of the database when all is over.
func (s *stage) settled(t *testing.T) {
	t.Helper()
	broken, err := s.db.Invariants(t.Context(), s.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
	report, err := s.db.VerifyAudit(t.Context())
	if err != nil || !report.OK() {
		t.Errorf("I4: %+v %v", report, err)
	}
}
