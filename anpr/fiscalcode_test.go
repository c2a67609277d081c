package anpr_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"airegw/anpr"
)

var someDay = time.Date(2026, 11, 21, 15, 0, 0, 0, time.UTC)

func dates(of []time.Time) []string {
	var out []string
	for _, date := range of {
		out = append(out, date.Format(time.DateOnly))
	}
	return out
}

func TestAFiscalCodeIsTakenApart(t *testing.T) {
	t.Parallel()
	// The people are invented; the codes follow from the published algorithm.
	for _, c := range []struct {
		text, sex, place, name string
		omocode                bool
		births                 []string
	}{
		{"RSSMRA80A01H501U", "M", "H501", "Roma", false, []string{"1980-01-01"}},
		{" rssmra80a01h501u ", "M", "H501", "Roma", false, []string{"1980-01-01"}},
		{withCheck("RSSMRA80A01H50M"), "M", "H501", "Roma", true, []string{"1980-01-01"}},
		{withCheck("BNCLRA10T71Z133"), "F", "Z133", "Svizzera", false, []string{"1910-12-31", "2010-12-31"}},
		{withCheck("BNCLRA00B69C745"), "F", "C745", "Città di Castello", false, []string{"2000-02-29"}},
		{withCheck("VRDGPP50H10D005"), "M", "D005", "Corigliano Calabro", false, []string{"1950-06-10"}},
		{withCheck("VRDGPP30H10Z118"), "M", "Z118", "Iugoslavia", false, []string{"1930-06-10"}},
		{withCheck("VRDGPP30H10L736"), "M", "L736", "Venezia", false, []string{"1930-06-10"}},
		{withCheck("VRDGPP26S21H501"), "M", "H501", "Roma", false, []string{"1926-11-21", "2026-11-21"}},
		{withCheck("VRDGPP26S22H501"), "M", "H501", "Roma", false, []string{"1926-11-22"}},
		{withCheck("VRDGPPULSNNHRLM"), "M", "H501", "Roma", true, []string{"1980-11-22"}},
	} {
		got, err := anpr.ParseFiscalCode(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got.Sex != c.sex || got.BirthplaceCode != c.place || got.BirthplaceName() != c.name || got.Omocode != c.omocode || !slices.Equal(dates(got.BirthDates(someDay)), c.births) {
			t.Errorf("%s: %+v %s %v", c.text, got, got.BirthplaceName(), dates(got.BirthDates(someDay)))
		}
	}
}

// withCheck completes fifteen characters: the test's own arithmetic, written
// from the published table and not shared with the code under test.
func withCheck(fifteen string) string {
	odd := map[rune]int{}
	for i, value := range strings.Fields("1 0 5 7 9 13 15 17 19 21 1 0 5 7 9 13 15 17 19 21 2 4 18 20 11 3 6 8 12 14 16 10 22 25 24 23") {
		n := 0
		for _, digit := range value {
			n = n*10 + int(digit-'0')
		}
		odd[rune("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[i])] = n
	}
	sum := 0
	for i, r := range fifteen {
		switch {
		case i%2 == 0:
			sum += odd[r]
		case r >= 'A':
			sum += int(r - 'A')
		default:
			sum += int(r - '0')
		}
	}
	return fifteen + string(rune('A'+sum%26))
}

func TestAWrongFiscalCodeIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": anpr.CFEmpty, "   ": anpr.CFEmpty,
		"RSSMRA80A01H501": anpr.CFLength, "RSSMRA80A01H501UU": anpr.CFLength, "1234567890": anpr.CFLength,
		"RSSMRA80A01H501É": anpr.CFCharacters, "RSSMRA80A01H50 U": anpr.CFCharacters, "RSSMR180A01H501U": anpr.CFCharacters,
		"RSSMRAA0A01H501U": anpr.CFCharacters, "RSSMRA80A01H5010": anpr.CFCharacters, "RSSMRA80\x00A01H501": anpr.CFCharacters,
		"RSSMRA80F01H501U": anpr.CFMonth, "RSSMRA80A01H501V": anpr.CFChecksum, "RSSMRA81A01H501U": anpr.CFChecksum,
		withCheck("RSSMRA80A00H501"): anpr.CFDate, withCheck("RSSMRA80A32H501"): anpr.CFDate, withCheck("RSSMRA80A40H501"): anpr.CFDate,
		withCheck("RSSMRA80A72H501"): anpr.CFDate, withCheck("RSSMRA81B29H501"): anpr.CFDate, withCheck("RSSMRA80D71H501"): anpr.CFDate,
		withCheck("RSSMRA80A01Z998"): anpr.CFPlace, withCheck("RSSMRA80A01Q999"): anpr.CFPlace,
		"12345678904": anpr.CFChecksum, "00000000000": anpr.CFChecksum, "1234567890A": anpr.CFCharacters,
	} {
		_, err := anpr.ParseFiscalCode(text)
		var refused *anpr.FiscalCodeError
		if !errors.As(err, &refused) || refused.Code != want || refused.Field != "fiscal_code" {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestAProvisionalCodeCarriesNothing(t *testing.T) {
	t.Parallel()
	got, err := anpr.ParseFiscalCode("12345678903")
	if err != nil || !got.Provisional || got.Sex != "" || got.BirthplaceName() != "" || got.BirthDates(someDay) != nil {
		t.Errorf("%+v %v", got, err)
	}
}

func TestEveryOmocodeOfACodeIsTheSamePersonInPlain(t *testing.T) {
	t.Parallel()
	const plain = "RSSMRA80A01H501U"
	places := []int{6, 7, 9, 10, 12, 13, 14}
	for mask := range 1 << len(places) {
		code := []byte(plain[:15])
		for bit, place := range places {
			if mask&(1<<bit) != 0 {
				code[place] = "LMNPQRSTUV"[code[place]-'0']
			}
		}
		got, err := anpr.ParseFiscalCode(withCheck(string(code)))
		if err != nil || got.Plain != plain || got.Omocode != (mask != 0) {
			t.Fatalf("%s: %+v %v", code, got, err)
		}
	}
}

func TestAnyDateAndPlaceSurvivesTheCode(t *testing.T) {
	t.Parallel()
	comuni := anpr.Comuni()
	rapid.Check(t, func(t *rapid.T) {
		birth := time.Date(1927, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, rapid.IntRange(0, 36000).Draw(t, "day"))
		comune := rapid.SampledFrom(comuni).Draw(t, "comune")
		sex, day := "M", birth.Day()
		if rapid.Bool().Draw(t, "woman") {
			sex, day = "F", day+40
		}
		letters := rapid.StringMatching(`[A-Z]{6}`).Draw(t, "letters")
		code := withCheck(letters + birth.Format("06") + string("ABCDEHLMPRST"[birth.Month()-1]) + string([]byte{byte('0' + day/10), byte('0' + day%10)}) + comune.Catastale)
		got, err := anpr.ParseFiscalCode(code)
		if err != nil || got.Sex != sex || got.BirthComune == nil || got.BirthComune.ISTAT != comune.ISTAT {
			t.Fatalf("%s: %+v %v", code, got, err)
		}
		if !slices.Contains(dates(got.BirthDates(someDay)), birth.Format(time.DateOnly)) {
			t.Fatalf("%s: %v lacks %s", code, dates(got.BirthDates(someDay)), birth.Format(time.DateOnly))
		}
	})
}

func TestOneWrongCharacterIsNeverTheSameValidPerson(t *testing.T) {
	t.Parallel()
	const code = "RSSMRA80A01H501U"
	for i := range code {
		for _, r := range "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" {
			wrong := code[:i] + string(r) + code[i+1:]
			if got, err := anpr.ParseFiscalCode(wrong); err == nil && wrong != code && got.Plain == code {
				t.Errorf("%s passes as %s", wrong, code)
			}
		}
	}
}

func FuzzParseFiscalCode(f *testing.F) {
	for _, seed := range []string{"RSSMRA80A01H501U", "RSSMRA80A01H50MW", "12345678903", "", "rssmra80a01h501u", "RSSMRA80A01H501É", "RSSMRAA0A01H501U", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := anpr.ParseFiscalCode(text)
		if err != nil {
			var refused *anpr.FiscalCodeError
			if !errors.As(err, &refused) || refused.Code == "" {
				t.Fatalf("%q: %v is no *FiscalCodeError", text, err)
			}
			return
		}
		again, err := anpr.ParseFiscalCode(got.Code)
		if err != nil || again.Plain != got.Plain {
			t.Fatalf("%q parses as %+v, its code as %+v (%v)", text, got, again, err)
		}
		if got.Provisional {
			return
		}
		if plain, err := anpr.ParseFiscalCode(got.Plain); err != nil || plain.Omocode || plain.BirthplaceName() == "" {
			t.Fatalf("%q: the plain code %s: %+v %v", text, got.Plain, plain, err)
		}
		got.BirthDates(someDay)
	})
}
