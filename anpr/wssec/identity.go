package wssec

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"time"
)

// Identity is a private key with its certificate. Two of them make a message:
// the site's (comune, consulate) and the station's; the expiry of either is a
// common outage (specs/anpr-pdnd-modi.md §4.1).
type Identity struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// ParseIdentity reads a certificate and its PKCS #8 or PKCS #1 private key from
// PEM. A *Error with CodeMaterial when they are not RSA of at least 2048 bits or
// do not belong together; whether the certificate is in its time is judged when
// it is used.
func ParseIdentity(certificatePEM, keyPEM []byte) (Identity, error) {
	certs, err := ParseCertificates(certificatePEM)
	if err != nil {
		return Identity{}, err
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return Identity{}, refuse(CodeMaterial, "key_not_pem")
	}
	var key *rsa.PrivateKey
	if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		key, _ = parsed.(*rsa.PrivateKey)
	} else if parsed, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		key = parsed
	}
	public, _ := certs[0].PublicKey.(*rsa.PublicKey)
	switch {
	case key == nil:
		return Identity{}, refuse(CodeMaterial, "key_not_rsa")
	case public == nil || !public.Equal(key.Public()):
		return Identity{}, refuse(CodeMaterial, "key_not_of_certificate")
	case public.N.BitLen() < minRSABits:
		return Identity{}, refuse(CodeMaterial, "key_too_short")
	}
	return Identity{certificate: certs[0], key: key}, nil
}

// ParseCertificates reads one or more certificates from PEM.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, wrap(CodeMaterial, "certificate", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, refuse(CodeMaterial, "certificate_not_pem")
	}
	return out, nil
}

// Expires is when the certificate ends, UTC.
func (i Identity) Expires() time.Time { return i.certificate.NotAfter.UTC() }

// Certificate of the identity.
func (i Identity) Certificate() *x509.Certificate { return i.certificate }

func (i Identity) usable(now time.Time) bool {
	return i.certificate != nil && !now.Before(i.certificate.NotBefore) && !now.After(i.certificate.NotAfter)
}

// sign hashes data and signs it, PKCS #1 v1.5.
func (i Identity) sign(hash crypto.Hash, data []byte) ([]byte, error) {
	h := hash.New()
	h.Write(data)
	// PKCS #1 v1.5 needs no randomness.
	return i.key.Sign(nil, h.Sum(nil), hash)
}

// Trust judges a certificate that signed something; nil accepts it. Its time is
// judged too.
type Trust func(c *x509.Certificate, now time.Time) error

var (
	errNotPinned   = errors.New("not a certificate we were told to trust")
	errOutOfTime   = errors.New("out of its time")
	errNotAnIssuer = errors.New("no certificate to trust")
)

// TrustOnly accepts exactly the given certificates: the register's own, the old
// and the new one while it changes them.
func TrustOnly(pinned ...*x509.Certificate) Trust {
	return func(c *x509.Certificate, now time.Time) error {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return errOutOfTime
		}
		for _, p := range pinned {
			if p.Equal(c) {
				return nil
			}
		}
		return errNotPinned
	}
}

// TrustIssuedBy accepts every certificate that chains to one of the roots.
func TrustIssuedBy(roots ...*x509.Certificate) Trust {
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	return func(c *x509.Certificate, now time.Time) error {
		if len(roots) == 0 {
			return errNotAnIssuer
		}
		_, err := c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return err
	}
}

func checkCertificate(der []byte, trust Trust, now time.Time) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, refuse(CodeCertificate, "unreadable")
	}
	public, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok || public.N.BitLen() < minRSABits {
		return nil, refuse(CodeCertificate, "key")
	}
	if trust == nil {
		return nil, refuse(CodeCertificate, "no_trust")
	}
	if err := trust(c, now); err != nil {
		return nil, wrap(CodeCertificate, "not_trusted", err)
	}
	return c, nil
}
