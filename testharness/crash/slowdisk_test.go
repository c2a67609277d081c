package crash

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/gateway/store/pgtest"
	"airegw/testharness"
)

// The disk under the relay becomes slow: a commit takes longer than a lease. A
// claim is over before its worker begins, and while that one stores what it will
// send, another takes the order. Whoever is late is refused by the fence, and the
// core accepts each order once.
func TestASlowDiskAtTheRelayIsOvertakenAndDoublesNothing(t *testing.T) {
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
	const orders = 2 // fewer than workers: on SQLite a free one of the same process overtakes
	workers := quick()
	workers.Lease = time.Second
	s := newStation(t, stationOptions{engine: e, bin: bin, people: orders, workers: workers, adjust: func(_ *station, c *app.Config) { c.Log.Level = "warn" }})
	s.start()
	defer s.stop()
	// On PostgreSQL a second replica, whose disk is well, overtakes. It takes
	// nothing before the slow one's claim is stored: who takes an order first is
	// not left to chance.
	well := filepath.Join(s.dir, "points-second")
	if e == onPostgreSQL {
		armFile(t, well, "outbox.claim=error")
		p := launch(t, &s.log, bin, []string{"FAILPOINT_FILE=" + well}, "serve", "--config", s.config, "--roles", "work")
		defer func() {
			_ = p.cmd.Process.Kill()
			<-p.done
		}()
		said(t, p, "injected fault at outbox.claim") // it is up
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
	for i := range rides {
		rides[i] = &ride{s: s, desk: desk, person: testharness.SyntheticPerson(i), until: gateway.StateFormsReady}
	}
	all(func(r *ride) error {
		err := r.finish(ctx)
		if err != nil {
			return err
		}
		return r.acts(ctx, &seen{}, "print", nil, "confirm", nil)
	})

	s.arm("store.commit=stall:1500ms")
	all(func(r *ride) error { return r.acts(ctx, &seen{}, "sign", nil) })
	if e == onPostgreSQL {
		waitFor(ctx, t, func() bool {
			claimed, err := pgtest.Strings(ctx, s.dbURL, `SELECT order_key FROM outbox WHERE kind = 'submission' AND fence > 0`)
			return err == nil && len(claimed) > 0
		})
		armFile(t, well, "")
	}
	refused := func() int {
		n := 0
		for line := range strings.Lines(s.log.String()) {
			if strings.Contains(line, "a late worker was refused") && strings.Contains(line, "code=lease_lost") {
				n++
			}
		}
		return n
	}
	waitFor(ctx, t, func() bool { return refused() > 0 })
	slow := strings.Count(s.log.String(), "failpoint store.commit: stall")
	s.arm("")
	all(func(r *ride) error {
		r.until = ""
		return r.finish(ctx)
	})
	s.judge(orders)
	overtaken := ""
	if e == onPostgreSQL {
		// Every claim raises the fence, every try that its own worker gave back counts:
		// where there are more claims than that, somebody overtook.
		late, err := pgtest.Strings(ctx, s.dbURL, `SELECT order_key FROM outbox WHERE kind = 'submission' AND fence > tries + 1`)
		if err != nil || len(late) == 0 {
			t.Errorf("nobody overtook on record: %v", err)
		}
		overtaken = fmt.Sprintf(", %d of them overtaken", len(late))
	}
	t.Logf("%d orders%s, %d slow commits, the fence refused a late worker %d times", orders, overtaken, slow, refused())
}

// waitFor waits until something is so.
func waitFor(ctx context.Context, t *testing.T, so func() bool) {
	t.Helper()
	for !so() {
		select {
		case <-ctx.Done():
			t.Fatal("it never came")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
