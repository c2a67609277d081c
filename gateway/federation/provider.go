package federation

import (
	"slices"

	"airegw/gateway/fault"
	"airegw/gateway/jose"
)

// Suite is the algorithms that we register with, one each, and that a provider
// must therefore support.
type Suite struct {
	Sign    jose.Algorithm         // of request objects and assertions; of ID Tokens and UserInfo answers
	Encrypt jose.Algorithm         // of UserInfo, to our encryption key
	Content jose.ContentEncryption // of UserInfo
}

// DefaultSuite is what entra-con-cie §7 advises.
var DefaultSuite = Suite{Sign: jose.RS256, Encrypt: jose.RSAOAEP256, Content: jose.A256CBCHS512}

// Provider is what login needs of an OpenID Provider's final metadata.
type Provider struct {
	Issuer                string
	AuthorizationEndpoint string
	TokenEndpoint         string
	UserInfoEndpoint      string
	RevocationEndpoint    string // "" when not published
	EndSessionEndpoint    string // "" when not published
	// Keys are the provider's protocol keys, as its superior pins them.
	Keys jose.KeySet
	// ACRs it offers; empty when it does not say.
	ACRs []string
}

// Provider reads the chain's final provider metadata and holds it against what
// we work with (entra-con-cie §2.4 step 7): issuer is the entity, endpoints are
// https (or loopback, when the entity is), code, S256, private_key_jwt and our
// suite are supported, a signature key is there. Otherwise CodeProvider, Field
// names the member.
func (c *Chain) Provider(ours Suite) (*Provider, error) {
	m := c.Metadata[TypeProvider]
	unusable := func(field, reason string) (*Provider, error) {
		return nil, &Error{Code: CodeProvider, Step: "provider metadata", Entity: c.Subject, Field: field, Reason: reason}
	}
	text := func(name string) string { s, _ := m[name].(string); return s }
	p := &Provider{Issuer: text("issuer")}
	if p.Issuer != c.Subject && !fault.Mutant("federation.provider-issuer") {
		return unusable("issuer", "is not the entity itself")
	}
	local := isLoopback(c.Subject)
	for _, e := range []struct {
		name     string
		required bool
		dst      *string
	}{
		{"authorization_endpoint", true, &p.AuthorizationEndpoint},
		{"token_endpoint", true, &p.TokenEndpoint},
		{"userinfo_endpoint", true, &p.UserInfoEndpoint},
		{"revocation_endpoint", false, &p.RevocationEndpoint},
		{"end_session_endpoint", false, &p.EndSessionEndpoint},
	} {
		if m[e.name] == nil && !e.required {
			continue
		}
		*e.dst = text(e.name)
		if err := checkAddress(*e.dst, local); err != nil {
			return unusable(e.name, err.Error())
		}
	}
	for _, n := range []struct {
		name, value string
		required    bool
	}{
		{"response_types_supported", "code", true},
		{"code_challenge_methods_supported", "S256", true},
		{"token_endpoint_auth_methods_supported", "private_key_jwt", true},
		{"id_token_signing_alg_values_supported", string(ours.Sign), true},
		{"request_object_signing_alg_values_supported", string(ours.Sign), false},
		{"token_endpoint_auth_signing_alg_values_supported", string(ours.Sign), false},
		{"userinfo_signing_alg_values_supported", string(ours.Sign), false},
		{"userinfo_encryption_alg_values_supported", string(ours.Encrypt), false},
		{"userinfo_encryption_enc_values_supported", string(ours.Content), false},
	} {
		list, present := m[n.name]
		if !present && !n.required {
			continue
		}
		values, ok := texts(list, maxOperatorList)
		if !ok || !slices.Contains(values, n.value) {
			return unusable(n.name, "does not hold "+n.value)
		}
	}
	keys, err := keysOf(m["jwks"])
	if err != nil {
		return unusable("jwks", err.Error())
	}
	if !slices.ContainsFunc(keys.Keys(), func(k jose.PublicKey) bool { return k.Use() != jose.UseEncryption }) {
		return unusable("jwks", "no signature key")
	}
	p.Keys = keys
	p.ACRs, _ = texts(m["acr_values_supported"], maxOperatorList)
	return p, nil
}
