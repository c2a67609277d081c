package coresim

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/text/unicode/norm"

	"airegw/testharness/sim"
)

// Types of messages, as in the contract.
const (
	typPrepare        = "airegw-prepare+jwt"
	typPrepared       = "core-prepared+jwt"
	typConfirmForms   = "airegw-forms-confirmed+jwt"
	typFormsConfirmed = "core-forms-confirmed+jwt"
	typSubmission     = "airegw-submission+jwt"
	typReceipt        = "core-receipt+jwt"
	typOrder          = "core-order+jwt"
	typDeliveryChange = "airegw-delivery-change+jwt"
	typCancellation   = "airegw-cancellation+jwt"
	typOutcome        = "core-outcome+jwt"
	typEvent          = "core-event+jwt"
	typFeed           = "core-feed+jwt"
	typProblem        = "core-problem+jwt"
)

const (
	maxRequest  = 256 << 10
	messageLife = 5 * time.Minute
	skew        = time.Minute
	maxDepth    = 16
)

type header struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

type claims struct {
	Iss  string          `json:"iss"`
	Aud  string          `json:"aud"`
	Iat  int64           `json:"iat"`
	Exp  int64           `json:"exp"`
	Jti  string          `json:"jti"`
	Req  string          `json:"req,omitempty"`
	Body json.RawMessage `json:"body"`
}

var (
	jtiPattern       = regexp.MustCompile(`^[A-Za-z0-9_-]{16,64}$`)
	signaturePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{86}$`) // of ES256
)

// isCompact says whether a text has the shape of one compact JWS. Header and
// payload, which are long, are base64 or not when they are decoded.
func isCompact(text []byte) bool {
	parts := bytes.Split(text, []byte("."))
	return len(parts) == 3 && len(parts[0]) > 0 && len(parts[1]) > 0 && signaturePattern.Match(parts[2]) &&
		!bytes.ContainsAny(text, "\r\n") // which a decoder of base64 would skip
}

// refusal is an answer that is not a success.
type refusal struct{ sim.Problem }

func (r *refusal) Error() string { return r.Code + ": " + r.Detail }

func refuse(status int, code, detail string) *refusal {
	return &refusal{sim.Problem{Status: status, Code: code, Detail: detail}}
}

// openMessage reads a compact JWS without trusting it yet: shape, header, claims.
func openMessage(text []byte, typ string) (*jose.JSONWebSignature, header, claims, error) {
	var h header
	var c claims
	if !isCompact(text) {
		return nil, h, c, errors.New("not one compact JWS with an ES256 signature")
	}
	head, _, _ := bytes.Cut(text, []byte("."))
	rawHead, err := base64.RawURLEncoding.Strict().DecodeString(string(head))
	if err != nil {
		return nil, h, c, fmt.Errorf("header: %w", err)
	}
	err = decodeStrict(rawHead, &h)
	if err != nil {
		return nil, h, c, fmt.Errorf("header: %w", err)
	}
	if h.Alg != string(jose.ES256) || h.Typ != typ {
		return nil, h, c, fmt.Errorf("header: alg %q typ %q, not ES256 and %q", h.Alg, h.Typ, typ)
	}
	jws, err := jose.ParseSignedCompact(string(text), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, h, c, fmt.Errorf("parse: %w", err)
	}
	err = decodeClaims(jws.UnsafePayloadWithoutVerification(), &c)
	if err != nil {
		return nil, h, c, fmt.Errorf("claims: %w", err)
	}
	if c.Iss == "" || c.Aud == "" || c.Iat <= 0 || c.Exp <= c.Iat || c.Exp-c.Iat > int64(messageLife/time.Second) || c.Req != "" ||
		!jtiPattern.MatchString(c.Jti) || len(c.Body) == 0 || c.Body[0] != '{' {
		return nil, h, c, errors.New("claims: iss, aud, iat, exp (at most 300 seconds later), jti and body are needed")
	}
	return jws, h, c, nil
}

// decodeClaims is strict on the claims and leaves the body as it came.
func decodeClaims(text []byte, c *claims) error {
	if !utf8.Valid(text) {
		return errors.New("not UTF-8")
	}
	return decodeStrict(text, c)
}

// decodeStrict refuses unknown members, members twice, and a second value.
func decodeStrict(text []byte, v any) error {
	_, err := canonical(text)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// verify says who sent a message, after everything about it has been checked.
// The client's certificate said client.
func (s *Sim) verify(text []byte, typ, client string) (claims, error) {
	jws, h, c, err := openMessage(text, typ)
	if err != nil {
		return c, refuse(400, "malformed", err.Error())
	}
	if c.Iss != client || c.Aud != s.issuer {
		return c, refuse(401, "unauthenticated", "iss is not the client of the certificate, or aud is not this core")
	}
	s.mu.Lock()
	g := s.gateways[client]
	s.mu.Unlock()
	if g == nil {
		return c, refuse(401, "unauthenticated", "unknown client")
	}
	key := g.keys[h.Kid]
	if key == nil {
		return c, refuse(401, "unauthenticated", "unknown key")
	}
	_, err = jws.Verify(key)
	if err != nil {
		return c, refuse(401, "unauthenticated", "the signature does not verify")
	}
	now := s.wire.Now()
	if time.Unix(c.Iat, 0).After(now.Add(skew)) || !time.Unix(c.Exp, 0).Add(skew).After(now) {
		return c, refuse(401, "unauthenticated", "the message is not of this time")
	}
	return c, nil
}

// seal signs a body for a client.
func (s *Sim) seal(typ, client, req string, body any, key *ecdsa.PrivateKey, age time.Duration) ([]byte, error) {
	raw, err := marshal(body)
	if err != nil {
		return nil, err
	}
	now := s.wire.Now().Add(-age)
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	payload, err := marshal(claims{
		Iss: s.issuer, Aud: client, Iat: now.Unix(), Exp: now.Add(messageLife).Unix(),
		Jti: hex.EncodeToString(id[:]), Req: req, Body: raw,
	})
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: s.kid}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return nil, fmt.Errorf("prepare to sign: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		return nil, fmt.Errorf("serialize: %w", err)
	}
	return []byte(compact), nil
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func thumbprint(key *ecdsa.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

func publicJWKS(key *ecdsa.PublicKey, kid string) json.RawMessage {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: kid, Algorithm: string(jose.ES256), Use: "sig"}}}
	text, _ := json.Marshal(set) // a P-256 public key always encodes
	return text
}

// readJWKS takes the public P-256 keys of a set, by thumbprint.
func readJWKS(text []byte) (map[string]*ecdsa.PublicKey, error) {
	var set jose.JSONWebKeySet
	err := json.Unmarshal(text, &set)
	if err != nil {
		return nil, fmt.Errorf("read the key set: %w", err)
	}
	keys := make(map[string]*ecdsa.PublicKey)
	for _, k := range set.Keys {
		public, ok := k.Key.(*ecdsa.PublicKey)
		if !ok || public.Curve != elliptic.P256() {
			return nil, errors.New("read the key set: only public P-256 keys")
		}
		kid, err := thumbprint(public)
		if err != nil {
			return nil, err
		}
		keys[kid] = public
	}
	if len(keys) == 0 {
		return nil, errors.New("read the key set: it is empty")
	}
	return keys, nil
}

// canonical is RFC 8785 for what the contract allows: no null, no fractions,
// no member twice, clean NFC strings. Anything else is an error.
func canonical(text []byte) ([]byte, error) {
	v, err := parseValue(text)
	if err != nil {
		return nil, err
	}
	return appendCanonical(make([]byte, 0, len(text)), v), nil
}

// parseValue reads what canonical takes. Nearly all that comes is good, and is read
// in one go; what is not is read token by token, to say what is wrong with it.
func parseValue(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	members := 0
	if dec.Decode(&v) == nil && len(bytes.Trim(text[dec.InputOffset():], " \t\r\n")) == 0 && plain(v, 0, &members) == nil && members == colons(text) {
		return v, nil
	}
	dec = json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	v, err := readValue(dec, 0)
	if err != nil {
		return nil, err
	}
	_, err = dec.Token()
	if !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the value")
	}
	return v, nil
}

// colons counts the colons between the strings of a JSON text: as many as its
// objects have members, those of the same name and all.
func colons(text []byte) int {
	n, inside := 0, false
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			inside = !inside
		case '\\':
			i++
		case ':':
			if !inside {
				n++
			}
		}
	}
	return n
}

// plain holds a value against the contract's rules and counts its members.
func plain(v any, depth int, members *int) error {
	if depth > maxDepth {
		return errors.New("nested too deeply")
	}
	switch t := v.(type) {
	case map[string]any:
		*members += len(t)
		for _, inner := range t {
			if err := plain(inner, depth+1, members); err != nil {
				return err
			}
		}
		return nil
	case []any:
		for _, inner := range t {
			if err := plain(inner, depth+1, members); err != nil {
				return err
			}
		}
		return nil
	}
	return plainScalar(v)
}

func plainScalar(v any) error {
	switch t := v.(type) {
	case json.Number:
		if !integerPattern.MatchString(t.String()) {
			return fmt.Errorf("number %s: only integers of at most fifteen digits", t)
		}
	case string:
		if strings.ContainsFunc(t, func(r rune) bool {
			return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError
		}) || !norm.NFC.IsNormalString(t) {
			return errors.New("a string with control characters, or not NFC")
		}
	case nil:
		return errors.New("null is not a value here")
	}
	return nil
}

var integerPattern = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,14})$`)

func readValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	token, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '[' {
			list := []any{}
			for dec.More() {
				item, err := readValue(dec, depth+1)
				if err != nil {
					return nil, err
				}
				list = append(list, item)
			}
			_, err = dec.Token()
			return list, err
		}
		object := map[string]any{}
		for dec.More() {
			token, err := dec.Token()
			if err != nil {
				return nil, fmt.Errorf("not JSON: %w", err)
			}
			name, _ := token.(string)
			_, twice := object[name]
			if twice {
				return nil, fmt.Errorf("member %q twice", name)
			}
			object[name], err = readValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
		}
		_, err = dec.Token()
		return object, err
	}
	return token, plainScalar(token)
}

func appendCanonical(b []byte, v any) []byte {
	switch t := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(t))
		for name := range t {
			names = append(names, name)
		}
		sort.Strings(names)
		b = append(b, '{')
		for i, name := range names {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, name)
			b = append(b, ':')
			b = appendCanonical(b, t[name])
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i, item := range t {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCanonical(b, item)
		}
		return append(b, ']')
	case string:
		return appendString(b, t)
	case json.Number:
		return append(b, t...)
	case bool:
		if t {
			return append(b, "true"...)
		}
		return append(b, "false"...)
	}
	return b
}

// appendString: control characters were refused, so only two need an escape.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

func digestOf(canonicalText []byte) string {
	sum := sha256.Sum256(canonicalText)
	return "sha-256:" + hex.EncodeToString(sum[:])
}
