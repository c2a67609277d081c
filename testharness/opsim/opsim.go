// Package opsim stands in for everything an "Entra con CIE" relying party and
// an office's login meet outside: a Trust Anchor, the CIE OpenID Provider, and
// the plain OpenID Providers of the operators' administrations.
//
// It promises to refuse what the published rules refuse
// (specs/entra-con-cie.md §2 to §7; names of the AgID catalogue in the tests),
// to tell the true cause at the management surface, and to misbehave only as
// told: every injected fault is named in Catalogue with the error class a
// relying party must end in, carries the header X-Sim-Fault and is counted.
// With a folder it keeps its keys and who is registered over a kill.
//
// It refuses to share code with the gateway, to know anybody but synthetic
// people (those of testharness/sim, so that a login matches the register's
// simulator), and to call or listen anywhere but on loopback.
//
// # Use
//
//	op, err := opsim.Start(opsim.Options{}, opsim.Listen{})   // free ports on 127.0.0.1
//	op.Addresses.Anchor       // entity id of the Trust Anchor; pin op.AnchorJWKS()
//	op.Addresses.Provider     // entity id of the CIE provider
//	op.Issuer(opsim.RealmInterno)  // issuer of the comuni's operators; RealmEsteri: of the posts'
//	op.ManagementURL
//	defer op.Close()
//
// In process, without listeners: New(Options) and the handlers Anchor,
// Provider, Operators, Management; then Options.Addresses must say where they
// will be served and Options.Transport how relying parties are reached.
//
// A relying party is onboarded when it serves its Entity Configuration:
//
//	op.Register(ctx, "http://localhost:8080/c_h501")   // or POST {management}/relying-parties {"id":"http://…"}
//
// The anchor fetches {id}/.well-known/openid-federation, refuses what the
// portal would, pins the federation and the core keys, and issues the trust
// mark. The relying party reads its mark from {anchor}/fetch?sub={id} and must
// publish it before the provider trusts it. Register again after a change of
// keys; the provider forgets its cached chain then.
//
// People log in through pages (choose a person, the access mode, the level;
// consent or refuse). Without a browser:
//
//	op.SetAuto(&opsim.Auto{People: []string{"FRRLCU86D57Z600N"}})  // POST {management}/auto {"people":["…"]}
//
// From then on the authorization endpoint answers at once with the redirect to
// the callback, people taking turns; an empty list means everybody who can reach
// the level asked, Refuse answers access_denied, SetAuto(nil) or DELETE /auto
// brings the pages back. The pages themselves can be driven by two POSTs: to
// the address the authorization endpoint redirects to with the form fields
// person (fiscal code), mode and level (L1, L2, L3), then to the address that
// answers with answer=consent or answer=refuse.
//
// Operators: register the client with RegisterClient (POST
// {management}/operators/clients), then plain discovery at Issuer(realm): code,
// PKCE S256, client_secret_basic, client_secret_post, private_key_jwt or none,
// ID Token ES256 with the claims office (six digits of ISTAT for a comune,
// seven of a post), office_kind, office_name, role (operator, supervisor;
// owner_interior, owner_maeci without an office), station, given_name,
// family_name. SetOperatorAuto(id) is their path without a browser.
package opsim

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"airegw/testharness/sim"
)

// Lifetimes (entra-con-cie §2.2 production, §4.4 Avviso SPID 41).
const (
	anchorLifetime     = 24 * time.Hour
	statementLifetime  = 30 * time.Minute
	providerLifetime   = 24 * time.Hour
	markLifetime       = 365 * 24 * time.Hour
	codeLifetime       = 5 * time.Minute
	idTokenLifetime    = 5 * time.Minute
	accessLifetime     = 15 * time.Minute
	refreshLifetime    = 30 * 24 * time.Hour
	interactionTimeout = 10 * time.Minute
	skew               = 3 * time.Minute
)

