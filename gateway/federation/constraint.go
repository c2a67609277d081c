package federation

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Constraints are what a superior (or, in the Italian profile, the anchor in
// its own configuration) demands of what stands below it. The zero value
// demands nothing.
type Constraints struct {
	// MaxPathLength is how many intermediates may stand between who demands it
	// and the leaf; nil = any.
	MaxPathLength *int
	// Permitted and Excluded are host names as in RFC 5280 §4.2.1.10: a leading
	// dot means every host below, otherwise exactly that host. An empty, not nil,
	// Permitted permits nothing.
	Permitted, Excluded []string
	// AllowedTypes of metadata beside federation_entity; nil = any, empty = none.
	AllowedTypes []string
}

// constraintsOf reads the claim in every form seen: an object, a text holding
// one (production sends "{}"), absent or null. What restricts but cannot be
// understood is refused, what is not known is ignored (F chain_constraints).
func constraintsOf(v any) (Constraints, error) {
	var c Constraints
	if text, ok := v.(string); ok {
		if strings.TrimSpace(text) == "" {
			return c, nil
		}
		inner, err := decodeTree([]byte(text))
		if err != nil {
			return c, refuse(CodeConstraints, "constraints", "a text that holds no JSON object")
		}
		v = inner
	}
	if v == nil {
		return c, nil
	}
	object, ok := v.(map[string]any)
	if !ok {
		return c, refuse(CodeConstraints, "constraints", "not an object")
	}
	if v := object["max_path_length"]; v != nil {
		n, err := wholeNumber(v)
		if err != nil || n < 0 {
			return c, refuse(CodeConstraints, "max_path_length", "not a whole number from 0")
		}
		c.MaxPathLength = &n
	}
	if v := object["naming_constraints"]; v != nil {
		names, ok := v.(map[string]any)
		if !ok {
			return c, refuse(CodeConstraints, "naming_constraints", "not an object")
		}
		for member, dst := range map[string]*[]string{"permitted": &c.Permitted, "excluded": &c.Excluded} {
			if names[member] == nil {
				continue
			}
			if *dst, ok = texts(names[member], maxParameters); !ok {
				return c, refuse(CodeConstraints, member, "not a list of names")
			}
		}
	}
	// Both spellings; where both are given, what both allow (entra-con-cie §2.7).
	for _, member := range []string{"allowed_entity_types", "allowed_leaf_entity_types"} {
		if object[member] == nil {
			continue
		}
		allowed, ok := texts(object[member], maxParameters)
		if !ok {
			return c, refuse(CodeConstraints, member, "not a list of entity types")
		}
		if c.AllowedTypes != nil {
			allowed = slices.DeleteFunc(allowed, func(t string) bool { return !slices.Contains(c.AllowedTypes, t) })
		}
		c.AllowedTypes = allowed
	}
	return c, nil
}

func wholeNumber(v any) (int, error) {
	text, ok := v.(string)
	if n, isNumber := v.(json.Number); isNumber {
		text, ok = n.String(), true
	}
	if !ok {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(text)
}

// admitsPath tells whether so many intermediates may stand below.
func (c Constraints) admitsPath(intermediates int) bool {
	return c.MaxPathLength == nil || intermediates <= *c.MaxPathLength
}

// admitsName tells whether an entity's identifier lies within the naming
// constraints; exclusion wins.
func (c Constraints) admitsName(entity string) bool {
	u, err := url.Parse(entity)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	within := func(rule string) bool {
		rule = strings.ToLower(rule)
		if strings.HasPrefix(rule, ".") {
			return strings.HasSuffix(host, rule) && len(host) > len(rule)
		}
		return host == rule
	}
	if slices.ContainsFunc(c.Excluded, within) {
		return false
	}
	return c.Permitted == nil || slices.ContainsFunc(c.Permitted, within)
}

// admitsType tells whether metadata of the type may stay.
func (c Constraints) admitsType(name string) bool {
	return name == TypeFederationEntity || c.AllowedTypes == nil || slices.Contains(c.AllowedTypes, name)
}
