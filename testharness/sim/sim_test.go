package sim

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func TestAManualClockRunsCallsInOrderOfTime(t *testing.T) {
	t.Parallel()
	c := NewManual(start)
	var got []string
	note := func(s string) func() {
		return func() { got = append(got, s+" "+c.Now().Format("15:04")) }
	}
	c.AfterFunc(2*time.Hour, note("second"))
	c.AfterFunc(time.Hour, func() {
		note("first")()
		c.AfterFunc(30*time.Minute, note("between"))
	})
	stopped := c.AfterFunc(time.Minute, note("never"))
	if !stopped.Stop() || stopped.Stop() {
		t.Error("Stop is true once")
	}
	c.Advance(3 * time.Hour)
	want := "first 11:00,between 11:30,second 12:00"
	if s := strings.Join(got, ","); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
	if !c.Now().Equal(start.Add(3*time.Hour)) || c.Pending() != 0 {
		t.Errorf("now %v, pending %d", c.Now(), c.Pending())
	}
}

func TestARealClockThatIsAdvancedBringsItsCallsForward(t *testing.T) {
	t.Parallel()
	c := NewReal()
	ran := make(chan struct{})
	c.AfterFunc(24*time.Hour, func() { close(ran) })
	before := c.Now()
	c.Advance(25 * time.Hour)
	<-ran
	if c.Now().Sub(before) < 25*time.Hour {
		t.Error("the clock did not move")
	}
}

func TestTheSameSeedInjectsTheSameFaults(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) string {
		f := NewFaults(Rude, NewRand(seed), Fault{Name: "a", Rude: 0.3}, Fault{Name: "b", Rude: 0.5})
		var b strings.Builder
		for range 200 {
			if f.Fires("a", "", "") {
				b.WriteByte('a')
			}
			if f.Fires("b", "", "") {
				b.WriteByte('b')
			}
		}
		return b.String()
	}
	first, second := run(7), run(7)
	if first != second {
		t.Error("one seed, two runs")
	}
	if first == run(8) {
		t.Error("two seeds, one run")
	}
}

func TestAFaultFiresAsOftenAsAskedAndIsCounted(t *testing.T) {
	t.Parallel()
	f := NewFaults(Polite, NewRand(1), Fault{Name: "x", Rude: 1})
	if f.Fires("x", "op", "k") {
		t.Error("a polite simulator injects nothing")
	}
	err := f.Set(Rule{Name: "x", Op: "submit", Match: "k1", Count: 2, Param: "3s"})
	if err != nil {
		t.Fatal(err)
	}
	if f.Fires("x", "prepare", "k1") || f.Fires("x", "submit", "k2") {
		t.Error("fired for another operation or subject")
	}
	param, fires := f.Take("x", "submit", "k1")
	if !fires || param != "3s" {
		t.Errorf("fires %v param %q", fires, param)
	}
	if !f.Fires("x", "submit", "k1") || f.Fires("x", "submit", "k1") {
		t.Error("two firings were asked for")
	}
	err = f.Set(Rule{Name: "x", Probability: 1, Max: 3})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range 10 {
		if f.Fires("x", "", "") {
			n++
		}
	}
	if n != 3 || f.Injected("x") != 5 || f.Total() != 5 {
		t.Errorf("max fired %d, injected %d", n, f.Injected("x"))
	}
	for _, bad := range []Rule{{Name: "y"}, {Name: "x", Probability: 2}, {Name: "x", Count: -1}} {
		if f.Set(bad) == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	f.Reset()
	if f.Fires("x", "", "") {
		t.Error("reset goes back to the profile")
	}
}

func TestAnUnknownProfileIsAnError(t *testing.T) {
	t.Parallel()
	var p Profile
	if p.UnmarshalText([]byte("rude")) != nil || p != Rude || p.UnmarshalText([]byte("nasty")) == nil {
		t.Errorf("profile %q", p)
	}
}

func TestASimulatorListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0"} {
		l, err := Listen(addr)
		if !errors.Is(err, ErrNotLoopback) {
			t.Errorf("%s: %v", addr, err)
		}
		if l != nil {
			_ = l.Close()
		}
	}
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestTheManagementSurfaceRefusesForeignNamesAndCallers(t *testing.T) {
	t.Parallel()
	h := LoopbackOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for _, c := range []struct {
		host, remote string
		want         int
	}{
		{"127.0.0.1:8080", "127.0.0.1:9", 204},
		{"localhost", "[::1]:9", 204},
		{"[::1]", "127.0.0.1:9", 204},
		{"evil.example.org:8080", "127.0.0.1:9", 403},
		{"127.0.0.1:8080", "192.0.2.7:9", 403},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host, r.RemoteAddr = c.host, c.remote
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s from %s: %d", c.host, c.remote, w.Code)
		}
	}
}

