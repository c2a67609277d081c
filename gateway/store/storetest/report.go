package storetest

import (
	"testing"
	"time"

	"airegw/gateway"
)

func cardReports(t *testing.T, b *bench) {
	t.Helper()
	report := gateway.CardReport{
		ID: "D26-000000001", At: b.clock.Now(), Actor: gateway.Actor{Kind: gateway.ActorCitizen, ID: "c-1", Level: 2}, Person: "TSTPRS01A01H501A",
		CardReportInput: gateway.CardReportInput{
			Key: "c-1\nform-1", Kind: gateway.ReportTheft, On: "2026-11-20", Card: "CA12345AA",
			Police: &gateway.Report{Authority: "Questura di Prova", Number: "1/2026", Date: "2026-11-21"},
		},
	}
	audit := gateway.AuditEntry{At: report.At, Actor: report.Actor, Act: "card_reported", Subject: report.ID}
	id, created, err := b.SaveCardReport(b.ctx, report, "body", audit)
	if err != nil || !created || id != report.ID {
		t.Fatalf("%s %t %v", id, created, err)
	}
	again := report
	again.ID = "D26-000000002"
	id, created, err = b.SaveCardReport(b.ctx, again, "body", audit)
	if err != nil || created || id != report.ID {
		t.Fatalf("the form again: %s %t %v", id, created, err)
	}
	_, _, err = b.SaveCardReport(b.ctx, again, "other", audit)
	wantKind(t, err, gateway.Conflict, "key_reused")
	b.clock.Advance(time.Minute)
	second := again
	second.Key, second.Kind, second.Police, second.At = "c-1\nform-2", gateway.ReportLoss, nil, b.clock.Now()
	_, created, err = b.SaveCardReport(b.ctx, second, "body", audit)
	if err != nil || !created {
		t.Fatalf("a second: %t %v", created, err)
	}

	list, err := b.CardReports(b.ctx, "tstprs01a01h501a")
	if err != nil || len(list) != 2 || list[0].ID != second.ID || list[0].Police != nil {
		t.Fatalf("%+v %v", list, err)
	}
	old := list[1]
	if old.Person != report.Person || old.Police == nil || *old.Police != *report.Police || old.Kind != gateway.ReportTheft || !old.At.Equal(report.At) || old.Actor != report.Actor || old.Card != report.Card {
		t.Errorf("%+v", old)
	}
	if list, err = b.CardReports(b.ctx, "TSTPRS02A01H501B"); err != nil || len(list) != 0 {
		t.Errorf("another person: %+v %v", list, err)
	}

	untold, err := b.UntoldCardReports(b.ctx, 10)
	if err != nil || len(untold) != 2 || untold[0].ID != report.ID {
		t.Fatalf("%+v %v", untold, err)
	}
	must(t, b.CardReportTold(b.ctx, report.ID, b.clock.Now()))
	untold, err = b.UntoldCardReports(b.ctx, 10)
	if err != nil || len(untold) != 1 || untold[0].ID != second.ID {
		t.Errorf("%+v %v", untold, err)
	}
}
