package anpr

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// FindingCode is the closed list of what can be odd about a person's record.
type FindingCode string

// The findings. The table in findingRules says what each means for a request.
const (
	FindingNotFound           FindingCode = "not_found"             // EN122: never entered, or under another code
	FindingCancelled          FindingCode = "cancelled"             // EN122 whose text says so, EN047: was in the register, is not any more
	FindingNotAIRE            FindingCode = "not_aire"              // registered, but resident in Italy
	FindingAIREUnknown        FindingCode = "aire_unknown"          // the granted services do not tell
	FindingDeceased           FindingCode = "deceased"              //
	FindingAliveUnknown       FindingCode = "alive_unknown"         // the register answered A
	FindingForeigner          FindingCode = "foreigner"             // no Italian citizenship in the record
	FindingCFNotValidated     FindingCode = "cf_not_validated"      // validitaCF 9 or no code: no card can be issued
	FindingCFSuperseded       FindingCode = "cf_superseded"         // the register knows the person under another code
	FindingDuplicate          FindingCode = "duplicate"             // several people answer to one key
	FindingDoubleRegistration FindingCode = "double_registration"   // EN470–472, EA030, EA031
	FindingConsulateDisagrees FindingCode = "consulate_disagrees"   // EA044–EA047: AIRE and consular file differ
	FindingPostUnknown        FindingCode = "post_unknown"          // no consulate in the record of an AIRE person
	FindingPostStateMismatch  FindingCode = "post_state_mismatch"   // the post does not serve the state of residence
	FindingAddressUndelivered FindingCode = "address_undeliverable" // a parcel would not arrive
	FindingComuneUnknown      FindingCode = "comune_unknown"        // comune of AIRE registration missing or not a comune
	FindingNamesTruncated     FindingCode = "names_truncated"       // cut at 36 characters by the old AIRE archive
	FindingNamesTransliterate FindingCode = "names_transliterated"  // same name, other spelling
	FindingNamesDiffer        FindingCode = "names_differ"          // the applicant's name is another one
	FindingTextDamaged        FindingCode = "text_damaged"          // characters lost on the way
)

// Outcome says what a finding means for a request.
type Outcome string

// The outcomes, from light to grave. A parent is checked with the same
// findings: the gateway decides which of them matter for that role (a parent
// need not be in AIRE).
const (
	OutcomeClear   Outcome = "clear"   // nothing found
	OutcomeNote    Outcome = "note"    // goes on; shown to the office
	OutcomeCorrect Outcome = "correct" // misaligned: a correction task, then ask again
	OutcomeReview  Outcome = "review"  // misaligned: a person at the office decides
	OutcomeRefuse  Outcome = "refuse"  // the request is refused with this reason
)

func (o Outcome) rank() int {
	switch o {
	case OutcomeNote:
		return 1
	case OutcomeCorrect:
		return 2
	case OutcomeReview:
		return 3
	case OutcomeRefuse:
		return 4
	}
	return 0
}

// Owner says who must act next.
type Owner string

// The owners (spec §4.5: the comune of AIRE registration corrects AIRE data,
// the consulate asks for it through alignment requests).
const (
	OwnerNobody     Owner = "nobody"
	OwnerCitizen    Owner = "citizen"
	OwnerOffice     Owner = "office"      // the office that holds the request
	OwnerConsulate  Owner = "consulate"   // door C C002, C003
	OwnerAIREComune Owner = "aire_comune" // the comune of AIRE registration
)

var findingRules = map[FindingCode]struct {
	outcome Outcome
	owner   Owner
}{
	FindingNotFound:           {OutcomeCorrect, OwnerConsulate},
	FindingCancelled:          {OutcomeCorrect, OwnerAIREComune},
	FindingNotAIRE:            {OutcomeRefuse, OwnerCitizen},
	FindingAIREUnknown:        {OutcomeReview, OwnerOffice},
	FindingDeceased:           {OutcomeRefuse, OwnerNobody},
	FindingAliveUnknown:       {OutcomeReview, OwnerOffice},
	FindingForeigner:          {OutcomeRefuse, OwnerNobody},
	FindingCFNotValidated:     {OutcomeCorrect, OwnerConsulate},
	FindingCFSuperseded:       {OutcomeReview, OwnerOffice},
	FindingDuplicate:          {OutcomeReview, OwnerOffice},
	FindingDoubleRegistration: {OutcomeCorrect, OwnerAIREComune},
	FindingConsulateDisagrees: {OutcomeCorrect, OwnerConsulate},
	FindingPostUnknown:        {OutcomeNote, OwnerConsulate},
	FindingPostStateMismatch:  {OutcomeNote, OwnerConsulate},
	FindingAddressUndelivered: {OutcomeNote, OwnerCitizen},
	FindingComuneUnknown:      {OutcomeNote, OwnerAIREComune},
	FindingNamesTruncated:     {OutcomeNote, OwnerAIREComune},
	FindingNamesTransliterate: {OutcomeNote, OwnerNobody},
	FindingNamesDiffer:        {OutcomeReview, OwnerOffice},
	FindingTextDamaged:        {OutcomeReview, OwnerAIREComune},
}

// Finding is one of them in one record. It holds no personal data.
type Finding struct {
	Code    FindingCode `json:"code"`
	Service Service     `json:"service,omitempty"` // whose answer showed it
	Source  Code        `json:"source,omitempty"`  // the register's own code, when it gave one
	Detail  string      `json:"detail,omitempty"`  // a machine token that narrows the code, as "no_street"
}

