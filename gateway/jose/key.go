package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"airegw/gateway/fault"
)

// Algorithm is a signature or key encryption algorithm of RFC 7518 that the
// product may use; nothing else exists for it.
type Algorithm string

// Signature algorithms.
const (
	RS256 Algorithm = "RS256"
	RS512 Algorithm = "RS512"
	PS256 Algorithm = "PS256"
	PS512 Algorithm = "PS512"
	ES256 Algorithm = "ES256"
	ES512 Algorithm = "ES512"
)

// Key encryption algorithms.
const (
	RSAOAEP    Algorithm = "RSA-OAEP"
	RSAOAEP256 Algorithm = "RSA-OAEP-256"
	// The agreement ones take an EC key, P-256 or P-521 (entra-con-cie §7 lists
	// them as recommended for CIE).
	ECDHES       Algorithm = "ECDH-ES"
	ECDHESA128KW Algorithm = "ECDH-ES+A128KW"
	ECDHESA256KW Algorithm = "ECDH-ES+A256KW"
)

// Use says what a key is for (RFC 7517 §4.2).
type Use string

// The two uses.
const (
	UseSignature  Use = "sig"
	UseEncryption Use = "enc"
)

func (a Algorithm) use() (Use, bool) {
	switch a {
	case RS256, RS512, PS256, PS512, ES256, ES512:
		return UseSignature, true
	case RSAOAEP, RSAOAEP256, ECDHES, ECDHESA128KW, ECDHESA256KW:
		return UseEncryption, true
	}
	return "", false
}

// fits tells whether a public key can serve the algorithm.
func (a Algorithm) fits(pub crypto.PublicKey) bool {
	switch a {
	case RS256, RS512, PS256, PS512, RSAOAEP, RSAOAEP256:
		_, ok := pub.(*rsa.PublicKey)
		return ok
	case ES256:
		k, ok := pub.(*ecdsa.PublicKey)
		return ok && k.Curve == elliptic.P256()
	case ES512:
		k, ok := pub.(*ecdsa.PublicKey)
		return ok && k.Curve == elliptic.P521()
	case ECDHES, ECDHESA128KW, ECDHESA256KW:
		k, ok := pub.(*ecdsa.PublicKey)
		return ok && (k.Curve == elliptic.P256() || k.Curve == elliptic.P521())
	}
	return false
}

const (
	minRSABits = 2048
	maxRSABits = 8192 // beyond it one verification is a denial of service
)

// Key is a private key of ours with the one algorithm it serves. The zero Key
// is unusable. It prints as its kid, never as its material.
type Key struct {
	alg    Algorithm
	kid    string
	signer crypto.Signer
}

// KID is the RFC 7638 thumbprint of the public key (SHA-256, base64url), the
// form the PDND portal shows.
func (k Key) KID() string { return k.kid }

// Algorithm the key serves.
func (k Key) Algorithm() Algorithm { return k.alg }

// IsZero is true for a Key that was never made.
func (k Key) IsZero() bool { return k.signer == nil }

// String keeps the material out of logs.
func (k Key) String() string { return "jose.Key(" + string(k.alg) + " " + k.kid + ")" }

// GoString keeps the material out of %#v.
func (k Key) GoString() string { return k.String() }

// Public is the key as others may know it.
func (k Key) Public() PublicKey {
	if k.signer == nil {
		return PublicKey{}
	}
	use, _ := k.alg.use()
	return PublicKey{kid: k.kid, alg: k.alg, use: use, key: k.signer.Public()}
}

// Signer gives the raw private key for uses outside JOSE (TLS, XML
// signatures); it must not be logged or stored.
func (k Key) Signer() crypto.Signer { return k.signer }

// NewKey wraps an existing private key for one algorithm.
func NewKey(alg Algorithm, signer crypto.Signer) (Key, error) {
	if _, ok := alg.use(); !ok {
		return Key{}, refuse(CodeAlgRefused, "alg", nil)
	}
	switch k := signer.(type) {
	case *rsa.PrivateKey:
		if k == nil {
			return Key{}, refuse(CodeKeyFile, "", nil)
		}
		if err := checkRSA(&k.PublicKey); err != nil {
			return Key{}, err
		}
		if err := k.Validate(); err != nil {
			return Key{}, refuse(CodeKeyFile, "", errors.New("inconsistent RSA key"))
		}
	case *ecdsa.PrivateKey:
		if k == nil {
			return Key{}, refuse(CodeKeyFile, "", nil)
		}
		// A point that is not on the curve makes the library panic; one that is not
		// the private key's makes signatures that nobody can verify.
		public, err := k.PublicKey.ECDH()
		if err != nil {
			return Key{}, refuse(CodeKeyFile, "", errors.New("not a point of the curve"))
		}
		private, err := k.ECDH()
		if err != nil || !private.PublicKey().Equal(public) {
			return Key{}, refuse(CodeKeyFile, "", errors.New("inconsistent EC key"))
		}
	default:
		return Key{}, refuse(CodeKeyFile, "", errors.New("neither RSA nor EC"))
	}
	if !alg.fits(signer.Public()) {
		return Key{}, refuse(CodeAlgRefused, "alg", nil)
	}
	kid, err := thumbprint(signer.Public())
	if err != nil {
		return Key{}, err
	}
	return Key{alg: alg, kid: kid, signer: signer}, nil
}

