package store

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"database/sql"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"airegw/gateway"
	"airegw/gateway/fault"
)

// The environments a database can be born in. It keeps its mark for life.
const (
	Simulation = "simulation"
	Production = "production"
)

// Role is a role in PostgreSQL: see postgres/roles.sql.
type Role string

// RoleWeb deletes nothing, never changes events or the audit trail, sees by
// office and does not seal. RoleWork does the work.
const (
	RoleWeb  Role = "airegw_web"
	RoleWork Role = "airegw_work"
)

// Reasons why Open refuses, for errors.Is; Open wraps them in *gateway.Error
// with the message code named in each comment.
var (
	ErrLocked      = errors.New("another process writes this database") // store_locked
	ErrEnvironment = errors.New("database of another environment")      // store_environment
	ErrKeys        = errors.New("keys are not this database's")         // store_keys
	ErrSchema      = errors.New("schema not of this program")           // store_schema
	ErrAbsent      = errors.New("no database")                          // store_absent
)

// Options say what to open and how.
type Options struct {
	// Path of the SQLite database file. Its folder must exist. Beside it live
	// -wal, -shm and .lock.
	Path string
	// URL, in place of Path, is the address of a PostgreSQL database that several
	// replicas share: postgres://… or libpq's keywords. It may hold a password and
	// is never shown.
	URL string
	// Role, with URL, is what the replica may do in the database: RoleWeb, RoleWork,
	// or "" for all that the address's user may. The migrations run as that user.
	Role Role
	// Keys is the path of the key file, which only its owner may read. Without
	// one, a simulation creates it; production refuses.
	Keys string
	// Environment is Simulation or Production: the mark of a new database, and
	// what an existing one must have.
	Environment string
	// ReadOnly opens beside a running server: no lock, no migration, no writes.
	// Every method that writes answers Unavailable "store_read_only".
	ReadOnly bool
	// Now is the clock; nil is time.Now. It dates rows of ours (received,
	// sealed, settled), never events, which carry their own time.
	Now func() time.Time
	// Random is the source of nonces and salts; nil is crypto/rand.
	Random io.Reader
	// Queue is how many writes may wait for the writer before the next is
	// Unavailable "store_busy"; 0 is 1024.
	Queue int
	// SealEvery is how often the audit chain is extended; 0 is 400 ms, below 0
	// never on its own (Seal does it).
	SealEvery time.Duration
}

// Store implements gateway.Store over one SQLite file or, with other replicas,
// over one PostgreSQL database. Safe for concurrent use.
type Store struct {
	path     string // of the file; the database's name on PostgreSQL
	role     Role
	readOnly bool
	now      func() time.Time
	keys     *keyring

	reader *sql.DB
	writer *writer   // SQLite's; nil when read-only
	pg     *postgres // PostgreSQL's; nil when read-only
	lock   *os.File

	reads   sync.RWMutex
	queries map[string]*sql.Stmt // prepared on the reader pool

	sealing  sync.Mutex
	dirty    atomic.Bool // audit entries may be unsealed
	stop     chan struct{}
	stopped  sync.WaitGroup
	closing  sync.Once
	closeErr error
	sealErr  atomic.Pointer[error]

	// rehearse, set by tests only, stands before the pen.
	rehearse func(ctx context.Context, run func(*tx) error) error
}

var _ gateway.Store = (*Store)(nil)

