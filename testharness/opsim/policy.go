package opsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Metadata policy of OpenID Federation 1.0 (entra-con-cie §2.5), as the
// provider applies it to a relying party.

var (
	errPolicy   = errors.New("invalid_policy")
	errMetadata = errors.New("invalid_metadata")
)

// typePolicy is the policy of one entity type: operators by parameter.
type typePolicy map[string]map[string]any

// canon is a JSON value in one form, so that equal values are equal texts.
func canon(v any) string {
	text, err := json.Marshal(v) // sorts the members of objects
	if err != nil {
		return fmt.Sprintf("%#v", v)
	}
	return string(text)
}

// bag is a list as a set that remembers its order.
type bag struct {
	order []any
	has   map[string]bool
}

func bagOf(list []any) bag {
	b := bag{has: map[string]bool{}}
	for _, v := range list {
		b.add(v)
	}
	return b
}

func (b *bag) add(v any) {
	if key := canon(v); !b.has[key] {
		b.has[key] = true
		b.order = append(b.order, v)
	}
}

func (b bag) holds(list []any) bool {
	return !slices.ContainsFunc(list, func(v any) bool { return !b.has[canon(v)] })
}

func (b bag) meet(other bag) []any {
	out := []any{}
	for _, v := range b.order {
		if other.has[canon(v)] {
			out = append(out, v)
		}
	}
	return out
}

func join(a, b []any) []any {
	all := bagOf(a)
	for _, v := range b {
		all.add(v)
	}
	if all.order == nil {
		return []any{}
	}
	return all.order
}

// readPolicy checks one type's policy by itself: known operators with values of
// the right kind that can stand together.
func readPolicy(v any) (typePolicy, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: not an object", errPolicy)
	}
	out := typePolicy{}
	for parameter, operators := range object {
		ops, ok := operators.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%w: %s: not an object", errPolicy, parameter)
		}
		ops = maps.Clone(ops)
		for name, value := range ops {
			switch name {
			case "value":
			case "default":
				if value == nil {
					return nil, fmt.Errorf("%w: %s: default is null", errPolicy, parameter)
				}
			case "add", "one_of", "subset_of", "superset_of":
				members, list := value.([]any)
				if !list {
					return nil, fmt.Errorf("%w: %s: %s is not a list", errPolicy, parameter, name)
				}
				// scope is words joined by spaces: a member must be one of them, or what
				// was put in would not be found again.
				if parameter == "scope" && slices.ContainsFunc(members, func(m any) bool {
					word, is := m.(string)
					return !is || len(strings.Fields(word)) != 1 || strings.TrimSpace(word) != word
				}) {
					return nil, fmt.Errorf("%w: scope: a member of %s is not one word", errPolicy, name)
				}
			case "essential":
				if _, truth := value.(bool); !truth {
					return nil, fmt.Errorf("%w: %s: essential is neither true nor false", errPolicy, parameter)
				}
			default:
				// An operator that is not critical and not known is ignored.
				delete(ops, name)
			}
		}
		if err := standTogether(parameter, ops); err != nil {
			return nil, err
		}
		out[parameter] = ops
	}
	return out, nil
}

// asList is a parameter's value as list operators see it.
func asList(parameter string, v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case string:
		if parameter == "scope" {
			list := []any{}
			for _, word := range strings.Fields(v) {
				list = append(list, word)
			}
			return list, true
		}
	}
	return nil, false
}

