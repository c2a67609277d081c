package sim

import (
	"slices"
	"sync"
)

// Recent is the end of a ledger, kept in memory for whoever looks at a simulator:
// the last Keep entries, for a while a tenth more. It is safe for concurrent use.
type Recent[T any] struct {
	Keep int

	mu      sync.Mutex
	seq     int64
	entries []T
}

// Add adds what entry makes of its number; the first is 1.
func (r *Recent[T]) Add(entry func(seq int64) T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	r.entries = append(r.entries, entry(r.seq))
	if len(r.entries) > r.Keep+r.Keep/10 {
		r.entries = slices.Clone(r.entries[len(r.entries)-r.Keep:])
	}
}

// All answers the entries, oldest first.
func (r *Recent[T]) All() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.entries)
}

// NewestFirst answers the entries in the other order.
func (r *Recent[T]) NewestFirst() []T {
	list := r.All()
	slices.Reverse(list)
	return list
}
