package app

import (
	"context"
	"time"
)

// purgeEvery is how often what is over is forgotten: sessions, token ids,
// attempts to log in, and the transaction register after its 24 months.
const purgeEvery = time.Hour

// keepHouse forgets what is over until ctx ends. A replica that only serves
// people deletes nothing.
func (a *App) keepHouse(ctx context.Context, after func(time.Duration) <-chan time.Time) {
	for ctx.Err() == nil {
		n, err := a.Store.Purge(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			a.log.Warn("what is over is not forgotten yet", "err", err)
		case n > 0:
			a.log.Info("forgot what is over", "rows", n)
		}
		select {
		case <-ctx.Done():
		case <-after(purgeEvery):
		}
	}
}
