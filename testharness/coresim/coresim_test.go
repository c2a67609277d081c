package coresim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

func TestTheDigestVectorOfTheContractHolds(t *testing.T) {
	t.Parallel()
	text, err := canonical([]byte(`{ "b":1 , "a":"è" }`))
	if err != nil || string(text) != `{"a":"è","b":1}` {
		t.Fatalf("%s %v", text, err)
	}
	if !strings.Contains(contract(t).Info.Description, digestOf(text)) {
		t.Errorf("the contract does not hold %s", digestOf(text))
	}
}

func TestWhatHasNoCanonicalFormIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		``, `{`, `{}{}`, `{} x`, "{}\u00a0", "{}\f", `{"a":1,"a":1}`, `{"a":1,"\u0061":2}`, `{"a":{":":1,":":2}}`, `{"a":null}`, `{"a":1.0}`, `{"a":1e2}`,
		`{"a":-0}`, `{"a":1234567890123456}`, `{"a":"\u0000"}`, `{"a":"e\u0301"}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", strings.Repeat(`[`, 99) + strings.Repeat(`]`, 99),
	} {
		plain, err := canonical([]byte(text))
		if err == nil {
			t.Errorf("%q: %s", text, plain)
		}
	}
}

func TestAnAIREOrderDiffersFromAResidentsOneOnlyAsDocumented(t *testing.T) {
	t.Parallel()
	flat := map[string]bool{}
	var walk func(path string, a, b any)
	walk = func(path string, a, b any) {
		x, okX := a.(map[string]any)
		y, okY := b.(map[string]any)
		if !okX || !okY {
			one, _ := marshal(a)
			two, _ := marshal(b)
			if !bytes.Equal(one, two) {
				flat[path] = true
			}
			return
		}
		all := map[string]bool{}
		for name := range x {
			all[name] = true
		}
		for name := range y {
			all[name] = true
		}
		for name := range all {
			walk(join(path, name), x[name], y[name])
		}
	}
	walk("", example(t, "ResidentOrder", "A.1"), example(t, "AIREOrder", "A.1"))
	var got []string
	for path := range flat {
		// An address abroad differs from one in Italy in its values; which members
		// an address may have is one schema.
		if strings.HasPrefix(path, "applicant.residence.") || strings.HasPrefix(path, "delivery.address.") {
			continue
		}
		got = append(got, path)
	}
	sort.Strings(got)
	if want := "applicant.aire delivery.kind resident"; strings.Join(got, " ") != want {
		t.Errorf("the orders differ in %v, the contract says %s", got, want)
	}
}

func TestBothKindsOfOrderGoThroughTheSameContract(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	comune := map[string]any{"kind": "COMUNE_PICKUP", "office": map[string]any{"kind": "comune", "code": "058091"}}
	post := map[string]any{"kind": "CONSULATE", "office": map[string]any{"kind": "post", "code": "2830100"}}
	home := "cnsd_certified,in_production,shipped,out_for_delivery,delivered"
	desk := "cnsd_certified,in_production,shipped,at_office"
	for key, c := range map[string]struct {
		body map[string]any
		want string
	}{
		"RES.1":   {example(t, "ResidentOrder", "RES.1"), home},
		"RESC.1":  {set(example(t, "ResidentOrder", "RESC.1"), "delivery", comune), desk},
		"AIRE.1":  {example(t, "AIREOrder", "AIRE.1"), home},
		"AIREC.1": {set(example(t, "AIREOrder", "AIREC.1"), "delivery", comune), desk},
		"AIREP.1": {set(example(t, "AIREOrder", "AIREP.1"), "delivery", post), desk},
	} {
		nun := g.accept(c.body)
		if !nunPattern.MatchString(nun) {
			t.Errorf("%s: number %q", key, nun)
		}
		_, err := w.core.Advance(AdvanceRequest{OrderKey: key, Steps: 20})
		if err != nil {
			t.Fatal(err)
		}
		detail, _ := w.core.Order(key)
		var types []string
		for i, e := range detail.Events {
			types = append(types, e.Type)
			if e.Seq != int64(i+1) || e.NUN != nun || e.Generation != 1 {
				t.Errorf("%s: event %+v", key, e)
			}
		}
		if strings.Join(types, ",") != c.want {
			t.Errorf("%s: %v", key, types)
		}
		look := g.lookUp(key)
		if look.status != 200 || look.str("nun") != nun || look.body["receipt"] == nil || look.body["last_seq"] != float64(len(types)) {
			t.Errorf("%s: look-up %v", key, look.body)
		}
	}
	events, next, more := g.feed("", 10)
	if len(events) != 10 || !more {
		t.Fatalf("page of %d, more %v", len(events), more)
	}
	rest, next, more := g.feed(next, 500)
	if len(rest) != 12 || more {
		t.Errorf("rest of %d, more %v", len(rest), more)
	}
	none, again, _ := g.feed(next, 500)
	if len(none) != 0 || again != next {
		t.Errorf("end of the feed: %d, %s after %s", len(none), again, next)
	}
	if v := w.core.Ledger().Violations; len(v) != 0 {
		t.Errorf("violations: %v", v)
	}
}

func TestPrepareRepeatsNumberAndHalvesUntilTheFormsAreConfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	body := example(t, "AIREOrder", "R.1")
	first := g.prepare(body)
	again := g.prepare(body)
	if first.status != 200 || len(first.str("pin_first_half")) != 4 || len(first.str("puk_first_half")) != 4 {
		t.Fatalf("first: %d %v", first.status, first.body)
	}
	if fmt.Sprint(first.body) != fmt.Sprint(again.body) {
		t.Errorf("repeat: %v after %v", again.body, first.body)
	}
	other := g.prepare(set(example(t, "AIREOrder", "R.1"), "reason", "loss"))
	if other.status != 409 || other.str("code") != "order_key_reused" {
		t.Errorf("another body: %d %v", other.status, other.body)
	}
	if r := g.confirm("R.1", "CZ99999ZZ"); r.status != 409 || r.str("code") != "nun_mismatch" {
		t.Errorf("wrong number: %d %v", r.status, r.body)
	}
	if r := g.submit("R.1", first.str("nun"), first.str("prepare_digest")); r.status != 409 || r.str("code") != "forms_not_confirmed" {
		t.Errorf("submission too early: %d %v", r.status, r.body)
	}
	one := g.confirm("R.1", first.str("nun"))
	w.clock.Advance(time.Minute)
	two := g.confirm("R.1", first.str("nun"))
	if one.status != 200 || one.str("confirmed_at") != two.str("confirmed_at") {
		t.Errorf("confirmations: %v, %v", one.body, two.body)
	}
	after := g.prepare(body)
	_, pin := after.body["pin_first_half"]
	_, puk := after.body["puk_first_half"]
	if after.status != 200 || pin || puk || after.str("nun") != first.str("nun") {
		t.Errorf("after confirmation: %v", after.body)
	}
	second := g.prepare(set(example(t, "AIREOrder", "R.2"), "reason", "loss"))
	if second.str("nun") == first.str("nun") {
		t.Error("a number was given twice")
	}
	text, err := json.Marshal(w.core.Ledger())
	if err != nil || bytes.Contains(text, []byte("half")) {
		t.Errorf("the ledger shows halves: %v", err)
	}
}

func TestASubmissionIsAcceptedOnceAndItsReceiptRepeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	p := g.prepare(example(t, "AIREOrder", "R.1"))
	g.confirm("R.1", p.str("nun"))
	if r := g.submit("R.1", p.str("nun"), "sha-256:"+strings.Repeat("1", 64)); r.status != 409 || r.str("code") != "prepare_digest_mismatch" {
		t.Errorf("another preparation: %d %v", r.status, r.body)
	}
	one := g.submit("R.1", p.str("nun"), p.str("prepare_digest"))
	w.clock.Advance(time.Hour)
	two := g.submit("R.1", p.str("nun"), p.str("prepare_digest"))
	if one.status != 200 || fmt.Sprint(one.body) != fmt.Sprint(two.body) {
		t.Errorf("receipts: %v, %v", one.body, two.body)
	}
	changed := set(submissionOf("R.1", p.str("nun"), p.str("prepare_digest")), "form.serial", "F-2")
	r := g.must(g.post("/v1/orders/{key}/submission", "R.1", "", changed, false))
	if r.status != 409 || r.str("code") != "submission_differs" {
		t.Errorf("another body: %d %v", r.status, r.body)
	}
	l := w.core.Ledger()
	if l.Acceptances["R.1"] != 1 || l.Orders[0].Attempts != 4 || l.Orders[0].Conflicts != 1 || len(l.Live["R"]) != 1 {
		t.Errorf("ledger: %+v", l)
	}
	if r := g.lookUp("NOBODY.1"); r.status != 404 || r.str("code") != "order_unknown" {
		t.Errorf("unknown order: %d %v", r.status, r.body)
	}
}

func TestTwoLiveOrdersOfOneRequestAreAViolationTheLedgerTells(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	g.accept(example(t, "AIREOrder", "R.1"))
	g.accept(example(t, "AIREOrder", "R.2"))
	if v := w.core.Ledger().Violations; len(v) != 1 || !strings.Contains(v[0], "2 live orders") {
		t.Errorf("violations: %v", v)
	}
	g.cancel("R.1", "cancel-0001")
	if v := w.core.Ledger().Violations; len(v) != 0 {
		t.Errorf("violations after the cancellation: %v", v)
	}
}

func TestCancellationsAndDeliveryChangesAreGrantedUntilTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	advance := func(key, until string) {
		t.Helper()
		if _, err := w.core.Advance(AdvanceRequest{OrderKey: key, Until: until}); err != nil {
			t.Fatal(err)
		}
	}
	post := map[string]any{"kind": "CONSULATE", "office": map[string]any{"kind": "post", "code": "2830100"}}

	g.prepare(example(t, "AIREOrder", "P.1"))
	if r := g.cancel("P.1", "cancel-0001"); r.str("outcome") != "accepted" {
		t.Errorf("a prepared order: %v", r.body)
	}
	detail, _ := w.core.Order("P.1")
	if r := g.confirm("P.1", detail.NUN); r.status != 409 || r.str("code") != "order_closed" {
		t.Errorf("a cancelled order was confirmed: %v", r.body)
	}

	g.accept(example(t, "AIREOrder", "Q.1"))
	advance("Q.1", "cnsd_certified")
	one := g.cancel("Q.1", "cancel-0001")
	two := g.cancel("Q.1", "cancel-0001")
	if one.str("outcome") != "accepted" || fmt.Sprint(one.body) != fmt.Sprint(two.body) {
		t.Errorf("certified: %v, %v", one.body, two.body)
	}
	if events, _ := w.core.Advance(AdvanceRequest{OrderKey: "Q.1", Steps: 9}); len(events) != 0 {
		t.Errorf("a cancelled order went on: %v", events)
	}
	if r := g.redirect("Q.1", "cancel-0001", post); r.status != 409 || r.str("code") != "change_key_reused" {
		t.Errorf("key of another change: %v", r.body)
	}
	if r := g.redirect("Q.1", "change-0001", post); r.status != 409 || r.str("code") != "order_closed" {
		t.Errorf("delivery of a cancelled order: %v", r.body)
	}

	g.accept(example(t, "AIREOrder", "S.1"))
	advance("S.1", "in_production")
	if r := g.cancel("S.1", "cancel-0001"); r.status != 200 || r.str("outcome") != "too_late" {
		t.Errorf("in production: %v", r.body)
	}
	if r := g.redirect("S.1", "change-0001", post); r.str("outcome") != "accepted" {
		t.Errorf("in production: %v", r.body)
	}
	advance("S.1", "at_office")
	late := g.redirect("S.1", "change-0002", post)
	if late.str("outcome") != "too_late" {
		t.Errorf("shipped: %v", late.body)
	}
	if r := g.redirect("S.1", "change-0001", post); r.str("outcome") != "accepted" {
		t.Errorf("an earlier outcome changed: %v", r.body)
	}
	look := g.lookUp("S.1")
	if changes, _ := look.body["changes"].([]any); len(changes) != 3 || look.str("state") != "at_office" {
		t.Errorf("look-up: %v", look.body)
	}
}

func TestAnIncompleteOrImpossibleOrderIsRefusedWithItsField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	left := map[string]any{"hand": "left", "finger": "index", "quality": 80, "ref": "capture:1"}
	thumb := map[string]any{"hand": "left", "finger": "thumb", "quality": 80, "ref": "capture:2"}
	exempt := func(what, code string) []any { return []any{map[string]any{"what": what, "code": code}} }
	address := map[string]any{"place": "Roma", "country": "IT"}
	for i, c := range []struct {
		name, example, path string
		value               any
		code, field         string // code "" means taken
	}{
		{"photo", "AIREOrder", "captures.photo_ref", nil, "photo_missing", "captures.photo_ref"},
		{"one print", "AIREOrder", "captures.fingerprint_refs", []any{left}, "fingerprints_missing", "captures.fingerprint_refs"},
		{"one hand", "AIREOrder", "captures.fingerprint_refs", []any{left, thumb}, "fingerprints_missing", "captures.fingerprint_refs"},
		{"signature", "AIREOrder", "captures.signature_ref", nil, "signature_missing", "captures.signature_ref"},
		{"AIRE without block", "AIREOrder", "applicant.aire", nil, "aire_invalid", "applicant.aire"},
		{"resident with block", "AIREOrder", "resident", true, "aire_invalid", "applicant.aire"},
		{"resident at a post", "ResidentOrder", "channel", "post", "channel_invalid", "channel"},
		{"expired", "AIREOrder", "expiry", "2026-11-21", "expiry_invalid", "expiry"},
		{"impossible date", "AIREOrder", "expiry", "2030-02-30", "body_invalid", "expiry"},
		{"abroad in Italy", "AIREOrder", "delivery.address", address, "delivery_invalid", "delivery.address.country"},
		{"no address", "AIREOrder", "delivery.address", nil, "delivery_invalid", "delivery.address"},
		{"resident abroad", "ResidentOrder", "delivery.kind", "FOREIGN_RESIDENCE", "delivery_invalid", "delivery.address.country"},
		{"unknown reason", "AIREOrder", "reason", "because", "body_invalid", "reason"},
		{"unknown member", "AIREOrder", "applicant.nickname", "Bibi", "body_invalid", "applicant.nickname"},
		{"wrong case", "AIREOrder", "Reason", "loss", "body_invalid", "Reason"},
		{"missing member", "AIREOrder", "resident", nil, "body_invalid", "resident"},
		{"empty member", "AIREOrder", "contacts.email", "", "body_invalid", "contacts.email"},
		{"not Italian", "AIREOrder", "applicant.citizenship", "URY", "body_invalid", "applicant.citizenship"},
		{"partial birth date", "AIREOrder", "applicant.birth_date", "1964", "", ""},
		{"no surname", "AIREOrder", "applicant.surname", nil, "", ""},
		{"no contacts", "AIREOrder", "contacts", map[string]any{}, "", ""},
	} {
		key := fmt.Sprintf("BAD%d.1", i)
		body := set(example(t, c.example, key), c.path, c.value)
		r := g.must(g.post("/v1/orders", key, key, body, true))
		if c.code == "" {
			if r.status != 200 {
				t.Errorf("%s: %d %v", c.name, r.status, r.body)
			}
			continue
		}
		fields, _ := r.body["errors"].([]any)
		if r.status != 422 || r.str("code") != c.code || len(fields) == 0 || fields[0].(map[string]any)["field"] != c.field {
			t.Errorf("%s: %d %v", c.name, r.status, r.body)
		}
		if look := g.lookUp(key); look.status != 404 {
			t.Errorf("%s: a refused order exists", c.name)
		}
	}
	for i, c := range []struct {
		path  string
		value any
		with  []any
	}{
		{"captures.fingerprint_refs", []any{}, exempt("fingerprints", "under_12")},
		{"captures.fingerprint_refs", []any{left}, exempt("fingerprints", "temporary_impediment")},
		{"captures.fingerprint_refs", []any{left, thumb}, exempt("fingerprints", "same_hand")},
		{"captures.signature_ref", nil, exempt("signature", "permanent_impediment")},
	} {
		body := set(set(example(t, "AIREOrder", fmt.Sprintf("EX%d.1", i)), c.path, c.value), "captures.exemptions", c.with)
		if r := g.prepare(body); r.status != 200 {
			t.Errorf("exemption %d: %d %v", i, r.status, r.body)
		}
	}
	body := example(t, "AIREOrder", "K.1")
	if r := g.must(g.post("/v1/orders", "K.1", "K.2", body, false)); r.status != 422 || r.str("code") != "key_mismatch" {
		t.Errorf("another key in the header: %d %v", r.status, r.body)
	}
}

func TestNobodyComesInWithoutCertificateAndSignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	body := example(t, "AIREOrder", "R.1")
	op := g.operation(http.MethodPost, "/v1/orders")
	try := func(name string, by *gatewayClient, typ string, status int, change func(h map[jose.HeaderKey]any, c map[string]any)) {
		t.Helper()
		text, jti := by.message(typ, body, change)
		r := by.must(by.send(http.MethodPost, "/v1/orders", "R.1", text, jti, op))
		if r.status != status || r.body != nil {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	claim := func(name string, v any) func(h map[jose.HeaderKey]any, c map[string]any) {
		return func(_ map[jose.HeaderKey]any, c map[string]any) { c[name] = v }
	}
	now := testStart.Unix()
	try("audience", g, typPrepare, 401, claim("aud", "someone-else"))
	try("issuer", g, typPrepare, 401, claim("iss", "someone-else"))
	try("typ", g, typSubmission, 400, nil)
	try("jti", g, typPrepare, 400, claim("jti", "short"))
	try("life", g, typPrepare, 400, claim("exp", now+301))
	try("unknown claim", g, typPrepare, 400, claim("sub", "x"))
	try("old", g, typPrepare, 401, func(_ map[jose.HeaderKey]any, c map[string]any) { c["iat"], c["exp"] = now-200, now-61 })
	try("future", g, typPrepare, 401, func(_ map[jose.HeaderKey]any, c map[string]any) { c["iat"], c["exp"] = now+61, now+300 })
	try("own key in the header", g, typPrepare, 400, func(h map[jose.HeaderKey]any, _ map[string]any) { h["jku"] = "https://example.org" })

	stranger := w.unregistered("airegw", newKey(t)) // right certificate, wrong key
	try("unknown key", stranger, typPrepare, 401, nil)
	stranger.kid = g.kid
	try("wrong signature", stranger, typPrepare, 401, nil)
	unknown := w.unregistered("nobody", newKey(t))
	try("unregistered client", unknown, typPrepare, 401, nil)

	text, jti := g.message(typPrepare, body, nil)
	spoilt := append([]byte(nil), text...)
	spoilt[bytes.IndexByte(spoilt, '.')+20] ^= 1
	r, err := g.send(http.MethodPost, "/v1/orders", "R.1", spoilt, jti, op)
	if err != nil || (r.status != 401 && r.status != 400) {
		t.Errorf("spoilt payload: %d %v", r.status, err)
	}
	for name, c := range map[string]struct {
		text   []byte
		media  string
		status int
	}{
		"plain JSON": {[]byte(`{}`), "application/jose", 400},
		"media type": {text, "application/json", 415},
		"too large":  {bytes.Repeat([]byte("a"), maxRequest+1), "application/jose", 413},
		"empty":      {nil, "application/jose", 400},
	} {
		resp, err := g.http.Post(g.url+"/v1/orders", c.media, bytes.NewReader(c.text))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}

	naked := g.http.Transport.(*http.Transport).Clone()
	naked.TLSClientConfig.Certificates = nil
	if resp, err := (&http.Client{Transport: naked}).Get(g.url + "/status"); err == nil {
		_ = resp.Body.Close()
		t.Error("a client without a certificate was let in")
	}
	if len(w.core.Ledger().Orders) != 0 {
		t.Error("something was prepared")
	}

	if r := g.prepare(body); r.status != 200 {
		t.Fatalf("prepare: %d", r.status)
	}
	other := w.gateway("another")
	if r := other.lookUp("R.1"); r.status != 404 || r.str("code") != "order_unknown" {
		t.Errorf("another client sees the order: %d %v", r.status, r.body)
	}
	if r := other.prepare(body); r.status != 409 {
		t.Errorf("another client takes the key: %d", r.status)
	}
}

func TestSixtyFourAtOnceGetOneNumberAndOneReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Dir: t.TempDir()})
	g := w.gateway("airegw")
	all := func(do func() reply) string {
		t.Helper()
		answers := make([]string, 64)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				r := do()
				answers[i] = fmt.Sprint(r.status, r.body)
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a != answers[0] || !strings.HasPrefix(a, "200") {
				t.Fatalf("answers differ: %s and %s", answers[0], a)
			}
		}
		return answers[0]
	}
	body := example(t, "AIREOrder", "R.1")
	all(func() reply { return g.prepare(body) })
	p := g.prepare(body)
	all(func() reply { return g.confirm("R.1", p.str("nun")) })
	all(func() reply { return g.submit("R.1", p.str("nun"), p.str("prepare_digest")) })
	all(func() reply { return g.cancel("R.1", "cancel-0001") })
	l := w.core.Ledger()
	if len(l.Orders) != 1 || l.Acceptances["R.1"] != 1 || l.Orders[0].Attempts != 64 {
		t.Errorf("ledger: %+v", l)
	}
}

func TestTenThousandOrdersHaveTenThousandNumbers(t *testing.T) {
	t.Parallel()
	s, err := New(Options{Seed: 3, Clock: sim.NewManual(testStart)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	seen := map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1250 {
				s.mu.Lock()
				nun := s.nextNUN()
				s.mu.Unlock()
				mu.Lock()
				if seen[nun] || !nunPattern.MatchString(nun) || (nun[:2] == "CZ" && nun[7:] == "ZZ") {
					t.Errorf("number %s", nun)
				}
				seen[nun] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 10000 {
		t.Errorf("%d numbers", len(seen))
	}
}

func TestTheNumbersOfTheRegistersPeopleAreNeverGiven(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		offset uint64
		want   string
	}{{0, "CA00000AA"}, {capacity - 1, "CY99999ZZ"}, {capacity, "CA00000AA"}} {
		if got := nun(c.offset, 0); got != c.want {
			t.Errorf("place %d: %s, want %s", c.offset, got, c.want)
		}
	}
}

func TestWhatTheCoreAnsweredSurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, Options{Dir: dir})
	g := w.gateway("airegw")
	g.accept(example(t, "AIREOrder", "R.1"))
	waiting := g.prepare(example(t, "AIREOrder", "W.1"))
	err := w.core.SetPlan(Plan{RequestID: "R", Steps: []PlanStep{{Type: "cnsd_certified"}, {Type: "in_production"}, {Type: "production_defect"}, {Type: "in_production"}, {Type: "shipped"}}, Uses: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.core.Advance(AdvanceRequest{OrderKey: "R.1", Steps: 4}); err != nil {
		t.Fatal(err)
	}
	g.redirect("R.1", "change-0001", map[string]any{"kind": "CONSULATE", "office": map[string]any{"kind": "post", "code": "2830100"}})
	before, identity := w.core.Ledger(), w.core.Identity()
	_, cursor, _ := g.feed("", 2)
	if err := w.core.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "ledger.jsonl"))
	if err != nil || bytes.Contains(text, []byte("half")) {
		t.Errorf("halves in the ledger file: %v", err)
	}

	again := newWorld(t, Options{Dir: dir, Seed: 99})
	if string(again.core.Identity().JWKS) != string(identity.JWKS) || again.core.Identity().CAPEM != identity.CAPEM {
		t.Error("the core is another one")
	}
	after := again.core.Ledger()
	for i := range before.Orders {
		before.Orders[i].Attempts = 0 // of the process, not of the ledger
	}
	one, _ := json.Marshal(before.Orders)
	two, _ := json.Marshal(after.Orders)
	if !bytes.Equal(one, two) || after.Acceptances["R.1"] != 1 {
		t.Errorf("ledger before %s\nafter %s", one, two)
	}
	g.url = again.core.URL // same certificate, same keys
	if r := g.prepare(example(t, "AIREOrder", "W.1")); fmt.Sprint(r.body) != fmt.Sprint(waiting.body) {
		t.Errorf("halves: %v, before %v", r.body, waiting.body)
	}
	events, _, _ := g.feed(cursor, 100)
	if typesOf(events) != "production_defect,in_production" {
		t.Errorf("feed: %s", typesOf(events))
	}
	fresh := g.prepare(example(t, "AIREOrder", "N.1"))
	numbers := map[string]bool{fresh.str("nun"): true}
	for _, o := range after.Orders {
		numbers[o.NUN] = true
	}
	for _, e := range events {
		nun, _ := e["nun"].(string)
		numbers[nun] = true
	}
	if len(numbers) != 4 { // W, R as prepared, R remade, N
		t.Errorf("numbers: %v", numbers)
	}
	if r := g.prepare(set(example(t, "AIREOrder", "R.2"), "reason", "loss")); r.status != 200 {
		t.Fatal(r.status)
	}
	if _, err := again.core.Advance(AdvanceRequest{OrderKey: "R.1", Steps: 9}); err != nil {
		t.Fatal(err)
	}
	detail, _ := again.core.Order("R.1")
	if detail.State != stateShipped {
		t.Errorf("the plan was forgotten: %s", detail.State)
	}
}

func TestATornLedgerLineIsCutOffAndASecondCoreIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, Options{Dir: dir})
	w.gateway("airegw").accept(example(t, "AIREOrder", "R.1"))
	if _, err := New(Options{Dir: dir}); !errors.Is(err, sim.ErrJournalInUse) {
		t.Errorf("second core: %v", err)
	}
	if err := w.core.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "ledger.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`1234abcd {"accept":{"rec`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	again := newWorld(t, Options{Dir: dir})
	if l := again.core.Ledger(); l.Acceptances["R.1"] != 1 {
		t.Errorf("ledger: %+v", l)
	}
}

func TestOrdersMoveByThemselvesOnTheClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Step: time.Hour})
	g := w.gateway("airegw")
	g.accept(example(t, "AIREOrder", "R.1"))
	w.clock.Advance(59 * time.Minute)
	if events, _, _ := g.feed("", 10); len(events) != 0 {
		t.Errorf("too early: %s", typesOf(events))
	}
	w.clock.Advance(time.Minute)
	if events, _, _ := g.feed("", 10); typesOf(events) != "cnsd_certified" {
		t.Errorf("after an hour: %s", typesOf(events))
	}
	w.clock.Advance(24 * time.Hour)
	events, _, _ := g.feed("", 10)
	if typesOf(events) != "cnsd_certified,in_production,shipped,out_for_delivery,delivered" || events[4]["at"] != "2026-11-21T15:00:00Z" {
		t.Errorf("after a day: %v", events)
	}
	if w.clock.Pending() != 0 {
		t.Errorf("%d timers are left", w.clock.Pending())
	}
}

