package gateway

import (
	"context"
	"strconv"
	"time"
)

// A machine's clock may be wrong and be set right while requests are under way.
// Forward, everything is due at once, which the fence makes harmless. Back, what
// was given a moment by the wrong clock (a lease, the next try) would wait for
// the clock to come there again: an hour, or the ten years of a machine that woke
// without its battery. So nothing waits for longer than anything may, and what
// was to wait when the clock went back goes back with it.

// clockSlack is how far the clocks of replicas may differ without anybody taking
// it for a step.
const clockSlack = 5 * time.Minute

// longestAdvice is the longest that a peer is left alone because it said so: to
// midnight of the longest day, after a quota.
const longestAdvice = 25 * time.Hour

// Horizon says until when what is stored may wait, seen from Now.
type Horizon struct {
	Now    time.Time
	Lease  time.Time     // the end of a lease given out now
	Slack  time.Duration // beyond which a moment is another clock's
	Outbox time.Duration // longest wait of an outbox row or a dialogue's question
	Work   time.Duration // longest wait of a worker's step or a correction
	// Back is how far the clock went back since the last look; 0: it did not.
	Back time.Duration
}

// Nearer counts what was brought back within the horizon.
type Nearer struct {
	Leases int // given out by a clock that was ahead
	Waits  int // next tries
	Halves int // first halves of codes, printed in a future: wiped
}

// ClockStore is the part of a Store that survives a clock set back.
type ClockStore interface {
	// BringNear moves every lease and every due time that lies beyond the horizon
	// to within it, takes Back from each wait there is, and wipes halves whose
	// print lies in the future; with entry in the audit trail if it changed
	// anything. One commit. It changes nothing when the clock is as it was.
	BringNear(ctx context.Context, h Horizon, entry func(Nearer) AuditEntry) (Nearer, error)
}

// now answers the time and remembers how far it went.
func (g *Gateway) now() time.Time {
	now := g.clock.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.After(g.furthest) {
		g.furthest = now
	}
	return now
}

// wentBack answers how far the clock is behind where it was, if that is no
// matter of slack, and forgets it.
func (g *Gateway) wentBack(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	back := g.furthest.Sub(now)
	if back <= clockSlack {
		return 0
	}
	g.furthest = now
	// Retention looks again when it would have.
	g.forgetAt = g.forgetAt.Add(-back)
	return back
}

// keepTime brings back what a clock that was ahead has sent into the future.
func (g *Gateway) keepTime(ctx context.Context) error {
	now := g.now()
	back := g.wentBack(now)
	most := g.set.RetryMost + g.set.RetryMost/4 // with its jitter
	n, err := g.store.BringNear(ctx, Horizon{
		Now: now, Lease: now.Add(g.set.Lease), Slack: clockSlack, Outbox: most, Work: max(most, g.set.Realign, longestAdvice), Back: back,
	}, func(n Nearer) AuditEntry {
		return AuditEntry{At: now, Actor: systemScope("clock").actor, Act: "clock_went_back", Payload: map[string]string{
			"seconds": strconv.Itoa(int(back.Seconds())), "leases": strconv.Itoa(n.Leases), "waits": strconv.Itoa(n.Waits), "halves": strconv.Itoa(n.Halves),
		}}
	})
	if err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.furthest = g.furthest.Add(back) // for the next look
		return wrap("bring back what waits for a clock that was ahead", err)
	}
	if n != (Nearer{}) {
		g.log.Warn("the clock went back", "by", back, "leases", n.Leases, "waits", n.Waits, "halves", n.Halves)
		poke(g.wakeWork)
		poke(g.wakeRelay)
	}
	return nil
}
