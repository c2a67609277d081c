package coresim

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"airegw/testharness/sim"
)

// States of an order.
const (
	statePrepared     = "prepared"
	stateConfirmed    = "forms_confirmed"
	stateAccepted     = "accepted"
	stateCertified    = "certified"
	stateRejected     = "rejected"
	stateInProduction = "in_production"
	stateDefect       = "production_defect"
	stateShipped      = "shipped"
	stateOut          = "out_for_delivery"
	stateHeld         = "held_at_post"
	stateAtOffice     = "at_office"
	stateReturned     = "returned"
	stateLost         = "lost"
	stateDelivered    = "delivered"
	stateCancelled    = "cancelled"
)

type state struct {
	numbers  uint64 // how many numbers were ever given
	offset   uint64 // where the numbers begin
	gateways map[string]*gateway
	orders   map[string]*order
	byAge    []*order
	accepted int
	feed     []*heldEvent
	held     []*heldEvent
	plans    []*Plan
	notices  []*Notice
	lastOp   uint64
	refused  map[string]int64 // verdicts given, by code
}

func newState() state {
	return state{gateways: map[string]*gateway{}, orders: map[string]*order{}, refused: map[string]int64{}}
}

type gateway struct {
	Gateway
	keys map[string]*ecdsa.PublicKey
}

type order struct {
	client      string
	key         string
	requestID   string
	generation  int
	nun         string
	state       string
	prepare     prepareBody
	prepareText []byte
	digest      string
	preparedAt  time.Time
	confirmedAt *time.Time
	receipt     *Receipt
	acceptances int
	attempts    int // submissions that came, this run
	conflicts   int // submissions with another body after acceptance, this run
	delivery    delivery
	events      []*heldEvent
	changes     map[string]change
	changeList  []Outcome
	plan        []PlanStep // what is still to happen
	planned     bool       // by Plan, not by default
	ended       bool       // a defect without remake
	remake      string     // the spoilt number a remake replaces
	shipments   int
	timer       sim.Timer
}

type change struct {
	digest  string
	outcome Outcome
}

// heldEvent is an event and when it may be seen; zero means at once.
type heldEvent struct {
	Event
	order *order
	until time.Time
	timer sim.Timer
}

// live: a card of this order is or will be in the world.
func (o *order) live() bool {
	return o.receipt != nil && !o.ended && o.state != stateRejected && o.state != stateCancelled && o.state != stateLost
}

// record is a line of the ledger. One of the members is there.
type record struct {
	Born    *bornRecord    `json:"born,omitempty"`
	Gateway *Gateway       `json:"gateway,omitempty"`
	Prepare *prepareRecord `json:"prepare,omitempty"`
	Confirm *confirmRecord `json:"confirm,omitempty"`
	Accept  *Receipt       `json:"accept,omitempty"`
	Change  *changeRecord  `json:"change,omitempty"`
	Event   *eventRecord   `json:"event,omitempty"`
	Publish string         `json:"publish,omitempty"` // an event that was held is seen now
	Plan    *Plan          `json:"plan,omitempty"`
	Replan  *replanRecord  `json:"replan,omitempty"`
	Notice  *Notice        `json:"notice,omitempty"`
	Told    *toldRecord    `json:"told,omitempty"`
}

type bornRecord struct {
	Offset uint64 `json:"offset"`
}

type prepareRecord struct {
	Client string          `json:"client"`
	Key    string          `json:"key"`
	NUN    string          `json:"nun"`
	Digest string          `json:"digest"`
	At     time.Time       `json:"at"`
	Body   json.RawMessage `json:"body"`
}

type confirmRecord struct {
	Key string    `json:"key"`
	At  time.Time `json:"at"`
}

type changeRecord struct {
	Outcome
	Digest   string    `json:"digest"`
	Delivery *delivery `json:"delivery,omitempty"`
}

type eventRecord struct {
	Event
	Held bool       `json:"held,omitempty"`
	Plan []PlanStep `json:"plan"` // what is left after it
}

