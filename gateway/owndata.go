package gateway

import (
	"context"
	"encoding/json"
	"strings"
	"time"
)

// OwnData is everything the gateway keeps about one person, for that person
// (GDPR art. 15 and 20): each request that names them, with its whole history as
// it was stored. Digests, keys and what belongs to offices' work alone are not
// theirs and not in it.
type OwnData struct {
	FiscalCode string       `json:"fiscal_code"`
	MadeAt     time.Time    `json:"made_at"`
	Requests   []OwnRequest `json:"requests"`
}

// OwnRequest is one request with its history.
type OwnRequest struct {
	Number string     `json:"number"`
	State  State      `json:"state"`
	Office string     `json:"office,omitempty"`
	Events []OwnEvent `json:"events"`
}

// OwnEvent is one event as it was stored; an operator is named by kind and
// office only.
type OwnEvent struct {
	Seq     int             `json:"seq"`
	Type    EventType       `json:"type"`
	At      time.Time       `json:"at"`
	By      ActorKind       `json:"by"`
	Office  string          `json:"office,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
	Private json.RawMessage `json:"private,omitempty"`
}

// OwnData answers everything kept about the person of a citizen's scope, and
// writes into the audit trail that it was given out. Forbidden "citizen_only"
// for any other scope.
func (d Desk) OwnData(ctx context.Context) (OwnData, error) {
	if _, ok := d.scope.Person(); !ok {
		return OwnData{}, NewError(Forbidden, "citizen_only")
	}
	return ownData(ctx, d.g.store, d.scope, d.scope.actor, d.g.clock.Now(), true)
}

// PersonData is OwnData for who answers a person's written question in place of
// the person: actor is who that is. Without record nothing is written, for a
// database that can only be read.
func PersonData(ctx context.Context, s Store, fiscalCode string, actor Actor, now time.Time, record bool) (OwnData, error) {
	return ownData(ctx, s, CitizenScope(fiscalCode, actor.ID, 0), actor, now, record)
}

func ownData(ctx context.Context, s Store, scope Scope, actor Actor, now time.Time, record bool) (OwnData, error) {
	person, _ := scope.Person()
	out := OwnData{FiscalCode: person, MadeAt: now, Requests: []OwnRequest{}}
	q := Criteria{Limit: 500}
	for {
		rows, err := s.Find(ctx, scope, q)
		if err != nil {
			return OwnData{}, wrap("find own requests", err)
		}
		for _, row := range rows {
			events, _, err := s.Load(ctx, scope, row.ID)
			if err != nil {
				return OwnData{}, wrap("load own request", err)
			}
			out.Requests = append(out.Requests, ownRequest(row, events))
		}
		if len(rows) < q.Limit {
			break
		}
		q.After = rows[len(rows)-1].ID
	}
	if !record {
		return out, nil
	}
	numbers := make([]string, len(out.Requests))
	for i, r := range out.Requests {
		numbers[i] = r.Number
	}
	err := s.Audit(ctx, AuditEntry{
		At: now, Actor: actor, Act: "own_data_given", Subject: actor.ID, Payload: map[string]string{"requests": strings.Join(numbers, " ")},
	})
	if err != nil {
		return OwnData{}, wrap("record export", err)
	}
	return out, nil
}

func ownRequest(row Row, events []Event) OwnRequest {
	r := OwnRequest{Number: row.ID, State: row.State, Office: row.Office.ID()}
	for _, e := range events {
		own := OwnEvent{Seq: e.Seq, Type: e.Type, At: e.At, By: e.Actor.Kind, Office: e.Actor.Office.ID(), Data: e.Data, Private: e.Private}
		if e.Type == EventObjected || e.Type == EventObjectionOverruled {
			// That it was raised, by whom and when; why is between the offices.
			own.Data, own.Private = nil, nil
		}
		r.Events = append(r.Events, own)
	}
	return r
}
