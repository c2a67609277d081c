package federation

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"airegw/gateway/jose"
)

// EntityConfig is one relying party of ours as it is onboarded: nothing of it is
// in the code. See entra-con-cie §1.
type EntityConfig struct {
	// ID is the entity identifier and client_id, byte for byte as registered.
	ID string
	// AuthorityHints are our superiors: the anchor, or the aggregator. Never the
	// provider.
	AuthorityHints []string
	// Organization is the body's name; ClientName what the provider shows to
	// citizens, "" = Organization.
	Organization, ClientName string
	HomepageURI, PolicyURI   string
	LogoURI                  string   // SVG; "" leaves it out
	Contacts                 []string // the portal's choice: certified or ordinary institutional mail
	RedirectURIs             []string
	// Refresh registers the refresh_token grant too.
	Refresh bool
	Keys    Keys
	Suite   Suite // zero = DefaultSuite
	// FormerKeys are federation keys still published while chains that hold them
	// live (D seccons_bcps); they sign nothing.
	FormerKeys []jose.PublicKey
	// FormerCoreSign are published beside the current key and sign nothing;
	// FormerCoreEncrypt still open answers encrypted to them (D seccons_bcps: a
	// rolled key stays until every cached chain has ended).
	FormerCoreSign    []jose.PublicKey
	FormerCoreEncrypt []jose.Key
	// Lifetime of the configuration; 0 = one hour. Production relying parties
	// have 30 minutes, the published examples 48 hours.
	Lifetime time.Duration
}

// Entity is one relying party of ours. Safe for concurrent use.
type Entity struct {
	cfg EntityConfig

	mu         sync.Mutex
	marks      []Mark
	cached     string
	since      time.Time
	aggregator bool // no relying party itself, it speaks for bodies below it
}

// cacheConfiguration is how long a signed configuration is served again, so
// that asking for it costs a stranger nothing and us no signature.
const cacheConfiguration = time.Minute

// NewEntity checks the configuration (CodeConfig, Field names the setting).
func NewEntity(cfg EntityConfig) (*Entity, error) {
	bad := func(field, reason string) (*Entity, error) { return nil, refuse(CodeConfig, field, reason) }
	if err := CheckEntityID(cfg.ID); err != nil {
		return bad("id", err.Error())
	}
	if len(cfg.AuthorityHints) == 0 || len(cfg.AuthorityHints) > MaxHints {
		return bad("authority_hints", "one to ten superiors are needed")
	}
	for _, h := range cfg.AuthorityHints {
		if CheckEntityID(h) != nil || h == cfg.ID {
			return bad("authority_hints", "not an entity identifier of a superior")
		}
	}
	if cfg.ClientName == "" {
		cfg.ClientName = cfg.Organization
	}
	if cfg.Organization == "" {
		return bad("organization", "missing")
	}
	if len(cfg.Contacts) == 0 {
		return bad("contacts", "missing")
	}
	if len(cfg.RedirectURIs) == 0 {
		return bad("redirect_uris", "missing")
	}
	local := isLoopback(cfg.ID)
	for _, m := range []struct {
		name      string
		addresses []string
	}{{"homepage_uri", []string{cfg.HomepageURI}}, {"policy_uri", []string{cfg.PolicyURI}}, {"redirect_uris", cfg.RedirectURIs}} {
		for _, u := range m.addresses {
			if err := checkAddress(u, local); err != nil {
				return bad(m.name, err.Error())
			}
		}
	}
	if cfg.LogoURI != "" && checkAddress(cfg.LogoURI, local) != nil {
		return bad("logo_uri", "not an address")
	}
	if cfg.Suite == (Suite{}) {
		cfg.Suite = DefaultSuite
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = time.Hour
	}
	if cfg.Lifetime < 2*cacheConfiguration {
		return bad("lifetime", "shorter than two minutes")
	}
	kids := map[string]bool{}
	for _, k := range []struct {
		name string
		key  jose.Key
		alg  jose.Algorithm
	}{{"federation", cfg.Keys.Federation, ""}, {"core_sign", cfg.Keys.CoreSign, cfg.Suite.Sign}, {"core_encrypt", cfg.Keys.CoreEncrypt, cfg.Suite.Encrypt}} {
		switch {
		case k.key.IsZero():
			return bad(k.name, "no key")
		case k.alg != "" && k.key.Algorithm() != k.alg, k.alg == "" && !slices.Contains(Algorithms, k.key.Algorithm()):
			return bad(k.name, "a key for another algorithm")
		case kids[k.key.KID()]:
			return bad(k.name, "one key for two purposes")
		}
		kids[k.key.KID()] = true
	}
	return &Entity{cfg: cfg}, nil
}

