package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"airegw/gateway"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

// CardEventsConfig is who is told of the cards that citizens report stolen or
// lost (A12: the Public Security department). Without URL nobody is, and the
// reports wait.
type CardEventsConfig struct {
	URL      string `yaml:"url"`      // takes POST; https, a simulation: on loopback
	Issuer   string `yaml:"issuer"`   // what we are called there: iss
	Audience string `yaml:"audience"` // what the receiver is called: aud
	KeyFile  string `yaml:"key_file"` // ES256, PEM or JWK, mode 0600: signs each event
	Peer     `yaml:",inline"`
}

// checkCardEvents answers what is wrong with the values of the section
// card_events.
func (c *Config) checkCardEvents(bad func(path, text string)) {
	if c.CardEvents == (CardEventsConfig{}) {
		return
	}
	c.checkURL("card_events.url", c.CardEvents.URL, bad)
	for _, m := range []struct{ path, value string }{
		{"issuer", c.CardEvents.Issuer}, {"audience", c.CardEvents.Audience}, {"key_file", c.CardEvents.KeyFile},
	} {
		if m.value == "" {
			bad("card_events."+m.path, "is needed")
		}
	}
}

// CardEventType is the typ of an event's signature.
const CardEventType = "airegw-card-event+jwt"

// cardEventLife is exp less iat of an event: each try signs anew.
const cardEventLife = 5 * time.Minute

// cardEvents tells the receiver. The contract: POST of one compact JWS
// (application/jwt, ES256); 204 and nothing else says that the event is kept. The
// same jti comes again until then, with the same content under new times.
type cardEvents struct {
	cfg   CardEventsConfig
	key   jose.Key
	out   *outbound.Client
	clock gateway.Clock
}

// newCardEvents makes the client of the receiver; nil without one.
func newCardEvents(c Config, o Options, a *App) (gateway.CardEvents, error) {
	if c.CardEvents.URL == "" {
		return nil, nil //nolint:nilnil // nobody is told
	}
	key, err := jose.LoadKey(c.file(c.CardEvents.KeyFile), jose.ES256)
	if err != nil {
		return nil, &FieldError{"card_events.key_file", err.Error()}
	}
	out, err := newOutbound(c, c.CardEvents.Peer, "card_events", 2, o, a.log)
	if err != nil {
		return nil, &FieldError{"card_events", err.Error()}
	}
	a.closers = append(a.closers, func() error { out.Close(); return nil })
	return &cardEvents{cfg: c.CardEvents, key: key, out: out, clock: o.Clock}, nil
}

// cardEvent is an event as it is signed.
type cardEvent struct {
	Issuer     string        `json:"iss"`
	Audience   string        `json:"aud"`
	IssuedAt   int64         `json:"iat"`
	ExpiresAt  int64         `json:"exp"`
	ID         string        `json:"jti"` // number of the report
	Kind       string        `json:"kind"`
	On         string        `json:"on"`             // YYYY-MM-DD, the day it was noticed
	ReportedAt string        `json:"reported_at"`    // RFC 3339, UTC
	FiscalCode string        `json:"fiscal_code"`    // of the holder, who reported it
	Card       string        `json:"card,omitempty"` // its number, where the holder knew it
	Police     *policeReport `json:"police,omitempty"`
}

type policeReport struct {
	Authority string `json:"authority"`
	Number    string `json:"number,omitempty"`
	Date      string `json:"date"` // YYYY-MM-DD
}

// Tell implements gateway.CardEvents.
func (e *cardEvents) Tell(ctx context.Context, r gateway.CardReport) error {
	now := e.clock.Now()
	event := cardEvent{
		Issuer: e.cfg.Issuer, Audience: e.cfg.Audience, IssuedAt: now.Unix(), ExpiresAt: now.Add(cardEventLife).Unix(), ID: r.ID,
		Kind: string(r.Kind), On: r.On, ReportedAt: r.At.UTC().Format(time.RFC3339), FiscalCode: r.Person, Card: r.Card,
	}
	if p := r.Police; p != nil {
		event.Police = &policeReport{p.Authority, p.Number, p.Date}
	}
	compact, err := jose.Sign(e.key, CardEventType, event)
	if err != nil {
		return fmt.Errorf("sign card event: %w", err)
	}
	_, err = e.out.Do(ctx, outbound.Request{
		Operation: "card_event", Method: http.MethodPost, URL: e.cfg.URL, Header: http.Header{"Content-Type": {"application/jwt"}},
		Body: []byte(compact), Idempotent: true, Correlation: r.ID, Accept: func(status int) bool { return status == http.StatusNoContent },
	})
	var failed *outbound.Error
	if errors.As(err, &failed) && failed.Kind == outbound.KindStatus && failed.Status >= 400 && failed.Status < 500 &&
		failed.Status != http.StatusUnauthorized && failed.Status != http.StatusForbidden && failed.Status != http.StatusNotFound &&
		failed.Status != http.StatusRequestTimeout && failed.Status != http.StatusTooManyRequests {
		return &gateway.CardEventRefused{Err: err}
	}
	return err
}
