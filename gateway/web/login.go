package web

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/gin-gonic/gin"

	"airegw/gateway"
	broken "airegw/gateway/fault"
	"airegw/gateway/login"
	"airegw/gateway/messages"
)

// Logging in is three GETs: the page that lets people choose, the start that
// sends the browser to the provider, the address the provider sends it back to.
// The start is a link and no form: a content security policy that keeps forms on
// our own site would stop the redirect.

const (
	pathLogin            = "/login"
	pathCitizenStart     = "/login/cie"
	pathOperatorStart    = "/login/operator"
	PathCitizenCallback  = "/login/cie/callback"      // where the CIE provider sends people back to
	PathOperatorCallback = "/login/operator/callback" // where an office's provider does
)

// loginRoutes are the ways in.
func (s *Server) loginRoutes() []served {
	const get, page = http.MethodGet, SurfacePage
	return []served{
		{Route{get, pathLogin, page, Everybody, false}, s.pageLogin},
		{Route{get, "/login/help", page, Everybody, false}, s.pageLoginHelp},
		{Route{get, pathCitizenStart, page, Everybody, false}, s.startCitizen},
		{Route{get, PathCitizenCallback, page, Everybody, false}, s.finishCitizen},
		{Route{get, pathOperatorStart, page, Everybody, false}, s.startOperator},
		{Route{get, PathOperatorCallback, page, Everybody, false}, s.finishOperator},
	}
}

// loginPage is what the choice of ways in shows.
type loginPage struct {
	CIE     string    // address of the start; empty while there is no valid chain
	RetryAt time.Time // when asking again makes sense, while there is none
	Asked   bool      // citizens can log in here at all
	Offices []officeChoice
	Office  string // typed into the search
	Many    bool   // more offices than are shown: search

	Ministries []officeChoice // whose people own the rules

	DemoOperators []DemoOperator
	DemoCitizens  []DemoCitizen
}

// officesShown is how many offices the page lists before one must search.
const officesShown = 24

// pageLogin is GET /login: citizens, operators, and in the demo its own door.
func (s *Server) pageLogin(c *gin.Context, ev *event) error {
	next := localPath(c.Query("next"))
	page := loginPage{Asked: s.opt.Citizens != nil, Office: strings.TrimSpace(c.Query("office_name"))}
	page.CIE, page.RetryAt = s.entry(next, 0)
	if s.opt.Operators != nil {
		folded := fold(page.Office)
		for _, o := range s.opt.Operators.Offices() {
			if folded != "" && !strings.Contains(" "+fold(o.Name()), " "+folded) && !strings.EqualFold(o.Code, page.Office) {
				continue
			}
			if len(page.Offices) == officesShown {
				page.Many = true
				break
			}
			page.Offices = append(page.Offices, officeChoice{
				ID:     pathOperatorStart + "?" + url.Values{"office": {o.ID()}, "next": {next}}.Encode(),
				Name:   o.Name(),
				Detail: messages.Text(ev.lang, "login.office."+string(o.Kind), nil),
			})
		}
	}
	if s.opt.Operators != nil && page.Office == "" {
		for _, name := range s.opt.Operators.Ministries() {
			page.Ministries = append(page.Ministries, officeChoice{ID: pathOperatorStart + "?" + url.Values{"provider": {name}, "next": {next}}.Encode(), Name: name})
		}
	}
	if s.opt.Demo != nil {
		page.DemoOperators, page.DemoCitizens = s.opt.Demo.Operators, s.opt.Demo.Citizens
	}
	return s.show(c, http.StatusOK, "login", s.view(ev, "page.login", page))
}

// pageLoginHelp is GET /login/help: how to begin without a CIE.
func (s *Server) pageLoginHelp(c *gin.Context, ev *event) error {
	return s.show(c, http.StatusOK, "login_help", s.view(ev, "page.login_help", nil))
}

// entry answers the address of a citizen's login that comes back to next at a
// level (0: what a session needs), or "" and when to try again: the button
// "Entra con CIE" exists only while a valid trust chain does (D
// trust_negotiation).
func (s *Server) entry(next string, level int) (address string, retry time.Time) {
	if s.opt.Citizens == nil {
		return "", time.Time{}
	}
	_, err := s.opt.Citizens.Ready()
	if err != nil {
		var e *login.Error
		if errors.As(err, &e) {
			retry = e.RetryAt
		}
		return "", retry
	}
	q := url.Values{"next": {next}}
	if level > 0 {
		q.Set("level", strconv.Itoa(level))
	}
	return pathCitizenStart + "?" + q.Encode(), time.Time{}
}

