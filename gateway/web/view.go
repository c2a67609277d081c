package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"airegw/gateway"
	"airegw/gateway/messages"
)

//go:embed templates/*.html
var templateFiles embed.FS

// pageSet holds one parsed template per page, each with the layout and the
// parts that begin with an underscore.
type pageSet map[string]*template.Template

// loadPages parses the pages, once for all servers of a process: nothing of a
// configuration is in them, and a parsed template may be executed by many.
var loadPages = sync.OnceValues(parsePages)

func parsePages() (pageSet, error) {
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("web: list templates: %w", err)
	}
	base := template.New("").Funcs(template.FuncMap{
		"field": newField, "list": func(v ...string) []string { return v },
		"tracked": func(v *view, t trackingAnswer) any {
			return struct {
				V        *view
				Tracking trackingAnswer
			}{v, t}
		},
		"listed": func(v *view, rows []summaryAnswer, path string) any {
			return struct {
				V    *view
				Rows []summaryAnswer
				Path string
			}{v, rows, path}
		},
		"choosing": func(v *view, prefix, act string, options []choice) any {
			return struct {
				V           *view
				Prefix, Act string
				Options     []choice
			}{v, prefix, "act=" + act, options}
		},
		"offered": func(v *view, options []optionAnswer, chosen any, path string) any {
			return struct {
				V       *view
				Options []optionAnswer
				Chosen  string
				Path    string // of the request, for the pages "why?"
			}{v, options, fmt.Sprint(chosen), path}
		},
		"closed": func(v *view, retry time.Time) any {
			return struct {
				V       *view
				RetryAt time.Time
			}{v, retry}
		},
		"sending": func(v *view, p *parcelAnswer) any {
			free := p != nil && p.FreeDuplicate != nil && *p.FreeDuplicate
			return struct {
				V      *view
				Parcel *parcelAnswer
				Free   bool
			}{v, p, free}
		},
		"travelling": func(v *view, t *travelAnswer) any {
			return struct {
				V      *view
				Travel *travelAnswer
			}{v, t}
		},
		"changed": func(v *view, c changeView) any {
			return struct {
				V *view
				C changeView
			}{v, c}
		},
		"weighed": func(v *view, w whyView) any {
			return struct {
				V *view
				W whyView
			}{v, w}
		},
		"acting": func(v *view, page requestPage, a checkAnswer) any {
			return struct {
				V    *view
				Page requestPage
				Act  checkAnswer
			}{v, page, a}
		},
		"reasons": func(v *view, act, path string, codes []choice) any {
			return struct {
				V         *view
				Act, Path string
				Codes     []choice
			}{v, act, path, codes}
		},
		"parents": func(list []parentView) []choice {
			var out []choice
			for _, p := range list {
				out = append(out, choice{Value: p.FiscalCode, Label: p.Name + " (" + p.FiscalCode + ")"})
			}
			return out
		},
	})
	var pages []string
	for _, n := range names {
		if !strings.HasPrefix(path.Base(n), "_") {
			pages = append(pages, n)
			continue
		}
		_, err = base.ParseFS(templateFiles, n)
		if err != nil {
			return nil, fmt.Errorf("web: template %s: %w", n, err)
		}
	}
	set := pageSet{}
	for _, n := range pages {
		t, err := base.Clone()
		if err == nil {
			t, err = t.ParseFS(templateFiles, n)
		}
		if err != nil {
			return nil, fmt.Errorf("web: template %s: %w", n, err)
		}
		set[strings.TrimSuffix(path.Base(n), ".html")] = t
	}
	return set, nil
}

// view is what a template sees.
type view struct {
	Lang          string
	Other         string // the other language
	Title         string // code
	Simulation    bool
	MissingAssets bool
	Demo          bool
	Version       string
	Who           person
	Home          string            // the caller's own start page
	SignIn        string            // where to log in (or show the card), on the page that asks for it
	SignInText    string            // code of what the link says
	Repost        map[string]string // what the language switch must send again, for an answer to a form
	Alert         string            // an error above the page's forms, already worded
	Done          string            // code of what was just done
	Form          url.Values
	Problems      []gateway.Problem
	Act           string // whose form Problems belong to, on a page with several
	Data          any

	assets *assetSet
}

