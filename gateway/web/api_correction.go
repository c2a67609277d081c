package web

import (
	"bytes"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"airegw/gateway"
	"airegw/gateway/messages"
)

// correctionAPI is what an office must mend in the register, for machines; the
// pages are in pages_correction.go.
func (s *Server) correctionAPI() []served {
	const get, post, api = http.MethodGet, http.MethodPost, SurfaceAPI
	const one = "/api/v1/corrections/:id"
	return []served{
		{Route{get, "/api/v1/corrections", api, Office, false}, s.apiCorrections},
		{Route{get, one, api, Office, false}, s.apiCorrection},
		{Route{post, one + "/answer", api, Office, false}, s.apiAnswerCorrection},
		{Route{post, one + "/alignment", api, Office, false}, s.apiAlign},
		{Route{get, "/api/v1/requests/:number/corrections", api, Anyone, false}, s.apiCorrectionsOf},
	}
}

// correctionAnswer is a correction; Subject is given to the office that has to
// act, when it looks at the one.
type correctionAnswer struct {
	ID        string         `json:"id"`
	Request   string         `json:"request"`
	Office    *officeAnswer  `json:"office,omitempty"`
	Person    int            `json:"person"`
	Code      string         `json:"code"`
	Text      string         `json:"text"`
	Who       string         `json:"who"`
	Operation string         `json:"operation,omitempty"`
	Status    string         `json:"status"`
	Answer    string         `json:"answer,omitempty"`
	Said      string         `json:"answer_text,omitempty"`
	Reference string         `json:"reference,omitempty"`
	OpenedAt  time.Time      `json:"opened_at"`
	UpdatedAt time.Time      `json:"updated_at"`
	AskedAt   *time.Time     `json:"asked_at,omitempty"`
	ClosedAt  *time.Time     `json:"closed_at,omitempty"`
	Subject   *subjectAnswer `json:"subject,omitempty"`
}

type subjectAnswer struct {
	FiscalCode string                      `json:"fiscal_code"`
	Surname    string                      `json:"surname,omitempty"`
	GivenName  string                      `json:"given_name,omitempty"`
	Said       string                      `json:"said,omitempty"`
	Answer     string                      `json:"answer,omitempty"`
	Residence  *gateway.CorrectedResidence `json:"residence,omitempty"`
}

type correctionsAnswer struct {
	Corrections []correctionAnswer `json:"corrections"`
	Next        string             `json:"next,omitempty"`
}

func correctionAnswerOf(c gateway.Correction, lang string) correctionAnswer {
	out := correctionAnswer{
		ID: c.ID, Request: c.Request, Office: officeOf(c.Office), Person: c.Person, Code: c.Code, Text: textOf(lang, c.Code, c.Args), Who: c.Who,
		Operation: c.Operation, Status: string(c.Status), Answer: c.Answer, Reference: c.Reference,
		OpenedAt: c.OpenedAt.UTC(), UpdatedAt: c.UpdatedAt.UTC(), AskedAt: when(c.Subject.AskedAt), ClosedAt: when(c.ClosedAt),
	}
	if key := "correction.answer." + c.Answer; c.Answer != "" && messages.Has(key) {
		out.Said = textOf(lang, key, nil)
	}
	return out
}

func correctionsAnswerOf(list []gateway.Correction, lang string) correctionsAnswer {
	out := correctionsAnswer{Corrections: []correctionAnswer{}}
	for _, c := range list {
		out.Corrections = append(out.Corrections, correctionAnswerOf(c, lang))
	}
	return out
}

// afterOf answers where a list of corrections goes on.
func afterOf(c *gin.Context) (string, error) {
	after := c.Query("after")
	if len(after) > 100 {
		return "", wrong("/after", "text_too_long")
	}
	return after, nil
}

// nextOf answers what the next page of a list of corrections starts after.
func nextOf(list []gateway.Correction) string {
	if len(list) < gateway.CorrectionsPage {
		return ""
	}
	return list[len(list)-1].ID
}

// apiCorrections is GET /corrections: what the own office has to mend.
func (s *Server) apiCorrections(c *gin.Context, ev *event) error {
	after, err := afterOf(c)
	if err != nil {
		return err
	}
	list, err := s.desk(ev).CorrectionTasks(c.Request.Context(), after)
	if err != nil {
		return err
	}
	out := correctionsAnswerOf(list, ev.lang)
	out.Next = nextOf(list)
	return answer(c, ev, http.StatusOK, out)
}

// apiCorrectionsOf is GET /requests/{number}/corrections, closed ones too.
func (s *Server) apiCorrectionsOf(c *gin.Context, ev *event) error {
	list, err := s.desk(ev).Corrections(c.Request.Context(), number(c, ev))
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, correctionsAnswerOf(list, ev.lang))
}

// apiCorrection is GET /corrections/{id}: an audited look, with whose record it is.
func (s *Server) apiCorrection(c *gin.Context, ev *event) error {
	task, err := s.desk(ev).OpenCorrection(c.Request.Context(), correctionOf(c))
	if err != nil {
		return err
	}
	out := correctionAnswerOf(task, ev.lang)
	out.Subject = &subjectAnswer{
		FiscalCode: task.Subject.FiscalCode, Surname: task.Subject.Surname, GivenName: task.Subject.GivenName,
		Said: task.Subject.Said, Answer: task.Subject.Answer, Residence: task.Subject.Residence,
	}
	return answer(c, ev, http.StatusOK, out)
}

// apiAnswerCorrection is POST /corrections/{id}/answer: what the office did. What
// a citizen reported is closed by register_right, the rest by the register.
func (s *Server) apiAnswerCorrection(c *gin.Context, ev *event) error {
	raw, err := body(c)
	if err != nil {
		return err
	}
	var in struct {
		Answer string `json:"answer"`
		Said   string `json:"said"`
	}
	err = gateway.DecodeStrict(raw, &in)
	if err != nil {
		return err
	}
	err = s.desk(ev).AnswerCorrection(c.Request.Context(), correctionOf(c), in.Answer, in.Said)
	if err != nil {
		return err
	}
	return s.apiCorrection(c, ev)
}

// apiAlign is POST /corrections/{id}/alignment: the post asks the consular door;
// the body, if any, names the residence to be written.
func (s *Server) apiAlign(c *gin.Context, ev *event) error {
	raw, err := body(c)
	if err != nil {
		return err
	}
	var in struct {
		Residence *gateway.CorrectedResidence `json:"residence"`
	}
	if len(bytes.TrimSpace(raw)) > 0 {
		err = gateway.DecodeStrict(raw, &in)
	}
	if err == nil {
		err = s.desk(ev).AskAlignment(c.Request.Context(), correctionOf(c), in.Residence)
	}
	if err != nil {
		return err
	}
	return s.apiCorrection(c, ev)
}

// readResidence reads the residence of the page's form; nil when nothing of it is
// filled in.
func readResidence(f url.Values) *gateway.CorrectedResidence {
	at := func(name string) string { return text(f, "/residence/"+name) }
	out := gateway.CorrectedResidence{
		ISO2: at("iso2"), CareOf: at("care_of"), Street: at("street"), HouseNumber: at("house_number"), Postcode: at("postcode"),
		Locality: at("locality"), Region: at("region"), Notes: at("notes"), Since: at("since"),
	}
	if out == (gateway.CorrectedResidence{}) {
		return nil
	}
	return &out
}
