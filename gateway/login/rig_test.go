package login_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway/federation"
	"airegw/gateway/jose"
	"airegw/gateway/login"
	"airegw/testharness/sim"
)

// rig is a provider that is small and quick, with EC keys, and says what a test
// has it say. The simulator of testharness/opsim judges what we send; this one
// spoils, member by member, what we get.
type rig struct {
	t         testing.TB
	clock     *sim.ManualClock
	store     *watched
	entity    *federation.Entity
	provider  *federation.Provider
	citizens  *login.Citizens
	binding   string
	url       string
	key       jose.Key // the provider's
	other     jose.Key // another of its keys, of an algorithm that was not registered
	stranger  jose.Key // nobody's
	challenge string   // of the attempt under way
	request   map[string]any
	nonce     string
	revoked   []string
	given     string   // the access token last given
	assertion []string // jti seen

	idToken, access, userInfo token
	params                    func(url.Values)
	tokenAnswer               func(answer map[string]any)
	tokenStatus               int
	tokenType                 string
	outer                     func(inner string) string // makes the UserInfo body
	infoType                  string
	infoStatus                int
	revokeStatus              int
	revokeBody                string
}

// token is how one is made.
type token struct {
	change func(claims map[string]any)
	key    *jose.Key // instead of the provider's
	typ    *string
	forge  bool // a stranger's signature under the provider's kid
}

// rigKeys are the same in all rigs.
var rigKeys = sync.OnceValue(func() []jose.Key {
	var out []jose.Key
	for _, alg := range []jose.Algorithm{jose.ES256, jose.ES512, jose.ES256, jose.ES256, jose.ES256, jose.ECDHES, jose.ECDHES, jose.ECDHES} {
		k, err := jose.GenerateKey(alg)
		if err != nil {
			panic(err)
		}
		out = append(out, k)
	}
	return out
})

const clientID = "https://gw.example.test/c_h501"

var rigSuite = federation.Suite{Sign: jose.ES256, Encrypt: jose.ECDHES, Content: jose.A256CBCHS512}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigOn(t, common(t))
}

