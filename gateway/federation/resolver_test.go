package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

// site serves a lab over http on loopback and counts what is asked of it.
type site struct {
	*lab
	base string

	mu     sync.Mutex
	asked  []string
	answer map[string]http.HandlerFunc // by path, instead of the honest answer
	list   []string
	status func(form url.Values) (contentType, body string, code int)
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{answer: map[string]http.HandlerFunc{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.base = server.URL
	s.lab = newLabAt(s.base+"/ta", s.base+"/sa", s.base+"/op", s.base+"/rp")
	s.anchor.ID = s.base + "/ta"
	s.list = []string{s.base + "/op"}
	s.status = func(url.Values) (string, string, int) { return "application/json", `{"active":true}`, 200 }
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.String())
	special := s.answer[r.URL.Path]
	s.mu.Unlock()
	if special != nil {
		special(w, r)
		return
	}
	sub := strings.TrimPrefix(r.URL.Query().Get("sub"), s.base)
	papers := map[string]*paper{
		"/ta/.well-known/openid-federation": s.ta, "/sa/.well-known/openid-federation": s.sa,
		"/op/.well-known/openid-federation": s.op, "/rp/.well-known/openid-federation": s.rp,
		"/ta/fetch?/op": s.taOP, "/ta/fetch?/sa": s.taSA, "/sa/fetch?/rp": s.saRP,
	}
	key := r.URL.Path
	if sub != "" {
		key += "?" + sub
	}
	switch p := papers[key]; {
	case p != nil:
		payload, _ := json.Marshal(p.claims)
		token := p.raw
		if token == "" {
			token, _ = jose.SignBytes(p.key, jose.Header{Typ: p.typ, NoTyp: p.typ == ""}, payload)
		}
		w.Header().Set("Content-Type", MediaTypeStatement)
		_, _ = w.Write([]byte(token))
	case r.URL.Path == "/ta/list" && r.URL.Query().Get("entity_type") == TypeProvider:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.list)
	case r.URL.Path == "/ta/trust_mark_status" && r.Method == http.MethodPost && r.ParseForm() == nil:
		kind, body, code := s.status(r.PostForm)
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	default:
		http.NotFound(w, r)
	}
}

func (s *site) resolver(t *testing.T, change ...func(*ResolverConfig)) *Resolver {
	t.Helper()
	client, err := outbound.New(outbound.Config{
		Peer: "federation", Deadline: 5 * time.Second, MaxBody: MaxStatement, Tries: 1,
		Clock: time.Now, Rand: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	cfg := ResolverConfig{Anchor: s.anchor, Client: client, Clock: func() time.Time { return testNow }}
	for _, c := range change {
		c(&cfg)
	}
	r, err := NewResolver(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func full() Want { return Want{Type: TypeProvider, Listed: true, Mark: true, MarkStatus: true} }

func TestTheProviderIsResolvedInTheOrderOfTheProfile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	announce(t, s.op, s.opMark)
	c, err := s.resolver(t).Resolve(t.Context(), s.base+"/op", full())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"GET /ta/.well-known/openid-federation", "GET /ta/list?entity_type=openid_provider", "GET /op/.well-known/openid-federation",
		"GET /ta/fetch?sub=" + url.QueryEscape(s.base+"/op"), "POST /ta/trust_mark_status",
	}
	if !slices.Equal(s.asked, want) {
		t.Errorf("asked %q", s.asked)
	}
	p, err := c.Provider(DefaultSuite)
	if err != nil {
		t.Fatal(err)
	}
	if p.Issuer != s.base+"/op" || p.TokenEndpoint != s.base+"/op/token" || p.Keys.Len() != 1 || len(p.ACRs) != 2 {
		t.Errorf("%+v", p)
	}
}

func TestNobodyIsAskedAboutWhatIsNoEntity(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, id := range []string{"", "op", "http://op.example.test", "https://op.example.test/?sub=x"} {
		if _, err := s.resolver(t).Resolve(t.Context(), id, Want{}); CodeOf(err) != CodeEntityID || len(s.asked) != 0 {
			t.Errorf("%q: %v after %d calls", id, err, len(s.asked))
		}
	}
}

func TestAnEntityBelowAnAggregatorIsResolved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c, err := s.resolver(t).Resolve(t.Context(), s.base+"/rp", Want{Type: TypeRelyingParty})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Intermediates, []string{s.base + "/sa"}) || len(c.Statements) != 4 {
		t.Fatalf("%+v", c)
	}
}

