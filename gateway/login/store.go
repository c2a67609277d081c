package login

import (
	"context"
	"encoding/json"
	"time"

	"airegw/gateway"
)

// Door says whose login it is.
type Door string

// The two doors.
const (
	DoorCitizen  Door = "citizen"
	DoorOperator Door = "operator"
)

// Attempt is one login under way. There is one for each `state`, so that many
// tabs of a browser can be at it at once; it is finished at most once.
type Attempt struct {
	Reference string // for people, log and register
	Door      Door
	State     string // kept as a keyed digest only
	CreatedAt time.Time
	ExpiresAt time.Time
	Secrets   AttemptSecrets // encrypted at rest
}

// AttemptSecrets is what only the finish of the attempt needs.
type AttemptSecrets struct {
	Binding  string `json:"binding"` // SHA-256 of the browser's value, base64url
	Issuer   string `json:"issuer"`  // the provider asked
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Level    Level  `json:"level,omitempty"`
	ReturnTo string `json:"return_to,omitempty"`
	Lang     string `json:"lang,omitempty"`
	Person   string `json:"person,omitempty"` // Identity.ID that a step-up must come back with
	Office   string `json:"office,omitempty"` // office id an operator logs in for
}

// RecordKind names a piece of evidence (D log_management lists them).
type RecordKind string

// The kinds of evidence.
const (
	RecordTrustChain             RecordKind = "trust_chain"
	RecordAuthenticationRequest  RecordKind = "authentication_request"
	RecordAuthenticationResponse RecordKind = "authentication_response"
	RecordTokenRequest           RecordKind = "token_request"
	RecordTokenResponse          RecordKind = "token_response"
	RecordUserInfoRequest        RecordKind = "userinfo_request"
	RecordUserInfoResponse       RecordKind = "userinfo_response"
	RecordRevocationRequest      RecordKind = "revocation_request"
	RecordRevocationResponse     RecordKind = "revocation_response"
	RecordOutcome                RecordKind = "outcome" // ours: identity opaque, or the error's code
)

// Record is one piece of evidence of a login: what was sent or received, as it
// was signed. Content is JSON.
type Record struct {
	Kind    RecordKind      `json:"kind"`
	At      time.Time       `json:"at"`
	Content json.RawMessage `json:"content"`
	// Shared content (a trust chain) is kept once for all logins that used it.
	Shared bool `json:"-"`
}

// HeldToken is an access token kept to be revoked.
type HeldToken struct {
	Login     string // reference
	Token     string
	ExpiresAt time.Time
}

// Completed is a login that held.
type Completed struct {
	Reference string
	// Once are ids that must never have been seen before; the store forgets them
	// after OnceUntil.
	Once      []string
	OnceUntil time.Time
	Token     *HeldToken
	Records   []Record
	Audit     []gateway.AuditEntry
}

// Store is the durable side of logins; gateway/store implements it. Errors are
// *gateway.Error: Unavailable when the store is out of order, else as said.
type Store interface {
	// BeginLogin stores an attempt and its first evidence in one commit; durable
	// on return, so that the browser may be sent away.
	BeginLogin(ctx context.Context, a Attempt, records ...Record) error
	// TakeLogin hands an attempt out, once: NotFound "login_attempt_unknown",
	// Conflict "login_attempt_used" beside the attempt (whose secrets are gone).
	TakeLogin(ctx context.Context, d Door, state string, now time.Time) (Attempt, error)
	// CompleteLogin stores evidence, token and audit in one commit, unless an id
	// of Once was used before: then Conflict "jti_used" and nothing is stored.
	CompleteLogin(ctx context.Context, c Completed) error
	// RecordLogin adds evidence and audit entries of a login, in one commit.
	RecordLogin(ctx context.Context, reference string, records []Record, audit ...gateway.AuditEntry) error
	// WantRevoked marks the login's token to be revoked, durably, so that it is
	// tried again when the provider is out of order, and answers it; found is false
	// when there is none (any more).
	WantRevoked(ctx context.Context, reference string) (t HeldToken, found bool, err error)
	// AbandonToken keeps the token of a login that failed, marked to be revoked
	// since now; durable on return.
	AbandonToken(ctx context.Context, t HeldToken, now time.Time) error
	// RevokeDue answers tokens marked, not yet revoked and not expired at now.
	RevokeDue(ctx context.Context, now time.Time, limit int) ([]HeldToken, error)
	// ForgetToken drops a login's token, once it is revoked, and adds the evidence.
	ForgetToken(ctx context.Context, reference string, records ...Record) error
	// ExportLogin answers the evidence of one login, its hash chain checked:
	// NotFound "not_found", Internal "login_register_broken", Forbidden
	// "login_register_role" of a store that serves pages only.
	ExportLogin(ctx context.Context, reference string) (Export, error)

	// Revoked says whether a subject's access was taken away (kind "operator").
	Revoked(ctx context.Context, kind, subject string) (time.Time, bool, error)
}

// Export is the evidence of one login, for those appointed to see it.
type Export struct {
	Reference string         `json:"reference"`
	Records   []ExportRecord `json:"records"`
	// Head is the digest of the last record. AuditID is the audit entry that
	// holds it: the audit chain makes the register tamper-evident as a whole.
	Head    string `json:"head"`
	AuditID int64  `json:"audit_id"`
}

// ExportRecord is a record with its place in the chain: Digest is over the
// record and the digest before it.
type ExportRecord struct {
	Seq int `json:"seq"`
	Record
	Digest string `json:"digest"`
}
