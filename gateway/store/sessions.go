package store

import (
	"context"
	"time"
)

// Sessions is the web sessions' store, fit for scs (CtxStore). Tokens are kept
// as keyed digests, data encrypted: it names the person logged in. It works
// with or without scs' HashTokenInStore.
type Sessions struct{ s *Store }

// Sessions answers the web sessions over this database.
func (s *Store) Sessions() *Sessions { return &Sessions{s} }

// FindCtx answers a session's data; found is false for an unknown or expired
// token. An error is of the store only.
func (x *Sessions) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	digest := x.s.keys.digest(forSession, token)
	var keyID string
	var private []byte
	found, err = x.s.get(ctx, `SELECT key_id, private FROM sessions WHERE token_digest = $1 AND expires_at > $2`,
		[]any{digest, micros(x.s.now())}, &keyID, &private)
	if err != nil {
		return nil, false, translate("read session", err)
	}
	if !found {
		return nil, false, nil
	}
	data, err = x.s.keys.open(keyID, "sessions", digest, "private", private)
	if err != nil {
		return nil, false, internal("decrypt session", err)
	}
	return data[1:], true, nil
}

// CommitCtx stores a session until expiry, in place of what it held before.
// Durable on return.
func (x *Sessions) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	digest := x.s.keys.digest(forSession, token)
	// A leading byte, since an empty column would not be encrypted.
	keyID, private, err := x.s.keys.seal("sessions", digest, "private", append([]byte{1}, data...))
	if err != nil {
		return internal("encrypt session", err)
	}
	return x.s.write(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO sessions (token_digest, key_id, private, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (token_digest) DO UPDATE SET key_id = excluded.key_id, private = excluded.private, expires_at = excluded.expires_at`,
			digest, keyID, private, micros(expiry))
		return err
	})
}

// DeleteCtx ends a session; one that is not there is no error.
func (x *Sessions) DeleteCtx(ctx context.Context, token string) error {
	digest := x.s.keys.digest(forSession, token)
	return x.s.write(ctx, func(t *tx) error {
		_, err := t.exec(t.either(`DELETE FROM sessions WHERE token_digest = $1`, `SELECT airegw_end_session($1)`), digest)
		return err
	})
}

// Find is FindCtx without a context, which scs asks for by type only.
func (x *Sessions) Find(token string) ([]byte, bool, error) {
	return x.FindCtx(context.Background(), token)
}

// Commit is CommitCtx without a context.
func (x *Sessions) Commit(token string, data []byte, expiry time.Time) error {
	return x.CommitCtx(context.Background(), token, data, expiry)
}

// Delete is DeleteCtx without a context.
func (x *Sessions) Delete(token string) error { return x.DeleteCtx(context.Background(), token) }
