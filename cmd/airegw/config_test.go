package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAConfigurationIsCheckedAndEveryFaultNamesItsPath(t *testing.T) {
	t.Parallel()
	s := serveDemo(t, false)
	path := filepath.Join(s.dir, "airegw.yaml")
	if code, out, text := airegw(t, "", "config", "check", path); code != 0 || !strings.Contains(out, "ok") {
		t.Fatalf("exit %d: %s %s", code, out, text)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	good := string(raw)
	for name, c := range map[string]struct{ text, want string }{
		"an unknown member":         {good + "\ncolour: red\n", "colour"},
		"an unknown member below":   {strings.Replace(good, "database:\n", "database:\n  shape: round\n", 1), "shape"},
		"no YAML":                   {"{{{", "configuration"},
		"nothing":                   {"{}", "database.path"},
		"an odd environment":        {strings.Replace(good, "environment: simulation", "environment: moon", 1), "environment"},
		"production on a simulator": {strings.Replace(good, "environment: simulation", "environment: production", 1), "register.token_url"},
		"all interfaces":            {strings.Replace(good, "listen: 127.0.0.1", "listen: 0.0.0.0", 1), "listen"},
		"an odd level":              {strings.Replace(good, "level: warn", "level: loud", 1), "log.level"},
		"an unknown office":         {strings.Replace(good, "comune:058091", "comune:999999", 1), "clients["},
	} {
		if c.text == good {
			t.Errorf("%s: the text was not spoilt", name)
			continue
		}
		file := filepath.Join(t.TempDir(), "airegw.yaml")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, text := airegw(t, "", "config", "check", file)
		if code != 1 || !strings.Contains(text, c.want) {
			t.Errorf("%s: exit %d, wanted %q in %q", name, code, c.want, text)
		}
	}
	if code, _, _ := airegw(t, "", "config", "check", filepath.Join(s.dir, "absent.yaml")); code != 2 {
		t.Errorf("an absent file: exit %d", code)
	}
	if code, _, text := airegw(t, "", "serve", "--config", filepath.Join(s.dir, "demo.json")); code != 2 {
		t.Errorf("serve with no configuration: exit %d %s", code, text)
	}
	// One folder is one gateway's.
	if code, _, text := airegw(t, "", "demo", "--dir", s.dir, "--listen", "127.0.0.1:0"); code != 1 || !strings.Contains(text, s.URL) {
		t.Errorf("a second gateway on the folder: exit %d %s", code, text)
	}
}
