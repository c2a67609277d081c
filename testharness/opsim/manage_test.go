package opsim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"airegw/testharness/sim"
)

// manage calls the management surface with a JSON body.
func (w *world) manage(method, path, body string) (int, map[string]any) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.ManagementURL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := browser.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&answer) // 204 has none
	return resp.StatusCode, answer
}

func TestTheManagementSurfaceDoesWhatItSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := func(status int, method, path, body string) map[string]any {
		t.Helper()
		got, answer := w.manage(method, path, body)
		if got != status {
			t.Errorf("%s %s %s: %d %v", method, path, body, got, answer)
		}
		return answer
	}
	if a := want(200, "GET", "/identity", ""); a["provider"] != w.Addresses.Provider || a["anchor_jwks"] == nil {
		t.Errorf("identity %v", a)
	}
	if a := want(201, "POST", "/relying-parties", `{"id":"`+w.rp.id+`"}`); a["trust_mark"] == nil {
		t.Errorf("registration %v", a)
	}
	w.rp.publishMark(w)
	w.rp.change = setParty("client_name", nil)
	if a := want(400, "POST", "/relying-parties", `{"id":"`+w.rp.id+`"}`); !strings.Contains(a["detail"].(string), "client_name") {
		t.Errorf("refusal %v", a)
	}
	w.rp.change = nil
	want(400, "POST", "/relying-parties", `{"id":"x","colour":"blue"}`)
	want(204, "POST", "/auto", `{"people":["`+lucia+`"],"level":"L3","mode":"phone"}`)
	w.attempt().code()
	want(400, "POST", "/auto", `{"level":"L9"}`)
	want(404, "POST", "/auto", `{"people":["NOBODY"]}`)
	events, _ := want(200, "GET", "/ledger?kind=login&limit=1", "")["events"].([]any)
	if len(events) != 1 {
		t.Fatalf("ledger %v", events)
	}
	if e, _ := events[0].(map[string]any); e["person"] != lucia || e["level"] != "L3" || e["mode"] != "phone" || e["auto"] != true {
		t.Errorf("ledger %v", events)
	}
	if a := want(200, "GET", "/state", ""); len(a["chains"].([]any)) != 1 || a["auto"] == nil {
		t.Errorf("state %v", a)
	}
	want(204, "POST", "/chains/forget?id="+url.QueryEscape(w.rp.id), "")
	if a := want(200, "GET", "/state", ""); len(a["chains"].([]any)) != 0 {
		t.Errorf("state %v", a)
	}
	want(204, "DELETE", "/auto", "")
	want(200, "POST", "/people/"+lucia, `{"max_level":"L1"}`)
	if c, _ := w.citizen(lucia); c.MaxLevel != 1 || c.Credentials != CredentialsActive {
		t.Errorf("%+v", c)
	}
	want(400, "POST", "/people/"+lucia, `{"credentials":"golden"}`)
	want(404, "POST", "/people/NOBODY", `{}`)
	want(204, "POST", "/operators/clients", `{"client_id":"g","redirect_uris":["`+callback+`"]}`)
	want(400, "POST", "/operators/clients", `{"client_id":"g"}`)
	want(204, "POST", "/operators/auto", `{"id":"op-001"}`)
	want(404, "POST", "/operators/auto", `{"id":"nobody"}`)
	want(204, "POST", "/operators/op-001/claims", `{"office":"015146"}`)
	want(204, "POST", "/keys/rotate", `{"key":"federation"}`)
	want(400, "POST", "/keys/rotate", `{"key":"house"}`)
	want(204, "POST", "/marks", `{"id":"`+w.rp.id+`","revoked":true}`)
	want(204, "POST", "/trust-failure", `{"redirect":true}`)
	want(204, "POST", "/lifetimes", `{"statement":"10s"}`)
	want(400, "POST", "/lifetimes", `{"statement":"soon"}`)
	_, _, body := w.get(w.Addresses.Anchor + fetchPath + "?sub=" + url.QueryEscape(w.Addresses.Provider))
	if j, err := readJWT(body); err != nil || j.claims["exp"] != float64(testStart.Add(10*time.Second).Unix()) || w.lifetimes().Anchor != anchorLifetime {
		t.Errorf("lifetimes: %v %v", err, j.claims["exp"])
	}
	want(204, "POST", "/down", `{"party":"provider","down":true}`)
	if status, header, _ := w.get(w.Addresses.Provider + wellKnown); status != http.StatusServiceUnavailable || header.Get(sim.FaultHeader) != "down" {
		t.Errorf("out of service: %d", status)
	}
	if status, _, _ := w.get(w.Addresses.Anchor + wellKnown); status != http.StatusOK {
		t.Errorf("the anchor too: %d", status)
	}
	want(204, "POST", "/down", `{"party":"provider"}`)
	want(400, "POST", "/down", `{"party":"town"}`)
	before := w.clock.Now()
	want(200, "POST", "/clock", `{"advance":"1h"}`)
	if w.clock.Now().Sub(before) != time.Hour {
		t.Error("the clock did not move")
	}
	want(200, "POST", "/faults", `{"name":"id-token-wrong-aud","count":1}`)
	want(400, "POST", "/faults", `{"name":"bad-weather","count":1}`)
	want(204, "DELETE", "/relying-parties?id="+url.QueryEscape(w.rp.id), "")
	want(400, "DELETE", "/relying-parties?id="+url.QueryEscape(w.rp.id), "")
	for _, path := range []string{"/people", "/operators", "/refusals", "/catalogue", "/faults"} {
		want(200, "GET", path, "")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.ManagementURL+"/people", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example.it"
	resp, err := browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close() != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("by another name: %d", resp.StatusCode)
	}
}

func TestSimulatorsListenOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	if _, err := Start(Options{}, Listen{Provider: "0.0.0.0:0"}); err == nil {
		t.Error("listens on every address")
	}
	if _, err := New(Options{Addresses: Addresses{Anchor: "http://127.0.0.1:1/", Provider: "x", Operators: "y"}}); err == nil {
		t.Error("an address with a final slash is taken")
	}
}
