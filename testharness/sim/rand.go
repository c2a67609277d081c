package sim

import (
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"sync"
)

// Rand is seeded randomness, safe for concurrent use. It decides faults and
// makes synthetic data; keys never come from it.
type Rand struct {
	seed uint64
	name string
	mu   sync.Mutex
	rng  *rand.Rand
}

// NewRand returns the stream of a seed. Seed 0 means: choose one; Seed tells
// which, so that it can be printed and replayed.
func NewRand(seed uint64) *Rand {
	for seed == 0 {
		var b [8]byte
		_, _ = crand.Read(b[:]) // never fails since Go 1.24
		seed = binary.LittleEndian.Uint64(b[:])
	}
	return newRand(seed, "")
}

func newRand(seed uint64, name string) *Rand {
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, seed)
	h.Write([]byte(name))
	return &Rand{seed: seed, name: name, rng: rand.New(rand.NewChaCha8([32]byte(h.Sum(nil))))}
}

// Seed is what NewRand was given or chose.
func (r *Rand) Seed() uint64 { return r.seed }

// Sub is an independent stream of the same seed, so that what one part draws
// does not shift what another gets.
func (r *Rand) Sub(name string) *Rand { return newRand(r.seed, r.name+"/"+name) }

// Float64 is in [0,1).
func (r *Rand) Float64() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rng.Float64()
}

// IntN is in [0,n); n must be positive.
func (r *Rand) IntN(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rng.IntN(n)
}

// Uint64 is any value.
func (r *Rand) Uint64() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rng.Uint64()
}
