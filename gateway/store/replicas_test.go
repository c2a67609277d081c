package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/gateway/store/pgtest"
	"airegw/gateway/store/storetest"
)

// submission answers a new request of person n.
func submission(n int, at time.Time) gateway.NewRequest {
	person := fmt.Sprintf("TSTPRS%02dA%02dH501X", n%100, n/100)
	return gateway.NewRequest{
		ID: fmt.Sprintf("R26-%09d", n), Namespace: "ns", Key: fmt.Sprint(n), BodyDigest: fmt.Sprint(n),
		Office: gateway.Office{Kind: gateway.OfficeComune, Code: "054013"}, Applicant: person, Surname: "Prova", Tracker: fmt.Sprint(n),
		Event: gateway.Event{
			Seq: 1, Type: gateway.EventSubmitted, To: gateway.StateSubmitted, At: at,
			Actor: gateway.Actor{Kind: gateway.ActorClient, ID: "c"}, Private: json.RawMessage(`{"n":1}`),
		},
		Work:  gateway.Work{Step: gateway.StepCheck, Due: at},
		Audit: []gateway.AuditEntry{{At: at, Act: "look", Payload: map[string]string{"n": fmt.Sprint(n)}}},
	}
}

func TestFourReplicasStartAtOnceOnAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	h, address := newHome(t), pgtest.Database(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := store.Open(context.Background(), h.shared(address, nil))
			if err != nil {
				t.Error(err)
				return
			}
			err = s.Close()
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st, err := open(t, h.shared(address, nil)).Stats(t.Context())
	if err != nil || st.Rows["meta"] != 3 || st.Bytes == 0 {
		t.Fatalf("%+v %v", st, err)
	}
}

func TestAReplicaWithOtherKeysOrOfAnotherWorldIsRefused(t *testing.T) {
	t.Parallel()
	h, address := newHome(t), pgtest.Database(t)
	readOnly := h.shared(address, nil)
	readOnly.ReadOnly = true
	_, err := store.Open(t.Context(), readOnly)
	wantCode(t, err, gateway.Conflict, "store_keys") // nor are keys made for it
	open(t, h.shared(address, nil))
	_, err = store.Open(t.Context(), newHome(t).shared(address, nil))
	wantCode(t, err, gateway.Conflict, "store_keys")
	other := newHome(t)
	open(t, other.shared(pgtest.Database(t), nil))
	_, err = store.Open(t.Context(), other.shared(address, nil))
	wantCode(t, err, gateway.Conflict, "store_keys")
	production := h.shared(address, nil)
	production.Environment = store.Production
	_, err = store.Open(t.Context(), production)
	wantCode(t, err, gateway.Conflict, "store_environment")
	s := open(t, readOnly)
	wantCode(t, s.Audit(t.Context(), gateway.AuditEntry{Act: "look"}), gateway.Unavailable, "store_read_only")
	_, err = s.Backup(t.Context(), h.dir+"/copy.db")
	wantCode(t, err, gateway.Invalid, "backup_postgres")
	both := h.shared(address, nil)
	both.Path = h.path()
	_, err = store.Open(t.Context(), both)
	wantCode(t, err, gateway.Invalid, "store_options")
	_, err = store.Open(t.Context(), h.shared("postgres://user:secret word@:x/", nil))
	wantCode(t, err, gateway.Invalid, "store_options")
	if strings.Contains(err.Error(), "secret") {
		t.Fatalf("an error shows the password: %v", err)
	}
	unsafe := h.shared(address+" synchronous_commit=off", nil)
	_, err = store.Open(t.Context(), unsafe)
	wantCode(t, err, gateway.Invalid, "store_options")
	_, err = store.Open(t.Context(), h.shared(strings.Replace(address, "dbname=", "dbname=no", 1), nil))
	if gateway.KindOf(err) == gateway.Conflict || err == nil {
		t.Fatalf("a database that is not there: %v", err)
	}
}

