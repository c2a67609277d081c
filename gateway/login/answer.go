package login

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"airegw/gateway"
	"airegw/gateway/fault"
	"airegw/gateway/federation"
	"airegw/gateway/jose"
	"airegw/gateway/login/person"
	"airegw/gateway/outbound"
)

// Finish judges the provider's answer: params are the query (or form) of our
// redirect address, binding is the browser's cookie, "" when there is none. On
// return the evidence is durable and the attempt is spent, whatever came of it;
// an answer that belongs to no open attempt is logged only. The access token of a
// login that failed is revoked as one is at logout; whether that worked changes
// nothing of the outcome.
func (c *Citizens) Finish(ctx context.Context, params url.Values, binding string) (Identity, error) {
	t := trail{now: c.cfg.Clock}
	t.add(RecordAuthenticationResponse, sent{Form: hashed(params)})
	a, err := c.flow.take(ctx, params, binding)
	if err != nil {
		return Identity{}, c.flow.failed(ctx, a, &t, err, citizenActor("", 0))
	}
	var got tokens
	who, err := c.finish(ctx, a, params, &t, &got)
	if err != nil {
		told := c.flow.failed(ctx, a, &t, err, citizenActor("", 0))
		c.abandon(ctx, a.Reference, got.Access)
		return Identity{}, told
	}
	c.flow.log(ctx, slog.LevelInfo, "login", "door", string(DoorCitizen), "reference", a.Reference, "level", int(who.Level))
	return who, nil
}

func citizenActor(id string, level Level) gateway.Actor {
	return gateway.Actor{Kind: gateway.ActorCitizen, ID: id, Level: int(level)}
}

// finish judges the answer of an attempt; got is what the token endpoint gave,
// also when the login fails.
func (c *Citizens) finish(ctx context.Context, a Attempt, params url.Values, t *trail, got *tokens) (Identity, error) {
	code, err := c.flow.code(a, params, true)
	if err != nil {
		return Identity{}, err
	}
	provider, _, err := c.provider()
	if err != nil {
		return Identity{}, err
	}
	if provider.Issuer != a.Secrets.Issuer {
		// The configuration was changed meanwhile.
		return Identity{}, refuse(CodeAttemptExpired, "provider", nil)
	}
	tokens, err := c.exchange(ctx, provider, code, a, t)
	*got = tokens
	if err != nil {
		return Identity{}, err
	}
	suite := c.cfg.Entity.Suite()
	now := c.cfg.Clock()
	algs := []jose.Algorithm{suite.Sign}
	keyAlgs := algs
	if fault.Mutant("login.id-token-alg") {
		keyAlgs = federation.Algorithms
	}
	id, err := verifyIDToken(ctx, tokens.ID, idTokenWant{
		issuer: provider.Issuer, clientID: c.cfg.Entity.ID(), algs: algs, keys: &chainKeys{keys: provider.Keys, algs: keyAlgs},
		nonce: a.Secrets.Nonce, now: now, skew: c.cfg.Skew, accessToken: tokens.Access, code: code, strict: true,
	})
	if err != nil {
		return Identity{}, err
	}
	// Reaching more than was asked is a success; an unknown level ranks below all.
	level := levelOf(id.ACR)
	if level < a.Secrets.Level && !fault.Mutant("login.acr") {
		return Identity{}, refuse(CodeLevel, "acr", rank(id.ACR, level))
	}
	expires, err := c.accessToken(tokens.Access, provider, id.Subject, now)
	if err != nil {
		return Identity{}, err
	}
	payload, err := c.userInfo(ctx, provider, tokens.Access, id.Subject, t)
	if err != nil {
		return Identity{}, err
	}
	p, err := person.Read(payload)
	var lacks *person.Error
	switch {
	case errors.As(err, &lacks) && lacks.FiscalCode:
		return Identity{}, refuse(CodeFiscalCode, lacks.Claim, nil)
	case errors.As(err, &lacks):
		return Identity{}, refuse(CodeMinimumData, lacks.Claim, nil)
	case err != nil:
		return Identity{}, refuse(CodeMinimumData, "", err)
	}
	who := Identity{
		ID: opaque("cie:", provider.Issuer, id.Subject), Reference: a.Reference, Issuer: provider.Issuer, Subject: id.Subject,
		FiscalCode: p.FiscalCode, GivenName: p.GivenName, FamilyName: p.FamilyName, BirthDate: p.BirthDate,
		Level: level, At: now.UTC(), ReturnTo: a.Secrets.ReturnTo, Lang: a.Secrets.Lang, StepUp: a.Secrets.Person != "",
	}
	if a.Secrets.Person != "" && a.Secrets.Person != who.ID && !fault.Mutant("login.step-up-person") {
		return Identity{}, refuse(CodeOtherPerson, "sub", nil)
	}
	end := trail{now: c.cfg.Clock, records: slices.Clone(t.records)}
	end.add(RecordOutcome, outcome{Who: who.ID, Level: level})
	once := []string{provider.Issuer + "\n" + id.ID}
	if fault.Mutant("login.id-token-jti") {
		once = nil
	}
	return who, c.flow.complete(ctx, Completed{
		Reference: a.Reference, Once: once, OnceUntil: id.ExpiresAt.Add(c.cfg.Skew),
		Token:   &HeldToken{Login: a.Reference, Token: tokens.Access, ExpiresAt: expires},
		Records: end.records,
		Audit: []gateway.AuditEntry{{
			At: now.UTC(), Actor: citizenActor(who.ID, level), Act: "login", Subject: a.Reference,
			Payload: map[string]string{"door": string(DoorCitizen), "level": level.ACR(), "asked": a.Secrets.Level.ACR()},
		}},
	})
}

