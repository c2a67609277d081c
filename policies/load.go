package policies

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Codes of LoadError.
const (
	CodeLoadRead        = "rules.unreadable"
	CodeLoadSyntax      = "rules.syntax"
	CodeLoadMember      = "rules.unknown_member"
	CodeLoadRepeated    = "rules.repeated_member"
	CodeLoadMissing     = "rules.missing_member"
	CodeLoadKey         = "rules.unknown_key"
	CodeLoadValue       = "rules.bad_value"
	CodeLoadScope       = "rules.bad_scope"
	CodeLoadDate        = "rules.bad_date"
	CodeLoadText        = "rules.missing_reason"
	CodeLoadCountry     = "rules.unknown_country"
	CodeLoadOverlap     = "rules.overlapping_dates"
	CodeLoadAmbiguous   = "rules.two_groups"
	CodeLoadGap         = "rules.gap"
	CodeLoadUnreachable = "rules.unreachable"
	CodeLoadSize        = "rules.too_large"
)

// LoadError is one defect of a rule file.
type LoadError struct {
	File   string
	Line   int // 1-based; 0 if the defect is of the set as a whole
	Code   string
	Detail string
}

func (e *LoadError) Error() string {
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Code, e.Detail)
}

// LoadErrors holds every defect found, in the order of files and lines, so that
// a clerk repairs all of them at once.
type LoadErrors []*LoadError

func (es LoadErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find one *LoadError.
func (es LoadErrors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// maxRuleFile bounds one rule file; the whole shipped set is far below it.
const maxRuleFile = 4 << 20

// The instants before and after all others: rules without start and end.
const (
	minInstant int64 = -1 << 63
	maxInstant int64 = 1<<63 - 1
)

// scopeLevel orders scopes from the least to the most specific.
type scopeLevel uint8

const (
	levelDefault scopeLevel = iota
	levelGroup
	levelCountry
	levelPost
	// levelGiven is added to the level of a rule that is only supposed (With),
	// which outweighs every rule of the set, whatever its scope.
	levelGiven
)

type scope struct {
	level scopeLevel
	name  string // group name, country code, or "AR/4030010" for a post
}

func (s scope) String() string {
	if s.level >= levelGiven {
		return "given:" + scope{s.level - levelGiven, s.name}.String()
	}
	switch s.level {
	case levelGroup:
		return "group:" + s.name
	case levelCountry:
		return "country:" + s.name
	case levelPost:
		return "post:" + s.name
	default:
		return "default"
	}
}

// Rule is one dated rule as written in a rule file. Rules belong to their Set
// and must not be changed.
type Rule struct {
	ID       string    `json:"id"` // key@scope@first day, unique in the set
	Key      string    `json:"key"`
	Scope    string    `json:"scope"`
	From     time.Time `json:"valid_from,omitzero"` // zero: always; included
	To       time.Time `json:"valid_to,omitzero"`   // zero: never; excluded
	Verdict  Verdict   `json:"verdict,omitempty"`   // of keys that give a verdict
	Number   int       `json:"number,omitempty"`    // of keys that hold a number
	Word     string    `json:"word,omitempty"`      // of keys that hold a word
	Codes    []string  `json:"codes,omitempty"`     // of keys that hold a list
	Needs    []string  `json:"needs,omitempty"`     // of value needs
	Stage    Stage     `json:"stage,omitempty"`     // of value needs
	Code     string    `json:"code"`                // what Finding.Code and Option.Code say
	LegalRef string    `json:"legal_ref"`           // act, or row of the project's notes
	Status   Status    `json:"status"`              // enacted or provisional
	Source   string    `json:"source,omitempty"`    // on what knowledge a provisional rule rests
	Reason   Text      `json:"reason"`              // for people
	File     string    `json:"file"`                // where it is written
	Line     int       `json:"line"`                // 1-based

	key      keyID
	scope    scope
	from, to int64 // unix seconds, minInstant and maxInstant for none
	used     bool
}

// span is a rule from an instant on, until the next span begins.
type span struct {
	from int64
	rule *Rule
}

// Set is a checked and indexed rule set. It never changes and may be used by
// many goroutines.
type Set struct {
	hash      string
	rules     []*Rule
	countries []string
	groups    map[string][]string
	byCode    [26 * 26]int16   // country code to place, 0 for unknown
	posts     map[string]int16 // "AR/4030010" to place
	eras      [][]era          // by place; place 0 holds the default rules alone
}

// Load reads every *.yaml file in the root of fsys as one rule set. Files in
// folders are not rules (the cases live there). All defects are reported
// together as LoadErrors; on any defect there is no set. Files that are byte for
// byte those in the binary answer the set that Shipped holds.
func Load(fsys fs.FS) (*Set, error) {
	files, err := readFiles(fsys)
	if err != nil {
		return nil, err
	}
	if len(files.errs) == 0 && files.hash == shippedFiles().hash {
		return Shipped(), nil
	}
	return files.load()
}

// ruleFiles are the files of a rule set in the order of their names.
type ruleFiles struct {
	names    []string
	contents map[string][]byte // of those that could be read
	errs     LoadErrors        // of the others
	hash     string            // as Set.Hash tells it
}

func readFiles(fsys fs.FS) (ruleFiles, error) {
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return ruleFiles{}, fmt.Errorf("list rule files: %w", err)
	}
	if len(names) == 0 {
		return ruleFiles{}, LoadErrors{{File: ".", Code: CodeLoadRead, Detail: "no *.yaml rule file"}}
	}
	sort.Strings(names)
	files := ruleFiles{names: names, contents: map[string][]byte{}}
	h := sha256.New()
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			files.errs = append(files.errs, &LoadError{File: name, Code: CodeLoadRead, Detail: clip(err.Error())})
			continue
		}
		fmt.Fprintf(h, "%s %d\n", path.Base(name), len(b))
		h.Write(b)
		files.contents[name] = b
	}
	files.hash = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return files, nil
}

