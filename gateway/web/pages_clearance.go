package web

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"airegw/gateway"
	"airegw/gateway/messages"
)

// noticeRoutes are what an office sees and answers of requests at other comuni,
// and what the office of a request does about it.
func (s *Server) noticeRoutes() []served {
	const get, post, page, api = http.MethodGet, http.MethodPost, SurfacePage, SurfaceAPI
	return []served{
		{Route{get, "/operator/notices", page, Desk, false}, s.pageNotices},
		{Route{get, "/operator/notices/:id", page, Desk, false}, s.pageNotice},
		{Route{post, "/operator/notices/:id/answer", page, Desk, false}, s.pageAnswerNotice},
		{Route{post, "/operator/requests/:number/overrule", page, Desk, false}, s.pageAct(actOverrule)},

		{Route{get, "/api/v1/notices", api, Office, false}, s.apiNotices},
		{Route{get, "/api/v1/notices/:id", api, Office, false}, s.apiNotice},
		{Route{post, "/api/v1/notices/:id/answer", api, Office, false}, s.apiAnswerNotice},
		{Route{get, "/api/v1/requests/:number/notices", api, Office, false}, s.apiNoticesSent},
		{Route{post, "/api/v1/requests/:number/counter/overrule", api, Office, false}, s.apiAct(actOverrule)},
	}
}

type overruleBody struct {
	Why string `json:"why"`
}

var actOverrule = with("overrule", func(f url.Values) (overruleBody, error) {
	return overruleBody{f.Get("why")}, nil
}, func(ctx context.Context, d gateway.Desk, n string, v overruleBody) error {
	return d.Overrule(ctx, n, v.Why)
})

// The answers of the API about notices. Who it is about is told to the office
// that was told, one notice at a time; what that office says, to both.
type (
	noticePersonAnswer struct {
		FiscalCode string `json:"fiscal_code"`
		Surname    string `json:"surname,omitempty"`
		GivenName  string `json:"given_name,omitempty"`
		BirthDate  string `json:"birth_date,omitempty"`
	}
	noticeAnswer struct {
		ID          string              `json:"id"`
		Request     string              `json:"request"`
		Office      *officeAnswer       `json:"office,omitempty"`
		ToldAs      string              `json:"told_as"`
		Asked       *officeAnswer       `json:"asked_at,omitempty"`
		Reason      string              `json:"reason"`
		RequestedAt time.Time           `json:"requested_at"`
		ToldAt      time.Time           `json:"told_at"`
		LastDay     string              `json:"last_day"`
		Rule        string              `json:"rule"`
		Status      string              `json:"status"`
		StatusText  string              `json:"status_text"`
		Ground      string              `json:"ground,omitempty"`
		GroundText  string              `json:"ground_text,omitempty"`
		Text        string              `json:"text,omitempty"`
		AnsweredAt  *time.Time          `json:"answered_at,omitempty"`
		OverruledAt *time.Time          `json:"overruled_at,omitempty"`
		Person      *noticePersonAnswer `json:"person,omitempty"`
	}
	noticesAnswer struct {
		Notices []noticeAnswer `json:"notices"`
		Next    string         `json:"next,omitempty"`
	}
)

// noticeOf answers a notice without the person and without what the office says
// in its own words.
func (s *Server) noticeOf(ev *event, n gateway.Clearance) noticeAnswer {
	out := noticeAnswer{
		ID: n.ID, Request: n.Request, Office: officeOf(n.Office), ToldAs: string(n.As), Asked: officeOf(n.Asked), Reason: string(n.Reason),
		RequestedAt: n.RequestedAt.UTC(), ToldAt: n.ToldAt.UTC(), LastDay: n.LastDay, Rule: n.Rule, Status: n.Status(ev.start),
		Ground: n.Ground, AnsweredAt: when(n.AnsweredAt), OverruledAt: when(n.OverruledAt),
	}
	out.StatusText = messages.Text(ev.lang, "clearance.status."+out.Status, nil)
	if n.Ground != "" {
		out.GroundText = messages.Text(ev.lang, "clearance.ground."+n.Ground, nil)
	}
	return out
}

// noticeFor is noticeOf with the person, for the office that was told.
func (s *Server) noticeFor(ev *event, n gateway.Clearance) noticeAnswer {
	out := s.noticeOf(ev, n)
	out.Text = n.Subject.Text
	if who := n.Subject; who.FiscalCode != "" {
		out.Person = &noticePersonAnswer{who.FiscalCode, who.Surname, who.GivenName, who.BirthDate}
	}
	return out
}

// notices answers a page of the office's list.
func (s *Server) notices(c *gin.Context, ev *event) (noticesAnswer, error) {
	out := noticesAnswer{Notices: []noticeAnswer{}}
	after := c.Query("after")
	if len(after) > 100 {
		return out, wrong("/after", "text_too_long")
	}
	list, err := s.desk(ev).Notices(c.Request.Context(), c.Query("all") == "", after)
	if err != nil {
		return out, err
	}
	for _, n := range list {
		out.Notices = append(out.Notices, s.noticeOf(ev, n))
	}
	if len(list) == 50 {
		out.Next = list[len(list)-1].ID
	}
	return out, nil
}

// apiNotices is GET /notices: those that may be answered, all of them with all=1.
func (s *Server) apiNotices(c *gin.Context, ev *event) error {
	out, err := s.notices(c, ev)
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, out)
}

