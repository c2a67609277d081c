package federation

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// vector is one case of metadata policy: what a superior and a subordinate say
// and what becomes of the metadata.
type vector struct {
	name     string
	policies []string
	metadata string
	resolved string // "" = an error is wanted
	code     Code
	reason   string
}

// Own vectors, one or more for each sentence of F
// standard_metadata_policy_operators.
var vectors = []vector{
	{"value is assigned", []string{`{"a":{"value":"x"}}`}, `{"a":"y","b":1}`, `{"a":"x","b":1}`, "", ""},
	{"value is assigned where nothing was", []string{`{"a":{"value":["x"]}}`}, `{}`, `{"a":["x"]}`, "", ""},
	{"value may be an object, as the Italian jwks", []string{`{"jwks":{"value":{"keys":[{"kid":"1"}]}}}`}, `{"jwks":{"keys":[]}}`, `{"jwks":{"keys":[{"kid":"1"}]}}`, "", ""},
	{"value null removes", []string{`{"a":{"value":null}}`}, `{"a":"y"}`, `{}`, "", ""},
	{"equal values merge", []string{`{"a":{"value":{"x":1,"y":[2]}}}`, `{"a":{"value":{"y":[2.0],"x":1}}}`}, `{}`, `{"a":{"x":1,"y":[2]}}`, "", ""},
	{"different values conflict", []string{`{"a":{"value":"x"}}`, `{"a":{"value":"y"}}`}, `{}`, "", CodePolicy, "differ"},
	{"null and a value conflict", []string{`{"a":{"value":null}}`, `{"a":{"value":"y"}}`}, `{}`, "", CodePolicy, "differ"},
	{"value with an add inside it", []string{`{"a":{"value":["x","y"],"add":["y"]}}`}, `{}`, `{"a":["x","y"]}`, "", ""},
	{"value with an add outside it", []string{`{"a":{"value":["x"]}}`, `{"a":{"add":["y"]}}`}, `{}`, "", CodePolicy, "value / add"},
	{"a text value with an add", []string{`{"a":{"value":"x","add":["x"]}}`}, `{}`, "", CodePolicy, "value / add"},
	{"value null with a default", []string{`{"a":{"value":null}}`, `{"a":{"default":"x"}}`}, `{}`, "", CodePolicy, "value / default"},
	{"value wins over default", []string{`{"a":{"value":"y","default":"x"}}`}, `{}`, `{"a":"y"}`, "", ""},
	{"value among one_of", []string{`{"a":{"value":"y","one_of":["x","y"]}}`}, `{}`, `{"a":"y"}`, "", ""},
	{"value not among one_of", []string{`{"a":{"value":"z"}}`, `{"a":{"one_of":["x","y"]}}`}, `{}`, "", CodePolicy, "value / one_of"},
	{"value outside subset_of", []string{`{"a":{"value":["z"]}}`, `{"a":{"subset_of":["x","y"]}}`}, `{}`, "", CodePolicy, "value / subset_of"},
	{"value inside subset_of", []string{`{"a":{"value":["x"],"subset_of":["x","y"]}}`}, `{}`, `{"a":["x"]}`, "", ""},
	{"value short of superset_of", []string{`{"a":{"value":["x"]}}`, `{"a":{"superset_of":["x","y"]}}`}, `{}`, "", CodePolicy, "value / superset_of"},
	{"value null and essential", []string{`{"a":{"value":null}}`, `{"a":{"essential":true}}`}, `{}`, "", CodePolicy, "value / essential"},
	{"value null and voluntary", []string{`{"a":{"value":null}}`, `{"a":{"essential":false}}`}, `{"a":1}`, `{}`, "", ""},

	{"add appends what is missing", []string{`{"a":{"add":["x","y"]}}`}, `{"a":["z","y"]}`, `{"a":["z","y","x"]}`, "", ""},
	{"add makes the parameter", []string{`{"a":{"add":["x","x"]}}`}, `{}`, `{"a":["x"]}`, "", ""},
	{"adds merge to their union", []string{`{"a":{"add":["x"]}}`, `{"a":{"add":["y","x"]}}`}, `{}`, `{"a":["x","y"]}`, "", ""},
	{"add objects", []string{`{"a":{"add":[{"k":1}]}}`}, `{"a":[{"k":1.0}]}`, `{"a":[{"k":1.0}]}`, "", ""},
	{"add to a text", []string{`{"a":{"add":["x"]}}`}, `{"a":"x"}`, "", CodeMetadata, "add"},
	{"add comes before default", []string{`{"a":{"add":["x"],"default":["y"]}}`}, `{}`, `{"a":["x"]}`, "", ""},
	{"add with one_of", []string{`{"a":{"add":["x"]}}`, `{"a":{"one_of":["x"]}}`}, `{}`, "", CodePolicy, "add / one_of"},
	{"add outside subset_of", []string{`{"a":{"add":["x"]}}`, `{"a":{"subset_of":["y"]}}`}, `{}`, "", CodePolicy, "add / subset_of"},
	{"add before superset_of", []string{`{"a":{"add":["x"],"superset_of":["x","y"]}}`}, `{"a":["y"]}`, `{"a":["y","x"]}`, "", ""},
	{"add that is no array", []string{`{"a":{"add":"x"}}`}, `{}`, "", CodePolicy, "not an array"},

	{"default where nothing is", []string{`{"a":{"default":false}}`}, `{}`, `{"a":false}`, "", ""},
	{"default where something is", []string{`{"a":{"default":"x"}}`}, `{"a":"y"}`, `{"a":"y"}`, "", ""},
	{"default where null is", []string{`{"a":{"default":"x"}}`}, `{"a":null}`, `{"a":"x"}`, "", ""},
	{"equal defaults merge", []string{`{"a":{"default":1}}`, `{"a":{"default":1}}`}, `{}`, `{"a":1}`, "", ""},
	{"different defaults conflict", []string{`{"a":{"default":1}}`, `{"a":{"default":2}}`}, `{"a":3}`, "", CodePolicy, "differ"},
	{"default null", []string{`{"a":{"default":null}}`}, `{}`, "", CodePolicy, "null"},
	{"default is checked by one_of", []string{`{"a":{"default":"z","one_of":["x"]}}`}, `{}`, "", CodeMetadata, "one_of"},
	{"default is cut by subset_of", []string{`{"a":{"default":["z","x"],"subset_of":["x"]}}`}, `{}`, `{"a":["x"]}`, "", ""},
	{"default is checked by superset_of", []string{`{"a":{"default":["z"],"superset_of":["x"]}}`}, `{}`, "", CodeMetadata, "superset_of"},
	{"default satisfies essential", []string{`{"a":{"default":"x","essential":true}}`}, `{}`, `{"a":"x"}`, "", ""},

	{"one_of admits", []string{`{"a":{"one_of":["x","y"]}}`}, `{"a":"y"}`, `{"a":"y"}`, "", ""},
	{"one_of refuses", []string{`{"a":{"one_of":["x","y"]}}`}, `{"a":"z"}`, "", CodeMetadata, "one_of"},
	{"one_of refuses an array", []string{`{"a":{"one_of":["x","y"]}}`}, `{"a":["x"]}`, "", CodeMetadata, "one_of"},
	{"one_of is about what is present", []string{`{"a":{"one_of":["x","y"]}}`}, `{}`, `{}`, "", ""},
	{"one_of merge to what both list", []string{`{"a":{"one_of":["x","y"]}}`, `{"a":{"one_of":["y","z"]}}`}, `{"a":"x"}`, "", CodeMetadata, "one_of"},
	{"one_of with nothing in common", []string{`{"a":{"one_of":["x"]}}`, `{"a":{"one_of":["z"]}}`}, `{}`, "", CodePolicy, "nothing in common"},
	{"one_of with subset_of", []string{`{"a":{"one_of":["x"]}}`, `{"a":{"subset_of":["x"]}}`}, `{}`, "", CodePolicy, "one_of / subset_of"},
	{"one_of with superset_of", []string{`{"a":{"one_of":["x"],"superset_of":["x"]}}`}, `{}`, "", CodePolicy, "one_of / superset_of"},

	{"subset_of cuts", []string{`{"a":{"subset_of":["x","y","w"]}}`}, `{"a":["y","z","x"]}`, `{"a":["y","x"]}`, "", ""},
	{"subset_of may leave nothing", []string{`{"a":{"subset_of":["x"],"essential":true}}`}, `{"a":["z"]}`, `{"a":[]}`, "", ""},
	{"subset_of is about what is present", []string{`{"a":{"subset_of":["x"]}}`}, `{}`, `{}`, "", ""},
	{"subset_of and essential need it present", []string{`{"a":{"subset_of":["x"],"essential":true}}`}, `{}`, "", CodeMetadata, "essential"},
	{"subset_of of a text", []string{`{"a":{"subset_of":["x"]}}`}, `{"a":"x"}`, "", CodeMetadata, "subset_of"},
	{"subset_of merge to what both list, even nothing", []string{`{"a":{"subset_of":["x"]}}`, `{"a":{"subset_of":["y"]}}`}, `{"a":["x","y"]}`, `{"a":[]}`, "", ""},
	{"subset_of short of superset_of", []string{`{"a":{"superset_of":["x","y"]}}`, `{"a":{"subset_of":["x"]}}`}, `{}`, "", CodePolicy, "subset_of / superset_of"},

	{"superset_of admits", []string{`{"a":{"superset_of":["x"]}}`}, `{"a":["y","x"]}`, `{"a":["y","x"]}`, "", ""},
	{"superset_of refuses", []string{`{"a":{"superset_of":["x"]}}`}, `{"a":["y"]}`, "", CodeMetadata, "superset_of"},
	{"superset_of merge to their union", []string{`{"a":{"superset_of":["x"]}}`, `{"a":{"superset_of":["y"]}}`}, `{"a":["x"]}`, "", CodeMetadata, "superset_of"},
	{"superset_of of a text", []string{`{"a":{"superset_of":["x"]}}`}, `{"a":"x"}`, "", CodeMetadata, "superset_of"},
	{"set equality by both", []string{`{"a":{"subset_of":["x"],"superset_of":["x"]}}`}, `{"a":["y","x"]}`, `{"a":["x"]}`, "", ""},

	{"essential is joined by or", []string{`{"a":{"essential":true}}`, `{"a":{"essential":false}}`}, `{}`, "", CodeMetadata, "essential"},
	{"essential from below", []string{`{"a":{"essential":false}}`, `{"a":{"essential":true}}`}, `{}`, "", CodeMetadata, "essential"},
	{"essential of an object", []string{`{"a":{"essential":true}}`}, `{"a":{"b":1}}`, `{"a":{"b":1}}`, "", ""},
	{"essential that is no boolean", []string{`{"a":{"essential":"true"}}`}, `{"a":1}`, "", CodePolicy, "essential"},

	{"scope is a list of words", []string{`{"scope":{"subset_of":["openid","email"],"superset_of":["openid"]}}`}, `{"scope":"profile openid email"}`, `{"scope":"openid email"}`, "", ""},
	{"scope by default", []string{`{"scope":{"default":["openid","email"]}}`}, `{}`, `{"scope":"openid email"}`, "", ""},
	{"scope as text in the policy", []string{`{"scope":{"value":"openid email"}}`, `{"scope":{"superset_of":["email"]}}`}, `{"scope":"x"}`, `{"scope":"openid email"}`, "", ""},
	{"scope added", []string{`{"scope":{"add":["email"]}}`}, `{"scope":"openid"}`, `{"scope":"openid email"}`, "", ""},
	{"scope short", []string{`{"scope":{"superset_of":["openid"]}}`}, `{"scope":"email"}`, "", CodeMetadata, "superset_of"},
	{"scope without a policy stays", []string{`{}`}, `{"scope":"a  b"}`, `{"scope":"a  b"}`, "", ""},
	{"only scope is a list of words", []string{`{"acr":{"subset_of":["a"]}}`}, `{"acr":"a b"}`, "", CodeMetadata, "subset_of"},

	{"an unknown operator is ignored", []string{`{"a":{"regexp":"x","essential":false}}`}, `{"a":"y"}`, `{"a":"y"}`, "", ""},
	{"an operator name has its case", []string{`{"a":{"Value":"x"}}`}, `{"a":"y"}`, `{"a":"y"}`, "", ""},
	{"an array in an array", []string{`{"a":{"add":[["x"]]}}`}, `{}`, "", CodePolicy, "add"},
	{"a parameter policy that is no object", []string{`{"a":"x"}`}, `{}`, "", CodePolicy, "not an object"},
	{"a policy that is no object", []string{`[]`}, `{}`, "", CodePolicy, "object"},
	{"an operator given twice", []string{`{"a":{"value":"x","value":"y"}}`}, `{}`, "", CodePolicy, "repeated"},
	{"metadata that is no object", []string{`{}`}, `[]`, "", CodeMetadata, "object"},
	{"a bad combination inside one policy", []string{`{"a":{"one_of":["x"],"add":["x"]}}`}, `{}`, "", CodePolicy, "add / one_of"},
	{"no policy", nil, `{"a":"x"}`, `{"a":"x"}`, "", ""},
	{"three statements", []string{`{"a":{"subset_of":["x","y","z"]}}`, `{"a":{"subset_of":["x","y"]}}`, `{"a":{"superset_of":["y"]}}`}, `{"a":["y","z"]}`, `{"a":["y"]}`, "", ""},
	{
		"the published example",
		[]string{
			`{"grant_types":{"default":["authorization_code"],"subset_of":["authorization_code","refresh_token"],"superset_of":["authorization_code"]},"token_endpoint_auth_method":{"one_of":["private_key_jwt","self_signed_tls_client_auth"],"essential":true},"token_endpoint_auth_signing_alg":{"one_of":["PS256","ES256"]},"subject_type":{"value":"pairwise"},"contacts":{"add":["helpdesk@federation.example.org"]}}`,
			`{"grant_types":{"subset_of":["authorization_code"]},"token_endpoint_auth_method":{"one_of":["self_signed_tls_client_auth"]},"contacts":{"add":["helpdesk@org.example.org"]}}`,
		},
		`{"redirect_uris":["https://rp.example.org/callback"],"response_types":["code"],"token_endpoint_auth_method":"self_signed_tls_client_auth","contacts":["rp_admins@rp.example.org"]}`,
		`{"redirect_uris":["https://rp.example.org/callback"],"grant_types":["authorization_code"],"response_types":["code"],"token_endpoint_auth_method":"self_signed_tls_client_auth","subject_type":"pairwise","contacts":["rp_admins@rp.example.org","helpdesk@federation.example.org","helpdesk@org.example.org"]}`, "", "",
	},
}

