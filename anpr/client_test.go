package anpr_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"

	"airegw/anpr"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

const (
	clientID = "6f1d7c1e-2b1f-4a57-9a3e-0a5b6c7d8e9f"
	tokenAud = "auth.test.example/client-assertion"
	cf       = "RSSBNC64T70H501S"
	idANPR   = "AB12345CD"
)

var pdndKey = sync.OnceValue(func() jose.Key {
	k, err := jose.GenerateKey(jose.RS256)
	if err != nil {
		panic(err)
	}
	return k
})

type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// counter is the in-memory OperationIDs of these tests.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) NextOperationID(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return fmt.Sprintf("20261121120000%06d", c.n), nil
}

// register is a strict door A written from the sheet, on go-jose.
type register struct {
	t     *testing.T
	clock *fakeClock
	url   string
	key   *gojose.JSONWebKey

	mu       sync.Mutex
	vouchers map[string]string // token → evidence digest
	tokens   int
	calls    []string
	jtis     map[string]bool
	lastID   string
	secret   string // name of the rule broken by the last opaque 400

	// answer replaces the good answer of a service.
	answer map[anpr.Service]func(w http.ResponseWriter, req map[string]any)
	token  func(w http.ResponseWriter) bool // true = it answered
}

func newRegister(t *testing.T) *register {
	t.Helper()
	r := &register{
		t: t, clock: &fakeClock{t: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)},
		key:      &gojose.JSONWebKey{Key: pdndKey().Public().Raw()},
		vouchers: map[string]string{}, jtis: map[string]bool{},
		answer: map[anpr.Service]func(http.ResponseWriter, map[string]any){},
	}
	s := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

func (r *register) audience(s string) string {
	return "https://register.example/PortaANPR/" + s + "-x/v1"
}

func (r *register) client(t *testing.T, edit ...func(*anpr.ClientConfig)) *anpr.Client {
	t.Helper()
	out, err := outbound.New(outbound.Config{
		Peer: "anpr", Deadline: 5 * time.Second, MaxBody: 1 << 20, Tries: 2, BackoffMin: 1, BackoffMax: 2,
		Clock: r.clock.now, Rand: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	cfg := anpr.ClientConfig{
		ClientID: clientID, Key: pdndKey(), TokenURL: r.url + "/token.oauth2", TokenAudience: tokenAud, Token: out,
		Services: map[anpr.Service]anpr.ServiceConfig{}, OperationIDs: &counter{}, Clock: r.clock.now, Rand: rand.Reader,
		PostServes: func(post, state string) (bool, bool) { return post == "2830100" && state == "620", post != "9999999" },
	}
	for i, s := range []anpr.Service{anpr.C030, anpr.C015, anpr.C020, anpr.C019, anpr.C018} {
		cfg.Services[s] = anpr.ServiceConfig{
			BaseURL: r.url + "/PortaANPR-PDND/" + string(s) + "-x/v1", Audience: r.audience(string(s)),
			PurposeID: fmt.Sprintf("00000000-0000-4000-8000-00000000000%d", i), Out: out,
		}
	}
	for _, e := range edit {
		e(&cfg)
	}
	c, err := anpr.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func query() anpr.Query {
	return anpr.Query{
		FiscalCode: cf, Reason: "R7K2M9QX4T",
		Actor: anpr.Actor{User: "op-7", Location: "RM-0001", LoA: "HIGH"},
	}
}

func (r *register) claims(tok, aud string) (map[string]any, string) {
	sig, err := gojose.ParseSignedCompact(tok, []gojose.SignatureAlgorithm{gojose.RS256})
	if err != nil {
		return nil, "parse"
	}
	h := sig.Signatures[0].Protected
	if h.KeyID != pdndKey().KID() || h.ExtraHeaders["typ"] != "JWT" {
		return nil, "header"
	}
	payload, err := sig.Verify(r.key)
	if err != nil {
		return nil, "signature"
	}
	var c map[string]any
	if json.Unmarshal(payload, &c) != nil {
		return nil, "claims"
	}
	now := float64(r.clock.now().Unix())
	iat, _ := c["iat"].(float64)
	exp, _ := c["exp"].(float64)
	jti, _ := c["jti"].(string)
	switch {
	case c["aud"] != aud:
		return nil, "aud"
	case iat < now-300 || iat > now+5 || exp <= now:
		return nil, "time"
	case len(jti) != 36:
		return nil, "jti"
	case c["nbf"] != nil:
		return nil, "nbf"
	}
	return c, ""
}

func (r *register) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, _ := io.ReadAll(req.Body)
	if req.URL.Path == "/token.oauth2" {
		r.issue(w, req, body)
		return
	}
	parts := strings.Split(req.URL.Path, "/") // "", PortaANPR-PDND, C030-x, v1, anpr-service-e002
	if len(parts) != 5 || parts[4] != "anpr-service-e002" || req.Method != http.MethodPost {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"title":"NotFound","detail":"Unknown API Request"}`)
		return
	}
	code := parts[2][:4]
	r.calls = append(r.calls, code)
	w.Header().Set("GovWay-Transaction-ID", fmt.Sprintf("tx-%d", len(r.calls)))
	if why := r.refuse(req, body, code); why != "" {
		r.secret = why
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"type":"https://govway.org/handling-errors/400/InteroperabilityInvalidRequest.html","title":"InteroperabilityInvalidRequest","status":400,"detail":"generic","govway_id":"g"}`)
		return
	}
	var q map[string]any
	_ = json.Unmarshal(body, &q)
	if f := r.answer[anpr.Service(code)]; f != nil {
		f(w, q)
		return
	}
	good(w, code)
}

func (r *register) issue(w http.ResponseWriter, req *http.Request, body []byte) {
	r.tokens++
	if r.token != nil && r.token(w) {
		return
	}
	form, _ := func() (map[string][]string, error) {
		req.Body = io.NopCloser(bytes.NewReader(body))
		err := req.ParseForm()
		return req.PostForm, err
	}()
	get := func(k string) string {
		if len(form[k]) == 1 {
			return form[k][0]
		}
		return ""
	}
	c, why := r.claims(get("client_assertion"), tokenAud)
	d, _ := c["digest"].(map[string]any)
	digest, _ := d["value"].(string)
	jti, _ := c["jti"].(string)
	if why != "" || c["iss"] != clientID || c["sub"] != clientID || get("client_id") != clientID || d["alg"] != "SHA256" || len(digest) != 64 ||
		r.jtis[jti] || get("grant_type") != "client_credentials" || get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		r.secret = "assertion " + why
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"type":"about:blank","status":400,"errors":[{"code":"015-0008"}]}`)
		return
	}
	r.jtis[jti] = true
	tok := fmt.Sprintf("voucher-%d", r.tokens)
	r.vouchers[tok] = digest + fmt.Sprint(c["purposeId"])
	_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":600}`, tok)
}

