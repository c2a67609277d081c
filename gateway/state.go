package gateway

import "fmt"

// State is where a request stands. The set is closed: an unknown state is an
// error, never a default. Waiting and parked are marks on a request, not states.
type State string

// The states of specs A.11 as amended by DESIGN §3. Draft, booked and no_show
// belong to the form and to the agenda, which keep them; a request exists from
// its acknowledgement on.
const (
	StateSubmitted        State = "submitted"         // acknowledged, waits for the register
	StatePrechecked       State = "prechecked"        // the register's answer allows the request
	StateMisaligned       State = "misaligned"        // a correction is due before it can go on
	StateInEnquiry        State = "in_enquiry"        // the counter has opened the dossier
	StateSuspended        State = "suspended"         // the counter waits for the citizen
	StateFormsReady       State = "forms_ready"       // NUN given, forms to be checked and signed
	StateSigned           State = "signed"            // the citizen signed, the relay has the order
	StateRelayed          State = "relayed"           // the core accepted the order
	StateRejectedCNSD     State = "rejected_cnsd"     // certification refused
	StateCertified        State = "certified"         // certified by CNSD
	StateInProduction     State = "in_production"     // at IPZS
	StateProductionDefect State = "production_defect" // IPZS found a defect
	StateShipped          State = "shipped"           // parcel handed over to the carrier
	StateOutForDelivery   State = "out_for_delivery"  // with the postman
	StateOnHoldPost       State = "on_hold_post"      // stored at the postal office
	StateAtComune         State = "at_comune"         // waits for pick-up at the comune
	StateAtConsulate      State = "at_consulate"      // waits for pick-up at the post
	StateReturned         State = "returned"          // came back undelivered
	StateReshipped        State = "reshipped"         // sent again
	StateUnclaimed        State = "unclaimed"         // one year without pick-up
	StateDelivered        State = "delivered"         // in the citizen's hand
	StateRefused          State = "refused"           // refused with a reason and what to do
	StateCancelled        State = "cancelled"         // withdrawn, or cancelled by the core's leave
	StateAbandoned        State = "abandoned"         // the citizen did not come back
	StateDestroyed        State = "destroyed"         // unclaimed card destroyed, with a record
)

