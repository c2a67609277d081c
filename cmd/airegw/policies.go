package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"airegw/policies"
)

// policiesCmd groups the commands of those who write the rules.
type policiesCmd struct {
	Check policiesCheckCmd `cmd:"" help:"Load a rule set; every defect with file and line (exit 1)."`
	Test  policiesTestCmd  `cmd:"" help:"Run the cases beside the rules (exit 1 when one fails)."`
	Diff  policiesDiffCmd  `cmd:"" help:"What another rule set would answer otherwise: countries, deliveries, ages, dates."`
	Show  policiesShowCmd  `cmd:"" help:"Rules by id or key, or those in force for a country on a day."`
}

// ruleSet is the flag that names a rule set.
type ruleSet struct {
	Rules string `placeholder:"DIR" type:"path" help:"Folder of a rule set (default: the one in this binary)."`
	JSON  bool   `name:"json" help:"Machine output."`
}

// loadRules loads a folder's rule set, the shipped one for "". Defects are
// printed one a line on stderr, as FILE:LINE.
func loadRules(std streams, dir string) (*policies.Set, error) {
	set, defects, err := readRules(dir)
	if err != nil {
		return nil, err
	}
	for _, defect := range defects {
		fmt.Fprintln(std.err, defectText(dir, defect))
	}
	if len(defects) > 0 {
		return nil, bad("%s: %d defects", dir, len(defects))
	}
	return set, nil
}

func readRules(dir string) (*policies.Set, policies.LoadErrors, error) {
	if dir == "" {
		return policies.Shipped(), nil, nil
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return nil, nil, usage("--rules: %s is no folder", dir)
	}
	set, err := policies.Load(os.DirFS(dir))
	var defects policies.LoadErrors
	if err != nil && !errors.As(err, &defects) {
		return nil, nil, bad("%s: %w", dir, err)
	}
	return set, defects, nil
}

func defectText(dir string, defect *policies.LoadError) string {
	return fmt.Sprintf("%s:%d: %s: %s", filepath.Join(dir, defect.File), defect.Line, defect.Code, defect.Detail)
}

type policiesCheckCmd struct {
	ruleSet
	Approvals string `placeholder:"DIR" type:"path" help:"Folder with the owners' keys and signatures: interior.jwks, interior.jws, maeci.jwks, maeci.jws (default: \"approvals\" in the folder of the rules, if there is one)."`
}

// approvals answers the folder of the approvals, "" when there is nothing to
// check.
func (c *policiesCheckCmd) approvals() (string, error) {
	dir := c.Approvals
	if dir == "" && c.Rules != "" {
		dir = filepath.Join(c.Rules, policies.ApprovalsDir)
	}
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return dir, nil
	case c.Approvals != "":
		return "", usage("--approvals: %s is no folder", c.Approvals)
	default:
		return "", nil
	}
}

type checkAnswer struct {
	OK          bool           `json:"ok"`
	RuleSet     string         `json:"rule_set,omitempty"`
	Rules       int            `json:"rules"`
	Countries   int            `json:"countries"`
	Provisional int            `json:"provisional"`
	Approved    *bool          `json:"approved"` // null: no approvals were given to check
	Defects     []defectAnswer `json:"defects"`
}

