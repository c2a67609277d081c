package gateway

import (
	"context"
	"fmt"
)

// Replay answers every decision that was taken on a request, oldest first, as
// the events keep them: the facts, the answer and the rule set's hash of that
// day. It is for `airegw explain`, which holds the database's file and keys and
// opens it read-only; so it writes nothing, not even an audit entry, and no
// surface that serves people may call it.
//
// Errors: *Error with NotFound when there is no such request, Internal when a
// decision cannot be read, else what Store.Load answers. A request that was not
// decided yet answers no decision and no error.
func Replay(ctx context.Context, store Store, number string) ([]Decided, error) {
	events, _, err := store.Load(ctx, systemScope("explain"), number)
	if err != nil {
		return nil, wrap("load request", err)
	}
	var out []Decided
	for _, e := range events {
		if e.Type != EventDecided {
			continue
		}
		var d Decided
		err = read(e.Private, &d)
		if err != nil {
			return nil, wrap(fmt.Sprintf("read decision of event %d", e.Seq), err)
		}
		out = append(out, d)
	}
	return out, nil
}
