package store

import (
	"context"
	"encoding/json"
	"time"

	"airegw/gateway"
)

const (
	sqlBeginReconciliation = `INSERT INTO reconciliations (day, begun_at) VALUES ($1, $2)
ON CONFLICT (day) DO UPDATE SET begun_at = excluded.begun_at WHERE reconciliations.finished_at = 0 AND reconciliations.begun_at <= $3`
	sqlCursorBefore        = `SELECT next_cursor FROM reconciliations WHERE finished_at <> 0 ORDER BY day DESC LIMIT 1 OFFSET 1`
	sqlKeepReconciliation  = `UPDATE reconciliations SET finished_at = $2, next_cursor = $3, report = $4 WHERE day = $1`
	sqlReconciliations     = `SELECT report FROM reconciliations WHERE finished_at <> 0 ORDER BY day DESC LIMIT $1`
	sqlKeptCoreEvent       = `SELECT event_id, type FROM core_events WHERE order_key = $1 AND seq = $2`
	sqlUnappliedCoreEvents = `SELECT order_key, seq, type, status, code FROM core_events
WHERE status = 'parked' OR (status = 'pending' AND received_at < $1) ORDER BY received_at, order_key, seq LIMIT $2`
)

// BeginReconciliation implements gateway.Store.
func (s *Store) BeginReconciliation(ctx context.Context, day string, now time.Time) (mine bool, from string, err error) {
	err = s.write(ctx, func(t *tx) error {
		mine, from = false, ""
		n, err := t.exec(sqlBeginReconciliation, day, micros(now), micros(now.Add(-time.Hour)))
		if err != nil || n == 0 {
			return err
		}
		mine = true
		_, err = t.get(sqlCursorBefore, nil, &from)
		return err
	})
	return mine && err == nil, from, err
}

// KeepReconciliation implements gateway.Store.
func (s *Store) KeepReconciliation(ctx context.Context, r gateway.Reconciliation) error {
	report, err := json.Marshal(r)
	if err != nil {
		return internal("encode reconciliation", err)
	}
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(sqlKeepReconciliation, r.Day, micros(r.FinishedAt), r.Next, string(report))
		return err
	})
}

// Reconciliations implements gateway.Store.
func (s *Store) Reconciliations(ctx context.Context, n int) ([]gateway.Reconciliation, error) {
	rows, err := s.query(ctx, sqlReconciliations, n)
	if err != nil {
		return nil, translate("read reconciliations", err)
	}
	reports, err := strings1(rows)
	if err != nil {
		return nil, translate("read reconciliations", err)
	}
	out := make([]gateway.Reconciliation, len(reports))
	for i, report := range reports {
		err = json.Unmarshal([]byte(report), &out[i])
		if err != nil {
			return nil, internal("decode reconciliation", err)
		}
	}
	return out, nil
}

// CompareCoreEvents implements gateway.Store.
func (s *Store) CompareCoreEvents(ctx context.Context, events []gateway.CoreEvent) (lost, differ []gateway.CoreEvent, err error) {
	for _, e := range events {
		var id, typ string
		found, err := s.get(ctx, sqlKeptCoreEvent, []any{e.OrderKey, e.Seq}, &id, &typ)
		switch {
		case err != nil:
			return nil, nil, translate("compare core events", err)
		case !found:
			lost = append(lost, e)
		case id != e.EventID || typ != e.Type:
			differ = append(differ, e)
		}
	}
	return lost, differ, nil
}

// UnappliedCoreEvents implements gateway.Store.
func (s *Store) UnappliedCoreEvents(ctx context.Context, before time.Time, n int) ([]gateway.UnappliedEvent, error) {
	rows, err := s.query(ctx, sqlUnappliedCoreEvents, micros(before), n)
	if err != nil {
		return nil, translate("read waiting core events", err)
	}
	defer rows.Close()
	var out []gateway.UnappliedEvent
	for rows.Next() {
		var e gateway.UnappliedEvent
		var status, code string
		err = rows.Scan(&e.OrderKey, &e.Seq, &e.Type, &status, &code)
		if err != nil {
			return nil, translate("read waiting core events", err)
		}
		if status == "parked" {
			e.Parked = code
		}
		out = append(out, e)
	}
	return out, translate("read waiting core events", rows.Err())
}

// QuietRequests implements gateway.Store.
func (s *Store) QuietRequests(ctx context.Context, states []gateway.State, before time.Time, n int) ([]string, error) {
	rows, err := s.query(ctx, `SELECT id FROM requests WHERE state IN (`+stateList(states)+`) AND updated_at < $1
ORDER BY updated_at, id LIMIT $2`, micros(before), n)
	if err != nil {
		return nil, translate("read quiet requests", err)
	}
	ids, err := strings1(rows)
	return ids, translate("read quiet requests", err)
}
