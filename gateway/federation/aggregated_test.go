package federation

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway/jose"
)

// aggregatorSettings are those of an aggregator with a full and a light body, and
// their files.
func aggregatorSettings(t *testing.T) (s Settings, dir string) {
	t.Helper()
	dir = t.TempDir()
	// The body's keys are others than ours, though made once: each signs for the
	// other purpose.
	for to, from := range map[string]string{FileFederation: FileCoreSign, FileCoreSign: FileFederation, FileCoreEncrypt: FileCoreEncrypt} {
		raw, err := os.ReadFile(filepath.Join(keysDir(), "keys", from))
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, "body"), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "body", to), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, set := range map[string]jose.KeySet{
		"pins.json": jose.NewKeySet(taKey.Public()), "light.json": jose.NewKeySet(rpKey.Public()), "core.json": jose.NewKeySet(saKey.Public()),
	} {
		raw, err := json.Marshal(set)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mark := markOf(taID, taID+"/openid_relying_party/public", gwID+"/c_a001").sign(t)
	if err := os.WriteFile(filepath.Join(dir, "marks"), []byte("\n"+mark+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Settings{
		ID: gwID, Organization: "Aggregatore", HomepageURI: gwID, PolicyURI: gwID, Contacts: []string{"a@pec.example.test"},
		RedirectURIs: []string{gwID + "/callback"}, Keys: filepath.Join(keysDir(), "keys"), Anchor: taID, AnchorKeys: filepath.Join(dir, "pins.json"), Provider: opID,
		Aggregated: []AggregatedSettings{
			{Kind: AggregationFull, Code: "c_a001", Organization: "Comune Aggregato", Keys: filepath.Join(dir, "body"), Marks: filepath.Join(dir, "marks")},
			{Kind: AggregationLight, ID: rpID, FederationKeys: filepath.Join(dir, "light.json"), CoreKeys: filepath.Join(dir, "core.json")},
		},
		LoginAs: "c_a001",
	}, dir
}

func openAggregator(t *testing.T, s Settings) (*Member, error) {
	t.Helper()
	m, err := Open(s, Options{Clock: func() time.Time { return testNow }, Rand: func() float64 { return 0 }})
	if err == nil {
		t.Cleanup(m.Close)
	}
	return m, err
}

func TestAnAggregatorIsOpenedByItsConfigurationAlone(t *testing.T) {
	t.Parallel()
	s, dir := aggregatorSettings(t)
	m, err := openAggregator(t, s)
	if err != nil {
		t.Fatal(err)
	}
	full := m.Directory.Full()
	if len(full) != 1 || full[0].ID() != gwID+"/c_a001" || m.Party != full[0] || len(full[0].Marks()) != 1 {
		t.Fatalf("%+v", full)
	}
	if full[0].Keys().Federation.KID() == m.Entity.Keys().Federation.KID() {
		t.Error("the body signs with our key")
	}
	for _, e := range []*Entity{m.Entity, full[0]} {
		a, err := m.Configuration(e)
		if err != nil {
			t.Fatal(err)
		}
		said, err := ParseStatement(string(a.Body))
		if err != nil {
			t.Fatal(err)
		}
		_, party := said.Metadata[TypeRelyingParty]
		if said.Subject != e.ID() || party != (e == full[0]) || (e == full[0]) != slices.Equal(said.AuthorityHints, []string{gwID}) {
			t.Errorf("%+v", said)
		}
	}
	// A body says of itself what is ours where it says nothing else.
	if full[0].cfg.PolicyURI != gwID || full[0].cfg.RedirectURIs[0] != gwID+"/c_a001/callback" {
		t.Errorf("%+v", full[0].cfg)
	}
	about, err := ParseStatement(string(m.Directory.FetchAnswer(url.Values{"sub": {gwID + "/c_a001"}}, testNow).Body))
	if err != nil || len(about.Marks) != 1 {
		t.Errorf("%+v %v", about, err)
	}
	// Another mark in the file is taken without a restart; one that is not the
	// body's leaves those at hand.
	other := markOf(taID, taID+"/openid_relying_party/private", gwID+"/c_a001").sign(t)
	if err := os.WriteFile(filepath.Join(dir, "marks"), []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.renewAggregated(); err != nil || full[0].Marks()[0].JWT != other {
		t.Errorf("%v %+v", err, full[0].Marks())
	}
	foreign := markOf(taID, taID+"/openid_relying_party/public", rpID).sign(t)
	if err := os.WriteFile(filepath.Join(dir, "marks"), []byte(foreign), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.renewAggregated(); err == nil || len(full[0].Marks()) != 1 || full[0].Marks()[0].JWT != other {
		t.Errorf("%v %+v", err, full[0].Marks())
	}
	s.LoginAs = ""
	s.Aggregated[0].Marks = ""
	if m, err = openAggregator(t, s); err != nil || m.Party != nil {
		t.Errorf("nobody logs in here: %+v %v", m, err)
	}
	s.Aggregated = nil
	if m, err = openAggregator(t, s); err != nil || m.Party != m.Entity || m.Directory != nil {
		t.Errorf("no aggregator: %+v %v", m, err)
	}
}

func TestABodyThatCannotBeOpenedNamesItsMember(t *testing.T) {
	t.Parallel()
	good, dir := aggregatorSettings(t)
	missing := filepath.Join(dir, "none")
	for want, change := range map[string]func(s *Settings){
		"aggregated[0].kind":            func(s *Settings) { s.Aggregated[0].Kind = "half" },
		"aggregated[0].code":            func(s *Settings) { s.Aggregated[0].Code = "../c_a001" },
		"aggregated[0].keys":            func(s *Settings) { s.Aggregated[0].Keys = missing },
		"aggregated[0].organization":    func(s *Settings) { s.Aggregated[0].Organization = "" },
		"aggregated[0].id":              func(s *Settings) { s.Aggregated[0].ID = rpID },
		"aggregated[0].marks":           func(s *Settings) { s.Aggregated[0].Marks = filepath.Join(dir, "pins.json") },
		"aggregated[0].policy_uri":      func(s *Settings) { s.Aggregated[0].PolicyURI = "privacy" },
		"aggregated[1].id":              func(s *Settings) { s.Aggregated[1].ID = "somewhere" },
		"aggregated[1].federation_keys": func(s *Settings) { s.Aggregated[1].FederationKeys = missing },
		"aggregated[1].core_keys":       func(s *Settings) { s.Aggregated[1].CoreKeys = filepath.Join(dir, "marks") },
		"aggregated":                    func(s *Settings) { s.Aggregated[1] = s.Aggregated[0] },
		"login_as":                      func(s *Settings) { s.LoginAs = "c_z999" },
	} {
		s := good
		s.Aggregated = slices.Clone(good.Aggregated)
		change(&s)
		_, err := openAggregator(t, s)
		e, ok := err.(*Error) //nolint:errorlint // exactly what the contract says
		if !ok || e.Code != CodeConfig || e.Field != want {
			t.Errorf("%s: %v", want, err)
		}
	}
	s := good
	s.Aggregated = nil
	if _, err := openAggregator(t, s); err == nil || !strings.Contains(err.Error(), "login_as") {
		t.Errorf("a body of no aggregator: %v", err)
	}
}
