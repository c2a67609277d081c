package wssec

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	algExclusive = nsC14N
	algEnveloped = nsDS + "enveloped-signature"
)

// detach copies an element together with the namespaces in scope where it
// stands.
func detach(e *etree.Element) *etree.Element {
	alone := e.Copy()
	for parent := e.Parent(); parent != nil; parent = parent.Parent() {
		for _, a := range parent.Attr {
			declares := a.Space == "xmlns" || (a.Space == "" && a.Key == "xmlns")
			if declares && !slices.ContainsFunc(alone.Attr, func(b etree.Attr) bool { return b.Space == a.Space && b.Key == a.Key }) {
				alone.CreateAttr(strings.TrimPrefix(a.Space+":"+a.Key, ":"), a.Value)
			}
		}
	}
	return alone
}

// canonical is the exclusive canonical form of a detached element, which it
// uses up. Where a default namespace is undeclared (xmlns="") below an element
// that declares none, the module writes what the recommendation leaves out: such
// a message, which no known peer sends, fails its digest.
func canonical(detached *etree.Element, prefixes string) ([]byte, error) {
	return dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(prefixes).Canonicalize(detached)
}

// signedPart is an element to be signed, by its id.
type signedPart struct {
	id        string
	element   *etree.Element
	enveloped bool // the signature stands inside the element
}

// newSignature makes a Signature over parts, appended to parent at the end so
// that the canonical form is the one the receiver sees; keyInfo is filled by the
// caller.
func newSignature(parent *etree.Element, suite Suite, signer Identity, parts []signedPart, keyInfo func(*etree.Element)) error {
	alg := suites[suite]
	digests := make([][]byte, 0, len(parts))
	for _, p := range parts {
		text, err := canonical(detach(p.element), "") // before the signature is in it
		if err != nil {
			return wrap(CodeMaterial, "canonical", err)
		}
		h := alg.hash.New()
		h.Write(text)
		digests = append(digests, h.Sum(nil))
	}
	sig := parent.CreateElement("ds:Signature")
	sig.CreateAttr("xmlns:ds", nsDS)
	info := sig.CreateElement("ds:SignedInfo")
	info.CreateElement("ds:CanonicalizationMethod").CreateAttr("Algorithm", algExclusive)
	info.CreateElement("ds:SignatureMethod").CreateAttr("Algorithm", alg.signature)
	for i, p := range parts {
		ref := info.CreateElement("ds:Reference")
		ref.CreateAttr("URI", "#"+p.id)
		transforms := ref.CreateElement("ds:Transforms")
		if p.enveloped {
			transforms.CreateElement("ds:Transform").CreateAttr("Algorithm", algEnveloped)
		}
		transforms.CreateElement("ds:Transform").CreateAttr("Algorithm", algExclusive)
		ref.CreateElement("ds:DigestMethod").CreateAttr("Algorithm", alg.digest)
		ref.CreateElement("ds:DigestValue").SetText(base64.StdEncoding.EncodeToString(digests[i]))
	}
	text, err := canonical(detach(info), "")
	if err != nil {
		return wrap(CodeMaterial, "canonical", err)
	}
	value, err := signer.sign(alg.hash, text)
	if err != nil {
		return wrap(CodeMaterial, "sign", err)
	}
	sig.CreateElement("ds:SignatureValue").SetText(base64.StdEncoding.EncodeToString(value))
	keyInfo(sig.CreateElement("ds:KeyInfo"))
	return nil
}

// signatureParts takes a Signature of exactly the three children apart.
func signatureParts(sig *etree.Element) (info, value, keyInfo *etree.Element, err error) {
	children, err := only(sig, nsDS, "SignedInfo", "SignatureValue", "KeyInfo")
	if err != nil {
		return nil, nil, nil, err
	}
	return children["SignedInfo"], children["SignatureValue"], children["KeyInfo"], nil
}

