package delivery

import (
	"strconv"
	"strings"

	"airegw/anpr"
)

// Label returns the lines of an address as the courier prints them: recipient,
// care of, the country's own order of street, postcode and locality, and for
// mail abroad the country in Italian and English in the last line. Localities
// and countries are in capitals, as the Universal Postal Union advises. A Greek
// or Cyrillic line is followed by the same in Latin letters. Lines hold no
// control character. An address with a fatal problem is an
// *AddressError; doubts do not stop a label.
func Label(a Address) ([]string, error) {
	if bad := fatal(Validate(a)); bad != nil {
		return nil, &AddressError{bad}
	}
	f := formatOf(a.ISO2)
	lines := []string{tidy(a.Recipient)}
	if !blank(a.CareOf) {
		lines = append(lines, "c/o "+tidy(a.CareOf))
	}
	members := []string{
		"{A}", streetLine(&a, f),
		"{D}", tidy(a.DependentLocality),
		"{Z}", strings.ToUpper(tidy(a.Postcode)),
		"{L}", strings.ToUpper(tidy(a.Locality)),
		"{R}", strings.ToUpper(tidy(a.Region)),
	}
	r := strings.NewReplacer(members...)
	for _, pattern := range f.lines {
		if line := trimSeparators(r.Replace(withoutEmpty(pattern, members))); line != "" {
			lines = append(lines, line)
		}
	}
	// What the country's format has no line for is still printed: a courier can
	// ignore a line, but cannot guess a missing one.
	if !f.usesDependency && !blank(a.DependentLocality) {
		at := len(lines) - 1
		lines = append(lines[:at], append([]string{tidy(a.DependentLocality)}, lines[at:]...)...)
	}
	if !f.usesRegion && !blank(a.Region) {
		lines = append(lines, strings.ToUpper(tidy(a.Region)))
	}
	lines = withLatin(lines)
	if a.ISO2 != italy {
		lines = append(lines, countryLine(a.ISO2))
	}
	return lines, nil
}

// withoutEmpty takes the members that hold nothing out of a pattern, each with
// the space before it, so that no gap is left. Two spaces that a format wants
// (Canada's) stay.
func withoutEmpty(pattern string, members []string) string {
	for i := 0; i < len(members); i += 2 {
		if members[i+1] == "" {
			pattern = strings.ReplaceAll(strings.ReplaceAll(pattern, " "+members[i], ""), members[i], "")
		}
	}
	return pattern
}

// withLatin puts a line in Latin letters under each line that is not: the
// carriers on the way read the one, the postman at the end the other. A script
// without a table stays as it is, which Validate reports as a doubt.
func withLatin(lines []string) []string {
	out := make([]string, 0, len(lines)+2)
	for _, l := range lines {
		out = append(out, l)
		if t, ok := latin(l); ok && t != l && strings.TrimSpace(t) != "" {
			out = append(out, tidy(t))
		}
	}
	return out
}

// countryLine names the country for the Italian sorter and for the rest.
func countryLine(iso2 string) string {
	s, ok := anpr.StateByISO2(iso2)
	if !ok {
		return iso2
	}
	it, en := strings.ToUpper(s.NameIT), strings.ToUpper(s.NameEN)
	if it == en || en == "" {
		return it
	}
	return it + " - " + en
}

// streetLine writes street, number and unit in the country's order.
func streetLine(a *Address, f *format) string {
	line := tidy(a.StreetLine)
	if line == "" {
		street, number := tidy(a.Street), tidy(a.HouseNumber)
		line = street
		if number != "" {
			line = strings.NewReplacer("S", street, "N", number).Replace(f.street)
		}
	}
	if unit := tidy(a.Unit); unit != "" {
		line += ", " + unit
	}
	return line
}

// tidy trims and makes every run of white space one space.
func tidy(s string) string { return strings.Join(strings.Fields(s), " ") }

// trimSeparators removes what an empty member leaves behind in a pattern.
func trimSeparators(s string) string {
	s = strings.ReplaceAll(s, ",  ", ", ")
	s = strings.TrimSpace(s)
	for {
		t := strings.TrimSpace(strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(s, ","), "-"), ","), "-"))
		if t == s {
			return s
		}
		s = t
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
