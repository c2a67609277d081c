package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"airegw/gateway"
)

// maxBatch is how many callers share one commit at most: it bounds how long the
// first of them waits.
const maxBatch = 256

// writer is the only goroutine that writes: it drains a bounded queue and runs
// what it finds in one transaction, each caller in a savepoint of its own, so
// that many callers share one sync and a bad row fails one caller.
type writer struct {
	db   *sql.DB
	conn *sql.Conn
	tx   *tx

	jobs    chan *job
	done    func() // after each commit that wrote something
	closing sync.RWMutex
	closed  bool
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
func (w *writer) commit(batch []*job, errs []error) ([]*job, []error) {
	fail := func(err error) ([]*job, []error) {
		for i := range batch {
			if i == len(errs) {
				errs = append(errs, err)
			} else if errs[i] == nil {
				errs[i] = err
			}
		}
		return batch, errs
	}
	err := w.tx.exec0(`BEGIN IMMEDIATE`)
	if err != nil {
		return fail(translate("begin", err))
	}
	before := w.tx.changes
	for i := 0; i < len(batch); i++ {
		err, lost := w.step(batch[i])
		errs = append(errs, err)
		if lost {
			// The engine gave up the whole transaction (disk full, I/O error):
			// nothing of anybody in this batch happened.
			return fail(err)
		}
		if len(batch) == maxBatch {
			continue
		}
		select {
		case j, ok := <-w.jobs:
			if ok {
				batch = append(batch, j)
			}
		default:
		}
	}
	err = w.tx.exec0(`COMMIT`)
	if err != nil {
		rollback := w.tx.exec0(`ROLLBACK`)
		return fail(translate("commit", errors.Join(err, rollback)))
	}
	if w.tx.changes != before && w.done != nil {
		w.done()
	}
	return batch, errs
}

// step runs one job in its savepoint. lost says that the whole transaction is
// gone.
func (w *writer) step(j *job) (err error, lost bool) {
	if !j.state.CompareAndSwap(waiting, taken) {
		return nil, false // withdrawn: nobody waits
	}
	err = w.tx.exec0(`SAVEPOINT caller`)
	if err == nil {
		err = j.run(w.tx)
		if err == nil {
			err = w.tx.exec0(`RELEASE caller`)
			if err == nil {
				return nil, false
			}
		}
	}
	undo := w.tx.exec0(`ROLLBACK TO caller`)
	if undo == nil {
		undo = w.tx.exec0(`RELEASE caller`)
	}
	if undo != nil {
		// No savepoint any more: SQLite rolled everything back by itself, or we
		// do it now. A second ROLLBACK may find no transaction, which is fine.
		_ = w.tx.exec0(`ROLLBACK`)
		return translate("write", err), true
	}
	return translate("write", err), false
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

// tx is what a write sees: the writing connection with its prepared statements.
// Only the writer's goroutine uses it. Statements run to their end whatever
// happens to the caller's context: half a write is worse than a late one.
type tx struct {
	conn    *sql.Conn
	stmts   map[string]*sql.Stmt
	changes int64 // rows changed so far
	// fault, set by tests only, fails the statements it names.
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
	s, err := t.stmt(text)
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
	s, err := t.stmt(text)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	t.changes += n
	return n, err
}

// query runs a constant query, or a write with RETURNING.
func (t *tx) query(text string, args ...any) (*sql.Rows, error) {
	err := t.failing(text)
	if err != nil {
		return nil, err
	}
	s, err := t.stmt(text)
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

func (t *tx) failing(text string) error {
	f := t.fault.Load()
	if f == nil {
		return nil
	}
	return (*f)(text)
}

// write is the only way to the database's pen.
func (s *Store) write(ctx context.Context, run func(*tx) error) error {
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
