package strictjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzRead: what is taken is one JSON document that encoding/json reads the same
// way and that, written out again, is taken again; what is refused is refused
// with a code and, beside that of a lone problem, a place.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `[]`, `null`, `"x"`, `{"name":"a","inner":{"city":"b","no":3},"list":[{},{"no":1}]}`,
		`{"name":"a","name":"b"}`, `{"Name":"a"}`, `{"list":[3],"texts":{"it":1}}`, `{"raw":[[[[{"a":null}]]]],"exact":1e400}`,
		`{"at":"2026-11-22T00:00:00Z"} {}`, `{"name":"\ud800"}}`, "\xff",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, raw []byte, flags uint8) {
		r := Rules{NoNull: flags&1 != 0, NoReplaced: flags&2 != 0, MaxDepth: int(flags >> 2)}
		var doc outer
		err := r.Decode(raw, &doc)
		if wrong, ok := err.(*Error); ok { //nolint:errorlint // it comes unwrapped or is not ours
			for _, p := range wrong.Problems {
				if p.Code == "" || len(wrong.Problems) > 1 && len(p.Path) == 0 {
					t.Fatalf("problem %+v of %q", p, raw)
				}
			}
		}
		tree, treeErr := r.Tree(raw)
		if (treeErr == nil) != (r.Check(raw, nil) == nil) {
			t.Fatalf("to keep the tree changes the answer: %v", treeErr)
		}
		if treeErr != nil {
			if err == nil {
				t.Fatalf("taken as a type but not as a tree: %v", treeErr)
			}
			return
		}
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		var plain any
		if e := dec.Decode(&plain); e != nil || !reflect.DeepEqual(tree, plain) {
			t.Fatalf("%q: encoding/json reads %v (%v), we %v", raw, plain, e, tree)
		}
		again, e := json.Marshal(tree)
		if e != nil {
			t.Fatal(e)
		}
		if _, e := (Rules{}).Tree(again); e != nil {
			t.Fatalf("%q, written again %q, is refused: %v", raw, again, e)
		}
	})
}
