package opsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

// Class is what a relying party must make of a fault: one of the five classes
// of entra-con-cie §8, or Tolerated.
type Class string

// The five classes and the one that is none.
const (
	ClassCancelled     Class = "cancelled"         // the user refused
	ClassLevel         Class = "level_not_reached" // lower than the minimum asked
	ClassUnavailable   Class = "unavailable"       // temporarily, try later
	ClassExpired       Class = "expired"           // this attempt is over, start again
	ClassConfiguration Class = "configuration"     // a mistake at either end, contact us
	Tolerated          Class = "tolerated"         // odd, but the login succeeds
)

// The operations that fault rules name.
const (
	OpAnchorConfiguration = "anchor-configuration"
	OpAnchorList          = "anchor-list"
	OpAnchorFetch         = "anchor-fetch"
	OpAnchorResolve       = "anchor-resolve"
	OpAnchorMarkStatus    = "anchor-mark-status"
	OpAnchorHistory       = "anchor-history"
	OpConfiguration       = "op-configuration"
	OpResolve             = "op-resolve"
	OpAuthorize           = "authorize"
	OpPages               = "pages"
	OpToken               = "token"
	OpUserInfo            = "userinfo"
	OpIntrospection       = "introspection"
	OpRevocation          = "revocation"
	OpOperators           = "operators"           // discovery and keys
	OpOperatorsAuthorize  = "operators-authorize" // and the operators' pages
	OpOperatorsToken      = "operators-token"     // and userinfo
)

// FaultCase is one way to go wrong and what must come of it. Faults of
// federation papers show when the relying party's chain is renewed: with no
// other chain left it fails closed with ClassUnavailable, since it cannot know
// whom to send the citizen to (entra-con-cie §2.4 step 8).
type FaultCase struct {
	Name  string `json:"name"`
	Op    string `json:"op"` // of the rule; the same name may stand at several operations
	About string `json:"about"`
	Class Class  `json:"class"`
	// Needs says what must be switched on for the fault to be seen; empty:
	// nothing.
	Needs string `json:"needs,omitempty"`
}

const (
	needsMark     = "a relying party that demands the provider's trust mark"
	needsRefresh  = "a relying party that asks for offline_access"
	needsOperator = "a login of an operator"
	needsLogout   = "a logout"
)

// Catalogue is the table of all faults.
func Catalogue() []FaultCase {
	list := federationFaults()
	list = append(list, responseFaults()...)
	list = append(list, tokenFaults()...)
	list = append(list, userInfoFaults()...)
	return append(list, operatorFaults()...)
}

