package gateway

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"airegw/anpr"
)

// A correction is the task of putting the register right. It is opened by a
// finding of a check, or by a citizen who says that the record is wrong; it is
// routed to the office that can mend it (specs/anpr-pdnd-modi.md §4.5: the
// comune of AIRE registration corrects AIRE data, the consulate asks for it),
// shown to the citizen, and closed when the register agrees. The request never
// depends on the task: what blocks it is the finding itself.

// CorrectionStatus is how far a correction is. The set is closed.
type CorrectionStatus string

// The statuses.
const (
	CorrectionOpen     CorrectionStatus = "open"     // nobody has acted yet
	CorrectionAsking   CorrectionStatus = "asking"   // the question to door C is stored and on its way
	CorrectionAsked    CorrectionStatus = "asked"    // door C took it: Reference
	CorrectionAnswered CorrectionStatus = "answered" // the office says what it did: Answer
	CorrectionClosed   CorrectionStatus = "closed"   // the register agrees, or there is nothing left to mend
)

// The operations of the consular door (door C) that mend the register.
const (
	AlignComune    = "C002" // the comune of AIRE registration is asked to align its data
	AlignTaxCode   = "C003" // the Revenue Agency is asked to attribute or validate a fiscal code
	correctionsMax = 200
)

// Why a correction is closed, and what an office may answer.
const (
	CorrectionAgrees   = "register_agrees" // the finding is gone
	CorrectionEnded    = "request_ended"   // the request it was for is over
	CorrectionDone     = "corrected"       // office: mended, ask again
	CorrectionRight    = "register_right"  // office: the register is right as it is
	CorrectionNotOurs  = "not_ours"        // office: somebody else must act; Said tells who
	reportedPrefix     = "reported."       // codes of what a citizen reports
	reportedTextsAtAll = 500
)

// WrongParts are what a citizen may report as wrong in the own record, in the
// order in which a form shows them. Each has texts reported.<part>.
func WrongParts() []string {
	return []string{"name", "birth", "address", "consulate", "comune", "tax_code", "citizenship", "other"}
}

// Correction is one task. Subject is personal data: of the person whose record
// is to be mended, kept encrypted, shown to the office that must act and to who
// sees the request.
type Correction struct {
	ID        string            `json:"id"` // request number, person and code: stable
	Request   string            `json:"request"`
	Office    Office            `json:"office,omitzero"` // who has to act; zero: nobody of ours
	Person    int               `json:"person,omitempty"`
	Code      string            `json:"code"` // a key of gateway/messages: what is wrong and what to do
	Who       string            `json:"who"`  // citizen, consulate, aire_comune, office
	Operation string            `json:"operation,omitempty"`
	Args      map[string]string `json:"args,omitempty"`
	Status    CorrectionStatus  `json:"status"`
	Answer    string            `json:"answer,omitempty"`    // the office's, or why it is closed
	Reference string            `json:"reference,omitempty"` // door C's
	Actor     Actor             `json:"-"`                   // who acted last
	Due       time.Time         `json:"-"`                   // of the next call to door C, or look at what is said to be done
	Tries     int               `json:"-"`
	Version   int64             `json:"-"`
	OpenedAt  time.Time         `json:"opened_at"`
	UpdatedAt time.Time         `json:"updated_at"`
	ClosedAt  time.Time         `json:"closed_at,omitzero"`
	Subject   CorrectionSubject `json:"-"`
}

// CorrectionSubject says whose record it is, and what the citizen said.
type CorrectionSubject struct {
	FiscalCode string `json:"fiscal_code"`
	Surname    string `json:"surname,omitempty"`
	GivenName  string `json:"given_name,omitempty"`
	Said       string `json:"said,omitempty"` // plain text, at most 500 characters
	Answer     string `json:"answer,omitempty"`
	Was        string `json:"was,omitempty"` // what the record said of the part reported, when it was reported
	Ask        string `json:"ask,omitempty"` // idempotency key of the question to door C
	// AskedAt is when door C was asked, DoneAt when it, or the office, said that it
	// is done.
	AskedAt time.Time `json:"asked_at,omitzero"`
	DoneAt  time.Time `json:"done_at,omitzero"`
	// Residence is what C002 asked to be written.
	Residence *CorrectedResidence `json:"residence,omitempty"`
}

