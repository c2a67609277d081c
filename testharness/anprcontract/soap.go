package anprcontract

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/beevik/etree"

	"airegw/testharness/sim"
)

// Doors B and C, the SOAP services: §4.1 for the security, §4.2 for the
// registry side of issuing (CIE2, CIE7, CIE8), §4.2bis for the consular service.

const (
	doorB = "B"
	doorC = "C"
)

var soapNamespaces = map[string]string{doorB: "http://sogei.it/ANPR/CIE0Servizi", doorC: "http://sogei.it/ANPR/CONSOLATIServizi"}

// soapCall is one message; what is not given is right.
type soapCall struct {
	door, operation, inner string
	id                     string // of the operation; empty draws the next
	sender                 string // codMittente
	by                     *sim.SOAPIdentity
	order                  func(*sim.SOAPOrder)
	change                 func(string) string // of the finished text
}

// soapAnswer is what came back.
type soapAnswer struct {
	status  int
	body    []byte
	signed  error           // why the answer's signature is not accepted
	element *etree.Element  // the answer, RispostaXXX or rispostaKO
	outcome *etree.Document // the whole content
}

func (a soapAnswer) text(path string) string {
	if a.element == nil {
		return ""
	}
	if e := a.element.FindElement(path); e != nil {
		return strings.TrimSpace(e.Text())
	}
	return ""
}

// codes are those of listaErrori of a kind; empty for both.
func (a soapAnswer) codes(kind string) []string {
	var out []string
	if a.element == nil {
		return nil
	}
	for _, e := range a.element.FindElements("./listaErrori/errore") {
		k, c := e.SelectElement("tipoErroreAnomalia"), e.SelectElement("codiceErroreAnomalia")
		if c != nil && (kind == "" || k != nil && k.Text() == kind) {
			out = append(out, c.Text())
		}
	}
	return out
}

// String tells an answer without the data of anybody.
func (a soapAnswer) String() string {
	text := fmt.Sprintf("HTTP %d", a.status)
	switch {
	case a.element != nil:
		text += " " + a.element.Tag + " " + a.text("./testataRisposta/esitoOperazione") + " " + strings.Join(a.codes(""), " ")
	case bytes.Contains(a.body, []byte("Fault")):
		text += " with a SOAP fault"
	case len(a.body) == 0:
		text += " without a body"
	default:
		text += " with a body that is no answer of the service"
	}
	return strings.TrimSpace(text)
}

func unlikely(want string, a soapAnswer) error { return fmt.Errorf("want %s, got %s", want, a) }

// identity is what the session signs with; a simulator issues it once.
func (s *session) identity() (sim.SOAPIdentity, error) {
	if s.target.SOAP.SiteKey != "" {
		return s.target.SOAP, nil
	}
	a, err := s.manage(http.MethodPost, "/soap", map[string]string{"sender": "CONTR1", "station": "KIT-1"})
	if err != nil {
		return sim.SOAPIdentity{}, err
	}
	err = sim.ReadJSON(bytes.NewReader(a.body), maxAnswer, &s.target.SOAP)
	return s.target.SOAP, err
}

func (s *session) nextSOAP() string {
	s.seq++
	return s.opt.Now().UTC().Format("20060102150405") + fmt.Sprintf("%09d%04d", s.opt.Now().Nanosecond(), s.seq%10000)
}

// soap sends one message.
func (s *session) soap(c soapCall) (soapAnswer, error) {
	me, err := s.identity()
	if err != nil {
		return soapAnswer{}, err
	}
	if c.by == nil {
		c.by = &me
	}
	if c.id == "" {
		c.id = s.nextSOAP()
	}
	if c.sender == "" {
		c.sender = me.Sender
	}
	now := s.opt.Now()
	body := `<c:Richiesta` + c.operation + ` xmlns:c="` + soapNamespaces[c.door] + `"><testataRichiesta><idOperazioneComune>` + c.id + `</idOperazioneComune><codMittente>` + c.sender +
		`</codMittente><codDestinatario>ANPR00</codDestinatario><operazioneRichiesta>` + c.operation + `</operazioneRichiesta><dataOraRichiesta>` + now.UTC().Format(time.RFC3339) +
		`</dataOraRichiesta><tipoOperazione>C</tipoOperazione><tipoInvio>` + s.environment() + `</tipoInvio></testataRichiesta>` +
		strings.ReplaceAll(c.inner, asker, `<datiRichiedente><codMittente>`+me.Sender+`</codMittente><idPostazione>`+me.Station+`</idPostazione><idUtente>KIT</idUtente></datiRichiedente>`) +
		`</c:Richiesta` + c.operation + `>`
	order := sim.SOAPOrder{Body: body, Operator: "contract-kit", Now: now}
	if c.order != nil {
		c.order(&order)
	}
	signed, err := c.by.Sign(order)
	if err != nil {
		return soapAnswer{}, err
	}
	text := string(signed)
	if c.change != nil {
		if text = c.change(text); text == string(signed) {
			return soapAnswer{}, errors.New("the scenario changed nothing of the message")
		}
	}
	address := s.target.CIEURL
	if c.door == doorC {
		address = s.target.ConsularURL
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, address, strings.NewReader(text))
	if err != nil {
		return soapAnswer{}, err
	}
	req.Header.Set("Content-Type", "text/xml; charset=UTF-8")
	req.Header.Set("SOAPAction", `""`)
	a, err := s.do(req)
	if err != nil {
		return soapAnswer{}, err
	}
	return readSOAPAnswer(a, me, c.door, s.opt.Now()), nil
}

