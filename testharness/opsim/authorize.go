package opsim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"airegw/testharness/sim"
)

// Paths of the provider.
const (
	authorizePath     = "/authorization"
	tokenPath         = "/token"
	userInfoPath      = "/userinfo"
	introspectionPath = "/introspection"
	revocationPath    = "/revocation"
)

// Endpoints are the provider's, for those who do not resolve its chain.
type Endpoints struct {
	Authorization string `json:"authorization"`
	Token         string `json:"token"`
	UserInfo      string `json:"userinfo"`
	Introspection string `json:"introspection"`
	Revocation    string `json:"revocation"`
}

// Endpoints are the provider's addresses.
func (s *Server) Endpoints() Endpoints {
	p := s.at.Provider
	return Endpoints{p + authorizePath, p + tokenPath, p + userInfoPath, p + introspectionPath, p + revocationPath}
}

// providerClaims is the provider's Entity Configuration.
func (s *Server) providerClaims(now time.Time) map[string]any {
	p, at := s.at.Provider, s.Endpoints()
	s.mu.Lock()
	own := s.entities[p]
	s.mu.Unlock()
	claims := []any{}
	for _, name := range attributeNames {
		claims = append(claims, name)
	}
	return map[string]any{
		"iss": p, "sub": p, "iat": now.Unix(), "exp": now.Add(s.lifetimes().Provider).Unix(),
		"jwks":            s.keys.federationSet(),
		"authority_hints": []any{s.at.Anchor},
		"trust_marks":     []any{s.markEntry(own)},
		"metadata": map[string]any{
			"federation_entity": map[string]any{
				"organization_name": "CieID simulato", "homepage_uri": p, "policy_uri": p + "/policy",
				"logo_uri": p + "/logo.svg", "contacts": []any{"cieid@pec.example.it"},
				"federation_resolve_endpoint": p + resolvePath,
			},
			TypeProvider: map[string]any{
				"issuer": p, "organization_name": "CieID simulato", "op_name": "CieID simulato", "logo_uri": p + "/logo.svg",
				"op_policy_uri": p + "/policy", "op_uri": p,
				"authorization_endpoint": at.Authorization, "token_endpoint": at.Token, "userinfo_endpoint": at.UserInfo,
				"introspection_endpoint": at.Introspection, "revocation_endpoint": at.Revocation,
				"jwks":                                                s.keys.coreSet(),
				"scopes_supported":                                    []any{"openid", "offline_access", "profile", "email"},
				"response_types_supported":                            []any{"code"},
				"response_modes_supported":                            []any{"form_post", "query"},
				"grant_types_supported":                               []any{"authorization_code", "refresh_token"},
				"acr_values_supported":                                []any{Level(1).ACR(), Level(2).ACR(), Level(3).ACR()},
				"subject_types_supported":                             []any{"pairwise"},
				"claims_supported":                                    claims,
				"claims_parameter_supported":                          true,
				"request_parameter_supported":                         true,
				"request_uri_parameter_supported":                     false,
				"authorization_response_iss_parameter_supported":      true,
				"code_challenge_methods_supported":                    []any{"S256"},
				"client_registration_types_supported":                 []any{"automatic"},
				"request_authentication_methods_supported":            map[string]any{"authorization_endpoint": []any{"request_object"}},
				"request_object_signing_alg_values_supported":         texts(signatureAlgs),
				"request_authentication_signing_alg_values_supported": texts(signatureAlgs),
				"token_endpoint_auth_methods_supported":               []any{"private_key_jwt"},
				"token_endpoint_auth_signing_alg_values_supported":    texts(signatureAlgs),
				"id_token_signing_alg_values_supported":               offeredAlgs,
				"userinfo_signing_alg_values_supported":               offeredAlgs,
				"id_token_encryption_alg_values_supported":            texts(keyAlgs),
				"id_token_encryption_enc_values_supported":            texts(contentAlgs),
				"userinfo_encryption_alg_values_supported":            texts(keyAlgs),
				"userinfo_encryption_enc_values_supported":            texts(contentAlgs),
			},
		},
	}
}

