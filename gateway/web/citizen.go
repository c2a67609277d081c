package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/gin-gonic/gin"

	"airegw/gateway"
	"airegw/gateway/messages"
	"airegw/policies"
)

// citizenRoutes are a citizen's own pages beside their requests.
func (s *Server) citizenRoutes() []served {
	const get, post, page = http.MethodGet, http.MethodPost, SurfacePage
	return []served{
		{Route{get, "/citizen/data", page, Citizen, false}, s.pageData},
		{Route{post, "/citizen/data", page, Citizen, false}, s.pageWrongData},
		{Route{get, "/citizen/report", page, Citizen, false}, s.pageReport},
		{Route{post, "/citizen/report", page, Citizen, false}, s.pageReportCard},
		{Route{get, "/sessions", page, Citizen | Desk | RuleOwner, false}, s.pageSessions},
		{Route{post, "/sessions", page, Citizen | Desk | RuleOwner, false}, s.pageEndSession},
	}
}

// dataPage is what the register last said of the citizen, and what is to be
// mended in it.
type dataPage struct {
	Known bool
	gateway.OwnRecord
	Path  string // of the request it was asked for
	Open  bool   // a mistake can be reported
	Parts []choice
	Tasks []gateway.Correction
}

// pageData is GET /citizen/data: read-only, as old as the last request's check.
func (s *Server) pageData(c *gin.Context, ev *event) error {
	return s.showData(c, ev, http.StatusOK, func(v *view) {
		if c.Query("done") == "data_reported" {
			v.Done = "data_reported"
		}
	})
}

func (s *Server) showData(c *gin.Context, ev *event, status int, set func(*view)) error {
	d := s.desk(ev)
	own, err := d.OwnRecord(c.Request.Context())
	var e *gateway.Error
	if errors.As(err, &e) && e.Code == "no_record" {
		return s.show(c, status, "data", s.view(ev, "page.data", dataPage{}))
	}
	if err != nil {
		return err
	}
	page := dataPage{Known: true, OwnRecord: own, Path: requestPath(ev, own.Request), Open: !own.State.Final()}
	page.Tasks, err = d.Corrections(c.Request.Context(), own.Request)
	if err != nil {
		return err
	}
	// Those about others that the request names are not theirs to see here.
	page.Tasks = slices.DeleteFunc(page.Tasks, func(k gateway.Correction) bool { return k.Subject.FiscalCode != own.Record.AskedFor })
	for _, part := range gateway.WrongParts() {
		page.Parts = append(page.Parts, choice{Value: part, Label: messages.Text(ev.lang, "correction.part."+part, nil)})
	}
	v := s.view(ev, "page.data", page)
	set(v)
	return s.show(c, status, "data", v)
}

// pageWrongData is POST /citizen/data: something in the record is wrong.
func (s *Server) pageWrongData(c *gin.Context, ev *event) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	d := s.desk(ev)
	own, err := d.OwnRecord(c.Request.Context())
	if err != nil {
		return err
	}
	_, err = d.ReportWrong(c.Request.Context(), own.Request, text(f, "part"), f.Get("said"))
	if err == nil {
		c.Redirect(http.StatusSeeOther, "/citizen/data?done=data_reported")
		return nil
	}
	x := explain(err)
	if x.status != http.StatusBadRequest && x.status != http.StatusConflict {
		return err
	}
	ev.code = x.code
	return s.showData(c, ev, x.status, func(v *view) {
		v.Form, v.Problems, v.Alert = f, x.problems, textOf(ev.lang, x.code, x.args)
	})
}

// reportPage is the form of a report of theft or loss, and what was reported.
type reportPage struct {
	Reports []gateway.CardReport
	New     *gateway.CardReport // just made
}

func (s *Server) reportView(c *gin.Context, ev *event) (*view, error) {
	list, err := s.desk(ev).MyCardReports(c.Request.Context())
	if err != nil {
		return nil, err
	}
	page := reportPage{Reports: list}
	for i := range list {
		if list[i].ID == c.Query("done") {
			page.New = &list[i]
		}
	}
	return s.view(ev, "page.report", page), nil
}

