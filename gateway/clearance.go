package gateway

import (
	"context"
	"slices"
	"time"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/delivery"
	"airegw/gateway/fault"
	"airegw/policies"
)

// A request at a comune that is not the applicant's comune of AIRE enrolment is
// told to that comune and to the post, which may object within the working days
// the rules give (specs B.2.3; B.7 Q1; circ. 4/2013, 34/2007). The notice goes in
// the same commit as the register's answer. Silence is assent: no request ever
// waits for an answer. An objection parks the request for its own office, which
// goes on against it with a written reason or ends the request; once the core
// has the order it is a warning and no more.

// ToldAs is in what quality an office is told.
type ToldAs string

// The qualities.
const (
	ToldAIREComune ToldAs = "aire_comune"
	ToldPost       ToldAs = "post"
)

// What an office may answer to a notice; "" is no answer yet.
const (
	ClearanceNone      = "none"      // nothing against it
	ClearanceObjection = "objection" // with one of Grounds
	ClearanceWithdrawn = "withdrawn" // the objection is taken back
)

// What a notice's Status is besides an answer.
const (
	ClearanceOpen      = "open"      // may still be answered
	ClearanceSilent    = "silent"    // the last day is over: assent
	ClearanceOverruled = "overruled" // the request's office goes on against the objection
	ClearanceClosed    = "closed"    // the request ended without an answer
)

// groundOther is the ground that needs a text.
const groundOther = "other"

// Grounds are the reasons an office may object for, in the order in which a form
// shows them. Each has a text clearance.ground.<ground>.
func Grounds() []string {
	return []string{"data_differ", "enrolment_ended", "request_under_way", "bar_to_issue", groundOther}
}

const clearanceListed = 50

// Told is a notice as the check that sent it keeps it in the request's history.
type Told struct {
	Notice  string `json:"notice"`
	Office  Office `json:"office"`
	As      ToldAs `json:"as"`
	LastDay string `json:"last_day"` // YYYY-MM-DD
}

// Clearance is one notice. The subject is personal data, kept encrypted and
// shown to the office that was told; the text of an objection also to the
// office of the request.
type Clearance struct {
	ID          string // request number and office: one notice for each
	Request     string
	Office      Office // who was told
	As          ToldAs
	Asked       Office // where the card was asked for
	Reason      policies.Reason
	RequestedAt time.Time
	ToldAt      time.Time
	LastDay     string    // YYYY-MM-DD, in Rome
	Until       time.Time // end of LastDay
	Rule        string    // id of the rule that gave the days
	Answer      string
	Ground      string
	AnsweredAt  time.Time
	Actor       Actor // who answered
	OverruledAt time.Time
	ClosedAt    time.Time // the request ended
	Version     int64
	Subject     ClearanceSubject
}

// ClearanceSubject says who asked for the card, as the register has them, and
// what the office that was told says.
type ClearanceSubject struct {
	FiscalCode string `json:"fiscal_code"`
	Surname    string `json:"surname,omitempty"`
	GivenName  string `json:"given_name,omitempty"`
	BirthDate  string `json:"birth_date,omitempty"`
	Text       string `json:"text,omitempty"` // of an objection, at most 500 characters
}

// Status answers how a notice stands at an instant: its answer, or one of the
// statuses above. Nothing but the clock closes an unanswered one.
func (c Clearance) Status(now time.Time) string {
	switch {
	case !c.OverruledAt.IsZero():
		return ClearanceOverruled
	case c.Answer != "":
		return c.Answer
	case !c.ClosedAt.IsZero():
		return ClearanceClosed
	case now.Before(c.Until):
		return ClearanceOpen
	default:
		return ClearanceSilent
	}
}

// ClearanceChange is what a change of a request does to its notices, in the same
// commit.
type ClearanceChange struct {
	Tell     []Clearance // stored, unless the request has told that office before
	Answer   *Clearance  // by compare-and-set on Version: Conflict "clearance_moved"
	Overrule time.Time   // the objections that stand are overruled
	Close    time.Time   // the request is over
}

