package crash

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/testharness"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// TestAHostileOutsideLeavesNothingBehind takes requests to the core through
// hostile simulators and bad lines for as long as it is told (six seconds in CI,
// fifteen of a soak's forty minutes): the gateway's goroutines and descriptors
// stay flat, and in a soak its memory drifts by less than five in a hundred. The
// simulators, whose ledgers grow, are in another process than what is measured.
func TestAHostileOutsideLeavesNothingBehind(t *testing.T) {
	// Not beside other tests: in a soak it has the machine for itself.
	bin, err := breakable()
	if err != nil {
		t.Fatal(err)
	}
	const clerks, perSecond = 12, 30
	long := max(6*time.Second, share(t, 15))
	most := int64(perSecond * long.Seconds())
	workers := quick()
	workers.Lease, workers.Count, workers.FeedEvery = 20*time.Second, 12, time.Second
	s := newStation(t, stationOptions{
		engine: onSQLite, bin: bin, people: int(most), profile: sim.Hostile, seed: 11, workers: workers,
		adjust: func(s *station, c *app.Config) { badLines(t, s.sims, s.dir, c, badLine, 90) },
	})
	for _, name := range []string{anprsim.FaultSpurious429, anprsim.FaultToken429} {
		// After one of these nobody asks for an hour, as is right; here we want to.
		err = s.sims.ANPR.Faults().Set(sim.Rule{Name: name})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	defer s.stop()
	s.arm("seal.block=goroutines")
	ctx, cancel := context.WithTimeout(t.Context(), long+3*time.Minute)
	defer cancel()
	var people, done atomic.Int64
	var lanes sync.WaitGroup
	end := time.Now().Add(long)
	for range clerks {
		lanes.Go(func() {
			desk := s.session(comune)
			for time.Now().Before(end) {
				n := people.Add(1)
				if n > most {
					return
				}
				r := &ride{s: s, desk: desk, person: testharness.SyntheticPerson(int(n) - 1), until: gateway.StateRelayed}
				// What a hostile answer has parked or put off is somebody else's.
				one, enough := context.WithTimeout(ctx, max(10*time.Second, long/30))
				err := r.finish(one)
				enough()
				if err == nil {
					done.Add(1)
				}
			}
		})
	}
	var samples []sample
	every := time.NewTicker(max(500*time.Millisecond, long/600))
	defer every.Stop()
	for time.Now().Before(end) {
		<-every.C
		goroutines, known := s.goroutines()
		if known {
			samples = append(samples, sample{goroutines, float64(s.descriptors()), s.memory("VmRSS")})
		}
		tell(t, "%d requests, %+v", done.Load(), samples[max(0, len(samples)-1):])
	}
	lanes.Wait()
	if done.Load() < 3 {
		t.Errorf("only %d requests came to the core: the test proves too little\n%s", done.Load(), s.log.String())
	}
	// What the core took in the last moment we learn a moment later.
	for patience := time.Now().Add(30 * time.Second); time.Now().Before(patience); time.Sleep(500 * time.Millisecond) {
		broken, err := testharness.CheckInvariants(ctx, testharness.Judged{Dir: s.dir, Conn: s.sims.Connection, Now: time.Now().UTC(), Quiet: true})
		if err == nil && len(broken) == 0 {
			break
		}
	}
	s.judge(int(min(people.Load(), most)))
	if len(samples) < 6 {
		t.Fatalf("%d samples", len(samples))
	}
	third := len(samples) / 3
	middle, last := mean(samples[third:len(samples)-third]), mean(samples[len(samples)-third:])
	drift := 100 * (last.memory - middle.memory) / middle.memory
	what := fmt.Sprintf("hostile outside for %.0f s, %d requests: ", long.Seconds(), done.Load())
	measured(t, what+"goroutines, last third against the one before", last.goroutines-middle.goroutines, "more", "< 40", last.goroutines-middle.goroutines < 40)
	measured(t, what+"descriptors, last third against the one before", last.descriptors-middle.descriptors, "more", "< 20", last.descriptors-middle.descriptors < 20)
	measured(t, what+fmt.Sprintf("memory drift, of %.0f MiB", middle.memory), drift, "%", "< 5 %, over five minutes or more", drift < 5 || long < 5*time.Minute)
	if last.goroutines > middle.goroutines+200 || last.descriptors > middle.descriptors+100 {
		t.Errorf("%+v became %+v", middle, last)
	}
	t.Logf("%d requests in %s: %+v became %+v", done.Load(), long, middle, last)
}

// sample is the gateway at a moment; memory is resident, in MiB.
type sample struct{ goroutines, descriptors, memory float64 }

func mean(of []sample) (m sample) {
	for _, s := range of {
		m.goroutines += s.goroutines / float64(len(of))
		m.descriptors += s.descriptors / float64(len(of))
		m.memory += s.memory / float64(len(of))
	}
	return m
}

// goroutines answers what the gateway last said of its own, when the point
// seal.block is armed to say so.
func (s *station) goroutines() (float64, bool) {
	s.t.Helper()
	said := s.log.String()
	i := strings.LastIndex(said, "goroutines ")
	if i < 0 {
		return 0, false
	}
	text, _, whole := strings.Cut(said[i+len("goroutines "):], "\n")
	n, err := strconv.Atoi(text)
	return float64(n), whole && err == nil
}

func (s *station) descriptors() int {
	s.t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.proc.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(all)
}
