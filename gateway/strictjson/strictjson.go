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
	w := walk{Rules: r, data: data, keep: keep}
	v, end := w.value(t, nil, 0)
	if end == nil {
		end = w.nothingFollows()
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
	name  []byte
	index int // -1 for a member
	up    *place
}

func (p *place) path() Path {
	var n int
	for at := p; at != nil; at = at.up {
		n++
	}
	path := make(Path, n)
	for at := p; at != nil; at = at.up {
		n--
		path[n] = Step{string(at.name), at.index}
	}
	return path
}

// walk reads a document once, byte by byte: json.Decoder's tokens, each a value on
// the heap behind an interface, cost ten times as much, and every message that
// comes or goes is read here.
type walk struct {
	Rules
	data     []byte
	at       int // of data, what is read next
	keep     bool
	problems []Problem
}

func (w *walk) note(code Code, at *place) {
	w.problems = append(w.problems, Problem{Code: code, Path: at.path()})
}

// broken says that there is no JSON, as encoding/json tells it.
func (w *walk) broken() *Problem {
	dec := json.NewDecoder(bytes.NewReader(w.data))
	dec.UseNumber()
	for {
		_, err := dec.Token()
		if err != nil {
			return &Problem{Code: NotJSON, Err: err}
		}
	}
}

// nothingFollows wants the end of the document.
func (w *walk) nothingFollows() *Problem {
	if w.next() == 0 && w.at == len(w.data) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(w.data[w.at:]))
	dec.UseNumber() // else a number out of range is an error of its own
	_, err := dec.Token()
	if err != nil {
		return &Problem{Code: NotJSON, Err: err}
	}
	return &Problem{Code: Follows}
}

