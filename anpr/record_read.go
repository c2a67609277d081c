package anpr

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"airegw/gateway/fault"
)

// reading is what one whole answer says, after classification.
type reading struct {
	subject  *wireSubject // nil when absent or told only by findings
	absent   bool         // the register's own "nothing found"
	findings []Finding
	notices  []Code
	opID     string
}

// The register's codes, by what they mean for us (spec §1.6, §6).
var (
	codesAbsent    = []Code{"EN122", "EN130", "EN133", "EN042"}
	codesOutage    = []Code{"999", "EN527", "EN493", "EN566"}
	codesDuplicate = []Code{"EN043", "EN067", "EN095", "EN131", "EN115"}
	codesOurFault  = []Code{"EN079", "EN080", "EN081", "EN082"}
	codesFinding   = map[Code]FindingCode{
		"EN470": FindingDoubleRegistration, "EN471": FindingDoubleRegistration, "EN472": FindingDoubleRegistration,
		"EA030": FindingDoubleRegistration, "EA031": FindingDoubleRegistration,
		"EA044": FindingConsulateDisagrees, "EA045": FindingConsulateDisagrees, "EA046": FindingConsulateDisagrees, "EA047": FindingConsulateDisagrees,
		"EN141": FindingCFNotValidated, "EA002": FindingCFNotValidated, "EA029": FindingCFNotValidated,
		"EA003": FindingCFSuperseded, "EAA40": FindingCFSuperseded, "EAA50": FindingCFSuperseded, "EA036": FindingCFSuperseded, "EA040": FindingCFSuperseded,
		"EN164": FindingNotAIRE,
		"EN047": FindingCancelled, "EN054": FindingDeceased,
		"EC032": FindingPostUnknown, "EC033": FindingPostStateMismatch, "EC034": FindingPostUnknown,
	}
)

// readAnswer classifies a whole answer of a service. The error, when not nil,
// has Kind and Code set; the caller adds the rest. Order: the statuses that
// speak of the caller and not of the person; the body's shape; the register's
// codes; only then the person.
func readAnswer(service Service, status int, body []byte) (reading, *RegisterError) {
	a, ok := decodeAnswer(body)
	r := reading{opID: clip(string(a.OperationID), 64)}
	fail := func(kind ErrorKind, code ErrorCode) (reading, *RegisterError) {
		return r, &RegisterError{Kind: kind, Code: code, Title: gatewayTitle(a.Title)}
	}
	switch status {
	case 401:
		return fail(KindConfiguration, CodeTokenRefused)
	case 403:
		return fail(KindConfiguration, CodeForbidden)
	case 429:
		return fail(KindTemporary, CodeQuota)
	case 502, 503, 504:
		return fail(KindTemporary, CodeOutage)
	}
	if !ok {
		if status >= 500 {
			return fail(KindTemporary, CodeOutage)
		}
		return fail(KindTemporary, CodeNotJSON)
	}

	var errors []Code
	for _, n := range a.Errors {
		c := Code(clip(string(n.Code), 16))
		r.notices = append(r.notices, c)
		if !n.warning() {
			errors = append(errors, c)
		} else {
			r.warn(service, c)
		}
	}
	for _, n := range a.Anomalies {
		c := Code(clip(string(n.Code), 16))
		r.notices = append(r.notices, c)
		r.warn(service, c)
	}
	if len(errors) > 0 && !fault.Mutant("anpr.answer-errors") {
		return r.fromCodes(service, errors, a)
	}

	switch {
	case status == 200, fault.Mutant("anpr.answer-status"):
	case status == 400 && string(a.Title) == "InvalidRequestContent":
		return fail(KindConfiguration, CodeRequestInvalid)
	case status == 400:
		return fail(KindConfiguration, CodeRequestRefused)
	case status == 404:
		// The appliance in front does not know the path; the register was never
		// reached (spec §1.7, §8 row 13).
		return fail(KindTemporary, CodePathUnknown)
	case status >= 500:
		return fail(KindTemporary, CodeOutage)
	default:
		return fail(KindTemporary, CodeUnexpected)
	}
	if a.Subjects == nil || len(a.Subjects.List) == 0 {
		return fail(KindTemporary, CodeUnreadable)
	}
	if len(a.Subjects.List) > 1 {
		// Door A does not announce duplicates, it lists them (spec §8 row 17).
		r.findings = append(r.findings, Finding{Code: FindingDuplicate, Service: service, Detail: "several_subjects"})
		return r, nil
	}
	s := a.Subjects.List[0]
	if s.empty() {
		return fail(KindTemporary, CodeUnreadable)
	}
	r.subject = &s
	return r, nil
}

