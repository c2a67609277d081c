package anprcontract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Catalogue lists every scenario in the order it is run. §… is a section of
// specs/anpr-pdnd-modi.md (§8 row n: its table of what hurts integrators), B.6
// the contract facts of specs/cie-aire-domain.md.
func Catalogue() []Scenario {
	return slices.Concat(tokenScenarios(), gatewayScenarios(), requestScenarios(), answerScenarios(), modeScenarios(),
		securityScenarios(), cieScenarios(), consularScenarios())
}

// The token endpoint, §2.

func badToken(id, clause, sentence string, edit tokenCall) Scenario {
	return Scenario{ID: id, Clause: clause, Sentence: sentence, Services: []string{"C030"}, run: func(s *session) error {
		edit.service = "C030"
		a, err := s.token(edit)
		if err != nil {
			return err
		}
		return noVoucher(a)
	}}
}

func goodToken(id, clause, sentence string, edit tokenCall, check func(*session, answer) error) Scenario {
	return Scenario{ID: id, Clause: clause, Sentence: sentence, Services: []string{"C030"}, run: func(s *session) error {
		edit.service, edit.evidence = "C030", "evidence"
		a, err := s.token(edit)
		if err != nil {
			return err
		}
		if a.status != http.StatusOK || str(a.object, "access_token") == "" {
			return expected("200 with a voucher", a)
		}
		return check(s, a)
	}}
}

// voucherParts takes the header and the claims out of a voucher.
func voucherParts(a answer) (header, claims map[string]any, err error) {
	return compactParts(str(a.object, "access_token"))
}

func tokenScenarios() []Scenario {
	now := time.Now
	with := func(name string, v any) map[string]any { return map[string]any{name: v} }
	nothing := func(*session, answer) error { return nil }
	return []Scenario{
		goodToken("token-ok", "§2.5", "A good client assertion gets a Bearer voucher with its lifetime in seconds.", tokenCall{}, func(_ *session, a answer) error {
			if n, ok := number(a.object["expires_in"]); str(a.object, "token_type") != "Bearer" || !ok || n <= 0 {
				return fmt.Errorf("token_type %q, expires_in %v", str(a.object, "token_type"), a.object["expires_in"])
			}
			return nil
		}),
		goodToken("token-voucher", "§2.5", "The voucher is an at+jwt, RS256, for the service's audience, the client and the purpose, with nbf equal to iat.", tokenCall{}, func(s *session, a answer) error {
			header, claims, err := voucherParts(a)
			if err != nil {
				return err
			}
			iat, _ := number(claims["iat"])
			nbf, _ := number(claims["nbf"])
			exp, _ := number(claims["exp"])
			lifetime, _ := number(a.object["expires_in"])
			switch {
			case str(header, "alg") != "RS256" || str(header, "typ") != "at+jwt" || str(header, "kid") == "":
				return fmt.Errorf("header alg %q, typ %q, kid %q", str(header, "alg"), str(header, "typ"), str(header, "kid"))
			case !audienceHolds(claims["aud"], s.audience("C030")):
				return fmt.Errorf("aud is not %s", s.audience("C030"))
			case str(claims, "client_id") != s.target.Client.ID || str(claims, "purposeId") != s.target.Client.Purposes["C030"] || str(claims, "jti") == "" || str(claims, "iss") == "":
				return fmt.Errorf("client_id, purposeId, jti or iss is not there or another's")
			case iat == 0 || nbf != iat || exp-iat != lifetime:
				return fmt.Errorf("iat %d, nbf %d, exp %d, expires_in %d", iat, nbf, exp, lifetime)
			}
			return nil
		}),
		goodToken("token-digest-echo", "§2.5", "The voucher echoes the digest of the assertion.", tokenCall{}, func(_ *session, a answer) error {
			_, claims, err := voucherParts(a)
			if err != nil {
				return err
			}
			if str(claims, "digest", "alg") != "SHA256" || len(str(claims, "digest", "value")) != 64 {
				return fmt.Errorf("the voucher has no digest.alg SHA256 and digest.value")
			}
			return nil
		}),
		goodToken("token-rate-headers", "§2.3", "A voucher comes with X-Rate-Limit-Limit, -Remaining and -Interval.", tokenCall{}, func(_ *session, a answer) error {
			for _, name := range []string{"X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Interval"} {
				if a.header.Get(name) == "" {
					return fmt.Errorf("no %s", name)
				}
			}
			return nil
		}),
		goodToken("token-client-id-optional", "§2.1", "The form's client_id may be left out.", tokenCall{form: map[string]string{"client_id": ""}}, nothing),
		badToken("token-client-id-other", "§2.2", "A client_id that is not the assertion's sub is refused.", tokenCall{form: map[string]string{"client_id": "00000000-0000-4000-8000-000000000001"}}),
		badToken("token-grant-type", "§2.1", "A grant_type that is not client_credentials is refused.", tokenCall{form: map[string]string{"grant_type": "authorization_code"}}),
		badToken("token-assertion-type", "§2.1", "A client_assertion_type that is not jwt-bearer is refused.", tokenCall{form: map[string]string{"client_assertion_type": "urn:x"}}),
		badToken("token-no-assertion", "§2.1", "A form without an assertion is refused.", tokenCall{form: map[string]string{"client_assertion": ""}}),
		badToken("token-json", "§2.1", "The form sent as JSON is refused.", tokenCall{json: true}),
		badToken("token-aud-other", "§2.2", "An assertion for another audience is refused.", tokenCall{claims: with("aud", "https://example.org")}),
		badToken("token-aud-missing", "§2.2", "An assertion without audience is refused.", tokenCall{claims: with("aud", nil)}),
		{ID: "token-aud-scheme", Clause: "§2.2", Sentence: "The audience has no scheme: the same one with https:// is refused.", Services: []string{"C030"}, run: func(s *session) error {
			a, err := s.token(tokenCall{service: "C030", claims: with("aud", "https://"+s.target.AssertionAudience)})
			if err != nil {
				return err
			}
			return noVoucher(a)
		}},
		badToken("token-iss-other", "§2.2", "An assertion whose iss is not its sub is refused.", tokenCall{claims: with("iss", "00000000-0000-4000-8000-000000000001")}),
		badToken("token-sub-missing", "§2.2", "An assertion without sub is refused.", tokenCall{claims: with("sub", nil)}),
		badToken("token-jti-missing", "§2.2", "An assertion without jti is refused.", tokenCall{claims: with("jti", nil)}),
		badToken("token-iat-missing", "§2.2", "An assertion without iat is refused.", tokenCall{claims: with("iat", nil)}),
		badToken("token-exp-missing", "§2.2", "An assertion without exp is refused.", tokenCall{claims: with("exp", nil)}),
		badToken("token-expired", "§2.2", "An expired assertion is refused.", tokenCall{claims: map[string]any{"iat": now().Add(-time.Hour).Unix(), "exp": now().Add(-time.Minute).Unix()}}),
		badToken("token-alg", "§2.2", "An assertion signed with PS256 is refused: RS256 only.", tokenCall{header: with("alg", "PS256")}),
		badToken("token-alg-none", "§2.2", "An unsigned assertion is refused.", tokenCall{header: with("alg", "none")}),
		badToken("token-typ", "§2.2", "An assertion whose typ is not JWT is refused.", tokenCall{header: with("typ", "jose")}),
		badToken("token-kid-missing", "§2.2", "An assertion without kid is refused.", tokenCall{header: with("kid", nil)}),
		badToken("token-kid-unknown", "§2.3", "An assertion with a kid nobody registered is refused.", tokenCall{header: with("kid", strings.Repeat("A", 43))}),
		badToken("token-wrong-key", "§2.3", "An assertion signed by a stranger under our kid is refused.", tokenCall{stranger: true}),
		badToken("token-purpose-missing", "§2.2", "An assertion without purposeId is refused.", tokenCall{claims: with("purposeId", nil)}),
		badToken("token-purpose-shape", "§2.2", "A purposeId that is no uuid is refused.", tokenCall{claims: with("purposeId", "C030")}),
		badToken("token-purpose-unknown", "§2.3", "A purpose nobody has is refused.", tokenCall{claims: with("purposeId", "00000000-0000-4000-8000-000000000001")}),
		badToken("token-digest-shape", "§2.2", "A digest value that is not 64 lower-case hex digits is refused.", tokenCall{claims: with("digest", map[string]any{"alg": "SHA256", "value": strings.Repeat("AB", 32)})}),
		badToken("token-digest-alg", "§2.2", "A digest of another algorithm is refused.", tokenCall{claims: with("digest", map[string]any{"alg": "SHA512", "value": strings.Repeat("ab", 32)})}),
		badToken("token-digest-text", "§2.2", "A digest that is no object is refused.", tokenCall{claims: with("digest", strings.Repeat("ab", 32))}),
		{ID: "token-opaque", Clause: "§2.4", Sentence: "Whatever the cause, the refusal is the same 400 with code 015-0008.", Services: []string{"C030"}, run: tokenOpaque},
		{ID: "token-problem", Clause: "§2.4", Sentence: "A refusal is problem+json with type, title, status and correlationId.", Services: []string{"C030"}, run: func(s *session) error {
			a, err := s.token(tokenCall{service: "C030", claims: with("aud", "x")})
			if err != nil {
				return err
			}
			status, _ := number(a.object["status"])
			if !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") || str(a.object, "type") == "" || str(a.object, "title") == "" || status != 400 || str(a.object, "correlationId") == "" {
				return expected("problem+json with type, title, status and correlationId", a)
			}
			return nil
		}},
		{ID: "keys-public", Clause: "§8 row 7", Sentence: "The published keys hold the voucher's key and no private member.", Keys: true, Services: []string{"C030"}, run: publicKeys},
	}
}

