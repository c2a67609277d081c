package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"airegw/gateway/jose"
)

// AggregatedSettings is one body that we speak for as an aggregator: a section's
// entry. What is not marked is for both kinds.
type AggregatedSettings struct {
	Kind Aggregation `yaml:"kind"` // full or light; needed
	// Marks is a file with the trust marks that were given to the body, one compact
	// JWT a line: we hand them on, and a full body announces them.
	Marks string `yaml:"marks"`

	// Full: the body's id is ours, a slash and Code (ipa_code, or
	// ipa_code/aoo_code); its address for logins is that and /callback.
	Code         string   `yaml:"code"`
	Organization string   `yaml:"organization"` // needed
	ClientName   string   `yaml:"client_name"`
	HomepageURI  string   `yaml:"homepage_uri"` // empty: ours; the same of the next two
	PolicyURI    string   `yaml:"policy_uri"`
	Contacts     []string `yaml:"contacts"`
	Keys         string   `yaml:"keys"` // folder of the body's own three key files; needed

	// Light: the body as it registered itself with us.
	ID             string `yaml:"id"`
	FederationKeys string `yaml:"federation_keys"` // JWKS files; needed
	CoreKeys       string `yaml:"core_keys"`
}

var codeShape = regexp.MustCompile(`^[A-Za-z0-9_-]{2,64}(/[A-Za-z0-9_-]{2,64})?$`)

// id of a body: of a full one below the aggregator's.
func (a AggregatedSettings) id(aggregator string) string {
	if a.Kind == AggregationFull {
		return strings.TrimSuffix(aggregator, "/") + "/" + a.Code
	}
	return a.ID
}

// Fault answers the member that is wrong and why, "" when none is. It opens no
// file.
func (a AggregatedSettings) Fault() (member, why string) {
	needed := []struct{ name, value string }{{"id", a.ID}, {"federation_keys", a.FederationKeys}, {"core_keys", a.CoreKeys}}
	foreign := []struct{ name, value string }{{"code", a.Code}, {"keys", a.Keys}, {"organization", a.Organization}}
	switch a.Kind {
	case AggregationFull:
		needed, foreign = foreign, needed
	case AggregationLight:
	default:
		return "kind", "full or light"
	}
	for _, m := range needed {
		if m.value == "" {
			return m.name, "is needed"
		}
	}
	for _, m := range foreign {
		if m.value != "" {
			return m.name, "is of the other kind"
		}
	}
	if a.Kind == AggregationFull && !codeShape.MatchString(a.Code) {
		return "code", "ipa_code, or ipa_code/aoo_code"
	}
	if a.Kind == AggregationLight && CheckEntityID(a.ID) != nil {
		return "id", "is no entity identifier"
	}
	return "", ""
}

// openDirectory makes the bodies that the settings name, and the directory over
// them; nil when they name none. Field of an error is aggregated[n].member.
func openDirectory(s Settings, own *Entity) (*Directory, error) {
	if len(s.Aggregated) == 0 {
		return nil, nil //nolint:nilnil // we are the relying party of one body
	}
	var bodies []Aggregated
	for i, a := range s.Aggregated {
		b, member, err := openAggregated(s, a)
		if err != nil {
			return nil, &Error{Code: CodeConfig, Field: fmt.Sprintf("aggregated[%d].%s", i, member), Err: err}
		}
		bodies = append(bodies, b)
	}
	d, err := NewDirectory(own, bodies)
	if err != nil {
		return nil, &Error{Code: CodeConfig, Field: "aggregated", Err: err}
	}
	return d, nil
}

func openAggregated(s Settings, a AggregatedSettings) (b Aggregated, member string, err error) {
	if member, why := a.Fault(); member != "" {
		return b, member, fmt.Errorf("aggregated body: %s", why)
	}
	id := a.id(s.ID)
	b = Aggregated{Kind: a.Kind}
	if b.Marks, err = readMarks(a.Marks, id); err != nil {
		return b, "marks", err
	}
	if a.Kind == AggregationLight {
		b.ID = id
		if b.FederationKeys, err = readKeySet(a.FederationKeys); err != nil {
			return b, "federation_keys", err
		}
		b.CoreKeys, err = readKeySet(a.CoreKeys)
		return b, "core_keys", err
	}
	keys, err := LoadKeys(a.Keys)
	if err != nil {
		return b, "keys", err
	}
	or := func(own, ours string) string {
		if own == "" {
			return ours
		}
		return own
	}
	if len(a.Contacts) == 0 {
		a.Contacts = s.Contacts
	}
	b.Entity, err = NewEntity(EntityConfig{
		ID: id, AuthorityHints: []string{s.ID}, Organization: a.Organization, ClientName: a.ClientName,
		HomepageURI: or(a.HomepageURI, s.HomepageURI), PolicyURI: or(a.PolicyURI, s.PolicyURI), LogoURI: s.LogoURI, Contacts: a.Contacts,
		RedirectURIs: []string{id + "/callback"}, Keys: keys, Lifetime: s.Lifetime,
	})
	if e, ok := err.(*Error); ok { //nolint:errorlint // NewEntity's own
		return b, e.Field, err
	}
	return b, "", err
}

func readKeySet(file string) (jose.KeySet, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return jose.KeySet{}, err
	}
	return jose.ParseKeySet(raw)
}

// renewAggregated reads the bodies' marks again: what was put into a file since
// is handed on without a restart. Marks at hand stay when a file does not read.
func (m *Member) renewAggregated() error {
	var failed []error
	for i, a := range m.settings.Aggregated {
		id := a.id(m.settings.ID)
		marks, err := readMarks(a.Marks, id)
		if err != nil {
			failed = append(failed, &Error{Code: CodeConfig, Entity: id, Field: fmt.Sprintf("aggregated[%d].marks", i), Err: err})
			continue
		}
		m.Directory.announce(id, marks)
	}
	return errors.Join(failed...)
}

// readMarks reads a body's trust marks. Their signatures are for those who rely
// on them; that they are the body's own is for us. One that has ended is no longer
// shown. No file, no marks.
func readMarks(file, subject string) ([]Mark, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []Mark
	for line := range strings.Lines(string(raw)) {
		compact := strings.TrimSpace(line)
		if compact == "" {
			continue
		}
		var payload json.RawMessage
		var claims map[string]any
		if _, _, _, err = jose.Peek(compact, &payload); err == nil {
			claims, err = decodeObject(payload)
		}
		if err != nil {
			return nil, fmt.Errorf("trust mark %d: %w", len(out)+1, err)
		}
		m := Mark{ID: markName(claims), JWT: compact}
		m.Issuer, _ = claims["iss"].(string)
		m.Subject, _ = claims["sub"].(string)
		if end, there := claims["exp"].(json.Number); there {
			seconds, err := end.Int64()
			if err != nil {
				return nil, fmt.Errorf("trust mark %d: exp: %w", len(out)+1, err)
			}
			m.ExpiresAt = time.Unix(seconds, 0).UTC()
		}
		switch {
		case m.ID == "" || m.Issuer == "":
			return nil, fmt.Errorf("trust mark %d has no name or no issuer", len(out)+1)
		case m.Subject != subject:
			return nil, fmt.Errorf("trust mark %d was not given to %s", len(out)+1, subject)
		}
		out = append(out, m)
	}
	return out, nil
}
