package coresim

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// PlanStep is one event to come. In JSON it may be just the type's name.
type PlanStep struct {
	Type   string `json:"type"`
	Reason string `json:"reason,omitempty"` // cnsd_rejected, production_defect, attempt_failed, returned
	// Remake of a production_defect; absent means true.
	Remake *bool `json:"remake,omitempty"`
	// After is how long after the event before it, a Go duration; absent means
	// Options.Step.
	After string `json:"after,omitempty"`
}

// UnmarshalJSON takes the name of an event type or the whole object.
func (p *PlanStep) UnmarshalJSON(text []byte) error {
	var name string
	if json.Unmarshal(text, &name) == nil {
		*p = PlanStep{Type: name}
		return nil
	}
	type plain PlanStep
	return json.Unmarshal(text, (*plain)(p))
}

// Plan says what happens to orders instead of the default. Exactly one of the
// three selectors is set; where several plans fit, the order key is stronger
// than the request id, that is stronger than the fiscal code, and the newest is
// stronger than the older.
type Plan struct {
	OrderKey   string     `json:"order_key,omitempty"`
	RequestID  string     `json:"request_id,omitempty"`
	FiscalCode string     `json:"fiscal_code,omitempty"`
	Steps      []PlanStep `json:"steps"`
	// Uses is how many orders the plan serves; 0 means all. So a request can be
	// rejected once and go through the second time.
	Uses int `json:"uses,omitempty"`
	// Misbehave lifts the rule of which event may follow which, to see whether
	// the gateway notices: the core itself never does such a thing.
	Misbehave bool `json:"misbehave,omitempty"`

	used int
}

// follows is the order of events: which state an event needs.
var follows = map[string][]string{
	"cnsd_certified":    {stateAccepted},
	"cnsd_rejected":     {stateAccepted},
	"in_production":     {stateCertified, stateDefect},
	"production_defect": {stateInProduction},
	"shipped":           {stateInProduction, stateReturned},
	"out_for_delivery":  {stateShipped, stateHeld, stateOut},
	"attempt_failed":    {stateShipped, stateOut},
	"held_at_post":      {stateShipped, stateOut},
	"at_office":         {stateShipped, stateOut, stateReturned, stateHeld},
	"returned":          {stateShipped, stateOut, stateHeld, stateAtOffice},
	"lost":              {stateShipped, stateOut, stateHeld, stateReturned},
	"delivered":         {stateShipped, stateOut, stateHeld, stateAtOffice, stateReturned},
}

// after is the state an event leads to.
func after(event string) string {
	switch event {
	case "cnsd_certified":
		return stateCertified
	case "cnsd_rejected":
		return stateRejected
	case "attempt_failed":
		return stateOut
	}
	return event
}

func allowed(event, from string) bool {
	for _, f := range follows[event] {
		if f == from {
			return true
		}
	}
	return false
}

func (p *Plan) validate() error {
	selectors := 0
	for _, v := range []string{p.OrderKey, p.RequestID, p.FiscalCode} {
		if v != "" {
			selectors++
		}
	}
	if selectors != 1 {
		return errors.New("a plan names one of order_key, request_id, fiscal_code")
	}
	if len(p.Steps) == 0 || len(p.Steps) > 100 || p.Uses < 0 {
		return errors.New("a plan has 1 to 100 steps and no negative uses")
	}
	from := stateAccepted
	for i, step := range p.Steps {
		if follows[step.Type] == nil {
			return fmt.Errorf("step %d: unknown event type %q", i+1, step.Type)
		}
		if step.Reason != "" && !codePattern.MatchString(step.Reason) {
			return fmt.Errorf("step %d: reason %q is not a code", i+1, step.Reason)
		}
		if step.After != "" {
			d, err := time.ParseDuration(step.After)
			if err != nil || d < 0 {
				return fmt.Errorf("step %d: after %q is not a duration", i+1, step.After)
			}
		}
		if !p.Misbehave && !allowed(step.Type, from) {
			return fmt.Errorf("step %d: %s cannot follow %s", i+1, step.Type, from)
		}
		from = after(step.Type)
	}
	return nil
}

