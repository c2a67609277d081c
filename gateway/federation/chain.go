package federation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"airegw/gateway/fault"
	"airegw/gateway/jose"
)

// maxChain is the number of statements in the longest chain we judge: leaf,
// anchor, and for up to four intermediates a statement and a configuration.
const maxChain = 11

// Anchor is the Trust Anchor as configured: its identifier and the federation
// keys pinned out of band. TLS alone is no anchor.
type Anchor struct {
	ID   string
	Keys jose.KeySet
}

// Rules are what a chain must be, beside valid.
type Rules struct {
	// Now is the instant it is judged at; Skew is how far clocks may be apart.
	Now  time.Time
	Skew time.Duration
	// Type of metadata that the leaf must have and keep, or "" for any. For
	// TypeProvider no intermediate is admitted (D trust_negotiation).
	Type string
	// MaxPathLength is the caller's own bound on intermediates, beside those the
	// statements carry; nil = none.
	MaxPathLength *int
	// RequireMark demands one valid mark of the role Type (of any role when Type
	// is "").
	RequireMark bool
	// IssuerKeys gives the keys of a mark's issuer that stands outside the chain,
	// through a valid chain of its own; nil = only issuers inside the chain.
	IssuerKeys func(issuer string) (jose.KeySet, error)
}

// Chain is a valid trust chain.
type Chain struct {
	Subject string
	Anchor  string
	Type    string
	// Intermediates between leaf and anchor, from the leaf up.
	Intermediates []string
	// Statements as signed, as F orders a trust_chain: the leaf's configuration,
	// statements from its superior up, the anchor's configuration. They are the
	// evidence to keep (entra-con-cie §8).
	Statements []string
	// Metadata of the leaf by entity type, with every policy applied.
	Metadata map[string]map[string]any
	// Marks that are valid, and why the others announced are not.
	Marks        []Mark
	RefusedMarks []error
	// VerifiedAt is the instant it was judged at, ExpiresAt the earliest end of
	// all that was used. It must not be used from ExpiresAt on.
	VerifiedAt time.Time
	ExpiresAt  time.Time

	leaf, anchor *Statement
	superior     *Statement // the direct superior's statement about the leaf
}

