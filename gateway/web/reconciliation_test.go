package web_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
)

// compared keeps a day's comparison that found something in a request's order
// and in one of nobody.
func (w *world) compared(number string) {
	w.t.Helper()
	now := w.Now()
	day := now.Format(time.DateOnly)
	if mine, _, err := w.store.BeginReconciliation(context.Background(), day, now); err != nil || !mine {
		w.t.Fatal(mine, err)
	}
	err := w.store.KeepReconciliation(context.Background(), gateway.Reconciliation{
		Day: day, BegunAt: now, FinishedAt: now, Events: 12, Orders: 3, Unanswered: 1, Found: 5, Open: 4,
		Differences: []gateway.Difference{
			{Code: gateway.DiffEventLost, OrderKey: number + ".1", Seq: 2, Theirs: "certified", Healed: true},
			{Code: gateway.DiffNoReceipt, OrderKey: number + ".1", Ours: "relayed", Theirs: "prepared"},
			{Code: gateway.DiffEventParked, OrderKey: number + ".1", Seq: 4, Ours: "not_the_current_order", Theirs: "in_production"},
			{Code: gateway.DiffOrderUnknown, OrderKey: "R26-ELSEWHERE.1", Ours: "relayed"},
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestAReferentSeesTheDifferencesInTheOfficesOwnOrdersOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hold := holdAPI(t)
	number, _ := w.submitted(person("ok", 0).CF, "COMUNE_PICKUP")
	w.work()
	chief, clerk := w.as("operator", "op-2"), w.as("operator", "op-1")
	shows(t, "before the first", chief.get("/operator/reconciliation"), "Non è stato fatto ancora nessun confronto")
	shows(t, "before the first", hold(w.machine(clientID, w.client)).get("/api/v1/reconciliation"), `{"reports":[]}`)
	w.compared(number)

	page := chief.get("/operator/reconciliation")
	shows(t, "the page", page, "Differenze aperte: 2", number, "Un evento del core non era mai arrivato", "evento n. 2", "sanata", "aperta",
		"Accettata per l’emissione", "un ordine precedente", "eventi riletti: 12", "non ha risposto: 1", "più differenze di quante")
	shows(t, "the desk's navigation", chief.get("/operator"), `href="/operator/reconciliation"`)
	if strings.Contains(page.body, ">not_the_current_order<") || strings.Contains(page.body, "ELSEWHERE") {
		t.Errorf("a code in place of words, or nobody's order: %.2000s", page.body)
	}
	shows(t, "in English", chief.get("/operator/reconciliation?lang=en"), "Open differences: 2", "event no. 2")
	for name, b := range map[string]*browser{"a machine": hold(w.machine(clientID, w.client)), "the referent": hold(w.as("operator", "op-2"))} {
		got := b.get("/api/v1/reconciliation")
		shows(t, name, got, `"day":"2026-11-21"`, `"open":2`, `"cut":true`, `"request":"`+number+`"`, `"code":"reconcile_no_receipt"`, `"ours":"relayed"`)
		if strings.Contains(got.body, "ELSEWHERE") {
			t.Errorf("%s sees an order of nobody", name)
		}
	}
	other := hold(w.machine(otherClientID, w.other)).get("/api/v1/reconciliation")
	shows(t, "another office", other, `"events":12`, `"open":0`, `"differences":[]`)
	if strings.Contains(other.body, number) {
		t.Error("another office sees the request")
	}
	for _, path := range []string{"/operator/reconciliation", "/api/v1/reconciliation"} {
		if got := clerk.get(path); got.status != http.StatusForbidden {
			t.Errorf("a clerk gets %d of %s", got.status, path)
		}
	}
	if strings.Contains(clerk.get("/operator").body, "/operator/reconciliation") {
		t.Error("a clerk is sent where they may not go")
	}
}
