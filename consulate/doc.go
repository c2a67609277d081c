// Package consulate is the Italian consular network as the gateway knows it:
// every post with what it can do and since when, which posts serve a state, and
// which of them serves an address. It also checks the register's official
// tables of posts and says how they differ from what ships.
//
// The competent post of a person is the one in the person's register record
// (PostByCode). Districts check that answer and stand in for it before there is
// a record; they never overrule it.
//
// The package promises that every value carries its source, that an address
// that the data cannot place is answered with named candidates rather than with
// a guess, and that an honorary post never captures (spec B.2.5). It refuses to
// guess a post from the state alone where several share it (spec B.2.1), and a
// table with a single wrong row as a whole.
//
// Data: posts.tsv, jurisdictions.tsv, districts.tsv, each explaining its own
// columns. Nothing here does I/O beyond the reader given to the importers.
package consulate