// newRigOn is newRig over a store that others use too.
func newRigOn(t testing.TB, stored *watched) *rig {
	t.Helper()
	k := rigKeys()
	r := &rig{
		t: t, clock: sim.NewManual(start), key: k[0], other: k[1], stranger: k[2],
		tokenType: "application/json", infoType: "application/jwt", tokenStatus: 200, infoStatus: 200, revokeStatus: 200,
	}
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(server.Close)
	r.url = server.URL
	r.store = &watched{Store: stored.Store}
	var err error
	r.entity, err = federation.NewEntity(federation.EntityConfig{
		ID: clientID, AuthorityHints: []string{"https://ta.example.test"}, Organization: "Comune di Prova",
		HomepageURI: "https://gw.example.test", PolicyURI: "https://gw.example.test/privacy", Contacts: []string{"ente@pec.example.test"},
		RedirectURIs: []string{clientID + "/callback"}, Suite: rigSuite,
		Keys:              federation.Keys{Federation: k[3], CoreSign: k[4], CoreEncrypt: k[5]},
		FormerCoreEncrypt: []jose.Key{k[6]},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.provider = &federation.Provider{
		Issuer: r.url, AuthorizationEndpoint: r.url + "/authorize", TokenEndpoint: r.url + "/token", UserInfoEndpoint: r.url + "/userinfo",
		RevocationEndpoint: r.url + "/revocation", Keys: jose.NewKeySet(r.key.Public(), r.other.Public()),
	}
	r.outer = r.encrypted(r.entity.Keys().CoreEncrypt.Public(), rigSuite.Content)
	r.citizens, err = login.NewCitizens(login.CitizensConfig{
		Entity: r.entity, RedirectURI: clientID + "/callback", Client: client(t, r.clock.Now), Store: r.store, Clock: r.clock.Now, Random: rand.Reader,
		Provider: func() (*federation.Provider, *federation.Chain, error) {
			if r.provider == nil {
				return nil, nil, &federation.Unavailable{RetryAt: r.clock.Now().Add(time.Minute)}
			}
			return r.provider, nil, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.binding, err = login.NewBinding(rand.Reader); err != nil {
		t.Fatal(err)
	}
	return r
}

// encrypted makes the JWE of a UserInfo answer.
func (r *rig) encrypted(to jose.PublicKey, content jose.ContentEncryption) func(string) string {
	return func(inner string) string {
		out, err := jose.Encrypt(to, to.Algorithm(), content, "JWT", []byte(inner))
		if err != nil {
			r.t.Error(err)
		}
		return out
	}
}

// sign makes a token of the provider.
func (r *rig) sign(s token, typ string, claims map[string]any) string {
	if s.change != nil {
		s.change(claims)
	}
	key := r.key
	if s.key != nil {
		key = *s.key
	}
	if s.typ != nil {
		typ = *s.typ
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		r.t.Error(err)
	}
	sign := func(k jose.Key) string {
		out, err := jose.SignBytes(k, jose.Header{Typ: typ, NoTyp: typ == ""}, payload)
		if err != nil {
			r.t.Error(err)
		}
		return out
	}
	out := sign(key)
	if s.forge {
		out = out[:strings.LastIndex(out, ".")] + sign(r.stranger)[strings.LastIndex(sign(r.stranger), "."):]
	}
	return out
}

func (r *rig) serve(w http.ResponseWriter, q *http.Request) {
	if err := q.ParseForm(); err != nil {
		r.t.Error(err)
	}
	now := r.clock.Now()
	switch q.URL.Path {
	case "/token":
		r.judgeClient(q, r.provider.TokenEndpoint)
		sum := sha256.Sum256([]byte(q.PostForm.Get("code_verifier")))
		if base64.RawURLEncoding.EncodeToString(sum[:]) != r.challenge || q.PostForm.Get("redirect_uri") != clientID+"/callback" || q.PostForm.Get("code") != "the-code" || q.PostForm.Get("grant_type") != "authorization_code" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
			return
		}
		access := r.sign(r.access, jose.TypeAccessToken, map[string]any{
			"iss": r.url, "sub": "subject-1", "client_id": clientID, "aud": []string{r.url}, "scope": "openid",
			"iat": now.Unix(), "exp": now.Add(15 * time.Minute).Unix(), "jti": fresh(),
		})
		answer := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 900}
		answer["id_token"] = r.sign(r.idToken, jose.TypeJWT, map[string]any{
			"iss": r.url, "sub": "subject-1", "aud": clientID, "acr": login.Level2.ACR(), "nonce": r.nonce, "at_hash": half(access),
			"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": fresh(),
		})
		if r.tokenAnswer != nil {
			r.tokenAnswer(answer)
		}
		r.given, _ = answer["access_token"].(string)
		w.Header().Set("Content-Type", r.tokenType)
		w.WriteHeader(r.tokenStatus)
		_ = json.NewEncoder(w).Encode(answer)
	case "/userinfo":
		if q.Method != http.MethodGet || !strings.HasPrefix(q.Header.Get("Authorization"), "Bearer ey") || q.URL.RawQuery != "" {
			r.t.Errorf("%s %s", q.Method, q.URL)
		}
		inner := r.sign(r.userInfo, jose.TypeJWT, map[string]any{
			"iss": r.url, "aud": clientID, "sub": "subject-1", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
			"given_name": "Ada", "family_name": "Prova", "birthdate": "1990-01-31",
			"https://attributes.eid.gov.it/fiscal_number": "TINIT-" + person,
		})
		w.Header().Set("Content-Type", r.infoType)
		w.WriteHeader(r.infoStatus)
		_, _ = w.Write([]byte(r.outer(inner)))
	case "/revocation":
		r.judgeClient(q, r.provider.RevocationEndpoint)
		r.revoked = append(r.revoked, q.PostForm.Get("token"))
		w.WriteHeader(r.revokeStatus)
		_, _ = w.Write([]byte(r.revokeBody))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// judgeClient holds client authentication against D token_endpoint.
func (r *rig) judgeClient(q *http.Request, endpoint string) {
	if q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		r.t.Errorf("%s %s %q", q.Method, q.URL.Path, q.Header.Get("Content-Type"))
	}
	v, err := jose.Verify(q.PostForm.Get("client_assertion"), jose.NewKeySet(r.entity.Keys().CoreSign.Public()), jose.Expect{
		Algs: []jose.Algorithm{jose.ES256}, Typ: []string{jose.TypeJWT}, Now: r.clock.Now(), Issuer: clientID, Subject: clientID,
		Audience: endpoint, MaxLife: 5 * time.Minute,
	}, nil)
	if err != nil || len(v.Audience) != 1 || len(v.ID) < 16 {
		r.t.Errorf("client assertion: %+v %v", v, err)
	}
	for _, seen := range r.assertion {
		if seen == v.ID {
			r.t.Error("a client assertion was used twice")
		}
	}
	r.assertion = append(r.assertion, v.ID)
	if q.PostForm.Get("client_id") != clientID || q.PostForm.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		r.t.Errorf("form %v", q.PostForm)
	}
}

func fresh() string {
	s, err := login.NewBinding(rand.Reader)
	if err != nil {
		panic(err)
	}
	return s
}

func half(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// begin starts an attempt and reads the request as the provider would.
func (r *rig) begin(s login.Start) (url.Values, error) {
	r.t.Helper()
	if s.Binding == "" {
		s.Binding = r.binding
	}
	if s.Level == 0 {
		s.Level = login.Level2
	}
	to, err := r.citizens.Begin(r.t.Context(), s)
	if err != nil {
		return nil, err
	}
	at, err := url.Parse(to.URL)
	if err != nil {
		r.t.Fatal(err)
	}
	q := at.Query()
	v, err := jose.VerifyBytes(q.Get("request"), jose.NewKeySet(r.entity.Keys().CoreSign.Public()), []jose.Algorithm{jose.ES256}, []string{""})
	if err != nil {
		r.t.Fatal(err)
	}
	r.request = map[string]any{}
	if err := json.Unmarshal(v.Payload, &r.request); err != nil {
		r.t.Fatal(err)
	}
	r.challenge, _ = r.request["code_challenge"].(string)
	r.nonce, _ = r.request["nonce"].(string)
	return q, nil
}

// answer is what a flawless provider sends to our redirect address.
func (r *rig) answer() url.Values {
	return url.Values{"code": {"the-code"}, "state": {r.request["state"].(string)}, "iss": {r.url}}
}

func (r *rig) enter(s login.Start) (login.Identity, error) {
	r.t.Helper()
	if _, err := r.begin(s); err != nil {
		return login.Identity{}, err
	}
	params := r.answer()
	if r.params != nil {
		r.params(params)
	}
	return r.citizens.Finish(r.t.Context(), params, r.binding)
}

var alphanumeric = regexp.MustCompile(`^[A-Za-z0-9]{32,}$`)

// TestAFlawlessLoginHolds is the mirror of the flaws: with nothing spoiled all
// of it works, and what we send is as the tables say.
func TestAFlawlessLoginHolds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	q, err := r.begin(login.Start{ReturnTo: "/citizen", Lang: "it"})
	if err != nil {
		t.Fatal(err)
	}
	c := r.request
	text := func(name string) string { s, _ := c[name].(string); return s }
	number := func(name string) int64 { n, _ := c[name].(float64); return int64(n) }
	for what, ok := range map[string]bool{
		"iss and client_id":     text("iss") == clientID && text("client_id") == clientID && q.Get("client_id") == clientID,
		"aud is one text":       text("aud") == r.url,
		"response_type":         text("response_type") == "code" && q.Get("response_type") == "code",
		"scope":                 text("scope") == "openid" && q.Get("scope") == "openid",
		"redirect_uri":          text("redirect_uri") == clientID+"/callback",
		"state":                 alphanumeric.MatchString(text("state")),
		"nonce":                 alphanumeric.MatchString(text("nonce")) && text("nonce") != text("state"),
		"code_challenge":        len(text("code_challenge")) == 43 && text("code_challenge") == q.Get("code_challenge"),
		"code_challenge_method": text("code_challenge_method") == "S256" && q.Get("code_challenge_method") == "S256",
		"prompt":                text("prompt") == "consent login",
		"acr_values":            text("acr_values") == "https://www.spid.gov.it/SpidL2",
		"ui_locales":            text("ui_locales") == "it",
		"times":                 number("iat") == r.clock.Now().Unix() && number("exp")-number("iat") == 300,
		"jti":                   len(text("jti")) == 36,
		"no sub":                c["sub"] == nil,
		"no request_uri":        !q.Has("request_uri") && !q.Has("registration"),
	} {
		if !ok {
			t.Errorf("%s: %v and %v", what, c, q)
		}
	}
	want := `{"userinfo":{"birthdate":{"essential":true},"family_name":{"essential":true},"given_name":{"essential":true},"https://attributes.eid.gov.it/fiscal_number":{"essential":true}}}`
	if got, err := json.Marshal(c["claims"]); err != nil || string(got) != want {
		t.Errorf("claims %s", got)
	}
	who, err := r.citizens.Finish(t.Context(), r.answer(), r.binding)
	if err != nil || who.FiscalCode != person || who.GivenName != "Ada" || who.BirthDate != "1990-01-31" || who.Level != login.Level2 || who.ReturnTo != "/citizen" {
		t.Fatalf("%+v, %v", who, err)
	}
	if err := r.citizens.Logout(t.Context(), who.Reference); err != nil || len(r.revoked) != 1 || strings.Count(r.revoked[0], ".") != 2 {
		t.Errorf("%v, revoked %v", err, r.revoked)
	}
	if len(r.store.audit("login")) != 1 {
		t.Error("the login is not audited")
	}
}

func ptr[T any](v T) *T { return &v }

func set(name string, value any) func(map[string]any) {
	return func(claims map[string]any) {
		if value == nil {
			delete(claims, name)
			return
		}
		claims[name] = value
	}
}

func ago(d time.Duration) int64 { return start.Add(-d).Unix() }

// flaws are what each check is for: one thing is wrong, and one code says what.
var flaws = []struct {
	name  string
	spoil func(r *rig)
	code  login.Code
}{
	{"state given twice", func(r *rig) { r.params = func(v url.Values) { v["state"] = append(v["state"], v["state"][0]) } }, login.CodeResponse},
	{"iss of another provider", func(r *rig) { r.params = func(v url.Values) { v.Set("iss", "https://other.example.test") } }, login.CodeResponseIssuer},
	{"no iss", func(r *rig) { r.params = func(v url.Values) { v.Del("iss") } }, login.CodeResponseIssuer},
	{"code and error", func(r *rig) { r.params = func(v url.Values) { v.Set("error", "access_denied") } }, login.CodeResponse},
	{"neither code nor error", func(r *rig) { r.params = func(v url.Values) { v.Del("code") } }, login.CodeResponse},
	{"no state", func(r *rig) { r.params = func(v url.Values) { v.Del("state") } }, login.CodeResponseState},
	{"another browser", func(r *rig) { r.params = func(url.Values) { r.binding = fresh() } }, login.CodeBinding},
	{"no cookie", func(r *rig) { r.params = func(url.Values) { r.binding = "" } }, login.CodeBinding},
	{"half an hour later", func(r *rig) { r.params = func(url.Values) { r.clock.Advance(30 * time.Minute) } }, login.CodeAttemptExpired},
	{"an error without iss", func(r *rig) {
		r.params = func(v url.Values) {
			v.Del("code")
			v.Del("iss")
			v.Set("error", "access_denied")
		}
	}, login.CodeCancelled},
	{"an error of another provider", func(r *rig) {
		r.params = func(v url.Values) {
			v.Del("code")
			v.Set("iss", "https://other.example.test")
			v.Set("error", "access_denied")
		}
	}, login.CodeResponseIssuer},
	{"a level nobody reached", func(r *rig) {
		r.params = func(v url.Values) {
			v.Del("code")
			v.Set("error", "unmet_authentication_requirements")
		}
	}, login.CodeLevel},

	{"token endpoint answers 201", func(r *rig) { r.tokenStatus = 201 }, login.CodeTokenResponse},
	{"tokens as a page", func(r *rig) { r.tokenType = "text/html" }, login.CodeTokenGarbled},
	{"tokens as a form", func(r *rig) { r.tokenType = "application/x-www-form-urlencoded" }, login.CodeTokenGarbled},
	{"another token type", func(r *rig) { r.tokenAnswer = set("token_type", "mac") }, login.CodeTokenResponse},
	{"no ID Token", func(r *rig) { r.tokenAnswer = set("id_token", nil) }, login.CodeTokenResponse},
	{"an ID Token that is no text", func(r *rig) { r.tokenAnswer = set("id_token", 7) }, login.CodeTokenResponse},
	{"an access token with a line break", func(r *rig) { r.tokenAnswer = set("access_token", "a\nb") }, login.CodeTokenResponse},

	{"ID Token of an algorithm not registered", func(r *rig) { r.idToken.key = &r.other }, login.CodeIDTokenAlg},
	{"ID Token by a stranger", func(r *rig) { r.idToken.key = &r.stranger }, login.CodeIDTokenKey},
	{"ID Token with a stranger's signature", func(r *rig) { r.idToken.forge = true }, login.CodeIDTokenSignature},
	{"ID Token of another issuer", func(r *rig) { r.idToken.change = set("iss", "https://other.example.test") }, login.CodeIDTokenIssuer},
	{"ID Token for somebody else", func(r *rig) { r.idToken.change = set("aud", "https://other.example.test") }, login.CodeIDTokenAudience},
	{"ID Token for us and somebody else", func(r *rig) { r.idToken.change = set("aud", []string{clientID, "https://other.example.test"}) }, login.CodeIDTokenAudience},
	{"ID Token of another party", func(r *rig) { r.idToken.change = set("azp", "https://other.example.test") }, login.CodeIDTokenAudience},
	{"ID Token without subject", func(r *rig) { r.idToken.change = set("sub", nil) }, login.CodeIDTokenSubject},
	{"ID Token with an endless subject", func(r *rig) { r.idToken.change = set("sub", strings.Repeat("x", 256)) }, login.CodeIDTokenSubject},
	{"ID Token past its end", func(r *rig) { r.idToken.change = set("exp", ago(4*time.Minute)) }, login.CodeIDTokenExpired},
	{"ID Token without end", func(r *rig) { r.idToken.change = set("exp", nil) }, login.CodeIDToken},
	{"ID Token from the future", func(r *rig) { r.idToken.change = set("iat", ago(-4*time.Minute)) }, login.CodeIDTokenTime},
	{"ID Token not yet good", func(r *rig) { r.idToken.change = set("nbf", ago(-time.Hour)) }, login.CodeIDTokenTime},
	{"ID Token of an hour ago", func(r *rig) { r.idToken.change = set("iat", ago(time.Hour)) }, login.CodeIDTokenStale},
	{"ID Token without iat", func(r *rig) { r.idToken.change = set("iat", nil) }, login.CodeIDToken},
	{"ID Token without jti", func(r *rig) { r.idToken.change = set("jti", nil) }, login.CodeIDToken},
	{"another nonce", func(r *rig) { r.idToken.change = set("nonce", fresh()) }, login.CodeNonce},
	{"no nonce", func(r *rig) { r.idToken.change = set("nonce", nil) }, login.CodeNonce},
	{"a lower level", func(r *rig) { r.idToken.change = set("acr", login.Level1.ACR()) }, login.CodeLevel},
	{"an unknown level", func(r *rig) { r.idToken.change = set("acr", "https://www.spid.gov.it/SpidL9") }, login.CodeLevel},
	{"at_hash of another token", func(r *rig) { r.idToken.change = set("at_hash", half("other")) }, login.CodeAtHash},
	{"no at_hash", func(r *rig) { r.idToken.change = set("at_hash", nil) }, login.CodeAtHash},
	{"c_hash of another code", func(r *rig) { r.idToken.change = set("c_hash", half("other")) }, login.CodeCHash},
	{"ID Token that is no object", func(r *rig) { r.tokenAnswer = set("id_token", "x.y.z") }, login.CodeIDToken},

	{"access token with a stranger's signature", func(r *rig) { r.access.forge = true }, login.CodeAccessTokenKey},
	{"access token of another typ", func(r *rig) { r.access.typ = ptr(jose.TypeJWT) }, login.CodeAccessToken},
	{"access token of another issuer", func(r *rig) { r.access.change = set("iss", "https://other.example.test") }, login.CodeAccessToken},
	{"access token of another client", func(r *rig) { r.access.change = set("client_id", "https://other.example.test") }, login.CodeAccessToken},
	{"access token of another subject", func(r *rig) { r.access.change = set("sub", "subject-2") }, login.CodeAccessToken},
	{"access token past its end", func(r *rig) { r.access.change = set("exp", ago(4*time.Minute)) }, login.CodeAccessTokenExpired},

	{"UserInfo refuses", func(r *rig) { r.infoStatus = 401 }, login.CodeUserInfoRefused},
	{"UserInfo is out of order", func(r *rig) { r.infoStatus = 503 }, login.CodeUserInfoUnreachable},
	{"UserInfo as JSON", func(r *rig) { r.infoType = "application/json" }, login.CodeUserInfoType},
	{"UserInfo as a page", func(r *rig) { r.infoType = "text/html; charset=utf-8" }, login.CodeUserInfoGarbled},
	{"UserInfo not encrypted", func(r *rig) { r.outer = func(inner string) string { return inner } }, login.CodeUserInfoEncryption},
	{"UserInfo with GCM", func(r *rig) { r.outer = r.encrypted(r.entity.Keys().CoreEncrypt.Public(), jose.A256GCM) }, login.CodeUserInfoEncryption},
	{"UserInfo encrypted to a stranger", func(r *rig) { r.outer = r.encrypted(rigKeys()[7].Public(), rigSuite.Content) }, login.CodeUserInfoKey},
	{"UserInfo cut", func(r *rig) {
		whole := r.outer
		r.outer = func(inner string) string { s := whole(inner); return s[:len(s)-4] + "AAAA" }
	}, login.CodeUserInfoDecrypt},
	{"UserInfo in quotes", func(r *rig) {
		whole := r.outer
		r.outer = func(inner string) string { return whole(`"` + inner + `"`) }
	}, login.CodeUserInfoSignature},
	{"UserInfo of an algorithm not registered", func(r *rig) { r.userInfo.key = &r.other }, login.CodeUserInfoSignature},
	{"UserInfo with a stranger's signature", func(r *rig) { r.userInfo.forge = true }, login.CodeUserInfoSignature},
	{"UserInfo of another issuer", func(r *rig) { r.userInfo.change = set("iss", "https://other.example.test") }, login.CodeUserInfoClaim},
	{"UserInfo for somebody else", func(r *rig) { r.userInfo.change = set("aud", "https://other.example.test") }, login.CodeUserInfoClaim},
	{"UserInfo without audience", func(r *rig) { r.userInfo.change = set("aud", nil) }, login.CodeUserInfoClaim},
	{"UserInfo past its end", func(r *rig) { r.userInfo.change = set("exp", ago(4*time.Minute)) }, login.CodeUserInfoExpired},
	{"UserInfo of another subject", func(r *rig) { r.userInfo.change = set("sub", "subject-2") }, login.CodeUserInfoSubject},
	{"no given name", func(r *rig) { r.userInfo.change = set("given_name", nil) }, login.CodeMinimumData},
	{"a birth date that is none", func(r *rig) { r.userInfo.change = set("birthdate", "31/01/1990") }, login.CodeMinimumData},
	{"no fiscal code", func(r *rig) { r.userInfo.change = set(fiscal, nil) }, login.CodeMinimumData},
	{"a fiscal code without its country", func(r *rig) { r.userInfo.change = set(fiscal, person) }, login.CodeFiscalCode},
	{"a fiscal code of another country", func(r *rig) { r.userInfo.change = set(fiscal, "TINDE-"+person) }, login.CodeFiscalCode},
	{"a fiscal code in lower case", func(r *rig) { r.userInfo.change = set(fiscal, "TINIT-"+strings.ToLower(person)) }, login.CodeFiscalCode},
	{"a fiscal code with a blank", func(r *rig) { r.userInfo.change = set(fiscal, "TINIT- "+person) }, login.CodeFiscalCode},
	{"a fiscal code with a wrong check letter", func(r *rig) {
		last := "A"
		if strings.HasSuffix(person, last) {
			last = "B"
		}
		r.userInfo.change = set(fiscal, "TINIT-"+person[:15]+last)
	}, login.CodeFiscalCode},
}

const fiscal = "https://attributes.eid.gov.it/fiscal_number"

func TestEachFlawIsRefusedForItsOwnReason(t *testing.T) {
	t.Parallel()
	stored := common(t)
	for _, f := range flaws {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			r := newRigOn(t, stored)
			f.spoil(r)
			who, err := r.enter(login.Start{})
			if err == nil {
				t.Fatalf("somebody is in: %+v", who)
			}
			if e := errorOf(t, err); e.Code != f.code || e.Reference == "" || e.Class == "" || who.ID != "" {
				t.Errorf("%+v, want %s", e, f.code)
			}
			// What names no attempt is only logged.
			told := 1
			if f.name == "no state" || f.name == "state given twice" {
				told = 0
			}
			if len(r.store.audit("login")) != 0 || len(r.store.audit("login_failed")) != told {
				t.Error("the audit trail tells another story")
			}
			// The token it was given opens nobody's data any more, unless it could
			// not be read.
			unread := f.code == login.CodeTokenGarbled || strings.Contains(r.given, "\n")
			if want := r.given != "" && !unread; want != (len(r.revoked) == 1 && r.revoked[0] == r.given) || len(r.revoked) > 1 {
				t.Errorf("given %.20q, revoked %d tokens", r.given, len(r.revoked))
			}
		})
	}
}

func TestAnIDTokenIsGoodOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.idToken.change = set("jti", "the-same-every-time")
	if _, err := r.enter(login.Start{}); err != nil {
		t.Fatal(err)
	}
	_, err := r.enter(login.Start{})
	if login.CodeOf(err) != login.CodeIDTokenReplay || login.ClassOf(err) != login.ClassExpired {
		t.Errorf("%v", err)
	}
}

