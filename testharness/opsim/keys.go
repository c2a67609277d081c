package opsim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

// Keys are the RSA keys of a simulator. Anchor and Federation sign statements,
// Core signs tokens, Foreign signs what the faults "…-foreign-key" touch.
type Keys struct {
	Anchor, Federation, Core, Foreign *rsa.PrivateKey
}

// NewKeys makes four RSA keys of 2048 bits, at the same time.
func NewKeys() (*Keys, error) { return loadKeys("") }

// signer is a private key with the one algorithm it serves.
type signer struct {
	kid string
	alg jose.SignatureAlgorithm
	key crypto.Signer
}

// public is the JWK that is published.
func (k signer) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.key.Public(), KeyID: k.kid, Algorithm: string(k.alg), Use: "sig"}
}

// sign makes a compact JWS over claims with that header type; "" leaves typ out.
func (k signer) sign(typ string, claims any) (string, error) {
	return k.signWith(map[jose.HeaderKey]any{jose.HeaderType: typ}, claims)
}

func (k signer) signWith(header map[jose.HeaderKey]any, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	opts := &jose.SignerOptions{}
	if k.kid != "" {
		opts = opts.WithHeader("kid", k.kid)
	}
	for name, v := range header {
		if v != "" {
			opts = opts.WithHeader(name, v)
		}
	}
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: k.key}, opts)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	jws, err := js.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return jws.CompactSerialize()
}

// unsigned makes a JWS of algorithm none, which no library makes.
func unsigned(typ string, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	header := map[string]string{"alg": "none"}
	if typ != "" {
		header["typ"] = typ
	}
	h, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	b := base64.RawURLEncoding.EncodeToString
	return b(h) + "." + b(payload) + ".", nil
}

// hmacSigned makes a JWS of HS256 under a key everybody knows: the octets of
// the public key it pretends to be.
func hmacSigned(k signer, typ string, claims any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(k.key.Public())
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	opts := (&jose.SignerOptions{}).WithHeader("kid", k.kid)
	if typ != "" {
		opts = opts.WithType(jose.ContentType(typ))
	}
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: der}, opts)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	jws, err := js.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return jws.CompactSerialize()
}

// keyring holds the simulator's keys, the current and the former ones.
type keyring struct {
	dir string

	mu           sync.Mutex
	anchor       signer // RSA, signs everything of the anchor
	anchorEC     signer // published beside it, as production does
	federation   signer
	core         map[jose.SignatureAlgorithm]signer
	rsaCore      *rsa.PrivateKey
	formerAnchor []formerKey
	formerFed    []signer
	formerCore   []signer
	foreign      *rsa.PrivateKey
	foreignEC    *ecdsa.PrivateKey
	pairwise     [32]byte // secret of the pairwise subjects
	announced    []signer // former anchor keys still published
}

// formerKey is a federation key that signs no more.
type formerKey struct {
	key     signer
	retired time.Time
}

func openKeyring(dir string, given *Keys) (*keyring, error) {
	keys := given
	if keys == nil {
		var err error
		keys, err = loadKeys(dir)
		if err != nil {
			return nil, err
		}
	}
	k := &keyring{dir: dir, foreign: keys.Foreign, core: map[jose.SignatureAlgorithm]signer{}}
	// The anchor's kid is a plain word in production: nobody may require a
	// thumbprint (entra-con-cie §1).
	k.anchor = signer{kid: "defaultRSASign", alg: jose.RS256, key: keys.Anchor}
	ec, err := sim.OpenKey(dir, "anchor-ec")
	if err != nil {
		return nil, err
	}
	k.anchorEC = signer{kid: "defaultECSign", alg: jose.ES256, key: ec}
	k.federation = signer{kid: thumbprint(keys.Federation.Public()), alg: jose.RS256, key: keys.Federation}
	coreEC, err := sim.OpenKey(dir, "core-ec")
	if err != nil {
		return nil, err
	}
	k.setCore(keys.Core, coreEC)
	k.foreignEC, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	// Stable per folder: the same person stays the same subject over restarts.
	secret, err := sim.OpenKey(dir, "op-pairwise")
	if err != nil {
		return nil, err
	}
	raw, err := secret.Bytes()
	if err != nil {
		return nil, fmt.Errorf("secret of the pairwise subjects: %w", err)
	}
	k.pairwise = sha256.Sum256(raw)
	return k, nil
}

// setCore makes the protocol keys of an RSA and an EC key: one kid per
// algorithm, so that key and header always fit (entra-con-cie §7).
func (k *keyring) setCore(rsaKey *rsa.PrivateKey, ec *ecdsa.PrivateKey) {
	k.rsaCore = rsaKey
	print := thumbprint(rsaKey.Public())
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.RS512, jose.PS256, jose.PS512} {
		kid := print
		if alg != jose.RS256 {
			kid += "-" + strings.ToLower(string(alg))
		}
		k.core[alg] = signer{kid: kid, alg: alg, key: rsaKey}
	}
	k.core[jose.ES256] = signer{kid: thumbprint(ec.Public()), alg: jose.ES256, key: ec}
}

