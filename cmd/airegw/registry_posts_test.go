package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestEveryPostIsListedAsOneJSONObjectPerLine(t *testing.T) {
	t.Parallel()
	code, out, _ := airegw(t, "", "registry", "posts", "--json")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if code != 0 || len(lines) < 180 {
		t.Fatalf("exit %d, %d lines", code, len(lines))
	}
	for _, line := range lines {
		var p postLine
		if err := json.Unmarshal([]byte(line), &p); err != nil || p.Key == "" || p.Seat == "" || p.Captures.Source == "" || p.Sources.Post == "" {
			t.Fatalf("%s: %v", line, err)
		}
	}
	code, out, _ = airegw(t, "", "registry", "posts", "--open", "madrid")
	if code != 0 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "consulate_general") {
		t.Errorf("the posts open in Madrid today: exit %d\n%s", code, out)
	}
}

func TestAPostIsPrintedTheSameHoweverItsSeatIsTyped(t *testing.T) {
	t.Parallel()
	_, want, _ := airegw(t, "", "registry", "posts", "2630203")
	for _, args := range [][]string{{"san paolo"}, {"São", "Paulo"}, {"SAO PAULO"}, {"br-san-paolo"}} {
		if code, out, _ := airegw(t, "", append([]string{"registry", "posts"}, args...)...); code != 0 || out != want || out == "" {
			t.Errorf("%v: exit %d, %s", args, code, out)
		}
	}
	if code, _, text := airegw(t, "", "registry", "posts", "zzzzqqqq"); code != 1 || !strings.HasPrefix(text, "airegw: ") {
		t.Errorf("an unknown seat: exit %d, %q", code, text)
	}
}

func TestPostsAreAnsweredLineByLine(t *testing.T) {
	t.Parallel()
	input := `{"iso2":"AR","address":{"street":"Ejemplo 1","city":"Banfield","postcode":"1828","region":"Buenos Aires","county":"Lomas de Zamora"}}
{"iso2":"UY"}
not json
{"iso2":"US","address":{"region":"California"}}
{"iso2":"ZZ","address":{}}
{"address":{"city":"Berlin"}}
{"iso2":"IT","address":{"city":"Roma"}}
{"iso2":"DE","address":{"town":"Berlin"}}
{"iso2":"ES","address":{"postcode":"28001"}}
`
	want := []string{
		`{"post":{"seat":"Lomas de Zamora","kind":"consular_agency","code":"2601310"},"candidates":[],"ambiguous":false}`,
		`{"post":{"seat":"Montevideo","kind":"embassy","code":"2830100"},"candidates":[],"ambiguous":false}`,
		`"code":"invalid_json"`,
		`{"post":null,"candidates":[{"seat":"Los Angeles","kind":"consulate_general","code":"2810503"},{"seat":"San Francisco","kind":"consulate_general","code":"2810803"}],"ambiguous":true}`,
		`{"error":{"code":"unknown_state","field":"iso2"`,
		`"field":"iso2"`,
		`{"post":null,"candidates":[],"ambiguous":false}`,
		`"code":"unknown_member","field":"address.town"`,
		`{"post":{"seat":"Madrid","kind":"consulate_general","code":""},"candidates":[],"ambiguous":false}`,
	}
	code, out, _ := airegw(t, input, "registry", "post", "-")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if code != 0 || len(lines) != len(want) {
		t.Fatalf("exit %d, %d lines:\n%s", code, len(lines), out)
	}
	for i, line := range lines {
		if !strings.Contains(line, want[i]) {
			t.Errorf("line %d: %s\nnot %s", i+1, line, want[i])
		}
	}
}

func TestOneAddressIsAnsweredByFlags(t *testing.T) {
	t.Parallel()
	code, out, _ := airegw(t, "", "registry", "post", "--country", "AR", "--region", "Mendoza")
	if code != 0 || !strings.HasPrefix(out, "Mendoza  consulate  2600604\n") || !strings.Contains(out, "post_by_region") {
		t.Errorf("exit %d, %s", code, out)
	}
	code, out, _ = airegw(t, "", "registry", "post", "--json", "--country", "fr", "--postcode", "69003")
	if code != 0 || out != `{"post":{"seat":"Lione","kind":"consulate_general","code":"2290303"},"candidates":[],"ambiguous":false}`+"\n" {
		t.Errorf("exit %d, %s", code, out)
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{1, []string{"--country", "IT"}},
		{1, []string{"--country", "ZZ"}},
		{2, []string{"--city", "Berlin"}},
		{2, []string{"-", "--country", "DE"}},
		{2, []string{"somewhere"}},
		{2, nil},
	} {
		if code, _, _ := airegw(t, "", append([]string{"registry", "post"}, c.args...)...); code != c.code {
			t.Errorf("%v: exit %d, not %d", c.args, code, c.code)
		}
	}
}