// Open opens or creates a database. Errors are *gateway.Error: Unavailable
// "store_locked" when another process writes the file, Conflict
// "store_environment", "store_keys" or "store_schema" when it is not what the
// options say, Invalid "store_roles" when a role is asked for that the user of
// the PostgreSQL database can neither make nor take on, Invalid "store_login" or
// "store_database" when its server lets the user not in or has no such database,
// NotFound "store_absent" when ReadOnly finds none, Invalid "store_options", else
// Unavailable (see Away) or Internal. The caller closes it.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Role != "" && (o.URL == "" || (o.Role != RoleWeb && o.Role != RoleWork)) {
		return nil, &gateway.Error{Kind: gateway.Invalid, Code: "store_options", Err: errors.New("a role is one of two, and PostgreSQL's")}
	}
	if (o.Path == "") == (o.URL == "") || o.Keys == "" || (o.Environment != Simulation && o.Environment != Production) {
		return nil, &gateway.Error{Kind: gateway.Invalid, Code: "store_options", Err: errors.New("path or address, keys and environment are needed")}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	} else if o.Random != rand.Reader {
		o.Random = &lockedReader{r: o.Random}
	}
	if o.Queue <= 0 {
		o.Queue = 1024
	}
	if o.SealEvery == 0 {
		o.SealEvery = 400 * time.Millisecond
	}
	path := ""
	if o.Path != "" {
		var err error
		path, err = filepath.Abs(o.Path)
		if err != nil {
			return nil, translate("find database", err)
		}
	}
	s := &Store{
		path: path, role: o.Role, readOnly: o.ReadOnly, now: o.Now,
		queries: map[string]*sql.Stmt{}, stop: make(chan struct{}),
	}
	err := s.open(ctx, o)
	if err != nil {
		_ = s.release() // why it does not open is what the caller must hear
		return nil, err
	}
	if !o.ReadOnly {
		if s.writer != nil {
			s.stopped.Add(1)
			go s.writer.run(&s.stopped)
		}
		if s.pg != nil {
			s.stopped.Add(1)
			go s.teller()
		}
		s.dirty.Store(true)
		if o.SealEvery > 0 && o.Role != RoleWeb {
			s.stopped.Add(1)
			go s.sealer(o.SealEvery)
		}
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, o Options) error {
	var err error
	if o.URL != "" {
		err = turnedAway(s.openPostgres(ctx, o))
	} else {
		err = s.openSQLite(ctx, o)
	}
	if err != nil {
		return err
	}
	err = checkSchema(ctx, s.reader)
	if err != nil {
		return err
	}
	return s.checkMeta(ctx, o.Environment)
}

func (s *Store) openSQLite(ctx context.Context, o Options) error {
	_, err := os.Stat(s.path)
	absent := errors.Is(err, os.ErrNotExist)
	if absent && o.ReadOnly {
		return &gateway.Error{Kind: gateway.NotFound, Code: "store_absent", Err: ErrAbsent}
	}
	if !o.ReadOnly {
		s.lock, err = lockFile(s.path + ".lock")
		if err != nil {
			return err
		}
	}
	// Keys are made only together with a database: an old database without its
	// keys must not get new ones.
	s.keys, err = loadKeys(o.Keys, absent && o.Environment == Simulation && !o.ReadOnly, o.Random)
	if err != nil {
		return keysError(err)
	}
	if !o.ReadOnly {
		err = s.openWriter(ctx, o)
		if err != nil {
			return err
		}
	}
	s.reader, err = openReader(s.path)
	if err != nil {
		return translate("open readers", err)
	}
	return nil
}

// Close stops taking writes, finishes those taken, seals the audit chain and
// releases the file. Safe to call twice.
func (s *Store) Close() error {
	s.closing.Do(func() {
		if !s.readOnly {
			_, err := s.Seal(context.Background())
			s.closeErr = err
		}
		close(s.stop)
		if s.writer != nil {
			s.writer.shut()
		}
		if s.pg != nil {
			s.pg.shut()
		}
		s.stopped.Wait()
		s.closeErr = errors.Join(s.closeErr, s.release())
	})
	return s.closeErr
}

