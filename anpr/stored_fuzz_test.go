package anpr

import (
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"
)

// FuzzStored: a record comes back from its stored form as it went in, or is
// refused; the register's wish to be left alone is at most a day.
func FuzzStored(f *testing.F) {
	f.Add([]byte(`{"version":1}`), "5")
	f.Add([]byte(`{"version":99}`), "-1")
	f.Add([]byte(`{"version":"1"}`), "1h")
	f.Fuzz(func(t *testing.T, raw []byte, wait string) {
		if d, ok := advice(http.Header{"Retry-After": {wait}}); ok && (d <= 0 || d > 24*time.Hour) {
			t.Fatalf("%q is %v", wait, d)
		}
		r, err := ParseRecord(raw)
		if err != nil {
			if !errors.Is(err, ErrRecord) || !reflect.DeepEqual(r, Record{}) {
				t.Fatalf("half a record with %v", err)
			}
		}
	})
}
