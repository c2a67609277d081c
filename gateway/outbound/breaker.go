package outbound

import (
	"sync"
	"time"
)

// Breaker settings. The zero value switches the breaker off.
type Breaker struct {
	// Failures in a row that open it; 0 means never.
	Failures int
	// Cooldown before one call may probe again. Each failed probe starts it anew.
	Cooldown time.Duration
}

// State of a breaker, for /status and metrics.
type State string

// The states.
const (
	Closed   State = "closed"    // calls pass
	Open     State = "open"      // calls are refused until the cooldown ends
	HalfOpen State = "half_open" // one probe is under way, the others are refused
)

type breaker struct {
	cfg Breaker
	now func() time.Time

	mu       sync.Mutex
	failures int
	openedAt time.Time
	open     bool
	probing  bool
}

// allow tells whether a call may go, and whether it is the probe; if not, for
// how long not.
func (b *breaker) allow() (wait time.Duration, probe, ok bool) {
	if b.cfg.Failures <= 0 {
		return 0, false, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return 0, false, true
	}
	now := b.now()
	// A clock stepped back must not lock the peer out for longer than the cooldown.
	if now.Before(b.openedAt) {
		b.openedAt = now
	}
	if left := b.cfg.Cooldown - now.Sub(b.openedAt); left > 0 {
		return left, false, false
	}
	if b.probing {
		return b.cfg.Cooldown, false, false
	}
	b.probing = true
	return 0, true, true
}

// outcome of a call that allow let pass.
type outcome int

const (
	peerWell    outcome = iota // it answered, whatever the status under 500
	peerFailed                 // no whole answer, or 5xx
	peerUnknown                // the caller gave up: says nothing about the peer
)

// done takes the outcome of a call that allow let pass. A call that began
// before the breaker opened neither ends nor prolongs the probing of another.
func (b *breaker) done(probe bool, o outcome) {
	if b.cfg.Failures <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe {
		b.probing = false
	}
	switch o {
	case peerWell:
		b.open, b.failures = false, 0
	case peerFailed:
		b.failures++
		if probe || (!b.open && b.failures >= b.cfg.Failures) {
			b.open, b.openedAt = true, b.now()
		}
	case peerUnknown:
	}
}

func (b *breaker) state() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return Closed
	case b.probing:
		return HalfOpen
	}
	return Open
}
