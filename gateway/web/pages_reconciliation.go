package web

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"airegw/gateway"
	"airegw/gateway/messages"
)

// reconciliationRoutes show the daily comparison with the issuance core, by page
// to an office's referents and by API to its machines too.
func (s *Server) reconciliationRoutes() []served {
	return []served{
		{Route{http.MethodGet, "/operator/reconciliation", SurfacePage, Referent, false}, s.pageReconciliation},
		{Route{http.MethodGet, "/api/v1/reconciliation", SurfaceAPI, Referent | MachineClient, false}, s.apiReconciliation},
	}
}

type (
	differenceAnswer struct {
		Request string `json:"request"`
		Order   string `json:"order"`
		Code    string `json:"code"`
		Text    string `json:"text"`
		Seq     int    `json:"seq,omitempty"`
		Ours    string `json:"ours,omitempty"`
		Theirs  string `json:"theirs,omitempty"`
		Healed  bool   `json:"healed"`
	}
	reconciliationAnswer struct {
		Day         string             `json:"day"`
		FinishedAt  time.Time          `json:"finished_at"`
		Events      int                `json:"events"`
		Orders      int                `json:"orders"`
		Unanswered  int                `json:"unanswered"`
		Open        int                `json:"open"`
		Cut         bool               `json:"cut"`
		Differences []differenceAnswer `json:"differences"`
	}
	reconciliationsAnswer struct {
		Reports []reconciliationAnswer `json:"reports"`
	}
)

// reconciliations answers the reports as the caller's office sees them.
func (s *Server) reconciliations(c *gin.Context, ev *event) (reconciliationsAnswer, error) {
	out := reconciliationsAnswer{Reports: []reconciliationAnswer{}}
	reports, err := s.desk(ev).Reconciliations(c.Request.Context())
	for _, r := range reports {
		a := reconciliationAnswer{
			Day: r.Day, FinishedAt: r.FinishedAt.UTC(), Events: r.Events, Orders: r.Orders, Unanswered: r.Unanswered,
			Open: r.Open, Cut: r.Cut, Differences: []differenceAnswer{},
		}
		for _, d := range r.Differences {
			a.Differences = append(a.Differences, differenceOf(d, ev.lang))
		}
		out.Reports = append(out.Reports, a)
	}
	return out, err
}

func differenceOf(d gateway.OfficeDifference, lang string) differenceAnswer {
	return differenceAnswer{
		Request: d.Number, Order: d.OrderKey, Code: d.Code, Text: messages.Text(lang, d.Code, nil),
		Seq: d.Seq, Ours: d.Ours, Theirs: d.Theirs, Healed: d.Healed,
	}
}

// apiReconciliation is GET /reconciliation.
func (s *Server) apiReconciliation(c *gin.Context, ev *event) error {
	out, err := s.reconciliations(c, ev)
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, out)
}

// pageReconciliation is GET /operator/reconciliation. What we hold of an order
// is a state or the reason why an event was set aside, both in words; what the
// core says is its own word.
func (s *Server) pageReconciliation(c *gin.Context, ev *event) error {
	out, err := s.reconciliations(c, ev)
	if err != nil {
		return err
	}
	for _, r := range out.Reports {
		for i, d := range r.Differences {
			switch state := "state." + d.Ours; {
			case messages.Has(state):
				r.Differences[i].Ours = messages.Text(ev.lang, state, nil)
			case d.Ours != "":
				r.Differences[i].Ours = textOf(ev.lang, d.Ours, nil)
			}
		}
	}
	return s.show(c, http.StatusOK, "reconciliation", s.view(ev, "page.reconciliation", out))
}
