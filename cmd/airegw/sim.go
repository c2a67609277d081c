package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"airegw/gateway/app"
	"airegw/testharness"
	"airegw/testharness/sim"
)

type simCmd struct {
	All  simAllCmd  `cmd:"" help:"The register (ANPR, PDND), the issuance core and the identity providers, on free loopback ports, until stopped."`
	Anpr simAnprCmd `cmd:"" help:"The register (ANPR door A and B, PDND) alone, for others' clients, until stopped."`
	Core simCoreCmd `cmd:"" help:"The issuance core alone, until stopped."`
	Op   simOpCmd   `cmd:"" help:"The identity providers alone, until stopped: Trust Anchor, CIE provider, operators' providers."`
	Sign simSignCmd `cmd:"" help:"Ready headers for curl: voucher, Agid-JWT-Signature, Agid-JWT-TrackingEvidence, Digest."`
}

type simAllCmd struct {
	Dir     string        `help:"Folder that keeps keys and ledgers; without it memory only." type:"path"`
	Out     string        `help:"Where to write the connection file for \"airegw demo --sims\" (default DIR/sims.json)." type:"path" placeholder:"FILE"`
	Profile sim.Profile   `help:"polite, rude or hostile." default:"polite"`
	Seed    uint64        `help:"Seed; 0 draws one."`
	Step    time.Duration `help:"Time between two events of an order at the core." default:"700ms"`
}

// Run serves the simulators until it is told to stop; one JSON line on stdout
// says where they are.
func (c *simAllCmd) Run(ctx context.Context, std streams) error {
	log := app.NewLog(app.LogConfig{Level: "warn"}, std.err)
	if c.Dir != "" {
		err := os.MkdirAll(c.Dir, 0o700)
		if err != nil {
			return fmt.Errorf("folder of the simulators: %w", err)
		}
	}
	s, err := testharness.StartSims(testharness.SimOptions{Dir: c.Dir, Profile: c.Profile, Seed: c.Seed, Step: c.Step, Log: log, Login: true})
	if err != nil {
		return err
	}
	out := c.Out
	if out == "" && c.Dir != "" {
		out = filepath.Join(c.Dir, "sims.json")
	}
	if out != "" {
		err = s.Save(out)
	}
	if err == nil {
		err = json.NewEncoder(std.out).Encode(s.Connection)
	}
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, s.Close())
}
