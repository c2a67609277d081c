package testharness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"airegw/gateway/app"
	"airegw/gateway/jose"
	"airegw/testharness/sim"
)

// DemoOptions says how to start a demo.
type DemoOptions struct {
	Dir     string // keeps everything: database, keys, ledgers of the simulators
	Listen  string // default 127.0.0.1:8080, or a free port when that is taken
	Sims    string // connection file of simulators that run elsewhere; empty starts our own
	Profile sim.Profile
	Seed    uint64
	Step    time.Duration // between two events of an order at the core
	Log     *slog.Logger
	Version string
}

// Demo is a running demo: gateway and simulators on loopback.
type Demo struct {
	DemoInfo
	App  *app.App
	sims *Sims
}

// DemoInfo is what another process needs to join a running demo.
type DemoInfo struct {
	URL     string     `json:"url"`
	PID     int        `json:"pid"`
	Clients []string   `json:"clients"` // files of machine clients
	Conn    Connection `json:"simulators"`
}

// DemoOffices are the offices that have a machine client in the demo.
func DemoOffices() []Office {
	var offices []Office
	seen := map[string]bool{}
	for _, o := range DemoDoor().Operators {
		if id := o.Office.ID(); id != "" && !seen[id] {
			seen[id] = true
			offices = append(offices, id)
		}
	}
	return offices
}

// StartDemo starts simulators and gateway; Run makes it work. A folder serves
// one demo at a time.
func StartDemo(ctx context.Context, o DemoOptions) (_ *Demo, err error) {
	d := &Demo{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if running, ok := FindDemo(ctx, o.Dir); ok {
		// Before anything of its folder is touched: its simulators keep their
		// ledgers there.
		return nil, fmt.Errorf("a demo runs on this folder already: %s", running.URL)
	}
	err = os.MkdirAll(o.Dir, 0o700)
	if err != nil {
		return nil, fmt.Errorf("folder of the demo: %w", err)
	}
	if o.Step == 0 {
		o.Step = 700 * time.Millisecond
	}
	// An RSA key takes its time: make ours while the simulators make theirs.
	made := make(chan error, 1)
	go func() {
		err := os.MkdirAll(filepath.Join(o.Dir, "keys"), 0o700)
		if err == nil {
			_, err = keepKey(filepath.Join(o.Dir, "keys", "pdnd.jwk"), jose.RS256)
		}
		made <- err
	}()
	if o.Sims != "" {
		d.Conn, err = ReadConnection(o.Sims)
	} else {
		d.sims, err = StartSims(SimOptions{Dir: filepath.Join(o.Dir, "sims"), Profile: o.Profile, Seed: o.Seed, Step: o.Step, Log: o.Log, Login: true})
		if err == nil {
			d.Conn = d.sims.Connection
		}
	}
	err = errors.Join(err, <-made)
	if err != nil {
		return nil, err
	}
	listen := o.Listen
	if listen == "" {
		listen = "127.0.0.1:8080"
		if taken(ctx, listen) {
			listen = "127.0.0.1:0"
		}
	}
	c, err := Configure(ctx, d.Conn, o.Dir, GatewayOptions{Listen: listen, Clients: DemoOffices(), Workers: DemoWorkers(), Log: app.LogConfig{Level: "warn"}, Consular: true})
	if err != nil {
		return nil, err
	}
	d.App, err = app.Assemble(ctx, c, app.Options{Log: o.Log, Demo: DemoDoor(), Version: o.Version})
	if err != nil {
		return nil, err
	}
	d.URL, d.PID = d.App.URL(), os.Getpid()
	for _, cl := range c.Clients {
		d.Clients = append(d.Clients, filepath.Join(o.Dir, "clients", filepath.Base(cl.ID[len("client-"):])+".client.json"))
	}
	err = d.finishClients()
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(d.DemoInfo, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return d, sim.WriteFile(demoFile(o.Dir), append(b, '\n'), 0o600)
}

// finishClients writes the address into the client files, now that it is known.
func (d *Demo) finishClients() error {
	for _, path := range d.Clients {
		c, _, err := ReadClient(path)
		if err != nil {
			return err
		}
		c.BaseURL = d.URL
		b, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("client file: %w", err)
		}
		err = sim.WriteFile(path, append(b, '\n'), 0o600)
		if err != nil {
			return fmt.Errorf("client file: %w", err)
		}
	}
	return nil
}

func demoFile(dir string) string { return filepath.Join(dir, "demo.json") }

func taken(ctx context.Context, addr string) bool {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return true
	}
	_ = l.Close()
	return false
}

// Run serves until ctx ends, and joins the simulated federation.
func (d *Demo) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	joined := make(chan error, 1)
	go func() {
		err := JoinFederation(ctx, d.Conn, d.App)
		if err != nil && ctx.Err() == nil {
			cancel() // a demo whose people cannot log in is none
		} else {
			err = nil
		}
		joined <- err
	}()
	err := d.App.Run(ctx)
	cancel()
	return errors.Join(err, <-joined)
}

// Close stops everything; the folder keeps what happened.
func (d *Demo) Close() error {
	var errs []error
	if d.App != nil {
		errs = append(errs, d.App.Close())
	}
	if d.sims != nil {
		errs = append(errs, d.sims.Close())
	}
	return errors.Join(errs...)
}

// FindDemo answers the demo that runs on a folder; false when none does.
func FindDemo(ctx context.Context, dir string) (DemoInfo, bool) {
	var info DemoInfo
	b, err := os.ReadFile(demoFile(dir))
	if err != nil || json.Unmarshal(b, &info) != nil || info.URL == "" {
		return info, false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, info.URL+"/status", nil)
	if err != nil {
		return info, false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return info, false
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return info, resp.StatusCode == http.StatusOK
}
