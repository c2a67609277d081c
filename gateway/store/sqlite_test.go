package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
)

var castello = gateway.Office{Kind: gateway.OfficeComune, Code: "054013"}

func scopeOf(o gateway.Office) gateway.Scope {
	return gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorOperator, ID: "op-1", Office: o})
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func atNoon() time.Time { return noon }

// request answers a new request of person n; private is its private side.
func request(n int, private string) gateway.NewRequest {
	person := fmt.Sprintf("TSTPRS%05dX%04d", n, n)
	return gateway.NewRequest{
		ID: fmt.Sprintf("R26-%06d", n), Namespace: "ns", Key: fmt.Sprintf("key-%d", n), BodyDigest: "d",
		Office: castello, Applicant: person, Persons: []string{person}, Surname: "Rossi", Tracker: fmt.Sprintf("TRACK%05d", n),
		Event: gateway.Event{
			Seq: 1, Type: gateway.EventSubmitted, To: gateway.StateSubmitted, At: noon,
			Actor: gateway.Actor{Kind: gateway.ActorCitizen, ID: "c"}, Private: json.RawMessage(private),
		},
		Work:  gateway.Work{Step: gateway.StepCheck, Due: noon},
		Audit: []gateway.AuditEntry{{At: noon, Act: "request.created", Subject: fmt.Sprintf("R26-%06d", n), Payload: map[string]string{"n": fmt.Sprint(n)}}},
	}
}

