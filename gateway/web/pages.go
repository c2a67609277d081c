package web

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/gin-gonic/gin"
	"golang.org/x/text/unicode/norm"

	"airegw/anpr"
	"airegw/gateway"
	"airegw/gateway/messages"
	"airegw/policies"
)

// stepPage asks for a login at a higher level.
type stepPage struct {
	Level   string
	CIE     string    // address of the login; empty while there is no valid chain
	RetryAt time.Time // then
	Back    string
}

// failPage shows an error as a page.
func (s *Server) failPage(c *gin.Context, ev *event, f failure) {
	v := s.view(ev, "page.error", f.status)
	v.Alert = textOf(ev.lang, f.code, f.args)
	v.Problems = f.problems
	name := "error"
	switch f.code {
	case "level_too_low":
		level, _ := strconv.Atoi(f.args["level"])
		page := stepPage{Level: f.args["level"], Back: returnPath(c)}
		page.CIE, page.RetryAt = s.entry(page.Back, level)
		name, v.Title, v.Data = "stepup", "page.stepup", page
	case "card_needed":
		v.SignIn, v.SignInText = s.cardAddress("/operator"), "card_show"
	case "sign_in_first":
		v.SignInText = "site.login"
		v.SignIn = pathLogin + "?" + url.Values{"next": {returnPath(c)}}.Encode()
	}
	err := s.show(c, f.status, name, v)
	if err != nil {
		ev.err = err
		c.Data(http.StatusInternalServerError, "text/plain; charset=utf-8", []byte(messages.Text(ev.lang, "internal", nil)))
	}
}

// form reads a page's form.
func form(c *gin.Context) (url.Values, error) {
	err := c.Request.ParseForm()
	if err != nil {
		return nil, &gateway.Error{Kind: gateway.Invalid, Code: "invalid_input", Problems: []gateway.Problem{{Code: "body_cut"}}, Err: err}
	}
	for _, values := range c.Request.PostForm {
		for _, v := range values {
			if strings.ToValidUTF8(v, "") != v {
				return nil, wrong("", "not_utf8")
			}
		}
	}
	return c.Request.PostForm, nil
}

// pageHome is /: what this is and where to go.
func (s *Server) pageHome(c *gin.Context, ev *event) error {
	return s.show(c, http.StatusOK, "home", s.view(ev, "page.home", nil))
}

// pageTrackForm is GET /track.
func (s *Server) pageTrackForm(c *gin.Context, ev *event) error {
	v := s.view(ev, "page.track", nil)
	v.Form.Set("number", c.Query("number"))
	return s.show(c, http.StatusOK, "track", v)
}

// pageTrack is POST /track: number and code stay out of the address.
func (s *Server) pageTrack(c *gin.Context, ev *event) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	v := s.view(ev, "page.track", nil)
	v.Form = f
	if l := f.Get("lang"); l == messages.IT || l == messages.EN {
		ev.lang = l
		v = s.view(ev, "page.track", nil)
		v.Form = f
		http.SetCookie(c.Writer, s.languageCookie(l))
	}
	err = s.limits.track.take(c, address(c), ev.start)
	if err == nil {
		var t gateway.Tracking
		t, err = s.opt.Gateway.Track(c.Request.Context(), f.Get("number"), f.Get("code"))
		if err == nil {
			ev.number = t.Number
			v.Data = trackingOf(t, ev.lang)
			v.Repost = map[string]string{"number": f.Get("number"), "code": f.Get("code")}
			return s.show(c, http.StatusOK, "track", v)
		}
	}
	x := explain(err)
	if x.status == http.StatusNotFound {
		x.code = "tracker_not_found"
	} else if x.status != http.StatusTooManyRequests {
		return err
	}
	ev.code = x.code
	if x.retry > 0 {
		c.Header("Retry-After", x.args["seconds"])
	}
	v.Alert = textOf(ev.lang, x.code, x.args)
	return s.show(c, x.status, "track", v)
}

// officeChoice is a line of the office search.
type officeChoice struct{ ID, Name, Detail string }

// findOffices answers the offices a text may mean: comuni of today by name or
// code, and posts that take requests.
func (s *Server) findOffices(q string, channel policies.Channel) []officeChoice {
	const most = 8
	var out []officeChoice
	q = strings.TrimSpace(q)
	if len(q) < 2 || len(q) > 100 {
		return nil
	}
	if channel != policies.ChannelPost {
		for _, k := range comuniLike(q, most) {
			out = append(out, officeChoice{gateway.Office{Kind: gateway.OfficeComune, Code: k.ISTAT}.ID(), k.Name, k.ProvinceCode})
		}
	}
	if channel != policies.ChannelComune {
		now := s.opt.Clock()
		for _, p := range findPosts(q, "") {
			if len(out) >= 2*most {
				break
			}
			if p.CanCapture(now) {
				out = append(out, officeChoice{gateway.Office{Kind: gateway.OfficePost, Code: p.Key}.ID(), p.Seat, string(p.Kind)})
			}
		}
	}
	return out
}

