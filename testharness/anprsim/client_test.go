package anprsim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

// A small client written from the specification only (specs/anpr-pdnd-modi.md
// §1 to §3), with a hook at every place where clients go wrong.

var testKeys = sync.OnceValue(func() [3]*rsa.PrivateKey {
	var keys [3]*rsa.PrivateKey
	for i := range keys {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = k
	}
	return keys
})

const testClientID = "3f8a5c1e-0000-4000-8000-00000000c11e"

var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func testPurpose(code string) string { return "9b1d0000-0000-4000-8000-000000000" + code[1:] }

type world struct {
	t     *testing.T
	sim   *Server
	clock *sim.ManualClock
	http  *httptest.Server
	mgmt  *httptest.Server
	kid   string
	id    Identity
	op    int
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	keys := testKeys()
	purposes := map[string]string{}
	for code := range serviceNames {
		purposes[code] = testPurpose(code)
	}
	w := &world{t: t, clock: sim.NewManual(testNow)}
	opt := Options{
		Clock: w.clock, Seed: 1, Key: keys[0],
		Clients: []Client{{ID: testClientID, JWKS: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &keys[1].PublicKey}}}, Purposes: purposes}},
	}
	for _, f := range change {
		f(&opt)
	}
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	w.sim, w.id = s, s.Identity()
	w.http, w.mgmt = httptest.NewServer(s.Handler()), httptest.NewServer(s.Management())
	t.Cleanup(func() {
		w.http.Close()
		w.mgmt.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	w.kid, err = thumbprint(&keys[1].PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// jws signs claims with the client's key; header members given override.
func (w *world) jws(key *rsa.PrivateKey, header, claims map[string]any) string {
	w.t.Helper()
	opts := &jose.SignerOptions{}
	h := map[string]any{"typ": "JWT", "kid": w.kid}
	maps.Copy(h, header)
	for name, v := range h {
		if v != nil {
			opts.WithHeader(jose.HeaderKey(name), v)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	kept := map[string]any{}
	for name, v := range claims {
		if v != nil {
			kept[name] = v
		}
	}
	payload, err := json.Marshal(kept)
	if err != nil {
		w.t.Fatal(err)
	}
	o, err := signer.Sign(payload)
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := o.CompactSerialize()
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

func (w *world) uuid() string {
	w.op++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", w.op)
}

// ask is one call; the maps override claims, a nil value drops the claim.
type ask struct {
	code      string
	criteria  map[string]any
	body      map[string]any // whole body
	rawBody   []byte
	assertion map[string]any
	assertHdr map[string]any
	form      url.Values
	audit     map[string]any
	signature map[string]any
	sigHeader map[string]any
	headers   map[string]string // what is sent; "-" drops the header
	path      string
	wrongKey  string // assertion, audit or signature: signed by a stranger
	voucher   string // used instead of a new one
	evidence  string // used instead of a new one
	signed    any    // signed_headers
}

func (w *world) key(part, wrong string) *rsa.PrivateKey {
	if part == wrong {
		return testKeys()[2]
	}
	return testKeys()[1]
}

func (w *world) claims(a ask, extra, override map[string]any) map[string]any {
	now := w.clock.Now()
	c := map[string]any{
		"iss": testClientID, "sub": testClientID, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": w.uuid(),
		"aud": w.id.Audiences[a.code],
	}
	maps.Copy(c, extra)
	maps.Copy(c, override)
	return c
}

func (w *world) trackingEvidence(a ask) string {
	return w.jws(w.key("audit", a.wrongKey), nil, w.claims(a, map[string]any{
		"purposeId": testPurpose(a.code), "dnonce": "1234567890123", "userID": "op-001", "userLocation": "PDL-H501-01", "LoA": "LoA3",
		"exp": w.clock.Now().Add(10 * time.Minute).Unix(),
	}, a.audit))
}

func (w *world) token(a ask, evidence string) *http.Response {
	w.t.Helper()
	a.evidence = evidence
	res, err := w.tokenOrError(a)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) tokenOrError(a ask) (*http.Response, error) {
	w.t.Helper()
	evidence := a.evidence
	sum := sha256.Sum256([]byte(evidence))
	assertion := w.jws(w.key("assertion", a.wrongKey), a.assertHdr, w.claims(a, map[string]any{
		"aud": w.id.AssertionAudience, "purposeId": testPurpose(a.code),
		"digest": map[string]string{"alg": "SHA256", "value": hex.EncodeToString(sum[:])},
	}, a.assertion))
	form := url.Values{"client_id": {testClientID}, "client_assertion": {assertion}, "client_assertion_type": {assertionType}, "grant_type": {"client_credentials"}}
	maps.Copy(form, a.form)
	return http.PostForm(w.http.URL+w.id.TokenPath, form)
}

func (w *world) newVoucher(a ask, evidence string) string {
	w.t.Helper()
	res := w.token(a, evidence)
	var out struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
	}
	body := read(w.t, res)
	if res.StatusCode != 200 {
		w.t.Fatalf("token: %d %s; cause %+v", res.StatusCode, body, w.sim.Refusals()[0])
	}
	if err := json.Unmarshal(body, &out); err != nil || out.TokenType != "Bearer" || out.ExpiresIn != 600 {
		w.t.Fatalf("token answer %s: %v", body, err)
	}
	return out.AccessToken
}

// pair is a voucher with its evidence, to be used for many calls.
func (w *world) pair(code string) ask {
	w.t.Helper()
	a := ask{code: code}
	a.evidence = w.trackingEvidence(a)
	a.voucher = w.newVoucher(a, a.evidence)
	return a
}

func read(t *testing.T, res *http.Response) []byte {
	t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (w *world) request(a ask) *http.Request {
	w.t.Helper()
	if a.evidence == "" {
		a.evidence = w.trackingEvidence(a)
	}
	if a.voucher == "" {
		a.voucher = w.newVoucher(a, a.evidence)
	}
	body := a.rawBody
	if body == nil {
		whole := map[string]any{
			"idOperazioneClient": fmt.Sprintf("2026112112%010d", w.op), "criteriRicerca": a.criteria,
			"datiRichiesta": map[string]string{"dataRiferimentoRichiesta": "2026-11-21", "motivoRichiesta": "PR-1", "casoUso": a.code},
		}
		maps.Copy(whole, a.body)
		var err error
		body, err = json.Marshal(whole)
		if err != nil {
			w.t.Fatal(err)
		}
	}
	sum := sha256.Sum256(body)
	headers := map[string]string{
		"Content-Type": "application/json", "Digest": "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:]),
		"Authorization": "Bearer " + a.voucher, "Agid-JWT-TrackingEvidence": a.evidence,
	}
	maps.Copy(headers, a.headers)
	signed := a.signed
	if signed == nil {
		signed = []map[string]string{{"digest": headers["Digest"]}, {"content-type": "application/json"}}
	}
	if _, set := headers["Agid-JWT-Signature"]; !set {
		headers["Agid-JWT-Signature"] = w.jws(w.key("signature", a.wrongKey), a.sigHeader, w.claims(a, map[string]any{"signed_headers": signed}, a.signature))
	}
	path := a.path
	if path == "" {
		path = w.id.Services[a.code] + w.id.QueryPath
	}
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.http.URL+path, strings.NewReader(string(body)))
	if err != nil {
		w.t.Fatal(err)
	}
	for name, v := range headers {
		if v != "-" {
			req.Header.Set(name, v)
		}
	}
	return req
}

func (w *world) call(a ask) (*http.Response, []byte) {
	w.t.Helper()
	res, err := http.DefaultClient.Do(w.request(a))
	if err != nil {
		w.t.Fatal(err)
	}
	return res, read(w.t, res)
}

// good calls and expects an answer with data.
func (w *world) good(a ask) answerOK {
	w.t.Helper()
	res, body := w.call(a)
	if res.StatusCode != 200 {
		w.t.Fatalf("%s: %d %s; cause %+v", a.code, res.StatusCode, body, w.sim.Refusals()[0])
	}
	var out answerOK
	if err := json.Unmarshal(body, &out); err != nil {
		w.t.Fatalf("%s: %v in %s", a.code, err, body)
	}
	return out
}

func byCF(cf string) map[string]any { return map[string]any{"codiceFiscale": cf} }

func person(t *testing.T, scenario string) sim.Person {
	t.Helper()
	p, ok := sim.PersonByScenario(scenario)
	if !ok {
		t.Fatalf("nobody for %s", scenario)
	}
	return p
}
