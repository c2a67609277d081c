package issuance_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"

	"airegw/gateway/issuance"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const key1 = "R7K2M9QX4T.1"

var pair = sync.OnceValue(func() [3]jose.Key {
	var out [3]jose.Key
	for i := range out {
		k, err := jose.GenerateKey(jose.ES256)
		if err != nil {
			panic(err)
		}
		out[i] = k
	}
	return out
})

// core answers as the contract says, signed with go-jose, and lets a test
// spoil the claims, the header or the whole answer.
type core struct {
	t      *testing.T
	url    string
	mu     sync.Mutex
	bodies []string // canonical enough: as sent
	jtis   map[string]bool
	keys   []string // Idempotency-Key headers

	status int
	typ    string
	body   func(sent map[string]any) any
	claims func(map[string]any)
	signer jose.Key
	raw    func(w http.ResponseWriter, signed string) bool
}

func newCore(t *testing.T) *core {
	t.Helper()
	c := &core{t: t, status: 200, signer: pair()[1], jtis: map[string]bool{}}
	s := httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

func (c *core) client(t *testing.T) *issuance.Client {
	t.Helper()
	out, err := outbound.New(outbound.Config{
		Peer: "core", Deadline: 5 * time.Second, MaxBody: 1 << 20, Tries: 2, BackoffMin: 1, BackoffMax: 2,
		Clock: func() time.Time { return now }, Rand: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	cl, err := issuance.New(config(c.url, out))
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func config(url string, out *outbound.Client) issuance.Config {
	return issuance.Config{
		BaseURL: url, CoreID: "core", ClientID: "gateway", Key: pair()[0], CoreKeys: jose.NewKeySet(pair()[1].Public()),
		Out: out, Clock: func() time.Time { return now }, Rand: rand.Reader,
	}
}

func (c *core) sign(typ string, claims map[string]any) string {
	signer, err := gojose.NewSigner(gojose.SigningKey{Algorithm: gojose.ES256, Key: gojose.JSONWebKey{Key: c.signer.Signer(), KeyID: c.signer.KID()}},
		(&gojose.SignerOptions{}).WithType(gojose.ContentType(typ)))
	if err != nil {
		c.t.Error(err)
		return ""
	}
	payload, _ := json.Marshal(claims)
	sig, err := signer.Sign(payload)
	if err != nil {
		c.t.Error(err)
		return ""
	}
	s, _ := sig.CompactSerialize()
	return s
}

func (c *core) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sent struct {
		Iss, Aud, Jti string
		Iat, Exp      int64
		Body          map[string]any
	}
	req := r.URL.RequestURI()
	if r.Method == http.MethodPost {
		text, _ := io.ReadAll(r.Body)
		sig, err := gojose.ParseSignedCompact(string(text), []gojose.SignatureAlgorithm{gojose.ES256})
		if err != nil {
			c.t.Error(err)
			return
		}
		payload, err := sig.Verify(pair()[0].Public().Raw())
		if err != nil || json.Unmarshal(payload, &sent) != nil || sent.Iss != "gateway" || sent.Aud != "core" || sent.Exp-sent.Iat > 300 ||
			r.Header.Get("Content-Type") != "application/jose" || c.jtis[sent.Jti] || len(sent.Jti) < 16 {
			c.t.Errorf("bad message: %v %+v", err, sent)
		}
		c.jtis[sent.Jti] = true
		c.bodies = append(c.bodies, string(payload))
		c.keys = append(c.keys, r.Header.Get("Idempotency-Key"))
		req = sent.Jti
	}
	var body any
	if c.body != nil {
		body = c.body(sent.Body)
	}
	claims := map[string]any{"iss": "core", "aud": "gateway", "iat": now.Unix(), "exp": now.Unix() + 300, "jti": "0123456789abcdef", "req": req, "body": body}
	if c.claims != nil {
		c.claims(claims)
	}
	signed := c.sign(c.typ, claims)
	if c.raw != nil && c.raw(w, signed) {
		return
	}
	w.Header().Set("Content-Type", "application/jose")
	w.WriteHeader(c.status)
	_, _ = io.WriteString(w, signed)
}

func order() issuance.PrepareOrder {
	return issuance.PrepareOrder{
		OrderKey: key1, Channel: "comune", Office: issuance.Office{Kind: "comune", Code: "058091", Name: "Roma"},
		Actor: issuance.Actor{Operator: "OP-0007", Station: "RM-0001"},
		Applicant: issuance.Applicant{
			FiscalCode: "RSSBNC64T70H501S", IDANPR: "AB12345CD", Surname: "ROSSI", GivenName: "BIANCA", Sex: "F", BirthDate: "1964-12-30",
			BirthPlace: issuance.BirthPlace{Country: "IT", ComuneISTAT: "058091", Name: "Roma"}, Citizenship: "ITA",
			Residence: issuance.Address{Street: "Avenida 18 de Julio", Number: "1234", Postcode: "11100", Place: "Montevideo", Country: "UY"},
			AIRE:      &issuance.AIRE{ComuneISTAT: "058091", PostCode: "2830100"},
		},
		Reason: "expiry", Expiry: "2036-12-30", PrintNote: "none",
		Captures: issuance.Captures{
			PhotoRef: "capture:photo:0001", SignatureRef: "capture:signature:0001",
			FingerprintRefs: []issuance.Fingerprint{
				{Hand: "left", Finger: "index", Quality: 81, Ref: "capture:print:0001-l"},
				{Hand: "right", Finger: "index", Quality: 86, Ref: "capture:print:0001-r"},
			},
		},
		Delivery: issuance.Delivery{
			Kind:    issuance.DeliverAbroad,
			Address: &issuance.Address{Street: "Avenida 18 de Julio", Number: "1234", Postcode: "11100", Place: "Montevideo", Country: "UY"},
		},
		Contacts: issuance.Contacts{Email: "bianca.rossi@example.org"},
	}
}

func submission() issuance.Submission {
	d := "sha-256:" + strings.Repeat("0", 64)
	return issuance.Submission{
		OrderKey: key1, NUN: "CA00000AA", PrepareDigest: d,
		Form:          issuance.Form{Serial: "F-0001", SignedAt: issuance.At(now), Signature: "handwritten"},
		Fee:           issuance.Fee{Status: "paid", AmountCents: 2200, Currency: "EUR"},
		RegisterCheck: issuance.RegisterCheck{OperationID: "9001", CheckedAt: issuance.At(now), AnswerDigest: d},
		Decision:      issuance.Decision{RulesDigest: d, FactsDigest: d, DecidedAt: issuance.At(now)},
		Actor:         issuance.Actor{Operator: "OP-0007", Station: "RM-0001"},
	}
}

func receipt(sent map[string]any) any {
	d, _ := issuance.Digest(sent)
	return map[string]any{"receipt_id": "CR-00000001", "order_key": key1, "nun": "CA00000AA", "accepted_at": "2026-11-21T12:00:00Z", "submission_digest": d}
}

func prepared(sent map[string]any) any {
	d, _ := issuance.Digest(sent)
	return map[string]any{"order_key": key1, "nun": "CA00000AA", "prepared_at": "2026-11-21T12:00:00.5Z", "prepare_digest": d, "pin_first_half": "0042", "puk_first_half": "7001"}
}

func problemError(t *testing.T, err error) *issuance.Error {
	t.Helper()
	var e *issuance.Error
	if !errors.As(err, &e) {
		t.Fatalf("not an *issuance.Error: %v", err)
	}
	return e
}

func TestTheDigestIsThatOfTheContractsVector(t *testing.T) {
	t.Parallel()
	got, err := issuance.Digest(map[string]any{"b": 1, "a": "è"})
	if err != nil || got != "sha-256:8395494206df59820a0b31df59025a34ee96b7b468c8aebb5ca3acef969d0f32" {
		t.Errorf("%s %v", got, err)
	}
	if _, err := issuance.Digest(map[string]any{"a": 1.5}); err == nil {
		t.Error("a fraction has no canonical form in the contract")
	}
	if _, err := issuance.Digest(map[string]any{"a": nil}); err == nil {
		t.Error("null is not a value of the contract")
	}
}

func TestAPreparedOrderBringsNumberAndHalvesThatNoLogShows(t *testing.T) {
	t.Parallel()
	c := newCore(t)
	c.typ, c.body = "core-prepared+jwt", prepared
	p, err := c.client(t).Prepare(t.Context(), order())
	if err != nil {
		t.Fatal(err)
	}
	if p.NUN != "CA00000AA" || string(p.PINFirstHalf) != "0042" || string(p.PUKFirstHalf) != "7001" || !p.PreparedAt.Time().Equal(now.Add(500*time.Millisecond)) {
		t.Errorf("%v", p)
	}
	if c.keys[0] != key1 || !strings.Contains(c.bodies[0], `"parents":[]`) {
		t.Errorf("key %q body %s", c.keys[0], c.bodies[0])
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "p", p, "half", p.PINFirstHalf)
	data, _ := json.Marshal(p)
	for _, text := range []string{shown(p), log.String(), string(data)} {
		if strings.Contains(text, "0042") || strings.Contains(text, "7001") || strings.Contains(text, "30303432") {
			t.Errorf("a half shows in %s", text)
		}
	}
}

func shown(v any) string {
	out := ""
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out += fmt.Sprintf(verb, v) + " "
	}
	return out
}

func TestOnlyTheExactAnswerIsAReceipt(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	spoil := func(k string, v any) func(m) { return func(c m) { c[k] = v } }
	inBody := func(k string, v any) func(m) any {
		return func(sent m) any {
			b := receipt(sent).(m)
			if v == nil {
				delete(b, k)
			} else {
				b[k] = v
			}
			return b
		}
	}
	answer := func(status int, ct, text string) func(http.ResponseWriter, string) bool {
		return func(w http.ResponseWriter, signed string) bool {
			w.Header().Set("Content-Type", ct)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, strings.ReplaceAll(text, "SIGNED", signed))
			return true
		}
	}
	for name, tc := range map[string]struct {
		edit func(*core)
		code string // "" = accepted
	}{
		"as promised":              {func(*core) {}, ""},
		"parameters of media type": {func(c *core) { c.raw = answer(200, "application/jose; charset=utf-8", "SIGNED") }, ""},
		"other key, same kid set":  {func(c *core) { c.signer = pair()[2] }, "unclear_signature"},
		"our own key":              {func(c *core) { c.signer = pair()[0] }, "unclear_signature"},
		"another type":             {func(c *core) { c.typ = "core-prepared+jwt" }, "unclear_signature"},
		"answer to another jti":    {func(c *core) { c.claims = spoil("req", "ffffffffffffffffffff") }, "unclear_not_ours"},
		"no req":                   {func(c *core) { c.claims = func(c m) { delete(c, "req") } }, "unclear_not_ours"},
		"another issuer":           {func(c *core) { c.claims = spoil("iss", "evil") }, "unclear_signature"},
		"for another gateway":      {func(c *core) { c.claims = spoil("aud", "other") }, "unclear_signature"},
		"audience list":            {func(c *core) { c.claims = spoil("aud", []string{"gateway"}) }, "unclear_signature"},
		"expired":                  {func(c *core) { c.claims = spoil("exp", now.Unix()-61) }, "unclear_signature"},
		"from the future":          {func(c *core) { c.claims = spoil("iat", now.Unix()+61) }, "unclear_signature"},
		"lives too long":           {func(c *core) { c.claims = spoil("exp", now.Unix()+301) }, "unclear_signature"},
		"no jti":                   {func(c *core) { c.claims = func(c m) { delete(c, "jti") } }, "unclear_signature"},
		"unknown claim":            {func(c *core) { c.claims = spoil("more", 1) }, "unclear_signature"},
		"no body":                  {func(c *core) { c.claims = spoil("body", nil) }, "unclear_signature"},
		"unknown member":           {func(c *core) { c.body = inBody("more", "x") }, "unclear_body"},
		"no receipt id":            {func(c *core) { c.body = inBody("receipt_id", nil) }, "unclear_body"},
		"no time":                  {func(c *core) { c.body = inBody("accepted_at", nil) }, "unclear_body"},
		"time with offset":         {func(c *core) { c.body = inBody("accepted_at", "2026-11-21T12:00:00+01:00") }, "unclear_body"},
		"another order":            {func(c *core) { c.body = inBody("order_key", "R7K2M9QX4T.2") }, "unclear_not_ours"},
		"another number":           {func(c *core) { c.body = inBody("nun", "CA00000AB") }, "unclear_not_ours"},
		"digest of another body":   {func(c *core) { c.body = inBody("submission_digest", "sha-256:"+strings.Repeat("1", 64)) }, "unclear_digest"},
		"html":                     {func(c *core) { c.raw = answer(200, "text/html", "<html>ok</html>") }, "unclear_media_type"},
		"html called jose":         {func(c *core) { c.raw = answer(200, "application/jose", "<html>ok</html>") }, "unclear_signature"},
		"empty":                    {func(c *core) { c.raw = answer(200, "application/jose", "") }, "unclear_signature"},
		"cut in the signature": {func(c *core) {
			c.raw = func(w http.ResponseWriter, s string) bool { return answer(200, "application/jose", s[:len(s)-9])(w, s) }
		}, "unclear_signature"},
		"receipt with 201": {func(c *core) { c.status = 201 }, "unclear_status"},
		"receipt with 202": {func(c *core) { c.status = 202 }, "unclear_status"},
		"204":              {func(c *core) { c.raw = func(w http.ResponseWriter, _ string) bool { w.WriteHeader(204); return true } }, "unclear_status"},
		"redirect":         {func(c *core) { c.raw = func(w http.ResponseWriter, _ string) bool { w.WriteHeader(307); return true } }, "unclear_transport"},
		"503":              {func(c *core) { c.raw = answer(503, "application/problem+json", `{"code":"unavailable"}`) }, "unclear_status"},
		"cut body": {func(c *core) {
			c.raw = func(w http.ResponseWriter, s string) bool {
				w.Header().Set("Content-Length", fmt.Sprint(len(s)))
				w.Header().Set("Content-Type", "application/jose")
				_, _ = io.WriteString(w, s[:20])
				return true
			}
		}, "unclear_transport"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCore(t)
			c.typ, c.body = "core-receipt+jwt", receipt
			tc.edit(c)
			r, err := c.client(t).Submit(t.Context(), submission())
			if tc.code == "" {
				if err != nil || r.ReceiptID != "CR-00000001" {
					t.Fatal(r, err)
				}
				return
			}
			e := problemError(t, err)
			if e.Kind != issuance.KindUnclear || e.Code != tc.code || r != (issuance.Receipt{}) {
				t.Errorf("%+v, want %s", e, tc.code)
			}
			if len(c.bodies) != 1 {
				t.Errorf("submitted %d times without looking up", len(c.bodies))
			}
		})
	}
}

