package opsim

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

// The administrations whose providers are simulated.
const (
	RealmInterno = "interno" // comuni, and the Interior's owner of the rules
	RealmEsteri  = "esteri"  // consular posts, and the Foreign Ministry's owner
)

// realm is one administration's provider.
type realm struct {
	name   string
	issuer string
	key    signer
}

func newRealms(dir, base string) (map[string]*realm, error) {
	out := map[string]*realm{}
	for _, name := range []string{RealmInterno, RealmEsteri} {
		key, err := sim.OpenKey(dir, "operators-"+name)
		if err != nil {
			return nil, fmt.Errorf("operators' provider: %w", err)
		}
		out[name] = &realm{name: name, issuer: base + "/" + name, key: signer{kid: thumbprint(key.Public()), alg: jose.ES256, key: key}}
	}
	return out, nil
}

// Issuer is the issuer of an administration's provider: RealmInterno or
// RealmEsteri. Discovery is below it.
func (s *Server) Issuer(realm string) string { return s.at.Operators + "/" + realm }

// OperatorClient is a client of the operators' providers, of all of them.
type OperatorClient struct {
	ID           string   `json:"client_id"`
	RedirectURIs []string `json:"redirect_uris"`
	// Secret for client_secret_basic and client_secret_post; empty: none.
	Secret string `json:"client_secret,omitempty"`
	// JWKS for private_key_jwt; empty: none. Without secret and keys the client
	// is public and has PKCE alone.
	JWKS json.RawMessage `json:"jwks,omitempty"`
}

// RegisterClient adds or replaces a client of the operators' providers. It
// fails without id or redirect_uris, on one that is not https or loopback, and
// on keys that are not public. Durable when there is a folder.
func (s *Server) RegisterClient(c OperatorClient) error {
	if c.ID == "" || len(c.RedirectURIs) == 0 {
		return errors.New("register operators' client: client_id and redirect_uris are needed")
	}
	for _, target := range c.RedirectURIs {
		if err := webAddress(target); err != nil {
			return fmt.Errorf("register operators' client: redirect_uri %q: %w", target, err)
		}
	}
	if len(c.JWKS) > 0 {
		if _, err := c.keys(); err != nil {
			return fmt.Errorf("register operators' client: %w", err)
		}
	}
	err := s.keep(entry{Client: &c})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opClients[c.ID] = c
	return nil
}

func (c OperatorClient) keys() ([]jose.JSONWebKey, error) {
	set, err := decodeObject(c.JWKS)
	if err != nil {
		return nil, err
	}
	return readKeys(set)
}

// SetOperatorAuto logs an operator in without pages; "" brings them back. An
// unknown id is ErrNoSuchPerson.
func (s *Server) SetOperatorAuto(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != "" && !slices.ContainsFunc(s.staff, func(o Operator) bool { return o.ID == id }) {
		return fmt.Errorf("%s: %w", id, ErrNoSuchPerson)
	}
	s.operatorAuto = id
	return nil
}

// SetOperatorClaims merges claims into what an operator's ID Token says; a null
// removes one. An unknown id is ErrNoSuchPerson.
func (s *Server) SetOperatorClaims(id string, claims map[string]any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.staff {
		if s.staff[i].ID != id {
			continue
		}
		merged := maps.Clone(s.staff[i].Claims)
		if merged == nil {
			merged = map[string]any{}
		}
		for name, v := range claims {
			if v == nil {
				delete(merged, name)
			} else {
				merged[name] = v
			}
		}
		s.staff[i].Claims = merged
		return nil
	}
	return fmt.Errorf("%s: %w", id, ErrNoSuchPerson)
}

// OperatorList are the operators as their providers know them now.
func (s *Server) OperatorList() []Operator {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.staff)
}

func (s *Server) operator(realm, id string) (Operator, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.staff, func(o Operator) bool { return o.ID == id && o.Realm == realm })
	if i < 0 {
		return Operator{}, false
	}
	return s.staff[i], true
}

// opFlow is an operator on the way from a request to an answer.
type opFlow struct {
	realm       *realm
	client      string
	redirectURI string
	state       string
	nonce       string
	challenge   string
	locales     []string
	expires     time.Time
}

