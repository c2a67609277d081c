package opsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
)

// The algorithms of the federation (entra-con-cie §7, policy of §2.5).
var (
	signatureAlgs = []jose.SignatureAlgorithm{jose.RS256, jose.RS512, jose.ES256, jose.ES512, jose.PS256, jose.PS512}
	keyAlgs       = []jose.KeyAlgorithm{jose.RSA_OAEP, jose.RSA_OAEP_256, jose.ECDH_ES, jose.ECDH_ES_A128KW, jose.ECDH_ES_A256KW}
	contentAlgs   = []jose.ContentEncryption{jose.A128CBC_HS256, jose.A256CBC_HS512}
)

func texts[T ~string](list []T) []any {
	out := make([]any, 0, len(list))
	for _, v := range list {
		out = append(out, string(v))
	}
	return out
}

// finding is one thing wrong with a relying party's metadata.
type finding struct {
	Member string `json:"member"`
	Reason string `json:"reason"`
}

// findings is an error that lists them all.
type findings []finding

func (f findings) Error() string {
	var b strings.Builder
	for i, v := range f {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(v.Member + ": " + v.Reason)
	}
	return b.String()
}

func (f *findings) add(member, format string, args ...any) {
	*f = append(*f, finding{Member: member, Reason: fmt.Sprintf(format, args...)})
}

// stringList reads a JSON array of texts.
func stringList(v any) ([]string, bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

// webAddress says what is wrong with an address that must be https, or http on
// this machine, without query and fragment.
func webAddress(v any) error {
	text, ok := v.(string)
	if !ok || text == "" {
		return errors.New("missing or not a text")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return errors.New("not an absolute URL")
	case u.Fragment != "" || u.RawQuery != "" || u.User != nil:
		return errors.New("has a query, a fragment or a user")
	case u.Scheme == "https" || (u.Scheme == "http" && loopback(u.Hostname())):
		return nil
	}
	return errors.New("not https")
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// privateMembers are the JWK members that nobody may publish (RFC 7518).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// readKeys reads a published key set: every key has kid and use, is RSA of at
// least 2048 bits or EC on P-256 or P-521, and shows no private member. forbid
// names members that are refused too.
func readKeys(v any, forbid ...string) ([]jose.JSONWebKey, error) {
	set, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("missing or not an object")
	}
	list, ok := set["keys"].([]any)
	if !ok || len(list) == 0 {
		return nil, errors.New("no keys")
	}
	if len(list) > 16 {
		return nil, errors.New("too many keys")
	}
	var out []jose.JSONWebKey
	seen := map[string]bool{}
	for i, e := range list {
		members, ok := e.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("key %d is not an object", i)
		}
		for _, name := range slices.Concat(privateMembers, forbid) {
			if _, there := members[name]; there {
				return nil, fmt.Errorf("key %d has the member %s", i, name)
			}
		}
		text, err := json.Marshal(members)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		var key jose.JSONWebKey
		err = key.UnmarshalJSON(text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("key %d: %w", i, err)
		case !key.Valid() || !key.IsPublic():
			return nil, fmt.Errorf("key %d is not a public key", i)
		case key.KeyID == "":
			return nil, fmt.Errorf("key %d has no kid", i)
		case seen[key.KeyID]:
			return nil, fmt.Errorf("kid %q twice", key.KeyID)
		case key.Use != "sig" && key.Use != "enc":
			return nil, fmt.Errorf("key %d: use is neither sig nor enc", i)
		case !goodKey(key.Key):
			return nil, fmt.Errorf("key %d is neither RSA of 2048 bits nor EC on P-256 or P-521", i)
		}
		seen[key.KeyID] = true
		out = append(out, key)
	}
	return out, nil
}

// checkFederationEntity holds metadata.federation_entity of a relying party
// against entra-con-cie §1.
func checkFederationEntity(v any) findings {
	var f findings
	m, ok := v.(map[string]any)
	if !ok {
		f.add("federation_entity", "missing or not an object")
		return f
	}
	if name, _ := m["organization_name"].(string); name == "" {
		f.add("organization_name", "missing")
	}
	for _, name := range []string{"homepage_uri", "policy_uri", "federation_resolve_endpoint"} {
		if err := webAddress(m[name]); err != nil {
			f.add(name, "%v", err)
		}
	}
	if contacts, ok := stringList(m["contacts"]); !ok || len(contacts) == 0 {
		f.add("contacts", "missing or empty")
	}
	if logo, there := m["logo_uri"]; there {
		if err := webAddress(logo); err != nil {
			f.add("logo_uri", "%v", err)
		}
	}
	return f
}

