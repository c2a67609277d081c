package web_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/jose"
	"airegw/policies"
)

// newOwners makes a key for each of the two owners of the rules.
func newOwners(t *testing.T) *gateway.RuleOwners {
	t.Helper()
	o := &gateway.RuleOwners{Keys: map[policies.Owner]jose.KeySet{}, Signers: map[policies.Owner]jose.Key{}}
	for _, owner := range policies.Owners {
		key, err := jose.GenerateKey(jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		o.Keys[owner], o.Signers[owner] = jose.NewKeySet(key.Public()), key
	}
	return o
}

// useShipped brings the shipped set into force, as an assembled gateway does.
func (w *world) useShipped() {
	w.t.Helper()
	approvals := map[policies.Owner]string{}
	for owner, key := range w.owners.Signers {
		jws, err := policies.Shipped().Approve(owner, key)
		if err != nil {
			w.t.Fatal(err)
		}
		approvals[owner] = jws
	}
	if err := w.g.UseRules(context.Background(), policies.ShippedFS(), approvals); err != nil {
		w.t.Fatal(err)
	}
}

// draft answers the shipped rule files with one more, which ends home delivery
// to a country at the start of a day.
func draft(t *testing.T, country, from string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	names, err := fs.Glob(policies.ShippedFS(), "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if files[n], err = fs.ReadFile(policies.ShippedFS(), n); err != nil {
			t.Fatal(err)
		}
	}
	files["65-draft.yaml"] = fmt.Appendf(nil, `rules:
  - key: delivery.comune.FOREIGN_RESIDENCE
    scope: country:%s
    value: refuse
    code: delivery.mail_suspended
    valid_from: %s
    legal_ref: "Prova"
    status: provisional
    source: "test"
    reason:
      it: "La posta verso questo Paese è sospesa."
      en: "Mail to this country is suspended."
`, country, from)
	return files
}

// choose puts files into the page's file input, as a person does.
func (p *page) choose(files map[string][]byte) {
	p.t.Helper()
	var js strings.Builder
	js.WriteString(`const t = new DataTransfer(); const add = (n, b) => t.items.add(new File([Uint8Array.from(atob(b), c => c.charCodeAt(0))], n));`)
	for name, content := range files {
		js.WriteString("add(" + quote(name) + ", " + quote(base64.StdEncoding.EncodeToString(content)) + ");")
	}
	js.WriteString(`document.querySelector("input[type=file]").files = t.files;`)
	p.js(js.String())
}

