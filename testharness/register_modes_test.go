package testharness

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/policies"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// The unpleasant modes of the register (specs/anpr-pdnd-modi.md §8), each driven
// through the whole gateway. A request ends waiting with the reason on its mark,
// asking a person (misaligned, with a task somebody has), or going on: never
// lost, never refused for what is the register's trouble. Rows 7 and 32 are
// checks of their own below: they are no behaviour of a register.
//
// One world stands still for all of them; every row has a person of its own.
type modeWorld struct {
	*flow
	t    *testing.T
	desk gateway.Desk
	row  int
	busy map[string]bool // fiscal codes with an open request
	all  []string        // numbers of the row's requests, which must end prechecked or later
}

// person answers an ordinary citizen without an open request.
func (m *modeWorld) person() sim.Person {
	for n := 0; ; n++ {
		p := ordinary(m.t, n)
		if !m.busy[p.CF] {
			m.busy[p.CF] = true
			return p
		}
	}
}

// form is a form of this row.
func (m *modeWorld) form(p sim.Person) gateway.Input {
	in := ask(p)
	in.Key = fmt.Sprintf("row-%02d-%s", m.row, p.CF)
	return in
}

// ended checks that none of the row's requests was lost or wrongly refused, and
// makes room for the next row.
func (m *modeWorld) ended() {
	m.flow.t.Helper()
	for _, number := range m.all {
		r := m.open(m.desk, number)
		switch r.State {
		case gateway.StatePrechecked:
			m.must("cancel", m.desk.Cancel(m.ctx, number, "", ""))
			m.busy[r.Input.Applicant.FiscalCode] = false
		case gateway.StateSubmitted, gateway.StateMisaligned, gateway.StateRefused, gateway.StateCancelled:
			m.flow.t.Errorf("%s ended %s: %+v %+v", number, r.State, r.Outcome, r.Mark)
		default: // relayed
		}
	}
	m.all = nil
}

// fault sets a rule for good, for one person where the register can tell them.
func (m *modeWorld) fault(name, cf, op, param string) {
	m.registerFault(sim.Rule{Name: name, Match: cf, Op: op, Probability: 1, Param: param})
}

func (m *modeWorld) calm() { m.sims.ANPR.Faults().Reset() }

func (m *modeWorld) take(in gateway.Input) string {
	m.flow.t.Helper()
	number := m.submit(m.desk, in)
	m.all = append(m.all, number)
	m.work()
	return number
}

func (m *modeWorld) at(number string, want gateway.State) *gateway.Request {
	m.flow.t.Helper()
	return m.is(m.desk, number, want)
}

// waits checks that a request waits with a reason, and that it goes on by itself
// once the register is well.
func (m *modeWorld) waits(number, code string) gateway.Mark {
	t := m.flow.t
	t.Helper()
	r := m.at(number, gateway.StateSubmitted)
	mark := r.Mark
	if mark.Kind != gateway.MarkWaiting || mark.Code != code || !mark.Due.After(m.clock.Now()) || r.Outcome != nil {
		t.Fatalf("%s: mark %+v outcome %+v, want it waiting as %s", number, mark, r.Outcome, code)
	}
	m.calm()
	m.recovers(number)
	return mark
}

func (m *modeWorld) recovers(number string) {
	m.flow.t.Helper()
	for range 6 {
		m.pass(m.open(m.desk, number).Mark.Due.Sub(m.clock.Now()) + time.Second)
		m.work()
		if m.open(m.desk, number).State == gateway.StatePrechecked {
			return
		}
	}
	m.at(number, gateway.StatePrechecked)
}

