package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway/jose"
)

func TestAnHonestProviderChainHolds(t *testing.T) {
	t.Parallel()
	l := newLab()
	l.rules.Type, l.rules.RequireMark = TypeProvider, true
	announce(t, l.op, l.opMark)
	c, err := VerifyChain(l.opChain(t), l.anchor, l.rules)
	if err != nil {
		t.Fatal(err)
	}
	op := c.Metadata[TypeProvider]
	if c.Subject != opID || c.Anchor != taID || len(c.Intermediates) != 0 || len(c.Statements) != 3 || len(c.Marks) != 1 || len(c.RefusedMarks) != 0 {
		t.Fatalf("%+v", c)
	}
	if want := testNow.Add(30 * time.Minute); !c.ExpiresAt.Equal(want) {
		t.Errorf("expires %s, want the statement's end, %s", c.ExpiresAt, want)
	}
	got, err := json.Marshal(op["jwks"])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(got), opCore.KID()) || strings.Contains(string(got), xxKey.KID()) {
		t.Errorf("the superior's keys do not win: %s", got)
	}
	if !equal(op["code_challenge_methods_supported"], []any{"S256"}) {
		t.Errorf("policy not applied: %v", op["code_challenge_methods_supported"])
	}
}

func TestAnHonestChainThroughAnAggregatorHoldsWithAndWithoutItsConfiguration(t *testing.T) {
	t.Parallel()
	l := newLab()
	l.rules.Type = TypeRelyingParty
	for _, chain := range [][]string{l.rpChain(t), l.sign(t, l.rp, l.saRP, l.sa, l.taSA, l.ta)} {
		c, err := VerifyChain(chain, l.anchor, l.rules)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.Intermediates, []string{saID}) || len(c.Statements) != 4 || !c.ExpiresAt.Equal(testNow.Add(20*time.Minute)) {
			t.Fatalf("%+v", c)
		}
		if !equal(c.Metadata[TypeRelyingParty]["grant_types"], []any{"authorization_code"}) {
			t.Fatalf("%v", c.Metadata)
		}
	}
}

func TestTheEndOfAChainIsTheEarliestEndOfAllThatWasUsed(t *testing.T) {
	t.Parallel()
	end := testNow.Add(5 * time.Minute)
	for name, shorten := range map[string]func(l *lab){
		"leaf":         func(l *lab) { l.rp.claims["exp"] = end.Unix() },
		"statement":    func(l *lab) { l.saRP.claims["exp"] = end.Unix() },
		"upper":        func(l *lab) { l.taSA.claims["exp"] = end.Unix() },
		"intermediate": func(l *lab) { l.sa.claims["exp"] = end.Unix() },
		"anchor":       func(l *lab) { l.ta.claims["exp"] = end.Unix() },
		"mark":         func(l *lab) { l.rpMark.claims["exp"] = end.Unix() },
	} {
		l := newLab()
		l.rules.Type, l.rules.RequireMark = TypeRelyingParty, true
		shorten(l)
		announce(t, l.rp, l.rpMark)
		c, err := VerifyChain(l.sign(t, l.rp, l.saRP, l.sa, l.taSA, l.ta), l.anchor, l.rules)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !c.ExpiresAt.Equal(end) {
			t.Errorf("%s: expires %s", name, c.ExpiresAt)
		}
	}
}

