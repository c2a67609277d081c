package anpr

import (
	"encoding/json"
	"net/http"
	"time"

	"airegw/gateway/jose"
)

// preflight reads a finished try as the register would and names the first
// rule it breaks, "" for none. The real gateway answers every such mistake
// with the same 400, whose cause only its staff can read (spec §3.5, §8 row 9).
func (c *Client) preflight(s Service, sc ServiceConfig, key jose.Key, h http.Header, body []byte, now time.Time) string {
	own := jose.NewKeySet(key.Public())
	expect := jose.Expect{
		Algs: []jose.Algorithm{jose.RS256}, Typ: []string{jose.TypeJWT}, Now: now, Skew: time.Second,
		Issuer: c.cfg.ClientID, Audience: sc.Audience,
	}

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
	expect.MaxAge, expect.MaxLife = 5*time.Minute, 10*time.Minute
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

	var ev evidenceClaims
	if _, err := jose.Verify(h.Get("Agid-JWT-TrackingEvidence"), own, expect, &ev); err != nil {
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
