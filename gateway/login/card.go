package login

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"slices"
	"time"

	"airegw/gateway"
	"airegw/gateway/fault"
)

// CardState is where an operator's smart card (SCO) stands.
type CardState string

// The states: issued → active → revoked, or issued → revoked. Nothing leaves
// revoked.
const (
	CardIssued  CardState = "issued"
	CardActive  CardState = "active"
	CardRevoked CardState = "revoked"
)

// Card is the certificate of an operator's smart card.
type Card struct {
	Fingerprint string // SHA-256 of the certificate's DER, lower-case hexadecimal
	Operator    string // OperatorIdentity.ID
	Office      gateway.Office
	State       CardState
	NotAfter    time.Time
	IssuedAt    time.Time
	ActivatedAt time.Time
	RevokedAt   time.Time
}

// Cards keeps the operators' cards; gateway/store implements it.
type Cards interface {
	// PutCard stores a card as issued; Conflict "login_card_known" when its
	// certificate is known.
	PutCard(ctx context.Context, c Card, audit ...gateway.AuditEntry) error
	// MoveCard changes the state by compare-and-set: Conflict "login_card_state"
	// when the card is not in from, NotFound when there is none of that office.
	MoveCard(ctx context.Context, office gateway.Office, fingerprint string, from, to CardState, at time.Time, audit ...gateway.AuditEntry) error
	// Card answers a card by its certificate, of any office; NotFound.
	Card(ctx context.Context, fingerprint string) (Card, error)
	// CardsOf lists an office's cards, newest first.
	CardsOf(ctx context.Context, office gateway.Office) ([]Card, error)
}

// Fingerprint names a certificate.
func Fingerprint(certificate *x509.Certificate) string {
	sum := sha256.Sum256(certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// IssueCard stores an operator's card as issued, by somebody of the same office;
// it opens nothing before it is activated.
func (o *Operators) IssueCard(ctx context.Context, by gateway.Actor, operator string, certificate *x509.Certificate) (Card, error) {
	if o.cfg.Cards == nil || by.Office.IsZero() || operator == "" || certificate == nil {
		return Card{}, refuse(CodeCardState, "", nil)
	}
	now := o.cfg.Clock().UTC()
	c := Card{
		Fingerprint: Fingerprint(certificate), Operator: operator, Office: by.Office, State: CardIssued,
		NotAfter: certificate.NotAfter.UTC(), IssuedAt: now,
	}
	if !now.Before(c.NotAfter) {
		return Card{}, refuse(CodeCardExpired, "", nil)
	}
	return c, cardError(o.cfg.Cards.PutCard(ctx, c, cardAudit(now, by, "card_issued", c.Fingerprint)))
}

// ActivateCard puts an issued card to use, once its holder has it in hand.
func (o *Operators) ActivateCard(ctx context.Context, by gateway.Actor, fingerprint string) error {
	return o.moveCard(ctx, by, fingerprint, CardActive, CardIssued)
}

// RevokeCard ends a card for good.
func (o *Operators) RevokeCard(ctx context.Context, by gateway.Actor, fingerprint string) error {
	return o.moveCard(ctx, by, fingerprint, CardRevoked, CardActive, CardIssued)
}

func (o *Operators) moveCard(ctx context.Context, by gateway.Actor, fingerprint string, to CardState, from ...CardState) error {
	if o.cfg.Cards == nil || by.Office.IsZero() {
		return refuse(CodeCardState, "", nil)
	}
	c, err := o.cfg.Cards.Card(ctx, fingerprint)
	if err != nil {
		return cardError(err)
	}
	if c.Office != by.Office {
		return refuse(CodeCardUnknown, "", nil) // as one that is not there
	}
	if !slices.Contains(from, c.State) {
		return refuse(CodeCardState, string(c.State), nil)
	}
	now := o.cfg.Clock().UTC()
	return cardError(o.cfg.Cards.MoveCard(ctx, by.Office, fingerprint, c.State, to, now, cardAudit(now, by, "card_"+string(to), fingerprint)))
}

// StepUp holds a client certificate against the cards: it must be active, in its
// time and this operator's own. chain is the verified chain of the TLS handshake
// (tls.ConnectionState.VerifiedChains[0]), nil when no certificate came; where
// TLS ends elsewhere there is no step-up. The outcome is audited either way.
func (o *Operators) StepUp(ctx context.Context, who gateway.Actor, chain []*x509.Certificate) (Card, error) {
	c, err := o.stepUp(ctx, who, chain)
	now := o.cfg.Clock().UTC()
	entry := cardAudit(now, who, "card_step_up", c.Fingerprint)
	if err != nil {
		entry.Act, entry.Payload = "card_refused", map[string]string{"code": string(CodeOf(err))}
	}
	ref, drawn := reference(o.cfg.Random)
	if kept := join(drawn, o.cfg.Store.RecordLogin(ctx, ref, nil, entry)); kept != nil {
		return Card{}, refuse(CodeStore, "", kept)
	}
	if err != nil {
		o.flow.log(ctx, slog.LevelWarn, "card refused", "code", string(CodeOf(err)), "operator", who.ID)
		return Card{}, err
	}
	return c, nil
}

func (o *Operators) stepUp(ctx context.Context, who gateway.Actor, chain []*x509.Certificate) (Card, error) {
	if o.cfg.Cards == nil || len(chain) == 0 {
		return Card{}, refuse(CodeCardMissing, "", nil)
	}
	c, err := o.cfg.Cards.Card(ctx, Fingerprint(chain[0]))
	if err != nil {
		return Card{Fingerprint: Fingerprint(chain[0])}, cardError(err)
	}
	now := o.cfg.Clock()
	switch {
	case (c.Operator != who.ID || c.Office != who.Office) && !fault.Mutant("login.card-owner"):
		return c, refuse(CodeCardOther, "", nil)
	case c.State == CardRevoked && !fault.Mutant("login.card-revoked"):
		return c, refuse(CodeCardRevoked, "", nil)
	case c.State == CardIssued && !fault.Mutant("login.card-active"):
		return c, refuse(CodeCardNotActive, "", nil)
	case (!now.Before(c.NotAfter) || now.Before(chain[0].NotBefore)) && !fault.Mutant("login.card-expired"):
		return c, refuse(CodeCardExpired, "", nil)
	}
	return c, nil
}

func cardAudit(at time.Time, by gateway.Actor, act, fingerprint string) gateway.AuditEntry {
	return gateway.AuditEntry{At: at, Actor: by, Act: act, Subject: fingerprint}
}

func cardError(err error) error {
	switch {
	case err == nil:
		return nil
	case gateway.CodeOf(err) == "login_card_known", gateway.CodeOf(err) == "login_card_state":
		return refuse(CodeCardState, "", err)
	case gateway.KindOf(err) == gateway.NotFound:
		return refuse(CodeCardUnknown, "", nil)
	}
	return refuse(CodeStore, "", err)
}

// CardsOf lists the cards of somebody's own office, newest first.
func (o *Operators) CardsOf(ctx context.Context, by gateway.Actor) ([]Card, error) {
	if o.cfg.Cards == nil || by.Office.IsZero() {
		return nil, nil
	}
	list, err := o.cfg.Cards.CardsOf(ctx, by.Office)
	if err != nil {
		return nil, cardError(err)
	}
	return list, nil
}
