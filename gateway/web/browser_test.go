package web_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"airegw/gateway"
)

const (
	chromium = "/usr/bin/chromium"
	axePath  = "assets/node_modules/axe-core/axe.min.js"
)

// page is a Chromium tab that looks at the world's pages.
type page struct {
	t     *testing.T
	w     *world
	ctx   context.Context
	axe   string
	shots string

	mu     sync.Mutex
	faults []string // what the console complained of: a blocked style or script shows here
}

// newPage starts Chromium. Its absence is a failure: `make test` installs it.
func newPage(t *testing.T, w *world) *page {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		t.Fatalf("the page tests need Chromium at %s: apt-get install chromium (make test does it)", chromium)
	}
	axe, err := os.ReadFile(axePath)
	if err != nil {
		t.Fatalf("the page tests need axe-core: run `make assets` (npm ci in gateway/web/assets): %v", err)
	}
	shots := os.Getenv("AIREGW_SHOTS")
	if shots != "" {
		if err := os.MkdirAll(shots, 0o755); err != nil { //nolint:gosec // screenshots of synthetic people
			t.Fatal(err)
		}
	}
	// Without the background flags Chromium looks for hosts of its maker.
	looked.begun(t.Name())
	ctx, stop := chromedp.NewExecAllocator(context.Background(), append(
		chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()),
	)...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &page{t: t, w: w, ctx: ctx, axe: string(axe), shots: shots}
	// The first call starts the browser: a deadline on it would be the browser's.
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	zone := emulation.SetTimezoneOverrideParams{TimezoneID: "America/Argentina/Buenos_Aires"} // the viewer's own
	if _, err := chromedp.Call(ctx, emulation.SetTimezoneOverride, zone); err != nil {
		t.Fatal(err)
	}
	console := chromedp.Console(ctx)
	go func() {
		for m, err := range console {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleException || m.Source == "security" {
				// An error page is an error to Chromium's network log; it is what the test asked for.
				if !strings.Contains(m.Text, "the server responded with a status of") {
					p.mu.Lock()
					p.faults = append(p.faults, m.Text+" "+m.URL)
					p.mu.Unlock()
				}
			}
		}
	}()
	return p
}

func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// js runs a script in the page and answers its value as text.
func (p *page) js(script string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(async () => { const v = await (async () => {`+script+`})(); return String(v ?? ""); })()`, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", script, err)
	}
	return v
}

// open goes to a page of the gateway. A navigation that a script began just
// before may abort ours, as a hasty person's click would: then once more.
func (p *page) open(path string) {
	p.t.Helper()
	for range 3 {
		ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
		_, err := chromedp.Run(ctx, chromedp.Navigate(p.w.url+path))
		cancel()
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "ERR_ABORTED") {
			p.t.Fatal(err)
		}
	}
	p.t.Fatalf("%s: aborted again and again", path)
}

// send submits a form and waits for the page that answers it.
func (p *page) send(selector string) {
	p.t.Helper()
	p.js(`window.__before = true; document.querySelector(` + quote(selector) + `).closest("form").requestSubmit(document.querySelector(` + quote(selector) + `).closest("form").querySelector("button[type=submit]"));`)
	p.waitNew()
}

// waitNew waits until the page that was marked is gone and the next is whole.
func (p *page) waitNew() {
	p.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
		v, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!window.__before && document.readyState === "complete"`))
		cancel()
		if err == nil && v {
			return
		}
	}
	p.t.Fatal("no new page came")
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (p *page) fill(values map[string]string) {
	p.t.Helper()
	for name, v := range values {
		p.js(`const el = document.querySelectorAll('[name="` + name + `"]');
			for (const e of el) { if (e.type === "radio" || e.type === "checkbox") { if (e.value === ` + quote(v) + `) e.click(); } else { e.value = ` + quote(v) + `; } }
			if (!el.length) throw new Error("no field ` + name + `");`)
	}
}

func (p *page) login(kind, id string) {
	p.t.Helper()
	p.open("/login")
	p.send(`input[name=` + kind + `][value="` + id + `"]`)
}

// screen is a size at which pages are looked at.
type screen struct {
	name          string
	width, height int64
}

var phone, desktop = screen{"phone", 390, 844}, screen{"desktop", 1280, 800}

// look takes the page at phone and desktop width and holds it to axe-core's
// rules and to the screen's width; with AIREGW_SHOTS it keeps a screenshot.
func (p *page) look(name string) {
	p.t.Helper()
	p.lookOn(name, phone, desktop)
}

