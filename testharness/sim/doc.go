// Package sim is the kit the simulators are built from: a clock that can be
// moved, profiles of unpleasantness, seeded randomness, named faults that are
// counted, a certificate authority, a journal that survives a kill, and the
// management surface all simulators share.
//
// It promises that a run can be repeated: with the same seed, profile and
// order of calls the same faults are injected, and every injected fault is
// counted and, where an answer still leaves, marked by the header X-Sim-Fault.
// What the journal has flushed is on stable storage.
//
// It refuses to listen anywhere but on loopback: a simulator must never be
// mistaken for the thing it simulates.
package sim
