package login

import (
	"context"
	"time"

	"airegw/gateway"
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