func federationFaults() []FaultCase {
	c := func(op, name, about string) FaultCase {
		return FaultCase{Name: name, Op: op, About: about, Class: ClassUnavailable}
	}
	list := []FaultCase{
		c(OpAnchorConfiguration, "anchor-ec-expired", "the anchor's configuration is past its exp"),
		c(OpAnchorConfiguration, "anchor-ec-from-future", "its iat is an hour ahead"),
		c(OpAnchorConfiguration, "anchor-ec-wrong-kid", "signed under a kid nobody published"),
		c(OpAnchorConfiguration, "anchor-ec-foreign-key", "signed by a key that is not pinned, under the kid of one that is"),
		c(OpAnchorConfiguration, "anchor-ec-no-typ", "without typ"),
		c(OpAnchorConfiguration, "anchor-ec-alg-none", "alg none"),
		c(OpAnchorConfiguration, "anchor-ec-hs256", "HS256 under the public key"),
		c(OpAnchorConfiguration, "anchor-ec-wrong-type", "served as text/html"),
		c(OpAnchorConfiguration, "anchor-ec-redirect", "302 to another address"),
		c(OpAnchorConfiguration, "anchor-ec-oversized", "ten megabytes"),
		c(OpAnchorConfiguration, "constraint-type", "allowed_leaf_entity_types without openid_provider"),
		c(OpAnchorConfiguration, sim.FaultHTTP503, "the anchor is out of service"),
		c(OpAnchorList, "list-without-op", "the provider is not in the list"),
		c(OpAnchorList, "list-malformed", "an object instead of a list"),
		c(OpAnchorFetch, "statement-expired", "the statement about the provider is past its exp"),
		c(OpAnchorFetch, "statement-from-future", "its iat is an hour ahead"),
		c(OpAnchorFetch, "statement-wrong-kid", "signed under a kid nobody published"),
		c(OpAnchorFetch, "statement-foreign-key", "signed by another key under the anchor's kid"),
		c(OpAnchorFetch, "statement-no-typ", "without typ"),
		c(OpAnchorFetch, "statement-wrong-sub", "about another entity"),
		c(OpAnchorFetch, "statement-wrong-iss", "by another issuer"),
		c(OpAnchorFetch, "statement-keys-differ", "vouches for other keys than the provider signed with"),
		c(OpAnchorFetch, "statement-policy-conflict", "one_of and add on the same parameter"),
		c(OpAnchorFetch, "statement-policy-violated", "demands a code challenge method the provider lacks"),
		c(OpAnchorFetch, "statement-crit", "a critical claim nobody knows"),
		c(OpAnchorFetch, "statement-unknown", "404 for the provider"),
		c(OpConfiguration, "op-ec-expired", "the provider's configuration is past its exp"),
		c(OpConfiguration, "op-ec-from-future", "its iat is an hour ahead"),
		c(OpConfiguration, "op-ec-wrong-kid", "signed under a kid nobody published"),
		c(OpConfiguration, "op-ec-foreign-key", "signed by another key under the provider's kid"),
		c(OpConfiguration, "op-ec-no-typ", "without typ"),
		c(OpConfiguration, "op-ec-alg-none", "alg none"),
		c(OpConfiguration, "op-ec-iss-not-sub", "iss and sub differ"),
		c(OpConfiguration, "op-ec-wrong-type", "served as application/json"),
		c(OpConfiguration, "op-ec-redirect", "302 to another address"),
		c(OpConfiguration, "op-ec-oversized", "ten megabytes"),
		c(OpConfiguration, "op-ec-hints-elsewhere", "authority_hints name an intermediate, which may not stand between provider and anchor"),
		c(OpConfiguration, "op-ec-hint-loop", "authority_hints name the provider itself"),
		c(OpConfiguration, "op-ec-hints-many", "a thousand authority_hints"),
		c(OpConfiguration, "op-ec-essential-missing", "no token_endpoint"),
		c(OpConfiguration, "op-ec-wrong-issuer", "metadata names another issuer"),
		c(OpConfiguration, sim.FaultHTTP503, "the provider is out of service"),
	}
	marks := []FaultCase{
		c(OpConfiguration, "mark-missing", "no trust mark"),
		c(OpConfiguration, "mark-other-subject", "the mark was given to somebody else"),
		c(OpConfiguration, "mark-issuer-unlisted", "the mark's issuer may not give it"),
		c(OpConfiguration, "mark-expired", "the mark is past its exp"),
		c(OpConfiguration, "mark-foreign-key", "the mark is signed by another key"),
		c(OpConfiguration, "mark-id-differs", "the mark has another id than its entry"),
		c(OpAnchorMarkStatus, "mark-revoked", "revoked: only the status endpoint knows"),
	}
	for i := range marks {
		marks[i].Needs = needsMark
	}
	odd := func(op, name, about string) FaultCase {
		return FaultCase{Name: name, Op: op, About: about, Class: Tolerated}
	}
	return append(append(list, marks...),
		odd(OpAnchorFetch, "statement-string-constraints", `constraints is the string "{}", as production's`),
		odd(OpAnchorConfiguration, "anchor-ec-old-issuers-name", "only the old name trust_marks_issuers"),
		odd(OpAnchorFetch, "statement-hints", "authority_hints in the statement, as production's"),
	)
}

