package coresim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

var testStart = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

var (
	contractOnce sync.Once
	contractDoc  *openapi3.T
)

func contract(t testing.TB) *openapi3.T {
	t.Helper()
	contractOnce.Do(func() { contractDoc = loadContract(t) })
	if contractDoc == nil {
		t.Fatal("the contract did not load")
	}
	return contractDoc
}

// schema finds a component by the "#/components/schemas/X" of an extension.
func schema(t testing.TB, ref string) *openapi3.Schema {
	t.Helper()
	s := contract(t).Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
	if s == nil {
		t.Fatalf("no schema %s", ref)
	}
	return s.Value
}

// world is a core and a clock.
type world struct {
	t     testing.TB
	core  *Running
	clock *sim.ManualClock
}

func newWorld(t testing.TB, opts Options) *world {
	t.Helper()
	w := &world{t: t, clock: sim.NewManual(testStart)}
	if opts.Clock == nil {
		opts.Clock = w.clock
	}
	if opts.Seed == 0 {
		opts.Seed = 7
	}
	core, err := Start(opts, "127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = core.Close() })
	w.core = core
	return w
}

// gatewayClient speaks the contract, strictly, with its own keys. It takes
// nothing from the simulator but what a gateway is given.
type gatewayClient struct {
	t    testing.TB
	id   string
	core string // issuer
	key  *ecdsa.PrivateKey
	kid  string
	url  string
	http *http.Client
	keys jose.JSONWebKeySet
	now  func() time.Time
	pair tls.Certificate
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (w *world) gateway(id string) *gatewayClient {
	w.t.Helper()
	g := w.unregistered(id, newKey(w.t))
	err := w.core.RegisterGateway(Gateway{ID: id, JWKS: publicJWKS(&g.key.PublicKey, g.kid)})
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (w *world) unregistered(id string, key *ecdsa.PrivateKey) *gatewayClient {
	w.t.Helper()
	kid, err := thumbprint(&key.PublicKey)
	if err != nil {
		w.t.Fatal(err)
	}
	certPEM, keyPEM, err := w.core.IssueClient(id)
	if err != nil {
		w.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		w.t.Fatal(err)
	}
	identity := w.core.Identity()
	g := &gatewayClient{t: w.t, id: id, core: identity.Issuer, key: key, kid: kid, url: w.core.URL, now: w.clock.Now, pair: pair}
	err = json.Unmarshal(identity.JWKS, &g.keys)
	if err != nil {
		w.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(identity.CAPEM)) {
		w.t.Fatal("no CA")
	}
	g.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{pair}},
		MaxIdleConnsPerHost: 64,
	}}
	w.t.Cleanup(g.http.CloseIdleConnections)
	return g
}

// message signs a body; change may spoil header and claims.
func (g *gatewayClient) message(typ string, body any, change func(h map[jose.HeaderKey]any, c map[string]any)) (text []byte, jti string) {
	g.t.Helper()
	var id [16]byte
	_, _ = rand.Read(id[:])
	jti = hex.EncodeToString(id[:])
	now := g.now().Unix()
	c := map[string]any{"iss": g.id, "aud": g.core, "iat": now, "exp": now + 120, "jti": jti, "body": body}
	h := map[jose.HeaderKey]any{"typ": typ}
	if change != nil {
		change(h, c)
	}
	payload, err := marshal(c)
	if err != nil {
		g.t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: g.key, KeyID: g.kid}}, &jose.SignerOptions{ExtraHeaders: h})
	if err != nil {
		g.t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		g.t.Fatal(err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		g.t.Fatal(err)
	}
	return []byte(compact), jti
}

// reply is what came back; body is nil unless the answer was signed as the
// contract says.
type reply struct {
	status  int
	header  http.Header
	body    map[string]any
	raw     []byte
	problem string // code of an unsigned problem
}

func (r reply) str(field string) string {
	s, _ := r.body[field].(string)
	return s
}

