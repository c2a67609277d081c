package web

import (
	"github.com/gin-gonic/gin"

	broken "airegw/gateway/fault"
)

// policy is the content security policy of every answer: our own files, and no
// inline code or style. data: images are the ones inside the kit's style sheet.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// headers sets what every answer carries.
func (s *Server) headers(c *gin.Context, ev *event) {
	h := c.Writer.Header()
	if !broken.Mutant("web.policy") {
		h["Content-Security-Policy"] = []string{policy}
	}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["Referrer-Policy"] = []string{"no-referrer"}
	h["Permissions-Policy"] = []string{"camera=(), geolocation=(), microphone=(), payment=(), usb=()"}
	h["Cross-Origin-Opener-Policy"] = []string{"same-origin"}
	h["Cross-Origin-Resource-Policy"] = []string{"same-origin"}
	h["Request-Id"] = []string{ev.id}
	if s.secure {
		h["Strict-Transport-Security"] = []string{"max-age=63072000; includeSubDomains"}
	}
}
