package gateway

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/delivery"
	"airegw/policies"
)

// CorrectedResidence is where a person lives as the consular file has it: what
// C002 asks the comune of AIRE registration to write (specs/anpr-pdnd-modi.md
// §4.4, localitaEstera). The consulate of the residence is the post that asks.
type CorrectedResidence struct {
	ISO2        string `json:"iso2"`              // state, ISO 3166-1
	CareOf      string `json:"care_of,omitempty"` // presso: whose door it is, if not the person's own
	Street      string `json:"street,omitempty"`
	HouseNumber string `json:"house_number,omitempty"`
	Postcode    string `json:"postcode,omitempty"`
	Locality    string `json:"locality"`
	Region      string `json:"region,omitempty"` // province, county, state or canton
	Notes       string `json:"notes,omitempty"`  // noteIndirizzo, at most 240 characters
	Since       string `json:"since,omitempty"`  // YYYY-MM-DD, may be empty
}

const residenceNotesMax = 240

// tidy answers the residence without space around its members.
func (c CorrectedResidence) tidy() CorrectedResidence {
	for _, m := range []*string{&c.ISO2, &c.CareOf, &c.Street, &c.HouseNumber, &c.Postcode, &c.Locality, &c.Region, &c.Notes, &c.Since} {
		*m = strings.Join(strings.Fields(*m), " ")
	}
	c.ISO2 = strings.ToUpper(c.ISO2)
	return c
}

// check answers what stands against asking the register to write it, as
// problems below /residence: what keeps a letter from arriving there, what the
// register's schema refuses, and a place that another post serves. Doubts (a
// house without number where the country needs none) are the post's to judge.
func (c CorrectedResidence) check(post consulate.Post, now time.Time) []Problem {
	var out []Problem
	bad := func(field, code string, args ...string) {
		out = append(out, invalid("/residence/"+field, code, args...).Problems...)
	}
	if c.ISO2 == "IT" {
		// Back in Italy is no correction of an AIRE residence.
		bad("iso2", "residence_in_italy")
		return out
	}
	if state, ok := anpr.StateByISO2(c.ISO2); !ok || state.ISTAT == "" {
		bad("iso2", "address_country_unknown")
		return out
	}
	for _, p := range delivery.Validate(delivery.Address{
		ISO2: c.ISO2, Recipient: "-0-", CareOf: c.CareOf, Street: c.Street, HouseNumber: c.HouseNumber,
		Postcode: c.Postcode, Locality: c.Locality, Region: c.Region,
	}) {
		if p.Fatal && p.Field != "recipient" {
			bad(p.Field, p.Code)
		}
	}
	// The register writes Latin letters only; a label would spell the others out.
	for _, m := range [][2]string{{"care_of", c.CareOf}, {"street", c.Street}, {"house_number", c.HouseNumber}, {"locality", c.Locality}, {"region", c.Region}} {
		if strings.ContainsFunc(m[1], func(r rune) bool { return unicode.IsLetter(r) && !unicode.In(r, unicode.Latin) }) {
			bad(m[0], delivery.CodeAddressNotLatin)
		}
	}
	if notes, ok := plainLines(c.Notes); !ok || len([]rune(notes)) > residenceNotesMax {
		bad("notes", "text_shape")
	}
	if c.Since != "" {
		since, err := policies.ParseDate(c.Since)
		switch {
		case err != nil:
			bad("since", "date_impossible")
		case policies.DateOf(now.In(policies.Rome())).Before(since):
			bad("since", "date_in_future")
		}
	}
	if len(out) > 0 {
		return out
	}
	if other, elsewhere := servedElsewhere(c, post); elsewhere {
		bad("locality", "residence_of_other_post", "post", other)
	}
	return out
}

// servedElsewhere says whether the districts place a residence at another post;
// where they cannot tell, the post knows best.
func servedElsewhere(c CorrectedResidence, post consulate.Post) (seat string, elsewhere bool) {
	answer := consulate.Competent(consulate.Address{ISO2: c.ISO2, Street: c.Street, City: c.Locality, Postcode: c.Postcode, Region: c.Region})
	if answer.Post != nil {
		return answer.Post.Seat, answer.Post.Key != post.Key
	}
	if len(answer.Candidates) == 0 || slices.ContainsFunc(answer.Candidates, func(p consulate.Post) bool { return p.Key == post.Key }) {
		return "", false
	}
	return answer.Candidates[0].Seat, true
}

// address is the residence as the register writes one; the name of the state is
// the register's own where the record has it, else left to the register.
func (c CorrectedResidence) address(record anpr.Record) anpr.Address {
	state, _ := anpr.StateByISO2(c.ISO2)
	out := anpr.Address{
		Foreign: true, Street: strings.ToUpper(c.Street), Number: strings.ToUpper(c.HouseNumber), CareOf: strings.ToUpper(c.CareOf), Notes: c.Notes,
		Postcode: strings.ToUpper(c.Postcode), Locality: strings.ToUpper(c.Locality), Province: strings.ToUpper(c.Region), StateISTAT: state.ISTAT,
	}
	if record.Person.Address.StateISTAT == state.ISTAT {
		out.StateName = record.Person.Address.StateName
	}
	return out
}

// shownIn says whether a record has the residence: the members that tell places
// apart, as the register writes them.
func (c CorrectedResidence) shownIn(record anpr.Record) bool {
	want, got := c.address(record), record.Person.Address
	digits := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsDigit(r) {
				return r
			}
			return -1
		}, s)
	}
	same := func(a, b string) bool {
		// A spelling without accents is the same street, another number in it is not.
		return digits(a) == digits(b) && anpr.CompareName(a, b) != anpr.NameDifferent
	}
	return got.Foreign && got.StateISTAT == want.StateISTAT && same(want.Street, got.Street) && strings.EqualFold(want.Number, got.Number) &&
		same(want.Locality, got.Locality) && strings.EqualFold(want.Postcode, got.Postcode)
}
