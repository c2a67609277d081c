package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"airegw/gateway/federation"
	"airegw/gateway/web"
)

// checkFederation answers what is wrong with the values of the section
// federation; an absent section is right: citizens then cannot log in.
func (c *Config) checkFederation(bad func(path, text string)) {
	f := c.Federation
	if f == nil {
		return
	}
	for _, m := range []struct{ path, value string }{
		{"organization", f.Organization},
		{"homepage_uri", f.HomepageURI},
		{"policy_uri", f.PolicyURI},
		{"keys", f.Keys},
		{"anchor_keys", f.AnchorKeys},
		{"contacts", strings.Join(f.Contacts, "")},
		{"redirect_uris", strings.Join(f.RedirectURIs, "")},
	} {
		if m.value == "" {
			bad("federation."+m.path, "is needed")
		}
	}
	entity := func(path, id string) {
		if id == "" {
			bad(path, "is needed")
		} else if err := federation.CheckEntityID(id); err != nil {
			bad(path, err.Error())
		} else if path != "federation.id" {
			c.checkURL(path, strings.TrimSuffix(id, "/"), bad)
		}
	}
	entity("federation.id", f.ID)
	entity("federation.anchor", f.Anchor)
	entity("federation.provider", f.Provider)
	for _, hint := range f.AuthorityHints {
		entity("federation.authority_hints", hint)
	}
	c.checkAggregated(bad)
	base := strings.TrimSuffix(c.BaseURL, "/")
	if f.ID != "" && f.ID != base && !strings.HasPrefix(f.ID, base+"/") {
		bad("federation.id", "does not lie at base_url: nobody would find our configuration there")
	}
	if callback := base + web.PathCitizenCallback; len(f.RedirectURIs) > 0 && !slices.Contains(f.RedirectURIs, callback) {
		bad("federation.redirect_uris", "lacks the address we serve: "+callback)
	}
	if f.Lifetime < 0 {
		bad("federation.lifetime", "is no length of time")
	}
	if f.Budget < 0 {
		bad("federation.budget", "is no length of time")
	}
}

// checkAggregated answers what is wrong with the bodies that we speak for.
func (c *Config) checkAggregated(bad func(path, text string)) {
	f := c.Federation
	for i, a := range f.Aggregated {
		at := fmt.Sprintf("federation.aggregated[%d].", i)
		if member, why := a.Fault(); member != "" {
			bad(at+member, why)
		} else if a.Kind == federation.AggregationFull && f.ID == strings.TrimSuffix(c.BaseURL, "/") && web.TakenPath(a.Code) {
			bad(at+"code", "begins as an address of ours: give federation.id a path")
		}
	}
	if f.LoginAs != "" && !slices.ContainsFunc(f.Aggregated, func(a federation.AggregatedSettings) bool {
		return a.Kind == federation.AggregationFull && a.Code == f.LoginAs
	}) {
		bad("federation.login_as", "no full body has this code")
	}
}

// openFederation makes our membership; nil without the section. Nothing is
// fetched yet.
func openFederation(c Config, o Options, parts *App) (*federation.Member, error) {
	if c.Federation == nil {
		return nil, nil //nolint:nilnil // no section, no membership
	}
	m, err := federation.Open(*c.FederationSettings(), federation.Options{Clock: o.Clock.Now, Rand: unit(o.Random), Logger: parts.log})
	if err != nil {
		var e *federation.Error
		if errors.As(err, &e) && e.Field != "" {
			return nil, &FieldError{"federation." + fieldOf(e), e.Error()}
		}
		return nil, &FieldError{"federation", err.Error()}
	}
	parts.closers = append(parts.closers, func() error { m.Close(); return nil })
	return m, nil
}

// FederationSettings answers the section federation with its files named from
// where we stand; nil without the section.
func (c *Config) FederationSettings() *federation.Settings {
	if c.Federation == nil {
		return nil
	}
	s := *c.Federation
	s.Keys, s.AnchorKeys, s.CAFile = c.file(s.Keys), c.file(s.AnchorKeys), c.file(s.CAFile)
	s.FormerKeys = slices.Clone(s.FormerKeys)
	for i, folder := range s.FormerKeys {
		s.FormerKeys[i] = c.file(folder)
	}
	s.Aggregated = slices.Clone(s.Aggregated)
	for i := range s.Aggregated {
		a := &s.Aggregated[i]
		a.Keys, a.FederationKeys, a.CoreKeys, a.Marks = c.file(a.Keys), c.file(a.FederationKeys), c.file(a.CoreKeys), c.file(a.Marks)
	}
	return &s
}

// fieldOf answers the member of the section that an error of the federation is
// about; the files are named by their folder's.
func fieldOf(e *federation.Error) string {
	switch {
	case e.Field == "former_keys", strings.HasPrefix(e.Field, "aggregated"):
		return e.Field
	case e.Code == federation.CodeKeyFile, e.Field == "federation", e.Field == "core_sign", e.Field == "core_encrypt":
		return "keys"
	case e.Code == federation.CodeKeys && e.Field == "anchor":
		return "anchor_keys"
	default:
		return e.Field
	}
}