// localPath answers a path on our own site to return to after a login, "" for
// anything else: nobody is sent elsewhere by a link to us.
func localPath(next string) string {
	if broken.Mutant("web.local-path") {
		return next
	}
	if len(next) > 300 || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.HasPrefix(next, pathLogin) ||
		strings.ContainsFunc(next, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }) {
		return ""
	}
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || u.Scheme != "" || strings.HasPrefix(u.Path, "//") {
		return ""
	}
	return next
}

// startCitizen is GET /login/cie: to the provider, at the level asked. Somebody
// who is logged in keeps the session until the new login holds, and must come
// back as the same person.
func (s *Server) startCitizen(c *gin.Context, ev *event) error {
	if s.opt.Citizens == nil {
		return fault{status: http.StatusNotFound, code: "not_found"}
	}
	err := s.limits.login.take(c, address(c), ev.start)
	if err != nil {
		return err
	}
	start := login.Start{Level: login.LevelFor(login.ActView), ReturnTo: localPath(c.Query("next")), Lang: ev.lang}
	if c.Query("level") == "3" {
		start.Level = login.Level3
	}
	if start.ReturnTo == "" {
		start.ReturnTo = "/citizen"
	}
	if ev.who.kind == Citizen && ev.who.login != "" {
		start.Person = ev.who.id
	}
	start.Binding, err = login.NewBinding(rand.Reader)
	if err != nil {
		return err
	}
	to, err := s.opt.Citizens.Begin(c.Request.Context(), start)
	if err != nil {
		return s.failLogin(c, ev, err)
	}
	s.bind(c, login.DoorCitizen, to, start.Binding, ev.start)
	c.Redirect(http.StatusSeeOther, to.URL)
	return nil
}

// finishCitizen is where the CIE provider sends the browser back to.
func (s *Server) finishCitizen(c *gin.Context, ev *event) error {
	if s.opt.Citizens == nil {
		return fault{status: http.StatusNotFound, code: "not_found"}
	}
	before := ev.who
	who, err := s.opt.Citizens.Finish(c.Request.Context(), c.Request.URL.Query(), s.unbind(c, login.DoorCitizen))
	if err != nil {
		return s.failLogin(c, ev, err)
	}
	err = s.becomeCitizen(c, ev.start, who.FiscalCode, int(who.Level), map[string]string{
		"id": who.ID, "name": strings.TrimSpace(who.GivenName + " " + who.FamilyName), "login": who.Reference,
	})
	if err != nil {
		return err
	}
	if before.kind == Citizen && before.login != "" {
		s.revoke(c, ev, before.login) // the login this one follows
	}
	s.welcome(c, who.Lang, who.ReturnTo, "/citizen")
	return nil
}

// startOperator is GET /login/operator?office=, or ?provider= for a ministry:
// to the provider that speaks for it.
func (s *Server) startOperator(c *gin.Context, ev *event) error {
	if s.opt.Operators == nil {
		return fault{status: http.StatusNotFound, code: "not_found"}
	}
	err := s.limits.login.take(c, address(c), ev.start)
	if err != nil {
		return err
	}
	start := login.OperatorStart{Office: gateway.OfficeFromID(c.Query("office")), Provider: c.Query("provider"), ReturnTo: localPath(c.Query("next")), Lang: ev.lang}
	start.Binding, err = login.NewBinding(rand.Reader)
	if err != nil {
		return err
	}
	to, err := s.opt.Operators.Begin(c.Request.Context(), start)
	if err != nil {
		return s.failLogin(c, ev, err)
	}
	s.bind(c, login.DoorOperator, to, start.Binding, ev.start)
	c.Redirect(http.StatusSeeOther, to.URL)
	return nil
}

// finishOperator is where an office's provider sends the browser back to.
func (s *Server) finishOperator(c *gin.Context, ev *event) error {
	if s.opt.Operators == nil {
		return fault{status: http.StatusNotFound, code: "not_found"}
	}
	who, err := s.opt.Operators.Finish(c.Request.Context(), c.Request.URL.Query(), s.unbind(c, login.DoorOperator))
	if err != nil {
		return s.failLogin(c, ev, err)
	}
	err = s.becomeOperator(c, ev.start, DemoOperator{ID: who.ID, Name: who.Name, Office: who.Office, Role: who.Role, Station: who.Station})
	if err != nil {
		return err
	}
	s.welcome(c, who.Lang, who.ReturnTo, homeOf(who.Role))
	return nil
}

// welcome sends somebody who has just logged in on.
func (s *Server) welcome(c *gin.Context, lang, next, home string) {
	if lang == messages.IT || lang == messages.EN {
		http.SetCookie(c.Writer, s.languageCookie(lang))
	}
	next = localPath(next)
	if next == "" || next == "/" {
		next = home
	}
	c.Redirect(http.StatusSeeOther, next)
}