// SetPlan makes a plan known; orders accepted already with nothing happened yet
// follow it too. On the ledger on return.
func (s *Sim) SetPlan(p Plan) error {
	err := p.validate()
	if err != nil {
		return err
	}
	p.used = 0
	s.mu.Lock()
	err = s.write(record{Plan: &p})
	s.applyPlan(&p)
	for _, o := range s.byAge {
		if err == nil && o.state == stateAccepted && len(o.events) == 0 && p.fits(o) {
			err = s.planFor(o)
			s.schedule(o)
		}
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.journal.Flush()
}

func (s *Sim) applyPlan(p *Plan) { s.plans = append(s.plans, p) }

func (p *Plan) fits(o *order) bool {
	return (p.Uses == 0 || p.used < p.Uses) &&
		(p.OrderKey == o.key || p.RequestID == o.requestID || p.FiscalCode == o.prepare.Applicant.FiscalCode)
}

func (p *Plan) strength() int {
	switch {
	case p.OrderKey != "":
		return 3
	case p.RequestID != "":
		return 2
	}
	return 1
}

// planFor gives an accepted order its future.
func (s *Sim) planFor(o *order) error {
	var best *Plan
	number := 0
	for i, p := range s.plans {
		if p.fits(o) && (best == nil || p.strength() >= best.strength()) {
			best, number = p, i+1
		}
	}
	if best == nil {
		o.plan, o.planned = defaultPlan(o.delivery.Kind, stateAccepted), false
	} else {
		best.used++
		o.plan, o.planned = append([]PlanStep(nil), best.Steps...), true
	}
	return s.write(record{Replan: &replanRecord{Key: o.key, Steps: o.plan, Plan: number}})
}

// defaultPlan is what is still to come from a state, when nothing goes wrong.
// A parcel for an office ends at the office: the hand-over is the office's to
// record.
func defaultPlan(kind, from string) []PlanStep {
	steps := []string{"cnsd_certified", "in_production", "shipped", "out_for_delivery", "delivered"}
	if kind == "COMUNE_PICKUP" || kind == "CONSULATE" {
		steps = []string{"cnsd_certified", "in_production", "shipped", "at_office"}
	}
	var plan []PlanStep
	for _, step := range steps {
		if len(plan) > 0 || allowed(step, from) {
			plan = append(plan, PlanStep{Type: step})
		}
	}
	return plan
}

// schedule arms the timer of an order's next event; the caller holds mu.
func (s *Sim) schedule(o *order) {
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
	if s.closed || len(o.plan) == 0 || (s.opts.Step <= 0 && o.plan[0].After == "") {
		return
	}
	d := s.opts.Step
	if o.plan[0].After != "" {
		d, _ = time.ParseDuration(o.plan[0].After) // checked when the plan came
	}
	o.timer = s.clock.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed {
			return
		}
		_, err := s.next(o)
		if err != nil {
			s.log.Error("core: an event could not be kept", "order", o.key, "error", err)
			return
		}
		s.schedule(o)
	})
}

