package login_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/login"
	"airegw/testharness/opsim"
	"airegw/testharness/sim"
)

func TestACitizenLogsInAndOutThroughTheFederation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	until, err := w.citizens.Ready()
	if err != nil || !until.After(w.clock.Now()) {
		t.Fatalf("%v %v", until, err)
	}
	who, err := w.enter(t, login.Start{ReturnTo: "/citizen/new?x=1", Lang: "en"})
	if err != nil {
		t.Fatalf("%v; refusals: %+v", err, w.Refusals())
	}
	if who.FiscalCode != person || who.Level < login.Level2 || who.ReturnTo != "/citizen/new?x=1" || who.Lang != "en" || who.GivenName == "" ||
		who.FamilyName == "" || who.BirthDate == "" || who.StepUp || !strings.HasPrefix(who.ID, "cie:") || who.Issuer != w.Addresses.Provider {
		t.Errorf("%+v", who)
	}
	if w.State().LiveTokens == 0 {
		t.Error("no token is live after a login")
	}
	// A step-up comes back with the same person, at the level asked.
	up, err := w.enter(t, login.Start{Level: login.LevelFor(login.ActConsent), Person: who.ID})
	if err != nil || up.Level != login.Level3 || up.ID != who.ID || !up.StepUp {
		t.Errorf("%+v, %v", up, err)
	}
	for _, ref := range []string{who.Reference, up.Reference, up.Reference, "nobody"} {
		if err := w.citizens.Logout(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.State().LiveTokens; n != 0 {
		t.Errorf("%d tokens are live after logout", n)
	}
	export, err := w.store.ExportLogin(t.Context(), who.Reference)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []login.RecordKind
	for _, r := range export.Records {
		kinds = append(kinds, r.Kind)
		if len(r.Content) < 3 || r.At.IsZero() {
			t.Errorf("%s holds %q", r.Kind, r.Content)
		}
	}
	want := []login.RecordKind{
		login.RecordTrustChain, login.RecordAuthenticationRequest, login.RecordAuthenticationResponse, login.RecordTokenRequest,
		login.RecordTokenResponse, login.RecordUserInfoRequest, login.RecordUserInfoResponse, login.RecordOutcome,
		login.RecordRevocationRequest, login.RecordRevocationResponse,
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("the register holds %v", kinds)
	}
	if log := w.log.take(); strings.Contains(log, person) || strings.Contains(log, who.FamilyName) || strings.Contains(log, "eyJ") {
		t.Errorf("personal data or a token in the log:\n%s", log)
	}
}

// TestEveryFaultOfTheProvidersEndsInItsClass is the table of the simulator's
// fault switches.
func TestEveryFaultOfTheProvidersEndsInItsClass(t *testing.T) {
	t.Parallel()
	faults := opsim.Catalogue()
	if len(faults) < 45 {
		t.Fatalf("only %d faults", len(faults))
	}
	// Several worlds, so that they run at once; a fault runs alone in its world.
	const worlds = 2
	groups := make([][]opsim.FaultCase, worlds)
	for i, f := range faults {
		groups[i*worlds/len(faults)] = append(groups[i*worlds/len(faults)], f)
	}
	seen := make(chan map[string]string, 1)
	seen <- map[string]string{}
	t.Run("worlds", func(t *testing.T) {
		for i, group := range groups {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				for _, f := range group {
					t.Run(f.Name+" at "+f.Op, func(t *testing.T) {
						why := w.spoil(t, f)
						all := <-seen
						if other, twice := all[why]; why != "" && twice && !sameReason(f.Name, other) {
							t.Errorf("%s has the same reason as %s: %s", f.Name, other, why)
						}
						all[why] = f.Name
						seen <- all
					})
				}
			})
		}
	})
}

