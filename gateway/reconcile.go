package gateway

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Once a day what is on record is compared with what the core says, so that a
// difference that the ordinary way (push, feed, receipt) did not heal is found
// before the citizen asks. What can be healed is healed by comparing.

const (
	reconcileLook = 15 * time.Minute // how often a replica looks whether today's comparison is due
	reconcileSlow = 24 * time.Hour   // an order that did not move for so long is asked about
	reconcileMost = 500              // orders asked about in a day
	reconcileList = 200              // differences a report names; all are counted
	pageMost      = 10_000           // pages of the feed read at most
)

// Difference is what we and the core do not say alike. Code is a key of
// gateway/messages.
type Difference struct {
	Code     string `json:"code"`
	OrderKey string `json:"order_key"`
	Seq      int    `json:"seq,omitempty"`
	Ours     string `json:"ours,omitempty"`
	Theirs   string `json:"theirs,omitempty"`
	Healed   bool   `json:"healed"` // what was missing is kept by now
}

// The differences.
const (
	DiffEventLost     = "reconcile_event_lost"     // in the core's feed, never kept here
	DiffEventDiffers  = "reconcile_event_differs"  // kept here with another content
	DiffEventParked   = "reconcile_event_parked"   // kept and set aside for a person
	DiffEventWaits    = "reconcile_event_waits"    // kept for an hour, not applied
	DiffOrderUnknown  = "reconcile_order_unknown"  // relayed here, unknown to the core
	DiffNoReceipt     = "reconcile_no_receipt"     // relayed here, not accepted there
	DiffCancelled     = "reconcile_cancelled"      // cancelled there, alive here
	DiffEventsMissing = "reconcile_events_missing" // the core has told more than its feed brought
	codeOrderUnknown  = "order_unknown"            // the core's verdict
	coreCancelled     = "cancelled"                // the core's state
	coreRejected      = "rejected"                 // by CNSD; the core's state
)

// Reconciliation is one day's comparison.
type Reconciliation struct {
	Day         string       `json:"day"` // YYYY-MM-DD, UTC
	BegunAt     time.Time    `json:"begun_at"`
	FinishedAt  time.Time    `json:"finished_at"`
	Events      int          `json:"events"`         // of the core's feed, read again
	Orders      int          `json:"orders"`         // asked about one by one
	Unanswered  int          `json:"unanswered"`     // questions the core did not answer
	Found       int          `json:"found"`          // differences, also those not named
	Open        int          `json:"open"`           // of these, not healed
	Differences []Difference `json:"differences"`    // the first ones
	From        string       `json:"from,omitempty"` // cursor of the feed it began at
	Next        string       `json:"next,omitempty"` // cursor it ended at
}

// ReconcileStore keeps what the daily comparison needs. Contract as of Store.
type ReconcileStore interface {
	// BeginReconciliation makes a day's comparison the caller's, unless it was
	// done or another replica began it within the hour: then mine is false. from
	// is the cursor at which the comparison before the last one ended.
	BeginReconciliation(ctx context.Context, day string, now time.Time) (mine bool, from string, err error)

	// KeepReconciliation keeps a day's finished report.
	KeepReconciliation(ctx context.Context, r Reconciliation) error

	// Reconciliations answers the last finished reports, newest first.
	Reconciliations(ctx context.Context, n int) ([]Reconciliation, error)

	// CompareCoreEvents answers which of these events were never kept, and which
	// are kept with another content.
	CompareCoreEvents(ctx context.Context, events []CoreEvent) (lost, differ []CoreEvent, err error)

	// UnappliedCoreEvents answers events that are parked, or that were kept before
	// a time and are not applied; oldest first, at most n.
	UnappliedCoreEvents(ctx context.Context, before time.Time, n int) ([]UnappliedEvent, error)

	// QuietRequests answers the requests in some states that did not change since
	// before, the quietest first, at most n.
	QuietRequests(ctx context.Context, states []State, before time.Time, n int) ([]string, error)
}

// UnappliedEvent is a kept event that moved nothing.
type UnappliedEvent struct {
	OrderKey string
	Seq      int
	Type     string
	Parked   string // why, or ""
}