func (p *page) lookOn(name string, sizes ...screen) {
	p.t.Helper()
	if at, mine := strings.CutPrefix(p.js(`return location.origin + location.pathname`), p.w.url); mine {
		looked.note(at, len(sizes) > 1)
	}
	for _, size := range sizes {
		p.do(chromedp.EmulateViewport(size.width, size.height))
		if wide := p.js(`return document.documentElement.scrollWidth > window.innerWidth + 1 ? document.documentElement.scrollWidth + " of " + window.innerWidth : ""`); wide != "" {
			p.t.Errorf("%s at %s: the page is wider than the screen: %s", name, size.name, wide)
		}
		found := p.js(`if (!window.axe) { ` + p.axe + ` }
			const r = await axe.run(document, {resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]});
			return r.violations.map(v => v.id + " (" + v.impact + "): " + v.nodes.slice(0, 3).map(n => n.target.join(" ") + " " + n.failureSummary.replace(/\s+/g, " ").slice(0, 200)).join(" | ")).join("\n");`)
		if found != "" {
			p.t.Errorf("%s at %s: axe-core:\n%s", name, size.name, found)
		}
		if p.shots == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
		shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		cancel()
		if err != nil {
			p.t.Fatal(err)
		}
		err = os.WriteFile(filepath.Join(p.shots, name+"-"+size.name+".png"), shot, 0o644) //nolint:gosec // synthetic people
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *page) text() string { p.t.Helper(); return p.js(`return document.body.innerText`) }

func (p *page) shows(want string) {
	p.t.Helper()
	if got := p.text(); !strings.Contains(got, want) {
		p.t.Errorf("the page does not show %q:\n%.1500s", want, got)
	}
}

// TestAPersonIsServedAtTheCounterInABrowser clicks through the pages as people
// do, and looks at each: screenshots, axe-core, width, console.
func TestAPersonIsServedAtTheCounterInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newPage(t, w)
	one := person("ok", 0)

	p.open("/?lang=it")
	p.look("home")
	p.open("/?lang=en")
	p.shows("The electronic identity card")
	p.look("home-en")
	p.open("/?lang=it")
	p.open("/login")
	p.look("login")
	p.js(`const i = document.querySelector("#f-filter"); i.value = "silvia amato"; i.dispatchEvent(new Event("input", {bubbles: true}));`)
	if n := p.js(`return [...document.querySelectorAll(".person")].filter(e => !e.hidden).length`); n != "1" {
		t.Errorf("the list shows %s people called Silvia Amato", n)
	}
	p.open("/no/such/page")
	p.look("not-found")
	p.open("/operator")
	p.look("sign-in-first")

	// A request for the person present: first with mistakes, nothing is lost.
	p.login("operator", "op-1")
	p.look("dashboard-empty")
	p.open("/operator/requests/new")
	p.look("new-at-desk")
	p.fill(map[string]string{
		"/applicant/fiscal_code": one.CF[:15] + "X", "/reason": "first_issue", "/delivery/option": "IT_ADDRESS",
		"/delivery/address/street": "Via Roma", "/contacts/email": "nobody", "/contacts/phone": "12",
	})
	p.send(`input[name="/contacts/email"]`)
	p.shows("L’ultima lettera del codice fiscale non torna")
	p.look("new-at-desk-problems")
	if kept := p.js(`return document.querySelector('[name="/delivery/address/street"]').value`); kept != "Via Roma" {
		t.Errorf("what was typed is lost: %q", kept)
	}
	p.fill(map[string]string{
		"/applicant/fiscal_code": one.CF, "/delivery/option": "FOREIGN_RESIDENCE", "/contacts/email": "someone@example.org", "/contacts/phone": "+541145550100",
	})
	p.send(`input[name="/contacts/email"]`)
	p.shows("La richiesta è stata ricevuta")
	number := p.js(`return location.pathname.split("/").pop()`)
	p.look("request-submitted")
	w.work()
	p.open("/operator/requests/" + number)
	p.look("request-checked")

	// The counter's work, one act after the other.
	act := func(name string, values map[string]string) {
		t.Helper()
		p.open("/operator/requests/" + number)
		form := `form[action$="/` + name + `"]`
		p.js(`document.querySelector('` + form + `').closest("details")?.setAttribute("open", "")`)
		for k, v := range values {
			p.js(`const el = document.querySelectorAll('` + form + ` [name="` + k + `"]');
				for (const e of el) { if (e.type === "radio") { if (e.value === ` + quote(v) + `) e.click(); } else { e.value = ` + quote(v) + `; } }
				if (!el.length) throw new Error("no field ` + k + `");`)
		}
		p.send(form + ` button`)
	}
	act("presence", nil)
	p.shows("Presenza registrata")
	act("documents", map[string]string{"identity": ""})
	p.look("act-problem")
	act("documents", map[string]string{"identity": "passport"})
	act("declaration", map[string]string{"no_obstacles": "yes"})
	act("enquiry", nil)
	act("capture", map[string]string{"height_cm": "168"})
	act("fee", map[string]string{"means": "card"})
	p.look("request-in-enquiry")
	act("prepare", nil)
	p.shows("NUN ricevuto")
	p.look("request-forms-ready")
	p.js(`document.querySelector('form[action$="/print"]').target = ""`)
	p.send(`form[action$="/print"] button`)
	p.shows("1234····")
	p.look("summary-form")
	act("confirm", nil)
	act("sign", nil)
	w.work()
	p.open("/operator/requests/" + number)
	p.look("request-relayed")
	for i, e := range []string{"cnsd_certified", "in_production", "shipped"} {
		w.pass(36 * time.Hour)
		w.event(number, i+1, e, gateway.CoreDetails{Tracking: "RR123456789IT", Carrier: "Poste"})
	}

	// One that the register wants corrected, one refused, one waiting.
	misaligned, _ := w.submitted(person("cf-not-validated", 0).CF, "FOREIGN_RESIDENCE")
	refused, _ := w.submitted(person("deceased", 0).CF, "FOREIGN_RESIDENCE")
	w.work()
	w.reg.set(true)
	waiting, _ := w.submitted(person("ok", 7).CF, "FOREIGN_RESIDENCE")
	w.work()
	for name, n := range map[string]string{"misaligned": misaligned, "refused": refused, "waiting": waiting} {
		p.login("operator", "op-1")
		p.open("/operator/requests/" + n)
		p.look("request-" + name)
	}
	p.open("/operator")
	p.look("dashboard")
	p.fill(map[string]string{"q": one.Surname})
	p.send(`input[name=q]`)
	p.shows(number)
	p.look("dashboard-found")

	// The tracker: a wrong code, then the right one, in a time zone of its own.
	code := w.trackerCode(number)
	p.open("/track")
	p.look("track")
	p.fill(map[string]string{"number": number, "code": "0000000000"})
	p.send(`input[name=code]`)
	p.look("track-wrong")
	p.fill(map[string]string{"number": number, "code": code})
	p.send(`input[name=code]`)
	p.shows("Spedita")
	if body := p.text(); strings.Contains(body, one.Surname) || strings.Contains(body, one.Address.Street) {
		t.Error("the tracker shows a name or an address")
	}
	p.shows("Buenos_Aires")             // the zone is named
	p.shows("21 nov 2026, 06:30 GMT-3") // made at 09:30 UTC
	p.look("track-shipped")

	// The citizen.
	p.login("citizen", "citizen-"+one.IDANPR)
	p.look("citizen")
	p.open("/citizen/requests/" + number)
	p.look("citizen-request")
	p.open("/citizen/requests/new")
	p.look("citizen-new")
	p.fill(map[string]string{"/channel": "comune"})
	p.js(`const i = document.querySelector("[name=office_name]"); i.focus(); i.value = "citta di ca"; i.dispatchEvent(new Event("input", {bubbles: true}));
		for (let n = 0; n < 100 && !document.querySelector("#offices input"); n++) await new Promise(r => setTimeout(r, 50));`)
	p.shows("Città di Castello")
	p.look("citizen-new-offices")

	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		t.Errorf("console: %s", f)
	}
}

// TestAMinorsParentsAssentInABrowser: two parents, each from their own session.
func TestAMinorsParentsAssentInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	child := person("minor-two-parents", 0)
	number := w.minor(child.CF, child.Parents)
	p := newPage(t, w)
	for _, d := range demoDoor().Citizens {
		if d.FiscalCode != child.Parents[0] {
			continue
		}
		p.open("/?lang=it")
		p.login("citizen", d.ID)
		p.open("/citizen/requests/" + number)
		p.look("parent-asked")
		p.js(`window.__before = true; document.querySelector('form[action$="/assent"] button[value=yes]').click()`)
		p.waitNew()
		p.shows("assenso dato")
		p.look("parent-assented")
		return
	}
	t.Fatal("the parent is not on the demo's list")
}

// TestPagesWithoutAssetsSaySo: a binary built from a bare clone must not pass
// for a finished one.
func TestPagesWithoutAssetsSaySo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := w.browser("it").get("/").body
	built := strings.Contains(body, "bootstrap-italia.min.css")
	said := strings.Contains(body, "make assets")
	if built == said {
		t.Errorf("style sheet linked: %t, warning shown: %t", built, said)
	}
}
