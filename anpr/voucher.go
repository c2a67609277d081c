package anpr

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"airegw/gateway/fault"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

// A PDND voucher is bound to one TrackingEvidence by its digest (AUDIT_REST_02,
// spec §2.6): the two are made together, kept together, dropped together.

const (
	assertionLife = 2 * time.Minute
	signatureLife = 2 * time.Minute
	evidenceLife  = 10 * time.Minute
	// evidenceUse is how long an evidence is sent: GovWay refuses an iat older
	// than five minutes (spec §3.5), whatever the voucher's life.
	evidenceUse = 4 * time.Minute
	// voucherMargin is kept free at the end of a voucher's life for the call.
	voucherMargin = 30 * time.Second
	mostVouchers  = 1024
)

// voucherKey is what a pair may be reused for: the same person at the same
// station at the same level, for the same purpose of the same service.
type voucherKey struct {
	service   Service
	purposeID string
	actor     Actor
	signer    int32 // which of our keys
}

type voucher struct {
	token    string
	id       string      // jti; of an opaque token the beginning of its SHA-256
	signer   int32       // index of the key that signed evidence and assertion
	evidence string      // compact Agid-JWT-TrackingEvidence
	digest   string      // hex SHA-256 of evidence
	until    time.Time   // use no longer
	fit      atomic.Bool // the self-check has read the evidence
}

type voucherSlot struct {
	mu  sync.Mutex // held while a pair is fetched: one fetch per key
	now *voucher
}

type vouchers struct {
	mu    sync.Mutex
	slots map[voucherKey]*voucherSlot
}

// assertionClaims is the client assertion of spec §2.2; no nbf (row 4).
type assertionClaims struct {
	Iss       string       `json:"iss"`
	Sub       string       `json:"sub"`
	Aud       string       `json:"aud"`
	Jti       string       `json:"jti"`
	Iat       int64        `json:"iat"`
	Exp       int64        `json:"exp"`
	PurposeID string       `json:"purposeId"`
	Digest    digestClaims `json:"digest"`
}

type digestClaims struct {
	Alg   string `json:"alg"`
	Value string `json:"value"`
}

// evidenceClaims is the TrackingEvidence of spec §3.4. The names userID,
// userLocation and LoA are case-sensitive.
type evidenceClaims struct {
	Iss          string `json:"iss"`
	Aud          string `json:"aud"`
	Jti          string `json:"jti"`
	Iat          int64  `json:"iat"`
	Exp          int64  `json:"exp"`
	PurposeID    string `json:"purposeId"`
	Dnonce       int64  `json:"dnonce"` // 13 digits
	UserID       string `json:"userID"`
	UserLocation string `json:"userLocation"`
	LoA          string `json:"LoA"`
}

// get gives the pair for key, from the cache or freshly made.
func (c *Client) voucher(ctx context.Context, key voucherKey, cfg ServiceConfig) (*voucher, *RegisterError) {
	slot := c.vouchers.slot(key, c.cfg.Clock())
	slot.mu.Lock()
	defer slot.mu.Unlock()
	if slot.now != nil && c.cfg.Clock().Before(slot.now.until) {
		return slot.now, nil
	}
	slot.now = nil
	v, err := c.newVoucher(ctx, key, cfg)
	if err != nil {
		return nil, err
	}
	slot.now = v
	return v, nil
}

// drop forgets a pair that the register refused, unless another already took
// its place.
func (vs *vouchers) drop(key voucherKey, v *voucher) {
	vs.mu.Lock()
	slot := vs.slots[key]
	vs.mu.Unlock()
	if slot == nil {
		return
	}
	slot.mu.Lock()
	defer slot.mu.Unlock()
	if slot.now == v {
		slot.now = nil
	}
}

func (vs *vouchers) slot(key voucherKey, now time.Time) *voucherSlot {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if s, ok := vs.slots[key]; ok {
		return s
	}
	if vs.slots == nil {
		vs.slots = map[voucherKey]*voucherSlot{}
	}
	if len(vs.slots) >= mostVouchers {
		vs.sweep(now)
	}
	s := &voucherSlot{}
	vs.slots[key] = s
	return s
}

