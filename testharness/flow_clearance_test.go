package testharness

import (
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/testharness/sim"
)

// elsewhere answers the n-th ordinary person whose comune of AIRE enrolment is
// not the one of the code.
func elsewhere(t *testing.T, istat string, n int) sim.Person {
	t.Helper()
	for i := 0; ; i++ {
		p := ordinary(t, i)
		if p.AIRE.ComuneISTAT == istat || p.Post == nil {
			continue
		}
		if n == 0 {
			return p
		}
		n--
	}
}

const romeISTAT = "058091"

// told answers the notices of a request as office:status:last day.
func (w *flow) told(number string) []string {
	w.t.Helper()
	list, err := w.desk("H501").NoticesSent(w.ctx, number)
	w.must("notices sent", err)
	var out []string
	for _, c := range list {
		out = append(out, c.Office.Code+":"+string(c.As)+":"+c.Status(w.clock.Now())+":"+c.LastDay)
	}
	slices.Sort(out)
	return out
}

func (w *flow) isTold(number string, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	if got := w.told(number); !slices.Equal(got, want) {
		w.t.Fatalf("told %v, not %v", got, want)
	}
}

var data = gateway.ClearanceReply{Answer: gateway.ClearanceObjection, Ground: "data_differ", Text: "Da noi è nata il 2"}

func TestTheComuneOfEnrolmentAndThePostAreToldWithTheCheckAndSilenceIsAssent(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn) // a Saturday: Monday, Tuesday, Wednesday
	p := elsewhere(t, romeISTAT, 0)
	rome, there, post := w.desk("H501"), w.desk(p.AIRE.ComuneISTAT), office(t, p.Post.Code)
	number := w.submit(rome, ask(p))
	w.isTold(number) // nothing before the register has answered
	w.work()
	w.is(rome, number, gateway.StatePrechecked)
	w.isTold(number, p.AIRE.ComuneISTAT+":aire_comune:open:2026-11-25", post.Code+":post:open:2026-11-25")

	// The addressee sees the notice with whom it is about, and not the request.
	for _, desk := range []gateway.Desk{there, w.desk(p.Post.Code)} {
		list, err := desk.Notices(w.ctx, true, "")
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v %v", list, err)
		}
		n, err := desk.OpenNotice(w.ctx, list[0].ID)
		if err != nil || n.Subject.FiscalCode != p.CF || n.Subject.Surname != p.Surname || n.Request != number || n.Asked != office(t, "H501") || n.Reason == "" {
			t.Fatalf("%+v %v", n, err)
		}
		if count, err := desk.CountNotices(w.ctx); err != nil || count != 1 {
			t.Errorf("%d %v", count, err)
		}
		_, err = desk.Open(w.ctx, number)
		refusedAs(t, err, gateway.NotFound, "not_found")
		// Nobody else sees the notice: not the office of the request, not a third.
		for _, other := range []string{"H501", "F205"} {
			if office(t, other).Code == n.Office.Code {
				continue
			}
			_, err = w.desk(other).OpenNotice(w.ctx, n.ID)
			refusedAs(t, err, gateway.NotFound, "not_found")
			refusedAs(t, w.desk(other).AnswerNotice(w.ctx, n.ID, data), gateway.NotFound, "not_found")
		}
		_, err = w.citizen(p).OpenNotice(w.ctx, n.ID)
		refusedAs(t, err, gateway.Forbidden, "office_only")
	}

	// Checked again it is not told again; nobody answers, and nothing waits.
	w.must("recheck", rome.Recheck(w.ctx, number))
	w.work()
	w.enquiry(rome, number)
	w.forms(rome, number)
	w.must("sign", rome.Sign(w.ctx, number))
	w.relay()
	w.is(rome, number, gateway.StateRelayed)
	w.pass(time.Date(2026, 11, 25, 22, 59, 59, 0, time.UTC).Sub(w.clock.Now())) // the last second of Wednesday in Rome
	w.isTold(number, p.AIRE.ComuneISTAT+":aire_comune:open:2026-11-25", post.Code+":post:open:2026-11-25")
	w.pass(time.Second)
	w.isTold(number, p.AIRE.ComuneISTAT+":aire_comune:silent:2026-11-25", post.Code+":post:silent:2026-11-25")
	list, err := there.Notices(w.ctx, true, "")
	if err != nil || len(list) != 0 {
		t.Errorf("still to be answered: %+v %v", list, err)
	}
	all, err := there.Notices(w.ctx, false, "")
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v %v", all, err)
	}
	refusedAs(t, there.AnswerNotice(w.ctx, all[0].ID, data), gateway.Conflict, "clearance_over")
	w.sound()
}

