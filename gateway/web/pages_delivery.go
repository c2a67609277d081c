package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"airegw/delivery"
	"airegw/gateway"
	"airegw/gateway/messages"
	"airegw/policies"
)

// What stands beside a request about its delivery: the parcel, the label, past
// deliveries, travelling, the fee in local currency; and the rates of the posts.

type (
	parcelAnswer struct {
		Movement      string `json:"movement"`
		Text          string `json:"text"`
		Tracking      string `json:"tracking,omitempty"`
		Carrier       string `json:"carrier,omitempty"`
		Attempts      int    `json:"attempts"`
		AttemptsLeft  int    `json:"attempts_left"`
		StorageDays   int    `json:"storage_days"`
		CollectBy     string `json:"collect_by,omitempty"`
		Overdue       bool   `json:"overdue"`
		ReturnTo      string `json:"return_to,omitempty"`
		FreeDuplicate *bool  `json:"free_duplicate,omitempty"`
	}
	pastAnswer struct {
		Cards        int    `json:"cards"` // 0: fewer than are told of
		HalfDays     int    `json:"half_days,omitempty"`
		MostDays     int    `json:"most_days,omitempty"`
		NotDelivered int    `json:"not_delivered,omitempty"`
		Text         string `json:"text"`
	}
	travelAnswer struct {
		Code     string `json:"code"`
		Text     string `json:"text"`
		Rule     string `json:"rule"`
		LegalRef string `json:"legal_ref"`
	}
	localFeeAnswer struct {
		Currency  string `json:"currency"`
		Amount    string `json:"amount"`
		RateKnown bool   `json:"rate_known"`
		Note      string `json:"note,omitempty"`
	}
	labelAnswer struct {
		Lines  []string      `json:"lines"`
		Doubts []codeAnswer  `json:"doubts,omitempty"`
		Frozen bool          `json:"frozen"`
		Office *officeAnswer `json:"office,omitempty"`
	}
	consularAnswer struct {
		Currency  string    `json:"currency"`
		Year      int       `json:"year"`
		Quarter   int       `json:"quarter"`
		PerEUR    string    `json:"per_eur"`
		Decimals  int       `json:"decimals"`
		EnteredAt time.Time `json:"entered_at"`
	}
	consularAnswers struct {
		Currency string           `json:"currency"` // of the post's place
		Rates    []consularAnswer `json:"rates"`
	}
	// consularBody is what a post enters.
	consularBody struct {
		Currency string `json:"currency,omitempty"` // the post's own when absent
		Year     int    `json:"year"`
		Quarter  int    `json:"quarter"`
		PerEUR   string `json:"per_eur"`
		Decimals int    `json:"decimals"`
	}
	// Bodies of the acts on a parcel.
	reshipBody struct {
		Carrier  string `json:"carrier"`
		Tracking string `json:"tracking"`
	}
	movementBody struct {
		Movement string `json:"movement"`
		Reason   string `json:"reason,omitempty"`
	}
	duplicateBody struct {
		Cause   string `json:"cause,omitempty"`
		Record  string `json:"record"`
		Witness string `json:"witness"`
	}
)

// The acts on a parcel.
var (
	actReship = with("reship", func(f url.Values) (reshipBody, error) {
		return reshipBody{text(f, "carrier"), text(f, "tracking")}, nil
	}, func(ctx context.Context, d gateway.Desk, n string, v reshipBody) error {
		return d.Reship(ctx, n, v.Carrier, v.Tracking)
	})
	actMovement = with("movement", func(f url.Values) (movementBody, error) {
		return movementBody{text(f, "movement"), text(f, "reason")}, nil
	}, func(ctx context.Context, d gateway.Desk, n string, v movementBody) error {
		return d.RecordMovement(ctx, n, delivery.Movement(v.Movement), delivery.ReturnReason(v.Reason))
	})
	actDuplicate = with("duplicate", func(f url.Values) (duplicateBody, error) {
		return duplicateBody{text(f, "cause"), text(f, "record"), text(f, "witness")}, nil
	}, func(ctx context.Context, d gateway.Desk, n string, v duplicateBody) error {
		return d.DecideDuplicate(ctx, n, v.Cause, gateway.Destruction{Record: v.Record, Witness: v.Witness})
	})
	actDestroy = with("destroy", func(f url.Values) (gateway.Destruction, error) {
		return gateway.Destruction{Record: text(f, "record"), Witness: text(f, "witness")}, nil
	}, func(ctx context.Context, d gateway.Desk, n string, v gateway.Destruction) error {
		return d.DestroyUnclaimed(ctx, n, v)
	})
)

