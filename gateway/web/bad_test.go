package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/gateway"
	"airegw/gateway/jose"
	"airegw/gateway/web"
)

func TestBadInputNamesFieldAndReasonInBothLanguages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := input(person("ok", 0).CF, "FOREIGN_RESIDENCE")
	swap := func(old, fresh string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the good input does not hold %s", old)
		}
		return strings.Replace(good, old, fresh, 1)
	}
	for name, c := range map[string]struct {
		body   string
		status int
		field  string
		code   string
	}{
		"an unknown member":        {swap(`"reason"`, `"colour":"red","reason"`), 400, "/colour", "unknown_field"},
		"an unknown inner member":  {swap(`"fiscal_code"`, `"shoe":44,"fiscal_code"`), 400, "/applicant/shoe", "unknown_field"},
		"a repeated member":        {swap(`"channel"`, `"channel":"comune","channel"`), 400, "/channel", "repeated_field"},
		"a null":                   {swap(`"first_issue"`, `null`), 400, "/reason", "null_value"},
		"a wrong type":             {swap(`"first_issue"`, `7`), 400, "/reason", "wrong_type"},
		"a wrong check letter":     {swap(person("ok", 0).CF, person("ok", 0).CF[:15]+"A"), 400, "/applicant/fiscal_code", "cf_checksum"},
		"an impossible date":       {swap(`"}`, `","birth_date":"1986-02-30"}`), 400, "/applicant/birth_date", "date_impossible"},
		"a comune that ceased":     {swap("054013", ceased(t)), 400, "/office", "comune_ceased"},
		"another office":           {swap("054013", "001272"), 400, "/office", "office_not_yours"},
		"an unknown office":        {swap("054013", "999999"), 400, "/office", "office_unknown"},
		"an unknown delivery":      {swap("FOREIGN_RESIDENCE", "PIGEON"), 400, "/delivery/option", "delivery_unknown"},
		"an address that is ours":  {swap(`"FOREIGN_RESIDENCE"`, `"FOREIGN_RESIDENCE","address":{"iso2":"AR"}`), 400, "/delivery/address", "address_is_the_registers"},
		"a broken e-mail":          {swap("someone@example.org", "someone"), 400, "/contacts/email", "email_shape"},
		"a short key":              {swap(`"key":"test-`, `"key":"!`), 400, "/key", "key_shape"},
		"invalid UTF-8":            {swap("someone", "some\xffone"), 400, "", "not_utf8"},
		"a cut body":               {good[:len(good)/2], 400, "", "not_json"},
		"two objects":              {good + good, 400, "", "not_one_object"},
		"no object":                {`["a"]`, 400, "", "not_one_object"},
		"nothing":                  {``, 400, "", "not_json"},
		"a body beyond the limit":  {swap("someone", strings.Repeat("x", 70<<10)), 413, "", "body_too_large"},
		"depth beyond any measure": {strings.Repeat(`{"parents":[`, 400), 400, "", ""},
	} {
		b := w.machine(clientID, w.client)
		texts := map[string]string{}
		for _, lang := range []string{"it", "en"} {
			b.lang = lang
			got := b.json("/api/v1/requests", c.body)
			var p struct {
				Code, Detail string
				Problems     []struct{ Field, Code, Detail string }
			}
			if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: no problem+json: %s", name, got.body)
				continue
			}
			texts[lang] = p.Detail
			found := c.code == "" || p.Code == c.code
			for _, f := range p.Problems {
				if f.Field == c.field && f.Code == c.code {
					found = true
					texts[lang] = f.Detail
				}
			}
			if got.status != c.status || !found {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
		}
		if texts["it"] == texts["en"] || texts["it"] == "" {
			t.Errorf("%s: told as %q and %q", name, texts["it"], texts["en"])
		}
	}
	if list := w.machine(clientID, w.client).get("/api/v1/requests"); !strings.Contains(list.body, `"requests":[]`) {
		t.Errorf("bad input left something behind: %s", list.body)
	}
}

// ceased answers the code of a comune that ceased and has successors.
func ceased(t *testing.T) string {
	t.Helper()
	for _, c := range anpr.FormerComuni() {
		if c.ISTAT != "" && len(c.Successors) > 0 {
			return c.ISTAT
		}
	}
	t.Fatal("no former comune is known")
	return ""
}

