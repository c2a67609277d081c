package anprsim

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"airegw/testharness/sim"
)

// consular asks door C as a post does, and gives the answer's element.
func (w *world) consular(operation, id, inner string) (code, text string) {
	w.t.Helper()
	body := fmt.Sprintf(`<k:Richiesta%[1]s xmlns:k="http://sogei.it/ANPR/CONSOLATIServizi"><testataRichiesta><idOperazioneComune>%[2]s</idOperazioneComune>`+
		`<codMittente>260010</codMittente><codDestinatario>ANPR00</codDestinatario><operazioneRichiesta>%[1]s</operazioneRichiesta>`+
		`<dataOraRichiesta>2026-11-21T12:00:00Z</dataOraRichiesta><tipoOperazione>C</tipoOperazione><tipoInvio>TEST</tipoInvio></testataRichiesta>%[3]s</k:Richiesta%[1]s>`, operation, id, inner)
	me := w.sender("260010")
	signed, err := me.Sign(sim.SOAPOrder{Body: body, Operator: "op-7", Now: w.sim.wire.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
	res, answer := w.send(w.id.ConsularPath, string(signed))
	if res.StatusCode != 200 {
		return fmt.Sprint(res.StatusCode), string(answer)
	}
	checked, err := me.CheckAnswer(answer, w.sim.wire.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	var env struct {
		Outcome struct {
			Answers []struct {
				XMLName xml.Name
				rawAnswer
			} `xml:",any"`
		} `xml:",any"`
	}
	if err := xml.Unmarshal(checked.Body, &env); err != nil || len(env.Outcome.Answers) != 1 {
		w.t.Fatalf("%v in %s", err, checked.Body)
	}
	a := env.Outcome.Answers[0]
	if a.XMLName.Space != nsCons {
		w.t.Errorf("%s: %s is not in the namespace of the service", operation, a.XMLName.Local)
	}
	code = "OK"
	if a.Header.Outcome != "0000" {
		code = a.Errors.List[0].Code
	}
	return code, string(checked.Body)
}

const asker = `<datiRichiedente><codMittente>260010</codMittente><idPostazione>PDL-1</idPostazione><idUtente>op-7</idUtente></datiRichiedente>`

func asked(cf, comune string) string {
	return asker + `<generalita><codiceFiscale><codFiscale>` + cf + `</codFiscale></codiceFiscale></generalita><comuneIscrizioneAIRE><codiceIstat>` + comune + `</codiceIstat></comuneIscrizioneAIRE>`
}

func TestAPostAsksDoorC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, resident := person(t, "ok"), ""
	for _, q := range sim.People() {
		if q.Status == sim.StatusResident {
			resident = q.CF
		}
	}
	for i, tc := range []struct{ operation, inner, code, holds string }{
		{"C001", asked(p.CF, p.AIRE.ComuneISTAT), "OK", "<cognome>" + p.Surname + "</cognome>"},
		{"C001", asked(p.CF, "058091"), "EN074", "<valoreErroreAnomalia>" + p.AIRE.ComuneISTAT},
		{"C001", asked(resident, "058091"), "EN164", ""},
		{"C001", asked("RSSMRA80A01H501U", "058091"), "EN130", ""},
		{"C001", asker + `<generalita><codiceFiscale><codFiscale>` + p.CF + `</codFiscale></codiceFiscale></generalita>`, "EN081", ""},
		{"C001", asked(p.CF, p.AIRE.ComuneISTAT) + `<consolato><codiceConsolato>` + p.Post.Code + `</codiceConsolato><descrizioneConsolato>ALTROVE</descrizioneConsolato></consolato>`, "EC034", ""},
		{"C001", asked(p.CF, p.AIRE.ComuneISTAT) + `<altro/>`, "EN489", ""},
		{"C010", `<generalita><codiceFiscale><codFiscale>` + p.CF + `</codFiscale></codiceFiscale></generalita>`, "OK", "<isAire>true</isAire>"},
		{"C010", `<generalita><codiceFiscale><codFiscale>` + resident + `</codFiscale></codiceFiscale></generalita>`, "OK", "<isAire>false</isAire>"},
		{"C003", asked(p.CF, p.AIRE.ComuneISTAT), "EN403", ""},
		{"C009", asked(p.CF, p.AIRE.ComuneISTAT), "500", "Internal Error"},
	} {
		code, text := w.consular(tc.operation, fmt.Sprint(100+i), tc.inner)
		if code != tc.code || !strings.Contains(text, tc.holds) {
			t.Errorf("%d %s: %s %s", i, tc.operation, code, text)
		}
	}
}

func TestAnAlignmentStaysOpenUntilAClerkClosesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person(t, "ok")
	code, text := w.consular("C002", "10", asked(p.CF, p.AIRE.ComuneISTAT))
	if code != "OK" || !strings.Contains(text, "<statoRichiesta>0</statoRichiesta>") {
		t.Fatalf("%s %s", code, text)
	}
	if code, _ = w.consular("C002", "11", asked(p.CF, p.AIRE.ComuneISTAT)); code != "EN179" {
		t.Errorf("asked twice: %s", code)
	}
	id := regexp.MustCompile(`<idOperazioneANPR>(\d+)<`).FindStringSubmatch(text)[1]
	follow := asker + "<idRichiestaANPR>" + id + "</idRichiestaANPR>"
	if code, text = w.consular("C002", "12", follow); code != "OK" || !strings.Contains(text, "<statoRichiesta>0<") {
		t.Errorf("followed: %s %s", code, text)
	}
	if err := w.sim.CloseAlignment(id); err != nil {
		t.Fatal(err)
	}
	if code, text = w.consular("C002", "13", follow); code != "OK" || !strings.Contains(text, "<statoRichiesta>1<") {
		t.Errorf("closed: %s %s", code, text)
	}
	if list := w.sim.Alignments(); len(list) != 1 || !list[0].Closed || list[0].CF != p.CF {
		t.Errorf("%+v", list)
	}
	if code, _ = w.consular("C002", "14", asker+"<idRichiestaANPR>1</idRichiestaANPR>"); code != "EN133" {
		t.Errorf("a request nobody made: %s", code)
	}
}

// Every way of signing wrongly is the same opaque fault; the true cause is in
// the diagnosis.
func TestTheSecurityOfASOAPMessageIsStrictAndOpaque(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person(t, "ok")
	inner := insideBody.FindStringSubmatch(soap("CIE2", "7", who(p)+controlXML(p.AIRE.ComuneISTAT, "S")))[1]
	stranger, err := sim.NewSOAPAuthority(testKeys()[2])
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := stranger.Issue("CIEONL", "PDL-1", testKeys()[2])
	if err != nil {
		t.Fatal(err)
	}
	good := sim.SOAPOrder{Body: inner, Operator: "X", Now: testNow}
	var first []byte
	for _, tc := range []struct {
		code   string
		by     sim.SOAPIdentity
		order  func(*sim.SOAPOrder)
		change func(string) string
	}{
		{code: "wss_missing", change: func(s string) string {
			return regexp.MustCompile(`(?s)<soapenv:Header>.*</soapenv:Header>`).ReplaceAllString(s, "")
		}},
		{code: "wss_digest", change: func(s string) string { return strings.Replace(s, p.Surname, "ALTRI", 1) }},
		{code: "wss_signature", change: func(s string) string {
			return regexp.MustCompile(`<ds:SignatureValue>....`).ReplaceAllString(s, "<ds:SignatureValue>AAAA")
		}},
		{code: "wss_assertion_signature", change: func(s string) string { return strings.Replace(s, ">X</saml2:NameID>", ">Y</saml2:NameID>", 1) }},
		{code: "wss_certificate", by: foreign},
		{code: "wss_sender", by: w.sender("OTHER1")},
		{code: "wss_reference", order: func(o *sim.SOAPOrder) { o.Unsigned = "body" }},
		{code: "wss_reference", order: func(o *sim.SOAPOrder) { o.Unsigned = "timestamp" }},
		{code: "wss_time", order: func(o *sim.SOAPOrder) { o.Now, o.AssertionAt = testNow.Add(-10*time.Minute), testNow }},
		{code: "wss_time", order: func(o *sim.SOAPOrder) { o.Now, o.AssertionAt = testNow.Add(time.Minute), testNow }},
		{code: "wss_assertion_time", order: func(o *sim.SOAPOrder) { o.AssertionAt = testNow.Add(-6 * time.Minute) }},
		{code: "wss_assertion", order: func(o *sim.SOAPOrder) { o.Operator = "" }},
		{code: "wss_assertion", order: func(o *sim.SOAPOrder) { o.Confirmation = "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches" }},
		{code: "wss_station", order: func(o *sim.SOAPOrder) { o.SignedID = "PDL-2" }},
		{code: "wss_station", order: func(o *sim.SOAPOrder) { o.NoStation = true }},
		{code: "wss_document_type", change: func(s string) string { return "<!DOCTYPE x>" + s }},
		{code: "wss_id", change: func(s string) string { return strings.Replace(s, "<generalita>", `<generalita Id="x"><a Id="x"/>`, 1) }},
	} {
		o, by := good, tc.by
		if tc.order != nil {
			tc.order(&o)
		}
		if by.Sender == "" {
			by = w.sender("CIEONL")
		}
		text, err := by.Sign(o)
		if err != nil {
			t.Fatal(err)
		}
		if tc.change != nil {
			changed := tc.change(string(text))
			if changed == string(text) {
				t.Errorf("%s: nothing was changed", tc.code)
			}
			text = []byte(changed)
		}
		res, answer := w.send(w.id.CIEPath, string(text))
		if first == nil {
			first = answer
		}
		if res.StatusCode != 500 || !bytes.Equal(answer, first) {
			t.Errorf("%s: %d, or not the same fault as the others", tc.code, res.StatusCode)
		}
		if cause := w.sim.Refusals()[0]; cause.Code != tc.code {
			t.Errorf("the true cause is %s (%s), want %s", cause.Code, cause.Detail, tc.code)
		}
	}
	// The old suite is still spoken.
	good.SHA1 = true
	text, err := w.sender("CIEONL").Sign(good)
	if err != nil {
		t.Fatal(err)
	}
	if res, answer := w.send(w.id.CIEPath, string(text)); res.StatusCode != 200 {
		t.Errorf("Basic128Rsa15: %d %s", res.StatusCode, answer)
	}
}