// warn turns a warning that means something into a finding; the others stay
// evidence only (EN148 comes with every search that is not by id).
func (r *reading) warn(service Service, c Code) {
	if f, ok := codesFinding[c]; ok {
		r.findings = append(r.findings, Finding{Code: f, Service: service, Source: c})
	}
}

// fromCodes judges an answer with errors. An outage code anywhere wins: what
// stands beside it cannot be trusted.
func (r reading) fromCodes(service Service, errors []Code, a wireAnswer) (reading, *RegisterError) {
	in := func(list []Code) (Code, bool) {
		for _, c := range errors {
			if slices.Contains(list, c) {
				return c, true
			}
		}
		return "", false
	}
	if c, ok := in(codesOutage); ok {
		return r, &RegisterError{Kind: KindTemporary, Code: CodeOutage, Source: c}
	}
	if c, ok := in(codesOurFault); ok {
		return r, &RegisterError{Kind: KindConfiguration, Code: CodeRequestInvalid, Source: c}
	}
	if c, ok := in(codesDuplicate); ok {
		r.findings = append(r.findings, Finding{Code: FindingDuplicate, Service: service, Source: c})
		return r, nil
	}
	told := false
	for _, c := range errors {
		if f, ok := codesFinding[c]; ok {
			// EN047 is "the subject is @": the text says what.
			if c == "EN047" && a.textOf(c, "decedut") {
				f = FindingDeceased
			}
			r.findings = append(r.findings, Finding{Code: f, Service: service, Source: c})
			told = true
		}
	}
	if told {
		return r, nil
	}
	if c, ok := in(codesAbsent); ok {
		r.absent = true
		code := FindingNotFound
		// The text is optional detail: only the code makes absence (spec §1.6).
		if a.textOf(c, "cancellat") {
			code = FindingCancelled
		}
		r.findings = append(r.findings, Finding{Code: code, Service: service, Source: c})
		return r, nil
	}
	return r, &RegisterError{Kind: KindConfiguration, Code: CodeUnknownCode, Source: errors[0]}
}

// textOf tells whether the text beside a code holds a word (lower case).
func (a wireAnswer) textOf(c Code, word string) bool {
	for _, n := range a.Errors {
		if Code(n.Code) == c && strings.Contains(strings.ToLower(string(n.Text)), word) {
			return true
		}
	}
	return false
}

func (s wireSubject) empty() bool {
	return s.Ids.ID == "" && s.General == (wireGeneral{}) && len(s.Residence) == 0 && len(s.Citizenships) == 0 && len(s.Info) == 0
}

var titleShape = regexp.MustCompile(`^[A-Za-z]{1,60}$`)

// gatewayTitle keeps GovWay's title when it is one word, as all of its own are.
func gatewayTitle(t wireText) string {
	if titleShape.MatchString(string(t)) {
		return string(t)
	}
	return ""
}

var (
	dateShape  = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	yearShape  = regexp.MustCompile(`^[0-9]{4}$`)
	istatShape = regexp.MustCompile(`^[0-9]{6}$`)
)

func dateText(t wireText) string {
	// Some answers carry a time after the date.
	s := string(t)
	if len(s) > 10 && (s[10] == 'T' || s[10] == ' ') {
		s = s[:10]
	}
	if dateShape.MatchString(s) {
		return s
	}
	return ""
}

