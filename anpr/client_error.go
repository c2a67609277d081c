package anpr

import (
	"fmt"
	"time"
)

// ErrorKind says what a failed question means for the request that waits for
// it. No kind ever refuses a citizen.
type ErrorKind string

// The kinds.
const (
	// KindTemporary waits: an outage, a quota, an answer that is none.
	KindTemporary ErrorKind = "temporary"
	// KindConfiguration waits too, and tells the operator: our own mistake, or
	// an agreement or purpose that is not active. Repeating it changes nothing
	// until somebody acts.
	KindConfiguration ErrorKind = "configuration"
	// KindQuery is a query that cannot be asked at all: a programming error or
	// a value that should have been refused before.
	KindQuery ErrorKind = "query"
)

// ErrorCode is the closed list of reasons, for texts and metrics.
type ErrorCode string

// The reasons. Temporary:
const (
	CodeUnreachable     ErrorCode = "register_unreachable"      // no connection, or broken
	CodeTimeout         ErrorCode = "register_timeout"          //
	CodeBreakerOpen     ErrorCode = "register_breaker_open"     // not asked: it failed too often just now
	CodeCutAnswer       ErrorCode = "register_cut_answer"       // the answer did not arrive whole, or was a redirect
	CodeOutage          ErrorCode = "register_outage"           // 5xx, 999, EN527
	CodeQuota           ErrorCode = "register_quota"            // 429: RetryAt says until when to stop
	CodeBudget          ErrorCode = "register_budget"           // not asked: our own budget of the day, for this urgency, is spent
	CodeNotJSON         ErrorCode = "register_not_json"         // an HTML page or nothing
	CodePathUnknown     ErrorCode = "register_path_unknown"     // 404 of the appliance in front, not of the register
	CodeUnreadable      ErrorCode = "register_unreadable"       // a 200 that says nothing
	CodeUnexpected      ErrorCode = "register_unexpected"       // a status nobody promised
	CodeVoucherOutage   ErrorCode = "register_voucher_outage"   // PDND does not answer
	CodeVoucherQuota    ErrorCode = "register_voucher_quota"    // PDND 429
	CodeInterrupted     ErrorCode = "register_interrupted"      // the caller gave up
	CodeOperationPassed ErrorCode = "register_operation_passed" // door C: a later id went before this one, which was never taken
	CodeNoOperationID   ErrorCode = "register_no_operation_id"  // our own store could not give the next id
)

// Configuration and query:
const (
	CodeRequestRefused  ErrorCode = "register_request_refused"   // opaque 400, also after a fresh voucher
	CodeRequestInvalid  ErrorCode = "register_request_invalid"   // 400 against the published schema, EN081
	CodeTokenRefused    ErrorCode = "register_token_refused"     // 401, also after a fresh voucher
	CodeForbidden       ErrorCode = "register_forbidden"         // 403
	CodeUnknownCode     ErrorCode = "register_unknown_code"      // an error code we have no rule for: Source
	CodeVoucherRefused  ErrorCode = "register_voucher_refused"   // PDND 400: check agreement, purpose, key
	CodePreflight       ErrorCode = "register_preflight"         // our own self-check: Detail names the rule
	CodeTLS             ErrorCode = "register_tls"               // the peer's certificate is not vouched for
	CodeAnswerNotSigned ErrorCode = "register_answer_not_signed" // door C: not signed by whom we trust: Detail
	CodeQuery           ErrorCode = "register_query"             // Detail names the field
)

// RegisterError is the only error of Client.Check. Its text holds no personal
// data: codes, statuses and transaction ids, for the support desk.
type RegisterError struct {
	Kind    ErrorKind
	Code    ErrorCode
	Service Service
	Status  int    // HTTP, 0 when no whole answer came
	Title   string // GovWay's title, one word
	Source  Code   // the register's code, when it gave one
	Detail  string // machine token: the rule of the self-check, the field of the query
	// TransactionID is GovWay's, to quote to the register's support.
	TransactionID string
	// RetryAt is when to ask again; zero when nobody said. After a 429 it is
	// the next midnight in Rome (spec §1.8: stop until midnight), unless the
	// answer said otherwise.
	RetryAt time.Time
	// ClockSkew is the register's clock minus ours, from the last answer's Date:
	// a first suspect behind an opaque 400 (spec §8 row 4).
	ClockSkew time.Duration
	// Calls made before and with the failure: evidence is kept also of these.
	Calls []Call
	Err   error
}

func (e *RegisterError) Error() string {
	s := fmt.Sprintf("anpr %s: %s %s", e.Service, e.Kind, e.Code)
	if e.Status != 0 {
		s += fmt.Sprintf(" status %d", e.Status)
	}
	for _, part := range []string{e.Title, string(e.Source), e.Detail} {
		if part != "" {
			s += " " + part
		}
	}
	if e.TransactionID != "" {
		s += " transaction " + e.TransactionID
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *RegisterError) Unwrap() error { return e.Err }
