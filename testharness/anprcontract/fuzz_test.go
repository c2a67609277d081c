package anprcontract

import (
	"bytes"
	"encoding/json"
	"testing"
)

func FuzzReadClient(f *testing.F) {
	f.Add([]byte(`{"client_id":"x","kid":"y","purposes":{"C030":"z"},"private_jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}}`))
	f.Add([]byte(`{"client_id":"x","private_key":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ReadClient(bytes.NewReader(text))
		if err == nil && (c.ID == "" || c.Kid == "" || len(c.Purposes) == 0 || c.Key.IsPublic()) {
			t.Errorf("accepted %q", text)
		}
	})
}

func FuzzReadSubjects(f *testing.F) {
	f.Add([]byte(`{"aire":{"cf":"X","id_anpr":"AA00000AA"}}`))
	f.Add([]byte(`{"aire":{"nome":"X"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ReadSubjects(bytes.NewReader(text))
		if err == nil && s == nil && !bytes.Contains(text, []byte("null")) {
			t.Errorf("accepted %q", text)
		}
	})
}

// What a stranger's endpoint answers must never bring the kit down.
func FuzzReadingAnAnswer(f *testing.F) {
	f.Add(200, []byte(`{"listaSoggetti":{"datiSoggetto":[{"infoSoggettoEnte":[{"id":"1003"}]}]}}`))
	f.Add(404, []byte(`{"listaErrori":[{"codiceErroreAnomalia":"EN122","tipoErroreAnomalia":"E"}]}`))
	f.Add(200, []byte(`{"listaSoggetti":[1,null,{"datiSoggetto":{}}],"title":3}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := answer{status: status, body: body}
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.UseNumber()
		if dec.Decode(&a.object) != nil {
			a.object = nil
		}
		_ = a.String()
		if found(a) == nil && absent(a) == nil {
			t.Error("found and absent at once")
		}
		_, _, _ = compactParts(string(body))
		notString(a.object, "")
		_ = twoIDs(a)
		if found(a) == nil {
			life(a)
		}
	})
}
