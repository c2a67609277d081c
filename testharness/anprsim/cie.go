package anprsim

import (
	"bytes"
	"crypto/rsa"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"airegw/testharness/sim"
)

const (
	nsSOAP = "http://schemas.xmlsoap.org/soap/envelope/"
	nsCIE  = "http://sogei.it/ANPR/CIE0Servizi"
	nsCons = "http://sogei.it/ANPR/CONSOLATIServizi"
)

// door is one of the SOAP services: they share security, header and rules of
// the operation id.
type door struct {
	name       string // for faults and the ledger
	ns, prefix string
	operations []string
}

var (
	doorB = door{"CIE", nsCIE, "cie", []string{"CIE2", "CIE7", "CIE8"}}
	doorC = door{"CONS", nsCons, "con", []string{"C001", "C002", "C003", "C010"}}
)

// EN210Until is the first day, in Europe/Rome, on which a comune that is not
// the one of AIRE registration may ask for an AIRE subject (law 11/2026, art. 5
// paragraph 2); before it CIE2 answers EN210.
const EN210Until = "2026-06-01"

// soapReply is an answer of doors B and C, kept because a repeated operation id
// must get the same answer, newly signed.
type soapReply struct {
	Sender    string `json:"sender"`
	ID        string `json:"id"`
	Operation string `json:"operation"`
	Body      []byte `json:"body"`
}

type header struct {
	ID          string `xml:"idOperazioneComune"`
	Sender      string `xml:"codMittente"`
	Recipient   string `xml:"codDestinatario"`
	Operation   string `xml:"operazioneRichiesta"`
	Time        string `xml:"dataOraRichiesta"`
	Kind        string `xml:"tipoOperazione"`
	Environment string `xml:"tipoInvio"`
}

type requester struct {
	Sender  string `xml:"codMittente"`
	Station string `xml:"idPostazione"`
	User    string `xml:"idUtente"`
}

type wanted struct {
	CF struct {
		Code string `xml:"codFiscale"`
	} `xml:"codiceFiscale"`
	Surname   string `xml:"cognome"`
	NoSurname string `xml:"senzaCognome"`
	Name      string `xml:"nome"`
	NoName    string `xml:"senzaNome"`
	Record    string `xml:"idSchedaSoggettoANPR"`
}

type card struct {
	Number   string     `xml:"numero"`
	Issued   string     `xml:"dataRilascio"`
	Kind     string     `xml:"cartaceaElettronica,omitempty"`
	NoTravel string     `xml:"interdizioneEspatrio"`
	Comune   *comune    `xml:"comuneRilascio"`
	Post     *consulate `xml:"consolatoRilascio"`
	Expires  string     `xml:"dataScadenza,omitempty"`
	Annulled string     `xml:"dataAnnullamento,omitempty"`
}

type control struct {
	Comune comune `xml:"comuneResidenza"`
	AIRE   string `xml:"soggettoAIRE"`
}

// cieRequest is any of the seven; the fields a request does not have stay empty.
type cieRequest struct {
	door      door
	operation string
	XMLName   xml.Name
	Header    header    `xml:"testataRichiesta"`
	Requester requester `xml:"datiRichiedente"`
	Wanted    wanted    `xml:"generalita"`
	Card      *card     `xml:"cartaIdentita"`
	Annulled  string    `xml:"dataAnnullamento"`
	Control   *control  `xml:"datiControllo"`

	// Door C.
	Comune    *comune       `xml:"comuneIscrizioneAIRE"`
	Residence *xmlResidence `xml:"residenza"`
	Post      *consulate    `xml:"consolato"`
	Follow    string        `xml:"idRichiestaANPR"`
}

// soapBody is the SOAP Body, the part that is signed.
type soapBody struct {
	XMLName  xml.Name     `xml:"http://schemas.xmlsoap.org/soap/envelope/ Body"`
	Requests []cieRequest `xml:",any"`
}

var (
	errNotSOAP  = errors.New("not a SOAP 1.1 Body with one of the service's requests")
	errDTD      = errors.New("a document type is not allowed")
	errTrailXML = errors.New("something follows the body")
)