type defectAnswer struct {
	File   string `json:"file"`
	Line   int    `json:"line"` // 0: the set as a whole
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Run is called by kong.
func (c *policiesCheckCmd) Run(std streams) error {
	set, defects, err := readRules(c.Rules)
	if err != nil {
		return err
	}
	answer := checkAnswer{OK: len(defects) == 0, Defects: []defectAnswer{}}
	dir := c.Rules
	if answer.OK {
		signed, err := c.approvals()
		if err != nil {
			return err
		}
		if signed != "" {
			defects, dir = set.CheckApprovals(os.DirFS(signed)), signed
			answer.OK = len(defects) == 0
			answer.Approved = &answer.OK
		}
	}
	for _, defect := range defects {
		answer.Defects = append(answer.Defects, defectAnswer{filepath.Join(dir, defect.File), defect.Line, defect.Code, defect.Detail})
	}
	if set != nil {
		answer.RuleSet, answer.Rules, answer.Countries = set.Hash(), len(set.Rules()), len(set.Countries())
		for _, r := range set.Rules() {
			if r.Status == policies.StatusProvisional {
				answer.Provisional++
			}
		}
	}
	switch {
	case c.JSON:
		if err := writeJSON(std.out, answer); err != nil {
			return err
		}
	case answer.OK:
		fmt.Fprintf(std.out, "regole / rules %s\n%d regole / rules (%d provvisorie / provisional), %d paesi / countries: in ordine / in order\n",
			answer.RuleSet, answer.Rules, answer.Provisional, answer.Countries)
		if answer.Approved != nil {
			fmt.Fprintln(std.out, "approvata dai due proprietari / approved by both owners")
		}
	default:
		for _, defect := range defects {
			fmt.Fprintln(std.out, defectText(dir, defect))
		}
	}
	if !answer.OK {
		return bad("%s: %d defects", dir, len(defects))
	}
	return nil
}

type policiesTestCmd struct {
	ruleSet
	Cases string `placeholder:"DIR" type:"path" help:"Folder of the cases (default: \"cases\" in the folder of the rules)."`
}

type testAnswer struct {
	OK       bool            `json:"ok"`
	RuleSet  string          `json:"rule_set"`
	Files    int             `json:"files"`
	Cases    int             `json:"cases"`
	Failures []failureAnswer `json:"failures"`
}

type failureAnswer struct {
	File string `json:"file"`
	Name string `json:"name"`
	What string `json:"what"`
	Want string `json:"want"`
	Got  string `json:"got"`
}

// Run is called by kong.
func (c *policiesTestCmd) Run(std streams) error {
	set, err := loadRules(std, c.Rules)
	if err != nil {
		return err
	}
	var cases fs.FS
	switch {
	case c.Cases != "":
		cases = os.DirFS(c.Cases)
	case c.Rules != "":
		cases = os.DirFS(filepath.Join(c.Rules, "cases"))
	default:
		cases = policies.ShippedCases()
	}
	report, err := set.RunCases(cases)
	switch {
	case err != nil:
		return bad("cases: %w", err)
	case report.Cases == 0:
		return bad("no case was found: nothing is proven")
	}
	answer := testAnswer{OK: len(report.Failures) == 0, RuleSet: set.Hash(), Files: report.Files, Cases: report.Cases, Failures: []failureAnswer{}}
	failed := map[string]bool{}
	for _, f := range report.Failures {
		answer.Failures = append(answer.Failures, failureAnswer(f))
		failed[f.File+"\x00"+f.Name] = true
	}
	if c.JSON {
		err = writeJSON(std.out, answer)
	} else {
		for _, f := range report.Failures {
			fmt.Fprintln(std.out, f)
		}
		_, err = fmt.Fprintf(std.out, "%d casi / cases (%d file), %d falliti / failed\n", answer.Cases, answer.Files, len(failed))
	}
	if err != nil {
		return err
	}
	if !answer.OK {
		return bad("%d of %d cases failed", len(failed), answer.Cases)
	}
	return nil
}

type policiesDiffCmd struct {
	ruleSet
	Against string `placeholder:"DIR" type:"path" help:"Folder of the rule set to compare with (default: the one in this binary)."`
	Since   string `default:"2016-01-01" placeholder:"DATE" help:"First day compared, in Rome."`
}

// Help is printed by --help.
func (policiesDiffCmd) Help() string {
	return `Compares answers, not lines: a rule that is only written differently is no change. First the
answers that an applicant in good order would get, then every rule value that differs. Exit 0
whether they differ or not.`
}

type diffAnswer struct {
	Before  string                  `json:"before"`
	After   string                  `json:"after"`
	Since   time.Time               `json:"since"`
	Answers []policies.AnswerChange `json:"answers"`
	Values  []policies.Change       `json:"values"`
}

// Run is called by kong.
func (c *policiesDiffCmd) Run(std streams) error {
	if c.Rules == "" && c.Against == "" {
		return usage("give --rules DIR, --against DIR or both: the binary's rules do not differ from themselves")
	}
	since, err := readInstant(c.Since, time.Time{})
	if err != nil {
		return usage("--since: %w", err)
	}
	before, err := loadRules(std, c.Against)
	if err != nil {
		return err
	}
	after, err := loadRules(std, c.Rules)
	if err != nil {
		return err
	}
	answer := diffAnswer{before.Hash(), after.Hash(), since, before.DiffAnswers(after, since), before.Diff(after, since)}
	if c.JSON {
		return writeJSON(std.out, answer)
	}
	countries := slices.Concat(before.Countries(), after.Countries())
	slices.Sort(countries)
	return printDiff(std.out, answer, len(slices.Compact(countries)))
}

func printDiff(out io.Writer, a diffAnswer, countries int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "da / from %s\na  / to   %s\n", a.Before, a.After)
	if len(a.Answers) == 0 {
		b.WriteString("\nnessuna risposta cambia / no answer changes\n")
	} else {
		b.WriteString("\nrisposte che cambiano / answers that change:\n")
	}
	for _, c := range a.Answers {
		fmt.Fprintf(&b, "  %s %s", c.About, c.Channel)
		if c.Delivery != "" {
			fmt.Fprintf(&b, " %s", c.Delivery)
		}
		if n := len(c.Reasons); n > 0 && n < len(policies.Reasons) {
			var reasons []string
			for _, r := range c.Reasons {
				reasons = append(reasons, string(r))
			}
			fmt.Fprintf(&b, " %s", strings.Join(reasons, ","))
		}
		fmt.Fprintf(&b, ", %s, %s\n    %s -> %s\n    %s\n", ages(c.AgeFrom, c.AgeTo), a.stretch(c.From, c.To), c.Before, c.After, places(c.Countries, countries))
		if c.BeforeRule != "" || c.AfterRule != "" {
			fmt.Fprintf(&b, "    %s -> %s\n", dashed(c.BeforeRule), dashed(c.AfterRule))
		}
	}
	if len(a.Values) > 0 {
		b.WriteString("\nvalori che cambiano / values that change:\n")
	}
	for _, c := range a.Values {
		fmt.Fprintf(&b, "  %s, %s\n    %s -> %s\n    %s\n", c.Key, a.stretch(c.From, c.To), dashed(c.Before), dashed(c.After), places(c.Countries, countries))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// stretch writes when a change holds; one without a start is as old as the
// first day compared.
func (a diffAnswer) stretch(from, to time.Time) string {
	if from.IsZero() {
		from = a.Since
	}
	return period(inRome(from), inRome(to))
}

func ages(from, to int) string {
	switch {
	case from == 0 && to < 0:
		return "ogni età / every age"
	case to < 0:
		return fmt.Sprintf("da / from %d anni / years", from)
	case from == to:
		return fmt.Sprintf("%d anni / years", from)
	default:
		return fmt.Sprintf("%d-%d anni / years", from, to)
	}
}

// places lists countries and posts; all is how many countries there are.
func places(list []string, all int) string {
	countries := 0
	for _, place := range list {
		if !strings.Contains(place, "/") {
			countries++
		}
	}
	if countries == all {
		return fmt.Sprintf("ogni paese / every country (%d)", countries)
	}
	return strings.Join(list, " ")
}

type policiesShowCmd struct {
	ruleSet
	Country string   `placeholder:"XX" help:"Only the rules in force for this country."`
	Post    string   `placeholder:"KEY" help:"Key of a post of that country."`
	On      string   `placeholder:"DATE" help:"Day in Rome, or RFC 3339 instant, the rules are in force on (default: now)."`
	Which   []string `arg:"" optional:"" name:"rule" help:"Ids, keys, or beginnings of them (default: all)."`
}

// ruleLine is a rule in JSON.
type ruleLine struct {
	ID        string          `json:"id"`
	Key       string          `json:"key"`
	Scope     string          `json:"scope"`
	ValidFrom *time.Time      `json:"valid_from"` // null: always
	ValidTo   *time.Time      `json:"valid_to"`   // null: no end; the first instant it no longer holds
	Value     any             `json:"value"`
	Needs     []string        `json:"needs,omitempty"`
	Stage     policies.Stage  `json:"stage,omitempty"`
	Code      string          `json:"code,omitempty"`
	LegalRef  string          `json:"legal_ref"`
	Status    policies.Status `json:"status"`
	Source    string          `json:"source,omitempty"`
	Reason    policies.Text   `json:"reason"`
	File      string          `json:"file"`
	Line      int             `json:"line"`
}

// Run is called by kong.
func (c *policiesShowCmd) Run(std streams) error {
	set, err := loadRules(std, c.Rules)
	if err != nil {
		return err
	}
	list := set.Rules()
	if c.Country != "" || c.On != "" {
		if c.Country == "" {
			return usage("--on needs --country: rules are in force at a place")
		}
		on, err := readInstant(c.On, time.Now())
		if err != nil {
			return usage("--on: %w", err)
		}
		list, err = set.InForce(strings.ToUpper(c.Country), c.Post, on)
		if err != nil {
			return usage("unknown country code %q: see airegw registry states", c.Country)
		}
	}
	if len(c.Which) > 0 {
		list = slices.DeleteFunc(slices.Clone(list), func(r *policies.Rule) bool { return !matches(r, c.Which) })
	}
	if len(list) == 0 {
		return bad("no rule matches %s", strings.Join(c.Which, " "))
	}
	return printLines(std.out, list, func(out io.Writer, r *policies.Rule) error {
		if c.JSON {
			return writeJSON(out, ruleLine{
				r.ID, r.Key, r.Scope, inRome(r.From), inRome(r.To), r.Value(), r.Needs, r.Stage, r.Code, r.LegalRef,
				r.Status, r.Source, r.Reason, filepath.Join(c.Rules, r.File), r.Line,
			})
		}
		if len(list) > maxRulesInFull {
			_, err := fmt.Fprintf(out, "%s  %s\n", r.ID, r.Answer())
			return err
		}
		return printRule(out, filepath.Join(c.Rules, r.File), r)
	})
}

// maxRulesInFull is how many rules are printed with their texts; a longer list
// is one line a rule.
const maxRulesInFull = 12

// matches takes a whole id or key, or a part of one up to a "." or "@".
func matches(r *policies.Rule, which []string) bool {
	return slices.ContainsFunc(which, func(w string) bool {
		rest, ok := strings.CutPrefix(r.ID, w)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '@' || strings.HasSuffix(w, "."))
	})
}

func printRule(out io.Writer, file string, r *policies.Rule) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n  %s\n  %s\n", r.ID, r.Answer(), period(inRome(r.From), inRome(r.To)))
	fmt.Fprintf(&b, "  it  %s\n  en  %s\n  %s\n", r.Reason.IT, r.Reason.EN, r.LegalRef)
	if r.Status == policies.StatusProvisional {
		fmt.Fprintf(&b, "  provvisoria / provisional: %s\n", r.Source)
	}
	fmt.Fprintf(&b, "  %s:%d\n", file, r.Line)
	_, err := io.WriteString(out, b.String())
	return err
}
