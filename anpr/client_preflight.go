package anpr

import (
	"encoding/json"
	"net/http"
	"time"

	"airegw/gateway/jose"
)

// expects is what the register wants of everything we sign for a service.
func (c *Client) expects(sc ServiceConfig, key jose.Key, now time.Time) (jose.KeySet, jose.Expect) {
	return jose.NewKeySet(key.Public()), jose.Expect{
		Algs: []jose.Algorithm{jose.RS256}, Typ: []string{jose.TypeJWT}, Now: now, Skew: time.Second,
		Issuer: c.cfg.ClientID, Audience: sc.Audience, MaxAge: 5 * time.Minute, MaxLife: 10 * time.Minute,
	}
}

// preflight reads a finished try as the register would and names the first
// rule it breaks, "" for none. The real gateway answers every such mistake
// with the same 400, whose cause only its staff can read (spec §3.5, §8 row 9).
func (c *Client) preflight(s Service, sc ServiceConfig, key jose.Key, h http.Header, body []byte, now time.Time) string {
	own, expect := c.expects(sc, key, now)
	var req wireRequest
	switch err := json.Unmarshal(body, &req); {
	case err != nil:
		return "body"
	case !allDigits(req.OperationID) || len(req.OperationID) > 30:
		return "operation_id"
	case req.Data.Case != s:
		return "case"
	case s == C030 && req.Criteria.ID != "":
		return "c030_by_id" // idANPR is no criterion of C030 (spec §1.4)
	case !req.Criteria.one():
		return "criteria"
	}
	// Seconds, of this century: milliseconds are the classic (row 4).
	if y := now.Year(); y < 2026 || y > 2099 {
		return "clock"
	}

	var sig signatureClaims
	if _, err := jose.Verify(h.Get("Agid-JWT-Signature"), own, expect, &sig); err != nil {
		return "signature"
	}
	signed := map[string]string{}
	for _, one := range sig.Headers {
		switch {
		case one.Digest != "" && one.ContentType == "":
			signed["Digest"] = one.Digest
		case one.ContentType != "" && one.Digest == "":
			signed["Content-Type"] = one.ContentType
		default:
			return "signed_headers"
		}
	}
	switch {
	case signed["Digest"] != h.Get("Digest"), signed["Content-Type"] != h.Get("Content-Type"):
		return "signed_headers"
	case h.Get("Digest") != bodyDigest(body):
		return "digest"
	}

	return ""
}

// preflightEvidence does the same for the evidence. What it says of a pair holds
// for as long as the pair may be used (evidenceUse is shorter than the ages the
// register takes), so a pair is read once and not at every call.
func (c *Client) preflightEvidence(sc ServiceConfig, key jose.Key, evidence string, now time.Time) string {
	own, expect := c.expects(sc, key, now)
	var ev evidenceClaims
	if _, err := jose.Verify(evidence, own, expect, &ev); err != nil {
		return "evidence"
	}
	switch {
	case ev.PurposeID != sc.PurposeID:
		return "evidence_purpose"
	case ev.UserID == "" || ev.UserLocation == "":
		return "evidence_actor"
	case len(ev.LoA) == 0 || len(ev.LoA) > 20:
		return "evidence_loa"
	case ev.Dnonce < 1_000_000_000_000 || ev.Dnonce > 9_999_999_999_999:
		return "evidence_dnonce"
	}
	return ""
}
