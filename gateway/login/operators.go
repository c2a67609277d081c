package login

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"airegw/gateway"
	"airegw/gateway/fault"
	"airegw/gateway/federation"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

// OperatorProvider is the OpenID Provider of one administration, with what it
// may say of whom.
type OperatorProvider struct {
	// Name is shown where a person chooses, and logged.
	Name     string
	Issuer   string // for discovery, byte for byte as it calls itself
	ClientID string
	// Key signs private_key_jwt assertions; zero: Secret is sent in the form.
	Key    jose.Key
	Secret string
	// Offices it may speak for, all of them; a person chooses an office and the
	// provider follows from it, never from an e-mail domain.
	Offices []gateway.Office
	// Roles it may give: its word for one of ours. No other word is understood.
	Roles map[string]gateway.Role
	// Claims names the ID Token's claims; empty members have defaults.
	Claims OperatorClaims
	// Scopes beside openid.
	Scopes []string
	Client *outbound.Client
}

// OperatorClaims names claims. Defaults: office, role, station, name (else
// given_name and family_name). The office is an ISTAT code of a comune, the code
// or key of a post: whatever gateway.ParseOffice reads.
type OperatorClaims struct{ Office, Role, Station, Name string }

// OperatorsConfig of an Operators.
type OperatorsConfig struct {
	Providers   []OperatorProvider
	RedirectURI string
	Store       Store
	Cards       Cards // optional: the operators' smart cards
	Clock       func() time.Time
	Random      io.Reader
	Logger      *slog.Logger // optional

	Lifetime time.Duration // optional: of an attempt; 0 = 15 minutes
	Skew     time.Duration // optional; 0 = 1 minute
}

// Operators logs operators in. Safe for concurrent use.
type Operators struct {
	cfg    OperatorsConfig
	flow   flow
	office map[gateway.Office]*operatorProvider
	named  map[string]*operatorProvider
	issuer map[string]*operatorProvider
}

// IdleTime is how long an operator's session may rest before it ends, OwnTime
// how long it may last: a counter is a public place.
const (
	IdleTime = 15 * time.Minute
	OwnTime  = 8 * time.Hour
)

// NewOperators checks the configuration: names, issuers and offices are given
// once each. Nothing is fetched: a provider that is down must not keep the
// gateway from starting.
func NewOperators(cfg OperatorsConfig) (*Operators, error) {
	bad := func(field, why string) (*Operators, error) {
		return nil, refuse(CodeInternal, field, errors.New(why))
	}
	if len(cfg.Providers) == 0 || cfg.RedirectURI == "" || cfg.Store == nil || cfg.Clock == nil || cfg.Random == nil {
		return bad("config", "incomplete")
	}
	if cfg.Lifetime <= 0 {
		cfg.Lifetime = 15 * time.Minute
	}
	if cfg.Skew <= 0 {
		cfg.Skew = time.Minute
	}
	o := &Operators{
		cfg: cfg, office: map[gateway.Office]*operatorProvider{}, named: map[string]*operatorProvider{}, issuer: map[string]*operatorProvider{},
		flow: flow{
			door: DoorOperator, store: cfg.Store, clock: cfg.Clock, random: cfg.Random, logger: cfg.Logger,
			lifetime: cfg.Lifetime, skew: cfg.Skew,
		},
	}
	for _, p := range cfg.Providers {
		switch {
		case p.Name == "" || p.Issuer == "" || p.ClientID == "" || p.Client == nil:
			return bad(p.Name, "a provider needs name, issuer, client id and client")
		case o.named[p.Name] != nil || o.issuer[p.Issuer] != nil:
			return bad(p.Name, "a provider given twice")
		case p.Key.IsZero() == (p.Secret == ""):
			return bad(p.Name, "a provider needs a key or a secret, one of them")
		case len(p.Roles) == 0:
			return bad(p.Name, "a provider that gives no role")
		}
		known := &operatorProvider{OperatorProvider: p}
		o.named[p.Name], o.issuer[p.Issuer] = known, known
		for _, office := range p.Offices {
			if office.IsZero() || o.office[office] != nil {
				return bad(p.Name, "an office without a name, or of two providers: "+office.ID())
			}
			o.office[office] = known
		}
	}
	return o, nil
}

// Offices lists the offices somebody can log in for, by id.
func (o *Operators) Offices() []gateway.Office {
	return slices.SortedFunc(maps.Keys(o.office), func(a, b gateway.Office) int { return strings.Compare(a.ID(), b.ID()) })
}

