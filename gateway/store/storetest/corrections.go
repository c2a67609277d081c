package storetest

import (
	"testing"
	"time"

	"airegw/gateway"
)

// task is a correction of a request, as a check opens it.
func (b *bench) task(request, code string, office gateway.Office) gateway.Correction {
	now := b.clock.Now()
	return gateway.Correction{
		ID: request + ".0." + code, Request: request, Office: office, Code: "register." + code, Who: "consulate", Operation: "C002",
		Status: gateway.CorrectionOpen, OpenedAt: now, UpdatedAt: now, Args: map[string]string{"detail": "x"},
		Subject: gateway.CorrectionSubject{FiscalCode: "RSSMRA80A01H501U", Surname: "ROSSI"},
	}
}

func correctionsKept(t *testing.T, b *bench) {
	t.Helper()
	r := b.create(t, 1, castello)
	change := b.change(r, gateway.EventMisaligned, gateway.StateMisaligned)
	missing, post := b.task(r.ID, "not_found", buenosAires), b.task(r.ID, "post_unknown", castello)
	change.Corrections = &gateway.CorrectionSync{Open: []gateway.Correction{missing, post}, Why: gateway.CorrectionAgrees, At: b.clock.Now()}
	must(t, b.Commit(b.ctx, change))

	list := func(scope gateway.Scope, after string) []gateway.Correction {
		t.Helper()
		got, err := b.Corrections(b.ctx, scope, "", after, 10)
		must(t, err)
		return got
	}
	theirs := list(operator(buenosAires), "")
	if len(theirs) != 1 || theirs[0].ID != missing.ID || theirs[0].Subject != missing.Subject || theirs[0].Args["detail"] != "x" ||
		theirs[0].Office != buenosAires || !theirs[0].OpenedAt.Equal(missing.OpenedAt) {
		t.Fatalf("%+v", theirs)
	}
	if more := list(operator(buenosAires), missing.ID); len(more) != 0 {
		t.Errorf("after the last: %+v", more)
	}
	if got := list(operator(gateway.Office{Kind: gateway.OfficeComune, Code: "058091"}), ""); len(got) != 0 {
		t.Errorf("another office sees %+v", got)
	}
	if got := list(gateway.CitizenScope("RSSMRA80A01H501U", "x", 3), ""); len(got) != 0 {
		t.Errorf("a citizen's scope lists %+v", got)
	}
	_, err := b.Correction(b.ctx, operator(castello), missing.ID)
	wantKind(t, err, gateway.NotFound, "not_found")

	// The office acts; who was slower is told.
	mine, err := b.Correction(b.ctx, operator(buenosAires), missing.ID)
	must(t, err)
	mine.Status, mine.Due, mine.Actor = gateway.CorrectionAsking, b.clock.Now(), gateway.Actor{Kind: gateway.ActorOperator, ID: "op"}
	must(t, b.MoveCorrection(b.ctx, mine, gateway.AuditEntry{At: b.clock.Now(), Act: "alignment_asked", Subject: mine.ID}))
	wantKind(t, b.MoveCorrection(b.ctx, mine), gateway.Conflict, "correction_moved")

	claimed, err := b.ClaimCorrections(b.ctx, b.clock.Now(), time.Minute, 5)
	if err != nil || len(claimed) != 1 || claimed[0].ID != missing.ID || claimed[0].Actor.ID != "op" || claimed[0].Subject != missing.Subject {
		t.Fatalf("%+v %v", claimed, err)
	}
	again, err := b.ClaimCorrections(b.ctx, b.clock.Now(), time.Minute, 5)
	if err != nil || len(again) != 0 {
		t.Fatalf("claimed twice: %+v %v", again, err)
	}
	claimed[0].Status, claimed[0].Reference, claimed[0].Due = gateway.CorrectionAsked, "ref", time.Time{}
	must(t, b.MoveCorrection(b.ctx, claimed[0]))

	// What was asked is followed when it is due, by one worker; at once when it
	// was asked by a version that did not follow.
	followed, err := b.ClaimFollowed(b.ctx, b.clock.Now(), time.Minute, 5)
	if err != nil || len(followed) != 1 || followed[0].ID != missing.ID {
		t.Fatalf("%+v %v", followed, err)
	}
	again, err = b.ClaimFollowed(b.ctx, b.clock.Now(), time.Minute, 5)
	if err != nil || len(again) != 0 {
		t.Fatalf("followed twice: %+v %v", again, err)
	}
	followed[0].Due = b.clock.Now().Add(time.Hour)
	followed[0].Subject.Residence = &gateway.CorrectedResidence{ISO2: "AR", Locality: "Rosario"}
	must(t, b.MoveCorrection(b.ctx, followed[0]))
	again, err = b.ClaimFollowed(b.ctx, b.clock.Now().Add(59*time.Minute), time.Minute, 5)
	if err != nil || len(again) != 0 {
		t.Fatalf("too early: %+v %v", again, err)
	}
	again, err = b.ClaimFollowed(b.ctx, b.clock.Now().Add(time.Hour), time.Minute, 5)
	if err != nil || len(again) != 1 || again[0].Subject.Residence == nil || again[0].Subject.Residence.Locality != "Rosario" {
		t.Fatalf("%+v %v", again, err)
	}
	// What an office says is looked after only where that was asked for.
	again[0].Status, again[0].Due = gateway.CorrectionAnswered, time.Time{}
	must(t, b.MoveCorrection(b.ctx, again[0]))
	none, err := b.ClaimFollowed(b.ctx, b.clock.Now().Add(time.Hour), time.Minute, 5)
	if err != nil || len(none) != 0 {
		t.Fatalf("%+v %v", none, err)
	}
	again[0].Status, again[0].Version = gateway.CorrectionAsked, again[0].Version+1
	must(t, b.MoveCorrection(b.ctx, again[0]))

	// A check that finds it still leaves it as it is and closes the other.
	moved := gateway.Change{
		ID: r.ID, Version: 2, State: gateway.StateMisaligned, To: gateway.StateMisaligned, Office: castello,
		Corrections: &gateway.CorrectionSync{Open: []gateway.Correction{missing}, Why: gateway.CorrectionAgrees, At: b.clock.Now()},
	}
	must(t, b.Commit(b.ctx, moved))
	if got := list(operator(buenosAires), ""); len(got) != 1 || got[0].Status != gateway.CorrectionAsked || got[0].Reference != "ref" {
		t.Fatalf("%+v", got)
	}
	if got := list(operator(castello), ""); len(got) != 0 {
		t.Fatalf("not closed: %+v", got)
	}

	// What a citizen reports is theirs: a check does not close it, the end does.
	said := b.task(r.ID, "reported", castello)
	said.Code = "reported.name"
	created, err := b.AddCorrection(b.ctx, said)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	created, err = b.AddCorrection(b.ctx, said)
	if err != nil || created {
		t.Fatal("added twice", err)
	}
	moved.Corrections = &gateway.CorrectionSync{Why: gateway.CorrectionAgrees, At: b.clock.Now()}
	must(t, b.Commit(b.ctx, moved))
	if got := list(operator(castello), ""); len(got) != 1 || got[0].ID != said.ID {
		t.Fatalf("%+v", got)
	}
	moved.Corrections.All, moved.Corrections.Why = true, gateway.CorrectionEnded
	must(t, b.Commit(b.ctx, moved))
	if got := list(operator(castello), ""); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	// Found again, it is open again.
	moved.Corrections = &gateway.CorrectionSync{Open: []gateway.Correction{missing}, Why: gateway.CorrectionAgrees, At: b.clock.Now()}
	must(t, b.Commit(b.ctx, moved))
	if got := list(operator(buenosAires), ""); len(got) != 1 || got[0].Status != gateway.CorrectionOpen || got[0].Reference != "" || !got[0].ClosedAt.IsZero() {
		t.Fatalf("%+v", got)
	}
}

