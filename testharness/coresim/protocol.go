package coresim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"airegw/testharness/sim"
)

type clientKey struct{}

// protocol builds the contract's routes.
func (s *Sim) protocol() http.Handler {
	mux := http.NewServeMux()
	type route struct {
		pattern, op string
		handle      func(*call) (string, any, error)
	}
	for _, r := range []route{
		{"POST /v1/orders", "prepare", s.prepareOrder},
		{"GET /v1/orders/{key}", "look_up", s.lookUp},
		{"POST /v1/orders/{key}/forms-confirmed", "forms_confirmed", s.confirmForms},
		{"POST /v1/orders/{key}/submission", "submission", s.submit},
		{"POST /v1/orders/{key}/delivery-changes", "delivery_change", s.changeDelivery},
		{"POST /v1/orders/{key}/cancellation", "cancellation", s.cancelOrder},
		{"GET /v1/events", "feed", s.listEvents},
	} {
		handler := s.answer(r.op, r.handle)
		subject := func(req *http.Request) string {
			if key := req.PathValue("key"); key != "" {
				return key
			}
			return req.Header.Get("Idempotency-Key")
		}
		op := func(*http.Request) string { return r.op }
		mux.Handle(r.pattern, s.authenticated(sim.Unpleasant(s.faults, s.clock, op, subject, handler)))
	}
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		sim.WriteJSON(w, http.StatusOK, map[string]any{"status": "ok", "time": s.now()})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		sim.WriteProblem(w, sim.Problem{Status: http.StatusNotFound, Code: "not_found"})
	})
	return mux
}

// authenticated takes the client id from the certificate that TLS has verified.
// A server without TLS in front has no clients at all.
func (s *Sim) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := ""
		if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
			client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		s.mu.Lock()
		known := s.gateways[client] != nil
		s.mu.Unlock()
		if !known {
			sim.WriteProblem(w, sim.Problem{Status: http.StatusUnauthorized, Code: "unauthenticated", Detail: "no client certificate of a registered gateway"})
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), clientKey{}, client)))
	})
}

// call is one verified-transport request on its way.
type call struct {
	*http.Request
	client string
	req    string // jti of the message, or the request target of a GET
}

// answer turns the outcome of an operation into a signed message, signed
// verdict or unsigned problem. What it says is on stable storage before it is
// said.
func (s *Sim) answer(op string, handle func(*call) (string, any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _ := r.Context().Value(clientKey{}).(string)
		c := &call{Request: r, client: client}
		typ, body, err := handle(c)
		flushErr := s.journal.Flush()
		if flushErr != nil {
			s.log.Error("core: the ledger cannot be written", "error", flushErr)
			sim.WriteProblem(w, sim.Problem{Status: http.StatusInternalServerError, Code: "internal"})
			return
		}
		status := http.StatusOK
		if err != nil {
			var r *refusal
			if !errors.As(err, &r) {
				s.log.Error("core: a request failed", "op", op, "error", err)
				r = refuse(http.StatusInternalServerError, "internal", "")
			}
			status = r.Status
			if status != 404 && status != 409 && status != 422 {
				sim.WriteProblem(w, r.Problem)
				return
			}
			s.mu.Lock()
			s.refused[r.Code]++
			s.mu.Unlock()
			typ, body = typProblem, r.Complete()
		}
		s.sealAnswer(w, c, op, status, typ, body)
	})
}

