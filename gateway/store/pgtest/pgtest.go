// Package pgtest gives tests a PostgreSQL of their own: one cluster per test
// binary on a Unix socket in a temporary folder, started on first use, and a
// fresh database for each who asks.
//
// It promises that the cluster is gone when the test binary is, however that
// ended, and that nothing listens on the network. It refuses to skip: without
// PostgreSQL's programs a test fails and says what to install.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// settings are of a database that need not outlive its machine: nothing is
// synced, everything else is as in production.
var settings = []string{
	"listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=300", "shared_buffers=64MB",
	"max_wal_size=512MB", "autovacuum=off", "logging_collector=off", "log_min_messages=fatal", "deadlock_timeout=200ms",
}

// keeper runs the server and outlives the test binary by the moment it takes to
// clean up: its input ends with the binary, also when that is killed. A line
// "stop" stops the server as a crash would, "start" starts it again, "restart"
// does both.
const keeper = `dir=$1; bin=$2; shift 2; pid=
stop() { [ -z "$pid" ] || { kill -QUIT $pid; wait $pid; pid=; }; }
start() { [ -n "$pid" ] || { "$bin/postgres" -D "$dir/data" -k "$dir" "$@" </dev/null >>"$dir/log" 2>&1 & pid=$!; }; }
start "$@"
while read -r line; do
	case $line in
	restart) stop; start "$@";;
	stop) stop;;
	start) start "$@";;
	esac
done
stop; rm -rf "$dir"`

// Cluster is a running server.
type Cluster struct {
	dir    string
	keeper io.WriteCloser // the keeper's input
	made   atomic.Int64
}

var shared = sync.OnceValues(func() (*Cluster, error) { return start() })

// Database answers the address of a fresh, empty database in the test binary's
// cluster. The user is a superuser.
func Database(t testing.TB) string {
	t.Helper()
	c, err := shared()
	if err != nil {
		t.Fatalf("a throw-away PostgreSQL: %v", err)
	}
	return c.Database(t)
}

// New starts a cluster of the test's own, to be restarted at will; it ends with
// the test.
func New(t testing.TB) *Cluster {
	t.Helper()
	c, err := start()
	if err != nil {
		t.Fatalf("a throw-away PostgreSQL: %v", err)
	}
	t.Cleanup(func() { _ = c.keeper.Close() })
	return c
}

// Database answers the address of a fresh, empty database.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", c.made.Add(1))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.address("postgres"))
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close(ctx) //nolint:errcheck // the connection was for one statement
	_, err = conn.Exec(ctx, `CREATE DATABASE `+name)
	if err != nil {
		t.Fatalf("create database: %v", err)
	}
	return c.address(name)
}

// Exec runs statements in the database of an address that Database answered.
func Exec(t testing.TB, address string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close(ctx) //nolint:errcheck // the connection was for these statements
	for _, text := range statements {
		_, err = conn.Exec(ctx, text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// Strings answers the one text column of a query in the database of an address
// that Database answered. It does not fail the test: the server may be down.
func Strings(ctx context.Context, address, query string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx) //nolint:errcheck // the connection was for this query
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Restart stops the server as a crash would and waits until a new one answers.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	before := c.startedAt(t)
	c.tell(t, "restart")
	c.await(t, "the server does not come back", func(after time.Time, err error) bool {
		return err == nil && !after.Equal(before)
	})
}

// Stop stops the server as a crash would and waits until nobody answers.
func (c *Cluster) Stop(t testing.TB) {
	t.Helper()
	c.tell(t, "stop")
	c.await(t, "the server does not stop", func(_ time.Time, err error) bool {
		var refused *pgconn.ConnectError
		var answered *pgconn.PgError
		return errors.As(err, &refused) && !errors.As(err, &answered)
	})
}

// Start starts a server that was stopped and waits until it answers.
func (c *Cluster) Start(t testing.TB) {
	t.Helper()
	c.tell(t, "start")
	c.await(t, "the server does not come back", func(_ time.Time, err error) bool { return err == nil })
}

func (c *Cluster) tell(t testing.TB, what string) {
	t.Helper()
	_, err := io.WriteString(c.keeper, what+"\n")
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// await asks the server when it was started until the answer is as it should be.
func (c *Cluster) await(t testing.TB, otherwise string, there func(started time.Time, err error) bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		started, err := c.started(ctx)
		cancel()
		if there(started, err) {
			return
		}
		pause()
	}
	t.Fatal(otherwise)
}

func (c *Cluster) startedAt(t testing.TB) time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	at, err := c.started(ctx)
	if err != nil {
		t.Fatalf("ask the server: %v", err)
	}
	return at
}

func (c *Cluster) started(ctx context.Context) (time.Time, error) {
	var at time.Time
	conn, err := pgx.Connect(ctx, c.address("postgres"))
	if err != nil {
		return at, err
	}
	defer conn.Close(ctx) //nolint:errcheck // it was for one statement
	err = conn.QueryRow(ctx, `SELECT pg_postmaster_start_time()`).Scan(&at)
	return at, err
}

func (c *Cluster) address(database string) string {
	return "host=" + c.dir + " user=postgres dbname=" + database + " sslmode=disable"
}

// pause waits for another process, which no clock of ours can hurry.
func pause() {
	timer := time.NewTimer(20 * time.Millisecond)
	<-timer.C
}

// start makes a cluster and waits until it answers.
func start() (_ *Cluster, err error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	// Short, since a socket's path has room for 107 bytes only.
	dir, err := os.MkdirTemp("/tmp", "airegw-pg-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	owner, err := unprivileged()
	if err != nil {
		return nil, err
	}
	if owner != nil {
		err = os.Chown(dir, int(owner.Uid), int(owner.Gid))
		if err != nil {
			return nil, err
		}
	}
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...) //nolint:gosec // programs of PostgreSQL and our own script
		cmd.Dir = dir
		cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=" + dir}
		// A group of its own: an interrupt of the terminal is for the test binary.
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner, Setpgid: true}
		return cmd
	}
	out, err := command(filepath.Join(bin, "initdb"), "--pgdata="+filepath.Join(dir, "data"), "--username=postgres",
		"--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	args := []string{"-c", keeper, "keeper", dir, bin}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	keep := command("/bin/sh", args...)
	input, err := keep.StdinPipe()
	if err != nil {
		return nil, err
	}
	err = keep.Start()
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, keeper: input}
	deadline := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err = c.started(ctx)
		cancel()
		if err == nil {
			return c, nil
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "log")) // what it says is better than nothing
			return nil, errors.Join(fmt.Errorf("the server does not answer: %w: %s", err, log), input.Close())
		}
		pause()
	}
}

// programs finds the folder of PostgreSQL's server programs, which distributions
// keep off the PATH; the newest where there are several.
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		return "", errors.New("initdb is missing; the tests need PostgreSQL's server programs (Debian: apt-get install postgresql)")
	}
	initdb, err = filepath.EvalSymlinks(initdb)
	return filepath.Dir(initdb), err
}

func version(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // 0 sorts first
	return n
}

// unprivileged answers who the server runs as when we are root, which it
// refuses to be; nil when we are not.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
}
