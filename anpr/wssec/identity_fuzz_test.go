package wssec_test

import (
	"errors"
	"testing"

	"airegw/anpr/wssec"
)

// FuzzParseIdentity: files of certificates and keys are both whole or refused
// with a code.
func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN X-----\n\n-----END X-----\n"), []byte{})
	f.Fuzz(func(t *testing.T, certificate, key []byte) {
		certs, err := wssec.ParseCertificates(certificate)
		if (err == nil) != (len(certs) > 0) {
			t.Fatalf("%d certificates, %v", len(certs), err)
		}
		_, err = wssec.ParseIdentity(certificate, key)
		if e := (*wssec.Error)(nil); err != nil && (!errors.As(err, &e) || e.Code == "") {
			t.Fatalf("refused as %v", err)
		}
	})
}
