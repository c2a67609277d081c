package store_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/gateway/store/pgtest"
	"airegw/gateway/store/storetest"
)

func (h home) shared(address string, now func() time.Time) store.Options {
	return store.Options{URL: address, Keys: h.keys(), Environment: store.Simulation, Now: now, SealEvery: -1}
}

func TestPostgreSQLKeepsTheStoreContract(t *testing.T) {
	t.Parallel()
	var opened sync.Map // *store.Store → func() *store.Store
	var launch func(t *testing.T, o store.Options) *store.Store
	launch = func(t *testing.T, o store.Options) *store.Store {
		s := open(t, o)
		s.Rehearse(t)
		opened.Store(s, func() *store.Store { return launch(t, o) })
		return s
	}
	t.Cleanup(func() { rehearsedEverywhere(t, "PostgreSQL") })
	t.Run("the other writes are rehearsed too", func(t *testing.T) {
		t.Parallel()
		otherWrites(t, open(t, newHome(t).shared(pgtest.Database(t), atNoon)))
	})
	storetest.Run(t, storetest.Engine{
		Open: func(t *testing.T, now func() time.Time) gateway.Store {
			// The role with the least rights; the other tests run as the owner.
			o := newHome(t).shared(pgtest.Database(t), now)
			o.Role = store.RoleWeb
			return launch(t, o)
		},
		// The server ends what a dead replica had begun: its connections are cut.
		Crash: func(t *testing.T, s gateway.Store) gateway.Store {
			s.(*store.Store).CutConnections(t)
			again, _ := opened.Load(s)
			return again.(func() *store.Store)()
		},
		Contents: func(t *testing.T, s gateway.Store) string { return s.(*store.Store).Contents(t) },
	})
}

func TestEachErrorClassOfPostgreSQLIsOneOfOurs(t *testing.T) {
	t.Parallel()
	server := func(code string) error { return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code}) }
	for name, c := range map[string]struct {
		err  error
		kind gateway.Kind
		code string
	}{
		"unique index":          {server("23505"), gateway.Conflict, "duplicate"},
		"deadlock":              {server("40P01"), gateway.Unavailable, "store_unavailable"},
		"serialization":         {server("40001"), gateway.Unavailable, "store_unavailable"},
		"connection lost":       {server("08006"), gateway.Unavailable, "store_unavailable"},
		"disk full":             {server("53100"), gateway.Unavailable, "store_unavailable"},
		"too many connections":  {server("53300"), gateway.Unavailable, "store_unavailable"},
		"administrator":         {server("57P01"), gateway.Unavailable, "store_unavailable"},
		"starting up":           {server("57P03"), gateway.Unavailable, "store_unavailable"},
		"statement timeout":     {server("57014"), gateway.Unavailable, "store_unavailable"},
		"lock timeout":          {server("55P03"), gateway.Unavailable, "store_unavailable"},
		"a replica took over":   {server("25006"), gateway.Unavailable, "store_unavailable"},
		"input/output":          {server("58030"), gateway.Unavailable, "store_unavailable"},
		"no text":               {server("22021"), gateway.Invalid, "not_text"},
		"foreign key":           {server("23503"), gateway.Internal, "internal"},
		"a role's limits":       {server("42501"), gateway.Internal, "internal"},
		"a mistake in our SQL":  {server("42601"), gateway.Internal, "internal"},
		"nobody listens":        {&net.OpError{Op: "dial", Err: errors.New("refused")}, gateway.Unavailable, "store_unavailable"},
		"cut in an answer":      {io.ErrUnexpectedEOF, gateway.Unavailable, "store_unavailable"},
		"connection given up":   {driver.ErrBadConn, gateway.Unavailable, "store_unavailable"},
		"closed on our side":    {pgconn.ErrConnClosed, gateway.Unavailable, "store_unavailable"},
		"nothing of PostgreSQL": {errors.New("else"), gateway.Internal, "internal"},
	} {
		got := store.Translate("test", c.err)
		if gateway.KindOf(got) != c.kind || gateway.CodeOf(got) != c.code {
			t.Errorf("%s is %v, want %v %s", name, got, c.kind, c.code)
		}
	}
}

func TestTextThatPostgreSQLCannotHoldIsTheCallersFault(t *testing.T) {
	t.Parallel()
	s := open(t, newHome(t).shared(pgtest.Database(t), atNoon))
	for _, number := range []string{"R26\x00", "R26\xff"} {
		_, err := s.Find(t.Context(), gateway.CitizenScope("X", "x", 2), gateway.Criteria{Number: number})
		wantCode(t, err, gateway.Invalid, "not_text")
	}
}

func TestASchemaNewerThanTheProgramIsRefusedOnPostgreSQL(t *testing.T) {
	t.Parallel()
	h, address := newHome(t), pgtest.Database(t)
	s := open(t, h.shared(address, atNoon))
	err := s.Write(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`)
	if err != nil {
		t.Fatal(err)
	}
	// The next release's schema, which only adds: it is served as it is.
	err = open(t, h.shared(address, atNoon)).Audit(t.Context(), gateway.AuditEntry{At: noon, Act: "look"})
	if err == nil {
		err = s.Write(t.Context(), `UPDATE meta SET value = '99' WHERE name = 'opens_from'`)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(t.Context(), h.shared(address, atNoon))
	wantCode(t, err, gateway.Conflict, "store_schema")
}

func TestAFullQueueIsBusyAndAClosedStoreClosedOnPostgreSQL(t *testing.T) {
	t.Parallel()
	o := newHome(t).shared(pgtest.Database(t), atNoon)
	o.Queue = 1
	s := open(t, o)
	const most = 8 + 1 // transactions at once, and the queue
	var begun sync.WaitGroup
	free, ended := make(chan struct{}), make(chan error, most)
	begun.Add(most - 1)
	for range most {
		go func() {
			ended <- s.AuditSlowly(context.Background(), gateway.AuditEntry{Act: "slow"}, func() {
				select {
				case <-free:
				default:
					begun.Done()
					<-free
				}
			})
		}()
	}
	begun.Wait()
	s.WaitForStanding(most)
	wantCode(t, s.Audit(t.Context(), gateway.AuditEntry{Act: "more"}), gateway.Unavailable, "store_busy")
	close(free)
	for range most {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	err := s.Close()
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.Audit(t.Context(), gateway.AuditEntry{Act: "late"}), gateway.Unavailable, "store_closed")
	_, err = s.LoadAll(t.Context(), "R26-1")
	wantCode(t, err, gateway.Unavailable, "store_closed")
}
