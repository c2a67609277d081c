package jose

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"airegw/gateway/fault"
	"airegw/gateway/strictjson"
)

// Expect says what a token must be. There are no defaults that let something
// through: an empty allow-list is a programming error (CodeExpectation), and a
// check that a profile does not foresee is switched off by its own field.
type Expect struct {
	Algs []Algorithm
	// Typ lists the accepted typ values, compared without case and without an
	// "application/" prefix (RFC 7515 §4.1.9). The element "" accepts a token
	// without typ.
	Typ []string
	// Now is the caller's clock.
	Now time.Time
	// Skew is how far the peer's clock may be off, applied to iat, nbf and exp.
	Skew time.Duration
	// MaxAge refuses an iat older than this; 0 is no limit beside exp.
	MaxAge time.Duration
	// MaxLife refuses an exp further from iat than this; 0 is no limit.
	MaxLife time.Duration

	Issuer     string // required iss, unless AnyIssuer
	AnyIssuer  bool   // the caller compares iss itself
	Audience   string // one of aud must be this, unless NoAudience
	NoAudience bool   // the profile has no aud, or the caller compares it itself
	Subject    string // required sub when not empty
	// NoExpiry accepts a token without exp, for trust marks (entra-con-cie §2.5
	// "exp if present"). A present exp is still checked.
	NoExpiry bool
}

// Verified is what a valid token was.
type Verified struct {
	KID       string
	Algorithm Algorithm
	Typ       string
	Issuer    string
	Subject   string
	Audience  []string
	ID        string // jti
	IssuedAt  time.Time
	ExpiresAt time.Time // zero when absent and NoExpiry
	Payload   []byte    // the exact signed bytes
}

// Verify checks a compact JWS of claims against keys and want, then decodes
// the payload into claims (a pointer to a struct; nil to leave it). Order:
// size and form, header, key, signature, claims — nothing of the payload is
// looked at before the signature holds.
func Verify(compact string, keys KeySet, want Expect, claims any) (Verified, error) {
	if err := want.complete(); err != nil {
		return Verified{}, err
	}
	v, err := VerifyBytes(compact, keys, want.Algs, want.Typ)
	if err != nil {
		return Verified{}, err
	}
	if err := want.check(&v); err != nil {
		return Verified{}, err
	}
	if claims != nil {
		t := reflect.TypeOf(claims)
		if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
			return Verified{}, refuse(CodeExpectation, "claims", nil)
		}
		if err := json.Unmarshal(v.Payload, claims); err != nil {
			return Verified{}, refuse(CodeClaimInvalid, jsonField(err), nil)
		}
	}
	return v, nil
}

// VerifyBytes checks header and signature only, for payloads that are no
// claims. Only KID, Algorithm, Typ and Payload of the answer are set.
func VerifyBytes(compact string, keys KeySet, algs []Algorithm, typ []string) (Verified, error) {
	h, err := parseJWS(compact)
	if err != nil {
		return Verified{}, err
	}
	return h.verify(compact, nil, keys, algs, typ)
}

// VerifyDetached checks a JWS with detached content (RFC 7515 appendix F) over
// payload.
func VerifyDetached(detached string, payload []byte, keys KeySet, algs []Algorithm, typ []string) (Verified, error) {
	parts := strings.Split(detached, ".")
	if len(parts) != 3 || parts[1] != "" {
		return Verified{}, refuse(CodeMalformed, "", nil)
	}
	h, err := parseJWS(detached)
	if err != nil {
		return Verified{}, err
	}
	if payload == nil {
		payload = []byte{}
	}
	return h.verify(detached, payload, keys, algs, typ)
}

// Peek reads the header and payload of a compact JWS without verifying
// anything. It exists for one purpose: to learn whose keys to fetch before
// Verify. Nothing it returns may be believed.
func Peek(compact string, claims any) (kid string, alg Algorithm, typ string, err error) {
	h, err := parseJWS(compact)
	if err != nil {
		return "", "", "", err
	}
	if claims != nil {
		payload, err := b64(strings.Split(compact, ".")[1])
		if err != nil {
			return "", "", "", refuse(CodeMalformed, "payload", nil)
		}
		if err := json.Unmarshal(payload, claims); err != nil {
			return "", "", "", refuse(CodeClaimInvalid, jsonField(err), nil)
		}
	}
	return h.Kid, h.Alg, h.Typ, nil
}

