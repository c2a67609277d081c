package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"syscall"

	"modernc.org/sqlite"

	"airegw/gateway"
)

// This file holds what is SQLite's own: how a file is opened, locked and
// migrated, the statements that differ from PostgreSQL's, the error codes.

// readers is how many connections read at once.
const readers = 6

// Claiming on SQLite needs no row locks: there is one writer. A number bound to
// LIMIT as it is makes SQLite plan the statement anew each time; a cast one does
// not.
const (
	sqlClaimWork = `UPDATE requests SET work_fence = work_fence + 1, work_lease = $1
WHERE id IN (SELECT id FROM requests
	WHERE work_step <> '' AND work_due <= $2 AND work_lease <= $2 AND mark_kind <> 'parked'
	ORDER BY work_due, id LIMIT CAST($3 AS BIGINT))
RETURNING id, work_step, work_fence, work_tries, work_due, work_actor`

	// The oldest open row of a request is the one below which no row of it is
	// open or parked: a parked one holds back what came after it.
	sqlClaimOutbox = `UPDATE outbox SET fence = fence + 1, lease = $1
WHERE id IN (SELECT o.id FROM outbox o
	WHERE o.status = 'open' AND o.due <= $2 AND o.lease <= $2
	AND NOT EXISTS (SELECT 1 FROM outbox b WHERE b.request_id = o.request_id AND b.status <> 'settled' AND b.id < o.id)
	ORDER BY o.due, o.id LIMIT CAST($3 AS BIGINT))
RETURNING id, request_id, order_key, kind, act_key, key_id, private, actor, due, fence, tries`
)

// dsn answers the data source name of a path. Every pragma is per connection:
// synchronous FULL so that a commit that returned is on the disk, secure_delete
// so that wiped halves leave no bytes in the file.
func dsn(path, more string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)&_pragma=secure_delete(1)" +
		"&_pragma=synchronous(FULL)&_pragma=temp_store(MEMORY)" + more
}

// lockFile takes the advisory lock that makes this process the only writer. It
// ends with the process, however that ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &gateway.Error{Kind: gateway.Unavailable, Code: "store_unavailable", Err: wrapped("open lock", err)}
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close() // nothing was written
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, &gateway.Error{Kind: gateway.Unavailable, Code: "store_locked", Err: ErrLocked}
	}
	return nil, &gateway.Error{Kind: gateway.Unavailable, Code: "store_unavailable", Err: wrapped("lock", err)}
}

// openWriter opens the one writing connection, migrates under the file lock
// (goose takes none on SQLite) and checks what durability hangs on.
func (s *Store) openWriter(ctx context.Context, o Options) error {
	// The file holds keyed digests and metadata: its owner's business only.
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return translate("open database", err)
	}
	err = f.Close()
	if err != nil {
		return translate("open database", err)
	}
	db, err := sql.Open("sqlite", dsn(s.path, "&_pragma=journal_mode(WAL)&_pragma=cache_size(-16384)&_txlock=immediate"))
	if err != nil {
		return translate("open database", err)
	}
	db.SetMaxOpenConns(1)
	s.writer = newWriter(db, o.Queue, s.written)
	var mode string
	var synchronous int
	err = db.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode)
	if err != nil {
		return translate("open database", err)
	}
	err = db.QueryRowContext(ctx, `PRAGMA synchronous`).Scan(&synchronous)
	if err != nil {
		return translate("open database", err)
	}
	if mode != "wal" || synchronous != 2 {
		return internal("open database", fmt.Errorf("journal mode %q, synchronous %d; want wal, 2", mode, synchronous))
	}
	err = s.migrate(ctx, db, o.Environment)
	if err != nil {
		return err
	}
	err = s.writer.connect(ctx)
	if err != nil {
		return translate("open database", err)
	}
	return syncDirError(s.path)
}