// Ministries lists the names of providers that give a role without an office,
// for OperatorStart.Provider.
func (o *Operators) Ministries() []string {
	var out []string
	for name, p := range o.named {
		if p.ministry() {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// OperatorStart says for which office somebody logs in, or, for the ministries'
// owners of the rules, who have none, at which provider.
type OperatorStart struct {
	Office   gateway.Office
	Provider string // an OperatorProvider's Name; only without Office
	ReturnTo string
	Lang     string
	Binding  string // as Start.Binding
}

// OperatorIdentity is an operator who logged in.
type OperatorIdentity struct {
	ID        string // opaque and stable: of provider and subject
	Reference string
	Name      string // for the page's head
	Office    gateway.Office
	Role      gateway.Role
	Station   string
	Provider  string // its Name
	At        time.Time

	ReturnTo string
	Lang     string
}

// Actor is the operator as scopes and audit know them.
func (i OperatorIdentity) Actor() gateway.Actor {
	return gateway.Actor{Kind: gateway.ActorOperator, ID: i.ID, Office: i.Office, Role: i.Role, Station: i.Station}
}

// Begin sends an operator to the provider of the office. Errors:
// CodeOfficeUnknown, CodeDiscovery, CodeDiscoveryIssuer, CodeStart, CodeStore.
func (o *Operators) Begin(ctx context.Context, s OperatorStart) (Redirect, error) {
	t := trail{now: o.cfg.Clock}
	r, a, err := o.begin(ctx, s, &t)
	if err != nil {
		return Redirect{}, o.flow.failed(ctx, a, &t, err, gateway.Actor{Kind: gateway.ActorOperator, Office: s.Office})
	}
	return r, nil
}

func (o *Operators) begin(ctx context.Context, s OperatorStart, t *trail) (Redirect, Attempt, error) {
	none := Attempt{Secrets: AttemptSecrets{Lang: s.Lang}}
	returnTo, err := checkStart(s.Binding, s.ReturnTo, s.Lang)
	if err != nil {
		return Redirect{}, none, err
	}
	none.Secrets.ReturnTo = returnTo
	p := o.office[s.Office]
	if s.Office.IsZero() {
		if p = o.named[s.Provider]; p != nil && !p.ministry() {
			p = nil
		}
	}
	if p == nil {
		return Redirect{}, none, refuse(CodeOfficeUnknown, s.Office.ID(), nil)
	}
	found, err := p.discover(ctx, o.cfg.Clock())
	if err != nil {
		return Redirect{}, none, err
	}
	a, err := o.flow.attempt(AttemptSecrets{Issuer: p.Issuer, ReturnTo: returnTo, Lang: s.Lang, Office: s.Office.ID()}, s.Binding)
	if err != nil {
		return Redirect{}, none, err
	}
	config := oauth2.Config{
		ClientID: p.ClientID, RedirectURL: o.cfg.RedirectURI, Endpoint: found.provider.Endpoint(),
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(a.Secrets.Verifier), oidc.Nonce(a.Secrets.Nonce)}
	if s.Lang != "" {
		options = append(options, oauth2.SetAuthURLParam("ui_locales", s.Lang))
	}
	address := config.AuthCodeURL(a.State, options...)
	t.add(RecordAuthenticationRequest, sent{URL: address})
	if err := o.flow.begin(ctx, a, t); err != nil {
		return Redirect{}, a, err
	}
	return Redirect{URL: address, Reference: a.Reference, State: a.State, ExpiresAt: a.ExpiresAt}, a, nil
}

// Finish judges the provider's answer, as Citizens.Finish. A provider that
// speaks for an office or role it may not is refused and audited.
func (o *Operators) Finish(ctx context.Context, params url.Values, binding string) (OperatorIdentity, error) {
	t := trail{now: o.cfg.Clock}
	t.add(RecordAuthenticationResponse, sent{Form: hashed(params)})
	a, err := o.flow.take(ctx, params, binding)
	actor := gateway.Actor{Kind: gateway.ActorOperator, Office: gateway.OfficeFromID(a.Secrets.Office)}
	if err != nil {
		return OperatorIdentity{}, o.flow.failed(ctx, a, &t, err, actor)
	}
	who, err := o.finish(ctx, a, params, &t, &actor)
	if err != nil {
		return OperatorIdentity{}, o.flow.failed(ctx, a, &t, err, actor)
	}
	o.flow.log(ctx, slog.LevelInfo, "login", "door", string(DoorOperator), "reference", a.Reference,
		"provider", who.Provider, "office", who.Office.ID(), "role", string(who.Role))
	return who, nil
}

func (o *Operators) finish(ctx context.Context, a Attempt, params url.Values, t *trail, actor *gateway.Actor) (OperatorIdentity, error) {
	p := o.issuer[a.Secrets.Issuer]
	if p == nil {
		return OperatorIdentity{}, refuse(CodeAttemptExpired, "provider", nil)
	}
	now := o.cfg.Clock()
	found, err := p.discover(ctx, now)
	if err != nil {
		return OperatorIdentity{}, err
	}
	code, err := o.flow.code(a, params, found.issuerParameter)
	if err != nil {
		return OperatorIdentity{}, err
	}
	endpoint := found.provider.Endpoint().TokenURL
	auth := url.Values{"client_secret": {p.Secret}}
	if !p.Key.IsZero() {
		id, err := o.flow.id()
		if err != nil {
			return OperatorIdentity{}, err
		}
		signed, err := assertionFor(p.ClientID, endpoint, p.Key, id, now)
		if err != nil {
			return OperatorIdentity{}, err
		}
		auth = url.Values{"client_assertion_type": {assertionType}, "client_assertion": {signed}}
	}
	tokens, err := redeem(ctx, redemption{
		client: p.Client, clientID: p.ClientID, endpoint: endpoint, redirect: o.cfg.RedirectURI,
		code: code, verifier: a.Secrets.Verifier, auth: auth, authHidden: p.Key.IsZero(),
	}, t)
	if err != nil {
		return OperatorIdentity{}, err
	}
	token, err := verifyIDToken(ctx, tokens.ID, idTokenWant{
		issuer: p.Issuer, clientID: p.ClientID, algs: found.algs, keys: found.keys,
		nonce: a.Secrets.Nonce, now: now, skew: o.cfg.Skew, accessToken: tokens.Access, code: code,
	})
	if err != nil {
		return OperatorIdentity{}, err
	}
	who := OperatorIdentity{
		ID: opaque("op:", p.Issuer, token.Subject), Reference: a.Reference, Provider: p.Name, At: now.UTC(),
		ReturnTo: a.Secrets.ReturnTo, Lang: a.Secrets.Lang,
	}
	actor.ID = who.ID
	if err := p.judge(&who, token.claims, gateway.OfficeFromID(a.Secrets.Office)); err != nil {
		return OperatorIdentity{}, err
	}
	*actor = who.Actor()
	_, revoked, err := o.cfg.Store.Revoked(ctx, "operator", who.ID)
	if err != nil {
		return OperatorIdentity{}, refuse(CodeStore, "", err)
	}
	if revoked && !fault.Mutant("login.operator-revoked") {
		return OperatorIdentity{}, refuse(CodeOperatorRevoked, "", nil)
	}
	end := trail{now: o.cfg.Clock, records: slices.Clone(t.records)}
	end.add(RecordOutcome, outcome{Who: who.ID})
	c := Completed{
		Reference: a.Reference, OnceUntil: token.ExpiresAt.Add(o.cfg.Skew), Records: end.records,
		Audit: []gateway.AuditEntry{{
			At: now.UTC(), Actor: who.Actor(), Act: "login", Subject: a.Reference,
			Payload: map[string]string{"door": string(DoorOperator), "provider": p.Name},
		}},
	}
	if token.ID != "" {
		c.Once = []string{p.Issuer + "\n" + token.ID}
	}
	if err := o.flow.complete(ctx, c); err != nil {
		return OperatorIdentity{}, err
	}
	return who, nil
}

// operatorProvider is a provider with what its discovery document said.
type operatorProvider struct {
	OperatorProvider

	mu    sync.Mutex
	found *discovered
}

type discovered struct {
	provider        *oidc.Provider
	keys            oidc.KeySet
	algs            []jose.Algorithm
	issuerParameter bool // it promises iss in its answers (RFC 9207)
	until           time.Time
}

// discoveryLife is how long a discovery document is believed; keys are fetched
// again whenever a token names an unknown one.
const discoveryLife = 15 * time.Minute

// discover reads the provider's document, or gives what is at hand.
func (p *operatorProvider) discover(ctx context.Context, now time.Time) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil && now.Before(p.found.until) && p.found.until.Sub(now) <= discoveryLife {
		return p.found, nil
	}
	web := (&wire{client: p.Client, operation: "discovery"}).httpClient()
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, web), p.Issuer)
	var mismatch *oidc.IssuerMismatchError
	switch {
	case errors.As(err, &mismatch):
		return nil, refuse(CodeDiscoveryIssuer, "issuer", errDiffers)
	case err != nil:
		return nil, refuse(CodeDiscovery, "", outboundOnly(err))
	}
	var document struct {
		KeysURI         string   `json:"jwks_uri"`
		Algorithms      []string `json:"id_token_signing_alg_values_supported"`
		Methods         []string `json:"code_challenge_methods_supported"`
		IssuerParameter bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := provider.Claims(&document); err != nil {
		return nil, refuse(CodeDiscoveryIssuer, "document", nil)
	}
	f := &discovered{provider: provider, issuerParameter: document.IssuerParameter, until: now.Add(discoveryLife)}
	for _, alg := range federation.Algorithms {
		if slices.Contains(document.Algorithms, string(alg)) {
			f.algs = append(f.algs, alg)
		}
	}
	switch {
	case len(f.algs) == 0:
		return nil, refuse(CodeDiscoveryIssuer, "id_token_signing_alg_values_supported", nil)
	case len(document.Methods) > 0 && !slices.Contains(document.Methods, "S256"):
		return nil, refuse(CodeDiscoveryIssuer, "code_challenge_methods_supported", nil)
	case document.KeysURI == "" || provider.Endpoint().AuthURL == "" || provider.Endpoint().TokenURL == "":
		return nil, refuse(CodeDiscoveryIssuer, "endpoints", nil)
	}
	// The key set outlives this call: its requests have the client's deadline.
	keys := (&wire{client: p.Client, operation: "keys"}).httpClient()
	f.keys = &remoteKeys{set: oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), keys), document.KeysURI)}
	p.found = f
	return f, nil
}

