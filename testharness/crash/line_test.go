package crash

import (
	"cmp"
	"context"
	"fmt"
	"testing"
	"time"

	"airegw/testharness"
)

// badLine is what the line to the peers does to calls: of a hundred, five are
// carried out and their answer is lost, five meet a 503, five get half a body.
var badLine = testharness.FaultRates{Lost: 0.05, Unavailable: 0.05, Cut: 0.05}

// In a soak of forty minutes SQLite has seventeen, a shorter one its share, beside the
// kills; what does not fit into it is not taken, and the report says how many were.
func TestABadLineLosesNothingAndDoublesNothingOnSQLite(t *testing.T) {
	t.Parallel()
	acrossABadLine(t, onSQLite, soak(t, 10_000, 200_000), cmp.Or(share(t, lastShare), lineLong))
}

func TestABadLineLosesNothingAndDoublesNothingOnPostgreSQL(t *testing.T) {
	aloneInASoak(t)
	acrossABadLine(t, onPostgreSQL, soak(t, 2_000, 2_000), lineLong)
}

const (
	// lineLong bounds how long requests are taken in CI, for a busy machine's sake.
	lineLong = 6 * time.Minute

	// farShare: of so many requests one comes all the way, its person asked about at
	// the simulated register through a bad line of its own; the others begin as that
	// one's dossier, about themselves (a check there costs twenty RSA signatures, and
	// says nothing about the core).
	farShare = 100

	// wholeShare: of so many dossiers one is prepared, confirmed and signed by the
	// counter's own functions, over the bad line; the others begin signed, with the
	// core holding their order. What must be neither lost nor doubled, the submission
	// with its look-ups, crosses the line for all. A soak has twenty times as many
	// requests, and one in twenty of them.
	wholeShare, wholeSoakShare = 5, 20
)

// acrossABadLine takes n requests, or as many as fit into the time, to the core's
// receipt, by the counter's own functions and the workers, while the line to the
// core (and to the register) loses, refuses and cuts answers. Then the core's ledger
// is compared with what is on record, request by request.
func acrossABadLine(t *testing.T, e engine, goal int, long time.Duration) {
	from := time.Now()
	whole := wholeShare
	if soakMinutes(t) > 0 {
		whole = wholeSoakShare
	}
	w := newWorld(t, worldOptions{engine: e, people: goal, rates: badLine, seed: 40, whole: whole})
	ctx, cancel := context.WithTimeout(t.Context(), 2*long)
	defer cancel()
	w.run(ctx)
	n := w.takeAll(ctx, goal, long)
	w.settle(ctx, n)
	took := time.Since(from)
	core, register := w.core.Counts(), w.registerLine.Counts()
	if core.Lost < int64(n)/25 || core.Unavailable < int64(n)/25 || core.Cut < int64(n)/25 || register.Calls == 0 {
		t.Errorf("the line was good: %+v %+v", core, register)
	}
	switch {
	case n < goal/4 && soakMinutes(t) == 0:
		t.Errorf("only %d of %d requests in %s: this proves too little", n, goal, long)
	case n < goal:
		t.Logf("TOO BUSY A MACHINE: only %d of %d requests in %s", n, goal, long)
	}
	lost := w.judge(n)
	measured(t, fmt.Sprintf("bad line on %s: requests taken across it, one in %d from its forms on", e, whole), float64(n), "requests", fmt.Sprintf("goal %d", goal), true)
	measured(t, fmt.Sprintf("bad line on %s: lost or doubled of %d", e, n), float64(lost), "requests", "0", lost == 0)
	t.Logf("%d requests on %s in %.1f s, acts repeated %d times; line to the core %+v, to the register %+v",
		n, e, took.Seconds(), w.retries.Load(), core, register)
}
