package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"airegw/gateway/fault"
)

// Config of one peer. Peer, Deadline, MaxBody, Clock and Rand are required.
type Config struct {
	Peer string // short name for logs and errors, as "anpr" or "core"

	Deadline time.Duration // for the whole call, retries and waits included
	PerTry   time.Duration // for one try until its answer is whole; 0 = Deadline
	MaxBody  int64         // bytes of an answer
	Tries    int           // at most, for idempotent requests; 0 = 1

	// Waits between tries double from BackoffMin to BackoffMax, each drawn
	// between half of it and the whole ("equal jitter").
	BackoffMin, BackoffMax time.Duration

	Breaker Breaker
	Proxy   string      // URL of a proxy; "" goes direct, whatever the environment says
	TLS     *tls.Config // nil = TLS 1.2 and the system's authorities; see LoadTLS

	// PublicOnly refuses to connect to any but public addresses, judged after the
	// name is resolved, so that a name cannot point inward. It is for peers whose
	// addresses come out of others' documents. Behind a Proxy the proxy resolves,
	// and must keep the rule.
	PublicOnly bool

	// CorrelationHeader is the header that carries Request.Correlation; "" = "Correlation-Id".
	CorrelationHeader string

	Clock  func() time.Time
	Rand   func() float64 // in [0,1), safe for concurrent use
	Logger *slog.Logger   // nil = no log
}

// Request is one call.
type Request struct {
	Operation string // constant name of what is asked, for logs and errors
	Method    string
	URL       string
	Header    http.Header
	Body      []byte
	// Idempotent allows retries of a method that is not idempotent by itself.
	Idempotent bool
	// NoRetry forbids them for one that is.
	NoRetry bool
	// Correlation is sent in Config.CorrelationHeader and logged; visible ASCII.
	Correlation string
	// Prepare, when set, is called before every try (counted from 0), so that
	// each gets its own signature and id. Its header values replace those of
	// Header, its body replaces Body. An error ends the call as KindRequest.
	Prepare func(ctx context.Context, try int) (http.Header, []byte, error)
	// Accept tells which statuses are answers; nil = 200 to 299. A status of
	// 300 to 399 is never accepted.
	Accept func(status int) bool
}

// Response is a whole answer.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Tries  int
}

// Client calls one peer. Safe for concurrent use.
type Client struct {
	cfg     Config
	breaker *breaker
	retry   *retryablehttp.Client
	close   func()
}

// New makes a Client; an error means the configuration is not usable.
func New(cfg Config) (*Client, error) {
	switch {
	case cfg.Peer == "":
		return nil, errors.New("outbound: peer without a name")
	case cfg.Deadline <= 0 || cfg.PerTry < 0:
		return nil, fmt.Errorf("outbound %s: no deadline", cfg.Peer)
	case cfg.MaxBody <= 0:
		return nil, fmt.Errorf("outbound %s: no limit for answers", cfg.Peer)
	case cfg.Clock == nil || cfg.Rand == nil:
		return nil, fmt.Errorf("outbound %s: clock and randomness must be given", cfg.Peer)
	case cfg.BackoffMin < 0 || cfg.BackoffMax < cfg.BackoffMin:
		return nil, fmt.Errorf("outbound %s: backoff runs backwards", cfg.Peer)
	case cfg.Breaker.Failures > 0 && cfg.Breaker.Cooldown <= 0:
		return nil, fmt.Errorf("outbound %s: breaker without cooldown", cfg.Peer)
	}
	if cfg.PerTry == 0 || cfg.PerTry > cfg.Deadline {
		cfg.PerTry = cfg.Deadline
	}
	if cfg.Tries < 1 {
		cfg.Tries = 1
	}
	if cfg.CorrelationHeader == "" {
		cfg.CorrelationHeader = "Correlation-Id"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	dialer := &net.Dialer{Timeout: cfg.PerTry, KeepAlive: 30 * time.Second}
	if cfg.PublicOnly && cfg.Proxy == "" {
		dialer.ControlContext = publicOnly
	}
	base := &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        60 * time.Second,
		TLSHandshakeTimeout:    cfg.PerTry,
		MaxResponseHeaderBytes: 64 << 10,
		// A compressed answer could unpack beyond any limit; ours are small.
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if cfg.TLS != nil {
		base.TLSClientConfig = cfg.TLS.Clone()
		base.TLSClientConfig.MinVersion = max(base.TLSClientConfig.MinVersion, tls.VersionTLS12)
	}
	if cfg.Proxy != "" {
		u, err := url.Parse(cfg.Proxy)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("outbound %s: proxy is not an http URL", cfg.Peer)
		}
		base.Proxy = http.ProxyURL(u)
	}
	c := &Client{cfg: cfg, breaker: &breaker{cfg: cfg.Breaker, now: cfg.Clock}, close: base.CloseIdleConnections}
	c.retry = &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport:     &wholeTransport{base: base, perTry: cfg.PerTry, maxBody: cfg.MaxBody},
			CheckRedirect: noRedirect,
		},
		Logger:       nil,
		RetryWaitMin: cfg.BackoffMin,
		RetryWaitMax: cfg.BackoffMax,
		RetryMax:     cfg.Tries - 1,
		CheckRetry:   checkRetry,
		Backoff:      c.backoff,
		PrepareRetry: prepareRetry,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	return c, nil
}

