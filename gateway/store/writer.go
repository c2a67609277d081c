package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"airegw/gateway"
	"airegw/gateway/fault"
)

// maxBatch is how many callers share one commit at most: it bounds how long the
// first of them waits.
const maxBatch = 256

// maxLinger bounds how long a batch waits for callers that the last commit let
// go and that are likely to come back.
const maxLinger = time.Millisecond

// writer is the only goroutine that writes: it drains a bounded queue and runs
// what it finds in one transaction, so that many callers share one sync; a
// caller whose write fails is undone alone.
type writer struct {
	db   *sql.DB
	conn *sql.Conn
	tx   *tx

	jobs    chan *job
	done    func() // after each commit that wrote something
	closing sync.RWMutex
	closed  bool

	// How big the last batch was and how long its commit took: what the next
	// one may hope for, and how long waiting for it can pay.
	lastBatch  int
	lastCommit time.Duration

	writes, commits atomic.Int64
}

// job is one caller's write.
type job struct {
	run   func(*tx) error
	state atomic.Int32 // waiting, taken, withdrawn
	done  chan error
}

const (
	waiting int32 = iota
	taken
	withdrawn
)

func newWriter(db *sql.DB, queue int, done func()) *writer {
	return &writer{db: db, jobs: make(chan *job, queue), done: done}
}

// connect takes the one connection for good.
func (w *writer) connect(ctx context.Context) error {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return err
	}
	w.conn = conn
	w.tx = &tx{conn: conn, stmts: map[string]*sql.Stmt{}}
	return nil
}

// run works until shut is called and the queue is empty.
func (w *writer) run(stopped *sync.WaitGroup) {
	defer stopped.Done()
	batch := make([]*job, 0, maxBatch)
	errs := make([]error, 0, maxBatch)
	for first := range w.jobs {
		batch, errs = append(batch[:0], first), errs[:0]
		batch, errs = w.commit(batch, errs)
		for i, j := range batch {
			j.done <- errs[i]
		}
	}
}

// commit runs the first job and whatever waits behind it in one transaction.
// When it returns, each job's error says whether its part is durable.
//
// Savepoints make the engine copy every page it touches. So the first try goes
// without: a job that fails before it changed anything (most refusals look
// first) needs none. When one fails after a change, the batch is rolled back
// and run once more with a savepoint for each caller.
func (w *writer) commit(batch []*job, errs []error) ([]*job, []error) {
	batch, errs, err := w.try(batch, errs, false)
	if errors.Is(err, errHalfDone) {
		batch, errs, err = w.try(batch, errs[:0], true)
	}
	if err == nil {
		return batch, errs
	}
	// Nothing of anybody in this batch happened.
	errs = errs[:0]
	for range batch {
		errs = append(errs, err)
	}
	return batch, errs
}

// errHalfDone says that a job without a savepoint failed after a change.
var errHalfDone = errors.New("half done")

// try runs a batch once. Without savepoints it takes more callers as they come;
// with, it runs the batch it was given. An error means that all of it was
// rolled back.
func (w *writer) try(batch []*job, errs []error, savepoints bool) ([]*job, []error, error) {
	err := w.tx.exec0(`BEGIN IMMEDIATE`)
	if err != nil {
		return batch, errs, translate("begin", err)
	}
	before := w.tx.changes
	linger := w.linger()
	defer linger.Stop()
	for i := 0; i < len(batch); i++ {
		err, undone := w.step(batch[i], savepoints)
		if !undone {
			// The batch is lost. A second ROLLBACK, after the engine's own, finds
			// no transaction, which is fine.
			_ = w.tx.exec0(`ROLLBACK`)
			w.tx.changes = before
			return batch, errs, err
		}
		errs = append(errs, err)
		if !savepoints && len(batch) < maxBatch && i == len(batch)-1 {
			j := w.next(len(batch), linger)
			if j != nil {
				batch = append(batch, j)
			}
		}
	}
	start := time.Now() // a measurement, not a date
	err = fault.Point("store.commit")
	if err == nil {
		err = w.tx.exec0(`COMMIT`)
	}
	w.lastBatch, w.lastCommit = len(batch), time.Since(start)
	if err != nil {
		rollback := w.tx.exec0(`ROLLBACK`)
		w.tx.changes = before
		return batch, errs, translate("commit", errors.Join(err, rollback))
	}
	w.writes.Add(int64(len(batch)))
	if w.tx.changes != before {
		w.commits.Add(1)
		w.done()
		err = fault.Point("store.committed")
		if err != nil {
			return batch, errs, translate("commit", err)
		}
	}
	return batch, errs, nil
}

