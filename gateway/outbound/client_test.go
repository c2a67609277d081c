package outbound_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func config() outbound.Config {
	return outbound.Config{
		Peer: "peer", Deadline: 5 * time.Second, MaxBody: 1 << 10, Tries: 3,
		BackoffMin: time.Microsecond, BackoffMax: time.Millisecond,
		Clock: newClock().now, Rand: func() float64 { return 0.5 },
	}
}

func client(t *testing.T, cfg outbound.Config) *outbound.Client {
	t.Helper()
	c, err := outbound.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func kind(err error) outbound.Kind {
	var e *outbound.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	if err != nil {
		return outbound.Kind("untyped: " + err.Error())
	}
	return ""
}

func TestAPostIsNeverRepeatedUnlessTheCallerSaysItMayBe(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		r     outbound.Request
		calls int32
	}{
		{outbound.Request{Method: "POST", Body: []byte("x")}, 1},
		{outbound.Request{Method: "POST", Body: []byte("x"), Idempotent: true}, 3},
		{outbound.Request{Method: "PATCH", Body: []byte("x")}, 1},
		{outbound.Request{Method: "GET"}, 3},
		{outbound.Request{Method: "PUT", Body: []byte("x")}, 3},
		{outbound.Request{Method: "GET", NoRetry: true}, 1},
	} {
		var calls atomic.Int32
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			body, _ := io.ReadAll(r.Body)
			if want := string(tc.r.Body); string(body) != want {
				t.Errorf("body %q", body)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		tc.r.URL = url
		_, err := client(t, config()).Do(t.Context(), tc.r)
		var e *outbound.Error
		if !errors.As(err, &e) || e.Kind != outbound.KindStatus || e.Status != 503 || !e.Sent || e.Response == nil || e.Tries != int(tc.calls) {
			t.Errorf("%s: %+v", tc.r.Method, err)
		}
		if calls.Load() != tc.calls {
			t.Errorf("%s idempotent %v: %d calls, want %d", tc.r.Method, tc.r.Idempotent, calls.Load(), tc.calls)
		}
	}
}

func TestEveryTryCarriesItsOwnSignature(t *testing.T) {
	t.Parallel()
	var seen []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, r.Header.Get("Jti")+":"+string(body)+":"+r.Header.Get("Fixed")+":"+r.Header.Get("Correlation-Id"))
		if len(seen) < 3 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	resp, err := client(t, config()).Do(t.Context(), outbound.Request{
		Method: "POST", URL: url, Idempotent: true, Header: http.Header{"Fixed": {"f"}}, Correlation: "c-1",
		Prepare: func(_ context.Context, try int) (http.Header, []byte, error) {
			return http.Header{"jti": {fmt.Sprint(try)}}, []byte(strings.Repeat("b", try+1)), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, " "); got != "0:b:f:c-1 1:bb:f:c-1 2:bbb:f:c-1" || resp.Tries != 3 {
		t.Errorf("%s, %d tries", got, resp.Tries)
	}
	_, err = client(t, config()).Do(t.Context(), outbound.Request{
		Method: "POST", URL: url, Prepare: func(context.Context, int) (http.Header, []byte, error) { return nil, nil, errors.New("no key") },
	})
	if kind(err) != outbound.KindRequest {
		t.Errorf("prepare failed: %v", err)
	}
}

func TestAnythingButAWholeAcceptedAnswerIsATypedFailure(t *testing.T) {
	t.Parallel()
	hijack := func(w http.ResponseWriter, raw string) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, raw)
		_ = conn.Close()
	}
	for name, tc := range map[string]struct {
		h    http.HandlerFunc
		kind outbound.Kind
	}{
		"cut by length": {func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		}, outbound.KindCutBody},
		"cut in a chunk": {func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		}, outbound.KindCutBody},
		"cut in the headers": {func(w http.ResponseWriter, _ *http.Request) { hijack(w, "HTTP/1.1 200 OK\r\nContent-Le") }, outbound.KindUnreachable},
		"no answer":          {func(w http.ResponseWriter, _ *http.Request) { hijack(w, "") }, outbound.KindUnreachable},
		"too large, said": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 1025))
		}, outbound.KindTooLarge},
		"too large, endless": {func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 512))
				w.(http.Flusher).Flush()
			}
		}, outbound.KindTooLarge},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }, outbound.KindRedirect},
		"moved": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		}, outbound.KindRedirect},
		"not found":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, outbound.KindStatus},
		"too many":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, outbound.KindStatus},
		"whole":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("x"), 1024)) }, ""},
		"empty whole": {func(http.ResponseWriter, *http.Request) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var paths atomic.Int32
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/other" {
					paths.Add(1)
				}
				tc.h(w, r)
			})
			resp, err := client(t, config()).Do(t.Context(), outbound.Request{Method: "POST", URL: url, Body: []byte("q")})
			if kind(err) != tc.kind {
				t.Errorf("got %v, want %q", err, tc.kind)
			}
			if (resp == nil) != (tc.kind != "") {
				t.Error("an answer beside an error, or neither")
			}
			if paths.Load() != 0 {
				t.Error("redirect followed")
			}
		})
	}
}

