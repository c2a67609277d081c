package policies

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Report is the outcome of running rule cases.
type Report struct {
	Files    int
	Cases    int
	Failures []CaseFailure
}

// CaseFailure is one case whose answer is not the one wanted.
type CaseFailure struct {
	File string
	Name string
	What string // the member that differs, such as "outcome" or "options.CONSULATE"
	Want string
	Got  string
}

func (f CaseFailure) String() string {
	return fmt.Sprintf("%s: %s: %s: want %s, got %s", f.File, f.Name, f.What, f.Want, f.Got)
}

// caseFile is one file of cases: a base that every case starts from, full
// cases, and two tables for what would be tedious to write out.
type caseFile struct {
	Base       map[string]any `yaml:"base"`
	Cases      []ruleCase     `yaml:"cases"`
	Expiry     []expiryCase   `yaml:"expiry"`
	Deliveries []deliveryCase `yaml:"deliveries"`
}

type ruleCase struct {
	Name  string         `yaml:"name"`
	Facts map[string]any `yaml:"facts"`
	Want  caseWant       `yaml:"want"`
}

// caseWant holds what a case asserts; what is absent is not compared.
type caseWant struct {
	Outcome    string            `yaml:"outcome"`
	Codes      []string          `yaml:"codes"` // the exact set of finding codes
	Options    map[string]string `yaml:"options"`
	Reasons    map[string]string `yaml:"reason_codes"` // delivery to Option.Code
	Status     map[string]string `yaml:"status"`       // delivery to Option.Status
	Days       map[string]int    `yaml:"days"`
	Expiry     string            `yaml:"expiry"`
	FeeCents   *int              `yaml:"fee_cents"`
	PrintNote  *string           `yaml:"print_note"`
	NoteText   *string           `yaml:"print_note_text"`
	LegalBasis string            `yaml:"legal_basis"`
	Prints     *bool             `yaml:"fingerprints_required"`
	Signature  *bool             `yaml:"signature_required"`
	Misaligned *bool             `yaml:"misaligned"`
	HoldsCard  *bool             `yaml:"holds_valid_card"`
}

type expiryCase struct {
	Request      string `yaml:"request"`
	Birth        string `yaml:"birth"`
	Fingerprints string `yaml:"fingerprints"`
	Expiry       string `yaml:"expiry"`
}

type deliveryCase struct {
	Country string `yaml:"country"`
	Channel string `yaml:"channel"`
	On      string `yaml:"on"`
	Allowed string `yaml:"allowed"` // the deliveries allowed, apart by spaces
}

// RunCases runs every *.yaml file in the root of fsys as cases against the set.
// The error is about files that cannot be read as cases; cases that fail are in
// the report. A file without a single case is an error: it would pass for ever.
func (s *Set) RunCases(fsys fs.FS) (Report, error) {
	var rep Report
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return rep, fmt.Errorf("list case files: %w", err)
	}
	sort.Strings(names)
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return rep, fmt.Errorf("read cases: %w", err)
		}
		if _, err := parseYAML(b); err != nil {
			return rep, fmt.Errorf("%s: %w", name, err)
		}
		var f caseFile
		if err := yaml.UnmarshalWithOptions(b, &f, yaml.Strict()); err != nil {
			return rep, fmt.Errorf("%s: %w", name, err)
		}
		n := len(f.Cases) + len(f.Expiry) + len(f.Deliveries)
		if n == 0 {
			return rep, fmt.Errorf("%s: no case", name)
		}
		rep.Files++
		rep.Cases += n
		r := caseRun{set: s, file: path.Base(name), rep: &rep}
		for i := range f.Cases {
			if err := r.full(f.Base, &f.Cases[i]); err != nil {
				return rep, fmt.Errorf("%s: %s: %w", name, f.Cases[i].Name, err)
			}
		}
		for _, c := range f.Expiry {
			r.expiry(c)
		}
		for _, c := range f.Deliveries {
			if err := r.delivery(f.Base, c); err != nil {
				return rep, fmt.Errorf("%s: %s %s: %w", name, c.Country, c.On, err)
			}
		}
	}
	if rep.Files == 0 {
		return rep, fmt.Errorf("no *.yaml case file")
	}
	return rep, nil
}

// ShippedCases returns the cases that belong to the shipped rules.
func ShippedCases() fs.FS {
	sub, err := fs.Sub(embedded, "rules/cases")
	if err != nil {
		panic("policies: the binary holds no cases: " + err.Error())
	}
	return sub
}

type caseRun struct {
	set  *Set
	file string
	name string
	rep  *Report
}

func (r *caseRun) same(what string, want, got any) {
	w, g := fmt.Sprint(want), fmt.Sprint(got)
	if w != g {
		r.rep.Failures = append(r.rep.Failures, CaseFailure{r.file, r.name, what, w, g})
	}
}