// person is the caller as the page's header shows it.
type person struct {
	SignedIn, Desk, Citizen, Referent, RuleOwner, Post bool
	Name, Office                                       string
}

// view answers a page's view with what is the same on all.
func (s *Server) view(ev *event, title string, data any) *view {
	v := &view{
		Lang: ev.lang, Other: messages.EN, Title: title, Simulation: s.opt.Environment != "production",
		MissingAssets: s.assets.missing, Demo: s.opt.Demo != nil, Version: s.opt.Version, Data: data, Form: url.Values{}, assets: s.assets,
	}
	if ev.lang == messages.EN {
		v.Other = messages.IT
	}
	k := ev.who.kind
	v.Who = person{SignedIn: ev.who.signedIn(), Desk: k&Desk != 0, Citizen: k&Citizen != 0, Referent: k&Referent != 0, RuleOwner: k&RuleOwner != 0, Name: ev.who.name}
	if !ev.who.office.IsZero() {
		v.Who.Office, v.Who.Post = ev.who.office.Name(), ev.who.office.Kind == gateway.OfficePost
	}
	switch {
	case v.Who.Desk:
		v.Home = "/operator"
	case v.Who.Citizen:
		v.Home = "/citizen"
	case v.Who.RuleOwner:
		v.Home = "/rules"
	}
	return v
}

// show writes a page. Nothing is sent before the whole page is made, so that a
// failing template never leaves half a page.
func (s *Server) show(c *gin.Context, status int, name string, v *view) error {
	var b bytes.Buffer
	err := s.pages[name].ExecuteTemplate(&b, "layout", v)
	if err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	if c.Writer.Header().Get("Cache-Control") == "" {
		c.Header("Cache-Control", "no-store")
	}
	c.Header("Content-Language", v.Lang)
	c.Header("Vary", "Accept-Language, Cookie")
	c.Data(status, "text/html; charset=utf-8", b.Bytes())
	return nil
}

// fragment writes a part of a page, for htmx.
func (s *Server) fragment(c *gin.Context, page, part string, v *view) error {
	var b bytes.Buffer
	err := s.pages[page].ExecuteTemplate(&b, part, v)
	if err != nil {
		return fmt.Errorf("part %s of page %s: %w", part, page, err)
	}
	c.Header("Cache-Control", "no-store")
	c.Data(200, "text/html; charset=utf-8", b.Bytes())
	return nil
}

// T answers a text; what follows the code are names and values.
func (v *view) T(code string, pairs ...string) string {
	var args map[string]string
	for i := 0; i+1 < len(pairs); i += 2 {
		if args == nil {
			args = map[string]string{}
		}
		args[pairs[i]] = pairs[i+1]
	}
	return textOf(v.Lang, code, args)
}

// Why answers the detail of a mark in words: the ground of an objection after the
// office that objects, or what has a text of its own. What has none (a peer's
// word) is shown as it is.
func (v *view) Why(m *markAnswer) string {
	who, code := "", m.Detail
	if at := strings.LastIndex(m.Detail, ": "); at >= 0 {
		who, code = m.Detail[:at+2], "clearance.ground."+m.Detail[at+2:]
	}
	if messages.Has(code) {
		return who + messages.Text(v.Lang, code, nil)
	}
	return m.Detail
}

// Has says whether a code has a text.
func (v *view) Has(code string) bool { return messages.Has(code) }

// Asset answers the address of a static file; "" when it was not built in.
func (v *view) Asset(name string) string { return v.assets.urls[name] }

// Icon answers the address of an icon in the kit's sprite.
func (v *view) Icon(name string) string {
	if v.assets.urls["sprites.svg"] == "" {
		return ""
	}
	return v.assets.urls["sprites.svg"] + "#" + name
}

// When answers a moment as an element: in UTC, and says so; the page's script
// rewrites it in the viewer's own time zone.
func (v *view) When(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	t = t.UTC()
	layout := "02/01/2006, 15:04"
	if v.Lang == messages.EN {
		layout = "2 Jan 2006, 15:04"
	}
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format(layout) + ` UTC</time>`) //nolint:gosec // digits and month names only
}