// spoilt lists what must break a chain: each case spoils one thing of an honest
// federation and names the code that must come of it. Every check of the
// package that a chain passes through has a case which fails when the check is
// removed.
var spoilt = []struct {
	name  string
	rp    bool // the relying party's chain through the aggregator, else the provider's
	spoil func(t *testing.T, l *lab)
	code  Code
}{
	{"a provider's configuration past its end", false, func(_ *testing.T, l *lab) { l.op.claims["exp"] = testNow.Unix() }, CodeExpired},
	{"a statement past its end", false, func(_ *testing.T, l *lab) { l.taOP.claims["exp"] = testNow.Unix() }, CodeExpired},
	{"an anchor past its end", false, func(_ *testing.T, l *lab) { l.ta.claims["exp"] = testNow.Unix() }, CodeExpired},
	{"an aggregator's statement past its end", true, func(_ *testing.T, l *lab) { l.saRP.claims["exp"] = testNow.Unix() }, CodeExpired},
	{"a configuration from the future", false, func(_ *testing.T, l *lab) { l.op.claims["iat"] = testNow.Unix() + 1 }, CodeFuture},
	{"no iat", false, func(_ *testing.T, l *lab) { delete(l.op.claims, "iat") }, CodeClaim},
	{"no exp", false, func(_ *testing.T, l *lab) { delete(l.op.claims, "exp") }, CodeClaim},
	{"no sub", false, func(_ *testing.T, l *lab) { delete(l.op.claims, "sub") }, CodeClaim},
	{"no iss", false, func(_ *testing.T, l *lab) { delete(l.taOP.claims, "iss") }, CodeClaim},
	{"an identifier that is no URL", false, func(_ *testing.T, l *lab) { l.op.claims["sub"] = "op" }, CodeEntityID},
	{"an identifier over http", false, func(_ *testing.T, l *lab) { l.op.claims["iss"] = "http://op.example.test" }, CodeEntityID},
	{"an identifier with a query", false, func(_ *testing.T, l *lab) { l.op.claims["iss"] = opID + "?a=1" }, CodeEntityID},
	{"an identifier with a fragment", false, func(_ *testing.T, l *lab) { l.op.claims["iss"] = opID + "#" }, CodeEntityID},
	{"an identifier with a user", false, func(_ *testing.T, l *lab) { l.op.claims["iss"] = "https://u@op.example.test" }, CodeEntityID},
	{"no typ", false, func(_ *testing.T, l *lab) { l.op.typ = "" }, CodeTyp},
	{"another typ", false, func(_ *testing.T, l *lab) { l.taOP.typ = "JWT" }, CodeTyp},
	{"alg none", false, func(t *testing.T, l *lab) {
		l.op.raw = crafted(t, object{"alg": "none", "kid": opKey.KID(), "typ": jose.TypeEntityStatement}, l.op.claims, "x")
	}, CodeAlg},
	{"alg HS256", false, func(t *testing.T, l *lab) {
		l.op.raw = crafted(t, object{"alg": "HS256", "kid": opKey.KID(), "typ": jose.TypeEntityStatement}, l.op.claims, "x")
	}, CodeAlg},
	{"no kid", false, func(t *testing.T, l *lab) {
		l.op.raw = crafted(t, object{"alg": "ES256", "typ": jose.TypeEntityStatement}, l.op.claims, "x")
	}, CodeKid},
	{"another kid", false, func(t *testing.T, l *lab) {
		l.op.raw = crafted(t, object{"alg": "ES256", "kid": "other", "typ": jose.TypeEntityStatement}, l.op.claims, "x")
	}, CodeUnknownKey},
	{"a critical header", false, func(t *testing.T, l *lab) {
		l.op.raw = crafted(t, object{"alg": "ES256", "kid": opKey.KID(), "typ": jose.TypeEntityStatement, "crit": []any{"x"}, "x": 1}, l.op.claims, "x")
	}, CodeCritical},
	{"a critical claim nobody understands", false, func(_ *testing.T, l *lab) { l.taOP.claims["crit"] = []any{"only_on_sundays"} }, CodeCritical},
	{"a crit that is no list", false, func(_ *testing.T, l *lab) { l.taOP.claims["crit"] = "jwks" }, CodeCritical},
	{"a member given twice", false, func(t *testing.T, l *lab) {
		payload, err := json.Marshal(l.op.claims)
		if err != nil {
			t.Fatal(err)
		}
		twice := strings.Replace(string(payload), "{", `{"sub":"`+opID+`",`, 1)
		if l.op.raw, err = jose.SignBytes(opKey, jose.Header{Typ: jose.TypeEntityStatement}, []byte(twice)); err != nil {
			t.Fatal(err)
		}
	}, CodeMalformed},
	{"something that is no token", false, func(_ *testing.T, l *lab) { l.op.raw = "hello" }, CodeMalformed},
	{"a statement without end", false, func(_ *testing.T, l *lab) { l.op.raw = strings.Repeat("a", MaxStatement+1) }, CodeTooLarge},
	{"no keys", false, func(_ *testing.T, l *lab) { delete(l.taOP.claims, "jwks") }, CodeKeys},
	{"an empty key set", false, func(_ *testing.T, l *lab) { l.taOP.claims["jwks"] = object{"keys": []any{}} }, CodeKeys},
	{"keys of kinds nobody uses", false, func(_ *testing.T, l *lab) { l.op.claims["jwks"] = object{"keys": []any{oddKey()}} }, CodeKeys},
	{"a key without kid", false, func(_ *testing.T, l *lab) {
		set := jwksOf(opKey)
		delete(set["keys"].([]any)[0].(object), "kid")
		l.op.claims["jwks"] = set
	}, CodeKeys},
	{"a private key in the set", false, func(_ *testing.T, l *lab) {
		set := jwksOf(opKey)
		set["keys"].([]any)[0].(object)["d"] = "AAAA"
		l.op.claims["jwks"] = set
	}, CodeKeys},

	{"an anchor signed by a stranger", false, func(_ *testing.T, l *lab) { l.ta.key = xxKey; l.ta.claims["jwks"] = jwksOf(xxKey, taKey) }, CodeAnchorKey},
	{"an anchor pinned by another key", false, func(_ *testing.T, l *lab) { l.anchor.Keys = jose.NewKeySet(xxKey.Public()) }, CodeAnchorKey},
	{"an anchor that does not publish the key it signs with", false, func(_ *testing.T, l *lab) { l.ta.claims["jwks"] = jwksOf(xxKey) }, CodeSelfSigned},
	{"another anchor", false, func(_ *testing.T, l *lab) { l.anchor.ID = xxID }, CodeAnchorUnknown},
	{"an anchor under its name with a slash", false, func(_ *testing.T, l *lab) { l.anchor.ID = taID + "/" }, CodeAnchorUnknown},
	{"a statement signed by a stranger", false, func(_ *testing.T, l *lab) { l.taOP.key = xxKey }, CodeUnknownKey},
	{"a statement by somebody else", false, func(_ *testing.T, l *lab) { l.taOP.claims["iss"] = xxID }, CodeNotLinked},
	{"a statement about somebody else", false, func(_ *testing.T, l *lab) { l.taOP.claims["sub"] = xxID }, CodeNotLinked},
	{"a statement that vouches for other keys", false, func(_ *testing.T, l *lab) { l.taOP.claims["jwks"] = jwksOf(xxKey) }, CodeUnknownKey},
	{"a leaf that does not publish the key it signs with", false, func(_ *testing.T, l *lab) { l.op.claims["jwks"] = jwksOf(xxKey) }, CodeSelfSigned},
	{"a leaf that does not name its superior", false, func(_ *testing.T, l *lab) { l.op.claims["authority_hints"] = []any{saID} }, CodeHint},
	{"a leaf without hints", false, func(_ *testing.T, l *lab) { delete(l.op.claims, "authority_hints") }, CodeHint},
	{"hints that are no list", false, func(_ *testing.T, l *lab) { l.op.claims["authority_hints"] = taID }, CodeClaim},
	{"more hints than anybody has", false, func(_ *testing.T, l *lab) {
		l.op.claims["authority_hints"] = slices.Repeat([]any{taID}, MaxHints+1)
	}, CodeTooLarge},
	{"a leaf that is spoken about, not speaking", false, func(_ *testing.T, l *lab) { l.op = l.taOP }, CodeNotSelf},
	{"an aggregator's statement signed by the anchor", true, func(_ *testing.T, l *lab) { l.saRP.key = taKey }, CodeUnknownKey},
	{"an aggregator that does not name the anchor", true, func(_ *testing.T, l *lab) { l.sa.claims["authority_hints"] = []any{xxID} }, CodeHint},
	{"an aggregator's configuration by other keys", true, func(_ *testing.T, l *lab) { l.sa.key = xxKey; l.sa.claims["jwks"] = jwksOf(xxKey) }, CodeUnknownKey},
	{"an aggregator's configuration it does not sign itself", true, func(_ *testing.T, l *lab) { l.sa.claims["jwks"] = jwksOf(xxKey) }, CodeSelfSigned},
	{"an entity twice in the chain", true, func(_ *testing.T, l *lab) {
		l.saRP.claims["sub"] = taID
		l.saRP.claims["jwks"] = jwksOf(taKey)
	}, CodeLoop},

	{"no path allowed by the anchor's configuration", true, func(_ *testing.T, l *lab) { l.ta.claims["constraints"] = object{"max_path_length": 0} }, CodePathLength},
	{"no path allowed by the anchor's statement", true, func(_ *testing.T, l *lab) { l.taSA.claims["constraints"] = object{"max_path_length": 0} }, CodePathLength},
	{"no path allowed by a text", true, func(_ *testing.T, l *lab) { l.taSA.claims["constraints"] = `{"max_path_length":"0"}` }, CodePathLength},
	{"no path allowed by the caller", true, func(_ *testing.T, l *lab) { l.rules.MaxPathLength = new(int) }, CodePathLength},
	{"an intermediate above a provider", true, func(_ *testing.T, l *lab) {
		l.rules.Type = TypeProvider
		l.rp.claims["metadata"] = object{"openid_provider": providerMetadata(rpID)}
	}, CodePathLength},
	{"a name outside the permitted", true, func(_ *testing.T, l *lab) {
		l.taSA.claims["constraints"] = object{"naming_constraints": object{"permitted": []any{"sa.example.test"}}}
	}, CodeNaming},
	{"a name among the excluded", true, func(_ *testing.T, l *lab) {
		l.saRP.claims["constraints"] = object{"naming_constraints": object{"permitted": []any{".example.test"}, "excluded": []any{"rp.example.test"}}}
	}, CodeNaming},
	{"an excluded intermediate", true, func(_ *testing.T, l *lab) {
		l.ta.claims["constraints"] = object{"naming_constraints": object{"excluded": []any{"sa.example.test"}}}
	}, CodeNaming},
	{"a constraint of an aggregator's configuration", true, func(_ *testing.T, l *lab) {
		l.sa.claims["constraints"] = object{"naming_constraints": object{"excluded": []any{".example.test"}}}
	}, CodeNaming},
	{"a type the anchor's configuration does not allow", false, func(_ *testing.T, l *lab) {
		l.ta.claims["constraints"] = object{"allowed_leaf_entity_types": []any{"openid_relying_party"}}
	}, CodeEntityType},
	{"a type the statement does not allow", false, func(_ *testing.T, l *lab) {
		l.taOP.claims["constraints"] = object{"allowed_entity_types": []any{}}
	}, CodeEntityType},
	{"two spellings that allow nothing together", false, func(_ *testing.T, l *lab) {
		l.taOP.claims["constraints"] = object{"allowed_entity_types": []any{"openid_relying_party"}, "allowed_leaf_entity_types": []any{"openid_provider"}}
	}, CodeEntityType},
	{"an entity without the wanted type", false, func(_ *testing.T, l *lab) { l.op.claims["metadata"] = object{"federation_entity": object{}} }, CodeEntityType},
	{"an entity of no allowed type at all", false, func(_ *testing.T, l *lab) {
		l.rules.Type = ""
		l.taOP.claims["constraints"] = object{"allowed_entity_types": []any{"oauth_resource"}}
	}, CodeEntityType},
	{"metadata of the wanted type that is no object", false, func(_ *testing.T, l *lab) { l.op.claims["metadata"] = object{"openid_provider": "yes"} }, CodeClaim},
	{"metadata that is no object", false, func(_ *testing.T, l *lab) { l.op.claims["metadata"] = []any{} }, CodeClaim},
	{"a superior's metadata that is no object", false, func(_ *testing.T, l *lab) { l.taOP.claims["metadata"] = object{"openid_provider": 1} }, CodeClaim},
	{"constraints that are prose", false, func(_ *testing.T, l *lab) { l.taOP.claims["constraints"] = "none, please" }, CodeConstraints},
	{"constraints that are a list", false, func(_ *testing.T, l *lab) { l.taOP.claims["constraints"] = []any{} }, CodeConstraints},
	{"a negative path length", false, func(_ *testing.T, l *lab) { l.taOP.claims["constraints"] = object{"max_path_length": -1} }, CodeConstraints},
	{"a broken path length", false, func(_ *testing.T, l *lab) { l.taOP.claims["constraints"] = object{"max_path_length": 0.5} }, CodeConstraints},
	{"a list of types that is none", false, func(_ *testing.T, l *lab) {
		l.taOP.claims["constraints"] = object{"allowed_entity_types": "openid_provider"}
	}, CodeConstraints},
	{"naming constraints that are none", false, func(_ *testing.T, l *lab) {
		l.taOP.claims["constraints"] = object{"naming_constraints": []any{".test"}}
	}, CodeConstraints},

	{"a policy that is no object", false, func(_ *testing.T, l *lab) { l.taOP.claims["metadata_policy"] = "{}" }, CodePolicy},
	{"a policy with an impossible combination", false, func(_ *testing.T, l *lab) {
		l.taOP.claims["metadata_policy"] = object{"openid_provider": object{"issuer": object{"one_of": []any{"x"}, "add": []any{"x"}}}}
	}, CodePolicy},
	{"policies in conflict", true, func(_ *testing.T, l *lab) {
		l.saRP.claims["metadata_policy"] = object{"openid_relying_party": object{"grant_types": object{"superset_of": []any{"password"}}}}
	}, CodePolicy},
	{"a critical operator nobody understands", true, func(_ *testing.T, l *lab) {
		l.taSA.claims["metadata_policy_crit"] = []any{"regexp"}
		l.saRP.claims["metadata_policy"] = object{"openid_relying_party": object{"client_id": object{"regexp": ".*"}}}
	}, CodePolicy},
	{"an essential member missing", false, func(_ *testing.T, l *lab) {
		delete(l.op.claims["metadata"].(object)["openid_provider"].(object), "authorization_endpoint")
	}, CodeMetadata},
	{"the anchor's policy, not only the aggregator's", true, func(_ *testing.T, l *lab) {
		l.taSA.claims["metadata_policy"] = object{"openid_relying_party": object{"logo_uri": object{"essential": true}}}
	}, CodeMetadata},
	{"the aggregator's policy, not only the anchor's", true, func(_ *testing.T, l *lab) {
		l.saRP.claims["metadata_policy"] = object{"openid_relying_party": object{"logo_uri": object{"essential": true}}}
	}, CodeMetadata},
	{"a policy that leaves no supported value", false, func(_ *testing.T, l *lab) {
		l.taOP.claims["metadata_policy"] = object{"openid_provider": object{"acr_values_supported": object{"subset_of": []any{"x"}}}}
	}, CodeMetadata},
	{"a policy that leaves no grant", true, func(_ *testing.T, l *lab) {
		l.saRP.claims["metadata_policy"] = object{}
		l.taSA.claims["metadata_policy"] = object{"openid_relying_party": object{"grant_types": object{"subset_of": []any{"x"}}}}
	}, CodeMetadata},

	{"no mark where one is required", false, func(_ *testing.T, l *lab) { l.rules.RequireMark = true }, CodeMarkMissing},
	{"a mark that is no token", false, func(t *testing.T, l *lab) { l.opMark.raw = "hello"; spoiltMark(t, l) }, CodeMarkMalformed},
	{"an entry without a mark", false, func(_ *testing.T, l *lab) {
		l.rules.RequireMark = true
		l.op.claims["trust_marks"] = []any{object{"id": taID + "/openid_provider/public"}}
	}, CodeMarkMalformed},
	{"a mark without typ", false, func(t *testing.T, l *lab) { l.opMark.typ = ""; spoiltMark(t, l) }, CodeMarkTyp},
	{"a mark of another typ", false, func(t *testing.T, l *lab) { l.opMark.typ = "JWT"; spoiltMark(t, l) }, CodeMarkTyp},
	{"a mark by alg none", false, func(t *testing.T, l *lab) {
		l.opMark.raw = crafted(t, object{"alg": "none", "kid": taKey.KID(), "typ": jose.TypeTrustMark}, l.opMark.claims, "x")
		spoiltMark(t, l)
	}, CodeMarkAlg},
	{"a mark with a false signature", false, func(t *testing.T, l *lab) {
		l.opMark.raw = crafted(t, object{"alg": "ES256", "kid": taKey.KID(), "typ": jose.TypeTrustMark}, l.opMark.claims, strings.Repeat("x", 64))
		spoiltMark(t, l)
	}, CodeMarkSignature},
	{"a mark by a key its issuer does not have", false, func(t *testing.T, l *lab) { l.opMark.key = xxKey; spoiltMark(t, l) }, CodeMarkKey},
	{"a mark by an issuer who may not give it", false, func(t *testing.T, l *lab) {
		l.opMark.claims["iss"], l.opMark.key = saID, saKey
		spoiltMark(t, l)
	}, CodeMarkIssuer},
	{"a mark the entity gave itself", false, func(t *testing.T, l *lab) {
		l.opMark.claims["iss"], l.opMark.key = opID, opKey
		spoiltMark(t, l)
	}, CodeMarkIssuer},
	{"a mark by an issuer outside the chain", false, func(t *testing.T, l *lab) {
		l.ta.claims["trust_mark_issuers"] = object{taID + "/openid_provider/public": []any{xxID}}
		l.opMark.claims["iss"], l.opMark.key = xxID, xxKey
		spoiltMark(t, l)
	}, CodeMarkKey},
	{"a self-given mark, even if the anchor lists it", false, func(t *testing.T, l *lab) {
		l.ta.claims["trust_mark_issuers"] = object{taID + "/openid_provider/public": []any{opID}}
		l.opMark.claims["iss"], l.opMark.key = opID, opKey
		spoiltMark(t, l)
	}, CodeMarkKey},
	{"a mark nobody may give", false, func(t *testing.T, l *lab) {
		l.ta.claims["trust_mark_issuers"] = object{taID + "/openid_provider/public": []any{}}
		spoiltMark(t, l)
	}, CodeMarkIssuer},
	{"a mark without issuer", false, func(t *testing.T, l *lab) { delete(l.opMark.claims, "iss"); spoiltMark(t, l) }, CodeMarkClaim},
	{"a mark without iat", false, func(t *testing.T, l *lab) { delete(l.opMark.claims, "iat"); spoiltMark(t, l) }, CodeMarkClaim},
	{"a mark of another name than announced", false, func(t *testing.T, l *lab) {
		l.rules.RequireMark = true
		announce(t, l.op, l.opMark)
		l.opMark.claims["id"] = taID + "/openid_provider/private"
		l.op.claims["trust_marks"].([]any)[0].(object)["trust_mark"] = l.opMark.sign(t)
	}, CodeMarkID},
	{"a mark of somebody else", false, func(t *testing.T, l *lab) { l.opMark.claims["sub"] = rpID; spoiltMark(t, l) }, CodeMarkSubject},
	{"a mark past its end", false, func(t *testing.T, l *lab) { l.opMark.claims["exp"] = testNow.Unix(); spoiltMark(t, l) }, CodeMarkExpired},
	{"a mark from the future", false, func(t *testing.T, l *lab) { l.opMark.claims["iat"] = testNow.Unix() + 1; spoiltMark(t, l) }, CodeMarkFuture},
	{"a mark for another role", false, func(t *testing.T, l *lab) {
		l.opMark.claims["id"] = taID + "/openid_relying_party/public"
		spoiltMark(t, l)
	}, CodeMarkOtherRole},
	{"a mark without a name", false, func(t *testing.T, l *lab) {
		l.rules.RequireMark = true
		l.op.claims["trust_marks"] = []any{object{"trust_mark": l.opMark.sign(t)}}
	}, CodeMarkMalformed},
	{"a mark with a member given twice", false, func(t *testing.T, l *lab) {
		twice := strings.Replace(string(mustJSON(t, l.opMark.claims)), "{", `{"sub":"`+opID+`",`, 1)
		raw, err := jose.SignBytes(taKey, jose.Header{Typ: jose.TypeTrustMark}, []byte(twice))
		if err != nil {
			t.Fatal(err)
		}
		l.opMark.raw = raw
		spoiltMark(t, l)
	}, CodeMarkMalformed},
	{"a longer table of issuers than anybody has", false, func(_ *testing.T, l *lab) {
		table := object{}
		for i := range maxMarkIssuers + 1 {
			table[fmt.Sprint(i)] = []any{taID}
		}
		l.ta.claims["trust_mark_issuers"] = table
	}, CodeTooLarge},
	{"more marks than anybody has", false, func(_ *testing.T, l *lab) {
		l.op.claims["trust_marks"] = slices.Repeat([]any{object{}}, maxMarks+1)
	}, CodeTooLarge},
}

