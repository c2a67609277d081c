// Package anprcontract judges an endpoint that claims to be ANPR: a catalogue
// of scenarios of door A (the REST e-services), of the PDND token endpoint
// before it, and of the SOAP doors B and C, each with the clause it comes from, and a runner that reports what
// passed, clause by clause.
//
// It promises an own small client written from the specification, bounded time
// and a bounded number of calls, and no personal data in what it reports. It
// refuses to share code with the gateway or with the simulator it usually
// judges, and never counts a scenario it could not run as passed: what needs
// the management API of a simulator, a subject or a service the target has not,
// is "not applicable" and counted apart.
//
// With a management API the faults of the target are silenced while it runs:
// give it a simulator of its own.
package anprcontract

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"airegw/testharness/sim"
)

// Target is the endpoint to judge and what is needed to speak to it.
type Target struct {
	URL               string            // base address; "/<service>/v1/anpr-service-e002" is appended
	TokenURL          string            // PDND's token endpoint
	JWKSURL           string            // keys of the vouchers; empty: not known
	ManagementURL     string            // of a simulator; empty: none
	Audience          string            // base of the audiences; "/<service>/v1" is appended
	AssertionAudience string            // aud of the client assertion
	Services          map[string]string // code (C030) to service name; nil: those of ServiceNames
	Client            Client
	Roots             *x509.CertPool // authorities to trust; nil: those of the machine
	Subjects          Subjects       // by role; missing roles make their scenarios not applicable

	// Doors B and C; a missing address makes their scenarios not applicable.
	CIEURL      string
	ConsularURL string
	Environment string           // tipoInvio; TEST when empty
	SOAP        sim.SOAPIdentity // of the sender; a simulator issues one when empty

	lastSOAP string
}

// ServiceNames are the published names of the services the catalogue asks, by code.
func ServiceNames() map[string]string {
	return map[string]string{
		"C001": "C001-servizioNotifica",
		"C004": "C004-servizioVerificaDichDecesso",
		"C015": "C015-servizioAccertamentoGeneralita",
		"C018": "C018-servizioAccertamentoCittadinanza",
		"C019": "C019-servizioAccertamentoEsistenzaVita",
		"C020": "C020-servizioAccertamentoResidenza",
		"C021": "C021-servizioAccertamentoStatoFamiglia",
		"C029": "C029-servizioAccertamentoDatiAnagrafici",
		"C030": "C030-servizioAccertamentoIdUnicoNazionale",
	}
}

// Options bounds a run. The zero value is good.
type Options struct {
	Timeout  time.Duration    // of the whole run; 0 is two minutes
	PerCall  time.Duration    // of one call; 0 is ten seconds
	MaxCalls int              // HTTP calls in all; 0 is 2000
	Only     []string         // ids of scenarios, or clauses; empty is all
	Now      func() time.Time // nil is the machine's clock
	HTTP     *http.Client     // nil is one of its own; redirects are never followed
}

// The results of a scenario.
const (
	Pass          = "pass"
	Fail          = "fail"
	NotApplicable = "not applicable"
)

// Scenario is one thing an endpoint must do.
type Scenario struct {
	ID         string   `json:"id"`
	Sentence   string   `json:"sentence"`
	Clause     string   `json:"clause"`               // §… of the ANPR sheet, B.6 of the domain sheet
	Management bool     `json:"management,omitempty"` // needs a simulator's management API
	Services   []string `json:"services,omitempty"`
	Roles      []string `json:"roles,omitempty"` // subjects it asks for
	Keys       bool     `json:"keys,omitempty"`  // needs the address of the vouchers' keys
	Door       string   `json:"door,omitempty"`  // B or C; empty is A

	run func(*session) error
}

// Result is what became of a scenario.
type Result struct {
	Scenario
	Result string        `json:"result"`
	Why    string        `json:"why,omitempty"` // of a failure, or of not being applicable
	Took   time.Duration `json:"-"`
	Ms     float64       `json:"ms"`
}

// ClauseResult sums up the scenarios of a clause. A clause fails when one of
// its scenarios does, and is not applicable when none could be run.
type ClauseResult struct {
	Clause        string   `json:"clause"`
	Result        string   `json:"result"`
	Pass          int      `json:"pass"`
	Fail          int      `json:"fail"`
	NotApplicable int      `json:"not_applicable"`
	Failed        []string `json:"failed,omitempty"` // ids
}

// Report is the outcome of a run.
type Report struct {
	Target        string         `json:"target"`
	Scenarios     int            `json:"scenarios"`
	Pass          int            `json:"pass"`
	Fail          int            `json:"fail"`
	NotApplicable int            `json:"not_applicable"`
	Calls         int            `json:"calls"`
	Seconds       float64        `json:"seconds"`
	Clauses       []ClauseResult `json:"clauses"`
	Results       []Result       `json:"results"`
}

// OK says that nothing failed and something passed.
func (r Report) OK() bool { return r.Fail == 0 && r.Pass > 0 }

// FailedClauses lists the clauses that failed, in the order of the catalogue.
func (r Report) FailedClauses() []string {
	var list []string
	for _, c := range r.Clauses {
		if c.Result == Fail {
			list = append(list, c.Clause)
		}
	}
	return list
}

var errBudget = errors.New("the run's time or number of calls is used up")

// Run judges the target. The error says that no run was possible (an incomplete
// target, a management API that does not answer); what the endpoint does wrong
// is in the report, never an error.
func Run(ctx context.Context, t Target, o Options) (Report, error) {
	err := t.check()
	if err != nil {
		return Report{}, err
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Minute
	}
	if o.PerCall == 0 {
		o.PerCall = 10 * time.Second
	}
	if o.MaxCalls == 0 {
		o.MaxCalls = 2000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	s, err := newSession(ctx, t, o)
	if err != nil {
		return Report{}, err
	}
	defer s.restore()
	report := Report{Target: t.URL}
	start := time.Now()
	for _, sc := range Catalogue() {
		if len(o.Only) > 0 && !slices.Contains(o.Only, sc.ID) && !slices.Contains(o.Only, sc.Clause) {
			continue
		}
		report.add(s.play(sc))
	}
	report.Calls, report.Seconds = s.calls, time.Since(start).Seconds()
	return report, nil
}

func (t *Target) check() error {
	if t.Services == nil {
		t.Services = ServiceNames()
	}
	t.URL, t.Audience = strings.TrimRight(t.URL, "/"), strings.TrimRight(t.Audience, "/")
	for what, value := range map[string]string{
		"address": t.URL, "token address": t.TokenURL, "audience": t.Audience, "audience of the assertion": t.AssertionAudience,
	} {
		if value == "" {
			return fmt.Errorf("contract: the target has no %s", what)
		}
	}
	for role, p := range t.Subjects {
		if p.CF == "" || p.IDANPR == "" && role != "absent" && role != "cancelled" && role != "lost" && role != "duplicate" {
			return fmt.Errorf("contract: the subject %q has no cf or no id_anpr", role)
		}
	}
	return t.Client.check()
}

// play runs one scenario and tidies up after it.
func (s *session) play(sc Scenario) Result {
	r := Result{Scenario: sc, Result: Pass}
	if why := s.lacks(sc); why != "" {
		r.Result, r.Why = NotApplicable, why
		return r
	}
	start := time.Now()
	err := sc.run(s)
	if sc.Management {
		err = errors.Join(err, s.quiet())
	}
	r.Took = time.Since(start)
	r.Ms = float64(r.Took.Microseconds()) / 1000
	if err != nil {
		r.Result, r.Why = Fail, err.Error()
	}
	return r
}

func (s *session) lacks(sc Scenario) string {
	if sc.Management && s.target.ManagementURL == "" {
		return "needs the management API of a simulator"
	}
	if sc.Keys && s.target.JWKSURL == "" {
		return "the address of the vouchers' keys is not known"
	}
	if why := s.lacksDoor(sc); why != "" {
		return why
	}
	for _, code := range sc.Services {
		if s.target.Services[code] == "" || s.target.Client.Purposes[code] == "" {
			return "no purpose for " + code
		}
	}
	for _, role := range sc.Roles {
		if _, ok := s.target.Subjects[role]; !ok {
			return "no subject for the role " + role
		}
	}
	return ""
}

// lacksDoor says what the SOAP doors of the target are not known to have.
func (s *session) lacksDoor(sc Scenario) string {
	address := map[string]string{doorB: s.target.CIEURL, doorC: s.target.ConsularURL}
	switch {
	case sc.Door == "":
		return ""
	case address[sc.Door] == "":
		return "the address of door " + sc.Door + " is not known"
	case s.target.SOAP.SiteKey == "" && s.target.ManagementURL == "":
		return "no certificates for the SOAP doors"
	}
	for _, role := range sc.Roles {
		if p, ok := s.target.Subjects[role]; ok && p.Comune == "" && role != "absent" && role != "resident" && role != "deceased" {
			return "no comune for the role " + role
		}
	}
	return ""
}

func (r *Report) add(one Result) {
	r.Results = append(r.Results, one)
	r.Scenarios++
	i := slices.IndexFunc(r.Clauses, func(c ClauseResult) bool { return c.Clause == one.Clause })
	if i < 0 {
		r.Clauses = append(r.Clauses, ClauseResult{Clause: one.Clause, Result: NotApplicable})
		i = len(r.Clauses) - 1
	}
	c := &r.Clauses[i]
	switch one.Result {
	case Pass:
		r.Pass++
		c.Pass++
	case Fail:
		r.Fail++
		c.Fail++
		c.Failed = append(c.Failed, one.ID)
	default:
		r.NotApplicable++
		c.NotApplicable++
	}
	switch {
	case c.Fail > 0:
		c.Result = Fail
	case c.Pass > 0:
		c.Result = Pass
	}
}
