package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"airegw/gateway/app"
	"airegw/gateway/federation"
	"airegw/gateway/jose"
)

// federationCmd groups what has to do with the CIE OpenID Connect Federation.
type federationCmd struct {
	Keygen          federationKeygenCmd  `cmd:"" help:"Make our three key pairs: federation, protocol signature, protocol encryption."`
	EC              federationECCmd      `cmd:"" name:"ec" help:"Print our Entity Configuration, signed and decoded."`
	Resolve         federationResolveCmd `cmd:"" help:"Build and judge the trust chain of an entity now, over the network."`
	Status          federationStatusCmd  `cmd:"" help:"How we stand in the federation: anchor, provider, our own registration and marks."`
	VerifyChain     verifyChainCmd       `cmd:"" help:"Judge the statements of a trust chain, from files, at an instant."`
	ResolveMetadata resolveMetadataCmd   `cmd:"" help:"Merge metadata policies and apply them, JSON Lines in and out."`
}

// resolveMetadataCmd runs the policy engine over JSON Lines.
type resolveMetadataCmd struct{}

// Help is printed by --help.
func (resolveMetadataCmd) Help() string {
	return `Each input line {"metadata":{...},"policies":[{superior},{subordinate},...]} is answered by
one line {"resolved":{...}} or {"error":"invalid_policy"|"invalid_metadata","reason":"..."}.
A policy is the operators by claim name, the Trust Anchor's first. The rules are those of
OpenID Federation 1.0, section 6.1.3.`
}

type resolveQuestion struct {
	Metadata json.RawMessage   `json:"metadata"`
	Policies []json.RawMessage `json:"policies"`
}

type resolveAnswer struct {
	Resolved json.RawMessage `json:"resolved,omitempty"`
	Error    string          `json:"error,omitempty"`
	Reason   string          `json:"reason,omitempty"`
}

// Run is called by kong.
func (resolveMetadataCmd) Run(std streams) error {
	return jsonLines(std, func(question resolveQuestion) (resolveAnswer, error) {
		if question.Metadata == nil {
			return resolveAnswer{}, errMissing("metadata")
		}
		resolved, err := federation.ResolveMetadata(question.Metadata, question.Policies)
		var refused *federation.Error
		switch {
		case errors.As(err, &refused):
			reason := refused.Reason
			if refused.Field != "" {
				reason = refused.Field + ": " + reason
			}
			return resolveAnswer{Error: string(refused.Code), Reason: reason}, nil
		case err != nil:
			return resolveAnswer{}, err
		}
		return resolveAnswer{Resolved: resolved}, nil
	})
}

// federationSettings reads the federation section, from the gateway's
// configuration or from a file of its own.
type federationSettings struct {
	Config string `help:"The gateway's configuration, or the members of its section federation alone (YAML)." required:"" type:"existingfile" placeholder:"FILE"`
}

const federationSettingsHelp = `
The gateway's own configuration is read for its section federation; a file (YAML) may also hold
the section's members alone, to try an onboarding before there is a gateway: id, organization, client_name, homepage_uri, policy_uri, logo_uri,
contacts, redirect_uris, keys (folder made by keygen), anchor, anchor_keys (JWKS file of the
pinned keys), provider, and where needed authority_hints, refresh, lifetime, require_mark,
budget, proxy, ca_file; of an aggregator aggregated and login_as.`

func (f federationSettings) open() (*federation.Member, error) {
	data, err := os.ReadFile(f.Config)
	if err != nil {
		return nil, usage("%w", err)
	}
	settings, err := readFederation(f.Config, data)
	if err != nil {
		return nil, err
	}
	member, err := federation.Open(settings, federation.Options{
		Clock: func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }, Rand: rand.Float64,
	})
	if err != nil {
		return nil, usage("%s: %w", f.Config, err)
	}
	return member, nil
}

// readFederation reads either form of the file. Only in the gateway's
// configuration are names of files relative to it.
func readFederation(name string, data []byte) (federation.Settings, error) {
	var whole struct {
		Federation any `yaml:"federation"`
	}
	if err := yaml.Unmarshal(data, &whole); err == nil && whole.Federation != nil {
		c, err := app.ReadConfig(name)
		if err != nil {
			return federation.Settings{}, bad("%s: %w", name, err)
		}
		return *c.FederationSettings(), nil
	}
	var settings federation.Settings
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&settings); err != nil && !errors.Is(err, io.EOF) {
		return settings, usage("%s: %w", name, err)
	}
	return settings, nil
}

// federationKeygenCmd makes the key files.
type federationKeygenCmd struct {
	Dir string `help:"Folder for the key files; made when missing." required:"" placeholder:"DIR"`
}

// Help is printed by --help.
func (federationKeygenCmd) Help() string {
	return `Writes federation.jwk, core-sig.jwk and core-enc.jwk, mode 0600, and never overwrites one.
Prints the public halves in the form the onboarding portal takes: {"federation":{"keys":[...]},
"core":{"keys":[...]}}.`
}

// Run is called by kong.
func (c federationKeygenCmd) Run(std streams) error {
	keys, err := federation.GenerateKeys(c.Dir)
	if err != nil {
		return bad("%w", err)
	}
	return writePretty(std.out, struct {
		Federation jose.KeySet `json:"federation"`
		Core       jose.KeySet `json:"core"`
	}{jose.NewKeySet(keys.Federation.Public()), jose.NewKeySet(keys.CoreSign.Public(), keys.CoreEncrypt.Public())})
}

// federationECCmd prints our Entity Configuration.
type federationECCmd struct {
	federationSettings
	Marks bool `help:"Ask the superior for our trust marks first, as serve does."`
	JWS   bool `name:"jws" help:"Print the signed form alone."`
}

// Help is printed by --help.
func (federationECCmd) Help() string { return strings.TrimPrefix(federationSettingsHelp, "\n") }

// Run is called by kong.
func (c federationECCmd) Run(ctx context.Context, std streams) error {
	member, err := c.open()
	if err != nil {
		return err
	}
	defer member.Close()
	if c.Marks {
		if _, err := member.Entity.RenewMarks(ctx, member.Resolver); err != nil {
			return bad("our marks: %w", err)
		}
	}
	answer, err := member.Configuration(member.Entity)
	if err != nil {
		return err
	}
	if c.JWS {
		_, err = fmt.Fprintln(std.out, string(answer.Body))
		return err
	}
	decoded, err := decodeJWS(string(answer.Body))
	if err != nil {
		return err
	}
	return writePretty(std.out, decoded)
}

type decodedJWS struct {
	JWS    string          `json:"jws"`
	Header json.RawMessage `json:"header"`
	Claims json.RawMessage `json:"claims"`
}

func decodeJWS(compact string) (decodedJWS, error) {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return decodedJWS{}, errors.New("not a compact JWS")
	}
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return decodedJWS{}, err
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	return decodedJWS{compact, header, claims}, err
}

