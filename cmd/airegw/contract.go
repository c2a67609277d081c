package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"airegw/testharness/anprcontract"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

type contractCmd struct {
	Anpr contractAnprCmd `cmd:"" help:"Judge an endpoint that claims to be ANPR, scenario by scenario and clause by clause."`
}

// anprEndpoint says where a register is and who calls it. A simulator of ours
// tells all but its address by itself.
type anprEndpoint struct {
	URL               string `help:"Base address of the services (\"/<service>/v1/anpr-service-e002\" is appended), or the address of \"airegw sim anpr\"." name:"url" placeholder:"URL"`
	Client            string `help:"The client: {client_id, kid, purposes, private_jwk} (default: the simulator's test client)." type:"existingfile" placeholder:"FILE"`
	Audience          string `help:"Base of the audiences of voucher and Agid-JWT tokens (\"/<service>/v1\" is appended)." placeholder:"AUD"`
	AssertionAudience string `help:"Audience of the client assertion." placeholder:"AUD"`
	TokenURL          string `help:"PDND's token endpoint." name:"token-url" placeholder:"URL"`
	JWKSURL           string `help:"Key set of the vouchers." name:"jwks-url" placeholder:"URL"`
	CA                string `help:"PEM file of the authorities to trust instead of the machine's." name:"ca" type:"existingfile" placeholder:"FILE"`
	ManagementURL     string `help:"Management API of a simulator." name:"management-url" placeholder:"URL"`
	CIEURL            string `help:"Address of door B (AnprServiceCIE)." name:"cie-url" placeholder:"URL"`
	ConsularURL       string `help:"Address of door C (AnprServiceCONSOLATI)." name:"consular-url" placeholder:"URL"`
}

type contractAnprCmd struct {
	Endpoint  anprEndpoint  `embed:""`
	SOAP      string        `help:"Certificates for the SOAP doors: {sender, station, site_certificate, site_key, station_certificate, station_key, register_certificate}." type:"existingfile" name:"soap" placeholder:"FILE"`
	Subjects  string        `help:"People of that register by role: {\"aire\":{\"cf\",\"id_anpr\",…},…}." type:"existingfile" placeholder:"FILE"`
	JSON      bool          `help:"Machine output." name:"json"`
	JUnit     string        `help:"Write a JUnit report too." name:"junit" type:"path" placeholder:"FILE"`
	Only      []string      `help:"Only these scenarios (ids) or clauses." placeholder:"ID"`
	Timeout   time.Duration `help:"Of the whole run." default:"2m"`
	MaxCalls  int           `help:"HTTP calls in all." default:"2000"`
	Mutant    string        `help:"Without --url: break one rule of the simulator that is started." placeholder:"NAME"`
	Catalogue bool          `help:"Print the catalogue, one JSON object a line, and stop."`
}

// Run judges and reports; exit 1 when a clause fails.
func (c *contractAnprCmd) Run(ctx context.Context, std streams) error {
	if c.Catalogue {
		enc := json.NewEncoder(std.out)
		enc.SetEscapeHTML(false)
		for _, s := range anprcontract.Catalogue() {
			err := enc.Encode(s)
			if err != nil {
				return fmt.Errorf("catalogue: %w", err)
			}
		}
		return nil
	}
	err := c.known()
	if err != nil {
		return err
	}
	target, done, err := c.target(ctx)
	if err != nil {
		return err
	}
	report, err := anprcontract.Run(ctx, target, anprcontract.Options{Timeout: c.Timeout, MaxCalls: c.MaxCalls, Only: c.Only})
	err = errors.Join(err, done())
	if err != nil {
		return bad("%w", err)
	}
	if c.JUnit != "" {
		var b bytes.Buffer
		err = report.JUnit(&b)
		if err == nil {
			err = os.WriteFile(c.JUnit, b.Bytes(), 0o644) //nolint:gosec // a test report, for everybody to read
		}
		if err != nil {
			return fmt.Errorf("JUnit report: %w", err)
		}
	}
	if c.JSON {
		err = report.JSON(std.out)
	} else {
		err = report.Text(std.out)
	}
	switch {
	case err != nil:
		return err
	case report.Fail > 0:
		return bad("%d scenarios fail, of the clauses %s", report.Fail, strings.Join(report.FailedClauses(), ", "))
	case !report.OK():
		return bad("nothing could be judged")
	}
	return nil
}

// known refuses a name that would silently select nothing.
func (c *contractAnprCmd) known() error {
	for _, name := range c.Only {
		ok := false
		for _, s := range anprcontract.Catalogue() {
			ok = ok || s.ID == name || s.Clause == name
		}
		if !ok {
			return usage("no scenario or clause %q: see --catalogue", name)
		}
	}
	return nil
}

