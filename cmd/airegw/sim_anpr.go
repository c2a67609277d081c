package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"airegw/gateway/app"
	"airegw/testharness/anprcontract"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

type simAnprCmd struct {
	Addr           string      `help:"Loopback address of the protocol." default:"127.0.0.1:0"`
	ManagementAddr string      `help:"Loopback address of the management API." default:"127.0.0.1:0"`
	ClientJWKS     string      `help:"Public key set (or one JWK) of your client, to be registered instead of a test client." name:"client-jwks" type:"existingfile" placeholder:"FILE"`
	ClientID       string      `help:"uuid of your client (with --client-jwks; default: a new one)." name:"client-id" placeholder:"UUID"`
	ClientOut      string      `help:"Where to write the test client with its private key (default DIR/client.json, else a temporary file)." type:"path" placeholder:"FILE"`
	Profile        sim.Profile `help:"polite, rude or hostile." default:"polite"`
	Seed           uint64      `help:"Seed; 0 draws one."`
	Dir            string      `help:"Folder that keeps keys, clients and ledger; without it memory only." type:"path"`
	Mutant         string      `help:"Break one rule, to judge those who judge the simulator (names: GET /mutants of the management API)." placeholder:"NAME"`
}

// Run serves until it is told to stop; one JSON line on stdout says where.
func (c *simAnprCmd) Run(ctx context.Context, std streams) error {
	log := app.NewLog(app.LogConfig{Level: "warn"}, std.err)
	s, err := anprsim.New(anprsim.Options{Profile: c.Profile, Seed: c.Seed, Dir: c.Dir, Mutant: c.Mutant, Logger: log})
	if err != nil {
		return usage("%w", err)
	}
	served := &servedANPR{Server: s}
	err = c.client(served)
	if err == nil {
		err = served.start(c.Addr, c.ManagementAddr)
	}
	if err == nil {
		err = json.NewEncoder(std.out).Encode(served.line)
	}
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, served.close())
}

// servedANPR is a register simulator on loopback with one client.
type servedANPR struct {
	*anprsim.Server
	line    anprcontract.SimLine
	client  anprcontract.Client // without a key when it is somebody else's
	servers []*sim.Server
	temp    string
}

// client registers the user's client, or makes a test client and writes it down.
func (c *simAnprCmd) client(s *servedANPR) error {
	if c.ClientJWKS != "" {
		return c.theirClient(s)
	}
	path := c.ClientOut
	if path == "" && c.Dir != "" {
		path = filepath.Join(c.Dir, "client.json")
	}
	if path != "" {
		text, err := os.ReadFile(path)
		switch {
		case err == nil:
			s.client, err = anprcontract.ReadClient(bytes.NewReader(text))
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			s.line.ClientFile = path
			return s.register()
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("test client: %w", err)
		}
	}
	err := s.newClient()
	if err != nil {
		return err
	}
	if path == "" {
		s.temp, err = os.MkdirTemp("", "airegw-sim-anpr-")
		if err != nil {
			return fmt.Errorf("test client: %w", err)
		}
		path = filepath.Join(s.temp, "client.json")
	}
	text, err := s.client.Encode()
	if err == nil {
		err = sim.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("test client: %w", err)
	}
	s.line.ClientFile = path
	return nil
}

func (c *simAnprCmd) theirClient(s *servedANPR) error {
	text, err := os.ReadFile(c.ClientJWKS)
	if err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	err = json.Unmarshal(text, &set)
	if err != nil {
		return usage("%s: %w", c.ClientJWKS, err)
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{text}
	}
	their := anprcontract.NewPurposes(c.ClientID, anprcontract.ServiceNames())
	whole, err := json.Marshal(map[string]any{"client_id": their.ID, "purposes": their.Purposes, "jwks": set})
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	var client anprsim.Client
	err = json.Unmarshal(whole, &client)
	if err == nil {
		err = s.RegisterClient(client)
	}
	if err != nil {
		return usage("%s: %w", c.ClientJWKS, err)
	}
	known, _ := s.RegisteredClient(their.ID)
	their.Kid = known.JWKS.Keys[0].KeyID
	s.client = their
	return nil
}

func (s *servedANPR) newClient() error {
	var err error
	s.client, err = anprcontract.NewClient(anprcontract.ServiceNames())
	if err != nil {
		return err
	}
	return s.register()
}

func (s *servedANPR) register() error {
	return s.RegisterClient(anprsim.Client{ID: s.client.ID, JWKS: s.client.Public(), Purposes: s.client.Purposes})
}

// start serves both surfaces; line is complete on return.
func (s *servedANPR) start(addr, managementAddr string) error {
	var known atomic.Pointer[anprcontract.SimLine]
	protocol := s.Handler()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line := known.Load()
		if r.URL.Path == anprcontract.DiscoveryPath && r.Method == http.MethodGet && line != nil {
			sim.WriteJSON(w, http.StatusOK, line)
			return
		}
		protocol.ServeHTTP(w, r)
	})
	front, err := sim.Start(addr, handler, nil)
	if err != nil {
		return fmt.Errorf("register simulator: %w", err)
	}
	s.servers = append(s.servers, front)
	management, err := sim.Start(managementAddr, s.Management(), nil)
	if err != nil {
		return fmt.Errorf("register simulator: %w", err)
	}
	s.servers = append(s.servers, management)
	id := s.Identity()
	l := &s.line
	// The part of a service, the same in its address and in its audience.
	service := "/" + anprcontract.ServiceNames()["C030"] + "/v1"
	l.URL, l.Audience = front.URL+strings.TrimSuffix(id.Services["C030"], service), strings.TrimSuffix(id.Audiences["C030"], service)
	l.TokenURL, l.JWKSURL, l.ManagementURL = front.URL+id.TokenPath, front.URL+id.JWKSPath, management.URL
	l.CIEURL, l.ConsularURL = front.URL+id.CIEPath, front.URL+id.ConsularPath
	l.AssertionAudience, l.Audiences, l.Services = id.AssertionAudience, id.Audiences, map[string]string{}
	for code, path := range id.Services {
		l.Services[code] = front.URL + path + id.QueryPath
	}
	l.ClientID, l.Kid, l.Purposes, l.Seed, l.PID = s.client.ID, s.client.Kid, s.client.Purposes, s.Seed(), os.Getpid()
	line := *l
	known.Store(&line)
	return nil
}

func (s *servedANPR) close() error {
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Close())
	}
	errs = append(errs, s.Close())
	if s.temp != "" {
		errs = append(errs, os.RemoveAll(s.temp))
	}
	return errors.Join(errs...)
}
