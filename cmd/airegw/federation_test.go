package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airegw/gateway/federation"
	"airegw/gateway/jose"
)

// runFederation runs one command of the group and gives exit code and output.
func runFederation(t *testing.T, stdin string, args ...string) (int, string) {
	t.Helper()
	var out, failed bytes.Buffer
	code := run(t.Context(), append([]string{"federation"}, args...), streams{strings.NewReader(stdin), &out, &failed})
	t.Log(failed.String())
	return code, out.String()
}

func TestFederationResolveMetadataAnswersEachLineOnItsPlace(t *testing.T) {
	t.Parallel()
	code, out := runFederation(t, strings.Join([]string{
		`{"metadata":{"grant_types":["authorization_code","password"]},"policies":[{"grant_types":{"subset_of":["authorization_code","refresh_token"]}},{"grant_types":{"superset_of":["authorization_code"]}}]}`,
		`{"metadata":{},"policies":[{"a":{"essential":true}},{}]}`,
		`{"metadata":{},"policies":[{"a":{"value":"x"}},{"a":{"value":"y"}}]}`,
		`{"policies":[]}`,
	}, "\n"), "resolve-metadata")
	if code != 0 {
		t.Fatalf("exit %d", code)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	want := []string{
		`{"resolved":{"grant_types":["authorization_code"]}}`,
		`{"error":"invalid_metadata","reason":"a: essential: the parameter is missing"}`,
		`{"error":"invalid_policy","reason":"a: value of superior and subordinate differ"}`,
		`"field":"metadata"`,
	}
	for i, w := range want {
		if i >= len(lines) || !strings.Contains(lines[i], w) {
			t.Fatalf("line %d of\n%s\nlacks %s", i+1, out, w)
		}
	}
}

func TestFederationKeygenNeverOverwritesAndPrintsWhatThePortalTakes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	code, out := runFederation(t, "", "keygen", "--dir", dir)
	var printed struct {
		Federation, Core struct{ Keys []map[string]string }
	}
	if err := json.Unmarshal([]byte(out), &printed); err != nil || code != 0 {
		t.Fatalf("exit %d: %v", code, err)
	}
	if len(printed.Federation.Keys) != 1 || len(printed.Core.Keys) != 2 || printed.Federation.Keys[0]["use"] != "sig" || printed.Core.Keys[1]["use"] != "enc" || strings.Contains(out, `"d"`) {
		t.Fatal(out)
	}
	before, err := os.ReadFile(filepath.Join(dir, "federation.jwk"))
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := runFederation(t, "", "keygen", "--dir", dir); code != 1 {
		t.Fatalf("exit %d", code)
	}
	after, err := os.ReadFile(filepath.Join(dir, "federation.jwk"))
	if err != nil || !bytes.Equal(before, after) {
		t.Fatalf("overwritten: %v", err)
	}
}

