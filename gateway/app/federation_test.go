package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airegw/gateway"
	"airegw/gateway/federation"
)

const federationSection = `
environment: simulation
base_url: http://localhost:8080
federation:
  id: http://localhost:8080
  organization: Comune di Prova
  homepage_uri: http://localhost:8080
  policy_uri: http://localhost:8080/privacy
  contacts: [ente@pec.example.test]
  redirect_uris: [http://localhost:8080/login/cie/callback]
  keys: keys
  anchor: http://127.0.0.1:1/ta
  anchor_keys: anchor.json
  provider: http://127.0.0.1:1/op
`

// pathsOf answers the paths below federation that a configuration's faults name.
func pathsOf(t *testing.T, text string) string {
	t.Helper()
	return pathsBelow(t, "federation", text)
}

// pathsBelow answers the paths below a section that a configuration's faults name.
func pathsBelow(t *testing.T, section, text string) string {
	t.Helper()
	c, err := ParseConfig([]byte(text))
	if err != nil {
		return err.Error()
	}
	var paths []string
	for line := range strings.Lines(c.Check().Error()) {
		if path, _, _ := strings.Cut(line, ":"); strings.HasPrefix(path, section) {
			paths = append(paths, path)
		}
	}
	return strings.Join(paths, " ")
}

func TestEveryFaultOfTheSectionFederationNamesItsPath(t *testing.T) {
	t.Parallel()
	if got := pathsOf(t, federationSection); got != "" {
		t.Fatalf("a good section: %s", got)
	}
	if got := pathsOf(t, "base_url: http://localhost:8080"); got != "" {
		t.Fatalf("no section: %s", got)
	}
	for from, c := range map[string]struct{ to, want string }{
		"  id: http://localhost:8080":             {"  id: https://elsewhere.example", "federation.id"},
		"  organization: Comune di Prova":         {"", "federation.organization"},
		"  homepage_uri: http://localhost:8080":   {"", "federation.homepage_uri"},
		"  contacts: [ente@pec.example.test]":     {"  contacts: []", "federation.contacts"},
		"  keys: keys":                            {"", "federation.keys"},
		"  anchor: http://127.0.0.1:1/ta":         {"  anchor: https://ta.example", "federation.anchor"}, // a simulation stays on loopback
		"  anchor_keys: anchor.json":              {"", "federation.anchor_keys"},
		"  provider: http://127.0.0.1:1/op":       {"  provider: http://127.0.0.1:1/op?x=1", "federation.provider"},
		"environment: simulation":                 {"environment: production", "federation.anchor federation.provider"},
		"  policy_uri: http://localhost:8080/pri": {"  colour: red\n  policy_uri: http://localhost:8080/pri", "colour"},
	} {
		got := pathsOf(t, strings.Replace(federationSection, from, c.to, 1))
		if got != c.want && (c.want != "colour" || !strings.Contains(got, "colour")) {
			t.Errorf("%s → %s: %q, want %q", from, c.to, got, c.want)
		}
	}
}

func TestAnAggregatorsSectionNamesWhatIsWrongInIt(t *testing.T) {
	t.Parallel()
	section := strings.Replace(federationSection, "  provider:", "  login_as: c_a001\n  aggregated:\n"+
		"    - {kind: full, code: c_a001, organization: Comune, keys: body}\n    - {kind: light, id: \"https://b.example\", federation_keys: f, core_keys: c}\n  provider:", 1)
	if got := pathsOf(t, section); got != "" {
		t.Fatalf("a good section: %s", got)
	}
	for from, c := range map[string]struct{ to, want string }{
		"login_as: c_a001":                   {"login_as: c_b002", "federation.login_as"},
		"kind: full, code: c_a001":           {"kind: full, code: login", "federation.aggregated[0].code federation.login_as"}, // our own /login
		"kind: full, code: c_a001, ":         {"kind: full, ", "federation.aggregated[0].code federation.login_as"},
		"kind: light, ":                      {"", "federation.aggregated[1].kind"},
		"core_keys: c":                       {"core_keys: c, code: x", "federation.aggregated[1].code"},
		"organization: Comune, keys: body":   {"organization: Comune", "federation.aggregated[0].keys"},
		"id: \"https://b.example\"":          {"id: b", "federation.aggregated[1].id"},
		"federation_keys: f, core_keys: c":   {"federation_keys: f", "federation.aggregated[1].core_keys"},
		"code: c_a001, organization: Comune": {"code: c_a001", "federation.aggregated[0].organization"},
	} {
		if got := pathsOf(t, strings.Replace(section, from, c.to, 1)); got != c.want {
			t.Errorf("%s → %s: %q, want %q", from, c.to, got, c.want)
		}
	}
	c, err := ParseConfig([]byte(section))
	if err != nil {
		t.Fatal(err)
	}
	c.SetDir("/etc/airegw")
	if s := c.FederationSettings(); s.Aggregated[0].Keys != "/etc/airegw/body" || s.Aggregated[1].CoreKeys != "/etc/airegw/c" || c.Federation.Aggregated[0].Keys != "body" {
		t.Errorf("%+v", s.Aggregated)
	}
}

func TestAMembershipThatCannotBeOpenedNamesTheMember(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func(change func(*federation.Settings)) string {
		c, err := ParseConfig([]byte(federationSection))
		if err != nil {
			t.Fatal(err)
		}
		c.SetDir(dir)
		change(c.Federation)
		_, err = openFederation(c, Options{Clock: gateway.SystemClock{}, Random: strings.NewReader(strings.Repeat("r", 64))}, &App{})
		var f *FieldError
		if !errors.As(err, &f) {
			t.Fatalf("%v", err)
		}
		return f.Path
	}
	same := func(*federation.Settings) {}
	if got := open(same); got != "federation.anchor_keys" {
		t.Errorf("no file of pinned keys: %s", got)
	}
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "anchor.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("no keys")
	if got := open(same); got != "federation.anchor_keys" {
		t.Errorf("pinned keys that are none: %s", got)
	}
	write(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k","use":"sig","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`)
	if got := open(same); got != "federation.keys" {
		t.Errorf("no keys of ours: %s", got)
	}
	if _, err := federation.GenerateKeys(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	if got := open(func(s *federation.Settings) { s.PolicyURI = "privacy" }); got != "federation.policy_uri" {
		t.Errorf("an address that is none: %s", got)
	}
	if got := open(func(s *federation.Settings) { s.CAFile = "absent" }); got != "federation.ca_file" {
		t.Errorf("an absent authority: %s", got)
	}
}