// spoiltMark announces the provider's spoilt mark and requires one.
func spoiltMark(t *testing.T, l *lab) {
	t.Helper()
	l.rules.RequireMark = true
	announce(t, l.op, l.opMark)
}

func TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode(t *testing.T) {
	t.Parallel()
	for _, c := range spoilt {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab()
			l.rules.Type = TypeProvider
			if c.rp {
				l.rules.Type = TypeRelyingParty
			}
			c.spoil(t, l)
			chain := l.opChain
			if c.rp {
				chain = func(t testing.TB) []string { return l.sign(t, l.rp, l.saRP, l.sa, l.taSA, l.ta) }
			}
			_, err := VerifyChain(chain(t), l.anchor, l.rules)
			if CodeOf(err) != c.code {
				t.Fatalf("got %v, want %s", err, c.code)
			}
			var e *Error
			if errors.As(err, &e) && e.Step == "" {
				t.Errorf("the failing step is not named: %v", err)
			}
		})
	}
}

func TestOneAlteredByteAnywhereBreaksAChain(t *testing.T) {
	t.Parallel()
	l := newLab()
	honest := l.rpChain(t)
	l.rules.Type = TypeRelyingParty
	if _, err := VerifyChain(honest, l.anchor, l.rules); err != nil {
		t.Fatal(err)
	}
	for i, raw := range honest {
		for _, at := range []int{5, len(raw) / 2, len(raw) - 20} {
			altered := slices.Clone(honest)
			b := []byte(raw)
			if b[at] == 'A' {
				b[at] = 'B'
			} else {
				b[at] = 'A'
			}
			altered[i] = string(b)
			if _, err := VerifyChain(altered, l.anchor, l.rules); err == nil {
				t.Errorf("statement %d altered at %d passes", i, at)
			}
		}
	}
}

