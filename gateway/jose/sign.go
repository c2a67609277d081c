package jose

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// Types of tokens used by more than one package; an owner of a contract may
// have its own.
const (
	TypeJWT             = "JWT"
	TypeEntityStatement = "entity-statement+jwt"
	TypeTrustMark       = "trust-mark+jwt"
	TypeAccessToken     = "at+jwt"
)

// Header holds the protected headers a caller may choose; alg and kid come
// from the key. No other header is ever written.
type Header struct {
	Typ string // required, unless NoTyp
	Cty string // content type; "JWT" for a nested token
	// NoTyp leaves typ out, for the peers whose profile has none.
	NoTyp bool
}

// Sign makes a compact JWS over claims, which must be a struct (or a pointer
// to one): names of claims are then tags in our source, never data.
func Sign(k Key, typ string, claims any) (string, error) {
	t := reflect.TypeOf(claims)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return "", refuse(CodeExpectation, "claims", errors.New("claims must be a struct"))
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", refuse(CodeExpectation, "claims", err)
	}
	if len(payload) == 0 || payload[0] != '{' {
		return "", refuse(CodeExpectation, "claims", errors.New("claims must be a JSON object"))
	}
	return SignBytes(k, Header{Typ: typ}, payload)
}

// SignBytes makes a compact JWS over exactly these bytes.
func SignBytes(k Key, h Header, payload []byte) (string, error) {
	headers, err := k.headers(h)
	if err != nil {
		return "", err
	}
	out, err := jws.Sign(payload, jws.WithKey(jwa.SignatureAlgorithm(k.alg), k.signer, jws.WithProtectedHeaders(headers)))
	if err != nil {
		return "", refuse(CodeSignature, "", err)
	}
	return string(out), nil
}

// SignDetached makes a JWS with detached content (RFC 7515 appendix F) over
// payload, which travels apart: "header..signature".
func SignDetached(k Key, typ string, payload []byte) (string, error) {
	whole, err := SignBytes(k, Header{Typ: typ}, payload)
	if err != nil {
		return "", err
	}
	parts := strings.Split(whole, ".")
	return parts[0] + ".." + parts[2], nil
}

func (k Key) headers(h Header) (jws.Headers, error) {
	if k.IsZero() {
		return nil, refuse(CodeExpectation, "key", nil)
	}
	if use, _ := k.alg.use(); use != UseSignature {
		return nil, refuse(CodeAlgRefused, "alg", nil)
	}
	if h.NoTyp != (h.Typ == "") {
		return nil, refuse(CodeExpectation, "typ", nil)
	}
	out := jws.NewHeaders()
	set := func(name, value string) error {
		if value == "" {
			return nil
		}
		if !token(value) {
			return refuse(CodeExpectation, name, nil)
		}
		return out.Set(name, value)
	}
	if err := set(jws.TypeKey, h.Typ); err != nil {
		return nil, err
	}
	if err := set(jws.ContentTypeKey, h.Cty); err != nil {
		return nil, err
	}
	if err := out.Set(jws.KeyIDKey, k.kid); err != nil {
		return nil, refuse(CodeExpectation, jws.KeyIDKey, err)
	}
	return out, nil
}

// token keeps header values to the characters of a media type.
func token(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("+-._/", r) {
			return false
		}
	}
	return len(s) <= 100
}

func b64(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }
