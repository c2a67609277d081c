package web

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"airegw/gateway"
	broken "airegw/gateway/fault"
	"airegw/gateway/login"
	"airegw/gateway/messages"
)

// An operator's smart card (SCO, A85) is asked for by a listener of its own,
// where the gateway itself ends TLS: a certificate that a proxy says it has seen
// is believed no more than an address. The session's cookie is the host's and
// reaches both.

// Cards says that this deployment asks operators for their cards.
type Cards struct {
	BaseURL string // of the listener that asks for client certificates; https, same host as the pages
	Needed  bool   // counter acts need a session that showed its card
}

const (
	pathCard  = "/operator/card"
	pathCards = "/operator/cards"

	pathCardFailed = "/operator/card-failed"
)

// cardRoutes are on the card listener alone; officeCardRoutes among the pages.
func (s *Server) cardRoutes() []served {
	return []served{{Route{http.MethodGet, pathCard, SurfaceCard, Everybody, false}, s.showCard}}
}

func (s *Server) officeCardRoutes() []served {
	return []served{
		{Route{http.MethodGet, pathCards, SurfacePage, Referent, false}, s.pageCards},
		{Route{http.MethodGet, pathCardFailed, SurfacePage, Desk, false}, s.pageCardFailed},
		{Route{http.MethodPost, pathCards, SurfacePage, Referent, false}, s.pageCardAct},
	}
}

// CardHandler answers the listener that asks for operators' cards. The listener
// must verify client certificates against the cards' authority.
func (s *Server) CardHandler() http.Handler { return s.card }

// showCard is GET /operator/card on the card listener: the certificate of the
// handshake must be this operator's active card. The session changes its token.
func (s *Server) showCard(c *gin.Context, ev *event) error {
	pages := strings.TrimSuffix(s.opt.BaseURL, "/")
	if ev.who.kind&Desk == 0 {
		c.Redirect(http.StatusSeeOther, pages+pathLogin+"?"+url.Values{"next": {"/operator"}}.Encode())
		return nil
	}
	var chain []*x509.Certificate
	if t := c.Request.TLS; t != nil && len(t.VerifiedChains) > 0 {
		chain = t.VerifiedChains[0]
	}
	actor := ev.who.scope.Actor()
	card, err := s.opt.Operators.StepUp(c.Request.Context(), actor, chain)
	var refused *login.Error
	if errors.As(err, &refused) {
		ev.code, ev.err = string(refused.Code), err
		c.Redirect(http.StatusSeeOther, pages+pathCardFailed+"?"+url.Values{"code": {ev.code}}.Encode())
		return nil
	}
	if err != nil {
		return err
	}
	err = s.operators.open(c, ev.start, map[string]string{
		"id": actor.ID, "name": ev.who.name, "office": actor.Office.ID(), "role": string(actor.Role), "station": actor.Station,
		"card": card.Fingerprint,
	})
	if err != nil {
		return unavailable(err)
	}
	next := localPath(c.Query("next"))
	if next == "" {
		next = "/operator"
	}
	c.Redirect(http.StatusSeeOther, pages+next)
	return nil
}

// pageCardFailed is GET /operator/card-failed: why a card was not taken. The
// card listener shows no page of its own.
func (s *Server) pageCardFailed(c *gin.Context, ev *event) error {
	code := c.Query("code")
	if !strings.HasPrefix(code, "login_card_") || !messages.Has(code) {
		return fault{status: http.StatusNotFound, code: "not_found"}
	}
	ev.code = code
	page := failedPage{Class: string(login.ClassConfiguration), Detail: code, Reference: ev.id, Again: s.cardAddress("/operator")}
	if page.Again == "" {
		page.Again = "/operator"
	}
	return s.show(c, http.StatusForbidden, "login_failed", s.view(ev, "page.card_failed", page))
}

// cardShown refuses a counter act of a person whose session has shown no card,
// where the deployment needs one.
func (s *Server) cardShown(c *gin.Context, ev *event) error {
	if s.opt.Cards == nil || !s.opt.Cards.Needed || ev.who.kind&Desk == 0 || c.Request.Method == http.MethodGet || !strings.Contains(c.FullPath(), ":number") {
		return nil
	}
	if ev.who.card == "" && !broken.Mutant("web.card-needed") {
		return fault{status: http.StatusForbidden, code: "card_needed"}
	}
	return nil
}

// cardAddress answers where a card is shown; "" where none is asked for.
func (s *Server) cardAddress(next string) string {
	if s.opt.Cards == nil {
		return ""
	}
	return strings.TrimSuffix(s.opt.Cards.BaseURL, "/") + pathCard + "?" + url.Values{"next": {next}}.Encode()
}

// cardsPage is what a referent sees of the office's cards.
type cardsPage struct {
	Cards []login.Card
	Me    string // the referent's own opaque id, as an example
}

func (s *Server) showCards(c *gin.Context, ev *event, status int, set func(*view)) error {
	page := cardsPage{Me: ev.who.id}
	var err error
	if s.opt.Operators != nil {
		page.Cards, err = s.opt.Operators.CardsOf(c.Request.Context(), ev.who.scope.Actor())
		if err != nil {
			return err
		}
	}
	v := s.view(ev, "page.cards", page)
	set(v)
	return s.show(c, status, "cards", v)
}

// pageCards is GET /operator/cards.
func (s *Server) pageCards(c *gin.Context, ev *event) error {
	return s.showCards(c, ev, http.StatusOK, func(v *view) {
		if c.Query("done") == "cards" {
			v.Done = "cards"
		}
	})
}

// pageCardAct is POST /operator/cards: a referent issues, activates or revokes a
// card of the own office (A86).
func (s *Server) pageCardAct(c *gin.Context, ev *event) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	if s.opt.Operators == nil {
		return fault{status: http.StatusNotFound, code: "not_found"}
	}
	ctx, by := c.Request.Context(), ev.who.scope.Actor()
	switch f.Get("act") {
	case "issue":
		block, _ := pem.Decode([]byte(f.Get("certificate")))
		if block == nil || block.Type != "CERTIFICATE" {
			err = wrong("/certificate", "certificate_unreadable")
			break
		}
		certificate, bad := x509.ParseCertificate(block.Bytes)
		if bad != nil {
			err = wrong("/certificate", "certificate_unreadable")
			break
		}
		if text(f, "operator") == "" {
			err = missing("/operator")
			break
		}
		_, err = s.opt.Operators.IssueCard(ctx, by, text(f, "operator"), certificate)
	case "activate":
		err = s.opt.Operators.ActivateCard(ctx, by, f.Get("card"))
	case "revoke":
		err = s.opt.Operators.RevokeCard(ctx, by, f.Get("card"))
	default:
		err = missing("/act")
	}
	if err == nil {
		c.Redirect(http.StatusSeeOther, pathCards+"?done=cards")
		return nil
	}
	var refused *login.Error
	if errors.As(err, &refused) && refused.Code != login.CodeStore {
		ev.code = string(refused.Code)
		return s.showCards(c, ev, http.StatusConflict, func(v *view) { v.Form, v.Alert = f, textOf(ev.lang, ev.code, nil) })
	}
	x := explain(err)
	if gateway.KindOf(err) != gateway.Invalid {
		return err
	}
	ev.code = x.code
	return s.showCards(c, ev, x.status, func(v *view) {
		v.Form, v.Problems, v.Alert = f, x.problems, textOf(ev.lang, x.code, x.args)
	})
}