// asks checks that somebody has the task of mending a finding, that the card is
// blocked until then, and that the request goes on once it is mended.
func (m *modeWorld) asks(number, finding, who string) gateway.Correction {
	t := m.flow.t
	t.Helper()
	m.at(number, gateway.StateMisaligned)
	list, err := m.desk.Corrections(m.ctx, number)
	m.must("corrections", err)
	i := slices.IndexFunc(list, func(c gateway.Correction) bool { return c.Code == "register."+finding })
	if i < 0 || list[i].Who != who || list[i].Office.IsZero() || list[i].Status != gateway.CorrectionOpen {
		t.Fatalf("%s: %v, want %s for %s", number, codesOf(list), finding, who)
	}
	m.must("presence", m.desk.RecordPresence(m.ctx, number))
	if gateway.KindOf(m.desk.OpenEnquiry(m.ctx, number)) != gateway.Conflict {
		t.Error("the enquiry was opened against the register")
	}
	m.calm()
	m.must("recheck", m.desk.Recheck(m.ctx, number))
	m.work()
	m.at(number, gateway.StatePrechecked)
	return list[i]
}

// goesOn checks that a request goes on, and whether it shows a finding.
func (m *modeWorld) goesOn(number, finding string) *gateway.Request {
	t := m.flow.t
	t.Helper()
	r := m.at(number, gateway.StatePrechecked)
	has := slices.ContainsFunc(r.Register.Findings, func(f gateway.Finding) bool { return f.Code == "register."+finding })
	if finding != "" && !has {
		t.Fatalf("%s: findings %+v, want %s", number, r.Register.Findings, finding)
	}
	m.calm()
	return r
}

// again starts the gateway anew with another configuration or clock.
func (m *modeWorld) again(set func(c *app.Config), clock gateway.Clock) {
	m.flow.t.Helper()
	m.must("close", m.app.Close())
	c := m.config
	c.Register.Services = map[string]app.ServiceConfig{}
	for name, s := range m.config.Register.Services {
		c.Register.Services[name] = s
	}
	if set != nil {
		set(&c)
	}
	if clock == nil {
		clock = m.clock
	}
	a, err := app.Assemble(m.ctx, c, app.Options{Log: slog.New(slog.DiscardHandler), Clock: clock, Version: "test"})
	m.must("assemble", err)
	m.app, m.g = a, a.Gateway
	m.desk = m.flow.desk("H501")
}

// ahead is a clock that runs before the others.
type ahead struct {
	handClock
	by time.Duration
}

func (c ahead) Now() time.Time { return c.handClock.Now().Add(c.by) }

// service changes the configuration of one service.
func service(c *app.Config, code string, f func(s *app.ServiceConfig)) {
	s := c.Register.Services[code]
	f(&s)
	c.Register.Services[code] = s
}