func TestOnlyASignedRefusalIsAVerdict(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status   int
		code     string
		order    string
		unsigned bool
		says     int // status inside; 0 = same
		typ      string
		kind     issuance.Kind
	}{
		"unknown order":          {status: 404, code: "order_unknown", kind: issuance.KindUnknownOrder},
		"other body before":      {status: 409, code: "submission_differs", kind: issuance.KindConflict},
		"key reused":             {status: 409, code: "order_key_reused", kind: issuance.KindConflict},
		"change key reused":      {status: 409, code: "change_key_reused", kind: issuance.KindConflict},
		"forms not confirmed":    {status: 409, code: "forms_not_confirmed", kind: issuance.KindRefused},
		"order closed":           {status: 409, code: "order_closed", kind: issuance.KindRefused},
		"photo missing":          {status: 422, code: "photo_missing", kind: issuance.KindRefused},
		"code of the future":     {status: 422, code: "brand_new", kind: issuance.KindRefused},
		"unsigned 404":           {status: 404, code: "order_unknown", unsigned: true, kind: issuance.KindUnclear},
		"unsigned 409":           {status: 409, code: "submission_differs", unsigned: true, kind: issuance.KindUnclear},
		"unsigned 401":           {status: 401, code: "unauthenticated", unsigned: true, kind: issuance.KindUnclear},
		"signed 400":             {status: 400, code: "malformed", kind: issuance.KindUnclear},
		"signed 500":             {status: 500, code: "order_closed", kind: issuance.KindUnclear},
		"about another order":    {status: 409, code: "order_closed", order: "OTHER.1", kind: issuance.KindUnclear},
		"status inside differs":  {status: 404, code: "order_unknown", says: 409, kind: issuance.KindUnclear},
		"a receipt as a refusal": {status: 409, code: "order_closed", typ: "core-receipt+jwt", kind: issuance.KindUnclear},
		"no code":                {status: 409, code: "", kind: issuance.KindUnclear},
		"429 says nothing":       {status: 429, code: "too_many", unsigned: true, kind: issuance.KindUnclear},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCore(t)
			says := tc.says
			if says == 0 {
				says = tc.status
			}
			p := map[string]any{"type": "about:blank", "title": "t", "status": says, "code": tc.code, "errors": []any{map[string]any{"field": "a.b", "code": "bad"}}}
			if tc.order != "" {
				p["order_key"] = tc.order
			}
			c.status, c.typ, c.body = tc.status, "core-problem+jwt", func(map[string]any) any { return p }
			if tc.typ != "" {
				c.typ = tc.typ
			}
			if tc.unsigned {
				c.raw = func(w http.ResponseWriter, _ string) bool {
					w.Header().Set("Content-Type", "application/problem+json")
					w.Header().Set("Retry-After", "7")
					w.WriteHeader(tc.status)
					_ = json.NewEncoder(w).Encode(p)
					return true
				}
			}
			_, err := c.client(t).Submit(t.Context(), submission())
			e := problemError(t, err)
			if e.Kind != tc.kind || e.Status != tc.status || e.OrderKey != key1 {
				t.Errorf("%+v, want %s", e, tc.kind)
			}
			switch {
			case tc.unsigned && (e.Hint != tc.code || e.RetryAfter != 7*time.Second || len(e.Fields) != 0):
				t.Errorf("hint %+v", e)
			case tc.kind != issuance.KindUnclear && (e.Code != tc.code || len(e.Fields) != 1 || e.Fields[0].Field != "a.b"):
				t.Errorf("verdict %+v", e)
			}
		})
	}
}

