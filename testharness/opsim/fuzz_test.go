package opsim

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"
)

// FuzzAuthorizationRequest reads request objects of strangers: a refusal that
// is redirected or none must have a client and a redirect_uri that is
// registered, and an accepted one everything the answer needs.
func FuzzAuthorizationRequest(f *testing.F) {
	challenge := "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	f.Add(`{"iss":"https://rp","client_id":"https://rp","aud":"https://op","exp":1795000300,"response_type":"code","scope":"openid","code_challenge":"`+challenge+`","code_challenge_method":"S256","nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","state":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","prompt":"consent","acr_values":"https://www.spid.gov.it/SpidL2","claims":{"userinfo":{"given_name":null}}}`, "scope=openid&response_type=code&code_challenge="+challenge+"&code_challenge_method=S256")
	f.Add(`{"claims":[],"aud":["https://op",1],"exp":"x"}`, "request_uri=x")
	f.Add(`{"claims":{"id_token":{"given_name":{"values":"x"}}},"ui_locales":"it en"}`, "")
	f.Fuzz(func(t *testing.T, object, query string) {
		claims, err := decodeObject([]byte(object))
		if err != nil {
			return
		}
		params, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		now := time.Unix(1795000000, 0)
		a := &authRequest{client: &client{id: "https://rp", grants: []string{"authorization_code"}}}
		a.state, _ = claims["state"].(string)
		if checkRequestObject(params, claims, "https://rp", "https://op", now) != nil || a.read(params, claims) != nil {
			return
		}
		if len(a.levels) == 0 || len(a.nonce) < 32 || len(a.state) < 32 || len(a.challenge) != 43 || a.offline() {
			t.Errorf("accepted %s: %+v", object, a)
		}
	})
}

// FuzzClientAssertion reads the claims of assertions.
func FuzzClientAssertion(f *testing.F) {
	f.Add(`{"iss":"https://rp","sub":"https://rp","aud":"https://op/token","iat":1795000000,"exp":1795000060,"jti":"0123456789abcdef"}`)
	f.Add(`{"iss":"https://rp","sub":"https://rp","aud":["https://op/token"],"iat":1e400,"exp":-1,"jti":[]}`)
	f.Fuzz(func(t *testing.T, object string) {
		claims, err := decodeObject([]byte(object))
		if err != nil {
			return
		}
		if checkAssertion(claims, "https://rp", "https://op/token", time.Unix(1795000000, 0)) != nil {
			return
		}
		jti, _ := claims["jti"].(string)
		if claims["iss"] != "https://rp" || claims["sub"] != "https://rp" || len(jti) < 16 {
			t.Errorf("accepted %s", object)
		}
	})
}

// FuzzJWT reads what strangers send as a JWT: never alg none or an HMAC.
func FuzzJWT(f *testing.F) {
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJIUzI1NiJ9.e30.AAAA")
	f.Add("eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.e30.AAAA")
	f.Fuzz(func(t *testing.T, compact string) {
		j, err := readJWT(compact)
		if err != nil {
			return
		}
		known := false
		for _, alg := range signatureAlgs {
			known = known || string(alg) == j.alg
		}
		if !known || j.claims == nil {
			t.Errorf("read %q with alg %q", compact, j.alg)
		}
		if j.verify(nil) == nil {
			t.Error("verified without a key")
		}
	})
}

// FuzzPolicy merges and applies policies of strangers.
func FuzzPolicy(f *testing.F) {
	f.Add(`{"a":{"subset_of":["x"],"superset_of":["x"]}}`, `{"a":{"one_of":["x"]}}`, `{"a":["x"]}`)
	f.Add(`{"scope":{"add":["x"],"essential":true}}`, `{"scope":{"default":"y"}}`, `{"scope":"z"}`)
	f.Add(`{"a":{"value":null}}`, `{"a":{"default":1}}`, `{"a":null}`)
	f.Fuzz(func(t *testing.T, superior, subordinate, metadata string) {
		var s, i, m any
		if json.Unmarshal([]byte(superior), &s) != nil || json.Unmarshal([]byte(subordinate), &i) != nil || json.Unmarshal([]byte(metadata), &m) != nil {
			return
		}
		once, err := resolvePolicies(m, s, i)
		if err != nil {
			return
		}
		// The policy leaves alone what it has already shaped.
		twice, err := resolvePolicies(once, s, i)
		if err != nil || canon(once) != canon(twice) {
			t.Errorf("%s + %s on %s: %s, then %s %v", superior, subordinate, metadata, canon(once), canon(twice), err)
		}
	})
}

// FuzzKeys reads published key sets: never a private member.
func FuzzKeys(f *testing.F) {
	f.Add(`{"keys":[{"kty":"EC","kid":"x","use":"sig","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`)
	f.Add(`{"keys":[{"kty":"oct","k":"AAAA"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		object, err := decodeObject([]byte(text))
		if err != nil {
			return
		}
		keys, err := readKeys(object)
		if err != nil {
			return
		}
		for _, k := range keys {
			if !k.IsPublic() || k.KeyID == "" || !goodKey(k.Key) {
				t.Errorf("read %s", text)
			}
		}
	})
}