func (g *gatewayClient) send(method, target, idem string, text []byte, req string, op *openapi3.Operation) (reply, error) {
	g.t.Helper()
	r, err := http.NewRequest(method, g.url+target, bytes.NewReader(text))
	if err != nil {
		g.t.Fatal(err)
	}
	if text != nil {
		r.Header.Set("Content-Type", "application/jose")
	}
	if idem != "" {
		r.Header.Set("Idempotency-Key", idem)
	}
	resp, err := g.http.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	out := reply{status: resp.StatusCode, header: resp.Header, raw: raw}
	if resp.Header.Get(sim.FaultHeader) != "" && resp.Header.Get(sim.FaultHeader) != sim.FaultSlow {
		return out, nil
	}
	declared := op.Responses.Status(resp.StatusCode)
	if declared == nil {
		g.t.Errorf("%s %s: status %d is not in the contract: %s", method, target, resp.StatusCode, raw)
		return out, nil
	}
	media := declared.Value.Content.Get(resp.Header.Get("Content-Type"))
	if media == nil {
		g.t.Errorf("%s %s: %s with status %d is not in the contract", method, target, resp.Header.Get("Content-Type"), resp.StatusCode)
		return out, nil
	}
	if resp.Header.Get("Content-Type") != "application/jose" {
		var p map[string]any
		if err := json.Unmarshal(raw, &p); err != nil {
			g.t.Errorf("problem: %v", err)
			return out, nil
		}
		if err := media.Schema.Value.VisitJSON(p); err != nil {
			g.t.Errorf("%s %s: problem: %v", method, target, err)
		}
		out.problem, _ = p["code"].(string)
		return out, nil
	}
	typ := typProblem
	if resp.StatusCode == http.StatusOK {
		typ, _ = op.Extensions["x-jws-typ"].(map[string]any)["response"].(string)
	}
	ref, _ := media.Extensions["x-jws-body"].(string)
	out.body = g.check(raw, typ, req, schema(g.t, ref))
	return out, nil
}

// check verifies a message of the core from the outside.
func (g *gatewayClient) check(raw []byte, typ, req string, fits *openapi3.Schema) map[string]any {
	g.t.Helper()
	jws, err := jose.ParseSignedCompact(string(raw), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		g.t.Errorf("the answer is not a JWS: %v", err)
		return nil
	}
	head := jws.Signatures[0].Protected
	keys := g.keys.Key(head.KeyID)
	if len(keys) != 1 || head.ExtraHeaders["typ"] != typ {
		g.t.Errorf("header %+v, want typ %s", head, typ)
		return nil
	}
	payload, err := jws.Verify(keys[0])
	if err != nil {
		g.t.Errorf("signature: %v", err)
		return nil
	}
	var c struct {
		Iss, Aud, Jti, Req string
		Iat, Exp           int64
		Body               map[string]any
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		g.t.Errorf("claims: %v", err)
		return nil
	}
	now := g.now().Unix()
	if c.Iss != g.core || c.Aud != g.id || c.Req != req || c.Iat > now+60 || c.Exp+60 < now || c.Exp-c.Iat > 300 || c.Jti == "" {
		g.t.Errorf("claims %+v, want req %q", c, req)
	}
	if err := fits.VisitJSON(c.Body); err != nil {
		g.t.Errorf("the %s body does not fit the contract: %v", typ, err)
	}
	return c.Body
}

func (g *gatewayClient) operation(method, path string) *openapi3.Operation {
	g.t.Helper()
	item := contract(g.t).Paths.Value(path)
	if item == nil || item.GetOperation(method) == nil {
		g.t.Fatalf("%s %s is not in the contract", method, path)
	}
	return item.GetOperation(method)
}

// post sends a body of the contract: it must fit the schema unless loose.
func (g *gatewayClient) post(path, key, idem string, body any, loose bool) (reply, error) {
	g.t.Helper()
	op := g.operation(http.MethodPost, path)
	typ, _ := op.Extensions["x-jws-typ"].(map[string]any)["request"].(string)
	if !loose {
		ref, _ := op.RequestBody.Value.Content.Get("application/jose").Extensions["x-jws-body"].(string)
		text, err := marshal(body)
		if err != nil {
			g.t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			g.t.Fatal(err)
		}
		if err := schema(g.t, ref).VisitJSON(plain); err != nil {
			g.t.Fatalf("the test's own body: %v", err)
		}
	}
	text, jti := g.message(typ, body, nil)
	return g.send(http.MethodPost, strings.Replace(path, "{key}", key, 1), idem, text, jti, op)
}

func (g *gatewayClient) must(r reply, err error) reply {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

func (g *gatewayClient) prepare(body map[string]any) reply {
	g.t.Helper()
	key, _ := body["order_key"].(string)
	return g.must(g.post("/v1/orders", key, key, body, false))
}

func (g *gatewayClient) confirm(key, nun string) reply {
	g.t.Helper()
	return g.must(g.post("/v1/orders/{key}/forms-confirmed", key, "", map[string]any{
		"order_key": key, "nun": nun, "confirmed_at": "2026-11-21T10:00:00Z", "prints": 1, "actor": testActor(),
	}, false))
}

func (g *gatewayClient) submit(key, nun, digest string) reply {
	g.t.Helper()
	return g.must(g.post("/v1/orders/{key}/submission", key, "", submissionOf(key, nun, digest), false))
}

func (g *gatewayClient) lookUp(key string) reply {
	g.t.Helper()
	target := "/v1/orders/" + key
	return g.must(g.send(http.MethodGet, target, "", nil, target, g.operation(http.MethodGet, "/v1/orders/{key}")))
}

func (g *gatewayClient) cancel(key, changeKey string) reply {
	g.t.Helper()
	return g.must(g.post("/v1/orders/{key}/cancellation", key, changeKey, map[string]any{
		"order_key": key, "change_key": changeKey, "reason": "citizen_asked", "actor": testActor(),
	}, false))
}

func (g *gatewayClient) redirect(key, changeKey string, to map[string]any) reply {
	g.t.Helper()
	return g.must(g.post("/v1/orders/{key}/delivery-changes", key, changeKey, map[string]any{
		"order_key": key, "change_key": changeKey, "delivery": to, "actor": testActor(),
	}, false))
}

func (g *gatewayClient) feed(after string, limit int) (events []map[string]any, next string, more bool) {
	g.t.Helper()
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if after != "" {
		query.Set("after", after)
	}
	target := "/v1/events?" + query.Encode()
	r := g.must(g.send(http.MethodGet, target, "", nil, target, g.operation(http.MethodGet, "/v1/events")))
	if r.status != http.StatusOK {
		g.t.Fatalf("feed: %d %s", r.status, r.raw)
	}
	list, _ := r.body["events"].([]any)
	for _, e := range list {
		m, _ := e.(map[string]any)
		events = append(events, m)
	}
	more, _ = r.body["more"].(bool)
	return events, r.str("next"), more
}

// accept takes an order from nothing to its receipt.
func (g *gatewayClient) accept(body map[string]any) (nun string) {
	g.t.Helper()
	key, _ := body["order_key"].(string)
	p := g.prepare(body)
	if p.status != http.StatusOK {
		g.t.Fatalf("prepare: %d %v", p.status, p.body)
	}
	nun = p.str("nun")
	if r := g.confirm(key, nun); r.status != http.StatusOK {
		g.t.Fatalf("confirm: %d %v", r.status, r.body)
	}
	if r := g.submit(key, nun, p.str("prepare_digest")); r.status != http.StatusOK {
		g.t.Fatalf("submit: %d %v", r.status, r.body)
	}
	return nun
}

func testActor() map[string]any { return map[string]any{"operator": "OP-0007", "station": "RM-0001"} }

// example is a deep copy of an example of the contract under another key.
func example(t testing.TB, name, key string) map[string]any {
	t.Helper()
	text, err := json.Marshal(contract(t).Components.Examples[name].Value.Value)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	m["order_key"] = key
	return m
}

// set writes a member by its path; nil takes it away.
func set(m map[string]any, path string, value any) map[string]any {
	names := strings.Split(path, ".")
	inner := m
	for _, name := range names[:len(names)-1] {
		inner, _ = inner[name].(map[string]any)
	}
	if value == nil {
		delete(inner, names[len(names)-1])
	} else {
		inner[names[len(names)-1]] = value
	}
	return m
}

func submissionOf(key, nun, digest string) map[string]any {
	zero := "sha-256:" + strings.Repeat("0", 64)
	return map[string]any{
		"order_key": key, "nun": nun, "prepare_digest": digest,
		"form":           map[string]any{"serial": "F-1", "signed_at": "2026-11-21T10:00:00Z", "signature": "handwritten"},
		"fee":            map[string]any{"status": "paid", "amount_cents": 2200, "currency": "EUR"},
		"register_check": map[string]any{"operation_id": "1", "checked_at": "2026-11-21T09:00:00Z", "answer_digest": zero},
		"decision":       map[string]any{"rules_digest": zero, "facts_digest": zero, "decided_at": "2026-11-21T09:00:00Z"},
		"actor":          testActor(),
	}
}

func typesOf(events []map[string]any) string {
	var list []string
	for _, e := range events {
		s, _ := e["type"].(string)
		list = append(list, s)
	}
	return strings.Join(list, ",")
}

// parsePlain decodes as the schema validator wants it.
func parsePlain(text []byte) (any, error) {
	var v any
	err := json.Unmarshal(text, &v)
	return v, err
}
