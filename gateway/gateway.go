// Package gateway is the product's hub: a citizen's request for a CIE and its
// whole life, readable top-down.
//
//	intake.go   Submit (commit, answer the number), then the worker steps check → decide → route
//	desk.go     counter work: declarations, capture, forms, signature
//	relay.go    outbox → core: claim, recheck, send, settle or park
//	status.go   what the core says back: verify, de-duplicate, order, apply
//
// It promises, in this order: nothing acknowledged is ever lost; nothing is
// relayed twice; no office sees another office's data; an error is never read
// as success; every decision can be explained and replayed.
//
// It refuses to hold SQL, HTTP or HTML, to act without a Scope, to read a clock
// or a random source it was not given, and to know a country or a date that the
// rules (package policies) should know.
package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"airegw/anpr"
	"airegw/delivery"
	"airegw/gateway/fault"
	"airegw/policies"
)

// Clock is the time the gateway lives by. Now is UTC. After answers a channel
// that delivers once d has passed on this clock.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now answers the time in UTC, truncated to the microsecond the store keeps.
func (SystemClock) Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// After is time.After.
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Register answers what the population register (ANPR) knows of one person.
// Errors that are temporary wait and are asked again; only a Record with
// findings can refuse anybody.
type Register interface {
	Check(ctx context.Context, q anpr.Query) (anpr.Record, error)
}

// Core is the issuance core (CIEOnline → CNSD → IPZS) as this package needs it;
// gateway/app adapts gateway/issuance to it.
//
// Errors: *CoreVerdict is the core's signed, final no. Everything else is no
// verdict: look the order up before repeating a submission, a cancellation or a
// delivery change.
type Core interface {
	// Compose answers the body of prepare for the request's next order, without
	// asking anybody. The same request and actor compose the same bytes.
	Compose(r *Request, key string, actor Actor) (json.RawMessage, error)
	// Prepare sends a composed body. Idempotent for the same key and body.
	Prepare(ctx context.Context, key string, body json.RawMessage) (Prepared, error)
	ConfirmForms(ctx context.Context, o Order, at time.Time, actor Actor) error
	// ComposeSubmission answers the body of the submission.
	ComposeSubmission(r *Request, actor Actor) (json.RawMessage, error)
	Submit(ctx context.Context, key string, body json.RawMessage) (Receipt, error)
	// Lookup answers what the core durably holds; a *CoreVerdict with code
	// "order_unknown" when it holds nothing.
	Lookup(ctx context.Context, key string) (CoreOrder, error)
	Cancel(ctx context.Context, key, changeKey, code string, actor Actor) (granted bool, err error)
	ChangeDelivery(ctx context.Context, r *Request, changeKey string, to DeliveryChoice, address *delivery.Address, actor Actor) (granted bool, err error)
	// Feed answers the events after a cursor, oldest first, verified.
	Feed(ctx context.Context, after string) (events []CoreEvent, next string, more bool, err error)
	// Verify checks a pushed event.
	Verify(jws []byte, now time.Time) (CoreEvent, error)
}

// Prepared is the core's answer to prepare. Halves are empty once the forms
// are confirmed.
type Prepared struct {
	NUN    string
	Digest string // of the prepare body, as the core saw it
	Halves Halves
}

// Receipt proves that the core accepted an order.
type Receipt struct {
	ID         string
	AcceptedAt time.Time
	Digest     string // of the submission body, as the core saw it
}

// CoreOrder is what the core holds of an order.
type CoreOrder struct {
	NUN     string
	State   string
	Receipt *Receipt
	Changes map[string]bool // change key → granted
	LastSeq int             // of its last event

	PrepareDigest string         // of the body it was prepared with
	Delivery      DeliveryChoice // as the core carries it out
}

// CoreVerdict is a signed refusal: it does not change by repeating.
type CoreVerdict struct {
	Code string // as the contract names it
	Err  error
}

// Error answers the verdict for the log.
func (v *CoreVerdict) Error() string { return "core refuses: " + v.Code }

// Unwrap answers the client's own error.
func (v *CoreVerdict) Unwrap() error { return v.Err }

// Settings are the numbers an installation may change. The zero value of each
// means its default.
type Settings struct {
	Lease        time.Duration // of a claimed task or outbox row; default 30 s
	Poll         time.Duration // how often workers look without being woken; default 1 s
	Workers      int           // default 4
	RecheckAfter time.Duration // age of a register answer that relay no longer trusts; default 24 h
	HalvesLife   time.Duration // after the first print; default 60 min
	RetryFirst   time.Duration // first wait after a failure; default 2 s, doubling
	RetryMost    time.Duration // longest wait; default 15 min
	Realign      time.Duration // how often a misaligned request asks the register again; default 6 h
	AlignFollow  time.Duration // how often a request for alignment is followed; default 6 h
	AlignOverdue time.Duration // after which one still open is shown as overdue; default 30 days
	AlignSettle  time.Duration // how long the register may go on disagreeing with the consular file once mended; default 48 h
	FeedEvery    time.Duration // how often the core's feed is read; default 30 s
	AbandonAfter time.Duration // without any person's act, before a request nobody came back to ends; default 365 days
	ParkAfter    int           // failures of one outbox row after which a person looks; default 50
	Retention    Retention
}