// AdvanceRequest says which orders move on and how far.
type AdvanceRequest struct {
	OrderKey  string `json:"order_key,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	All       bool   `json:"all,omitempty"`
	Steps     int    `json:"steps,omitempty"` // 0 means one
	Until     string `json:"until,omitempty"` // instead of Steps: up to the first event of this type, or the end of the plan
}

// Advance makes the next events of orders happen now. It returns them, after
// they are on the ledger.
func (s *Sim) Advance(r AdvanceRequest) ([]Event, error) {
	selectors := 0
	for _, set := range []bool{r.OrderKey != "", r.RequestID != "", r.All} {
		if set {
			selectors++
		}
	}
	if selectors != 1 || r.Steps < 0 || (r.Until != "" && (r.Steps != 0 || follows[r.Until] == nil)) {
		return nil, errors.New("advance: one of order_key, request_id, all; steps or until an event type")
	}
	steps := max(r.Steps, 1)
	if r.Until != "" {
		steps = 1000
	}
	s.mu.Lock()
	done := []Event{}
	var err error
	for _, o := range s.byAge {
		if !r.All && o.key != r.OrderKey && o.requestID != r.RequestID {
			continue
		}
		for range steps {
			var e *heldEvent
			e, err = s.next(o)
			if e != nil {
				done = append(done, e.Event)
			}
			if err != nil || e == nil || e.Type == r.Until {
				break
			}
		}
		s.schedule(o)
		if err != nil {
			break
		}
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return done, s.journal.Flush()
}

// next makes the next event of an order happen; nil when there is none. The
// caller holds mu.
func (s *Sim) next(o *order) (*heldEvent, error) {
	if len(o.plan) == 0 {
		return nil, nil
	}
	step, rest := o.plan[0], o.plan[1:]
	if step.Type == "cnsd_certified" && !o.planned {
		reason, fires := s.faults.Take(FaultCNSDReject, "cnsd", o.key)
		if fires {
			if reason == "" {
				reason = "data_mismatch"
			}
			step, rest = PlanStep{Type: "cnsd_rejected", Reason: reason}, nil
		}
	}
	if step.Type == "shipped" && o.state == stateInProduction && !o.planned {
		reason, fires := s.faults.Take(FaultDefect, "production", o.key)
		if fires {
			if reason == "" {
				reason = "chip_failure"
			}
			rest = append([]PlanStep{{Type: "in_production"}}, o.plan...)
			step = PlanStep{Type: "production_defect", Reason: reason}
		}
	}
	return s.happen(o, step, append([]PlanStep(nil), rest...))
}

// happen makes one event of an order; the caller holds mu.
func (s *Sim) happen(o *order, step PlanStep, rest []PlanStep) (*heldEvent, error) {
	now := s.now()
	seq := int64(len(o.events) + 1)
	r := &eventRecord{Plan: rest, Event: Event{
		EventID: fmt.Sprintf("%s.%d", o.key, seq), OrderKey: o.key, NUN: o.nun, Generation: o.generation, Seq: seq,
		Type: step.Type, At: now,
	}}
	d := &r.Details
	switch step.Type {
	case "cnsd_rejected":
		d.Reason = or(step.Reason, "data_mismatch")
		r.Plan = nil
	case "in_production":
		if o.remake != "" {
			d.ReplacesNUN = o.remake
			r.NUN = s.nextNUN()
		}
	case "production_defect":
		remake := step.Remake == nil || *step.Remake
		d.Reason, d.Remake = or(step.Reason, "chip_failure"), &remake
		if !remake {
			r.Plan = nil
		}
	case "shipped":
		d.Carrier = "Poste Italiane"
		if o.delivery.Kind == "FOREIGN_RESIDENCE" {
			d.Carrier = "Poste Italiane, registered international"
		}
		if o.delivery.Kind == "CONSULATE" {
			d.Carrier = "Diplomatic bag"
		}
		d.Tracking = fmt.Sprintf("RR%s%02dIT", o.nun[2:7], o.shipments%100)
	case "held_at_post":
		d.Until = now.AddDate(0, 0, 30).Format(time.DateOnly)
	case "at_office":
		d.Office = o.delivery.Office
		if d.Office == nil {
			d.Office = o.returnOffice()
		}
	case "attempt_failed":
		d.Reason = or(step.Reason, "nobody_home")
	case "returned":
		d.Reason = or(step.Reason, "unclaimed")
	}
	var until time.Time
	param, hold := s.faults.Take(FaultHoldEvents, "event", o.key)
	if hold {
		wait, err := time.ParseDuration(param)
		if err != nil {
			wait = time.Minute
		}
		until = now.Add(wait)
	}
	// Nothing of an order is seen before what came earlier.
	for _, h := range s.held {
		if h.order == o && !h.until.Before(until) {
			until = h.until
			hold = true
		}
	}
	r.Held = hold
	err := s.write(record{Event: r})
	if err != nil {
		return nil, err
	}
	spoilt := o.nun
	e := s.applyEvent(o, r, until)
	err = s.tellRegistry(o, e, spoilt)
	if err != nil {
		return nil, err
	}
	if hold {
		s.releaseLater(e)
	} else {
		s.push.add(e)
	}
	return e, nil
}

// returnOffice is where a parcel goes that had a street address: the competent
// post of an AIRE citizen, else the office that took the request.
func (o *order) returnOffice() *office {
	if o.prepare.Applicant.AIRE != nil && o.delivery.Kind == "FOREIGN_RESIDENCE" {
		return &office{Kind: "post", Code: o.prepare.Applicant.AIRE.PostCode}
	}
	back := o.prepare.Office
	return &back
}

// releaseLater arms the timer that lets a held event be seen; the caller holds
// mu.
func (s *Sim) releaseLater(e *heldEvent) {
	e.timer = s.clock.AfterFunc(e.until.Sub(s.now()), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		err := s.release(e.order.key, e.Seq)
		if err != nil {
			s.log.Error("core: a held event could not be released", "event", e.EventID, "error", err)
		}
	})
}

// release lets the held events of an order up to seq be seen, in order; the
// caller holds mu.
func (s *Sim) release(key string, seq int64) error {
	if s.closed {
		return nil
	}
	for _, e := range append([]*heldEvent(nil), s.held...) {
		if e.order.key != key || e.Seq > seq {
			continue
		}
		err := s.write(record{Publish: e.EventID})
		if err != nil {
			return err
		}
		if e.timer != nil {
			e.timer.Stop()
		}
		s.applyPublish(e.EventID)
		s.push.add(e)
	}
	return nil
}

// ReleaseHeld ends all holds; the events are seen when it returns.
func (s *Sim) ReleaseHeld() error {
	s.mu.Lock()
	var err error
	for _, o := range s.byAge {
		err = errors.Join(err, s.release(o.key, int64(len(o.events))))
	}
	s.mu.Unlock()
	return errors.Join(err, s.journal.Flush())
}

func (s *Sim) now() time.Time { return s.clock.Now().UTC().Truncate(time.Millisecond) }

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
