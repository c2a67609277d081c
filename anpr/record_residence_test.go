package anpr

import "testing"

// Spec §1.5, §8 row 34: the latest start wins, a missing start is the
// oldest, what is no residence or lies in the future is no current residence.
func TestTheCurrentResidenceIsTheLatestThatHasBegun(t *testing.T) {
	t.Parallel()
	entry := func(kind, since, street string) string {
		return `{"tipoIndirizzo":"` + kind + `","dataDecorrenzaResidenza":"` + since + `","localitaEstera":{"indirizzoEstero":{"toponimo":{"denominazione":"` + street + `"}}}}`
	}
	for name, tc := range map[string]struct{ list, want string }{
		"latest first":        {entry("4", "2020-01-01", "NEW") + "," + entry("4", "2010-01-01", "OLD"), "NEW"},
		"latest last":         {entry("4", "2010-01-01", "OLD") + "," + entry("4", "2020-01-01", "NEW"), "NEW"},
		"no start is older":   {entry("4", "2010-01-01", "DATED") + "," + entry("4", "", "UNDATED"), "DATED"},
		"only one, undated":   {entry("4", "", "UNDATED"), "UNDATED"},
		"not yet begun":       {entry("4", "2010-01-01", "NOW") + "," + entry("4", "2027-01-01", "LATER"), "NOW"},
		"begun on the day":    {entry("4", "2010-01-01", "OLD") + "," + entry("4", "2026-11-21", "TODAY"), "TODAY"},
		"last Italian one":    {entry("7", "2025-01-01", "ITALY") + "," + entry("4", "2010-01-01", "ABROAD"), "ABROAD"},
		"care of abroad":      {entry("6", "2015-01-01", "CARE") + "," + entry("4", "2010-01-01", "ABROAD"), "CARE"},
		"temporary":           {entry("8", "2025-01-01", "TEMPORARY"), ""},
		"without any address": {`{"tipoIndirizzo":"4","dataDecorrenzaResidenza":"2020-01-01"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := readAnswer(C020, 200, []byte(`{"listaSoggetti":{"datiSoggetto":[{"identificativi":{"idANPR":"A"},"residenza":[`+tc.list+`]}]}}`))
			if err != nil {
				t.Fatal(err)
			}
			rec := Record{AsOf: "2026-11-21"}
			rec.merge(C020, *r.subject)
			if rec.Person.Address.Street != tc.want {
				t.Errorf("got %q, want %q", rec.Person.Address.Street, tc.want)
			}
		})
	}
}
