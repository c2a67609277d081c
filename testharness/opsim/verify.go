package opsim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// goodKey says whether a public key is of a kind and size in use.
func goodKey(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return k.Curve == elliptic.P256() || k.Curve == elliptic.P521()
	}
	return false
}

// fits says whether a key may serve an algorithm: what it publishes of itself,
// and its kind.
func fits(k jose.JSONWebKey, alg string) bool {
	if (k.Algorithm != "" && k.Algorithm != alg) || (k.Use != "" && k.Use != "sig") {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return (alg == "ES256" && key.Curve == elliptic.P256()) || (alg == "ES512" && key.Curve == elliptic.P521())
	}
	return false
}

// jwt is a compact JWS that has been read, not yet believed.
type jwt struct {
	alg, kid, typ string
	claims        map[string]any // unverified until verify
	jws           *jose.JSONWebSignature
}

// Reasons of a refused JWT.
var (
	errMalformed  = errors.New("not a compact JWS of an allowed algorithm with a JSON object in it")
	errUnknownKid = errors.New("kid is unknown")
	errKeyUnfit   = errors.New("the key is not for this algorithm")
	errSignature  = errors.New("the signature does not hold")
)

// readJWT reads a compact JWS; alg must be one of the federation's table, so
// neither none nor an HMAC.
func readJWT(compact string) (jwt, error) {
	if len(compact) > 1<<18 {
		return jwt{}, errMalformed
	}
	jws, err := jose.ParseSignedCompact(compact, signatureAlgs)
	if err != nil || len(jws.Signatures) != 1 {
		return jwt{}, errMalformed
	}
	h := jws.Signatures[0].Protected
	typ, _ := h.ExtraHeaders[jose.HeaderType].(string)
	claims, err := decodeObject(jws.UnsafePayloadWithoutVerification())
	if err != nil {
		return jwt{}, errMalformed
	}
	return jwt{alg: h.Algorithm, kid: h.KeyID, typ: typ, claims: claims, jws: jws}, nil
}

// verify holds the signature against the key that the header names.
func (j jwt) verify(keys []jose.JSONWebKey) error {
	i := slices.IndexFunc(keys, func(k jose.JSONWebKey) bool { return k.KeyID == j.kid && k.KeyID != "" })
	if i < 0 {
		return fmt.Errorf("%w: %q", errUnknownKid, j.kid)
	}
	if !fits(keys[i], j.alg) {
		return errKeyUnfit
	}
	_, err := j.jws.Verify(keys[i].Key)
	if err != nil {
		return errSignature
	}
	return nil
}

// text reads a claim that is a text.
func (j jwt) text(name string) string { s, _ := j.claims[name].(string); return s }

// unixTime reads a NumericDate that is a whole number of seconds; ok is false
// for anything else.
func unixTime(v any) (time.Time, bool) {
	n, ok := v.(float64)
	if !ok || n <= 0 || n != math.Trunc(n) || n > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(n), 0).UTC(), true
}

// audience reads aud: a text or a list of texts.
func audience(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	list, _ := stringList(v)
	return list
}