func TestA3xxIsNeverAcceptedEvenWhereTheCallerAcceptsAll(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) })
	_, err := client(t, config()).Do(t.Context(), outbound.Request{Method: "GET", URL: url, Accept: func(int) bool { return true }})
	if kind(err) != outbound.KindRedirect {
		t.Error(err)
	}
}

func TestACutAnswerIsRetriedWhereRepeatingIsSafe(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
			return
		}
		_, _ = io.WriteString(w, "whole")
	})
	resp, err := client(t, config()).Do(t.Context(), outbound.Request{Method: "GET", URL: url})
	if err != nil || string(resp.Body) != "whole" || resp.Tries != 2 {
		t.Errorf("%+v %v", resp, err)
	}
}

func TestTheDeadlineBoundsASilentPeer(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	defer close(stop)
	cfg := config()
	cfg.PerTry, cfg.Deadline = 20*time.Millisecond, 5*time.Second
	_, err := client(t, cfg).Do(t.Context(), outbound.Request{Method: "GET", URL: url})
	var e *outbound.Error
	if !errors.As(err, &e) || e.Kind != outbound.KindTimeout || e.Tries != 3 || !e.Sent {
		t.Errorf("per try: %+v", err)
	}
	cfg.PerTry, cfg.Deadline = 0, 20*time.Millisecond
	_, err = client(t, cfg).Do(t.Context(), outbound.Request{Method: "GET", URL: url})
	if !errors.As(err, &e) || e.Kind != outbound.KindTimeout || e.Tries != 1 {
		t.Errorf("whole: %+v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = client(t, cfg).Do(ctx, outbound.Request{Method: "GET", URL: url}); kind(err) != outbound.KindCanceled {
		t.Errorf("cancelled: %v", err)
	}
}

func TestTheBreakerOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	var status atomic.Int32
	status.Store(503)
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(int(status.Load()))
	})
	clk := newClock()
	cfg := config()
	cfg.Clock, cfg.Tries, cfg.Breaker = clk.now, 1, outbound.Breaker{Failures: 3, Cooldown: time.Minute}
	c := client(t, cfg)
	get := func() error {
		_, err := c.Do(t.Context(), outbound.Request{Method: "GET", URL: url})
		return err
	}
	for range 3 {
		if kind(get()) != outbound.KindStatus {
			t.Fatal("breaker opened early")
		}
	}
	clk.add(20 * time.Second)
	var e *outbound.Error
	if err := get(); !errors.As(err, &e) || e.Kind != outbound.KindBreakerOpen || e.Sent || e.RetryAfter != 40*time.Second {
		t.Errorf("open: %+v", err)
	}
	if calls.Load() != 3 || c.Breaker() != outbound.Open {
		t.Errorf("%d calls, %s", calls.Load(), c.Breaker())
	}
	clk.add(40 * time.Second)
	if kind(get()) != outbound.KindStatus || kind(get()) != outbound.KindBreakerOpen || calls.Load() != 4 {
		t.Errorf("a failed probe must reopen at once: %d calls", calls.Load())
	}
	clk.add(time.Minute)
	status.Store(404) // the peer answers: it is well, whatever it says
	if kind(get()) != outbound.KindStatus || c.Breaker() != outbound.Closed {
		t.Errorf("state %s", c.Breaker())
	}
	status.Store(200)
	if err := get(); err != nil {
		t.Error(err)
	}
}

