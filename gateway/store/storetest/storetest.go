// Package storetest holds the one suite every engine behind gateway.Store must
// pass. It knows the contract only, no SQL: what it needs beyond the interface
// (reopening as after a kill, failing a statement) the engine's own tests hand
// in. It promises that a store that passes keeps the gateway's promises; it
// refuses nothing silently: a capability an engine does not hand in is logged.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"airegw/gateway"
)

// Engine is a store to be judged.
type Engine struct {
	// Open answers a fresh, empty store that the test's end closes. now is its
	// clock.
	Open func(t *testing.T, now func() time.Time) gateway.Store
	// Crash answers what a new process would find if this one were killed now:
	// the store is not closed first.
	Crash func(t *testing.T, s gateway.Store) gateway.Store
	// Contents answers everything stored, in a form that can be compared.
	Contents func(t *testing.T, s gateway.Store) string
}

// Clock is a clock that moves only when told.
type Clock struct {
	mu sync.Mutex
	t  time.Time
}

// NewClock answers a clock at a fixed moment.
func NewClock() *Clock { return &Clock{t: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)} }

// Now answers the moment.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

var (
	buenosAires = gateway.Office{Kind: gateway.OfficePost, Code: "ar-buenos-aires"}
	castello    = gateway.Office{Kind: gateway.OfficeComune, Code: "054013"}
)

// Run judges an engine.
func Run(t *testing.T, e Engine) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"one key from 64 callers makes one request", oneKeyOneRequest},
		{"a key with another body is a conflict", keyReused},
		{"one person has one open request", onePersonOneOpen},
		{"an office sees its own requests and no other's", scopeIsolation},
		{"a routed request moves to the other office", routingMoves},
		{"of two changes on one version one wins", compareAndSet},
		{"a change is whole or refused", badChangeRefused},
		{"events come back as they went in", eventsRoundTrip},
		{"work is leased to one claim at a time", workLeases},
		{"a stale worker is refused", staleWorker},
		{"parked work is nobody's until unparked", parkedWork},
		{"outbox rows of a request go in order", outboxOrder},
		{"an outbox row is settled under its fence only", outboxFence},
		{"a parked outbox row marks the request", outboxParked},
		{"core events are kept once and answered in sequence", coreEvents},
		{"a gap never starves other orders", coreGap},
		{"halves live until they are wiped", halves},
		{"a list is narrowed, ordered and paged", findNarrows},
		{"a tracker opens its own request only", trackerOpens},
		{"numbers of a series never repeat", series},
		{"counts say what waits", counts},
		{"what was acknowledged survives a kill", survivesKill},
		{"a cancelled caller's write does not begin", cancelledCaller},
		{"rule sets are kept with two people's approvals", ruleSetsKept},
		{"a day is compared with the core by one replica, and its report kept", reconciliationsKept},
		{"a report of a stolen or lost card is kept once", cardReports},
		{"the number of a series stays with its key", keptOperations},
		{"a dialogue with a comune's registry is opened once and ends", dialogues},
		{"new rules send decided requests to be decided again, once", rulesDecideAgain},
		{"corrections are opened, moved and closed with the change of their request", correctionsKept},
		{"a notice to another office is sent once, answered, closed with its request", clearancesKept},
		{"a step remembers who asked for it", workRemembersWhoAsked},
		{"what a clock that was ahead sent into the future comes back with it", clockSetBack},
		{"an attempt to log in is handed out once", attemptsSpent},
		{"a login is whole, its tokens wait to be revoked", loginsComplete},
		{"the token of a login that failed waits to be revoked", abandonedTokensWait},
		{"a card is issued, activated, revoked, in this order", cardsMove},
		{"rates are kept as they were entered, the newest first", ratesKept},
		{"passages are counted with the change they belong to", passagesCounted},
		{"calls of the register are counted, stops and traces kept", quotaKept},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			clock := NewClock()
			c.test(t, &bench{Engine: e, Store: e.Open(t, clock.Now), clock: clock, ctx: t.Context()})
		})
	}
}

// bench is one test's bundle.
type bench struct {
	Engine
	gateway.Store
	clock *Clock
	ctx   context.Context
}

func operator(o gateway.Office) gateway.Scope {
	return gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorOperator, ID: "op-1", Office: o, Role: gateway.RoleClerk})
}

// request answers a new request of person n at an office.
func (b *bench) request(n int, office gateway.Office) gateway.NewRequest {
	now := b.clock.Now()
	person := fmt.Sprintf("TSTPRS%02dA01H501%c", n%100, 'A'+n%26)
	return gateway.NewRequest{
		ID: fmt.Sprintf("R26-%09d", n), Namespace: "ns", Key: fmt.Sprintf("key-%d", n), BodyDigest: fmt.Sprintf("body-%d", n),
		Office: office, Applicant: person, Persons: []string{person}, Surname: fmt.Sprintf("D’Àgostino %d", n%7),
		Tracker: fmt.Sprintf("TRACK%05d", n),
		Event: gateway.Event{
			Seq: 1, Type: gateway.EventSubmitted, To: gateway.StateSubmitted, At: now,
			Actor: gateway.Actor{Kind: gateway.ActorCitizen, ID: "c-1", Level: 2},
			Data:  json.RawMessage(`{"channel":"comune"}`), Private: json.RawMessage(`{"input":{"n":` + fmt.Sprint(n) + `}}`),
		},
		Work:  gateway.Work{Step: gateway.StepCheck, Due: now},
		Audit: []gateway.AuditEntry{{At: now, Actor: gateway.Actor{Kind: gateway.ActorCitizen, ID: "c-1"}, Act: "request.created", Subject: "x", Payload: map[string]string{"channel": "web"}}},
	}
}