func (s Settings) withDefaults() Settings {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&s.Lease, 30*time.Second)
	set(&s.Poll, time.Second)
	set(&s.RecheckAfter, 24*time.Hour)
	set(&s.HalvesLife, time.Hour)
	set(&s.RetryFirst, 2*time.Second)
	set(&s.RetryMost, 15*time.Minute)
	set(&s.Realign, 6*time.Hour)
	set(&s.AlignFollow, 6*time.Hour)
	set(&s.AlignOverdue, 30*24*time.Hour)
	set(&s.AlignSettle, 48*time.Hour)
	set(&s.FeedEvery, 30*time.Second)
	set(&s.AbandonAfter, 365*24*time.Hour)
	if s.Workers <= 0 {
		s.Workers = 4
	}
	if s.ParkAfter <= 0 {
		s.ParkAfter = 50
	}
	return s
}

// Parts are what a Gateway is made of. All are needed but Owners, Alignment,
// Cards and Settings.
type Parts struct {
	Store    Store
	Register Register
	Core     Core
	Rules    *policies.Set // in force until UseRules says otherwise
	Owners   *RuleOwners   // nil: rules cannot be changed
	// Alignment is the consular door of the register; nil without it.
	Alignment Alignment
	// Registries are the comuni's own, where the dialogue is on; nil: nowhere.
	Registries ComuneRegistries
	Cards      CardEvents // nil: reports of theft and loss wait for somebody to be told
	Clock      Clock
	Random     io.Reader // for numbers and codes: crypto/rand in production
	Log        *slog.Logger
	Settings   Settings
	Notices    Notices
}

// Gateway runs requests through their life. It is safe for concurrent use.
type Gateway struct {
	store      Store
	register   Register
	core       Core
	rules      *rulebook
	owners     *RuleOwners
	alignment  Alignment
	registries ComuneRegistries
	cards      CardEvents
	clock      Clock
	random     io.Reader
	log        *slog.Logger
	set        Settings
	notices    Notices

	past   pastRecord
	recent recent

	wakeWork, wakeRelay, wakeStatus, wakeFeed, wakeRules, wakeAlign, wakeReports chan struct{}

	mu       sync.Mutex
	peers    map[string]PeerHealth
	forgetAt time.Time // when retention looks again
	furthest time.Time // that the clock has been seen at
	followAt time.Time // when corrections to be followed are looked for again
	randMu   sync.Mutex
	backoff  *rand.Rand
}

// New assembles a gateway. It does nothing until Run, but Submit, Desk and
// Track work at once: workers are not needed to acknowledge.
func New(p Parts) (*Gateway, error) {
	if p.Store == nil || p.Register == nil || p.Core == nil || p.Rules == nil || p.Clock == nil || p.Random == nil || p.Log == nil {
		return nil, errors.New("gateway: a part is missing")
	}
	var seed [16]byte
	_, err := io.ReadFull(p.Random, seed[:])
	if err != nil {
		return nil, fmt.Errorf("gateway: random source: %w", err)
	}
	return &Gateway{
		store: p.Store, register: p.Register, core: p.Core, rules: newRulebook(p.Rules), owners: p.Owners, alignment: p.Alignment, registries: p.Registries, cards: p.Cards, notices: p.Notices,
		clock: p.Clock, random: p.Random, log: p.Log, set: p.Settings.withDefaults(),
		wakeWork: make(chan struct{}, 1), wakeRelay: make(chan struct{}, 1),
		wakeStatus: make(chan struct{}, 1), wakeFeed: make(chan struct{}, 1), wakeRules: make(chan struct{}, 1), wakeAlign: make(chan struct{}, 1), wakeReports: make(chan struct{}, 1),
		peers: map[string]PeerHealth{},
		// The jitter of retries need not be secret.
		backoff: rand.New(rand.NewPCG(be(seed[:8]), be(seed[8:]))), //nolint:gosec // jitter only
	}, nil
}

