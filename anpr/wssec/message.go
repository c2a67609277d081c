package wssec

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"io"
	"strings"
	"time"

	"github.com/beevik/etree"
)

const (
	encodingBase64 = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
	valueX509      = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3"

	timestampLife = 5 * time.Minute
	maxLife       = 10 * time.Minute
)

// Signer makes messages. Its zero value makes none.
type Signer struct {
	Suite   Suite
	Site    Identity // signs the message and the assertion
	Station Identity // signs the station id; not needed for Answer
	Issuer  string   // of the assertion; a placeholder in the published client
}

// Request makes the SOAP envelope of a request: body is one well-formed XML
// element, UTF-8; rand gives the ids. What it makes has passed Check with this
// signer's own certificates. A *Error with CodeMaterial when a value or a
// certificate cannot be used, CodeSelfCheck when the outcome is not what it
// should be.
func (s Signer) Request(body []byte, st Statement, now time.Time, rand io.Reader) ([]byte, error) {
	if err := st.check(); err != nil {
		return nil, err
	}
	if s.Issuer == "" || !s.Station.usable(now) {
		return nil, refuse(CodeMaterial, "station_certificate")
	}
	signed, err := signStation(s.Station, st.Station)
	if err != nil {
		return nil, err
	}
	out, err := s.message(body, now, rand, func(security *etree.Element, id string) error {
		return newAssertion(security, s.Suite, s.Site, s.Issuer, id, st, base64.StdEncoding.EncodeToString(signed), now)
	})
	if err != nil {
		return nil, err
	}
	own := Checker{Suites: []Suite{s.Suite}, Trust: TrustOnly(s.Site.certificate, s.Station.certificate), MaxBytes: len(out)}
	if _, err := own.Request(out, now); err != nil {
		return nil, wrap(CodeSelfCheck, "", err)
	}
	return out, nil
}

// Answer makes a signed message without an assertion, as the register's answers
// are.
func (s Signer) Answer(body []byte, now time.Time, rand io.Reader) ([]byte, error) {
	return s.message(body, now, rand, nil)
}

func (s Signer) message(body []byte, now time.Time, rand io.Reader, assertion func(security *etree.Element, id string) error) ([]byte, error) {
	now = now.UTC().Truncate(time.Millisecond)
	switch {
	case !s.Suite.Known():
		return nil, refuse(CodeMaterial, "suite")
	case !s.Site.usable(now):
		return nil, refuse(CodeMaterial, "site_certificate")
	}
	payload, err := parse(body, DefaultMaxBytes)
	if err != nil {
		return nil, wrap(CodeMaterial, "body", err)
	}
	ids, err := newIDs(rand)
	if err != nil {
		return nil, wrap(CodeMaterial, "random", err)
	}
	doc := etree.NewDocument()
	doc.WriteSettings = etree.WriteSettings{CanonicalAttrVal: true, CanonicalEndTags: true, CanonicalText: true}
	envelope := doc.CreateElement("soapenv:Envelope")
	envelope.CreateAttr("xmlns:soapenv", nsSOAP)
	security := envelope.CreateElement("soapenv:Header").CreateElement("wsse:Security")
	security.CreateAttr("xmlns:wsse", nsWSSE)
	security.CreateAttr("xmlns:wsu", nsWSU)
	security.CreateAttr("soapenv:mustUnderstand", "1")
	stamp := security.CreateElement("wsu:Timestamp")
	stamp.CreateAttr("wsu:Id", "TS-"+ids)
	stamp.CreateElement("wsu:Created").SetText(now.Format(instant))
	stamp.CreateElement("wsu:Expires").SetText(now.Add(timestampLife).Format(instant))
	token := security.CreateElement("wsse:BinarySecurityToken")
	token.CreateAttr("wsu:Id", "X509-"+ids)
	token.CreateAttr("EncodingType", encodingBase64)
	token.CreateAttr("ValueType", valueX509)
	token.SetText(base64.StdEncoding.EncodeToString(s.Site.certificate.Raw))
	if assertion != nil {
		if err := assertion(security, "SAML-"+ids); err != nil {
			return nil, err
		}
	}
	soapBody := envelope.CreateElement("soapenv:Body")
	soapBody.CreateAttr("xmlns:wsu", nsWSU)
	soapBody.CreateAttr("wsu:Id", "B-"+ids)
	soapBody.AddChild(payload.Root())
	err = newSignature(security, s.Suite, s.Site, []signedPart{{id: "TS-" + ids, element: stamp}, {id: "B-" + ids, element: soapBody}},
		func(keyInfo *etree.Element) {
			ref := keyInfo.CreateElement("wsse:SecurityTokenReference").CreateElement("wsse:Reference")
			ref.CreateAttr("URI", "#X509-"+ids)
			ref.CreateAttr("ValueType", valueX509)
		})
	if err != nil {
		return nil, err
	}
	out, err := doc.WriteToBytes()
	if err != nil {
		return nil, wrap(CodeMaterial, "write", err)
	}
	return out, nil
}

