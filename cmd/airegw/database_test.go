package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airegw/gateway/store"
)

func TestAnAuditTrailIsVerifiedAndCopiedBesideARunningServerAndAFlippedRowIsNamed(t *testing.T) {
	t.Parallel()
	s := serveDemo(t, false)
	var file strings.Builder
	for _, cf := range invented(t, 20) {
		file.WriteString(requestLine(cf) + "\n")
	}
	code, out, text := airegw(t, file.String(), "submit", "--file", "-", "--client", s.client("058091"), "--json")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, text)
	}
	number := results(t, out)[7].Number
	if _, err := s.App.Store.Seal(context.Background()); err != nil {
		t.Fatal(err)
	}
	db, keys := filepath.Join(s.dir, "airegw.db"), filepath.Join(s.dir, "keys", "database.keys")
	verify := func(path string) (int, store.Report, string) {
		t.Helper()
		code, out, text := airegw(t, "", "audit", "verify", "--database", path, "--keys", keys, "--json")
		var report store.Report
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("exit %d, %v: %s %s", code, err, out, text)
		}
		return code, report, text
	}
	code, report, text := verify(db)
	if code != 0 || !report.OK() || report.Sealed < 20 || report.Head == "" {
		t.Fatalf("exit %d: %+v %s", code, report, text)
	}

	dir := t.TempDir()
	copied, restored := filepath.Join(dir, "copy.db"), filepath.Join(dir, "restored.db")
	code, out, text = airegw(t, "", "backup", "create", copied, "--database", db, "--keys", keys, "--json")
	var manifest store.Manifest
	if err := json.Unmarshal([]byte(out), &manifest); code != 0 || err != nil || manifest.Rows["requests"] != 20 || manifest.SHA256 == "" {
		t.Fatalf("exit %d: %s %s", code, out, text)
	}
	if code, _, _ := airegw(t, "", "backup", "create", copied, "--database", db, "--keys", keys); code != 1 {
		t.Errorf("a backup was overwritten: exit %d", code)
	}
	// The server goes on meanwhile.
	if code, _, text := airegw(t, requestLine(invented(t, 21)[20]), "submit", "--file", "-", "--client", s.client("058091")); code != 0 {
		t.Errorf("exit %d: %s", code, text)
	}
	code, out, text = airegw(t, "", "backup", "restore", copied, restored, "--keys", keys)
	if code != 0 || !strings.Contains(out, "20 requests") {
		t.Fatalf("exit %d: %s %s", code, out, text)
	}
	if code, _, _ := airegw(t, "", "backup", "restore", copied, restored, "--keys", keys); code != 1 {
		t.Errorf("a database was overwritten: exit %d", code)
	}
	code, report, text = verify(restored)
	if code != 0 || report.Sealed < 20 {
		t.Fatalf("exit %d: %+v %s", code, report, text)
	}

	flip(t, restored, number)
	code, report, text = verify(restored)
	if code != 1 || report.Bad == nil || report.Bad.Subject != number || report.Bad.What != store.BadEvent || !strings.Contains(text, number) {
		t.Errorf("exit %d: %+v %s", code, report.Bad, text)
	}

	// A copy that was damaged on its way is not restored.
	raw, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(copied, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	never := filepath.Join(dir, "never.db")
	if code, _, text := airegw(t, "", "backup", "restore", copied, never, "--keys", keys); code != 1 || text == "" {
		t.Errorf("exit %d: %s", code, text)
	}
	if _, err := os.Stat(never); err == nil {
		t.Error("a damaged copy was put in place")
	}
}

// flip changes what an event of a request says, behind the store's back.
func flip(t *testing.T, path, number string) {
	t.Helper()
	tamper(t, path, `UPDATE events SET data = replace(data, 'first_issue', 'theft') WHERE request_id = $1 AND seq = 1`, number)
}

// tamper changes one row behind the store's back.
func tamper(t *testing.T, path, text string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	done, err := db.Exec(text, args...)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := done.RowsAffected(); n != 1 || err != nil {
		t.Fatalf("%d rows changed: %v", n, err)
	}
	if err = db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestADatabaseThatIsNotThereIsNotMade(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "absent.db")
	for _, args := range [][]string{
		{"audit", "verify", "--database", path, "--keys", path + ".keys"},
		{"backup", "create", path + ".copy", "--database", path, "--keys", path + ".keys"},
	} {
		if code, _, text := airegw(t, "", args...); code != 1 || text == "" {
			t.Errorf("%v: exit %d %q", args, code, text)
		}
	}
	found, err := filepath.Glob(path + "*")
	if err != nil || len(found) != 0 {
		t.Errorf("left behind: %v", found)
	}
}
