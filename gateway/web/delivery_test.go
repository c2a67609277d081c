package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
)

// atPost submits, as the operator of Buenos Aires, a request of a citizen who
// lives there, and lets the workers route it.
func (w *world) atPost(b *browser) string {
	w.t.Helper()
	p := person("ok", 0)
	a := b.json("/api/v1/requests", `{"key":"test-post-1","channel":"post","reason":"first_issue","applicant":{"fiscal_code":"`+p.CF+
		`"},"delivery":{"option":"FOREIGN_RESIDENCE"},"contacts":{"email":"someone@example.org"}}`)
	var ack struct {
		Number string `json:"number"`
	}
	if err := json.Unmarshal([]byte(a.body), &ack); err != nil || a.status != http.StatusCreated {
		w.t.Fatalf("submit at the post: %d %s", a.status, a.body)
	}
	w.work()
	return ack.Number
}

// holdAPI holds every answer of the API to the contract.
func holdAPI(t *testing.T) func(*browser) *browser {
	t.Helper()
	_, router := contract(t)
	return func(b *browser) *browser {
		b.http.Transport = &heldTo{t: t, router: router, next: http.DefaultTransport, seen: map[string]bool{}}
		return b
	}
}

func shows(t *testing.T, where string, a reply, parts ...string) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("%s: %d\n%.600s", where, a.status, a.body)
	}
	for _, part := range parts {
		if !strings.Contains(a.body, part) {
			t.Errorf("%s does not show %q", where, part)
		}
	}
}

func TestAPostEntersItsRateAndTheCounterShowsTheFeeInIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	page, api := w.as("operator", "op-4"), holdAPI(t)(w.as("operator", "op-4"))
	number := w.atPost(w.as("operator", "op-4"))
	one := "/operator/requests/" + number
	// Nobody has entered a rate: euro, and a note that says so.
	shows(t, "before", page.get(one), "21,95 €", "Il cambio consolare in ARS per il 4° trimestre 2026 non è stato inserito")
	shows(t, "before, API", api.get("/api/v1/requests/"+number), `"local_fee":{"currency":"EUR","amount":"21.95","rate_known":false,"note":"`)
	shows(t, "the form", page.get("/operator/rates"), "ARS", "Nessun cambio inserito")
	for name, f := range map[string]url.Values{
		"numero positivo":          {"currency": {"ARS"}, "quarter": {"2026-4"}, "per_eur": {"0,0"}, "decimals": {"2"}},
		"trimestre in corso":       {"currency": {"ARS"}, "quarter": {"2026-3"}, "per_eur": {"1500"}, "decimals": {"2"}},
		"vanno da 0 a 3":           {"currency": {"ARS"}, "quarter": {"2026-4"}, "per_eur": {"1500"}, "decimals": {"two"}},
		"diversa dall’euro":        {"currency": {"EUR"}, "quarter": {"2026-4"}, "per_eur": {"1500"}, "decimals": {"2"}},
		"Alcuni dati non vanno be": {"currency": {"EUR"}, "quarter": {"later"}, "per_eur": {"-1"}, "decimals": {"9"}},
	} {
		if a := page.post("/operator/rates", f); a.status != http.StatusBadRequest || (name[0] != 'A' && !strings.Contains(a.body, name)) {
			t.Errorf("%v: %d", f, a.status)
		}
	}
	a := page.post("/operator/rates", url.Values{"currency": {"ars"}, "quarter": {"2026-4"}, "per_eur": {"1650,25"}, "decimals": {"2"}})
	if a.status != http.StatusSeeOther {
		t.Fatalf("enter: %d %s", a.status, a.body)
	}
	// 21.95 × 1650.25 = 36222.9875, rounded half up.
	shows(t, "after", page.get(one), "36222.99 ARS")
	shows(t, "after, API", api.get("/api/v1/requests/"+number), `"local_fee":{"currency":"ARS","amount":"36222.99","rate_known":true}`)
	w.pass(time.Minute)
	// A correction: the last one counts, both stay on record.
	shows(t, "correction", api.json("/api/v1/rates", `{"year":2026,"quarter":4,"per_eur":"1700","decimals":0}`), `"per_eur":"1700"`, `"per_eur":"1650.25"`)
	shows(t, "corrected", page.get(one), "37315 ARS")
	shows(t, "the list", page.get("/operator/rates?done=rate"), "1650.25", "1700", "Cambio registrato")
	// The next quarter has none yet.
	w.pass(50 * 24 * time.Hour)
	shows(t, "next quarter", w.as("operator", "op-4").get(one), "1° trimestre 2027 non è stato inserito")
}

func TestTheLabelIsShownAsTheCourierPrintsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person("ok", 0)
	number, _ := w.submitted(p.CF, "FOREIGN_RESIDENCE")
	desk, citizen := w.as("operator", "op-1"), w.as("citizen", "citizen-"+p.IDANPR)
	shows(t, "before the register answered", desk.get("/operator/requests/"+number+"/label"), "non è ancora noto")
	w.work()
	// The register's address, for desk and citizen, linked from their pages.
	for _, path := range []string{"/operator/requests/" + number, "/citizen/requests/" + number} {
		b := desk
		if strings.HasPrefix(path, "/citizen") {
			b = citizen
		}
		shows(t, path, b.get(path), path+"/label")
		shows(t, path+"/label", b.get(path+"/label"), `<address class="label"`, p.Name+" "+p.Surname, "ARGENTINA", "AIRE")
	}
	api := holdAPI(t)(w.machine(clientID, w.client))
	shows(t, "API", api.get("/api/v1/requests/"+number+"/label"), `"lines":["`+p.Name+" "+p.Surname+`"`, `"frozen":false`)
	// What is typed, before it is sent; with what is wrong in it.
	f := url.Values{
		"prefix": {"/delivery"}, "/delivery/address/street": {"Via dei Serpenti"}, "/delivery/address/house_number": {"12"},
		"/delivery/address/postcode": {"00184"}, "/delivery/address/locality": {"Roma"}, "/delivery/address/region": {"RM"},
	}
	shows(t, "preview", citizen.post("/lookup/label", f), "<span>Via dei Serpenti 12</span>", "<span>00184 ROMA RM</span>", "NOME E COGNOME DAL REGISTRO")
	f.Set("/delivery/address/house_number", "")
	a := citizen.post("/lookup/label", f)
	shows(t, "preview without a number", a, "Non si può stampare")
	if strings.Contains(a.body, `<address class="label"`) {
		t.Error("a label was printed without a number")
	}
	// A card that is collected has no label with a home on it.
	picked, _ := w.submitted(person("ok", 1).CF, "COMUNE_PICKUP")
	w.work()
	shows(t, "pick-up", desk.get("/operator/requests/"+picked+"/label"), "Città di Castello")
	shows(t, "pick-up, API", api.get("/api/v1/requests/"+picked+"/label"), `"lines":[]`, `"office":{"kind":"comune"`)
	// The form for a new request offers the preview.
	shows(t, "new", citizen.get("/citizen/requests/new"), `formaction="/lookup/label"`)
}

func TestTheTravelCaveatIsShownAtTheChoiceAndOnTheTracker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for iso2, want := range map[string]string{"AR": "serve il passaporto", "CH": "vale come documento di viaggio"} {
		p := person("ok", 0)
		for n := 0; p.Address.ISO2 != iso2; n++ {
			p = person("ok", n)
		}
		number, code := w.submitted(p.CF, "FOREIGN_RESIDENCE")
		w.work()
		shows(t, iso2+" citizen", w.as("citizen", "citizen-"+p.IDANPR).get("/citizen/requests/"+number), want, "viaggiaresicuri.it")
		shows(t, iso2+" desk", w.as("operator", "op-1").get("/operator/requests/"+number), want)
		shows(t, iso2+" tracker", w.browser("it").post("/track", url.Values{"number": {number}, "code": {code}}), want, "viaggiaresicuri.it")
		tracked := holdAPI(t)(w.browser("en")).do("GET", "/api/v1/track/"+number, "", "", map[string]string{"Tracker-Code": code})
		shows(t, iso2+" tracker API", tracked, `"travel":{"code":"`, `"past":{"cards":0,"text":"Fewer than 5 so far`)
	}
}