// opGrant is an operator's code and the access token it became.
type opGrant struct {
	opFlow
	operator     Operator
	tokenExpires time.Time
}

// Operators is the protocol surface of the operators' providers and their
// pages.
func (s *Server) Operators() http.Handler {
	mux := http.NewServeMux()
	for _, in := range s.realms {
		at := func(method, path string, serve func(http.ResponseWriter, *http.Request, *realm)) {
			mux.HandleFunc(method+"/"+in.name+path, func(w http.ResponseWriter, r *http.Request) { serve(w, r, in) })
		}
		at("GET ", "/.well-known/openid-configuration", s.serveDiscovery)
		at("GET ", "/jwks", s.serveOperatorKeys)
		at("", "/authorize", s.serveOperatorAuthorize)
		at("", "/token", s.serveOperatorToken)
		at("", "/userinfo", s.serveOperatorInfo)
	}
	mux.HandleFunc("GET "+operatorPrefix+"{id}", s.showOperator)
	mux.HandleFunc("POST "+operatorPrefix+"{id}", s.takeOperator)
	assets(mux)
	op := func(r *http.Request) string { return operatorOp(r.URL.Path) }
	protocol := sim.Unpleasant(s.faults, s.clock, op, nil, mux)
	return s.serving("operators", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if op(r) == OpOperatorsAuthorize {
			mux.ServeHTTP(w, r)
			return
		}
		protocol.ServeHTTP(w, r)
	}))
}

func operatorOp(path string) string {
	switch {
	case strings.HasSuffix(path, "/openid-configuration"), strings.HasSuffix(path, "/jwks"):
		return OpOperators
	case strings.HasSuffix(path, "/token"), strings.HasSuffix(path, "/userinfo"):
		return OpOperatorsToken
	}
	return OpOperatorsAuthorize
}

func (s *Server) serveDiscovery(w http.ResponseWriter, _ *http.Request, in *realm) {
	f := s.flaws(OpOperators, in.name)
	issuer := in.issuer
	if f.fires("operator-wrong-discovery") {
		issuer += "/another"
	}
	f.mark(w.Header())
	sim.WriteJSON(w, http.StatusOK, map[string]any{
		"issuer": issuer, "authorization_endpoint": in.issuer + "/authorize", "token_endpoint": in.issuer + "/token",
		"userinfo_endpoint": in.issuer + "/userinfo", "jwks_uri": in.issuer + "/jwks",
		"response_types_supported": []string{"code"}, "grant_types_supported": []string{"authorization_code"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
		"scopes_supported": []string{"openid", "profile"}, "code_challenge_methods_supported": []string{"S256"},
		"token_endpoint_auth_methods_supported":            []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "none"},
		"token_endpoint_auth_signing_alg_values_supported": texts(signatureAlgs),
		"authorization_response_iss_parameter_supported":   true,
		"claims_supported": []string{"sub", "name", "given_name", "family_name", "office", "office_kind", "office_name", "role", "station"},
	})
}

func (s *Server) serveOperatorKeys(w http.ResponseWriter, _ *http.Request, in *realm) {
	sim.WriteJSON(w, http.StatusOK, keySet(in.key))
}

