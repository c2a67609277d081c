// Package anpr is the register as seen from here: the client that asks ANPR
// about a person, the record it answers, and the registries that go with it
// (comuni and foreign states with their history, fiscal codes).
//
// Duty of the client: ask ANPR's e-services on PDND (door A) for the AIRE
// check, C030 → C015 → C020 → C019 → C018, with the services that are granted,
// each signed as ModI asks (specs/anpr-pdnd-modi.md §1–§3), and read the
// answers as they come.
//
// Promise: a person is "absent" only when the register says so with its own
// code (EN122); an outage, a quota, an HTML page, a 404 of the appliance in
// front, an answer that cannot be read are a RegisterError that waits, never a
// finding about a citizen. What is odd about a person is a Finding of a closed
// list inside the Record, with who must act next. Every call leaves its
// evidence: operation ids, transaction id, SHA-256 of the exact answer and of
// our tracking evidence.
//
// It refuses: to send a request that its own self-check finds wrong (the real
// gateway answers 400 without a reason), to guess between two people who share
// a code, to put a person's data into an error text or a log.
package anpr
