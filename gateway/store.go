package gateway

import (
	"context"
	"encoding/json"
	"time"
)

// Store is the durable state this package needs; gateway/store implements it.
//
// Contract of every write: one transaction; when it returns nil everything in
// it is durable (fsynced), when it returns an error nothing of it happened.
// Errors: *Error with Conflict (a compare-and-set lost, a unique index), with
// NotFound (absent, or not of this scope), with Unavailable (disk full, busy,
// shutting down), else Internal.
//
// Personal data (NewRequest.Private parts, Event.Private, Outbox.Private, Halves) are
// encrypted before they touch the disk; fiscal codes, surnames and tracker
// codes are kept as keyed digests only.
type Store interface {
	RuleStore
	CorrectionStore
	ClearanceStore
	DeliveryStore
	CardReportStore
	CardNoticeStore
	RetentionStore
	ReconcileStore
	DialogueStore
	ClockStore

	// Create stores a new request with its first event. If the idempotency key
	// is known in its namespace with the same body digest, it answers the
	// request that key made and created=false; with another digest Conflict
	// "key_reused". If one of the open-person digests is taken, Conflict
	// "already_open" with Args "request" (the other request's id) and "office"
	// (its office id).
	Create(ctx context.Context, n NewRequest) (id string, created bool, err error)

	// Load answers the events of a request, in sequence, and its mark, if the
	// scope may see it; NotFound otherwise, whether it exists or not.
	Load(ctx context.Context, scope Scope, id string) ([]Event, Mark, error)

	// Commit appends events to a request by compare-and-set on version, state
	// and, when c.Fence is not 0, on the fence of the lease, which it releases.
	Commit(ctx context.Context, c Change) error

	// Find answers the requests of a scope, newest first. No criterion means all.
	Find(ctx context.Context, scope Scope, q Criteria) ([]Row, error)

	// Track answers the id of the request a live tracker code opens.
	// A wrong code and a wrong number are the same NotFound.
	Track(ctx context.Context, id, code string) error

	// ClaimWork leases up to n requests whose work is due, oldest due first:
	// no other claim answers them before the lease ends. Each claim raises the
	// fence by one.
	ClaimWork(ctx context.Context, now time.Time, lease time.Duration, n int) ([]Task, error)

	// ReleaseWork gives a claimed request back with a new due time and mark;
	// it changes nothing if the fence has moved on (then Conflict).
	ReleaseWork(ctx context.Context, t Task, due time.Time, mark Mark) error

	// ClaimOutbox leases up to n due outbox rows; at most the oldest open row
	// of a request is ever answered, so that order per request holds.
	ClaimOutbox(ctx context.Context, now time.Time, lease time.Duration, n int) ([]Outbox, error)

	// KeepOutbox stores o.Private under the row's fence, before it is sent, so
	// that a repeat sends the same body. Conflict when the fence has moved on.
	KeepOutbox(ctx context.Context, o Outbox) error

	// ReleaseOutbox gives a row back with a new due time, or parked (then due
	// is ignored and the request's mark becomes parked). Conflict when the
	// fence has moved on.
	ReleaseOutbox(ctx context.Context, o Outbox, due time.Time, code, detail string, park bool) error

	// SaveCoreEvents keeps the core's verified events, each once (by order key
	// and sequence, and by event id), and moves the feed cursor when next is
	// not empty. Durable on return.
	SaveCoreEvents(ctx context.Context, events []CoreEvent, next string) error

	// FeedCursor answers the last cursor saved, "" at the start.
	FeedCursor(ctx context.Context) (string, error)

	// PendingCoreEvents answers the oldest kept events that were neither
	// applied nor parked, grouped by order, in sequence, at most n orders.
	PendingCoreEvents(ctx context.Context, n int) ([][]CoreEvent, error)

	// ParkCoreEvent sets an event aside with a reason for a person to look at.
	ParkCoreEvent(ctx context.Context, orderKey string, seq int, code string) error

	// PutHalves keeps the first halves of PIN and PUK of an order until they are
	// wiped; Halves answers them, NotFound once wiped.
	PutHalves(ctx context.Context, requestID, orderKey string, h Halves) error
	Halves(ctx context.Context, orderKey string) (Halves, error)

	// WipeHalves destroys the halves of orders first printed before the given
	// time, or stored before it and never printed; it answers how many.
	WipeHalves(ctx context.Context, before time.Time) (int, error)

	// Counts answers how many requests stand in each state and how much work
	// waits, for /status, metrics and the invariants.
	Counts(ctx context.Context, now time.Time) (Counts, error)

	// Audit writes an entry that belongs to no change: a look, a refusal, a login.
	Audit(ctx context.Context, entries ...AuditEntry) error
}

// NewRequest is a request about to be born.
type NewRequest struct {
	ID         string
	Namespace  string // who owns the idempotency key: an office id, "citizen:<opaque id>"
	Key        string
	BodyDigest string // SHA-256 hex of the canonical input
	Office     Office // zero until routed
	Applicant  string // fiscal code: unique among open requests
	Persons    []string
	Surname    string // for the office's search; may be empty
	Tracker    string
	Event      Event
	Work       Work
	Audit      []AuditEntry
}