// step runs one job. undone says that it left nothing if it failed; when it is
// false, the whole transaction must go.
func (w *writer) step(j *job, savepoint bool) (err error, undone bool) {
	if !j.take() {
		return nil, true // withdrawn: nobody waits
	}
	if !savepoint {
		before := w.tx.touched
		err = j.run(w.tx)
		if err == nil || (w.tx.touched == before && !givesUp(err)) {
			return translate("write", err), true
		}
		return errHalfDone, false
	}
	err = w.tx.exec0(`SAVEPOINT caller`)
	if err != nil {
		return translate("write", err), false
	}
	err = j.run(w.tx)
	if err == nil {
		err = w.tx.exec0(`RELEASE caller`)
		if err == nil {
			return nil, true
		}
	}
	undo := w.tx.exec0(`ROLLBACK TO caller`)
	if undo == nil {
		undo = w.tx.exec0(`RELEASE caller`)
	}
	// Without the savepoint to go back to, the engine has given up the whole
	// transaction (disk full, I/O error).
	return translate("write", err), undo == nil
}

// linger answers the moment until which a batch may wait for more callers: half
// of what the last commit cost, so that waiting never costs more than it saves.
func (w *writer) linger() *time.Timer { return time.NewTimer(min(w.lastCommit/2, maxLinger)) }

// next answers the next job of a batch of n, nil when the batch is to be
// committed. It waits only while the batch is smaller than the last one was: a
// lone caller never waits.
func (w *writer) next(n int, linger *time.Timer) *job {
	select {
	case j := <-w.jobs: // nil once it is closed
		return j
	default:
	}
	if n >= w.lastBatch {
		return nil
	}
	select {
	case j := <-w.jobs:
		return j
	case <-linger.C:
		w.lastBatch = 0 // the timer is spent: wait no more in this batch
		return nil
	}
}

// take claims the job for the writer, also when it already has it.
func (j *job) take() bool {
	return j.state.CompareAndSwap(waiting, taken) || j.state.Load() == taken
}

// submit hands a write over and waits until it is durable or failed. A context
// that ends before the write was begun withdraws it; later it is waited for,
// because it may happen.
func (w *writer) submit(ctx context.Context, run func(*tx) error) error {
	err := ctx.Err()
	if err != nil {
		return cancelled(err)
	}
	j := &job{run: run, done: make(chan error, 1)}
	err = w.enqueue(j)
	if err != nil {
		return err
	}
	select {
	case err = <-j.done:
		return err
	case <-ctx.Done():
		if j.state.CompareAndSwap(waiting, withdrawn) {
			return cancelled(ctx.Err())
		}
		return <-j.done
	}
}

func (w *writer) enqueue(j *job) error {
	w.closing.RLock()
	defer w.closing.RUnlock()
	if w.closed {
		return gateway.NewError(gateway.Unavailable, "store_closed")
	}
	select {
	case w.jobs <- j:
		return nil
	default:
		return gateway.NewError(gateway.Unavailable, "store_busy")
	}
}

// shut refuses new writes; run ends once the queue is empty.
func (w *writer) shut() {
	w.closing.Lock()
	defer w.closing.Unlock()
	if !w.closed {
		w.closed = true
		close(w.jobs)
	}
}

func (w *writer) close() error {
	var errs []error
	if w.tx != nil {
		for _, s := range w.tx.stmts {
			errs = append(errs, s.Close())
		}
	}
	if w.conn != nil {
		errs = append(errs, w.conn.Close())
	}
	return errors.Join(append(errs, w.db.Close())...)
}

func cancelled(err error) error {
	return &gateway.Error{Kind: gateway.Unavailable, Code: "cancelled", Err: err}
}

