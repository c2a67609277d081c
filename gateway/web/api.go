package web

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/gateway"
)

// desk answers the door to a caller's requests.
func (s *Server) desk(ev *event) gateway.Desk { return s.opt.Gateway.Desk(ev.who.scope) }

// number answers the request number of the path, as the record may keep it.
func number(c *gin.Context, ev *event) string {
	n := strings.ToUpper(c.Param("number"))
	if len(n) > 40 {
		n = n[:40] // no number is as long; it will not be found
	}
	if numberShape(n) {
		ev.number = n
	}
	return n
}

// numberShape says whether a text looks like a number of ours, so that a name
// typed into the address bar does not end in the log.
func numberShape(n string) bool {
	if len(n) < 8 || len(n) > 20 || n[0] != 'R' || n[3] != '-' {
		return false
	}
	for _, r := range n[1:3] + n[4:] {
		if (r < '0' || r > '9') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return true
}

// body reads a bounded body of JSON.
func body(c *gin.Context) ([]byte, error) {
	if t, _, _ := strings.Cut(c.GetHeader("Content-Type"), ";"); t != "" && !strings.EqualFold(strings.TrimSpace(t), "application/json") {
		return nil, fault{status: http.StatusUnsupportedMediaType, code: "not_json_type"}
	}
	raw, err := io.ReadAll(io.LimitReader(c.Request.Body, gateway.MaxInput+1))
	if err != nil {
		return nil, &gateway.Error{Kind: gateway.Invalid, Code: "invalid_input", Problems: []gateway.Problem{{Code: "body_cut"}}, Err: err}
	}
	if len(raw) > gateway.MaxInput {
		return nil, fault{status: http.StatusRequestEntityTooLarge, code: "body_too_large"}
	}
	return raw, nil
}

// apiSubmit is POST /requests: 201 for a new request, 200 for the repeat of one.
func (s *Server) apiSubmit(c *gin.Context, ev *event) error {
	raw, err := body(c)
	if err != nil {
		return err
	}
	var in gateway.Input
	err = gateway.DecodeStrict(raw, &in)
	if err != nil {
		return err
	}
	header := c.GetHeader("Idempotency-Key")
	switch {
	case header != "" && in.Key != "" && header != in.Key:
		return wrong("/key", "key_differs_from_header")
	case in.Key == "" && header != "":
		in.Key = header
	case in.Key == "":
		in.Key = in.Digest()
	}
	ack, err := s.desk(ev).Submit(c.Request.Context(), in)
	if err != nil {
		return err
	}
	ev.number = ack.Number
	status := http.StatusOK
	if ack.Created {
		status = http.StatusCreated
		c.Header("Location", "/api/v1/requests/"+ack.Number)
	}
	return answer(c, ev, status, ack)
}

// criteria reads the search of a list.
func criteria(c *gin.Context) (gateway.Criteria, error) {
	q := gateway.Criteria{
		Number:     strings.ToUpper(strings.TrimSpace(c.Query("number"))),
		FiscalCode: strings.TrimSpace(c.Query("fiscal_code")),
		Surname:    strings.TrimSpace(c.Query("surname")),
		After:      c.Query("after"),
		Marked:     gateway.MarkKind(c.Query("marked")),
		Limit:      50,
	}
	if len(q.Number) > 40 || len(q.FiscalCode) > 40 || len(q.Surname) > 200 || len(q.After) > 40 {
		return q, wrong("", "text_too_long")
	}
	if q.Marked != "" && q.Marked != gateway.MarkWaiting && q.Marked != gateway.MarkParked {
		return q, wrong("/marked", "mark_unknown")
	}
	if l := c.Query("limit"); l != "" {
		n, err := strconv.Atoi(l)
		if err != nil || n < 1 || n > 500 {
			return q, wrong("/limit", "limit_out_of_range")
		}
		q.Limit = n
	}
	for _, name := range c.QueryArray("state") {
		if name == "" {
			continue
		}
		st := gateway.State(name)
		if _, known := st.Next(); !known {
			return q, wrong("/state", "state_unknown")
		}
		q.States = append(q.States, st)
	}
	return q, nil
}

// apiList is GET /requests. A fiscal code in a query is the caller's to send;
// it is not logged: the record names the route, not the address.
func (s *Server) apiList(c *gin.Context, ev *event) error {
	q, err := criteria(c)
	if err != nil {
		return err
	}
	rows, err := s.desk(ev).List(c.Request.Context(), q)
	if err != nil {
		return err
	}
	out := listAnswer{Requests: make([]summaryAnswer, 0, len(rows))}
	for _, r := range rows {
		out.Requests = append(out.Requests, summaryOf(r, ev.lang))
	}
	if len(rows) == q.Limit {
		out.Next = rows[len(rows)-1].ID
	}
	return answer(c, ev, http.StatusOK, out)
}

// apiOpen is GET /requests/{number}: an audited look.
func (s *Server) apiOpen(c *gin.Context, ev *event) error {
	d := s.desk(ev)
	r, err := d.Open(c.Request.Context(), number(c, ev))
	if err != nil {
		return err
	}
	out := requestOf(r, ev.lang)
	out.Today = todayOf(d, r, ev.start, ev.lang)
	err = s.beside(c.Request.Context(), r, &out, ev.lang)
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, out)
}

// apiChecklist is GET /requests/{number}/checklist.
func (s *Server) apiChecklist(c *gin.Context, ev *event) error {
	d := s.desk(ev)
	r, err := d.Open(c.Request.Context(), number(c, ev))
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, checklistOf(r, d.Checklist(r), ev.lang))
}

