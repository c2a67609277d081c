package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"airegw/gateway"
)

var _ gateway.CardReportStore = (*Store)(nil)

const sqlReportColumns = `SELECT id, kind, actor, at, key_id, private FROM card_reports`

// reportPrivate is what a report keeps encrypted.
type reportPrivate struct {
	Person string                  `json:"person"`
	Input  gateway.CardReportInput `json:"input"`
}

// SaveCardReport implements gateway.CardReportStore.
func (s *Store) SaveCardReport(ctx context.Context, r gateway.CardReport, digest string, audit ...gateway.AuditEntry) (string, bool, error) {
	person, form := s.keys.person(r.Person), s.keys.digest(forKey, r.Key)
	if person == "" || form == "" || r.ID == "" {
		return "", false, internal("save report", errors.New("incomplete"))
	}
	actor, err := json.Marshal(r.Actor)
	if err != nil {
		return "", false, internal("encode actor", err)
	}
	kept := r.CardReportInput
	kept.Key = ""
	plain, err := json.Marshal(reportPrivate{Person: r.Person, Input: kept})
	if err != nil {
		return "", false, internal("encode report", err)
	}
	keyID, private, err := s.keys.seal("card_reports", r.ID, "private", plain)
	if err != nil {
		return "", false, internal("encrypt report", err)
	}
	entries, err := s.prepareAudit("", audit)
	if err != nil {
		return "", false, err
	}
	id, created := r.ID, true
	err = s.write(ctx, func(t *tx) error {
		id, created = r.ID, true
		n, err := t.exec(`INSERT INTO card_reports (id, person_digest, form_digest, body_digest, kind, actor, at, key_id, private)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (form_digest) DO NOTHING`,
			r.ID, person, form, digest, string(r.Kind), string(actor), micros(r.At), keyID, private)
		if err != nil {
			return err
		}
		if n == 1 {
			return insertAudit(t, entries)
		}
		created = false
		rows, err := t.query(`SELECT id, body_digest FROM card_reports WHERE form_digest = $1`, form)
		if err != nil {
			return err
		}
		var body string
		_, err = one(rows, &id, &body)
		if err == nil && body != digest {
			err = gateway.NewError(gateway.Conflict, "key_reused")
		}
		return err
	})
	if err != nil {
		return "", false, err
	}
	return id, created, nil
}

// CardReports implements gateway.CardReportStore.
func (s *Store) CardReports(ctx context.Context, fiscalCode string) ([]gateway.CardReport, error) {
	return s.cardReports(ctx, sqlReportColumns+` WHERE person_digest = $1 ORDER BY at DESC, id LIMIT 50`, s.keys.person(fiscalCode))
}

// UntoldCardReports implements gateway.CardReportStore.
func (s *Store) UntoldCardReports(ctx context.Context, n int) ([]gateway.CardReport, error) {
	return s.cardReports(ctx, sqlReportColumns+` WHERE told_at = 0 ORDER BY at, id LIMIT $1`, n)
}

// CardReportTold implements gateway.CardReportStore.
func (s *Store) CardReportTold(ctx context.Context, id string, at time.Time) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(`UPDATE card_reports SET told_at = $2 WHERE id = $1 AND told_at = 0`, id, micros(at))
		return err
	})
}

func (s *Store) cardReports(ctx context.Context, text string, args ...any) ([]gateway.CardReport, error) {
	rows, err := s.query(ctx, text, args...)
	if err != nil {
		return nil, translate("read reports", err)
	}
	defer rows.Close()
	var out []gateway.CardReport
	for rows.Next() {
		r, err := s.cardReport(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if err = rows.Err(); err != nil {
		return nil, translate("read reports", err)
	}
	return out, nil
}

func (s *Store) cardReport(rows *sql.Rows) (gateway.CardReport, error) {
	var r gateway.CardReport
	var kind, actor, keyID string
	var at int64
	var private []byte
	err := rows.Scan(&r.ID, &kind, &actor, &at, &keyID, &private)
	if err != nil {
		return r, translate("read reports", err)
	}
	plain, err := s.keys.open(keyID, "card_reports", r.ID, "private", private)
	if err != nil {
		return r, internal("decrypt report", err)
	}
	var p reportPrivate
	err = errors.Join(json.Unmarshal(plain, &p), json.Unmarshal([]byte(actor), &r.Actor))
	if err != nil {
		return r, internal("decode report", err)
	}
	r.At, r.Person, r.CardReportInput = instant(at), p.Person, p.Input
	r.Kind = gateway.ReportKind(kind)
	return r, nil
}
