package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

type echoQuestion struct {
	Query string `json:"query"`
	Inner struct {
		City string `json:"city"`
	} `json:"inner"`
}

type echoAnswer struct {
	Echo string `json:"echo"`
}

func echoLines(t *testing.T, input string) []string {
	t.Helper()
	var out bytes.Buffer
	err := jsonLines(streams{in: strings.NewReader(input), out: &out}, func(q echoQuestion) (echoAnswer, error) {
		switch q.Query {
		case "":
			return echoAnswer{}, &lineError{"required", "query", "missing"}
		case "boom":
			return echoAnswer{}, errors.New("boom <>")
		}
		return echoAnswer{q.Query + q.Inner.City}, nil
	})
	if err != nil {
		t.Fatalf("jsonLines: %v", err)
	}
	if out.Len() == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestEveryLineIsAnsweredInOrderAndABadOneNeverStopsTheRest(t *testing.T) {
	t.Parallel()
	lines := []struct{ in, want string }{
		{`{"query":"Forlì"}`, `{"echo":"Forlì"}`},
		{``, `"code":"empty_line"`},
		{`   `, `"code":"empty_line"`},
		{`{"query":"a","inner":{"city":"b"}}` + "\r", `{"echo":"ab"}`},
		{`{"query":`, `"code":"invalid_json"`},
		{`{"query":"a"} {"query":"b"}`, `"code":"invalid_json"`},
		{`{"query":"a","x":1}`, `{"error":{"code":"unknown_member","field":"x",`},
		{`{"Query":"a"}`, `{"error":{"code":"unknown_member","field":"Query",`},
		{`{"query":"a","inner":{"town":"b"}}`, `{"error":{"code":"unknown_member","field":"inner.town",`},
		{`{"query":"a","query":"b"}`, `{"error":{"code":"repeated_member","field":"query",`},
		{`{"query":7}`, `{"error":{"code":"wrong_type","field":"query",`},
		{`["query"]`, `"code":"not_an_object"`},
		{`null`, `"code":"not_an_object"`},
		{"{\"query\":\"\xff\"}", `"code":"invalid_utf8"`},
		{`{"query":"\ud800"}`, `"code":"invalid_utf8"`},
		{`{"query":"` + strings.Repeat("x", maxJSONLine) + `"}`, `"code":"line_too_long"`},
		{`{"query":"boom"}`, `{"error":{"code":"invalid","field":"","text":"boom <>"}}`},
		{`{}`, `{"error":{"code":"required","field":"query","text":"missing"}}`},
		{`{"query":"last"}`, `{"echo":"last"}`},
	}
	var input []string
	for _, line := range lines {
		input = append(input, line.in)
	}
	for _, end := range []string{"", "\n"} {
		got := echoLines(t, strings.Join(input, "\n")+end)
		if len(got) != len(lines) {
			t.Fatalf("%d answers to %d lines", len(got), len(lines))
		}
		for i, line := range lines {
			if !strings.Contains(got[i], line.want) {
				t.Errorf("line %d %.60q: got %s, want %s", i, line.in, got[i], line.want)
			}
		}
	}
}

func TestNoInputIsAnsweredByNothing(t *testing.T) {
	t.Parallel()
	if got := echoLines(t, ""); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestALineOfExactlyTheBoundIsAnswered(t *testing.T) {
	t.Parallel()
	frame := `{"query":""}`
	line := `{"query":"` + strings.Repeat("x", maxJSONLine-len(frame)) + `"}`
	for _, end := range []string{"\n", "\r\n", ""} {
		if got := echoLines(t, line+end); len(got) != 1 || !strings.HasPrefix(got[0], `{"echo"`) {
			t.Errorf("end %q: %.80q", end, got)
		}
	}
}
