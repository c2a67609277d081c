package opsim

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

// testKeys are made once per test binary: RSA keys are slow to make.
var testKeys = sync.OnceValues(NewKeys)

// rpKeys are the three keys of every relying party of these tests.
var rpKeys = sync.OnceValues(func() (*Keys, error) { return NewKeys() })

var testStart = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// world is a simulator with one relying party.
type world struct {
	*Running
	t     testing.TB
	clock *sim.ManualClock
	rp    *relyingParty
}

// relyingParty is a client of the provider, faithful by default.
type relyingParty struct {
	id     string
	fed    signer
	core   signer
	enc    *rsa.PrivateKey
	change func(claims map[string]any) // spoils the Entity Configuration
	header func(http.Header)

	mu    sync.Mutex
	marks []any
	calls []string
}

func newWorld(t testing.TB, options ...func(*Options)) *world {
	t.Helper()
	keys, err := testKeys()
	if err != nil {
		t.Fatal(err)
	}
	clock := sim.NewManual(testStart)
	opt := Options{Seed: 7, Clock: clock, Keys: keys}
	for _, o := range options {
		o(&opt)
	}
	running, err := Start(opt, Listen{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{Running: running, t: t, clock: clock}
	w.rp = w.newRP()
	return w
}

// newRP starts a relying party that is not registered yet.
func (w *world) newRP() *relyingParty {
	w.t.Helper()
	keys, err := rpKeys()
	if err != nil {
		w.t.Fatal(err)
	}
	rp := &relyingParty{
		fed:  signer{kid: "fed-1", alg: jose.RS256, key: keys.Federation},
		core: signer{kid: "core-1", alg: jose.RS256, key: keys.Core},
		enc:  keys.Foreign,
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rp.mu.Lock()
		rp.calls = append(rp.calls, r.URL.Path)
		rp.mu.Unlock()
		if !strings.HasSuffix(r.URL.Path, wellKnown) {
			rw.WriteHeader(http.StatusNotFound)
			return
		}
		rw.Header().Set("Content-Type", statementType)
		if rp.header != nil {
			rp.header(rw.Header())
		}
		_, _ = io.WriteString(rw, w.configuration(rp))
	}))
	w.t.Cleanup(server.Close)
	rp.id = server.URL + "/c_h501"
	return rp
}

func (rp *relyingParty) redirect() string { return rp.id + "/callback" }

// claims is the Entity Configuration.
func (w *world) claims(rp *relyingParty) map[string]any {
	now := w.clock.Now()
	rp.mu.Lock()
	marks := slices.Clone(rp.marks)
	rp.mu.Unlock()
	enc := jose.JSONWebKey{Key: rp.enc.Public(), KeyID: "enc-1", Algorithm: "RSA-OAEP-256", Use: "enc"}
	core := keySet(rp.core)
	core.Keys = append(core.Keys, enc)
	claims := map[string]any{
		"iss": rp.id, "sub": rp.id, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"jwks": keySet(rp.fed), "authority_hints": []any{w.Addresses.Anchor}, "trust_marks": marks,
		"metadata": map[string]any{
			"federation_entity": map[string]any{
				"organization_name": "Comune di prova", "homepage_uri": rp.id, "policy_uri": rp.id + "/policy",
				"logo_uri": rp.id + "/logo.svg", "contacts": []any{"ente@pec.example.it"}, "federation_resolve_endpoint": rp.id + "/resolve",
			},
			TypeRelyingParty: map[string]any{
				"client_id": rp.id, "client_name": "Sportello di prova", "organization_name": "Comune di prova", "application_type": "web",
				"contacts": []any{"ente@pec.example.it"}, "client_registration_types": []any{"automatic"},
				"redirect_uris": []any{rp.redirect()}, "response_types": []any{"code"},
				"grant_types":  []any{"authorization_code", "refresh_token"},
				"subject_type": "pairwise", "token_endpoint_auth_method": "private_key_jwt",
				"id_token_signed_response_alg": "RS256", "userinfo_signed_response_alg": "RS256",
				"userinfo_encrypted_response_alg": "RSA-OAEP-256", "userinfo_encrypted_response_enc": "A256CBC-HS512",
				"jwks": core,
			},
		},
	}
	if rp.change != nil {
		rp.change(claims)
	}
	return claims
}

func (w *world) configuration(rp *relyingParty) string {
	compact, err := rp.fed.sign(typStatement, w.claims(rp))
	if err != nil {
		w.t.Error(err)
	}
	return compact
}

