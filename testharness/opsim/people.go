package opsim

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"airegw/testharness/sim"
)

// Level is how surely the provider knows who is there: 1 to 3.
type Level int

// The acr values, the same for SPID and CIE (entra-con-cie §3).
const acrBase = "https://www.spid.gov.it/SpidL"

// ACR is the level's URI.
func (l Level) ACR() string { return fmt.Sprintf("%s%d", acrBase, int(l)) }

// String is L1, L2 or L3.
func (l Level) String() string { return fmt.Sprintf("L%d", int(l)) }

// ParseLevel reads L1, L2 or L3.
func ParseLevel(text string) (Level, error) {
	switch text {
	case "L1", "1":
		return 1, nil
	case "L2", "2":
		return 2, nil
	case "L3", "3":
		return 3, nil
	}
	return 0, fmt.Errorf("unknown level %q: L1, L2 or L3", text)
}

// MarshalText writes L1, L2 or L3; a level that is none as nothing.
func (l Level) MarshalText() ([]byte, error) {
	if l == 0 {
		return nil, nil
	}
	return []byte(l.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (l *Level) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*l = 0
		return nil
	}
	var err error
	*l, err = ParseLevel(string(text))
	return err
}

// levelOfACR reads an acr value; 0 when it is none of the three.
func levelOfACR(acr string) Level {
	rest, ok := strings.CutPrefix(acr, acrBase)
	if !ok {
		return 0
	}
	switch rest {
	case "1":
		return 1
	case "2":
		return 2
	case "3":
		return 3
	}
	return 0
}

// Mode is the way a person used the card or the app. It is recorded apart from
// the level: each mode can give each level.
type Mode string

// The three access modes of CieID.
const (
	ModeReader       Mode = "desktop_reader" // computer with a card reader
	ModePhone        Mode = "phone"          // everything on the phone
	ModeDesktopPhone Mode = "desktop_phone"  // computer, confirmed on the phone
)

func modes() []Mode { return []Mode{ModeReader, ModePhone, ModeDesktopPhone} }

// Standing is the state of a person's credentials at the provider.
type Standing string

// The standings.
const (
	CredentialsActive    Standing = "active"
	CredentialsSuspended Standing = "suspended"
	CredentialsRevoked   Standing = "revoked"
	CredentialsNone      Standing = "none" // never activated: no card yet
)

// Citizen is a person at the provider.
type Citizen struct {
	sim.Person
	// MaxLevel is the highest level the person can show: 3 needs a card that
	// works, 2 only the credentials that were activated with an earlier one.
	MaxLevel    Level    `json:"max_level"`
	Credentials Standing `json:"credentials"`
	Minor       bool     `json:"minor"` // the register knows parents
}

// Fiscal codes of people outside the rule of Citizens.
const (
	noCredentials = "BRTBRZ97C43Z602Y" // Beatriz Bortolotto has never had a card
	suspended     = "PGLDNC70S30E506Z" // Domenico Pugliese's credentials are suspended
	// Fiscal codes of those with a card that works though the register's list
	// shows none: the demonstration's first two.
	extraL3a = "FRRLCU86D57Z600N"
	extraL3b = "KFLMTH80C31A952Y"
)

// Citizens are the people of testharness/sim as the provider knows them, once
// each. Who has a valid electronic card in the register, and every parent (they
// give assent at level 3), can show level 3; everybody else level 2, with the
// credentials of a card that has since expired. One has no credentials, one has
// them suspended, and those of the dead are revoked.
func Citizens() []Citizen {
	var list []Citizen
	seen := map[string]bool{}
	for _, p := range sim.People() {
		if seen[p.CF] {
			continue
		}
		seen[p.CF] = true
		c := Citizen{Person: p, MaxLevel: 2, Credentials: CredentialsActive, Minor: len(p.Parents) > 0}
		card := p.Card != nil && p.Card.Kind == "E" && p.Card.Status == "valid"
		if card || p.Scenario == "parent" || p.CF == extraL3a || p.CF == extraL3b {
			c.MaxLevel = 3
		}
		switch {
		case p.Status == sim.StatusDeceased:
			c.Credentials = CredentialsRevoked
		case p.CF == noCredentials:
			c.Credentials, c.MaxLevel = CredentialsNone, 0
		case p.CF == suspended:
			c.Credentials = CredentialsSuspended
		}
		list = append(list, c)
	}
	return list
}

// ErrNoSuchPerson is returned for a fiscal code or operator nobody has.
var ErrNoSuchPerson = errors.New("no such person")

// citizen finds a person; the caller owns the copy.
func (s *Server) citizen(cf string) (Citizen, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.people {
		if c.CF == cf {
			return c, true
		}
	}
	return Citizen{}, false
}

// Citizens are the people as the provider knows them now.
func (s *Server) Citizens() []Citizen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.people)
}

