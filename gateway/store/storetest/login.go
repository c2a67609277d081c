package storetest

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/login"
)

// logins answers the login side of the store under test.
func (b *bench) logins(t *testing.T) interface {
	login.Store
	login.Cards
} {
	t.Helper()
	s, ok := b.Store.(interface {
		login.Store
		login.Cards
	})
	if !ok {
		t.Fatal("the store keeps no logins")
	}
	return s
}

func (b *bench) attempt(reference, state string) login.Attempt {
	now := b.clock.Now()
	return login.Attempt{
		Reference: reference, Door: login.DoorCitizen, State: state, CreatedAt: now, ExpiresAt: now.Add(30 * time.Minute),
		Secrets: login.AttemptSecrets{Binding: "b", Issuer: "https://op.example.test", Nonce: "n-" + state, Verifier: "v-" + state, Level: login.Level2, ReturnTo: "/x", Lang: "it"},
	}
}

func record(kind login.RecordKind, at time.Time, content string) login.Record {
	return login.Record{Kind: kind, At: at, Content: json.RawMessage(content), Shared: kind == login.RecordTrustChain}
}

func attemptsSpent(t *testing.T, b *bench) {
	t.Helper()
	s := b.logins(t)
	a := b.attempt("AAAA-1", "state-1")
	must(t, s.BeginLogin(b.ctx, a, record(login.RecordTrustChain, b.clock.Now(), `["c"]`), record(login.RecordAuthenticationRequest, b.clock.Now(), `{"url":"u"}`)))
	must(t, s.BeginLogin(b.ctx, b.attempt("AAAA-2", "state-2"), record(login.RecordTrustChain, b.clock.Now(), `["c"]`)))
	_, err := s.TakeLogin(b.ctx, login.DoorCitizen, "state-9", b.clock.Now())
	wantKind(t, err, gateway.NotFound, "login_attempt_unknown")
	_, err = s.TakeLogin(b.ctx, login.DoorOperator, "state-1", b.clock.Now())
	wantKind(t, err, gateway.NotFound, "login_attempt_unknown")

	// Of many tabs that bring the same answer one gets the attempt.
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			got, err := s.TakeLogin(b.ctx, login.DoorCitizen, "state-1", b.clock.Now())
			switch {
			case err == nil:
				won.Add(1)
				if got != a {
					t.Errorf("handed out %+v, stored %+v", got, a)
				}
			case gateway.CodeOf(err) != "login_attempt_used" || got.Reference != a.Reference:
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d tabs got the attempt", won.Load())
	}
	again := b.Crash(t, b.Store).(login.Store)
	_, err = again.TakeLogin(b.ctx, login.DoorCitizen, "state-1", b.clock.Now())
	wantKind(t, err, gateway.Conflict, "login_attempt_used")
	got, err := again.TakeLogin(b.ctx, login.DoorCitizen, "state-2", b.clock.Now())
	if err != nil || got.Secrets.Nonce != "n-state-2" {
		t.Errorf("an attempt did not survive the kill: %+v, %v", got, err)
	}
}

func loginsComplete(t *testing.T, b *bench) {
	t.Helper()
	s := b.logins(t)
	now := b.clock.Now()
	done := func(reference, jti string) login.Completed {
		return login.Completed{
			Reference: reference, Once: []string{jti}, OnceUntil: now.Add(time.Minute),
			Token:   &login.HeldToken{Login: reference, Token: "token of " + reference, ExpiresAt: now.Add(15 * time.Minute)},
			Records: []login.Record{record(login.RecordOutcome, now, `{}`)},
			Audit:   []gateway.AuditEntry{{At: now, Actor: gateway.Actor{Kind: gateway.ActorCitizen, ID: "c"}, Act: "login", Subject: reference}},
		}
	}
	must(t, s.CompleteLogin(b.ctx, done("BBBB-1", "jti-1")))
	before := b.Contents(t, b.Store)
	wantKind(t, s.CompleteLogin(b.ctx, done("BBBB-2", "jti-1")), gateway.Conflict, "jti_used")
	if b.Contents(t, b.Store) != before {
		t.Error("a replayed token left something behind")
	}
	must(t, s.CompleteLogin(b.ctx, done("BBBB-2", "jti-2")))

	due, err := s.RevokeDue(b.ctx, now, 10)
	if err != nil || len(due) != 0 {
		t.Errorf("nobody left, and %v are to be revoked: %v", due, err)
	}
	_, found, err := s.WantRevoked(b.ctx, "nobody")
	if err != nil || found {
		t.Errorf("a token of nobody: %v", err)
	}
	for _, reference := range []string{"BBBB-1", "BBBB-2", "BBBB-2"} {
		b.clock.Advance(time.Second)
		token, found, err := s.WantRevoked(b.ctx, reference)
		if err != nil || !found || token.Token != "token of "+reference || !token.ExpiresAt.Equal(now.Add(15*time.Minute)) {
			t.Errorf("%+v %v %v", token, found, err)
		}
	}
	again := b.Crash(t, b.Store).(login.Store)
	due, err = again.RevokeDue(b.ctx, now, 10)
	if err != nil || len(due) != 2 || due[0].Login != "BBBB-1" || due[1].Token != "token of BBBB-2" {
		t.Errorf("after a kill %+v are due, %v", due, err)
	}
	must(t, again.ForgetToken(b.ctx, "BBBB-1", record(login.RecordRevocationResponse, now, `{"status":200}`)))
	due, err = again.RevokeDue(b.ctx, now, 10)
	if err != nil || len(due) != 1 || due[0].Login != "BBBB-2" {
		t.Errorf("%+v are due, %v", due, err)
	}
	if _, found, err = again.WantRevoked(b.ctx, "BBBB-1"); found || err != nil {
		t.Errorf("a revoked token is still there: %v", err)
	}
	if due, err = again.RevokeDue(b.ctx, now.Add(15*time.Minute), 10); err != nil || len(due) != 0 {
		t.Errorf("a token that ended is to be revoked: %+v, %v", due, err)
	}
}