func raws(texts []string) []json.RawMessage {
	var out []json.RawMessage
	for _, s := range texts {
		out = append(out, json.RawMessage(s))
	}
	return out
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := decodeTree([]byte(a))
	if err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	y, err := decodeTree([]byte(b))
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return equal(x, y)
}

func TestEachOperatorDoesWhatItsSentenceSays(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			resolved, err := ResolveMetadata(json.RawMessage(v.metadata), raws(v.policies))
			if v.resolved == "" {
				if CodeOf(err) != v.code || !strings.Contains(err.Error(), v.reason) {
					t.Fatalf("got %s, %v; want %s about %q", resolved, err, v.code, v.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !sameJSON(t, string(resolved), v.resolved) {
				t.Fatalf("got %s\nwant %s", resolved, v.resolved)
			}
		})
	}
}

func TestACriticalOperatorThatIsNotUnderstoodMakesThePolicyInvalid(t *testing.T) {
	t.Parallel()
	policy := []byte(`{"openid_provider":{"a":{"regexp":"x"}}}`)
	if _, err := ParsePolicy(policy, []string{"other"}); err != nil {
		t.Fatalf("an operator nobody calls critical: %v", err)
	}
	if _, err := ParsePolicy(policy, []string{"regexp"}); CodeOf(err) != CodePolicy {
		t.Fatalf("got %v", err)
	}
}