// chainAnswer is how a judged chain is printed.
type chainAnswer struct {
	Valid         bool                      `json:"valid"`
	Subject       string                    `json:"subject,omitempty"`
	Anchor        string                    `json:"anchor,omitempty"`
	Intermediates []string                  `json:"intermediates,omitempty"`
	Expires       string                    `json:"expires,omitempty"`
	Exp           int64                     `json:"exp,omitempty"`
	Marks         []string                  `json:"trust_marks,omitempty"`
	RefusedMarks  []string                  `json:"refused_trust_marks,omitempty"`
	Metadata      map[string]map[string]any `json:"metadata,omitempty"`

	Step   string `json:"step,omitempty"`
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// printChain prints a judgement; a refusal is exit code 1 too.
func printChain(std streams, c *federation.Chain, err error) error {
	if err != nil {
		answer := chainAnswer{Code: string(federation.CodeOf(err)), Reason: err.Error()}
		var refused *federation.Error
		if errors.As(err, &refused) {
			answer.Step = refused.Step
		}
		if written := writePretty(std.out, answer); written != nil {
			return written
		}
		return bad("%w", err)
	}
	answer := chainAnswer{
		Valid: true, Subject: c.Subject, Anchor: c.Anchor, Intermediates: c.Intermediates,
		Expires: c.ExpiresAt.Format(time.RFC3339), Exp: c.ExpiresAt.Unix(), Metadata: c.Metadata,
	}
	for _, m := range c.Marks {
		answer.Marks = append(answer.Marks, m.ID)
	}
	for _, m := range c.RefusedMarks {
		answer.RefusedMarks = append(answer.RefusedMarks, m.Error())
	}
	return writePretty(std.out, answer)
}

// verifyChainCmd judges files.
type verifyChainCmd struct {
	Anchor      string   `help:"JWKS file of the Trust Anchor's pinned federation keys." required:"" type:"existingfile" placeholder:"JWKS.json"`
	AnchorID    string   `name:"anchor-id" help:"The Trust Anchor's entity identifier (default: that of the last file)." placeholder:"URL"`
	At          int64    `help:"The instant to judge at, seconds since 1970." required:"" placeholder:"UNIX"`
	Type        string   `help:"Entity type that the leaf must have; for openid_provider no intermediate is admitted." placeholder:"TYPE"`
	RequireMark bool     `help:"Demand a valid trust mark of the type."`
	MaxPath     *int     `name:"max-path-length" help:"Admit at most so many intermediates, beside what the statements allow." placeholder:"N"`
	Files       []string `arg:"" name:"file" help:"Signed statements from leaf to anchor." type:"existingfile"`
}

// Help is printed by --help.
func (verifyChainCmd) Help() string {
	return `Files, each one compact JWS: the leaf's configuration, each superior's statement about the
entity below, the anchor's configuration; configurations of intermediates may stand between.
Prints the final metadata and the expiry as JSON, or the first failing step with its code and
reason, with exit code 1.`
}

// Run is called by kong.
func (c verifyChainCmd) Run(std streams) error {
	data, err := os.ReadFile(c.Anchor)
	if err != nil {
		return usage("%w", err)
	}
	pinned, err := federation.ReadAnchorKeys(data)
	if err != nil {
		return usage("%s: %w", c.Anchor, err)
	}
	var statements []string
	for _, name := range c.Files {
		text, err := os.ReadFile(name)
		if err != nil {
			return usage("%w", err)
		}
		statements = append(statements, strings.TrimSpace(string(text)))
	}
	chain, err := federation.VerifyChain(statements, federation.Anchor{ID: c.AnchorID, Keys: pinned}, federation.Rules{
		Now: time.Unix(c.At, 0).UTC(), Type: c.Type, RequireMark: c.RequireMark, MaxPathLength: c.MaxPath,
	})
	return printChain(std, chain, err)
}

// federationResolveCmd builds a chain over the network.
type federationResolveCmd struct {
	federationSettings
	Entity      string `arg:"" help:"Entity identifier."`
	Type        string `help:"Entity type that it must have." placeholder:"TYPE"`
	Listed      bool   `help:"Demand that the anchor lists it."`
	RequireMark bool   `help:"Demand a valid trust mark of the type, asked of its issuer."`
}

// Help is printed by --help.
func (federationResolveCmd) Help() string { return strings.TrimPrefix(federationSettingsHelp, "\n") }

// Run is called by kong.
func (c federationResolveCmd) Run(ctx context.Context, std streams) error {
	member, err := c.open()
	if err != nil {
		return err
	}
	defer member.Close()
	chain, err := member.Resolver.Resolve(ctx, c.Entity, federation.Want{Type: c.Type, Listed: c.Listed, Mark: c.RequireMark, MarkStatus: c.RequireMark})
	return printChain(std, chain, err)
}

// federationStatusCmd asks anchor, provider and superior.
type federationStatusCmd struct {
	federationSettings
	JSON bool `name:"json" help:"One JSON object."`
}

// Help is printed by --help.
func (federationStatusCmd) Help() string {
	return `Resolves the provider as serve does and asks our superior about us. Exit code 1 when citizens
could not log in, or would soon not be able to.
` + federationSettingsHelp
}

type statusLine struct {
	What  string `json:"what"`
	OK    bool   `json:"ok"`
	Until string `json:"until,omitempty"`
	Code  string `json:"code,omitempty"`
	Text  string `json:"text,omitempty"`
}

// Run is called by kong.
func (c federationStatusCmd) Run(ctx context.Context, std streams) error {
	member, err := c.open()
	if err != nil {
		return err
	}
	defer member.Close()
	line := func(what string, until time.Time, err error) statusLine {
		s := statusLine{What: what, OK: err == nil}
		if err != nil {
			s.Code, s.Text = string(federation.CodeOf(err)), err.Error()
		} else if !until.IsZero() {
			s.Until = until.Format(time.RFC3339)
		}
		return s
	}
	var lines []statusLine
	member.Chain.Step(ctx)
	provider, chain, err := member.Provider()
	if err != nil {
		lines = append(lines, line("provider", time.Time{}, err))
	} else {
		lines = append(lines, line("provider "+provider.Issuer, chain.ExpiresAt, nil))
	}
	standing, err := member.Entity.RenewMarks(ctx, member.Resolver)
	if standing.Chain == nil {
		lines = append(lines, line("our registration", time.Time{}, err))
	} else {
		lines = append(lines, line("our registration", standing.Chain.ExpiresAt, nil), line("our protocol keys", time.Time{}, standing.KeysDiffer))
		if err != nil {
			lines = append(lines, line("our trust mark", time.Time{}, err))
		}
		for _, m := range standing.Marks {
			lines = append(lines, line("our trust mark "+m.ID, m.ExpiresAt, nil))
		}
	}
	wrong := 0
	for _, l := range lines {
		if !l.OK {
			wrong++
		}
	}
	if c.JSON {
		err = writeJSON(std.out, struct {
			OK    bool         `json:"ok"`
			Parts []statusLine `json:"parts"`
		}{wrong == 0, lines})
	} else {
		for _, l := range lines {
			text := "ok"
			if l.Until != "" {
				text += " until " + l.Until
			}
			if !l.OK {
				text = l.Text
			}
			if _, err = fmt.Fprintf(std.out, "%s: %s\n", l.What, text); err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	if wrong > 0 {
		return bad("%d of %d parts are not as they should be", wrong, len(lines))
	}
	return nil
}

// writePretty prints one JSON value over several lines, for people and machines.
func writePretty(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
