package crash

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/testharness/sim"
)

// TestAHostileOutsideLeavesNothingBehind takes requests through hostile
// simulators and bad lines for as long as it is told (six seconds in CI, fifteen
// of a soak's forty minutes): goroutines and descriptors stay flat, and in a soak
// memory drifts by less than five in a hundred.
func TestAHostileOutsideLeavesNothingBehind(t *testing.T) {
	// Not beside other tests: it counts the whole process's goroutines, descriptors
	// and memory.
	long := max(6*time.Second, share(t, 15))
	w := newWorld(t, worldOptions{engine: onSQLite, people: 1, rates: badLine, seed: 90, profile: sim.Hostile})
	ctx, cancel := context.WithTimeout(t.Context(), long+5*time.Minute)
	defer cancel()
	w.run(ctx)
	err := w.take(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	type sample struct{ goroutines, descriptors, memory float64 }
	var samples []sample
	from := time.Now()
	n := 1
	for time.Since(from) < long {
		var clerks sync.WaitGroup
		for range 16 {
			if n%farShare == 0 {
				n++ // nobody else is known to the register here
			}
			i := n
			n++
			clerks.Go(func() {
				err := w.take(ctx, i)
				if err != nil {
					t.Error(err)
				}
			})
		}
		clerks.Wait()
		runtime.GC()
		samples = append(samples, sample{float64(runtime.NumGoroutine()), float64(descriptors(t)), ownMemory(t)})
	}
	w.settle(ctx, len(w.numbers))
	w.judge(len(w.numbers))
	third := max(1, len(samples)/3)
	before := samples[min(third, len(samples)-1):max(len(samples)-third, min(third, len(samples)-1)+1)]
	mean := func(of []sample) (m sample) {
		for _, s := range of {
			m.goroutines += s.goroutines / float64(len(of))
			m.descriptors += s.descriptors / float64(len(of))
			m.memory += s.memory / float64(len(of))
		}
		return m
	}
	middle, last := mean(before), mean(samples[len(samples)-third:])
	drift := 100 * (last.memory - middle.memory) / middle.memory
	measured(t, "hostile outside: goroutines, last third against the one before", last.goroutines-middle.goroutines, "more", "< 40", last.goroutines-middle.goroutines < 40)
	measured(t, "hostile outside: descriptors, last third against the one before", last.descriptors-middle.descriptors, "more", "< 20", last.descriptors-middle.descriptors < 20)
	measured(t, "hostile outside: memory drift", drift, "%", "< 5 %", drift < 5)
	if last.goroutines > middle.goroutines+200 || last.descriptors > middle.descriptors+100 {
		t.Errorf("%+v became %+v", middle, last)
	}
	t.Logf("%d requests in %s: %+v became %+v", len(w.numbers), time.Since(from).Round(time.Second), middle, last)
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// ownMemory answers the resident memory of this process in MiB.
func ownMemory(t *testing.T) float64 {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(raw))[1])
	if err != nil {
		t.Fatal(fmt.Errorf("statm: %w", err))
	}
	return float64(pages*os.Getpagesize()) / (1 << 20)
}
