package store

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"airegw/gateway"
)

// workerStates and outboxStates are the states in which a worker or the outbox
// has the next move; in every other open state it is a person's (a citizen's or
// a clerk's) or the core's, which needs no due time of ours.
var (
	workerStates = []gateway.State{gateway.StateSubmitted}
	outboxStates = []gateway.State{gateway.StateSigned}
)

// Invariants reads the whole database in one snapshot and answers what cannot
// be: one sentence each, at most 100 a rule, without personal data. An empty
// answer means that they hold: sequences without gaps, rows that say what their
// events say, events all in the trail, and nobody forgotten (I5 of the
// reliability sheet: a request whose next move is ours has work or an outbox
// row with a due time, or a mark). Work overdue by more than an hour at now
// counts as forgotten.
func (s *Store) Invariants(ctx context.Context, now time.Time) ([]string, error) {
	late := micros(now.Add(-time.Hour))
	rules := []struct {
		text string
		args []any
		says string
	}{
		{`SELECT e.request_id || ' has ' || COUNT(*) || ' events up to ' || MAX(e.seq) FROM events e
GROUP BY e.request_id HAVING MIN(e.seq) <> 1 OR MAX(e.seq) <> COUNT(*)`, nil, "gap in events"},
		{`SELECT r.id || ' version ' || r.version FROM requests r
WHERE r.version <> (SELECT COUNT(*) FROM events e WHERE e.request_id = r.id)`, nil, "version is not the number of events"},
		{`SELECT r.id || ' row ' || r.state || ', event ' || e.to_state FROM requests r
JOIN events e ON e.request_id = r.id AND e.seq = r.version WHERE e.to_state <> r.state`, nil, "state is not the last event's"},
		{`SELECT r.id FROM requests r WHERE NOT EXISTS (SELECT 1 FROM request_persons p
WHERE p.request_id = r.id AND p.person_digest = r.applicant_digest)`, nil, "applicant cannot see the request"},
		{`SELECT r.id || ' in ' || r.state FROM requests r WHERE r.state IN (` + stateList(workerStates) + `)
AND r.work_step = '' AND r.mark_kind <> 'parked'`, nil, "I5: no worker will come"},
		{`SELECT r.id || ' in ' || r.state FROM requests r WHERE r.state IN ('submitted', 'prechecked')
AND r.office_id = '' AND r.work_step = '' AND r.mark_kind <> 'parked'`, nil, "I5: no office and no work"},
		{
			`SELECT r.id || ' in ' || r.state FROM requests r WHERE r.state IN (` + stateList(outboxStates) + `)
AND r.mark_kind <> 'parked'
AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.request_id = r.id AND o.kind = 'submission' AND o.status <> 'settled')`,
			nil, "I5: signed, and no outbox row",
		},
		{`SELECT r.id FROM requests r WHERE r.mark_kind = 'waiting' AND r.work_step = ''
AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.request_id = r.id AND o.status = 'open')
AND r.mark_due = 0`, nil, "I5: waits without a due time"},
		{`SELECT r.id || ' ' || r.work_step FROM requests r WHERE r.work_step <> '' AND r.mark_kind <> 'parked'
AND r.work_due < $1 AND r.work_lease < $1`, []any{late}, "I5: work overdue by an hour"},
		{
			`SELECT o.request_id || ' row ' || o.id FROM outbox o WHERE o.status = 'open' AND o.due < $1 AND o.lease < $1
AND NOT EXISTS (SELECT 1 FROM outbox b WHERE b.request_id = o.request_id AND b.status <> 'settled' AND b.id < o.id)`,
			[]any{late},
			"I5: outbox row overdue by an hour",
		},
		{`SELECT o.request_id || ' row ' || o.id FROM outbox o JOIN requests r ON r.id = o.request_id
WHERE o.status = 'parked' AND r.mark_kind <> 'parked'`, nil, "I5: parked outbox row nobody is shown"},
		{`SELECT x.request_id FROM (SELECT request_id, office_id FROM events UNION ALL SELECT request_id, office_id FROM request_persons
UNION ALL SELECT request_id, office_id FROM outbox UNION ALL SELECT request_id, office_id FROM halves) x
JOIN requests r ON r.id = x.request_id WHERE x.office_id <> r.office_id GROUP BY x.request_id`, nil, "rows of a request name another office"},
		{`SELECT h.order_key FROM halves h JOIN requests r ON r.id = h.request_id
WHERE h.wiped_at = 0 AND r.state IN (` + stateList(afterHalves()) + `)`, nil, "halves kept after the forms"},
	}
	tx, err := s.snapshot(ctx)
	if err != nil {
		return nil, translate("check invariants", err)
	}
	defer func() { _ = tx.Rollback() }() // it only read
	var broken []string
	for _, rule := range rules {
		rows, err := tx.QueryContext(ctx, rule.text+` LIMIT 100`, rule.args...)
		if err != nil {
			return nil, translate("check invariants: "+rule.says, err)
		}
		found, err := strings1(rows)
		if err != nil {
			return nil, translate("check invariants: "+rule.says, err)
		}
		for _, f := range found {
			broken = append(broken, rule.says+": "+f)
		}
	}
	return broken, nil
}

// afterHalves are the states in which the forms have been confirmed, or the
// order is dead: no first half may be left.
func afterHalves() []gateway.State {
	return []gateway.State{
		gateway.StateSigned, gateway.StateRelayed, gateway.StateCertified, gateway.StateInProduction,
		gateway.StateShipped, gateway.StateDelivered, gateway.StateRefused, gateway.StateCancelled,
	}
}

