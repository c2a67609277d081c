package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"airegw/gateway"
	"airegw/gateway/messages"
	"airegw/gateway/sad"
	"airegw/policies"
)

// requestPage is everything the page of one request shows.
type requestPage struct {
	R       requestAnswer
	Raw     *gateway.Request
	Acts    []checkAnswer
	Current string // the first act that can be done now
	Path    string
	Order   *gateway.Order

	CanSuspend, CanResume, CanRefuse, CanCancel, CanDeliver bool

	SuspendCodes, RefuseCodes, VoidCodes, CancelCodes []choice
	Parents                                           []parentView
	Options                                           []choice
	Tracking                                          trackingAnswer
	Reports                                           []gateway.CardReport // of the applicant's card, at a desk

	Corrections []gateway.Correction // what is to be mended in the register for it, not closed
	Notices     []noticeAnswer       // to other offices, at a desk
	Dialogue    *dialogueView        // with the comune's own registry, at a desk; nil: there was none

	CanAssent bool      // a parent's word may still be given or taken back
	Step      *stepPage // the login it needs first, when this one is too low

	Station string // where the operator sits
	Ref     string // beginning of the references a station would give; filled in simulation only
	Due     string // the fee, as typed into its field
}

// parentView is a holder of responsibility with their word so far.
type parentView struct {
	FiscalCode, Name string
	Said             bool
	Assent           gateway.Assent
	Self             bool // the citizen who looks
}

// pageRequest is GET of one request, at a desk or as a citizen.
func (s *Server) pageRequest(c *gin.Context, ev *event) error {
	done := c.Query("done")
	if !messages.Has("done." + done) {
		done = ""
	}
	return s.showRequest(c, ev, http.StatusOK, number(c, ev), func(v *view) { v.Done = done })
}

// dialogueView is what the comune's own registry said; Code why it has not yet.
type dialogueView struct {
	Code   string
	Answer *gateway.DialogueAnswer
	Travel string // "yes", "no", or nothing where it is not said
}

// dialogue answers what the comune's own registry said, for the comune's desk.
func (s *Server) dialogue(ctx context.Context, ev *event, d gateway.Desk, r *gateway.Request) (*dialogueView, error) {
	if ev.who.kind&Desk == 0 || r.Office.Kind != gateway.OfficeComune {
		return nil, nil //nolint:nilnil // nobody else has one
	}
	found, err := d.Dialogue(ctx, r.ID)
	if gateway.KindOf(err) == gateway.NotFound {
		return nil, nil //nolint:nilnil // nor has every comune
	}
	if err != nil {
		return nil, err
	}
	view := dialogueView{Code: found.Code, Answer: found.Answer}
	if view.Code == "" {
		view.Code = string(sad.CodePending)
	}
	if a := found.Answer; a != nil && a.Travel != nil {
		view.Travel = "no"
		if *a.Travel {
			view.Travel = "yes"
		}
	}
	return &view, nil
}

// showRequest opens a request and shows it; set changes the view before.
func (s *Server) showRequest(c *gin.Context, ev *event, status int, n string, set func(*view)) error {
	d := s.desk(ev)
	r, err := d.Open(c.Request.Context(), n)
	if err != nil {
		return err
	}
	answer := requestOf(r, ev.lang)
	if today := todayOf(d, r, ev.start, ev.lang); today != nil {
		answer.Decision = today
	}
	err = s.beside(c.Request.Context(), r, &answer, ev.lang)
	if err != nil {
		return err
	}
	track, err := s.opt.Gateway.Tracking(c.Request.Context(), r)
	if err != nil {
		return err
	}
	page := requestPage{R: answer, Raw: r, Path: requestPath(ev, r.ID), Order: r.Order(), Tracking: trackingOf(track, ev.lang)}
	page.Acts = checklistOf(r, d.Checklist(r), ev.lang).Acts
	page.Corrections, err = d.Corrections(c.Request.Context(), r.ID)
	if err != nil {
		return err
	}
	page.Corrections = slices.DeleteFunc(page.Corrections, func(k gateway.Correction) bool { return k.Status == gateway.CorrectionClosed })
	page.Dialogue, err = s.dialogue(c.Request.Context(), ev, d, r)
	if err != nil {
		return err
	}
	for _, a := range page.Acts {
		if a.Possible && !a.Done && a.Act != "recheck" && a.Act != "void" {
			page.Current = a.Act
			break
		}
	}
	next, _ := r.State.Next()
	live := page.Order != nil && !page.Order.Dead
	page.CanSuspend = slices.Contains(next, gateway.StateSuspended)
	page.CanResume = r.State == gateway.StateSuspended
	page.CanRefuse = slices.Contains(next, gateway.StateRefused) && !live
	// A parcel on its way ends as cancelled when it is lost, not when asked.
	page.CanCancel = slices.Contains(next, gateway.StateCancelled) && track.Parcel == nil
	page.CanDeliver = !live && slices.Contains([]gateway.State{
		gateway.StateSubmitted, gateway.StatePrechecked, gateway.StateMisaligned, gateway.StateInEnquiry, gateway.StateSuspended,
	}, r.State) || slices.Contains([]gateway.State{gateway.StateRelayed, gateway.StateCertified, gateway.StateInProduction}, r.State)
	v0 := s.view(ev, "", nil)
	codes := func(list []string) []choice {
		var out []choice
		for _, k := range list {
			out = append(out, choice{Value: k, Label: messages.Text(ev.lang, k, nil)})
		}
		return out
	}
	page.SuspendCodes, page.RefuseCodes, page.VoidCodes, page.CancelCodes = codes(suspendCodes), codes(refuseCodes), codes(voidCodes), codes(cancelCodes)
	self, _ := ev.who.scope.Person()
	for i, p := range r.Input.Parents {
		pv := parentView{FiscalCode: p.FiscalCode, Name: strings.TrimSpace(p.GivenName + " " + p.Surname), Self: p.FiscalCode == self}
		if r.Register != nil && i < len(r.Register.Parents) {
			pv.Name = strings.TrimSpace(r.Register.Parents[i].Person.GivenName + " " + r.Register.Parents[i].Person.Surname)
		}
		pv.Assent, pv.Said = r.Counter.Assents[p.FiscalCode]
		page.Parents = append(page.Parents, pv)
	}
	if page.R.Decision != nil {
		for _, o := range page.R.Decision.Options {
			page.Options = append(page.Options, choice{Value: o.Option, Label: messages.Text(ev.lang, "delivery."+o.Option, nil), Chosen: o.Option == string(r.Delivery.Option)})
		}
	} else {
		for _, k := range []string{"IT_ADDRESS", "COMUNE_PICKUP", "FOREIGN_RESIDENCE", "CONSULATE"} {
			page.Options = append(page.Options, choice{Value: k, Label: messages.Text(ev.lang, "delivery."+k, nil), Chosen: k == string(r.Delivery.Option)})
		}
	}
	page.CanAssent = page.Order == nil || page.Order.Dead
	if need := s.opt.Gateway.LevelFor(policies.ActSecondParentAssent); ev.who.kind == Citizen && ev.who.scope.Actor().Level < need {
		page.Step = &stepPage{Level: strconv.Itoa(need)}
		page.Step.CIE, page.Step.RetryAt = s.entry(page.Path, need)
	}
	if ev.who.kind&Desk != 0 {
		page.Notices, err = s.noticesSent(c.Request.Context(), ev, r.ID)
		if err != nil {
			return err
		}
		page.Reports, err = d.CardReportsOf(c.Request.Context(), r)
		if err != nil {
			return err
		}
	}
	page.Station = ev.who.scope.Actor().Station
	if s.opt.Environment == "simulation" {
		page.Ref = "sim-" + r.ID + "-"
	}
	if page.R.Decision != nil {
		page.Due = strings.TrimSuffix(v0.Euro(page.R.Decision.FeeCents), " €")
	}
	name, title := "request", "page.request"
	if ev.who.kind&Citizen != 0 {
		name, title = "mine", "page.mine"
	}
	v := s.view(ev, title, page)
	if set != nil {
		set(v)
	}
	return s.show(c, status, name, v)
}