func (s *session) environment() string {
	if s.target.Environment != "" {
		return s.target.Environment
	}
	return "TEST"
}

func readSOAPAnswer(a answer, me sim.SOAPIdentity, door string, now time.Time) soapAnswer {
	out := soapAnswer{status: a.status, body: a.body}
	var m sim.SOAPMessage
	m, out.signed = me.CheckAnswer(a.body, now)
	text := m.Body
	if out.signed != nil || len(text) == 0 {
		text = a.body
	}
	doc := etree.NewDocument()
	doc.ReadSettings.MaxDepth = 50
	if doc.ReadFromBytes(text) != nil || doc.Root() == nil {
		return out
	}
	body := doc.Root()
	if body.Tag == "Envelope" {
		body = body.SelectElement("Body")
	}
	if body == nil || len(body.ChildElements()) != 1 {
		return out
	}
	outcome := body.ChildElements()[0]
	if outcome.NamespaceURI() != soapNamespaces[door] || !strings.HasPrefix(outcome.Tag, "RispostaEsito") || len(outcome.ChildElements()) != 1 {
		return out
	}
	out.element, out.outcome = outcome.ChildElements()[0], doc
	return out
}

// asker stands for datiRichiedente in a request.
const asker = "{asker}"

func escapedText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}

func byCode(cf string) string {
	return "<generalita><codiceFiscale><codFiscale>" + escapedText(cf) + "</codFiscale></codiceFiscale></generalita>"
}

func (s *session) cie2(role, comune, aire string) soapCall {
	return soapCall{door: doorB, operation: "CIE2", inner: byCode(s.target.Subjects[role].CF) + asker +
		"<datiControllo><comuneResidenza><codiceIstat>" + escapedText(comune) + "</codiceIstat></comuneResidenza><soggettoAIRE>" + aire + "</soggettoAIRE></datiControllo>"}
}

func (s *session) aire() soapCall { return s.cie2("aire", s.target.Subjects["aire"].Comune, "S") }

func (s *session) consular(operation, role, comune string) soapCall {
	inner := asker + byCode(s.target.Subjects[role].CF)
	if operation == "C010" {
		inner = byCode(s.target.Subjects[role].CF)
	} else if comune != "" {
		inner += "<comuneIscrizioneAIRE><codiceIstat>" + escapedText(comune) + "</codiceIstat></comuneIscrizioneAIRE>"
	}
	return soapCall{door: doorC, operation: operation, inner: inner}
}

// Checks of an answer.

func soapOK(a soapAnswer) error {
	if a.status != http.StatusOK || a.element == nil || a.text("./testataRisposta/esitoOperazione") != "0000" || len(a.codes("E")) > 0 {
		return unlikely("an answer with esitoOperazione 0000", a)
	}
	return nil
}

func soapRefused(code string) func(soapAnswer) error {
	return func(a soapAnswer) error {
		if a.status != http.StatusOK || a.element == nil || a.element.Tag != "rispostaKO" || a.text("./testataRisposta/esitoOperazione") != "XXXX" || !hasText(a.codes("E"), code) {
			return unlikely("rispostaKO with "+code, a)
		}
		return nil
	}
}

func hasText(list []string, want string) bool {
	for _, s := range list {
		if s == want {
			return true
		}
	}
	return false
}

// soapFault is the generic KO: nothing is told of the cause.
func soapFault(a soapAnswer) error {
	if a.status < 500 || a.element != nil || !bytes.Contains(a.body, []byte("Fault")) {
		return unlikely("a SOAP fault", a)
	}
	return nil
}