// load makes a rule set of the files.
func (f ruleFiles) load() (*Set, error) {
	l := loader{
		errs:   f.errs,
		dates:  map[string]int64{},
		groups: map[string][]string{},
		seen:   map[string]string{},
	}
	var docs []fileNode
	for _, name := range f.names {
		b, ok := f.contents[name]
		if !ok {
			continue
		}
		if n := l.parse(name, b); n != nil {
			docs = append(docs, fileNode{name, n})
		}
	}
	// Dates, groups and countries may stand in any file, so they are read
	// before the first rule.
	for _, d := range docs {
		l.definitions(d)
	}
	for _, d := range docs {
		l.readRules(d)
	}
	s := l.build()
	if len(l.errs) > 0 {
		slices.SortStableFunc(l.errs, func(a, b *LoadError) int {
			if c := strings.Compare(a.File, b.File); c != 0 {
				return c
			}
			return a.Line - b.Line
		})
		return nil, l.errs
	}
	s.hash = f.hash
	return s, nil
}

// Hash returns "sha256:" and the hex SHA-256 over the names, lengths and bytes
// of the rule files in the order of their names. It is what the two owners sign
// and what every decision records.
func (s *Set) Hash() string { return s.hash }

// Rules returns the rules in the order of files and lines. Read-only.
func (s *Set) Rules() []*Rule { return s.rules }

// Countries returns every country code that has an answer, sorted. Read-only.
func (s *Set) Countries() []string { return s.countries }

// KnowsCountry reports whether a code is in the country table.
func (s *Set) KnowsCountry(iso2 string) bool { return s.place(iso2, "") > 0 }

// InGroup reports whether a country belongs to a group of the rule set.
func (s *Set) InGroup(group, iso2 string) bool {
	return slices.Contains(s.groups[group], iso2)
}