func workRemembersWhoAsked(t *testing.T, b *bench) {
	t.Helper()
	actor := gateway.Actor{Kind: gateway.ActorOperator, ID: "op", Office: castello, Station: "PDL-1"}
	n := b.create(t, 1, castello)
	claim := func(want gateway.Actor) {
		t.Helper()
		tasks, err := b.ClaimWork(b.ctx, b.clock.Now(), time.Minute, 5)
		if err != nil || len(tasks) != 1 || tasks[0].Actor != want {
			t.Fatalf("%+v %v", tasks, err)
		}
		b.clock.Advance(2 * time.Minute)
	}
	claim(gateway.Actor{})
	c := gateway.Change{
		ID: n.ID, Version: 1, State: gateway.StateSubmitted, To: gateway.StateSubmitted, Office: castello,
		Work: &gateway.Work{Step: gateway.StepCheck, Due: b.clock.Now(), Actor: actor},
	}
	must(t, b.Commit(b.ctx, c))
	claim(actor)
	claim(actor) // given back by its lease's end
	c.Work = nil
	must(t, b.Commit(b.ctx, c))
	claim(actor)
	c.Work = &gateway.Work{Step: gateway.StepCheck, Due: b.clock.Now()}
	must(t, b.Commit(b.ctx, c))
	claim(gateway.Actor{})
}
