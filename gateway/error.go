package gateway

import (
	"errors"
	"fmt"
	"strings"
)

// Kind is the closed list of what can go wrong, seen from outside. Every
// surface (page, API, CLI) maps kinds with one table and nothing else.
type Kind uint8

// The kinds. Internal is the zero value: an error nobody classified is ours.
const (
	Internal        Kind = iota // our fault; its text never leaves the house
	Invalid                     // the input is wrong; Problems name field and reason
	Unauthenticated             // nobody, or a session that ended
	Forbidden                   // somebody who may not do this act at all
	NotFound                    // absent, or not of this scope: the two cannot be told apart
	Conflict                    // right input, wrong moment: state moved on, key reused, a request is already open
	Unavailable                 // a peer or the disk is out of order: come back later
)

// String answers the kind's stable machine name.
func (k Kind) String() string {
	switch k {
	case Invalid:
		return "invalid"
	case Unauthenticated:
		return "unauthenticated"
	case Forbidden:
		return "forbidden"
	case NotFound:
		return "not_found"
	case Conflict:
		return "conflict"
	case Unavailable:
		return "unavailable"
	default:
		return "internal"
	}
}

// Problem is one reason why an input was not accepted: the JSON pointer of the
// field in RequestInput, a code that gateway/messages has a text for, and the
// arguments of that text. It never carries the offending value of a personal
// field.
type Problem struct {
	Field string            `json:"field"`
	Code  string            `json:"code"`
	Args  map[string]string `json:"args,omitempty"`
}

// Error is the one error type that leaves this package. Code is a key of
// gateway/messages; Err, when present, is for the log only.
type Error struct {
	Kind     Kind
	Code     string
	Args     map[string]string
	Problems []Problem
	Err      error
}

// Error answers a text for logs, without personal data.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Kind.String())
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	for _, p := range e.Problems {
		b.WriteString(" " + p.Field + ":" + p.Code)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap answers the cause, for the log.
func (e *Error) Unwrap() error { return e.Err }

// KindOf answers the kind of an error; whatever is not ours is Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// CodeOf answers the message code of an error, "internal" when it has none.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Code != "" {
		return e.Code
	}
	return "internal"
}

// NewError builds an error of a kind with a message code. args are pairs of
// name and value for the text.
func NewError(kind Kind, code string, args ...string) *Error {
	e := &Error{Kind: kind, Code: code}
	if len(args)%2 != 0 {
		panic("gateway: arguments of an error come in pairs")
	}
	for i := 0; i < len(args); i += 2 {
		if e.Args == nil {
			e.Args = make(map[string]string, len(args)/2)
		}
		e.Args[args[i]] = args[i+1]
	}
	return e
}

// wrap adds what was being done to an error of ours, or makes it Internal.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Kind: Internal, Code: "internal", Err: fmt.Errorf("%s: %w", doing, err)}
}