func TestPlansTellOtherStoriesInTheOrderEventsMayHave(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	plan := func(text string) error {
		var p Plan
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		return w.core.SetPlan(p)
	}
	run := func(key string) (string, []Event) {
		t.Helper()
		g.accept(example(t, "AIREOrder", key))
		events, err := w.core.Advance(AdvanceRequest{OrderKey: key, Steps: 50})
		if err != nil {
			t.Fatal(err)
		}
		var types []string
		for _, e := range events {
			types = append(types, e.Type)
		}
		return strings.Join(types, ","), events
	}
	for _, bad := range []string{
		`{"request_id":"X","steps":["in_production"]}`,
		`{"request_id":"X","steps":["cnsd_certified","shipped"]}`,
		`{"request_id":"X","steps":["cnsd_rejected","in_production"]}`,
		`{"request_id":"X","order_key":"X.1","steps":["cnsd_certified"]}`,
		`{"request_id":"X","steps":[]}`,
		`{"request_id":"X","steps":["burnt"]}`,
		`{"request_id":"X","steps":[{"type":"cnsd_certified","after":"-1h"}]}`,
	} {
		if plan(bad) == nil {
			t.Errorf("taken: %s", bad)
		}
	}
	if err := plan(`{"request_id":"REJ","steps":[{"type":"cnsd_rejected","reason":"photo_quality"}],"uses":1}`); err != nil {
		t.Fatal(err)
	}
	types, events := run("REJ.1")
	if types != "cnsd_rejected" || events[0].Details.Reason != "photo_quality" {
		t.Errorf("rejected: %s %+v", types, events)
	}
	if types, _ := run("REJ.2"); !strings.HasSuffix(types, "delivered") {
		t.Errorf("the second try: %s", types)
	}
	if r := g.cancel("REJ.1", "cancel-0001"); r.str("outcome") != "accepted" {
		t.Errorf("cancelling a rejected order: %v", r.body)
	}
	if look := g.lookUp("REJ.1"); look.str("state") != "rejected" {
		t.Errorf("state %v", look.body)
	}
	if err := plan(`{"fiscal_code":"RSSBNC64T70H501S","steps":["cnsd_certified","in_production","shipped","out_for_delivery","held_at_post",{"type":"returned","reason":"unclaimed"},"at_office"]}`); err != nil {
		t.Fatal(err)
	}
	types, events = run("RET.1")
	if types != "cnsd_certified,in_production,shipped,out_for_delivery,held_at_post,returned,at_office" {
		t.Fatalf("returned: %s", types)
	}
	if events[4].Details.Until != "2026-12-21" || events[6].Details.Office == nil || events[6].Details.Office.Code != "2830100" {
		t.Errorf("details: %+v %+v", events[4].Details, events[6].Details)
	}
	if err := plan(`{"order_key":"LOST.1","steps":["cnsd_certified","in_production","shipped","out_for_delivery","attempt_failed","out_for_delivery","lost"]}`); err != nil {
		t.Fatal(err)
	}
	types, events = run("LOST.1")
	if types != "cnsd_certified,in_production,shipped,out_for_delivery,attempt_failed,out_for_delivery,lost" || events[4].Details.Reason != "nobody_home" {
		t.Fatalf("lost: %s", types)
	}
	if look := g.lookUp("LOST.1"); look.str("state") != "lost" {
		t.Errorf("state %v", look.body)
	}
	if err := plan(`{"order_key":"X.1","steps":["cnsd_certified","in_production","shipped","lost","delivered"]}`); err == nil {
		t.Error("a lost parcel is delivered")
	}
	if err := plan(`{"order_key":"DEF.1","steps":["cnsd_certified","in_production","production_defect","in_production","shipped","delivered"]}`); err != nil {
		t.Fatal(err)
	}
	types, events = run("DEF.1")
	if types != "cnsd_certified,in_production,production_defect,in_production,shipped,delivered" {
		t.Fatalf("defect: %s", types)
	}
	if events[3].NUN == events[2].NUN || events[3].Details.ReplacesNUN != events[2].NUN || events[5].NUN != events[3].NUN {
		t.Errorf("numbers: %+v", events)
	}
	if r := g.confirm("DEF.1", events[0].NUN); r.status != 200 {
		t.Errorf("the confirmation does not repeat after a remake: %v", r.body)
	}
	if err := plan(`{"order_key":"END.1","steps":["cnsd_certified","in_production",{"type":"production_defect","remake":false}]}`); err != nil {
		t.Fatal(err)
	}
	if types, _ := run("END.1"); !strings.HasSuffix(types, "production_defect") || len(w.core.Ledger().Live["END"]) != 0 {
		t.Errorf("end: %s", types)
	}
	if err := plan(`{"order_key":"BAD.1","steps":["in_production"],"misbehave":true}`); err != nil {
		t.Fatal(err)
	}
	if types, _ := run("BAD.1"); types != "in_production" {
		t.Errorf("misbehaviour: %s", types)
	}
}

