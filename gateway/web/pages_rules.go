package web

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"airegw/anpr"
	"airegw/gateway"
	"airegw/gateway/messages"
	"airegw/policies"
)

// rulesPath is the page of the owners of the rules, the only one that takes
// files.
const rulesPath = "/rules"

// bodyLimit answers how large the body of a route's call may be.
func bodyLimit(r Route) int64 {
	if r.Path == rulesPath && r.Method == http.MethodPost {
		return gateway.MaxRuleBytes + gateway.MaxInput // the files, and the form around them
	}
	return gateway.MaxInput
}

// homeOf answers the start page of a role.
func homeOf(r gateway.Role) string {
	if _, owner := gateway.OwnerOf(r); owner {
		return rulesPath
	}
	return "/operator"
}

// rulesPage is the list of rule sets.
type rulesPage struct {
	Owner policies.Owner
	Sets  []ruleSetView
}

// ruleSetView is a rule set as a list shows it.
type ruleSetView struct {
	gateway.RuleSet
	Path    string
	Short   string // enough of the hash to tell sets apart
	Status  string // in_force, draft, half, coming, replaced
	Missing []policies.Owner
}

func (s *Server) ruleSetView(r gateway.RuleSet, inForce string, now time.Time) ruleSetView {
	hex := strings.TrimPrefix(r.Hash, "sha256:")
	v := ruleSetView{RuleSet: r, Path: rulesPath + "/" + hex, Short: hex[:min(12, len(hex))], Status: "draft"}
	for _, o := range policies.Owners {
		if !slices.ContainsFunc(r.Approvals, func(a gateway.RuleApproval) bool { return a.Owner == o }) {
			v.Missing = append(v.Missing, o)
		}
	}
	switch {
	case r.Hash == inForce:
		v.Status = "in_force"
	case len(v.Missing) == 1:
		v.Status = "half"
	case len(v.Missing) == 0 && r.EffectiveAt.After(now):
		v.Status = "coming"
	case len(v.Missing) == 0:
		v.Status = "replaced"
	}
	return v
}

// pageRules is GET /rules.
func (s *Server) pageRules(c *gin.Context, ev *event) error {
	return s.showRules(c, ev, http.StatusOK, nil)
}

func (s *Server) showRules(c *gin.Context, ev *event, status int, set func(*view)) error {
	d, err := s.opt.Gateway.RulesDesk(ev.who.scope)
	if err != nil {
		return err
	}
	sets, err := d.List(c.Request.Context())
	if err != nil {
		return err
	}
	page := rulesPage{Owner: d.Owner()}
	inForce := s.opt.Gateway.RulesInForce().Hash()
	for _, r := range sets {
		page.Sets = append(page.Sets, s.ruleSetView(r, inForce, ev.start))
	}
	v := s.view(ev, "page.rules", page)
	if set != nil {
		set(v)
	}
	return s.show(c, status, "rules", v)
}

// pageUploadRules is POST /rules: a draft, or what is wrong with its files.
func (s *Server) pageUploadRules(c *gin.Context, ev *event) error {
	d, err := s.opt.Gateway.RulesDesk(ev.who.scope)
	if err != nil {
		return err
	}
	files, effective, err := readUpload(c)
	if err == nil {
		var hash string
		hash, err = d.Upload(c.Request.Context(), files, effective)
		if err == nil {
			c.Redirect(http.StatusSeeOther, rulesPath+"/"+strings.TrimPrefix(hash, "sha256:"))
			return nil
		}
	}
	x := explain(err)
	if x.status != http.StatusBadRequest && x.status != http.StatusConflict {
		return err
	}
	ev.code = x.code
	return s.showRules(c, ev, x.status, func(v *view) {
		v.Alert, v.Problems = textOf(ev.lang, x.code, x.args), x.problems
		v.Form.Set("effective", c.PostForm("effective"))
	})
}

// readUpload reads the multipart form: the rule files, and the day in Rome from
// whose start they shall hold (none: as soon as both owners approved).
func readUpload(c *gin.Context) (map[string][]byte, time.Time, error) {
	err := c.Request.ParseMultipartForm(gateway.MaxRuleBytes + gateway.MaxInput) // all in memory: no temporary files
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, time.Time{}, err
		}
		return nil, time.Time{}, wrong("/files", "rules_upload_size")
	}
	var effective time.Time
	if day := strings.TrimSpace(c.PostForm("effective")); day != "" {
		effective, err = time.ParseInLocation(time.DateOnly, day, policies.Rome())
		if err != nil {
			return nil, time.Time{}, wrong("/effective", "rules_date")
		}
	}
	headers := c.Request.MultipartForm.File["files"]
	if len(headers) == 0 || len(headers) > gateway.MaxRuleFiles {
		return nil, time.Time{}, wrong("/files", "rules_upload_size")
	}
	files := map[string][]byte{}
	for _, h := range headers {
		f, err := h.Open()
		if err != nil {
			return nil, time.Time{}, wrong("/files", "rules_upload_size")
		}
		content, err := io.ReadAll(io.LimitReader(f, gateway.MaxRuleBytes+1))
		err = errors.Join(err, f.Close())
		if err != nil {
			return nil, time.Time{}, wrong("/files", "rules_upload_size")
		}
		if _, twice := files[h.Filename]; twice {
			return nil, time.Time{}, wrong("/files", "rules_file_name")
		}
		files[h.Filename] = content
	}
	return files, effective.UTC(), nil
}

