package opsim

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

// assertionType is the only kind of client assertion (entra-con-cie §4.3).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const typAccess = "at+jwt"

// grant is what a person consented to, from the code on.
type grant struct {
	code    string
	req     *authRequest
	person  Citizen
	level   Level
	mode    Mode
	offline bool
	sub     string
	expires time.Time // of the code
	used    bool
	tokens  []string // jti of the tokens issued for it
}

// token is an access or refresh token that is live.
type token struct {
	refresh bool
	client  string
	grant   *grant
	expires time.Time
	parent  string // of an access token: the refresh token it came with or from
}

// oauthError is an answer of the token, introspection and revocation endpoints
// (entra-con-cie §4.4).
type oauthError struct {
	status              int
	code, check, detail string
}

func badRequest(check, detail string) *oauthError {
	return &oauthError{http.StatusBadRequest, "invalid_request", check, detail}
}

func badGrant(check, detail string) *oauthError {
	return &oauthError{http.StatusBadRequest, "invalid_grant", check, detail}
}

func badClient(check, detail string) *oauthError {
	return &oauthError{http.StatusUnauthorized, "invalid_client", check, detail}
}

func (s *Server) failToken(w http.ResponseWriter, op, clientID string, e *oauthError) {
	s.refuse(Refusal{Operation: op, Client: clientID, Status: e.status, Wire: e.code, Check: e.check, Detail: e.detail})
	noStore(w)
	federationError(w, e.status, e.code, e.detail)
}

func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
}

// clientForm reads the form of an endpoint that clients authenticate at.
func (s *Server) clientForm(w http.ResponseWriter, r *http.Request, op, endpoint string) (url.Values, *client, bool) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		s.failToken(w, op, "", &oauthError{http.StatusMethodNotAllowed, "invalid_request", "method", "only POST"})
		return nil, nil, false
	}
	form, err := readForm(w, r)
	if err != nil {
		s.failToken(w, op, "", badRequest("form", err.Error()))
		return nil, nil, false
	}
	c, failed := s.authenticate(r.Context(), form, endpoint)
	if failed != nil {
		s.failToken(w, op, form.Get("client_id"), failed)
		return nil, nil, false
	}
	return form, c, true
}

// authenticate holds private_key_jwt against entra-con-cie §4.3.
func (s *Server) authenticate(ctx context.Context, form url.Values, endpoint string) (*client, *oauthError) {
	for _, name := range []string{"client_id", "client_assertion", "client_assertion_type"} {
		if form.Get(name) == "" {
			return nil, badRequest(name+"_missing", name+" is missing")
		}
	}
	if form.Get("client_assertion_type") != assertionType {
		return nil, badClient("client_assertion_type", "client_assertion_type is not "+assertionType)
	}
	j, err := readJWT(form.Get("client_assertion"))
	if err != nil {
		return nil, badClient("client_assertion_malformed", "client_assertion: "+err.Error())
	}
	clientID := form.Get("client_id")
	c, untrusted := s.trusted(ctx, clientID)
	if untrusted != nil {
		return nil, badClient("client_untrusted", untrusted.Error())
	}
	if err = j.verify(c.keys); err != nil {
		return nil, badClient("client_assertion_signature", "client_assertion: "+err.Error())
	}
	now := s.wire.Now()
	if failed := checkAssertion(j.claims, clientID, endpoint, now); failed != nil {
		return nil, failed
	}
	exp, _ := unixTime(j.claims["exp"])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	if s.seen("assertion "+clientID+" "+j.text("jti"), exp.Add(skew)) {
		return nil, badClient("jti_replayed", "jti was used before")
	}
	return c, nil
}

// checkAssertion holds the claims of a client assertion.
func checkAssertion(claims map[string]any, clientID, endpoint string, now time.Time) *oauthError {
	bad := func(check, detail string) *oauthError {
		return badClient("assertion_"+check, "client_assertion: "+detail)
	}
	iat, iatOK := unixTime(claims["iat"])
	exp, expOK := unixTime(claims["exp"])
	jti, _ := claims["jti"].(string)
	switch {
	case claims["iss"] != clientID:
		return bad("iss", "iss is missing or not client_id")
	case claims["sub"] != clientID:
		return bad("sub", "sub is missing or not iss")
	case !slices.Equal(audience(claims["aud"]), []string{endpoint}):
		return bad("aud", "aud is missing or not "+endpoint)
	case !iatOK:
		return bad("iat", "iat is missing or not a time")
	case iat.After(now.Add(skew)) || iat.Before(now.Add(-skew)):
		return bad("iat_skew", "iat is more than three minutes off")
	case !expOK:
		return bad("exp", "exp is missing or not a time")
	case !exp.After(now):
		return bad("exp_past", "exp is past")
	case len(jti) < 16:
		return bad("jti", "jti is missing or shorter than 16 bytes")
	}
	return nil
}

var verifierShape = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request, f *flaws) {
	form, c, ok := s.clientForm(w, r, OpToken, s.Endpoints().Token)
	if !ok {
		return
	}
	switch grantType := form.Get("grant_type"); grantType {
	case "authorization_code":
		g, failed := s.redeem(form, c)
		if failed != nil {
			s.failToken(w, OpToken, c.id, failed)
			return
		}
		f.subject = g.person.CF
		s.issue(w, c, g, f)
	case "refresh_token":
		g, failed := s.refresh(form, c)
		if failed != nil {
			s.failToken(w, OpToken, c.id, failed)
			return
		}
		f.subject = g.person.CF
		s.reissue(w, c, g, f)
	case "":
		s.failToken(w, OpToken, c.id, badRequest("grant_type_missing", "grant_type is missing"))
	default:
		s.failToken(w, OpToken, c.id, &oauthError{http.StatusBadRequest, "unsupported_grant_type", "grant_type", "grant_type is neither authorization_code nor refresh_token"})
	}
}

// redeem takes a code: once, by its client, with its redirect_uri and verifier.
// A code shown a second time takes the tokens of the first with it (RFC 6749
// §4.1.2), and a wrong verifier uses it up.
func (s *Server) redeem(form url.Values, c *client) (*grant, *oauthError) {
	for _, name := range []string{"code", "code_verifier", "redirect_uri"} {
		if form.Get(name) == "" {
			return nil, badRequest(name+"_missing", name+" is missing")
		}
	}
	now := s.wire.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[form.Get("code")]
	switch {
	case g == nil:
		return nil, badGrant("code", "the code is unknown")
	case g.req.client.id != c.id:
		return nil, badGrant("code_client", "the code is another client's")
	case g.used:
		for _, jti := range g.tokens {
			delete(s.tokens, jti)
		}
		return nil, badGrant("code_reused", "the code was used before")
	case !now.Before(g.expires):
		return nil, badGrant("code_expired", "the code is older than five minutes")
	case form.Get("redirect_uri") != g.req.redirectURI:
		return nil, badGrant("redirect_uri", "redirect_uri is not that of the authorization request")
	}
	g.used = true
	verifier := form.Get("code_verifier")
	sum := sha256.Sum256([]byte(verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	if !verifierShape.MatchString(verifier) || subtle.ConstantTimeCompare([]byte(challenge), []byte(g.req.challenge)) != 1 {
		return nil, badGrant("code_verifier", "code_verifier does not fit the challenge")
	}
	return g, nil
}

// refresh takes a refresh token: it is replaced, and all earlier tokens of the
// grant are void (entra-con-cie §6).
func (s *Server) refresh(form url.Values, c *client) (*grant, *oauthError) {
	if form.Get("refresh_token") == "" {
		return nil, badRequest("refresh_token_missing", "refresh_token is missing")
	}
	j, err := readJWT(form.Get("refresh_token"))
	if err != nil || j.verify(s.keys.coreSet().Keys) != nil {
		return nil, badGrant("refresh_token", "the refresh token is not one of ours")
	}
	now := s.wire.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[j.text("jti")]
	if t == nil || !t.refresh || t.client != c.id || !now.Before(t.expires) {
		return nil, badGrant("refresh_token", "the refresh token is unknown, void or expired")
	}
	for _, jti := range t.grant.tokens {
		delete(s.tokens, jti)
	}
	t.grant.tokens = nil
	return t.grant, nil
}

// newAccess makes an access token (entra-con-cie §4.5) and remembers it.
func (s *Server) newAccess(c *client, g *grant, parent string, f *flaws, now time.Time) (compact, jti string, err error) {
	key, ok := s.keys.coreKey(jose.RS256)
	if !ok {
		return "", "", fmt.Errorf("no key for %s", jose.RS256)
	}
	jti = uuid4()
	claims := map[string]any{
		"iss": s.at.Provider, "sub": g.sub, "client_id": c.id, "aud": []any{s.Endpoints().UserInfo},
		"scope": strings.Join(g.req.scopes, " "), "iat": now.Unix(), "exp": now.Add(accessLifetime).Unix(), "jti": jti,
	}
	if f.fires("access-token-wrong-iss") {
		claims["iss"] = s.at.Provider + "/another"
	}
	if f.fires("access-token-wrong-client") {
		claims["client_id"] = c.id + "/another"
	}
	if f.fires("access-token-other-sub") {
		claims["sub"] = s.pairwise("another", c.id)
	}
	compact, err = f.sign("access-token", paper{typ: typAccess, claims: claims, key: key}, now)
	if err != nil {
		return "", "", err
	}
	s.remember(jti, &token{client: c.id, grant: g, expires: now.Add(accessLifetime), parent: parent})
	return compact, jti, nil
}

func (s *Server) newRefresh(c *client, g *grant, now time.Time) (compact, jti string, err error) {
	key, ok := s.keys.coreKey(jose.RS256)
	if !ok {
		return "", "", fmt.Errorf("no key for %s", jose.RS256)
	}
	jti = uuid4()
	compact, err = key.sign("JWT", map[string]any{
		"iss": s.at.Provider, "client_id": c.id, "aud": s.Endpoints().Token,
		"iat": now.Unix(), "exp": now.Add(refreshLifetime).Unix(), "jti": jti,
	})
	if err != nil {
		return "", "", err
	}
	s.remember(jti, &token{refresh: true, client: c.id, grant: g, expires: now.Add(refreshLifetime)})
	return compact, jti, nil
}

func (s *Server) remember(jti string, t *token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[jti] = t
	t.grant.tokens = append(t.grant.tokens, jti)
}

// issue answers a redeemed code.
func (s *Server) issue(w http.ResponseWriter, c *client, g *grant, f *flaws) {
	if s.tokenFault(w, f) {
		return
	}
	now := s.wire.Now()
	answer := map[string]any{"token_type": "Bearer", "expires_in": int(accessLifetime / time.Second), "scope": strings.Join(g.req.scopes, " ")}
	parent := ""
	var err error
	if g.offline {
		answer["refresh_token"], parent, err = s.newRefresh(c, g, now)
	}
	var access, jti, id string
	if err == nil {
		access, jti, err = s.newAccess(c, g, parent, f, now)
	}
	if err == nil {
		id, err = s.newIDToken(c, g, access, f, now)
	}
	if err != nil {
		internalError(w, err)
		return
	}
	answer["access_token"], answer["id_token"] = access, id
	s.note(Event{Kind: "token", Client: c.id, Person: g.person.CF, Level: g.level, Mode: g.mode, JTI: jti, Outcome: "issued", Faults: slices.Clone(f.names)})
	s.answerTokens(w, f, answer)
}

// reissue answers a refresh: access and refresh token, never an ID Token.
func (s *Server) reissue(w http.ResponseWriter, c *client, g *grant, f *flaws) {
	now := s.wire.Now()
	refresh, parent, err := s.newRefresh(c, g, now)
	var access, jti string
	if err == nil {
		access, jti, err = s.newAccess(c, g, parent, nil, now)
	}
	if err != nil {
		internalError(w, err)
		return
	}
	answer := map[string]any{
		"token_type": "Bearer", "expires_in": int(accessLifetime / time.Second), "scope": strings.Join(g.req.scopes, " "),
		"access_token": access, "refresh_token": refresh,
	}
	if f.fires("refresh-id-token") {
		answer["id_token"], err = s.newIDToken(c, g, access, nil, now)
		if err != nil {
			internalError(w, err)
			return
		}
	}
	s.note(Event{Kind: "refresh", Client: c.id, Person: g.person.CF, JTI: jti, Outcome: "issued", Faults: slices.Clone(f.names)})
	s.answerTokens(w, f, answer)
}

// tokenFault answers a fault that comes instead of tokens.
func (s *Server) tokenFault(w http.ResponseWriter, f *flaws) bool {
	for _, c := range []struct {
		name, code string
		status     int
	}{
		{"token-temporarily-unavailable", "temporarily_unavailable", http.StatusServiceUnavailable},
		{"token-server-error", "server_error", http.StatusInternalServerError},
		{"token-invalid-grant", "invalid_grant", http.StatusBadRequest},
		{"token-invalid-client", "invalid_client", http.StatusUnauthorized},
		{"token-invalid-request", "invalid_request", http.StatusBadRequest},
	} {
		if f.fires(c.name) {
			f.mark(w.Header())
			noStore(w)
			federationError(w, c.status, c.code, "injected by the simulator")
			return true
		}
	}
	if f.fires("token-redirect") {
		f.mark(w.Header())
		w.Header().Set("Location", s.Endpoints().Token+"?again")
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
	if f.fires("token-oversized") {
		f.mark(w.Header())
		w.Header().Set("Content-Type", "application/json")
		oversized(w)
		return true
	}
	return false
}

func (s *Server) answerTokens(w http.ResponseWriter, f *flaws, answer map[string]any) {
	if f.fires("token-no-id-token") {
		delete(answer, "id_token")
	}
	if f.fires("token-no-access-token") {
		delete(answer, "access_token")
	}
	if f.fires("token-type-mac") {
		answer["token_type"] = "mac"
	}
	if f.fires("token-extra-member") {
		answer["not_before_policy"] = 0
	}
	f.mark(w.Header())
	noStore(w)
	sim.WriteJSON(w, http.StatusOK, answer)
}

// leftHalf is at_hash (OIDC Core 3.1.3.6) for the algorithm of the ID Token.
func leftHalf(alg jose.SignatureAlgorithm, text string) string {
	if strings.HasSuffix(string(alg), "512") {
		sum := sha512.Sum512([]byte(text))
		return base64.RawURLEncoding.EncodeToString(sum[:32])
	}
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// newIDToken makes the ID Token (entra-con-cie §4.6), encrypted when that was
// registered.
func (s *Server) newIDToken(c *client, g *grant, access string, f *flaws, now time.Time) (string, error) {
	alg := jose.SignatureAlgorithm(c.text("id_token_signed_response_alg"))
	key, ok := s.keys.coreKey(alg)
	if !ok {
		return "", fmt.Errorf("no key for %s", alg)
	}
	claims := map[string]any{
		"iss": s.at.Provider, "sub": g.sub, "aud": c.id, "acr": g.level.ACR(), "at_hash": leftHalf(alg, access),
		"iat": now.Unix(), "exp": now.Add(idTokenLifetime).Unix(), "jti": uuid4(), "nonce": g.req.nonce,
	}
	maps.Copy(claims, released(g.person, scopesAnd(g.req.scopes, g.req.idToken)))
	if f != nil {
		s.spoilIDToken(f, claims, c, g, now)
		if f.fires("id-token-other-alg") {
			other := jose.RS512
			if alg == jose.RS512 {
				other = jose.RS256
			}
			key, _ = s.keys.coreKey(other)
		}
	}
	compact, err := f.sign("id-token", paper{typ: "JWT", claims: claims, key: key}, now)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	if jti, _ := claims["jti"].(string); jti != "" {
		s.lastIDJTI = jti
	}
	s.mu.Unlock()
	if enc := c.text("id_token_encrypted_response_alg"); enc != "" {
		return s.encryptFor(c, enc, c.text("id_token_encrypted_response_enc"), compact, nil)
	}
	return compact, nil
}

func (s *Server) spoilIDToken(f *flaws, claims map[string]any, c *client, g *grant, now time.Time) {
	set := func(fault, claim string, v any) {
		if f.fires(fault) {
			claims[claim] = v
		}
	}
	drop := func(fault, claim string) {
		if f.fires(fault) {
			delete(claims, claim)
		}
	}
	set("id-token-wrong-iss", "iss", s.at.Provider+"/another")
	set("id-token-wrong-aud", "aud", c.id+"/another")
	set("id-token-two-audiences", "aud", []any{c.id, c.id + "/another"})
	set("id-token-wrong-nonce", "nonce", strings.Repeat("n", 43))
	drop("id-token-no-nonce", "nonce")
	set("id-token-wrong-at-hash", "at_hash", leftHalf(jose.RS256, "another"))
	drop("id-token-no-at-hash", "at_hash")
	drop("id-token-no-exp", "exp")
	drop("id-token-no-jti", "jti")
	drop("id-token-no-sub", "sub")
	drop("id-token-no-acr", "acr")
	set("id-token-unknown-acr", "acr", "https://www.cie.gov.it/IAL3")
	set("id-token-lower-acr", "acr", (g.req.least() - 1).ACR())
	set("id-token-not-yet", "nbf", now.Add(time.Hour).Unix())
	set("id-token-stale", "iat", now.Add(-time.Hour).Unix())
	s.mu.Lock()
	old := s.lastIDJTI
	s.mu.Unlock()
	if old != "" {
		set("id-token-old-jti", "jti", old)
	}
}

// scopesAnd are the names of the claims to release.
func scopesAnd(scopes, names []string) []string {
	list := slices.Clone(names)
	for _, scope := range scopes {
		list = append(list, scopeClaims[scope]...)
	}
	return list
}

func released(c Citizen, names []string) map[string]any {
	all, out := c.attributes(), map[string]any{}
	for _, name := range names {
		if v, has := all[name]; has {
			out[name] = v
		}
	}
	return out
}

// bearer finds the live access token of a userinfo request.
func (s *Server) bearer(r *http.Request) (*token, *oauthError) {
	header := r.Header.Get("Authorization")
	scheme, compact, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || compact == "" {
		return nil, &oauthError{http.StatusUnauthorized, "invalid_request", "bearer_missing", "no bearer token"}
	}
	bad := func(check, detail string) *oauthError {
		return &oauthError{http.StatusUnauthorized, "invalid_token", check, detail}
	}
	j, err := readJWT(compact)
	if err != nil || j.typ != typAccess || j.verify(s.keys.coreSet().Keys) != nil {
		return nil, bad("bearer", "not an access token of ours")
	}
	now := s.wire.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[j.text("jti")]
	if t == nil || t.refresh || !now.Before(t.expires) {
		return nil, bad("bearer_inactive", "the access token is expired or revoked")
	}
	return t, nil
}

func (s *Server) serveUserInfo(w http.ResponseWriter, r *http.Request, f *flaws) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		s.failToken(w, OpUserInfo, "", &oauthError{http.StatusMethodNotAllowed, "invalid_request", "method", "only GET and POST"})
		return
	}
	t, failed := s.bearer(r)
	if failed != nil {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer error=%q", failed.code))
		s.failToken(w, OpUserInfo, "", failed)
		return
	}
	c := t.grant.req.client
	f.subject = t.grant.person.CF
	if s.userInfoFault(w, f) {
		return
	}
	now := s.wire.Now()
	claims := map[string]any{
		"iss": s.at.Provider, "aud": c.id, "sub": t.grant.sub,
		"iat": now.Unix(), "exp": now.Add(idTokenLifetime).Unix(), "jti": uuid4(),
	}
	maps.Copy(claims, released(t.grant.person, scopesAnd(t.grant.req.scopes, t.grant.req.userInfo)))
	body, contentType, err := s.userInfo(c, claims, f, now)
	if err != nil {
		internalError(w, err)
		return
	}
	s.note(Event{Kind: "userinfo", Client: c.id, Person: t.grant.person.CF, Outcome: "told", Faults: slices.Clone(f.names)})
	f.mark(w.Header())
	noStore(w)
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write([]byte(body))
}

func (s *Server) userInfoFault(w http.ResponseWriter, f *flaws) bool {
	for _, c := range []struct {
		name   string
		status int
	}{{"userinfo-refused", http.StatusUnauthorized}, {"userinfo-not-allowed", http.StatusMethodNotAllowed}} {
		if f.fires(c.name) {
			f.mark(w.Header())
			federationError(w, c.status, "invalid_token", "injected by the simulator")
			return true
		}
	}
	if f.fires("userinfo-oversized") {
		f.mark(w.Header())
		w.Header().Set("Content-Type", "application/jwt")
		oversized(w)
		return true
	}
	return false
}

// userInfo makes the nested answer (entra-con-cie §5) and its content type.
func (s *Server) userInfo(c *client, claims map[string]any, f *flaws, now time.Time) (body, contentType string, err error) {
	if f.fires("userinfo-wrong-iss") {
		claims["iss"] = s.at.Provider + "/another"
	}
	if f.fires("userinfo-wrong-aud") {
		claims["aud"] = c.id + "/another"
	}
	if f.fires("userinfo-other-sub") {
		claims["sub"] = s.pairwise("another", c.id)
	}
	if f.fires("userinfo-no-fiscal-number") {
		delete(claims, eid+"fiscal_number")
	}
	if f.fires("userinfo-bad-fiscal-number") {
		claims[eid+"fiscal_number"] = "TINIT-ABCDEF00A00A000A"
	}
	if f.fires("userinfo-extra-claim") {
		claims["favourite_colour"] = "azzurro"
	}
	if f.fires("userinfo-plain-json") {
		text, err := json.Marshal(claims)
		if err != nil {
			return "", "", fmt.Errorf("userinfo: %w", err)
		}
		return string(text), "application/json", nil
	}
	alg := jose.SignatureAlgorithm(c.text("userinfo_signed_response_alg"))
	key, ok := s.keys.coreKey(alg)
	if !ok {
		return "", "", fmt.Errorf("no key for %s", alg)
	}
	inner, err := f.sign("userinfo", paper{cty: "JWT", claims: claims, key: key}, now)
	if err != nil {
		return "", "", err
	}
	if f.fires("userinfo-unencrypted") {
		return inner, "application/jwt", nil
	}
	if f.fires("userinfo-quoted") {
		inner = `"` + inner + `"`
	}
	contentType = "application/jwt"
	if f.fires("userinfo-application-jose") {
		contentType = "application/jose"
	}
	body, err = s.encryptFor(c, c.text("userinfo_encrypted_response_alg"), c.text("userinfo_encrypted_response_enc"), inner, f)
	return body, contentType, err
}

// encryptFor makes a JWE for the client's encryption key.
func (s *Server) encryptFor(c *client, alg, enc, plain string, f *flaws) (string, error) {
	key, ok := c.encryptionKey()
	if !ok {
		return "", fmt.Errorf("%s has no encryption key", c.id)
	}
	recipient := jose.Recipient{Algorithm: jose.KeyAlgorithm(alg), Key: key.Key, KeyID: key.KeyID}
	if f.fires("userinfo-wrong-enc-kid") {
		recipient.KeyID = "nobody-published-this"
	}
	if f.fires("userinfo-foreign-enc-key") {
		switch key.Key.(type) {
		case *rsa.PublicKey:
			recipient.Key = s.keys.foreign.Public()
		case *ecdsa.PublicKey:
			recipient.Key = s.keys.foreignEC.Public()
		}
	}
	if f.fires("userinfo-rsa1-5") {
		recipient.Algorithm = jose.RSA1_5
	}
	content := jose.ContentEncryption(enc)
	if f.fires("userinfo-gcm") {
		content = jose.A256GCM
	}
	opts := &jose.EncrypterOptions{}
	if !f.fires("userinfo-no-cty") {
		opts = opts.WithContentType("JWT")
	}
	e, err := jose.NewEncrypter(content, recipient, opts)
	if err != nil {
		return "", fmt.Errorf("encrypt for %s: %w", c.id, err)
	}
	jwe, err := e.Encrypt([]byte(plain))
	if err != nil {
		return "", fmt.Errorf("encrypt for %s: %w", c.id, err)
	}
	return jwe.CompactSerialize()
}

// presented finds a token that a client shows at introspection or revocation;
// nil when it is unknown, void or another client's.
func (s *Server) presented(compact string, c *client) (string, *token) {
	j, err := readJWT(compact)
	if err != nil || j.verify(s.keys.coreSet().Keys) != nil {
		return "", nil
	}
	now := s.wire.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[j.text("jti")]
	if t == nil || t.client != c.id || !now.Before(t.expires) {
		return "", nil
	}
	return j.text("jti"), t
}

func (s *Server) serveIntrospection(w http.ResponseWriter, r *http.Request, f *flaws) {
	form, c, ok := s.clientForm(w, r, OpIntrospection, s.Endpoints().Introspection)
	if !ok {
		return
	}
	if form.Get("token") == "" {
		s.failToken(w, OpIntrospection, c.id, badRequest("token_missing", "token is missing"))
		return
	}
	_, t := s.presented(form.Get("token"), c)
	f.mark(w.Header())
	noStore(w)
	// CIE tells nothing but active.
	sim.WriteJSON(w, http.StatusOK, map[string]bool{"active": t != nil})
}

// serveRevocation answers 200 also for unknown tokens. Revoking an access token
// leaves the refresh token alive; revoking a refresh token takes its access
// tokens with it (entra-con-cie §6).
func (s *Server) serveRevocation(w http.ResponseWriter, r *http.Request, f *flaws) {
	form, c, ok := s.clientForm(w, r, OpRevocation, s.Endpoints().Revocation)
	if !ok {
		return
	}
	if form.Get("token") == "" {
		s.failToken(w, OpRevocation, c.id, badRequest("token_missing", "token is missing"))
		return
	}
	jti, t := s.presented(form.Get("token"), c)
	e := Event{Kind: "revocation", Client: c.id, Outcome: "unknown", JTI: jti}
	if t != nil {
		s.mu.Lock()
		delete(s.tokens, jti)
		if t.refresh {
			for other, o := range s.tokens {
				if o.parent == jti {
					delete(s.tokens, other)
				}
			}
		}
		s.mu.Unlock()
		e.Person, e.Outcome = t.grant.person.CF, "revoked"
	}
	s.note(e)
	f.mark(w.Header())
	noStore(w)
	w.WriteHeader(http.StatusOK)
}
