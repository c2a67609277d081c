package opsim

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// person is somebody with a browser that keeps cookies.
type person struct {
	w      *world
	cookie string
}

func (p *person) visit(method, address string, form url.Values) (int, http.Header, string) {
	p.w.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = p.w.Addresses.Provider + address
	}
	headers := map[string]string{}
	if p.cookie != "" {
		headers["Cookie"] = p.cookie
	}
	status, header, body := p.w.do(method, address, form, headers)
	if set := header.Get("Set-Cookie"); set != "" {
		p.cookie, _, _ = strings.Cut(set, ";")
		for _, want := range []string{"HttpOnly", "SameSite=Lax", "Path=/"} {
			if !strings.Contains(set, want) {
				p.w.t.Errorf("cookie %q without %s", set, want)
			}
		}
	}
	return status, header, body
}

// begin follows the authorization request to the first page.
func (p *person) begin(a *attempt) (address, body string) {
	p.w.t.Helper()
	status, header, body := p.visit(http.MethodGet, p.w.Endpoints().Authorization+"?"+a.query().Encode(), nil)
	address = header.Get("Location")
	if status != http.StatusSeeOther || !strings.HasPrefix(address, p.w.Addresses.Provider+"/") {
		p.w.t.Fatalf("no page of the provider: %d %q %s", status, address, body)
	}
	status, header, body = p.visit(http.MethodGet, address, nil)
	if status != http.StatusOK {
		p.w.t.Fatalf("page: %d %s", status, body)
	}
	policy := header.Get("Content-Security-Policy")
	origin := strings.TrimSuffix(a.rp.id, "/c_h501")
	if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "form-action 'self' "+origin) || strings.Contains(policy, "unsafe") {
		p.w.t.Errorf("policy %q", policy)
	}
	if strings.Contains(body, "<script") || strings.Contains(body, " style=") || strings.Contains(body, "<no value>") {
		p.w.t.Error("a script, a style attribute or a hole in the page")
	}
	return address, body
}

func (p *person) login(address, cf string, mode Mode, level Level) (int, http.Header, string) {
	p.w.t.Helper()
	return p.visit(http.MethodPost, address, url.Values{"person": {cf}, "mode": {string(mode)}, "level": {level.String()}})
}

// paged is a world whose provider shows pages.
func paged(t *testing.T) (*world, *person) {
	t.Helper()
	w := newWorld(t)
	w.onboard(w.rp)
	return w, &person{w: w}
}

func TestAgID232APersonClicksThroughLoginAndConsent(t *testing.T) {
	t.Parallel()
	w, p := paged(t)
	for _, mode := range modes() {
		a := w.attempt()
		address, body := p.begin(a)
		if !strings.Contains(body, "Entra con CIE") || !strings.Contains(body, "Sportello di prova") || !strings.Contains(body, lucia) {
			t.Fatal(body)
		}
		status, header, body := p.login(address, lucia, mode, 2)
		if status != http.StatusSeeOther {
			t.Fatalf("login: %d %s", status, body)
		}
		consent := header.Get("Location")
		status, _, body = p.visit(http.MethodGet, consent, nil)
		if status != http.StatusOK || !strings.Contains(body, "Lucia Ferraris") || !strings.Contains(body, "Codice fiscale: TINIT-"+lucia) {
			t.Fatalf("consent: %d %s", status, body)
		}
		q := a.callback(p.visit(http.MethodPost, consent, url.Values{"answer": {"consent"}}))
		id := a.verified(a.tokens(q.Get("code"))["id_token"].(string))
		if id.claims["acr"] != Level(2).ACR() {
			t.Errorf("acr %v", id.claims["acr"])
		}
		// A second click finds nothing.
		if status, _, _ := p.visit(http.MethodPost, consent, url.Values{"answer": {"consent"}}); status != http.StatusNotFound {
			t.Errorf("second click: %d", status)
		}
	}
	var recorded []Mode
	for _, e := range w.Events() {
		if e.Kind == "login" && e.Outcome == "consented" {
			recorded = append(recorded, e.Mode)
			if e.Level != 2 || e.Auto || e.Person != lucia {
				t.Errorf("ledger %+v", e)
			}
		}
	}
	if len(recorded) != 3 || recorded[0] != ModeReader || recorded[1] != ModePhone || recorded[2] != ModeDesktopPhone {
		t.Errorf("modes in the ledger: %v", recorded)
	}
}

