package jose

// Code is the closed list of reasons for which this package refuses something.
type Code string

// The reasons.
const (
	CodeMalformed      Code = "jose_malformed"       // not a compact JWS or JWE, or not the JSON it should hold
	CodeTooLarge       Code = "jose_too_large"       // beyond MaxToken or MaxKeySet
	CodeAlgRefused     Code = "jose_alg_refused"     // alg outside the caller's allow-list or unfit for the key
	CodeEncRefused     Code = "jose_enc_refused"     // content encryption outside the caller's allow-list
	CodeTypRefused     Code = "jose_typ_refused"     // typ outside the caller's allow-list, or missing
	CodeCriticalHeader Code = "jose_critical_header" // crit or zip present: we understand no extension
	CodeKidMissing     Code = "jose_kid_missing"     // the header names no key
	CodeUnknownKey     Code = "jose_unknown_key"     // no usable key of that kid
	CodeSignature      Code = "jose_signature"       // the signature does not verify
	CodeDecrypt        Code = "jose_decrypt"         // the content cannot be decrypted
	CodeClaimMissing   Code = "jose_claim_missing"   // Field names the claim
	CodeClaimInvalid   Code = "jose_claim_invalid"   // Field names the claim; it has the wrong JSON type or range
	CodeExpired        Code = "jose_expired"         // exp has passed
	CodeNotYetValid    Code = "jose_not_yet_valid"   // nbf lies in the future
	CodeFutureIat      Code = "jose_issued_in_future"
	CodeTooOld         Code = "jose_too_old"       // iat is older than the caller accepts
	CodeLifeTooLong    Code = "jose_life_too_long" // exp lies further from iat than the caller accepts
	CodeIssuer         Code = "jose_issuer"
	CodeSubject        Code = "jose_subject"
	CodeAudience       Code = "jose_audience"
	CodePrivateMember  Code = "jose_private_member" // a foreign key set holds private key material
	CodeWeakKey        Code = "jose_weak_key"
	CodeKeyFile        Code = "jose_key_file"      // unreadable, or not a key of the wanted kind
	CodeKeyFileOpen    Code = "jose_key_file_open" // group or others may read a private key file
	CodeExpectation    Code = "jose_expectation"   // the caller's own Expect or claims are incomplete: a programming error
)

// Error is what every function of this package returns. It never carries the
// token, a key or the value of a claim.
type Error struct {
	Code  Code
	Field string // claim, header or file concerned; may be empty
	Err   error  // cause, for logs
}

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Field != "" {
		s += " (" + e.Field + ")"
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
	return ok && t.Code == e.Code && (t.Field == "" || t.Field == e.Field)
}

func refuse(c Code, field string, err error) error { return &Error{Code: c, Field: field, Err: err} }
