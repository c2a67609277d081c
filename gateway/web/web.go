// Package web is every HTTP surface of the gateway: the pages for citizens and
// operators, the JSON API of openapi.yaml, the address at which the issuance
// core delivers its events, health, static files.
//
// Duty: find out who is calling, give the call to gateway.Desk under that
// caller's Scope, and turn the answer or the error into a page or into JSON.
// routes.go lists every route as data; the engine is built from nothing else.
//
// Promise: one mapper makes every error, so that a request of another office
// and a request that does not exist answer the same bytes; one structured
// record per call, without personal data; every page works without JavaScript,
// in Italian and English, under a content security policy that allows no inline
// code; a double click or the back button never does an act twice.
//
// It refuses to decide anything about a request, to read the store, to trust a
// forwarded address, and to answer a body larger than 64 KiB.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gin-gonic/gin"

	"airegw/gateway"
	broken "airegw/gateway/fault"
	"airegw/gateway/federation"
	"airegw/gateway/login"
)

// Client is a machine that speaks for one office, with the public keys its
// private_key_jwt assertions are signed with.
type Client struct {
	ID      string
	Office  gateway.Office
	JWKS    []byte // public keys, JWK set
	Revoked bool
}

// Clients answers registered clients; the store implements it. An unknown id
// is a *gateway.Error of kind NotFound.
type Clients interface {
	Client(ctx context.Context, id string) (Client, error)
}

// DemoDoor lets anybody on loopback become one of these synthetic people.
// `serve` never has one; without it the login routes do not exist.
type DemoDoor struct {
	Operators []DemoOperator
	Citizens  []DemoCitizen
}

// DemoOperator is a synthetic operator on the demo's list.
type DemoOperator struct {
	ID      string // opaque, stable: the id in the audit trail
	Name    string
	Office  gateway.Office
	Role    gateway.Role
	Station string
	Note    string // what can be tried as this person, for the list
}

// DemoCitizen is a synthetic citizen on the demo's list.
type DemoCitizen struct {
	ID         string // opaque, stable: the id in the audit trail
	Name       string
	FiscalCode string
	Where      string // place of residence, for the list
	Level      int    // login level 1–3
	Note       string // what the register will say, for the list
}

// Limits are rates per caller. The zero value of each means its default.
type Limits struct {
	APIPerSecond    float64 // calls of one client, session or address to /api/v1; default 20,000
	TrackPerMinute  float64 // tracker codes tried from one address; default 10
	LookupPerSecond float64 // registry look-ups from one address; default 10
	LoginPerMinute  float64 // default 60
	PersonPerMinute float64 // pages of one person; default 1,200
	OfficePerSecond float64 // all calls for one office, by whomever; default 30,000
	InFlight        int     // calls answered at once; default 512
}

// Options are what a Server is made of. Gateway, Sessions, Book, Clients, Clock,
// Log and BaseURL are needed.
type Options struct {
	Gateway     *gateway.Gateway
	Sessions    scs.CtxStore
	Book        SessionBook
	Clients     Clients
	Clock       func() time.Time
	Log         *slog.Logger
	BaseURL     string // as people reach it: "https://host" or, on loopback, "http://127.0.0.1:8080"; no path
	Environment string // "production", or "simulation": a banner on every page
	Demo        *DemoDoor
	Version     string
	Limits      Limits
	// Federation is our membership in the CIE federation; nil: none, and its
	// routes do not exist. Its identifier must lie at BaseURL.
	Federation *federation.Member
	// Citizens logs citizens in by "Entra con CIE", Operators operators at their
	// own administration's provider; nil: not here.
	Citizens  *login.Citizens
	Operators *login.Operators
	// Cards says where operators show their smart cards; nil: nowhere.
	Cards *Cards
}

// Server answers HTTP. Make one with New.
type Server struct {
	opt       Options
	secure    bool // people reach us by https
	audience  string
	operators *door
	citizens  *door
	bearer    *bearerCache
	limits    *limiters
	assets    *assetSet
	pages     pageSet
	public    http.Handler
	core      http.Handler
	card      http.Handler
}

