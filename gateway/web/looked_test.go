package web_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"airegw/gateway/web"
)

// notLooked are the pages a person never looks at, each with the reason. Every
// other GET page of the routes must be looked at in a browser, at both widths.
var notLooked = map[string]string{
	"/citizen/data.json":     "a file to keep",
	"/lookup/offices":        "a part of the form of a new request, looked at in it (citizen-new-offices)",
	web.PathOperatorCallback: "goes on to the office's page; what fails there looks as at the citizens' (login_failed)",
	"/login/operator":        "goes on to the provider; what fails there looks as at the citizens' (login_failed)",
}

// looked is which pages the browser tests of this run looked at.
var looked = &looking{pages: map[string]bool{}, tests: map[string]bool{}}

type looking struct {
	mu    sync.Mutex
	pages map[string]bool // route, looked at at every width
	tests map[string]bool // names of the tests that began
}

// begun notes that a test opened a browser.
func (l *looking) begun(test string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tests[test] = true
}

// note says that somebody looked at an address.
func (l *looking) note(path string, every bool) {
	route := routeOf(path)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pages[route] = l.pages[route] || every
}

// pagesToLook answers the GET routes that show a page.
func pagesToLook() []string {
	var out []string
	for _, r := range web.Routes(true) {
		if r.Method == http.MethodGet && r.Surface == web.SurfacePage {
			out = append(out, r.Path)
		}
	}
	return out
}

// routeOf answers the GET page that serves a path, "" for none: a word of the
// route's own before a name it leaves open.
func routeOf(path string) string {
	parts := strings.Split(path, "/")
	best, most := "", -1
	for _, route := range pagesToLook() {
		words := strings.Split(route, "/")
		if len(words) != len(parts) {
			continue
		}
		same := 0
		for i := range words {
			switch {
			case words[i] == parts[i]:
				same++
			case !strings.HasPrefix(words[i], ":") || parts[i] == "":
				same = -len(words) - 1
			}
		}
		if same > most {
			best, most = route, same
		}
	}
	return best
}

// complete answers which pages nobody looked at, once every browser test of the
// package has run: a run of some of them says nothing.
func (l *looking) complete() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	names, err := browserTests()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !l.tests[name] {
			return nil
		}
	}
	var missing []string
	for _, route := range pagesToLook() {
		if _, why := notLooked[route]; !why && !l.pages[route] {
			missing = append(missing, route)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("FAIL: pages that no browser test looks at at both widths, and that are not listed with a reason: %s", strings.Join(missing, ", "))
	}
	return nil
}

// browserTests are the package's tests that open a browser, from its source.
func browserTests() ([]string, error) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+InABrowser)\(`).FindAllStringSubmatch(string(raw), -1) {
			out = append(out, m[1])
		}
	}
	return out, nil
}

func TestTheListOfPagesNobodyLooksAtIsTrue(t *testing.T) {
	t.Parallel()
	pages := pagesToLook()
	for route, why := range notLooked {
		if !slices.Contains(pages, route) || why == "" {
			t.Errorf("%s is no page, or has no reason", route)
		}
	}
	for path, want := range map[string]string{
		"/": "/", "/operator/requests/new": "/operator/requests/new", "/operator/requests/R26-1": "/operator/requests/:number",
		"/operator/requests/R26-1/why/CONSULATE": "/operator/requests/:number/why/:option", "/operator/requests/": "", "/nothing": "",
	} {
		if got := routeOf(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	// A run that leaves a page out fails, and one of a part of the tests does not.
	names, err := browserTests()
	if err != nil || len(names) < 9 {
		t.Fatalf("%v %v", names, err)
	}
	some := &looking{pages: map[string]bool{}, tests: map[string]bool{}}
	for _, route := range pages {
		some.pages[route] = true
	}
	some.note("/track", true)
	some.pages["/operator/rates"] = false
	some.note("/operator/rates", false) // one width only
	if err := some.complete(); err != nil {
		t.Errorf("a part of the tests: %v", err)
	}
	for _, name := range names {
		some.begun(name)
	}
	if err := some.complete(); err == nil || !strings.HasSuffix(err.Error(), ": /operator/rates") {
		t.Errorf("one left out: %v", err)
	}
	some.note("/operator/rates", true)
	if err := some.complete(); err != nil {
		t.Errorf("all: %v", err)
	}
}
