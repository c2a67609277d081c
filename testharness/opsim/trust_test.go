package opsim

import (
	"crypto/rsa"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

// partyMetadata is the relying party's own metadata in its configuration.
func partyMetadata(claims map[string]any) map[string]any {
	return claims["metadata"].(map[string]any)[TypeRelyingParty].(map[string]any)
}

func entityMetadata(claims map[string]any) map[string]any {
	return claims["metadata"].(map[string]any)["federation_entity"].(map[string]any)
}

func setParty(name string, v any) func(map[string]any) {
	return func(claims map[string]any) { merge(partyMetadata(claims), map[string]any{name: v}) }
}

func setEntity(name string, v any) func(map[string]any) {
	return func(claims map[string]any) { merge(entityMetadata(claims), map[string]any{name: v}) }
}

func setClaim(name string, v any) func(map[string]any) {
	return func(claims map[string]any) { merge(claims, map[string]any{name: v}) }
}

func TestThePortalRefusesWhatIsWrongInAnEntityConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	private := map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "kid": "x", "use": "sig", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
		"y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
	}}}
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"iss is another":                   {setClaim("iss", "https://another.example.it"), "iss"},
		"sub is another":                   {setClaim("sub", "https://another.example.it"), "sub"},
		"no iat":                           {setClaim("iat", nil), "iat"},
		"no exp":                           {setClaim("exp", nil), "exp"},
		"exp is past":                      {setClaim("exp", testStart.Unix()), "exp is past"},
		"iat in the future":                {setClaim("iat", testStart.Add(time.Hour).Unix()), "future"},
		"no authority_hints":               {setClaim("authority_hints", nil), "authority_hints"},
		"too many authority_hints":         {setClaim("authority_hints", []any{"a", "b", "c", "d", "e", "f"}), "authority_hints"},
		"no metadata":                      {setClaim("metadata", nil), "metadata"},
		"no jwks":                          {setClaim("jwks", nil), "jwks"},
		"a private key in jwks":            {setClaim("jwks", private), "member d"},
		"no organization_name of entity":   {setEntity("organization_name", nil), "organization_name"},
		"no homepage_uri":                  {setEntity("homepage_uri", nil), "homepage_uri"},
		"no policy_uri":                    {setEntity("policy_uri", nil), "policy_uri"},
		"no contacts":                      {setEntity("contacts", nil), "contacts"},
		"empty contacts":                   {setEntity("contacts", []any{}), "contacts"},
		"no resolve endpoint":              {setEntity("federation_resolve_endpoint", nil), "federation_resolve_endpoint"},
		"homepage by http elsewhere":       {setEntity("homepage_uri", "http://example.it"), "homepage_uri"},
		"client_id is another":             {setParty("client_id", "https://another.example.it"), "client_id"},
		"client_id with a query":           {setParty("client_id", "https://another.example.it?x=1"), "client_id"},
		"no client_name":                   {setParty("client_name", nil), "client_name"},
		"no organization_name":             {setParty("organization_name", nil), "organization_name"},
		"no redirect_uris":                 {setParty("redirect_uris", nil), "redirect_uris"},
		"a redirect_uri by http":           {setParty("redirect_uris", []any{"http://example.it/callback"}), "redirect_uris"},
		"a custom scheme on the web":       {setParty("redirect_uris", []any{"it.example.app://callback"}), "redirect_uris"},
		"response_types with id_token":     {setParty("response_types", []any{"code", "id_token"}), "response_types"},
		"no grant_types":                   {setParty("grant_types", nil), "grant_types"},
		"a grant type that is not allowed": {setParty("grant_types", []any{"authorization_code", "password"}), "grant_types"},
		"jwks_uri beside jwks":             {setParty("jwks_uri", "https://example.it/jwks"), "jwks_uri"},
		"signed_jwks_uri":                  {setParty("signed_jwks_uri", "https://example.it/jwks"), "signed_jwks_uri"},
		"no core keys":                     {setParty("jwks", nil), "jwks"},
		"a private core key":               {setParty("jwks", private), "member d"},
		"alg none":                         {setParty("id_token_signed_response_alg", "none"), "id_token_signed_response_alg"},
		"HS256":                            {setParty("userinfo_signed_response_alg", "HS256"), "userinfo_signed_response_alg"},
		"no userinfo encryption":           {setParty("userinfo_encrypted_response_alg", nil), "userinfo_encrypted_response_alg"},
		"RSA1_5":                           {setParty("userinfo_encrypted_response_alg", "RSA1_5"), "userinfo_encrypted_response_alg"},
		"GCM":                              {setParty("userinfo_encrypted_response_enc", "A256GCM"), "userinfo_encrypted_response_enc"},
		"encrypted ID Token without enc":   {setParty("id_token_encrypted_response_alg", "RSA-OAEP-256"), "id_token_encrypted_response_enc"},
		"client_secret_basic":              {setParty("token_endpoint_auth_method", "client_secret_basic"), "token_endpoint_auth_method"},
		"explicit registration":            {setParty("client_registration_types", []any{"explicit"}), "client_registration_types"},
		"public subjects":                  {setParty("subject_type", "public"), "subject_type"},
	} {
		w.rp.change = c.change
		_, err := w.Register(t.Context(), w.rp.id)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one about %s", name, err, c.want)
		}
	}
	w.rp.change = func(claims map[string]any) {
		set := keySet(w.rp.fed)
		key, err := decodeObject([]byte(canon(set.Keys[0])))
		if err != nil {
			t.Fatal(err)
		}
		key["x5t"] = "abc"
		claims["jwks"] = map[string]any{"keys": []any{key}}
	}
	if _, err := w.Register(t.Context(), w.rp.id); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "x5t") {
		t.Errorf("a certificate on a federation key: %v", err)
	}
	w.rp.change = nil
	w.rp.header = func(h http.Header) { h.Set("Content-Type", statementType+"; charset=utf-8") }
	if _, err := w.Register(t.Context(), w.rp.id); !errors.Is(err, ErrRefused) {
		t.Errorf("a charset: %v", err)
	}
	w.rp.header = nil
	w.rp.fed = w.keys.foreignSigner(w.rp.fed)
	good := keySet(signer{kid: "fed-1", alg: jose.RS256, key: w.rp.core.key})
	w.rp.change = setClaim("jwks", good)
	if _, err := w.Register(t.Context(), w.rp.id); !errors.Is(err, ErrRefused) || !errors.Is(err, errSignature) {
		t.Errorf("signed by another key than published: %v", err)
	}
	for _, id := range []string{"ftp://127.0.0.1/x", "http://example.it/x", "127.0.0.1", ""} {
		if _, err := w.Register(t.Context(), id); !errors.Is(err, ErrRefused) {
			t.Errorf("entity id %q: %v", id, err)
		}
	}
	if len(w.State().RelyingParties) != 0 {
		t.Error("something was registered")
	}
}

func TestNobodyButLoopbackIsCalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.Register(t.Context(), "https://rp.example.it")
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("%v", err)
	}
}

func TestTheProviderTrustsOnlyByMarkAndChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	refused := func(rp *relyingParty) string {
		w.ForgetChain(rp.id)
		_, err := w.trusted(t.Context(), rp.id)
		if err == nil {
			return ""
		}
		return err.code
	}
	if got := refused(w.rp); got != "unauthorized_client" {
		t.Errorf("no mark: %q", got)
	}
	// Without a mark nobody is called but the relying party itself.
	w.rp.mu.Lock()
	if calls := w.rp.calls; len(calls) != 1 || !strings.HasSuffix(calls[0], wellKnown) {
		t.Errorf("calls %v", calls)
	}
	w.rp.mu.Unlock()
	w.onboard(w.rp)
	if got := refused(w.rp); got != "" {
		t.Fatalf("onboarded: %s", got)
	}
	good := w.rp.marks
	now := testStart
	id := w.markID(TypeRelyingParty + "/public")
	claims := func() map[string]any {
		return map[string]any{"iss": w.Addresses.Anchor, "sub": w.rp.id, "id": id, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	}
	anchor := w.keys.anchorKey()
	for name, c := range map[string]struct {
		typ    string
		key    signer
		change map[string]any
		entry  string
	}{
		"another subject":       {typMark, anchor, map[string]any{"sub": "https://another.example.it"}, id},
		"expired":               {typMark, anchor, map[string]any{"iat": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(-time.Hour).Unix()}, id},
		"signed by another key": {typMark, w.keys.foreignSigner(anchor), nil, id},
		"self-made":             {typMark, w.rp.fed, map[string]any{"iss": w.rp.id}, id},
		"no typ":                {"", anchor, nil, id},
		"another id than entry": {typMark, anchor, map[string]any{"id": w.markID(TypeProvider + "/public")}, id},
		"a mark for providers":  {typMark, anchor, map[string]any{"id": w.markID(TypeProvider + "/public")}, w.markID(TypeProvider + "/public")},
		"a mark nobody knows":   {typMark, anchor, map[string]any{"id": "https://x.example.it/m"}, "https://x.example.it/m"},
		"from the future":       {typMark, anchor, map[string]any{"iat": now.Add(time.Hour).Unix()}, id},
	} {
		mark := claims()
		merge(mark, c.change)
		compact, err := c.key.sign(c.typ, mark)
		if err != nil {
			t.Fatal(err)
		}
		w.rp.mu.Lock()
		w.rp.marks = []any{map[string]any{"id": c.entry, "trust_mark": compact}}
		w.rp.mu.Unlock()
		if got := refused(w.rp); got != "unauthorized_client" {
			t.Errorf("%s: %q", name, got)
		}
	}
	w.rp.mu.Lock()
	w.rp.marks = good
	w.rp.mu.Unlock()
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"policy forbids GCM":           {setParty("userinfo_encrypted_response_enc", "A256GCM"), "unauthorized_client"},
		"an essential member is gone":  {setParty("redirect_uris", nil), "unauthorized_client"},
		"no hint to the anchor":        {setClaim("authority_hints", []any{w.Addresses.Provider}), "invalid_client"},
		"a hint to itself":             {setClaim("authority_hints", []any{w.rp.id}), "invalid_client"},
		"a key the anchor has not got": {func(map[string]any) {}, "invalid_client"},
	} {
		w.rp.change = c.change
		fed := w.rp.fed
		if strings.HasPrefix(name, "a key") {
			w.rp.fed = signer{kid: "fed-1", alg: jose.RS256, key: w.keys.foreign}
		}
		if got := refused(w.rp); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
		w.rp.fed = fed
	}
	w.rp.change = nil
	if got := refused(w.rp); got != "" {
		t.Errorf("in the end: %s", got)
	}
}

