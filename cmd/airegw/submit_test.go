package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/gateway"
	"airegw/gateway/federation"
	"airegw/gateway/jose"
	"airegw/gateway/messages"
	"airegw/testharness"
	"airegw/testharness/sim"
)

// served is a demo that serves on a free port; without workers it acknowledges
// and works on nothing.
type served struct {
	*testharness.Demo
	dir string
}

// serveDemo starts a demo on a folder of its own and stops it with the test.
func serveDemo(t *testing.T, working bool) served {
	t.Helper()
	s := served{dir: t.TempDir()}
	layDemoKeys(t, s.dir)
	var err error
	s.Demo, err = testharness.StartDemo(context.Background(), testharness.DemoOptions{Dir: s.dir, Listen: "127.0.0.1:0", Seed: 7, Step: 50 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	serve := s.App.Serve
	if working {
		serve = s.App.Run
	}
	go func() { done <- serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// demoKeys are the RSA keys of a demo by their files' names, made once: two seconds
// of work that say nothing here. A demo makes what it does not find.
var demoKeys = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "airegw-demo-keys-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"op/op-anchor", "op/op-federation", "op/op-core", "op/op-foreign", "anpr/anpr-voucher-key"} {
		path := filepath.Join(dir, "sims", name)
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if _, err = sim.OpenRSAKey(filepath.Dir(path), filepath.Base(path)); err != nil {
			return nil, err
		}
	}
	if _, err = federation.GenerateKeys(filepath.Join(dir, "keys", "federation")); err != nil {
		return nil, err
	}
	key, err := jose.GenerateKey(jose.RS256)
	if err == nil {
		err = jose.SaveKey(filepath.Join(dir, "keys", "pdnd.jwk"), key)
	}
	if err != nil {
		return nil, err
	}
	keys := map[string][]byte{}
	return keys, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			keys[name], err = os.ReadFile(path)
		}
		return err
	})
})