// attemptCookie names the cookie that binds one attempt to this browser: one for
// each, so that tabs that log in at once do not meet, with the role in its name.
func (s *Server) attemptCookie(d login.Door, state string) string {
	sum := sha256.Sum256([]byte(state))
	return s.attemptPrefix(d) + hex.EncodeToString(sum[:6])
}

func (s *Server) attemptPrefix(d login.Door) string {
	name := "airegw_login_" + string(d) + "_"
	if s.secure {
		return "__Host-" + name
	}
	return name
}

// attemptsKept is how many attempts of one browser stay bound; beyond it the
// others are given up, lest the cookies outgrow the header.
const attemptsKept = 40

// bind gives the browser the cookie of an attempt. SameSite=Lax lets it come back
// with the provider's redirect, which is a navigation from another site.
func (s *Server) bind(c *gin.Context, d login.Door, to login.Redirect, binding string, now time.Time) {
	prefix := s.attemptPrefix(d)
	var held []string
	for _, k := range c.Request.Cookies() {
		if strings.HasPrefix(k.Name, prefix) {
			held = append(held, k.Name)
		}
	}
	if len(held) >= attemptsKept {
		for _, name := range held {
			http.SetCookie(c.Writer, s.boundCookie(name, "", -1))
		}
	}
	http.SetCookie(c.Writer, s.boundCookie(s.attemptCookie(d, to.State), binding, max(1, int(to.ExpiresAt.Sub(now).Seconds()))))
}

func (s *Server) boundCookie(name, value string, age int) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: age, Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// unbind answers what bound the attempt of the answer at hand, "" when this
// browser began none such, and takes the cookie back.
func (s *Server) unbind(c *gin.Context, d login.Door) string {
	name := s.attemptCookie(d, c.Query("state"))
	binding, err := c.Cookie(name)
	if err != nil {
		return ""
	}
	http.SetCookie(c.Writer, s.boundCookie(name, "", -1))
	return binding
}

// failedPage is what a failed login shows: a class, never what the provider said.
type failedPage struct {
	Class     string
	Reference string
	RetryAt   time.Time
	Again     string // where to start again
	Detail    string // code of what more there is to say, to operators
}

// failLogin shows why a login failed. Somebody who is logged in already and
// comes back to a login that is over (back button, reload) is simply let in.
func (s *Server) failLogin(c *gin.Context, ev *event, err error) error {
	var e *login.Error
	if !errors.As(err, &e) {
		return err
	}
	if ev.who.signedIn() && (e.Code == login.CodeAttemptUsed || e.Code == login.CodeAttemptUnknown) {
		s.welcome(c, "", e.ReturnTo, s.view(ev, "", nil).Home)
		return nil
	}
	ev.code, ev.err = string(e.Code), err
	page := failedPage{Class: string(e.Class), Reference: e.Reference, RetryAt: e.RetryAt, Again: pathLogin + "?" + url.Values{"next": {localPath(e.ReturnTo)}}.Encode()}
	if page.Reference == "" {
		page.Reference = ev.id
	}
	status := http.StatusBadRequest
	switch e.Class {
	case login.ClassUnavailable:
		status = http.StatusServiceUnavailable
		wait := max(1, int(e.RetryAt.Sub(ev.start).Seconds()))
		if e.RetryAt.IsZero() {
			wait = 5
		}
		c.Header("Retry-After", strconv.Itoa(wait))
	case login.ClassLevel, login.ClassCancelled:
		status = http.StatusForbidden
	case login.ClassConfiguration:
		status = http.StatusBadGateway
	case login.ClassExpired:
	}
	v := s.view(ev, "page.login_failed", page)
	return s.show(c, status, "login_failed", v)
}

// revoke tells the provider that a login is over; what does not get through is
// tried again by the sweeper.
func (s *Server) revoke(c *gin.Context, ev *event, reference string) {
	if s.opt.Citizens == nil || reference == "" {
		return
	}
	err := s.opt.Citizens.Logout(c.Request.Context(), reference)
	if err != nil && ev.err == nil {
		ev.err = err
	}
}

// returnPath answers where to come back to after a login that an act asked for:
// the page, or for an act the page it was done on.
func returnPath(c *gin.Context) string {
	path := c.Request.URL.Path
	if c.Request.Method == http.MethodGet {
		return localPath(path)
	}
	switch c.FullPath() {
	case "/citizen/requests":
		return "/citizen/requests/new"
	case "/citizen/requests/:number/delivery", "/citizen/requests/:number/cancellation", "/citizen/requests/:number/assent", "/citizen/requests/:number/tracker":
		return localPath(path[:strings.LastIndex(path, "/")])
	case "/citizen/report", "/citizen/data":
		return path
	default:
		return "/citizen"
	}
}
