package main

import (
	"context"
	"errors"
	"fmt"

	"airegw/gateway/app"
)

type serveCmd struct {
	Config string `help:"Configuration file (YAML); see \"airegw config check\"." required:"" type:"existingfile" placeholder:"FILE"`
	Roles  string `help:"What this replica does: web (pages, API, the core's events), work (checks, routing, relay), or both. Less than both needs PostgreSQL." enum:"both,web,work" default:"both"`
}

// Run serves until it is told to stop, then drains.
func (c *serveCmd) Run(ctx context.Context, std streams) error {
	cfg, err := app.ReadConfig(c.Config)
	if err != nil {
		return usage("%w", err)
	}
	log := app.NewLog(cfg.Log, std.err)
	roles := app.Roles(c.Roles)
	if c.Roles == "both" {
		roles = app.RoleBoth
	}
	a, err := app.Assemble(ctx, cfg, app.Options{Log: log, Version: version, Roles: roles})
	if err != nil {
		return err
	}
	log.Info("airegw serves", "roles", c.Roles, "url", a.URL(), "environment", cfg.Environment, "version", version)
	return errors.Join(a.Run(ctx), a.Close())
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Read a configuration file and say what is wrong with it."`
}

type configCheckCmd struct {
	File string `arg:"" help:"Configuration file." type:"existingfile"`
}

// Run checks one file.
func (c *configCheckCmd) Run(std streams) error {
	_, err := app.ReadConfig(c.File)
	if err != nil {
		return bad("%s: %w", c.File, err)
	}
	fmt.Fprintln(std.out, c.File+": ok")
	return nil
}
