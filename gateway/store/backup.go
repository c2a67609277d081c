package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"airegw/gateway"
	"airegw/gateway/fault"
)

// Manifest says what a backup holds, so that a restore can be compared with it.
// It lies beside the backup as <name>.manifest.json.
type Manifest struct {
	Version     int              `json:"version"`
	CreatedAt   time.Time        `json:"created_at"`
	Environment string           `json:"environment"`
	Schema      int64            `json:"schema"`
	Rows        map[string]int64 `json:"rows"`       // per table
	AuditHead   string           `json:"audit_head"` // last chain value in the backup
	Bytes       int64            `json:"bytes"`
	SHA256      string           `json:"sha256"` // of the file
}

// manifestPath answers where a backup's manifest lies.
func manifestPath(backup string) string { return backup + ".manifest.json" }

// counted are the tables a manifest counts: all of them.
var counted = []string{
	"meta", "requests", "request_persons", "events", "outbox", "core_events", "halves", "series",
	"audit_entries", "audit_payloads", "audit_blocks", "sessions", "clients", "used_jti", "revocations", "rule_sets", "rule_approvals",
	"corrections", "register_usage", "register_stops", "register_tracing",
	"login_attempts", "login_records", "login_shared", "login_tokens", "operator_cards",
	"consular_rates", "passages",
	"card_reports", "session_list", "registry_dialogues", "erasures", "card_notices", "clearances",
	"reconciliations",
}

// Backup writes a consistent copy of the database to dst and its manifest
// beside it; both are durable on return. It works while a server writes, also
// from a ReadOnly store in another process, and needs room for one copy. An
// existing dst or manifest is never overwritten (Conflict "backup_exists").
// The keys are not in it and must be kept elsewhere: without them the copy
// tells nothing. A PostgreSQL database is backed up by its own tools (pg_dump,
// pg_basebackup): Invalid "backup_postgres".
func (s *Store) Backup(ctx context.Context, dst string) (Manifest, error) {
	if isPostgres(s.reader) {
		return Manifest{}, gateway.NewError(gateway.Invalid, "backup_postgres")
	}
	dst, err := filepath.Abs(dst)
	if err != nil {
		return Manifest{}, translate("back up", err)
	}
	for _, path := range []string{dst, manifestPath(dst)} {
		err = absent(path, "backup_exists")
		if err != nil {
			return Manifest{}, err
		}
	}
	part := dst + ".part"
	defer os.Remove(part) //nolint:errcheck // gone after the rename
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return Manifest{}, gateway.NewError(gateway.Conflict, "backup_exists")
	}
	if err != nil {
		return Manifest{}, translate("back up", err)
	}
	err = f.Close()
	if err != nil {
		return Manifest{}, translate("back up", err)
	}
	// VACUUM INTO accepts an empty file, reads one snapshot and leaves out what
	// was deleted.
	_, err = s.reader.ExecContext(ctx, `VACUUM INTO $1`, part)
	if err != nil {
		return Manifest{}, translate("back up", err)
	}
	err = syncFile(part)
	if err != nil {
		return Manifest{}, translate("back up", err)
	}
	m, err := describe(ctx, part)
	if err != nil {
		return Manifest{}, err
	}
	m.CreatedAt = s.now().UTC().Truncate(time.Second)
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return Manifest{}, internal("back up", err)
	}
	err = fault.Point("backup.copied")
	if err != nil {
		return Manifest{}, internal("back up", err)
	}
	// The manifest first: a backup without one is no backup, and a manifest
	// without its file is harmless.
	err = writeDurably(manifestPath(dst), append(raw, '\n'))
	if err != nil {
		return Manifest{}, translate("back up", err)
	}
	err = fault.Point("backup.described")
	if err == nil {
		err = os.Rename(part, dst)
	}
	if err != nil {
		return Manifest{}, translate("back up", err)
	}
	return m, syncDirError(dst)
}

// RestoreOptions say where from, where to, and what it must be.
type RestoreOptions struct {
	From        string // the backup; its manifest lies beside it
	To          string // must not exist, nor its -wal and -shm
	Keys        string // key file of the database
	Environment string
	Random      io.Reader        // nil is crypto/rand
	Now         func() time.Time // nil is time.Now
}

// Restore puts a backup in place after it has proven itself: digest, size and
// counts as the manifest says, SQLite's integrity check, foreign keys,
// environment, keys and the audit chain up to the manifest's head. The
// database is there whole, or not at all. Errors: Conflict "restore_exists"
// when there is something at the destination, Invalid "restore_damaged" with
// the reason in Err when the backup is not what its manifest says.
func Restore(ctx context.Context, o RestoreOptions) (Manifest, Report, error) {
	to, err := filepath.Abs(o.To)
	if err != nil {
		return Manifest{}, Report{}, translate("restore", err)
	}
	for _, path := range []string{to, to + "-wal", to + "-shm"} {
		err = absent(path, "restore_exists")
		if err != nil {
			return Manifest{}, Report{}, err
		}
	}
	raw, err := os.ReadFile(manifestPath(o.From))
	if err != nil {
		return Manifest{}, Report{}, damaged("manifest", err)
	}
	var want Manifest
	err = json.Unmarshal(raw, &want)
	if err != nil || want.Version != 1 {
		return Manifest{}, Report{}, damaged("manifest", errors.Join(err, fmt.Errorf("version %d", want.Version)))
	}
	part := to + ".part"
	defer removeDatabase(part) // gone after the rename
	err = copyFile(part, o.From)
	if err != nil {
		return Manifest{}, Report{}, translate("restore", err)
	}
	have, err := describe(ctx, part)
	if err != nil {
		return Manifest{}, Report{}, err
	}
	if have.SHA256 != want.SHA256 || have.Bytes != want.Bytes || have.AuditHead != want.AuditHead ||
		have.Schema != want.Schema || !maps.Equal(have.Rows, want.Rows) {
		return Manifest{}, Report{}, damaged("manifest", errors.New("the file is not the one it describes"))
	}
	report, err := prove(ctx, part, o)
	if err != nil {
		return Manifest{}, Report{}, err
	}
	if report.Head != want.AuditHead {
		return Manifest{}, report, damaged("audit chain", errors.New("ends elsewhere than the manifest says"))
	}
	// Link fails when somebody put a database there meanwhile; rename would not.
	err = os.Link(part, to)
	if errors.Is(err, fs.ErrExist) {
		return Manifest{}, report, gateway.NewError(gateway.Conflict, "restore_exists")
	}
	if err != nil {
		return Manifest{}, report, translate("restore", err)
	}
	return want, report, syncDirError(to)
}

// prove opens the copy as a program would and reads all of it.
func prove(ctx context.Context, path string, o RestoreOptions) (Report, error) {
	s, err := Open(ctx, Options{
		Path: path, Keys: o.Keys, Environment: o.Environment, ReadOnly: true, Now: o.Now, Random: o.Random,
	})
	if err != nil {
		return Report{}, err
	}
	report, err := s.proof(ctx)
	return report, errors.Join(err, s.Close())
}

func (s *Store) proof(ctx context.Context) (Report, error) {
	var verdict string
	err := s.reader.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict)
	if err != nil {
		return Report{}, damaged("integrity check", err)
	}
	if verdict != "ok" {
		return Report{}, damaged("integrity check", errors.New(verdict))
	}
	rows, err := s.reader.QueryContext(ctx, `PRAGMA foreign_key_check`)
	if err != nil {
		return Report{}, damaged("foreign keys", err)
	}
	broken := rows.Next()
	err = errors.Join(rows.Err(), rows.Close()) //nolint:sqlclosecheck // one look, closed before what follows
	if err != nil || broken {
		return Report{}, damaged("foreign keys", errors.Join(err, errors.New("a row without its request")))
	}
	report, err := s.VerifyAudit(ctx)
	if err != nil {
		return Report{}, err
	}
	if !report.OK() {
		return report, damaged("audit chain", fmt.Errorf("entry %d, block %d: %s", report.Bad.Entry, report.Bad.Block, report.Bad.What))
	}
	return report, nil
}

func damaged(what string, err error) error {
	return &gateway.Error{
		Kind: gateway.Invalid, Code: "restore_damaged", Args: map[string]string{"part": what}, Err: wrapped(what, err),
	}
}

// describe reads a finished backup file, which nobody writes.
func describe(ctx context.Context, path string) (Manifest, error) {
	m := Manifest{Version: 1, Rows: map[string]int64{}}
	var err error
	m.SHA256, m.Bytes, err = hashFile(path)
	if err != nil {
		return Manifest{}, translate("read backup", err)
	}
	db, err := sql.Open("sqlite", dsn(path, "&mode=ro&immutable=1"))
	if err != nil {
		return Manifest{}, translate("read backup", err)
	}
	defer db.Close() //nolint:errcheck // it was only read
	for _, table := range counted {
		var n int64
		err = db.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+table).Scan(&n)
		if err != nil {
			return Manifest{}, damaged("table "+table, err)
		}
		m.Rows[table] = n
	}
	err = db.QueryRowContext(ctx, `SELECT (SELECT MAX(version_id) FROM goose_db_version WHERE is_applied = 1),
	(SELECT value FROM meta WHERE name = 'environment'),
	COALESCE((SELECT head FROM audit_blocks ORDER BY block_no DESC LIMIT 1), '')`).Scan(&m.Schema, &m.Environment, &m.AuditHead)
	if err != nil {
		return Manifest{}, damaged("marks", err)
	}
	return m, nil
}

func hashFile(path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// absent makes sure that nothing lies at a path.
func absent(path, code string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return gateway.NewError(gateway.Conflict, code)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return translate("look at destination", err)
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func writeDurably(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), syncDir(filepath.Dir(path)))
}

// removeDatabase removes a file of ours and what SQLite keeps beside it.
func removeDatabase(path string) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(path + suffix) // absent is what we want
	}
}
