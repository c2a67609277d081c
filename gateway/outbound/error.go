package outbound

import (
	"fmt"
	"time"
)

// Kind is the closed list of ways in which a call fails.
type Kind string

// The kinds.
const (
	KindRequest     Kind = "outbound_request"      // our own request is not sendable: plain http, bad URL, Prepare failed
	KindBreakerOpen Kind = "outbound_breaker_open" // not sent: the peer failed too often; RetryAfter says when to ask again
	KindAddress     Kind = "outbound_address"      // the name leads to an address that is not public, see Config.PublicOnly
	KindUnreachable Kind = "outbound_unreachable"  // no connection, or it broke before an answer began
	KindTLS         Kind = "outbound_tls"          // the peer's or our certificate is not accepted
	KindTimeout     Kind = "outbound_timeout"      // the try's time or the whole deadline passed
	KindCanceled    Kind = "outbound_canceled"     // the caller gave up
	KindCutBody     Kind = "outbound_cut_body"     // the answer began and did not end
	KindTooLarge    Kind = "outbound_too_large"    // the answer passes MaxBody
	KindRedirect    Kind = "outbound_redirect"     // a 3xx: never followed, never a success
	KindStatus      Kind = "outbound_status"       // a whole answer with a status the caller does not accept
)

// Error is what Client.Do returns beside a nil Response. Its text names peer,
// operation, kind and status: never a URL, a header or a body.
type Error struct {
	Kind      Kind
	Peer      string
	Operation string
	Status    int // for KindStatus and KindRedirect
	// Response is the whole answer for KindStatus, nil otherwise.
	Response *Response
	// RetryAfter is how long to leave the peer alone, from its Retry-After
	// header or from the breaker; 0 when nobody said.
	RetryAfter time.Duration
	// Sent is true when the peer may have seen any try of the request: then a
	// non-idempotent act must be looked up, not repeated.
	Sent  bool
	Tries int
	Err   error // cause, without the URL
}

func (e *Error) Error() string {
	s := e.Peer + " " + e.Operation + ": " + string(e.Kind)
	if e.Status != 0 {
		s += fmt.Sprintf(" %d", e.Status)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }
