package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"airegw/anpr"
)

const (
	sqlBookCall = `INSERT INTO register_usage (service, day, used, updated_at) VALUES ($1, $2, 1, $3)
ON CONFLICT (service, day) DO UPDATE SET used = register_usage.used + 1, updated_at = excluded.updated_at WHERE register_usage.used < $4`
	sqlTrace = `INSERT INTO register_tracing (id, day, purpose_id, status, token_id, requests_count) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET requests_count = register_tracing.requests_count + excluded.requests_count`
	sqlUsed  = `SELECT service, used FROM register_usage WHERE day = $1`
	sqlStops = `SELECT service, code, since, until, probe_at FROM register_stops ORDER BY service`
	sqlStop  = `INSERT INTO register_stops (service, code, since, until, probe_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (service) DO UPDATE SET code = excluded.code, since = excluded.since, until = excluded.until, probe_at = excluded.probe_at
WHERE register_stops.until <= excluded.until`
	sqlProbe   = `UPDATE register_stops SET probe_at = $3 WHERE service = $1 AND probe_at = $2`
	sqlResume  = `UPDATE register_stops SET until = 0, probe_at = 0 WHERE service = $1`
	sqlTracing = `SELECT purpose_id, status, token_id, requests_count FROM register_tracing WHERE day = $1 ORDER BY id`
)

// Quota answers the register's quota memory (anpr.Quota). Nothing in it is
// personal: services, days, counts, ids of vouchers.
func (s *Store) Quota() anpr.Quota { return quota{s} }

type quota struct{ s *Store }

// Book implements anpr.Quota.
func (q quota) Book(ctx context.Context, b anpr.Booking) (ok bool, err error) {
	most := b.Most
	if most <= 0 {
		most = 1 << 30
	}
	err = q.s.write(ctx, func(t *tx) error {
		n, err := t.exec(sqlBookCall, b.Service, b.Day, micros(b.At), most)
		ok = n == 1
		if err != nil || !ok {
			return err
		}
		return insertTraces(t, b.Traces)
	})
	return ok, err
}

func insertTraces(t *tx, traces []anpr.Trace) error {
	for _, tr := range traces {
		id := strings.Join([]string{tr.Day, tr.PurposeID, strconv.Itoa(tr.Status), tr.TokenID}, " ")
		_, err := t.exec(sqlTrace, id, tr.Day, tr.PurposeID, tr.Status, tr.TokenID, tr.Count)
		if err != nil {
			return err
		}
	}
	return nil
}

// Keep implements anpr.Quota.
func (q quota) Keep(ctx context.Context, traces []anpr.Trace) error {
	if len(traces) == 0 {
		return nil
	}
	return q.s.write(ctx, func(t *tx) error { return insertTraces(t, traces) })
}

// Spent implements anpr.Quota.
func (q quota) Spent(ctx context.Context, day string) (anpr.Spent, error) {
	spent := anpr.Spent{Used: map[string]int{}}
	rows, err := q.s.query(ctx, sqlUsed, day)
	if err != nil {
		return spent, translate("read quota", err)
	}
	defer rows.Close()
	for rows.Next() {
		var service string
		var used int
		err = rows.Scan(&service, &used)
		if err != nil {
			return spent, translate("read quota", err)
		}
		spent.Used[service] = used
	}
	err = rows.Err()
	if err != nil {
		return spent, translate("read quota", err)
	}
	stops, err := q.s.query(ctx, sqlStops)
	if err != nil {
		return spent, translate("read stops", err)
	}
	defer stops.Close()
	for stops.Next() {
		var s anpr.Stop
		var since, until, probe int64
		err = stops.Scan(&s.Service, &s.Code, &since, &until, &probe)
		if err != nil {
			return spent, translate("read stops", err)
		}
		s.Since, s.Until, s.ProbeAt = instant(since), instant(until), instant(probe)
		spent.Stops = append(spent.Stops, s)
	}
	return spent, translate("read stops", stops.Err())
}

// Stop implements anpr.Quota.
func (q quota) Stop(ctx context.Context, s anpr.Stop) error {
	return q.s.write(ctx, func(t *tx) error {
		_, err := t.exec(sqlStop, s.Service, string(s.Code), micros(s.Since), micros(s.Until), micros(s.ProbeAt))
		return err
	})
}

// Probe implements anpr.Quota.
func (q quota) Probe(ctx context.Context, service string, from, next time.Time) (mine bool, err error) {
	err = q.s.write(ctx, func(t *tx) error {
		n, err := t.exec(sqlProbe, service, micros(from), micros(next))
		mine = n == 1
		return err
	})
	return mine, err
}

// Resume implements anpr.Quota.
func (q quota) Resume(ctx context.Context, service string) error {
	return q.s.write(ctx, func(t *tx) error {
		_, err := t.exec(sqlResume, service)
		return err
	})
}

// Tracing answers what was asked of the register on a day (YYYY-MM-DD,
// Europe/Rome), as PDND's daily tracing wants it, in a fixed order.
func (s *Store) Tracing(ctx context.Context, day string) ([]anpr.Trace, error) {
	rows, err := s.query(ctx, sqlTracing, day)
	if err != nil {
		return nil, translate("read tracing", err)
	}
	defer rows.Close()
	var out []anpr.Trace
	for rows.Next() {
		tr := anpr.Trace{Day: day}
		err = rows.Scan(&tr.PurposeID, &tr.Status, &tr.TokenID, &tr.Count)
		if err != nil {
			return nil, translate("read tracing", err)
		}
		out = append(out, tr)
	}
	return out, translate("read tracing", rows.Err())
}
