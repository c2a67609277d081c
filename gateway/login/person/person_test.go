package person_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"airegw/gateway/login/person"
)

const good = `{"given_name":"Ada","family_name":"Prova","birthdate":"1985-01-01","https://attributes.eid.gov.it/fiscal_number":"TINIT-RSSMRA85A01H501Z"}`

func TestTheMinimumDataSetIsReadToTheLetter(t *testing.T) {
	t.Parallel()
	p, err := person.Read([]byte(good))
	if err != nil || p != (person.Person{GivenName: "Ada", FamilyName: "Prova", BirthDate: "1985-01-01", FiscalCode: "RSSMRA85A01H501Z"}) {
		t.Errorf("%+v, %v", p, err)
	}
	for name, payload := range map[string]string{
		"no object":          `[]`,
		"a cut object":       good[:20],
		"no name":            strings.Replace(good, `"Ada"`, `""`, 1),
		"a number":           strings.Replace(good, `"Ada"`, `7`, 1),
		"a control sign":     strings.Replace(good, `"Ada"`, `"A\u0000"`, 1),
		"an endless name":    strings.Replace(good, "Ada", strings.Repeat("A", 257), 1),
		"another date":       strings.Replace(good, "1985-01-01", "1985-02-30", 1),
		"a time":             strings.Replace(good, "1985-01-01", "1985-01-01T00:00:00Z", 1),
		"no prefix":          strings.Replace(good, "TINIT-", "", 1),
		"another prefix":     strings.Replace(good, "TINIT-", "tinit-", 1),
		"lower case":         strings.Replace(good, "RSSMRA85A01H501Z", "rssmra85a01h501z", 1),
		"a check letter":     strings.Replace(good, "H501Z", "H501A", 1),
		"a provisional":      strings.Replace(good, "RSSMRA85A01H501Z", "80012345678", 1),
		"a blank at the end": strings.Replace(good, "H501Z", "H501Z ", 1),
	} {
		if p, err := person.Read([]byte(payload)); err == nil || p != (person.Person{}) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	// A place that our tables do not know keeps nobody out; the check letter still
	// does.
	accepted := 0
	for last := 'A'; last <= 'Z'; last++ {
		elsewhere := strings.Replace(good, "RSSMRA85A01H501Z", "RSSMRA85A01Z999"+string(last), 1)
		if _, err := person.Read([]byte(elsewhere)); err == nil {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("%d check letters are right", accepted)
	}
}

// TestWhoHasOneNameOnlyIsWholeWhereTheFiscalCodeSaysSo: XXX stands there for the
// name that does not exist.
func TestWhoHasOneNameOnlyIsWholeWhereTheFiscalCodeSaysSo(t *testing.T) {
	t.Parallel()
	const putri = `{"family_name":"Putri","birthdate":"1986-10-02","https://attributes.eid.gov.it/fiscal_number":"TINIT-PTRXXX86R42Z219N"}`
	for _, payload := range []string{
		putri, strings.Replace(putri, "{", `{"given_name":"",`, 1), strings.Replace(putri, "{", `{"given_name":null,`, 1),
	} {
		p, err := person.Read([]byte(payload))
		if err != nil || p != (person.Person{FamilyName: "Putri", BirthDate: "1986-10-02", FiscalCode: "PTRXXX86R42Z219N"}) {
			t.Errorf("%s: %+v, %v", payload, p, err)
		}
	}
	for name, payload := range map[string]string{
		"a name of blanks":         strings.Replace(putri, "{", `{"given_name":"\u0009",`, 1),
		"a name that is no text":   strings.Replace(putri, "{", `{"given_name":[],`, 1),
		"neither name":             strings.Replace(putri, `"Putri"`, `""`, 1),
		"the name merely missing":  strings.Replace(good, `"given_name":"Ada",`, "", 1),
		"the other name's letters": strings.Replace(putri, "PTRXXX", "XXXPTR", 1),
	} {
		if p, err := person.Read([]byte(payload)); err == nil || p != (person.Person{}) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	// Without a surname, then: one check letter is right.
	accepted := 0
	for last := 'A'; last <= 'Z'; last++ {
		p, err := person.Read([]byte(`{"given_name":"Putri","birthdate":"1986-10-02","https://attributes.eid.gov.it/fiscal_number":"TINIT-XXXPTR86R42Z219` + string(last) + `"}`))
		if err == nil && p.GivenName == "Putri" && p.FamilyName == "" {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("%d check letters are right", accepted)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"given_name":null}`))
	f.Add([]byte(`{"given_name":"","family_name":"P","birthdate":"1986-10-02","https://attributes.eid.gov.it/fiscal_number":"TINIT-PTRXXX86R42Z219N"}`))
	f.Add([]byte(`{"GIVEN_NAME":"x","family_name":["y"]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := person.Read(payload)
		if err != nil {
			return
		}
		if len(p.FiscalCode) != 16 || strings.ToUpper(p.FiscalCode) != p.FiscalCode || p.GivenName+p.FamilyName == "" {
			t.Errorf("%+v", p)
		}
		if (p.GivenName == "" && p.FiscalCode[3:6] != "XXX") || (p.FamilyName == "" && p.FiscalCode[:3] != "XXX") {
			t.Errorf("a name is missing: %+v", p)
		}
		if _, err := time.Parse(time.DateOnly, p.BirthDate); err != nil {
			t.Error(err)
		}
		if !json.Valid(payload) {
			t.Error("read what is no JSON")
		}
	})
}