// standTogether holds the operators of a parameter against the table of
// allowed combinations.
func standTogether(parameter string, ops map[string]any) error {
	clash := func(a, b string) error {
		return fmt.Errorf("%w: %s: %s and %s contradict each other", errPolicy, parameter, a, b)
	}
	list := func(name string) ([]any, bool) { l, ok := ops[name].([]any); return l, ok }
	add, hasAdd := list("add")
	oneOf, hasOne := list("one_of")
	subset, hasSub := list("subset_of")
	superset, hasSuper := list("superset_of")
	essential, _ := ops["essential"].(bool)
	if value, has := ops["value"]; has {
		values, isList := asList(parameter, value)
		all := bagOf(values)
		_, hasDefault := ops["default"]
		switch {
		case hasAdd && (!isList || !all.holds(add)):
			return clash("value", "add")
		case hasOne && !bagOf(oneOf).has[canon(value)]:
			return clash("value", "one_of")
		case hasSub && (!isList || !bagOf(subset).holds(values)):
			return clash("value", "subset_of")
		case hasSuper && (!isList || !all.holds(superset)):
			return clash("value", "superset_of")
		case value == nil && (essential || hasDefault):
			return clash("value", "essential or default")
		}
	}
	switch {
	case hasOne && hasAdd:
		return clash("one_of", "add")
	case hasOne && hasSub:
		return clash("one_of", "subset_of")
	case hasOne && hasSuper:
		return clash("one_of", "superset_of")
	case hasAdd && hasSub && !bagOf(subset).holds(add):
		return clash("add", "subset_of")
	case hasSub && hasSuper && !bagOf(subset).holds(superset):
		return clash("subset_of", "superset_of")
	}
	return nil
}

// merge combines a superior's policy with that of its subordinate.
func (p typePolicy) merge(sub typePolicy) (typePolicy, error) {
	out := typePolicy{}
	for parameter, ops := range p {
		out[parameter] = maps.Clone(ops)
	}
	for parameter, ops := range sub {
		own, both := out[parameter]
		if !both {
			out[parameter] = maps.Clone(ops)
			continue
		}
		for name, theirs := range ops {
			ours, has := own[name]
			if !has {
				own[name] = theirs
				continue
			}
			switch name { // readPolicy made sure of the kinds
			case "value", "default":
				if canon(ours) != canon(theirs) {
					return nil, fmt.Errorf("%w: %s: two different %s", errPolicy, parameter, name)
				}
			case "essential":
				own[name] = ours == true || theirs == true
			case "add", "superset_of":
				own[name] = join(ours.([]any), theirs.([]any))
			case "one_of", "subset_of":
				met := bagOf(ours.([]any)).meet(bagOf(theirs.([]any)))
				if name == "one_of" && len(met) == 0 {
					return nil, fmt.Errorf("%w: %s: one_of without a common value", errPolicy, parameter)
				}
				own[name] = met
			}
		}
		if err := standTogether(parameter, own); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// apply gives the metadata with the policy applied; the argument is not
// changed.
func (p typePolicy) apply(metadata map[string]any) (map[string]any, error) {
	out := maps.Clone(metadata)
	for parameter, ops := range p {
		v, present := out[parameter]
		if v == nil {
			present = false
		}
		if forced, has := ops["value"]; has {
			v, present = forced, forced != nil
		}
		broken := func(name string) error {
			return fmt.Errorf("%w: %s violates %s", errMetadata, parameter, name)
		}
		var list []any
		isList := false
		if present {
			list, isList = asList(parameter, v)
		}
		_, text := v.(string)
		text = text && present
		if add, has := ops["add"].([]any); has {
			switch {
			case !present:
				list, isList, present = join(nil, add), true, true
				text = parameter == "scope"
			case isList:
				list = join(list, add)
			default:
				return nil, broken("add")
			}
		}
		if fallback, has := ops["default"]; has && !present {
			v, present = fallback, true
			list, isList = asList(parameter, v)
			_, text = v.(string)
		}
		if oneOf, has := ops["one_of"].([]any); has && present && !bagOf(oneOf).has[canon(v)] {
			return nil, broken("one_of")
		}
		if subset, has := ops["subset_of"].([]any); has && present {
			if !isList {
				return nil, broken("subset_of")
			}
			list = bagOf(list).meet(bagOf(subset))
		}
		if superset, has := ops["superset_of"].([]any); has && present {
			if !isList || !bagOf(list).holds(superset) {
				return nil, broken("superset_of")
			}
		}
		if ops["essential"] == true && !present {
			return nil, broken("essential")
		}
		switch {
		case !present:
			delete(out, parameter)
		case isList && text:
			words := make([]string, 0, len(list))
			for _, w := range list {
				words = append(words, fmt.Sprint(w))
			}
			out[parameter] = strings.Join(words, " ")
		case isList:
			out[parameter] = list
		default:
			out[parameter] = v
		}
	}
	return out, nil
}
