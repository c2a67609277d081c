package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"airegw/testharness"
)

type benchLoginCmd struct {
	Clients []int         `help:"Clients at once, one run each." default:"1,8"`
	For     time.Duration `help:"How long each run takes, at most 30 seconds." default:"5s"`
	JSON    bool          `help:"Machine output." name:"json"`
}

// Run measures and prints.
func (c *benchLoginCmd) Run(ctx context.Context, std streams) error {
	dir, err := os.MkdirTemp("", "airegw-bench-")
	if err != nil {
		return fmt.Errorf("folder of the bench: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find our own binary: %w", err)
	}
	for _, n := range c.Clients {
		if n < 1 || n > 64 {
			return usage("--clients: from 1 to 64")
		}
	}
	fmt.Fprintf(std.err, "misuro per %s con %v client / measuring for %s with %v clients …\n", c.For, c.Clients, c.For, c.Clients)
	b, err := testharness.BenchLogin(ctx, testharness.LoginBenchOptions{Dir: dir, Binary: binary, Clients: c.Clients, For: c.For})
	if err != nil {
		return bad("bench: %w", err)
	}
	if c.JSON {
		return json.NewEncoder(std.out).Encode(b)
	}
	for _, r := range b.Runs {
		fmt.Fprintf(std.out, "%d clients: %.1f logins/s complete (%d, session rows %d), p50 %.0f ms, p99 %.0f ms; CPU for each: gateway and generator %.1f ms, simulator %.1f ms\n",
			r.Clients, r.PerSecond, r.Logins, r.Sessions, r.P50, r.P99, r.GatewayCPU, r.SimulatorCPU)
	}
	fmt.Fprintf(std.out, "this machine in the same run: %.0f RSA-2048 signatures/s on one core, %.0f on all\n", b.Signatures.OneCore, b.Signatures.AllCores)
	return nil
}
