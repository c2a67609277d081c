package testharness

import (
	"fmt"
	"path/filepath"

	"airegw/gateway/app"
	"airegw/gateway/jose"
	"airegw/policies"
	"airegw/testharness/sim"
)

// configureRules makes a demo key for each of the two owners of the rules and
// signs the set in the binary with both. The private keys stay in the folder;
// production refuses them.
func configureRules(dir string, c *app.Config) error {
	set := policies.Shipped()
	for _, owner := range policies.Owners {
		name := "rules-" + string(owner)
		key, err := keepKey(filepath.Join(dir, "keys", name+".jwk"), jose.ES256)
		if err != nil {
			return err
		}
		approval, err := set.Approve(owner, key)
		if err != nil {
			return fmt.Errorf("approve the rules of the simulation: %w", err)
		}
		// Signed again at each start: another binary may hold another set.
		err = sim.WriteFile(filepath.Join(dir, "keys", name+".jws"), []byte(approval+"\n"), 0o600)
		if err != nil {
			return fmt.Errorf("keep approval of %s: %w", owner, err)
		}
	}
	c.Rules = app.RulesConfig{
		InteriorKeyFile: "keys/rules-interior.jwk", InteriorApprovalFile: "keys/rules-interior.jws",
		MAECIKeyFile: "keys/rules-maeci.jwk", MAECIApprovalFile: "keys/rules-maeci.jws",
	}
	return nil
}