// offeredAlgs are the algorithms the provider can sign tokens with.
var offeredAlgs = []any{"RS256", "RS512", "ES256", "PS256", "PS512"}

func (s *Server) serveConfiguration(w http.ResponseWriter, _ *http.Request, f *flaws) {
	now := s.wire.Now()
	s.publish(w, f, "op-ec", "application/json", s.at.Provider, s.keys.federationKey(), now, func() (map[string]any, error) {
		claims := s.providerClaims(now)
		return claims, s.spoilConfiguration(f, claims, now)
	})
}

func (s *Server) spoilConfiguration(f *flaws, claims map[string]any, now time.Time) error {
	metadata, _ := claims["metadata"].(map[string]any)
	op, _ := metadata[TypeProvider].(map[string]any)
	if f.fires("op-ec-iss-not-sub") {
		claims["sub"] = s.at.Provider + "/another"
	}
	if f.fires("op-ec-hints-elsewhere") {
		claims["authority_hints"] = []any{s.at.Anchor + "/another"}
	}
	if f.fires("op-ec-hint-loop") {
		claims["authority_hints"] = []any{s.at.Provider}
	}
	if f.fires("op-ec-hints-many") {
		many := []any{}
		for i := range 1000 {
			many = append(many, fmt.Sprintf("%s/%d", s.at.Anchor, i))
		}
		claims["authority_hints"] = many
	}
	if f.fires("op-ec-essential-missing") {
		delete(op, "token_endpoint")
	}
	if f.fires("op-ec-wrong-issuer") {
		op["issuer"] = s.at.Provider + "/another"
	}
	return s.spoilMark(f, claims, now)
}

func (s *Server) spoilMark(f *flaws, claims map[string]any, now time.Time) error {
	if f.fires("mark-missing") {
		delete(claims, "trust_marks")
		return nil
	}
	role := TypeProvider + "/public"
	entryID := s.markID(role)
	mark := map[string]any{
		"iss": s.at.Anchor, "sub": s.at.Provider, "id": entryID, "organization_type": "public",
		"iat": now.Unix(), "exp": now.Add(markLifetime).Unix(),
	}
	key, touched := s.keys.anchorKey(), false
	spoil := func(name string, how func()) {
		if f.fires(name) {
			how()
			touched = true
		}
	}
	spoil("mark-other-subject", func() { mark["sub"] = s.at.Provider + "/another" })
	spoil("mark-issuer-unlisted", func() { mark["iss"] = s.at.Provider; key = s.keys.federationKey() })
	spoil("mark-expired", func() { mark["iat"], mark["exp"] = now.Add(-2*markLifetime).Unix(), now.Add(-time.Hour).Unix() })
	spoil("mark-foreign-key", func() { key = s.keys.foreignSigner(key) })
	spoil("mark-id-differs", func() { mark["id"] = s.markID(TypeProvider + "/private") })
	if !touched {
		return nil
	}
	compact, err := key.sign(typMark, mark)
	if err != nil {
		return err
	}
	claims["trust_marks"] = []any{map[string]any{"id": entryID, "iss": mark["iss"], "trust_mark": compact}}
	return nil
}

// refusal is an authorization request that was not accepted.
type refusal struct {
	page   bool   // shown here: nobody is redirected
	code   string // OAuth error
	check  string // ours, stable: which check refused
	detail string
}

func page(code, check, detail string) *refusal { return &refusal{true, code, check, detail} }

func redirected(code, check, detail string) *refusal { return &refusal{false, code, check, detail} }