func TestAChainOfTheWrongShapeIsRefused(t *testing.T) {
	t.Parallel()
	l := newLab()
	op, taOP, ta := l.op.sign(t), l.taOP.sign(t), l.ta.sign(t)
	rp, saRP, sa, taSA := l.rp.sign(t), l.saRP.sign(t), l.sa.sign(t), l.taSA.sign(t)
	for name, c := range map[string]struct {
		chain []string
		code  Code
	}{
		"empty":                       {nil, CodeIncomplete},
		"anchor alone":                {[]string{ta}, CodeIncomplete},
		"no statement":                {[]string{op, ta}, CodeIncomplete},
		"no anchor":                   {[]string{rp, saRP, taSA}, CodeIncomplete},
		"configurations only":         {[]string{op, op, ta}, CodeNotLinked},
		"reversed":                    {[]string{ta, taOP, op}, CodeAnchorUnknown},
		"the aggregator's word lost":  {[]string{rp, taSA, ta}, CodeNotLinked},
		"the anchor's word lost":      {[]string{rp, saRP, ta}, CodeNotLinked},
		"a configuration twice":       {[]string{rp, saRP, sa, sa, taSA, ta}, CodeNotLinked},
		"somebody's configuration":    {[]string{rp, saRP, op, taSA, ta}, CodeNotLinked},
		"the leaf's statement missed": {[]string{op, taSA, ta}, CodeNotLinked},
		"the leaf itself missed":      {[]string{saRP, taSA, ta}, CodeNotSelf},
		"longer than any":             {slices.Repeat([]string{op}, maxChain+1), CodeTooLong},
	} {
		if _, err := VerifyChain(c.chain, l.anchor, l.rules); CodeOf(err) != c.code {
			t.Errorf("%s: got %v, want %s", name, err, c.code)
		}
	}
}