// ruleSetPage is one set and what it would change.
type ruleSetPage struct {
	ruleSetView
	Draft      gateway.RuleDraft
	Owner      policies.Owner
	CanApprove bool
	Signs      bool   // the server holds the owner's key: a simulation
	Payload    string // what the owner signs
	Answers    []changeView
	Changes    []changeView
}

// changeView is one changed answer in words.
type changeView struct {
	What, For, When, Before, After string
	Countries                      string
}

// shownCountries is how many countries are named before they are counted.
const shownCountries = 12

// pageRuleSet is GET /rules/:hash.
func (s *Server) pageRuleSet(c *gin.Context, ev *event) error {
	return s.showRuleSet(c, ev, http.StatusOK, func(v *view) {
		if c.Query("done") == "approved" {
			v.Done = "rules_approved"
		}
	})
}

func (s *Server) showRuleSet(c *gin.Context, ev *event, status int, set func(*view)) error {
	d, err := s.opt.Gateway.RulesDesk(ev.who.scope)
	if err != nil {
		return err
	}
	draft, err := d.Draft(c.Request.Context(), "sha256:"+c.Param("hash"))
	if err != nil {
		return err
	}
	page := ruleSetPage{
		ruleSetView: s.ruleSetView(draft.RuleSet, s.opt.Gateway.RulesInForce().Hash(), ev.start), Draft: draft,
		Owner: d.Owner(), Signs: d.ServerSigns(), Payload: string(d.Owner()) + "\n" + draft.Hash + "\n",
	}
	page.CanApprove = slices.Contains(page.Missing, d.Owner())
	for _, a := range draft.Answers {
		page.Answers = append(page.Answers, answerChange(a, ev.lang))
	}
	for _, k := range draft.Changes {
		page.Changes = append(page.Changes, changeView{
			What: k.Key, When: changeStretch(k.From, k.To, ev.lang), Before: answerText(k.Before, ev.lang), After: answerText(k.After, ev.lang), Countries: countriesText(k.Countries, ev.lang),
		})
	}
	v := s.view(ev, "page.ruleset", page)
	if set != nil {
		set(v)
	}
	return s.show(c, status, "ruleset", v)
}

// pageApproveRules is POST /rules/:hash/approve.
func (s *Server) pageApproveRules(c *gin.Context, ev *event) error {
	d, err := s.opt.Gateway.RulesDesk(ev.who.scope)
	if err != nil {
		return err
	}
	f, err := form(c)
	if err != nil {
		return err
	}
	err = d.Approve(c.Request.Context(), "sha256:"+c.Param("hash"), strings.TrimSpace(f.Get("jws")))
	if err == nil {
		c.Redirect(http.StatusSeeOther, rulesPath+"/"+c.Param("hash")+"?done=approved")
		return nil
	}
	x := explain(err)
	if x.status != http.StatusBadRequest && x.status != http.StatusConflict {
		return err
	}
	ev.code = x.code
	return s.showRuleSet(c, ev, x.status, func(v *view) {
		v.Alert, v.Problems, v.Form = textOf(ev.lang, x.code, x.args), x.problems, f
	})
}

// answerChange words one changed answer.
func answerChange(a policies.AnswerChange, lang string) changeView {
	t := func(code string, pairs ...string) string {
		args := map[string]string{}
		for i := 0; i+1 < len(pairs); i += 2 {
			args[pairs[i]] = pairs[i+1]
		}
		return messages.Text(lang, code, args)
	}
	out := changeView{
		What: t("change." + a.About), For: t("channel." + string(a.Channel)), When: changeStretch(a.From, a.To, lang),
		Before: answerText(a.Before, lang), After: answerText(a.After, lang), Countries: countriesText(a.Countries, lang),
	}
	if a.Delivery != "" {
		out.What += ": " + t("delivery."+string(a.Delivery))
	}
	if len(a.Reasons) > 0 && len(a.Reasons) < len(policies.Reasons) {
		var names []string
		for _, r := range a.Reasons {
			names = append(names, t("reason."+string(r)))
		}
		out.For += " · " + strings.Join(names, ", ")
	}
	switch {
	case a.AgeTo >= 0:
		out.For += " · " + t("change.ages", "from", strconv.Itoa(a.AgeFrom), "to", strconv.Itoa(a.AgeTo))
	case a.AgeFrom > 0:
		out.For += " · " + t("change.age_from", "from", strconv.Itoa(a.AgeFrom))
	}
	return out
}