func newIDs(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}

// Checker reads messages. All its fields but MaxBytes and Skew must be set.
type Checker struct {
	Suites []Suite // allowed, for both signatures
	// Trust judges the certificate of the message's signer, and of the station.
	Trust    Trust
	Skew     time.Duration // how far ahead of us the sender's clock may be; 0 is none
	MaxBytes int           // of a message; 0 is DefaultMaxBytes
}

// Checked is a message that passed.
type Checked struct {
	// Body is the canonical text of the SOAP Body, the bytes that were signed:
	// the only part to be processed.
	Body []byte
	// Signer signed the message.
	Signer *x509.Certificate
	// Statement and Station are set by Request only.
	Statement Statement
	Station   *x509.Certificate
}

// Request checks a message with an assertion. Every error is a *Error.
func (c Checker) Request(envelope []byte, now time.Time) (Checked, error) {
	return c.check(envelope, now, true)
}

// Answer checks a message without one.
func (c Checker) Answer(envelope []byte, now time.Time) (Checked, error) {
	return c.check(envelope, now, false)
}

type securityParts struct {
	stamp, token, assertion, signature, body *etree.Element
}

func (c Checker) check(envelope []byte, now time.Time, request bool) (out Checked, err error) {
	doc, err := parse(envelope, c.MaxBytes)
	if err != nil {
		return Checked{}, err
	}
	p, err := findParts(doc.Root(), request)
	if err != nil {
		return Checked{}, err
	}
	der, tokenID, err := readToken(p)
	if err != nil {
		return Checked{}, err
	}
	out.Signer, err = checkCertificate(der, c.Trust, now)
	if err != nil {
		return Checked{}, err
	}
	if err := pointsAt(p.signature, tokenID); err != nil {
		return Checked{}, err
	}
	stampID, bodyID := attribute(p.stamp, nsWSU, "Id"), attribute(p.body, nsWSU, "Id")
	if stampID == "" || bodyID == "" {
		return Checked{}, refuse(CodeReference, "no_id")
	}
	signed, err := verifySignature(p.signature, out.Signer, c.Suites, []signedPart{{id: stampID, element: p.stamp}, {id: bodyID, element: p.body}})
	if err != nil {
		return Checked{}, err
	}
	if err := c.checkStamp(signed[0], now); err != nil {
		return Checked{}, err
	}
	out.Body = signed[1]
	if !request {
		return out, nil
	}
	var stationSigned []byte
	out.Statement, stationSigned, err = readAssertion(p.assertion, out.Signer, c.Suites, c.Skew, now)
	if err != nil {
		return Checked{}, err
	}
	out.Station, err = readStation(stationSigned, out.Statement.Station, c.Trust, now)
	if err != nil {
		return Checked{}, err
	}
	return out, nil
}