type wireHeader struct {
	Alg Algorithm `json:"alg"`
	Enc string    `json:"enc"`
	Typ string    `json:"typ"`
	Cty string    `json:"cty"`
	Kid string    `json:"kid"`

	hasTyp bool
}

func parseHeader(part string) (wireHeader, error) {
	raw, err := b64(part)
	if err != nil {
		return wireHeader{}, refuse(CodeMalformed, "header", nil)
	}
	var members map[string]json.RawMessage
	if err := (strictjson.Rules{}).Decode(raw, &members); err != nil {
		return wireHeader{}, refuse(CodeMalformed, "header", err)
	}
	for _, name := range []string{"crit", "zip", "b64"} {
		if _, ok := members[name]; ok && !fault.Mutant("jose.crit") {
			return wireHeader{}, refuse(CodeCriticalHeader, name, nil)
		}
	}
	var h wireHeader
	// By exact name: encoding/json would also take "ALG" for alg.
	for name, dst := range map[string]*string{"alg": (*string)(&h.Alg), "enc": &h.Enc, "typ": &h.Typ, "cty": &h.Cty, "kid": &h.Kid} {
		v, ok := members[name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(v, dst); err != nil {
			return wireHeader{}, refuse(CodeMalformed, name, nil)
		}
		if name == "typ" {
			h.hasTyp = true
		}
	}
	if len(h.Kid) > 512 {
		return wireHeader{}, refuse(CodeTooLarge, "kid", nil)
	}
	return h, nil
}

func parseJWS(compact string) (wireHeader, error) {
	if len(compact) > MaxToken {
		return wireHeader{}, refuse(CodeTooLarge, "", nil)
	}
	parts := strings.Split(compact, ".")
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return wireHeader{}, refuse(CodeMalformed, "", nil)
	}
	for _, p := range parts[1:] {
		if _, err := b64(p); err != nil {
			return wireHeader{}, refuse(CodeMalformed, "", nil)
		}
	}
	return parseHeader(parts[0])
}

func (h wireHeader) verify(compact string, detached []byte, keys KeySet, algs []Algorithm, typ []string) (Verified, error) {
	if len(algs) == 0 || len(typ) == 0 {
		return Verified{}, refuse(CodeExpectation, "algs, typ", nil)
	}
	if use, ok := h.Alg.use(); !ok || use != UseSignature || (!fault.Mutant("jose.alg") && !slices.Contains(algs, h.Alg)) {
		return Verified{}, refuse(CodeAlgRefused, "alg", nil)
	}
	if !fault.Mutant("jose.typ") && !h.typIn(typ) {
		return Verified{}, refuse(CodeTypRefused, "typ", nil)
	}
	if h.Kid == "" {
		return Verified{}, refuse(CodeKidMissing, "kid", nil)
	}
	candidates := keys.find(h.Kid, h.Alg)
	if len(candidates) == 0 {
		return Verified{}, refuse(CodeUnknownKey, "kid", nil)
	}
	for _, k := range candidates {
		opts := []jws.VerifyOption{jws.WithKey(jwa.SignatureAlgorithm(h.Alg), k.key)}
		if detached != nil {
			opts = append(opts, jws.WithDetachedPayload(detached))
		}
		payload, err := jws.Verify([]byte(compact), opts...)
		if fault.Mutant("jose.signature") && detached == nil {
			payload, err = b64(strings.Split(compact, ".")[1])
		}
		if err == nil {
			return Verified{KID: h.Kid, Algorithm: h.Alg, Typ: h.Typ, Payload: payload}, nil
		}
	}
	return Verified{}, refuse(CodeSignature, "", nil)
}

func (h wireHeader) typIn(allowed []string) bool {
	if !h.hasTyp {
		return slices.Contains(allowed, "")
	}
	bare := func(s string) string { return strings.TrimPrefix(strings.ToLower(s), "application/") }
	return h.Typ != "" && slices.ContainsFunc(allowed, func(a string) bool { return bare(a) == bare(h.Typ) })
}

