package delivery

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"airegw/policies"
)

func day(t *testing.T, s string) policies.Date {
	t.Helper()
	d, err := policies.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEasterIsOnItsKnownDays(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"1961-04-02", "2000-04-23", "2008-03-23", "2011-04-24", "2019-04-21", "2024-03-31", "2025-04-20",
		"2026-04-05", "2027-03-28", "2030-04-21", "2038-04-25", "2076-04-19",
	} {
		d := day(t, s)
		if got := Easter(d.Year); got != d {
			t.Errorf("%d: got %s, want %s", d.Year, got, d)
		}
	}
}

func TestSixWorkingDaysSkipItalianHolidays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from string
		n    int
		due  string
		skip int
	}{
		{"2026-06-08", 6, "2026-06-16", 0},
		{"2026-05-28", 6, "2026-06-08", 1}, // 2 June
		{"2026-12-23", 6, "2027-01-04", 2}, // 25 December and 1 January; the 26th is a Saturday
		{"2026-12-31", 6, "2027-01-12", 2}, // 1 and 6 January
		{"2026-04-02", 6, "2026-04-13", 1}, // Easter Monday
		{"2026-04-24", 6, "2026-05-05", 1}, // 25 April is a Saturday, 1 May a Friday
		{"2025-10-01", 6, "2025-10-09", 0}, // no holiday yet; 4 October 2025 is a Saturday anyway
		{"2027-09-30", 6, "2027-10-11", 1}, // 4 October 2027 is a Monday
		{"2021-09-30", 6, "2021-10-08", 0}, // 4 October 2021, a Monday, was a working day
		{"2026-08-14", 1, "2026-08-17", 0}, // 15 August is a Saturday
		{"2026-06-08", 0, "2026-06-08", 0},
		{"2026-06-06", 1, "2026-06-08", 0}, // from a Saturday
		{"2011-03-16", 1, "2011-03-18", 1}, // 150 years of the Unification, that year only
		{"2012-03-16", 1, "2012-03-19", 0},
	} {
		due, skipped, err := Due(day(t, c.from), c.n)
		if err != nil {
			t.Fatal(err)
		}
		if due.String() != c.due || len(skipped) != c.skip {
			t.Errorf("%s + %d: got %s skipping %v, want %s skipping %d", c.from, c.n, due, skipped, c.due, c.skip)
		}
	}
}

func TestDueRefusesWhatIsNoTerm(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, 10001} {
		if _, _, err := Due(day(t, "2026-06-08"), n); err == nil {
			t.Errorf("%d working days accepted", n)
		}
	}
	if _, _, err := Due(policies.Date{}, 1); err == nil {
		t.Error("no date accepted")
	}
}

func TestExactlyTheAskedNumberOfWorkingDaysLiesBeforeTheDueDay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		from := policies.Date{Year: 2016, Month: 1, Day: 1}.AddDays(rapid.IntRange(0, 20*365).Draw(t, "day"))
		n := rapid.IntRange(1, 60).Draw(t, "n")
		due, skipped, err := Due(from, n)
		if err != nil {
			t.Fatal(err)
		}
		if !IsWorkingDay(due) {
			t.Fatalf("%s is no working day", due)
		}
		count, holidays := 0, 0
		for d := from.AddDays(1); !due.Before(d); d = d.AddDays(1) {
			if IsWorkingDay(d) {
				count++
			} else if _, ok := HolidayOn(d); ok && !isWeekend(d) {
				holidays++
			}
		}
		if count != n || holidays != len(skipped) {
			t.Fatalf("%d working days and %d holidays up to %s, want %d and %d", count, holidays, due, n, len(skipped))
		}
	})
}

func TestThePlanOfAnItalianAddressIsSixWorkingDaysOnTheRomanCalendar(t *testing.T) {
	t.Parallel()
	s := policies.Shipped()
	at := time.Date(2026, 11, 21, 23, 30, 0, 0, time.UTC) // already the 22nd, a Sunday, in Rome
	d := s.Decide(policies.Facts{On: at, Channel: policies.ChannelComune, Reason: policies.ReasonFirstIssue, ResidenceCountry: "AR"})
	p := PlanFor(policies.DeliveryITAddress, d.Options.For(policies.DeliveryITAddress), at)
	if p.From.String() != "2026-11-22" || p.Due.String() != "2026-11-30" || !p.Working || p.Basis.IT == "" || p.Rule == "" {
		t.Errorf("got %+v", p)
	}
	if p.Late(day(t, "2026-11-30")) || !p.Late(day(t, "2026-12-01")) {
		t.Error("late on the wrong day")
	}
}

func TestAPlanWithoutPromiseSaysSo(t *testing.T) {
	t.Parallel()
	s := policies.Shipped()
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for country, due := range map[string]string{"AR": "", "FR": "2026-12-06"} {
		d := s.Decide(policies.Facts{On: at, Channel: policies.ChannelComune, Reason: policies.ReasonFirstIssue, ResidenceCountry: country})
		p := PlanFor(policies.DeliveryForeignResidence, d.Options.For(policies.DeliveryForeignResidence), at)
		if p.Due.String() != due || p.Basis.EN == "" || p.Status != policies.StatusProvisional {
			t.Errorf("%s: got %+v", country, p)
		}
	}
	d := s.Decide(policies.Facts{On: at, Channel: policies.ChannelComune, Reason: policies.ReasonFirstIssue, ResidenceCountry: "FR"})
	p := PlanFor(policies.DeliveryConsulate, d.Options.For(policies.DeliveryConsulate), at)
	if !p.Due.IsZero() || p.Basis.EN == "" {
		t.Errorf("a refused delivery has a plan: %+v", p)
	}
}
