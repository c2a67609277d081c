package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"airegw/gateway/fault"
)

// This file lets database/sql speak through one pgx connection. pgx has such a
// bridge of its own (stdlib), which brings a second pool we have no use for.

// pgConnector opens connections for a sql.DB.
type pgConnector struct{ config *pgx.ConnConfig }

func (c pgConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, c.config.Copy())
	if err != nil {
		return nil, err
	}
	return &pgConn{conn: conn, used: time.Now(), web: c.config.RuntimeParams["role"] == string(RoleWeb)}, nil
}

func (c pgConnector) Driver() driver.Driver { return pgDriver{} }

// pgDriver exists because database/sql asks for one; connections come from a
// connector only.
type pgDriver struct{}

func (pgDriver) Open(string) (driver.Conn, error) { return nil, errors.New("use a connector") }

var (
	_ driver.ConnBeginTx     = (*pgConn)(nil)
	_ driver.ExecerContext   = (*pgConn)(nil)
	_ driver.QueryerContext  = (*pgConn)(nil)
	_ driver.SessionResetter = (*pgConn)(nil)
	_ driver.Validator       = (*pgConn)(nil)
	_ driver.Pinger          = (*pgConn)(nil)
)

type pgConn struct {
	conn *pgx.Conn
	used time.Time // when a caller last got it from the pool

	// sees, on a connection of RoleWeb, is whom its rows are shown to now.
	web  bool
	sees rowsOf
}

// rowsOf is whom the database shows rows to: row security's two settings.
type rowsOf struct{ office, person string }

// everybodys is what the gateway itself sees, when it works for nobody.
var everybodys = rowsOf{office: "*"}

type rowsKey struct{}

// in answers a context in which row security shows what v sees and no more: a
// second wall behind the conditions of the statements.
func (v sight) in(ctx context.Context) context.Context {
	if v.system {
		return ctx
	}
	return context.WithValue(ctx, rowsKey{}, rowsOf{v.office, v.person})
}

// show sets row security for what comes next, unless it stands so or a
// transaction, which keeps what it began with, is under way.
func (c *pgConn) show(ctx context.Context) error {
	if !c.web || c.conn.PgConn().TxStatus() != 'I' {
		return nil
	}
	want, said := ctx.Value(rowsKey{}).(rowsOf)
	if !said || fault.Mutant("store.row-security") {
		want = everybodys
	}
	if want == c.sees {
		return nil
	}
	_, err := c.conn.Exec(ctx, `SELECT set_config('airegw.office', $1, false), set_config('airegw.person', $2, false)`, want.office, want.person)
	if err == nil {
		c.sees = want
	}
	return err
}

// Prepare answers a statement that pgx prepares, and keeps, when it is run.
func (c *pgConn) Prepare(text string) (driver.Stmt, error) { return &pgStmt{c, text}, nil }

// Begin is BeginTx for old callers, of which there are none.
func (c *pgConn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *pgConn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return c.conn.Close(ctx)
}

func (c *pgConn) Ping(ctx context.Context) error { return bad(c.conn.Ping(ctx)) }

func (c *pgConn) IsValid() bool { return !c.conn.IsClosed() }

// ResetSession refuses a connection that is not fit for its next caller: closed,
// in a transaction, or found dead after it lay idle (the server restarted).
func (c *pgConn) ResetSession(ctx context.Context) error {
	if c.conn.IsClosed() || c.conn.PgConn().TxStatus() != 'I' {
		return driver.ErrBadConn
	}
	now := time.Now()
	if now.Sub(c.used) > time.Second && c.conn.Ping(ctx) != nil {
		return driver.ErrBadConn
	}
	c.used = now
	return nil
}

// bad marks an error after which nothing had been sent, so that database/sql
// may try another connection.
func bad(err error) error {
	if err != nil && pgconn.SafeToRetry(err) {
		return driver.ErrBadConn
	}
	return err
}