// Reported says that a citizen opened it, not a check.
func (c Correction) Reported() bool { return strings.HasPrefix(c.Code, reportedPrefix) }

// CorrectionSync is what a check leaves of a request's corrections, in the same
// commit as the check: those in Open are there, opened (again) when they are
// not; the others that a check opened are closed with Why. All also closes what
// citizens reported.
type CorrectionSync struct {
	Open []Correction
	Why  string
	All  bool
	At   time.Time
}

// CorrectionStore keeps corrections. Errors are those of Store.
type CorrectionStore interface {
	// Corrections answers the corrections of one request (request not empty,
	// oldest first), or those an office has to act on (closed ones left out,
	// oldest first, after the one named, at most limit). A scope without office
	// or person, and a citizen's without a request, see nothing.
	Corrections(ctx context.Context, scope Scope, request, after string, limit int) ([]Correction, error)

	// Correction answers one by id: to the office that has to act, to who the
	// request names, to the gateway itself. NotFound otherwise.
	Correction(ctx context.Context, scope Scope, id string) (Correction, error)

	// AddCorrection stores one that somebody reported; one with its id that is
	// not closed stays as it is (created false).
	AddCorrection(ctx context.Context, c Correction, audit ...AuditEntry) (created bool, err error)

	// MoveCorrection replaces a correction by compare-and-set on c.Version,
	// which it raises: Conflict "correction_moved" when it went on since.
	MoveCorrection(ctx context.Context, c Correction, audit ...AuditEntry) error

	// ClaimCorrections answers up to n that wait for door C and are due, and
	// makes them due again at the lease's end; each claim raises the version.
	ClaimCorrections(ctx context.Context, now time.Time, lease time.Duration, n int) ([]Correction, error)

	// ClaimFollowed answers up to n that were asked of door C, or are said to be
	// done, and are due to be followed; as ClaimCorrections.
	ClaimFollowed(ctx context.Context, now time.Time, lease time.Duration, n int) ([]Correction, error)
}

// correctionID names a correction: it is the same for the same finding about
// the same person of a request, and fit for an address.
func correctionID(request string, person int, code string) string {
	return request + "." + strconv.Itoa(person) + "." + strings.TrimPrefix(code, registerPrefix)
}

const registerPrefix = "register."

// corrections answers what is to be mended after a check: one task per finding
// that somebody can mend. A refusal says itself what to do, and a finding that
// nobody needs to act on opens nothing.
func (g *Gateway) corrections(ctx context.Context, r *Request, checked *Checked, more ...Finding) (*CorrectionSync, error) {
	now := g.clock.Now()
	sync := &CorrectionSync{Why: CorrectionAgrees, At: now}
	for _, f := range append(slices.Clone(checked.Findings), more...) {
		c := Correction{
			ID: correctionID(r.ID, f.Person, f.Code), Request: r.ID, Person: f.Person, Code: f.Code, Who: f.Who, Args: f.Args,
			Status: CorrectionOpen, OpenedAt: now, UpdatedAt: now,
		}
		if f.Refuses || !mendable(f.Who) || f.Code == districtDisagrees || slices.ContainsFunc(sync.Open, func(o Correction) bool { return o.ID == c.ID }) {
			continue
		}
		record := recordOf(checked, f.Person)
		c.Office = r.mender(f.Who, lastKnown(r, f.Person, record), now)
		c.Operation = doorC(c)
		c.Subject = subjectOf(r, f.Person, record)
		sync.Open = append(sync.Open, c)
	}
	if unseen(checked) {
		// Only part of the record was seen: what is not in it proves nothing.
		known, err := g.store.Corrections(ctx, systemScope("correction"), r.ID, "", correctionsMax)
		if err != nil {
			return nil, wrap("read corrections", err)
		}
		for _, c := range known {
			same := func(o Correction) bool { return o.ID == c.ID }
			if c.Status != CorrectionClosed && !c.Reported() && !slices.ContainsFunc(sync.Open, same) {
				sync.Open = append(sync.Open, c)
			}
		}
	}
	return sync, nil
}

// unseen says that the register stopped before it had told all: whose data
// would have come next was a guess, or nobody was found.
func unseen(c *Checked) bool {
	return !c.Applicant.Found || c.Applicant.Has(anpr.FindingDuplicate)
}