func tokenOpaque(s *session) error {
	var first string
	for _, t := range []tokenCall{
		{claims: map[string]any{"aud": "x"}},
		{claims: map[string]any{"jti": nil}},
		{stranger: true},
		{claims: map[string]any{"purposeId": "00000000-0000-4000-8000-000000000001"}},
	} {
		t.service = "C030"
		a, err := s.token(t)
		if err != nil {
			return err
		}
		if a.object == nil {
			return expected("a JSON object", a)
		}
		errs := list(a.object["errors"])
		if len(errs) != 1 || str(errs[0], "code") != "015-0008" {
			return fmt.Errorf("expected one error with the code 015-0008, got %d errors", len(errs))
		}
		delete(a.object, "correlationId")
		body, err := json.Marshal(a.object)
		if err != nil {
			return err
		}
		if first == "" {
			first = string(body)
		}
		if first != string(body) {
			return fmt.Errorf("two causes are told apart: %s and %s", first, body)
		}
	}
	return nil
}

func publicKeys(s *session) error {
	a, err := s.get(s.target.JWKSURL)
	if err != nil {
		return err
	}
	p, err := s.cached("C030")
	if err != nil {
		return err
	}
	header, _, err := compactParts(p.voucher)
	if err != nil {
		return err
	}
	known := false
	for _, k := range list(a.object["keys"]) {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, leaked := k[private]; leaked {
				return fmt.Errorf("a published key has the private member %q", private)
			}
		}
		known = known || str(k, "kid") == str(header, "kid")
	}
	if !known {
		return expected("the key of the voucher's kid", a)
	}
	return nil
}

// The gateway before the register, §1.7 and §3.

// refused is a call of C030 that must not get through.
func refused(id, clause, sentence string, want func(answer) error, edit func(*session, *draft) error) Scenario {
	return Scenario{ID: id, Clause: clause, Sentence: sentence, Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
		d := draft{service: "C030", criteria: s.byCF("aire")}
		err := edit(s, &d)
		if err != nil {
			return err
		}
		a, err := s.call(d)
		if err != nil {
			return err
		}
		return want(a)
	}}
}

func (s *session) byCF(role string) map[string]any {
	return map[string]any{"codiceFiscale": s.target.Subjects[role].CF}
}