func TestCoreKeysAreThoseTheAnchorPinned(t *testing.T) {
	t.Parallel()
	w := ready(t)
	old := w.rp.core
	w.rp.core = signer{kid: "core-2", alg: jose.RS256, key: w.keys.foreign}
	w.ForgetChain(w.rp.id)
	status, _, body := w.attempt().authorize()
	if status != http.StatusBadRequest || !strings.Contains(body, "invalid_request_object") {
		t.Errorf("a new key published only in the configuration: %d", status)
	}
	if _, err := w.Register(t.Context(), w.rp.id); err != nil {
		t.Fatal(err)
	}
	w.rp.publishMark(w)
	w.attempt().code()
	w.rp.core = old
	if status, _, _ := w.attempt().authorize(); status != http.StatusBadRequest {
		t.Error("the old key still signs")
	}
}

func TestTheChainIsKeptUntilItsEndAndBuiltAnew(t *testing.T) {
	t.Parallel()
	w := ready(t)
	w.attempt().code()
	w.attempt().code()
	fetched := func() int {
		w.rp.mu.Lock()
		defer w.rp.mu.Unlock()
		return len(w.rp.calls)
	}
	before := fetched() // one at registration, one for the chain
	if before != 2 {
		t.Errorf("%d fetches for two logins", before)
	}
	if chains := w.State().Chains; !slices.Equal(chains, []string{w.rp.id}) {
		t.Errorf("chains %v", chains)
	}
	w.clock.Advance(statementLifetime)
	if len(w.State().Chains) != 0 {
		t.Error("a chain outlives its statement")
	}
	w.attempt().code()
	if fetched() != before+1 {
		t.Errorf("%d fetches after the chain's end", fetched())
	}
}

// aggregator is an intermediate between the anchor and the relying party.
func aggregator(t *testing.T, w *world) string {
	t.Helper()
	keys, err := rpKeys()
	if err != nil {
		t.Fatal(err)
	}
	key := signer{kid: "sa-1", alg: jose.RS256, key: keys.Anchor}
	var id string
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		now := w.clock.Now()
		claims := map[string]any{"iss": id, "sub": id, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jwks": keySet(key)}
		switch r.URL.Path {
		case wellKnown:
			merge(claims, map[string]any{
				"authority_hints": []any{w.Addresses.Anchor},
				"metadata":        map[string]any{"federation_entity": map[string]any{"federation_fetch_endpoint": id + "/fetch", "organization_name": "SA"}},
			})
		case "/fetch":
			merge(claims, map[string]any{"sub": r.URL.Query().Get("sub"), "jwks": keySet(w.rp.fed), "metadata_policy": map[string]any{
				TypeRelyingParty: map[string]any{"client_name": map[string]any{"value": "Nome dato dall'aggregatore"}},
			}})
		}
		compact, err := key.sign(typStatement, claims)
		if err != nil {
			t.Error(err)
		}
		rw.Header().Set("Content-Type", statementType)
		_, _ = rw.Write([]byte(compact))
	}))
	t.Cleanup(server.Close)
	id = server.URL
	return id
}

func TestARelyingPartyMayStandBelowOneAggregator(t *testing.T) {
	t.Parallel()
	w := ready(t)
	id := aggregator(t, w)
	// The mark is the anchor's; the statement is the aggregator's alone.
	if err := w.Unregister(w.rp.id); err != nil {
		t.Fatal(err)
	}
	w.rp.change = setClaim("authority_hints", []any{id})
	if _, err := w.trusted(t.Context(), w.rp.id); err == nil || err.code != "invalid_client" {
		t.Errorf("an aggregator nobody registered: %v", err)
	}
	if _, err := w.RegisterAs(t.Context(), id, TypeIntermediate, false); err != nil {
		t.Fatal(err)
	}
	c, err := w.trusted(t.Context(), w.rp.id)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.chain) != 4 || c.text("client_name") != "Nome dato dall'aggregatore" {
		t.Errorf("chain of %d, %v", len(c.chain), c.rp["client_name"])
	}
	if q := w.attempt().answer(); q.Get("code") == "" {
		t.Errorf("%v", q)
	}
	if _, err := w.RegisterAs(t.Context(), id, "king", false); !errors.Is(err, ErrRefused) {
		t.Errorf("an unknown type: %v", err)
	}
}

