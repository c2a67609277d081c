package anprsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"airegw/testharness/sim"
)

// record is one position of the register, with what it was before its last change.
type record struct {
	person   sim.Person
	previous *sim.Person
}

func newRecord(p sim.Person) *record { return &record{person: p.Clone()} }

// People returns the register's records as they are now.
func (s *Server) People() []sim.Person {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]sim.Person, len(s.people))
	for i, r := range s.people {
		list[i] = r.person.Clone()
	}
	return list
}

func (s *Server) byCF(cf string) []sim.Person {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []sim.Person
	for _, r := range s.people {
		if r.person.CF == cf {
			list = append(list, r.person.Clone())
		}
	}
	return list
}

func (s *Server) byID(id string) (sim.Person, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.people {
		if id != "" && r.person.IDANPR == id {
			return r.person.Clone(), true
		}
	}
	return sim.Person{}, false
}

func (s *Server) byData(c criteria) []sim.Person {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []sim.Person
	for _, r := range s.people {
		p := r.person
		if strings.EqualFold(p.Surname, c.Cognome) && strings.EqualFold(p.Name, c.Nome) && p.Sex == c.Sesso && p.Birth.Date == c.DatiNascita.DataEvento {
			list = append(list, p.Clone())
		}
	}
	return list
}

func (s *Server) before(p sim.Person) sim.Person {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.people {
		if r.person.IDANPR == p.IDANPR && r.previous != nil {
			return r.previous.Clone()
		}
	}
	return p
}

// ErrNoSuchPerson is returned for a tax code the register does not hold.
var ErrNoSuchPerson = errors.New("no such person in the register")

// Change edits the index-th person with that tax code (0 unless there are
// several). edit gets a copy; the tax code and the register id cannot change.
// Durable on return when the simulator has a folder. Errors: ErrNoSuchPerson.
func (s *Server) Change(cf string, index int, edit func(*sim.Person) error) error {
	err := s.change(cf, index, edit)
	if err != nil {
		return err
	}
	return s.flush()
}

func (s *Server) change(cf string, index int, edit func(*sim.Person) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.nth(cf, index)
	if r == nil {
		return ErrNoSuchPerson
	}
	p := r.person.Clone()
	err := edit(&p)
	if err != nil {
		return err
	}
	if p.CF != cf || p.IDANPR != r.person.IDANPR {
		return errors.New("tax code and register id cannot change")
	}
	if !slices.Contains([]string{sim.StatusAIRE, sim.StatusResident, sim.StatusCancelled, sim.StatusDeceased}, p.Status) {
		return fmt.Errorf("unknown status %q", p.Status)
	}
	if p.Status == sim.StatusAIRE && (p.AIRE == nil || p.Post == nil) {
		return errors.New("an AIRE person needs a registration and a post")
	}
	err = s.append(entry{Kind: "person", CF: cf, Index: index, Person: &p})
	if err != nil {
		return err
	}
	return s.setPerson(cf, index, p)
}

// nth finds the index-th record with a tax code; call with the lock held.
func (s *Server) nth(cf string, index int) *record {
	for _, r := range s.people {
		if r.person.CF == cf {
			if index == 0 {
				return r
			}
			index--
		}
	}
	return nil
}

func (s *Server) setPerson(cf string, index int, p sim.Person) error {
	r := s.nth(cf, index)
	if r == nil {
		return ErrNoSuchPerson
	}
	old := r.person
	r.previous, r.person = &old, p.Clone()
	return nil
}

