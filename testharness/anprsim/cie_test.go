package anprsim

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/testharness/sim"
)

// cieAnswer is what a client reads of an answer of door B.
type cieAnswer struct {
	Header xmlHeader
	Errors xmlErrors
	raw    []byte
	Card   card
	People []xmlSubject
}

type rawAnswer struct {
	Header   xmlHeader   `xml:"testataRisposta"`
	Errors   xmlErrors   `xml:"listaErrori"`
	Issued   *card       `xml:"cartaIdentitaEmessa"`
	Annulled *card       `xml:"cartaIdentitaAnnullata"`
	Subjects xmlSubjects `xml:"listaSoggetti"`
}

// post signs the element inside an envelope, for the sender of the tests.
func (w *world) post(envelope string) (*http.Response, []byte) {
	w.t.Helper()
	text := envelope
	if inner := insideBody.FindStringSubmatch(envelope); inner != nil {
		out, err := w.sender("CIEONL").Sign(sim.SOAPOrder{Body: inner[1], Operator: "MTASLV80A55H501J", Now: w.sim.wire.Now()})
		if err == nil {
			text = string(out)
		}
	}
	return w.send(w.id.CIEPath, text)
}

var insideBody = regexp.MustCompile(`(?s)<soapenv:Body>(.*)</soapenv:Body>`)

func (w *world) sender(name string) sim.SOAPIdentity {
	w.t.Helper()
	id, err := w.sim.IssueSOAP(name, "PDL-1", testKeys()[1])
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// send posts a finished message.
func (w *world) send(path, text string) (*http.Response, []byte) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.http.URL+path, strings.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/xml; charset=UTF-8")
	req.Header.Set("SOAPAction", `""`)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, read(w.t, res)
}

func (w *world) cie(operation, id, inner string) cieAnswer {
	w.t.Helper()
	res, body := w.post(soap(operation, id, inner))
	if res.StatusCode != 200 {
		w.t.Fatalf("%s: %d %s", operation, res.StatusCode, body)
	}
	var env struct {
		Body struct {
			Outcome struct {
				Answers []struct {
					XMLName xml.Name
					rawAnswer
				} `xml:",any"`
			} `xml:",any"`
		} `xml:"Body"`
	}
	if err := xml.Unmarshal(body, &env); err != nil || len(env.Body.Outcome.Answers) != 1 {
		w.t.Fatalf("%s: %v in %s", operation, err, body)
	}
	a := env.Body.Outcome.Answers[0]
	if a.XMLName.Space != nsCIE {
		w.t.Errorf("%s: answer %s is not in the namespace of the service", operation, a.XMLName.Local)
	}
	if _, err := w.sender("CIEONL").CheckAnswer(body, w.sim.wire.Now()); err != nil {
		w.t.Errorf("%s: the answer's signature: %v", operation, err)
	}
	// What is repeated is the content; the signature is always fresh.
	content := body[bytes.Index(body, []byte("<cie:")):]
	out := cieAnswer{Header: a.Header, Errors: a.Errors, raw: content, People: a.Subjects.List}
	for _, c := range []*card{a.Issued, a.Annulled} {
		if c != nil {
			out.Card = *c
		}
	}
	if ko := a.XMLName.Local == "rispostaKO"; ko != (a.Header.Outcome == "XXXX") || ko == (len(a.Errors.List) == 0) {
		w.t.Errorf("%s: %s", operation, body)
	}
	return out
}

func (a cieAnswer) code() string {
	if len(a.Errors.List) == 0 {
		return "OK"
	}
	return a.Errors.List[0].Code
}

func soap(operation, id, inner string) string {
	return fmt.Sprintf(`<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>
<c:Richiesta%[1]s xmlns:c="http://sogei.it/ANPR/CIE0Servizi"><testataRichiesta><idOperazioneComune>%[2]s</idOperazioneComune>
<codMittente>CIEONL</codMittente><codDestinatario>ANPR00</codDestinatario><operazioneRichiesta>%[1]s</operazioneRichiesta>
<dataOraRichiesta>2026-11-21T12:00:00Z</dataOraRichiesta><tipoOperazione>C</tipoOperazione><tipoInvio>TEST</tipoInvio></testataRichiesta>
<datiRichiedente><codMittente>058091</codMittente><idPostazione>PDL-H501-01</idPostazione><idUtente>MTASLV80A55H501J</idUtente></datiRichiedente>
%[3]s</c:Richiesta%[1]s></soapenv:Body></soapenv:Envelope>`, operation, id, inner)
}

