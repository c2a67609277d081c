package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/jose"
	"airegw/gateway/web"
)

const reportAudience = "https://gateway.example/api/v1"

type report struct {
	Iss        string `json:"iss"`
	Aud        string `json:"aud"`
	Iat        int64  `json:"iat"`
	Exp        int64  `json:"exp"`
	Jti        string `json:"jti"`
	Kind       string `json:"kind"`
	Card       string `json:"card"`
	HappenedAt string `json:"happened_at"`
}

// report signs a report, changed as the test wants it, and sends it.
func (w *world) report(key jose.Key, typ string, change func(*report)) reply {
	w.t.Helper()
	now := w.Now()
	r := report{
		Iss: "questura", Aud: reportAudience, Iat: now.Unix(), Exp: now.Add(5 * time.Minute).Unix(), Jti: "report-0001",
		Kind: "stolen", Card: "CA12345BC", HappenedAt: now.Add(-time.Hour).Format(time.RFC3339),
	}
	if change != nil {
		change(&r)
	}
	compact, err := jose.Sign(key, typ, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.browser("en").do("POST", "/api/v1/card-notices", "application/jwt", compact, nil)
}

func TestANoticedCardIsNotHandedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	number, _ := w.submitted(person("ok", 0).CF, "COMUNE_PICKUP")
	w.work()
	w.must(number, counterWork...)
	w.must(number, `fee {"cents":2221,"means":"card"}`, "prepare", "print", "confirm", "sign")
	for i, e := range []string{"cnsd_certified", "in_production", "shipped", "at_office"} {
		w.event(number, i+1, e, gateway.CoreDetails{Tracking: "RR123456789IT", Carrier: "Poste"})
	}
	w.core.mu.Lock()
	card := w.core.orders[number+".1"].nun
	w.core.mu.Unlock()

	stranger, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	typ := gateway.CardNoticeType
	mine := func(r *report) { r.Card = card }
	for name, c := range map[string]struct {
		key    jose.Key
		typ    string
		change func(*report)
		want   int
	}{
		"a stranger's key":   {stranger, typ, mine, no},
		"an unknown office":  {w.police, typ, func(r *report) { mine(r); r.Iss = "nobody" }, no},
		"another type":       {w.police, "JWT", mine, no},
		"for somebody else":  {w.police, typ, func(r *report) { mine(r); r.Aud = "https://elsewhere.example" }, no},
		"expired":            {w.police, typ, func(r *report) { mine(r); r.Iat -= 3600; r.Exp -= 3600 }, no},
		"too long a life":    {w.police, typ, func(r *report) { mine(r); r.Exp += 3600 }, no},
		"no card":            {w.police, typ, func(r *report) { r.Card = "X" }, bad},
		"an unknown kind":    {w.police, typ, func(r *report) { mine(r); r.Kind = "eaten" }, bad},
		"no id":              {w.police, typ, func(r *report) { mine(r); r.Jti = "" }, no},
		"a date that is not": {w.police, typ, func(r *report) { mine(r); r.HappenedAt = "yesterday" }, bad},
		"from the future":    {w.police, typ, func(r *report) { mine(r); r.HappenedAt = w.Now().Add(48 * time.Hour).Format(time.RFC3339) }, bad},
	} {
		if got := w.report(c.key, c.typ, c.change); got.status != c.want {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	desk := w.machine(clientID, w.client)
	handover := "/api/v1/requests/" + number + "/counter/handover"
	for range 2 { // the same report again is fine
		if got := w.report(w.police, typ, mine); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	if got := w.report(w.police, typ, func(r *report) { r.Card = "CA00000AA" }); got.status != moved || !strings.Contains(got.body, "card_notice_differs") {
		t.Errorf("another report under the same id: %d %s", got.status, got.body)
	}
	if got := desk.json(handover, `{"to":"holder"}`); got.status != moved || !strings.Contains(got.body, "card_noticed") {
		t.Fatalf("a stolen card was handed over: %d %s", got.status, got.body)
	}

	// Found again, it is handed over.
	got := w.report(w.police, typ, func(r *report) {
		mine(r)
		r.Jti, r.Kind, r.HappenedAt = "report-0002", "found", w.Now().Format(time.RFC3339)
	})
	if got.status != http.StatusNoContent {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := desk.json(handover, `{"to":"holder"}`); got.status != ok {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestACitizenTakesTheOwnDataAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, other := person("ok", 0), person("ok", 1)
	number, _ := w.submitted(p.CF, "FOREIGN_RESIDENCE")
	foreign, _ := w.submitted(other.CF, "FOREIGN_RESIDENCE")
	w.work()
	got := w.as("citizen", "citizen-"+p.IDANPR).get("/citizen/data.json")
	if got.status != ok || !strings.Contains(got.header.Get("Content-Disposition"), "attachment") || got.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", got.status, got.header)
	}
	var data gateway.OwnData
	if err := json.Unmarshal([]byte(got.body), &data); err != nil {
		t.Fatal(err)
	}
	if data.FiscalCode != p.CF || len(data.Requests) != 1 || data.Requests[0].Number != number || len(data.Requests[0].Events) < 3 {
		t.Fatalf("%s", got.body)
	}
	for _, want := range []string{p.CF, p.Surname, "someone@example.org"} {
		if !strings.Contains(got.body, want) {
			t.Errorf("%q is kept and not in the export", want)
		}
	}
	for _, strange := range []string{foreign, other.CF, other.Surname} {
		if strings.Contains(got.body, strange) {
			t.Errorf("the export holds %q of somebody else", strange)
		}
	}
	if got := w.as("operator", "op-1").get("/citizen/data.json"); got.status != forbid {
		t.Errorf("an operator: %d", got.status)
	}
}

func TestAPersonAndAnOfficeHaveRatesOfTheirOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *web.Options) { o.Limits.PersonPerMinute, o.Limits.OfficePerSecond = 3, 7 })
	one, two, citizen := w.as("operator", "op-1"), w.as("operator", "op-2"), w.as("citizen", "citizen-"+person("ok", 0).IDANPR)
	for i := range 4 {
		got := one.get("/operator")
		if want := map[bool]int{true: ok, false: http.StatusTooManyRequests}[i < 3]; got.status != want {
			t.Fatalf("page %d of one person: %d, want %d", i+1, got.status, want)
		}
		if i == 3 && got.header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	// Another person of the same office still has the own pages, until the office
	// has had its share.
	for i := range 3 {
		if got := two.get("/operator"); got.status != ok {
			t.Fatalf("page %d of the other person: %d", i+1, got.status)
		}
	}
	if got := w.machine(clientID, w.client).get("/api/v1/requests"); got.status != http.StatusTooManyRequests {
		t.Errorf("the office's eighth call in a second: %d", got.status)
	}
	if got := w.machine(otherClientID, w.other).get("/api/v1/requests"); got.status != ok {
		t.Errorf("another office pays for it: %d", got.status)
	}
	if got := citizen.get("/citizen"); got.status != ok {
		t.Errorf("a citizen pays for it: %d", got.status)
	}
	w.pass(time.Minute)
	if got := one.get("/operator"); got.status != ok {
		t.Errorf("a minute later: %d", got.status)
	}
}

func TestTheHouseForgetsWhatIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.as("operator", "op-1")
	w.pass(9 * time.Hour)
	again, err := w.g.HouseOnce(t.Context())
	if err != nil || again {
		t.Fatalf("%v %v", again, err)
	}
	r, err := w.store.Erasures(t.Context())
	if err != nil || len(r.Erasures) != 2 || r.Erasures[0].Class != "sessions" || r.Erasures[0].Entries != 1 || r.Erasures[1].Class != "session_list" || len(r.Unproven) != 0 || len(r.Left) != 0 {
		t.Fatalf("%+v %v", r, err)
	}
}

func TestASessionEndedFromElsewhereIsWorthNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := "citizen-" + person("ok", 0).IDANPR
	here := w.as("citizen", id)
	w.pass(time.Second)
	other := w.as("citizen", id)
	if got := here.get("/citizen"); got.status != ok {
		t.Fatalf("%d", got.status)
	}
	if got := other.post("/sessions", url.Values{"session": {"others"}}); got.status != see {
		t.Fatalf("%d %.300s", got.status, got.body)
	}
	if got := here.get("/citizen"); got.status != no {
		t.Errorf("an ended session still opens the pages: %d", got.status)
	}
}

func TestARevokedClientIsNobodyFromThatMomentOn(t *testing.T) {
	t.Parallel()
	b := newWorld(t).revoked() // its bearer was good a moment ago, and lives on
	if got := b.get("/api/v1/requests"); got.status != no || !strings.Contains(got.body, "bearer_invalid") {
		t.Errorf("%d %s", got.status, got.body)
	}
}