// target is the endpoint to judge; done stops what was started for it.
func (c *contractAnprCmd) target(ctx context.Context) (_ anprcontract.Target, done func() error, err error) {
	done = func() error { return nil }
	if c.Endpoint.URL == "" {
		if c.Endpoint != (anprEndpoint{}) || c.Subjects != "" {
			return anprcontract.Target{}, done, usage("without --url the simulator started here is judged, with its own client and subjects")
		}
		return c.ownSimulator()
	}
	if c.Mutant != "" {
		return anprcontract.Target{}, done, usage("--mutant is for the simulator started here; tell a running one by POST /mutants of its management API")
	}
	target, simulator, err := c.Endpoint.target(ctx, true)
	if err != nil {
		return target, done, err
	}
	switch {
	case c.Subjects != "":
		text, err := os.ReadFile(c.Subjects)
		if err == nil {
			target.Subjects, err = anprcontract.ReadSubjects(bytes.NewReader(text))
		}
		if err != nil {
			return target, done, usage("%s: %w", c.Subjects, err)
		}
	case simulator:
		target.Subjects = anprcontract.SimSubjects()
	}
	if c.SOAP != "" {
		text, err := os.ReadFile(c.SOAP)
		if err == nil {
			err = sim.ReadJSON(bytes.NewReader(text), 1<<20, &target.SOAP)
		}
		if err != nil {
			return target, done, usage("%s: %w", c.SOAP, err)
		}
	}
	return target, done, nil
}

func (c *contractAnprCmd) ownSimulator() (_ anprcontract.Target, done func() error, err error) {
	s, err := anprsim.New(anprsim.Options{Mutant: c.Mutant})
	if err != nil {
		return anprcontract.Target{}, nil, usage("%w", err)
	}
	served := &servedANPR{Server: s}
	err = served.newClient()
	if err == nil {
		err = served.start("127.0.0.1:0", "127.0.0.1:0")
	}
	if err != nil {
		return anprcontract.Target{}, nil, errors.Join(err, served.close())
	}
	t := targetOf(served.line)
	t.Client, t.Subjects = served.client, anprcontract.SimSubjects()
	return t, served.close, nil
}

func targetOf(l anprcontract.SimLine) anprcontract.Target {
	return anprcontract.Target{
		URL: l.URL, TokenURL: l.TokenURL, JWKSURL: l.JWKSURL, ManagementURL: l.ManagementURL, Audience: l.Audience, AssertionAudience: l.AssertionAudience,
		CIEURL: l.CIEURL, ConsularURL: l.ConsularURL,
	}
}

// target completes what the flags say with what a simulator says of itself.
// ownClient asks for a client of this run at a simulator that has none for us.
func (e *anprEndpoint) target(ctx context.Context, ownClient bool) (t anprcontract.Target, simulator bool, err error) {
	if e.URL == "" {
		return t, false, usage("--url is needed: the address of the register, or of \"airegw sim anpr\"")
	}
	at, err := url.Parse(e.URL)
	if err != nil || at.Host == "" {
		return t, false, usage("--url %q is no address", e.URL)
	}
	var line anprcontract.SimLine
	incomplete := e.Client == "" || e.Audience == "" || e.AssertionAudience == "" || e.TokenURL == "" || strings.Trim(at.Path, "/") == ""
	// Simulators are on loopback only: nobody else is asked what need not be.
	if host := at.Hostname(); incomplete || host == "localhost" || net.ParseIP(host).IsLoopback() {
		line, err = anprcontract.Discover(ctx, at.Scheme+"://"+at.Host)
		simulator = err == nil
		if err != nil && incomplete {
			return t, false, usage("%w", err)
		}
	}
	t = targetOf(line)
	if strings.Trim(at.Path, "/") != "" {
		t.URL = serviceBase(e.URL)
	}
	for flag, into := range map[*string]*string{
		&e.AssertionAudience: &t.AssertionAudience, &e.TokenURL: &t.TokenURL, &e.JWKSURL: &t.JWKSURL, &e.ManagementURL: &t.ManagementURL,
		&e.CIEURL: &t.CIEURL, &e.ConsularURL: &t.ConsularURL,
	} {
		if *flag != "" {
			*into = *flag
		}
	}
	if e.Audience != "" {
		t.Audience = serviceBase(e.Audience)
	}
	if e.CA != "" {
		text, err := os.ReadFile(e.CA)
		t.Roots = x509.NewCertPool()
		if err != nil || !t.Roots.AppendCertsFromPEM(text) {
			return t, simulator, usage("--ca %s is no PEM file of certificates", e.CA)
		}
	}
	file := e.Client
	if file == "" && !ownClient {
		file = line.ClientFile
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if err == nil {
			t.Client, err = anprcontract.ReadClient(bytes.NewReader(text))
		}
		if err != nil {
			return t, simulator, usage("client: %w", err)
		}
		return t, simulator, nil
	}
	if !ownClient {
		return t, simulator, usage("--client is needed: that simulator has no test client")
	}
	t.Client, err = anprcontract.NewClient(anprcontract.ServiceNames())
	if err == nil {
		err = anprcontract.Register(ctx, t.ManagementURL, t.Client)
	}
	return t, simulator, err
}

// serviceBase cuts the part of one service off, in case a whole address was
// given: …/C030-servizio…/v1/anpr-service-e002.
func serviceBase(s string) string {
	for _, name := range anprcontract.ServiceNames() {
		if base, _, found := strings.Cut(s, "/"+name); found {
			return base
		}
	}
	return strings.TrimRight(s, "/")
}
