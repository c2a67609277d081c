package web_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"airegw/testharness/opsim"
	"airegw/testharness/sim"
)

// newLoginPage is newPage on a world with providers: we at localhost, they at
// 127.0.0.1.
func newLoginPage(t *testing.T) (*page, *loginWorld) {
	t.Helper()
	l := newLoginWorld(t)
	return newPage(t, l.world), l
}

// click follows a link or presses a button that leads to a new page.
func (p *page) click(selector string) {
	p.t.Helper()
	p.js(`const e = document.querySelector(` + quote(selector) + `); if (!e) throw new Error("no " + ` + quote(selector) + ` + " at " + location.href + ": " + document.body.innerText.slice(0, 600)); window.__before = true; e.click();`)
	p.waitNew()
}

func (p *page) at() string { p.t.Helper(); return p.js(`return location.href`) }

// isAt wants the browser on a path of the gateway's own.
func (p *page) isAt(path string) {
	p.t.Helper()
	if got := p.at(); got != p.w.url+path {
		p.t.Fatalf("at %s, want %s:\n%.900s", got, p.w.url+path, p.text())
	}
}

// atProvider chooses a person and a level on the provider's page.
func (p *page) atProvider(cf, level string) {
	p.t.Helper()
	p.js(`document.querySelector("#person").value = ` + quote(cf) + `; document.querySelector("#level-` + level + `").click();`)
	p.click("#continue")
}

// enter logs a citizen in through the provider's pages.
func (p *page) enter(cf, level string) {
	p.t.Helper()
	p.atProvider(cf, level)
	p.click("#consent")
}