func who(p sim.Person) string {
	name := "<nome>" + p.Name + "</nome>"
	if p.Name == "" {
		name = "<senzaNome>S</senzaNome>"
	}
	return "<generalita><codiceFiscale><codFiscale>" + p.CF + "</codFiscale></codiceFiscale><cognome>" + p.Surname + "</cognome>" + name + "</generalita>"
}

const atRome = `<comuneRilascio><nomeComune>ROMA</nomeComune><codiceIstat>058091</codiceIstat><siglaProvinciaIstat>RM</siglaProvinciaIstat></comuneRilascio>`

func cardXML(number, issued, kind, office, expires string) string {
	return "<cartaIdentita><numero>" + number + "</numero><dataRilascio>" + issued + "</dataRilascio><cartaceaElettronica>" + kind +
		"</cartaceaElettronica><interdizioneEspatrio>N</interdizioneEspatrio>" + office + "<dataScadenza>" + expires + "</dataScadenza></cartaIdentita>"
}

func TestACardIsIssuedAndAnnulledInTheRegister(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person(t, "ok")
	a := w.cie("CIE8", "10", who(p)+cardXML("CA00001AA", "2026-11-21", "1", atRome, "2037-04-17"))
	if a.code() != "OK" || a.Header.Outcome != "0000" || a.Card.Number != "CA00001AA" || a.Card.Comune.Name != "ROMA" || a.Header.Recipient != "CIEONL" {
		t.Fatalf("CIE8: %s", a.raw)
	}
	q := w.cie("CIE2", "11", "<generalita><codiceFiscale><codFiscale>"+p.CF+"</codFiscale></codiceFiscale></generalita>"+controlXML("001272", "S"))
	if q.code() != "OK" || len(q.People) != 1 || q.People[0].Card.Number != "CA00001AA" || q.People[0].Residence.Foreign.Post.Code != "2600103" || q.People[0].Source != "1" {
		t.Fatalf("CIE2: %s", q.raw)
	}
	a = w.cie("CIE7", "12", who(p)+cardXML("CA00001AA", "2026-11-21", "1", atRome, "2037-04-17")+"<dataAnnullamento>2026-11-21</dataAnnullamento>")
	if a.code() != "OK" || a.Card.Annulled != "2026-11-21" {
		t.Fatalf("CIE7: %s", a.raw)
	}
	if c := w.sim.byCF(p.CF)[0].Card; c.Status != "annulled" || c.IssuerComune != "058091" {
		t.Errorf("card %+v", c)
	}
	cards := w.sim.Cards()
	if len(cards) != 2 || cards[0].Operation != "CIE8" || cards[1].Operation != "CIE7" || cards[0].ClientOp != "10" {
		t.Errorf("ledger %+v", cards)
	}
}

func controlXML(istat, aire string) string {
	return "<datiControllo><comuneResidenza><nomeComune>X</nomeComune><codiceIstat>" + istat + "</codiceIstat><siglaProvinciaIstat>XX</siglaProvinciaIstat></comuneResidenza><soggettoAIRE>" + aire + "</soggettoAIRE></datiControllo>"
}

