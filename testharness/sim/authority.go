package sim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// SimulatedOrganization stands in every certificate of a simulator, so that a
// production gateway can refuse them.
const SimulatedOrganization = "SIMULATION ONLY"

// Certificates outlive any simulated time, wherever its clock stands.
var (
	certFrom = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	certTo   = time.Date(2099, 12, 31, 0, 0, 0, 0, time.UTC)
)

// Authority is a simulator's own certificate authority (ECDSA P-256).
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// OpenAuthority loads the authority kept in dir as name.pem and name-key.pem,
// or makes it and stores it there before returning. With an empty dir it makes
// a new one that lives in memory only.
func OpenAuthority(dir, name string) (*Authority, error) {
	key, err := OpenKey(dir, name+"-key")
	if err != nil {
		return nil, err
	}
	var certPEM []byte
	if dir != "" {
		certPEM, err = os.ReadFile(filepath.Join(dir, name+".pem"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read the certificate of %s: %w", name, err)
		}
	}
	if certPEM == nil {
		template := &x509.Certificate{
			Subject:               pkix.Name{CommonName: name, Organization: []string{SimulatedOrganization}},
			NotBefore:             certFrom,
			NotAfter:              certTo,
			IsCA:                  true,
			BasicConstraintsValid: true,
			MaxPathLenZero:        true,
			KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
		certPEM, err = sign(template, template, key.Public(), key)
		if err != nil {
			return nil, err
		}
		if dir != "" {
			err = WriteFile(filepath.Join(dir, name+".pem"), certPEM, 0o644)
			if err != nil {
				return nil, err
			}
		}
	}
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return nil, fmt.Errorf("the certificate of %s is not PEM", name)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the certificate of %s: %w", name, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("certificate and key of %s do not belong together", name)
	}
	return &Authority{cert: cert, key: key, pem: certPEM}, nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// CAPEM is the authority's own certificate.
func (a *Authority) CAPEM() []byte { return append([]byte(nil), a.pem...) }

// Pool trusts this authority and nothing else.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue signs a certificate for a new key, good as server on loopback
// (127.0.0.1, ::1, localhost) and as client, with name as its common name.
func (a *Authority) Issue(name string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key for %s: %w", name, err)
	}
	keyPEM, err = encodeKey(key)
	if err != nil {
		return nil, nil, err
	}
	certPEM, err = a.certify(name, key.Public())
	if err != nil {
		return nil, nil, err
	}
	return certPEM, keyPEM, nil
}

func (a *Authority) certify(name string, public crypto.PublicKey) ([]byte, error) {
	return sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{SimulatedOrganization}},
		NotBefore:             certFrom,
		NotAfter:              certTo,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}, a.cert, public, a.key)
}

// TLSCertificate is Issue, ready for crypto/tls.
func (a *Authority) TLSCertificate(name string) (tls.Certificate, error) {
	certPEM, keyPEM, err := a.Issue(name)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load the certificate of %s: %w", name, err)
	}
	return pair, nil
}

// ServerTLS serves with a new certificate of the authority. When clients is
// not nil, a client must show a certificate that clients trusts.
func (a *Authority) ServerTLS(name string, clients *x509.CertPool) (*tls.Config, error) {
	pair, err := a.TLSCertificate(name)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if clients != nil {
		config.ClientAuth = tls.RequireAndVerifyClientCert
		config.ClientCAs = clients
	}
	return config, nil
}

// OpenKey loads the P-256 key kept in dir as name.pem, or makes it and stores
// it there, readable by the owner only, before returning. With an empty dir the
// key is new and lives in memory only.
func OpenKey(dir, name string) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(dir, name+".pem")
	if dir != "" {
		text, err := os.ReadFile(path)
		if err == nil {
			return decodeKey(name, text)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read the key %s: %w", name, err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key %s: %w", name, err)
	}
	if dir == "" {
		return key, nil
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	err = WriteFile(path, text, 0o600)
	if err != nil {
		return nil, err
	}
	return key, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func decodeKey(name string, text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("the key %s is not PEM", name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the key %s: %w", name, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("the key %s is not ECDSA P-256", name)
	}
	return key, nil
}

// OpenRSAKey loads the RSA key kept in dir as name.pem, or makes one of 2048
// bits and stores it there, readable by the owner only, before returning. With
// an empty dir the key is new and lives in memory only.
func OpenRSAKey(dir, name string) (*rsa.PrivateKey, error) {
	if dir != "" {
		text, err := os.ReadFile(filepath.Join(dir, name+".pem"))
		if err == nil {
			return decodeRSA(name, text)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read the key %s: %w", name, err)
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make the key %s: %w", name, err)
	}
	if dir == "" {
		return key, nil
	}
	return key, SaveRSAKey(dir, name, key)
}

// SaveRSAKey stores a key as OpenRSAKey finds it, in place of the one there.
func SaveRSAKey(dir, name string, key *rsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the key %s: %w", name, err)
	}
	return WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func decodeRSA(name string, text []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("the key %s is not PEM", name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the key %s: %w", name, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key %s is not RSA", name)
	}
	return key, nil
}