func (s *Server) serveOperatorAuthorize(w http.ResponseWriter, r *http.Request, in *realm) {
	q := r.URL.Query()
	if r.Method == http.MethodPost {
		form, err := readForm(w, r)
		if err != nil {
			s.refusePage(w, r, page("invalid_request", "form", err.Error()))
			return
		}
		q = form
	}
	s.mu.Lock()
	c, known := s.opClients[q.Get("client_id")]
	auto := s.operatorAuto
	s.mu.Unlock()
	switch {
	case once(q) != nil:
		s.refusePage(w, r, page("invalid_request", "repeated_parameter", "a parameter is repeated"))
		return
	case !known:
		s.refusePage(w, r, page("unauthorized_client", "client_unknown", "client_id is not registered"))
		return
	case !slices.Contains(c.RedirectURIs, q.Get("redirect_uri")):
		s.refusePage(w, r, page("invalid_request", "redirect_uri_unregistered", "redirect_uri is not registered"))
		return
	}
	flow := opFlow{
		realm: in, client: c.ID, redirectURI: q.Get("redirect_uri"), state: q.Get("state"), nonce: q.Get("nonce"),
		challenge: q.Get("code_challenge"), locales: strings.Fields(q.Get("ui_locales")), expires: s.wire.Now().Add(interactionTimeout),
	}
	code := ""
	switch {
	case q.Get("response_type") != "code":
		code = "unsupported_response_type"
	case !slices.Contains(strings.Fields(q.Get("scope")), "openid"):
		code = "invalid_scope"
	case q.Get("code_challenge_method") != "S256" || !challengeShape.MatchString(flow.challenge) || flow.state == "" || flow.nonce == "":
		code = "invalid_request"
	}
	if code != "" {
		s.refuse(Refusal{Operation: OpOperatorsAuthorize, Client: c.ID, Status: http.StatusSeeOther, Wire: code, Check: code, Detail: "authorization request"})
		s.answerOperator(w, flow, nil, url.Values{"error": {code}})
		return
	}
	if auto != "" {
		o, ok := s.operator(in.name, auto)
		if !ok {
			s.answerOperator(w, flow, nil, url.Values{"error": {"access_denied"}, "error_description": {"not of this administration"}})
			return
		}
		s.grantOperator(w, flow, o, true)
		return
	}
	id := uuid4()
	s.mu.Lock()
	s.sweep(s.wire.Now())
	s.opFlows[id] = &flow
	s.mu.Unlock()
	w.Header().Set("Location", s.at.Operators+operatorPrefix+id+"?lang="+language(r, flow.locales))
	w.WriteHeader(http.StatusSeeOther)
}

func (s *Server) opFlow(w http.ResponseWriter, r *http.Request) (opFlow, bool) {
	s.mu.Lock()
	flow := s.opFlows[r.PathValue("id")]
	ok := flow != nil && s.wire.Now().Before(flow.expires)
	s.mu.Unlock()
	if !ok {
		s.gonePage(w, r)
		return opFlow{}, false
	}
	return *flow, true
}

func (s *Server) showOperator(w http.ResponseWriter, r *http.Request) {
	flow, ok := s.opFlow(w, r)
	if !ok {
		return
	}
	s.operatorPage(w, r, flow, http.StatusOK, "")
}

func (s *Server) operatorPage(w http.ResponseWriter, r *http.Request, flow opFlow, status int, problem string) {
	v := newView(r, flow.locales, "operator_login")
	v.T = maps.Clone(v.T)
	v.T["brand"] = v.T["operator_login"]
	v.Client = flow.realm.name
	if problem != "" {
		v.Error = v.T[problem]
	}
	for _, o := range s.OperatorList() {
		if o.Realm == flow.realm.name {
			v.People = append(v.People, choice{Value: o.ID, Label: o.Name, Note: o.Note})
		}
	}
	render(w, status, "operator.html", v, flow.redirectURI)
}

func (s *Server) takeOperator(w http.ResponseWriter, r *http.Request) {
	flow, ok := s.opFlow(w, r)
	if !ok {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<14)
	o, known := s.operator(flow.realm.name, r.FormValue("operator"))
	cancelled := r.FormValue("cancel") != ""
	if !known && !cancelled {
		s.operatorPage(w, r, flow, http.StatusUnprocessableEntity, "choose_operator")
		return
	}
	s.mu.Lock()
	_, open := s.opFlows[r.PathValue("id")]
	delete(s.opFlows, r.PathValue("id"))
	s.mu.Unlock()
	switch {
	case !open:
		s.gonePage(w, r)
	case cancelled:
		s.note(Event{Kind: "operator_login", Client: flow.client, Outcome: "access_denied"})
		s.answerOperator(w, flow, nil, url.Values{"error": {"access_denied"}, "error_description": {"cancelled"}})
	default:
		s.grantOperator(w, flow, o, false)
	}
}

