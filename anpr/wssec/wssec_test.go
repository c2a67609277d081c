package wssec_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"airegw/anpr/wssec"
)

var now = time.Date(2026, 11, 22, 9, 30, 0, 123e6, time.UTC)

const bodyText = `<con:RichiestaC001 xmlns:con="http://sogei.it/ANPR/CONSOLATIServizi"><nome>LÙCIA &amp; D'ARC "1" &gt;</nome><vuoto/></con:RichiestaC001>`

// material of one office: both certificates are of one test authority.
type material struct {
	root          *x509.Certificate
	site, station wssec.Identity
	stranger      wssec.Identity // signs for itself
}

var keys = sync.OnceValue(func() (out [2]*rsa.PrivateKey) {
	for i := range out {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		out[i] = k
	}
	return out
})

var office = sync.OnceValue(func() material {
	k := keys()
	root, rootDER := certificate("authority", k[0], nil, k[0])
	_, site := certificate("058091", k[0], root, k[0])
	_, station := certificate("PDL-1", k[1], root, k[0])
	_, own := certificate("stranger", k[1], nil, k[1])
	_ = rootDER
	return material{root, identity(site, k[0]), identity(station, k[1]), identity(own, k[1])}
})

var serial int64

func certificate(name string, key *rsa.PrivateKey, parent *x509.Certificate, signer *rsa.PrivateKey) (*x509.Certificate, []byte) {
	serial++
	t := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
		BasicConstraintsValid: true, IsCA: parent == nil,
	}
	if parent == nil {
		parent = t
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c, der
}