// spoil logs in while one fault is on and answers the logged reason.
func (w *world) spoil(t *testing.T, f opsim.FaultCase) string {
	t.Helper()
	faults := w.Faults()
	federation := strings.HasPrefix(f.Op, "anchor-") || f.Op == opsim.OpConfiguration
	if w.member.Chain.Status().LastError != nil || !w.valid() {
		w.renew(t)
	}
	if strings.Contains(f.Name, "-old-") {
		// There is an earlier login to take it from.
		if _, err := w.enter(t, login.Start{}); err != nil {
			t.Fatal(err)
		}
	}
	if f.Needs == "a relying party that asks for offline_access" {
		t.Logf("%s: not applicable, we never ask for offline_access", f.Name)
		return ""
	}
	before := faults.Injected(f.Name)
	w.log.take()
	if err := faults.Set(sim.Rule{Name: f.Name, Op: f.Op, Probability: 1}); err != nil {
		t.Fatal(err)
	}
	defer faults.Reset()
	var err error
	switch f.Needs {
	case "a login of an operator":
		w.clock.Advance(16 * time.Minute) // discovery is asked again
		id, office := w.operator(t, opsim.RealmInterno, "operator")
		_, err = w.enterOperator(t, id, login.OperatorStart{Office: office})
	case "a logout":
		var who login.Identity
		live := w.State().LiveTokens
		if who, err = w.enter(t, login.Start{}); err == nil {
			if login.CodeOf(w.citizens.Logout(t.Context(), who.Reference)) != login.CodeRevocation {
				t.Error("a revocation that failed is not told")
			}
			faults.Reset()
			if again := w.citizens.Sweep(t.Context()); again != nil || w.State().LiveTokens != live {
				t.Errorf("the sweep left %d tokens: %v", w.State().LiveTokens-live, again)
			}
		}
	default:
		if federation {
			w.renew(t)
		}
		_, err = w.enter(t, login.Start{})
	}
	if faults.Injected(f.Name) == before {
		t.Fatalf("the fault was never met")
	}
	if f.Class == opsim.Tolerated {
		if err != nil {
			t.Errorf("%s is to be tolerated: %v", f.About, err)
		}
		return ""
	}
	if err == nil {
		t.Fatalf("somebody is logged in although %s", f.About)
	}
	e := errorOf(t, err)
	if string(e.Class) != string(f.Class) {
		t.Errorf("class %s (%v), the table says %s", e.Class, e, f.Class)
	}
	if e.Reference == "" {
		t.Error("no reference code")
	}
	if log := w.log.take(); !strings.Contains(log, "code="+string(e.Code)) || !strings.Contains(log, "reference="+e.Reference) {
		t.Errorf("code and reference are not in the log:\n%s", log)
	} else if strings.Contains(log, "<script") || strings.Contains(log, "eyJ") {
		t.Errorf("foreign text or a token in the log:\n%s", log)
	}
	// What belongs to no attempt is only logged.
	stray := slices.Contains([]login.Code{login.CodeNoChain, login.CodeDiscovery, login.CodeDiscoveryIssuer, login.CodeAttemptUnknown, login.CodeResponseState}, e.Code) ||
		f.Name == "response-state-twice"
	if export, err := w.store.ExportLogin(t.Context(), e.Reference); (err != nil || len(export.Records) == 0) != stray {
		t.Errorf("the register holds %d records: %v", len(export.Records), err)
	}
	door := "citizen"
	if f.Needs == "a login of an operator" {
		door = "operator"
	}
	return door + "|" + reason(e)
}

func (w *world) valid() bool {
	_, err := w.citizens.Ready()
	return err == nil
}

// sameReason tells whether two faults are one and the same to a relying party:
// all it sees of any of them is the answer in the comment.
func sameReason(a, b string) bool {
	for _, group := range [][]string{
		{"response-old-code", "response-bad-code", "token-invalid-grant"}, // invalid_grant
		{"error-invalid-request", "error-markup"},                         // invalid_request, the description is not read
		{sim.FaultDropRequest, sim.FaultDropAnswer},                       // the connection ends
	} {
		if slices.Contains(group, a) && slices.Contains(group, b) {
			return true
		}
	}
	return false
}