// TestTheTokenOfAFailedLoginIsRevokedWhateverTheProviderSaysToIt: the outcome is
// the login's own, the register tells of the try, and it is tried again.
func TestTheTokenOfAFailedLoginIsRevokedWhateverTheProviderSaysToIt(t *testing.T) {
	t.Parallel()
	stored := newStore(t, func() time.Time { return start })
	r := newRigOn(t, stored)
	r.idToken.change, r.revokeStatus = set("acr", login.Level1.ACR()), 503
	_, err := r.enter(login.Start{ReturnTo: "/citizen"})
	e := errorOf(t, err)
	if e.Code != login.CodeLevel || e.Class != login.ClassLevel || e.ReturnTo != "/citizen" || len(r.revoked) != 1 {
		t.Fatalf("%+v, %d tries", e, len(r.revoked))
	}
	if told := r.store.audit("token_not_revoked"); len(told) != 1 || told[0].Subject != e.Reference {
		t.Errorf("audited: %+v", told)
	}
	r.revokeStatus = 200
	if err := r.citizens.Sweep(t.Context()); err != nil || len(r.revoked) != 2 || r.revoked[1] != r.given {
		t.Errorf("%v after %d tries", err, len(r.revoked))
	}
	if err := r.citizens.Sweep(t.Context()); err != nil || len(r.revoked) != 2 {
		t.Errorf("a revoked token is revoked again: %v, %d tries", err, len(r.revoked))
	}
	export, err := stored.ExportLogin(t.Context(), e.Reference)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[login.RecordKind]int{}
	for _, record := range export.Records {
		kinds[record.Kind]++
	}
	if kinds[login.RecordOutcome] != 1 || kinds[login.RecordRevocationRequest] != 2 || kinds[login.RecordRevocationResponse] != 2 {
		t.Errorf("the register holds %v", kinds)
	}
	// A provider that has gone meanwhile, or never had such an endpoint, is no
	// reason for another answer.
	r.provider.RevocationEndpoint = ""
	if _, err := r.enter(login.Start{}); login.CodeOf(err) != login.CodeLevel || len(r.revoked) != 2 {
		t.Errorf("%v, %d tries", err, len(r.revoked))
	}
}

func TestAStepUpIsForTheSamePerson(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	who, err := r.enter(login.Start{})
	if err != nil {
		t.Fatal(err)
	}
	if up, err := r.enter(login.Start{Person: who.ID}); err != nil || !up.StepUp {
		t.Errorf("%+v %v", up, err)
	}
	r.idToken.change, r.access.change, r.userInfo.change = set("sub", "subject-2"), set("sub", "subject-2"), set("sub", "subject-2")
	if _, err := r.enter(login.Start{Person: who.ID}); login.CodeOf(err) != login.CodeOtherPerson {
		t.Errorf("%v", err)
	}
}

func TestTenTabsLogInAtOnceAndEachAnswerCountsOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type tab struct {
		params           url.Values
		nonce, challenge string
	}
	var tabs []tab
	for range 10 {
		if _, err := r.begin(login.Start{}); err != nil {
			t.Fatal(err)
		}
		tabs = append(tabs, tab{r.answer(), r.nonce, r.challenge})
	}
	for i := len(tabs) - 1; i >= 0; i-- {
		r.nonce, r.challenge = tabs[i].nonce, tabs[i].challenge
		if _, err := r.citizens.Finish(t.Context(), tabs[i].params, r.binding); err != nil {
			t.Errorf("tab %d: %v", i, err)
		}
		before := len(r.store.audit("login_failed"))
		_, err := r.citizens.Finish(t.Context(), tabs[i].params, r.binding)
		if len(r.store.audit("login_failed")) != before {
			t.Error("a reload fills the register")
		}
		if login.CodeOf(err) != login.CodeAttemptUsed || login.ClassOf(err) != login.ClassExpired {
			t.Errorf("the back button in tab %d: %v", i, err)
		}
	}
}

