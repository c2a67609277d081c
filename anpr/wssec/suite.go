package wssec

import (
	"crypto"
	"crypto/x509"

	dsig "github.com/russellhaering/goxmldsig"
)

// Suite names a set of algorithms: both signatures of a message use it, and
// nothing outside it is accepted.
type Suite string

// The suites. Canonicalisation is always exclusive, without comments; keys are
// always RSA of at least 2048 bits.
const (
	// SuiteSHA256 is RSA-SHA256 with SHA-256 digests.
	SuiteSHA256 Suite = "rsa-sha256"
	// SuiteBasic128Rsa15 is the suite of the published sample client (2018 to
	// 2021): RSA-SHA1 with SHA-1 digests. Only for a peer that speaks nothing
	// newer (specs/anpr-pdnd-modi.md §9 question 6).
	SuiteBasic128Rsa15 Suite = "basic128rsa15"
)

type algorithms struct {
	hash      crypto.Hash
	digest    string // DigestMethod
	signature string // SignatureMethod
	x509      x509.SignatureAlgorithm
}

var suites = map[Suite]algorithms{
	SuiteSHA256: {
		crypto.SHA256, "http://www.w3.org/2001/04/xmlenc#sha256", dsig.RSASHA256SignatureMethod, x509.SHA256WithRSA,
	},
	SuiteBasic128Rsa15: {
		crypto.SHA1, "http://www.w3.org/2000/09/xmldsig#sha1", dsig.RSASHA1SignatureMethod, x509.SHA1WithRSA,
	},
}

// Known tells whether a suite is one of the above.
func (s Suite) Known() bool { _, ok := suites[s]; return ok }

const minRSABits = 2048
