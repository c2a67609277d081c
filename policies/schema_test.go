package policies

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// schemaNode is as much of a JSON Schema as the test compares.
type schemaNode struct {
	Properties           map[string]schemaNode `json:"properties"`
	Defs                 map[string]schemaNode `json:"$defs"`
	Enum                 []string              `json:"enum"`
	AdditionalProperties *bool                 `json:"additionalProperties"`
}

// members lists the JSON names of a struct.
func members(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			out = append(out, members(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func TestThePublishedSchemaHasTheMembersThatAreRead(t *testing.T) {
	t.Parallel()
	var s schemaNode
	if err := json.Unmarshal(SituationSchema(), &s); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		node schemaNode
		typ  reflect.Type
	}{
		"situation":     {s, reflect.TypeFor[situation]()},
		"person":        {s.Properties["person"], reflect.TypeFor[Person]()},
		"existing_card": {s.Properties["person"].Properties["existing_card"], reflect.TypeFor[Card]()},
		"given":         {s.Defs["given"], reflect.TypeFor[givenJSON]()},
		"reason_text":   {s.Defs["given"].Properties["reason_text"], reflect.TypeFor[Text]()},
	} {
		if got, want := sortedKeys(c.node.Properties), members(c.typ); !slices.Equal(got, want) {
			t.Errorf("%s: the schema has %v, the reader %v", name, got, want)
		}
		if c.node.AdditionalProperties == nil || *c.node.AdditionalProperties {
			t.Errorf("%s: the schema lets unknown members through", name)
		}
	}
}

func TestEveryWordOfTheSchemaIsReadAndNoOther(t *testing.T) {
	t.Parallel()
	var s schemaNode
	if err := json.Unmarshal(SituationSchema(), &s); err != nil {
		t.Fatal(err)
	}
	base := map[string]any{"on": "2026-11-21T12:00:00Z", "channel": "post", "reason": "loss", "residence_country": "AR"}
	n := 0
	for name, p := range s.Properties {
		for _, w := range append(slices.Clone(p.Enum), "no-such-word") {
			if len(p.Enum) == 0 {
				continue
			}
			n++
			m := map[string]any{name: w}
			for k, v := range base {
				if k != name {
					m[k] = v
				}
			}
			b, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := ParseSituation(b); (err == nil) != (w != "no-such-word") {
				t.Errorf("%s %q: %v", name, w, err)
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d words", n)
	}
}
