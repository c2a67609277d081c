package sad

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
)

// Version marks our bodies: provisional, until somebody has the text of SAD 2.8.
const Version = "provvisoria-1"

type questionXML struct {
	XMLName    xml.Name `xml:"richiestaAPR"`
	Version    string   `xml:"versione,attr"`
	ID         string   `xml:"id,attr"`
	Comune     string   `xml:"comune"`
	FiscalCode string   `xml:"codiceFiscale"`
	Surname    string   `xml:"cognome,omitempty"`
	GivenName  string   `xml:"nome,omitempty"`
}

type answerXML struct {
	XMLName xml.Name `xml:"rispostaAPR"`
	Version string   `xml:"versione,attr"`
	ID      string   `xml:"id,attr"`
	Outcome string   `xml:"esito"`
	Person  *struct {
		Surname   string  `xml:"cognome"`
		GivenName string  `xml:"nome"`
		BirthDate string  `xml:"dataNascita"`
		Travel    *string `xml:"validitaEspatrio"`
	} `xml:"soggetto"`
}

var (
	comuneShape = regexp.MustCompile(`^[0-9]{6}$`)
	codeShape   = regexp.MustCompile(`^[A-Z0-9]{11,16}$`)
	dateShape   = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
)

func writeQuestion(q Question) ([]byte, error) {
	for _, f := range []struct {
		name string
		good bool
	}{
		{"id", idShape.MatchString(q.ID)},
		{"comune", comuneShape.MatchString(q.Comune)},
		{"fiscal_code", codeShape.MatchString(q.FiscalCode)},
		{"surname", len(q.Surname) <= 320 && !strings.ContainsRune(q.Surname, 0)},
		{"given_name", len(q.GivenName) <= 320 && !strings.ContainsRune(q.GivenName, 0)},
	} {
		if !f.good {
			return nil, &Error{Code: CodeQuestion, Field: f.name}
		}
	}
	text, err := xml.Marshal(questionXML{Version: Version, ID: q.ID, Comune: q.Comune, FiscalCode: q.FiscalCode, Surname: q.Surname, GivenName: q.GivenName})
	if err != nil {
		return nil, &Error{Code: CodeQuestion, Err: err}
	}
	return append([]byte(xml.Header), text...), nil
}

// readAnswer takes only what was promised: one document of ours, to this
// question, without document type.
func readAnswer(text []byte, id string, constants Constants) (Answer, error) {
	unread := func(field string) (Answer, error) { return Answer{}, &Error{Code: CodeUnread, Field: field} }
	if len(text) > maxAnswer {
		return unread("size")
	}
	if !single(text) {
		return unread("xml")
	}
	var a answerXML
	if err := xml.Unmarshal(text, &a); err != nil || a.Version != Version {
		return unread("xml")
	}
	if a.ID != id {
		return Answer{}, &Error{Code: CodeNotOurs}
	}
	switch {
	case a.Outcome == "assente" && a.Person == nil:
		return Answer{}, nil
	case a.Outcome != "trovato" || a.Person == nil:
		return unread("esito")
	}
	p := a.Person
	out := Answer{Found: true, Surname: clean(p.Surname), GivenName: clean(p.GivenName), BirthDate: strings.TrimSpace(p.BirthDate)}
	if out.BirthDate != "" && !dateShape.MatchString(out.BirthDate) {
		return unread("dataNascita")
	}
	if p.Travel != nil {
		valid, err := constants.Value(*p.Travel)
		if err != nil {
			return Answer{}, err
		}
		out.Travel = &valid
	}
	return out, nil
}

func clean(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 80 {
		s = string(r[:80])
	}
	return s
}

// single says that a text is one whole document without document type.
func single(text []byte) bool {
	dec := xml.NewDecoder(bytes.NewReader(text))
	depth, roots := 0, 0
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return roots == 1 && depth == 0
		}
		if err != nil {
			return false
		}
		switch tok := tok.(type) {
		case xml.Directive:
			return false
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			if depth++; depth > 8 || roots > 1 {
				return false
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(tok)) > 0 {
				return false
			}
		}
	}
}
