package issuance

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"airegw/gateway/fault"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

// Types of the contract's messages.
const (
	typPrepare        = "airegw-prepare+jwt"
	typPrepared       = "core-prepared+jwt"
	typConfirmForms   = "airegw-forms-confirmed+jwt"
	typFormsConfirmed = "core-forms-confirmed+jwt"
	typSubmission     = "airegw-submission+jwt"
	typReceipt        = "core-receipt+jwt"
	typOrder          = "core-order+jwt"
	typDeliveryChange = "airegw-delivery-change+jwt"
	typCancellation   = "airegw-cancellation+jwt"
	typOutcome        = "core-outcome+jwt"
	typEvent          = "core-event+jwt"
	typFeed           = "core-feed+jwt"
	typProblem        = "core-problem+jwt"
)

// MediaType of every message.
const MediaType = "application/jose"

const (
	messageLife = 2 * time.Minute // the contract allows 300 seconds
	mostLife    = 300 * time.Second
	clockSkew   = 60 * time.Second
	maxRequest  = 256 << 10
)

// MaxEvent is how much of a pushed message is worth reading.
const MaxEvent = 64 << 10

// Config of a Client; everything is required.
type Config struct {
	BaseURL  string // of the core, https
	CoreID   string // iss of the core's messages
	ClientID string // ours: iss of our messages and common name of our certificate
	Key      jose.Key
	CoreKeys jose.KeySet
	// Out calls the core, with our client certificate. MaxBody of 1 MiB fits.
	Out   *outbound.Client
	Clock func() time.Time
	Rand  io.Reader // message ids
}

// Client of one core. Safe for concurrent use.
type Client struct {
	cfg    Config
	base   *url.URL
	random sync.Mutex
}

// New checks the configuration; it calls nobody.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.BaseURL)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("issuance: base URL")
	case cfg.CoreID == "" || cfg.ClientID == "":
		return nil, errors.New("issuance: the core's and our id must be given")
	case cfg.Key.Algorithm() != jose.ES256:
		return nil, errors.New("issuance: the contract signs with ES256")
	case cfg.CoreKeys.Len() == 0:
		return nil, errors.New("issuance: no key of the core")
	case cfg.Out == nil || cfg.Clock == nil || cfg.Rand == nil:
		return nil, errors.New("issuance: client, clock and randomness must be given")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return &Client{cfg: cfg, base: u}, nil
}

// Prepare asks for the number and the first halves. Idempotent: the same key
// and body answer the same until the forms are confirmed, so it is retried.
// The answer's digest is checked against the body sent.
func (c *Client) Prepare(ctx context.Context, o PrepareOrder) (Prepared, error) {
	if o.Parents == nil {
		o.Parents = []Parent{}
	}
	if o.Captures.FingerprintRefs == nil {
		o.Captures.FingerprintRefs = []Fingerprint{}
	}
	if o.Captures.Exemptions == nil {
		o.Captures.Exemptions = []Exemption{}
	}
	var p Prepared
	q := question{
		operation: "prepare", path: "/v1/orders", typ: typPrepare, answer: typPrepared, orderKey: o.OrderKey, body: o,
		header: o.OrderKey, retry: true,
	}
	err := c.ask(ctx, q, &p, func() error {
		want, err := Digest(o)
		if err != nil {
			return err
		}
		halves := p.PINFirstHalf != "" || p.PUKFirstHalf != ""
		switch {
		case p.OrderKey != o.OrderKey:
			return errNotOurs
		case p.PrepareDigest != want:
			return errDigest
		case !nunShape.MatchString(p.NUN) || p.PreparedAt.IsZero(),
			halves && (!halfShape.MatchString(string(p.PINFirstHalf)) || !halfShape.MatchString(string(p.PUKFirstHalf))):
			return errBody
		}
		return nil
	})
	if err != nil {
		return Prepared{}, err
	}
	return p, nil
}

// ConfirmForms says that the printed forms are good; from then on the core
// gives no halves. Idempotent, so it is retried.
func (c *Client) ConfirmForms(ctx context.Context, f ConfirmForms) (FormsConfirmed, error) {
	var a FormsConfirmed
	q := question{
		operation: "confirm_forms", path: "/v1/orders/" + f.OrderKey + "/forms-confirmed", typ: typConfirmForms, answer: typFormsConfirmed,
		orderKey: f.OrderKey, body: f, retry: true,
	}
	err := c.ask(ctx, q, &a, func() error {
		switch {
		case a.OrderKey != f.OrderKey || a.NUN != f.NUN:
			return errNotOurs
		case a.ConfirmedAt.IsZero():
			return errBody
		}
		return nil
	})
	if err != nil {
		return FormsConfirmed{}, err
	}
	return a, nil
}

// Submit sends the act that makes a card, once: it is never retried here. A
// Receipt means that the core holds exactly this body. After KindUnclear the
// caller must Lookup before it sends the same body again.
func (c *Client) Submit(ctx context.Context, s Submission) (Receipt, error) {
	var r Receipt
	q := question{
		operation: "submit", path: "/v1/orders/" + s.OrderKey + "/submission", typ: typSubmission, answer: typReceipt,
		orderKey: s.OrderKey, body: s,
	}
	err := c.ask(ctx, q, &r, func() error {
		want, err := Digest(s)
		if err != nil {
			return err
		}
		switch {
		case r.OrderKey != s.OrderKey || r.NUN != s.NUN:
			return errNotOurs
		case r.SubmissionDigest != want && !fault.Mutant("issuance.receipt-digest"):
			return errDigest
		case !r.whole():
			return errBody
		}
		return nil
	})
	if err != nil {
		return Receipt{}, err
	}
	return r, nil
}

// Lookup tells what the core durably holds for a key. KindUnknownOrder: it
// holds nothing, and accepted nothing.
func (c *Client) Lookup(ctx context.Context, orderKey string) (Order, error) {
	var o Order
	q := question{operation: "lookup", path: "/v1/orders/" + orderKey, answer: typOrder, orderKey: orderKey, retry: true}
	err := c.ask(ctx, q, &o, func() error {
		switch {
		case o.OrderKey != orderKey || o.RequestID+"."+strconv.Itoa(o.Generation) != orderKey,
			o.Receipt != nil && (o.Receipt.OrderKey != orderKey):
			return errNotOurs
		case !nunShape.MatchString(o.NUN) || !slices.Contains(orderStates, o.State) || !digestShape.MatchString(o.PrepareDigest),
			o.PreparedAt.IsZero() || o.LastSeq < 0 || o.Changes == nil || o.Delivery.Kind == "",
			o.Receipt != nil && !o.Receipt.whole():
			return errBody
		}
		for _, ch := range o.Changes {
			if ch.OrderKey != orderKey || !ch.whole() {
				return errBody
			}
		}
		return nil
	})
	if err != nil {
		return Order{}, err
	}
	return o, nil
}

// ChangeDelivery asks for another delivery: accepted or too late are both
// answers. Never retried here; the same key and body may be sent again after a
// Lookup.
func (c *Client) ChangeDelivery(ctx context.Context, d DeliveryChange) (Outcome, error) {
	return c.change(ctx, question{
		operation: "change_delivery", path: "/v1/orders/" + d.OrderKey + "/delivery-changes", typ: typDeliveryChange, answer: typOutcome,
		orderKey: d.OrderKey, body: d, header: d.ChangeKey,
	}, d.ChangeKey, ChangeDelivery)
}

// Cancel asks for no card to come of the order: accepted until production
// begins. Never retried here.
func (c *Client) Cancel(ctx context.Context, n Cancellation) (Outcome, error) {
	return c.change(ctx, question{
		operation: "cancel", path: "/v1/orders/" + n.OrderKey + "/cancellation", typ: typCancellation, answer: typOutcome,
		orderKey: n.OrderKey, body: n, header: n.ChangeKey,
	}, n.ChangeKey, ChangeCancellation)
}

func (c *Client) change(ctx context.Context, q question, key, what string) (Outcome, error) {
	if !changeKeyShape.MatchString(key) {
		return Outcome{}, &Error{Kind: KindInvalid, Code: codeBadKey, Field: "change_key", OrderKey: q.orderKey}
	}
	var o Outcome
	err := c.ask(ctx, q, &o, func() error {
		switch {
		case o.OrderKey != q.orderKey || o.ChangeKey != key || o.Change != what:
			return errNotOurs
		case !o.whole():
			return errBody
		}
		return nil
	})
	if err != nil {
		return Outcome{}, err
	}
	return o, nil
}