func (b *bench) create(t *testing.T, n int, office gateway.Office) gateway.NewRequest {
	t.Helper()
	r := b.request(n, office)
	id, created, err := b.Create(b.ctx, r)
	if err != nil || !created || id != r.ID {
		t.Fatalf("create: %q %v %v", id, created, err)
	}
	return r
}

// event answers the next event of a request.
func (b *bench) event(seq int, typ gateway.EventType, to gateway.State) gateway.Event {
	return gateway.Event{
		Seq: seq, Type: typ, To: to, At: b.clock.Now(),
		Actor:   gateway.Actor{Kind: gateway.ActorOperator, ID: "op-1", Office: castello, Role: gateway.RoleClerk, Station: "s1"},
		Private: json.RawMessage(`{"secret":true}`),
	}
}

// change answers a change from version 1, submitted, with one event.
func (b *bench) change(r gateway.NewRequest, typ gateway.EventType, to gateway.State) gateway.Change {
	return gateway.Change{
		ID: r.ID, Version: 1, State: gateway.StateSubmitted, Events: []gateway.Event{b.event(2, typ, to)},
		To: to, Office: r.Office, Persons: r.Persons,
	}
}

func wantKind(t *testing.T, err error, kind gateway.Kind, code string) {
	t.Helper()
	var e *gateway.Error
	if !errors.As(err, &e) || e.Kind != kind || (code != "" && e.Code != code) {
		t.Fatalf("got %v, want %v %s", err, kind, code)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func oneKeyOneRequest(t *testing.T, b *bench) {
	const keys, callers = 20, 64
	var wg sync.WaitGroup
	ids := make([][callers]string, keys)
	var born [keys]int
	var mu sync.Mutex
	for k := range keys {
		for c := range callers {
			wg.Go(func() {
				r := b.request(k, castello)
				r.ID = fmt.Sprintf("R26-%03d-%03d", k, c) // each caller drew its own number
				id, created, err := b.Create(b.ctx, r)
				if err != nil {
					t.Errorf("key %d caller %d: %v", k, c, err)
				}
				mu.Lock()
				defer mu.Unlock()
				ids[k][c] = id
				if created {
					born[k]++
				}
			})
		}
		wg.Wait()
	}
	for k := range keys {
		if born[k] != 1 {
			t.Errorf("key %d made %d requests", k, born[k])
		}
		for c := range callers {
			if ids[k][c] != ids[k][0] {
				t.Errorf("key %d answers %q and %q", k, ids[k][c], ids[k][0])
			}
		}
	}
	n, err := b.Counts(b.ctx, b.clock.Now())
	must(t, err)
	if n.ByState[gateway.StateSubmitted] != keys {
		t.Fatalf("%d requests, want %d", n.ByState[gateway.StateSubmitted], keys)
	}
}

func keyReused(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	again := r
	again.ID, again.BodyDigest = "R26-OTHER", "another"
	_, _, err := b.Create(b.ctx, again)
	wantKind(t, err, gateway.Conflict, "key_reused")
	again.Namespace, again.Applicant = "other namespace", "OTHER"
	id, created, err := b.Create(b.ctx, again)
	if err != nil || !created || id != "R26-OTHER" {
		t.Fatalf("a key belongs to its namespace: %q %v %v", id, created, err)
	}
	taken := b.request(2, castello)
	taken.ID = r.ID
	_, _, err = b.Create(b.ctx, taken)
	wantKind(t, err, gateway.Conflict, "number_taken")
}

func onePersonOneOpen(t *testing.T, b *bench) {
	first := b.create(t, 1, castello)
	second := b.request(2, buenosAires)
	second.Applicant = "tstprs01a01h501b" // the same code, typed otherwise
	if first.Applicant != "TSTPRS01A01H501B" {
		t.Fatalf("the test's person is %s", first.Applicant)
	}
	_, _, err := b.Create(b.ctx, second)
	wantKind(t, err, gateway.Conflict, "already_open")
	var e *gateway.Error
	if errors.As(err, &e); e.Args["request"] != first.ID || e.Args["office"] != castello.ID() {
		t.Fatalf("args %v", e.Args)
	}
	// The refused one left nothing: its key is free.
	must(t, b.Commit(b.ctx, b.change(first, gateway.EventCancelled, gateway.StateCancelled)))
	_, created, err := b.Create(b.ctx, second)
	if err != nil || !created {
		t.Fatalf("after the first ended: %v %v", created, err)
	}
}

func scopeIsolation(t *testing.T, b *bench) {
	mine := b.create(t, 1, castello)
	theirs := b.create(t, 2, buenosAires)
	nobodys := b.create(t, 3, gateway.Office{})
	minor := b.request(4, castello)
	minor.Persons = append(minor.Persons, "PARENT00A01H501X")
	_, _, err := b.Create(b.ctx, minor)
	must(t, err)
	for name, c := range map[string]struct {
		scope gateway.Scope
		sees  []string
	}{
		"comune":  {operator(castello), []string{mine.ID, minor.ID}},
		"post":    {operator(buenosAires), []string{theirs.ID}},
		"citizen": {gateway.CitizenScope(mine.Applicant, "c-1", 2), []string{mine.ID}},
		"parent":  {gateway.CitizenScope("parent00a01h501x", "c-2", 2), []string{minor.ID}},
		"nobody":  {gateway.Scope{}, nil},
		"no office": {
			gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorOperator, ID: "op-2"}), nil,
		},
	} {
		var missing string
		for _, id := range []string{mine.ID, theirs.ID, nobodys.ID, minor.ID, "R26-ABSENT"} {
			events, _, err := b.Load(b.ctx, c.scope, id)
			if slices.Contains(c.sees, id) {
				if err != nil || len(events) != 1 {
					t.Errorf("%s cannot load %s: %v", name, id, err)
				}
				continue
			}
			wantKind(t, err, gateway.NotFound, "not_found")
			if missing == "" {
				missing = err.Error()
			}
			if err.Error() != missing || events != nil {
				t.Errorf("%s: an error tells absent from hidden: %q, %q", name, err, missing)
			}
		}
		rows, err := b.Find(b.ctx, c.scope, gateway.Criteria{})
		must(t, err)
		var got []string
		for _, r := range rows {
			got = append(got, r.ID)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.sees) {
			t.Errorf("%s finds %v, want %v", name, got, c.sees)
		}
		// A page after a request of somebody else's says nothing about it.
		rows, err = b.Find(b.ctx, c.scope, gateway.Criteria{After: nobodys.ID})
		must(t, err)
		if len(rows) != 0 {
			t.Errorf("%s pages after a hidden request: %v", name, rows)
		}
	}
}

