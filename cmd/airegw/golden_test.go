package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// ruleSetHash is different after every edit of a rule, even of its comment.
var ruleSetHash = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// golden compares an output with testdata/NAME, without the digests in it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = ruleSetHash.ReplaceAllString(got, "sha256:…")
	file := filepath.Join("testdata", filepath.FromSlash(name))
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	i := 0
	for i < min(len(g), len(w))-1 && g[i] == w[i] {
		i++
	}
	t.Errorf("%s:%d differs (write it anew with -update if that is right):\ngot  %s\nwant %s", file, i+1, g[i], w[i])
}
