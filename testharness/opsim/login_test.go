package opsim

import (
	"net/http"
	"testing"
)

func TestARegisteredPartyLogsACitizenInWithoutPages(t *testing.T) {
	t.Parallel()
	w := ready(t)
	a := w.attempt()
	q := a.answer()
	if q.Get("state") != a.claims["state"] || q.Get("iss") != w.Addresses.Provider || q.Get("error") != "" {
		t.Fatalf("answer %v", q)
	}
	tokens := a.tokens(q.Get("code"))
	access, _ := tokens["access_token"].(string)
	id := a.verified(tokens["id_token"].(string))
	for claim, want := range map[string]any{
		"iss": w.Addresses.Provider, "aud": w.rp.id, "acr": Level(2).ACR(), "nonce": a.claims["nonce"], "at_hash": leftHalf("RS256", access),
	} {
		if id.claims[claim] != want {
			t.Errorf("ID Token %s = %v, want %v", claim, id.claims[claim], want)
		}
	}
	if tokens["token_type"] != "Bearer" || tokens["refresh_token"] != nil {
		t.Errorf("token answer %v", tokens)
	}
	info := a.userInfo(access)
	if info[eid+"fiscal_number"] != "TINIT-"+lucia || info["family_name"] != "Ferraris" || info["sub"] != id.claims["sub"] || info["email"] != nil {
		t.Errorf("userinfo %v", info)
	}
	endpoint := w.Endpoints().Revocation
	status, _, _ := w.post(endpoint, a.authenticated(endpoint, map[string]any{"token": access}))
	if status != http.StatusOK {
		t.Fatalf("revocation: %d", status)
	}
	status, _, _ = w.do(http.MethodGet, w.Endpoints().UserInfo, nil, map[string]string{"Authorization": "Bearer " + access})
	if status != http.StatusUnauthorized {
		t.Errorf("userinfo after the revocation: %d", status)
	}
}
