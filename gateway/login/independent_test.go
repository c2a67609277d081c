package login_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airegw/gateway/federation"
	"airegw/gateway/jose"
	"airegw/gateway/login"
)

// independent starts the provider of testharness/oidcprovider with one client;
// absent says that its packages are not installed (`make provider`).
func independent(t *testing.T, config any) (issuer string, keys jose.KeySet, absent bool) {
	t.Helper()
	folder, err := filepath.Abs("../../testharness/oidcprovider")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "node_modules", "oidc-provider")); err != nil {
		return "", keys, true
	}
	line, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "node", "server.mjs")
	c.Dir = folder
	var said bytes.Buffer
	c.Stderr = &said
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("the provider said: %s", said.String())
		}
	})
	if _, err := in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	first, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the provider did not start: %v", err)
	}
	var is struct {
		Issuer string      `json:"issuer"`
		Keys   jose.KeySet `json:"jwks"`
	}
	if err := json.Unmarshal(first, &is); err != nil {
		t.Fatal(err)
	}
	return is.Issuer, is.Keys, false
}

// TestAnIndependentProviderUnderstandsUsAndWeIt logs a citizen in at a provider
// that nobody here wrote, with our metadata registered by hand: the half of the
// protocol that is plain OpenID Connect.
func TestAnIndependentProviderUnderstandsUsAndWeIt(t *testing.T) {
	t.Parallel()
	folder, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	own, err := federation.LoadKeys(filepath.Join(folder, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	entity, err := federation.NewEntity(federation.EntityConfig{
		ID: clientID, AuthorityHints: []string{"https://ta.example.test"}, Organization: "Comune di Prova",
		HomepageURI: "https://gw.example.test", PolicyURI: "https://gw.example.test/privacy", Contacts: []string{"ente@pec.example.test"},
		RedirectURIs: []string{clientID + "/callback"}, Keys: own,
	})
	if err != nil {
		t.Fatal(err)
	}
	compact, err := entity.Configuration(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Metadata map[string]map[string]any `json:"metadata"`
	}
	if _, _, _, err := jose.Peek(string(compact), &claims); err != nil {
		t.Fatal(err)
	}
	client0 := claims.Metadata[federation.TypeRelyingParty]
	// What an independent provider has no word for, or wants for all pairwise
	// clients.
	delete(client0, "client_registration_types")
	delete(client0, "organization_name")
	client0["subject_type"] = "public"
	issuer, keys, absent := independent(t, map[string]any{
		"client": client0, "acr": login.Level2.ACR(),
		"person": map[string]any{"given_name": "Ada", "family_name": "Prova", "birthdate": "1990-01-31", fiscal: "TINIT-" + person},
	})
	if absent {
		t.Log("npm oidc-provider is not installed (make provider): nothing was held against an independent provider")
		return
	}
	provider, err := discover(issuer)
	if err != nil {
		t.Fatal(err)
	}
	provider.Keys = keys
	citizens, err := login.NewCitizens(login.CitizensConfig{
		Entity: entity, RedirectURI: clientID + "/callback", Client: client(t, time.Now), Store: common(t), Clock: time.Now, Random: rand.Reader,
		Provider: func() (*federation.Provider, *federation.Chain, error) { return provider, nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	binding := fresh()
	to, err := citizens.Begin(t.Context(), login.Start{Level: login.Level2, Binding: binding})
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var back url.Values
	visitor := &http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), clientID+"/callback") {
			back = r.URL.Query()
			return http.ErrUseLastResponse
		}
		return nil
	}}
	response, err := visitor.Get(to.URL)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if back == nil {
		t.Fatalf("status %d, not sent back: %.500s", response.StatusCode, text)
	}
	who, err := citizens.Finish(t.Context(), back, binding)
	if err != nil {
		t.Fatalf("%v; sent back with %v", err, back)
	}
	if who.FiscalCode != person || who.Subject != "independent-subject" || who.Level != login.Level2 || who.GivenName != "Ada" {
		t.Errorf("%+v", who)
	}
	if err := citizens.Logout(t.Context(), who.Reference); err != nil {
		t.Errorf("logout: %v", err)
	}
}

// discover reads where a provider's endpoints are.
func discover(issuer string) (*federation.Provider, error) {
	response, err := browser.Get(issuer + "/.well-known/openid-configuration")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var d struct {
		Issuer        string `json:"issuer"`
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
		UserInfo      string `json:"userinfo_endpoint"`
		Revocation    string `json:"revocation_endpoint"`
	}
	if err := json.NewDecoder(response.Body).Decode(&d); err != nil {
		return nil, err
	}
	if d.Issuer != issuer {
		return nil, fmt.Errorf("issuer %q", d.Issuer)
	}
	return &federation.Provider{
		Issuer: d.Issuer, AuthorizationEndpoint: d.Authorization, TokenEndpoint: d.Token, UserInfoEndpoint: d.UserInfo, RevocationEndpoint: d.Revocation,
	}, nil
}
