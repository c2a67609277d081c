package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"airegw/anpr"
)

// cfCmd checks fiscal codes.
type cfCmd struct {
	JSON bool      `name:"json" help:"One JSON object per line."`
	At   time.Time `format:"2006-01-02" placeholder:"DATE" help:"The day that birth dates are judged on (default: today)."`
	CF   []string  `arg:"" name:"cf" help:"Fiscal codes; \"-\" reads JSON Lines {\"cf\"} from standard input."`
}

// Help is printed by --help.
func (cfCmd) Help() string {
	return `Checks structure, check character, day and place of birth (comuni past and present,
foreign states past and present), understands omocodes (letters in place of digits) and
the provisional codes of 11 digits, which say nothing about the person. A valid code need
not have been given to anybody: only the register knows. A fiscal code does not say the
century, hence the candidates. Exit code 1 when a code is not valid.

With "-" each input line {"cf":"..."} is answered by one line
{"valid","reason","birth_date_candidates","sex","birthplace_code","birthplace_name","omocode"};
reasons: empty, length, characters, month, checksum, date, place; a valid provisional code
has the reason "provisional".`
}

type cfQuestion struct {
	CF *string `json:"cf"`
}

type cfAnswer struct {
	Valid               bool     `json:"valid"`
	Reason              string   `json:"reason"` // "" for a valid code of a person
	BirthDateCandidates []string `json:"birth_date_candidates"`
	Sex                 string   `json:"sex"`
	BirthplaceCode      string   `json:"birthplace_code"`
	BirthplaceName      string   `json:"birthplace_name"`
	Omocode             bool     `json:"omocode"`
}

// cfReasons are the reasons in words, for people.
var cfReasons = map[string]string{
	"empty":       "nothing was given",
	"length":      "a fiscal code has 16 characters, a provisional one 11 digits",
	"characters":  "a character is not allowed in its place",
	"month":       "the ninth character is no month letter (ABCDEHLMPRST)",
	"checksum":    "the check character does not follow from the others: most often a typing error",
	"date":        "the day of birth does not exist",
	"place":       "the place of birth is no comune and no foreign state",
	"provisional": "a provisional numeric code: it says nothing about the person",
}

func checkCF(text string, on time.Time) (cfAnswer, error) {
	answer := cfAnswer{BirthDateCandidates: []string{}}
	code, err := anpr.ParseFiscalCode(text)
	var refused *anpr.FiscalCodeError
	switch {
	case errors.As(err, &refused):
		answer.Reason = strings.TrimPrefix(refused.Code, "cf_")
		return answer, nil
	case err != nil:
		return answer, err
	}
	answer.Valid = true
	if code.Provisional {
		answer.Reason = "provisional"
	}
	for _, date := range code.BirthDates(on) {
		answer.BirthDateCandidates = append(answer.BirthDateCandidates, date.Format(time.DateOnly))
	}
	answer.Sex, answer.BirthplaceCode, answer.BirthplaceName, answer.Omocode = code.Sex, code.BirthplaceCode, code.BirthplaceName(), code.Omocode
	return answer, nil
}

// Run is called by kong.
func (c cfCmd) Run(std streams) error {
	on := c.At
	if on.IsZero() {
		on = time.Now().UTC()
	}
	if len(c.CF) == 1 && c.CF[0] == "-" {
		return jsonLines(std, func(question cfQuestion) (cfAnswer, error) {
			if question.CF == nil {
				return cfAnswer{}, errMissing("cf")
			}
			return checkCF(*question.CF, on)
		})
	}
	wrong := 0
	for _, text := range c.CF {
		answer, err := checkCF(text, on)
		if err != nil {
			return err
		}
		if !answer.Valid {
			wrong++
		}
		if c.JSON {
			err = writeJSON(std.out, answer)
		} else {
			_, err = fmt.Fprintln(std.out, answer.text(text))
		}
		if err != nil {
			return err
		}
	}
	if wrong > 0 {
		return bad("%d of %d fiscal codes are not valid", wrong, len(c.CF))
	}
	return nil
}

func (a cfAnswer) text(code string) string {
	switch {
	case !a.Valid:
		return fmt.Sprintf("%s  not valid (%s): %s", code, a.Reason, cfReasons[a.Reason])
	case a.Reason != "":
		return fmt.Sprintf("%s  valid: %s", code, cfReasons[a.Reason])
	}
	line := fmt.Sprintf("%s  valid: %s, born %s in %s (%s)", code, a.Sex, strings.Join(a.BirthDateCandidates, " or "), a.BirthplaceName, a.BirthplaceCode)
	if a.Omocode {
		line += ", omocode"
	}
	return line
}