// authRequest is an authorization request in which every check held, or, in a
// refusal that is redirected, what is needed to redirect.
type authRequest struct {
	client      *client
	redirectURI string
	state       string
	nonce       string
	challenge   string
	scopes      []string
	levels      []Level // in order of preference
	force       bool    // prompt=consent login
	userInfo    []string
	idToken     []string
	locales     []string
}

func (a *authRequest) least() Level { return slices.Min(a.levels) }

func (a *authRequest) offline() bool { return slices.Contains(a.scopes, "offline_access") }

// readAuthRequest holds a request against the table of entra-con-cie §3, in its
// order: first what is shown on a page, then what is redirected.
func (s *Server) readAuthRequest(ctx context.Context, params url.Values) (*authRequest, *refusal) {
	if err := once(params); err != nil {
		return nil, page("invalid_request", "repeated_parameter", err.Error())
	}
	compact := params.Get("request")
	switch {
	case compact == "" && params.Has("request_uri"):
		return nil, page("request_uri_not_supported", "request_uri", "request_uri is not supported")
	case compact == "":
		return nil, page("invalid_request", "request_missing", "request is missing")
	}
	j, err := readJWT(compact)
	if err != nil {
		return nil, page("invalid_request_object", "request_malformed", "request: "+err.Error())
	}
	clientID := j.text("client_id")
	switch {
	case clientID == "":
		return nil, page("invalid_request", "client_id_missing", "client_id is missing in the request object")
	case params.Has("client_id") && params.Get("client_id") != clientID:
		return nil, page("invalid_request", "client_id_differs", "client_id differs between parameter and request object")
	}
	c, untrusted := s.trusted(ctx, clientID)
	if untrusted != nil {
		r := page(untrusted.code, "client_untrusted", untrusted.Error())
		s.mu.Lock()
		r.page = !s.redirectTrust
		s.mu.Unlock()
		target := j.text("redirect_uri")
		u, err := url.Parse(target)
		if r.page || err != nil || !loopback(u.Hostname()) {
			r.page = true
			return nil, r
		}
		return &authRequest{redirectURI: target, state: j.text("state")}, r
	}
	if err = j.verify(c.keys); err != nil {
		return nil, page("invalid_request_object", "request_signature", "request: "+err.Error())
	}
	a := &authRequest{client: c, redirectURI: j.text("redirect_uri"), state: j.text("state")}
	switch {
	case a.redirectURI == "":
		return nil, page("invalid_request", "redirect_uri_missing", "redirect_uri is missing")
	case !slices.Contains(c.redirect, a.redirectURI):
		return nil, page("invalid_request", "redirect_uri_unregistered", "redirect_uri is not registered")
	}
	now := s.wire.Now()
	if r := checkRequestObject(params, j.claims, clientID, s.at.Provider, now); r != nil {
		return a, r
	}
	if r := a.read(params, j.claims); r != nil {
		return a, r
	}
	return a, s.replayed(j, clientID, now)
}

