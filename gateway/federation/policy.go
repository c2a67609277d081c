package federation

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The standard operators (F standard_metadata_policy_operators), in their order
// of application.
const (
	opValue      = "value"
	opAdd        = "add"
	opDefault    = "default"
	opOneOf      = "one_of"
	opSubsetOf   = "subset_of"
	opSupersetOf = "superset_of"
	opEssential  = "essential"
)

var standardOperators = []string{opValue, opAdd, opDefault, opOneOf, opSubsetOf, opSupersetOf, opEssential}

// Bounds of a policy. Production policies have about twenty parameters.
const (
	maxParameters   = 256
	maxOperatorList = 256
)

// TypePolicy is the metadata policy for one entity type: operators by parameter
// name. The zero value allows everything.
type TypePolicy struct {
	parameters map[string]parameterPolicy
}

// Policy is the metadata_policy claim: a TypePolicy by entity type.
type Policy struct {
	types map[string]TypePolicy
}

// parameterPolicy holds the operators on one parameter; a nil pointer is an
// absent operator.
type parameterPolicy struct {
	value, preset               *any // preset is the operator "default"
	add                         *[]any
	oneOf, subsetOf, supersetOf *[]any
	essential                   *bool
}

// ParsePolicy reads a metadata_policy claim. crit holds the operator names that
// the chain's statements declare critical (metadata_policy_crit): one that is
// not standard and is used makes the policy invalid; others not standard are
// ignored (F additional_metadata_policy_operators). Every error is
// CodePolicy.
func ParsePolicy(data []byte, crit []string) (Policy, error) {
	object, err := decodeObject(data)
	if err != nil {
		return Policy{}, refuse(CodePolicy, "metadata_policy", err.Error())
	}
	return policyOf(object, crit)
}

func policyOf(object map[string]any, crit []string) (Policy, error) {
	p := Policy{types: map[string]TypePolicy{}}
	for name, v := range object {
		parameters, ok := v.(map[string]any)
		if !ok {
			return Policy{}, refuse(CodePolicy, name, "the policy of an entity type is not an object")
		}
		t, err := typePolicyOf(parameters, crit)
		if err != nil {
			return Policy{}, err
		}
		p.types[name] = t
	}
	return p, nil
}

// ParseTypePolicy reads the policy of one entity type, operators by parameter
// name. Every error is CodePolicy.
func ParseTypePolicy(data []byte, crit []string) (TypePolicy, error) {
	object, err := decodeObject(data)
	if err != nil {
		return TypePolicy{}, refuse(CodePolicy, "", err.Error())
	}
	return typePolicyOf(object, crit)
}

func typePolicyOf(object map[string]any, crit []string) (TypePolicy, error) {
	if len(object) > maxParameters {
		return TypePolicy{}, refuse(CodePolicy, "", "too many parameters")
	}
	t := TypePolicy{parameters: make(map[string]parameterPolicy, len(object))}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		operators, ok := object[name].(map[string]any)
		if !ok {
			return TypePolicy{}, refuse(CodePolicy, name, "the policy of a parameter is not an object")
		}
		p, err := parameterPolicyOf(name, operators, crit)
		if err == nil {
			err = p.check(name)
		}
		if err != nil {
			return TypePolicy{}, err
		}
		t.parameters[name] = p
	}
	return t, nil
}

func parameterPolicyOf(name string, operators map[string]any, crit []string) (parameterPolicy, error) {
	var p parameterPolicy
	for _, op := range slices.Sorted(maps.Keys(operators)) {
		v := operators[op]
		// scope, a text of words, is processed as an array (F
		// standard_metadata_policy_operators_notes).
		if name == "scope" {
			if text, ok := v.(string); ok {
				v = words(text)
			}
		}
		switch op {
		case opValue:
			p.value = &v
		case opDefault:
			if v == nil {
				return p, refuse(CodePolicy, name, "default must not be null")
			}
			p.preset = &v
		case opAdd, opOneOf, opSubsetOf, opSupersetOf:
			list, ok := v.([]any)
			if !ok {
				return p, refuse(CodePolicy, name, op+" is not an array")
			}
			if len(list) > maxOperatorList {
				return p, refuse(CodePolicy, name, op+" has too many values")
			}
			for _, e := range list {
				if !listable(e) {
					return p, refuse(CodePolicy, name, op+" holds a value that is no text, number or object")
				}
			}
			switch op {
			case opAdd:
				p.add = &list
			case opOneOf:
				p.oneOf = &list
			case opSubsetOf:
				p.subsetOf = &list
			case opSupersetOf:
				p.supersetOf = &list
			}
		case opEssential:
			b, ok := v.(bool)
			if !ok {
				return p, refuse(CodePolicy, name, "essential is not true or false")
			}
			p.essential = &b
		default:
			if slices.Contains(crit, op) {
				return p, refuse(CodePolicy, name, "the critical operator "+op+" is not understood")
			}
		}
	}
	return p, nil
}