func TestAUserInfoEncryptedToTheKeyBeforeIsStillOpened(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.outer = r.encrypted(rigKeys()[6].Public(), rigSuite.Content)
	if _, err := r.enter(login.Start{}); err != nil {
		t.Error(err)
	}
}

func TestALoginBeginsOnlyForWhatCanBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, s := range map[string]login.Start{
		"a short cookie":          {Binding: "short"},
		"another host":            {ReturnTo: "//evil.example.test"},
		"another host, backwards": {ReturnTo: `/\evil.example.test`},
		"a full address":          {ReturnTo: "https://evil.example.test/"},
		"a line break":            {ReturnTo: "/x\r\nSet-Cookie: a=b"},
		"another language":        {Lang: "xx"},
		"a prompt of no text":     {Prompt: "none"},
		"no such level":           {Level: 4},
	} {
		if _, err := r.begin(s); login.CodeOf(err) != login.CodeStart || login.ClassOf(err) != login.ClassConfiguration {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.provider.ACRs = []string{login.Level1.ACR(), login.Level2.ACR()}
	if _, err := r.begin(login.Start{Level: login.Level3}); login.CodeOf(err) != login.CodeLevelNotOffered {
		t.Errorf("a level the provider does not offer: %v", err)
	}
	if _, err := r.begin(login.Start{Prompt: login.PromptConsent, Lang: "en"}); err != nil || r.request["prompt"] != "consent" || r.request["ui_locales"] != "en it" {
		t.Errorf("%v %v", r.request, err)
	}
	answer := r.answer()
	r.provider = nil
	_, err := r.begin(login.Start{ReturnTo: "/citizen"})
	if e := errorOf(t, err); e.Code != login.CodeNoChain || e.Class != login.ClassUnavailable || !e.RetryAt.After(r.clock.Now()) || e.ReturnTo != "/citizen" {
		t.Errorf("without a chain: %+v", e)
	}
	if _, err := r.citizens.Ready(); login.CodeOf(err) != login.CodeNoChain {
		t.Errorf("ready without a chain: %v", err)
	}
	// The chain ended while the person was at the provider: nothing is believed.
	if _, err := r.citizens.Finish(t.Context(), answer, r.binding); login.CodeOf(err) != login.CodeNoChain {
		t.Errorf("finished without a chain: %v", err)
	}
}

func TestALogoutThatFailedIsTriedAgainUntilTheTokenEnds(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, newStore(t, func() time.Time { return start }))
	var refs []string
	for range 2 {
		who, err := r.enter(login.Start{})
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, who.Reference)
	}
	r.revokeStatus = 503
	for _, ref := range refs {
		if err := r.citizens.Logout(t.Context(), ref); login.CodeOf(err) != login.CodeRevocation {
			t.Errorf("%v", err)
		}
	}
	if err := r.citizens.Sweep(t.Context()); login.CodeOf(err) != login.CodeRevocation || len(r.revoked) != 4 {
		t.Errorf("%v after %d tries", err, len(r.revoked))
	}
	r.revokeStatus = 200
	if err := r.citizens.Logout(t.Context(), refs[0]); err != nil || len(r.revoked) != 5 {
		t.Errorf("%v after %d tries", err, len(r.revoked))
	}
	// A provider that never revokes such tokens is not asked again.
	who, err := r.enter(login.Start{})
	if err != nil {
		t.Fatal(err)
	}
	r.revokeStatus, r.revokeBody = 400, `{"error":"unsupported_token_type"}`
	for range 2 {
		if err := r.citizens.Logout(t.Context(), who.Reference); err != nil {
			t.Error(err)
		}
	}
	r.revoked = r.revoked[:5]
	r.clock.Advance(16 * time.Minute)
	if err := r.citizens.Sweep(t.Context()); err != nil || len(r.revoked) != 5 {
		t.Errorf("a token that ended is revoked: %v, %d tries", err, len(r.revoked))
	}
}

