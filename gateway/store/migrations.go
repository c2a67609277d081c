package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one file of migrations/: its number and what it runs.
type migration struct {
	version    int64
	statements []string
}

// Read once and not at every opening: goose's own reader takes four megabytes a
// line, which was a fifth of all that a test of pages did.
var (
	liteMigrations = sync.OnceValues(func() ([]migration, error) { return readMigrations(func(text string) string { return text }) })
	pgMigrations   = sync.OnceValues(func() ([]migration, error) { return readMigrations(pgSchema) })
)

func readMigrations(spell func(string) string) ([]migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var all []migration
	for _, name := range names {
		raw, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		number, _, _ := strings.Cut(path.Base(name), "_")
		m := migration{}
		m.version, err = strconv.ParseInt(number, 10, 64)
		if err == nil {
			m.statements, err = statements(spell(string(raw)))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, m)
	}
	return all, nil
}

const gooseUp = "-- +goose Up"

// statements splits a migration of ours: one mark, from which on each statement
// ends with a line that ends with a semicolon. Ours only add and are never taken
// back, so that goose's other marks are refused.
func statements(text string) ([]string, error) {
	_, text, up := strings.Cut(text, gooseUp+"\n")
	if !up || strings.Contains(text, "-- +goose") {
		return nil, fmt.Errorf("want one mark, %q", gooseUp)
	}
	var all []string
	var one []string
	for line := range strings.Lines(text) {
		code, _, _ := strings.Cut(line, "--")
		if strings.TrimSpace(code) == "" && len(one) == 0 {
			continue // what stands before a statement
		}
		one = append(one, line)
		if strings.HasSuffix(strings.TrimSpace(code), ";") {
			all = append(all, strings.Join(one, ""))
			one = nil
		}
	}
	if len(one) > 0 {
		return nil, errors.New("the last statement does not end")
	}
	return all, nil
}

func migrations(db *sql.DB) (*goose.Provider, error) {
	dialect, read := database.DialectSQLite3, liteMigrations
	if isPostgres(db) {
		dialect, read = database.DialectPostgres, pgMigrations
	}
	all, err := read()
	if err != nil {
		return nil, err
	}
	steps := make([]*goose.Migration, 0, len(all))
	for _, m := range all {
		steps = append(steps, goose.NewGoMigration(m.version, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			for _, statement := range m.statements {
				_, err := tx.ExecContext(ctx, statement)
				if err != nil {
					return err
				}
			}
			return nil
		}}, nil))
	}
	return goose.NewProvider(dialect, db, nil, goose.WithGoMigrations(steps...), goose.WithDisableGlobalRegistry(true))
}
