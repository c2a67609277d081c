package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/policies"
)

func TestExplainShowsWhomARequestWasToldToAndWhatTheyAnswered(t *testing.T) {
	t.Parallel()
	const number = "R26-AAAAAAAAA"
	args := requestWith(t, number, decidedOn(t, "2026-11-02", policies.DeliveryComunePickup))
	db, err := store.Open(context.Background(), store.Options{Path: args[3], Keys: args[5], Environment: store.Simulation, SealEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	told := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	notice := func(office gateway.Office, as gateway.ToldAs) gateway.Clearance {
		return gateway.Clearance{
			ID: number + "." + office.Code, Request: number, Office: office, As: as, Asked: gateway.Office{Kind: gateway.OfficeComune, Code: "054013"},
			Reason: policies.ReasonFirstIssue, RequestedAt: told, ToldAt: told, LastDay: "2026-11-05", Rule: "comune.clearance_working_days/always",
			Until: time.Date(2026, 11, 5, 23, 0, 0, 0, time.UTC), Version: 1, Subject: gateway.ClearanceSubject{FiscalCode: "RSSMRA80S60H501W", Surname: "ROSSI"},
		}
	}
	comune := notice(gateway.Office{Kind: gateway.OfficeComune, Code: "058091"}, gateway.ToldAIREComune)
	post := notice(gateway.Office{Kind: gateway.OfficePost, Code: "ar-buenos-aires"}, gateway.ToldPost)
	objected := comune
	objected.Answer, objected.Ground, objected.AnsweredAt, objected.Subject.Text = gateway.ClearanceObjection, "data_differ", told.Add(time.Hour), "Nata il 2"
	for _, c := range []*gateway.ClearanceChange{{Tell: []gateway.Clearance{comune, post}}, {Answer: &objected}} {
		err = db.Commit(context.Background(), gateway.Change{ID: number, Version: 2, State: gateway.StateSubmitted, To: gateway.StateSubmitted, Clearances: c})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	code, a, _ := replayed(t, args)
	if code != 0 || len(a.Notices) != 2 || a.Notices[0].Office != "comune:058091" || a.Notices[0].Status != "objection" ||
		a.Notices[0].Ground != "data_differ" || a.Notices[1].Status != "silent" || a.Notices[1].AnsweredAt != nil {
		t.Fatalf("exit %d: %+v", code, a.Notices)
	}
	_, out, _ := airegw(t, "", args...)
	for _, want := range []string{"Roma (comune:058091), 2026-11-02 10:00 CET, fino al / until 2026-11-05: objection data_differ, 2026-11-02 11:00 CET", "Buenos Aires (post:ar-buenos-aires)"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
	if strings.Contains(out, "ROSSI") || strings.Contains(out, "Nata il 2") {
		t.Errorf("explain names somebody: %s", out)
	}
}