// cieChildren are the elements a request may hold, by the schema published with
// the service; a name outside makes the request invalid.
var cieChildren = map[string][]string{
	"RichiestaCIE2":        {"testataRichiesta", "generalita", "datiRichiedente", "datiControllo"},
	"RichiestaCIE7":        {"testataRichiesta", "generalita", "cartaIdentita", "dataAnnullamento", "datiRichiedente"},
	"RichiestaCIE8":        {"testataRichiesta", "datiRichiedente", "generalita", "cartaIdentita"},
	"RichiestaC001":        {"testataRichiesta", "datiRichiedente", "generalita", "comuneIscrizioneAIRE", "consolato"},
	"RichiestaC002":        {"testataRichiesta", "datiRichiedente", "generalita", "comuneIscrizioneAIRE", "residenza", "idRichiestaANPR"},
	"RichiestaC003":        {"testataRichiesta", "datiRichiedente", "generalita", "comuneIscrizioneAIRE", "consolato"},
	"RichiestaC010":        {"testataRichiesta", "generalita"},
	"comuneIscrizioneAIRE": {"nomeComune", "codiceIstat", "siglaProvinciaIstat", "descrizioneLocalita"},
	"residenza":            {"tipoIndirizzo", "noteIndirizzo", "indirizzo", "localitaEstera", "presso", "dataDecorrenzaResidenza"},
	"localitaEstera":       {"indirizzoEstero", "consolato"},
	"indirizzoEstero":      {"cap", "localita", "toponimo"},
	"localita":             {"descrizioneLocalita", "descrizioneStato", "codiceStato", "provinciaContea"},
	"consolato":            {"codiceConsolato", "descrizioneConsolato"},
	"testataRichiesta":     {"idOperazioneComune", "codMittente", "codDestinatario", "operazioneRichiesta", "dataOraRichiesta", "tipoOperazione", "protocolloComune", "dataProtocolloComune", "tipoInvio", "dataDecorrenza", "dataDefinizionePratica", "nomeApplicativo", "versioneApplicativo", "fornitoreApplicativo"},
	"datiRichiedente":      {"codMittente", "idPostazione", "idUtente"},
	"cartaIdentita":        {"numero", "dataRilascio", "cartaceaElettronica", "interdizioneEspatrio", "comuneRilascio", "consolatoRilascio", "dataScadenza", "dataAnnullamento"},
	"comuneRilascio":       {"nomeComune", "codiceIstat", "siglaProvinciaIstat", "descrizioneLocalita"},
	"comuneResidenza":      {"nomeComune", "codiceIstat", "siglaProvinciaIstat", "descrizioneLocalita"},
	"consolatoRilascio":    {"codiceConsolato", "descrizioneConsolato"},
	"datiControllo":        {"comuneResidenza", "soggettoAIRE"},
	"codiceFiscale":        {"codFiscale", "validitaCF", "dataAttribuzioneValidita"},
}

// schemaError is a request that is XML but not what the schema says.
type schemaError struct{ detail string }

func (e *schemaError) Error() string { return e.detail }

// parseSOAP reads the signed Body of a request to a door. A *schemaError means
// the request was recognised and its header may be answered; any other error is
// a fault.
func parseSOAP(body []byte, d door) (cieRequest, error) {
	if !utf8.Valid(body) {
		return cieRequest{}, errors.New("not UTF-8")
	}
	schemaErr := checkTokens(body, d)
	var invalid *schemaError
	if schemaErr != nil && !errors.As(schemaErr, &invalid) {
		return cieRequest{}, schemaErr
	}
	var b soapBody
	err := xml.Unmarshal(body, &b)
	if err != nil {
		return cieRequest{}, fmt.Errorf("not well formed: %w", err)
	}
	if len(b.Requests) != 1 {
		return cieRequest{}, errNotSOAP
	}
	req := b.Requests[0]
	req.door, req.operation = d, strings.TrimPrefix(req.XMLName.Local, "Richiesta")
	if req.XMLName.Space != d.ns || req.XMLName.Local != "Richiesta"+req.operation || !slices.Contains(d.operations, req.operation) {
		return cieRequest{}, errNotSOAP
	}
	return req, schemaErr
}