// ID is the entity identifier.
func (e *Entity) ID() string { return e.cfg.ID }

// Keys are the entity's own keys, for login.
func (e *Entity) Keys() Keys { return e.cfg.Keys }

// DecryptionKeys are the keys that may open a UserInfo answer: the current one
// and those before it.
func (e *Entity) DecryptionKeys() []jose.Key {
	return append([]jose.Key{e.cfg.Keys.CoreEncrypt}, e.cfg.FormerCoreEncrypt...)
}

// Suite is the algorithms the entity is registered with.
func (e *Entity) Suite() Suite { return e.cfg.Suite }

type claimsHead struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	IssuedAt  int64        `json:"iat"`
	ExpiresAt int64        `json:"exp"`
	Keys      *jose.KeySet `json:"jwks,omitempty"`
}

type configurationClaims struct {
	claimsHead
	AuthorityHints []string    `json:"authority_hints"`
	Marks          []markEntry `json:"trust_marks,omitempty"`
	Metadata       any         `json:"metadata"`
	Constraints    any         `json:"constraints,omitempty"`
}

type markEntry struct {
	ID     string `json:"id"`
	Issuer string `json:"iss"`
	JWT    string `json:"trust_mark"`
}

type ownMetadata struct {
	FederationEntity federationEntityMetadata `json:"federation_entity"`
	RelyingParty     *relyingPartyMetadata    `json:"openid_relying_party,omitempty"`
}

type federationEntityMetadata struct {
	OrganizationName string   `json:"organization_name"`
	HomepageURI      string   `json:"homepage_uri"`
	PolicyURI        string   `json:"policy_uri"`
	LogoURI          string   `json:"logo_uri,omitempty"`
	Contacts         []string `json:"contacts"`
	ResolveEndpoint  string   `json:"federation_resolve_endpoint"`
	FetchEndpoint    string   `json:"federation_fetch_endpoint,omitempty"`
	ListEndpoint     string   `json:"federation_list_endpoint,omitempty"`
	StatusEndpoint   string   `json:"federation_trust_mark_status_endpoint,omitempty"`
}

type relyingPartyMetadata struct {
	ClientID                     string      `json:"client_id"`
	ClientName                   string      `json:"client_name"`
	OrganizationName             string      `json:"organization_name"`
	ApplicationType              string      `json:"application_type"`
	Contacts                     []string    `json:"contacts"`
	ClientRegistrationTypes      []string    `json:"client_registration_types"`
	RedirectURIs                 []string    `json:"redirect_uris"`
	ResponseTypes                []string    `json:"response_types"`
	GrantTypes                   []string    `json:"grant_types"`
	SubjectType                  string      `json:"subject_type"`
	TokenEndpointAuthMethod      string      `json:"token_endpoint_auth_method"`
	IDTokenSignedResponseAlg     string      `json:"id_token_signed_response_alg"`
	UserInfoSignedResponseAlg    string      `json:"userinfo_signed_response_alg"`
	UserInfoEncryptedResponseAlg string      `json:"userinfo_encrypted_response_alg"`
	UserInfoEncryptedResponseEnc string      `json:"userinfo_encrypted_response_enc"`
	Keys                         jose.KeySet `json:"jwks"`
}