// loadKeys reads or makes the RSA keys, at the same time.
func loadKeys(dir string) (*Keys, error) {
	k := &Keys{}
	into := map[string]**rsa.PrivateKey{"op-anchor": &k.Anchor, "op-federation": &k.Federation, "op-core": &k.Core, "op-foreign": &k.Foreign}
	var wait sync.WaitGroup
	errs := make(chan error, len(into))
	for name, dst := range into {
		wait.Go(func() {
			key, err := sim.OpenRSAKey(dir, name)
			*dst = key
			errs <- err
		})
	}
	wait.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return k, all
}

// thumbprint is the RFC 7638 SHA-256 thumbprint of a public RSA or EC key.
func thumbprint(pub crypto.PublicKey) string {
	sum, err := (&jose.JSONWebKey{Key: pub}).Thumbprint(crypto.SHA256)
	if err != nil {
		// Only for kinds of keys this package never makes.
		panic("opsim: thumbprint: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

func keySet(keys ...signer) jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k.public())
	}
	return set
}

// anchorKey is the key that signs for the anchor.
func (k *keyring) anchorKey() signer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.anchor
}

// anchorSet is what the anchor publishes about itself.
func (k *keyring) anchorSet() jose.JSONWebKeySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return keySet(append([]signer{k.anchor, k.anchorEC}, k.announced...)...)
}

func (k *keyring) federationKey() signer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.federation
}

// federationSet is the provider's federation keys, the former one still beside
// the current.
func (k *keyring) federationSet() jose.JSONWebKeySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return keySet(append([]signer{k.federation}, k.formerFed...)...)
}

func (k *keyring) coreKey(alg jose.SignatureAlgorithm) (signer, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.core[alg]
	return key, ok
}

// coreSet is the provider's protocol keys.
func (k *keyring) coreSet() jose.JSONWebKeySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []signer
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.RS512, jose.PS256, jose.PS512, jose.ES256} {
		list = append(list, k.core[alg])
	}
	return keySet(append(list, k.formerCore...)...)
}

// foreignSigner is a key nobody published, under the kid and the algorithm of
// one that is.
func (k *keyring) foreignSigner(like signer) signer {
	if like.alg == jose.ES256 {
		return signer{kid: like.kid, alg: like.alg, key: k.foreignEC}
	}
	return signer{kid: like.kid, alg: like.alg, key: k.foreign}
}

// Names of the keys that can be rotated.
const (
	KeyCore       = "core"       // the provider's protocol keys
	KeyFederation = "federation" // the provider's federation key
	KeyAnchor     = "anchor"     // the anchor's key
)

// Rotate makes a new key and signs with it from now on. The former one stays
// published beside it, unless abrupt. An anchor's new key is published and kept
// in the history; a relying party that pinned the former one must be told.
func (s *Server) Rotate(which string, abrupt bool) error {
	fresh, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("rotate %s: %w", which, err)
	}
	k := s.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	switch which {
	case KeyCore:
		former := []signer{k.core[jose.RS256], k.core[jose.RS512], k.core[jose.ES256]}
		ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return fmt.Errorf("rotate %s: %w", which, err)
		}
		k.setCore(fresh, ec)
		k.formerCore = nil
		if !abrupt {
			k.formerCore = former
		}
	case KeyFederation:
		former := k.federation
		k.federation = signer{kid: thumbprint(fresh.Public()), alg: jose.RS256, key: fresh}
		k.formerFed = nil
		if !abrupt {
			k.formerFed = []signer{former}
		}
	case KeyAnchor:
		former := k.anchor
		k.formerAnchor = append(k.formerAnchor, formerKey{key: former, retired: s.wire.Now()})
		k.anchor = signer{kid: "defaultRSASign-" + thumbprint(fresh.Public())[:8], alg: jose.RS256, key: fresh}
		k.announced = nil
		if !abrupt {
			k.announced = []signer{former}
		}
	default:
		return fmt.Errorf("rotate: unknown key %q", which)
	}
	if k.dir == "" {
		return nil
	}
	return sim.SaveRSAKey(k.dir, "op-"+which, fresh)
}

// AnchorJWKS is the key set to pin, as the portal would hand it out.
func (s *Server) AnchorJWKS() []byte {
	text, err := json.Marshal(s.keys.anchorSet())
	if err != nil {
		panic("opsim: encode the anchor's keys: " + err.Error()) // public keys of our own making
	}
	return text
}

func (k *keyring) former() []formerKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]formerKey(nil), k.formerAnchor...)
}
