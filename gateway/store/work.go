package store

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"airegw/gateway"
)

// ClaimWork implements gateway.Store. Work of a parked request is not due.
func (s *Store) ClaimWork(ctx context.Context, now time.Time, lease time.Duration, n int) ([]gateway.Task, error) {
	if n <= 0 {
		return nil, nil
	}
	until := now.Add(lease)
	type claim struct {
		gateway.Task
		due   int64
		actor string
	}
	var claims []claim
	err := s.write(lone(ctx), func(t *tx) error {
		claims = nil
		rows, err := t.returning(t.either(sqlClaimWork, pgClaimWork), micros(until), micros(now), n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			c := claim{Task: gateway.Task{Lease: instant(micros(until))}}
			err = rows.Scan(&c.RequestID, &c.Step, &c.Fence, &c.Tries, &c.due, &c.actor)
			if err != nil {
				return err
			}
			claims = append(claims, c)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(claims, func(a, b claim) int {
		if a.due != b.due {
			return int(min(1, max(-1, a.due-b.due)))
		}
		return strings.Compare(a.RequestID, b.RequestID)
	})
	tasks := make([]gateway.Task, len(claims))
	for i, c := range claims {
		tasks[i] = c.Task
		if c.actor == "" {
			continue
		}
		err = json.Unmarshal([]byte(c.actor), &tasks[i].Actor)
		if err != nil {
			return nil, internal("decode actor", err)
		}
	}
	return tasks, nil
}

const sqlReleaseWork = `UPDATE requests SET work_lease = 0, work_due = $3, work_tries = work_tries + $4,
	mark_kind = $5, mark_code = $6, mark_due = $7, mark_tries = $8, mark_detail = $9
WHERE id = $1 AND work_fence = $2 AND work_lease <> 0`

// ReleaseWork implements gateway.Store. Conflict "lease_lost" when another
// claim or a change came in between.
func (s *Store) ReleaseWork(ctx context.Context, task gateway.Task, due time.Time, mark gateway.Mark) error {
	tries := 0
	if mark.Kind == gateway.MarkWaiting {
		tries = 1
	}
	return s.write(lone(ctx), func(t *tx) error {
		n, err := t.exec(sqlReleaseWork, task.RequestID, task.Fence, micros(due), tries,
			string(mark.Kind), mark.Code, micros(mark.Due), mark.Tries, mark.Detail)
		if err != nil {
			return err
		}
		if n != 1 {
			return gateway.NewError(gateway.Conflict, "lease_lost")
		}
		return nil
	})
}

const (
	sqlCountStates = `SELECT state, COUNT(*) FROM requests GROUP BY state`
	sqlCountWork   = `SELECT
	(SELECT COUNT(*) FROM requests WHERE work_step <> '' AND work_due <= $1 AND mark_kind <> 'parked'),
	(SELECT COALESCE(MIN(work_due), 0) FROM requests WHERE work_step <> '' AND work_due <= $1 AND mark_kind <> 'parked'),
	(SELECT COUNT(*) FROM outbox WHERE status = 'open' AND due <= $1),
	(SELECT COALESCE(MIN(due), 0) FROM outbox WHERE status = 'open' AND due <= $1),
	(SELECT COUNT(*) FROM requests WHERE mark_kind = 'waiting' AND mark_kind <> ''),
	(SELECT COUNT(*) FROM requests WHERE mark_kind = 'parked' AND mark_kind <> ''),
	(SELECT COUNT(*) FROM audit_entries WHERE id > (SELECT COALESCE(MAX(last_id), 0) FROM audit_blocks))`
)

// Counts implements gateway.Store.
func (s *Store) Counts(ctx context.Context, now time.Time) (gateway.Counts, error) {
	c := gateway.Counts{ByState: map[gateway.State]int{}}
	rows, err := s.query(ctx, sqlCountStates)
	if err != nil {
		return gateway.Counts{}, translate("count requests", err)
	}
	defer rows.Close()
	for rows.Next() {
		var state gateway.State
		var n int
		err = rows.Scan(&state, &n)
		if err != nil {
			return gateway.Counts{}, translate("count requests", err)
		}
		c.ByState[state] = n
	}
	err = rows.Err()
	if err != nil {
		return gateway.Counts{}, translate("count requests", err)
	}
	var work, outbox int
	var oldestWork, oldestOutbox int64
	_, err = s.get(ctx, sqlCountWork,
		[]any{micros(now)}, &work, &oldestWork, &outbox, &oldestOutbox, &c.Waiting, &c.Parked, &c.Unsealed)
	if err != nil {
		return gateway.Counts{}, translate("count work", err)
	}
	c.WorkDue = work + outbox
	switch {
	case oldestWork == 0:
		c.OldestDue = instant(oldestOutbox)
	case oldestOutbox == 0:
		c.OldestDue = instant(oldestWork)
	default:
		c.OldestDue = instant(min(oldestWork, oldestOutbox))
	}
	return c, nil
}

// OperationFor answers the number of a series that is kept for a key, else the
// next one (at least floor, and greater than every one before) and keeps it;
// fresh replaces what is kept. An empty key keeps nothing. Durable on return.
func (s *Store) OperationFor(ctx context.Context, series, key string, floor int64, fresh bool, now time.Time) (int64, error) {
	var value int64
	err := s.write(ctx, func(t *tx) error {
		err := t.aloneWith(series + "/" + key)
		if err != nil {
			return err
		}
		if key != "" && !fresh {
			known, err := t.get(`SELECT value FROM series WHERE name = $1`, []any{series + "/" + key}, &value)
			if known || err != nil {
				return err
			}
		}
		next, err := t.returning(`INSERT INTO series (name, value, updated_at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET value = CASE WHEN series.value >= excluded.value THEN series.value + 1 ELSE excluded.value END, updated_at = excluded.updated_at RETURNING value`,
			series, floor, micros(now))
		if err != nil {
			return err
		}
		_, err = one(next, &value)
		if err != nil || key == "" {
			return err
		}
		_, err = t.exec(`INSERT INTO series (name, value, updated_at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at`, series+"/"+key, value, micros(now))
		return err
	})
	if err != nil {
		return 0, err
	}
	return value, nil
}