func (s *session) byID(role string) map[string]any {
	return map[string]any{"idANPR": s.target.Subjects[role].IDANPR}
}

func signature(name string, v any) func(*session, *draft) error {
	return func(_ *session, d *draft) error { d.signature = map[string]any{name: v}; return nil }
}

func audit(name string, v any) func(*session, *draft) error {
	return func(_ *session, d *draft) error { d.audit = map[string]any{name: v}; return nil }
}

func header(name, v string) func(*session, *draft) error {
	return func(_ *session, d *draft) error { d.headers = map[string]string{name: v}; return nil }
}

func gatewayScenarios() []Scenario {
	now := time.Now
	pdndAudience := func(s *session) string {
		return strings.Replace(s.audience("C030"), "/MinInternoPortaANPR/", "/MinInternoPortaANPR-PDND/", 1)
	}
	list := []Scenario{
		refused("voucher-missing", "§1.7", "A call without a voucher is 401 TokenAuthenticationRequired.", gateway(401, "TokenAuthenticationRequired"), header("Authorization", "")),
		refused("voucher-basic", "§1.7", "A call with another scheme than Bearer is 401.", anyTitle(401), header("Authorization", "Basic eDp5")),
		refused("voucher-garbage", "§1.7", "A voucher that is no token is 401 TokenAuthenticationFailed.", gateway(401, "TokenAuthenticationFailed"), header("Authorization", "Bearer a.b.c")),
		refused("voucher-forged", "§1.7", "A voucher signed by somebody else than PDND is 401 TokenAuthenticationFailed.", gateway(401, "TokenAuthenticationFailed"), func(s *session, d *draft) error {
			p, err := s.cached("C030")
			if err != nil {
				return err
			}
			h, claims, err := compactParts(p.voucher)
			if err != nil {
				return err
			}
			d.evidence = p.evidence
			d.voucher, err = s.jws(s.other, h, claims)
			return err
		}),
		{ID: "voucher-other-service", Clause: "§1.7", Sentence: "A voucher of one service does not open another.", Services: []string{"C030", "C020"}, Roles: []string{"aire"}, run: func(s *session) error {
			own := s.target.Client.Purposes["C030"]
			d := draft{service: "C020", criteria: s.byCF("aire"), audit: map[string]any{"purposeId": own}, assertion: map[string]any{"purposeId": own}}
			a, err := s.call(d)
			if err != nil {
				return err
			}
			if a.status != 401 && a.status != 403 {
				return expected("401 or 403", a)
			}
			return nil
		}},
		{ID: "voucher-expired", Clause: "§1.7", Sentence: "An expired voucher is 401 TokenExpired.", Management: true, Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			return s.mintedVoucher("-20m", gateway(401, "TokenExpired"))
		}},
		{ID: "voucher-not-yet", Clause: "§8 row 4", Sentence: "A voucher whose nbf is ahead of the server's clock is 401 TokenNotBefore.", Management: true, Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			return s.mintedVoucher("2m", gateway(401, "TokenNotBefore"))
		}},

		refused("digest-missing", "§3.2", "A call without Digest is refused.", opaque, func(_ *session, d *draft) error {
			d.headers, d.signed = map[string]string{"Digest": ""}, []map[string]string{{"content-type": "application/json"}}
			return nil
		}),
		refused("digest-other-body", "§3.2", "A Digest of another body, signed, is refused.", opaque, header("Digest", "SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")),
		refused("digest-algorithm", "§3.2", "A Digest that is not SHA-256 is refused.", opaque, header("Digest", "SHA-512=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")),
		refused("digest-hex", "§8 row 5", "A Digest in hex instead of base64 is refused.", opaque, func(s *session, d *draft) error {
			body, sum, err := s.fixedBody(d)
			d.raw = body
			d.headers = map[string]string{"Digest": fmt.Sprintf("SHA-256=%x", sum)}
			return err
		}),

		refused("signature-missing", "§3.3", "A call without Agid-JWT-Signature is refused.", opaque, header("Agid-JWT-Signature", "")),
		refused("signature-stranger", "§3.3", "An Agid-JWT-Signature made with another key is refused.", opaque, func(s *session, d *draft) error { d.sigBy = s.other; return nil }),
		refused("signature-kid", "§3.3", "An Agid-JWT-Signature with an unknown kid is refused.", opaque, func(_ *session, d *draft) error {
			d.sigHeader = map[string]any{"kid": strings.Repeat("A", 43)}
			return nil
		}),
		refused("signature-alg", "§3.3", "An Agid-JWT-Signature with PS256 is refused.", opaque, func(_ *session, d *draft) error {
			d.sigHeader = map[string]any{"alg": "PS256"}
			return nil
		}),
		refused("signature-iss", "§3.3", "An Agid-JWT-Signature whose iss is not the voucher's client is refused.", opaque, signature("iss", "00000000-0000-4000-8000-000000000001")),
		refused("signature-jti", "§3.3", "An Agid-JWT-Signature without jti is refused.", opaque, signature("jti", nil)),
		refused("signature-exp-missing", "§3.3", "An Agid-JWT-Signature without exp is refused.", opaque, signature("exp", nil)),
		refused("signature-expired", "§3.5", "An expired Agid-JWT-Signature is refused.", opaque, func(_ *session, d *draft) error {
			d.signature = map[string]any{"iat": now().Add(-3 * time.Minute).Unix(), "exp": now().Add(-time.Minute).Unix()}
			return nil
		}),
		refused("signature-old", "§3.5", "An Agid-JWT-Signature made more than five minutes ago is refused, whatever its exp.", opaque, signature("iat", now().Add(-7*time.Minute).Unix())),
		refused("signature-milliseconds", "§8 row 4", "iat and exp in milliseconds are refused.", opaque, func(_ *session, d *draft) error {
			d.signature = map[string]any{"iat": now().UnixMilli(), "exp": now().Add(time.Minute).UnixMilli()}
			return nil
		}),
		refused("signature-nbf", "§8 row 4", "An nbf ahead of the server's clock is refused.", opaque, signature("nbf", now().Add(5*time.Minute).Unix())),
		{ID: "signature-replayed", Clause: "§3.1", Sentence: "The same Agid-JWT-Signature is good for one call only.", Services: []string{"C030"}, Roles: []string{"aire"}, run: replayedSignature},
		refused("aud-pdnd", "§8 row 1", "The audience of the signature has no -PDND: with it, refused.", opaque, func(s *session, d *draft) error { return signature("aud", pdndAudience(s))(s, d) }),
		refused("aud-operation", "§8 row 1", "The audience does not end with the operation: with it, refused.", opaque, func(s *session, d *draft) error {
			return signature("aud", s.audience("C030")+operationPath)(s, d)
		}),
		refused("aud-other-service", "§8 row 1", "The audience of another service is refused.", opaque, func(s *session, d *draft) error {
			return signature("aud", s.target.Audience+"/C999-altroServizio/v1")(s, d)
		}),
		refused("aud-of-pdnd-in-audit", "§8 row 1", "PDND's own audience in the tracking evidence is refused.", opaque, func(s *session, d *draft) error {
			return audit("aud", s.target.AssertionAudience)(s, d)
		}),
		refused("signed-headers-object", "§8 row 3", "signed_headers as an object is refused: it is an array of one-key objects.", opaque, func(_ *session, d *draft) error {
			d.signed = map[string]string{"digest": "x", "content-type": "application/json"}
			return nil
		}),
		refused("signed-headers-no-digest", "§8 row 3", "signed_headers without digest is refused.", opaque, func(_ *session, d *draft) error {
			d.signed = []map[string]string{{"content-type": "application/json"}}
			return nil
		}),
		refused("signed-headers-charset", "§8 row 3", "A charset added to Content-Type after signing is refused.", opaque, header("Content-Type", "application/json;charset=UTF-8")),

		refused("audit-missing", "§3.4", "A call without Agid-JWT-TrackingEvidence is refused.", opaque, header("Agid-JWT-TrackingEvidence", "")),
		refused("audit-stranger", "§3.4", "A tracking evidence signed with another key is refused.", opaque, func(s *session, d *draft) error { d.auditBy = s.other; return nil }),
		refused("audit-iss", "§3.4", "A tracking evidence of another client is refused.", opaque, audit("iss", "00000000-0000-4000-8000-000000000001")),
		refused("audit-loa", "§3.4", "An LoA longer than 20 characters is refused.", opaque, audit("LoA", strings.Repeat("x", 21))),
		refused("audit-dnonce", "§3.4", "A dnonce that is not a number of 13 digits is refused.", opaque, audit("dnonce", "12")),
		refused("audit-expired", "§3.4", "An expired tracking evidence is refused.", opaque, audit("exp", now().Add(-time.Minute).Unix())),
		refused("audit-userid", "§8 row 2", "A tracking evidence without userID is refused.", opaque, audit("userID", nil)),
		refused("audit-userid-case", "§8 row 2", "userId instead of userID is refused: the name is case-sensitive.", opaque, func(_ *session, d *draft) error {
			d.audit = map[string]any{"userID": nil, "userId": "contratto-1"}
			return nil
		}),
		refused("audit-userlocation", "§8 row 2", "A tracking evidence without userLocation is refused.", opaque, audit("userLocation", nil)),
		refused("audit-purpose", "§3.5", "A tracking evidence for another purpose than the voucher's is refused.", opaque, audit("purposeId", "00000000-0000-4000-8000-000000000001")),
		{ID: "audit-chain", Clause: "§8 row 5", Sentence: "A cached voucher with a new tracking evidence is refused.", Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			p, err := s.cached("C030")
			if err != nil {
				return err
			}
			fresh, err := s.trackingEvidence(draft{service: "C030"})
			if err != nil {
				return err
			}
			a, err := s.call(draft{service: "C030", criteria: s.byCF("aire"), voucher: p.voucher, evidence: fresh})
			if err != nil {
				return err
			}
			return opaque(a)
		}},
		refused("audit-no-digest", "§8 row 5", "A voucher without a digest is refused.", opaque, func(_ *session, d *draft) error {
			d.assertion = map[string]any{"digest": nil}
			return nil
		}),
		{ID: "audit-pair-again", Clause: "§2.6", Sentence: "The same voucher with its own tracking evidence serves more than one call.", Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			for range 2 {
				a, err := s.call(draft{service: "C030", criteria: s.byCF("aire")})
				if err == nil {
					err = found(a)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{ID: "content-encoding", Clause: "§1.3", Sentence: "Content-Encoding UTF-8, sent and signed as some clients do, is accepted.", Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			a, err := s.call(draft{service: "C030", criteria: s.byCF("aire"), headers: map[string]string{"Content-Encoding": "UTF-8"}})
			if err != nil {
				return err
			}
			return found(a)
		}},
		refused("content-type-other", "§7", "A Content-Type that is not JSON is refused with 400.", anyTitle(400), func(_ *session, d *draft) error {
			d.headers = map[string]string{"Content-Type": "text/plain"}
			d.signed = nil
			return nil
		}),
		{ID: "gateway-opaque", Clause: "§8 row 9", Sentence: "Whatever the cause, a refusal of the security checks is the same 400, told apart by nothing but its id.", Services: []string{"C030"}, Roles: []string{"aire"}, run: gatewayOpaque},
		{ID: "gateway-problem", Clause: "§1.7", Sentence: "A gateway error has type, title, status, detail and govway_id.", Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			a, err := s.call(draft{service: "C030", criteria: s.byCF("aire"), headers: map[string]string{"Agid-JWT-Signature": ""}})
			if err != nil {
				return err
			}
			status, _ := number(a.object["status"])
			if !strings.Contains(str(a.object, "type"), "/handling-errors/400/") || str(a.object, "title") == "" || str(a.object, "detail") == "" || status != 400 || s.lacksID(a) {
				return expected("type, title, status, detail and govway_id", a)
			}
			return nil
		}},
		{ID: "transaction-id", Clause: "§1.3", Sentence: "A good answer carries GovWay-Transaction-ID, a new one each time.", Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			seen := map[string]bool{}
			for range 2 {
				a, err := s.call(draft{service: "C030", criteria: s.byCF("aire")})
				if err != nil {
					return err
				}
				id := a.header.Get("GovWay-Transaction-ID")
				if id == "" || seen[id] {
					return fmt.Errorf("GovWay-Transaction-ID is absent or the same twice")
				}
				seen[id] = true
			}
			return nil
		}},
		{ID: "true-cause", Clause: "§8 row 9", Sentence: "A simulator's diagnosis log tells the true cause of the opaque 400.", Management: true, Services: []string{"C030"}, Roles: []string{"aire"}, run: trueCause},
	}
	return list
}