// mendable says whether somebody can act on a finding.
func mendable(who string) bool {
	switch anpr.Owner(who) {
	case anpr.OwnerCitizen, anpr.OwnerOffice, anpr.OwnerConsulate, anpr.OwnerAIREComune:
		return true
	default:
		return false
	}
}

func recordOf(c *Checked, person int) anpr.Record {
	if person == 0 {
		return c.Applicant
	}
	if person <= len(c.Parents) {
		return c.Parents[person-1]
	}
	return anpr.Record{}
}

// lastKnown adds to a record where the person was registered when the register
// last told: an answer without data (EN470, EN122) must not lose who can mend it.
func lastKnown(r *Request, person int, record anpr.Record) anpr.Record {
	if r.Register == nil {
		return record
	}
	before := recordOf(r.Register, person).Person
	if record.Person.AIREComune == (anpr.ComuneRef{}) {
		record.Person.AIREComune = before.AIREComune
	}
	if record.Person.Post == (anpr.PostRef{}) {
		record.Person.Post = before.Post
	}
	if record.Person.Address == (anpr.Address{}) {
		record.Person.Address = before.Address
	}
	return record
}

// subjectOf answers whose record it is, as the register has them, else as the
// request does.
func subjectOf(r *Request, person int, record anpr.Record) CorrectionSubject {
	s := CorrectionSubject{FiscalCode: r.Input.Applicant.FiscalCode, Surname: r.Input.Applicant.Surname, GivenName: r.Input.Applicant.GivenName}
	if person > 0 && person <= len(r.Input.Parents) {
		p := r.Input.Parents[person-1]
		s = CorrectionSubject{FiscalCode: p.FiscalCode, Surname: p.Surname, GivenName: p.GivenName}
	}
	if record.Person.Surname != "" || record.Person.GivenName != "" {
		s.Surname, s.GivenName = record.Person.Surname, record.Person.GivenName
	}
	return s
}

// mender answers the office that has to act. A task that would be nobody's is
// followed up by the office of the request; before there is one, by nobody of
// ours: the citizen is told.
func (r *Request) mender(who string, record anpr.Record, at time.Time) Office {
	asked, _ := ParseOffice(r.Input.Office)
	post := func() Office { return postOf(record, asked, at) }
	switch anpr.Owner(who) {
	case anpr.OwnerAIREComune:
		if o, ok := ParseOffice(record.Person.AIREComune.ISTAT); ok && o.Kind == OfficeComune {
			return o
		}
		// Nobody knows which comune: the post finds out (C002 reaches it).
		if o := post(); !o.IsZero() {
			return o
		}
	case anpr.OwnerConsulate:
		if o := post(); !o.IsZero() {
			return o
		}
	case anpr.OwnerCitizen:
		return Office{}
	}
	return r.Office
}

// doorC answers the operation of door C that mends it: a post's means only.
func doorC(c Correction) string {
	if c.Office.Kind != OfficePost {
		return ""
	}
	switch c.Code {
	case registerPrefix + string(anpr.FindingCFNotValidated), reportedPrefix + "tax_code":
		return AlignTaxCode
	default:
		return AlignComune
	}
}

// Corrections answers the corrections of a request of this scope, oldest first,
// closed ones too.
func (d Desk) Corrections(ctx context.Context, number string) ([]Correction, error) {
	r, err := d.g.load(ctx, d.scope, number)
	if err != nil {
		return nil, err
	}
	// The scope sees the request, hence also what another office must mend for it.
	list, err := d.g.store.Corrections(ctx, systemScope("correction"), r.ID, "", correctionsMax)
	return list, wrap("read corrections", err)
}

// CorrectionsPage is how many tasks CorrectionTasks answers at most.
const CorrectionsPage = 50

// CorrectionTasks answers what the office of this scope has to act on, oldest
// first, at most CorrectionsPage after the one named. Forbidden for anybody but
// an office.
func (d Desk) CorrectionTasks(ctx context.Context, after string) ([]Correction, error) {
	if err := d.officeOnly(); err != nil {
		return nil, err
	}
	list, err := d.g.store.Corrections(ctx, d.scope, "", after, CorrectionsPage)
	return list, wrap("list corrections", err)
}

