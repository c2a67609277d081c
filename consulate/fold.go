package consulate

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// longestName bounds what is compared, in bytes: no place name in the tables
// has a hundred.
const longestName = 200

// letters that do not decompose into a base letter and a mark.
var plainLetters = strings.NewReplacer(
	"ß", "ss", "ø", "o", "Ø", "o", "ł", "l", "Ł", "l", "đ", "d", "Đ", "d", "ð", "d", "Ð", "d",
	"ı", "i", "æ", "ae", "Æ", "ae", "œ", "oe", "Œ", "oe", "þ", "th", "Þ", "th", "ə", "e", "Ə", "e",
)

// fold brings a name to lower case letters and digits without marks, words
// parted by one space; "Saint" and "St." become one.
func fold(name string) string {
	if len(name) > longestName {
		name = name[:longestName]
	}
	var out strings.Builder
	space := false
	for _, r := range norm.NFKD.String(plainLetters.Replace(name)) {
		switch {
		case unicode.Is(unicode.Mn, r), r == '\'', r == '’', r == '‘', r == 'ʿ', r == 'ʾ', r == '`', r == '.':
			// marks, apostrophes and the points of "St." and "D.C." part nothing
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			if space && out.Len() > 0 {
				out.WriteByte(' ')
			}
			space = false
			out.WriteRune(unicode.ToLower(r))
		default:
			space = true
		}
	}
	words := strings.Split(out.String(), " ")
	for i, word := range words {
		if word == "saint" || word == "sankt" {
			words[i] = "st"
		}
	}
	return strings.Join(words, " ")
}

var umlauts = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "Ä", "Ae", "Ö", "Oe", "Ü", "Ue")

// foldings answers the foldings under which a name of the tables is found: with
// umlauts as bare vowels and, if it has any, written out (Köln, Koeln).
func foldings(name string) []string {
	all := []string{fold(name)}
	if spelled := umlauts.Replace(name); spelled != name {
		all = append(all, fold(spelled))
	}
	return all
}

// registerName writes a seat as the register's tables do: capitals, a final
// accent as an apostrophe, other marks dropped (BOGOTA', CITTA' DEL MESSICO).
func registerName(seat string) string {
	words := strings.Split(seat, " ")
	for i, word := range words {
		var out strings.Builder
		final := false
		for _, r := range norm.NFD.String(plainLetters.Replace(word)) {
			if final = unicode.Is(unicode.Mn, r); !final {
				out.WriteRune(unicode.ToUpper(r))
			}
		}
		if final {
			out.WriteByte('\'')
		}
		words[i] = out.String()
	}
	return strings.Join(words, " ")
}