// VerifyChain judges statements from leaf to anchor: the leaf's configuration,
// each superior's statement about the entity below (an intermediate's own
// configuration may stand between), the anchor's configuration. Steps, first
// failure wins and names itself in the *Error:
//
//  1. form of all statements, anchor's identifier
//  2. the anchor's configuration: signed by a pinned key, and by itself
//  3. from the anchor down, each statement: linked, no loop, signed by the keys
//     the superior vouches for, in its time; each configuration also by itself
//     and naming its superior in authority_hints
//  4. constraints of every statement and of the anchor's configuration
//  5. metadata policy, merged from the anchor down and applied
//  6. trust marks
//
// (F trust_chain_validation; entra-con-cie §2.4.)
func VerifyChain(compact []string, anchor Anchor, rules Rules) (*Chain, error) {
	w := walk{rules: rules, anchor: anchor}
	for _, step := range []func() error{
		func() error { return w.read(compact) },
		w.verifyAnchor,
		w.descend,
		w.constrain,
		w.resolve,
		w.marks,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return w.chain(), nil
}

// walk is the state of one judgement.
type walk struct {
	rules      Rules
	anchor     Anchor
	statements []*Statement // as given: leaf first
	// links are the subordinate statements from the anchor down, the last about
	// the leaf.
	links    []*Statement
	path     []string // entities from the anchor to the leaf
	keys     map[string]jose.KeySet
	metadata map[string]map[string]any
	valid    []Mark
	refused  []error
	markEnd  time.Time // of the longest-lived mark of the role
	endless  bool      // or one of them has no end
}

func (w *walk) leaf() *Statement { return w.statements[0] }
func (w *walk) top() *Statement  { return w.statements[len(w.statements)-1] }

func (w *walk) read(compact []string) error {
	switch {
	case len(compact) < 3:
		return refuse(CodeIncomplete, "", "a chain has at least the leaf's configuration, a statement and the anchor's configuration")
	case len(compact) > maxChain:
		return refuse(CodeTooLong, "", fmt.Sprintf("more than %d statements", maxChain))
	}
	for i, raw := range compact {
		s, err := ParseStatement(raw)
		if err != nil {
			return at(err, fmt.Sprintf("statement %d of %d, reading", i+1, len(compact)), "")
		}
		w.statements = append(w.statements, s)
	}
	if top := w.top(); !top.IsConfiguration() {
		return at(refuse(CodeIncomplete, "", "the last statement is not the anchor's configuration"), "anchor configuration", top.Issuer)
	}
	return nil
}

func (w *walk) verifyAnchor() error {
	top := w.top()
	fail := func(err error) error { return at(err, "anchor configuration", top.Subject) }
	if w.anchor.ID != "" && top.Subject != w.anchor.ID {
		return fail(refuse(CodeAnchorUnknown, "", "the chain ends at another entity than the configured anchor"))
	}
	pinned := w.anchor.Keys
	if fault.Mutant("federation.anchor-key") {
		pinned = top.Keys
	}
	err := top.verify(pinned, w.rules.Now, w.rules.Skew)
	if c := CodeOf(err); c == CodeUnknownKey || c == CodeSignature {
		return fail(&Error{Code: CodeAnchorKey, Reason: "not signed by a pinned key", Err: err})
	}
	if err == nil {
		err = top.verifySelf(w.rules.Now, w.rules.Skew)
	}
	if err != nil {
		return fail(err)
	}
	w.keys = map[string]jose.KeySet{top.Subject: top.Keys}
	w.path = []string{top.Subject}
	return nil
}

func (w *walk) descend() error {
	current, hinted := w.top().Subject, false
	for i := len(w.statements) - 2; i >= 1; i-- {
		s := w.statements[i]
		if s.IsConfiguration() {
			// An intermediate's own configuration between two statements.
			fail := func(err error) error { return at(err, "configuration of the intermediate", s.Subject) }
			if s.Subject != current || len(w.links) == 0 || hinted {
				return fail(refuse(CodeNotLinked, "", "the configuration stands where it does not belong"))
			}
			if err := w.configuration(s); err != nil {
				return fail(err)
			}
			hinted = true
			continue
		}
		fail := func(err error) error { return at(err, "statement about "+s.Subject, s.Issuer) }
		if s.Issuer != current && !fault.Mutant("federation.linked") {
			return fail(refuse(CodeNotLinked, "iss", "the issuer is not the subject of the statement above, "+current))
		}
		if slices.Contains(w.path, s.Subject) {
			return fail(refuse(CodeLoop, "sub", "the entity already stands in the chain"))
		}
		err := s.verify(w.keys[current], w.rules.Now, w.rules.Skew)
		if c := CodeOf(err); fault.Mutant("federation.superior-signature") && (c == CodeSignature || c == CodeUnknownKey) {
			err = nil
		}
		if err != nil {
			return fail(err)
		}
		w.links = append(w.links, s)
		w.keys[s.Subject] = s.Keys
		w.path = append(w.path, s.Subject)
		current, hinted = s.Subject, false
	}
	// A link is there: each of the statements between, at least one, made one or
	// ended the walk.
	leaf := w.leaf()
	fail := func(err error) error { return at(err, "leaf configuration", leaf.Subject) }
	switch {
	case !leaf.IsConfiguration():
		return fail(refuse(CodeNotSelf, "", "the first statement is not the leaf's configuration"))
	case leaf.Subject != current:
		return fail(refuse(CodeNotLinked, "sub", "the statement above is about "+current))
	}
	if err := w.configuration(leaf); err != nil {
		return fail(err)
	}
	return nil
}

// configuration verifies an Entity Configuration below the anchor: by the keys
// its superior vouches for (that is the trust), by its own (that is the form),
// and its hint at the superior.
func (w *walk) configuration(s *Statement) error {
	err := s.verify(w.keys[s.Subject], w.rules.Now, w.rules.Skew)
	if c := CodeOf(err); fault.Mutant("federation.vouched-key") && (c == CodeSignature || c == CodeUnknownKey) {
		err = nil
	}
	if err != nil {
		return err
	}
	if err := s.verifySelf(w.rules.Now, w.rules.Skew); err != nil {
		return err
	}
	superior := w.links[len(w.links)-1].Issuer
	if !slices.Contains(s.AuthorityHints, superior) && !fault.Mutant("federation.hint") {
		return refuse(CodeHint, "authority_hints", "does not name "+superior)
	}
	return nil
}

// constrain applies the constraints of everybody above the leaf, each on its
// own (F chain_constraints), the anchor's configuration included
// (entra-con-cie §2.3).
func (w *walk) constrain() error {
	type demand struct {
		by    string
		depth int // index in path of who demands
		c     Constraints
	}
	demands := []demand{{w.path[0], 0, w.top().Constraints}, {"the caller's rules", 0, Constraints{MaxPathLength: w.rules.MaxPathLength}}}
	for i, s := range w.links {
		demands = append(demands, demand{s.Issuer, i, s.Constraints})
	}
	// The configurations of intermediates may demand too.
	for _, s := range w.statements[1 : len(w.statements)-1] {
		if s.IsConfiguration() {
			demands = append(demands, demand{s.Subject, slices.Index(w.path, s.Subject), s.Constraints})
		}
	}
	intermediates := len(w.path) - 2
	if w.rules.Type == TypeProvider && intermediates > 0 && !fault.Mutant("federation.provider-direct") {
		return at(refuse(CodePathLength, "", "no intermediate may stand between provider and anchor"), "constraints", w.leaf().Subject)
	}
	w.metadata = map[string]map[string]any{}
	for name, v := range w.leaf().Metadata {
		if m, ok := v.(map[string]any); ok {
			w.metadata[name] = maps.Clone(m)
		} else if name == w.rules.Type {
			return at(refuse(CodeClaim, name, "metadata is not an object"), "leaf configuration", w.leaf().Subject)
		}
	}
	// A superior's metadata claim is set over the leaf's before type constraints
	// and policy (F metadata_policy_application). The Italian profile sends none.
	last := w.links[len(w.links)-1]
	for name, v := range last.Metadata {
		set, ok := v.(map[string]any)
		if !ok {
			return at(refuse(CodeClaim, name, "metadata is not an object"), "statement about "+last.Subject, last.Issuer)
		}
		if own, ok := w.metadata[name]; ok {
			maps.Copy(own, set)
		}
	}
	for _, d := range demands {
		fail := func(err error) error { return at(err, "constraints", d.by) }
		if below := intermediates - d.depth; !d.c.admitsPath(below) && !fault.Mutant("federation.path-length") {
			return fail(refuse(CodePathLength, "max_path_length", fmt.Sprintf("%d intermediates below, %d allowed", below, *d.c.MaxPathLength)))
		}
		for _, entity := range w.path[d.depth+1:] {
			if !d.c.admitsName(entity) && !fault.Mutant("federation.naming") {
				return fail(refuse(CodeNaming, "naming_constraints", entity+" lies outside"))
			}
		}
		for name := range w.metadata {
			if !d.c.admitsType(name) {
				if name == w.rules.Type {
					return fail(refuse(CodeEntityType, name, "the type is not allowed"))
				}
				delete(w.metadata, name)
			}
		}
	}
	if w.rules.Type != "" {
		if _, ok := w.metadata[w.rules.Type]; !ok {
			return at(refuse(CodeEntityType, w.rules.Type, "the entity has no metadata of this type"), "constraints", w.leaf().Subject)
		}
	} else if len(w.metadata) == 0 {
		return at(refuse(CodeEntityType, "", "no metadata of an allowed type is left"), "constraints", w.leaf().Subject)
	}
	return nil
}

func (w *walk) resolve() error {
	var crit []string
	for _, s := range w.links {
		crit = append(crit, s.policyCrit...)
	}
	var merged Policy
	for _, s := range w.links {
		p, err := policyOf(s.policy, crit)
		if err == nil {
			merged, err = merged.Merge(p)
		}
		if err != nil {
			return at(err, "metadata policy about "+s.Subject, s.Issuer)
		}
	}
	for name, m := range w.metadata {
		t := merged.types[name]
		resolved, err := t.Apply(m)
		if err == nil {
			err = notEmptied(t, resolved)
		}
		if err != nil {
			return at(err, "metadata of type "+name, w.leaf().Subject)
		}
		w.metadata[name] = resolved
	}
	return nil
}

// notEmptied refuses metadata that a policy left without any value where the
// profile cannot work without one. The final text allows the empty list; for
// CIE it means that the entity and the federation have nothing in common
// (entra-con-cie §2.5).
func notEmptied(t TypePolicy, metadata map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		list, ok := metadata[name].([]any)
		if !ok || len(list) > 0 || !t.governs(name) {
			continue
		}
		if name == "response_types" || name == "grant_types" || name == "redirect_uris" || strings.HasSuffix(name, "_supported") {
			return refuse(CodeMetadata, name, "the policy leaves no value")
		}
	}
	return nil
}