func soapHolds(path, want string) func(soapAnswer) error {
	return func(a soapAnswer) error {
		if err := soapOK(a); err != nil {
			return err
		}
		if got := a.text(path); got == "" || want != "" && got != want {
			return unlikely("an answer with "+path+" as it should be", a)
		}
		return nil
	}
}

// soapScenario is one call and a look at its answer.
func soapScenario(id, clause, sentence, door string, roles []string, call func(*session) soapCall, want func(*session, soapAnswer) error) Scenario {
	return Scenario{ID: id, Clause: clause, Sentence: sentence, Door: door, Roles: roles, run: func(s *session) error {
		a, err := s.soap(call(s))
		if err != nil {
			return err
		}
		return want(s, a)
	}}
}

func plainly(check func(soapAnswer) error) func(*session, soapAnswer) error {
	return func(_ *session, a soapAnswer) error { return check(a) }
}

// badSOAP is a message that must get the generic fault.
func badSOAP(id, sentence string, edit func(*soapCall)) Scenario {
	return soapScenario(id, "§4.1", sentence, doorB, []string{"aire"}, func(s *session) soapCall {
		c := s.aire()
		edit(&c)
		return c
	}, plainly(soapFault))
}

func ordered(change func(*sim.SOAPOrder)) func(*soapCall) {
	return func(c *soapCall) { c.order = change }
}

func rewritten(change func(string) string) func(*soapCall) {
	return func(c *soapCall) { c.change = change }
}

// between replaces what stands from one mark up to another.
func between(text, from, to, by string) string {
	i := strings.Index(text, from)
	if i < 0 {
		return text
	}
	j := strings.Index(text[i:], to)
	if j < 0 {
		return text
	}
	return text[:i] + by + text[i+j:]
}

// wrapped moves the signed Body into the header and puts another in its place.
func wrapped(text string) string {
	i, j := strings.Index(text, "<soapenv:Body"), strings.Index(text, "</soapenv:Body>")
	if i < 0 || j < 0 {
		return text
	}
	signed := text[i : j+len("</soapenv:Body>")]
	inner := signed[strings.Index(signed, ">")+1 : len(signed)-len("</soapenv:Body>")]
	text = text[:i] + "<soapenv:Body>" + inner + "</soapenv:Body>" + text[j+len("</soapenv:Body>"):]
	return strings.Replace(text, "</soapenv:Header>", "<hidden>"+signed+"</hidden></soapenv:Header>", 1)
}

