package crash

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airegw/gateway/app"
	"airegw/gateway/store/pgtest"
	"airegw/testharness/sim"
)

// A replica that starts while the database is away waits for it, listening to
// nobody, and serves once it is back; one that waits in vain, or that the
// database does not let in, ends with the reason.
func TestAReplicaThatStartsBeforeItsDatabaseWaitsForIt(t *testing.T) {
	t.Parallel()
	cluster := pgtest.New(t)
	s := newStation(t, stationOptions{
		engine: onPostgreSQL, cluster: cluster, profile: sim.Polite,
		adjust: func(_ *station, c *app.Config) { c.Log.Level = "info" },
	})
	cluster.Stop(t)
	p := launch(t, &s.log, s.bin, nil, "serve", "--config", s.config)
	said(t, p, "the database is away; waiting for it")
	if s.healthy() {
		t.Error("somebody answers without a database")
	}
	cluster.Start(t)
	said(t, p, "airegw serves")
	if !s.healthy() {
		t.Errorf("it serves and does not answer\n%s", p.stderr)
	}
	if !strings.Contains(p.stderr.String(), "the database is back") {
		t.Errorf("it does not say that the database is back\n%s", p.stderr)
	}
	_ = p.cmd.Process.Kill()
	<-p.done

	// What waiting does not mend ends at once.
	pgtest.Exec(t, s.dbURL, `CREATE ROLE locked NOLOGIN`)
	for _, c := range []struct{ from, to, code string }{
		{"user=postgres", "user=locked", "store_login"},
		{"user=postgres", "user=nobody", "store_login"},
		{"dbname=", "dbname=no", "store_database"},
	} {
		s.ends(strings.Replace(s.dbURL, c.from, c.to, 1), "invalid "+c.code, false)
	}
	pgtest.Exec(t, s.dbURL, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (900, true)`, `UPDATE meta SET value = '900' WHERE name = 'opens_from'`)
	s.ends(s.dbURL, "conflict store_schema", false)

	// A database that stays away ends the waiting.
	cluster.Stop(t)
	raw, err := os.ReadFile(s.config)
	if err == nil {
		waits := strings.Replace(string(raw), "database:\n", "database:\n  wait: 300ms\n", 1)
		err = os.WriteFile(s.config, []byte(waits), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.ends(s.dbURL, "the database was away for 300ms (database.wait)", true)
}

// ends starts a gateway on an address of a database and holds that it ends by
// itself, with exit code 1 and its reason, waiting before or not.
func (s *station) ends(address, why string, waits bool) {
	s.t.Helper()
	err := os.WriteFile(filepath.Join(s.dir, "database.url"), []byte(address+"\n"), 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	p := launch(s.t, &s.log, s.bin, nil, "serve", "--config", s.config)
	select {
	case <-p.done:
	case <-time.After(comesUp):
		_ = p.cmd.Process.Kill()
		s.t.Fatalf("it does not end (want %q)\n%s", why, p.stderr)
	}
	text := p.stderr.String()
	if code := p.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(text, why) || strings.Contains(text, "waiting for it") != waits {
		s.t.Errorf("exit %d, want 1 and %q, waiting before: %t\n%s", code, why, waits, text)
	}
}

// said waits until a process has said something.
func said(t *testing.T, p *process, what string) {
	t.Helper()
	for deadline := time.Now().Add(comesUp); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if strings.Contains(p.stderr.String(), what) {
			return
		}
		select {
		case err := <-p.done:
			t.Fatalf("it ends (%v) before it says %q\n%s", err, what, p.stderr)
		default:
		}
	}
	t.Fatalf("it never says %q\n%s", what, p.stderr)
}