// Reset puts the people with that tax code back to the original record.
func (s *Server) Reset(cf string) error {
	s.mu.Lock()
	err := ErrNoSuchPerson
	if s.nth(cf, 0) != nil {
		err = s.append(entry{Kind: "reset", CF: cf})
		s.resetPerson(cf)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.flush()
}

func (s *Server) resetPerson(cf string) {
	i := 0
	for _, r := range s.people {
		if r.person.CF == cf && i < len(s.original[cf]) {
			r.person, r.previous = s.original[cf][i].Clone(), nil
			i++
		}
	}
}

// The answer, RispostaE002OK (specs/anpr-pdnd-modi.md §1.5). Every scalar is
// a string; what is absent is absent, not empty.

type answerOK struct {
	Operation string     `json:"idOperazioneANPR"`
	Subjects  subjects   `json:"listaSoggetti"`
	Warnings  []anomaly  `json:"listaAnomalie,omitempty"`
	Errors    []anomaly  `json:"listaErrori,omitempty"` // only as a fault
	Extra     *extraData `json:"campoNonAnnunciato,omitempty"`
}

type extraData struct {
	Value string `json:"valore"`
}

type subjects struct {
	List []subject `json:"datiSoggetto"`
}

type subject struct {
	General     *general      `json:"generalita,omitempty"`
	Residence   []residence   `json:"residenza,omitempty"`
	Citizenship []citizenship `json:"cittadinanza,omitempty"`
	Death       *death        `json:"datiDecesso,omitempty"`
	Tie         *tie          `json:"legameSoggetto,omitempty"` // C021
	Info        []info        `json:"infoSoggettoEnte,omitempty"`
	IDs         *ids          `json:"identificativi,omitempty"`
}

type general struct {
	CF           *taxCode  `json:"codiceFiscale,omitempty"`
	Surname      string    `json:"cognome,omitempty"`
	NoSurname    string    `json:"senzaCognome,omitempty"`
	Name         string    `json:"nome,omitempty"`
	NoName       string    `json:"senzaNome,omitempty"`
	Sex          string    `json:"sesso,omitempty"`
	Birth        string    `json:"dataNascita,omitempty"`
	NoDay        string    `json:"senzaGiorno,omitempty"`
	NoDayMonth   string    `json:"senzaGiornoMese,omitempty"`
	BirthPlace   *place    `json:"luogoNascita,omitempty"`
	AIRE         string    `json:"soggettoAIRE,omitempty"`
	Expatriation string    `json:"annoEspatrio,omitempty"`
	ComuneRecord *comuneID `json:"idSchedaSoggettoComune,omitempty"`
	ANPRRecord   string    `json:"idSchedaSoggettoANPR,omitempty"`
}

type taxCode struct {
	CF        string `json:"codFiscale"`
	Validity  string `json:"validitaCF,omitempty"`
	ValidFrom string `json:"dataAttribuzioneValidita,omitempty"`
}

type comuneID struct {
	ISTAT  string `json:"idSchedaSoggettoComuneIstat,omitempty"`
	Record string `json:"idSchedaSoggetto,omitempty"`
}

type place struct {
	Comune   *comune   `json:"comune,omitempty"`
	Locality *locality `json:"localita,omitempty"`
}

type comune struct {
	Name     string `json:"nomeComune" xml:"nomeComune"`
	ISTAT    string `json:"codiceIstat,omitempty" xml:"codiceIstat,omitempty"`
	Province string `json:"siglaProvinciaIstat,omitempty" xml:"siglaProvinciaIstat"`
}

type locality struct {
	Description string `json:"descrizioneLocalita,omitempty"`
	State       string `json:"descrizioneStato,omitempty"`
	StateISTAT  string `json:"codiceStato,omitempty"`
	County      string `json:"provinciaContea,omitempty"`
}

type residence struct {
	Kind    string        `json:"tipoIndirizzo"`
	CareOf  string        `json:"presso,omitempty"`
	Address *italian      `json:"indirizzo,omitempty"`
	Foreign *foreignPlace `json:"localitaEstera,omitempty"`
	Since   string        `json:"dataDecorrenzaResidenza,omitempty"`
}

type italian struct {
	CAP    string   `json:"cap,omitempty"`
	Comune *comune  `json:"comune,omitempty"`
	Street *toponym `json:"toponimo,omitempty"`
	Number *civic   `json:"numeroCivico,omitempty"`
}

type toponym struct {
	Species string `json:"specie,omitempty"`
	Name    string `json:"denominazioneToponimo,omitempty"`
}

type civic struct {
	Number string `json:"numero,omitempty"`
}

type foreignPlace struct {
	Address *foreignAddress `json:"indirizzoEstero,omitempty"`
	Post    *consulate      `json:"consolato,omitempty"`
}

type foreignAddress struct {
	CAP      string          `json:"cap,omitempty"`
	Locality *locality       `json:"localita,omitempty"`
	Street   *foreignToponym `json:"toponimo,omitempty"`
}

type foreignToponym struct {
	Name   string `json:"denominazione,omitempty"`
	Number string `json:"numeroCivico,omitempty"`
}

type consulate struct {
	Code string `json:"codiceConsolato" xml:"codiceConsolato"`
	Seat string `json:"descrizioneConsolato" xml:"descrizioneConsolato"`
}

type citizenship struct {
	State string `json:"descrizioneStato"`
	Code  string `json:"codiceStato"`
	Since string `json:"dataValidita,omitempty"`
}

// tie is legameSoggetto: the place of a person in a family. Type 3 is a family
// in Italy, 5 one in AIRE; the code is that of the register's kinship table.
type tie struct {
	Kind  string `json:"tipoLegame"`
	Since string `json:"dataDecorrenza,omitempty"`
	Code  string `json:"codiceLegame"`
	Place string `json:"progressivoComponente,omitempty"`
}

type death struct {
	Date string `json:"dataEvento,omitempty"`
}

type info struct {
	ID    string `json:"id"`
	Key   string `json:"chiave"`
	Value string `json:"valore,omitempty"` // S yes, N no, A cannot be determined
	Date  string `json:"valoreData,omitempty"`
}

type ids struct {
	IDANPR string `json:"idANPR"`
}

// found writes the good answer of a service for the people found.
func (x *exchange) found(code string, people []sim.Person, warnings []anomaly) answerA {
	out := answerOK{Operation: x.operation(), Warnings: warnings}
	if x.fires(FaultDuplicate) {
		twin := people[0].Clone()
		twin.IDANPR = altered(twin.IDANPR)
		people = append(people, twin)
	}
	if x.fires(FaultOmocodia) {
		other := people[0].Clone()
		other.IDANPR, other.Name, other.Birth.Date = altered(other.IDANPR), "OMONIMO", "1970-01-01"
		people = append(people, other)
	}
	if code == "C021" && !x.s.broken(MutantFamilyAlone) {
		people = x.s.families(people)
	}
	for i, p := range people {
		if x.fires(FaultMAELag) {
			p = x.s.before(p)
		}
		if i == 0 && x.fires(FaultMerged) {
			p.Surname, p.Name = p.Surname+" FUSO", "ALTRO"
		}
		one := x.subjectOf(code, p)
		if code == "C021" {
			one.Tie = tieOf(p, people, i)
		}
		out.Subjects.List = append(out.Subjects.List, one)
	}
	if x.fires(FaultWarnInErrors) {
		out.Errors, out.Warnings = []anomaly{warnUseID}, nil
	}
	if x.fires(FaultUnknownFields) {
		out.Extra = &extraData{Value: "?"}
	}
	body, err := json.Marshal(out)
	if err != nil {
		return x.failure(http.StatusInternalServerError, anomaly{Code: "999", Kind: "E", Text: err.Error()})
	}
	if x.fires(FaultBadEncoding) {
		// Latin-1 and a control character inside a string, as legacy data has them.
		body = []byte(strings.Replace(string(body), `"cognome":"`, "\"cognome\":\"\xe0\x07", 1))
	}
	return answerA{status: http.StatusOK, body: body, outcome: "OK", service: code}
}

func altered(id string) string {
	last := id[len(id)-1]
	if last == 'X' {
		return id[:len(id)-1] + "Y"
	}
	return id[:len(id)-1] + "X"
}

// subjectOf fills the blocks a service gives: C030 the id, C015 the general
// data, C018 citizenship, C019 life, C020 residence and life, C021 the family
// with its ties, C001 all but citizenship, C029 everything.
func (x *exchange) subjectOf(code string, p sim.Person) subject {
	x.alter(&p)
	out := subject{IDs: &ids{IDANPR: p.IDANPR}}
	if x.fires(FaultIDChange) {
		out.IDs.IDANPR = altered(p.IDANPR)
	}
	if code == "C030" && !x.s.broken(MutantC030Talks) {
		return out
	}
	out.General = x.general(p)
	switch code {
	case "C018", "C029":
		for _, c := range p.Citizenships {
			out.Citizenship = append(out.Citizenship, citizenship{State: c.State, Code: c.StateISTAT})
		}
	}
	switch code {
	case "C001", "C020", "C029":
		out.Residence = []residence{x.residence(p)}
	}
	switch code {
	case "C001", "C019", "C020", "C021", "C029":
		if x.s.broken(MutantDeadAlive) {
			p.Status = sim.StatusAIRE
		}
		out.Info = lifeOf(p)
	}
	if (code == "C029" || code == "C021") && p.Status == sim.StatusDeceased {
		out.Death = &death{Date: p.DiedOn}
	}
	return out
}

// alter applies the faults that change the record itself.
func (x *exchange) alter(p *sim.Person) {
	if date, ok := x.take(FaultDeceased); ok {
		p.Status, p.DiedOn = sim.StatusDeceased, date
		if date == "" {
			p.DiedOn = "2026-01-15"
		}
	}
	if x.fires(FaultDeadNoDate) {
		p.Status, p.DiedOn = sim.StatusDeceased, ""
	}
	if x.fires(FaultCFUnvalidated) {
		p.CFValidity = "9"
	}
	if x.fires(FaultCFSuperseded) {
		// The record has the code that took the place of the one asked for (row 21).
		p.CF = superseding(p.CF)
	}
	if x.fires(FaultNoName) {
		p.Name = ""
	}
	if x.fires(FaultNoSince) {
		p.ResidenceSince = ""
	}
	if x.fires(FaultTruncate) {
		// AnagAire keeps 36 characters; ours are longer only if we make them so.
		p.Surname = cut36(p.Surname + " DELLA CASA GRANDE DEGLI ULIVI SUL MARE")
		p.Name = cut36(p.Name)
	}
	if x.fires(FaultTranslit) {
		p.Surname, p.Name = transliterated(p.Surname), transliterated(p.Name)
	}
	if x.fires(FaultDiacritics) {
		p.Surname, p.Name = lost(p.Surname), lost(p.Name)
	}
	if param, ok := x.take(FaultConsulate); ok && p.Post != nil {
		code, seat, good := strings.Cut(param, "|")
		if !good {
			code, seat = "2301204", "NORIMBERGA"
		}
		p.Post = &sim.Post{Code: code, Seat: seat}
	}
	if x.fires(FaultAddrMess) {
		a := &p.Address
		a.Street, a.Number = strings.ToUpper(a.Locality+" "+a.Locality), ""
	}
}

func cut36(s string) string {
	r := []rune(s)
	return string(r[:min(36, len(r))])
}

// transliterated writes accented letters as the register's old programs do: a
// final grave accent becomes an apostrophe, all others are lost.
func transliterated(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		r := []rune(w)
		if n := len(r); n > 0 {
			if j := strings.IndexRune("ÀÈÌÒÙ", r[n-1]); j >= 0 {
				words[i] = plain(string(r[:n-1])) + string("AEIOU"[slices.Index([]rune("ÀÈÌÒÙ"), r[n-1])]) + "'"
				continue
			}
		}
		words[i] = plain(w)
	}
	return strings.Join(words, " ")
}

