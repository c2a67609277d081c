package delivery

import (
	"time"

	"airegw/policies"
)

// Movement is one thing that happened to a parcel.
type Movement string

// The movements of a parcel, from IPZS to the holder's hand or to destruction.
const (
	MovementShipped        Movement = "shipped"
	MovementOutForDelivery Movement = "out_for_delivery"
	MovementAttemptFailed  Movement = "attempt_failed"
	MovementHeldAtPost     Movement = "held_at_post" // stored at the last post office
	MovementAtOffice       Movement = "at_office"    // comune or consular post
	MovementReturned       Movement = "returned"     // on its way back, or back
	MovementReshipped      Movement = "reshipped"
	MovementLost           Movement = "lost" // declared lost by the carrier
	MovementUnclaimed      Movement = "unclaimed"
	MovementDestroyed      Movement = "destroyed"
	MovementDelivered      Movement = "delivered"
)

// movements is what may follow what; "" is a parcel not shipped yet. A courier
// that skips a message is common, so steps forward may be left out; steps that
// contradict the last one are not in the table.
var movements = map[Movement][]Movement{
	"":                     {MovementShipped},
	MovementShipped:        {MovementOutForDelivery, MovementAttemptFailed, MovementHeldAtPost, MovementAtOffice, MovementReturned, MovementLost, MovementDelivered},
	MovementReshipped:      {MovementOutForDelivery, MovementAttemptFailed, MovementHeldAtPost, MovementAtOffice, MovementReturned, MovementLost, MovementDelivered},
	MovementOutForDelivery: {MovementOutForDelivery, MovementAttemptFailed, MovementHeldAtPost, MovementAtOffice, MovementReturned, MovementLost, MovementDelivered},
	MovementAttemptFailed:  {MovementOutForDelivery, MovementAttemptFailed, MovementHeldAtPost, MovementAtOffice, MovementReturned, MovementLost, MovementDelivered},
	MovementHeldAtPost:     {MovementOutForDelivery, MovementAttemptFailed, MovementAtOffice, MovementReturned, MovementLost, MovementDelivered},
	MovementReturned:       {MovementReshipped, MovementAtOffice, MovementUnclaimed, MovementLost, MovementDestroyed},
	MovementAtOffice:       {MovementDelivered, MovementUnclaimed, MovementReturned, MovementReshipped, MovementDestroyed},
	MovementUnclaimed:      {MovementDestroyed, MovementDelivered},
	MovementLost:           nil,
	MovementDestroyed:      nil,
	MovementDelivered:      nil,
}

// ReturnReason is why a parcel did not reach the holder.
type ReturnReason string

// The reasons a courier gives (B.2.4).
const (
	ReturnUnclaimed  ReturnReason = "unclaimed" // storage ran out
	ReturnRefused    ReturnReason = "refused"
	ReturnMoved      ReturnReason = "moved"
	ReturnUnknown    ReturnReason = "unknown_address"
	ReturnDamaged    ReturnReason = "damaged"
	ReturnLost       ReturnReason = "lost"
	ReturnNoService  ReturnReason = "service_suspended"
	ReturnLabelError ReturnReason = "label_differs_from_register"
)

// Known says whether a reason is one of those above; couriers have others, which
// say nothing about whose fault it was.
func (r ReturnReason) Known() bool {
	_, known := returnFault[r]
	return known
}

// returnFault says whether a duplicate is free (B.1.2, B.1.3: non-delivery that
// is not due to the citizen). Yes: the carrier's or our side's doing. No: the
// holder's. Unknown: the office weighs the evidence, since an address may be
// unknown because the register is wrong or because it was given wrongly.
var returnFault = map[ReturnReason]policies.Tri{
	ReturnUnclaimed:  policies.No,
	ReturnRefused:    policies.No,
	ReturnMoved:      policies.No,
	ReturnUnknown:    policies.Unknown,
	ReturnDamaged:    policies.Yes,
	ReturnLost:       policies.Yes,
	ReturnNoService:  policies.Yes,
	ReturnLabelError: policies.Yes,
}

// Step is one movement with its evidence.
type Step struct {
	Movement Movement     `json:"movement"`
	At       time.Time    `json:"at"`
	Reason   ReturnReason `json:"reason,omitempty"` // of attempt_failed, returned and lost
}

