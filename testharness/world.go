// Package testharness is the whole system on loopback: the gateway (in process
// through gateway/app, or the real binary) among simulators of its outside, the
// tour that drives it, the load that measures it and the invariants that judge
// it after every run.
//
// It promises that what it reports was seen in effects (rows, ledger entries,
// final states), never in status codes alone. It refuses any address that is
// not loopback, and load without an end.
package testharness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/gateway/jose"
	"airegw/gateway/store"
	"airegw/gateway/web"
	"airegw/testharness/sim"
)

// GatewayOptions says how Configure sets a gateway up among simulators.
type GatewayOptions struct {
	Listen  string   // default 127.0.0.1:0; with identity providers a free port is taken instead of 0
	Clients []Office // a machine client each; its private key lands in clients/
	Workers app.WorkerConfig
	Log     app.LogConfig
	// Consular gives it the register's consular door too; its keys take a moment
	// to make.
	Consular bool
}

// Office is an office as gateway.ParseOffice reads it.
type Office = string

// Client is the file Configure writes for each machine client: what an API
// caller needs to sign its bearer.
type Client struct {
	ID      string          `json:"client_id"`
	Office  Office          `json:"office"`
	BaseURL string          `json:"base_url,omitempty"`
	Key     json.RawMessage `json:"key"` // private JWK, ES256
}

// Configure makes, in dir, everything a gateway needs to live among these
// simulators: keys, certificates, the configuration file airegw.yaml. Keys that
// are there stay. The simulators are told of the gateway.
func Configure(ctx context.Context, conn Connection, dir string, o GatewayOptions) (app.Config, error) {
	keys := filepath.Join(dir, "keys")
	err := os.MkdirAll(filepath.Join(dir, "clients"), 0o700)
	if err == nil {
		err = os.MkdirAll(keys, 0o700)
	}
	if err != nil {
		return app.Config{}, fmt.Errorf("folder of the gateway: %w", err)
	}
	c := app.Config{Environment: store.Simulation, Listen: o.Listen, Workers: o.Workers, Log: o.Log}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	c.BaseURL = "http://" + c.Listen
	if conn.OPIdentity != nil {
		err = configureLogin(ctx, conn, dir, &c)
		if err != nil {
			return app.Config{}, err
		}
	}
	c.Database = app.DatabaseConfig{Path: "airegw.db", Keys: "keys/database.keys"}
	err = configureRegister(ctx, conn, dir, &c)
	if err != nil {
		return app.Config{}, err
	}
	if o.Consular {
		err = configureConsular(ctx, conn, dir, &c)
		if err != nil {
			return app.Config{}, err
		}
	}
	err = configureCore(ctx, conn, dir, &c)
	if err != nil {
		return app.Config{}, err
	}
	err = configureRules(dir, &c)
	if err != nil {
		return app.Config{}, err
	}
	for _, office := range o.Clients {
		client, err := configureClient(dir, office)
		if err != nil {
			return app.Config{}, err
		}
		c.Clients = append(c.Clients, client)
	}
	text, err := c.YAML()
	if err != nil {
		return app.Config{}, err
	}
	c.SetDir(dir)
	err = c.Check()
	if err != nil {
		return app.Config{}, fmt.Errorf("the configuration we made: %w", err)
	}
	head := "# Written by airegw for a simulation on this machine; keys and peers are synthetic.\n"
	return c, sim.WriteFile(filepath.Join(dir, "airegw.yaml"), append([]byte(head), text...), 0o600)
}

// configureRegister makes our PDND client and its purposes and registers both.
func configureRegister(ctx context.Context, conn Connection, dir string, c *app.Config) error {
	path := filepath.Join(dir, "keys", "pdnd.jwk")
	key, err := keepKey(path, jose.RS256)
	if err != nil {
		return err
	}
	jwks, err := json.Marshal(jose.NewKeySet(key.Public()))
	if err != nil {
		return fmt.Errorf("public keys: %w", err)
	}
	// The client and its purposes follow from the key, so that a second start
	// registers the same again.
	space := uuid.NewSHA1(uuid.NameSpaceOID, []byte(key.KID()))
	purposes := map[string]string{}
	c.Register = app.RegisterConfig{
		ClientID: space.String(), KeyFile: "keys/pdnd.jwk", TokenURL: conn.ANPRURL + conn.ANPRIdentity.TokenPath,
		TokenAudience: conn.ANPRIdentity.AssertionAudience, Services: map[string]app.ServiceConfig{},
	}
	for _, code := range []string{"C030", "C015", "C020", "C019", "C018"} {
		purposes[code] = uuid.NewSHA1(space, []byte(code)).String()
		c.Register.Services[code] = app.ServiceConfig{
			BaseURL: conn.ANPRURL + conn.ANPRIdentity.Services[code], Audience: conn.ANPRIdentity.Audiences[code], Purpose: purposes[code],
		}
	}
	return conn.post(ctx, conn.ANPRManagement+"/clients", map[string]any{
		"client_id": space.String(), "jwks": json.RawMessage(jwks), "purposes": purposes,
	}, nil)
}

// configureConsular has the register issue the certificates of a consular
// system and keeps them.
func configureConsular(ctx context.Context, conn Connection, dir string, c *app.Config) error {
	var issued sim.SOAPIdentity
	const sender, station = "MAECI0", "AIREGW-1"
	err := conn.post(ctx, conn.ANPRManagement+"/soap", map[string]string{"sender": sender, "station": station}, &issued)
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"consular-site.pem": issued.SitePEM, "consular-site-key.pem": issued.SiteKey, "consular-register.pem": issued.Register,
		"consular-station.pem": issued.StationPEM, "consular-station-key.pem": issued.StationKey,
	} {
		err = sim.WriteFile(filepath.Join(dir, "keys", name), []byte(content), 0o600)
		if err != nil {
			return fmt.Errorf("certificates of the consular door: %w", err)
		}
	}
	c.Consular = &app.ConsularConfig{
		URL: conn.ANPRURL + conn.ANPRIdentity.ConsularPath, Sender: sender, Station: station, Environment: "TEST", User: "AIREGW",
		SiteCert: "keys/consular-site.pem", SiteKey: "keys/consular-site-key.pem", RegisterCert: "keys/consular-register.pem",
		StationCert: "keys/consular-station.pem", StationKey: "keys/consular-station-key.pem",
	}
	return nil
}

// configureCore gets our certificate from the core's authority and registers
// our signing key and the address for its pushes.
func configureCore(ctx context.Context, conn Connection, dir string, c *app.Config) error {
	const id = "airegw-simulation"
	key, err := keepKey(filepath.Join(dir, "keys", "core.jwk"), jose.ES256)
	if err != nil {
		return err
	}
	jwks, err := json.Marshal(jose.NewKeySet(key.Public()))
	if err != nil {
		return fmt.Errorf("public keys: %w", err)
	}
	var issued struct {
		Cert string `json:"cert_pem"`
		Key  string `json:"key_pem"`
	}
	err = conn.post(ctx, conn.CoreManagement+"/clients", map[string]string{"name": id}, &issued)
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"core-client.pem": issued.Cert, "core-client-key.pem": issued.Key, "core-ca.pem": conn.CoreIdentity.CAPEM, "core-jwks.json": string(conn.CoreIdentity.JWKS),
	} {
		err = sim.WriteFile(filepath.Join(dir, "keys", name), []byte(content), 0o600)
		if err != nil {
			return fmt.Errorf("certificate of the core: %w", err)
		}
	}
	events, err := freePort(ctx)
	if err != nil {
		return err
	}
	c.Core = app.CoreConfig{
		URL: conn.CoreURL, ID: conn.CoreIdentity.Issuer, JWKSFile: "keys/core-jwks.json", ClientID: id, KeyFile: "keys/core.jwk", EventsAddr: events,
		Peer: app.Peer{CAFile: "keys/core-ca.pem", CertFile: "keys/core-client.pem", CertKey: "keys/core-client-key.pem"},
	}
	return conn.post(ctx, conn.CoreManagement+"/gateways", map[string]any{
		"id": id, "jwks": json.RawMessage(jwks), "push_url": "https://" + events,
	}, nil)
}

