package consulate

import (
	"slices"
	"strings"
)

// postcodePattern is a prefix, or an inclusive range of prefixes of one length.
type postcodePattern struct{ from, to string }

func parsePostcodePattern(text string) postcodePattern {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	return postcodePattern{from, to}
}

func (p postcodePattern) matches(code string) bool {
	if len(code) < len(p.from) {
		return false
	}
	head := code[:len(p.from)]
	return p.from <= head && head <= p.to
}

// postcodeLengths are the lengths of postcodes that are numbers whose leading
// zeros spreadsheets lose.
var postcodeLengths = map[string]int{"US": 5, "DE": 5, "FR": 5, "ES": 5, "TR": 5, "BR": 8, "MX": 5, "AU": 4, "ZA": 4}

// postcodeForms brings a postcode to the forms that patterns are written in:
// letters and digits in capitals, and the digits alone. The state's own prefix
// (D-70173, CH-8000) is dropped.
func postcodeForms(iso2, postcode string) []string {
	if len(postcode) > 32 {
		return nil
	}
	var alnum, digits strings.Builder
	dashed := false
	for _, r := range strings.ToUpper(postcode) {
		switch {
		case r >= '0' && r <= '9':
			digits.WriteRune(r)
			alnum.WriteRune(r)
		case r >= 'A' && r <= 'Z':
			alnum.WriteRune(r)
		case r == '-' && digits.Len() > 0 && iso2 == "US":
			dashed = true // ZIP+4
		}
		if dashed {
			break
		}
	}
	number := digits.String()
	if want := postcodeLengths[iso2]; number != "" && len(number) < want && want-len(number) <= 2 {
		number = strings.Repeat("0", want-len(number)) + number
	}
	switch iso2 {
	case "GB", "CA":
		return []string{alnum.String()}
	case "AR": // the letter of the province, then the old four digits
		return []string{alnum.String(), number}
	default:
		return []string{number}
	}
}

// byPostcode finds the districts under the longest pattern that a postcode
// matches. A part wins over the division it belongs to.
func (s *stateDistricts) byPostcode(postcode string) []*district {
	iso2 := s.rows[0].ISO2
	if iso2 == "GB" {
		return s.byOutwardCode(postcode)
	}
	var found []*district
	best := 0
	for _, form := range postcodeForms(iso2, postcode) {
		for _, d := range s.rows {
			for _, pattern := range d.postcodes {
				if !pattern.matches(form) || len(pattern.from) < best {
					continue
				}
				if len(pattern.from) > best {
					found, best = nil, len(pattern.from)
				}
				if !slices.Contains(found, d) {
					found = append(found, d)
				}
			}
		}
	}
	return withoutParents(found)
}

func withoutParents(rows []*district) []*district {
	return slices.DeleteFunc(slices.Clone(rows), func(d *district) bool {
		return slices.ContainsFunc(rows, func(other *district) bool { return other.Parent == d.Code })
	})
}

// byOutwardCode finds the districts of a United Kingdom postcode: by its
// district (CV8) if one is listed, else by its area (CV).
func (s *stateDistricts) byOutwardCode(postcode string) []*district {
	code := postcodeForms("GB", postcode)
	if len(code) == 0 || code[0] == "" {
		return nil
	}
	outward := code[0]
	// The inward part is a digit and two letters; without it the whole is outward.
	if n := len(outward); n >= 5 && isDigit(outward[n-3]) && !isDigit(outward[n-2]) && !isDigit(outward[n-1]) {
		outward = outward[:n-3]
	}
	area := outward[:len(outward)-len(strings.TrimLeft(outward, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))]
	whole := strings.TrimRight(outward, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") // EC1A → EC1
	for _, wanted := range []string{outward, whole, area} {
		if wanted == "" {
			continue
		}
		var found []*district
		for _, d := range s.rows {
			if slices.ContainsFunc(d.postcodes, func(p postcodePattern) bool { return p.from == wanted }) {
				found = append(found, d)
			}
		}
		if len(found) > 0 {
			return withoutParents(found)
		}
	}
	return nil
}

// crownDependency answers the state code of Jersey, Guernsey and the Isle of Man
// for an address written as one in the United Kingdom; "" for every other one.
func crownDependency(iso2, postcode string) string {
	code := strings.ToUpper(strings.TrimSpace(postcode))
	switch {
	case iso2 != "GB" || len(code) < 3 || !isDigit(code[2]):
		return ""
	case code[:2] == "GY":
		return "GG"
	case code[:2] == "JE" || code[:2] == "IM":
		return code[:2]
	default:
		return ""
	}
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }
