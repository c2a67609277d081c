package web_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"airegw/gateway"
)

func TestARequestLivesThroughTheAPIUntilDelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person("ok", 0)
	number, code := w.submitted(p.CF, "FOREIGN_RESIDENCE")
	w.work()
	w.must(number, counterWork...)
	desk := w.machine(clientID, w.client)
	var open struct {
		State    string `json:"state"`
		Decision struct {
			Fee int `json:"fee_cents"`
		} `json:"decision"`
	}
	a := desk.get("/api/v1/requests/" + number)
	if err := json.Unmarshal([]byte(a.body), &open); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s %v", a.status, a.body, err)
	}
	fee, err := json.Marshal(gateway.Fee{Cents: open.Decision.Fee, Means: "card"})
	if err != nil {
		t.Fatal(err)
	}
	w.must(number, "fee "+string(fee), "prepare", "print", "confirm", "sign")
	for i, e := range []string{"cnsd_certified", "in_production", "shipped", "delivered"} {
		w.event(number, i+1, e, gateway.CoreDetails{Tracking: "RR123456789IT", Carrier: "Poste"})
	}
	tracked := w.browser("en").do("GET", "/api/v1/track/"+number, "", "", map[string]string{"Tracker-Code": code})
	if tracked.status != http.StatusOK || !strings.Contains(tracked.body, `"state":"delivered"`) {
		t.Errorf("tracker: %d %s", tracked.status, tracked.body)
	}
	for _, secret := range []string{p.Surname, p.CF, p.Address.Street} {
		if strings.Contains(tracked.body, secret) {
			t.Errorf("the tracker shows %q", secret)
		}
	}
	if strings.Contains(w.log.String(), p.CF) || strings.Contains(w.log.String(), p.Surname) {
		t.Error("the log holds personal data")
	}
}
