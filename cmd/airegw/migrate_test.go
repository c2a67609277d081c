package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airegw/gateway/store/pgtest"
	"airegw/policies"
)

func TestMigrateMovesADatabaseAndTheOthersReadItThere(t *testing.T) {
	t.Parallel()
	flags := requestWith(t, "R26-MOVED0001", decidedOn(t, "2026-11-20", policies.DeliveryITAddress))
	var from, keys string
	for i, f := range flags {
		switch f {
		case "--database":
			from = flags[i+1]
		case "--keys":
			keys = flags[i+1]
		}
	}
	to := filepath.Join(t.TempDir(), "database.url")
	err := os.WriteFile(to, []byte(pgtest.Database(t)+"\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	move := []string{"migrate", "sqlite-to-postgres", "--from", from, "--keys", keys, "--to-url-file", to}
	code, out, problem := airegw(t, "", move...)
	if code != 0 || !strings.Contains(out, "requests                1 rows, the same on both sides") || !strings.Contains(out, "2 entries, 2 sealed") {
		t.Fatalf("exit %d\n%s%s", code, out, problem)
	}
	code, out, problem = airegw(t, "", "audit", "verify", "--database-url-file", to, "--keys", keys)
	if code != 0 || !strings.Contains(out, "2 entries, 2 sealed") {
		t.Fatalf("exit %d\n%s%s", code, out, problem)
	}
	code, _, problem = airegw(t, "", move...)
	if code != 1 || !strings.Contains(problem, "move_not_empty") {
		t.Fatalf("a second move: exit %d, %s", code, problem)
	}
	code, _, problem = airegw(t, "", "backup", "create", filepath.Join(t.TempDir(), "copy.db"), "--database-url-file", to, "--keys", keys)
	if code == 0 || !strings.Contains(problem, "backup_postgres") {
		t.Fatalf("a backup of PostgreSQL: exit %d, %s", code, problem)
	}
}

func TestAReplicaOfOneRoleNeedsADatabaseToShare(t *testing.T) {
	t.Parallel()
	s := serveDemo(t, false)
	raw, err := os.ReadFile(filepath.Join(s.dir, "airegw.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	good := string(raw)
	for name, c := range map[string]struct{ from, to, want string }{
		"both a file and an address": {`url_file: ""`, `url_file: database.url`, "database.url_file"},
		"neither":                    {`path: airegw.db`, `path: ""`, "database.path"},
	} {
		text := strings.Replace(good, c.from, c.to, 1)
		if text == good {
			t.Fatalf("%s: the text was not spoilt:\n%s", name, good)
		}
		file := filepath.Join(t.TempDir(), "airegw.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, problem := airegw(t, "", "config", "check", file); code != 1 || !strings.Contains(problem, c.want) {
			t.Errorf("%s: exit %d, wanted %q in %q", name, code, c.want, problem)
		}
	}
	for _, role := range []string{"web", "work"} {
		code, _, problem := airegw(t, "", "serve", "--config", filepath.Join(s.dir, "airegw.yaml"), "--roles", role)
		if code == 0 || !strings.Contains(problem, "database.url_file") {
			t.Errorf("serve --roles %s on a file: exit %d %s", role, code, problem)
		}
	}
}