// checkTokens walks the document: no document type, nothing after the root,
// unqualified children with known names, each at most once.
func checkTokens(body []byte, d door) error {
	dec := xml.NewDecoder(bytes.NewReader(body))
	var path []string
	seen := []map[string]bool{{}}
	inRequest, ended := 0, false
	var invalid error
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("not well formed: %w", err)
		}
		switch tok := tok.(type) {
		case xml.Directive:
			return errDTD
		case xml.StartElement:
			if ended || len(path) > 32 {
				return errTrailXML
			}
			if inRequest > 0 && invalid == nil {
				parent := path[len(path)-1]
				allowed, limited := cieChildren[parent]
				switch {
				case tok.Name.Space != "":
					invalid = &schemaError{"element " + tok.Name.Local + " must be unqualified"}
				case limited && !slices.Contains(allowed, tok.Name.Local):
					invalid = &schemaError{"element " + tok.Name.Local + " is not expected in " + parent}
				case limited && seen[len(seen)-1][tok.Name.Local]:
					invalid = &schemaError{"element " + tok.Name.Local + " given twice in " + parent}
				}
			}
			seen[len(seen)-1][tok.Name.Local] = true
			seen = append(seen, map[string]bool{})
			path = append(path, tok.Name.Local)
			if inRequest > 0 || tok.Name.Space == d.ns {
				inRequest++
			}
		case xml.EndElement:
			path, seen = path[:len(path)-1], seen[:len(seen)-1]
			if inRequest > 0 {
				inRequest--
			}
			ended = len(path) == 0
		case xml.CharData:
			if ended && len(bytes.TrimSpace(tok)) > 0 {
				return errTrailXML
			}
		}
	}
	if !ended {
		return errNotSOAP
	}
	return invalid
}

func (s *Server) serveSOAP(w http.ResponseWriter, r *http.Request, d door) {
	x := &exchange{taken: &taken{s: s, op: d.name}, w: w, r: r, call: Call{Operation: d.name}}
	if r.Method != http.MethodPost {
		x.fault(http.StatusMethodNotAllowed, "fault", "POST only")
		return
	}
	if x.fires(FaultMaintenance) || x.fires(FaultCIEOutage) {
		x.fault(http.StatusServiceUnavailable, "fault", "service unavailable, injected")
		return
	}
	if x.htmlError() {
		return
	}
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(media) != "text/xml" {
		x.fault(http.StatusUnsupportedMediaType, "fault", "Content-Type is not text/xml")
		return
	}
	text, err := readBody(w, r, maxBody)
	if err != nil {
		x.fault(http.StatusInternalServerError, "fault", "body: "+err.Error())
		return
	}
	authority, err := s.soap()
	if err != nil {
		x.fault(http.StatusInternalServerError, "fault", err.Error())
		return
	}
	message, err := authority.CheckRequest(text, s.wire.Now(), func(code string) bool { return s.broken(wssMutants[code]) })
	var refusal *sim.SOAPRefusal
	if errors.As(err, &refusal) {
		x.fault(http.StatusInternalServerError, refusal.Code, refusal.Detail)
		return
	}
	req, err := parseSOAP(message.Body, d)
	var invalid *schemaError
	if err != nil && !errors.As(err, &invalid) {
		x.fault(http.StatusInternalServerError, "fault", err.Error())
		return
	}
	x.op, x.call.Operation = req.operation, req.operation
	if d.name == doorC.name {
		x.op, x.call.Operation = "cons/"+req.operation, "cons/"+req.operation
	}
	x.subject = strings.ToUpper(req.Wanted.CF.Code)
	x.call.Subject, x.call.ClientOp, x.call.Client = x.subject, req.Header.ID, req.Header.Sender
	x.call.UserID, x.call.Location = req.Requester.User, req.Requester.Station
	if detail := notTheSender(message, req); detail != "" && !s.broken(MutantWSSSender) {
		x.fault(http.StatusInternalServerError, "wss_sender", detail)
		return
	}
	if req.operation == "CIE8" && x.fires(FaultCIE8Drop) {
		x.done(0, "dropped")
		panic(http.ErrAbortHandler)
	}
	var errs []anomaly
	if invalid != nil {
		errs = []anomaly{{Code: "EN489", Kind: "E", Text: "La richiesta non risulta valida secondo lo schema", Value: invalid.detail}}
	}
	out, outcome, err := s.answerCIE(x, req, errs)
	if err == nil {
		err = s.flush()
	}
	if err == nil {
		out, err = s.signAnswer(authority, out, x)
	}
	if err != nil {
		x.fault(http.StatusInternalServerError, "fault", err.Error())
		return
	}
	x.done(http.StatusOK, outcome)
	if outcome != "OK" && outcome != "replayed" {
		s.diagnose(Refusal{Operation: x.op, Client: req.Header.Sender, Status: http.StatusOK, Wire: outcome, Code: outcome, Detail: "answer of the application"})
	}
	w.Header().Set("Content-Type", "text/xml; charset=UTF-8")
	_, _ = w.Write(out)
}

