package wssec

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// Limits of a message, before anything of it is believed.
const (
	maxDepth      = 64
	maxElements   = 20_000
	maxAttributes = 64 // of one element
	maxNamespaces = 256
)

// DefaultMaxBytes is the size of a message when the caller names none.
const DefaultMaxBytes = 1 << 20

const (
	nsSOAP = "http://schemas.xmlsoap.org/soap/envelope/"
	nsWSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
	nsWSU  = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
	nsDS   = "http://www.w3.org/2000/09/xmldsig#"
	nsSAML = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsC14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
)

// parse reads a document within the limits into a tree whose nodes are those of
// the text: no entities, no document type, no comments between the digits of
// a name, no attribute given twice under any prefix, no id given twice.
func parse(text []byte, most int) (*etree.Document, error) {
	if most <= 0 {
		most = DefaultMaxBytes
	}
	if len(text) > most {
		return nil, refuse(CodeTooLarge, "bytes")
	}
	if !utf8.Valid(text) {
		return nil, refuse(CodeNotXML, "encoding")
	}
	if err := scan(text); err != nil {
		return nil, err
	}
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{PreserveDuplicateAttrs: true, MaxDepth: maxDepth}
	if err := doc.ReadFromBytes(text); err != nil || doc.Root() == nil {
		return nil, refuse(CodeNotXML, "parse")
	}
	return doc, nil
}

// scan walks the document once with the standard decoder.
func scan(text []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(text))
	depth, elements, namespaces, roots := 0, 0, 0, 0
	ids := map[string]bool{}
	for first := true; ; first = false {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return refuse(CodeNotXML, "parse")
		}
		switch tok := tok.(type) {
		case xml.Directive:
			return refuse(CodeForbidden, "document_type")
		case xml.ProcInst:
			if !first || tok.Target != "xml" {
				return refuse(CodeForbidden, "processing_instruction")
			}
		case xml.Comment:
			// A comment cuts a text in two for some readers and not for others.
			return refuse(CodeForbidden, "comment")
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(tok)) > 0 {
				return refuse(CodeNotXML, "parse")
			}
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			depth++
			elements++
			if roots > 1 {
				return refuse(CodeNotXML, "parse")
			}
			if depth > maxDepth || elements > maxElements || len(tok.Attr) > maxAttributes {
				return refuse(CodeTooLarge, "elements")
			}
			if err := scanAttributes(tok, ids, &namespaces); err != nil {
				return err
			}
		}
	}
	if roots != 1 {
		return refuse(CodeNotXML, "parse")
	}
	return nil
}

func scanAttributes(el xml.StartElement, ids map[string]bool, namespaces *int) error {
	if strings.Contains(el.Name.Local, ":") {
		return refuse(CodeNotXML, "name")
	}
	seen := map[xml.Name]bool{}
	for _, a := range el.Attr {
		if strings.Contains(a.Name.Local, ":") {
			return refuse(CodeNotXML, "name")
		}
		if seen[a.Name] {
			return refuse(CodeForbidden, "attribute_twice")
		}
		seen[a.Name] = true
		if a.Name.Space == "xmlns" || (a.Name.Space == "" && a.Name.Local == "xmlns") {
			if *namespaces++; *namespaces > maxNamespaces {
				return refuse(CodeTooLarge, "namespaces")
			}
			continue
		}
		// Whatever any reader may take for an id is unique in the document.
		if strings.EqualFold(a.Name.Local, "id") {
			if !idShape(a.Value) || ids[a.Value] {
				return refuse(CodeID, "")
			}
			ids[a.Value] = true
		}
	}
	return nil
}

// idShape is an NCName of ASCII characters.
func idShape(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i, r := range s {
		letter := r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
		if !letter && (i == 0 || (r != '-' && r != '.' && (r < '0' || r > '9'))) {
			return false
		}
	}
	return true
}

// is tells an element by its expanded name.
func is(e *etree.Element, space, tag string) bool { return e.Tag == tag && e.NamespaceURI() == space }

// attribute is the value of an attribute by its expanded name; the unprefixed
// have no namespace.
func attribute(e *etree.Element, space, key string) string {
	for _, a := range e.Attr {
		if a.Key != key || a.Space == "xmlns" {
			continue
		}
		if (space == "" && a.Space == "") || (space != "" && a.Space != "" && a.NamespaceURI() == space) {
			return a.Value
		}
	}
	return ""
}

// only gives the children of an element when they are exactly the named ones
// of a namespace, each once, in any order, with nothing but white space between.
func only(e *etree.Element, space string, tags ...string) (map[string]*etree.Element, error) {
	out := map[string]*etree.Element{}
	for _, token := range e.Child {
		switch token := token.(type) {
		case *etree.Element:
			if token.NamespaceURI() != space || out[token.Tag] != nil || !slices.Contains(tags, token.Tag) {
				return nil, refuse(CodeStructure, strings.ToLower(e.Tag))
			}
			out[token.Tag] = token
		case *etree.CharData:
			if strings.TrimSpace(token.Data) != "" {
				return nil, refuse(CodeStructure, strings.ToLower(e.Tag))
			}
		}
	}
	if len(out) != len(tags) {
		return nil, refuse(CodeStructure, strings.ToLower(e.Tag))
	}
	return out, nil
}

// leaf is the text of an element that holds nothing else.
func leaf(e *etree.Element) (string, bool) {
	if len(e.ChildElements()) > 0 {
		return "", false
	}
	return strings.TrimSpace(e.Text()), true
}