func TestEveryWayToTheAnchorIsTriedTheAnchorsOwnFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.op.claims["authority_hints"] = []any{s.base + "/gone", s.base + "/ta"}
	if _, err := s.resolver(t).Resolve(t.Context(), s.base+"/op", Want{}); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(s.asked, "GET /gone/.well-known/openid-federation") {
		t.Errorf("asked %q", s.asked)
	}
	s.rp.claims["authority_hints"] = []any{s.base + "/gone", s.base + "/sa"}
	if _, err := s.resolver(t).Resolve(t.Context(), s.base+"/rp", Want{}); err != nil {
		t.Fatal(err)
	}
}

func statementAnswer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", MediaTypeStatement)
		_, _ = w.Write([]byte(body))
	}
}

func TestWhatAPeerDoesWrongIsRefusedWithItsCode(t *testing.T) {
	t.Parallel()
	const opEC, taEC, fetch = "/op/.well-known/openid-federation", "/ta/.well-known/openid-federation", "/ta/fetch"
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, s *site)
		code  Code
	}{
		{"the anchor is down", func(_ *testing.T, s *site) {
			s.answer[taEC] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
		}, CodeFetch},
		{"the anchor signs with a key not pinned", func(_ *testing.T, s *site) { s.ta.key = xxKey; s.ta.claims["jwks"] = jwksOf(xxKey) }, CodeAnchorKey},
		{"the anchor's address answers for another", func(t *testing.T, s *site) { s.answer[taEC] = statementAnswer(s.sa.sign(t)) }, CodeAnchorUnknown},
		{"the provider is not listed", func(_ *testing.T, s *site) { s.list = []string{s.base + "/op/"} }, CodeNotListed},
		{"the list is an object", func(_ *testing.T, s *site) {
			s.answer["/ta/list"] = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"entities":[]}`))
			}
		}, CodeListMalformed},
		{"the list is a page", func(_ *testing.T, s *site) {
			s.answer["/ta/list"] = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }
		}, CodeContentType},
		{"the anchor has no list", func(_ *testing.T, s *site) {
			delete(s.ta.claims["metadata"].(object)["federation_entity"].(object), "federation_list_endpoint")
		}, CodeNoEndpoint},
		{"the anchor has no fetch", func(_ *testing.T, s *site) {
			delete(s.ta.claims["metadata"].(object)["federation_entity"].(object), "federation_fetch_endpoint")
		}, CodeNoEndpoint},
		{"the anchor's fetch lies on a private network", func(_ *testing.T, s *site) {
			s.ta.claims["metadata"].(object)["federation_entity"].(object)["federation_fetch_endpoint"] = "https://10.0.0.1/fetch"
		}, CodeAddress},
		{"the anchor's fetch is plain http", func(_ *testing.T, s *site) {
			s.ta.claims["metadata"].(object)["federation_entity"].(object)["federation_fetch_endpoint"] = "http://ta.example.test/fetch"
		}, CodeAddress},
		{"the provider redirects", func(_ *testing.T, s *site) {
			s.answer[opEC] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }
		}, CodeFetch},
		{"the provider answers json", func(t *testing.T, s *site) {
			s.answer[opEC] = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(s.op.sign(t)))
			}
		}, CodeContentType},
		{"the provider answers without end", func(_ *testing.T, s *site) { s.answer[opEC] = statementAnswer(strings.Repeat("a", MaxStatement+10)) }, CodeFetch},
		{"the provider's address answers for another", func(t *testing.T, s *site) { s.answer[opEC] = statementAnswer(s.sa.sign(t)) }, CodeStatementFor},
		{"the provider does not sign with its own key", func(_ *testing.T, s *site) { s.op.key = xxKey }, CodeSelfSigned},
		{"the provider has no superior", func(_ *testing.T, s *site) { s.op.claims["authority_hints"] = []any{} }, CodeHint},
		{"the provider stands below an intermediate", func(_ *testing.T, s *site) { s.op.claims["authority_hints"] = []any{s.base + "/sa"} }, CodePathLength},
		{"the anchor does not know the provider", func(_ *testing.T, s *site) { s.answer[fetch] = http.NotFound }, CodeNotFound},
		{"the anchor speaks about another", func(t *testing.T, s *site) { s.answer[fetch] = statementAnswer(s.taSA.sign(t)) }, CodeStatementFor},
		{"the mark is revoked", func(_ *testing.T, s *site) {
			s.status = func(url.Values) (string, string, int) { return "application/json", `{"active":false}`, 200 }
		}, CodeMarkRevoked},
		{"the mark's status is a page", func(_ *testing.T, s *site) {
			s.status = func(url.Values) (string, string, int) { return "text/html", `{"active":true}`, 200 }
		}, CodeMarkStatus},
		{"the mark's status is not said", func(_ *testing.T, s *site) {
			s.status = func(url.Values) (string, string, int) { return "application/json", `{"active":"true"}`, 200 }
		}, CodeMarkStatus},
		{"the mark's status is an error", func(_ *testing.T, s *site) {
			s.status = func(url.Values) (string, string, int) { return "application/json", `{"active":true}`, 500 }
		}, CodeMarkStatus},
		{"the mark's status is signed by another", func(t *testing.T, s *site) {
			s.status = func(url.Values) (string, string, int) {
				return "application/trust-mark-status-response+jwt", s.statusJWT(t, xxKey, "active", s.opMark.sign(t)), 200
			}
		}, CodeMarkStatus},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			announce(t, s.op, s.opMark)
			c.spoil(t, s)
			_, err := s.resolver(t).Resolve(t.Context(), s.base+"/op", full())
			if CodeOf(err) != c.code {
				t.Fatalf("got %v, want %s", err, c.code)
			}
		})
	}
}

func TestAnActiveMarkOfAnotherRoleDoesNotStandForARevokedOne(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := markOf(s.anchor.ID, s.anchor.ID+"/openid_relying_party/public", s.base+"/op")
	announce(t, s.op, s.opMark)
	announce(t, s.op, other)
	s.status = func(form url.Values) (string, string, int) {
		return "application/json", fmt.Sprintf(`{"active":%v}`, form.Get("id") == other.claims["id"]), 200
	}
	if _, err := s.resolver(t).Resolve(t.Context(), s.base+"/op", full()); CodeOf(err) != CodeMarkRevoked {
		t.Fatalf("got %v", err)
	}
}

func (s *site) statusJWT(t *testing.T, key jose.Key, status, mark string) string {
	t.Helper()
	p := paper{key: key, typ: "trust-mark-status-response+jwt", claims: object{"iss": s.anchor.ID, "iat": testNow.Unix(), "status": status, "trust_mark": mark}}
	return p.sign(t)
}

func TestTheFinalTextsSignedStatusIsUnderstood(t *testing.T) {
	t.Parallel()
	for want, status := range map[Code]string{"": "active", CodeMarkRevoked: "revoked"} {
		s := newSite(t)
		announce(t, s.op, s.opMark)
		mark := s.op.claims["trust_marks"].([]any)[0].(object)["trust_mark"].(string)
		s.status = func(form url.Values) (string, string, int) {
			if form.Get("trust_mark") != mark {
				return "application/json", `{"error":"invalid_request"}`, http.StatusBadRequest
			}
			return "application/trust-mark-status-response+jwt", s.statusJWT(t, taKey, status, mark), 200
		}
		if _, err := s.resolver(t).Resolve(t.Context(), s.base+"/op", full()); CodeOf(err) != want {
			t.Errorf("%s: %v", status, err)
		}
	}
	// An honest answer about another mark is no answer about this one.
	s := newSite(t)
	m := Mark{ID: "x", Issuer: s.anchor.ID, JWT: "mine"}
	body := s.statusJWT(t, taKey, "active", "another")
	if err := readStatus([]byte(body), m, jose.NewKeySet(taKey.Public()), testNow, 0); CodeOf(err) != CodeMarkStatus {
		t.Errorf("%v", err)
	}
}

func TestAMarkOfAnotherIssuerIsVerifiedThroughThatIssuersOwnChain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mark := s.opMark
	mark.key, mark.claims["iss"] = saKey, s.base+"/sa"
	s.ta.claims["trust_mark_issuers"] = object{mark.claims["id"].(string): []any{s.base + "/sa"}}
	announce(t, s.op, mark)
	want := Want{Type: TypeProvider, Mark: true}
	c, err := s.resolver(t).Resolve(t.Context(), s.base+"/op", want)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Marks) != 1 || c.Marks[0].Issuer != s.base+"/sa" {
		t.Fatalf("%+v", c.Marks)
	}
	s.taSA.claims["exp"] = testNow.Unix()
	if _, err := s.resolver(t).Resolve(t.Context(), s.base+"/op", want); CodeOf(err) != CodeMarkKey {
		t.Fatalf("an issuer without a valid chain: %v", err)
	}
}

func TestAWebOfSuperiorsIsWalkedWithinBounds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	// Every entity under /web names ten others: a walk without bounds would
	// never end.
	s.rp.claims["authority_hints"] = []any{s.base + "/web/0"}
	for i := range 200 {
		id := fmt.Sprintf("%s/web/%d", s.base, i)
		p := statementOf(id, id, xxKey, xxKey, time.Hour)
		var hints []any
		for j := range MaxHints {
			hints = append(hints, fmt.Sprintf("%s/web/%d", s.base, (i*10+j+1)%200))
		}
		p.claims["authority_hints"] = hints
		s.answer[fmt.Sprintf("/web/%d/.well-known/openid-federation", i)] = statementAnswer(p.sign(t))
	}
	_, err := s.resolver(t, func(c *ResolverConfig) { c.MaxFetches = 8 }).Resolve(t.Context(), s.base+"/rp", Want{})
	if CodeOf(err) != CodeBudget || len(s.asked) > 8 {
		t.Fatalf("%v after %d calls", err, len(s.asked))
	}
	s.asked = nil
	_, err = s.resolver(t, func(c *ResolverConfig) { c.MaxFetches = 1000 }).Resolve(t.Context(), s.base+"/rp", Want{})
	if CodeOf(err) != CodePathLength && CodeOf(err) != CodeLoop {
		t.Fatalf("%v", err)
	}
	if len(s.asked) > 15 {
		t.Fatalf("%d calls", len(s.asked))
	}
}

func TestALoopOfSuperiorsIsFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.sa.claims["authority_hints"] = []any{s.base + "/rp"}
	if _, err := s.resolver(t).Resolve(t.Context(), s.base+"/rp", Want{}); CodeOf(err) != CodeLoop {
		t.Fatalf("got %v", err)
	}
}

func TestASuperiorIsAskedAboutOthersOnlyOnceItsOwnChainHolds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.taSA.claims["jwks"] = jwksOf(xxKey)
	if _, err := s.resolver(t).Resolve(t.Context(), s.base+"/rp", Want{}); CodeOf(err) != CodeUnknownKey {
		t.Fatalf("got %v", err)
	}
	for _, a := range s.asked {
		if strings.Contains(a, "/sa/fetch") {
			t.Fatalf("asked %q", s.asked)
		}
	}
}

func TestASlowPeerEndsWithTheBudget(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	s.answer["/op/.well-known/openid-federation"] = func(http.ResponseWriter, *http.Request) { <-release }
	started := time.Now()
	_, err := s.resolver(t, func(c *ResolverConfig) { c.Budget = 150 * time.Millisecond }).Resolve(t.Context(), s.base+"/op", Want{})
	if CodeOf(err) != CodeBudget || time.Since(started) > 4*time.Second {
		t.Fatalf("%v after %s", err, time.Since(started))
	}
}

func TestAddressesThatAreNeverCalled(t *testing.T) {
	t.Parallel()
	for address, loopback := range map[string]bool{
		"https://127.0.0.1/x": false, "https://localhost/x": false, "https://[::1]/x": false,
		"https://10.1.2.3/x": false, "https://192.168.0.1": false, "https://169.254.169.254/latest": false, "https://[fd00::1]/": false,
		"https://[::ffff:10.0.0.1]/": true, "https://0.0.0.0/": true,
		"http://op.example.test/": true, "ftp://op.example.test/": true, "https://u:p@op.example.test/": true, "https:///x": true, "mailto:a@b": true, "https://op.example.test/#x": true, "": true,
	} {
		if err := checkAddress(address, loopback); CodeOf(err) != CodeAddress {
			t.Errorf("%s: %v", address, err)
		}
	}
	for address, loopback := range map[string]bool{"https://op.example.test/x?y=1": false, "http://127.0.0.1:8000/x": true, "https://localhost/x": true, "https://1.1.1.1/": false} {
		if err := checkAddress(address, loopback); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestTheWellKnownPathFollowsTheWholeIdentifier(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"https://h":      "https://h/.well-known/openid-federation",
		"https://h/":     "https://h/.well-known/openid-federation",
		"https://h/a/b":  "https://h/a/b/.well-known/openid-federation",
		"https://h/a/b/": "https://h/a/b/.well-known/openid-federation",
	} {
		if got := ConfigurationURL(id); got != want {
			t.Errorf("%s: %s", id, got)
		}
	}
}

func TestAProviderWeCannotWorkWithIsRefusedByTheMemberAtFault(t *testing.T) {
	t.Parallel()
	for field, spoil := range map[string]func(m object){
		"issuer":                                           func(m object) { m["issuer"] = opID + "/" },
		"authorization_endpoint":                           func(m object) { m["authorization_endpoint"] = "http://op.example.test/a" },
		"token_endpoint":                                   func(m object) { delete(m, "token_endpoint") },
		"userinfo_endpoint":                                func(m object) { m["userinfo_endpoint"] = "https://127.0.0.1/u" },
		"revocation_endpoint":                              func(m object) { m["revocation_endpoint"] = 7 },
		"response_types_supported":                         func(m object) { m["response_types_supported"] = []any{"token"} },
		"code_challenge_methods_supported":                 func(m object) { m["code_challenge_methods_supported"] = []any{"plain"} },
		"token_endpoint_auth_methods_supported":            func(m object) { delete(m, "token_endpoint_auth_methods_supported") },
		"id_token_signing_alg_values_supported":            func(m object) { m["id_token_signing_alg_values_supported"] = []any{"HS256"} },
		"userinfo_signing_alg_values_supported":            func(m object) { m["userinfo_signing_alg_values_supported"] = []any{"none"} },
		"userinfo_encryption_alg_values_supported":         func(m object) { m["userinfo_encryption_alg_values_supported"] = []any{"RSA1_5"} },
		"userinfo_encryption_enc_values_supported":         func(m object) { m["userinfo_encryption_enc_values_supported"] = []any{"A256GCM"} },
		"request_object_signing_alg_values_supported":      func(m object) { m["request_object_signing_alg_values_supported"] = []any{} },
		"token_endpoint_auth_signing_alg_values_supported": func(m object) { m["token_endpoint_auth_signing_alg_values_supported"] = "RS256" },
		"jwks": func(m object) { m["jwks"] = object{"keys": []any{}} },
	} {
		m := providerMetadata(opID)
		spoil(m)
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := decodeObject(data)
		if err != nil {
			t.Fatal(err)
		}
		c := &Chain{Subject: opID, Metadata: map[string]map[string]any{TypeProvider: tree}}
		_, err = c.Provider(DefaultSuite)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeProvider || e.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestAResolverWithoutPinnedKeysIsNotMade(t *testing.T) {
	t.Parallel()
	client, err := outbound.New(outbound.Config{Peer: "federation", Deadline: time.Second, MaxBody: 1, Clock: time.Now, Rand: func() float64 { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	good := ResolverConfig{Anchor: Anchor{ID: taID, Keys: jose.NewKeySet(taKey.Public())}, Client: client, Clock: time.Now}
	if _, err := NewResolver(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(c *ResolverConfig){
		"no keys": func(c *ResolverConfig) { c.Anchor.Keys = jose.KeySet{} }, "no id": func(c *ResolverConfig) { c.Anchor.ID = "" },
		"no client": func(c *ResolverConfig) { c.Client = nil }, "no clock": func(c *ResolverConfig) { c.Clock = nil },
		"negative": func(c *ResolverConfig) { c.Budget = -1 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := NewResolver(cfg); CodeOf(err) != CodeConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
}