// TestTwoOwnersChangeTheRulesInABrowser: a draft with a fault, a draft, its
// changed answers, two approvals, and a request that is asked again.
func TestTwoOwnersChangeTheRulesInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.useShipped()
	one := person("ok", 0)
	country := one.Address.ISO2
	number, _ := w.submitted(one.CF, "FOREIGN_RESIDENCE")
	w.work()
	p := newPage(t, w)
	p.open("/?lang=it")
	p.login("operator", "owner-1")
	p.shows("Ministero dell’interno")
	p.look("rules")

	bad := draft(t, country, "2026-11-21")
	bad["65-draft.yaml"] = []byte(strings.Replace(string(bad["65-draft.yaml"]), "value: refuse", "value: perhaps", 1))
	p.choose(bad)
	p.send("input[type=file]")
	p.shows("65-draft.yaml:4")
	p.shows("Valore non ammesso: delivery.comune.FOREIGN_RESIDENCE")
	p.look("rules-do-not-load")

	p.choose(draft(t, country, "2026-11-21"))
	p.send("input[type=file]")
	p.shows("Consegna: Alla residenza estera")
	p.shows("non possibile (delivery.mail_suspended)")
	if n := p.js(`return document.querySelector("#touched-delivery").innerText`); n != "1" {
		t.Errorf("%q requests would be asked again, want 1", n)
	}
	p.look("ruleset-draft")
	address := p.js(`return location.pathname`)
	p.send(`form[action$="/approve"] button`)
	p.shows("Approvazione registrata")
	p.shows("approvata da uno")
	if p.js(`return document.querySelector('form[action$="/approve"]')`) != "" {
		t.Error("an owner can approve twice")
	}
	if got := w.g.RulesInForce().Hash(); got != policies.Shipped().Hash() {
		t.Errorf("one approval put %s into force", got)
	}

	p.login("operator", "owner-2")
	p.open(address)
	p.send(`form[action$="/approve"] button`)
	p.shows("in vigore")
	p.look("ruleset-in-force")
	if w.g.RulesInForce().Hash() == policies.Shipped().Hash() {
		t.Fatal("two approvals put nothing into force")
	}
	if _, err := w.g.RulesOnce(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.work()

	// The office and the citizen see that the choice is asked again; it was not
	// changed.
	p.login("operator", "op-1")
	p.open("/operator/requests/" + number)
	p.shows("Le regole sono cambiate: la consegna scelta non è più ammessa")
	if strings.Contains(p.text(), "Arrivo previsto") {
		t.Error("a day is promised for a delivery that is allowed no more")
	}
	p.look("request-asked-again")
	p.login("citizen", "citizen-"+one.IDANPR)
	p.open("/citizen/requests/" + number)
	p.shows("Le regole sono cambiate: la consegna scelta non è più ammessa")
	if chosen := p.js(`return document.querySelector(".opt.chosen a").href`); !strings.HasSuffix(chosen, "/why/FOREIGN_RESIDENCE") {
		t.Errorf("the choice was changed in silence: %s", chosen)
	}
	p.look("citizen-asked-again")
	p.open("/citizen/requests/" + number + "/why/FOREIGN_RESIDENCE")
	p.shows("La posta verso questo Paese è sospesa.")
	p.shows("provvisoria: non è una regola italiana in vigore")
	p.look("why")
	p.open("/citizen/requests/" + number)
	p.fill(map[string]string{"/option": "COMUNE_PICKUP"})
	p.send(`form[action$="/delivery"] button`)
	if body := p.text(); strings.Contains(body, "non è più ammessa") {
		t.Error("a new choice did not settle it")
	}

	// The rules of that day are kept.
	old, err := gateway.StoredRules(context.Background(), w.store, policies.Shipped().Hash())
	if err != nil || old.Hash() != policies.Shipped().Hash() {
		t.Errorf("the replaced rules are not kept: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		t.Errorf("console: %s", f)
	}
}

// rulesDesk opens the owners' desk for a person.
func (w *world) rulesDesk(id string, role gateway.Role) gateway.RulesDesk {
	w.t.Helper()
	d, err := w.g.RulesDesk(gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorOperator, ID: id, Role: role}))
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func TestOnePersonNeverApprovesForBothOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.useShipped()
	ctx := context.Background()
	hash, err := w.rulesDesk("same", gateway.RoleOwnerInterior).Upload(ctx, draft(t, "AR", "2026-11-21"), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.rulesDesk("same", gateway.RoleOwnerInterior).Approve(ctx, hash, ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id   string
		role gateway.Role
		want string
	}{
		{"same", gateway.RoleOwnerMAECI, "rules_same_person"},
		{"other", gateway.RoleOwnerInterior, "rules_approved_already"},
	} {
		if err := w.rulesDesk(c.id, c.role).Approve(ctx, hash, ""); gateway.CodeOf(err) != c.want {
			t.Errorf("%s as %s: %v, want %s", c.id, c.role, err, c.want)
		}
	}
	if got := w.g.RulesInForce().Hash(); got != policies.Shipped().Hash() {
		t.Errorf("%s is in force without two approvals", got)
	}
	for _, role := range []gateway.Role{gateway.RoleClerk, gateway.RoleReferent, ""} {
		_, err := w.g.RulesDesk(gateway.OperatorScope(gateway.Actor{Kind: gateway.ActorOperator, ID: "op", Role: role}))
		if gateway.CodeOf(err) != "owners_only" {
			t.Errorf("%q: %v", role, err)
		}
	}
}