func (r *register) refuse(req *http.Request, body []byte, code string) string {
	h := req.Header
	sum := sha256.Sum256(body)
	digest := "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
	if h.Get("Digest") != digest || h.Get("Content-Type") != "application/json" {
		return "digest or content type"
	}
	sig, why := r.claims(h.Get("Agid-JWT-Signature"), r.audience(code))
	if why != "" {
		return "signature " + why
	}
	want, _ := json.Marshal([]map[string]string{{"digest": digest}, {"content-type": "application/json"}})
	got, _ := json.Marshal(sig["signed_headers"])
	jti, _ := sig["jti"].(string)
	if string(got) != string(want) || r.jtis[jti] {
		return "signed_headers or jti"
	}
	r.jtis[jti] = true
	ev, why := r.claims(h.Get("Agid-JWT-TrackingEvidence"), r.audience(code))
	if why != "" {
		return "evidence " + why
	}
	if ev["userID"] == nil || ev["userLocation"] == nil || ev["LoA"] == nil || ev["dnonce"].(float64) < 1e12 || ev["dnonce"].(float64) >= 1e13 {
		return "evidence claims"
	}
	evSum := sha256.Sum256([]byte(h.Get("Agid-JWT-TrackingEvidence")))
	tok := strings.TrimPrefix(h.Get("Authorization"), "Bearer ")
	if r.vouchers[tok] != hex.EncodeToString(evSum[:])+fmt.Sprint(ev["purposeId"]) {
		return "digest chain"
	}
	var q struct {
		ID   string `json:"idOperazioneClient"`
		Data struct {
			Case string `json:"casoUso"`
		} `json:"datiRichiesta"`
	}
	if json.Unmarshal(body, &q) != nil || q.ID <= r.lastID || q.Data.Case != code {
		return "body"
	}
	r.lastID = q.ID
	return ""
}

const general = `"generalita":{"codiceFiscale":{"codFiscale":"RSSBNC64T70H501S","validitaCF":"1"},"cognome":"ROSSI","nome":"BIANCA","sesso":"F","dataNascita":"1964-12-30",
 "luogoNascita":{"comune":{"nomeComune":"ROMA","codiceIstat":"058091","siglaProvinciaIstat":"RM"}},"soggettoAIRE":"S","annoEspatrio":"2012",
 "idSchedaSoggettoComune":{"idSchedaSoggettoComuneIstat":"058091","idSchedaSoggetto":"1"}}`

const abroad = `"residenza":[{"tipoIndirizzo":"4","localitaEstera":{"indirizzoEstero":{"cap":"11100","localita":{"descrizioneLocalita":"MONTEVIDEO","descrizioneStato":"URUGUAY","codiceStato":"620"},
 "toponimo":{"denominazione":"AVENIDA 18 DE JULIO","numeroCivico":"1234"}},"consolato":{"codiceConsolato":"2830100","descrizioneConsolato":"MONTEVIDEO"}},"dataDecorrenzaResidenza":"2012-05-02"}]`

func subject(blocks ...string) string {
	return `{"idOperazioneANPR":"5837092700","listaSoggetti":{"datiSoggetto":[{` +
		strings.Join(append(blocks, `"identificativi":{"idANPR":"`+idANPR+`"}`), ",") + `}]}}`
}

func good(w http.ResponseWriter, code string) {
	w.Header().Set("Content-Type", "application/json")
	switch code {
	case "C030":
		_, _ = io.WriteString(w, strings.TrimSuffix(subject(), "}")+`,"listaAnomalie":[{"codiceErroreAnomalia":"EN148","tipoErroreAnomalia":"W"}]}`)
	case "C015":
		_, _ = io.WriteString(w, subject(general))
	case "C020":
		_, _ = io.WriteString(w, subject(abroad))
	case "C019":
		_, _ = io.WriteString(w, subject(`"infoSoggettoEnte":[{"id":"1003","chiave":"Verifica esistenza in vita","valore":"S"}]`))
	case "C018":
		_, _ = io.WriteString(w, subject(`"cittadinanza":[{"descrizioneStato":"ITALIA","codiceStato":"100","dataValidita":"1964-12-30"}]`))
	}
}

