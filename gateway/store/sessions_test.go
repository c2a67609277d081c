package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/gateway/store/storetest"
)

var _ scs.CtxStore = (*store.Sessions)(nil)

func TestASessionLivesUntilItExpiresOrEnds(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	s := open(t, newHome(t).options(clock.Now))
	x := s.Sessions()
	has := func(token, want string) {
		t.Helper()
		data, found, err := x.FindCtx(t.Context(), token)
		if err != nil || found != (want != "-") || (found && string(data) != want) {
			t.Fatalf("%s: %q %v %v", token, data, found, err)
		}
	}
	expiry := clock.Now().Add(time.Hour)
	for token, data := range map[string]string{"a": "one", "b": "two", "e": ""} {
		err := x.CommitCtx(t.Context(), token, []byte(data), expiry)
		if err != nil {
			t.Fatal(err)
		}
		has(token, data)
	}
	err := x.CommitCtx(t.Context(), "a", []byte("three"), expiry.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	has("a", "three")
	has("unknown", "-")
	err = x.DeleteCtx(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	err = x.Delete("b") // no error twice
	if err != nil {
		t.Fatal(err)
	}
	has("b", "-")
	clock.Advance(time.Hour)
	has("e", "-")
	has("a", "three")
	done, _, err := s.Retain(t.Context(), gateway.Retention{}, clock.Now(), gateway.Actor{})
	if err != nil || len(done) != 1 || done[0].Class != "sessions" || done[0].Entries != 1 {
		t.Fatalf("%+v %v", done, err)
	}
}

func TestATokenIdIsUsedOnce(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	h := newHome(t)
	s := open(t, h.options(clock.Now))
	expires := clock.Now().Add(time.Minute)
	results := make(chan error, 16)
	for range 16 {
		go func() { results <- s.UseJTI(t.Context(), "client\njti-1", expires) }()
	}
	won := 0
	for range 16 {
		err := <-results
		if err == nil {
			won++
			continue
		}
		wantCode(t, err, gateway.Conflict, "jti_used")
	}
	if won != 1 {
		t.Fatalf("used %d times", won)
	}
	again := open(t, crashImage(t, h).options(clock.Now))
	wantCode(t, again.UseJTI(t.Context(), "client\njti-1", expires), gateway.Conflict, "jti_used")
	if err := again.UseJTI(t.Context(), "client\njti-2", expires); err != nil {
		t.Fatal(err)
	}
	wantCode(t, again.UseJTI(t.Context(), "", expires), gateway.Invalid, "jti_missing")
}

func TestAClientIsBoundToItsOfficeAndRevokedForGood(t *testing.T) {
	t.Parallel()
	s := open(t, newHome(t).options(atNoon))
	_, err := s.Client(t.Context(), "c1")
	wantCode(t, err, gateway.NotFound, "not_found")
	c := store.Client{ID: "c1", Office: castello, JWKS: []byte(`{"keys":[]}`)}
	err = s.PutClient(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.JWKS = []byte(`{"keys":[1]}`)
	err = s.PutClient(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Client(t.Context(), "c1")
	if err != nil || got.Office != castello || !strings.Contains(string(got.JWKS), "1") || got.Revoked {
		t.Fatalf("%+v %v", got, err)
	}
	moved := c
	moved.Office = gateway.Office{Kind: gateway.OfficePost, Code: "ar-buenos-aires"}
	wantCode(t, s.PutClient(t.Context(), moved), gateway.Conflict, "client_office")
	wantCode(t, s.PutClient(t.Context(), store.Client{ID: "c2", JWKS: []byte(`{}`)}), gateway.Invalid, "client_invalid")
	err = s.RevokeClient(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	err = s.PutClient(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	got, err = s.Client(t.Context(), "c1")
	if err != nil || !got.Revoked {
		t.Fatalf("new keys un-revoked it: %+v %v", got, err)
	}
	configured := store.Client{ID: "c3", Office: castello, JWKS: []byte(`{}`)}
	for _, revoked := range []bool{false, true, false} {
		configured.Revoked = revoked
		err = s.PutClient(t.Context(), configured)
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err = s.Client(t.Context(), "c3")
	if err != nil || !got.Revoked {
		t.Fatalf("the configuration's word did not stay: %+v %v", got, err)
	}
	wantCode(t, s.RevokeClient(t.Context(), "absent"), gateway.NotFound, "not_found")
}

func TestARevokedOperatorStaysRevokedUntilReinstated(t *testing.T) {
	t.Parallel()
	s := open(t, newHome(t).options(atNoon))
	is := func(want bool) {
		t.Helper()
		at, got, err := s.Revoked(t.Context(), "operator", "op-1")
		if err != nil || got != want || (got && !at.Equal(noon)) {
			t.Fatalf("%v %v %v", at, got, err)
		}
	}
	is(false)
	for range 2 {
		err := s.Revoke(t.Context(), "operator", "op-1")
		if err != nil {
			t.Fatal(err)
		}
	}
	is(true)
	err := s.Reinstate(t.Context(), "operator", "op-1")
	if err != nil {
		t.Fatal(err)
	}
	is(false)
}
