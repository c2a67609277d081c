package federation

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway/jose"
)

// madeKeys is keysDir's answer once it was asked.
var madeKeys string

// keysDir holds the slow RSA keys of the tests, made once.
var keysDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "airegw-federation-keys")
	if err != nil {
		panic(err)
	}
	if _, err := GenerateKeys(filepath.Join(dir, "keys")); err != nil {
		panic(err)
	}
	madeKeys = dir
	return dir
})

func TestMain(m *testing.M) {
	code := m.Run()
	if madeKeys != "" {
		_ = os.RemoveAll(madeKeys)
	}
	os.Exit(code)
}

var encKey = sync.OnceValue(func() jose.Key {
	k, err := LoadKeys(filepath.Join(keysDir(), "keys"))
	if err != nil {
		panic(err)
	}
	return k.CoreEncrypt
})

var gwFed, gwCore = newKey(), newKey()

const gwID = "https://gw.example.test/c_h501"

func gatewayConfig(id, superior string) EntityConfig {
	return EntityConfig{
		ID: id, AuthorityHints: []string{superior}, Organization: "Comune di Prova", HomepageURI: id, PolicyURI: id + "/privacy",
		LogoURI: id + "/logo.svg", Contacts: []string{"ente@pec.example.test"}, RedirectURIs: []string{id + "/callback"},
		Keys:  Keys{Federation: gwFed, CoreSign: gwCore, CoreEncrypt: encKey()},
		Suite: Suite{Sign: jose.ES256, Encrypt: jose.RSAOAEP256, Content: jose.A256CBCHS512},
	}
}

