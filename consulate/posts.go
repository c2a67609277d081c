package consulate

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // the days of posts are days at their counters, on any machine
)

// Kind is the rank of a post.
type Kind string

// The closed list of kinds.
const (
	Embassy          Kind = "embassy"
	ConsulateGeneral Kind = "consulate_general"
	Consulate        Kind = "consulate"
	ViceConsulate    Kind = "vice_consulate"
	ConsularAgency   Kind = "consular_agency"
	Honorary         Kind = "honorary"
)

// CaptureStatus says how well it is known that a post takes requests for a CIE.
type CaptureStatus string

// The closed list of capture statuses.
const (
	CapturesKnown   CaptureStatus = "known"   // a source says so
	CapturesAssumed CaptureStatus = "assumed" // no source says so; its state's group does
	CapturesNo      CaptureStatus = "no"
)

// Captures says whether a post takes requests for a CIE.
type Captures struct {
	Status CaptureStatus
	Since  Date   // first day or month; "" when no source gives it
	Source string // where Status and Since are from
}

// Sources names where the values of a Post are from, in words: a table with its
// date, a row of the specs, a published page or decree, or
// "general knowledge, unverified".
type Sources struct {
	Post  string // state, kind, ANPR code, register name
	Place string // Italian seat, aliases, time zone, currency
	Life  string // opened, closed, moved, successor; "" when none is set
}

// Post is an Italian consular post, or the consular section of an embassy.
type Post struct {
	Key      string // stable slug, e.g. ar-cordoba
	ISO2     string // state of the seat, ISO 3166-1; XK for Kosovo, CN for Hong Kong
	Kind     Kind
	ANPRCode string // seven digits: MAE state, seat, rank (spec anpr-pdnd-modi 5.3); "" when none is known
	Seat     string // Italian name: Stoccarda, Londra, San Paolo
	// RegisterName is the seat as the register writes it and wants it written: in
	// capitals, exactly as in its table (spec anpr-pdnd-modi 5.3 item 5). For a
	// post without an ANPRCode it is what the rule of the table gives.
	RegisterName string
	Aliases      []string
	TimeZone     string // IANA
	Currency     string // ISO 4217, of the fees at the counter (spec B.1.3)
	Captures     Captures
	Opened       Date // "" when not known
	Closed       Date // "" while open
	// Moved is the day the consular section of a mission that stays open went to
	// the Successor, "" when it did not.
	Moved Date
	// Successor is the key of the post that took over the citizens of a closed or
	// moved one; the register may name the old one for years (spec 5.3 item 5).
	Successor string
	Sources   Sources
}

// Date is a date as precise as its source: "2006", "2006-01" or "2006-01-02".
type Date string

// start answers the first instant of the date in the zone; false for "".
func (d Date) start(zone *time.Location) (time.Time, bool) {
	if d == "" {
		return time.Time{}, false
	}
	t, err := time.ParseInLocation("2006-01-02"[:len(d)], string(d), zone)
	return t, err == nil
}

// firstPilot and firstBeyond bound from below the start of posts whose own date
// no source gives: the pilots of Athens, Nice and Vienna, and the first posts
// outside the group of seed 003 (spec B.2.1).
const (
	firstPilot  Date = "2019-09-20"
	firstBeyond Date = "2023-04"
)

// Open reports whether the post exists on that instant and its consular section
// has not moved; by the calendar of the post's own time zone.
func (p Post) Open(on time.Time) bool {
	zone := p.zone()
	if opened, ok := p.Opened.start(zone); ok && on.Before(opened) {
		return false
	}
	for _, end := range []Date{p.Closed, p.Moved} {
		if ended, ok := end.start(zone); ok && !on.Before(ended) {
			return false
		}
	}
	return true
}

// CanCapture reports whether the post takes a request for a CIE on that
// instant: it is open, it is not honorary (spec B.2.5) and its capture status is
// known or assumed and has begun. Where no source dates the beginning, it is the
// first one known in the state, else in the group: 2019-09-20 in the states of
// seed 003, 2023-04 elsewhere (spec B.2.1).
func (p Post) CanCapture(on time.Time) bool {
	if p.Kind == Honorary || p.Captures.Status == CapturesNo || !p.Open(on) {
		return false
	}
	since := p.Captures.Since
	if since == "" {
		since = firstIn(p.ISO2)
	}
	begun, ok := since.start(p.zone())
	return ok && !on.Before(begun)
}