func TestWhatProductionDoesOddlyIsTolerated(t *testing.T) {
	t.Parallel()
	for name, odd := range map[string]func(t *testing.T, l *lab){
		"only the old spelling of the issuers' table": func(_ *testing.T, l *lab) {
			l.ta.claims["trust_marks_issuers"] = l.ta.claims["trust_mark_issuers"]
			delete(l.ta.claims, "trust_mark_issuers")
		},
		"the new spelling wins": func(_ *testing.T, l *lab) {
			l.ta.claims["trust_marks_issuers"] = object{taID + "/openid_provider/public": []any{}}
		},
		"a mark's name ends in a slash in the table only": func(_ *testing.T, l *lab) {
			l.ta.claims["trust_mark_issuers"] = object{taID + "/openid_provider/public/": []any{taID}}
		},
		"a mark without end":           func(_ *testing.T, l *lab) { delete(l.opMark.claims, "exp") },
		"a mark in the final spelling": func(_ *testing.T, l *lab) { l.opMark.claims["trust_mark_type"] = l.opMark.claims["id"] },
		"empty text as constraints":    func(_ *testing.T, l *lab) { l.taOP.claims["constraints"] = "" },
		"null as constraints":          func(_ *testing.T, l *lab) { l.taOP.claims["constraints"] = nil },
		"hints of another type in a statement": func(_ *testing.T, l *lab) {
			l.taOP.claims["authority_hints"] = "nobody reads this"
		},
		"marks in a statement":            func(_ *testing.T, l *lab) { l.taOP.claims["trust_marks"] = []any{object{"id": "x", "trust_mark": "y"}} },
		"metadata of unknown types":       func(_ *testing.T, l *lab) { l.op.claims["metadata"].(object)["other"] = "text" },
		"claims nobody knows":             func(_ *testing.T, l *lab) { l.op.claims["policy_language_crit"] = 7; l.op.claims["aud"] = "anybody" },
		"critical claims that we do know": func(_ *testing.T, l *lab) { l.taOP.claims["crit"] = []any{"constraints", "metadata_policy"} },
		"an encryption key in the anchor": func(_ *testing.T, l *lab) { odd := jwksOf(taKey); addKey(odd, oddKey()); l.ta.claims["jwks"] = odd },
		"an operator nobody calls critical": func(_ *testing.T, l *lab) {
			l.taOP.claims["metadata_policy"].(object)["openid_provider"].(object)["issuer"] = object{"regexp": "x"}
		},
		"a second hint": func(_ *testing.T, l *lab) { l.op.claims["authority_hints"] = []any{xxID, taID} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab()
			l.rules.Type, l.rules.RequireMark = TypeProvider, true
			odd(t, l)
			announce(t, l.op, l.opMark)
			c, err := VerifyChain(l.opChain(t), l.anchor, l.rules)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Marks) != 1 {
				t.Fatalf("marks: %v", c.RefusedMarks)
			}
		})
	}
}

