package anpr

import (
	"fmt"
	"strings"
	"time"
)

// Reasons for which a text is no fiscal code, a closed list. They are tried in
// this order: the first that applies is the answer.
const (
	CFEmpty      = "cf_empty"      // nothing was given
	CFLength     = "cf_length"     // neither 16 characters nor 11
	CFCharacters = "cf_characters" // a letter where a digit belongs, a digit where a letter belongs, or something else
	CFMonth      = "cf_month"      // the month letter is none of ABCDEHLMPRST
	CFChecksum   = "cf_checksum"   // the last character does not follow from the others
	CFDate       = "cf_date"       // no such day in the month, in either century
	CFPlace      = "cf_place"      // the place of birth is no comune, past or present, and no foreign state
)

// FiscalCodeError says why a text is no fiscal code. Its code is one of the
// CF… reasons; the text for people is in gateway/messages under that code.
type FiscalCodeError struct {
	Code     string // one of the CF… constants
	Field    string // always "fiscal_code"
	Position int    // the first character at fault, counted from 1; 0 for the whole
}

func (e *FiscalCodeError) Error() string {
	if e.Position > 0 {
		return fmt.Sprintf("%s at character %d", e.Code, e.Position)
	}
	return e.Code
}

// FiscalCode is a fiscal code (codice fiscale) taken apart. It says what the
// text says: whether the code was ever given to somebody only the register knows.
type FiscalCode struct {
	// Code is the code in upper case, as given: 16 characters, or 11 digits.
	Code string
	// Provisional marks the 11-digit numeric code given until the final one: it
	// carries nothing about the person, all fields below are empty.
	Provisional bool
	// Omocode marks a code in which letters replace digits because two people
	// would have had the same (D.M. 23 December 1976, art. 6).
	Omocode bool
	// Plain is the code with the digits put back and its check character
	// recomputed: what two omocodes have in common.
	Plain string
	// Sex is "M" or "F".
	Sex string
	// YearOfCentury is 0–99: a fiscal code does not say the century.
	YearOfCentury int
	Month         time.Month
	Day           int
	// BirthplaceCode is the catastale code of the comune, or the Z code of the state.
	BirthplaceCode string
	// BirthComune is the place when it is a comune of today or a former one.
	BirthComune *Comune
	// BirthState is the place when it is a foreign state, of today or former.
	BirthState *State
}

// BirthplaceName is the Italian name of the place of birth, "" when provisional.
func (c FiscalCode) BirthplaceName() string {
	switch {
	case c.BirthComune != nil:
		return c.BirthComune.Name
	case c.BirthState != nil:
		return c.BirthState.NameIT
	}
	return ""
}

// BirthDates lists the dates of birth the code may stand for, oldest first, at
// midnight UTC: the day in the century of the reference date and in the one
// before, leaving out days that do not exist (29 February) and days after the
// reference date. A provisional code has none.
func (c FiscalCode) BirthDates(reference time.Time) []time.Time {
	if c.Provisional {
		return nil
	}
	reference = reference.UTC()
	century := reference.Year() / 100 * 100
	var dates []time.Time
	for _, year := range []int{century - 100 + c.YearOfCentury, century + c.YearOfCentury} {
		date := time.Date(year, c.Month, c.Day, 0, 0, 0, 0, time.UTC)
		if date.Day() == c.Day && !date.After(reference) {
			dates = append(dates, date)
		}
	}
	return dates
}

// omocodeDigits are the letters that replace the digits 0–9.
const omocodeDigits = "LMNPQRSTUV"

// digitPositions are the places (from 0) of the seven digits of a code.
var digitPositions = [...]int{6, 7, 9, 10, 12, 13, 14}

// monthLetters are the letters of January to December.
const monthLetters = "ABCDEHLMPRST"

// oddValues are the values of 0–9 (= A–J) and A–Z in the odd places, counted
// from 1 (D.M. 23 December 1976, table of the control character).
var oddValues = [26]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}