// Day answers a civil date YYYY-MM-DD as people write it. It has no time zone.
func (v *view) Day(s string) string {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return s
	}
	if v.Lang == messages.EN {
		return t.Format("2 Jan 2006")
	}
	return t.Format("02/01/2006")
}

// Euro answers an amount of cents.
func (v *view) Euro(cents int) string {
	point := ","
	if v.Lang == messages.EN {
		point = "."
	}
	return fmt.Sprintf("%d%s%02d €", cents/100, point, cents%100)
}

// Errs answers what is wrong with a field of the form.
func (v *view) Errs(name string) []string {
	var out []string
	for _, p := range v.Problems {
		if p.Field == name {
			out = append(out, textOf(v.Lang, p.Code, p.Args))
		}
	}
	return out
}

// Ticked says whether a checkbox of the form was ticked.
func (v *view) Ticked(name, value string) bool { return slices.Contains(v.Form[name], value) }

// ProblemView is a line of the summary above a form.
type ProblemView struct{ ID, Label, Text string }

// Summary answers every problem, each with the field it belongs to.
func (v *view) Summary() []ProblemView {
	var out []ProblemView
	for _, p := range v.Problems {
		line := ProblemView{ID: fieldID(v.Act, p.Field), Text: textOf(v.Lang, p.Code, p.Args)}
		if messages.Has("field." + strings.TrimPrefix(digits(p.Field), "/")) {
			line.Label = messages.Text(v.Lang, "field."+strings.TrimPrefix(digits(p.Field), "/"), nil)
		}
		out = append(out, line)
	}
	return out
}

// digits makes /parents/0/fiscal_code the code parents.fiscal_code.
func digits(field string) string {
	var parts []string
	for _, p := range strings.Split(strings.Trim(field, "/"), "/") {
		if p != "" && (p[0] < '0' || p[0] > '9') {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ".")
}

func fieldID(act, name string) string {
	return strings.Trim("f-"+act+strings.ReplaceAll(strings.ReplaceAll(name, "/", "-"), "_", "-"), "-")
}

// field is one input of a form.
type field struct {
	V                               *view
	Name, ID, Label, Hint, Type     string
	Value, Auto, Mode, Max, Pattern string
	Errs                            []string
	Required, Small                 bool
	Choices                         []choice
}

// choice is one choice of a select or of a set of radio buttons.
type choice struct {
	Value, Label string
	Chosen       bool
}

// newField makes an input named by its JSON pointer. opts are name=value pairs
// or flags: type, hint, value (when the form has none), auto, mode, max,
// required, small; act=… when the page has several forms.
func newField(v *view, name, label string, opts ...any) field {
	f := field{V: v, Name: name, Label: v.T(label), Type: "text", Auto: "off"}
	act := ""
	for _, o := range opts {
		switch o := o.(type) {
		case []string:
			for _, c := range o {
				value, code, ok := strings.Cut(c, "=")
				if !ok {
					code = c
				}
				f.Choices = append(f.Choices, choice{Value: value, Label: v.T(code)})
			}
		case []choice:
			f.Choices = append(f.Choices, o...)
		case string:
			k, val, _ := strings.Cut(o, "=")
			switch k {
			case "type":
				f.Type = val
			case "hint":
				f.Hint = v.T(val)
			case "value":
				f.Value = val
			case "auto":
				f.Auto = val
			case "mode":
				f.Mode = val
			case "max":
				f.Max = val
			case "required":
				f.Required = true
			case "small":
				f.Small = true
			case "act":
				act = val
			}
		}
	}
	f.ID = fieldID(act, name)
	if act == v.Act {
		f.Errs = v.Errs(name)
		if !strings.HasPrefix(name, "/") {
			f.Errs = v.Errs("/" + name)
		}
		if v.Form.Has(name) {
			f.Value = v.Form.Get(name)
		}
	}
	for i := range f.Choices {
		if f.Value != "" {
			f.Choices[i].Chosen = f.Choices[i].Value == f.Value
		}
	}
	return f
}
