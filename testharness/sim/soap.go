package sim

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the old suite of the sheet
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/russellhaering/goxmldsig/etreeutils"
)

// The simulators' own security of the SOAP doors (specs/anpr-pdnd-modi.md
// §4.1), shared by them and by nobody else: the product has another one, so that
// a mistake of either shows.

// SOAPIdentity is what a sender of the SOAP doors holds: a site and a station
// certificate of the register's authority, and the register's own.
type SOAPIdentity struct {
	Sender     string `json:"sender"`  // codMittente, common name of the site certificate
	Station    string `json:"station"` // idPostazione, common name of the station certificate
	SitePEM    string `json:"site_certificate"`
	SiteKey    string `json:"site_key"`
	StationPEM string `json:"station_certificate"`
	StationKey string `json:"station_key"`
	Register   string `json:"register_certificate"` // who signs the answers
}

// SOAPAuthority issues the certificates and signs the register's answers.
type SOAPAuthority struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

// NewSOAPAuthority makes the authority of a key. The certificate is the same for
// the same key but for its serial number and signature time.
func NewSOAPAuthority(key *rsa.PrivateKey) (*SOAPAuthority, error) {
	a := &SOAPAuthority{key: key}
	der, err := a.certify("simulated register", key.Public(), big.NewInt(1), true)
	if err != nil {
		return nil, err
	}
	a.cert, err = x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate of the register: %w", err)
	}
	return a, nil
}

func (a *SOAPAuthority) certify(name string, public crypto.PublicKey, serial *big.Int, authority bool) ([]byte, error) {
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{SimulatedOrganization}},
		NotBefore: certFrom, NotAfter: certTo, BasicConstraintsValid: true, IsCA: authority, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	parent := a.cert
	if authority {
		t.KeyUsage |= x509.KeyUsageCertSign
		parent = t
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	return der, nil
}

// Issue gives a sender its two certificates over one new key (two would only
// cost time). A nil key is made anew.
func (a *SOAPAuthority) Issue(sender, station string, key *rsa.PrivateKey) (SOAPIdentity, error) {
	if sender == "" || station == "" {
		return SOAPIdentity{}, errors.New("sender and station must be named")
	}
	var err error
	if key == nil {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return SOAPIdentity{}, fmt.Errorf("key of %s: %w", sender, err)
		}
	}
	id := SOAPIdentity{Sender: sender, Station: station, Register: certPEM(a.cert.Raw)}
	for _, c := range []struct {
		name string
		into *string
	}{{sender, &id.SitePEM}, {station, &id.StationPEM}} {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
		if err != nil {
			return SOAPIdentity{}, fmt.Errorf("draw a serial number: %w", err)
		}
		der, err := a.certify(c.name, key.Public(), serial, false)
		if err != nil {
			return SOAPIdentity{}, err
		}
		*c.into = certPEM(der)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return SOAPIdentity{}, fmt.Errorf("key of %s: %w", sender, err)
	}
	id.SiteKey = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	id.StationKey = id.SiteKey
	return id, nil
}

// CertificatePEM of the register.
func (a *SOAPAuthority) CertificatePEM() string { return certPEM(a.cert.Raw) }

func certPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func readPEM(certificate, key string) (*x509.Certificate, *rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(certificate))
	if block == nil {
		return nil, nil, errors.New("certificate is not PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil || key == "" {
		return c, nil, err
	}
	block, _ = pem.Decode([]byte(key))
	if block == nil {
		return nil, nil, errors.New("key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	k, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, nil, errors.New("key is not RSA")
	}
	return c, k, nil
}

// SOAPOrder is one message to be made. The fields after Now exist to make it
// wrong.
type SOAPOrder struct {
	Body     string // the request element
	Operator string // empty makes a message without assertion, as answers are
	SHA1     bool   // the old suite
	Now      time.Time

	AssertionAt  time.Time // zero is Now
	SignedID     string    // the station id that is signed; empty is the right one
	Unsigned     string    // "body" or "timestamp": left out of the signature
	NoStation    bool      // no IdPostazioneFirmato
	Confirmation string    // another SubjectConfirmation method
}

const (
	soapNS = "http://schemas.xmlsoap.org/soap/envelope/"
	wsseNS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
	wsuNS  = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
	dsNS   = "http://www.w3.org/2000/09/xmldsig#"
	samlNS = "urn:oasis:names:tc:SAML:2.0:assertion"
	excNS  = "http://www.w3.org/2001/10/xml-exc-c14n#"
	x509T  = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3"
	b64T   = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
	bearer = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	stamp  = "2006-01-02T15:04:05.000Z"
)

// Sign makes a message of the register, without assertion.
func (a *SOAPAuthority) Sign(o SOAPOrder) ([]byte, error) {
	o.Operator = ""
	return signSOAP(o, a.cert, a.key, nil, nil, "", "")
}

// Sign makes a message of this sender.
func (i SOAPIdentity) Sign(o SOAPOrder) ([]byte, error) {
	site, siteKey, err := readPEM(i.SitePEM, i.SiteKey)
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	station, stationKey, err := readPEM(i.StationPEM, i.StationKey)
	if err != nil {
		return nil, fmt.Errorf("station: %w", err)
	}
	return signSOAP(o, site, siteKey, station, stationKey, i.Sender, i.Station)
}

func signSOAP(o SOAPOrder, site *x509.Certificate, key *rsa.PrivateKey, station *x509.Certificate, stationKey *rsa.PrivateKey, sender, stationID string) ([]byte, error) {
	tag, err := randomHex()
	if err != nil {
		return nil, err
	}
	now := o.Now.UTC()
	assertion := ""
	if o.Operator != "" {
		assertion, err = samlText(o, tag, station, stationKey, sender, stationID)
		if err != nil {
			return nil, err
		}
	}
	text := `<soapenv:Envelope xmlns:soapenv="` + soapNS + `"><soapenv:Header><wsse:Security xmlns:wsse="` + wsseNS + `" xmlns:wsu="` + wsuNS + `" soapenv:mustUnderstand="1">` +
		`<wsse:BinarySecurityToken EncodingType="` + b64T + `" ValueType="` + x509T + `" wsu:Id="T-` + tag + `">` + base64.StdEncoding.EncodeToString(site.Raw) + `</wsse:BinarySecurityToken>` +
		`<wsu:Timestamp wsu:Id="S-` + tag + `"><wsu:Created>` + now.Format(stamp) + `</wsu:Created><wsu:Expires>` + now.Add(5*time.Minute).Format(stamp) + `</wsu:Expires></wsu:Timestamp>` +
		assertion + `</wsse:Security></soapenv:Header><soapenv:Body xmlns:wsu="` + wsuNS + `" wsu:Id="B-` + tag + `">` + o.Body + `</soapenv:Body></soapenv:Envelope>`
	doc := etree.NewDocument()
	if err := doc.ReadFromString(text); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	security := doc.Root().FindElement("./Header/Security")
	if a := security.SelectElement("Assertion"); a != nil {
		err = addSignature(a, a.ChildElements()[1].Index(), o.SHA1, key, []part{{"A-" + tag, a, true}},
			`<ds:X509Data><ds:X509Certificate>`+base64.StdEncoding.EncodeToString(site.Raw)+`</ds:X509Certificate></ds:X509Data>`)
		if err != nil {
			return nil, err
		}
	}
	parts := []part{}
	if o.Unsigned != "timestamp" {
		parts = append(parts, part{"S-" + tag, security.SelectElement("Timestamp"), false})
	}
	if o.Unsigned != "body" {
		parts = append(parts, part{"B-" + tag, doc.Root().SelectElement("Body"), false})
	}
	err = addSignature(security, len(security.Child), o.SHA1, key, parts,
		`<wsse:SecurityTokenReference xmlns:wsse="`+wsseNS+`"><wsse:Reference URI="#T-`+tag+`" ValueType="`+x509T+`"/></wsse:SecurityTokenReference>`)
	if err != nil {
		return nil, err
	}
	return doc.WriteToBytes()
}

func randomHex() (string, error) {
	var b [12]byte
	if _, err := io.ReadFull(rand.Reader, b[:]); err != nil {
		return "", fmt.Errorf("draw an id: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

func samlText(o SOAPOrder, tag string, station *x509.Certificate, key *rsa.PrivateKey, sender, stationID string) (string, error) {
	at := o.AssertionAt
	if at.IsZero() {
		at = o.Now
	}
	at = at.UTC()
	signedID, confirmation := o.SignedID, o.Confirmation
	if signedID == "" {
		signedID = stationID
	}
	if confirmation == "" {
		confirmation = bearer
	}
	cms, err := signedStation(signedID, station, key)
	if err != nil {
		return "", err
	}
	attributes := [][2]string{{"IdSede", sender}, {"IdPostazione", stationID}, {"IdPostazioneFirmato", base64.StdEncoding.EncodeToString(cms)}, {"IdApplicazione", "simulation"}}
	if o.NoStation {
		attributes = append(attributes[:2], attributes[3])
	}
	var list strings.Builder
	for _, kv := range attributes {
		list.WriteString(`<saml2:Attribute Name="` + kv[0] + `" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified"><saml2:AttributeValue>` + escaped(kv[1]) + `</saml2:AttributeValue></saml2:Attribute>`)
	}
	return `<saml2:Assertion xmlns:saml2="` + samlNS + `" ID="A-` + tag + `" IssueInstant="` + at.Format(stamp) + `" Version="2.0"><saml2:Issuer>simulation</saml2:Issuer>` +
		`<saml2:Subject><saml2:NameID>` + escaped(o.Operator) + `</saml2:NameID><saml2:SubjectConfirmation Method="` + confirmation + `"/></saml2:Subject>` +
		`<saml2:Conditions NotBefore="` + at.Format(stamp) + `" NotOnOrAfter="` + at.Add(5*time.Minute).Format(stamp) + `"/>` +
		`<saml2:AuthnStatement AuthnInstant="` + at.Format(stamp) + `"><saml2:SubjectLocality Address="127.0.0.1"/><saml2:AuthnContext><saml2:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified</saml2:AuthnContextClassRef></saml2:AuthnContext></saml2:AuthnStatement>` +
		`<saml2:AttributeStatement>` + list.String() + `</saml2:AttributeStatement></saml2:Assertion>`, nil
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}

type part struct {
	id        string
	element   *etree.Element
	enveloped bool
}

// c14n is the exclusive canonical form of an element in its place.
func c14n(e *etree.Element, prefixes string) ([]byte, error) {
	ctx, err := etreeutils.NSBuildParentContext(e)
	if err != nil {
		return nil, err
	}
	alone, err := etreeutils.NSDetatch(ctx, e)
	if err != nil {
		return nil, err
	}
	return dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(prefixes).Canonicalize(alone)
}

type suite struct {
	hash           crypto.Hash
	method, digest string
	algorithm      x509.SignatureAlgorithm
}

func suiteOf(old bool) suite {
	if old {
		return suite{crypto.SHA1, dsig.RSASHA1SignatureMethod, dsNS + "sha1", x509.SHA1WithRSA}
	}
	return suite{crypto.SHA256, dsig.RSASHA256SignatureMethod, "http://www.w3.org/2001/04/xmlenc#sha256", x509.SHA256WithRSA}
}

func (s suite) sum(data []byte) []byte {
	if s.hash == crypto.SHA1 {
		sum := sha1.Sum(data) //nolint:gosec // see suiteOf
		return sum[:]
	}
	sum := sha256.Sum256(data)
	return sum[:]
}

func addSignature(parent *etree.Element, at int, old bool, key *rsa.PrivateKey, parts []part, keyInfo string) error {
	s := suiteOf(old)
	var refs strings.Builder
	for _, p := range parts {
		text, err := c14n(p.element, "")
		if err != nil {
			return fmt.Errorf("canonical form: %w", err)
		}
		enveloped := ""
		if p.enveloped {
			enveloped = `<ds:Transform Algorithm="` + dsNS + `enveloped-signature"/>`
		}
		refs.WriteString(`<ds:Reference URI="#` + p.id + `"><ds:Transforms>` + enveloped + `<ds:Transform Algorithm="` + excNS + `"/></ds:Transforms><ds:DigestMethod Algorithm="` + s.digest + `"/><ds:DigestValue>` +
			base64.StdEncoding.EncodeToString(s.sum(text)) + `</ds:DigestValue></ds:Reference>`)
	}
	doc := etree.NewDocument()
	err := doc.ReadFromString(`<ds:Signature xmlns:ds="` + dsNS + `"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="` + excNS + `"/><ds:SignatureMethod Algorithm="` + s.method + `"/>` +
		refs.String() + `</ds:SignedInfo><ds:SignatureValue/><ds:KeyInfo>` + keyInfo + `</ds:KeyInfo></ds:Signature>`)
	if err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	sig := doc.Root()
	parent.InsertChildAt(at, sig)
	text, err := c14n(sig.ChildElements()[0], "")
	if err != nil {
		return fmt.Errorf("canonical form: %w", err)
	}
	value, err := rsa.SignPKCS1v15(nil, key, s.hash, s.sum(text))
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	sig.ChildElements()[1].SetText(base64.StdEncoding.EncodeToString(value))
	return nil
}

// SOAPMessage is a message that passed.
type SOAPMessage struct {
	Body     []byte // the Body element as signed
	Sender   string // common name of the site certificate
	Operator string
	Station  string
	Site     string // IdSede
}

// SOAPRefusal is the true cause of a refusal.
type SOAPRefusal struct {
	Code   string // stable, wss_…
	Detail string
}

func (e *SOAPRefusal) Error() string { return e.Code + ": " + e.Detail }

// CheckRequest reads a message to the register. broken names rules that are not
// looked at, to judge those who judge a simulator; nil breaks none.
func (a *SOAPAuthority) CheckRequest(text []byte, now time.Time, broken func(code string) bool) (SOAPMessage, error) {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return checkSOAP(text, now, true, func(c *x509.Certificate) error {
		_, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return err
	}, broken)
}

// CheckAnswer reads an answer: the register's certificate and no other signs it.
func (i SOAPIdentity) CheckAnswer(text []byte, now time.Time) (SOAPMessage, error) {
	register, _, err := readPEM(i.Register, "")
	if err != nil {
		return SOAPMessage{}, fmt.Errorf("certificate of the register: %w", err)
	}
	return checkSOAP(text, now, false, func(c *x509.Certificate) error {
		if !c.Equal(register) {
			return errors.New("not the register's certificate")
		}
		return nil
	}, nil)
}

func checkSOAP(text []byte, now time.Time, request bool, trust func(*x509.Certificate) error, broken func(string) bool) (m SOAPMessage, err error) {
	no := func(code, detail string) error {
		if broken != nil && broken(code) {
			return nil
		}
		return &SOAPRefusal{code, detail}
	}
	doc, ids, err := readSOAPDocument(text)
	if err != nil {
		return m, err
	}
	root := doc.Root()
	body := root.SelectElement("Body")
	if root.Tag != "Envelope" || root.NamespaceURI() != soapNS || body == nil || len(root.ChildElements()) > 2 {
		return m, &SOAPRefusal{"wss_not_soap", "not an Envelope of Header and Body"}
	}
	// What is handed on when a rule is broken on purpose is what stands there.
	m.Body, err = c14n(body, "")
	if err != nil {
		return m, &SOAPRefusal{"wss_not_soap", err.Error()}
	}
	securities := root.FindElements("./Header/Security")
	if len(securities) != 1 || securities[0].NamespaceURI() != wsseNS {
		return m, no("wss_missing", "not exactly one Security header")
	}
	security := securities[0]
	count := map[string]int{}
	for _, e := range security.ChildElements() {
		count[e.Tag]++
	}
	if count["Timestamp"] != 1 || count["BinarySecurityToken"] != 1 || count["Signature"] != 1 {
		return m, no("wss_missing", "Timestamp, BinarySecurityToken and Signature must be there once")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(security.SelectElement("BinarySecurityToken").Text()), ""))
	if err != nil {
		return m, no("wss_certificate", "the token is not base64")
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return m, no("wss_certificate", err.Error())
	}
	m.Sender = cert.Subject.CommonName
	if err := trust(cert); err != nil {
		if err := no("wss_certificate", err.Error()); err != nil {
			return m, err
		}
	}
	covered, err := checkSignature(security.SelectElement("Signature"), cert, ids)
	if err != nil {
		if err := breakable(err, no); err != nil {
			return m, err
		}
	}
	if !covered[body] {
		if err := no("wss_reference", "the Body that would be processed is not the one that is signed"); err != nil {
			return m, err
		}
	}
	if !covered[security.SelectElement("Timestamp")] {
		if err := no("wss_reference", "the Timestamp is not signed"); err != nil {
			return m, err
		}
	}
	if err := checkTimes(security.SelectElement("Timestamp"), now); err != nil {
		if err := breakable(err, no); err != nil {
			return m, err
		}
	}
	if !request {
		return m, nil
	}
	return m, checkAssertion(security, cert, trust, now, &m, no)
}

// breakable lets a refusal of an inner rule pass when that rule is broken.
func breakable(err error, no func(code, detail string) error) error {
	var r *SOAPRefusal
	if errors.As(err, &r) {
		return no(r.Code, r.Detail)
	}
	return err
}

const soapDepth = 50

// readSOAPDocument parses, refusing document types, and indexes the ids.
func readSOAPDocument(text []byte) (*etree.Document, map[string]*etree.Element, error) {
	bad := func(code, detail string) (*etree.Document, map[string]*etree.Element, error) {
		return nil, nil, &SOAPRefusal{code, detail}
	}
	dec := xml.NewDecoder(bytes.NewReader(text))
	for depth, roots := 0, 0; ; {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return bad("wss_not_soap", "not well formed: "+err.Error())
		}
		switch tok.(type) {
		case xml.Directive:
			return bad("wss_document_type", "a document type is not allowed")
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			if depth++; depth > soapDepth || roots > 1 {
				return bad("wss_not_soap", "too deep, or something after the envelope")
			}
		case xml.EndElement:
			depth--
		}
	}
	doc := etree.NewDocument()
	doc.ReadSettings.MaxDepth = soapDepth
	if err := doc.ReadFromBytes(text); err != nil || doc.Root() == nil {
		return bad("wss_not_soap", "not well formed")
	}
	ids := map[string]*etree.Element{}
	for _, e := range append(doc.Root().FindElements(".//*"), doc.Root()) {
		for _, a := range e.Attr {
			if a.Space == "xmlns" || (a.Key != "Id" && a.Key != "ID" && a.Key != "id") {
				continue
			}
			if ids[a.Value] != nil {
				return bad("wss_id", "the id "+a.Value+" is given twice")
			}
			ids[a.Value] = e
		}
	}
	return doc, ids, nil
}

// checkSignature verifies a message's signature; covered are the elements its
// references point at, found by id.
func checkSignature(sig *etree.Element, cert *x509.Certificate, ids map[string]*etree.Element) (covered map[*etree.Element]bool, err error) {
	covered = map[*etree.Element]bool{}
	info, value := sig.SelectElement("SignedInfo"), sig.SelectElement("SignatureValue")
	if info == nil || value == nil {
		return covered, &SOAPRefusal{"wss_missing", "SignedInfo or SignatureValue"}
	}
	algorithm := func(e *etree.Element, path string) string {
		if found := e.FindElement(path); found != nil {
			return found.SelectAttrValue("Algorithm", "")
		}
		return ""
	}
	s := suiteOf(algorithm(info, "./SignatureMethod") == dsig.RSASHA1SignatureMethod)
	if algorithm(info, "./SignatureMethod") != s.method || algorithm(info, "./CanonicalizationMethod") != excNS {
		return covered, &SOAPRefusal{"wss_algorithm", "SignatureMethod or CanonicalizationMethod"}
	}
	for _, ref := range info.SelectElements("Reference") {
		target := ids[strings.TrimPrefix(ref.SelectAttrValue("URI", ""), "#")]
		if target == nil {
			return covered, &SOAPRefusal{"wss_reference", "a reference points at nothing"}
		}
		transforms := ref.FindElements("./Transforms/Transform")
		if len(transforms) != 1 || transforms[0].SelectAttrValue("Algorithm", "") != excNS || algorithm(ref, "./DigestMethod") != s.digest {
			return covered, &SOAPRefusal{"wss_algorithm", "Transform or DigestMethod"}
		}
		text, err := c14n(target, prefixList(transforms[0]))
		if err != nil {
			return covered, &SOAPRefusal{"wss_digest", err.Error()}
		}
		covered[target] = true
		if want := ref.SelectElement("DigestValue"); want == nil || strings.TrimSpace(want.Text()) != base64.StdEncoding.EncodeToString(s.sum(text)) {
			return covered, &SOAPRefusal{"wss_digest", "the digest of " + target.Tag + " is another"}
		}
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value.Text()), ""))
	if err != nil {
		return covered, &SOAPRefusal{"wss_signature", "not base64"}
	}
	text, err := c14n(info, prefixList(info.SelectElement("CanonicalizationMethod")))
	if err != nil {
		return covered, &SOAPRefusal{"wss_signature", err.Error()}
	}
	if err := cert.CheckSignature(s.algorithm, text, raw); err != nil {
		return covered, &SOAPRefusal{"wss_signature", "the signature does not verify with the token's key"}
	}
	return covered, nil
}

