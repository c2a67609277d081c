package web

import (
	"io"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"airegw/gateway"
)

// apiCardNotice is POST /card-notices: a signed report of a card. Whoever
// signed it is the caller; no session and no bearer counts.
func (s *Server) apiCardNotice(c *gin.Context, _ *event) error {
	if t, _, _ := strings.Cut(c.GetHeader("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(t), "application/jwt") {
		return fault{status: http.StatusUnsupportedMediaType, code: "not_jwt_type"}
	}
	raw, err := io.ReadAll(io.LimitReader(c.Request.Body, gateway.MaxCardNotice+1))
	if err != nil {
		return &gateway.Error{Kind: gateway.Invalid, Code: "invalid_input", Problems: []gateway.Problem{{Code: "body_cut"}}, Err: err}
	}
	if len(raw) > gateway.MaxCardNotice {
		return fault{status: http.StatusRequestEntityTooLarge, code: "body_too_large"}
	}
	err = s.opt.Gateway.TakeCardNotice(c.Request.Context(), strings.TrimSpace(string(raw)))
	if err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}

// pageOwnData is GET /citizen/data.json: everything kept about the person, as a
// file.
func (s *Server) pageOwnData(c *gin.Context, ev *event) error {
	data, err := s.desk(ev).OwnData(c.Request.Context())
	if err != nil {
		return err
	}
	c.Header("Content-Disposition", `attachment; filename="airegw-data.json"`)
	return answer(c, ev, http.StatusOK, data)
}
