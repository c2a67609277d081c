package web

import (
	"maps"
	"time"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/delivery"
	"airegw/gateway"
	"airegw/gateway/messages"
	"airegw/policies"
)

// The answers of the API, as openapi.yaml describes them. Their own types, so
// that a change inside the gateway never changes the contract unseen.
type (
	officeAnswer struct {
		Kind string `json:"kind"`
		Code string `json:"code"`
		Name string `json:"name"`
	}
	markAnswer struct {
		Kind   string     `json:"kind"`
		Code   string     `json:"code"`
		Text   string     `json:"text"`
		Due    *time.Time `json:"due,omitempty"`
		Tries  int        `json:"tries,omitempty"`
		Detail string     `json:"detail,omitempty"`
	}
	summaryAnswer struct {
		Number    string        `json:"number"`
		State     string        `json:"state"`
		Office    *officeAnswer `json:"office,omitempty"`
		CreatedAt time.Time     `json:"created_at"`
		UpdatedAt time.Time     `json:"updated_at"`
		Mark      *markAnswer   `json:"mark,omitempty"`
	}
	listAnswer struct {
		Requests []summaryAnswer `json:"requests"`
		Next     string          `json:"next,omitempty"`
	}
	findingAnswer struct {
		Code    string `json:"code"`
		Text    string `json:"text"`
		Who     string `json:"who,omitempty"`
		Field   string `json:"field,omitempty"`
		Person  int    `json:"person"`
		Blocks  bool   `json:"blocks"`
		Refuses bool   `json:"refuses"`
	}
	optionAnswer struct {
		Option       string   `json:"option"`
		Verdict      string   `json:"verdict"`
		Code         string   `json:"code"`
		Reason       string   `json:"reason"`
		Rule         string   `json:"rule"`
		LegalRef     string   `json:"legal_ref"`
		Status       string   `json:"status"`
		Needs        []string `json:"needs,omitempty"`
		ExpectedDays int      `json:"expected_days,omitempty"`
		Working      bool     `json:"expected_working_days,omitempty"`

		Past *pastAnswer `json:"past,omitempty"`
	}
	decisionAnswer struct {
		At         time.Time       `json:"at"`
		Outcome    string          `json:"outcome"`
		Expiry     string          `json:"expiry,omitempty"`
		FeeCents   int             `json:"fee_cents"`
		RuleSet    string          `json:"rule_set"`
		LegalBasis string          `json:"legal_basis"`
		Options    []optionAnswer  `json:"options"`
		Findings   []findingAnswer `json:"findings,omitempty"`
	}
	orderAnswer struct {
		Generation     int        `json:"generation"`
		NUN            string     `json:"nun,omitempty"`
		Prints         int        `json:"prints"`
		FormsConfirmed bool       `json:"forms_confirmed"`
		SignedAt       *time.Time `json:"signed_at,omitempty"`
		Receipt        string     `json:"receipt,omitempty"`
		AcceptedAt     *time.Time `json:"accepted_at,omitempty"`
		Tracking       string     `json:"tracking,omitempty"`
		Carrier        string     `json:"carrier,omitempty"`
		Closed         bool       `json:"closed"`
		Asked          string     `json:"asked,omitempty"`
	}
	outcomeAnswer struct {
		Code     string `json:"code"`
		Text     string `json:"text"`
		Field    string `json:"field,omitempty"`
		Rule     string `json:"rule,omitempty"`
		LegalRef string `json:"legal_ref,omitempty"`
	}
	expectedAnswer struct {
		From     string `json:"from"`
		Due      string `json:"due,omitempty"`
		Days     int    `json:"days,omitempty"`
		Working  bool   `json:"working_days"`
		Basis    string `json:"basis"`
		Rule     string `json:"rule"`
		LegalRef string `json:"legal_ref"`
		Status   string `json:"status"`
	}
	historyAnswer struct {
		Seq   int       `json:"seq"`
		Type  string    `json:"type"`
		Text  string    `json:"text"`
		State string    `json:"state"`
		At    time.Time `json:"at"`
		Actor string    `json:"actor"`
	}
	holderAnswer struct {
		Kind   string        `json:"kind"`
		Text   string        `json:"text"`
		Office *officeAnswer `json:"office,omitempty"`
	}
	requestAnswer struct {
		summaryAnswer
		StateText   string                 `json:"state_text"`
		Holder      holderAnswer           `json:"holder"`
		NextStep    codeAnswer             `json:"next_step"`
		Channel     string                 `json:"channel"`
		LegalBasis  string                 `json:"legal_basis"`
		TrackerCode string                 `json:"tracker_code"`
		Input       gateway.Input          `json:"input"`
		Delivery    gateway.DeliveryChoice `json:"delivery"`
		Address     *delivery.Address      `json:"address,omitempty"`
		Findings    []findingAnswer        `json:"findings,omitempty"`
		Decision    *decisionAnswer        `json:"decision,omitempty"`
		Today       *decisionAnswer        `json:"decision_today,omitempty"`
		Orders      []orderAnswer          `json:"orders,omitempty"`
		Outcome     *outcomeAnswer         `json:"outcome,omitempty"`
		Expected    *expectedAnswer        `json:"expected,omitempty"`
		History     []historyAnswer        `json:"history"`
		Parcel      *parcelAnswer          `json:"parcel,omitempty"`
		Travel      *travelAnswer          `json:"travel,omitempty"`
		LocalFee    *localFeeAnswer        `json:"local_fee,omitempty"`
	}
	codeAnswer struct {
		Code string `json:"code"`
		Text string `json:"text"`
	}
	checkAnswer struct {
		Act      string      `json:"act"`
		Text     string      `json:"text"`
		Done     bool        `json:"done"`
		Possible bool        `json:"possible"`
		Why      *codeAnswer `json:"why,omitempty"`
	}
	checklistAnswer struct {
		Number string        `json:"number"`
		State  string        `json:"state"`
		Acts   []checkAnswer `json:"acts"`
	}
	trackerAnswer struct {
		Number      string `json:"number"`
		TrackerCode string `json:"tracker_code"`
	}
	formsAnswer struct {
		Number string `json:"number"`
		NUN    string `json:"nun"`
		PIN    string `json:"pin_first_half"`
		PUK    string `json:"puk_first_half"`
		Prints int    `json:"prints"`
	}
	stepAnswer struct {
		State string    `json:"state"`
		Text  string    `json:"text"`
		At    time.Time `json:"at"`
	}
	trackingAnswer struct {
		Number    string          `json:"number"`
		State     string          `json:"state"`
		StateText string          `json:"state_text"`
		Holder    holderAnswer    `json:"holder"`
		NextStep  codeAnswer      `json:"next_step"`
		UpdatedAt time.Time       `json:"updated_at"`
		Expected  *expectedAnswer `json:"expected,omitempty"`
		Steps     []stepAnswer    `json:"steps"`
		Findings  []findingAnswer `json:"findings,omitempty"`
		Outcome   *outcomeAnswer  `json:"outcome,omitempty"`
		Mark      *markAnswer     `json:"mark,omitempty"`
		Parcel    *parcelAnswer   `json:"parcel,omitempty"`
		Travel    *travelAnswer   `json:"travel,omitempty"`
		Past      *pastAnswer     `json:"past,omitempty"`
	}
	comuneAnswer struct {
		ISTAT     string `json:"istat"`
		Catastale string `json:"catastale"`
		Name      string `json:"name"`
		AltName   string `json:"alternative_name,omitempty"`
		Province  string `json:"province"`
		Region    string `json:"region,omitempty"`
	}
	formerAnswer struct {
		comuneAnswer
		Ended      string   `json:"ended"`
		Successors []string `json:"successors"`
	}
	comuniAnswer struct {
		Comuni []comuneAnswer `json:"comuni"`
		Former []formerAnswer `json:"former"`
	}
	postAnswer struct {
		Key      string `json:"key"`
		Code     string `json:"code,omitempty"`
		Kind     string `json:"kind"`
		Seat     string `json:"seat"`
		ISO2     string `json:"iso2"`
		TimeZone string `json:"time_zone,omitempty"`
		Captures string `json:"captures"`
	}
	postsAnswer struct {
		Posts []postAnswer `json:"posts"`
	}
	peerAnswer struct {
		OK    bool       `json:"ok"`
		Since *time.Time `json:"since,omitempty"`
		Code  string     `json:"code,omitempty"`
	}
	statusAnswer struct {
		Type        string                `json:"type"`
		Title       string                `json:"title"`
		Status      int                   `json:"status"`
		Detail      string                `json:"detail"`
		Version     string                `json:"version"`
		Environment string                `json:"environment"`
		Peers       map[string]peerAnswer `json:"peers"`
	}
)

