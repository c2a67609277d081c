package anpr

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
)

// The wire of door C: document/literal, the request element in its namespace,
// all children unqualified, in the order of the published schema.

const (
	nsConsular = "http://sogei.it/ANPR/CONSOLATIServizi"
	nsEnvelope = "http://schemas.xmlsoap.org/soap/envelope/"
)

type soapHeader struct {
	ID          string `xml:"idOperazioneComune"`
	Sender      string `xml:"codMittente"`
	Recipient   string `xml:"codDestinatario"`
	Operation   string `xml:"operazioneRichiesta"`
	Time        string `xml:"dataOraRichiesta"`
	Kind        string `xml:"tipoOperazione"`
	Environment string `xml:"tipoInvio"`
}

type soapRequester struct {
	Sender  string `xml:"codMittente"`
	Station string `xml:"idPostazione"`
	User    string `xml:"idUtente"`
}

type soapMessage struct {
	XMLName   xml.Name
	NS        string         `xml:"xmlns:con,attr"`
	Header    soapHeader     `xml:"testataRichiesta"`
	Requester *soapRequester `xml:"datiRichiedente"`
	Person    soapPerson     `xml:"generalita"`
	Comune    *soapComune    `xml:"comuneIscrizioneAIRE"`
	Residence *soapResidence `xml:"residenza"`
	Post      *soapPost      `xml:"consolato"`
	Follow    string         `xml:"idRichiestaANPR,omitempty"`
}

type soapPerson struct {
	CF      string `xml:"codiceFiscale>codFiscale"`
	Surname string `xml:"cognome,omitempty"`
	Name    string `xml:"nome,omitempty"`
	Sex     string `xml:"sesso,omitempty"`
	Birth   string `xml:"dataNascita,omitempty"`
}

type soapComune struct {
	Name     string `xml:"nomeComune,omitempty"`
	ISTAT    string `xml:"codiceIstat"`
	Province string `xml:"siglaProvinciaIstat,omitempty"`
}

type soapPost struct {
	Code string `xml:"codiceConsolato"`
	Name string `xml:"descrizioneConsolato,omitempty"`
}

type soapResidence struct {
	Type    string        `xml:"tipoIndirizzo"`
	Notes   string        `xml:"noteIndirizzo,omitempty"`
	Foreign soapForeignAt `xml:"localitaEstera"`
	CareOf  string        `xml:"presso,omitempty"`
	Since   string        `xml:"dataDecorrenzaResidenza,omitempty"`
}

type soapForeignAt struct {
	Postcode string    `xml:"indirizzoEstero>cap,omitempty"`
	Locality string    `xml:"indirizzoEstero>localita>descrizioneLocalita,omitempty"`
	State    string    `xml:"indirizzoEstero>localita>descrizioneStato,omitempty"`
	ISTAT    string    `xml:"indirizzoEstero>localita>codiceStato,omitempty"`
	Province string    `xml:"indirizzoEstero>localita>provinciaContea,omitempty"`
	Street   string    `xml:"indirizzoEstero>toponimo>denominazione,omitempty"`
	Number   string    `xml:"indirizzoEstero>toponimo>numeroCivico,omitempty"`
	Post     *soapPost `xml:"consolato"`
}

func personOf(q Query) soapPerson {
	surname, given := q.Surname, q.GivenName
	if surname == "" && given == "" {
		surname, given = q.KnownSurname, q.KnownGivenName
	}
	return soapPerson{CF: q.FiscalCode, Surname: strings.ToUpper(surname), Name: strings.ToUpper(given), Sex: q.Sex, Birth: q.BirthDate}
}

func comuneOf(c ComuneRef) *soapComune {
	if c.ISTAT == "" {
		return nil
	}
	out := &soapComune{Name: c.Name, ISTAT: c.ISTAT}
	if known, ok := ComuneByISTAT(c.ISTAT); ok {
		// The schema of the register wants name and province beside the code.
		out.Province = known.ProvinceCode
		if out.Name == "" {
			out.Name = known.Name
		}
	}
	return out
}

func postOf(p PostRef) *soapPost {
	if p.Code == "" {
		return nil
	}
	return &soapPost{Code: p.Code, Name: p.Description}
}

func residenceOf(a Address, since string, p PostRef) *soapResidence {
	if !a.Foreign {
		return nil
	}
	kind := a.Type
	switch {
	case kind != "":
	case a.CareOf != "":
		kind = "6"
	default:
		kind = "4"
	}
	return &soapResidence{Type: kind, Notes: a.Notes, CareOf: a.CareOf, Since: since, Foreign: soapForeignAt{
		Postcode: a.Postcode, Locality: a.Locality, State: a.StateName, ISTAT: a.StateISTAT, Province: a.Province,
		Street: a.Street, Number: a.Number, Post: postOf(p),
	}}
}

