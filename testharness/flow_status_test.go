package testharness

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/testharness/coresim"
	"airegw/testharness/sim"
)

// sink takes the core's pushes and keeps them, so that a test can hand them in
// as and when it likes.
type sink struct {
	w      *flow
	pushes chan string
}

func newSink(w *flow) *sink {
	w.t.Helper()
	s := &sink{w: w, pushes: make(chan string, 1000)}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		s.pushes <- string(body)
		rw.WriteHeader(http.StatusNoContent)
	}))
	cert, key, err := w.sims.Core.IssueClient("sink")
	w.must("certificate of the sink", err)
	pair, err := tls.X509KeyPair(cert, key)
	w.must("certificate of the sink", err)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	w.t.Cleanup(server.Close)
	w.takePushes(server.URL)
	return s
}

// take waits for n pushes and answers them in order of arrival, which inside an
// order is the order of events.
func (s *sink) take(n int) []string {
	s.w.t.Helper()
	var got []string
	late := time.After(time.Minute)
	for range n {
		select {
		case push := <-s.pushes:
			got = append(got, push)
		case <-late:
			s.w.t.Fatalf("%d of %d pushes came", len(got), n)
		}
	}
	return got
}

// permutations answers every order of n things.
func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, p := range permutations(n - 1) {
		for at := range n {
			one := append(append(append([]int(nil), p[:at]...), n-1), p[at:]...)
			all = append(all, one)
		}
	}
	return all
}

func TestEveryOrderOfArrivalEndsInTheSameState(t *testing.T) {
	t.Parallel()
	all := permutations(5)
	if len(all) != 120 {
		t.Fatalf("%d permutations", len(all))
	}
	const worlds = 5
	for n := range worlds {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			arrivals(t, all[n*len(all)/worlds:(n+1)*len(all)/worlds])
		})
	}
}

// arrivals lets five events of an order arrive in each of these orders: a parcel
// that goes to and fro has five more for each.
func arrivals(t *testing.T, orders [][]int) {
	w := newFlow(t, dawn)
	pushes := newSink(w)
	d := w.desk("H501")
	const most = 12 // an order's history is read anew for each event
	for n, order := range orders {
		number := ""
		if n%most == 0 {
			steps := []coresim.PlanStep{{Type: "cnsd_certified"}, {Type: "in_production"}, {Type: "shipped"}}
			for range most * 5 {
				steps = append(steps, coresim.PlanStep{Type: []string{"held_at_post", "out_for_delivery"}[len(steps)%2]})
			}
			number = w.relayed(d, ask(ordinary(t, n/most)))
			w.must("plan", w.sims.Core.SetPlan(coresim.Plan{RequestID: number, Steps: steps}))
			w.advance(number, 3)
			pushes.take(3)
		} else {
			rows, err := d.List(w.ctx, gateway.Criteria{FiscalCode: ordinary(t, n/most).CF})
			if err != nil || len(rows) != 1 {
				t.Fatalf("%+v %v", rows, err)
			}
			number = rows[0].ID
		}
		w.core(number, 5)
		five := pushes.take(5)
		for at, i := range order {
			w.must("push", w.g.TakeCoreEvent(w.ctx, []byte(five[i])))
			if at == n%5 {
				w.must("the same push", w.g.TakeCoreEvent(w.ctx, []byte(five[order[n%(at+1)]])))
			}
			w.drain("apply", w.g.ApplyOnce)
		}
		held, _ := w.sims.Core.Order(number + ".1")
		want := map[string]gateway.State{"held_at_post": gateway.StateOnHoldPost, "out_for_delivery": gateway.StateOutForDelivery}[held.State]
		r := w.open(d, number)
		if r.State != want || int64(r.Order().CoreSeq) != held.LastSeq || r.Mark != (gateway.Mark{}) {
			t.Fatalf("in order %v: %s at %d (mark %+v), the core is at %s %d", order, r.State, r.Order().CoreSeq, r.Mark, held.State, held.LastSeq)
		}
	}
	w.sound()
}

