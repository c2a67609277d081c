package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"airegw/testharness"
)

type benchANPRCmd struct {
	Clients int           `help:"Checks at once." default:"4"`
	For     time.Duration `help:"How long each half, at most 30 s." default:"4s"`
	JSON    bool          `help:"Machine output." name:"json"`
}

// Run measures and prints.
func (c *benchANPRCmd) Run(ctx context.Context, std streams) (err error) {
	dir, err := os.MkdirTemp("", "airegw-bench-")
	if err != nil {
		return fmt.Errorf("folder of the bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b, err := testharness.BenchANPR(ctx, testharness.ANPRBenchOptions{Dir: dir, Clients: c.Clients, For: c.For})
	if err != nil {
		return bad("bench: %w", err)
	}
	if c.JSON {
		return json.NewEncoder(std.out).Encode(b)
	}
	for _, half := range []struct {
		name string
		run  testharness.ANPRRun
	}{{"cached voucher", b.Cached}, {"new voucher", b.Fresh}} {
		fmt.Fprintf(std.out, "%-14s  %.0f checks/s (%d checks, %d calls, %d vouchers), p50 %.1f ms, p99 %.1f ms, CPU %.1f ms with the simulator; added to a call %.2f ms (%.2f less a bare POST's %.2f), CPU %.2f ms\n",
			half.name, half.run.PerSecond, half.run.Checks, half.run.Calls, half.run.Vouchers, half.run.P50, half.run.P99,
			half.run.CheckCPU, half.run.AddedP50, half.run.CallP50, half.run.BareP50, half.run.CallCPU)
	}
	return nil
}