// configureClient makes the key of a machine client.
func configureClient(dir string, office Office) (app.ClientConfig, error) {
	o, ok := gateway.ParseOffice(office)
	if !ok {
		return app.ClientConfig{}, fmt.Errorf("no office answers to %q", office)
	}
	id := "client-" + o.Code
	private := filepath.Join("clients", o.Code+".jwk")
	key, err := keepKey(filepath.Join(dir, private), jose.ES256)
	if err != nil {
		return app.ClientConfig{}, err
	}
	jwks, err := json.Marshal(jose.NewKeySet(key.Public()))
	if err != nil {
		return app.ClientConfig{}, fmt.Errorf("public keys: %w", err)
	}
	public := filepath.Join("clients", o.Code+".jwks.json")
	err = sim.WriteFile(filepath.Join(dir, public), jwks, 0o600)
	if err != nil {
		return app.ClientConfig{}, fmt.Errorf("client of %s: %w", office, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, private))
	if err != nil {
		return app.ClientConfig{}, fmt.Errorf("client of %s: %w", office, err)
	}
	b, err := json.Marshal(Client{ID: id, Office: o.ID(), Key: raw})
	if err != nil {
		return app.ClientConfig{}, fmt.Errorf("client of %s: %w", office, err)
	}
	err = sim.WriteFile(filepath.Join(dir, "clients", o.Code+".client.json"), b, 0o600)
	return app.ClientConfig{ID: id, Office: o.ID(), JWKSFile: public}, err
}

// ReadClient reads a client file that Configure wrote.
func ReadClient(path string) (Client, jose.Key, error) {
	var c Client
	b, err := os.ReadFile(path)
	if err != nil {
		return c, jose.Key{}, fmt.Errorf("client: %w", err)
	}
	err = json.Unmarshal(b, &c)
	if err != nil {
		return c, jose.Key{}, fmt.Errorf("client %s: %w", path, err)
	}
	key, err := jose.ParsePrivateKey(c.Key, jose.ES256)
	if err != nil {
		return c, jose.Key{}, fmt.Errorf("client %s: %w", path, err)
	}
	return c, key, nil
}

// keepKey loads a key, or makes one the first time.
func keepKey(path string, alg jose.Algorithm) (jose.Key, error) {
	key, err := jose.LoadKey(path, alg)
	if err == nil {
		return key, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return jose.Key{}, fmt.Errorf("key %s: %w", path, err)
	}
	key, err = jose.GenerateKey(alg)
	if err != nil {
		return jose.Key{}, fmt.Errorf("make key %s: %w", path, err)
	}
	err = jose.SaveKey(path, key)
	if err != nil {
		return jose.Key{}, fmt.Errorf("keep key %s: %w", path, err)
	}
	return key, nil
}

func freePort(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close() //nolint:errcheck // it was only asked for its number
	return l.Addr().String(), nil
}

// DemoDoor answers the synthetic people who can log in without a password, on
// loopback, in the demo.
func DemoDoor() *web.DemoDoor {
	door := &web.DemoDoor{}
	for _, o := range sim.Operators() {
		code := o.OfficeCode
		if o.OfficeISTAT != "" {
			code = o.OfficeISTAT
		}
		office, ok := gateway.ParseOffice(code)
		if !ok {
			continue
		}
		role := gateway.RoleClerk
		if o.Role == "supervisor" {
			role = gateway.RoleReferent
		}
		door.Operators = append(door.Operators, web.DemoOperator{
			ID: o.ID, Name: o.Name + " " + o.Surname, Office: office, Role: role, Station: o.Station, Note: o.OfficeName,
		})
	}
	// One person per ministry: they change the rules and see no request.
	door.Operators = append(
		door.Operators,
		web.DemoOperator{ID: "owner-interior", Name: "Livia Serrani", Role: gateway.RoleOwnerInterior, Note: "carica e approva regole / uploads and approves rules"},
		web.DemoOperator{ID: "owner-maeci", Name: "Ettore Valmarin", Role: gateway.RoleOwnerMAECI, Note: "carica e approva regole / uploads and approves rules"},
	)
	seen := map[string]bool{}
	for _, p := range sim.People() {
		if seen[p.CF] {
			continue
		}
		seen[p.CF] = true
		door.Citizens = append(door.Citizens, web.DemoCitizen{
			ID: "citizen-" + p.IDANPR, Name: p.Name + " " + p.Surname, FiscalCode: p.CF,
			Where: p.Address.Locality + " (" + p.Address.ISO2 + ")", Level: 3, Note: p.Note,
		})
	}
	return door
}

// DemoWorkers are the times of a world that must not make people wait.
func DemoWorkers() app.WorkerConfig {
	return app.WorkerConfig{
		Lease: 15 * time.Second, Poll: 250 * time.Millisecond, RetryFirst: 250 * time.Millisecond, RetryMost: 5 * time.Second,
		Realign: 10 * time.Minute, FeedEvery: 2 * time.Second,
	}
}
