package gateway

import (
	"bytes"
	"slices"
	"sync"
)

// Whoever works on a request loads it several times within moments: the counter's
// next act, the relay after the signature, the page after the act. Most of what a
// load costs is reading the same events again, so the requests loaded last are
// remembered as their events say. Nothing is believed because it is remembered:
// the events come from the store each time, and must be those that were read, byte
// by byte. What the store has erased or changed is read anew.

// fewRecent is how many requests are remembered at most, twice over.
const fewRecent = 256

// recent remembers requests in two generations: when the newer one is full, or
// when the house is kept (see forget), the older one goes.
type recent struct {
	mu           sync.Mutex
	newer, older map[string]*Request
}

// derive answers what Derive does.
func (c *recent) derive(id string, events []Event) (*Request, error) {
	known := c.get(id)
	if known == nil || len(known.Events) > len(events) || !slices.EqualFunc(known.Events, events[:len(known.Events)], sameEvent) {
		known = &Request{ID: id}
	}
	r := known.twin()
	err := r.applyAll(events[len(r.Events):])
	if err != nil {
		return nil, err
	}
	r.keep()
	c.put(r.stored)
	return r, nil
}

func (c *recent) get(id string) *Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.newer[id]; r != nil {
		return r
	}
	return c.older[id]
}

// put remembers a request nobody changes any more.
func (c *recent) put(r *Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newer == nil || len(c.newer) >= fewRecent {
		c.turn()
	}
	c.newer[r.ID] = r
}

// forget lets go of what was not loaded since the last time but one.
func (c *recent) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn()
}

func (c *recent) turn() { c.older, c.newer = c.newer, map[string]*Request{} }

// sameEvent compares everything in two events.
func sameEvent(a, b Event) bool {
	return a.Seq == b.Seq && a.Type == b.Type && a.To == b.To && a.At.Equal(b.At) && a.Actor == b.Actor &&
		bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Private, b.Private)
}
