package wssec

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"time"
)

// The signed station id (IdPostazioneFirmato) is a CMS SignedData (RFC 5652)
// with its content attached: the station id, SHA256withRSA, one signer with
// its certificate inside, no signed attributes. Both ways are strict DER.

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidSHA256     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidRSA        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSHA256RSA  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidMessage    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidContent    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
)

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,optional,tag:0"`
}

type signedData struct {
	Version      int
	Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
	Content      contentInfo
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
	CRLs         asn1.RawValue `asn1:"optional,tag:1"`
	Signers      []signerInfo  `asn1:"set"`
}

type signerInfo struct {
	Version    int
	Signer     issuerAndSerial
	Digest     pkix.AlgorithmIdentifier
	Attributes asn1.RawValue `asn1:"optional,tag:0"`
	Algorithm  pkix.AlgorithmIdentifier
	Signature  []byte
	Unsigned   asn1.RawValue `asn1:"optional,tag:1"`
}

type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

type cmsAttribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

// signStation makes the CMS over a station id.
func signStation(station Identity, id string) ([]byte, error) {
	value, err := station.sign(crypto.SHA256, []byte(id))
	if err != nil {
		return nil, wrap(CodeMaterial, "sign_station", err)
	}
	octets, err := asn1.Marshal([]byte(id))
	if err != nil {
		return nil, wrap(CodeMaterial, "cms", err)
	}
	c := station.certificate
	digest := pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}
	inner, err := asn1.Marshal(signedData{
		Version: 1, Digests: []pkix.AlgorithmIdentifier{digest},
		Content:      contentInfo{Type: oidData, Content: explicit(octets)},
		Certificates: explicit(c.Raw),
		Signers: []signerInfo{{
			Version: 1, Signer: issuerAndSerial{Issuer: asn1.RawValue{FullBytes: c.RawIssuer}, Serial: c.SerialNumber},
			Digest: digest, Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}, Signature: value,
		}},
	})
	if err != nil {
		return nil, wrap(CodeMaterial, "cms", err)
	}
	out, err := asn1.Marshal(contentInfo{Type: oidSignedData, Content: explicit(inner)})
	if err != nil {
		return nil, wrap(CodeMaterial, "cms", err)
	}
	return out, nil
}

// explicit is the bytes inside a constructed context tag 0.
func explicit(der []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: der}
}

// readStation checks the CMS over a station id and gives the certificate of the
// station. Signed attributes are accepted, as other makers add them.
func readStation(der []byte, id string, trust Trust, now time.Time) (*x509.Certificate, error) {
	var outer contentInfo
	if !whole(der, &outer) || !outer.Type.Equal(oidSignedData) {
		return nil, refuse(CodeStation, "cms")
	}
	var data signedData
	if !whole(outer.Content.Bytes, &data) || !data.Content.Type.Equal(oidData) || len(data.Signers) != 1 {
		return nil, refuse(CodeStation, "cms")
	}
	var content []byte
	if !whole(data.Content.Content.Bytes, &content) || string(content) != id {
		return nil, refuse(CodeStation, "content")
	}
	// One certificate: the station's.
	c, err := checkCertificate(data.Certificates.Bytes, trust, now)
	if err != nil {
		return nil, err
	}
	s := data.Signers[0]
	algorithm := s.Algorithm.Algorithm
	switch {
	case s.Signer.Serial == nil || s.Signer.Serial.Cmp(c.SerialNumber) != 0 || !bytes.Equal(s.Signer.Issuer.FullBytes, c.RawIssuer):
		return nil, refuse(CodeStation, "signer")
	case !s.Digest.Algorithm.Equal(oidSHA256) || (!algorithm.Equal(oidRSA) && !algorithm.Equal(oidSHA256RSA)):
		return nil, refuse(CodeAlgorithm, "station")
	}
	signed := content
	if len(s.Attributes.FullBytes) > 0 {
		if !attributesOf(s.Attributes.Bytes, content) {
			return nil, refuse(CodeStation, "attributes")
		}
		// They are signed as a SET, not as the implicit tag they are sent under.
		signed = bytes.Clone(s.Attributes.FullBytes)
		signed[0] = 0x31
	}
	if c.CheckSignature(x509.SHA256WithRSA, signed, s.Signature) != nil {
		return nil, refuse(CodeStation, "signature")
	}
	return c, nil
}

// attributesOf tells whether signed attributes name the type and the digest of
// the content, each once (RFC 5652 §5.3).
func attributesOf(der, content []byte) bool {
	sum := sha256.Sum256(content)
	types, digests := 0, 0
	for len(der) > 0 {
		var a cmsAttribute
		rest, err := asn1.Unmarshal(der, &a)
		if err != nil || len(a.Values) != 1 {
			return false
		}
		der = rest
		switch {
		case a.Type.Equal(oidContent):
			var kind asn1.ObjectIdentifier
			if !whole(a.Values[0].FullBytes, &kind) || !kind.Equal(oidData) {
				return false
			}
			types++
		case a.Type.Equal(oidMessage):
			var digest []byte
			if !whole(a.Values[0].FullBytes, &digest) || !bytes.Equal(digest, sum[:]) {
				return false
			}
			digests++
		}
	}
	return types == 1 && digests == 1
}

// whole reads DER with nothing after it.
func whole(der []byte, into any) bool {
	rest, err := asn1.Unmarshal(der, into)
	return err == nil && len(rest) == 0
}
