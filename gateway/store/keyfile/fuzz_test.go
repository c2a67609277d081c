package keyfile_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"airegw/gateway/store/keyfile"
)

// FuzzParse: no file is read by halves, and none is quoted.
func FuzzParse(f *testing.F) {
	key := strings.Repeat("A", 43) + "="
	f.Add([]byte(`{"version":1,"digest_key":"` + key + `","column_keys":[{"id":"k1","key":"` + strings.Repeat("B", 42) + `A="}]}`))
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":1,"digest_key":7,"column_keys":[{}]} x`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := keyfile.Parse(raw)
		if err != nil {
			if len(raw) > 40 && strings.Contains(err.Error(), string(raw[len(raw)/2-10:len(raw)/2+10])) {
				t.Errorf("the error quotes the file: %v", err)
			}
			return
		}
		if len(file.DigestKey) != keyfile.KeySize || len(file.ColumnKeys) == 0 {
			t.Fatalf("half a file: %+v", file)
		}
		again, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		second, err := keyfile.Parse(again)
		if err != nil || !bytes.Equal(second.DigestKey, file.DigestKey) || len(second.ColumnKeys) != len(file.ColumnKeys) {
			t.Fatalf("written and read again it is another: %v", err)
		}
	})
}