// federationKeys are published at the top of the configuration.
func (e *Entity) federationKeys() *jose.KeySet {
	set := jose.NewKeySet(append([]jose.PublicKey{e.cfg.Keys.Federation.Public()}, e.cfg.FormerKeys...)...)
	return &set
}

// coreKeys are published in the relying party's metadata: one to verify, one to
// encrypt to, each with its use; then former signing keys. Former encryption keys
// are not published: the reference provider encrypts to the first it finds.
func (e *Entity) coreKeys() jose.KeySet {
	return jose.NewKeySet(append([]jose.PublicKey{e.cfg.Keys.CoreSign.Public(), e.cfg.Keys.CoreEncrypt.Public()}, e.cfg.FormerCoreSign...)...)
}

// aggregates makes the entity the aggregator of a Directory.
func (e *Entity) aggregates() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.aggregator, e.cached = true, ""
}

// kind is the entity type that our superiors know us by.
func (e *Entity) kind() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.aggregator {
		return TypeFederationEntity
	}
	return TypeRelyingParty
}

// metadataLocked is what the entity says of itself.
func (e *Entity) metadataLocked() ownMetadata {
	if !e.aggregator {
		return ownMetadata{FederationEntity: e.federationEntity(), RelyingParty: e.relyingParty()}
	}
	m := e.federationEntity()
	base := strings.TrimSuffix(e.cfg.ID, "/")
	m.FetchEndpoint, m.ListEndpoint = base+"/fetch", base+"/list"
	return ownMetadata{FederationEntity: m}
}

func (e *Entity) federationEntity() federationEntityMetadata {
	return federationEntityMetadata{
		OrganizationName: e.cfg.Organization, HomepageURI: e.cfg.HomepageURI, PolicyURI: e.cfg.PolicyURI,
		LogoURI: e.cfg.LogoURI, Contacts: e.cfg.Contacts, ResolveEndpoint: strings.TrimSuffix(e.cfg.ID, "/") + "/resolve",
	}
}

func (e *Entity) relyingParty() *relyingPartyMetadata {
	grants := []string{"authorization_code"}
	if e.cfg.Refresh {
		grants = append(grants, "refresh_token")
	}
	return &relyingPartyMetadata{
		ClientID: e.cfg.ID, ClientName: e.cfg.ClientName, OrganizationName: e.cfg.Organization,
		ApplicationType: "web", Contacts: e.cfg.Contacts, ClientRegistrationTypes: []string{"automatic"},
		RedirectURIs: e.cfg.RedirectURIs, ResponseTypes: []string{"code"}, GrantTypes: grants, SubjectType: "pairwise",
		TokenEndpointAuthMethod: "private_key_jwt", IDTokenSignedResponseAlg: string(e.cfg.Suite.Sign),
		UserInfoSignedResponseAlg: string(e.cfg.Suite.Sign), UserInfoEncryptedResponseAlg: string(e.cfg.Suite.Encrypt),
		UserInfoEncryptedResponseEnc: string(e.cfg.Suite.Content), Keys: e.coreKeys(),
	}
}

// Configuration gives the entity's signed configuration at an instant, to be
// served at ConfigurationURL(ID()) with status 200 and exactly the media type
// MediaTypeStatement. The same bytes are given again for a minute.
func (e *Entity) Configuration(now time.Time) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cached != "" && !now.Before(e.since) && now.Sub(e.since) < cacheConfiguration {
		return []byte(e.cached), nil
	}
	compact, err := jose.Sign(e.cfg.Keys.Federation, jose.TypeEntityStatement, e.configurationLocked(now))
	if err != nil {
		return nil, fromJose(err)
	}
	e.cached, e.since = compact, now
	return []byte(compact), nil
}