func responseFaults() []FaultCase {
	c := func(name, about string, class Class) FaultCase {
		return FaultCase{Name: name, Op: OpAuthorize, About: about, Class: class}
	}
	return []FaultCase{
		c("response-wrong-iss", "iss of another provider (mix-up)", ClassConfiguration),
		c("response-no-iss", "without iss, which CIE makes mandatory", ClassConfiguration),
		c("response-wrong-state", "a state the relying party never sent", ClassExpired),
		c("response-no-state", "without state", ClassExpired),
		c("response-state-twice", "state twice", ClassConfiguration),
		c("response-code-and-error", "code and error together", ClassConfiguration),
		c("response-empty", "neither code nor error", ClassConfiguration),
		c("response-old-code", "the code of an earlier login", ClassExpired),
		c("response-bad-code", "a code the provider does not know", ClassExpired),
		c("error-access-denied", "access_denied", ClassCancelled),
		c("error-consent-required", "consent_required", ClassCancelled),
		c("error-login-required", "login_required", ClassExpired),
		c("error-temporarily-unavailable", "temporarily_unavailable", ClassUnavailable),
		c("error-temporary-unavailable", "temporary_unavailable, as the AgID suite spells it", ClassUnavailable),
		c("error-server-error", "server_error", ClassUnavailable),
		c("error-invalid-request", "invalid_request", ClassConfiguration),
		c("error-invalid-scope", "invalid_scope", ClassConfiguration),
		c("error-invalid-client", "invalid_client", ClassConfiguration),
		c("error-unauthorized-client", "unauthorized_client", ClassConfiguration),
		c("error-unsupported-response-type", "unsupported_response_type", ClassConfiguration),
		c("error-unknown", "rejected_by_user, a code no text knows", ClassConfiguration),
		c("error-markup", "invalid_request with markup in error_description", ClassConfiguration),
	}
}

// errorFaults are the faults that answer an error in place of a code, in the
// order they are tried.
var errorFaults = []struct{ name, code string }{
	{"error-access-denied", "access_denied"},
	{"error-consent-required", "consent_required"},
	{"error-login-required", "login_required"},
	{"error-temporarily-unavailable", "temporarily_unavailable"},
	{"error-temporary-unavailable", "temporary_unavailable"},
	{"error-server-error", "server_error"},
	{"error-invalid-request", "invalid_request"},
	{"error-invalid-scope", "invalid_scope"},
	{"error-invalid-client", "invalid_client"},
	{"error-unauthorized-client", "unauthorized_client"},
	{"error-unsupported-response-type", "unsupported_response_type"},
	{"error-unknown", "rejected_by_user"},
	{"error-markup", "invalid_request"},
}

func tokenFaults() []FaultCase {
	c := func(name, about string, class Class) FaultCase {
		return FaultCase{Name: name, Op: OpToken, About: about, Class: class}
	}
	bad := func(name, about string) FaultCase { return c(name, about, ClassConfiguration) }
	return []FaultCase{
		c(sim.FaultHTTP503, "503 before the request is looked at", ClassUnavailable),
		c(sim.FaultHTML200, "200 with a page", ClassUnavailable),
		c(sim.FaultEmpty200, "200 with nothing", ClassUnavailable),
		c(sim.FaultDropRequest, "the connection closes", ClassUnavailable),
		c(sim.FaultDropAnswer, "tokens are issued, the answer is lost", ClassUnavailable),
		c(sim.FaultCutBody, "the answer breaks off", ClassUnavailable),
		c("token-temporarily-unavailable", "503 temporarily_unavailable", ClassUnavailable),
		c("token-server-error", "500 server_error", ClassUnavailable),
		c("token-invalid-grant", "invalid_grant for a good code", ClassExpired),
		bad("token-invalid-client", "401 invalid_client for a good assertion"),
		bad("token-invalid-request", "400 invalid_request for a good request"),
		bad("token-no-id-token", "no id_token"),
		bad("token-no-access-token", "no access_token"),
		bad("token-type-mac", "token_type mac"),
		bad("token-redirect", "302 to another address"),
		bad("token-oversized", "ten megabytes"),
		bad("id-token-alg-none", "alg none"),
		bad("id-token-hs256", "HS256 under the public key"),
		bad("id-token-other-alg", "an algorithm that was not registered, under a published key"),
		bad("id-token-wrong-kid", "a kid nobody published"),
		bad("id-token-foreign-key", "signed by another key under the provider's kid"),
		bad("id-token-wrong-iss", "another issuer"),
		bad("id-token-wrong-aud", "for another client"),
		bad("id-token-two-audiences", "for this client and another, without azp"),
		c("id-token-wrong-nonce", "another nonce", ClassExpired),
		c("id-token-no-nonce", "no nonce", ClassExpired),
		bad("id-token-wrong-at-hash", "at_hash of another access token"),
		bad("id-token-no-at-hash", "no at_hash"),
		c("id-token-expired", "past its exp", ClassExpired),
		bad("id-token-from-future", "its iat is an hour ahead"),
		c("id-token-stale", "issued an hour ago, still good", ClassExpired),
		bad("id-token-no-exp", "no exp"),
		bad("id-token-no-jti", "no jti"),
		c("id-token-old-jti", "the jti of an earlier ID Token", ClassExpired),
		bad("id-token-no-sub", "no sub"),
		c("id-token-lower-acr", "one level below what was asked", ClassLevel),
		c("id-token-unknown-acr", "an acr that is none of the three", ClassLevel),
		c("id-token-no-acr", "no acr", ClassLevel),
		bad("id-token-not-yet", "nbf an hour ahead"),
		bad("access-token-foreign-key", "signed by another key under the provider's kid"),
		bad("access-token-no-typ", "without typ at+jwt"),
		bad("access-token-wrong-iss", "another issuer"),
		bad("access-token-wrong-client", "client_id of another client"),
		bad("access-token-other-sub", "another subject than the ID Token"),
		c("access-token-expired", "past its exp", ClassExpired),
		{Name: "refresh-id-token", Op: OpToken, About: "a refresh gives an ID Token", Class: ClassConfiguration, Needs: needsRefresh},
		{Name: "token-extra-member", Op: OpToken, About: "a member nobody announced", Class: Tolerated},
		{Name: sim.FaultHTTP503, Op: OpRevocation, About: "revocation is out of service", Class: Tolerated, Needs: needsLogout},
	}
}