func plain(s string) string {
	return strings.NewReplacer("À", "A", "È", "E", "É", "E", "Ì", "I", "Ò", "O", "Ù", "U", "Č", "C", "Š", "S", "Ž", "Z").Replace(s)
}

func lost(s string) string {
	return strings.Map(func(r rune) rune {
		if r > 127 {
			return '?'
		}
		return r
	}, s)
}

func (x *exchange) general(p sim.Person) *general {
	g := &general{
		CF:      &taxCode{CF: p.CF, Validity: p.CFValidity},
		Surname: p.Surname, Name: p.Name, Sex: p.Sex, Birth: p.Birth.Date,
		BirthPlace: birthPlace(p), ANPRRecord: recordID(p),
	}
	if p.CFValidity == "1" {
		g.CF.ValidFrom = p.ResidenceSince
	}
	if x.fires(FaultNoCF) {
		g.CF = nil
	}
	g.NoSurname, g.NoName = flag(p.Surname == ""), flag(p.Name == "")
	if !x.s.broken(MutantNoBirthFlag) {
		g.NoDay, g.NoDayMonth = flag(p.Birth.NoDay), flag(p.Birth.NoDayMonth)
	}
	if x.s.broken(MutantValidityDropped) && g.CF != nil {
		g.CF.Validity = ""
	}
	if x.s.broken(MutantAIREFlag) {
		g.AIRE = "S"
	}
	if p.AIRE != nil && p.Status != sim.StatusResident {
		g.AIRE, g.Expatriation = "S", p.AIRE.ExpatriationYear
		g.ComuneRecord = &comuneID{ISTAT: p.AIRE.ComuneISTAT, Record: recordID(p)}
		if x.fires(FaultComuneLiteral) {
			g.ComuneRecord.ISTAT = "AIRE"
		}
		if x.fires(FaultAIREFlagNull) {
			g.AIRE = ""
		}
	}
	return g
}

