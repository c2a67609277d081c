package storetest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
)

// Forget judges how an engine forgets: it ends one request of two and waits. Its
// personal data go, with a proof, and nothing else does.
func Forget(t *testing.T, e Engine) {
	t.Helper()
	clock := NewClock()
	b := &bench{Engine: e, Store: e.Open(t, clock.Now), clock: clock, ctx: t.Context()}
	ended, open := b.create(t, 1, castello), b.create(t, 2, castello)
	told := b.notice(ended.ID, buenosAires)
	err := b.Commit(b.ctx, gateway.Change{
		ID: ended.ID, Version: 1, State: gateway.StateSubmitted, To: gateway.StateCancelled, Office: castello,
		Events: []gateway.Event{{
			Seq: 2, Type: gateway.EventCancelled, To: gateway.StateCancelled, At: b.clock.Now(),
			Data: json.RawMessage(`{}`), Private: json.RawMessage(`{"why":"moved"}`),
		}},
		Work: &gateway.Work{}, Mark: &gateway.Mark{},
		Clearances: &gateway.ClearanceChange{Tell: []gateway.Clearance{told}, Close: b.clock.Now()},
	})
	if err != nil {
		t.Fatal(err)
	}
	keep := gateway.Retention{Dossier: 30 * 24 * time.Hour}
	worker := gateway.Actor{Kind: gateway.ActorWorker, ID: "retention"}
	retain := func() []gateway.Erased {
		t.Helper()
		done, more, err := b.Retain(b.ctx, keep, b.clock.Now(), worker)
		if err != nil || more {
			t.Fatalf("more %v, %v", more, err)
		}
		return done
	}
	b.clock.Advance(30*24*time.Hour - time.Second)
	if done := retain(); len(done) != 0 {
		t.Fatalf("erased a second too early: %+v", done)
	}
	citizen := gateway.CitizenScope(ended.Applicant, "c", 2)
	if _, _, err := b.Load(b.ctx, citizen, ended.ID); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(time.Second)
	done := retain()
	if len(done) != 1 || done[0].Class != "dossiers" || done[0].Entries != 1 || len(done[0].Digest) != 64 || !done[0].Cutoff.Equal(b.clock.Now().Add(-keep.Dossier)) {
		t.Fatalf("%+v", done)
	}
	if again := retain(); len(again) != 0 {
		t.Errorf("erased twice: %+v", again)
	}
	_, _, err = b.Load(b.ctx, citizen, ended.ID)
	wantKind(t, err, gateway.NotFound, "")
	events, _, err := b.Load(b.ctx, operator(castello), ended.ID)
	if err != nil || len(events) != 2 {
		t.Fatalf("what happened is gone too: %d %v", len(events), err)
	}
	for _, e := range events {
		if len(e.Private) > 0 {
			t.Errorf("event %d still holds %s", e.Seq, e.Private)
		}
	}
	if n, err := b.Clearance(b.ctx, operator(buenosAires), told.ID); err != nil || n.Subject != (gateway.ClearanceSubject{}) || n.ToldAt.IsZero() {
		t.Errorf("the notice still names somebody: %+v %v", n, err)
	}
	for _, q := range []gateway.Criteria{{FiscalCode: ended.Applicant}, {Surname: ended.Surname}} {
		rows, err := b.Find(b.ctx, operator(castello), q)
		if err != nil || slices.ContainsFunc(rows, func(r gateway.Row) bool { return r.ID == ended.ID }) {
			t.Errorf("still found by %+v: %v", q, err)
		}
	}
	wantKind(t, b.Track(b.ctx, ended.ID, ended.Tracker), gateway.NotFound, "")
	events, _, err = b.Load(b.ctx, gateway.CitizenScope(open.Applicant, "c", 2), open.ID)
	if err != nil || len(events) != 1 || len(events[0].Private) == 0 {
		t.Errorf("an open request was touched: %+v %v", events, err)
	}
	// The person may ask again, and the erased request does not stand in the way.
	again := b.request(3, castello)
	again.Applicant, again.Persons = ended.Applicant, ended.Persons
	if _, created, err := b.Create(b.ctx, again); err != nil || !created {
		t.Errorf("%v %v", created, err)
	}
	if b.Contents != nil {
		if c := b.Contents(t, b.Store); strings.Count(c, done[0].Digest) != 2 {
			t.Errorf("the proof is not in both places:\n%s", c)
		}
	}
}
