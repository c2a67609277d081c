package anpr

import (
	"math/bits"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// longestName bounds the query in bytes: no name in the tables has a hundred,
// and the guesses cost time in the square of the length.
const longestName = 120

// words cuts a name into its letters and digits, in lower case, without marks:
// "Sant'Àgata de' Goti", "SANT’AGATA DE GOTI" and "sant agata de goti" are one.
// An apostrophe that stands for an accent ("AGLIE'") disappears like any other.
func words(name string) []string {
	var out strings.Builder
	for _, r := range norm.NFKD.String(name) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case r == 'ß' || r == 'ẞ':
			out.WriteString("ss")
		case r == 'ø' || r == 'Ø':
			out.WriteByte('o')
		case r == 'đ' || r == 'Đ':
			out.WriteByte('d')
		case r == '&':
			out.WriteString(" e ")
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			out.WriteRune(unicode.ToLower(r))
		default:
			out.WriteByte(' ')
		}
	}
	return strings.Fields(out.String())
}

// nameEntry is one row of a table in the index.
type nameEntry struct {
	position int
	former   bool
}

// indexedName is one name of one row, for the guesses.
type indexedName struct {
	nameEntry
	spaced, compact string
	letters         []rune
	mask            uint64
}

// nameIndex finds rows by name. Official names come before usual ones: the
// usual ones answer only when no official name does.
type nameIndex struct {
	official, usual names
	all             []indexedName
}

// names maps a name in words, and the same without spaces, to rows.
type names struct{ spaced, compact map[string][]nameEntry }

func newNameIndex() *nameIndex {
	return &nameIndex{
		official: names{map[string][]nameEntry{}, map[string][]nameEntry{}},
		usual:    names{map[string][]nameEntry{}, map[string][]nameEntry{}},
	}
}

func (x *nameIndex) add(position int, former bool, official, usual []string) {
	entry := nameEntry{position, former}
	for _, name := range official {
		x.official.add(x, entry, words(name))
		if expanded := umlauts.Replace(name); expanded != name {
			x.usual.add(x, entry, words(expanded))
		}
	}
	for _, name := range usual {
		x.usual.add(x, entry, words(name))
	}
}

// umlauts spells a German name as those type it who have no umlauts.
var umlauts = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "Ä", "Ae", "Ö", "Oe", "Ü", "Ue")

func (n names) add(x *nameIndex, entry nameEntry, parts []string) {
	if len(parts) == 0 {
		return
	}
	spaced, compact := strings.Join(parts, " "), strings.Join(parts, "")
	if !slices.Contains(n.spaced[spaced], entry) {
		n.spaced[spaced] = append(n.spaced[spaced], entry)
	}
	if !slices.Contains(n.compact[compact], entry) {
		n.compact[compact] = append(n.compact[compact], entry)
	}
	letters := []rune(compact)
	x.all = append(x.all, indexedName{entry, spaced, compact, letters, letterMask(letters)})
}

// find answers the positions of current and former rows. province tells the
// province of a row, to understand a query that ends with one.
func (x *nameIndex) find(query string, province func(position int, former bool) string) (current, former []int) {
	if len(query) > longestName {
		return nil, nil
	}
	parts := withoutTitle(words(query))
	if len(parts) == 0 {
		return nil, nil
	}
	current, former = x.exactly(parts)
	if len(current)+len(former) == 0 && len(parts) > 1 {
		last := strings.ToUpper(parts[len(parts)-1])
		here, gone := x.exactly(parts[:len(parts)-1])
		elsewhere := func(isFormer bool) func(int) bool {
			return func(position int) bool { return province(position, isFormer) != last }
		}
		current, former = slices.DeleteFunc(here, elsewhere(false)), slices.DeleteFunc(gone, elsewhere(true))
	}
	if len(current)+len(former) == 0 {
		return x.guess(parts)
	}
	return current, former
}

// withoutTitle drops what stands before a name on letterheads and, in Slovene
// too, in the register's other names ("Comune di Sgonico - Občina Zgonik").
func withoutTitle(parts []string) []string {
	if len(parts) > 2 && parts[0] == "comune" && slices.Contains([]string{"di", "del", "dell", "della", "d"}, parts[1]) {
		parts = parts[2:]
	}
	if len(parts) > 1 {
		parts = slices.DeleteFunc(parts, func(word string) bool { return word == "obcina" })
	}
	return parts
}

// exactly tries the readings of the words one after the other, for current and
// former rows apart: as typed, without spaces, with abbreviations written out,
// with the article that is often left away; official names first.
func (x *nameIndex) exactly(parts []string) (current, former []int) {
	readings := append([][]string{parts}, writtenOut(parts)...)
	for _, article := range []string{"la", "l", "il", "lo", "le"} {
		readings = append(readings, append([]string{article}, parts...))
	}
	for _, reading := range readings {
		spaced, compact := strings.Join(reading, " "), strings.Join(reading, "")
		for _, entries := range [][]nameEntry{
			x.official.spaced[spaced], x.usual.spaced[spaced], x.official.compact[compact], x.usual.compact[compact],
		} {
			var here, gone []int
			for _, entry := range entries {
				if entry.former {
					gone = append(gone, entry.position)
				} else {
					here = append(here, entry.position)
				}
			}
			if current == nil {
				current = here
			}
			if former == nil {
				former = gone
			}
		}
	}
	return current, former
}