// New builds a Server. It fails when a part is missing or BaseURL is not an
// absolute http(s) URL; plain http is accepted only for loopback.
func New(opt Options) (*Server, error) {
	if opt.Gateway == nil || opt.Sessions == nil || opt.Book == nil || opt.Clients == nil || opt.Clock == nil || opt.Log == nil {
		return nil, errors.New("web: a part is missing")
	}
	u, err := url.Parse(opt.BaseURL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("web: BaseURL must be an absolute http or https URL without a path")
	}
	loopback := u.Hostname() == "localhost" || u.Hostname() == "::1" || strings.HasPrefix(u.Hostname(), "127.")
	if u.Scheme == "http" && !loopback {
		return nil, errors.New("web: plain http only on loopback")
	}
	if opt.Demo != nil && (!loopback || opt.Environment != "simulation") {
		return nil, errors.New("web: the demo's door only in simulation on loopback")
	}
	if m := opt.Federation; m != nil && m.Entity.ID() != opt.BaseURL && !strings.HasPrefix(m.Entity.ID(), strings.TrimSuffix(opt.BaseURL, "/")+"/") {
		return nil, errors.New("web: our entity identifier does not lie at BaseURL")
	}
	if opt.Cards != nil && (u.Scheme != "https" || opt.Operators == nil) {
		return nil, errors.New("web: operators show cards over https, and log in first")
	}
	s := &Server{opt: opt, secure: u.Scheme == "https", audience: strings.TrimSuffix(opt.BaseURL, "/") + "/api/v1"}
	s.assets, err = loadAssets()
	if err != nil {
		return nil, err
	}
	if s.assets.missing {
		opt.Log.Error("this binary was built without the front-end assets: pages will be plain; run `make assets` and build again")
	}
	s.pages, err = loadPages()
	if err != nil {
		return nil, err
	}
	sessions := ownTime{opt.Sessions, opt.Clock}
	s.operators = newDoor(sessions, opt.Book, "airegw_operator", s.secure, login.OwnTime, login.IdleTime)
	s.citizens = newDoor(sessions, opt.Book, "airegw_citizen", s.secure, time.Hour, 20*time.Minute)
	s.bearer = newBearerCache()
	s.limits = newLimiters(opt.Limits)

	gin.SetMode(gin.ReleaseMode)
	public, core, card, err := s.engines()
	if err != nil {
		return nil, err
	}
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(s.refuser(fault{status: http.StatusForbidden, code: "cross_site"}))
	s.public = guard.Handler(public)
	if broken.Mutant("web.cross-site") {
		s.public = public
	}
	s.public = bounded(opt.Limits.InFlight, s.refuser(tooBusy), s.public)
	s.core, s.card = core, card
	return s, nil
}

// Handler answers the pages, the API and health. Nothing a caller's headers
// say about its address is believed.
func (s *Server) Handler() http.Handler { return s.public }

// CoreHandler answers the core's events. It must be served on a listener that
// demands the core's client certificate (mutual TLS); the events are signed
// besides.
func (s *Server) CoreHandler() http.Handler { return s.core }

// HTTPServer answers an http.Server for a handler of ours with the time limits
// every listener must have.
func HTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// handler is the shape of everything in routes.go: it writes an answer, or
// returns an error for the one mapper.
type handler func(*gin.Context, *event) error

// engines builds the gin engines from the table of routes, one a listener.
func (s *Server) engines() (public, core, card *gin.Engine, err error) {
	build := func() *gin.Engine {
		e := gin.New()
		e.HandleMethodNotAllowed = true
		e.RedirectTrailingSlash = false
		e.ForwardedByClientIP = false
		e.UseRawPath = false
		return e
	}
	public, core, card = build(), build(), build()
	for _, e := range []*gin.Engine{public, core, card} {
		err = e.SetTrustedProxies(nil)
		if err != nil {
			return nil, nil, nil, err
		}
		e.NoRoute(s.serve(Route{Surface: SurfaceAny, Callers: Everybody}, s.noRoute))
		e.NoMethod(s.serve(Route{Surface: SurfaceAny, Callers: Everybody}, s.noMethod))
	}
	for _, r := range s.routes() {
		e := public
		switch r.Surface {
		case SurfaceCore:
			e = core
		case SurfaceCard:
			e = card
		}
		e.Handle(r.Method, r.Path, s.serve(r.Route, r.handle))
	}
	return public, core, card, nil
}

func (s *Server) noRoute(*gin.Context, *event) error {
	return fault{status: http.StatusNotFound, code: "not_found"}
}

func (s *Server) noMethod(*gin.Context, *event) error {
	return fault{status: http.StatusMethodNotAllowed, code: "method_not_allowed"}
}
