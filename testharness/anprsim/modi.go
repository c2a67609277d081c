package anprsim

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// What the provider's gateway checks before ANPR is reached
// (specs/anpr-pdnd-modi.md §3.5), with GovWay's defaults.
const (
	iatMaxAge  = 5 * time.Minute
	iatFuture  = 5 * time.Second
	maxLoA     = 20
	traceShape = `^[0-9]{13}$`
)

var dnonceShape = regexp.MustCompile(traceShape)

// cause is the true cause of a refusal of the gateway: the title on the wire,
// our code and what to mend.
type cause struct{ title, code, detail string }

func interop(code, detail string) *cause {
	return &cause{"InteroperabilityInvalidRequest", code, detail}
}

// voucherOf reads and checks the voucher of the Authorization header.
func (s *Server) voucherOf(h http.Header, now time.Time) (compact, *cause) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return compact{}, &cause{"TokenAuthenticationRequired", "voucher_missing", "no Authorization header"}
	}
	raw, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok || len(values) > 1 {
		return compact{}, &cause{"TokenAuthenticationFailed", "voucher_not_bearer", "Authorization is not one Bearer token"}
	}
	failed := func(code, detail string) (compact, *cause) {
		return compact{}, &cause{"TokenAuthenticationFailed", code, detail}
	}
	t, err := parseCompact(raw)
	if err != nil {
		return failed("voucher_malformed", err.Error())
	}
	key, err := s.keyOnce()
	if err != nil {
		return failed("voucher_key", err.Error())
	}
	if text(t.header, "alg") != "RS256" || text(t.header, "typ") != "at+jwt" || text(t.header, "kid") != key.kid {
		return failed("voucher_header", "alg, typ or kid is not that of PDND's vouchers")
	}
	if !t.verify(&key.private.PublicKey) && !s.broken(MutantVoucherSignature) {
		return failed("voucher_signature", "signature does not verify")
	}
	exp, expOK := seconds(t.claims, "exp")
	nbf, nbfOK := seconds(t.claims, "nbf")
	iat, iatOK := seconds(t.claims, "iat")
	switch {
	case text(t.claims, "iss") != tokenIssuer:
		return failed("voucher_issuer", "iss is not PDND")
	case !expOK || !iatOK || text(t.claims, "client_id") == "" || text(t.claims, "purposeId") == "" || text(t.claims, "jti") == "":
		return compact{}, &cause{"TokenRequiredClaimsNotFound", "voucher_claims", "a required claim of the voucher is missing"}
	case !exp.After(now) && !s.broken(MutantVoucherExpired):
		return compact{}, &cause{"TokenExpired", "voucher_expired", "voucher expired"}
	case nbfOK && nbf.After(now.Add(iatFuture)):
		return compact{}, &cause{"TokenNotBefore", "voucher_nbf", "voucher not yet usable: clock skew?"}
	case iat.After(now.Add(iatFuture)):
		return compact{}, &cause{"TokenInTheFuture", "voucher_iat", "voucher made in the future: clock skew?"}
	}
	return t, nil
}