// checkCharacter computes the last character from the first fifteen, which must
// be upper-case letters and digits.
func checkCharacter(fifteen string) byte {
	sum := 0
	for i := range 15 {
		value := int(fifteen[i] - '0')
		if fifteen[i] >= 'A' {
			value = int(fifteen[i] - 'A')
		}
		if i%2 == 0 {
			value = oddValues[value]
		}
		sum += value
	}
	return byte('A' + sum%26)
}

// ParseFiscalCode takes a fiscal code apart. Spaces around it and lower case
// are forgiven. It checks structure, month, check character, day and place of
// birth (comuni of today, former comuni, foreign states of today and former
// ones) and understands omocodes; an 11-digit provisional code is checked by
// its control digit. The error is always a *FiscalCodeError.
func ParseFiscalCode(text string) (FiscalCode, error) {
	fail := func(code string, position int) (FiscalCode, error) {
		return FiscalCode{}, &FiscalCodeError{Code: code, Field: "fiscal_code", Position: position}
	}
	code := strings.TrimSpace(text)
	if code == "" {
		return fail(CFEmpty, 0)
	}
	for i, r := range code {
		if r > 'z' || !isLetterOrDigit(r) {
			return fail(CFCharacters, i+1)
		}
	}
	code = strings.ToUpper(code)
	switch len(code) {
	case 11:
		return parseProvisional(code, fail)
	case 16:
	default:
		return fail(CFLength, 0)
	}
	plain := []byte(code)
	omocode := false
	isDigitPlace := map[int]bool{}
	for _, i := range digitPositions {
		isDigitPlace[i] = true
	}
	for i := range plain {
		letter := plain[i] >= 'A'
		if !isDigitPlace[i] {
			if !letter {
				return fail(CFCharacters, i+1)
			}
			continue
		}
		if letter {
			digit := strings.IndexByte(omocodeDigits, plain[i])
			if digit < 0 {
				return fail(CFCharacters, i+1)
			}
			plain[i] = byte('0' + digit)
			omocode = true
		}
	}
	month := strings.IndexByte(monthLetters, plain[8]) + 1
	if month == 0 {
		return fail(CFMonth, 9)
	}
	if checkCharacter(code) != code[15] {
		return fail(CFChecksum, 16)
	}
	plain[15] = checkCharacter(string(plain))
	parsed := FiscalCode{
		Code: code, Omocode: omocode, Plain: string(plain), Sex: "M",
		YearOfCentury: twoDigits(plain[6:]), Month: time.Month(month), Day: twoDigits(plain[9:]),
		BirthplaceCode: string(plain[11:15]),
	}
	if parsed.Day > 40 {
		parsed.Day -= 40
		parsed.Sex = "F"
	}
	// 2000 is the leap year of the two centuries alive: 1900 was none.
	if last := time.Date(2000+parsed.YearOfCentury, parsed.Month+1, 0, 0, 0, 0, 0, time.UTC).Day(); parsed.Day < 1 || parsed.Day > last {
		return fail(CFDate, 10)
	}
	if comune, ok := ComuneByCatastale(parsed.BirthplaceCode); ok {
		parsed.BirthComune = &comune
	} else if state, ok := StateByZ(parsed.BirthplaceCode); ok {
		parsed.BirthState = &state
	} else {
		return fail(CFPlace, 12)
	}
	return parsed, nil
}

// parseProvisional checks an 11-digit code by its control digit, the same as a
// VAT number's.
func parseProvisional(code string, fail func(string, int) (FiscalCode, error)) (FiscalCode, error) {
	sum := 0
	for i := range 11 {
		if code[i] > '9' {
			return fail(CFCharacters, i+1)
		}
		value := int(code[i] - '0')
		if i%2 == 1 {
			value *= 2
			if value > 9 {
				value -= 9
			}
		}
		sum += value
	}
	if sum%10 != 0 || code == "00000000000" {
		return fail(CFChecksum, 11)
	}
	return FiscalCode{Code: code, Plain: code, Provisional: true}, nil
}

func isLetterOrDigit(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

func twoDigits(text []byte) int { return int(text[0]-'0')*10 + int(text[1]-'0') }