// Addresses are where the three parties are reached: entity ids and issuers
// are made of them. No final slash.
type Addresses struct {
	Anchor    string `json:"anchor"`
	Provider  string `json:"provider"`
	Operators string `json:"operators"` // issuers are below it, one per realm
}

// Options configures a simulator. Only Addresses is needed for New; Start fills
// it in.
type Options struct {
	Profile sim.Profile // zero: polite
	Seed    uint64      // 0 lets the simulator choose; Seed tells
	Clock   sim.Clock   // nil is the machine's

	// MessageClock stamps and judges every time in a token or statement. nil is
	// Clock, unless that is a *sim.RealClock, which a demonstration moves forward
	// while its clients stay in the present: then the machine's own time.
	MessageClock sim.Clock

	// Dir keeps keys and registrations; empty keeps nothing.
	Dir string

	Addresses Addresses

	// Keys are the RSA keys; nil reads them from Dir or makes new ones. Tests
	// that make many simulators share one set, since RSA keys are slow to make.
	Keys *Keys

	// People who have credentials at the provider; nil is those of
	// testharness/sim, see Citizens.
	People []Citizen

	// Staff are the operators; nil is those of testharness/sim, see Staff.
	Staff []Operator

	// Transport reaches relying parties; nil calls loopback addresses and no
	// other.
	Transport http.RoundTripper

	// RedirectTrustFailure answers a client that is not trusted by a redirect
	// with invalid_client or unauthorized_client, as the Italian text says,
	// instead of a page, as the final specification and the AgID catalogue say
	// (entra-con-cie §3).
	RedirectTrustFailure bool

	// Logger receives the diagnosis log; nil discards it.
	Logger *slog.Logger
}

// Server is one simulated outside. Its methods are safe for concurrent use.
type Server struct {
	opt     Options
	at      Addresses
	clock   sim.Clock // of the ledger and of slow answers
	wire    sim.Clock // of tokens and statements
	rand    *sim.Rand
	faults  *sim.Faults
	log     *slog.Logger
	keys    *keyring
	http    *http.Client
	people  []Citizen
	staff   []Operator
	journal *sim.Journal
	closing sync.Once

	trustMu sync.Mutex // one chain is built at a time

	events   sim.Recent[Event]
	refusals sim.Recent[Refusal]

	mu            sync.Mutex
	entities      map[string]*entity      // registered at the anchor
	clients       map[string]*client      // chains the provider holds
	interactions  map[string]*interaction // people on the way
	grants        map[string]*grant       // by code
	tokens        map[string]*token       // access and refresh, by jti
	sso           map[string]*ssoSession
	replay        map[string]time.Time // jti and nonce seen, with the time they may be forgotten
	swept         time.Time
	auto          *Auto
	autoTurn      int
	revoked       map[string]bool // trust marks, by subject
	down          map[string]bool // parties out of service
	redirectTrust bool
	life          Lifetimes
	lastCode      string // for the replayed code
	lastIDJTI     string

	realms       map[string]*realm
	opClients    map[string]OperatorClient
	opFlows      map[string]*opFlow
	opGrants     map[string]*opGrant
	opTokens     map[string]*opGrant
	operatorAuto string
}