// OpenCorrection answers a task of the office of this scope, with whose record
// it is. The look is audited.
func (d Desk) OpenCorrection(ctx context.Context, id string) (Correction, error) {
	c, err := d.correction(ctx, id)
	if err != nil {
		return Correction{}, err
	}
	err = d.g.store.Audit(ctx, AuditEntry{At: d.g.clock.Now(), Actor: d.scope.actor, Act: "correction_opened", Subject: c.ID})
	return c, wrap("audit look", err)
}

func (d Desk) correction(ctx context.Context, id string) (Correction, error) {
	if err := d.officeOnly(); err != nil {
		return Correction{}, err
	}
	c, err := d.g.store.Correction(ctx, d.scope, id)
	return c, wrap("read correction", err)
}

// move stores a correction's next status with its audit entry.
func (d Desk) moveCorrection(ctx context.Context, c Correction, act string) error {
	c.UpdatedAt, c.Actor = d.g.clock.Now(), d.scope.actor
	if c.Status == CorrectionClosed {
		c.ClosedAt = c.UpdatedAt
	}
	payload := map[string]string{"code": c.Code}
	if c.Answer != "" {
		payload["answer"] = c.Answer
	}
	err := d.g.store.MoveCorrection(ctx, c, AuditEntry{At: c.UpdatedAt, Actor: c.Actor, Act: act, Subject: c.ID, Payload: payload})
	return wrap("store correction", err)
}

// AnswerCorrection records what the office that has to act did: CorrectionDone
// (then the register is asked again at once for the request), CorrectionRight
// (what a citizen reported is closed by it), CorrectionNotOurs. said is a line
// for the citizen, at most 500 characters, may be empty.
func (d Desk) AnswerCorrection(ctx context.Context, id, answer, said string) error {
	c, err := d.correction(ctx, id)
	if err != nil {
		return err
	}
	switch answer {
	case CorrectionDone, CorrectionRight, CorrectionNotOurs:
	default:
		return invalid("/answer", "correction_answer_unknown")
	}
	said, ok := plainLines(said)
	if !ok {
		return invalid("/said", "text_shape")
	}
	if c.Status == CorrectionClosed {
		return NewError(Conflict, "correction_closed")
	}
	c.Status, c.Answer, c.Subject.Answer, c.Due = CorrectionAnswered, answer, said, time.Time{}
	if answer == CorrectionDone {
		c.saidDone(answer, d.g.clock.Now())
	}
	if c.Reported() && answer == CorrectionRight {
		c.Status = CorrectionClosed
	}
	err = d.moveCorrection(ctx, c, "correction_answered")
	if err != nil || answer != CorrectionDone {
		return err
	}
	return d.g.askAgain(ctx, c.Request, d.scope.actor)
}

// askAgain has the register asked again for a request that still depends on it;
// one that went on, or waits for its check anyway, is left alone.
func (g *Gateway) askAgain(ctx context.Context, number string, actor Actor) error {
	r, err := g.load(ctx, systemScope("correction"), number)
	if err != nil {
		return err
	}
	if o := r.Order(); !slices.Contains(recheckable, r.State) || o != nil && !o.Dead {
		return nil
	}
	now := g.clock.Now()
	err = g.commit(ctx, r, Change{Work: &Work{Step: StepCheck, Due: now, Actor: actor}, Mark: &Mark{}, Audit: []AuditEntry{{
		At: now, Actor: actor, Act: "recheck_asked", Subject: r.ID,
	}}})
	if KindOf(err) == Conflict {
		return nil // it moves just now, by a check or an act of somebody else
	}
	return err
}

