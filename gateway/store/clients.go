package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"airegw/gateway"
)

// Client is a machine client: a system of one office with keys of its own.
type Client struct {
	ID      string
	Office  gateway.Office
	JWKS    json.RawMessage // its public keys, as it published them
	Revoked bool
}

// PutClient stores a client, or its new keys, or (Revoked) takes its access
// away. A revoked one stays revoked, and an id never moves to another office
// (Conflict "client_office"). Durable on return.
func (s *Store) PutClient(ctx context.Context, c Client) error {
	if c.ID == "" || c.Office.IsZero() || !json.Valid(c.JWKS) {
		return &gateway.Error{Kind: gateway.Invalid, Code: "client_invalid", Err: errors.New("id, office and key set are needed")}
	}
	now, revoked := micros(s.now()), int64(0)
	if c.Revoked {
		revoked = now
	}
	return s.write(ctx, func(t *tx) error {
		n, err := t.exec(`INSERT INTO clients (id, office_id, jwks, created_at, revoked_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET jwks = excluded.jwks,
	revoked_at = CASE WHEN clients.revoked_at = 0 THEN excluded.revoked_at ELSE clients.revoked_at END
WHERE clients.office_id = excluded.office_id`, c.ID, c.Office.ID(), string(c.JWKS), now, revoked)
		if err != nil {
			return err
		}
		if n == 0 {
			return gateway.NewError(gateway.Conflict, "client_office")
		}
		return nil
	})
}

// Client answers a client, revoked or not; NotFound when there is none.
func (s *Store) Client(ctx context.Context, id string) (Client, error) {
	c := Client{ID: id}
	var office, jwks string
	var revoked int64
	found, err := s.get(ctx, `SELECT office_id, jwks, revoked_at FROM clients WHERE id = $1`, []any{id}, &office, &jwks, &revoked)
	if err != nil {
		return Client{}, translate("read client", err)
	}
	if !found {
		return Client{}, notFound()
	}
	c.Office, c.JWKS, c.Revoked = gateway.OfficeFromID(office), json.RawMessage(jwks), revoked != 0
	return c, nil
}

// RevokeClient takes a client's access away for good; NotFound when there is
// none. Revoking twice keeps the first time.
func (s *Store) RevokeClient(ctx context.Context, id string) error {
	now := micros(s.now())
	return s.write(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE clients SET revoked_at = CASE WHEN revoked_at = 0 THEN $2 ELSE revoked_at END WHERE id = $1`, id, now)
		if err != nil {
			return err
		}
		if n == 0 {
			return notFound()
		}
		return nil
	})
}

// UseJTI marks a token id as used: the first call for it answers nil, every
// later one Conflict "jti_used", also after a restart (RFC 7523 §3 item 7). The
// caller scopes the id by its issuer (issuer + "\n" + jti) and has checked that
// the token has not expired; after expires it is forgotten.
func (s *Store) UseJTI(ctx context.Context, jti string, expires time.Time) error {
	digest := s.keys.digest(forJTI, jti)
	if digest == "" {
		return gateway.NewError(gateway.Invalid, "jti_missing")
	}
	return s.write(ctx, func(t *tx) error { return useJTI(t, digest, expires) })
}

func useJTI(t *tx, digest string, expires time.Time) error {
	n, err := t.exec(`INSERT INTO used_jti (jti_digest, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING`, digest, micros(expires))
	if err != nil {
		return err
	}
	if n == 0 {
		return gateway.NewError(gateway.Conflict, "jti_used")
	}
	return nil
}

// Revoke takes access away from a subject of a kind (operator, session,
// citizen); durable on return. Subject is an opaque id.
func (s *Store) Revoke(ctx context.Context, kind, subject string) error {
	now := micros(s.now())
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO revocations (kind, subject, revoked_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, kind, subject, now)
		return err
	})
}

// Revoked says whether a subject's access was taken away, and when.
func (s *Store) Revoked(ctx context.Context, kind, subject string) (time.Time, bool, error) {
	var at int64
	found, err := s.get(ctx, `SELECT revoked_at FROM revocations WHERE kind = $1 AND subject = $2`, []any{kind, subject}, &at)
	if err != nil {
		return time.Time{}, false, translate("read revocation", err)
	}
	return instant(at), found, nil
}

// Reinstate gives a revoked subject its access back.
func (s *Store) Reinstate(ctx context.Context, kind, subject string) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(t.either(`DELETE FROM revocations WHERE kind = $1 AND subject = $2`, `SELECT airegw_reinstate($1, $2)`), kind, subject)
		return err
	})
}