// migrate brings the schema to this program's version. A newer one is refused:
// an old program does not know what its rows mean.
func (s *Store) migrate(ctx context.Context, db *sql.DB, environment string) error {
	p, err := migrations(db)
	if err != nil {
		return internal("migrate", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return translate("migrate", err)
	}
	if current > target {
		return opensNewer(ctx, db, current, target)
	}
	_, err = p.Up(ctx)
	if err != nil {
		return translate("migrate", err)
	}
	if current > 0 {
		var marks int
		err = db.QueryRowContext(ctx, `SELECT COUNT(*) FROM meta WHERE name = 'environment'`).Scan(&marks)
		if err != nil {
			return translate("read marks", err)
		}
		if marks > 0 {
			return nil
		}
	}
	// One transaction: a crash before it leaves a database without marks and
	// without requests, which the next start marks.
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return translate("mark database", err)
	}
	for _, m := range s.newMeta(environment) {
		_, err = tx.ExecContext(ctx, `INSERT INTO meta (name, value) VALUES ($1, $2)`, m[0], m[1])
		if err != nil {
			return errors.Join(translate("mark database", err), tx.Rollback())
		}
	}
	err = tx.Commit()
	if err != nil {
		return translate("mark database", err)
	}
	return nil
}

// checkSchema compares the schema's version with this program's, read-only.
func checkSchema(ctx context.Context, db *sql.DB) error {
	have, want, err := schemas(ctx, db)
	if err != nil {
		return err
	}
	if have > want {
		return opensNewer(ctx, db, have, want)
	}
	if have != want {
		return schemaError(have, want)
	}
	return nil
}

// schemas answers the database's schema and the newest this program knows.
func schemas(ctx context.Context, db *sql.DB) (have, want int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT MAX(version_id) FROM goose_db_version`).Scan(&have)
	if err != nil {
		return 0, 0, translate("read schema version", err)
	}
	p, err := migrations(db)
	if err != nil {
		return 0, 0, internal("read schema version", err)
	}
	for _, src := range p.ListSources() {
		want = max(want, src.Version)
	}
	return have, want, nil
}

// opensNewer lets a program of one release work on the next one's schema, as it
// must while replicas are replaced one by one: migrations only add, and the
// database says from which schema on a program may open it.
func opensNewer(ctx context.Context, db *sql.DB, have, want int64) error {
	var from int64
	err := db.QueryRowContext(ctx, `SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'opens_from'`).Scan(&from)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && want < from) {
		return schemaError(have, want)
	}
	return translate("read schema version", err)
}

func schemaError(have, want int64) error {
	return &gateway.Error{
		Kind: gateway.Conflict, Code: "store_schema", Err: ErrSchema,
		Args: map[string]string{"is": fmt.Sprint(have), "want": fmt.Sprint(want)},
	}
}

// openReader opens a pool that cannot write, beside whoever writes.
func openReader(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(path, "&mode=ro&_pragma=cache_size(-4096)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	return db, nil
}

// SQLite's primary result codes that say the disk or a lock is in the way, not
// that a row is wrong (sqlite.org/rescode.html).
const (
	sqliteBusy     = 5
	sqliteLocked   = 6
	sqliteNoMem    = 7
	sqliteReadOnly = 8
	sqliteIOErr    = 10
	sqliteFull     = 13
	sqliteCantOpen = 14
	sqliteProtocol = 15

	sqliteConstraint = 19
	sqliteUnique     = 2067
	sqlitePrimaryKey = 1555
)

// givesUp says that after this error the engine may have rolled back the whole
// transaction by itself (sqlite.org/lang_transaction.html §3).
func givesUp(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff != sqliteConstraint
}

// translate makes an engine's error one of ours. Errors of ours pass.
func translate(doing string, err error) error {
	if err == nil {
		return nil
	}
	var ours *gateway.Error
	if errors.As(err, &ours) {
		return err
	}
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() {
		case sqliteUnique, sqlitePrimaryKey:
			return &gateway.Error{Kind: gateway.Conflict, Code: "duplicate", Err: wrapped(doing, err)}
		}
		switch e.Code() & 0xff {
		case sqliteBusy, sqliteLocked, sqliteNoMem, sqliteReadOnly, sqliteIOErr, sqliteFull, sqliteCantOpen, sqliteProtocol:
			return &gateway.Error{Kind: gateway.Unavailable, Code: "store_unavailable", Err: wrapped(doing, err)}
		}
	}
	known := translatePostgres(doing, err)
	if known != nil {
		return known
	}
	var file *fs.PathError
	if errors.As(err, &file) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &gateway.Error{Kind: gateway.Unavailable, Code: "store_unavailable", Err: wrapped(doing, err)}
	}
	return internal(doing, err)
}

func wrapped(doing string, err error) error { return fmt.Errorf("%s: %w", doing, err) }