func (w *walk) marks() error {
	leaf := w.leaf()
	issuerKeys := func(issuer string) (jose.KeySet, error) {
		if keys, ok := w.keys[issuer]; ok && issuer != leaf.Subject {
			return keys, nil
		}
		if w.rules.IssuerKeys == nil {
			return jose.KeySet{}, refuse(CodeNoRoute, "", "the issuer stands outside the chain")
		}
		return w.rules.IssuerKeys(issuer)
	}
	var why error
	role := false
	for _, m := range leaf.Marks {
		mark, err := verifyMark(m, leaf.Subject, w.top().MarkIssuers, issuerKeys, w.rules.Now, w.rules.Skew)
		if err != nil {
			w.refused = append(w.refused, err)
			if why == nil {
				why = err
			}
			continue
		}
		w.valid = append(w.valid, mark)
		if w.rules.Type == "" || markRole(mark.ID, w.rules.Type) {
			role = true
			// The chain lives as long as the longest-lived mark that carries it.
			w.endless = w.endless || mark.ExpiresAt.IsZero()
			if mark.ExpiresAt.After(w.markEnd) {
				w.markEnd = mark.ExpiresAt
			}
		}
	}
	if !w.rules.RequireMark || role {
		return nil
	}
	switch {
	case why != nil:
		return why
	case len(w.valid) > 0:
		return &Error{Code: CodeMarkOtherRole, Step: "trust mark", Entity: leaf.Subject, Field: w.rules.Type}
	}
	return &Error{Code: CodeMarkMissing, Step: "trust mark", Entity: leaf.Subject, Reason: "the entity announces none"}
}

func (w *walk) chain() *Chain {
	c := &Chain{
		Subject: w.leaf().Subject, Anchor: w.top().Subject, Type: w.rules.Type,
		Metadata: w.metadata, Marks: w.valid, RefusedMarks: w.refused, VerifiedAt: w.rules.Now,
		leaf: w.leaf(), anchor: w.top(), superior: w.links[len(w.links)-1],
	}
	for i, s := range w.statements {
		if c.ExpiresAt.IsZero() || s.ExpiresAt.Before(c.ExpiresAt) {
			c.ExpiresAt = s.ExpiresAt
		}
		if i == 0 || i == len(w.statements)-1 || !s.IsConfiguration() {
			c.Statements = append(c.Statements, s.Raw)
		}
	}
	if w.rules.RequireMark && !w.endless && w.markEnd.Before(c.ExpiresAt) {
		c.ExpiresAt = w.markEnd
	}
	for i := len(w.path) - 2; i >= 1; i-- {
		c.Intermediates = append(c.Intermediates, w.path[i])
	}
	return c
}
