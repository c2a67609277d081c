package anprsim

import (
	"errors"
	"slices"
	"strings"

	"airegw/testharness/sim"
)

// Door C, the consular service (specs/anpr-pdnd-modi.md §4.2bis).

// alignment is a request of C002 or C003 that a comune's clerk works on in the
// register's own application: hours to weeks, here until somebody closes it.
type alignment struct {
	ID        string        `json:"id"` // idOperazioneANPR of the request
	Operation string        `json:"operation"`
	Sender    string        `json:"sender"`
	CF        string        `json:"cf"`
	Comune    string        `json:"comune,omitempty"` // ISTAT code
	Residence *xmlResidence `json:"residence,omitempty"`
	State     string        `json:"state"` // 0 open, 1 closed
}

// Alignment is one as the management surface shows it.
type Alignment struct {
	ID        string `json:"id"`
	Operation string `json:"operation"`
	Sender    string `json:"sender"`
	CF        string `json:"cf"`
	Comune    string `json:"comune,omitempty"`
	Closed    bool   `json:"closed"`
}

// Alignments lists the requests, oldest first.
func (s *Server) Alignments() []Alignment {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Alignment{}
	for _, a := range s.aligning {
		out = append(out, Alignment{a.ID, a.Operation, a.Sender, a.CF, a.Comune, a.State == "1"})
	}
	slices.SortFunc(out, func(a, b Alignment) int {
		if len(a.ID) != len(b.ID) {
			return len(a.ID) - len(b.ID)
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// CloseAlignment closes a request, as the clerk does; the record itself is
// corrected by Change. Durable on return when the simulator has a folder.
func (s *Server) CloseAlignment(id string) error {
	s.mu.Lock()
	a, ok := s.aligning[id]
	err := errors.New("no such request")
	if ok {
		a.State = "1"
		s.aligning[id] = a
		err = s.append(entry{Kind: "cie", Align: &a})
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.flush()
}

// decideConsular applies the rules of door C. Call with the lock held.
func (s *Server) decideConsular(x *exchange, req cieRequest, op string) reply {
	no := func(code, text, field, value string) reply { return refuses(req, code, text, field, value) }
	if wrong := checkHeader(req, x.subject); wrong != nil {
		return *wrong
	}
	needsComune := req.operation == "C001" || req.operation == "C003"
	if needsComune && !s.broken(MutantConsularComune) && (req.Comune == nil || !istatShape.MatchString(req.Comune.ISTAT)) {
		return no("EN081", "Il campo comuneIscrizioneAIRE è obbligatorio", "comuneIscrizioneAIRE", "")
	}
	if req.Post != nil {
		switch {
		case !postShape.MatchString(req.Post.Code):
			return no("EC032", "Codice consolato inesistente", "consolato", req.Post.Code)
		case !s.seatAgrees(*req.Post):
			return no("EC034", "Descrizione consolato incongruente con il codice", "consolato", req.Post.Seat)
		}
	}
	if req.Follow != "" {
		known, ok := s.aligning[req.Follow]
		if !ok || known.Sender != req.Header.Sender || known.Operation != "C002" {
			return no("EN133", "Nessuna richiesta trovata", "idRichiestaANPR", req.Follow)
		}
		return reply{aligned: &known, people: s.peopleOf(known.CF)}
	}
	found := s.found(req, x.subject)
	if x.fires(FaultNotFound) || x.fires(FaultAIREMissing) {
		found = nil
	}
	if x.fires(FaultOutage) {
		return no("EN527", "Contattare l'assistenza", "", "")
	}
	switch req.operation {
	case "C010":
		return isAIRE(found)
	case "C002":
		return s.align(req, op, x.subject, found)
	case "C003":
		if len(found) == 1 && found[0].person.CFValidity == "1" {
			return no("EN403", "Agenzia Entrate: il codice fiscale risulta già validato", "codiceFiscale", x.subject)
		}
		return s.align(req, op, x.subject, found)
	}
	return s.consult(x, req, found)
}

func isAIRE(found []*record) reply {
	answer := "false"
	for _, r := range found {
		if r.person.Status == sim.StatusAIRE {
			answer = "true"
		}
	}
	return reply{isAIRE: answer}
}

// consult answers C001.
func (s *Server) consult(x *exchange, req cieRequest, found []*record) reply {
	no := func(code, text, field, value string) reply { return refuses(req, code, text, field, value) }
	out := reply{issuers: s.offices(), source: "1"}
	if x.fires(FaultDoubleReg) {
		return no("EN470", "Il soggetto risulta iscritto sia in Italia che in AIRE", "codiceFiscale", x.subject)
	}
	for _, r := range found {
		p := r.person.Clone()
		switch {
		case p.AIRE == nil || p.Status == sim.StatusResident:
			return no("EN164", "Il soggetto non risulta iscritto in AIRE", "codiceFiscale", x.subject)
		case len(found) == 1 && req.Comune != nil && p.AIRE.ComuneISTAT != req.Comune.ISTAT:
			return no("EN074", "Il codice ISTAT del comune competente per il soggetto non coincide con quello specificato", "comuneIscrizioneAIRE", p.AIRE.ComuneISTAT)
		case req.Wanted.Surname != "" && !sameName(req.Wanted.Surname, p.Surname):
			return no("EN069", "Incongruenza dati anagrafici: il cognome non coincide", "cognome", req.Wanted.Surname)
		}
		if x.fires(FaultCFUnvalidated) {
			p.CFValidity = "9"
		}
		out.people = append(out.people, p)
	}
	if len(out.people) == 0 {
		return no("EN130", "Nessun soggetto trovato", "codiceFiscale", x.subject)
	}
	if code, ok := x.take(FaultConsularWarn); ok {
		if code == "" {
			code = "EA046"
		}
		// Warnings come inside listaErrori, beside good data (§8 row 15).
		out.warnings = append(out.warnings, anomaly{Code: code, Kind: "W", Text: "Disallineamento tra AIRE e schedario consolare"})
	}
	return out
}

// align opens a request of C002 or C003.
func (s *Server) align(req cieRequest, op, cf string, found []*record) reply {
	for _, a := range s.aligning {
		if a.CF == cf && a.Operation == req.operation && a.State == "0" && !s.broken(MutantConsularPending) {
			return refuses(req, "EN179", "Esiste già una richiesta pendente", "codiceFiscale", cf)
		}
	}
	a := alignment{ID: op, Operation: req.operation, Sender: req.Header.Sender, CF: cf, Residence: req.Residence, State: "0"}
	if req.Comune != nil {
		a.Comune = req.Comune.ISTAT
	}
	people := s.peopleOf(cf)
	if len(found) == 0 {
		// Somebody the register does not know: what was asked comes back.
		people = []sim.Person{{CF: cf, Surname: req.Wanted.Surname, Name: req.Wanted.Name}}
	}
	return reply{aligned: &a, people: people[:1]}
}

// peopleOf are the records with a tax code.
func (s *Server) peopleOf(cf string) []sim.Person {
	if r := s.nth(cf, 0); r != nil {
		return []sim.Person{r.person.Clone()}
	}
	return []sim.Person{{CF: cf}}
}