func TestAParcelIsShownAndWorkedOnAtTheDesk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person("ok", 0)
	number, code := w.submitted(p.CF, "FOREIGN_RESIDENCE")
	w.work()
	w.must(number, counterWork...)
	w.must(number, `fee {"cents":2221,"means":"card"}`, "prepare", "print", "confirm", "sign")
	for i, e := range []string{"cnsd_certified", "in_production", "shipped", "out_for_delivery", "attempt_failed", "held_at_post"} {
		w.event(number, i+1, e, gateway.CoreDetails{Tracking: "RR123456789IT", Carrier: "Poste", Reason: "nobody_home"})
	}
	w.work()
	api := holdAPI(t)(w.machine(clientID, w.client))
	shows(t, "stored", api.get("/api/v1/requests/"+number),
		`"parcel":{"movement":"held_at_post"`, `"attempts":1`, `"collect_by":"2026-12-21"`, `"return_to":"post"`, `"tracking":"RR123456789IT"`)
	track := w.browser("it").post("/track", url.Values{"number": {number}, "code": {code}})
	shows(t, "tracker", track, "RR123456789IT", "21/12/2026", "al consolato competente")
	citizen := w.as("citizen", "citizen-"+p.IDANPR)
	page := citizen.get("/citizen/requests/" + number)
	shows(t, "citizen", page, "21/12/2026")
	if strings.Contains(page.body, `action="/citizen/requests/`+number+`/cancellation"`) {
		t.Error("a card on its way can be cancelled")
	}
	// It comes back, and the office takes it in: the comune's own desk sees it.
	w.event(number, 7, "returned", gateway.CoreDetails{Reason: "unknown_address"})
	w.work()
	desk := w.as("operator", "op-1")
	one := "/operator/requests/" + number
	shows(t, "returned", desk.get(one), `action="`+one+`/movement"`, `action="`+one+`/duplicate"`)
	if a := desk.post(one+"/movement", url.Values{"movement": {"at_office"}}); a.status != http.StatusSeeOther {
		t.Fatalf("back at the office: %d %s", a.status, a.body)
	}
	shows(t, "at the comune", desk.get(one), `action="`+one+`/reship"`)
	shows(t, "reship", api.json("/api/v1/requests/"+number+"/counter/reship", `{"carrier":"Poste","tracking":"RR987654321IT"}`), `"state":"reshipped"`)
	for _, m := range []string{`{"movement":"attempt_failed"}`, `{"movement":"returned","reason":"unknown_address"}`} {
		shows(t, m, api.json("/api/v1/requests/"+number+"/counter/movement", m), `"number":"`+number+`"`)
	}
	record := url.Values{"record": {"7/2026"}, "witness": {"op-9"}}
	if a := desk.post(one+"/duplicate", record); a.status != http.StatusBadRequest || !strings.Contains(a.body, "indicare la causa accertata") {
		t.Errorf("without a cause: %d", a.status)
	}
	record.Set("cause", "register_wrong")
	if a := desk.post(one+"/duplicate", record); a.status != http.StatusForbidden {
		t.Errorf("a clerk decides: %d", a.status)
	}
	if a := w.as("operator", "op-2").post(one+"/duplicate", record); a.status != http.StatusSeeOther {
		t.Fatalf("the referent decides: %d %s", a.status, a.body)
	}
	shows(t, "destroyed", desk.get(one), "7/2026", "gratuita: la mancata consegna")
	shows(t, "destroyed, API", api.get("/api/v1/requests/"+number), `"state":"destroyed"`, `"free_duplicate":true`)
}

func TestACardNobodyCollectedIsDestroyedAtTheDesk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	number, _ := w.submitted(person("ok", 0).CF, "COMUNE_PICKUP")
	w.work()
	w.must(number, counterWork...)
	w.must(number, `fee {"cents":2221,"means":"card"}`, "prepare", "print", "confirm", "sign")
	for i, e := range []string{"cnsd_certified", "in_production", "shipped", "at_office"} {
		w.event(number, i+1, e, gateway.CoreDetails{Tracking: "RR123456789IT", Carrier: "Poste"})
	}
	w.work()
	w.pass(366 * 24 * time.Hour)
	if _, err := w.g.TransitOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	desk, one := w.as("operator", "op-1"), "/operator/requests/"+number
	shows(t, "unclaimed", desk.get(one), `action="`+one+`/destroy"`, "va distrutta")
	if a := desk.post(one+"/destroy", url.Values{"record": {"1"}, "witness": {"op-1"}}); a.status != http.StatusBadRequest || !strings.Contains(a.body, "diversa da chi registra") {
		t.Errorf("alone: %d", a.status)
	}
	api := holdAPI(t)(w.machine(clientID, w.client))
	shows(t, "destroy", api.json("/api/v1/requests/"+number+"/counter/destroy", `{"record":"1/2027","witness":"op-2"}`), `"state":"destroyed"`)
}