// ReportWrong opens a correction for what a citizen says is wrong in the own
// record: part is one of WrongParts, said their own words (plain text, 1 to 500
// characters). Only somebody the request names may, or the office that holds it
// for them; the office that can mend it sees it at once. It answers the task's
// id; reporting the same part twice answers the first task while it is open.
// Conflict "register_not_asked_yet" before the first check.
func (d Desk) ReportWrong(ctx context.Context, number, part, said string) (string, error) {
	if !slices.Contains(WrongParts(), part) {
		return "", invalid("/part", "reported_part_unknown")
	}
	said, ok := plainLines(said)
	if !ok || said == "" {
		return "", invalid("/said", "text_shape")
	}
	r, err := d.g.load(ctx, d.scope, number)
	if err != nil {
		return "", err
	}
	if r.Register == nil {
		return "", NewError(Conflict, "register_not_asked_yet")
	}
	if r.State.Final() {
		return "", moved(r)
	}
	now, person := d.g.clock.Now(), 0
	if code, ok := d.scope.Person(); ok {
		for i, p := range r.Input.Parents {
			if p.FiscalCode == code {
				person = i + 1
			}
		}
	}
	record := recordOf(r.Register, person)
	c := Correction{
		ID: correctionID(r.ID, person, reportedPrefix+part), Request: r.ID, Person: person, Code: reportedPrefix + part,
		Who: string(reportedTo(part)), Status: CorrectionOpen, OpenedAt: now, UpdatedAt: now, Actor: d.scope.actor,
		Subject: subjectOf(r, person, record),
	}
	c.Subject.Said, c.Subject.Was = said, partOf(record.Person, part)
	c.Office = r.mender(c.Who, record, now)
	c.Operation = doorC(c)
	_, err = d.g.store.AddCorrection(ctx, c, AuditEntry{At: now, Actor: d.scope.actor, Act: "correction_reported", Subject: c.ID})
	if err != nil {
		return "", wrap("store correction", err)
	}
	return c.ID, nil
}

// reportedTo answers who can mend a part of the record: the address abroad and
// the post are the consulate's, the rest the AIRE comune's.
func reportedTo(part string) anpr.Owner {
	switch part {
	case "address", "consulate", "tax_code":
		return anpr.OwnerConsulate
	case "other":
		return anpr.OwnerOffice
	default:
		return anpr.OwnerAIREComune
	}
}

// partOf answers what the record says of a part, as one text to be compared.
func partOf(p anpr.Person, part string) string {
	switch part {
	case "name":
		return p.Surname + "|" + p.GivenName
	case "birth":
		return p.BirthDate + "|" + p.BirthPlace.ComuneISTAT + "|" + p.BirthPlace.Locality + "|" + p.BirthPlace.StateISTAT
	case "address":
		a := p.Address
		return strings.Join([]string{a.CareOf, a.Street, a.Number, a.Postcode, a.Locality, a.Province, a.StateISTAT}, "|")
	case "consulate":
		return p.Post.Code
	case "comune":
		return p.AIREComune.ISTAT
	case "tax_code":
		return p.FiscalCode + "|" + string(p.FiscalCodeValidated)
	case "citizenship":
		return string(p.Italian)
	default:
		return ""
	}
}

// closeReported closes what was reported and has changed in the record since:
// the register agrees with the citizen, or says something new.
func (g *Gateway) closeReported(ctx context.Context, r *Request, checked *Checked) error {
	if unseen(checked) {
		return nil
	}
	list, err := g.store.Corrections(ctx, systemScope("correction"), r.ID, "", correctionsMax)
	if err != nil {
		return wrap("read corrections", err)
	}
	actor := systemScope("correction").actor
	for _, c := range list {
		part := strings.TrimPrefix(c.Code, reportedPrefix)
		if !c.Reported() || c.Status == CorrectionClosed || partOf(recordOf(checked, c.Person).Person, part) == c.Subject.Was {
			continue
		}
		now := g.clock.Now()
		c.Status, c.Answer, c.ClosedAt, c.UpdatedAt, c.Actor = CorrectionClosed, CorrectionAgrees, now, now, actor
		err = g.store.MoveCorrection(ctx, c, AuditEntry{At: now, Actor: actor, Act: "correction_closed", Subject: c.ID, Payload: map[string]string{"answer": c.Answer}})
		if err != nil && KindOf(err) != Conflict {
			return wrap("close correction", err)
		}
	}
	return nil
}

// lineBreaks are kept in what people write; nothing else that is no character.
var lineBreaks = regexp.MustCompile(`\r\n?`)

// plainLines tidies a text of a few lines; false when it is too long or holds
// what is no text.
func plainLines(s string) (string, bool) {
	s = strings.TrimSpace(lineBreaks.ReplaceAllString(s, "\n"))
	if len([]rune(s)) > reportedTextsAtAll || strings.ContainsRune(s, '\uFFFD') {
		return "", false
	}
	return s, !strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) })
}