// textOf answers the text of a code: the catalogue's, else the one a rule
// brought along in its arguments, else a general one with the code.
func textOf(lang, code string, args map[string]string) string {
	if state := args["state"]; state != "" && messages.Has("state."+state) {
		args = maps.Clone(args)
		args["state"] = messages.Text(lang, "state."+state, nil)
	}
	switch {
	case messages.Has(code):
		return messages.Text(lang, code, args)
	case args[lang] != "":
		return args[lang]
	default:
		return messages.Text(lang, "code_without_text", map[string]string{"code": code})
	}
}

func officeOf(o gateway.Office) *officeAnswer {
	if o.IsZero() {
		return nil
	}
	return &officeAnswer{string(o.Kind), o.Code, o.Name()}
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func markOf(m gateway.Mark, lang string) *markAnswer {
	if m.Kind == "" {
		return nil
	}
	return &markAnswer{string(m.Kind), m.Code, textOf(lang, m.Code, nil), when(m.Due), m.Tries, m.Detail}
}

func summaryOf(r gateway.Row, lang string) summaryAnswer {
	return summaryAnswer{
		Number: r.ID, State: string(r.State), Office: officeOf(r.Office),
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), Mark: markOf(r.Mark, lang),
	}
}

func findingsOf(list []gateway.Finding, lang string) []findingAnswer {
	var out []findingAnswer
	for _, f := range list {
		out = append(out, findingAnswer{f.Code, textOf(lang, f.Code, f.Args), f.Who, f.Field, f.Person, f.Blocks, f.Refuses})
	}
	return out
}