// body is the request element, unsigned.
func (q soapQuestion) body(cfg *ConsularConfig, id string, at time.Time) ([]byte, error) {
	m := q.message
	m.XMLName, m.NS = xml.Name{Local: "con:Richiesta" + q.service.bare()}, nsConsular
	m.Header = soapHeader{
		ID: id, Sender: cfg.Sender, Recipient: cfg.Recipient, Operation: q.service.bare(),
		Time: at.Format(time.RFC3339Nano), Kind: "C", Environment: cfg.Environment,
	}
	if q.requester {
		user := q.actor.User
		if len(user) > 16 {
			user = cfg.User
		}
		m.Requester = &soapRequester{Sender: cfg.Sender, Station: cfg.Station, User: user}
	}
	return xml.Marshal(m)
}

// soapAnswer is any of the four answers. Its members have the names of door A's
// JSON, and are read with the same tolerance: an element is an object, a text,
// or a list when it comes more than once.
type soapAnswer struct {
	Header struct {
		OperationID wireText `json:"idOperazioneComune"`
		Operation   wireText `json:"operazioneRichiesta"`
		Time        wireText `json:"dataOraRichiesta"`
		RegisterID  wireText `json:"idOperazioneANPR"`
		Outcome     wireText `json:"esitoOperazione"`
	} `json:"testataRisposta"`
	Subjects struct {
		List wireList[soapSubject] `json:"datiSoggetto"`
	} `json:"listaSoggetti"`
	Errors struct {
		List wireList[wireNotice] `json:"errore"`
	} `json:"listaErrori"`
	Provenance wireText    `json:"provenienzaInformazioni"`
	General    wireGeneral `json:"generalita"`
	State      wireText    `json:"statoRichiesta"`
	IsAIRE     wireText    `json:"isAire"`
}

type soapSubject struct {
	wireSubject
	Cancelled struct {
		Reason wireText `json:"motivoCancellazione"`
		On     wireText `json:"dataDecorrenzaCancellazione"`
	} `json:"datiCancellazione"`
	Provenance wireText `json:"provenienzaInformazioni"`
}

// readSOAP finds the one answer to an operation in a SOAP Body or Envelope.
func readSOAP(text []byte, s Service) (soapAnswer, bool) {
	root, err := readTree(text)
	if err != nil {
		return soapAnswer{}, false
	}
	if root.name == (xml.Name{Space: nsEnvelope, Local: "Envelope"}) {
		if root = root.only(nsEnvelope, "Body"); root == nil {
			return soapAnswer{}, false
		}
	}
	if root.name != (xml.Name{Space: nsEnvelope, Local: "Body"}) || len(root.children) != 1 {
		return soapAnswer{}, false
	}
	esito := root.only(nsConsular, "RispostaEsito"+s.bare())
	if esito == nil || len(esito.children) != 1 {
		return soapAnswer{}, false
	}
	answer := esito.children[0]
	if answer.name.Local != "Risposta"+s.bare() && answer.name.Local != "rispostaKO" {
		return soapAnswer{}, false
	}
	var out soapAnswer
	data, err := json.Marshal(answer.value())
	if err != nil || json.Unmarshal(data, &out) != nil {
		return soapAnswer{}, false
	}
	outcome := string(out.Header.Outcome)
	refused := answer.name.Local == "rispostaKO" || outcome == "XXXX"
	if refused && len(out.Errors.List) == 0 || !refused && outcome == "" {
		return soapAnswer{}, false
	}
	return out, true
}

// reading is the answer of C001 as door A's are read.
func (a soapAnswer) reading() (reading, *RegisterError) {
	r, err := a.codes(ConsularC001)
	if err != nil || r.absent || len(r.findings) > 0 && len(a.errorCodes()) > 0 {
		return r, err
	}
	switch list := a.Subjects.List; {
	case len(list) == 0:
		return r, &RegisterError{Kind: KindTemporary, Code: CodeUnreadable}
	case len(list) > 1:
		r.findings = append(r.findings, Finding{Code: FindingDuplicate, Service: ConsularC001, Detail: "several_subjects"})
	case list[0].empty():
		return r, &RegisterError{Kind: KindTemporary, Code: CodeUnreadable}
	default:
		r.subject = &list[0].wireSubject
		if reason := list[0].Cancelled.Reason; reason != "" {
			r.subject.cancelled, r.subject.cancelledOn = string(reason), string(list[0].Cancelled.On)
		}
	}
	return r, nil
}

