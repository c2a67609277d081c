package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"airegw/gateway/fault"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

// Bounds of one resolution.
const (
	DefaultBudget     = 30 * time.Second // production takes 4 to 15 s from abroad
	DefaultMaxFetches = 24
	maxIntermediates  = 2
	maxList           = 10000
)

// ResolverConfig of a Resolver. Anchor, Client and Clock are required.
type ResolverConfig struct {
	Anchor Anchor
	// Client makes the calls: it must refuse redirects (every outbound.Client
	// does) and bound an answer; statements beyond MaxStatement are refused here
	// too.
	Client *outbound.Client
	Clock  func() time.Time
	Skew   time.Duration // how far a peer's clock may be off
	Budget time.Duration // for a whole resolution; 0 = DefaultBudget
	// MaxFetches of one resolution; 0 = DefaultMaxFetches.
	MaxFetches int
}

// Resolver fetches statements and makes chains of them. Safe for concurrent
// use; it keeps nothing between resolutions.
type Resolver struct {
	cfg   ResolverConfig
	local bool // the federation lives on this machine
}

// NewResolver checks the configuration (CodeConfig).
func NewResolver(cfg ResolverConfig) (*Resolver, error) {
	switch {
	case CheckEntityID(cfg.Anchor.ID) != nil:
		return nil, refuse(CodeConfig, "anchor", "not an entity identifier")
	case cfg.Anchor.Keys.Len() == 0:
		return nil, refuse(CodeConfig, "anchor_keys", "no key is pinned")
	case cfg.Client == nil || cfg.Clock == nil:
		return nil, refuse(CodeConfig, "client", "client and clock are required")
	case cfg.Skew < 0 || cfg.Budget < 0 || cfg.MaxFetches < 0:
		return nil, refuse(CodeConfig, "budget", "negative")
	}
	if cfg.Budget == 0 {
		cfg.Budget = DefaultBudget
	}
	if cfg.MaxFetches == 0 {
		cfg.MaxFetches = DefaultMaxFetches
	}
	return &Resolver{cfg: cfg, local: isLoopback(cfg.Anchor.ID)}, nil
}

// Want says what is asked of an entity beside a valid chain.
type Want struct {
	// Type of metadata the entity must have; "" = any.
	Type string
	// Listed demands that the anchor's list of that type names the entity.
	Listed bool
	// Mark demands a valid trust mark of the role.
	Mark bool
	// MarkStatus asks the issuer of each mark of the role whether it is active;
	// one active mark is enough. A revoked mark shows only here.
	MarkStatus bool
}

// Resolve fetches what a chain from the entity to the anchor needs and judges
// it with VerifyChain. Order (entra-con-cie §2.4): the anchor's configuration
// against the pinned keys, its list, the entity's configuration, statements up
// the authority hints (the anchor's first), judgement, marks' status. It calls
// at most MaxFetches addresses in at most Budget; an entity above the leaf is
// asked only once its own chain to the anchor holds.
func (r *Resolver) Resolve(ctx context.Context, entity string, want Want) (*Chain, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Budget)
	defer cancel()
	run := &resolution{r: r, now: r.cfg.Clock(), known: map[string]*Statement{}}
	return run.resolve(ctx, entity, want)
}

// resolution is one run of the resolver with its budget.
type resolution struct {
	r       *Resolver
	now     time.Time
	fetches int
	anchor  *Statement
	// known holds configurations already at hand by entity.
	known map[string]*Statement
	inner bool // resolving a mark's issuer: no further issuers
}

