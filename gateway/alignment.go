package gateway

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"airegw/anpr"
	"airegw/consulate"
)

// How a correction goes through the consular door and what becomes of it
// afterwards: a post asks (C002, C003), a worker carries the question, follows
// it while a clerk of the comune of AIRE registration works on it, and when that
// is over has the person checked again, so that the request that waits goes on.
// What the register did not take comes back to the post's desk.

// Alignment is the consular service (door C) by which a post asks the register
// to be put right; the profile that has it hands it in (Parts.Alignment).
//
// Errors: *anpr.RegisterError waits and is tried again; *AlignmentRefusal is the
// service's final no; nothing else is expected, and waits.
type Alignment interface {
	Align(ctx context.Context, a AlignmentRequest) (AlignmentAnswer, error)
}

// AlignmentRequest is one question to door C.
type AlignmentRequest struct {
	Operation  string // AlignComune or AlignTaxCode
	Key        string // the same for a repeat of the same question
	Post       consulate.Post
	Actor      Actor  // the operator of the post who asked
	Reason     string // number of the request, for the register's audit
	Code       string // what is wrong, as Correction.Code
	FiscalCode string
	Record     anpr.Record // as last seen; Found false when the register knows nothing
	Comune     anpr.ComuneRef
	Note       string // what the citizen said, may be empty
	// Residence is what the person's residence is to be (C002); zero: not asked for.
	Residence anpr.Address
	Since     string // YYYY-MM-DD, since when; may be empty
	// Follow is the reference of an earlier C002: asks how it stands, in place of
	// asking anew. Key is then not used.
	Follow string
}

// AlignmentAnswer is what door C said.
type AlignmentAnswer struct {
	Reference string // its id of the request, to be quoted
	Closed    bool   // statoRichiesta 1: worked on to the end
	// Pending says that the same was open already (EN179); its reference is not told.
	Pending bool
}

// AlignmentRefusal is a final no of door C: it does not change by repeating.
type AlignmentRefusal struct {
	Code string // the register's, as EC034
	Err  error
}

// Error answers the refusal for the log.
func (v *AlignmentRefusal) Error() string { return "door C refuses: " + v.Code }

// Unwrap answers the client's own error.
func (v *AlignmentRefusal) Unwrap() error { return v.Err }

// What becomes of a question to door C, as Correction.Answer.
const (
	AlignmentRefused  = "refused"   // the register did not take the question: open again, with its code
	AlignmentAligned  = "aligned"   // the register says that it is worked on to the end: the person is checked again
	AlignmentNotTaken = "not_taken" // said to be done, but the register still says the same: open again
	AlignmentOverdue  = "overdue"   // still worked on after Settings.AlignOverdue: the desk is told
)

// AskAlignment asks door C to mend it (C002, C003), as an operator of the post
// that has to act; residence, when not nil, is what C002 asks to be written. The
// intent is durable on return; a worker asks. Invalid when the residence cannot
// be asked for, Conflict "alignment_not_here" when door C cannot mend it,
// "alignment_under_way" when it was asked; Unavailable
// "alignment_not_configured" without door C.
func (d Desk) AskAlignment(ctx context.Context, id string, residence *CorrectedResidence) error {
	c, err := d.correction(ctx, id)
	switch {
	case err != nil:
		return err
	case c.Status == CorrectionClosed:
		return NewError(Conflict, "correction_closed")
	case c.Operation == "":
		return NewError(Conflict, "alignment_not_here")
	case c.Status == CorrectionAsking || c.Status == CorrectionAsked:
		return NewError(Conflict, "alignment_under_way")
	case d.g.alignment == nil:
		return NewError(Unavailable, "alignment_not_configured")
	}
	now := d.g.clock.Now()
	if residence != nil {
		if c.Operation != AlignComune {
			return invalid("/residence", "residence_not_here")
		}
		post, _ := consulate.PostByKey(c.Office.Code)
		tidied := residence.tidy()
		if problems := tidied.check(post, now); len(problems) > 0 {
			return &Error{Kind: Invalid, Code: "invalid_input", Problems: problems}
		}
		residence = &tidied
	}
	c.Status, c.Due, c.Tries, c.Answer, c.Reference = CorrectionAsking, now, 0, "", ""
	c.Subject.Ask = c.ID + "@" + strconv.FormatInt(now.UnixMicro(), 10)
	c.Subject.AskedAt, c.Subject.Residence = now, residence
	err = d.moveCorrection(ctx, c, "alignment_asked")
	if err == nil {
		poke(d.g.wakeAlign)
	}
	return err
}

