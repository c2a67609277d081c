package anprsim

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"airegw/testharness/sim"
)

const (
	assertionType   = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	tokensPerMinute = 600
)

// tokenRefusal is one of PDND's internal codes with what it means.
type tokenRefusal struct{ code, detail string }

var (
	kidShape    = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	digestShape = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// tokenForm is what a token request carries.
type tokenForm struct{ clientID, assertion, assertionType, grantType string }

// parseTokenForm reads the form; a parameter given twice is an error.
func parseTokenForm(contentType string, body []byte) (tokenForm, *tokenRefusal) {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return tokenForm{}, &tokenRefusal{"0007", "content type is not application/x-www-form-urlencoded"}
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return tokenForm{}, &tokenRefusal{"0007", "form does not parse"}
	}
	for name, v := range values {
		if len(v) != 1 {
			return tokenForm{}, &tokenRefusal{"0007", "parameter " + strconv.Quote(name) + " given more than once"}
		}
	}
	f := tokenForm{
		clientID: values.Get("client_id"), assertion: values.Get("client_assertion"),
		assertionType: values.Get("client_assertion_type"), grantType: values.Get("grant_type"),
	}
	switch {
	case f.assertionType != assertionType:
		return f, &tokenRefusal{"0002", "client_assertion_type is not jwt-bearer"}
	case f.grantType != "client_credentials":
		return f, &tokenRefusal{"0003", "grant_type is not client_credentials"}
	case f.clientID != "" && !uuidShape.MatchString(f.clientID):
		return f, &tokenRefusal{"0023", "client_id is not a uuid"}
	}
	return f, nil
}

