package gateway

import (
	"strings"

	"airegw/anpr"
	"airegw/consulate"
)

// OfficeKind says whether an office is a comune or a consular post.
type OfficeKind string

// The two kinds of office that take requests.
const (
	OfficeComune OfficeKind = "comune"
	OfficePost   OfficeKind = "post"
)

// Office names an office: a comune by its ISTAT code (6 digits), a consular
// post by its key in consulate.Posts. The zero value is no office.
type Office struct {
	Kind OfficeKind `json:"kind"`
	Code string     `json:"code"`
}

// ID answers the value stored in office_id columns: "comune:054013",
// "post:ar-buenos-aires", or "" for no office.
func (o Office) ID() string {
	if o.Kind == "" {
		return ""
	}
	return string(o.Kind) + ":" + o.Code
}

// IsZero says that no office is named.
func (o Office) IsZero() bool { return o.Kind == "" }

// OfficeFromID is the inverse of Office.ID; anything else is no office.
func OfficeFromID(id string) Office {
	kind, code, ok := strings.Cut(id, ":")
	if !ok || code == "" || (kind != string(OfficeComune) && kind != string(OfficePost)) {
		return Office{}
	}
	return Office{OfficeKind(kind), code}
}

// ParseOffice reads an office as people and machines write it: an office id, a
// comune's ISTAT or catastale code, a post's key or 7-digit ANPR code.
// ok is false when nothing of ours answers to it; a comune that ceased is not
// an office any more.
func ParseOffice(s string) (Office, bool) {
	s = strings.TrimSpace(s)
	if o := OfficeFromID(s); !o.IsZero() {
		s = o.Code
	}
	if c, ok := anpr.ComuneByISTAT(s); ok && c.Ended.IsZero() {
		return Office{OfficeComune, c.ISTAT}, true
	}
	if c, ok := anpr.ComuneByCatastale(strings.ToUpper(s)); ok && c.Ended.IsZero() {
		return Office{OfficeComune, c.ISTAT}, true
	}
	if p, ok := consulate.PostByKey(s); ok {
		return Office{OfficePost, p.Key}, true
	}
	if p, ok := consulate.PostByCode(s); ok {
		return Office{OfficePost, p.Key}, true
	}
	return Office{}, false
}

// Name answers the office's name for people: the comune's name, or the seat of
// the post.
func (o Office) Name() string {
	switch o.Kind {
	case OfficeComune:
		if c, ok := anpr.ComuneByISTAT(o.Code); ok {
			return c.Name
		}
	case OfficePost:
		if p, ok := consulate.PostByKey(o.Code); ok {
			return p.Seat
		}
	}
	return o.Code
}

// ActorKind says who acts.
type ActorKind string

// Who can act on a request.
const (
	ActorCitizen  ActorKind = "citizen"
	ActorOperator ActorKind = "operator"
	ActorClient   ActorKind = "client" // a machine of one office, with a key of its own
	ActorWorker   ActorKind = "worker" // a step of ours
	ActorCore     ActorKind = "core"   // the issuance core
)

// Role is what an operator may do within the own office.
type Role string

// The roles. A clerk does counter work; a referent also un-parks and hands out
// operator cards (A86).
const (
	RoleClerk    Role = "clerk"
	RoleReferent Role = "referent"
)

// Actor is who does an act, as the audit trail keeps it: never a name, never a
// fiscal code. ID is opaque and stable in the actor's own domain.
type Actor struct {
	Kind    ActorKind `json:"kind"`
	ID      string    `json:"id"`
	Office  Office    `json:"office,omitzero"`
	Role    Role      `json:"role,omitempty"`
	Station string    `json:"station,omitempty"`
	Level   int       `json:"level,omitempty"` // login level 1–3 of a citizen
}

// Scope says which requests somebody may see and act on. It has no value that
// means "everything" outside this package: the zero Scope sees nothing, an
// office's scope sees the requests of that office, a citizen's scope the ones
// that name that citizen as applicant or parent.
type Scope struct {
	actor  Actor
	person string // fiscal code, upper case; only of a citizen's scope
	system bool
}

// OperatorScope answers the scope of an operator or of a machine client: the
// requests of actor.Office and of no other. An actor without an office sees
// nothing.
func OperatorScope(actor Actor) Scope { return Scope{actor: actor} }

// CitizenScope answers the scope of a citizen logged in at a level. id is the
// opaque id written to the audit trail.
func CitizenScope(fiscalCode, id string, level int) Scope {
	return Scope{
		actor:  Actor{Kind: ActorCitizen, ID: id, Level: level},
		person: strings.ToUpper(fiscalCode),
	}
}

// systemScope is what the gateway's own steps use; it cannot be made elsewhere.
func systemScope(step string) Scope {
	return Scope{actor: Actor{Kind: ActorWorker, ID: step}, system: true}
}

// Actor answers who acts under this scope.
func (s Scope) Actor() Actor { return s.actor }

// Office answers the only office whose requests may be seen, if the scope is
// an office's.
func (s Scope) Office() (Office, bool) {
	if s.system || s.person != "" || s.actor.Office.IsZero() {
		return Office{}, false
	}
	return s.actor.Office, true
}

// Person answers the fiscal code whose requests may be seen, if the scope is a
// citizen's.
func (s Scope) Person() (string, bool) { return s.person, s.person != "" }

// System says that the gateway itself acts.
func (s Scope) System() bool { return s.system }