// notTheSender says in what the header of a request is not of who signed it.
func notTheSender(m sim.SOAPMessage, req cieRequest) string {
	switch {
	case m.Sender == "":
		return "" // unsigned, and let through on purpose
	case m.Sender != req.Header.Sender:
		return "codMittente is not the common name of the site certificate"
	case req.door.name == doorC.name && req.operation != "C010" && m.Station != req.Requester.Station:
		// CIEOnline asks for the stations of others, a consular system for its own.
		return "idPostazione is not the station of the assertion"
	}
	return ""
}

// signAnswer signs an answer, or does not, as told.
func (s *Server) signAnswer(a *sim.SOAPAuthority, body []byte, x *exchange) ([]byte, error) {
	if s.broken(MutantAnswerUnsigned) || x.fires(FaultAnswerUnsigned) {
		return fmt.Appendf(nil, `<soapenv:Envelope xmlns:soapenv="%s"><soapenv:Body>%s</soapenv:Body></soapenv:Envelope>`, nsSOAP, body), nil
	}
	return a.Sign(sim.SOAPOrder{Body: string(body), Now: s.wire.Now()})
}

// IssueSOAP gives a sender of doors B and C its certificates; the key may be
// nil. Certificates of a register with a folder, or of the same Options.Key,
// stay good over a restart.
func (s *Server) IssueSOAP(sender, station string, key *rsa.PrivateKey) (sim.SOAPIdentity, error) {
	a, err := s.soap()
	if err != nil {
		return sim.SOAPIdentity{}, err
	}
	return a.Issue(sender, station, key)
}

// fault is a SOAP fault: the caller learns nothing.
func (x *exchange) fault(status int, code, detail string) {
	x.done(status, "Fault")
	x.s.diagnose(Refusal{Operation: x.op, Client: x.call.Client, Status: status, Wire: "Fault", Code: code, Detail: detail})
	x.w.Header().Set("Content-Type", "text/xml; charset=UTF-8")
	x.w.WriteHeader(status)
	text := "Internal Error"
	if x.s.broken(MutantSOAPTalkative) {
		text = code
	}
	_, _ = io.WriteString(x.w, `<soapenv:Envelope xmlns:soapenv="`+nsSOAP+`"><soapenv:Body><soapenv:Fault>`+
		`<faultcode>soapenv:Server</faultcode><faultstring>`+text+`</faultstring>`+
		`</soapenv:Fault></soapenv:Body></soapenv:Envelope>`)
}

// answerCIE decides under one lock, so that an operation id is decided once.
func (s *Server) answerCIE(x *exchange, req cieRequest, errs []anomaly) (out []byte, outcome string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := req.Header
	s.seq++
	op := fmt.Sprint(s.seq)
	x.call.ANPROp = op
	if !digitsShape.MatchString(h.ID) || h.Sender == "" {
		if len(errs) == 0 {
			errs = []anomaly{{Code: "EN489", Kind: "E", Text: "La richiesta non risulta valida secondo lo schema", Field: "idOperazioneComune"}}
		}
		return writeReply(req, op, reply{errs: errs})
	}
	if earlier, ok := s.replies[h.Sender+" "+h.ID]; ok {
		if earlier.Operation == req.operation && !s.broken(MutantSOAPNoReplay) {
			return earlier.Body, "replayed", nil
		}
		if earlier.Operation != req.operation {
			return writeReply(req, op, reply{errs: []anomaly{{Code: "EN079", Kind: "E", Text: "id operazione comune già presente per un servizio diverso"}}})
		}
	} else if !higher(h.ID, s.lastOp[h.Sender]) && !s.broken(MutantSOAPLowerID) {
		// The code of the real register is not known (specs/anpr-pdnd-modi.md §4.2 gives the rule only).
		return writeReply(req, op, reply{errs: []anomaly{{Code: "EN080", Kind: "E", Text: "id operazione inferiore all'ultimo inviato", Field: "idOperazioneComune", Value: h.ID}}})
	}
	var a reply
	if len(errs) == 0 {
		if req.door.name == doorC.name {
			a = s.decideConsular(x, req, op)
		} else {
			a = s.decideCIE(x, req, op)
		}
	} else {
		a = reply{errs: errs}
	}
	out, outcome, err = writeReply(req, op, a)
	if err != nil {
		return nil, "", err
	}
	r := soapReply{Sender: h.Sender, ID: h.ID, Operation: req.operation, Body: out}
	err = s.append(entry{Kind: "cie", Card: a.event, Align: a.aligned, Reply: &r})
	if err != nil {
		return nil, "", err
	}
	if a.event != nil {
		s.applyCard(*a.event)
	}
	if a.aligned != nil {
		s.aligning[a.aligned.ID] = *a.aligned
	}
	s.keepReply(r)
	return out, outcome, nil
}

func (s *Server) keepReply(r soapReply) {
	s.replies[r.Sender+" "+r.ID] = r
	if higher(r.ID, s.lastOp[r.Sender]) {
		s.lastOp[r.Sender] = r.ID
	}
}

// applyCard writes a card event into the register. Call with the lock held.
func (s *Server) applyCard(e CardEvent) {
	s.cards = append(s.cards, e)
	r := s.nth(e.CF, 0)
	if r == nil {
		return
	}
	// An annulment of an older card leaves the present one alone.
	if e.Operation == "CIE8" || r.person.Card != nil && r.person.Card.Number == e.Card.Number {
		c := e.Card
		r.person.Card = &c
	}
}

// reply is what an operation answers: errors, or its block.
type reply struct {
	errs    []anomaly
	event   *CardEvent
	people  []sim.Person
	parents map[string][]sim.Person // of the minors among people, by their tax code
	issuers map[string]string       // name of an office by its code

	// Door C.
	warnings []anomaly // beside a good answer
	aligned  *alignment
	isAIRE   string
	source   string
}

var (
	senderShape   = regexp.MustCompile(`^[0-9A-Za-z]{6,7}$`) // six by the schema; consular codes have seven, an open wart
	numberShape   = regexp.MustCompile(`^[0-9A-Za-z ]{1,20}$`)
	postShape     = regexp.MustCompile(`^[0-9]{7}$`)
	istatShape    = regexp.MustCompile(`^[0-9]{6}$`)
	yesNo         = []string{"S", "N", "SI", "NO"}
	operationKind = []string{"C", "V", "R"}
)