func reason(t policies.Text, lang string) string {
	if lang == messages.EN {
		return t.EN
	}
	return t.IT
}

func decisionOf(d *gateway.Decided, lang string) *decisionAnswer {
	if d == nil {
		return nil
	}
	out := &decisionAnswer{
		At: d.At.UTC(), Outcome: string(d.Decision.Outcome), Expiry: d.Decision.Expiry.String(), FeeCents: d.Decision.FeeCents,
		RuleSet: d.Decision.RuleSet, LegalBasis: d.Decision.LegalBasis,
	}
	for i, o := range d.Decision.Options {
		out.Options = append(out.Options, optionAnswer{
			Option: string(policies.DeliveryOptions[i]), Verdict: string(o.Verdict), Code: o.Code, Reason: reason(o.Reason, lang),
			Rule: o.Rule, LegalRef: o.LegalRef, Status: string(o.Status), Needs: o.Needs,
			ExpectedDays: o.ExpectedDays, Working: o.ExpectedWorking,
		})
	}
	for _, f := range d.Decision.Findings {
		out.Findings = append(out.Findings, findingAnswer{
			Code: f.Code, Text: reason(f.Reason, lang), Field: "/" + f.About,
			Refuses: f.Verdict == policies.VerdictRefuse, Blocks: f.Verdict == policies.VerdictNeeds && f.Stage == policies.StageRegister,
		})
	}
	return out
}

// todayOf answers what the rules say now, with everything the counter has found
// out, while no order fixes the decision of record.
func todayOf(d gateway.Desk, r *gateway.Request, now time.Time, lang string) *decisionAnswer {
	if o := r.Order(); r.Register == nil || r.State.Final() || (o != nil && !o.Dead) {
		return nil
	}
	return decisionOf(&gateway.Decided{At: now, Decision: d.Decision(r)}, lang)
}

// outcomeOf explains how a request ended. A rule's refusal is worded by the
// rule itself when the decision is at hand.
func outcomeOf(o *gateway.Outcome, d *gateway.Decided, lang string) *outcomeAnswer {
	if o == nil {
		return nil
	}
	out := &outcomeAnswer{o.Code, textOf(lang, o.Code, o.Args), o.Field, o.Rule, o.LegalRef}
	if d != nil {
		for _, f := range d.Decision.Findings {
			if f.Code == o.Code && f.Rule == o.Rule && reason(f.Reason, lang) != "" {
				out.Text = reason(f.Reason, lang)
			}
		}
	}
	return out
}

func expectedOf(p *delivery.Plan, lang string) *expectedAnswer {
	if p == nil {
		return nil
	}
	return &expectedAnswer{
		From: p.From.String(), Due: p.Due.String(), Days: p.Days, Working: p.Working,
		Basis: reason(p.Basis, lang), Rule: p.Rule, LegalRef: p.LegalRef, Status: string(p.Status),
	}
}

