package messages_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"airegw/gateway/messages"
)

func TestBothLanguagesSayTheSameWithTheSameArguments(t *testing.T) {
	t.Parallel()
	// it and en as arguments carry one text in two languages.
	same := strings.NewReplacer("{it}", "{text}", "{en}", "{text}")
	find := regexp.MustCompile(`\{[a-z_]+\}`)
	for _, code := range messages.Codes() {
		marks := func(lang string) []string {
			named := map[string]string{}
			for _, a := range append(messages.Arguments(code), "it", "en") {
				named[a] = "{" + a + "}"
			}
			found := find.FindAllString(same.Replace(messages.Text(lang, code, named)), -1)
			slices.Sort(found)
			return slices.Compact(found)
		}
		if it, en := marks(messages.IT), marks(messages.EN); !slices.Equal(it, en) {
			t.Errorf("%s: arguments %v in Italian, %v in English", code, it, en)
		}
	}
}

func TestAnUnknownCodeIsShownAndNotHidden(t *testing.T) {
	t.Parallel()
	if got := messages.Text(messages.EN, "no_such_code", nil); got != "no_such_code" {
		t.Errorf("got %q", got)
	}
	if messages.Has("no_such_code") {
		t.Error("an unknown code is said to have a text")
	}
}

func TestArgumentsAreReplacedAndMissingOnesLeftOut(t *testing.T) {
	t.Parallel()
	got := messages.Text(messages.EN, "too_many_requests", map[string]string{"seconds": "7"})
	if !strings.Contains(got, " 7 seconds") {
		t.Errorf("got %q", got)
	}
	if got := messages.Text(messages.IT, "too_many_requests", nil); strings.Contains(got, "{") {
		t.Errorf("got %q", got)
	}
}

func TestTheReadersLanguageIsChosen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header string
		first  []string
		want   string
	}{
		"nothing said":           {"", nil, "it"},
		"English first":          {"en-GB,en;q=0.9,it;q=0.4", nil, "en"},
		"German, then English":   {"de-DE,de;q=0.9,en;q=0.8", nil, "en"},
		"neither":                {"pt-BR", nil, "it"},
		"a choice wins":          {"en", []string{"", "it"}, "it"},
		"a nonsense choice":      {"en", []string{"xx"}, "en"},
		"equal weights: as told": {"it,en", nil, "it"},
		"refused by weight":      {"en;q=0,it;q=0.1", nil, "it"},
		"a broken weight":        {"en;q=abc", nil, "it"},
	} {
		if got := messages.Language(c.header, c.first...); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// FuzzLanguage: whatever a browser sends, the answer is one of ours.
func FuzzLanguage(f *testing.F) {
	f.Add("en-GB,en;q=0.9,it;q=0.4")
	f.Add(";;;,,,q=")
	f.Fuzz(func(t *testing.T, header string) {
		if got := messages.Language(header); got != "it" && got != "en" {
			t.Errorf("got %q", got)
		}
	})
}

// TestEveryCodeInTheSourceHasAText reads the source of the packages whose codes
// reach people and looks for each code it finds in the catalogue.
func TestEveryCodeInTheSourceHasAText(t *testing.T) {
	t.Parallel()
	found := map[string]string{} // code → where
	for _, dir := range []string{"..", "../web", "../store", "../issuance", "../../anpr", "../../delivery", "../../consulate"} {
		collect(t, dir, found)
	}
	if len(found) < 60 {
		t.Fatalf("only %d codes found: the search no longer fits the source", len(found))
	}
	for code, where := range found {
		if !messages.Has(code) {
			t.Errorf("%s: %q has no text: add it to catalogue/", where, code)
		}
	}
}

// silent are codes for logs and machines that no surface shows to people.
var silent = regexp.MustCompile(`^(register_(unreachable|timeout|breaker_open|cut_answer|outage|quota|not_json|path_unknown|unreadable|unexpected|voucher_.*|interrupted|no_operation_id|request_.*|token_refused|forbidden|unknown_code|preflight|tls|query)$)`)

var codeShape = regexp.MustCompile(`^[a-z][a-z0-9]*([_.][a-z0-9]+)*$`)

// collect finds codes in the Go files of a folder: the second argument of
// NewError, arguments of the small helpers that make problems, members named
// Code and code of composite literals.
func collect(t *testing.T, dir string, found map[string]string) {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	add := func(at token.Pos, e ast.Expr) {
		lit, ok := e.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return
		}
		code, err := strconv.Unquote(lit.Value)
		if err == nil && codeShape.MatchString(code) && !silent.MatchString(code) {
			found[code] = fset.Position(at).String()
		}
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			if os.IsNotExist(err) {
				continue
			}
			t.Fatal(err)
		}
		file, err := parser.ParseFile(fset, name, raw, parser.SkipObjectResolution)
		if err != nil {
			t.Logf("%s does not parse and is left out: %v", name, err)
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				name := ""
				switch f := n.Fun.(type) {
				case *ast.Ident:
					name = f.Name
				case *ast.SelectorExpr:
					name = f.Sel.Name
				}
				switch name {
				case "NewError", "invalid", "bad", "wrong":
					if len(n.Args) >= 2 {
						add(n.Pos(), n.Args[1])
					}
				}
			case *ast.CompositeLit:
				id := ""
				switch t := n.Type.(type) {
				case *ast.Ident:
					id = t.Name
				case *ast.SelectorExpr:
					id = t.Sel.Name
				}
				if !slices.Contains([]string{"Error", "Problem", "Finding", "Mark", "Outcome", "fault", "failure", "reasonData", "PeerHealth"}, id) {
					return true
				}
				for _, el := range n.Elts {
					kv, ok := el.(*ast.KeyValueExpr)
					if !ok {
						continue
					}
					if k, ok := kv.Key.(*ast.Ident); ok && (k.Name == "Code" || k.Name == "code") {
						add(kv.Pos(), kv.Value)
					}
				}
			}
			return true
		})
	}
}

// TestEveryTextOfATemplateExists holds the pages to the catalogue.
func TestEveryTextOfATemplateExists(t *testing.T) {
	t.Parallel()
	use := regexp.MustCompile(`\.T "([^"]+)"|(?:field|newField) [^"]*"[^"]*" "([^"]+)"|"hint=([^"]+)"|"[a-zA-Z0-9_]+=([a-z]+\.[a-zA-Z0-9_]+)"`)
	n := 0
	err := fs.WalkDir(os.DirFS("../web/templates"), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(filepath.Join("../web/templates", name))
		if err != nil {
			return err
		}
		for _, m := range use.FindAllStringSubmatch(string(raw), -1) {
			for _, code := range m[1:] {
				if code == "" || strings.HasSuffix(code, ".") {
					continue
				}
				n++
				if !messages.Has(code) {
					t.Errorf("%s: %q has no text", name, code)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 100 {
		t.Errorf("only %d texts found in the templates: the search no longer fits them", n)
	}
}
