package federation

import (
	"errors"

	"airegw/gateway/jose"
)

// Code is the closed list of reasons for which this package refuses something.
type Code string

// Of one statement.
const (
	CodeMalformed    Code = "federation_malformed"      // not a compact JWS of a JSON object, a member given twice, or too deep
	CodeTooLarge     Code = "federation_too_large"      // beyond MaxStatement, or a list beyond its bound
	CodeTyp          Code = "federation_typ"            // header typ is not entity-statement+jwt
	CodeAlg          Code = "federation_alg"            // header alg is not on the list (never none, never HS*)
	CodeKid          Code = "federation_kid"            // the header names no key
	CodeCritical     Code = "federation_crit"           // a critical header or claim we do not understand
	CodeUnknownKey   Code = "federation_unknown_key"    // no usable key of that kid among those that may sign
	CodeSignature    Code = "federation_signature"      // the signature does not verify
	CodeClaim        Code = "federation_claim"          // Field names a claim that is missing or of the wrong type
	CodeEntityID     Code = "federation_entity_id"      // iss or sub is no legal entity identifier
	CodeKeys         Code = "federation_jwks"           // the jwks is missing, empty, holds private members or keys without kid
	CodeExpired      Code = "federation_expired"        // exp has passed
	CodeFuture       Code = "federation_not_yet_issued" // iat (or nbf) lies in the future
	CodeSelfSigned   Code = "federation_self_signature" // an Entity Configuration not signed by a key it publishes
	CodeNotSelf      Code = "federation_not_self_issued"
	CodeStatementFor Code = "federation_wrong_statement" // a statement by or about somebody else than asked
)

// Of a chain.
const (
	CodeIncomplete    Code = "federation_chain_incomplete"  // fewer than three statements, or the anchor's configuration is not the last
	CodeTooLong       Code = "federation_chain_too_long"    // more statements than any allowed chain has
	CodeAnchorUnknown Code = "federation_anchor_unknown"    // the chain ends at somebody else
	CodeAnchorKey     Code = "federation_anchor_key"        // the anchor's configuration is not signed by a pinned key
	CodeNotLinked     Code = "federation_not_linked"        // a statement is not by the subject of the one above it
	CodeHint          Code = "federation_hint_missing"      // authority_hints does not name the superior
	CodeLoop          Code = "federation_loop"              // an entity appears twice
	CodePathLength    Code = "federation_path_length"       // more intermediates than max_path_length, or than the role allows
	CodeNaming        Code = "federation_naming"            // the identifier lies outside the naming constraints
	CodeConstraints   Code = "federation_constraints"       // constraints that cannot be understood
	CodeEntityType    Code = "federation_entity_type"       // the entity has no metadata of an allowed, wanted type
	CodePolicy        Code = "invalid_policy"               // policy malformed, in conflict or not mergeable
	CodeMetadata      Code = "invalid_metadata"             // metadata that the policy, or its use, does not admit
	CodeNotListed     Code = "federation_not_listed"        // the anchor's list does not name the entity
	CodeProvider      Code = "federation_provider_unusable" // final provider metadata we cannot work with; Field names the member
	CodeNoRoute       Code = "federation_no_route"          // no authority hint leads to the anchor
	CodeUnavailable   Code = "federation_no_valid_chain"    // no chain is valid now; RetryAt of *Unavailable says when to come back
	CodeOwnKeys       Code = "federation_own_keys_unknown"  // our superior vouches for other federation keys than ours
	CodeOwnCoreKeys   Code = "federation_own_core_keys"     // our superior pins other protocol keys than ours
	CodeConfig        Code = "federation_config"            // our own configuration is not usable; Field names the setting
	CodeKeyFile       Code = "federation_key_file"          // a key file is missing, open to others or not a key
	CodeAggregate     Code = "federation_aggregate_unknown" // no such aggregated relying party
	CodeFetch         Code = "federation_fetch"             // a peer did not answer as it must; Err says how
	CodeNotFound      Code = "federation_fetch_not_found"   // a peer does not know the entity
	CodeContentType   Code = "federation_content_type"      // the answer is not of the media type required
	CodeBudget        Code = "federation_budget"            // more fetches than one resolution may make, or its time ran out
	CodeAddress       Code = "federation_address"           // an address we do not call: plain http, private, with user or fragment
	CodeNoEndpoint    Code = "federation_endpoint_missing"  // a superior does not publish the endpoint needed
	CodeListMalformed Code = "federation_list_malformed"    // the list is no JSON array of texts
)