// remoteKeys is go-oidc's set, so that a mutant can take its place.
type remoteKeys struct{ set oidc.KeySet }

// VerifySignature implements oidc.KeySet.
func (k *remoteKeys) VerifySignature(ctx context.Context, compact string) ([]byte, error) {
	payload, err := k.set.VerifySignature(ctx, compact)
	if fault.Mutant("login.operator-signature") && err != nil {
		var raw json.RawMessage
		_, _, _, err = jose.Peek(compact, &raw)
		payload = raw
	}
	return payload, err
}

// ministry tells whether the provider gives a role without an office.
func (p *operatorProvider) ministry() bool {
	for _, role := range p.Roles {
		if _, owner := gateway.OwnerOf(role); owner {
			return true
		}
	}
	return false
}

// judge reads office, role, station and name from the claims and holds them
// against what the provider may say. The office must be the one the person chose,
// too: nobody is to work for another office than the page said.
func (p *operatorProvider) judge(who *OperatorIdentity, payload []byte, asked gateway.Office) error {
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(payload, &claims); err != nil {
		return refuse(CodeOperatorClaim, "", nil)
	}
	text := func(set, name string) (string, error) {
		if set != "" {
			name = set
		}
		raw, ok := claims[name]
		if !ok {
			return "", nil
		}
		var s string
		if err := json.Unmarshal(raw, &s); err != nil || len(s) > 200 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
			return "", refuse(CodeOperatorClaim, name, nil)
		}
		return s, nil
	}
	var office, role, given, family string
	for _, c := range []struct {
		set, name string
		dst       *string
	}{
		{p.Claims.Office, "office", &office},
		{p.Claims.Role, "role", &role},
		{p.Claims.Station, "station", &who.Station},
		{p.Claims.Name, "name", &who.Name},
		{"", "given_name", &given},
		{"", "family_name", &family},
	} {
		var err error
		if *c.dst, err = text(c.set, c.name); err != nil {
			return err
		}
	}
	if who.Name == "" {
		who.Name = strings.TrimSpace(given + " " + family)
	}
	if role == "" {
		return refuse(CodeOperatorClaim, "role", errMissing)
	}
	known := false
	if who.Role, known = p.Roles[role]; !known {
		if !fault.Mutant("login.operator-role") {
			return refuse(CodeOperatorRole, printable(role), nil)
		}
		who.Role = gateway.RoleClerk
	}
	if _, owner := gateway.OwnerOf(who.Role); owner {
		if office != "" || !asked.IsZero() {
			return refuse(CodeOperatorOffice, "office", errors.New("an owner of the rules has none"))
		}
		return nil
	}
	if office == "" {
		return refuse(CodeOperatorClaim, "office", errMissing)
	}
	var ok bool
	if who.Office, ok = gateway.ParseOffice(office); !ok {
		return refuse(CodeOperatorOffice, printable(office), errors.New("no office of ours"))
	}
	if !slices.Contains(p.Offices, who.Office) && !fault.Mutant("login.operator-office") {
		return refuse(CodeOperatorOffice, who.Office.ID(), errors.New("the provider may not speak for it"))
	}
	if who.Office != asked && !fault.Mutant("login.operator-asked") {
		return refuse(CodeOperatorAsked, who.Office.ID(), nil)
	}
	return nil
}