// layDemoKeys puts them into the folder of a demo that has not begun.
func layDemoKeys(t *testing.T, dir string) {
	t.Helper()
	keys, err := demoKeys()
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range keys {
		path := filepath.Join(dir, name)
		err = os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil {
			err = os.WriteFile(path, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// client answers the client file of an office.
func (s served) client(code string) string {
	return filepath.Join(s.dir, "clients", code+".client.json")
}

// invented makes valid fiscal codes of people who do not exist.
func invented(t *testing.T, n int) []string {
	t.Helper()
	const letters = "BCDFGLMNPRSTVZ"
	codes := make([]string, 0, n)
	for i := 0; len(codes) < n; i++ {
		k := len(letters)
		fifteen := string([]byte{letters[i%k], letters[i/k%k], letters[i/k/k%k], letters[i/k/k/k%k]}) + "NN80A01H501"
		for c := byte('A'); c <= 'Z'; c++ {
			if _, err := anpr.ParseFiscalCode(fifteen + string(c)); err == nil {
				codes = append(codes, fifteen+string(c))
			}
		}
	}
	return codes[:n]
}

// line is a request of somebody at Rome, with pick-up there.
func requestLine(cf string) string {
	return fmt.Sprintf(`{"channel":"comune","office":"H501","reason":"first_issue","applicant":{"fiscal_code":%q},"delivery":{"option":"COMUNE_PICKUP"},"contacts":{"email":"nobody@example.org"}}`, cf)
}

// breaks are ways in which a line can be broken, with what must be said of it.
// The code is of the whole line when there is no field.
var breaks = []struct {
	name, field, code string
	spoil             func(line, cf string) string
}{
	{"a wrong check letter", "/applicant/fiscal_code", "cf_checksum", func(line, cf string) string {
		wrong := byte('A')
		if cf[15] == wrong {
			wrong = 'B'
		}
		return strings.Replace(line, cf, cf[:15]+string(wrong), 1)
	}},
	{"an unknown field", "/colour", "unknown_field", func(line, _ string) string { return line[:len(line)-1] + `,"colour":"red"}` }},
	{"a repeated field", "/channel", "repeated_field", func(line, _ string) string { return line[:len(line)-1] + `,"channel":"post"}` }},
	{"a null", "/reason", "null_value", func(line, _ string) string { return strings.Replace(line, `"first_issue"`, "null", 1) }},
	{"an impossible date", "/applicant/birth_date", "date_impossible", func(line, _ string) string {
		return strings.Replace(line, `{"fiscal_code"`, `{"birth_date":"1980-02-30","fiscal_code"`, 1)
	}},
	{"a truncated line", "", "not_json", func(line, _ string) string { return line[:len(line)/2] }},
	{"invalid UTF-8", "", "not_utf8", func(line, _ string) string { return strings.Replace(line, "nobody", "nob\xffdy", 1) }},
	{"another's office", "/office", "office_not_yours", func(line, _ string) string { return strings.Replace(line, "H501", "F205", 1) }},
	{"a comune that ceased", "/office", "comune_ceased", func(line, _ string) string { return strings.Replace(line, "H501", "G448", 1) }},
	{"an oversized line", "", "body_too_large", func(line, _ string) string {
		return strings.Replace(line, "nobody", strings.Repeat("n", gateway.MaxInput), 1)
	}},
}

func results(t *testing.T, out string) []submitted {
	t.Helper()
	var all []submitted
	dec := json.NewDecoder(strings.NewReader(out))
	for dec.More() {
		var r submitted
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestAFileOfTenThousandLinesWithEveryTenthBrokenTakesTheOthers(t *testing.T) {
	t.Parallel()
	s := serveDemo(t, false)
	const lines = 10_000
	var file bytes.Buffer
	people := invented(t, lines)
	for i, cf := range people {
		line := requestLine(cf)
		if i%10 == 9 {
			line = breaks[i/10%len(breaks)].spoil(line, cf)
		}
		file.WriteString(line + "\n")
	}
	path := filepath.Join(t.TempDir(), "requests.jsonl")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	submit := func() []submitted {
		t.Helper()
		code, out, text := airegw(t, "", "submit", "--file", path, "--client", s.client("058091"), "--parallel", "64", "--json")
		if code != 1 || !strings.Contains(text, "1000 of 10000 lines refused") {
			t.Fatalf("exit %d: %s", code, text)
		}
		all := results(t, out)
		if len(all) != lines {
			t.Fatalf("%d lines answered", len(all))
		}
		return all
	}
	first := submit()
	numbers := map[string]bool{}
	for i, r := range first {
		if r.Line != i+1 {
			t.Fatalf("line %d is answered as %d", i+1, r.Line)
		}
		if i%10 != 9 {
			if !r.Accepted || !r.Created || r.Number == "" || r.Tracker == "" || numbers[r.Number] {
				t.Fatalf("line %d: %+v", i+1, r)
			}
			numbers[r.Number] = true
			continue
		}
		checkBroken(t, i, r)
	}
	if len(numbers) != 9000 {
		t.Fatalf("%d numbers", len(numbers))
	}
	again := submit()
	for i, r := range again {
		if r.Created || r.Accepted != first[i].Accepted || r.Number != first[i].Number || r.Code != first[i].Code {
			t.Fatalf("line %d submitted again: %+v, first %+v", i+1, r, first[i])
		}
	}
	counts, err := s.App.Store.Counts(context.Background(), time.Now())
	if err != nil || counts.ByState[gateway.StateSubmitted] != 9000 || len(counts.ByState) != 1 {
		t.Errorf("%+v %v", counts.ByState, err)
	}
}

// checkBroken wants the reason of a broken line, at its field, with a text.
func checkBroken(t *testing.T, i int, r submitted) {
	t.Helper()
	b := breaks[i/10%len(breaks)]
	if r.Accepted || r.Number != "" {
		t.Fatalf("line %d, %s, was taken: %+v", i+1, b.name, r)
	}
	for _, p := range r.Problems {
		if p.Field == b.field && p.Code == b.code {
			if p.Detail == "" || p.Detail == p.Code {
				t.Fatalf("line %d, %s: no text: %+v", i+1, b.name, p)
			}
			return
		}
	}
	if b.field != "" || r.Code != b.code {
		t.Fatalf("line %d, %s: wanted %s %s, got %+v", i+1, b.name, b.field, b.code, r)
	}
}

func TestEveryReasonForARefusedLineHasATextInBothLanguages(t *testing.T) {
	t.Parallel()
	for _, b := range breaks {
		if !messages.Has(b.code) || messages.Text("it", b.code, nil) == messages.Text("en", b.code, nil) {
			t.Errorf("%s has no text", b.code)
		}
	}
}

func TestAFileIsReadableByPeopleAndWaitsForTheOutcomes(t *testing.T) {
	t.Parallel()
	s := serveDemo(t, true)
	dead, _ := sim.PersonByScenario("deceased")
	ok, _ := sim.PersonByScenario("ok")
	file := requestLine(ok.CF) + "\n\n" + requestLine(dead.CF) + "\n{\n"
	code, out, text := airegw(t, file, "submit", "--file", "-", "--client", s.client("058091"), "--url", s.URL, "--wait")
	if code != 1 {
		t.Fatalf("exit %d: %s", code, text)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) < 4 || !strings.Contains(lines[0], "accepted") || !strings.Contains(lines[0], "prechecked") || !strings.Contains(lines[2], "refused") {
		t.Errorf("%s", out)
	}
	if !strings.Contains(text, "4 righe / lines: 2 accettate / accepted (2 nuove / new), 2 rifiutate / refused") {
		t.Errorf("%s", text)
	}
	code, out, text = airegw(t, requestLine(ok.CF), "submit", "--file", "-", "--client", s.client("058091"), "--json")
	if r := results(t, out); code != 0 || len(r) != 1 || r[0].Created || !r[0].Accepted {
		t.Errorf("exit %d: %+v %s", code, r, text)
	}
}

func TestSubmitExitsWithTwoForWrongUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	client := filepath.Join(dir, "x.client.json")
	if err := os.WriteFile(client, []byte(`{"client_id":"x"`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"submit"},
		{"submit", "--file", filepath.Join(dir, "absent.jsonl")},
		{"submit", "--file", "-", "--client", filepath.Join(dir, "absent.client.json")},
		{"submit", "--file", "-", "--client", client},
		{"submit", "--file", "-", "--client", client, "--parallel", "0"},
		{"submit", "--file", "-", "--client", client, "--parallel", "65"},
	} {
		if code, _, text := airegw(t, "", args...); code != 2 || text == "" {
			t.Errorf("%v: exit %d, %q", args, code, text)
		}
	}
}

func TestAClientSpeaksForItsOwnOfficeOnly(t *testing.T) {
	t.Parallel()
	s := serveDemo(t, false)
	code, out, _ := airegw(t, requestLine(invented(t, 1)[0]), "submit", "--file", "-", "--client", s.client("015146"), "--json")
	r := results(t, out)
	if code != 1 || len(r) != 1 || r[0].Accepted || len(r[0].Problems) != 1 || r[0].Problems[0].Code != "office_not_yours" {
		t.Errorf("exit %d: %+v", code, r)
	}
}
