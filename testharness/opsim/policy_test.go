package opsim

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// shared finds the reference folder, which is no part of the repository.
func shared(t testing.TB, path ...string) ([]byte, bool) {
	t.Helper()
	root := os.Getenv("AIREGW_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	name := filepath.Join(append([]string{root}, path...)...)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Logf("reference file %s is absent: only what is in the repository was checked", name)
		return nil, false
	}
	return text, true
}

func resolvePolicies(metadata any, policies ...any) (map[string]any, error) {
	merged := typePolicy{}
	for _, p := range policies {
		read, err := readPolicy(p)
		if err == nil {
			merged, err = merged.merge(read)
		}
		if err != nil {
			return nil, err
		}
	}
	object, ok := metadata.(map[string]any)
	if !ok {
		return nil, errMetadata
	}
	return merged.apply(object)
}

func TestPolicyAgreesWithEveryPublishedVector(t *testing.T) {
	t.Parallel()
	text, there := shared(t, "fixtures", "oidc", "metadata-policy-vectors-even.json")
	if !there {
		return
	}
	var vectors []struct {
		N        int    `json:"n"`
		TA       any    `json:"TA"`
		INT      any    `json:"INT"`
		Metadata any    `json:"metadata"`
		Resolved any    `json:"resolved"`
		Error    string `json:"error"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 1000 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	wrong := 0
	for _, v := range vectors {
		got, err := resolvePolicies(v.Metadata, v.TA, v.INT)
		switch v.Error {
		case "invalid_policy":
			if !errors.Is(err, errPolicy) {
				t.Errorf("vector %d: got %v, %v; want %s (%s + %s on %s)", v.N, got, err, v.Error, canon(v.TA), canon(v.INT), canon(v.Metadata))
				wrong++
			}
		case "invalid_metadata":
			if !errors.Is(err, errMetadata) {
				t.Errorf("vector %d: got %v, %v; want %s (%s + %s on %s)", v.N, got, err, v.Error, canon(v.TA), canon(v.INT), canon(v.Metadata))
				wrong++
			}
		default:
			if err != nil || canon(got) != canon(v.Resolved) {
				t.Errorf("vector %d: got %v, %v; want %s (%s + %s on %s)", v.N, canon(got), err, canon(v.Resolved), canon(v.TA), canon(v.INT), canon(v.Metadata))
				wrong++
			}
		}
		if wrong > 12 {
			t.FailNow()
		}
	}
}
