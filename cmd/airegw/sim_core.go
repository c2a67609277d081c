package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"airegw/gateway/app"
	"airegw/testharness/coresim"
	"airegw/testharness/sim"
)

type simCoreCmd struct {
	Addr           string        `help:"Loopback address of the protocol (mutual TLS)." default:"127.0.0.1:0"`
	ManagementAddr string        `help:"Loopback address of the management API." default:"127.0.0.1:0"`
	Registry       string        `help:"Address of a register simulator that is told of issued and annulled cards (CIE8, CIE7); needs --registry-management." placeholder:"URL"`
	RegistryManage string        `name:"registry-management" help:"Management address of that simulator: it issues the core's certificates there." placeholder:"URL"`
	Dir            string        `help:"Folder that keeps keys and ledger; without it memory only." type:"path"`
	Profile        sim.Profile   `help:"polite, rude or hostile." default:"polite"`
	Seed           uint64        `help:"Seed; 0 draws one."`
	Step           time.Duration `help:"Time between two events of an order; 0: only on demand." default:"700ms"`
}

// Run serves until it is told to stop; one JSON line on stdout says where.
func (c *simCoreCmd) Run(ctx context.Context, std streams) error {
	identity, err := c.identity(ctx)
	if err != nil {
		return err
	}
	s, err := coresim.Start(coresim.Options{
		Profile: c.Profile, Seed: c.Seed, Dir: c.Dir, Step: c.Step, Registry: c.Registry, RegistryIdentity: identity,
		Log: app.NewLog(app.LogConfig{Level: "warn"}, std.err),
	}, c.Addr, c.ManagementAddr)
	if err != nil {
		return fmt.Errorf("core simulator: %w", err)
	}
	err = json.NewEncoder(std.out).Encode(map[string]any{
		"url": s.URL, "management_url": s.ManagementURL, "core": s.Identity(), "pid": os.Getpid(),
	})
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, s.Close())
}

// identity asks the register simulator for certificates of the core.
func (c *simCoreCmd) identity(ctx context.Context) (id sim.SOAPIdentity, err error) {
	if c.Registry == "" {
		return id, nil
	}
	if c.RegistryManage == "" {
		return id, usage("--registry needs --registry-management, for the certificates of the core")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.RegistryManage, "/")+"/soap", strings.NewReader(`{"sender":"CIEONL","station":"CIEONLINE"}`))
	if err != nil {
		return id, usage("--registry-management: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return id, fmt.Errorf("certificates of the core: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusCreated {
		return id, fmt.Errorf("certificates of the core: the simulator answered %d", resp.StatusCode)
	}
	err = sim.ReadJSON(resp.Body, 1<<20, &id)
	if err != nil {
		return id, fmt.Errorf("certificates of the core: %w", err)
	}
	return id, nil
}