// New builds a simulator; nothing listens yet. It fails on an address that is
// not an absolute http(s) URL of this machine without a final slash, an
// unreadable folder, or keys that do not parse.
func New(opt Options) (*Server, error) {
	if opt.Clock == nil {
		opt.Clock = sim.NewReal()
	}
	opt.MessageClock = sim.MessageClock(opt.MessageClock, opt.Clock)
	profile, err := sim.ParseProfile(string(opt.Profile))
	if err != nil {
		return nil, fmt.Errorf("identity simulator: %w", err)
	}
	for _, address := range []string{opt.Addresses.Anchor, opt.Addresses.Provider, opt.Addresses.Operators} {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.HasSuffix(address, "/") {
			return nil, fmt.Errorf("identity simulator: address %q is not an http(s) URL without a final slash", address)
		}
	}
	if opt.People == nil {
		opt.People = Citizens()
	}
	if opt.Staff == nil {
		opt.Staff = Staff()
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	rng := sim.NewRand(opt.Seed)
	s := &Server{
		opt: opt, at: opt.Addresses, clock: opt.Clock, wire: opt.MessageClock, rand: rng, log: opt.Logger,
		faults: sim.NewFaults(profile, rng, declaredFaults()...), people: opt.People, staff: opt.Staff,
		events: sim.Recent[Event]{Keep: keepEvents}, refusals: sim.Recent[Refusal]{Keep: keepRefusals},
		entities: map[string]*entity{}, clients: map[string]*client{}, interactions: map[string]*interaction{},
		grants: map[string]*grant{}, tokens: map[string]*token{}, sso: map[string]*ssoSession{},
		replay: map[string]time.Time{}, revoked: map[string]bool{}, down: map[string]bool{},
		redirectTrust: opt.RedirectTrustFailure,
		life:          Lifetimes{Anchor: anchorLifetime, Statement: statementLifetime, Provider: providerLifetime},
		opClients:     map[string]OperatorClient{}, opFlows: map[string]*opFlow{}, opGrants: map[string]*opGrant{}, opTokens: map[string]*opGrant{},
	}
	transport := opt.Transport
	if transport == nil {
		transport = loopbackTransport()
	}
	s.http = &http.Client{
		Transport: transport, Timeout: fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if opt.Dir != "" {
		err = os.MkdirAll(opt.Dir, 0o700)
		if err != nil {
			return nil, fmt.Errorf("folder of the identity simulator: %w", err)
		}
	}
	s.keys, err = openKeyring(opt.Dir, opt.Keys)
	if err != nil {
		return nil, fmt.Errorf("identity simulator: %w", err)
	}
	s.realms, err = newRealms(opt.Dir, s.at.Operators)
	if err != nil {
		return nil, fmt.Errorf("identity simulator: %w", err)
	}
	err = s.markProvider()
	if err == nil && opt.Dir != "" {
		s.journal, err = sim.OpenJournal(filepath.Join(opt.Dir, "op.journal"), s.replayLine)
	}
	if err != nil {
		return nil, fmt.Errorf("identity simulator: %w", err)
	}
	return s, nil
}

// Close flushes and closes what is kept in the folder. A second Close does
// nothing.
func (s *Server) Close() error {
	var err error
	s.closing.Do(func() { err = s.journal.Close() })
	if err != nil {
		return fmt.Errorf("close the identity simulator: %w", err)
	}
	return nil
}

// Seed is the seed in use.
func (s *Server) Seed() uint64 { return s.rand.Seed() }

// Faults is the register of injectable faults; Catalogue tells what each does.
func (s *Server) Faults() *sim.Faults { return s.faults }

// Where are the addresses in use.
func (s *Server) Where() Addresses { return s.at }

// entry is one line of the journal.
type entry struct {
	Entity *entity         `json:"entity,omitempty"` // registered or registered again
	Client *OperatorClient `json:"client,omitempty"` // of the operators' providers
}

func (s *Server) replayLine(line []byte) error {
	var e entry
	err := json.Unmarshal(line, &e)
	if err != nil {
		return fmt.Errorf("entry: %w", err)
	}
	switch {
	case e.Entity != nil:
		// The anchor may have another port now: the mark names the anchor.
		e.Entity.Mark, err = s.newMark(e.Entity.ID, e.Entity.markRole(), s.wire.Now())
		if err != nil {
			return err
		}
		s.entities[e.Entity.ID] = e.Entity
		return nil
	case e.Client != nil:
		s.opClients[e.Client.ID] = *e.Client
		return nil
	}
	return errors.New("unknown entry")
}

// keep makes a line durable, when there is a folder.
func (s *Server) keep(e entry) error {
	err := s.journal.Append(e)
	if err == nil {
		err = s.journal.Flush()
	}
	if err != nil {
		return fmt.Errorf("keep the registration: %w", err)
	}
	return nil
}

// Listen are the loopback addresses of a running simulator; empty is
// 127.0.0.1:0.
type Listen struct {
	Anchor, Provider, Operators, Management string
}

// Running is a Server on loopback.
type Running struct {
	*Server
	Addresses
	ManagementURL string

	servers []*sim.Server
}

// lateHandler serves what is set after the listener is open, so that the port
// is known to the simulator before it exists.
type lateHandler struct {
	once sync.Once
	set  chan struct{}
	next http.Handler
}

func newLateHandler() *lateHandler { return &lateHandler{set: make(chan struct{})} }

func (h *lateHandler) be(next http.Handler) { h.once.Do(func() { h.next = next; close(h.set) }) }

func (h *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	<-h.set
	h.next.ServeHTTP(w, r)
}

// Start listens on loopback and serves a simulator until Close.
func Start(opt Options, listen Listen) (*Running, error) {
	r := &Running{}
	handlers := make([]*lateHandler, 0, 4)
	urls := make([]string, 0, 4)
	for _, addr := range []string{listen.Anchor, listen.Provider, listen.Operators, listen.Management} {
		if addr == "" {
			addr = "127.0.0.1:0"
		}
		h := newLateHandler()
		server, err := sim.Start(addr, h, nil)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("identity simulator: %w", err), r.stop(handlers))
		}
		r.servers = append(r.servers, server)
		handlers, urls = append(handlers, h), append(urls, server.URL)
	}
	opt.Addresses = Addresses{Anchor: urls[0], Provider: urls[1], Operators: urls[2]}
	s, err := New(opt)
	if err != nil {
		return nil, errors.Join(err, r.stop(handlers))
	}
	r.Server, r.Addresses, r.ManagementURL = s, opt.Addresses, urls[3]
	for i, h := range []http.Handler{s.Anchor(), s.Provider(), s.Operators(), s.Management()} {
		handlers[i].be(h)
	}
	return r, nil
}