// ClearanceQuery narrows a list of notices.
type ClearanceQuery struct {
	Request string    // of this request; only for the gateway itself
	OpenAt  time.Time // those that may be answered at that instant; zero: all
	After   string    // id of the last one of the page before
	Limit   int
}

// ClearanceStore keeps notices; Change.Clearances writes them. Errors are those
// of Store.
type ClearanceStore interface {
	// Clearances answers the notices to the office of a scope: open ones by their
	// last day, all of them newest first. A citizen's scope and one without office
	// see nothing; the gateway's own sees those of one request, oldest first.
	Clearances(ctx context.Context, scope Scope, q ClearanceQuery) ([]Clearance, error)

	// Clearance answers one by id to the office that was told and to the gateway
	// itself; NotFound otherwise.
	Clearance(ctx context.Context, scope Scope, id string) (Clearance, error)

	// CountClearances answers how many notices the office of a scope may answer
	// at an instant; counting ends at most.
	CountClearances(ctx context.Context, scope Scope, now time.Time, most int) (int, error)
}

// Objection is one that was raised against a request.
type Objection struct {
	Notice    string
	Office    Office
	Ground    string
	At        time.Time
	Lifted    time.Time // withdrawn by its office
	Overruled time.Time // by the office of the request
}

type objectionData struct {
	Notice string `json:"notice,omitempty"`
	Office Office `json:"office,omitzero"`
	Ground string `json:"ground,omitempty"`
}

type overruledPrivate struct {
	Why string `json:"why"`
}

// absorbClearance reads what an office said to a notice, or that the request
// goes on against it.
func (r *Request) absorbClearance(e Event) error {
	var d objectionData
	if err := read(e.Data, &d); err != nil {
		return err
	}
	r.Objections = slices.Clone(r.Objections) // a twin may share them
	if e.Type == EventObjected {
		r.Objections = slices.DeleteFunc(r.Objections, func(o Objection) bool { return o.Notice == d.Notice })
		r.Objections = append(r.Objections, Objection{Notice: d.Notice, Office: d.Office, Ground: d.Ground, At: e.At})
		return nil
	}
	for i := range r.Objections {
		o := &r.Objections[i]
		switch {
		case !o.Lifted.IsZero() || !o.Overruled.IsZero():
		case e.Type == EventObjectionOverruled:
			o.Overruled = e.At
		case o.Notice == d.Notice:
			o.Lifted = e.At
		}
	}
	return nil
}

// objection answers the first objection that stands; nil without one.
func (r *Request) objection() *Objection {
	for i := range r.Objections {
		if o := &r.Objections[i]; o.Lifted.IsZero() && o.Overruled.IsZero() {
			return o
		}
	}
	return nil
}

// notRelayed are the states in which nothing of the request lives at the core
// that an objection could not stop.
var notRelayed = []State{
	StateSubmitted, StatePrechecked, StateMisaligned, StateInEnquiry, StateSuspended, StateFormsReady, StateSigned,
}

// Objected answers the objection a request is parked for; nil when nothing
// stands in its way. After the relay an objection stops nothing.
func (r *Request) Objected() *Objection {
	if fault.Mutant("gateway.objection-stops") || !slices.Contains(notRelayed, r.State) {
		return nil
	}
	return r.objection()
}

const markObjection = "clearance_objection"

func (o *Objection) mark() Mark {
	return Mark{Kind: MarkParked, Code: markObjection, Detail: o.Office.Name() + ": " + o.Ground}
}

// error says that the request does not go on against an objection that stands.
func (o *Objection) error() error {
	return NewError(Conflict, markObjection, "office", o.Office.Name())
}

// holdByObjection keeps a request parked as long as an objection stands and the
// core has no order, whatever a change makes of the mark, and lets it go on
// when none does. A request parked for another reason keeps that one.
func (c *Change) holdByObjection(before, after *Request) {
	mark := before.Mark
	if c.Mark != nil {
		mark = *c.Mark
	}
	o := after.Objected()
	switch {
	case o != nil && (mark.Kind != MarkParked || mark.Code == markObjection):
		held := o.mark()
		c.Mark = &held
	case o == nil && mark.Code == markObjection:
		c.Mark, c.Unpark = &Mark{}, true
	}
}

