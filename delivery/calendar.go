package delivery

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"airegw/policies"
)

//go:embed calendar.tsv
var calendarTSV string

// Holiday is a national public holiday of Italy.
type Holiday struct {
	Date policies.Date `json:"date"`
	IT   string        `json:"it"`
	EN   string        `json:"en"`
	Law  string        `json:"law"`
}

// holidayRule is one line of calendar.tsv.
type holidayRule struct {
	month    time.Month
	day      int // of the month; days after Easter Sunday if easter
	easter   bool
	from, to int // years; 0 for none
	law      string
	it, en   string
}

// holidays reads calendar.tsv once. The file is part of the binary, so a line
// that cannot be read is a broken build, which a test refuses.
var holidays = sync.OnceValue(func() []holidayRule {
	var out []holidayRule
	for _, row := range tsvRows(calendarTSV, 6) {
		r := holidayRule{from: tsvYear(row[1]), to: tsvYear(row[2]), law: row[3], it: row[4], en: row[5]}
		if n, ok := strings.CutPrefix(row[0], "easter+"); ok {
			r.easter, r.day = true, tsvInt(n)
		} else {
			m, d, _ := strings.Cut(row[0], "-")
			r.month, r.day = time.Month(tsvInt(m)), tsvInt(d)
		}
		out = append(out, r)
	}
	return out
})

// maxWorkingDays bounds Due: forty years of working days are no delivery.
const maxWorkingDays = 10000

// RangeError says that a number or date is outside what can be computed.
type RangeError struct {
	Code  string // "delivery.working_days_range" or "delivery.date_range"
	Field string
	Value string
}

func (e *RangeError) Error() string { return e.Field + ": " + e.Code + ": " + e.Value }

// Easter returns Easter Sunday of a year in the Gregorian calendar (the
// anonymous computus, valid for every year from 1583).
func Easter(year int) policies.Date {
	a, b, c := year%19, year/100, year%100
	d, e := b/4, b%4
	f := (b + 8) / 25
	g := (b - f + 1) / 3
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 22*l) / 451
	n := h + l - 7*m + 114
	return policies.Date{Year: year, Month: time.Month(n / 31), Day: n%31 + 1}
}

// HolidayOn returns the Italian public holiday that falls on a day.
func HolidayOn(d policies.Date) (Holiday, bool) {
	for _, r := range holidays() {
		if (r.from != 0 && d.Year < r.from) || (r.to != 0 && d.Year > r.to) {
			continue
		}
		day := policies.Date{Year: d.Year, Month: r.month, Day: r.day}
		if r.easter {
			day = Easter(d.Year).AddDays(r.day)
		}
		if day == d {
			return Holiday{Date: d, IT: r.it, EN: r.en, Law: r.law}, true
		}
	}
	return Holiday{}, false
}

// IsWorkingDay reports whether a day is Monday to Friday and no national
// holiday. Patron saints' days are working days here (Q11).
func IsWorkingDay(d policies.Date) bool {
	if isWeekend(d) {
		return false
	}
	_, holiday := HolidayOn(d)
	return !holiday
}

func isWeekend(d policies.Date) bool {
	w := time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Weekday()
	return w == time.Saturday || w == time.Sunday
}

// Due returns the day on which the given number of Italian working days has
// passed, not counting the first day itself, and the holidays on weekdays that
// were skipped on the way. With 0 it is the first day. It accepts 0 to 10,000
// working days and years 1900 to 2200; else a *RangeError.
func Due(from policies.Date, workingDays int) (policies.Date, []Holiday, error) {
	if workingDays < 0 || workingDays > maxWorkingDays {
		return policies.Date{}, nil, &RangeError{"delivery.working_days_range", "working_days", strconv.Itoa(workingDays)}
	}
	if from.Year < 1900 || from.Year > 2200 {
		return policies.Date{}, nil, &RangeError{"delivery.date_range", "from", from.String()}
	}
	var skipped []Holiday
	d := from
	for n := 0; n < workingDays; {
		d = d.AddDays(1)
		if isWeekend(d) {
			continue
		}
		if h, ok := HolidayOn(d); ok {
			skipped = append(skipped, h)
			continue
		}
		n++
	}
	return d, skipped, nil
}

// tsvRows returns the data rows of one of this package's own tables.
func tsvRows(s string, columns int) [][]string {
	var out [][]string
	header := true
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if header {
			header = false
			continue
		}
		cells := strings.Split(line, "\t")
		if len(cells) != columns {
			panic(fmt.Sprintf("delivery: a row of an embedded table has %d cells, not %d: %s", len(cells), columns, line))
		}
		for i, c := range cells {
			if c == "-" {
				cells[i] = ""
			}
		}
		out = append(out, cells)
	}
	return out
}

func tsvInt(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("delivery: an embedded table holds no number: " + s)
	}
	return n
}

func tsvYear(s string) int {
	if s == "" {
		return 0
	}
	return tsvInt(s)
}
