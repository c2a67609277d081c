package testharness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"strings"
	"time"

	"airegw/gateway/jose"
)

// Session speaks the gateway's API as one person (a demo login's cookie) or as
// one machine (a private_key_jwt bearer). It is safe for concurrent use once
// made.
type Session struct {
	base   string
	http   *http.Client
	bearer func() (string, error)
}

// Problem is the gateway's error answer (RFC 9457).
type Problem struct {
	Status   int               `json:"status"`
	Code     string            `json:"code"`
	Detail   string            `json:"detail"`
	Args     map[string]string `json:"args"`
	Problems []FieldProblem    `json:"problems"`
	// RetryAfter is the header's seconds, 0 without one.
	RetryAfter int `json:"-"`
}

// FieldProblem is what is wrong with one field.
type FieldProblem struct {
	Field  string            `json:"field"`
	Code   string            `json:"code"`
	Detail string            `json:"detail"`
	Args   map[string]string `json:"args"`
}

func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s", p.Status, p.Code)
	for _, f := range p.Problems {
		fmt.Fprintf(&b, "; %s %s: %s", f.Field, f.Code, f.Detail)
	}
	if len(p.Problems) == 0 && p.Detail != "" {
		b.WriteString(": " + p.Detail)
	}
	return b.String()
}

// newHTTP makes a client for one session: no redirects followed, bounded.
func newHTTP() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // New fails only with options, and there are none
	}
	return &http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// DemoLogin opens a session as a synthetic operator ("operator", id) or citizen
// ("citizen", id) through the demo's door.
func DemoLogin(ctx context.Context, base, kind, id string) (*Session, error) {
	s := &Session{base: base, http: newHTTP()}
	return s, s.enter(ctx, kind, id)
}

func (s *Session) enter(ctx context.Context, kind, id string) error {
	form := url.Values{kind: {id}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.http.Do(req)
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode != http.StatusSeeOther {
		return &Problem{Status: resp.StatusCode, Code: "login_failed", Detail: kind + " " + id}
	}
	return nil
}

// ClientSession speaks as a machine client with its own key.
func ClientSession(base, clientID string, key jose.Key) *Session {
	s := &Session{base: base, http: newHTTP()}
	var token string
	var until time.Time
	s.bearer = func() (string, error) {
		now := time.Now()
		if now.Before(until) {
			return token, nil
		}
		fresh, err := jose.Sign(key, "client-authentication+jwt", struct {
			Iss string `json:"iss"`
			Sub string `json:"sub"`
			Aud string `json:"aud"`
			Iat int64  `json:"iat"`
			Exp int64  `json:"exp"`
			Jti string `json:"jti"`
		}{clientID, clientID, base + "/api/v1", now.Unix(), now.Add(5 * time.Minute).Unix(), fmt.Sprintf("%s-%d", clientID, now.UnixNano())})
		if err != nil {
			return "", err
		}
		token, until = fresh, now.Add(4*time.Minute)
		return token, nil
	}
	// The first token is made now, so that later calls only read it.
	_, _ = s.bearer()
	return s
}

// Get reads path into out.
func (s *Session) Get(ctx context.Context, path string, out any) error {
	_, err := s.call(ctx, http.MethodGet, path, nil, out)
	return err
}

// Post sends in (nil: no body) to path and reads the answer into out (nil: not
// read). It answers the status code.
func (s *Session) Post(ctx context.Context, path string, in, out any) (int, error) {
	var body []byte
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, fmt.Errorf("post %s: %w", path, err)
		}
		body = b
	}
	return s.call(ctx, http.MethodPost, path, body, out)
}

// PostRaw is Post of exactly these bytes.
func (s *Session) PostRaw(ctx context.Context, path string, body []byte, out any) (int, error) {
	return s.call(ctx, http.MethodPost, path, body, out)
}

func (s *Session) call(ctx context.Context, method, path string, body []byte, out any) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	if s.bearer != nil {
		token, err := s.bearer()
		if err != nil {
			return 0, fmt.Errorf("sign bearer: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return resp.StatusCode, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		p := &Problem{}
		if json.Unmarshal(raw, p) != nil || p.Code == "" {
			p = &Problem{Code: "unexpected_answer", Detail: fmt.Sprintf("%.200s", raw)}
		}
		p.Status = resp.StatusCode
		p.RetryAfter, _ = strconv.Atoi(resp.Header.Get("Retry-After")) // 0 when it is none
		return resp.StatusCode, p
	}
	if out == nil {
		return resp.StatusCode, nil
	}
	err = json.Unmarshal(raw, out)
	if err != nil {
		return resp.StatusCode, fmt.Errorf("%s %s: answer: %w", method, path, err)
	}
	return resp.StatusCode, nil
}

// passing says that an error may pass by itself: the gateway is not there, is
// starting again, or asks for patience.
func passing(err error) bool {
	var p *Problem
	if errors.As(err, &p) {
		return p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests || p.Status == http.StatusBadGateway
	}
	return err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}