func TestOnlyOneProbeGoesThroughAHalfOpenBreaker(t *testing.T) {
	t.Parallel()
	clk := newClock()
	release, arrived := make(chan struct{}), make(chan struct{}, 8)
	var fail atomic.Bool
	fail.Store(true)
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if fail.Load() {
			w.WriteHeader(500)
			return
		}
		arrived <- struct{}{}
		<-release
	})
	cfg := config()
	cfg.Clock, cfg.Tries, cfg.Breaker = clk.now, 1, outbound.Breaker{Failures: 1, Cooldown: time.Second}
	c := client(t, cfg)
	do := func() error {
		_, err := c.Do(t.Context(), outbound.Request{Method: "GET", URL: url})
		return err
	}
	if kind(do()) != outbound.KindStatus {
		t.Fatal("first")
	}
	clk.add(time.Second)
	fail.Store(false)
	done := make(chan error, 1)
	go func() { done <- do() }()
	<-arrived
	if c.Breaker() != outbound.HalfOpen || kind(do()) != outbound.KindBreakerOpen {
		t.Error("second probe went through")
	}
	close(release)
	if err := <-done; err != nil || c.Breaker() != outbound.Closed {
		t.Errorf("%v %s", err, c.Breaker())
	}
}

func TestACallerWhoGivesUpDoesNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 1)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	cfg := config()
	cfg.Breaker = outbound.Breaker{Failures: 1, Cooldown: time.Minute}
	c := client(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if _, err := c.Do(ctx, outbound.Request{Method: "GET", URL: url}); kind(err) != outbound.KindCanceled {
		t.Error(err)
	}
	if c.Breaker() != outbound.Closed {
		t.Error("opened")
	}
}

func TestPlainHTTPGoesToLoopbackOnly(t *testing.T) {
	t.Parallel()
	c := client(t, config())
	for _, url := range []string{"http://example.org/", "ftp://127.0.0.1/", "//x", "http://10.0.0.1/", "http://127.0.0.1.example.org/", "https://user:pw@127.0.0.1/", "", "http://loc\x7falhost/"} {
		if _, err := c.Do(t.Context(), outbound.Request{Method: "GET", URL: url}); kind(err) != outbound.KindRequest {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := c.Do(t.Context(), outbound.Request{Method: "GET", URL: "http://127.0.0.1/", Correlation: "a\r\nb: c"}); kind(err) != outbound.KindRequest {
		t.Errorf("header injection: %v", err)
	}
	for host, want := range map[string]bool{"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "0.0.0.0": false, "localhost.example.org": false, "": false} {
		if outbound.Loopback(host) != want {
			t.Errorf("Loopback(%q)", host)
		}
	}
}

func TestNobodyListeningIsUnreachableAndNotSent(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	_ = l.Close()
	_, err = client(t, config()).Do(t.Context(), outbound.Request{Method: "POST", URL: url, Body: []byte("x")})
	var e *outbound.Error
	if !errors.As(err, &e) || e.Kind != outbound.KindUnreachable || e.Sent {
		t.Errorf("%+v", err)
	}
}

func TestTLSNeedsTheNamedAuthorityAndShowsTheClientCertificate(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, len(r.TLS.PeerCertificates))
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	defer s.Close()
	dir := t.TempDir()
	write := func(name, block string, der []byte, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	ca := write("ca.pem", "CERTIFICATE", s.Certificate().Raw, 0o644)
	// The test server's own pair serves as client certificate.
	cert := write("cert.pem", "CERTIFICATE", s.TLS.Certificates[0].Certificate[0], 0o644)
	key := filepath.Join(dir, "key.pem")
	k, err := jose.NewKey(jose.RS256, s.TLS.Certificates[0].PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	if err := jose.SaveKeyPEM(key, k); err != nil {
		t.Fatal(err)
	}
	do := func(f outbound.TLSFiles) (*outbound.Response, error) {
		cfg := config()
		if cfg.TLS, err = outbound.LoadTLS(f); err != nil {
			t.Fatal(err)
		}
		return client(t, cfg).Do(t.Context(), outbound.Request{Method: "GET", URL: s.URL})
	}
	resp, err := do(outbound.TLSFiles{CA: ca, Cert: cert, Key: key})
	if err != nil || string(resp.Body) != "1" {
		t.Errorf("%+v %v", resp, err)
	}
	if _, err := do(outbound.TLSFiles{Cert: cert, Key: key}); kind(err) != outbound.KindTLS {
		t.Errorf("unknown authority: %v", err)
	}
	if _, err := do(outbound.TLSFiles{CA: ca}); kind(err) != outbound.KindTLS {
		t.Errorf("no client certificate: %v", err)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, f := range []outbound.TLSFiles{{Cert: cert, Key: key}, {Cert: cert}, {CA: key}, {CA: filepath.Join(dir, "none")}} {
		if _, err := outbound.LoadTLS(f); err == nil {
			t.Errorf("accepted %+v", f)
		}
	}
}

func TestAProxyIsUsedWhereConfiguredAndOnlyThere(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // must be ignored; no t.Parallel with Setenv
	var via atomic.Int32
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		via.Add(1)
		_, _ = io.WriteString(w, r.URL.String())
	})
	target := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "direct") })
	cfg := config()
	resp, err := client(t, cfg).Do(t.Context(), outbound.Request{Method: "GET", URL: target})
	if err != nil || string(resp.Body) != "direct" {
		t.Errorf("%v", err)
	}
	cfg.Proxy = proxy
	resp, err = client(t, cfg).Do(t.Context(), outbound.Request{Method: "GET", URL: target + "/p"})
	if err != nil || via.Load() != 1 || string(resp.Body) != target+"/p" {
		t.Errorf("%v %d", err, via.Load())
	}
}

