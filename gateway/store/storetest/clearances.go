package storetest

import (
	"slices"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/policies"
)

// notice is one of a request, to an office, that may be answered for three days.
func (b *bench) notice(request string, office gateway.Office) gateway.Clearance {
	now := b.clock.Now()
	return gateway.Clearance{
		ID: request + "." + office.Code, Request: request, Office: office, As: gateway.ToldAIREComune, Asked: castello,
		Reason: policies.ReasonFirstIssue, RequestedAt: now.Add(-time.Hour), ToldAt: now, LastDay: "2026-11-25", Until: now.Add(72 * time.Hour), Rule: "rule", Version: 1,
		Subject: gateway.ClearanceSubject{FiscalCode: "RSSMRA80A01H501U", Surname: "ROSSI"},
	}
}

func clearancesKept(t *testing.T, b *bench) {
	t.Helper()
	rome := gateway.Office{Kind: gateway.OfficeComune, Code: "058091"}
	r := b.create(t, 1, castello)
	change := b.change(r, gateway.EventChecked, gateway.StateSubmitted)
	first, post := b.notice(r.ID, rome), b.notice(r.ID, buenosAires)
	post.As = gateway.ToldPost
	change.Clearances = &gateway.ClearanceChange{Tell: []gateway.Clearance{first, post}}
	must(t, b.Commit(b.ctx, change))
	list := func(scope gateway.Scope, q gateway.ClearanceQuery) []gateway.Clearance {
		t.Helper()
		got, err := b.Clearances(b.ctx, scope, q)
		must(t, err)
		return got
	}
	count := func(office gateway.Office) int {
		t.Helper()
		n, err := b.CountClearances(b.ctx, operator(office), b.clock.Now(), 100)
		must(t, err)
		return n
	}
	got, err := b.Clearance(b.ctx, operator(rome), first.ID)
	if err != nil || got != first {
		t.Fatalf("%+v is not %+v (%v)", got, first, err)
	}
	_, err = b.Clearance(b.ctx, operator(castello), first.ID) // not even the office of the request
	wantKind(t, err, gateway.NotFound, "not_found")
	_, err = b.Clearance(b.ctx, gateway.CitizenScope("RSSMRA80A01H501U", "x", 3), first.ID)
	wantKind(t, err, gateway.NotFound, "not_found")
	if got := list(operator(castello), gateway.ClearanceQuery{}); len(got) != 0 {
		t.Errorf("the office of the request sees %+v", got)
	}
	if got := list(gateway.CitizenScope("RSSMRA80A01H501U", "x", 3), gateway.ClearanceQuery{Request: r.ID}); len(got) != 0 {
		t.Errorf("a citizen's scope sees %+v", got)
	}
	if got := list(operator(rome), gateway.ClearanceQuery{Request: r.ID}); len(got) != 0 {
		t.Errorf("an office asks for a whole request and sees %+v", got)
	}

	// Told again by a later check it stays as it is; a refused change tells nobody.
	moved := gateway.Change{ID: r.ID, Version: 2, State: gateway.StateSubmitted, To: gateway.StateSubmitted, Office: castello}
	again := first
	again.LastDay, again.Subject.Surname = "2027-01-01", "BIANCHI"
	moved.Clearances = &gateway.ClearanceChange{Tell: []gateway.Clearance{again}}
	must(t, b.Commit(b.ctx, moved))
	if got, err := b.Clearance(b.ctx, operator(rome), first.ID); err != nil || got != first {
		t.Errorf("told twice: %+v %v", got, err)
	}
	stale := moved
	stale.Version = 1
	stale.Clearances = &gateway.ClearanceChange{Tell: []gateway.Clearance{b.notice(r.ID, gateway.Office{Kind: gateway.OfficeComune, Code: "001272"})}}
	wantKind(t, b.Commit(b.ctx, stale), gateway.Conflict, "state_moved")

	// Lists: what may be answered by its last day, all newest first, in pages.
	other := b.create(t, 2, castello)
	b.clock.Advance(time.Hour)
	second := b.notice(other.ID, rome)
	change = b.change(other, gateway.EventChecked, gateway.StateSubmitted)
	change.Clearances = &gateway.ClearanceChange{Tell: []gateway.Clearance{second}}
	must(t, b.Commit(b.ctx, change))
	ids := func(list []gateway.Clearance) (out []string) {
		for _, c := range list {
			out = append(out, c.ID)
		}
		return out
	}
	open := gateway.ClearanceQuery{OpenAt: b.clock.Now(), Limit: 1}
	for name, c := range map[string]struct {
		q    gateway.ClearanceQuery
		want []string
	}{
		"open":      {open, []string{first.ID}},
		"open next": {gateway.ClearanceQuery{OpenAt: open.OpenAt, After: first.ID}, []string{second.ID}},
		"all":       {gateway.ClearanceQuery{}, []string{second.ID, first.ID}},
		"all next":  {gateway.ClearanceQuery{After: second.ID}, []string{first.ID}},
		"over":      {gateway.ClearanceQuery{OpenAt: first.Until}, []string{second.ID}},
		"foreign":   {gateway.ClearanceQuery{After: post.ID}, nil},
	} {
		if got := ids(list(operator(rome), c.q)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
	if count(rome) != 2 || count(buenosAires) != 1 || count(castello) != 0 {
		t.Errorf("counts %d %d %d", count(rome), count(buenosAires), count(castello))
	}

	// An objection; who was slower is told; the objection is overruled, and then
	// nothing changes it.
	said := first
	said.Answer, said.Ground, said.AnsweredAt, said.Subject.Text = gateway.ClearanceObjection, "data_differ", b.clock.Now(), "Nata il 2, non il 1"
	said.Actor = gateway.Actor{Kind: gateway.ActorOperator, ID: "op", Office: rome, Role: gateway.RoleClerk}
	moved.Clearances = &gateway.ClearanceChange{Answer: &said}
	must(t, b.Commit(b.ctx, moved))
	wantKind(t, b.Commit(b.ctx, moved), gateway.Conflict, "clearance_moved")
	got, err = b.Clearance(b.ctx, operator(rome), first.ID)
	said.Version = 2
	if err != nil || got != said {
		t.Fatalf("%+v is not %+v (%v)", got, said, err)
	}
	if count(rome) != 1 {
		t.Errorf("%d may be answered", count(rome))
	}
	moved.Clearances = &gateway.ClearanceChange{Overrule: b.clock.Now()}
	must(t, b.Commit(b.ctx, moved))
	said.Version, said.Answer, said.Ground = 3, gateway.ClearanceWithdrawn, ""
	moved.Clearances = &gateway.ClearanceChange{Answer: &said}
	wantKind(t, b.Commit(b.ctx, moved), gateway.Conflict, "clearance_moved")

	// The end closes what is left.
	moved.Clearances = &gateway.ClearanceChange{Close: b.clock.Now()}
	must(t, b.Commit(b.ctx, moved))
	if count(buenosAires) != 0 {
		t.Error("a notice of a request that is over may still be answered")
	}
}
