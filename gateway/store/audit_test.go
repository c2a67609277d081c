package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
)

// trail answers a closed database with a sealed trail of several blocks: 2
// entries a request (event and payload), ids from 1 to 2n.
func trail(t testing.TB, n int) home {
	t.Helper()
	h := newHome(t)
	s := open(t, h.options(atNoon))
	for i := range n {
		fill(t, s, i, i+1)
		if i%10 == 9 {
			_, err := s.Seal(context.Background())
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	err := s.Close()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func verify(t testing.TB, h home) store.Report {
	t.Helper()
	o := h.options(atNoon)
	o.ReadOnly = true
	s := open(t, o)
	r, err := s.VerifyAudit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func copyHome(t testing.TB, h home) home {
	t.Helper()
	c := newHome(t)
	copyTo(t, c.path(), h.path())
	copyTo(t, c.keys(), h.keys())
	return c
}

func change(t testing.TB, db *sql.DB, text string, args ...any) {
	t.Helper()
	r, err := db.Exec(text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	n, err := r.RowsAffected()
	if err != nil || n == 0 {
		t.Fatalf("%s changed nothing: %v", text, err)
	}
}

func TestAnHonestTrailVerifies(t *testing.T) {
	t.Parallel()
	h := trail(t, 25)
	r := verify(t, h)
	if !r.OK() || r.Entries != 50 || r.Sealed != 50 || r.Unsealed != 0 || r.Blocks != 3 || len(r.Head) != 64 {
		t.Fatalf("%+v %+v", r, r.Bad)
	}
}

func TestTheUnsealedTailIsReported(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	s := open(t, h.options(atNoon))
	fill(t, s, 0, 3)
	c, err := s.Counts(t.Context(), noon)
	if err != nil || c.Unsealed != 6 {
		t.Fatalf("%+v %v", c, err)
	}
	if r := verify(t, h); !r.OK() || r.Unsealed != 6 || r.Head != "" {
		t.Fatalf("%+v", r)
	}
	n, err := s.Seal(t.Context())
	if err != nil || n != 6 {
		t.Fatalf("%d %v", n, err)
	}
	fill(t, s, 3, 4)
	if r := verify(t, h); !r.OK() || r.Sealed != 6 || r.Unsealed != 2 {
		t.Fatalf("%+v", r)
	}
}

func TestTheSealerChainsOnItsOwn(t *testing.T) {
	t.Parallel()
	o := newHome(t).options(time.Now)
	o.SealEvery = time.Millisecond
	s := open(t, o)
	fill(t, s, 0, 3)
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := s.Counts(t.Context(), noon)
		if err != nil {
			t.Fatal(err)
		}
		if c.Unsealed == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d entries unsealed", c.Unsealed)
		}
	}
}

func TestTamperingIsNamed(t *testing.T) {
	t.Parallel()
	h := trail(t, 25)
	for name, c := range map[string]struct {
		text []string
		want store.BadRow
	}{
		"a changed act":   {[]string{`UPDATE audit_entries SET act = 'nothing' WHERE id = 8`}, store.BadRow{Entry: 8, Block: 1, Subject: "R26-000003", What: store.BadChanged}},
		"a changed time":  {[]string{`UPDATE audit_entries SET at = at + 1 WHERE id = 31`}, store.BadRow{Entry: 31, Block: 2, Subject: "R26-000015", What: store.BadChanged}},
		"a changed actor": {[]string{`UPDATE audit_entries SET actor = replace(actor, 'citizen', 'worker') WHERE id = 7`}, store.BadRow{Entry: 7, Block: 1, Subject: "R26-000003", What: store.BadChanged}},
		"a dropped row":   {[]string{`DELETE FROM audit_entries WHERE id = 24`}, store.BadRow{Entry: 24, Block: 2, What: store.BadMissing}},
		"the last row dropped": {
			[]string{`DELETE FROM audit_entries WHERE id = 50`}, store.BadRow{Entry: 50, Block: 3, What: store.BadMissing},
		},
		"two rows swapped": {[]string{
			`UPDATE audit_entries SET id = 1000 WHERE id = 4`, `UPDATE audit_entries SET id = 4 WHERE id = 12`, `UPDATE audit_entries SET id = 12 WHERE id = 1000`,
		}, store.BadRow{Entry: 4, Block: 1, Subject: "R26-000005", What: store.BadSwapped}},
		"a row slipped in": {[]string{
			`UPDATE audit_entries SET id = 1000 WHERE id = 50`,
		}, store.BadRow{Entry: 50, Block: 3, What: store.BadMissing}},
		"a changed payload": {[]string{`UPDATE audit_payloads SET payload = '{}' WHERE entry_id = 10`}, store.BadRow{Entry: 10, Block: 1, Subject: "R26-000004", What: store.BadPayload}},
		"a dropped payload": {[]string{`DELETE FROM audit_payloads WHERE entry_id = 10`}, store.BadRow{Entry: 10, Block: 1, Subject: "R26-000004", What: store.BadPayload}},
		"a changed event":   {[]string{`UPDATE events SET data = '{"forged":1}' WHERE request_id = 'R26-000012'`}, store.BadRow{Entry: 25, Block: 2, Subject: "R26-000012", What: store.BadEvent}},
		"a changed private side": {
			[]string{`UPDATE events SET private = zeroblob(length(private)) WHERE request_id = 'R26-000012'`},
			store.BadRow{Entry: 25, Block: 2, Subject: "R26-000012", What: store.BadPrivate},
		},
		"a private side of another row": {
			[]string{`UPDATE events SET private = (SELECT private FROM events WHERE request_id = 'R26-000001') WHERE request_id = 'R26-000012'`},
			store.BadRow{Entry: 25, Block: 2, Subject: "R26-000012", What: store.BadPrivate},
		},
		"a private side erased without a word": {
			[]string{`UPDATE events SET private = NULL, key_id = '' WHERE request_id = 'R26-000012'`},
			store.BadRow{Entry: 25, Block: 2, Subject: "R26-000012", What: store.BadPrivate},
		},
		"a dropped event": {[]string{`DELETE FROM events WHERE request_id = 'R26-000012'`}, store.BadRow{Entry: 25, Block: 2, Subject: "R26-000012", What: store.BadEvent}},
		"a slipped in event": {
			[]string{`INSERT INTO events (request_id, seq, type, to_state, at, actor) VALUES ('R26-000012', 2, 'decided', 'submitted', 1, '{}')`},
			store.BadRow{Subject: "R26-000012", What: store.BadOrphan},
		},
		"a dropped block":     {[]string{`DELETE FROM audit_blocks WHERE block_no = 2`}, store.BadRow{Entry: 21, Block: 2, What: store.BadGap}},
		"a changed head":      {[]string{`UPDATE audit_blocks SET head = replace(head, substr(head, 1, 1), 'x') WHERE block_no = 2`}, store.BadRow{Block: 2, What: store.BadBlock}},
		"a chain made anew":   {[]string{`UPDATE audit_blocks SET mac = '` + strings.Repeat("0", 64) + `' WHERE block_no = 1`}, store.BadRow{Block: 1, What: store.BadBlock}},
		"a block sealed late": {[]string{`UPDATE audit_blocks SET sealed_at = sealed_at + 1 WHERE block_no = 3`}, store.BadRow{Block: 3, What: store.BadBlock}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forged := copyHome(t, h)
			db := raw(t, forged.path())
			for _, text := range c.text {
				change(t, db, text)
			}
			r := verify(t, forged)
			if r.Bad == nil || *r.Bad != c.want {
				t.Fatalf("got %+v, want %+v", r.Bad, c.want)
			}
		})
	}
}

// TestRandomTamperingIsNamed flips, drops and swaps at random; the seed is
// fixed, so that a failure repeats.
func TestRandomTamperingIsNamed(t *testing.T) {
	t.Parallel()
	h := copyHome(t, trail(t, 25))
	db := raw(t, h.path())
	db.SetMaxOpenConns(1)
	o := h.options(atNoon)
	o.ReadOnly = true
	s := open(t, o)
	rnd := rand.New(rand.NewPCG(26, 11))
	columns := []string{"office_id", "actor", "act", "subject", "content_digest"}
	for i := range 60 {
		victim, other := 1+rnd.IntN(50), 1+rnd.IntN(50)
		column := columns[rnd.IntN(len(columns))]
		_, err := db.Exec(`CREATE TABLE saved AS SELECT * FROM audit_entries`)
		if err != nil {
			t.Fatal(err)
		}
		want := victim
		what := fmt.Sprintf("flip in %s of %d", column, victim)
		switch i % 3 {
		case 0:
			var text string
			err := db.QueryRow(`SELECT `+column+` FROM audit_entries WHERE id = $1`, victim).Scan(&text)
			if err != nil {
				t.Fatal(err)
			}
			flipped := []byte(text + " ")
			flipped[rnd.IntN(len(flipped))] ^= 1 << rnd.IntN(7)
			change(t, db, `UPDATE audit_entries SET `+column+` = $1 WHERE id = $2`, string(flipped), victim)
		case 1:
			what = fmt.Sprintf("drop %d", victim)
			change(t, db, `DELETE FROM audit_entries WHERE id = $1`, victim)
		case 2:
			if other == victim {
				other = victim%50 + 1
			}
			want = min(victim, other)
			what = fmt.Sprintf("swap %d, %d", victim, other)
			change(t, db, `UPDATE audit_entries SET id = 1000 WHERE id = $1`, victim)
			change(t, db, `UPDATE audit_entries SET id = $1 WHERE id = $2`, victim, other)
			change(t, db, `UPDATE audit_entries SET id = $1 WHERE id = 1000`, other)
		}
		r, err := s.VerifyAudit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Bad == nil || r.Bad.Entry != int64(want) {
			t.Fatalf("%s: got %+v", what, r.Bad)
		}
		change(t, db, `DELETE FROM audit_entries`)
		change(t, db, `INSERT INTO audit_entries SELECT * FROM saved`)
		_, err = db.Exec(`DROP TABLE saved`)
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.VerifyAudit(t.Context())
	if err != nil || !r.OK() {
		t.Fatalf("the honest trail again: %+v %v", r.Bad, err)
	}
}

func TestAnErasedPayloadLeavesTheChainWhole(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	s := open(t, h.options(atNoon))
	fill(t, s, 0, 4)
	_, err := s.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept := gateway.Retention{Audit: time.Hour}
	done, _, err := s.Retain(t.Context(), kept, noon.Add(time.Hour), gateway.Actor{Kind: gateway.ActorWorker, ID: "retention"})
	if err != nil || len(done) != 1 || done[0].Class != "audit_payloads" || done[0].Entries != 4 {
		t.Fatalf("%+v %v", done, err)
	}
	if r := verify(t, h); !r.OK() || r.Erased != 4 {
		t.Fatalf("%+v %+v", r, r.Bad)
	}
	if strings.Contains(s.Contents(t), `{"n":`) {
		t.Error("a payload is still there")
	}
}

func TestEveryEventHasItsLineInTheTrail(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	s := open(t, h.options(atNoon))
	fill(t, s, 0, 1)
	err := s.Commit(t.Context(), gateway.Change{
		ID: "R26-000000", Version: 1, State: gateway.StateSubmitted, To: gateway.StatePrechecked, Office: castello,
		Events: []gateway.Event{
			{Seq: 2, Type: gateway.EventChecked, To: gateway.StateSubmitted, At: noon},
			{Seq: 3, Type: gateway.EventAligned, To: gateway.StatePrechecked, At: noon},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, act := range []string{"submitted", "checked", "aligned"} {
		if !strings.Contains(s.Contents(t), " act="+act+" subject=R26-000000") {
			t.Errorf("no line for %s", act)
		}
	}
	if r := verify(t, h); !r.OK() || r.Entries != 4 {
		t.Fatalf("%+v %+v", r, r.Bad)
	}
}