func TestTransportFaultsAreWhatTheySay(t *testing.T) {
	t.Parallel()
	clock := NewManual(start)
	faults := NewFaults(Polite, NewRand(1), TransportFaults()...)
	done := 0
	var mu sync.Mutex
	server, err := Start("127.0.0.1:0", Unpleasant(faults, clock, nil, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		done++
		mu.Unlock()
		WriteJSON(w, http.StatusOK, map[string]string{"answer": strings.Repeat("x", 100)})
	})), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, c := range []struct {
		fault         string
		works         bool // carried out
		status, bytes int  // status 0: no answer at all; bytes -1: broken off
	}{
		{FaultHTTP503, false, 503, 1},
		{FaultHTML200, false, 200, 1},
		{FaultEmpty200, false, 200, 0},
		{FaultDropRequest, false, 0, 0},
		{FaultDropAnswer, true, 0, 0},
		{FaultCutBody, true, 200, -1},
	} {
		mu.Lock()
		before := done
		mu.Unlock()
		if err := faults.Inject(c.fault, 1); err != nil {
			t.Fatal(err)
		}
		// POST, so that the transport does not repeat it by itself.
		resp, err := client.Post(server.URL, "text/plain", strings.NewReader("x"))
		if c.status == 0 {
			if err == nil {
				t.Errorf("%s: an answer came", c.fault)
				_ = resp.Body.Close()
			}
		} else {
			if err != nil {
				t.Errorf("%s: %v", c.fault, err)
				continue
			}
			body, readErr := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != c.status || resp.Header.Get(FaultHeader) != c.fault {
				t.Errorf("%s: status %d header %q", c.fault, resp.StatusCode, resp.Header.Get(FaultHeader))
			}
			if (c.bytes == 0) != (len(body) == 0) || (c.bytes == -1) != (readErr != nil) {
				t.Errorf("%s: %d bytes, %v", c.fault, len(body), readErr)
			}
		}
		mu.Lock()
		if (done > before) != c.works {
			t.Errorf("%s: carried out %v", c.fault, done > before)
		}
		mu.Unlock()
		if faults.Injected(c.fault) != 1 {
			t.Errorf("%s: counted %d", c.fault, faults.Injected(c.fault))
		}
	}
}

func TestTheManagementRoutesMoveTheClockAndSetFaults(t *testing.T) {
	t.Parallel()
	clock := NewManual(start)
	faults := NewFaults(Polite, NewRand(5), TransportFaults()...)
	mux := http.NewServeMux()
	Manage(mux, clock, faults)
	call := func(method, path, body string) (int, map[string]any) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		var m map[string]any
		_ = json.Unmarshal(w.Body.Bytes(), &m)
		return w.Code, m
	}
	if code, m := call("POST", "/clock", `{"advance":"24h"}`); code != 200 || m["now"] != "2026-11-22T10:00:00Z" {
		t.Errorf("clock: %d %v", code, m)
	}
	if code, m := call("POST", "/clock", `{"to":"2026-12-01T00:00:00Z"}`); code != 200 || m["now"] != "2026-12-01T00:00:00Z" {
		t.Errorf("clock: %d %v", code, m)
	}
	for _, bad := range []string{`{"advance":"-1h"}`, `{}`, `{"back":1}`, `{"advance":"1h"}{}`} {
		if code, _ := call("POST", "/clock", bad); code != 400 {
			t.Errorf("clock %s: %d", bad, code)
		}
	}
	if code, _ := call("POST", "/faults", `{"name":"cut_body","count":2}`); code != 200 || !faults.Fires(FaultCutBody, "", "") {
		t.Errorf("faults: %d", code)
	}
	if code, m := call("POST", "/faults", `{"rules":[{"name":"slow","count":1},{"name":"none"}]}`); code != 400 {
		t.Errorf("unknown fault: %d %v", code, m)
	}
	if code, m := call("GET", "/faults", ""); code != 200 || m["total"] != 1.0 || m["seed"] != 5.0 {
		t.Errorf("faults: %d %v", code, m)
	}
	if code, _ := call("DELETE", "/faults", ""); code != 204 || faults.Fires(FaultCutBody, "", "") {
		t.Errorf("reset: %d", code)
	}
}

