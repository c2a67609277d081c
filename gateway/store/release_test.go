package store_test

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/gateway/store/pgtest"
	"airegw/gateway/store/storetest"
)

// Each folder of testdata/releases is a release, in its own words: the dump of a
// small database of synthetic people as that release's program made it, on both
// engines, with its keys (made for this and good for nothing else), and every
// statement that program ran while it passed its own tests of the store.

// releases answers the folders, oldest first.
func releases(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("testdata/releases/*")
	if err != nil || len(found) == 0 {
		t.Fatalf("no release: %v", err)
	}
	return found
}

// restored makes a release's database on an engine and answers how to open it,
// and a pool beside the store.
func restored(t *testing.T, release, engine string, clock *storetest.Clock) (store.Options, func() *sql.DB) {
	t.Helper()
	h := newHome(t)
	copyTo(t, h.keys(), filepath.Join(release, "database.keys"))
	dump, err := os.ReadFile(filepath.Join(release, engine+".sql"))
	if err != nil {
		t.Fatal(err)
	}
	if engine == "sqlite" {
		db := raw(t, h.path())
		_, err = db.Exec(string(dump))
		if err != nil {
			t.Fatal(err)
		}
		return h.options(clock.Now), func() *sql.DB { return db }
	}
	address := pgtest.Database(t)
	conn, err := pgx.Connect(t.Context(), address)
	if err == nil {
		_, err = conn.PgConn().Exec(t.Context(), string(dump)).ReadAll()
	}
	if err == nil {
		err = conn.Close(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return h.shared(address, clock.Now), func() *sql.DB { return store.PostgresPool(t, address) }
}

func eachRelease(t *testing.T, test func(t *testing.T, release, engine string, clock *storetest.Clock)) {
	t.Helper()
	for _, release := range releases(t) {
		for _, engine := range []string{"sqlite", "postgres"} {
			t.Run(filepath.Base(release)+" "+engine, func(t *testing.T) {
				t.Parallel()
				test(t, release, engine, storetest.NewClock())
			})
		}
	}
}

func TestADatabaseOfEachReleaseOpensMigratesAndGoesOn(t *testing.T) {
	t.Parallel()
	eachRelease(t, func(t *testing.T, release, engine string, clock *storetest.Clock) {
		o, _ := restored(t, release, engine, clock)
		s := open(t, o)
		report, err := s.VerifyAudit(t.Context())
		if err != nil || !report.OK() || report.Sealed != 11 {
			t.Fatalf("%+v %+v %v", report, report.Bad, err)
		}
		clerk := gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorOperator, ID: "op-1", Office: castello, Role: gateway.RoleClerk})
		for n := range 4 {
			events, _, err := s.Load(t.Context(), clerk, fmt.Sprintf("R26-%09d", n))
			if err != nil || len(events) == 0 || string(events[0].Private) != `{"n":1}` {
				t.Fatalf("request %d: %+v %v", n, events, err)
			}
		}
		if who, found, err := s.Sessions().FindCtx(t.Context(), "token"); err != nil || !found || string(who) != "who" {
			t.Errorf("the session is gone: %v", err)
		}
		if half, err := s.Halves(t.Context(), "R26-000000001.1"); err != nil || half.PIN != "1234" {
			t.Errorf("the halves are gone: %v", err)
		}
		if cursor, err := s.FeedCursor(t.Context()); err != nil || cursor != "cursor-1" {
			t.Errorf("the feed's cursor is %q: %v", cursor, err)
		}
		rows, err := s.ClaimOutbox(t.Context(), clock.Now(), time.Minute, 5)
		if err != nil || len(rows) != 1 || string(rows[0].Private) != `{"to":"core"}` {
			t.Errorf("%+v %v", rows, err)
		}
		if set, err := s.RuleSets(t.Context()); err != nil || len(set) != 1 || len(set[0].Approvals) != 1 {
			t.Errorf("%+v %v", set, err)
		}
		_, created, err := s.Create(t.Context(), submission(7, clock.Now()))
		if err != nil || !created {
			t.Errorf("a new request: %v", err)
		}
		_, _, err = s.Create(t.Context(), submission(2, clock.Now()))
		if err != nil {
			t.Errorf("an old request sent again: %v", err)
		}
		_, err = s.Seal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		report, err = s.VerifyAudit(t.Context())
		if err != nil || !report.OK() || report.Sealed != 13 {
			t.Errorf("%+v %+v %v", report, report.Bad, err)
		}
	})
}