func TestNobodyIsToldOfARequestAtTheOwnComuneAtAPostOrRefusedAtOnce(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	own, atThePost := elsewhere(t, romeISTAT, 0), elsewhere(t, romeISTAT, 1)
	in := ask(own)
	in.Office = own.AIRE.ComuneISTAT
	requests := map[string]string{
		w.submit(w.desk(own.AIRE.ComuneISTAT), in):                    own.AIRE.ComuneISTAT,
		w.submit(w.desk(atThePost.Post.Code), atPost(ask(atThePost))): atThePost.Post.Code,
		w.submit(w.desk("H501"), ask(by(t, "deceased"))):              "H501",
		w.submit(w.desk("H501"), ask(by(t, "not-aire"))):              "H501",
		w.submit(w.desk("H501"), ask(by(t, "duplicate"))):             "H501", // whose comune is meant is not known
	}
	w.work()
	for number, at := range requests {
		list, err := w.desk(at).NoticesSent(w.ctx, number)
		if err != nil || len(list) != 0 {
			t.Errorf("%s at %s: %+v %v", number, at, list, err)
		}
	}
	w.sound()
}

func TestAnObjectionBeforeTheRelayParksAndGoesOnWhenWithdrawn(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := elsewhere(t, romeISTAT, 0)
	rome, there := w.desk("H501"), w.desk(p.AIRE.ComuneISTAT)
	number := w.taken(rome, ask(p))
	notice := number + "." + p.AIRE.ComuneISTAT
	for reply, code := range map[gateway.ClearanceReply]string{
		{Answer: "perhaps"}: "clearance_answer_unknown", {Answer: gateway.ClearanceObjection, Ground: "shoes"}: "clearance_ground_unknown",
		{Answer: gateway.ClearanceObjection, Ground: "other"}: "clearance_text_missing", {Answer: gateway.ClearanceNone, Text: "x"}: "clearance_ground_of_objection",
		{Answer: gateway.ClearanceObjection, Ground: "other", Text: strings.Repeat("x", 501)}: "text_shape",
	} {
		err := there.AnswerNotice(w.ctx, notice, reply)
		refusedAs(t, err, gateway.Invalid, "invalid_input")
		if !strings.Contains(err.Error(), code) {
			t.Errorf("%+v: %v, not %s", reply, err, code)
		}
	}
	refusedAs(t, there.AnswerNotice(w.ctx, notice, gateway.ClearanceReply{Answer: gateway.ClearanceWithdrawn}), gateway.Conflict, "clearance_nothing_to_withdraw")
	w.must("nothing against it", there.AnswerNotice(w.ctx, notice, gateway.ClearanceReply{Answer: gateway.ClearanceNone}))
	w.is(rome, number, gateway.StatePrechecked)
	w.must("objection", there.AnswerNotice(w.ctx, notice, data))
	w.must("said twice", there.AnswerNotice(w.ctx, notice, data))
	held := w.open(rome, number)
	if held.Mark.Kind != gateway.MarkParked || held.Mark.Code != "clearance_objection" || held.Mark.Detail != office(t, p.AIRE.ComuneISTAT).Name()+": data_differ" {
		t.Fatalf("mark %+v", held.Mark)
	}
	if len(held.Objections) != 1 || held.Objections[0].Ground != "data_differ" {
		t.Fatalf("%+v", held.Objections)
	}

	// The citizen learns that there is a question, and not which.
	mine := w.open(w.citizen(p), number)
	if mine.Mark.Kind != gateway.MarkParked || mine.Mark.Detail != "" {
		t.Errorf("the citizen sees %+v", mine.Mark)
	}
	given, err := w.citizen(p).OwnData(w.ctx)
	w.must("own data", err)
	raised := false
	for _, e := range given.Requests[0].Events {
		if e.Type == gateway.EventObjected {
			raised = e.Data == nil && e.Private == nil && e.Office == "comune:"+p.AIRE.ComuneISTAT
		}
	}
	if !raised {
		t.Errorf("the export: %+v", given.Requests[0].Events)
	}
	_, err = w.citizen(p).NoticesSent(w.ctx, number)
	refusedAs(t, err, gateway.Forbidden, "office_only")

	// Counter work goes on, the order does not; a new check does not lift it, nor
	// does the plain un-parking.
	w.enquiry(rome, number)
	refusedAs(t, rome.PrepareForms(w.ctx, number), gateway.Conflict, "clearance_objection")
	w.must("recheck", rome.Recheck(w.ctx, number))
	w.work()
	if r := w.open(rome, number); r.Mark.Code != "clearance_objection" {
		t.Fatalf("mark %+v", r.Mark)
	}
	refusedAs(t, w.deskOf("H501", gateway.RoleReferent).Unpark(w.ctx, number), gateway.Conflict, "clearance_objection")

	w.pass(10 * 24 * time.Hour) // withdrawn at any time
	w.must("withdraw", there.AnswerNotice(w.ctx, notice, gateway.ClearanceReply{Answer: gateway.ClearanceWithdrawn}))
	if r := w.open(rome, number); r.Mark.Kind != "" || r.Objected() != nil {
		t.Fatalf("%+v %+v", r.Mark, r.Objections)
	}
	w.work()
	w.forms(rome, number)
	w.must("sign", rome.Sign(w.ctx, number))
	w.relay()
	w.is(rome, number, gateway.StateRelayed)
	w.sound()
}