// Of trust marks.
const (
	CodeMarkMissing    Code = "federation_mark_missing"     // no valid mark of the role where one is required
	CodeMarkMalformed  Code = "federation_mark_malformed"   // not a signed mark
	CodeMarkTyp        Code = "federation_mark_typ"         // typ is not trust-mark+jwt
	CodeMarkAlg        Code = "federation_mark_alg"         // alg is not on the list
	CodeMarkID         Code = "federation_mark_id"          // the mark's id is not the one it is announced by
	CodeMarkIssuer     Code = "federation_mark_issuer"      // the anchor does not let this issuer give this mark
	CodeMarkKey        Code = "federation_mark_key"         // the issuer's key cannot be had through the federation
	CodeMarkSignature  Code = "federation_mark_signature"   // the signature does not verify
	CodeMarkSubject    Code = "federation_mark_subject"     // given to somebody else
	CodeMarkExpired    Code = "federation_mark_expired"     // exp has passed
	CodeMarkFuture     Code = "federation_mark_not_yet"     // iat lies in the future
	CodeMarkClaim      Code = "federation_mark_claim"       // Field names a claim missing or of the wrong type
	CodeMarkRevoked    Code = "federation_mark_revoked"     // the issuer says it is not active
	CodeMarkStatus     Code = "federation_mark_status"      // the issuer's word on it cannot be had
	CodeMarkOtherRole  Code = "federation_mark_other_role"  // valid for a role that was not asked about
	CodeMarkNotOffered Code = "federation_mark_not_offered" // our superior gives us no valid mark
)

// Error is what this package returns. Its text holds entity identifiers, member
// names and reasons, never tokens or keys.
type Error struct {
	Code   Code
	Step   string // the step of the chain concerned, for people; may be empty
	Entity string // whose statement or metadata; may be empty
	Field  string // claim, metadata member or setting; may be empty
	Reason string // for logs and engineers
	Err    error  // cause
}

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Step != "" {
		s = e.Step + ": " + s
	}
	if e.Entity != "" {
		s += " [" + e.Entity + "]"
	}
	if e.Field != "" {
		s += " (" + e.Field + ")"
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, &Error{Code: c}) match on the code alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf gives the code of an error of this package, else "".
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func refuse(c Code, field, reason string) *Error {
	return &Error{Code: c, Field: field, Reason: reason}
}

// at completes an error with the step and entity it happened at; what a deeper
// place already said stays.
func at(err error, step, entity string) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	told := *e
	if told.Step == "" {
		told.Step = step
	}
	if told.Entity == "" {
		told.Entity = entity
	}
	return &told
}

// fromJose turns a refusal of the JOSE package about a statement into ours.
func fromJose(err error) error {
	var j *jose.Error
	if !errors.As(err, &j) {
		return &Error{Code: CodeMalformed, Err: err}
	}
	code := CodeMalformed
	switch j.Code {
	case jose.CodeTooLarge:
		code = CodeTooLarge
	case jose.CodeAlgRefused:
		code = CodeAlg
	case jose.CodeTypRefused:
		code = CodeTyp
	case jose.CodeCriticalHeader:
		code = CodeCritical
	case jose.CodeKidMissing:
		code = CodeKid
	case jose.CodeUnknownKey:
		code = CodeUnknownKey
	case jose.CodeSignature:
		code = CodeSignature
	case jose.CodeClaimMissing, jose.CodeClaimInvalid:
		code = CodeClaim
	case jose.CodeExpired:
		code = CodeExpired
	case jose.CodeFutureIat, jose.CodeNotYetValid:
		code = CodeFuture
	case jose.CodeIssuer, jose.CodeSubject:
		code = CodeStatementFor
	case jose.CodePrivateMember, jose.CodeWeakKey:
		code = CodeKeys
	}
	return &Error{Code: code, Field: j.Field, Err: err}
}
