package login

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/oauth2"

	"airegw/gateway/fault"
	"airegw/gateway/federation"
	"airegw/gateway/jose"
)

// requestLifetime is how long a request object is good for (D leaves it free;
// AgID's examples have five minutes).
const requestLifetime = 5 * time.Minute

// scope is all that is asked for: attributes come by the claims parameter, one
// by one; offline_access would break the login and is not ours to have.
const scope = "openid"

// requestObject is the payload of the signed authorization request. It has no
// sub, so that nobody can use it as a client assertion.
type requestObject struct {
	Issuer          string  `json:"iss"`
	ClientID        string  `json:"client_id"`
	Audience        string  `json:"aud"`
	IssuedAt        int64   `json:"iat"`
	ExpiresAt       int64   `json:"exp"`
	ID              string  `json:"jti"`
	ResponseType    string  `json:"response_type"`
	Scope           string  `json:"scope"`
	RedirectURI     string  `json:"redirect_uri"`
	State           string  `json:"state"`
	Nonce           string  `json:"nonce"`
	Challenge       string  `json:"code_challenge"`
	ChallengeMethod string  `json:"code_challenge_method"`
	Prompt          Prompt  `json:"prompt"`
	ACRValues       string  `json:"acr_values"`
	Locales         string  `json:"ui_locales"`
	Claims          claimed `json:"claims"`
}

// claimed is the claims parameter: the minimum data set in UserInfo, nothing in
// the ID Token.
type claimed struct {
	UserInfo minimumClaims `json:"userinfo"`
}

type minimumClaims struct {
	GivenName  essential `json:"given_name"`
	FamilyName essential `json:"family_name"`
	BirthDate  essential `json:"birthdate"`
	FiscalCode essential `json:"https://attributes.eid.gov.it/fiscal_number"`
}

type essential struct {
	Essential bool `json:"essential"`
}

// Begin makes an attempt and answers where to send the browser. The attempt is
// durable on return. Errors: CodeNoChain, CodeStart, CodeLevelNotOffered,
// CodeStore, CodeInternal.
func (c *Citizens) Begin(ctx context.Context, s Start) (Redirect, error) {
	t := trail{now: c.cfg.Clock}
	r, a, err := c.begin(ctx, s, &t)
	if err != nil {
		return Redirect{}, c.flow.failed(ctx, a, &t, err, citizenActor("", 0))
	}
	return r, nil
}

func (c *Citizens) begin(ctx context.Context, s Start, t *trail) (Redirect, Attempt, error) {
	none := Attempt{Secrets: AttemptSecrets{Level: s.Level, Lang: s.Lang}}
	returnTo, err := checkStart(s.Binding, s.ReturnTo, s.Lang)
	if err != nil {
		return Redirect{}, none, err
	}
	none.Secrets.ReturnTo = returnTo
	if s.Level.ACR() == "" {
		return Redirect{}, none, refuse(CodeStart, "level", nil)
	}
	if s.Prompt == "" {
		s.Prompt = PromptLogin
	}
	if s.Prompt != PromptConsent && s.Prompt != PromptLogin {
		return Redirect{}, none, refuse(CodeStart, "prompt", nil)
	}
	provider, chain, err := c.provider()
	if err != nil {
		return Redirect{}, none, err
	}
	if len(provider.ACRs) > 0 && !slices.Contains(provider.ACRs, s.Level.ACR()) {
		return Redirect{}, none, refuse(CodeLevelNotOffered, s.Level.ACR(), nil)
	}
	a, err := c.flow.attempt(AttemptSecrets{
		Issuer: provider.Issuer, Level: s.Level, ReturnTo: returnTo, Lang: s.Lang, Person: s.Person,
	}, s.Binding)
	if err != nil {
		return Redirect{}, none, err
	}
	address, err := c.authorization(provider, a, s.Prompt)
	if err != nil {
		return Redirect{}, a, err
	}
	if chain != nil {
		t.add(RecordTrustChain, chain.Statements)
	}
	t.add(RecordAuthenticationRequest, sent{URL: address})
	if err := c.flow.begin(ctx, a, t); err != nil {
		return Redirect{}, a, err
	}
	return Redirect{URL: address, Reference: a.Reference, State: a.State, ExpiresAt: a.ExpiresAt}, a, nil
}