func userInfoFaults() []FaultCase {
	c := func(name, about string, class Class) FaultCase {
		return FaultCase{Name: name, Op: OpUserInfo, About: about, Class: class}
	}
	bad := func(name, about string) FaultCase { return c(name, about, ClassConfiguration) }
	return []FaultCase{
		c(sim.FaultHTTP503, "503", ClassUnavailable),
		c(sim.FaultDropAnswer, "the answer is lost", ClassUnavailable),
		c(sim.FaultCutBody, "the answer breaks off", ClassUnavailable),
		c(sim.FaultHTML200, "200 with a page", ClassUnavailable),
		c(sim.FaultEmpty200, "200 with nothing", ClassUnavailable),
		bad("userinfo-refused", "401 invalid_token for a good token"),
		bad("userinfo-not-allowed", "405"),
		bad("userinfo-plain-json", "plain JSON"),
		bad("userinfo-unencrypted", "signed, not encrypted"),
		bad("userinfo-wrong-enc-kid", "encrypted under a kid of nobody"),
		bad("userinfo-foreign-enc-key", "encrypted for another key under the right kid"),
		bad("userinfo-rsa1-5", "RSA1_5, which is forbidden"),
		bad("userinfo-gcm", "A256GCM, which was not registered"),
		bad("userinfo-foreign-key", "the inner JWS by another key under the provider's kid"),
		bad("userinfo-wrong-kid", "the inner JWS under a kid nobody published"),
		bad("userinfo-alg-none", "the inner JWS with alg none"),
		bad("userinfo-quoted", "the inner JWS in JSON quotes"),
		bad("userinfo-wrong-iss", "another issuer"),
		bad("userinfo-wrong-aud", "for another client"),
		bad("userinfo-other-sub", "another subject than the ID Token"),
		c("userinfo-expired", "past its exp", ClassExpired),
		bad("userinfo-from-future", "its iat is an hour ahead"),
		bad("userinfo-no-fiscal-number", "without the fiscal code"),
		bad("userinfo-bad-fiscal-number", "a fiscal code that is none"),
		bad("userinfo-oversized", "ten megabytes"),
		c("userinfo-application-jose", "served as application/jose, as once upon a time", Tolerated),
		c("userinfo-no-cty", "no cty in the outer header", Tolerated),
		c("userinfo-extra-claim", "a claim nobody asked for", Tolerated),
	}
}

