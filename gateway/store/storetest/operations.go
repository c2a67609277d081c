package storetest

import (
	"context"
	"sync"
	"testing"
	"time"
)

// operationKeeper is what gateway/app asks of a store, beside gateway.Store.
type operationKeeper interface {
	OperationFor(ctx context.Context, series, key string, floor int64, fresh bool, now time.Time) (int64, error)
}

func keptOperations(t *testing.T, b *bench) {
	t.Helper()
	keeper, ok := b.Store.(operationKeeper)
	if !ok {
		t.Fatal("the store keeps no operations")
	}
	of := func(key string, floor int64, fresh bool) int64 {
		t.Helper()
		n, err := keeper.OperationFor(b.ctx, "kept", key, floor, fresh, b.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := of("a", 100, false)
	if first != 100 || of("a", 500, false) != 100 {
		t.Errorf("the first is %d, or does not stay", first)
	}
	if n := of("b", 100, false); n != 101 {
		t.Errorf("the next is %d", n)
	}
	if n := of("", 50, false); n != 102 {
		t.Errorf("a floor that was passed gives %d", n)
	}
	if n := of("a", 200, true); n != 200 || of("a", 1, false) != 200 {
		t.Errorf("a fresh one is %d, or does not stay", n)
	}
	// Many at once for one key are one number.
	var wg sync.WaitGroup
	got := make([]int64, 8)
	for i := range got {
		wg.Go(func() { got[i], _ = keeper.OperationFor(b.ctx, "kept", "c", 300, false, b.clock.Now()) })
	}
	wg.Wait()
	for _, n := range got {
		if n != got[0] || n < 300 {
			t.Errorf("one key, %v", got)
			break
		}
	}
}