// GenerateKey makes a new key: P-256 for ES256 and the agreement algorithms,
// P-521 for ES512, RSA of 2048 bits for the others (3072 and more cost the
// gateway a signature each; the profiles in use ask for 2048). It always draws on
// the operating system's generator: seeded keys would be a door.
func GenerateKey(alg Algorithm) (Key, error) {
	var (
		signer crypto.Signer
		err    error
	)
	switch alg {
	case ES256, ECDHES, ECDHESA128KW, ECDHESA256KW:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ES512:
		signer, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case RS256, RS512, PS256, PS512, RSAOAEP, RSAOAEP256:
		signer, err = rsa.GenerateKey(rand.Reader, minRSABits)
	default:
		return Key{}, refuse(CodeAlgRefused, "alg", nil)
	}
	if err != nil {
		return Key{}, refuse(CodeKeyFile, "", err)
	}
	return NewKey(alg, signer)
}

func checkRSA(pub *rsa.PublicKey) error {
	if pub.N == nil || pub.N.BitLen() < minRSABits || pub.N.BitLen() > maxRSABits || pub.E < 3 {
		return refuse(CodeWeakKey, "", nil)
	}
	return nil
}

func thumbprint(pub crypto.PublicKey) (string, error) {
	j, err := jwk.FromRaw(pub)
	if err != nil {
		return "", refuse(CodeKeyFile, "", err)
	}
	sum, err := j.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", refuse(CodeKeyFile, "", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// LoadKey reads a private key for alg from a PEM file (PKCS#8, PKCS#1, SEC 1)
// or a JWK file. A file that group or others may read is refused
// (CodeKeyFileOpen): a secret lying open is no secret. A JWK that names
// another algorithm or use is refused.
func LoadKey(path string, alg Algorithm) (Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, refuse(CodeKeyFile, path, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return Key{}, refuse(CodeKeyFile, path, err)
	}
	if info.Mode().Perm()&0o077 != 0 && !fault.Mutant("jose.key-mode") {
		return Key{}, refuse(CodeKeyFileOpen, path, nil)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxToken))
	if err != nil {
		return Key{}, refuse(CodeKeyFile, path, err)
	}
	k, err := ParsePrivateKey(data, alg)
	if err != nil {
		var e *Error
		if errors.As(err, &e) && e.Field == "" {
			e.Field = path
		}
		return Key{}, err
	}
	return k, nil
}

// ParsePrivateKey reads one private key of ours, PEM or JWK, for alg.
func ParsePrivateKey(data []byte, alg Algorithm) (Key, error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		var named struct {
			Alg Algorithm `json:"alg"`
			Use Use       `json:"use"`
		}
		if err := json.Unmarshal(data, &named); err != nil {
			return Key{}, refuse(CodeKeyFile, "", errors.New("not JSON"))
		}
		want, _ := alg.use()
		if (named.Alg != "" && named.Alg != alg) || (named.Use != "" && named.Use != want) {
			return Key{}, refuse(CodeAlgRefused, "alg", nil)
		}
		j, err := jwk.ParseKey(data)
		if err != nil {
			return Key{}, refuse(CodeKeyFile, "", errors.New("not a JWK"))
		}
		var raw any
		if err := j.Raw(&raw); err != nil {
			return Key{}, refuse(CodeKeyFile, "", errors.New("not a JWK"))
		}
		signer, ok := raw.(crypto.Signer)
		if !ok {
			return Key{}, refuse(CodeKeyFile, "", errors.New("not a private key"))
		}
		return NewKey(alg, signer)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return Key{}, refuse(CodeKeyFile, "", errors.New("neither PEM nor JWK"))
	}
	var (
		raw any
		err error
	)
	switch block.Type {
	case "PRIVATE KEY":
		raw, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		raw, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		raw, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return Key{}, refuse(CodeKeyFile, "", errors.New("not a private key"))
	}
	if err != nil {
		return Key{}, refuse(CodeKeyFile, "", errors.New("unreadable PEM key"))
	}
	signer, ok := raw.(crypto.Signer)
	if !ok {
		return Key{}, refuse(CodeKeyFile, "", errors.New("not a signing key"))
	}
	return NewKey(alg, signer)
}

// SaveKey writes the private key as a JWK file of mode 0600. It never
// overwrites: an existing file is an error. On return the file is synced.
func SaveKey(path string, k Key) error {
	if k.IsZero() {
		return refuse(CodeKeyFile, path, errors.New("no key"))
	}
	j, err := jwk.FromRaw(k.signer)
	if err != nil {
		return refuse(CodeKeyFile, path, err)
	}
	use, _ := k.alg.use()
	for name, value := range map[string]any{jwk.KeyIDKey: k.kid, jwk.AlgorithmKey: string(k.alg), jwk.KeyUsageKey: string(use)} {
		if err := j.Set(name, value); err != nil {
			return refuse(CodeKeyFile, path, err)
		}
	}
	data, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return refuse(CodeKeyFile, path, err)
	}
	return writeSecret(path, append(data, '\n'))
}

// SaveKeyPEM writes the private key as PKCS#8 PEM of mode 0600, as TLS
// libraries want it. It never overwrites.
func SaveKeyPEM(path string, k Key) error {
	if k.IsZero() {
		return refuse(CodeKeyFile, path, errors.New("no key"))
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return refuse(CodeKeyFile, path, err)
	}
	return writeSecret(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// writeSecret makes the file whole or not at all: a half-written key after a
// power cut would look like a lost one.
func writeSecret(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600 by contract
	if err != nil {
		return refuse(CodeKeyFile, path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		// Link, unlike Rename, fails when the name is taken.
		err = os.Link(tmp.Name(), path)
	}
	if err != nil {
		return refuse(CodeKeyFile, path, err)
	}
	return nil
}
