package anpr

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Comune is one Italian municipality, present or former, as the register
// (ANPR) knows it. Values are immutable facts of the tables the binary ships;
// cmd/tools/registrygen and the overlay files say where each comes from.
type Comune struct {
	// ISTAT is the six-digit code the register uses. The comuni of Sardinia
	// keep the code they had before the provinces of 2026: in September 2026
	// the register had not taken over the new ones (italia/anpr #5316).
	ISTAT string
	// Catastale is the code of the land register, one letter and three digits,
	// which fiscal codes carry. It outlives most changes of the ISTAT code.
	Catastale string
	// Name is the official name; for the bilingual comuni of Gorizia and
	// Trieste it holds both languages, elsewhere the Italian one alone.
	Name string
	// AltName is the official name in the other language, "" when there is none.
	AltName string
	// ProvinceCode is the two-letter code of the province ("PG").
	ProvinceCode string
	// Region is the Italian name of the region; "" for former comuni.
	Region string
	// Ended is the last day of existence, midnight UTC; zero for a comune of today.
	Ended time.Time
	// Successors are the ISTAT codes of the comuni of today that took over a
	// former one: known for those ceased since 1990-01-01, empty for older ones.
	Successors []string
	// PreviousISTAT are ISTAT codes the comune had under other provinces.
	PreviousISTAT []string

	aliases []string
}

// Current says whether the comune exists today.
func (c Comune) Current() bool { return c.Ended.IsZero() }

var (
	//go:embed comuni.tsv
	comuniTable string
	//go:embed overlay_former.tsv
	formerTable string
)

// registryOfComuni holds the tables with the look-ups by code.
type registryOfComuni struct {
	current, former   []Comune
	byISTAT           map[string]int // current codes into current
	byPrevious        map[string]int // codes of other provinces into current
	byCatastale       map[string]int // into current
	formerByISTAT     map[string]int // into former, the latest to cease
	formerByCatastale map[string]int // into former
}

var comuniRegistry = sync.OnceValue(loadComuni)

func loadComuni() *registryOfComuni {
	r := &registryOfComuni{
		byISTAT: map[string]int{}, byPrevious: map[string]int{}, byCatastale: map[string]int{},
		formerByISTAT: map[string]int{}, formerByCatastale: map[string]int{},
	}
	for i, cells := range tableRows(comuniTable, "istat", "catastale", "name", "alt_name", "province", "region", "previous", "aliases") {
		c := Comune{
			ISTAT: cells[0], Catastale: cells[1], Name: cells[2], AltName: cells[3], ProvinceCode: cells[4], Region: cells[5],
			PreviousISTAT: splitCell(cells[6]), aliases: splitCell(cells[7]),
		}
		r.current = append(r.current, c)
		r.byISTAT[c.ISTAT], r.byCatastale[c.Catastale] = i, i
		for _, code := range c.PreviousISTAT {
			r.byPrevious[code] = i
		}
	}
	direct := map[string][]string{}
	for i, cells := range tableRows(formerTable, "catastale", "istat", "name", "province", "ended", "successors", "source") {
		c := Comune{Catastale: cells[0], ISTAT: cells[1], Name: cells[2], ProvinceCode: cells[3], Ended: tableDate(cells[4])}
		direct[c.Catastale] = splitCell(cells[5])
		r.former = append(r.former, c)
		r.formerByCatastale[c.Catastale] = i
		if other, taken := r.formerByISTAT[c.ISTAT]; !taken || r.former[other].Ended.Before(c.Ended) {
			r.formerByISTAT[c.ISTAT] = i
		}
	}
	for i := range r.former {
		r.former[i].Successors = r.heirs(direct, r.former[i].Catastale)
	}
	return r
}

// heirs follows the direct successors (catastale codes) until comuni of today:
// Quero became Quero Vas, which became Setteville.
func (r *registryOfComuni) heirs(direct map[string][]string, catastale string) []string {
	var found []string
	for _, next := range direct[catastale] {
		if i, ok := r.byCatastale[next]; ok {
			found = append(found, r.current[i].ISTAT)
		} else if next != catastale {
			found = append(found, r.heirs(direct, next)...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// Comuni lists every comune of today in the order of the ISTAT code. The slice
// is the caller's own.
func Comuni() []Comune { return slices.Clone(comuniRegistry().current) }

// FormerComuni lists every ceased comune the tables know, in the order of the
// catastale code: all since 1990-01-01 with successors, older ones (since 1900)
// with name, province and end only. The slice is the caller's own.
func FormerComuni() []Comune { return slices.Clone(comuniRegistry().former) }

// ComuneByISTAT finds a comune by its six-digit ISTAT code: one of today by its
// code, one of today by a code it had under another province, or the former
// comune that bore the code last. It answers false for an unknown code.
func ComuneByISTAT(code string) (Comune, bool) {
	r := comuniRegistry()
	if i, ok := r.byISTAT[code]; ok {
		return r.current[i], true
	}
	if i, ok := r.byPrevious[code]; ok {
		return r.current[i], true
	}
	if i, ok := r.formerByISTAT[code]; ok {
		return r.former[i], true
	}
	return Comune{}, false
}

// ComuneByCatastale finds a comune of today, else a former one, by its catastale
// code ("C745", letter in upper case). It answers false for an unknown code.
func ComuneByCatastale(code string) (Comune, bool) {
	r := comuniRegistry()
	if i, ok := r.byCatastale[code]; ok {
		return r.current[i], true
	}
	if i, ok := r.formerByCatastale[code]; ok {
		return r.former[i], true
	}
	return Comune{}, false
}

// mostGuesses bounds what a query that matched nothing exactly may answer.
const mostGuesses = 10

var comuniNames = sync.OnceValue(func() *nameIndex {
	r := comuniRegistry()
	index := newNameIndex()
	for i, c := range r.current {
		usual := c.aliases
		if c.AltName != "" {
			usual = append([]string{c.Name + " " + c.AltName, c.AltName + " " + c.Name}, usual...)
		}
		index.add(i, false, append([]string{c.Name, c.AltName}, splitJoined(c)...), usual)
	}
	for i, c := range r.former {
		index.add(i, true, []string{c.Name}, nil)
	}
	return index
})

// splitJoined gives the halves of a name that holds both languages.
func splitJoined(c Comune) []string {
	if c.AltName != "" && strings.HasSuffix(c.Name, "-"+c.AltName) {
		return []string{strings.TrimSuffix(c.Name, "-"+c.AltName)}
	}
	return nil
}

// FindComuni finds comuni by ISTAT code (six digits, or five when the leading
// zero was lost), by catastale code, or by a name typed badly: accents,
// apostrophes, hyphens, spaces and case do not count, "S." stands for any
// saint, the names in the other official language and usual short names are
// known, and a province may follow ("Castro BG", "Castro (LE)"). Only when
// nothing matches so, it guesses: the first words of a longer name, one letter
// wrong, two letters wrong; at most ten of each kind. Former comuni come apart.
func FindComuni(query string) (current, former []Comune) {
	r := comuniRegistry()
	query = strings.TrimSpace(query)
	if code := strings.ToUpper(query); isCatastale(code) {
		if i, ok := r.byCatastale[code]; ok {
			current = append(current, r.current[i])
		}
		if i, ok := r.formerByCatastale[code]; ok {
			former = append(former, r.former[i])
		}
		return current, former
	}
	if allDigits(query) && (len(query) == 6 || len(query) == 5) {
		code := strings.Repeat("0", 6-len(query)) + query
		if i, ok := r.byISTAT[code]; ok {
			current = append(current, r.current[i])
		} else if i, ok := r.byPrevious[code]; ok {
			current = append(current, r.current[i])
		}
		for i, c := range r.former {
			if c.ISTAT == code {
				former = append(former, r.former[i])
			}
		}
		return current, former
	}
	foundCurrent, foundFormer := comuniNames().find(query, func(position int, isFormer bool) string {
		if isFormer {
			return r.former[position].ProvinceCode
		}
		return r.current[position].ProvinceCode
	})
	for _, i := range foundCurrent {
		current = append(current, r.current[i])
	}
	for _, i := range foundFormer {
		former = append(former, r.former[i])
	}
	return asAccented(query, current), former
}

// asAccented keeps of several comuni those whose name has the very accents of
// the query, if it has any: Paternò in Sicily is not Paterno in Basilicata.
func asAccented(query string, found []Comune) []Comune {
	if accented := accents(query); len(found) > 1 && accented != "" {
		same := slices.DeleteFunc(slices.Clone(found), func(c Comune) bool { return accents(c.Name) != accented })
		if len(same) > 0 {
			return same
		}
	}
	return found
}

// accents lists the accented letters of a name in lower case.
func accents(name string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf || !unicode.IsLetter(r) {
			return -1
		}
		return r
	}, strings.ToLower(norm.NFC.String(name)))
}

// isCatastale says whether the text has the shape of a catastale code of a
// comune or a foreign state.
func isCatastale(code string) bool {
	return len(code) == 4 && code[0] >= 'A' && code[0] <= 'Z' && allDigits(code[1:])
}

func allDigits(text string) bool {
	for _, r := range text {
		if r < '0' || r > '9' {
			return false
		}
	}
	return text != ""
}