// rank tells why a level is too low, for the log.
func rank(acr string, l Level) error {
	switch {
	case acr == "":
		return errMissing
	case l == 0:
		return errors.New("unknown")
	}
	return errors.New("below what was asked")
}

// tokens is what the token endpoint gave.
type tokens struct{ Access, ID string }

// exchange redeems the code (D token_endpoint). redirect_uri is sent although
// the published text forgets it: OpenID Connect Core needs it. A code is good
// once, so the call is never repeated.
func (c *Citizens) exchange(ctx context.Context, p *federation.Provider, code string, a Attempt, t *trail) (tokens, error) {
	id, err := c.flow.id()
	if err != nil {
		return tokens{}, err
	}
	signed, err := assertionFor(c.cfg.Entity.ID(), p.TokenEndpoint, c.cfg.Entity.Keys().CoreSign, id, c.cfg.Clock())
	if err != nil {
		return tokens{}, err
	}
	return redeem(ctx, redemption{
		client: c.cfg.Client, clientID: c.cfg.Entity.ID(), endpoint: p.TokenEndpoint, redirect: c.cfg.RedirectURI,
		code: code, verifier: a.Secrets.Verifier,
		auth: url.Values{"client_assertion_type": {assertionType}, "client_assertion": {signed}},
	}, t)
}

// redemption is one use of a code.
type redemption struct {
	client                       *outbound.Client
	clientID, endpoint, redirect string
	code, verifier               string
	auth                         url.Values // how the client proves itself
	authHidden                   bool       // it is a secret: not for the register
}

// redeem answers the tokens also beside an error, where an access token came that
// can be sent back to be revoked.
func redeem(ctx context.Context, r redemption, t *trail) (tokens, error) {
	w := &wire{client: r.client, operation: "token", jsonOnly: true}
	config := oauth2.Config{
		ClientID: r.clientID, RedirectURL: r.redirect,
		Endpoint: oauth2.Endpoint{TokenURL: r.endpoint, AuthStyle: oauth2.AuthStyleInParams},
	}
	var options []oauth2.AuthCodeOption
	if !fault.Mutant("login.pkce") {
		options = append(options, oauth2.VerifierOption(r.verifier))
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {r.code}, "redirect_uri": {r.redirect},
		"client_id": {r.clientID}, "code_verifier": {r.verifier},
	}
	for name, values := range r.auth {
		options = append(options, oauth2.SetAuthURLParam(name, values[0]))
		if !r.authHidden {
			form[name] = values
		}
	}
	t.add(RecordTokenRequest, sent{URL: r.endpoint, Form: hashed(form)})
	token, err := config.Exchange(context.WithValue(ctx, oauth2.HTTPClient, w.httpClient()), r.code, options...)
	back := answered{Status: w.status, Body: kept(w.body)}
	if err != nil && w.status == 0 {
		back.Error = "no answer"
	}
	t.add(RecordTokenResponse, back)
	if err != nil {
		return tokens{}, tokenError(err, w.status)
	}
	out := tokens{Access: token.AccessToken}
	out.ID, _ = token.Extra("id_token").(string)
	switch {
	case len(out.Access) > maxKept || strings.ContainsFunc(out.Access, func(r rune) bool { return r <= ' ' || r > '~' }):
		return tokens{}, refuse(CodeTokenResponse, "access_token", nil)
	case w.status != http.StatusOK:
		return out, refuse(CodeTokenResponse, "status", nil)
	case !strings.EqualFold(token.TokenType, "bearer"):
		return out, refuse(CodeTokenResponse, "token_type", nil)
	case out.ID == "":
		return out, refuse(CodeTokenResponse, "id_token", nil)
	}
	return out, nil
}