// tellOthers adds the notices that follow from a check to its change: to the
// comune of AIRE enrolment and to the post, each once per request. r is the
// request before the events.
func (g *Gateway) tellOthers(r *Request, c *Change, events []Event) error {
	asked, ok := ParseOffice(r.Input.Office)
	if !ok || r.Channel != policies.ChannelComune {
		return nil
	}
	for _, e := range events {
		if eventTarget[e.Type].Final() {
			return nil // over at once: nobody has anything to clear
		}
	}
	for i := range events {
		e := &events[i]
		if e.Type != EventChecked {
			continue
		}
		var checked Checked
		var private checkedPrivate
		if err := both(*e, &checked, &private); err != nil {
			return wrap("read check", err)
		}
		checked.Applicant = private.Applicant
		notices, err := g.noticesOf(r, asked, &checked, e.At)
		if err != nil {
			return err
		}
		for _, n := range notices {
			checked.Told = append(checked.Told, Told{n.ID, n.Office, n.As, n.LastDay})
		}
		if len(notices) == 0 {
			continue
		}
		e.Data = payload(checked)
		if c.Clearances == nil {
			c.Clearances = &ClearanceChange{}
		}
		c.Clearances.Tell = append(c.Clearances.Tell, notices...)
	}
	return nil
}

// noticesOf answers the notices a check demands that were not sent yet.
func (g *Gateway) noticesOf(r *Request, asked Office, checked *Checked, at time.Time) ([]Clearance, error) {
	p := checked.Applicant.Person
	enrolled, known := enrolment(p)
	if unseen(checked) || !known || enrolled == asked {
		return nil, nil // whose comune it is was not told, or it is asked itself
	}
	rules := g.rules.now(at).Notices(&policies.Facts{On: at, Channel: r.Channel, OfficeIsAIREComune: policies.No})
	if len(rules) == 0 {
		return nil, nil
	}
	rule := rules[0]
	last, _, err := delivery.Due(policies.DateOf(at), rule.WorkingDays)
	if err != nil {
		return nil, wrap("reckon the last day", err)
	}
	after := last.AddDays(1)
	until := time.Date(after.Year, after.Month, after.Day, 0, 0, 0, 0, policies.Rome()).UTC()
	requested := r.CreatedAt
	var out []Clearance
	tell := func(office Office, as ToldAs) {
		told := func(t Told) bool { return t.Office == office }
		if office.IsZero() || office == asked || slices.ContainsFunc(r.Told, told) {
			return
		}
		out = append(out, Clearance{
			ID: clearanceID(r.ID, office), Request: r.ID, Office: office, As: as, Asked: asked, Reason: r.Input.Reason,
			RequestedAt: requested, ToldAt: at, LastDay: last.String(), Until: until, Rule: rule.Rule, Version: 1,
			Subject: ClearanceSubject{FiscalCode: r.Input.Applicant.FiscalCode, Surname: p.Surname, GivenName: p.GivenName, BirthDate: p.BirthDate},
		})
	}
	tell(enrolled, ToldAIREComune)
	tell(postOf(checked.Applicant, asked, at), ToldPost)
	return out, nil
}

// enrolment answers the comune of AIRE enrolment; of one that ceased its
// successor, when there is one only.
func enrolment(p anpr.Person) (Office, bool) {
	istat := p.AIREComune.ISTAT
	if c, ok := anpr.ComuneByISTAT(istat); ok && !c.Ended.IsZero() && len(c.Successors) == 1 {
		istat = c.Successors[0]
	}
	o, ok := ParseOffice(istat)
	return o, ok && o.Kind == OfficeComune
}

// postOf answers the post of a record: the one the register names, or who took
// over from it, else the one that was asked, else the one of the district.
func postOf(record anpr.Record, asked Office, at time.Time) Office {
	if p, ok := consulate.PostByCode(record.Person.Post.Code); ok {
		if p, ok = p.InCharge(at); ok {
			return Office{OfficePost, p.Key}
		}
	}
	if asked.Kind == OfficePost {
		return asked
	}
	a := record.Person.Address
	if answer := consulate.Competent(consulate.Address{
		ISO2: residenceCountry(record.Person), Street: a.Street, City: a.Locality, Postcode: a.Postcode, Region: a.Province,
	}); answer.Post != nil {
		return Office{OfficePost, answer.Post.Key}
	}
	return Office{}
}