// AlignOnce asks door C for the corrections that wait for it (claim, ask, keep
// the reference or wait), and once a minute follows those that were asked or are
// said to be done. again says that there may be more at once.
func (g *Gateway) AlignOnce(ctx context.Context) (again bool, err error) {
	now := g.clock.Now()
	var due, followed []Correction
	if g.alignment != nil {
		due, err = g.store.ClaimCorrections(ctx, now, g.set.Lease, g.set.Workers)
		if err != nil {
			return false, wrap("claim corrections", err)
		}
	}
	if g.timeToFollow(now) {
		followed, err = g.store.ClaimFollowed(ctx, now, g.set.Lease, g.set.Workers)
		if err != nil {
			return false, wrap("claim corrections to follow", err)
		}
		g.lookAgain(now, len(followed) > 0)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(due)+len(followed))
	for i, c := range due {
		wg.Go(func() { errs[i] = g.align(ctx, c) })
	}
	for i, c := range followed {
		wg.Go(func() { errs[len(due)+i] = g.follow(ctx, c) })
	}
	wg.Wait()
	return len(errs) > 0, errors.Join(errs...)
}

// followEvery is how often the corrections to be followed are looked for: they
// are followed every few hours, and no index serves them alone.
const followEvery = time.Minute

func (g *Gateway) timeToFollow(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	// A clock that went back must not keep it waiting.
	return !now.Before(g.followAt) || now.Before(g.followAt.Add(-followEvery))
}

func (g *Gateway) lookAgain(now time.Time, atOnce bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.followAt = now
	if !atOnce {
		g.followAt = now.Add(followEvery)
	}
}

func (g *Gateway) align(ctx context.Context, c Correction) error {
	ctx, cancel := context.WithTimeout(ctx, g.set.Lease)
	defer cancel()
	r, err := g.load(ctx, systemScope("correction"), c.Request)
	if err != nil {
		return err
	}
	answer, err := g.alignment.Align(ctx, alignmentRequest(r, c))
	now := g.clock.Now()
	var refused *AlignmentRefusal
	act := "alignment_answered"
	switch {
	case errors.As(err, &refused):
		act = c.refusedBy(refused)
	case err != nil:
		c.Tries++
		c.Due = latest(now.Add(g.after(c.Tries)), retryAt(err))
		act = "alignment_waits"
		g.log.Warn("door C gave no clear answer", "operation", c.Operation, "correction", c.ID, "try", c.Tries, "err", err)
	case answer.Closed:
		c.Reference = answer.Reference
		c.saidDone(AlignmentAligned, now)
	default:
		c.Status, c.Reference, c.Tries, c.Due = CorrectionAsked, answer.Reference, 0, now.Add(g.set.AlignFollow)
	}
	return g.aligned(ctx, c, act, now)
}

// aligned stores what became of a question, and has the person checked again
// when the register says that it is done.
func (g *Gateway) aligned(ctx context.Context, c Correction, act string, now time.Time) error {
	c.UpdatedAt = now
	err := g.store.MoveCorrection(ctx, c, AuditEntry{At: now, Actor: c.Actor, Act: act, Subject: c.ID, Payload: map[string]string{"operation": c.Operation, "reference": c.Reference}})
	if KindOf(err) == Conflict {
		return nil // closed, or answered by the office, meanwhile
	}
	if err != nil {
		return wrap("store correction", err)
	}
	if c.Answer == AlignmentAligned {
		return g.askAgain(ctx, c.Request, c.Actor)
	}
	return nil
}

// alignmentRequest is the question about a correction, with the record as last
// seen.
func alignmentRequest(r *Request, c Correction) AlignmentRequest {
	ask := AlignmentRequest{
		Operation: c.Operation, Key: c.Subject.Ask, Actor: c.Actor, Reason: r.ID, Code: c.Code,
		FiscalCode: c.Subject.FiscalCode, Note: c.Subject.Said,
	}
	ask.Post, _ = consulate.PostByKey(c.Office.Code)
	if r.Register != nil {
		ask.Record = recordOf(r.Register, c.Person)
		ask.Comune = lastKnown(r, c.Person, ask.Record).Person.AIREComune
	}
	if c.Subject.Residence != nil {
		ask.Residence, ask.Since = c.Subject.Residence.address(ask.Record), c.Subject.Residence.Since
	}
	return ask
}

// refusedBy opens a correction again, with the register's reason: somebody must
// look. It answers the act for the audit.
func (c *Correction) refusedBy(v *AlignmentRefusal) string {
	c.Status, c.Answer, c.Due = CorrectionOpen, AlignmentRefused, time.Time{}
	c.Args = withArg(c.Args, "source", v.Code)
	return "alignment_refused"
}

// settleFirst is when somebody looks whether what is said to be done shows in
// the register: the check that was asked for at once is over by then.
const settleFirst = 15 * time.Minute