// agidToken checks what the two Agid-JWT-* tokens have in common.
func (s *Server) agidToken(h http.Header, name, code, clientID string, now time.Time, checkAge bool) (compact, *cause) {
	prefix := "signature_"
	// mutated says whether this token's rule is broken.
	mutated := func(ofSignature, ofAudit string) bool {
		if prefix == "audit_" {
			return ofAudit != "" && s.broken(ofAudit)
		}
		return ofSignature != "" && s.broken(ofSignature)
	}
	if name == "Agid-JWT-TrackingEvidence" {
		prefix = "audit_"
	}
	values := h.Values(name)
	if len(values) != 1 || values[0] == "" {
		return compact{}, interop(prefix+"missing", name+" absent or given more than once")
	}
	t, err := parseCompact(values[0])
	if err != nil {
		return t, interop(prefix+"malformed", name+": "+err.Error())
	}
	iat, iatOK := seconds(t.claims, "iat")
	exp, expOK := seconds(t.claims, "exp")
	nbf, nbfOK := seconds(t.claims, "nbf")
	switch {
	case text(t.header, "alg") != "RS256":
		return t, interop(prefix+"alg", name+": alg is not RS256")
	case text(t.header, "typ") != "JWT":
		return t, interop(prefix+"typ", name+": typ is not JWT")
	case text(t.header, "kid") == "":
		return t, interop(prefix+"kid", name+": kid missing")
	}
	pub, ok := s.key(clientID, text(t.header, "kid"))
	if !ok {
		return t, interop(prefix+"kid_unknown", name+": the voucher's client has no key with this kid")
	}
	if !t.verify(pub) && !mutated(MutantSignatureInvalid, MutantAuditInvalid) {
		return t, interop(prefix+"invalid", name+": compact JWS signature invalid (wrong key for the kid?)")
	}
	switch {
	case !has(t.claims, "aud"):
		return t, interop(prefix+"aud_missing", name+": audience missing")
	case !hasAudience(t.claims, audience(code)) && !mutated(MutantSignatureAudience, MutantAuditAudience):
		return t, interop(prefix+"aud", name+": audience is not "+audience(code)+" ("+whyAudience(t.claims)+")")
	case text(t.claims, "iss") != clientID && !mutated(MutantSignatureIssuer, ""):
		return t, interop(prefix+"iss", name+": iss is not the client id of the voucher")
	case !iatOK:
		return t, interop(prefix+"iat_missing", name+": iat missing or not a number")
	case !expOK:
		return t, interop(prefix+"exp_missing", name+": exp missing or not a number")
	case text(t.claims, "jti") == "":
		return t, interop(prefix+"jti_missing", name+": jti missing")
	case iat.After(now.Add(iatFuture)) && !mutated(MutantSignatureFuture, ""):
		return t, interop(prefix+"iat_future", name+": token created in the future (milliseconds, or clock skew)")
	case checkAge && !mutated(MutantSignatureOld, "") && iat.Before(now.Add(-iatMaxAge)):
		return t, interop(prefix+"iat_old", name+": token older than five minutes")
	case nbfOK && nbf.After(now.Add(iatFuture)):
		return t, interop(prefix+"nbf", name+": token not usable before nbf")
	case !exp.After(now) && !mutated(MutantSignatureExpired, ""):
		return t, interop(prefix+"expired", name+": token expired")
	}
	return t, nil
}

// whyAudience tells the usual mistakes apart (§8 row 1).
func whyAudience(claims map[string]any) string {
	aud, _ := claims["aud"].(string)
	switch {
	case strings.Contains(aud, "MinInternoPortaANPR-PDND"):
		return "it has the -PDND of the address"
	case strings.HasSuffix(aud, queryPath):
		return "it has the operation at its end"
	case strings.HasPrefix(aud, audienceBase):
		return "it is that of another service"
	case aud == assertionAudience:
		return "it is PDND's"
	}
	return "unlike anything known here"
}

