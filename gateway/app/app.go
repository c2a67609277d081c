// Package app is the only place where the concrete parts meet: Assemble reads a
// Config and makes a gateway that serves and works; Run does both until its
// context ends, then drains.
//
// It promises that what is refused is refused before anything starts: a bad
// configuration, a second writer on the same database, a simulator's keys in
// production. It holds no rule of its own.
package app

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/gateway"
	"airegw/gateway/federation"
	"airegw/gateway/issuance"
	"airegw/gateway/jose"
	"airegw/gateway/login"
	"airegw/gateway/outbound"
	"airegw/gateway/store"
	"airegw/gateway/web"
)

// Options are what a Config file cannot say. The zero value is production.
type Options struct {
	Log     *slog.Logger  // nil: text on stderr as the configuration says
	Clock   gateway.Clock // nil: the machine's
	Random  io.Reader     // nil: crypto/rand
	Demo    *web.DemoDoor // only `demo` has one; needs environment simulation
	Limits  web.Limits
	Version string
	// Alignment is the consular door of the register; nil: there is none.
	Alignment gateway.Alignment
	Roles     Roles // what this replica does; default both
}

// Roles say what a replica does. Replicas of one database may differ.
type Roles string

// What a replica may do: serve pages, API and the core's events; work through
// what waits; both, the zero value.
const (
	RoleBoth Roles = ""
	RoleWeb  Roles = "web"
	RoleWork Roles = "work"
)

// App is an assembled gateway. Its addresses are bound, nothing is served yet.
type App struct {
	Gateway *gateway.Gateway
	Store   *store.Store

	roles     Roles
	url       string
	eventsURL string
	log       *slog.Logger
	web       *web.Server
	member    *federation.Member // of the CIE federation; nil: none
	citizens  *login.Citizens
	operators *login.Operators
	clock     gateway.Clock
	public    net.Listener
	events    net.Listener
	cards     net.Listener // of operators' smart cards
	closers   []func() error
}