// The trail is chained in an order in which every act that began after another
// one was durable comes after it, though three replicas write and two seal.
func TestReplicasShareOneAuditChain(t *testing.T) {
	t.Parallel()
	h, address, clock := newHome(t), pgtest.Database(t), storetest.NewClock()
	replicas := make([]*store.Store, 3)
	for i := range replicas {
		replicas[i] = open(t, h.shared(address, clock.Now))
	}
	const writers, each = 6, 40
	done := make(chan struct{})
	var writing, sealing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				_, _, err := replicas[w%3].Create(t.Context(), submission(w*each+i, clock.Now()))
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	for s := range 2 {
		sealing.Go(func() {
			for {
				_, err := replicas[s].Seal(t.Context())
				if err != nil {
					t.Errorf("seal: %v", err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writing.Wait()
	close(done)
	sealing.Wait()
	_, err := replicas[2].Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	report, err := replicas[1].VerifyAudit(t.Context())
	if err != nil || !report.OK() || report.Sealed != 2*writers*each || report.Unsealed != 0 || report.Blocks < 3 {
		t.Fatalf("%+v %v %v", report, report.Bad, err)
	}
	broken, err := replicas[0].Invariants(t.Context(), clock.Now())
	if err != nil || len(broken) > 0 {
		t.Fatalf("%v %v", broken, err)
	}
	// A row changed under the chain is named, as on SQLite.
	err = replicas[0].Write(t.Context(), `UPDATE audit_entries SET act = 'other' WHERE id = 100`)
	if err != nil {
		t.Fatal(err)
	}
	report, err = replicas[1].VerifyAudit(t.Context())
	if err != nil || report.Bad == nil || report.Bad.Entry != 100 || report.Bad.What != store.BadChanged {
		t.Fatalf("%+v %v", report, err)
	}
}

// An entry whose write is still under way has its id already. The sealer waits
// for it rather than chaining what comes after, and holds nobody else up.
func TestTheSealerNeverPassesAWriteUnderWay(t *testing.T) {
	t.Parallel()
	h, address, clock := newHome(t), pgtest.Database(t), storetest.NewClock()
	slow, quick := open(t, h.shared(address, clock.Now)), open(t, h.shared(address, clock.Now))
	drawn, finish, finished := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		finished <- slow.AuditSlowly(t.Context(), gateway.AuditEntry{Act: "slow"}, func() {
			close(drawn)
			<-finish
		})
	}()
	<-drawn
	err := quick.Audit(t.Context(), gateway.AuditEntry{Act: "quick"})
	if err != nil {
		t.Fatal(err)
	}
	sealed := make(chan int, 1)
	go func() {
		n, err := quick.Seal(t.Context())
		if err != nil {
			t.Error(err)
		}
		sealed <- n
	}()
	quick.WaitForSealer(t)
	for _, act := range []string{"later", "last"} {
		err = quick.Audit(t.Context(), gateway.AuditEntry{Act: act})
		if err != nil {
			t.Fatal(err)
		}
	}
	select {
	case n := <-sealed:
		t.Fatalf("sealed %d past a write under way", n)
	default:
	}
	close(finish)
	if err := <-finished; err != nil {
		t.Fatal(err)
	}
	// What came while the sealer waited is its next round's, or was there in time.
	if n := <-sealed; n < 2 || n > 4 {
		t.Fatalf("sealed %d, want the slow one and those before it", n)
	}
	_, err = quick.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	report, err := quick.VerifyAudit(t.Context())
	if err != nil || !report.OK() || report.Sealed != 4 {
		t.Fatalf("%+v %v", report, err)
	}
}

func TestClaimsOfThreeReplicasNeverMeet(t *testing.T) {
	t.Parallel()
	h, address, clock := newHome(t), pgtest.Database(t), storetest.NewClock()
	const requests = 150
	first := open(t, h.shared(address, clock.Now))
	for n := range requests {
		_, _, err := first.Create(t.Context(), submission(n, clock.Now()))
		if err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for range 3 {
		s := open(t, h.shared(address, clock.Now))
		wg.Go(func() {
			for {
				tasks, err := s.ClaimWork(t.Context(), clock.Now(), time.Minute, 7)
				if err != nil {
					t.Error(err)
					return
				}
				if len(tasks) > 7 {
					t.Errorf("claimed %d of at most 7", len(tasks))
				}
				mu.Lock()
				for _, task := range tasks {
					seen[task.RequestID]++
				}
				all := len(seen) == requests
				mu.Unlock()
				if all {
					return
				}
			}
		})
	}
	wg.Wait()
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was claimed %d times", id, n)
		}
	}
}

func TestAStoredRequestWakesAnotherReplicaAndNotItsOwn(t *testing.T) {
	t.Parallel()
	h, address, clock := newHome(t), pgtest.Database(t), storetest.NewClock()
	news, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer news.Close(t.Context())
	_, err = news.Exec(t.Context(), `LISTEN airegw`)
	if err != nil {
		t.Fatal(err)
	}
	web, work := open(t, h.shared(address, clock.Now)), open(t, h.shared(address, clock.Now))
	ctx, cancel := context.WithCancel(t.Context())
	woken, ended := make(chan struct{}, 100), make(chan struct{})
	go func() {
		work.Listen(ctx, func() { woken <- struct{}{} })
		close(ended)
	}()
	<-woken // it listens
	for i, replica := range []*store.Store{work, web, web} {
		_, _, err = replica.Create(t.Context(), submission(1+i, clock.Now()))
		if err == nil {
			_, err = news.WaitForNotification(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	<-woken
	<-woken // by the last, since news come in their order
	cancel()
	<-ended
	if len(woken) > 0 {
		t.Error("a replica woke itself")
	}
}

func TestTheStoreGoesOnAfterItsServerRestarts(t *testing.T) {
	t.Parallel()
	cluster, h, clock := pgtest.New(t), newHome(t), storetest.NewClock()
	s := open(t, h.shared(cluster.Database(t), clock.Now))
	_, _, err := s.Create(t.Context(), submission(1, clock.Now()))
	if err != nil {
		t.Fatal(err)
	}
	cluster.Restart(t)
	// Connections that died with the server are found out: at worst as often as
	// there are of them, always as Unavailable, never twice in one place.
	for tries := 0; ; tries++ {
		id, created, err := s.Create(t.Context(), submission(2, clock.Now()))
		if err == nil {
			if id != "R26-000000002" || !created {
				t.Fatalf("%q %v", id, created)
			}
			break
		}
		if gateway.KindOf(err) != gateway.Unavailable || tries > 20 {
			t.Fatalf("try %d: %v", tries, err)
		}
	}
	events, err := s.LoadAll(t.Context(), "R26-000000001")
	for tries := 0; err != nil && tries < 20; tries++ {
		if gateway.KindOf(err) != gateway.Unavailable {
			t.Fatal(err)
		}
		events, err = s.LoadAll(t.Context(), "R26-000000001")
	}
	if err != nil || events != 1 {
		t.Fatalf("%d events, %v", events, err)
	}
}

// A worker whose lease has ended commits just when another replica claims its
// task: one of the two has it, whoever comes first.
func TestALeaseThatEndedIsEitherKeptOrTakenNeverBoth(t *testing.T) {
	t.Parallel()
	h, address, clock := newHome(t), pgtest.Database(t), storetest.NewClock()
	slow, quick := open(t, h.shared(address, clock.Now)), open(t, h.shared(address, clock.Now))
	kept := 0
	const rounds = 60
	for n := range rounds {
		r := submission(n, clock.Now())
		_, _, err := slow.Create(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		tasks, err := slow.ClaimWork(t.Context(), clock.Now(), time.Second, 1)
		if err != nil || len(tasks) != 1 {
			t.Fatalf("%v %v", tasks, err)
		}
		clock.Advance(2 * time.Second)
		var committed error
		var taken []gateway.Task
		var both sync.WaitGroup
		both.Go(func() {
			committed = slow.Commit(t.Context(), gateway.Change{
				ID: r.ID, Version: 1, State: gateway.StateSubmitted, To: gateway.StateCancelled, Office: r.Office, Fence: tasks[0].Fence,
				Events: []gateway.Event{{Seq: 2, Type: gateway.EventCancelled, To: gateway.StateCancelled, At: clock.Now()}},
				Work:   &gateway.Work{},
			})
		})
		both.Go(func() {
			var err error
			taken, err = quick.ClaimWork(t.Context(), clock.Now(), time.Hour, 1)
			if err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		switch {
		case committed == nil && len(taken) == 0:
			kept++
		case committed != nil && len(taken) == 1:
			wantCode(t, committed, gateway.Conflict, "lease_lost")
		default:
			t.Fatalf("round %d: commit says %v, the other replica has %v", n, committed, taken)
		}
	}
	t.Logf("kept %d, taken %d", kept, rounds-kept)
}
