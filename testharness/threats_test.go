package testharness_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// threatRow is a line of THREATS.md: boundary, threat, control, file, test.
var threatRow = regexp.MustCompile("^\\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\| `([^`|]+)` \\| `([^`|]+)\\.(Test[A-Za-z0-9]+)` \\|$")

func TestEveryThreatNamesAControlAFileAndATestThatExist(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("THREATS.md")
	if err != nil {
		t.Fatal(err)
	}
	rows, boundaries := 0, map[string]bool{}
	for n, line := range strings.Split(string(raw), "\n") {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| Boundary") || strings.HasPrefix(line, "| ---") {
			continue
		}
		m := threatRow.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("line %d does not name boundary, threat, control, file and test: %s", n+1, line)
			continue
		}
		rows++
		boundaries[m[1]] = true
		if info, err := os.Stat(filepath.Join("..", m[4])); err != nil || info.IsDir() {
			t.Errorf("line %d: no file %s", n+1, m[4])
		}
		files, err := filepath.Glob(filepath.Join("..", m[5], "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("line %d: no tests in %s", n+1, m[5])
			continue
		}
		found := false
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(text), "\nfunc "+m[6]+"(t *testing.T)")
		}
		if !found {
			t.Errorf("line %d: no test %s in %s", n+1, m[6], m[5])
		}
	}
	if rows < 40 || len(boundaries) < 11 {
		t.Errorf("%d threats at %d boundaries", rows, len(boundaries))
	}
}