// Assemble makes the parts and binds the addresses. A PostgreSQL that is away is
// waited for, as long as database.wait says. On error nothing is left open.
func Assemble(ctx context.Context, c Config, o Options) (*App, error) {
	err := c.Check()
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if o.Demo != nil && c.Environment != store.Simulation {
		return nil, errors.New("configuration: the demo's door opens in a simulation only")
	}
	if o.Roles != RoleBoth && o.Roles != RoleWeb && o.Roles != RoleWork {
		return nil, fmt.Errorf("roles: %q is none of web and work", o.Roles)
	}
	if o.Roles != RoleBoth && c.Database.URLFile == "" {
		return nil, &FieldError{"database.url_file", "a replica that does not do everything needs a database it can share"}
	}
	if o.Clock == nil {
		o.Clock = gateway.SystemClock{}
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Log == nil {
		o.Log = NewLog(c.Log, os.Stderr)
	}
	return awaitDatabase(ctx, c, o, assemble)
}

// assemble makes the parts once, of a configuration that was checked and options
// that are complete.
func assemble(ctx context.Context, c Config, o Options) (_ *App, err error) {
	rules, err := readRules(c)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	a := &App{log: o.Log, roles: o.Roles, clock: o.Clock}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	database, err := c.storeOptions()
	if err != nil {
		return nil, err
	}
	database.Now, database.Random = o.Clock.Now, o.Random
	switch o.Roles {
	case RoleWeb:
		database.Role = store.RoleWeb
	case RoleWork:
		database.Role = store.RoleWork
	case RoleBoth: // all that the address's user may
	}
	a.Store, err = store.Open(ctx, database)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	a.closers = append(a.closers, a.Store.Close)
	err = a.registerClients(ctx, c)
	if err != nil {
		return nil, err
	}
	register, err := a.newRegister(ctx, c, o)
	if err != nil {
		return nil, err
	}
	consular, err := a.newConsular(c, o)
	if err != nil {
		return nil, err
	}
	if consular != nil && o.Alignment == nil {
		o.Alignment = alignment{consular, growingIDs{a.Store, o.Clock, consularSeries}}
	}
	comuni, err := a.newRegistries(c, o)
	if err != nil {
		return nil, err
	}
	core, err := newCore(c, o, a.log)
	if err != nil {
		return nil, err
	}
	notices, err := c.notices()
	if err != nil {
		return nil, err
	}
	events, err := newCardEvents(c, o, a)
	if err != nil {
		return nil, err
	}
	checks := gateway.Register(register)
	if consular != nil && (c.Consular.Checks || len(c.Consular.Posts) > 0) {
		checks = anpr.Doors{PDND: register, Consular: consular, Known: c.Consular.Checks, First: c.Consular.first(), Logger: a.log}
	}
	a.Gateway, err = gateway.New(gateway.Parts{
		Store: a.Store, Register: checks, Core: core, Rules: rules.set, Owners: &rules.owners, Alignment: o.Alignment, Registries: comuni, Cards: events, Notices: notices,
		Clock: o.Clock, Random: o.Random, Log: a.log, Settings: gateway.Settings{
			Lease: c.Workers.Lease, Poll: c.Workers.Poll, Workers: c.Workers.Count, RecheckAfter: c.Workers.RecheckAfter,
			RetryFirst: c.Workers.RetryFirst, RetryMost: c.Workers.RetryMost, Realign: c.Workers.Realign, FeedEvery: c.Workers.FeedEvery, AbandonAfter: c.Workers.AbandonAfter,
			AlignFollow: c.Consular.follow(), AlignOverdue: c.Consular.overdue(),
			Retention: c.Retention.retention(),
		},
	})
	if err != nil {
		return nil, err
	}
	err = a.Gateway.UseRules(ctx, rules.files, rules.approvals)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	if o.Roles == RoleWork {
		return a, nil
	}
	a.member, err = openFederation(c, o, a)
	if err != nil {
		return nil, err
	}
	return a, a.bind(ctx, c, o)
}

// bind opens the addresses and makes the web surface for them.
func (a *App) bind(ctx context.Context, c Config, o Options) error {
	var err error
	a.public, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	a.closers = append(a.closers, closeListener(a.public))
	a.url = c.BaseURL
	if strings.HasSuffix(a.url, ":0") {
		a.url = strings.TrimSuffix(a.url, "0") + strconv.Itoa(a.public.Addr().(*net.TCPAddr).Port)
	}
	if c.Core.EventsAddr != "" {
		tlsConfig, err := eventsTLS(c)
		if err != nil {
			return err
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Core.EventsAddr)
		if err != nil {
			return fmt.Errorf("listen for the core's events: %w", err)
		}
		a.events = tls.NewListener(l, tlsConfig)
		a.eventsURL = "https://" + l.Addr().String()
		a.closers = append(a.closers, closeListener(a.events))
	}
	err = a.openLogins(c, o)
	if err != nil {
		return err
	}
	cards, err := a.listenForCards(ctx, c)
	if err != nil {
		return err
	}
	a.web, err = web.New(web.Options{
		Gateway: a.Gateway, Sessions: a.Store.Sessions(), Book: a.Store, Clients: clients{a.Store}, Clock: o.Clock.Now, Log: a.log,
		BaseURL: a.url, Environment: c.Environment, Demo: o.Demo, Version: o.Version, Limits: c.Limits.limits(o.Limits), Federation: a.member, Citizens: a.citizens, Operators: a.operators, Cards: cards,
	})
	if err != nil {
		return fmt.Errorf("web: %w", err)
	}
	return nil
}

func closeListener(l net.Listener) func() error {
	return func() error {
		err := l.Close()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		return err
	}
}

// eventsTLS is the mutual TLS of the core's way back.
func eventsTLS(c Config) (*tls.Config, error) {
	cfg, err := outbound.LoadTLS(outbound.TLSFiles{Cert: c.file(c.Core.CertFile), Key: c.file(c.Core.CertKey)})
	if err != nil {
		return nil, fmt.Errorf("core.cert_file: %w", err)
	}
	pem, err := os.ReadFile(c.file(c.Core.CAFile))
	if err != nil {
		return nil, fmt.Errorf("core.ca_file: %w", err)
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("core.ca_file: no certificate in it")
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	return cfg, nil
}

// URL answers how people reach the gateway; empty for a replica that only works.
func (a *App) URL() string { return a.url }

// EventsURL answers where the core may push events; empty without a push.
func (a *App) EventsURL() string { return a.eventsURL }

// Handler answers the public surface, for tests that need no socket.
func (a *App) Handler() http.Handler { return a.web.Handler() }

// Run does what the replica's roles say, by default it serves and works, until
// ctx ends. Then it drains: no new connections, open requests and worker steps
// finish, at most 15 seconds.
func (a *App) Run(ctx context.Context) error {
	if a.roles == RoleWeb {
		return a.Serve(ctx)
	}
	return a.run(ctx, func(ctx context.Context) error {
		var wg sync.WaitGroup
		wg.Go(func() { a.Store.Listen(ctx, a.Gateway.Wake) })
		err := a.Gateway.Run(ctx)
		wg.Wait()
		return err
	})
}

// Serve serves without working: requests are acknowledged and wait for workers
// of another run.
func (a *App) Serve(ctx context.Context) error {
	return a.run(ctx, func(ctx context.Context) error {
		a.Gateway.WatchRules(ctx)
		return nil
	})
}

func (a *App) run(ctx context.Context, work func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var servers []*http.Server
	var listeners []net.Listener
	if a.public != nil {
		servers = append(servers, a.server(a.web.Handler()))
		listeners = append(listeners, a.public)
	}
	if a.cards != nil {
		servers = append(servers, a.server(a.web.CardHandler()))
		listeners = append(listeners, a.cards)
	}
	if a.events != nil {
		servers = append(servers, a.server(a.web.CoreHandler()))
		listeners = append(listeners, a.events)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(servers)+1)
	for i := range servers {
		wg.Go(func() {
			err := servers[i].Serve(listeners[i])
			if !errors.Is(err, http.ErrServerClosed) {
				errs[i] = fmt.Errorf("serve: %w", err)
				cancel()
			}
		})
	}
	wg.Go(func() { errs[len(servers)] = work(ctx) })
	if a.member != nil {
		wg.Go(func() { a.keepLogins(ctx, a.clock.After) }) // where logins are served
	}
	<-ctx.Done()
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer stop()
	for _, s := range servers {
		errs = append(errs, s.Shutdown(drain))
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (a *App) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 40 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
}

// Close gives everything back. It is safe to call after Run.
func (a *App) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	return errors.Join(errs...)
}

// NewLog makes the log the configuration asks for.
func NewLog(c LogConfig, w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if c.Level != "" {
		_ = level.UnmarshalText([]byte(c.Level)) // Check has read it
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// registerClients brings the configured machine clients into the database: the
// file is the truth of who may call.
func (a *App) registerClients(ctx context.Context, c Config) error {
	for i, cl := range c.Clients {
		at := fmt.Sprintf("clients[%d]", i)
		jwks, err := os.ReadFile(c.file(cl.JWKSFile))
		if err != nil {
			return &FieldError{at + ".jwks_file", err.Error()}
		}
		_, err = jose.ParseKeySet(jwks)
		if err != nil {
			return &FieldError{at + ".jwks_file", err.Error()}
		}
		office, _ := gateway.ParseOffice(cl.Office) // Check has read it
		err = a.Store.PutClient(ctx, store.Client{ID: cl.ID, Office: office, JWKS: jwks, Revoked: cl.Revoked})
		if err != nil {
			return fmt.Errorf("register client %s: %w", cl.ID, err)
		}
	}
	return nil
}

// clients shows the store's machine clients to the web surface.
type clients struct{ store *store.Store }

func (c clients) Client(ctx context.Context, id string) (web.Client, error) {
	found, err := c.store.Client(ctx, id)
	if err != nil {
		return web.Client{}, err
	}
	return web.Client{ID: found.ID, Office: found.Office, JWKS: found.JWKS, Revoked: found.Revoked}, nil
}

// newRegister makes the client of ANPR.
func (a *App) newRegister(ctx context.Context, c Config, o Options) (*anpr.Client, error) {
	key, next, err := registerKeys(c)
	if err != nil {
		return nil, err
	}
	// One way out for the voucher, one per service: a breaker each. Two tries
	// only: failed calls count against the register's quota (§1.8).
	out := func(peer string, deadline time.Duration) (*outbound.Client, error) {
		way := c.Register.Peer
		if deadline > 0 {
			way.Deadline = deadline
		}
		client, err := newOutbound(c, way, peer, 2, o, a.log)
		if err != nil {
			return nil, fmt.Errorf("register: %w", err)
		}
		return client, nil
	}
	token, err := out("pdnd", 0)
	if err != nil {
		return nil, err
	}
	services := map[anpr.Service]anpr.ServiceConfig{}
	for name, s := range c.Register.Services {
		client, err := out("anpr-"+strings.ToLower(name), s.Deadline)
		if err != nil {
			return nil, err
		}
		services[anpr.Service(name)] = anpr.ServiceConfig{BaseURL: s.BaseURL, Audience: s.Audience, PurposeID: s.Purpose, Out: client, PerDay: s.PerDay}
	}
	client, err := anpr.NewClient(anpr.ClientConfig{
		ClientID: c.Register.ClientID, Key: key, NextKey: next, TokenURL: c.Register.TokenURL, TokenAudience: c.Register.TokenAudience, Token: token,
		Services: services, OperationIDs: growingIDs{a.Store, o.Clock, pdndSeries}, Quota: a.Store.Quota(), StrictOrder: c.Register.StrictOrder,
		PostServes: postServes, Clock: o.Clock.Now, Rand: o.Random, Logger: a.log,
	})
	if err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	// What the tracing still has to know is written before the store closes.
	a.closers = append(a.closers, func() error { return client.Flush(context.WithoutCancel(ctx)) })
	return client, nil
}

// registerKeys reads our key at PDND and, in a rotation, the second one.
func registerKeys(c Config) (key, next jose.Key, err error) {
	key, err = jose.LoadKey(c.file(c.Register.KeyFile), jose.RS256)
	if err != nil {
		return key, next, &FieldError{"register.key_file", err.Error()}
	}
	if c.Register.NextKeyFile != "" {
		next, err = jose.LoadKey(c.file(c.Register.NextKeyFile), jose.RS256)
		if err != nil {
			return key, next, &FieldError{"register.next_key_file", err.Error()}
		}
	}
	return key, next, nil
}

// RegisterKeys answers the public half of our keys at PDND as a key set: what is
// uploaded there, the second key of a rotation included. Never a private member.
func RegisterKeys(c Config) ([]byte, error) {
	key, next, err := registerKeys(c)
	if err != nil {
		return nil, err
	}
	set := []jose.PublicKey{key.Public()}
	if !next.IsZero() {
		set = append(set, next.Public())
	}
	return jose.NewKeySet(set...).MarshalJSON()
}

// postServes tells the register's client whether a post serves a state, from
// the consular network's own table.
func postServes(post, stateISTAT string) (serves, known bool) {
	state, ok := anpr.StateByISTAT(stateISTAT)
	if !ok {
		return false, false
	}
	p, ok := consulate.PostByCode(post)
	if !ok {
		return false, false
	}
	posts, _ := consulate.PostsServing(state.ISO2)
	if len(posts) == 0 {
		return false, false
	}
	for _, candidate := range posts {
		if candidate.Key == p.Key {
			return true, true
		}
	}
	return false, true
}

// newOutbound makes one way out with the house's bounds.
func newOutbound(c Config, p Peer, name string, tries int, o Options, log *slog.Logger) (*outbound.Client, error) {
	tlsConfig, err := outbound.LoadTLS(outbound.TLSFiles{CA: c.file(p.CAFile), Cert: c.file(p.CertFile), Key: c.file(p.CertKey)})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	deadline := p.Deadline
	if deadline <= 0 {
		deadline = 15 * time.Second
	}
	client, err := outbound.New(outbound.Config{
		Peer: name, Deadline: deadline, PerTry: deadline / 2, MaxBody: 2 << 20, Tries: tries,
		BackoffMin: 100 * time.Millisecond, BackoffMax: 2 * time.Second,
		Breaker: outbound.Breaker{Failures: 10, Cooldown: 5 * time.Second},
		Proxy:   p.Proxy, TLS: tlsConfig, Clock: o.Clock.Now, Rand: unit(o.Random), Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return client, nil
}

// unit makes jitter of a random source; it need not be secret.
func unit(random io.Reader) func() float64 {
	seed, err := rand.Int(random, big.NewInt(1<<62))
	if err != nil {
		seed = big.NewInt(time.Now().UnixNano())
	}
	r := mathrand.New(mathrand.NewPCG(seed.Uint64(), 0x9e3779b97f4a7c15)) //nolint:gosec // jitter only
	var mu sync.Mutex
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return r.Float64()
	}
}

var _ gateway.Core = (*core)(nil)

// newCore makes the client of the issuance core.
func newCore(c Config, o Options, log *slog.Logger) (*core, error) {
	key, err := jose.LoadKey(c.file(c.Core.KeyFile), jose.ES256)
	if err != nil {
		return nil, &FieldError{"core.key_file", err.Error()}
	}
	raw, err := os.ReadFile(c.file(c.Core.JWKSFile))
	if err != nil {
		return nil, &FieldError{"core.jwks_file", err.Error()}
	}
	keys, err := jose.ParseKeySet(raw)
	if err != nil {
		return nil, &FieldError{"core.jwks_file", err.Error()}
	}
	out, err := newOutbound(c, c.Core.Peer, "core", 3, o, log)
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	client, err := issuance.New(issuance.Config{
		BaseURL: c.Core.URL, ClientID: c.Core.ClientID, CoreID: c.Core.ID, Key: key, CoreKeys: keys,
		Out: out, Clock: o.Clock.Now, Rand: o.Random,
	})
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	return &core{client}, nil
}