func body(status int, text string) func(http.ResponseWriter, map[string]any) {
	return func(w http.ResponseWriter, _ map[string]any) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

func registerError(t *testing.T, err error) *anpr.RegisterError {
	t.Helper()
	var e *anpr.RegisterError
	if !errors.As(err, &e) {
		t.Fatalf("not a RegisterError: %v", err)
	}
	return e
}

func codes(rec anpr.Record) string {
	var out []string
	for _, f := range rec.Findings {
		s := string(f.Code)
		if f.Detail != "" {
			s += ":" + f.Detail
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestAnAIRECitizenIsReadFromTheFiveServicesWithAllEvidence(t *testing.T) {
	t.Parallel()
	r := newRegister(t)
	rec, err := r.client(t).Check(t.Context(), query())
	if err != nil {
		t.Fatal(err, r.secret)
	}
	want := anpr.Person{
		IDANPR: idANPR, FiscalCode: cf, FiscalCodeValidated: anpr.Yes, Surname: "ROSSI", GivenName: "BIANCA", Sex: "F", BirthDate: "1964-12-30",
		BirthPlace: anpr.BirthPlace{ComuneISTAT: "058091", ComuneName: "ROMA", Province: "RM"},
		AIRE:       anpr.Yes, ExpatriationYear: "2012", AIREComune: anpr.ComuneRef{ISTAT: "058091", Name: "Roma"},
		Post: anpr.PostRef{Code: "2830100", Description: "MONTEVIDEO"},
		Address: anpr.Address{
			Foreign: true, Type: "4", Street: "AVENIDA 18 DE JULIO", Number: "1234", Postcode: "11100", Locality: "MONTEVIDEO",
			StateISTAT: "620", StateName: "URUGUAY",
		},
		ResidenceSince: "2012-05-02", Citizenships: []anpr.Citizenship{{StateISTAT: "100", StateName: "ITALIA"}},
		Italian: anpr.Yes, Alive: anpr.Yes,
	}
	if fmt.Sprintf("%+v", rec.Person) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", rec.Person, want)
	}
	if codes(rec) != "" || rec.Outcome() != anpr.OutcomeClear || !rec.Found || rec.Provenance != anpr.FromANPR || rec.AsOf != "2026-11-21" {
		t.Errorf("%+v", rec)
	}
	if got := strings.Join(r.calls, " "); got != "C030 C015 C020 C019 C018" {
		t.Errorf("asked %s", got)
	}
	for i, c := range rec.Calls {
		if c.Status != 200 || len(c.AnswerDigest) != 64 || len(c.TrackingDigest) != 64 || c.OperationID == "" || c.RegisterOperationID != "5837092700" ||
			c.TransactionID != fmt.Sprintf("tx-%d", i+1) || !c.AskedAt.Equal(r.clock.now()) {
			t.Errorf("evidence %+v", c)
		}
	}
	if string(rec.Calls[0].Notices[0]) != "EN148" {
		t.Errorf("notices %v", rec.Calls[0].Notices)
	}
	data, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	again, err := anpr.ParseRecord(data)
	if err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", rec) {
		t.Errorf("does not round-trip: %v", err)
	}
	if _, err := anpr.ParseRecord([]byte(`{"version":2}`)); !errors.Is(err, anpr.ErrRecord) {
		t.Errorf("unknown version: %v", err)
	}
}

func TestTheDigestOfTheEvidenceIsOfTheExactBytes(t *testing.T) {
	t.Parallel()
	r := newRegister(t)
	text := strings.Replace(subject(general), "{", "{ ", 1)
	r.answer[anpr.C015] = body(200, text)
	rec, err := r.client(t).Check(t.Context(), query())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	if rec.Calls[1].AnswerDigest != hex.EncodeToString(sum[:]) {
		t.Error("digest of other bytes")
	}
	if d := rec.AnswerDigest(); !strings.HasPrefix(d, "sha-256:") || len(d) != 72 {
		t.Errorf("digest %s", d)
	}
}

func TestAVoucherIsReusedOnlyWithItsEvidenceAndOnlyForTheSameActor(t *testing.T) {
	t.Parallel()
	r := newRegister(t)
	c := r.client(t)
	check := func(q anpr.Query) anpr.Record {
		t.Helper()
		rec, err := c.Check(t.Context(), q)
		if err != nil {
			t.Fatal(err, r.secret)
		}
		return rec
	}
	a := check(query())
	b := check(query())
	if r.tokens != 5 || a.Calls[0].TrackingDigest != b.Calls[0].TrackingDigest {
		t.Errorf("%d tokens for two checks of one actor", r.tokens)
	}
	for _, edit := range []func(*anpr.Actor){
		func(a *anpr.Actor) { a.User = "op-8" }, func(a *anpr.Actor) { a.Location = "RM-0002" }, func(a *anpr.Actor) { a.LoA = "LOW" },
	} {
		q := query()
		edit(&q.Actor)
		before := r.tokens
		check(q)
		if r.tokens != before+5 {
			t.Error("voucher of another actor reused")
		}
	}
	// GovWay refuses an evidence older than five minutes though the voucher lives ten.
	before := r.tokens
	r.clock.add(4*time.Minute - time.Second)
	check(query())
	if r.tokens != before {
		t.Error("renewed too early")
	}
	r.clock.add(time.Second)
	check(query())
	if r.tokens != before+5 {
		t.Error("stale evidence sent")
	}
}

func TestARefusedTokenIsRenewedOnceWithItsPair(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		times  int
		code   anpr.ErrorCode
		kind   anpr.ErrorKind
	}{
		"expired once":     {401, `{"title":"TokenExpired","status":401}`, 1, "", ""},
		"expired for ever": {401, `{"title":"TokenExpired","status":401}`, 99, anpr.CodeTokenRefused, anpr.KindConfiguration},
		"opaque once":      {400, `{"title":"InteroperabilityInvalidRequest","status":400}`, 1, "", ""},
		"opaque for ever":  {400, `{"title":"InteroperabilityInvalidRequest","status":400}`, 99, anpr.CodeRequestRefused, anpr.KindConfiguration},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegister(t)
			n := 0
			r.answer[anpr.C015] = func(w http.ResponseWriter, _ map[string]any) {
				if n++; n > tc.times {
					good(w, "C015")
					return
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			}
			rec, err := r.client(t).Check(t.Context(), query())
			if tc.code == "" {
				if err != nil || r.tokens != 6 || len(rec.Calls) != 6 || !rec.Calls[2].VoucherRenewed || rec.Calls[1].TrackingDigest == rec.Calls[2].TrackingDigest {
					t.Errorf("%v, %d tokens, %+v", err, r.tokens, rec.Calls)
				}
				return
			}
			e := registerError(t, err)
			if e.Code != tc.code || e.Kind != tc.kind || e.Service != anpr.C015 || e.Status != tc.status || e.Title == "" || n != 2 || len(e.Calls) != 3 || e.TransactionID == "" {
				t.Errorf("%+v after %d", e, n)
			}
		})
	}
}

