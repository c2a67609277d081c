package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"airegw/gateway/store"
	"airegw/gateway/web"
	"airegw/testharness/opsim"
)

// cookiesOf answers the names of the cookies a browser holds for the gateway.
func (b *browser) cookies() string {
	u, err := url.Parse(b.w.url)
	if err != nil {
		b.w.t.Fatal(err)
	}
	var names []string
	for _, c := range b.http.Jar.Cookies(u) {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

func TestACitizenLogsInLeavesATraceAndLogsOut(t *testing.T) {
	t.Parallel()
	l := newLoginWorld(t)
	one := person("ok", 0)
	l.auto(one.CF)
	b := l.browser("it")
	a, at := b.follow("/login/cie?next=/citizen/report")
	if a.status != ok || at != l.url+"/citizen/report" {
		t.Fatalf("%d at %s: %.600s", a.status, at, a.body)
	}
	// The attempt's cookie is gone, the session's carries its role.
	if got := b.cookies(); strings.Contains(got, "airegw_login") || !strings.Contains(got, "airegw_citizen") {
		t.Errorf("cookies: %s", got)
	}
	if got := b.get("/sessions"); strings.Count(got.body, `class="box"`) != 1 || !strings.Contains(got.body, "livello 2") {
		t.Errorf("sessions: %.900s", got.body)
	}
	// A second browser; the first ends it.
	c := l.browser("it")
	c.follow("/login/cie?next=/citizen")
	list := b.get("/sessions").body
	if strings.Count(list, `class="box"`) != 2 {
		t.Fatalf("two sessions: %.900s", list)
	}
	if got := b.post("/sessions", url.Values{"session": {"others"}}); got.status != see {
		t.Fatalf("%d", got.status)
	}
	if got := c.get("/citizen"); got.status != no {
		t.Errorf("the ended session still opens: %d", got.status)
	}
	if got := b.get("/citizen"); got.status != ok {
		t.Errorf("the own session is gone: %d", got.status)
	}
	if got := b.post("/logout", nil); got.status != see {
		t.Errorf("%d", got.status)
	}
	if got := b.get("/citizen"); got.status != no {
		t.Errorf("after logout: %d", got.status)
	}
	revoked := 0
	for _, e := range l.op.Events() {
		if e.Kind == "revocation" {
			revoked++
		}
	}
	if revoked != 2 {
		t.Errorf("%d tokens revoked, want the two logins'", revoked)
	}
	if log := l.log.String(); strings.Contains(log, one.CF) || strings.Contains(log, one.Surname) {
		t.Error("the log names the person")
	}
}

func TestASessionChangesItsTokenAtLoginAndAtStepUp(t *testing.T) {
	t.Parallel()
	l := newLoginWorld(t)
	l.auto(person("ok", 0).CF)
	b := l.browser("it")
	token := func() string {
		u, _ := url.Parse(l.url)
		for _, c := range b.http.Jar.Cookies(u) {
			if c.Name == "airegw_citizen" {
				return c.Value
			}
		}
		return ""
	}
	b.follow("/login/cie?next=/citizen")
	first := token()
	a, at := b.follow("/login/cie?level=3&next=/sessions")
	if a.status != ok || at != l.url+"/sessions" || !strings.Contains(a.body, "livello 3") || strings.Count(a.body, `class="box"`) != 1 {
		t.Fatalf("%d at %s: %.900s", a.status, at, a.body)
	}
	if second := token(); first == "" || second == first {
		t.Errorf("the token was not changed: %q %q", first, second)
	}
	// Whoever steps up must be the same person.
	l.auto(person("ok", 1).CF)
	if a, _ := b.follow("/login/cie?level=3&next=/citizen"); a.status < 400 || !strings.Contains(a.body, "Codice da indicare") {
		t.Errorf("somebody else stepped up: %d", a.status)
	}
	if got := b.get("/citizen"); got.status != ok {
		t.Errorf("the session before is gone: %d", got.status)
	}
}

func TestNobodyIsSentElsewhereByALinkToUs(t *testing.T) {
	t.Parallel()
	l := newLoginWorld(t)
	l.auto(person("ok", 0).CF)
	for _, next := range []string{
		"https://evil.example", "//evil.example", `/\evil.example`, "/%2f/evil.example\n", "javascript:alert(1)", "/login/cie", strings.Repeat("/a", 400),
	} {
		a, at := l.browser("it").follow("/login/cie?next=" + url.QueryEscape(next))
		if a.status != ok || at != l.url+"/citizen" {
			t.Errorf("%q: %d at %s", next, a.status, at)
		}
	}
}

func TestAFailedLoginSaysItsClassAndAReference(t *testing.T) {
	t.Parallel()
	l := newLoginWorld(t)
	one := person("ok", 0)
	l.auto(one.CF)
	failed := func(name string, a reply, status int, text string) {
		t.Helper()
		if a.status != status || !strings.Contains(a.body, text) || !strings.Contains(a.body, "Codice da indicare") || strings.Contains(a.body, "error_description") {
			t.Errorf("%s: %d, want %d and %q: %.1500s", name, a.status, status, text, a.body[strings.Index(a.body, "<main"):])
		}
	}
	// The person refuses.
	if err := l.op.SetAuto(&opsim.Auto{People: []string{one.CF}, Refuse: true}); err != nil {
		t.Fatal(err)
	}
	a, _ := l.browser("it").follow("/login/cie")
	failed("refused", a, forbid, "Accesso annullato")
	l.auto(one.CF)

	// An answer nobody asked for, another browser's, and one that was used.
	b := l.browser("it")
	failed("unknown", b.get("/login/cie/callback?code=x&state=y&iss=z"), bad, "scaduta o è già stata usata")
	begun := b.get("/login/cie")
	atProvider := b.do("GET", begun.header.Get("Location"), "", "", nil)
	back := atProvider.header.Get("Location")
	if !strings.HasPrefix(back, l.url+"/login/cie/callback?") {
		t.Fatalf("%d %s", atProvider.status, back)
	}
	failed("another browser", l.browser("it").do("GET", back, "", "", nil), bad, "scaduta o è già stata usata")
	failed("used", b.do("GET", back, "", "", nil), bad, "scaduta o è già stata usata")

	// Somebody who is in and comes back to a login that is over is let in.
	b.follow("/login/cie")
	if got := b.do("GET", back, "", "", nil); got.status != see || got.header.Get("Location") != "/citizen" {
		t.Errorf("%d %s", got.status, got.header.Get("Location"))
	}

	// The provider does not answer.
	b = l.browser("it")
	begun = b.get("/login/cie")
	back = b.do("GET", begun.header.Get("Location"), "", "", nil).header.Get("Location")
	if err := l.op.SetDown("provider", true); err != nil {
		t.Fatal(err)
	}
	a = b.do("GET", back, "", "", nil)
	failed("provider down", a, http.StatusServiceUnavailable, "non risponde")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}

	// No valid chain: no button, and the start says when to try again.
	l.pass(30 * time.Hour)
	page := l.browser("it").get("/login")
	if strings.Contains(page.body, `class="cie"`) || !strings.Contains(page.body, "non si può accedere con la CIE") || !strings.Contains(page.body, "Riprova dopo") {
		t.Errorf("without a chain: %.1500s", page.body)
	}
	a = l.browser("it").get("/login/cie")
	failed("no chain", a, http.StatusServiceUnavailable, "Riprova dopo")
	for _, secret := range []string{one.CF, "SpidL2"} {
		if strings.Contains(l.log.String(), secret) {
			t.Errorf("the log holds %s", secret)
		}
	}
}

func TestTheCookiesOfAHostAreTheHostsAlone(t *testing.T) {
	t.Parallel()
	l := newLoginWorld(t)
	secure := newWorld(t, func(o *web.Options) {
		o.BaseURL, o.Demo = "https://gateway.example", nil
		kept, _ := o.Book.(*store.Store)
		o.Operators = l.newOperators(t, kept, o)
	})
	a := secure.browser("it").get("/login/operator?office=comune:058091")
	set := strings.Join(a.header.Values("Set-Cookie"), "\n")
	if a.status != see || !strings.Contains(set, "__Host-airegw_login_operator_") || !strings.Contains(set, "Secure") || !strings.Contains(set, "HttpOnly") || !strings.Contains(set, "SameSite=Lax") {
		t.Errorf("%d %s", a.status, set)
	}
}

func TestABrowserIsBoundToABoundedNumberOfAttempts(t *testing.T) {
	t.Parallel()
	l := newLoginWorld(t)
	b := l.browser("it")
	for range 50 {
		if a := b.get("/login/cie"); a.status != see {
			t.Fatalf("%d", a.status)
		}
	}
	if n := strings.Count(b.cookies(), "airegw_login_citizen_"); n > 41 || n < 1 {
		t.Errorf("%d attempts are bound", n)
	}
	// The newest of them still comes in.
	l.auto(person("ok", 0).CF)
	if a, at := b.follow("/login/cie"); a.status != ok || at != l.url+"/citizen" {
		t.Errorf("%d at %s", a.status, at)
	}
}

func TestAnOperatorLogsInForTheOfficeChosenAndNoOther(t *testing.T) {
	t.Parallel()
	l := newLoginWorld(t)
	b := l.browser("it")
	if page := b.get("/login"); !strings.Contains(page.body, "office=comune%3A058091") || !strings.Contains(page.body, "provider=Interno") {
		t.Errorf("%.2000s", page.body)
	}
	if err := l.op.SetOperatorAuto("op-001"); err != nil {
		t.Fatal(err)
	}
	a, at := b.follow("/login/operator?office=comune:058091&next=/operator/requests/new")
	if a.status != ok || at != l.url+"/operator/requests/new" || !strings.Contains(a.body, "Silvia Amato") {
		t.Fatalf("%d at %s: %.900s", a.status, at, a.body)
	}
	if a, _ := l.browser("it").follow("/login/operator?office=" + url.QueryEscape(castello.ID())); a.status < 400 {
		t.Errorf("an operator of Roma came in at %s: %d", castello.Name(), a.status)
	}
	if a, _ := l.browser("it").follow("/login/operator?office=comune:001272"); a.status < 400 {
		t.Errorf("an office of no provider: %d", a.status)
	}
	if err := l.op.SetOperatorAuto("owner-interior"); err != nil {
		t.Fatal(err)
	}
	a, at = l.browser("it").follow("/login/operator?provider=Interno")
	if a.status != ok || at != l.url+"/rules" {
		t.Errorf("an owner of the rules: %d at %s", a.status, at)
	}
}

func TestAnActAsksForTheLevelItsRuleDemands(t *testing.T) {
	t.Parallel()
	child := person("minor-two-parents", 0)
	l := newLoginWorld(t, func(o *web.Options) {
		o.Demo.Citizens = append(o.Demo.Citizens, web.DemoCitizen{ID: "level-1", Name: "Un Genitore", FiscalCode: child.Parents[1], Level: 1})
	})
	number := l.minor(child.CF, child.Parents)
	l.auto(child.Parents[0])
	b := l.browser("it")
	b.follow("/login/cie?next=/citizen")
	path := "/citizen/requests/" + number
	if page := b.get(path); !strings.Contains(page.body, "level=3") || strings.Contains(page.body, `action="`+path+`/assent"`) {
		t.Errorf("the page at level 2 offers the act: %.300s", page.body)
	}
	a := b.post(path+"/assent", url.Values{"parent": {child.Parents[0]}, "given": {"yes"}})
	if a.status != forbid || !strings.Contains(a.body, "level=3&amp;next="+url.QueryEscape(path)) {
		t.Errorf("the act at level 2: %d %.3000s", a.status, a.body)
	}
	_, at := b.follow("/login/cie?level=3&next=" + url.QueryEscape(path))
	if at != l.url+path {
		t.Fatalf("came back to %s", at)
	}
	for _, given := range []string{"yes", "no", "yes"} { // it can be taken back
		if a := b.post(path+"/assent", url.Values{"parent": {child.Parents[0]}, "given": {given}}); a.status != see {
			t.Fatalf("%d %.600s", a.status, a.body)
		}
	}
	// Level 1 sees, and does nothing.
	r := l.as("citizen", "level-1")
	if a := r.get(path); a.status != ok {
		t.Errorf("a look at level 1: %d", a.status)
	}
	for _, act := range []string{path + "/cancellation", path + "/delivery", "/citizen/requests", "/citizen/report"} {
		f := url.Values{"code": {"withdrawn"}, "/option": {"FOREIGN_RESIDENCE"}, "/kind": {"loss"}, "key": {"form-12345678"}}
		if a := r.post(act, f); a.status != forbid && a.status != bad {
			t.Errorf("%s at level 1: %d", act, a.status)
		}
	}
}