func TestOperatorsLogInAtTheProviderOfTheirOffice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		realm, word string
		role        gateway.Role
	}{
		{opsim.RealmInterno, "operator", gateway.RoleClerk},
		{opsim.RealmInterno, "supervisor", gateway.RoleReferent},
		{opsim.RealmEsteri, "operator", gateway.RoleClerk},
	} {
		id, office := w.operator(t, c.realm, c.word)
		who, err := w.enterOperator(t, id, login.OperatorStart{Office: office, ReturnTo: "/operator", Lang: "it"})
		if err != nil {
			t.Fatalf("%s %s: %v; refusals %+v", c.realm, c.word, err, w.Refusals())
		}
		if who.Office != office || who.Role != c.role || who.Name == "" || who.Station == "" || !strings.HasPrefix(who.ID, "op:") || who.ReturnTo != "/operator" {
			t.Errorf("%+v", who)
		}
	}
	for name, role := range map[string]gateway.Role{"owner-interior": gateway.RoleOwnerInterior, "owner-maeci": gateway.RoleOwnerMAECI} {
		provider := map[string]string{"owner-interior": "interno", "owner-maeci": "esteri"}[name]
		who, err := w.enterOperator(t, name, login.OperatorStart{Provider: provider})
		if err != nil || !who.Office.IsZero() || who.Role != role {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}

func TestAProviderSpeaksForItsOwnOfficesAndRolesOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, office := w.operator(t, opsim.RealmInterno, "operator")
	_, foreign := w.operator(t, opsim.RealmEsteri, "operator")
	var second gateway.Office
	for _, o := range w.offices(opsim.RealmInterno) {
		if o != office {
			second = o
		}
	}
	for _, c := range []struct {
		name   string
		claims map[string]any
		start  login.OperatorStart
		code   login.Code
	}{
		{"a foreign office", map[string]any{"office": foreign.Code}, login.OperatorStart{Office: office}, login.CodeOperatorOffice},
		{"another office of the same provider", map[string]any{"office": second.Code}, login.OperatorStart{Office: office}, login.CodeOperatorAsked},
		{"no office of ours", map[string]any{"office": "999999"}, login.OperatorStart{Office: office}, login.CodeOperatorOffice},
		{"no office", map[string]any{"office": nil}, login.OperatorStart{Office: office}, login.CodeOperatorClaim},
		{"an office that is no text", map[string]any{"office": []string{office.Code}}, login.OperatorStart{Office: office}, login.CodeOperatorClaim},
		{"an unknown role", map[string]any{"role": "root"}, login.OperatorStart{Office: office}, login.CodeOperatorRole},
		{"no role", map[string]any{"role": nil}, login.OperatorStart{Office: office}, login.CodeOperatorClaim},
		{"an owner's role at an office", map[string]any{"role": "owner_interior"}, login.OperatorStart{Office: office}, login.CodeOperatorOffice},
		{"a clerk at the ministry's door", nil, login.OperatorStart{Provider: "interno"}, login.CodeOperatorAsked},
	} {
		original := map[string]any{"role": "operator", "office": office.Code}
		if err := w.SetOperatorClaims(id, c.claims); err != nil {
			t.Fatal(err)
		}
		who, err := w.enterOperator(t, id, c.start)
		if login.CodeOf(err) != c.code || who.ID != "" {
			t.Errorf("%s: %v, %+v", c.name, err, who)
		} else if e := errorOf(t, err); e.Class != login.ClassConfiguration || e.Reference == "" {
			t.Errorf("%s: %+v", c.name, e)
		}
		if err := w.SetOperatorClaims(id, original); err != nil {
			t.Fatal(err)
		}
	}
	entries := w.store.audit("login_failed")
	if len(entries) != 9 {
		t.Errorf("%d refusals are audited, want 9", len(entries))
	}
	if _, err := w.operators.Begin(t.Context(), login.OperatorStart{Office: gateway.Office{Kind: gateway.OfficeComune, Code: "000000"}, Binding: w.binding}); login.CodeOf(err) != login.CodeOfficeUnknown {
		t.Errorf("an office of no provider: %v", err)
	}
	// Access that was taken away here stays away, whatever the provider says.
	who, err := w.enterOperator(t, id, login.OperatorStart{Office: office})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Revoke(t.Context(), "operator", who.ID); err != nil {
		t.Fatal(err)
	}
	if _, err = w.enterOperator(t, id, login.OperatorStart{Office: office}); login.CodeOf(err) != login.CodeOperatorRevoked {
		t.Errorf("a revoked operator: %v", err)
	}
}