// beginAudited begins a transaction that holds lockAudit shared: see auditHorizon.
var beginAudited = fmt.Sprintf(`BEGIN; SELECT pg_advisory_xact_lock_shared(%d)`, lockAudit)

func (c *pgConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	options := pgx.TxOptions{}
	switch o.Isolation {
	case 0:
	case driver.IsolationLevel(isolationSnapshot):
		options.IsoLevel = pgx.RepeatableRead
	default:
		return nil, fmt.Errorf("isolation level %d is not used here", o.Isolation)
	}
	if o.ReadOnly {
		options.AccessMode = pgx.ReadOnly
	}
	if ctx.Value(auditedKey{}) != nil {
		options.BeginQuery = beginAudited
	}
	err := c.show(ctx)
	if err != nil {
		return nil, bad(err)
	}
	tx, err := c.conn.BeginTx(ctx, options)
	if err != nil {
		return nil, bad(err)
	}
	return &pgTx{ctx, tx}, nil
}

// pgTx keeps the context of its beginning, which database/sql does not hand to
// Commit.
type pgTx struct {
	ctx context.Context
	tx  pgx.Tx
}

// Commit fails when the server answers a commit with a rollback, as it does to
// a transaction in which a statement had failed.
func (t *pgTx) Commit() error { return t.tx.Commit(t.ctx) }

func (t *pgTx) Rollback() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), 5*time.Second)
	defer cancel()
	return t.tx.Rollback(ctx)
}

func (c *pgConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	err := c.show(ctx)
	if err != nil {
		return nil, bad(err)
	}
	tag, err := c.conn.Exec(ctx, text, values(args)...)
	if err != nil {
		return nil, bad(err)
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

func (c *pgConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	err := c.show(ctx)
	if err != nil {
		return nil, bad(err)
	}
	rows, err := c.conn.Query(ctx, text, values(args)...)
	if err != nil {
		return nil, bad(err)
	}
	// The first row is asked for now, so that what is wrong with the statement
	// is an error of the query and not of an empty answer.
	r := &pgRows{rows: rows}
	r.more = rows.Next()
	if !r.more && rows.Err() != nil {
		return nil, bad(rows.Err())
	}
	return r, nil
}

func values(args []driver.NamedValue) []any {
	v := make([]any, len(args))
	for i, a := range args {
		v[i] = a.Value
	}
	return v
}

// pgStmt is a statement by its text.
type pgStmt struct {
	c    *pgConn
	text string
}

func (s *pgStmt) Close() error  { return nil }
func (s *pgStmt) NumInput() int { return -1 }

func (s *pgStmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), named(args))
}

func (s *pgStmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), named(args))
}

func (s *pgStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.c.ExecContext(ctx, s.text, args)
}

func (s *pgStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.c.QueryContext(ctx, s.text, args)
}

func named(args []driver.Value) []driver.NamedValue {
	n := make([]driver.NamedValue, len(args))
	for i, a := range args {
		n[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return n
}

type pgRows struct {
	rows pgx.Rows
	more bool // a row is ready
}

func (r *pgRows) Columns() []string {
	fields := r.rows.FieldDescriptions()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

func (r *pgRows) Close() error {
	r.rows.Close()
	return r.rows.Err()
}

func (r *pgRows) Next(into []driver.Value) error {
	if !r.more {
		err := r.rows.Err()
		if err != nil {
			return err
		}
		return io.EOF
	}
	row, err := r.rows.Values()
	if err != nil {
		return err
	}
	for i, v := range row {
		switch v := v.(type) {
		case nil, int64, float64, bool, string, []byte, time.Time:
			into[i] = v
		case int32:
			into[i] = int64(v)
		case int16:
			into[i] = int64(v)
		default:
			return fmt.Errorf("column %d of type %T is not used here", i+1, v)
		}
	}
	r.more = r.rows.Next()
	return nil
}
