package federation

import (
	"context"
	"errors"
	"testing"
	"time"
)

// keeperLab is a Keeper over a clock and a chain source that tests hold.
type keeperLab struct {
	now    time.Time
	err    error
	life   time.Duration
	calls  int
	keeper *Keeper
}

func newKeeperLab(t *testing.T) *keeperLab {
	t.Helper()
	l := &keeperLab{now: testNow, life: 30 * time.Minute}
	k, err := NewKeeper(KeeperConfig{
		Resolve: func(context.Context) (*Chain, error) {
			l.calls++
			if l.err != nil {
				return nil, l.err
			}
			return &Chain{Subject: opID, VerifiedAt: l.now, ExpiresAt: l.now.Add(l.life)}, nil
		},
		Clock: func() time.Time { return l.now }, Rand: func() float64 { return 0.5 },
	})
	if err != nil {
		t.Fatal(err)
	}
	l.keeper = k
	return l
}

func TestAChainIsRenewedAboutHalfwayThroughItsLife(t *testing.T) {
	t.Parallel()
	l := newKeeperLab(t)
	next := l.keeper.Step(t.Context())
	if early, late := testNow.Add(12*time.Minute), testNow.Add(15*time.Minute); next.Before(early) || next.After(late) {
		t.Fatalf("next step at %s", next)
	}
	l.now = next.Add(-time.Second)
	if l.keeper.Step(t.Context()); l.calls != 1 {
		t.Fatalf("%d resolutions before it was time", l.calls)
	}
	l.now = next
	l.keeper.Step(t.Context())
	c, err := l.keeper.Current()
	if err != nil || l.calls != 2 || !c.ExpiresAt.Equal(next.Add(30*time.Minute)) {
		t.Fatalf("%+v, %v after %d", c, err, l.calls)
	}
}

func TestTheLastGoodChainIsServedToItsEndAndThenNothing(t *testing.T) {
	t.Parallel()
	l := newKeeperLab(t)
	l.keeper.Step(t.Context())
	first, err := l.keeper.Current()
	if err != nil {
		t.Fatal(err)
	}
	l.err = refuse(CodeFetch, "", "down")
	for l.now = testNow; l.now.Before(first.ExpiresAt); l.now = l.now.Add(30 * time.Second) {
		l.keeper.Step(t.Context())
		if c, err := l.keeper.Current(); err != nil || c != first {
			t.Fatalf("at %s: %v", l.now, err)
		}
	}
	if s := l.keeper.Status(); s.Failures < 3 || CodeOf(s.LastError) != CodeFetch || l.calls > 40 {
		t.Fatalf("%+v after %d calls", s, l.calls)
	}
	l.now = first.ExpiresAt
	_, err = l.keeper.Current()
	var u *Unavailable
	if !errors.As(err, &u) || CodeOf(err) != CodeUnavailable || !u.RetryAt.After(l.now) || u.RetryAt.After(l.now.Add(time.Minute)) || CodeOf(u.Err) != CodeFetch {
		t.Fatalf("got %v", err)
	}
	// Back again.
	l.err = nil
	l.now = u.RetryAt
	l.keeper.Step(t.Context())
	if _, err := l.keeper.Current(); err != nil {
		t.Fatal(err)
	}
}

func TestRetriesSlowDownToTheirBound(t *testing.T) {
	t.Parallel()
	l := newKeeperLab(t)
	l.err = refuse(CodeFetch, "", "down")
	var waits []time.Duration
	for range 40 {
		next := l.keeper.Step(t.Context())
		waits = append(waits, next.Sub(l.now))
		l.now = next
	}
	if waits[0] < 2*time.Second || waits[0] > 5*time.Second || waits[1] <= waits[0] {
		t.Fatalf("%v", waits)
	}
	for _, w := range waits {
		if w > time.Minute || w < time.Second {
			t.Fatalf("%v", waits)
		}
	}
}

func TestAKeeperThatNeverHadAChainSaysWhenToComeBack(t *testing.T) {
	t.Parallel()
	l := newKeeperLab(t)
	_, err := l.keeper.Current()
	var u *Unavailable
	if !errors.As(err, &u) || !u.RetryAt.After(l.now) {
		t.Fatalf("got %v", err)
	}
}

func TestAChainThatHasAlreadyEndedReplacesNothing(t *testing.T) {
	t.Parallel()
	l := newKeeperLab(t)
	l.life = 0
	l.keeper.Step(t.Context())
	if s := l.keeper.Status(); CodeOf(s.LastError) != CodeExpired || !s.ExpiresAt.IsZero() {
		t.Fatalf("%+v", s)
	}
}

func TestRunRenewsUntilItIsTold(t *testing.T) {
	t.Parallel()
	l := newKeeperLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	k, err := NewKeeper(KeeperConfig{
		Resolve: func(context.Context) (*Chain, error) {
			cancel()
			return &Chain{Subject: opID, ExpiresAt: testNow.Add(time.Hour)}, nil
		},
		Clock: l.keeper.cfg.Clock, Rand: l.keeper.cfg.Rand,
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { k.Run(ctx); close(done) }()
	<-done
	if _, err := k.Current(); err != nil {
		t.Fatal(err)
	}
}

func TestAClockSetBackDoesNotKeepAChainFromBeingRenewed(t *testing.T) {
	t.Parallel()
	l := newKeeperLab(t)
	l.err = refuse(CodeFetch, "", "our clock is an hour ahead")
	l.now = testNow.Add(time.Hour)
	l.keeper.Step(t.Context())
	l.err, l.now = nil, testNow
	l.keeper.Step(t.Context())
	c, err := l.keeper.Current()
	if err != nil || l.calls != 2 {
		t.Fatalf("%v after %d resolutions", err, l.calls)
	}
	// And the one at hand is good to its own end, whatever the clock said between.
	due := l.keeper.Status().NextTry
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		l.now = l.now.Add(step)
		l.keeper.Step(t.Context())
	}
	if s := l.keeper.Status(); s.Failures != 0 || s.NextTry.After(due) {
		t.Fatalf("%+v", s)
	}
	if again, err := l.keeper.Current(); err != nil || again.ExpiresAt.Before(c.ExpiresAt) {
		t.Fatalf("%+v %v", again, err)
	}
}
