package anpr_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"airegw/anpr"
)

// Stored records are read for years: what is in the golden file today must be
// readable by every later version.
func TestTheStoredFormOfARecordIsStable(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 12, 0, 0, 123000000, time.UTC)
	rec := anpr.Record{
		Version: 1, Provenance: anpr.FromANPR, AskedAt: at, AsOf: "2026-11-21", AskedFor: cf, Found: true,
		Person: anpr.Person{
			IDANPR: idANPR, FiscalCode: cf, FiscalCodeValidated: anpr.No, Surname: "ROSSI", NoGivenName: true, Sex: "F", BirthDate: "1964-12",
			BirthPlace: anpr.BirthPlace{Locality: "MONTEVIDEO", StateISTAT: "620", StateName: "URUGUAY"}, AIRE: anpr.Yes, ExpatriationYear: "2012",
			AIREComune: anpr.ComuneRef{ISTAT: "058091", Name: "Roma"}, Post: anpr.PostRef{Code: "2830100", Description: "MONTEVIDEO"},
			Address:        anpr.Address{Foreign: true, Type: "6", Street: "AVENIDA 18 DE JULIO", Number: "1234", CareOf: "C/O X", Postcode: "11100", Locality: "MONTEVIDEO", StateISTAT: "620", StateName: "URUGUAY"},
			ResidenceSince: "2012-05-02", Citizenships: []anpr.Citizenship{{StateISTAT: "100", StateName: "ITALIA"}}, Italian: anpr.Yes, Alive: anpr.Unknown,
		},
		Findings: []anpr.Finding{{Code: anpr.FindingCFNotValidated}, {Code: anpr.FindingNamesTruncated, Service: anpr.C015, Source: "EA029", Detail: "surname"}},
		Calls: []anpr.Call{{
			Service: anpr.C030, PurposeID: "p", AskedAt: at, OperationID: "1", RegisterOperationID: "5837092700", TransactionID: "tx", Status: 200,
			AnswerDigest: "00", TrackingDigest: "11", Notices: []anpr.Code{"EN148"}, Tries: 1,
		}},
	}
	got, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const golden = "testdata/record_v1.golden.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the stored form changed: raise the version and keep the old reader\n%s", got)
	}
	again, err := anpr.ParseRecord(want)
	if err != nil {
		t.Fatal(err)
	}
	if back, _ := json.MarshalIndent(again, "", "  "); !bytes.Equal(append(back, '\n'), want) {
		t.Errorf("reading and writing changes it\n%s", back)
	}
}

func TestTheGravestFindingDecides(t *testing.T) {
	t.Parallel()
	var rec anpr.Record
	for _, step := range []struct {
		code anpr.FindingCode
		want anpr.Outcome
	}{
		{anpr.FindingNamesTruncated, anpr.OutcomeNote},
		{anpr.FindingNotFound, anpr.OutcomeCorrect},
		{anpr.FindingDuplicate, anpr.OutcomeReview},
		{anpr.FindingDeceased, anpr.OutcomeRefuse},
		{anpr.FindingNamesDiffer, anpr.OutcomeRefuse},
	} {
		rec.Findings = append(rec.Findings, anpr.Finding{Code: step.code})
		if got := rec.Outcome(); got != step.want {
			t.Errorf("after %s: %s, want %s", step.code, got, step.want)
		}
	}
}
