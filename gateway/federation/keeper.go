package federation

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"airegw/gateway/fault"
)

// KeeperConfig of a Keeper. Resolve, Clock and Rand are required.
type KeeperConfig struct {
	// Resolve makes a chain anew; most often Resolver.Resolve of the provider,
	// followed by Chain.Provider, so that a chain we cannot work with never
	// replaces one we can.
	Resolve func(context.Context) (*Chain, error)
	Clock   func() time.Time
	Rand    func() float64 // in [0,1), safe for concurrent use
	// RetryMin and RetryMax bound the waits after failures, which double; 0 =
	// 5 s and 60 s.
	RetryMin, RetryMax time.Duration
	Logger             *slog.Logger // nil = no log
}

// Keeper keeps one chain fresh: renewed in the background at about half of its
// life, the last good one served until its very end, then nothing: it fails
// closed (entra-con-cie §2.4 step 8). No request ever waits for, or starts, a
// resolution. Safe for concurrent use.
type Keeper struct {
	cfg KeeperConfig

	stepping sync.Mutex // one renewal at a time

	mu       sync.Mutex
	chain    *Chain
	next     time.Time
	planned  time.Time // when next was chosen
	failures int
	last     error
}

// NewKeeper starts empty; the first Step resolves.
func NewKeeper(cfg KeeperConfig) (*Keeper, error) {
	if cfg.Resolve == nil || cfg.Clock == nil || cfg.Rand == nil {
		return nil, refuse(CodeConfig, "keeper", "resolve, clock and rand are required")
	}
	if cfg.RetryMin <= 0 {
		cfg.RetryMin = 5 * time.Second
	}
	if cfg.RetryMax < cfg.RetryMin {
		cfg.RetryMax = max(time.Minute, cfg.RetryMin)
	}
	return &Keeper{cfg: cfg}, nil
}

// Unavailable is what Current answers when no chain is valid. It is an *Error
// of CodeUnavailable for errors.Is and CodeOf.
type Unavailable struct {
	// RetryAt is the earliest instant at which asking again makes sense.
	RetryAt time.Time
	Err     error // why the last renewal failed; nil when none was tried yet
}

func (u *Unavailable) Error() string {
	return fmt.Sprintf("%s: next try %s: %v", CodeUnavailable, u.RetryAt.Format(time.RFC3339), u.Err)
}

// Unwrap gives the code first, then the cause.
func (u *Unavailable) Unwrap() []error {
	return []error{&Error{Code: CodeUnavailable, Err: u.Err}}
}

// Current gives the chain, valid at this instant, or *Unavailable. The chain is
// shared: it must not be changed.
func (k *Keeper) Current() (*Chain, error) {
	now := k.cfg.Clock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.chain != nil && (now.Before(k.chain.ExpiresAt) || fault.Mutant("federation.chain-end")) {
		return k.chain, nil
	}
	retry := k.next
	if !retry.After(now) {
		retry = now.Add(k.cfg.RetryMin)
	}
	return nil, &Unavailable{RetryAt: retry, Err: k.last}
}

// KeeperStatus is for the status page and metrics.
type KeeperStatus struct {
	Subject   string
	ExpiresAt time.Time // zero = never had a chain
	NextTry   time.Time
	Failures  int // in a row
	LastError error
}

// Status tells how the keeper stands.
func (k *Keeper) Status() KeeperStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := KeeperStatus{NextTry: k.next, Failures: k.failures, LastError: k.last}
	if k.chain != nil {
		s.Subject, s.ExpiresAt = k.chain.Subject, k.chain.ExpiresAt
	}
	return s
}

// Step renews the chain if it is time and answers when to step again. An error
// is kept and told by Status and Current; it never costs the chain at hand.
func (k *Keeper) Step(ctx context.Context) time.Time {
	k.stepping.Lock()
	defer k.stepping.Unlock()
	k.mu.Lock()
	due, planned := k.next, k.planned
	k.mu.Unlock()
	if notYet(k.cfg.Clock(), planned, due) {
		return due
	}
	chain, err := k.cfg.Resolve(ctx)
	now := k.cfg.Clock()
	if err == nil && !now.Before(chain.ExpiresAt) {
		err = refuse(CodeExpired, "", "the new chain has already ended")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.planned = now
	if err != nil {
		k.failures++
		k.last = err
		wait := k.cfg.RetryMax
		if k.failures <= 16 {
			wait = min(wait, k.cfg.RetryMin<<(k.failures-1))
		}
		// Equal jitter: several replicas must not knock together.
		k.next = now.Add(wait/2 + time.Duration(k.cfg.Rand()*float64(wait/2)))
		k.log(slog.LevelWarn, "federation chain not renewed", "code", string(CodeOf(err)), "err", err.Error(), "failures", k.failures, "next", k.next)
		return k.next
	}
	k.chain, k.failures, k.last = chain, 0, nil
	half := chain.ExpiresAt.Sub(now) / 2
	k.next = now.Add(max(half-time.Duration(k.cfg.Rand()*float64(half)/5), k.cfg.RetryMin))
	k.log(slog.LevelInfo, "federation chain renewed", "entity", chain.Subject, "expires", chain.ExpiresAt, "next", k.next)
	return k.next
}

// notYet says that now lies between the moment at which a step was planned and
// the one at which it is due. Before both, the clock was set back, and nobody
// waits until it has come there again.
func notYet(now, planned, due time.Time) bool { return now.Before(due) && !now.Before(planned) }

// Run steps until ctx ends. Its waits are real time, whatever the clock says.
func (k *Keeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := max(k.Step(ctx).Sub(k.cfg.Clock()), 50*time.Millisecond)
		timer := time.NewTimer(min(wait, time.Minute))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (k *Keeper) log(level slog.Level, text string, args ...any) {
	if k.cfg.Logger != nil {
		k.cfg.Logger.Log(context.Background(), level, text, args...)
	}
}