func securityScenarios() []Scenario {
	return []Scenario{
		soapScenario("soap-ok", "§4.1", "A message with a signed Timestamp and Body, an assertion and a signed station id is answered.", doorB, []string{"aire"}, (*session).aire, plainly(soapOK)),
		soapScenario("soap-answer-signed", "§4.1", "The answer is signed by the register's certificate.", doorB, []string{"aire"}, (*session).aire, func(_ *session, a soapAnswer) error {
			if a.signed != nil {
				return fmt.Errorf("the answer's signature: %w", a.signed)
			}
			return soapOK(a)
		}),
		soapScenario("soap-old-suite", "§4.1", "The suite Basic128Rsa15 (RSA-SHA1) is spoken.", doorB, []string{"aire"}, func(s *session) soapCall {
			c := s.aire()
			c.order = func(o *sim.SOAPOrder) { o.SHA1 = true }
			return c
		}, plainly(soapOK)),
		badSOAP("soap-unsigned", "A message without a Security header is refused.", rewritten(func(t string) string {
			return between(t, "<soapenv:Header>", "<soapenv:Body", "")
		})),
		badSOAP("soap-body-changed", "A Body that was changed after it was signed is refused.", rewritten(func(t string) string {
			return strings.Replace(t, "<soggettoAIRE>S</soggettoAIRE>", "<soggettoAIRE>SI</soggettoAIRE>", 1)
		})),
		badSOAP("soap-signature-changed", "A signature that does not verify is refused.", rewritten(func(t string) string {
			i := strings.LastIndex(t, "<ds:SignatureValue>") + len("<ds:SignatureValue>")
			return t[:i] + "AAAA" + t[i+4:]
		})),
		badSOAP("soap-wrapped", "A Body that is not the signed one is refused, though the signed one is in the message.", rewritten(wrapped)),
		badSOAP("soap-body-unsigned", "A signature that does not cover the Body is refused.", ordered(func(o *sim.SOAPOrder) { o.Unsigned = "body" })),
		badSOAP("soap-timestamp-unsigned", "A signature that does not cover the Timestamp is refused.", ordered(func(o *sim.SOAPOrder) { o.Unsigned = "timestamp" })),
		badSOAP("soap-old", "A message older than its Timestamp says is refused.", ordered(func(o *sim.SOAPOrder) { o.Now, o.AssertionAt = o.Now.Add(-10*time.Minute), o.Now })),
		badSOAP("soap-future", "A message of the future is refused.", ordered(func(o *sim.SOAPOrder) { o.Now, o.AssertionAt = o.Now.Add(2*time.Minute), o.Now })),
		badSOAP("soap-no-assertion", "A message without the operator's assertion is refused.", ordered(func(o *sim.SOAPOrder) { o.Operator = "" })),
		badSOAP("soap-assertion-changed", "An assertion that was changed after it was signed is refused.", rewritten(func(t string) string {
			return strings.Replace(t, ">contract-kit</saml2:NameID>", ">somebody-else</saml2:NameID>", 1)
		})),
		badSOAP("soap-assertion-old", "An assertion older than five minutes is refused.", ordered(func(o *sim.SOAPOrder) { o.AssertionAt = o.Now.Add(-6 * time.Minute) })),
		badSOAP("soap-assertion-confirmation", "A confirmation that is not bearer is refused.", ordered(func(o *sim.SOAPOrder) { o.Confirmation = "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches" })),
		badSOAP("soap-station-missing", "An assertion without IdPostazioneFirmato is refused.", ordered(func(o *sim.SOAPOrder) { o.NoStation = true })),
		badSOAP("soap-station-other", "An IdPostazioneFirmato over another station's id is refused.", ordered(func(o *sim.SOAPOrder) { o.SignedID = "SOMEBODY" })),
		badSOAP("soap-document-type", "A message with a document type is refused.", rewritten(func(t string) string { return "<!DOCTYPE x>" + t })),
		badSOAP("soap-not-xml", "What is not well formed gets the generic fault.", rewritten(func(t string) string { return t[:len(t)-20] })),
		badSOAP("soap-sender-other", "A codMittente that is not of the site certificate is refused.", func(c *soapCall) { c.sender = "OTHER1" }),
		{ID: "soap-stranger", Clause: "§4.1", Sentence: "A site certificate of another authority is refused.", Door: doorB, Roles: []string{"aire"}, run: func(s *session) error {
			foreign, err := s.foreign()
			if err != nil {
				return err
			}
			c := s.aire()
			c.by = &foreign
			a, err := s.soap(c)
			if err != nil {
				return err
			}
			return soapFault(a)
		}},
		{ID: "soap-opaque", Clause: "§4.1", Sentence: "Whatever is wrong with the security, the fault is the same.", Door: doorB, Roles: []string{"aire"}, run: func(s *session) error {
			var first []byte
			for _, change := range []func(*sim.SOAPOrder){
				func(o *sim.SOAPOrder) { o.Unsigned = "body" },
				func(o *sim.SOAPOrder) { o.NoStation = true },
				func(o *sim.SOAPOrder) { o.Now, o.AssertionAt = o.Now.Add(-10*time.Minute), o.Now },
			} {
				c := s.aire()
				c.order = change
				a, err := s.soap(c)
				if err == nil {
					err = soapFault(a)
				}
				if err != nil {
					return err
				}
				if first == nil {
					first = a.body
				}
				if !bytes.Equal(first, a.body) {
					return errors.New("two causes get two faults")
				}
			}
			return nil
		}},
	}
}

// foreign is this sender with a site certificate of somebody else's authority.
func (s *session) foreign() (sim.SOAPIdentity, error) {
	me, err := s.identity()
	if err != nil {
		return me, err
	}
	theirs, err := sim.NewSOAPAuthority(s.other)
	if err != nil {
		return me, err
	}
	issued, err := theirs.Issue(me.Sender, me.Station, s.other)
	if err != nil {
		return me, err
	}
	me.SitePEM, me.SiteKey = issued.SitePEM, issued.SiteKey
	return me, nil
}