// history goes n pages back (or forward, n positive) and waits for an address.
func (p *page) history(n int, prefix string) {
	p.t.Helper()
	from := p.at()
	p.js(`setTimeout(() => history.go(` + strconv.Itoa(n) + `), 50)`)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
		at, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.readyState === "complete" ? location.href : ""`))
		cancel()
		if err == nil && at != "" && at != from && strings.HasPrefix(at, prefix) {
			return
		}
	}
	p.t.Fatalf("%d pages from %s nothing came", n, from)
}

// tab is another tab of the same browser.
func (p *page) tab() *page {
	p.t.Helper()
	ctx, cancel := chromedp.NewContext(p.ctx)
	p.t.Cleanup(cancel)
	q := &page{t: p.t, w: p.w, ctx: ctx, axe: p.axe, shots: p.shots}
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		p.t.Fatal(err)
	}
	return q
}

// quiet wants nothing in the console: a blocked style or script shows there.
func (p *page) quiet() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		p.t.Errorf("console: %s", f)
	}
}

// TestACitizenLogsInWithTheCIEInABrowser: at level 2 through the provider's own
// pages, a new request, the record, a report of theft, the sessions, and out.
func TestACitizenLogsInWithTheCIEInABrowser(t *testing.T) {
	t.Parallel()
	p, l := newLoginPage(t)
	one := person("ok", 0)
	p.open("/?lang=it")
	p.open("/citizen/requests/new")
	p.look("cie-sign-in-first")
	p.click(`main a[href^="/login"]`)
	p.look("cie-login")
	p.click("a[href='/login/help']")
	p.look("cie-help")
	p.open("/login?next=%2Fcitizen%2Frequests%2Fnew")
	p.click("a.cie")
	if at := p.at(); !strings.HasPrefix(at, l.op.Addresses.Provider) {
		t.Fatalf("not at the provider: %s", at)
	}
	p.enter(one.CF, "L2")
	p.isAt("/citizen/requests/new")
	p.fill(map[string]string{
		"/reason": "first_issue", "/delivery/option": "FOREIGN_RESIDENCE", "/channel": "comune", "office_name": "054013",
		"/contacts/email": "someone@example.org",
	})
	p.send(`input[name="/contacts/email"]`)
	p.shows("La richiesta è stata ricevuta")
	p.look("cie-request")
	l.work()

	// My data, as the register said; something is wrong.
	p.click(`a[href="/citizen/data"]`)
	p.shows(one.Surname)
	p.shows("non interroga il registro")
	p.look("cie-data")
	p.fill(map[string]string{"part": "address", "said": ""})
	p.send(`textarea[name=said]`)
	p.look("cie-data-problem")
	p.fill(map[string]string{"part": "address", "said": "Calle Florida 100"})
	p.send(`textarea[name=said]`)
	p.shows("Segnalazione inviata")
	p.look("cie-data-reported")

	// A stolen card: first with a mistake, then with all.
	p.click(`a[href="/citizen/report"]`)
	p.look("cie-report")
	p.fill(map[string]string{"/kind": "theft", "/on": "2031-01-01", "/police/authority": "Comisaría 1ª"})
	p.send(`input[name="/on"]`)
	p.look("cie-report-problem")
	p.fill(map[string]string{"/kind": "theft", "/on": "2026-11-20", "/card": "CA12345AA", "/police/authority": "Comisaría 1ª", "/police/date": "2026-11-20"})
	p.send(`input[name="/on"]`)
	p.shows("Segnalazione ricevuta: D26-")
	p.look("cie-report-done")
	p.click(`a[href^="/citizen/requests/new?report="]`)
	if got := p.js(`return document.querySelector('[name="/reason"]').value + " " + document.querySelector('[name="/report/authority"]').value`); got != "theft Comisaría 1ª" {
		t.Errorf("the form of a new request is not filled: %q", got)
	}
	p.click(`a.who`)
	p.look("cie-sessions")
	p.js(`window.__before = true; document.querySelector('form[action="/logout"] button').click()`)
	p.waitNew()
	p.isAt("/")
	p.open("/citizen")
	p.shows("Bisogna entrare")
	if got := p.js(`return document.cookie`); strings.Contains(got, "airegw_citizen") {
		t.Errorf("a cookie that scripts can read: %s", got)
	}

	// The counter sees what was reported, and takes the card for no document.
	p.login("operator", "op-1")
	p.open("/operator")
	p.fill(map[string]string{"q": one.CF})
	p.send(`input[name=q]`)
	p.click(".rows a")
	p.shows("Il titolare ha segnalato la carta")
	p.look("cie-report-at-desk")
	number := p.js(`return location.pathname.split("/").pop()`)
	w := l.machine(clientID, l.client)
	w.json("/api/v1/requests/"+number+"/counter/presence", "")
	if a := w.json("/api/v1/requests/"+number+"/counter/documents", `{"identity":"electronic_card"}`); a.status != moved || !strings.Contains(a.body, "card_reported") {
		t.Errorf("the stolen card proves who somebody is: %d %s", a.status, a.body)
	}
	p.quiet()
}

// TestTenTabsLogInAtOnceInABrowser: two at first, then ten, all begun before any
// is finished.
func TestTenTabsLogInAtOnceInABrowser(t *testing.T) {
	t.Parallel()
	p, l := newLoginPage(t)
	one := person("ok", 0)
	p.open("/?lang=it")
	for _, n := range []int{2, 10} {
		tabs := make([]*page, n)
		for i := range tabs {
			tabs[i] = p.tab()
			tabs[i].open("/login/cie?next=/citizen")
		}
		for _, tab := range tabs {
			tab.enter(one.CF, "L2")
			tab.isAt("/citizen")
		}
		if open := l.sessions("airegw_citizen " + l.opaque(tabs[0])); open != 1 {
			t.Errorf("%d tabs of one browser have %d sessions", n, open)
		}
	}
}

// opaque answers the opaque id of who is logged in, from the log's last line.
func (l *loginWorld) opaque(p *page) string {
	l.t.Helper()
	p.open("/citizen")
	log := l.log.String()
	_, rest, ok := strings.Cut(log[strings.LastIndex(log, `"caller":"citizen"`):], `"actor":"`)
	if !ok {
		l.t.Fatal("nobody in the log")
	}
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

// TestALoginThatIsOverInABrowser: the back button, a stale callback, consent
// refused, the provider down, no valid chain.
func TestALoginThatIsOverInABrowser(t *testing.T) {
	t.Parallel()
	p, l := newLoginPage(t)
	one := person("ok", 0)
	p.open("/?lang=it")
	p.open("/login/cie?next=/citizen")
	p.atProvider(one.CF, "L2")
	p.click("#refuse")
	p.shows("Accesso annullato")
	p.look("cie-refused")
	p.click(`main a[href^="/login?next="]`)
	p.click("a.cie")
	p.enter(one.CF, "L2")
	p.isAt("/citizen")

	// Back to the provider's page, consent once more, and on: still in.
	p.history(-1, l.op.Addresses.Provider)
	if p.js(`return document.querySelector("#consent") ? "there" : ""`) != "" {
		p.click("#consent")
	}
	p.open("/citizen")
	p.isAt("/citizen")

	// A callback seen before: in, one is sent on; out, one is told to start again.
	p.open("/login/cie/callback?code=00000000-0000-4000-8000-000000000000&state=" + strings.Repeat("s", 43) + "&iss=x")
	p.isAt("/citizen")
	p.js(`window.__before = true; document.querySelector('form[action="/logout"] button').click()`)
	p.waitNew()
	p.open("/login/cie/callback?code=00000000-0000-4000-8000-000000000000&state=" + strings.Repeat("s", 43) + "&iss=x")
	p.shows("scaduta o è già stata usata")
	p.look("cie-stale")

	// The level is not reached; then the provider goes down while the person is there.
	for fault, want := range map[sim.Rule][2]string{
		{Name: "id-token-lower-acr", Op: opsim.OpToken, Count: 1}: {"serve un livello di accesso più alto", "cie-level"},
		{Name: sim.FaultHTTP503, Op: opsim.OpToken, Count: 5}:     {"non risponde", "cie-down"},
	} {
		p.open("/login/cie?next=/citizen")
		p.atProvider(one.CF, "L2")
		if err := l.op.Faults().Set(fault); err != nil {
			t.Fatal(err)
		}
		p.click("#consent")
		p.shows(want[0])
		p.shows("Codice da indicare all’assistenza")
		p.look(want[1])
		l.op.Faults().Reset()
	}

	// No valid chain.
	l.pass(30 * time.Hour)
	p.open("/login")
	p.shows("Riprova dopo")
	p.look("cie-no-chain")
	p.open("/login/cie")
	p.shows("Riprova dopo")
	p.look("cie-no-chain-start")
	p.quiet()
}

// TestAParentStepsUpAndAssentsInABrowser: at level 2 the request is seen, the
// assent asks for the card; back on the page it is given and taken back.
func TestAParentStepsUpAndAssentsInABrowser(t *testing.T) {
	t.Parallel()
	p, l := newLoginPage(t)
	child := person("minor-two-parents", 0)
	number := l.minor(child.CF, child.Parents)
	parent := child.Parents[0]
	p.open("/?lang=it")
	p.open("/login/cie?next=/citizen")
	p.enter(parent, "L2")
	p.click(".rows a")
	p.isAt("/citizen/requests/" + number)
	p.shows("al livello 3")
	p.look("cie-step-up")
	p.click("main a.cie")
	p.enter(parent, "L3")
	p.isAt("/citizen/requests/" + number)
	for _, word := range []struct{ value, said string }{{"yes", "assenso dato"}, {"no", "assenso negato"}, {"yes", "assenso dato"}} {
		p.click(`form[action$="/assent"] button[value=` + word.value + `]`)
		p.shows(word.said)
	}
	p.look("cie-assented")
	p.quiet()
}

// TestAnOperatorLogsInInABrowser at the provider of the office's administration.
func TestAnOperatorLogsInInABrowser(t *testing.T) {
	t.Parallel()
	p, _ := newLoginPage(t)
	p.open("/login?lang=it")
	p.click(`a[href*="office=comune%3A058091"]`)
	p.js(`document.querySelector("#operator").value = "op-001"`)
	p.click("#continue")
	p.isAt("/operator")
	p.shows("Silvia Amato")
	p.look("operator-in")
	p.quiet()
}
