package store_test

import (
	"context"
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/gateway/store/storetest"
)

// home is a folder with a database's keys and file name.
type home struct{ dir string }

func newHome(t testing.TB) home { return home{t.TempDir()} }

func (h home) path() string { return filepath.Join(h.dir, "airegw.db") }
func (h home) keys() string { return filepath.Join(h.dir, "keys.json") }

func (h home) options(now func() time.Time) store.Options {
	return store.Options{Path: h.path(), Keys: h.keys(), Environment: store.Simulation, Now: now, SealEvery: -1}
}

func open(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := s.Close()
		if err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// crashImage copies a database as it lies on the disk, log included, into a
// home of its own: what a process finds after the writer was killed.
func crashImage(t testing.TB, h home) home {
	t.Helper()
	image := newHome(t)
	for _, name := range []string{"airegw.db", "airegw.db-wal", "keys.json"} {
		copyTo(t, filepath.Join(image.dir, name), filepath.Join(h.dir, name))
	}
	return image
}

func copyTo(t testing.TB, dst, src string) {
	t.Helper()
	in, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err != nil {
		t.Fatal(err)
	}
	err = out.Close()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSQLiteKeepsTheStoreContract(t *testing.T) {
	t.Parallel()
	homes := make(chan map[gateway.Store]home, 1)
	homes <- map[gateway.Store]home{}
	clocks := make(chan map[gateway.Store]func() time.Time, 1)
	clocks <- map[gateway.Store]func() time.Time{}
	t.Cleanup(func() { rehearsedEverywhere(t, "SQLite") })
	t.Run("the other writes are rehearsed too", func(t *testing.T) {
		t.Parallel()
		otherWrites(t, open(t, newHome(t).options(atNoon)))
	})
	storetest.Run(t, storetest.Engine{
		Open: func(t *testing.T, now func() time.Time) gateway.Store {
			h := newHome(t)
			s := open(t, h.options(now))
			s.Rehearse(t)
			m, c := <-homes, <-clocks
			m[s], c[s] = h, now
			homes <- m
			clocks <- c
			return s
		},
		Crash: func(t *testing.T, s gateway.Store) gateway.Store {
			m, c := <-homes, <-clocks
			h, now := m[s], c[s]
			homes <- m
			clocks <- c
			return open(t, crashImage(t, h).options(now))
		},
		Contents: func(t *testing.T, s gateway.Store) string { return s.(*store.Store).Contents(t) },
	})
}

func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
