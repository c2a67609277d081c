package app

import (
	"context"
	"fmt"
	"time"

	"airegw/gateway/store"
)

// A database that several replicas share restarts without them, and comes up
// after them when the whole house does. Whoever starts in such a moment waits.
const (
	databaseWait  = time.Minute            // where database.wait says nothing
	databaseFirst = 200 * time.Millisecond // between the first two tries; doubled
	databaseMost  = 5 * time.Second
)

// awaitDatabase assembles, again and again while the PostgreSQL database is away,
// for as long as database.wait says; each try begins anew, since it may have been
// lost half way. What waiting does not mend (see store.Away) is answered at once.
// Nothing is listened on meanwhile.
func awaitDatabase(ctx context.Context, c Config, o Options, assemble func(context.Context, Config, Options) (*App, error)) (*App, error) {
	patience := c.Database.Wait
	if patience == 0 {
		patience = databaseWait
	}
	began := o.Clock.Now()
	pause := databaseFirst
	for try := 1; ; try++ {
		a, err := assemble(ctx, c, o)
		if err == nil {
			if try > 1 {
				o.Log.Info("the database is back", "tries", try, "after", o.Clock.Now().Sub(began))
			}
			return a, nil
		}
		if c.Database.URLFile == "" || !store.Away(err) || ctx.Err() != nil {
			return nil, err
		}
		left := patience - o.Clock.Now().Sub(began)
		if left <= 0 {
			return nil, fmt.Errorf("the database was away for %s (database.wait): %w", patience, err)
		}
		pause = min(pause, left)
		o.Log.Warn("the database is away; waiting for it", "try", try, "again_in", pause, "at_most", left, "err", err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the database: %w", ctx.Err())
		case <-o.Clock.After(pause):
		}
		pause = min(2*pause, databaseMost)
	}
}
