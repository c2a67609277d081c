package anpr_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"

	"airegw/anpr"
	"airegw/gateway/outbound"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// voucherKey signs the vouchers of all simulators here: making one takes long.
var voucherKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// simulated is the client in front of the independent simulator: two readings
// of the same sheet that must agree.
type simulated struct {
	server *anprsim.Server
	clock  *sim.ManualClock
	client *anpr.Client
}

func newSimulated(t *testing.T) simulated {
	t.Helper()
	services := []anpr.Service{anpr.C030, anpr.C015, anpr.C020, anpr.C019, anpr.C018}
	purposes := map[string]string{}
	for i, s := range services {
		purposes[string(s)] = "7d9e0000-0000-4000-8000-00000000000" + string(rune('0'+i))
	}
	clock := sim.NewManual(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))
	server, err := anprsim.New(anprsim.Options{
		Clock: clock, Seed: 1, Key: voucherKey(),
		Clients: []anprsim.Client{{
			ID: clientID, Purposes: purposes,
			JWKS: gojose.JSONWebKeySet{Keys: []gojose.JSONWebKey{{Key: pdndKey().Public().Raw()}}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		h.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	out, err := outbound.New(outbound.Config{
		Peer: "anpr", Deadline: 10 * time.Second, PerTry: 5 * time.Second, MaxBody: 1 << 20, Tries: 1, BackoffMin: 1, BackoffMax: 2,
		Clock: clock.Now, Rand: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	id := server.Identity()
	cfg := anpr.ClientConfig{
		ClientID: clientID, Key: pdndKey(), TokenURL: h.URL + id.TokenPath, TokenAudience: id.AssertionAudience, Token: out,
		Services: map[anpr.Service]anpr.ServiceConfig{}, OperationIDs: &counter{}, Clock: clock.Now, Rand: rand.Reader,
		PostServes: func(post, state string) (bool, bool) { return post == "2600103" && state == "602", true },
	}
	for _, s := range services {
		cfg.Services[s] = anpr.ServiceConfig{
			BaseURL: h.URL + id.Services[string(s)], Audience: id.Audiences[string(s)], PurposeID: purposes[string(s)], Out: out,
		}
	}
	client, err := anpr.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return simulated{server, clock, client}
}

func ask(cf string) anpr.Query {
	q := query()
	q.FiscalCode = cf
	return q
}

func TestEverySyntheticPersonIsReadAsTheyAre(t *testing.T) {
	t.Parallel()
	w := newSimulated(t)
	for _, p := range sim.People() {
		rec, err := w.client.Check(t.Context(), ask(p.CF))
		if err != nil {
			t.Errorf("%s (%s): %v", p.CF, p.Scenario, err)
			continue
		}
		got := rec.Person
		if p.Scenario == "duplicate" {
			if !rec.Has(anpr.FindingDuplicate) || got.Surname != "" {
				t.Errorf("%s duplicate: %s %+v", p.CF, codes(rec), got)
			}
			continue
		}
		switch p.Status {
		case sim.StatusAIRE:
			if got.AIRE != anpr.Yes || got.Alive != anpr.Yes || got.FiscalCode != p.CF || got.IDANPR != p.IDANPR || got.Surname != p.Surname {
				t.Errorf("%s: %+v", p.CF, got)
			}
			if p.Post != nil && got.Post.Code != p.Post.Code {
				t.Errorf("%s: post %+v, want %+v", p.CF, got.Post, p.Post)
			}
			if p.CFValidity == "9" != rec.Has(anpr.FindingCFNotValidated) {
				t.Errorf("%s: validity %s, %s", p.CF, p.CFValidity, codes(rec))
			}
			if p.Scenario == "ok" && rec.Outcome() != anpr.OutcomeClear && rec.Outcome() != anpr.OutcomeNote {
				t.Errorf("%s: %s", p.CF, codes(rec))
			}
		case sim.StatusResident:
			if !rec.Has(anpr.FindingNotAIRE) {
				t.Errorf("%s resident: %s", p.CF, codes(rec))
			}
		case sim.StatusCancelled:
			if !rec.Has(anpr.FindingCancelled) {
				t.Errorf("%s cancelled: %s", p.CF, codes(rec))
			}
		case sim.StatusDeceased:
			if !rec.Has(anpr.FindingDeceased) && !rec.Has(anpr.FindingCancelled) {
				t.Errorf("%s deceased: %s", p.CF, codes(rec))
			}
		}
	}
}

func TestEveryUnpleasantModeWaitsIsFoundOrGoesOn(t *testing.T) {
	t.Parallel()
	person, ok := sim.PersonByScenario("ok")
	if !ok {
		t.Fatal("no ordinary person")
	}
	for _, tc := range []struct {
		fault, param string
		code         anpr.ErrorCode // an error that waits
		kind         anpr.ErrorKind
		finding      anpr.FindingCode // or a finding
	}{
		{fault: anprsim.FaultFlap, code: anpr.CodeOutage, kind: anpr.KindTemporary},
		{fault: anprsim.FaultAPIUnavailable, code: anpr.CodeOutage, kind: anpr.KindTemporary},
		{fault: anprsim.FaultHTMLError, code: anpr.CodeOutage, kind: anpr.KindTemporary},
		{fault: anprsim.FaultHTMLError, param: "200", code: anpr.CodeNotJSON, kind: anpr.KindTemporary},
		{fault: anprsim.FaultNotFoundFront, code: anpr.CodePathUnknown, kind: anpr.KindTemporary},
		{fault: anprsim.FaultSpurious429, code: anpr.CodeQuota, kind: anpr.KindTemporary},
		{fault: anprsim.FaultKeyPropagation, code: anpr.CodeRequestRefused, kind: anpr.KindConfiguration},
		{fault: anprsim.FaultMaintenance, code: anpr.CodeVoucherOutage, kind: anpr.KindTemporary},
		{fault: anprsim.FaultPurposeSuspended, code: anpr.CodeVoucherRefused, kind: anpr.KindConfiguration},
		{fault: anprsim.FaultAgreementSuspended, code: anpr.CodeVoucherRefused, kind: anpr.KindConfiguration},
		{fault: anprsim.FaultStrictClaims},
		{fault: anprsim.FaultToken429, code: anpr.CodeVoucherQuota, kind: anpr.KindTemporary},
		{fault: anprsim.FaultToken500, code: anpr.CodeVoucherOutage, kind: anpr.KindTemporary},
		{fault: anprsim.FaultOutage, code: anpr.CodeOutage, kind: anpr.KindTemporary},
		{fault: anprsim.FaultApp999, code: anpr.CodeOutage, kind: anpr.KindTemporary},
		{fault: anprsim.FaultWarnInErrors},
		{fault: anprsim.FaultOddOpID},
		{fault: anprsim.FaultStrictOpID},
		{fault: anprsim.FaultStrictAudit},
		{fault: anprsim.FaultUnknownFields},
		{fault: anprsim.FaultNotFound, finding: anpr.FindingNotFound},
		{fault: anprsim.FaultAIREMissing, finding: anpr.FindingNotFound},
		{fault: anprsim.FaultDuplicate, finding: anpr.FindingDuplicate},
		{fault: anprsim.FaultManySubjects, finding: anpr.FindingDuplicate},
		{fault: anprsim.FaultDoubleReg, finding: anpr.FindingDoubleRegistration},
		{fault: anprsim.FaultCFUnvalidated, finding: anpr.FindingCFNotValidated},
		{fault: anprsim.FaultNoCF, finding: anpr.FindingCFNotValidated},
		{fault: anprsim.FaultCFSuperseded, finding: anpr.FindingCFSuperseded},
		{fault: anprsim.FaultComuneLiteral, finding: anpr.FindingComuneUnknown},
		{fault: anprsim.FaultAIREFlagNull},
		{fault: anprsim.FaultDeceased, param: "2026-10-01", finding: anpr.FindingDeceased},
		{fault: anprsim.FaultDeadNoDate, finding: anpr.FindingDeceased},
		{fault: anprsim.FaultNoName},
		{fault: anprsim.FaultNoSince},
		{fault: anprsim.FaultEN122Old},
		{fault: anprsim.FaultMAELag},
		{fault: anprsim.FaultBadEncoding, finding: anpr.FindingTextDamaged},
		{fault: anprsim.FaultOmocodia, finding: anpr.FindingDuplicate},
		{fault: anprsim.FaultMerged, finding: anpr.FindingNamesDiffer},
		{fault: anprsim.FaultAddrMess, finding: anpr.FindingAddressUndelivered},
		{fault: anprsim.FaultConsulate, param: "2290103|PARIGI", finding: anpr.FindingPostStateMismatch},
		{fault: anprsim.FaultIDChange},
		{fault: anprsim.FaultTruncate, finding: anpr.FindingNamesTruncated},
		{fault: anprsim.FaultTranslit},
		{fault: anprsim.FaultDiacritics},
	} {
		t.Run(tc.fault+tc.param, func(t *testing.T) {
			t.Parallel()
			w := newSimulated(t)
			if err := w.server.Faults().Set(sim.Rule{Name: tc.fault, Probability: 1, Param: tc.param}); err != nil {
				t.Fatal(err)
			}
			q := ask(person.CF)
			if tc.fault != anprsim.FaultTruncate { // which makes the surname longer than the declared one first
				q.Surname, q.GivenName, q.BirthDate, q.Sex = person.Surname, person.Name, person.Birth.Date, person.Sex
			}
			rec, err := w.client.Check(t.Context(), q)
			switch {
			case tc.code != "":
				if e := registerError(t, err); e.Code != tc.code || e.Kind != tc.kind {
					t.Errorf("%+v", e)
				}
			case err != nil:
				t.Error(err)
			case tc.finding != "" && !rec.Has(tc.finding):
				t.Errorf("found %s, want %s", codes(rec), tc.finding)
			case tc.finding == "" && rec.Outcome() != anpr.OutcomeClear && rec.Outcome() != anpr.OutcomeNote:
				t.Errorf("found %s, want nothing grave", codes(rec))
			}
		})
	}
}