// pageAct does an act from a page: 303 back to the request on success, the
// page again with what was typed and what is wrong otherwise.
func (s *Server) pageAct(a act) handler {
	return func(c *gin.Context, ev *event) error {
		f, err := form(c)
		if err != nil {
			return err
		}
		n := number(c, ev)
		err = a.form(c.Request.Context(), s.desk(ev), n, f)
		if err == nil {
			c.Redirect(http.StatusSeeOther, requestPath(ev, n)+"?done="+url.QueryEscape(a.name))
			return nil
		}
		return s.askAgain(c, ev, n, a.name, f, err)
	}
}

// askAgain shows a request's page with the error of an act. What may not be
// known or is nobody's to correct stays an error page.
func (s *Server) askAgain(c *gin.Context, ev *event, n, act string, f url.Values, err error) error {
	x := explain(err)
	if x.status != http.StatusBadRequest && x.status != http.StatusConflict && x.status != http.StatusServiceUnavailable {
		return err
	}
	if x.retry > 0 {
		c.Header("Retry-After", "5")
	}
	ev.code, ev.err = x.code, err
	shown := s.showRequest(c, ev, x.status, n, func(v *view) {
		v.Alert, v.Problems, v.Act, v.Form = textOf(ev.lang, x.code, x.args), x.problems, act, f
	})
	if shown != nil {
		return err // the act's own error says more than that the page failed
	}
	return nil
}

// pageTrackerCode is POST …/tracker: a new code, shown on the request's page.
func (s *Server) pageTrackerCode(c *gin.Context, ev *event) error {
	n := number(c, ev)
	_, err := s.desk(ev).RevokeTracker(c.Request.Context(), n)
	if err != nil {
		return s.askAgain(c, ev, n, "tracker", url.Values{}, err)
	}
	c.Redirect(http.StatusSeeOther, requestPath(ev, n)+"?done=tracker")
	return nil
}

// printPage is the summary form.
type printPage struct {
	Forms   gateway.Forms
	R       requestAnswer
	Raw     *gateway.Request
	Path    string
	Printed bool
}

// pagePrint is POST …/print: the answer is the form itself, kept by nobody.
// Asking for it again is another print, audited as such; that is why it is no
// GET, and why the answer to the POST is not a redirect.
func (s *Server) pagePrint(c *gin.Context, ev *event) error {
	n := number(c, ev)
	forms, err := s.desk(ev).PrintForms(c.Request.Context(), n)
	if err != nil {
		return s.askAgain(c, ev, n, "print", url.Values{}, err)
	}
	v := s.view(ev, "page.print", printPage{Forms: forms, R: requestOf(forms.Request, ev.lang), Raw: forms.Request, Path: requestPath(ev, n)})
	c.Header("Cache-Control", "no-store")
	return s.show(c, http.StatusOK, "print", v)
}

// Shown says whether a piece of evidence is ticked: as typed, else as recorded.
func (p requestPage) Shown(v *view, evidence string) bool {
	if v.Act == "documents" {
		return v.Ticked("evidence", evidence)
	}
	return p.Raw.Counter.Documents != nil && slices.Contains(p.Raw.Counter.Documents.Evidence, evidence)
}

// RefFor answers the reference a station would give; "" outside simulation.
func (p requestPage) RefFor(what string) string {
	if p.Ref == "" {
		return ""
	}
	return p.Ref + what
}
