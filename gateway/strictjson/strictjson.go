// Package strictjson reads the JSON of others so that no two readers can see two
// documents in the same bytes.
//
// encoding/json forgives: it takes members in any case, lets the last of two
// members of one name win, drops members it does not know, replaces broken
// characters and says of a wrong value neither its place in a list nor, of an
// unknown member, its place at all. Here each is a Problem with its Path.
//
// It promises to end on any input, nested however deep, without an unbounded
// stack. It refuses to say anything for people: callers turn a Code into their
// own error, whose text they answer for. It imports nothing of ours.
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// MaxDepth of what is read. The deepest document anybody of ours reads, an
// entity statement of OpenID Federation, has about eight levels (claims,
// metadata_policy, type, parameter, operator, jwks, keys, key).
const MaxDepth = 24

// maxName of a member of a struct; longer is no name of ours and not worth
// repeating.
const maxName = 64

// Code says what is wrong.
type Code string

// What ends the reading at once: one Problem stands alone.
const (
	NotUTF8   Code = "not_utf8"
	NotJSON   Code = "not_json"   // also: it ends in the middle
	NotObject Code = "not_object" // Decode wants an object where dst is a struct or a map
	Follows   Code = "follows"    // something stands after the value
	TooDeep   Code = "too_deep"
)

// What is noted and read on, so that all of it can be told at once.
const (
	Unknown   Code = "unknown"  // a member the type does not have, by its exact name
	Repeated  Code = "repeated" // a member of an object given twice
	WrongType Code = "wrong_type"
	Null      Code = "null"     // under Rules.NoNull
	Replaced  Code = "replaced" // under Rules.NoReplaced
)

// Problem is one thing that is wrong with a document.
type Problem struct {
	Code Code
	Path Path
	// Found is what stands at the place of a WrongType, as encoding/json names
	// it: string, number, bool, object, array.
	Found string
	Want  reflect.Type // of a WrongType
	Err   error        // of NotJSON, as encoding/json tells it: it may quote a sign of the document
}

// Error is why a document is not taken: one Problem or more.
type Error struct{ Problems []Problem }

// Error names codes and places, never values.
func (e *Error) Error() string {
	var parts []string
	for _, p := range e.Problems {
		parts = append(parts, strings.TrimSpace(string(p.Code)+" "+p.Path.Pointer()))
	}
	return "strictjson: " + strings.Join(parts, ", ")
}

// Path leads from the document to a value: names of members and places in lists.
type Path []Step