// findParts takes each part from the one place where it may stand. No search
// by name or id in the document: that is what wrapping attacks live on.
func findParts(root *etree.Element, request bool) (p securityParts, err error) {
	if !is(root, nsSOAP, "Envelope") {
		return p, refuse(CodeNotSOAP, "envelope")
	}
	children := root.ChildElements()
	if len(children) == 1 && is(children[0], nsSOAP, "Body") {
		return p, refuse(CodeUnsigned, "header")
	}
	if len(children) != 2 || !is(children[0], nsSOAP, "Header") || !is(children[1], nsSOAP, "Body") {
		return p, refuse(CodeNotSOAP, "envelope")
	}
	p.body = children[1]
	if len(p.body.ChildElements()) != 1 {
		return p, refuse(CodeStructure, "body")
	}
	var security *etree.Element
	for _, block := range children[0].ChildElements() {
		switch {
		case is(block, nsWSSE, "Security") && security == nil:
			security = block
		case is(block, nsWSSE, "Security"):
			return p, refuse(CodeStructure, "security")
		case attribute(block, nsSOAP, "mustUnderstand") == "1":
			return p, refuse(CodeStructure, "header")
		}
	}
	if security == nil {
		return p, refuse(CodeUnsigned, "security")
	}
	for _, e := range security.ChildElements() {
		var slot **etree.Element
		switch {
		case is(e, nsWSU, "Timestamp"):
			slot = &p.stamp
		case is(e, nsWSSE, "BinarySecurityToken"):
			slot = &p.token
		case is(e, nsDS, "Signature"):
			slot = &p.signature
			if p.token == nil {
				return p, refuse(CodeStructure, "layout") // strict: a token before its use
			}
		case request && is(e, nsSAML, "Assertion"):
			slot = &p.assertion
		}
		if slot == nil || *slot != nil {
			return p, refuse(CodeStructure, "security")
		}
		*slot = e
	}
	if p.stamp == nil || p.token == nil || p.signature == nil || (request && p.assertion == nil) {
		return p, refuse(CodeUnsigned, "part")
	}
	return p, nil
}

func readToken(p securityParts) (der []byte, id string, err error) {
	id = attribute(p.token, nsWSU, "Id")
	if id == "" || attribute(p.token, "", "ValueType") != valueX509 || attribute(p.token, "", "EncodingType") != encodingBase64 {
		return nil, "", refuse(CodeCertificate, "token")
	}
	der, err = base64Text(p.token)
	if err != nil {
		return nil, "", refuse(CodeCertificate, "token")
	}
	return der, id, nil
}

// pointsAt checks that the message's signature names the embedded token.
func pointsAt(signature *etree.Element, tokenID string) error {
	_, _, keyInfo, err := signatureParts(signature)
	if err != nil {
		return err
	}
	str, err := only(keyInfo, nsWSSE, "SecurityTokenReference")
	if err != nil {
		return err
	}
	ref, err := only(str["SecurityTokenReference"], nsWSSE, "Reference")
	if err != nil {
		return err
	}
	if attribute(ref["Reference"], "", "URI") != "#"+tokenID {
		return refuse(CodeReference, "token")
	}
	return nil
}

// checkStamp judges the signed bytes of the Timestamp.
func (c Checker) checkStamp(signed []byte, now time.Time) error {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(signed); err != nil {
		return refuse(CodeNotXML, "timestamp")
	}
	parts, err := only(doc.Root(), nsWSU, "Created", "Expires")
	if err != nil {
		return refuse(CodeTime, "parts")
	}
	times := [2]time.Time{}
	for i, name := range []string{"Created", "Expires"} {
		text, _ := leaf(parts[name])
		if times[i], err = time.Parse(time.RFC3339Nano, text); err != nil || !strings.HasSuffix(text, "Z") {
			return refuse(CodeTime, "format")
		}
	}
	switch created, expires := times[0], times[1]; {
	case created.After(now.Add(c.Skew)):
		return refuse(CodeTime, "future")
	case !expires.After(now):
		return refuse(CodeTime, "expired")
	case !expires.After(created) || expires.Sub(created) > maxLife:
		return refuse(CodeTime, "life")
	}
	return nil
}