func TestABodyThatIsNotJSONIsRefusedByItsType(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.machine(clientID, w.client)
	if got := b.do("POST", "/api/v1/requests", "text/plain", input(person("ok", 0).CF, "FOREIGN_RESIDENCE"), nil); got.status != http.StatusUnsupportedMediaType {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestTheSameRequestSentTwiceIsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.machine(clientID, w.client)
	body := input(person("ok", 1).CF, "FOREIGN_RESIDENCE")
	body = body[:1] + body[strings.Index(body, `"channel"`):] // without a key: the digest is the key
	first, again := b.json("/api/v1/requests", body), b.json("/api/v1/requests", body)
	if first.status != created || again.status != ok {
		t.Fatalf("%d %s, %d %s", first.status, first.body, again.status, again.body)
	}
	if strings.Replace(first.body, "true", "false", 1) != again.body {
		t.Errorf("%s is not %s", first.body, again.body)
	}
	other := b.do("POST", "/api/v1/requests", "application/json", body, map[string]string{"Idempotency-Key": "another-key-1"})
	if other.status != moved || !strings.Contains(other.body, `"code":"already_open"`) {
		t.Errorf("a second request for the same person: %d %s", other.status, other.body)
	}
	stranger := w.machine(otherClientID, w.other).json("/api/v1/requests", strings.Replace(body, "054013", "001272", 1))
	if stranger.status != moved || !strings.Contains(stranger.body, "already_open_elsewhere") || strings.Contains(stranger.body, "R26-") {
		t.Errorf("another office: %d %s", stranger.status, stranger.body)
	}
}

func TestADoubleClickOnTheFormMakesOneRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.as("operator", "op-1")
	f := url.Values{
		"key": {"form-0123456789abcdef"}, "/applicant/fiscal_code": {person("ok", 2).CF}, "/reason": {"expiry"},
		"/delivery/option": {"FOREIGN_RESIDENCE"}, "/contacts/email": {"someone@example.org"},
	}
	one, two := b.post("/operator/requests", f), b.post("/operator/requests", f)
	at := func(r reply) string { return strings.Split(r.header.Get("Location"), "?")[0] }
	if one.status != see || two.status != see || at(one) != at(two) {
		t.Errorf("%d %s, %d %s", one.status, one.header.Get("Location"), two.status, two.header.Get("Location"))
	}
	if got := b.get(one.header.Get("Location")); got.status != ok || !strings.Contains(got.body, "La richiesta è stata ricevuta") {
		t.Errorf("%d", got.status)
	}
}

func TestTheTrackerLimitsGuesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser("en")
	for i := range 11 {
		got := b.post("/track", url.Values{"number": {"R26-000000000"}, "code": {"0000000000"}})
		want := hidden
		if i == 10 {
			want = http.StatusTooManyRequests
		}
		if got.status != want {
			t.Fatalf("guess %d: %d", i, got.status)
		}
		if i == 10 && (got.header.Get("Retry-After") == "" || got.header.Get("X-RateLimit-Remaining") != "0") {
			t.Errorf("429 without its headers: %v", got.header)
		}
	}
	w.pass(time.Minute)
	if got := b.post("/track", url.Values{"number": {"R26-000000000"}, "code": {"0000000000"}}); got.status != hidden {
		t.Errorf("a minute later: %d", got.status)
	}
}

func TestABearerIsHeldToEveryClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	audience := w.url + "/api/v1"
	stranger, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	good := w.bearer(clientID, w.client, 5*time.Minute, audience)
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"good":                   {good, ok},
		"good again, remembered": {good, ok},
		"too long a life":        {w.bearer(clientID, w.client, 11*time.Minute, audience), no},
		"another audience":       {w.bearer(clientID, w.client, time.Minute, "https://elsewhere.example"), no},
		"another's key":          {w.bearer(clientID, w.other, time.Minute, audience), no},
		"an unknown key":         {w.bearer(clientID, stranger, time.Minute, audience), no},
		"an unknown client":      {w.bearer("nobody", stranger, time.Minute, audience), no},
		"expired":                {w.bearer(clientID, w.client, -time.Minute, audience), no},
		"a cut one":              {good[:len(good)-3], no},
		"no token at all":        {"", no},
		"a changed payload":      {strings.Split(good, ".")[0] + "." + strings.Split(w.bearer(otherClientID, w.other, time.Minute, audience), ".")[1] + "." + strings.Split(good, ".")[2], no},
		"beyond any measure":     {strings.Repeat("a", 12<<10), no},
	} {
		b := w.browser("en")
		b.auth = "Bearer " + c.token
		if got := b.get("/api/v1/requests"); got.status != c.want {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	b := w.browser("en")
	b.auth = "Bearer " + good
	w.pass(6 * time.Minute)
	if got := b.get("/api/v1/requests"); got.status != no {
		t.Errorf("a remembered bearer outlives its end: %d", got.status)
	}
}

func TestEveryAnswerCarriesTheSafetyHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.as("operator", "op-1")
	home := b.get("/").body
	css := home[strings.Index(home, "/assets/"):]
	css = css[:strings.IndexByte(css, '"')]
	for path, cache := range map[string]string{
		"/": "no-store", "/operator": "no-store", "/track": "no-store", "/status": "no-store", "/api/v1/requests": "no-store",
		"/api/v1/requests/R26-000000000": "no-store", "/nowhere": "no-store", css: "public, max-age=31536000, immutable",
		"/api/v1/registry/posts": "public, max-age=3600",
	} {
		got := b.get(path)
		h := got.header
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		for k, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": cache, "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if h.Get(k) != want {
				t.Errorf("%s: %s is %q, want %q", path, k, h.Get(k), want)
			}
		}
		if h.Get("Permissions-Policy") == "" || h.Get("Request-Id") == "" || h.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestNothingInlineIsInAnyTemplate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.as("operator", "op-1")
	for _, path := range []string{"/", "/track", "/login", "/operator", "/operator/requests/new"} {
		body := b.get(path).body
		for _, inline := range []string{" style=", " onclick=", "<style", "javascript:"} {
			if strings.Contains(body, inline) {
				t.Errorf("%s holds %q, which the policy blocks", path, inline)
			}
		}
	}
}

func TestAnotherSitesFormIsStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.as("operator", "op-1")
	for name, header := range map[string]map[string]string{
		"by fetch metadata": {"Sec-Fetch-Site": "cross-site"},
		"by origin":         {"Origin": "https://elsewhere.example"},
	} {
		got := b.do("POST", "/logout", "application/x-www-form-urlencoded", "", header)
		if got.status != forbid || !strings.Contains(got.body, "altro sito") {
			t.Errorf("%s: %d %.200s", name, got.status, got.body)
		}
	}
	if got := b.get("/operator"); got.status != ok {
		t.Errorf("the session did not survive: %d", got.status)
	}
}

func TestByHTTPSCookiesAreBoundToTheHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *web.Options) { o.BaseURL = strings.Replace(o.BaseURL, "http://", "https://", 1) })
	got := w.browser("it").post("/login", url.Values{"operator": {"op-1"}})
	cookie := strings.Join(got.header.Values("Set-Cookie"), "\n")
	for _, want := range []string{"__Host-airegw_operator=", "Secure", "HttpOnly", "Path=/", "SameSite=Lax"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie lacks %s: %s", want, cookie)
		}
	}
	if got.header.Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS")
	}
}

func TestALoginGetsANewTokenAndEndsTheOtherRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.as("operator", "op-1")
	u, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	token := func(name string) string {
		for _, c := range b.http.Jar.Cookies(u) {
			if c.Name == name {
				return c.Value
			}
		}
		return ""
	}
	before := token("airegw_operator")
	if b.post("/login", url.Values{"operator": {"op-2"}}); token("airegw_operator") == before || before == "" {
		t.Error("the token stayed the same at login")
	}
	b.post("/login", url.Values{"citizen": {"citizen-" + person("ok", 0).IDANPR}})
	if got := b.get("/operator/requests/new"); got.status == ok {
		t.Error("a citizen kept the operator's session")
	}
	// A citizen's token in the operator's cookie is nobody's.
	stolen := &http.Cookie{Name: "airegw_operator", Value: token("airegw_citizen")}
	b.http.Jar.SetCookies(u, []*http.Cookie{stolen})
	if got := b.get("/operator/requests/new"); got.status == ok {
		t.Error("a citizen's token opened the counter")
	}
}

func TestServeHasNoDemoDoor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *web.Options) { o.Demo = nil })
	b := w.browser("en")
	if got := b.get("/login"); got.status != ok || strings.Contains(got.body, "Silvia Amato") || strings.Contains(got.body, person("ok", 0).CF) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := b.post("/login", url.Values{"operator": {"op-1"}}); got.status != http.StatusMethodNotAllowed {
		t.Errorf("%d", got.status)
	}
	_, err := web.New(web.Options{
		Gateway: w.g, Sessions: w.store.Sessions(), Book: w.store, Clients: clients{w.store}, Clock: w.Now, Log: nil, BaseURL: "https://x.example",
	})
	if err == nil {
		t.Error("a server without a log was made")
	}
}

func TestAParkedRequestIsSetGoingByAReferentOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	number, _ := w.submitted(person("ok", 4).CF, "FOREIGN_RESIDENCE")
	w.work()
	if got := w.as("operator", "op-1").post("/operator/requests/"+number+"/unpark", nil); got.status != forbid {
		t.Errorf("a clerk: %d", got.status)
	}
	if got := w.as("operator", "op-2").post("/operator/requests/"+number+"/unpark", nil); got.status != moved {
		t.Errorf("a referent, with nothing parked: %d", got.status)
	}
}

func TestARefusedDeliveryIsExplainedBesideItsField(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	number, _ := w.submitted(person("ok", 5).CF, "FOREIGN_RESIDENCE")
	w.work()
	for lang, words := range map[string]string{"it": "Questa consegna non è possibile", "en": "This delivery is not possible"} {
		b := w.as("operator", "op-1")
		b.lang = lang
		got := b.post("/operator/requests/"+number+"/delivery", url.Values{"/option": {"CONSULATE"}})
		if got.status != bad || !strings.Contains(got.body, words) {
			t.Errorf("%s: %d", lang, got.status)
		}
	}
}

func TestStatusTellsHealthAsTheGuidelinesAsk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := w.browser("en").get("/status")
	if got.status != ok || got.header.Get("Content-Type") != "application/problem+json" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	var s struct {
		Status int
		Peers  map[string]gateway.PeerHealth
	}
	if err := json.Unmarshal([]byte(got.body), &s); err != nil || s.Status != ok || !s.Peers["store"].OK {
		t.Errorf("%s %v", got.body, err)
	}
}