func (s *Server) grantOperator(w http.ResponseWriter, flow opFlow, o Operator, auto bool) {
	f := s.flaws(OpOperatorsAuthorize, o.ID)
	if f.fires("operator-access-denied") {
		s.answerOperator(w, flow, f, url.Values{"error": {"access_denied"}})
		return
	}
	code := uuid4()
	flow.expires = s.wire.Now().Add(codeLifetime)
	s.mu.Lock()
	s.opGrants[code] = &opGrant{opFlow: flow, operator: o}
	s.mu.Unlock()
	s.note(Event{Kind: "operator_login", Client: flow.client, Person: o.ID, Auto: auto, Outcome: "consented"})
	s.answerOperator(w, flow, f, url.Values{"code": {code}})
}

func (s *Server) answerOperator(w http.ResponseWriter, flow opFlow, f *flaws, values url.Values) {
	values.Set("state", flow.state)
	if f.fires("operator-wrong-state") {
		values.Set("state", strings.Repeat("x", 43))
	}
	values.Set("iss", flow.realm.issuer)
	sendBack(w, f, flow.redirectURI, values)
}

// authenticateOperatorClient takes any of the methods discovery names.
func (s *Server) authenticateOperatorClient(r *http.Request, form url.Values, endpoint string) (OperatorClient, *oauthError) {
	id, secret, basic := r.BasicAuth()
	if basic {
		// RFC 6749 §2.3.1: both are form-encoded first.
		var errID, errSecret error
		id, errID = url.QueryUnescape(id)
		secret, errSecret = url.QueryUnescape(secret)
		if errID != nil || errSecret != nil {
			return OperatorClient{}, badClient("client_secret", "malformed Basic credentials")
		}
	} else {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	compact := form.Get("client_assertion")
	if id == "" && compact != "" {
		if j, err := readJWT(compact); err == nil {
			id = j.text("iss")
		}
	}
	s.mu.Lock()
	c, known := s.opClients[id]
	s.mu.Unlock()
	switch {
	case !known:
		return c, badClient("client_unknown", "client_id is not registered")
	case len(c.JWKS) > 0:
		return c, s.operatorAssertion(c, form, endpoint)
	case c.Secret != "" && subtle.ConstantTimeCompare([]byte(c.Secret), []byte(secret)) != 1:
		return c, badClient("client_secret", "wrong client_secret")
	}
	return c, nil
}

func (s *Server) operatorAssertion(c OperatorClient, form url.Values, endpoint string) *oauthError {
	if form.Get("client_assertion_type") != assertionType {
		return badClient("client_assertion_type", "client_assertion_type is not "+assertionType)
	}
	j, err := readJWT(form.Get("client_assertion"))
	if err != nil {
		return badClient("client_assertion_malformed", err.Error())
	}
	keys, err := c.keys()
	if err == nil {
		err = j.verify(keys)
	}
	if err != nil {
		return badClient("client_assertion_signature", err.Error())
	}
	now := s.wire.Now()
	if failed := checkAssertion(j.claims, c.ID, endpoint, now); failed != nil {
		return failed
	}
	exp, _ := unixTime(j.claims["exp"])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen("operators "+c.ID+" "+j.text("jti"), exp.Add(skew)) {
		return badClient("jti_replayed", "jti was used before")
	}
	return nil
}

func (s *Server) serveOperatorToken(w http.ResponseWriter, r *http.Request, in *realm) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		s.failToken(w, OpOperatorsToken, "", &oauthError{http.StatusMethodNotAllowed, "invalid_request", "method", "only POST"})
		return
	}
	form, err := readForm(w, r)
	if err != nil {
		s.failToken(w, OpOperatorsToken, "", badRequest("form", err.Error()))
		return
	}
	c, failed := s.authenticateOperatorClient(r, form, in.issuer+"/token")
	if failed != nil {
		s.failToken(w, OpOperatorsToken, c.ID, failed)
		return
	}
	g, failed := s.redeemOperator(form, c, in)
	if failed != nil {
		s.failToken(w, OpOperatorsToken, c.ID, failed)
		return
	}
	f := s.flaws(OpOperatorsToken, g.operator.ID)
	now := s.wire.Now()
	access := uuid4()
	claims := map[string]any{
		"iss": in.issuer, "sub": g.operator.ID, "aud": c.ID, "nonce": g.nonce, "at_hash": leftHalf(jose.ES256, access),
		"iat": now.Unix(), "exp": now.Add(idTokenLifetime).Unix(), "auth_time": now.Unix(), "jti": uuid4(),
	}
	maps.Copy(claims, g.operator.Claims)
	spoilOperator(f, claims, in, c)
	id, err := f.sign("operator", paper{typ: "JWT", claims: claims, key: in.key}, now)
	if err != nil {
		internalError(w, err)
		return
	}
	s.mu.Lock()
	g.tokenExpires = now.Add(accessLifetime)
	s.opTokens[access] = g
	s.mu.Unlock()
	s.note(Event{Kind: "operator_token", Client: c.ID, Person: g.operator.ID, Outcome: "issued", Faults: slices.Clone(f.names)})
	f.mark(w.Header())
	noStore(w)
	sim.WriteJSON(w, http.StatusOK, map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": int(accessLifetime / time.Second), "id_token": id, "scope": "openid profile",
	})
}