// merge adds what one service said to the record. Earlier services win: the
// order of asking is the order of authority.
func (rec *Record) merge(service Service, s wireSubject) {
	p := &rec.Person
	rec.Found = true
	fill := func(dst *string, v wireText) {
		if *dst == "" {
			*dst = string(v)
		}
	}
	fill(&p.IDANPR, s.Ids.ID)
	g := s.General
	fill(&p.FiscalCode, wireText(strings.ToUpper(string(g.CF.Code))))
	switch g.CF.Validity {
	case "1":
		if p.FiscalCodeValidated == Unknown {
			p.FiscalCodeValidated = Yes
		}
	case "":
	default:
		p.FiscalCodeValidated = No
	}
	fill(&p.Surname, g.Surname)
	fill(&p.GivenName, g.Name)
	p.NoSurname = p.NoSurname || g.NoSurname.yes()
	p.NoGivenName = p.NoGivenName || g.NoName.yes()
	fill(&p.Sex, wireText(strings.ToUpper(string(g.Sex))))
	if p.BirthDate == "" {
		switch d := dateText(g.BirthDate); {
		case d == "":
			if yearShape.MatchString(string(g.BirthDate)) {
				p.BirthDate = string(g.BirthDate)
			}
		case g.NoDayMonth.yes():
			p.BirthDate = d[:4]
		case g.NoDay.yes():
			p.BirthDate = d[:7]
		default:
			p.BirthDate = d
		}
	}
	if p.BirthPlace == (BirthPlace{}) {
		b := g.BirthPlace
		p.BirthPlace = BirthPlace{
			ComuneISTAT: string(b.Comune.ISTAT), ComuneName: string(b.Comune.Name), Province: string(b.Comune.Province),
			Locality: string(b.Locality.Name), StateISTAT: string(b.Locality.Code), StateName: string(b.Locality.State),
			Exceptional: string(b.Exceptional),
		}
		if p.BirthPlace.Province == "" {
			p.BirthPlace.Province = string(b.Locality.Province)
		}
	}
	if g.AIRE.yes() {
		p.AIRE = Yes
	}
	fill(&p.ExpatriationYear, g.LeftIn)
	fill(&p.AIREComune.ISTAT, g.ComuneCard.ISTAT)
	if r, ok := currentResidence(s.Residence, rec.AsOf); ok && p.Address == (Address{}) {
		p.Address, p.Post = r.address()
		p.ResidenceSince = dateText(r.Since)
	}
	if len(p.Citizenships) == 0 {
		for _, c := range s.Citizenships {
			p.Citizenships = append(p.Citizenships, Citizenship{StateISTAT: string(c.Code), StateName: string(c.State)})
		}
	}
	for _, i := range s.Info {
		switch i.ID {
		case "1003": // alive: S, N, A
			switch strings.ToUpper(string(i.Value)) {
			case "S":
				if p.Alive != No {
					p.Alive = Yes
				}
			case "N":
				p.Alive = No
			case "A":
				rec.add(Finding{Code: FindingAliveUnknown, Service: service})
			}
		case "1015": // date of death; may be missing for a dead person
			if d := dateText(i.Date); d != "" {
				p.Alive, p.DiedOn = No, d
			}
		}
	}
	if dead, on := deathIn(s.Death); dead {
		p.Alive = No
		fill(&p.DiedOn, wireText(on))
	}
}

// deathIn reads datiDecesso, whose inner layout differs between services: any
// content at all means dead, a date in it is the date.
func deathIn(raw json.RawMessage) (dead bool, on string) {
	var block map[string]any
	if json.Unmarshal(raw, &block) != nil {
		return false, ""
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		case string:
			if v != "" {
				dead = true
			}
			if d := dateText(wireText(v)); d != "" && (on == "" || d < on) {
				on = d // the death itself comes before its registration
			}
		}
	}
	walk(block)
	return dead, on
}

// currentResidence takes, of the kinds that are a residence (1 in Italy, 4
// abroad, 6 care of abroad), the entry with the latest start not after asOf. A
// missing start is older than any (spec §1.5, §8 row 34).
func currentResidence(list []wireResidence, asOf string) (wireResidence, bool) {
	best, found := wireResidence{}, false
	for _, r := range list {
		switch r.Type {
		case "1", "4", "6", "":
		default:
			continue
		}
		if r.Italy == nil && r.Abroad == nil {
			continue
		}
		since := dateText(r.Since)
		if asOf != "" && since > asOf {
			continue
		}
		if !found || since > dateText(best.Since) {
			best, found = r, true
		}
	}
	return best, found
}

