package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	_ "embed" // two scripts
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"airegw/gateway"
	"airegw/gateway/fault"
)

// This file holds what is PostgreSQL's own: how a database is reached and
// migrated, how a write is a transaction among those of other replicas, the
// statements that differ from SQLite's, the error classes.

// Claims of several replicas pass each other by: a row that another one is
// claiming or changing is skipped, never waited for. The condition is repeated
// by FOR UPDATE itself: a row changed meanwhile is read again under its lock.
const (
	pgClaimWork = `WITH due AS MATERIALIZED (SELECT id FROM requests
	WHERE work_step <> '' AND work_due <= $2 AND work_lease <= $2 AND mark_kind <> 'parked'
	ORDER BY work_due, id LIMIT $3 FOR UPDATE SKIP LOCKED)
UPDATE requests r SET work_fence = r.work_fence + 1, work_lease = $1 FROM due WHERE r.id = due.id
RETURNING r.id, r.work_step, r.work_fence, r.work_tries, r.work_due, r.work_actor`

	pgClaimOutbox = `WITH ready AS MATERIALIZED (SELECT o.id FROM outbox o
	WHERE o.status = 'open' AND o.due <= $2 AND o.lease <= $2
	AND NOT EXISTS (SELECT 1 FROM outbox b WHERE b.request_id = o.request_id AND b.status <> 'settled' AND b.id < o.id)
	ORDER BY o.due, o.id LIMIT $3 FOR UPDATE OF o SKIP LOCKED)
UPDATE outbox u SET fence = u.fence + 1, lease = $1 FROM ready WHERE u.id = ready.id
RETURNING u.id, u.request_id, u.order_key, u.kind, u.act_key, u.key_id, u.private, u.actor, u.due, u.fence, u.tries`
)

// Advisory locks are numbers of the whole database. Ours begin with the bytes
// "airegw".
const (
	lockMigrate = int64(0x616972656777_0001) // one starter at a time migrates
	lockSeal    = int64(0x616972656777_0002) // one replica at a time seals the audit chain
	lockAudit   = int64(0x616972656777_0003) // held shared by every write that adds to the audit trail
)

const (
	// pgWriters is how many transactions a replica runs at once. The server
	// makes them share syncs by itself.
	pgWriters = 8
	// pgTries is how often a transaction is run that lost against another one.
	pgTries = 8
	// pgPatience bounds one transaction, connection included.
	pgPatience = 30 * time.Second
)

// isolationSnapshot reads all of a transaction at one moment.
const isolationSnapshot = sql.LevelRepeatableRead

// errAgain says that what stopped a write has gone away meanwhile: it is worth
// another try.
var errAgain = errors.New("changed meanwhile")

// postgres is how a replica writes: each write is a transaction of its own on a
// pool, since several replicas cannot share one writer. What SQLite's single
// writer gives for free, each statement's own condition gives here: unique
// indexes, compare-and-set on version and fence, row locks.
type postgres struct {
	config *pgx.ConnConfig
	db     *sql.DB
	slots  chan struct{} // one per transaction under way
	queue  int64
	done   func()        // after each commit that added to the audit trail
	news   chan struct{} // work was stored that another replica may do
	self   string        // which replica this is, in its news

	closing sync.RWMutex
	closed  bool
	working sync.WaitGroup

	standing        atomic.Int64 // writes under way or waiting
	writes, commits atomic.Int64
	fault           atomic.Pointer[func(text string) error] // see tx.fault
}

// pgConfig reads an address, URL or keywords, and sets what every connection of
// ours has.
func pgConfig(address string, readOnly bool) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		// pgx's error repeats the address, without the password only when it could
		// be parsed.
		return nil, &gateway.Error{Kind: gateway.Invalid, Code: "store_options", Err: errors.New("the database address cannot be read")}
	}
	set := func(name, value string) {
		if _, said := config.RuntimeParams[name]; !said {
			config.RuntimeParams[name] = value
		}
	}
	set("application_name", "airegw")
	set("statement_timeout", "20s")
	set("lock_timeout", "10s")
	set("idle_in_transaction_session_timeout", "60s")
	// What is acknowledged is on the disk, whatever the server's default.
	set("synchronous_commit", "on")
	if readOnly {
		config.RuntimeParams["default_transaction_read_only"] = "on"
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	return config, nil
}

