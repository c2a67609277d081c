package delivery

import (
	_ "embed"
	"slices"
	"strings"
	"sync"

	"airegw/anpr"
)

//go:embed cap.tsv
var capTSV string

// capPrefixes maps a province to the first two digits of its postcodes.
var capPrefixes = sync.OnceValue(func() map[string][]string {
	out := map[string][]string{}
	for _, row := range tsvRows(capTSV, 2) {
		out[row[0]] = strings.Fields(row[1])
	}
	return out
})

// Codes of Problem that only Italian addresses have. They are doubts: the
// tables behind them may be older than the address.
const (
	CodeAddressComuneUnknown  = "address_comune_unknown"
	CodeAddressComuneCeased   = "address_comune_ceased"
	CodeAddressProvince       = "address_province_differs"
	CodeAddressPostcodeComune = "address_postcode_of_another_province"
)

// validateItaly weighs comune, province and postcode against each other as far
// as the registry of comuni and the postcodes' first digits allow.
func validateItaly(a *Address, add func(code, field, arg string, fatal bool)) {
	if blank(a.Locality) {
		return
	}
	current, former := anpr.FindComuni(a.Locality)
	if len(current) == 0 {
		if len(former) > 0 {
			add(CodeAddressComuneCeased, "locality", former[0].Name, false)
		} else {
			add(CodeAddressComuneUnknown, "locality", "", false)
		}
		return
	}
	var provinces, prefixes []string
	for _, c := range current {
		provinces = append(provinces, c.ProvinceCode)
		prefixes = append(prefixes, capPrefixes()[c.ProvinceCode]...)
	}
	slices.Sort(provinces)
	provinces = slices.Compact(provinces)
	if p := strings.ToUpper(strings.TrimSpace(a.Region)); p != "" && !slices.Contains(provinces, p) {
		add(CodeAddressProvince, "region", strings.Join(provinces, ", "), false)
	}
	if code := strings.TrimSpace(a.Postcode); len(code) == 5 && len(prefixes) > 0 && !slices.Contains(prefixes, code[:2]) {
		add(CodeAddressPostcodeComune, "postcode", strings.Join(provinces, ", "), false)
	}
}
