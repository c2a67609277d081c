package web_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/gateway/web"
)

// secureBrowser speaks to a gateway of an https address without a socket: it
// keeps cookies by name, as a browser does for one host whatever the port.
type secureBrowser struct {
	t       *testing.T
	cookies map[string]string
}

func (b *secureBrowser) do(h http.Handler, method, path string, f url.Values, cards ...*x509.Certificate) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, "https://gateway.example"+path, strings.NewReader(f.Encode()))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Accept-Language", "it")
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	r.TLS = &tls.ConnectionState{}
	if len(cards) > 0 {
		r.TLS.VerifiedChains = [][]*x509.Certificate{cards}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookies[c.Name] = c.Value
	}
	return w
}

func newCard(t *testing.T, at time.Time) (certificate *x509.Certificate, text string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(at.UnixNano()), Subject: pkix.Name{CommonName: "SCO di prova"}, NotBefore: at.Add(-time.Hour), NotAfter: at.AddDate(3, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestAnOperatorShowsTheCardBeforeTheCountersActs: where the deployment asks for
// cards, a counter act waits for one that is active and the operator's own.
func TestAnOperatorShowsTheCardBeforeTheCountersActs(t *testing.T) {
	t.Parallel()
	l := newLoginWorld(t)
	roma := gateway.Office{Kind: gateway.OfficeComune, Code: "058091"}
	var options web.Options
	newWorld(t, func(o *web.Options) {
		o.BaseURL, o.Demo = "https://gateway.example", nil
		kept, _ := o.Book.(*store.Store)
		o.Operators = l.newOperators(t, kept, o)
		o.Cards = &web.Cards{BaseURL: "https://gateway.example:8443", Needed: true}
		options = *o
	})
	s, err := web.New(options)
	if err != nil {
		t.Fatal(err)
	}
	pages, cards := s.Handler(), s.CardHandler()
	b := &secureBrowser{t, map[string]string{}}
	enter := func(b *secureBrowser, staff string) {
		t.Helper()
		if err := l.op.SetOperatorAuto(staff); err != nil {
			t.Fatal(err)
		}
		begun := b.do(pages, "GET", "/login/operator?office="+roma.ID(), nil)
		at := l.browser("it").do("GET", begun.Header().Get("Location"), "", "", nil)
		back := strings.TrimPrefix(at.header.Get("Location"), "https://gateway.example")
		if in := b.do(pages, "GET", back, nil); in.Code != see || in.Header().Get("Location") != "/operator" {
			t.Fatalf("%d %s %.300s", in.Code, in.Header().Get("Location"), in.Body)
		}
	}
	supervisor := ""
	for _, o := range l.op.OperatorList() {
		if o.Claims["office"] == roma.Code && o.Claims["role"] == "supervisor" {
			supervisor = o.ID
		}
	}
	if supervisor == "" {
		t.Fatal("Roma has no referent")
	}
	enter(b, supervisor)
	act := func(want int) {
		t.Helper()
		if got := b.do(pages, "POST", "/operator/requests/R26-000000000/presence", url.Values{}); got.Code != want {
			t.Errorf("an act: %d, want %d: %.300s", got.Code, want, got.Body)
		}
	}
	act(forbid)
	if got := b.do(pages, "POST", "/operator/requests/R26-000000000/presence", url.Values{}); !strings.Contains(got.Body.String(), "https://gateway.example:8443/operator/card?next=") {
		t.Errorf("the page does not say where the card is shown: %.900s", got.Body)
	}
	shown := func(want string, chain ...*x509.Certificate) {
		t.Helper()
		if got := b.do(cards, "GET", "/operator/card?next=/operator", nil, chain...); got.Code != see || got.Header().Get("Location") != "https://gateway.example"+want {
			t.Errorf("%d to %s, want %s", got.Code, got.Header().Get("Location"), want)
		}
	}
	failed := func(code string, chain ...*x509.Certificate) {
		t.Helper()
		shown("/operator/card-failed?code="+code, chain...)
		if page := b.do(pages, "GET", "/operator/card-failed?code="+code, nil); page.Code != forbid || !strings.Contains(page.Body.String(), "arta") {
			t.Errorf("%s: %d", code, page.Code)
		}
	}
	now := l.Now()
	own, text := newCard(t, now)
	failed("login_card_missing")
	failed("login_card_unknown", own)
	page := b.do(pages, "GET", "/operator/cards", nil).Body.String()
	_, rest, _ := strings.Cut(page, `Il tuo identificativo:`)
	_, rest, _ = strings.Cut(rest, `">`)
	me, _, _ := strings.Cut(rest, "<")
	send := func(f url.Values, want int) {
		t.Helper()
		if got := b.do(pages, "POST", "/operator/cards", f); got.Code != want {
			t.Errorf("%v: %d, want %d: %.600s", f, got.Code, want, got.Body)
		}
	}
	send(url.Values{"act": {"issue"}, "operator": {me}, "certificate": {"no card"}}, bad)
	send(url.Values{"act": {"issue"}, "operator": {me}, "certificate": {text}}, see)
	send(url.Values{"act": {"issue"}, "operator": {me}, "certificate": {text}}, moved) // known
	failed("login_card_not_active", own)
	fingerprint := url.Values{"card": {cardIn(b.do(pages, "GET", "/operator/cards", nil).Body.String())}}
	fingerprint.Set("act", "activate")
	send(fingerprint, see)
	before := b.cookies["__Host-airegw_operator"]
	shown("/operator", own)
	if after := b.cookies["__Host-airegw_operator"]; after == before || after == "" {
		t.Error("the session's token was not changed when the card was shown")
	}
	act(hidden) // the act is let through: there is no such request

	// Another's card; a session without its own; a revoked one.
	other, text := newCard(t, now.Add(time.Second))
	send(url.Values{"act": {"issue"}, "operator": {"op:somebody-else"}, "certificate": {text}}, see)
	failed("login_card_other", other)
	enter(b, supervisor)
	act(forbid)
	fingerprint.Set("act", "revoke")
	send(fingerprint, see)
	failed("login_card_revoked", own)
	act(forbid)
	if got := (&secureBrowser{t, map[string]string{}}).do(cards, "GET", "/operator/card", nil, own); got.Header().Get("Location") != "https://gateway.example/login?next=%2Foperator" {
		t.Errorf("nobody: %d %s", got.Code, got.Header().Get("Location"))
	}
}

// cardIn answers the first fingerprint on the page of cards.
func cardIn(page string) string {
	_, rest, _ := strings.Cut(page, `name="card" value="`)
	fingerprint, _, _ := strings.Cut(rest, `"`)
	return fingerprint
}
