package opsim

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

func TestTheCatalogueNamesAtLeastFortyFiveFaultsWithTheirClass(t *testing.T) {
	t.Parallel()
	classes := map[Class]int{}
	names := map[string]bool{}
	seen := map[string]bool{}
	ops := []string{
		OpAnchorConfiguration, OpAnchorList, OpAnchorFetch, OpAnchorMarkStatus, OpConfiguration, OpAuthorize, OpToken,
		OpUserInfo, OpRevocation, OpOperators, OpOperatorsAuthorize, OpOperatorsToken,
	}
	for _, c := range Catalogue() {
		key := c.Op + " " + c.Name
		if seen[key] || c.About == "" || !slices.Contains(ops, c.Op) {
			t.Errorf("%+v", c)
		}
		seen[key] = true
		names[c.Name] = true
		classes[c.Class]++
	}
	if len(names) < 45 {
		t.Errorf("%d faults", len(names))
	}
	for _, class := range []Class{ClassCancelled, ClassLevel, ClassUnavailable, ClassExpired, ClassConfiguration, Tolerated} {
		if classes[class] == 0 {
			t.Errorf("no fault of class %s", class)
		}
		delete(classes, class)
	}
	if len(classes) != 0 {
		t.Errorf("other classes: %v", classes)
	}
	// What §9 asks for by name.
	for _, name := range []string{
		"anchor-ec-expired", "statement-expired", "mark-expired", "op-ec-wrong-kid", "statement-keys-differ", "op-ec-no-typ", "op-ec-iss-not-sub",
		"mark-other-subject", "mark-issuer-unlisted", "mark-revoked", "op-ec-hints-elsewhere", "op-ec-hint-loop", "op-ec-hints-many",
		"statement-policy-conflict", "op-ec-essential-missing", sim.FaultSlow, sim.FaultHTTP503, "op-ec-wrong-type", "op-ec-redirect",
		"statement-string-constraints", "id-token-alg-none", "id-token-hs256", "response-wrong-iss", "response-no-iss", "response-wrong-state",
		"response-old-code", "id-token-wrong-nonce", "id-token-wrong-aud", "id-token-lower-acr", "id-token-wrong-at-hash", "id-token-from-future",
		"id-token-expired", "userinfo-wrong-enc-kid", "userinfo-rsa1-5", "userinfo-gcm", "userinfo-foreign-key", "userinfo-other-sub",
		"userinfo-application-jose", "userinfo-plain-json", "refresh-id-token",
	} {
		known := false
		for _, f := range declaredFaults() {
			known = known || f.Name == name
		}
		if !known {
			t.Errorf("no fault %s", name)
		}
	}
}

