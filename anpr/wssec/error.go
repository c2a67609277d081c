package wssec

import "fmt"

// Code is the closed list of reasons for a refusal.
type Code string

// The codes.
const (
	CodeTooLarge    Code = "wssec_too_large"   // bytes, depth, elements or namespaces
	CodeNotXML      Code = "wssec_not_xml"     // not well formed, not UTF-8
	CodeForbidden   Code = "wssec_forbidden"   // document type, entity, processing instruction, attribute twice
	CodeNotSOAP     Code = "wssec_not_soap"    // not Envelope, Header, Body of SOAP 1.1
	CodeUnsigned    Code = "wssec_unsigned"    // no Security header, or a part of it is missing
	CodeStructure   Code = "wssec_structure"   // a part twice, unknown, or in the wrong place
	CodeID          Code = "wssec_id"          // an id twice in the document, empty or not a name
	CodeReference   Code = "wssec_reference"   // not exactly what must be signed is signed
	CodeAlgorithm   Code = "wssec_algorithm"   // not of an allowed suite
	CodeDigest      Code = "wssec_digest"      // a signed part was changed
	CodeSignature   Code = "wssec_signature"   // the signature does not verify
	CodeCertificate Code = "wssec_certificate" // unreadable, not RSA, out of its time, not trusted
	CodeTime        Code = "wssec_time"        // the Timestamp is missing a part, too old, or of the future
	CodeAssertion   Code = "wssec_assertion"   // the SAML assertion says too little or is out of its time
	CodeStation     Code = "wssec_station"     // the station's signature is not of the station id
	CodeMaterial    Code = "wssec_material"    // our own keys, certificates or values cannot be used
	CodeSelfCheck   Code = "wssec_self_check"  // what we made does not pass our own check
)

// Error is the only error of this package. Detail is a machine token that
// narrows the code; it holds nothing of the message.
type Error struct {
	Code   Code
	Detail string
	Err    error
}

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Detail != "" {
		s += " " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

func refuse(code Code, detail string) error { return &Error{Code: code, Detail: detail} }

func wrap(code Code, detail string, err error) error {
	return &Error{Code: code, Detail: detail, Err: fmt.Errorf("wssec: %w", err)}
}
