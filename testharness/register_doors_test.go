package testharness

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"airegw/gateway"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// doors is a world in which the post of one person checks at the consular door.
type doors struct {
	*flow
	person sim.Person
	post   gateway.Desk
}

func newDoors(t *testing.T) *doors {
	t.Helper()
	w := newFlow(t, dawn)
	w.must("close", w.app.Close())
	w.must("door C", configureConsular(w.ctx, w.sims.Connection, w.dir, &w.config))
	d := &doors{flow: w, person: ordinary(t, 0)}
	w.config.Consular.Posts = []string{d.person.Post.Code}
	w.assemble()
	d.post = w.desk(d.person.Post.Code)
	return d
}

// form is a form at the post.
func (d *doors) form(p sim.Person, comune string) gateway.Input {
	in := ask(p)
	in.Channel, in.Office, in.Delivery.Option, in.AIREComune = "post", "", "FOREIGN_RESIDENCE", comune
	in.Key = fmt.Sprintf("door-form-%d", len(d.sims.ANPR.Calls()))
	in.Applicant.Surname, in.Applicant.GivenName = p.Surname, p.Name
	return in
}

// checked submits, lets the workers work and answers which services were asked.
func (d *doors) checked(desk gateway.Desk, in gateway.Input, want gateway.State) (*gateway.Request, string) {
	d.t.Helper()
	before := len(d.sims.ANPR.Calls())
	number := d.submit(desk, in)
	d.work()
	var services []string
	for _, c := range d.sims.ANPR.Calls()[before:] {
		if c.Operation != "token" {
			services = append(services, c.Operation)
		}
	}
	r := d.is(desk, number, want)
	if want == gateway.StatePrechecked || want == gateway.StateMisaligned {
		d.must("cancel", desk.Cancel(d.ctx, number, "", ""))
	}
	return r, strings.Join(services, " ")
}

const doorA = "C030 C015 C020 C019 C018"

func TestAPostOfTheConsularDoorAsksThereFirst(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	p := d.person
	// The consular file knows the comune: one question, and nothing of PDND's quota.
	r, asked := d.checked(d.post, d.form(p, p.AIRE.ComuneISTAT), gateway.StatePrechecked)
	if asked != "cons/C001" || r.Register.Applicant.Person.Address.Street != p.Address.Street || r.Register.Applicant.Person.AIREComune.ISTAT != p.AIRE.ComuneISTAT {
		t.Errorf("asked %s: %+v", asked, r.Register.Applicant.Person)
	}
	// Nobody knows it: is this person in AIRE, where, and what does the consular
	// file say?
	if _, asked = d.checked(d.post, d.form(p, ""), gateway.StatePrechecked); asked != "cons/C010 "+doorA+" cons/C001" {
		t.Errorf("asked %s", asked)
	}
	// A wrong one refuses nobody: door A tells the right one.
	if _, asked = d.checked(d.post, d.form(p, "H501"), gateway.StatePrechecked); asked != "cons/C001 "+doorA+" cons/C001" {
		t.Errorf("asked %s", asked)
	}
	_, err := d.post.Submit(d.ctx, d.form(p, "Z999"))
	refusedAs(t, err, gateway.Invalid, "invalid_input")
	// A comune's request, and one of another post, ask PDND alone.
	in := ask(p)
	in.Key = "at-the-comune"
	if _, asked = d.checked(d.desk("H501"), in, gateway.StatePrechecked); asked != doorA {
		t.Errorf("a comune asked %s", asked)
	}
	var other sim.Person
	for n := 1; ; n++ {
		if other = ordinary(t, n); other.Post.Code != p.Post.Code {
			break
		}
	}
	if _, asked = d.checked(d.desk(other.Post.Code), d.form(other, ""), gateway.StatePrechecked); asked != doorA {
		t.Errorf("another post asked %s", asked)
	}
	d.sound()
}

func TestWhatTheConsularDoorAloneTellsIsSeenAtTheFirstCheck(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	d.registerFault(sim.Rule{Name: anprsim.FaultConsularWarn, Match: d.person.CF, Probability: 1, Param: "EA044"})
	for _, comune := range []string{"", d.person.AIRE.ComuneISTAT} {
		r, asked := d.checked(d.post, d.form(d.person, comune), gateway.StateMisaligned)
		if !slices.ContainsFunc(r.Register.Findings, func(f gateway.Finding) bool { return f.Code == "register.consulate_disagrees" }) {
			t.Errorf("asked %s, found %+v", asked, r.Register.Findings)
		}
	}
	// How the quota stands is still told.
	state, err := d.g.RegisterState(d.ctx)
	if err != nil || len(state.Usage) == 0 {
		t.Errorf("%+v %v", state, err)
	}
}

func TestAConsularDoorOutOfOrderDoesNotHoldUpTheFirstCheck(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	d.registerFault(sim.Rule{Name: anprsim.FaultCIEOutage, Probability: 1})
	for _, comune := range []string{"", d.person.AIRE.ComuneISTAT} {
		r, asked := d.checked(d.post, d.form(d.person, comune), gateway.StatePrechecked)
		if !strings.Contains(asked, doorA) || !r.Register.Applicant.Found {
			t.Errorf("asked %s", asked)
		}
	}
	// Who is not in AIRE is refused by what the record says, whoever was asked first.
	d.sims.ANPR.Faults().Reset()
	var resident sim.Person
	for _, p := range sim.People() {
		if p.Status == sim.StatusResident && len(p.Parents) == 0 && slices.ContainsFunc(p.Citizenships, func(c sim.Citizenship) bool { return c.StateISTAT == "100" }) {
			resident = p
			break
		}
	}
	r, asked := d.checked(d.post, d.form(resident, "H501"), gateway.StateRefused)
	if r.Outcome.Code != "register.not_aire" || !strings.HasSuffix(asked, doorA) {
		t.Errorf("asked %s: %+v", asked, r.Outcome)
	}
}