// sweep drops what is spent; if that is not enough, everything that nobody is
// fetching right now. A pair lost this way is only fetched again.
func (vs *vouchers) sweep(now time.Time) {
	for _, all := range []bool{false, true} {
		for k, s := range vs.slots {
			if len(vs.slots) < mostVouchers {
				return
			}
			if !s.mu.TryLock() {
				continue
			}
			if all || s.now == nil || !now.Before(s.now.until) {
				delete(vs.slots, k)
			}
			s.mu.Unlock()
		}
	}
}

func (c *Client) newVoucher(ctx context.Context, key voucherKey, cfg ServiceConfig) (*voucher, *RegisterError) {
	v, err := c.voucherBy(ctx, key, cfg)
	for i := int32(1); err != nil && err.Code == CodeVoucherRefused && int(i) < len(c.keys); i++ {
		// The key may be gone at PDND, or not have arrived: the other one may do.
		other := key
		other.signer = (key.signer + i) % int32(len(c.keys)) //nolint:gosec // two keys at most
		second, refused := c.voucherBy(ctx, other, cfg)
		if refused == nil {
			c.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "the other key is used for PDND", slog.String("kid", c.keys[other.signer].KID()))
			return second, nil
		}
	}
	return v, err
}

// voucherBy gets a voucher with one of our keys.
func (c *Client) voucherBy(ctx context.Context, key voucherKey, cfg ServiceConfig) (*voucher, *RegisterError) {
	now := c.cfg.Clock().UTC().Truncate(time.Second)
	evidence, rerr := c.trackingEvidence(key, cfg, now)
	if rerr != nil {
		return nil, rerr
	}
	sum := sha256.Sum256([]byte(evidence))
	v := &voucher{signer: key.signer, evidence: evidence, digest: hex.EncodeToString(sum[:])}

	resp, err := c.cfg.Token.Do(ctx, outbound.Request{
		Operation: "voucher", Method: http.MethodPost, URL: c.cfg.TokenURL, Idempotent: true,
		Accept: func(int) bool { return true },
		// A new assertion per try: its jti is single use.
		Prepare: func(context.Context, int) (http.Header, []byte, error) {
			assertion, err := c.assertion(c.keys[key.signer], key.purposeID, v.digest)
			if err != nil {
				return nil, nil, err
			}
			form := url.Values{
				"client_id":             {c.cfg.ClientID},
				"client_assertion":      {assertion},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
				"grant_type":            {"client_credentials"},
			}
			return http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}, []byte(form.Encode()), nil
		},
	})
	if err != nil {
		e := transportError(err, c.cfg.Clock)
		if e.Kind == KindTemporary && e.Code != CodeInterrupted && e.Code != CodeBreakerOpen {
			e.Code = CodeVoucherOutage
		}
		return nil, e
	}
	token, life, e := readVoucher(resp.Status, resp.Body)
	if e != nil {
		if e.Code == CodeVoucherQuota {
			e.RetryAt = c.quotaEnd(resp.Header)
			_, advised := advice(resp.Header)
			c.stop(ctx, stopPDND, e, advised)
		}
		e.Status = resp.Status
		return nil, e
	}
	if why := voucherFits(token, key.purposeID, v.digest); why != "" {
		return nil, &RegisterError{Kind: KindConfiguration, Code: CodePreflight, Detail: why}
	}
	v.token, v.id = token, tokenID(token)
	v.until = now.Add(min(life-voucherMargin, evidenceUse))
	return v, nil
}

func (c *Client) trackingEvidence(key voucherKey, cfg ServiceConfig, now time.Time) (string, *RegisterError) {
	nonce, err := c.digits13()
	if err != nil {
		return "", &RegisterError{Kind: KindTemporary, Code: CodeInterrupted, Detail: "random", Err: err}
	}
	jti, err := c.uuid()
	if err != nil {
		return "", &RegisterError{Kind: KindTemporary, Code: CodeInterrupted, Detail: "random", Err: err}
	}
	evidence, err := jose.Sign(c.keys[key.signer], jose.TypeJWT, evidenceClaims{
		Iss: c.cfg.ClientID, Aud: cfg.Audience, Jti: jti, Iat: now.Unix(), Exp: now.Add(evidenceLife).Unix(),
		PurposeID: key.purposeID, Dnonce: nonce,
		UserID: key.actor.User, UserLocation: key.actor.Location, LoA: key.actor.LoA,
	})
	if err != nil {
		return "", &RegisterError{Kind: KindConfiguration, Code: CodePreflight, Detail: "sign", Err: err}
	}
	return evidence, nil
}

