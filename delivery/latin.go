package delivery

import (
	_ "embed"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

//go:embed letters.tsv
var lettersTSV string

// letters maps the small letters of Greek and Cyrillic to Latin.
var letters = sync.OnceValue(func() map[rune]string {
	out := map[rune]string{}
	for _, row := range tsvRows(lettersTSV, 2) {
		for _, r := range row[0] {
			out[r] = row[1]
		}
	}
	return out
})

// greekPairs are the two letters that sound as one.
var greekPairs = strings.NewReplacer("ΟΥ", "OU", "Ου", "Ou", "ου", "ou", "ΑΥ", "AV", "Αυ", "Av", "αυ", "av", "ΕΥ", "EV", "Ευ", "Ev", "ευ", "ev",
	"ΓΓ", "NG", "γγ", "ng", "ΓΚ", "GK", "γκ", "gk", "ΜΠ", "B", "Μπ", "B", "μπ", "b")

// latin spells a text in Latin letters. It answers false if a letter of a
// script without a table (Han, Arabic, …) remains; a text that is Latin already
// is returned as it is.
func latin(s string) (string, bool) {
	if !strings.ContainsFunc(s, isForeignLetter) {
		return s, true
	}
	// Some letters are composed in Unicode and letters of their own in the
	// alphabet (й, ї, ў): only Greek loses its accents here.
	s = norm.NFC.String(s)
	var bare strings.Builder
	for _, r := range s {
		if unicode.In(r, unicode.Greek) {
			bare.WriteString(stripMarks(r))
		} else {
			bare.WriteRune(r)
		}
	}
	in := []rune(greekPairs.Replace(bare.String()))
	var out strings.Builder
	ok := true
	for i, r := range in {
		if !isForeignLetter(r) {
			out.WriteRune(r)
			continue
		}
		small := unicode.ToLower(r)
		t, known := letters()[small]
		if !known {
			t, known = letters()[[]rune(stripMarks(small))[0]]
		}
		switch {
		case !known:
			ok = false
			out.WriteRune(r)
		case small == r || t == "":
			out.WriteString(t)
		case len(t) > 1 && i+1 < len(in) && unicode.IsLower(in[i+1]):
			out.WriteString(strings.ToUpper(t[:1]) + t[1:])
		default:
			out.WriteString(strings.ToUpper(t))
		}
	}
	return out.String(), ok
}

// stripMarks returns a letter without its accents; never empty.
func stripMarks(r rune) string {
	var b strings.Builder
	for _, c := range norm.NFD.String(string(r)) {
		if !unicode.Is(unicode.Mn, c) {
			b.WriteRune(c)
		}
	}
	if b.Len() == 0 {
		return string(r)
	}
	return b.String()
}