// Peer is the configured name.
func (c *Client) Peer() string { return c.cfg.Peer }

// Breaker tells the state of the peer's breaker.
func (c *Client) Breaker() State { return c.breaker.state() }

// Close drops idle connections. Calls under way are not touched.
func (c *Client) Close() { c.close() }

// call is the state of one Do, carried in the context because the hooks of
// retryablehttp belong to the client and not to the request.
type call struct {
	request *Request
	retry   bool
	tries   int
	body    []byte
	sent    atomic.Bool
}

type callKey struct{}

// Do sends the request and returns its whole answer, or an *Error.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	start := c.cfg.Clock()
	st := &call{request: &r, body: r.Body}
	st.retry = !r.NoRetry && (r.Idempotent || idempotentMethod(r.Method))
	resp, err := c.do(ctx, &r, st)
	c.log(ctx, &r, st, start, resp, err)
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (c *Client) do(ctx context.Context, r *Request, st *call) (*Response, error) {
	fail := func(k Kind, err error) *Error {
		return &Error{Kind: k, Peer: c.cfg.Peer, Operation: r.Operation, Err: err, Sent: st.sent.Load(), Tries: st.tries}
	}
	if err := sendable(r); err != nil {
		return nil, fail(KindRequest, err)
	}
	wait, probe, ok := c.breaker.allow()
	if !ok {
		e := fail(KindBreakerOpen, nil)
		e.RetryAfter = wait
		return nil, e
	}
	out := peerUnknown
	defer func() { c.breaker.done(probe, out) }()

	ctx, cancel := context.WithTimeout(ctx, c.cfg.Deadline)
	defer cancel()
	ctx = context.WithValue(ctx, callKey{}, st)
	req, err := c.request(ctx, r, st)
	if err != nil {
		return nil, fail(KindRequest, err)
	}
	hr, err := c.retry.Do(req)
	if err != nil {
		k := kindOf(ctx, err)
		if k != KindCanceled && k != KindRequest {
			out = peerFailed
		}
		return nil, fail(k, cause(err))
	}
	body, err := io.ReadAll(hr.Body) // already in memory, see wholeTransport
	_ = hr.Body.Close()
	if err != nil {
		out = peerFailed
		return nil, fail(KindCutBody, err)
	}
	out = peerWell
	if hr.StatusCode >= 500 {
		out = peerFailed
	}
	resp := &Response{Status: hr.StatusCode, Header: hr.Header, Body: body, Tries: st.tries}
	switch {
	case resp.Status >= 300 && resp.Status < 400:
		e := fail(KindRedirect, nil)
		e.Status = resp.Status
		return nil, e
	case r.Accept == nil && (resp.Status < 200 || resp.Status > 299), r.Accept != nil && !r.Accept(resp.Status):
		e := fail(KindStatus, nil)
		e.Status, e.Response, e.RetryAfter = resp.Status, resp, c.retryAfter(resp.Header)
		return nil, e
	}
	return resp, nil
}