func TestEveryUnpleasantModeOfTheRegister(t *testing.T) {
	t.Parallel()
	m := &modeWorld{flow: newFlow(t, dawn), t: t, busy: map[string]bool{}}
	m.desk = m.flow.desk("H501")
	for _, mode := range []struct {
		row      int
		sentence string
		run      func(t *testing.T)
	}{
		{1, "an audience that is not the service's is found at the start, or waits and names the service", func(t *testing.T) {
			good := m.config.Register.Services["C030"].Audience
			for name, audience := range map[string]string{
				"with -PDND":         strings.Replace(good, "MinInternoPortaANPR/", "MinInternoPortaANPR-PDND/", 1),
				"with the operation": good + "/anpr-service-e002",
				"of another service": m.config.Register.Services["C020"].Audience,
				"of PDND":            m.config.Register.TokenAudience,
			} {
				c := m.config
				c.Database.Path = name + ".db"
				c.Register.Services = map[string]app.ServiceConfig{"C030": m.config.Register.Services["C030"]}
				service(&c, "C030", func(s *app.ServiceConfig) { s.Audience = audience })
				a, err := app.Assemble(m.ctx, c, app.Options{Log: slog.New(slog.DiscardHandler)})
				if err == nil {
					t.Errorf("%s was taken", name)
					m.must("close", a.Close())
				}
			}
			m.again(func(c *app.Config) {
				service(c, "C030", func(s *app.ServiceConfig) { s.Audience = strings.Replace(good, "/v1", "/v2", 1) })
			}, nil)
			number := m.take(m.form(m.person()))
			if r := m.at(number, gateway.StateSubmitted); r.Mark.Code != "register_agreement" && r.Mark.Code != "register_configuration" || !strings.Contains(r.Mark.Detail, "C030") {
				t.Errorf("mark %+v", r.Mark)
			}
			m.again(nil, nil)
			m.recovers(number)
		}},
		{2, "an operator without an id is nobody's evidence: nothing is sent, a person must look", func(t *testing.T) {
			nobody := m.g.Desk(gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorOperator, Office: office(t, "H501"), Station: station}))
			before := len(m.sims.ANPR.Calls())
			number := m.submit(nobody, m.form(m.person()))
			m.all = append(m.all, number)
			m.work()
			if r := m.at(number, gateway.StateSubmitted); r.Mark.Kind != gateway.MarkParked || r.Mark.Code != "register_query" || !strings.Contains(r.Mark.Detail, "actor.user") {
				t.Errorf("mark %+v", r.Mark)
			}
			if n := len(m.sims.ANPR.Calls()); n != before {
				t.Errorf("%d calls went out", n-before)
			}
			m.must("recheck", m.desk.Recheck(m.ctx, number))
			m.work()
			m.at(number, gateway.StatePrechecked)
		}},
		{3, "signed headers are the array the register wants, with the exact Content-Type", func(t *testing.T) {
			before := len(m.sims.ANPR.Refusals())
			m.goesOn(m.take(m.form(m.person())), "")
			if got := m.sims.ANPR.Refusals(); len(got) != before {
				t.Errorf("refused: %+v", got[0])
			}
		}},
		{4, "a clock that runs ahead waits, and the mark tells the skew", func(t *testing.T) {
			m.again(nil, ahead{m.clock, time.Hour})
			number := m.take(m.form(m.person()))
			r := m.at(number, gateway.StateSubmitted)
			if r.Mark.Kind != gateway.MarkWaiting || r.Outcome != nil {
				t.Errorf("mark %+v", r.Mark)
			}
			if r.Mark.Code == "register_configuration" && !strings.Contains(r.Mark.Detail, "clock_skew -") {
				t.Errorf("no skew in %q", r.Mark.Detail)
			}
			m.again(nil, nil)
			m.recovers(number)
		}},
		{5, "voucher and evidence are cached together: a pair serves the next check, and a new pair follows its end", func(t *testing.T) {
			tokens := func() int {
				n := 0
				for _, c := range m.sims.ANPR.Calls() {
					if c.Operation == "token" {
						n++
					}
				}
				return n
			}
			m.pass(time.Hour)
			before := tokens()
			m.goesOn(m.take(m.form(m.person())), "")
			m.goesOn(m.take(m.form(m.person())), "")
			if n := tokens() - before; n != 5 {
				t.Errorf("%d vouchers for two checks of five services", n)
			}
			m.pass(5 * time.Minute)
			m.goesOn(m.take(m.form(m.person())), "")
			if n := tokens() - before; n != 10 {
				t.Errorf("%d vouchers after the first were spent", n)
			}
		}},
		{6, "a key that has not arrived is tried again with a new voucher, then waits", func(t *testing.T) {
			m.registerFault(sim.Rule{Name: anprsim.FaultKeyPropagation, Op: "C015", Count: 1})
			m.goesOn(m.take(m.form(m.person())), "")
			m.fault(anprsim.FaultKeyPropagation, "", "C015", "")
			m.waits(m.take(m.form(m.person())), "register_configuration")
		}},
		{8, "a private authority is trusted by file only; without it the request waits", m.privateCA},
		{9, "an opaque 400 waits, and the mark holds what the register's support asks for", func(t *testing.T) {
			m.fault(anprsim.FaultKeyPropagation, "", "C020", "")
			mark := m.waits(m.take(m.form(m.person())), "register_configuration")
			for _, want := range []string{"C020", "register_request_refused", "400", "InteroperabilityInvalidRequest", "transaction "} {
				if !strings.Contains(mark.Detail, want) {
					t.Errorf("%q lacks %q", mark.Detail, want)
				}
			}
		}},
		{10, "a 429 stops until midnight, also a spurious one, and the mark says so", func(t *testing.T) {
			m.fault(anprsim.FaultSpurious429, "", "C030", "empty")
			mark := m.waits(m.take(m.form(m.person())), "register_quota")
			if mark.Due.Sub(m.clock.Now()) > 0 {
				t.Errorf("it went on before %s", mark.Due)
			}
		}},
		{11, "503 of the appliance, an HTML page, slowness and no connection wait", func(t *testing.T) {
			for _, f := range []string{anprsim.FaultFlap, anprsim.FaultAPIUnavailable, anprsim.FaultHTMLError, sim.FaultDropRequest} {
				m.fault(f, "", "", "")
				m.waits(m.take(m.form(m.person())), "register_unavailable")
			}
			m.again(func(c *app.Config) {
				service(c, "C018", func(s *app.ServiceConfig) { s.Deadline = 500 * time.Millisecond })
				service(c, "C019", func(s *app.ServiceConfig) {
					s.BaseURL = "http://127.0.0.1:9" + s.BaseURL[strings.Index(s.BaseURL, "/govway"):]
				})
			}, nil)
			number := m.take(m.form(m.person()))
			if r := m.at(number, gateway.StateSubmitted); !strings.Contains(r.Mark.Detail, "C019 register_unreachable") {
				t.Errorf("mark %+v", r.Mark)
			}
			m.again(func(c *app.Config) {
				service(c, "C018", func(s *app.ServiceConfig) { s.Deadline = 500 * time.Millisecond })
			}, nil)
			m.fault(sim.FaultSlow, "", "C018", "180s") // on a clock that stands still: for ever
			m.pass(time.Minute)
			m.must("recheck", m.desk.Recheck(m.ctx, number))
			m.work()
			if r := m.at(number, gateway.StateSubmitted); r.Mark.Code != "register_unavailable" || !strings.Contains(r.Mark.Detail, "C018 register_timeout") {
				t.Errorf("mark %+v", r.Mark)
			}
			m.again(nil, nil)
			m.calm()
			m.recovers(number)
		}},
		{12, "an outage and an announced stop of a day make the case wait, never refuse", func(t *testing.T) {
			m.fault(anprsim.FaultOutage, "", "", "")
			m.waits(m.take(m.form(m.person())), "register_unavailable")
			number := m.signed(m.desk, m.form(m.person()))
			m.all = append(m.all, number)
			m.pass(25 * time.Hour) // its check is too old to be relayed on
			m.fault(anprsim.FaultMaintenance, "", "", "")
			waiting := m.take(m.form(m.person()))
			for range 52 { // more tries than the core would be given
				m.pass(16 * time.Minute)
				m.relay()
			}
			m.work()
			if r := m.at(number, gateway.StateSigned); r.Mark.Kind != gateway.MarkWaiting || r.Mark.Code != "register_unavailable" {
				t.Errorf("the order is marked %+v after a day without the register", r.Mark)
			}
			m.waits(waiting, "register_unavailable")
			m.pass(20 * time.Minute)
			m.relay()
			m.at(number, gateway.StateRelayed)
			m.once(number + ".1")
		}},
		{13, "the appliance's 404 is not a citizen absent", func(t *testing.T) {
			m.fault(anprsim.FaultNotFoundFront, "", "", "")
			m.waits(m.take(m.form(m.person())), "register_unavailable")
		}},
		{14, "EN122 counts by its code, with the old text and with the new ones", func(t *testing.T) {
			for _, old := range []bool{true, false} {
				p := m.person()
				m.fault(anprsim.FaultNotFound, p.CF, "", "")
				if old {
					m.fault(anprsim.FaultEN122Old, p.CF, "", "")
				}
				m.asks(m.take(m.form(p)), "not_found", "consulate")
			}
			cancelled := by(t, "aire-cancelled-5")
			number := m.submit(m.desk, m.form(cancelled))
			m.work()
			r := m.at(number, gateway.StateMisaligned)
			if len(r.Register.Findings) != 1 || r.Register.Findings[0].Code != "register.cancelled" || r.Register.Findings[0].Who != "aire_comune" {
				t.Errorf("%+v", r.Register.Findings)
			}
		}},
		{15, "a warning inside listaErrori is no error, beside data and beside EN122", func(t *testing.T) {
			m.fault(anprsim.FaultWarnInErrors, "", "", "")
			m.goesOn(m.take(m.form(m.person())), "")
			p := m.person()
			m.fault(anprsim.FaultWarnInErrors, "", "", "")
			m.fault(anprsim.FaultNotFound, p.CF, "", "")
			m.asks(m.take(m.form(p)), "not_found", "consulate")
		}},
		{16, "an operation id that is no number is kept as it came", func(t *testing.T) {
			m.fault(anprsim.FaultOddOpID, "", "", "3f0c6c1e-XXXX")
			r := m.goesOn(m.take(m.form(m.person())), "")
			if r.Register.Evidence[0].AnswerCode != "3f0c6c1e-XXXX" {
				t.Errorf("%+v", r.Register.Evidence[0])
			}
		}},
		{17, "two people, or one person of two, stop and a person decides", func(t *testing.T) {
			for _, f := range []struct{ fault, op, finding string }{
				{anprsim.FaultDuplicate, "C020", "duplicate"},
				{anprsim.FaultOmocodia, "C030", "duplicate"},
				{anprsim.FaultManySubjects, "C015", "duplicate"},
				{anprsim.FaultMerged, "C015", "names_differ"},
			} {
				p := m.person()
				m.fault(f.fault, p.CF, f.op, "")
				m.asks(m.take(m.form(p)), f.finding, "office")
			}
		}},
		{18, "a double registration is pending with the AIRE comune and asked again by itself", func(t *testing.T) {
			p := m.person()
			number := m.take(m.form(p))
			m.fault(anprsim.FaultDoubleReg, p.CF, "", "")
			m.must("recheck", m.desk.Recheck(m.ctx, number))
			m.work()
			r := m.at(number, gateway.StateMisaligned)
			if r.Mark.Kind != gateway.MarkWaiting || r.Mark.Code != "correction_due" {
				t.Errorf("mark %+v", r.Mark)
			}
			list, err := m.desk.Corrections(m.ctx, number)
			if err != nil || len(list) != 1 || list[0].Office != office(t, p.AIRE.ComuneISTAT) {
				t.Errorf("%v %v", codesOf(list), err)
			}
			m.calm()
			m.recovers(number)
		}},
		{19, "an AIRE person unknown to the register is the consulate's to align", func(*testing.T) {
			p := m.person()
			m.fault(anprsim.FaultAIREMissing, p.CF, "", "")
			in := atPost(m.form(p))
			in.Office = p.Post.Code
			d := m.flow.desk(p.Post.Code)
			number := m.submit(d, in)
			m.work()
			tasks, err := d.CorrectionTasks(m.ctx, "")
			m.must("tasks", err)
			if len(tasks) != 1 || tasks[0].Request != number || tasks[0].Operation != gateway.AlignComune {
				m.flow.t.Fatalf("%+v", tasks)
			}
			m.calm()
			m.pass(7 * time.Hour)
			m.work()
			m.is(d, number, gateway.StatePrechecked)
		}},
		{20, "a tax code not validated, or none, blocks the card and goes the C003 way", func(t *testing.T) {
			for _, f := range []string{anprsim.FaultCFUnvalidated, anprsim.FaultNoCF} {
				p := m.person()
				m.fault(f, p.CF, "", "")
				if c := m.asks(m.take(m.form(p)), "cf_not_validated", "consulate"); c.Operation != gateway.AlignTaxCode {
					t.Errorf("%s: %+v", f, c)
				}
			}
		}},
		{21, "a person under another code is looked for by personal data, and a person decides", func(*testing.T) {
			p := m.person()
			in := m.form(p)
			in.Applicant.Surname, in.Applicant.GivenName = p.Surname, p.Name
			m.fault(anprsim.FaultCFSuperseded, p.CF, "", "")
			m.asks(m.take(in), "cf_superseded", "office")
		}},
		{22, "a name cut at 36 characters is the same name", func(*testing.T) {
			p := m.person()
			m.fault(anprsim.FaultTruncate, p.CF, "", "")
			in := m.form(p)
			in.Applicant.Surname, in.Applicant.GivenName = p.Surname+" DELLA CASA GRANDE DEGLI ULIVI SUL MARE", p.Name
			m.goesOn(m.take(in), "names_truncated")
		}},
		{23, "another spelling is the same name; letters lost are reported", func(t *testing.T) {
			p := by(t, "diacritics")
			in := m.form(p)
			in.Applicant.Surname, in.Applicant.GivenName = p.Surname, p.Name
			m.fault(anprsim.FaultTranslit, p.CF, "", "")
			r := m.goesOn(m.take(in), "names_transliterated")
			if r.Input.Applicant.Surname == r.Register.Applicant.Person.Surname {
				t.Error("only one spelling is kept")
			}
			m.fault(anprsim.FaultDiacritics, p.CF, "", "")
			m.must("recheck", m.desk.Recheck(m.ctx, r.ID))
			m.work()
			m.asks(r.ID, "names_differ", "office")
		}},
		{24, "bytes that are no text are sanitised and reported", func(*testing.T) {
			p := m.person()
			m.fault(anprsim.FaultBadEncoding, p.CF, "C015", "")
			m.asks(m.take(m.form(p)), "text_damaged", "aire_comune")
		}},
		{25, "an address that would not arrive is told before a card is shipped there", func(t *testing.T) {
			p := m.person()
			in := m.form(p)
			m.fault(anprsim.FaultAddrMess, p.CF, "", "")
			number := m.take(in)
			r := m.at(number, gateway.StatePrechecked)
			home := r.Decision.Decision.Options.For(policies.DeliveryForeignResidence)
			m.goesOn(number, "address_undeliverable")
			list, err := m.desk.Corrections(m.ctx, number)
			if err != nil || !slices.ContainsFunc(list, func(c gateway.Correction) bool { return c.Who == "citizen" }) {
				t.Errorf("%v %v (home delivery %s)", codesOf(list), err, home.Verdict)
			}
		}},
		{26, "a post is matched by its code: a suppressed one leads to the one in charge, one of another state is a finding", func(t *testing.T) {
			p := m.person()
			m.fault(anprsim.FaultConsulate, p.CF, "", "2301204|NORIMBERGA")
			r := m.goesOn(m.take(m.form(p)), "post_state_mismatch")
			post, ok := r.CompetentPost()
			if !ok || !post.Open(m.clock.Now()) {
				t.Errorf("%+v %v", post, ok)
			}
		}},
		{27, "the word AIRE in the place of a comune is no comune", func(t *testing.T) {
			p := m.person()
			m.fault(anprsim.FaultComuneLiteral, p.CF, "", "")
			r := m.goesOn(m.take(m.form(p)), "comune_unknown")
			if r.Register.Applicant.Person.AIREComune.ISTAT != "" {
				t.Errorf("%+v", r.Register.Applicant.Person.AIREComune)
			}
		}},
		{28, "a residence only abroad is read as one", func(t *testing.T) {
			p := m.person()
			a := m.goesOn(m.take(m.form(p)), "").Register.Applicant.Person.Address
			if !a.Foreign || a.StateISTAT != p.Address.StateISTAT || a.ComuneISTAT != "" {
				t.Errorf("%+v", a)
			}
		}},
		{29, "AIRE follows from the residence when the flag is null; dead is dead without a date", func(t *testing.T) {
			p := m.person()
			m.fault(anprsim.FaultAIREFlagNull, p.CF, "", "")
			if r := m.goesOn(m.take(m.form(p)), ""); r.Register.Applicant.Person.AIRE != "yes" {
				t.Errorf("%+v", r.Register.Applicant.Person)
			}
			dead := m.person()
			m.fault(anprsim.FaultDeadNoDate, dead.CF, "", "")
			number := m.submit(m.desk, m.form(dead))
			m.work()
			if r := m.at(number, gateway.StateRefused); r.Outcome.Code != "register.deceased" {
				t.Errorf("%+v", r.Outcome)
			}
			m.calm()
		}},
		{30, "a paper card, nameless parents in door B, and a person without a first name do not block", func(t *testing.T) {
			p := m.person()
			for _, f := range []string{anprsim.FaultPaperCard, anprsim.FaultParentNull, anprsim.FaultNoName} {
				m.fault(f, p.CF, "", "")
			}
			r := m.goesOn(m.take(m.form(p)), "")
			if !r.Register.Applicant.Person.NoGivenName {
				t.Errorf("%+v", r.Register.Applicant.Person)
			}
		}},
		{31, "data that are two days old say how old", func(t *testing.T) {
			p := m.person()
			m.change(p.CF, func(p *sim.Person) { p.Address.Street = "STRADA NUOVA" })
			m.fault(anprsim.FaultMAELag, p.CF, "", "")
			r := m.goesOn(m.take(m.form(p)), "")
			if r.Register.Applicant.Person.Address.Street == "STRADA NUOVA" {
				t.Error("the register did not lag")
			}
			m.pass(48 * time.Hour)
			my, err := m.citizen(p).OwnRecord(m.ctx)
			if age := m.clock.Now().Sub(my.At); err != nil || age != 48*time.Hour {
				t.Errorf("%v %v", age, err)
			}
		}},
		{33, "operation ids only grow, also over a restart, so that no older answer comes back", func(t *testing.T) {
			strict := func(c *app.Config) { c.Register.StrictOrder = true }
			m.again(strict, nil)
			m.fault(anprsim.FaultStrictOpID, "", "", "")
			first := m.take(m.form(m.person()))
			m.at(first, gateway.StatePrechecked)
			m.again(strict, nil)
			p := m.person()
			r := m.at(m.take(m.form(p)), gateway.StatePrechecked)
			if r.Register.Applicant.Person.FiscalCode != p.CF {
				t.Error("another person's answer")
			}
			m.again(nil, nil)
			m.calm()
		}},
		{34, "a residence without its start is still the residence", func(t *testing.T) {
			p := m.person()
			m.fault(anprsim.FaultNoSince, p.CF, "", "")
			r := m.goesOn(m.take(m.form(p)), "")
			if a := r.Register.Applicant.Person; a.Address.Locality == "" || a.ResidenceSince != "" {
				t.Errorf("%+v", a)
			}
		}},
		{35, "a purpose or an agreement that is not active waits and says what to check", func(*testing.T) {
			for _, f := range []string{anprsim.FaultPurposeSuspended, anprsim.FaultAgreementSuspended} {
				m.pass(time.Hour) // no voucher is left from before
				m.fault(f, "", "", "")
				m.waits(m.take(m.form(m.person())), "register_agreement")
			}
		}},
		{36, "a card the register was not told of is told again, once", func(t *testing.T) {
			m.registerFault(sim.Rule{Name: anprsim.FaultCIE8Drop, Count: 1})
			p := m.person()
			number := m.relayed(m.desk, m.form(p))
			m.all = append(m.all, number)
			m.advance(number, 4)
			told := func() int {
				n := 0
				for _, c := range m.sims.ANPR.Cards() {
					if c.CF == p.CF && c.Operation == "CIE8" {
						n++
					}
				}
				return n
			}
			// The core tells again by the clock on the wall. Ours must not run meanwhile:
			// what is signed in one minute is refused in another.
			m.until("the register knows the card", time.Millisecond, func() bool {
				m.core(number, 0)
				m.news()
				return told() == 1
			})
			m.calm()
		}},
		{37, "an idANPR that has changed is resolved again before anybody is called absent", func(t *testing.T) {
			p := m.person()
			m.registerFault(sim.Rule{Name: anprsim.FaultIDChange, Match: p.CF, Op: "C030", Count: 1})
			r := m.goesOn(m.take(m.form(p)), "")
			if r.Register.Applicant.Person.IDANPR != p.IDANPR {
				t.Errorf("%s, not %s", r.Register.Applicant.Person.IDANPR, p.IDANPR)
			}
		}},
	} {
		t.Run(fmt.Sprintf("row %02d %s", mode.row, mode.sentence), func(t *testing.T) {
			defer func(outer *testing.T) { m.flow.t = outer }(m.flow.t)
			m.flow.t, m.row = t, mode.row
			mode.run(t)
			m.calm()
			m.ended()
		})
	}
	m.sound()
}