func TestAnAuthorityKeptInAFolderIsTheSameAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := OpenAuthority(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	second, err := OpenAuthority(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.CAPEM(), second.CAPEM()) {
		t.Error("another certificate")
	}
	info, err := os.Stat(filepath.Join(dir, "ca-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", info, err)
	}
	other, err := OpenAuthority("", "ca")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first.CAPEM(), other.CAPEM()) {
		t.Error("in memory the authority is new")
	}

	config, err := second.ServerTLS("server", second.Pool())
	if err != nil {
		t.Fatal(err)
	}
	server, err := Start("127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	get := func(a *Authority) (string, error) {
		pair, err := a.TLSCertificate("gateway")
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(second, pair)}}
		defer client.CloseIdleConnections()
		resp, err := client.Get(server.URL)
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	if name, err := get(first); err != nil || name != "gateway" {
		t.Errorf("own client: %q %v", name, err)
	}
	if _, err := get(other); err == nil {
		t.Error("a client of another authority was let in")
	}
}

func TestAJournalForgetsOnlyTheLineAKillTore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	open := func() (*Journal, []string, error) {
		var lines []string
		j, err := OpenJournal(path, func(line []byte) error {
			lines = append(lines, string(line))
			return nil
		})
		return j, lines, err
	}
	j, _, err := open()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := errors.Join(j.Append(map[string]int{"n": i}), j.Flush()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, _, err = open()
	if !errors.Is(err, ErrJournalInUse) {
		t.Errorf("second opener: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tail := range []string{"0", "00000000 {\"n\":", "00000000 {\"n\":1}\n"} {
		if err := os.WriteFile(path, append(append([]byte(nil), whole...), tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		j, lines, err := open()
		if err != nil || len(lines) != 50 {
			t.Fatalf("tail %q: %d lines, %v", tail, len(lines), err)
		}
		if err := errors.Join(j.Append(1), j.Close()); err != nil {
			t.Fatal(err)
		}
		j, lines, err = open()
		if err != nil || len(lines) != 51 || lines[50] != "1" {
			t.Fatalf("after tail %q: %d lines, %v", tail, len(lines), err)
		}
		_ = j.Close()
	}
	damaged := append([]byte(nil), whole...)
	damaged[12] ^= 1
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = open()
	if !errors.Is(err, ErrJournalCorrupt) {
		t.Errorf("damage in the middle: %v", err)
	}
}

func clientTLS(server *Authority, pair tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: server.Pool(), Certificates: []tls.Certificate{pair}}
}

func TestRSAKeysAreKeptAsTheyWere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := OpenRSAKey(dir, "k")
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenRSAKey(dir, "k")
	if err != nil || !again.Equal(first) {
		t.Errorf("another key: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "k.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if _, err := OpenKey(dir, "k"); err == nil {
		t.Error("an RSA key is taken for one of P-256")
	}
	for name, text := range map[string]string{"no PEM": "x", "no key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if err := os.WriteFile(filepath.Join(dir, "bad.pem"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenRSAKey(dir, "bad"); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestMessagesKeepTheMachinesTimeWhileADemonstrationMovesOn(t *testing.T) {
	t.Parallel()
	manual := NewManual(time.Unix(1, 0))
	if MessageClock(nil, manual) != Clock(manual) || MessageClock(manual, NewReal()) != Clock(manual) {
		t.Error("a clock that was given is not used")
	}
	moved := NewReal()
	moved.Advance(time.Hour)
	if d := moved.Now().Sub(MessageClock(nil, moved).Now()); d < 59*time.Minute {
		t.Errorf("messages moved with the demonstration: %v", d)
	}
}
