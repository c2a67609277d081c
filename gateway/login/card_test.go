package login_test

import (
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/login"
	"airegw/testharness/opsim"
	"airegw/testharness/sim"
)

// deck is operators with cards and no provider that is asked.
func deck(t *testing.T) (*login.Operators, *watched, *sim.ManualClock) {
	t.Helper()
	clock := sim.NewManual(start)
	s := common(t)
	o, err := login.NewOperators(login.OperatorsConfig{
		Providers: []login.OperatorProvider{{
			Name: "interno", Issuer: "https://op.example.test", ClientID: "c", Secret: "s", Client: client(t, clock.Now),
			Offices: []gateway.Office{{Kind: gateway.OfficeComune, Code: "054013"}}, Roles: map[string]gateway.Role{"operator": gateway.RoleClerk},
		}},
		RedirectURI: "https://gw.example.test/cb", Store: s, Cards: s, Clock: clock.Now, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	return o, s, clock
}

// certificate is one as a handshake has verified it; only what is looked at is there.
func certificate(name string) *x509.Certificate {
	return &x509.Certificate{Raw: []byte(name), NotBefore: start.Add(-time.Hour), NotAfter: start.AddDate(3, 0, 0)}
}

func TestACardOpensForItsHolderWhileItIsActive(t *testing.T) {
	t.Parallel()
	o, s, clock := deck(t)
	office := gateway.Office{Kind: gateway.OfficeComune, Code: "054013"}
	other := gateway.Office{Kind: gateway.OfficePost, Code: "ar-buenos-aires"}
	referent := gateway.Actor{Kind: gateway.ActorOperator, ID: "op:referent", Office: office, Role: gateway.RoleReferent}
	clerk := gateway.Actor{Kind: gateway.ActorOperator, ID: "op:clerk", Office: office, Role: gateway.RoleClerk}
	elsewhere, colleague := clerk, clerk
	elsewhere.Office, colleague.ID = other, "op:colleague"
	held := certificate("card of the clerk")
	chain := []*x509.Certificate{held}
	step := func(who gateway.Actor, chain []*x509.Certificate, want login.Code) {
		t.Helper()
		c, err := o.StepUp(t.Context(), who, chain)
		if login.CodeOf(err) != want || (want == "") != (c.State == login.CardActive) {
			t.Errorf("%q, want %q (%+v)", login.CodeOf(err), want, c)
		}
	}
	step(clerk, nil, login.CodeCardMissing)
	step(clerk, chain, login.CodeCardUnknown)
	card, err := o.IssueCard(t.Context(), referent, clerk.ID, held)
	if err != nil || card.State != login.CardIssued || card.Fingerprint != login.Fingerprint(held) {
		t.Fatalf("%+v %v", card, err)
	}
	if _, err := o.IssueCard(t.Context(), referent, colleague.ID, held); login.CodeOf(err) != login.CodeCardState {
		t.Errorf("a card issued twice: %v", err)
	}
	step(clerk, chain, login.CodeCardNotActive)
	stranger := referent
	stranger.Office = other
	if err := o.ActivateCard(t.Context(), stranger, card.Fingerprint); login.CodeOf(err) != login.CodeCardUnknown {
		t.Errorf("another office activates: %v", err)
	}
	if err := o.ActivateCard(t.Context(), referent, card.Fingerprint); err != nil {
		t.Fatal(err)
	}
	step(clerk, chain, "")
	step(colleague, chain, login.CodeCardOther)
	step(elsewhere, chain, login.CodeCardOther)
	short := certificate("a card that ends soon")
	short.NotAfter = start.Add(time.Hour)
	if _, err := o.IssueCard(t.Context(), referent, clerk.ID, short); err != nil {
		t.Fatal(err)
	}
	if err := o.ActivateCard(t.Context(), referent, login.Fingerprint(short)); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Hour)
	step(clerk, []*x509.Certificate{short}, login.CodeCardExpired)
	step(clerk, chain, "")
	if err := o.RevokeCard(t.Context(), referent, card.Fingerprint); err != nil {
		t.Fatal(err)
	}
	step(clerk, chain, login.CodeCardRevoked)
	if err := o.ActivateCard(t.Context(), referent, card.Fingerprint); login.CodeOf(err) != login.CodeCardState {
		t.Errorf("a revoked card is active again: %v", err)
	}
	if opened, refused := len(s.audit("card_step_up")), len(s.audit("card_refused")); opened != 2 || refused != 7 {
		t.Errorf("%d openings and %d refusals are audited", opened, refused)
	}
}

func TestAnOperatorsTokenWithAStrangersSignatureIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fault(t, "operator-foreign-key", opsim.OpOperatorsToken)
	id, office := w.operator(t, opsim.RealmInterno, "operator")
	who, err := w.enterOperator(t, id, login.OperatorStart{Office: office})
	if login.CodeOf(err) != login.CodeIDTokenSignature || who.ID != "" {
		t.Errorf("%+v %v", who, err)
	}
}