// runner runs statements: a transaction or, each by itself, by a pool.
type runner interface {
	ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// tx is what a write sees. On SQLite it is the writing connection with its
// prepared statements, and only the writer's goroutine uses it; on PostgreSQL a
// transaction of the write's own. Statements run to their end whatever happens
// to the caller's context: half a write is worse than a late one.
type tx struct {
	raw     runner          // PostgreSQL's: a transaction, or a pool for a lone statement
	ctx     context.Context // of raw: bounds the transaction, not the caller
	audited bool            // raw holds lockAudit
	before  func() error    // a lone statement's commit: what comes before it, once

	conn    *sql.Conn
	stmts   map[string]*sql.Stmt
	changes int64 // rows changed so far
	touched int64 // statements so far that may have changed rows
	// fault, set by tests only, fails the statements it names. It sees every
	// statement, those about the transaction too.
	fault atomic.Pointer[func(text string) error]
}

func (t *tx) stmt(text string) (*sql.Stmt, error) {
	s := t.stmts[text]
	if s != nil {
		return s, nil
	}
	s, err := t.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	t.stmts[text] = s
	return s, nil
}

// exec0 runs a statement about the transaction itself.
func (t *tx) exec0(text string) error {
	err := t.failing(text)
	if err != nil {
		return err
	}
	s, err := t.stmt(text) //nolint:sqlclosecheck // kept in t.stmts
	if err != nil {
		return err
	}
	_, err = s.ExecContext(context.Background())
	return err
}

// exec runs a constant statement and answers how many rows it changed.
func (t *tx) exec(text string, args ...any) (int64, error) {
	err := t.failing(text)
	if err != nil {
		return 0, err
	}
	var r sql.Result
	if t.raw != nil {
		err = t.last()
		if err != nil {
			return 0, err
		}
		r, err = t.raw.ExecContext(t.ctx, text, args...)
	} else {
		var s *sql.Stmt
		s, err = t.stmt(text) //nolint:sqlclosecheck // kept in t.stmts
		if err != nil {
			return 0, err
		}
		r, err = s.ExecContext(context.Background(), args...)
	}
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	if n != 0 {
		t.changes += n
		t.touched++
	}
	return n, err
}

// returning runs a constant write that answers rows.
func (t *tx) returning(text string, args ...any) (*sql.Rows, error) {
	t.touched++
	return t.query(text, args...)
}

// query runs a constant query.
func (t *tx) query(text string, args ...any) (*sql.Rows, error) {
	err := t.failing(text)
	if err != nil {
		return nil, err
	}
	if t.raw != nil {
		err = t.last()
		if err != nil {
			return nil, err
		}
		return t.raw.QueryContext(t.ctx, text, args...)
	}
	s, err := t.stmt(text) //nolint:sqlclosecheck // kept in t.stmts
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.Background(), args...)
}

// get answers the first row of a query, if there is one.
func (t *tx) get(text string, args []any, into ...any) (bool, error) {
	rows, err := t.query(text, args...)
	if err != nil {
		return false, err
	}
	return one(rows, into...)
}

// either answers the statement of the engine this is.
func (t *tx) either(sqlite, postgres string) string {
	if t.raw != nil {
		return postgres
	}
	return sqlite
}

// locks ends a SELECT whose rows the write builds upon: other replicas must not
// change them before it commits. SQLite has no other writer.
func (t *tx) locks() string { return t.either("", " FOR UPDATE") }

// auditing comes before an id of the audit trail is drawn, and best before any
// row is locked: see auditHorizon.
func (t *tx) auditing() error {
	if t.raw == nil || t.audited {
		return nil
	}
	rows, err := t.query(`SELECT pg_advisory_xact_lock_shared($1)`, lockAudit)
	if err != nil {
		return err
	}
	t.audited = true
	return errors.Join(rows.Close(), rows.Err()) //nolint:sqlclosecheck // nothing is read
}

// aloneWith waits until no other write is about the same: what it looks for and
// does not find, nobody adds meanwhile. SQLite has no other writer.
func (t *tx) aloneWith(what string) error {
	if t.raw == nil {
		return nil
	}
	rows, err := t.query(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, what)
	if err != nil {
		return err
	}
	return errors.Join(rows.Close(), rows.Err()) //nolint:sqlclosecheck // nothing is read
}

type (
	auditedKey struct{}
	loneKey    struct{}
)

// audited says of a write that it adds to the audit trail: its transaction begins
// with what auditing takes, in one breath.
func audited(ctx context.Context) context.Context {
	return context.WithValue(ctx, auditedKey{}, true)
}

// lone says of a write that it is one statement, which adds nothing to the audit
// trail: PostgreSQL commits it by itself, and spares two ways to the server.
func lone(ctx context.Context) context.Context { return context.WithValue(ctx, loneKey{}, true) }

// last comes before each statement. A lone one is the last, and a second none.
func (t *tx) last() error {
	if t.before == nil {
		return nil
	}
	err := t.before()
	t.before = func() error { return errors.New("a lone write has a second statement") }
	return err
}

func (t *tx) failing(text string) error {
	f := t.fault.Load()
	if f == nil {
		return nil
	}
	return (*f)(text)
}

// write is the only way to the database's pen.
func (s *Store) write(ctx context.Context, run func(*tx) error) error {
	if s.rehearse != nil {
		return s.rehearse(ctx, run)
	}
	return s.pen(ctx, run)
}

func (s *Store) pen(ctx context.Context, run func(*tx) error) error {
	if s.pg != nil {
		return s.pg.write(ctx, run)
	}
	if s.writer == nil {
		return gateway.NewError(gateway.Unavailable, "store_read_only")
	}
	return s.writer.submit(ctx, run)
}

// written is told of every commit that changed something.
func (s *Store) written() { s.dirty.Store(true) }

// syncDir makes a new or renamed file's name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func syncDirError(path string) error {
	err := syncDir(filepath.Dir(path))
	if err != nil {
		return translate("sync folder", err)
	}
	return nil
}