// lacksID says whether a gateway problem has no id; where the header is sent,
// the two are the same.
func (s *session) lacksID(a answer) bool {
	id := str(a.object, "govway_id")
	h := a.header.Get("GovWay-Transaction-ID")
	return h != "" && id != h
}

func anyTitle(status int) func(answer) error {
	return func(a answer) error {
		if a.status != status || str(a.object, "title") == "" {
			return expected(fmt.Sprintf("a gateway problem %d", status), a)
		}
		return nil
	}
}

func replayedSignature(s *session) error {
	d := draft{service: "C030", criteria: s.byCF("aire")}
	body, _, err := s.fixedBody(&d)
	if err != nil {
		return err
	}
	d.raw = body
	req, err := s.request(d)
	if err != nil {
		return err
	}
	d.headers = map[string]string{"Agid-JWT-Signature": req.Header.Get("Agid-JWT-Signature")}
	first, err := s.do(req)
	if err == nil {
		err = found(first)
	}
	if err != nil {
		return err
	}
	again, err := s.call(d)
	if err != nil {
		return err
	}
	return opaque(again)
}

func gatewayOpaque(s *session) error {
	first := ""
	for _, edit := range []func(*session, *draft) error{
		header("Agid-JWT-Signature", ""), signature("aud", "https://example.org"), audit("userID", nil), header("Digest", "SHA-256=AAAA"),
		func(s *session, d *draft) error { d.sigBy = s.other; return nil },
	} {
		d := draft{service: "C030", criteria: s.byCF("aire")}
		err := edit(s, &d)
		if err != nil {
			return err
		}
		a, err := s.call(d)
		if err != nil {
			return err
		}
		if a.object == nil {
			return expected("a JSON object", a)
		}
		delete(a.object, "govway_id")
		body, err := json.Marshal(a.object)
		if err != nil {
			return err
		}
		if first == "" {
			first = string(body)
		}
		if string(body) != first {
			return fmt.Errorf("two causes are told apart, the second by %s", a)
		}
	}
	return nil
}

