package testharness

import (
	"errors"
	"slices"
	"testing"
	"time"

	"airegw/consulate"
	"airegw/gateway"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// disagreement is a request whose check at the consular door says that AIRE and
// the consular file differ: the post has the task of it.
type disagreement struct {
	*flow
	person sim.Person
	post   gateway.Desk
	number string
	id     string
}

func newDisagreement(t *testing.T) *disagreement {
	t.Helper()
	w := newFlow(t, dawn)
	w.must("close", w.app.Close())
	w.must("door C", configureConsular(w.ctx, w.sims.Connection, w.dir, &w.config))
	w.config.Consular.Checks = true
	w.assemble()
	d := &disagreement{flow: w}
	for n := 0; ; n++ {
		// Of a state that one post serves whole, so that any town is its own.
		d.person = ordinary(t, n)
		if posts, _ := consulate.PostsServing(d.person.Address.ISO2); len(posts) == 1 {
			break
		}
	}
	d.post = w.desk(d.person.Post.Code)
	d.number = w.taken(w.desk("H501"), ask(d.person))
	d.disagrees()
	w.must("recheck", w.desk("H501").Recheck(w.ctx, d.number))
	w.work()
	w.is(w.desk("H501"), d.number, gateway.StateMisaligned)
	tasks, err := d.post.CorrectionTasks(w.ctx, "")
	if err != nil || len(tasks) != 1 || tasks[0].Code != "register.consulate_disagrees" || tasks[0].Operation != gateway.AlignComune {
		t.Fatalf("%+v %v", tasks, err)
	}
	d.id = tasks[0].ID
	return d
}

func (d *disagreement) disagrees() {
	d.registerFault(sim.Rule{Name: anprsim.FaultConsularWarn, Match: d.person.CF, Probability: 1, Param: "EA046"})
}

// residence is where the person lives now.
func (d *disagreement) residence() *gateway.CorrectedResidence {
	a := d.person.Address
	return &gateway.CorrectedResidence{
		ISO2: a.ISO2, Street: " Nuova   strada ", HouseNumber: "77", Postcode: a.Postcode, Locality: a.Locality, Region: a.Province, Since: "2026-06-01",
	}
}

// after lets time pass and the workers work.
func (d *disagreement) after(t time.Duration) gateway.Correction {
	d.t.Helper()
	d.pass(t)
	d.drain("align", d.g.AlignOnce)
	d.work()
	c, err := d.post.OpenCorrection(d.ctx, d.id)
	d.must("open", err)
	return c
}

func (d *disagreement) wants(c gateway.Correction, status gateway.CorrectionStatus, answer string) {
	d.t.Helper()
	if c.Status != status || c.Answer != answer {
		d.t.Fatalf("%s %q, not %s %q: %+v", c.Status, c.Answer, status, answer, c)
	}
}

func TestACorrectedResidenceIsSentFollowedAndLetsTheWaitingRequestGoOn(t *testing.T) {
	t.Parallel()
	d := newDisagreement(t)
	d.must("ask", d.post.AskAlignment(d.ctx, d.id, d.residence()))
	c := d.after(time.Second)
	d.wants(c, gateway.CorrectionAsked, "")
	asked := d.sims.ANPR.Alignments()
	if len(asked) != 1 || !asked[0].Residence || asked[0].ID != c.Reference {
		t.Fatalf("%+v", asked)
	}
	// Worked on for hours; each look is a question of its own, and opens nothing.
	d.wants(d.after(7*time.Hour), gateway.CorrectionAsked, "")
	d.wants(d.after(7*time.Hour), gateway.CorrectionAsked, "")
	if n := len(d.sims.ANPR.Alignments()); n != 1 {
		t.Errorf("%d requests", n)
	}
	d.is(d.desk("H501"), d.number, gateway.StateMisaligned)
	d.must("close", d.sims.ANPR.CloseAlignment(c.Reference))
	d.sims.ANPR.Faults().Reset()
	d.wants(d.after(6*time.Hour), gateway.CorrectionClosed, gateway.CorrectionAgrees)
	r := d.is(d.desk("H501"), d.number, gateway.StatePrechecked)
	a := r.Register.Applicant.Person
	if a.Address.Street != "NUOVA STRADA" || a.Address.Number != "77" || a.ResidenceSince != "2026-06-01" || a.Post.Code != d.person.Post.Code {
		t.Errorf("the register says %+v since %s", a.Address, a.ResidenceSince)
	}
	d.sound()
}

func TestWhatTheRegisterDidNotTakeComesBackToTheDesk(t *testing.T) {
	t.Parallel()
	d := newDisagreement(t)
	d.must("ask", d.post.AskAlignment(d.ctx, d.id, d.residence()))
	c := d.after(time.Second)
	d.must("refuse", d.sims.ANPR.RefuseAlignment(c.Reference))
	// The register says no more than "closed": the check asked for at once shows
	// that the residence was not written.
	d.wants(d.after(6*time.Hour), gateway.CorrectionAnswered, gateway.AlignmentAligned)
	d.wants(d.after(15*time.Minute), gateway.CorrectionOpen, gateway.AlignmentNotTaken)
	d.is(d.desk("H501"), d.number, gateway.StateMisaligned)
	// Asked again, without a residence: nobody works on it, and the desk is told.
	d.must("ask", d.post.AskAlignment(d.ctx, d.id, nil))
	d.wants(d.after(time.Second), gateway.CorrectionAsked, "")
	c = d.after(31 * 24 * time.Hour)
	d.wants(c, gateway.CorrectionAsked, gateway.AlignmentOverdue)
	// Closed at last; the consular file is two days old in the register, which is
	// no reason to ask again before.
	d.must("close", d.sims.ANPR.CloseAlignment(c.Reference))
	d.wants(d.after(6*time.Hour), gateway.CorrectionAnswered, gateway.AlignmentAligned)
	d.wants(d.after(24*time.Hour), gateway.CorrectionAnswered, gateway.AlignmentAligned)
	d.wants(d.after(25*time.Hour), gateway.CorrectionAnswered, gateway.AlignmentAligned)
	d.wants(d.after(time.Hour), gateway.CorrectionOpen, gateway.AlignmentNotTaken)
	// What the office itself says is looked after in the same way.
	d.must("answer", d.post.AnswerCorrection(d.ctx, d.id, gateway.CorrectionDone, "Corretto"))
	d.sims.ANPR.Faults().Reset()
	d.wants(d.after(time.Second), gateway.CorrectionClosed, gateway.CorrectionAgrees)
	d.is(d.desk("H501"), d.number, gateway.StatePrechecked)
	d.sound()
}

func TestOnlyAResidenceThatThePostCanAskForIsSent(t *testing.T) {
	t.Parallel()
	d := newDisagreement(t)
	for field, edit := range map[string]func(*gateway.CorrectedResidence){
		"/residence/iso2 residence_in_italy":      func(c *gateway.CorrectedResidence) { c.ISO2 = "it" },
		"/residence/iso2 address_country_unknown": func(c *gateway.CorrectedResidence) { c.ISO2 = "ZZ" },
		"/residence/locality residence_of_other_post": func(c *gateway.CorrectedResidence) {
			c.ISO2, c.Locality, c.Region, c.Postcode = "AR", "Rosario", "Santa Fe", "2000"
		},
		"/residence/locality address_missing":          func(c *gateway.CorrectedResidence) { c.Locality = " " },
		"/residence/house_number address_too_long":     func(c *gateway.CorrectedResidence) { c.HouseNumber = "1234567890" },
		"/residence/street address_control_character":  func(c *gateway.CorrectedResidence) { c.Street = "Via\u202e" },
		"/residence/street address_not_latin":          func(c *gateway.CorrectedResidence) { c.Street = "улица Мира" },
		"/residence/since date_in_future":              func(c *gateway.CorrectedResidence) { c.Since = "2999-01-01" },
		"/residence/since date_impossible":             func(c *gateway.CorrectedResidence) { c.Since = "2026-02-30" },
		"/residence/street address_street_is_locality": func(c *gateway.CorrectedResidence) { c.Street = c.Locality },
	} {
		r := d.residence()
		edit(r)
		err := d.post.AskAlignment(d.ctx, d.id, r)
		var e *gateway.Error
		if !errors.As(err, &e) || !slices.ContainsFunc(e.Problems, func(p gateway.Problem) bool { return p.Field+" "+p.Code == field }) {
			t.Errorf("want %s, got %v", field, err)
		}
	}
	if n := len(d.sims.ANPR.Alignments()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestARefusalWhileItIsFollowedComesBackWithItsReason(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	w.must("close", w.app.Close())
	door := &doorC{}
	w.alignment = door
	w.assemble()
	p := ordinary(t, 5)
	w.registerFault(sim.Rule{Name: anprsim.FaultAIREMissing, Match: p.CF, Probability: 1})
	in := ask(p)
	in.Channel, in.Office, in.Delivery.Option = "post", "", "FOREIGN_RESIDENCE"
	there := w.desk(p.Post.Code)
	w.submit(there, in)
	w.work()
	tasks, err := there.CorrectionTasks(w.ctx, "")
	if err != nil || len(tasks) != 1 {
		t.Fatalf("%+v %v", tasks, err)
	}
	look := func(after time.Duration) gateway.Correction {
		t.Helper()
		w.pass(after)
		w.drain("align", w.g.AlignOnce)
		c, err := there.OpenCorrection(w.ctx, tasks[0].ID)
		w.must("open", err)
		return c
	}
	w.must("ask", there.AskAlignment(w.ctx, tasks[0].ID, nil))
	look(0)
	door.err = &gateway.AlignmentRefusal{Code: "EN133"}
	c := look(6 * time.Hour)
	if c.Status != gateway.CorrectionOpen || c.Answer != gateway.AlignmentRefused || c.Args["source"] != "EN133" {
		t.Fatalf("%+v", c)
	}
	if n := len(door.asked); n != 2 || door.asked[0].Follow != "" || door.asked[1].Follow != "C-1" {
		t.Errorf("%+v", door.asked)
	}
}
