package sim

import (
	"sort"
	"sync"
	"time"
)

// Clock is the only source of time of a simulator. All times are UTC.
type Clock interface {
	// Now is the time of the simulated world.
	Now() time.Time
	// AfterFunc calls f once, when d has passed on this clock. f runs on a
	// goroutine of the clock's choosing and must not block for long.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending call of AfterFunc.
type Timer interface {
	// Stop keeps the call from happening; false when it has begun already.
	Stop() bool
}

// Mover is a Clock that can be moved forward by hand.
type Mover interface {
	Clock
	// Advance moves the clock forward by d (never back) and runs what fell
	// due, in order of time.
	Advance(d time.Duration)
}

// RealClock is the machine's time, plus what Advance has added to it, so that
// a demonstration need not wait for the post. The zero value is ready.
type RealClock struct {
	mu      sync.Mutex
	offset  time.Duration
	pending map[*realTimer]struct{}
}

type realTimer struct {
	clock *RealClock
	due   time.Time
	timer *time.Timer
}

// NewReal returns the machine's time.
func NewReal() *RealClock { return &RealClock{} }

// Now is the machine's time plus the offset, UTC.
func (c *RealClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *RealClock) now() time.Time { return time.Now().UTC().Add(c.offset) }

// AfterFunc runs f on its own goroutine.
func (c *RealClock) AfterFunc(d time.Duration, f func()) Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &realTimer{clock: c, due: c.now().Add(d)}
	if c.pending == nil {
		c.pending = make(map[*realTimer]struct{})
	}
	c.pending[t] = struct{}{}
	t.timer = time.AfterFunc(d, func() {
		if t.take() {
			f()
		}
	})
	return t
}

// take says whether the caller is the one to run or to stop the timer.
func (t *realTimer) take() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	_, pending := t.clock.pending[t]
	delete(t.clock.pending, t)
	return pending
}

func (t *realTimer) Stop() bool {
	t.timer.Stop()
	return t.take()
}

// Advance adds d to the machine's time; pending calls come earlier by d. They
// run on their own goroutines, soon after Advance returns.
func (c *RealClock) Advance(d time.Duration) {
	if d <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
	now := c.now()
	for t := range c.pending {
		t.timer.Reset(max(0, t.due.Sub(now)))
	}
}

// MessageClock is the clock that stamps and judges the times of messages: the
// one given, else the simulator's own, unless that is a *RealClock, which a
// demonstration moves forward while its clients stay in the present: then the
// machine's own time.
func MessageClock(given, own Clock) Clock {
	if given != nil {
		return given
	}
	if _, real := own.(*RealClock); real {
		return NewReal()
	}
	return own
}

// ManualClock stands still until it is moved.
type ManualClock struct {
	mu      sync.Mutex
	now     time.Time
	serial  int
	pending []*manualTimer
}

type manualTimer struct {
	clock  *ManualClock
	due    time.Time
	serial int
	f      func()
}

// NewManual returns a clock that stands at start.
func NewManual(start time.Time) *ManualClock { return &ManualClock{now: start.UTC()} }

// Now is the time the clock was last moved to.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc keeps f for the Advance that reaches it; f with d ≤ 0 runs with the
// next Advance, even one of zero.
func (c *ManualClock) AfterFunc(d time.Duration, f func()) Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serial++
	t := &manualTimer{clock: c, due: c.now.Add(max(0, d)), serial: c.serial, f: f}
	c.pending = append(c.pending, t)
	return t
}

// Advance moves the clock and runs what falls due on the caller's goroutine,
// earliest first, each with Now at its own due time. Calls that these add
// inside the span run too.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	end := c.now.Add(max(0, d))
	for {
		t := c.earliest()
		if t == nil || t.due.After(end) {
			break
		}
		c.remove(t)
		if t.due.After(c.now) {
			c.now = t.due
		}
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	// A call may itself have advanced the clock further.
	if end.After(c.now) {
		c.now = end
	}
	c.mu.Unlock()
}

// Pending is how many calls wait: what a test looks at instead of sleeping.
func (c *ManualClock) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

func (c *ManualClock) earliest() *manualTimer {
	if len(c.pending) == 0 {
		return nil
	}
	sort.Slice(c.pending, func(i, j int) bool {
		a, b := c.pending[i], c.pending[j]
		if !a.due.Equal(b.due) {
			return a.due.Before(b.due)
		}
		return a.serial < b.serial
	})
	return c.pending[0]
}

func (c *ManualClock) remove(t *manualTimer) bool {
	for i, p := range c.pending {
		if p == t {
			c.pending = append(c.pending[:i], c.pending[i+1:]...)
			return true
		}
	}
	return false
}

func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.clock.remove(t)
}
