package store_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"airegw/gateway"
	"airegw/gateway/store"
)

func restoreOptions(h home, from, to string) store.RestoreOptions {
	return store.RestoreOptions{From: from, To: to, Keys: h.keys(), Environment: store.Simulation, Now: atNoon}
}

func TestABackupUnderWritesRestoresAndVerifies(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	s := open(t, h.options(atNoon))
	fill(t, s, 0, 50)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for n := 100 + c; ctx.Err() == nil && n < 2000; n += 4 {
				_, _, err := s.Create(t.Context(), request(n, `{"a":1}`))
				if err != nil {
					t.Error(err)
				}
				if n%40 == c {
					_, err = s.Seal(t.Context())
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	o := h.options(atNoon)
	o.ReadOnly = true
	r := open(t, o) // as `backup create` does beside a server
	dst := filepath.Join(h.dir, "backup.db")
	m, err := r.Backup(t.Context(), dst)
	cancel()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if m.Rows["requests"] < 50 || m.Rows["requests"] != m.Rows["events"] || m.Rows["audit_entries"] != 2*m.Rows["events"] || m.Environment != store.Simulation {
		t.Fatalf("not one moment: %+v", m)
	}
	back := newHome(t)
	got, report, err := store.Restore(t.Context(), restoreOptions(h, dst, back.path()))
	if err != nil {
		t.Fatal(err)
	}
	if got.SHA256 != m.SHA256 || !report.OK() || int64(report.Entries) != m.Rows["audit_entries"] {
		t.Fatalf("%+v %+v", got, report)
	}
	copyTo(t, back.keys(), h.keys())
	restored := open(t, back.options(atNoon))
	for n := range 50 {
		_, err = restored.LoadAll(t.Context(), request(n, "").ID)
		if err != nil {
			t.Errorf("request %d: %v", n, err)
		}
	}
	fill(t, restored, 5000, 5003) // and it goes on
	_, err = restored.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v, err := restored.VerifyAudit(t.Context()); err != nil || !v.OK() {
		t.Fatalf("%+v %v", v.Bad, err)
	}
	_, _, err = store.Restore(t.Context(), restoreOptions(h, dst, back.path()))
	wantCode(t, err, gateway.Conflict, "restore_exists")
	_, err = r.Backup(t.Context(), dst)
	wantCode(t, err, gateway.Conflict, "backup_exists")
	left, err := filepath.Glob(filepath.Join(h.dir, "*.part*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v %v", left, err)
	}
}

func TestADamagedBackupIsNotRestored(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	s := open(t, h.options(atNoon))
	fill(t, s, 0, 20)
	_, err := s.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(h.dir, "backup.db")
	_, err = s.Backup(t.Context(), dst)
	if err != nil {
		t.Fatal(err)
	}
	manifest := func(dir string, change func(*store.Manifest)) {
		t.Helper()
		path := filepath.Join(dir, "backup.db.manifest.json")
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var m store.Manifest
		err = json.Unmarshal(raw, &m)
		if err != nil {
			t.Fatal(err)
		}
		change(&m)
		raw, err = json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		err = os.WriteFile(path, raw, 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		code   string
	}{
		"a flipped byte": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "backup.db")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)-100] ^= 1
			err = os.WriteFile(path, b, 0o600)
			if err != nil {
				t.Fatal(err)
			}
		}, "restore_damaged"},
		"a cut file": {func(t *testing.T, dir string) {
			err := os.Truncate(filepath.Join(dir, "backup.db"), 4096*5)
			if err != nil {
				t.Fatal(err)
			}
		}, "restore_damaged"},
		"no manifest": {func(t *testing.T, dir string) {
			err := os.Remove(filepath.Join(dir, "backup.db.manifest.json"))
			if err != nil {
				t.Fatal(err)
			}
		}, "restore_damaged"},
		"a manifest of another moment": {func(_ *testing.T, dir string) {
			manifest(dir, func(m *store.Manifest) { m.AuditHead = "other" })
		}, "restore_damaged"},
		"rows that are not there": {func(_ *testing.T, dir string) {
			manifest(dir, func(m *store.Manifest) { m.Rows["requests"]++ })
		}, "restore_damaged"},
		"a forged row with a matching manifest": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "backup.db")
			db := raw(t, path)
			change(t, db, `UPDATE audit_entries SET act = 'forged' WHERE id = 3`)
			err := db.Close()
			if err != nil {
				t.Fatal(err)
			}
			digest, size := store.HashFile(t, path)
			manifest(dir, func(m *store.Manifest) { m.SHA256, m.Bytes = digest, size })
		}, "restore_damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := t.TempDir()
			copyTo(t, filepath.Join(bad, "backup.db"), dst)
			copyTo(t, filepath.Join(bad, "backup.db.manifest.json"), dst+".manifest.json")
			c.damage(t, bad)
			to := filepath.Join(t.TempDir(), "restored.db")
			_, _, err := store.Restore(t.Context(), restoreOptions(h, filepath.Join(bad, "backup.db"), to))
			wantCode(t, err, gateway.Invalid, c.code)
			left, err := filepath.Glob(to + "*")
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}