// tokenError sorts what went wrong at the token endpoint by the error code, not
// by the status: texts disagree about those (D token_endpoint).
func tokenError(err error, status int) *Error {
	if unreachable(err) {
		return refuse(CodeTokenUnreachable, "", outboundOnly(err))
	}
	var told *oauth2.RetrieveError
	if errors.As(err, &told) {
		switch told.ErrorCode {
		case "invalid_grant":
			return refuse(CodeTokenGrant, told.ErrorCode, nil)
		case "server_error", "temporarily_unavailable", "temporary_unavailable":
			return refuse(CodeTokenUnreachable, told.ErrorCode, nil)
		}
		switch {
		case outOfOrder(status):
			return refuse(CodeTokenUnreachable, http.StatusText(status), nil)
		case told.ErrorCode == "":
			return refuse(CodeTokenResponse, "status", nil)
		}
		// Its text may quote anything: only the code is told.
		return refuse(CodeTokenRefused, providerError(told.ErrorCode).Field, nil)
	}
	var failed *outbound.Error
	switch {
	case errors.As(err, &failed):
		return refuse(CodeTokenResponse, string(failed.Kind), failed)
	case errors.Is(err, errEmpty):
		return refuse(CodeTokenGarbled, "empty", nil)
	case errors.Is(err, errMediaType):
		return refuse(CodeTokenGarbled, "content_type", nil)
	case strings.Contains(err.Error(), "missing access_token"):
		return refuse(CodeTokenResponse, "access_token", errMissing)
	}
	return refuse(CodeTokenGarbled, "", nil)
}

// outboundOnly keeps of an error what may be logged: net/http puts addresses
// into its own, oauth2 whole bodies.
func outboundOnly(err error) error {
	var failed *outbound.Error
	if errors.As(err, &failed) {
		return failed
	}
	return nil
}

// accessToken judges the access token, which a relying party must (D
// flusso_autenticazione step 7), and answers when it ends. Its aud is not
// compared: texts and implementations disagree about it.
func (c *Citizens) accessToken(raw string, p *federation.Provider, subject string, now time.Time) (time.Time, error) {
	var claims struct {
		ClientID string `json:"client_id"`
	}
	want := jose.Expect{
		Algs: federation.Algorithms, Typ: []string{jose.TypeAccessToken}, Now: now, Skew: c.cfg.Skew,
		Issuer: p.Issuer, NoAudience: true,
	}
	if fault.Mutant("login.access-token-typ") {
		want.Typ = []string{jose.TypeAccessToken, jose.TypeJWT, ""}
	}
	if fault.Mutant("login.access-token-issuer") {
		want.Issuer, want.AnyIssuer = "", true
	}
	if fault.Mutant("login.access-token-expiry") {
		want.Now = want.Now.Add(-time.Hour)
		want.Skew += time.Hour
	}
	v, err := jose.Verify(raw, p.Keys, want, &claims)
	if fault.Mutant("login.access-token-signature") && joseCode(err) == jose.CodeSignature {
		var said struct {
			Subject string `json:"sub"`
		}
		_, _, _, err = jose.Peek(raw, &claims)
		_, _, _, _ = jose.Peek(raw, &said)
		v.Subject, v.ExpiresAt = said.Subject, now.Add(time.Minute)
	}
	switch joseCode(err) {
	case "":
	case jose.CodeSignature, jose.CodeUnknownKey, jose.CodeKidMissing:
		return time.Time{}, refuse(CodeAccessTokenKey, "", err)
	case jose.CodeExpired:
		return time.Time{}, refuse(CodeAccessTokenExpired, "exp", nil)
	default:
		return time.Time{}, refuse(CodeAccessToken, "", err)
	}
	if claims.ClientID != c.cfg.Entity.ID() && !fault.Mutant("login.access-token-client") {
		return time.Time{}, refuse(CodeAccessToken, "client_id", nil)
	}
	if v.Subject != subject && !fault.Mutant("login.access-token-subject") {
		return time.Time{}, refuse(CodeAccessToken, "sub", nil)
	}
	return v.ExpiresAt, nil
}

// userInfo asks for the person's data and answers the verified payload (D
// userinfo_endpoint): a JWS of the provider inside a JWE to a key of ours.
func (c *Citizens) userInfo(ctx context.Context, p *federation.Provider, access, subject string, t *trail) ([]byte, error) {
	t.add(RecordUserInfoRequest, sent{URL: p.UserInfoEndpoint})
	response, err := c.cfg.Client.Do(ctx, outbound.Request{
		Operation: "userinfo", Method: http.MethodGet, URL: p.UserInfoEndpoint,
		Header: http.Header{"Authorization": {"Bearer " + access}, "Accept": {"application/jwt"}},
		Accept: func(int) bool { return true },
	})
	if err != nil {
		t.add(RecordUserInfoResponse, answered{Error: "no answer"})
		if unreachable(err) {
			return nil, refuse(CodeUserInfoUnreachable, "", err)
		}
		return nil, refuse(CodeUserInfoRefused, "answer", err)
	}
	back := answered{Status: response.Status, Type: mediaType(response.Header), Body: kept(response.Body)}
	inner, payload, err := c.openUserInfo(response, p, subject)
	back.JWS = inner
	t.add(RecordUserInfoResponse, back)
	return payload, err
}