// listable lists the types of values an operator's array may hold.
func listable(v any) bool {
	switch v.(type) {
	case string, json.Number, map[string]any:
		return true
	}
	return false
}

// check holds a parameter's operators against the combinations that the
// specification allows; it runs on every single policy and on every merged one.
func (p parameterPolicy) check(name string) error {
	conflict := func(reason string) error { return refuse(CodePolicy, name, reason) }
	if p.value != nil {
		list, isList := (*p.value).([]any)
		if p.add != nil && (!isList || !subset(*p.add, list)) {
			return conflict("value / add: the values of add must be a subset of those of value")
		}
		if p.preset != nil && *p.value == nil {
			return conflict("value / default: value must not be null")
		}
		if p.oneOf != nil && !contains(*p.oneOf, *p.value) {
			return conflict("value / one_of: value must be among one_of")
		}
		if p.subsetOf != nil && (!isList || !subset(list, *p.subsetOf)) {
			return conflict("value / subset_of: the values of value must be a subset of subset_of")
		}
		if p.supersetOf != nil && (!isList || !subset(*p.supersetOf, list)) {
			return conflict("value / superset_of: the values of value must be a superset of superset_of")
		}
		if *p.value == nil && p.required() {
			return conflict("value / essential: value must not be null when essential is true")
		}
	}
	if p.oneOf != nil {
		switch {
		case p.add != nil:
			return conflict("add / one_of: may not be combined")
		case p.subsetOf != nil:
			return conflict("one_of / subset_of: may not be combined")
		case p.supersetOf != nil:
			return conflict("one_of / superset_of: may not be combined")
		}
	}
	if p.subsetOf != nil {
		if p.add != nil && !subset(*p.add, *p.subsetOf) {
			return conflict("add / subset_of: the values of add must be a subset of subset_of")
		}
		if p.supersetOf != nil && !subset(*p.supersetOf, *p.subsetOf) {
			return conflict("subset_of / superset_of: subset_of must be a superset of superset_of")
		}
	}
	return nil
}

func (p parameterPolicy) required() bool { return p.essential != nil && *p.essential }

// Merge adds the policy of the next statement down the chain to that of its
// superiors. Subordinates can only restrict; what cannot be merged is
// CodePolicy. Neither policy is changed.
func (p Policy) Merge(subordinate Policy) (Policy, error) {
	out := Policy{types: maps.Clone(p.types)}
	if out.types == nil {
		out.types = map[string]TypePolicy{}
	}
	for _, name := range slices.Sorted(maps.Keys(subordinate.types)) {
		merged, err := out.types[name].Merge(subordinate.types[name])
		if err != nil {
			return Policy{}, err
		}
		out.types[name] = merged
	}
	return out, nil
}

// Merge is Policy.Merge for one entity type.
func (t TypePolicy) Merge(subordinate TypePolicy) (TypePolicy, error) {
	out := TypePolicy{parameters: maps.Clone(t.parameters)}
	if out.parameters == nil {
		out.parameters = map[string]parameterPolicy{}
	}
	for _, name := range slices.Sorted(maps.Keys(subordinate.parameters)) {
		merged, err := out.parameters[name].merge(name, subordinate.parameters[name])
		if err == nil {
			err = merged.check(name)
		}
		if err != nil {
			return TypePolicy{}, err
		}
		out.parameters[name] = merged
	}
	return out, nil
}

func (p parameterPolicy) merge(name string, s parameterPolicy) (parameterPolicy, error) {
	var err error
	same := func(op string, a, b *any) *any {
		switch {
		case a == nil:
			return b
		case b != nil && !equal(*a, *b):
			err = refuse(CodePolicy, name, op+" of superior and subordinate differ")
		}
		return a
	}
	join := func(a, b *[]any, how func(a, b []any) []any) *[]any {
		switch {
		case a == nil:
			return b
		case b == nil:
			return a
		}
		list := how(*a, *b)
		return &list
	}
	out := parameterPolicy{
		value:      same(opValue, p.value, s.value),
		add:        join(p.add, s.add, union),
		preset:     same(opDefault, p.preset, s.preset),
		oneOf:      join(p.oneOf, s.oneOf, intersection),
		subsetOf:   join(p.subsetOf, s.subsetOf, intersection),
		supersetOf: join(p.supersetOf, s.supersetOf, union),
		essential:  p.essential,
	}
	if s.essential != nil {
		either := p.required() || *s.essential
		out.essential = &either
	}
	if err != nil {
		return out, err
	}
	if p.oneOf != nil && s.oneOf != nil && len(*out.oneOf) == 0 {
		return out, refuse(CodePolicy, name, "one_of of superior and subordinate have nothing in common")
	}
	return out, nil
}

