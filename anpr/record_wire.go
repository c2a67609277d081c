package anpr

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The wire of door A (spec §1.4–§1.7), read tolerantly: every scalar may be a
// string, a number or a boolean; every list may come as a single object; the
// kind of answer is decided by the shape of the body, never by its
// Content-Type (spec §1.6: problem+json is promised, json is sent).

// wireText is a scalar as text, cleaned of control characters.
type wireText string

func (t *wireText) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		*t = wireText(cleanText(s))
		return nil
	}
	switch s := string(data); {
	case s == "null":
		*t = ""
	case len(data) > 0 && (data[0] == '{' || data[0] == '['):
		return errors.New("not a scalar")
	default:
		*t = wireText(s)
	}
	return nil
}

func (t wireText) yes() bool { return strings.EqualFold(string(t), "S") }

// cleanText drops what cannot be part of a name or address (spec §8 row 24).
// Characters that were lost on the way stay visible as U+FFFD.
func cleanText(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	// The register's tables double the apostrophe (spec §5.3 gotcha 6).
	s = strings.ReplaceAll(s, "''", "'")
	return strings.Join(strings.Fields(s), " ")
}

// wireList reads a list, a single object, or null. Elements that are no
// objects are an error: better an answer unread than half a person.
type wireList[T any] []T

func (l *wireList[T]) UnmarshalJSON(data []byte) error {
	data = bytes.TrimSpace(data)
	if len(data) > 0 && data[0] == '{' {
		var one T
		if err := json.Unmarshal(data, &one); err != nil {
			return err
		}
		*l = wireList[T]{one}
		return nil
	}
	var many []*T
	if err := json.Unmarshal(data, &many); err != nil {
		return err
	}
	out := wireList[T]{}
	for _, one := range many {
		if one != nil {
			out = append(out, *one)
		}
	}
	*l = out
	return nil
}

type wireAnswer struct {
	OperationID wireText `json:"idOperazioneANPR"`
	Subjects    *struct {
		List wireList[wireSubject] `json:"datiSoggetto"`
	} `json:"listaSoggetti"`
	Anomalies wireList[wireNotice] `json:"listaAnomalie"`
	Errors    wireList[wireNotice] `json:"listaErrori"`

	// GovWay's own problem (§1.7).
	Title    wireText `json:"title"`
	GovWayID wireText `json:"govway_id"`
}

type wireNotice struct {
	Code wireText `json:"codiceErroreAnomalia"`
	Kind wireText `json:"tipoErroreAnomalia"` // E or W
	Text wireText `json:"testoErroreAnomalia"`
	// Field is read at door C only.
	Field wireText `json:"campoErroreAnomalia"`
}

func (n wireNotice) warning() bool { return strings.EqualFold(string(n.Kind), "W") }

type wireSubject struct {
	General      wireGeneral               `json:"generalita"`
	Residence    wireList[wireResidence]   `json:"residenza"`
	Citizenships wireList[wireCitizenship] `json:"cittadinanza"`
	Death        json.RawMessage           `json:"datiDecesso"`
	Info         wireList[wireInfo]        `json:"infoSoggettoEnte"`
	Ids          struct {
		ID wireText `json:"idANPR"`
	} `json:"identificativi"`

	// Door C only, set by its reader: reason and date of a cancellation.
	cancelled, cancelledOn string
}

type wireGeneral struct {
	CF struct {
		Code     wireText `json:"codFiscale"`
		Validity wireText `json:"validitaCF"`
	} `json:"codiceFiscale"`
	Surname    wireText `json:"cognome"`
	NoSurname  wireText `json:"senzaCognome"`
	Name       wireText `json:"nome"`
	NoName     wireText `json:"senzaNome"`
	Sex        wireText `json:"sesso"`
	BirthDate  wireText `json:"dataNascita"`
	NoDay      wireText `json:"senzaGiorno"`
	NoDayMonth wireText `json:"senzaGiornoMese"`
	BirthPlace struct {
		Exceptional wireText     `json:"luogoEccezionale"`
		Comune      wireComune   `json:"comune"`
		Locality    wireLocality `json:"localita"`
	} `json:"luogoNascita"`
	AIRE       wireText `json:"soggettoAIRE"`
	LeftIn     wireText `json:"annoEspatrio"`
	ComuneCard struct {
		ISTAT wireText `json:"idSchedaSoggettoComuneIstat"`
	} `json:"idSchedaSoggettoComune"`
}

type wireComune struct {
	Name     wireText `json:"nomeComune"`
	ISTAT    wireText `json:"codiceIstat"`
	Province wireText `json:"siglaProvinciaIstat"`
}

type wireLocality struct {
	Name     wireText `json:"descrizioneLocalita"`
	State    wireText `json:"descrizioneStato"`
	Code     wireText `json:"codiceStato"`
	Province wireText `json:"provinciaContea"`
}

type wireResidence struct {
	Type   wireText `json:"tipoIndirizzo"`
	Notes  wireText `json:"noteIndirizzo"`
	CareOf wireText `json:"presso"`
	Since  wireText `json:"dataDecorrenzaResidenza"`
	Italy  *struct {
		Postcode wireText   `json:"cap"`
		Comune   wireComune `json:"comune"`
		Hamlet   wireText   `json:"frazione"`
		Street   struct {
			Kind wireText `json:"specie"`
			Name wireText `json:"denominazioneToponimo"`
		} `json:"toponimo"`
		Number struct {
			Number   wireText `json:"numero"`
			Letter   wireText `json:"lettera"`
			Exponent wireText `json:"esponente1"`
		} `json:"numeroCivico"`
	} `json:"indirizzo"`
	Abroad *struct {
		Address struct {
			Postcode wireText     `json:"cap"`
			Locality wireLocality `json:"localita"`
			Street   struct {
				Name   wireText `json:"denominazione"`
				Number wireText `json:"numeroCivico"`
			} `json:"toponimo"`
		} `json:"indirizzoEstero"`
		Consulate struct {
			Code wireText `json:"codiceConsolato"`
			Name wireText `json:"descrizioneConsolato"`
		} `json:"consolato"`
	} `json:"localitaEstera"`
}

type wireCitizenship struct {
	State wireText `json:"descrizioneStato"`
	Code  wireText `json:"codiceStato"`
}

type wireInfo struct {
	ID    wireText `json:"id"`
	Value wireText `json:"valore"` // S, N, A
	Date  wireText `json:"valoreData"`
}

// decodeAnswer reads a body. False means: not a JSON object of a shape we know
// (HTML, empty, cut, a list), which never says anything about a person.
func decodeAnswer(body []byte) (wireAnswer, bool) {
	// Raw control characters make JSON invalid though all else is readable.
	clean := bytes.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r // invalid UTF-8 becomes U+FFFD: damage stays visible
	}, bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	clean = bytes.TrimSpace(clean)
	if len(clean) == 0 || clean[0] != '{' {
		return wireAnswer{}, false
	}
	var a wireAnswer
	if err := json.Unmarshal(clean, &a); err != nil {
		return wireAnswer{}, false
	}
	return a, true
}

// damaged tells whether characters of a text were lost.
func damaged(texts ...string) bool {
	for _, t := range texts {
		if strings.ContainsRune(t, utf8.RuneError) {
			return true
		}
	}
	return false
}

// clip keeps an id from outside short and printable: odd ids are kept as they
// are, but not at any length.
func clip(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < '!' || r > '~' {
			return -1
		}
		return r
	}, s)
	if len(s) > most {
		s = s[:most]
	}
	return s
}