func TestAGapWaitsAndTheFeedFillsIt(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	pushes := newSink(w)
	d := w.desk("H501")
	number := w.relayed(d, ask(ordinary(t, 0)))
	w.core(number, 4)
	four := pushes.take(4)
	for _, i := range []int{3, 0, 2} {
		w.must("push", w.g.TakeCoreEvent(w.ctx, []byte(four[i])))
		w.drain("apply", w.g.ApplyOnce)
	}
	r := w.is(d, number, gateway.StateCertified)
	if r.Mark != (gateway.Mark{}) {
		t.Errorf("a gap is no reason for %+v", r.Mark)
	}
	w.news()
	r = w.is(d, number, gateway.StateAtComune)
	if r.Order().CoreSeq != 4 || r.Order().Tracking == "" || r.Order().Carrier == "" {
		t.Errorf("%+v", r.Order())
	}
	// What was seen is not news, however it comes.
	version := r.Version
	w.must("push", w.g.TakeCoreEvent(w.ctx, []byte(four[1])))
	w.news()
	if got := w.open(d, number).Version; got != version {
		t.Errorf("an event seen before wrote %d events", got-version)
	}
	w.sound()
}

func TestALostPushHealsByTheFeedAlone(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	pushes := newSink(w)
	w.coreFault(sim.Rule{Name: coresim.FaultDropPush, Probability: 1})
	d := w.desk("H501")
	number := w.relayed(d, ask(ordinary(t, 0)))
	w.advance(number, 4)
	w.is(d, number, gateway.StateAtComune)
	if n := w.sims.Core.Faults().Injected(coresim.FaultDropPush); n != 4 || len(pushes.pushes) != 0 {
		t.Errorf("%d pushes lost, %d came", n, len(pushes.pushes))
	}
}

func TestAFeedOutOfOrderIsNotReadAsNews(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{sim.FaultHTTP503, sim.FaultHTML200, sim.FaultEmpty200, sim.FaultCutBody, coresim.FaultWrongSignature, coresim.FaultWrongTyp, coresim.FaultStaleAnswer} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			w := newFlow(t, dawn)
			d := w.desk("H501")
			number := w.relayed(d, ask(ordinary(t, 0)))
			w.coreFault(sim.Rule{Name: fault, Op: "feed", Probability: 1})
			w.advance(number, 4)
			w.is(d, number, gateway.StateRelayed)
			cursor, err := w.app.Store.FeedCursor(w.ctx)
			if err != nil || cursor != "" {
				t.Errorf("the cursor moved to %q %v", cursor, err)
			}
			w.coreFault(sim.Rule{Name: fault, Op: "feed"})
			w.until("the news", 10*time.Second, func() bool {
				w.news()
				return w.open(d, number).State == gateway.StateAtComune
			})
		})
	}
}

func TestInProductionBeforeCertifiedIsParkedAndNeverApplied(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.relayed(d, ask(ordinary(t, 0)))
	w.must("plan", w.sims.Core.SetPlan(coresim.Plan{RequestID: number, Misbehave: true, Steps: []coresim.PlanStep{{Type: "in_production"}, {Type: "cnsd_certified"}, {Type: "shipped"}}}))
	w.advance(number, 3)
	r := w.is(d, number, gateway.StateRelayed)
	if r.Mark.Kind != gateway.MarkParked || r.Mark.Code != "core_event_out_of_order" || r.Order().CoreSeq != 0 {
		t.Fatalf("mark %+v, event %d", r.Mark, r.Order().CoreSeq)
	}
	w.news()
	w.is(d, number, gateway.StateRelayed)
	// A referent may look and let it be tried again; it is still not applied.
	refusedAs(t, d.Unpark(w.ctx, number), gateway.Forbidden, "referent_only")
	w.must("unpark", w.deskOf("H501", gateway.RoleReferent).Unpark(w.ctx, number))
	w.news()
	r = w.is(d, number, gateway.StateRelayed)
	if r.Mark.Kind != gateway.MarkParked {
		t.Errorf("mark %+v", r.Mark)
	}
}