func (c *Citizens) openUserInfo(response *outbound.Response, p *federation.Provider, subject string) (inner string, payload []byte, err error) {
	switch {
	case outOfOrder(response.Status):
		return "", nil, refuse(CodeUserInfoUnreachable, http.StatusText(response.Status), nil)
	case response.Status != http.StatusOK:
		return "", nil, refuse(CodeUserInfoRefused, http.StatusText(response.Status), nil)
	}
	// A page or nothing is what stands before the endpoint, not the endpoint.
	if len(response.Body) == 0 || mediaType(response.Header) == "text/html" {
		return "", nil, refuse(CodeUserInfoGarbled, mediaType(response.Header), nil)
	}
	// D's rule says application/jwt, its sample application/jose; the maintainers
	// confirmed the first. Never JSON.
	if t := mediaType(response.Header); t != "application/jwt" && t != "application/jose" && !fault.Mutant("login.userinfo-type") {
		return "", nil, refuse(CodeUserInfoType, "", nil)
	}
	suite := c.cfg.Entity.Suite()
	algs, encs := []jose.Algorithm{suite.Encrypt}, []jose.ContentEncryption{suite.Content}
	if fault.Mutant("login.userinfo-encryption") {
		encs = []jose.ContentEncryption{jose.A128CBCHS256, jose.A256CBCHS512, jose.A256GCM}
	}
	body := string(response.Body)
	plain, err := jose.Decrypt(body, c.cfg.Entity.DecryptionKeys(), algs, encs)
	if fault.Mutant("login.userinfo-encrypted") && strings.Count(body, ".") == 2 {
		plain, err = response.Body, nil
	}
	switch joseCode(err) {
	case "":
	case jose.CodeUnknownKey, jose.CodeKidMissing:
		return "", nil, refuse(CodeUserInfoKey, "kid", err)
	case jose.CodeDecrypt:
		return "", nil, refuse(CodeUserInfoDecrypt, "", err)
	default:
		return "", nil, refuse(CodeUserInfoEncryption, "", err)
	}
	inner = string(plain)
	now := c.cfg.Clock()
	want := jose.Expect{
		Algs: []jose.Algorithm{suite.Sign}, Typ: []string{jose.TypeJWT, ""}, Now: now, Skew: c.cfg.Skew,
		Issuer: p.Issuer, Audience: c.cfg.Entity.ID(),
	}
	if fault.Mutant("login.userinfo-alg") {
		want.Algs = federation.Algorithms
	}
	if fault.Mutant("login.userinfo-issuer") {
		want.Issuer, want.AnyIssuer = "", true
	}
	if fault.Mutant("login.userinfo-audience") {
		want.Audience, want.NoAudience = "", true
	}
	if fault.Mutant("login.userinfo-expiry") {
		want.Now = now.Add(-time.Hour)
		want.Skew += time.Hour
	}
	v, err := jose.Verify(inner, p.Keys, want, nil)
	if fault.Mutant("login.userinfo-signature") && joseCode(err) == jose.CodeSignature {
		var raw json.RawMessage
		var said struct {
			Subject string `json:"sub"`
		}
		_, _, _, err = jose.Peek(inner, &raw)
		_, _, _, _ = jose.Peek(inner, &said)
		v.Payload, v.Subject = raw, said.Subject
	}
	var why *jose.Error
	if joseCode(err) == jose.CodeExpired {
		return inner, nil, refuse(CodeUserInfoExpired, "exp", nil)
	}
	if errors.As(err, &why) {
		if slices.Contains([]jose.Code{jose.CodeIssuer, jose.CodeAudience, jose.CodeFutureIat, jose.CodeNotYetValid, jose.CodeClaimMissing, jose.CodeClaimInvalid}, why.Code) {
			return inner, nil, refuse(CodeUserInfoClaim, why.Field, err)
		}
		return inner, nil, refuse(CodeUserInfoSignature, form(inner), err)
	}
	if v.Subject != subject && !fault.Mutant("login.userinfo-subject") {
		return inner, nil, refuse(CodeUserInfoSubject, "sub", nil)
	}
	return inner, v.Payload, nil
}
