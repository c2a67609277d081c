package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
)

func TestPersonalDataAreGivenOutErasedAndMovedToANewKeyFromTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, keys, code := filepath.Join(dir, "airegw.db"), filepath.Join(dir, "database.keys"), filepath.Join(dir, "code")
	s, err := store.Open(t.Context(), store.Options{Path: db, Keys: keys, Environment: store.Simulation})
	if err != nil {
		t.Fatal(err)
	}
	cf := invented(t, 1)[0]
	now := time.Now().UTC()
	_, _, err = s.Create(t.Context(), gateway.NewRequest{
		ID: "R26-PERSON001", Namespace: "ns", Key: "key", BodyDigest: "d", Applicant: cf, Surname: "Canarino",
		Event: gateway.Event{Seq: 1, Type: gateway.EventSubmitted, To: gateway.StateSubmitted, At: now, Private: json.RawMessage(`{"surname":"Canarino"}`)},
	})
	if err == nil {
		err = s.Sessions().CommitCtx(t.Context(), "token", []byte("x"), now.Add(-time.Hour))
	}
	if err == nil {
		err = os.WriteFile(code, []byte(strings.ToLower(cf)+"\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	at := []string{"--database", db, "--keys", keys}
	run := func(args ...string) (int, string, string) {
		t.Helper()
		return airegw(t, "", append(args, at...)...)
	}

	// Beside a running server only what needs no writing works.
	if exit, _, text := run("audit", "person", code); exit != 1 || !strings.Contains(text, "running server") {
		t.Errorf("exit %d: %s", exit, text)
	}
	if exit, out, text := run("audit", "person", code, "--unrecorded"); exit != 0 || !strings.Contains(out, "Canarino") {
		t.Errorf("exit %d: %s%s", exit, out, text)
	}
	if exit, _, text := run("migrate", "keys"); exit != 1 || !strings.Contains(text, "running server") {
		t.Errorf("exit %d: %s", exit, text)
	}
	_, _, err = s.Retain(t.Context(), gateway.Retention{}, now, gateway.Actor{Kind: gateway.ActorWorker, ID: "retention"})
	if err != nil {
		t.Fatal(err)
	}
	if exit, out, text := run("audit", "erasures"); exit != 0 || !strings.Contains(out, "sessions") || !strings.Contains(out, "1 erasures") {
		t.Errorf("exit %d: %s%s", exit, out, text)
	}
	if err = s.Close(); err != nil {
		t.Fatal(err)
	}

	exit, out, text := run("audit", "person", code)
	var data gateway.OwnData
	if err = json.Unmarshal([]byte(out), &data); exit != 0 || err != nil || len(data.Requests) != 1 || data.FiscalCode != cf {
		t.Fatalf("exit %d: %s%s", exit, out, text)
	}
	if exit, _, text := airegw(t, "not a code", append([]string{"audit", "person", "-"}, at...)...); exit != 2 || !strings.Contains(text, "no fiscal code") {
		t.Errorf("exit %d: %s", exit, text)
	}

	raw, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	fresh := `"column_keys": [`
	second := strings.Replace(string(raw), "\n  ]", `, {"id": "k2", "key": "`+base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))+`"}`+"\n  ]", 1)
	if second == string(raw) || !strings.Contains(second, fresh) {
		t.Fatalf("the key file has another form: %s", raw)
	}
	if err = os.WriteFile(keys, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	if exit, out, text := run("migrate", "keys"); exit != 0 || !strings.Contains(out, "1 columns encrypted anew") || !strings.Contains(out, "key k2") {
		t.Errorf("exit %d: %s%s", exit, out, text)
	}
	if exit, out, _ := run("migrate", "keys", "--json"); exit != 0 || !strings.Contains(out, `"columns":0`) {
		t.Errorf("exit %d: %s", exit, out)
	}
	// Who was given what, what was erased and which key is the newest stand in the
	// trail; the audit trail names nobody.
	exit, out, _ = run("audit", "verify", "--json")
	var report store.Report
	if err = json.Unmarshal([]byte(out), &report); exit != 0 || err != nil || !report.OK() || report.Entries != 4 {
		t.Errorf("exit %d: %s", exit, out)
	}

	// An erasure whose proof was taken away.
	tamper(t, db, `DELETE FROM erasures`)
	if exit, _, text := run("audit", "erasures"); exit != 1 || !strings.Contains(text, "differ from the audit trail") {
		t.Errorf("exit %d: %s", exit, text)
	}
}
