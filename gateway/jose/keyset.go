package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"airegw/gateway/strictjson"
)

// Sizes beyond which input is not even parsed.
const (
	MaxToken  = 1 << 20   // bytes of a compact token
	MaxKeySet = 256 << 10 // bytes of a JWKS
	maxKeys   = 64
)

// PublicKey is a key of somebody, for verifying or encrypting.
type PublicKey struct {
	kid string
	alg Algorithm // "" when the set does not name one
	use Use       // "" when the set does not name one
	key crypto.PublicKey
}

// KID of the key: as published, else its thumbprint.
func (p PublicKey) KID() string { return p.kid }

// Algorithm as published, else "".
func (p PublicKey) Algorithm() Algorithm { return p.alg }

// Use as published, else "".
func (p PublicKey) Use() Use { return p.use }

// Raw is the crypto key, *rsa.PublicKey or *ecdsa.PublicKey.
func (p PublicKey) Raw() crypto.PublicKey { return p.key }

// NewPublicKey wraps a raw public key for one algorithm; its kid is the
// thumbprint.
func NewPublicKey(alg Algorithm, pub crypto.PublicKey) (PublicKey, error) {
	use, ok := alg.use()
	if !ok || !alg.fits(pub) {
		return PublicKey{}, refuse(CodeAlgRefused, "alg", nil)
	}
	if k, ok := pub.(*rsa.PublicKey); ok {
		if err := checkRSA(k); err != nil {
			return PublicKey{}, err
		}
	}
	kid, err := thumbprint(pub)
	if err != nil {
		return PublicKey{}, err
	}
	return PublicKey{kid: kid, alg: alg, use: use, key: pub}, nil
}

// serves tells whether the key may be used for alg: the published use and alg
// bind, and the kind of key must fit (specs entra-con-cie §6: take the key by
// kid, then require key.alg, use and kty to fit the header alg).
func (p PublicKey) serves(alg Algorithm) bool {
	use, ok := alg.use()
	return ok && (p.use == "" || p.use == use) && (p.alg == "" || p.alg == alg) && alg.fits(p.key)
}

// KeySet is an ordered set of public keys. The zero value is empty.
type KeySet struct{ keys []PublicKey }

// NewKeySet collects keys in order.
func NewKeySet(keys ...PublicKey) KeySet { return KeySet{keys: append([]PublicKey(nil), keys...)} }

// Keys in the order published.
func (s KeySet) Keys() []PublicKey { return append([]PublicKey(nil), s.keys...) }

// Len is the number of usable keys.
func (s KeySet) Len() int { return len(s.keys) }

// ForEncryption gives the first key that may encrypt with alg.
func (s KeySet) ForEncryption(alg Algorithm) (PublicKey, bool) {
	for _, k := range s.keys {
		if k.serves(alg) {
			return k, true
		}
	}
	return PublicKey{}, false
}

func (s KeySet) find(kid string, alg Algorithm) []PublicKey {
	var out []PublicKey
	for _, k := range s.keys {
		if k.kid == kid && k.serves(alg) {
			out = append(out, k)
		}
	}
	return out
}

