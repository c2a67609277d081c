package federation

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"airegw/gateway/strictjson"
)

// decodeTree reads exactly one JSON value into nil, bool, json.Number, string,
// []any and map[string]any. Unlike encoding/json it refuses a member given
// twice: F metadata_policy_structure forbids it, and elsewhere two readers of one
// statement could each believe another value.
func decodeTree(data []byte) (any, error) { return strictjson.Rules{}.Tree(data) }

func decodeObject(data []byte) (map[string]any, error) {
	v, err := decodeTree(data)
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return object, nil
}

// equal compares two trees as JSON values: members in any order, arrays in
// order, numbers by value.
func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, v := range a {
			if w, ok := b[name]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case json.Number:
		b, ok := b.(json.Number)
		return ok && equalNumbers(a.String(), b.String())
	}
	// nil, bool and string are comparable; b of any other kind differs.
	switch b.(type) {
	case map[string]any, []any, json.Number:
		return false
	}
	return a == b
}

func equalNumbers(a, b string) bool {
	if a == b {
		return true
	}
	if !strings.ContainsAny(a+b, ".eE") {
		return strings.TrimPrefix(a, "-") == "0" && strings.TrimPrefix(b, "-") == "0"
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

func contains(list []any, v any) bool {
	return slices.ContainsFunc(list, func(w any) bool { return equal(v, w) })
}

func subset(part, whole []any) bool {
	return !slices.ContainsFunc(part, func(v any) bool { return !contains(whole, v) })
}

func union(a, b []any) []any {
	out := slices.Clone(a)
	for _, v := range b {
		if !contains(out, v) {
			out = append(out, v)
		}
	}
	if out == nil {
		out = []any{}
	}
	return out
}

// intersection keeps the order of a.
func intersection(a, b []any) []any {
	out := []any{}
	for _, v := range a {
		if contains(b, v) {
			out = append(out, v)
		}
	}
	return out
}

// texts reads a list of non-empty texts of at most limit members.
func texts(v any, limit int) ([]string, bool) {
	list, ok := v.([]any)
	if !ok || len(list) > limit {
		return nil, false
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok || s == "" {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

// encodeTree writes a tree as JSON without HTML escapes.
func encodeTree(v any) (json.RawMessage, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}
