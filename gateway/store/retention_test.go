package store_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/gateway/store/pgtest"
	"airegw/gateway/store/storetest"
)

// engines runs a test on both databases. options makes the options of one and
// the same database whenever it is called.
func engines(t *testing.T, test func(t *testing.T, h home, options func() store.Options, clock *storetest.Clock)) {
	t.Helper()
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, clock := newHome(t), storetest.NewClock()
			options := func() store.Options { return h.options(clock.Now) }
			if name == "PostgreSQL" {
				address := pgtest.Database(t)
				options = func() store.Options { return h.shared(address, clock.Now) }
			}
			test(t, h, options, clock)
		})
	}
}

// addKey adds a column key to a key file, as the newest.
func addKey(t *testing.T, path, id string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f map[string]any
	err = json.Unmarshal(raw, &f)
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	f["column_keys"] = append(f["column_keys"].([]any), map[string]string{"id": id, "key": base64.StdEncoding.EncodeToString(key)})
	raw, err = json.Marshal(f)
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dropKey takes a column key out of a key file.
func dropKey(t *testing.T, path, id string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Version    int              `json:"version"`
		DigestKey  string           `json:"digest_key"`
		ColumnKeys []map[string]any `json:"column_keys"`
	}
	err = json.Unmarshal(raw, &f)
	if err != nil {
		t.Fatal(err)
	}
	kept := f.ColumnKeys[:0]
	for _, k := range f.ColumnKeys {
		if k["id"] != id {
			kept = append(kept, k)
		}
	}
	f.ColumnKeys = kept
	raw, err = json.Marshal(f)
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryColumnMovesToTheNewestKeyAndTheOldOneCanGo(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, h home, options func() store.Options, clock *storetest.Clock) {
		s, err := store.Open(t.Context(), options())
		if err != nil {
			t.Fatal(err)
		}
		const requests = 250 // more than one step moves
		ids := make([]string, requests)
		for n := range requests {
			r := submission(n, clock.Now())
			ids[n] = r.ID
			_, _, err = s.Create(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
		}
		err = s.Commit(t.Context(), gateway.Change{
			ID: ids[0], Version: 1, State: gateway.StateSubmitted, To: gateway.StateSubmitted, Office: submission(0, clock.Now()).Office,
			Events: []gateway.Event{{Seq: 2, Type: gateway.EventDecided, To: gateway.StateSubmitted, At: clock.Now(), Private: json.RawMessage(`{"second":1}`)}},
			Outbox: []gateway.Outbox{{OrderKey: ids[0] + ".1", Kind: gateway.OutboxSubmission, Key: "k", Due: clock.Now(), Private: json.RawMessage(`{"to":"core"}`)}},
		})
		if err == nil {
			err = s.PutHalves(t.Context(), ids[0], ids[0]+".1", gateway.Halves{PIN: "1234", PUK: "5678"})
		}
		if err == nil {
			err = s.Sessions().CommitCtx(t.Context(), "token", []byte("who"), clock.Now().Add(time.Hour))
		}
		if err == nil {
			err = s.SaveCardNotice(t.Context(), gateway.CardNotice{Source: "questura", ID: "r-1", Kind: gateway.CardLost, Card: "CA00000AA", HappenedAt: clock.Now()}, []byte("signed"), clock.Now())
		}
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			t.Fatal(err)
		}

		addKey(t, h.keys(), "k2")
		s, err = store.Open(t.Context(), options())
		if err != nil {
			t.Fatal(err)
		}
		before := s.Contents(t)
		for k := 1; k <= 3; k++ {
			fired, heal := s.FailNth(t, k)
			_, _, err = s.Rotate(t.Context())
			if err == nil || !fired() || s.Contents(t) != before {
				t.Fatalf("a step whose statement %d failed is not all or nothing: %v", k, err)
			}
			heal()
		}
		moved, key, err := s.Rotate(t.Context())
		if err != nil || moved != 200 || key != "k2" {
			t.Fatalf("%d %s %v", moved, key, err)
		}
		// Stopped in the middle and begun again.
		err = s.Close()
		if err != nil {
			t.Fatal(err)
		}
		s, err = store.Open(t.Context(), options())
		if err != nil {
			t.Fatal(err)
		}
		total := moved
		for moved > 0 {
			moved, _, err = s.Rotate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			total += moved
		}
		if total != requests+1+1+1+1+1 {
			t.Errorf("%d columns moved", total)
		}
		if err = s.Close(); err != nil {
			t.Fatal(err)
		}

		dropKey(t, h.keys(), "k1")
		s = open(t, options())
		clerk := gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorOperator, ID: "op-1", Office: castello, Role: gateway.RoleClerk})
		for _, id := range ids {
			events, _, err := s.Load(t.Context(), clerk, id)
			if err != nil || len(events[0].Private) == 0 {
				t.Fatalf("%s does not open with the new key alone: %v", id, err)
			}
		}
		rows, err := s.ClaimOutbox(t.Context(), clock.Now(), time.Minute, 1)
		if err != nil || len(rows) != 1 || string(rows[0].Private) != `{"to":"core"}` {
			t.Errorf("%+v %v", rows, err)
		}
		if half, err := s.Halves(t.Context(), ids[0]+".1"); err != nil || half.PIN != "1234" {
			t.Errorf("%v", err)
		}
		if who, found, err := s.Sessions().FindCtx(t.Context(), "token"); err != nil || !found || string(who) != "who" {
			t.Errorf("%q %v", who, err)
		}
		_, err = s.Seal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		report, err := s.VerifyAudit(t.Context())
		if err != nil || !report.OK() {
			t.Errorf("%+v %v", report.Bad, err)
		}
	})
}

