package consulate

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// Address is a foreign address as the citizen or the register writes it. Only
// ISO2 is needed; the more of the rest is filled, the surer the answer.
type Address struct {
	ISO2     string // ISO 3166-1; UK and EL are taken for GB and GR
	Street   string // not used to find the district
	City     string
	Postcode string
	Region   string // first-level division: its name in any usual language, or its ISO 3166-2 code
	County   string // the level below: county, department, province, partido, Regierungsbezirk
}

// Reason says what an Answer rests on. It is a message code.
type Reason string

// The closed list of reasons.
const (
	ReasonOnePost      Reason = "post_serves_whole_state"
	ReasonRegion       Reason = "post_by_region"
	ReasonCounty       Reason = "post_by_county"
	ReasonPostcode     Reason = "post_by_postcode"
	ReasonCity         Reason = "post_by_city"
	ReasonSplit        Reason = "division_shared_by_posts"   // ambiguous: more of the address is needed, or no source decides
	ReasonNoClue       Reason = "address_names_no_district"  // ambiguous: nothing in the address is known
	ReasonConflict     Reason = "address_contradicts_itself" // ambiguous: its parts lie in districts of different posts
	ReasonUnknownState Reason = "state_without_post"         // no candidates
	ReasonItaly        Reason = "address_in_italy"           // no candidates
)

// Answer is the post that serves an address, or the posts among which a person
// must choose.
type Answer struct {
	Post       *Post  // nil when no single post is found
	Candidates []Post // empty when Post is set or the state is not served
	Ambiguous  bool   // there are candidates and no post
	Reason     Reason
	Division   string // code of the row of districts.tsv that decided; "" when none did
	Source     string // where that row, or the state's row, is from
}

// Division is a part of a state with the posts that serve it.
type Division struct {
	ISO2   string
	Code   string // ISO 3166-2, or the parent's code and a slug
	Level  int    // 1 first-level division, 2 part of one
	Parent string
	Posts  []string // keys; several are named candidates
	Names  []string
	Source string
}

//go:embed districts.tsv
var districtsTable string

// district is a Division ready to be looked up.
type district struct {
	Division
	postcodes []postcodePattern
}

// stateDistricts are the districts of one state with their look-ups, by folded name.
type stateDistricts struct {
	rows   []*district
	byCode map[string]*district
	names  map[string][]*district
	cities map[string][]*district
}

var districtsByState = sync.OnceValue(func() map[string]*stateDistricts {
	states := map[string]*stateDistricts{}
	t := readTable(districtsTable, "iso2", "code", "level", "parent", "posts", "names", "postcodes", "cities", "source")
	for _, c := range t.rows {
		s := states[c[0]]
		if s == nil {
			s = &stateDistricts{byCode: map[string]*district{}, names: map[string][]*district{}, cities: map[string][]*district{}}
			states[c[0]] = s
		}
		d := &district{Division: Division{
			ISO2: c[0], Code: c[1], Level: int(c[2][0] - '0'), Parent: c[3],
			Posts: cut(c[4], ","), Names: cut(c[5], "|"), Source: t.source(c[8]),
		}}
		if _, listed := s.byCode[strings.ToLower(d.Parent)]; d.Level > 1 && !listed || !strings.HasPrefix(d.Code, d.ISO2+"-") {
			panic("consulate: embedded table, " + d.Code + " is no part of its state")
		}
		for _, pattern := range cut(c[6], ",") {
			d.postcodes = append(d.postcodes, parsePostcodePattern(pattern))
		}
		s.rows = append(s.rows, d)
		s.byCode[strings.ToLower(d.Code)] = d
		index(s.names, d.Names, d)
		index(s.cities, cut(c[7], "|"), d)
	}
	return states
})

func index(into map[string][]*district, names []string, d *district) {
	for _, name := range names {
		for _, folded := range foldings(name) {
			if !slices.Contains(into[folded], d) {
				into[folded] = append(into[folded], d)
			}
		}
	}
}

// Divisions lists the divisions of a state that several posts share; none for
// other states. Every first-level division of ISO 3166-2 is there.
func Divisions(iso2 string) []Division {
	s := districtsByState()[stateCode(iso2)]
	if s == nil {
		return nil
	}
	var all []Division
	for _, d := range s.rows {
		all = append(all, d.Division)
	}
	return all
}

// Competent answers which post serves an address, from the districts alone. For
// a person with a register record the record's post wins; this answer checks it.
//
// Where several posts share the state, the region decides if it can; else
// county, postcode and city narrow it, within the region if there is one. Parts
// of an address that point to different posts, and parts that no source places,
// give candidates, never a guess.
func Competent(a Address) Answer {
	iso2 := stateCode(a.ISO2)
	if iso2 == "IT" {
		return Answer{Reason: ReasonItaly}
	}
	if own := crownDependency(iso2, a.Postcode); own != "" {
		iso2 = own
	}
	serving, source := PostsServing(iso2)
	switch len(serving) {
	case 0:
		return Answer{Reason: ReasonUnknownState}
	case 1:
		return Answer{Post: &serving[0], Reason: ReasonOnePost, Source: source}
	}
	s := districtsByState()[iso2]
	if s == nil { // a test holds that every shared state has districts
		return Answer{Candidates: serving, Ambiguous: true, Reason: ReasonNoClue, Source: source}
	}
	answer := s.competent(a)
	if answer.Post == nil && len(answer.Candidates) == 0 {
		answer.Candidates, answer.Source = serving, source
	}
	return answer
}