func TestCardsAreRefusedByRule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person(t, "ok")
	post := func(code, seat string) string {
		return "<consolatoRilascio><codiceConsolato>" + code + "</codiceConsolato><descrizioneConsolato>" + seat + "</descrizioneConsolato></consolatoRilascio>"
	}
	good := cardXML("CA1", "2026-11-21", "1", atRome, "2036-11-21")
	stranger := p
	stranger.CF, stranger.Surname = "AAAAAA00A00A000A", "X"
	renamed := p
	renamed.Surname = "ALTRA"
	paper, noName := person(t, "paper-card"), person(t, "no-first-name")
	for i, c := range []struct{ name, operation, inner, want string }{
		{"both offices", "CIE8", who(p) + cardXML("CA1", "2026-11-21", "1", atRome+post("2600103", "BUENOS AIRES"), "2036-11-21"), "EHR41"},
		{"no office", "CIE8", who(p) + cardXML("CA1", "2026-11-21", "1", "", "2036-11-21"), "EHR41"},
		{"post code", "CIE8", who(p) + cardXML("CA1", "2026-11-21", "1", post("26", "BUENOS AIRES"), "2036-11-21"), "EC099"},
		{"post seat is the rank", "CIE8", who(p) + cardXML("CA1", "2026-11-21", "1", post("2600103", "CONSOLATO GENERALE"), "2036-11-21"), "EC100"},
		{"issued tomorrow", "CIE8", who(p) + cardXML("CA1", "2026-11-22", "1", atRome, "2036-11-21"), "ES089"},
		{"expires before", "CIE8", who(p) + cardXML("CA1", "2026-11-21", "1", atRome, "2026-11-20"), "EN489"},
		{"long number", "CIE8", who(p) + cardXML("CA1234567890123456789", "2026-11-21", "1", atRome, "2036-11-21"), "EN489"},
		{"paper", "CIE8", who(p) + cardXML("CA1", "2026-11-21", "2", atRome, "2036-11-21"), "EC059"},
		{"unknown subject", "CIE8", who(stranger) + good, "EN130"},
		{"two subjects", "CIE8", who(person(t, "duplicate")) + good, "EN131"},
		{"dead", "CIE8", who(person(t, "deceased")) + good, "EN397"},
		{"cancelled", "CIE8", who(person(t, "aire-cancelled-5")) + good, "EN047"},
		{"another surname", "CIE8", who(renamed) + good, "EN069"},
		{"unexpected element", "CIE8", who(p) + good + "<extra/>", "EN489"},
		{"element twice", "CIE8", who(p) + good + good, "EN489"},
		{"no first name is fine", "CIE8", who(noName) + good, "OK"},
		{"annul a card nobody has", "CIE7", who(p) + good + "<dataAnnullamento>2026-11-21</dataAnnullamento>", "EN329"},
		{"annul before issue", "CIE7", who(paper) + cardXML(paper.Card.Number, paper.Card.Issued, "2", atRome, paper.Card.Expires) + "<dataAnnullamento>2018-01-01</dataAnnullamento>", "EN330"},
		{"annul paper", "CIE7", who(paper) + cardXML(paper.Card.Number, paper.Card.Issued, "2", atRome, paper.Card.Expires) + "<dataAnnullamento>2026-11-20</dataAnnullamento>", "OK"},
		{"annul again", "CIE7", who(paper) + cardXML(paper.Card.Number, paper.Card.Issued, "2", atRome, paper.Card.Expires) + "<dataAnnullamento>2026-11-20</dataAnnullamento>", "EN329"},
	} {
		if a := w.cie(c.operation, fmt.Sprint(100+i), c.inner); a.code() != c.want {
			t.Errorf("%s: %s, want %s", c.name, a.code(), c.want)
		}
	}
	if n := len(w.sim.Cards()); n != 2 {
		t.Errorf("%d cards recorded, want the two accepted", n)
	}
}

func TestARepeatedOperationIDAnswersTheOldBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, other := person(t, "ok"), person(t, "theft")
	first := w.cie("CIE8", "50", who(p)+cardXML("CA1", "2026-11-21", "1", atRome, "2036-11-21"))
	again := w.cie("CIE8", "50", who(other)+cardXML("CA2", "2026-11-21", "1", atRome, "2036-11-21"))
	if !bytes.Equal(first.raw, again.raw) || len(w.sim.Cards()) != 1 {
		t.Errorf("second answer %s", again.raw)
	}
	if a := w.cie("CIE7", "50", who(p)); a.code() != "EN079" {
		t.Errorf("same id, other operation: %s", a.code())
	}
	if a := w.cie("CIE8", "49", who(other)+cardXML("CA2", "2026-11-21", "1", atRome, "2036-11-21")); a.code() != "EN080" {
		t.Errorf("lower id: %s", a.code())
	}
	if a := w.cie("CIE8", "x", who(p)); a.code() != "EN489" {
		t.Errorf("id of letters: %s", a.code())
	}
}