// TrackError says which step of a parcel's history cannot be.
type TrackError struct {
	Code string // "delivery.movement_unknown", "delivery.movement_order", "delivery.movement_time", "delivery.reason_unknown"
	Step int    // index of the step
	Name string
}

func (e *TrackError) Error() string { return e.Code + ": step " + itoa(e.Step) + ": " + e.Name }

// Standing is where a parcel is and what follows from it.
type Standing struct {
	Movement Movement `json:"movement"`
	Attempts int      `json:"attempts"`
	// AttemptsLeft is how many more the rules foresee; 0 once stored.
	AttemptsLeft int `json:"attempts_left"`
	// CollectBy is the last day on which the holder can collect: at the post
	// office while stored there, at the office while there. Zero otherwise.
	CollectBy policies.Date `json:"collect_by,omitzero"`
	// ReturnTo is where the parcel goes or went if it was not delivered:
	// "post", "ipzs" or "comune".
	ReturnTo string `json:"return_to,omitempty"`
	// FreeDuplicate says whether a new card is free, once it is clear that this
	// one does not arrive; Unknown while it may arrive or the office must decide.
	FreeDuplicate policies.Tri `json:"free_duplicate,omitzero"`
	Final         bool         `json:"final,omitzero"`
	// Overdue marks a parcel kept beyond CollectBy on the day asked about.
	Overdue bool `json:"overdue,omitzero"`
}

// Follow reads a parcel's steps, oldest first, under the handling rules of its
// delivery, and says how it stands on a day. A history that cannot be is a
// *TrackError: a courier's contradiction is for a person to settle.
func Follow(steps []Step, h policies.Handling, today policies.Date) (Standing, error) {
	var s Standing
	left := h.Attempts
	for i, st := range steps {
		if _, known := movements[st.Movement]; !known || st.Movement == "" {
			return Standing{}, &TrackError{"delivery.movement_unknown", i, string(st.Movement)}
		}
		if _, known := returnFault[st.Reason]; !known && st.Reason != "" {
			return Standing{}, &TrackError{"delivery.reason_unknown", i, string(st.Reason)}
		}
		if !follows(s.Movement, st.Movement) {
			return Standing{}, &TrackError{"delivery.movement_order", i, string(st.Movement)}
		}
		if i > 0 && st.At.Before(steps[i-1].At) {
			return Standing{}, &TrackError{"delivery.movement_time", i, string(st.Movement)}
		}
		if s.Movement == MovementOutForDelivery && (st.Movement == MovementHeldAtPost || st.Movement == MovementOutForDelivery) {
			// Stored straight from the round, or on a second one: the failed attempt
			// was not sent.
			s.Attempts++
			left = max(left-1, 0)
		}
		s.Movement, s.CollectBy = st.Movement, policies.Date{}
		day := policies.DateOf(st.At)
		switch st.Movement {
		case MovementAttemptFailed:
			s.Attempts++
			left = max(left-1, 0)
		case MovementHeldAtPost:
			left = 0
			s.CollectBy = day.AddDays(h.StorageDays)
			s.ReturnTo = h.ReturnPath
		case MovementAtOffice:
			left = 0
			s.CollectBy = day.AddDays(h.UnclaimedDays)
		case MovementReturned, MovementLost:
			left = 0
			if st.Movement == MovementReturned {
				s.ReturnTo = h.ReturnPath
			}
			s.FreeDuplicate = fault(st)
		case MovementReshipped:
			left, s.Attempts, s.ReturnTo, s.FreeDuplicate = h.Attempts, 0, "", policies.Unknown
		case MovementDelivered:
			left, s.FreeDuplicate, s.ReturnTo = 0, policies.No, ""
		case MovementUnclaimed, MovementDestroyed:
			left = 0
			if s.FreeDuplicate == policies.Unknown && st.Movement == MovementUnclaimed {
				s.FreeDuplicate = policies.No
			}
		case MovementShipped, MovementOutForDelivery:
		}
	}
	s.AttemptsLeft = left
	s.Final = s.Movement != "" && len(movements[s.Movement]) == 0
	s.Overdue = !s.CollectBy.IsZero() && s.CollectBy.Before(today)
	return s, nil
}

func fault(st Step) policies.Tri {
	if st.Movement == MovementLost {
		return policies.Yes
	}
	return returnFault[st.Reason] // no reason given: Unknown, the office decides
}

func follows(from, to Movement) bool {
	for _, m := range movements[from] {
		if m == to {
			return true
		}
	}
	return false
}
