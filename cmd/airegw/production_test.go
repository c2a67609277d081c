package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// breakable are the calls that break the gateway on purpose (gateway/fault).
var breakable = regexp.MustCompile(`\.(?:Mutant|Point)\("([^"]*)"\)`)

// TestAProductionBinaryHoldsNoMutantAndNoFailpoint builds as `make build` does
// and looks for the names. That names are found where they are is shown by
// testharness/mutants, with the same search in its binaries.
func TestAProductionBinaryHoldsNoMutantAndNoFailpoint(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	names := map[string]bool{"FAILPOINT": true, "injected fault": true}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case "node_modules", ".git", "fault", "mutants": // the last two name some in comments only
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		raw, err := os.ReadFile(path)
		for _, call := range breakable.FindAllSubmatch(raw, -1) {
			names[string(call[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 30 {
		t.Fatalf("only %d names found in the source", len(names))
	}
	binary, err := theBinary()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for name := range names {
		if at := constant(raw, name); at >= 0 {
			t.Errorf("the binary holds %q: …%q…", name, raw[max(0, at-20):min(len(raw), at+40)])
		}
	}
}

// constant answers where raw holds a name that is not the end of an import path
// with a function's name, as in airegw/gateway/store.commitRest; -1 for nowhere.
func constant(raw []byte, name string) int {
	for from := 0; ; {
		at := bytes.Index(raw[from:], []byte(name))
		if at < 0 {
			return -1
		}
		at += from
		if at == 0 || raw[at-1] != '/' {
			return at
		}
		from = at + len(name)
	}
}