// walk does what a relying party or an operator's client does at an operation,
// with what comes before it ("" is everything), and collects the fault headers
// met on the way. Nothing of what it meets stops it.
func (w *world) walk(t *testing.T, op string) (marked []string) {
	t.Helper()
	among := func(ops ...string) bool { return op == "" || slices.Contains(ops, op) }
	call := func(method, address string, form url.Values, header map[string]string) (http.Header, string) {
		var body io.Reader
		if form != nil {
			body = strings.NewReader(form.Encode())
		}
		req, err := http.NewRequestWithContext(context.Background(), method, address, body)
		if err != nil {
			t.Fatal(err)
		}
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err := browser.Do(req)
		if err != nil {
			return http.Header{}, "" // a fault that leaves no answer
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		marked = append(marked, resp.Header.Values(sim.FaultHeader)...)
		return resp.Header, string(text)
	}
	if among(OpAnchorConfiguration, OpAnchorList, OpAnchorFetch, OpAnchorMarkStatus, OpConfiguration) {
		anchor := w.Addresses.Anchor
		call(http.MethodGet, anchor+wellKnown, nil, nil)
		call(http.MethodGet, anchor+listPath, nil, nil)
		call(http.MethodGet, anchor+fetchPath+"?sub="+url.QueryEscape(w.Addresses.Provider), nil, nil)
		call(http.MethodPost, anchor+markStatusPath, url.Values{"id": {w.markID(TypeProvider + "/public")}, "sub": {w.Addresses.Provider}}, nil)
		call(http.MethodGet, w.Addresses.Provider+wellKnown, nil, nil)
	}
	// follow begins a login and gives the code at its end.
	follow := func(address string) string {
		header, _ := call(http.MethodGet, address, nil, nil)
		u, err := url.Parse(header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		return u.Query().Get("code")
	}
	if among(OpAuthorize, OpToken, OpUserInfo, OpRevocation) {
		a := w.attempt()
		a.both("scope", "openid offline_access")
		code := follow(w.Endpoints().Authorization + "?" + a.query().Encode())
		endpoint := w.Endpoints().Token
		if among(OpToken, OpUserInfo, OpRevocation) {
			_, body := call(http.MethodPost, endpoint, a.authenticated(endpoint, map[string]any{
				"grant_type": "authorization_code", "code": code, "code_verifier": a.verifier, "redirect_uri": a.rp.redirect(),
			}), nil)
			tokens := object(body)
			refresh, _ := tokens["refresh_token"].(string)
			if among(OpUserInfo) {
				call(http.MethodGet, w.Endpoints().UserInfo, nil, bearer(tokens["access_token"]))
			}
			if among(OpToken) {
				call(http.MethodPost, endpoint, a.authenticated(endpoint, map[string]any{"grant_type": "refresh_token", "refresh_token": refresh}), nil)
			}
			endpoint = w.Endpoints().Revocation
			if among(OpRevocation) {
				call(http.MethodPost, endpoint, a.authenticated(endpoint, map[string]any{"token": refresh}), nil)
			}
		}
	}
	if among(OpOperators, OpOperatorsAuthorize, OpOperatorsToken) {
		l := w.operatorLogin(RealmInterno, "public")
		call(http.MethodGet, l.issuer+"/.well-known/openid-configuration", nil, nil)
		l.form.Set("code", follow(l.issuer+"/authorize?"+l.query.Encode()))
		call(http.MethodPost, l.issuer+"/token", l.form, nil)
	}
	return marked
}

func TestEveryFaultIsMetCountedAndMarked(t *testing.T) {
	t.Parallel()
	w := ready(t)
	if err := w.RegisterClient(OperatorClient{ID: "public", RedirectURIs: []string{callback}}); err != nil {
		t.Fatal(err)
	}
	if err := w.SetOperatorAuto("op-001"); err != nil {
		t.Fatal(err)
	}
	if marked := w.walk(t, ""); len(marked) != 0 || w.Faults().Total() != 0 {
		t.Fatalf("a polite simulator: %v", marked)
	}
	silent := []string{sim.FaultDropRequest, sim.FaultDropAnswer} // no answer leaves
	for _, c := range Catalogue() {
		w.Faults().Reset()
		before := w.Faults().Injected(c.Name)
		if err := w.Faults().Set(sim.Rule{Name: c.Name, Op: c.Op, Probability: 1}); err != nil {
			t.Fatal(err)
		}
		marked := w.walk(t, c.Op)
		if w.Faults().Injected(c.Name) == before {
			t.Errorf("%s at %s was never met", c.Name, c.Op)
		}
		if !slices.Contains(silent, c.Name) && !slices.Contains(marked, c.Name) {
			t.Errorf("%s at %s carries no mark: %v", c.Name, c.Op, marked)
		}
		if slices.ContainsFunc(marked, func(m string) bool { return m != c.Name }) {
			t.Errorf("%s brings other faults with it: %v", c.Name, marked)
		}
	}
}

// judgeToken says what a careful relying party would find wrong in an ID Token;
// "" for nothing. It looks at one thing after the other, as §4.6 lists them.
func (a *attempt) judgeToken(compact, access string, used map[string]bool) string {
	j, err := readJWT(compact)
	if err != nil {
		return "alg"
	}
	if j.alg != "RS256" {
		return "alg"
	}
	if err := j.verify(a.w.keys.coreSet().Keys); errors.Is(err, errUnknownKid) {
		return "kid"
	} else if err != nil {
		return "signature"
	}
	now := a.w.clock.Now()
	iat, iatOK := unixTime(j.claims["iat"])
	exp, expOK := unixTime(j.claims["exp"])
	nbf, nbfThere := unixTime(j.claims["nbf"])
	jti := j.text("jti")
	switch {
	case j.text("iss") != a.w.Addresses.Provider:
		return "iss"
	case !slices.Equal(audience(j.claims["aud"]), []string{a.rp.id}):
		return "aud"
	case !iatOK || iat.After(now.Add(skew)) || iat.Before(now.Add(-10*skew)):
		return "iat"
	case !expOK || !exp.After(now):
		return "exp"
	case nbfThere && nbf.After(now.Add(skew)):
		return "nbf"
	case j.text("nonce") != a.claims["nonce"]:
		return "nonce"
	case j.text("at_hash") != leftHalf(jose.RS256, access):
		return "at_hash"
	case levelOfACR(j.text("acr")) < 2:
		return "acr"
	case jti == "" || used[jti]:
		return "jti"
	case j.text("sub") == "":
		return "sub"
	}
	used[jti] = true
	return ""
}

func TestEveryFaultOfAnIDTokenIsWhatItsNameSays(t *testing.T) {
	t.Parallel()
	w := ready(t)
	used := map[string]bool{}
	login := func() string {
		a := w.attempt()
		tokens := a.tokens(a.code())
		access, _ := tokens["access_token"].(string)
		id, _ := tokens["id_token"].(string)
		return a.judgeToken(id, access, used)
	}
	if got := login(); got != "" {
		t.Fatalf("a clean login: %s", got)
	}
	for name, want := range map[string]string{
		"id-token-alg-none": "alg", "id-token-hs256": "alg", "id-token-other-alg": "alg", "id-token-wrong-kid": "kid",
		"id-token-foreign-key": "signature", "id-token-wrong-iss": "iss", "id-token-wrong-aud": "aud", "id-token-two-audiences": "aud",
		"id-token-wrong-nonce": "nonce", "id-token-no-nonce": "nonce", "id-token-wrong-at-hash": "at_hash", "id-token-no-at-hash": "at_hash",
		"id-token-expired": "iat", "id-token-from-future": "iat", "id-token-stale": "iat", "id-token-no-exp": "exp", "id-token-no-jti": "jti",
		"id-token-old-jti": "jti", "id-token-no-sub": "sub", "id-token-lower-acr": "acr", "id-token-unknown-acr": "acr", "id-token-no-acr": "acr",
		"id-token-not-yet": "nbf", "token-extra-member": "",
	} {
		if err := w.Faults().Inject(name, 1); err != nil {
			t.Fatal(err)
		}
		if got := login(); got != want {
			t.Errorf("%s: a careful relying party finds %q, want %q", name, got, want)
		}
		if got := login(); got != "" {
			t.Errorf("after %s: %q", name, got)
		}
	}
}

func TestFaultsCanBeAimedAtOnePerson(t *testing.T) {
	t.Parallel()
	w := ready(t)
	if err := w.SetAuto(&Auto{People: []string{lucia, extraL3b}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Faults().Set(sim.Rule{Name: "error-server-error", Match: extraL3b, Probability: 1}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 4 {
		got = append(got, w.attempt().answer().Get("error"))
	}
	if !slices.Equal(got, []string{"", "server_error", "", "server_error"}) {
		t.Errorf("%q", got)
	}
}

func TestTheCatalogueIsPrinted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, body := w.get(w.ManagementURL + "/catalogue")
	var printed struct {
		Faults []FaultCase `json:"faults"`
	}
	if err := json.Unmarshal([]byte(body), &printed); err != nil || !slices.Equal(printed.Faults, Catalogue()) {
		t.Errorf("%v, %d faults", err, len(printed.Faults))
	}
}