// privateCA puts the register behind a certificate of an authority of its own.
func (m *modeWorld) privateCA(t *testing.T) {
	authority, err := sim.OpenAuthority("", "register")
	m.must("authority", err)
	config, err := authority.ServerTLS("localhost", nil)
	m.must("certificate", err)
	config.ClientAuth = tls.NoClientCert
	server, err := sim.Start("127.0.0.1:0", m.sims.ANPR.Handler(), config)
	m.must("start", err)
	t.Cleanup(func() { m.must("stop", server.Close()) })
	ca := filepath.Join(m.dir, "register-ca.pem")
	m.must("write", os.WriteFile(ca, authority.CAPEM(), 0o600))
	secure := func(c *app.Config) {
		service(c, "C018", func(s *app.ServiceConfig) { s.BaseURL = server.URL + s.BaseURL[strings.Index(s.BaseURL, "/govway"):] })
	}
	m.again(secure, nil)
	number := m.take(m.form(m.person()))
	if r := m.at(number, gateway.StateSubmitted); r.Mark.Code != "register_configuration" || !strings.Contains(r.Mark.Detail, "register_tls") {
		t.Errorf("mark %+v", r.Mark)
	}
	m.again(func(c *app.Config) {
		secure(c)
		c.Register.CAFile = ca
	}, nil)
	m.recovers(number)
	m.again(nil, nil)
}