func pgPool(config *pgx.ConnConfig, size int) *sql.DB {
	db := sql.OpenDB(pgConnector{config})
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	db.SetConnMaxIdleTime(time.Minute)
	return db
}

// openPostgres brings the schema up to date and opens the pools.
func (s *Store) openPostgres(ctx context.Context, o Options) error {
	config, err := pgConfig(o.URL, o.ReadOnly)
	if err != nil {
		return err
	}
	s.path = config.Database
	owner := config.Copy()
	if o.Role != "" {
		config.RuntimeParams["role"] = string(o.Role)
	}
	s.reader = pgPool(config, readers)
	if o.ReadOnly {
		s.keys, err = loadKeys(o.Keys, false, o.Random)
		if err != nil {
			return keysError(err)
		}
		return s.checkPostgres(ctx)
	}
	if config.RuntimeParams["synchronous_commit"] == "off" {
		return &gateway.Error{Kind: gateway.Invalid, Code: "store_options", Err: errors.New("synchronous_commit=off loses what was acknowledged")}
	}
	err = s.migratePostgres(ctx, owner, o)
	if err != nil {
		return err
	}
	s.pg = &postgres{
		config: config, db: pgPool(config, pgWriters+2), // the sealer and the teller need no slot
		slots: make(chan struct{}, pgWriters), queue: int64(o.Queue), done: s.written,
		news: make(chan struct{}, 1), self: rand.Text(),
	}
	return nil
}

// migratePostgres migrates and marks the database under an advisory lock, so
// that of several starters one works and the others find the work done.
func (s *Store) migratePostgres(ctx context.Context, config *pgx.ConnConfig, o Options) error {
	patient := config.Copy()
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		patient.RuntimeParams[name] = "0"
	}
	db := pgPool(patient, 3)
	defer db.Close() //nolint:errcheck // idle connections only
	conn, err := db.Conn(ctx)
	if err != nil {
		return translate("open database", err)
	}
	defer conn.Close() //nolint:errcheck // the lock ends with the pool
	_, err = conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, lockMigrate)
	if err != nil {
		return translate("lock schema", err)
	}
	unlock := func() error {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, lockMigrate)
		return translate("unlock schema", err)
	}
	return errors.Join(s.migrateLocked(ctx, db, o), unlock())
}

func (s *Store) migrateLocked(ctx context.Context, db *sql.DB, o Options) error {
	var known bool
	err := db.QueryRowContext(ctx, `SELECT to_regclass('goose_db_version') IS NOT NULL`).Scan(&known)
	if err != nil {
		return translate("read schema version", err)
	}
	// Keys are made only together with a database: see open.
	s.keys, err = loadKeys(o.Keys, !known && o.Environment == Simulation, o.Random)
	if err != nil {
		return keysError(err)
	}
	err = s.migrate(ctx, db, o.Environment)
	if err != nil {
		return err
	}
	return giveRoles(ctx, db, o.Role)
}

//go:embed postgres/functions.sql
var pgFunctions string

//go:embed postgres/roles.sql
var pgRoles string

// giveRoles makes the functions and roles of this schema, unless the database
// has them. A user who may not make roles can still serve without them; a
// replica that needs one is Invalid "store_roles".
func giveRoles(ctx context.Context, db *sql.DB, need Role) error {
	schema, known, err := schemas(ctx, db)
	if err != nil || schema > known {
		return err // the roles of a newer schema are its own program's
	}
	var have string
	err = db.QueryRowContext(ctx, `SELECT COALESCE(obj_description('meta'::regclass), '')`).Scan(&have)
	if err != nil {
		return translate("read roles", err)
	}
	sum := sha256.Sum256([]byte(pgFunctions + pgRoles))
	want := fmt.Sprintf("airegw roles %d %x", schema, sum[:8])
	if have == want {
		return nil
	}
	err = script(ctx, db, pgFunctions)
	if err != nil {
		return translate("make functions", err)
	}
	err = script(ctx, db, pgRoles+`COMMENT ON TABLE meta IS '`+want+`'`)
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == pgNotAllowed {
		if need == "" {
			return nil
		}
		return &gateway.Error{Kind: gateway.Invalid, Code: "store_roles", Err: wrapped("make roles", err)}
	}
	return translate("make roles", err)
}

