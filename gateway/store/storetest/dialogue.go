package storetest

import (
	"testing"
	"time"

	"airegw/gateway"
)

func dialogues(t *testing.T, b *bench) {
	t.Helper()
	r := b.create(t, 1, castello)
	id := r.ID
	_, err := b.Dialogue(b.ctx, id)
	wantKind(t, err, gateway.NotFound, "not_found")
	// Opened twice, it is one.
	for i, step := range []struct {
		from, to gateway.State
		event    gateway.EventType
	}{{gateway.StateSubmitted, gateway.StatePrechecked, gateway.EventAligned}, {gateway.StatePrechecked, gateway.StateInEnquiry, gateway.EventEnquiryOpened}} {
		c := b.change(r, step.event, step.to)
		c.Version, c.State, c.Dialogue, c.Events = i+1, step.from, true, []gateway.Event{b.event(i+2, step.event, step.to)}
		must(t, b.Commit(b.ctx, c))
	}
	claim := func(n int) []gateway.Dialogue {
		t.Helper()
		list, err := b.ClaimDialogues(b.ctx, b.clock.Now(), time.Minute, 10)
		if err != nil || len(list) != n {
			t.Fatalf("%+v %v, want %d", list, err, n)
		}
		return list
	}
	first := claim(1)[0]
	if first.Request != id || first.Office != castello || first.Tries != 1 || first.Status != gateway.DialogueOpen {
		t.Errorf("%+v", first)
	}
	claim(0) // leased
	b.clock.Advance(2 * time.Minute)
	second := claim(1)[0]
	yes := true
	audit := gateway.AuditEntry{At: b.clock.Now(), Act: "registry_dialogue_answered", Subject: id, Actor: b.event(1, "", "").Actor}
	// Whose lease ended settles nothing.
	first.Status = gateway.DialogueFailed
	wantKind(t, b.SettleDialogue(b.ctx, first, audit), gateway.Conflict, "lease_lost")
	second.Status, second.AnsweredAt, second.Due = gateway.DialogueAnswered, b.clock.Now(), time.Time{}
	second.Answer = &gateway.DialogueAnswer{Found: true, Surname: "PROVA", Travel: &yes, Differs: []string{"birth_date"}}
	if err := b.SettleDialogue(b.ctx, second, audit); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(time.Hour)
	claim(0)
	got, err := b.Dialogue(b.ctx, id)
	if err != nil || got.Answer == nil || got.Answer.Surname != "PROVA" || !*got.Answer.Travel || len(got.Answer.Differs) != 1 || !got.AnsweredAt.Equal(second.AnsweredAt) {
		t.Errorf("%+v %v", got, err)
	}
}