func TestASignedOrderWaitsForAnObjectionAndGoesOnWhenItIsOverruled(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := elsewhere(t, romeISTAT, 0)
	rome, chief, there := w.desk("H501"), w.deskOf("H501", gateway.RoleReferent), w.desk(p.AIRE.ComuneISTAT)
	number := w.signed(rome, ask(p))
	notice := number + "." + p.AIRE.ComuneISTAT
	refusedAs(t, chief.Overrule(w.ctx, number, "perché sì"), gateway.Conflict, "no_objection")
	w.must("objection", there.AnswerNotice(w.ctx, notice, data))
	w.must("the post's", w.desk(p.Post.Code).AnswerNotice(w.ctx, number+"."+office(t, p.Post.Code).Code, gateway.ClearanceReply{Answer: gateway.ClearanceObjection, Ground: "bar_to_issue"}))
	w.relay()
	r := w.is(rome, number, gateway.StateSigned)
	if r.Mark.Code != "clearance_objection" {
		t.Fatalf("mark %+v", r.Mark)
	}
	if accepted, _ := w.acceptances(number + ".1"); accepted != 0 {
		t.Fatal("relayed against an objection")
	}
	// One of the two withdrawn: the other still holds it.
	w.must("withdraw", there.AnswerNotice(w.ctx, notice, gateway.ClearanceReply{Answer: gateway.ClearanceWithdrawn}))
	w.relay()
	if r := w.is(rome, number, gateway.StateSigned); r.Mark.Detail != office(t, p.Post.Code).Name()+": bar_to_issue" {
		t.Fatalf("mark %+v", r.Mark)
	}

	refusedAs(t, rome.Overrule(w.ctx, number, "Verificato"), gateway.Forbidden, "referent_only")
	refusedAs(t, chief.Overrule(w.ctx, number, " "), gateway.Invalid, "invalid_input")
	refusedAs(t, w.deskOf("F205", gateway.RoleReferent).Overrule(w.ctx, number, "x"), gateway.NotFound, "not_found")
	w.must("overrule", chief.Overrule(w.ctx, number, "Nessun divieto risulta dopo verifica con la questura"))
	w.relay()
	w.is(rome, number, gateway.StateRelayed)
	if accepted, live := w.acceptances(number + ".1"); accepted != 1 || live != 1 {
		t.Errorf("accepted %d times, %d live", accepted, live)
	}
	w.isTold(number, p.AIRE.ComuneISTAT+":aire_comune:withdrawn:2026-11-25", office(t, p.Post.Code).Code+":post:overruled:2026-11-25")
	refusedAs(t, w.desk(p.Post.Code).AnswerNotice(w.ctx, number+"."+office(t, p.Post.Code).Code, data), gateway.Conflict, "clearance_overruled")
	w.sound()
}