// The table of §1.6–§1.8 and §8: what is no answer about the person never becomes one.
func TestWhatIsNoAnswerAboutThePersonIsAnErrorThatWaits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		code   anpr.ErrorCode
		kind   anpr.ErrorKind
	}{
		"row 10 quota, empty body":      {429, "", anpr.CodeQuota, anpr.KindTemporary},
		"row 10 quota, json":            {429, `{"title":"LimitExceeded","status":429}`, anpr.CodeQuota, anpr.KindTemporary},
		"row 11 html with 200":          {200, "<html>GovWay-OP20000-9999</html>", anpr.CodeNotJSON, anpr.KindTemporary},
		"row 11 html with 404":          {404, "<html>", anpr.CodeNotJSON, anpr.KindTemporary},
		"row 11 html with 500":          {500, "<html>", anpr.CodeOutage, anpr.KindTemporary},
		"row 11 gateway error":          {503, `{"title":"GatewayError","status":503}`, anpr.CodeOutage, anpr.KindTemporary},
		"row 12 EN527":                  {500, `{"listaErrori":[{"codiceErroreAnomalia":"999","tipoErroreAnomalia":"E"},{"codiceErroreAnomalia":"EN527","tipoErroreAnomalia":"E"}]}`, anpr.CodeOutage, anpr.KindTemporary},
		"row 12 999 with 400":           {400, `{"listaErrori":[{"codiceErroreAnomalia":999,"tipoErroreAnomalia":"E"}]}`, anpr.CodeOutage, anpr.KindTemporary},
		"row 12 EN122 beside an outage": {404, `{"listaErrori":[{"codiceErroreAnomalia":"EN122","tipoErroreAnomalia":"E"},{"codiceErroreAnomalia":"999","tipoErroreAnomalia":"E"}]}`, anpr.CodeOutage, anpr.KindTemporary},
		"row 13 appliance 404":          {404, `{"title":"NotFound","status":404,"detail":"Unknown API Request"}`, anpr.CodePathUnknown, anpr.KindTemporary},
		"row 13 404 without body":       {404, "", anpr.CodeNotJSON, anpr.KindTemporary},
		"row 13 404 with a warning":     {404, `{"listaErrori":[{"codiceErroreAnomalia":"EN148","tipoErroreAnomalia":"W"}]}`, anpr.CodePathUnknown, anpr.KindTemporary},
		"EN122 in a 503":                {503, `{"listaErrori":[{"codiceErroreAnomalia":"EN122","tipoErroreAnomalia":"E"}]}`, anpr.CodeOutage, anpr.KindTemporary},
		"200 empty":                     {200, "", anpr.CodeNotJSON, anpr.KindTemporary},
		"200 empty object":              {200, "{}", anpr.CodeUnreadable, anpr.KindTemporary},
		"200 without subjects":          {200, `{"listaSoggetti":{"datiSoggetto":[]}}`, anpr.CodeUnreadable, anpr.KindTemporary},
		"200 with an empty subject":     {200, `{"listaSoggetti":{"datiSoggetto":[{}]}}`, anpr.CodeUnreadable, anpr.KindTemporary},
		"200 with null subjects":        {200, `{"listaSoggetti":{"datiSoggetto":[null]}}`, anpr.CodeUnreadable, anpr.KindTemporary},
		"200 cut json":                  {200, `{"listaSoggetti":{"datiSoggetto":[{"generalita"`, anpr.CodeNotJSON, anpr.KindTemporary},
		"204":                           {204, "", anpr.CodeNotJSON, anpr.KindTemporary},
		"403":                           {403, `{"title":"AuthorizationDeny","status":403}`, anpr.CodeForbidden, anpr.KindConfiguration},
		"400 schema":                    {400, `{"title":"InvalidRequestContent","status":400,"detail":"body.x"}`, anpr.CodeRequestInvalid, anpr.KindConfiguration},
		"400 EN081":                     {400, `{"listaErrori":[{"codiceErroreAnomalia":"EN081","tipoErroreAnomalia":"E"}]}`, anpr.CodeRequestInvalid, anpr.KindConfiguration},
		"unknown register code":         {404, `{"listaErrori":[{"codiceErroreAnomalia":"EN999","tipoErroreAnomalia":"E"}]}`, anpr.CodeUnknownCode, anpr.KindConfiguration},
		"redirect":                      {302, "", anpr.CodeCutAnswer, anpr.KindTemporary},
	} {
		for _, s := range []anpr.Service{anpr.C030, anpr.C020} {
			t.Run(name+" at "+string(s), func(t *testing.T) {
				t.Parallel()
				r := newRegister(t)
				r.answer[s] = body(tc.status, tc.body)
				rec, err := r.client(t).Check(t.Context(), query())
				e := registerError(t, err)
				if e.Code != tc.code || e.Kind != tc.kind || e.Service != s {
					t.Errorf("%+v", e)
				}
				if rec.Found || len(rec.Findings) != 0 || rec.Calls != nil {
					t.Errorf("a record beside an error: %+v", rec)
				}
				if strings.Contains(err.Error(), cf) || strings.Contains(err.Error(), "body.x") {
					t.Errorf("error text %s", err)
				}
				if tc.code == anpr.CodeQuota && !e.RetryAt.Equal(time.Date(2026, 11, 21, 23, 0, 0, 0, time.UTC)) {
					t.Errorf("stop until %v, want midnight in Rome", e.RetryAt)
				}
			})
		}
	}
}

