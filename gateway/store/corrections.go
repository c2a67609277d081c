package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"airegw/gateway"
)

const (
	correctionColumns = `id, request_id, office_id, person, code, who, operation, args, status, answer, reference, actor,
	due, tries, version, opened_at, updated_at, closed_at, key_id, private`

	sqlAddCorrection = `INSERT INTO corrections (` + correctionColumns + `)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 1, $15, $16, $17, $18, $19)
ON CONFLICT (id) DO UPDATE SET office_id = excluded.office_id, who = excluded.who, operation = excluded.operation, args = excluded.args,
	status = excluded.status, answer = excluded.answer, reference = excluded.reference, actor = excluded.actor, due = excluded.due,
	tries = excluded.tries, version = corrections.version + 1, opened_at = excluded.opened_at, updated_at = excluded.updated_at,
	closed_at = excluded.closed_at, key_id = excluded.key_id, private = excluded.private
WHERE corrections.status = 'closed'`
	sqlMoveCorrection = `UPDATE corrections SET office_id = $3, args = $4, status = $5, answer = $6, reference = $7, actor = $8, due = $9,
	tries = $10, version = version + 1, updated_at = $11, closed_at = $12, key_id = $13, private = $14
WHERE id = $1 AND version = $2 AND status <> 'closed'`
	sqlOpenCorrections = `SELECT id, code FROM corrections WHERE request_id = $1 AND status <> 'closed' ORDER BY id`
	sqlCloseCorrection = `UPDATE corrections SET status = 'closed', answer = $2, closed_at = $3, updated_at = $3, due = 0, version = version + 1
WHERE id = $1 AND status <> 'closed'`

	sqlCorrectionsOf    = `SELECT ` + correctionColumns + ` FROM corrections WHERE request_id = $1 ORDER BY opened_at, id LIMIT $2`
	sqlCorrectionTasks  = `SELECT ` + correctionColumns + ` FROM corrections WHERE office_id = $1 AND status <> 'closed' ORDER BY opened_at, id LIMIT $2`
	sqlCorrectionsAfter = `SELECT ` + correctionColumns + ` FROM corrections WHERE office_id = $1 AND status <> 'closed'
AND (opened_at, id) > (SELECT a.opened_at, a.id FROM corrections a WHERE a.id = $2 AND a.office_id = $1) ORDER BY opened_at, id LIMIT $3`
	sqlCorrection       = `SELECT ` + correctionColumns + ` FROM corrections WHERE id = $1`
	sqlClaimCorrections = `UPDATE corrections SET due = $1, version = version + 1
WHERE id IN (SELECT id FROM corrections WHERE status = 'asking' AND due <= $2 ORDER BY due, id LIMIT $3)
RETURNING ` + correctionColumns
	// INDEXED BY: only what is not closed is read, however much is closed.
	sqlClaimFollowed = `UPDATE corrections SET due = $1, version = version + 1
WHERE id IN (SELECT id FROM corrections INDEXED BY corrections_office WHERE status <> 'closed'
	AND (status = 'asked' OR status = 'answered' AND due > 0) AND due <= $2 ORDER BY due, id LIMIT $3)
RETURNING ` + correctionColumns
	pgClaimFollowed = `WITH ready AS MATERIALIZED (SELECT id FROM corrections WHERE status <> 'closed'
	AND (status = 'asked' OR status = 'answered' AND due > 0) AND due <= $2 ORDER BY due, id LIMIT $3 FOR UPDATE SKIP LOCKED)` + pgClaimed
	pgClaimCorrections = `WITH ready AS MATERIALIZED (SELECT id FROM corrections WHERE status = 'asking' AND due <= $2
	ORDER BY due, id LIMIT $3 FOR UPDATE SKIP LOCKED)` + pgClaimed
	pgClaimed = `
UPDATE corrections c SET due = $1, version = c.version + 1 FROM ready WHERE c.id = ready.id
RETURNING c.id, c.request_id, c.office_id, c.person, c.code, c.who, c.operation, c.args, c.status, c.answer, c.reference, c.actor,
	c.due, c.tries, c.version, c.opened_at, c.updated_at, c.closed_at, c.key_id, c.private`
)

// correctionRow is a correction made ready outside the writer.
type correctionRow struct {
	gateway.Correction
	args, actor string
	keyID       string
	private     []byte
}