func (e Expect) complete() error {
	switch {
	case len(e.Algs) == 0:
		return refuse(CodeExpectation, "Algs", nil)
	case len(e.Typ) == 0:
		return refuse(CodeExpectation, "Typ", nil)
	case e.Now.IsZero():
		return refuse(CodeExpectation, "Now", nil)
	case e.AnyIssuer != (e.Issuer == ""):
		return refuse(CodeExpectation, "Issuer", nil)
	case e.NoAudience != (e.Audience == ""):
		return refuse(CodeExpectation, "Audience", nil)
	case e.Skew < 0 || e.MaxAge < 0 || e.MaxLife < 0:
		return refuse(CodeExpectation, "Skew", nil)
	}
	return nil
}

func (e Expect) check(v *Verified) error {
	var members map[string]json.RawMessage
	if err := (strictjson.Rules{}).Decode(v.Payload, &members); err != nil {
		return refuse(CodeMalformed, "payload", err)
	}
	var err error
	if v.Issuer, err = textClaim(members, "iss"); err != nil {
		return err
	}
	if v.Subject, err = textClaim(members, "sub"); err != nil {
		return err
	}
	if v.ID, err = textClaim(members, "jti"); err != nil {
		return err
	}
	if v.Audience, err = audience(members); err != nil {
		return err
	}
	iat, ok, err := dateClaim(members, "iat")
	if err != nil {
		return err
	}
	if !ok {
		return refuse(CodeClaimMissing, "iat", nil)
	}
	v.IssuedAt = iat
	exp, ok, err := dateClaim(members, "exp")
	if err != nil {
		return err
	}
	if !ok && !e.NoExpiry && !fault.Mutant("jose.exp-present") {
		return refuse(CodeClaimMissing, "exp", nil)
	}
	if ok {
		v.ExpiresAt = exp
		if !e.Now.Add(-e.Skew).Before(exp) && !fault.Mutant("jose.exp") {
			return refuse(CodeExpired, "exp", nil)
		}
		if e.MaxLife > 0 && exp.Sub(iat) > e.MaxLife {
			return refuse(CodeLifeTooLong, "exp", nil)
		}
	}
	if iat.After(e.Now.Add(e.Skew)) {
		return refuse(CodeFutureIat, "iat", nil)
	}
	if e.MaxAge > 0 && e.Now.Sub(iat) > e.MaxAge+e.Skew {
		return refuse(CodeTooOld, "iat", nil)
	}
	nbf, ok, err := dateClaim(members, "nbf")
	if err != nil {
		return err
	}
	if ok && nbf.After(e.Now.Add(e.Skew)) {
		return refuse(CodeNotYetValid, "nbf", nil)
	}
	if !e.AnyIssuer && v.Issuer != e.Issuer && !fault.Mutant("jose.iss") {
		return refuse(CodeIssuer, "iss", nil)
	}
	if e.Subject != "" && v.Subject != e.Subject {
		return refuse(CodeSubject, "sub", nil)
	}
	if !e.NoAudience && !slices.Contains(v.Audience, e.Audience) && !fault.Mutant("jose.aud") {
		return refuse(CodeAudience, "aud", nil)
	}
	return nil
}

func textClaim(members map[string]json.RawMessage, name string) (string, error) {
	raw, ok := members[name]
	if !ok {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil || s == "" {
		return "", refuse(CodeClaimInvalid, name, nil)
	}
	return s, nil
}

func audience(members map[string]json.RawMessage) ([]string, error) {
	raw, ok := members["aud"]
	if !ok {
		return nil, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		return []string{one}, nil
	}
	var many []string
	if json.Unmarshal(raw, &many) != nil || len(many) == 0 || slices.Contains(many, "") {
		return nil, refuse(CodeClaimInvalid, "aud", nil)
	}
	return many, nil
}

// maxUnix is the year 9999; a date in milliseconds lies beyond it or, at
// least, in a future that iat refuses (anpr-pdnd-modi §8 row 4).
const maxUnix = 253402300799

func dateClaim(members map[string]json.RawMessage, name string) (time.Time, bool, error) {
	raw, ok := members[name]
	if !ok {
		return time.Time{}, false, nil
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > maxUnix {
		return time.Time{}, false, refuse(CodeClaimInvalid, name, nil)
	}
	return time.Unix(int64(f), 0).UTC(), true, nil
}

func jsonField(err error) string {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return t.Field
	}
	return "payload"
}
