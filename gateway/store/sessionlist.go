package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"airegw/gateway"
)

type sessionPrivate struct {
	Level   int    `json:"level,omitempty"`
	Browser string `json:"browser,omitempty"`
	Login   string `json:"login,omitempty"`
}

// NoteSession notes a session that begins; the one it follows (same person,
// other token or level) ends with it. Durable on return.
func (s *Store) NoteSession(ctx context.Context, n gateway.SessionNote, follows string) error {
	owner := s.keys.digest(forSession, n.Owner)
	if n.ID == "" || owner == "" {
		return internal("note session", errors.New("incomplete"))
	}
	plain, err := json.Marshal(sessionPrivate{n.Level, n.Browser, n.Login})
	if err != nil {
		return internal("encode session note", err)
	}
	keyID, private, err := s.keys.seal("session_list", n.ID, "private", plain)
	if err != nil {
		return internal("encrypt session note", err)
	}
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO session_list (id, owner_digest, started_at, expires_at, key_id, private) VALUES ($1, $2, $3, $4, $5, $6)`,
			n.ID, owner, micros(n.StartedAt), micros(n.ExpiresAt), keyID, private)
		if err != nil || follows == "" {
			return err
		}
		_, err = t.exec(`UPDATE session_list SET ended_at = $2 WHERE id = $1 AND ended_at = 0`, follows, micros(n.StartedAt))
		return err
	})
}

// SessionOpen says whether a session was noted and has not ended.
func (s *Store) SessionOpen(ctx context.Context, id string) (bool, error) {
	var ended int64
	found, err := s.get(ctx, `SELECT ended_at FROM session_list WHERE id = $1`, []any{id}, &ended)
	if err != nil {
		return false, translate("read session note", err)
	}
	return found && ended == 0, nil
}

// KeepSession moves the end of an open session, as its idle time begins anew.
func (s *Store) KeepSession(ctx context.Context, id string, expires time.Time) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(`UPDATE session_list SET expires_at = $2 WHERE id = $1 AND ended_at = 0`, id, micros(expires))
		return err
	})
}

// SessionsOf answers the open sessions of an owner, newest first, at most 50.
func (s *Store) SessionsOf(ctx context.Context, owner string) ([]gateway.SessionNote, error) {
	rows, err := s.query(ctx, `SELECT id, started_at, expires_at, key_id, private FROM session_list
WHERE owner_digest = $1 AND ended_at = 0 AND expires_at > $2 ORDER BY started_at DESC, id LIMIT 50`, s.keys.digest(forSession, owner), micros(s.now()))
	if err != nil {
		return nil, translate("list sessions", err)
	}
	defer rows.Close()
	var out []gateway.SessionNote
	for rows.Next() {
		n := gateway.SessionNote{Owner: owner}
		var started, expires int64
		var keyID string
		var private []byte
		err = rows.Scan(&n.ID, &started, &expires, &keyID, &private)
		if err != nil {
			return nil, translate("list sessions", err)
		}
		n.StartedAt, n.ExpiresAt = instant(started), instant(expires)
		plain, err := s.keys.open(keyID, "session_list", n.ID, "private", private)
		if err != nil {
			return nil, internal("decrypt session note", err)
		}
		var p sessionPrivate
		err = json.Unmarshal(plain, &p)
		if err != nil {
			return nil, internal("decode session note", err)
		}
		n.Level, n.Browser, n.Login = p.Level, p.Browser, p.Login
		out = append(out, n)
	}
	err = rows.Err()
	if err != nil {
		return nil, translate("list sessions", err)
	}
	return out, nil
}

// EndSession ends a session of an owner; NotFound when it is not theirs or has
// ended before. Durable on return: the session is worth nothing from now on.
func (s *Store) EndSession(ctx context.Context, owner, id string) error {
	now := micros(s.now())
	return s.write(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE session_list SET ended_at = $3 WHERE id = $1 AND owner_digest = $2 AND ended_at = 0`,
			id, s.keys.digest(forSession, owner), now)
		if err == nil && n == 0 {
			err = gateway.NewError(gateway.NotFound, "not_found")
		}
		return err
	})
}
