package wssec

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// Statement is what a request says about who sends it: the SAML assertion of
// specs/anpr-pdnd-modi.md §4.1.
type Statement struct {
	Operator    string // id of the operator, the assertion's subject
	ClientIP    string // of the station, SubjectLocality; may be empty
	Site        string // IdSede
	Station     string // IdPostazione, at most 20 characters
	Application string // IdApplicazione
}

const (
	assertionLife = 5 * time.Minute
	methodBearer  = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	nameFormat    = "urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified"
	classUnknown  = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"
	instant       = "2006-01-02T15:04:05.000Z"

	attrSite          = "IdSede"
	attrStation       = "IdPostazione"
	attrStationSigned = "IdPostazioneFirmato"
	attrApplication   = "IdApplicazione"
)

func (s Statement) check() error {
	for _, f := range []struct {
		name, value string
		most        int
	}{
		{"operator", s.Operator, 100}, {"site", s.Site, 100}, {"station", s.Station, 20}, {"application", s.Application, 100},
	} {
		if f.value == "" || len(f.value) > f.most || strings.ContainsFunc(f.value, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd || r == 0xfffe || r == 0xffff }) {
			return refuse(CodeMaterial, f.name)
		}
	}
	if len(s.ClientIP) > 45 || strings.ContainsAny(s.ClientIP, "<>&\"' \t\r\n") {
		return refuse(CodeMaterial, "client_ip")
	}
	return nil
}

// newAssertion appends a signed assertion to the Security header.
func newAssertion(security *etree.Element, suite Suite, site Identity, issuer, id string, s Statement, stationSigned string, now time.Time) error {
	a := security.CreateElement("saml2:Assertion")
	a.CreateAttr("xmlns:saml2", nsSAML)
	a.CreateAttr("ID", id)
	a.CreateAttr("IssueInstant", now.Format(instant))
	a.CreateAttr("Version", "2.0")
	a.CreateElement("saml2:Issuer").SetText(issuer)
	subject := a.CreateElement("saml2:Subject")
	subject.CreateElement("saml2:NameID").SetText(s.Operator)
	subject.CreateElement("saml2:SubjectConfirmation").CreateAttr("Method", methodBearer)
	conditions := a.CreateElement("saml2:Conditions")
	conditions.CreateAttr("NotBefore", now.Format(instant))
	conditions.CreateAttr("NotOnOrAfter", now.Add(assertionLife).Format(instant))
	authn := a.CreateElement("saml2:AuthnStatement")
	authn.CreateAttr("AuthnInstant", now.Format(instant))
	if s.ClientIP != "" {
		authn.CreateElement("saml2:SubjectLocality").CreateAttr("Address", s.ClientIP)
	}
	authn.CreateElement("saml2:AuthnContext").CreateElement("saml2:AuthnContextClassRef").SetText(classUnknown)
	attributes := a.CreateElement("saml2:AttributeStatement")
	for _, kv := range [][2]string{
		{attrSite, s.Site}, {attrStation, s.Station}, {attrStationSigned, stationSigned}, {attrApplication, s.Application},
	} {
		attr := attributes.CreateElement("saml2:Attribute")
		attr.CreateAttr("Name", kv[0])
		attr.CreateAttr("NameFormat", nameFormat)
		attr.CreateElement("saml2:AttributeValue").SetText(kv[1])
	}
	err := newSignature(a, suite, site, []signedPart{{id, a, true}}, func(keyInfo *etree.Element) {
		keyInfo.CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").
			SetText(base64.StdEncoding.EncodeToString(site.certificate.Raw))
	})
	if err != nil {
		return err
	}
	// The schema wants the signature right after the issuer; the enveloped
	// transform makes its place indifferent to the digest.
	a.InsertChildAt(1, a.RemoveChildAt(len(a.Child)-1))
	return nil
}

// readAssertion verifies the assertion in its place and reads it. The site's
// certificate must be the one that signed the message.
func readAssertion(a *etree.Element, site *x509.Certificate, allowed []Suite, skew time.Duration, now time.Time) (s Statement, stationSigned []byte, err error) {
	children := a.ChildElements()
	if len(children) < 5 || !is(children[0], nsSAML, "Issuer") || !is(children[1], nsDS, "Signature") {
		return s, nil, refuse(CodeStructure, "assertion")
	}
	sig := children[1]
	_, _, keyInfo, err := signatureParts(sig)
	if err != nil {
		return s, nil, err
	}
	data, err := only(keyInfo, nsDS, "X509Data")
	if err != nil {
		return s, nil, err
	}
	certs, err := only(data["X509Data"], nsDS, "X509Certificate")
	if err != nil {
		return s, nil, err
	}
	der, err := base64Text(certs["X509Certificate"])
	if err != nil || !bytes.Equal(der, site.Raw) {
		return s, nil, refuse(CodeAssertion, "certificate")
	}
	id := attribute(a, "", "ID")
	if id == "" || attribute(a, "", "Version") != "2.0" {
		return s, nil, refuse(CodeAssertion, "version")
	}
	signed, err := verifySignature(sig, site, allowed, []signedPart{{id, a, true}})
	if err != nil {
		return s, nil, err
	}
	// From here on only what was signed is read.
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(signed[0]); err != nil {
		return s, nil, refuse(CodeNotXML, "assertion")
	}
	return readStatement(doc.Root(), skew, now)
}

func readStatement(a *etree.Element, skew time.Duration, now time.Time) (s Statement, stationSigned []byte, err error) {
	parts, err := only(a, nsSAML, "Issuer", "Subject", "Conditions", "AuthnStatement", "AttributeStatement")
	if err != nil {
		return s, nil, err
	}
	subject, err := only(parts["Subject"], nsSAML, "NameID", "SubjectConfirmation")
	if err != nil {
		return s, nil, err
	}
	if attribute(subject["SubjectConfirmation"], "", "Method") != methodBearer {
		return s, nil, refuse(CodeAssertion, "confirmation")
	}
	from, err1 := time.Parse(time.RFC3339Nano, attribute(parts["Conditions"], "", "NotBefore"))
	to, err2 := time.Parse(time.RFC3339Nano, attribute(parts["Conditions"], "", "NotOnOrAfter"))
	switch {
	case err1 != nil || err2 != nil:
		return s, nil, refuse(CodeAssertion, "conditions")
	case now.Add(skew).Before(from) || !now.Before(to) || to.Sub(from) > assertionLife:
		return s, nil, refuse(CodeAssertion, "time")
	}
	s.Operator, _ = leaf(subject["NameID"])
	for _, e := range parts["AuthnStatement"].ChildElements() {
		if is(e, nsSAML, "SubjectLocality") {
			s.ClientIP = attribute(e, "", "Address")
		}
	}
	values := map[string]string{}
	for _, attr := range parts["AttributeStatement"].ChildElements() {
		name := attribute(attr, "", "Name")
		value, err := only(attr, nsSAML, "AttributeValue")
		if _, twice := values[name]; err != nil || twice || !is(attr, nsSAML, "Attribute") {
			return s, nil, refuse(CodeAssertion, "attributes")
		}
		values[name], _ = leaf(value["AttributeValue"])
	}
	s.Site, s.Station, s.Application = values[attrSite], values[attrStation], values[attrApplication]
	if s.check() != nil {
		return s, nil, refuse(CodeAssertion, "attributes")
	}
	stationSigned, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(values[attrStationSigned]), ""))
	if err != nil || len(stationSigned) == 0 {
		return s, nil, refuse(CodeStation, "encoding")
	}
	return s, stationSigned, nil
}