func be(b []byte) uint64 {
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// Run works until ctx ends: checks, decides, routes, relays, applies the
// core's events, wipes code halves. It returns once every step under way has
// finished (drain); what was claimed and not finished is claimed again by the
// next run when its lease ends.
func (g *Gateway) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	loop := func(name string, wake <-chan struct{}, every time.Duration, step func(context.Context) (bool, error)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				again, err := step(context.WithoutCancel(ctx))
				if err != nil {
					g.log.Error("worker step failed", "step", name, "kind", KindOf(err).String(), "err", err)
					again = false
				}
				if again {
					continue
				}
				select {
				case <-ctx.Done():
				case <-wake:
				case <-g.clock.After(every):
				}
			}
		})
	}
	wg.Go(func() { g.pump(ctx, "intake", g.wakeWork, g.claimWork) })
	wg.Go(func() { g.pump(ctx, "relay", g.wakeRelay, g.claimOutbox) })
	loop("status", g.wakeStatus, g.set.Poll, g.ApplyOnce)
	loop("feed", g.wakeFeed, g.set.FeedEvery, g.FeedOnce)
	if g.alignment != nil {
		loop("alignment", g.wakeAlign, g.set.Poll, g.AlignOnce)
	}
	if g.registries != nil {
		loop("registries", nil, g.set.Poll, g.DialogueOnce)
	}
	loop("rules", g.wakeRules, rulesEvery, g.RulesOnce)
	loop("transit", nil, transitEvery, g.TransitOnce)
	loop("reports", g.wakeReports, time.Minute, g.TellOnce)
	loop("reconcile", nil, reconcileLook, g.ReconcileOnce)
	loop("housekeeping", nil, time.Minute, g.HouseOnce)
	wg.Wait()
	return nil
}

// pump does claimed steps beside each other until ctx ends, as many at once as
// there are workers, and waits for those under way. A slow one (a peer that
// answers late) holds up its own worker and nobody else's.
func (g *Gateway) pump(ctx context.Context, name string, wake <-chan struct{}, claim func(context.Context, int) ([]func() error, error)) {
	var steps sync.WaitGroup
	defer steps.Wait()
	busy := make(chan struct{}, g.set.Workers)
	failed := func(err error) {
		g.log.Error("worker step failed", "step", name, "kind", KindOf(err).String(), "err", err)
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case busy <- struct{}{}:
		}
		free := 1
		for more := true; more && free < g.set.Workers; {
			select {
			case busy <- struct{}{}:
				free++
			default:
				more = false
			}
		}
		claimed, err := claim(context.WithoutCancel(ctx), free)
		if err != nil {
			failed(err)
		}
		for range free - len(claimed) {
			<-busy
		}
		for _, step := range claimed {
			steps.Go(func() {
				defer func() { <-busy }()
				err := step()
				if err != nil {
					failed(err)
				}
			})
		}
		if len(claimed) == free && err == nil {
			continue // there may be more
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-g.clock.After(g.set.Poll):
		}
	}
}

// once does all that claim gives at once; again says that there was something.
func (g *Gateway) once(ctx context.Context, claim func(context.Context, int) ([]func() error, error)) (again bool, err error) {
	steps, err := claim(ctx, g.set.Workers)
	if err != nil {
		return false, err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(steps))
	for i, step := range steps {
		wg.Go(func() { errs[i] = step() })
	}
	wg.Wait()
	return len(steps) > 0, errors.Join(errs...)
}

// HouseOnce does what time alone demands: it forgets requests nobody loads any
// more, brings back what a clock that was ahead has sent into the future, wipes
// first halves that are older than their life, has the register's tracing
// written, erases what is no longer kept and encrypts anew what an older key
// encrypted. again says that more of the latter two is due.
func (g *Gateway) HouseOnce(ctx context.Context) (again bool, err error) {
	err = fault.Point("halves.wipe")
	if err != nil {
		return false, wrap("wipe code halves", err)
	}
	g.recent.forget()
	err = g.keepTime(ctx)
	_, wiped := g.store.WipeHalves(ctx, g.clock.Now().Add(-g.set.HalvesLife))
	err = errors.Join(err, wiped)
	if f, ok := g.register.(interface {
		Flush(ctx context.Context) error
	}); ok {
		err = errors.Join(err, f.Flush(ctx))
	}
	again, forgot := g.forget(ctx)
	return again, wrap("keep house", errors.Join(err, forgot))
}

// poke wakes a loop without ever waiting.
func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// after answers how long to wait before try n (from 1): doubling from the
// first wait, capped, with jitter of a quarter so that a peer that comes back is
// not met by everybody at once.
func (g *Gateway) after(n int) time.Duration {
	d := g.set.RetryFirst
	for i := 1; i < n && d < g.set.RetryMost; i++ {
		d *= 2
	}
	d = min(d, g.set.RetryMost)
	g.randMu.Lock()
	defer g.randMu.Unlock()
	return d - d/4 + time.Duration(g.backoff.Int64N(int64(d/2)+1))
}

// PeerHealth says how a peer last answered.
type PeerHealth struct {
	OK    bool      `json:"ok"`
	Since time.Time `json:"since"`
	Code  string    `json:"code,omitempty"`
}

