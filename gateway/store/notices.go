package store

import (
	"context"
	"encoding/json"
	"time"

	"airegw/gateway"
)

// keptNotice is what is encrypted of a report: its number, and the report as it
// was signed.
type keptNotice struct {
	Card   string `json:"card"`
	Signed string `json:"signed"`
}

// SaveCardNotice implements gateway.CardNoticeStore.
func (s *Store) SaveCardNotice(ctx context.Context, r gateway.CardNotice, signed []byte, now time.Time, audit ...gateway.AuditEntry) error {
	plain, err := json.Marshal(keptNotice{r.Card, string(signed)})
	if err != nil {
		return internal("encode card notice", err)
	}
	keyID, private, err := s.keys.seal("card_notices", r.Source+"/"+r.ID, "private", plain)
	if err != nil {
		return internal("encrypt card notice", err)
	}
	entries, err := s.prepareAudit("", audit)
	if err != nil {
		return err
	}
	card := s.keys.digest(forCard, r.Card)
	return s.write(ctx, func(t *tx) error {
		err := t.auditing()
		if err != nil {
			return err
		}
		n, err := t.exec(`INSERT INTO card_notices (source, notice_id, kind, card_digest, key_id, private, happened_at, received_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
			r.Source, r.ID, string(r.Kind), card, keyID, private, micros(r.HappenedAt), micros(now))
		if err != nil {
			return err
		}
		if n == 1 {
			return insertAudit(t, entries)
		}
		var kind, digest string
		var at int64
		_, err = t.get(`SELECT kind, card_digest, happened_at FROM card_notices WHERE source = $1 AND notice_id = $2`,
			[]any{r.Source, r.ID}, &kind, &digest, &at)
		if err != nil {
			return err
		}
		if kind != string(r.Kind) || digest != card || at != micros(r.HappenedAt) {
			return gateway.NewError(gateway.Conflict, "card_notice_differs")
		}
		return nil
	})
}

// CardNoticed implements gateway.CardNoticeStore. A source's own later report takes
// its block back; anybody's finding ends a loss or a theft.
func (s *Store) CardNoticed(ctx context.Context, card string) (gateway.CardNotice, bool, error) {
	r := gateway.CardNotice{Card: card}
	var at int64
	found, err := s.get(ctx, `SELECT c.source, c.notice_id, c.kind, c.happened_at FROM card_notices c WHERE c.card_digest = $1 AND c.kind <> 'found'
AND NOT EXISTS (SELECT 1 FROM card_notices f WHERE f.card_digest = c.card_digest AND f.kind = 'found' AND f.happened_at >= c.happened_at
	AND (c.kind <> 'blocked' OR f.source = c.source))
ORDER BY c.happened_at DESC, c.source, c.notice_id LIMIT 1`, []any{s.keys.digest(forCard, card)}, &r.Source, &r.ID, &r.Kind, &at)
	if err != nil {
		return gateway.CardNotice{}, false, translate("look for card notices", err)
	}
	r.HappenedAt = instant(at)
	return r, found, nil
}