func (r *caseRun) full(base map[string]any, c *ruleCase) error {
	r.name = c.Name
	if c.Name == "" {
		return fmt.Errorf("a case needs a name")
	}
	f, err := caseFacts(base, c.Facts)
	if err != nil {
		return err
	}
	d := r.set.Decide(f)
	w := &c.Want
	if w.Outcome != "" {
		r.same("outcome", w.Outcome, d.Outcome)
	}
	if w.Codes != nil {
		got := make([]string, 0, len(d.Findings))
		for i := range d.Findings {
			got = append(got, d.Findings[i].Code)
		}
		sort.Strings(got)
		want := append([]string{}, w.Codes...)
		sort.Strings(want)
		r.same("codes", want, got)
	}
	for _, o := range sortedKeys(w.Options) {
		r.same("options."+o, w.Options[o], d.Options.For(DeliveryOption(o)).Verdict)
	}
	for _, o := range sortedKeys(w.Reasons) {
		r.same("reason_codes."+o, w.Reasons[o], d.Options.For(DeliveryOption(o)).Code)
	}
	for _, o := range sortedKeys(w.Status) {
		r.same("status."+o, w.Status[o], d.Options.For(DeliveryOption(o)).Status)
	}
	for _, o := range sortedKeys(w.Days) {
		r.same("days."+o, w.Days[o], d.Options.For(DeliveryOption(o)).ExpectedDays)
	}
	if w.Expiry != "" {
		r.same("expiry", w.Expiry, d.Expiry)
	}
	if w.FeeCents != nil {
		r.same("fee_cents", *w.FeeCents, d.FeeCents)
	}
	if w.PrintNote != nil {
		r.same("print_note", *w.PrintNote, d.PrintNote)
	}
	if w.NoteText != nil {
		r.same("print_note_text", *w.NoteText, d.PrintNoteText)
	}
	if w.LegalBasis != "" {
		r.same("legal_basis", w.LegalBasis, d.LegalBasis)
	}
	if w.Prints != nil {
		r.same("fingerprints_required", *w.Prints, d.FingerprintsRequired)
	}
	if w.Signature != nil {
		r.same("signature_required", *w.Signature, d.SignatureRequired)
	}
	if w.Misaligned != nil {
		r.same("misaligned", *w.Misaligned, d.Misaligned())
	}
	if w.HoldsCard != nil {
		r.same("holds_valid_card", *w.HoldsCard, r.set.HoldsValidCard(&f))
	}
	return nil
}

func (r *caseRun) expiry(c expiryCase) {
	r.name = "request " + c.Request + " born " + c.Birth + " " + c.Fingerprints
	req, err := ParseDate(c.Request)
	if err != nil {
		r.same("request", c.Request, err)
		return
	}
	birth, err := ParseDate(c.Birth)
	if err != nil {
		r.same("birth", c.Birth, err)
		return
	}
	got, _, err := r.set.Expiry(req, birth, Fingerprints(c.Fingerprints))
	if err != nil {
		r.same("expiry", c.Expiry, err)
		return
	}
	r.same("expiry", c.Expiry, got)
}

func (r *caseRun) delivery(base map[string]any, c deliveryCase) error {
	r.name = c.Country + " " + c.Channel + " " + c.On
	f, err := caseFacts(base, map[string]any{"residence_country": c.Country, "channel": c.Channel, "on": c.On})
	if err != nil {
		return err
	}
	d := r.set.Decide(f)
	var got []string
	for i, o := range d.Options {
		if o.Allowed {
			got = append(got, string(DeliveryOptions[i]))
		}
	}
	r.same("allowed", strings.Join(strings.Fields(c.Allowed), " "), strings.Join(got, " "))
	return nil
}

// caseFacts lays a case's facts over the base, person member by member, and
// reads them as strictly as any other facts. A time without zone is Roman.
func caseFacts(base, over map[string]any) (Facts, error) {
	m := map[string]any{}
	for k, v := range base {
		m[k] = v
	}
	for k, v := range over {
		p, isMap := v.(map[string]any)
		b, hasBase := m[k].(map[string]any)
		if k == "person" && isMap && hasBase {
			merged := map[string]any{}
			for k, v := range b {
				merged[k] = v
			}
			for k, v := range p {
				merged[k] = v
			}
			m[k] = merged
			continue
		}
		m[k] = v
	}
	for _, k := range []string{"on", "on_chosen"} {
		s, ok := m[k].(string)
		if !ok {
			continue
		}
		for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05"} {
			if t, err := time.ParseInLocation(layout, s, rome); err == nil {
				m[k] = t.Format(time.RFC3339)
				break
			}
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return Facts{}, fmt.Errorf("facts: %w", err)
	}
	return ParseFacts(b)
}