func TestAnObjectionAfterTheRelayIsAWarningAndTheEndClosesTheNotices(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := elsewhere(t, romeISTAT, 0)
	rome, there := w.desk("H501"), w.desk(p.AIRE.ComuneISTAT)
	number := w.relayed(rome, ask(p))
	notice := number + "." + p.AIRE.ComuneISTAT
	w.must("objection", there.AnswerNotice(w.ctx, notice, data))
	r := w.is(rome, number, gateway.StateRelayed)
	if r.Mark.Kind != "" || r.Objected() != nil || len(r.Objections) != 1 {
		t.Fatalf("%+v %+v", r.Mark, r.Objections)
	}
	w.advance(number, 4)
	refusedAs(t, w.deskOf("H501", gateway.RoleReferent).Overrule(w.ctx, number, "x"), gateway.Conflict, "no_objection")
	list, err := rome.NoticesSent(w.ctx, number)
	if err != nil || len(list) != 2 || list[0].Subject.Text+list[1].Subject.Text != data.Text {
		t.Fatalf("%+v %v", list, err)
	}

	ended := w.taken(rome, ask(elsewhere(t, romeISTAT, 1)))
	w.must("cancel", rome.Cancel(w.ctx, ended, "", ""))
	closed, err := rome.NoticesSent(w.ctx, ended)
	if err != nil || len(closed) != 2 || closed[0].Status(w.clock.Now()) != gateway.ClearanceClosed {
		t.Fatalf("%+v %v", closed, err)
	}
	refusedAs(t, w.g.Desk(gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorOperator, ID: "op", Office: closed[0].Office})).AnswerNotice(w.ctx, closed[0].ID, data), gateway.Conflict, "clearance_closed")
	w.sound()
}

func TestAnObjectionOutlivesARestartAndACoreThatGaveNoClearAnswer(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := elsewhere(t, romeISTAT, 0)
	rome, there := w.desk("H501"), w.desk(p.AIRE.ComuneISTAT)
	number := w.signed(rome, ask(p))
	w.coreFault(sim.Rule{Name: sim.FaultDropAnswer, Op: "submission", Match: number + ".1", Count: 1, Probability: 1})
	w.relay() // accepted, and nobody heard it
	w.must("objection", there.AnswerNotice(w.ctx, number+"."+p.AIRE.ComuneISTAT, data))
	w.must("close", w.app.Close())
	w.assemble()
	rome = w.desk("H501")
	if r := w.open(rome, number); r.State == gateway.StateSigned && r.Mark.Code != "clearance_objection" {
		t.Fatalf("mark %+v", r.Mark)
	}
	// The core is asked before anything is held back: its receipt is the truth.
	w.pass(time.Hour)
	w.relay()
	r := w.is(rome, number, gateway.StateRelayed)
	if r.Mark.Kind != "" {
		t.Errorf("mark %+v", r.Mark)
	}
	w.sound()
}

func TestAnotherComuneOfEnrolmentAtALaterCheckIsToldToo(t *testing.T) {
	t.Parallel()
	// Friday before a Monday that is 4 October, a holiday again since 2026.
	w := newFlow(t, time.Date(2027, 10, 1, 9, 0, 0, 0, time.UTC))
	p := elsewhere(t, romeISTAT, 0)
	rome, post := w.desk("H501"), office(t, p.Post.Code)
	number := w.taken(rome, ask(p))
	first := p.AIRE.ComuneISTAT + ":aire_comune:open:2027-10-07"
	w.isTold(number, first, post.Code+":post:open:2027-10-07")

	// A day that begins in Rome before it does in Greenwich.
	w.pass(time.Date(2027, 10, 1, 22, 30, 0, 0, time.UTC).Sub(w.clock.Now()))
	w.change(p.CF, func(p *sim.Person) {
		moved := *p.AIRE
		moved.ComuneISTAT, moved.ComuneName = "063049", "NAPOLI"
		p.AIRE = &moved
	})
	w.must("recheck", rome.Recheck(w.ctx, number))
	w.work()
	w.isTold(number, first, post.Code+":post:open:2027-10-07", "063049:aire_comune:open:2027-10-07")
	notice, err := w.desk("F839").OpenNotice(w.ctx, number+".063049")
	if err != nil || !notice.Until.Equal(time.Date(2027, 10, 7, 22, 0, 0, 0, time.UTC)) {
		t.Fatalf("%+v %v", notice, err)
	}

	// Told just before and just after midnight in Rome: a day apart.
	w.pass(time.Date(2027, 11, 8, 22, 59, 0, 0, time.UTC).Sub(w.clock.Now()))
	before := w.taken(rome, ask(elsewhere(t, romeISTAT, 1)))
	w.pass(2 * time.Minute)
	after := w.taken(rome, ask(elsewhere(t, romeISTAT, 2)))
	for number, day := range map[string]string{before: "2027-11-11", after: "2027-11-12"} {
		for _, told := range w.told(number) {
			if !strings.HasSuffix(told, day) {
				t.Errorf("%s, not %s", told, day)
			}
		}
	}
	w.sound()
}