func TestPrepareIsRepeatedWithANewMessageAndSubmitIsNot(t *testing.T) {
	t.Parallel()
	c := newCore(t)
	c.typ, c.body = "core-prepared+jwt", prepared
	c.raw = func(w http.ResponseWriter, _ string) bool {
		if len(c.bodies) == 1 {
			w.WriteHeader(502)
			return true
		}
		return false
	}
	if _, err := c.client(t).Prepare(t.Context(), order()); err != nil || len(c.bodies) != 2 {
		t.Errorf("%v after %d", err, len(c.bodies))
	}
}

func TestNobodyListeningIsNotSentRatherThanUnclear(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	url := s.URL
	s.Close()
	out, err := outbound.New(outbound.Config{Peer: "core", Deadline: time.Second, MaxBody: 1, Clock: func() time.Time { return now }, Rand: func() float64 { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	cl, err := issuance.New(config(url, out))
	if err != nil {
		t.Fatal(err)
	}
	_, err = cl.Submit(t.Context(), submission())
	if e := problemError(t, err); e.Kind != issuance.KindNotSent {
		t.Errorf("%+v", e)
	}
}

func TestABodyTheContractWouldNotTakeIsNotSent(t *testing.T) {
	t.Parallel()
	c := newCore(t)
	cl := c.client(t)
	for name, tc := range map[string]struct {
		edit func(*issuance.PrepareOrder)
		code string
	}{
		"decomposed":     {func(o *issuance.PrepareOrder) { o.Applicant.Surname = "NICOLO\u0300" }, "invalid_text"},
		"control":        {func(o *issuance.PrepareOrder) { o.Applicant.Surname = "A\nB" }, "invalid_text"},
		"line separator": {func(o *issuance.PrepareOrder) { o.Applicant.Surname = "A\u2028B" }, "invalid_text"},
		"invalid UTF-8":  {func(o *issuance.PrepareOrder) { o.Applicant.Surname = "A\xffB" }, "invalid_text"},
		"key":            {func(o *issuance.PrepareOrder) { o.OrderKey = "R7K2M9QX4T.0" }, "invalid_key"},
		"key with slash": {func(o *issuance.PrepareOrder) { o.OrderKey = "../x.1" }, "invalid_key"},
		"missing instant": {func(o *issuance.PrepareOrder) {
			o.Parents = []issuance.Parent{{AssentAt: issuance.At(time.Time{})}}
			o.Contacts.Email = strings.Repeat("x", 200<<10)
		}, "invalid_too_large"},
	} {
		o := order()
		tc.edit(&o)
		_, err := cl.Prepare(t.Context(), o)
		if e := problemError(t, err); e.Kind != issuance.KindInvalid || e.Code != tc.code {
			t.Errorf("%s: %+v", name, e)
		}
	}
	s := submission()
	s.Form.SignedAt = issuance.Instant{}
	if e := problemError(t, second(cl.Submit(t.Context(), s))); e.Kind != issuance.KindInvalid {
		t.Errorf("missing instant: %+v", e)
	}
	if e := problemError(t, second(cl.Cancel(t.Context(), issuance.Cancellation{OrderKey: key1, ChangeKey: "short"}))); e.Field != "change_key" {
		t.Errorf("change key: %+v", e)
	}
	if e := problemError(t, second(cl.Feed(t.Context(), "a b", 0))); e.Kind != issuance.KindInvalid {
		t.Errorf("cursor: %+v", e)
	}
	if len(c.bodies) != 0 {
		t.Error("sent all the same")
	}
}

func second[A any](_ A, err error) error { return err }

func event(seq int) map[string]any {
	return map[string]any{
		"event_id": fmt.Sprintf("%s.%d", key1, seq), "order_key": key1, "nun": "CA00000AA", "generation": 1, "seq": seq,
		"type": "shipped", "at": "2026-11-21T12:00:00Z", "details": map[string]any{"carrier": "Poste", "tracking": "RR000000003IT"},
	}
}

func TestTheFeedIsBoundToItsQuestion(t *testing.T) {
	t.Parallel()
	c := newCore(t)
	c.typ = "core-feed+jwt"
	c.body = func(map[string]any) any {
		return map[string]any{"events": []any{event(1), event(2)}, "next": "abc", "more": true}
	}
	cl := c.client(t)
	p, err := cl.Feed(t.Context(), "cur-1", 2)
	if err != nil || len(p.Events) != 2 || p.Next != "abc" || !p.More || p.Events[1].Details.Tracking != "RR000000003IT" {
		t.Fatal(p, err)
	}
	c.claims = func(m map[string]any) { m["req"] = "/v1/events?after=other&limit=2" }
	if e := problemError(t, second(cl.Feed(t.Context(), "cur-1", 2))); e.Code != "unclear_not_ours" {
		t.Errorf("%+v", e)
	}
	c.claims = nil
	c.body = func(map[string]any) any {
		bad := event(1)
		bad["type"] = "teleported"
		return map[string]any{"events": []any{bad}, "next": "abc", "more": false}
	}
	if e := problemError(t, second(cl.Feed(t.Context(), "", 0))); e.Code != "unclear_body" {
		t.Errorf("%+v", e)
	}
}

func TestAPushedEventIsBelievedOnlyWhenTheCoreSignedItForUs(t *testing.T) {
	t.Parallel()
	c := newCore(t)
	cl := c.client(t)
	push := func(edit func(claims, body map[string]any)) string {
		b := event(3)
		m := map[string]any{"iss": "core", "aud": "gateway", "iat": now.Unix(), "exp": now.Unix() + 60, "jti": "0123456789abcdef", "body": b}
		if edit != nil {
			edit(m, b)
		}
		return c.sign("core-event+jwt", m)
	}
	e, err := cl.VerifyEvent(push(nil))
	if err != nil || e.Seq != 3 || e.Type != issuance.EventShipped {
		t.Fatal(e, err)
	}
	for name, tok := range map[string]string{
		"an answer, not an event":  push(func(c, _ map[string]any) { c["req"] = "x" }),
		"another audience":         push(func(c, _ map[string]any) { c["aud"] = "x" }),
		"expired":                  push(func(c, _ map[string]any) { c["exp"] = now.Unix() - 100 }),
		"generation differs":       push(func(_, b map[string]any) { b["generation"] = 2 }),
		"seq 0":                    push(func(_, b map[string]any) { b["seq"] = 0 }),
		"unknown type":             push(func(_, b map[string]any) { b["type"] = "x" }),
		"shipped without tracking": push(func(_, b map[string]any) { b["details"] = map[string]any{} }),
		"null":                     push(func(_, b map[string]any) { b["details"] = nil }),
		"another typ":              c.sign("core-order+jwt", map[string]any{"iss": "core", "aud": "gateway", "iat": now.Unix(), "exp": now.Unix() + 60, "jti": "0123456789abcdef", "body": event(3)}),
		"garbage":                  "a.b.c",
		"huge":                     strings.Repeat("a", issuance.MaxEvent+1),
	} {
		if _, err := cl.VerifyEvent(tok); issuance.KindOf(err) != issuance.KindMessageRefused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorsShowNoPersonalData(t *testing.T) {
	t.Parallel()
	c := newCore(t)
	c.typ = "core-prepared+jwt"
	c.body = func(sent map[string]any) any {
		b := prepared(sent).(map[string]any)
		b["ROSSI"] = "RSSBNC64T70H501S"
		return b
	}
	_, err := c.client(t).Prepare(t.Context(), order())
	if err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, err), "ROSSI") || strings.Contains(err.Error(), "0042") {
		t.Errorf("%v", err)
	}
}

func TestTheContractFileNamesEveryTypeAndCodeTheClientKnows(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("core.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{
		"airegw-prepare+jwt", "core-prepared+jwt", "airegw-forms-confirmed+jwt", "core-forms-confirmed+jwt", "airegw-submission+jwt", "core-receipt+jwt",
		"core-order+jwt", "airegw-delivery-change+jwt", "airegw-cancellation+jwt", "core-outcome+jwt", "core-event+jwt", "core-feed+jwt", "core-problem+jwt",
		"order_unknown", "order_key_reused", "submission_differs", "change_key_reused",
	}, issuance.EventCertified, issuance.EventDelivered, issuance.EventHeldAtPost) {
		if !strings.Contains(string(text), name) {
			t.Errorf("the contract does not know %s", name)
		}
	}
}

func FuzzVerifyEvent(f *testing.F) {
	out, err := outbound.New(outbound.Config{Peer: "core", Deadline: time.Second, MaxBody: 1, Clock: func() time.Time { return now }, Rand: func() float64 { return 0 }})
	if err != nil {
		f.Fatal(err)
	}
	cl, err := issuance.New(config("https://core.example.org", out))
	if err != nil {
		f.Fatal(err)
	}
	good, err := jose.Sign(pair()[1], "core-event+jwt", struct {
		Iss  string         `json:"iss"`
		Aud  string         `json:"aud"`
		Iat  int64          `json:"iat"`
		Exp  int64          `json:"exp"`
		Jti  string         `json:"jti"`
		Body map[string]any `json:"body"`
	}{"core", "gateway", now.Unix(), now.Unix() + 60, "0123456789abcdef", event(1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, s string) {
		e, err := cl.VerifyEvent(s)
		if err == nil && e.OrderKey != key1 {
			t.Fatal("forged")
		}
		if err != nil && issuance.KindOf(err) != issuance.KindMessageRefused {
			t.Fatal(err)
		}
	})
}
