package anpr

import (
	"context"
	"log/slog"
	"slices"

	"airegw/gateway/fault"
)

// Doors asks each question at the door that it can be asked at: door A (PDND)
// or door C (the consular service). It answers the same Record either way.
//
// Door C's C001 is asked by fiscal code, names and the comune of AIRE
// registration, which is mandatory (spec §4.2bis), and no operation of the
// service tells that comune: C010 answers yes or no, C002 and C003 answer what
// they were given. So a check goes to door C alone where the register has told
// the comune already, or somebody says which it is and the register agrees;
// otherwise door A tells it, and door C is asked for what it alone knows (EA044
// to EA047).
type Doors struct {
	PDND interface {
		Check(ctx context.Context, q Query) (Record, error)
	}
	Consular *Consular
	// Known sends every question to door C whose comune of AIRE registration the
	// register has told.
	Known bool
	// First says whether the first check of a request goes to door C, by
	// Query.Post. Nil: never.
	First  func(post string) bool
	Logger *slog.Logger // nil: silent
}

// Check implements the gateway's register; as Client.Check. An outage of door C
// waits where the register was asked through it before, since what it alone
// tells must not vanish by asking elsewhere; at a first check door A stands in.
func (d Doors) Check(ctx context.Context, q Query) (Record, error) {
	first := d.First != nil && q.Post != "" && d.First(q.Post)
	switch {
	case !q.AsOf.IsZero():
		return d.PDND.Check(ctx, q)
	case q.AIREComune.ISTAT != "" && (d.Known || first):
		return d.Consular.Check(ctx, q)
	case first:
		return d.first(ctx, q)
	default:
		return d.PDND.Check(ctx, q)
	}
}

// Quotas answers door A's: door C has none.
func (d Doors) Quotas(ctx context.Context) ([]Usage, []Stop, error) {
	if a, ok := d.PDND.(interface {
		Quotas(ctx context.Context) ([]Usage, []Stop, error)
	}); ok {
		return a.Quotas(ctx)
	}
	return nil, nil, nil
}

// first checks somebody of whom the register has told nothing yet.
func (d Doors) first(ctx context.Context, q Query) (Record, error) {
	var calls []Call
	aire := Unknown
	if q.DeclaredComune.ISTAT != "" && q.Surname != "" && q.GivenName != "" {
		ask := q
		ask.AIREComune = q.DeclaredComune
		rec, err := d.Consular.Check(ctx, ask)
		if err == nil && (rec.Found || fault.Mutant("anpr.doors.declared")) {
			return rec, nil
		}
		// What somebody says may be wrong: only a record that was found counts, and
		// nobody is refused for the rest.
		calls = rec.Calls
	} else {
		var err error
		aire, calls, err = d.Consular.IsAIRE(ctx, q)
		if err != nil {
			aire = Unknown // it is logged where it happened
		}
	}
	rec, err := d.PDND.Check(ctx, q)
	if err != nil {
		return Record{}, err
	}
	rec.Calls = append(calls, rec.Calls...)
	rec.saidByC010(aire)
	if !rec.Found || rec.Person.AIRE != Yes || rec.Person.AIREComune.ISTAT == "" || rec.Has(FindingDuplicate) {
		return rec, nil
	}
	ask := q
	ask.AIREComune = rec.Person.AIREComune
	ask.KnownSurname, ask.KnownGivenName = rec.Person.Surname, rec.Person.GivenName
	view, err := d.Consular.Check(ctx, ask)
	if err != nil {
		// Door A's word stands; the next check, before the relay at the latest, asks
		// door C again.
		d.log(ctx, "the consular view is missing: door C did not answer", err)
		return rec, nil
	}
	rec.Calls = append(rec.Calls, view.Calls...)
	for _, f := range view.Findings {
		if !rec.Has(f.Code) {
			rec.add(f)
		}
	}
	return rec, nil
}

func (d Doors) log(ctx context.Context, text string, err error) {
	if d.Logger != nil {
		d.Logger.LogAttrs(ctx, slog.LevelWarn, text, slog.Any("err", err))
	}
}

// saidByC010 adds what the one explicit answer on AIRE says: it settles what
// door A's services left open, and where they contradict it the register
// disagrees with itself.
func (rec *Record) saidByC010(aire Answer) {
	if aire == Unknown || !rec.Found {
		return
	}
	if rec.Person.AIRE == Unknown && aire == Yes {
		rec.Person.AIRE = Yes
		rec.Findings = slices.DeleteFunc(rec.Findings, func(f Finding) bool { return f.Code == FindingAIREUnknown })
	}
	if rec.Person.AIRE == Yes && aire == No && rec.Person.Alive != No {
		rec.add(Finding{Code: FindingConsulateDisagrees, Service: ConsularC010, Detail: "not_in_aire"})
	}
}