func cieScenarios() []Scenario {
	aire := []string{"aire"}
	card := func(more, issued string) string {
		return "<cartaIdentita><numero>KT00000AA</numero><dataRilascio>" + issued + "</dataRilascio><cartaceaElettronica>1</cartaceaElettronica><interdizioneEspatrio>N</interdizioneEspatrio>" + more + "</cartaIdentita>"
	}
	const comune = "<comuneRilascio><nomeComune>ROMA</nomeComune><codiceIstat>058091</codiceIstat><siglaProvinciaIstat>RM</siglaProvinciaIstat></comuneRilascio>"
	const post = "<consolatoRilascio><codiceConsolato>2600103</codiceConsolato><descrizioneConsolato>BUENOS AIRES</descrizioneConsolato></consolatoRilascio>"
	cie8 := func(role, cardXML string) func(*session) soapCall {
		return func(s *session) soapCall {
			p := s.target.Subjects[role]
			named := strings.Replace(byCode(p.CF), "</generalita>", "<cognome>"+escapedText(p.Surname)+"</cognome><nome>"+escapedText(p.Name)+"</nome></generalita>", 1)
			return soapCall{door: doorB, operation: "CIE8", inner: asker + named + cardXML}
		}
	}
	return []Scenario{
		soapScenario("cie2-found", "§4.2", "CIE2 answers generalità, foreign residence with the post, and where it comes from.", doorB, aire, (*session).aire, func(s *session, a soapAnswer) error {
			return errors.Join(
				soapHolds("./listaSoggetti/datiSoggetto/generalita/codiceFiscale/codFiscale", s.target.Subjects["aire"].CF)(a),
				soapHolds("./listaSoggetti/datiSoggetto/residenza/localitaEstera/consolato/codiceConsolato", "")(a),
				soapHolds("./listaSoggetti/datiSoggetto/provenienzaInformazioni", "1")(a))
		}),
		soapScenario("cie2-echo", "§4.2", "The header echoes operation, sender and id, and adds idOperazioneANPR.", doorB, aire, func(s *session) soapCall {
			c := s.aire()
			c.id = s.nextSOAP()
			s.target.lastSOAP = c.id
			return c
		}, func(s *session, a soapAnswer) error {
			return errors.Join(
				soapHolds("./testataRisposta/idOperazioneComune", s.target.lastSOAP)(a), soapHolds("./testataRisposta/operazioneRichiesta", "CIE2")(a),
				soapHolds("./testataRisposta/codDestinatario", s.target.SOAP.Sender)(a), soapHolds("./testataRisposta/idOperazioneANPR", "")(a))
		}),
		soapScenario("cie2-no-comune", "§4.2", "The comune of residence or AIRE registration is mandatory.", doorB, aire, func(s *session) soapCall { return s.cie2("aire", "", "S") }, plainly(soapRefused("EN489"))),
		soapScenario("cie2-other-comune", "§4.2", "Another comune is refused, and the right one comes back in the error.", doorB, aire, func(s *session) soapCall { return s.cie2("aire", "999999", "S") }, func(s *session, a soapAnswer) error {
			if a.element == nil || a.element.Tag != "rispostaKO" || a.text("./listaErrori/errore/valoreErroreAnomalia") != s.target.Subjects["aire"].Comune {
				return unlikely("rispostaKO with the actual comune", a)
			}
			return nil
		}),
		soapScenario("cie2-aire-not-said", "§4.2", "An AIRE subject is refused when the request does not say AIRE.", doorB, aire, func(s *session) soapCall { return s.cie2("aire", s.target.Subjects["aire"].Comune, "N") }, plainly(soapRefused("EN047"))),
		soapScenario("cie2-absent", "§6", "Nobody found is EN130.", doorB, []string{"aire", "absent"}, func(s *session) soapCall { return s.cie2("absent", s.target.Subjects["aire"].Comune, "S") }, plainly(soapRefused("EN130"))),
		soapScenario("cie-schema", "§4.1", "A request that is not what the schema says is refused.", doorB, aire, func(s *session) soapCall {
			c := s.aire()
			c.inner += "<altro/>"
			return c
		}, plainly(soapRefused("EN489"))),
		soapScenario("cie8-both-offices", "§4.2", "CIE8 with both an issuing comune and a post is refused.", doorB, aire, cie8("aire", card(comune+post, "2026-06-10")), plainly(soapRefused("EHR41"))),
		soapScenario("cie8-no-office", "§4.2", "CIE8 without an issuing comune or post is refused.", doorB, aire, cie8("aire", card("", "2026-06-10")), plainly(soapRefused("EHR41"))),
		soapScenario("cie8-future", "§4.2", "CIE8 with a day of issue that has not come is refused.", doorB, aire, cie8("aire", card(comune, "2098-01-01")), plainly(soapRefused("ES089"))),
		soapScenario("cie8-deceased", "§4.2", "CIE8 for somebody who is dead is refused.", doorB, []string{"deceased"}, cie8("deceased", card(comune, "2026-06-10")), plainly(soapRefused("EN397"))),
		soapScenario("cie7-no-card", "§4.2", "CIE7 of a card that is not there is refused.", doorB, aire, func(s *session) soapCall {
			return soapCall{door: doorB, operation: "CIE7", inner: byCode(s.target.Subjects["aire"].CF) + card("", "2026-06-10") + "<dataAnnullamento>2026-06-11</dataAnnullamento>" + asker}
		}, plainly(soapRefused("EN329"))),
		{ID: "soap-replay", Clause: "§4.2", Sentence: "A repeated operation id gets the earlier answer, even to another question.", Door: doorB, Roles: []string{"aire", "absent"}, run: func(s *session) error {
			c := s.aire()
			c.id = s.nextSOAP()
			first, err := s.soap(c)
			if err == nil {
				err = soapOK(first)
			}
			if err != nil {
				return err
			}
			other := s.cie2("absent", s.target.Subjects["aire"].Comune, "S")
			other.id = c.id
			again, err := s.soap(other)
			if err == nil {
				err = soapOK(again)
			}
			if err == nil && again.text("./testataRisposta/idOperazioneANPR") != first.text("./testataRisposta/idOperazioneANPR") {
				err = errors.New("the repetition got another operation")
			}
			return err
		}},
		{ID: "soap-other-service", Clause: "§6", Sentence: "An operation id used for another service is EN079.", Door: doorB, Roles: aire, run: func(s *session) error {
			c := s.aire()
			c.id = s.nextSOAP()
			if _, err := s.soap(c); err != nil {
				return err
			}
			other := cie8("aire", card(comune+post, "2026-06-10"))(s)
			other.id = c.id
			a, err := s.soap(other)
			if err != nil {
				return err
			}
			return soapRefused("EN079")(a)
		}},
		{ID: "soap-lower-id", Clause: "§4.2", Sentence: "An operation id lower than the last, and unknown, is refused.", Door: doorB, Roles: aire, run: func(s *session) error {
			lower := s.nextSOAP()
			if _, err := s.soap(s.aire()); err != nil {
				return err
			}
			c := s.aire()
			c.id = lower
			a, err := s.soap(c)
			if err != nil {
				return err
			}
			if a.element == nil || a.element.Tag != "rispostaKO" || a.text("./listaErrori/errore/campoErroreAnomalia") != "idOperazioneComune" {
				return unlikely("rispostaKO about idOperazioneComune", a)
			}
			return nil
		}},
		{ID: "cie8-cie7", Clause: "§4.2", Sentence: "A card that CIE8 told is there, and CIE7 annuls it once.", Door: doorB, Roles: []string{"other"}, Management: true, run: func(s *session) error {
			day := s.opt.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
			a, err := s.soap(cie8("other", card(comune, day))(s))
			if err == nil {
				err = soapHolds("./cartaIdentitaEmessa/numero", "KT00000AA")(a)
			}
			if err != nil {
				return err
			}
			annul := soapCall{door: doorB, operation: "CIE7", inner: byCode(s.target.Subjects["other"].CF) + card("", day) + "<dataAnnullamento>" + day + "</dataAnnullamento>" + asker}
			if a, err = s.soap(annul); err == nil {
				err = soapHolds("./cartaIdentitaAnnullata/dataAnnullamento", day)(a)
			}
			if err != nil {
				return err
			}
			if a, err = s.soap(annul); err == nil {
				err = soapRefused("EN329")(a)
			}
			return err
		}},
	}
}

