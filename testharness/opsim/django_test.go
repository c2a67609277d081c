package opsim

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// The payloads by which the reference implementation (italia/spid-cie-oidc-django)
// tests its own schemas. A name with NO_ or NOJWKS in it says "refused", any
// other "accepted". They are Python objects for its validators, not messages of
// the wire, and some lost what made them wrong when they were written down as
// JSON; so each is run twice: as it stands, and in wire form, where only what
// the case is about is left. Where the answer is not the one the name says, the
// lists below must give the reason, and a reason without a difference fails too.

// differsAsItStands are the cases that are named "accepted" and refused as they
// stand.
var differsAsItStands = map[string]string{
	"RP_METADATA":      "jwks_uri, which is not foreseen for CIE, instead of jwks; no registered algorithms, token_endpoint_auth_method or client_registration_types",
	"RP_METADATA_CIE":  "the same as RP_METADATA",
	"RP_METADATA_SPID": "the same as RP_METADATA",

	"AUTHN_REQUEST_SPID": "scope, acr_values and ui_locales are lists, on the wire they are texts; sub must not be there; iss is the provider, aud the client's",
	"AUTHN_REQUEST_CIE":  "the same as AUTHN_REQUEST_SPID",

	"TOKEN_REQUEST":            "the base of two schemas, no request: no grant_type; its assertion is the text head.payload.verifysignature",
	"TOKEN_AUTHN_CODE_REQUEST": "its assertion is the text head.payload.verifysignature; no redirect_uri",
	"TOKEN_REFRESH_REQUEST":    "its assertion is the text head.payload.verifysignature",
	"JWT_CLIENT_ASSERTION":     "aud is the authorization endpoint of another provider, not the token endpoint",
}

// differsOnTheWire are the cases whose answer in wire form is not the one of
// their name.
var differsOnTheWire = map[string]string{
	"TOKEN_REQUEST":                        "the base of two schemas, no request: no grant_type",
	"AUTHN_REQUEST_SPID_NO_CORRECT_CLAIMS": "lost what was wrong: the payload equals AUTHN_REQUEST_SPID",
	"AUTHN_REQUEST_CIE_NO_CORRECT_SCOPE":   "wrong there because it is a text and no list; a text is right on the wire",
	"JWT_CLIENT_ASSERTION_NO_CORRECT_IAT":  "lost what was wrong: the payload equals JWT_CLIENT_ASSERTION",
	"JWT_CLIENT_ASSERTION_NO_CORRECT_AUD":  "wrong there because it is a text and no list; both are right",
}

func namedAccepted(name string) bool {
	return !strings.Contains(name, "_NO_") && !strings.Contains(name, "_NOJWKS_") && !strings.Contains(name, "_JWKS_AND_JWKS_URI")
}

type djangoCase struct {
	name    string
	payload map[string]any
}

// djangoCases reads one file of cases; its times are filled in.
func djangoCases(t *testing.T, file string, skip ...string) []djangoCase {
	t.Helper()
	text, there := shared(t, "fixtures", "oidc", "django-schema-cases", file)
	if !there {
		return nil
	}
	var all map[string]map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	var list []djangoCase
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if slices.ContainsFunc(skip, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		payload := all[name]
		for k, v := range payload {
			switch v {
			case "@NOW":
				payload[k] = float64(testStart.Unix())
			case "@NOW+33min":
				payload[k] = float64(testStart.Add(33 * time.Minute).Unix())
			}
		}
		list = append(list, djangoCase{name, payload})
	}
	if len(list) < 9 {
		t.Fatalf("only %d cases in %s", len(list), file)
	}
	return list
}

// judge compares an answer with the name, and a difference with the list.
func judge(t *testing.T, form, name string, why error, reasons map[string]string) {
	t.Helper()
	same := namedAccepted(name) == (why == nil)
	reason, listed := reasons[name]
	switch {
	case !same && !listed:
		t.Errorf("%s %s: answer %v, and no reason is listed", name, form, why)
	case same && listed:
		t.Errorf("%s %s answers as named, but a difference is listed", name, form)
	case listed:
		t.Logf("%s %s differs: %s (%v)", name, form, reason, why)
	}
}

func TestDjangoRelyingPartyMetadataIsAcceptedOrRefusedAsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, err := decodeObject([]byte(canon(w.claims(w.rp))))
	if err != nil {
		t.Fatal(err)
	}
	metadata, _ := own["metadata"].(map[string]any)
	faithful, _ := metadata[TypeRelyingParty].(map[string]any)
	check := func(m map[string]any) error {
		id, _ := m["client_id"].(string)
		if wrong := checkRelyingParty(m, id); len(wrong) > 0 {
			return wrong
		}
		return nil
	}
	for _, c := range djangoCases(t, "entity.rp_metadata_settings.json") {
		if strings.HasPrefix(c.name, "RP_METADATA_JWK") {
			// Keys for the others; those without _pub lost their private members.
			_, err := readKeys(map[string]any{"keys": []any{c.payload}})
			judge(t, "as it stands", c.name, err, nil)
			continue
		}
		judge(t, "as it stands", c.name, check(c.payload), differsAsItStands)
		// In wire form: what CIE wants and the case is not about.
		wire := maps.Clone(c.payload)
		if !strings.Contains(c.name, "_NOJWKS_") {
			wire["jwks"] = faithful["jwks"]
		}
		if !strings.Contains(c.name, "_JWKS_AND_JWKS_URI") {
			delete(wire, "jwks_uri")
		}
		for _, name := range []string{
			"id_token_signed_response_alg", "userinfo_signed_response_alg", "userinfo_encrypted_response_alg",
			"userinfo_encrypted_response_enc", "token_endpoint_auth_method", "client_registration_types",
		} {
			wire[name] = faithful[name]
		}
		judge(t, "in wire form", c.name, check(wire), differsOnTheWire)
	}
}

