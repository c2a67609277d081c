package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"airegw/gateway/app"
	"airegw/testharness"
	"airegw/testharness/sim"
)

type demoCmd struct {
	Dir     string        `help:"Folder that keeps the demo." default:"data" type:"path"`
	Listen  string        `help:"Address of pages and API (default 127.0.0.1:8080, or a free port when that is taken)." placeholder:"ADDR"`
	Tour    bool          `help:"Take ten citizens through the whole life of a request, without hands, in the demo running on this folder; start one if none runs."`
	Limit   time.Duration `help:"How long a tour may take." default:"40s"`
	Sims    string        `help:"Use simulators of another process: the connection file written by \"airegw sim all\"." placeholder:"FILE" type:"path"`
	Profile sim.Profile   `help:"How the simulators behave: polite, rude or hostile." default:"polite"`
	Seed    uint64        `help:"Seed of the simulators' whims; 0 draws one."`
	Step    time.Duration `help:"Time between two events of an order at the core." default:"700ms"`
	Verbose bool          `help:"Log every call, not just what is odd." short:"v"`
	JSON    bool          `help:"With --tour: the final table as JSON on stdout." name:"json"`
}

// Run starts a demo, or the tour.
func (c *demoCmd) Run(ctx context.Context, std streams) error {
	level := "warn"
	if c.Verbose {
		level = "info"
	}
	log := app.NewLog(app.LogConfig{Level: level}, std.err)
	if c.Tour {
		return c.tour(ctx, std, log)
	}
	d, err := c.start(ctx, log, c.Listen)
	if err != nil {
		return err
	}
	c.welcome(std, d.DemoInfo)
	return errors.Join(d.Run(ctx), d.Close())
}

func (c *demoCmd) start(ctx context.Context, log *slog.Logger, listen string) (*testharness.Demo, error) {
	return testharness.StartDemo(ctx, testharness.DemoOptions{
		Dir: c.Dir, Listen: listen, Sims: c.Sims, Profile: c.Profile, Seed: c.Seed, Step: c.Step, Log: log, Version: version,
	})
}

// tour drives the demo that runs on the folder, or one of its own.
func (c *demoCmd) tour(ctx context.Context, std streams, log *slog.Logger) error {
	info, running := testharness.FindDemo(ctx, c.Dir)
	if !running {
		fmt.Fprintln(std.err, "nessuna demo in corso su questa cartella: ne avvio una / no demo runs on this folder: starting one")
		d, err := c.start(ctx, log, "127.0.0.1:0")
		if err != nil {
			return err
		}
		runCtx, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- d.Run(runCtx) }()
		err = c.drive(ctx, std, d.DemoInfo)
		stop()
		return errors.Join(err, <-done, d.Close())
	}
	return c.drive(ctx, std, info)
}

func (c *demoCmd) drive(ctx context.Context, std streams, info testharness.DemoInfo) error {
	out := std.out
	if c.JSON {
		out = std.err
	}
	lines, err := testharness.Tour(ctx, testharness.TourOptions{BaseURL: info.URL, Dir: c.Dir, Conn: info.Conn, Out: out, Limit: c.Limit})
	if c.JSON {
		jsonErr := json.NewEncoder(std.out).Encode(map[string]any{"lines": lines, "ok": err == nil})
		err = errors.Join(err, jsonErr)
	}
	if err != nil {
		return bad("tour: %w", err)
	}
	return nil
}

// welcome prints where to go and who can log in.
func (c *demoCmd) welcome(std streams, info testharness.DemoInfo) {
	w := std.out
	door := testharness.DemoDoor()
	fmt.Fprintf(w, "airegw %s — demo pronta / demo ready\n\n", version)
	fmt.Fprintf(w, "  pagine / pages        %s/\n", info.URL)
	fmt.Fprintf(w, "  accesso / log in      %s/login   (%d operatori, %d cittadini / operators, citizens)\n", info.URL, len(door.Operators), len(door.Citizens))
	fmt.Fprintf(w, "  API                   %s/api/v1/openapi.yaml\n", info.URL)
	fmt.Fprintf(w, "  stato / status        %s/status\n", info.URL)
	fmt.Fprintf(w, "  simulatori / sims     ANPR %s   core %s (management)\n", info.Conn.ANPRManagement, info.Conn.CoreManagement)
	if len(info.Clients) > 0 {
		fmt.Fprintf(w, "  client API            %s (%d)\n", relative(filepath.Dir(info.Clients[0])), len(info.Clients))
	}
	fmt.Fprintf(w, "\n  Chi può entrare, per esempio / who can log in, for example:\n")
	for i, o := range door.Operators {
		if i < 3 || (i >= 11 && i < 14) {
			fmt.Fprintf(w, "    operatore %-18s %s, %s\n", o.Name, o.Office.Kind, o.Office.Name())
		}
	}
	for i, p := range door.Citizens {
		if i%9 == 0 {
			fmt.Fprintf(w, "    cittadino %-22s %s — %s\n", p.Name, p.Where, p.Note)
		}
	}
	fmt.Fprintf(w, "\n  Il giro completo, in un altro terminale / the whole tour, in another terminal:\n    %s demo --tour%s\n", relative(os.Args[0]), dirFlag(c.Dir))
	fmt.Fprintf(w, "\n  Tutti i dati sono sintetici. Ctrl-C per fermare. / All data are synthetic. Ctrl-C stops.\n")
}

func dirFlag(dir string) string {
	if filepath.Base(dir) == "data" {
		return ""
	}
	return " --dir " + relative(dir)
}

// relative shortens a path for people.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil || len(rel) > len(path) {
		return path
	}
	return rel
}