// clearanceID names a notice, fit for an address.
func clearanceID(request string, office Office) string { return request + "." + office.Code }

// Notices answers the notices to the office of this scope: those that may still
// be answered, by their last day, or all of them, newest first; at most 50 after
// the one named. Forbidden for anybody but an office.
func (d Desk) Notices(ctx context.Context, open bool, after string) ([]Clearance, error) {
	if err := d.officeOnly(); err != nil {
		return nil, err
	}
	q := ClearanceQuery{After: after, Limit: clearanceListed}
	if open {
		q.OpenAt = d.g.clock.Now()
	}
	list, err := d.g.store.Clearances(ctx, d.scope, q)
	return list, wrap("list notices", err)
}

// CountNotices answers how many notices the office of this scope may still
// answer, at most 100. Forbidden for anybody but an office.
func (d Desk) CountNotices(ctx context.Context) (int, error) {
	if err := d.officeOnly(); err != nil {
		return 0, err
	}
	n, err := d.g.store.CountClearances(ctx, d.scope, d.g.clock.Now(), 100)
	return n, wrap("count notices", err)
}

// OpenNotice answers one notice to the office that was told, with whom it is
// about. The look is audited. NotFound for everybody else, the office of the
// request among them.
func (d Desk) OpenNotice(ctx context.Context, id string) (Clearance, error) {
	c, err := d.notice(ctx, id)
	if err != nil {
		return Clearance{}, err
	}
	err = d.g.store.Audit(ctx, AuditEntry{At: d.g.clock.Now(), Actor: d.scope.actor, Act: "notice_opened", Subject: c.ID})
	return c, wrap("audit look", err)
}

func (d Desk) notice(ctx context.Context, id string) (Clearance, error) {
	if err := d.officeOnly(); err != nil {
		return Clearance{}, err
	}
	c, err := d.g.store.Clearance(ctx, d.scope, id)
	return c, wrap("read notice", err)
}

// NoticesSent answers the notices a request of this scope's office has sent,
// oldest first, with their answers. Forbidden for anybody but an office.
func (d Desk) NoticesSent(ctx context.Context, number string) ([]Clearance, error) {
	r, err := d.g.load(ctx, d.scope, number)
	if err != nil {
		return nil, err
	}
	if err := d.officeOnly(); err != nil {
		return nil, err
	}
	return NoticesOf(ctx, d.g.store, r.ID)
}

// NoticesOf answers the notices of a request without asking who may see it: for
// `airegw explain`, as Replay.
func NoticesOf(ctx context.Context, s Store, number string) ([]Clearance, error) {
	list, err := s.Clearances(ctx, systemScope("clearance"), ClearanceQuery{Request: number})
	return list, wrap("read notices", err)
}

// ClearanceReply is what an office answers to a notice.
type ClearanceReply struct {
	Answer string `json:"answer"`           // ClearanceNone, ClearanceObjection or ClearanceWithdrawn
	Ground string `json:"ground,omitempty"` // of an objection: one of Grounds
	Text   string `json:"text,omitempty"`   // of an objection, at most 500 characters; needed for "other"
}

// checked answers the reply tidied, or Invalid.
func (a ClearanceReply) checked() (ClearanceReply, error) {
	text, ok := plainLines(a.Text)
	switch {
	case !ok:
		return a, invalid("/text", "text_shape")
	case a.Answer == ClearanceNone || a.Answer == ClearanceWithdrawn:
		if a.Ground != "" || text != "" {
			return a, invalid("/ground", "clearance_ground_of_objection")
		}
	case a.Answer != ClearanceObjection:
		return a, invalid("/answer", "clearance_answer_unknown")
	case !slices.Contains(Grounds(), a.Ground):
		return a, invalid("/ground", "clearance_ground_unknown")
	case a.Ground == groundOther && text == "":
		return a, invalid("/text", "clearance_text_missing")
	}
	a.Text = text
	return a, nil
}