func routingMoves(t *testing.T, b *bench) {
	r := b.create(t, 1, gateway.Office{})
	c := b.change(r, gateway.EventRouted, gateway.StateSubmitted)
	c.Office = buenosAires
	c.Persons = []string{r.Applicant, "PARENT00A01H501X"}
	must(t, b.Commit(b.ctx, c))
	_, _, err := b.Load(b.ctx, operator(castello), r.ID)
	wantKind(t, err, gateway.NotFound, "")
	_, _, err = b.Load(b.ctx, operator(buenosAires), r.ID)
	must(t, err)
	_, _, err = b.Load(b.ctx, gateway.CitizenScope("PARENT00A01H501X", "p", 2), r.ID)
	must(t, err)
	c = b.change(r, gateway.EventRouted, gateway.StateSubmitted)
	c.Version, c.Events[0].Seq, c.Office, c.Persons = 2, 3, castello, []string{r.Applicant}
	must(t, b.Commit(b.ctx, c))
	_, _, err = b.Load(b.ctx, operator(buenosAires), r.ID)
	wantKind(t, err, gateway.NotFound, "")
	_, _, err = b.Load(b.ctx, gateway.CitizenScope("PARENT00A01H501X", "p", 2), r.ID)
	wantKind(t, err, gateway.NotFound, "")
	rows, err := b.Find(b.ctx, operator(castello), gateway.Criteria{FiscalCode: r.Applicant})
	if err != nil || len(rows) != 1 || rows[0].Office != castello {
		t.Fatalf("%v %v", rows, err)
	}
}

