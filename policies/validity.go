package policies

import "time"

// Expiry returns the last day of validity of a card asked for on a day by a
// holder born on another, and the id of the rule that set the term (B.1.1).
// The request counts from the start of its day in Rome. An unknown, later or
// impossible birth date is a *FactsError.
func (s *Set) Expiry(request, birth Date, prints Fingerprints) (Date, string, error) {
	if request.IsZero() {
		return Date{}, "", &FactsError{Code: CodeFactsMissing, Field: "request_date"}
	}
	if birth.IsZero() {
		return Date{}, "", &FactsError{Code: CodeFactsMissing, Field: "birth_date"}
	}
	if request.Before(birth) {
		return Date{}, "", &FactsError{Code: CodeFactsDate, Field: "birth_date", Value: birth.String()}
	}
	if !oneOf(prints, PrintsUnknown, PrintsTaken, PrintsTemporarilyImpossible, PrintsPermanentlyImpossible, PrintsNotRequired, PrintsRefused) {
		return Date{}, "", &FactsError{Code: CodeFactsValue, Field: "fingerprints", Value: clip(string(prints))}
	}
	at := time.Date(request.Year, request.Month, request.Day, 0, 0, 0, 0, rome)
	e := evaluation{set: s, rules: s.viewAt(0, at.Unix()), today: request}
	e.age = ageOn(birth, request, e.rule(keyValidityLeapDay).Word)
	exp, r := e.expiry(birth, prints)
	return exp, r.ID, nil
}

// expiry applies the table of B.1.1. A term that ends before adulthood or for
// a child runs on to the first birthday after it; an adult's term is cut back
// to the last birthday within it, because the regulation caps it.
func (e *evaluation) expiry(birth Date, prints Fingerprints) (Date, *Rule) {
	leap := e.rule(keyValidityLeapDay).Word
	if prints == PrintsTemporarilyImpossible && e.age >= e.rule(keyPrintsAge).Number {
		r := e.rule(keyValidityTemporaryMonths)
		return e.today.addMonths(r.Number), r
	}
	counts := e.rule(keyValidityOnBirthday).Word == "counts"
	switch {
	case e.age < e.rule(keyValidityChildUnder).Number:
		r := e.rule(keyValidityChildYears)
		return birthdayAfter(birth, e.today.addMonths(12*r.Number), leap, counts), r
	case e.age < e.rule(keyAdultAge).Number:
		r := e.rule(keyValidityMinorYears)
		return birthdayAfter(birth, e.today.addMonths(12*r.Number), leap, counts), r
	case e.age >= e.rule(keyValiditySeniorFrom).Number:
		r := e.rule(keyValiditySeniorYears)
		return birthdayWithin(birth, e.today.addMonths(12*r.Number), leap, counts), r
	default:
		r := e.rule(keyValidityAdultYears)
		return birthdayWithin(birth, e.today.addMonths(12*r.Number), leap, counts), r
	}
}

// addMonths adds whole months; a day that the month lacks becomes its last day
// (art. 2963 of the civil code on terms in months and years).
func (d Date) addMonths(n int) Date {
	m := d.Year*12 + int(d.Month) - 1 + n
	out := Date{m / 12, time.Month(m%12 + 1), d.Day}
	if last := lastDay(out.Year, out.Month); out.Day > last {
		out.Day = last
	}
	return out
}

func lastDay(year int, m time.Month) int {
	switch m {
	case time.February:
		if isLeap(year) {
			return 29
		}
		return 28
	case time.April, time.June, time.September, time.November:
		return 30
	default:
		return 31
	}
}

func isLeap(y int) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

// birthdayIn is the birthday in a year. Someone born on 29 February has it, in
// a common year, on the day the rule validity.leap_day_birthday names.
func birthdayIn(birth Date, year int, leap string) Date {
	if birth.Month == time.February && birth.Day == 29 && !isLeap(year) {
		if leap == "03-01" {
			return Date{year, time.March, 1}
		}
		return Date{year, time.February, 28}
	}
	return Date{year, birth.Month, birth.Day}
}

// birthdayAfter is the first birthday after a day, or that day itself if it is
// one and it counts.
func birthdayAfter(birth, day Date, leap string, counts bool) Date {
	b := birthdayIn(birth, day.Year, leap)
	if b.Before(day) || (b == day && !counts) {
		return birthdayIn(birth, day.Year+1, leap)
	}
	return b
}

// birthdayWithin is the last birthday not after a day, or before it if a
// birthday on the day itself does not count.
func birthdayWithin(birth, day Date, leap string, counts bool) Date {
	b := birthdayIn(birth, day.Year, leap)
	if day.Before(b) || (b == day && !counts) {
		return birthdayIn(birth, day.Year-1, leap)
	}
	return b
}

// ageOn returns the completed years on a day; -1 before birth.
func ageOn(birth, day Date, leap string) int {
	n := day.Year - birth.Year
	if day.Before(birthdayIn(birth, day.Year, leap)) {
		n--
	}
	return n
}