func consularScenarios() []Scenario {
	aire := []string{"aire"}
	found := func(s *session) soapCall { return s.consular("C001", "aire", s.target.Subjects["aire"].Comune) }
	return []Scenario{
		soapScenario("cons-c001", "§4.2bis", "C001 answers the whole record of an AIRE subject, with the post and where it comes from.", doorC, aire, found, func(s *session, a soapAnswer) error {
			return errors.Join(
				soapHolds("./listaSoggetti/datiSoggetto/generalita/codiceFiscale/codFiscale", s.target.Subjects["aire"].CF)(a),
				soapHolds("./listaSoggetti/datiSoggetto/residenza/localitaEstera/consolato/codiceConsolato", "")(a),
				soapHolds("./provenienzaInformazioni", "1")(a))
		}),
		soapScenario("cons-answer-signed", "§4.1", "Door C signs its answers too.", doorC, aire, found, func(_ *session, a soapAnswer) error {
			if a.signed != nil {
				return fmt.Errorf("the answer's signature: %w", a.signed)
			}
			return nil
		}),
		soapScenario("cons-unsigned", "§4.1", "Door C refuses a message without a Security header.", doorC, aire, func(s *session) soapCall {
			c := found(s)
			c.change = func(t string) string { return between(t, "<soapenv:Header>", "<soapenv:Body", "") }
			return c
		}, plainly(soapFault)),
		soapScenario("cons-c001-no-comune", "§4.2bis", "C001 needs the comune of AIRE registration.", doorC, aire, func(s *session) soapCall { return s.consular("C001", "aire", "") }, plainly(soapRefused("EN081"))),
		soapScenario("cons-c001-other-comune", "§4.2bis", "Another comune of AIRE registration is refused.", doorC, aire, func(s *session) soapCall { return s.consular("C001", "aire", "999999") }, plainly(soapRefused("EN074"))),
		soapScenario("cons-c001-resident", "§6", "Somebody who is not in AIRE is EN164.", doorC, []string{"aire", "resident"}, func(s *session) soapCall { return s.consular("C001", "resident", s.target.Subjects["aire"].Comune) }, plainly(soapRefused("EN164"))),
		soapScenario("cons-c001-absent", "§6", "Nobody found is EN130.", doorC, []string{"aire", "absent"}, func(s *session) soapCall { return s.consular("C001", "absent", s.target.Subjects["aire"].Comune) }, plainly(soapRefused("EN130"))),
		soapScenario("cons-c001-post-name", "§8 row 26", "A post whose description is not the register's is EC034.", doorC, aire, func(s *session) soapCall {
			c := found(s)
			c.inner += "<consolato><codiceConsolato>2600103</codiceConsolato><descrizioneConsolato>CONSOLATO GENERALE</descrizioneConsolato></consolato>"
			return c
		}, plainly(soapRefused("EC034"))),
		soapScenario("cons-c010-yes", "§4.2bis", "C010 says true for an AIRE subject.", doorC, aire, func(s *session) soapCall { return s.consular("C010", "aire", "") }, plainly(soapHolds("./isAire", "true"))),
		soapScenario("cons-c010-no", "§4.2bis", "C010 says false for a resident.", doorC, []string{"resident"}, func(s *session) soapCall { return s.consular("C010", "resident", "") }, plainly(soapHolds("./isAire", "false"))),
		soapScenario("cons-c003-valid", "§4.2bis", "C003 for a fiscal code that is validated already is refused by the Revenue Agency.", doorC, aire, func(s *session) soapCall { return s.consular("C003", "aire", s.target.Subjects["aire"].Comune) }, plainly(soapRefused("EN403"))),
		soapScenario("cons-c002-follow-nobody", "§4.2bis", "C002 that follows a request nobody made is refused.", doorC, nil, func(*session) soapCall {
			return soapCall{door: doorC, operation: "C002", inner: asker + "<idRichiestaANPR>1</idRichiestaANPR>"}
		}, plainly(soapRefused("EN133"))),
		soapScenario("cons-other-operation", "§4.2bis", "An operation the service has not is a fault.", doorC, aire, func(s *session) soapCall { return s.consular("C009", "aire", "") }, plainly(soapFault)),
		{ID: "cons-c002", Clause: "§4.2bis", Sentence: "C002 stays open until a clerk of the comune closes it; its id tells how it stands.", Door: doorC, Roles: []string{"aire", "other"}, Management: true, run: alignmentLife},
		{ID: "cons-c002-residence", Clause: "§4.2bis", Sentence: "The residence that a closed C002 asked for is what C001 answers.", Door: doorC, Roles: []string{"accented"}, Management: true, run: residenceLife},
		residenceRefused("cons-c002-no-locality", "A corrected residence without its locality is refused.", "EN081", "<descrizioneLocalita>ROSARIO</descrizioneLocalita>", ""),
		residenceRefused("cons-c002-no-consulate", "A corrected residence without its consulate is refused.", "EN081", "<consolato><codiceConsolato>2600103</codiceConsolato><descrizioneConsolato>BUENOS AIRES</descrizioneConsolato></consolato>", ""),
		residenceRefused("cons-c002-nowhere", "A corrected residence needs a street, a postcode, a province or whose door it is.", "EN081", "<toponimo><denominazione>CALLE NUEVA</denominazione><numeroCivico>7</numeroCivico></toponimo>", ""),
		residenceRefused("cons-c002-other-state", "A consulate that does not serve the state of the corrected residence is EC033.", "EC033", "<codiceStato>602</codiceStato>", "<codiceStato>241</codiceStato>"),
		residenceRefused("cons-c002-long", "A member of the corrected residence that is too long is refused.", "EN489", "<numeroCivico>7</numeroCivico>", "<numeroCivico>1234567890</numeroCivico>"),
		{ID: "cons-c002-twice", Clause: "§6", Sentence: "The same alignment request, still open, is EN179.", Door: doorC, Roles: []string{"aire"}, Management: true, run: func(s *session) error {
			if _, err := s.soap(s.consular("C002", "aire", s.target.Subjects["aire"].Comune)); err != nil {
				return err
			}
			a, err := s.soap(s.consular("C002", "aire", s.target.Subjects["aire"].Comune))
			if err != nil {
				return err
			}
			return soapRefused("EN179")(a)
		}},
		{ID: "cons-disagrees", Clause: "§6", Sentence: "EA044 to EA047 come as warnings inside listaErrori, beside good data.", Door: doorC, Roles: aire, Management: true, run: func(s *session) error {
			for _, code := range []string{"EA044", "EA045", "EA046", "EA047"} {
				err := errors.Join(s.quiet(), s.fault("consular-disagrees", "", code))
				if err != nil {
					return err
				}
				a, err := s.soap(found(s))
				if err == nil {
					err = soapHolds("./listaSoggetti/datiSoggetto/generalita/cognome", "")(a)
				}
				if err == nil && !hasText(a.codes("W"), code) {
					err = unlikely("data with "+code+" of kind W", a)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}},
	}
}

func alignmentLife(s *session) error {
	state := func(c soapCall, want string) (string, error) {
		a, err := s.soap(c)
		if err == nil {
			err = soapHolds("./statoRichiesta", want)(a)
		}
		return a.text("./testataRisposta/idOperazioneANPR"), err
	}
	id, err := state(s.consular("C002", "other", s.target.Subjects["other"].Comune), "0")
	if err != nil {
		return err
	}
	follow := soapCall{door: doorC, operation: "C002", inner: asker + "<idRichiestaANPR>" + escapedText(id) + "</idRichiestaANPR>"}
	if _, err = state(follow, "0"); err != nil {
		return err
	}
	if _, err = s.manage(http.MethodPost, "/alignments/"+id, nil); err != nil {
		return err
	}
	_, err = state(follow, "1")
	return err
}

// newResidence is a corrected residence as C002 carries it.
const newResidence = "<residenza><tipoIndirizzo>4</tipoIndirizzo><localitaEstera><indirizzoEstero>" +
	"<localita><descrizioneLocalita>ROSARIO</descrizioneLocalita><codiceStato>602</codiceStato></localita>" +
	"<toponimo><denominazione>CALLE NUEVA</denominazione><numeroCivico>7</numeroCivico></toponimo></indirizzoEstero>" +
	"<consolato><codiceConsolato>2600103</codiceConsolato><descrizioneConsolato>BUENOS AIRES</descrizioneConsolato></consolato>" +
	"</localitaEstera></residenza>"

// residenceRefused changes one part of the residence.
func residenceRefused(id, sentence, code, part, by string) Scenario {
	return soapScenario(id, "§4.4", sentence, doorC, []string{"aire"}, func(s *session) soapCall {
		c := s.consular("C002", "aire", s.target.Subjects["aire"].Comune)
		c.inner += strings.Replace(newResidence, part, by, 1)
		return c
	}, plainly(soapRefused(code)))
}

// residenceLife asks for another residence, has it done, and looks.
func residenceLife(s *session) error {
	const role = "accented"
	c := s.consular("C002", role, s.target.Subjects[role].Comune)
	c.inner += newResidence
	a, err := s.soap(c)
	if err == nil {
		err = errors.Join(soapHolds("./statoRichiesta", "0")(a), soapHolds("./residenza/localitaEstera/indirizzoEstero/toponimo/denominazione", "CALLE NUEVA")(a))
	}
	if err != nil {
		return err
	}
	if _, err = s.manage(http.MethodPost, "/alignments/"+a.text("./testataRisposta/idOperazioneANPR"), nil); err != nil {
		return err
	}
	a, err = s.soap(s.consular("C001", role, s.target.Subjects[role].Comune))
	if err != nil {
		return err
	}
	const abroad = "./listaSoggetti/datiSoggetto/residenza/localitaEstera/indirizzoEstero/"
	_, undo := s.manage(http.MethodDelete, "/people/"+s.target.Subjects[role].CF, nil)
	return errors.Join(soapHolds(abroad+"toponimo/denominazione", "CALLE NUEVA")(a), soapHolds(abroad+"localita/descrizioneLocalita", "ROSARIO")(a), undo)
}
