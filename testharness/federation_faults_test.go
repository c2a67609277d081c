package testharness

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"airegw/gateway/federation"
	"airegw/testharness/opsim"
	"airegw/testharness/sim"
)

// member is our membership in the simulated federation, served on loopback.
func member(t *testing.T, op *opsim.Running, keys string, requireMark bool) *federation.Member {
	t.Helper()
	var serving atomic.Pointer[federation.Member]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := serving.Load()
		if m == nil || !strings.HasSuffix(r.URL.Path, "/.well-known/openid-federation") {
			http.NotFound(w, r)
			return
		}
		a, err := m.Configuration()
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", a.ContentType)
		_, _ = w.Write(a.Body)
	}))
	t.Cleanup(server.Close)
	pins := filepath.Join(t.TempDir(), "pins.json")
	if err := os.WriteFile(pins, op.AnchorJWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	id := server.URL + "/c_h501"
	m, err := federation.Open(federation.Settings{
		ID: id, Organization: "Comune di prova", HomepageURI: id, PolicyURI: id + "/policy", Contacts: []string{"ente@pec.example.it"},
		RedirectURIs: []string{id + "/callback"}, Keys: keys,
		Anchor: op.Addresses.Anchor, AnchorKeys: pins, Provider: op.Addresses.Provider, RequireMark: requireMark, Budget: 20 * time.Second,
	}, federation.Options{Clock: time.Now, Rand: rand.Float64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	serving.Store(m)
	return m
}

func TestEveryFaultOfTheFederationLeavesNoChainAndEveryOddityDoes(t *testing.T) {
	t.Parallel()
	made, err := opsim.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys")
	if _, err := federation.GenerateKeys(keys); err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{
		opsim.OpAnchorConfiguration: true, opsim.OpAnchorList: true, opsim.OpAnchorFetch: true,
		opsim.OpAnchorMarkStatus: true, opsim.OpConfiguration: true,
	}
	reasons := make(chan [2]string, 200)
	t.Cleanup(func() {
		close(reasons)
		seen := map[string]int{}
		for r := range reasons {
			seen[r[1]]++
		}
		if len(seen) < 12 {
			t.Errorf("only %d different reasons told apart: %v", len(seen), seen)
		}
	})
	for _, c := range opsim.Catalogue() {
		if !wanted[c.Op] {
			continue
		}
		t.Run(c.Op+" "+c.Name, func(t *testing.T) {
			t.Parallel()
			op, err := opsim.Start(opsim.Options{Seed: 3, Keys: made}, opsim.Listen{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := op.Close(); err != nil {
					t.Error(err)
				}
			})
			m := member(t, op, keys, true)
			if _, err := op.Register(t.Context(), m.Entity.ID()); err != nil {
				t.Fatal(err)
			}
			m.StepMarks(t.Context())
			if err := m.MarkError(); err != nil || len(m.Entity.Marks()) != 1 {
				t.Fatalf("our own standing: %v, marks %v", err, m.Entity.Marks())
			}
			if err := op.Faults().Set(sim.Rule{Name: c.Name, Op: c.Op, Probability: 1}); err != nil {
				t.Fatal(err)
			}
			_, err = m.Resolver.Resolve(t.Context(), op.Addresses.Provider, federation.Want{
				Type: federation.TypeProvider, Listed: true, Mark: true, MarkStatus: true,
			})
			if err == nil {
				m.Chain.Step(t.Context())
				_, _, err = m.Provider()
			}
			if op.Faults().Injected(c.Name) == 0 {
				t.Fatal("the fault was never met")
			}
			switch {
			case c.Class == opsim.Tolerated && err != nil:
				t.Errorf("should be tolerated: %v", err)
			case c.Class != opsim.Tolerated && err == nil:
				t.Error("a chain in spite of the fault")
			case c.Class != opsim.Tolerated && c.Class != opsim.ClassUnavailable:
				t.Errorf("class %s", c.Class)
			case err != nil:
				reasons <- [2]string{c.Name, string(federation.CodeOf(err))}
				t.Log(err)
			}
		})
	}
}