func fill(t testing.TB, s *store.Store, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		_, _, err := s.Create(context.Background(), request(n, `{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
	}
}

func wantCode(t testing.TB, err error, kind gateway.Kind, code string) {
	t.Helper()
	if gateway.KindOf(err) != kind || gateway.CodeOf(err) != code {
		t.Fatalf("got %v, want %v %s", err, kind, code)
	}
}

func TestACommitIsOnTheDiskWhenItReturns(t *testing.T) {
	t.Parallel()
	s := open(t, newHome(t).options(atNoon))
	for name, want := range map[string]string{
		"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "secure_delete": "1",
	} {
		if got := s.Pragma(t, name); got != want {
			t.Errorf("%s is %s at run time, want %s", name, got, want)
		}
	}
}

func TestASecondWriterOnOneFileIsRefused(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	s := open(t, h.options(atNoon))
	_, err := store.Open(t.Context(), h.options(atNoon))
	wantCode(t, err, gateway.Unavailable, "store_locked")
	if !errors.Is(err, store.ErrLocked) {
		t.Errorf("%v is not ErrLocked", err)
	}
	fill(t, s, 0, 1) // the first goes on
	err = s.Close()
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Create(t.Context(), request(1, `{}`))
	wantCode(t, err, gateway.Unavailable, "store_closed")
	_, _, err = s.Load(t.Context(), scopeOf(castello), "R26-000000")
	wantCode(t, err, gateway.Unavailable, "store_closed")
	_, err = s.Find(t.Context(), scopeOf(castello), gateway.Criteria{})
	wantCode(t, err, gateway.Unavailable, "store_closed")
	open(t, h.options(atNoon))
}

func TestReadersOpenBesideARunningServerAndCannotWrite(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	o := h.options(atNoon)
	o.ReadOnly = true
	_, err := store.Open(t.Context(), o)
	wantCode(t, err, gateway.NotFound, "store_absent")
	s := open(t, h.options(atNoon))
	fill(t, s, 0, 3)
	r := open(t, o)
	rows, err := r.Find(t.Context(), scopeOf(castello), gateway.Criteria{})
	if err != nil || len(rows) != 3 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	fill(t, s, 3, 4)
	n, err := r.LoadAll(t.Context(), "R26-000003")
	if err != nil || n != 1 {
		t.Fatalf("a reader sees what was committed after it opened: %d %v", n, err)
	}
	_, _, err = r.Create(t.Context(), request(9, `{}`))
	wantCode(t, err, gateway.Unavailable, "store_read_only")
	_, err = r.Seal(t.Context())
	wantCode(t, err, gateway.Unavailable, "store_read_only")
}

func TestADatabaseKeepsItsEnvironmentForLife(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	s := open(t, h.options(atNoon))
	err := s.Close()
	if err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		o := h.options(atNoon)
		o.Environment, o.ReadOnly = store.Production, readOnly
		_, err = store.Open(t.Context(), o)
		wantCode(t, err, gateway.Conflict, "store_environment")
	}
	p := newHome(t)
	copyTo(t, p.keys(), h.keys())
	o := p.options(atNoon)
	o.Environment = store.Production
	err = open(t, o).Close()
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(t.Context(), p.options(atNoon))
	wantCode(t, err, gateway.Conflict, "store_environment")
}

func TestKeysMustBeTheDatabasesOwn(t *testing.T) {
	t.Parallel()
	h, other := newHome(t), newHome(t)
	err := open(t, h.options(atNoon)).Close()
	if err != nil {
		t.Fatal(err)
	}
	err = open(t, other.options(atNoon)).Close()
	if err != nil {
		t.Fatal(err)
	}
	o := h.options(atNoon)
	o.Keys = other.keys()
	_, err = store.Open(t.Context(), o)
	wantCode(t, err, gateway.Conflict, "store_keys")
	// Lost keys are not replaced by new ones.
	o.Keys = filepath.Join(h.dir, "lost.json")
	_, err = store.Open(t.Context(), o)
	wantCode(t, err, gateway.Conflict, "store_keys")
	_, err = os.Stat(o.Keys)
	if !os.IsNotExist(err) {
		t.Errorf("a key file was made for an old database: %v", err)
	}
	// Production never makes any.
	p := newHome(t).options(atNoon)
	p.Environment = store.Production
	_, err = store.Open(t.Context(), p)
	wantCode(t, err, gateway.Conflict, "store_keys")
}

func TestASchemaNewerThanTheProgramIsRefused(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	err := open(t, h.options(atNoon)).Close()
	if err != nil {
		t.Fatal(err)
	}
	_, err = raw(t, h.path()).Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`)
	if err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		o := h.options(atNoon)
		o.ReadOnly = readOnly
		// The next release's schema, which only adds: it is served as it is.
		s, err := store.Open(t.Context(), o)
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			t.Errorf("the next schema, read-only %v: %v", readOnly, err)
		}
	}
	_, err = raw(t, h.path()).Exec(`UPDATE meta SET value = '99999' WHERE name = 'opens_from'`)
	if err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		o := h.options(atNoon)
		o.ReadOnly = readOnly
		_, err = store.Open(t.Context(), o)
		wantCode(t, err, gateway.Conflict, "store_schema")
	}
}

func TestGroupCommitFailsOnlyTheCallerOfABadRow(t *testing.T) {
	t.Parallel()
	s := open(t, newHome(t).options(atNoon))
	const callers = 40
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			if n%10 == 3 {
				// A good statement before the bad one: both must go.
				errs[n] = s.Write(t.Context(),
					fmt.Sprintf(`INSERT INTO meta (name, value) VALUES ('bad %d', '')`, n),
					`UPDATE requests SET state = 'no such state'`,
					`INSERT INTO halves (order_key, request_id, private, stored_at) VALUES ('x', 'no such request', x'00', 1)`)
				return
			}
			_, _, errs[n] = s.Create(t.Context(), request(n, `{}`))
		})
	}
	wg.Wait()
	bad := 0
	for n, err := range errs {
		if (err != nil) != (n%10 == 3) {
			t.Errorf("caller %d: %v", n, err)
		}
		if err != nil {
			bad++
		}
	}
	c, err := s.Counts(t.Context(), noon)
	if err != nil || c.ByState[gateway.StateSubmitted] != callers-bad {
		t.Fatalf("%+v %v", c, err)
	}
	if strings.Contains(s.Contents(t), "name=bad") {
		t.Error("half of a failed write stayed")
	}
}