func operatorFaults() []FaultCase {
	c := func(op, name, about string, class Class) FaultCase {
		return FaultCase{Name: name, Op: op, About: about, Class: class, Needs: needsOperator}
	}
	return []FaultCase{
		c(OpOperators, sim.FaultHTTP503, "discovery is out of service", ClassUnavailable),
		c(OpOperators, "operator-wrong-discovery", "discovery names another issuer", ClassConfiguration),
		c(OpOperatorsToken, sim.FaultHTTP503, "the token endpoint is out of service", ClassUnavailable),
		c(OpOperatorsToken, "operator-foreign-office", "an office this provider may not speak for", ClassConfiguration),
		c(OpOperatorsToken, "operator-no-office", "no office", ClassConfiguration),
		c(OpOperatorsToken, "operator-unknown-role", "a role nobody knows", ClassConfiguration),
		c(OpOperatorsToken, "operator-foreign-key", "signed by another key under the provider's kid", ClassConfiguration),
		c(OpOperatorsToken, "operator-wrong-iss", "another issuer", ClassConfiguration),
		c(OpOperatorsToken, "operator-wrong-aud", "for another client", ClassConfiguration),
		c(OpOperatorsToken, "operator-wrong-nonce", "another nonce", ClassExpired),
		c(OpOperatorsToken, "operator-expired", "past its exp", ClassExpired),
		c(OpOperatorsToken, "operator-alg-none", "alg none", ClassConfiguration),
		c(OpOperatorsAuthorize, "operator-access-denied", "access_denied", ClassCancelled),
		c(OpOperatorsAuthorize, "operator-wrong-state", "a state the client never sent", ClassExpired),
	}
}

// declaredFaults are the transport faults of the kit and the names of the
// catalogue, once each.
func declaredFaults() []sim.Fault {
	list := sim.TransportFaults()
	known := map[string]bool{}
	for _, f := range list {
		known[f.Name] = true
	}
	for _, c := range Catalogue() {
		if !known[c.Name] {
			known[c.Name] = true
			list = append(list, sim.Fault{Name: c.Name, About: fmt.Sprintf("%s (%s)", c.About, c.Class)})
		}
	}
	return list
}

// flaws collects the faults that touch one answer. The nil flaws has none: what
// the provider asks the anchor in process is always clean.
type flaws struct {
	s       *Server
	op      string
	subject string
	names   []string
}

func (s *Server) flaws(op, subject string) *flaws { return &flaws{s: s, op: op, subject: subject} }

func (f *flaws) fires(name string) bool {
	if f == nil || !f.s.faults.Fires(name, f.op, f.subject) {
		return false
	}
	f.names = append(f.names, name)
	return true
}

// mark writes the headers of the faults that touched the answer.
func (f *flaws) mark(h http.Header) {
	for _, name := range f.names {
		sim.Mark(h, name)
	}
	f.names = nil
}

// paper is a JWS about to be signed.
type paper struct {
	typ    string
	cty    string
	claims map[string]any
	key    signer
}

// sign signs the paper, spoiled by what fires among the faults kind-expired,
// kind-from-future, kind-wrong-kid, kind-foreign-key, kind-no-typ,
// kind-alg-none, kind-hs256, as far as they are declared.
func (f *flaws) sign(kind string, p paper, now time.Time) (string, error) {
	fires := func(suffix string) bool {
		return f != nil && f.s.faults.Has(kind+suffix) && f.fires(kind+suffix)
	}
	if fires("-expired") {
		p.claims["iat"], p.claims["exp"] = now.Add(-2*time.Hour).Unix(), now.Add(-time.Hour).Unix()
	}
	if fires("-from-future") {
		p.claims["iat"], p.claims["exp"] = now.Add(time.Hour).Unix(), now.Add(2*time.Hour).Unix()
	}
	if fires("-no-typ") {
		p.typ = ""
	}
	if fires("-foreign-key") {
		p.key = f.s.keys.foreignSigner(p.key)
	}
	if fires("-wrong-kid") {
		p.key.kid = "nobody-published-this"
	}
	if fires("-alg-none") {
		return unsigned(p.typ, p.claims)
	}
	if fires("-hs256") {
		return hmacSigned(p.key, p.typ, p.claims)
	}
	return p.key.signWith(map[jose.HeaderKey]any{jose.HeaderType: p.typ, jose.HeaderContentType: p.cty}, p.claims)
}

// oversized is the body of a fault that tries the reader's memory.
func oversized(w http.ResponseWriter) {
	block := make([]byte, 1<<16)
	for i := range block {
		block[i] = 'A'
	}
	for range 160 {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// decodeObject reads one JSON object.
func decodeObject(text []byte) (map[string]any, error) {
	var v map[string]any
	err := json.Unmarshal(text, &v)
	if err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	if v == nil {
		return nil, fmt.Errorf("not a JSON object: null")
	}
	return v, nil
}