func trueCause(s *session) error {
	a, err := s.call(draft{service: "C030", criteria: s.byCF("aire"), audit: map[string]any{"userLocation": nil}})
	if err == nil {
		err = opaque(a)
	}
	if err != nil {
		return err
	}
	log, err := s.manage(http.MethodGet, "/refusals", nil)
	if err != nil {
		return err
	}
	refusals := list(log.object["refusals"])
	if len(refusals) == 0 || !strings.Contains(str(refusals[0], "detail"), "userLocation") {
		return fmt.Errorf("the newest refusal does not name userLocation")
	}
	return nil
}

// mintedVoucher calls with a voucher issued at an offset from now.
func (s *session) mintedVoucher(issued string, want func(answer) error) error {
	d := draft{service: "C030", criteria: s.byCF("aire")}
	evidence, err := s.trackingEvidence(d)
	if err != nil {
		return err
	}
	minted, err := s.manage(http.MethodPost, "/vouchers", map[string]any{
		"client_id": s.target.Client.ID, "service": "C030", "digest": hexDigest(evidence), "issued": issued, "lifetime": "10m",
	})
	if err != nil {
		return err
	}
	d.voucher, d.evidence = str(minted.object, "access_token"), evidence
	a, err := s.call(d)
	if err != nil {
		return err
	}
	return want(a)
}

// The request, §1.4.

func askedWrongly(id, clause, sentence string, want func(answer) error, edit func(*session, *draft)) Scenario {
	return refused(id, clause, sentence, want, func(s *session, d *draft) error { edit(s, d); return nil })
}