// abbreviations are the ways a word may be written out; the first word is what
// stands on the paper.
var abbreviations = map[string][]string{
	"s":     {"san", "santa", "sant", "santo", "santi", "sul", "sulla", "sull", "sullo"},
	"ss":    {"santi", "santissima"},
	"sta":   {"santa"},
	"sto":   {"santo"},
	"st":    {"saint", "sankt", "sant"},
	"ste":   {"sainte"},
	"sankt": {"st"},
	"snt":   {"sant"},
	"mte":   {"monte"},
	"bgo":   {"borgo"},
	"cast":  {"castel", "castello"},
	"sn":    {"san"},
	"d":     {"di", "del", "della"},
}

// pairs are abbreviations that a dot has cut in two words.
var pairs = map[[2]string]string{
	{"s", "ta"}: "santa", {"s", "to"}: "santo", {"m", "te"}: "monte", {"b", "go"}: "borgo",
	{"c", "llo"}: "castello", {"v", "lle"}: "valle", {"p", "te"}: "ponte",
}

// mostReadings bounds the readings of one query.
const mostReadings = 200

func writtenOut(parts []string) [][]string {
	readings := [][]string{nil}
	changed := false
	for i := 0; i < len(parts); i++ {
		choices := []string{parts[i]}
		if i+1 < len(parts) && pairs[[2]string{parts[i], parts[i+1]}] != "" {
			choices = []string{pairs[[2]string{parts[i], parts[i+1]}]}
			changed = true
			i++
		} else if long := abbreviations[parts[i]]; long != nil {
			choices = append(choices, long...)
			changed = true
		}
		if len(readings)*len(choices) > mostReadings {
			choices = choices[:1]
		}
		var next [][]string
		for _, choice := range choices {
			for _, reading := range readings {
				next = append(next, append(slices.Clip(reading), choice))
			}
		}
		readings = next
	}
	if !changed {
		return nil
	}
	return readings
}

// guess answers the rows nearest to words that match nothing: names that begin
// with these words, else one letter wrong, else two letters wrong (in names long
// enough for that to mean something). Nearest first.
func (x *nameIndex) guess(parts []string) (current, former []int) {
	spaced, typed := strings.Join(parts, " "), []rune(strings.Join(parts, ""))
	begins, near := make([]int, 0, mostGuesses), [3][]int{}
	mask := letterMask(typed)
	for i, name := range x.all {
		if len(typed) >= 3 && strings.HasPrefix(name.spaced, spaced) && strings.HasPrefix(name.spaced[len(spaced):], " ") {
			begins = append(begins, i)
		}
		// One edit changes at most two of the letters that occur.
		if bits.OnesCount64(mask^name.mask) > 2*mostEdits {
			continue
		}
		if distance := editDistance(typed, name.letters); distance <= mostEdits {
			near[distance] = append(near[distance], i)
		}
	}
	tries := [][]int{begins}
	if len(typed) >= 4 {
		tries = append(tries, near[1])
	}
	if len(typed) >= 7 {
		tries = append(tries, near[2])
	}
	for _, hits := range tries {
		slices.SortStableFunc(hits, func(a, b int) int { return strings.Compare(x.all[a].spaced, x.all[b].spaced) })
		for _, i := range hits {
			list := &current
			if x.all[i].former {
				list = &former
			}
			if len(*list) < mostGuesses && !slices.Contains(*list, x.all[i].position) {
				*list = append(*list, x.all[i].position)
			}
		}
		if len(hits) > 0 {
			return current, former
		}
	}
	return nil, nil
}

// letterMask marks which letters and digits occur.
func letterMask(letters []rune) uint64 {
	var mask uint64
	for _, r := range letters {
		mask |= 1 << (r % 64)
	}
	return mask
}

// mostEdits is the distance beyond which a name is no guess.
const mostEdits = 2

// editDistance counts the letters to insert, drop, replace or swap with their
// neighbour to make one word the other (optimal string alignment), and stops
// counting beyond mostEdits. No name is longer than longestName.
func editDistance(a, b []rune) int {
	if difference := len(a) - len(b); difference < -mostEdits || difference > mostEdits || len(b) > longestName {
		return mostEdits + 1
	}
	var space [3][longestName + 1]int
	before, row, next := &space[0], &space[1], &space[2]
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		best := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(next[j-1]+1, row[j]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
			best = min(best, next[j])
		}
		if best > mostEdits+1 {
			return mostEdits + 1
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
