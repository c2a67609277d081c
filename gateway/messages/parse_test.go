package messages

import (
	"strings"
	"testing"
)

func TestABrokenCatalogueIsRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a language is missing":   "a\n  it uno\n",
		"a code is repeated":      "a\n  it uno\n  en one\na\n  it due\n  en two\n",
		"a language is repeated":  "a\n  it uno\n  it due\n",
		"a language is unknown":   "a\n  it uno\n  fr un\n",
		"a text without code":     "  it uno\n",
		"a text is empty":         "a\n  it \n  en one\n",
		"a code is no code":       "a b\n  it uno\n  en one\n",
		"the last one lacks text": "a\n  it uno\n  en one\nb\n",
	} {
		if err := parse(text, map[string]entry{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a\n  it uno\n  en one\n")
	f.Add("# comment\n\nb\n  en x {y}\n  it x {y}")
	f.Fuzz(func(t *testing.T, text string) {
		all := map[string]entry{}
		if parse(text, all) != nil {
			return
		}
		for code, e := range all {
			if code == "" || strings.TrimSpace(e.it) == "" || strings.TrimSpace(e.en) == "" {
				t.Errorf("accepted %q %+v", code, e)
			}
		}
	})
}
