package anpr

import (
	"encoding/json"
	"testing"
)

func FuzzReadAnswer(f *testing.F) {
	for _, s := range []string{
		`{"idOperazioneANPR":"1","listaSoggetti":{"datiSoggetto":[{"generalita":{"codiceFiscale":{"codFiscale":"X","validitaCF":1}},"identificativi":{"idANPR":"AB12345CD"}}]}}`,
		`{"listaErrori":[{"codiceErroreAnomalia":"EN122","tipoErroreAnomalia":"E"}]}`,
		`{"listaSoggetti":{"datiSoggetto":{"residenza":{"tipoIndirizzo":4,"localitaEstera":{"consolato":{"codiceConsolato":1}}},"datiDecesso":{"a":["2020-01-01"]}}}}`,
		`{"title":"InteroperabilityInvalidRequest"}`, "<html>", "", "\xef\xbb\xbf{}", "{\"a\":\"\x00\"}",
	} {
		f.Add(200, []byte(s))
		f.Add(404, []byte(s))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		r, err := readAnswer(C020, status, body)
		if err != nil {
			if err.Kind != KindTemporary && err.Kind != KindConfiguration {
				t.Fatalf("kind %q", err.Kind)
			}
			if r.subject != nil || r.absent {
				t.Fatal("an error that says something about the person")
			}
			return
		}
		if r.subject == nil && len(r.findings) == 0 {
			t.Fatal("neither subject, finding nor error")
		}
		rec := Record{Version: recordVersion, AsOf: "2026-11-21", Person: Person{FiscalCodeValidated: Unknown, AIRE: Unknown, Italian: Unknown, Alive: Unknown}}
		for _, fd := range r.findings {
			rec.add(fd)
		}
		if r.subject != nil {
			rec.merge(C020, *r.subject)
		}
		rec.judge(Query{FiscalCode: "RSSBNC64T70H501S"}, map[Service]bool{C020: true}, func(string, string) (bool, bool) { return true, true })
		data, jerr := json.Marshal(rec)
		if jerr != nil {
			t.Fatal(jerr)
		}
		if _, perr := ParseRecord(data); perr != nil {
			t.Fatal(perr)
		}
	})
}

func FuzzReadVoucher(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"x","token_type":"Bearer","expires_in":600}`))
	f.Add(400, []byte(`{}`))
	f.Add(200, []byte(`{"access_token":"x","token_type":"Bearer","expires_in":1e3}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		token, life, err := readVoucher(status, body)
		if (err == nil) != (token != "" && life > 0) {
			t.Fatalf("%q %v %v", token, life, err)
		}
	})
}

func FuzzReadSOAPAnswer(f *testing.F) {
	f.Add([]byte(`<s:Body xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><c:RispostaEsitoC001 xmlns:c="http://sogei.it/ANPR/CONSOLATIServizi"><c:RispostaC001><testataRisposta><esitoOperazione>0000</esitoOperazione></testataRisposta><listaSoggetti><datiSoggetto><generalita><cognome>X</cognome></generalita></datiSoggetto></listaSoggetti></c:RispostaC001></c:RispostaEsitoC001></s:Body>`))
	f.Add([]byte(`<s:Body xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><c:RispostaEsitoC001 xmlns:c="http://sogei.it/ANPR/CONSOLATIServizi"><c:rispostaKO><testataRisposta><esitoOperazione>XXXX</esitoOperazione></testataRisposta><listaErrori><errore><codiceErroreAnomalia>EN130</codiceErroreAnomalia></errore></listaErrori></c:rispostaKO></c:RispostaEsitoC001></s:Body>`))
	f.Add([]byte(`<a><b/><b>1</b></a>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, ok := readSOAP(text, ConsularC001)
		if !ok {
			return
		}
		r, err := a.reading()
		switch {
		case err != nil && (err.Kind == "" || err.Code == ""):
			t.Errorf("an error that says nothing: %+v", err)
		case err == nil && r.subject == nil && !r.absent && len(r.findings) == 0:
			t.Errorf("an answer that says nothing: %q", text)
		}
	})
}
