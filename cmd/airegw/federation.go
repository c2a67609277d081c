package main

import (
	"encoding/json"
	"errors"

	"airegw/gateway/federation"
)

// federationCmd groups what has to do with the CIE OpenID Connect Federation.
type federationCmd struct {
	ResolveMetadata resolveMetadataCmd `cmd:"" help:"Merge metadata policies and apply them, JSON Lines in and out."`
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