type replanRecord struct {
	Key   string     `json:"key"`
	Steps []PlanStep `json:"steps"`
	Plan  int        `json:"plan,omitempty"` // which plan, from 1; 0 is the default
}

func (s *Sim) openLedger() error {
	if s.opts.Dir != "" {
		journal, err := sim.OpenJournal(filepath.Join(s.opts.Dir, "ledger.jsonl"), s.replay)
		if err != nil {
			return fmt.Errorf("open the core's ledger: %w", err)
		}
		s.journal = journal
	}
	if s.offset == 0 {
		s.offset = 1 + s.rand.Sub("numbers").Uint64()%(capacity-1)
		err := s.write(record{Born: &bornRecord{Offset: s.offset}})
		if err != nil {
			return err
		}
	}
	// A kill may fall between accepting an order and planning it.
	for _, o := range s.byAge {
		if o.state == stateAccepted && len(o.events) == 0 && len(o.plan) == 0 {
			err := s.planFor(o)
			if err != nil {
				return err
			}
		}
	}
	return s.journal.Flush()
}

// write puts a record on the ledger; the caller holds mu and flushes after.
func (s *Sim) write(r record) error { return s.journal.Append(r) }

func (s *Sim) replay(line []byte) error {
	var r record
	err := json.Unmarshal(line, &r)
	if err != nil {
		return fmt.Errorf("read a ledger line: %w", err)
	}
	need := func(key string) (*order, error) {
		o := s.orders[key]
		if o == nil {
			return nil, fmt.Errorf("the ledger speaks of order %s before it was prepared", key)
		}
		return o, nil
	}
	var o *order
	switch {
	case r.Born != nil:
		s.offset = r.Born.Offset
	case r.Gateway != nil:
		return s.applyGateway(*r.Gateway)
	case r.Prepare != nil:
		s.numbers++
		return s.applyPrepare(r.Prepare)
	case r.Confirm != nil:
		o, err = need(r.Confirm.Key)
		if err == nil {
			o.applyConfirm(r.Confirm)
		}
	case r.Accept != nil:
		o, err = need(r.Accept.OrderKey)
		if err == nil {
			s.applyAccept(o, r.Accept)
		}
	case r.Change != nil:
		o, err = need(r.Change.OrderKey)
		if err == nil {
			o.applyChange(r.Change)
		}
	case r.Event != nil:
		o, err = need(r.Event.OrderKey)
		if err == nil {
			if r.Event.Details.ReplacesNUN != "" {
				s.numbers++
			}
			s.applyEvent(o, r.Event, time.Time{})
		}
	case r.Publish != "":
		s.applyPublish(r.Publish)
	case r.Plan != nil:
		s.applyPlan(r.Plan)
	case r.Replan != nil:
		o, err = need(r.Replan.Key)
		if err == nil {
			o.plan, o.planned = r.Replan.Steps, r.Replan.Plan > 0
			if r.Replan.Plan > 0 {
				s.plans[r.Replan.Plan-1].used++
			}
		}
	case r.Notice != nil:
		s.applyNotice(r.Notice)
	case r.Told != nil:
		s.applyTold(r.Told)
	default:
		err = errors.New("a ledger line of an unknown kind")
	}
	return err
}

