package store

import (
	"context"
	"encoding/json"
	"fmt"

	"airegw/gateway"
)

// Overview is one request as a judge sees it from outside: no personal data.
type Overview struct {
	State   gateway.State
	Relayed []string // order keys whose receipt is on record
}

// Overview answers every request by number, for invariants and drills; it
// reads the whole table.
func (s *Store) Overview(ctx context.Context) (map[string]Overview, error) {
	all := map[string]Overview{}
	rows, err := s.query(ctx, `SELECT id, state FROM requests`)
	if err != nil {
		return nil, translate("read overview", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, state string
		err = rows.Scan(&id, &state)
		if err != nil {
			return nil, translate("read overview", err)
		}
		all[id] = Overview{State: gateway.State(state)}
	}
	err = rows.Err()
	if err != nil {
		return nil, translate("read overview", err)
	}
	relayed, err := s.query(ctx, `SELECT request_id, data FROM events WHERE type = $1`, string(gateway.EventRelayed))
	if err != nil {
		return nil, translate("read relayed orders", err)
	}
	defer relayed.Close()
	for relayed.Next() {
		var id, data string
		err = relayed.Scan(&id, &data)
		if err != nil {
			return nil, translate("read relayed orders", err)
		}
		var order struct {
			Key string `json:"key"`
		}
		err = json.Unmarshal([]byte(data), &order)
		if err != nil {
			return nil, internal("read relayed orders", fmt.Errorf("event of %s: %w", id, err))
		}
		o := all[id]
		o.Relayed = append(o.Relayed, order.Key)
		all[id] = o
	}
	return all, translate("read relayed orders", relayed.Err())
}