// answerable says whether the reply may be given to the notice at an instant.
func (c Clearance) answerable(a ClearanceReply, now time.Time) error {
	switch {
	case !c.ClosedAt.IsZero():
		return NewError(Conflict, "clearance_closed")
	case !c.OverruledAt.IsZero():
		return NewError(Conflict, "clearance_overruled")
	case a.Answer == ClearanceWithdrawn && c.Answer != ClearanceObjection:
		return NewError(Conflict, "clearance_nothing_to_withdraw")
	case a.Answer != ClearanceWithdrawn && !now.Before(c.Until) && !fault.Mutant("gateway.clearance-day"):
		return NewError(Conflict, "clearance_over", "day", c.LastDay)
	}
	return nil
}

// clearanceEvents is the event of each answer.
var clearanceEvents = map[string]EventType{
	ClearanceNone: EventClearanceGiven, ClearanceObjection: EventObjected, ClearanceWithdrawn: EventObjectionWithdrawn,
}

// AnswerNotice records what the office that was told says: until the last day
// that it has nothing against the request, or that it objects, as often as it
// changes its mind; an objection may be withdrawn at any time. Durable on return,
// with what follows for the request. The same answer again changes nothing.
//
// Errors: Invalid; NotFound for any other office; Conflict "clearance_over" after
// the last day, "clearance_closed" when the request is over,
// "clearance_overruled" when its office has decided,
// "clearance_nothing_to_withdraw".
func (d Desk) AnswerNotice(ctx context.Context, id string, reply ClearanceReply) error {
	reply, err := reply.checked()
	if err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		c, err := d.notice(ctx, id)
		if err != nil {
			return err
		}
		now := d.g.clock.Now()
		if c.Answer == reply.Answer && c.Ground == reply.Ground && c.Subject.Text == reply.Text {
			return nil
		}
		err = c.answerable(reply, now)
		if err != nil {
			return err
		}
		c.Answer, c.Ground, c.Subject.Text, c.AnsweredAt, c.Actor = reply.Answer, reply.Ground, reply.Text, now, d.scope.actor
		err = d.g.answerNotice(ctx, c)
		// A worker may move the request between reading and writing.
		if KindOf(err) != Conflict || tries == 4 {
			return err
		}
	}
}

// answerNotice stores an answer with its event, by the gateway itself: the
// office that was told does not see the request.
func (g *Gateway) answerNotice(ctx context.Context, c Clearance) error {
	r, err := g.load(ctx, systemScope("clearance"), c.Request)
	if err != nil {
		return err
	}
	audit := AuditEntry{At: c.AnsweredAt, Actor: c.Actor, Act: "notice_answered", Subject: c.ID, Payload: map[string]string{"answer": c.Answer}}
	if c.Ground != "" {
		audit.Payload["ground"] = c.Ground
	}
	return g.commit(ctx, r, Change{Clearances: &ClearanceChange{Answer: &c}, Audit: []AuditEntry{audit}}, Event{
		Type: clearanceEvents[c.Answer], At: c.AnsweredAt, Actor: c.Actor,
		Data: payload(objectionData{Notice: c.ID, Office: c.Office, Ground: c.Ground}),
	})
}

// Overrule lets a request go on against the objections that stand, for a written
// reason (1 to 500 characters), as its office may decide; only a referent may.
// Conflict "no_objection" when none holds it.
func (d Desk) Overrule(ctx context.Context, number, why string) error {
	if d.scope.actor.Role != RoleReferent {
		return NewError(Forbidden, "referent_only")
	}
	why, ok := plainLines(why)
	if !ok || why == "" {
		return invalid("/why", "text_shape")
	}
	return d.act(ctx, number, func(r *Request, now time.Time) (Change, []Event, error) {
		if r.Objected() == nil {
			return Change{}, nil, NewError(Conflict, "no_objection")
		}
		return Change{Clearances: &ClearanceChange{Overrule: now}}, []Event{{
			Type: EventObjectionOverruled, At: now, Actor: d.scope.actor, Private: payload(overruledPrivate{Why: why}),
		}}, nil
	})
}
