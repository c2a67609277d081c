package delivery

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"

	"airegw/anpr"
)

// Address is where a card is sent, as it is printed on the label. The members
// follow what the register holds of a foreign residence (ANPR localitaEstera),
// so that nothing has to be guessed: Street is toponimo.denominazione,
// HouseNumber numeroCivico, Postcode cap, Locality descrizioneLocalita, Region
// provinciaContea, CareOf presso.
type Address struct {
	// ISO2 is the ISO 3166-1 alpha-2 code of the country, "IT" for Italy.
	ISO2 string `json:"iso2"`
	// Recipient is the holder's name as it is to be printed.
	Recipient string `json:"recipient"`
	// CareOf is "presso": whose door it is, if not the holder's own.
	CareOf      string `json:"care_of,omitempty"`
	Street      string `json:"street,omitempty"`
	HouseNumber string `json:"house_number,omitempty"`
	Unit        string `json:"unit,omitempty"`
	// StreetLine is the whole street line as already written by the country's
	// custom; when present it is printed instead of Street and HouseNumber.
	StreetLine        string `json:"street_line,omitempty"`
	DependentLocality string `json:"dependent_locality,omitempty"`
	Postcode          string `json:"postcode,omitempty"`
	Locality          string `json:"locality,omitempty"`
	Region            string `json:"region,omitempty"`
}

// Problem says what is wrong with one member of an address.
type Problem struct {
	Code  string `json:"code"`           // one of the Address codes
	Field string `json:"field"`          // JSON name of the member
	Arg   string `json:"arg,omitempty"`  // what was expected, such as a postcode's example
	Fatal bool   `json:"fatal,omitzero"` // false: a doubt to confirm; true: cannot be printed or delivered
}

// Codes of Problem.
const (
	CodeAddressCountry       = "address_country_unknown"
	CodeAddressMissing       = "address_missing"
	CodeAddressNumber        = "address_number_missing"
	CodeAddressPostcode      = "address_postcode_format"
	CodeAddressNoPostcode    = "address_postcode_not_used"
	CodeAddressStreetIsCity  = "address_street_is_locality"
	CodeAddressBox           = "address_po_box"
	CodeAddressControl       = "address_control_character"
	CodeAddressTooLong       = "address_too_long"
	CodeAddressNotLatin      = "address_not_latin"
	CodeAddressNoText        = "address_no_letter_or_digit"
	CodeAddressTwoStreets    = "address_two_street_lines"
	CodeAddressPlaceholder   = "address_placeholder"
	CodeAddressNumberIsPlace = "address_number_holds_postcode"
)

// AddressError carries the fatal problems that keep an address off a label.
type AddressError struct{ Problems []Problem }

func (e *AddressError) Error() string {
	var b strings.Builder
	b.WriteString("address:")
	for _, p := range e.Problems {
		b.WriteString(" " + p.Field + ": " + p.Code + ";")
	}
	return strings.TrimSuffix(b.String(), ";")
}

// field is one member with its limit in characters: those of the register
// (ANPR tipoDato.xsd) where it has the member, else what a label can hold.
type field struct {
	name string
	text string
	most int
}

func (a *Address) fields() [10]field {
	return [10]field{
		{"recipient", a.Recipient, 161}, // name and surname of 80 each
		{"care_of", a.CareOf, 100},
		{"street", a.Street, 120},
		{"house_number", a.HouseNumber, 9},
		{"unit", a.Unit, 40},
		{"street_line", a.StreetLine, 140},
		{"dependent_locality", a.DependentLocality, 120},
		{"postcode", a.Postcode, 10},
		{"locality", a.Locality, 120},
		{"region", a.Region, 30},
	}
}

// poBox finds post-office boxes and general delivery in the languages of the
// countries where our citizens live, on text without accents in upper case.
var poBox = regexp.MustCompile(`\bP\.? ?O\.? ?BOX\b|\bPOST(AL)? ?BOX\b|\bPOST OFFICE BOX\b|\b(GPO|PMB|LOCKED|PRIVATE) ?(BOX|BAG)\b|\bPMB ?\d` +
	`|\bPOST ?FACH\b|\bPACKSTATION\b|\bPOSTBUS\b|\bPOSTBOKS\b|\bPOSTBOX\b|\bPOSTILOKERO\b|\bBO[IX]TE POSTALE\b|\bB\.? ?P\.? ?\d+\b|\bCS ?\d{5}\b` +
	`|\bCASELLA POSTALE\b|\bC\.? ?P\.? ?\d+\b|\bFERMO ?POSTA\b|\bPOSTE RESTANTE\b|\bAPARTADO\b|\bAPDO\b|\bAPTDO\b` +
	`|\bCAIXA POSTAL\b|\bCX\.? ?POSTAL\b|\bCASILLA( DE CORREOS?)? ?(N[O.]? ?)?\d|\bCASILLA (DE CORREO|POSTAL)\b|\bSKRYTKA POCZTOWA\b|\bPOSTA KUTUSU\b|\bP\. ?K\. ?\d` +
	`|А/Я|\bABONENTSK|ΤΑΧ\.? ?ΘΥΡ|\bT\. ?TH\. ?\d|\bGENERAL DELIVERY\b|私書箱|信箱`)

// placeholder finds what is typed when nothing is known.
var placeholder = regexp.MustCompile(`^(N\.?/?D\.?|N/A|SCONOSCIUT[OA]|UNKNOWN|NON NOTO|NONE|TEST|X+|\.+|-+|\?+)$`)

