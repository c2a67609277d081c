package anprsim

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

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
	Refused   bool          `json:"refused,omitempty"`
}

// Alignment is one as the management surface shows it.
type Alignment struct {
	ID        string `json:"id"`
	Operation string `json:"operation"`
	Sender    string `json:"sender"`
	CF        string `json:"cf"`
	Comune    string `json:"comune,omitempty"`
	Residence bool   `json:"residence"` // a corrected residence came with it
	Closed    bool   `json:"closed"`
	Refused   bool   `json:"refused"` // closed, and the record stays as it was
}

// Alignments lists the requests, oldest first.
func (s *Server) Alignments() []Alignment {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Alignment{}
	for _, a := range s.aligning {
		out = append(out, Alignment{a.ID, a.Operation, a.Sender, a.CF, a.Comune, a.Residence != nil, a.State == "1", a.Refused})
	}
	slices.SortFunc(out, func(a, b Alignment) int {
		if len(a.ID) != len(b.ID) {
			return len(a.ID) - len(b.ID)
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// CloseAlignment closes a request, as the clerk does: the residence that came
// with it is the person's from now on, and a fiscal code asked for by C003 is
// validated; anything else is corrected by Change. Closing one that is closed
// changes nothing. Durable on return when the simulator has a folder.
func (s *Server) CloseAlignment(id string) error { return s.closeAlignment(id, false) }

// RefuseAlignment closes a request and leaves the record as it is. Its asker is
// told no more than that it is closed: the schema has no word for a refusal.
func (s *Server) RefuseAlignment(id string) error { return s.closeAlignment(id, true) }

func (s *Server) closeAlignment(id string, refuse bool) error {
	err := func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		a, ok := s.aligning[id]
		if !ok {
			return errors.New("no such request")
		}
		if a.State == "1" {
			return nil
		}
		a.State, a.Refused = "1", refuse
		err := s.append(entry{Kind: "cie", Align: &a})
		if err != nil {
			return err
		}
		s.aligning[id] = a
		r := s.nth(a.CF, 0)
		if refuse || r == nil {
			return nil
		}
		p := r.person.Clone()
		switch {
		case a.Operation == "C003":
			p.CFValidity = "1"
		case a.Residence != nil && !s.broken(MutantConsularResidence):
			s.moveTo(&p, *a.Residence)
		default:
			return nil
		}
		err = s.append(entry{Kind: "person", CF: a.CF, Person: &p})
		if err != nil {
			return err
		}
		return s.setPerson(a.CF, 0, p)
	}()
	if err != nil {
		return err
	}
	return s.flush()
}

// moveTo writes a corrected residence into a record.
func (s *Server) moveTo(p *sim.Person, r xmlResidence) {
	f, l := r.Foreign, r.Foreign.Locality
	p.Address = sim.Address{
		CareOf: r.CareOf, Street: f.Street, Number: f.Number, Postcode: f.CAP,
		Locality: l.Description, Province: l.County, StateISTAT: l.StateISTAT, State: l.State,
	}
	for _, people := range s.original {
		for _, q := range people {
			if q.Address.StateISTAT == l.StateISTAT {
				// The register's own name of the state, whatever was sent.
				p.Address.State, p.Address.ISO2 = q.Address.State, q.Address.ISO2
			}
		}
	}
	p.Post = &sim.Post{Code: f.Post.Code, Seat: f.Post.Seat}
	if r.Since != "" {
		p.ResidenceSince = r.Since
	}
}

// wrongResidence says what a residence of C002 lacks (spec §4.4, localitaEstera
// and the limits of its members; tables 24 and 41 for the post). Nil when it is
// right.
func (s *Server) wrongResidence(req cieRequest) *reply {
	no := func(code, text, field, value string) *reply {
		r := refuses(req, code, text, field, value)
		return &r
	}
	schema := func(field, value string) *reply {
		return no("EN489", "La richiesta non risulta valida secondo lo schema", field, value)
	}
	r := req.Residence
	if r == nil || s.broken(MutantConsularResidenceAny) {
		return nil
	}
	if r.Kind != "4" && r.Kind != "6" || r.Italian != nil || r.Foreign == nil {
		return schema("residenza.tipoIndirizzo", r.Kind)
	}
	f, l := r.Foreign, r.Foreign.Locality
	switch {
	case l == nil || !stateShape.MatchString(l.StateISTAT):
		return schema("codiceStato", "")
	case l.Description == "":
		return no("EN081", "Il campo descrizioneLocalita è obbligatorio", "descrizioneLocalita", "")
	case f.Post == nil:
		return no("EN081", "Il campo consolato è obbligatorio", "consolato", "")
	case f.Street == "" && f.CAP == "" && l.County == "" && r.CareOf == "":
		return no("EN081", "Indicare almeno uno tra toponimo, cap, provincia/contea e presso", "localitaEstera", "")
	case f.Street == "" && f.Number != "":
		return schema("toponimo.denominazione", "")
	case r.Since != "" && (!isDay(r.Since) || r.Since > romeDay(s.clock.Now())):
		return schema("dataDecorrenzaResidenza", r.Since)
	case !postShape.MatchString(f.Post.Code):
		return no("EC032", "Codice consolato di residenza inesistente", "consolato", f.Post.Code)
	case !s.seatAgrees(*f.Post):
		return no("EC034", "Descrizione consolato incongruente con il codice", "consolato", f.Post.Seat)
	case !s.postServes(f.Post.Code, l.StateISTAT):
		return no("EC033", "Codice consolato incongruente con il codice dello stato estero di residenza", "codiceStato", l.StateISTAT)
	}
	for _, m := range []struct {
		field, text string
		most        int
	}{
		{"cap", f.CAP, 10},
		{"numeroCivico", f.Number, 9},
		{"denominazione", f.Street, 120},
		{"descrizioneLocalita", l.Description, 120},
		{"provinciaContea", l.County, 30},
		{"presso", r.CareOf, 100},
		{"noteIndirizzo", r.Notes, 240},
	} {
		if utf8.RuneCountInString(m.text) > m.most {
			return schema(m.field, m.text)
		}
	}
	return nil
}

// postServes compares a post with the states that the population lives in: for
// want of the official table of districts, a state or a post that nobody has is
// taken as it comes.
func (s *Server) postServes(code, state string) bool {
	known := false
	for _, people := range s.original {
		for _, p := range people {
			if p.Post == nil || p.AIRE == nil {
				continue
			}
			switch {
			case p.Post.Code == code && p.Address.StateISTAT == state:
				return true
			case p.Post.Code == code && p.Scenario == "ok":
				known = true
			}
		}
	}
	return !known
}

var stateShape = regexp.MustCompile(`^[0-9]{3}$`)

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
	if wrong := s.wrongResidence(req); wrong != nil && req.operation == "C002" {
		return *wrong
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