func requestScenarios() []Scenario {
	invalidContent := gateway(400, "InvalidRequestContent")
	data := func(date, reason, use string) map[string]any {
		return map[string]any{"datiRichiesta": without(map[string]any{"dataRiferimentoRichiesta": orNil(date), "motivoRichiesta": orNil(reason), "casoUso": orNil(use)})}
	}
	today := time.Now().UTC().Format(time.DateOnly)
	return []Scenario{
		askedWrongly("body-not-json", "§1.7", "A body that is no JSON is 400 InvalidRequestContent.", invalidContent, func(_ *session, d *draft) { d.raw = "<richiesta/>" }),
		askedWrongly("body-number", "§1.4", "Every scalar is a string: a number is refused.", invalidContent, func(s *session, d *draft) {
			d.body = map[string]any{"idOperazioneClient": json.Number(s.operationID())}
		}),
		askedWrongly("body-no-id", "§1.4", "idOperazioneClient is required.", invalidContent, func(_ *session, d *draft) { d.body = map[string]any{"idOperazioneClient": nil} }),
		askedWrongly("body-no-criteria", "§1.4", "criteriRicerca is required.", invalidContent, func(_ *session, d *draft) { d.body = map[string]any{"criteriRicerca": nil} }),
		askedWrongly("body-no-data", "§1.4", "datiRichiesta is required.", invalidContent, func(_ *session, d *draft) { d.body = map[string]any{"datiRichiesta": nil} }),
		askedWrongly("body-no-reason", "§1.4", "motivoRichiesta is required.", invalidContent, func(_ *session, d *draft) { d.body = data(today, "", "C030") }),
		askedWrongly("use-case-other", "§1.4", "casoUso must be that of the service in the path.", refusedByApp, func(_ *session, d *draft) { d.body = data(today, "CONTRATTO-1", "C020") }),
		askedWrongly("date-impossible", "§1.4", "dataRiferimentoRichiesta must be a date that exists.", refusedByApp, func(_ *session, d *draft) { d.body = data("2026-02-30", "CONTRATTO-1", "C030") }),
		askedWrongly("operation-id-uuid", "§1.4", "A dashed uuid as idOperazioneClient is refused.", refusedByApp, func(_ *session, d *draft) { d.body = map[string]any{"idOperazioneClient": uuid()} }),
		askedWrongly("criteria-empty", "§1.6", "Empty criteria are EN081 or EN082: a mandatory field is missing.", func(a answer) error {
			if a.status != 400 || !slices.Contains(a.codes("E"), "EN081") && !slices.Contains(a.codes("E"), "EN082") {
				return expected("400 with EN081 or EN082", a)
			}
			return nil
		}, func(_ *session, d *draft) { d.criteria = map[string]any{} }),
		{ID: "c030-by-id", Clause: "§1.4", Sentence: "C030 does not search by idANPR.", Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			return s.asks("C030", s.byID("aire"), refusedByApp)
		}},
		{ID: "as-of-before-birth", Clause: "§6", Sentence: "A person is not in the register before being born: EN042.", Services: []string{"C020"}, Roles: []string{"aire"}, run: func(s *session) error {
			a, err := s.call(draft{service: "C020", criteria: s.byID("aire"), body: map[string]any{"datiRichiesta": map[string]any{
				"dataRiferimentoRichiesta": "1900-01-01", "motivoRichiesta": "CONTRATTO-1", "casoUso": "C020",
			}}})
			if err != nil {
				return err
			}
			return appError(404, "EN042")(a)
		}},
		{ID: "wrong-operation", Clause: "§8 row 13", Sentence: "A wrong path is the appliance's 404, which is not EN122.", Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			return s.unknownPath(s.target.URL + "/" + s.target.Services["C030"] + "/v1/anpr-service-e999")
		}},
		{ID: "en-dash", Clause: "§1.1", Sentence: "The service name with an en dash is an unknown path.", Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			return s.unknownPath(s.target.URL + "/" + strings.Replace(s.target.Services["C030"], "-", "–", 1) + "/v1" + operationPath)
		}},
		{ID: "status", Clause: "§1.1", Sentence: "GET /status answers 200 with code 200 and text OK, problem+json.", Services: []string{"C030"}, run: func(s *session) error {
			a, err := s.get(s.target.URL + "/" + s.target.Services["C030"] + "/v1/status")
			if err != nil {
				return err
			}
			if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") || !slices.Equal(a.codes(""), []string{"200"}) {
				return expected("200, problem+json, one entry with code 200", a)
			}
			return nil
		}},
	}
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (s *session) unknownPath(address string) error {
	a, err := s.call(draft{service: "C030", criteria: s.byCF("aire"), address: address})
	if err != nil {
		return err
	}
	if a.status != 404 || len(a.codes("")) > 0 || str(a.object, "title") == "" {
		return expected("a gateway problem 404 without any register code", a)
	}
	return nil
}

// asks makes one call and holds the answer to an expectation.
func (s *session) asks(service string, criteria map[string]any, want func(answer) error) error {
	a, err := s.call(draft{service: service, criteria: criteria})
	if err != nil {
		return err
	}
	return want(a)
}

// Answers, §1.5 and §1.6.

// answers is a good call whose subjects are looked at.
func answers(id, clause, service, role, sentence string, criteria func(*session) map[string]any, check func(*session, answer) error) Scenario {
	return Scenario{ID: id, Clause: clause, Sentence: sentence, Services: []string{service}, Roles: []string{role}, run: func(s *session) error {
		a, err := s.call(draft{service: service, criteria: criteria(s)})
		if err == nil {
			err = found(a)
		}
		if err != nil {
			return err
		}
		return check(s, a)
	}}
}

func cf(role string) func(*session) map[string]any {
	return func(s *session) map[string]any { return s.byCF(role) }
}

func id(role string) func(*session) map[string]any {
	return func(s *session) map[string]any { return s.byID(role) }
}

var idShape = regexp.MustCompile(`^[A-Za-z0-9]{9}$`)

func life(a answer) string {
	for _, i := range list(a.people()[0]["infoSoggettoEnte"]) {
		if str(i, "id") == "1003" {
			return str(i, "valore")
		}
	}
	return ""
}