func TestEachLevelIsAskedForWhatNeedsIt(t *testing.T) {
	t.Parallel()
	for act, want := range map[login.Act]login.Level{
		login.ActView: login.Level2, login.ActReportLoss: login.Level2, login.ActConsent: login.Level3, "something new": login.Level3,
	} {
		if got := login.LevelFor(act); got != want {
			t.Errorf("%s: level %d, want %d", act, got, want)
		}
	}
	if login.Level(0).ACR() != "" || login.Level3.ACR() != "https://www.spid.gov.it/SpidL3" {
		t.Error("levels have other names")
	}
}

// failing is a store that is out of order.
type failing struct {
	login.Store
	at string
}

func (f failing) BeginLogin(ctx context.Context, a login.Attempt, records ...login.Record) error {
	if f.at == "begin" {
		return context.DeadlineExceeded
	}
	return f.Store.BeginLogin(ctx, a, records...)
}

func (f failing) TakeLogin(ctx context.Context, d login.Door, state string, now time.Time) (login.Attempt, error) {
	if f.at == "take" {
		return login.Attempt{}, context.DeadlineExceeded
	}
	return f.Store.TakeLogin(ctx, d, state, now)
}

func (f failing) CompleteLogin(ctx context.Context, c login.Completed) error {
	if f.at == "complete" {
		return context.DeadlineExceeded
	}
	return f.Store.CompleteLogin(ctx, c)
}

func (f failing) AbandonToken(ctx context.Context, token login.HeldToken, now time.Time) error {
	if f.at == "complete" {
		return context.DeadlineExceeded
	}
	return f.Store.AbandonToken(ctx, token, now)
}

func TestNobodyIsInWhenTheStoreIsOutOfOrder(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"begin", "take", "complete"} {
		r := newRig(t)
		var err error
		r.citizens, err = login.NewCitizens(login.CitizensConfig{
			Entity: r.entity, RedirectURI: clientID + "/callback", Client: client(t, r.clock.Now), Store: failing{r.store, at}, Clock: r.clock.Now, Random: rand.Reader,
			Provider: func() (*federation.Provider, *federation.Chain, error) { return r.provider, nil, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		who, err := r.enter(login.Start{})
		if login.CodeOf(err) != login.CodeStore || login.ClassOf(err) != login.ClassUnavailable || who.ID != "" {
			t.Errorf("%s: %+v %v", at, who, err)
		}
		if at == "complete" && (len(r.revoked) != 1 || r.revoked[0] != r.given) {
			t.Errorf("the token is not revoked: %d", len(r.revoked))
		}
	}
}