// noticeID answers the id in the path; one that is none finds nothing.
func noticeID(c *gin.Context) string {
	id := c.Param("id")
	if len(id) > 100 {
		return ""
	}
	return id
}

// apiNotice is GET /notices/{id}; the look is audited.
func (s *Server) apiNotice(c *gin.Context, ev *event) error {
	n, err := s.desk(ev).OpenNotice(c.Request.Context(), noticeID(c))
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, s.noticeFor(ev, n))
}

// apiAnswerNotice is POST /notices/{id}/answer; it answers the notice as it
// stands after it.
func (s *Server) apiAnswerNotice(c *gin.Context, ev *event) error {
	raw, err := body(c)
	if err != nil {
		return err
	}
	var reply gateway.ClearanceReply
	err = gateway.DecodeStrict(raw, &reply)
	if err != nil {
		return err
	}
	err = s.desk(ev).AnswerNotice(c.Request.Context(), noticeID(c), reply)
	if err != nil {
		return err
	}
	return s.apiNotice(c, ev)
}

// apiNoticesSent is GET /requests/{number}/notices: whom the request was told to,
// and what they say.
func (s *Server) apiNoticesSent(c *gin.Context, ev *event) error {
	sent, err := s.noticesSent(c.Request.Context(), ev, number(c, ev))
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, noticesAnswer{Notices: sent})
}

func (s *Server) noticesSent(ctx context.Context, ev *event, number string) ([]noticeAnswer, error) {
	list, err := s.desk(ev).NoticesSent(ctx, number)
	if err != nil {
		return nil, err
	}
	out := []noticeAnswer{}
	for _, n := range list {
		one := s.noticeOf(ev, n)
		one.Text = n.Subject.Text
		out = append(out, one)
	}
	return out, nil
}

// noticesPage is the list of an office's notices.
type noticesPage struct {
	noticesAnswer
	All bool
}

// pageNotices is GET /operator/notices.
func (s *Server) pageNotices(c *gin.Context, ev *event) error {
	list, err := s.notices(c, ev)
	if err != nil {
		return err
	}
	return s.show(c, http.StatusOK, "notices", s.view(ev, "page.notices", noticesPage{list, c.Query("all") != ""}))
}

// noticePage is one notice with whom it is about.
type noticePage struct {
	N                 noticeAnswer
	Path              string
	Answers, Grounds  []choice
	CanSay, CanRetire bool
}

// pageNotice is GET /operator/notices/:id; the look is audited.
func (s *Server) pageNotice(c *gin.Context, ev *event) error {
	return s.showNotice(c, ev, http.StatusOK, func(v *view) {
		if c.Query("done") == "notice" {
			v.Done = "notice"
		}
	})
}

func (s *Server) showNotice(c *gin.Context, ev *event, status int, set func(*view)) error {
	n, err := s.desk(ev).OpenNotice(c.Request.Context(), noticeID(c))
	if err != nil {
		return err
	}
	page := noticePage{N: s.noticeFor(ev, n), Path: "/operator/notices/" + url.PathEscape(n.ID)}
	undecided := n.ClosedAt.IsZero() && n.OverruledAt.IsZero()
	page.CanRetire = undecided && n.Answer == gateway.ClearanceObjection
	page.CanSay = undecided && !page.CanRetire && ev.start.Before(n.Until)
	for _, a := range []string{gateway.ClearanceNone, gateway.ClearanceObjection} {
		page.Answers = append(page.Answers, choice{Value: a, Label: messages.Text(ev.lang, "clearance.do."+a, nil)})
	}
	for _, g := range gateway.Grounds() {
		page.Grounds = append(page.Grounds, choice{Value: g, Label: messages.Text(ev.lang, "clearance.ground."+g, nil)})
	}
	v := s.view(ev, "page.notice", page)
	set(v)
	return s.show(c, status, "notice", v)
}

// pageAnswerNotice is POST …/answer: what the office says.
func (s *Server) pageAnswerNotice(c *gin.Context, ev *event) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	err = s.desk(ev).AnswerNotice(c.Request.Context(), noticeID(c), gateway.ClearanceReply{
		Answer: text(f, "answer"), Ground: text(f, "ground"), Text: f.Get("text"),
	})
	if err == nil {
		c.Redirect(http.StatusSeeOther, "/operator/notices/"+url.PathEscape(noticeID(c))+"?done=notice")
		return nil
	}
	x := explain(err)
	if x.status != http.StatusBadRequest && x.status != http.StatusConflict {
		return err
	}
	ev.code, ev.err = x.code, err
	return s.showNotice(c, ev, x.status, func(v *view) {
		v.Form, v.Problems, v.Alert = f, x.problems, textOf(ev.lang, x.code, x.args)
	})
}

// eventText words an event of a request's history; a check that told other
// offices names them.
func eventText(e gateway.Event, lang string) string {
	var d struct {
		Told []gateway.Told `json:"told"`
	}
	if e.Type != gateway.EventChecked || json.Unmarshal(e.Data, &d) != nil || len(d.Told) == 0 {
		return messages.Text(lang, "event."+string(e.Type), nil)
	}
	var names []string
	for _, t := range d.Told {
		names = append(names, t.Office.Name())
	}
	return messages.Text(lang, "event.checked_told", map[string]string{"offices": strings.Join(names, ", ")})
}
