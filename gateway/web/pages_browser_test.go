package web_test

import (
	"net/url"
	"strings"
	"testing"
)

// inEnglish looks at pages once more in English, at the width that is harder.
func (p *page) inEnglish(pages map[string]string) {
	p.t.Helper()
	for name, path := range pages {
		p.open(path + "?lang=en")
		p.lookOn(name+"-en", phone)
	}
	p.js(`await fetch("/track?lang=it")`)
}

// TestTheOtherPagesInABrowser: smart cards, consular rates, corrections, the label
// and the reasons of a delivery, as an office and a citizen see them; then the
// simulated provider's, which people click in the demo and in tests. What stands
// on a page of the same template before is looked at on the phone alone.
func TestTheOtherPagesInABrowser(t *testing.T) {
	t.Parallel()
	p, l := newLoginPage(t)
	one := atBuenosAires(t)
	number, _ := l.submitted(one.CF, "FOREIGN_RESIDENCE")
	l.work()
	citizen := l.as("citizen", "citizen-"+one.IDANPR)
	if a := citizen.post("/citizen/data", url.Values{"part": {"address"}, "said": {"Calle Nueva 7"}}); a.status != see {
		t.Fatalf("%d %.300s", a.status, a.body)
	}
	p.open("/?lang=it")

	// A referent's page of smart cards: a mistake, a card issued and activated.
	p.login("operator", "op-2")
	p.open("/operator/cards")
	p.fill(map[string]string{"operator": "op:somebody", "certificate": "no card"})
	p.send("textarea[name=certificate]")
	p.lookOn("cards-problem", phone)
	_, certificate := newCard(t, l.Now())
	p.fill(map[string]string{"operator": "op:somebody", "certificate": certificate})
	p.send("textarea[name=certificate]")
	p.shows("Registrata")
	p.look("cards")
	p.click(`button[value=activate]`)
	p.shows("Carta operatore aggiornata")
	p.open("/operator/card-failed?code=login_card_not_active")
	p.look("card-failed")
	label := "/operator/requests/" + number + "/label"
	p.open(label)
	p.look("label")
	why := "/operator/requests/" + number + "/why/CONSULATE"
	p.open(why)
	p.look("why-at-desk")
	l.compared(number)
	p.open("/operator/reconciliation")
	p.shows(number)
	p.look("reconciliation")
	p.inEnglish(map[string]string{"cards": "/operator/cards", "why-at-desk": why, "reconciliation": "/operator/reconciliation"})

	// A post: its rate, its list of corrections, one of them.
	p.login("operator", "op-4")
	p.open("/operator/rates")
	p.fill(map[string]string{"quarter": "2026-4", "per_eur": "0,0"})
	p.send("input[name=per_eur]")
	p.lookOn("rates-problem", phone)
	p.fill(map[string]string{"quarter": "2026-4", "per_eur": "1650,25"})
	p.send("input[name=per_eur]")
	p.shows("1650.25")
	p.look("rates")
	p.open("/operator/corrections")
	p.look("corrections")
	p.click(`.sessions a`)
	correction := strings.TrimPrefix(p.at(), p.w.url)
	p.shows("Calle Nueva 7")
	p.look("correction")
	p.inEnglish(map[string]string{"rates": "/operator/rates", "correction": correction})

	// The citizen: the label of the request, and of an address that is typed.
	p.login("citizen", "citizen-"+one.IDANPR)
	p.open("/citizen/requests/" + number + "/label")
	p.look("citizen-label")
	p.open("/citizen/requests/new")
	p.fill(map[string]string{
		"/delivery/option": "IT_ADDRESS", "/delivery/address/street": "Via dei Serpenti", "/delivery/address/house_number": "12",
		"/delivery/address/postcode": "00184", "/delivery/address/locality": "Roma", "/delivery/address/region": "RM",
	})
	p.js(`document.querySelector('button[formaction="/lookup/label"]').formTarget = ""`)
	p.click(`button[formaction="/lookup/label"]`)
	p.shows("00184 ROMA RM")
	p.lookOn("label-preview", phone)
	p.quiet()
	p.providersPages(l)
}

func (p *page) providersPages(l *loginWorld) {
	p.t.Helper()
	one := person("no-first-name", 0)
	p.js(`await fetch("/logout", {method: "POST"})`)
	p.open("/login/cie?next=/citizen")
	p.look("op-login")
	p.js(`document.querySelector("#other-language").click(); window.__before = true;`)
	p.waitNew()
	p.lookOn("op-login-en", phone)
	p.atProvider(one.CF, "L1")
	p.lookOn("op-login-problem", phone)
	p.atProvider(one.CF, "L2")
	p.shows("Putri")
	p.look("op-consent")
	consent := p.at()
	p.click("#consent")
	p.isAt("/citizen")
	p.shows("Putri")
	p.js(`window.__before = true; location.href = ` + quote(consent))
	p.waitNew()
	p.lookOn("op-gone", phone)
	p.open("/login/operator?office=comune%3A058091")
	p.look("op-operator")
	p.click("#cancel")
	p.shows("Accesso annullato")
	p.js(`window.__before = true; location.href = ` + quote(l.op.Endpoints().Authorization+"?client_id=x&scope=openid"))
	p.waitNew()
	p.lookOn("op-refused", phone)
}
