package federation

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"airegw/gateway/jose"
)

// FuzzFiles: pinned keys, a body's trust marks and the answer about a mark's
// status, each out of others' hands.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Add([]byte(`{"active":true}`))
	f.Add([]byte(`{"active":"true"}`))
	f.Add([]byte("e30.e30.AA\n\ne30.eyJpZCI6IngiLCJleHAiOjF9.AA\n"))
	f.Add([]byte("eyJhbGciOiJFUzI1NiJ9.eyJpZCI6IngiLCJleHAiOjFlOTl9.AA"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, err := ReadAnchorKeys(raw)
		if e := (*Error)(nil); err == nil && keys.Len() == 0 || err != nil && !errors.As(err, &e) {
			t.Fatalf("%d keys, %v", keys.Len(), err)
		}
		file := filepath.Join(dir, "marks")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		marks, err := readMarks(file, "https://body.example")
		for _, m := range marks {
			if err != nil || m.Subject != "https://body.example" || m.JWT == "" {
				t.Fatalf("mark %+v with %v", m, err)
			}
		}
		object, broken := decodeObject(raw)
		if err := readStatus(raw, Mark{ID: "x"}, jose.KeySet{}, time.Unix(1790000000, 0), 0); err == nil && (broken != nil || object["active"] != true) {
			t.Fatalf("%q says that the mark holds", raw)
		}
	})
}