func (c *Client) assertion(key jose.Key, purposeID, evidenceDigest string) (string, error) {
	jti, err := c.uuid()
	if err != nil {
		return "", err
	}
	now := c.cfg.Clock().UTC().Truncate(time.Second)
	return jose.Sign(key, jose.TypeJWT, assertionClaims{
		Iss: c.cfg.ClientID, Sub: c.cfg.ClientID, Aud: c.cfg.TokenAudience, Jti: jti,
		Iat: now.Unix(), Exp: now.Add(assertionLife).Unix(), PurposeID: purposeID,
		Digest: digestClaims{Alg: "SHA256", Value: evidenceDigest},
	})
}

// readVoucher reads the token endpoint's answer (spec §2.4, §2.5). The caller
// learns nothing from a 400: it is ours, or an agreement or purpose that is not
// active.
func readVoucher(status int, body []byte) (token string, life time.Duration, _ *RegisterError) {
	switch status {
	case http.StatusOK:
	case http.StatusTooManyRequests:
		return "", 0, &RegisterError{Kind: KindTemporary, Code: CodeVoucherQuota}
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return "", 0, &RegisterError{Kind: KindConfiguration, Code: CodeVoucherRefused, Detail: "check_agreement_purpose_key"}
	default:
		return "", 0, &RegisterError{Kind: KindTemporary, Code: CodeVoucherOutage}
	}
	var answer struct {
		Token   string      `json:"access_token"`
		Type    string      `json:"token_type"`
		Expires json.Number `json:"expires_in"`
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&answer); err != nil || answer.Token == "" {
		return "", 0, &RegisterError{Kind: KindTemporary, Code: CodeVoucherOutage, Detail: "unreadable"}
	}
	seconds, err := answer.Expires.Int64()
	if err != nil || seconds <= 0 || seconds > 24*3600 {
		return "", 0, &RegisterError{Kind: KindTemporary, Code: CodeVoucherOutage, Detail: "expires_in"}
	}
	for _, r := range answer.Token {
		if r <= ' ' || r > '~' {
			return "", 0, &RegisterError{Kind: KindTemporary, Code: CodeVoucherOutage, Detail: "unreadable"}
		}
	}
	if !strings.EqualFold(answer.Type, "Bearer") {
		return "", 0, &RegisterError{Kind: KindConfiguration, Code: CodeVoucherRefused, Detail: "token_type"}
	}
	return answer.Token, time.Duration(seconds) * time.Second, nil
}

// voucherFits checks what the voucher says about itself, when it is readable:
// a voucher for another purpose or evidence would only earn an opaque 400. It
// is the register's to verify, not ours: nothing is trusted here.
func voucherFits(token, purposeID, evidenceDigest string) string {
	var claims struct {
		PurposeID string        `json:"purposeId"`
		Digest    *digestClaims `json:"digest"`
	}
	if _, _, _, err := jose.Peek(token, &claims); err != nil {
		return "" // opaque to us; allowed
	}
	switch {
	case claims.PurposeID != "" && claims.PurposeID != purposeID && !fault.Mutant("anpr.voucher-purpose"):
		return "voucher_purpose"
	case claims.Digest != nil && claims.Digest.Value != evidenceDigest && !fault.Mutant("anpr.voucher-evidence"):
		return "voucher_digest"
	}
	return ""
}

// tokenID is what the daily tracing calls a voucher.
func tokenID(token string) string {
	var claims struct {
		JTI string `json:"jti"`
	}
	if _, _, _, err := jose.Peek(token, &claims); err == nil && claims.JTI != "" && len(claims.JTI) <= 100 && cleanText(claims.JTI) == claims.JTI {
		return claims.JTI
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:16])
}

// bodyDigest is the Digest header (spec §3.2): base64, not hex (row 5).
func bodyDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
}

var errRandom = errors.New("no randomness")