// script runs statements as one transaction.
func script(ctx context.Context, db *sql.DB, text string) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // back to the pool
	return conn.Raw(func(c any) error {
		_, err := c.(*pgConn).conn.PgConn().Exec(ctx, text).ReadAll()
		return err
	})
}

// checkPostgres says NotFound when there is no schema to read.
func (s *Store) checkPostgres(ctx context.Context) error {
	var known bool
	err := s.reader.QueryRowContext(ctx, `SELECT to_regclass('goose_db_version') IS NOT NULL`).Scan(&known)
	if err != nil {
		return translate("read schema version", err)
	}
	if !known {
		return &gateway.Error{Kind: gateway.NotFound, Code: "store_absent", Err: ErrAbsent}
	}
	return nil
}

func keysError(err error) error {
	return &gateway.Error{Kind: gateway.Conflict, Code: "store_keys", Err: errors.Join(ErrKeys, err)}
}

// write runs one write as a transaction. A context that ends before it was begun
// withdraws it; later it runs to its end. A transaction that lost against
// another one (deadlock, serialization) is run again: it left nothing.
func (p *postgres) write(ctx context.Context, run func(*tx) error) error {
	err := ctx.Err()
	if err != nil {
		return cancelled(err)
	}
	err = p.enter()
	if err != nil {
		return err
	}
	defer p.working.Done()
	if p.standing.Add(1) > p.queue+pgWriters {
		p.standing.Add(-1)
		return gateway.NewError(gateway.Unavailable, "store_busy")
	}
	defer p.standing.Add(-1)
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return cancelled(ctx.Err())
	}
	defer func() { <-p.slots }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pgPatience)
	defer cancel()
	for range pgTries {
		err = p.try(ctx, run)
		if !worthAnother(err) {
			break
		}
	}
	if errors.Is(err, errAgain) {
		err = &gateway.Error{Kind: gateway.Unavailable, Code: "store_busy", Err: err}
	}
	return translate("write", err)
}

// enter refuses when the store is closing.
func (p *postgres) enter() error {
	p.closing.RLock()
	defer p.closing.RUnlock()
	if p.closed {
		return gateway.NewError(gateway.Unavailable, "store_closed")
	}
	p.working.Add(1)
	return nil
}

func (p *postgres) try(ctx context.Context, run func(*tx) error) error {
	if ctx.Value(loneKey{}) != nil {
		return p.tryLone(ctx, run)
	}
	raw, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	t := &tx{raw: raw, ctx: ctx, audited: ctx.Value(auditedKey{}) != nil}
	t.fault.Store(p.fault.Load())
	err = t.failing(`BEGIN`)
	if err == nil {
		err = run(t)
	}
	if err != nil {
		// What was wrong is what the caller must hear; a rollback that fails has
		// lost its connection, and the server rolls back.
		_ = raw.Rollback()
		return err
	}
	err = t.failing(`COMMIT`)
	if err == nil {
		err = fault.Point("store.commit")
	}
	if err != nil {
		_ = raw.Rollback()
		return err
	}
	err = raw.Commit()
	if err == nil && t.touched > 0 {
		err = fault.Point("store.committed")
	}
	if err != nil {
		return err
	}
	p.wrote(t)
	return nil
}

// tryLone runs a write of one statement, whose end is its commit.
func (p *postgres) tryLone(ctx context.Context, run func(*tx) error) error {
	t := &tx{raw: p.db, ctx: ctx}
	t.fault.Store(p.fault.Load())
	err := t.failing(`BEGIN`)
	if err != nil {
		return err
	}
	t.before = func() error {
		err := t.failing(`COMMIT`)
		if err != nil {
			return err
		}
		return fault.Point("store.commit")
	}
	err = run(t)
	if err == nil && t.touched > 0 {
		err = fault.Point("store.committed")
	}
	if err != nil {
		return err
	}
	p.wrote(t)
	return nil
}

// wrote counts a write that was committed.
func (p *postgres) wrote(t *tx) {
	p.writes.Add(1)
	if t.touched > 0 {
		p.commits.Add(1)
	}
	if t.audited {
		p.done()
	}
}

// shut refuses new writes and waits for those under way.
func (p *postgres) shut() {
	p.closing.Lock()
	p.closed = true
	p.closing.Unlock()
	p.working.Wait()
}

// channel is where replicas tell each other that there is work.
const channel = "airegw"

