package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"airegw/gateway"
)

// MoveOptions say which SQLite database moves to which PostgreSQL.
type MoveOptions struct {
	From        string // SQLite file; no server may have it open
	To          string // address of an empty PostgreSQL database
	Keys        string // key file of the database, the same before and after
	Environment string
	Random      io.Reader        // nil is crypto/rand
	Now         func() time.Time // nil is time.Now
}

// Moved is one table on both sides: what was read here was found there.
type Moved struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"` // of all rows in the order of their keys
}

// Move copies a SQLite database into an empty PostgreSQL database and answers
// its tables. It is one transaction there: everything has arrived, was read back
// with the same counts and digests and carries a whole audit chain, or nothing
// is left but the empty schema. The file stays as it is, but for its audit
// trail, which is sealed to its end first. Errors: Unavailable "store_locked"
// while a server has the file, NotFound "store_absent" when there is none,
// Conflict "move_not_empty" when the destination holds anything, Internal when
// a digest differs.
func Move(ctx context.Context, o MoveOptions) (_ []Moved, _ Report, err error) {
	err = fileThere(o.From)
	if err != nil {
		return nil, Report{}, err
	}
	common := Options{Keys: o.Keys, Environment: o.Environment, Random: o.Random, Now: o.Now, SealEvery: -1}
	source, target := common, common
	source.Path, target.URL = o.From, o.To
	from, err := Open(ctx, source)
	if err != nil {
		return nil, Report{}, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	_, err = from.Seal(ctx)
	if err != nil {
		return nil, Report{}, err
	}
	to, err := Open(ctx, target)
	if err != nil {
		return nil, Report{}, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	moved, err := from.moveTo(ctx, to)
	if err != nil {
		return nil, Report{}, err
	}
	before, err := from.VerifyAudit(ctx)
	if err != nil {
		return moved, before, err
	}
	after, err := to.VerifyAudit(ctx)
	if err == nil && (after.Head != before.Head || after.OK() != before.OK()) {
		err = internal("move", fmt.Errorf("audit chain ends with %q, was %q", after.Head, before.Head))
	}
	return moved, after, err
}

// fileThere says NotFound for a database that opening would make.
func fileThere(path string) error {
	err := absent(path, "there")
	if err == nil {
		return &gateway.Error{Kind: gateway.NotFound, Code: "store_absent", Err: ErrAbsent}
	}
	if gateway.CodeOf(err) == "there" {
		return nil
	}
	return err
}

func (s *Store) moveTo(ctx context.Context, to *Store) ([]Moved, error) {
	read, err := s.snapshot(ctx)
	if err != nil {
		return nil, translate("read database", err)
	}
	defer func() { _ = read.Rollback() }() // it only read
	conn, err := to.pg.db.Conn(ctx)
	if err != nil {
		return nil, translate("move", err)
	}
	defer conn.Close() //nolint:errcheck // back to the pool
	write, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return nil, translate("move", err)
	}
	defer func() { _ = write.Rollback() }() // after a commit there is nothing to roll back
	_, err = write.ExecContext(ctx, `SET LOCAL statement_timeout = 0`)
	if err != nil {
		return nil, translate("move", err)
	}
	_, err = write.ExecContext(ctx, `LOCK TABLE `+strings.Join(counted, ", ")+` IN EXCLUSIVE MODE`)
	if err != nil {
		return nil, translate("move", err)
	}
	for _, table := range counted {
		err = empty(ctx, write, table)
		if err != nil {
			return nil, err
		}
	}
	var all []Moved
	for _, table := range counted {
		m, err := moveTable(ctx, read, write, conn, table)
		if err != nil {
			return nil, translate("move "+table, err)
		}
		all = append(all, m)
	}
	err = write.Commit()
	if err != nil {
		return nil, translate("move", err)
	}
	return all, nil
}

// empty refuses a table that holds rows. The marks of a new database are no
// rows of anybody and make room for the old ones.
func empty(ctx context.Context, write *sql.Tx, table string) error {
	if table == "meta" {
		_, err := write.ExecContext(ctx, `DELETE FROM meta WHERE name IN ('environment', 'key_check', 'opens_from')`)
		if err != nil {
			return translate("move", err)
		}
	}
	var some bool
	err := write.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM `+table+`)`).Scan(&some)
	if err != nil {
		return translate("move", err)
	}
	if some {
		return gateway.NewError(gateway.Conflict, "move_not_empty", "table", table)
	}
	return nil
}

// moveTable copies a table and reads it back.
func moveTable(ctx context.Context, read, write *sql.Tx, conn *sql.Conn, table string) (Moved, error) {
	rows, names, err := tableRows(ctx, read, table) //nolint:rowserrcheck // tableSource looks
	if err != nil {
		return Moved{}, err
	}
	defer rows.Close()
	here := &tableSource{rows: rows, sum: sha256.New(), row: make([]any, len(names))}
	err = conn.Raw(func(c any) error {
		_, err := c.(*pgConn).conn.CopyFrom(ctx, pgx.Identifier{table}, names, here)
		return err
	})
	if err != nil {
		return Moved{}, err
	}
	arrived, _, err := tableRows(ctx, write, table) //nolint:rowserrcheck // tableSource looks
	if err != nil {
		return Moved{}, err
	}
	defer arrived.Close()
	there := &tableSource{rows: arrived, sum: sha256.New(), row: make([]any, len(names))}
	for there.Next() {
	}
	if there.err != nil {
		return Moved{}, there.err
	}
	m := Moved{Table: table, Rows: here.n, SHA256: hex.EncodeToString(here.sum.Sum(nil))}
	if there.n != m.Rows || hex.EncodeToString(there.sum.Sum(nil)) != m.SHA256 {
		return Moved{}, fmt.Errorf("%d rows were read, %d arrived, or not the same", m.Rows, there.n)
	}
	if names[0] != "id" || (table != "outbox" && table != "audit_entries" && table != "rule_sets") {
		return m, nil
	}
	// Numbers go on where they were; one that was drawn and given up stays so.
	_, err = write.ExecContext(ctx, `SELECT setval(pg_get_serial_sequence($1, 'id'), GREATEST($2, 1), $2 > 0)`, table, here.last)
	return m, err
}

// tableRows reads a table in the order of its key, which is within its first two
// columns.
func tableRows(ctx context.Context, tx *sql.Tx, table string) (*sql.Rows, []string, error) {
	none, err := tx.QueryContext(ctx, `SELECT * FROM `+table+` WHERE 1 = 0`)
	if err != nil {
		return nil, nil, err
	}
	names, err := none.Columns()
	err = errors.Join(err, none.Close()) //nolint:sqlclosecheck // closed before what follows
	if err != nil {
		return nil, nil, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT `+strings.Join(names, ", ")+` FROM `+table+` ORDER BY 1, 2`)
	return rows, names, err
}

