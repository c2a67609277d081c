package issuance

import (
	"errors"
	"strconv"
	"time"
)

// Kind says what a failed call means for the order.
type Kind string

// The kinds.
const (
	// KindRefused is the core's signed verdict: repeating changes nothing.
	// Code says why.
	KindRefused Kind = "issuance_refused"
	// KindConflict is the signed verdict that another body came before under
	// the same key (order_key_reused, submission_differs, change_key_reused).
	KindConflict Kind = "issuance_conflict"
	// KindUnknownOrder is the signed verdict order_unknown: the core holds no
	// such order, so nothing sent for it was accepted.
	KindUnknownOrder Kind = "issuance_unknown_order"
	// KindUnclear says nothing about the order: no answer, a cut one, a 5xx,
	// HTML, a bad signature, an unsigned problem. Look it up before repeating.
	KindUnclear Kind = "issuance_unclear"
	// KindNotSent is Unclear's harmless sister: the core cannot have seen the
	// request (breaker open, no connection).
	KindNotSent Kind = "issuance_not_sent"
	// KindInvalid is our own body, refused before it was sent. Field says where.
	KindInvalid Kind = "issuance_invalid"
	// KindMessageRefused is a pushed message that is not what the contract says.
	KindMessageRefused Kind = "issuance_message_refused"
)

// FieldError is one entry of a 422's errors.
type FieldError struct {
	Field string `json:"field"`
	Code  string `json:"code"`
}

// Error is what every method of Client returns. Its text holds no personal
// data: codes, statuses, the order key.
type Error struct {
	Kind     Kind
	Code     string // the core's, for signed verdicts; ours (unclear_…) otherwise
	Hint     string // the code of an unsigned problem: for people, never for decisions
	Status   int    // HTTP, 0 when no whole answer came
	OrderKey string
	Field    string // for KindInvalid
	Fields   []FieldError
	// RetryAfter is what the core or the breaker asked for; 0 when nobody did.
	RetryAfter time.Duration
	Err        error
}

func (e *Error) Error() string {
	s := string(e.Kind)
	for _, part := range []string{e.Code, e.Hint, e.Field} {
		if part != "" {
			s += " " + part
		}
	}
	if e.Status != 0 {
		s += " status " + strconv.Itoa(e.Status)
	}
	if e.OrderKey != "" {
		s += " order " + e.OrderKey
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf gives the kind of an error of this package, KindUnclear for any
// other: what is not known is never a verdict. It is "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindUnclear
}

// Codes of ours beside the core's.
const (
	codeTransport   = "unclear_transport"    // no whole answer
	codeStatus      = "unclear_status"       // a status without verdict
	codeMediaType   = "unclear_media_type"   // not application/jose
	codeSignature   = "unclear_signature"    // does not verify as the message it should be
	codeNotOurs     = "unclear_not_ours"     // req or order_key of something else
	codeBody        = "unclear_body"         // does not fit its schema
	codeDigest      = "unclear_digest"       // the core holds another body than the one sent
	codeBadBody     = "invalid_body"         //
	codeBadKey      = "invalid_key"          //
	codeBadText     = "invalid_text"         // not NFC, or control characters
	codeTooLarge    = "invalid_too_large"    //
	codeEventRefuse = "message_not_accepted" //
)