// Health is the gateway at a glance.
type Health struct {
	OK       bool       `json:"ok"`
	Store    PeerHealth `json:"store"`
	Register PeerHealth `json:"register"`
	Core     PeerHealth `json:"core"`
	Counts   Counts     `json:"-"`
}

// Health answers how the store does now and how the peers last answered. The
// gateway is healthy while it can acknowledge: a peer's outage makes requests
// wait, it does not make the gateway ill.
func (g *Gateway) Health(ctx context.Context) Health {
	now := g.clock.Now()
	h := Health{Store: PeerHealth{OK: true, Since: now}, Register: g.peer("register"), Core: g.peer("core")}
	counts, err := g.store.Counts(ctx, now)
	if err != nil {
		h.Store = PeerHealth{Since: now, Code: CodeOf(err)}
	}
	h.Counts = counts
	h.OK = h.Store.OK
	return h
}

func (g *Gateway) peer(name string) PeerHealth {
	g.mu.Lock()
	defer g.mu.Unlock()
	h, ok := g.peers[name]
	if !ok {
		return PeerHealth{OK: true, Code: "not_asked_yet"}
	}
	return h
}

// saw remembers how a peer answered; a verdict is an answer.
func (g *Gateway) saw(name string, err error) {
	code := ""
	if err != nil {
		code = name + "_unavailable"
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	h, known := g.peers[name]
	if !known || h.OK != (err == nil) {
		g.peers[name] = PeerHealth{OK: err == nil, Since: g.clock.Now(), Code: code}
		if err != nil {
			g.log.Warn("peer out of order", "peer", name, "err", err)
		}
	}
}

// alphabet is Crockford's base 32: no I, L, O, U, so that numbers survive being
// read aloud on a bad line.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// code answers n characters of alphabet from the random source.
func (g *Gateway) code(n int) (string, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(g.random, b)
	if err != nil {
		return "", fmt.Errorf("random source: %w", err)
	}
	for i := range b {
		b[i] = alphabet[b[i]&31]
	}
	return string(b), nil
}

// newNumber answers a request number: R, the year in Rome, nine random
// characters: R26-7K2M9QX4T. It is not a secret and opens nothing alone.
func (g *Gateway) newNumber(now time.Time) (string, error) {
	c, err := g.code(9)
	if err != nil {
		return "", err
	}
	return now.In(policies.Rome()).Format("R06-") + c, nil
}

// commit appends events to a request as one change and derives what the row
// must say from them, upon what its events said when it was loaded: what the
// caller tried out on r since then does not count. It fills the change's Version,
// State, To, Office, Persons; the caller may have set the rest. On return r
// includes the events.
func (g *Gateway) commit(ctx context.Context, r *Request, c Change, events ...Event) error {
	c.ID, c.Version, c.State = r.ID, r.Version, r.State
	next := r.stored.twin()
	err := g.tellOthers(next, &c, events)
	if err != nil {
		return err
	}
	for i := range events {
		e := &events[i]
		e.Seq = next.Version + 1
		if to, moves := eventTarget[e.Type]; moves {
			e.To = to
		} else {
			e.To = next.State
		}
		err := next.apply(*e)
		if err != nil {
			return &Error{Kind: Conflict, Code: "state_moved", Err: fmt.Errorf("request %s: %w", r.ID, err)}
		}
	}
	c.Events, c.To, c.Office, c.Persons = events, next.State, next.Office, next.persons()
	if next.State.Final() {
		c.Work, c.Mark = &Work{}, &Mark{}
		c.Corrections = &CorrectionSync{Why: CorrectionEnded, All: true, At: next.UpdatedAt}
		if c.Clearances == nil {
			c.Clearances = &ClearanceChange{}
		}
		c.Clearances.Close = next.UpdatedAt
	}
	c.holdByObjection(r, next)
	err = g.store.Commit(ctx, c)
	if err != nil {
		return wrap("commit request", err)
	}
	next.Mark = r.Mark
	if c.Mark != nil {
		next.Mark = *c.Mark
	}
	next.keep()
	*r = *next
	if c.Work != nil && c.Work.Step != StepNone {
		poke(g.wakeWork)
	}
	if len(c.Outbox) > 0 || c.Unpark {
		poke(g.wakeRelay)
	}
	return nil
}

// load answers a request in a scope.
func (g *Gateway) load(ctx context.Context, scope Scope, id string) (*Request, error) {
	events, mark, err := g.store.Load(ctx, scope, id)
	if err != nil {
		return nil, wrap("load request", err)
	}
	r, err := g.recent.derive(id, events)
	if err != nil {
		return nil, wrap("derive request", err)
	}
	r.Mark = mark
	return r, nil
}