// Validate lists what stands against delivering to an address: first what is
// fatal for printing (control characters, lengths), then what is missing or
// wrong for the country. No problem at all gives nil. An address whose country
// has no format of its own is held to the generic one.
func Validate(a Address) []Problem {
	var out []Problem
	add := func(code, field, arg string, fatal bool) {
		out = append(out, Problem{code, field, arg, fatal})
	}
	if _, ok := anpr.StateByISO2(a.ISO2); !ok && a.ISO2 != italy {
		add(CodeAddressCountry, "iso2", "", true)
		return out
	}
	for _, f := range a.fields() {
		switch {
		case hasControl(f.text):
			add(CodeAddressControl, f.name, "", true)
		case utf8.RuneCountInString(f.text) > f.most:
			add(CodeAddressTooLong, f.name, itoa(f.most), true)
		case strings.TrimSpace(f.text) != "" && !strings.ContainsFunc(f.text, isLetterOrDigit):
			add(CodeAddressNoText, f.name, "", true)
		case (f.name == "street" || f.name == "street_line" || f.name == "locality") &&
			placeholder.MatchString(strings.ToUpper(strings.TrimSpace(f.text))):
			add(CodeAddressPlaceholder, f.name, "", true)
		default:
			if _, ok := latin(f.text); !ok {
				add(CodeAddressNotLatin, f.name, "", false)
			}
		}
	}
	if len(out) > 0 && fatal(out) != nil {
		return out // the rest would be said of text nobody can read
	}
	f := formatOf(a.ISO2)
	if blank(a.Recipient) {
		add(CodeAddressMissing, "recipient", "", true)
	}
	if blank(a.Street) && blank(a.StreetLine) {
		add(CodeAddressMissing, "street", "", true)
	}
	if blank(a.Locality) {
		add(CodeAddressMissing, "locality", "", true)
	}
	if !blank(a.StreetLine) && !blank(a.Street) && !strings.Contains(fold(a.StreetLine), fold(a.Street)) {
		add(CodeAddressTwoStreets, "street_line", "", false)
	}
	validatePlaces(&a, f, add)
	validatePostcode(&a, f, add)
	if a.ISO2 == italy {
		validateItaly(&a, add)
	}
	return out
}

// validatePlaces finds streets that are no streets and missing numbers.
func validatePlaces(a *Address, f *format, add func(code, field, arg string, fatal bool)) {
	for _, m := range []field{
		{name: "street", text: a.Street},
		{name: "street_line", text: a.StreetLine},
		{name: "house_number", text: a.HouseNumber},
		{name: "unit", text: a.Unit},
		{name: "care_of", text: a.CareOf},
	} {
		// Registered mail goes into the addressee's own hands; a box has none.
		if poBox.MatchString(plain(m.text)) {
			add(CodeAddressBox, m.name, "", true)
		}
	}
	street := a.Street
	if !blank(a.StreetLine) {
		street = a.StreetLine
	}
	name := "street"
	if blank(a.Street) {
		name = "street_line"
	}
	if !blank(street) && !blank(a.Locality) && fold(street) == fold(a.Locality) {
		add(CodeAddressStreetIsCity, name, "", true)
	}
	if !blank(street) && blank(a.HouseNumber) && !strings.ContainsFunc(street, unicode.IsDigit) {
		// Registers often hold the number within the street's name, and some
		// countries number no houses: there it is only a doubt.
		add(CodeAddressNumber, "house_number", "", f.needsNumber)
	}
	if f.needsRegion && blank(a.Region) {
		add(CodeAddressMissing, "region", "", true)
	}
}

func validatePostcode(a *Address, f *format, add func(code, field, arg string, fatal bool)) {
	code := strings.ToUpper(strings.TrimSpace(a.Postcode))
	switch {
	case code == "":
		if f.needsPostcode {
			add(CodeAddressMissing, "postcode", f.example, true)
		}
	case f.generic:
	case f.noPostcode:
		add(CodeAddressNoPostcode, "postcode", "", false)
	case !f.postcode.MatchString(code):
		add(CodeAddressPostcode, "postcode", f.example, true)
	}
	if code != "" && strings.TrimSpace(a.HouseNumber) == code && len(code) > 4 {
		add(CodeAddressNumberIsPlace, "house_number", "", false)
	}
}

const italy = "IT"

// fatal returns the problems that keep an address off a label.
func fatal(ps []Problem) []Problem {
	var out []Problem
	for _, p := range ps {
		if p.Fatal {
			out = append(out, p)
		}
	}
	return out
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// hasControl finds what could break a label or hide in it: control characters,
// line breaks, direction overrides, invisible characters, invalid UTF-8.
func hasControl(s string) bool {
	if !utf8.ValidString(s) {
		return true
	}
	return strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) || r == utf8.RuneError
	})
}

func isLetterOrDigit(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// isForeignLetter finds letters that a European courier cannot read.
func isForeignLetter(r rune) bool {
	return unicode.IsLetter(r) && !unicode.In(r, unicode.Latin) && r != 'ª' && r != 'º' && r != 'ʼ' && r != 'ʻ'
}

// plain is upper case without accents, for matching only, never for printing.
// The transformer keeps state, so each call takes its own.
func plain(s string) string {
	t := transform.Chain(norm.NFD, runes.Remove(runes.In(unicode.Mn)), norm.NFC)
	out, _, err := transform.String(t, s)
	if err != nil {
		out = s // Remove and the normal forms cannot fail on valid UTF-8
	}
	return strings.ToUpper(out)
}

// fold keeps only letters and digits of plain, to compare names.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if isLetterOrDigit(r) {
			return r
		}
		return -1
	}, plain(s))
}
