package sad

import (
	"errors"
	"testing"
)

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte(`<rispostaAPR versione="provvisoria-1" id="x"><esito>trovato</esito><soggetto><cognome>A</cognome><validitaEspatrio>S</validitaEspatrio></soggetto></rispostaAPR>`))
	f.Add([]byte(`<rispostaAPR versione="provvisoria-1" id="x"><esito>assente</esito></rispostaAPR>`))
	f.Add([]byte(`<!DOCTYPE x><rispostaAPR/>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := readAnswer(text, "x", Constants{"S", "N"})
		var e *Error
		switch {
		case err != nil && (!errors.As(err, &e) || a != (Answer{})):
			t.Errorf("%v %+v", err, a)
		case err == nil && !a.Found && a != (Answer{}):
			t.Errorf("absent, and yet %+v", a)
		case err == nil && len([]rune(a.Surname)) > 80:
			t.Errorf("a surname without bound")
		}
	})
}