func (e *Entity) configurationLocked(now time.Time) configurationClaims {
	c := configurationClaims{
		claimsHead:     e.head(e.cfg.ID, now, now.Add(e.cfg.Lifetime), e.federationKeys()),
		AuthorityHints: e.cfg.AuthorityHints, Metadata: e.metadataLocked(),
	}
	for _, m := range e.marks {
		// A mark past its end is no longer announced.
		if m.ExpiresAt.IsZero() || now.Before(m.ExpiresAt) {
			c.Marks = append(c.Marks, markEntry{ID: m.ID, Issuer: m.Issuer, JWT: m.JWT})
		}
	}
	return c
}

func (e *Entity) head(sub string, from, to time.Time, keys *jose.KeySet) claimsHead {
	return claimsHead{Issuer: e.cfg.ID, Subject: sub, IssuedAt: from.Unix(), ExpiresAt: to.Unix(), Keys: keys}
}

// Marks are those the entity announces.
func (e *Entity) Marks() []Mark {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.marks)
}

func (e *Entity) setMarks(marks []Mark) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.marks, marks) {
		e.marks, e.cached = slices.Clone(marks), ""
	}
}

// Standing is what our superiors say about us.
type Standing struct {
	// Chain is our own, with our final metadata.
	Chain *Chain
	// Marks our direct superior gives us, valid.
	Marks []Mark
	// Refused tells why others it gives are not.
	Refused []error
	// KeysDiffer is set when the superior pins other protocol keys than ours: the
	// provider will then refuse our request objects until the key is registered
	// (entra-con-cie §2.5, consequence). CodeOwnCoreKeys.
	KeysDiffer error
}

// Standing asks our superiors about an entity of ours, without asking the
// network about ourselves: our configuration is taken as we would publish it.
// A superior that vouches for other federation keys is CodeOwnKeys.
func (r *Resolver) Standing(ctx context.Context, e *Entity) (Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Budget)
	defer cancel()
	now := r.cfg.Clock()
	compact, err := e.Configuration(now)
	if err != nil {
		return Standing{}, err
	}
	own, err := ParseStatement(string(compact))
	if err != nil {
		return Standing{}, err
	}
	q := &resolution{r: r, now: now, known: map[string]*Statement{e.ID(): own}}
	kind := e.kind()
	c, err := q.resolve(ctx, e.ID(), Want{Type: kind})
	if err != nil {
		var told *Error
		if errors.As(err, &told) && told.Entity == e.ID() && (told.Code == CodeUnknownKey || told.Code == CodeSignature) {
			err = &Error{Code: CodeOwnKeys, Step: told.Step, Entity: e.ID(), Reason: "register our federation key with the superior", Err: err}
		}
		return Standing{}, err
	}
	s := Standing{Chain: c}
	if kind == TypeRelyingParty {
		s.KeysDiffer = e.compareCore(c)
	}
	issuerKeys := func(issuer string) (jose.KeySet, error) {
		switch issuer {
		case q.anchor.Subject:
			return q.anchor.Keys, nil
		case e.ID():
			return jose.KeySet{}, refuse(CodeNoRoute, "", "given by ourselves")
		}
		return q.issuerKeys(ctx, issuer)
	}
	for _, m := range c.superior.Marks {
		mark, err := verifyMark(m, e.ID(), q.anchor.MarkIssuers, issuerKeys, now, r.cfg.Skew)
		if err != nil {
			s.Refused = append(s.Refused, err)
			continue
		}
		s.Marks = append(s.Marks, mark)
	}
	return s, nil
}

func (e *Entity) compareCore(c *Chain) error {
	pinned, err := keysOf(c.Metadata[TypeRelyingParty]["jwks"])
	if err != nil {
		return &Error{Code: CodeOwnCoreKeys, Entity: e.ID(), Err: err}
	}
	// Former keys may have left the superior's list already.
	for _, ours := range []jose.PublicKey{e.cfg.Keys.CoreSign.Public(), e.cfg.Keys.CoreEncrypt.Public()} {
		if !slices.ContainsFunc(pinned.Keys(), func(k jose.PublicKey) bool { return k.KID() == ours.KID() }) {
			return &Error{Code: CodeOwnCoreKeys, Entity: e.ID(), Field: ours.KID(), Reason: "register our protocol keys with the superior"}
		}
	}
	return nil
}