func identity(der []byte, key *rsa.PrivateKey) wssec.Identity {
	id, err := wssec.ParseIdentity(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	if err != nil {
		panic(err)
	}
	return id
}

func signer(suite wssec.Suite) wssec.Signer {
	m := office()
	return wssec.Signer{Suite: suite, Site: m.site, Station: m.station, Issuer: "airegw"}
}

func checker() wssec.Checker {
	return wssec.Checker{
		Suites: []wssec.Suite{wssec.SuiteSHA256, wssec.SuiteBasic128Rsa15}, Trust: wssec.TrustIssuedBy(office().root), Skew: time.Second,
	}
}

func statement() wssec.Statement {
	return wssec.Statement{Operator: "op-7", ClientIP: "192.0.2.7", Site: "058091", Station: "PDL-1", Application: "airegw"}
}

func request(t testing.TB, suite wssec.Suite) []byte {
	t.Helper()
	out, err := signer(suite).Request([]byte(bodyText), statement(), now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestARequestOfEachSuiteIsCheckedAndOnlyItsSignedBodyComesBack(t *testing.T) {
	t.Parallel()
	for _, suite := range []wssec.Suite{wssec.SuiteSHA256, wssec.SuiteBasic128Rsa15} {
		text := request(t, suite)
		got, err := checker().Request(text, now.Add(time.Minute))
		if err != nil {
			t.Fatalf("%s: %v\n%s", suite, err, text)
		}
		if got.Statement != statement() || !got.Signer.Equal(office().site.Certificate()) || !got.Station.Equal(office().station.Certificate()) {
			t.Errorf("%s: %+v", suite, got.Statement)
		}
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(got.Body); err != nil {
			t.Fatal(err)
		}
		if name := doc.FindElement("/Body/RichiestaC001/nome"); name == nil || name.Text() != `LÙCIA & D'ARC "1" >` {
			t.Errorf("%s: body %s", suite, got.Body)
		}
	}
}

func TestTheAssertionSatisfiesTheModulesOwnVerifier(t *testing.T) {
	t.Parallel()
	for _, suite := range []wssec.Suite{wssec.SuiteSHA256, wssec.SuiteBasic128Rsa15} {
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(request(t, suite)); err != nil {
			t.Fatal(err)
		}
		ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{office().site.Certificate()}})
		ctx.Clock = dsig.NewFakeClockAt(now)
		got, err := ctx.Validate(doc.FindElement("//Assertion"))
		if err != nil {
			t.Fatalf("%s: %v", suite, err)
		}
		if got.FindElement("//NameID").Text() != "op-7" {
			t.Errorf("%s: another subject", suite)
		}
	}
}

func TestAnAnswerHasNoAssertionAndARequestNeedsOne(t *testing.T) {
	t.Parallel()
	answer, err := signer(wssec.SuiteSHA256).Answer([]byte(bodyText), now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checker().Answer(answer, now); err != nil {
		t.Error(err)
	}
	_, err = checker().Request(answer, now)
	wantCode(t, err, wssec.CodeUnsigned)
	_, err = checker().Answer(request(t, wssec.SuiteSHA256), now)
	wantCode(t, err, wssec.CodeStructure)
}

func wantCode(t *testing.T, err error, code wssec.Code) {
	t.Helper()
	var e *wssec.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%v, want %s", err, code)
	}
}

// edit changes a parsed request and writes it again.
func edit(t *testing.T, text []byte, change func(doc *etree.Document)) []byte {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(text); err != nil {
		t.Fatal(err)
	}
	change(doc)
	out, err := doc.WriteToBytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func swap(old, by string) func(*testing.T, []byte) []byte {
	return func(t *testing.T, text []byte) []byte {
		t.Helper()
		out := bytes.Replace(text, []byte(old), []byte(by), 1)
		if bytes.Equal(out, text) {
			t.Fatalf("%q is not in the message", old)
		}
		return out
	}
}

func tree(change func(doc *etree.Document)) func(*testing.T, []byte) []byte {
	return func(t *testing.T, text []byte) []byte { t.Helper(); return edit(t, text, change) }
}

func TestEveryManipulationIsRefusedWithItsCode(t *testing.T) {
	t.Parallel()
	good := request(t, wssec.SuiteSHA256)
	evil := func() *etree.Element {
		body := etree.NewElement("soapenv:Body")
		body.CreateElement("evil")
		return body
	}
	for name, tc := range map[string]struct {
		change func(*testing.T, []byte) []byte
		code   wssec.Code
	}{
		"a changed word of the body":   {swap("<nome>L", "<nome>M"), wssec.CodeDigest},
		"a changed timestamp":          {swap("2026-11-22T09:30:00.123Z</wsu:Created>", "2026-11-22T09:30:00.124Z</wsu:Created>"), wssec.CodeDigest},
		"a changed operator":           {swap(">op-7<", ">op-8<"), wssec.CodeDigest},
		"a changed station":            {swap(">PDL-1<", ">PDL-2<"), wssec.CodeDigest},
		"a changed digest":             {otherDigest, wssec.CodeSignature},
		"a changed signature":          {regexpSwap(`(<ds:SignatureValue>)....`, `${1}AAAA`), wssec.CodeSignature},
		"a document type":              {swap("<soapenv:Envelope", "<!DOCTYPE x [<!ENTITY a 'b'>]><soapenv:Envelope"), wssec.CodeForbidden},
		"a processing instruction":     {swap("<nome>", "<?x y?><nome>"), wssec.CodeForbidden},
		"a comment in a value":         {swap(">op-7<", ">op-<!-- x -->7<"), wssec.CodeForbidden},
		"an entity nobody declared":    {swap("<nome>", "<nome>&x;"), wssec.CodeNotXML},
		"an attribute twice":           {swap(`soapenv:mustUnderstand="1"`, `soapenv:mustUnderstand="1" soapenv:mustUnderstand="1"`), wssec.CodeForbidden},
		"an attribute by two prefixes": {swap(`soapenv:mustUnderstand="1"`, `soapenv:mustUnderstand="1" xmlns:q="http://schemas.xmlsoap.org/soap/envelope/" q:mustUnderstand="1"`), wssec.CodeForbidden},
		"something after the envelope": {func(_ *testing.T, b []byte) []byte { return append(bytes.Clone(b), "<x/>"...) }, wssec.CodeNotXML},
		"not UTF-8":                    {swap("LÙCIA", "L\xd9CIA"), wssec.CodeNotXML},
		"no header at all": {tree(func(d *etree.Document) {
			d.Root().RemoveChild(d.FindElement("//Header"))
		}), wssec.CodeUnsigned},
		"no signature": {tree(func(d *etree.Document) {
			s := d.FindElement("//Security")
			s.RemoveChild(s.SelectElement("Signature"))
		}), wssec.CodeUnsigned},
		"no assertion": {tree(func(d *etree.Document) {
			s := d.FindElement("//Security")
			s.RemoveChild(s.SelectElement("Assertion"))
		}), wssec.CodeUnsigned},
		"wrapping: the signed body hidden in the header, its id kept": {tree(func(d *etree.Document) {
			signed := d.FindElement("/Envelope/Body")
			d.Root().RemoveChild(signed)
			d.FindElement("//Header").CreateElement("hidden").AddChild(signed)
			d.Root().AddChild(evil())
		}), wssec.CodeReference},
		"wrapping: another body with the same id": {tree(func(d *etree.Document) {
			signed := d.FindElement("/Envelope/Body")
			d.Root().RemoveChild(signed)
			d.FindElement("//Header").CreateElement("hidden").AddChild(signed)
			forged := evil()
			forged.CreateAttr("xmlns:wsu", "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd")
			forged.CreateAttr("wsu:Id", signed.SelectAttrValue("wsu:Id", ""))
			d.Root().AddChild(forged)
		}), wssec.CodeID},
		"wrapping: another body with an id of its own": {tree(func(d *etree.Document) {
			signed := d.FindElement("/Envelope/Body")
			d.Root().RemoveChild(signed)
			d.FindElement("//Header").CreateElement("hidden").AddChild(signed)
			forged := evil()
			forged.CreateAttr("xmlns:wsu", "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd")
			forged.CreateAttr("wsu:Id", "B-2")
			d.Root().AddChild(forged)
		}), wssec.CodeReference},
		"wrapping: two bodies":        {tree(func(d *etree.Document) { d.Root().AddChild(evil()) }), wssec.CodeNotSOAP},
		"two requests in one body":    {tree(func(d *etree.Document) { d.FindElement("/Envelope/Body").CreateElement("second") }), wssec.CodeStructure},
		"wrapping: a second security": {tree(func(d *etree.Document) { d.FindElement("//Header").AddChild(d.FindElement("//Security").Copy()) }), wssec.CodeID},
		"wrapping: the timestamp moved out, another in its place": {tree(func(d *etree.Document) {
			s := d.FindElement("//Security")
			signed := s.SelectElement("Timestamp")
			s.RemoveChild(signed)
			forged := signed.Copy()
			forged.CreateAttr("wsu:Id", "TS-2")
			s.InsertChildAt(0, forged)
			d.FindElement("//Header").CreateElement("hidden").AddChild(signed)
		}), wssec.CodeReference},
		"wrapping: the assertion inside another": {tree(func(d *etree.Document) {
			s := d.FindElement("//Security")
			signed := s.SelectElement("Assertion")
			forged := signed.Copy()
			forged.CreateAttr("ID", "other")
			forged.FindElement("//NameID").SetText("op-8")
			s.InsertChildAt(signed.Index(), forged)
			s.RemoveChild(signed)
			forged.SelectElement("Subject").AddChild(signed)
		}), wssec.CodeReference},
		"an id in another attribute": {tree(func(d *etree.Document) {
			d.FindElement("//nome").CreateAttr("id", d.FindElement("/Envelope/Body").SelectAttrValue("wsu:Id", ""))
		}), wssec.CodeID},
		"an empty reference": {regexpSwap(`URI="#B-[0-9a-f]*"`, `URI=""`), wssec.CodeSignature},
		"the body not signed": {tree(func(d *etree.Document) {
			refs := d.FindElements("/Envelope/Header/Security/Signature/SignedInfo/Reference")
			refs[1].Parent().RemoveChild(refs[1])
		}), wssec.CodeSignature},
		"another canonicalization":            {swap(`CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"`, `CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"`), wssec.CodeAlgorithm},
		"canonicalization with comments":      {swap(`CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"`, `CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#WithComments"`), wssec.CodeAlgorithm},
		"an HMAC with the certificate as key": {swap("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2000/09/xmldsig#hmac-sha1"), wssec.CodeAlgorithm},
		"a token that is not the one named":   {regexpSwap(`URI="#X509-[0-9a-f]*"`, `URI="#X509-0"`), wssec.CodeReference},
		"the token after the signature": {tree(func(d *etree.Document) {
			s := d.FindElement("//Security")
			s.AddChild(s.SelectElement("BinarySecurityToken"))
		}), wssec.CodeStructure},
		"an object in the signature": {tree(func(d *etree.Document) {
			d.FindElement("/Envelope/Header/Security/Signature").CreateElement("ds:Object")
		}), wssec.CodeStructure},
		"something unknown in security": {tree(func(d *etree.Document) { d.FindElement("//Security").CreateElement("wsse:UsernameToken") }), wssec.CodeStructure},
		"a header that must be understood": {tree(func(d *etree.Document) {
			d.FindElement("//Header").CreateElement("x").CreateAttr("soapenv:mustUnderstand", "1")
		}), wssec.CodeStructure},
		"SOAP 1.2": {func(_ *testing.T, b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("http://schemas.xmlsoap.org/soap/envelope/"), []byte("http://www.w3.org/2003/05/soap-envelope"))
		}, wssec.CodeNotSOAP},
		"too deep": {swap("<vuoto></vuoto>", strings.Repeat("<a>", 80)+strings.Repeat("</a>", 80)), wssec.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := checker().Request(tc.change(t, good), now)
			wantCode(t, err, tc.code)
		})
	}
}