// abandonedTokensWait: the token of a login that failed waits at once, of one
// that was stored all the same too.
func abandonedTokensWait(t *testing.T, b *bench) {
	t.Helper()
	s := b.logins(t)
	now := b.clock.Now()
	held := func(reference string) login.HeldToken {
		return login.HeldToken{Login: reference, Token: "token of " + reference, ExpiresAt: now.Add(time.Hour)}
	}
	stored := held("EEEE-2")
	must(t, s.CompleteLogin(b.ctx, login.Completed{Reference: "EEEE-2", Token: &stored, Records: []login.Record{record(login.RecordOutcome, now, `{}`)}}))
	must(t, s.AbandonToken(b.ctx, held("EEEE-1"), now))
	must(t, s.AbandonToken(b.ctx, login.HeldToken{Login: "EEEE-2", Token: "another", ExpiresAt: now.Add(time.Minute)}, now.Add(time.Second)))
	due, err := b.Crash(t, b.Store).(login.Store).RevokeDue(b.ctx, now, 10)
	if err != nil || len(due) != 2 || due[0].Login != "EEEE-1" || due[0].Token != "token of EEEE-1" || !due[0].ExpiresAt.Equal(now.Add(time.Hour)) || due[1].Token != "token of EEEE-2" {
		t.Errorf("after a kill %+v are due, %v", due, err)
	}
}

func cardsMove(t *testing.T, b *bench) {
	t.Helper()
	s := b.logins(t)
	now := b.clock.Now()
	print := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	card := login.Card{Fingerprint: print, Operator: "op-1", Office: castello, State: login.CardIssued, NotAfter: now.AddDate(3, 0, 0), IssuedAt: now}
	entry := gateway.AuditEntry{At: now, Actor: gateway.Actor{Kind: gateway.ActorOperator, ID: "x", Office: castello}, Act: "card_issued", Subject: print}
	must(t, s.PutCard(b.ctx, card, entry))
	wantKind(t, s.PutCard(b.ctx, card, entry), gateway.Conflict, "login_card_known")
	got, err := s.Card(b.ctx, print)
	if err != nil || got != card {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = s.Card(b.ctx, "f"+print[1:])
	wantKind(t, err, gateway.NotFound, "not_found")
	wantKind(t, s.MoveCard(b.ctx, buenosAires, print, login.CardIssued, login.CardActive, now), gateway.NotFound, "not_found")
	wantKind(t, s.MoveCard(b.ctx, castello, print, login.CardActive, login.CardRevoked, now), gateway.Conflict, "login_card_state")
	must(t, s.MoveCard(b.ctx, castello, print, login.CardIssued, login.CardActive, now.Add(time.Hour), entry))
	must(t, s.MoveCard(b.ctx, castello, print, login.CardActive, login.CardRevoked, now.Add(2*time.Hour), entry))
	wantKind(t, s.MoveCard(b.ctx, castello, print, login.CardRevoked, login.CardActive, now), gateway.Conflict, "login_card_state")
	cards, err := s.CardsOf(b.ctx, castello)
	if err != nil || len(cards) != 1 || cards[0].State != login.CardRevoked || !cards[0].ActivatedAt.Equal(now.Add(time.Hour)) || !cards[0].RevokedAt.Equal(now.Add(2*time.Hour)) {
		t.Errorf("%+v, %v", cards, err)
	}
	if cards, err = s.CardsOf(b.ctx, buenosAires); err != nil || len(cards) != 0 {
		t.Errorf("another office sees %+v, %v", cards, err)
	}
}
