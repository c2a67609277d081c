package anprsim

import (
	"encoding/xml"
	"fmt"

	"airegw/testharness/sim"
)

// The answers of doors B and C. The wrappers are qualified, what they hold is not.

type xmlHeader struct {
	ID        string `xml:"idOperazioneComune"`
	Sender    string `xml:"codMittente"`
	Recipient string `xml:"codDestinatario"`
	Operation string `xml:"operazioneRichiesta"`
	Time      string `xml:"dataOraRichiesta"`
	ANPROp    string `xml:"idOperazioneANPR"`
	Outcome   string `xml:"esitoOperazione"`
}

type xmlErrors struct {
	List []xmlError `xml:"errore"`
}

type xmlError struct {
	Code   string `xml:"codiceErroreAnomalia"`
	Kind   string `xml:"tipoErroreAnomalia"`
	Text   string `xml:"testoErroreAnomalia,omitempty"`
	Object string `xml:"oggettoErroreAnomalia,omitempty"`
	Field  string `xml:"campoErroreAnomalia,omitempty"`
	Value  string `xml:"valoreErroreAnomalia,omitempty"`
}

type xmlGeneral struct {
	CF         *xmlTaxCode `xml:"codiceFiscale"`
	Surname    string      `xml:"cognome,omitempty"`
	NoSurname  string      `xml:"senzaCognome,omitempty"`
	Name       string      `xml:"nome,omitempty"`
	NoName     string      `xml:"senzaNome,omitempty"`
	Sex        string      `xml:"sesso,omitempty"`
	Birth      string      `xml:"dataNascita,omitempty"`
	NoDay      string      `xml:"senzaGiorno,omitempty"`
	NoDayMonth string      `xml:"senzaGiornoMese,omitempty"`
	BirthPlace *xmlPlace   `xml:"luogoNascita"`
	AIRE       string      `xml:"soggettoAIRE,omitempty"`
	Record     string      `xml:"idSchedaSoggettoANPR,omitempty"`
}

type xmlTaxCode struct {
	CF       string `xml:"codFiscale"`
	Validity string `xml:"validitaCF,omitempty"`
}

type xmlPlace struct {
	Comune   *comune      `xml:"comune"`
	Locality *xmlLocality `xml:"localita"`
}

type xmlLocality struct {
	Description string `xml:"descrizioneLocalita,omitempty"`
	State       string `xml:"descrizioneStato,omitempty"`
	StateISTAT  string `xml:"codiceStato,omitempty"`
	County      string `xml:"provinciaContea,omitempty"`
}

type xmlResidence struct {
	Kind    string      `xml:"tipoIndirizzo"`
	Notes   string      `xml:"noteIndirizzo,omitempty"`
	Foreign *xmlForeign `xml:"localitaEstera"`
	Italian *xmlItalian `xml:"indirizzo"`
	CareOf  string      `xml:"presso,omitempty"`
	Since   string      `xml:"dataDecorrenzaResidenza,omitempty"`
}

type xmlItalian struct {
	CAP    string  `xml:"cap,omitempty"`
	Comune *comune `xml:"comune"`
	Street string  `xml:"toponimo>denominazioneToponimo,omitempty"`
	Number string  `xml:"numeroCivico>numero,omitempty"`
}

type xmlForeign struct {
	CAP      string       `xml:"indirizzoEstero>cap,omitempty"`
	Locality *xmlLocality `xml:"indirizzoEstero>localita"`
	Street   string       `xml:"indirizzoEstero>toponimo>denominazione,omitempty"`
	Number   string       `xml:"indirizzoEstero>toponimo>numeroCivico,omitempty"`
	Post     *consulate   `xml:"consolato"`
}

type xmlCitizenship struct {
	State string `xml:"descrizioneStato"`
	Code  string `xml:"codiceStato"`
}

type xmlCancellation struct {
	Reason string `xml:"motivoCancellazione"`
	On     string `xml:"dataDecorrenzaCancellazione"`
}

type xmlSubject struct {
	General     xmlGeneral       `xml:"generalita"`
	Father      *xmlGeneral      `xml:"paternita"`
	Mother      *xmlGeneral      `xml:"maternita"`
	Residence   *xmlResidence    `xml:"residenza"`
	Citizenship []xmlCitizenship `xml:"cittadinanza"`
	Cancelled   *xmlCancellation `xml:"datiCancellazione"`
	Card        *card            `xml:"cartaIdentita"`
	Source      string           `xml:"provenienzaInformazioni,omitempty"`
}

type xmlSubjects struct {
	List []xmlSubject `xml:"datiSoggetto"`
}

type xmlAnswer struct {
	XMLName  xml.Name
	Header   xmlHeader    `xml:"testataRisposta"`
	Issued   *card        `xml:"cartaIdentitaEmessa"`
	Annulled *card        `xml:"cartaIdentitaAnnullata"`
	General  *xmlGeneral  `xml:"generalita"`
	Subjects *xmlSubjects `xml:"listaSoggetti"`
	// Door C: one answer has what another has not, in the order of the schema.
	Residence *xmlResidence `xml:"residenza"`
	State     string        `xml:"statoRichiesta,omitempty"`
	IsAIRE    string        `xml:"isAire,omitempty"`
	Source    string        `xml:"provenienzaInformazioni,omitempty"`
	Errors    *xmlErrors    `xml:"listaErrori"`
}