// Feed reads one page of the events of our orders, oldest first, after the
// cursor of the last page ("" for the beginning), at most limit events (1 to
// 500; 0 leaves it to the core). Read until More is false.
func (c *Client) Feed(ctx context.Context, after string, limit int) (EventPage, error) {
	if after != "" && !cursorShape.MatchString(after) {
		return EventPage{}, &Error{Kind: KindInvalid, Code: codeBadKey, Field: "after"}
	}
	if limit < 0 || limit > 500 {
		return EventPage{}, &Error{Kind: KindInvalid, Code: codeBadKey, Field: "limit"}
	}
	query := url.Values{}
	if after != "" {
		query.Set("after", after)
	}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	path := "/v1/events"
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var page EventPage
	err := c.ask(ctx, question{operation: "feed", path: path, answer: typFeed, retry: true}, &page, func() error {
		if page.Events == nil || !cursorShape.MatchString(page.Next) || (limit > 0 && len(page.Events) > limit) {
			return errBody
		}
		for _, e := range page.Events {
			if !e.whole() {
				return errBody
			}
		}
		return nil
	})
	if err != nil {
		return EventPage{}, err
	}
	return page, nil
}

// VerifyEvent reads a pushed message: a core-event+jwt of the core to us. Any
// doubt is KindMessageRefused; the feed will bring the event again.
func (c *Client) VerifyEvent(compact string) (Event, error) {
	refused := func(err error) error {
		return &Error{Kind: KindMessageRefused, Code: codeEventRefuse, Err: err}
	}
	if len(compact) > MaxEvent {
		return Event{}, refused(errors.New("too large"))
	}
	body, err := c.open(compact, typEvent, "")
	if err != nil {
		return Event{}, refused(err)
	}
	var e Event
	if err := decodeStrict(body, &e); err != nil {
		return Event{}, refused(err)
	}
	if !e.whole() {
		return Event{}, refused(errBody)
	}
	return e, nil
}

// question is one call.
type question struct {
	operation string
	path      string // with query
	typ       string // of our message; "" for a GET
	answer    string // typ of the answer
	orderKey  string // "" for the feed
	header    string // Idempotency-Key
	body      any
	retry     bool
}

type claims struct {
	Iss  string          `json:"iss"`
	Aud  string          `json:"aud"`
	Iat  int64           `json:"iat"`
	Exp  int64           `json:"exp"`
	Jti  string          `json:"jti"`
	Req  string          `json:"req,omitempty"`
	Body json.RawMessage `json:"body"`
}

var (
	errNotOurs = errors.New("an answer to something else")
	errBody    = errors.New("a body that does not fit")
	errDigest  = errors.New("the digest of another body")
)