func (s *Store) prepareCorrection(c gateway.Correction) (correctionRow, error) {
	r := correctionRow{Correction: c}
	if c.ID == "" || c.Request == "" || c.Code == "" {
		return r, internal("store correction", errors.New("incomplete"))
	}
	plain, err := json.Marshal(c.Subject)
	if err != nil {
		return r, internal("encode correction", err)
	}
	actor, err := json.Marshal(c.Actor)
	if err != nil {
		return r, internal("encode actor", err)
	}
	r.actor = string(actor)
	if len(c.Args) > 0 {
		args, err := json.Marshal(c.Args)
		if err != nil {
			return r, internal("encode correction", err)
		}
		r.args = string(args)
	}
	r.keyID, r.private, err = s.keys.seal("corrections", c.ID, "private", plain)
	if err != nil {
		return r, internal("encrypt correction", err)
	}
	return r, nil
}

// add inserts the row, or opens again the one that was closed; false when it is
// there and not closed.
func (r *correctionRow) add(t *tx) (bool, error) {
	n, err := t.exec(sqlAddCorrection, r.ID, r.Request, r.Office.ID(), r.Person, r.Code, r.Who, r.Operation, r.args, string(r.Status),
		r.Answer, r.Reference, r.actor, micros(r.Due), r.Tries, micros(r.OpenedAt), micros(r.UpdatedAt), micros(r.ClosedAt), r.keyID, r.private)
	return n == 1, err
}

// correctionSync is a gateway.CorrectionSync made ready.
type correctionSync struct {
	open []correctionRow
	keep map[string]bool
	why  string
	all  bool
	at   time.Time
}

func (s *Store) prepareSync(c *gateway.CorrectionSync) (*correctionSync, error) {
	if c == nil {
		return nil, nil
	}
	out := &correctionSync{keep: map[string]bool{}, why: c.Why, all: c.All, at: c.At}
	for _, one := range c.Open {
		row, err := s.prepareCorrection(one)
		if err != nil {
			return nil, err
		}
		out.open = append(out.open, row)
		out.keep[one.ID] = true
	}
	return out, nil
}