// SetCredentials changes what a person can show.
func (s *Server) SetCredentials(cf string, max Level, standing Standing) error {
	switch standing {
	case CredentialsActive, CredentialsSuspended, CredentialsRevoked, CredentialsNone:
	default:
		return fmt.Errorf("unknown standing %q", standing)
	}
	if max < 0 || max > 3 {
		return fmt.Errorf("level %d is not one of 0 to 3", max)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.people {
		if s.people[i].CF == cf {
			s.people[i].MaxLevel, s.people[i].Credentials = max, standing
			return nil
		}
	}
	return fmt.Errorf("%s: %w", cf, ErrNoSuchPerson)
}

// reaches says why a person cannot log in at a level; nil when they can.
func (c Citizen) reaches(l Level) error {
	switch {
	case c.Credentials == CredentialsNone:
		return errors.New("no credentials: a card was never activated")
	case c.Credentials != CredentialsActive:
		return fmt.Errorf("credentials %s", c.Credentials)
	case l > c.MaxLevel:
		return fmt.Errorf("level %s asked, %s can be shown", l, c.MaxLevel)
	}
	return nil
}

// The namespace of the attributes that OpenID does not know (entra-con-cie §5).
const eid = "https://attributes.eid.gov.it/"

// attributeNames are the claims the provider knows. Any other is refused.
var attributeNames = []string{
	"given_name", "family_name", "birthdate", "place_of_birth", "gender",
	eid + "fiscal_number", "document_details", "phone_number", "phone_number_verified",
	eid + "landline_number", "email", "email_verified", eid + "e_delivery_service", "address",
}

// What a scope releases beside openid (entra-con-cie §5).
var scopeClaims = map[string][]string{
	"profile": {"family_name", "given_name", "birthdate", eid + "fiscal_number"},
	"email":   {"email", "email_verified"},
}

// attributes are all claims about a person; what the person does not have is
// left out.
func (c Citizen) attributes() map[string]any {
	a := map[string]any{
		"family_name":         capitalised(c.Surname),
		"birthdate":           c.Birth.Date,
		eid + "fiscal_number": "TINIT-" + c.CF,
		"email":               c.Email,
		"email_verified":      true,
	}
	if c.Name != "" {
		a["given_name"] = capitalised(c.Name)
	}
	switch c.Sex {
	case "F":
		a["gender"] = "female"
	case "M":
		a["gender"] = "male"
	}
	region := c.Birth.Province
	if region == "" {
		region = "EE" // born abroad, as Italian forms write it
	}
	// The fiscal code holds the cadastral code of the comune or foreign state.
	a["place_of_birth"] = map[string]any{"locality": c.CF[11:15], "region": region}
	if c.Phone != "" {
		a["phone_number"] = strings.TrimPrefix(c.Phone, "+")
		a["phone_number_verified"] = true
	}
	street := strings.TrimSpace(c.Address.Street + " " + c.Address.Number)
	a["address"] = map[string]any{
		"street_address": street, "postal_code": c.Address.Postcode, "locality": c.Address.Locality,
		"region": c.Address.Province, "country_code": c.Address.ISO2,
	}
	if c.Card != nil && c.Card.Kind == "E" {
		a["document_details"] = map[string]any{
			"type": "cartaIdentita", "document_number": c.Card.Number, "issuer": map[string]any{"name": "Ministero dell'Interno"},
			"date_of_issuance": c.Card.Issued, "date_of_expiry": c.Card.Expires,
		}
	}
	return a
}

// capitalised writes the register's capitals as the provider does: a capital
// at the start of each word.
func capitalised(text string) string {
	var b strings.Builder
	start := true
	for _, r := range strings.ToLower(text) {
		if start {
			b.WriteString(strings.ToUpper(string(r)))
		} else {
			b.WriteRune(r)
		}
		start = r == ' ' || r == '\'' || r == '-'
	}
	return b.String()
}

// Operator is a member of staff at an administration's provider.
type Operator struct {
	ID    string `json:"id"`
	Realm string `json:"realm"`
	Name  string `json:"name"`
	Note  string `json:"note,omitempty"`
	// Claims go into the ID Token and userinfo as they are.
	Claims map[string]any `json:"claims"`
}

// Staff are the operators of testharness/sim, those of comuni in RealmInterno,
// those of posts in RealmEsteri, and one owner of the rules per ministry.
func Staff() []Operator {
	var list []Operator
	for _, o := range sim.Operators() {
		realm, code := RealmEsteri, o.OfficeCode
		if o.OfficeKind == "comune" {
			realm, code = RealmInterno, o.OfficeISTAT
		}
		list = append(list, Operator{
			ID: o.ID, Realm: realm, Name: capitalised(o.Name + " " + o.Surname), Note: o.OfficeName + ", " + o.Role,
			Claims: map[string]any{
				"given_name": capitalised(o.Name), "family_name": capitalised(o.Surname), "name": capitalised(o.Name + " " + o.Surname),
				"office": code, "office_kind": o.OfficeKind, "office_name": o.OfficeName, "role": o.Role, "station": o.Station,
			},
		})
	}
	for _, o := range []struct{ id, realm, name, surname, role string }{
		{"owner-interior", RealmInterno, "Livia", "Serrani", "owner_interior"},
		{"owner-maeci", RealmEsteri, "Ettore", "Valmarin", "owner_maeci"},
	} {
		list = append(list, Operator{
			ID: o.id, Realm: o.realm, Name: o.name + " " + o.surname, Note: "rules / regole",
			Claims: map[string]any{"given_name": o.name, "family_name": o.surname, "name": o.name + " " + o.surname, "role": o.role},
		})
	}
	return list
}