func TestEveryEncryptedColumnOfTheSchemaIsRotated(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	open(t, h.options(atNoon))
	rows, err := raw(t, h.path()).Query(`SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
WHERE m.type = 'table' AND c.name = 'key_id'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var table string
		err = rows.Scan(&table)
		if err != nil {
			t.Fatal(err)
		}
		n++
		if !store.Rotates(table) {
			t.Errorf("table %s has an encrypted column that no key rotation reaches: add it to sealedColumns", table)
		}
	}
	if n < 5 || rows.Err() != nil {
		t.Errorf("%d tables, %v", n, rows.Err())
	}
}

func TestWhatWasErasedIsProvenByRecordAndTrail(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, _ home, options func() store.Options, clock *storetest.Clock) {
		s := open(t, options())
		const sessions = 1001 // one more than a step erases
		for n := range sessions {
			err := s.Sessions().CommitCtx(t.Context(), fmt.Sprint("token", n), []byte("who"), clock.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
		}
		err := s.UseJTI(t.Context(), "jti", clock.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		clock.Advance(25 * time.Hour) // ids of tokens are kept a day longer than the tokens
		actor := gateway.Actor{Kind: gateway.ActorWorker, ID: "retention"}
		done, more, err := s.Retain(t.Context(), gateway.Retention{}, clock.Now(), actor)
		if err != nil || !more || len(done) != 2 {
			t.Fatalf("%+v %v %v", done, more, err)
		}
		r, err := s.Erasures(t.Context())
		if err != nil || len(r.Unproven) != 0 || r.Left["sessions"] != 1 {
			t.Fatalf("%+v %v", r, err)
		}
		done, more, err = s.Retain(t.Context(), gateway.Retention{}, clock.Now(), actor)
		if err != nil || more || len(done) != 1 || done[0].Entries != 1 {
			t.Fatalf("%+v %v %v", done, more, err)
		}
		r, err = s.Erasures(t.Context())
		if err != nil || len(r.Erasures) != 3 || len(r.Unproven) != 0 || len(r.Left) != 0 {
			t.Fatalf("%+v %v", r, err)
		}
		// A record that says less than the trail, and one the trail does not know.
		for _, change := range []string{
			`UPDATE erasures SET entries = 999 WHERE class = 'sessions' AND entries = 1000`,
			`INSERT INTO erasures (class, at, cutoff, entries, digest) VALUES ('dossiers', 1, 1, 1, '` + strings.Repeat("a", 64) + `')`,
		} {
			err = s.Write(t.Context(), change)
			if err != nil {
				t.Fatal(err)
			}
		}
		r, err = s.Erasures(t.Context())
		if err != nil || len(r.Unproven) != 3 {
			t.Fatalf("%+v %v", r, err)
		}
	})
}

func TestAnEndedDossierIsErasedWhenItsTimeIsOverWithProof(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, h home, options func() store.Options, _ *storetest.Clock) {
		storetest.Forget(t, storetest.Engine{
			Open: func(t *testing.T, now func() time.Time) gateway.Store {
				o := options()
				o.Now = now
				if o.URL != "" {
					o.Role = store.RoleWork
				}
				return open(t, o)
			},
			Contents: func(t *testing.T, s gateway.Store) string { return s.(*store.Store).Contents(t) },
		})
	})
}