func TestWhatTheRegisterSaysOfAPersonIsAFinding(t *testing.T) {
	t.Parallel()
	ko := func(code, text string) string {
		return `{"idOperazioneANPR":58438306,"listaErrori":[{"codiceErroreAnomalia":"` + code + `","tipoErroreAnomalia":"E","testoErroreAnomalia":"` + text + `"}]}`
	}
	type answers map[anpr.Service]func(http.ResponseWriter, map[string]any)
	for name, tc := range map[string]struct {
		answers answers
		query   func(*anpr.Query)
		codes   string
		outcome anpr.Outcome
		calls   int
	}{
		"never registered":             {answers{anpr.C030: body(404, ko("EN122", "Soggetto non registrato in ANPR"))}, nil, "not_found", anpr.OutcomeCorrect, 1},
		"row 14 old text":              {answers{anpr.C030: body(404, ko("EN122", "La richiesta effettuata non produce alcun risultato"))}, nil, "not_found", anpr.OutcomeCorrect, 1},
		"row 14 cancelled":             {answers{anpr.C030: body(404, ko("EN122", "Soggetto cancellato da ANPR"))}, nil, "cancelled", anpr.OutcomeCorrect, 1},
		"row 15 EN148 beside EN122":    {answers{anpr.C030: body(404, `{"listaErrori":[{"codiceErroreAnomalia":"EN148","tipoErroreAnomalia":"W"},{"codiceErroreAnomalia":"EN122","tipoErroreAnomalia":"E"}]}`)}, nil, "not_found", anpr.OutcomeCorrect, 1},
		"row 15 only a warning, 200":   {answers{anpr.C015: body(200, strings.TrimSuffix(subject(general), "}")+`,"listaErrori":[{"codiceErroreAnomalia":"EN148","tipoErroreAnomalia":"W"}]}`)}, nil, "", anpr.OutcomeClear, 5},
		"row 17 two subjects":          {answers{anpr.C030: body(200, `{"listaSoggetti":{"datiSoggetto":[{"identificativi":{"idANPR":"A"}},{"identificativi":{"idANPR":"B"}}]}}`)}, nil, "duplicate:several_subjects", anpr.OutcomeReview, 1},
		"row 17 two on C020":           {answers{anpr.C020: body(200, `{"listaSoggetti":{"datiSoggetto":[{`+abroad+`},{`+abroad+`}]}}`)}, nil, "duplicate:several_subjects", anpr.OutcomeReview, 3},
		"row 17 EN095":                 {answers{anpr.C015: body(404, ko("EN095", ""))}, nil, "duplicate", anpr.OutcomeReview, 2},
		"row 17 merged ids":            {answers{anpr.C015: body(200, strings.Replace(subject(general), idANPR, "ZZ99999ZZ", 1))}, nil, "duplicate:id_differs", anpr.OutcomeReview, 2},
		"row 18 double registration":   {answers{anpr.C020: body(404, ko("EN472", ""))}, nil, "double_registration", anpr.OutcomeCorrect, 5},
		"row 18 as a warning":          {answers{anpr.C015: body(200, strings.TrimSuffix(subject(general), "}")+`,"listaAnomalie":{"codiceErroreAnomalia":"EA031","tipoErroreAnomalia":"W"}}`)}, nil, "double_registration", anpr.OutcomeCorrect, 5},
		"EA045 consulate disagrees":    {answers{anpr.C015: body(200, strings.TrimSuffix(subject(general), "}")+`,"listaAnomalie":[{"codiceErroreAnomalia":"EA045","tipoErroreAnomalia":"W"}]}`)}, nil, "consulate_disagrees", anpr.OutcomeCorrect, 5},
		"row 20 code not validated":    {answers{anpr.C015: body(200, subject(strings.Replace(general, `"validitaCF":"1"`, `"validitaCF":9`, 1)))}, nil, "cf_not_validated", anpr.OutcomeCorrect, 5},
		"row 20 no code":               {answers{anpr.C015: body(200, subject(strings.Replace(general, `{"codFiscale":"RSSBNC64T70H501S","validitaCF":"1"}`, `null`, 1)))}, nil, "cf_not_validated", anpr.OutcomeCorrect, 5},
		"row 21 other code":            {answers{anpr.C015: body(200, subject(strings.Replace(general, "RSSBNC64T70H501S", "RSSBNC64T70H50MX", 1)))}, nil, "cf_superseded", anpr.OutcomeReview, 5},
		"row 27 comune literal":        {answers{anpr.C015: body(200, subject(strings.Replace(general, `"idSchedaSoggettoComuneIstat":"058091"`, `"idSchedaSoggettoComuneIstat":"AIRE"`, 1)))}, nil, "comune_unknown", anpr.OutcomeNote, 5},
		"row 29 flag null":             {answers{anpr.C015: body(200, subject(strings.Replace(general, `"soggettoAIRE":"S"`, `"soggettoAIRE":null`, 1)))}, nil, "", anpr.OutcomeClear, 5},
		"row 29 dead without date":     {answers{anpr.C019: body(200, subject(`"infoSoggettoEnte":[{"id":"1003","valore":"N"}]`))}, nil, "deceased", anpr.OutcomeRefuse, 5},
		"alive unknown":                {answers{anpr.C019: body(200, subject(`"infoSoggettoEnte":{"id":1003,"valore":"A"}`))}, nil, "alive_unknown", anpr.OutcomeReview, 5},
		"dead with a block":            {answers{anpr.C020: body(200, subject(abroad, `"datiDecesso":{"dataEvento":"2026-10-01","attoDecesso":{"data":"2026-10-04"}}`))}, nil, "deceased", anpr.OutcomeRefuse, 5},
		"dead and so not active":       {answers{anpr.C015: body(404, ko("EN122", "")), anpr.C020: body(404, ko("EN122", "")), anpr.C018: body(404, ko("EN122", "")), anpr.C019: body(200, subject(`"infoSoggettoEnte":[{"id":"1003","valore":"N"}]`))}, nil, "deceased", anpr.OutcomeRefuse, 6},
		"EN047 dead":                   {answers{anpr.C015: body(404, ko("EN047", "Il soggetto risulta deceduto"))}, nil, "deceased", anpr.OutcomeRefuse, 5},
		"EN164 not in AIRE":            {answers{anpr.C015: body(404, ko("EN164", ""))}, nil, "not_aire", anpr.OutcomeRefuse, 5},
		"foreigner":                    {answers{anpr.C018: body(200, subject(`"cittadinanza":[{"descrizioneStato":"FRANCIA","codiceStato":"215"}]`))}, nil, "foreigner", anpr.OutcomeRefuse, 5},
		"dual citizen":                 {answers{anpr.C018: body(200, subject(`"cittadinanza":[{"descrizioneStato":"FRANCIA","codiceStato":"215"},{"descrizioneStato":"ITALIA"}]`))}, nil, "", anpr.OutcomeClear, 5},
		"row 34 no start":              {answers{anpr.C020: body(200, subject(strings.Replace(abroad, `,"dataDecorrenzaResidenza":"2012-05-02"`, "", 1)))}, nil, "", anpr.OutcomeClear, 5},
		"row 26 post of another state": {answers{anpr.C020: body(200, subject(strings.Replace(abroad, "2830100", "2290103", 1)))}, nil, "post_state_mismatch", anpr.OutcomeNote, 5},
		"row 26 post unknown":          {answers{anpr.C020: body(200, subject(strings.Replace(abroad, "2830100", "9999999", 1)))}, nil, "post_unknown:code_unknown", anpr.OutcomeNote, 5},
		"no post":                      {answers{anpr.C020: body(200, subject(strings.Replace(abroad, `"codiceConsolato":"2830100",`, "", 1)))}, nil, "post_unknown:no_post", anpr.OutcomeNote, 5},
		"row 25 street is the city":    {answers{anpr.C020: body(200, subject(strings.Replace(abroad, "AVENIDA 18 DE JULIO", "Montevideo", 1)))}, nil, "address_undeliverable:street_is_locality", anpr.OutcomeNote, 5},
		"row 25 street doubled":        {answers{anpr.C020: body(200, subject(strings.Replace(abroad, "AVENIDA 18 DE JULIO", "VIA ROMA VIA ROMA", 1)))}, nil, "address_undeliverable:street_doubled", anpr.OutcomeNote, 5},
		"no locality":                  {answers{anpr.C020: body(200, subject(strings.Replace(abroad, `"descrizioneLocalita":"MONTEVIDEO",`, "", 1)))}, nil, "address_undeliverable:no_locality", anpr.OutcomeNote, 5},
		"row 22 truncated":             {answers{anpr.C015: body(200, subject(strings.Replace(general, `"cognome":"ROSSI"`, `"cognome":"ROSSI DELLA CASA GRANDE DEGLI ULIVII"`, 1)))}, nil, "names_truncated:surname", anpr.OutcomeNote, 5},
		"row 23 other spelling":        {answers{anpr.C015: body(200, subject(strings.Replace(general, `"nome":"BIANCA"`, `"nome":"BIANCA'"`, 1)))}, func(q *anpr.Query) { q.GivenName = "Biancà" }, "names_transliterated:given_name", anpr.OutcomeNote, 5},
		"row 17 merged names":          {answers{anpr.C015: body(200, subject(strings.Replace(general, `"nome":"BIANCA"`, `"nome":"MARIO"`, 1)))}, nil, "names_differ:fiscal_code", anpr.OutcomeReview, 5},
		"declared name differs":        {nil, func(q *anpr.Query) { q.Surname = "Bianchi" }, "names_differ:surname", anpr.OutcomeReview, 5},
		"row 24 damaged text":          {answers{anpr.C015: body(200, subject(strings.Replace(general, "ROSSI", "ROS\xe8SI", 1)))}, nil, "text_damaged", anpr.OutcomeReview, 5},
		"row 24 control characters":    {answers{anpr.C015: body(200, subject(strings.Replace(general, "ROSSI", "ROSSI\x01\\u0002", 1)))}, nil, "", anpr.OutcomeClear, 5},
		"row 30 no first name":         {answers{anpr.C015: body(200, subject(strings.Replace(general, `"nome":"BIANCA"`, `"senzaNome":"S"`, 1)))}, nil, "", anpr.OutcomeClear, 5},
		"row 16 odd ids":               {answers{anpr.C015: body(200, strings.Replace(subject(general), `"5837092700"`, `99999999999999999999`, 1))}, nil, "", anpr.OutcomeClear, 5},
		"resident in Italy": {answers{
			anpr.C015: body(200, subject(strings.Replace(general, `"soggettoAIRE":"S",`, "", 1))),
			anpr.C020: body(200, subject(`"residenza":[{"tipoIndirizzo":"1","indirizzo":{"cap":"00184","comune":{"nomeComune":"ROMA","codiceIstat":"058091"},"toponimo":{"specie":"VIA","denominazioneToponimo":"DEI SERPENTI"},"numeroCivico":{"numero":"12"}}}]`)),
		}, nil, "not_aire", anpr.OutcomeRefuse, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegister(t)
			for s, f := range tc.answers {
				r.answer[s] = f
			}
			q := query()
			if tc.query != nil {
				tc.query(&q)
			}
			rec, err := r.client(t).Check(t.Context(), q)
			if err != nil {
				t.Fatal(err, r.secret)
			}
			if codes(rec) != tc.codes || rec.Outcome() != tc.outcome {
				t.Errorf("got %q %s, want %q %s", codes(rec), rec.Outcome(), tc.codes, tc.outcome)
			}
			if tc.calls != 6 && len(r.calls) != tc.calls {
				t.Errorf("asked %v", r.calls)
			}
			text, _ := json.Marshal(rec.Findings)
			if strings.Contains(string(text), "ROSSI") || strings.Contains(string(text), cf) {
				t.Errorf("personal data in findings %s", text)
			}
		})
	}
}

