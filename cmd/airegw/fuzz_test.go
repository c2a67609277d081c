package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"airegw/policies"
)

// FuzzLines: whatever stands in the lines of a file, each gets one line of JSON
// in answer.
func FuzzLines(f *testing.F) {
	f.Add("", []byte(`{"on":"2026-11-21T12:00:00+01:00","channel":"comune","reason":"expiry","residence_country":"AR","person":{"birth_date":"1980-11-20"}}`))
	f.Add("", []byte(`{"given_policy":[{"option":"CONSULATE","allowed":true,"reason_text":{"it":"x"},"valid_from":"2026-01-01"}]}`+"\n\n{"))
	f.Add("expiry", []byte(`{"request_date":"2026-06-08","birth_date":"1980-11-20","fingerprints":"taken"}`))
	f.Add("due", []byte(`{"from":"2026-06-08","working_days":-1}`))
	f.Add("label", []byte(`{"address":{"iso2":"AR","street":"x"}}`))
	set := policies.Shipped()
	f.Fuzz(func(t *testing.T, kind string, in []byte) {
		var out bytes.Buffer
		if err := explainLines(streams{in: bytes.NewReader(in), out: &out}, set, kind); err != nil {
			if out.Len() > 0 {
				t.Fatal(err)
			}
			return
		}
		want := bytes.Count(in, []byte("\n"))
		if len(in) > 0 && in[len(in)-1] != '\n' {
			want++
		}
		lines := bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\n"))
		if out.Len() == 0 {
			lines = nil
		}
		if len(lines) != want {
			t.Fatalf("%d answers to %d lines", len(lines), want)
		}
		for _, line := range lines {
			if !json.Valid(line) {
				t.Fatalf("answered %q", line)
			}
		}
	})
}

// FuzzArguments: instants, tokens and federation files as people hand them in.
func FuzzArguments(f *testing.F) {
	f.Add("2026-11-21")
	f.Add("2026-11-21T12:00:00Z")
	f.Add("e30.e30.AA")
	f.Add("entity_id: https://x\nanchor: {id: y}\n")
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		if at, err := readInstant(text, now); err == nil && at.IsZero() && text == "" {
			t.Fatal("no instant")
		}
		if d, err := decodeJWS(text); err == nil && d.JWS != text {
			t.Fatalf("another token: %q", d.JWS)
		}
		_, _ = readFederation("no-such-file", []byte(text))
	})
}
