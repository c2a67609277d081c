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

type benchCmd struct {
	Submit benchSubmitCmd `cmd:"" help:"Acknowledged durable submissions per second over HTTP, beside the machine's own limit in the same run."`
	Login  benchLoginCmd  `cmd:"" help:"Complete CIE logins per second through the simulated provider, beside RSA-2048 signatures per second in the same run."`
	ANPR   benchANPRCmd   `cmd:"" name:"anpr" help:"Checks of the register per second and what our side adds to a call, with a cached voucher and with a new one."`
	Policy benchPolicyCmd `cmd:"" help:"Nanoseconds and allocations of a full decision by the rules, beside one SHA-256 of its facts in the same run."`
}

type benchSubmitCmd struct {
	Clients int           `help:"Clients at once." default:"16"`
	For     time.Duration `help:"How long, at most one minute." default:"8s"`
	Dir     string        `help:"Folder for the bench's database (default: a temporary one, removed afterwards)." type:"path"`
	JSON    bool          `help:"Machine output." name:"json"`
}

// Run measures and prints.
func (c *benchSubmitCmd) Run(ctx context.Context, std streams) error {
	dir := c.Dir
	if dir == "" {
		temp, err := os.MkdirTemp("", "airegw-bench-")
		if err != nil {
			return fmt.Errorf("folder of the bench: %w", err)
		}
		defer os.RemoveAll(temp) //nolint:errcheck // a temporary folder
		dir = temp
	}
	fmt.Fprintf(std.err, "misuro per %s con %d client / measuring for %s with %d clients …\n", c.For, c.Clients, c.For, c.Clients)
	b, err := testharness.BenchSubmit(ctx, testharness.BenchOptions{Dir: dir, Clients: c.Clients, For: c.For})
	if err != nil {
		return bad("bench: %w", err)
	}
	if c.JSON {
		return errors.Join(json.NewEncoder(std.out).Encode(b))
	}
	fmt.Fprintf(std.out, "%.0f submissions/s acknowledged and durable (%d, rows counted %d), p50 %.2f ms, p99 %.2f ms, peak %.0f MiB, %d clients\n",
		b.PerSecond, b.Acknowledged, b.Rows, b.P50, b.P99, b.PeakRSS, b.Clients)
	fmt.Fprintf(std.out, "this machine's limit in the same run: %.0f rows/s group-committed, %.0f fsyncs/s (we reach %.0f %%)\n",
		b.Limit.PerSecond, b.Limit.FsyncsPerSecond, b.Share*100)
	return nil
}