func (r wireResidence) address() (Address, PostRef) {
	a := Address{Type: string(r.Type), CareOf: string(r.CareOf), Notes: string(r.Notes)}
	if e := r.Abroad; e != nil {
		l := e.Address.Locality
		a.Foreign = true
		a.Street, a.Number, a.Postcode = string(e.Address.Street.Name), string(e.Address.Street.Number), string(e.Address.Postcode)
		a.Locality, a.Province = string(l.Name), string(l.Province)
		a.StateISTAT, a.StateName = string(l.Code), string(l.State)
		return a, PostRef{Code: string(e.Consulate.Code), Description: string(e.Consulate.Name)}
	}
	i := r.Italy
	a.Street = strings.TrimSpace(string(i.Street.Kind) + " " + string(i.Street.Name))
	a.Number = strings.TrimSpace(string(i.Number.Number) + string(i.Number.Letter) + " " + string(i.Number.Exponent))
	a.Postcode, a.Locality = string(i.Postcode), string(i.Hamlet)
	a.ComuneISTAT, a.ComuneName, a.Province = string(i.Comune.ISTAT), string(i.Comune.Name), string(i.Comune.Province)
	return a, PostRef{}
}

func (rec *Record) add(f Finding) {
	for _, g := range rec.Findings {
		if g.Code == f.Code && g.Source == f.Source && g.Detail == f.Detail {
			return
		}
	}
	rec.Findings = append(rec.Findings, f)
}

// judge adds the findings that come from the record as a whole, and settles
// what the flags leave open. got tells which services answered with the
// person's data: silence of the others proves nothing.
func (rec *Record) judge(q Query, got map[Service]bool, serves func(post, state string) (serves, known bool)) {
	p := &rec.Person
	if p.Alive == No {
		rec.add(Finding{Code: FindingDeceased})
		// A dead person has no active position: the absence is the death's.
		rec.Findings = slices.DeleteFunc(rec.Findings, func(f Finding) bool {
			return f.Code == FindingNotFound || f.Code == FindingCancelled || f.Code == FindingAliveUnknown
		})
	}
	if !rec.Found || rec.Has(FindingDuplicate) {
		return
	}
	// The flag may be null for an AIRE person (spec §8 row 29): a foreign
	// residence says the same.
	if p.AIRE == Unknown && p.Address != (Address{}) {
		p.AIRE = No
		if p.Address.Foreign {
			p.AIRE = Yes
		}
	}
	switch p.AIRE {
	case No:
		rec.add(Finding{Code: FindingNotAIRE})
		p.AIREComune = ComuneRef{} // it was the comune of residence
	case Unknown:
		if p.Alive != No && !rec.absent() {
			rec.add(Finding{Code: FindingAIREUnknown})
		}
	case Yes:
	}
	if got[C018] || len(p.Citizenships) > 0 {
		rec.judgeCitizenship()
	}
	if p.FiscalCode != "" && p.FiscalCode != q.FiscalCode && !rec.Has(FindingCFSuperseded) {
		rec.add(Finding{Code: FindingCFSuperseded})
	}
	// C030 answers no generalità: silence of the others is not "not validated".
	if (got[C015] || p.FiscalCode != "") && p.FiscalCodeValidated != Yes && p.hasGeneral() {
		rec.add(Finding{Code: FindingCFNotValidated})
	}
	rec.judgeNames(q)
	if p.AIRE == Yes {
		rec.judgeAbroad(got, serves)
	}
	if damaged(p.Surname, p.GivenName, p.Address.Street, p.Address.Locality, p.Address.CareOf, p.Address.Province) {
		rec.add(Finding{Code: FindingTextDamaged})
	}
}

func (rec *Record) absent() bool { return rec.Has(FindingNotFound) || rec.Has(FindingCancelled) }

func (p Person) hasGeneral() bool {
	return p.Surname != "" || p.GivenName != "" || p.BirthDate != "" || p.FiscalCode != ""
}

func (rec *Record) judgeCitizenship() {
	p := &rec.Person
	if len(p.Citizenships) == 0 {
		return
	}
	p.Italian = No
	for _, c := range p.Citizenships {
		if c.StateISTAT == "100" || strings.HasPrefix(strings.ToUpper(c.StateName), "ITALIA") {
			p.Italian = Yes
		}
	}
	if p.Italian == No {
		rec.add(Finding{Code: FindingForeigner})
	}
}

func (rec *Record) judgeNames(q Query) {
	p := rec.Person
	// Two people merged under one id show as a name that is not the code's
	// (spec §8 row 17): nobody else would notice.
	if len(p.FiscalCode) == 16 && (p.Surname != "" || p.GivenName != "") {
		surname, ok1 := codeOfName(p.Surname, false)
		given, ok2 := codeOfName(p.GivenName, true)
		if (ok1 && surname != p.FiscalCode[:3]) || (ok2 && given != p.FiscalCode[3:6]) {
			rec.add(Finding{Code: FindingNamesDiffer, Detail: "fiscal_code"})
		}
	}
	for _, n := range []struct{ declared, register, which string }{
		{q.Surname, p.Surname, "surname"}, {q.GivenName, p.GivenName, "given_name"},
	} {
		if n.register == "" {
			continue
		}
		if n.declared == "" {
			if utf8.RuneCountInString(n.register) == anagAireLimit {
				rec.add(Finding{Code: FindingNamesTruncated, Detail: n.which})
			}
			continue
		}
		switch CompareName(n.declared, n.register) {
		case NameTruncated:
			rec.add(Finding{Code: FindingNamesTruncated, Detail: n.which})
		case NameTransliterated:
			rec.add(Finding{Code: FindingNamesTransliterate, Detail: n.which})
		case NameDifferent:
			rec.add(Finding{Code: FindingNamesDiffer, Detail: n.which})
		case NameSame:
		}
	}
}

func (rec *Record) judgeAbroad(got map[Service]bool, serves func(post, state string) (serves, known bool)) {
	p := &rec.Person
	if c, ok := ComuneByISTAT(p.AIREComune.ISTAT); ok && istatShape.MatchString(p.AIREComune.ISTAT) {
		p.AIREComune.Name = c.Name
	} else if got[C015] {
		// Missing, or the literal "AIRE" (spec §8 row 27): nobody to send corrections to.
		p.AIREComune = ComuneRef{}
		rec.add(Finding{Code: FindingComuneUnknown})
	}
	if !got[C020] {
		return
	}
	if why := undeliverable(p.Address); why != "" {
		rec.add(Finding{Code: FindingAddressUndelivered, Detail: why})
	}
	switch {
	case p.Post.Code == "":
		rec.add(Finding{Code: FindingPostUnknown, Detail: "no_post"})
	case serves != nil && p.Address.StateISTAT != "":
		yes, known := serves(p.Post.Code, p.Address.StateISTAT)
		if !known {
			rec.add(Finding{Code: FindingPostUnknown, Detail: "code_unknown"})
		} else if !yes {
			rec.add(Finding{Code: FindingPostStateMismatch})
		}
	}
}

// undeliverable says why a parcel would not arrive; "" when nothing speaks
// against it (spec §4.4 localitaEstera rule, §8 row 25). The format of each
// country's addresses is judged elsewhere, with the tables for it.
func undeliverable(a Address) string {
	same := func(x, y string) bool { return x != "" && strings.EqualFold(x, y) }
	switch {
	case !a.Foreign:
		return "no_foreign_address"
	case a.Locality == "":
		return "no_locality"
	case a.StateISTAT == "" && a.StateName == "":
		return "no_state"
	case a.Street == "" && a.CareOf == "":
		return "no_street"
	case same(a.Street, a.Locality), same(a.Street, a.Locality+" "+a.Locality):
		return "street_is_locality"
	case doubled(a.Street):
		return "street_doubled"
	}
	return ""
}

// doubled finds a street text written twice in a row.
func doubled(s string) bool {
	w := strings.Fields(s)
	n := len(w) / 2
	return n >= 2 && len(w) == 2*n && slices.Equal(w[:n], w[n:])
}