// place finds the column of the index for a country and post; 0 if the country
// is not known. A post without rules of its own is its country.
func (s *Set) place(iso2, post string) int16 {
	if !isCode2(iso2) {
		return 0
	}
	if post != "" && len(s.posts) > 0 {
		if p, ok := s.posts[iso2+"/"+post]; ok {
			return p
		}
	}
	return s.byCode[int(iso2[0]-'A')*26+int(iso2[1]-'A')]
}

// view holds, for one stretch of time at one place, the rule of every key. A
// decision finds its view once; each rule is then one load away, however many
// rules the set has.
type view [keyCount]*Rule

// era is a view from an instant on, until the next era begins.
type era struct {
	from int64
	view *view
}

// viewAt returns the rules that hold at a place and an instant. Load made sure
// that there is exactly one for each key.
func (s *Set) viewAt(place int16, t int64) *view {
	eras := s.eras[place]
	lo, hi := 0, len(eras)-1
	for lo < hi {
		mid := int(uint(lo+hi+1) >> 1) //nolint:gosec // indexes of a slice
		if eras[mid].from <= t {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return eras[lo].view
}

// at returns the rule that holds for one key.
func (s *Set) at(k keyID, place int16, t int64) *Rule { return s.viewAt(place, t)[k] }

// makeEras turns the table into views, sharing those that are equal: most
// countries have no rule of their own.
func (s *Set) makeEras(table *[keyCount][][]span, places int) {
	s.eras = make([][]era, places)
	known := map[view]*view{}
	alike := map[string][]era{} // places with the same views share one list
	for p := range places {
		own := p == 0
		var cuts []int64
		for k := range table {
			spans := table[k][p]
			own = own || &spans[0] != &table[k][0][0]
			for _, sp := range spans {
				cuts = append(cuts, sp.from)
			}
		}
		if !own {
			s.eras[p] = s.eras[0]
			continue
		}
		slices.Sort(cuts)
		for _, c := range slices.Compact(cuts) {
			var v view
			for k := range table {
				spans := table[k][p]
				i := len(spans) - 1
				for i > 0 && spans[i].from > c {
					i--
				}
				v[k] = spans[i].rule
			}
			shared, ok := known[v]
			if !ok {
				shared = new(view)
				*shared = v
				known[v] = shared
			}
			s.eras[p] = append(s.eras[p], era{c, shared})
		}
		name := fmt.Sprint(s.eras[p])
		if list, ok := alike[name]; ok {
			s.eras[p] = list
		} else {
			alike[name] = s.eras[p]
		}
	}
}

type fileNode struct {
	name string
	root *ast.MappingNode
}

type loader struct {
	errs      LoadErrors
	dates     map[string]int64
	groups    map[string][]string
	countries []string
	rules     []*Rule
	seen      map[string]string // rule id to "file:line"
	partial   bool              // keys that no decision reads may have no rule (Sized)
}

func (l *loader) fail(file string, line int, code, detail string) {
	l.errs = append(l.errs, &LoadError{File: file, Line: line, Code: code, Detail: clip(detail)})
}

// parse turns bytes into the top mapping of a file, or records why it cannot.
func (l *loader) parse(name string, b []byte) (root *ast.MappingNode) {
	switch {
	case len(b) > maxRuleFile:
		l.fail(name, 0, CodeLoadSize, strconv.Itoa(len(b))+" bytes")
		return nil
	case !utf8.Valid(b):
		l.fail(name, 0, CodeLoadSyntax, "invalid UTF-8")
		return nil
	case bytes.IndexByte(b, 0) >= 0:
		l.fail(name, 0, CodeLoadSyntax, "NUL byte")
		return nil
	}
	n, err := parseYAML(b)
	if err != nil {
		l.fail(name, lineOfSyntaxError(err), CodeLoadSyntax, firstLine(err.Error()))
		return nil
	}
	m, ok := n.(*ast.MappingNode)
	if !ok {
		l.fail(name, 1, CodeLoadSyntax, "want one mapping with dates, groups, countries or rules")
		return nil
	}
	return m
}

// parseYAML parses one document. The YAML library may panic on hostile input;
// a rule editor's upload must get an error instead.
func parseYAML(b []byte) (n ast.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = nil, fmt.Errorf("the YAML parser gave up: %v", p)
		}
	}()
	f, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, err
	}
	var body ast.Node
	for _, d := range f.Docs {
		if d.Body == nil {
			continue
		}
		if body != nil {
			return nil, fmt.Errorf("[%d:1] more than one document", lineOf(d.Body))
		}
		body = d.Body
	}
	if body == nil {
		return nil, fmt.Errorf("[1:1] empty file")
	}
	return body, nil
}