func holderOf(h gateway.Holder, lang string) holderAnswer {
	out := holderAnswer{Kind: h.Kind, Office: officeOf(h.Office)}
	out.Text = messages.Text(lang, "holder."+h.Kind, map[string]string{"office": h.Office.Name()})
	return out
}

func requestOf(r *gateway.Request, lang string) requestAnswer {
	out := requestAnswer{
		summaryAnswer: summaryAnswer{
			Number: r.ID, State: string(r.State), Office: officeOf(r.Office),
			CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), Mark: markOf(r.Mark, lang),
		},
		StateText: messages.Text(lang, "state."+string(r.State), nil),
		Holder:    holderOf(r.Holder(), lang),
		NextStep:  codeAnswer{r.NextStep(), messages.Text(lang, r.NextStep(), nil)},
		Channel:   string(r.Channel), LegalBasis: r.LegalBasis, TrackerCode: r.TrackerCode,
		Input: r.Input, Delivery: r.Delivery, Address: r.Address,
		Decision: decisionOf(r.Decision, lang), Outcome: outcomeOf(r.Outcome, r.Decision, lang), Expected: expectedOf(r.Tracking().Expected, lang),
	}
	if r.Register != nil {
		out.Findings = findingsOf(r.Register.Findings, lang)
	}
	for _, o := range r.Orders {
		out.Orders = append(out.Orders, orderAnswer{
			Generation: o.Generation, NUN: o.NUN, Prints: o.Prints, FormsConfirmed: o.FormsConfirmed,
			SignedAt: when(o.SignedAt), Receipt: o.Receipt, AcceptedAt: when(o.AcceptedAt),
			Tracking: o.Tracking, Carrier: o.Carrier, Closed: o.Dead, Asked: o.Asked,
		})
	}
	for _, e := range r.Events {
		out.History = append(out.History, historyAnswer{
			e.Seq, string(e.Type), eventText(e, lang), string(e.To), e.At.UTC(), string(e.Actor.Kind),
		})
	}
	return out
}

func checklistOf(r *gateway.Request, acts []gateway.NextAct, lang string) checklistAnswer {
	out := checklistAnswer{Number: r.ID, State: string(r.State), Acts: []checkAnswer{}}
	for _, a := range acts {
		k := checkAnswer{Act: a.Act, Text: messages.Text(lang, "act."+a.Act, nil), Done: a.Done, Possible: a.Possible}
		if a.Why != "" {
			k.Why = &codeAnswer{a.Why, textOf(lang, a.Why, nil)}
		}
		out.Acts = append(out.Acts, k)
	}
	return out
}

func trackingOf(t gateway.Tracking, lang string) trackingAnswer {
	out := trackingAnswer{
		Number: t.Number, State: string(t.State), StateText: messages.Text(lang, "state."+string(t.State), nil),
		Holder: holderOf(t.Holder, lang), NextStep: codeAnswer{t.NextStep, messages.Text(lang, t.NextStep, nil)},
		UpdatedAt: t.UpdatedAt.UTC(), Expected: expectedOf(t.Expected, lang), Steps: []stepAnswer{},
		Findings: findingsOf(t.Findings, lang), Outcome: outcomeOf(t.Outcome, nil, lang), Mark: markOf(t.Mark, lang),
	}
	out.Parcel = parcelOf(t.Parcel, lang)
	if t.Travel != nil {
		out.Travel = travelOf(*t.Travel, lang)
	}
	if t.Past != nil {
		out.Past = pastOf(*t.Past, lang)
	}
	for _, s := range t.Steps {
		out.Steps = append(out.Steps, stepAnswer{string(s.State), messages.Text(lang, "state."+string(s.State), nil), s.At.UTC()})
	}
	return out
}

func comuneOf(k anpr.Comune) comuneAnswer {
	return comuneAnswer{k.ISTAT, k.Catastale, k.Name, k.AltName, k.ProvinceCode, k.Region}
}

func peerOf(p gateway.PeerHealth) peerAnswer { return peerAnswer{p.OK, when(p.Since), p.Code} }

func postOf(p consulate.Post) postAnswer {
	return postAnswer{
		Key: p.Key, Code: p.ANPRCode, Kind: string(p.Kind), Seat: p.Seat, ISO2: p.ISO2,
		TimeZone: p.TimeZone, Captures: string(p.Captures.Status),
	}
}