// checkModI runs the checks of INTEGRITY_REST_02 and AUDIT_REST_02.
func (s *Server) checkModI(h http.Header, body []byte, code string, voucher compact, now time.Time, strictAudit bool) (audit compact, _ *cause) {
	clientID := text(voucher.claims, "client_id")
	digest := h.Values("Digest")
	switch {
	case len(digest) != 1:
		return audit, interop("digest_missing", "Digest header absent or given more than once")
	default:
		c := checkDigest(digest[0], body)
		ignored := c != nil && (c.code == "digest_mismatch" && s.broken(MutantDigestUnchecked) || c.code == "digest_hex" && s.broken(MutantDigestHex))
		if c != nil && !ignored {
			return audit, c
		}
	}
	signature, c := s.agidToken(h, "Agid-JWT-Signature", code, clientID, now, true)
	if c != nil {
		return audit, c
	}
	c = checkSignedHeaders(signature.claims["signed_headers"], h)
	ignored := c != nil && (c.code == "signed_headers_value" && s.broken(MutantSignedValues) || c.code == "signed_headers_digest" && s.broken(MutantSignedNoDigest))
	if c != nil && !ignored {
		return audit, c
	}
	if !s.freshJTI(clientID, signature, now) && !s.broken(MutantSignatureReplay) {
		return audit, interop("signature_replayed", "Agid-JWT-Signature: jti already used; a new token is due for every call")
	}
	audit, c = s.agidToken(h, "Agid-JWT-TrackingEvidence", code, clientID, now, strictAudit)
	if c != nil {
		return audit, c
	}
	loa, loaIsText := audit.claims["LoA"].(string)
	switch {
	case text(audit.claims, "userID") == "" && !s.broken(MutantAuditUserID):
		return audit, interop("audit_userid", "tracking evidence: userID missing (the name is case-sensitive)")
	case text(audit.claims, "userLocation") == "" && !s.broken(MutantAuditUserLocation):
		return audit, interop("audit_userlocation", "tracking evidence: userLocation missing")
	case has(audit.claims, "LoA") && !s.broken(MutantAuditLoA) && (!loaIsText || loa == "" || utf8.RuneCountInString(loa) > maxLoA):
		return audit, interop("audit_loa", "tracking evidence: LoA empty or longer than 20 characters")
	case !s.broken(MutantAuditNonce) && !dnonceShape.MatchString(numberOrText(audit.claims["dnonce"])):
		return audit, interop("audit_dnonce", "tracking evidence: dnonce is not a number of 13 digits")
	case text(audit.claims, "purposeId") != text(voucher.claims, "purposeId") && !s.broken(MutantAuditPurpose):
		return audit, interop("audit_purpose", "tracking evidence: purposeId is not that of the voucher")
	}
	pinned, ok := voucher.claims["digest"].(map[string]any)
	if !ok || text(pinned, "alg") == "" || text(pinned, "value") == "" {
		return audit, interop("voucher_digest_missing", "the voucher has no digest.alg and digest.value: the client assertion had none")
	}
	sum := sha256.Sum256([]byte(audit.raw))
	if (text(pinned, "alg") != "SHA256" || text(pinned, "value") != hex.EncodeToString(sum[:])) && !s.broken(MutantAuditChain) {
		return audit, interop("voucher_digest", "the voucher's digest is not that of the tracking evidence sent (cached voucher with a new evidence?)")
	}
	return audit, nil
}

func numberOrText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case interface{ String() string }:
		return v.String()
	}
	return ""
}

func checkDigest(value string, body []byte) *cause {
	encoded, ok := strings.CutPrefix(value, "SHA-256=")
	if !ok {
		return interop("digest_algorithm", "Digest does not start with SHA-256=")
	}
	if digestShape.MatchString(strings.ToLower(encoded)) {
		return interop("digest_hex", "Digest is in hex instead of base64")
	}
	have, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return interop("digest_encoding", "Digest is not standard base64 with padding")
	}
	want := sha256.Sum256(body)
	if subtle.ConstantTimeCompare(have, want[:]) != 1 {
		return interop("digest_mismatch", "Digest is not that of the body received")
	}
	return nil
}

// checkSignedHeaders compares the list with what has been received, byte for byte.
func checkSignedHeaders(claim any, h http.Header) *cause {
	list, ok := claim.([]any)
	if !ok {
		return interop("signed_headers_type", "signed_headers is missing or not an array")
	}
	digest := false
	for _, item := range list {
		one, ok := item.(map[string]any)
		if !ok || len(one) != 1 {
			return interop("signed_headers_item", "signed_headers: an item is not an object with one member")
		}
		for name, value := range one {
			want, ok := value.(string)
			if !ok {
				return interop("signed_headers_item", "signed_headers: the value of "+name+" is not a string")
			}
			have := h.Values(name)
			if len(have) != 1 || have[0] != want {
				return interop("signed_headers_value", "signed header "+name+" differs from the one received")
			}
			digest = digest || strings.EqualFold(name, "digest")
		}
	}
	if !digest {
		return interop("signed_headers_digest", "Digest is not among the signed headers")
	}
	return nil
}

// freshJTI remembers a signature's jti until it expires.
func (s *Server) freshJTI(clientID string, t compact, now time.Time) bool {
	exp, _ := seconds(t.claims, "exp")
	if limit := now.Add(24 * time.Hour); exp.After(limit) {
		exp = limit
	}
	id := clientID + " " + text(t.claims, "jti")
	s.mu.Lock()
	defer s.mu.Unlock()
	if until, seen := s.jtis[id]; seen && until.After(now) {
		return false
	}
	// Swept by time, not by size: a flood of live ids must not make every call
	// walk them all.
	if now.Sub(s.swept) >= time.Minute {
		s.swept = now
		for k, until := range s.jtis {
			if !until.After(now) {
				delete(s.jtis, k)
			}
		}
	}
	s.jtis[id] = exp
	return true
}