var syntaxPos = regexp.MustCompile(`\[(\d+):\d+\]`)

func lineOfSyntaxError(err error) int {
	m := syntaxPos.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // at most digits; 0 on overflow says "whole file"
	return n
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

func lineOf(n ast.Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0
	}
	return n.GetToken().Position.Line
}

// members lists a mapping's members, refusing repeated names.
func (l *loader) members(file string, n ast.Node, do func(name string, line int, v ast.Node)) bool {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		l.fail(file, lineOf(n), CodeLoadSyntax, "want a mapping")
		return false
	}
	seen := map[string]bool{}
	for _, mv := range m.Values {
		name, ok := scalar(mv.Key)
		line := lineOf(mv.Key)
		if !ok || name == "" {
			l.fail(file, line, CodeLoadSyntax, "want a plain member name")
			continue
		}
		if seen[name] {
			l.fail(file, line, CodeLoadRepeated, name)
			continue
		}
		seen[name] = true
		do(name, line, mv.Value)
	}
	return true
}

// scalar returns the text of a plain, quoted or block scalar. Numbers and
// words such as NO keep their spelling. Anchors, aliases and tags are refused.
func scalar(n ast.Node) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		if v.Value == nil {
			return "", true
		}
		return strings.TrimSpace(v.Value.Value), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	default:
		return "", false
	}
}

func (l *loader) text(file string, n ast.Node) (string, bool) {
	s, ok := scalar(n)
	if !ok {
		l.fail(file, lineOf(n), CodeLoadSyntax, "want a text or a number")
	}
	return s, ok
}

