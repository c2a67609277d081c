package federation

import (
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"airegw/gateway/jose"
)

const (
	taID = "https://ta.example.test"
	saID = "https://sa.example.test"
	opID = "https://op.example.test"
	rpID = "https://rp.example.test/c_h501"
	xxID = "https://xx.example.test"
)

var (
	testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	// Keys of the test federation, made anew in each run; fast ones.
	taKey, saKey, opKey, rpKey, xxKey, opCore = newKey(), newKey(), newKey(), newKey(), newKey(), newKey()
)

func newKey() jose.Key {
	k, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		panic(err)
	}
	return k
}

// object is a JSON object under construction.
type object = map[string]any

// paper is something to be signed.
type paper struct {
	claims object
	key    jose.Key
	typ    string
	raw    string // sent as it is instead, when set
}

func (p *paper) sign(t testing.TB) string {
	t.Helper()
	if p.raw != "" {
		return p.raw
	}
	payload, err := json.Marshal(p.claims)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.SignBytes(p.key, jose.Header{Typ: p.typ, NoTyp: p.typ == ""}, payload)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// crafted makes a JWS with any header and the signature's bytes, for what our
// own library refuses to make.
func crafted(t testing.TB, header, claims object, signature string) string {
	t.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	b := base64.RawURLEncoding.EncodeToString
	return b(h) + "." + b(c) + "." + b([]byte(signature))
}

func jwksOf(keys ...jose.Key) object {
	var public []jose.PublicKey
	for _, k := range keys {
		public = append(public, k.Public())
	}
	data, err := json.Marshal(jose.NewKeySet(public...))
	if err != nil {
		panic(err)
	}
	var out object
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}

func statementOf(iss, sub string, signer, subject jose.Key, life time.Duration) *paper {
	return &paper{key: signer, typ: jose.TypeEntityStatement, claims: object{
		"iss": iss, "sub": sub, "iat": testNow.Unix(), "exp": testNow.Add(life).Unix(), "jwks": jwksOf(subject),
	}}
}

func markOf(taID, id, sub string) *paper {
	return &paper{key: taKey, typ: jose.TypeTrustMark, claims: object{
		"iss": taID, "sub": sub, "id": id, "iat": testNow.Add(-time.Hour).Unix(), "exp": testNow.AddDate(1, 0, 0).Unix(),
		"organization_type": "public",
	}}
}

// lab is a small federation whose papers a test may spoil before they are
// signed: anchor, aggregator, provider, relying party below the aggregator.
type lab struct {
	ta, sa, op, rp         *paper // configurations
	taOP, taSA, saRP, taRP *paper // statements
	opMark, rpMark         *paper
	rules                  Rules
	anchor                 Anchor
}

func newLab() *lab { return newLabAt(taID, saID, opID, rpID) }

// newLabAt is newLab under other identifiers.
func newLabAt(taID, saID, opID, rpID string) *lab {
	l := &lab{
		ta: statementOf(taID, taID, taKey, taKey, 24*time.Hour),
		sa: statementOf(saID, saID, saKey, saKey, time.Hour),
		op: statementOf(opID, opID, opKey, opKey, 2*time.Hour),
		rp: statementOf(rpID, rpID, rpKey, rpKey, 3*time.Hour),

		taOP: statementOf(taID, opID, taKey, opKey, 30*time.Minute),
		taSA: statementOf(taID, saID, taKey, saKey, 30*time.Minute),
		saRP: statementOf(saID, rpID, saKey, rpKey, 20*time.Minute),
		taRP: statementOf(taID, rpID, taKey, rpKey, 30*time.Minute),

		opMark: markOf(taID, taID+"/openid_provider/public", opID),
		rpMark: markOf(taID, taID+"/openid_relying_party/public", rpID),

		rules:  Rules{Now: testNow},
		anchor: Anchor{ID: taID, Keys: jose.NewKeySet(taKey.Public())},
	}
	issuers := object{
		taID + "/openid_provider/public":      []any{taID},
		taID + "/openid_relying_party/public": []any{taID, saID},
	}
	l.ta.claims["metadata"] = object{"federation_entity": object{
		"federation_fetch_endpoint":             taID + "/fetch",
		"federation_list_endpoint":              taID + "/list",
		"federation_resolve_endpoint":           taID + "/resolve",
		"federation_trust_mark_status_endpoint": taID + "/trust_mark_status",
	}}
	l.ta.claims["constraints"] = object{"max_path_length": 1}
	l.ta.claims["trust_mark_issuers"] = issuers
	l.ta.claims["trust_marks_issuers"] = issuers
	l.sa.claims["authority_hints"] = []any{taID}
	l.sa.claims["metadata"] = object{"federation_entity": object{"federation_fetch_endpoint": saID + "/fetch"}}
	// As production has it: a text, and hints where none belong.
	l.taSA.claims["constraints"] = "{}"
	l.taSA.claims["authority_hints"] = []any{taID}
	l.op.claims["authority_hints"] = []any{taID}
	l.op.claims["metadata"] = object{"openid_provider": providerMetadata(opID)}
	l.taOP.claims["metadata_policy"] = object{"openid_provider": object{
		"jwks":                             object{"value": jwksOf(opCore)},
		"subject_types_supported":          object{"value": []any{"pairwise"}},
		"code_challenge_methods_supported": object{"subset_of": []any{"S256"}, "essential": true},
		"authorization_endpoint":           object{"essential": true},
	}}
	l.rp.claims["authority_hints"] = []any{saID}
	l.rp.claims["metadata"] = object{
		"federation_entity":    object{"organization_name": "Comune di Prova"},
		"openid_relying_party": object{"client_id": rpID, "redirect_uris": []any{rpID + "/callback"}, "grant_types": []any{"authorization_code", "password"}, "response_types": []any{"code"}},
	}
	policy := object{"openid_relying_party": object{"grant_types": object{"subset_of": []any{"authorization_code", "refresh_token"}}, "client_id": object{"essential": true}}}
	l.taSA.claims["metadata_policy"] = policy
	l.taRP.claims["metadata_policy"] = policy
	l.saRP.claims["metadata_policy"] = object{"openid_relying_party": object{"grant_types": object{"superset_of": []any{"authorization_code"}}}}
	return l
}

func providerMetadata(id string) object {
	return object{
		"issuer": id, "authorization_endpoint": id + "/authorization", "token_endpoint": id + "/token",
		"userinfo_endpoint": id + "/userinfo", "revocation_endpoint": id + "/revocation",
		"jwks":                                             jwksOf(xxKey), // overwritten by the policy's value
		"response_types_supported":                         []any{"code"},
		"subject_types_supported":                          []any{"pairwise", "public"},
		"code_challenge_methods_supported":                 []any{"S256", "plain"},
		"token_endpoint_auth_methods_supported":            []any{"private_key_jwt"},
		"token_endpoint_auth_signing_alg_values_supported": []any{"RS256"},
		"id_token_signing_alg_values_supported":            []any{"RS256", "ES256"},
		"userinfo_signing_alg_values_supported":            []any{"RS256"},
		"userinfo_encryption_alg_values_supported":         []any{"RSA-OAEP", "RSA-OAEP-256"},
		"userinfo_encryption_enc_values_supported":         []any{"A256CBC-HS512", "A128CBC-HS256"},
		"request_object_signing_alg_values_supported":      []any{"RS256"},
		"acr_values_supported":                             []any{"https://www.spid.gov.it/SpidL2", "https://www.spid.gov.it/SpidL3"},
		"authorization_response_iss_parameter_supported":   true,
	}
}

// announce puts a mark into a configuration.
func announce(t testing.TB, ec, mark *paper) {
	t.Helper()
	entry := object{"id": mark.claims["id"], "trust_mark": mark.sign(t)}
	list, _ := ec.claims["trust_marks"].([]any)
	ec.claims["trust_marks"] = append(list, entry)
}

func (l *lab) sign(t testing.TB, papers ...*paper) []string {
	t.Helper()
	var out []string
	for _, p := range papers {
		out = append(out, p.sign(t))
	}
	return out
}

func (l *lab) opChain(t testing.TB) []string { return l.sign(t, l.op, l.taOP, l.ta) }
func (l *lab) rpChain(t testing.TB) []string { return l.sign(t, l.rp, l.saRP, l.taSA, l.ta) }