// checkHeader applies the rules of the header and of the requester; nil when
// they are kept.
func checkHeader(req cieRequest, subject string) *reply {
	no := func(code, text, field, value string) *reply {
		r := refuses(req, code, text, field, value)
		return &r
	}
	schema := func(field, value string) *reply {
		return no("EN489", "La richiesta non risulta valida secondo lo schema", field, value)
	}
	h := req.Header
	_, err := time.Parse(time.RFC3339, h.Time)
	switch {
	case err != nil:
		return schema("dataOraRichiesta", h.Time)
	case h.Operation != req.operation:
		return schema("operazioneRichiesta", h.Operation)
	case !slices.Contains(operationKind, h.Kind):
		return schema("tipoOperazione", h.Kind)
	case h.Environment != "TEST":
		return no("EN489", "Tipo invio non compatibile con l'ambiente", "tipoInvio", h.Environment)
	case !strings.HasPrefix(h.Recipient, "ANPR0"):
		return schema("codDestinatario", h.Recipient)
	case req.operation == "C010": // has no requester
	case !senderShape.MatchString(req.Requester.Sender):
		return schema("datiRichiedente.codMittente", req.Requester.Sender)
	case req.Requester.Station == "" || len(req.Requester.Station) > 20:
		return schema("idPostazione", req.Requester.Station)
	case req.Requester.User == "" || len(req.Requester.User) > 16:
		return schema("idUtente", req.Requester.User)
	}
	// C002 may follow an earlier request, whose subject is known.
	if subject == "" && req.Wanted.Record == "" && (req.operation != "C002" || req.Follow == "") {
		return schema("codiceFiscale", "")
	}
	return nil
}

func refuses(req cieRequest, code, text, field, value string) reply {
	return reply{errs: []anomaly{{Code: code, Kind: "E", Text: text, Object: req.operation, Field: field, Value: value}}}
}

func (s *Server) found(req cieRequest, subject string) []*record {
	var found []*record
	for _, r := range s.people {
		if subject != "" && r.person.CF == subject || subject == "" && recordID(r.person) == req.Wanted.Record {
			found = append(found, r)
		}
	}
	return found
}

