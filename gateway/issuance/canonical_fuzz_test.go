package issuance

import (
	"bytes"
	"encoding/json"
	"testing"
)

func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"b":1,"a":"è"}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Add([]byte(`[{"\ud83d\ude00":true,"\ufb33":[]}]`))
	f.Add([]byte(`"\u0001\u2028<&>"`))
	f.Fuzz(func(t *testing.T, data []byte) {
		one, err := canonical(data)
		if err != nil {
			return
		}
		if !json.Valid(one) {
			t.Fatalf("not JSON: %q", one)
		}
		two, err := canonical(one)
		if err != nil || !bytes.Equal(one, two) {
			t.Fatalf("not a fixed point: %q %q %v", one, two, err)
		}
	})
}

func FuzzDecodeStrict(f *testing.F) {
	f.Add([]byte(`{"order_key":"R.1","nun":"CA00000AA","changes":[]}`))
	f.Add([]byte(`{"changes":null}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		var o Order
		_ = decodeStrict(data, &o)
		var e EventPage
		_ = decodeStrict(data, &e)
		var p problem
		_ = decodeStrict(data, &p)
	})
}