// checkRelyingParty holds metadata.openid_relying_party against entra-con-cie
// §1. id is the entity that publishes it.
func checkRelyingParty(v any, id string) findings {
	var f findings
	m, ok := v.(map[string]any)
	if !ok {
		f.add("openid_relying_party", "missing or not an object")
		return f
	}
	if err := webAddress(m["client_id"]); err != nil {
		f.add("client_id", "%v", err)
	} else if m["client_id"] != id {
		f.add("client_id", "is not the entity's id")
	}
	for _, name := range []string{"client_name", "organization_name"} {
		if text, _ := m[name].(string); text == "" {
			f.add(name, "missing")
		}
	}
	checkRedirects(m, &f)
	if list, ok := stringList(m["response_types"]); !ok || !slices.Equal(list, []string{"code"}) {
		f.add("response_types", "is not [code]")
	}
	grants, ok := stringList(m["grant_types"])
	if !ok || !slices.Contains(grants, "authorization_code") {
		f.add("grant_types", "does not hold authorization_code")
	}
	for _, g := range grants {
		if g != "authorization_code" && g != "refresh_token" {
			f.add("grant_types", "holds %q", g)
		}
	}
	if list, ok := stringList(m["client_registration_types"]); !ok || !slices.Equal(list, []string{"automatic"}) {
		f.add("client_registration_types", "is not [automatic]")
	}
	if m["token_endpoint_auth_method"] != "private_key_jwt" {
		f.add("token_endpoint_auth_method", "is not private_key_jwt")
	}
	if v, there := m["subject_type"]; there && v != "pairwise" {
		f.add("subject_type", "is not pairwise")
	}
	if v, there := m["application_type"]; there && v != "web" && v != "native" {
		f.add("application_type", "is neither web nor native")
	}
	checkCoreKeys(m, &f)
	checkAlgorithms(m, &f)
	return f
}

func checkRedirects(m map[string]any, f *findings) {
	list, ok := stringList(m["redirect_uris"])
	if !ok || len(list) == 0 {
		f.add("redirect_uris", "missing or empty")
		return
	}
	for _, text := range list {
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Scheme == "" || u.Fragment != "":
			f.add("redirect_uris", "%q is not a URL without fragment", text)
		case u.Scheme == "https" && u.Host != "", u.Scheme == "http" && loopback(u.Hostname()):
		case u.Scheme != "http" && u.Scheme != "https" && m["application_type"] == "native":
		default:
			f.add("redirect_uris", "%q is not https", text)
		}
	}
}

func checkCoreKeys(m map[string]any, f *findings) {
	for _, name := range []string{"jwks_uri", "signed_jwks_uri"} {
		if _, there := m[name]; there {
			f.add(name, "is not for CIE: jwks only")
		}
	}
	keys, err := readKeys(m["jwks"])
	if err != nil {
		f.add("jwks", "%v", err)
		return
	}
	for _, use := range []string{"sig", "enc"} {
		if !slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool { return k.Use == use }) {
			f.add("jwks", "no key with use %s", use)
		}
	}
}

func checkAlgorithms(m map[string]any, f *findings) {
	for _, c := range []struct {
		name     string
		allowed  []any
		required bool
	}{
		{"id_token_signed_response_alg", texts(signatureAlgs), true},
		{"userinfo_signed_response_alg", texts(signatureAlgs), true},
		{"userinfo_encrypted_response_alg", texts(keyAlgs), true},
		{"userinfo_encrypted_response_enc", texts(contentAlgs), true},
		{"id_token_encrypted_response_alg", texts(keyAlgs), false},
		{"id_token_encrypted_response_enc", texts(contentAlgs), false},
	} {
		v, there := m[c.name]
		switch {
		case !there && !c.required:
		case !there:
			f.add(c.name, "missing")
		case !slices.Contains(c.allowed, v):
			f.add(c.name, "%v is not of the federation's tables", v)
		}
	}
	if m["id_token_encrypted_response_alg"] != nil && m["id_token_encrypted_response_enc"] == nil {
		f.add("id_token_encrypted_response_enc", "missing beside id_token_encrypted_response_alg")
	}
}
