package gateway

import (
	"context"
	"slices"
	"time"
)

// What an office sees of the daily comparison with the core: how it went as a
// whole, and the differences in the office's own requests. A difference in an
// order that is nobody's here is for whoever runs the gateway (`airegw audit
// reconcile`).

// reconciledMost bounds the days that are shown.
const reconciledMost = 14

// OfficeReconciliation is a day's comparison as one office sees it.
type OfficeReconciliation struct {
	Day         string // YYYY-MM-DD, UTC
	FinishedAt  time.Time
	Events      int                // of the core's feed, read again; of all offices
	Orders      int                // asked about one by one; of all offices
	Unanswered  int                // questions the core did not answer
	Differences []OfficeDifference // in the office's requests
	Open        int                // of these, not healed
	Cut         bool               // more were found than a report names: some of the office's may be among them
}

// OfficeDifference is a difference in one of the office's requests.
type OfficeDifference struct {
	Number string // of the request
	Difference
}

// Reconciliations answers the last daily comparisons with the core, at most
// fourteen, the newest first, with the differences in requests that the scope
// sees. Of an office's people its referents may, and its machines: else Forbidden
// "referent_only".
func (d Desk) Reconciliations(ctx context.Context) ([]OfficeReconciliation, error) {
	actor := d.scope.actor
	if actor.Kind != ActorClient && actor.Role != RoleReferent {
		return nil, NewError(Forbidden, "referent_only")
	}
	reports, err := d.g.store.Reconciliations(ctx, reconciledMost)
	if err != nil {
		return nil, wrap("read reconciliations", err)
	}
	var numbers []string
	for _, r := range reports {
		for _, diff := range r.Differences {
			if number, ok := requestOf(diff.OrderKey); ok {
				numbers = append(numbers, number)
			}
		}
	}
	slices.Sort(numbers)
	seen := map[string]bool{}
	for some := range slices.Chunk(slices.Compact(numbers), 500) {
		rows, err := d.g.store.Find(ctx, d.scope, Criteria{Numbers: some, Limit: len(some)})
		if err != nil {
			return nil, wrap("find requests of reconciliations", err)
		}
		for _, row := range rows {
			seen[row.ID] = true
		}
	}
	out := make([]OfficeReconciliation, len(reports))
	for i, r := range reports {
		out[i] = OfficeReconciliation{
			Day: r.Day, FinishedAt: r.FinishedAt, Events: r.Events, Orders: r.Orders, Unanswered: r.Unanswered, Cut: r.Found > len(r.Differences),
		}
		for _, diff := range r.Differences {
			number, _ := requestOf(diff.OrderKey) // what is no order of ours answers to no request
			if !seen[number] {
				continue
			}
			out[i].Differences = append(out[i].Differences, OfficeDifference{number, diff})
			if !diff.Healed {
				out[i].Open++
			}
		}
	}
	return out, nil
}
