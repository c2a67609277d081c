package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"airegw/gateway/federation"
)

// federationRoutes are where the federation reads about an entity of ours. They
// lie below the path of its identifier, which is registered byte for byte: "" when
// the identifier is the host itself. An aggregator has fetch and list besides.
func (s *Server) federationRoutes(prefix string, e *federation.Entity, aggregator bool) []served {
	const get, fed = http.MethodGet, SurfaceFederation
	all := []served{
		{Route{get, prefix + "/.well-known/openid-federation", fed, Everybody, false}, s.entityConfiguration(e)},
		{Route{get, prefix + "/resolve", fed, Everybody, false}, s.resolve(e)},
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

// memberRoutes are those of our membership: of our own entity, and of the bodies
// we host as an aggregator, with the address to which the provider sends the
// citizens of the one that they log in as.
func (s *Server) memberRoutes(m *federation.Member) []served {
	all := s.federationRoutes(entityPath(m.Entity.ID()), m.Entity, m.Directory != nil)
	if m.Directory == nil {
		return all
	}
	for _, e := range m.Directory.Full() {
		all = append(all, s.federationRoutes(entityPath(e.ID()), e, false)...)
		if e == m.Party {
			all = append(all, served{Route{http.MethodGet, entityPath(e.ID()) + "/callback", SurfacePage, Everybody, false}, s.finishCitizen})
		}
	}
	return all
}

// TakenPath tells whether a path of ours begins as one that an aggregated body
// would have: its code must be another word.
func TakenPath(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	for _, r := range Routes(true) {
		if word, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/"); word == first {
			return true
		}
	}
	return false
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
func (s *Server) entityConfiguration(e *federation.Entity) handler {
	return func(c *gin.Context, _ *event) error {
		a, err := s.opt.Federation.Configuration(e)
		if err != nil {
			return err
		}
		return said(c, a)
	}
}

// resolve is GET /resolve: what we know already, nothing is discovered for it.
// Each answer is signed anew, hence the rate per address.
func (s *Server) resolve(e *federation.Entity) handler {
	return func(c *gin.Context, ev *event) error {
		err := s.limits.lookup.take(c, address(c), ev.start)
		if err != nil {
			return err
		}
		return said(c, s.opt.Federation.Resolve(e, c.Request.URL.Query()))
	}
}

// fetch is an aggregator's GET /fetch: what it says about one of its bodies.
func (s *Server) fetch(c *gin.Context, ev *event) error {
	err := s.limits.lookup.take(c, address(c), ev.start)
	if err != nil {
		return err
	}
	return said(c, s.opt.Federation.Directory.FetchAnswer(c.Request.URL.Query(), ev.start))
}

// list is an aggregator's GET /list.
func (s *Server) list(c *gin.Context, _ *event) error {
	return said(c, s.opt.Federation.Directory.ListAnswer(c.Request.URL.Query()))
}

// said writes an answer of the federation as it is.
func said(c *gin.Context, a federation.Answer) error {
	c.Header("Cache-Control", "no-store")
	c.Data(a.Status, a.ContentType, a.Body)
	return nil
}