func TestAnIdThatChangedMeanwhileIsResolvedAgain(t *testing.T) {
	t.Parallel()
	r := newRegister(t)
	n := 0
	r.answer[anpr.C030] = func(w http.ResponseWriter, _ map[string]any) {
		if n++; n > 1 {
			_, _ = io.WriteString(w, strings.Replace(subject(), idANPR, "NN00000NN", 1))
			return
		}
		good(w, "C030")
	}
	for _, s := range []anpr.Service{anpr.C015, anpr.C020, anpr.C019, anpr.C018} {
		r.answer[s] = func(w http.ResponseWriter, q map[string]any) {
			if q["criteriRicerca"].(map[string]any)["idANPR"] != "NN00000NN" {
				w.WriteHeader(404)
				_, _ = io.WriteString(w, `{"listaErrori":[{"codiceErroreAnomalia":"EN122","tipoErroreAnomalia":"E"}]}`)
				return
			}
			rec := httptest.NewRecorder()
			good(rec, string(s))
			_, _ = io.WriteString(w, strings.Replace(rec.Body.String(), idANPR, "NN00000NN", 1))
		}
	}
	rec, err := r.client(t).Check(t.Context(), query())
	if err != nil || codes(rec) != "" || rec.Person.IDANPR != "NN00000NN" {
		t.Errorf("%v %s %s", err, codes(rec), rec.Person.IDANPR)
	}
	if got := strings.Join(r.calls, " "); got != "C030 C015 C030 C015 C020 C019 C018" {
		t.Errorf("asked %s", got)
	}
}

func TestAnIdNobodyKnowsIsAskedByFiscalCodeBeforeAbsenceIsBelieved(t *testing.T) {
	t.Parallel()
	r := newRegister(t)
	for _, s := range []anpr.Service{anpr.C015, anpr.C020, anpr.C019, anpr.C018} {
		r.answer[s] = func(w http.ResponseWriter, q map[string]any) {
			if q["criteriRicerca"].(map[string]any)["idANPR"] != nil {
				w.WriteHeader(404)
				_, _ = io.WriteString(w, `{"listaErrori":[{"codiceErroreAnomalia":"EN122","tipoErroreAnomalia":"E"}]}`)
				return
			}
			good(w, string(s))
		}
	}
	rec, err := r.client(t).Check(t.Context(), query())
	if err != nil || codes(rec) != "" || !rec.Found {
		t.Errorf("%v %s", err, codes(rec))
	}
	if got := strings.Join(r.calls, " "); got != "C030 C015 C030 C015 C020 C019 C018" {
		t.Errorf("asked %s", got)
	}
}

func TestSomebodyKnownUnderAnotherCodeIsFoundByPersonalDataAndANamesakeIsNot(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		surname, birth string
		codes          string
		found          bool
	}{
		"the person":       {"Rossi", "1964-12-30", "cf_superseded", true},
		"other birth date": {"Rossi", "1964-12-29", "not_found", false},
		"other surname":    {"Bianchi", "1964-12-30", "not_found", false},
		"not all declared": {"", "1964-12-30", "not_found", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegister(t)
			r.answer[anpr.C030] = func(w http.ResponseWriter, q map[string]any) {
				who := q["criteriRicerca"].(map[string]any)
				if who["cognome"] != nil {
					if who["nome"] != "BIANCA" || who["sesso"] != "F" || who["datiNascita"].(map[string]any)["dataEvento"] != tc.birth {
						t.Errorf("asked %v", who)
					}
					good(w, "C030")
					return
				}
				w.WriteHeader(404)
				_, _ = io.WriteString(w, `{"listaErrori":[{"codiceErroreAnomalia":"EN122","tipoErroreAnomalia":"E"}]}`)
			}
			r.answer[anpr.C015] = body(200, subject(strings.Replace(general, cf, "RSSBNC64T70H50MX", 1)))
			q := query()
			q.Surname, q.GivenName, q.BirthDate, q.Sex = tc.surname, "Bianca", tc.birth, "F"
			rec, err := r.client(t).Check(t.Context(), q)
			if err != nil {
				t.Fatal(err, r.secret)
			}
			if codes(rec) != tc.codes || rec.Found != tc.found || (rec.Person.Surname != "") != tc.found {
				t.Errorf("%s %+v", codes(rec), rec.Person)
			}
		})
	}
}

