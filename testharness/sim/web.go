package sim

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Problem is an error answer, RFC 9457. Title and type are filled in when
// empty.
type Problem struct {
	Type     string         `json:"type"`
	Title    string         `json:"title"`
	Status   int            `json:"status"`
	Detail   string         `json:"detail,omitempty"`
	Code     string         `json:"code"`
	OrderKey string         `json:"order_key,omitempty"`
	Errors   []ProblemField `json:"errors,omitempty"`
}

// ProblemField is one thing wrong with one field.
type ProblemField struct {
	Field   string `json:"field"`
	Code    string `json:"code"`
	Message string `json:"message,omitempty"`
}

// Complete fills in what RFC 9457 wants and the caller left out.
func (p Problem) Complete() Problem {
	if p.Type == "" {
		p.Type = "about:blank"
	}
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	return p
}

// WriteProblem answers application/problem+json.
func WriteProblem(w http.ResponseWriter, p Problem) {
	p = p.Complete()
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// WriteJSON answers application/json.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		WriteProblem(w, Problem{Status: http.StatusInternalServerError, Code: "internal", Detail: err.Error()})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// ReadJSON reads one JSON value of at most limit bytes; unknown members and
// anything after the value are errors.
func ReadJSON(r io.Reader, limit int64, v any) error {
	dec := json.NewDecoder(io.LimitReader(r, limit))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err != nil {
		return fmt.Errorf("read JSON: %w", err)
	}
	_, err = dec.Token()
	if !errors.Is(err, io.EOF) {
		return errors.New("read JSON: more than one value, or too large")
	}
	return nil
}

// ErrNotLoopback is returned for an address other machines could reach.
var ErrNotLoopback = errors.New("a simulator listens on loopback only")

// Listen opens a TCP listener on a loopback address, as in 127.0.0.1:0. Any
// other host, also the empty one, is ErrNotLoopback.
func Listen(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	if !loopbackHost(host) {
		return nil, fmt.Errorf("listen on %q: %w", addr, ErrNotLoopback)
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	// localhost may resolve to something else on a badly kept machine.
	if !loopbackHost(hostOf(l.Addr().String())) {
		_ = l.Close()
		return nil, fmt.Errorf("listen on %q: %w", addr, ErrNotLoopback)
	}
	return l, nil
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// LoopbackOnly refuses a caller from elsewhere, and a Host header that is not
// loopback's: a web page in the user's browser must not reach the management
// surface by a name that resolves to 127.0.0.1.
func LoopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostOf(r.Host)
		if len(host) > 1 && host[0] == '[' {
			host = host[1 : len(host)-1]
		}
		if !loopbackHost(hostOf(r.RemoteAddr)) || !loopbackHost(host) {
			WriteProblem(w, Problem{Status: http.StatusForbidden, Code: "loopback_only"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Server is a running HTTP server on loopback.
type Server struct {
	URL    string // http://127.0.0.1:port or https://…
	server *http.Server
	done   chan struct{}
}

// Start serves handler on a loopback address, with TLS when tlsConfig is not
// nil. The server stops with Close.
func Start(addr string, handler http.Handler, tlsConfig *tls.Config) (*Server, error) {
	l, err := Listen(addr)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if tlsConfig != nil {
		scheme = "https"
		l = tls.NewListener(l, tlsConfig)
	}
	s := &Server{
		URL:  scheme + "://" + l.Addr().String(),
		done: make(chan struct{}),
		server: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		},
	}
	go func() {
		_ = s.server.Serve(l) // always an error: Close, or a dead listener that callers notice
		close(s.done)
	}()
	return s, nil
}

// Close ends the server and its open connections at once. A second Close does
// nothing.
func (s *Server) Close() error {
	err := s.server.Close()
	<-s.done
	if err != nil {
		return fmt.Errorf("close the simulator's server: %w", err)
	}
	return nil
}
