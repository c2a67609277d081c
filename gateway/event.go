package gateway

import (
	"encoding/json"
	"fmt"
	"time"
)

// EventType names what happened. Events are the truth of a request: its state
// and every view are derived from them, in order.
type EventType string

// The events. Those with a target state are listed in eventTarget; the others
// are facts that leave the state alone.
const (
	EventSubmitted       EventType = "submitted"
	EventChecked         EventType = "checked"           // the register answered
	EventMisaligned      EventType = "misaligned"        // its answer needs a correction first
	EventAligned         EventType = "aligned"           // its answer allows the request
	EventDecided         EventType = "decided"           // the rules answered
	EventRouted          EventType = "routed"            // an office is responsible
	EventRefused         EventType = "refused"           // final, with reason and what to do
	EventCancelled       EventType = "cancelled"         // withdrawn
	EventAbandoned       EventType = "abandoned"         // the citizen did not come back
	EventPresence        EventType = "presence"          // the person stands at the counter (A72)
	EventDocuments       EventType = "documents"         // identity documents and evidence seen
	EventDeclaration     EventType = "declaration"       // expatriation declaration, letters b–g (A73)
	EventAssent          EventType = "assent"            // a parent's assent, or its refusal or withdrawal
	EventCapture         EventType = "capture"           // references to photo, prints, signature
	EventFee             EventType = "fee"               // fee taken, or the exemption
	EventDeliveryChosen  EventType = "delivery_chosen"   // before signature
	EventEnquiryOpened   EventType = "enquiry_opened"    // the counter opened the dossier
	EventSuspended       EventType = "suspended"         // the counter waits for something
	EventResumed         EventType = "resumed"           // and goes on
	EventOrderOpened     EventType = "order_opened"      // intent to ask the core for a NUN, stored before asking
	EventPrepared        EventType = "prepared"          // the core gave the NUN
	EventPrinted         EventType = "printed"           // summary forms printed, each time
	EventFormsConfirmed  EventType = "forms_confirmed"   // forms read and good; the first half is wiped
	EventOrderVoided     EventType = "order_voided"      // the order is dead at the core; back to the enquiry
	EventSigned          EventType = "signed"            // the citizen signed the forms
	EventRelayed         EventType = "relayed"           // the core's receipt is here
	EventCertified       EventType = "certified"         // from here to at_office: the core's words
	EventRejected        EventType = "rejected_cnsd"     // certification refused
	EventReopened        EventType = "reopened"          // a dead order's request is back at the counter
	EventInProduction    EventType = "in_production"     //
	EventDefect          EventType = "production_defect" //
	EventShipped         EventType = "shipped"           //
	EventReshipped       EventType = "reshipped"         // shipped again after a return
	EventOutForDelivery  EventType = "out_for_delivery"  //
	EventAttemptFailed   EventType = "attempt_failed"    // nobody took it; the parcel stays on its way
	EventHeldAtPost      EventType = "held_at_post"      //
	EventAtComune        EventType = "at_comune"         //
	EventAtConsulate     EventType = "at_consulate"      //
	EventReturned        EventType = "returned"          //
	EventLost            EventType = "lost"              // the carrier will not find it: the request ends, a new card is free
	EventDelivered       EventType = "delivered"         // by the postman, or handed over at the counter
	EventUnclaimed       EventType = "unclaimed"         // one year at the office
	EventDestroyed       EventType = "destroyed"         // with its record
	EventDuplicate       EventType = "duplicate_decided" // whether a new card is free, from the evidence
	EventNonDelivery     EventType = "non_delivery"      // what our own record says of the card that did not arrive
	EventParked          EventType = "parked"            // a person must look: never discarded
	EventUnparked        EventType = "unparked"          //
	EventCancelAsked     EventType = "cancel_asked"      // asked of the core, no answer yet
	EventCancelDenied    EventType = "cancel_denied"     // too late
	EventDeliveryAsked   EventType = "delivery_asked"    // change asked of the core, no answer yet
	EventDeliveryGranted EventType = "delivery_granted"  // the change holds
	EventDeliveryDenied  EventType = "delivery_denied"   // too late
	EventTrackerRevoked  EventType = "tracker_revoked"   // the 10-character code is dead; a new one is given

	// What other offices that were told of the request say (clearance.go).
	EventClearanceGiven     EventType = "clearance_given"     // nothing against it
	EventObjected           EventType = "objected"            // something is
	EventObjectionWithdrawn EventType = "objection_withdrawn" // not any more
	EventObjectionOverruled EventType = "objection_overruled" // the request's office goes on against it
)

// eventTarget is the state each event leads to; a fact is absent here.
var eventTarget = map[EventType]State{
	EventSubmitted:      StateSubmitted,
	EventMisaligned:     StateMisaligned,
	EventAligned:        StatePrechecked,
	EventRefused:        StateRefused,
	EventCancelled:      StateCancelled,
	EventAbandoned:      StateAbandoned,
	EventEnquiryOpened:  StateInEnquiry,
	EventSuspended:      StateSuspended,
	EventResumed:        StateInEnquiry,
	EventPrepared:       StateFormsReady,
	EventOrderVoided:    StateInEnquiry,
	EventSigned:         StateSigned,
	EventRelayed:        StateRelayed,
	EventCertified:      StateCertified,
	EventRejected:       StateRejectedCNSD,
	EventReopened:       StateInEnquiry,
	EventInProduction:   StateInProduction,
	EventDefect:         StateProductionDefect,
	EventShipped:        StateShipped,
	EventReshipped:      StateReshipped,
	EventOutForDelivery: StateOutForDelivery,
	EventHeldAtPost:     StateOnHoldPost,
	EventAtComune:       StateAtComune,
	EventAtConsulate:    StateAtConsulate,
	EventReturned:       StateReturned,
	EventLost:           StateCancelled,
	EventDelivered:      StateDelivered,
	EventUnclaimed:      StateUnclaimed,
	EventDestroyed:      StateDestroyed,
}

// facts are the events that leave the state alone.
var facts = map[EventType]bool{
	EventChecked: true, EventDecided: true, EventRouted: true,
	EventPresence: true, EventDocuments: true, EventDeclaration: true, EventAssent: true, EventCapture: true, EventFee: true,
	EventDeliveryChosen: true, EventOrderOpened: true, EventPrinted: true, EventFormsConfirmed: true,
	EventParked: true, EventUnparked: true, EventCancelAsked: true, EventCancelDenied: true,
	EventAttemptFailed: true, EventDuplicate: true, EventNonDelivery: true,
	EventDeliveryAsked: true, EventDeliveryGranted: true, EventDeliveryDenied: true, EventTrackerRevoked: true,
	EventClearanceGiven: true, EventObjected: true, EventObjectionWithdrawn: true, EventObjectionOverruled: true,
}

// Event is one thing that happened to a request. Data holds no personal data
// and is readable in the database; Private is personal and encrypted at rest.
// Both are JSON of the payload type that belongs to Type, or empty.
type Event struct {
	Seq     int // from 1, without gaps, per request
	Type    EventType
	To      State // the state after this event
	At      time.Time
	Actor   Actor
	Data    json.RawMessage
	Private json.RawMessage
}

// payload marshals one side of an event; nil stays empty. Payload types are
// ours and always marshal, so a failure is a programming error.
func payload(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("gateway: event payload %T: %v", v, err))
	}
	return b
}

// read unmarshals one side of an event into v; empty leaves v alone.
func read(raw json.RawMessage, v any) error {
	if len(raw) == 0 {
		return nil
	}
	return json.Unmarshal(raw, v)
}