// recordedChain writes one chain of the Django federation of 2022 and its
// anchor's key to files, or answers ok false where it is not at hand.
func recordedChain(t *testing.T) (anchor string, files []string, at string, ok bool) {
	t.Helper()
	root := os.Getenv("AIREGW_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	data, err := os.ReadFile(filepath.Join(root, "fixtures", "oidc", "django-demo-federation", "provider.json"))
	if err != nil {
		t.Log("reference collection not at hand (set AIREGW_SHARED): the recorded chain is not checked")
		return "", nil, "", false
	}
	var recorded struct {
		Chains []struct {
			Chain []json.RawMessage
			Exp   time.Time
		} `json:"trust_chains"`
	}
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatal(err)
	}
	var leaf, top string
	var between []string
	for i, dst := range []any{&leaf, &top, &between} {
		if err := json.Unmarshal(recorded.Chains[0].Chain[i], dst); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	for i, s := range []string{leaf, between[0], top} {
		name := filepath.Join(dir, fmt.Sprintf("%d.jwt", i))
		if err := os.WriteFile(name, []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	s, err := federation.ParseStatement(top)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(s.Keys)
	if err != nil {
		t.Fatal(err)
	}
	anchor = filepath.Join(dir, "anchor.json")
	if err := os.WriteFile(anchor, keys, 0o600); err != nil {
		t.Fatal(err)
	}
	return anchor, files, fmt.Sprint(recorded.Chains[0].Exp.Add(-time.Minute).Unix()), true
}

func TestFederationVerifyChainTellsTheEndOrTheFirstFailingStep(t *testing.T) {
	t.Parallel()
	anchor, files, at, ok := recordedChain(t)
	if !ok {
		return
	}
	ask := func(at string, files ...string) (int, map[string]any) {
		code, out := runFederation(t, "", append([]string{"verify-chain", "--anchor", anchor, "--at", at}, files...)...)
		var answer map[string]any
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		return code, answer
	}
	if code, a := ask(at, files...); code != 0 || a["valid"] != true || a["exp"] != float64(1650730344) || a["metadata"] == nil {
		t.Errorf("exit %d: %v", code, a)
	}
	if code, a := ask("1795000000", files...); code != 1 || a["code"] != "federation_expired" || a["step"] != "anchor configuration" {
		t.Errorf("exit %d: %v", code, a)
	}
	if code, a := ask(at, files[0], files[2], files[1]); code != 1 || a["code"] != "federation_chain_incomplete" {
		t.Errorf("exit %d: %v", code, a)
	}
}

// miniature is a federation of anchor, provider and our gateway on loopback, in
// real time: enough for the commands that ask the network.
func miniature(t *testing.T) (config string) {
	t.Helper()
	dir := t.TempDir()
	keys, err := federation.GenerateKeys(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	ta, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	op, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	base := server.URL
	token := func(typ string, signer jose.Key, claims map[string]any) string {
		claims["iat"], claims["exp"] = time.Now().Add(-time.Second).Unix(), time.Now().Add(time.Hour).Unix()
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		s, err := jose.SignBytes(signer, jose.Header{Typ: typ}, payload)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	say := func(path string, body func(r *http.Request) string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", federation.MediaTypeStatement)
			_, _ = w.Write([]byte(body(r)))
		})
	}
	set := func(k ...jose.Key) jose.KeySet {
		var out []jose.PublicKey
		for _, k := range k {
			out = append(out, k.Public())
		}
		return jose.NewKeySet(out...)
	}
	markID := base + "/ta/openid_relying_party/public"
	configuration := token(jose.TypeEntityStatement, ta, map[string]any{
		"iss": base + "/ta", "sub": base + "/ta", "jwks": set(ta), "constraints": map[string]any{"max_path_length": 1},
		"trust_mark_issuers": map[string]any{markID: []string{base + "/ta"}},
		"metadata":           map[string]any{"federation_entity": map[string]any{"federation_fetch_endpoint": base + "/ta/fetch", "federation_list_endpoint": base + "/ta/list"}},
	})
	provider := token(jose.TypeEntityStatement, op, map[string]any{
		"iss": base + "/op", "sub": base + "/op", "jwks": set(op), "authority_hints": []string{base + "/ta"},
		"metadata": map[string]any{"openid_provider": map[string]any{
			"issuer": base + "/op", "authorization_endpoint": base + "/op/a", "token_endpoint": base + "/op/t", "userinfo_endpoint": base + "/op/u", "jwks": set(op),
			"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
			"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		}},
	})
	aboutOP := token(jose.TypeEntityStatement, ta, map[string]any{"iss": base + "/ta", "sub": base + "/op", "jwks": set(op), "metadata_policy": map[string]any{}})
	mark := token(jose.TypeTrustMark, ta, map[string]any{"iss": base + "/ta", "sub": base + "/gw", "id": markID})
	aboutUs := token(jose.TypeEntityStatement, ta, map[string]any{
		"iss": base + "/ta", "sub": base + "/gw", "jwks": set(keys.Federation),
		"metadata_policy": map[string]any{"openid_relying_party": map[string]any{"jwks": map[string]any{"value": set(keys.CoreSign, keys.CoreEncrypt)}}},
		"trust_marks":     []any{map[string]any{"id": markID, "trust_mark": mark}},
	})
	say("/ta/.well-known/openid-federation", func(*http.Request) string { return configuration })
	say("/op/.well-known/openid-federation", func(*http.Request) string { return provider })
	say("/ta/fetch", func(r *http.Request) string {
		if r.URL.Query().Get("sub") == base+"/op" {
			return aboutOP
		}
		return aboutUs
	})
	mux.HandleFunc("/ta/list", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode([]string{base + "/op"})
	})
	pins, err := json.Marshal(set(ta))
	if err != nil {
		t.Fatal(err)
	}
	settings := fmt.Sprintf(`id: %[1]s/gw
organization: Comune di Prova
homepage_uri: %[1]s/gw
policy_uri: %[1]s/gw/privacy
contacts: [ente@pec.example.test]
redirect_uris: [%[1]s/gw/callback]
keys: %[2]s/keys
anchor: %[1]s/ta
anchor_keys: %[2]s/pins.json
provider: %[1]s/op
`, base, dir)
	config = filepath.Join(dir, "federation.yaml")
	for name, data := range map[string][]byte{config: []byte(settings), filepath.Join(dir, "pins.json"): pins} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config
}

func TestFederationCommandsWorkAgainstALivingFederation(t *testing.T) {
	t.Parallel()
	config := miniature(t)
	code, out := runFederation(t, "", "ec", "--config", config, "--marks")
	if code != 0 || !strings.Contains(out, `"trust_mark"`) || !strings.Contains(out, `"typ": "entity-statement+jwt"`) {
		t.Errorf("ec: exit %d: %s", code, out)
	}
	code, out = runFederation(t, "", "ec", "--config", config, "--jws")
	if code != 0 || strings.Count(out, ".") != 2 {
		t.Errorf("ec --jws: exit %d: %s", code, out)
	}
	code, out = runFederation(t, "", "status", "--config", config)
	if code != 0 || strings.Count(out, "ok until") != 3 || !strings.Contains(out, "our protocol keys: ok") {
		t.Errorf("status: exit %d: %s", code, out)
	}
	settings, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSuffix(strings.Fields(string(settings))[1], "/gw")
	code, out = runFederation(t, "", "resolve", "--config", config, "--type", "openid_provider", "--listed", base+"/op")
	if code != 0 || !strings.Contains(out, `"valid": true`) {
		t.Errorf("resolve: exit %d: %s", code, out)
	}
	code, out = runFederation(t, "", "resolve", "--config", config, base+"/nobody")
	if code != 1 || !strings.Contains(out, "federation_fetch_not_found") {
		t.Errorf("resolve of nobody: exit %d: %s", code, out)
	}
	// A provider that must have a mark, and has none, is no provider.
	strict := config + ".strict"
	if err := os.WriteFile(strict, append(settings, []byte("require_mark: true\n")...), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out = runFederation(t, "", "status", "--config", strict, "--json")
	if code != 1 || !strings.Contains(out, "federation_mark_missing") {
		t.Errorf("status: exit %d: %s", code, out)
	}
	if err := os.WriteFile(strict, append(settings, []byte("surprise: true\n")...), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _ = runFederation(t, "", "status", "--config", strict); code != 2 {
		t.Errorf("an unknown setting: exit %d", code)
	}
}