// tellEvery bounds how often a replica tells: a notification is a hint, and one
// says as much as a hundred. Commits of NOTIFY queue behind each other in the
// whole server, so it is no part of the write.
const tellEvery = 20 * time.Millisecond

// tell lets other replicas know of work that was stored. It never waits.
func (s *Store) tell() {
	if s.pg == nil {
		return
	}
	select {
	case s.pg.news <- struct{}{}:
	default:
	}
}

// teller passes news on while the store is open. News lost with a connection are
// found by the others' polling.
func (s *Store) teller() {
	defer s.stopped.Done()
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.pg.news:
		}
		ctx, cancel := context.WithTimeout(context.Background(), pgPatience)
		_, _ = s.pg.db.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, s.pg.self)
		cancel()
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
	}
}

// Listen calls wake whenever another replica has stored work, until ctx ends: a
// hint, since news may be lost with a connection. Of its own the caller knows. On SQLite there are no replicas and
// it only waits. It needs a connection of its own, not one behind a pooler that
// shares sessions.
func (s *Store) Listen(ctx context.Context, wake func()) {
	for s.pg != nil && ctx.Err() == nil {
		s.listen(ctx, wake)
		again := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
	<-ctx.Done()
}

// listen listens until its connection ends. Its errors are not told: whatever is
// wrong with the server, every read and write tells.
func (s *Store) listen(ctx context.Context, wake func()) {
	conn, err := pgx.ConnectConfig(ctx, s.pg.config.Copy())
	if err != nil {
		return
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	_, err = conn.Exec(ctx, `LISTEN `+channel)
	for own := false; err == nil; {
		if !own {
			wake() // also after LISTEN: what came before it was not heard
		}
		var news *pgconn.Notification
		news, err = conn.WaitForNotification(ctx)
		own = err == nil && news.Payload == s.pg.self
	}
}

// alone waits until this replica alone does what a lock stands for. done gives
// it up; the end of the process does, too. On SQLite there are no others.
func (s *Store) alone(ctx context.Context, lock int64) (done func(), err error) {
	if s.pg == nil {
		return func() {}, nil
	}
	err = s.pg.enter()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pgPatience)
	holder, err := s.pg.db.BeginTx(ctx, nil)
	if err == nil {
		_, err = holder.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, lock)
	}
	done = func() {
		if holder != nil {
			_ = holder.Rollback() // it held a lock and wrote nothing
		}
		cancel()
		s.pg.working.Done()
	}
	if err != nil {
		done()
		return nil, translate("wait for the other replicas", err)
	}
	return done, nil
}

// auditHorizon answers the id up to which the audit trail is settled: every
// entry up to it is committed or will never be. Each write that adds an entry
// holds lockAudit shared from before it draws its id until its commit, and ids are
// drawn in order. So what has an id below one that is committed is done, or belongs
// to one of those who hold the lock now: they are waited for, and nobody who comes
// later is held up.
func (s *Store) auditHorizon(ctx context.Context) (int64, error) {
	if s.pg == nil {
		return 1<<62 - 1, nil // one writer: ids become visible in their order
	}
	ctx, cancel := context.WithTimeout(ctx, pgPatience)
	defer cancel()
	var last int64
	_, err := s.get(ctx, `SELECT COALESCE(MAX(id), 0) FROM audit_entries`, nil, &last)
	if err != nil {
		return 0, translate("read audit entries", err)
	}
	writing, err := s.writesUnderWay(ctx)
	for err == nil && len(writing) > 0 {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(horizonPoll):
			var still []string
			still, err = s.writesUnderWay(ctx)
			writing = slices.DeleteFunc(writing, func(w string) bool { return !slices.Contains(still, w) })
		}
	}
	if err != nil {
		return 0, translate("wait for the writes under way", err)
	}
	return last, nil
}

// horizonPoll is how often the writes under way are looked at.
const horizonPoll = 5 * time.Millisecond

// sqlAuditing names the transactions that hold lockAudit; a name is never used again
// while the server lives.
var sqlAuditing = fmt.Sprintf(`SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
	AND CAST(classid AS BIGINT) = %d AND CAST(objid AS BIGINT) = %d AND objsubid = 1 AND granted`, lockAudit>>32, lockAudit&(1<<32-1))