// Work is what a worker must do next with a request; the zero value is nothing.
type Work struct {
	Step  Step
	Due   time.Time
	Actor Actor // who asked for it; zero when a worker goes on by itself
}

// Step names a worker's step.
type Step string

// The worker's steps (…check → decide → route).
const (
	StepNone   Step = ""
	StepCheck  Step = "check"
	StepDecide Step = "decide"
	StepRoute  Step = "route"
)

// Task is a claimed piece of work.
type Task struct {
	RequestID string
	Step      Step
	Fence     int64
	Tries     int   // how often it was released with a waiting mark
	Actor     Actor // as in Work
	Lease     time.Time
}

// Change is what one act does to a request.
type Change struct {
	ID      string
	Version int   // expected
	State   State // expected
	Fence   int64 // of the task, or 0
	Events  []Event
	// What the row must say after the events (derived by the caller from them).
	To      State
	Office  Office
	Persons []string // fiscal codes that may see it as citizens
	Surname string   // when the register has told it; "" leaves it
	Tracker string   // new tracker code; "" leaves it
	Work    *Work    // nil leaves it
	Mark    *Mark    // nil leaves it
	Outbox  []Outbox // rows to add
	Settle  *Outbox  // a claimed row this change settles (compare-and-set on its fence)
	Applied *CoreRef // core events up to this one are applied by this change
	WipeKey string   // order key whose first halves are wiped
	Printed string   // order key whose halves were printed now (starts their 60 minutes)
	Passage *Passage // a card has arrived, or will not: counted for the record by country
	Unpark  bool     // outbox rows of this request that are parked become due now
	Audit   []AuditEntry
	// Corrections, when not nil, is what is to be mended in the register by now.
	Corrections *CorrectionSync
	// Clearances, when not nil, is what becomes of the notices to other offices.
	Clearances *ClearanceChange
	// Dialogue opens the question to the registry of Office, once per request.
	Dialogue bool
}

// CoreRef names a core event.
type CoreRef struct {
	OrderKey string
	Seq      int
}

// OutboxKind names what an outbox row sends.
type OutboxKind string

// The kinds of outbox row.
const (
	OutboxSubmission   OutboxKind = "submission"
	OutboxCancellation OutboxKind = "cancellation"
	OutboxDelivery     OutboxKind = "delivery_change"
)

// Outbox is an intent to tell the core something, stored before it is told.
type Outbox struct {
	ID        int64
	RequestID string
	OrderKey  string
	Kind      OutboxKind
	Key       string          // idempotency key of this act at the core
	Private   json.RawMessage // what to send, encrypted at rest; may be empty
	Due       time.Time
	Fence     int64
	Tries     int
	Actor     Actor // who caused it
}

// CoreEvent is the core's word about an order, verified and kept before it is
// applied.
type CoreEvent struct {
	EventID  string
	OrderKey string
	Seq      int
	NUN      string
	Type     string // as the contract names it
	At       time.Time
	Details  CoreDetails
}

// CoreDetails are the members some events carry.
type CoreDetails struct {
	Reason   string `json:"reason,omitempty"`
	Tracking string `json:"tracking,omitempty"`
	Carrier  string `json:"carrier,omitempty"`
	Until    string `json:"until,omitempty"`
	Office   string `json:"office,omitempty"`
	Remake   bool   `json:"remake,omitempty"` // of a production defect
}

// Halves are the first halves of PIN and PUK: four digits each. The second
// halves never enter the system (A27).
type Halves struct {
	PIN string `json:"pin"`
	PUK string `json:"puk"`
}

// Criteria narrows Find. Empty members do not narrow. Of FiscalCode and Surname
// only keyed digests are compared.
type Criteria struct {
	Number     string
	Numbers    []string // any of these; at most 500
	FiscalCode string
	Surname    string // whole surname, normalised by the store
	States     []State
	Marked     MarkKind
	Limit      int    // default 50, at most 500
	After      string // id of the last row of the page before
}

// Row is a line of a list: what needs no personal data.
type Row struct {
	ID        string
	State     State
	Office    Office
	CreatedAt time.Time
	UpdatedAt time.Time
	Mark      Mark
}

// Counts is the store at a glance.
type Counts struct {
	ByState   map[State]int
	WorkDue   int // tasks and outbox rows due now
	Waiting   int
	Parked    int
	OldestDue time.Time
	Unsealed  int // audit entries not yet chained
}

// AuditEntry is one line of the audit trail. Act is a closed, documented name;
// Payload must hold no personal data beyond opaque ids: the chain keeps its
// digest, the payload itself lives apart and can be erased.
type AuditEntry struct {
	At      time.Time
	Actor   Actor
	Act     string
	Subject string // request number or other opaque id
	Payload map[string]string
}