var (
	orderKeyShape  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}\.[1-9][0-9]{0,3}$`)
	changeKeyShape = regexp.MustCompile(`^[A-Za-z0-9._-]{8,128}$`)
	cursorShape    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	nunShape       = regexp.MustCompile(`^C[A-Z][0-9]{5}[A-Z]{2}$`)
	halfShape      = regexp.MustCompile(`^[0-9]{4}$`)
	digestShape    = regexp.MustCompile(`^sha-256:[0-9a-f]{64}$`)
	receiptShape   = regexp.MustCompile(`^[A-Za-z0-9-]{8,64}$`)
	eventIDShape   = regexp.MustCompile(`^[A-Za-z0-9_.-]{8,100}$`)
	jtiShape       = regexp.MustCompile(`^[A-Za-z0-9_-]{16,64}$`)
	codeShape      = regexp.MustCompile(`^[a-z][a-z0-9_]{1,63}$`)
)

func (r Receipt) whole() bool {
	return receiptShape.MatchString(r.ReceiptID) && nunShape.MatchString(r.NUN) && !r.AcceptedAt.IsZero() && digestShape.MatchString(r.SubmissionDigest)
}

func (o Outcome) whole() bool {
	return changeKeyShape.MatchString(o.ChangeKey) && (o.Change == ChangeDelivery || o.Change == ChangeCancellation) &&
		(o.Outcome == OutcomeAccepted || o.Outcome == OutcomeTooLate) && !o.At.IsZero()
}

func (e Event) whole() bool {
	_, generation, ok := strings.Cut(e.OrderKey, ".")
	d := e.Details
	detail := true
	switch e.Type {
	case EventRejected, EventReturned, EventAttemptFailed:
		detail = d.Reason != ""
	case EventProductionDefect:
		detail = d.Reason != "" && d.Remake != nil
	case EventShipped:
		detail = d.Carrier != "" && d.Tracking != ""
	}
	return ok && orderKeyShape.MatchString(e.OrderKey) && generation == strconv.Itoa(e.Generation) && eventIDShape.MatchString(e.EventID) &&
		nunShape.MatchString(e.NUN) && e.Seq >= 1 && e.Seq <= 1_000_000 && slices.Contains(eventTypes, e.Type) && !e.At.IsZero() && detail
}

// ask sends one question and reads its one acceptable answer into dst; check
// judges the decoded body.
func (c *Client) ask(ctx context.Context, q question, dst any, check func() error) error {
	fail := func(kind Kind, code string, err error) *Error {
		return &Error{Kind: kind, Code: code, OrderKey: q.orderKey, Err: err}
	}
	if q.operation != "feed" && !orderKeyShape.MatchString(q.orderKey) {
		e := fail(KindInvalid, codeBadKey, nil)
		e.Field, e.OrderKey = "order_key", ""
		return e
	}
	var body []byte
	if q.body != nil {
		var err error
		if body, err = c.checked(q.body); err != nil {
			var e *Error
			if errors.As(err, &e) {
				e.OrderKey = q.orderKey
				return e
			}
			return fail(KindInvalid, codeBadBody, err)
		}
	}
	target, err := c.base.Parse(c.base.Path + q.path)
	if err != nil {
		return fail(KindInvalid, codeBadKey, nil)
	}
	bound := target.RequestURI() // what `req` of the answer must be, for a GET
	r := outbound.Request{
		Operation: q.operation, Method: http.MethodGet, URL: target.String(), Idempotent: q.retry, NoRetry: !q.retry,
		Accept: func(int) bool { return true }, Header: http.Header{"Accept": {MediaType + ", application/problem+json"}},
		Correlation: q.orderKey,
	}
	if q.typ != "" {
		r.Method = http.MethodPost
		r.Prepare = func(context.Context, int) (http.Header, []byte, error) {
			jti, err := c.jti()
			if err != nil {
				return nil, nil, err
			}
			bound = jti
			msg, err := c.message(q.typ, jti, body)
			h := http.Header{"Content-Type": {MediaType}}
			if q.header != "" {
				h.Set("Idempotency-Key", q.header)
			}
			return h, []byte(msg), err
		}
	}
	resp, err := c.cfg.Out.Do(ctx, r)
	if err != nil {
		e := fail(KindUnclear, codeTransport, err)
		var oe *outbound.Error
		if errors.As(err, &oe) {
			e.Status, e.RetryAfter = oe.Status, oe.RetryAfter
			if !oe.Sent {
				e.Kind = KindNotSent
			}
		}
		return e
	}
	if resp.Status != http.StatusOK {
		return c.verdict(q, resp, bound)
	}
	unclear := func(code string, err error) error {
		e := fail(KindUnclear, code, err)
		e.Status = resp.Status
		return e
	}
	if !isMessage(resp.Header) && !fault.Mutant("issuance.media-type") {
		return unclear(codeMediaType, nil)
	}
	raw, err := c.open(string(resp.Body), q.answer, bound)
	switch {
	case errors.Is(err, errNotOurs):
		return unclear(codeNotOurs, err)
	case err != nil:
		return unclear(codeSignature, err)
	}
	if err := decodeStrict(raw, dst); err != nil {
		return unclear(codeBody, err)
	}
	switch err := check(); {
	case errors.Is(err, errNotOurs):
		return unclear(codeNotOurs, err)
	case errors.Is(err, errDigest):
		return unclear(codeDigest, err)
	case err != nil:
		return unclear(codeBody, err)
	}
	return nil
}

// checked marshals a body and holds it against the contract's rules for text
// and size; what the core would refuse with 422 is left to the core.
func (c *Client) checked(body any) ([]byte, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, &Error{Kind: KindInvalid, Code: codeBadBody, Err: errors.New("an instant is missing or a value cannot be written")}
	}
	if len(data) > maxRequest/2 { // base64 and the claims around it take a third more
		return nil, &Error{Kind: KindInvalid, Code: codeTooLarge}
	}
	v, err := bodies.Tree(data)
	if err != nil {
		return nil, &Error{Kind: KindInvalid, Code: codeBadBody, Err: err}
	}
	if where, bad := badText(v, ""); bad {
		return nil, &Error{Kind: KindInvalid, Code: codeBadText, Field: where}
	}
	return data, nil
}

func (c *Client) message(typ, jti string, body []byte) (string, error) {
	now := c.cfg.Clock().UTC().Truncate(time.Second)
	return jose.Sign(c.cfg.Key, typ, claims{
		Iss: c.cfg.ClientID, Aud: c.cfg.CoreID, Iat: now.Unix(), Exp: now.Add(messageLife).Unix(), Jti: jti, Body: body,
	})
}

// open verifies a message of the core to us and gives its body. req is what it
// must be bound to; "" only for pushed events, which have none.
func (c *Client) open(compact, typ, req string) (json.RawMessage, error) {
	var cl claims
	v, err := jose.Verify(compact, c.cfg.CoreKeys, jose.Expect{
		Algs: []jose.Algorithm{jose.ES256}, Typ: []string{typ}, Now: c.cfg.Clock(), Skew: clockSkew, MaxLife: mostLife,
		Issuer: c.cfg.CoreID, Audience: c.cfg.ClientID,
	}, nil)
	if fault.Mutant("issuance.signature") {
		var payload json.RawMessage
		_, _, _, err = jose.Peek(compact, &payload)
		v.Payload = payload
	}
	if err != nil {
		return nil, err
	}
	if err := decodeStrict(v.Payload, &cl); err != nil {
		return nil, err
	}
	switch {
	case cl.Aud != c.cfg.ClientID: // one string, no list
		return nil, errors.New("aud is not one string")
	case !jtiShape.MatchString(cl.Jti):
		return nil, errors.New("no jti")
	case cl.Req != req && !fault.Mutant("issuance.bound"):
		return nil, errNotOurs
	case len(cl.Body) == 0 || cl.Body[0] != '{':
		return nil, errBody
	}
	return cl.Body, nil
}

// verdict reads an answer other than 200. Only a signed problem with a status
// of verdicts is one.
func (c *Client) verdict(q question, resp *outbound.Response, bound string) error {
	e := &Error{Kind: KindUnclear, Code: codeStatus, Status: resp.Status, OrderKey: q.orderKey, RetryAfter: retryAfter(resp.Header)}
	if !isMessage(resp.Header) {
		var p problem
		if json.Unmarshal(resp.Body, &p) == nil && codeShape.MatchString(p.Code) {
			e.Hint = p.Code
		}
		return e
	}
	if resp.Status != http.StatusNotFound && resp.Status != http.StatusConflict && resp.Status != http.StatusUnprocessableEntity {
		return e
	}
	raw, err := c.open(string(resp.Body), typProblem, bound)
	if err != nil {
		e.Code, e.Err = codeSignature, err
		if errors.Is(err, errNotOurs) {
			e.Code = codeNotOurs
		}
		return e
	}
	var p problem
	switch err := decodeStrict(raw, &p); {
	case err != nil || !codeShape.MatchString(p.Code) || p.Status != resp.Status:
		e.Code = codeBody
		return e
	case p.OrderKey != "" && p.OrderKey != q.orderKey:
		e.Code = codeNotOurs
		return e
	}
	e.Kind, e.Code = KindRefused, p.Code
	switch p.Code {
	case "order_unknown":
		e.Kind = KindUnknownOrder
	case "order_key_reused", "submission_differs", "change_key_reused":
		e.Kind = KindConflict
	}
	for _, f := range p.Errors {
		e.Fields = append(e.Fields, FieldError{Field: f.Field, Code: f.Code})
	}
	return e
}

func isMessage(h http.Header) bool {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && t == MediaType
}

func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 || n > 86400 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// decodeStrict refuses unknown members, members twice and null, and what has no
// canonical form.
func decodeStrict(data []byte, dst any) error {
	if _, err := canonical(data); err != nil {
		return err
	}
	if err := bodies.Decode(data, dst); err != nil {
		// What a type of ours that reads itself says may quote the body.
		return errBody
	}
	return nil
}

func (c *Client) jti() (string, error) {
	c.random.Lock()
	defer c.random.Unlock()
	var b [16]byte
	if _, err := io.ReadFull(c.cfg.Rand, b[:]); err != nil {
		return "", fmt.Errorf("no randomness: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}