// privateMembers of RFC 7518 §6.2.2, §6.3.2, §6.4.1. A peer that publishes one
// has lost its key; accepting the set would hide that.
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// ParseKeySet reads the JWKS of a peer (RFC 7517 §5). Any private member in
// any key refuses the whole set (CodePrivateMember). Keys of a kind we do not
// use are left out, as the RFC advises; RSA keys under 2048 bits too. A set
// without usable keys is an empty KeySet, not an error.
func ParseKeySet(data []byte) (KeySet, error) {
	if len(data) > MaxKeySet {
		return KeySet{}, refuse(CodeTooLarge, "jwks", nil)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	// Members of the set that we do not know are to be ignored (RFC 7517 §5).
	err := strictjson.Rules{}.Check(data, nil)
	if err == nil {
		err = strictjson.Unmarshal(data, &set)
	}
	if err != nil {
		return KeySet{}, refuse(CodeMalformed, "jwks", err)
	}
	if set.Keys == nil {
		return KeySet{}, refuse(CodeMalformed, "keys", nil)
	}
	if len(set.Keys) > maxKeys {
		return KeySet{}, refuse(CodeTooLarge, "keys", nil)
	}
	var out KeySet
	for _, raw := range set.Keys {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(raw, &members); err != nil {
			return KeySet{}, refuse(CodeMalformed, "keys", errors.New("a key is not an object"))
		}
		for _, m := range privateMembers {
			if _, ok := members[m]; ok {
				return KeySet{}, refuse(CodePrivateMember, m, nil)
			}
		}
		if k, ok := publicKey(members); ok {
			out.keys = append(out.keys, k)
		}
	}
	return out, nil
}

func publicKey(members map[string]json.RawMessage) (PublicKey, bool) {
	text := func(name string) (s string) {
		_ = json.Unmarshal(members[name], &s)
		return s
	}
	if kty := text("kty"); kty != "RSA" && kty != "EC" {
		return PublicKey{}, false
	}
	// Only the members that make the key reach the library.
	bare := map[string]json.RawMessage{}
	for _, name := range []string{"kty", "n", "e", "crv", "x", "y"} {
		if v, ok := members[name]; ok {
			bare[name] = v
		}
	}
	data, err := json.Marshal(bare)
	if err != nil {
		return PublicKey{}, false
	}
	j, err := jwk.ParseKey(data)
	if err != nil {
		return PublicKey{}, false
	}
	p := PublicKey{kid: text("kid"), alg: Algorithm(text("alg")), use: Use(text("use"))}
	switch text("kty") {
	case "RSA":
		var k rsa.PublicKey
		if j.Raw(&k) != nil || checkRSA(&k) != nil {
			return PublicKey{}, false
		}
		p.key = &k
	case "EC":
		var k ecdsa.PublicKey
		if j.Raw(&k) != nil || (k.Curve != elliptic.P256() && k.Curve != elliptic.P521()) {
			return PublicKey{}, false
		}
		// ECDH conversion checks that the point lies on the curve.
		if _, err := k.ECDH(); err != nil {
			return PublicKey{}, false
		}
		p.key = &k
	}
	if p.kid == "" {
		if p.kid, err = thumbprint(p.key); err != nil {
			return PublicKey{}, false
		}
	}
	return p, true
}

// MarshalJSON gives the set as a JWKS: kid, use and alg beside the public
// members, and nothing else.
func (s KeySet) MarshalJSON() ([]byte, error) {
	out := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: []json.RawMessage{}}
	for _, k := range s.keys {
		data, err := k.MarshalJSON()
		if err != nil {
			return nil, err
		}
		out.Keys = append(out.Keys, data)
	}
	return json.Marshal(out)
}

// UnmarshalJSON is ParseKeySet, for key sets inside statements.
func (s *KeySet) UnmarshalJSON(data []byte) error {
	set, err := ParseKeySet(data)
	if err != nil {
		return err
	}
	*s = set
	return nil
}

// MarshalJSON gives the key as a public JWK.
func (p PublicKey) MarshalJSON() ([]byte, error) {
	j, err := jwk.FromRaw(p.key)
	if err != nil {
		return nil, refuse(CodeMalformed, "jwk", err)
	}
	if err := j.Set(jwk.KeyIDKey, p.kid); err != nil {
		return nil, refuse(CodeMalformed, "kid", err)
	}
	if p.use != "" {
		if err := j.Set(jwk.KeyUsageKey, string(p.use)); err != nil {
			return nil, refuse(CodeMalformed, "use", err)
		}
	}
	if p.alg != "" {
		if err := j.Set(jwk.AlgorithmKey, string(p.alg)); err != nil {
			return nil, refuse(CodeMalformed, "alg", err)
		}
	}
	return json.Marshal(j)
}
