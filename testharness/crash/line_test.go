package crash

import (
	"context"
	"fmt"
	"testing"
	"time"

	"airegw/testharness"
)

// badLine is what the line to the peers does to calls: of a hundred, five are
// carried out and their answer is lost, five meet a 503, five get half a body.
var badLine = testharness.FaultRates{Lost: 0.05, Unavailable: 0.05, Cut: 0.05}

func TestABadLineLosesNothingAndDoublesNothingOnSQLite(t *testing.T) {
	t.Parallel()
	acrossABadLine(t, onSQLite, soak(t, 300, 200_000))
}

func TestABadLineLosesNothingAndDoublesNothingOnPostgreSQL(t *testing.T) {
	t.Parallel()
	acrossABadLine(t, onPostgreSQL, soak(t, 40, 2_000))
}

// farShare: the first of so many requests comes all the way, its person asked
// about at the simulated register through a bad line of its own; the others begin
// as that one's dossier, about themselves (a check there costs twenty RSA
// signatures, and says nothing about the core).
const farShare = 100

// acrossABadLine takes n requests to the core's receipt, by the counter's own
// functions and the workers, while the line to the core (and to the register)
// loses, refuses and cuts answers. Then the core's ledger is compared with what
// is on record, request by request.
func acrossABadLine(t *testing.T, e engine, n int) {
	from := time.Now()
	w := newWorld(t, worldOptions{engine: e, people: n, rates: badLine, seed: 40})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute+time.Duration(n)*50*time.Millisecond)
	defer cancel()
	w.run(ctx)
	w.takeAll(ctx, n)
	w.settle(ctx, n)
	took := time.Since(from)
	core, register := w.core.Counts(), w.registerLine.Counts()
	if core.Lost < int64(n)/20 || core.Unavailable == 0 || core.Cut == 0 || register.Calls == 0 {
		t.Errorf("the line was good: %+v %+v", core, register)
	}
	lost := w.judge(n)
	measured(t, fmt.Sprintf("bad line on %s: lost or doubled of %d", e, n), float64(lost), "requests", "0", lost == 0)
	t.Logf("%d requests on %s in %.1f s, acts repeated %d times; line to the core %+v, to the register %+v",
		n, e, took.Seconds(), w.retries.Load(), core, register)
}
