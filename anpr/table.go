package anpr

import (
	"fmt"
	"strings"
	"time"
)

// tableRows reads an embedded table: lines that open with # are the header for
// people (licence notice, sources, row count, digest), then a line of column
// names, then the rows. The tables are ours and checked by tests, so a broken
// one is a fault of the build, not an input error.
func tableRows(text string, columns ...string) [][]string {
	var rows [][]string
	seen := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(line, "\t")
		if len(cells) != len(columns) {
			panic(fmt.Sprintf("anpr: an embedded table has a row of %d cells, not %d: %q", len(cells), len(columns), line))
		}
		if !seen {
			for i, column := range columns {
				if cells[i] != column {
					panic(fmt.Sprintf("anpr: an embedded table has the column %q where %q is expected", cells[i], column))
				}
			}
			seen = true
			continue
		}
		rows = append(rows, cells)
	}
	return rows
}

// splitCell splits a cell that holds several values.
func splitCell(cell string) []string {
	if cell == "" {
		return nil
	}
	return strings.Split(cell, "|")
}

// tableDate reads a date cell; empty is the zero time.
func tableDate(cell string) time.Time {
	if cell == "" {
		return time.Time{}
	}
	date, err := time.Parse(time.DateOnly, cell)
	if err != nil {
		panic(fmt.Sprintf("anpr: an embedded table has a wrong date: %v", err))
	}
	return date
}