// foldedComuni are the comuni of today by their name in plain letters, for a
// search while somebody is still typing; package anpr finds whole names.
var foldedComuni = sync.OnceValue(func() []foldedComune {
	all := anpr.Comuni()
	out := make([]foldedComune, 0, len(all))
	for _, k := range all {
		out = append(out, foldedComune{fold(k.Name + " " + k.AltName), k})
	}
	return out
})

type foldedComune struct {
	name   string
	comune anpr.Comune
}

// fold answers lower-case letters and digits, without accents and marks.
func fold(s string) string {
	var b strings.Builder
	for _, r := range norm.NFD.String(strings.ToLower(s)) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case unicode.IsLetter(r), unicode.IsDigit(r):
			b.WriteRune(r)
		default:
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// comuniLike answers at most n comuni: those that are meant by a whole name or
// a code, then those whose name begins with the text, then those with a word
// that does.
func comuniLike(q string, n int) []anpr.Comune {
	found, _ := anpr.FindComuni(q)
	folded := fold(q)
	if folded == "" {
		return found[:min(len(found), n)]
	}
	for _, within := range []func(string) bool{
		func(name string) bool { return strings.HasPrefix(name, folded) },
		func(name string) bool { return strings.Contains(" "+name, " "+folded) },
	} {
		for _, k := range foldedComuni() {
			if len(found) >= n {
				return found[:n]
			}
			if within(k.name) && !slices.ContainsFunc(found, func(f anpr.Comune) bool { return f.ISTAT == k.comune.ISTAT }) {
				found = append(found, k.comune)
			}
		}
	}
	return found[:min(len(found), n)]
}

// pageOffices is GET /lookup/offices: suggestions while somebody types.
func (s *Server) pageOffices(c *gin.Context, ev *event) error {
	err := s.limits.lookup.take(c, address(c), ev.start)
	if err != nil {
		return err
	}
	q := c.Query("office_name")
	v := s.view(ev, "page.new", nil)
	v.Data = formPage{Offices: s.findOffices(q, policies.Channel(c.Query("channel"))), Searched: len(strings.TrimSpace(q)) >= 2}
	return s.fragment(c, "new", "offices", v)
}

// pageLogout is POST /logout. The session ends first; then the provider is told.
func (s *Server) pageLogout(c *gin.Context, ev *event) error {
	for _, d := range []*door{s.operators, s.citizens} {
		err := d.close(c)
		if err != nil {
			return unavailable(err)
		}
	}
	if ev.who.kind == Citizen {
		s.revoke(c, ev, ev.who.login)
	}
	c.Redirect(http.StatusSeeOther, "/")
	return nil
}

// pageEnter is POST /login, in the demo only: become one of the listed people.
func (s *Server) pageEnter(c *gin.Context, ev *event) error {
	err := s.limits.login.take(c, address(c), ev.start)
	if err != nil {
		return err
	}
	f, err := form(c)
	if err != nil {
		return err
	}
	for _, o := range s.opt.Demo.Operators {
		if o.ID == f.Get("operator") {
			err := s.becomeOperator(c, ev.start, o)
			if err != nil {
				return err
			}
			c.Redirect(http.StatusSeeOther, homeOf(o.Role))
			return nil
		}
	}
	for _, p := range s.opt.Demo.Citizens {
		if p.ID == f.Get("citizen") {
			err := s.becomeCitizen(c, ev.start, p.FiscalCode, p.Level, map[string]string{"id": p.ID, "name": p.Name})
			if err != nil {
				return err
			}
			c.Redirect(http.StatusSeeOther, "/citizen")
			return nil
		}
	}
	return wrong("/operator", "login_unknown")
}

// listPage is a list of requests.
type listPage struct {
	Notices int // that the office may still answer
	Rows    []summaryAnswer
	Next    string
	Found   string // what was searched for: number, fiscal_code, surname
	Query   string
	Stops   []anpr.Stop // services of the register that are not asked for now
}

// pageDashboard is the operator's start page and search. One field takes a
// number, a fiscal code or a surname; what it is shows from its shape.
func (s *Server) pageDashboard(c *gin.Context, ev *event) error {
	q := gateway.Criteria{Limit: 25, After: c.Query("after"), Marked: gateway.MarkKind(c.Query("marked"))}
	if len(q.After) > 40 || (q.Marked != "" && q.Marked != gateway.MarkWaiting && q.Marked != gateway.MarkParked) {
		return wrong("/after", "state_unknown")
	}
	page := listPage{}
	v := s.view(ev, "page.dashboard", nil)
	if c.Request.Method == http.MethodPost {
		f, err := form(c)
		if err != nil {
			return err
		}
		page.Query = strings.TrimSpace(f.Get("q"))
		v.Form = f
		_, notCode := anpr.ParseFiscalCode(page.Query)
		switch up := strings.ToUpper(page.Query); {
		case up == "":
		case len(page.Query) > 200:
			v.Problems = []gateway.Problem{{Field: "/q", Code: "text_too_long"}}
		case numberShape(up):
			page.Found, q.Number = "number", up
		case notCode == nil:
			page.Found, q.FiscalCode = "fiscal_code", up
		default:
			page.Found, q.Surname = "surname", page.Query
		}
		v.Repost = map[string]string{"q": page.Query}
	}
	rows, err := s.desk(ev).List(c.Request.Context(), q)
	if err != nil {
		return err
	}
	for _, r := range rows {
		page.Rows = append(page.Rows, summaryOf(r, ev.lang))
	}
	if len(rows) == q.Limit && page.Query == "" {
		page.Next = rows[len(rows)-1].ID
	}
	register, err := s.opt.Gateway.RegisterState(c.Request.Context())
	if err != nil {
		return err
	}
	page.Stops = register.Stops
	page.Notices, err = s.desk(ev).CountNotices(c.Request.Context())
	if err != nil {
		return err
	}
	v.Data = page
	return s.show(c, http.StatusOK, "dashboard", v)
}

// pageMine is the citizen's start page.
func (s *Server) pageMine(c *gin.Context, ev *event) error {
	rows, err := s.desk(ev).List(c.Request.Context(), gateway.Criteria{Limit: 50})
	if err != nil {
		return err
	}
	page := listPage{}
	for _, r := range rows {
		page.Rows = append(page.Rows, summaryOf(r, ev.lang))
	}
	return s.show(c, http.StatusOK, "citizen", s.view(ev, "page.citizen", page))
}

// formPage is what the form of a new request shows besides its own values.
type formPage struct {
	Offices  []officeChoice
	Searched bool
	Reasons  []choice
	Options  []choice
	Channel  policies.Channel // fixed at a desk
	Action   string
	Open     string // number of the request that is already open, for a link
}

func (s *Server) formView(ev *event) *view {
	page := formPage{Action: "/citizen/requests"}
	if ev.who.kind&Desk != 0 {
		page.Action = "/operator/requests"
		page.Channel = policies.ChannelComune
		if ev.who.office.Kind == gateway.OfficePost {
			page.Channel = policies.ChannelPost
		}
	}
	for _, r := range policies.Reasons {
		page.Reasons = append(page.Reasons, choice{Value: string(r), Label: messages.Text(ev.lang, "reason."+string(r), nil)})
	}
	for _, o := range policies.DeliveryOptions {
		page.Options = append(page.Options, choice{Value: string(o), Label: messages.Text(ev.lang, "delivery."+string(o), nil)})
	}
	return s.view(ev, "page.new", page)
}

// formKey answers a fresh idempotency key: it is born with the form, so that
// sending the form twice makes one request.
func formKey() string {
	var b [16]byte
	_, err := rand.Read(b[:])
	if err != nil {
		return "" // crypto/rand never fails on a system we run on; Submit would refuse the empty key
	}
	return "form-" + hex.EncodeToString(b[:])
}

// pageNewAtDesk is the form for the person present at the counter.
func (s *Server) pageNewAtDesk(c *gin.Context, ev *event) error {
	v := s.formView(ev)
	v.Form.Set("key", formKey())
	v.Form.Set("/contacts/language", ev.lang)
	return s.show(c, http.StatusOK, "new", v)
}

// pageNewOwn is the citizen's own form, for themselves or for a child.
func (s *Server) pageNewOwn(c *gin.Context, ev *event) error {
	v := s.formView(ev)
	v.Form.Set("key", formKey())
	v.Form.Set("/contacts/language", ev.lang)
	if own, ok := ev.who.scope.Person(); ok {
		v.Form.Set("/applicant/fiscal_code", own)
	}
	err := s.fillReport(c, ev, v)
	if err != nil {
		return err
	}
	return s.show(c, http.StatusOK, "new", v)
}

// pageSubmit is POST of either form. Bad input shows the form again with
// everything that was typed and each problem beside its field.
func (s *Server) pageSubmit(c *gin.Context, ev *event) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	in, problems := s.readInput(ev, f)
	d := s.desk(ev)
	var ack gateway.Ack
	if len(problems) == 0 {
		ack, err = d.Submit(c.Request.Context(), in)
	} else {
		err = &gateway.Error{Kind: gateway.Invalid, Code: "invalid_input", Problems: problems}
	}
	if err == nil {
		ev.number = ack.Number
		done := "submitted"
		if !ack.Created {
			done = "repeated"
		}
		c.Redirect(http.StatusSeeOther, requestPath(ev, ack.Number)+"?done="+done)
		return nil
	}
	x := explain(err)
	if x.status != http.StatusBadRequest && x.status != http.StatusConflict {
		return err
	}
	ev.code = x.code
	v := s.formView(ev)
	v.Form, v.Problems, v.Alert = f, x.problems, textOf(ev.lang, x.code, x.args)
	page, _ := v.Data.(formPage)
	if x.code == "already_open" {
		page.Open = requestPath(ev, x.args["request"])
	}
	if f.Get("office_name") != "" {
		page.Offices, page.Searched = s.findOffices(f.Get("office_name"), policies.Channel(f.Get("/channel"))), true
	}
	v.Data = page
	return s.show(c, x.status, "new", v)
}

// requestPath answers the address of a request's page for a caller.
func requestPath(ev *event, number string) string {
	if ev.who.kind&Desk != 0 {
		return "/operator/requests/" + url.PathEscape(number)
	}
	return "/citizen/requests/" + url.PathEscape(number)
}

// readInput makes the input of a form. Problems are only those that belong to
// the form itself; everything else is the gateway's to find.
func (s *Server) readInput(ev *event, f url.Values) (gateway.Input, []gateway.Problem) {
	get := func(name string) string { return text(f, name) }
	in := gateway.Input{
		Key:     get("key"),
		Channel: policies.Channel(get("/channel")),
		Office:  get("/office"),
		Reason:  policies.Reason(get("/reason")),
		Applicant: gateway.Applicant{
			FiscalCode: get("/applicant/fiscal_code"), Surname: get("/applicant/surname"),
			GivenName: get("/applicant/given_name"), BirthDate: get("/applicant/birth_date"),
		},
		AIREComune: get("/aire_comune"),
		Delivery:   readDelivery(f, "/delivery"),
		Contacts:   gateway.Contacts{Email: get("/contacts/email"), Phone: get("/contacts/phone"), Language: get("/contacts/language")},
	}
	for _, at := range []string{"/parents/0", "/parents/1"} {
		p := gateway.Parent{FiscalCode: get(at + "/fiscal_code"), Surname: get(at + "/surname"), GivenName: get(at + "/given_name")}
		if p != (gateway.Parent{}) {
			in.Parents = append(in.Parents, p)
		}
	}
	if k := (gateway.PreviousCard{Kind: get("/previous_card/kind"), Number: get("/previous_card/number"), Expires: get("/previous_card/expires")}); k != (gateway.PreviousCard{}) {
		in.PreviousCard = &k
	}
	if r := (gateway.Report{Authority: get("/report/authority"), Number: get("/report/number"), Date: get("/report/date")}); r != (gateway.Report{}) {
		in.Report = &r
	}
	if in.Reason == policies.ReasonChangedData {
		in.Changed = clean(f["/changed"])
	}
	if ev.who.kind&Desk != 0 {
		in.Office = ev.who.office.Code
		in.Channel = policies.ChannelComune
		if ev.who.office.Kind == gateway.OfficePost {
			in.Channel = policies.ChannelPost
		}
		return in, nil
	}
	if in.Channel == policies.ChannelPost {
		in.Office = "" // the competent post is the register's word
		return in, nil
	}
	if in.Office == "" && get("office_name") != "" {
		if o, ok := gateway.ParseOffice(get("office_name")); ok {
			in.Office = o.ID()
			return in, nil
		}
		// One whole name is enough; a part of a name is a question back.
		if whole, _ := anpr.FindComuni(get("office_name")); len(whole) == 1 {
			in.Office = gateway.Office{Kind: gateway.OfficeComune, Code: whole[0].ISTAT}.ID()
			return in, nil
		}
		found := s.findOffices(get("office_name"), in.Channel)
		switch len(found) {
		case 0:
			return in, []gateway.Problem{{Field: "/office", Code: "office_unknown"}}
		case 1:
			in.Office = found[0].ID
		default:
			return in, []gateway.Problem{{Field: "/office", Code: "office_choose"}}
		}
	}
	return in, nil
}
