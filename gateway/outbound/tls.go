package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSFiles names the PEM files of one peer's TLS. Empty names mean: the
// system's authorities, no client certificate.
type TLSFiles struct {
	CA   string // authorities that may vouch for the peer, instead of the system's
	Cert string // our certificate chain
	Key  string // its private key, mode 0600
}

// LoadTLS reads the files. TLS 1.2 is the least. A private key that group or
// others may read is refused.
func LoadTLS(f TLSFiles) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("read certificate authorities: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificate authorities: no certificate in %s", f.CA)
		}
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("client certificate: certificate and key belong together")
	}
	if f.Cert != "" {
		info, err := os.Stat(f.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			return nil, fmt.Errorf("client certificate: %s may be read by others", f.Key)
		}
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
