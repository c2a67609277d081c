package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"airegw/gateway/strictjson"
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
	err := strictjson.Rules{NoNull: true, MaxDepth: 16}.Decode(raw, v)
	var wrong *strictjson.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &wrong):
		return invalid("", "not_json") // a type of ours that reads itself refused
	}
	e := &Error{Kind: Invalid, Code: "invalid_input"}
	for _, p := range wrong.Problems {
		e.Problems = append(e.Problems, Problem{Field: p.Path.Pointer(), Code: strictCodes[p.Code]})
	}
	return e
}

var strictCodes = map[strictjson.Code]string{
	strictjson.NotUTF8: "not_utf8", strictjson.NotJSON: "not_json", strictjson.NotObject: "not_one_object", strictjson.Follows: "not_one_object",
	strictjson.TooDeep: "too_deep", strictjson.Unknown: "unknown_field", strictjson.Repeated: "repeated_field",
	strictjson.WrongType: "wrong_type", strictjson.Null: "null_value",
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