func TestOnlyGrantedServicesAreAskedAndWhatTheyLeaveOpenStaysUnknown(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		granted []anpr.Service
		asked   string
		codes   string
	}{
		"C015 alone":     {[]anpr.Service{anpr.C015}, "C015", ""},
		"C020 alone":     {[]anpr.Service{anpr.C020}, "C020", ""},
		"C030 and C019":  {[]anpr.Service{anpr.C030, anpr.C019}, "C030 C019", "aire_unknown"},
		"without C030":   {[]anpr.Service{anpr.C015, anpr.C020, anpr.C018}, "C015 C020 C018", ""},
		"without C018/9": {[]anpr.Service{anpr.C030, anpr.C015, anpr.C020}, "C030 C015 C020", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegister(t)
			c := r.client(t, func(cfg *anpr.ClientConfig) {
				for s := range cfg.Services {
					if !slices.Contains(tc.granted, s) {
						delete(cfg.Services, s)
					}
				}
			})
			rec, err := c.Check(t.Context(), query())
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(r.calls, " "); got != tc.asked || codes(rec) != tc.codes {
				t.Errorf("asked %s, found %s", got, codes(rec))
			}
			if !slices.Contains(tc.granted, anpr.C019) && rec.Person.Alive != anpr.Unknown {
				t.Errorf("alive %s", rec.Person.Alive)
			}
		})
	}
}

func TestThePDNDEndpointsAnswersAreReadExactly(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		code   anpr.ErrorCode
		kind   anpr.ErrorKind
	}{
		"row 35 refused":      {400, `{"errors":[{"code":"015-0008"}]}`, anpr.CodeVoucherRefused, anpr.KindConfiguration},
		"too many":            {429, ``, anpr.CodeVoucherQuota, anpr.KindTemporary},
		"down":                {500, `{"errors":[{"code":"015-0000"}]}`, anpr.CodeVoucherOutage, anpr.KindTemporary},
		"html":                {200, `<html>`, anpr.CodeVoucherOutage, anpr.KindTemporary},
		"no token":            {200, `{"token_type":"Bearer","expires_in":600}`, anpr.CodeVoucherOutage, anpr.KindTemporary},
		"no life":             {200, `{"access_token":"x","token_type":"Bearer"}`, anpr.CodeVoucherOutage, anpr.KindTemporary},
		"DPoP":                {200, `{"access_token":"x","token_type":"DPoP","expires_in":600}`, anpr.CodeVoucherRefused, anpr.KindConfiguration},
		"header injection":    {200, `{"access_token":"x\r\ny","token_type":"Bearer","expires_in":600}`, anpr.CodeVoucherOutage, anpr.KindTemporary},
		"of another purpose":  {200, `{"access_token":"` + fakeVoucher(`{"purposeId":"other"}`) + `","token_type":"Bearer","expires_in":600}`, anpr.CodePreflight, anpr.KindConfiguration},
		"of another evidence": {200, `{"access_token":"` + fakeVoucher(`{"digest":{"alg":"SHA256","value":"00"}}`) + `","token_type":"Bearer","expires_in":600}`, anpr.CodePreflight, anpr.KindConfiguration},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegister(t)
			r.token = func(w http.ResponseWriter) bool {
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
				return true
			}
			_, err := r.client(t).Check(t.Context(), query())
			if e := registerError(t, err); e.Code != tc.code || e.Kind != tc.kind || e.Service != anpr.C030 {
				t.Errorf("%+v", e)
			}
			if len(r.calls) != 0 {
				t.Error("asked without a voucher")
			}
		})
	}
}

func fakeVoucher(claims string) string {
	b := base64.RawURLEncoding.EncodeToString
	return b([]byte(`{"alg":"RS256","typ":"at+jwt","kid":"k"}`)) + "." + b([]byte(claims)) + "." + b([]byte("sig"))
}

func TestAnOutageIsTriedAgainWithANewIdAndThenWaits(t *testing.T) {
	t.Parallel()
	r := newRegister(t)
	var ids []any
	r.answer[anpr.C030] = func(w http.ResponseWriter, q map[string]any) {
		ids = append(ids, q["idOperazioneClient"])
		if len(ids) == 1 {
			w.WriteHeader(503)
			return
		}
		good(w, "C030")
	}
	rec, err := r.client(t).Check(t.Context(), query())
	if err != nil || rec.Calls[0].Tries != 2 || ids[0] == ids[1] || rec.Calls[0].OperationID != ids[1] {
		t.Errorf("%v %v %+v", err, ids, rec.Calls)
	}
}

func TestAMistakeOfOursIsFoundBeforeSending(t *testing.T) {
	t.Parallel()
	r := newRegister(t)
	r.clock.t = time.Date(1970, 1, 1, 0, 0, 10, 0, time.UTC)
	r.token = func(w http.ResponseWriter) bool {
		_, _ = io.WriteString(w, `{"access_token":"x","token_type":"Bearer","expires_in":600}`)
		return true
	}
	_, err := r.client(t).Check(t.Context(), query())
	if e := registerError(t, err); e.Code != anpr.CodePreflight || e.Detail != "clock" || e.Kind != anpr.KindConfiguration {
		t.Errorf("%+v", e)
	}
	if len(r.calls) != 0 {
		t.Error("sent all the same")
	}
	r.clock.t = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	c := r.client(t, func(cfg *anpr.ClientConfig) { cfg.OperationIDs = fixedID("not-digits") })
	if e := registerError(t, second(c.Check(t.Context(), query()))); e.Detail != "operation_id" || len(r.calls) != 0 {
		t.Errorf("%+v", e)
	}
	c = r.client(t, func(cfg *anpr.ClientConfig) { cfg.OperationIDs = fixedID("") })
	if e := registerError(t, second(c.Check(t.Context(), query()))); e.Code != anpr.CodeNoOperationID || e.Kind != anpr.KindTemporary {
		t.Errorf("%+v", e)
	}
}

