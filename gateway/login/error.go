package login

import (
	"errors"
	"time"
)

// Class is what a failed login means to the person before the screen; there are
// five, each with a text of its own (messages login_class_…).
type Class string

// The classes.
const (
	ClassCancelled     Class = "cancelled"         // the person gave up or refused
	ClassLevel         Class = "level_not_reached" // the provider did not reach the level asked
	ClassUnavailable   Class = "unavailable"       // provider or federation out of order: RetryAt
	ClassExpired       Class = "expired"           // the attempt is over: start again
	ClassConfiguration Class = "configuration"     // somebody must repair something: contact us
)

// Code is the closed list of reasons why a login fails, one for each check.
type Code string

// Of the attempt and the answer at our redirect address.
const (
	CodeNoChain         Code = "login_no_chain"          // no valid trust chain: RetryAt
	CodeStart           Code = "login_start"             // Begin was asked for something that cannot be; Field
	CodeAttemptUnknown  Code = "login_attempt_unknown"   // no attempt of this state, or long gone
	CodeAttemptUsed     Code = "login_attempt_used"      // finished before: back button, reload, replay
	CodeAttemptExpired  Code = "login_attempt_expired"   // took too long
	CodeBinding         Code = "login_other_browser"     // began in another browser, or its cookie is gone
	CodeResponse        Code = "login_response"          // repeated, missing or contradicting parameters; Field
	CodeResponseState   Code = "login_response_state"    // an answer without state: whose it is cannot be told
	CodeResponseIssuer  Code = "login_response_issuer"   // iss missing or not the provider asked (mix-up)
	CodeCancelled       Code = "login_cancelled"         // the provider says access_denied and its kin
	CodeInteraction     Code = "login_interaction"       // login_required: the provider lost the thread
	CodeProviderBusy    Code = "login_provider_busy"     // server_error, temporarily_unavailable
	CodeProviderRefused Code = "login_provider_refused"  // the provider refuses our request; Field is its error
	CodeProviderUnknown Code = "login_provider_error"    // an error code no text knows
	CodeLevelNotOffered Code = "login_level_not_offered" // the provider does not offer the level asked; Field
)

// Of the token endpoint and the ID Token.
const (
	CodeTokenUnreachable   Code = "login_token_unreachable"
	CodeTokenGrant         Code = "login_token_grant"    // invalid_grant: code used, expired or not ours
	CodeTokenRefused       Code = "login_token_refused"  // any other error of the endpoint; Field is its error
	CodeTokenResponse      Code = "login_token_response" // not the answer the profile promises; Field
	CodeTokenGarbled       Code = "login_token_garbled"  // not an answer of the endpoint at all: a page, nothing, half
	CodeIDToken            Code = "login_id_token"       // malformed, or a claim of the wrong type; Field
	CodeIDTokenAlg         Code = "login_id_token_alg"   // not the algorithm registered
	CodeIDTokenKey         Code = "login_id_token_key"   // kid missing or not the provider's
	CodeIDTokenSignature   Code = "login_id_token_signature"
	CodeIDTokenIssuer      Code = "login_id_token_issuer"
	CodeIDTokenSubject     Code = "login_id_token_subject" // sub missing or too long
	CodeIDTokenAudience    Code = "login_id_token_audience"
	CodeIDTokenExpired     Code = "login_id_token_expired"
	CodeIDTokenTime        Code = "login_id_token_time"  // iat or nbf in the future
	CodeIDTokenStale       Code = "login_id_token_stale" // issued too long ago
	CodeIDTokenReplay      Code = "login_id_token_replay"
	CodeNonce              Code = "login_nonce"
	CodeLevel              Code = "login_level" // acr below what was asked, or unknown
	CodeAtHash             Code = "login_at_hash"
	CodeCHash              Code = "login_c_hash"
	CodeAccessToken        Code = "login_access_token" // malformed, or a claim that is not ours; Field
	CodeAccessTokenKey     Code = "login_access_token_signature"
	CodeAccessTokenExpired Code = "login_access_token_expired"
)