// verifySignature checks that sig covers exactly the given parts, each once,
// with one suite of those allowed, and that c's key made it. It returns the
// canonical bytes of each part, in the order given: only they are signed.
func verifySignature(sig *etree.Element, c *x509.Certificate, allowed []Suite, parts []signedPart) ([][]byte, error) {
	info, value, _, err := signatureParts(sig)
	if err != nil {
		return nil, err
	}
	method, alg, err := readMethods(info, allowed)
	if err != nil {
		return nil, err
	}
	raw, err := base64Text(value)
	if err != nil {
		return nil, refuse(CodeSignature, "encoding")
	}
	text, err := canonical(detach(info), method)
	if err != nil {
		return nil, refuse(CodeNotXML, "namespaces")
	}
	if err := c.CheckSignature(alg.x509, text, raw); err != nil {
		return nil, refuse(CodeSignature, "")
	}
	references := info.ChildElements()[2:]
	if len(references) != len(parts) {
		return nil, refuse(CodeReference, "count")
	}
	out := make([][]byte, len(parts))
	for _, ref := range references {
		i := slices.IndexFunc(parts, func(p signedPart) bool { return "#"+p.id == attribute(ref, "", "URI") })
		if i < 0 || out[i] != nil {
			return nil, refuse(CodeReference, "other")
		}
		if out[i], err = verifyReference(ref, sig, alg, parts[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readMethods reads what SignedInfo begins with: CanonicalizationMethod, then
// SignatureMethod, then nothing but References.
func readMethods(info *etree.Element, allowed []Suite) (prefixes string, alg algorithms, err error) {
	children := info.ChildElements()
	if len(children) < 3 || !is(children[0], nsDS, "CanonicalizationMethod") || !is(children[1], nsDS, "SignatureMethod") {
		return "", alg, refuse(CodeStructure, "signedinfo")
	}
	for _, c := range children[2:] {
		if !is(c, nsDS, "Reference") {
			return "", alg, refuse(CodeStructure, "signedinfo")
		}
	}
	prefixes, err = exclusive(children[0])
	if err != nil {
		return "", alg, err
	}
	if len(children[1].ChildElements()) > 0 {
		return "", alg, refuse(CodeAlgorithm, "parameters")
	}
	for _, s := range allowed {
		if a, ok := suites[s]; ok && a.signature == attribute(children[1], "", "Algorithm") {
			return prefixes, a, nil
		}
	}
	return "", alg, refuse(CodeAlgorithm, "signature")
}

// exclusive checks that a method or transform is exclusive canonicalisation
// without comments and gives its list of inclusive prefixes.
func exclusive(e *etree.Element) (prefixes string, err error) {
	if attribute(e, "", "Algorithm") != algExclusive {
		return "", refuse(CodeAlgorithm, "canonicalization")
	}
	children := e.ChildElements()
	if len(children) == 0 {
		return "", nil
	}
	prefixes = attribute(children[0], "", "PrefixList")
	if len(children) > 1 || !is(children[0], nsC14N, "InclusiveNamespaces") || len(children[0].ChildElements()) > 0 || len(strings.Fields(prefixes)) > 16 {
		return "", refuse(CodeAlgorithm, "parameters")
	}
	return prefixes, nil
}

func verifyReference(ref, sig *etree.Element, alg algorithms, part signedPart) ([]byte, error) {
	children, err := only(ref, nsDS, "Transforms", "DigestMethod", "DigestValue")
	if err != nil {
		return nil, err
	}
	transforms := children["Transforms"].ChildElements()
	element := detach(part.element)
	if part.enveloped {
		if len(transforms) == 0 || attribute(transforms[0], "", "Algorithm") != algEnveloped || len(transforms[0].ChildElements()) > 0 {
			return nil, refuse(CodeAlgorithm, "transform")
		}
		transforms = transforms[1:]
		element.RemoveChildAt(sig.Index()) // sig is a child of the element: the caller took it from there
	}
	if len(transforms) != 1 || !is(transforms[0], nsDS, "Transform") {
		return nil, refuse(CodeAlgorithm, "transform")
	}
	prefixes, err := exclusive(transforms[0])
	if err != nil {
		return nil, err
	}
	if attribute(children["DigestMethod"], "", "Algorithm") != alg.digest {
		return nil, refuse(CodeAlgorithm, "digest")
	}
	want, err := base64Text(children["DigestValue"])
	if err != nil {
		return nil, refuse(CodeDigest, "encoding")
	}
	text, err := canonical(element, prefixes)
	if err != nil {
		return nil, refuse(CodeNotXML, "namespaces")
	}
	h := alg.hash.New()
	h.Write(text)
	if !bytes.Equal(h.Sum(nil), want) {
		return nil, refuse(CodeDigest, "")
	}
	return text, nil
}

// base64Text reads base64 with white space between, as long values are wrapped.
func base64Text(e *etree.Element) ([]byte, error) {
	text, ok := leaf(e)
	if !ok || text == "" {
		return nil, refuse(CodeStructure, strings.ToLower(e.Tag))
	}
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
}