func prefixList(e *etree.Element) string {
	if list := e.SelectElement("InclusiveNamespaces"); list != nil {
		return list.SelectAttrValue("PrefixList", "")
	}
	return ""
}

const soapSkew = 5 * time.Second

func checkTimes(t *etree.Element, now time.Time) error {
	read := func(tag string) (time.Time, bool) {
		e := t.SelectElement(tag)
		if e == nil {
			return time.Time{}, false
		}
		at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(e.Text()))
		return at, err == nil
	}
	created, ok1 := read("Created")
	expires, ok2 := read("Expires")
	switch {
	case !ok1 || !ok2:
		return &SOAPRefusal{"wss_time", "Created and Expires must be there"}
	case created.After(now.Add(soapSkew)):
		return &SOAPRefusal{"wss_time", "created in the future"}
	case !expires.After(now):
		return &SOAPRefusal{"wss_time", "expired"}
	}
	return nil
}

// checkAssertion leaves the signature to the module's own verifier.
func checkAssertion(security *etree.Element, cert *x509.Certificate, trust func(*x509.Certificate) error, now time.Time, m *SOAPMessage, no func(code, detail string) error) error {
	list := security.SelectElements("Assertion")
	if len(list) != 1 || list[0].NamespaceURI() != samlNS {
		return no("wss_assertion", "not exactly one assertion")
	}
	verify := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{cert}})
	verify.Clock = dsig.NewFakeClockAt(now)
	in, err := etreeutils.NSBuildParentContext(list[0])
	if err != nil {
		return no("wss_assertion_signature", err.Error())
	}
	alone, err := etreeutils.NSDetatch(in, list[0])
	if err != nil {
		return no("wss_assertion_signature", err.Error())
	}
	a, err := verify.Validate(alone)
	if err != nil {
		if err := no("wss_assertion_signature", err.Error()); err != nil {
			return err
		}
		a = list[0]
	}
	if c := a.FindElement("./Subject/SubjectConfirmation"); c == nil || c.SelectAttrValue("Method", "") != bearer {
		if err := no("wss_assertion", "the confirmation is not bearer"); err != nil {
			return err
		}
	}
	conditions := a.SelectElement("Conditions")
	if conditions == nil {
		return no("wss_assertion_time", "no conditions")
	}
	from, err1 := time.Parse(time.RFC3339Nano, conditions.SelectAttrValue("NotBefore", ""))
	to, err2 := time.Parse(time.RFC3339Nano, conditions.SelectAttrValue("NotOnOrAfter", ""))
	if err1 != nil || err2 != nil || now.Add(soapSkew).Before(from) || !now.Before(to) {
		if err := no("wss_assertion_time", "out of its time"); err != nil {
			return err
		}
	}
	values := map[string]string{}
	for _, e := range a.FindElements("./AttributeStatement/Attribute") {
		if v := e.SelectElement("AttributeValue"); v != nil {
			values[e.SelectAttrValue("Name", "")] = strings.TrimSpace(v.Text())
		}
	}
	if id := a.FindElement("./Subject/NameID"); id != nil {
		m.Operator = strings.TrimSpace(id.Text())
	}
	m.Site, m.Station = values["IdSede"], values["IdPostazione"]
	if m.Operator == "" || m.Site == "" || m.Station == "" || values["IdApplicazione"] == "" {
		if err := no("wss_assertion", "subject, IdSede, IdPostazione or IdApplicazione is missing"); err != nil {
			return err
		}
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(values["IdPostazioneFirmato"]), ""))
	if err == nil {
		err = checkStation(der, m.Station, trust)
	}
	if err != nil {
		return no("wss_station", err.Error())
	}
	return nil
}
