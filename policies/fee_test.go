package policies

import "testing"

func TestAFeeIsPaidAtTheRateOfItsQuarterOrInEuro(t *testing.T) {
	t.Parallel()
	rates := []Rate{
		{"USD", 2026, 3, "1.1", 2},
		{"USD", 2026, 4, "1.0735", 2},
		{"JPY", 2026, 4, "163.5", 0},
		{"KWD", 2026, 4, "0.33333", 3},
		{"GBP", 2026, 4, "0,86", 2},
	}
	for _, c := range []struct {
		cents                  int
		currency, on, want, in string
		known                  bool
	}{
		{2195, "EUR", "2026-11-21T12:00", "21.95", "EUR", true},
		{2195, "", "2026-11-21T12:00", "21.95", "EUR", true},
		{2195, "USD", "2026-11-21T12:00", "23.56", "USD", true}, // 23.5633…
		{2711, "JPY", "2026-11-21T12:00", "4432", "JPY", true},  // 4432.485
		{2195, "KWD", "2026-11-21T12:00", "7.317", "KWD", true}, // 7.31659…
		{2195, "USD", "2026-09-30T23:59", "24.15", "USD", true}, // 24.145, half up
		{2195, "USD", "2026-10-01T00:00", "23.56", "USD", true},
		{2195, "USD", "2027-01-01T00:00", "21.95", "EUR", false},
		{2195, "ARS", "2026-11-21T12:00", "21.95", "EUR", false},
		{0, "USD", "2026-11-21T12:00", "0.00", "USD", true},
		{5, "EUR", "2026-11-21T12:00", "0.05", "EUR", true},
	} {
		f, err := InCurrency(c.cents, c.currency, rome2(t, c.on), rates)
		if err != nil || f.Amount != c.want || f.Currency != c.in || f.RateKnown != c.known || (f.Note.IT == "") != c.known {
			t.Errorf("%d %s %s: got %+v %v", c.cents, c.currency, c.on, f, err)
		}
	}
	if _, err := InCurrency(2195, "GBP", rome2(t, "2026-11-21T12:00"), rates); err == nil {
		t.Error("a rate with a comma is read")
	}
	for _, bad := range []string{"", "0", "-1", "1e3", "1/2", ".5", "1.", "1.2.3", " 1", "NaN"} {
		if _, ok := parseRate(bad); ok {
			t.Errorf("%q is a rate", bad)
		}
	}
}