func second[A any](_ A, err error) error { return err }

type fixedID string

func (f fixedID) NextOperationID(context.Context) (string, error) {
	if f == "" {
		return "", errors.New("store closed")
	}
	return string(f), nil
}

func TestAnUnaskableQueryIsRefused(t *testing.T) {
	t.Parallel()
	c := newRegister(t).client(t)
	for field, edit := range map[string]func(*anpr.Query){
		"fiscal_code":    func(q *anpr.Query) { q.FiscalCode = "rssbnc64t70h501s" },
		"reason":         func(q *anpr.Query) { q.Reason = "" },
		"actor.user":     func(q *anpr.Query) { q.Actor.User = "" },
		"actor.location": func(q *anpr.Query) { q.Actor.Location = "a\nb" },
		"actor.loa":      func(q *anpr.Query) { q.Actor.LoA = strings.Repeat("x", 21) },
	} {
		q := query()
		edit(&q)
		_, err := c.Check(t.Context(), q)
		if e := registerError(t, err); e.Kind != anpr.KindQuery || e.Detail != field {
			t.Errorf("%s: %+v", field, e)
		}
	}
}

func TestAConfigurationThatTheRegisterWouldRefuseIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	base := func(edit func(*anpr.ServiceConfig)) func(*anpr.ClientConfig) {
		return func(c *anpr.ClientConfig) {
			s := c.Services[anpr.C030]
			edit(&s)
			c.Services[anpr.C030] = s
		}
	}
	r := newRegister(t)
	var cfg anpr.ClientConfig
	r.client(t, func(c *anpr.ClientConfig) { cfg = *c })
	for name, edit := range map[string]func(*anpr.ClientConfig){
		"row 1 -PDND":             base(func(s *anpr.ServiceConfig) { s.Audience = "https://x.example/in/MinInternoPortaANPR-PDND/C030-x/v1" }),
		"row 1 operation":         base(func(s *anpr.ServiceConfig) { s.Audience += "/anpr-service-e002" }),
		"row 1 another service":   base(func(s *anpr.ServiceConfig) { s.Audience = r.audience("C020") }),
		"row 1 audience of PDND":  base(func(s *anpr.ServiceConfig) { s.Audience = tokenAud }),
		"operation in base":       base(func(s *anpr.ServiceConfig) { s.BaseURL += "/anpr-service-e002" }),
		"base of another service": base(func(s *anpr.ServiceConfig) { s.BaseURL = strings.Replace(s.BaseURL, "C030", "C020", 1) }),
		"en dash":                 base(func(s *anpr.ServiceConfig) { s.BaseURL = "https://x.example/C001–servizio/v1" }),
		"purpose":                 base(func(s *anpr.ServiceConfig) { s.PurposeID = "x" }),
		"client id":               func(c *anpr.ClientConfig) { c.ClientID = "x" },
		"no key":                  func(c *anpr.ClientConfig) { c.Key = jose.Key{} },
		"scheme in audience":      func(c *anpr.ClientConfig) { c.TokenAudience = "https://" + tokenAud },
		"no services":             func(c *anpr.ClientConfig) { c.Services = nil },
		"only C019": func(c *anpr.ClientConfig) {
			c.Services = map[anpr.Service]anpr.ServiceConfig{anpr.C019: c.Services[anpr.C019]}
		},
	} {
		copied := cfg
		copied.Services = map[anpr.Service]anpr.ServiceConfig{}
		for k, v := range cfg.Services {
			copied.Services[k] = v
		}
		edit(&copied)
		if _, err := anpr.NewClient(copied); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestStrictOrderSendsIdsInOrder(t *testing.T) {
	t.Parallel()
	r := newRegister(t) // refuses an id that is not greater than the last
	c := r.client(t, func(cfg *anpr.ClientConfig) { cfg.StrictOrder = true })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.Check(t.Context(), query()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if r.tokens != 5 {
		t.Errorf("%d vouchers for one actor", r.tokens)
	}
}

func TestTheLogOfAFailureNamesNobody(t *testing.T) {
	t.Parallel()
	r := newRegister(t)
	r.answer[anpr.C015] = body(400, `{"title":"InvalidRequestContent","detail":"RSSBNC64T70H501S"}`)
	var buf bytes.Buffer
	c := r.client(t, func(cfg *anpr.ClientConfig) { cfg.Logger = slog.New(slog.NewJSONHandler(&buf, nil)) })
	if _, err := c.Check(t.Context(), query()); err == nil {
		t.Fatal("no error")
	}
	if s := buf.String(); strings.Contains(s, cf) || !strings.Contains(s, `"transaction":"tx-2"`) || strings.Contains(s, "op-7") {
		t.Errorf("log %s", s)
	}
}

func TestNamesAreComparedAsTheRegisterSpellsThem(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		declared, register string
		want               anpr.NameMatch
	}{
		{"Rossi", "ROSSI", anpr.NameSame},
		{" de  luca ", "DE LUCA", anpr.NameSame},
		{"Nicolò", "NICOLO'", anpr.NameTransliterated},
		{"D’Angelo", "D'ANGELO", anpr.NameTransliterated},
		{"Müller", "MUELLER", anpr.NameTransliterated},
		{"Müller", "MULLER", anpr.NameTransliterated},
		{"Sigurðsson", "SIGURDSSON", anpr.NameTransliterated},
		{"Šarić", "SARIC", anpr.NameTransliterated},
		{strings.Repeat("AB", 20), strings.Repeat("AB", 18), anpr.NameTruncated},
		{strings.Repeat("AB", 20), strings.Repeat("AB", 15), anpr.NameDifferent},
		{"Rossi", "BIANCHI", anpr.NameDifferent},
	} {
		if got := anpr.CompareName(tc.declared, tc.register); got != tc.want {
			t.Errorf("%q %q: %s, want %s", tc.declared, tc.register, got, tc.want)
		}
	}
}

func TestEveryFindingHasAnOutcomeAndAnOwner(t *testing.T) {
	t.Parallel()
	if len(anpr.FindingCodes()) != 20 {
		t.Errorf("%d findings", len(anpr.FindingCodes()))
	}
	for _, c := range anpr.FindingCodes() {
		f := anpr.Finding{Code: c}
		if f.Outcome() == anpr.OutcomeClear || f.Owner() == "" {
			t.Errorf("%s", c)
		}
	}
	if (anpr.Finding{Code: "new"}).Outcome() != anpr.OutcomeReview {
		t.Error("an unknown finding must never be clear")
	}
}
