package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"airegw/gateway"
	"airegw/gateway/fault"
	"airegw/policies"
)

const (
	clearanceColumns = `id, request_id, office_id, told_as, asked_office, reason, requested_at, told_at, last_day, until, rule,
	answer, ground, answered_at, actor, overruled_at, closed_at, version, key_id, private`

	// Once told, an office is not told again, whatever is checked again.
	sqlTell = `INSERT INTO clearances (id, request_id, office_id, told_as, asked_office, reason, requested_at, told_at, last_day, until, rule, key_id, private)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (id) DO NOTHING`
	sqlAnswerClearance = `UPDATE clearances SET answer = $3, ground = $4, answered_at = $5, actor = $6, key_id = $7, private = $8, version = version + 1
WHERE id = $1 AND version = $2 AND closed_at = 0 AND overruled_at = 0`
	sqlOverrule = `UPDATE clearances SET overruled_at = $2, version = version + 1
WHERE request_id = $1 AND answer = 'objection' AND overruled_at = 0`
	sqlCloseClearances = `UPDATE clearances SET closed_at = $2, version = version + 1 WHERE request_id = $1 AND closed_at = 0`

	sqlClearance      = `SELECT ` + clearanceColumns + ` FROM clearances WHERE id = $1`
	sqlClearancesOf   = `SELECT ` + clearanceColumns + ` FROM clearances WHERE request_id = $1 ORDER BY told_at, id LIMIT $2`
	sqlClearancesAll  = `SELECT ` + clearanceColumns + ` FROM clearances WHERE office_id = $1 ORDER BY told_at DESC, id DESC LIMIT $2`
	sqlClearancesPast = `SELECT ` + clearanceColumns + ` FROM clearances WHERE office_id = $1
AND (told_at, id) < (SELECT a.told_at, a.id FROM clearances a WHERE a.id = $2 AND a.office_id = $1) ORDER BY told_at DESC, id DESC LIMIT $3`
	sqlClearancesOpen = `SELECT ` + clearanceColumns + ` FROM clearances WHERE office_id = $1 AND answer = '' AND closed_at = 0 AND until > $2
ORDER BY until, id LIMIT $3`
	sqlClearancesNext = `SELECT ` + clearanceColumns + ` FROM clearances WHERE office_id = $1 AND answer = '' AND closed_at = 0 AND until > $2
AND (until, id) > (SELECT a.until, a.id FROM clearances a WHERE a.id = $3 AND a.office_id = $1) ORDER BY until, id LIMIT $4`
	sqlCountClearances = `SELECT COUNT(*) FROM (SELECT 1 FROM clearances WHERE office_id = $1 AND answer = '' AND closed_at = 0 AND until > $2 LIMIT $3) x`
)

// clearanceRow is a notice made ready outside the writer.
type clearanceRow struct {
	gateway.Clearance
	actor   string
	keyID   string
	private []byte
}

func (s *Store) prepareClearance(c gateway.Clearance) (clearanceRow, error) {
	r := clearanceRow{Clearance: c}
	if c.ID == "" || c.Request == "" || c.Office.IsZero() {
		return r, internal("store notice", errors.New("incomplete"))
	}
	plain, err := json.Marshal(c.Subject)
	if err != nil {
		return r, internal("encode notice", err)
	}
	r.actor, err = workActor(c.Actor)
	if err != nil {
		return r, err
	}
	r.keyID, r.private, err = s.keys.seal("clearances", c.ID, "private", plain)
	if err != nil {
		return r, internal("encrypt notice", err)
	}
	return r, nil
}

// clearanceChange is a gateway.ClearanceChange made ready.
type clearanceChange struct {
	tell            []clearanceRow
	answer          *clearanceRow
	overrule, close time.Time
}

func (s *Store) prepareClearances(c *gateway.ClearanceChange) (*clearanceChange, error) {
	if c == nil {
		return nil, nil
	}
	out := &clearanceChange{overrule: c.Overrule, close: c.Close}
	for _, one := range c.Tell {
		row, err := s.prepareClearance(one)
		if err != nil {
			return nil, err
		}
		out.tell = append(out.tell, row)
	}
	if c.Answer != nil {
		row, err := s.prepareClearance(*c.Answer)
		if err != nil {
			return nil, err
		}
		out.answer = &row
	}
	return out, nil
}