// onboard registers a relying party and has it publish the mark it fetches.
func (w *world) onboard(rp *relyingParty) {
	w.t.Helper()
	if _, err := w.Register(w.t.Context(), rp.id); err != nil {
		w.t.Fatal(err)
	}
	rp.publishMark(w)
}

func (rp *relyingParty) publishMark(w *world) {
	w.t.Helper()
	status, header, body := w.get(w.Addresses.Anchor + fetchPath + "?sub=" + url.QueryEscape(rp.id))
	if status != http.StatusOK || header.Get("Content-Type") != statementType {
		w.t.Fatalf("fetch: %d %s %s", status, header.Get("Content-Type"), body)
	}
	j, err := readJWT(body)
	if err != nil {
		w.t.Fatal(err)
	}
	marks, _ := j.claims["trust_marks"].([]any)
	if len(marks) != 1 {
		w.t.Fatalf("the statement has %d marks", len(marks))
	}
	rp.mu.Lock()
	rp.marks = marks
	rp.mu.Unlock()
}

var browser = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       20 * time.Second,
}

func (w *world) get(address string) (int, http.Header, string) {
	w.t.Helper()
	return w.do(http.MethodGet, address, nil, nil)
}

func (w *world) post(address string, form url.Values) (int, http.Header, string) {
	w.t.Helper()
	return w.do(http.MethodPost, address, form, nil)
}