// cancelRules narrow FindingCancelled by the reason of the cancellation from
// AIRE (table of spec §4.3), which only doors B and C tell (spec §1.5). Reasons 1
// and 2 are deaths and come as FindingDeceased.
var cancelRules = map[string]struct {
	outcome Outcome
	owner   Owner
}{
	"reason_3":  {OutcomeRefuse, OwnerCitizen},     // back in Italy: the comune of residence issues the card
	"reason_4":  {OutcomeRefuse, OwnerCitizen},     //
	"reason_5":  {OutcomeCorrect, OwnerConsulate},  // presumed untraceable: to be registered again (C04)
	"reason_6":  {OutcomeRefuse, OwnerNobody},      // citizenship lost
	"reason_7":  {OutcomeCorrect, OwnerAIREComune}, // moved to another comune's AIRE
	"reason_8":  {OutcomeCorrect, OwnerAIREComune}, // other
	"reason_10": {OutcomeCorrect, OwnerAIREComune}, // double registration
}

// CancelReasons lists the reasons of a cancellation from AIRE with a rule of
// their own, as Finding.Detail names them.
func CancelReasons() []string {
	return []string{"reason_3", "reason_4", "reason_5", "reason_6", "reason_7", "reason_8", "reason_10"}
}

// Outcome of the finding; an unknown code is a review, never clear.
func (f Finding) Outcome() Outcome {
	if r, ok := cancelRules[f.Detail]; ok && f.Code == FindingCancelled {
		return r.outcome
	}
	if r, ok := findingRules[f.Code]; ok {
		return r.outcome
	}
	return OutcomeReview
}

// Owner of the next step.
func (f Finding) Owner() Owner {
	if r, ok := cancelRules[f.Detail]; ok && f.Code == FindingCancelled {
		return r.owner
	}
	if r, ok := findingRules[f.Code]; ok {
		return r.owner
	}
	return OwnerOffice
}

// FindingCodes lists all codes, for tests of completeness of texts.
func FindingCodes() []FindingCode {
	out := make([]FindingCode, 0, len(findingRules))
	for c := range findingRules {
		out = append(out, c)
	}
	return out
}

// NameMatch is how a declared name relates to the register's.
type NameMatch string

// The matches, from best to none.
const (
	NameSame           NameMatch = "same"
	NameTransliterated NameMatch = "transliterated" // equal once accents, apostrophes and special letters are spelt out
	NameTruncated      NameMatch = "truncated"      // the register's is the first 36 characters of the declared one
	NameDifferent      NameMatch = "different"
)

// anagAireLimit is where the old AIRE archive cut names (spec §8 row 22).
const anagAireLimit = 36

// CompareName compares a declared name with the register's, tolerant of case,
// accents, apostrophes, transliteration and truncation (spec §8 rows 22, 23).
func CompareName(declared, register string) NameMatch {
	d, r := strings.ToUpper(strings.Join(strings.Fields(declared), " ")), strings.ToUpper(strings.Join(strings.Fields(register), " "))
	if norm.NFC.String(d) == norm.NFC.String(r) {
		return NameSame
	}
	dk, rk := spelling(d), spelling(r)
	switch {
	case dk == rk:
		return NameTransliterated
	case utf8.RuneCountInString(r) >= anagAireLimit-1 && utf8.RuneCountInString(r) <= anagAireLimit && strings.HasPrefix(dk, rk):
		return NameTruncated
	}
	return NameDifferent
}

// spelling reduces an upper-case name to letters without marks. Umlauts come
// as AE in some offices and as A in others, so both become A: looser than
// exact, and only ever used to tell a spelling from another name.
func spelling(s string) string {
	s = norm.NFC.String(s)
	out := strings.Builder{}
	for _, r := range norm.NFD.String(spelledOut.Replace(s)) {
		if unicode.IsLetter(r) {
			out.WriteRune(unicode.ToUpper(r))
		}
	}
	return out.String()
}

var spelledOut = strings.NewReplacer(
	"AE", "A", "OE", "O", "UE", "U", "AA", "A",
	"Æ", "A", "Œ", "O", "Ø", "O", "ß", "SS", "ẞ", "SS",
	"Ð", "D", "Đ", "D", "Þ", "TH", "Ł", "L", "ı", "I", "Ŋ", "N", "Ħ", "H", "Ŧ", "T", "Ə", "A",
)

// codeOfName is how a fiscal code abbreviates a surname or a given name (DM 23
// December 1976): consonants, then vowels, then X. False when the name holds
// letters that offices spell in more than one way.
func codeOfName(name string, given bool) (string, bool) {
	if name == "" {
		return "", false
	}
	var consonants, vowels []rune
	for _, r := range norm.NFD.String(strings.ToUpper(name)) {
		switch {
		case strings.ContainsRune("AEIOU", r):
			vowels = append(vowels, r)
		case r >= 'A' && r <= 'Z':
			consonants = append(consonants, r)
		case r == '\u0308' || r == '\u030a': // umlaut, ring: Ü is U or UE
			return "", false
		case unicode.IsLetter(r) || r == utf8.RuneError || r == '?':
			return "", false
		}
	}
	if given && len(consonants) >= 4 {
		consonants = []rune{consonants[0], consonants[2], consonants[3]}
	}
	return string(append(append(consonants, vowels...), 'X', 'X', 'X')[:3]), true
}
