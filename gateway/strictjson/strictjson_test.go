package strictjson

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

type inner struct {
	City string `json:"city"`
	No   int    `json:"no,omitempty"`
}

type outer struct {
	inner                    // its members are outer's own
	Name   string            `json:"name"`
	Inner  *inner            `json:"inner"`
	List   []inner           `json:"list"`
	At     time.Time         `json:"at"` // reads itself
	Raw    json.RawMessage   `json:"raw"`
	Exact  json.Number       `json:"exact"`
	Texts  map[string]string `json:"texts"`
	Hidden string            `json:"-"`
}

func TestEachThingEncodingJSONForgivesIsNamedWithItsPlace(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return `{"raw":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	all := Rules{NoNull: true, NoReplaced: true}
	for doc, want := range map[string]string{
		`{"name":"a","inner":{"city":"b"},"list":[{"no":1}],"texts":{"it":"c"},"exact":12,"city":"d"}`: "",
		`{"at":"2026-11-22T00:00:00Z","raw":{"any":[1,"x"]}}`:                                          "",
		``:                                      "not_json",
		`{"name":`:                              "not_json",
		`{"name":"a"`:                           "not_json",
		`{"name":"a"}}`:                         "not_json",
		`{"name":"a"}]`:                         "not_json",
		`{"name":"a"} {}`:                       "follows",
		`[]`:                                    "not_object",
		`null`:                                  "not_object",
		"{\"name\":\"\xff\"}":                   "not_utf8",
		`{"Name":"a"}`:                          "unknown /Name",
		`{"Hidden":"a","-":1}`:                  "unknown /Hidden, unknown /-",
		`{"inner":{"x~/y":1}}`:                  "unknown /inner/x~0~1y",
		`{"name":"a","name":"a"}`:               "repeated /name",
		`{"raw":{"x":[{"y":1,"y":2}]}}`:         "repeated /raw/x/0/y",
		`{"texts":{"it":"a","it":"b"}}`:         "repeated /texts/it",
		`{"name":7,"list":[{},{"no":"x"},3]}`:   "wrong_type /name, wrong_type /list/1/no, wrong_type /list/2",
		`{"texts":{"it":1}}`:                    "wrong_type /texts/it",
		`{"list":[{"no":1.5}]}`:                 "wrong_type /list/no",
		`{"inner":null}`:                        "null /inner",
		`{"raw":[null]}`:                        "null /raw/0",
		`{"name":"\ud800"}`:                     "replaced /name",
		`{"` + strings.Repeat("n", 65) + `":1}`: "unknown",
		deep(MaxDepth):                          "",
		deep(MaxDepth + 1):                      "too_deep /raw" + strings.Repeat("/0", MaxDepth),
	} {
		var got outer
		err := all.Decode([]byte(doc), &got)
		text := ""
		if err != nil {
			var wrong *Error
			if !errors.As(err, &wrong) {
				t.Errorf("%s: %T %v", doc, err, err)
				continue
			}
			text = strings.TrimPrefix(err.Error(), "strictjson: ")
		}
		if text != want {
			t.Errorf("%.90s:\n got %q\nwant %q", doc, text, want)
		}
	}
	for _, doc := range []string{`{"inner":null,"name":"\ud800"}`, deep(3)} {
		if err := (Rules{}).Decode([]byte(doc), &outer{}); err != nil {
			t.Errorf("%s without rules of its own: %v", doc, err)
		}
	}
	if err := (Rules{MaxDepth: 3}).Check([]byte(deep(4)), nil); err == nil {
		t.Error("four levels under a bound of three")
	}
}

func TestATypeThatReadsItselfBeginsWithItsOwnMembers(t *testing.T) {
	t.Parallel()
	// At the document its members are asked for, below it they are its own affair.
	if err := (Rules{}).Check([]byte(`{"b":1}`), reflect.TypeFor[itself]()); err == nil {
		t.Error("an unknown member of a type that reads itself passes")
	}
	var holder struct {
		Of itself `json:"of"`
	}
	if err := (Rules{}).Decode([]byte(`{"of":{"b":1}}`), &holder); err != nil {
		t.Error(err)
	}
	if err := (Rules{}).Decode([]byte(`{"of":3}`), &holder); !errors.Is(err, errItself) {
		t.Errorf("its own refusal comes back as %v", err)
	}
}

var errItself = errors.New("not an object of its own")

type itself struct {
	A int `json:"a"`
}

func (i *itself) UnmarshalJSON(raw []byte) error {
	if raw[0] != '{' {
		return errItself
	}
	return nil
}

func TestAPathIsWrittenForMachinesAndForPeople(t *testing.T) {
	t.Parallel()
	p := Path{{"a", -1}, {"", 2}, {"b/c", -1}}
	if p.Pointer() != "/a/2/b~1c" || p.Dotted() != "a[2].b/c" || p.Last() != "b/c" || Path(nil).Last() != "" {
		t.Error(p.Pointer(), p.Dotted(), p.Last())
	}
}