func TestAFullDiskIsUnavailableAndTheStoreGoesOnAfterIt(t *testing.T) {
	t.Parallel()
	s := open(t, newHome(t).options(atNoon))
	fill(t, s, 0, 5)
	pages := s.Pragma(t, "page_count")
	s.Pragma(t, "max_page_count="+pages)
	var acknowledged []int
	full := 0
	big := `"` + strings.Repeat("x", 20000) + `"`
	for n := 5; n < 40; n++ {
		_, _, err := s.Create(t.Context(), request(n, big))
		if err == nil {
			acknowledged = append(acknowledged, n)
			continue
		}
		wantCode(t, err, gateway.Unavailable, "store_unavailable")
		full++
	}
	if full == 0 {
		t.Fatal("the disk was never full")
	}
	s.Pragma(t, "max_page_count=1000000")
	for n := range 60 {
		_, created, err := s.Create(t.Context(), request(n, `{"a":1}`))
		if err != nil || (n >= 40) != created && n < 5 {
			t.Fatalf("request %d after the disk was freed: %v", n, err)
		}
	}
	for _, n := range acknowledged {
		_, err := s.LoadAll(t.Context(), request(n, "").ID)
		if err != nil {
			t.Errorf("request %d was acknowledged: %v", n, err)
		}
	}
	if got := s.Pragma(t, "integrity_check"); got != "ok" {
		t.Error(got)
	}
}

func TestAFullQueueIsUnavailableAndLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	o := newHome(t).options(atNoon)
	o.Queue = 1
	s := open(t, o)
	const callers = 100
	var mu sync.Mutex
	var good, busy int
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			_, _, err := s.Create(t.Context(), request(n, `{}`))
			mu.Lock()
			defer mu.Unlock()
			switch gateway.CodeOf(err) {
			case "store_busy":
				busy++
			default:
				if err != nil {
					t.Error(err)
				}
				good++
			}
		})
	}
	wg.Wait()
	c, err := s.Counts(t.Context(), noon)
	if err != nil || c.ByState[gateway.StateSubmitted] != good || good+busy != callers {
		t.Fatalf("%d good, %d busy, %+v %v", good, busy, c, err)
	}
}

func TestACallerWhoGivesUpInTheQueueLeavesNothing(t *testing.T) {
	t.Parallel()
	s := open(t, newHome(t).options(atNoon))
	release := s.Block(t)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, _, err := s.Create(ctx, request(1, `{}`))
		gone <- err
	}()
	s.WaitForQueue(1)
	cancel()
	wantCode(t, <-gone, gateway.Unavailable, "cancelled")
	release()
	fill(t, s, 2, 3) // the writer has passed the place where the other stood
	_, err := s.LoadAll(t.Context(), "R26-000001")
	wantCode(t, err, gateway.NotFound, "not_found")
}

func TestALostCallerDoesNotTakeTheOthersWithIt(t *testing.T) {
	t.Parallel()
	s := open(t, newHome(t).options(atNoon))
	release := s.Block(t)
	good, bad := make(chan error, 2), make(chan error, 1)
	for _, n := range []int{1, 2} {
		go func() {
			_, _, err := s.Create(t.Context(), request(n, `{}`))
			good <- err
		}()
	}
	go func() {
		bad <- s.Write(t.Context(), `INSERT INTO meta (name, value) VALUES ('half', '')`, `INSERT INTO meta (name, value) VALUES ('half', NULL)`)
	}()
	s.WaitForQueue(3) // one batch
	release()
	for range 2 {
		err := <-good
		if err != nil {
			t.Error(err)
		}
	}
	if err := <-bad; err == nil || gateway.KindOf(err) != gateway.Internal {
		t.Errorf("a bad row: %v", err)
	}
	if all := s.Contents(t); strings.Contains(all, "name=half") || !strings.Contains(all, "requests id=R26-000002") {
		t.Error(all)
	}
}

