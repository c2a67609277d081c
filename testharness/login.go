package testharness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/gateway/federation"
	"airegw/gateway/jose"
	"airegw/gateway/web"
	"airegw/testharness/opsim"
	"airegw/testharness/sim"
)

// operatorsClient is our client id at the operators' providers.
const operatorsClient = "airegw-simulation"

// operatorWords are the roles as the simulated providers say them.
var operatorWords = map[string]string{"operator": string(gateway.RoleClerk), "supervisor": string(gateway.RoleReferent)}

// configureLogin makes our membership in the simulated federation and our client
// at the operators' providers. The gateway then lives at localhost, the
// providers at 127.0.0.1: two sites, so that cookie rules bite as in production.
// The anchor takes us only once we serve: see JoinFederation.
func configureLogin(ctx context.Context, conn Connection, dir string, c *app.Config) error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("address of the gateway: %w", err)
	}
	if port == "0" {
		free, err := freePort(ctx)
		if err != nil {
			return err
		}
		_, port, _ = net.SplitHostPort(free)
		c.Listen = net.JoinHostPort(host, port)
	}
	c.BaseURL = "http://localhost:" + port
	keys := filepath.Join(dir, "keys", "federation")
	if _, err = os.Stat(keys); errors.Is(err, os.ErrNotExist) {
		_, err = federation.GenerateKeys(keys)
	}
	if err == nil {
		err = sim.WriteFile(filepath.Join(dir, "keys", "anchor-jwks.json"), conn.OPIdentity.AnchorJWKS, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keys of the federation: %w", err)
	}
	c.Federation = &federation.Settings{
		ID: c.BaseURL, Organization: "Gateway CIE per cittadini AIRE (simulazione)", ClientName: "Carta d’identità per italiani all’estero",
		HomepageURI: c.BaseURL, PolicyURI: c.BaseURL + "/login/help", Contacts: []string{"gateway@pec.example.test"},
		RedirectURIs: []string{c.BaseURL + web.PathCitizenCallback}, Keys: "keys/federation",
		Anchor: conn.OPIdentity.Anchor, AnchorKeys: "keys/anchor-jwks.json", Provider: conn.OPIdentity.Provider, RequireMark: true,
	}
	key, err := keepKey(filepath.Join(dir, "keys", "operators.jwk"), jose.ES256)
	if err != nil {
		return err
	}
	jwks, err := json.Marshal(jose.NewKeySet(key.Public()))
	if err != nil {
		return fmt.Errorf("public keys: %w", err)
	}
	for _, r := range []struct {
		realm, name string
		kind        gateway.OfficeKind
		owner       gateway.Role
	}{
		{opsim.RealmInterno, "Ministero dell’Interno", gateway.OfficeComune, gateway.RoleOwnerInterior},
		{opsim.RealmEsteri, "Ministero degli Affari Esteri", gateway.OfficePost, gateway.RoleOwnerMAECI},
	} {
		p := app.OperatorsConfig{
			Name: r.name, Issuer: conn.OPIdentity.Issuers[r.realm], ClientID: operatorsClient, KeyFile: "keys/operators.jwk",
			Roles: map[string]string{string(r.owner): string(r.owner)},
		}
		for word, role := range operatorWords {
			p.Roles[word] = role
		}
		for _, office := range DemoOffices() {
			if strings.HasPrefix(office, string(r.kind)+":") {
				p.Offices = append(p.Offices, office)
			}
		}
		c.Operators = append(c.Operators, p)
	}
	return conn.RegisterOperatorsClient(ctx, opsim.OperatorClient{
		ID: operatorsClient, RedirectURIs: []string{c.BaseURL + web.PathOperatorCallback}, JWKS: jwks,
	})
}

// JoinFederation onboards a gateway that serves, or is about to: the anchor
// reads its configuration, and the gateway fetches the trust mark it was given,
// without which no provider trusts it. On return citizens can log in. A gateway
// without a federation joins none.
func JoinFederation(ctx context.Context, conn Connection, a *app.App) error {
	m := a.Member()
	if m == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := serving(ctx, a.URL())
	if err != nil {
		return err
	}
	err = conn.RegisterRelyingParty(ctx, m.Entity.ID())
	if err != nil {
		return fmt.Errorf("join the federation: %w", err)
	}
	_, err = m.Entity.RenewMarks(ctx, m.Resolver)
	if err != nil {
		return fmt.Errorf("join the federation: %w", err)
	}
	m.Chain.Step(ctx)
	_, _, err = m.Provider()
	if err != nil {
		return fmt.Errorf("join the federation: %w", err)
	}
	return nil
}

// serving waits until a gateway answers.
func serving(ctx context.Context, base string) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/status", nil)
		if err != nil {
			return fmt.Errorf("wait for the gateway: %w", err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the gateway: %w", errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