// writeReply makes the answer's element and says the outcome: OK or an error
// code.
func writeReply(req cieRequest, op string, a reply) (body []byte, outcome string, err error) {
	h := req.Header
	ans := xmlAnswer{
		XMLName: xml.Name{Local: req.door.prefix + ":Risposta" + req.operation},
		Header: xmlHeader{
			ID: h.ID, Sender: "ANPR00", Recipient: h.Sender, Operation: req.operation,
			Time: h.Time, ANPROp: op, Outcome: "0000",
		},
	}
	outcome = "OK"
	if len(a.errs) > 0 {
		outcome = a.errs[0].Code
		ans.XMLName.Local, ans.Header.Outcome = req.door.prefix+":rispostaKO", "XXXX"
		ans.Errors = &xmlErrors{}
		for _, e := range a.errs {
			ans.Errors.List = append(ans.Errors.List, xmlError(e))
		}
	}
	for _, w := range a.warnings {
		if ans.Errors == nil {
			ans.Errors = &xmlErrors{}
		}
		ans.Errors.List = append(ans.Errors.List, xmlError(w))
	}
	ans.IsAIRE, ans.Source = a.isAIRE, a.source
	if a.aligned != nil {
		ans.State, ans.Residence = a.aligned.State, a.aligned.Residence
		if a.aligned.Operation != "C002" {
			ans.State = ""
		}
	}
	for _, p := range a.people {
		if req.operation == "CIE2" || req.operation == "C001" {
			if ans.Subjects == nil {
				ans.Subjects = &xmlSubjects{}
			}
			ans.Subjects.List = append(ans.Subjects.List, xmlSubjectOf(p, a))
			continue
		}
		g := xmlGeneralOf(p)
		ans.General = &g
	}
	if a.event != nil {
		c := xmlCardOf(a.event.Card, a.issuers)
		if req.operation == "CIE7" {
			ans.Annulled = c
		} else {
			ans.Issued = c
		}
	}
	inner, err := xml.Marshal(ans)
	if err != nil {
		return nil, "", fmt.Errorf("write the answer: %w", err)
	}
	wrap := req.door.prefix + ":RispostaEsito" + req.operation
	return fmt.Appendf(nil, `<%s xmlns:%s="%s">%s</%s>`, wrap, req.door.prefix, req.door.ns, inner, wrap), outcome, nil
}

func xmlGeneralOf(p sim.Person) xmlGeneral {
	g := xmlGeneral{
		CF: &xmlTaxCode{CF: p.CF, Validity: p.CFValidity}, Surname: p.Surname, Name: p.Name, Sex: p.Sex,
		NoSurname: flag(p.Surname == ""), NoName: flag(p.Name == ""),
		Birth: p.Birth.Date, NoDay: flag(p.Birth.NoDay), NoDayMonth: flag(p.Birth.NoDayMonth),
		AIRE: flag(p.AIRE != nil && p.Status != sim.StatusResident), Record: recordID(p),
	}
	b := birthPlace(p)
	g.BirthPlace = &xmlPlace{Comune: b.Comune}
	if b.Locality != nil {
		g.BirthPlace.Locality = &xmlLocality{Description: b.Locality.Description, State: b.Locality.State, StateISTAT: b.Locality.StateISTAT}
	}
	return g
}

func xmlCardOf(c sim.Card, names map[string]string) *card {
	out := &card{Number: c.Number, Issued: c.Issued, Kind: "1", NoTravel: "N", Expires: c.Expires, Annulled: c.AnnulledOn}
	if c.Kind == "P" {
		out.Kind = "2"
	}
	if c.NoExpatriate {
		out.NoTravel = "S"
	}
	if c.IssuerComune != "" {
		out.Comune = &comune{Name: names[c.IssuerComune], ISTAT: c.IssuerComune}
	}
	if c.IssuerPost != "" {
		out.Post = &consulate{Code: c.IssuerPost, Seat: names[c.IssuerPost]}
	}
	return out
}

func xmlSubjectOf(p sim.Person, a reply) xmlSubject {
	out := xmlSubject{General: xmlGeneralOf(p), Source: "1"}
	for _, c := range p.Citizenships {
		out.Citizenship = append(out.Citizenship, xmlCitizenship{State: c.State, Code: c.StateISTAT})
	}
	home := p.Address
	out.Residence = &xmlResidence{Kind: "1", Since: p.ResidenceSince}
	if home.ISO2 == "IT" {
		out.Residence.Italian = &xmlItalian{CAP: home.Postcode, Street: home.Street, Number: home.Number, Comune: &comune{Name: home.Locality, ISTAT: home.ComuneISTAT, Province: home.Province}}
	} else {
		out.Residence.Kind, out.Residence.CareOf = "4", home.CareOf
		if home.CareOf != "" {
			out.Residence.Kind = "6"
		}
		out.Residence.Foreign = &xmlForeign{
			CAP: home.Postcode, Street: home.Street, Number: home.Number,
			Locality: &xmlLocality{Description: home.Locality, State: home.State, StateISTAT: home.StateISTAT, County: home.Province},
		}
		if p.Post != nil {
			out.Residence.Foreign.Post = &consulate{Code: p.Post.Code, Seat: p.Post.Seat}
		}
	}
	switch p.Status {
	case sim.StatusDeceased:
		out.Cancelled = &xmlCancellation{Reason: "1", On: p.DiedOn}
	case sim.StatusCancelled:
		if p.AIRE == nil {
			out.Cancelled = &xmlCancellation{Reason: "13"} // other: the published subject tells no reason
			break
		}
		out.Cancelled = &xmlCancellation{Reason: p.AIRE.CancelReason, On: p.AIRE.CancelledOn}
	}
	if p.Card != nil {
		out.Card = xmlCardOf(*p.Card, a.issuers)
	}
	for _, parent := range a.parents[p.CF] {
		g := xmlGeneralOf(parent)
		if parent.Surname == "" {
			g.NoSurname = "" // null, not "has none": the fault of row 30
		}
		if parent.Sex == "M" && out.Father == nil {
			out.Father = &g
		} else {
			out.Mother = &g
		}
	}
	return out
}