func flag(set bool) string {
	if set {
		return "S"
	}
	return ""
}

// recordID is the number of the record: digits only, made from the register id.
func recordID(p sim.Person) string {
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return '0' + r%10
	}, p.IDANPR)
	return strings.TrimLeft(digits, "0")
}

func birthPlace(p sim.Person) *place {
	if p.Birth.StateISTAT != "" {
		return &place{Locality: &locality{Description: p.Birth.Locality, State: p.Birth.State, StateISTAT: p.Birth.StateISTAT}}
	}
	return &place{Comune: &comune{Name: p.Birth.ComuneName, ISTAT: p.Birth.ComuneISTAT, Province: p.Birth.Province}}
}

func (x *exchange) residence(p sim.Person) residence {
	r := residence{Since: p.ResidenceSince, CareOf: p.Address.CareOf, Kind: "1"}
	a := p.Address
	if a.ISO2 == "IT" || x.s.broken(MutantAIREItalian) {
		species, name, found := strings.Cut(a.Street, " ")
		if !found {
			species, name = "", a.Street
		}
		r.Address = &italian{
			CAP: a.Postcode, Comune: &comune{Name: a.Locality, ISTAT: a.ComuneISTAT, Province: a.Province},
			Street: &toponym{Species: species, Name: name}, Number: &civic{Number: a.Number},
		}
		return r
	}
	r.Kind = "4"
	if a.CareOf != "" {
		r.Kind = "6"
	}
	f := &foreignPlace{Address: &foreignAddress{
		CAP:      a.Postcode,
		Locality: &locality{Description: a.Locality, State: a.State, StateISTAT: a.StateISTAT, County: a.Province},
	}}
	if a.Street != "" || a.Number != "" {
		f.Address.Street = &foreignToponym{Name: a.Street, Number: a.Number}
	}
	if p.Post != nil {
		f.Post = &consulate{Code: p.Post.Code, Seat: p.Post.Seat}
	}
	r.Foreign = f
	return r
}

// verified is the answer of C004: is the declared death what the register has?
// Nothing but infoSoggettoEnte is answered; A when the register has no date.
func (x *exchange) verified(people []sim.Person, declared string, warnings []anomaly) answerA {
	out := answerOK{Operation: x.operation(), Warnings: warnings}
	for _, p := range people {
		x.alter(&p)
		value := "N"
		switch {
		case p.Status == sim.StatusDeceased && p.DiedOn == "":
			value = "A"
		case p.Status == sim.StatusDeceased && p.DiedOn == declared, x.s.broken(MutantVerify):
			value = "S"
		}
		out.Subjects.List = append(out.Subjects.List, subject{Info: []info{{ID: "1015", Key: "Verifica decesso", Value: value}}})
	}
	body, err := json.Marshal(out)
	if err != nil {
		return x.failure(http.StatusInternalServerError, anomaly{Code: "999", Kind: "E", Text: err.Error()})
	}
	return answerA{status: http.StatusOK, body: body, outcome: "OK", service: "C004"}
}

// families adds the people of the same family, known by the parents of minors
// who live at the same address: parents first, then children.
func (s *Server) families(asked []sim.Person) []sim.Person {
	all := s.People()
	out := slices.Clone(asked)
	add := func(p sim.Person) {
		for _, have := range out {
			if have.IDANPR == p.IDANPR {
				return
			}
		}
		out = append(out, p)
	}
	related := func(a, b sim.Person) bool {
		return a.Address == b.Address && (slices.Contains(a.Parents, b.CF) || slices.Contains(b.Parents, a.CF))
	}
	// Twice: from a child to the parents, then to their other children.
	for range 2 {
		for _, member := range slices.Clone(out) {
			for _, p := range all {
				if related(member, p) {
					add(p)
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b sim.Person) int { return min(1, len(a.Parents)) - min(1, len(b.Parents)) })
	return out
}

// tieOf is a member's place: the first adult holds the form (1), another adult
// is the spouse (2), whoever has parents here is a child (3).
func tieOf(p sim.Person, family []sim.Person, i int) *tie {
	t := &tie{Kind: "3", Since: p.ResidenceSince, Code: "1", Place: strconv.Itoa(i + 1)}
	if p.AIRE != nil && p.Status != sim.StatusResident {
		t.Kind = "5"
	}
	for _, other := range family {
		if slices.Contains(p.Parents, other.CF) {
			t.Code = "3"
		}
	}
	if i > 0 && t.Code == "1" {
		t.Code = "2"
	}
	return t
}

func lifeOf(p sim.Person) []info {
	if p.Status != sim.StatusDeceased {
		return []info{{ID: "1003", Key: "Verifica esistenza in vita", Value: "S"}}
	}
	list := []info{{ID: "1003", Key: "Verifica esistenza in vita", Value: "N"}}
	if p.DiedOn != "" {
		list = append(list, info{ID: "1015", Key: "Data decesso", Date: p.DiedOn})
	}
	return list
}

// personIndex reads the ?index= of a management call.
func personIndex(r *http.Request) (int, error) {
	text := r.URL.Query().Get("index")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("index %q is not a number", text)
	}
	return n, nil
}