// clue is what one part of an address says.
type clue struct {
	reason Reason
	rows   []*district
}

func (s *stateDistricts) competent(a Address) Answer {
	region := s.region(a.Region)
	if len(region) == 0 {
		region = s.regionInCity(a.City)
	}
	county := clue{ReasonCounty, s.named(a.County, 2)}
	postcode := clue{ReasonPostcode, s.byPostcode(a.Postcode)}
	city := clue{ReasonCity, s.city(a.City)}
	if len(region) == 0 && slices.ContainsFunc(county.rows, func(d *district) bool { return d.Level == 1 }) {
		region, county.rows = county.rows, nil // the region stands in the wrong field
	}
	if len(region) > 0 {
		return s.within(region, county, postcode, city)
	}
	return narrow(nil, county, postcode, city)
}

// within answers for an address whose region is known.
func (s *stateDistricts) within(region []*district, county, postcode, city clue) Answer {
	posts := postsOf(region)
	if len(posts) == 1 {
		// The region is the citizen's own word and decides, unless postcode and
		// city together name one other post.
		other := postsOf(postcode.rows)
		if len(other) == 1 && other[0] != posts[0] && slices.Equal(other, postsOf(city.rows)) {
			return ambiguous(append(posts, other...), ReasonConflict, region[0])
		}
		return decided(posts[0], ReasonRegion, region[0])
	}
	inside := func(c clue) clue {
		kept := slices.DeleteFunc(slices.Clone(c.rows), func(d *district) bool {
			return !slices.ContainsFunc(region, func(r *district) bool { return d == r || d.Parent == r.Code })
		})
		return clue{c.reason, kept}
	}
	return narrow(region, inside(county), inside(postcode), inside(city))
}

// narrow intersects what the clues say, beginning with the region if it is known.
func narrow(region []*district, clues ...clue) Answer {
	left, by, reason := postsOf(region), first(region), ReasonSplit
	for _, c := range clues {
		says := postsOf(c.rows)
		if len(says) == 0 {
			continue
		}
		if by == nil {
			left, by, reason = says, c.rows[0], c.reason
		} else if both := intersect(left, says); len(both) == 0 {
			return ambiguous(union(left, says), ReasonConflict, nil)
		} else if len(both) < len(left) {
			left, by, reason = both, c.rows[0], c.reason
		}
		if len(left) == 1 && c.reason == ReasonCounty {
			break // a county is named on purpose; a postcode and a city may repeat
		}
	}
	switch {
	case by == nil:
		return Answer{Ambiguous: true, Reason: ReasonNoClue}
	case len(left) == 1:
		return decided(left[0], reason, by)
	default:
		return ambiguous(left, ReasonSplit, by)
	}
}

func decided(key string, reason Reason, by *district) Answer {
	post, _ := PostByKey(key)
	return Answer{Post: &post, Reason: reason, Division: by.Code, Source: by.Source}
}

func ambiguous(keys []string, reason Reason, by *district) Answer {
	answer := Answer{Ambiguous: true, Reason: reason}
	for _, key := range keys {
		post, _ := PostByKey(key)
		answer.Candidates = append(answer.Candidates, post)
	}
	if by != nil {
		answer.Division, answer.Source = by.Code, by.Source
	}
	return answer
}

// postsOf unites the posts of rows, in their order.
func postsOf(rows []*district) []string {
	var keys []string
	for _, d := range rows {
		keys = union(keys, d.Posts)
	}
	return keys
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, key := range b {
		if !slices.Contains(all, key) {
			all = append(all, key)
		}
	}
	return all
}

func intersect(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(key string) bool { return !slices.Contains(b, key) })
}

func first(rows []*district) *district {
	if len(rows) == 0 {
		return nil
	}
	return rows[0]
}

// words that go before or after the name of a division and say only what it is.
var (
	divisionPrefixes = []string{
		"provincia autonoma di", "comunidad autonoma de", "comunita autonoma di", "provincia de", "provincia di", "provincia del",
		"province of", "province de", "provincia", "province", "region of", "region de", "regione", "region", "estado de", "estado do",
		"estado da", "stato di", "stato del", "state of", "departement de", "departement des", "departement du", "dipartimento di",
		"departamento de", "comunidad de", "comunita di", "kanton", "canton de", "canton du", "canton of", "cantone di", "cantone", "canton",
		"land", "freistaat", "prefecture of", "prefettura di", "partido de", "county of", "contea di", "emirate of", "emirato di",
		"governorate of", "republic of", "city of", "citta di", "ciudad de", "landkreis", "kreis", "stadt", "regierungsbezirk", "gemeinde",
		"comune di", "wilayat", "municipality of",
	}
	divisionSuffixes = []string{
		"province", "state", "county", "region", "prefecture", "oblast", "kraj", "canton", "governorate", "district", "county council",
		"zupanija", "ili", "ken", "fu", "shi", "sheng", "emirate", "city", "parish", "metropolitan municipality", "land", "council",
	}
)