func regexpSwap(pattern, by string) func(*testing.T, []byte) []byte {
	return func(t *testing.T, text []byte) []byte {
		t.Helper()
		at := regexp.MustCompile(pattern)
		all := at.FindAllSubmatchIndex(text, -1)
		if len(all) == 0 {
			t.Fatalf("%s is not in the message", pattern)
		}
		last := all[len(all)-1] // the message's signature stands after the assertion's
		replaced := at.Expand(nil, []byte(by), text, last)
		return append(append(bytes.Clone(text[:last[0]]), replaced...), text[last[1]:]...)
	}
}

// otherDigest changes the first sign of the last digest, whatever it is: a fixed
// sign put there would be the right one once in 64 signatures.
func otherDigest(t *testing.T, text []byte) []byte {
	t.Helper()
	const before = "<ds:DigestValue>"
	at := bytes.LastIndex(text, []byte(before))
	if at < 0 {
		t.Fatal("no digest in the message")
	}
	out := bytes.Clone(text)
	if first := &out[at+len(before)]; *first == 'A' {
		*first = 'B'
	} else {
		*first = 'A'
	}
	return out
}

func TestASuiteThatWasNotAllowedIsRefused(t *testing.T) {
	t.Parallel()
	c := checker()
	c.Suites = []wssec.Suite{wssec.SuiteSHA256}
	_, err := c.Request(request(t, wssec.SuiteBasic128Rsa15), now)
	wantCode(t, err, wssec.CodeAlgorithm)
	c.Suites = nil
	_, err = c.Request(request(t, wssec.SuiteSHA256), now)
	wantCode(t, err, wssec.CodeAlgorithm)
}