// pageReport is GET /citizen/report.
func (s *Server) pageReport(c *gin.Context, ev *event) error {
	v, err := s.reportView(c, ev)
	if err != nil {
		return err
	}
	v.Form.Set("key", formKey())
	return s.show(c, http.StatusOK, "report", v)
}

// pageReportCard is POST /citizen/report.
func (s *Server) pageReportCard(c *gin.Context, ev *event) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	in := gateway.CardReportInput{
		Key: text(f, "key"), Kind: gateway.ReportKind(text(f, "/kind")), On: text(f, "/on"), Card: text(f, "/card"),
	}
	if p := (gateway.Report{Authority: text(f, "/police/authority"), Number: text(f, "/police/number"), Date: text(f, "/police/date")}); p != (gateway.Report{}) {
		in.Police = &p
	}
	id, err := s.desk(ev).ReportCard(c.Request.Context(), in)
	if err == nil {
		c.Redirect(http.StatusSeeOther, "/citizen/report?"+url.Values{"done": {id}}.Encode())
		return nil
	}
	x := explain(err)
	if x.status != http.StatusBadRequest && x.status != http.StatusConflict {
		return err
	}
	v, failed := s.reportView(c, ev)
	if failed != nil {
		return failed
	}
	ev.code = x.code
	v.Form, v.Problems, v.Alert = f, x.problems, textOf(ev.lang, x.code, x.args)
	return s.show(c, x.status, "report", v)
}

// fillReport fills the form of a new request from a report that the citizen made.
func (s *Server) fillReport(c *gin.Context, ev *event, v *view) error {
	id := c.Query("report")
	if id == "" {
		return nil
	}
	list, err := s.desk(ev).MyCardReports(c.Request.Context())
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.ID != id {
			continue
		}
		v.Form.Set("/reason", string(policies.ReasonLoss))
		if r.Kind == gateway.ReportTheft {
			v.Form.Set("/reason", string(policies.ReasonTheft))
		}
		v.Form.Set("/previous_card/number", r.Card)
		if p := r.Police; p != nil {
			v.Form.Set("/report/authority", p.Authority)
			v.Form.Set("/report/number", p.Number)
			v.Form.Set("/report/date", p.Date)
		}
	}
	return nil
}

// sessionsPage is where somebody is logged in.
type sessionsPage struct {
	Sessions []gateway.SessionNote
	Current  string
}

// pageSessions is GET /sessions.
func (s *Server) pageSessions(c *gin.Context, ev *event) error {
	list, err := s.opt.Book.SessionsOf(c.Request.Context(), ev.who.door.owner(ev.who.id))
	if err != nil {
		return unavailable(err)
	}
	v := s.view(ev, "page.sessions", sessionsPage{Sessions: list, Current: ev.who.session})
	if done := c.Query("done"); done == "session_ended" && messages.Has("done."+done) {
		v.Done = done
	}
	return s.show(c, http.StatusOK, "sessions", v)
}

// pageEndSession is POST /sessions: ends one of the caller's own sessions, or all
// but this one, and revokes the tokens of their logins.
func (s *Server) pageEndSession(c *gin.Context, ev *event) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	ctx, owner := c.Request.Context(), ev.who.door.owner(ev.who.id)
	list, err := s.opt.Book.SessionsOf(ctx, owner)
	if err != nil {
		return unavailable(err)
	}
	if f.Get("session") == ev.who.session {
		return s.pageLogout(c, ev)
	}
	for _, n := range list {
		if n.ID == ev.who.session || (f.Get("session") != n.ID && f.Get("session") != "others") {
			continue
		}
		err = s.opt.Book.EndSession(ctx, owner, n.ID)
		if err != nil && gateway.KindOf(err) != gateway.NotFound {
			return unavailable(err)
		}
		if ev.who.kind == Citizen {
			s.revoke(c, ev, n.Login)
		}
	}
	c.Redirect(http.StatusSeeOther, "/sessions?done=session_ended")
	return nil
}
