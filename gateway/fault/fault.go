// Package fault is where tests break the gateway on purpose: a mutant removes
// one check, a point fails, stalls or kills the process at a named place.
//
// Duty: answer, at run time, whether a named mutant is on, and do at a named
// point what the test asked for. Only a build with `-tags mutants` can: there
// MUTANT names the mutant (one, or several with commas) and FAILPOINT the
// points, as in FAILPOINT=relay.sent=kill,store.commit=error@3 (FAILPOINT_FILE: a
// file that says so).
//
// Promise: a production build holds none of it. Without the tag Mutant is a
// constant false and Point a constant nil, so that the compiler drops the
// branch together with the name (a test in cmd/airegw looks for the names in
// the binary).
//
// It refuses an unknown action in FAILPOINT: the process ends at once, since a
// test that asked for a fault and got none would prove nothing.
package fault