func TestACuriousComuneGetsEN210UntilJune2026(t *testing.T) {
	t.Parallel()
	ask := func(w *world, p sim.Person, id, istat, aire string) cieAnswer {
		return w.cie("CIE2", id, "<generalita><codiceFiscale><codFiscale>"+p.CF+"</codFiscale></codiceFiscale></generalita>"+controlXML(istat, aire))
	}
	p := person(t, "ok") // AIRE of Torino; the one who asks is Roma
	// One second before midnight in Rome, which is two hours ahead of UTC.
	before := newWorld(t, func(o *Options) {
		o.Clock = sim.NewManual(time.Date(2026, 5, 31, 21, 59, 59, 0, time.UTC))
	})
	if a := ask(before, p, "1", "001272", "S"); a.code() != "EN210" {
		t.Errorf("before: %s", a.code())
	}
	after := newWorld(t, func(o *Options) {
		o.Clock = sim.NewManual(time.Date(2026, 5, 31, 22, 0, 0, 0, time.UTC))
	})
	if a := ask(after, p, "1", "001272", "S"); a.code() != "OK" {
		t.Errorf("after: %s", a.code())
	}
	if a := ask(after, p, "2", "058091", "S"); a.code() != "EN074" || a.Errors.List[0].Value != "001272" {
		t.Errorf("the comune of registration must be named, and comes back: %s", a.raw)
	}
	if a := ask(after, p, "3", "001272", "N"); a.code() != "EN047" {
		t.Errorf("not said to be AIRE: %s", a.code())
	}
	child := person(t, "minor-two-parents")
	a := ask(after, child, "4", child.AIRE.ComuneISTAT, "SI")
	if a.code() != "OK" || a.People[0].Father == nil || a.People[0].Mother == nil || a.People[0].Mother.Surname != "CATTANEO" {
		t.Errorf("parents of a minor: %s", a.raw)
	}
	if err := after.sim.faults.Set(sim.Rule{Name: FaultParentNull, Probability: 1}); err != nil {
		t.Fatal(err)
	}
	if a := ask(after, child, "5", child.AIRE.ComuneISTAT, "SI"); a.People[0].Mother.Surname != "" {
		t.Errorf("parent-null: %s", a.raw)
	}
}

func TestBrokenSOAPIsAFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signed, err := w.sender("CIEONL").Sign(sim.SOAPOrder{Body: insideBody.FindStringSubmatch(soap("CIE8", "1", who(person(t, "ok"))))[1], Operator: "X", Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	good := string(signed)
	for name, body := range map[string]string{
		"empty": "", "not XML": "{}", "cut": good[:len(good)-20], "trailing": good + "<x/>", "DTD": `<!DOCTYPE x [<!ENTITY e "x">]>` + good,
		"other operation": strings.ReplaceAll(good, "CIE8", "CIE9"), "SOAP 1.2": strings.Replace(good, nsSOAP, "http://www.w3.org/2003/05/soap-envelope", 1),
		"not UTF-8": strings.Replace(good, "LUCIA", "LUCI\xc0", 1),
	} {
		if res, answer := w.send(w.id.CIEPath, body); res.StatusCode != 500 || !bytes.Contains(answer, []byte("Fault")) {
			t.Errorf("%s: %d %s", name, res.StatusCode, answer)
		}
	}
	if res, _ := w.post(soap("CIE9", "1", "")); res.StatusCode != 500 {
		t.Errorf("another operation: %d", res.StatusCode)
	}
	qualified := strings.NewReplacer("<generalita>", "<c:generalita>", "</generalita>", "</c:generalita>").Replace(soap("CIE8", "1", who(person(t, "ok"))))
	if res, answer := w.post(qualified); res.StatusCode != 200 || !bytes.Contains(answer, []byte("EN489")) {
		t.Errorf("qualified children: %d %s", res.StatusCode, answer)
	}
}

func TestALostCIE8IsNotRecordedAndCanBeResent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.sim.faults.Inject(FaultCIE8Drop, 1); err != nil {
		t.Fatal(err)
	}
	inner := who(person(t, "ok")) + cardXML("CA1", "2026-11-21", "1", atRome, "2036-11-21")
	signed, err := w.sender("CIEONL").Sign(sim.SOAPOrder{Body: insideBody.FindStringSubmatch(soap("CIE8", "7", inner))[1], Operator: "X", Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(w.http.URL+w.id.CIEPath, "text/xml", bytes.NewReader(signed))
	if err == nil {
		t.Errorf("an answer came: %d", res.StatusCode)
		_ = res.Body.Close()
	}
	if len(w.sim.Cards()) != 0 {
		t.Error("a dropped CIE8 was recorded")
	}
	if a := w.cie("CIE8", "7", inner); a.code() != "OK" || len(w.sim.Cards()) != 1 {
		t.Errorf("resent: %s", a.raw)
	}
}

func TestWithAFolderTheRegisterRemembers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := func(o *Options) { o.Dir, o.Key = dir, nil }
	p, moved := person(t, "ok"), person(t, "post-mismatch")
	first := newWorld(t, folder)
	old := first.cie("CIE8", "50", who(p)+cardXML("CA1", "2026-11-21", "1", atRome, "2036-11-21"))
	err := first.sim.Change(moved.CF, 0, func(p *sim.Person) error {
		p.Post = &sim.Post{Code: "2330100", Seat: "DUBLINO"}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	gone := sim.People()[len(sim.People())-1].CF
	err = first.sim.Change(gone, 0, func(p *sim.Person) error { p.Note = "changed"; return nil })
	if err != nil {
		t.Fatal(err)
	}
	a := ask{code: "C030", criteria: byCF(p.CF)}
	a.evidence = first.trackingEvidence(a)
	a.voucher = first.newVoucher(a, a.evidence)
	if err := first.sim.Close(); err != nil {
		t.Fatal(err)
	}
	first.sim.journal = nil // closed; the world's own Close has nothing left to do

	second := newWorld(t, folder, func(o *Options) {
		// The population of the next version need not hold everybody.
		o.Clients, o.People = nil, sim.People()[:len(sim.People())-1]
	})
	second.op = 1000
	second.good(a) // the voucher, the client and the keys have survived
	if again := second.cie("CIE8", "50", ""); !bytes.Equal(again.raw, old.raw) {
		t.Errorf("replay after restart: %s", again.raw)
	}
	if c := second.sim.byCF(p.CF)[0].Card; c == nil || c.Number != "CA1" || len(second.sim.Cards()) != 1 {
		t.Errorf("card %+v", c)
	}
	if got := second.sim.byCF(moved.CF)[0].Post.Seat; got != "DUBLINO" {
		t.Errorf("post %s", got)
	}
	if err := second.sim.Reset(moved.CF); err != nil {
		t.Fatal(err)
	}
	if got := second.sim.byCF(moved.CF)[0].Post.Seat; got != "LONDRA" {
		t.Errorf("post after reset %s", got)
	}
}

func TestTheReadmeNamesOnlyWhatThereIs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	faults := regexp.MustCompile(`"name":"([^"]+)"`).FindAllSubmatch(text, -1)
	for _, m := range faults {
		if !w.sim.faults.Has(string(m[1])) {
			t.Errorf("fault %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`[A-Z]{6}[0-9]{2}[A-Z][0-9]{2}[A-Z][0-9]{3}[A-Z]`).FindAll(text, -1) {
		_, citizen := sim.PersonByCF(string(m))
		operator := slices.ContainsFunc(sim.Operators(), func(o sim.Operator) bool { return o.CF == string(m) })
		published := slices.ContainsFunc(OfficialSubjects(), func(p sim.Person) bool { return p.CF == string(m) })
		if !citizen && !operator && !published {
			t.Errorf("nobody has the tax code %s", m)
		}
	}
	for code, name := range serviceNames {
		if !bytes.Contains(text, []byte(name)) {
			t.Errorf("service %s is not there", code)
		}
	}
	// The sample of CIE8 is accepted as it stands.
	sample := text[bytes.Index(text, []byte("```xml\n"))+7:]
	sample = sample[:bytes.Index(sample, []byte("```"))]
	if res, body := w.post(strings.Replace(string(sample), "2026-11-21</dataRilascio>", "2026-11-20</dataRilascio>", 1)); res.StatusCode != 200 || !bytes.Contains(body, []byte("<esitoOperazione>0000<")) {
		t.Errorf("the sample: %d %s", res.StatusCode, body)
	}
	if len(faults) < 3 {
		t.Error("the examples are gone")
	}
}

func TestTheManagementSurface(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person(t, "post-mismatch")
	do := func(method, path, body string, want int) map[string]any {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, w.mgmt.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text := read(t, res)
		if res.StatusCode != want {
			t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, text)
		}
		var out map[string]any
		if len(text) > 0 {
			if err := json.Unmarshal(text, &out); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	// The post corrects the record while the world runs.
	do("POST", "/people/"+p.CF, `{"post":{"code":"2330100","seat":"DUBLINO"}}`, 200)
	r := w.good(ask{code: "C020", criteria: byCF(p.CF)}).Subjects.List[0].Residence[0].Foreign
	if r.Post.Seat != "DUBLINO" || r.Address.Street.Name != p.Address.Street {
		t.Errorf("after the correction %+v", r)
	}
	do("POST", "/faults", `{"name":"mae-lag","match":"`+p.CF+`","count":1}`, 200)
	if r := w.good(ask{code: "C020", criteria: byCF(p.CF)}).Subjects.List[0].Residence[0].Foreign; r.Post.Seat != "LONDRA" {
		t.Errorf("mae-lag shows the record before its change, got %+v", r.Post)
	}
	do("POST", "/people/"+p.CF, `{"status":"deceased","died_on":"2026-11-01"}`, 200)
	if i := w.good(ask{code: "C019", criteria: byCF(p.CF)}).Subjects.List[0].Info; i[0].Value != "N" {
		t.Errorf("after the death %+v", i)
	}
	do("DELETE", "/people/"+p.CF, "", 200)
	do("POST", "/people/"+p.CF, `{"nonsense":1}`, 400)
	do("POST", "/people/"+p.CF, `{"status":"vanished"}`, 400)
	do("POST", "/people/"+p.CF, `{"cf":"AAAAAA00A00A000A"}`, 400)
	do("POST", "/people/"+p.CF, `{} {}`, 400)
	do("POST", "/people/"+p.CF+"?index=1", `{}`, 404)
	do("GET", "/people/NOBODY", "", 404)
	do("POST", "/quota", `{"C030":7}`, 200)
	do("POST", "/quota", `{"C999":7}`, 400)
	if q := do("GET", "/quota", "", 200)["quota"].(map[string]any)["C030"].(map[string]any)["limit"]; q != 7.0 {
		t.Errorf("limit %v", q)
	}
	w.call(ask{code: "C020", criteria: byCF(p.CF), audit: map[string]any{"userID": nil}})
	refusal := do("GET", "/refusals", "", 200)["refusals"].([]any)[0].(map[string]any)
	if refusal["code"] != "audit_userid" || refusal["wire"] != "InteroperabilityInvalidRequest" {
		t.Errorf("refusal %v", refusal)
	}
	if calls := do("GET", "/calls?service=C020&limit=1", "", 200)["calls"].([]any); len(calls) != 1 || calls[0].(map[string]any)["status"] != 400.0 {
		t.Errorf("calls %v", calls)
	}
	if aud := do("GET", "/identity", "", 200)["audiences"].(map[string]any)["C020"].(string); strings.Contains(aud, "-PDND") {
		t.Errorf("audience %s", aud)
	}
	do("GET", "/cards", "", 200)
	do("GET", "/clock", "", 200)
	// A client may be added while the world runs, never with a private member.
	private := `"d":"AQAB",`
	jwk := func(extra string) string {
		k := testKeys()[2].PublicKey
		text, err := json.Marshal(map[string]string{"kty": "RSA", "e": "AQAB", "n": b64(k.N.Bytes())})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Replace(string(text), "{", "{"+extra, 1)
	}
	client := func(extra, purpose string) string {
		return `{"client_id":"aaaaaaaa-0000-4000-8000-000000000001","jwks":{"keys":[` + jwk(extra) + `]},"purposes":{"C030":"` + purpose + `"}}`
	}
	const free = "aaaaaaaa-0000-4000-8000-000000000002"
	do("POST", "/clients", client("", free), 201)
	do("POST", "/clients", client(private, free), 400)
	do("POST", "/clients", client("", testPurpose("C030")), 400)
	do("POST", "/clients", client("", "x"), 400)
	do("POST", "/clients", strings.Replace(client("", free), `"C030"`, `"C999"`, 1), 400)
	do("POST", "/clients", client(`"kid":"mine",`, free), 400)
}
