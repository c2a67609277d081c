package storetest

import (
	"reflect"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/policies"
)

func ratesKept(t *testing.T, b *bench) {
	t.Helper()
	by := gateway.Actor{Kind: gateway.ActorOperator, ID: "op-1", Office: buenosAires, Role: gateway.RoleReferent}
	rate := func(per string, quarter int) gateway.ConsularRate {
		b.clock.Advance(time.Second)
		return gateway.ConsularRate{
			Post: buenosAires.Code, By: by, At: b.clock.Now(),
			Rate: policies.Rate{Currency: "ARS", Year: 2026, Quarter: quarter, PerEUR: per, Decimals: 2},
		}
	}
	audit := gateway.AuditEntry{At: b.clock.Now(), Actor: by, Act: "rate_entered", Subject: "post:ar-buenos-aires"}
	first, second := rate("1650.5", 3), rate("1700", 4)
	must(t, b.SaveRate(b.ctx, first, audit))
	must(t, b.SaveRate(b.ctx, second, audit))
	other := rate("1", 4)
	other.Post = "gb-london"
	must(t, b.SaveRate(b.ctx, other))
	got, err := b.Rates(b.ctx, buenosAires.Code)
	if err != nil || !reflect.DeepEqual(got, []gateway.ConsularRate{second, first}) {
		t.Errorf("%+v %v", got, err)
	}
	got, err = b.Rates(b.ctx, "fr-paris")
	if err != nil || len(got) != 0 {
		t.Errorf("%+v %v", got, err)
	}
	if b.SaveRate(b.ctx, second) == nil {
		t.Error("two rates at one moment")
	}
}

func passagesCounted(t *testing.T, b *bench) {
	t.Helper()
	arrive := func(n int, p gateway.Passage) error {
		r := b.create(t, n, castello)
		c := b.change(r, gateway.EventAligned, gateway.StatePrechecked)
		c.Passage = &p
		return b.Commit(b.ctx, c)
	}
	p := gateway.Passage{Country: "AR", Option: policies.DeliveryForeignResidence, Days: 41, Outcome: gateway.PassageDelivered, At: b.clock.Now()}
	must(t, arrive(1, p))
	must(t, arrive(2, p))
	lost := p
	lost.Days, lost.Outcome = 0, gateway.PassageNotDelivered
	must(t, arrive(3, lost))
	old := p
	old.At = p.At.AddDate(-3, 0, 0)
	must(t, arrive(4, old))
	wrong := p
	wrong.Outcome = "eaten"
	if arrive(5, wrong) == nil {
		t.Error("an outcome nobody knows was counted")
	}
	got, err := b.Passages(b.ctx, b.clock.Now().AddDate(-2, 0, 0))
	want := []gateway.PassageCount{
		{Country: "AR", Option: policies.DeliveryForeignResidence, Outcome: gateway.PassageDelivered, Days: 41, Cards: 2},
		{Country: "AR", Option: policies.DeliveryForeignResidence, Outcome: gateway.PassageNotDelivered, Days: 0, Cards: 1},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
}