// RegisterGateway makes a client known, or replaces what is known of it. It is
// on the ledger on return.
func (s *Sim) RegisterGateway(g Gateway) error {
	s.mu.Lock()
	err := s.applyGateway(g)
	if err == nil {
		err = s.write(record{Gateway: &g})
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.journal.Flush()
}

func (s *Sim) applyGateway(g Gateway) error {
	if g.ID == "" || len(g.ID) > 64 {
		return errors.New("register a gateway: its id is missing or longer than 64 characters")
	}
	keys, err := readJWKS(g.JWKS)
	if err != nil {
		return fmt.Errorf("register gateway %s: %w", g.ID, err)
	}
	if g.PushURL != "" {
		u, err := url.Parse(g.PushURL)
		if err != nil || u.Scheme != "https" || !loopback(u.Hostname()) {
			return fmt.Errorf("register gateway %s: the push URL is https on loopback", g.ID)
		}
	}
	s.gateways[g.ID] = &gateway{Gateway: g, keys: keys}
	if s.push != nil {
		s.push.forget(g.ID)
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}

// Numbers run through all of C, letter, five digits, two letters (but the last
// hundred thousand, CZ#####ZZ, that sim.People already hold), from an offset
// drawn once and in strides that share no factor with their count: all differ
// until the last one is used.
const (
	capacity = (26*26*26 - 1) * 100000 // without CZ#####ZZ
	stride   = 1000003
)

func (s *Sim) nextNUN() string {
	n := s.numbers
	s.numbers++
	return nun(s.offset, n)
}

// nun is the n-th number from an offset.
func nun(offset, n uint64) string {
	place := (offset + n%capacity*stride) % capacity
	letters := place / 100000
	return fmt.Sprintf("C%c%05d%c%c", 'A'+letters%26, place%100000, 'A'+letters/26%26, 'A'+letters/676)
}

// half derives a first half; it is never stored anywhere.
func (s *Sim) half(kind, key string) string {
	mac := hmac.New(sha256.New, s.halves)
	mac.Write([]byte(kind + "|" + key))
	return fmt.Sprintf("%04d", binary.BigEndian.Uint64(mac.Sum(nil))%10000)
}

func (s *Sim) applyPrepare(r *prepareRecord) error {
	parts := keyPattern.FindStringSubmatch(r.Key)
	if parts == nil {
		return fmt.Errorf("order key %q", r.Key)
	}
	generation, err := strconv.Atoi(parts[2])
	if err != nil {
		return fmt.Errorf("order key %q: %w", r.Key, err)
	}
	o := &order{
		client: r.Client, key: r.Key, requestID: parts[1], generation: generation, nun: r.NUN, state: statePrepared,
		prepareText: r.Body, digest: r.Digest, preparedAt: r.At, changes: map[string]change{}, changeList: []Outcome{},
	}
	err = json.Unmarshal(r.Body, &o.prepare)
	if err != nil {
		return fmt.Errorf("order %s: %w", r.Key, err)
	}
	o.delivery = o.prepare.Delivery
	s.orders[r.Key] = o
	s.byAge = append(s.byAge, o)
	return nil
}

func (o *order) applyConfirm(r *confirmRecord) {
	o.confirmedAt = &r.At
	o.state = stateConfirmed
}

func (s *Sim) applyAccept(o *order, r *Receipt) {
	o.receipt = r
	o.acceptances++
	o.state = stateAccepted
	s.accepted++
}

func (o *order) applyChange(r *changeRecord) {
	o.changes[r.ChangeKey] = change{digest: r.Digest, outcome: r.Outcome}
	o.changeList = append(o.changeList, r.Outcome)
	if r.Outcome.Outcome != "accepted" {
		return
	}
	if r.Change == "cancellation" {
		// A rejected order stays rejected: there was nothing left to cancel.
		if o.state != stateRejected && !o.ended {
			o.state = stateCancelled
		}
		o.plan = nil
		return
	}
	o.delivery = *r.Delivery
}

// applyEvent adds an event to its order and, unless it is held, to the feed.
func (s *Sim) applyEvent(o *order, r *eventRecord, until time.Time) *heldEvent {
	e := &heldEvent{Event: r.Event, order: o, until: until}
	o.events = append(o.events, e)
	o.plan = r.Plan
	o.nun = r.NUN
	switch r.Type {
	case "cnsd_certified":
		o.state = stateCertified
	case "cnsd_rejected":
		o.state = stateRejected
	case "production_defect":
		o.state = stateDefect
		o.remake = ""
		if r.Details.Remake != nil && *r.Details.Remake {
			o.remake = r.NUN
		} else {
			o.ended = true
		}
	case "in_production":
		o.state = stateInProduction
		o.remake = ""
	case "shipped":
		o.state = stateShipped
		o.shipments++
	default:
		o.state = after(r.Type)
	}
	if r.Held {
		s.held = append(s.held, e)
	} else {
		s.feed = append(s.feed, e)
	}
	return e
}

func (s *Sim) applyPublish(id string) *heldEvent {
	for i, e := range s.held {
		if e.EventID == id {
			s.held = append(s.held[:i], s.held[i+1:]...)
			s.feed = append(s.feed, e)
			return e
		}
	}
	return nil
}

// OrderLine is one order in the ledger.
type OrderLine struct {
	OrderKey    string     `json:"order_key"`
	RequestID   string     `json:"request_id"`
	Generation  int        `json:"generation"`
	Client      string     `json:"client"`
	Resident    bool       `json:"resident"`
	NUN         string     `json:"nun"`
	State       string     `json:"state"`
	Live        bool       `json:"live"`
	Acceptances int        `json:"acceptances"`
	Attempts    int        `json:"attempts"`  // submissions that came, since the start of this process
	Conflicts   int        `json:"conflicts"` // of these, with another body after acceptance
	PreparedAt  time.Time  `json:"prepared_at"`
	ConfirmedAt *time.Time `json:"forms_confirmed_at,omitempty"`
	ReceiptID   string     `json:"receipt_id,omitempty"`
	LastSeq     int64      `json:"last_seq"`
	Delivery    string     `json:"delivery"`
	Next        []PlanStep `json:"next,omitempty"`
}

// Ledger is what the core can testify. It never holds a PIN/PUK half.
type Ledger struct {
	Orders      []OrderLine         `json:"orders"`      // oldest first
	Acceptances map[string]int      `json:"acceptances"` // by order key; 1 for each accepted order, ever
	Live        map[string][]string `json:"live"`        // by request id: keys of orders that made or will make a card
	Pushes      PushCounts          `json:"pushes"`
	Registry    []Notice            `json:"registry"`
	Refusals    map[string]int64    `json:"refusals"`   // verdicts given since the start of this process, by code
	Violations  []string            `json:"violations"` // what must never be: empty when all is well
}

// Ledger takes stock.
func (s *Sim) Ledger() Ledger {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := Ledger{
		Orders: []OrderLine{}, Acceptances: map[string]int{}, Live: map[string][]string{}, Pushes: s.push.counts(),
		Registry: []Notice{}, Refusals: map[string]int64{}, Violations: []string{},
	}
	numbers := map[string]string{}
	for _, o := range s.byAge {
		l.Orders = append(l.Orders, o.line())
		if o.acceptances > 0 {
			l.Acceptances[o.key] = o.acceptances
		}
		if o.acceptances > 1 {
			l.Violations = append(l.Violations, fmt.Sprintf("order %s accepted %d times", o.key, o.acceptances))
		}
		if o.live() {
			l.Live[o.requestID] = append(l.Live[o.requestID], o.key)
		}
		if other, twice := numbers[o.nun]; twice {
			l.Violations = append(l.Violations, fmt.Sprintf("orders %s and %s share a number", other, o.key))
		}
		numbers[o.nun] = o.key
	}
	for request, keys := range l.Live {
		if len(keys) > 1 {
			l.Violations = append(l.Violations, fmt.Sprintf("request %s has %d live orders: %s", request, len(keys), strings.Join(keys, ", ")))
		}
	}
	sort.Strings(l.Violations)
	for _, n := range s.notices {
		l.Registry = append(l.Registry, *n)
	}
	for code, n := range s.refused {
		l.Refusals[code] = n
	}
	return l
}

func (o *order) line() OrderLine {
	l := OrderLine{
		OrderKey: o.key, RequestID: o.requestID, Generation: o.generation, Client: o.client, Resident: o.prepare.Resident,
		NUN: o.nun, State: o.state, Live: o.live(), Acceptances: o.acceptances, Attempts: o.attempts, Conflicts: o.conflicts,
		PreparedAt: o.preparedAt, ConfirmedAt: o.confirmedAt, LastSeq: int64(len(o.events)), Delivery: o.delivery.Kind,
		Next: append([]PlanStep(nil), o.plan...),
	}
	if o.receipt != nil {
		l.ReceiptID = o.receipt.ReceiptID
	}
	return l
}
