package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"

	"airegw/gateway"
)

// fullDisk answers the engine's own error of a full disk, by making one.
func fullDisk(t testing.TB) error {
	t.Helper()
	path := t.TempDir() + "/full.db"
	db, err := openRaw(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, text := range []string{`CREATE TABLE t (b BLOB)`, `PRAGMA max_page_count = 3`, `INSERT INTO t VALUES (zeroblob(100000))`} {
		_, err = db.Exec(text)
	}
	var e *sqlite.Error
	if err == nil || !asSQLite(err, &e) || e.Code() != sqliteFull {
		t.Fatalf("the disk is not full: %v", err)
	}
	return err
}

// failStatement fails the k-th statement of each transaction from now as a full
// disk would, the commit too. fired says whether there was one.
func (s *Store) failStatement(k int, full error) (fired func() bool, heal func()) {
	var n atomic.Int64
	var met atomic.Bool
	f := func(text string) error {
		switch {
		case strings.HasPrefix(text, "BEGIN"):
			n.Store(0) // each try of a batch meets the disk anew
			return nil
		case strings.HasPrefix(text, "SAVEPOINT"), strings.HasPrefix(text, "RELEASE"), strings.HasPrefix(text, "ROLLBACK"):
			return nil
		}
		if n.Add(1) != int64(k) {
			return nil
		}
		met.Store(true)
		return full
	}
	fault := s.faults()
	fault.Store(&f)
	return met.Load, func() { fault.Store(nil) }
}

func (s *Store) faults() *atomic.Pointer[func(string) error] {
	if s.pg != nil {
		return &s.pg.fault
	}
	return &s.writer.tx.fault
}

// rehearsals is how often the writes of one function are rehearsed in a store.
const rehearsals = 2

// rehearsed are the functions whose writes were rehearsed, by engine.
var rehearsed sync.Map

// Rehearsed answers the functions whose writes were rehearsed on an engine.
func Rehearsed(engine string) map[string]bool {
	all := map[string]bool{}
	rehearsed.Range(func(key, _ any) bool {
		if e, name, _ := strings.Cut(key.(string), " "); e == engine {
			all[name] = true
		}
		return true
	})
	return all
}

// Rehearse makes the first writes of each function fail at their first, second, …
// statement, up to the commit, before they are done: each time everything or
// nothing must have changed. Nobody else may write to the database meanwhile.
func (s *Store) Rehearse(t testing.TB) {
	t.Helper()
	engine, full := "PostgreSQL", error(&pgconn.PgError{Code: "53100", Message: "disk full"})
	if s.pg == nil {
		engine, full = "SQLite", fullDisk(t)
	}
	var turn sync.RWMutex
	var mu sync.Mutex
	done := map[string]int{}
	s.rehearse = func(ctx context.Context, run func(*tx) error) error {
		var pcs [1]uintptr
		runtime.Callers(3, pcs[:]) // who called write
		frame, _ := runtime.CallersFrames(pcs[:]).Next()
		name := frame.Function
		mu.Lock()
		done[name]++
		again := done[name] <= rehearsals
		mu.Unlock()
		if !again || ctx.Err() != nil || strings.HasSuffix(name, ".sealBlock") {
			turn.RLock()
			defer turn.RUnlock()
			return s.pen(ctx, run)
		}
		turn.Lock()
		defer turn.Unlock()
		rehearsed.Store(engine+" "+name, true)
		before := s.Contents(t)
		for k := 1; ; k++ {
			fired, heal := s.failStatement(k, full)
			err := s.pen(ctx, run)
			heal()
			if !fired() {
				return err
			}
			var ours *gateway.Error
			if !errors.As(err, &ours) || ours.Kind != gateway.Unavailable || ours.Code != "store_unavailable" {
				t.Errorf("%s with statement %d failing answers %v", name, k, err)
			}
			if after := s.Contents(t); after != before {
				t.Errorf("%s with statement %d failing left:\n%s\nbefore:\n%s", name, k, after, before)
			}
			if k > 200 {
				t.Errorf("%s never ends", name)
				return err
			}
		}
	}
}

// owner answers a pool without the replica's role, to be closed.
func (s *Store) owner() *sql.DB {
	config := s.pg.config.Copy()
	delete(config.RuntimeParams, "role")
	return pgPool(config, 1)
}

// CutConnections ends every other connection to the database, as the server
// does when the process at their other end is gone.
func (s *Store) CutConnections(t testing.TB) {
	t.Helper()
	db := s.owner()
	defer db.Close()
	_, err := db.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	if err != nil {
		t.Fatal(err)
	}
}

// AuditSlowly writes an audit entry and calls meanwhile before it commits.
func (s *Store) AuditSlowly(ctx context.Context, e gateway.AuditEntry, meanwhile func()) error {
	rows, err := s.prepareAudit("", []gateway.AuditEntry{e})
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		err := insertAudit(t, rows)
		meanwhile()
		return err
	})
}

