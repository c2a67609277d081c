package web

import (
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"
)

// problemBody is the error body of RFC 9457 with our members. It names neither
// the path nor the call, so that two refusals that must not be told apart are
// equal to the byte; the reference of the call travels in a header.
type problemBody struct {
	Type     string            `json:"type"`
	Title    string            `json:"title"`
	Status   int               `json:"status"`
	Detail   string            `json:"detail"`
	Code     string            `json:"code"`
	Args     map[string]string `json:"args,omitempty"`
	Problems []problemField    `json:"problems,omitempty"`
}

// problemField is one field's problem.
type problemField struct {
	Field  string            `json:"field"`
	Code   string            `json:"code"`
	Detail string            `json:"detail"`
	Args   map[string]string `json:"args,omitempty"`
}

// problem answers a failure as application/problem+json.
func problem(c *gin.Context, ev *event, f failure) {
	b := problemBody{
		Type: "about:blank", Title: http.StatusText(f.status), Status: f.status,
		Detail: textOf(ev.lang, f.code, f.args), Code: f.code, Args: f.args,
	}
	for _, p := range f.problems {
		b.Problems = append(b.Problems, problemField{p.Field, p.Code, textOf(ev.lang, p.Code, p.Args), p.Args})
	}
	raw, err := json.Marshal(b)
	if err != nil {
		raw = []byte(`{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"","code":"internal"}`)
	}
	c.Header("Content-Language", ev.lang)
	c.Data(f.status, "application/problem+json", raw)
}

// answer writes a JSON answer that nobody may keep.
func answer(c *gin.Context, ev *event, status int, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store")
	c.Header("Content-Language", ev.lang)
	c.Data(status, "application/json", raw)
	return nil
}