// Step is one part of a Path.
type Step struct {
	Name  string // of a member
	Index int    // in a list; -1 for a member
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// Pointer writes the path as a JSON pointer (RFC 6901); "" is the document.
func (p Path) Pointer() string {
	var b strings.Builder
	for _, s := range p {
		b.WriteByte('/')
		if s.Index >= 0 {
			b.WriteString(strconv.Itoa(s.Index))
		} else {
			b.WriteString(pointerEscape.Replace(s.Name))
		}
	}
	return b.String()
}

// Dotted writes the path as a.b[0].c, as people who write JSON by hand do.
func (p Path) Dotted() string {
	var b strings.Builder
	for i, s := range p {
		switch {
		case s.Index >= 0:
			b.WriteString("[" + strconv.Itoa(s.Index) + "]")
		case i > 0:
			b.WriteString("." + s.Name)
		default:
			b.WriteString(s.Name)
		}
	}
	return b.String()
}

// Last answers the name of the member the path ends at, "" in a list or at the
// document.
func (p Path) Last() string {
	if len(p) == 0 {
		return ""
	}
	return p[len(p)-1].Name
}

// Rules are what a caller refuses beyond what all do.
type Rules struct {
	NoNull     bool // null is nobody's value
	NoReplaced bool // nor is a string with U+FFFD, which is what lone surrogates become
	MaxDepth   int  // 0, or less than MaxDepth
}

// Decode reads exactly one JSON value into dst, a pointer. Where dst is a struct
// or a map it must be an object. Members of structs are known by their exact
// names only; what a type with an UnmarshalJSON of its own makes of its part is
// that type's affair, but for repeated members. The error is an *Error, or the
// error of such a type as encoding/json wraps it.
func (r Rules) Decode(data []byte, dst any) error {
	t := reflect.TypeOf(dst).Elem()
	if err := r.Check(data, t); err != nil {
		return err
	}
	return Unmarshal(data, dst)
}

// Unmarshal reads what was checked, by whatever type it was; a value that is
// nevertheless of a wrong type (a number out of its range) is an *Error too.
func Unmarshal(data []byte, dst any) error {
	err := json.Unmarshal(data, dst)
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	p := Problem{Code: WrongType, Found: wrong.Value, Want: wrong.Type}
	if wrong.Field != "" {
		for name := range strings.SplitSeq(wrong.Field, ".") {
			p.Path = append(p.Path, Step{name, -1})
		}
	}
	return &Error{[]Problem{p}}
}

// Check holds one JSON value against a type without keeping anything of it; t
// may be nil, for any value. t's own members are asked for even where t reads
// itself, so that its UnmarshalJSON can begin with Check. The error is an *Error.
func (r Rules) Check(data []byte, t reflect.Type) error {
	_, err := r.read(data, t, false)
	return err
}

// Tree reads exactly one JSON value into nil, bool, json.Number, string, []any
// and map[string]any. The error is an *Error.
func (r Rules) Tree(data []byte) (any, error) { return r.read(data, nil, true) }

func (r Rules) read(data []byte, t reflect.Type, keep bool) (any, error) {
	if !utf8.Valid(data) {
		return nil, &Error{[]Problem{{Code: NotUTF8}}}
	}
	if r.MaxDepth <= 0 || r.MaxDepth > MaxDepth {
		r.MaxDepth = MaxDepth
	}
	w := walk{Rules: r, dec: json.NewDecoder(bytes.NewReader(data)), keep: keep}
	w.dec.UseNumber()
	v, end := w.value(t, nil, 0)
	if end == nil {
		// Not Decoder.More, which takes a closing bracket for the end.
		switch _, err := w.dec.Token(); {
		case err == nil:
			end = &Problem{Code: Follows}
		case !errors.Is(err, io.EOF):
			end = &Problem{Code: NotJSON, Err: err}
		}
	}
	if end != nil {
		return nil, &Error{[]Problem{*end}}
	}
	if len(w.problems) > 0 {
		return nil, &Error{w.problems}
	}
	return v, nil
}

// place is a Path while it is walked, from its end.
type place struct {
	step Step
	up   *place
}

func (p *place) path() Path {
	var n int
	for at := p; at != nil; at = at.up {
		n++
	}
	path := make(Path, n)
	for at := p; at != nil; at = at.up {
		n--
		path[n] = at.step
	}
	return path
}

type walk struct {
	Rules
	dec      *json.Decoder
	keep     bool
	problems []Problem
}

func (w *walk) note(code Code, at *place) {
	w.problems = append(w.problems, Problem{Code: code, Path: at.path()})
}

// token answers the next token; end is what ends the reading.
func (w *walk) token(at *place) (json.Token, *Problem) {
	token, err := w.dec.Token()
	if err != nil {
		return nil, &Problem{Code: NotJSON, Err: err}
	}
	if text, ok := token.(string); ok && w.NoReplaced && strings.ContainsRune(text, utf8.RuneError) {
		w.note(Replaced, at)
	}
	return token, nil
}

func (w *walk) value(t reflect.Type, at *place, depth int) (any, *Problem) {
	if depth > w.MaxDepth {
		return nil, &Problem{Code: TooDeep, Path: at.path()}
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	token, end := w.token(at)
	if end != nil {
		return nil, end
	}
	if depth == 0 && token != json.Delim('{') && t != nil && (t.Kind() == reflect.Struct || t.Kind() == reflect.Map) {
		return nil, &Problem{Code: NotObject}
	}
	if token != nil && !fits(token, t, depth) {
		w.problems = append(w.problems, Problem{Code: WrongType, Path: at.path(), Found: found(token), Want: t})
	}
	switch token {
	case json.Delim('{'):
		return w.object(t, at, depth)
	case json.Delim('['):
		return w.list(t, at, depth)
	case nil:
		if w.NoNull {
			w.note(Null, at)
		}
	}
	return token, nil
}

func (w *walk) object(t reflect.Type, at *place, depth int) (any, *Problem) {
	var fields map[string]reflect.Type
	var inner reflect.Type
	if t != nil && (depth == 0 || !readsItself(t)) {
		switch t.Kind() {
		case reflect.Struct:
			fields = members(t)
		case reflect.Map:
			inner = t.Elem()
		}
	}
	seen := map[string]any{}
	for w.dec.More() {
		token, end := w.token(at)
		if end != nil {
			return nil, end
		}
		name, ok := token.(string)
		if !ok {
			return nil, &Problem{Code: NotJSON}
		}
		here := &place{Step{name, -1}, at}
		of := inner
		if fields != nil {
			if len(name) > maxName {
				return nil, &Problem{Code: Unknown, Path: at.path()}
			}
			if of, ok = fields[name]; !ok {
				w.note(Unknown, here)
			}
		}
		if _, twice := seen[name]; twice {
			w.note(Repeated, here)
		}
		v, end := w.value(of, here, depth+1)
		if end != nil {
			return nil, end
		}
		if !w.keep {
			v = nil
		}
		seen[name] = v
	}
	_, end := w.token(at) // the closing delimiter
	return seen, end
}

func (w *walk) list(t reflect.Type, at *place, depth int) (any, *Problem) {
	var element reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) && !readsItself(t) {
		element = t.Elem()
	}
	items := []any{}
	for i := 0; w.dec.More(); i++ {
		v, end := w.value(element, &place{Step{"", i}, at}, depth+1)
		if end != nil {
			return nil, end
		}
		if w.keep {
			items = append(items, v)
		}
	}
	_, end := w.token(at) // the closing delimiter
	return items, end
}

func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// fits says whether a value that begins with this token can be of a type;
// encoding/json would not say at which place of a list it is wrong. What is left
// to a type's own reading fits here.
func fits(token json.Token, t reflect.Type, depth int) bool {
	if t == nil || depth > 0 && readsItself(t) {
		return true
	}
	var ok bool
	switch t.Kind() {
	case reflect.String:
		_, ok = token.(string)
		if t == reflect.TypeFor[json.Number]() {
			_, number := token.(json.Number)
			ok = ok || number
		}
	case reflect.Bool:
		_, ok = token.(bool)
	case reflect.Int, reflect.Int64, reflect.Float64:
		_, ok = token.(json.Number)
	case reflect.Struct, reflect.Map:
		ok = token == json.Delim('{')
	case reflect.Slice:
		ok = token == json.Delim('[') || t.Elem().Kind() == reflect.Uint8
	default:
		ok = true
	}
	return ok
}

func found(token json.Token) string {
	switch token := token.(type) {
	case string:
		return "string"
	case bool:
		return "bool"
	case json.Delim:
		if token == '{' {
			return "object"
		}
		return "array"
	default:
		return "number"
	}
}

// tables keeps what membersOf answered: types do not change, and every
// submission asks.
var tables sync.Map // reflect.Type → map[string]reflect.Type

// members answers the JSON members of a struct type by their exact names.
func members(t reflect.Type) map[string]reflect.Type {
	if known, ok := tables.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	fields := membersOf(t)
	tables.Store(t, fields)
	return fields
}

func membersOf(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type, t.NumField())
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" || !f.IsExported() || f.Tag.Get("json") == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields[name] = f.Type
	}
	return fields
}