// oddKey is a key of a kind we do not use.
func oddKey() object {
	return object{"kty": "OKP", "crv": "X25519", "kid": "defaultRSAEnc", "use": "enc", "x": "AAAA"}
}

func addKey(set, key object) { set["keys"] = append(set["keys"].([]any), key) }

func TestTheFinalSpellingOfAMarkAloneIsRead(t *testing.T) {
	t.Parallel()
	for _, spelling := range []string{"id", "trust_mark_id", "trust_mark_type"} {
		l := newLab()
		l.rules.Type, l.rules.RequireMark = TypeProvider, true
		id := l.opMark.claims["id"]
		delete(l.opMark.claims, "id")
		l.opMark.claims[spelling] = id
		l.op.claims["trust_marks"] = []any{object{spelling: id, "trust_mark": l.opMark.sign(t)}}
		if _, err := VerifyChain(l.opChain(t), l.anchor, l.rules); err != nil {
			t.Errorf("%s: %v", spelling, err)
		}
	}
	if markName(object{"id": "a", "trust_mark_type": "b"}) != "" {
		t.Error("two names that differ are no name")
	}
}

func TestABadMarkIsDroppedWhereNoneIsRequired(t *testing.T) {
	t.Parallel()
	l := newLab()
	l.opMark.claims["sub"] = rpID
	announce(t, l.op, l.opMark)
	c, err := VerifyChain(l.opChain(t), l.anchor, l.rules)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Marks) != 0 || len(c.RefusedMarks) != 1 || CodeOf(c.RefusedMarks[0]) != CodeMarkSubject {
		t.Fatalf("%v, %v", c.Marks, c.RefusedMarks)
	}
}

