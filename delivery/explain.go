package delivery

import (
	"errors"

	"airegw/gateway/strictjson"
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

// strict decodes one JSON object and names the first thing that is wrong.
func strict(b []byte, into any) error {
	err := strictjson.Rules{}.Decode(b, into)
	var wrong *strictjson.Error
	var fe *policies.FactsError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fe):
		return &InputError{"input_date", "from"} // the only date a line can hold
	case !errors.As(err, &wrong):
		return &InputError{"input_json", "$"}
	}
	switch p := wrong.Problems[0]; p.Code {
	case strictjson.Unknown:
		return &InputError{"input_member", p.Path.Last()}
	case strictjson.Repeated, strictjson.WrongType:
		return &InputError{"input_member", p.Path.Dotted()}
	default:
		return &InputError{"input_json", "$"}
	}
}
