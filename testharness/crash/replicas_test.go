package crash

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airegw/gateway/store/pgtest"
	"airegw/testharness"
	"airegw/testharness/sim"
)

const (
	fleetLease = 2 * time.Second
	killEvery  = 2 * time.Second
	leastKills = 8 // also where the database takes long to come back
)

// Three replicas on one PostgreSQL: one serves people, two work. Every two
// seconds one is killed, with what it had claimed in its hands, and started
// again; the database crashes twice. All the while people submit requests, and
// clerks take some to the core and back. Then it is quiet, everything comes to
// its end, and the invariants hold.
func TestReplicasThatAreKilledInTurnFinishEveryRequestOnPostgreSQL(t *testing.T) {
	aloneInASoak(t)
	long := max(20*time.Second, share(t, 5))
	cluster := pgtest.New(t)
	workers := quick()
	workers.Lease = fleetLease
	// Clerks and people differ: each person has one request.
	const clerks, perSecond = 3, 5
	most := int64(12 * long.Seconds())
	s := newStation(t, stationOptions{engine: onPostgreSQL, cluster: cluster, workers: workers, people: int(most)})
	f := &fleet{station: s}
	for i, roles := range []string{"work", "work", "web"} {
		f.replicas[i] = f.launch(roles)
	}
	defer f.stop()
	f.awaitWeb()

	ctx, cancel := context.WithTimeout(t.Context(), long+4*time.Minute)
	defer cancel()
	end, quiet := time.Now().Add(long), make(chan struct{})
	var people atomic.Int64
	next := func() (p sim.Person, known bool) {
		n := people.Add(1)
		if n > most {
			return p, false
		}
		return testharness.SyntheticPerson(int(n) - 1), true
	}
	var lanes sync.WaitGroup
	failed := make(chan error, clerks+1)
	for range clerks {
		lanes.Go(func() {
			desk := s.session(comune)
			for !closed(quiet) {
				p, known := next()
				if !known {
					return
				}
				r := &ride{s: s, desk: desk, person: p}
				err := r.finish(ctx)
				if err != nil {
					failed <- err
					return
				}
				f.rides.Add(1)
			}
		})
	}
	lanes.Go(func() {
		failed <- f.submitUntil(ctx, quiet, time.Second/perSecond, next)
	})

	// The killing. Restarts of the database come a second after a kill, at a third
	// and at two thirds; take-over is not measured across them.
	every := time.NewTicker(killEvery)
	defer every.Stop()
	kills, restarts := 0, 0
	for time.Now().Before(end) || kills < leastKills {
		<-every.C
		restart := restarts < 2 && time.Until(end) < time.Duration(2-restarts)*long/3
		f.killOne(ctx, kills, !restart)
		kills++
		tell(t, "%d kills, %d restarts of the database, %d people, %d rides", kills, restarts, people.Load(), f.rides.Load())
		if restart {
			restarts++
			time.Sleep(killEvery / 2)
			cluster.Restart(t)
		}
	}
	close(quiet)
	lanes.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			t.Fatalf("after %d kills: %v\n%s", kills, err, s.log.String())
		}
	}
	f.measuring.Wait()
	f.settle(ctx)
	f.stop()
	n := int(min(people.Load(), most))
	broken, err := testharness.CheckInvariants(t.Context(), testharness.Judged{
		Dir: s.dir, URL: s.dbURL, Conn: s.sims.Connection, Acknowledged: s.numbers, Now: time.Now(), Quiet: true, Requests: n,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
	if kills < leastKills || restarts != 2 || len(s.numbers) != n || f.rides.Load() == 0 {
		t.Errorf("%d kills, %d restarts of the database, %d people, %d acknowledged, %d rides", kills, restarts, n, len(s.numbers), f.rides.Load())
	}
	what := fmt.Sprintf("three replicas for %.0f s, %d kills, %d restarts of the database", long.Seconds(), kills, restarts)
	measured(t, what+": breaches of the invariants, of "+fmt.Sprint(n)+" requests", float64(len(broken)), "breaches", "0", len(broken) == 0)
	slowest, bound := slices.Max(append(f.takeovers, 0)), fleetLease+2*time.Second
	if len(f.takeovers) == 0 && soakMinutes(t) > 0 {
		t.Error("no replica was killed with anything in its hands")
	}
	measured(t, fmt.Sprintf("take-over, the slowest of %d", len(f.takeovers)), slowest.Seconds(), "s", fmt.Sprintf("<= %.0f (lease + 2)", bound.Seconds()), slowest <= bound)
	t.Logf("%d requests, %d rides to the core and back, %d kills; %d take-overs, the slowest after %s", n, f.rides.Load(), kills, len(f.takeovers), slowest.Round(time.Millisecond))
}

// fleet is three replicas on a station's database: two that work and, the last,
// one that serves people.
type fleet struct {
	*station
	replicas [3]*process
	rides    atomic.Int64

	measuring sync.WaitGroup
	takeovers []time.Duration
}

func (f *fleet) launch(roles string) *process {
	return launch(f.t, &f.log, f.bin, nil, "serve", "--config", f.config, "--roles", roles)
}

func (f *fleet) stop() {
	for _, p := range f.replicas {
		_ = p.cmd.Process.Kill()
		p.done <- <-p.done
	}
}

func (f *fleet) awaitWeb() {
	f.t.Helper()
	for deadline := time.Now().Add(comesUp); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if f.healthy() {
			return
		}
	}
	f.t.Fatalf("the replica for people does not come up\n%s", f.log.String())
}