// ReconcileOnce compares with the core if today's comparison is due and no other
// replica does it. again is always false.
func (g *Gateway) ReconcileOnce(ctx context.Context) (again bool, err error) {
	now := g.clock.Now()
	r := Reconciliation{Day: now.Format(time.DateOnly), BegunAt: now, Differences: []Difference{}}
	mine, from, err := g.store.BeginReconciliation(ctx, r.Day, now)
	if err != nil || !mine {
		return false, wrap("begin reconciliation", err)
	}
	r.From = from
	err = g.rereadFeed(ctx, &r, from)
	if err != nil {
		return false, err
	}
	behind, err := g.askQuiet(ctx, &r)
	if err != nil {
		return false, err
	}
	if behind && from != "" {
		// What the core has told and its newer feed does not bring is in the older.
		err = g.rereadFeed(ctx, &r, "")
		if err != nil {
			return false, err
		}
	}
	waiting, err := g.store.UnappliedCoreEvents(ctx, now.Add(-time.Hour), reconcileMost)
	if err != nil {
		return false, wrap("read waiting core events", err)
	}
	for _, e := range waiting {
		d := Difference{Code: DiffEventWaits, OrderKey: e.OrderKey, Seq: e.Seq, Theirs: e.Type}
		if e.Parked != "" {
			d.Code, d.Ours = DiffEventParked, e.Parked
		}
		r.add(d)
	}
	r.FinishedAt = g.clock.Now()
	err = g.store.KeepReconciliation(ctx, r)
	if err != nil {
		return false, wrap("keep reconciliation", err)
	}
	poke(g.wakeStatus)
	if r.Open > 0 || r.Unanswered > 0 {
		g.log.Warn("reconciliation with the core", "day", r.Day, "found", r.Found, "open", r.Open, "unanswered", r.Unanswered)
	}
	return false, nil
}

func (r *Reconciliation) add(d Difference) {
	r.Found++
	if !d.Healed {
		r.Open++
	}
	if len(r.Differences) < reconcileList {
		r.Differences = append(r.Differences, d)
	}
}

// rereadFeed reads the core's feed from a cursor to its end and keeps what was
// never kept. A core that does not answer leaves the rest to tomorrow.
func (g *Gateway) rereadFeed(ctx context.Context, r *Reconciliation, after string) error {
	for range pageMost {
		call, cancel := context.WithTimeout(ctx, g.set.Lease)
		events, next, more, err := g.core.Feed(call, after)
		cancel()
		g.sawCore(err)
		if err != nil {
			r.Unanswered++
			return nil //nolint:nilerr // counted: not our failure
		}
		lost, differ, err := g.store.CompareCoreEvents(ctx, events)
		if err == nil && len(lost) > 0 {
			err = g.store.SaveCoreEvents(ctx, lost, "")
		}
		if err != nil {
			return wrap("compare core events", err)
		}
		for _, e := range lost {
			r.add(Difference{Code: DiffEventLost, OrderKey: e.OrderKey, Seq: e.Seq, Theirs: e.Type, Healed: true})
		}
		for _, e := range differ {
			r.add(Difference{Code: DiffEventDiffers, OrderKey: e.OrderKey, Seq: e.Seq, Theirs: e.Type})
		}
		r.Events += len(events)
		if next != "" {
			r.Next = next
		}
		if !more || next == after {
			return nil
		}
		after = next
	}
	return nil
}

// askQuiet asks the core about orders of which nothing was heard for long.
// behind says that the core has told more about one than was kept here.
func (g *Gateway) askQuiet(ctx context.Context, r *Reconciliation) (behind bool, err error) {
	states := slices.DeleteFunc(slices.Clone(coreMay), func(s State) bool { return s == StateSigned })
	quiet, err := g.store.QuietRequests(ctx, states, r.BegunAt.Add(-reconcileSlow), reconcileMost)
	if err != nil {
		return false, wrap("read quiet requests", err)
	}
	for _, id := range quiet {
		request, err := g.load(ctx, systemScope("reconcile"), id)
		if err != nil {
			return behind, err
		}
		o := request.Order()
		if o == nil || o.Dead {
			continue
		}
		r.Orders++
		held, err := g.core.Lookup(ctx, o.Key)
		g.sawCore(err)
		var verdict *CoreVerdict
		d := Difference{OrderKey: o.Key, Ours: string(request.State), Theirs: held.State}
		switch {
		case errors.As(err, &verdict) && verdict.Code == codeOrderUnknown:
			d.Code = DiffOrderUnknown
		case err != nil:
			r.Unanswered++
		case held.Receipt == nil:
			d.Code = DiffNoReceipt
		case held.State == coreCancelled:
			d.Code = DiffCancelled
		case held.LastSeq > o.CoreSeq:
			d.Code, d.Seq = DiffEventsMissing, held.LastSeq
			behind = true
		}
		if d.Code != "" {
			r.add(d)
		}
	}
	return behind, nil
}
