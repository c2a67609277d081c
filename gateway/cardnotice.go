package gateway

import (
	"context"
	"errors"
	"regexp"
	"time"

	"airegw/gateway/fault"
	"airegw/gateway/jose"
)

// This file takes what offices outside know of a card: a loss, a theft, a block,
// told and signed by the police, a Questura or another administration (A12). A
// card that was noticed is not handed over at a counter. What citizens report
// themselves, and who is told of that, is report.go's.

// CardNoticeKind says what happened to a card.
type CardNoticeKind string

// What can be noticed. Found takes back an earlier loss; nothing takes back a
// block but a notice of the same source.
const (
	CardLost    CardNoticeKind = "lost"
	CardStolen  CardNoticeKind = "stolen"
	CardBlocked CardNoticeKind = "blocked"
	CardFound   CardNoticeKind = "found"
)

// CardNotice is one signed notice.
type CardNotice struct {
	Source     string // id of the configured reporter
	ID         string // the reporter's own, never used twice
	Kind       CardNoticeKind
	Card       string // number of the card, as printed on it
	HappenedAt time.Time
}

// Reporter is an office whose notices are taken, and the keys it signs with.
type Reporter struct {
	ID   string
	Keys jose.KeySet
}

// Notices say whose notices of cards are taken.
type Notices struct {
	Reporters []Reporter
	Audience  string // what a notice's aud must be; needed with Reporters
}

// CardNoticeStore is the part of a Store that keeps notices.
type CardNoticeStore interface {
	// SaveCardNotice keeps a notice and what was signed, with its audit entry, in
	// one commit. The same notice again changes nothing; another one under the
	// same id is Conflict "card_notice_differs".
	SaveCardNotice(ctx context.Context, r CardNotice, signed []byte, now time.Time, audit ...AuditEntry) error
	// CardNoticed answers the latest notice of a card; found is false when there
	// is none, or when the latest takes it back.
	CardNoticed(ctx context.Context, card string) (r CardNotice, found bool, err error)
}

// CardNoticeType is the typ of a notice's signature.
const CardNoticeType = "airegw-card-notice+jwt"

// cardNoticeLife is the longest life of a notice, exp less iat.
const cardNoticeLife = 10 * time.Minute

// MaxCardNotice is the size of a notice in bytes at most.
const MaxCardNotice = 4 << 10

var (
	cardNumberShape = regexp.MustCompile(`^C[A-Z][0-9]{5}[A-Z]{2}$`)
	noticeIDShape   = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)
)

// cardClaims is a notice as it is signed.
type cardClaims struct {
	Jti        string         `json:"jti"`
	Kind       CardNoticeKind `json:"kind"`
	Card       string         `json:"card"`
	HappenedAt string         `json:"happened_at"` // RFC 3339
}

// TakeCardNotice takes a notice: a compact JWS of a configured reporter to us,
// at most ten minutes old. Durable on return; the same notice again is fine.
// Unauthenticated "card_notice_refused" for whatever does not verify, Invalid
// "card_notice_invalid" for a signed notice that says nothing usable, Conflict
// "card_notice_differs".
func (g *Gateway) TakeCardNotice(ctx context.Context, compact string) error {
	r, err := g.readCardNotice(compact)
	if err != nil {
		return err
	}
	now := g.clock.Now()
	err = g.store.SaveCardNotice(ctx, r, []byte(compact), now, AuditEntry{
		At: now, Actor: Actor{Kind: ActorClient, ID: r.Source}, Act: "card_noticed", Subject: r.Source + "/" + r.ID,
		Payload: map[string]string{"kind": string(r.Kind)},
	})
	return wrap("keep card notice", err)
}

func (g *Gateway) readCardNotice(compact string) (CardNotice, error) {
	refuse := func(err error) error {
		return &Error{Kind: Unauthenticated, Code: "card_notice_refused", Err: err}
	}
	if len(compact) > MaxCardNotice {
		return CardNotice{}, refuse(errors.New("too large"))
	}
	var who struct {
		Issuer string `json:"iss"`
	}
	_, _, _, err := jose.Peek(compact, &who)
	if err != nil {
		return CardNotice{}, refuse(err)
	}
	var keys jose.KeySet
	for _, reporter := range g.notices.Reporters {
		if reporter.ID == who.Issuer {
			keys = reporter.Keys
		}
	}
	if keys.Len() == 0 {
		return CardNotice{}, refuse(errors.New("not a configured reporter"))
	}
	var c cardClaims
	_, err = jose.Verify(compact, keys, jose.Expect{
		Algs: []jose.Algorithm{jose.ES256}, Typ: []string{CardNoticeType}, Now: g.clock.Now(), Skew: 30 * time.Second,
		MaxLife: cardNoticeLife, Issuer: who.Issuer, Audience: g.notices.Audience,
	}, &c)
	if fault.Mutant("gateway.card-notice") {
		_, _, _, err = jose.Peek(compact, &c)
	}
	if err != nil {
		return CardNotice{}, refuse(err)
	}
	at, err := time.Parse(time.RFC3339, c.HappenedAt)
	switch {
	case err != nil, !noticeIDShape.MatchString(c.Jti), !cardNumberShape.MatchString(c.Card), at.After(g.clock.Now().Add(time.Hour)),
		c.Kind != CardLost && c.Kind != CardStolen && c.Kind != CardBlocked && c.Kind != CardFound:
		return CardNotice{}, &Error{Kind: Invalid, Code: "card_notice_invalid", Err: err}
	}
	return CardNotice{Source: who.Issuer, ID: c.Jti, Kind: c.Kind, Card: c.Card, HappenedAt: at.UTC()}, nil
}

// notNoticed refuses to hand over a card that was noticed: Conflict
// "card_noticed" with Args "kind".
func (g *Gateway) notNoticed(ctx context.Context, card string) error {
	if card == "" {
		return nil
	}
	r, found, err := g.store.CardNoticed(ctx, card)
	if err != nil {
		return wrap("look for card notices", err)
	}
	if found {
		return NewError(Conflict, "card_noticed", "kind", string(r.Kind))
	}
	return nil
}
