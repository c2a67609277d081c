package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"airegw/gateway"
	"airegw/gateway/federation"
	"airegw/gateway/jose"
	"airegw/gateway/login"
	"airegw/gateway/outbound"
	"airegw/gateway/web"
)

// OperatorsConfig is the OpenID Provider of one administration, with what it may
// say of whom. An operator chooses an office; the provider follows from it.
type OperatorsConfig struct {
	Name     string `yaml:"name"`      // needed
	Issuer   string `yaml:"issuer"`    // for discovery, byte for byte as it calls itself; needed
	ClientID string `yaml:"client_id"` // needed
	// KeyFile signs private_key_jwt; SecretFile holds a client secret on its first
	// line. One of them is needed.
	KeyFile    string `yaml:"key_file"`
	KeyAlg     string `yaml:"key_alg"` // ES256 (default) or RS256
	SecretFile string `yaml:"secret_file"`
	// Offices it may speak for, as gateway.ParseOffice reads them; none for a
	// ministry whose people own the rules and nothing else.
	Offices []string `yaml:"offices"`
	// Roles it may give: its word for one of clerk, referent, owner_interior,
	// owner_maeci. Needed.
	Roles  map[string]string    `yaml:"roles"`
	Claims OperatorClaimsConfig `yaml:"claims"`
	Scopes []string             `yaml:"scopes"` // beside openid
	Peer   `yaml:",inline"`
}

// OperatorClaimsConfig names the ID Token's claims; empty: office, role, station,
// name.
type OperatorClaimsConfig struct {
	Office  string `yaml:"office"`
	Role    string `yaml:"role"`
	Station string `yaml:"station"`
	Name    string `yaml:"name"`
}

// CardsConfig is a listener of its own, at which the gateway itself ends TLS and
// asks for client certificates: a proxy's word about a certificate is not
// believed. It must be reached at the same host as the pages, since the session
// is the host's. Without Listen there is none.
type CardsConfig struct {
	Listen       string `yaml:"listen"`         // host:port
	BaseURL      string `yaml:"base_url"`       // how browsers reach it: https, same host as base_url
	CertFile     string `yaml:"cert_file"`      // our certificate
	KeyFile      string `yaml:"key_file"`       // and its key
	ClientCAFile string `yaml:"client_ca_file"` // the authority of the operators' cards
	Required     bool   `yaml:"required"`       // counter acts of people need a card
}

// checkCards answers what is wrong with the values of the section cards.
func (c *Config) checkCards(bad func(path, text string)) {
	if c.Cards.Listen == "" {
		if c.Cards != (CardsConfig{}) {
			bad("cards.listen", "is needed")
		}
		return
	}
	for _, m := range []struct{ path, value string }{
		{"base_url", c.Cards.BaseURL}, {"cert_file", c.Cards.CertFile}, {"key_file", c.Cards.KeyFile}, {"client_ca_file", c.Cards.ClientCAFile},
	} {
		if m.value == "" {
			bad("cards."+m.path, "is needed")
		}
	}
	pages, err := url.Parse(c.BaseURL)
	card, cardErr := url.Parse(c.Cards.BaseURL)
	if err == nil && cardErr == nil && c.Cards.BaseURL != "" && (card.Scheme != "https" || pages.Scheme != "https" || card.Hostname() != pages.Hostname()) {
		bad("cards.base_url", "is https at the host of base_url, which is https too: the session is the host's")
	}
	if len(c.Operators) == 0 {
		bad("cards.listen", "operators log in first: the section operators is missing")
	}
}

// listenForCards opens the card listener; nil without one.
func (a *App) listenForCards(ctx context.Context, c Config) (*web.Cards, error) {
	if c.Cards.Listen == "" {
		return nil, nil //nolint:nilnil // no section, no cards
	}
	cfg, err := outbound.LoadTLS(outbound.TLSFiles{Cert: c.file(c.Cards.CertFile), Key: c.file(c.Cards.KeyFile)})
	if err != nil {
		return nil, &FieldError{"cards.cert_file", err.Error()}
	}
	authority, err := os.ReadFile(c.file(c.Cards.ClientCAFile))
	if err != nil {
		return nil, &FieldError{"cards.client_ca_file", err.Error()}
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(authority) {
		return nil, &FieldError{"cards.client_ca_file", "no certificate in it"}
	}
	// Without a card the handshake goes on, and a page says what is missing.
	cfg.ClientAuth = tls.VerifyClientCertIfGiven
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Cards.Listen)
	if err != nil {
		return nil, &FieldError{"cards.listen", err.Error()}
	}
	a.cards = tls.NewListener(l, cfg)
	a.closers = append(a.closers, closeListener(a.cards))
	return &web.Cards{BaseURL: c.Cards.BaseURL, Needed: c.Cards.Required}, nil
}

// operatorRoles are the roles a provider may give.
var operatorRoles = []gateway.Role{gateway.RoleClerk, gateway.RoleReferent, gateway.RoleOwnerInterior, gateway.RoleOwnerMAECI}