func (s *Sim) sealAnswer(w http.ResponseWriter, c *call, op string, status int, typ string, body any) {
	key, age := s.key, time.Duration(0)
	subject := c.PathValue("key")
	if subject == "" {
		subject = c.Header.Get("Idempotency-Key")
	}
	switch {
	case s.faults.Fires(FaultWrongSignature, op, subject):
		sim.Mark(w.Header(), FaultWrongSignature)
		key = s.rogue
	case s.faults.Fires(FaultWrongTyp, op, subject):
		sim.Mark(w.Header(), FaultWrongTyp)
		typ = "core-other+jwt"
	case s.faults.Fires(FaultStaleAnswer, op, subject):
		sim.Mark(w.Header(), FaultStaleAnswer)
		age = time.Hour + messageLife
	}
	text, err := s.seal(typ, c.client, c.req, body, key, age)
	if err != nil {
		s.log.Error("core: an answer could not be signed", "op", op, "error", err)
		sim.WriteProblem(w, sim.Problem{Status: http.StatusInternalServerError, Code: "internal"})
		return
	}
	w.Header().Set("Content-Type", "application/jose")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// open reads and verifies the message of a POST and fills v with its body.
func (s *Sim) open(c *call, typ string, v any) ([]byte, error) {
	mediaType, _, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/jose" {
		return nil, refuse(http.StatusUnsupportedMediaType, "wrong_media_type", "application/jose is needed")
	}
	text, err := io.ReadAll(io.LimitReader(c.Body, maxRequest+1))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "malformed", "the body broke off")
	}
	if len(text) > maxRequest {
		return nil, refuse(http.StatusRequestEntityTooLarge, "too_large", "")
	}
	message, err := s.verify(text, typ, c.client)
	if err != nil {
		return nil, err
	}
	c.req = message.Jti
	canonicalText, r := decodeBody(message.Body, v)
	if r != nil {
		return nil, r
	}
	return canonicalText, nil
}

// order finds the client's own order; the caller holds mu. The key of another
// client is as unknown as any.
func (s *Sim) order(c *call, key string) (*order, error) {
	o := s.orders[key]
	if o == nil || o.client != c.client {
		r := refuse(http.StatusNotFound, "order_unknown", "")
		if keyPattern.MatchString(key) {
			r.OrderKey = key
		}
		return nil, r
	}
	return o, nil
}

func conflict(code, key string) *refusal {
	r := refuse(http.StatusConflict, code, "")
	r.OrderKey = key
	return r
}

func mismatch(field string) *refusal {
	return (&check{[]sim.ProblemField{{Field: field, Code: "differs_from_request"}}}).refusal("key_mismatch")
}