// release closes whatever is open, readers first so that the writer's close
// checkpoints the log.
func (s *Store) release() error {
	var errs []error
	s.reads.Lock()
	for _, q := range s.queries {
		errs = append(errs, q.Close())
	}
	clear(s.queries)
	s.reads.Unlock()
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.pg != nil {
		errs = append(errs, s.pg.db.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// newMeta are the rows a new database gets, in the first migration's wake.
func (s *Store) newMeta(environment string) [][2]string {
	return [][2]string{
		{"environment", environment},
		{"key_check", s.keys.digest(forCheck, "airegw")},
	}
}

// checkMeta compares the database's marks with what the options say.
func (s *Store) checkMeta(ctx context.Context, environment string) error {
	meta := map[string]string{}
	rows, err := s.reader.QueryContext(ctx, `SELECT name, value FROM meta`)
	if err != nil {
		return translate("read marks", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, value string
		err = rows.Scan(&name, &value)
		if err != nil {
			return translate("read marks", err)
		}
		meta[name] = value
	}
	err = rows.Err()
	if err != nil {
		return translate("read marks", err)
	}
	if meta["environment"] != environment && !fault.Mutant("store.environment") {
		return &gateway.Error{
			Kind: gateway.Conflict, Code: "store_environment", Err: ErrEnvironment,
			Args: map[string]string{"is": meta["environment"], "want": environment},
		}
	}
	if subtle.ConstantTimeCompare([]byte(meta["key_check"]), []byte(s.keys.digest(forCheck, "airegw"))) != 1 && !fault.Mutant("store.key-check") {
		return &gateway.Error{Kind: gateway.Conflict, Code: "store_keys", Err: ErrKeys}
	}
	return nil
}

// alive is the error of a store that was closed, nil before.
func (s *Store) alive() error {
	select {
	case <-s.stop:
		return gateway.NewError(gateway.Unavailable, "store_closed")
	default:
		return nil
	}
}

// stmt answers a statement prepared once on the reader pool. text must be one
// of our constants, so that the cache stays small.
func (s *Store) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	err := s.alive()
	if err != nil {
		return nil, err
	}
	s.reads.RLock()
	q := s.queries[text]
	s.reads.RUnlock()
	if q != nil {
		return q, nil
	}
	q, err = s.reader.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	s.reads.Lock()
	defer s.reads.Unlock()
	if known := s.queries[text]; known != nil {
		return known, q.Close() //nolint:sqlclosecheck // the other one stays open
	}
	s.queries[text] = q
	return q, nil
}

// query runs a constant query on the reader pool.
func (s *Store) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	if isPostgres(s.reader) { // pgx prepares and keeps statements by itself
		err := s.alive()
		if err != nil {
			return nil, err
		}
		return s.reader.QueryContext(ctx, text, args...)
	}
	q, err := s.stmt(ctx, text) //nolint:sqlclosecheck // kept in s.queries until the store closes
	if err != nil {
		return nil, err
	}
	return q.QueryContext(ctx, args...)
}

// get runs a constant query for one row and scans it. found is false when
// there is none.
func (s *Store) get(ctx context.Context, text string, args []any, into ...any) (found bool, err error) {
	rows, err := s.query(ctx, text, args...)
	if err != nil {
		return false, err
	}
	return one(rows, into...)
}

// one scans the first row, if any, and closes rows.
func one(rows *sql.Rows, into ...any) (bool, error) {
	defer rows.Close()
	if !rows.Next() {
		return false, rows.Err()
	}
	err := rows.Scan(into...)
	if err != nil {
		return false, err
	}
	return true, rows.Close()
}

// micros answers a time as stored, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// instant is the inverse of micros, in UTC.
func instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// notFound is the one answer for absent and for not of this scope.
func notFound() error { return gateway.NewError(gateway.NotFound, "not_found") }

// internal wraps a failure of ours.
func internal(doing string, err error) error {
	return &gateway.Error{Kind: gateway.Internal, Code: "internal", Err: wrapped(doing, err)}
}

// lockedReader lets concurrent callers share a source of randomness.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

// salt answers 16 random bytes in hexadecimal.
func (k *keyring) salt() (string, error) {
	var b [16]byte
	_, err := io.ReadFull(k.random, b[:])
	return hex.EncodeToString(b[:]), err
}