func TestAMessageIsGoodInItsTimeOnly(t *testing.T) {
	t.Parallel()
	text := request(t, wssec.SuiteSHA256)
	for name, at := range map[string]time.Time{
		"expired": now.Add(5*time.Minute + time.Second), "of the future": now.Add(-10 * time.Second),
	} {
		_, err := checker().Request(text, at)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantCode(t, err, wssec.CodeTime)
	}
	if _, err := checker().Request(text, now.Add(-500*time.Millisecond)); err != nil {
		t.Errorf("within the skew: %v", err)
	}
}

func TestOnlyTrustedCertificatesSign(t *testing.T) {
	t.Parallel()
	m := office()
	s := signer(wssec.SuiteSHA256)
	s.Site = m.stranger
	text, err := s.Request([]byte(bodyText), statement(), now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = checker().Request(text, now)
	wantCode(t, err, wssec.CodeCertificate)

	s = signer(wssec.SuiteSHA256)
	s.Station = m.stranger
	text, err = s.Request([]byte(bodyText), statement(), now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = checker().Request(text, now)
	wantCode(t, err, wssec.CodeCertificate)

	pinned := checker()
	pinned.Trust = wssec.TrustOnly(m.station.Certificate())
	_, err = pinned.Request(request(t, wssec.SuiteSHA256), now)
	wantCode(t, err, wssec.CodeCertificate)
	pinned.Trust = nil
	_, err = pinned.Request(request(t, wssec.SuiteSHA256), now)
	wantCode(t, err, wssec.CodeCertificate)
}

func TestAnAssertionOfAnotherMessageIsRefusedWhenItsSiteDiffers(t *testing.T) {
	t.Parallel()
	s := signer(wssec.SuiteSHA256)
	s.Site = office().stranger
	foreign, err := s.Request([]byte(bodyText), statement(), now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := etree.NewDocument()
	if err := other.ReadFromBytes(foreign); err != nil {
		t.Fatal(err)
	}
	text := edit(t, request(t, wssec.SuiteSHA256), func(d *etree.Document) {
		security := d.FindElement("//Security")
		at := security.SelectElement("Assertion").Index()
		security.RemoveChildAt(at)
		security.InsertChildAt(at, other.FindElement("//Assertion").Copy())
	})
	_, err = checker().Request(text, now)
	wantCode(t, err, wssec.CodeAssertion)
}

func TestTheStationSignsItsOwnIdAndNothingElse(t *testing.T) {
	t.Parallel()
	// A site that replaces the signed id by one of another station signs the
	// assertion anew: only the station's own signature tells.
	attr := regexp.MustCompile(`(?s)Name="IdPostazioneFirmato".*?AttributeValue>([^<]+)<`)
	cms := attr.FindSubmatch(request(t, wssec.SuiteSHA256))
	if cms == nil {
		t.Fatal("no signed station id")
	}
	der, err := base64.StdEncoding.DecodeString(string(cms[1]))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"another id":      func(b []byte) []byte { return bytes.Replace(b, []byte("PDL-1"), []byte("PDL-2"), 1) },
		"a broken value":  func(b []byte) []byte { c := bytes.Clone(b); c[len(c)-1] ^= 1; return c },
		"cut":             func(b []byte) []byte { return b[:len(b)-8] },
		"something after": func(b []byte) []byte { return append(bytes.Clone(b), 0, 0) },
		"another algorithm": func(b []byte) []byte {
			return bytes.Replace(b, []byte{0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1}, []byte{0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3}, 2)
		},
	} {
		if err := wssec.CheckStationForTest(change(der), "PDL-1", wssec.TrustIssuedBy(office().root), now); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := wssec.CheckStationForTest(der, "PDL-1", wssec.TrustIssuedBy(office().root), now); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeSentIsNotMade(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*wssec.Signer, *wssec.Statement, *[]byte, *time.Time){
		"no operator": func(_ *wssec.Signer, s *wssec.Statement, _ *[]byte, _ *time.Time) { s.Operator = "" },
		"a long station": func(_ *wssec.Signer, s *wssec.Statement, _ *[]byte, _ *time.Time) {
			s.Station = strings.Repeat("x", 21)
		},
		"a control character": func(_ *wssec.Signer, s *wssec.Statement, _ *[]byte, _ *time.Time) { s.Operator = "a\x01" },
		"no issuer":           func(s *wssec.Signer, _ *wssec.Statement, _ *[]byte, _ *time.Time) { s.Issuer = "" },
		"an unknown suite":    func(s *wssec.Signer, _ *wssec.Statement, _ *[]byte, _ *time.Time) { s.Suite = "md5" },
		"an expired site":     func(_ *wssec.Signer, _ *wssec.Statement, _ *[]byte, at *time.Time) { *at = now.AddDate(2, 0, 0) },
		"no site":             func(s *wssec.Signer, _ *wssec.Statement, _ *[]byte, _ *time.Time) { s.Site = wssec.Identity{} },
		"no station":          func(s *wssec.Signer, _ *wssec.Statement, _ *[]byte, _ *time.Time) { s.Station = wssec.Identity{} },
		"two elements":        func(_ *wssec.Signer, _ *wssec.Statement, b *[]byte, _ *time.Time) { *b = []byte("<a/><b/>") },
		"not XML":             func(_ *wssec.Signer, _ *wssec.Statement, b *[]byte, _ *time.Time) { *b = []byte("x") },
	} {
		s, st, body, at := signer(wssec.SuiteSHA256), statement(), []byte(bodyText), now
		change(&s, &st, &body, &at)
		if _, err := s.Request(body, st, at, rand.Reader); err == nil {
			t.Errorf("%s: made", name)
		} else {
			wantCode(t, err, wssec.CodeMaterial)
		}
	}
}

// testdata/java-answer.xml was signed by the JDK's XML signature (exclusive
// canonicalisation with inclusive prefixes, wrapped base64, a default namespace,
// CDATA), openssl-station.p7 by OpenSSL (signed attributes), with one throw-away
// key: makers that share nothing with us.
func TestWhatOtherMakersSignedIsRead(t *testing.T) {
	t.Parallel()
	read := func(name string) []byte {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	certs, err := wssec.ParseCertificates(read("java-answer.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trust := wssec.TrustOnly(certs...)
	at := certs[0].NotBefore
	c := wssec.Checker{Suites: []wssec.Suite{wssec.SuiteSHA256}, Trust: func(c *x509.Certificate, _ time.Time) error { return trust(c, at) }}
	got, err := c.Answer(read("java-answer.xml"), now)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(got.Body, []byte("perché &amp; &lt;no&gt;")) {
		t.Errorf("%s", got.Body)
	}
	_, err = c.Answer(bytes.Replace(read("java-answer.xml"), []byte(`b="2"`), []byte(`b="3"`), 1), now)
	wantCode(t, err, wssec.CodeDigest)
	if err := wssec.CheckStationForTest(read("openssl-station.p7"), "PDL-1", trust, at); err != nil {
		t.Error(err)
	}
	if err := wssec.CheckStationForTest(read("openssl-station.p7"), "PDL-2", trust, at); err == nil {
		t.Error("another station's id was accepted")
	}
}

func FuzzCheckerReadsAnythingWithoutTrouble(f *testing.F) {
	good := request(f, wssec.SuiteSHA256)
	f.Add(good)
	f.Add(request(f, wssec.SuiteBasic128Rsa15))
	f.Add([]byte(`<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><a/></soapenv:Body></soapenv:Envelope>`))
	f.Add([]byte(`<a xmlns:x="u" x:id="1"><b xml:id="1"/></a>`))
	c := checker()
	want, err := c.Request(good, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := c.Request(text, now)
		var e *wssec.Error
		switch {
		case err != nil && !errors.As(err, &e):
			t.Errorf("an error of another kind: %v", err)
		case err == nil && got.Statement != want.Statement:
			t.Errorf("a statement nobody signed: %+v", got.Statement)
		}
		_, _ = c.Answer(text, now)
	})
}
