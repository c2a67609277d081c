package federation

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"airegw/gateway/jose"
)

// Directory is the seam for an aggregator ("soggetto aggregatore", D
// soggetti_aggregatori): one gateway that speaks for many comuni and posts. Not
// used while the gateway is the relying party of one body.
//
// What changes with it. The gateway's own Entity becomes an intermediate: its
// configuration publishes fetch and list endpoints and no relying party, it is
// registered as an aggregator, and its superior remains the anchor. Each
// aggregated body is an Aggregated:
//
//   - full: we host everything. The body's client_id is <our id>/<id_code>
//     (id_code = ipa_code or ipa_code/aoo_code); it has an Entity of its own with
//     our ID as its only authority hint, its own keys, callback and marks. Web
//     serves it at the paths below its id; login picks the Entity by the office
//     the citizen came for.
//   - light: the body keeps its own configuration, on its own domain, with its
//     own federation keys; only its keys and marks are known here, and login runs
//     at the body.
//
// In both cases we answer /fetch with a statement that vouches for the body's
// federation keys, pins its protocol keys by policy (a new key must be entered
// here before it is used), hands on its trust marks and narrows the type to
// relying party. The provider then sees the chain body, aggregator, anchor: one
// intermediate, as max_path_length 1 allows.
type Directory struct {
	own *Entity

	mu     sync.Mutex
	bodies map[string]Aggregated
}

// Aggregation is how a body is aggregated.
type Aggregation string

// The two ways of D; they are also the sa_profile values of trust marks.
const (
	AggregationFull  Aggregation = "full"
	AggregationLight Aggregation = "light"
)

// Aggregated is one body that we speak for.
type Aggregated struct {
	Kind Aggregation
	// Entity of a fully aggregated body; nil for light.
	Entity *Entity
	// ID, FederationKeys and CoreKeys of a light body, as it registered them;
	// those of a full one are its Entity's.
	ID             string
	FederationKeys jose.KeySet
	CoreKeys       jose.KeySet
	// Marks given to the body, to be handed on in our statement about it.
	Marks []Mark
}

// statementLife is what production superiors give their statements.
const statementLife = 30 * time.Minute

// NewDirectory checks that every body is complete and where it belongs
// (CodeConfig).
func NewDirectory(own *Entity, bodies []Aggregated) (*Directory, error) {
	d := &Directory{own: own, bodies: map[string]Aggregated{}}
	for _, b := range bodies {
		switch b.Kind {
		case AggregationFull:
			if b.Entity == nil {
				return nil, refuse(CodeConfig, "entity", "a fully aggregated body has its Entity here")
			}
			b.ID, b.FederationKeys, b.CoreKeys = b.Entity.ID(), *b.Entity.federationKeys(), b.Entity.coreKeys()
			if !strings.HasPrefix(b.ID, strings.TrimSuffix(own.ID(), "/")+"/") {
				return nil, refuse(CodeConfig, b.ID, "a fully aggregated body's id lies below ours")
			}
			if !slices.Equal(b.Entity.cfg.AuthorityHints, []string{own.ID()}) {
				return nil, refuse(CodeConfig, b.ID, "its only superior is the aggregator")
			}
		case AggregationLight:
			if b.Entity != nil || CheckEntityID(b.ID) != nil || b.FederationKeys.Len() == 0 || b.CoreKeys.Len() == 0 {
				return nil, refuse(CodeConfig, b.ID, "a lightly aggregated body has an id and keys, and no Entity here")
			}
		default:
			return nil, refuse(CodeConfig, "kind", "full or light")
		}
		if _, twice := d.bodies[b.ID]; twice || b.ID == own.ID() {
			return nil, refuse(CodeConfig, b.ID, "given twice")
		}
		d.bodies[b.ID] = b
	}
	for id, b := range d.bodies {
		d.announce(id, b.Marks)
	}
	own.aggregates()
	return d, nil
}

// announce hands on other marks of a body from now on.
func (d *Directory) announce(id string, marks []Mark) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.bodies[id]
	b.Marks = marks
	d.bodies[id] = b
	if b.Entity != nil {
		b.Entity.setMarks(marks)
	}
}

// body finds one by its id.
func (d *Directory) body(id string) (Aggregated, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, ok := d.bodies[id]
	return b, ok
}

// Full answers the bodies that we host, by id.
func (d *Directory) Full() []*Entity {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*Entity
	for _, id := range slices.Sorted(maps.Keys(d.bodies)) {
		if e := d.bodies[id].Entity; e != nil {
			out = append(out, e)
		}
	}
	return out
}

// Entity gives the fully aggregated body of an id (CodeAggregate).
func (d *Directory) Entity(id string) (*Entity, error) {
	if b, ok := d.body(id); ok && b.Entity != nil {
		return b.Entity, nil
	}
	return nil, refuse(CodeAggregate, "", "no fully aggregated body of this id")
}

type statementClaims struct {
	claimsHead
	Policy      any         `json:"metadata_policy"`
	Constraints any         `json:"constraints"`
	Marks       []markEntry `json:"trust_marks,omitempty"`
}

type pinnedKeys struct {
	Value jose.KeySet `json:"value"`
}

// FetchAnswer answers /fetch?sub=: our statement about an aggregated body; 400
// without sub, 404 for anybody else.
func (d *Directory) FetchAnswer(query url.Values, now time.Time) Answer {
	if query.Get("sub") == "" {
		return errorAnswer(http.StatusBadRequest, "invalid_request", "sub is required")
	}
	b, ok := d.body(query.Get("sub"))
	if !ok {
		return errorAnswer(http.StatusNotFound, "not_found", "no such subordinate")
	}
	claims := statementClaims{
		claimsHead: d.own.head(b.ID, now, now.Add(statementLife), &b.FederationKeys),
		Policy:     map[string]any{TypeRelyingParty: map[string]any{"jwks": pinnedKeys{b.CoreKeys}}},
		Constraints: map[string]any{
			"max_path_length":           0,
			"allowed_leaf_entity_types": []string{TypeRelyingParty},
		},
	}
	for _, m := range b.Marks {
		if m.ExpiresAt.IsZero() || now.Before(m.ExpiresAt) {
			claims.Marks = append(claims.Marks, markEntry{ID: m.ID, Issuer: m.Issuer, JWT: m.JWT})
		}
	}
	compact, err := jose.Sign(d.own.cfg.Keys.Federation, jose.TypeEntityStatement, claims)
	if err != nil {
		return errorAnswer(http.StatusInternalServerError, "server_error", "the statement could not be signed")
	}
	return Answer{Status: http.StatusOK, ContentType: MediaTypeStatement, Body: []byte(compact)}
}

// ListAnswer answers /list?entity_type=: the ids of our subordinates.
func (d *Directory) ListAnswer(query url.Values) Answer {
	ids := []string{}
	if t := query.Get("entity_type"); t == "" || t == TypeRelyingParty {
		d.mu.Lock()
		ids = slices.AppendSeq(ids, maps.Keys(d.bodies))
		d.mu.Unlock()
		slices.Sort(ids)
	}
	body, err := json.Marshal(ids)
	if err != nil {
		return errorAnswer(http.StatusInternalServerError, "server_error", "")
	}
	return Answer{Status: http.StatusOK, ContentType: "application/json", Body: body}
}