// authorization signs the request and makes the address to send the browser to
// (D authorization_endpoint). client_id and response_type, which CIE does not
// require outside, are sent always: SPID does.
func (c *Citizens) authorization(p *federation.Provider, a Attempt, prompt Prompt) (string, error) {
	now := c.cfg.Clock()
	id, err := c.id()
	if err != nil {
		return "", err
	}
	locales := a.Secrets.Lang
	switch locales {
	case "":
		locales = "it en"
	case "en":
		locales = "en it"
	}
	ask := essential{true}
	method := "S256"
	challenge := oauth2.S256ChallengeFromVerifier(a.Secrets.Verifier)
	if fault.Mutant("login.pkce-method") {
		method, challenge = "plain", a.Secrets.Verifier
	}
	payload, err := json.Marshal(requestObject{
		Issuer: c.cfg.Entity.ID(), ClientID: c.cfg.Entity.ID(), Audience: p.Issuer,
		IssuedAt: now.Unix(), ExpiresAt: now.Add(requestLifetime).Unix(), ID: id,
		ResponseType: "code", Scope: scope, RedirectURI: c.cfg.RedirectURI,
		State: a.State, Nonce: a.Secrets.Nonce, Challenge: challenge, ChallengeMethod: method,
		Prompt: prompt, ACRValues: a.Secrets.Level.ACR(), Locales: locales,
		Claims: claimed{minimumClaims{ask, ask, ask, ask}},
	})
	if err != nil {
		return "", refuse(CodeInternal, "request", err)
	}
	// The profile foresees no typ here.
	request, err := jose.SignBytes(c.cfg.Entity.Keys().CoreSign, jose.Header{NoTyp: true}, payload)
	if err != nil {
		return "", refuse(CodeInternal, "request", err)
	}
	config := oauth2.Config{ClientID: c.cfg.Entity.ID(), Endpoint: oauth2.Endpoint{AuthURL: p.AuthorizationEndpoint}, Scopes: []string{scope}}
	return config.AuthCodeURL("",
		oauth2.SetAuthURLParam("code_challenge", challenge), oauth2.SetAuthURLParam("code_challenge_method", method),
		oauth2.SetAuthURLParam("request", request)), nil
}

// assertionLifetime is how long a client assertion is good for.
const assertionLifetime = 2 * time.Minute

// AssertionType is the only client authentication of the profile (RFC 7523).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

type assertion struct {
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"`
	Audience  string `json:"aud"`
	IssuedAt  int64  `json:"iat"`
	ExpiresAt int64  `json:"exp"`
	ID        string `json:"jti"`
}

// assertionFor signs a client assertion for one endpoint: aud is its address (D
// token_endpoint), so that no other endpoint, of anybody, can use it.
func assertionFor(clientID, endpoint string, key jose.Key, id string, now time.Time) (string, error) {
	signed, err := jose.Sign(key, jose.TypeJWT, assertion{
		Issuer: clientID, Subject: clientID, Audience: endpoint,
		IssuedAt: now.Unix(), ExpiresAt: now.Add(assertionLifetime).Unix(), ID: id,
	})
	if err != nil {
		return "", refuse(CodeInternal, "assertion", err)
	}
	return signed, nil
}

// id draws a jti, a random uuid.
func (c *Citizens) id() (string, error) { return c.flow.id() }

func (f *flow) id() (string, error) {
	id, err := uuid.NewRandomFromReader(f.random)
	if err != nil {
		return "", refuse(CodeInternal, "random", err)
	}
	return id.String(), nil
}
