package gateway

import (
	"context"
	"time"

	"airegw/anpr"
)

// MyData is what the register said of a citizen when it was last asked for one
// of their requests. Nobody is asked for showing it: a call per page view would
// spend the register's quota and tell nothing new.
type MyData struct {
	Known       bool          `json:"known"` // false: never asked for a request of theirs
	Record      anpr.Record   `json:"-"`     // personal data, of the citizen only
	AskedAt     time.Time     `json:"asked_at,omitzero"`
	Age         time.Duration `json:"age"`               // since then
	Request     string        `json:"request,omitempty"` // for which it was asked
	Open        bool          `json:"open"`              // that request is still open
	Corrections []Correction  `json:"corrections,omitempty"`
}

// MyData answers the citizen's own record as the register last gave it, with its
// age and what is being mended in it. It stores nothing but the audited look and
// never asks the register. Forbidden for anybody but a citizen.
func (d Desk) MyData(ctx context.Context) (MyData, error) {
	code, ok := d.scope.Person()
	if !ok {
		return MyData{}, NewError(Forbidden, "citizen_only")
	}
	rows, err := d.g.store.Find(ctx, d.scope, Criteria{Limit: 20})
	if err != nil {
		return MyData{}, wrap("list requests", err)
	}
	var out MyData
	for _, row := range rows {
		r, err := d.g.load(ctx, d.scope, row.ID)
		if err != nil {
			return MyData{}, err
		}
		record, person, found := ownRecord(r, code)
		if !found || r.Register.At.Before(out.AskedAt) {
			continue
		}
		out = MyData{Known: true, Record: record, AskedAt: r.Register.At, Request: r.ID, Open: !r.State.Final()}
		all, err := d.Corrections(ctx, r.ID)
		if err != nil {
			return MyData{}, err
		}
		for _, c := range all {
			if c.Person == person {
				out.Corrections = append(out.Corrections, c)
			}
		}
	}
	now := d.g.clock.Now()
	if out.Known {
		out.Age = now.Sub(out.AskedAt)
	}
	err = d.g.store.Audit(ctx, AuditEntry{At: now, Actor: d.scope.actor, Act: "own_data_seen", Subject: out.Request})
	return out, wrap("audit look", err)
}

// ownRecord answers the record of one of the people a request names, and which
// of them it is.
func ownRecord(r *Request, code string) (record anpr.Record, person int, ok bool) {
	if r.Register == nil {
		return anpr.Record{}, 0, false
	}
	if r.Input.Applicant.FiscalCode == code {
		return r.Register.Applicant, 0, true
	}
	for i, p := range r.Input.Parents {
		if p.FiscalCode == code && i < len(r.Register.Parents) {
			return r.Register.Parents[i], i + 1, true
		}
	}
	return anpr.Record{}, 0, false
}
