package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layers is the import order of the house (DESIGN §2): a package may import
// those of lines above its own, and inside a line only where `within` says so.
// A package matches the longest entry that is its path or a parent of it.
var layers = [][]string{
	{"gateway/fault", "gateway/strictjson"},
	{"gateway/jose", "gateway/outbound", "gateway/messages"},
	{"anpr/wssec"},
	{"anpr"},
	{"consulate"},
	{"policies"},
	{"delivery"},
	{"gateway"},
	{"gateway/federation", "gateway/issuance", "gateway/agenda", "gateway/forms", "gateway/sad"},
	{"gateway/login"},
	{"gateway/store"},
	{"gateway/web"},
	{"gateway/app"},
	{"testharness"},
	{"cmd/airegw"},
}

// simulators may use testharness/sim and nothing else of ours: one that shared
// code with the product would share its mistakes.
var simulators = []string{"testharness/sim", "testharness/anprsim", "testharness/opsim", "testharness/coresim", "testharness/anprcontract", "testharness/sadsim"}

// only says which of our packages may import a module, tests included.
var only = map[string][]string{
	"github.com/lestrrat-go/jwx":            {"gateway/jose"},
	"github.com/hashicorp/go-retryablehttp": {"gateway/outbound"},
	"github.com/gin-gonic/gin":              {"gateway/web"},
	"database/sql":                          {"gateway/store"},
	"modernc.org/sqlite":                    {"gateway/store"},
	"github.com/pressly/goose":              {"gateway/store"},
	"github.com/jackc/pgx":                  {"gateway/store", "gateway/store/pgtest"},
	"github.com/russellhaering/goxmldsig":   append([]string{"anpr/wssec"}, simulators...),
	"github.com/beevik/etree":               append([]string{"anpr/wssec"}, simulators...),
	"github.com/go-jose/go-jose":            append([]string{"gateway/login"}, simulators...),
}

type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

const module = "airegw/"

func TestEveryPackageImportsOnlyWhatStandsAboveIt(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range ours(p.Imports) {
			if why := forbidden(name, imported); why != "" {
				t.Errorf("%s imports %s: %s", name, imported, why)
			}
		}
		// A simulator's own tests keep to the rule too.
		if isSimulator(name) {
			for _, imported := range ours(slices.Concat(p.TestImports, p.XTestImports)) {
				if !isSimulator(imported) {
					t.Errorf("%s (test) imports %s: simulators share nothing with the product", name, imported)
				}
			}
		}
	}
}

func TestEachModuleHasItsOneImporter(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			for guarded, allowed := range only {
				if imported != guarded && !strings.HasPrefix(imported, guarded+"/") {
					continue
				}
				if !slices.ContainsFunc(allowed, func(a string) bool { return name == a || strings.HasPrefix(name, a+"/") }) {
					t.Errorf("%s imports %s; only %s may", name, imported, strings.Join(allowed, ", "))
				}
			}
		}
	}
}

func TestTheTopLevelHoldsTheGivenFoldersOnly(t *testing.T) {
	t.Parallel()
	given := []string{"gateway", "consulate", "anpr", "delivery", "policies", "cmd", "testharness"}
	bad := []string{"util", "utils", "common", "models", "types", "helpers", "misc", "shared", "lib", "pkg", "internal"}
	for _, p := range packages(t) {
		parts := strings.Split(strings.TrimPrefix(p.ImportPath, module), "/")
		if !slices.Contains(given, parts[0]) {
			t.Errorf("%s: Go code outside %v", p.ImportPath, given)
		}
		for _, part := range parts {
			if slices.Contains(bad, part) {
				t.Errorf("%s: a folder named %q says nothing about its duty", p.ImportPath, part)
			}
		}
	}
}

// forbidden answers why one package of ours may not import another, or "".
func forbidden(name, imported string) string {
	if isSimulator(name) {
		if imported == "testharness/sim" {
			return ""
		}
		return "simulators share nothing with the product"
	}
	if under(name, imported) {
		// Parts of one room may use each other: store and store/storetest.
		return ""
	}
	from, to := layer(name), layer(imported)
	if from < 0 {
		return "the importing package has no line in the import order"
	}
	if to >= from {
		return "it does not stand above"
	}
	if name == "gateway/web" && layers[to][0] == "gateway/store" {
		return "web sees the store only through interfaces"
	}
	return ""
}

// under says that two packages live in the same room of the house.
func under(a, b string) bool {
	return room(a) != "" && room(a) == room(b)
}

func room(name string) string {
	best := ""
	for _, line := range layers {
		for _, entry := range line {
			if (name == entry || strings.HasPrefix(name, entry+"/")) && len(entry) > len(best) {
				best = entry
			}
		}
	}
	return best
}

func layer(name string) int {
	own := room(name)
	for i, line := range layers {
		if slices.Contains(line, own) {
			return i
		}
	}
	return -1
}

func isSimulator(name string) bool {
	return slices.ContainsFunc(simulators, func(s string) bool { return name == s || strings.HasPrefix(name, s+"/") })
}

func ours(imports []string) []string {
	var out []string
	for _, i := range imports {
		if name, ok := strings.CutPrefix(i, module); ok {
			out = append(out, name)
		}
	}
	return out
}

func packages(t *testing.T) []listed {
	t.Helper()
	root := repositoryRoot(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}