// tableSource hands rows on and digests them as they pass. It implements
// pgx.CopyFromSource.
type tableSource struct {
	rows *sql.Rows
	sum  hash.Hash
	row  []any
	n    int64
	last int64 // of a first column that is a number
	err  error
}

// Next implements pgx.CopyFromSource.
func (t *tableSource) Next() bool {
	if t.err != nil || !t.rows.Next() {
		t.err = errors.Join(t.err, t.rows.Err())
		return false
	}
	into := make([]any, len(t.row))
	for i := range t.row {
		t.row[i] = nil
		into[i] = &t.row[i]
	}
	t.err = t.rows.Scan(into...)
	if t.err != nil {
		return false
	}
	t.n++
	for i, v := range t.row {
		t.digest(v)
		if id, ok := v.(int64); ok && i == 0 {
			t.last = max(t.last, id)
		}
	}
	return t.err == nil
}

// digest adds one value with its type and length, so that no two rows share
// their bytes.
func (t *tableSource) digest(v any) {
	var raw []byte
	kind := byte('x')
	switch v := v.(type) {
	case nil:
		kind = '-'
	case int64:
		kind, raw = 'n', binary.BigEndian.AppendUint64(nil, uint64(v))
	case string:
		kind, raw = 's', []byte(v)
	case []byte:
		raw = v
	default:
		t.err = fmt.Errorf("a value of type %T", v)
		return
	}
	t.sum.Write(append(binary.BigEndian.AppendUint64([]byte{kind}, uint64(len(raw))), raw...))
}

// Values implements pgx.CopyFromSource.
func (t *tableSource) Values() ([]any, error) { return t.row, t.err }

// Err implements pgx.CopyFromSource.
func (t *tableSource) Err() error { return t.err }