// replayed refuses a nonce or a jti the client has used before.
func (s *Server) replayed(j jwt, clientID string, now time.Time) *refusal {
	// Remembered a day: longer than any request object of the federation lives.
	until := now.Add(24 * time.Hour)
	if exp, ok := unixTime(j.claims["exp"]); ok && exp.After(until) {
		until = exp
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	if s.seen("nonce "+clientID+" "+j.text("nonce"), until) {
		return redirected("invalid_request", "nonce_replayed", "nonce was used before")
	}
	if jti := j.text("jti"); jti != "" && s.seen("request "+clientID+" "+jti, until) {
		return redirected("invalid_request", "jti_replayed", "jti was used before")
	}
	return nil
}

// checkRequestObject holds what every JWT of a client must say: whose, for
// whom, when.
func checkRequestObject(params url.Values, claims map[string]any, clientID, provider string, now time.Time) *refusal {
	bad := func(check, detail string) *refusal { return redirected("invalid_request_object", check, detail) }
	if params.Has("request_uri") || claims["request_uri"] != nil {
		return redirected("request_uri_not_supported", "request_uri", "request_uri is not supported")
	}
	if params.Has("registration") || claims["registration"] != nil {
		return redirected("registration_not_supported", "registration", "registration is not supported")
	}
	if claims["iss"] != clientID {
		return bad("iss", "iss is not client_id")
	}
	if !slices.Contains(audience(claims["aud"]), provider) {
		return bad("aud", "aud does not hold the provider")
	}
	if _, there := claims["sub"]; there {
		return bad("sub", "sub must not be there")
	}
	exp, ok := unixTime(claims["exp"])
	switch {
	case !ok:
		return bad("exp", "exp is missing or not a time")
	case !exp.After(now):
		return bad("exp", "exp is past")
	}
	if v, there := claims["iat"]; there {
		iat, ok := unixTime(v)
		if !ok || iat.After(now.Add(skew)) {
			return bad("iat", "iat is not a time, or in the future")
		}
	}
	if v, there := claims["jti"]; there {
		if text, ok := v.(string); !ok || text == "" {
			return bad("jti", "jti is not a text")
		}
	}
	return nil
}

var (
	challengeShape = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	alphanumeric   = regexp.MustCompile(`^[A-Za-z0-9]{32,}$`)
	// The primary subtag of RFC 5646 and whatever follows it.
	localeShape = regexp.MustCompile(`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$`)
)

// read checks the parameters of the request one by one and takes them.
func (a *authRequest) read(params url.Values, claims map[string]any) *refusal {
	text := func(name string) string { v, _ := claims[name].(string); return v }
	bad := func(check, detail string) *refusal { return redirected("invalid_request", check, detail) }
	// Parameters that stand on both sides with equal values.
	for _, name := range []string{"response_type", "scope", "code_challenge", "code_challenge_method"} {
		switch {
		case params.Get(name) == "":
			return bad(name+"_parameter_missing", name+" is missing as a parameter")
		case text(name) == "":
			return bad(name+"_missing", name+" is missing in the request object")
		case params.Get(name) != text(name):
			return bad(name+"_differs", name+" differs between parameter and request object")
		}
	}
	if text("response_type") != "code" {
		return redirected("unsupported_response_type", "response_type", "response_type is not code")
	}
	if r := a.readScope(text("scope")); r != nil {
		return r
	}
	if text("code_challenge_method") != "S256" {
		return bad("code_challenge_method", "code_challenge_method is not S256")
	}
	a.challenge = text("code_challenge")
	if !challengeShape.MatchString(a.challenge) {
		return bad("code_challenge", "code_challenge is not the base64url of a SHA-256")
	}
	a.nonce = text("nonce")
	if !alphanumeric.MatchString(a.nonce) {
		return bad("nonce", "nonce is missing or not at least 32 letters and digits")
	}
	switch text("prompt") {
	case "consent":
	case "consent login":
		a.force = true
	default:
		return bad("prompt", "prompt is neither consent nor consent login")
	}
	if text("acr_values") == "" {
		return bad("acr_values_missing", "acr_values is missing or not a text")
	}
	for _, acr := range strings.Fields(text("acr_values")) {
		l := levelOfACR(acr)
		if l == 0 {
			return bad("acr_values", "acr_values holds an unknown value")
		}
		a.levels = append(a.levels, l)
	}
	if len(a.levels) == 0 {
		return bad("acr_values_missing", "acr_values is empty")
	}
	if r := a.readClaims(claims["claims"]); r != nil {
		return r
	}
	if !alphanumeric.MatchString(a.state) {
		return bad("state", "state is missing or not at least 32 letters and digits")
	}
	if v, there := claims["ui_locales"]; there {
		list, ok := v.(string)
		a.locales = strings.Fields(list)
		if !ok || len(a.locales) == 0 || slices.ContainsFunc(a.locales, func(l string) bool { return !localeShape.MatchString(l) }) {
			return bad("ui_locales", "ui_locales is not a list of language tags")
		}
	}
	return nil
}

func (a *authRequest) readScope(scope string) *refusal {
	a.scopes = strings.Fields(scope)
	if !slices.Contains(a.scopes, "openid") {
		return redirected("invalid_scope", "scope_openid", "scope does not hold openid")
	}
	for _, s := range a.scopes {
		switch s {
		case "openid", "profile", "email":
		case "offline_access":
			// Every prompt of the profile holds consent; the client must be
			// registered for refresh tokens too.
			if !slices.Contains(a.client.grants, "refresh_token") {
				return redirected("invalid_scope", "offline_access", "offline_access without the refresh_token grant")
			}
		default:
			return redirected("invalid_scope", "scope", "scope holds an unknown value")
		}
	}
	return nil
}

// readClaims reads the parameter claims (OIDC Core 5.5). CIE: its absence is
// accepted, userinfo then holds sub alone; id_token is accepted.
func (a *authRequest) readClaims(v any) *refusal {
	if v == nil {
		return nil
	}
	bad := func(detail string) *refusal { return redirected("invalid_request", "claims", "claims: "+detail) }
	object, ok := v.(map[string]any)
	if !ok {
		return bad("not an object")
	}
	for part, wanted := range object {
		list, ok := wanted.(map[string]any)
		if !ok {
			return bad(part + " is not an object")
		}
		var names []string
		for name, how := range list {
			if !slices.Contains(attributeNames, name) {
				return redirected("invalid_request", "claims_unknown", "claims: unknown claim "+name)
			}
			if !claimRequest(how) {
				return bad(name + " is neither null nor an object of essential, value, values")
			}
			names = append(names, name)
		}
		slices.Sort(names)
		switch part {
		case "userinfo":
			a.userInfo = names
		case "id_token":
			a.idToken = names
		default:
			return bad("unknown member " + part)
		}
	}
	return nil
}

func claimRequest(v any) bool {
	if v == nil {
		return true
	}
	object, ok := v.(map[string]any)
	if !ok {
		return false
	}
	for name, value := range object {
		switch name {
		case "essential":
			_, ok = value.(bool)
		case "value":
		case "values":
			_, ok = value.([]any)
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return true
}

// interaction is a person on the way from a request to an answer.
type interaction struct {
	id      string
	req     *authRequest
	expires time.Time
	person  string // fiscal code, once chosen
	level   Level
	mode    Mode
	tries   int
	done    bool
}

// Auto answers authorization requests without pages.
type Auto struct {
	// People log in, taking turns; empty means everybody who can reach the level
	// asked first.
	People []string `json:"people,omitempty"`
	// Level at which they log in; 0 is the first asked for that they reach.
	Level Level `json:"level,omitempty"`
	// Mode recorded; empty is ModeDesktopPhone.
	Mode Mode `json:"mode,omitempty"`
	// Refuse consents to nothing: access_denied.
	Refuse bool `json:"refuse,omitempty"`
}

// SetAuto switches the pages off, or on again with nil. An unknown person or
// mode is an error.
func (s *Server) SetAuto(a *Auto) error {
	if a != nil {
		if a.Mode != "" && !slices.Contains(modes(), a.Mode) {
			return fmt.Errorf("unknown access mode %q", a.Mode)
		}
		for _, cf := range a.People {
			if _, ok := s.citizen(cf); !ok {
				return fmt.Errorf("%s: %w", cf, ErrNoSuchPerson)
			}
		}
		c := *a
		c.People = slices.Clone(a.People)
		a = &c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auto = a
	return nil
}

// next gives the person whose turn it is.
func (s *Server) next(a *Auto, first Level) (Citizen, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	turn := s.autoTurn
	s.autoTurn++
	if len(a.People) > 0 {
		cf := a.People[turn%len(a.People)]
		i := slices.IndexFunc(s.people, func(c Citizen) bool { return c.CF == cf })
		if i < 0 {
			return Citizen{}, false
		}
		return s.people[i], true
	}
	want := max(first, a.Level)
	for i := range s.people {
		c := s.people[(turn+i)%len(s.people)]
		if c.reaches(want) == nil && !c.Minor {
			s.autoTurn = turn + i + 1
			return c, true
		}
	}
	return Citizen{}, false
}

// serveAuthorize is the authorization endpoint.
func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	var params url.Values
	switch r.Method {
	case http.MethodGet:
		params = r.URL.Query()
	case http.MethodPost:
		form, err := readForm(w, r)
		if err != nil {
			s.refusePage(w, r, page("invalid_request", "form", err.Error()))
			return
		}
		params = form
	default:
		w.Header().Set("Allow", "GET, POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	a, refused := s.readAuthRequest(r.Context(), params)
	if refused != nil {
		if refused.page {
			s.refusePage(w, r, refused)
			return
		}
		s.refuseRedirect(w, a, refused)
		return
	}
	s.note(Event{Kind: "authorization_request", Client: a.client.id, Level: a.levels[0], Outcome: "accepted"})
	s.mu.Lock()
	auto := s.auto
	s.mu.Unlock()
	if auto != nil {
		s.answerAuto(w, a, auto)
		return
	}
	s.beginInteraction(w, r, a)
}

func (s *Server) answerAuto(w http.ResponseWriter, a *authRequest, auto *Auto) {
	c, ok := s.next(auto, a.levels[0])
	if !ok {
		s.deny(w, a, "", "access_denied", "nobody reaches the level")
		return
	}
	level := auto.Level
	if level == 0 {
		level = a.least()
		for _, l := range a.levels {
			if c.reaches(l) == nil {
				level = l
				break
			}
		}
	}
	mode := auto.Mode
	if mode == "" {
		mode = ModeDesktopPhone
	}
	switch err := c.reaches(level); {
	case err != nil:
		s.deny(w, a, c.CF, "access_denied", err.Error())
	case level < a.least():
		s.deny(w, a, c.CF, "access_denied", "level lower than asked")
	case auto.Refuse:
		s.deny(w, a, c.CF, "access_denied", "the user refused")
	default:
		s.consent(w, a, c, level, mode, true, a.offline())
	}
}

// deny answers an error the person caused.
func (s *Server) deny(w http.ResponseWriter, a *authRequest, cf, code, detail string) {
	s.note(Event{Kind: "login", Client: a.client.id, Person: cf, Outcome: code, Detail: detail})
	s.respond(w, a, s.flaws(OpAuthorize, cf), url.Values{"error": {code}, "error_description": {detail}})
}

// refuseRedirect answers an error of the request.
func (s *Server) refuseRedirect(w http.ResponseWriter, a *authRequest, r *refusal) {
	id := ""
	if a.client != nil {
		id = a.client.id
	}
	s.refuse(Refusal{Operation: OpAuthorize, Client: id, Status: http.StatusFound, Wire: r.code, Check: r.check, Detail: r.detail})
	s.respond(w, a, nil, url.Values{"error": {r.code}, "error_description": {r.detail}})
}

// consent issues the code.
func (s *Server) consent(w http.ResponseWriter, a *authRequest, c Citizen, level Level, mode Mode, auto, offline bool) {
	f := s.flaws(OpAuthorize, c.CF)
	for _, e := range errorFaults {
		if !f.fires(e.name) {
			continue
		}
		s.note(Event{Kind: "login", Client: a.client.id, Person: c.CF, Level: level, Mode: mode, Auto: auto, Outcome: e.code, Faults: slices.Clone(f.names)})
		description := "injected by the simulator"
		if e.name == "error-markup" {
			description = `<script>alert("1")</script>`
		}
		s.respond(w, a, f, url.Values{"error": {e.code}, "error_description": {description}})
		return
	}
	now := s.wire.Now()
	g := &grant{
		code: uuid4(), req: a, person: c, level: level, mode: mode, offline: offline,
		expires: now.Add(codeLifetime), sub: s.pairwise(c.CF, a.client.id),
	}
	s.mu.Lock()
	s.grants[g.code] = g
	old := s.lastCode
	s.lastCode = g.code
	s.mu.Unlock()
	code := g.code
	if old != "" && f.fires("response-old-code") {
		code = old
	}
	if f.fires("response-bad-code") {
		code = uuid4()
	}
	values := url.Values{"code": {code}}
	if f.fires("response-code-and-error") {
		values.Set("error", "server_error")
	}
	if f.fires("response-empty") {
		values.Del("code")
	}
	s.note(Event{Kind: "login", Client: a.client.id, Person: c.CF, Level: level, Mode: mode, Auto: auto, Outcome: "consented", Faults: slices.Clone(f.names)})
	s.respond(w, a, f, values)
}

// pairwise is the subject of a person for a client.
func (s *Server) pairwise(cf, clientID string) string {
	h := sha256.New()
	h.Write(s.keys.pairwise[:])
	h.Write([]byte(cf + "\n" + clientID))
	return hex.EncodeToString(h.Sum(nil))
}

// respond redirects to the client with state and iss (entra-con-cie §4.1).
func (s *Server) respond(w http.ResponseWriter, a *authRequest, f *flaws, values url.Values) {
	if a.state != "" {
		values.Set("state", a.state)
	}
	values.Set("iss", s.at.Provider)
	switch {
	case f.fires("response-wrong-state"):
		values.Set("state", strings.Repeat("x", 43))
	case f.fires("response-no-state"):
		values.Del("state")
	case f.fires("response-state-twice"):
		values.Add("state", a.state)
	}
	switch {
	case f.fires("response-wrong-iss"):
		values.Set("iss", s.at.Provider+"/another")
	case f.fires("response-no-iss"):
		values.Del("iss")
	}
	sendBack(w, f, a.redirectURI, values)
}

// sendBack redirects the browser to a client's redirect_uri with parameters.
func sendBack(w http.ResponseWriter, f *flaws, redirectURI string, values url.Values) {
	target, err := url.Parse(redirectURI)
	if err != nil {
		http.Error(w, "redirect_uri", http.StatusInternalServerError) // it was registered, so it parses
		return
	}
	q := target.Query()
	for name, list := range values {
		q[name] = list
	}
	target.RawQuery = q.Encode()
	if f != nil {
		f.mark(w.Header())
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", target.String())
	// 303: the answer to a page's POST must be fetched by GET.
	w.WriteHeader(http.StatusSeeOther)
}

// Provider is the protocol surface of the CIE provider and its pages.
func (s *Server) Provider() http.Handler {
	machine := map[string]struct {
		op    string
		serve func(http.ResponseWriter, *http.Request, *flaws)
	}{
		wellKnown: {OpConfiguration, s.serveConfiguration},
		resolvePath: {OpResolve, func(w http.ResponseWriter, r *http.Request, f *flaws) {
			s.serveResolve(w, r, f, s.at.Provider, s.keys.federationKey())
		}},
		tokenPath:         {OpToken, s.serveToken},
		userInfoPath:      {OpUserInfo, s.serveUserInfo},
		introspectionPath: {OpIntrospection, s.serveIntrospection},
		revocationPath:    {OpRevocation, s.serveRevocation},
	}
	op := func(r *http.Request) string { return machine[r.URL.Path].op }
	protocol := sim.Unpleasant(s.faults, s.clock, op, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route := machine[r.URL.Path]
		route.serve(w, r, s.flaws(route.op, ""))
	}))
	pages := s.pages()
	return s.serving("provider", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := machine[r.URL.Path]; ok {
			protocol.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	}))
}