func (r *Running) stop(handlers []*lateHandler) error {
	for _, h := range handlers {
		h.be(http.NotFoundHandler())
	}
	var errs []error
	for _, server := range r.servers {
		errs = append(errs, server.Close())
	}
	return errors.Join(errs...)
}

// Close stops serving, then the simulator.
func (r *Running) Close() error { return errors.Join(r.stop(nil), r.Server.Close()) }

// uuid4 draws a random uuid, version 4.
func uuid4() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// sweep forgets what is over; call it with the lock held.
func (s *Server) sweep(now time.Time) {
	if now.Sub(s.swept) < time.Minute && now.Sub(s.swept) >= 0 {
		return
	}
	s.swept = now
	for k, until := range s.replay {
		if now.After(until) {
			delete(s.replay, k)
		}
	}
	for id, i := range s.interactions {
		if now.After(i.expires) {
			delete(s.interactions, id)
		}
	}
	for code, g := range s.grants {
		// A used code is kept as long as its tokens, to notice a second use.
		if now.After(g.expires.Add(accessLifetime)) {
			delete(s.grants, code)
		}
	}
	for jti, t := range s.tokens {
		if now.After(t.expires) {
			delete(s.tokens, jti)
		}
	}
	for id, v := range s.sso {
		if now.After(v.expires) {
			delete(s.sso, id)
		}
	}
	for id, f := range s.opFlows {
		if now.After(f.expires) {
			delete(s.opFlows, id)
		}
	}
	for code, g := range s.opGrants {
		if now.After(g.expires) {
			delete(s.opGrants, code)
		}
	}
	for t, g := range s.opTokens {
		if now.After(g.tokenExpires) {
			delete(s.opTokens, t)
		}
	}
}

// seen remembers key until then; true when it was there already. Call it with
// the lock held.
func (s *Server) seen(key string, until time.Time) bool {
	if _, twice := s.replay[key]; twice {
		return true
	}
	s.replay[key] = until
	return false
}
