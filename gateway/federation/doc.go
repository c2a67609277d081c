// Package federation is our side of the CIE OpenID Connect Federation
// (OpenID Federation 1.0 in its Italian profile).
//
// Duty: read entity statements, build and judge trust chains from an entity up
// to the pinned Trust Anchor, merge and apply metadata policy, validate trust
// marks, keep the provider's chain fresh, and publish what we say about
// ourselves: Entity Configuration, resolve answers, statements about the
// relying parties we may aggregate one day.
//
// Promise: a Chain exists only when every step held at the caller's instant: the
// anchor's configuration signed by a pinned key, each statement signed by keys
// its superior vouches for, constraints, policy, marks, and it says until when.
// Each failing step has a Code of its own. Nothing of a foreign statement is
// believed before its signature holds. Tolerant where production is odd: text in
// place of an object for constraints, both spellings of trust_mark_issuers,
// `id` as a mark's name, superfluous members. Strict where trust hangs on it:
// typ, kid, alg, iss, sub, iat, exp, crit, jwks, repeated members.
//
// It refuses: redirects, plain http and private addresses outside loopback,
// answers beyond MaxStatement, more than MaxHints superiors, loops, and to
// discover anything because a stranger asked (/resolve serves what is known).
//
// Sources: the published spid-cie-oidc-docs ("D"), OpenID Federation 1.0 ("F").
// Where they disagree the comments say whom we follow and why.
//
// # Aggregation
//
// The gateway starts as one relying party of one body (an Entity). A registered
// aggregator ("soggetto aggregatore") is a Directory over several of them; see
// there for what full and light aggregation change.
package federation
