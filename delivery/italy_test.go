package delivery

import (
	"slices"
	"testing"

	"airegw/anpr"
)

func TestEveryProvinceHasItsPostcodes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range anpr.Comuni() {
		seen[c.ProvinceCode] = true
	}
	for p := range seen {
		if len(capPrefixes()[p]) == 0 {
			t.Errorf("province %s has no postcodes", p)
		}
	}
	for p := range capPrefixes() {
		if !seen[p] {
			t.Errorf("%s is no province", p)
		}
	}
}

func TestAnItalianAddressIsWeighedAgainstTheRegistryOfComuni(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		postcode, locality, province, code string
	}{
		"in order":                  {"00184", "Roma", "RM", ""},
		"without accent or case":    {"06012", "CITTA DI CASTELLO", "pg", ""},
		"without province":          {"20121", "Milano", "", ""},
		"postcode of Milan in Rome": {"20121", "Roma", "RM", CodeAddressPostcodeComune},
		"another province":          {"00184", "Roma", "MI", CodeAddressProvince},
		"no such comune":            {"00184", "Xyzzyville", "RM", CodeAddressComuneUnknown},
		"a comune that ceased":      {"87067", "Rossano", "CS", CodeAddressComuneCeased},
	} {
		a := Address{ISO2: "IT", Recipient: "Bianca Rossi", Street: "Via Garibaldi", HouseNumber: "1", Postcode: c.postcode, Locality: c.locality, Region: c.province}
		var codes []string
		for _, p := range Validate(a) {
			if p.Fatal {
				t.Errorf("%s: %+v is fatal", name, p)
			}
			codes = append(codes, p.Code)
		}
		var want []string
		if c.code != "" {
			want = []string{c.code}
		}
		if !slices.Equal(codes, want) {
			t.Errorf("%s: got %v, want %v", name, codes, want)
		}
		if _, err := Label(a); err != nil {
			t.Errorf("%s: a doubt stopped the label: %v", name, err)
		}
	}
}
