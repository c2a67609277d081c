package testharness

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// codesOf answers which corrections there are, as code:who:office:status.
func codesOf(list []gateway.Correction) []string {
	var out []string
	for _, c := range list {
		out = append(out, strings.TrimPrefix(c.Code, "register.")+":"+c.Who+":"+c.Office.Code+":"+string(c.Status))
	}
	slices.Sort(out)
	return out
}

func TestAFindingOpensACorrectionForTheRightOfficeAndClosesWhenTheRegisterAgrees(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := ordinary(t, 0)
	d, rome := w.citizen(p), w.desk("H501")
	in := ask(p)
	in.Office = "H501"
	w.registerFault(sim.Rule{Name: anprsim.FaultCFUnvalidated, Match: p.CF, Probability: 1})
	number := w.submit(d, in)
	w.work()
	w.is(d, number, gateway.StateMisaligned)

	// The citizen sees what is wrong and who acts.
	mine, err := d.Corrections(w.ctx, number)
	w.must("corrections", err)
	post := office(t, p.Post.Code)
	want := []string{"cf_not_validated:consulate:" + post.Code + ":open"}
	if got := codesOf(mine); !slices.Equal(got, want) {
		t.Fatalf("the citizen sees %v, not %v", got, want)
	}
	// The post finds it on its desk, with whose record it is; the comune of the
	// request does not have it to do, and cannot open it.
	there := w.desk(p.Post.Code)
	tasks, err := there.CorrectionTasks(w.ctx, "")
	if err != nil || len(tasks) != 1 || tasks[0].Operation != gateway.AlignTaxCode || tasks[0].Subject.FiscalCode != p.CF {
		t.Fatalf("%+v %v", tasks, err)
	}
	none, err := rome.CorrectionTasks(w.ctx, "")
	if err != nil || len(none) != 0 {
		t.Fatalf("%+v %v", none, err)
	}
	_, err = rome.OpenCorrection(w.ctx, tasks[0].ID)
	refusedAs(t, err, gateway.NotFound, "not_found")
	// The post sees the task, not the request.
	_, err = there.Open(w.ctx, number)
	refusedAs(t, err, gateway.NotFound, "not_found")

	// Mended in the register and said so: the check is repeated at once, as the
	// operator who asked for it, and the task is closed by the register's answer.
	w.sims.ANPR.Faults().Reset()
	w.must("answer", there.AnswerCorrection(w.ctx, tasks[0].ID, gateway.CorrectionDone, "Attribuito oggi"))
	w.work()
	w.is(d, number, gateway.StatePrechecked)
	mine, err = d.Corrections(w.ctx, number)
	w.must("corrections", err)
	if len(mine) != 1 || mine[0].Status != gateway.CorrectionClosed || mine[0].Answer != gateway.CorrectionAgrees {
		t.Fatalf("%+v", mine)
	}
	w.sound()
}

func TestACorrectionOutlivesARestartAndEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := ordinary(t, 1)
	d := w.desk("H501")
	w.registerFault(sim.Rule{Name: anprsim.FaultDoubleReg, Match: p.CF, Probability: 1})
	number := w.submit(d, ask(p))
	w.work()
	w.must("close", w.app.Close())
	w.assemble()
	d = w.desk("H501")
	list, err := d.Corrections(w.ctx, number)
	if err != nil || len(list) != 1 || list[0].Code != "register.double_registration" {
		t.Fatalf("%+v %v", list, err)
	}
	w.must("cancel", d.Cancel(w.ctx, number, "", ""))
	list, err = d.Corrections(w.ctx, number)
	if err != nil || list[0].Status != gateway.CorrectionClosed || list[0].Answer != gateway.CorrectionEnded {
		t.Fatalf("%+v %v", list, err)
	}
	w.sound()
}

func TestACitizenReportsWhatIsWrongAndItIsClosedWhenTheRecordChanges(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := ordinary(t, 2)
	d := w.citizen(p)
	in := ask(p)
	in.Office = "H501"
	number := w.submit(d, in)
	_, err := d.ReportWrong(w.ctx, number, "address", "Via sbagliata")
	refusedAs(t, err, gateway.Conflict, "register_not_asked_yet")
	w.work()
	_, err = d.ReportWrong(w.ctx, number, "shoe_size", "x")
	refusedAs(t, err, gateway.Invalid, "invalid_input")
	_, err = d.ReportWrong(w.ctx, number, "address", "  ")
	refusedAs(t, err, gateway.Invalid, "invalid_input")
	_, err = w.citizen(ordinary(t, 3)).ReportWrong(w.ctx, number, "address", "x")
	refusedAs(t, err, gateway.NotFound, "not_found")
	id, err := d.ReportWrong(w.ctx, number, "address", "Ho cambiato casa a marzo\r\nin centro")
	w.must("report", err)
	again, err := d.ReportWrong(w.ctx, number, "address", "ancora")
	if err != nil || again != id {
		t.Fatalf("%q %v", again, err)
	}
	there := w.desk(p.Post.Code)
	c, err := there.OpenCorrection(w.ctx, id)
	if err != nil || c.Subject.Said != "Ho cambiato casa a marzo\nin centro" || c.Code != "reported.address" {
		t.Fatalf("%+v %v", c, err)
	}
	// A check that finds the same address leaves it; one that finds another closes it.
	w.must("recheck", w.desk("H501").Recheck(w.ctx, number))
	w.work()
	if c, _ = there.OpenCorrection(w.ctx, id); c.Status != gateway.CorrectionOpen {
		t.Fatalf("%+v", c)
	}
	w.change(p.CF, func(p *sim.Person) { p.Address.Street, p.Address.Number = "RUE NEUVE", "7" })
	w.must("recheck", w.desk("H501").Recheck(w.ctx, number))
	w.work()
	if c, _ = there.OpenCorrection(w.ctx, id); c.Status != gateway.CorrectionClosed || c.Answer != gateway.CorrectionAgrees {
		t.Fatalf("%+v", c)
	}

	// "My data" is the last record with its age, and asks nobody.
	calls := len(w.sims.ANPR.Calls())
	w.pass(90 * time.Minute)
	my, err := d.OwnRecord(w.ctx)
	if err != nil || my.Record.Person.Address.Street != "RUE NEUVE" || w.clock.Now().Sub(my.At) != 90*time.Minute || my.Request != number {
		t.Fatalf("%+v %v", my, err)
	}
	if n := len(w.sims.ANPR.Calls()); n != calls {
		t.Errorf("showing the data made %d calls", n-calls)
	}
	_, err = w.citizen(ordinary(t, 3)).OwnRecord(w.ctx)
	refusedAs(t, err, gateway.NotFound, "no_record")
	_, err = there.OwnRecord(w.ctx)
	refusedAs(t, err, gateway.Forbidden, "citizen_only")
}

