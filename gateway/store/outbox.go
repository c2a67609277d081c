package store

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"airegw/gateway"
	"airegw/gateway/fault"
)

const (
	sqlAddOutbox = `INSERT INTO outbox (request_id, office_id, order_key, kind, act_key, key_id, private, actor, due, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	sqlSettle = `UPDATE outbox SET status = 'settled', settled_at = $4, lease = 0, code = '', detail = ''
WHERE id = $1 AND request_id = $2 AND fence = $3 AND status = 'open'`
	sqlReleaseOutbox = `UPDATE outbox SET status = $3, due = $4, lease = 0, tries = tries + 1, code = $5, detail = $6
WHERE id = $1 AND fence = $2 AND status = 'open' AND lease <> 0`
	sqlKeepOutbox = `UPDATE outbox SET key_id = $3, private = $4
WHERE id = $1 AND fence = $2 AND status = 'open' AND lease <> 0`
	sqlParkRequest = `UPDATE requests SET mark_kind = 'parked', mark_code = $2, mark_detail = $3, mark_due = 0 WHERE id = $1`
)

// outboxRow is an outbox row made ready outside the writer.
type outboxRow struct {
	gateway.Outbox
	keyID   string
	private []byte
	actor   string
}

func (s *Store) prepareOutbox(c gateway.Change) ([]outboxRow, error) {
	var rows []outboxRow
	for _, o := range c.Outbox {
		r := outboxRow{Outbox: o}
		actor, err := json.Marshal(o.Actor)
		if err != nil {
			return nil, internal("encode actor", err)
		}
		r.actor = string(actor)
		r.keyID, r.private, err = s.keys.seal("outbox", outboxName(o.Kind, o.Key), "private", o.Private)
		if err != nil {
			return nil, internal("encrypt outbox", err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// outboxName names a row before it has a number: kind and key are unique.
func outboxName(kind gateway.OutboxKind, key string) string { return string(kind) + "/" + key }

// commitOutbox settles and adds what a change says. Settling comes first, so
// that a change may settle an intent and store the next.
func commitOutbox(t *tx, c gateway.Change, rows []outboxRow, office string, now int64) error {
	if c.Settle != nil {
		n, err := t.exec(sqlSettle, c.Settle.ID, c.ID, c.Settle.Fence, now)
		if err != nil {
			return err
		}
		if n != 1 && !fault.Mutant("store.fence-outbox") {
			return gateway.NewError(gateway.Conflict, "lease_lost")
		}
	}
	for _, o := range rows {
		var private any
		if o.private != nil {
			private = o.private
		}
		_, err := t.exec(sqlAddOutbox, c.ID, office, o.OrderKey, string(o.Kind), o.Key, o.keyID, private, o.actor, micros(o.Due), now)
		if err != nil {
			return err
		}
	}
	return nil
}

// ClaimOutbox implements gateway.Store. A parked row holds back the later rows
// of its request.
func (s *Store) ClaimOutbox(ctx context.Context, now time.Time, lease time.Duration, n int) ([]gateway.Outbox, error) {
	if n <= 0 {
		return nil, nil
	}
	var rows []outboxRow
	err := s.write(lone(ctx), func(t *tx) error {
		rows = nil
		r, err := t.returning(t.either(sqlClaimOutbox, pgClaimOutbox), micros(now.Add(lease)), micros(now), n)
		if err != nil {
			return err
		}
		defer r.Close()
		for r.Next() {
			var o outboxRow
			var due int64
			err = r.Scan(&o.ID, &o.RequestID, &o.OrderKey, &o.Kind, &o.Key, &o.keyID, &o.private, &o.actor, &due, &o.Fence, &o.Tries)
			if err != nil {
				return err
			}
			o.Due = instant(due)
			rows = append(rows, o)
		}
		return r.Err()
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b outboxRow) int {
		if c := a.Due.Compare(b.Due); c != 0 {
			return c
		}
		return int(min(1, max(-1, a.ID-b.ID)))
	})
	claimed := make([]gateway.Outbox, len(rows))
	for i, o := range rows {
		plain, err := s.keys.open(o.keyID, "outbox", outboxName(o.Kind, o.Key), "private", o.private)
		if err != nil {
			return nil, internal("decrypt outbox", err)
		}
		if plain != nil {
			o.Private = plain
		}
		err = json.Unmarshal([]byte(o.actor), &o.Actor)
		if err != nil {
			return nil, internal("decode actor", err)
		}
		claimed[i] = o.Outbox
	}
	return claimed, nil
}

// KeepOutbox implements gateway.Store. Conflict "lease_lost" when the fence has
// moved on.
func (s *Store) KeepOutbox(ctx context.Context, o gateway.Outbox) error {
	keyID, sealed, err := s.keys.seal("outbox", outboxName(o.Kind, o.Key), "private", o.Private)
	if err != nil {
		return internal("encrypt outbox", err)
	}
	var private any
	if sealed != nil {
		private = sealed
	}
	return s.write(lone(ctx), func(t *tx) error {
		n, err := t.exec(sqlKeepOutbox, o.ID, o.Fence, keyID, private)
		if err != nil {
			return err
		}
		if n != 1 {
			return gateway.NewError(gateway.Conflict, "lease_lost")
		}
		return nil
	})
}

// ReleaseOutbox implements gateway.Store. code and detail are kept on the row
// for who looks; parked, they are the request's mark too.
func (s *Store) ReleaseOutbox(ctx context.Context, o gateway.Outbox, due time.Time, code, detail string, park bool) error {
	status := "open"
	if park {
		status, due = "parked", o.Due
	} else {
		ctx = lone(ctx)
	}
	return s.write(ctx, func(t *tx) error {
		n, err := t.exec(sqlReleaseOutbox, o.ID, o.Fence, status, micros(due), code, detail)
		if err != nil {
			return err
		}
		if n != 1 {
			return gateway.NewError(gateway.Conflict, "lease_lost")
		}
		if !park {
			return nil
		}
		_, err = t.exec(sqlParkRequest, o.RequestID, code, detail)
		return err
	})
}