func (s *Sim) prepareOrder(c *call) (string, any, error) {
	var b prepareBody
	text, err := s.open(c, typPrepare, &b)
	if err != nil {
		return "", nil, err
	}
	r := b.validate(s.now().Format(time.DateOnly))
	if c.Header.Get("Idempotency-Key") != b.OrderKey {
		return "", nil, mismatch("order_key")
	}
	digest := digestOf(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.orders[b.OrderKey]
	switch {
	case o != nil && (o.client != c.client || o.digest != digest):
		return "", nil, conflict("order_key_reused", b.OrderKey)
	case o == nil && r != nil:
		// Only now: a repeat of what was once good stays good, also the day the
		// card would have expired.
		return "", nil, r
	case o == nil:
		o, err = s.take(c.client, b.OrderKey, digest, text)
		if err != nil {
			return "", nil, err
		}
	}
	answer := preparedBody{OrderKey: o.key, NUN: o.nun, PreparedAt: o.preparedAt, PrepareDigest: o.digest}
	if o.state == statePrepared {
		answer.PINFirstHalf, answer.PUKFirstHalf = s.half("pin", o.key), s.half("puk", o.key)
	}
	return typPrepared, answer, nil
}

// take opens an order and gives it its number; the caller holds mu.
func (s *Sim) take(client, key, digest string, text []byte) (*order, error) {
	r := &prepareRecord{Client: client, Key: key, NUN: s.nextNUN(), Digest: digest, At: s.now(), Body: text}
	err := s.write(record{Prepare: r})
	if err == nil {
		err = s.applyPrepare(r)
	}
	return s.orders[key], err
}

func (s *Sim) lookUp(c *call) (string, any, error) {
	c.req = c.URL.RequestURI()
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.order(c, c.PathValue("key"))
	if err != nil {
		return "", nil, err
	}
	seen := int64(0)
	for _, e := range o.events {
		if s.seen(e) {
			seen = e.Seq
		}
	}
	return typOrder, orderBody{
		OrderKey: o.key, RequestID: o.requestID, Generation: o.generation, NUN: o.nun, State: o.state,
		PreparedAt: o.preparedAt, PrepareDigest: o.digest, FormsConfirmedAt: o.confirmedAt, Receipt: o.receipt,
		Delivery: o.delivery, LastSeq: seen, Changes: append([]Outcome{}, o.changeList...),
	}, nil
}

// seen says whether an event is in the feed.
func (s *Sim) seen(e *heldEvent) bool {
	for _, h := range s.held {
		if h == e {
			return false
		}
	}
	return true
}

func (s *Sim) confirmForms(c *call) (string, any, error) {
	var b confirmBody
	_, err := s.open(c, typConfirmForms, &b)
	if err != nil {
		return "", nil, err
	}
	r := b.validate()
	if r != nil {
		return "", nil, r
	}
	if b.OrderKey != c.PathValue("key") {
		return "", nil, mismatch("order_key")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.order(c, b.OrderKey)
	if err != nil {
		return "", nil, err
	}
	switch {
	case o.state == stateCancelled || o.state == stateRejected:
		return "", nil, conflict("order_closed", o.key)
	case b.NUN != o.firstNUN():
		return "", nil, conflict("nun_mismatch", o.key)
	case o.confirmedAt == nil:
		err = s.confirm(o)
		if err != nil {
			return "", nil, err
		}
	}
	return typFormsConfirmed, confirmedBody{OrderKey: o.key, NUN: b.NUN, ConfirmedAt: *o.confirmedAt}, nil
}

// confirm records that an order's forms are good; the caller holds mu.
func (s *Sim) confirm(o *order) error {
	r := &confirmRecord{Key: o.key, At: s.now()}
	err := s.write(record{Confirm: r})
	if err == nil {
		o.applyConfirm(r)
	}
	return err
}

// firstNUN is the number of the preparation, whatever a remake has changed.
func (o *order) firstNUN() string {
	for _, e := range o.events {
		if e.Details.ReplacesNUN != "" {
			return e.Details.ReplacesNUN
		}
	}
	return o.nun
}

func (s *Sim) submit(c *call) (string, any, error) {
	var b submissionBody
	text, err := s.open(c, typSubmission, &b)
	if err != nil {
		return "", nil, err
	}
	r := b.validate()
	if r != nil {
		return "", nil, r
	}
	if b.OrderKey != c.PathValue("key") {
		return "", nil, mismatch("order_key")
	}
	digest := digestOf(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.order(c, b.OrderKey)
	if err != nil {
		return "", nil, err
	}
	o.attempts++
	switch {
	case o.receipt != nil && o.receipt.SubmissionDigest == digest:
		return typReceipt, o.receipt, nil
	case o.receipt != nil:
		o.conflicts++
		return "", nil, conflict("submission_differs", o.key)
	case o.state == stateCancelled:
		return "", nil, conflict("order_closed", o.key)
	case o.confirmedAt == nil:
		return "", nil, conflict("forms_not_confirmed", o.key)
	case b.NUN != o.nun:
		return "", nil, conflict("nun_mismatch", o.key)
	case b.PrepareDigest != o.digest:
		return "", nil, conflict("prepare_digest_mismatch", o.key)
	}
	receipt := &Receipt{
		ReceiptID: fmt.Sprintf("CR-%08d", s.accepted+1), OrderKey: o.key, NUN: o.nun, AcceptedAt: s.now(), SubmissionDigest: digest,
	}
	err = s.write(record{Accept: receipt})
	if err != nil {
		return "", nil, err
	}
	s.applyAccept(o, receipt)
	err = s.planFor(o)
	if err != nil {
		return "", nil, err
	}
	s.schedule(o)
	return typReceipt, receipt, nil
}

func (s *Sim) changeDelivery(c *call) (string, any, error) {
	var b deliveryChangeBody
	text, err := s.open(c, typDeliveryChange, &b)
	if err != nil {
		return "", nil, err
	}
	r := b.validate()
	if r != nil {
		return "", nil, r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, known, err := s.changeOf(c, b.OrderKey, b.ChangeKey, "delivery_change", text)
	if err != nil || known != nil {
		return typOutcome, known, err
	}
	if o.state == stateCancelled || o.state == stateRejected || o.ended {
		return "", nil, conflict("order_closed", o.key)
	}
	r = b.Delivery.rule("delivery", o.prepare.Resident)
	if r != nil {
		return "", nil, r
	}
	granted := o.shipments == 0
	outcome, err := s.decide(o, b.ChangeKey, "delivery_change", granted, text, &b.Delivery)
	if err != nil {
		return "", nil, err
	}
	if granted && o.receipt != nil && !o.planned {
		o.plan = defaultPlan(o.delivery.Kind, o.state)
		err = s.write(record{Replan: &replanRecord{Key: o.key, Steps: o.plan}})
		if err != nil {
			return "", nil, err
		}
	}
	return typOutcome, outcome, nil
}

func (s *Sim) cancelOrder(c *call) (string, any, error) {
	var b cancellationBody
	text, err := s.open(c, typCancellation, &b)
	if err != nil {
		return "", nil, err
	}
	r := b.validate()
	if r != nil {
		return "", nil, r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, known, err := s.changeOf(c, b.OrderKey, b.ChangeKey, "cancellation", text)
	if err != nil || known != nil {
		return typOutcome, known, err
	}
	granted := o.ended
	switch o.state {
	case statePrepared, stateConfirmed, stateAccepted, stateCertified, stateRejected, stateCancelled:
		granted = true
	}
	outcome, err := s.decide(o, b.ChangeKey, "cancellation", granted, text, nil)
	if err != nil {
		return "", nil, err
	}
	s.schedule(o)
	return typOutcome, outcome, nil
}

// changeOf finds the order, and the outcome if this change was answered before.
// The caller holds mu.
func (s *Sim) changeOf(c *call, key, changeKey, kind string, text []byte) (*order, *Outcome, error) {
	if key != c.PathValue("key") {
		return nil, nil, mismatch("order_key")
	}
	if changeKey != c.Header.Get("Idempotency-Key") {
		return nil, nil, mismatch("change_key")
	}
	o, err := s.order(c, key)
	if err != nil {
		return nil, nil, err
	}
	earlier, known := o.changes[changeKey]
	if !known {
		if len(o.changeList) >= 1000 {
			return nil, nil, conflict("order_closed", o.key)
		}
		return o, nil, nil
	}
	if earlier.digest != digestOf(text) || earlier.outcome.Change != kind {
		return nil, nil, conflict("change_key_reused", o.key)
	}
	return o, &earlier.outcome, nil
}

// decide records the outcome of a change; the caller holds mu.
func (s *Sim) decide(o *order, changeKey, kind string, granted bool, text []byte, to *delivery) (*Outcome, error) {
	r := &changeRecord{
		Outcome:  Outcome{OrderKey: o.key, ChangeKey: changeKey, Change: kind, Outcome: "too_late", At: s.now()},
		Digest:   digestOf(text),
		Delivery: to,
	}
	if granted {
		r.Outcome.Outcome = "accepted"
	}
	err := s.write(record{Change: r})
	if err != nil {
		return nil, err
	}
	o.applyChange(r)
	return &r.Outcome, nil
}

var cursorPattern = regexp.MustCompile(`^c(0|[1-9][0-9]{0,9})$`)

func (s *Sim) listEvents(c *call) (string, any, error) {
	c.req = c.URL.RequestURI()
	query := c.URL.Query()
	limit, from := 100, 0
	for name, values := range query {
		if (name != "after" && name != "limit") || len(values) != 1 {
			return "", nil, refuse(http.StatusBadRequest, "malformed", "after and limit, each once")
		}
	}
	if query.Has("limit") {
		n, err := strconv.Atoi(query.Get("limit"))
		if err != nil || n < 1 || n > 500 {
			return "", nil, refuse(http.StatusBadRequest, "malformed", "limit is 1 to 500")
		}
		limit = n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if query.Has("after") {
		after := query.Get("after")
		n, err := strconv.Atoi(strings.TrimPrefix(after, "c"))
		if err != nil || !cursorPattern.MatchString(after) || n > len(s.feed) {
			return "", nil, refuse(http.StatusBadRequest, "malformed", "after is not a cursor of this feed")
		}
		from = n
	}
	page := pageBody{Events: []Event{}}
	at := from
	for ; at < len(s.feed); at++ {
		if s.feed[at].order.client != c.client {
			continue
		}
		if len(page.Events) == limit {
			page.More = true
			break
		}
		page.Events = append(page.Events, s.feed[at].Event)
	}
	page.Next = "c" + strconv.Itoa(at)
	return typFeed, page, nil
}
