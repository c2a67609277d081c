package store

import (
	"context"
	"encoding/json"
	"time"

	"airegw/gateway"
)

const (
	dialogueColumns  = `request_id, office_id, status, code, tries, due, opened_at, answered_at, key_id, private`
	sqlOpenDialogue  = `INSERT INTO registry_dialogues (request_id, office_id, status, due, opened_at) VALUES ($1, $2, 'open', $3, $3) ON CONFLICT (request_id) DO NOTHING`
	sqlClaimDialogue = `UPDATE registry_dialogues SET due = $1, tries = tries + 1
WHERE request_id IN (SELECT request_id FROM registry_dialogues WHERE status = 'open' AND due <= $2 ORDER BY due, request_id LIMIT $3)
RETURNING ` + dialogueColumns
	pgClaimDialogue = `WITH ready AS MATERIALIZED (SELECT request_id FROM registry_dialogues WHERE status = 'open' AND due <= $2
	ORDER BY due, request_id LIMIT $3 FOR UPDATE SKIP LOCKED)
UPDATE registry_dialogues d SET due = $1, tries = d.tries + 1 FROM ready WHERE d.request_id = ready.request_id
RETURNING d.request_id, d.office_id, d.status, d.code, d.tries, d.due, d.opened_at, d.answered_at, d.key_id, d.private`
	sqlSettleDialogue = `UPDATE registry_dialogues SET status = $2, code = $3, due = $4, answered_at = $5, key_id = $6, private = $7
WHERE request_id = $1 AND status = 'open' AND tries = $8`
	sqlDialogue = `SELECT ` + dialogueColumns + ` FROM registry_dialogues WHERE request_id = $1`
)

// openDialogue is part of the change that opened the dossier.
func openDialogue(t *tx, c gateway.Change, now int64) error {
	if !c.Dialogue {
		return nil
	}
	_, err := t.exec(sqlOpenDialogue, c.ID, c.Office.ID(), now)
	return err
}

// ClaimDialogues implements gateway.DialogueStore.
func (s *Store) ClaimDialogues(ctx context.Context, now time.Time, lease time.Duration, n int) ([]gateway.Dialogue, error) {
	var list []gateway.Dialogue
	err := s.write(ctx, func(t *tx) error {
		list = nil
		rows, err := t.returning(t.either(sqlClaimDialogue, pgClaimDialogue), micros(now.Add(lease)), micros(now), n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			d, err := s.readDialogue(rows)
			if err != nil {
				return err
			}
			list = append(list, d)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// SettleDialogue implements gateway.DialogueStore.
func (s *Store) SettleDialogue(ctx context.Context, d gateway.Dialogue, audit ...gateway.AuditEntry) error {
	keyID, private := "", []byte(nil)
	if d.Answer != nil {
		plain, err := json.Marshal(d.Answer)
		if err != nil {
			return internal("encode answer", err)
		}
		keyID, private, err = s.keys.seal("registry_dialogues", d.Request, "private", plain)
		if err != nil {
			return internal("encrypt answer", err)
		}
	}
	entries, err := s.prepareAudit(d.Office.ID(), audit)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		n, err := t.exec(sqlSettleDialogue, d.Request, string(d.Status), d.Code, micros(d.Due), micros(d.AnsweredAt), keyID, private, d.Tries)
		if err != nil {
			return err
		}
		if n != 1 {
			return gateway.NewError(gateway.Conflict, "lease_lost")
		}
		return insertAudit(t, entries)
	})
}

// Dialogue implements gateway.DialogueStore.
func (s *Store) Dialogue(ctx context.Context, request string) (gateway.Dialogue, error) {
	rows, err := s.query(ctx, sqlDialogue, request)
	if err != nil {
		return gateway.Dialogue{}, translate("read dialogue", err)
	}
	defer rows.Close()
	if !rows.Next() {
		if err = rows.Err(); err != nil {
			return gateway.Dialogue{}, translate("read dialogue", err)
		}
		return gateway.Dialogue{}, gateway.NewError(gateway.NotFound, "not_found")
	}
	return s.readDialogue(rows)
}

func (s *Store) readDialogue(row interface{ Scan(into ...any) error }) (gateway.Dialogue, error) {
	var d gateway.Dialogue
	var office, status, keyID string
	var private []byte
	var due, opened, answered int64
	err := row.Scan(&d.Request, &office, &status, &d.Code, &d.Tries, &due, &opened, &answered, &keyID, &private)
	if err != nil {
		return d, err
	}
	d.Office, d.Status = gateway.OfficeFromID(office), gateway.DialogueStatus(status)
	d.Due, d.OpenedAt, d.AnsweredAt = instant(due), instant(opened), instant(answered)
	if keyID == "" {
		return d, nil
	}
	plain, err := s.keys.open(keyID, "registry_dialogues", d.Request, "private", private)
	if err != nil {
		return d, internal("decrypt answer", err)
	}
	err = json.Unmarshal(plain, &d.Answer)
	if err != nil {
		return d, internal("read answer", err)
	}
	return d, nil
}