// apiAct does an act and answers where the request stands after it.
func (s *Server) apiAct(a act) handler {
	return func(c *gin.Context, ev *event) error {
		n := number(c, ev)
		raw, err := body(c)
		if err != nil {
			return err
		}
		d := s.desk(ev)
		err = a.json(c.Request.Context(), d, n, raw)
		if err != nil {
			return err
		}
		row, err := summary(c.Request.Context(), d, n)
		if err != nil {
			return err
		}
		return answer(c, ev, http.StatusOK, summaryOf(row, ev.lang))
	}
}

// apiTracker is POST …/tracker: the old code is dead, the answer holds the new.
func (s *Server) apiTracker(c *gin.Context, ev *event) error {
	n := number(c, ev)
	code, err := s.desk(ev).RevokeTracker(c.Request.Context(), n)
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, trackerAnswer{n, code})
}

// apiPrint is POST …/counter/print: the summary form's data with the first
// halves of PIN and PUK. Every print is audited.
func (s *Server) apiPrint(c *gin.Context, ev *event) error {
	forms, err := s.desk(ev).PrintForms(c.Request.Context(), number(c, ev))
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, formsAnswer{Number: forms.Request.ID, NUN: forms.NUN, PIN: forms.PIN, PUK: forms.PUK, Prints: forms.Prints})
}

// apiTrack is GET /track/{number} with the code in the Tracker-Code header,
// never in the address.
func (s *Server) apiTrack(c *gin.Context, ev *event) error {
	err := s.limits.track.take(c, address(c), ev.start)
	if err != nil {
		return err
	}
	t, err := s.opt.Gateway.Track(c.Request.Context(), number(c, ev), c.GetHeader("Tracker-Code"))
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, trackingOf(t, ev.lang))
}

const mostFound = 50

// query answers the words searched for.
func query(c *gin.Context) (string, error) {
	q := strings.TrimSpace(c.Query("q"))
	if len(q) > 200 {
		return "", wrong("/q", "text_too_long")
	}
	return q, nil
}

// apiComuni is GET /registry/comuni?q=.
func (s *Server) apiComuni(c *gin.Context, ev *event) error {
	q, err := query(c)
	if err != nil {
		return err
	}
	if q == "" {
		return wrong("/q", "query_missing")
	}
	current, former := anpr.FindComuni(q)
	out := comuniAnswer{Comuni: []comuneAnswer{}, Former: []formerAnswer{}}
	for _, k := range current[:min(len(current), mostFound)] {
		out.Comuni = append(out.Comuni, comuneOf(k))
	}
	for _, k := range former[:min(len(former), mostFound)] {
		f := formerAnswer{comuneAnswer: comuneOf(k), Ended: k.Ended.Format(time.DateOnly), Successors: k.Successors}
		if f.Successors == nil {
			f.Successors = []string{}
		}
		out.Former = append(out.Former, f)
	}
	s.keep(c)
	return public(c, ev, out)
}

// apiPosts is GET /registry/posts?q=&iso2=.
func (s *Server) apiPosts(c *gin.Context, ev *event) error {
	q, err := query(c)
	if err != nil {
		return err
	}
	iso2 := strings.ToUpper(c.Query("iso2"))
	if iso2 != "" && len(iso2) != 2 {
		return wrong("/iso2", "country_unknown")
	}
	out := postsAnswer{Posts: []postAnswer{}}
	for _, p := range findPosts(q, iso2) {
		out.Posts = append(out.Posts, postOf(p))
	}
	s.keep(c)
	return public(c, ev, out)
}

// keep lets registry answers be kept for an hour: they are not personal.
func (s *Server) keep(c *gin.Context) { c.Header("Cache-Control", "public, max-age=3600") }

// public writes a JSON answer that may be kept.
func public(c *gin.Context, ev *event, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.Header("Content-Language", ev.lang)
	c.Data(http.StatusOK, "application/json", raw)
	return nil
}

// findPosts answers the posts whose seat or country matches, that serve citizens.
func findPosts(q, iso2 string) []consulate.Post {
	var out []consulate.Post
	for _, p := range consulate.FindPosts(q) {
		if iso2 == "" || p.ISO2 == iso2 {
			out = append(out, p)
		}
	}
	return out
}

// coreEvent is POST /core/v1/events: a signed event of the issuance core.
func (s *Server) coreEvent(c *gin.Context, _ *event) error {
	raw, err := io.ReadAll(io.LimitReader(c.Request.Body, gateway.MaxInput+1))
	if err != nil {
		return &gateway.Error{Kind: gateway.Invalid, Code: "body_cut", Err: err}
	}
	if len(raw) > gateway.MaxInput {
		return fault{status: http.StatusRequestEntityTooLarge, code: "body_too_large"}
	}
	err = s.opt.Gateway.TakeCoreEvent(c.Request.Context(), raw)
	if err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}

// status is the health answer of the Italian guidelines: problem+json, kept by
// nobody. The gateway is well while it can acknowledge.
func (s *Server) status(c *gin.Context, ev *event) error {
	h := s.opt.Gateway.Health(c.Request.Context())
	out := statusAnswer{
		Type: "about:blank", Title: "OK", Status: http.StatusOK, Version: s.opt.Version, Environment: s.opt.Environment,
		Peers: map[string]peerAnswer{"store": peerOf(h.Store), "register": peerOf(h.Register), "core": peerOf(h.Core)},
	}
	out.Detail = "status.ok"
	if !h.OK {
		out.Title, out.Status = http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable
		out.Detail = "status.ill"
		c.Header("Retry-After", "5")
	}
	out.Detail = textOf(ev.lang, out.Detail, nil)
	raw, err := json.Marshal(out)
	if err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store")
	c.Header("Content-Language", ev.lang)
	c.Data(out.Status, "application/problem+json", raw)
	return nil
}
