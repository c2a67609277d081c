package sad_test

import (
	"errors"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway/outbound"
	"airegw/gateway/sad"
	"airegw/testharness/sadsim"
)

const cf = "FRRLCU86D57Z600N"

func people() map[string]sadsim.Person {
	return map[string]sadsim.Person{cf: {Surname: "FERRARIS & D'ARC", Name: "LUCIA", Birth: "1986-04-17", Travel: true}}
}

func question() sad.Question {
	return sad.Question{ID: "R26-1", Comune: "058091", FiscalCode: cf, Surname: "FERRARIS", GivenName: "LUCIA"}
}

func code(err error) sad.Code {
	var e *sad.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func overHTTP(t *testing.T, r *sadsim.Registry, constants string) *sad.Registry {
	t.Helper()
	h := httptest.NewServer(r)
	t.Cleanup(h.Close)
	at := netip.MustParseAddrPort(h.Listener.Addr().String())
	out, err := outbound.New(outbound.Config{
		Peer: "sad", Deadline: 5 * time.Second, MaxBody: 64 << 10, Tries: 1, BackoffMin: 1, BackoffMax: 2,
		Clock: time.Now, Rand: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	d, err := sad.New(sad.Settings{Kind: sad.KindHTTP, Address: at.Addr().String(), Port: int(at.Port()), Path: "/apr", Constants: constants}, true, out)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEveryPairRoundTripsAndAMixedOneIsRefused(t *testing.T) {
	t.Parallel()
	if len(sad.Pairs()) != 6 {
		t.Fatal("not six pairs")
	}
	for _, p := range sad.Pairs() {
		c, err := sad.ParseConstants(p.String())
		if err != nil || c != p {
			t.Errorf("%s: %v", p, err)
		}
		for _, valid := range []bool{true, false} {
			if got, err := c.Value(c.Word(valid)); err != nil || got != valid {
				t.Errorf("%s %v: %v %v", p, valid, got, err)
			}
		}
		for _, other := range sad.Pairs() {
			for _, word := range []string{other.Yes, other.No, strings.ToLower(other.Yes), other.Yes + " ", ""} {
				if word == p.Yes || word == p.No {
					continue
				}
				if _, err := c.Value(word); code(err) != sad.CodeConstants {
					t.Errorf("%s takes %q", p, word)
				}
			}
			if mixed := (sad.Constants{Yes: p.Yes, No: other.No}); other != p {
				if _, err := sad.ParseConstants(mixed.String()); err == nil {
					t.Errorf("%s is taken for a pair", mixed)
				}
			}
		}
		// And over the wire.
		r := sadsim.New(p.Yes, p.No, people())
		got, err := overHTTP(t, r, p.String()).Ask(t.Context(), question())
		if err != nil || got.Travel == nil || !*got.Travel || got.Surname != "FERRARIS & D'ARC" {
			t.Errorf("%s: %+v %v", p, got, err)
		}
	}
	if _, err := (sad.Constants{}).Value(""); err == nil {
		t.Error("no pair takes anything")
	}
	r := sadsim.New("T", "F", people())
	if _, err := overHTTP(t, r, "S/N").Ask(t.Context(), question()); code(err) != sad.CodeConstants {
		t.Errorf("another comune's constants: %v", err)
	}
}

func TestTheSevenSettingsAreCheckedByConnection(t *testing.T) {
	t.Parallel()
	web := sad.Settings{Kind: sad.KindHTTP, Address: "10.1.2.3", Port: 8080, Path: "/apr", Constants: "S/N"}
	folders := sad.Settings{Kind: sad.KindFTP, Upload: "up", Download: "down", Constants: "1/0"}
	for _, tc := range []struct {
		from       sad.Settings
		edit       func(*sad.Settings)
		want       string
		simulation bool
	}{
		{web, func(*sad.Settings) {}, "", false},
		{folders, func(*sad.Settings) {}, "", false},
		{web, func(s *sad.Settings) { s.Path = "" }, "path", false},
		{web, func(s *sad.Settings) { s.Path = "apr" }, "path", false},
		{web, func(s *sad.Settings) { s.Port = 0 }, "port", false},
		{web, func(s *sad.Settings) { s.Port = 65536 }, "port", false},
		{web, func(s *sad.Settings) { s.Address = "registry.example" }, "address", false},
		{web, func(s *sad.Settings) { s.Address = "203.0.113.7" }, "address", false},
		{web, func(*sad.Settings) {}, "address", true},
		{web, func(s *sad.Settings) { s.Upload = "up" }, "upload", false},
		{web, func(s *sad.Settings) { s.Constants = "SfN" }, "constants", false},
		{web, func(s *sad.Settings) { s.Constants = "S/F" }, "constants", false},
		{web, func(s *sad.Settings) { s.Kind = "https" }, "connection", false},
		{folders, func(s *sad.Settings) { s.Upload = "" }, "upload", false},
		{folders, func(s *sad.Settings) { s.Download = "" }, "download", false},
		{folders, func(s *sad.Settings) { s.Download = s.Upload }, "download", false},
		{folders, func(s *sad.Settings) { s.Path = "/apr" }, "path", false},
	} {
		s := tc.from
		tc.edit(&s)
		faults := s.Faults(tc.simulation)
		if tc.want == "" && len(faults) > 0 || tc.want != "" && !slices.Contains(faults, tc.want) {
			t.Errorf("%+v: %v, want %q", s, faults, tc.want)
		}
	}
	if _, err := sad.New(web, false, nil); code(err) != sad.CodeSettings {
		t.Errorf("http without a way out: %v", err)
	}
}

func TestTheRegistryAnswersOverHTTP(t *testing.T) {
	t.Parallel()
	r := sadsim.New("SI", "NO", people())
	d := overHTTP(t, r, "SI/NO")
	q := question()
	q.FiscalCode = "RSSMRA80A01H501U"
	if got, err := d.Ask(t.Context(), q); err != nil || got.Found {
		t.Errorf("absent: %+v %v", got, err)
	}
	for name, tc := range map[string]struct {
		spoil func(string) string
		code  sad.Code
	}{
		"an HTML page":       {func(string) string { return "<html><body>ok</body></html>" }, sad.CodeUnread},
		"nothing":            {func(string) string { return "" }, sad.CodeUnread},
		"cut":                {func(s string) string { return s[:len(s)/2] }, sad.CodeUnread},
		"a document type":    {func(s string) string { return `<!DOCTYPE x>` + s[strings.Index(s, "<risposta"):] }, sad.CodeUnread},
		"two answers":        {func(s string) string { return s + s[strings.Index(s, "<risposta"):] }, sad.CodeUnread},
		"another question's": {func(s string) string { return strings.Replace(s, `id="R26-1"`, `id="R26-2"`, 1) }, sad.CodeNotOurs},
		"another version":    {func(s string) string { return strings.Replace(s, "provvisoria-1", "2.8", 1) }, sad.CodeUnread},
		"another outcome":    {func(s string) string { return strings.Replace(s, "trovato", "boh", 1) }, sad.CodeUnread},
		"found nobody":       {func(s string) string { return strings.Replace(s, "trovato", "assente", 1) }, sad.CodeUnread},
		"no date":            {func(s string) string { return strings.Replace(s, "1986-04-17", "17/04/1986", 1) }, sad.CodeUnread},
		"a constant in full": {func(s string) string { return strings.Replace(s, ">SI<", ">SÌ<", 1) }, sad.CodeConstants},
	} {
		r.Spoil = tc.spoil
		if _, err := d.Ask(t.Context(), question()); code(err) != tc.code {
			t.Errorf("%s: %v, want %s", name, err, tc.code)
		}
	}
	bad := question()
	bad.ID = "../x"
	if _, err := d.Ask(t.Context(), bad); code(err) != sad.CodeQuestion {
		t.Errorf("an id that is a path: %v", err)
	}
}

func TestAServerThatSaysNoIsNoAnswer(t *testing.T) {
	t.Parallel()
	d := overHTTP(t, sadsim.New("S", "N", nil), "S/N")
	q := question()
	q.Comune = "058091"
	if _, err := d.Ask(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	closed := httptest.NewServer(nil)
	at := netip.MustParseAddrPort(closed.Listener.Addr().String())
	closed.Close()
	out, err := outbound.New(outbound.Config{Peer: "sad", Deadline: time.Second, MaxBody: 1 << 10, Tries: 1, BackoffMin: 1, BackoffMax: 2, Clock: time.Now, Rand: func() float64 { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	gone, err := sad.New(sad.Settings{Kind: sad.KindHTTP, Address: at.Addr().String(), Port: int(at.Port()), Path: "/", Constants: "S/N"}, true, out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Ask(t.Context(), question()); code(err) != sad.CodeNoAnswer {
		t.Errorf("%v", err)
	}
}

func TestThroughFoldersAQuestionWaitsForItsAnswer(t *testing.T) {
	t.Parallel()
	up, down := t.TempDir(), t.TempDir()
	d, err := sad.New(sad.Settings{Kind: sad.KindFTP, Upload: up, Download: down, Constants: "VERO/FALSO"}, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // asked again: still one file
		if _, err := d.Ask(t.Context(), question()); code(err) != sad.CodePending {
			t.Fatalf("%v", err)
		}
	}
	files, err := os.ReadDir(up)
	if err != nil || len(files) != 1 || files[0].Name() != "R26-1.xml" {
		t.Fatalf("%v %v", files, err)
	}
	r := sadsim.New("VERO", "FALSO", people())
	if err := r.Sweep(up, down); err != nil {
		t.Fatal(err)
	}
	got, err := d.Ask(t.Context(), question())
	if err != nil || !got.Found || got.BirthDate != "1986-04-17" || len(r.Asked()) != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	if err := d.Done("R26-1"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{up, down} {
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	}
	if err := d.Done("R26-1"); err != nil {
		t.Errorf("twice: %v", err)
	}
	// A file without bound is not read.
	if err := os.WriteFile(filepath.Join(down, "R26-1.xml"), make([]byte, 65<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Ask(t.Context(), question()); code(err) != sad.CodeNoAnswer {
		t.Errorf("a large file: %v", err)
	}
	gone, err := sad.New(sad.Settings{Kind: sad.KindFTP, Upload: filepath.Join(up, "no"), Download: filepath.Join(down, "no"), Constants: "S/N"}, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Ask(t.Context(), question()); code(err) != sad.CodeNoAnswer {
		t.Errorf("no folder: %v", err)
	}
}
