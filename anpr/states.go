package anpr

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// Kinds of a State.
const (
	KindState     = "state"     // a state the register lists as such
	KindTerritory = "territory" // a dependent or disputed territory
	KindSpecial   = "special"   // a code that is no place to live in: stateless, not attributable, …
	KindFormer    = "former"    // a Z code no longer given, still in the fiscal codes of people born there
)

// State is a foreign state or territory. Codes that are not known are "".
type State struct {
	ISO2 string // ISO 3166-1 alpha-2; XK for Kosovo (user-assigned)
	ISO3 string // ISO 3166-1 alpha-3; KOS for Kosovo
	// ISTAT is the three-digit code that the register (ANPR) uses in addresses
	// and citizenships.
	ISTAT string
	// ISTATList is the code of ISTAT's own current list where it differs from
	// the register's: 26 dependent territories (9xx).
	ISTATList string
	Z         string // the catastale code a fiscal code carries: Z and three digits
	MAE       string // the foreign ministry's three-digit code, the head of consular codes
	NameIT    string // current Italian name
	NameEN    string // current English name
	Kind      string // KindState, KindTerritory, KindSpecial or KindFormer

	aliases []string
}

//go:embed states.tsv
var statesTable string

// registryOfStates holds the table with its look-ups.
type registryOfStates struct {
	all                  []State
	byISO2, byISTAT, byZ map[string]int
	names                *nameIndex
}

var statesRegistry = sync.OnceValue(func() *registryOfStates {
	r := &registryOfStates{byISO2: map[string]int{}, byISTAT: map[string]int{}, byZ: map[string]int{}, names: newNameIndex()}
	var inList []int
	for i, cells := range tableRows(statesTable, "iso2", "iso3", "istat", "istat_list", "z", "mae", "name_it", "name_en", "kind", "aliases") {
		s := State{
			ISO2: cells[0], ISO3: cells[1], ISTAT: cells[2], ISTATList: cells[3], Z: cells[4], MAE: cells[5],
			NameIT: cells[6], NameEN: cells[7], Kind: cells[8], aliases: splitCell(cells[9]),
		}
		r.all = append(r.all, s)
		for code, index := range map[string]map[string]int{s.ISO2: r.byISO2, s.ISTAT: r.byISTAT, s.Z: r.byZ} {
			if code != "" {
				index[code] = i
			}
		}
		if s.ISTATList != "" {
			inList = append(inList, i)
		}
		r.names.add(i, s.Kind == KindFormer, []string{s.NameIT, s.NameEN}, s.aliases)
	}
	// The register's codes win; the other list answers what they leave free.
	for _, i := range inList {
		if _, taken := r.byISTAT[r.all[i].ISTATList]; !taken {
			r.byISTAT[r.all[i].ISTATList] = i
		}
	}
	return r
})

// States lists the foreign states and territories of today (Italy is none) in
// the order of the ISO code, then the special codes. Former states are found by
// StateByZ and FindStates only. The slice is the caller's own.
func States() []State {
	return slices.DeleteFunc(slices.Clone(statesRegistry().all), func(s State) bool { return s.Kind == KindFormer })
}

// StateByISO2 finds a state by its ISO 3166-1 alpha-2 code in upper case.
func StateByISO2(code string) (State, bool) { return stateBy(statesRegistry().byISO2, code) }

// StateByISTAT finds a state by its three-digit ISTAT code: the register's one,
// else the one of ISTAT's own list.
func StateByISTAT(code string) (State, bool) { return stateBy(statesRegistry().byISTAT, code) }

// StateByZ finds a state, present or former, by its catastale code ("Z133").
func StateByZ(code string) (State, bool) { return stateBy(statesRegistry().byZ, code) }

func stateBy(index map[string]int, code string) (State, bool) {
	i, ok := index[code]
	if !ok {
		return State{}, false
	}
	return statesRegistry().all[i], true
}

// FindStates finds states and territories by any of their codes, or by an
// Italian or English name, official or usual, typed badly; former ones last. It
// guesses (at most ten of a kind) only when nothing matches.
func FindStates(query string) []State {
	r := statesRegistry()
	query = strings.TrimSpace(query)
	code := strings.ToUpper(query)
	var found []State
	for _, s := range r.all {
		if code != "" && (code == s.ISO2 || code == s.ISO3 || code == s.Z || code == s.ISTAT || code == s.ISTATList) {
			found = append(found, s)
		}
	}
	if found != nil {
		return found
	}
	current, former := r.names.find(query, func(int, bool) string { return "" })
	for _, i := range append(current, former...) {
		found = append(found, r.all[i])
	}
	return found
}