func TestAPersonCanRefuseOrCancel(t *testing.T) {
	t.Parallel()
	w, p := paged(t)
	a := w.attempt()
	address, _ := p.begin(a)
	_, header, _ := p.login(address, lucia, ModePhone, 2)
	q := a.callback(p.visit(http.MethodPost, header.Get("Location"), url.Values{"answer": {"refuse"}}))
	if q.Get("error") != "access_denied" || q.Get("state") != a.claims["state"] || q.Get("error_description") == "" || q.Get("iss") == "" {
		t.Errorf("2.5.0–2.5.4 refused: %v", q)
	}
	a = w.attempt()
	address, _ = p.begin(a)
	q = a.callback(p.visit(http.MethodPost, address, url.Values{"cancel": {"1"}}))
	if q.Get("error") != "access_denied" {
		t.Errorf("cancelled: %v", q)
	}
}

func TestAgID23CredentialsThatDoNotReachTheLevelEndInAccessDenied(t *testing.T) {
	t.Parallel()
	w, p := paged(t)
	valid, found := "", false
	for _, c := range w.Citizens() {
		if c.Minor && c.MaxLevel == 2 {
			valid, found = c.CF, true
		}
	}
	if !found {
		t.Fatal("no minor among the people")
	}
	dead := ""
	for _, c := range w.Citizens() {
		if c.Credentials == CredentialsRevoked {
			dead = c.CF
		}
	}
	for name, cf := range map[string]string{
		"2.3.0 unknown person": "XXXXXX00A00A000X", "2.3.1 no card at level 3": valid, "2.3.3 suspended": suspended,
		"2.3.4 revoked": dead, "never activated": noCredentials,
	} {
		a := w.attempt()
		a.claims["acr_values"] = Level(3).ACR()
		address, _ := p.begin(a)
		for range maxLoginTries - 1 {
			status, _, body := p.login(address, cf, ModeReader, 3)
			if status != http.StatusUnprocessableEntity || !strings.Contains(body, `id="problem"`) {
				t.Fatalf("%s: %d %s", name, status, body)
			}
			if !strings.Contains(body, `value="L3" checked`) || !strings.Contains(body, `value="`+cf+`" selected`) && name != "2.3.0 unknown person" {
				t.Errorf("%s: what was chosen is lost", name)
			}
		}
		q := a.callback(p.login(address, cf, ModeReader, 3))
		if q.Get("error") != "access_denied" {
			t.Errorf("%s: %v", name, q)
		}
	}
	// A lower level than asked is no way around, a higher one is.
	a := w.attempt()
	address, _ := p.begin(a)
	if status, _, _ := p.login(address, lucia, ModeReader, 1); status != http.StatusUnprocessableEntity {
		t.Errorf("level 1 for 2: %d", status)
	}
	if status, _, _ := p.login(address, lucia, ModeReader, 3); status != http.StatusSeeOther {
		t.Errorf("level 3 for 2: %d", status)
	}
}