// checkOperators answers what is wrong with the values of the section operators.
func (c *Config) checkOperators(bad func(path, text string)) {
	speaks := map[string]string{}
	for i, p := range c.Operators {
		at := fmt.Sprintf("operators[%d]", i)
		for _, m := range []struct{ path, value string }{{"name", p.Name}, {"client_id", p.ClientID}} {
			if m.value == "" {
				bad(at+"."+m.path, "is needed")
			}
		}
		c.checkURL(at+".issuer", strings.TrimSuffix(p.Issuer, "/"), bad)
		if (p.KeyFile == "") == (p.SecretFile == "") {
			bad(at+".key_file", "is needed, or secret_file: one of them")
		}
		if p.KeyAlg != "" && p.KeyAlg != string(jose.ES256) && p.KeyAlg != string(jose.RS256) {
			bad(at+".key_alg", "ES256 or RS256")
		}
		if len(p.Roles) == 0 {
			bad(at+".roles", "is needed")
		}
		for word, role := range p.Roles {
			if !slices.Contains(operatorRoles, gateway.Role(role)) {
				bad(at+".roles."+word, "no role of ours: "+role)
			}
		}
		for j, text := range p.Offices {
			office, ok := gateway.ParseOffice(text)
			switch other := speaks[office.ID()]; {
			case !ok:
				bad(fmt.Sprintf("%s.offices[%d]", at, j), "no comune and no post answers to "+text)
			case other != "":
				bad(fmt.Sprintf("%s.offices[%d]", at, j), other+" speaks for it already")
			default:
				speaks[office.ID()] = at
			}
		}
	}
}

// openLogins makes the ways in that the configuration knows. Nothing is fetched.
func (a *App) openLogins(c Config, o Options) error {
	if a.member != nil && a.member.Party != nil {
		redirect := strings.TrimSuffix(a.url, "/") + web.PathCitizenCallback
		if a.member.Party != a.member.Entity {
			redirect = a.member.Party.ID() + "/callback" // an aggregated body's own
		}
		var err error
		a.citizens, err = login.NewCitizens(login.CitizensConfig{
			Entity: a.member.Party, RedirectURI: redirect, Provider: a.member.Provider, Client: a.member.Protocol,
			Store: a.Store, Clock: o.Clock.Now, Random: o.Random, Logger: a.log,
		})
		if err != nil {
			return fmt.Errorf("federation: %w", err)
		}
	}
	if len(c.Operators) == 0 {
		return nil
	}
	cfg := login.OperatorsConfig{
		RedirectURI: strings.TrimSuffix(a.url, "/") + web.PathOperatorCallback, Store: a.Store, Cards: a.Store,
		Clock: o.Clock.Now, Random: o.Random, Logger: a.log,
	}
	for i, p := range c.Operators {
		made, err := operatorProvider(c, o, a, i, p)
		if err != nil {
			return err
		}
		cfg.Providers = append(cfg.Providers, made)
	}
	var err error
	a.operators, err = login.NewOperators(cfg)
	if err != nil {
		return &FieldError{"operators", err.Error()}
	}
	return nil
}

func operatorProvider(c Config, o Options, a *App, i int, p OperatorsConfig) (login.OperatorProvider, error) {
	at := fmt.Sprintf("operators[%d]", i)
	made := login.OperatorProvider{
		Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, Roles: map[string]gateway.Role{},
		Claims: login.OperatorClaims(p.Claims), Scopes: p.Scopes,
	}
	for word, role := range p.Roles {
		made.Roles[word] = gateway.Role(role)
	}
	for _, text := range p.Offices {
		office, _ := gateway.ParseOffice(text) // Check has read it
		made.Offices = append(made.Offices, office)
	}
	var err error
	if p.KeyFile != "" {
		alg := jose.ES256
		if p.KeyAlg != "" {
			alg = jose.Algorithm(p.KeyAlg)
		}
		made.Key, err = jose.LoadKey(c.file(p.KeyFile), alg)
		if err != nil {
			return made, &FieldError{at + ".key_file", err.Error()}
		}
	} else {
		raw, err := os.ReadFile(c.file(p.SecretFile))
		if err != nil {
			return made, &FieldError{at + ".secret_file", err.Error()}
		}
		made.Secret, _, _ = strings.Cut(strings.TrimSpace(string(raw)), "\n")
		if made.Secret == "" {
			return made, &FieldError{at + ".secret_file", "the file is empty"}
		}
	}
	made.Client, err = newOutbound(c, p.Peer, "operators "+p.Name, 2, o, a.log)
	if err != nil {
		return made, &FieldError{at, err.Error()}
	}
	return made, nil
}

// Member is our membership in the CIE federation; nil without the section.
func (a *App) Member() *federation.Member { return a.member }

// sweepEvery is how often tokens whose revocation did not get through are tried
// again.
const sweepEvery = time.Minute

// keepLogins keeps the provider's chain and our trust marks fresh and revokes
// what could not be revoked, until ctx ends.
func (a *App) keepLogins(ctx context.Context, after func(time.Duration) <-chan time.Time) {
	var member sync.WaitGroup
	defer member.Wait()
	member.Go(func() { a.member.Run(ctx) })
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-after(sweepEvery):
		}
		if a.citizens == nil {
			continue // an aggregator at which nobody logs in
		}
		err := a.citizens.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			a.log.Warn("tokens of ended logins are not revoked yet", "err", err)
		}
	}
}