func (q *resolution) resolve(ctx context.Context, entity string, want Want) (*Chain, error) {
	if err := CheckEntityID(entity); err != nil {
		return nil, at(err, "entity", entity)
	}
	if err := q.fetchAnchor(ctx); err != nil {
		return nil, err
	}
	if want.Listed {
		if err := q.listed(ctx, entity, want.Type); err != nil {
			return nil, at(err, "list of the anchor", entity)
		}
	}
	depth := maxIntermediates
	if want.Type == TypeProvider {
		depth = 0
	}
	compact, err := q.climb(ctx, entity, nil, depth)
	if err != nil {
		return nil, err
	}
	rules := Rules{Now: q.now, Skew: q.r.cfg.Skew, Type: want.Type, RequireMark: want.Mark}
	if !q.inner {
		rules.IssuerKeys = func(issuer string) (jose.KeySet, error) { return q.issuerKeys(ctx, issuer) }
	}
	c, err := VerifyChain(compact, q.r.cfg.Anchor, rules)
	if err != nil {
		return nil, err
	}
	if want.MarkStatus {
		if err := q.checkStatus(ctx, c, want.Mark); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (q *resolution) fetchAnchor(ctx context.Context) error {
	if q.anchor != nil {
		return nil
	}
	id := q.r.cfg.Anchor.ID
	s, err := q.fetch(ctx, "anchor_configuration", ConfigurationURL(id))
	if err == nil && (s.Subject != id || !s.IsConfiguration()) {
		err = refuse(CodeAnchorUnknown, "sub", "the address answers for another entity")
	}
	if err == nil {
		err = s.verify(q.r.cfg.Anchor.Keys, q.now, q.r.cfg.Skew)
		if c := CodeOf(err); c == CodeUnknownKey || c == CodeSignature {
			err = &Error{Code: CodeAnchorKey, Reason: "not signed by a pinned key", Err: err}
		}
	}
	if err != nil {
		return at(err, "anchor configuration", id)
	}
	q.anchor = s
	return nil
}

func (q *resolution) listed(ctx context.Context, entity, entityType string) error {
	endpoint, err := q.anchor.endpoint("federation_list_endpoint")
	if err != nil {
		return err
	}
	query := url.Values{}
	if entityType != "" {
		query.Set("entity_type", entityType)
	}
	body, err := q.call(ctx, outbound.Request{Operation: "federation_list", Method: http.MethodGet, URL: withQuery(endpoint, query)}, "application/json")
	if err != nil {
		return err
	}
	v, err := decodeTree(body)
	if err != nil {
		return refuse(CodeListMalformed, "", err.Error())
	}
	ids, ok := texts(v, maxList)
	if !ok {
		return refuse(CodeListMalformed, "", "not a list of identifiers")
	}
	if !slices.Contains(ids, entity) && !fault.Mutant("federation.listed") {
		return refuse(CodeNotListed, "", "the anchor's list does not name the entity")
	}
	return nil
}

// climb gives the statements from the entity's configuration to the anchor's.
// below is the path already walked, from the leaf.
func (q *resolution) climb(ctx context.Context, entity string, below []string, depth int) ([]string, error) {
	step := "configuration of the entity"
	own, err := q.configuration(ctx, entity)
	if err != nil {
		return nil, at(err, step, entity)
	}
	hints := slices.Clone(own.AuthorityHints)
	if len(hints) == 0 {
		return nil, at(refuse(CodeHint, "authority_hints", "names no superior"), step, entity)
	}
	anchorID := q.r.cfg.Anchor.ID
	// The anchor first: the shortest way is the cheapest to refuse or accept.
	if i := slices.Index(hints, anchorID); i > 0 {
		hints = slices.Insert(slices.Delete(hints, i, i+1), 0, anchorID)
	}
	below = append(slices.Clone(below), entity)
	var first error
	for _, hint := range slices.Compact(hints) {
		compact, err := q.climbBy(ctx, own, hint, below, depth)
		if err == nil {
			return append([]string{own.Raw}, compact...), nil
		}
		err = at(err, "superior "+hint, entity)
		if first == nil {
			first = err
		}
		// A spent budget ends the search; a bad way does not.
		if c := CodeOf(err); c == CodeBudget || ctx.Err() != nil {
			return nil, err
		}
	}
	return nil, first
}

func (q *resolution) climbBy(ctx context.Context, own *Statement, hint string, below []string, depth int) ([]string, error) {
	if hint == q.r.cfg.Anchor.ID {
		s, err := q.statement(ctx, q.anchor, own.Subject)
		if err != nil {
			return nil, err
		}
		return []string{s.Raw, q.anchor.Raw}, nil
	}
	switch {
	case slices.Contains(below, hint):
		return nil, refuse(CodeLoop, "authority_hints", "leads back to "+hint)
	case depth == 0:
		return nil, refuse(CodePathLength, "authority_hints", "no intermediate may stand here")
	}
	upper, err := q.climb(ctx, hint, below, depth-1)
	if err != nil {
		return nil, err
	}
	// Nobody is asked about others before its own chain holds.
	if _, err := VerifyChain(upper, q.r.cfg.Anchor, Rules{Now: q.now, Skew: q.r.cfg.Skew}); err != nil {
		return nil, err
	}
	superior, err := q.configuration(ctx, hint)
	if err != nil {
		return nil, err
	}
	s, err := q.statement(ctx, superior, own.Subject)
	if err != nil {
		return nil, err
	}
	return append([]string{s.Raw}, upper...), nil
}

// configuration gives an entity's configuration, verified by itself only.
func (q *resolution) configuration(ctx context.Context, entity string) (*Statement, error) {
	if s, ok := q.known[entity]; ok {
		return s, nil
	}
	s, err := q.fetch(ctx, "entity_configuration", ConfigurationURL(entity))
	if err != nil {
		return nil, err
	}
	if s.Subject != entity || s.Issuer != entity {
		return nil, refuse(CodeStatementFor, "sub", "the address answers for another entity")
	}
	if err := s.verifySelf(q.now, q.r.cfg.Skew); err != nil {
		return nil, err
	}
	q.known[entity] = s
	return s, nil
}

// statement asks a superior about a subordinate; VerifyChain judges it.
func (q *resolution) statement(ctx context.Context, superior *Statement, about string) (*Statement, error) {
	endpoint, err := superior.endpoint("federation_fetch_endpoint")
	if err != nil {
		return nil, err
	}
	s, err := q.fetch(ctx, "entity_statement", withQuery(endpoint, url.Values{"sub": {about}}))
	if err != nil {
		return nil, err
	}
	if s.Issuer != superior.Subject || s.Subject != about {
		return nil, refuse(CodeStatementFor, "sub", "not the statement asked for")
	}
	return s, nil
}

// issuerKeys gives the federation keys of a mark's issuer outside the chain.
func (q *resolution) issuerKeys(ctx context.Context, issuer string) (jose.KeySet, error) {
	inner := *q
	inner.inner = true
	c, err := inner.resolve(ctx, issuer, Want{})
	q.fetches = inner.fetches
	if err != nil {
		return jose.KeySet{}, err
	}
	return c.superior.Keys, nil
}

// checkStatus asks the issuers of the marks that carry the role. A mark that is
// not active, or of which the issuer says nothing, is no longer valid; where a
// mark is required and none is left, that is the error (fail closed).
func (q *resolution) checkStatus(ctx context.Context, c *Chain, required bool) error {
	var kept []Mark
	var why error
	role := false
	for _, m := range c.Marks {
		if c.Type != "" && !markRole(m.ID, c.Type) {
			kept = append(kept, m)
			continue
		}
		if err := q.active(ctx, c, m); err != nil {
			err = at(err, "trust mark status", c.Subject)
			c.RefusedMarks = append(c.RefusedMarks, err)
			if why == nil {
				why = err
			}
			continue
		}
		kept, role = append(kept, m), true
	}
	c.Marks = kept
	if required && !role {
		return why
	}
	return nil
}

func (q *resolution) active(ctx context.Context, c *Chain, m Mark) error {
	issuer, keys := q.anchor, q.anchor.Keys
	if m.Issuer != q.anchor.Subject {
		var err error
		if issuer, err = q.configuration(ctx, m.Issuer); err != nil {
			return &Error{Code: CodeMarkStatus, Field: m.ID, Err: err}
		}
		if keys, err = q.issuerKeys(ctx, m.Issuer); err != nil {
			return &Error{Code: CodeMarkStatus, Field: m.ID, Err: err}
		}
	}
	// The older name is what the recorded Django federation publishes.
	endpoint, err := issuer.endpoint("federation_trust_mark_status_endpoint", "federation_status_endpoint")
	if err != nil {
		return &Error{Code: CodeMarkStatus, Field: m.ID, Err: err}
	}
	// D asks by id and sub; the final text by the mark itself. A peer of either
	// kind gets its own question.
	var body []byte
	for _, form := range []url.Values{{"id": {m.ID}, "sub": {m.Subject}}, {"trust_mark": {m.JWT}}} {
		body, err = q.call(ctx, outbound.Request{
			Operation: "trust_mark_status", Method: http.MethodPost, URL: endpoint, Idempotent: true,
			Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: []byte(form.Encode()),
		}, "application/json", "application/trust-mark-status-response+jwt")
		var failed *outbound.Error
		if !errors.As(err, &failed) || failed.Status != http.StatusBadRequest {
			break
		}
	}
	if err != nil {
		return &Error{Code: CodeMarkStatus, Field: m.ID, Err: err}
	}
	return readStatus(body, m, keys, q.now, q.r.cfg.Skew)
}

// readStatus reads {"active":true} of D, or the signed answer of the final text.
func readStatus(body []byte, m Mark, keys jose.KeySet, now time.Time, skew time.Duration) error {
	object, err := decodeObject(body)
	if err != nil {
		v, err := jose.Verify(strings.TrimSpace(string(body)), keys, jose.Expect{
			Algs: Algorithms, Typ: []string{"trust-mark-status-response+jwt"},
			Now: now, Skew: skew, Issuer: m.Issuer, NoAudience: true, NoExpiry: true,
		}, nil)
		if err != nil {
			return &Error{Code: CodeMarkStatus, Field: m.ID, Err: err}
		}
		if object, err = decodeObject(v.Payload); err != nil {
			return &Error{Code: CodeMarkStatus, Field: m.ID, Err: err}
		}
		if object["trust_mark"] != m.JWT {
			return refuse(CodeMarkStatus, m.ID, "an answer about another mark")
		}
		if object["status"] == "active" {
			return nil
		}
		return refuse(CodeMarkRevoked, m.ID, "not active")
	}
	switch object["active"] {
	case true:
		return nil
	case false:
		if fault.Mutant("federation.mark-status") {
			return nil
		}
		return refuse(CodeMarkRevoked, m.ID, "not active")
	}
	return refuse(CodeMarkStatus, m.ID, "the answer does not say whether it is active")
}

func (q *resolution) fetch(ctx context.Context, operation, address string) (*Statement, error) {
	body, err := q.call(ctx, outbound.Request{Operation: operation, Method: http.MethodGet, URL: address}, MediaTypeStatement)
	if err != nil {
		return nil, err
	}
	return ParseStatement(string(body))
}

func (q *resolution) call(ctx context.Context, request outbound.Request, accept ...string) ([]byte, error) {
	if q.fetches >= q.r.cfg.MaxFetches {
		return nil, refuse(CodeBudget, "", fmt.Sprintf("more than %d calls", q.r.cfg.MaxFetches))
	}
	q.fetches++
	if err := checkAddress(request.URL, q.r.local); err != nil {
		return nil, err
	}
	if request.Header == nil {
		request.Header = http.Header{}
	}
	request.Header.Set("Accept", strings.Join(accept, ", "))
	response, err := q.r.cfg.Client.Do(ctx, request)
	if err != nil {
		var failed *outbound.Error
		switch {
		case ctx.Err() != nil:
			return nil, &Error{Code: CodeBudget, Reason: "the time ran out", Err: err}
		case errors.As(err, &failed) && failed.Status == http.StatusNotFound:
			return nil, &Error{Code: CodeNotFound, Err: err}
		}
		return nil, &Error{Code: CodeFetch, Err: err}
	}
	got, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(accept, got) {
		return nil, refuse(CodeContentType, "", "the answer is not "+accept[0])
	}
	return response.Body, nil
}

// ConfigurationURL gives the address of an entity's configuration: the
// well-known path after the whole identifier (D entity_configuration), not
// between host and path.
func ConfigurationURL(entity string) string {
	return strings.TrimSuffix(entity, "/") + "/.well-known/openid-federation"
}

func withQuery(endpoint string, query url.Values) string {
	if len(query) == 0 {
		return endpoint
	}
	join := "?"
	if strings.Contains(endpoint, "?") {
		join = "&"
	}
	return endpoint + join + query.Encode()
}

func isLoopback(id string) bool {
	u, err := url.Parse(id)
	return err == nil && outbound.Loopback(u.Hostname())
}

// ReadAnchorKeys reads the JWKS of pinned keys.
func ReadAnchorKeys(data []byte) (jose.KeySet, error) {
	var set json.RawMessage
	if err := json.Unmarshal(data, &set); err != nil {
		return jose.KeySet{}, refuse(CodeKeys, "anchor", "not JSON")
	}
	keys, err := jose.ParseKeySet(set)
	if err != nil {
		return jose.KeySet{}, &Error{Code: CodeKeys, Field: "anchor", Err: err}
	}
	if keys.Len() == 0 {
		return jose.KeySet{}, refuse(CodeKeys, "anchor", "no key of a kind in use")
	}
	return keys, nil
}