func TestClockSkewIsAllowedOnlyAsFarAsTheCallerSays(t *testing.T) {
	t.Parallel()
	l := newLab()
	l.op.claims["iat"] = testNow.Add(20 * time.Second).Unix()
	l.rules.Skew = 30 * time.Second
	if _, err := VerifyChain(l.opChain(t), l.anchor, l.rules); err != nil {
		t.Fatal(err)
	}
	l.rules.Skew = 10 * time.Second
	if _, err := VerifyChain(l.opChain(t), l.anchor, l.rules); CodeOf(err) != CodeFuture {
		t.Fatalf("got %v", err)
	}
}

func TestTypesThatAreNotAllowedAreRemovedAndTheRestStays(t *testing.T) {
	t.Parallel()
	l := newLab()
	l.rules.Type = TypeRelyingParty
	l.rp.claims["metadata"].(object)["oauth_resource"] = object{"a": 1}
	l.ta.claims["constraints"] = object{"allowed_entity_types": []any{TypeRelyingParty}}
	c, err := VerifyChain(l.rpChain(t), l.anchor, l.rules)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Metadata["oauth_resource"]; ok || c.Metadata[TypeFederationEntity] == nil || c.Metadata[TypeRelyingParty] == nil {
		t.Fatalf("%v", c.Metadata)
	}
}

func TestARefusalNamesWhoDemandedWhatFailed(t *testing.T) {
	t.Parallel()
	l := newLab()
	l.rules.Type = TypeRelyingParty
	l.saRP.claims["constraints"] = object{"allowed_entity_types": []any{"oauth_resource"}}
	_, err := VerifyChain(l.rpChain(t), l.anchor, l.rules)
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeEntityType || e.Step != "constraints" || e.Entity != saID {
		t.Fatalf("got %v", err)
	}
}

func TestASuperiorsMetadataIsSetBeforePolicy(t *testing.T) {
	t.Parallel()
	l := newLab()
	l.saRP.claims["metadata"] = object{TypeRelyingParty: object{"grant_types": []any{"authorization_code", "x"}, "policy_uri": "https://p.example.test"}, "oauth_resource": object{"not": "added"}}
	c, err := VerifyChain(l.rpChain(t), l.anchor, l.rules)
	if err != nil {
		t.Fatal(err)
	}
	m := c.Metadata[TypeRelyingParty]
	if !equal(m["grant_types"], []any{"authorization_code"}) || m["policy_uri"] != "https://p.example.test" || c.Metadata["oauth_resource"] != nil {
		t.Fatalf("%v", c.Metadata)
	}
}

