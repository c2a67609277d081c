package anprcontract_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"airegw/testharness/anprcontract"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// testClient is one for all tests: keys are slow to make.
var testClient = sync.OnceValues(func() (anprcontract.Client, error) {
	return anprcontract.NewClient(anprcontract.ServiceNames())
})

// voucherKey is the simulators' key, one for all tests for the same reason.
var voucherKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// judged is a simulator on loopback and the target a kit sees of it.
func judged(t *testing.T, o anprsim.Options) (anprcontract.Target, *anprsim.Server) {
	t.Helper()
	c, err := testClient()
	if err != nil {
		t.Fatal(err)
	}
	o.Key, err = voucherKey()
	if err != nil {
		t.Fatal(err)
	}
	o.Clients = []anprsim.Client{{ID: c.ID, JWKS: c.Public(), Purposes: c.Purposes}}
	s, err := anprsim.New(o)
	if err != nil {
		t.Fatal(err)
	}
	protocol, management := httptest.NewServer(s.Handler()), httptest.NewServer(s.Management())
	t.Cleanup(func() {
		protocol.Close()
		management.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	id := s.Identity()
	sender, err := s.IssueSOAP("CONTR1", "KIT-1", o.Key)
	if err != nil {
		t.Fatal(err)
	}
	name := "/" + anprcontract.ServiceNames()["C030"] + "/v1"
	return anprcontract.Target{
		URL: protocol.URL + strings.TrimSuffix(id.Services["C030"], name), TokenURL: protocol.URL + id.TokenPath, JWKSURL: protocol.URL + id.JWKSPath,
		ManagementURL: management.URL, Audience: strings.TrimSuffix(id.Audiences["C030"], name), AssertionAudience: id.AssertionAudience,
		Client: c, Subjects: anprcontract.SimSubjects(),
		CIEURL: protocol.URL + id.CIEPath, ConsularURL: protocol.URL + id.ConsularPath, SOAP: sender,
	}, s
}

func run(t *testing.T, target anprcontract.Target, o anprcontract.Options) anprcontract.Report {
	t.Helper()
	r, err := anprcontract.Run(t.Context(), target, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheSimulatorKeepsTheWholeContract(t *testing.T) {
	t.Parallel()
	target, _ := judged(t, anprsim.Options{Seed: 1})
	r := run(t, target, anprcontract.Options{})
	for _, one := range r.Results {
		if one.Result != anprcontract.Pass {
			t.Errorf("%s (%s) %s: %s\n  %s", one.ID, one.Clause, one.Result, one.Sentence, one.Why)
		}
	}
	if !r.OK() || r.Scenarios < 60 {
		t.Errorf("%d scenarios, %d passed, %d failed, %d not applicable", r.Scenarios, r.Pass, r.Fail, r.NotApplicable)
	}
}

func TestARudeSimulatorIsSilencedWhileItIsJudgedAndRudeAfterwards(t *testing.T) {
	t.Parallel()
	target, s := judged(t, anprsim.Options{Seed: 3, Profile: sim.Rude})
	if r := run(t, target, anprcontract.Options{Only: []string{"§1.5", "§8 row 12"}}); !r.OK() {
		t.Errorf("%+v", r.FailedClauses())
	}
	for _, f := range s.Faults().Snapshot() {
		if f.Name == anprsim.FaultFlap && f.Probability == 0 {
			t.Error("the profile has not come back")
		}
	}
}

// Each mutant breaks one rule: the kit must fail and name the clause.
func TestEveryMutantIsCaughtByItsClause(t *testing.T) {
	t.Parallel()
	mutants := anprsim.Mutants()
	if len(mutants) < 20 {
		t.Fatalf("%d mutants", len(mutants))
	}
	for _, m := range mutants {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			target, _ := judged(t, anprsim.Options{Seed: 1, Mutant: m.Name})
			// The scenarios of the clause are enough to see it, and quick.
			r := run(t, target, anprcontract.Options{Only: []string{m.Clause}})
			if r.OK() || !slices.Contains(r.FailedClauses(), m.Clause) {
				t.Errorf("%s: want a failure of %s, failed: %v", m.About, m.Clause, r.FailedClauses())
			}
		})
	}
}

func TestWithoutManagementWhatNeedsItIsNotApplicableAndCountedApart(t *testing.T) {
	t.Parallel()
	target, _ := judged(t, anprsim.Options{Seed: 1})
	target.ManagementURL, target.JWKSURL = "", ""
	delete(target.Subjects, "deceased")
	r := run(t, target, anprcontract.Options{})
	if !r.OK() || r.Pass+r.NotApplicable != r.Scenarios || r.NotApplicable == 0 {
		t.Errorf("%d of %d passed, %d failed, %d not applicable: %v", r.Pass, r.Scenarios, r.Fail, r.NotApplicable, r.FailedClauses())
	}
	for _, one := range r.Results {
		needs := one.Management || one.Keys || slices.Contains(one.Roles, "deceased")
		if needs != (one.Result == anprcontract.NotApplicable) || needs && one.Why == "" {
			t.Errorf("%s: %s %q", one.ID, one.Result, one.Why)
		}
	}
}

func TestEveryScenarioHasAnIDASentenceAndAClauseOfTheSheets(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range anprcontract.Catalogue() {
		if s.ID == "" || seen[s.ID] || !strings.HasSuffix(s.Sentence, ".") || !strings.HasPrefix(s.Clause, "§") && s.Clause != "B.6" {
			t.Errorf("%+v", s)
		}
		seen[s.ID] = true
	}
	if len(seen) < 60 {
		t.Errorf("%d scenarios", len(seen))
	}
	clauses := map[string]bool{}
	for _, s := range anprcontract.Catalogue() {
		clauses[s.Clause] = true
	}
	for _, m := range anprsim.Mutants() {
		if !clauses[m.Clause] {
			t.Errorf("mutant %s breaks %s, which no scenario checks", m.Name, m.Clause)
		}
	}
}

func TestAServerThatIsNotANPRFailsWithoutAPanicOrAnEndlessRun(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty": "", "html": "<html></html>", "null": "null", "list": "[]", "odd": `{"listaSoggetti":{"datiSoggetto":[null,1]},"title":1,"errors":"x","access_token":"a.b.c"}`,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		target, _ := judged(t, anprsim.Options{Seed: 1})
		target.URL, target.TokenURL, target.ManagementURL, target.JWKSURL = server.URL, server.URL, "", server.URL
		target.CIEURL, target.ConsularURL = server.URL, server.URL
		r := run(t, target, anprcontract.Options{})
		server.Close()
		if r.OK() || r.Fail < 40 {
			t.Errorf("%s: %d passed, %d failed", name, r.Pass, r.Fail)
		}
	}
}

func TestAPrivateAuthorityIsTrustedWhenGiven(t *testing.T) {
	t.Parallel()
	target, s := judged(t, anprsim.Options{Seed: 1})
	server := httptest.NewTLSServer(s.Handler())
	t.Cleanup(server.Close)
	_, path, _ := strings.Cut(target.URL, "/govway")
	target.URL, target.TokenURL, target.JWKSURL = server.URL+"/govway"+path, server.URL+anprsim.TokenPath, server.URL+anprsim.JWKSPath
	only := anprcontract.Options{Only: []string{"c030-id"}}
	if r := run(t, target, only); r.OK() {
		t.Error("an unknown authority was trusted")
	}
	target.Roots = x509.NewCertPool()
	target.Roots.AddCert(server.Certificate())
	if r := run(t, target, only); !r.OK() {
		t.Errorf("%+v", r.Results)
	}
}

func TestTheNumberOfCallsAndTheTimeAreBounded(t *testing.T) {
	t.Parallel()
	target, _ := judged(t, anprsim.Options{Seed: 1})
	r := run(t, target, anprcontract.Options{MaxCalls: 20})
	if r.Calls > 20 || r.OK() {
		t.Errorf("%d calls, ok %v", r.Calls, r.OK())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	target.ManagementURL = ""
	r, err := anprcontract.Run(ctx, target, anprcontract.Options{})
	if err != nil || r.Calls != 0 || r.OK() {
		t.Errorf("cancelled: %d calls, %v", r.Calls, err)
	}
}

func TestReportsAreWellFormedAndSayTheSame(t *testing.T) {
	t.Parallel()
	target, _ := judged(t, anprsim.Options{Seed: 1, Mutant: anprsim.MutantAuditUserID})
	target.ManagementURL = ""
	r := run(t, target, anprcontract.Options{Only: []string{"§8 row 2", "§1.8"}})
	if r.Fail == 0 || r.NotApplicable != 1 {
		t.Fatalf("%+v", r)
	}
	var j, x, text bytes.Buffer
	if err := r.JSON(&j); err != nil {
		t.Fatal(err)
	}
	if err := r.JUnit(&x); err != nil {
		t.Fatal(err)
	}
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	var back anprcontract.Report
	if err := json.Unmarshal(j.Bytes(), &back); err != nil || back.Fail != r.Fail || len(back.Results) != len(r.Results) || !slices.Equal(back.FailedClauses(), []string{"§8 row 2"}) {
		t.Errorf("JSON: %v, %+v", err, back.FailedClauses())
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Cases    []struct {
			Failure *struct{} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(x.Bytes(), &suite); err != nil || suite.Tests != r.Scenarios || suite.Failures != r.Fail || suite.Skipped != 1 || len(suite.Cases) != r.Scenarios {
		t.Errorf("JUnit: %v %+v", err, suite)
	}
	if !strings.Contains(text.String(), "FAIL  §8 row 2") {
		t.Errorf("text:\n%s", &text)
	}
	// No personal data of the subjects in any of them.
	for _, p := range target.Subjects {
		for _, secret := range []string{p.CF, p.Surname} {
			if secret != "" && (strings.Contains(j.String(), secret) || strings.Contains(text.String(), secret)) {
				t.Errorf("the report tells %s", secret)
			}
		}
	}
}
