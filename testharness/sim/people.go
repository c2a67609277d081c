package sim

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"slices"
	"sync"
)

//go:embed people.json
var peopleJSON []byte

// The registration a Person has, as the register sees it.
const (
	StatusAIRE      = "aire"      // registered in AIRE, alive
	StatusResident  = "resident"  // resident in an Italian comune (APR), not in AIRE
	StatusCancelled = "cancelled" // cancelled from AIRE; the reason is in AIRE.CancelReason
	StatusDeceased  = "deceased"  // dead; DiedOn says when
)

// Person is one synthetic subject of the register. Names, codes, addresses and
// contacts are invented; comuni, states and posts are real. Dates are
// YYYY-MM-DD. The cards of this list have numbers CZ#####ZZ (electronic) and
// AX####### (paper): a simulated core must not allocate those.
type Person struct {
	CF         string `json:"cf"`          // fiscal code with a correct check letter
	CFValidity string `json:"cf_validity"` // 1 validated by the revenue agency, 9 not
	IDANPR     string `json:"id_anpr"`     // national unique id, nine characters
	Surname    string `json:"surname"`
	Name       string `json:"name"` // empty when the register has none
	Sex        string `json:"sex"`  // F, M or N
	Birth      Birth  `json:"birth"`

	Citizenships []Citizenship `json:"citizenships"`
	Status       string        `json:"status"` // one of the Status constants
	DiedOn       string        `json:"died_on,omitempty"`

	AIRE           *AIRE   `json:"aire,omitempty"` // nil when never in AIRE
	Post           *Post   `json:"post,omitempty"` // the post in the register's record
	Address        Address `json:"address"`
	ResidenceSince string  `json:"residence_since,omitempty"`

	Parents []string `json:"parents,omitempty"` // fiscal codes, minors only
	Card    *Card    `json:"card,omitempty"`

	Continent string `json:"continent"` // of the residence
	Email     string `json:"email"`
	Phone     string `json:"phone,omitempty"` // E.164, from ranges reserved for fiction
	Scenario  string `json:"scenario"`        // what the subject is for; "ok" when nothing is odd
	Note      string `json:"note"`            // one line for the list of people who can log in
}

// Birth is where and when. Either the comune fields or the foreign ones are filled.
type Birth struct {
	Date        string `json:"date"` // a filler day, or day and month, when the flags say so
	NoDay       bool   `json:"no_day,omitempty"`
	NoDayMonth  bool   `json:"no_day_month,omitempty"`
	ComuneName  string `json:"comune_name,omitempty"`
	ComuneISTAT string `json:"comune_istat,omitempty"`
	Province    string `json:"province,omitempty"`
	Locality    string `json:"locality,omitempty"`
	State       string `json:"state,omitempty"`
	StateISTAT  string `json:"state_istat,omitempty"`
}

// Citizenship names a state as the register does; Italy is ITALIA, 100.
type Citizenship struct {
	State      string `json:"state"`
	StateISTAT string `json:"state_istat"`
}

// AIRE is the registration of an Italian abroad. Codes are those of the ANPR
// tables (specs/anpr-pdnd-modi.md §4.3).
type AIRE struct {
	ComuneISTAT      string `json:"comune_istat"`
	ComuneName       string `json:"comune_name"`
	Since            string `json:"since"`
	ExpatriationYear string `json:"expatriation_year,omitempty"`
	Reason           string `json:"reason"`        // C01 expatriation, C02 birth, C05 citizenship…
	Initiative       string `json:"initiative"`    // 1 own request, 4 consular office…
	ComuneChoice     string `json:"comune_choice"` // 1 last residence, 2 birth act…
	CancelledOn      string `json:"cancelled_on,omitempty"`
	CancelReason     string `json:"cancel_reason,omitempty"` // 1…10
}

// Post is a consular post as the register writes it.
type Post struct {
	Code string `json:"code"` // seven digits
	Seat string `json:"seat"` // upper case, exactly as ANPR table 40
}

// Address is a foreign address, or an Italian one when ISO2 is IT (then
// ComuneISTAT is filled and Province is the two-letter one).
type Address struct {
	CareOf      string `json:"care_of,omitempty"`
	Street      string `json:"street"`
	Number      string `json:"number,omitempty"`
	Postcode    string `json:"postcode,omitempty"`
	Locality    string `json:"locality"`
	Province    string `json:"province,omitempty"` // province, county, state or canton
	State       string `json:"state"`              // upper case, as the register
	StateISTAT  string `json:"state_istat"`
	ISO2        string `json:"iso2"`
	ComuneISTAT string `json:"comune_istat,omitempty"`
}

// Card is the identity card the register knows of.
type Card struct {
	Number       string `json:"number"`
	Kind         string `json:"kind"` // E electronic, P paper
	Issued       string `json:"issued"`
	Expires      string `json:"expires"`
	Status       string `json:"status"` // valid, expired, annulled
	NoExpatriate bool   `json:"no_expatriate,omitempty"`
	IssuerComune string `json:"issuer_comune,omitempty"` // ISTAT code, exclusive with IssuerPost
	IssuerPost   string `json:"issuer_post,omitempty"`   // seven digits
	AnnulledOn   string `json:"annulled_on,omitempty"`
}

// Operator is somebody who works at an office in the demo.
type Operator struct {
	ID          string `json:"id"` // opaque, stable: what goes into userID
	CF          string `json:"cf"`
	Surname     string `json:"surname"`
	Name        string `json:"name"`
	OfficeKind  string `json:"office_kind"`            // comune or post
	OfficeCode  string `json:"office_code"`            // cadastral code of the comune (H501) or the post's seven digits
	OfficeISTAT string `json:"office_istat,omitempty"` // six digits, comuni only
	OfficeName  string `json:"office_name"`
	Role        string `json:"role"`    // operator or supervisor
	Station     string `json:"station"` // id of the workstation, at most 20 characters
	SCO         string `json:"sco"`     // serial of the operator's smart card
}

type peopleFile struct {
	People    []Person   `json:"people"`
	Operators []Operator `json:"operators"`
}

var loadPeople = sync.OnceValues(func() (peopleFile, error) {
	var f peopleFile
	dec := json.NewDecoder(bytes.NewReader(peopleJSON))
	dec.DisallowUnknownFields()
	err := dec.Decode(&f)
	return f, err
})

func mustPeople() peopleFile {
	f, err := loadPeople()
	if err != nil {
		// The file is embedded at build time and tested: a broken one is a
		// broken binary, not something a caller could handle.
		panic("testharness/sim: embedded people.json: " + err.Error())
	}
	return f
}

// People returns the whole synthetic population, in a fixed order: ordinary
// AIRE citizens by continent, then families, then the awkward subjects. Two
// entries share a fiscal code (scenario "duplicate"). The caller owns the copy.
func People() []Person {
	src := mustPeople().People
	out := make([]Person, len(src))
	for i, p := range src {
		out[i] = p.Clone()
	}
	return out
}

// PersonByCF returns the first person with that fiscal code (upper case).
func PersonByCF(cf string) (Person, bool) {
	for _, p := range mustPeople().People {
		if p.CF == cf {
			return p.Clone(), true
		}
	}
	return Person{}, false
}

// PersonByScenario returns the first person with that scenario tag.
func PersonByScenario(tag string) (Person, bool) {
	for _, p := range mustPeople().People {
		if p.Scenario == tag {
			return p.Clone(), true
		}
	}
	return Person{}, false
}

// Operators returns the demo's operators. The caller owns the copy.
func Operators() []Operator { return slices.Clone(mustPeople().Operators) }

// Clone returns a copy that shares nothing with p.
func (p Person) Clone() Person {
	p.Citizenships = slices.Clone(p.Citizenships)
	p.Parents = slices.Clone(p.Parents)
	p.AIRE = clonePtr(p.AIRE)
	p.Post = clonePtr(p.Post)
	p.Card = clonePtr(p.Card)
	return p
}

func clonePtr[T any](v *T) *T {
	if v == nil {
		return nil
	}
	c := *v
	return &c
}