func newGateway(t *testing.T, id, superior string) *Entity {
	t.Helper()
	e, err := NewEntity(gatewayConfig(id, superior))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// payloadOf reads a token's payload as a plain map.
func payloadOf(t *testing.T, compact []byte) object {
	t.Helper()
	var raw json.RawMessage
	if _, _, _, err := jose.Peek(string(compact), &raw); err != nil {
		t.Fatal(err)
	}
	var out object
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Every member of entra-con-cie §1; the AgID cases are in agid_test.go.
func TestOurEntityConfigurationHasAllThatTheProfileAsks(t *testing.T) {
	t.Parallel()
	e := newGateway(t, gwID, taID)
	compact, err := e.Configuration(testNow)
	if err != nil {
		t.Fatal(err)
	}
	// It verifies by the keys it publishes.
	s, err := ParseStatement(string(compact))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.verifySelf(testNow, 0); err != nil {
		t.Fatal(err)
	}
	kid, _, typ, err := jose.Peek(string(compact), nil)
	if err != nil || kid != gwFed.KID() || typ != jose.TypeEntityStatement {
		t.Errorf("header: %s %s %v", kid, typ, err)
	}
	claims := payloadOf(t, compact)
	rp := claims["metadata"].(object)[TypeRelyingParty].(object)
	fe := claims["metadata"].(object)[TypeFederationEntity].(object)
	for name, ok := range map[string]bool{
		"iss and sub are the registered id":        claims["iss"] == gwID && claims["sub"] == gwID,
		"iat and exp are numbers in UTC seconds":   claims["iat"] == float64(testNow.Unix()) && claims["exp"] == float64(testNow.Add(time.Hour).Unix()),
		"jwks holds the federation key only":       len(claims["jwks"].(object)["keys"].([]any)) == 1 && claims["jwks"].(object)["keys"].([]any)[0].(object)["kid"] == gwFed.KID(),
		"authority_hints names the anchor":         equal(claims["authority_hints"], []any{taID}),
		"no claim the profile does not support":    claims["aud"] == nil && claims["crit"] == nil && claims["constraints"] == nil,
		"client_id is the id, no query":            rp["client_id"] == gwID,
		"client_name":                              rp["client_name"] == "Comune di Prova",
		"organization_name":                        rp["organization_name"] == "Comune di Prova" && fe["organization_name"] == "Comune di Prova",
		"redirect_uris":                            equal(rp["redirect_uris"], []any{gwID + "/callback"}),
		"response_types is code":                   equal(rp["response_types"], []any{"code"}),
		"grant_types":                              equal(rp["grant_types"], []any{"authorization_code"}),
		"private_key_jwt":                          rp["token_endpoint_auth_method"] == "private_key_jwt",
		"client_registration_types":                equal(rp["client_registration_types"], []any{"automatic"}),
		"id_token_signed_response_alg":             rp["id_token_signed_response_alg"] == "ES256",
		"userinfo_signed_response_alg":             rp["userinfo_signed_response_alg"] == "ES256",
		"userinfo_encrypted_response_alg":          rp["userinfo_encrypted_response_alg"] == "RSA-OAEP-256",
		"userinfo_encrypted_response_enc":          rp["userinfo_encrypted_response_enc"] == "A256CBC-HS512",
		"no encrypted ID Token asked for":          rp["id_token_encrypted_response_alg"] == nil,
		"application_type and subject_type":        rp["application_type"] == "web" && rp["subject_type"] == "pairwise",
		"homepage, policy, logo":                   fe["homepage_uri"] == gwID && fe["policy_uri"] == gwID+"/privacy" && fe["logo_uri"] == gwID+"/logo.svg",
		"contacts":                                 equal(fe["contacts"], []any{"ente@pec.example.test"}),
		"federation_resolve_endpoint":              fe["federation_resolve_endpoint"] == gwID+"/resolve",
		"no signed_jwks_uri or jwks_uri, CIE only": rp["signed_jwks_uri"] == nil && rp["jwks_uri"] == nil,
	} {
		if !ok {
			t.Errorf("%s: %v", name, claims)
		}
	}
	var uses []string
	for _, k := range slices.Concat(rp["jwks"].(object)["keys"].([]any), claims["jwks"].(object)["keys"].([]any)) {
		key := k.(object)
		uses = append(uses, key["use"].(string))
		for name := range key {
			if !slices.Contains([]string{"kty", "kid", "use", "alg", "n", "e", "crv", "x", "y"}, name) {
				t.Errorf("a key with %s: the portal refuses certificates, everybody private members", name)
			}
		}
	}
	if !slices.Equal(uses, []string{"sig", "enc", "sig"}) {
		t.Errorf("uses %v", uses)
	}
}

func TestTheSameConfigurationIsServedForAMinuteAndThenSignedAnew(t *testing.T) {
	t.Parallel()
	e := newGateway(t, gwID, taID)
	at := func(d time.Duration) string {
		c, err := e.Configuration(testNow.Add(d))
		if err != nil {
			t.Fatal(err)
		}
		return string(c)
	}
	first := at(0)
	if at(59*time.Second) != first {
		t.Error("signed anew within the minute")
	}
	if at(time.Minute) == first {
		t.Error("not signed anew after it")
	}
	e.setMarks([]Mark{{ID: "x", Issuer: taID, JWT: "y", ExpiresAt: testNow.Add(time.Hour)}})
	if !strings.Contains(string(mustJSON(t, payloadOf(t, []byte(at(time.Minute))))), `"trust_mark":"y"`) {
		t.Error("a new mark waits")
	}
	if strings.Contains(string(mustJSON(t, payloadOf(t, []byte(at(time.Hour))))), `"trust_mark":"y"`) {
		t.Error("a mark is announced past its end")
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAnEntityThatCouldNotBeOnboardedIsNotMade(t *testing.T) {
	t.Parallel()
	for field, spoil := range map[string]func(c *EntityConfig){
		"id":              func(c *EntityConfig) { c.ID = "http://gw.example.test" },
		"authority_hints": func(c *EntityConfig) { c.AuthorityHints = nil },
		"organization":    func(c *EntityConfig) { c.Organization = "" },
		"contacts":        func(c *EntityConfig) { c.Contacts = nil },
		"redirect_uris":   func(c *EntityConfig) { c.RedirectURIs = nil },
		"policy_uri":      func(c *EntityConfig) { c.PolicyURI = "" },
		"logo_uri":        func(c *EntityConfig) { c.LogoURI = "logo.svg" },
		"lifetime":        func(c *EntityConfig) { c.Lifetime = time.Minute },
		"federation":      func(c *EntityConfig) { c.Keys.Federation = jose.Key{} },
		"core_sign":       func(c *EntityConfig) { c.Keys.CoreSign = c.Keys.Federation },
		"core_encrypt":    func(c *EntityConfig) { c.Keys.CoreEncrypt = newKey() },
	} {
		cfg := gatewayConfig(gwID, taID)
		spoil(&cfg)
		_, err := NewEntity(cfg)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeConfig || e.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
	cfg := gatewayConfig(gwID, gwID)
	if _, err := NewEntity(cfg); CodeOf(err) != CodeConfig {
		t.Errorf("its own superior: %v", err)
	}
}

// onboarded is a site whose anchor knows our gateway.
func onboarded(t *testing.T) (*site, *Entity, *paper) {
	t.Helper()
	s := newSite(t)
	e := newGateway(t, s.base+"/gw", s.base+"/ta")
	about := statementOf(s.base+"/ta", e.ID(), taKey, gwFed, 30*time.Minute)
	about.claims["metadata_policy"] = object{TypeRelyingParty: object{"jwks": object{"value": jwksOf(gwCore, encKey())}, "grant_types": object{"subset_of": []any{"authorization_code"}}}}
	mark := markOf(s.base+"/ta", s.base+"/ta/openid_relying_party/public", e.ID())
	about.claims["trust_marks"] = []any{object{"id": mark.claims["id"], "iss": s.base + "/ta", "trust_mark": mark.sign(t)}}
	s.tell(t, "/ta/fetch", about)
	return s, e, about
}

func (s *site) tell(t *testing.T, path string, p *paper) {
	t.Helper()
	s.answer[path] = statementAnswer(p.sign(t))
}

func TestOurMarkIsFetchedFromTheSuperiorAndAnnounced(t *testing.T) {
	t.Parallel()
	s, e, about := onboarded(t)
	standing, err := e.RenewMarks(t.Context(), s.resolver(t))
	if err != nil {
		t.Fatal(err)
	}
	if standing.KeysDiffer != nil || len(standing.Marks) != 1 || len(e.Marks()) != 1 {
		t.Fatalf("%+v", standing)
	}
	for _, a := range s.asked {
		if strings.Contains(a, "/gw/") {
			t.Errorf("we asked ourselves: %s", a)
		}
	}
	// A provider now finds us with a valid mark of our role.
	compact, err := e.Configuration(testNow)
	if err != nil {
		t.Fatal(err)
	}
	c, err := VerifyChain([]string{string(compact), about.sign(t), s.ta.sign(t)}, s.anchor, Rules{Now: testNow, Type: TypeRelyingParty, RequireMark: true})
	if err != nil {
		t.Fatal(err)
	}
	if c.Marks[0].ID != s.base+"/ta/openid_relying_party/public" {
		t.Fatalf("%+v", c.Marks)
	}

	// A superior that stops giving marks does not take the one at hand.
	delete(about.claims, "trust_marks")
	s.tell(t, "/ta/fetch", about)
	if _, err := e.RenewMarks(t.Context(), s.resolver(t)); CodeOf(err) != CodeMarkNotOffered || len(e.Marks()) != 1 {
		t.Fatalf("%v, %d marks", err, len(e.Marks()))
	}
}

func TestAMarkThatIsNotOursOrNotTheAnchorsIsNotAnnounced(t *testing.T) {
	t.Parallel()
	s, e, about := onboarded(t)
	mark := markOf(s.base+"/ta", s.base+"/ta/openid_relying_party/public", s.base+"/other")
	about.claims["trust_marks"] = []any{object{"id": mark.claims["id"], "trust_mark": mark.sign(t)}}
	s.tell(t, "/ta/fetch", about)
	standing, err := e.RenewMarks(t.Context(), s.resolver(t))
	if CodeOf(err) != CodeMarkNotOffered || len(e.Marks()) != 0 || len(standing.Refused) != 1 || CodeOf(standing.Refused[0]) != CodeMarkSubject {
		t.Fatalf("%v, %+v", err, standing)
	}
}

func TestKeysTheSuperiorDoesNotKnowAreReportedAsSuch(t *testing.T) {
	t.Parallel()
	s, e, about := onboarded(t)
	about.claims["metadata_policy"].(object)[TypeRelyingParty].(object)["jwks"] = object{"value": jwksOf(gwCore)}
	s.tell(t, "/ta/fetch", about)
	standing, err := s.resolver(t).Standing(t.Context(), e)
	if err != nil || CodeOf(standing.KeysDiffer) != CodeOwnCoreKeys {
		t.Fatalf("%v, %v", err, standing.KeysDiffer)
	}
	about.claims["jwks"] = jwksOf(xxKey)
	s.tell(t, "/ta/fetch", about)
	if _, err := s.resolver(t).Standing(t.Context(), e); CodeOf(err) != CodeOwnKeys {
		t.Fatalf("%v", err)
	}
}

func TestResolveServesOnlyWhatIsKnownAndNeverPastItsEnd(t *testing.T) {
	t.Parallel()
	l := newLab()
	announce(t, l.op, l.opMark)
	c, err := VerifyChain(l.opChain(t), l.anchor, Rules{Now: testNow, Type: TypeProvider})
	if err != nil {
		t.Fatal(err)
	}
	e := newGateway(t, gwID, taID)
	known := func(sub string) (*Chain, error) {
		switch sub {
		case opID:
			return c, nil
		case saID:
			return nil, &Unavailable{RetryAt: testNow}
		}
		return nil, refuse(CodeNotFound, "", "")
	}
	ask := func(query string, now time.Time) Answer {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		return e.ResolveAnswer(q, known, now)
	}
	for _, spelling := range []string{"anchor", "trust_anchor"} {
		a := ask("sub="+url.QueryEscape(opID)+"&"+spelling+"="+url.QueryEscape(taID), testNow)
		if a.Status != 200 || a.ContentType != "application/resolve-response+jwt" {
			t.Fatalf("%+v", a)
		}
		v, err := jose.Verify(string(a.Body), jose.NewKeySet(gwFed.Public()), jose.Expect{
			Algs: Algorithms, Typ: []string{"resolve-response+jwt"}, Now: testNow, Issuer: gwID, Subject: opID, NoAudience: true,
		}, nil)
		if err != nil || !v.ExpiresAt.Equal(c.ExpiresAt) {
			t.Fatalf("%v, ends %s", err, v.ExpiresAt)
		}
		claims := payloadOf(t, a.Body)
		if len(claims["trust_chain"].([]any)) != 3 || len(claims["trust_marks"].([]any)) != 1 || claims["metadata"].(object)[TypeProvider] == nil {
			t.Fatalf("%v", claims)
		}
	}
	for query, want := range map[string]struct {
		now    time.Time
		status int
		code   string
	}{
		"sub=" + opID:                                    {testNow, 400, "invalid_request"},
		"anchor=x":                                       {testNow, 400, "invalid_request"},
		"sub=" + opID + "&sub=x&anchor=" + taID:          {testNow, 400, "invalid_request"},
		"sub=" + opID + "&anchor=" + xxID:                {testNow, 404, "not_found"},
		"sub=" + xxID + "&anchor=" + taID:                {testNow, 404, "not_found"},
		"sub=" + opID + "&anchor=" + taID:                {c.ExpiresAt, 404, "not_found"},
		"sub=" + saID + "&trust_anchor=" + taID + "&x=1": {testNow, 503, "temporarily_unavailable"},
	} {
		a := ask(query, want.now)
		if a.Status != want.status || a.ContentType != "application/json" || !strings.Contains(string(a.Body), `"`+want.code+`"`) {
			t.Errorf("%s: %d %s", query, a.Status, a.Body)
		}
	}
}

func TestKeysAreMadeOnceReadableByUsAloneAndNeverOverwritten(t *testing.T) {
	t.Parallel()
	made := filepath.Join(keysDir(), "keys")
	if _, err := GenerateKeys(made); CodeOf(err) != CodeKeyFile {
		t.Errorf("made again: %v", err)
	}
	read, err := LoadKeys(made)
	if err != nil {
		t.Fatal(err)
	}
	// The default suite makes a whole entity.
	cfg := gatewayConfig(gwID, taID)
	cfg.Keys, cfg.Suite = read, Suite{}
	if _, err := NewEntity(cfg); err != nil {
		t.Error(err)
	}
	dir := t.TempDir()
	for _, name := range []string{FileFederation, FileCoreSign, FileCoreEncrypt} {
		info, err := os.Stat(filepath.Join(made, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
		data, err := os.ReadFile(filepath.Join(made, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := LoadKeys(dir); err != nil {
		t.Errorf("a copy: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, FileCoreSign), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeys(dir); CodeOf(err) != CodeKeyFile {
		t.Errorf("an open file: %v", err)
	}
	// One file left is enough to make none.
	alone := t.TempDir()
	if err := os.WriteFile(filepath.Join(alone, FileCoreEncrypt), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := GenerateKeys(alone); CodeOf(err) != CodeKeyFile {
		t.Errorf("beside an old file: %v", err)
	}
	if _, err := os.Stat(filepath.Join(alone, FileFederation)); err == nil {
		t.Error("a key was written all the same")
	}
}

// aggregator is a directory with one full and one light body, and the anchor's
// statement about us as their aggregator.
func aggregator(t *testing.T) (d *Directory, l *lab, fullID string, anchorsWord string) {
	t.Helper()
	l = newLab()
	own := newGateway(t, gwID, taID)
	fullID = gwID + "/c_a001"
	body, err := NewEntity(EntityConfig{
		ID: fullID, AuthorityHints: []string{gwID}, Organization: "Comune Aggregato", HomepageURI: fullID, PolicyURI: fullID, Contacts: []string{"a@pec.example.test"},
		RedirectURIs: []string{fullID + "/callback"}, Keys: Keys{Federation: xxKey, CoreSign: opCore, CoreEncrypt: encKey()},
		Suite: Suite{Sign: jose.ES256, Encrypt: jose.RSAOAEP256, Content: jose.A256CBCHS512},
	})
	if err != nil {
		t.Fatal(err)
	}
	mark := markOf(taID, taID+"/openid_relying_party/public", fullID)
	d, err = NewDirectory(own, []Aggregated{
		{Kind: AggregationFull, Entity: body, Marks: []Mark{{ID: mark.claims["id"].(string), Issuer: taID, Subject: fullID, JWT: mark.sign(t)}}},
		{Kind: AggregationLight, ID: rpID, FederationKeys: jose.NewKeySet(rpKey.Public()), CoreKeys: jose.NewKeySet(saKey.Public())},
	})
	if err != nil {
		t.Fatal(err)
	}
	word := statementOf(taID, gwID, taKey, gwFed, time.Hour)
	return d, l, fullID, word.sign(t)
}

func TestAnAggregatedBodyHasAValidChainThroughUsFullAndLight(t *testing.T) {
	t.Parallel()
	d, l, fullID, anchorsWord := aggregator(t)
	own, err := d.own.Configuration(testNow)
	if err != nil {
		t.Fatal(err)
	}
	l.rp.claims["authority_hints"] = []any{gwID}
	for _, id := range []string{fullID, rpID} {
		leaf := l.rp.sign(t)
		if e, err := d.Entity(id); err == nil {
			c, err := e.Configuration(testNow)
			if err != nil {
				t.Fatal(err)
			}
			leaf = string(c)
		}
		a := d.FetchAnswer(url.Values{"sub": {id}}, testNow)
		if a.Status != 200 || a.ContentType != MediaTypeStatement {
			t.Fatalf("%+v", a)
		}
		c, err := VerifyChain([]string{leaf, string(a.Body), string(own), anchorsWord, l.ta.sign(t)}, l.anchor, Rules{Now: testNow, Type: TypeRelyingParty})
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if !slices.Equal(c.Intermediates, []string{gwID}) {
			t.Errorf("%+v", c)
		}
		keys, err := keysOf(c.Metadata[TypeRelyingParty]["jwks"])
		if err != nil || (id == rpID) != (keys.Keys()[0].KID() == saKey.KID()) {
			t.Errorf("%s: protocol keys not pinned: %v", id, err)
		}
		if id == fullID && len(c.superior.Marks) != 1 {
			t.Error("the body's mark is not handed on")
		}
	}
	if _, err := d.Entity(rpID); CodeOf(err) != CodeAggregate {
		t.Errorf("a light body has an Entity here: %v", err)
	}
}

func TestAnAggregatorSpeaksOnlyOfItsOwn(t *testing.T) {
	t.Parallel()
	d, _, fullID, _ := aggregator(t)
	if a := d.FetchAnswer(url.Values{"sub": {xxID}}, testNow); a.Status != 404 {
		t.Errorf("%+v", a)
	}
	if a := d.FetchAnswer(url.Values{}, testNow); a.Status != 400 {
		t.Errorf("%+v", a)
	}
	if a := d.ListAnswer(url.Values{"entity_type": {TypeRelyingParty}}); string(a.Body) != `["`+fullID+`","`+rpID+`"]` {
		t.Errorf("%s", a.Body)
	}
	if a := d.ListAnswer(url.Values{"entity_type": {TypeProvider}}); string(a.Body) != `[]` {
		t.Errorf("%s", a.Body)
	}
}

func TestADirectoryOfBodiesThatDoNotBelongIsNotMade(t *testing.T) {
	t.Parallel()
	own := newGateway(t, gwID, taID)
	keys := jose.NewKeySet(rpKey.Public())
	light := Aggregated{Kind: AggregationLight, ID: rpID, FederationKeys: keys, CoreKeys: keys}
	for name, bodies := range map[string][]Aggregated{
		"full without entity":   {{Kind: AggregationFull}},
		"full outside our id":   {{Kind: AggregationFull, Entity: newGateway(t, "https://gw.example.test/x", gwID)}},
		"full under the anchor": {{Kind: AggregationFull, Entity: newGateway(t, gwID+"/x", taID)}},
		"light without keys":    {{Kind: AggregationLight, ID: rpID}},
		"light with entity":     {{Kind: AggregationLight, ID: rpID, FederationKeys: keys, CoreKeys: keys, Entity: own}},
		"no kind":               {{ID: rpID, FederationKeys: keys, CoreKeys: keys}},
		"twice":                 {light, light},
		"ourselves":             {{Kind: AggregationLight, ID: gwID, FederationKeys: keys, CoreKeys: keys}},
	} {
		if _, err := NewDirectory(own, bodies); CodeOf(err) != CodeConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
}
