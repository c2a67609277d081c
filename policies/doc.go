// Package policies holds the dated country rules of the AIRE card as data and
// one pure function that applies them.
//
// Duty: read rules written in YAML that a consular clerk can check, refuse any
// set that is not complete and unambiguous, and decide from the facts of a
// request who may ask, which deliveries are open, for how long the card lasts,
// what it costs and what is printed on it.
//
// Promise: Decide reads no clock, no file and no network; the same rule set and
// the same facts always give the same decision, so a decision recorded with
// Set.Hash and Facts.Digest can be replayed years later. Every verdict names
// the rule that gave it, its legal reference and a reason in Italian and
// English. Dates of rules are evaluated in Europe/Rome, whatever zone the
// caller's time carries.
//
// It refuses: rule files with unknown members, unknown keys, wrong values,
// overlapping dates, gaps, unreachable rules or missing reasons (each named by
// file and line); facts with unknown members or codes; and countries that are
// not in its table. Nothing about a country or a date is a condition in Go.
package policies