// spellings answers the ways to read a folded name: whole, then without the
// words that say what it is.
func spellings(name string) []string {
	all := []string{name}
	for _, prefix := range divisionPrefixes {
		if rest, ok := strings.CutPrefix(name, prefix+" "); ok {
			all = append(all, rest)
		}
	}
	for _, suffix := range divisionSuffixes {
		if rest, ok := strings.CutSuffix(name, " "+suffix); ok {
			all = append(all, rest)
		}
	}
	return all
}

// parts cuts a field into what may be names: whole, without what is in
// parentheses, and each piece between commas, slashes, bars and spaced dashes.
func parts(field string) []string {
	all := []string{field}
	if before, inside, ok := strings.Cut(field, "("); ok {
		inside, after, _ := strings.Cut(inside, ")")
		all = append(all, before+" "+after, inside)
	}
	pieces := strings.FieldsFunc(strings.NewReplacer(" - ", ",", " – ", ",").Replace(field), func(r rune) bool {
		return strings.ContainsRune(",;/|()", r)
	})
	if len(pieces) > 1 {
		all = append(all, pieces...)
	}
	var kept []string
	for _, part := range all {
		if folded := fold(part); folded != "" && !slices.Contains(kept, folded) {
			kept = append(kept, folded)
		}
	}
	return kept
}

// named finds divisions by a name in a field; of several levels under one name
// the wanted level wins.
func (s *stateDistricts) named(field string, level int) []*district {
	for _, part := range parts(field) {
		for _, name := range spellings(part) {
			rows := s.names[name]
			if of := slices.DeleteFunc(slices.Clone(rows), func(d *district) bool { return d.Level != level }); len(of) > 0 {
				return of
			}
			if len(rows) > 0 {
				return rows
			}
		}
	}
	return nil
}

// region finds the divisions a region field names, by name or by code.
func (s *stateDistricts) region(field string) []*district {
	if d := s.coded(field); d != nil {
		return []*district{d}
	}
	if rows := s.named(field, 1); len(rows) > 0 {
		return rows
	}
	for _, part := range strings.FieldsFunc(field, func(r rune) bool { return strings.ContainsRune("(),;/", r) }) {
		if d := s.coded(part); d != nil {
			return []*district{d}
		}
	}
	return nil
}

// coded finds a division by its ISO 3166-2 code, with or without the state. A
// bare number is a code in France alone, where departments go by it.
func (s *stateDistricts) coded(field string) *district {
	code := strings.ToLower(strings.TrimSpace(field))
	if code == "" || len(code) > 6 {
		return nil
	}
	if d := s.byCode[code]; d != nil {
		return d
	}
	iso2 := strings.ToLower(s.rows[0].ISO2)
	if strings.Trim(code, "0123456789") == "" && iso2 != "fr" {
		return nil
	}
	return s.byCode[iso2+"-"+code]
}

// regionInCity finds a region written behind the city: "Miami, FL",
// "São Paulo - SP", "Toronto ON".
func (s *stateDistricts) regionInCity(field string) []*district {
	pieces := strings.FieldsFunc(strings.NewReplacer(" - ", ",", " – ", ",").Replace(field), func(r rune) bool {
		return strings.ContainsRune(",;/|()", r)
	})
	for i, piece := range pieces {
		if i == 0 {
			continue
		}
		if d := s.coded(piece); d != nil && d.Level == 1 {
			return []*district{d}
		}
		rows := slices.DeleteFunc(slices.Clone(s.names[fold(piece)]), func(d *district) bool { return d.Level != 1 })
		if len(rows) > 0 {
			return rows
		}
	}
	if words := strings.Fields(field); len(words) > 1 && len(pieces) == 1 {
		last := words[len(words)-1]
		if last == strings.ToUpper(last) {
			if d := s.coded(last); d != nil && d.Level == 1 {
				return []*district{d}
			}
		}
	}
	return nil
}

// city finds the districts of a well-known place, or of a division that the
// city field names (a city that is a state, a partido).
func (s *stateDistricts) city(field string) []*district {
	for _, part := range parts(field) {
		for _, name := range append(spellings(part), withoutLastWord(part)) {
			if rows := s.cities[name]; len(rows) > 0 {
				return rows
			}
		}
	}
	return s.named(field, 2)
}

// withoutLastWord drops what often follows a city: the code of its region, the
// number of a quarter (Paris 16, Miami FL).
func withoutLastWord(name string) string {
	if cutAt := strings.LastIndexByte(name, ' '); cutAt > 0 && len(name)-cutAt <= 4 {
		return name[:cutAt]
	}
	return name
}
