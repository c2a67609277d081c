// Package messages holds every text for people, in Italian and English, by
// code: pages, API, command line, printed forms.
//
// Duty: turn a stable machine code and named arguments into a sentence that
// says what is the matter and, where something is to be done, who does it.
//
// Promise: each code has both languages with the same arguments, side by side
// in one file under catalogue/, so that neither can be forgotten. Texts are
// plain: whoever shows them escapes them for the medium.
//
// It refuses, at the first use, a catalogue with a missing language, a repeated
// code or a malformed line. To add a text, add three lines:
//
//	my_code
//	  it Che cosa succede, con {argomento}.
//	  en What is the matter, with {argomento}.
package messages

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// The languages.
const (
	IT = "it"
	EN = "en"
)

// Languages lists the languages, the default first.
func Languages() []string { return []string{IT, EN} }

//go:embed catalogue/*.txt
var files embed.FS

// entry is one code's text in each language.
type entry struct{ it, en string }

var catalogue = sync.OnceValue(func() map[string]entry {
	all, err := load(files)
	if err != nil {
		panic("messages: " + err.Error()) // the files are part of the program
	}
	return all
})

var codeForm = regexp.MustCompile(`^[a-zA-Z0-9_.+|-]+$`)

// load reads every catalogue file.
func load(fsys fs.FS) (map[string]entry, error) {
	names, err := fs.Glob(fsys, "catalogue/*.txt")
	if err != nil {
		return nil, fmt.Errorf("list catalogues: %w", err)
	}
	all := map[string]entry{}
	for _, name := range names {
		raw, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read catalogue: %w", err)
		}
		err = parse(string(raw), all)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}

// parse adds the texts of one file: a code at the start of a line, its
// languages indented by two spaces below; # begins a comment line.
func parse(text string, all map[string]entry) error {
	code, at := "", 0
	var e entry
	done := func() error {
		if code == "" {
			return nil
		}
		if e.it == "" || e.en == "" {
			return fmt.Errorf("line %d: %s lacks a language", at, code)
		}
		all[code] = e
		return nil
	}
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "  "):
			lang, text, ok := strings.Cut(line[2:], " ")
			if !ok || code == "" || strings.TrimSpace(text) == "" {
				return fmt.Errorf("line %d: want a language and a text", i+1)
			}
			switch {
			case lang == IT && e.it == "":
				e.it = text
			case lang == EN && e.en == "":
				e.en = text
			default:
				return fmt.Errorf("line %d: language %q unknown or repeated", i+1, lang)
			}
		default:
			err := done()
			if err != nil {
				return err
			}
			code, at, e = strings.TrimSpace(line), i+1, entry{}
			if !codeForm.MatchString(code) {
				return fmt.Errorf("line %d: %q is no code", i+1, code)
			}
			if _, known := all[code]; known {
				return fmt.Errorf("line %d: %s is repeated", i+1, code)
			}
		}
	}
	return done()
}

// Text answers the text of a code in a language ("it" or "en"; any other is
// Italian) with its arguments {name} replaced; an argument that is not given is
// left out. An unknown code answers the code itself, so that nothing is ever
// hidden from the reader; Has tells beforehand.
func Text(lang, code string, args map[string]string) string {
	e, ok := catalogue()[code]
	if !ok {
		return code
	}
	text := e.it
	if lang == EN {
		text = e.en
	}
	if !strings.Contains(text, "{") {
		return text
	}
	return argument.ReplaceAllStringFunc(text, func(m string) string { return args[m[1:len(m)-1]] })
}

// Has says whether a code has a text.
func Has(code string) bool {
	_, ok := catalogue()[code]
	return ok
}

// Codes answers every code, sorted.
func Codes() []string {
	codes := make([]string, 0, len(catalogue()))
	for c := range catalogue() {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	return codes
}

var argument = regexp.MustCompile(`\{[a-z_]+\}`)

// Arguments answers the names of the arguments of a code's text, sorted.
func Arguments(code string) []string { return arguments(catalogue()[code].it) }

func arguments(text string) []string {
	var names []string
	for _, m := range argument.FindAllString(text, -1) {
		names = append(names, m[1:len(m)-1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Language chooses the language for a reader: the first of the choices that is
// one of ours, else the best of an Accept-Language header, else Italian.
func Language(acceptLanguage string, choices ...string) string {
	for _, c := range choices {
		if c == IT || c == EN {
			return c
		}
	}
	best, quality := IT, 0.0
	for part := range strings.SplitSeq(acceptLanguage, ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		base, _, _ := strings.Cut(strings.ToLower(tag), "-")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			_, err := fmt.Sscanf(v, "%f", &q)
			if err != nil {
				continue
			}
		}
		if (base == IT || base == EN) && q > quality {
			best, quality = base, q
		}
	}
	return best
}
