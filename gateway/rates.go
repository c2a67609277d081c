package gateway

import (
	"context"
	"regexp"
	"time"

	"airegw/consulate"
	"airegw/policies"
)

// The rates at which posts take fees in local currency, reset each quarter
// (B.1.3). A post enters its own; where it did not, the fee stays in euro with a
// note and no amount is invented.

// ConsularRate is a rate as a post entered it.
type ConsularRate struct {
	Post string // key of the post
	policies.Rate
	By Actor
	At time.Time
}

var (
	ratePlain      = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,8})?$`)
	rateNonZero    = regexp.MustCompile(`[1-9]`)
	currencyShape  = regexp.MustCompile(`^[A-Z]{3}$`)
	rateMostFuture = 1 // quarters
)

// post answers the post the scope acts for: Forbidden "post_only" for anybody
// but its people and machines.
func (d Desk) post() (consulate.Post, error) {
	office, ok := d.scope.Office()
	if !ok || office.Kind != OfficePost {
		return consulate.Post{}, NewError(Forbidden, "post_only")
	}
	post, ok := consulate.PostByKey(office.Code)
	if !ok {
		return consulate.Post{}, NewError(Forbidden, "post_only")
	}
	return post, nil
}

// EnterRate records the rate of a quarter for the operator's own post. An empty
// currency is the post's own. The rate is of this quarter or the next one; it
// replaces what was entered before for the same quarter, which stays on record.
// Durable and audited on return.
func (d Desk) EnterRate(ctx context.Context, rate policies.Rate) error {
	post, err := d.post()
	if err != nil {
		return err
	}
	now := d.g.clock.Now()
	if rate.Currency == "" {
		rate.Currency = post.Currency
	}
	var problems []Problem
	bad := func(field, code string) { problems = append(problems, Problem{Field: field, Code: code}) }
	if !currencyShape.MatchString(rate.Currency) || rate.Currency == "EUR" {
		bad("/currency", "rate_currency")
	}
	if !ratePlain.MatchString(rate.PerEUR) || !rateNonZero.MatchString(rate.PerEUR) {
		bad("/per_eur", "rate_number")
	}
	if rate.Decimals < 0 || rate.Decimals > 3 {
		bad("/decimals", "rate_decimals")
	}
	year, quarter := policies.QuarterOf(now)
	ahead := (rate.Year-year)*4 + rate.Quarter - quarter
	if rate.Quarter < 1 || rate.Quarter > 4 || ahead < 0 || ahead > rateMostFuture {
		bad("/quarter", "rate_quarter")
	}
	if len(problems) > 0 {
		return &Error{Kind: Invalid, Code: "invalid_input", Problems: problems}
	}
	err = d.g.store.SaveRate(ctx, ConsularRate{Post: post.Key, Rate: rate, By: d.scope.actor, At: now}, AuditEntry{
		At: now, Actor: d.scope.actor, Act: "rate_entered", Subject: "post:" + post.Key,
		Payload: map[string]string{"currency": rate.Currency, "per_eur": rate.PerEUR},
	})
	return wrap("store rate", err)
}

// Rates answers what the operator's own post has entered, the newest first, and
// the currency of its place.
func (d Desk) Rates(ctx context.Context) (rates []ConsularRate, currency string, err error) {
	post, err := d.post()
	if err != nil {
		return nil, "", err
	}
	rates, err = d.g.store.Rates(ctx, post.Key)
	return rates, post.Currency, wrap("read rates", err)
}

// LocalFee states a fee as the office of a request takes it today: at a post in
// the currency of its place at the rate of the quarter, if the post has entered
// it, else in euro with a note; at a comune in euro.
func (g *Gateway) LocalFee(ctx context.Context, r *Request, cents int) (policies.LocalFee, error) {
	now := g.clock.Now()
	if r.Office.Kind != OfficePost {
		return policies.InCurrency(cents, "EUR", now, nil)
	}
	post, ok := consulate.PostByKey(r.Office.Code)
	if !ok {
		return policies.InCurrency(cents, "EUR", now, nil)
	}
	entered, err := g.store.Rates(ctx, post.Key)
	if err != nil {
		return policies.LocalFee{}, wrap("read rates", err)
	}
	rates := make([]policies.Rate, len(entered)) // the newest of a quarter comes first and counts
	for i := range entered {
		rates[i] = entered[i].Rate
	}
	return policies.InCurrency(cents, post.Currency, now, rates)
}