// firstIn answers when posts of a state may have begun at the earliest.
func firstIn(iso2 string) Date {
	var earliest Date
	for _, p := range theNetwork().posts {
		since := p.Captures.Since
		if p.ISO2 == iso2 && since != "" && (earliest == "" || since < earliest) {
			earliest = since
		}
	}
	switch {
	case earliest != "":
		return earliest
	case InFirstGroup(iso2):
		return firstPilot
	default:
		return firstBeyond
	}
}

// InCharge answers who serves the citizens of the post on that instant: the post
// itself while it is open, else the successor that took them over, for whom the
// register may still name the old post (spec anpr-pdnd-modi 5.3 item 5). A post
// that is not open and has no successor answers false.
func (p Post) InCharge(on time.Time) (Post, bool) {
	if p.Open(on) {
		return p, true
	}
	successor, ok := PostByKey(p.Successor)
	return successor, ok && successor.Open(on)
}

func (p Post) zone() *time.Location {
	if zone := theNetwork().zones[p.TimeZone]; zone != nil {
		return zone
	}
	return time.UTC // a Post that is none of ours
}

//go:embed posts.tsv
var postsTable string

//go:embed jurisdictions.tsv
var jurisdictionsTable string

// network holds the posts with their look-ups.
type network struct {
	posts          []Post
	byKey, byCode  map[string]int
	serving        map[string][]string // ISO2 → keys of posts
	servingSources map[string]string
	zones          map[string]*time.Location
}

var theNetwork = sync.OnceValue(func() *network {
	n := &network{byKey: map[string]int{}, byCode: map[string]int{}, serving: map[string][]string{}, servingSources: map[string]string{}, zones: map[string]*time.Location{}}
	posts := readTable(postsTable, "key", "iso2", "kind", "code", "seat", "register", "aliases", "zone", "currency",
		"captures", "since", "opened", "closed", "moved", "successor", "sources")
	for i, c := range posts.rows {
		p := Post{
			Key: c[0], ISO2: c[1], Kind: Kind(c[2]), ANPRCode: c[3], Seat: c[4], RegisterName: c[5], Aliases: cut(c[6], ","),
			TimeZone: c[7], Currency: c[8], Captures: Captures{Status: CaptureStatus(c[9]), Since: Date(c[10])},
			Opened: Date(c[11]), Closed: Date(c[12]), Moved: Date(c[13]), Successor: c[14],
		}
		if p.RegisterName == "" {
			p.RegisterName = registerName(p.Seat)
		}
		for _, pair := range strings.Fields(c[15]) {
			what, tag, _ := strings.Cut(pair, "=")
			*map[string]*string{
				"post": &p.Sources.Post, "place": &p.Sources.Place,
				"captures": &p.Captures.Source, "life": &p.Sources.Life,
			}[what] = posts.source(tag)
		}
		zone, err := time.LoadLocation(p.TimeZone)
		if err != nil {
			panic("consulate: embedded table, " + p.Key + ": " + err.Error())
		}
		n.zones[p.TimeZone] = zone
		n.posts = append(n.posts, p)
		n.byKey[p.Key] = i
		if p.ANPRCode != "" {
			n.byCode[p.ANPRCode] = i
		}
	}
	states := readTable(jurisdictionsTable, "iso2", "posts", "source")
	for _, c := range states.rows {
		n.serving[c[0]] = cut(c[1], ",")
		n.servingSources[c[0]] = states.source(c[2])
	}
	return n
})

// Posts lists every post, open and closed, by state and key. The slice is the
// caller's own.
func Posts() []Post { return slices.Clone(theNetwork().posts) }

// PostByCode finds a post by its ANPR code, as a register record gives it.
// Closed posts are found too: records name them for years.
func PostByCode(code string) (Post, bool) { return postBy(theNetwork().byCode, code) }

// PostByKey finds a post by its key.
func PostByKey(key string) (Post, bool) { return postBy(theNetwork().byKey, key) }

