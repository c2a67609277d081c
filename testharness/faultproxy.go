package testharness

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"airegw/testharness/sim"
)

// FaultRates are shares, from 0 to 1, of the calls a FaultProxy spoils.
type FaultRates struct {
	Lost        float64 `json:"lost"`        // carried out, and the answer never comes
	Unavailable float64 `json:"unavailable"` // 503, never carried out
	Cut         float64 `json:"cut"`         // carried out, and half of the answer comes
}

// FaultCounts says what a FaultProxy has done.
type FaultCounts struct {
	Calls       int64 `json:"calls"`
	Lost        int64 `json:"lost"`
	Unavailable int64 `json:"unavailable"`
	Cut         int64 `json:"cut"`
}

// FaultProxyOptions say between whom a FaultProxy stands.
type FaultProxyOptions struct {
	Target string // base URL of the peer
	Rates  FaultRates
	Seed   uint64
	// Server is the TLS of its own address, nil for plain HTTP; Client how it
	// calls the peer.
	Server, Client *tls.Config
}

// FaultProxy stands between the gateway and one of its peers, on loopback, and
// spoils a share of the calls: what a bad line does, not a bad peer. Spoilt
// answers that come at all carry sim.FaultHeader.
type FaultProxy struct {
	URL string

	target string
	server *sim.Server
	client *http.Client

	mu    sync.Mutex
	rates FaultRates
	dice  *rand.Rand

	calls, lost, unavailable, cut atomic.Int64
}

// StartFaultProxy starts a proxy on a free port.
func StartFaultProxy(o FaultProxyOptions) (*FaultProxy, error) {
	p := &FaultProxy{
		target: strings.TrimSuffix(o.Target, "/"), rates: o.Rates,
		dice: rand.New(rand.NewPCG(o.Seed, 0x6c696e65)), //nolint:gosec // a seed to replay
		client: &http.Client{
			Transport: &http.Transport{
				TLSClientConfig: o.Client, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	server, err := sim.Start("127.0.0.1:0", http.HandlerFunc(p.serve), o.Server)
	if err != nil {
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	p.server, p.URL = server, server.URL
	return p, nil
}

// Set changes the rates.
func (p *FaultProxy) Set(r FaultRates) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rates = r
}

// Counts answers what was done so far.
func (p *FaultProxy) Counts() FaultCounts {
	return FaultCounts{p.calls.Load(), p.lost.Load(), p.unavailable.Load(), p.cut.Load()}
}

// Close stops the proxy.
func (p *FaultProxy) Close() error {
	p.client.CloseIdleConnections()
	return p.server.Close()
}

// fate draws what becomes of a call.
func (p *FaultProxy) fate() *atomic.Int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.dice.Float64()
	for _, f := range []struct {
		rate  float64
		count *atomic.Int64
	}{{p.rates.Unavailable, &p.unavailable}, {p.rates.Lost, &p.lost}, {p.rates.Cut, &p.cut}} {
		if x < f.rate {
			return f.count
		}
		x -= f.rate
	}
	return nil
}

func (p *FaultProxy) serve(w http.ResponseWriter, r *http.Request) {
	p.calls.Add(1)
	fate := p.fate()
	if fate != nil {
		fate.Add(1)
	}
	if fate == &p.unavailable {
		sim.Mark(w.Header(), "proxy_503")
		sim.WriteProblem(w, sim.Problem{Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: "injected by the fault proxy"})
		return
	}
	status, header, body, err := p.forward(r)
	if err != nil {
		slog.Debug("fault proxy: the peer does not answer", "err", err)
		panic(http.ErrAbortHandler)
	}
	if fate == &p.lost {
		panic(http.ErrAbortHandler)
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if fate != &p.cut || len(body) < 2 {
		w.WriteHeader(status)
		_, _ = w.Write(body)
		return
	}
	sim.Mark(w.Header(), "proxy_cut")
	w.WriteHeader(status)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// forward carries a call out. The caller's patience does not end it: what was
// sent is carried out.
func (p *FaultProxy) forward(r *http.Request) (status int, header http.Header, body []byte, err error) {
	in, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("read call: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 30*time.Second)
	defer cancel()
	out, err := http.NewRequestWithContext(ctx, r.Method, p.target+r.URL.RequestURI(), bytes.NewReader(in))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("forward: %w", err)
	}
	out.Header = r.Header.Clone()
	resp, err := p.client.Do(out)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("forward: %w", err)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return resp.StatusCode, resp.Header, body, errors.Join(err, resp.Body.Close())
}

// CoreProxy puts a proxy between a gateway's folder, as Configure made it, and
// the simulated core: mutual TLS on both sides, with the gateway's own
// certificate towards the core.
func (s *Sims) CoreProxy(dir string, rates FaultRates, seed uint64) (*FaultProxy, error) {
	authority := []byte(s.CoreIdentity.CAPEM)
	cert, key, err := s.Core.IssueClient("fault-proxy")
	if err != nil {
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	own, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	server, client, err := proxyTLS(dir, authority, own)
	if err != nil {
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	return StartFaultProxy(FaultProxyOptions{Target: s.CoreURL, Rates: rates, Seed: seed, Server: server, Client: client})
}

// proxyTLS answers how the proxy serves the gateway and how it calls the core.
func proxyTLS(dir string, authority []byte, own tls.Certificate) (server, client *tls.Config, err error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return nil, nil, errors.New("the core's authority is not PEM")
	}
	keys := filepath.Join(dir, "keys")
	gateway, err := tls.LoadX509KeyPair(filepath.Join(keys, "core-client.pem"), filepath.Join(keys, "core-client-key.pem"))
	if err != nil {
		return nil, nil, err
	}
	server = &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: []string{"h2", "http/1.1"},
	}
	client = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{gateway}, RootCAs: pool}
	return server, client, nil
}