func TestEachFaultIsMarkedCountedAndHarmlessToTheLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	p := g.prepare(example(t, "AIREOrder", "R.1"))
	g.confirm("R.1", p.str("nun"))
	done := map[string]bool{sim.FaultDropAnswer: true, sim.FaultCutBody: true, FaultWrongSignature: true, FaultWrongTyp: true, FaultStaleAnswer: true}
	for _, fault := range []string{
		sim.FaultHTTP503, sim.FaultHTML200, sim.FaultEmpty200, sim.FaultDropRequest,
		sim.FaultDropAnswer, sim.FaultCutBody, FaultWrongSignature, FaultWrongTyp, FaultStaleAnswer,
	} {
		attempts := w.core.Ledger().Orders[0].Attempts
		if err := w.core.Faults().Set(sim.Rule{Name: fault, Op: "submission", Count: 1}); err != nil {
			t.Fatal(err)
		}
		r, err := g.post("/v1/orders/{key}/submission", "R.1", "", submissionOf("R.1", p.str("nun"), p.str("prepare_digest")), false)
		if err == nil && (r.header.Get(sim.FaultHeader) != fault || r.body != nil) {
			t.Errorf("%s: header %q, body %v", fault, r.header.Get(sim.FaultHeader), r.body)
		}
		if w.core.Faults().Injected(fault) != 1 {
			t.Errorf("%s: injected %d times", fault, w.core.Faults().Injected(fault))
		}
		if carried := w.core.Ledger().Orders[0].Attempts > attempts; carried != done[fault] {
			t.Errorf("%s: carried out %v", fault, carried)
		}
	}
	if r := g.submit("R.1", p.str("nun"), p.str("prepare_digest")); r.status != 200 || w.core.Ledger().Acceptances["R.1"] != 1 {
		t.Errorf("after the faults: %d", r.status)
	}
	for _, name := range []string{FaultCNSDReject, FaultDefect} {
		if err := w.core.Faults().Inject(name, 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.core.Advance(AdvanceRequest{All: true, Steps: 9}); err != nil {
		t.Fatal(err)
	}
	if look := g.lookUp("R.1"); look.str("state") != "rejected" {
		t.Errorf("state %v", look.str("state"))
	}
	g.accept(example(t, "AIREOrder", "D.1"))
	events, err := w.core.Advance(AdvanceRequest{OrderKey: "D.1", Steps: 9})
	if err != nil || len(events) != 7 || events[2].Type != "production_defect" || events[3].Details.ReplacesNUN == "" {
		t.Errorf("defect: %v %+v", err, events)
	}
}

func TestHeldEventsStayUnseenInOrderUntilReleased(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Dir: t.TempDir()})
	g := w.gateway("airegw")
	g.accept(example(t, "AIREOrder", "R.1"))
	if err := w.core.Faults().Set(sim.Rule{Name: FaultHoldEvents, Count: 1, Param: "10m"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.core.Advance(AdvanceRequest{All: true, Steps: 2}); err != nil {
		t.Fatal(err)
	}
	events, cursor, _ := g.feed("", 10)
	if len(events) != 0 || g.lookUp("R.1").body["last_seq"] != 0.0 {
		t.Fatalf("seen: %s", typesOf(events))
	}
	g.accept(example(t, "AIREOrder", "S.1"))
	if _, err := w.core.Advance(AdvanceRequest{OrderKey: "S.1", Steps: 1}); err != nil {
		t.Fatal(err)
	}
	events, cursor, _ = g.feed(cursor, 10)
	if len(events) != 1 || events[0]["order_key"] != "S.1" {
		t.Fatalf("the other order: %v", events)
	}
	w.clock.Advance(10 * time.Minute)
	events, _, _ = g.feed(cursor, 10)
	if typesOf(events) != "cnsd_certified,in_production" {
		t.Errorf("after the hold: %s", typesOf(events))
	}
}

func TestTheManagementSurfaceTellsAndMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	g.accept(example(t, "AIREOrder", "R.1"))
	call := func(method, path, body string) (int, map[string]any) {
		t.Helper()
		r, err := http.NewRequest(method, w.core.ManagementURL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var m map[string]any
		_ = json.NewDecoder(resp.Body).Decode(&m)
		return resp.StatusCode, m
	}
	if code, m := call("POST", "/advance", `{"order_key":"R.1","until":"shipped"}`); code != 200 || len(m["events"].([]any)) != 3 {
		t.Errorf("advance: %d %v", code, m)
	}
	if code, m := call("GET", "/ledger", ""); code != 200 || m["acceptances"].(map[string]any)["R.1"] != 1.0 {
		t.Errorf("ledger: %d %v", code, m)
	}
	if code, m := call("GET", "/orders/R.1", ""); code != 200 || m["state"] != "shipped" || len(m["events"].([]any)) != 3 {
		t.Errorf("order: %d %v", code, m)
	}
	if code, _ := call("GET", "/orders/X.1", ""); code != 404 {
		t.Errorf("unknown order: %d", code)
	}
	if code, m := call("GET", "/identity", ""); code != 200 || m["issuer"] != DefaultIssuer {
		t.Errorf("identity: %d %v", code, m)
	}
	if code, m := call("POST", "/clients", `{"name":"airegw-2"}`); code != 200 || !strings.Contains(m["cert_pem"].(string), "CERTIFICATE") {
		t.Errorf("clients: %d", code)
	}
	if code, _ := call("POST", "/gateways", `{"id":"airegw-2","jwks":`+string(w.core.Identity().JWKS)+`}`); code != 200 {
		t.Errorf("gateways: %d", code)
	}
	for _, bad := range []string{`{}`, `{"id":"x","jwks":{"keys":[]}}`, `{"id":"x","push_url":"https://example.org","jwks":` + string(w.core.Identity().JWKS) + `}`} {
		if code, _ := call("POST", "/gateways", bad); code != 400 {
			t.Errorf("gateway %s: %d", bad, code)
		}
	}
	if code, _ := call("POST", "/plans", `{"request_id":"Z","steps":["cnsd_rejected"]}`); code != 200 {
		t.Errorf("plans: %d", code)
	}
	if code, _ := call("POST", "/advance", `{"all":true,"order_key":"R.1"}`); code != 400 {
		t.Errorf("advance: %d", code)
	}
	if code, m := call("GET", "/faults", ""); code != 200 || m["profile"] != "polite" {
		t.Errorf("faults: %d %v", code, m)
	}
	if code, _ := call("POST", "/release", `{}`); code != 200 {
		t.Errorf("release: %d", code)
	}
}