func TestRow07NoPublishedKeyHoldsAPrivateMember(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	w.config.Register.NextKeyFile = filepath.Join("keys", "next.jwk")
	raw, err := otherKey()
	w.must("second key", err)
	w.must("second key", os.WriteFile(filepath.Join(w.dir, w.config.Register.NextKeyFile), raw, 0o600))
	published, err := app.RegisterKeys(w.config)
	w.must("keys", err)
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	w.must("read", json.Unmarshal(published, &set))
	if len(set.Keys) != 2 || set.Keys[0]["kid"] == set.Keys[1]["kid"] {
		t.Fatalf("%d keys", len(set.Keys))
	}
	for _, key := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "x5c"} {
			if _, there := key[private]; there {
				t.Errorf("key %v holds %q", key["kid"], private)
			}
		}
	}
	// The client's headers on the wire hold no key at all: the mock refuses any
	// header but alg, typ and kid, and it was asked.
	w.taken(w.desk("H501"), ask(ordinary(t, 0)))
}

func TestRow32OnlyTheFiveSingleServicesAreAsked(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	for n := range 3 {
		w.taken(d, ask(ordinary(t, n)))
	}
	for _, c := range w.sims.ANPR.Calls() {
		if !slices.Contains([]string{"token", "C030", "C015", "C020", "C019", "C018"}, c.Operation) {
			t.Errorf("%s was asked", c.Operation)
		}
	}
	// As many people as were asked about answered: nothing is counted in bulk.
	if n := len(w.sims.ANPR.Calls()); n < 15 {
		t.Errorf("%d calls for three people", n)
	}
}