func sendable(r *Request) error {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" {
		return errors.New("not an absolute URL")
	}
	if u.User != nil {
		return errors.New("credentials in a URL")
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && Loopback(u.Hostname()):
	default:
		return errors.New("neither https nor loopback")
	}
	for i := range len(r.Correlation) {
		if ch := r.Correlation[i]; ch <= ' ' || ch > '~' {
			return errors.New("correlation id is not visible ASCII")
		}
	}
	return nil
}

// Loopback tells whether a host name is this machine: "localhost" or a
// loopback address, written out. Other names are not resolved.
func Loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (c *Client) request(ctx context.Context, r *Request, st *call) (*retryablehttp.Request, error) {
	hr, err := http.NewRequestWithContext(ctx, r.Method, r.URL, nil)
	if err != nil {
		return nil, errors.New("request cannot be built")
	}
	if r.Header != nil {
		hr.Header = r.Header.Clone()
	}
	if r.Correlation != "" {
		hr.Header.Set(c.cfg.CorrelationHeader, r.Correlation)
	}
	if err := st.prepare(ctx, hr, 0); err != nil {
		return nil, err
	}
	req, err := retryablehttp.FromRequest(hr)
	if err != nil {
		return nil, errors.New("request cannot be built")
	}
	if r.Body != nil || r.Prepare != nil {
		// The library asks for the body at each try; Prepare may have changed it.
		err = req.SetBody(retryablehttp.ReaderFunc(func() (io.Reader, error) { return bytes.NewReader(st.body), nil }))
		if err != nil {
			return nil, errors.New("request cannot be built")
		}
		req.ContentLength = int64(len(st.body))
	}
	return req, nil
}

func (st *call) prepare(ctx context.Context, hr *http.Request, try int) error {
	if st.request.Prepare == nil {
		return nil
	}
	header, body, err := st.request.Prepare(ctx, try)
	if err != nil {
		return &prepareError{err}
	}
	// The request of the last try may still be read by the transport.
	hr.Header = hr.Header.Clone()
	for name, values := range header {
		hr.Header[http.CanonicalHeaderKey(name)] = values
	}
	st.body = body
	hr.ContentLength = int64(len(body))
	return nil
}

type prepareError struct{ err error }

func (e *prepareError) Error() string { return "prepare: " + e.err.Error() }
func (e *prepareError) Unwrap() error { return e.err }

func prepareRetry(hr *http.Request) error {
	st, ok := hr.Context().Value(callKey{}).(*call)
	if !ok {
		return errors.New("outbound: call without state")
	}
	return st.prepare(hr.Context(), hr, st.tries)
}

// checkRetry decides after each try. The library's own policy is not used: it
// knows nothing of idempotency.
func checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	st, ok := ctx.Value(callKey{}).(*call)
	if !ok || !st.retry {
		return false, nil
	}
	if err != nil {
		switch kindOf(ctx, err) {
		case KindUnreachable, KindTimeout, KindCutBody:
			return true, nil
		default:
			return false, nil
		}
	}
	switch resp.StatusCode {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true, nil
	}
	return false, nil
}