// wordedAnswers are the answers of policies.DiffAnswers that have a text of
// their own; verdicts and days have one by their first word.
var wordedAnswers = map[string]string{
	"nobody promises a day": "change.no_promise", "not delivered": "change.not_delivered", "(no answer)": "change.no_answer",
}

// answerText puts a compared answer into the reader's language; codes in it are
// the same in both.
func answerText(answer, lang string) string {
	if code, ok := wordedAnswers[answer]; ok {
		return messages.Text(lang, code, nil)
	}
	word, rest, _ := strings.Cut(answer, " ")
	switch {
	case rest == "working days":
		return messages.Text(lang, "delivery.working_days", map[string]string{"days": word})
	case rest == "days":
		return messages.Text(lang, "delivery.days", map[string]string{"days": word})
	case !messages.Has("verdict." + word):
		return answer
	}
	rest, provisional := strings.CutSuffix(" "+rest, " "+string(policies.StatusProvisional))
	text := strings.TrimSpace(messages.Text(lang, "verdict."+word, nil) + rest)
	if provisional {
		text += ", " + messages.Text(lang, "status.provisional", nil)
	}
	return text
}

// changeStretch words the stretch of a change: one without a beginning begins
// with the draft's own day.
func changeStretch(from, to time.Time, lang string) string {
	switch {
	case !from.IsZero():
		return stretchText(from, to, lang)
	case to.IsZero():
		return messages.Text(lang, "change.from_effect", nil)
	default:
		return messages.Text(lang, "change.from_effect", nil) + " " + stretchText(from, to, lang)
	}
}

// stretchText words a stretch of time in days of Rome, in which rules begin and
// end.
func stretchText(from, to time.Time, lang string) string {
	v := view{Lang: lang}
	day := func(t time.Time) string { return v.Day(policies.DateOf(t).String()) }
	switch {
	case from.IsZero() && to.IsZero():
		return messages.Text(lang, "change.always", nil)
	case to.IsZero():
		return messages.Text(lang, "change.from", map[string]string{"from": day(from)})
	case from.IsZero():
		return messages.Text(lang, "change.until", map[string]string{"to": day(to)})
	default:
		return messages.Text(lang, "change.between", map[string]string{"from": day(from), "to": day(to)})
	}
}

// countriesText names countries, the first ones by name.
func countriesText(codes []string, lang string) string {
	names := make([]string, 0, shownCountries)
	for _, code := range codes[:min(len(codes), shownCountries)] {
		iso, post, _ := strings.Cut(code, "/")
		name := iso
		if st, ok := anpr.StateByISO2(iso); ok {
			name = st.NameIT
			if lang == messages.EN {
				name = st.NameEN
			}
		}
		if post != "" {
			name += " (" + post + ")"
		}
		names = append(names, name)
	}
	text := strings.Join(names, ", ")
	if more := len(codes) - len(names); more > 0 {
		text += " " + messages.Text(lang, "change.more_countries", map[string]string{"n": strconv.Itoa(more)})
	}
	return text
}

// whyPage is why a delivery is as it is.
type whyPage struct {
	Path    string
	Number  string
	Option  string
	Chosen  bool
	Record  whyView
	Today   whyView
	Differs bool
}

// whyView is one verdict with its rule.
type whyView struct {
	gateway.Verdict
	Words  string // the reason in the reader's language
	When   string // the stretch in which the rule holds
	Scope  string
	Source string
	File   string
}

func whyOf(v gateway.Verdict, lang string) whyView {
	out := whyView{Verdict: v, Words: reason(v.Reason, lang)}
	if r := v.Text; r != nil {
		out.When, out.Scope, out.Source = stretchText(r.From, r.To, lang), r.Scope, r.Source
		out.File = r.File + ":" + strconv.Itoa(r.Line)
	}
	return out
}

// pageWhy is the page behind a delivery option: the rule, its legal reference,
// its label, its dates and its source.
func (s *Server) pageWhy(c *gin.Context, ev *event) error {
	n := number(c, ev)
	why, err := s.desk(ev).Why(c.Request.Context(), n, policies.DeliveryOption(c.Param("option")))
	if err != nil {
		return err
	}
	page := whyPage{
		Path: requestPath(ev, n), Number: n, Option: string(why.Option), Chosen: why.Request.Delivery.Option == why.Option,
		Record: whyOf(why.Record, ev.lang), Today: whyOf(why.Today, ev.lang),
	}
	page.Differs = why.Record.Rule != why.Today.Rule || why.Record.RuleSet != why.Today.RuleSet ||
		why.Record.Verdict != why.Today.Verdict
	return s.show(c, http.StatusOK, "why", s.view(ev, "page.why", page))
}