// next skips white space and answers the byte that stands there, unread; 0 at the
// end (and for a zero byte, which nothing in JSON begins with).
func (w *walk) next() byte {
	for ; w.at < len(w.data); w.at++ {
		switch c := w.data[w.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// take reads the next byte if it is c.
func (w *walk) take(c byte) bool {
	if w.next() != c {
		return false
	}
	w.at++
	return true
}

// kind of a value, as encoding/json names it.
type kind string

const (
	isString kind = "string"
	isNumber kind = "number"
	isBool   kind = "bool"
	isObject kind = "object"
	isArray  kind = "array"
	isNull   kind = "null"
)

func kindOf(first byte) kind {
	switch first {
	case '{':
		return isObject
	case '[':
		return isArray
	case '"':
		return isString
	case 't', 'f':
		return isBool
	case 'n':
		return isNull
	}
	return isNumber
}

func (w *walk) value(t reflect.Type, at *place, depth int) (any, *Problem) {
	if depth > w.MaxDepth {
		return nil, &Problem{Code: TooDeep, Path: at.path()}
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s := shapeOf(t)
	k := kindOf(w.next())
	var v any
	switch k {
	case isString:
		text, ok := w.text(at)
		if !ok {
			return nil, w.broken()
		}
		if w.keep {
			v = string(text)
		}
	case isNumber, isBool, isNull:
		var ok bool
		v, ok = w.scalar(k)
		if !ok {
			return nil, w.broken()
		}
	}
	if depth == 0 && k != isObject && (s.kind == reflect.Struct || s.kind == reflect.Map) {
		return nil, &Problem{Code: NotObject}
	}
	if k != isNull && !s.fits(k, depth) {
		w.problems = append(w.problems, Problem{Code: WrongType, Path: at.path(), Found: string(k), Want: t})
	}
	switch k {
	case isObject:
		return w.object(s, at, depth)
	case isArray:
		return w.list(s, at, depth)
	case isNull:
		if w.NoNull {
			w.note(Null, at)
		}
	}
	return v, nil
}

// text reads a string and answers its characters.
func (w *walk) text(at *place) (text []byte, ok bool) {
	from, escaped := w.at, false
	for i := from + 1; i < len(w.data); i++ {
		switch c := w.data[i]; {
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			return nil, false
		case c == '"':
			text, w.at = w.data[from+1:i], i+1
			if escaped {
				var plain string
				if json.Unmarshal(w.data[from:w.at], &plain) != nil {
					return nil, false
				}
				text = []byte(plain)
			}
			if w.NoReplaced && bytes.ContainsRune(text, utf8.RuneError) {
				w.note(Replaced, at)
			}
			return text, true
		}
	}
	return nil, false
}

// scalar reads a number, true, false or null.
func (w *walk) scalar(k kind) (v any, ok bool) {
	word := func(text string) bool {
		ok := bytes.HasPrefix(w.data[w.at:], []byte(text))
		w.at += len(text)
		return ok
	}
	switch {
	case k == isNull:
		return nil, word("null")
	case k == isBool && w.data[w.at] == 't':
		return true, word("true")
	case k == isBool:
		return false, word("false")
	}
	from := w.at
	digits := func() bool {
		before := w.at
		for w.at < len(w.data) && '0' <= w.data[w.at] && w.data[w.at] <= '9' {
			w.at++
		}
		return w.at > before
	}
	sign := func(signs string) bool {
		there := w.at < len(w.data) && strings.IndexByte(signs, w.data[w.at]) >= 0
		if there {
			w.at++
		}
		return there
	}
	sign("-")
	if !sign("0") && !digits() {
		return nil, false
	}
	if sign(".") && !digits() {
		return nil, false
	}
	if sign("eE") {
		sign("+-")
		if !digits() {
			return nil, false
		}
	}
	if w.keep {
		v = json.Number(w.data[from:w.at])
	}
	return v, true
}

func (w *walk) object(s *shape, at *place, depth int) (any, *Problem) {
	var fields map[string]reflect.Type
	var inner reflect.Type
	if depth == 0 || !s.itself {
		fields = s.fields
		if s.kind == reflect.Map {
			inner = s.inner
		}
	}
	var tree map[string]any
	if w.keep {
		tree = map[string]any{}
	}
	var seen names
	w.at++
	for more := !w.take('}'); more; {
		if w.next() != '"' {
			return nil, w.broken()
		}
		name, ok := w.text(at)
		if !ok {
			return nil, w.broken()
		}
		of := inner
		known := true
		if fields != nil {
			if len(name) > maxName {
				return nil, &Problem{Code: Unknown, Path: at.path()}
			}
			of, known = fields[string(name)]
		}
		here := &place{name, -1, at}
		if !known {
			w.note(Unknown, here)
		}
		if seen.twice(name) {
			w.note(Repeated, here)
		}
		if depth < w.MaxDepth && !w.take(':') {
			return nil, w.broken()
		}
		v, end := w.value(of, here, depth+1)
		if end != nil {
			return nil, end
		}
		if w.keep {
			tree[string(name)] = v
		}
		if more = w.take(','); !more && !w.take('}') {
			return nil, w.broken()
		}
	}
	return tree, nil
}

func (w *walk) list(s *shape, at *place, depth int) (any, *Problem) {
	var element reflect.Type
	if (s.kind == reflect.Slice || s.kind == reflect.Array) && !s.itself {
		element = s.inner
	}
	items := []any{}
	w.at++
	more := !w.take(']')
	if more && (w.next() == '}' || w.at == len(w.data)) {
		return nil, w.broken() // rather than too deep
	}
	for i := 0; more; i++ {
		v, end := w.value(element, &place{nil, i, at}, depth+1)
		if end != nil {
			return nil, end
		}
		if w.keep {
			items = append(items, v)
		}
		if more = w.take(','); !more && !w.take(']') {
			return nil, w.broken()
		}
	}
	return items, nil
}

// names are the members an object has had: mostly few, and an attacker's many.
type names struct {
	few  [16][]byte
	n    int
	many map[string]bool
}

// twice says whether it was there before.
func (s *names) twice(name []byte) bool {
	if s.many != nil {
		known := s.many[string(name)]
		s.many[string(name)] = true
		return known
	}
	for _, known := range s.few[:s.n] {
		if bytes.Equal(known, name) {
			return true
		}
	}
	if s.n < len(s.few) {
		s.few[s.n] = name
		s.n++
		return false
	}
	s.many = map[string]bool{string(name): true}
	for _, known := range s.few {
		s.many[string(known)] = true
	}
	return false
}

// shape is what a walk asks of a type.
type shape struct {
	kind   reflect.Kind
	number bool // json.Number
	itself bool // it has a reading of its own
	fields map[string]reflect.Type
	inner  reflect.Type // of a map, a slice, an array
}

// fits says whether a value of this kind can be of a type; encoding/json would not
// say at which place of a list it is wrong. What is left to a type's own reading
// fits here.
func (s *shape) fits(k kind, depth int) bool {
	if s.kind == reflect.Invalid || depth > 0 && s.itself {
		return true
	}
	switch s.kind {
	case reflect.String:
		return k == isString || s.number && k == isNumber
	case reflect.Bool:
		return k == isBool
	case reflect.Int, reflect.Int64, reflect.Float64:
		return k == isNumber
	case reflect.Struct, reflect.Map:
		return k == isObject
	case reflect.Slice:
		return k == isArray || s.inner.Kind() == reflect.Uint8
	}
	return true
}

// shapes keeps what newShape answered: types do not change, and every message asks.
var shapes sync.Map // reflect.Type → *shape

var anything = &shape{}

func shapeOf(t reflect.Type) *shape {
	if t == nil {
		return anything
	}
	if known, ok := shapes.Load(t); ok {
		return known.(*shape)
	}
	s := newShape(t)
	shapes.Store(t, s)
	return s
}

func newShape(t reflect.Type) *shape {
	p := reflect.PointerTo(t)
	s := &shape{
		kind: t.Kind(), number: t == reflect.TypeFor[json.Number](),
		itself: p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()),
	}
	switch s.kind {
	case reflect.Struct:
		s.fields = members(t)
	case reflect.Map, reflect.Slice, reflect.Array:
		s.inner = t.Elem()
	}
	return s
}

// members answers the JSON members of a struct type by their exact names.
func members(t reflect.Type) map[string]reflect.Type {
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
