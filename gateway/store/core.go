package store

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"airegw/gateway"
)

const (
	sqlSaveCoreEvent = `INSERT INTO core_events (order_key, seq, event_id, request_id, office_id, nun, type, at, details, received_at)
VALUES ($1, $2, $3, $4, COALESCE((SELECT office_id FROM requests WHERE id = $4), ''), $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`
	sqlSetMeta = `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	sqlPending = `WITH pending AS (
	SELECT order_key, MIN(request_id) AS request_id, MIN(received_at) AS received, MIN(seq) AS first
	FROM core_events WHERE status = 'pending' GROUP BY order_key
), orders AS (
	SELECT p.order_key, p.received, CASE WHEN
		p.first = 1 + (SELECT COALESCE(MAX(a.seq), 0) FROM core_events a WHERE a.order_key = p.order_key AND a.status = 'applied')
		AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.id = p.request_id AND r.state = 'signed')
		THEN 0 ELSE 1 END AS waits
	FROM pending p ORDER BY waits, p.received, p.order_key LIMIT CAST($1 AS BIGINT)
)
SELECT e.event_id, e.order_key, e.seq, e.nun, e.type, e.at, e.details
FROM orders o JOIN core_events e ON e.order_key = o.order_key AND e.status = 'pending'
ORDER BY o.waits, o.received, o.order_key, e.seq`
	sqlWipeBefore = `UPDATE halves SET private = NULL, key_id = '', wiped_at = $2
WHERE wiped_at = 0 AND ((printed_at <> 0 AND printed_at < $1) OR (printed_at = 0 AND stored_at < $1))`
)

// requestOf answers the request of an order key: request id, dot, generation.
func requestOf(orderKey string) string {
	i := strings.LastIndexByte(orderKey, '.')
	if i < 0 {
		return ""
	}
	return orderKey[:i]
}

// SaveCoreEvents implements gateway.Store. What was kept first stays.
func (s *Store) SaveCoreEvents(ctx context.Context, events []gateway.CoreEvent, next string) error {
	details := make([]string, len(events))
	for i, e := range events {
		raw, err := json.Marshal(e.Details)
		if err != nil {
			return internal("encode core event", err)
		}
		details[i] = string(raw)
	}
	now := micros(s.now())
	err := s.write(ctx, func(t *tx) error {
		for i, e := range events {
			_, err := t.exec(sqlSaveCoreEvent, e.OrderKey, e.Seq, e.EventID, requestOf(e.OrderKey), e.NUN, e.Type,
				micros(e.At), details[i], now)
			if err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		_, err := t.exec(sqlSetMeta, "feed_cursor", next)
		return err
	})
	if err == nil && len(events) > 0 {
		s.tell()
	}
	return err
}

// FeedCursor implements gateway.Store.
func (s *Store) FeedCursor(ctx context.Context) (string, error) {
	var cursor string
	_, err := s.get(ctx, `SELECT value FROM meta WHERE name = $1`, []any{"feed_cursor"}, &cursor)
	if err != nil {
		return "", translate("read feed cursor", err)
	}
	return cursor, nil
}

// PendingCoreEvents implements gateway.Store. Orders whose next event is there
// and can be applied come before orders that wait, for a gap to be filled or
// (signed) for the core's receipt, so that the waiting ones never starve the
// others; then the oldest first.
func (s *Store) PendingCoreEvents(ctx context.Context, n int) ([][]gateway.CoreEvent, error) {
	rows, err := s.query(ctx, sqlPending, n)
	if err != nil {
		return nil, translate("read core events", err)
	}
	defer rows.Close()
	var orders [][]gateway.CoreEvent
	for rows.Next() {
		var e gateway.CoreEvent
		var at int64
		var details string
		err = rows.Scan(&e.EventID, &e.OrderKey, &e.Seq, &e.NUN, &e.Type, &at, &details)
		if err != nil {
			return nil, translate("read core events", err)
		}
		e.At = instant(at)
		err = json.Unmarshal([]byte(details), &e.Details)
		if err != nil {
			return nil, internal("decode core event", err)
		}
		last := len(orders) - 1
		if last >= 0 && orders[last][0].OrderKey == e.OrderKey {
			orders[last] = append(orders[last], e)
		} else {
			orders = append(orders, []gateway.CoreEvent{e})
		}
	}
	err = rows.Err()
	if err != nil {
		return nil, translate("read core events", err)
	}
	return orders, nil
}

// ParkCoreEvent implements gateway.Store. NotFound when there is no such
// pending event.
func (s *Store) ParkCoreEvent(ctx context.Context, orderKey string, seq int, code string) error {
	return s.write(lone(ctx), func(t *tx) error {
		n, err := t.exec(`UPDATE core_events SET status = 'parked', code = $3 WHERE order_key = $1 AND seq = $2 AND status = 'pending'`,
			orderKey, seq, code)
		if err != nil {
			return err
		}
		if n == 0 {
			return notFound()
		}
		return nil
	})
}

// PutHalves implements gateway.Store. Put again (the core answers the same
// halves until the forms are confirmed) it keeps the time of the first print.
func (s *Store) PutHalves(ctx context.Context, requestID, orderKey string, h gateway.Halves) error {
	plain, err := json.Marshal(h)
	if err != nil {
		return internal("encode halves", err)
	}
	keyID, private, err := s.keys.seal("halves", orderKey, "private", plain)
	if err != nil {
		return internal("encrypt halves", err)
	}
	now := micros(s.now())
	return s.write(lone(ctx), func(t *tx) error {
		n, err := t.exec(`INSERT INTO halves (order_key, request_id, office_id, key_id, private, stored_at)
SELECT $1, r.id, r.office_id, $3, $4, $5 FROM (SELECT id, office_id FROM requests WHERE id = $2`+t.locks()+`) r WHERE TRUE
ON CONFLICT (order_key) DO UPDATE SET key_id = excluded.key_id, private = excluded.private, stored_at = excluded.stored_at, wiped_at = 0`,
			orderKey, requestID, keyID, private, now)
		if err != nil {
			return err
		}
		if n == 0 {
			return notFound()
		}
		return nil
	})
}

// Halves implements gateway.Store.
func (s *Store) Halves(ctx context.Context, orderKey string) (gateway.Halves, error) {
	var keyID string
	var private []byte
	found, err := s.get(ctx, `SELECT key_id, private FROM halves WHERE order_key = $1 AND wiped_at = 0`, []any{orderKey}, &keyID, &private)
	if err != nil {
		return gateway.Halves{}, translate("read halves", err)
	}
	if !found {
		return gateway.Halves{}, notFound()
	}
	plain, err := s.keys.open(keyID, "halves", orderKey, "private", private)
	if err != nil {
		return gateway.Halves{}, internal("decrypt halves", err)
	}
	var h gateway.Halves
	err = json.Unmarshal(plain, &h)
	if err != nil {
		return gateway.Halves{}, internal("decode halves", err)
	}
	return h, nil
}

// WipeHalves implements gateway.Store. The bytes are overwritten in the file
// (secure_delete); what a log or a backup still holds is encrypted.
func (s *Store) WipeHalves(ctx context.Context, before time.Time) (int, error) {
	var wiped int64
	now := micros(s.now())
	err := s.write(ctx, func(t *tx) error {
		var err error
		wiped, err = t.exec(sqlWipeBefore, micros(before), now)
		return err
	})
	if err != nil {
		return 0, err
	}
	return int(wiped), nil
}