func TestMergingAndApplyingChangeNothingTheyWereGiven(t *testing.T) {
	t.Parallel()
	a, err := ParseTypePolicy([]byte(`{"a":{"add":["x"]},"b":{"subset_of":["x","y"]}}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseTypePolicy([]byte(`{"a":{"add":["y"]},"b":{"subset_of":["y"]}}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Merge(b); err != nil {
		t.Fatal(err)
	}
	metadata := map[string]any{"b": []any{"x", "y"}}
	got, err := a.Apply(metadata)
	if err != nil {
		t.Fatal(err)
	}
	if !equal(got, map[string]any{"a": []any{"x"}, "b": []any{"x", "y"}}) || len(metadata) != 1 {
		t.Fatalf("got %v from %v", got, metadata)
	}
}

// shared gives the path of a file of the reference collection, or "" with a
// line in the log where the collection is not at hand.
func shared(t testing.TB, parts ...string) string {
	t.Helper()
	root := os.Getenv("AIREGW_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	path := filepath.Join(append([]string{root}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		t.Logf("reference collection not at hand (set AIREGW_SHARED): %s is not checked", filepath.Join(parts...))
		return ""
	}
	return path
}

func TestAllPublishedVectorsAtHandPass(t *testing.T) {
	t.Parallel()
	path := shared(t, "fixtures", "oidc", "metadata-policy-vectors-even.json")
	if path == "" {
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var published []struct {
		N           int
		TA, INT     json.RawMessage
		Metadata    json.RawMessage
		Resolved    json.RawMessage
		Error       string
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(data, &published); err != nil {
		t.Fatal(err)
	}
	if len(published) < 1009 {
		t.Fatalf("%d vectors", len(published))
	}
	for _, v := range published {
		got, err := ResolveMetadata(v.Metadata, []json.RawMessage{v.TA, v.INT})
		switch {
		case v.Error != "":
			if string(CodeOf(err)) != v.Error {
				t.Errorf("vector %d: got %s, %v; want %s: %s", v.N, got, err, v.Error, v.Description)
			}
		case err != nil:
			t.Errorf("vector %d: %v; want %s", v.N, err, v.Resolved)
		case !sameJSON(t, string(got), string(v.Resolved)):
			t.Errorf("vector %d: got %s, want %s", v.N, got, v.Resolved)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	for _, v := range vectors {
		a, b := "{}", "{}"
		if len(v.policies) > 0 {
			a = v.policies[0]
		}
		if len(v.policies) > 1 {
			b = v.policies[1]
		}
		f.Add(v.metadata, a, b)
	}
	f.Fuzz(func(t *testing.T, metadata, superior, subordinate string) {
		resolved, err := ResolveMetadata(json.RawMessage(metadata), raws([]string{superior, subordinate}))
		if err != nil {
			if c := CodeOf(err); c != CodePolicy && c != CodeMetadata {
				t.Fatalf("code %q of %v", c, err)
			}
			return
		}
		object, err := decodeObject(resolved)
		if err != nil {
			t.Fatalf("resolved %s: %v", resolved, err)
		}
		for name, v := range object {
			if v == nil {
				t.Fatalf("an operator put out null for %s", name)
			}
		}
		// A policy applied to its own result changes nothing: it only restricts
		// (F metadata_policy_principles, determinism).
		again, err := ResolveMetadata(resolved, raws([]string{superior, subordinate}))
		if err != nil || !sameJSON(t, string(again), string(resolved)) {
			t.Fatalf("applied twice: %s, then %s (%v)", resolved, again, err)
		}
	})
}

func TestEveryStandardOperatorHasAVector(t *testing.T) {
	t.Parallel()
	for _, op := range standardOperators {
		if !slices.ContainsFunc(vectors, func(v vector) bool { return strings.Contains(strings.Join(v.policies, ""), `"`+op+`"`) }) {
			t.Errorf("%s has none", op)
		}
	}
}