// apply does it within the change of the request. Each notice that is sent is a
// line of the audit trail.
func (c *clearanceChange) apply(s *Store, t *tx, request string) error {
	if c == nil {
		return nil
	}
	var entries []gateway.AuditEntry
	for _, r := range c.tell {
		n, err := t.exec(sqlTell, r.ID, r.Request, r.Office.ID(), string(r.As), r.Asked.ID(), string(r.Reason), micros(r.RequestedAt),
			micros(r.ToldAt), r.LastDay, micros(r.Until), r.Rule, r.keyID, r.private)
		if err != nil {
			return err
		}
		if n == 1 {
			entries = append(entries, gateway.AuditEntry{
				At: r.ToldAt, Actor: gateway.Actor{Kind: gateway.ActorWorker, ID: "clearance"}, Act: "notice_sent", Subject: r.ID,
				Payload: map[string]string{"office": r.Office.ID(), "last_day": r.LastDay},
			})
		}
	}
	if a := c.answer; a != nil {
		n, err := t.exec(sqlAnswerClearance, a.ID, a.Version, a.Answer, a.Ground, micros(a.AnsweredAt), a.actor, a.keyID, a.private)
		if err != nil {
			return err
		}
		if n != 1 {
			return gateway.NewError(gateway.Conflict, "clearance_moved")
		}
	}
	for _, at := range []struct {
		text string
		at   time.Time
	}{{sqlOverrule, c.overrule}, {sqlCloseClearances, c.close}} {
		if at.at.IsZero() {
			continue
		}
		_, err := t.exec(at.text, request, micros(at.at))
		if err != nil {
			return err
		}
	}
	if len(entries) == 0 {
		return nil
	}
	audit, err := s.prepareAudit("", entries)
	if err != nil {
		return err
	}
	return insertAudit(t, audit)
}

// Clearances implements gateway.ClearanceStore.
func (s *Store) Clearances(ctx context.Context, scope gateway.Scope, q gateway.ClearanceQuery) ([]gateway.Clearance, error) {
	if q.Limit <= 0 || q.Limit > 500 {
		q.Limit = 500
	}
	v := s.sight(scope)
	text, args := "", []any(nil)
	switch {
	case v.system && q.Request != "":
		text, args = sqlClearancesOf, []any{q.Request, q.Limit}
	case v.office == "" || q.Request != "":
		return nil, nil
	case q.OpenAt.IsZero() && q.After == "":
		text, args = sqlClearancesAll, []any{v.office, q.Limit}
	case q.OpenAt.IsZero():
		text, args = sqlClearancesPast, []any{v.office, q.After, q.Limit}
	case q.After == "":
		text, args = sqlClearancesOpen, []any{v.office, micros(q.OpenAt), q.Limit}
	default:
		text, args = sqlClearancesNext, []any{v.office, micros(q.OpenAt), q.After, q.Limit}
	}
	list, err := s.readClearances(v.in(ctx), text, args...)
	return list, translate("read notices", err)
}

// Clearance implements gateway.ClearanceStore.
func (s *Store) Clearance(ctx context.Context, scope gateway.Scope, id string) (gateway.Clearance, error) {
	v := s.sight(scope)
	list, err := s.readClearances(v.in(ctx), sqlClearance, id)
	if err != nil {
		return gateway.Clearance{}, translate("read notice", err)
	}
	if len(list) == 0 || !v.system && (v.office == "" || list[0].Office.ID() != v.office && !fault.Mutant("store.notice-office")) {
		return gateway.Clearance{}, notFound()
	}
	return list[0], nil
}

// CountClearances implements gateway.ClearanceStore.
func (s *Store) CountClearances(ctx context.Context, scope gateway.Scope, now time.Time, most int) (int, error) {
	v := s.sight(scope)
	if v.office == "" {
		return 0, nil
	}
	var n int
	_, err := s.get(v.in(ctx), sqlCountClearances, []any{v.office, micros(now), most}, &n)
	return n, translate("count notices", err)
}

func (s *Store) readClearances(ctx context.Context, text string, args ...any) ([]gateway.Clearance, error) {
	rows, err := s.query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []gateway.Clearance
	for rows.Next() {
		c, err := s.readClearance(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

func (s *Store) readClearance(rows *sql.Rows) (gateway.Clearance, error) {
	var c gateway.Clearance
	var office, asked, reason, actor, keyID string
	var requested, told, until, answered, overruled, closed int64
	var private []byte
	err := rows.Scan(&c.ID, &c.Request, &office, &c.As, &asked, &reason, &requested, &told, &c.LastDay, &until, &c.Rule,
		&c.Answer, &c.Ground, &answered, &actor, &overruled, &closed, &c.Version, &keyID, &private)
	if err != nil {
		return c, err
	}
	c.Office, c.Asked, c.Reason = gateway.OfficeFromID(office), gateway.OfficeFromID(asked), policies.Reason(reason)
	c.RequestedAt, c.ToldAt, c.Until = instant(requested), instant(told), instant(until)
	c.AnsweredAt, c.OverruledAt, c.ClosedAt = instant(answered), instant(overruled), instant(closed)
	if actor != "" {
		err = json.Unmarshal([]byte(actor), &c.Actor)
		if err != nil {
			return c, internal("decode notice", err)
		}
	}
	return c, s.openInto("clearances", c.ID, keyID, private, &c.Subject)
}