// writesUnderWay answers sqlAuditing's names.
func (s *Store) writesUnderWay(ctx context.Context) (names []string, err error) {
	rows, err := s.query(ctx, sqlAuditing)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		err = rows.Scan(&name)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// pgWords replaces the words of the common schema that PostgreSQL spells
// otherwise. Text is compared byte by byte, as SQLite and Go do, so that pages
// and lists have one order everywhere.
var pgWords = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`\bINTEGER PRIMARY KEY AUTOINCREMENT\b`), `BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY`},
	{regexp.MustCompile(`\) WITHOUT ROWID;`), `);`},
	{regexp.MustCompile(`\bBLOB\b`), `BYTEA`},
	{regexp.MustCompile(`(?m)^(\s+\w+\s+)TEXT\b`), `${1}TEXT COLLATE "C"`},
	{regexp.MustCompile(`(?m)(\bADD COLUMN \w+\s+)TEXT\b`), `${1}TEXT COLLATE "C"`},
}

// pgSchema answers a migration as PostgreSQL reads it.
func pgSchema(text string) string {
	for _, w := range pgWords {
		text = w.from.ReplaceAllString(text, w.to)
	}
	return text
}

// isPostgres says what a pool speaks.
func isPostgres(db *sql.DB) bool {
	_, ok := db.Driver().(pgDriver)
	return ok
}

// PostgreSQL's error codes (postgresql.org/docs, appendix A).
const (
	pgNotGranted      = "42501"
	pgUnique          = "23505"
	pgNotAllowed      = "42501"
	pgSerialization   = "40001"
	pgDeadlock        = "40P01"
	pgNotText         = "22021"
	pgNoDatabase      = "3D000"
	pgClassLogin      = "28" // wrong password, unknown or locked user
	pgReadOnly        = "25006"
	pgIdleTooLong     = "25P03"
	pgLockNotHad      = "55P03"
	pgCancelled       = "57014"
	pgClassConnection = "08"
	pgClassResources  = "53" // disk full, out of memory, too many connections
	pgClassOperator   = "57P"
	pgClassSystem     = "58" // I/O error
)

// worthAnother says that a transaction failed because of another one and left
// nothing.
func worthAnother(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code == pgSerialization || e.Code == pgDeadlock
	}
	return errors.Is(err, errAgain)
}

// notGranted tells whether the database's user lacks the right to what was asked.
func notGranted(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == pgNotGranted
}

// translatePostgres makes an error of PostgreSQL, or of the way to it, one of
// ours; nil when it is neither.
func translatePostgres(doing string, err error) error {
	ours := func(kind gateway.Kind, code string) error {
		return &gateway.Error{Kind: kind, Code: code, Err: wrapped(doing, err)}
	}
	var e *pgconn.PgError
	if errors.As(err, &e) {
		switch {
		case e.Code == pgUnique:
			return ours(gateway.Conflict, "duplicate")
		case e.Code == pgNotText:
			return ours(gateway.Invalid, "not_text")
		case e.Code == pgSerialization, e.Code == pgDeadlock, e.Code == pgReadOnly, e.Code == pgIdleTooLong,
			e.Code == pgLockNotHad, e.Code == pgCancelled,
			strings.HasPrefix(e.Code, pgClassConnection), strings.HasPrefix(e.Code, pgClassResources),
			strings.HasPrefix(e.Code, pgClassOperator), strings.HasPrefix(e.Code, pgClassSystem):
			return ours(gateway.Unavailable, "store_unavailable")
		}
		return nil
	}
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) || errors.Is(err, pgconn.ErrConnClosed) {
		return ours(gateway.Unavailable, "store_unavailable")
	}
	return nil
}

// turnedAway names why a server does not let us in at all, which only whoever
// runs it can mend.
func turnedAway(err error) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case strings.HasPrefix(e.Code, pgClassLogin):
		return &gateway.Error{Kind: gateway.Invalid, Code: "store_login", Err: e}
	case e.Code == pgNoDatabase:
		return &gateway.Error{Kind: gateway.Invalid, Code: "store_database", Err: e}
	}
	return err
}

// Away tells whether an error of Open, or of the first use after it, says that
// the database is out of reach for now (its server restarts, does not answer,
// has no room) and that trying again is worth while. Whatever somebody has to
// mend is not: credentials, the name of the database, its schema, a certificate
// that is not believed.
func Away(err error) bool {
	var unbelieved *tls.CertificateVerificationError
	return gateway.CodeOf(err) == "store_unavailable" && !errors.As(err, &unbelieved)
}
