package delivery

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"airegw/policies"
)

// InputError says why a line of JSON cannot be read as the question it should be.
type InputError struct {
	Code  string // "input_json", "input_member" or "input_date"
	Field string
}

func (e *InputError) Error() string { return e.Field + ": " + e.Code }

// DueExplanation is the answer to ExplainDue.
type DueExplanation struct {
	Due             policies.Date `json:"due"`
	HolidaysSkipped []Holiday     `json:"holidays_skipped"`
}

// ExplainDue answers {"from","working_days"}: the day on which that many Italian
// working days have passed and the holidays skipped. The error is an
// *InputError or a *RangeError.
func ExplainDue(b []byte) (DueExplanation, error) {
	var in struct {
		From        *policies.Date `json:"from"`
		WorkingDays *int           `json:"working_days"`
	}
	if err := strict(b, &in); err != nil {
		return DueExplanation{}, err
	}
	if in.From == nil || in.From.IsZero() {
		return DueExplanation{}, &InputError{"input_member", "from"}
	}
	if in.WorkingDays == nil {
		return DueExplanation{}, &InputError{"input_member", "working_days"}
	}
	due, skipped, err := Due(*in.From, *in.WorkingDays)
	if err != nil {
		return DueExplanation{}, err
	}
	if skipped == nil {
		skipped = []Holiday{}
	}
	return DueExplanation{due, skipped}, nil
}

// LabelExplanation is the answer to ExplainLabel. Doubts do not stop a label.
type LabelExplanation struct {
	Lines  []string  `json:"lines"`
	Doubts []Problem `json:"doubts,omitempty"`
}

// ExplainLabel answers {"address":{…}}: the lines of the label. The error is an
// *InputError, or an *AddressError whose first problem is the answer.
func ExplainLabel(b []byte) (LabelExplanation, error) {
	var in struct {
		Address *Address `json:"address"`
	}
	if err := strict(b, &in); err != nil {
		return LabelExplanation{}, err
	}
	if in.Address == nil {
		return LabelExplanation{}, &InputError{"input_member", "address"}
	}
	lines, err := Label(*in.Address)
	if err != nil {
		return LabelExplanation{}, err
	}
	return LabelExplanation{lines, Validate(*in.Address)}, nil
}

// strict decodes one JSON object and refuses unknown members and what follows.
func strict(b []byte, into any) error {
	if !utf8.Valid(b) {
		return &InputError{"input_json", "$"}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return &InputError{"input_member", strings.Trim(name, `"`)}
		}
		var fe *policies.FactsError
		if errors.As(err, &fe) {
			return &InputError{"input_date", "from"} // the only date a line can hold
		}
		var te *json.UnmarshalTypeError
		if errors.As(err, &te) && te.Field != "" {
			return &InputError{"input_member", te.Field}
		}
		return &InputError{"input_json", "$"}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &InputError{"input_json", "$"}
	}
	return nil
}