// The program of one release goes on while replicas of the next one have
// migrated: every statement it runs must mean something on the new schema.
func TestTheStatementsOfEachReleaseWorkOnTheNewestSchema(t *testing.T) {
	t.Parallel()
	eachRelease(t, func(t *testing.T, release, engine string, clock *storetest.Clock) {
		o, pool := restored(t, release, engine, clock)
		f, err := os.Open(filepath.Join(release, engine+".statements"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var statements []string
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var text string
			err = json.Unmarshal(lines.Bytes(), &text)
			if err != nil {
				t.Fatal(err)
			}
			statements = append(statements, text)
		}
		if lines.Err() != nil || len(statements) < 80 {
			t.Fatalf("%d statements, %v", len(statements), lines.Err())
		}
		works := func(db *sql.DB, text string) error { return store.Understands(t, db, text) }
		db := pool()
		for _, text := range statements {
			if err = works(db, text); err != nil {
				t.Fatalf("not a statement of this release: %v\n%s", err, text)
			}
		}
		open(t, o) // migrates
		for _, text := range statements {
			if err = works(db, text); err != nil {
				t.Errorf("no longer understood: %v\n%s", err, text)
			}
		}
	})
}

// What a statement's meaning does not show: that a row written without the new
// columns is still a good row.
func TestMigrationsOnlyAddToTheTablesOfEachRelease(t *testing.T) {
	t.Parallel()
	for _, release := range releases(t) {
		t.Run(filepath.Base(release), func(t *testing.T) {
			t.Parallel()
			o, pool := restored(t, release, "sqlite", storetest.NewClock())
			db := pool()
			before := schemaOf(t, db)
			open(t, o)
			after := schemaOf(t, db)
			for table, columns := range before {
				for name, was := range columns {
					if is, there := after[table][name]; !there || is != was {
						t.Errorf("%s.%s was %q and is %q", table, name, was, is)
					}
				}
				for name, is := range after[table] {
					if _, known := columns[name]; !known && !strings.Contains(is, "default") && strings.Contains(is, "not null") {
						t.Errorf("%s.%s is new, and a row of the old program has no value for it", table, name)
					}
				}
			}
		})
	}
}

// schemaOf answers each table's columns, its table text's constraints and its
// unique indexes, as text by name.
func schemaOf(t *testing.T, db *sql.DB) map[string]map[string]string {
	t.Helper()
	rows, err := db.Query(`SELECT m.name, c.name, lower(c.type) || CASE WHEN c."notnull" THEN ' not null' ELSE '' END
	|| CASE WHEN c.dflt_value IS NULL THEN '' ELSE ' default ' || c.dflt_value END || ' key ' || c.pk
FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'
UNION ALL SELECT i.tbl_name, 'unique ' || i.name, 'not null ' || i.sql FROM sqlite_master i WHERE i.type = 'index' AND i.sql LIKE 'CREATE UNIQUE%'
UNION ALL SELECT i.tbl_name, 'trigger ' || i.name, 'not null ' || i.sql FROM sqlite_master i WHERE i.type = 'trigger'
UNION ALL SELECT m.name, 'checks', (length(m.sql) - length(replace(m.sql, 'CHECK', ''))) || '' FROM sqlite_master m WHERE m.type = 'table'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]map[string]string{}
	for rows.Next() {
		var table, name, is string
		err = rows.Scan(&table, &name, &is)
		if err != nil {
			t.Fatal(err)
		}
		if all[table] == nil {
			all[table] = map[string]string{}
		}
		all[table][name] = is
	}
	if rows.Err() != nil || len(all) < 15 {
		t.Fatalf("%d tables, %v", len(all), rows.Err())
	}
	return all
}
