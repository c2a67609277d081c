package federation

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"airegw/gateway/outbound"
)

// Settings is the configuration of our membership, a section of the gateway's
// file. Zero values of what is not marked needed work.
type Settings struct {
	ID             string   `yaml:"id"`              // entity id and client_id, byte for byte as registered; needed
	AuthorityHints []string `yaml:"authority_hints"` // superiors; empty: the anchor
	Organization   string   `yaml:"organization"`    // needed
	ClientName     string   `yaml:"client_name"`     // empty: organization
	HomepageURI    string   `yaml:"homepage_uri"`    // needed
	PolicyURI      string   `yaml:"policy_uri"`      // needed
	LogoURI        string   `yaml:"logo_uri"`
	Contacts       []string `yaml:"contacts"`      // needed
	RedirectURIs   []string `yaml:"redirect_uris"` // needed
	Refresh        bool     `yaml:"refresh"`       // register the refresh_token grant too
	Keys           string   `yaml:"keys"`          // folder of the three key files; needed
	// FormerKeys are folders of keys before, any of the three files each. A rolled
	// key is still published, and what is encrypted to it still opened, until every
	// chain that holds it has ended; then the folder leaves this list.
	FormerKeys []string      `yaml:"former_keys"`
	Lifetime   time.Duration `yaml:"lifetime"` // of our configuration; 0 = one hour

	Anchor     string `yaml:"anchor"`      // Trust Anchor's entity id; needed
	AnchorKeys string `yaml:"anchor_keys"` // JWKS file of its pinned federation keys; needed
	Provider   string `yaml:"provider"`    // the OpenID Provider's entity id; needed
	// RequireMark demands a valid, active trust mark of the provider. D makes
	// marks compulsory for everybody, but its own sample provider has none
	// (entra-con-cie §2.4 step 6): hence a switch.
	RequireMark bool          `yaml:"require_mark"`
	Budget      time.Duration `yaml:"budget"` // of one resolution; 0 = 30 s
	Proxy       string        `yaml:"proxy"`
	CAFile      string        `yaml:"ca_file"` // instead of the system's authorities
	// PrivateAddresses allows federation and provider to lie in private networks,
	// for a trial inside one. Addresses come out of others' documents: without it
	// none may lead inward, and none written out as a number ever does. A federation on
	// loopback needs no permission.
	PrivateAddresses bool `yaml:"private_addresses"`

	// Aggregated makes us an aggregator of these bodies: see Directory. We are then
	// no relying party ourselves.
	Aggregated []AggregatedSettings `yaml:"aggregated,omitempty"`
	// LoginAs is the code of the full body whose client citizens log in as here;
	// empty, for an aggregator: nobody does.
	LoginAs string `yaml:"login_as,omitempty"`
}

// Options are what a Member gets beside its settings. Clock and Rand are
// required.
type Options struct {
	Clock  func() time.Time
	Rand   func() float64 // in [0,1), safe for concurrent use
	Logger *slog.Logger   // nil = no log
}

// Member is our membership at work: our entity, the provider's chain kept
// fresh, our marks renewed. Safe for concurrent use.
type Member struct {
	Entity   *Entity
	Resolver *Resolver
	Chain    *Keeper // of the provider
	// Protocol calls the provider's protocol endpoints, for login.
	Protocol *outbound.Client
	// Directory is over the bodies we speak for; nil: we are no aggregator.
	Directory *Directory
	// Party is the relying party that citizens log in through: our entity, or the
	// body that Settings.LoginAs names; nil for an aggregator without one.
	Party *Entity

	settings Settings
	options  Options
	client   *outbound.Client

	mu           sync.Mutex
	nextMarks    time.Time
	marksPlanned time.Time // when nextMarks was chosen
	markErr      error
}

// clockSkew is how far a federation peer's clock may be off. A chain is used
// only to its exact end all the same.
const clockSkew = 30 * time.Second