// transitions is the whole life of a request as data. The core may grant a
// cancellation until production begins, hence certified → cancelled beside
// relayed → cancelled. An order that was opened and never prepared is voided
// inside the enquiry. The migrations repeat
// its states as a CHECK constraint and a test compares the two.
//
//	submitted ──► prechecked ──► in_enquiry ──► forms_ready ──► signed ──► relayed ──► certified ──► in_production ──► shipped
//	   │  ▲           │  ▲          │  ▲            │  (void)      │           │            (or rejected_cnsd)  │  ▲          │
//	   ▼  │           ▼  │          ▼  │            ▼              ▼           ▼                                 ▼  │          ├─► out_for_delivery ─► delivered
//	 misaligned ◄─────┴──┘      suspended      in_enquiry     in_enquiry   cancelled                 production_defect        ├─► on_hold_post ─► delivered | returned | out_for_delivery
//	                                                                                                                          ├─► at_comune | at_consulate ─► delivered | reshipped | returned | unclaimed ─► destroyed
//	 refused, cancelled, abandoned: final                                                                                     ├─► returned ─► reshipped | at_comune | at_consulate | unclaimed | destroyed
//	                                                                                                                          └─► cancelled (lost by the carrier)
var transitions = map[State][]State{
	StateSubmitted:        {StatePrechecked, StateMisaligned, StateRefused, StateCancelled, StateAbandoned},
	StatePrechecked:       {StateInEnquiry, StateMisaligned, StateRefused, StateCancelled, StateAbandoned},
	StateMisaligned:       {StatePrechecked, StateRefused, StateCancelled, StateAbandoned},
	StateInEnquiry:        {StateInEnquiry, StateFormsReady, StateRefused, StateSuspended, StateMisaligned, StateCancelled},
	StateSuspended:        {StateInEnquiry, StateRefused, StateCancelled, StateAbandoned},
	StateFormsReady:       {StateSigned, StateInEnquiry, StateMisaligned, StateCancelled},
	StateSigned:           {StateRelayed, StateInEnquiry, StateMisaligned, StateRefused, StateCancelled},
	StateRelayed:          {StateCertified, StateRejectedCNSD, StateCancelled},
	StateRejectedCNSD:     {StateInEnquiry, StateRefused},
	StateCertified:        {StateInProduction, StateCancelled},
	StateInProduction:     {StateShipped, StateProductionDefect},
	StateProductionDefect: {StateInProduction, StateInEnquiry},
	StateShipped:          {StateOutForDelivery, StateOnHoldPost, StateAtComune, StateAtConsulate, StateReturned, StateDelivered, StateCancelled},
	StateOutForDelivery:   {StateOutForDelivery, StateDelivered, StateOnHoldPost, StateAtComune, StateAtConsulate, StateReturned, StateCancelled},
	StateOnHoldPost:       {StateDelivered, StateReturned, StateOutForDelivery, StateAtComune, StateAtConsulate, StateCancelled},
	StateAtComune:         {StateDelivered, StateUnclaimed, StateReturned, StateReshipped, StateDestroyed},
	StateAtConsulate:      {StateDelivered, StateUnclaimed, StateReturned, StateReshipped, StateDestroyed},
	StateReturned:         {StateReshipped, StateAtComune, StateAtConsulate, StateUnclaimed, StateDestroyed, StateCancelled},
	StateReshipped:        {StateOutForDelivery, StateOnHoldPost, StateAtComune, StateAtConsulate, StateReturned, StateDelivered, StateCancelled},
	StateUnclaimed:        {StateDestroyed, StateDelivered},
	StateDelivered:        {},
	StateRefused:          {},
	StateCancelled:        {},
	StateAbandoned:        {},
	StateDestroyed:        {},
}

// States answers every state, in the order of the life of a request.
func States() []State {
	return []State{
		StateSubmitted, StatePrechecked, StateMisaligned, StateInEnquiry, StateSuspended, StateFormsReady,
		StateSigned, StateRelayed, StateRejectedCNSD, StateCertified, StateInProduction, StateProductionDefect,
		StateShipped, StateOutForDelivery, StateOnHoldPost, StateAtComune, StateAtConsulate, StateReturned,
		StateReshipped, StateUnclaimed, StateDelivered, StateRefused, StateCancelled, StateAbandoned, StateDestroyed,
	}
}

// Next answers the states that may follow s; nil and false for an unknown state.
func (s State) Next() ([]State, bool) {
	next, ok := transitions[s]
	return next, ok
}

// Final says that nothing can follow.
func (s State) Final() bool {
	next, ok := transitions[s]
	return ok && len(next) == 0
}

// OpenStates answers the states in which a request counts as open: one person
// has at most one of them, across channels and offices. A card that came back
// or waits for pick-up is still an open request.
func OpenStates() []State {
	var open []State
	for _, s := range States() {
		if !s.Final() && s != StateUnclaimed {
			open = append(open, s)
		}
	}
	return open
}

// step checks one transition. from is "" for a request that is being born.
func step(from, to State) error {
	if from == "" {
		if to == StateSubmitted {
			return nil
		}
		return fmt.Errorf("a request is born as %q, not %q", StateSubmitted, to)
	}
	next, ok := transitions[from]
	if !ok {
		return fmt.Errorf("unknown state %q", from)
	}
	if _, ok := transitions[to]; !ok {
		return fmt.Errorf("unknown state %q", to)
	}
	for _, s := range next {
		if s == to {
			return nil
		}
	}
	return fmt.Errorf("no way from %q to %q", from, to)
}