func (s *Server) redeemOperator(form url.Values, c OperatorClient, in *realm) (*opGrant, *oauthError) {
	switch form.Get("grant_type") {
	case "authorization_code":
	case "":
		return nil, badRequest("grant_type_missing", "grant_type is missing")
	default:
		return nil, &oauthError{http.StatusBadRequest, "unsupported_grant_type", "grant_type", "only authorization_code"}
	}
	for _, name := range []string{"code", "code_verifier", "redirect_uri"} {
		if form.Get(name) == "" {
			return nil, badRequest(name+"_missing", name+" is missing")
		}
	}
	now := s.wire.Now()
	verifier := form.Get("code_verifier")
	sum := sha256.Sum256([]byte(verifier))
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.opGrants[form.Get("code")]
	if g == nil {
		return nil, badGrant("code", "the code is unknown or used")
	}
	if g.client != c.ID || g.realm != in {
		return nil, badGrant("code_client", "the code is another's")
	}
	delete(s.opGrants, form.Get("code"))
	switch {
	case !now.Before(g.expires):
		return nil, badGrant("code_expired", "the code has expired")
	case form.Get("redirect_uri") != g.redirectURI:
		return nil, badGrant("redirect_uri", "redirect_uri is not that of the authorization request")
	case !verifierShape.MatchString(verifier) || base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge:
		return nil, badGrant("code_verifier", "code_verifier does not fit the challenge")
	}
	return g, nil
}

func spoilOperator(f *flaws, claims map[string]any, in *realm, c OperatorClient) {
	if f.fires("operator-foreign-office") {
		// A post for the comuni's provider, a comune for the posts'.
		claims["office"], claims["office_kind"] = "2600103", "post"
		if in.name == RealmEsteri {
			claims["office"], claims["office_kind"] = "058091", "comune"
		}
	}
	if f.fires("operator-no-office") {
		delete(claims, "office")
	}
	if f.fires("operator-unknown-role") {
		claims["role"] = "emperor"
	}
	if f.fires("operator-wrong-iss") {
		claims["iss"] = in.issuer + "/another"
	}
	if f.fires("operator-wrong-aud") {
		claims["aud"] = c.ID + "-another"
	}
	if f.fires("operator-wrong-nonce") {
		claims["nonce"] = strings.Repeat("n", 43)
	}
}

func (s *Server) serveOperatorInfo(w http.ResponseWriter, r *http.Request, in *realm) {
	scheme, access, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	s.mu.Lock()
	g := s.opTokens[access]
	s.mu.Unlock()
	if !strings.EqualFold(scheme, "Bearer") || g == nil || g.realm != in || !s.wire.Now().Before(g.tokenExpires) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		s.failToken(w, OpOperatorsToken, "", &oauthError{http.StatusUnauthorized, "invalid_token", "bearer", "no live access token"})
		return
	}
	claims := maps.Clone(g.operator.Claims)
	if claims == nil {
		claims = map[string]any{}
	}
	claims["sub"] = g.operator.ID
	sim.WriteJSON(w, http.StatusOK, claims)
}
