package anprcontract

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	operationPath = "/anpr-service-e002"
	maxAnswer     = 4 << 20
)

// stranger is a key nobody has registered: one for the whole process.
var stranger = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// pair is a voucher with the one tracking evidence it is pinned to.
type pair struct{ voucher, evidence string }

// session is one run against one target.
type session struct {
	ctx    context.Context
	target Target
	opt    Options
	http   *http.Client
	pairs  map[string]pair
	calls  int
	seq    int
	key    *rsa.PrivateKey
	other  *rsa.PrivateKey
	loud   []map[string]any // rules of the target's profile, silenced while we run
}

func newSession(ctx context.Context, t Target, o Options) (*session, error) {
	other, err := stranger()
	if err != nil {
		return nil, fmt.Errorf("contract: a stranger's key: %w", err)
	}
	s := &session{ctx: ctx, target: t, opt: o, http: o.HTTP, pairs: map[string]pair{}, other: other}
	s.key, _ = t.Client.Key.Key.(*rsa.PrivateKey)
	if s.http == nil {
		s.http = &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 4, TLSClientConfig: &tls.Config{RootCAs: t.Roots, MinVersion: tls.VersionTLS12},
		}}
	}
	own := *s.http
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.http = &own
	if t.ManagementURL == "" {
		return s, nil
	}
	return s, s.silence()
}

// answer is what came back, with its body read.
type answer struct {
	status int
	header http.Header
	body   []byte
	object map[string]any // nil when the body is no JSON object
}

// String tells an answer without the data of anybody.
func (a answer) String() string {
	text := fmt.Sprintf("HTTP %d", a.status)
	if title := str(a.object, "title"); title != "" {
		text += " " + title
	}
	if codes := a.codes(""); len(codes) > 0 {
		text += " " + strings.Join(codes, " ")
	}
	switch {
	case len(a.body) == 0:
		text += " without a body"
	case a.object == nil:
		text += " with a body that is no JSON object"
	case len(a.people()) > 0:
		text += fmt.Sprintf(" with %d subjects", len(a.people()))
	}
	return text
}

func (s *session) do(req *http.Request) (answer, error) {
	if s.calls >= s.opt.MaxCalls || s.ctx.Err() != nil {
		return answer{}, errBudget
	}
	s.calls++
	ctx, cancel := context.WithTimeout(s.ctx, s.opt.PerCall)
	defer cancel()
	res, err := s.http.Do(req.WithContext(ctx))
	if err != nil {
		return answer{}, fmt.Errorf("no answer: %w", err)
	}
	defer res.Body.Close() //nolint:errcheck // read-only
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("the answer broke off: %w", err)
	}
	a := answer{status: res.StatusCode, header: res.Header, body: body}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if dec.Decode(&a.object) != nil {
		a.object = nil
	}
	return a, nil
}