func TestEventsThatOvertakeTheReceiptWaitForIt(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	number := w.signed(d, ask(ordinary(t, 0)))
	key := number + ".1"
	w.coreFault(sim.Rule{Name: sim.FaultDropAnswer, Op: "submission", Match: key, Probability: 1})
	w.relay()
	w.advance(number, 3)
	r := w.is(d, number, gateway.StateSigned)
	if r.Mark.Kind == gateway.MarkParked {
		t.Fatalf("mark %+v", r.Mark)
	}
	w.until("the receipt", time.Minute, func() bool {
		w.relay()
		return w.open(d, number).State == gateway.StateRelayed
	})
	w.news()
	w.is(d, number, gateway.StateShipped)
	w.once(key)
	w.sound()
}

func TestAPushThatDoesNotVerifyIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	pushes := newSink(w)
	d := w.desk("H501")
	number := w.relayed(d, ask(ordinary(t, 0)))
	w.core(number, 1)
	good := pushes.take(1)[0]
	parts := strings.Split(good, ".")
	if len(parts) != 3 {
		t.Fatalf("a push of %d parts", len(parts))
	}
	flip := func(s string) string {
		c := byte('A')
		if s[len(s)/2] == c {
			c = 'B'
		}
		return s[:len(s)/2] + string(c) + s[len(s)/2+1:]
	}
	for name, bad := range map[string]string{
		"nothing": "", "text": "hello", "no signature": parts[0] + "." + parts[1] + ".",
		"another body": parts[0] + "." + flip(parts[1]) + "." + parts[2], "another signature": parts[0] + "." + parts[1] + "." + flip(parts[2]),
		"alg none": "eyJhbGciOiJub25lIn0." + parts[1] + ".",
	} {
		err := w.g.TakeCoreEvent(w.ctx, []byte(bad))
		if gateway.KindOf(err) != gateway.Unauthenticated || gateway.CodeOf(err) != "core_event_not_verified" {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.drain("apply", w.g.ApplyOnce)
	w.is(d, number, gateway.StateRelayed)
	w.must("the good one", w.g.TakeCoreEvent(w.ctx, []byte(good)))
	w.drain("apply", w.g.ApplyOnce)
	w.is(d, number, gateway.StateCertified)
	// An hour later the same message is too old to be believed.
	w.pass(24 * time.Hour)
	if err := w.g.TakeCoreEvent(w.ctx, []byte(good)); gateway.KindOf(err) != gateway.Unauthenticated {
		t.Errorf("a message of yesterday: %v", err)
	}
}

func TestAReturnedParcelIsSentAgainOrHandedOutAtThePost(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	p := byCF(t, "FRRLCU86D57Z600N")
	d := w.desk("2600103")
	number := w.relayed(d, atPost(ask(p)))
	w.must("plan", w.sims.Core.SetPlan(coresim.Plan{RequestID: number, Steps: []coresim.PlanStep{
		{Type: "cnsd_certified"},
		{Type: "in_production"},
		{Type: "shipped"},
		{Type: "out_for_delivery"},
		{Type: "held_at_post"},
		{Type: "returned", Reason: "unclaimed"},
		{Type: "shipped"},
		{Type: "returned"},
		{Type: "at_office"},
	}}))
	for _, want := range []gateway.State{
		gateway.StateCertified, gateway.StateInProduction, gateway.StateShipped, gateway.StateOutForDelivery, gateway.StateOnHoldPost,
		gateway.StateReturned, gateway.StateReshipped, gateway.StateReturned, gateway.StateAtConsulate,
	} {
		w.advance(number, 1)
		w.is(d, number, want)
	}
	w.must("hand over", d.HandOver(w.ctx, number, "holder", "defect"))
	w.is(d, number, gateway.StateDelivered)
	w.sound()
}