// doorC is a consular door that answers as told.
type doorC struct {
	asked []gateway.AlignmentRequest
	err   error
}

func (a *doorC) Align(_ context.Context, r gateway.AlignmentRequest) (gateway.AlignmentAnswer, error) {
	a.asked = append(a.asked, r)
	return gateway.AlignmentAnswer{Reference: "C-1"}, a.err
}

func TestAPostAsksTheConsularDoorAndARefusalComesBackToItsDesk(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	w.must("close", w.app.Close())
	door := &doorC{err: &gateway.AlignmentRefusal{Code: "EC034"}}
	w.alignment = door
	w.assemble()
	p := ordinary(t, 4)
	w.registerFault(sim.Rule{Name: anprsim.FaultAIREMissing, Match: ordinary(t, 5).CF, Probability: 1})
	missing := ask(ordinary(t, 5))
	missing.Channel, missing.Office, missing.Delivery.Option = "post", "", "FOREIGN_RESIDENCE"
	there := w.desk(ordinary(t, 5).Post.Code)
	number := w.submit(there, missing)
	// Where the person is registered is known from the answer before.
	atComune := w.taken(w.desk("H501"), ask(p))
	w.registerFault(sim.Rule{Name: anprsim.FaultDoubleReg, Match: p.CF, Probability: 1})
	w.must("recheck", w.desk("H501").Recheck(w.ctx, atComune))
	w.work()
	tasks, err := there.CorrectionTasks(w.ctx, "")
	if err != nil || len(tasks) != 1 || tasks[0].Request != number {
		t.Fatalf("%+v %v", tasks, err)
	}
	id := tasks[0].ID
	// The comune of AIRE registration mends by its own means, not by door C.
	list, err := w.desk("H501").Corrections(w.ctx, atComune)
	if err != nil || len(list) != 1 || list[0].Office != office(t, p.AIRE.ComuneISTAT) || list[0].Operation != "" {
		t.Fatalf("%+v %v", list, err)
	}
	refusedAs(t, w.desk(p.AIRE.ComuneISTAT).AskAlignment(w.ctx, list[0].ID, nil), gateway.Conflict, "alignment_not_here")
	refusedAs(t, w.desk("H501").AskAlignment(w.ctx, id, nil), gateway.NotFound, "not_found")

	align := func() gateway.Correction {
		t.Helper()
		w.drain("align", w.g.AlignOnce)
		c, err := there.OpenCorrection(w.ctx, id)
		w.must("open", err)
		return c
	}
	w.must("ask", there.AskAlignment(w.ctx, id, nil))
	refusedAs(t, there.AskAlignment(w.ctx, id, nil), gateway.Conflict, "alignment_under_way")
	if c := align(); c.Status != gateway.CorrectionOpen || c.Answer != "refused" || c.Args["source"] != "EC034" {
		t.Fatalf("%+v", c)
	}
	// An outage waits and is tried again with the same key; then it is taken.
	door.err = context.DeadlineExceeded
	w.pass(time.Second)
	w.must("ask", there.AskAlignment(w.ctx, id, nil))
	if c := align(); c.Status != gateway.CorrectionAsking {
		t.Fatalf("%+v", c)
	}
	door.err = nil
	w.pass(time.Minute)
	if c := align(); c.Status != gateway.CorrectionAsked || c.Reference != "C-1" {
		t.Fatalf("%+v", c)
	}
	a := door.asked
	if len(a) != 3 || a[1].Key != a[2].Key || a[0].Key == a[1].Key || a[2].Operation != gateway.AlignComune || a[2].Reason != number ||
		a[2].Post.Key != office(t, ordinary(t, 5).Post.Code).Code || a[2].Actor.Station != station || a[2].FiscalCode != ordinary(t, 5).CF {
		t.Fatalf("%+v", a)
	}
	w.sound()
}
