package issuance_test

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway/issuance"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
	"airegw/testharness/coresim"
	"airegw/testharness/sim"
)

// simulated is the client in front of the independent core, over mutual TLS.
type simulated struct {
	core   *coresim.Running
	clock  *sim.ManualClock
	client *issuance.Client
}

func newSimulated(t *testing.T) simulated {
	t.Helper()
	clock := sim.NewManual(now)
	core, err := coresim.Start(coresim.Options{Clock: clock, Seed: 7}, "127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = core.Close() })
	jwks, err := json.Marshal(jose.NewKeySet(pair()[0].Public()))
	if err != nil {
		t.Fatal(err)
	}
	if err := core.RegisterGateway(coresim.Gateway{ID: "gateway", JWKS: jwks}); err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := core.IssueClient("gateway")
	if err != nil {
		t.Fatal(err)
	}
	identity := core.Identity()
	dir := t.TempDir()
	files := outbound.TLSFiles{CA: filepath.Join(dir, "ca"), Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
	for path, data := range map[string][]byte{files.CA: []byte(identity.CAPEM), files.Cert: certPEM, files.Key: keyPEM} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mutual, err := outbound.LoadTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	out, err := outbound.New(outbound.Config{
		Peer: "core", Deadline: 10 * time.Second, PerTry: 2 * time.Second, MaxBody: 1 << 20, Tries: 1, TLS: mutual,
		Clock: clock.Now, Rand: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	keys, err := jose.ParseKeySet(identity.JWKS)
	if err != nil {
		t.Fatal(err)
	}
	client, err := issuance.New(issuance.Config{
		BaseURL: core.URL, CoreID: identity.Issuer, ClientID: "gateway", Key: pair()[0], CoreKeys: keys, Out: out, Clock: clock.Now, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	return simulated{core, clock, client}
}

func (w simulated) signed(t *testing.T, o issuance.PrepareOrder) issuance.Submission {
	t.Helper()
	p, err := w.client.Prepare(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.ConfirmForms(t.Context(), issuance.ConfirmForms{
		OrderKey: o.OrderKey, NUN: p.NUN, ConfirmedAt: issuance.At(now), Prints: 1, Actor: o.Actor,
	}); err != nil {
		t.Fatal(err)
	}
	s := submission()
	s.OrderKey, s.NUN, s.PrepareDigest = o.OrderKey, p.NUN, p.PrepareDigest
	return s
}

func (w simulated) acceptances(key string) int { return w.core.Ledger().Acceptances[key] }

func TestAnOrderLivesWholeInTheIndependentCore(t *testing.T) {
	t.Parallel()
	w := newSimulated(t)
	if _, err := w.client.Lookup(t.Context(), key1); issuance.KindOf(err) != issuance.KindUnknownOrder {
		t.Fatalf("before anything: %v", err)
	}
	first, err := w.client.Prepare(t.Context(), order())
	if err != nil || len(first.PINFirstHalf) != 4 || len(first.PUKFirstHalf) != 4 {
		t.Fatal(err)
	}
	again, err := w.client.Prepare(t.Context(), order())
	if err != nil || again != first {
		t.Errorf("a repeat answers otherwise: %v", err)
	}
	other := order()
	other.Reason = "loss"
	if _, err := w.client.Prepare(t.Context(), other); issuance.KindOf(err) != issuance.KindConflict {
		t.Errorf("another body: %v", err)
	}
	s := submission()
	s.NUN, s.PrepareDigest = first.NUN, first.PrepareDigest
	if _, err := w.client.Submit(t.Context(), s); problemError(t, err).Code != "forms_not_confirmed" {
		t.Errorf("before the forms: %v", err)
	}
	s = w.signed(t, order())
	after, err := w.client.Prepare(t.Context(), order())
	if err != nil || after.PINFirstHalf != "" || after.NUN != first.NUN {
		t.Errorf("halves after the forms were confirmed: %v", err)
	}
	r, err := w.client.Submit(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := w.client.Submit(t.Context(), s); err != nil || twice != r {
		t.Errorf("repeat: %v", err)
	}
	differs := s
	differs.Fee.AmountCents++
	if _, err := w.client.Submit(t.Context(), differs); issuance.KindOf(err) != issuance.KindConflict {
		t.Errorf("another submission: %v", err)
	}
	held, err := w.client.Lookup(t.Context(), key1)
	if err != nil || held.State != "accepted" || held.Receipt == nil || *held.Receipt != r || w.acceptances(key1) != 1 {
		t.Fatalf("%+v %v, %d acceptances", held, err, w.acceptances(key1))
	}
	change := issuance.DeliveryChange{
		OrderKey: key1, ChangeKey: "change-0001", Actor: s.Actor,
		Delivery: issuance.Delivery{Kind: issuance.DeliverAtComune, Office: &issuance.Office{Kind: "comune", Code: "058091"}},
	}
	if o, err := w.client.ChangeDelivery(t.Context(), change); err != nil || o.Outcome != issuance.OutcomeAccepted {
		t.Errorf("%+v %v", o, err)
	}
	if _, err := w.core.Advance(coresim.AdvanceRequest{OrderKey: key1, Until: issuance.EventAtOffice}); err != nil {
		t.Fatal(err)
	}
	cancel := issuance.Cancellation{OrderKey: key1, ChangeKey: "cancel-0001", Reason: "citizen_asked", Actor: s.Actor}
	if o, err := w.client.Cancel(t.Context(), cancel); err != nil || o.Outcome != issuance.OutcomeTooLate {
		t.Errorf("%+v %v", o, err)
	}
	var types []string
	for after, more := "", true; more; {
		page, err := w.client.Feed(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range page.Events {
			if e.OrderKey != key1 || e.Seq != int64(len(types)+1) {
				t.Errorf("event %d of the page: %+v", i, e)
			}
			types = append(types, e.Type)
		}
		after, more = page.Next, page.More
	}
	if types[0] != issuance.EventCertified || types[len(types)-1] != issuance.EventAtOffice || !slices.Contains(types, issuance.EventShipped) {
		t.Errorf("events %s", strings.Join(types, " "))
	}
}

func TestAVoidedGenerationMakesNoCard(t *testing.T) {
	t.Parallel()
	w := newSimulated(t)
	s := w.signed(t, order())
	o, err := w.client.Cancel(t.Context(), issuance.Cancellation{OrderKey: key1, ChangeKey: "cancel-0001", Reason: "data_changed", Actor: s.Actor})
	if err != nil || o.Outcome != issuance.OutcomeAccepted {
		t.Fatal(o, err)
	}
	if _, err := w.client.Submit(t.Context(), s); problemError(t, err).Kind != issuance.KindRefused || problemError(t, err).Code != "order_closed" {
		t.Errorf("%v", err)
	}
	next := order()
	next.OrderKey = "R7K2M9QX4T.2"
	s2 := w.signed(t, next)
	if s2.NUN == s.NUN {
		t.Error("number given twice")
	}
}

func TestWhateverTheCoresAnswerBecomesAskingBeforeRepeatingMakesOneCard(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{
		sim.FaultHTTP503, sim.FaultHTML200, sim.FaultEmpty200, sim.FaultDropRequest, sim.FaultDropAnswer, sim.FaultCutBody,
		coresim.FaultWrongSignature, coresim.FaultWrongTyp, coresim.FaultStaleAnswer,
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			w := newSimulated(t)
			s := w.signed(t, order())
			if err := w.core.Faults().Set(sim.Rule{Name: fault, Count: 1, Max: 1}); err != nil {
				t.Fatal(err)
			}
			_, err := w.client.Submit(t.Context(), s)
			if k := issuance.KindOf(err); k != issuance.KindUnclear {
				t.Fatalf("a spoiled answer is %s: %v", k, err)
			}
			held, err := w.client.Lookup(t.Context(), key1)
			if err != nil {
				t.Fatal(err)
			}
			if held.Receipt == nil {
				if _, err := w.client.Submit(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
			if n := w.acceptances(key1); n != 1 {
				t.Errorf("%d acceptances", n)
			}
		})
	}
}

func TestAPushOfTheIndependentCoreIsBelieved(t *testing.T) {
	t.Parallel()
	w := newSimulated(t)
	got := make(chan error, 16)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(io.LimitReader(r.Body, issuance.MaxEvent+1))
		if err == nil {
			var e issuance.Event
			if e, err = w.client.VerifyEvent(string(text)); err == nil && (e.OrderKey != key1 || r.URL.Path != "/core/v1/events") {
				err = fmt.Errorf("%+v at %s", e, r.URL.Path)
			}
		}
		got <- err
		rw.WriteHeader(http.StatusNoContent)
	}))
	certPEM, keyPEM, err := w.core.IssueClient("gateway")
	if err != nil {
		t.Fatal(err)
	}
	pairTLS, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pairTLS}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	jwks, err := json.Marshal(jose.NewKeySet(pair()[0].Public()))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.core.RegisterGateway(coresim.Gateway{ID: "gateway", JWKS: jwks, PushURL: server.URL}); err != nil {
		t.Fatal(err)
	}
	s := w.signed(t, order())
	if _, err := w.client.Submit(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	events, err := w.core.Advance(coresim.AdvanceRequest{OrderKey: key1, Until: issuance.EventShipped})
	if err != nil {
		t.Fatal(err)
	}
	for range events {
		select {
		case err := <-got:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no push")
		}
	}
}
