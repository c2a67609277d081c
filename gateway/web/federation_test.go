package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway/federation"
	"airegw/gateway/jose"
	"airegw/gateway/web"
	"airegw/testharness/opsim"
)

// memberKeys are our three key pairs, made once: RSA takes its time.
var (
	memberDir  string
	memberKeys = sync.OnceValues(func() (string, error) {
		var err error
		memberDir, err = os.MkdirTemp("", "airegw-member-")
		if err != nil {
			return "", err
		}
		keys := filepath.Join(memberDir, "keys")
		_, err = federation.GenerateKeys(keys)
		return keys, err
	})
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := looked.complete(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if memberDir != "" {
		_ = os.RemoveAll(memberDir)
	}
	os.Exit(code)
}

// memberAt answers a member of a federation, of one whose anchor nobody is unless
// change says another.
func memberAt(t *testing.T, now func() time.Time, base, path string, change ...func(*federation.Settings)) *federation.Member {
	t.Helper()
	keys, err := memberKeys()
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	pins, err := json.Marshal(jose.NewKeySet(anchor.Public()))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "anchor.json")
	if err := os.WriteFile(file, pins, 0o600); err != nil {
		t.Fatal(err)
	}
	settings := federation.Settings{
		ID: base + path, Organization: "Comune di Prova", HomepageURI: base, PolicyURI: base + "/privacy", Contacts: []string{"ente@pec.example.test"},
		RedirectURIs: []string{base + web.PathCitizenCallback}, Keys: keys, Anchor: "http://127.0.0.1:1/ta", AnchorKeys: file, Provider: "http://127.0.0.1:1/op",
	}
	for _, c := range change {
		c(&settings)
	}
	m, err := federation.Open(settings, federation.Options{Clock: now, Rand: func() float64 { return 0.5 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func TestTheFederationReadsOurConfigurationBelowOurIdentifier(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "/c_c745"} {
		w := newWorld(t, func(o *web.Options) { o.Federation = memberAt(t, o.Clock, o.BaseURL, path) })
		b := w.browser("it")
		a := b.get(path + "/.well-known/openid-federation")
		if a.status != http.StatusOK || a.header.Get("Content-Type") != federation.MediaTypeStatement || strings.Count(a.body, ".") != 2 {
			t.Fatalf("%q: %d %s %.200s", path, a.status, a.header.Get("Content-Type"), a.body)
		}
		s, err := federation.ParseStatement(a.body)
		if err != nil || s.Subject != w.url+path || s.Issuer != w.url+path {
			t.Fatalf("%q: %+v %v", path, s, err)
		}
		// Nothing is discovered because a stranger asks.
		for query, want := range map[string]int{
			"": 400, "?sub=" + s.Subject: 400, "?sub=" + s.Subject + "&anchor=http://127.0.0.1:1/ta": 404,
			"?sub=http://127.0.0.1:1/op&trust_anchor=http://127.0.0.1:1/ta": 503,
		} {
			if got := b.get(path + "/resolve" + query); got.status != want || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("%q resolve%s: %d, want %d: %s", path, query, got.status, want, got.body)
			}
		}
		if got := b.get(path + "/fetch?sub=" + s.Subject); got.status != http.StatusNotFound {
			t.Errorf("a leaf has no subordinates: %d", got.status)
		}
	}
}

func TestAnAggregatorTellsAboutItsBodies(t *testing.T) {
	t.Parallel()
	body := "https://anagrafe.example.test"
	w := newWorld(t, func(o *web.Options) {
		o.Federation = memberAt(t, o.Clock, o.BaseURL, "")
		key, err := jose.GenerateKey(jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		keys := jose.NewKeySet(key.Public())
		o.Federation.Directory, err = federation.NewDirectory(o.Federation.Entity, []federation.Aggregated{{
			Kind: federation.AggregationLight, ID: body, FederationKeys: keys, CoreKeys: keys,
		}})
		if err != nil {
			t.Fatal(err)
		}
	})
	b := w.browser("it")
	if a := b.get("/list?entity_type=openid_relying_party"); a.status != http.StatusOK || a.body != `["`+body+`"]` {
		t.Errorf("list: %d %s", a.status, a.body)
	}
	s, err := federation.ParseStatement(b.get("/fetch?sub=" + body).body)
	if err != nil || s.Subject != body || s.Issuer != w.url {
		t.Errorf("fetch: %+v %v", s, err)
	}
	own, err := federation.ParseStatement(b.get("/.well-known/openid-federation").body)
	if entity, _ := own.Metadata["federation_entity"].(map[string]any); err != nil || entity["federation_fetch_endpoint"] != w.url+"/fetch" {
		t.Errorf("configuration: %+v %v", own, err)
	}
}

// TestACitizenLogsInAsTheClientOfAnAggregatedBody: the gateway is an aggregator;
// the provider walks body, aggregator, anchor.
func TestACitizenLogsInAsTheClientOfAnAggregatedBody(t *testing.T) {
	t.Parallel()
	bodyKeys := filepath.Join(t.TempDir(), "keys")
	if _, err := federation.GenerateKeys(bodyKeys); err != nil {
		t.Fatal(err)
	}
	marks := filepath.Join(t.TempDir(), "marks")
	if err := os.WriteFile(marks, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var body string
	l := newLoginWorldOf(t, func(s *federation.Settings) {
		body = s.ID + "/c_c745"
		s.Aggregated = []federation.AggregatedSettings{{
			Kind: federation.AggregationFull, Code: "c_c745", Organization: "Città di Castello", Keys: bodyKeys, Marks: marks,
		}}
		s.LoginAs = "c_c745"
	}, func(l *loginWorld) {
		if _, err := l.op.RegisterAs(t.Context(), l.url, opsim.TypeIntermediate, false); err != nil {
			t.Fatal(err)
		}
		// The anchor gives the body its mark; its statement is ours alone.
		given, err := l.op.Register(t.Context(), body)
		if err == nil {
			err = l.op.Unregister(body)
		}
		if err == nil {
			err = os.WriteFile(marks, []byte(given.TrustMark+"\n"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	b := l.browser("it")
	own, err := federation.ParseStatement(b.get("/.well-known/openid-federation").body)
	if _, party := own.Metadata[federation.TypeRelyingParty]; err != nil || party {
		t.Errorf("an aggregator is no relying party: %+v %v", own.Metadata, err)
	}
	said, err := federation.ParseStatement(b.get("/c_c745/.well-known/openid-federation").body)
	if err != nil || said.Subject != body || said.Issuer != body || len(said.Marks) != 1 || !slices.Equal(said.AuthorityHints, []string{l.url}) {
		t.Fatalf("the body's configuration: %+v %v", said, err)
	}
	if a := b.get("/c_c745/resolve?sub=" + l.op.Addresses.Provider + "&anchor=" + l.op.Addresses.Anchor); a.status != http.StatusOK || strings.Count(a.body, ".") != 2 {
		t.Errorf("resolve: %d %s", a.status, a.body)
	}
	one := person("ok", 0)
	l.auto(one.CF)
	page, at := b.follow("/login/cie?next=/citizen")
	if at != l.url+"/citizen" || page.status != http.StatusOK {
		t.Fatalf("at %s: %d %.400s; refusals %+v", at, page.status, page.body, l.op.Refusals())
	}
	if live := l.op.State().LiveTokens; live != 1 {
		t.Errorf("%d tokens are live", live)
	}
	if a := b.post("/logout", nil); a.status != see || l.op.State().LiveTokens != 0 {
		t.Errorf("logout: %d, %d tokens are live", a.status, l.op.State().LiveTokens)
	}
}
