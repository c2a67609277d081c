package testharness

import (
	"testing"
	"time"

	"airegw/gateway"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

func TestACorrectionGoesThroughTheConsularDoorOnce(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	w.must("close", w.app.Close())
	w.must("door C", configureConsular(w.ctx, w.sims.Connection, w.dir, &w.config))
	w.config.Consular.Checks = true
	w.assemble()
	p := ordinary(t, 5)
	w.registerFault(sim.Rule{Name: anprsim.FaultAIREMissing, Match: p.CF, Probability: 1})
	in := ask(p)
	in.Channel, in.Office, in.Delivery.Option = "post", "", "FOREIGN_RESIDENCE"
	there := w.desk(p.Post.Code)
	w.submit(there, in)
	w.work()
	tasks, err := there.CorrectionTasks(w.ctx, "")
	if err != nil || len(tasks) != 1 || tasks[0].Operation != gateway.AlignComune {
		t.Fatalf("%+v %v", tasks, err)
	}
	w.must("ask", there.AskAlignment(w.ctx, tasks[0].ID, nil))
	// The register takes it, and its answer is lost.
	w.must("fault", w.sims.ANPR.Faults().Inject(anprsim.FaultAnswerUnsigned, 1))
	w.drain("align", w.g.AlignOnce)
	if c, err := there.OpenCorrection(w.ctx, tasks[0].ID); err != nil || c.Status != gateway.CorrectionAsking {
		t.Fatalf("%+v %v", c, err)
	}
	w.pass(2 * time.Minute)
	w.drain("align", w.g.AlignOnce)
	c, err := there.OpenCorrection(w.ctx, tasks[0].ID)
	if err != nil || c.Status != gateway.CorrectionAsked {
		t.Fatalf("%+v %v", c, err)
	}
	asked := w.sims.ANPR.Alignments()
	if len(asked) != 1 || asked[0].ID != c.Reference || asked[0].CF != p.CF {
		t.Errorf("asked %+v, reference %s", asked, c.Reference)
	}
	// A recheck of somebody whose comune is known asks door C, and spends nothing
	// of PDND's quota.
	number := w.taken(w.desk("H501"), ask(ordinary(t, 4)))
	before := len(w.sims.ANPR.Calls())
	w.must("recheck", w.desk("H501").Recheck(w.ctx, number))
	w.work()
	calls := w.sims.ANPR.Calls()[before:]
	if len(calls) != 1 || calls[0].Operation != "cons/C001" || calls[0].Outcome != "OK" {
		t.Errorf("%+v", calls)
	}
	w.sound()
}
