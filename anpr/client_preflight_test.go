package anpr

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"airegw/gateway/jose"
)

// Each rule of the self-check is broken alone; the register would answer all
// of them with the same 400 (spec §3.5, §8 rows 1 to 5).
func TestThePreflightNamesTheRuleThatIsBroken(t *testing.T) {
	t.Parallel()
	key, err := jose.GenerateKey(jose.RS256)
	if err != nil {
		t.Fatal(err)
	}
	other, err := jose.GenerateKey(jose.RS256)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	const id, aud, purpose = "6f1d7c1e-2b1f-4a57-9a3e-0a5b6c7d8e9f", "https://register.example/C015-x/v1", "00000000-0000-4000-8000-000000000001"
	c := &Client{cfg: ClientConfig{ClientID: id, Key: key, Rand: rand.Reader, Clock: func() time.Time { return now }}}

	type try struct {
		now  time.Time
		req  wireRequest
		sig  signatureClaims
		ev   evidenceClaims
		head func(http.Header)
		key  jose.Key
	}
	for name, tc := range map[string]struct {
		edit func(*try)
		rule string
	}{
		"good":                     {func(*try) {}, ""},
		"operation id with dashes": {func(x *try) { x.req.OperationID = "a-b" }, "operation_id"},
		"operation id too long":    {func(x *try) { x.req.OperationID = strings.Repeat("1", 31) }, "operation_id"},
		"case of another service":  {func(x *try) { x.req.Data.Case = C020 }, "case"},
		"two criteria":             {func(x *try) { x.req.Criteria.CF = "X" }, "criteria"},
		"no criteria":              {func(x *try) { x.req.Criteria = criteria{} }, "criteria"},
		"a clock of 1970":          {func(x *try) { x.now = time.Unix(100, 0) }, "clock"},
		"milliseconds":             {func(x *try) { x.sig.Iat, x.sig.Exp = now.UnixMilli(), now.UnixMilli()+1000 }, "signature"},
		"signature for another":    {func(x *try) { x.sig.Aud = "https://register.example/C020-x/v1" }, "signature"},
		"signature expired":        {func(x *try) { x.sig.Exp = now.Unix() - 10 }, "signature"},
		"signed by another key":    {func(x *try) { x.key = other }, "signature"},
		"digest not signed":        {func(x *try) { x.sig.Headers = x.sig.Headers[1:] }, "signed_headers"},
		"content type not signed":  {func(x *try) { x.sig.Headers = x.sig.Headers[:1] }, "signed_headers"},
		"headers in one object":    {func(x *try) { x.sig.Headers = []signedHeader{{Digest: "d", ContentType: contentType}} }, "signed_headers"},
		"charset added":            {func(x *try) { x.head = func(h http.Header) { h.Set("Content-Type", contentType+";charset=UTF-8") } }, "signed_headers"},
		"digest header changed":    {func(x *try) { x.head = func(h http.Header) { h.Set("Digest", "SHA-256=00") } }, "signed_headers"},
		"digest of another body": {func(x *try) {
			x.sig.Headers[0].Digest = bodyDigest([]byte("x"))
			x.head = func(h http.Header) { h.Set("Digest", bodyDigest([]byte("x"))) }
		}, "digest"},
		"no evidence":          {func(x *try) { x.head = func(h http.Header) { h.Del("Agid-JWT-TrackingEvidence") } }, "evidence"},
		"evidence for another": {func(x *try) { x.ev.Aud = "auth.example/client-assertion" }, "evidence"},
		"stale evidence":       {func(x *try) { x.ev.Iat = now.Add(-6 * time.Minute).Unix() }, "evidence"},
		"other purpose":        {func(x *try) { x.ev.PurposeID = id }, "evidence_purpose"},
		"no user":              {func(x *try) { x.ev.UserID = "" }, "evidence_actor"},
		"no location":          {func(x *try) { x.ev.UserLocation = "" }, "evidence_actor"},
		"long level":           {func(x *try) { x.ev.LoA = strings.Repeat("x", 21) }, "evidence_loa"},
		"short nonce":          {func(x *try) { x.ev.Dnonce = 7 }, "evidence_dnonce"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := try{now: now, key: key}
			x.req = wireRequest{OperationID: "202611211200001", Criteria: criteria{ID: "AB12345CD"}, Data: requestData{AsOf: "2026-11-21", Reason: "r", Case: C015}}
			x.sig = signatureClaims{Iss: id, Sub: id, Aud: aud, Jti: id, Iat: now.Unix(), Exp: now.Unix() + 60, Headers: []signedHeader{{Digest: "?"}, {ContentType: contentType}}}
			x.ev = evidenceClaims{
				Iss: id, Aud: aud, Jti: id, Iat: now.Unix(), Exp: now.Unix() + 60, PurposeID: purpose, Dnonce: 1234567890123,
				UserID: "u", UserLocation: "l", LoA: "3",
			}
			tc.edit(&x)
			body, err := json.Marshal(x.req)
			if err != nil {
				t.Fatal(err)
			}
			if len(x.sig.Headers) > 0 && x.sig.Headers[0].Digest == "?" {
				x.sig.Headers[0].Digest = bodyDigest(body)
			}
			sign := func(claims any) string {
				s, err := jose.Sign(x.key, jose.TypeJWT, claims)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			h := http.Header{}
			h.Set("Content-Type", contentType)
			h.Set("Digest", bodyDigest(body))
			h.Set("Agid-JWT-Signature", sign(x.sig))
			h.Set("Agid-JWT-TrackingEvidence", sign(x.ev))
			if x.head != nil {
				x.head(h)
			}
			sc := ServiceConfig{Audience: aud, PurposeID: purpose}
			rule := c.preflight(C015, sc, c.cfg.Key, h, body, x.now)
			if rule == "" {
				rule = c.preflightEvidence(sc, c.cfg.Key, h.Get("Agid-JWT-TrackingEvidence"), x.now)
			}
			if rule != tc.rule {
				t.Errorf("named %q, want %q", rule, tc.rule)
			}
		})
	}
	body := []byte(`{"idOperazioneClient":"1","criteriRicerca":{"idANPR":"AB12345CD"},"datiRichiesta":{"casoUso":"C030"}}`)
	if rule := c.preflight(C030, ServiceConfig{Audience: aud}, c.cfg.Key, http.Header{}, body, now); rule != "c030_by_id" {
		t.Errorf("C030 by id: %q", rule)
	}
}

func TestTheNonceHasThirteenDigits(t *testing.T) {
	t.Parallel()
	c := &Client{cfg: ClientConfig{Rand: rand.Reader}}
	for range 1000 {
		n, err := c.digits13()
		if err != nil || n < 1_000_000_000_000 || n > 9_999_999_999_999 {
			t.Fatal(n, err)
		}
	}
}

func TestTheVoucherCacheStaysBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var vs vouchers
	for i := range 3 * mostVouchers {
		s := vs.slot(voucherKey{service: C015, actor: Actor{User: strings.Repeat("u", i%97) + string(rune('A'+i%1000)), Location: time.Duration(i).String()}}, now)
		s.now = &voucher{until: now.Add(time.Minute)}
	}
	if len(vs.slots) > mostVouchers {
		t.Errorf("%d vouchers kept", len(vs.slots))
	}
}
