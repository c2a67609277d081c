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