func (s *session) get(address string) (answer, error) {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, address, nil)
	if err != nil {
		return answer{}, err
	}
	return s.do(req)
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// jws is a compact JWS; a nil header or claim is left out. RS256 unless the
// header says something else.
func (s *session) jws(key *rsa.PrivateKey, header, claims map[string]any) (string, error) {
	h := map[string]any{"typ": "JWT", "kid": s.target.Client.Key.KeyID}
	maps.Copy(h, header)
	alg := jose.RS256
	if a, ok := h["alg"].(string); ok {
		alg = jose.SignatureAlgorithm(a)
	}
	delete(h, "alg")
	payload, err := json.Marshal(without(claims))
	if err != nil {
		return "", err
	}
	if alg == "none" {
		h["alg"] = "none"
		head, err := json.Marshal(without(h))
		return base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(payload) + ".", err
	}
	opts := &jose.SignerOptions{}
	for name, v := range without(h) {
		opts.WithHeader(jose.HeaderKey(name), v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

func without(m map[string]any) map[string]any {
	kept := map[string]any{}
	for name, v := range m {
		if v != nil {
			kept[name] = v
		}
	}
	return kept
}

func (s *session) audience(code string) string {
	return s.target.Audience + "/" + s.target.Services[code] + "/v1"
}

func (s *session) address(code string) string {
	return s.target.URL + "/" + s.target.Services[code] + "/v1" + operationPath
}

// claims are those all tokens of a call have.
func (s *session) claims(aud string, lifetime time.Duration) map[string]any {
	now := s.opt.Now()
	return map[string]any{
		"iss": s.target.Client.ID, "sub": s.target.Client.ID, "aud": aud, "jti": uuid(),
		"iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}
}

// tokenCall is a request to the token endpoint; the maps override, nil drops.
type tokenCall struct {
	service  string
	evidence string
	claims   map[string]any
	header   map[string]any
	form     map[string]string // "" drops
	json     bool              // the form sent as JSON
	stranger bool
}

func (s *session) token(t tokenCall) (answer, error) {
	sum := sha256.Sum256([]byte(t.evidence))
	claims := s.claims(s.target.AssertionAudience, 2*time.Minute)
	claims["purposeId"] = s.target.Client.Purposes[t.service]
	claims["digest"] = map[string]any{"alg": "SHA256", "value": hex.EncodeToString(sum[:])}
	maps.Copy(claims, t.claims)
	key := s.key
	if t.stranger {
		key = s.other
	}
	assertion, err := s.jws(key, t.header, claims)
	if err != nil {
		return answer{}, err
	}
	form := map[string]string{
		"client_id": s.target.Client.ID, "client_assertion": assertion, "client_assertion_type": assertionType, "grant_type": "client_credentials",
	}
	maps.Copy(form, t.form)
	values := url.Values{}
	for name, v := range form {
		if v != "" {
			values.Set(name, v)
		}
	}
	body, contentType := values.Encode(), "application/x-www-form-urlencoded"
	if t.json {
		b, err := json.Marshal(form)
		if err != nil {
			return answer{}, err
		}
		body, contentType = string(b), "application/json"
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, s.target.TokenURL, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", contentType)
	return s.do(req)
}

// draft is one call of door A before it is sent. The maps override claims and
// headers; nil and "" drop them. Without edits it is a good call.
type draft struct {
	service   string
	criteria  map[string]any
	body      map[string]any // members of the whole body
	raw       string         // the exact body, instead
	address   string
	voucher   string
	evidence  string
	audit     map[string]any // edits: a new evidence, with a voucher pinned to it
	auditBy   *rsa.PrivateKey
	assertion map[string]any // edits: a new voucher
	signature map[string]any
	sigHeader map[string]any
	sigBy     *rsa.PrivateKey
	signed    any
	headers   map[string]string
}

func (s *session) trackingEvidence(d draft) (string, error) {
	claims := s.claims(s.audience(d.service), 10*time.Minute)
	maps.Copy(claims, map[string]any{
		"purposeId": s.target.Client.Purposes[d.service], "dnonce": "1234567890123",
		"userID": "contratto-1", "userLocation": "POSTAZIONE-1", "LoA": "LoA3",
	})
	maps.Copy(claims, d.audit)
	key := s.key
	if d.auditBy != nil {
		key = d.auditBy
	}
	return s.jws(key, nil, claims)
}

// newPair makes an evidence and gets the voucher pinned to it.
func (s *session) newPair(d draft) (pair, error) {
	p := pair{evidence: d.evidence}
	var err error
	if p.evidence == "" {
		p.evidence, err = s.trackingEvidence(d)
	}
	if err != nil {
		return p, err
	}
	a, err := s.token(tokenCall{service: d.service, evidence: p.evidence, claims: d.assertion})
	if err != nil {
		return p, fmt.Errorf("voucher: %w", err)
	}
	p.voucher = str(a.object, "access_token")
	if a.status != http.StatusOK || p.voucher == "" {
		return p, fmt.Errorf("no voucher for a good client assertion: %s", a)
	}
	return p, nil
}

// cached is the pair of a service, made once and used again.
func (s *session) cached(service string) (pair, error) {
	if p, ok := s.pairs[service]; ok {
		return p, nil
	}
	p, err := s.newPair(draft{service: service})
	if err == nil {
		s.pairs[service] = p
	}
	return p, err
}

// operationID grows: digits only, so that the old wording and the new are both met.
func (s *session) operationID() string {
	s.seq++
	return s.opt.Now().UTC().Format("20060102150405") + fmt.Sprintf("%012d", s.seq)
}

func (s *session) request(d draft) (*http.Request, error) {
	fresh := d.audit != nil || d.assertion != nil || d.auditBy != nil
	var p pair
	var err error
	switch {
	case d.voucher != "" && d.evidence != "":
	case fresh:
		p, err = s.newPair(d)
	default:
		p, err = s.cached(d.service)
	}
	if err != nil {
		return nil, err
	}
	if d.voucher != "" {
		p.voucher = d.voucher
	}
	if d.evidence != "" {
		p.evidence = d.evidence
	}
	body := []byte(d.raw)
	if d.raw == "" {
		whole := map[string]any{
			"idOperazioneClient": s.operationID(), "criteriRicerca": d.criteria,
			"datiRichiesta": map[string]any{
				"dataRiferimentoRichiesta": s.opt.Now().UTC().Format(time.DateOnly), "motivoRichiesta": "CONTRATTO-1", "casoUso": d.service,
			},
		}
		maps.Copy(whole, d.body)
		body, err = json.Marshal(without(whole))
		if err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(body)
	headers := map[string]string{
		"Content-Type": "application/json", "Digest": "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:]),
		"Authorization": "Bearer " + p.voucher, "Agid-JWT-TrackingEvidence": p.evidence,
	}
	maps.Copy(headers, d.headers)
	if _, set := headers["Agid-JWT-Signature"]; !set {
		signed := d.signed
		if signed == nil {
			list := []map[string]string{{"digest": headers["Digest"]}, {"content-type": "application/json"}}
			if e := headers["Content-Encoding"]; e != "" {
				list = append(list, map[string]string{"content-encoding": e})
			}
			signed = list
		}
		claims := s.claims(s.audience(d.service), 2*time.Minute)
		claims["signed_headers"] = signed
		maps.Copy(claims, d.signature)
		key := s.key
		if d.sigBy != nil {
			key = d.sigBy
		}
		headers["Agid-JWT-Signature"], err = s.jws(key, d.sigHeader, claims)
		if err != nil {
			return nil, err
		}
	}
	address := d.address
	if address == "" {
		address = s.address(d.service)
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, v := range headers {
		if v != "" {
			req.Header.Set(name, v)
		}
	}
	return req, nil
}

func (s *session) call(d draft) (answer, error) {
	req, err := s.request(d)
	if err != nil {
		return answer{}, err
	}
	return s.do(req)
}

// manage calls the management API.
func (s *session) manage(method, path string, in any) (answer, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(s.ctx, method, s.target.ManagementURL+path, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	a, err := s.do(req)
	if err == nil && a.status/100 != 2 {
		err = errors.New(a.String())
	}
	if err != nil {
		return a, fmt.Errorf("management %s %s: %w", method, path, err)
	}
	return a, nil
}

// silence turns the faults of the target's profile off.
func (s *session) silence() error {
	a, err := s.manage(http.MethodGet, "/faults", nil)
	if err != nil {
		return err
	}
	for _, rule := range list(a.object["faults"]) {
		p, _ := rule["probability"].(json.Number)
		if p != "" && p != "0" {
			s.loud = append(s.loud, map[string]any{"name": rule["name"], "op": text(rule["op"]), "match": text(rule["match"]), "probability": 0, "count": 0})
		}
	}
	return s.quiet()
}

func (s *session) quiet() error {
	_, err := s.manage(http.MethodDelete, "/faults", nil)
	if err == nil && len(s.loud) > 0 {
		_, err = s.manage(http.MethodPost, "/faults", map[string]any{"rules": s.loud})
	}
	return err
}

// restore gives the target its profile back.
func (s *session) restore() {
	if len(s.loud) > 0 {
		_, _ = s.manage(http.MethodDelete, "/faults", nil) // the run is over; a dead target is no news
	}
	s.http.CloseIdleConnections()
}

// fault makes a fault fire for one service until the scenario ends.
func (s *session) fault(name, op, param string) error {
	_, err := s.manage(http.MethodPost, "/faults", map[string]any{"name": name, "op": op, "probability": 1, "param": param})
	return err
}