// Open reads keys and pins and makes the parts; nothing is fetched yet. Every
// error has CodeConfig, CodeKeyFile or CodeKeys.
func Open(s Settings, o Options) (*Member, error) {
	if o.Clock == nil || o.Rand == nil {
		return nil, refuse(CodeConfig, "clock", "clock and rand are required")
	}
	if len(s.AuthorityHints) == 0 {
		s.AuthorityHints = []string{s.Anchor}
	}
	if err := CheckEntityID(s.Provider); err != nil {
		return nil, refuse(CodeConfig, "provider", err.Error())
	}
	pins, err := os.ReadFile(s.AnchorKeys)
	if err != nil {
		return nil, &Error{Code: CodeConfig, Field: "anchor_keys", Err: err}
	}
	pinned, err := ReadAnchorKeys(pins)
	if err != nil {
		return nil, err
	}
	keys, err := LoadKeys(s.Keys)
	if err != nil {
		return nil, err
	}
	former, err := loadFormer(s.FormerKeys, keys)
	if err != nil {
		return nil, err
	}
	entity, err := NewEntity(EntityConfig{
		ID: s.ID, AuthorityHints: s.AuthorityHints, Organization: s.Organization, ClientName: s.ClientName,
		HomepageURI: s.HomepageURI, PolicyURI: s.PolicyURI, LogoURI: s.LogoURI, Contacts: s.Contacts,
		RedirectURIs: s.RedirectURIs, Refresh: s.Refresh, Keys: keys, Lifetime: s.Lifetime,
		FormerKeys: former.federation, FormerCoreSign: former.coreSign, FormerCoreEncrypt: former.coreEncrypt,
	})
	if err != nil {
		return nil, err
	}
	directory, err := openDirectory(s, entity)
	if err != nil {
		return nil, err
	}
	party, err := loginParty(s, entity, directory)
	if err != nil {
		return nil, err
	}
	tls, err := outbound.LoadTLS(outbound.TLSFiles{CA: s.CAFile})
	if err != nil {
		return nil, &Error{Code: CodeConfig, Field: "ca_file", Err: err}
	}
	if s.Budget == 0 {
		s.Budget = DefaultBudget
	}
	config := outbound.Config{
		Peer: "federation", Deadline: s.Budget, PerTry: min(12*time.Second, s.Budget), MaxBody: MaxStatement, Tries: 2,
		BackoffMin: 200 * time.Millisecond, BackoffMax: time.Second, PublicOnly: !s.PrivateAddresses && !isLoopback(s.Anchor),
		Proxy: s.Proxy, TLS: tls, Clock: o.Clock, Rand: o.Rand, Logger: o.Logger,
	}
	client, err := outbound.New(config)
	if err != nil {
		return nil, &Error{Code: CodeConfig, Field: "proxy", Err: err}
	}
	// A person waits for these calls.
	config.Peer, config.Deadline, config.PerTry = "cie", 15*time.Second, 8*time.Second
	protocol, err := outbound.New(config)
	if err != nil {
		client.Close()
		return nil, &Error{Code: CodeConfig, Field: "proxy", Err: err}
	}
	m := &Member{Entity: entity, Protocol: protocol, Directory: directory, Party: party, settings: s, options: o, client: client}
	if m.Resolver, err = NewResolver(ResolverConfig{Anchor: Anchor{ID: s.Anchor, Keys: pinned}, Client: client, Clock: o.Clock, Skew: clockSkew, Budget: s.Budget}); err != nil {
		m.Close()
		return nil, err
	}
	if m.Chain, err = NewKeeper(KeeperConfig{Resolve: m.resolveProvider, Clock: o.Clock, Rand: o.Rand, Logger: o.Logger}); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// loginParty answers through whom citizens log in.
func loginParty(s Settings, own *Entity, d *Directory) (*Entity, error) {
	switch {
	case s.LoginAs == "" && d == nil:
		return own, nil
	case s.LoginAs == "":
		return nil, nil //nolint:nilnil // an aggregator at which nobody logs in
	case d == nil:
		return nil, refuse(CodeConfig, "login_as", "names an aggregated body, and there is none")
	}
	e, err := d.Entity(AggregatedSettings{Kind: AggregationFull, Code: s.LoginAs}.id(s.ID))
	if err != nil {
		return nil, refuse(CodeConfig, "login_as", "no full body has this code")
	}
	return e, nil
}

// Close drops idle connections.
func (m *Member) Close() {
	m.client.Close()
	m.Protocol.Close()
}

func (m *Member) resolveProvider(ctx context.Context) (*Chain, error) {
	c, err := m.Resolver.Resolve(ctx, m.settings.Provider, Want{
		Type: TypeProvider, Listed: true, Mark: m.settings.RequireMark, MarkStatus: true,
	})
	if err != nil {
		return nil, err
	}
	// A chain we could not log in with must not replace one we can.
	if _, err := c.Provider(m.Entity.Suite()); err != nil {
		return nil, err
	}
	return c, nil
}

// Provider gives the provider to log in with, and the chain that vouches for
// it, valid at this instant; *Unavailable otherwise. The button "Entra con CIE"
// is shown only while this holds (D trust_negotiation).
func (m *Member) Provider() (*Provider, *Chain, error) {
	c, err := m.Chain.Current()
	if err != nil {
		return nil, nil, err
	}
	p, err := c.Provider(m.Entity.Suite())
	return p, c, err
}

// Configuration is what web serves at ConfigurationURL of an entity of ours:
// our own, or a full body's.
func (m *Member) Configuration(e *Entity) (Answer, error) {
	body, err := e.Configuration(m.options.Clock())
	if err != nil {
		return Answer{}, err
	}
	return Answer{Status: 200, ContentType: MediaTypeStatement, Body: body}, nil
}

// Resolve answers the /resolve of an entity of ours with what is at hand: the
// provider's chain.
func (m *Member) Resolve(e *Entity, query map[string][]string) Answer {
	return e.ResolveAnswer(query, func(sub string) (*Chain, error) {
		if sub != m.settings.Provider {
			return nil, refuse(CodeNotFound, "", "not at hand")
		}
		return m.Chain.Current()
	}, m.options.Clock())
}

// StepMarks renews our marks when it is time (at start, then daily; after a
// failure within minutes) and answers when to step again.
func (m *Member) StepMarks(ctx context.Context) time.Time {
	m.mu.Lock()
	due, planned := m.nextMarks, m.marksPlanned
	m.mu.Unlock()
	if notYet(m.options.Clock(), planned, due) {
		return due
	}
	standing, err := m.Entity.RenewMarks(ctx, m.Resolver)
	if err == nil {
		err = standing.KeysDiffer
	}
	if bodies := m.renewAggregated(); err == nil {
		err = bodies
	} else if bodies != nil {
		err = errors.Join(err, bodies)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.markErr = err
	wait := 24 * time.Hour
	if err != nil {
		wait = 5*time.Minute + time.Duration(m.options.Rand()*float64(5*time.Minute))
		if m.options.Logger != nil {
			m.options.Logger.Warn("our standing in the federation is not as it should be", "code", string(CodeOf(err)), "err", err.Error())
		}
	}
	m.marksPlanned = m.options.Clock()
	m.nextMarks = m.marksPlanned.Add(wait)
	return m.nextMarks
}

// MarkError tells why the last renewal of our marks failed, or nil.
func (m *Member) MarkError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.markErr
}

// Run keeps chain and marks fresh until ctx ends.
func (m *Member) Run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { m.Chain.Run(ctx) })
	both.Go(func() {
		for ctx.Err() == nil {
			wait := max(m.StepMarks(ctx).Sub(m.options.Clock()), time.Second)
			timer := time.NewTimer(min(wait, 10*time.Minute))
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	})
	both.Wait()
}