// list reads a sequence of texts, or one text as a sequence of one.
func (l *loader) list(file string, n ast.Node) ([]string, bool) {
	if s, ok := scalar(n); ok {
		return []string{s}, true
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		l.fail(file, lineOf(n), CodeLoadSyntax, "want a list")
		return nil, false
	}
	out := make([]string, 0, len(seq.Values))
	for _, v := range seq.Values {
		s, ok := l.text(file, v)
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

func (l *loader) definitions(d fileNode) {
	l.members(d.name, d.root, func(name string, line int, v ast.Node) {
		switch name {
		case "dates":
			l.members(d.name, v, func(n string, line int, v ast.Node) {
				s, ok := l.text(d.name, v)
				if !ok {
					return
				}
				t, err := parseInstant(s)
				if err != nil || !isWordName(n) {
					l.fail(d.name, line, CodeLoadDate, n+": "+s)
					return
				}
				if _, twice := l.dates[n]; twice {
					l.fail(d.name, line, CodeLoadRepeated, n)
					return
				}
				l.dates[n] = t.Unix()
			})
		case "countries":
			codes, ok := l.list(d.name, v)
			if !ok {
				return
			}
			for _, c := range codes {
				if !isCode2(c) || slices.Contains(l.countries, c) {
					l.fail(d.name, line, CodeLoadCountry, c+": not a code, or twice")
					continue
				}
				l.countries = append(l.countries, c)
			}
		case "groups":
			l.members(d.name, v, func(n string, line int, v ast.Node) {
				codes, ok := l.list(d.name, v)
				if !ok {
					return
				}
				if _, twice := l.groups[n]; twice || !isWordName(n) {
					l.fail(d.name, line, CodeLoadRepeated, n)
					return
				}
				l.groups[n] = codes
			})
		case "rules":
		default:
			l.fail(d.name, line, CodeLoadMember, name)
		}
	})
}

func (l *loader) readRules(d fileNode) {
	for _, mv := range d.root.Values {
		if name, _ := scalar(mv.Key); name != "rules" {
			continue
		}
		seq, ok := mv.Value.(*ast.SequenceNode)
		if !ok {
			l.fail(d.name, lineOf(mv.Key), CodeLoadSyntax, "rules: want a list")
			continue
		}
		for _, n := range seq.Values {
			l.readRule(d.name, n)
		}
	}
}

// readRule reads one entry of rules; a list of scopes makes a rule for each.
func (l *loader) readRule(file string, n ast.Node) {
	before := len(l.errs)
	r := Rule{File: file, Line: lineOf(n), from: minInstant, to: maxInstant, Status: StatusEnacted}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		r.Line = lineOf(m.Values[0].Key)
	}
	var scopes []string
	var value ast.Node
	has := map[string]bool{}
	l.members(file, n, func(name string, line int, v ast.Node) {
		has[name] = true
		switch name {
		case "key", "stage", "code", "legal_ref", "status", "source", "valid_from", "valid_to":
			s, ok := l.text(file, v)
			if ok {
				l.setText(&r, name, s, line)
			}
		case "scope":
			scopes, _ = l.list(file, v)
		case "value":
			value = v
		case "needs":
			needs, ok := l.list(file, v)
			if ok && l.codeList(file, line, needs) {
				r.Needs = needs
			}
		case "reason":
			l.members(file, v, func(lang string, line int, v ast.Node) {
				s, ok := l.text(file, v)
				switch {
				case !ok:
				case lang == "it":
					r.Reason.IT = s
				case lang == "en":
					r.Reason.EN = s
				default:
					l.fail(file, line, CodeLoadMember, "reason."+lang)
				}
			})
		default:
			l.fail(file, line, CodeLoadMember, name)
		}
	})
	for _, m := range []string{"key", "scope", "value", "valid_from", "legal_ref"} {
		if !has[m] {
			l.fail(file, r.Line, CodeLoadMissing, m)
		}
	}
	if strings.TrimSpace(r.Reason.IT) == "" || strings.TrimSpace(r.Reason.EN) == "" {
		l.fail(file, r.Line, CodeLoadText, r.Key+": reason needs it and en")
	}
	if has["legal_ref"] && strings.TrimSpace(r.LegalRef) == "" {
		l.fail(file, r.Line, CodeLoadMissing, "legal_ref is empty")
	}
	if r.Status == StatusProvisional && strings.TrimSpace(r.Source) == "" {
		l.fail(file, r.Line, CodeLoadMissing, "source of a provisional rule")
	}
	if r.from >= r.to {
		l.fail(file, r.Line, CodeLoadDate, r.Key+": valid_to is not after valid_from")
	}
	if r.Key != "" && value != nil {
		if id, ok := keyByName[r.Key]; ok {
			r.key = id
			l.setValue(&r, value)
		}
	}
	if len(l.errs) > before {
		return
	}
	if r.Code == "" {
		r.Code = r.Key
	}
	seen := map[string]bool{}
	for _, sc := range scopes {
		one := r
		parsed, err := parseScope(sc)
		if err != "" || seen[sc] {
			l.fail(file, r.Line, CodeLoadScope, sc+": "+err)
			continue
		}
		seen[sc] = true
		if parsed.level != levelDefault && !keyTable[r.key].places {
			l.fail(file, r.Line, CodeLoadScope, r.Key+" can only be set for default")
			continue
		}
		one.scope, one.Scope = parsed, parsed.String()
		one.ID = one.Key + "@" + one.Scope + "@" + instantName(one.from)
		if at, twice := l.seen[one.ID]; twice {
			l.fail(file, r.Line, CodeLoadOverlap, one.ID+" is already at "+at)
			continue
		}
		l.seen[one.ID] = file + ":" + strconv.Itoa(r.Line)
		l.rules = append(l.rules, &one)
	}
	if len(scopes) == 0 {
		l.fail(file, r.Line, CodeLoadScope, "empty")
	}
}

func (l *loader) setText(r *Rule, name, s string, line int) {
	switch name {
	case "key":
		r.Key = s
		if _, ok := keyByName[s]; !ok {
			l.fail(r.File, line, CodeLoadKey, s)
		}
	case "stage":
		r.Stage = Stage(s)
		if !oneOf(r.Stage, StageRegister, StageCounter, StageChoice) {
			l.fail(r.File, line, CodeLoadValue, "stage: "+s)
		}
	case "code":
		r.Code = s
		if !isCodeName(s) {
			l.fail(r.File, line, CodeLoadValue, "code: "+s)
		}
	case "legal_ref":
		r.LegalRef = s
	case "source":
		r.Source = s
	case "status":
		r.Status = Status(s)
		if !oneOf(r.Status, StatusEnacted, StatusProvisional) {
			l.fail(r.File, line, CodeLoadValue, "status: "+s)
		}
	case "valid_from":
		if s == "always" {
			return
		}
		if t, ok := l.instant(r.File, line, s); ok {
			r.from, r.From = t, time.Unix(t, 0).UTC()
		}
	case "valid_to":
		if t, ok := l.instant(r.File, line, s); ok {
			r.to, r.To = t, time.Unix(t, 0).UTC()
		}
	}
}

// setValue reads the value by the key's kind.
func (l *loader) setValue(r *Rule, n ast.Node) {
	spec := &keyTable[r.key]
	line := lineOf(n)
	if spec.kind == kindCodes {
		seq, ok := n.(*ast.SequenceNode)
		if !ok {
			l.fail(r.File, line, CodeLoadValue, r.Key+": want a list of codes")
			return
		}
		codes, ok := l.list(r.File, seq)
		if ok && l.codeList(r.File, line, codes) {
			r.Codes = codes
		}
		return
	}
	s, ok := l.text(r.File, n)
	if !ok {
		return
	}
	switch spec.kind {
	case kindVerdict:
		r.Verdict = Verdict(s)
		switch {
		case !oneOf(r.Verdict, VerdictAllow, VerdictRefuse, VerdictNeeds):
			l.fail(r.File, line, CodeLoadValue, r.Key+": want allow, refuse or needs, got "+s)
		case r.Verdict == VerdictNeeds && (len(r.Needs) == 0 || r.Stage == ""):
			l.fail(r.File, line, CodeLoadMissing, r.Key+": a rule that needs something names needs and stage")
		case r.Verdict != VerdictNeeds && len(r.Needs) > 0:
			l.fail(r.File, line, CodeLoadValue, r.Key+": needs belongs to value needs only")
		}
	case kindNumber:
		v, err := strconv.Atoi(s)
		if err != nil || v < spec.min || v > spec.max {
			l.fail(r.File, line, CodeLoadValue, fmt.Sprintf("%s: want a whole number from %d to %d, got %s", r.Key, spec.min, spec.max, s))
		}
		r.Number = v
	case kindWord:
		if !slices.Contains(spec.words, s) {
			l.fail(r.File, line, CodeLoadValue, r.Key+": want one of "+strings.Join(spec.words, ", ")+", got "+s)
		}
		r.Word = s
	}
}

func (l *loader) codeList(file string, line int, codes []string) bool {
	for _, c := range codes {
		for _, alt := range strings.Split(c, "|") {
			for _, part := range strings.Split(alt, "+") {
				if !isCodeName(part) {
					l.fail(file, line, CodeLoadValue, "not a code: "+c)
					return false
				}
			}
		}
	}
	return true
}

func (l *loader) instant(file string, line int, s string) (int64, bool) {
	if t, ok := l.dates[s]; ok {
		return t, true
	}
	t, err := parseInstant(s)
	if err != nil {
		l.fail(file, line, CodeLoadDate, s+": want YYYY-MM-DD, YYYY-MM-DDTHH:MM or a name under dates")
		return 0, false
	}
	return t.Unix(), true
}

// parseInstant reads a Roman wall-clock date or minute between 1900 and 2200.
func parseInstant(s string) (time.Time, error) {
	layout := time.DateOnly
	if strings.Contains(s, "T") {
		layout = "2006-01-02T15:04"
	}
	t, err := time.ParseInLocation(layout, s, rome)
	if err != nil {
		return time.Time{}, err
	}
	if t.Year() < 1900 || t.Year() > 2200 {
		return time.Time{}, fmt.Errorf("year %d", t.Year())
	}
	return t, nil
}

func instantName(t int64) string {
	if t == minInstant {
		return "always"
	}
	w := time.Unix(t, 0).In(rome)
	if w.Hour() == 0 && w.Minute() == 0 {
		return w.Format(time.DateOnly)
	}
	return w.Format("2006-01-02T15:04")
}

func parseScope(s string) (scope, string) {
	if s == "default" {
		return scope{}, ""
	}
	kindName, name, ok := strings.Cut(s, ":")
	switch {
	case !ok:
	case kindName == "group" && isWordName(name):
		return scope{levelGroup, name}, ""
	case kindName == "country" && isCode2(name):
		return scope{levelCountry, name}, ""
	case kindName == "post":
		c, code, ok := strings.Cut(name, "/")
		if ok && isCode2(c) && isCodeName(code) {
			return scope{levelPost, name}, ""
		}
	}
	return scope{}, "want default, group:name, country:XX or post:XX/code"
}

func isWordName(s string) bool {
	if s == "" || len(s) > 60 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// isCodeName accepts what can be a code: letters, digits, dot, dash, underscore.
func isCodeName(s string) bool {
	if s == "" || len(s) > 80 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// build checks the set as a whole and makes the index.
func (l *loader) build() *Set {
	s := &Set{rules: l.rules, groups: l.groups, posts: map[string]int16{}}
	s.countries = slices.Clone(l.countries)
	sort.Strings(s.countries)
	for i, c := range s.countries {
		s.byCode[int(c[0]-'A')*26+int(c[1]-'A')] = int16(i + 1) //nolint:gosec // at most 676 countries
	}
	if len(s.countries) == 0 && len(l.errs) == 0 {
		l.fail(".", 0, CodeLoadMissing, "countries")
	}
	memberOf := map[string][]string{}
	for _, g := range sortedKeys(l.groups) {
		for _, c := range l.groups[g] {
			if !slices.Contains(s.countries, c) {
				l.fail(".", 0, CodeLoadCountry, "group "+g+": "+c)
			}
			if slices.Contains(memberOf[c], g) {
				l.fail(".", 0, CodeLoadRepeated, "group "+g+": "+c)
			}
			memberOf[c] = append(memberOf[c], g)
		}
	}
	byKey := make([]map[scope][]*Rule, keyCount)
	for i := range byKey {
		byKey[i] = map[scope][]*Rule{}
	}
	next := int16(len(s.countries) + 1) //nolint:gosec // at most 676 countries
	var posts []string
	for _, r := range l.rules {
		switch r.scope.level {
		case levelDefault, levelGiven:
		case levelGroup:
			if _, ok := l.groups[r.scope.name]; !ok {
				l.fail(r.File, r.Line, CodeLoadScope, "no such group: "+r.scope.name)
			}
		case levelCountry:
			if !slices.Contains(s.countries, r.scope.name) {
				l.fail(r.File, r.Line, CodeLoadCountry, r.scope.name)
			}
		case levelPost:
			if !slices.Contains(s.countries, r.scope.name[:2]) {
				l.fail(r.File, r.Line, CodeLoadCountry, r.scope.name)
			}
			if _, ok := s.posts[r.scope.name]; !ok {
				s.posts[r.scope.name] = next
				posts = append(posts, r.scope.name)
				next++
			}
		}
		byKey[r.key][r.scope] = append(byKey[r.key][r.scope], r)
	}
	if len(l.errs) > 0 {
		return s // an index over defects would only report them again
	}
	var table [keyCount][][]span
	for k := range byKey {
		l.overlaps(byKey[k])
		base := timeline(byKey[k][scope{}])
		if at, ok := gap(base); ok && (!l.partial || len(byKey[k]) > 0) {
			l.fail(".", 0, CodeLoadGap, keyTable[k].name+": no default rule "+at)
			continue
		}
		row := make([][]span, int(next))
		row[0] = base
		for i, c := range s.countries {
			row[i+1] = l.placeLine(byKey[k], memberOf[c], c, "", base)
		}
		for _, p := range posts {
			row[s.posts[p]] = l.placeLine(byKey[k], memberOf[p[:2]], p[:2], p, base)
		}
		for _, spans := range row[1:] {
			for _, sp := range spans {
				if sp.rule != nil {
					sp.rule.used = true
				}
			}
		}
		table[k] = row
	}
	if len(l.errs) == 0 {
		for _, r := range l.rules {
			if !r.used {
				l.fail(r.File, r.Line, CodeLoadUnreachable, r.ID)
			}
		}
	}
	if len(l.errs) == 0 {
		s.makeEras(&table, int(next))
	}
	return s
}

// placeLine lays the rules of one place over each other by precedence.
func (l *loader) placeLine(rules map[scope][]*Rule, groups []string, country, post string, base []span) []span {
	var byPost []*Rule
	if post != "" {
		byPost = rules[scope{levelPost, post}]
	}
	byCountry := rules[scope{levelCountry, country}]
	byGroup := l.groupRules(rules, groups, country)
	if len(byPost)+len(byCountry)+len(byGroup) == 0 {
		return base
	}
	return timeline(byPost, byCountry, byGroup, rules[scope{}])
}

// groupRules gathers the rules of a country's groups; two groups must not speak
// of the same key at the same time, since neither is more specific.
func (l *loader) groupRules(rules map[scope][]*Rule, groups []string, country string) []*Rule {
	var out []*Rule
	for _, g := range groups {
		for _, r := range rules[scope{levelGroup, g}] {
			for _, o := range out {
				if o.scope != r.scope && o.from < r.to && r.from < o.to {
					l.fail(r.File, r.Line, CodeLoadAmbiguous, country+" is also in "+o.scope.name+" for "+r.Key)
				}
			}
			out = append(out, r)
		}
	}
	return out
}

// overlaps refuses two rules of the same key and scope that hold at once.
func (l *loader) overlaps(rules map[scope][]*Rule) {
	for _, rs := range rules {
		slices.SortFunc(rs, func(a, b *Rule) int {
			switch {
			case a.from < b.from:
				return -1
			case a.from > b.from:
				return 1
			default:
				return 0
			}
		})
		for i := 1; i < len(rs); i++ {
			if rs[i-1].to > rs[i].from {
				l.fail(rs[i].File, rs[i].Line, CodeLoadOverlap,
					fmt.Sprintf("%s overlaps line %d of %s", rs[i].ID, rs[i-1].Line, rs[i-1].File))
			}
		}
	}
}

// timeline merges lists of rules, most specific first, into spans. A stretch
// that nothing covers gets a span without rule.
func timeline(levels ...[]*Rule) []span {
	cuts := []int64{minInstant}
	for _, rs := range levels {
		for _, r := range rs {
			cuts = append(cuts, r.from)
			if r.to != maxInstant {
				cuts = append(cuts, r.to)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var out []span
	for _, c := range cuts {
		var hit *Rule
	search:
		for _, rs := range levels {
			for _, r := range rs {
				if r.from <= c && c < r.to {
					hit = r
					break search
				}
			}
		}
		if n := len(out); n > 0 && out[n-1].rule == hit {
			continue
		}
		out = append(out, span{c, hit})
	}
	return out
}

func gap(spans []span) (string, bool) {
	for _, sp := range spans {
		if sp.rule == nil {
			return "from " + instantName(sp.from), true
		}
	}
	return "", false
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
