package anprsim

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func FuzzParseQuery(f *testing.F) {
	f.Add([]byte(`{"idOperazioneClient":"1","criteriRicerca":{"codiceFiscale":"X"},"datiRichiesta":{"dataRiferimentoRichiesta":"2026-11-21","motivoRichiesta":"x","casoUso":"C030"}}`))
	f.Add([]byte(`{"idOperazioneClient":1}`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`{"criteriRicerca":null,"idOperazioneClient":"1"}{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := parseQuery(body)
		if err == nil && (q.CriteriRicerca == nil || q.DatiRichiesta == nil || q.IDOperazioneClient == "" || !json.Valid(body)) {
			t.Errorf("accepted %q", body)
		}
	})
}

func FuzzParseCompact(f *testing.F) {
	f.Add(b64([]byte(`{"alg":"RS256"}`)) + "." + b64([]byte(`{"iat":1}`)) + ".AAAA")
	f.Add("..")
	f.Add("a.b.c")
	f.Add(b64([]byte(`null`)) + "." + b64([]byte(`{}`)) + ".AAAA")
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := parseCompact(raw)
		if err != nil {
			return
		}
		if c.header == nil || c.claims == nil || strings.Count(raw, ".") != 2 {
			t.Errorf("accepted %q", raw)
		}
		seconds(c.claims, "iat")
		hasAudience(c.claims, "x")
		if checkSignedHeaders(c.claims["signed_headers"], http.Header{}) == nil {
			t.Errorf("signed headers that were not sent accepted in %q", raw)
		}
	})
}

func FuzzParseSOAP(f *testing.F) {
	f.Add([]byte(bodyOf(soap("CIE8", "1", "<generalita/>"))))
	f.Add([]byte(bodyOf(soap("CIE2", "2", controlXML("058091", "S")))))
	f.Add([]byte(`<!DOCTYPE x><x/>`))
	f.Add([]byte(`<a xmlns="http://sogei.it/ANPR/CIE0Servizi"><b/></a>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parseSOAP(body, doorB)
		if err == nil && req.operation == "" {
			t.Errorf("accepted %q", body)
		}
	})
}

func FuzzParseTokenForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", []byte("grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=a.b.c"))
	f.Add("text/plain", []byte("%"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		form, ref := parseTokenForm(contentType, body)
		if ref != nil {
			return
		}
		if _, ref := checkAssertion(form, testNow, true, func(string) bool { return false }); ref == nil {
			t.Logf("an assertion that parses and claims enough: %q", form.assertion)
		}
	})
}

// bodyOf cuts the Body out of an envelope.
func bodyOf(envelope string) string {
	return `<soapenv:Body xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">` + insideBody.FindStringSubmatch(envelope)[1] + `</soapenv:Body>`
}