// RenewMarks reads the marks our direct superior gives the entity (its statement
// about us: there is no other way to get them) and announces them from now on.
// Run it at start and daily; marks last a year. Whatever fails, the marks at
// hand stay. No valid mark at the superior is CodeMarkNotOffered.
func (e *Entity) RenewMarks(ctx context.Context, r *Resolver) (Standing, error) {
	s, err := r.Standing(ctx, e)
	if err != nil {
		return s, err
	}
	if len(s.Marks) == 0 {
		return s, &Error{Code: CodeMarkNotOffered, Entity: e.ID(), Err: errors.Join(s.Refused...)}
	}
	e.setMarks(s.Marks)
	return s, nil
}

// Answer is what web writes out as it is.
type Answer struct {
	Status      int
	ContentType string
	Body        []byte
}

// mediaTypeResolve is F's type of a resolve answer.
const mediaTypeResolve = "application/resolve-response+jwt"

type resolveClaims struct {
	claimsHead
	Metadata   map[string]map[string]any `json:"metadata"`
	Marks      []markEntry               `json:"trust_marks,omitempty"`
	TrustChain []string                  `json:"trust_chain"`
}

// ResolveAnswer answers a request to /resolve: what we know of sub under an
// anchor, signed with our federation key. It serves only chains at hand, which
// known gives (as Keeper.Current does), and never discovers anything
// (D seccons_bcps). The anchor is named by `anchor` (D) or `trust_anchor` (F).
// Errors are D errors_federation: 400 invalid_request, 404 not_found, 503
// temporarily_unavailable.
func (e *Entity) ResolveAnswer(query url.Values, known func(sub string) (*Chain, error), now time.Time) Answer {
	sub, anchor := query.Get("sub"), query.Get("anchor")
	if anchor == "" {
		anchor = query.Get("trust_anchor")
	}
	if sub == "" || anchor == "" || len(query["sub"]) > 1 || len(query["anchor"])+len(query["trust_anchor"]) > 1 {
		return errorAnswer(http.StatusBadRequest, "invalid_request", "sub and anchor are required, once each")
	}
	c, err := known(sub)
	if CodeOf(err) == CodeUnavailable {
		return errorAnswer(http.StatusServiceUnavailable, "temporarily_unavailable", "no valid trust chain at the moment")
	}
	if err != nil || c == nil || c.Subject != sub || c.Anchor != anchor || !now.Before(c.ExpiresAt) {
		return errorAnswer(http.StatusNotFound, "not_found", "no such entity under this anchor is known here")
	}
	claims := resolveClaims{claimsHead: e.head(sub, now, c.ExpiresAt, nil), Metadata: c.Metadata, TrustChain: c.Statements}
	for _, m := range c.Marks {
		if m.ExpiresAt.IsZero() || now.Before(m.ExpiresAt) {
			claims.Marks = append(claims.Marks, markEntry{ID: m.ID, Issuer: m.Issuer, JWT: m.JWT})
		}
	}
	compact, err := jose.Sign(e.cfg.Keys.Federation, strings.TrimPrefix(mediaTypeResolve, "application/"), claims)
	if err != nil {
		return errorAnswer(http.StatusInternalServerError, "server_error", "the answer could not be signed")
	}
	return Answer{Status: http.StatusOK, ContentType: mediaTypeResolve, Body: []byte(compact)}
}

func errorAnswer(status int, code, description string) Answer {
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
	if err != nil {
		body = []byte(`{"error":"server_error"}`)
	}
	return Answer{Status: status, ContentType: "application/json", Body: body}
}