func TestTheAnchorAnswersAsTheTextSays(t *testing.T) {
	t.Parallel()
	w := ready(t)
	anchor := w.Addresses.Anchor
	for path, want := range map[string]int{
		fetchPath: 400, fetchPath + "?sub=https://nobody.example.it": 404, "/nothing": 404,
		resolvePath: 400, resolvePath + "?sub=x&anchor=https://another.example.it": 404,
		resolvePath + "?sub=https://nobody.example.it&anchor=" + url.QueryEscape(anchor): 404,
		markStatusPath: 405,
	} {
		status, header, body := w.get(anchor + path)
		if status != want || object(body)["error"] == nil || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if _, _, body := w.get(anchor + listPath + "?entity_type=openid_provider"); strings.TrimSpace(body) != `["`+w.Addresses.Provider+`"]` {
		t.Errorf("list: %s", body)
	}
	if _, _, body := w.get(anchor + listPath + "?entity_type=openid_relying_party"); !strings.Contains(body, w.rp.id) {
		t.Errorf("list: %s", body)
	}
	_, header, body := w.get(anchor + wellKnown)
	own, err := readJWT(body)
	if err != nil || header.Get("Content-Type") != statementType || own.typ != typStatement || own.verify(w.keys.anchorSet().Keys) != nil {
		t.Errorf("configuration: %v %s", err, body)
	}
	w.attempt().code()
	for _, party := range []string{anchor, w.Addresses.Provider} {
		for _, name := range []string{"anchor", "trust_anchor"} {
			status, header, body := w.get(party + resolvePath + "?sub=" + url.QueryEscape(w.rp.id) + "&" + name + "=" + url.QueryEscape(anchor))
			j, err := readJWT(body)
			if status != http.StatusOK || err != nil || header.Get("Content-Type") != "application/resolve-response+jwt" {
				t.Fatalf("resolve: %d %s", status, body)
			}
			if chain, _ := stringList(j.claims["trust_chain"]); len(chain) != 3 || j.text("sub") != w.rp.id {
				t.Errorf("resolve: chain of %d", len(chain))
			}
		}
	}
	mark, _ := w.entity(w.rp.id)
	ask := func(form url.Values) (int, string) {
		status, _, body := w.post(anchor+markStatusPath, form)
		return status, body
	}
	id := w.markID(mark.markRole())
	if _, body := ask(url.Values{"id": {id}, "sub": {w.rp.id}}); strings.TrimSpace(body) != `{"active":true}` {
		t.Errorf("status: %s", body)
	}
	w.RevokeMark(w.rp.id, true)
	if _, body := ask(url.Values{"id": {id}, "sub": {w.rp.id}}); strings.TrimSpace(body) != `{"active":false}` {
		t.Errorf("revoked: %s", body)
	}
	if _, body := ask(url.Values{"trust_mark": {mark.Mark}}); len(strings.Split(body, ".")) != 3 {
		t.Errorf("by the mark itself: %s", body)
	} else if j, err := readJWT(body); err != nil || j.claims["status"] != "revoked" {
		t.Errorf("by the mark itself: %v %v", j.claims, err)
	}
	if status, _ := ask(url.Values{}); status != 400 {
		t.Errorf("an empty question: %d", status)
	}
	if status, _ := ask(url.Values{"trust_mark": {"x.y.z"}}); status != 404 {
		t.Errorf("a mark of nobody: %d", status)
	}
}

func TestRotatedKeysStandBesideTheFormerOnesUnlessAbrupt(t *testing.T) {
	t.Parallel()
	w := ready(t)
	tokens := func() (*attempt, string) {
		a := w.attempt()
		access, _ := a.tokens(a.code())["access_token"].(string)
		return a, access
	}
	a, old := tokens()
	if err := w.Rotate(KeyCore, false); err != nil {
		t.Fatal(err)
	}
	a.userInfo(old)
	_, fresh := tokens()
	first, _ := readJWT(old)
	second, _ := readJWT(fresh)
	if first.kid == second.kid {
		t.Error("the core key did not change")
	}
	if err := w.Rotate(KeyCore, true); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := w.do(http.MethodGet, w.Endpoints().UserInfo, nil, bearer(fresh)); status != http.StatusUnauthorized {
		t.Errorf("after an abrupt rotation: %d", status)
	}
	before := w.keys.federationKey().kid
	if err := w.Rotate(KeyFederation, false); err != nil {
		t.Fatal(err)
	}
	if set := w.keys.federationSet(); len(set.Keys) != 2 || set.Keys[0].KeyID == before {
		t.Errorf("federation keys %v", set.Keys)
	}
	pins := string(w.AnchorJWKS())
	if err := w.Rotate(KeyAnchor, false); err != nil {
		t.Fatal(err)
	}
	if string(w.AnchorJWKS()) == pins || len(w.keys.anchorSet().Keys) != 3 {
		t.Error("the anchor's keys did not change")
	}
	_, _, body := w.get(w.Addresses.Anchor + historyPath)
	j, err := readJWT(body)
	if err != nil {
		t.Fatal(err)
	}
	if keys, _ := j.claims["keys"].([]any); len(keys) != 1 {
		t.Errorf("history %v", j.claims)
	}
	// The marks given out before are still the anchor's.
	w.ForgetChain("")
	w.attempt().code()
	if w.Rotate("front door", false) == nil {
		t.Error("an unknown key is rotated")
	}
}

func TestKeysAndRegistrationsSurviveInAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys, err := testKeys()
	if err != nil {
		t.Fatal(err)
	}
	// One is left to be made.
	for name, key := range map[string]*rsa.PrivateKey{KeyAnchor: keys.Anchor, KeyFederation: keys.Federation, KeyCore: keys.Core} {
		if err := sim.SaveRSAKey(dir, "op-"+name, key); err != nil {
			t.Fatal(err)
		}
	}
	inFolder := func(o *Options) { o.Dir, o.Keys = dir, nil }
	w := newWorld(t, inFolder)
	w.onboard(w.rp)
	if err := w.RegisterClient(OperatorClient{ID: "gateway", RedirectURIs: []string{"http://127.0.0.1/cb"}}); err != nil {
		t.Fatal(err)
	}
	pins, sub := string(w.AnchorJWKS()), w.pairwise(lucia, w.rp.id)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := New(Options{Dir: dir, Clock: w.clock, Addresses: w.Where()})
	if err != nil {
		t.Fatal(err)
	}
	if string(again.AnchorJWKS()) != pins || again.pairwise(lucia, w.rp.id) != sub {
		t.Error("keys or subjects changed")
	}
	if e, ok := again.entity(w.rp.id); !ok || e.Mark == "" {
		t.Error("the relying party was forgotten")
	}
	if _, ok := again.opClients["gateway"]; !ok {
		t.Error("the operators' client was forgotten")
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