func TestNamesAreConstrainedAsCertificatesAre(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		permitted, excluded []string
		id                  string
		ok                  bool
	}{
		{nil, nil, "https://a.example.com", true},
		{[]string{}, nil, "https://a.example.com", false},
		{[]string{".example.com"}, nil, "https://a.b.example.com/x", true},
		{[]string{".example.com"}, nil, "https://example.com", false},
		{[]string{"example.com"}, nil, "https://example.com:8443/x", true},
		{[]string{"example.com"}, nil, "https://a.example.com", false},
		{[]string{".example.com"}, nil, "https://badexample.com", false},
		{[]string{".EXAMPLE.com"}, nil, "https://A.example.COM", true},
		{[]string{".example.com"}, []string{"east.example.com"}, "https://east.example.com", false},
		{[]string{".example.com"}, []string{"east.example.com"}, "https://far.east.example.com", true},
		{nil, []string{".example.com"}, "https://a.example.com", false},
	} {
		if got := (Constraints{Permitted: c.permitted, Excluded: c.excluded}).admitsName(c.id); got != c.ok {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// demo is one file of the recorded Django federation of 2022.
type demo struct {
	Statements  []struct{ Iss, Sub, JWT string }
	TrustChains []struct {
		Sub      string
		Chain    json.RawMessage
		Exp      time.Time
		Metadata json.RawMessage
	} `json:"trust_chains"`
}

func demoFiles(t *testing.T) map[string]demo {
	t.Helper()
	out := map[string]demo{}
	for _, name := range []string{"federation_authority", "provider", "relying_party"} {
		path := shared(t, "fixtures", "oidc", "django-demo-federation", name+".json")
		if path == "" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var d demo
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatal(err)
		}
		out[name] = d
	}
	return out
}

// chain gives a recorded chain from leaf to anchor. It is recorded as leaf,
// anchor and, in a list of its own, the statements between.
func (d demo) chain(t *testing.T, i int) []string {
	t.Helper()
	var parts []json.RawMessage
	if err := json.Unmarshal(d.TrustChains[i].Chain, &parts); err != nil || len(parts) != 3 {
		t.Fatalf("%d parts: %v", len(parts), err)
	}
	var leaf, anchor string
	var between []string
	for j, dst := range []any{&leaf, &anchor, &between} {
		if err := json.Unmarshal(parts[j], dst); err != nil {
			t.Fatal(err)
		}
	}
	return append(append([]string{leaf}, between...), anchor)
}

func TestTheRecordedDjangoFederationHoldsAtItsTimeAndAtNoOther(t *testing.T) {
	t.Parallel()
	statements, chains := 0, 0
	for name, d := range demoFiles(t) {
		// All statements of the anchor as recorded share its key: it is pinned.
		var pinned jose.KeySet
		for _, s := range d.Statements {
			statements++
			parsed, err := ParseStatement(s.JWT)
			if err != nil {
				t.Errorf("%s: %s about %s: %v", name, s.Iss, s.Sub, err)
				continue
			}
			if parsed.IsConfiguration() && strings.TrimSuffix(parsed.Subject, "/") == "http://127.0.0.1:8000" {
				pinned = parsed.Keys
			}
		}
		for i, want := range d.TrustChains {
			chains++
			chain := d.chain(t, i)
			leaf, err := ParseStatement(chain[0])
			if err != nil {
				t.Fatal(err)
			}
			now := want.Exp.Add(-time.Minute)
			anchor := Anchor{ID: "http://127.0.0.1:8000/", Keys: pinned}
			c, err := VerifyChain(chain, anchor, Rules{Now: now})
			if err != nil {
				t.Errorf("%s: %s: %v", name, want.Sub, err)
				continue
			}
			if c.Subject != leaf.Subject || c.ExpiresAt.After(want.Exp.Add(time.Second)) || c.ExpiresAt.Before(want.Exp.Add(-time.Second)) {
				t.Errorf("%s: %s expires %s, recorded %s", name, c.Subject, c.ExpiresAt, want.Exp)
			}
			if _, err := VerifyChain(chain, anchor, Rules{Now: c.ExpiresAt}); CodeOf(err) != CodeExpired {
				t.Errorf("at its end: %v", err)
			}
			if _, err := VerifyChain(chain, anchor, Rules{Now: now.Add(-96 * time.Hour)}); CodeOf(err) != CodeFuture {
				t.Errorf("before its time: %v", err)
			}
			if _, err := VerifyChain(chain, Anchor{ID: anchor.ID, Keys: leaf.Keys}, Rules{Now: now}); CodeOf(err) != CodeAnchorKey {
				t.Errorf("with a wrong pin: %v", err)
			}
		}
	}
	if statements > 0 && (statements < 19 || chains < 8) {
		t.Errorf("%d statements, %d chains: fewer than recorded", statements, chains)
	}
}

func FuzzStatement(f *testing.F) {
	l := newLab()
	announce(f, l.op, l.opMark)
	for _, p := range []*paper{l.ta, l.sa, l.op, l.rp, l.taOP, l.taSA, l.saRP} {
		payload, err := json.Marshal(p.claims)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := parseClaims(payload)
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("an error without code: %v", err)
			}
			return
		}
		if CheckEntityID(s.Issuer) != nil || CheckEntityID(s.Subject) != nil || s.Keys.Len() == 0 || len(s.AuthorityHints) > MaxHints || len(s.Marks) > maxMarks {
			t.Fatalf("parsed beyond its bounds: %+v", s)
		}
	})
}

func FuzzChain(f *testing.F) {
	l := newLab()
	for _, chain := range [][]string{l.opChain(f), l.rpChain(f), l.sign(f, l.rp, l.saRP, l.sa, l.taSA, l.ta)} {
		f.Add(strings.Join(chain, "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := VerifyChain(strings.Split(text, "\n"), l.anchor, Rules{Now: testNow})
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("an error without code: %v", err)
			}
			return
		}
		if c.Anchor != taID || len(c.Statements) < 3 {
			t.Fatalf("%+v", c)
		}
	})
}
