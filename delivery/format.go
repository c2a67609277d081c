package delivery

import (
	_ "embed"
	"regexp"
	"strings"
	"sync"
)

//go:embed formats.tsv
var formatsTSV string

// format is how one country writes an address.
type format struct {
	iso2           string
	street         string   // "S N", "N S", "S, N" …
	lines          []string // after recipient and care-of, before the country
	postcode       *regexp.Regexp
	noPostcode     bool
	example        string
	needsPostcode  bool
	needsNumber    bool
	needsRegion    bool
	generic        bool
	usesDependency bool // some line prints the dependent locality
	usesRegion     bool
}

// genericFormat serves every country without a row: nothing is required but
// what a letter cannot do without, and everything that is known is printed.
var genericFormat = format{
	street:         "S N",
	lines:          []string{"{A}", "{D}", "{Z} {L}", "{R}"},
	generic:        true,
	usesDependency: true,
	usesRegion:     true,
}

// formats reads formats.tsv once. The file is part of the binary, so a row that
// cannot be read is a broken build, which a test refuses.
var formats = sync.OnceValue(func() map[string]*format {
	out := map[string]*format{}
	for _, row := range tsvRows(formatsTSV, 6) {
		f := &format{
			iso2:          row[0],
			street:        row[1],
			lines:         strings.Split(row[2], "/"),
			example:       row[4],
			noPostcode:    row[3] == "",
			needsPostcode: strings.Contains(row[5], "Z"),
			needsNumber:   strings.Contains(row[5], "N"),
			needsRegion:   strings.Contains(row[5], "R"),
		}
		if row[3] != "" {
			f.postcode = regexp.MustCompile("^(?:" + row[3] + ")$")
		}
		f.usesDependency = strings.Contains(row[2], "{D}")
		f.usesRegion = strings.Contains(row[2], "{R}")
		if _, twice := out[f.iso2]; twice {
			panic("delivery: two formats for " + f.iso2)
		}
		out[f.iso2] = f
	}
	return out
})

func formatOf(iso2 string) *format {
	if f, ok := formats()[iso2]; ok {
		return f
	}
	return &genericFormat
}

// HasFormat reports whether a country's own format is known; all others are
// labelled by the generic one.
func HasFormat(iso2 string) bool { return !formatOf(iso2).generic }
