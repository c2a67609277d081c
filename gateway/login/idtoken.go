package login

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"airegw/gateway/fault"
	"airegw/gateway/jose"
)

// idTokenMaxAge is how old an ID Token may be: it is made when the code is
// exchanged.
const idTokenMaxAge = 5 * time.Minute

// idTokenWant is what an ID Token must be.
type idTokenWant struct {
	issuer   string
	clientID string
	algs     []jose.Algorithm
	keys     oidc.KeySet
	nonce    string
	now      time.Time
	skew     time.Duration

	accessToken, code string
	// atHash and jti: the profile makes them mandatory; plain OpenID Connect does
	// not.
	strict bool
}

// idToken is what a valid one said.
type idToken struct {
	Subject   string
	ID        string // jti, "" when plain OpenID Connect left it out
	ACR       string
	ExpiresAt time.Time
	claims    []byte
}

// chainKeys is go-oidc's key set over the keys of the resolved chain: taken by
// kid, fit for the algorithm, one algorithm only. It keeps why it refused, since
// go-oidc flattens errors to text.
type chainKeys struct {
	keys jose.KeySet
	algs []jose.Algorithm
	err  error
}

// VerifySignature implements oidc.KeySet.
func (k *chainKeys) VerifySignature(_ context.Context, compact string) ([]byte, error) {
	v, err := jose.VerifyBytes(compact, k.keys, k.algs, []string{"JWT", ""})
	if fault.Mutant("login.id-token-signature") && joseCode(err) == jose.CodeSignature {
		var payload json.RawMessage
		_, _, _, err = jose.Peek(compact, &payload)
		v.Payload = payload
	}
	if err != nil {
		k.err = err
		return nil, err
	}
	return v.Payload, nil
}

// form tells, for the log, what is wrong with the form of a token.
func form(raw string) string {
	switch {
	case strings.HasSuffix(raw, "."):
		return "unsigned"
	case strings.HasPrefix(raw, `"`):
		return "quoted"
	}
	return ""
}

func joseCode(err error) jose.Code {
	var e *jose.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// verifyIDToken judges an ID Token (D id_token, OpenID Connect Core §3.1.3.7):
// algorithm, signature, issuer, audience, end and beginning by go-oidc; then age,
// nonce, subject, at_hash.
func verifyIDToken(ctx context.Context, raw string, want idTokenWant) (idToken, error) {
	var claims struct {
		Issuer   string          `json:"iss"`
		Subject  string          `json:"sub"`
		Audience json.RawMessage `json:"aud"`
		Party    string          `json:"azp"`
		ACR      string          `json:"acr"`
		ID       string          `json:"jti"`
		Nonce    string          `json:"nonce"`
		CodeHash string          `json:"c_hash"`
		IssuedAt *json.Number    `json:"iat"`
	}
	// The header tells which refusal it will be; nothing of it is believed.
	kid, alg, _, err := jose.Peek(raw, nil)
	if err != nil {
		return idToken{}, refuse(CodeIDToken, form(raw), err)
	}
	algs := want.algs
	if fault.Mutant("login.id-token-alg") {
		algs = []jose.Algorithm{jose.RS256, jose.RS512, jose.ES256, jose.ES512, jose.PS256, jose.PS512}
	}
	if !slices.Contains(algs, alg) {
		return idToken{}, refuse(CodeIDTokenAlg, "alg", errors.New(printable(string(alg))))
	}
	if kid == "" {
		return idToken{}, refuse(CodeIDTokenKey, "kid", nil)
	}
	var names []string
	for _, a := range algs {
		names = append(names, string(a))
	}
	verifier := oidc.NewVerifier(want.issuer, want.keys, &oidc.Config{
		ClientID: want.clientID, SupportedSigningAlgs: names, Now: func() time.Time { return want.now.Add(-want.skew) },
		SkipIssuerCheck:   fault.Mutant("login.id-token-issuer"),
		SkipClientIDCheck: fault.Mutant("login.id-token-audience"),
		SkipExpiryCheck:   fault.Mutant("login.id-token-expiry"),
	})
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		return idToken{}, whyNot(raw, want, err)
	}
	if err := token.Claims(&claims); err != nil {
		return idToken{}, refuse(CodeIDToken, "claims", nil)
	}
	// Several audiences need an authorized party, and a party must be us.
	if (len(token.Audience) != 1 || claims.Party != "") && claims.Party != want.clientID && !fault.Mutant("login.id-token-azp") {
		return idToken{}, refuse(CodeIDTokenAudience, "azp", nil)
	}
	issued, err := dateOf(claims.IssuedAt)
	if err != nil || claims.IssuedAt == nil {
		return idToken{}, refuse(CodeIDToken, "iat", nil)
	}
	if issued.After(want.now.Add(want.skew)) && !fault.Mutant("login.id-token-iat") {
		return idToken{}, refuse(CodeIDTokenTime, "iat", nil)
	}
	if want.now.Sub(issued) > idTokenMaxAge+want.skew && !fault.Mutant("login.id-token-stale") {
		return idToken{}, refuse(CodeIDTokenStale, "iat", nil)
	}
	if subtle.ConstantTimeCompare([]byte(claims.Nonce), []byte(want.nonce)) != 1 && !fault.Mutant("login.nonce") {
		return idToken{}, refuse(CodeNonce, "nonce", absent(claims.Nonce))
	}
	if claims.Subject == "" || len(claims.Subject) > 255 {
		return idToken{}, refuse(CodeIDTokenSubject, "sub", nil)
	}
	if claims.ID == "" && want.strict || len(claims.ID) > 512 {
		return idToken{}, refuse(CodeIDToken, "jti", nil)
	}
	if (want.strict || token.AccessTokenHash != "") && token.VerifyAccessToken(want.accessToken) != nil && !fault.Mutant("login.at-hash") {
		return idToken{}, refuse(CodeAtHash, "at_hash", absent(token.AccessTokenHash))
	}
	if claims.CodeHash != "" && claims.CodeHash != leftHalf(alg, want.code) && !fault.Mutant("login.c-hash") {
		return idToken{}, refuse(CodeCHash, "c_hash", nil)
	}
	var all json.RawMessage
	if err := token.Claims(&all); err != nil {
		return idToken{}, refuse(CodeIDToken, "claims", nil)
	}
	return idToken{Subject: claims.Subject, ID: claims.ID, ACR: claims.ACR, ExpiresAt: token.Expiry, claims: all}, nil
}

// whyNot finds the code for what go-oidc says as text.
func whyNot(raw string, want idTokenWant, err error) error {
	if k, ok := want.keys.(*chainKeys); ok && k.err != nil {
		switch joseCode(k.err) {
		case jose.CodeUnknownKey, jose.CodeKidMissing:
			return refuse(CodeIDTokenKey, "kid", k.err)
		case jose.CodeSignature:
			return refuse(CodeIDTokenSignature, "", k.err)
		}
		return refuse(CodeIDToken, "", k.err)
	}
	if strings.HasPrefix(err.Error(), "failed to verify signature") {
		return refuse(CodeIDTokenSignature, "", nil)
	}
	// The signature held: what the payload says may be used to tell why.
	var said struct {
		Issuer    string       `json:"iss"`
		ExpiresAt *json.Number `json:"exp"`
	}
	if _, _, _, peeked := jose.Peek(raw, &said); peeked != nil {
		return refuse(CodeIDToken, "claims", nil)
	}
	var expired *oidc.TokenExpiredError
	if errors.As(err, &expired) {
		if said.ExpiresAt == nil {
			return refuse(CodeIDToken, "exp", errMissing)
		}
		return refuse(CodeIDTokenExpired, "exp", nil)
	}
	if said.Issuer != want.issuer {
		return refuse(CodeIDTokenIssuer, "iss", nil)
	}
	if strings.Contains(err.Error(), "audience") {
		return refuse(CodeIDTokenAudience, "aud", nil)
	}
	if strings.Contains(err.Error(), "nbf") {
		return refuse(CodeIDTokenTime, "nbf", nil)
	}
	return refuse(CodeIDToken, "", nil)
}

// dateOf reads a NumericDate, the zero time for none.
func dateOf(n *json.Number) (time.Time, error) {
	if n == nil {
		return time.Time{}, nil
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > 253402300799 {
		return time.Time{}, errors.New("not a date")
	}
	return time.Unix(int64(f), 0).UTC(), nil
}

// leftHalf is the hash of c_hash (OpenID Connect Core §3.3.2.11), by the hash of
// the signature's algorithm.
func leftHalf(alg jose.Algorithm, text string) string {
	var sum []byte
	if strings.HasSuffix(string(alg), "512") {
		s := sha512.Sum512([]byte(text))
		sum = s[:]
	} else {
		s := sha256.Sum256([]byte(text))
		sum = s[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}
