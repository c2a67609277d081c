package store

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"airegw/gateway"
	"airegw/policies"
)

const (
	sqlInsertRate = `INSERT INTO consular_rates (post, entered_at, currency, year, quarter, per_eur, decimals, entered_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	sqlRates = `SELECT entered_at, currency, year, quarter, per_eur, decimals, entered_by FROM consular_rates
WHERE post = $1 ORDER BY entered_at DESC LIMIT $2`
	sqlPassage = `INSERT INTO passages (lane, days, country, delivery, outcome, month, cards) VALUES ($1, $2, $3, $4, $5, $6, 1)
ON CONFLICT (lane, days) DO UPDATE SET cards = passages.cards + 1`
	sqlPassages = `SELECT country, delivery, outcome, days, CAST(SUM(cards) AS BIGINT) FROM passages WHERE month >= $1
GROUP BY country, delivery, outcome, days ORDER BY country, delivery, outcome, days`
)

// maxRates bounds how far back a post's rates are shown: ten years of quarters.
const maxRates = 40

// SaveRate implements gateway.DeliveryStore.
func (s *Store) SaveRate(ctx context.Context, r gateway.ConsularRate, audit ...gateway.AuditEntry) error {
	by, err := json.Marshal(r.By)
	if err != nil {
		return internal("encode actor", err)
	}
	entries, err := s.prepareAudit("", audit)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(sqlInsertRate, r.Post, micros(r.At), r.Currency, r.Year, r.Quarter, r.PerEUR, r.Decimals, string(by))
		if err != nil {
			return err
		}
		return insertAudit(t, entries)
	})
}

// Rates implements gateway.DeliveryStore.
func (s *Store) Rates(ctx context.Context, post string) ([]gateway.ConsularRate, error) {
	rows, err := s.query(ctx, sqlRates, post, maxRates)
	if err != nil {
		return nil, translate("read rates", err)
	}
	defer rows.Close()
	var out []gateway.ConsularRate
	for rows.Next() {
		r := gateway.ConsularRate{Post: post}
		var at int64
		var by string
		err = rows.Scan(&at, &r.Currency, &r.Year, &r.Quarter, &r.PerEUR, &r.Decimals, &by)
		if err != nil {
			return nil, translate("read rates", err)
		}
		err = json.Unmarshal([]byte(by), &r.By)
		if err != nil {
			return nil, internal("decode actor", err)
		}
		r.At = instant(at)
		out = append(out, r)
	}
	return out, translate("read rates", rows.Err())
}

// commitPassage counts a card that has arrived, or will not.
func commitPassage(t *tx, p *gateway.Passage) error {
	if p == nil {
		return nil
	}
	month := p.At.UTC().Format("2006-01")
	lane := strings.Join([]string{p.Country, string(p.Option), p.Outcome, month}, "/")
	_, err := t.exec(sqlPassage, lane, p.Days, p.Country, string(p.Option), p.Outcome, month)
	return err
}

// Passages implements gateway.DeliveryStore.
func (s *Store) Passages(ctx context.Context, since time.Time) ([]gateway.PassageCount, error) {
	rows, err := s.query(ctx, sqlPassages, since.UTC().Format("2006-01"))
	if err != nil {
		return nil, translate("read passages", err)
	}
	defer rows.Close()
	var out []gateway.PassageCount
	for rows.Next() {
		var c gateway.PassageCount
		var option string
		err = rows.Scan(&c.Country, &option, &c.Outcome, &c.Days, &c.Cards)
		if err != nil {
			return nil, translate("read passages", err)
		}
		c.Option = policies.DeliveryOption(option)
		out = append(out, c)
	}
	return out, translate("read passages", rows.Err())
}
