package login

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

// person is the minimum data set.
type person struct {
	GivenName, FamilyName, BirthDate, FiscalCode string
}

// readPerson reads the minimum data set strictly: a value of another form is
// refused, never repaired, since the fiscal code decides whose requests are
// shown.
func readPerson(payload []byte) (person, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(payload, &members); err != nil {
		return person{}, refuse(CodeMinimumData, "", nil)
	}
	var p person
	for _, m := range []struct {
		name string
		dst  *string
	}{{claimGivenName, &p.GivenName}, {claimFamilyName, &p.FamilyName}, {claimBirthDate, &p.BirthDate}, {claimFiscalCode, &p.FiscalCode}} {
		err := json.Unmarshal(members[m.name], m.dst)
		if (err != nil || *m.dst == "" || len(*m.dst) > 256 || !utf8.ValidString(*m.dst) || strings.ContainsFunc(*m.dst, func(r rune) bool { return r < ' ' })) && !fault.Mutant("login.minimum-data") {
			return person{}, refuse(CodeMinimumData, m.name, nil)
		}
	}
	if _, err := time.Parse(time.DateOnly, p.BirthDate); err != nil && !fault.Mutant("login.minimum-data") {
		return person{}, refuse(CodeMinimumData, claimBirthDate, nil)
	}
	code, prefixed := strings.CutPrefix(p.FiscalCode, fiscalPrefix)
	if (!prefixed || !wellFormed(code)) && !fault.Mutant("login.fiscal-code") {
		return person{}, refuse(CodeFiscalCode, claimFiscalCode, nil)
	}
	p.FiscalCode = code
	return p, nil
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