func TestTheSessionIsUsedUnlessALoginIsForced(t *testing.T) {
	t.Parallel()
	w, p := paged(t)
	a := w.attempt()
	address, _ := p.begin(a)
	p.login(address, lucia, ModeReader, 2)

	a = w.attempt()
	a.claims["prompt"] = "consent"
	if address, _ = p.begin(a); !strings.Contains(address, consentPrefix) {
		t.Errorf("prompt=consent with a session shows %s", address)
	}
	if q := a.callback(p.visit(http.MethodPost, address, url.Values{"answer": {"consent"}})); q.Get("code") == "" {
		t.Errorf("%v", q)
	}
	a = w.attempt()
	if address, _ = p.begin(a); !strings.Contains(address, loginPrefix) {
		t.Errorf("prompt=consent login shows %s", address)
	}
	a = w.attempt()
	a.claims["prompt"], a.claims["acr_values"] = "consent", Level(3).ACR()
	if address, _ = p.begin(a); !strings.Contains(address, loginPrefix) {
		t.Errorf("a session at level 2 is used for level 3: %s", address)
	}
	w.clock.Advance(ssoLifetime)
	a = w.attempt()
	a.claims["prompt"] = "consent"
	if address, _ = p.begin(a); !strings.Contains(address, loginPrefix) {
		t.Errorf("an old session is used: %s", address)
	}
}

func TestTenTabsLogInAtOnce(t *testing.T) {
	t.Parallel()
	w, p := paged(t)
	var attempts []*attempt
	var addresses []string
	for range 10 {
		a := w.attempt()
		address, _ := p.begin(a)
		attempts, addresses = append(attempts, a), append(addresses, address)
	}
	for i := range attempts {
		i = (i * 7) % 10 // not in the order they were opened
		_, header, _ := p.login(addresses[i], lucia, ModePhone, 2)
		q := attempts[i].callback(p.visit(http.MethodPost, header.Get("Location"), url.Values{"answer": {"consent"}}))
		if q.Get("state") != attempts[i].claims["state"] || q.Get("code") == "" {
			t.Errorf("tab %d: %v", i, q)
		}
	}
}

func TestPagesSpeakTheLanguageAskedFor(t *testing.T) {
	t.Parallel()
	w, p := paged(t)
	a := w.attempt()
	a.claims["ui_locales"] = "en it"
	address, body := p.begin(a)
	if !strings.Contains(body, `<html lang="en">`) || !strings.Contains(body, "Log in with CIE") {
		t.Error("ui_locales=en it: not English")
	}
	other := strings.Replace(address, "lang=en", "lang=it", 1)
	if _, _, body = p.visit(http.MethodGet, other, nil); !strings.Contains(body, `<html lang="it">`) {
		t.Error("the link to the other language does not change it")
	}
	for _, path := range []string{"/style.css", "/logo.svg"} {
		if status, header, _ := p.visit(http.MethodGet, path, nil); status != http.StatusOK || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestAnInteractionEnds(t *testing.T) {
	t.Parallel()
	w, p := paged(t)
	a := w.attempt()
	address, _ := p.begin(a)
	w.clock.Advance(interactionTimeout)
	if status, _, body := p.visit(http.MethodGet, address, nil); status != http.StatusNotFound || !strings.Contains(body, "Sessione conclusa") {
		t.Errorf("after ten minutes: %d", status)
	}
	if status, _, _ := p.visit(http.MethodGet, "/login/nobody", nil); status != http.StatusNotFound {
		t.Errorf("an interaction that never was: %d", status)
	}
}

func TestRefreshTokensAreOfferedAndCanBeDeclined(t *testing.T) {
	t.Parallel()
	w, p := paged(t)
	for _, decline := range []bool{false, true} {
		a := w.attempt()
		a.both("scope", "openid offline_access")
		address, _ := p.begin(a)
		_, header, _ := p.login(address, lucia, ModePhone, 2)
		answer := url.Values{"answer": {"consent"}}
		if decline {
			answer.Set("no_refresh", "1")
		}
		q := a.callback(p.visit(http.MethodPost, header.Get("Location"), answer))
		if got := a.tokens(q.Get("code"))["refresh_token"] != nil; got == decline {
			t.Errorf("declined %v, refresh token given %v", decline, got)
		}
	}
}
