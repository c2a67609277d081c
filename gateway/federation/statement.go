package federation

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"airegw/gateway/fault"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

// Bounds of foreign statements. Production statements have 2 to 15 KB, one hint
// and a handful of marks.
const (
	MaxStatement   = 256 << 10 // bytes of a compact statement
	MaxHints       = 10        // superiors of one entity (Django allows 2 to 10)
	maxMarks       = 32
	maxMarkIssuers = 256
	maxEntityID    = 512 // bytes
)

// MediaTypeStatement is what Entity Configurations and statements are served
// and must be answered as, without parameters (AgID case 1.2.3).
const MediaTypeStatement = "application/entity-statement+jwt"

// Algorithms that may sign statements, marks and answers of the federation (D
// cryptographic_algos: must and should).
var Algorithms = []jose.Algorithm{jose.RS256, jose.RS512, jose.ES256, jose.ES512, jose.PS256, jose.PS512}

// Entity types of the profile.
const (
	TypeFederationEntity = "federation_entity"
	TypeRelyingParty     = "openid_relying_party"
	TypeProvider         = "openid_provider"
)

// Statement is an entity statement: one entity's word about another, or about
// itself (an Entity Configuration, when Issuer and Subject are the same).
type Statement struct {
	Raw             string // the compact JWS
	Issuer, Subject string
	// IssuedAt and ExpiresAt are set once the statement is verified.
	IssuedAt, ExpiresAt time.Time
	// Keys are the subject's federation keys.
	Keys jose.KeySet
	// AuthorityHints of an Entity Configuration; nil in other statements, where
	// production sends some and nobody means them (entra-con-cie §2.7).
	AuthorityHints []string
	// Metadata by entity type.
	Metadata    map[string]any
	Constraints Constraints
	Marks       []AnnouncedMark
	// MarkIssuers says who may give which mark, of an anchor's configuration.
	MarkIssuers map[string][]string

	policy     map[string]any
	policyCrit []string
}

// AnnouncedMark is a trust mark as an entity announces it; nothing is verified.
type AnnouncedMark struct {
	ID  string
	JWT string
}

// IsConfiguration tells whether the entity speaks about itself.
func (s *Statement) IsConfiguration() bool { return s.Issuer == s.Subject }

// understood lists the claims a statement may call critical (F crit): those
// this package acts on.
var understood = []string{
	"iss", "sub", "iat", "exp", "jwks", "metadata", "metadata_policy", "metadata_policy_crit",
	"constraints", "authority_hints", "trust_marks", "trust_mark_issuers",
}

// ParseStatement reads a statement without believing it: no signature and no
// time is checked. It exists for tools that show a statement, and as the first
// step of everything here.
func ParseStatement(compact string) (*Statement, error) {
	if len(compact) > MaxStatement {
		return nil, refuse(CodeTooLarge, "", "longer than a statement may be")
	}
	compact = strings.TrimSpace(compact)
	var payload json.RawMessage
	if _, _, _, err := jose.Peek(compact, &payload); err != nil {
		return nil, fromJose(err)
	}
	s, err := parseClaims(payload)
	if err != nil {
		return nil, err
	}
	s.Raw = compact
	return s, nil
}

func parseClaims(payload []byte) (*Statement, error) {
	claims, err := decodeObject(payload)
	if err != nil {
		return nil, refuse(CodeMalformed, "payload", err.Error())
	}
	s := &Statement{}
	if s.Issuer, err = entityClaim(claims, "iss"); err != nil {
		return nil, err
	}
	if s.Subject, err = entityClaim(claims, "sub"); err != nil {
		return nil, err
	}
	// D lists crit among the unsupported claims to be ignored; F says to refuse
	// what is critical and not understood. Ignoring could drop a restriction that
	// a superior insists on, so F is followed.
	if v, ok := claims["crit"]; ok {
		names, ok := texts(v, 64)
		if !ok {
			return nil, refuse(CodeCritical, "crit", "not a list of claim names")
		}
		for _, name := range names {
			if !slices.Contains(understood, name) {
				return nil, refuse(CodeCritical, name, "a critical claim that is not understood")
			}
		}
	}
	if s.Keys, err = keysOf(claims["jwks"]); err != nil {
		return nil, err
	}
	if v, ok := claims["metadata"]; ok && v != nil {
		if s.Metadata, ok = v.(map[string]any); !ok {
			return nil, refuse(CodeClaim, "metadata", "not an object")
		}
	}
	if v, ok := claims["authority_hints"]; ok && s.IsConfiguration() {
		list, isList := v.([]any)
		if isList && len(list) > MaxHints {
			return nil, refuse(CodeTooLarge, "authority_hints", "more superiors than any entity may have")
		}
		if s.AuthorityHints, ok = texts(v, MaxHints); !ok {
			return nil, refuse(CodeClaim, "authority_hints", "not a list of identifiers")
		}
	}
	if v, ok := claims["metadata_policy"]; ok && v != nil {
		if s.policy, ok = v.(map[string]any); !ok {
			return nil, refuse(CodePolicy, "metadata_policy", "not an object")
		}
	}
	if v, ok := claims["metadata_policy_crit"]; ok {
		if s.policyCrit, ok = texts(v, 64); !ok {
			return nil, refuse(CodePolicy, "metadata_policy_crit", "not a list of operator names")
		}
	}
	if s.Constraints, err = constraintsOf(claims["constraints"]); err != nil {
		return nil, err
	}
	if s.Marks, err = announcedMarks(claims["trust_marks"]); err != nil {
		return nil, err
	}
	s.MarkIssuers, err = markIssuers(claims)
	return s, err
}

