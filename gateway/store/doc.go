// Package store keeps the gateway's state: requests, their events, the outbox,
// the core's words, the audit chain, sessions and machine clients, in one
// database file (SQLite) or, where several replicas serve, in one PostgreSQL
// database. It is the only place that speaks SQL.
//
// It promises: a write that returned nil is on the disk (synchronous FULL; many
// callers share one sync), a write that returned an error left nothing, unless
// the way to PostgreSQL broke during its commit (Unavailable: ask again); two
// claims never hold the same work; personal data is encrypted before it touches
// the disk and found by keyed digest only; whoever changes, drops or swaps a
// sealed row of the audit trail is found out by name.
//
// It refuses: a second writing process on one file, keys that are not the
// database's, a simulation's database in production and the other way round, a
// schema newer than the program, reading a request without a Scope.
package store
