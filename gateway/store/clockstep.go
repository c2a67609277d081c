package store

import (
	"context"

	"airegw/gateway"
)

// What waits, and until when. Each statement answers a bounded part of its table
// by an index that holds only what waits.
const (
	sqlNearWorkLease   = `UPDATE requests SET work_lease = $1 WHERE work_step <> '' AND work_lease > $2`
	sqlNearOutboxLease = `UPDATE outbox SET lease = $1 WHERE status = 'open' AND lease > $2`

	// $1 is now, $2 how far the clock went back.
	sqlBackWork = `UPDATE requests SET work_due = CASE WHEN work_due - $2 < $1 THEN $1 ELSE work_due - $2 END,
	mark_due = CASE WHEN mark_due <= $1 THEN mark_due WHEN mark_due - $2 < $1 THEN $1 ELSE mark_due - $2 END
WHERE work_step <> '' AND work_due > $1`
	sqlBackOutbox      = `UPDATE outbox SET due = CASE WHEN due - $2 < $1 THEN $1 ELSE due - $2 END WHERE status = 'open' AND due > $1`
	sqlBackCorrections = `UPDATE corrections SET due = CASE WHEN due - $2 < $1 THEN $1 ELSE due - $2 END WHERE status = 'asking' AND due > $1`
	sqlBackDialogues   = `UPDATE registry_dialogues SET due = CASE WHEN due - $2 < $1 THEN $1 ELSE due - $2 END WHERE status = 'open' AND due > $1`

	// $1 is now, $2 the end of the horizon.
	sqlNearWork = `UPDATE requests SET work_due = $1, mark_due = CASE WHEN mark_due > $1 THEN $1 ELSE mark_due END
WHERE work_step <> '' AND work_due > $2`
	sqlNearOutbox      = `UPDATE outbox SET due = $1 WHERE status = 'open' AND due > $2`
	sqlNearCorrections = `UPDATE corrections SET due = $1 WHERE status = 'asking' AND due > $2`
	sqlNearDialogues   = `UPDATE registry_dialogues SET due = $1 WHERE status = 'open' AND due > $2`

	sqlWipeFuture = `UPDATE halves SET private = NULL, key_id = '', wiped_at = $1
WHERE wiped_at = 0 AND (printed_at > $2 OR (printed_at = 0 AND stored_at > $2))`
)

// BringNear implements gateway.ClockStore.
func (s *Store) BringNear(ctx context.Context, h gateway.Horizon, entry func(gateway.Nearer) gateway.AuditEntry) (gateway.Nearer, error) {
	var n gateway.Nearer
	now, future := micros(h.Now), micros(h.Now.Add(h.Slack))
	back := h.Back.Microseconds()
	type move struct {
		text  string
		args  []any
		count *int
	}
	moves := []move{
		{sqlNearWorkLease, []any{micros(h.Lease), micros(h.Lease.Add(h.Slack))}, &n.Leases},
		{sqlNearOutboxLease, []any{micros(h.Lease), micros(h.Lease.Add(h.Slack))}, &n.Leases},
	}
	if back > 0 {
		for _, text := range []string{sqlBackWork, sqlBackOutbox, sqlBackCorrections, sqlBackDialogues} {
			moves = append(moves, move{text, []any{now, back}, &n.Waits})
		}
	}
	work, outbox := micros(h.Now.Add(h.Work+h.Slack)), micros(h.Now.Add(h.Outbox+h.Slack))
	moves = append(moves,
		move{sqlNearWork, []any{now, work}, &n.Waits},
		move{sqlNearOutbox, []any{now, outbox}, &n.Waits},
		move{sqlNearCorrections, []any{now, work}, &n.Waits},
		move{sqlNearDialogues, []any{now, outbox}, &n.Waits},
		move{sqlWipeFuture, []any{now, future}, &n.Halves},
	)
	err := s.write(ctx, func(t *tx) error {
		n = gateway.Nearer{}
		err := t.auditing()
		if err != nil {
			return err
		}
		for _, m := range moves {
			moved, err := t.exec(m.text, m.args...)
			if err != nil {
				return err
			}
			*m.count += int(moved)
		}
		if n == (gateway.Nearer{}) {
			return nil
		}
		entries, err := s.prepareAudit("", []gateway.AuditEntry{entry(n)})
		if err != nil {
			return err
		}
		return insertAudit(t, entries)
	})
	if err != nil {
		return gateway.Nearer{}, err
	}
	return n, nil
}
