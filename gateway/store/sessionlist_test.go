package store_test

import (
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store/storetest"
)

func TestAPersonSeesAndEndsTheOwnSessions(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	s := open(t, newHome(t).options(clock.Now))
	note := func(id, owner, follows string) {
		t.Helper()
		err := s.NoteSession(t.Context(), gateway.SessionNote{
			ID: id, Owner: owner, StartedAt: clock.Now(), ExpiresAt: clock.Now().Add(time.Hour), Level: 2, Browser: "Firefox", Login: "L-" + id,
		}, follows)
		if err != nil {
			t.Fatal(err)
		}
	}
	open := func(owner string, want ...string) {
		t.Helper()
		list, err := s.SessionsOf(t.Context(), owner)
		if err != nil || len(list) != len(want) {
			t.Fatalf("%s: %+v %v", owner, list, err)
		}
		for i, n := range list {
			if n.ID != want[i] || n.Browser != "Firefox" || n.Level != 2 || n.Login != "L-"+n.ID || n.Owner != owner {
				t.Errorf("%s: %+v", owner, n)
			}
		}
	}
	note("a", "citizen 1", "")
	clock.Advance(time.Minute)
	note("b", "citizen 1", "")
	note("c", "citizen 2", "")
	open("citizen 1", "b", "a")
	// Another person's session is not theirs to end.
	if err := s.EndSession(t.Context(), "citizen 1", "c"); gateway.KindOf(err) != gateway.NotFound {
		t.Fatalf("%v", err)
	}
	if err := s.EndSession(t.Context(), "citizen 1", "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.EndSession(t.Context(), "citizen 1", "a"); gateway.KindOf(err) != gateway.NotFound {
		t.Fatalf("ended twice: %v", err)
	}
	open("citizen 1", "b")
	// A session that follows another takes its place.
	clock.Advance(time.Minute)
	note("d", "citizen 1", "b")
	open("citizen 1", "d")
	for id, want := range map[string]bool{"a": false, "b": false, "c": true, "d": true, "unknown": false} {
		if live, err := s.SessionOpen(t.Context(), id); err != nil || live != want {
			t.Errorf("%s: %t %v", id, live, err)
		}
	}
	if err := s.KeepSession(t.Context(), "d", clock.Now().Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	clock.Advance(2 * time.Hour)
	open("citizen 2")
	open("citizen 1", "d")
	if _, _, err := s.Retain(t.Context(), gateway.Retention{}, clock.Now(), gateway.Actor{}); err != nil {
		t.Fatal(err)
	}
	if live, err := s.SessionOpen(t.Context(), "c"); err != nil || live {
		t.Errorf("after the purge: %t %v", live, err)
	}
}