func (w *world) do(method, address string, form url.Values, header map[string]string) (int, http.Header, string) {
	w.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(context.Background(), method, address, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := browser.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		w.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func token43() string {
	b := make([]byte, 43)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

// attempt is one login from the relying party's side.
type attempt struct {
	w        *world
	rp       *relyingParty
	verifier string
	claims   map[string]any // of the request object
	params   url.Values     // beside it
	compact  string         // sent instead of a signed request object, when set
	form     map[string]any // extra or changed members of the token request; nil removes
	assert   map[string]any // the same for the client assertion
}

func (w *world) attempt() *attempt { return w.attemptOf(w.rp) }

func (w *world) attemptOf(rp *relyingParty) *attempt {
	a := &attempt{w: w, rp: rp, verifier: token43()}
	now := w.clock.Now()
	sum := sha256.Sum256([]byte(a.verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	a.claims = map[string]any{
		"iss": rp.id, "client_id": rp.id, "aud": w.Addresses.Provider, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": uuid4(),
		"response_type": "code", "scope": "openid", "redirect_uri": rp.redirect(), "state": token43(), "nonce": token43(),
		"code_challenge": challenge, "code_challenge_method": "S256", "prompt": "consent login",
		"acr_values": Level(2).ACR(), "ui_locales": "it",
		"claims": map[string]any{"userinfo": map[string]any{
			"given_name": map[string]any{"essential": true}, "family_name": map[string]any{"essential": true},
			"birthdate": map[string]any{"essential": true}, eid + "fiscal_number": map[string]any{"essential": true},
		}},
	}
	a.params = url.Values{
		"client_id": {rp.id}, "response_type": {"code"}, "scope": {"openid"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	return a
}

// both sets a member of the request object and the parameter of that name.
func (a *attempt) both(name, value string) {
	a.claims[name] = value
	a.params.Set(name, value)
}

// query is the authorization request's parameters.
func (a *attempt) query() url.Values {
	a.w.t.Helper()
	params := maps.Clone(a.params)
	if params.Has("request") {
		return params
	}
	compact := a.compact
	if compact == "" {
		var err error
		compact, err = a.rp.core.sign("", a.claims)
		if err != nil {
			a.w.t.Fatal(err)
		}
	}
	params.Set("request", compact)
	return params
}

// authorize sends the browser to the provider.
func (a *attempt) authorize() (int, http.Header, string) {
	a.w.t.Helper()
	return a.w.get(a.w.Endpoints().Authorization + "?" + a.query().Encode())
}

// answer is what comes back at the callback without pages.
func (a *attempt) answer() url.Values {
	a.w.t.Helper()
	status, header, body := a.authorize()
	return a.callback(status, header, body)
}

func (a *attempt) callback(status int, header http.Header, body string) url.Values {
	a.w.t.Helper()
	location := header.Get("Location")
	u, err := url.Parse(location)
	if err != nil || status != http.StatusSeeOther || !strings.HasPrefix(location, a.rp.redirect()) {
		a.w.t.Fatalf("no redirect to the callback: %d %q %.400s", status, location, body)
	}
	return u.Query()
}

// code logs in and gives the code.
func (a *attempt) code() string {
	a.w.t.Helper()
	q := a.answer()
	if q.Get("code") == "" {
		a.w.t.Fatalf("no code: %v", q)
	}
	return q.Get("code")
}

func (a *attempt) assertion(endpoint string) string {
	a.w.t.Helper()
	now := a.w.clock.Now()
	claims := map[string]any{
		"iss": a.rp.id, "sub": a.rp.id, "aud": endpoint, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": uuid4(),
	}
	merge(claims, a.assert)
	compact, err := a.rp.core.sign("", claims)
	if err != nil {
		a.w.t.Fatal(err)
	}
	return compact
}

// merge sets members; a nil removes one.
func merge(into, members map[string]any) {
	for k, v := range members {
		if v == nil {
			delete(into, k)
		} else {
			into[k] = v
		}
	}
}

// authenticated is a form with client_id and assertion for an endpoint.
func (a *attempt) authenticated(endpoint string, members map[string]any) url.Values {
	a.w.t.Helper()
	all := map[string]any{"client_id": a.rp.id, "client_assertion_type": assertionType, "client_assertion": a.assertion(endpoint)}
	merge(all, members)
	merge(all, a.form)
	form := url.Values{}
	for k, v := range all {
		form.Set(k, v.(string))
	}
	return form
}

// exchange sends the token request for a code.
func (a *attempt) exchange(code string) (int, http.Header, map[string]any) {
	a.w.t.Helper()
	endpoint := a.w.Endpoints().Token
	status, header, body := a.w.post(endpoint, a.authenticated(endpoint, map[string]any{
		"grant_type": "authorization_code", "code": code, "code_verifier": a.verifier, "redirect_uri": a.rp.redirect(),
	}))
	return status, header, object(body)
}

// tokens exchanges a code and wants tokens.
func (a *attempt) tokens(code string) map[string]any {
	a.w.t.Helper()
	status, _, answer := a.exchange(code)
	if status != http.StatusOK {
		a.w.t.Fatalf("token endpoint: %d %v", status, answer)
	}
	return answer
}

// object reads JSON; nil when it is none.
func object(text string) map[string]any {
	var v map[string]any
	_ = json.Unmarshal([]byte(text), &v)
	return v
}

// userInfo asks with an access token and opens the answer.
func (a *attempt) userInfo(access string) map[string]any {
	a.w.t.Helper()
	status, header, body := a.w.do(http.MethodGet, a.w.Endpoints().UserInfo, nil, map[string]string{"Authorization": "Bearer " + access})
	if status != http.StatusOK || header.Get("Content-Type") != "application/jwt" {
		a.w.t.Fatalf("userinfo: %d %s %s", status, header.Get("Content-Type"), body)
	}
	return a.open(body).claims
}

// open decrypts a JWE for this relying party and verifies the JWS in it.
func (a *attempt) open(compact string) jwt {
	a.w.t.Helper()
	jwe, err := jose.ParseEncryptedCompact(compact, keyAlgs, contentAlgs)
	if err != nil {
		a.w.t.Fatal(err)
	}
	if jwe.Header.KeyID != "enc-1" || jwe.Header.ExtraHeaders["cty"] != "JWT" {
		a.w.t.Fatalf("JWE header %+v", jwe.Header)
	}
	plain, err := jwe.Decrypt(a.rp.enc)
	if err != nil {
		a.w.t.Fatal(err)
	}
	return a.verified(string(plain))
}

// verified reads a JWS of the provider.
func (a *attempt) verified(compact string) jwt {
	a.w.t.Helper()
	j, err := readJWT(compact)
	if err == nil {
		err = j.verify(a.w.keys.coreSet().Keys)
	}
	if err != nil {
		a.w.t.Fatal(err)
	}
	return j
}

const lucia = "FRRLCU86D57Z600N"

// ready is a world with the relying party onboarded and Lucia logging in
// without pages.
func ready(t testing.TB, options ...func(*Options)) *world {
	t.Helper()
	w := newWorld(t, options...)
	w.onboard(w.rp)
	if err := w.SetAuto(&Auto{People: []string{lucia}}); err != nil {
		t.Fatal(err)
	}
	return w
}