// killOne kills the next replica and starts it again; measure says that the
// time until others have what it held is noted.
func (f *fleet) killOne(ctx context.Context, n int, measure bool) {
	f.t.Helper()
	i, roles := n%len(f.replicas), "work"
	if i == len(f.replicas)-1 {
		roles, measure = "web", false // it claims nothing
	}
	p := f.replicas[i]
	_ = p.cmd.Process.Kill()
	err := <-p.done
	p.done <- err
	if !killed(err) { // also one that was starting just when the database went down waits for it
		f.t.Fatalf("a replica had ended by itself: %v\n%s", err, p.stderr)
	}
	from := time.Now()
	if measure {
		held, err := f.held(ctx)
		if err != nil {
			f.t.Fatal(err)
		}
		if len(held) > 0 {
			f.measuring.Go(func() { f.watchTakeover(ctx, from, held) })
		}
	}
	f.replicas[i] = f.launch(roles)
}

// held names every lease given out: what it is of and its fence.
func (f *fleet) held(ctx context.Context) ([]string, error) {
	return pgtest.Strings(ctx, f.dbURL, `SELECT 'work ' || id || ' ' || work_fence FROM requests WHERE work_lease <> 0
UNION ALL SELECT 'outbox ' || id || ' ' || fence FROM outbox WHERE lease <> 0 AND status = 'open'`)
}

// watchTakeover waits until each piece that anybody held at the kill is somebody
// else's or done. The living one's own are done at once, so that it is the dead
// one's for which this waits.
func (f *fleet) watchTakeover(ctx context.Context, from time.Time, held []string) {
	for len(held) > 0 && time.Since(from) < 30*time.Second {
		now, err := f.held(ctx)
		if err != nil {
			return // the database restarts: not measured
		}
		held = slices.DeleteFunc(held, func(h string) bool { return !slices.Contains(now, h) })
		if len(held) > 0 {
			time.Sleep(25 * time.Millisecond)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.takeovers = append(f.takeovers, time.Since(from))
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// submitUntil submits a form every so often until quiet is closed, each until it
// is acknowledged: with the same key, since a killed replica may have stored it.
func (f *fleet) submitUntil(ctx context.Context, quiet <-chan struct{}, every time.Duration, next func() (sim.Person, bool)) error {
	desk := f.session(comune)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !closed(quiet) {
		p, known := next()
		if !known {
			return nil
		}
		r := &ride{s: f.station, desk: desk, person: p}
		for {
			err := r.submit(ctx)
			if err == nil {
				break
			}
			var p *testharness.Problem
			if errors.As(err, &p) && p.Status != http.StatusServiceUnavailable {
				return fmt.Errorf("submit: %w", err)
			}
			if ctx.Err() != nil {
				return errors.Join(ctx.Err(), err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		<-tick.C
	}
	return nil
}

// settle waits until the workers have done all that was submitted.
func (f *fleet) settle(ctx context.Context) {
	f.t.Helper()
	for {
		waiting, err := pgtest.Strings(ctx, f.dbURL, `SELECT id || ' ' || state || ' ' || work_step || ' ' || mark_code FROM requests WHERE work_step <> ''
UNION ALL SELECT request_id || ' ' || kind || ' ' || status || ' ' || code FROM outbox WHERE status <> 'settled'`)
		if err == nil && len(waiting) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			f.t.Fatalf("not all came to its end (%v): %d\n%s\n%s", err, len(waiting), strings.Join(waiting[:min(5, len(waiting))], "\n"), f.log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
