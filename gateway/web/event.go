package web

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"airegw/gateway"
	broken "airegw/gateway/fault"
	"airegw/gateway/messages"
)

// event is everything about one call that is not the request itself: who
// calls, in which language, and what the record of it will say.
type event struct {
	route  Route
	id     string // reference for people and logs; travels in a header only, so that bodies stay equal
	lang   string
	who    caller
	start  time.Time
	number string // of the request concerned, for the record
	code   string // error code, for the record
	err    error  // cause, for the record
}

// caller is who calls. The zero value is nobody.
type caller struct {
	kind   Caller // one bit, or 0
	scope  gateway.Scope
	name   string // for the page's header; of synthetic people in the demo
	office gateway.Office
	id     string // opaque
	door   *door  // the session's door, nil for a client

	session string // id of the session in the book
	login   string // reference of the login; empty behind the demo's door
	card    string // the operator's card that this session has shown
}

// signedIn says that the caller is somebody.
func (c caller) signedIn() bool { return c.kind != 0 && c.kind != Public }

// serve wraps a handler with everything that is the same for all: identity,
// permission, limits, headers, error mapping, recovery and the record.
func (s *Server) serve(route Route, handle handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		ev := &event{route: route, id: reference(), start: s.opt.Clock()}
		began := time.Now()
		s.headers(c, ev)
		ev.lang = s.language(c)
		func() {
			defer func() {
				if p := recover(); p != nil {
					if p == http.ErrAbortHandler { //nolint:errorlint // what was panicked with, as net/http compares it
						panic(p) // the server's own way to drop a connection
					}
					ev.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
					s.fail(c, ev, fault{status: http.StatusInternalServerError, code: "internal"})
				}
			}()
			err := s.admit(c, ev)
			if err == nil {
				err = handle(c, ev)
			}
			if err != nil {
				s.fail(c, ev, err)
			}
		}()
		s.record(c, ev, time.Since(began))
	}
}

// admit finds out who calls and whether this route is for them.
func (s *Server) admit(c *gin.Context, ev *event) error {
	if ev.route.Surface == SurfaceStatic || ev.route.Surface == SurfaceCore || ev.route.Surface == SurfaceFederation {
		return nil
	}
	most := bodyLimit(ev.route)
	if broken.Mutant("web.body-limit") {
		most = 1 << 40
	}
	if c.Request.ContentLength > most {
		c.Header("Connection", "close")
		return fault{status: http.StatusRequestEntityTooLarge, code: "body_too_large"}
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, most+1)
	err := s.identify(c, ev)
	if err != nil && ev.route.Callers&Public == 0 {
		return err // a stale session must not keep anybody from a public page
	}
	err = s.throttle(c, ev)
	if err != nil {
		return err
	}
	switch {
	case ev.route.Callers&Public != 0, ev.route.Callers&ev.who.kind != 0, broken.Mutant("web.callers") && ev.who.signedIn():
		return s.cardShown(c, ev)
	case !ev.who.signedIn():
		return fault{status: http.StatusUnauthorized, code: "sign_in_first"}
	default:
		return fault{status: http.StatusForbidden, code: "not_your_act"}
	}
}

// language chooses the reader's language and remembers a choice made by link.
func (s *Server) language(c *gin.Context) string {
	choice := c.Query("lang")
	if choice == messages.IT || choice == messages.EN {
		http.SetCookie(c.Writer, s.languageCookie(choice))
	}
	kept, err := c.Cookie("airegw_lang")
	if err != nil {
		kept = ""
	}
	return messages.Language(c.GetHeader("Accept-Language"), choice, kept)
}

func (s *Server) languageCookie(lang string) *http.Cookie {
	return &http.Cookie{
		Name: "airegw_lang", Value: lang, Path: "/", MaxAge: 365 * 24 * 3600,
		Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// record writes the one line about a call: never a path value, a name or a
// fiscal code.
func (s *Server) record(c *gin.Context, ev *event, took time.Duration) {
	level := slog.LevelInfo
	status := c.Writer.Status()
	switch {
	case status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable:
		level = slog.LevelError
	case ev.route.Surface == SurfaceStatic:
		level = slog.LevelDebug
	}
	ctx := c.Request.Context()
	if !s.opt.Log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("id", ev.id),
		slog.String("method", c.Request.Method),
		slog.String("route", c.FullPath()),
		slog.Int("status", status),
		slog.String("ms", strconv.FormatFloat(float64(took.Microseconds())/1000, 'f', 3, 64)),
		slog.Int64("in", max(c.Request.ContentLength, 0)),
		slog.Int("out", max(c.Writer.Size(), 0)),
	)
	if ev.who.signedIn() {
		attrs = append(attrs, slog.String("caller", ev.who.kind.String()), slog.String("actor", ev.who.id))
		if !ev.who.office.IsZero() {
			attrs = append(attrs, slog.String("office", ev.who.office.ID()))
		}
	}
	if ev.number != "" {
		attrs = append(attrs, slog.String("request", ev.number))
	}
	if ev.code != "" {
		attrs = append(attrs, slog.String("code", ev.code))
	}
	if ev.err != nil && status >= http.StatusInternalServerError {
		attrs = append(attrs, slog.String("err", ev.err.Error()))
	}
	s.opt.Log.LogAttrs(ctx, level, "http", attrs...)
}

// reference answers an unguessable reference of a call.
func reference() string {
	var b [9]byte
	_, err := rand.Read(b[:])
	if err != nil {
		return "unknown" // crypto/rand never fails on a system we run on
	}
	return hex.EncodeToString(b[:])
}

// fault is an error that only HTTP knows: no such route, too many calls.
type fault struct {
	status int
	code   string
	args   map[string]string
	retry  time.Duration // for 429 and 503
}

// Error answers the code.
func (f fault) Error() string { return f.code }

// failure is an error as the mapper sees it.
type failure struct {
	status   int
	code     string
	args     map[string]string
	problems []gateway.Problem
	retry    time.Duration
}

// explain is the one table from kinds of error to HTTP.
func explain(err error) failure {
	var f fault
	if errors.As(err, &f) {
		return failure{status: f.status, code: f.code, args: f.args, retry: f.retry}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return failure{status: http.StatusRequestEntityTooLarge, code: "body_too_large"}
	}
	var e *gateway.Error
	if !errors.As(err, &e) {
		return failure{status: http.StatusInternalServerError, code: "internal"}
	}
	out := failure{code: e.Code, args: e.Args, problems: e.Problems}
	switch e.Kind {
	case gateway.Invalid:
		out.status = http.StatusBadRequest
		for _, p := range e.Problems {
			if p.Code == "body_too_large" {
				out.status = http.StatusRequestEntityTooLarge
			}
		}
	case gateway.Unauthenticated:
		out.status = http.StatusUnauthorized
	case gateway.Forbidden:
		out.status = http.StatusForbidden
	case gateway.NotFound:
		// One body for absent and for not yours: whatever was said besides is dropped.
		out = failure{status: http.StatusNotFound, code: "not_found"}
	case gateway.Conflict:
		out.status = http.StatusConflict
	case gateway.Unavailable:
		out.status, out.retry = http.StatusServiceUnavailable, 5*time.Second
	default:
		out = failure{status: http.StatusInternalServerError, code: "internal"}
	}
	return out
}

// fail answers an error, as a page or as problem+json.
func (s *Server) fail(c *gin.Context, ev *event, err error) {
	f := explain(err)
	ev.code = f.code
	if ev.err == nil {
		ev.err = err
	}
	if c.Writer.Written() {
		return // half an answer is out; the record tells
	}
	c.Header("Cache-Control", "no-store")
	switch f.status {
	case http.StatusUnauthorized:
		c.Header("WWW-Authenticate", `Bearer realm="airegw"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		c.Header("Retry-After", strconv.Itoa(max(1, int((f.retry+time.Second-1)/time.Second))))
	}
	if s.wantsPage(c, ev) {
		s.failPage(c, ev, f)
		return
	}
	problem(c, ev, f)
}

// wantsPage says whether an error is shown as a page.
func (s *Server) wantsPage(c *gin.Context, ev *event) bool {
	switch ev.route.Surface {
	case SurfacePage:
		return true
	case SurfaceAny:
		return len(c.Request.URL.Path) < 5 || c.Request.URL.Path[:5] != "/api/"
	default:
		return false
	}
}

// refuser answers one fault outside the engine (cross-site calls).
func (s *Server) refuser(f fault) http.Handler {
	e := gin.New()
	refuse := s.serve(Route{Surface: SurfaceAny, Callers: Everybody}, func(*gin.Context, *event) error { return f })
	e.NoRoute(refuse)
	return e
}
