package crash

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store/pgtest"
	"airegw/testharness"
	"airegw/testharness/sim"
)

// The disk under the relay becomes slow: a commit takes up to two seconds, twice
// as long as a lease. A claim is over before its worker begins, a receipt is
// recorded when another has the order already. Whoever is late is refused, and
// the core accepts each order once.
func TestASlowDiskAtTheRelayDoublesNothing(t *testing.T) {
	aloneInASoak(t)
	bin, err := breakable()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []engine{onSQLite, onPostgreSQL} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			slowRelay(t, bin, e)
		})
	}
}

func slowRelay(t *testing.T, bin string, e engine) {
	const orders = 6
	workers := quick()
	workers.Lease = time.Second
	s := newStation(t, stationOptions{engine: e, bin: bin, people: orders, workers: workers})
	s.start()
	defer s.stop()
	if e == onPostgreSQL {
		second := launch(t, &s.log, bin, []string{"FAILPOINT_FILE=" + s.points}, "serve", "--config", s.config, "--roles", "work")
		defer func() {
			_ = second.cmd.Process.Kill()
			<-second.done
		}()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	desk := s.session(comune)
	rides := make([]*ride, orders)
	all := func(to func(r *ride) error) {
		t.Helper()
		errs := make([]error, orders)
		var lanes sync.WaitGroup
		for i, r := range rides {
			lanes.Go(func() { errs[i] = to(r) })
		}
		lanes.Wait()
		for _, err := range errs {
			if err != nil {
				t.Fatalf("%v\n%s", err, s.log.String())
			}
		}
	}
	// The orders wait, signed, for a core that does not hear.
	s.coreFault(sim.Rule{Name: sim.FaultDropRequest, Op: "submission", Probability: 1})
	for i := range rides {
		rides[i] = &ride{s: s, desk: desk, person: testharness.SyntheticPerson(i), until: gateway.StateSigned}
	}
	all(func(r *ride) error { return r.finish(ctx) })

	s.arm("store.commit=stall:1200ms")
	s.coreFault(sim.Rule{Name: sim.FaultDropRequest, Op: "submission"})
	for _, wait := range []string{"1200ms", "2s", "700ms"} {
		s.arm("store.commit=stall:" + wait)
		time.Sleep(2500 * time.Millisecond)
	}
	slow := strings.Count(s.log.String(), "failpoint store.commit: stall")
	s.arm("")
	all(func(r *ride) error {
		r.until = ""
		return r.finish(ctx)
	})
	if slow < 5 {
		t.Errorf("%d commits were slow", slow)
	}
	s.judge(orders)
	overtaken := "unknown"
	if e == onPostgreSQL {
		late, err := pgtest.Strings(ctx, s.dbURL, `SELECT request_id FROM outbox WHERE kind = 'submission' AND fence > tries + 1`)
		if err != nil {
			t.Error(err)
		}
		overtaken = fmt.Sprint(len(late)) // chance has a hand in it
	}
	t.Logf("%d orders, %d slow commits, overtaken: %s", orders, slow, overtaken)
}
