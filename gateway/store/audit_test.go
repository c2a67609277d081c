package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/gateway/store/storetest"
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
// tamperings is how often the trail is damaged on each engine.
const tamperings = 1000

func TestEachOfAThousandTamperingsIsNamed(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, h home, options func() store.Options, _ *storetest.Clock) {
		s := open(t, options())
		const requests = 25 // two entries each: event and payload
		for i := range requests {
			fill(t, s, i, i+1)
			if i%10 == 9 {
				_, err := s.Seal(t.Context())
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		_, err := s.Seal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		db := s.Tamper(t)
		rnd := rand.New(rand.NewPCG(26, 11))
		entries := trailRows(t, db)
		for i := range tamperings {
			victim, other := &entries[rnd.IntN(len(entries))], &entries[rnd.IntN(len(entries))]
			want, what, undo := damage(t, db, rnd, i%5, victim, other)
			r, err := s.VerifyAudit(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Bad == nil || r.Bad.Entry != want {
				t.Fatalf("%d: %s: want entry %d, got %+v", i, what, want, r.Bad)
			}
			undo()
		}
		r, err := s.VerifyAudit(t.Context())
		if err != nil || !r.OK() || r.Entries != 2*requests {
			t.Fatalf("the honest trail again: %+v %v", r.Bad, err)
		}
	})
}

// trailRow is an audit entry as it lies in the database.
type trailRow struct {
	id, at, seq                          int64
	office, actor, act, subject, content string
	payload                              string
}

func trailRows(t *testing.T, db *sql.DB) []trailRow {
	t.Helper()
	rows, err := db.Query(`SELECT a.id, a.at, a.office_id, a.actor, a.act, a.subject, a.event_seq, a.content_digest, COALESCE(p.payload, '')
FROM audit_entries a LEFT JOIN audit_payloads p ON p.entry_id = a.id ORDER BY a.id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []trailRow
	for rows.Next() {
		var r trailRow
		err = rows.Scan(&r.id, &r.at, &r.office, &r.actor, &r.act, &r.subject, &r.seq, &r.content, &r.payload)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if rows.Err() != nil || len(all) < 50 {
		t.Fatalf("%d entries, %v", len(all), rows.Err())
	}
	return all
}

// damage flips a bit, drops or swaps, and answers the id of the first entry that
// is wrong then, and how to put it right.
func damage(t *testing.T, db *sql.DB, rnd *rand.Rand, how int, v, o *trailRow) (want int64, what string, undo func()) {
	t.Helper()
	flip := func(text string) string {
		b := []byte(text + " ")
		b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(7)
		// PostgreSQL holds no NUL, which a flip of 0x40 or 0x20 may make.
		return strings.ReplaceAll(string(b), "\x00", "\x01")
	}
	insert := func(r *trailRow) {
		change(t, db, `INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, r.id, r.at, r.office, r.actor, r.act, r.subject, r.seq, r.content)
	}
	drop := func(r *trailRow) { change(t, db, `DELETE FROM audit_entries WHERE id = $1`, r.id) }
	switch {
	case how == 0:
		columns := map[string]string{"office_id": v.office, "actor": v.actor, "act": v.act, "subject": v.subject, "content_digest": v.content}
		names := slices.Sorted(maps.Keys(columns))
		name := names[rnd.IntN(len(names))]
		change(t, db, `UPDATE audit_entries SET `+name+` = $1 WHERE id = $2`, flip(columns[name]), v.id)
		return v.id, fmt.Sprintf("flip in %s of %d", name, v.id), func() {
			change(t, db, `UPDATE audit_entries SET `+name+` = $1 WHERE id = $2`, columns[name], v.id)
		}
	case how == 1:
		bit := int64(1) << rnd.IntN(50)
		change(t, db, `UPDATE audit_entries SET at = $1 WHERE id = $2`, v.at^bit, v.id)
		return v.id, fmt.Sprintf("flip in at of %d", v.id), func() { change(t, db, `UPDATE audit_entries SET at = $1 WHERE id = $2`, v.at, v.id) }
	case how == 2 && v.payload != "":
		change(t, db, `UPDATE audit_payloads SET payload = $1 WHERE entry_id = $2`, flip(v.payload), v.id)
		return v.id, fmt.Sprintf("flip in the payload of %d", v.id), func() {
			change(t, db, `UPDATE audit_payloads SET payload = $1 WHERE entry_id = $2`, v.payload, v.id)
		}
	case how == 3 && v.id != o.id:
		a, b := *v, *o
		a.id, b.id = o.id, v.id
		drop(v)
		drop(o)
		insert(&a)
		insert(&b)
		return min(v.id, o.id), fmt.Sprintf("swap %d, %d", v.id, o.id), func() {
			drop(v)
			drop(o)
			insert(v)
			insert(o)
		}
	}
	drop(v)
	return v.id, fmt.Sprintf("drop %d", v.id), func() { insert(v) }
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