func TestTheOverviewNamesRelayedOrders(t *testing.T) {
	t.Parallel()
	s := open(t, newHome(t).options(atNoon))
	fill(t, s, 0, 2)
	err := s.Commit(t.Context(), gateway.Change{
		ID: "R26-000001", Version: 1, State: gateway.StateSubmitted, To: gateway.StateRelayed, Office: castello,
		Events: []gateway.Event{{Seq: 2, Type: gateway.EventRelayed, To: gateway.StateRelayed, At: noon, Data: json.RawMessage(`{"key":"R26-000001.1"}`)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Overview(t.Context())
	if err != nil || len(all) != 2 || len(all["R26-000000"].Relayed) != 0 {
		t.Fatalf("%v %v", all, err)
	}
	if o := all["R26-000001"]; o.State != gateway.StateRelayed || len(o.Relayed) != 1 || o.Relayed[0] != "R26-000001.1" {
		t.Fatalf("%+v", o)
	}
}

func TestNoPersonalDataIsReadableInTheFile(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	s := open(t, h.options(atNoon))
	canaries := []string{"CNRCNR80A01H501Z", "CANARYSURNAME", "CANARYTRACK", "canary-private", "canary-later", "canary-outbox", "7391", "canary-session", "canary-token", "canary-key"}
	r := request(1, `{"x":"canary-private"}`)
	r.Applicant, r.Persons, r.Surname, r.Tracker, r.Key = canaries[0], []string{canaries[0]}, canaries[1], canaries[2], "canary-key"
	_, _, err := s.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	err = s.PutHalves(t.Context(), r.ID, r.ID+".1", gateway.Halves{PIN: "7391", PUK: "7391"})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Commit(t.Context(), gateway.Change{
		ID: r.ID, Version: 1, State: gateway.StateSubmitted, To: gateway.StateSubmitted, Office: castello,
		Persons: r.Persons, Surname: "Canarysurname", Tracker: "CANARYTRACK",
		Events: []gateway.Event{{Seq: 2, Type: gateway.EventDecided, To: gateway.StateSubmitted, At: noon, Private: json.RawMessage(`"canary-later"`)}},
		Outbox: []gateway.Outbox{{OrderKey: r.ID + ".1", Kind: gateway.OutboxSubmission, Key: "k", Due: noon, Private: json.RawMessage(`"canary-outbox"`)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Sessions().CommitCtx(t.Context(), "canary-token", []byte("canary-session"), noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Find(t.Context(), scopeOf(castello), gateway.Criteria{FiscalCode: canaries[0], Surname: "canarysurname"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		files, err := os.ReadDir(h.dir)
		if err != nil {
			t.Fatal(err)
		}
		looked := 0
		for _, f := range files {
			if f.Name() == "keys.json" {
				continue
			}
			content, err := os.ReadFile(filepath.Join(h.dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			looked += len(content)
			for _, c := range canaries {
				if c == "7391" {
					c = `"7391"` // four digits alone may stand in any digest
				}
				if bytes.Contains(bytes.ToLower(content), []byte(strings.ToLower(c))) {
					t.Errorf("%s holds %q", f.Name(), c)
				}
			}
			if strings.HasPrefix(f.Name(), "airegw.db") && !strings.HasSuffix(f.Name(), ".lock") {
				info, err := f.Info()
				if err != nil || info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
				}
			}
		}
		if looked < 100000 {
			t.Errorf("only %d bytes were looked at", looked)
		}
	}
	look() // the log included
	if !strings.Contains(s.Contents(t), r.ID) {
		t.Error("the request is not there at all")
	}
	err = s.Close()
	if err != nil {
		t.Fatal(err)
	}
	look()
}

func TestTheMigrationsRepeatTheStateTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("migrations/00001_first.sql")
	if err != nil {
		t.Fatal(err)
	}
	names := func(after, before string) []string {
		t.Helper()
		_, rest, found := strings.Cut(string(text), after)
		list, _, closed := strings.Cut(rest, before)
		if !found || !closed {
			t.Fatalf("no %q in the migrations", after)
		}
		return regexp.MustCompile(`[a-z_]+`).FindAllString(list, -1)
	}
	want := func(name string, got []string, states []gateway.State) {
		t.Helper()
		var all []string
		for _, s := range states {
			all = append(all, string(s))
		}
		if strings.Join(got, " ") != strings.Join(all, " ") {
			t.Errorf("%s lists\n%v\ngateway has\n%v", name, got, all)
		}
	}
	want("requests", names("requests_state CHECK (state IN (", "))"), gateway.States())
	want("events", names("events_state CHECK (to_state IN (", "))"), gateway.States())
	want("open person", names("(applicant_digest) WHERE state IN (", ");"), gateway.OpenStates())
}

func TestInvariantsNameWhatCannotBe(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	s := open(t, h.options(atNoon))
	fill(t, s, 0, 3)
	broken, err := s.Invariants(t.Context(), noon.Add(time.Minute))
	if err != nil || len(broken) != 0 {
		t.Fatalf("%v %v", broken, err)
	}
	late, err := s.Invariants(t.Context(), noon.Add(2*time.Hour))
	if err != nil || len(late) != 3 {
		t.Fatalf("overdue work: %v %v", late, err)
	}
	for statement, want := range map[string]string{
		`UPDATE requests SET work_step = '' WHERE id = 'R26-000000'`:        "I5: no worker will come: R26-000000 in submitted",
		`UPDATE requests SET state = 'prechecked' WHERE id = 'R26-000001'`:  "state is not the last event's: R26-000001 row prechecked, event submitted",
		`UPDATE events SET seq = 2 WHERE request_id = 'R26-000002'`:         "gap in events: R26-000002 has 1 events up to 2",
		`UPDATE events SET office_id = 'x' WHERE request_id = 'R26-000000'`: "rows of a request name another office: R26-000000",
		`DELETE FROM request_persons WHERE request_id = 'R26-000001'`:       "applicant cannot see the request: R26-000001",
	} {
		err = s.Write(t.Context(), statement)
		if err != nil {
			t.Fatal(err)
		}
		broken, err = s.Invariants(t.Context(), noon)
		if err != nil || !strings.Contains(strings.Join(broken, "\n"), want) {
			t.Errorf("after %s: %q, %v; want %q", statement, broken, err, want)
		}
	}
}

func TestSignedWithoutAnOutboxRowIsForgotten(t *testing.T) {
	t.Parallel()
	s := open(t, newHome(t).options(atNoon))
	fill(t, s, 0, 1)
	c := gateway.Change{
		ID: "R26-000000", Version: 1, State: gateway.StateSubmitted, To: gateway.StateSigned, Office: castello, Work: &gateway.Work{},
		Events: []gateway.Event{{Seq: 2, Type: gateway.EventSigned, To: gateway.StateSigned, At: noon}},
	}
	err := s.Commit(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	broken, err := s.Invariants(t.Context(), noon)
	if err != nil || len(broken) != 1 || broken[0] != "I5: signed, and no outbox row: R26-000000 in signed" {
		t.Fatalf("%q %v", broken, err)
	}
}

func TestTheBenchCountsItsRows(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	s := open(t, h.options(atNoon))
	b, err := s.RawInsertBench(t.Context(), 200, 8, []byte(`{"a":1}`))
	if err != nil || b.Rows != 200 || b.Counts != 200 || b.Took <= 0 {
		t.Fatalf("%+v %v", b, err)
	}
	st, err := s.Stats(t.Context())
	if err != nil || st.Rows["requests"] != 200 || st.WALBytes == 0 || st.Schema < 5 || st.SealError != "" {
		t.Fatalf("%+v %v", st, err)
	}
	rate, err := store.FsyncsPerSecond(h.dir, 20*time.Millisecond)
	if err != nil || rate <= 0 {
		t.Fatalf("%v %v", rate, err)
	}
	left, err := filepath.Glob(filepath.Join(h.dir, "fsync-*"))
	if err != nil || len(left) != 0 {
		t.Fatalf("%v %v", left, err)
	}
}