func TestRetryAfterIsReportedInSecondsOrAsADate(t *testing.T) {
	t.Parallel()
	clk := newClock()
	for header, want := range map[string]time.Duration{
		"30": 30 * time.Second, "-1": 0, "x": 0, "99999999": 24 * time.Hour,
		clk.now().Add(time.Minute).Format(http.TimeFormat): time.Minute,
	} {
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(429)
		})
		cfg := config()
		cfg.Clock = clk.now
		_, err := client(t, cfg).Do(t.Context(), outbound.Request{Method: "GET", URL: url})
		var e *outbound.Error
		if !errors.As(err, &e) || e.RetryAfter != want || e.Tries != 1 {
			t.Errorf("%q: %+v", header, err)
		}
	}
}

func TestTheLogHoldsNoPathQueryHeaderOrBody(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	cfg := config()
	cfg.Logger = slog.New(slog.NewJSONHandler(&buf, nil))
	c := client(t, cfg)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/CANARY/500" {
			w.WriteHeader(500)
		}
		_, _ = io.WriteString(w, "CANARY")
	})
	h := http.Header{"Authorization": {"CANARY"}}
	if _, err := c.Do(t.Context(), outbound.Request{Operation: "ask", Method: "POST", URL: url + "/CANARY?cf=CANARY", Header: h, Body: []byte("CANARY"), Correlation: "corr"}); err != nil {
		t.Fatal(err)
	}
	_, err1 := c.Do(t.Context(), outbound.Request{Operation: "ask", Method: "GET", URL: url + "/CANARY/500?cf=CANARY", Header: h})
	_, err2 := c.Do(t.Context(), outbound.Request{Operation: "ask", Method: "GET", URL: "http://127.0.0.1:1/CANARY?CANARY", Header: h})
	for _, err := range []error{err1, err2} {
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("error text %v", err)
		}
	}
	if s := buf.String(); strings.Contains(s, "CANARY") || strings.Count(s, "\n") != 3 || !strings.Contains(s, `"correlation":"corr"`) {
		t.Errorf("log %s", s)
	}
}

func TestAnUnusableConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*outbound.Config){
		"no peer":       func(c *outbound.Config) { c.Peer = "" },
		"no deadline":   func(c *outbound.Config) { c.Deadline = 0 },
		"no limit":      func(c *outbound.Config) { c.MaxBody = 0 },
		"no clock":      func(c *outbound.Config) { c.Clock = nil },
		"no randomness": func(c *outbound.Config) { c.Rand = nil },
		"backoff":       func(c *outbound.Config) { c.BackoffMax = 0 },
		"breaker":       func(c *outbound.Config) { c.Breaker.Failures = 1 },
		"proxy":         func(c *outbound.Config) { c.Proxy = "socks://x" },
	} {
		cfg := config()
		edit(&cfg)
		if _, err := outbound.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