func compareAndSet(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	const callers = 16
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { errs[i] = b.Commit(b.ctx, b.change(r, gateway.EventMisaligned, gateway.StateMisaligned)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantKind(t, err, gateway.Conflict, "state_moved")
	}
	if won != 1 {
		t.Fatalf("%d changes won", won)
	}
	events, _, err := b.Load(b.ctx, operator(castello), r.ID)
	if err != nil || len(events) != 2 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	c := b.change(r, gateway.EventMisaligned, gateway.StateMisaligned)
	c.ID = "R26-ABSENT"
	wantKind(t, b.Commit(b.ctx, c), gateway.NotFound, "not_found")
}

func badChangeRefused(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	gap := b.change(r, gateway.EventMisaligned, gateway.StateMisaligned)
	gap.Events[0].Seq = 3
	wantKind(t, b.Commit(b.ctx, gap), gateway.Internal, "")
	lie := b.change(r, gateway.EventMisaligned, gateway.StateMisaligned)
	lie.To = gateway.StatePrechecked
	wantKind(t, b.Commit(b.ctx, lie), gateway.Internal, "")
	unknown := b.change(r, gateway.EventMisaligned, "no such state")
	wantKind(t, b.Commit(b.ctx, unknown), gateway.Internal, "")
	late := b.change(r, gateway.EventMisaligned, gateway.StateMisaligned)
	late.Settle = &gateway.Outbox{ID: 99, Fence: 1} // refused after the row was changed
	late.Audit = []gateway.AuditEntry{{At: b.clock.Now(), Act: "x"}}
	wantKind(t, b.Commit(b.ctx, late), gateway.Conflict, "lease_lost")
	events, _, err := b.Load(b.ctx, operator(castello), r.ID)
	if err != nil || len(events) != 1 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	must(t, b.Commit(b.ctx, b.change(r, gateway.EventMisaligned, gateway.StateMisaligned)))
}

func eventsRoundTrip(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	b.clock.Advance(1234567 * time.Microsecond)
	c := b.change(r, gateway.EventMisaligned, gateway.StateMisaligned)
	second := b.event(3, gateway.EventAligned, gateway.StatePrechecked)
	second.Private, second.Data = nil, json.RawMessage(`{"a":"ü"}`)
	c.Events, c.To = append(c.Events, second), gateway.StatePrechecked
	mark := gateway.Mark{Kind: gateway.MarkWaiting, Code: "register_down", Due: b.clock.Now().Add(time.Minute), Tries: 3, Detail: "503"}
	c.Mark = &mark
	must(t, b.Commit(b.ctx, c))
	events, got, err := b.Load(b.ctx, operator(castello), r.ID)
	must(t, err)
	if want := []gateway.Event{r.Event, c.Events[0], second}; !reflect.DeepEqual(events, want) {
		t.Errorf("got  %+v\nwant %+v", events, want)
	}
	if got != mark {
		t.Errorf("mark %+v, want %+v", got, mark)
	}
	rows, err := b.Find(b.ctx, operator(castello), gateway.Criteria{Number: r.ID})
	must(t, err)
	want := gateway.Row{
		ID: r.ID, State: gateway.StatePrechecked, Office: castello, CreatedAt: r.Event.At, UpdatedAt: second.At, Mark: mark,
	}
	if len(rows) != 1 || rows[0] != want {
		t.Errorf("rows %+v, want %+v", rows, want)
	}
}

func workLeases(t *testing.T, b *bench) {
	for n := range 10 {
		r := b.request(n, castello)
		r.Work.Due = b.clock.Now().Add(time.Duration(n-20) * time.Second)
		_, _, err := b.Create(b.ctx, r)
		must(t, err)
	}
	later := b.request(50, castello)
	later.Work.Due = b.clock.Now().Add(time.Second)
	_, _, err := b.Create(b.ctx, later)
	must(t, err)
	first, err := b.ClaimWork(b.ctx, b.clock.Now(), 30*time.Second, 3)
	must(t, err)
	for i, task := range first {
		if task.RequestID != fmt.Sprintf("R26-%09d", i) || task.Fence != 1 || task.Step != gateway.StepCheck ||
			!task.Lease.Equal(b.clock.Now().Add(30*time.Second)) {
			t.Errorf("claim %d is %+v: the oldest due comes first", i, task)
		}
	}
	rest, err := b.ClaimWork(b.ctx, b.clock.Now(), 30*time.Second, 100)
	if err != nil || len(first) != 3 || len(rest) != 7 {
		t.Fatalf("%d and %d claimed, %v", len(first), len(rest), err)
	}
	b.clock.Advance(31 * time.Second)
	again, err := b.ClaimWork(b.ctx, b.clock.Now(), 30*time.Second, 100)
	must(t, err)
	if len(again) != 11 {
		t.Fatalf("%d claimed after the leases ended", len(again))
	}
	for _, task := range again {
		if task.RequestID != later.ID && task.Fence != 2 {
			t.Errorf("fence %d after a second claim", task.Fence)
		}
	}
	due := b.clock.Now().Add(time.Minute)
	mark := gateway.Mark{Kind: gateway.MarkWaiting, Code: "register_down", Due: due, Tries: 1}
	must(t, b.ReleaseWork(b.ctx, again[0], due, mark))
	wantKind(t, b.ReleaseWork(b.ctx, again[0], due, mark), gateway.Conflict, "lease_lost")
	_, got, err := b.Load(b.ctx, operator(castello), again[0].RequestID)
	if err != nil || got != mark {
		t.Fatalf("mark %+v %v", got, err)
	}
	b.clock.Advance(time.Minute)
	tasks, err := b.ClaimWork(b.ctx, b.clock.Now(), time.Second, 1)
	must(t, err)
	if len(tasks) != 1 {
		t.Fatal("nothing due")
	}
	i := slices.IndexFunc(append(tasks, again...), func(x gateway.Task) bool { return x.RequestID == again[0].RequestID })
	if i < 0 {
		t.Fatal("the released task is gone")
	}
	all, err := b.ClaimWork(b.ctx, b.clock.Now(), time.Second, 100)
	must(t, err)
	for _, task := range append(tasks, all...) {
		if want := map[bool]int{true: 1, false: 0}[task.RequestID == again[0].RequestID]; task.Tries != want {
			t.Errorf("%s was released %d times, want %d", task.RequestID, task.Tries, want)
		}
	}
	none, err := b.ClaimWork(b.ctx, b.clock.Now(), time.Second, 0)
	if err != nil || len(none) != 0 {
		t.Fatalf("%v %v", none, err)
	}
}

func staleWorker(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	claim := func() gateway.Task {
		t.Helper()
		tasks, err := b.ClaimWork(b.ctx, b.clock.Now(), 10*time.Second, 1)
		if err != nil || len(tasks) != 1 {
			t.Fatalf("%v %v", tasks, err)
		}
		return tasks[0]
	}
	slow := claim()
	b.clock.Advance(11 * time.Second)
	quick := claim()
	c := b.change(r, gateway.EventAligned, gateway.StatePrechecked)
	c.Work = &gateway.Work{Step: gateway.StepDecide, Due: b.clock.Now()}
	c.Fence = slow.Fence
	wantKind(t, b.Commit(b.ctx, c), gateway.Conflict, "lease_lost")
	wantKind(t, b.ReleaseWork(b.ctx, slow, b.clock.Now(), gateway.Mark{}), gateway.Conflict, "lease_lost")
	c.Fence = quick.Fence
	must(t, b.Commit(b.ctx, c))
	next := claim() // released by the commit, with the next step
	if next.Step != gateway.StepDecide || next.Tries != 0 {
		t.Fatalf("%+v", next)
	}
	// A desk's change that sets work takes it from whoever holds the lease.
	desk := b.change(r, gateway.EventMisaligned, gateway.StateMisaligned)
	desk.Version, desk.State, desk.Events[0].Seq = 2, gateway.StatePrechecked, 3
	desk.Work = &gateway.Work{Step: gateway.StepCheck, Due: b.clock.Now()}
	must(t, b.Commit(b.ctx, desk))
	wantKind(t, b.ReleaseWork(b.ctx, next, b.clock.Now().Add(time.Hour), gateway.Mark{}), gateway.Conflict, "lease_lost")
	if again := claim(); again.Step != gateway.StepCheck || again.Fence <= next.Fence {
		t.Fatalf("%+v", again)
	}
}

func parkedWork(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	tasks, err := b.ClaimWork(b.ctx, b.clock.Now(), time.Second, 1)
	must(t, err)
	must(t, b.ReleaseWork(b.ctx, tasks[0], b.clock.Now(), gateway.Mark{Kind: gateway.MarkParked, Code: "hopeless"}))
	b.clock.Advance(time.Hour)
	none, err := b.ClaimWork(b.ctx, b.clock.Now(), time.Second, 1)
	if err != nil || len(none) != 0 {
		t.Fatalf("%v %v", none, err)
	}
	rows, err := b.Find(b.ctx, operator(castello), gateway.Criteria{Marked: gateway.MarkParked})
	if err != nil || len(rows) != 1 || rows[0].Mark.Code != "hopeless" {
		t.Fatalf("%v %v", rows, err)
	}
	c := b.change(r, gateway.EventUnparked, gateway.StateSubmitted)
	c.Mark = &gateway.Mark{}
	must(t, b.Commit(b.ctx, c))
	some, err := b.ClaimWork(b.ctx, b.clock.Now(), time.Second, 1)
	if err != nil || len(some) != 1 {
		t.Fatalf("%v %v", some, err)
	}
}

// outbox adds a row per key to a request at version 1, state submitted.
func (b *bench) outbox(t *testing.T, r gateway.NewRequest, keys ...string) {
	t.Helper()
	c := b.change(r, gateway.EventDecided, gateway.StateSubmitted)
	c.Work = &gateway.Work{}
	for _, key := range keys {
		c.Outbox = append(c.Outbox, gateway.Outbox{
			OrderKey: r.ID + ".1", Kind: gateway.OutboxDelivery, Key: key, Private: json.RawMessage(`{"to":"` + key + `"}`),
			Due: b.clock.Now(), Actor: gateway.Actor{Kind: gateway.ActorOperator, ID: "op-1", Office: castello},
		})
	}
	must(t, b.Commit(b.ctx, c))
}

func (b *bench) claimOutbox(t *testing.T, want ...string) []gateway.Outbox {
	t.Helper()
	rows, err := b.ClaimOutbox(b.ctx, b.clock.Now(), 10*time.Second, 100)
	must(t, err)
	var got []string
	for _, o := range rows {
		got = append(got, o.Key)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("claimed %v, want %v", got, want)
	}
	return rows
}

func outboxOrder(t *testing.T, b *bench) {
	one, two := b.create(t, 1, castello), b.create(t, 2, castello)
	b.outbox(t, one, "1a", "1b", "1c")
	b.outbox(t, two, "2a")
	rows := b.claimOutbox(t, "1a", "2a")
	if o := rows[0]; o.RequestID != one.ID || o.OrderKey != one.ID+".1" || o.Kind != gateway.OutboxDelivery ||
		string(o.Private) != `{"to":"1a"}` || o.Actor.ID != "op-1" || o.Fence != 1 || o.Tries != 0 {
		t.Fatalf("%+v", o)
	}
	b.claimOutbox(t) // 1b waits for 1a although nobody holds it
	must(t, b.ReleaseOutbox(b.ctx, rows[0], b.clock.Now().Add(time.Minute), "core_down", "503", false))
	b.claimOutbox(t)
	b.clock.Advance(time.Minute)
	rows = b.claimOutbox(t, "2a", "1a")
	if rows[1].Tries != 1 {
		t.Fatalf("%+v", rows[1])
	}
	settle := b.change(one, gateway.EventDeliveryGranted, gateway.StateSubmitted)
	settle.Version, settle.Events[0].Seq, settle.Settle = 2, 3, &rows[1]
	must(t, b.Commit(b.ctx, settle))
	b.claimOutbox(t, "1b")
}

func outboxFence(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	b.outbox(t, r, "a")
	slow := b.claimOutbox(t, "a")[0]
	b.clock.Advance(11 * time.Second)
	quick := b.claimOutbox(t, "a")[0]
	if quick.Fence <= slow.Fence {
		t.Fatal("the fence did not rise")
	}
	settle := b.change(r, gateway.EventDeliveryGranted, gateway.StateSubmitted)
	settle.Version, settle.Events[0].Seq, settle.Settle = 2, 3, &slow
	wantKind(t, b.Commit(b.ctx, settle), gateway.Conflict, "lease_lost")
	wantKind(t, b.ReleaseOutbox(b.ctx, slow, b.clock.Now(), "", "", false), gateway.Conflict, "lease_lost")
	slow.Private = json.RawMessage(`{"slow":1}`)
	wantKind(t, b.KeepOutbox(b.ctx, slow), gateway.Conflict, "lease_lost")
	quick.Private = json.RawMessage(`{"quick":1}`)
	must(t, b.KeepOutbox(b.ctx, quick))
	must(t, b.ReleaseOutbox(b.ctx, quick, b.clock.Now(), "", "", false))
	quick = b.claimOutbox(t, "a")[0]
	if string(quick.Private) != `{"quick":1}` {
		t.Fatalf("kept %s", quick.Private)
	}
	settle.Settle = &quick
	must(t, b.Commit(b.ctx, settle))
	settle.Version, settle.Events[0].Seq = 3, 4
	wantKind(t, b.Commit(b.ctx, settle), gateway.Conflict, "lease_lost") // settled once
	// The same act is never stored twice.
	twice := b.change(r, gateway.EventDecided, gateway.StateSubmitted)
	twice.Version, twice.Events[0].Seq = 3, 4
	twice.Outbox = []gateway.Outbox{{OrderKey: "x", Kind: gateway.OutboxDelivery, Key: "a", Due: b.clock.Now()}}
	wantKind(t, b.Commit(b.ctx, twice), gateway.Conflict, "")
}

func outboxParked(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	b.outbox(t, r, "a", "b")
	row := b.claimOutbox(t, "a")[0]
	must(t, b.ReleaseOutbox(b.ctx, row, time.Time{}, "core_refuses", "422", true))
	_, mark, err := b.Load(b.ctx, operator(castello), r.ID)
	if err != nil || mark.Kind != gateway.MarkParked || mark.Code != "core_refuses" || mark.Detail != "422" {
		t.Fatalf("%+v %v", mark, err)
	}
	b.clock.Advance(24 * time.Hour)
	b.claimOutbox(t) // and b waits behind it
	c := b.change(r, gateway.EventUnparked, gateway.StateSubmitted)
	c.Version, c.Events[0].Seq, c.Unpark, c.Mark = 2, 3, true, &gateway.Mark{}
	must(t, b.Commit(b.ctx, c))
	b.claimOutbox(t, "a")
}

func coreEvent(order string, seq int) gateway.CoreEvent {
	return gateway.CoreEvent{
		EventID: fmt.Sprintf("%s#%d", order, seq), OrderKey: order, Seq: seq, NUN: "CA12345BC", Type: "shipped",
		At: time.Date(2026, 11, 20, 8, 0, seq, 0, time.UTC), Details: gateway.CoreDetails{Tracking: "T1", Carrier: "P"},
	}
}

func (b *bench) pending(t *testing.T, want ...string) [][]gateway.CoreEvent {
	t.Helper()
	orders, err := b.PendingCoreEvents(b.ctx, 100)
	must(t, err)
	var got []string
	for _, events := range orders {
		for _, e := range events {
			got = append(got, e.EventID)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("pending %v, want %v", got, want)
	}
	return orders
}

func coreEvents(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	key := r.ID + ".1"
	cursor, err := b.FeedCursor(b.ctx)
	if err != nil || cursor != "" {
		t.Fatalf("%q %v", cursor, err)
	}
	must(t, b.SaveCoreEvents(b.ctx, []gateway.CoreEvent{coreEvent(key, 2), coreEvent(key, 1)}, "c1"))
	must(t, b.SaveCoreEvents(b.ctx, []gateway.CoreEvent{coreEvent(key, 1), coreEvent(key, 3), coreEvent(key, 3)}, ""))
	other := coreEvent(key, 1)
	other.EventID = "another id for the same place"
	must(t, b.SaveCoreEvents(b.ctx, []gateway.CoreEvent{other}, "c2"))
	cursor, err = b.FeedCursor(b.ctx)
	if err != nil || cursor != "c2" {
		t.Fatalf("%q %v", cursor, err)
	}
	orders := b.pending(t, key+"#1", key+"#2", key+"#3")
	if len(orders) != 1 || !reflect.DeepEqual(orders[0][0], coreEvent(key, 1)) {
		t.Fatalf("%+v", orders)
	}
	c := b.change(r, gateway.EventShipped, gateway.StateShipped)
	c.Applied = &gateway.CoreRef{OrderKey: key, Seq: 2}
	must(t, b.Commit(b.ctx, c))
	b.pending(t, key+"#3")
	must(t, b.ParkCoreEvent(b.ctx, key, 3, "before_certified"))
	b.pending(t)
	wantKind(t, b.ParkCoreEvent(b.ctx, key, 3, "again"), gateway.NotFound, "")
	wantKind(t, b.ParkCoreEvent(b.ctx, key, 9, "absent"), gateway.NotFound, "")
	c = b.change(r, gateway.EventUnparked, gateway.StateShipped)
	c.Version, c.State, c.Events[0].Seq, c.Unpark = 2, gateway.StateShipped, 3, true
	must(t, b.Commit(b.ctx, c))
	b.pending(t, key+"#3")
	must(t, b.SaveCoreEvents(b.ctx, []gateway.CoreEvent{coreEvent(key, 1)}, "")) // applied, and seen again
	b.pending(t, key+"#3")
}

func coreGap(t *testing.T, b *bench) {
	must(t, b.SaveCoreEvents(b.ctx, []gateway.CoreEvent{coreEvent("gap.1", 2)}, ""))
	b.clock.Advance(time.Second)
	must(t, b.SaveCoreEvents(b.ctx, []gateway.CoreEvent{coreEvent("whole.1", 1)}, ""))
	orders, err := b.PendingCoreEvents(b.ctx, 1)
	if err != nil || len(orders) != 1 || orders[0][0].OrderKey != "whole.1" {
		t.Fatalf("%v %v", orders, err)
	}
	must(t, b.SaveCoreEvents(b.ctx, []gateway.CoreEvent{coreEvent("gap.1", 1)}, ""))
	b.pending(t, "gap.1#1", "gap.1#2", "whole.1#1")
	// An order whose receipt the relay has yet to fetch waits too.
	r := b.create(t, 1, castello)
	must(t, b.Commit(b.ctx, b.change(r, gateway.EventSigned, gateway.StateSigned)))
	b.clock.Advance(-time.Hour)
	must(t, b.SaveCoreEvents(b.ctx, []gateway.CoreEvent{coreEvent(r.ID+".1", 1)}, ""))
	b.pending(t, "gap.1#1", "gap.1#2", "whole.1#1", r.ID+".1#1")
}

func halves(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	h := gateway.Halves{PIN: "1234", PUK: "5678"}
	has := func(key string, want bool) {
		t.Helper()
		got, err := b.Halves(b.ctx, key)
		if want && (err != nil || got != h) {
			t.Fatalf("%s: %+v %v", key, got, err)
		}
		if !want {
			wantKind(t, err, gateway.NotFound, "")
		}
	}
	has("k1", false)
	wantKind(t, b.PutHalves(b.ctx, "R26-ABSENT", "k1", h), gateway.NotFound, "")
	for _, key := range []string{"k1", "k2", "k3"} {
		must(t, b.PutHalves(b.ctx, r.ID, key, h))
		has(key, true)
	}
	b.clock.Advance(50 * time.Minute)
	c := b.change(r, gateway.EventPrinted, gateway.StateSubmitted)
	c.Printed = "k1"
	must(t, b.Commit(b.ctx, c))
	b.clock.Advance(20 * time.Minute)
	c = b.change(r, gateway.EventPrinted, gateway.StateSubmitted)
	c.Version, c.Events[0].Seq, c.Printed, c.WipeKey = 2, 3, "k1", "k2" // a second print does not start the hour anew
	must(t, b.Commit(b.ctx, c))
	has("k2", false)
	n, err := b.WipeHalves(b.ctx, b.clock.Now().Add(-time.Hour)) // k3: stored 70 minutes ago, never printed
	if err != nil || n != 1 {
		t.Fatalf("%d wiped, %v", n, err)
	}
	has("k3", false)
	has("k1", true)
	b.clock.Advance(41 * time.Minute)
	n, err = b.WipeHalves(b.ctx, b.clock.Now().Add(-time.Hour))
	if err != nil || n != 1 {
		t.Fatalf("%d wiped, %v", n, err)
	}
	has("k1", false)
	n, err = b.WipeHalves(b.ctx, b.clock.Now())
	if err != nil || n != 0 {
		t.Fatalf("%d wiped again, %v", n, err)
	}
	must(t, b.PutHalves(b.ctx, r.ID, "k3", h)) // prepared again: the core answers the same halves
	has("k3", true)
	must(t, b.PutHalves(b.ctx, r.ID, "k1", h))
	has("k1", true)
	n, err = b.WipeHalves(b.ctx, b.clock.Now().Add(-time.Hour)) // k1's hour began with its first print
	if err != nil || n != 1 {
		t.Fatalf("%d wiped, %v", n, err)
	}
	has("k1", false)
	has("k3", true)
}

func findNarrows(t *testing.T, b *bench) {
	for n := range 12 {
		b.clock.Advance(time.Second)
		b.create(t, n, castello)
	}
	list := func(q gateway.Criteria) []string {
		t.Helper()
		rows, err := b.Find(b.ctx, operator(castello), q)
		must(t, err)
		var ids []string
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		return ids
	}
	id := func(n int) string { return fmt.Sprintf("R26-%09d", n) }
	for name, c := range map[string]struct {
		q    gateway.Criteria
		want []string
	}{
		"newest first":    {gateway.Criteria{Limit: 2}, []string{id(11), id(10)}},
		"next page":       {gateway.Criteria{Limit: 2, After: id(10)}, []string{id(9), id(8)}},
		"number":          {gateway.Criteria{Number: " " + id(3) + " "}, []string{id(3)}},
		"surname":         {gateway.Criteria{Surname: "dagostino 3"}, nil}, // digits do not count
		"surname typed":   {gateway.Criteria{Surname: "d'agostino", Limit: 3}, []string{id(11), id(10), id(9)}},
		"part of surname": {gateway.Criteria{Surname: "d'agost"}, nil},
		"no letters":      {gateway.Criteria{Surname: "'"}, nil},
		"fiscal code":     {gateway.Criteria{FiscalCode: b.request(5, castello).Applicant}, []string{id(5)}},
		"unknown code":    {gateway.Criteria{FiscalCode: "NOBODY"}, nil},
		"no such state":   {gateway.Criteria{States: []gateway.State{gateway.StateShipped, gateway.StateRelayed}}, nil},
		"states":          {gateway.Criteria{States: []gateway.State{gateway.StateSubmitted}, Limit: 1}, []string{id(11)}},
	} {
		want := c.want
		if name == "surname" {
			want = list(gateway.Criteria{})
		}
		if got := list(c.q); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	var all []string
	for after := ""; ; {
		page := list(gateway.Criteria{Limit: 5, After: after})
		if len(page) == 0 {
			break
		}
		all, after = append(all, page...), page[len(page)-1]
	}
	if len(all) != 12 {
		t.Errorf("pages hold %v", all)
	}
}

func trackerOpens(t *testing.T, b *bench) {
	one, two := b.create(t, 1, castello), b.create(t, 2, castello)
	must(t, b.Track(b.ctx, one.ID, one.Tracker))
	wantKind(t, b.Track(b.ctx, one.ID, two.Tracker), gateway.NotFound, "not_found")
	wantKind(t, b.Track(b.ctx, "R26-ABSENT", one.Tracker), gateway.NotFound, "not_found")
	wantKind(t, b.Track(b.ctx, one.ID, ""), gateway.NotFound, "not_found")
	c := b.change(one, gateway.EventTrackerRevoked, gateway.StateSubmitted)
	c.Tracker = "NEWCODE234"
	must(t, b.Commit(b.ctx, c))
	wantKind(t, b.Track(b.ctx, one.ID, one.Tracker), gateway.NotFound, "not_found")
	must(t, b.Track(b.ctx, one.ID, "newcode234"))
	c = b.change(one, gateway.EventDecided, gateway.StateSubmitted)
	c.Version, c.Events[0].Seq = 2, 3
	must(t, b.Commit(b.ctx, c)) // says nothing about the tracker
	must(t, b.Track(b.ctx, one.ID, "NEWCODE234"))
}

func series(t *testing.T, b *bench) {
	keeper, ok := b.Store.(operationKeeper)
	if !ok {
		t.Fatal("the store keeps no operations")
	}
	const callers, each = 8, 25
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				n, err := keeper.OperationFor(b.ctx, "anpr", "", 1, false, b.clock.Now())
				mu.Lock()
				if err != nil || seen[n] {
					t.Errorf("%d again, %v", n, err)
				}
				seen[n] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	n, err := keeper.OperationFor(b.ctx, "other", "", 1, false, b.clock.Now())
	if err != nil || n != 1 || len(seen) != callers*each {
		t.Fatalf("%d, %d numbers, %v", n, len(seen), err)
	}
}

func counts(t *testing.T, b *bench) {
	r := b.create(t, 1, castello)
	b.create(t, 2, castello)
	b.clock.Advance(time.Minute)
	b.outbox(t, r, "a")
	c, err := b.Counts(b.ctx, b.clock.Now())
	must(t, err)
	if c.ByState[gateway.StateSubmitted] != 2 || c.WorkDue != 2 || !c.OldestDue.Equal(b.clock.Now().Add(-time.Minute)) || c.Parked+c.Waiting != 0 {
		t.Fatalf("%+v", c)
	}
	row := b.claimOutbox(t, "a")[0]
	must(t, b.ReleaseOutbox(b.ctx, row, time.Time{}, "x", "", true))
	c, err = b.Counts(b.ctx, b.clock.Now())
	must(t, err)
	if c.WorkDue != 1 || c.Parked != 1 {
		t.Fatalf("%+v", c)
	}
	c, err = b.Counts(b.ctx, b.clock.Now().Add(-time.Hour))
	must(t, err)
	if c.WorkDue != 0 || !c.OldestDue.IsZero() {
		t.Fatalf("nothing was due then: %+v", c)
	}
}

func survivesKill(t *testing.T, b *bench) {
	if b.Crash == nil {
		t.Log("this engine hands in no crash")
		return
	}
	const callers, each = 8, 10
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				_, _, err := b.Create(b.ctx, b.request(c*each+i, castello))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	tasks, err := b.ClaimWork(b.ctx, b.clock.Now(), time.Minute, 1)
	must(t, err)
	after := b.Crash(t, b.Store)
	for n := range callers * each {
		_, _, err := after.Load(b.ctx, operator(castello), b.request(n, castello).ID)
		if err != nil {
			t.Errorf("request %d was acknowledged: %v", n, err)
		}
	}
	left, err := after.ClaimWork(b.ctx, b.clock.Now(), time.Minute, 1000)
	must(t, err)
	if len(left) != callers*each-1 {
		t.Errorf("%d tasks: a lease of the dead process holds until it ends", len(left))
	}
	must(t, after.ReleaseWork(b.ctx, tasks[0], b.clock.Now(), gateway.Mark{}))
}

func cancelledCaller(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	_, _, err := b.Create(ctx, b.request(1, castello))
	wantKind(t, err, gateway.Unavailable, "")
	_, _, err = b.Load(b.ctx, operator(castello), b.request(1, castello).ID)
	wantKind(t, err, gateway.NotFound, "")
}
