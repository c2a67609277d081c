package delivery

import (
	"errors"
	"testing"
	"unicode/utf8"
)

// FuzzExplain: a question about a label or a term is answered, or refused with
// a code of ours.
func FuzzExplain(f *testing.F) {
	f.Add([]byte(`{"address":{"iso2":"AR","street":"Calle Florida 1","locality":"Buenos Aires","postcode":"C1005AAA"}}`))
	f.Add([]byte(`{"from":"2026-12-24","working_days":3}`))
	f.Add([]byte(`{"from":"2026-13-24","working_days":1e9}`))
	f.Add([]byte(`{"address":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		label, err := ExplainLabel(raw)
		for _, line := range label.Lines {
			if err != nil || !utf8.ValidString(line) {
				t.Fatalf("line %q with %v", line, err)
			}
		}
		due, dueErr := ExplainDue(raw)
		if dueErr == nil && due.Due.IsZero() {
			t.Fatal("a term without a day")
		}
		for _, err := range []error{err, dueErr} {
			var in *InputError
			var address *AddressError
			var far *RangeError
			if err != nil && !errors.As(err, &in) && !errors.As(err, &address) && !errors.As(err, &far) {
				t.Fatalf("refused as %T %v", err, err)
			}
		}
	})
}
