package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airegw/gateway/login"
	"airegw/gateway/store"
)

func TestTheRegisterOfOneLoginIsPrintedForWhoIsAppointed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, keys := filepath.Join(dir, "airegw.db"), filepath.Join(dir, "database.keys")
	s, err := store.Open(t.Context(), store.Options{Path: db, Keys: keys, Environment: store.Simulation})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	err = s.RecordLogin(t.Context(), "K7MQ-2XRA9TB", []login.Record{
		{Kind: login.RecordAuthenticationRequest, At: at, Content: json.RawMessage(`{"url":"https://op.example.test"}`)},
		{Kind: login.RecordOutcome, At: at, Content: json.RawMessage(`{"code":"login_nonce"}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	code, out, text := airegw(t, "", "audit", "login", "K7MQ-2XRA9TB", "--database", db, "--keys", keys)
	var export login.Export
	if err := json.Unmarshal([]byte(out), &export); code != 0 || err != nil || len(export.Records) != 2 || export.Head != export.Records[1].Digest || !strings.Contains(out, "login_nonce") {
		t.Errorf("exit %d, %v: %s %s", code, err, out, text)
	}
	if code, out, _ := airegw(t, "", "audit", "login", "NONE-0000000", "--database", db, "--keys", keys); code != 1 || out != "" {
		t.Errorf("a login of nobody: exit %d, %s", code, out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