// WaitForSealer waits until a replica is sealing.
func (s *Store) WaitForSealer(t testing.TB) {
	t.Helper()
	for n := 0; n == 0; {
		err := s.reader.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted
AND CAST(objid AS BIGINT) = $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, lockSeal&(1<<32-1)).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Contents answers every row of every table as text.
func (s *Store) Contents(t testing.TB) string {
	t.Helper()
	db := s.reader
	if s.pg != nil {
		db = s.owner()
		defer db.Close()
	}
	var b strings.Builder
	for _, table := range counted {
		if table == "audit_blocks" {
			continue // the sealer's, not the caller's
		}
		rows, err := db.QueryContext(context.Background(), `SELECT * FROM `+table+` ORDER BY 1, 2`)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		for rows.Next() {
			err = rows.Scan(values...)
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString(table)
			for i := range values {
				fmt.Fprintf(&b, " %s=%v", columns[i], *values[i].(*any))
			}
			b.WriteByte('\n')
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
		rows.Close() //nolint:sqlclosecheck // in a loop: closed before what follows
	}
	return b.String()
}

// Write runs a write of the test's own.
func (s *Store) Write(ctx context.Context, statements ...string) error {
	return s.write(ctx, func(t *tx) error {
		for _, text := range statements {
			_, err := t.exec(text)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Pragma answers a pragma of the writing connection.
func (s *Store) Pragma(t testing.TB, name string) string {
	t.Helper()
	var v string
	err := s.write(context.Background(), func(t *tx) error {
		_, err := t.get(`PRAGMA `+name, nil, &v)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// LoadAll loads as the gateway itself does.
func (s *Store) LoadAll(ctx context.Context, id string) (int, error) {
	events, _, err := s.load(ctx, sight{system: true}, id)
	return len(events), err
}

// NormalSurname is normalSurname.
var NormalSurname = normalSurname

func openRaw(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path)
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

func asSQLite(err error, e **sqlite.Error) bool { return errors.As(err, e) }

// Raw runs a statement as the replica's role for an office or person, without
// the store's own conditions, and answers the rows it returned or changed.
func (s *Store) Raw(office, person, text string) (int64, error) {
	ctx := context.WithValue(context.Background(), rowsKey{}, rowsOf{office, person})
	if strings.HasPrefix(text, "SELECT") {
		var n int64
		err := s.reader.QueryRowContext(ctx, text).Scan(&n)
		return n, err
	}
	r, err := s.pg.db.ExecContext(ctx, text)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// PersonDigest is how the database knows a fiscal code.
func (s *Store) PersonDigest(code string) string { return s.keys.person(code) }

// Translate is translate.
var Translate = translate

// WaitForStanding waits until n writes are under way or stand in the queue.
func (s *Store) WaitForStanding(n int64) {
	for s.pg.standing.Load() < n {
		runtime.Gosched()
	}
}

// HashFile is hashFile.
func HashFile(t testing.TB, path string) (string, int64) {
	t.Helper()
	digest, size, err := hashFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return digest, size
}

// Block holds the writer until release is called.
func (s *Store) Block(t testing.TB) (release func()) {
	t.Helper()
	begun, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		_ = s.write(context.Background(), func(*tx) error {
			once.Do(func() { close(begun) })
			<-free
			return nil
		})
	}()
	<-begun
	return func() { close(free) }
}

// WaitForQueue waits until n writes stand in the queue.
func (s *Store) WaitForQueue(n int) {
	for len(s.writer.jobs) < n {
		runtime.Gosched()
	}
}

// Rotates says that key rotation reaches a table's encrypted column.
func Rotates(table string) bool {
	for _, c := range sealedColumns {
		if c.table == table {
			return true
		}
	}
	return false
}

// FailNth fails the k-th statement of each transaction from now as a full disk
// would.
func (s *Store) FailNth(t testing.TB, k int) (fired func() bool, heal func()) {
	t.Helper()
	if s.pg != nil {
		return s.failStatement(k, &pgconn.PgError{Code: "53100", Message: "disk full"})
	}
	return s.failStatement(k, fullDisk(t))
}

// PostgresPool answers a pool of the database's owner.
func PostgresPool(t testing.TB, address string) *sql.DB {
	t.Helper()
	config, err := pgConfig(address, false)
	if err != nil {
		t.Fatal(err)
	}
	db := pgPool(config, 1)
	t.Cleanup(func() { db.Close() })
	return db
}

// Understands has the engine read a statement without running it.
func Understands(t testing.TB, db *sql.DB, text string) error {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		return err
	}
	defer conn.Close()
	if !isPostgres(db) {
		s, err := conn.PrepareContext(t.Context(), text)
		if err != nil {
			return err
		}
		return s.Close() //nolint:sqlclosecheck // closed before what follows
	}
	return conn.Raw(func(c any) error {
		_, err := c.(*pgConn).conn.PgConn().Prepare(t.Context(), "", text, nil)
		return err
	})
}

// Tamper answers a way around the store, with the rights of who owns the
// database, that does not wait for the disk.
func (s *Store) Tamper(t testing.TB) *sql.DB {
	t.Helper()
	if s.pg == nil {
		db, err := sql.Open("sqlite", "file:"+s.path+"?_pragma=busy_timeout(10000)&_pragma=synchronous(OFF)")
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		t.Cleanup(func() { db.Close() })
		return db
	}
	config := s.pg.config.Copy()
	delete(config.RuntimeParams, "role")
	config.RuntimeParams["synchronous_commit"] = "off"
	db := pgPool(config, 1)
	t.Cleanup(func() { db.Close() })
	return db
}