// checkAssertion is step 3: headers and claims, before any key is looked up.
func checkAssertion(f tokenForm, now time.Time, strict bool, broken func(string) bool) (compact, *tokenRefusal) {
	t, err := parseCompact(f.assertion)
	if err != nil {
		return t, &tokenRefusal{"0006", "client assertion: " + err.Error()}
	}
	digest, digestIsObject := t.claims["digest"].(map[string]any)
	iat, iatOK := seconds(t.claims, "iat")
	exp, expOK := seconds(t.claims, "exp")
	switch {
	case !has(t.header, "alg"):
		return t, &tokenRefusal{"0028", "alg missing"}
	case text(t.header, "alg") != "RS256" && !broken(MutantTokenAlg):
		return t, &tokenRefusal{"0029", "alg is not RS256"}
	case !has(t.header, "kid"):
		return t, &tokenRefusal{"0015", "kid missing"}
	case !kidShape.MatchString(text(t.header, "kid")):
		return t, &tokenRefusal{"0031", "kid is not 43 characters of base64url"}
	case text(t.header, "typ") != "JWT":
		return t, &tokenRefusal{"0018", "typ is not JWT"}
	case text(t.claims, "jti") == "" && !broken(MutantTokenJTI):
		return t, &tokenRefusal{"0008", "jti missing"}
	case !iatOK:
		return t, &tokenRefusal{"0009", "iat missing"}
	case !expOK:
		return t, &tokenRefusal{"0010", "exp missing"}
	case text(t.claims, "iss") == "":
		return t, &tokenRefusal{"0011", "iss missing"}
	case text(t.claims, "sub") == "":
		return t, &tokenRefusal{"0012", "sub missing"}
	case !uuidShape.MatchString(text(t.claims, "sub")):
		return t, &tokenRefusal{"0024", "sub is not a uuid"}
	case f.clientID != "" && text(t.claims, "sub") != f.clientID && !broken(MutantTokenSubject):
		return t, &tokenRefusal{"0013", "sub is not the client_id of the form"}
	case text(t.claims, "iss") != text(t.claims, "sub"):
		return t, &tokenRefusal{"0013", "iss is not sub"}
	case !has(t.claims, "aud"):
		return t, &tokenRefusal{"0005", "aud missing"}
	case !hasAudience(t.claims, assertionAudience) && !broken(MutantTokenAudience):
		return t, &tokenRefusal{"0004", "aud is not " + assertionAudience}
	case text(t.claims, "purposeId") == "":
		return t, &tokenRefusal{"0030", "purposeId missing"}
	case !uuidShape.MatchString(text(t.claims, "purposeId")):
		return t, &tokenRefusal{"0014", "purposeId is not a uuid"}
	case has(t.claims, "digest") && !digestIsObject:
		return t, &tokenRefusal{"0025", "digest is not an object"}
	case digestIsObject && text(digest, "alg") != "SHA256":
		return t, &tokenRefusal{"0027", "digest.alg is not SHA256"}
	case digestIsObject && !broken(MutantTokenDigestShape) && !digestShape.MatchString(text(digest, "value")):
		return t, &tokenRefusal{"0026", "digest.value is not 64 lower-case hex digits"}
	case iat.After(now.Add(5 * time.Second)):
		return t, &tokenRefusal{"0018", "iat is in the future (milliseconds?)"}
	case !exp.After(now) && !broken(MutantTokenExpired):
		return t, &tokenRefusal{"0017", "client assertion expired"}
	}
	if nbf, ok := seconds(t.claims, "nbf"); ok && nbf.After(now.Add(5*time.Second)) {
		return t, &tokenRefusal{"0019", "nbf is in the future"}
	}
	if strict {
		for name := range t.claims {
			if !slices.Contains([]string{"iss", "sub", "aud", "jti", "iat", "exp", "purposeId", "digest"}, name) {
				return t, &tokenRefusal{"0032", "claim " + strconv.Quote(name) + " is not allowed"}
			}
		}
	}
	return t, nil
}

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	tk := &taken{s: s, op: "token"}
	call := Call{Operation: "token"}
	refuse := func(status int, wire string, ref tokenRefusal) {
		call.Status, call.Outcome, call.Faults = status, ref.code, tk.names
		s.recordCall(call)
		s.diagnose(Refusal{Operation: "token", Client: call.Client, Status: status, Wire: wire, Code: "015-" + ref.code, Detail: ref.detail})
		for _, name := range tk.names {
			sim.Mark(w.Header(), name)
		}
		detail := "Unable to generate a token for the given request"
		if s.broken(MutantTokenTalkative) {
			wire, detail = "015-"+ref.code, ref.detail
		}
		s.tokenProblem(w, status, wire, detail)
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if tk.fires(FaultMaintenance) {
		refuse(http.StatusServiceUnavailable, "service unavailable", tokenRefusal{"0000", "maintenance, injected"})
		return
	}
	if tk.fires(FaultToken500) {
		refuse(http.StatusInternalServerError, "015-0000", tokenRefusal{"0000", "internal error, injected"})
		return
	}
	const bad = "015-0008"
	if r.Header.Get("DPoP") != "" {
		refuse(http.StatusBadRequest, bad, tokenRefusal{"dpop-0000", "a DPoP proof was sent: this simulator issues Bearer vouchers only, which is what ANPR asks for"})
		return
	}
	body, err := readBody(w, r, 64<<10)
	if err != nil {
		refuse(http.StatusBadRequest, bad, tokenRefusal{"0007", "body: " + err.Error()})
		return
	}
	form, ref := parseTokenForm(r.Header.Get("Content-Type"), body)
	if ref != nil {
		refuse(http.StatusBadRequest, bad, *ref)
		return
	}
	now := s.wire.Now()
	assertion, ref := checkAssertion(form, now, tk.fires(FaultStrictClaims), s.broken)
	call.Client, call.Purpose = text(assertion.claims, "sub"), text(assertion.claims, "purposeId")
	if ref != nil {
		refuse(http.StatusBadRequest, bad, *ref)
		return
	}
	pub, ok := s.key(call.Client, text(assertion.header, "kid"))
	if !ok {
		refuse(http.StatusBadRequest, bad, tokenRefusal{"0016", "no such key for this client: wrong kid, wrong client, or not registered"})
		return
	}
	if !assertion.verify(pub) && !s.broken(MutantTokenSignature) && (text(assertion.header, "alg") == "RS256" || !s.broken(MutantTokenAlg)) {
		refuse(http.StatusBadRequest, bad, tokenRefusal{"0033", "signature does not verify with the key of the kid"})
		return
	}
	code, client, ok := s.purpose(call.Purpose)
	switch {
	case !ok || client.ID != call.Client:
		refuse(http.StatusBadRequest, bad, tokenRefusal{"0020", "purpose unknown or of another client"})
		return
	case tk.fires(FaultPurposeSuspended):
		refuse(http.StatusBadRequest, bad, tokenRefusal{"0020", "purpose is not ACTIVE"})
		return
	case tk.fires(FaultAgreementSuspended):
		refuse(http.StatusBadRequest, bad, tokenRefusal{"0021", "agreement is not ACTIVE"})
		return
	}
	left := s.countToken(client.Organisation, now)
	if !s.broken(MutantTokenNoRate) {
		w.Header().Set("X-Rate-Limit-Limit", strconv.Itoa(tokensPerMinute))
		w.Header().Set("X-Rate-Limit-Remaining", strconv.Itoa(max(0, left)))
		w.Header().Set("X-Rate-Limit-Interval", "60000")
	}
	if left < 0 || tk.fires(FaultToken429) {
		refuse(http.StatusTooManyRequests, "too many requests", tokenRefusal{"429", "more than " + strconv.Itoa(tokensPerMinute) + " vouchers a minute, or injected"})
		return
	}
	voucher, err := s.issueVoucher(voucherOrder{
		code: code, client: client, purpose: call.Purpose, digest: assertion.claims["digest"], issued: now, lifetime: s.opt.VoucherLifetime,
	})
	if err != nil {
		refuse(http.StatusInternalServerError, "015-0000", tokenRefusal{"0000", err.Error()})
		return
	}
	call.Status, call.Outcome, call.Faults = http.StatusOK, "OK", tk.names
	s.recordCall(call)
	for _, name := range tk.names {
		sim.Mark(w.Header(), name)
	}
	sim.WriteJSON(w, http.StatusOK, map[string]any{
		"access_token": voucher, "token_type": "Bearer", "expires_in": int(s.opt.VoucherLifetime / time.Second),
	})
}

