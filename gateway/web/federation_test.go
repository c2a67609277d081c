package web_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway/federation"
	"airegw/gateway/jose"
	"airegw/gateway/web"
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
		o.Directory, err = federation.NewDirectory(o.Federation.Entity, []federation.Aggregated{{
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
