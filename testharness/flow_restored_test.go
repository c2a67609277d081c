package testharness

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/testharness/coresim"
	"airegw/testharness/sim"
)

// backup keeps a copy of the database as it is now; restore, called later, loses
// what came after it and starts the gateway again on the copy.
func (w *flow) backup() (restore func()) {
	w.t.Helper()
	copied := filepath.Join(w.t.TempDir(), "backup.db")
	_, err := w.app.Store.Backup(w.ctx, copied)
	w.must("backup", err)
	return func() {
		w.t.Helper()
		w.must("stop", w.app.Close())
		path := filepath.Join(w.dir, w.config.Database.Path)
		for _, part := range []string{"", "-wal", "-shm"} {
			err := os.Remove(path + part)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				w.t.Fatal(err)
			}
		}
		_, _, err := store.Restore(w.ctx, store.RestoreOptions{
			From: copied, To: path, Keys: filepath.Join(w.dir, w.config.Database.Keys), Environment: store.Simulation,
		})
		w.must("restore", err)
		w.assemble()
	}
}

// capturedAnew does the counter's work of a restored request again, otherwise
// than before.
func (w *flow) capturedAnew(d gateway.Desk, number string) {
	w.t.Helper()
	c := capture()
	c.Photo = "photo:another"
	w.must("capture", d.RecordCapture(w.ctx, number, c))
	w.must("fee", d.RecordFee(w.ctx, number, gateway.Fee{Cents: w.open(d, number).Decision.Decision.FeeCents, Means: "card"}))
}

func TestARequestCapturedAnewAfterARestoreGoesOnWithTheOrderThatTheCoreAccepted(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.taken(d, ask(ordinary(t, 0)))
	w.must("presence", d.RecordPresence(w.ctx, number))
	w.must("documents", d.RecordDocuments(w.ctx, number, gateway.Documents{Identity: "passport"}))
	w.must("declaration", d.RecordDeclaration(w.ctx, number, gateway.Declaration{NoObstacles: true}))
	w.must("enquiry", d.OpenEnquiry(w.ctx, number))
	restore := w.backup()
	w.acquire(d, number)
	w.forms(d, number)
	w.must("sign", d.Sign(w.ctx, number))
	w.relay()
	w.core(number, 2) // certified, in production: too late to cancel
	before := w.open(d, number)

	restore()
	d = w.desk("H501")
	w.news()
	w.is(d, number, gateway.StateInEnquiry) // what the core tells is set aside: no order of ours
	w.capturedAnew(d, number)
	refusedAs(t, d.VoidOrder(w.ctx, number, ""), gateway.Conflict, "state_moved")
	// The core does not answer the question: nothing changes, and nothing is lost.
	w.coreFault(sim.Rule{Name: sim.FaultDropRequest, Op: "look_up", Match: number + ".1", Probability: 1})
	refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Unavailable, "core_unavailable")
	w.coreFault(sim.Rule{Name: sim.FaultDropRequest, Op: "look_up", Match: number + ".1"})
	w.is(d, number, gateway.StateInEnquiry)

	err := d.PrepareForms(w.ctx, number)
	refusedAs(t, err, gateway.Conflict, "order_adopted")
	var e *gateway.Error
	if !errors.As(err, &e) || e.Args["nun"] != before.Order().NUN {
		t.Errorf("%v", err)
	}
	w.news()
	r := w.is(d, number, gateway.StateInProduction)
	o := r.Order()
	if len(r.Orders) != 1 || o.NUN != before.Order().NUN || o.Receipt != before.Order().Receipt || o.Digest != before.Order().Digest || r.Delivery.Option != before.Delivery.Option || r.Mark.Kind != "" {
		t.Errorf("%+v\nbefore the database was lost: %+v", o, before.Order())
	}
	refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Conflict, "state_moved")
	w.relay()
	w.once(number + ".1")
	w.sound()
}

func TestAnOrderThatNobodySignedBeforeARestoreIsCancelledAndANewOneOpens(t *testing.T) {
	t.Parallel()
	for name, far := range map[string]func(w *flow, d gateway.Desk, number string){
		"prepared": func(w *flow, d gateway.Desk, number string) { w.must("prepare", d.PrepareForms(w.ctx, number)) },
		"signed, never sent": func(w *flow, d gateway.Desk, number string) {
			w.forms(d, number)
			w.must("sign", d.Sign(w.ctx, number))
		},
		"rejected": func(w *flow, d gateway.Desk, number string) {
			w.must("plan", w.sims.Core.SetPlan(coresim.Plan{RequestID: number, Steps: []coresim.PlanStep{{Type: "cnsd_rejected", Reason: "data_mismatch"}}, Uses: 1}))
			w.forms(d, number)
			w.must("sign", d.Sign(w.ctx, number))
			w.relay()
			w.advance(number, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFlow(t, dawn)
			d := w.desk("H501")
			number := w.taken(d, ask(ordinary(t, 0)))
			w.enquiry(d, number)
			restore := w.backup()
			far(w, d, number)
			restore()
			d = w.desk("H501")
			w.news()
			w.capturedAnew(d, number)
			refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Conflict, "core_has_other_order")
			refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Conflict, "change_under_way")
			w.relay()
			refusedAs(t, d.PrepareForms(w.ctx, number), gateway.Conflict, "capture_missing") // a new order, a new capture
			w.acquire(d, number)
			w.forms(d, number)
			w.must("sign", d.Sign(w.ctx, number))
			w.relay()
			r := w.is(d, number, gateway.StateRelayed)
			if len(r.Orders) != 2 || !r.Orders[0].Dead {
				t.Errorf("%+v", r.Orders)
			}
			w.once(number + ".2")
			w.sound()
		})
	}
}