// saidDone marks a correction as done, by the word of the register or of the
// office; the check that follows at once closes it if the register agrees.
func (c *Correction) saidDone(answer string, now time.Time) {
	c.Status, c.Answer, c.Tries = CorrectionAnswered, answer, 0
	c.Subject.DoneAt, c.Due = now, now.Add(settleFirst)
}

// settles is how long the register may go on saying the same after it was
// mended: what it holds of the consular file is two days old (§8 row 31), and a
// double registration lingers (row 18); anything else shows at once.
func (c Correction) settles(s Settings) time.Duration {
	switch c.Code {
	case registerPrefix + string(anpr.FindingConsulateDisagrees), registerPrefix + string(anpr.FindingDoubleRegistration):
		return s.AlignSettle
	default:
		return 0
	}
}

// follow looks how a correction stands that was asked of door C or is said to be
// done.
func (g *Gateway) follow(ctx context.Context, c Correction) error {
	ctx, cancel := context.WithTimeout(ctx, g.set.Lease)
	defer cancel()
	r, err := g.load(ctx, systemScope("correction"), c.Request)
	if err != nil {
		return err
	}
	if c.Status == CorrectionAnswered {
		return g.settle(ctx, r, c)
	}
	now := g.clock.Now()
	act := "alignment_followed"
	c.Due = now.Add(g.set.AlignFollow)
	if since := latest(c.Subject.AskedAt, c.OpenedAt); c.Answer == "" && !now.Before(since.Add(g.set.AlignOverdue)) {
		c.Answer, act = AlignmentOverdue, "alignment_overdue"
	}
	if g.alignment == nil || c.Operation != AlignComune || c.Reference == "" {
		// C003 cannot be followed, nor can what another had asked before (EN179): the
		// check that a waiting request repeats by itself tells.
		return g.aligned(ctx, c, act, now)
	}
	ask := alignmentRequest(r, c)
	ask.Follow = c.Reference
	answer, err := g.alignment.Align(ctx, ask)
	var refused *AlignmentRefusal
	switch {
	case errors.As(err, &refused):
		act = c.refusedBy(refused)
	case err != nil:
		c.Tries++
		c.Due = latest(now.Add(g.after(c.Tries)), retryAt(err))
		g.log.Warn("door C gave no clear answer", "operation", c.Operation, "correction", c.ID, "try", c.Tries, "err", err)
	case answer.Closed:
		c.saidDone(AlignmentAligned, now)
	default:
		c.Tries = 0
	}
	return g.aligned(ctx, c, act, now)
}

// settle looks whether what is said to be done shows in the register: the check
// closes a correction that does. One that is still there after a check made when
// it must show goes back to the desk; before that the check is repeated.
func (g *Gateway) settle(ctx context.Context, r *Request, c Correction) error {
	now := g.clock.Now()
	shows := c.Subject.DoneAt.Add(c.settles(g.set))
	checked := r.Register != nil && !r.Register.At.Before(c.Subject.DoneAt)
	lacksResidence := checked && c.Subject.Residence != nil && !c.Subject.Residence.shownIn(recordOf(r.Register, c.Person))
	o := r.Order()
	switch {
	case checked && (lacksResidence || !r.Register.At.Before(shows)):
		c.Status, c.Answer, c.Due, c.UpdatedAt = CorrectionOpen, AlignmentNotTaken, time.Time{}, now
		err := g.store.MoveCorrection(ctx, c, AuditEntry{
			At: now, Actor: systemScope("correction").actor, Act: "correction_not_taken", Subject: c.ID, Payload: map[string]string{"reference": c.Reference},
		})
		return unlessConflict(wrap("store correction", err))
	case !slices.Contains(recheckable, r.State) || o != nil && !o.Dead:
		c.Due = now.Add(g.set.AlignFollow) // its end closes it; until then nobody may ask
	case checked && now.Before(shows):
		c.Due = shows
	default:
		c.Due = now.Add(time.Hour)
		err := g.askAgain(ctx, c.Request, c.Actor)
		if err != nil {
			return err
		}
	}
	return unlessConflict(wrap("store correction", g.store.MoveCorrection(ctx, c)))
}

// unlessConflict forgives that somebody else moved it meanwhile.
func unlessConflict(err error) error {
	if KindOf(err) == Conflict {
		return nil
	}
	return err
}

func withArg(args map[string]string, name, value string) map[string]string {
	out := map[string]string{name: value}
	for k, v := range args {
		if k != name {
			out[k] = v
		}
	}
	return out
}

// retryAt answers when the register says to ask again, zero when it does not.
func retryAt(err error) time.Time {
	var r *anpr.RegisterError
	if errors.As(err, &r) {
		return r.RetryAt
	}
	return time.Time{}
}
