package opsim

import (
	"encoding/json"
	"net/http"
	"regexp"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

var uuidShape = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestAgID24And32AnswersHaveTheFormOfTheCatalogue(t *testing.T) {
	t.Parallel()
	w := ready(t)
	a := w.attempt()
	code := a.code()
	if !uuidShape.MatchString(code) {
		t.Errorf("2.4.1 code %q is no UUID", code)
	}
	status, header, answer := a.exchange(code)
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" || header.Get("Pragma") != "no-cache" {
		t.Errorf("3.2.0–3.2.3: %d %v", status, header)
	}
	if expires, _ := answer["expires_in"].(float64); expires <= 0 || expires > 900 {
		t.Errorf("3.2.13 expires_in %v", answer["expires_in"])
	}
	access := a.verified(answer["access_token"].(string))
	if access.typ != typAccess || access.alg != "RS256" || access.text("client_id") != w.rp.id || !uuidShape.MatchString(access.text("jti")) {
		t.Errorf("3.4 access token %+v", access)
	}
	id := a.verified(answer["id_token"].(string))
	if id.claims["sub"] != access.claims["sub"] || !uuidShape.MatchString(id.text("jti")) || id.claims["given_name"] != nil {
		t.Errorf("3.3 ID Token %v", id.claims)
	}
}

func TestEveryAlgorithmOfTheTablesCanBeRegistered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sign    jose.SignatureAlgorithm
		encrypt jose.KeyAlgorithm
		content jose.ContentEncryption
	}{
		{jose.RS256, jose.RSA_OAEP, jose.A128CBC_HS256},
		{jose.RS512, jose.RSA_OAEP_256, jose.A256CBC_HS512},
		{jose.ES256, jose.RSA_OAEP_256, jose.A128CBC_HS256},
		{jose.PS256, jose.RSA_OAEP, jose.A256CBC_HS512},
		{jose.PS512, jose.RSA_OAEP, jose.A256CBC_HS512},
	} {
		w := newWorld(t)
		w.rp.change = func(claims map[string]any) {
			rp := claims["metadata"].(map[string]any)[TypeRelyingParty].(map[string]any)
			merge(rp, map[string]any{
				"id_token_signed_response_alg": string(c.sign), "userinfo_signed_response_alg": string(c.sign),
				"userinfo_encrypted_response_alg": string(c.encrypt), "userinfo_encrypted_response_enc": string(c.content),
				"id_token_encrypted_response_alg": string(c.encrypt), "id_token_encrypted_response_enc": string(c.content),
			})
		}
		w.onboard(w.rp)
		if err := w.SetAuto(&Auto{}); err != nil {
			t.Fatal(err)
		}
		a := w.attempt()
		tokens := a.tokens(a.code())
		id := a.open(tokens["id_token"].(string))
		access, _ := tokens["access_token"].(string)
		if id.alg != string(c.sign) || id.claims["at_hash"] != leftHalf(c.sign, access) {
			t.Errorf("%s: ID Token %s at_hash %v", c.sign, id.alg, id.claims["at_hash"])
		}
		if info := a.userInfo(access); info["sub"] != id.claims["sub"] {
			t.Errorf("%s: userinfo %v", c.sign, info)
		}
	}
}

func TestScopesAndClaimsReleaseWhatTheySay(t *testing.T) {
	t.Parallel()
	w := ready(t)
	a := w.attempt()
	delete(a.claims, "claims")
	info := a.userInfo(a.tokens(a.code())["access_token"].(string))
	for name := range info {
		switch name {
		case "iss", "aud", "sub", "iat", "exp", "jti":
		default:
			t.Errorf("openid alone releases %s", name)
		}
	}
	a = w.attempt()
	a.both("scope", "openid profile email")
	a.claims["claims"] = map[string]any{"id_token": map[string]any{"gender": nil}, "userinfo": map[string]any{"address": nil, "place_of_birth": nil}}
	tokens := a.tokens(a.code())
	id := a.verified(tokens["id_token"].(string))
	if id.claims["gender"] != "female" || id.claims["family_name"] != "Ferraris" || id.claims["email"] == nil || id.claims["address"] != nil {
		t.Errorf("ID Token %v", id.claims)
	}
	info = a.userInfo(tokens["access_token"].(string))
	place, _ := info["place_of_birth"].(map[string]any)
	address, _ := info["address"].(map[string]any)
	if place["locality"] != "Z600" || place["region"] != "EE" || address["country_code"] != "AR" || info["birthdate"] != "1986-04-17" {
		t.Errorf("userinfo %v", info)
	}
}