// decideCIE applies the rules of §4.2. Call with the lock held.
func (s *Server) decideCIE(x *exchange, req cieRequest, op string) reply {
	no := func(code, text, field, value string) reply { return refuses(req, code, text, field, value) }
	schema := func(field, value string) reply {
		return no("EN489", "La richiesta non risulta valida secondo lo schema", field, value)
	}
	if wrong := checkHeader(req, x.subject); wrong != nil {
		return *wrong
	}
	found := s.found(req, x.subject)
	if req.operation == "CIE2" {
		return s.decideCIE2(x, req, found, no)
	}
	switch {
	case len(found) == 0:
		return no("EN130", "Nessun soggetto trovato", "codiceFiscale", x.subject)
	case len(found) > 1:
		return no("EN131", "Più soggetti trovati", "codiceFiscale", x.subject)
	}
	p := found[0].person
	switch p.Status {
	case sim.StatusDeceased:
		if req.operation == "CIE8" {
			return no("EN397", "Il soggetto risulta deceduto", "codiceFiscale", x.subject)
		}
	case sim.StatusCancelled:
		return no("EN047", "Il soggetto risulta cancellato", "codiceFiscale", x.subject)
	}
	if req.Card == nil {
		return schema("cartaIdentita", "")
	}
	c := *req.Card
	today := romeDay(s.clock.Now())
	if !numberShape.MatchString(c.Number) {
		return schema("numero", c.Number)
	}
	if c.Comune != nil && c.Post != nil {
		return no("EHR41", "Comune e consolato di rilascio devono essere valorizzati in alternativa", "comuneRilascio", "")
	}
	event := &CardEvent{Time: s.clock.Now(), Operation: req.operation, Sender: req.Header.Sender, ClientOp: req.Header.ID, ANPROp: op, CF: p.CF}
	if req.operation == "CIE7" {
		known := s.cardOf(p, c.Number)
		switch {
		case known == nil || known.Status == "annulled":
			return no("EN329", "Per il soggetto non risultano carte di identità non annullate", "numero", c.Number)
		case !isDay(req.Annulled):
			return schema("dataAnnullamento", req.Annulled)
		case req.Annulled < known.Issued:
			return no("EN330", "La data deve essere successiva alla data di emissione della carta", "dataAnnullamento", req.Annulled)
		case req.Annulled > today:
			return no("ES089", "Data di annullamento maggiore della data richiesta", "dataAnnullamento", req.Annulled)
		}
		event.Card = *known
		event.Card.Status, event.Card.AnnulledOn = "annulled", req.Annulled
		return reply{event: event, people: []sim.Person{p}, issuers: s.offices()}
	}
	switch {
	case req.Wanted.Surname == "" && req.Wanted.NoSurname != "S":
		return schema("cognome", "")
	case req.Wanted.Name == "" && req.Wanted.NoName != "S":
		return schema("nome", "")
	case !sameName(req.Wanted.Surname, p.Surname):
		return no("EN069", "Incongruenza dati anagrafici: il cognome non coincide", "cognome", req.Wanted.Surname)
	case !sameName(req.Wanted.Name, p.Name):
		return no("EN068", "Incongruenza dati anagrafici: il nome non coincide", "nome", req.Wanted.Name)
	case c.Kind != "1":
		return no("EC059", "Valore tipo carta di identità non ammesso", "cartaceaElettronica", c.Kind)
	case !slices.Contains(yesNo, strings.ToUpper(c.NoTravel)):
		return schema("interdizioneEspatrio", c.NoTravel)
	case c.Comune == nil && c.Post == nil:
		return no("EHR41", "Comune e consolato di rilascio devono essere valorizzati in alternativa", "comuneRilascio", "")
	case c.Comune != nil && (!istatShape.MatchString(c.Comune.ISTAT) || c.Comune.Name == ""):
		return no("EC078", "Comune di rilascio carta identità inesistente", "comuneRilascio", c.Comune.ISTAT)
	case c.Post != nil && !postShape.MatchString(c.Post.Code):
		return no("EC099", "Codice consolato di rilascio inesistente", "consolatoRilascio", c.Post.Code)
	case c.Post != nil && !s.seatAgrees(*c.Post):
		return no("EC100", "Codice consolato di rilascio incongruente con la descrizione", "consolatoRilascio", c.Post.Seat)
	case !isDay(c.Issued):
		return schema("dataRilascio", c.Issued)
	case c.Issued > today:
		return no("ES089", "Data rilascio carta di identità maggiore della data richiesta", "dataRilascio", c.Issued)
	case c.Expires != "" && (!isDay(c.Expires) || c.Expires < c.Issued):
		return schema("dataScadenza", c.Expires)
	}
	event.Card = sim.Card{
		Number: c.Number, Kind: "E", Issued: c.Issued, Expires: c.Expires, Status: "valid",
		NoExpatriate: strings.HasPrefix(strings.ToUpper(c.NoTravel), "S"),
	}
	if c.Comune != nil {
		event.Card.IssuerComune = c.Comune.ISTAT
	} else {
		event.Card.IssuerPost = c.Post.Code
	}
	return reply{event: event, people: []sim.Person{p}, issuers: s.offices()}
}

// decideCIE2 answers the query before issuing.
func (s *Server) decideCIE2(x *exchange, req cieRequest, found []*record, no func(code, text, field, value string) reply) reply {
	if req.Control == nil || !istatShape.MatchString(req.Control.Comune.ISTAT) {
		return no("EN489", "La richiesta non risulta valida secondo lo schema", "comuneResidenza", "")
	}
	if len(found) == 0 || x.fires(FaultAIREMissing) || x.fires(FaultNotFound) {
		return no("EN130", "Nessun soggetto trovato", "codiceFiscale", x.subject)
	}
	saysAIRE := strings.HasPrefix(strings.ToUpper(req.Control.AIRE), "S")
	var people []sim.Person
	for _, r := range found {
		p := r.person.Clone()
		home := p.Address.ComuneISTAT
		if p.AIRE != nil && p.Status != sim.StatusResident {
			home = p.AIRE.ComuneISTAT
			switch {
			case !saysAIRE:
				return no("EN047", "Il soggetto risulta iscritto in AIRE", "soggettoAIRE", req.Control.AIRE)
			case req.Requester.Sender != home && len(req.Requester.Sender) == 6 && romeDay(s.clock.Now()) < EN210Until:
				return no("EN210", "Comune richiedente non competente sul codice fiscale", "codMittente", req.Requester.Sender)
			}
		}
		if req.Control.Comune.ISTAT != home {
			// The comune that is right comes back in the error.
			return no("EN074", "Il codice ISTAT del comune competente per il soggetto non coincide con quello specificato", "comuneResidenza", home)
		}
		if x.fires(FaultPaperCard) {
			p.Card = &sim.Card{Number: "AX9999999", Kind: "P", Issued: "2019-05-06", Expires: "2029-05-06", Status: "valid"}
		}
		people = append(people, p)
	}
	return reply{people: people, parents: s.parentsOf(x, people), issuers: s.offices()}
}

// parentsOf finds the parents of minors; for anybody of age they are not given.
func (s *Server) parentsOf(x *exchange, people []sim.Person) map[string][]sim.Person {
	out := map[string][]sim.Person{}
	adultBefore := romeDay(s.clock.Now().AddDate(-18, 0, 0))
	for _, p := range people {
		if p.Birth.Date <= adultBefore {
			continue
		}
		for _, cf := range p.Parents {
			r := s.nth(cf, 0)
			if r == nil {
				continue
			}
			parent := r.person.Clone()
			if x.fires(FaultParentNull) {
				parent.Surname = ""
			}
			out[p.CF] = append(out[p.CF], parent)
		}
	}
	return out
}

// offices names the offices the population knows, by code.
func (s *Server) offices() map[string]string {
	names := map[string]string{}
	for _, o := range sim.Operators() {
		names[o.OfficeCode], names[o.OfficeISTAT] = o.OfficeName, o.OfficeName
	}
	for _, people := range s.original {
		for _, p := range people {
			if p.Post != nil {
				names[p.Post.Code] = p.Post.Seat
			}
			if p.AIRE != nil {
				names[p.AIRE.ComuneISTAT] = p.AIRE.ComuneName
			}
		}
	}
	return names
}

// cardOf finds a card of the person: the present one, or one told before.
func (s *Server) cardOf(p sim.Person, number string) *sim.Card {
	for i := len(s.cards) - 1; i >= 0; i-- {
		if s.cards[i].CF == p.CF && s.cards[i].Card.Number == number {
			c := s.cards[i].Card
			return &c
		}
	}
	if p.Card != nil && p.Card.Number == number {
		return p.Card
	}
	for _, o := range s.original[p.CF] {
		if o.Card != nil && o.Card.Number == number {
			c := *o.Card
			return &c
		}
	}
	return nil
}

// seatAgrees compares a post's seat with the seats the population knows; a
// code nobody has is taken as it comes, for want of the official table.
func (s *Server) seatAgrees(c consulate) bool {
	if c.Seat == "" || len(c.Seat) > 80 {
		return false
	}
	for _, people := range s.original {
		for _, p := range people {
			if p.Post != nil && p.Post.Code == c.Code {
				return p.Post.Seat == c.Seat
			}
		}
	}
	return true
}

// sameName compares names as the register does between programs: case and
// accents do not count.
func sameName(a, b string) bool {
	fold := func(s string) string {
		s = plain(strings.ToUpper(s))
		return strings.Map(func(r rune) rune {
			if r == '\'' || r == ' ' || r == '-' {
				return -1
			}
			return r
		}, s)
	}
	return fold(a) == fold(b)
}

func isDay(s string) bool { _, err := time.Parse(time.DateOnly, s); return err == nil }

// romeDay is the date in Italy. Without a time zone table UTC+1 does: the
// switch of the law is then an hour late in summer, which the caller is told
// by nothing; Go programs that care embed time/tzdata.
func romeDay(t time.Time) string {
	loc, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		loc = time.FixedZone("CET", 3600)
	}
	return t.In(loc).Format(time.DateOnly)
}