// backoff doubles and draws; a Retry-After longer than that is honoured as far
// as BackoffMax, since the caller's own queue is the place to wait longer.
func (c *Client) backoff(lo, hi time.Duration, try int, resp *http.Response) time.Duration {
	d := float64(lo) * math.Pow(2, float64(try))
	if d > float64(hi) {
		d = float64(hi)
	}
	wait := time.Duration(d/2 + c.cfg.Rand()*d/2)
	if resp != nil {
		wait = max(wait, min(c.retryAfter(resp.Header), hi))
	}
	return wait
}

func (c *Client) retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	const most = 24 * time.Hour
	if n, err := strconv.ParseInt(v, 10, 32); err == nil {
		return min(max(time.Duration(n)*time.Second, 0), most)
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(c.cfg.Clock()), 0), most)
	}
	return 0
}

// noRedirect answers a redirect as it came: what is signed for one place must
// not follow to another.
func noRedirect(*http.Request, []*http.Request) error {
	if fault.Mutant("outbound.redirect") {
		return nil
	}
	return http.ErrUseLastResponse
}

// wholeTransport makes a try end only when its answer is whole, so that a cut
// or endless body is a failed try and not a success that fails later.
type wholeTransport struct {
	base    http.RoundTripper
	perTry  time.Duration
	maxBody int64
}

func (t *wholeTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), t.perTry)
	defer cancel()
	if st, ok := ctx.Value(callKey{}).(*call); ok {
		st.tries++
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			WroteHeaders: func() { st.sent.Store(true) },
		})
	}
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		if ctx.Err() != nil && req.Context().Err() == nil {
			return nil, &bodyError{KindTimeout, ctx.Err()}
		}
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.ContentLength > t.maxBody {
		return nil, &bodyError{KindTooLarge, nil}
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, t.maxBody+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, &bodyError{KindTimeout, ctx.Err()}
	case err != nil:
		return nil, &bodyError{KindCutBody, err}
	case int64(len(data)) > t.maxBody && !fault.Mutant("outbound.body-bound"):
		return nil, &bodyError{KindTooLarge, nil}
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return resp, nil
}

type bodyError struct {
	kind Kind
	err  error
}

func (e *bodyError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return string(e.kind)
}
func (e *bodyError) Unwrap() error { return e.err }

func kindOf(ctx context.Context, err error) Kind {
	var pe *prepareError
	if errors.As(err, &pe) {
		return KindRequest
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return KindTimeout
	case ctx.Err() != nil:
		return KindCanceled
	}
	var be *bodyError
	if errors.As(err, &be) {
		return be.kind
	}
	if errors.Is(err, errNotPublic) {
		return KindAddress
	}
	var (
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		alert   tls.AlertError
		record  tls.RecordHeaderError
	)
	if errors.As(err, &verify) || errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &alert) || errors.As(err, &record) ||
		strings.Contains(err.Error(), "remote error: tls:") {
		return KindTLS
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return KindTimeout
	}
	return KindUnreachable
}

// cause strips the URL that net/http puts into its errors: it may hold a key
// or a person's data.
func cause(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

func idempotentMethod(m string) bool {
	switch m {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

func (c *Client) log(ctx context.Context, r *Request, st *call, start time.Time, resp *Response, err error) {
	attrs := []slog.Attr{
		slog.String("peer", c.cfg.Peer), slog.String("operation", r.Operation), slog.String("method", r.Method),
		slog.Int("tries", st.tries), slog.Int64("ms", c.cfg.Clock().Sub(start).Milliseconds()),
	}
	if r.Correlation != "" {
		attrs = append(attrs, slog.String("correlation", r.Correlation))
	}
	level := slog.LevelInfo
	var e *Error
	if errors.As(err, &e) {
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("kind", string(e.Kind)), slog.Bool("sent", e.Sent))
		if e.Status != 0 {
			attrs = append(attrs, slog.Int("status", e.Status))
		}
	} else if resp != nil {
		attrs = append(attrs, slog.Int("status", resp.Status), slog.Int("bytes", len(resp.Body)))
	}
	c.cfg.Logger.LogAttrs(ctx, level, "call out", attrs...)
}
