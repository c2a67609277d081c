package mutants_test

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/testharness/mutants"
)

// atOnce is how many processes run at a time.
const atOnce = 3

func TestEveryRemovedCheckIsNoticed(t *testing.T) {
	t.Parallel()
	root := repository(t)
	dir := t.TempDir()
	byPackage := map[string][]mutants.Mutant{}
	for _, m := range mutants.Table {
		byPackage[m.Package] = append(byPackage[m.Package], m)
	}
	slots := make(chan struct{}, atOnce)
	take := func() func() {
		slots <- struct{}{}
		return func() { <-slots }
	}
	var wg sync.WaitGroup
	for pkg, rows := range byPackage {
		wg.Go(func() {
			binary := filepath.Join(dir, strings.ReplaceAll(pkg, "/", "_")+".test")
			free := take()
			from := time.Now()
			// Without symbols, which nobody reads here: they are 40 % of what linking costs.
			built := command(t.Context(), root, "go", "test", "-c", "-ldflags=-s -w", "-tags", "mutants", "-o", binary, "./"+pkg)
			out, err := built.CombinedOutput()
			free()
			if err != nil {
				t.Errorf("%s: build: %v\n%s", pkg, err, out)
				return
			}
			took := time.Since(from)
			raw, err := os.ReadFile(binary)
			if err != nil {
				t.Error(err)
				return
			}
			var tests []string
			for _, m := range rows {
				// What the search in a production binary looks for is found here, so
				// that it proves something there.
				if !bytes.Contains(raw, []byte(m.Name)) {
					t.Errorf("%s is not in the binary of %s", m.Name, pkg)
				}
				if !slices.Contains(tests, m.Test) {
					tests = append(tests, m.Test)
				}
			}
			for _, some := range together(tests) {
				wg.Go(func() {
					defer take()()
					if passed, out := run(t.Context(), binary, filepath.Join(root, pkg), "", some...); !passed {
						t.Errorf("%s %q do not pass with every check in place:\n%s", pkg, some, out)
					}
				})
			}
			for _, m := range rows {
				wg.Go(func() {
					defer take()()
					passed, out := run(t.Context(), binary, filepath.Join(root, pkg), m.Name, m.Test)
					top, _, _ := strings.Cut(m.Test, "/")
					if passed || !strings.Contains(out, "--- FAIL: "+top) {
						t.Errorf("%s: nobody noticed that it no longer holds that %s; %s %s said:\n%s", m.Name, m.Removes, pkg, m.Test, out)
					}
				})
			}
			t.Logf("%s: built in %.1f s", pkg, took.Seconds())
		})
	}
	wg.Wait()
}

// progress are the lines of a test's output that say nothing.
var progress = regexp.MustCompile(`(?m)^(===|\s*--- PASS).*\n`)

// together answers tests in lists that one process runs, and no other test with
// them: those without a subtest, and the subtests of each.
func together(tests []string) [][]string {
	byParent := map[string][]string{}
	for _, test := range tests {
		parent, _, sub := strings.Cut(test, "/")
		if !sub {
			parent = ""
		}
		byParent[parent] = append(byParent[parent], test)
	}
	return slices.Collect(maps.Values(byParent))
}

// run answers whether exactly the named tests ran and passed, and what they said.
// Several are of one list of together.
func run(ctx context.Context, binary, dir, mutant string, tests ...string) (passed bool, out string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var parts [][]string
	for _, test := range tests {
		for i, part := range strings.Split(underscored(test), "/") {
			if i == len(parts) {
				parts = append(parts, nil)
			}
			if part = regexp.QuoteMeta(part); !slices.Contains(parts[i], part) {
				parts[i] = append(parts[i], part)
			}
		}
	}
	var pattern []string
	for _, names := range parts {
		pattern = append(pattern, "^("+strings.Join(names, "|")+")$")
	}
	c := command(ctx, dir, binary, "-test.run", strings.Join(pattern, "/"), "-test.v", "-test.timeout=90s")
	c.Env = append(c.Env, "MUTANT="+mutant, "GOGC=400") // it lives for a moment
	raw, err := c.CombinedOutput()
	out = string(raw)
	passed = err == nil && !strings.Contains(out, "--- SKIP")
	for _, test := range tests {
		if !strings.Contains(out, "=== RUN   "+underscored(test)+"\n") {
			return false, "(" + test + " was not run)\n" + out
		}
		passed = passed && strings.Contains(out, "--- PASS: "+underscored(test)+" (")
	}
	return passed, progress.ReplaceAllString(out, "")
}

// underscored is a test's name as go test prints it.
func underscored(test string) string { return strings.ReplaceAll(test, " ", "_") }

// command answers a command in dir without the caller's own mutants.
func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "MUTANT=") || strings.HasPrefix(v, "FAILPOINT=") || strings.HasPrefix(v, "CGO_ENABLED=")
	})
	c.Env = append(c.Env, "CGO_ENABLED=0") // as everything but the race detector's stage builds
	return c
}

var mutantCall = regexp.MustCompile(`\.Mutant\("([^"]*)"\)`)

func TestTheTableListsEveryMutantOfTheSourceOnce(t *testing.T) {
	t.Parallel()
	root := repository(t)
	source := map[string]bool{}
	for _, top := range []string{"gateway", "consulate", "anpr", "delivery", "policies", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			raw, err := os.ReadFile(path)
			for _, call := range mutantCall.FindAllSubmatch(raw, -1) {
				source[string(call[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	listed := map[string]bool{}
	for i, m := range mutants.Table {
		if listed[m.Name] {
			t.Errorf("%s is listed twice", m.Name)
		}
		listed[m.Name] = true
		if !source[m.Name] {
			t.Errorf("%s removes nothing: no source asks for it", m.Name)
		}
		if i > 0 && mutants.Table[i-1].Name >= m.Name {
			t.Errorf("%s stands after %s", m.Name, mutants.Table[i-1].Name)
		}
	}
	for name := range source {
		if !listed[name] {
			t.Errorf("%s can be removed and no test is named that notices", name)
		}
	}
}

// repository answers the folder of go.mod.
func repository(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}
