package login

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"airegw/gateway"
	"airegw/gateway/fault"
	"airegw/gateway/outbound"
)

// Logout revokes the access token of a login (D logout: a relying party with
// sessions must). The wish is durable on return, also when the error says that
// the provider did not answer: Sweep tries again. End the session first: a
// person who leaves has left, whatever the provider says.
func (c *Citizens) Logout(ctx context.Context, reference string) error {
	token, found, err := c.cfg.Store.WantRevoked(ctx, reference)
	if err != nil {
		return refuse(CodeStore, "", err)
	}
	if !found {
		return nil
	}
	return c.revoke(ctx, token)
}

// How long the token of a failed login is tried to be revoked, and how long the
// person waits for the first try. Its own end is not believed: the login failed.
const (
	abandonedLife = time.Hour
	abandonWait   = 3 * time.Second
)

// abandon revokes the access token of a login that failed: nobody is in, nobody
// will log out, and the token still opens the person's data. What does not get
// through is logged and left to Sweep; when even the store is out of order the
// one try is all.
func (c *Citizens) abandon(ctx context.Context, reference, access string) {
	if access == "" || fault.Mutant("login.failed-token") {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWait)
	defer cancel()
	token := HeldToken{Login: reference, Token: access, ExpiresAt: c.cfg.Clock().Add(abandonedLife)}
	err := c.cfg.Store.AbandonToken(ctx, token, c.cfg.Clock())
	if err != nil {
		c.flow.log(ctx, slog.LevelWarn, "access token of a failed login not kept", "reference", reference, "err", err)
	}
	err = c.revoke(ctx, token)
	if err != nil && CodeOf(err) != CodeRevocation {
		// CodeRevocation has logged itself.
		c.flow.log(ctx, slog.LevelWarn, "access token not revoked", "reference", reference, "err", err)
	}
}

// sweepAtOnce bounds one Sweep.
const sweepAtOnce = 100

// Sweep revokes what Logout could not; run it every minute or so. The error is
// of the first that failed again; the others were tried too.
func (c *Citizens) Sweep(ctx context.Context) error {
	due, err := c.cfg.Store.RevokeDue(ctx, c.cfg.Clock(), sweepAtOnce)
	if err != nil {
		return refuse(CodeStore, "", err)
	}
	var first error
	for _, token := range due {
		if err := c.revoke(ctx, token); err != nil && first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first
}

// revoke asks the provider and keeps the evidence. A token that has ended by
// itself, or that no endpoint revokes, is dropped.
func (c *Citizens) revoke(ctx context.Context, token HeldToken) error {
	t := trail{now: c.cfg.Clock}
	forget := func() error {
		if err := c.cfg.Store.ForgetToken(ctx, token.Login, t.records...); err != nil {
			return refuse(CodeStore, "", err)
		}
		return nil
	}
	if !c.cfg.Clock().Before(token.ExpiresAt) {
		return forget()
	}
	p, _, err := c.provider()
	if err != nil {
		return err
	}
	if p.RevocationEndpoint == "" {
		return forget()
	}
	id, err := c.flow.id()
	if err != nil {
		return err
	}
	signed, err := assertionFor(c.cfg.Entity.ID(), p.RevocationEndpoint, c.cfg.Entity.Keys().CoreSign, id, c.cfg.Clock())
	if err != nil {
		return err
	}
	form := url.Values{
		"client_id": {c.cfg.Entity.ID()}, "client_assertion_type": {assertionType}, "client_assertion": {signed}, "token": {token.Token},
	}
	t.add(RecordRevocationRequest, sent{URL: p.RevocationEndpoint, Form: hashed(form)})
	response, err := c.cfg.Client.Do(ctx, outbound.Request{
		Operation: "revocation", Method: http.MethodPost, URL: p.RevocationEndpoint,
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: []byte(form.Encode()),
		Accept: func(int) bool { return true },
	})
	switch {
	case err != nil:
		t.add(RecordRevocationResponse, answered{Error: "no answer"})
	default:
		t.add(RecordRevocationResponse, answered{Status: response.Status, Type: mediaType(response.Header), Body: kept(response.Body)})
		if response.Status == http.StatusOK {
			c.flow.log(ctx, slog.LevelInfo, "access token revoked", "reference", token.Login)
			return forget()
		}
		var told struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(response.Body, &told) == nil && told.Error == "unsupported_token_type" {
			// It never revokes tokens of this kind (RFC 7009 §2.2.1): asking again is
			// vain, the token ends by itself.
			c.flow.log(ctx, slog.LevelWarn, "the provider does not revoke access tokens", "reference", token.Login)
			return forget()
		}
		err = errors.New(http.StatusText(response.Status))
	}
	failed := refuse(CodeRevocation, "", err)
	failed.Reference = token.Login
	failed.Err = join(failed.Err, c.cfg.Store.RecordLogin(ctx, token.Login, t.records, gateway.AuditEntry{
		At: c.cfg.Clock().UTC(), Actor: gateway.Actor{Kind: gateway.ActorWorker, ID: "login"}, Act: "token_not_revoked", Subject: token.Login,
	}))
	c.flow.log(ctx, slog.LevelWarn, "access token not revoked", "reference", token.Login, "err", failed.Err)
	return failed
}