// TestASetHoldsFromItsDateOn: approved today for December, nothing changes
// until then; on the day the requests before signature are decided again.
func TestASetHoldsFromItsDateOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.useShipped()
	ctx := context.Background()
	one := person("ok", 0)
	number, _ := w.submitted(one.CF, "FOREIGN_RESIDENCE")
	w.work()
	effective := time.Date(2026, 12, 1, 0, 0, 0, 0, policies.Rome()).UTC()
	hash, err := w.rulesDesk("a", gateway.RoleOwnerInterior).Upload(ctx, draft(t, one.Address.ISO2, "2026-12-01"), effective)
	if err != nil {
		t.Fatal(err)
	}
	for id, role := range map[string]gateway.Role{"a": gateway.RoleOwnerInterior, "b": gateway.RoleOwnerMAECI} {
		if err := w.rulesDesk(id, role).Approve(ctx, hash, ""); err != nil {
			t.Fatal(err)
		}
	}
	look := func() (*gateway.Request, int) {
		t.Helper()
		if _, err := w.g.RulesOnce(ctx); err != nil {
			t.Fatal(err)
		}
		w.work()
		r, err := w.g.Desk(gateway.CitizenScope(one.CF, "citizen", 3)).Open(ctx, number)
		if err != nil {
			t.Fatal(err)
		}
		decisions := 0
		for _, e := range r.Events {
			if e.Type == gateway.EventDecided {
				decisions++
			}
		}
		return r, decisions
	}
	w.pass(effective.Sub(w.Now()) - time.Second)
	r, n := look()
	if n != 1 || r.NextStep() == "next.choose_delivery" || r.Decision.Decision.RuleSet != policies.Shipped().Hash() {
		t.Errorf("a second before: %d decisions, %s, %s", n, r.NextStep(), r.Decision.Decision.RuleSet)
	}
	w.pass(time.Second)
	r, n = look()
	if n != 2 || r.NextStep() != "next.choose_delivery" || r.Decision.Decision.RuleSet != hash || r.State != gateway.StatePrechecked {
		t.Errorf("at its instant: %d decisions, %s, %s, %s", n, r.NextStep(), r.Decision.Decision.RuleSet, r.State)
	}
	if r.Delivery.Option != policies.DeliveryForeignResidence || r.Mark.Code != "delivery_asked_again" {
		t.Errorf("delivery %s, mark %+v", r.Delivery.Option, r.Mark)
	}
	if _, n = look(); n != 2 {
		t.Errorf("decided again without new rules: %d decisions", n)
	}
	for at, want := range map[time.Time]string{
		{}: policies.Shipped().Hash(), effective.Add(-time.Second): policies.Shipped().Hash(), effective: hash, effective.AddDate(1, 0, 0): hash,
	} {
		if set, err := gateway.StoredRulesAt(ctx, w.store, at); err != nil || set.Hash() != want {
			t.Errorf("at %s: %v, want %s", at, err, want)
		}
	}
	// A restart with the same configuration keeps what was approved later.
	w.useShipped()
	if got := w.g.RulesInForce().Hash(); got != hash {
		t.Errorf("after a restart %s is in force, want %s", got, hash)
	}
}

