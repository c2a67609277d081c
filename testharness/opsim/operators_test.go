package opsim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

const callback = "http://localhost:8080/operators/callback"

// operatorLogin is one login of an operator from the client's side.
type operatorLogin struct {
	w        *world
	issuer   string
	verifier string
	query    url.Values
	form     url.Values
	header   map[string]string
}

func operatorWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	for _, c := range []OperatorClient{
		{ID: "public", RedirectURIs: []string{callback}},
		{ID: "secret", RedirectURIs: []string{callback}, Secret: "s3cret:%&"},
		{ID: "keys", RedirectURIs: []string{callback}, JWKS: mustJSON(t, keySet(w.rp.core))},
	} {
		if err := w.RegisterClient(c); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func mustJSON(t *testing.T, v any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (w *world) operatorLogin(realm, client string) *operatorLogin {
	l := &operatorLogin{w: w, issuer: w.Issuer(realm), verifier: token43()}
	sum := sha256.Sum256([]byte(l.verifier))
	l.query = url.Values{
		"client_id": {client}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid profile"},
		"state": {token43()}, "nonce": {token43()}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	l.form = url.Values{"grant_type": {"authorization_code"}, "redirect_uri": {callback}, "code_verifier": {l.verifier}, "client_id": {client}}
	return l
}

func (l *operatorLogin) authorize() (int, http.Header, string) {
	l.w.t.Helper()
	return l.w.get(l.issuer + "/authorize?" + l.query.Encode())
}

func (l *operatorLogin) back(status int, header http.Header, body string) url.Values {
	l.w.t.Helper()
	u, err := url.Parse(header.Get("Location"))
	if err != nil || status != http.StatusSeeOther || !strings.HasPrefix(header.Get("Location"), callback) {
		l.w.t.Fatalf("no redirect to the callback: %d %q %s", status, header.Get("Location"), body)
	}
	return u.Query()
}

func (l *operatorLogin) redeem(code string) (int, map[string]any) {
	l.w.t.Helper()
	form := maps.Clone(l.form)
	if code != "" {
		form.Set("code", code)
	}
	status, _, body := l.w.do(http.MethodPost, l.issuer+"/token", form, l.header)
	return status, object(body)
}

func (l *operatorLogin) assert() {
	l.w.t.Helper()
	now := l.w.clock.Now()
	compact, err := l.w.rp.core.sign("", map[string]any{
		"iss": "keys", "sub": "keys", "aud": l.issuer + "/token", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": uuid4(),
	})
	if err != nil {
		l.w.t.Fatal(err)
	}
	l.form.Set("client_assertion", compact)
	l.form.Set("client_assertion_type", assertionType)
}

func TestOperatorsLogInByPlainDiscovery(t *testing.T) {
	t.Parallel()
	w := operatorWorld(t)
	for realm, id := range map[string]string{RealmInterno: "op-001", RealmEsteri: "op-012"} {
		_, _, body := w.get(w.Issuer(realm) + "/.well-known/openid-configuration")
		discovery := object(body)
		if discovery["issuer"] != w.Issuer(realm) || discovery["jwks_uri"] != w.Issuer(realm)+"/jwks" {
			t.Fatalf("discovery %s", body)
		}
		_, _, body = w.get(w.Issuer(realm) + "/jwks")
		keys, err := readKeys(object(body))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.SetOperatorAuto(id); err != nil {
			t.Fatal(err)
		}
		for _, client := range []string{"public", "secret", "keys"} {
			l := w.operatorLogin(realm, client)
			q := l.back(l.authorize())
			if q.Get("state") != l.query.Get("state") || q.Get("iss") != w.Issuer(realm) {
				t.Errorf("answer %v", q)
			}
			switch client {
			case "secret":
				basic := base64.StdEncoding.EncodeToString([]byte("secret:" + url.QueryEscape("s3cret:%&")))
				l.header = map[string]string{"Authorization": "Basic " + basic}
			case "keys":
				l.assert()
			}
			status, tokens := l.redeem(q.Get("code"))
			if status != http.StatusOK {
				t.Fatalf("%s: %d %v", client, status, tokens)
			}
			compact, _ := tokens["id_token"].(string)
			j, err := readJWT(compact)
			if err == nil {
				err = j.verify(keys)
			}
			access, _ := tokens["access_token"].(string)
			if err != nil || j.alg != "ES256" || j.text("sub") != id || j.text("aud") != client || j.text("nonce") != l.query.Get("nonce") || j.text("at_hash") != leftHalf(jose.ES256, access) {
				t.Fatalf("%s: %v %v", client, err, j.claims)
			}
			o, _ := w.operator(realm, id)
			for _, name := range []string{"office", "office_kind", "role", "station"} {
				if j.claims[name] == nil || j.claims[name] != o.Claims[name] {
					t.Errorf("claim %s = %v", name, j.claims[name])
				}
			}
			status, _, body := w.do(http.MethodGet, l.issuer+"/userinfo", nil, bearer(access))
			if status != http.StatusOK || object(body)["sub"] != id {
				t.Errorf("userinfo: %d %s", status, body)
			}
			if status, answer := l.redeem(q.Get("code")); status == http.StatusOK {
				t.Errorf("a code twice: %v", answer)
			}
		}
	}
}

func TestOperatorsBadRequestsAreRefused(t *testing.T) {
	t.Parallel()
	w := operatorWorld(t)
	if err := w.SetOperatorAuto("op-001"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		parameter, value string
		page             bool
		code             string
	}{
		"unknown client":       {"client_id", "nobody", true, "unauthorized_client"},
		"unknown redirect_uri": {"redirect_uri", "http://localhost:8080/elsewhere", true, "invalid_request"},
		"implicit flow":        {"response_type", "token", false, "unsupported_response_type"},
		"no openid":            {"scope", "profile", false, "invalid_scope"},
		"no state":             {"state", "", false, "invalid_request"},
		"no nonce":             {"nonce", "", false, "invalid_request"},
		"plain challenge":      {"code_challenge_method", "plain", false, "invalid_request"},
		"no challenge":         {"code_challenge", "", false, "invalid_request"},
	} {
		l := w.operatorLogin(RealmInterno, "public")
		l.query.Set(c.parameter, c.value)
		status, header, body := l.authorize()
		if c.page {
			if status != http.StatusBadRequest || !strings.Contains(body, ">"+c.code+"<") {
				t.Errorf("%s: %d", name, status)
			}
			continue
		}
		if q := l.back(status, header, body); q.Get("error") != c.code {
			t.Errorf("%s: %v", name, q)
		}
	}
	l := w.operatorLogin(RealmEsteri, "public")
	if q := l.back(l.authorize()); q.Get("error") != "access_denied" {
		t.Errorf("an operator of another administration: %v", q)
	}
	for name, c := range map[string]struct {
		client string
		change func(*operatorLogin)
		code   string
	}{
		"another verifier":         {"public", func(l *operatorLogin) { l.form.Set("code_verifier", token43()) }, "invalid_grant"},
		"no verifier":              {"public", func(l *operatorLogin) { l.form.Del("code_verifier") }, "invalid_request"},
		"another redirect_uri":     {"public", func(l *operatorLogin) { l.form.Set("redirect_uri", callback+"x") }, "invalid_grant"},
		"no redirect_uri":          {"public", func(l *operatorLogin) { l.form.Del("redirect_uri") }, "invalid_request"},
		"no grant type":            {"public", func(l *operatorLogin) { l.form.Del("grant_type") }, "invalid_request"},
		"another grant type":       {"public", func(l *operatorLogin) { l.form.Set("grant_type", "password") }, "unsupported_grant_type"},
		"an unknown code":          {"public", func(l *operatorLogin) { l.form.Set("code", "x") }, "invalid_grant"},
		"an unknown client":        {"public", func(l *operatorLogin) { l.form.Set("client_id", "x") }, "invalid_client"},
		"another client":           {"public", func(l *operatorLogin) { l.form.Set("client_id", "secret"); l.form.Set("client_secret", "s3cret:%&") }, "invalid_grant"},
		"no secret":                {"secret", func(*operatorLogin) {}, "invalid_client"},
		"a wrong secret":           {"secret", func(l *operatorLogin) { l.form.Set("client_secret", "x") }, "invalid_client"},
		"no assertion":             {"keys", func(*operatorLogin) {}, "invalid_client"},
		"the other realm's issuer": {"public", func(l *operatorLogin) { l.issuer = w.Issuer(RealmEsteri) }, "invalid_grant"},
		"a code five minutes old":  {"public", func(*operatorLogin) { w.clock.Advance(codeLifetime) }, "invalid_grant"},
	} {
		l := w.operatorLogin(RealmInterno, c.client)
		code := l.back(l.authorize()).Get("code")
		c.change(l)
		if l.form.Has("code") {
			code = ""
		}
		if status, answer := l.redeem(code); status == http.StatusOK || answer["error"] != c.code {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
	if status, _, _ := w.get(w.Issuer(RealmInterno) + "/token"); status != http.StatusMethodNotAllowed {
		t.Error("token endpoint by GET")
	}
	if status, _, _ := w.get(w.Issuer(RealmInterno) + "/userinfo"); status != http.StatusUnauthorized {
		t.Error("userinfo without a token")
	}
	for _, c := range []OperatorClient{
		{}, {ID: "x"}, {ID: "x", RedirectURIs: []string{"http://example.it/cb"}}, {ID: "x", RedirectURIs: []string{callback}, JWKS: json.RawMessage(`{"keys":[]}`)},
	} {
		if w.RegisterClient(c) == nil {
			t.Errorf("registered %+v", c)
		}
	}
}

func TestAnOperatorClicksThroughThePage(t *testing.T) {
	t.Parallel()
	w := operatorWorld(t)
	begin := func() (*operatorLogin, string) {
		l := w.operatorLogin(RealmEsteri, "public")
		_, header, _ := l.authorize()
		address := header.Get("Location")
		status, _, body := w.get(address)
		if status != http.StatusOK || !strings.Contains(body, "op-012") || strings.Contains(body, `"op-001"`) {
			t.Fatalf("page: %d %s", status, body)
		}
		return l, address
	}
	l, address := begin()
	if status, _, body := w.post(address, url.Values{"operator": {"op-001"}}); status != http.StatusUnprocessableEntity || !strings.Contains(body, `id="problem"`) {
		t.Errorf("an operator of another administration: %d", status)
	}
	q := l.back(w.post(address, url.Values{"operator": {"op-012"}}))
	if status, _ := l.redeem(q.Get("code")); status != http.StatusOK {
		t.Errorf("%v", q)
	}
	if status, _, _ := w.post(address, url.Values{"operator": {"op-012"}}); status != http.StatusNotFound {
		t.Errorf("a second click: %d", status)
	}
	l, address = begin()
	if q := l.back(w.post(address, url.Values{"cancel": {"1"}})); q.Get("error") != "access_denied" {
		t.Errorf("%v", q)
	}
}

func TestWhatAnOperatorsTokenSaysCanBeChanged(t *testing.T) {
	t.Parallel()
	w := operatorWorld(t)
	if err := w.SetOperatorClaims("op-001", map[string]any{"office": nil, "role": "supervisor", "groups": []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.SetOperatorAuto("op-001"); err != nil {
		t.Fatal(err)
	}
	l := w.operatorLogin(RealmInterno, "public")
	_, tokens := l.redeem(l.back(l.authorize()).Get("code"))
	compact, _ := tokens["id_token"].(string)
	j, err := readJWT(compact)
	if err != nil || j.claims["office"] != nil || j.text("role") != "supervisor" || j.claims["groups"] == nil {
		t.Errorf("%v %v", err, j.claims)
	}
	if w.SetOperatorClaims("nobody", nil) == nil || w.SetOperatorAuto("nobody") == nil {
		t.Error("an unknown operator is taken")
	}
}
