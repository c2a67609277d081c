package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"airegw/gateway"
	"airegw/gateway/jose"
	"airegw/gateway/store"
	"airegw/policies"
)

// RulesConfig names the rule set a gateway starts with and the keys of its two
// owners (DESIGN §6). Both owners must have approved exactly this set, each with
// a key of its own, or nothing starts. Sets approved later on the owners' pages
// are kept in the database and take over at their date.
type RulesConfig struct {
	// Dir holds the rule files (*.yaml); empty: the set in the binary.
	Dir string `yaml:"dir"`
	// InteriorKeyFile and MAECIKeyFile are the owners' keys (ES256), needed. In
	// production a JWK set of public keys: whoever runs the gateway cannot sign
	// for a ministry. In a simulation a private key, with which the server signs
	// when that owner's person approves; production refuses such a file.
	InteriorKeyFile string `yaml:"interior_key_file"`
	MAECIKeyFile    string `yaml:"maeci_key_file"`
	// InteriorApprovalFile and MAECIApprovalFile hold the two approvals of the
	// set, each a detached JWS. Needed.
	InteriorApprovalFile string `yaml:"interior_approval_file"`
	MAECIApprovalFile    string `yaml:"maeci_approval_file"`
}

// owner is one owner's side of the configuration.
type owner struct {
	owner         policies.Owner
	key, approval string
	keyPath       string // as a FieldError names it
	approvalPath  string
}

func (c RulesConfig) owners() [2]owner {
	return [2]owner{
		{policies.OwnerInterior, c.InteriorKeyFile, c.InteriorApprovalFile, "rules.interior_key_file", "rules.interior_approval_file"},
		{policies.OwnerMAECI, c.MAECIKeyFile, c.MAECIApprovalFile, "rules.maeci_key_file", "rules.maeci_approval_file"},
	}
}

// approvedRules is the configured rule set once both approvals hold.
type approvedRules struct {
	set       *policies.Set
	files     fs.FS
	approvals map[policies.Owner]string
	owners    gateway.RuleOwners
}

// readRules loads the configured rule set and verifies its two approvals. The
// error is a *FieldError, or holds the set's *policies.ApprovalError.
func readRules(c Config) (approvedRules, error) {
	r := approvedRules{
		files: policies.ShippedFS(), approvals: map[policies.Owner]string{},
		owners: gateway.RuleOwners{Keys: map[policies.Owner]jose.KeySet{}, Signers: map[policies.Owner]jose.Key{}},
	}
	if c.Rules.Dir == "" {
		r.set = policies.Shipped()
	} else {
		r.files = os.DirFS(c.file(c.Rules.Dir))
		set, err := policies.Load(r.files)
		if err != nil {
			return r, &FieldError{"rules.dir", err.Error()}
		}
		r.set = set
	}
	for _, o := range c.Rules.owners() {
		err := r.readKey(c, o)
		if err != nil {
			return r, &FieldError{o.keyPath, err.Error()}
		}
		jws, err := os.ReadFile(c.file(o.approval))
		if err != nil {
			return r, &FieldError{o.approvalPath, err.Error()}
		}
		r.approvals[o.owner] = strings.TrimSpace(string(jws))
	}
	err := r.set.VerifyApprovals(r.approvals, r.owners.Keys)
	if err != nil {
		return r, fmt.Errorf("rule set %s is not in force: %w", r.set.Hash(), err)
	}
	return r, nil
}

// readKey reads an owner's key: public in production, private in a simulation.
func (r *approvedRules) readKey(c Config, o owner) error {
	if c.Environment == store.Simulation {
		key, err := jose.LoadKey(c.file(o.key), jose.ES256)
		if err != nil {
			return fmt.Errorf("a simulation signs for its owners: %w", err)
		}
		r.owners.Keys[o.owner], r.owners.Signers[o.owner] = jose.NewKeySet(key.Public()), key
		return nil
	}
	raw, err := os.ReadFile(c.file(o.key))
	if err != nil {
		return fmt.Errorf("read key: %w", err)
	}
	if _, err := jose.ParsePrivateKey(raw, jose.ES256); err == nil {
		return errors.New("a private key, as simulations have: production knows an owner's public keys only")
	}
	keys, err := jose.ParseKeySet(raw)
	if err != nil {
		return fmt.Errorf("public keys: %w", err)
	}
	if keys.Len() == 0 {
		return errors.New("no usable key in it")
	}
	r.owners.Keys[o.owner] = keys
	return nil
}