func postBy(index map[string]int, key string) (Post, bool) {
	i, ok := index[key]
	if !ok {
		return Post{}, false
	}
	return theNetwork().posts[i], true
}

// PostsIn lists the posts with their seat in a state, closed and honorary ones
// included. PostsServing answers the other question.
func PostsIn(iso2 string) []Post {
	iso2 = stateCode(iso2)
	var found []Post
	for _, p := range theNetwork().posts {
		if p.ISO2 == iso2 {
			found = append(found, p)
		}
	}
	return found
}

// PostsServing lists the open posts that serve those who live in a state or
// territory, wherever their seat is, with the source of that; none for Italy
// and for what is not a state.
func PostsServing(iso2 string) (posts []Post, source string) {
	iso2 = stateCode(iso2)
	n := theNetwork()
	for _, key := range n.serving[iso2] {
		posts = append(posts, n.posts[n.byKey[key]])
	}
	return posts, n.servingSources[iso2]
}

// Served lists the states and territories that posts serve, by ISO2 code.
func Served() []string {
	var codes []string
	for iso2 := range theNetwork().serving {
		codes = append(codes, iso2)
	}
	slices.Sort(codes)
	return codes
}

// FindPosts finds posts by key, ANPR code, state code, or seat by any of its
// names, typed without regard to accents, case and punctuation. What matches a
// whole name comes alone; else names that begin with the query, else names with
// a word that does. An empty query finds every post.
func FindPosts(query string) []Post {
	posts := Posts()
	wanted := fold(query)
	if wanted == "" {
		return posts
	}
	if len(strings.TrimSpace(query)) == 2 {
		if in := PostsIn(query); len(in) > 0 {
			return in
		}
	}
	tests := []func(Post) bool{
		func(p Post) bool { return p.ANPRCode == wanted || fold(p.Key) == wanted },
		func(p Post) bool {
			return anyName(p, func(name string) bool { return name == wanted })
		},
		func(p Post) bool {
			return anyName(p, func(name string) bool { return strings.HasPrefix(name, wanted) })
		},
		func(p Post) bool {
			return anyName(p, func(name string) bool { return strings.Contains(" "+name, " "+wanted) })
		},
	}
	for _, test := range tests {
		found := slices.DeleteFunc(slices.Clone(posts), func(p Post) bool { return !test(p) })
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

func anyName(p Post, test func(string) bool) bool {
	for _, name := range append([]string{p.Seat, p.RegisterName}, p.Aliases...) {
		for _, folded := range foldings(name) {
			if test(folded) {
				return true
			}
		}
	}
	return false
}

// stateCode brings a state code to the form of the tables.
func stateCode(iso2 string) string {
	switch code := strings.ToUpper(strings.TrimSpace(iso2)); code {
	case "UK": // the register's tables write it so
		return "GB"
	case "EL": // so do those of the European Union
		return "GR"
	default:
		return code
	}
}

// table is a tab separated table with its legend of sources.
type table struct {
	rows    [][]string
	sources map[string]string
}

// source answers the words behind a tag.
func (t table) source(tag string) string {
	words, ok := t.sources[tag]
	if !ok {
		panic("consulate: embedded table without the source " + tag)
	}
	return words
}

// readTable reads an embedded table. A table that does not fit its columns is a
// broken build, which any test of the package shows.
func readTable(text string, columns ...string) table {
	t := table{sources: map[string]string{}}
	header := false
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if tagged, ok := strings.CutPrefix(line, "#source "); ok {
			tag, words, _ := strings.Cut(tagged, "\t")
			t.sources[tag] = words
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(line, "\t")
		if !header {
			if !slices.Equal(cells, columns) {
				panic(fmt.Sprintf("consulate: embedded table has columns %q, not %q", cells, columns))
			}
			header = true
			continue
		}
		if len(cells) != len(columns) {
			panic(fmt.Sprintf("consulate: embedded table, line %d: %d cells, not %d", i+1, len(cells), len(columns)))
		}
		t.rows = append(t.rows, cells)
	}
	return t
}

// cut splits a cell; an empty cell has no parts.
func cut(cell, by string) []string {
	if cell == "" {
		return nil
	}
	return strings.Split(cell, by)
}