// Of UserInfo and the person.
const (
	CodeUserInfoUnreachable Code = "login_userinfo_unreachable"
	CodeUserInfoRefused     Code = "login_userinfo_refused"    // an error status
	CodeUserInfoType        Code = "login_userinfo_type"       // not application/jwt or application/jose
	CodeUserInfoGarbled     Code = "login_userinfo_garbled"    // not an answer of the endpoint at all
	CodeUserInfoEncryption  Code = "login_userinfo_encryption" // not a JWE of the registered algorithms
	CodeUserInfoKey         Code = "login_userinfo_key"        // encrypted to no key of ours
	CodeUserInfoDecrypt     Code = "login_userinfo_decrypt"
	CodeUserInfoSignature   Code = "login_userinfo_signature"
	CodeUserInfoExpired     Code = "login_userinfo_expired"
	CodeUserInfoClaim       Code = "login_userinfo_claim" // iss, aud, times; Field
	CodeUserInfoSubject     Code = "login_userinfo_subject"
	CodeMinimumData         Code = "login_minimum_data" // Field names the claim missing or malformed
	CodeFiscalCode          Code = "login_fiscal_code"
	CodeOtherPerson         Code = "login_other_person" // a step-up came back with somebody else
	CodeRevocation          Code = "login_revocation"   // the token is not revoked yet; it is tried again
)

// Of operators.
const (
	CodeOfficeUnknown   Code = "login_office_unknown"        // no provider speaks for this office
	CodeOperatorClaim   Code = "login_operator_claim"        // Field names the claim missing or malformed
	CodeOperatorOffice  Code = "login_operator_office"       // an office the provider may not speak for
	CodeOperatorAsked   Code = "login_operator_other_office" // an office of the provider's, but not the one asked for
	CodeOperatorRole    Code = "login_operator_role"         // a role the provider may not give
	CodeOperatorRevoked Code = "login_operator_revoked"      // access was taken away here
	CodeDiscovery       Code = "login_discovery"             // the provider's discovery document cannot be had or used
	CodeDiscoveryIssuer Code = "login_discovery_issuer"      // the document names another issuer, or is not usable; Field
	CodeCardMissing     Code = "login_card_missing"          // no client certificate came
	CodeCardUnknown     Code = "login_card_unknown"          // a certificate that was never issued
	CodeCardOther       Code = "login_card_other"            // another operator's card
	CodeCardNotActive   Code = "login_card_not_active"       // issued but not activated
	CodeCardRevoked     Code = "login_card_revoked"
	CodeCardExpired     Code = "login_card_expired"
	CodeCardState       Code = "login_card_state" // a step the card's state does not allow
)

// CodeInternal is ours: store, signature, randomness.
const (
	CodeStore    Code = "login_store"    // the store did not answer: come back later
	CodeInternal Code = "login_internal" // our own fault
)

// Error is what this package returns. Its text is for logs: no token, no
// personal data, no error_description.
type Error struct {
	Class Class
	Code  Code
	// Reference is the code people may quote; the log and the transaction
	// register have it too.
	Reference string
	// RetryAt is when asking again makes sense, for ClassUnavailable; may be zero.
	RetryAt time.Time
	// ReturnTo, Level and Lang are of the attempt, so that the page can offer to
	// try again; zero when no attempt was found.
	ReturnTo string
	Level    Level
	Lang     string

	Field string // claim, parameter or the provider's error code
	Err   error  // cause
}

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Field != "" {
		s += " (" + e.Field + ")"
	}
	if e.Reference != "" {
		s += " [" + e.Reference + "]"
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

// ClassOf gives the class of an error of this package, else ClassConfiguration.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ClassConfiguration
}

// classes says what each code means to people. A code that is not listed is a
// configuration problem: a signature that does not hold is nothing a citizen can
// repair by trying again, and somebody must look. What another attempt may well
// cure (a code that grew old, a nonce of another tab) is expired.
var classes = map[Code]Class{
	CodeCancelled: ClassCancelled,

	CodeLevel: ClassLevel,

	CodeTokenGarbled: ClassUnavailable, CodeUserInfoGarbled: ClassUnavailable,
	CodeNoChain: ClassUnavailable, CodeProviderBusy: ClassUnavailable, CodeTokenUnreachable: ClassUnavailable,
	CodeUserInfoUnreachable: ClassUnavailable, CodeRevocation: ClassUnavailable, CodeDiscovery: ClassUnavailable, CodeStore: ClassUnavailable,

	CodeAttemptUnknown: ClassExpired, CodeAttemptUsed: ClassExpired, CodeAttemptExpired: ClassExpired,
	CodeBinding: ClassExpired, CodeOtherPerson: ClassExpired, CodeTokenGrant: ClassExpired, CodeIDTokenExpired: ClassExpired,
	CodeResponseState: ClassExpired, CodeInteraction: ClassExpired, CodeNonce: ClassExpired, CodeIDTokenStale: ClassExpired,
	CodeIDTokenReplay: ClassExpired, CodeAccessTokenExpired: ClassExpired, CodeUserInfoExpired: ClassExpired,
}

func refuse(c Code, field string, err error) *Error {
	class, ok := classes[c]
	if !ok {
		class = ClassConfiguration
	}
	return &Error{Class: class, Code: c, Field: field, Err: err}
}