// apply opens what is to be open and closes the rest, within the change of the
// request. Each opening and closing is a line of the audit trail.
func (c *correctionSync) apply(s *Store, t *tx, request string) error {
	if c == nil {
		return nil
	}
	type closing struct {
		id string
		gateway.Correction
	}
	rows, err := t.query(sqlOpenCorrections, request)
	if err != nil {
		return err
	}
	defer rows.Close()
	var over []closing
	for rows.Next() {
		var o closing
		err = rows.Scan(&o.id, &o.Code)
		if err != nil {
			return err
		}
		if !c.keep[o.id] && (c.all || !o.Reported()) {
			over = append(over, o)
		}
	}
	err = rows.Err()
	if err != nil {
		return err
	}
	rows.Close()
	var entries []gateway.AuditEntry
	said := func(id, act string, payload map[string]string) {
		entries = append(entries, gateway.AuditEntry{At: c.at, Actor: gateway.Actor{Kind: gateway.ActorWorker, ID: "correction"}, Act: act, Subject: id, Payload: payload})
	}
	for _, o := range over {
		_, err = t.exec(sqlCloseCorrection, o.id, c.why, micros(c.at))
		if err != nil {
			return err
		}
		said(o.id, "correction_closed", map[string]string{"answer": c.why})
	}
	for i := range c.open {
		opened, err := c.open[i].add(t)
		if err != nil {
			return err
		}
		if opened {
			said(c.open[i].ID, "correction_found", map[string]string{"code": c.open[i].Code, "office": c.open[i].Office.ID()})
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

// Corrections implements gateway.CorrectionStore.
func (s *Store) Corrections(ctx context.Context, scope gateway.Scope, request, after string, limit int) ([]gateway.Correction, error) {
	if limit <= 0 || limit > 500 {
		limit = 500
	}
	v := s.sight(scope)
	text, args := "", []any(nil)
	switch {
	case request != "" && v.system:
		text, args = sqlCorrectionsOf, []any{request, limit}
	case request == "" && v.office != "" && after == "":
		text, args = sqlCorrectionTasks, []any{v.office, limit}
	case request == "" && v.office != "":
		text, args = sqlCorrectionsAfter, []any{v.office, after, limit}
	default:
		return nil, nil
	}
	rows, err := s.query(v.in(ctx), text, args...)
	if err != nil {
		return nil, translate("read corrections", err)
	}
	list, err := s.readCorrections(rows)
	return list, translate("read corrections", err)
}

// Correction implements gateway.CorrectionStore.
func (s *Store) Correction(ctx context.Context, scope gateway.Scope, id string) (gateway.Correction, error) {
	v := s.sight(scope)
	rows, err := s.query(v.in(ctx), sqlCorrection, id)
	if err != nil {
		return gateway.Correction{}, translate("read correction", err)
	}
	list, err := s.readCorrections(rows)
	if err != nil {
		return gateway.Correction{}, translate("read correction", err)
	}
	if len(list) == 0 || !v.system && (v.office == "" || list[0].Office.ID() != v.office) {
		return gateway.Correction{}, notFound()
	}
	return list[0], nil
}

// readCorrections reads rows of correctionColumns and closes them.
func (s *Store) readCorrections(rows *sql.Rows) ([]gateway.Correction, error) {
	defer rows.Close()
	var list []gateway.Correction
	for rows.Next() {
		var c gateway.Correction
		var office, args, actor, keyID string
		var due, opened, updated, closed int64
		var private []byte
		err := rows.Scan(&c.ID, &c.Request, &office, &c.Person, &c.Code, &c.Who, &c.Operation, &args, &c.Status, &c.Answer, &c.Reference, &actor,
			&due, &c.Tries, &c.Version, &opened, &updated, &closed, &keyID, &private)
		if err != nil {
			return nil, err
		}
		c.Office = gateway.OfficeFromID(office)
		c.Due, c.OpenedAt, c.UpdatedAt, c.ClosedAt = instant(due), instant(opened), instant(updated), instant(closed)
		if args != "" {
			err = json.Unmarshal([]byte(args), &c.Args)
		}
		if err == nil && actor != "" {
			err = json.Unmarshal([]byte(actor), &c.Actor)
		}
		if err != nil {
			return nil, internal("decode correction", err)
		}
		err = s.openInto("corrections", c.ID, keyID, private, &c.Subject)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// AddCorrection implements gateway.CorrectionStore.
func (s *Store) AddCorrection(ctx context.Context, c gateway.Correction, audit ...gateway.AuditEntry) (created bool, err error) {
	row, err := s.prepareCorrection(c)
	if err != nil {
		return false, err
	}
	entries, err := s.prepareAudit("", audit)
	if err != nil {
		return false, err
	}
	err = s.write(ctx, func(t *tx) error {
		created, err = row.add(t)
		if err != nil || !created {
			return err
		}
		return insertAudit(t, entries)
	})
	return created, err
}

// MoveCorrection implements gateway.CorrectionStore.
func (s *Store) MoveCorrection(ctx context.Context, c gateway.Correction, audit ...gateway.AuditEntry) error {
	row, err := s.prepareCorrection(c)
	if err != nil {
		return err
	}
	entries, err := s.prepareAudit("", audit)
	if err != nil {
		return err
	}
	err = s.write(ctx, func(t *tx) error {
		n, err := t.exec(sqlMoveCorrection, c.ID, c.Version, c.Office.ID(), row.args, string(c.Status), c.Answer, c.Reference, row.actor,
			micros(c.Due), c.Tries, micros(c.UpdatedAt), micros(c.ClosedAt), row.keyID, row.private)
		if err != nil {
			return err
		}
		if n != 1 {
			return gateway.NewError(gateway.Conflict, "correction_moved")
		}
		return insertAudit(t, entries)
	})
	if err == nil && c.Status == gateway.CorrectionAsking {
		s.tell()
	}
	return err
}

// ClaimCorrections implements gateway.CorrectionStore.
func (s *Store) ClaimCorrections(ctx context.Context, now time.Time, lease time.Duration, n int) ([]gateway.Correction, error) {
	return s.claimCorrections(ctx, sqlClaimCorrections, pgClaimCorrections, now, lease, n)
}

// ClaimFollowed implements gateway.CorrectionStore.
func (s *Store) ClaimFollowed(ctx context.Context, now time.Time, lease time.Duration, n int) ([]gateway.Correction, error) {
	return s.claimCorrections(ctx, sqlClaimFollowed, pgClaimFollowed, now, lease, n)
}

func (s *Store) claimCorrections(ctx context.Context, sqlite, postgres string, now time.Time, lease time.Duration, n int) ([]gateway.Correction, error) {
	if n <= 0 {
		return nil, nil
	}
	var list []gateway.Correction
	err := s.write(ctx, func(t *tx) error {
		rows, err := t.returning(t.either(sqlite, postgres), micros(now.Add(lease)), micros(now), n)
		if err != nil {
			return err
		}
		list, err = s.readCorrections(rows)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// openInto decrypts a row's private side into what it holds; one that was erased
// leaves it as it is.
func (s *Store) openInto(table, id, keyID string, private []byte, into any) error {
	plain, err := s.keys.open(keyID, table, id, "private", private)
	if err == nil && plain != nil {
		err = json.Unmarshal(plain, into)
	}
	if err != nil {
		return internal("decrypt a row of "+table, err)
	}
	return nil
}
