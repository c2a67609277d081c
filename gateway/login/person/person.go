// Package person reads the minimum data set of a citizen from a UserInfo answer.
//
// Duty: take given name, family name, date of birth and fiscal code out of a
// payload whose signature holds.
//
// Promise: what it answers is complete and to the letter of the claim formats (D
// attributi_utente); the fiscal code, which decides whose requests are shown, is
// sixteen characters with a check character that agrees. Complete is also who has
// one name only, where the fiscal code says so too.
//
// It refuses to repair: no trimming, no upper-casing, no missing prefix.
package person

import (
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"airegw/anpr"
	"airegw/gateway/fault"
)

// The minimum data set (D attributi_utente): all that is asked for.
const (
	claimGivenName  = "given_name"
	claimFamilyName = "family_name"
	claimBirthDate  = "birthdate"
	claimFiscalCode = "https://attributes.eid.gov.it/fiscal_number"

	// fiscalPrefix names the country and the kind of number (ETSI EN 319 412-1).
	fiscalPrefix = "TINIT-"
)

// Person is the minimum data set.
type Person struct {
	GivenName, FamilyName string // one of them may be "": the person has no such name
	BirthDate             string // YYYY-MM-DD
	FiscalCode            string // 16 characters, upper case
}

// Error says which claim is missing or of another form than it must be; ""
// stands for the whole payload. It never holds the value.
type Error struct {
	Claim      string
	FiscalCode bool // there, but not in the form TINIT-<fiscal code>
}

func (e *Error) Error() string { return "claim missing or malformed: " + e.Claim }

// Read reads the minimum data set strictly: a value of another form is
// refused, never repaired, since the fiscal code decides whose requests are
// shown.
func Read(payload []byte) (Person, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(payload, &members); err != nil {
		return Person{}, &Error{Claim: ""}
	}
	var p Person
	for _, m := range []struct {
		name string
		dst  *string
	}{{claimFiscalCode, &p.FiscalCode}, {claimGivenName, &p.GivenName}, {claimFamilyName, &p.FamilyName}, {claimBirthDate, &p.BirthDate}} {
		if value, there := members[m.name]; nameless(m.name, p) && (!there || string(value) == `""` || string(value) == "null") {
			continue
		}
		err := json.Unmarshal(members[m.name], m.dst)
		if (err != nil || *m.dst == "" || len(*m.dst) > 256 || !utf8.ValidString(*m.dst) || strings.ContainsFunc(*m.dst, func(r rune) bool { return r < ' ' })) && !fault.Mutant("login.minimum-data") {
			return Person{}, &Error{Claim: m.name}
		}
	}
	if _, err := time.Parse(time.DateOnly, p.BirthDate); err != nil && !fault.Mutant("login.minimum-data") {
		return Person{}, &Error{Claim: claimBirthDate}
	}
	code, prefixed := strings.CutPrefix(p.FiscalCode, fiscalPrefix)
	if (!prefixed || !wellFormed(code)) && !fault.Mutant("login.fiscal-code") {
		return Person{}, &Error{Claim: claimFiscalCode, FiscalCode: true}
	}
	p.FiscalCode = code
	return p, nil
}

// nameless tells whether a person need not have a name, as some born abroad do
// not: the register has "senzaNome" for them, D no word. The fiscal code says it
// too, with XXX in place of the name's letters (D.M. 23 December 1976, art. 2 and
// 3), so that an answer from which the name is merely missing stays incomplete.
// Nobody is without both.
func nameless(claim string, p Person) bool {
	letters := map[string][2]int{claimFamilyName: {0, 3}, claimGivenName: {3, 6}}
	at, ok := letters[claim]
	code := strings.TrimPrefix(p.FiscalCode, fiscalPrefix)
	if !ok || len(code) != 16 || code[at[0]:at[1]] != "XXX" {
		return false
	}
	return claim == claimGivenName || p.GivenName != ""
}

// wellFormed tells whether a text is a final fiscal code to the letter. A place
// of birth that our tables do not know is no reason to keep anybody out: the
// provider vouches for the person.
func wellFormed(code string) bool {
	_, err := anpr.ParseFiscalCode(code)
	var why *anpr.FiscalCodeError
	if errors.As(err, &why) && why.Code == anpr.CFPlace {
		err = nil
	}
	return err == nil && len(code) == 16 && strings.ToUpper(code) == code
}