func entityClaim(claims map[string]any, name string) (string, error) {
	id, ok := claims[name].(string)
	if !ok || id == "" {
		return "", refuse(CodeClaim, name, "missing or not a text")
	}
	if err := CheckEntityID(id); err != nil {
		return "", &Error{Code: CodeEntityID, Field: name, Err: err}
	}
	return id, nil
}

// CheckEntityID tells whether a text may be an entity identifier: an https URL
// (http only on loopback) with a host, without user, query or fragment.
// Identifiers are compared byte by byte, never normalised.
func CheckEntityID(id string) error {
	if len(id) > maxEntityID {
		return refuse(CodeEntityID, "", "too long")
	}
	u, err := url.Parse(id)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return refuse(CodeEntityID, "", "not a URL with a host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(id, "#"):
		return refuse(CodeEntityID, "", "user, query or fragment in an identifier")
	case u.Scheme == "https" || u.Scheme == "http" && outbound.Loopback(u.Hostname()):
		return nil
	}
	return refuse(CodeEntityID, "", "neither https nor loopback")
}

// checkAddress tells whether an address may be called: as an identifier, but a
// query is legal in an endpoint; and no address of a private network, nor of
// this machine unless the federation itself lives there.
func checkAddress(address string, loopback bool) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Opaque != "" || u.User != nil || u.Fragment != "" {
		return refuse(CodeAddress, "", "not an address of an endpoint")
	}
	local := outbound.Loopback(u.Hostname())
	if local && !loopback {
		return refuse(CodeAddress, "", "points at this machine")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return refuse(CodeAddress, "", "neither https nor loopback")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !local && !outbound.Public(ip) && !fault.Mutant("federation.address") {
		return refuse(CodeAddress, "", "a private address")
	}
	return nil
}

func keysOf(v any) (jose.KeySet, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return jose.KeySet{}, refuse(CodeKeys, "jwks", "missing or not an object")
	}
	list, ok := object["keys"].([]any)
	if !ok || len(list) == 0 {
		return jose.KeySet{}, refuse(CodeKeys, "jwks", "no keys")
	}
	for _, k := range list {
		key, _ := k.(map[string]any)
		if kid, _ := key["kid"].(string); kid == "" {
			return jose.KeySet{}, refuse(CodeKeys, "kid", "a key without kid")
		}
	}
	data, err := encodeTree(object)
	if err != nil {
		return jose.KeySet{}, refuse(CodeKeys, "jwks", err.Error())
	}
	set, err := jose.ParseKeySet(data)
	if err != nil {
		return jose.KeySet{}, &Error{Code: CodeKeys, Field: "jwks", Err: err}
	}
	if set.Len() == 0 {
		return jose.KeySet{}, refuse(CodeKeys, "jwks", "no key of a kind in use")
	}
	return set, nil
}

// verify holds the statement's signature and times against keys and an
// instant, and sets its times. Issuer and subject are compared by the caller,
// who knows whom it asked.
func (s *Statement) verify(keys jose.KeySet, now time.Time, skew time.Duration) error {
	v, err := jose.Verify(s.Raw, keys, jose.Expect{
		Algs: Algorithms, Typ: []string{jose.TypeEntityStatement},
		Now: now, Skew: skew, Issuer: s.Issuer, Subject: s.Subject, NoAudience: true,
	}, nil)
	if err != nil {
		return fromJose(err)
	}
	s.IssuedAt, s.ExpiresAt = v.IssuedAt, v.ExpiresAt
	return nil
}

// verifySelf is verify for an Entity Configuration, by the keys it publishes.
func (s *Statement) verifySelf(now time.Time, skew time.Duration) error {
	if !s.IsConfiguration() {
		return refuse(CodeNotSelf, "", "issuer and subject differ")
	}
	err := s.verify(s.Keys, now, skew)
	if c := CodeOf(err); c == CodeSignature || c == CodeUnknownKey {
		if fault.Mutant("federation.self-signature") {
			return nil
		}
		return &Error{Code: CodeSelfSigned, Err: err}
	}
	return err
}

// typeMetadata gives the metadata of one entity type.
func (s *Statement) typeMetadata(name string) (map[string]any, bool) {
	m, ok := s.Metadata[name].(map[string]any)
	return m, ok
}

// endpoint gives the first of the named members of the entity's
// federation_entity metadata.
func (s *Statement) endpoint(names ...string) (string, error) {
	m, _ := s.typeMetadata(TypeFederationEntity)
	for _, name := range names {
		if address, _ := m[name].(string); address != "" {
			return address, nil
		}
	}
	return "", &Error{Code: CodeNoEndpoint, Entity: s.Subject, Field: names[0]}
}
