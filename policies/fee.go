package policies

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Rate is the consular exchange rate that a post enters for one quarter
// (B.1.3: reset on 1 January, 1 April, 1 July and 1 October).
type Rate struct {
	Currency string // ISO 4217, three capitals
	Year     int
	Quarter  int    // 1 to 4, by the Roman calendar
	PerEUR   string // units of the currency for one euro, a decimal such as "1.0735"
	Decimals int    // decimals in which the currency is paid, 0 to 3
}

// LocalFee is a fee as it is paid at a post.
type LocalFee struct {
	EURCents int    `json:"eur_cents"`
	Currency string `json:"currency"` // "EUR" if no rate of the quarter is known
	Amount   string `json:"amount"`   // in Currency, with its decimals
	// RateKnown is false if the post entered no rate for the quarter: the fee is
	// then stated in euro with a note, and no amount is invented.
	RateKnown bool `json:"rate_known"`
	Note      Text `json:"note,omitzero"`
}

// QuarterOf returns the quarter of an instant in Rome.
func QuarterOf(on time.Time) (year, quarter int) {
	d := DateOf(on)
	return d.Year, (int(d.Month)-1)/3 + 1
}

// InCurrency states a fee in the currency of a post at the rate of the quarter
// in which it is paid, rounded half up to the currency's decimals. Without a
// rate for exactly that quarter and currency the fee stays in euro. A rate that
// cannot be read is a *FactsError.
func InCurrency(cents int, currency string, on time.Time, rates []Rate) (LocalFee, error) {
	out := LocalFee{EURCents: cents, Currency: "EUR", Amount: decimal(big.NewInt(int64(cents)), 2), RateKnown: true}
	if currency == "EUR" || currency == "" {
		return out, nil
	}
	year, quarter := QuarterOf(on)
	for _, r := range rates {
		if r.Currency != currency || r.Year != year || r.Quarter != quarter {
			continue
		}
		per, ok := parseRate(r.PerEUR)
		if !ok || r.Decimals < 0 || r.Decimals > 3 {
			return LocalFee{}, &FactsError{Code: CodeFactsValue, Field: "rate", Value: clip(r.Currency + " " + r.PerEUR)}
		}
		// cents/100 · rate · 10^decimals, rounded half up, in whole numbers only.
		scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(r.Decimals)), nil)
		v := new(big.Rat).Mul(big.NewRat(int64(cents), 100), per)
		v.Mul(v, new(big.Rat).SetInt(scale)).Add(v, big.NewRat(1, 2))
		units := new(big.Int).Quo(v.Num(), v.Denom())
		out.Currency, out.Amount = r.Currency, decimal(units, r.Decimals)
		return out, nil
	}
	out.RateKnown = false
	out.Note = Text{
		IT: fmt.Sprintf("Il cambio consolare in %s per il %d° trimestre %d non è stato inserito: l'importo è in euro.", clip(currency), quarter, year),
		EN: fmt.Sprintf("The consular rate in %s for quarter %d of %d has not been entered: the amount is in euro.", clip(currency), quarter, year),
	}
	return out, nil
}

// parseRate accepts a plain positive decimal: no sign, exponent or fraction.
func parseRate(s string) (*big.Rat, bool) {
	whole, frac, dot := strings.Cut(s, ".")
	if whole == "" || len(s) > 20 || (dot && frac == "") || strings.Trim(whole+frac, "0123456789") != "" {
		return nil, false
	}
	r, ok := new(big.Rat).SetString(s)
	return r, ok && r.Sign() > 0
}

// decimal writes whole units with the point before the last decimals.
func decimal(units *big.Int, decimals int) string {
	s := units.String()
	if decimals == 0 {
		return s
	}
	if len(s) <= decimals {
		s = strings.Repeat("0", decimals+1-len(s)) + s
	}
	return s[:len(s)-decimals] + "." + s[len(s)-decimals:]
}

// EUR writes cents as euro with two decimals, such as "22.21".
func EUR(cents int) string {
	return strconv.Itoa(cents/100) + fmt.Sprintf(".%02d", cents%100)
}