func TestRefreshTokensRotateAndNeverGiveAnIDToken(t *testing.T) {
	t.Parallel()
	w := ready(t)
	a := w.attempt()
	a.both("scope", "openid offline_access")
	tokens := a.tokens(a.code())
	refresh := func(token any) (int, map[string]any) {
		endpoint := w.Endpoints().Token
		status, _, body := w.post(endpoint, a.authenticated(endpoint, map[string]any{"grant_type": "refresh_token", "refresh_token": token}))
		return status, object(body)
	}
	status, second := refresh(tokens["refresh_token"])
	if status != http.StatusOK || second["id_token"] != nil || second["refresh_token"] == tokens["refresh_token"] {
		t.Fatalf("%d %v", status, second)
	}
	for name, old := range map[string]any{"refresh token": tokens["refresh_token"], "an access token": second["access_token"]} {
		if status, answer := refresh(old); status != 400 || answer["error"] != "invalid_grant" {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
	if status, _, _ := w.do(http.MethodGet, w.Endpoints().UserInfo, nil, bearer(tokens["access_token"])); status != 401 {
		t.Errorf("the first access token lives on after a refresh: %d", status)
	}
	if info := a.userInfo(second["access_token"].(string)); info[eid+"fiscal_number"] != "TINIT-"+lucia {
		t.Errorf("userinfo %v", info)
	}
	w.clock.Advance(refreshLifetime)
	w.rp.publishMark(w)
	if status, answer := refresh(second["refresh_token"]); status != 400 || answer["error"] != "invalid_grant" {
		t.Errorf("after thirty days: %d %v", status, answer)
	}
}

func bearer(token any) map[string]string {
	text, _ := token.(string)
	return map[string]string{"Authorization": "Bearer " + text}
}

func TestRevocationAndIntrospectionFollowTheCIERules(t *testing.T) {
	t.Parallel()
	w := ready(t)
	a := w.attempt()
	a.both("scope", "openid offline_access")
	tokens := a.tokens(a.code())
	active := func(token any) any {
		endpoint := w.Endpoints().Introspection
		status, _, body := w.post(endpoint, a.authenticated(endpoint, map[string]any{"token": token}))
		answer := object(body)
		if status != http.StatusOK || len(answer) != 1 {
			t.Errorf("introspection: %d %s", status, body)
		}
		return answer["active"]
	}
	revoke := func(token any) {
		endpoint := w.Endpoints().Revocation
		if status, _, body := w.post(endpoint, a.authenticated(endpoint, map[string]any{"token": token})); status != http.StatusOK {
			t.Errorf("revocation: %d %s", status, body)
		}
	}
	if active(tokens["access_token"]) != true || active(tokens["refresh_token"]) != true || active("unknown") != false {
		t.Error("live tokens")
	}
	revoke("unknown")
	revoke(tokens["access_token"])
	if active(tokens["access_token"]) != false || active(tokens["refresh_token"]) != true {
		t.Error("revoking the access token touches the refresh token")
	}
	b := w.attempt()
	b.both("scope", "openid offline_access")
	tokens = b.tokens(b.code())
	revoke(tokens["refresh_token"])
	if active(tokens["access_token"]) != false {
		t.Error("revoking the refresh token leaves its access token")
	}
	// Another client's token is a foreign one: neither told nor revoked.
	other := w.newRP()
	w.onboard(other)
	c := w.attemptOf(other)
	theirs := c.tokens(c.code())["access_token"]
	revoke(theirs)
	if active(theirs) != false {
		t.Error("a foreign token is told to be active")
	}
	if status, _, _ := w.do(http.MethodGet, w.Endpoints().UserInfo, nil, bearer(theirs)); status != http.StatusOK {
		t.Error("a foreign token was revoked")
	}
}

func TestAgID41BadUserInfoRequestsAreRefused(t *testing.T) {
	t.Parallel()
	w := ready(t)
	a := w.attempt()
	tokens := a.tokens(a.code())
	endpoint := w.Endpoints().UserInfo
	forged, err := w.keys.foreignSigner(w.rp.core).sign(typAccess, map[string]any{"jti": "x"})
	if err != nil {
		t.Fatal(err)
	}
	for name, header := range map[string]map[string]string{
		"no token": nil, "not ours": {"Authorization": "Bearer x"}, "another scheme": {"Authorization": "Basic eDp4"},
		"forged": bearer(forged), "the ID Token": bearer(tokens["id_token"]),
	} {
		status, answered, body := w.do(http.MethodGet, endpoint, nil, header)
		if status != http.StatusUnauthorized || object(body)["error"] == nil || answered.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, _, _ := w.do(http.MethodPost, endpoint, nil, bearer(tokens["access_token"])); status != http.StatusOK {
		t.Error("4.1.0 POST is fine for CIE")
	}
	if status, _, _ := w.do(http.MethodDelete, endpoint, nil, bearer(tokens["access_token"])); status != http.StatusMethodNotAllowed {
		t.Error("DELETE")
	}
	w.clock.Advance(accessLifetime)
	if status, _, _ := w.do(http.MethodGet, endpoint, nil, bearer(tokens["access_token"])); status != http.StatusUnauthorized {
		t.Error("4.1.2 an expired token")
	}
}

func TestSubjectsArePairwiseAndStable(t *testing.T) {
	t.Parallel()
	w := ready(t)
	other := w.newRP()
	w.onboard(other)
	sub := func(rp *relyingParty) any {
		a := w.attemptOf(rp)
		return a.verified(a.tokens(a.code())["id_token"].(string)).claims["sub"]
	}
	if first := sub(w.rp); first == sub(other) || first != sub(w.rp) {
		t.Error("a subject is not pairwise, or not stable")
	}
}

func TestAutomaticLoginsTakeTurnsAndRespectTheLevel(t *testing.T) {
	t.Parallel()
	w := ready(t)
	if err := w.SetAuto(&Auto{People: []string{lucia, extraL3b}}); err != nil {
		t.Fatal(err)
	}
	who := func(level Level) string {
		a := w.attempt()
		a.claims["acr_values"] = level.ACR()
		q := a.answer()
		if q.Get("error") != "" {
			return q.Get("error")
		}
		events := w.Events()
		return events[len(events)-1].Person
	}
	if a, b, c := who(2), who(2), who(3); a == b || a != c {
		t.Errorf("turns: %s %s %s", a, b, c)
	}
	if err := w.SetAuto(&Auto{}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if cf := who(3); cf == "access_denied" {
			t.Error("nobody reaches level 3")
		} else if c, _ := w.citizen(cf); c.MaxLevel != 3 || c.Minor {
			t.Errorf("%s at level 3", cf)
		}
	}
	if err := w.SetAuto(&Auto{People: []string{noCredentials}}); err != nil {
		t.Fatal(err)
	}
	if got := who(1); got != "access_denied" {
		t.Errorf("no credentials: %s", got)
	}
	if err := w.SetAuto(&Auto{People: []string{lucia}, Level: 1}); err != nil {
		t.Fatal(err)
	}
	if got := who(2); got != "access_denied" {
		t.Errorf("lower than asked: %s", got)
	}
	if err := w.SetAuto(&Auto{Refuse: true}); err != nil {
		t.Fatal(err)
	}
	if got := who(2); got != "access_denied" {
		t.Errorf("refused: %s", got)
	}
	if w.SetAuto(&Auto{People: []string{"NOBODY"}}) == nil || w.SetAuto(&Auto{Mode: "telepathy"}) == nil {
		t.Error("an unknown person or mode is taken")
	}
}

func TestPeopleAreThoseOfTheRegister(t *testing.T) {
	t.Parallel()
	levels, standings := map[Level]int{}, map[Standing]int{}
	minors := 0
	for _, c := range Citizens() {
		levels[c.MaxLevel]++
		standings[c.Credentials]++
		if c.Minor {
			minors++
		}
		if c.Scenario == "parent" && c.MaxLevel != 3 {
			t.Errorf("%s is a parent and cannot give assent at level 3", c.CF)
		}
		text, err := json.Marshal(c.attributes())
		if err != nil || len(text) < 100 {
			t.Errorf("%s: %s %v", c.CF, text, err)
		}
	}
	if levels[3] < 5 || levels[2] < 20 || standings[CredentialsSuspended] != 1 || standings[CredentialsRevoked] != 1 || standings[CredentialsNone] != 1 || minors < 3 {
		t.Errorf("levels %v, standings %v, minors %d", levels, standings, minors)
	}
	if capitalised("D'ANGELO MARIA-TERESA BENČIČ") != "D'Angelo Maria-Teresa Benčič" {
		t.Error(capitalised("D'ANGELO MARIA-TERESA BENČIČ"))
	}
}

func TestTimesAreReadAsWholeSeconds(t *testing.T) {
	t.Parallel()
	for v, want := range map[any]bool{1795000000.0: true, 1.5: false, -1.0: false, 0.0: false, "1795000000": false, nil: false, 1e15: false} {
		if _, ok := unixTime(v); ok != want {
			t.Errorf("%v: %v", v, ok)
		}
	}
	if got, _ := unixTime(1795000000.0); !got.Equal(time.Unix(1795000000, 0)) {
		t.Error(got)
	}
}