// strangers makes the clients of the cases trusted, with our keys.
func strangers(w *world, ids ...string) {
	w.t.Helper()
	if _, err := w.trusted(w.t.Context(), w.rp.id); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		c := *w.clients[w.rp.id]
		c.id, c.redirect = id, []string{"https://rp.cie.it/callback1/"}
		w.clients[id] = &c
	}
}

func (w *world) forgetReplays() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.replay)
}

func TestDjangoAuthenticationRequestsAreAcceptedOrRefusedAsNamed(t *testing.T) {
	t.Parallel()
	w := ready(t)
	strangers(w, "https://rp.cie.it/callback1/")
	check := func(claims map[string]any) error {
		w.forgetReplays()
		compact, err := w.rp.core.sign("", claims)
		if err != nil {
			t.Fatal(err)
		}
		params := url.Values{"request": {compact}}
		for _, name := range []string{"client_id", "response_type", "scope", "code_challenge", "code_challenge_method"} {
			if v, there := claims[name]; there {
				params.Set(name, spaced(v))
			}
		}
		_, refused := w.readAuthRequest(t.Context(), params)
		if refused == nil {
			return nil
		}
		return fmt.Errorf("%s: %s", refused.check, refused.detail)
	}
	for _, c := range djangoCases(t, "provider.authn_request_settings.json", "CLAIMS_") {
		judge(t, "as it stands", c.name, check(c.payload), differsAsItStands)
		wire := maps.Clone(c.payload)
		for _, name := range []string{"scope", "acr_values", "ui_locales"} {
			if v, there := wire[name]; there {
				wire[name] = spaced(v)
			}
		}
		if v, _ := wire["ui_locales"].(string); strings.HasPrefix(v, "codice1") {
			wire["ui_locales"] = "it"
		}
		if wire["code_challenge"] == "codeChallenge" {
			wire["code_challenge"] = strings.Repeat("c", 43)
		}
		delete(wire, "sub")
		wire["iss"], wire["aud"] = "https://rp.cie.it/callback1/", w.Addresses.Provider
		judge(t, "in wire form", c.name, check(wire), differsOnTheWire)
	}
}

func spaced(v any) string {
	if list, ok := stringList(v); ok {
		return strings.Join(list, " ")
	}
	text, _ := v.(string)
	return text
}

func TestDjangoTokenRequestsAreAcceptedOrRefusedAsNamed(t *testing.T) {
	t.Parallel()
	w := ready(t)
	const id = "https://rp.cie.it"
	strangers(w, id)
	stranger := &relyingParty{id: id, fed: w.rp.fed, core: w.rp.core, enc: w.rp.enc}
	endpoint := w.Endpoints().Token
	check := func(form map[string]any) error {
		values := url.Values{}
		for k, v := range form {
			values.Set(k, spaced(v))
		}
		status, _, body := w.post(endpoint, values)
		if status == http.StatusOK {
			return nil
		}
		return fmt.Errorf("%d %s", status, strings.TrimSpace(body))
	}
	// A login of the stranger, so that there is a code and a refresh token.
	login := func() (a *attempt, code string) {
		a = w.attemptOf(stranger)
		a.both("scope", "openid offline_access")
		a.claims["redirect_uri"] = "https://rp.cie.it/callback1/"
		_, header, _ := a.authorize()
		u, err := url.Parse(header.Get("Location"))
		if err != nil || u.Query().Get("code") == "" {
			t.Fatalf("no code: %s", header.Get("Location"))
		}
		return a, u.Query().Get("code")
	}
	// wire fills in what the fixtures hold places for.
	wire := func(form map[string]any) map[string]any {
		a, code := login()
		out := maps.Clone(form)
		if out["client_assertion"] == "head.payload.verifysignature" {
			out["client_assertion"] = a.assertion(endpoint)
		}
		if out["code"] != nil {
			out["code"], out["redirect_uri"] = code, "https://rp.cie.it/callback1/"
		}
		if out["code_verifier"] != nil {
			out["code_verifier"] = a.verifier
		}
		if out["refresh_token"] != nil {
			a.form = map[string]any{"redirect_uri": "https://rp.cie.it/callback1/"}
			out["refresh_token"] = a.tokens(code)["refresh_token"]
		}
		return out
	}
	for _, c := range djangoCases(t, "provider.token_request_settings.json") {
		if !strings.HasPrefix(c.name, "JWT_CLIENT_ASSERTION") {
			judge(t, "as it stands", c.name, check(c.payload), differsAsItStands)
			judge(t, "in wire form", c.name, check(wire(c.payload)), differsOnTheWire)
			continue
		}
		request := func(claims map[string]any) map[string]any {
			w.forgetReplays()
			compact, err := w.rp.core.sign("", claims)
			if err != nil {
				t.Fatal(err)
			}
			return wire(map[string]any{
				"client_id": id, "client_assertion_type": assertionType, "client_assertion": compact,
				"grant_type": "authorization_code", "code": "x", "code_verifier": "x",
			})
		}
		judge(t, "as it stands", c.name, check(request(c.payload)), differsAsItStands)
		claims := maps.Clone(c.payload)
		switch claims["aud"].(type) {
		case string:
			claims["aud"] = endpoint
		case []any:
			claims["aud"] = []any{endpoint}
		}
		judge(t, "in wire form", c.name, check(request(claims)), differsOnTheWire)
	}
}
