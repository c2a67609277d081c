package sim

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"
)

// The signed station id: CMS SignedData with content, no signed attributes when
// we make it, any when we read it.

var (
	cmsData   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	cmsSigned = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	cmsSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	cmsRSA    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	cmsDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
)

var tag0 = tags.Tag(0).Constructed().ContextSpecific()

func signedStation(id string, c *x509.Certificate, key *rsa.PrivateKey) ([]byte, error) {
	sum := sha256.Sum256([]byte(id))
	value, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return nil, err
	}
	algorithm := func(oid asn1.ObjectIdentifier) func(*cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oid); b.AddASN1NULL() }
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(cmsSigned)
		b.AddASN1(tag0, func(b *cryptobyte.Builder) {
			b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(tags.SET, func(b *cryptobyte.Builder) { b.AddASN1(tags.SEQUENCE, algorithm(cmsSHA256)) })
				b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(cmsData)
					b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddASN1OctetString([]byte(id)) })
				})
				b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddBytes(c.Raw) })
				b.AddASN1(tags.SET, func(b *cryptobyte.Builder) {
					b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1Int64(1)
						b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(c.RawIssuer); b.AddASN1BigInt(c.SerialNumber) })
						b.AddASN1(tags.SEQUENCE, algorithm(cmsSHA256))
						b.AddASN1(tags.SEQUENCE, algorithm(cmsRSA))
						b.AddASN1OctetString(value)
					})
				})
			})
		})
	})
	return b.Bytes()
}

var errStation = errors.New("IdPostazioneFirmato is not a signature of IdPostazione by its station")

func checkStation(der []byte, id string, trust func(*x509.Certificate) error) error {
	in := cryptobyte.String(der)
	var outer, explicit, data, content, certificates, signers, signer, attributes cryptobyte.String
	var oid asn1.ObjectIdentifier
	var version int
	var text, value cryptobyte.String
	var hasCertificates, hasAttributes bool
	ok := in.ReadASN1(&outer, tags.SEQUENCE) && in.Empty() &&
		outer.ReadASN1ObjectIdentifier(&oid) && oid.Equal(cmsSigned) && outer.ReadASN1(&explicit, tag0) &&
		explicit.ReadASN1(&data, tags.SEQUENCE) && data.ReadASN1Integer(&version) && data.SkipASN1(tags.SET) &&
		data.ReadASN1(&content, tags.SEQUENCE) && content.ReadASN1ObjectIdentifier(&oid) && content.ReadASN1(&explicit, tag0) &&
		explicit.ReadASN1(&text, tags.OCTET_STRING) &&
		data.ReadOptionalASN1(&certificates, &hasCertificates, tag0) && hasCertificates &&
		data.SkipOptionalASN1(tags.Tag(1).Constructed().ContextSpecific()) &&
		data.ReadASN1(&signers, tags.SET) && signers.ReadASN1(&signer, tags.SEQUENCE) && signers.Empty() &&
		signer.ReadASN1Integer(&version) && signer.SkipASN1(tags.SEQUENCE) && signer.SkipASN1(tags.SEQUENCE) &&
		signer.ReadOptionalASN1(&attributes, &hasAttributes, tag0) && signer.SkipASN1(tags.SEQUENCE) &&
		signer.ReadASN1(&value, tags.OCTET_STRING)
	if !ok || string(text) != id {
		return errStation
	}
	c, err := x509.ParseCertificate(certificates)
	if err != nil {
		return err
	}
	if err := trust(c); err != nil {
		return err
	}
	signed := []byte(text)
	if hasAttributes {
		sum := sha256.Sum256(text)
		if !digestAmong(attributes, sum[:]) {
			return errStation
		}
		b := cryptobyte.NewBuilder(nil)
		b.AddASN1(tags.SET, func(b *cryptobyte.Builder) { b.AddBytes(attributes) })
		signed = b.BytesOrPanic()
	}
	if c.CheckSignature(x509.SHA256WithRSA, signed, value) != nil || c.Subject.CommonName != id {
		return errStation
	}
	return nil
}

// digestAmong finds the digest of the content among signed attributes.
func digestAmong(attributes cryptobyte.String, sum []byte) bool {
	for !attributes.Empty() {
		var one, values, digest cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !attributes.ReadASN1(&one, tags.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&oid) || !one.ReadASN1(&values, tags.SET) {
			return false
		}
		if oid.Equal(cmsDigest) && values.ReadASN1(&digest, tags.OCTET_STRING) && bytes.Equal(digest, sum) {
			return true
		}
	}
	return false
}
