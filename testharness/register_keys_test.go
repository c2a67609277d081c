package testharness

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/gateway/jose"
	"airegw/testharness/anprsim"
)

func TestTheSecondKeyAtPDNDTakesOverWithoutAStop(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	raw, err := otherKey()
	w.must("second key", err)
	w.config.Register.NextKeyFile = filepath.Join("keys", "next.jwk")
	w.must("second key", os.WriteFile(filepath.Join(w.dir, w.config.Register.NextKeyFile), raw, 0o600))
	published, err := app.RegisterKeys(w.config)
	w.must("keys", err)
	set, err := jose.ParseKeySet(published)
	w.must("keys", err)
	// register says which of the two keys PDND knows.
	register := func(keys ...jose.PublicKey) {
		t.Helper()
		jwks, err := jose.NewKeySet(keys...).MarshalJSON()
		w.must("keys", err)
		c := anprsim.Client{ID: w.config.Register.ClientID, Purposes: map[string]string{}}
		w.must("keys", json.Unmarshal(jwks, &c.JWKS))
		for code, s := range w.config.Register.Services {
			c.Purposes[code] = s.Purpose
		}
		w.must("register", w.sims.ANPR.RegisterClient(c))
	}
	old, next := set.Keys()[0], set.Keys()[1]
	register(old, next)
	w.must("close", w.app.Close())
	w.assemble()
	d := w.desk("H501")
	n := 0
	goesOn := func(when string) {
		t.Helper()
		n++
		number := w.submit(d, ask(ordinary(t, n)))
		w.work()
		if r := w.open(d, number); r.State != gateway.StatePrechecked {
			t.Fatalf("%s: %s %+v", when, r.State, r.Mark)
		}
	}
	goesOn("both published")
	register(next) // the old one is withdrawn while its vouchers still live
	goesOn("only the second published, vouchers of the first cached")
	w.pass(time.Hour)
	goesOn("only the second published")
	register(old, next)
	goesOn("both again")
	register(old) // back, as after a mistake
	w.pass(time.Hour)
	goesOn("only the first published")
	w.sound()
}
