package store

import (
	"slices"
	"testing"
)

func TestAMigrationIsSplitIntoItsStatements(t *testing.T) {
	t.Parallel()
	got, err := statements("-- What it is for; and why.\n\n-- +goose Up\n\n-- a: b;\nCREATE TABLE a (\n    b TEXT -- ends here;\n); -- done\n\nUPDATE a SET b = ';'\n WHERE b = '';\n-- the end\n")
	want := []string{"CREATE TABLE a (\n    b TEXT -- ends here;\n); -- done\n", "UPDATE a SET b = ';'\n WHERE b = '';\n"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{
		"CREATE TABLE a (b TEXT);\n",
		"-- +goose Up\nCREATE TABLE a (b TEXT)\n",
		"-- +goose Up\nCREATE TABLE a (b TEXT);\n-- +goose Down\nDROP TABLE a;\n",
		"-- +goose NO TRANSACTION\nCREATE TABLE a (b TEXT);\n",
	} {
		if got, err := statements(bad); err == nil {
			t.Errorf("%q is read as %q", bad, got)
		}
	}
	for _, read := range []func() ([]migration, error){liteMigrations, pgMigrations} {
		all, err := read()
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range all {
			if i > 0 && m.version <= all[i-1].version || len(m.statements) == 0 {
				t.Errorf("migration %d stands at place %d with %d statements", m.version, i+1, len(m.statements))
			}
		}
	}
}
