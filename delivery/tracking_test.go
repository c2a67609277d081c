package delivery

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"airegw/policies"
)

// history makes steps one day apart, from 2026-11-01 at noon in Rome.
func history(ms ...Step) []Step {
	at := time.Date(2026, 11, 1, 11, 0, 0, 0, time.UTC)
	for i := range ms {
		ms[i].At = at.AddDate(0, 0, i)
	}
	return ms
}

func handling(t *testing.T, o policies.DeliveryOption, country string) policies.Handling {
	t.Helper()
	h, err := policies.Shipped().Handling(o, country, "", time.Date(2026, 11, 1, 11, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAParcelIsStoredThirtyDaysAndThenGoesTheCountrysWay(t *testing.T) {
	t.Parallel()
	for country, back := range map[string]string{"CH": "post", "ME": "ipzs"} {
		h := handling(t, policies.DeliveryForeignResidence, country)
		steps := history(Step{Movement: MovementShipped}, Step{Movement: MovementOutForDelivery}, Step{Movement: MovementHeldAtPost})
		s, err := Follow(steps, h, day(t, "2026-12-03"))
		if err != nil {
			t.Fatal(err)
		}
		if s.Attempts != 1 || s.AttemptsLeft != 0 || s.CollectBy.String() != "2026-12-03" || s.ReturnTo != back || s.Overdue || s.Final {
			t.Errorf("%s: %+v", country, s)
		}
		if s, _ := Follow(steps, h, day(t, "2026-12-04")); !s.Overdue {
			t.Errorf("%s: not overdue the day after", country)
		}
	}
}

func TestAnItalianAddressHasASecondAttempt(t *testing.T) {
	t.Parallel()
	h := handling(t, policies.DeliveryITAddress, "AR")
	s, err := Follow(history(Step{Movement: MovementShipped}, Step{Movement: MovementAttemptFailed}), h, day(t, "2026-11-03"))
	if err != nil || s.Attempts != 1 || s.AttemptsLeft != 1 {
		t.Errorf("%+v %v", s, err)
	}
}

func TestTheFreeDuplicateIsDecidedFromTheEvidence(t *testing.T) {
	t.Parallel()
	h := handling(t, policies.DeliveryForeignResidence, "AR")
	for reason, want := range map[ReturnReason]policies.Tri{
		ReturnUnclaimed: policies.No, ReturnRefused: policies.No, ReturnMoved: policies.No, ReturnUnknown: policies.Unknown,
		ReturnDamaged: policies.Yes, ReturnNoService: policies.Yes, ReturnLabelError: policies.Yes, "": policies.Unknown,
	} {
		s, err := Follow(history(Step{Movement: MovementShipped}, Step{Movement: MovementReturned, Reason: reason}), h, day(t, "2026-11-03"))
		if err != nil || s.FreeDuplicate != want {
			t.Errorf("%q: %+v %v", reason, s, err)
		}
	}
	s, err := Follow(history(Step{Movement: MovementShipped}, Step{Movement: MovementLost}), h, day(t, "2026-11-03"))
	if err != nil || s.FreeDuplicate != policies.Yes || !s.Final {
		t.Errorf("lost: %+v %v", s, err)
	}
}

func TestAReturnedParcelCanBeShippedAgainAndDelivered(t *testing.T) {
	t.Parallel()
	h := handling(t, policies.DeliveryForeignResidence, "AR")
	s, err := Follow(history(
		Step{Movement: MovementShipped}, Step{Movement: MovementAttemptFailed}, Step{Movement: MovementHeldAtPost},
		Step{Movement: MovementReturned, Reason: ReturnUnclaimed}, Step{Movement: MovementReshipped}, Step{Movement: MovementDelivered},
	), h, day(t, "2026-11-10"))
	if err != nil || !s.Final || s.FreeDuplicate != policies.No || s.ReturnTo != "" {
		t.Errorf("%+v %v", s, err)
	}
}

func TestACardUnclaimedForAYearIsDestroyed(t *testing.T) {
	t.Parallel()
	h := handling(t, policies.DeliveryComunePickup, "AR")
	s, err := Follow(history(Step{Movement: MovementShipped}, Step{Movement: MovementAtOffice}), h, day(t, "2027-11-03"))
	if err != nil || s.CollectBy.String() != "2027-11-02" || !s.Overdue {
		t.Errorf("%+v %v", s, err)
	}
	s, err = Follow(history(Step{Movement: MovementShipped}, Step{Movement: MovementAtOffice}, Step{Movement: MovementUnclaimed}, Step{Movement: MovementDestroyed}), h, day(t, "2027-11-03"))
	if err != nil || !s.Final || s.FreeDuplicate != policies.No {
		t.Errorf("%+v %v", s, err)
	}
}

func TestAHistoryThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	h := handling(t, policies.DeliveryITAddress, "AR")
	back := history(Step{Movement: MovementShipped}, Step{Movement: MovementDelivered})
	back[1].At = back[0].At.Add(-time.Second)
	for name, c := range map[string]struct {
		steps []Step
		code  string
	}{
		"delivered before shipped": {history(Step{Movement: MovementDelivered}), "delivery.movement_order"},
		"moves after delivery":     {history(Step{Movement: MovementShipped}, Step{Movement: MovementDelivered}, Step{Movement: MovementReturned}), "delivery.movement_order"},
		"unknown movement":         {history(Step{Movement: "flown"}), "delivery.movement_unknown"},
		"empty movement":           {history(Step{}), "delivery.movement_unknown"},
		"unknown reason":           {history(Step{Movement: MovementShipped}, Step{Movement: MovementReturned, Reason: "dog"}), "delivery.reason_unknown"},
		"back in time":             {back, "delivery.movement_time"},
	} {
		_, err := Follow(c.steps, h, day(t, "2026-11-03"))
		var te *TrackError
		if !errors.As(err, &te) || te.Code != c.code {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestEveryHistoryTheTableAllowsCanBeFollowed(t *testing.T) {
	t.Parallel()
	h := handling(t, policies.DeliveryForeignResidence, "AR")
	rapid.Check(t, func(t *rapid.T) {
		var steps []Step
		var at Movement
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			next := movements[at]
			if len(next) == 0 {
				break
			}
			at = rapid.SampledFrom(next).Draw(t, "next")
			steps = append(steps, Step{Movement: at})
		}
		s, err := Follow(history(steps...), h, policies.Date{Year: 2030, Month: 1, Day: 1})
		if err != nil {
			t.Fatal(err)
		}
		if s.Movement != at || s.Attempts < 0 || s.AttemptsLeft < 0 || s.AttemptsLeft > h.Attempts {
			t.Fatalf("%+v", s)
		}
		if s.Final != (at == MovementDelivered || at == MovementDestroyed || at == MovementLost) {
			t.Fatalf("final is wrong: %+v", s)
		}
	})
}

func TestASecondRoundMeansATryThatNobodyTold(t *testing.T) {
	t.Parallel()
	h := handling(t, policies.DeliveryITAddress, "AR")
	s, err := Follow(history(
		Step{Movement: MovementShipped}, Step{Movement: MovementOutForDelivery}, Step{Movement: MovementOutForDelivery}, Step{Movement: MovementHeldAtPost},
	), h, day(t, "2026-11-05"))
	if err != nil || s.Attempts != 2 || s.AttemptsLeft != 0 {
		t.Errorf("%+v %v", s, err)
	}
}

func TestADamagedCardMayBeDestroyedAtTheOfficeAndItsDuplicateStaysFree(t *testing.T) {
	t.Parallel()
	h := handling(t, policies.DeliveryForeignResidence, "AR")
	s, err := Follow(history(
		Step{Movement: MovementShipped}, Step{Movement: MovementReturned, Reason: ReturnDamaged}, Step{Movement: MovementAtOffice}, Step{Movement: MovementDestroyed},
	), h, day(t, "2026-11-05"))
	if err != nil || s.FreeDuplicate != policies.Yes || !s.Final {
		t.Errorf("%+v %v", s, err)
	}
	if ReturnReason("a_dog").Known() || ReturnReason("").Known() || !ReturnDamaged.Known() {
		t.Error("a reason nobody knows is known")
	}
}