// TestASignatureOfAnotherKeyIsRefused: production uploads what it signed.
func TestASignatureOfAnotherKeyIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.useShipped()
	ctx := context.Background()
	desk := w.rulesDesk("a", gateway.RoleOwnerInterior)
	files := draft(t, "AR", "2026-11-21")
	hash, err := desk.Upload(ctx, files, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = desk.Upload(ctx, files, time.Time{}); gateway.CodeOf(err) != "rules_known" {
		t.Errorf("uploaded twice: %v", err)
	}
	set, err := gateway.StoredRules(ctx, w.store, hash)
	if err != nil {
		t.Fatal(err)
	}
	own, other := w.owners.Signers[policies.OwnerInterior], w.owners.Signers[policies.OwnerMAECI]
	delete(w.owners.Signers, policies.OwnerInterior) // as in production
	sign := func(o policies.Owner, k jose.Key) string {
		t.Helper()
		jws, err := set.Approve(o, k)
		if err != nil {
			t.Fatal(err)
		}
		return jws
	}
	for name, jws := range map[string]string{
		"none": "", "no signature": "x", "another key": sign(policies.OwnerInterior, other), "the other owner's words": sign(policies.OwnerMAECI, own),
	} {
		if err := desk.Approve(ctx, hash, jws); gateway.CodeOf(err) != "rules_signature" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := desk.Approve(ctx, hash, sign(policies.OwnerInterior, own)); err != nil {
		t.Error(err)
	}
}

func TestAnUploadIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.useShipped()
	desk := w.rulesDesk("a", gateway.RoleOwnerInterior)
	big := map[string][]byte{"a.yaml": make([]byte, gateway.MaxRuleBytes+1)}
	for name, c := range map[string]struct {
		files map[string][]byte
		want  string
	}{
		"nothing": {nil, "rules_upload_size"}, "too much": {big, "rules_upload_size"},
		"a folder": {map[string][]byte{"../a.yaml": []byte("x")}, "rules_file_name"}, "no rules": {map[string][]byte{"a.txt": []byte("x")}, "rules_file_name"},
	} {
		_, err := desk.Upload(context.Background(), c.files, time.Time{})
		var e *gateway.Error
		if !errors.As(err, &e) || len(e.Problems) != 1 || e.Problems[0].Code != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := w.as("operator", "owner-1")
	if got := b.post("/rules", url.Values{"x": {strings.Repeat("x", gateway.MaxRuleBytes+gateway.MaxInput)}}); got.status != 413 {
		t.Errorf("a body beyond all bounds: %d", got.status)
	}
	if got := b.get("/operator"); got.status != forbid {
		t.Errorf("an owner of rules at an office's desk: %d", got.status)
	}
}

// changeRules puts a draft into force with both owners' approvals, and lets the
// workers see it.
func (w *world) changeRules(files map[string][]byte) {
	w.t.Helper()
	ctx := context.Background()
	hash, err := w.rulesDesk("a", gateway.RoleOwnerInterior).Upload(ctx, files, time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	for id, role := range map[string]gateway.Role{"a": gateway.RoleOwnerInterior, "b": gateway.RoleOwnerMAECI} {
		if err := w.rulesDesk(id, role).Approve(ctx, hash, ""); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := w.g.RulesOnce(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.work()
}

func (w *world) request(cf, number string) *gateway.Request {
	w.t.Helper()
	r, err := w.g.Desk(gateway.CitizenScope(cf, "citizen", 3)).Open(context.Background(), number)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// TestFormsPreparedUnderOldRulesAreNotSigned: the office voids them, another
// delivery is chosen, and the card is ordered.
func TestFormsPreparedUnderOldRulesAreNotSigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.useShipped()
	one := person("ok", 0)
	number, _ := w.submitted(one.CF, "FOREIGN_RESIDENCE")
	w.work()
	w.must(number, counterWork...)
	fee := fmt.Sprintf(`{"cents":%d,"means":"card"}`, w.request(one.CF, number).Decision.Decision.FeeCents)
	w.must(number, "fee "+fee, "prepare", "print", "confirm")
	w.changeRules(draft(t, one.Address.ISO2, "2026-11-21"))
	if r := w.request(one.CF, number); r.State != gateway.StateFormsReady || r.NextStep() != "next.void_then_choose" {
		t.Errorf("%s, %s", r.State, r.NextStep())
	}
	desk := w.machine(clientID, w.client)
	if a := desk.json("/api/v1/requests/"+number+"/counter/sign", ""); a.status != bad || !strings.Contains(a.body, "delivery_refused") {
		t.Fatalf("signed under rules that forbid the delivery: %d %s", a.status, a.body)
	}
	w.must(number, `void {"code":"data_wrong"}`)
	w.work()
	if r := w.request(one.CF, number); r.NextStep() != "next.choose_delivery" {
		t.Errorf("after voiding: %s, %s", r.State, r.NextStep())
	}
	if a := desk.json("/api/v1/requests/"+number+"/delivery", `{"option":"COMUNE_PICKUP"}`); a.status != ok {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.must(number, counterWork[len(counterWork)-1], "prepare", "print", "confirm", "sign")
	if r := w.request(one.CF, number); r.State != gateway.StateRelayed || r.Delivery.Option != policies.DeliveryComunePickup {
		t.Errorf("%s with %s", r.State, r.Delivery.Option)
	}
}

// TestAnOrderSignedUnderOldRulesIsNotSentUnderNewOnes: the rules are weighed
// again at relay (B.2.4), however young the register's answer is.
func TestAnOrderSignedUnderOldRulesIsNotSentUnderNewOnes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.useShipped()
	one := person("ok", 0)
	number, _ := w.submitted(one.CF, "FOREIGN_RESIDENCE")
	w.work()
	w.must(number, counterWork...)
	fee := fmt.Sprintf(`{"cents":%d,"means":"card"}`, w.request(one.CF, number).Decision.Decision.FeeCents)
	w.must(number, "fee "+fee, "prepare", "print", "confirm")
	if a := w.machine(clientID, w.client).json("/api/v1/requests/"+number+"/counter/sign", ""); a.status != ok {
		t.Fatalf("%d %s", a.status, a.body) // signed, and no worker has run yet
	}
	w.changeRules(draft(t, one.Address.ISO2, "2026-11-21"))
	r := w.request(one.CF, number)
	if r.State != gateway.StateSigned || r.Mark.Kind != gateway.MarkParked || r.Mark.Code != "rules_changed" {
		t.Errorf("%s, %+v", r.State, r.Mark)
	}
	if r.Delivery.Option != policies.DeliveryForeignResidence {
		t.Errorf("the signed choice became %s", r.Delivery.Option)
	}
}

// TestNewRulesEndNoRequestInSilence: rules that would refuse a request as a
// whole set it before a referent; it stays open. Whoever asks later is refused.
func TestNewRulesEndNoRequestInSilence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.useShipped()
	var same []string // two people of one country
	one := person("ok", 0)
	for n := 1; len(same) < 1; n++ {
		if p := person("ok", n); p.Address.ISO2 == one.Address.ISO2 && p.CF != one.CF {
			same = append(same, p.CF)
		}
	}
	number, _ := w.submitted(one.CF, "FOREIGN_RESIDENCE")
	w.work()
	files := draft(t, one.Address.ISO2, "2026-11-21")
	files["65-draft.yaml"] = fmt.Appendf(nil, `rules:
  - key: channel.comune
    scope: country:%s
    value: refuse
    code: channel.comune_not_open_yet
    valid_from: 2026-11-21
    legal_ref: "Prova"
    reason:
      it: "Da questo Paese non si chiede al comune."
      en: "No request at a comune from this country."
`, one.Address.ISO2)
	w.changeRules(files)
	r := w.request(one.CF, number)
	if r.State != gateway.StatePrechecked || r.Mark.Kind != gateway.MarkParked || r.Mark.Code != "rules_changed" {
		t.Errorf("%s, %+v", r.State, r.Mark)
	}
	later, _ := w.submitted(same[0], "FOREIGN_RESIDENCE")
	w.work()
	if r := w.request(same[0], later); r.State != gateway.StateRefused {
		t.Errorf("a new request is %s", r.State)
	}
}

// TestAReplicaThatOnlyServesLearnsOfNewRules: what one replica approves holds at
// the others.
func TestAReplicaThatOnlyServesLearnsOfNewRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.useShipped()
	other, err := gateway.New(gateway.Parts{
		Store: w.store, Register: w.reg, Core: w.core, Rules: policies.Shipped(), Owners: w.owners, Clock: w, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.changeRules(draft(t, "AR", "2026-11-21"))
	if other.RulesInForce().Hash() != policies.Shipped().Hash() {
		t.Fatal("nothing to learn: this test proves nothing")
	}
	ended, end := context.WithCancel(context.Background())
	end()
	other.WatchRules(ended)
	if got := other.RulesInForce().Hash(); got != w.g.RulesInForce().Hash() {
		t.Errorf("the other replica decides by %s", got)
	}
}
