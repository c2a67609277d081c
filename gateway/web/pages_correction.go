package web

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/gin-gonic/gin"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/gateway"
	"airegw/gateway/messages"
)

// correctionRoutes are the office's pages of what it must mend in the register.
func (s *Server) correctionRoutes() []served {
	const get, post, page = http.MethodGet, http.MethodPost, SurfacePage
	return []served{
		{Route{get, "/operator/corrections", page, Desk, false}, s.pageCorrections},
		{Route{get, "/operator/corrections/:id", page, Desk, false}, s.pageCorrection},
		{Route{post, "/operator/corrections/:id/answer", page, Desk, false}, s.pageAnswerCorrection},
		{Route{post, "/operator/corrections/:id/alignment", page, Desk, false}, s.pageAlign},
	}
}

// correctionsPage is the list of an office's tasks.
type correctionsPage struct {
	Tasks []gateway.Correction
	Next  string
}

// pageCorrections is GET /operator/corrections.
func (s *Server) pageCorrections(c *gin.Context, ev *event) error {
	after, err := afterOf(c)
	if err != nil {
		return err
	}
	tasks, err := s.desk(ev).CorrectionTasks(c.Request.Context(), after)
	if err != nil {
		return err
	}
	return s.show(c, http.StatusOK, "corrections", s.view(ev, "page.corrections", correctionsPage{Tasks: tasks, Next: nextOf(tasks)}))
}

// correctionPage is one task with whose record it is.
type correctionPage struct {
	Task     gateway.Correction
	Path     string
	Answers  []choice
	CanAlign bool
	States   []choice // where a corrected residence may be; none where none can be asked for
	Open     bool
	// Residence is what fills the form in at first.
	Residence gateway.CorrectedResidence
}

// statesOf are the states a post serves.
func statesOf(o gateway.Office, lang, chosen string) []choice {
	var out []choice
	for _, iso2 := range consulate.Served() {
		posts, _ := consulate.PostsServing(iso2)
		if !slices.ContainsFunc(posts, func(p consulate.Post) bool { return p.Key == o.Code }) {
			continue
		}
		state, ok := anpr.StateByISO2(iso2)
		if !ok {
			continue
		}
		name := state.NameIT
		if lang == "en" && state.NameEN != "" {
			name = state.NameEN
		}
		out = append(out, choice{Value: iso2, Label: name, Chosen: iso2 == chosen})
	}
	return out
}

// pageCorrection is GET /operator/corrections/:id; the look is audited.
func (s *Server) pageCorrection(c *gin.Context, ev *event) error {
	return s.showCorrection(c, ev, http.StatusOK, func(v *view) {
		if done := c.Query("done"); done == "correction" || done == "alignment" {
			v.Done = done
		}
	})
}

func (s *Server) showCorrection(c *gin.Context, ev *event, status int, set func(*view)) error {
	task, err := s.desk(ev).OpenCorrection(c.Request.Context(), correctionOf(c))
	if err != nil {
		return err
	}
	page := correctionPage{Task: task, Path: "/operator/corrections/" + url.PathEscape(task.ID), Open: task.Status != gateway.CorrectionClosed}
	page.CanAlign = page.Open && task.Operation != "" && task.Status != gateway.CorrectionAsking && task.Status != gateway.CorrectionAsked
	if page.CanAlign && task.Operation == gateway.AlignComune {
		if task.Subject.Residence != nil {
			page.Residence = *task.Subject.Residence // asked for before, and not taken
		}
		page.States = statesOf(task.Office, ev.lang, page.Residence.ISO2)
	}
	for _, a := range []string{gateway.CorrectionDone, gateway.CorrectionRight, gateway.CorrectionNotOurs} {
		page.Answers = append(page.Answers, choice{Value: a, Label: messages.Text(ev.lang, "correction.answer."+a, nil)})
	}
	v := s.view(ev, "page.correction", page)
	set(v)
	return s.show(c, status, "correction", v)
}

// correctionOf answers the id in the path; one that is none finds nothing.
func correctionOf(c *gin.Context) string {
	id := c.Param("id")
	if len(id) > 100 {
		return ""
	}
	return id
}

// pageAnswerCorrection is POST …/answer: what the office did.
func (s *Server) pageAnswerCorrection(c *gin.Context, ev *event) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	err = s.desk(ev).AnswerCorrection(c.Request.Context(), correctionOf(c), text(f, "answer"), f.Get("said"))
	return s.afterCorrection(c, ev, "correction", f, err)
}

// pageAlign is POST …/alignment: the post asks the consular door.
func (s *Server) pageAlign(c *gin.Context, ev *event) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	return s.afterCorrection(c, ev, "alignment", f, s.desk(ev).AskAlignment(c.Request.Context(), correctionOf(c), readResidence(f)))
}

func (s *Server) afterCorrection(c *gin.Context, ev *event, done string, f url.Values, err error) error {
	if err == nil {
		c.Redirect(http.StatusSeeOther, "/operator/corrections/"+url.PathEscape(correctionOf(c))+"?done="+done)
		return nil
	}
	x := explain(err)
	if x.status != http.StatusBadRequest && x.status != http.StatusConflict && x.status != http.StatusServiceUnavailable {
		return err
	}
	ev.code, ev.err = x.code, err
	return s.showCorrection(c, ev, x.status, func(v *view) {
		v.Form, v.Problems, v.Alert = f, x.problems, textOf(ev.lang, x.code, x.args)
	})
}

// Office answers an office's name for people; "" for none.
func (v *view) Office(o gateway.Office) string {
	if o.IsZero() {
		return ""
	}
	return o.Name()
}