// Apply gives the metadata of one entity type as the policy leaves it.
// Parameters without a policy pass; those that are null count as absent.
// Metadata that the policy does not admit, or of a type an operator cannot work
// on, is CodeMetadata. The metadata given is not changed.
func (t TypePolicy) Apply(metadata map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(metadata))
	for name, v := range metadata {
		if v != nil {
			out[name] = v
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.parameters)) {
		v, present := out[name]
		isScope := name == "scope"
		if text, ok := v.(string); ok && isScope {
			v = words(text)
		}
		v, present, err := t.parameters[name].apply(name, v, present)
		if err != nil {
			return nil, err
		}
		if !present {
			delete(out, name)
			continue
		}
		if list, ok := v.([]any); ok && isScope {
			v, err = sentence(list)
			if err != nil {
				return nil, err
			}
		}
		out[name] = v
	}
	return out, nil
}

func (p parameterPolicy) apply(name string, v any, present bool) (any, bool, error) {
	wrong := func(reason string) (any, bool, error) {
		return nil, false, refuse(CodeMetadata, name, reason)
	}
	if p.value != nil {
		v, present = *p.value, *p.value != nil
	}
	list, isList := v.([]any)
	if p.add != nil {
		switch {
		case !present:
			v, present, isList = union(nil, *p.add), true, true
			list, _ = v.([]any)
		case !isList:
			return wrong("add: the parameter is not an array")
		default:
			list = union(list, *p.add)
			v = list
		}
	}
	if p.preset != nil && !present {
		v, present = *p.preset, true
		list, isList = v.([]any)
	}
	if p.oneOf != nil && present && !contains(*p.oneOf, v) {
		return wrong("one_of: the value is not among those allowed")
	}
	if p.subsetOf != nil && present {
		if !isList {
			return wrong("subset_of: the parameter is not an array")
		}
		list = intersection(list, *p.subsetOf)
		v = list
	}
	if p.supersetOf != nil && present {
		if !isList {
			return wrong("superset_of: the parameter is not an array")
		}
		if !subset(*p.supersetOf, list) {
			return wrong("superset_of: a required value is missing")
		}
	}
	if p.required() && !present {
		return wrong("essential: the parameter is missing")
	}
	return v, present, nil
}

// governs tells whether the policy has operators on the parameter.
func (t TypePolicy) governs(parameter string) bool {
	_, ok := t.parameters[parameter]
	return ok
}

func words(text string) []any {
	out := []any{}
	for _, w := range strings.Fields(text) {
		out = append(out, w)
	}
	return out
}

func sentence(list []any) (string, error) {
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := v.(string)
		if !ok || len(strings.Fields(s)) != 1 {
			return "", refuse(CodeMetadata, "scope", "a scope value is not one word")
		}
		out = append(out, s)
	}
	return strings.Join(out, " "), nil
}

// maxPolicies is the number of statements that the longest chain we would ever
// judge has.
const maxPolicies = 16

// ResolveMetadata merges the policies of one entity type, the most superior
// first, and applies the result to its metadata. It answers the resolved
// metadata as JSON, or an *Error with CodePolicy or CodeMetadata.
func ResolveMetadata(metadata json.RawMessage, policies []json.RawMessage) (json.RawMessage, error) {
	if len(policies) > maxPolicies {
		return nil, refuse(CodePolicy, "", "too many policies")
	}
	var merged TypePolicy
	for i, raw := range policies {
		p, err := ParseTypePolicy(raw, nil)
		if err == nil {
			merged, err = merged.Merge(p)
		}
		if err != nil {
			return nil, at(err, fmt.Sprintf("policy %d", i+1), "")
		}
	}
	object, err := decodeObject(metadata)
	if err != nil {
		return nil, refuse(CodeMetadata, "", err.Error())
	}
	resolved, err := merged.Apply(object)
	if err != nil {
		return nil, err
	}
	out, err := encodeTree(resolved)
	if err != nil {
		return nil, refuse(CodeMetadata, "", err.Error())
	}
	return out, nil
}
