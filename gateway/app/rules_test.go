package app

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airegw/gateway/jose"
	"airegw/gateway/store"
	"airegw/policies"
)

// ownersFolder holds two owners' keys, private and public, and their approvals
// of the shipped set.
type ownersFolder struct {
	t    *testing.T
	dir  string
	keys map[policies.Owner]jose.Key
}

func newOwnersFolder(t *testing.T) *ownersFolder {
	t.Helper()
	f := &ownersFolder{t, t.TempDir(), map[policies.Owner]jose.Key{}}
	for _, o := range policies.Owners {
		key, err := jose.GenerateKey(jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		f.keys[o] = key
		if err := jose.SaveKey(filepath.Join(f.dir, string(o)+".jwk"), key); err != nil {
			t.Fatal(err)
		}
		f.public(string(o)+".jwks", key)
		f.approve(string(o)+".jws", o, key)
	}
	return f
}

func (f *ownersFolder) write(name, content string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(content), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *ownersFolder) public(name string, keys ...jose.Key) {
	f.t.Helper()
	var public []jose.PublicKey
	for _, k := range keys {
		public = append(public, k.Public())
	}
	b, err := json.Marshal(jose.NewKeySet(public...))
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(name, string(b))
}

func (f *ownersFolder) approve(name string, o policies.Owner, k jose.Key) {
	f.t.Helper()
	jws, err := policies.Shipped().Approve(o, k)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(name, jws+"\n")
}

func (f *ownersFolder) config(environment, keys string) Config {
	c := Config{Environment: environment, Rules: RulesConfig{
		InteriorKeyFile: "interior" + keys, MAECIKeyFile: "maeci" + keys,
		InteriorApprovalFile: "interior.jws", MAECIApprovalFile: "maeci.jws",
	}}
	c.SetDir(f.dir)
	return c
}

func TestRulesNeedBothOwnersApprovalsByTheirOwnKeys(t *testing.T) {
	t.Parallel()
	good := newOwnersFolder(t)
	for _, c := range []Config{good.config(store.Production, ".jwks"), good.config(store.Simulation, ".jwk")} {
		r, err := readRules(c)
		if err != nil {
			t.Fatalf("%s: %v", c.Environment, err)
		}
		if signs := len(r.owners.Signers) == 2; signs != (c.Environment == store.Simulation) {
			t.Errorf("%s: the server signs: %t", c.Environment, signs)
		}
	}
	for name, test := range map[string]struct {
		spoil func(*ownersFolder)
		env   string
		keys  string
		want  string // code of the ApprovalError, or path of the FieldError
	}{
		"a demo's private keys in production": {nil, store.Production, ".jwk", "rules.interior_key_file"},
		"public keys in a simulation":         {nil, store.Simulation, ".jwks", "rules.interior_key_file"},
		"an approval is missing":              {func(f *ownersFolder) { f.write("maeci.jws", "") }, store.Production, ".jwks", policies.CodeApprovalMissing},
		"no file of approval": {func(f *ownersFolder) {
			if err := os.Remove(filepath.Join(f.dir, "maeci.jws")); err != nil {
				f.t.Fatal(err)
			}
		}, store.Production, ".jwks", "rules.maeci_approval_file"},
		"one owner's key signs for the other": {func(f *ownersFolder) {
			f.approve("maeci.jws", policies.OwnerMAECI, f.keys[policies.OwnerInterior])
		}, store.Production, ".jwks", policies.CodeApprovalInvalid},
		"one owner's approval stands for the other's": {func(f *ownersFolder) {
			f.approve("maeci.jws", policies.OwnerInterior, f.keys[policies.OwnerMAECI])
		}, store.Production, ".jwks", policies.CodeApprovalInvalid},
		"both owners have one key": {func(f *ownersFolder) {
			f.public("maeci.jwks", f.keys[policies.OwnerInterior], f.keys[policies.OwnerMAECI])
		}, store.Production, ".jwks", policies.CodeApprovalSameKey},
		"no usable key": {func(f *ownersFolder) { f.write("maeci.jwks", `{"keys":[]}`) }, store.Production, ".jwks", "rules.maeci_key_file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newOwnersFolder(t)
			if test.spoil != nil {
				test.spoil(f)
			}
			_, err := readRules(f.config(test.env, test.keys))
			var approval *policies.ApprovalError
			var field *FieldError
			switch {
			case errors.As(err, &approval) && approval.Code == test.want:
			case errors.As(err, &field) && field.Path == test.want:
			default:
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// TestAnApprovalHoldsForItsSetOnly: one changed byte in a rule file, and the two
// approvals are worth nothing.
func TestAnApprovalHoldsForItsSetOnly(t *testing.T) {
	t.Parallel()
	f := newOwnersFolder(t)
	rules := filepath.Join(f.dir, "rules")
	if err := os.CopyFS(rules, policies.ShippedFS()); err != nil {
		t.Fatal(err)
	}
	c := f.config(store.Production, ".jwks")
	c.Rules.Dir = "rules"
	if _, err := readRules(c); err != nil {
		t.Fatalf("the same files in a folder: %v", err)
	}
	path := filepath.Join(rules, "50-delivery.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f.write("rules/50-delivery.yaml", string(raw)+"# one line more\n")
	var approval *policies.ApprovalError
	if _, err := readRules(c); !errors.As(err, &approval) || approval.Code != policies.CodeApprovalInvalid {
		t.Errorf("changed files: %v", err)
	}
	f.write("rules/50-delivery.yaml", strings.Replace(string(raw), "value: refuse", "value: perhaps", 1))
	var field *FieldError
	if _, err := readRules(c); !errors.As(err, &field) || field.Path != "rules.dir" || !strings.Contains(err.Error(), "50-delivery.yaml:") {
		t.Errorf("a set that does not load: %v", err)
	}
}
