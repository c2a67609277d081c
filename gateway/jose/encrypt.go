package jose

import (
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwe"

	"airegw/gateway/fault"
)

// ContentEncryption is a content encryption algorithm of RFC 7518 §5.
type ContentEncryption string

// The content encryptions in use: the CBC pair is what the CIE federation's
// policy lists (entra-con-cie §6), GCM serves contracts of our own.
const (
	A128CBCHS256 ContentEncryption = "A128CBC-HS256"
	A256CBCHS512 ContentEncryption = "A256CBC-HS512"
	A256GCM      ContentEncryption = "A256GCM"
)

func (c ContentEncryption) known() bool {
	return c == A128CBCHS256 || c == A256CBCHS512 || c == A256GCM
}

// Encrypt makes a compact JWE of exactly these bytes for one recipient. cty is
// "JWT" for a nested token, or "".
func Encrypt(to PublicKey, alg Algorithm, enc ContentEncryption, cty string, payload []byte) (string, error) {
	if use, _ := alg.use(); use != UseEncryption || !to.serves(alg) {
		return "", refuse(CodeAlgRefused, "alg", nil)
	}
	if !enc.known() {
		return "", refuse(CodeEncRefused, "enc", nil)
	}
	h := jwe.NewHeaders()
	if err := h.Set(jwe.KeyIDKey, to.kid); err != nil {
		return "", refuse(CodeExpectation, "kid", err)
	}
	if cty != "" {
		if !token(cty) {
			return "", refuse(CodeExpectation, "cty", nil)
		}
		if err := h.Set(jwe.ContentTypeKey, cty); err != nil {
			return "", refuse(CodeExpectation, "cty", err)
		}
	}
	out, err := jwe.Encrypt(payload,
		jwe.WithKey(jwa.KeyEncryptionAlgorithm(alg), to.key),
		jwe.WithContentEncryption(jwa.ContentEncryptionAlgorithm(enc)),
		jwe.WithProtectedHeaders(h))
	if err != nil {
		return "", refuse(CodeDecrypt, "", err)
	}
	return string(out), nil
}

// Decrypt opens a compact JWE with the one of keys whose kid it names, when
// its alg and enc are both on the caller's lists. Every failure of the
// cryptography itself is the same CodeDecrypt.
func Decrypt(compact string, keys []Key, algs []Algorithm, encs []ContentEncryption) ([]byte, error) {
	if len(algs) == 0 || len(encs) == 0 {
		return nil, refuse(CodeExpectation, "algs, encs", nil)
	}
	if len(compact) > MaxToken {
		return nil, refuse(CodeTooLarge, "", nil)
	}
	parts := strings.Split(compact, ".")
	if len(parts) != 5 {
		return nil, refuse(CodeMalformed, "", nil)
	}
	for _, p := range parts[1:] {
		if _, err := b64(p); err != nil {
			return nil, refuse(CodeMalformed, "", nil)
		}
	}
	h, err := parseHeader(parts[0])
	if err != nil {
		return nil, err
	}
	if use, ok := h.Alg.use(); !ok || use != UseEncryption || !slices.Contains(algs, h.Alg) {
		return nil, refuse(CodeAlgRefused, "alg", nil)
	}
	enc := ContentEncryption(h.Enc)
	if !enc.known() || (!fault.Mutant("jose.enc") && !slices.Contains(encs, enc)) {
		return nil, refuse(CodeEncRefused, "enc", nil)
	}
	if h.Kid == "" {
		return nil, refuse(CodeKidMissing, "kid", nil)
	}
	for _, k := range keys {
		if k.kid != h.Kid || k.alg != h.Alg {
			continue
		}
		out, err := jwe.Decrypt([]byte(compact), jwe.WithKey(jwa.KeyEncryptionAlgorithm(h.Alg), k.signer))
		if err != nil {
			return nil, refuse(CodeDecrypt, "", nil)
		}
		return out, nil
	}
	return nil, refuse(CodeUnknownKey, "kid", nil)
}
