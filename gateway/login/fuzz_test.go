package login

import (
	"testing"

	"airegw/gateway"
)

// FuzzOperatorClaims: whatever a provider claims, an operator let in works for
// the office that was asked for, in a role the provider may give.
func FuzzOperatorClaims(f *testing.F) {
	rome, ok := gateway.ParseOffice("058091")
	if !ok {
		f.Fatal("Rome is no office")
	}
	p := &operatorProvider{OperatorProvider: OperatorProvider{
		Offices: []gateway.Office{rome}, Roles: map[string]gateway.Role{"clerk": gateway.RoleClerk, "interior": gateway.RoleOwnerInterior},
	}}
	f.Add([]byte(`{"office":"058091","role":"clerk","station":"S","given_name":"A","family_name":"B"}`), true)
	f.Add([]byte(`{"office":"H501","role":"clerk","name":"A"}`), true)
	f.Add([]byte(`{"role":"interior"}`), false)
	f.Add([]byte(`{"office":["058091"],"role":null}`), true)
	f.Fuzz(func(t *testing.T, payload []byte, atDesk bool) {
		var asked gateway.Office
		if atDesk {
			asked = rome
		}
		var who OperatorIdentity
		if err := p.judge(&who, payload, asked); err != nil {
			return
		}
		_, owner := gateway.OwnerOf(who.Role)
		if who.Office != asked || owner == atDesk {
			t.Fatalf("let in as %+v, asked for %+v", who, asked)
		}
	})
}