// countToken counts one voucher of the organisation in this minute and says
// how many are left; negative means over.
func (s *Server) countToken(organisation string, now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	minute := now.Format("200601021504")
	if s.tokens["minute "+minute] == 0 {
		clear(s.tokens)
		s.tokens["minute "+minute] = 1
	}
	s.tokens[organisation]++
	return tokensPerMinute - s.tokens[organisation]
}

// voucherOrder is what goes into a voucher.
type voucherOrder struct {
	code     string
	client   Client
	purpose  string
	digest   any // echo of the assertion's; nil when it had none
	issued   time.Time
	lifetime time.Duration
}

func (s *Server) issueVoucher(o voucherOrder) (string, error) {
	key, err := s.keyOnce()
	if err != nil {
		return "", err
	}
	claims := map[string]any{
		"jti": s.uuid(), "iss": tokenIssuer, "aud": audience(o.code),
		"client_id": o.client.ID, "sub": o.client.ID,
		"iat": o.issued.Unix(), "nbf": o.issued.Unix(), "exp": o.issued.Add(o.lifetime).Unix(),
		"purposeId":  o.purpose,
		"producerId": "00000000-0000-4000-8000-0000000000a1", "consumerId": o.client.Organisation,
		"eserviceId": "00000000-0000-4000-8000-00000000" + o.code[1:] + "0", "descriptorId": "00000000-0000-4000-8000-00000000" + o.code[1:] + "1",
	}
	if o.digest != nil && !s.broken(MutantVoucherNoDigest) {
		claims["digest"] = o.digest
	}
	return key.sign("at+jwt", claims)
}

// tokenProblem is PDND's opaque error.
func (s *Server) tokenProblem(w http.ResponseWriter, status int, wire, detail string) {
	body := map[string]any{
		"type": "about:blank", "status": status, "correlationId": s.uuid(),
	}
	switch status {
	case http.StatusTooManyRequests:
		body["title"] = "Too Many Requests"
	case http.StatusBadRequest:
		body["title"] = "The request contains bad syntax or cannot be fulfilled."
		body["errors"] = []map[string]string{{"code": wire, "detail": detail}}
	default:
		body["title"] = http.StatusText(status)
		body["errors"] = []map[string]string{{"code": "015-0000", "detail": "Unexpected error"}}
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
