package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"airegw/gateway/federation"
)

// federationRoutes are where the federation reads about us. They lie below the
// path of our entity identifier, which is registered byte for byte: "" when the
// identifier is the host itself. An aggregator has fetch and list besides.
func (s *Server) federationRoutes(prefix string, aggregator bool) []served {
	const get, fed = http.MethodGet, SurfaceFederation
	all := []served{
		{Route{get, prefix + "/.well-known/openid-federation", fed, Everybody, false}, s.entityConfiguration},
		{Route{get, prefix + "/resolve", fed, Everybody, false}, s.resolve},
	}
	if aggregator {
		all = append(
			all,
			served{Route{get, prefix + "/fetch", fed, Everybody, false}, s.fetch},
			served{Route{get, prefix + "/list", fed, Everybody, false}, s.list},
		)
	}
	return all
}

// entityPath answers the path of our entity identifier, without a slash at its
// end.
func entityPath(id string) string {
	u, err := url.Parse(id)
	if err != nil {
		return "" // federation.Open has read it
	}
	return strings.TrimSuffix(u.Path, "/")
}

// entityConfiguration is GET /.well-known/openid-federation (OpenID Federation
// 1.0; entra-con-cie §1): exactly the media type, no charset.
func (s *Server) entityConfiguration(c *gin.Context, ev *event) error {
	if s.opt.Directory != nil {
		body, err := s.opt.Directory.Configuration(ev.start)
		if err != nil {
			return err
		}
		return said(c, federation.Answer{Status: http.StatusOK, ContentType: federation.MediaTypeStatement, Body: body})
	}
	a, err := s.opt.Federation.Configuration()
	if err != nil {
		return err
	}
	return said(c, a)
}

// resolve is GET /resolve: what we know already, nothing is discovered for it.
// Each answer is signed anew, hence the rate per address.
func (s *Server) resolve(c *gin.Context, ev *event) error {
	err := s.limits.lookup.take(c, address(c), ev.start)
	if err != nil {
		return err
	}
	return said(c, s.opt.Federation.Resolve(c.Request.URL.Query()))
}

// fetch is an aggregator's GET /fetch: what it says about one of its bodies.
func (s *Server) fetch(c *gin.Context, ev *event) error {
	err := s.limits.lookup.take(c, address(c), ev.start)
	if err != nil {
		return err
	}
	return said(c, s.opt.Directory.FetchAnswer(c.Request.URL.Query(), ev.start))
}

// list is an aggregator's GET /list.
func (s *Server) list(c *gin.Context, _ *event) error {
	return said(c, s.opt.Directory.ListAnswer(c.Request.URL.Query()))
}

// said writes an answer of the federation as it is.
func said(c *gin.Context, a federation.Answer) error {
	c.Header("Cache-Control", "no-store")
	c.Data(a.Status, a.ContentType, a.Body)
	return nil
}