func parcelOf(t *gateway.Transit, lang string) *parcelAnswer {
	if t == nil {
		return nil
	}
	out := &parcelAnswer{
		Movement: string(t.Movement), Text: messages.Text(lang, "movement."+string(t.Movement), nil), Tracking: t.Tracking, Carrier: t.Carrier,
		Attempts: t.Attempts, AttemptsLeft: t.AttemptsLeft, StorageDays: t.StorageDays, CollectBy: t.CollectBy.String(), Overdue: t.Overdue, ReturnTo: t.ReturnTo,
	}
	if t.FreeDuplicate != policies.Unknown && t.Movement != delivery.MovementDelivered {
		free := t.FreeDuplicate == policies.Yes
		out.FreeDuplicate = &free
	}
	return out
}

func pastOf(p gateway.Past, lang string) *pastAnswer {
	if p.Cards == 0 {
		return &pastAnswer{Text: messages.Text(lang, "past.none", map[string]string{"least": strconv.Itoa(gateway.PastLeast())})}
	}
	return &pastAnswer{p.Cards, p.Half, p.Most, p.NotDelivered, messages.Text(lang, "past.record", map[string]string{
		"cards": strconv.Itoa(p.Cards), "half": strconv.Itoa(p.Half), "most": strconv.Itoa(p.Most), "lost": strconv.Itoa(p.NotDelivered),
	})}
}

func travelOf(v policies.Value, lang string) *travelAnswer {
	return &travelAnswer{v.Word, reason(v.Reason, lang), v.Rule, v.LegalRef}
}

// beside adds to a request what stands beside its delivery.
func (s *Server) beside(ctx context.Context, r *gateway.Request, a *requestAnswer, lang string) error {
	g := s.opt.Gateway
	a.Parcel = parcelOf(g.Transit(r), lang)
	if v, known := g.Caveat(r); known {
		a.Travel = travelOf(v, lang)
	}
	for _, d := range []*decisionAnswer{a.Decision, a.Today} {
		if d == nil || r.ResidenceCountry() == "" {
			continue
		}
		for i := range d.Options {
			o := &d.Options[i]
			if o.Verdict == string(policies.VerdictRefuse) {
				continue
			}
			past, _, err := g.Past(ctx, r.ResidenceCountry(), policies.DeliveryOption(o.Option))
			if err != nil {
				return err
			}
			o.Past = pastOf(past, lang)
		}
	}
	fee := a.Today
	if fee == nil {
		fee = a.Decision
	}
	if fee != nil {
		local, err := g.LocalFee(ctx, r, fee.FeeCents)
		if err != nil {
			return err
		}
		if local.Currency != "EUR" || !local.RateKnown {
			a.LocalFee = &localFeeAnswer{local.Currency, local.Amount, local.RateKnown, reason(local.Note, lang)}
		}
	}
	return nil
}

// labelPage is a label as the courier prints it.
type labelPage struct {
	gateway.Label
	Path, Number string
	Office       string
	Doubts       []string
	Problems     []string
}

func (s *Server) labelPage(l gateway.Label, lang string) labelPage {
	page := labelPage{Label: l, Office: l.Office.Name()}
	words := func(list []delivery.Problem) []string {
		var out []string
		for _, p := range list {
			out = append(out, textOf(lang, p.Code, nil))
		}
		return out
	}
	page.Doubts, page.Problems = words(l.Doubts), words(l.Problems)
	return page
}

// pageLabel is GET …/label: the label of a request as it stands.
func (s *Server) pageLabel(c *gin.Context, ev *event) error {
	n := number(c, ev)
	l, _, err := s.desk(ev).Label(c.Request.Context(), n)
	if err != nil {
		return err
	}
	page := s.labelPage(l, ev.lang)
	page.Path, page.Number = requestPath(ev, n), n
	return s.show(c, http.StatusOK, "label", s.view(ev, "page.label", page))
}

// pageLabelPreview is POST /lookup/label: the label of the Italian address typed
// into a form, in a page of its own. Nothing is kept of it.
func (s *Server) pageLabelPreview(c *gin.Context, ev *event) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	prefix := ""
	if f.Get("prefix") == "/delivery" {
		prefix = "/delivery"
	}
	a := readAddress(func(name string) string { return text(f, prefix+name) })
	a.Recipient = strings.TrimSpace(text(f, "/applicant/given_name") + " " + text(f, "/applicant/surname"))
	if a.Recipient == "" {
		a.Recipient = messages.Text(ev.lang, "label.recipient", nil)
	}
	return s.show(c, http.StatusOK, "label", s.view(ev, "page.label", s.labelPage(gateway.PreviewLabel(*a), ev.lang)))
}

// apiLabel is GET /requests/{number}/label.
func (s *Server) apiLabel(c *gin.Context, ev *event) error {
	l, _, err := s.desk(ev).Label(c.Request.Context(), number(c, ev))
	if err != nil {
		return err
	}
	out := labelAnswer{Lines: l.Lines, Frozen: l.Frozen, Office: officeOf(l.Office)}
	if out.Lines == nil {
		out.Lines = []string{}
	}
	for _, p := range append(l.Problems, l.Doubts...) {
		out.Doubts = append(out.Doubts, codeAnswer{p.Code, textOf(ev.lang, p.Code, nil)})
	}
	return answer(c, ev, http.StatusOK, out)
}

// consularPage is what a post has entered.
type consularPage struct {
	Currency string
	Rates    []gateway.ConsularRate
	Quarters []choice
}

// pageRates is GET /operator/rates.
func (s *Server) pageRates(c *gin.Context, ev *event) error {
	done := ""
	if c.Query("done") == "rate" {
		done = "rate"
	}
	return s.showRates(c, ev, http.StatusOK, func(v *view) { v.Done = done })
}

func (s *Server) showRates(c *gin.Context, ev *event, status int, set func(*view)) error {
	rates, currency, err := s.desk(ev).Rates(c.Request.Context())
	if err != nil {
		return err
	}
	page := consularPage{Currency: currency, Rates: rates}
	year, quarter := policies.QuarterOf(ev.start)
	for range 2 {
		name := strconv.Itoa(year) + "-" + strconv.Itoa(quarter)
		page.Quarters = append(page.Quarters, choice{Value: name, Label: strconv.Itoa(quarter) + " / " + strconv.Itoa(year)})
		if quarter++; quarter > 4 {
			year, quarter = year+1, 1
		}
	}
	v := s.view(ev, "page.rates", page)
	set(v)
	return s.show(c, status, "rates", v)
}

// pageEnterRate is POST /operator/rates.
func (s *Server) pageEnterRate(c *gin.Context, ev *event) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	rate := policies.Rate{Currency: strings.ToUpper(text(f, "currency")), PerEUR: strings.ReplaceAll(text(f, "per_eur"), ",", ".")}
	year, quarter, _ := strings.Cut(text(f, "quarter"), "-")
	rate.Year, _ = strconv.Atoi(year)
	rate.Quarter, _ = strconv.Atoi(quarter)
	rate.Decimals, err = strconv.Atoi(text(f, "decimals"))
	if err != nil {
		rate.Decimals = -1 // refused as what it is: no number
	}
	err = s.desk(ev).EnterRate(c.Request.Context(), rate)
	if err == nil {
		c.Redirect(http.StatusSeeOther, "/operator/rates?done=rate")
		return nil
	}
	x := explain(err)
	if x.status != http.StatusBadRequest {
		return err
	}
	ev.code, ev.err = x.code, err
	return s.showRates(c, ev, x.status, func(v *view) {
		v.Alert, v.Problems, v.Form = textOf(ev.lang, x.code, x.args), x.problems, f
	})
}

// apiRates is GET /rates.
func (s *Server) apiRates(c *gin.Context, ev *event) error {
	out, err := s.rates(c.Request.Context(), ev)
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, out)
}

// apiEnterRate is POST /rates.
func (s *Server) apiEnterRate(c *gin.Context, ev *event) error {
	raw, err := body(c)
	if err != nil {
		return err
	}
	var b consularBody
	err = gateway.DecodeStrict(raw, &b)
	if err != nil {
		return err
	}
	err = s.desk(ev).EnterRate(c.Request.Context(), policies.Rate{Currency: b.Currency, Year: b.Year, Quarter: b.Quarter, PerEUR: b.PerEUR, Decimals: b.Decimals})
	if err != nil {
		return err
	}
	out, err := s.rates(c.Request.Context(), ev)
	if err != nil {
		return err
	}
	return answer(c, ev, http.StatusOK, out)
}

func (s *Server) rates(ctx context.Context, ev *event) (consularAnswers, error) {
	rates, currency, err := s.desk(ev).Rates(ctx)
	out := consularAnswers{Currency: currency, Rates: []consularAnswer{}}
	for _, r := range rates {
		out.Rates = append(out.Rates, consularAnswer{r.Currency, r.Year, r.Quarter, r.PerEUR, r.Decimals, r.At.UTC()})
	}
	return out, err
}