// codes judges the register's codes alone: errors say what they say at door A,
// warnings among them (spec §8 row 15) only what is a finding.
func (a soapAnswer) codes(s Service) (reading, *RegisterError) {
	r := reading{opID: clip(string(a.Header.RegisterID), 64)}
	for _, n := range a.Errors.List {
		if n.warning() {
			r.warn(s, Code(clip(string(n.Code), 16)))
		}
	}
	codes := a.errorCodes()
	if len(codes) == 0 {
		return r, nil
	}
	if i := slices.IndexFunc(codes, func(c Code) bool { _, ok := codesMismatch[c]; return ok }); i >= 0 {
		f := codesMismatch[codes[i]]
		f.Service, f.Source = s, codes[i]
		r.findings = append(r.findings, f)
		return r, nil
	}
	return r.fromCodes(s, codes, wireAnswer{Errors: a.Errors.List})
}

func (a soapAnswer) errorCodes() []Code {
	var out []Code
	for _, n := range a.Errors.List {
		if !n.warning() {
			out = append(out, Code(clip(string(n.Code), 16)))
		}
	}
	return out
}

// passed tells whether the error is about the operation id itself: a later one
// went before it. Its code is not published, its field is.
func (a soapAnswer) passed() (Code, bool) {
	for _, n := range a.Errors.List {
		if !n.warning() && n.Field == "idOperazioneComune" {
			return Code(clip(string(n.Code), 16)), true
		}
	}
	return "", false
}

// codesMismatch are the ways in which the SOAP doors say that what was asked
// and what is registered differ (spec §6); door A has none of them.
var codesMismatch = map[Code]Finding{
	"EN068": {Code: FindingNamesDiffer, Detail: "given_name"}, "EN083": {Code: FindingNamesDiffer, Detail: "given_name"},
	"EN069": {Code: FindingNamesDiffer, Detail: "surname"}, "EN084": {Code: FindingNamesDiffer, Detail: "surname"},
	"EN070": {Code: FindingCFSuperseded}, "EN085": {Code: FindingCFSuperseded},
	"EN074": {Code: FindingComuneUnknown, Detail: "other_comune"}, "EN089": {Code: FindingComuneUnknown, Detail: "other_comune"},
}

// cancelled adds what a cancellation in the record means (spec §4.3).
func (rec *Record) cancelled(s *wireSubject) {
	switch s.cancelled {
	case "":
		// A position that is open is a living person's.
		if rec.Person.Alive == Unknown {
			rec.Person.Alive = Yes
		}
	case "1", "2": // death, presumed death
		rec.Person.Alive = No
		if rec.Person.DiedOn == "" {
			rec.Person.DiedOn = dateText(wireText(s.cancelledOn))
		}
	default:
		rec.add(Finding{Code: FindingCancelled, Service: ConsularC001, Detail: "reason_" + clip(s.cancelled, 4)})
	}
}

// isFault tells a SOAP fault from all else, cheaply: it decides nothing about
// a person.
func isFault(body []byte) bool {
	root, err := readTree(body)
	if err != nil || root.name != (xml.Name{Space: nsEnvelope, Local: "Envelope"}) {
		return false
	}
	inner := root.only(nsEnvelope, "Body")
	return inner != nil && inner.only(nsEnvelope, "Fault") != nil
}

// tree is an element with its children.
type tree struct {
	name     xml.Name
	text     strings.Builder
	children []*tree
}

var errTree = errors.New("anpr: not the XML that was promised")

// readTree reads XML without document type, at most 32 deep and 20,000 wide.
func readTree(text []byte) (*tree, error) {
	dec := xml.NewDecoder(bytes.NewReader(text))
	var root *tree
	var path []*tree
	for n := 0; ; {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errTree
		}
		switch tok := tok.(type) {
		case xml.Directive:
			return nil, errTree
		case xml.StartElement:
			e := &tree{name: tok.Name}
			if n++; n > 20_000 || len(path) > 32 || (root != nil && len(path) == 0) {
				return nil, errTree
			}
			if root == nil {
				root = e
			} else {
				top := path[len(path)-1]
				top.children = append(top.children, e)
			}
			path = append(path, e)
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if len(path) > 0 {
				path[len(path)-1].text.Write(tok)
			}
		}
	}
	if root == nil {
		return nil, errTree
	}
	return root, nil
}

// only gives the one child of a name, nil when there is none or more.
func (t *tree) only(space, local string) *tree {
	var out *tree
	for _, c := range t.children {
		if c.name == (xml.Name{Space: space, Local: local}) {
			if out != nil {
				return nil
			}
			out = c
		}
	}
	return out
}

// value is the element as JSON has it: text, object, lists for what comes more
// than once.
func (t *tree) value() any {
	if len(t.children) == 0 {
		return t.text.String()
	}
	out := map[string]any{}
	for _, c := range t.children {
		v := c.value()
		// An empty element is no object: <indirizzo/> says nothing.
		if s, ok := v.(string); ok && strings.TrimSpace(s) == "" {
			continue
		}
		switch known := out[c.name.Local].(type) {
		case nil:
			out[c.name.Local] = v
		case []any:
			out[c.name.Local] = append(known, v)
		default:
			out[c.name.Local] = []any{known, v}
		}
	}
	return out
}
