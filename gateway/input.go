package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// MaxInput is the largest RequestInput read, in bytes.
const MaxInput = 64 << 10

// DecodeInput reads one RequestInput strictly: at most MaxInput bytes of valid
// UTF-8, one JSON object, no unknown and no repeated member. Every refusal is an
// Invalid error whose Problems name the field as a JSON pointer.
func DecodeInput(r io.Reader) (Input, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxInput+1))
	if err != nil {
		return Input{}, invalid("", "body_cut")
	}
	if len(raw) > MaxInput {
		return Input{}, invalid("", "body_too_large", "most", strconv.Itoa(MaxInput))
	}
	var in Input
	err = DecodeStrict(raw, &in)
	if err != nil {
		return Input{}, err
	}
	return in, nil
}

// DecodeStrict reads one JSON object into v, a pointer to a struct of ours, as
// DecodeInput does for RequestInput. It is used for every body of our own API.
func DecodeStrict(raw []byte, v any) error {
	if !utf8.Valid(raw) {
		return invalid("", "not_utf8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var problems []Problem
	err := walk(dec, reflect.TypeOf(v).Elem(), "", 0, &problems)
	if err != nil {
		var p Problem
		if errors.As(err, &p) {
			return &Error{Kind: Invalid, Code: "invalid_input", Problems: []Problem{p}}
		}
		return invalid("", "not_json")
	}
	if dec.More() {
		return invalid("", "not_one_object")
	}
	if len(problems) > 0 {
		return &Error{Kind: Invalid, Code: "invalid_input", Problems: problems}
	}
	err = json.Unmarshal(raw, v)
	if err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return invalid("/"+strings.ReplaceAll(wrong.Field, ".", "/"), "wrong_type")
		}
		return invalid("", "not_json")
	}
	return nil
}

// pointerEscape writes a member's name into a JSON pointer (RFC 6901).
var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// Error lets a Problem travel as an error inside this file.
func (p Problem) Error() string { return p.Field + ": " + p.Code }

// walk checks one JSON value against a type before it is unmarshalled, because
// encoding/json names neither the place of an unknown member nor a repeated one.
func walk(dec *json.Decoder, t reflect.Type, at string, depth int, problems *[]Problem) error {
	if depth > 16 {
		return Problem{Field: at, Code: "too_deep"}
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	tok, err := dec.Token()
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	if depth == 0 && tok != json.Delim('{') {
		return Problem{Field: "", Code: "not_one_object"}
	}
	if tok != nil && !fits(tok, t) {
		*problems = append(*problems, Problem{Field: at, Code: "wrong_type"})
	}
	switch tok {
	case json.Delim('{'):
		fields := members(t)
		seen := map[string]bool{}
		for dec.More() {
			tok, err := dec.Token()
			if err != nil {
				return fmt.Errorf("token: %w", err)
			}
			name, _ := tok.(string)
			here := at + "/" + pointerEscape.Replace(name)
			if len(name) > 64 {
				return Problem{Field: at, Code: "unknown_field"}
			}
			if seen[name] {
				*problems = append(*problems, Problem{Field: here, Code: "repeated_field"})
			}
			seen[name] = true
			ft, known := fields[name]
			if fields != nil && !known {
				*problems = append(*problems, Problem{Field: here, Code: "unknown_field"})
			}
			err = walk(dec, ft, here, depth+1, problems)
			if err != nil {
				return err
			}
		}
	case json.Delim('['):
		var elem reflect.Type
		if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			elem = t.Elem()
		}
		for i := 0; dec.More(); i++ {
			err := walk(dec, elem, at+"/"+strconv.Itoa(i), depth+1, problems)
			if err != nil {
				return err
			}
		}
	case nil:
		*problems = append(*problems, Problem{Field: at, Code: "null_value"})
		return nil
	default:
		return nil
	}
	_, err = dec.Token() // the closing delimiter
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	return nil
}

// fits says whether a value that begins with this token can be of a type of
// ours; encoding/json would not say at which place of a list it is wrong. What
// is left to a type's own reading fits here.
func fits(tok json.Token, t reflect.Type) bool {
	if t == nil || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return true
	}
	var ok bool
	switch t.Kind() {
	case reflect.String:
		_, ok = tok.(string)
	case reflect.Bool:
		_, ok = tok.(bool)
	case reflect.Int, reflect.Int64, reflect.Float64:
		_, ok = tok.(json.Number)
	case reflect.Struct, reflect.Map:
		ok = tok == json.Delim('{')
	case reflect.Slice:
		ok = tok == json.Delim('[') || t.Elem().Kind() == reflect.Uint8
	default:
		ok = true
	}
	return ok
}

// members answers the JSON members of a struct type; nil when t is not one, so
// that whatever stands there is left to the type check.
func members(t reflect.Type) map[string]reflect.Type {
	if known, ok := memberTables.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	fields := membersOf(t)
	memberTables.Store(t, fields)
	return fields
}

// memberTables keeps what membersOf answered: types do not change, and every
// submission asks.
var memberTables sync.Map

func membersOf(t reflect.Type) map[string]reflect.Type {
	if t == nil || t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil
	}
	fields := make(map[string]reflect.Type, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			fields[name] = f.Type
		}
	}
	return fields
}

// Digest answers the SHA-256, lower-case hex, of the input's canonical form
// without its key. It is the default idempotency key of a line in a file, and
// what tells a repeat from a key used for something else.
func (in Input) Digest() string {
	in.Key = ""
	b, err := json.Marshal(in)
	if err != nil {
		panic("gateway: input does not marshal: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// invalid builds an Invalid error with one problem.
func invalid(field, code string, args ...string) *Error {
	e := NewError(Invalid, "invalid_input", args...)
	e.Problems = []Problem{{Field: field, Code: code, Args: e.Args}}
	e.Args = nil
	return e
}
