package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/gateway"
)

// quotaOf answers the register's memory of a store that has one.
func quotaOf(t *testing.T, s gateway.Store) anpr.Quota {
	t.Helper()
	q, ok := s.(interface{ Quota() anpr.Quota })
	if !ok {
		t.Fatalf("%T has no memory of quotas", s)
	}
	return q.Quota()
}

func quotaKept(t *testing.T, b *bench) {
	t.Helper()
	q, now := quotaOf(t, b.Store), b.clock.Now()
	const day = "2026-11-21"
	var booked atomic.Int32
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			ok, err := q.Book(b.ctx, anpr.Booking{Service: "C030", Day: day, Most: 5, At: now})
			if err != nil {
				t.Error(err)
			}
			if ok {
				booked.Add(1)
			}
		})
	}
	wg.Wait()
	if n := booked.Load(); n != 5 {
		t.Fatalf("%d calls booked of a budget of 5", n)
	}
	// Traces of a refused booking are not kept; another day begins anew.
	trace := anpr.Trace{Day: day, PurposeID: "p", Status: 200, TokenID: "t", Count: 2}
	ok, err := q.Book(b.ctx, anpr.Booking{Service: "C030", Day: day, Most: 5, At: now, Traces: []anpr.Trace{trace}})
	if err != nil || ok {
		t.Fatal(ok, err)
	}
	ok, err = q.Book(b.ctx, anpr.Booking{Service: "C030", Day: "2026-11-22", At: now, Traces: []anpr.Trace{trace}})
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	must(t, q.Keep(b.ctx, []anpr.Trace{trace, {Day: day, PurposeID: "p", Status: 0, TokenID: "t", Count: 1}}))
	traced, err := b.Store.(interface {
		Tracing(ctx context.Context, day string) ([]anpr.Trace, error)
	}).Tracing(b.ctx, day)
	if err != nil || len(traced) != 2 || traced[1].Count != 4 || traced[0].Status != 0 || traced[0].Count != 1 {
		t.Fatalf("%+v %v", traced, err)
	}

	// A stop outlives the process; a shorter one does not replace it; of two
	// probes one is taken.
	stop := anpr.Stop{Service: "C030", Code: anpr.CodeQuota, Since: now, Until: now.Add(6 * time.Hour), ProbeAt: now.Add(time.Hour)}
	must(t, q.Stop(b.ctx, stop))
	shorter := stop
	shorter.Until = now.Add(time.Hour)
	must(t, q.Stop(b.ctx, shorter))
	if b.Crash == nil {
		t.Log("this engine hands in no crash: the stop is read by the same process")
	} else {
		q = quotaOf(t, b.Crash(t, b.Store))
	}
	spent, err := q.Spent(b.ctx, day)
	if err != nil || spent.Used["C030"] != 5 || len(spent.Stops) != 1 || spent.Stops[0] != stop {
		t.Fatalf("%+v %v", spent, err)
	}
	first, err := q.Probe(b.ctx, "C030", stop.ProbeAt, now.Add(2*time.Hour))
	must(t, err)
	second, err := q.Probe(b.ctx, "C030", stop.ProbeAt, now.Add(2*time.Hour))
	must(t, err)
	if !first || second {
		t.Fatal("probes", first, second)
	}
	must(t, q.Resume(b.ctx, "C030"))
	spent, err = q.Spent(b.ctx, day)
	if err != nil || len(spent.Stops) != 1 || !spent.Stops[0].Until.IsZero() {
		t.Fatalf("%+v %v", spent, err)
	}
}