// Stats is the database as a file, or as PostgreSQL sees it (Path is its name
// then, and the log is the server's).
type Stats struct {
	Path      string           `json:"path"`
	Bytes     int64            `json:"bytes"`
	WALBytes  int64            `json:"wal_bytes"`
	Schema    int64            `json:"schema"`
	Rows      map[string]int64 `json:"rows"`
	Writes    int64            `json:"writes"`               // since the start, by this process
	Commits   int64            `json:"commits"`              // that they shared: one sync each
	SealError string           `json:"seal_error,omitempty"` // why the audit chain does not grow
}

// Stats counts every table; it reads the whole database's indexes.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	st := Stats{Path: s.path, Rows: map[string]int64{}}
	err := s.sizes(ctx, &st)
	if err != nil {
		return Stats{}, translate("read sizes", err)
	}
	for _, table := range counted {
		var n int64
		err = s.reader.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+table).Scan(&n)
		if err != nil {
			return Stats{}, translate("count rows", err)
		}
		st.Rows[table] = n
	}
	err = s.reader.QueryRowContext(ctx, `SELECT MAX(version_id) FROM goose_db_version`).Scan(&st.Schema)
	if err != nil {
		return Stats{}, translate("read schema version", err)
	}
	switch {
	case s.writer != nil:
		st.Writes, st.Commits = s.writer.writes.Load(), s.writer.commits.Load()
	case s.pg != nil:
		st.Writes, st.Commits = s.pg.writes.Load(), s.pg.commits.Load()
	}
	if e := s.sealErr.Load(); e != nil && *e != nil {
		st.SealError = (*e).Error()
	}
	return st, nil
}

// sizes reads how big the database is.
func (s *Store) sizes(ctx context.Context, st *Stats) error {
	if isPostgres(s.reader) {
		return s.reader.QueryRowContext(ctx, `SELECT pg_database_size(current_database())`).Scan(&st.Bytes)
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	st.Bytes = info.Size()
	info, err = os.Stat(s.path + "-wal")
	switch {
	case err == nil:
		st.WALBytes = info.Size()
	case !os.IsNotExist(err):
		return err
	}
	return nil
}

// BenchResult is what the machine itself can do, beside what the product does.
type BenchResult struct {
	Rows   int           `json:"rows"`
	Counts int64         `json:"counted"` // rows found in the database afterwards
	Took   time.Duration `json:"took_ns"`
}

// PerSecond answers rows per second.
func (b BenchResult) PerSecond() float64 { return float64(b.Rows) / b.Took.Seconds() }

// RawInsertBench writes n requests of the given payload with callers at once
// straight into the database: the same rows, the same group commit, no HTTP, no
// validation. It is the product's limit on this machine and belongs on a
// database of its own: the rows are requests of nobody. Rows are counted
// afterwards.
func (s *Store) RawInsertBench(ctx context.Context, n, callers int, payload []byte) (BenchResult, error) {
	before, err := s.countRequests(ctx)
	if err != nil {
		return BenchResult{}, err
	}
	callers = max(1, callers)
	failed := make(chan error, callers)
	run := strconv.FormatInt(s.now().UnixNano(), 36)
	start := time.Now() // a measurement, not a date
	for c := range callers {
		go func() {
			for i := c; i < n; i += callers {
				err := s.rawInsert(ctx, fmt.Sprintf("BENCH-%s-%d", run, i), payload)
				if err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range callers {
		e := <-failed
		if err == nil {
			err = e
		}
	}
	took := time.Since(start)
	if err != nil {
		return BenchResult{}, err
	}
	after, err := s.countRequests(ctx)
	if err != nil {
		return BenchResult{}, err
	}
	return BenchResult{Rows: n, Counts: after - before, Took: took}, nil
}

func (s *Store) rawInsert(ctx context.Context, id string, payload []byte) error {
	now := s.now()
	_, _, err := s.Create(ctx, gateway.NewRequest{
		ID: id, Namespace: "bench", Key: id, BodyDigest: id, Applicant: id, Surname: "BENCH", Tracker: id,
		Office: gateway.Office{Kind: gateway.OfficeComune, Code: "000000"},
		Event: gateway.Event{
			Seq: 1, Type: gateway.EventSubmitted, To: gateway.StateSubmitted, At: now,
			Actor: gateway.Actor{Kind: gateway.ActorClient, ID: "bench"}, Private: payload,
		},
	})
	return err
}

func (s *Store) countRequests(ctx context.Context) (int64, error) {
	var n int64
	err := s.reader.QueryRowContext(ctx, `SELECT COUNT(*) FROM requests`).Scan(&n)
	if err != nil {
		return 0, translate("count requests", err)
	}
	return n, nil
}

// FsyncsPerSecond measures for d how many appends of one 4 KiB page, each with
// its sync, the disk under dir takes, one after the other.
func FsyncsPerSecond(dir string, d time.Duration) (float64, error) {
	f, err := os.CreateTemp(dir, "fsync-*")
	if err != nil {
		return 0, translate("measure syncs", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // what was measured is said already
	defer f.Close()           //nolint:errcheck // each write was synced
	page := make([]byte, 4096)
	n := 0
	start := time.Now() // a measurement, not a date
	for time.Since(start) < d {
		_, err = f.Write(page)
		if err != nil {
			return 0, translate("measure syncs", err)
		}
		err = f.Sync()
		if err != nil {
			return 0, translate("measure syncs", err)
		}
		n++
	}
	return float64(n) / time.Since(start).Seconds(), nil
}