func answerScenarios() []Scenario {
	return []Scenario{
		answers("c030-id", "§1.5", "C030", "aire", "C030 answers one idANPR of nine letters and digits.", cf("aire"), func(s *session, a answer) error {
			have, want := str(a.people()[0], "identificativi", "idANPR"), s.target.Subjects["aire"].IDANPR
			if len(a.people()) != 1 || !idShape.MatchString(have) || want != "" && have != want {
				return expected("one subject with the expected idANPR", a)
			}
			return nil
		}),
		answers("c030-only-id", "§1.2", "C030", "aire", "C030 answers nothing but the id.", cf("aire"), func(_ *session, a answer) error {
			if len(a.people()[0]) != 1 {
				return fmt.Errorf("C030 answers %d blocks instead of identificativi alone", len(a.people()[0]))
			}
			return nil
		}),
		answers("c030-by-data", "§1.4", "C030", "aire", "C030 finds a person by surname, name, sex and date of birth.", func(s *session) map[string]any {
			p := s.target.Subjects["aire"]
			return map[string]any{"cognome": p.Surname, "nome": p.Name, "sesso": p.Sex, "datiNascita": map[string]any{"dataEvento": p.Birth}}
		}, func(s *session, a answer) error {
			if str(a.people()[0], "identificativi", "idANPR") != s.target.Subjects["aire"].IDANPR {
				return expected("the same idANPR as by tax code", a)
			}
			return nil
		}),
		answers("c015-general", "§1.2", "C015", "aire", "C015 answers the general data, by idANPR.", id("aire"), func(s *session, a answer) error {
			p := a.people()[0]
			if str(p, "generalita", "codiceFiscale", "codFiscale") != s.target.Subjects["aire"].CF || str(p, "generalita", "sesso") == "" || str(p, "generalita", "dataNascita") == "" {
				return expected("generalita with tax code, sex and date of birth", a)
			}
			return nil
		}),
		answers("c015-aire-flag", "§1.5", "C015", "aire", "soggettoAIRE is S for a person of AIRE.", id("aire"), func(_ *session, a answer) error {
			if str(a.people()[0], "generalita", "soggettoAIRE") != "S" {
				return expected("soggettoAIRE S", a)
			}
			return nil
		}),
		answers("c015-not-aire", "§1.5", "C015", "resident", "soggettoAIRE is absent for a person never in AIRE.", id("resident"), func(_ *session, a answer) error {
			if _, there := at(a.people()[0], "generalita").(map[string]any)["soggettoAIRE"]; there {
				return expected("no soggettoAIRE", a)
			}
			return nil
		}),
		answers("c015-cf-valid", "B.6", "C015", "aire", "A validated tax code has validitaCF 1.", id("aire"), func(_ *session, a answer) error {
			if str(a.people()[0], "generalita", "codiceFiscale", "validitaCF") != "1" {
				return expected("validitaCF 1", a)
			}
			return nil
		}),
		answers("c015-cf-unvalidated", "B.6", "C015", "unvalidated", "A tax code that is not validated has validitaCF 9.", id("unvalidated"), func(_ *session, a answer) error {
			if str(a.people()[0], "generalita", "codiceFiscale", "validitaCF") != "9" {
				return expected("validitaCF 9", a)
			}
			return nil
		}),
		answers("c015-partial-birth", "B.6", "C015", "partial", "A birth date without day, or day and month, is flagged with S.", id("partial"), func(_ *session, a answer) error {
			g := a.people()[0]["generalita"]
			if str(g, "senzaGiorno") != "S" && str(g, "senzaGiornoMese") != "S" {
				return expected("senzaGiorno or senzaGiornoMese S", a)
			}
			return nil
		}),
		answers("c018-citizenship", "§1.2", "C018", "aire", "C018 answers the citizenships with the code of the state.", id("aire"), func(_ *session, a answer) error {
			for _, c := range list(a.people()[0]["cittadinanza"]) {
				if str(c, "codiceStato") == "100" {
					return nil
				}
			}
			return expected("the Italian citizenship, code 100", a)
		}),
		answers("c019-alive", "§1.5", "C019", "aire", "C019 answers infoSoggettoEnte 1003 with S for the living.", id("aire"), func(_ *session, a answer) error {
			if life(a) != "S" {
				return expected("1003 with S", a)
			}
			return nil
		}),
		answers("c019-dead", "§1.5", "C019", "deceased", "C019 answers 1003 with N for the dead.", id("deceased"), func(_ *session, a answer) error {
			if life(a) != "N" {
				return expected("1003 with N", a)
			}
			return nil
		}),
		answers("c020-foreign", "§8 row 28", "C020", "aire", "The residence of a person abroad is in localitaEstera, never in indirizzo, of kind 4 or 6.", id("aire"), func(_ *session, a answer) error {
			all := list(a.people()[0]["residenza"])
			for _, r := range all {
				_, italian := r["indirizzo"]
				kind := str(r, "tipoIndirizzo")
				if italian || kind != "4" && kind != "6" || at(r, "localitaEstera", "indirizzoEstero") == nil {
					return expected("localitaEstera, kind 4 or 6", a)
				}
			}
			if len(all) == 0 {
				return expected("a residence", a)
			}
			return nil
		}),
		answers("c020-consulate", "B.6", "C020", "aire", "A foreign place carries the consulate: a code of up to seven digits and its seat.", id("aire"), func(_ *session, a answer) error {
			for _, r := range list(a.people()[0]["residenza"]) {
				code := str(r, "localitaEstera", "consolato", "codiceConsolato")
				if digits(code) && len(code) <= 7 && str(r, "localitaEstera", "consolato", "descrizioneConsolato") != "" {
					return nil
				}
			}
			return expected("consolato with code and seat", a)
		}),
		answers("c020-italian", "§1.5", "C020", "resident", "A residence in Italy is in indirizzo, with the comune's ISTAT code.", id("resident"), func(_ *session, a answer) error {
			for _, r := range list(a.people()[0]["residenza"]) {
				if code := str(r, "indirizzo", "comune", "codiceIstat"); len(code) == 6 && digits(code) && r["localitaEstera"] == nil {
					return nil
				}
			}
			return expected("indirizzo with a comune", a)
		}),
		answers("c021-family", "§1.2", "C021", "minor", "C021 answers the whole family, each member with legameSoggetto.", id("minor"), func(_ *session, a answer) error {
			for _, p := range a.people() {
				if str(p, "legameSoggetto", "tipoLegame") == "" || str(p, "legameSoggetto", "codiceLegame") == "" {
					return expected("legameSoggetto for every member", a)
				}
			}
			if len(a.people()) < 2 {
				return expected("more than one member", a)
			}
			return nil
		}),
		{ID: "c004-yes", Clause: "§1.2", Sentence: "C004 says S to the declared date of a death the register knows.", Services: []string{"C004"}, Roles: []string{"deceased"}, run: func(s *session) error {
			p := s.target.Subjects["deceased"]
			return s.verify("deceased", p.DiedOn, "S")
		}},
		{ID: "c004-no", Clause: "§1.2", Sentence: "C004 says N to a wrong date, with 200: a mismatch is no error.", Services: []string{"C004"}, Roles: []string{"deceased"}, run: func(s *session) error {
			return s.verify("deceased", "2001-01-01", "N")
		}},
		{ID: "c004-alive", Clause: "§1.2", Sentence: "C004 says N for the living.", Services: []string{"C004"}, Roles: []string{"aire"}, run: func(s *session) error {
			return s.verify("aire", "2020-01-01", "N")
		}},
		answers("c001-warning", "§8 row 15", "C001", "aire", "A search not made by idANPR carries EN148 of type W in listaAnomalie, and the data.", cf("aire"), func(_ *session, a answer) error {
			for _, w := range list(a.object["listaAnomalie"]) {
				if str(w, "codiceErroreAnomalia") == "EN148" && str(w, "tipoErroreAnomalia") == "W" {
					return nil
				}
			}
			return expected("EN148 W in listaAnomalie", a)
		}),
		answers("c001-no-warning", "§1.6", "C001", "aire", "A search by idANPR carries no EN148.", id("aire"), func(_ *session, a answer) error {
			if slices.Contains(a.codes(""), "EN148") {
				return expected("no EN148", a)
			}
			return nil
		}),
		{ID: "absent", Clause: "§1.6", Sentence: "Nobody found is 404 with EN122 of type E.", Services: []string{"C030"}, Roles: []string{"absent"}, run: func(s *session) error {
			return s.asks("C030", s.byCF("absent"), absent)
		}},
		{ID: "absent-id", Clause: "§1.6", Sentence: "An idANPR nobody has is 404 with EN122 too.", Services: []string{"C020"}, run: func(s *session) error {
			return s.asks("C020", map[string]any{"idANPR": "ZZ00000ZZ"}, absent)
		}},
		{ID: "cancelled", Clause: "§1.6", Sentence: "A cancelled subject is 404 with EN122: the reason of a cancellation is not disclosed.", Services: []string{"C020"}, Roles: []string{"cancelled"}, run: func(s *session) error {
			return s.asks("C020", s.byCF("cancelled"), absent)
		}},
		{ID: "cancelled-reasons", Clause: "B.6", Sentence: "Whatever the reason of a cancellation, untraceable or citizenship lost, the answer is the same.", Services: []string{"C020"}, Roles: []string{"cancelled", "lost"}, run: sameCancellation},
		answers("c015-accented", "§8 row 23", "C015", "accented", "A surname keeps its letters beyond ASCII, in UTF-8.", id("accented"), func(s *session, a answer) error {
			if want := s.target.Subjects["accented"].Surname; str(a.people()[0], "generalita", "cognome") != want || ascii(want) {
				return expected("the surname as it is written", a)
			}
			return nil
		}),
		answers("c015-nameless", "B.6", "C015", "nameless", "A person without a first name has senzaNome S and no nome.", id("nameless"), func(_ *session, a answer) error {
			g := a.people()[0]["generalita"]
			if str(g, "senzaNome") != "S" || at(g, "nome") != nil {
				return expected("senzaNome S and no nome", a)
			}
			return nil
		}),
		{ID: "duplicates", Clause: "§8 row 17", Sentence: "Two people under one tax code are two subjects, without an error.", Services: []string{"C020"}, Roles: []string{"duplicate"}, run: func(s *session) error {
			return s.asks("C020", s.byCF("duplicate"), func(a answer) error {
				if found(a) != nil || len(a.people()) < 2 {
					return expected("200 with two subjects", a)
				}
				return nil
			})
		}},
		{ID: "scalars", Clause: "§1.4", Sentence: "Every scalar of an answer is a string.", Services: []string{"C015", "C020"}, Roles: []string{"aire"}, run: func(s *session) error {
			for _, service := range []string{"C015", "C020"} {
				a, err := s.call(draft{service: service, criteria: s.byCF("aire")})
				if err != nil {
					return err
				}
				if bad := notString(a.object, ""); bad != "" {
					return fmt.Errorf("%s: %s is no string", service, bad)
				}
			}
			return nil
		}},
		{ID: "operation-id", Clause: "§8 row 16", Sentence: "idOperazioneANPR is a text of digits beyond 32 bits, new for each operation.", Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			seen := ""
			for range 2 {
				a, err := s.call(draft{service: "C030", criteria: s.byCF("aire")})
				if err != nil {
					return err
				}
				op := str(a.object, "idOperazioneANPR")
				if op == "" || op == seen || digits(op) && len(op) < 10 {
					return fmt.Errorf("idOperazioneANPR is absent, short or the same twice")
				}
				seen = op
			}
			return nil
		}},
		{ID: "error-operation-id", Clause: "§1.6", Sentence: "An error of the register carries idOperazioneANPR, for the support staff.", Services: []string{"C030"}, Roles: []string{"absent"}, run: func(s *session) error {
			return s.asks("C030", s.byCF("absent"), func(a answer) error {
				if str(a.object, "idOperazioneANPR") == "" {
					return expected("idOperazioneANPR", a)
				}
				return nil
			})
		}},
		{ID: "unknown-members", Clause: "§1.4", Sentence: "A member nobody announced does not make a request fail.", Services: []string{"C030"}, Roles: []string{"aire"}, run: func(s *session) error {
			a, err := s.call(draft{service: "C030", criteria: s.byCF("aire"), body: map[string]any{"campoNuovo": "x"}})
			if err != nil {
				return err
			}
			return found(a)
		}},
	}
}

func (s *session) verify(role, died, want string) error {
	a, err := s.call(draft{service: "C004", criteria: s.byID(role), body: map[string]any{
		"verifica": map[string]any{"datiDecesso": map[string]any{"dataEvento": died}},
	}})
	if err == nil {
		err = found(a)
	}
	if err != nil {
		return err
	}
	for _, i := range list(a.people()[0]["infoSoggettoEnte"]) {
		if str(i, "valore") == want {
			return nil
		}
	}
	return expected("infoSoggettoEnte with the value "+want, a)
}

func sameCancellation(s *session) error {
	first := ""
	for _, role := range []string{"cancelled", "lost"} {
		a, err := s.call(draft{service: "C020", criteria: s.byCF(role)})
		if err == nil {
			err = absent(a)
		}
		if err != nil {
			return err
		}
		delete(a.object, "idOperazioneANPR")
		body, err := json.Marshal(a.object)
		if err != nil {
			return err
		}
		if first == "" {
			first = string(body)
		}
		if string(body) != first {
			return fmt.Errorf("the two are told apart, the second by %s", a)
		}
	}
	return nil
}

func ascii(s string) bool { return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0 }

func digits(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}
