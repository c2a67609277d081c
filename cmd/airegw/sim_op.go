package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"airegw/gateway/app"
	"airegw/testharness/opsim"
	"airegw/testharness/sim"
)

type simOpCmd struct {
	Addr           string      `help:"Loopback address of the CIE provider." default:"127.0.0.1:0"`
	AnchorAddr     string      `help:"Loopback address of the Trust Anchor." default:"127.0.0.1:0"`
	OperatorsAddr  string      `help:"Loopback address of the operators' providers." default:"127.0.0.1:0"`
	ManagementAddr string      `help:"Loopback address of the management API." default:"127.0.0.1:0"`
	Dir            string      `help:"Folder that keeps keys and registrations; without it memory only." type:"path"`
	Profile        sim.Profile `help:"polite, rude or hostile." default:"polite"`
	Seed           uint64      `help:"Seed; 0 draws one."`
	RelyingParty   []string    `help:"Entity id of a relying party that is serving already: register it at start." placeholder:"URL"`
	Auto           []string    `help:"Fiscal code of a person who logs in without pages; several take turns." placeholder:"CODE"`
}

// simOpLine is what "airegw sim op" prints.
type simOpLine struct {
	opsim.Identity
	ManagementURL string       `json:"management_url"`
	People        []simOpWho   `json:"people"`
	Staff         []simOpStaff `json:"staff"`
	PID           int          `json:"pid"`
}

type simOpWho struct {
	FiscalCode  string         `json:"fiscal_code"`
	Name        string         `json:"name"`
	MaxLevel    opsim.Level    `json:"max_level"`
	Credentials opsim.Standing `json:"credentials"`
	Minor       bool           `json:"minor,omitempty"`
	Note        string         `json:"note"`
}

type simOpStaff struct {
	ID    string `json:"id"`
	Realm string `json:"realm"`
	Name  string `json:"name"`
	Note  string `json:"note"`
}

// Run serves until it is told to stop; one JSON line on stdout says where the
// parties are and who can log in.
func (c *simOpCmd) Run(ctx context.Context, std streams) error {
	s, err := opsim.Start(opsim.Options{
		Profile: c.Profile, Seed: c.Seed, Dir: c.Dir, Logger: app.NewLog(app.LogConfig{Level: "warn"}, std.err),
	}, opsim.Listen{Anchor: c.AnchorAddr, Provider: c.Addr, Operators: c.OperatorsAddr, Management: c.ManagementAddr})
	if err != nil {
		return usage("%w", err)
	}
	err = c.prepare(ctx, s)
	if err == nil {
		err = json.NewEncoder(std.out).Encode(opLine(s))
	}
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, s.Close())
}

func (c *simOpCmd) prepare(ctx context.Context, s *opsim.Running) error {
	for _, id := range c.RelyingParty {
		_, err := s.Register(ctx, id)
		if err != nil {
			return fmt.Errorf("relying party: %w", err)
		}
	}
	if len(c.Auto) == 0 {
		return nil
	}
	err := s.SetAuto(&opsim.Auto{People: c.Auto})
	if err != nil {
		return usage("--auto: %w", err)
	}
	return nil
}

func opLine(s *opsim.Running) simOpLine {
	line := simOpLine{Identity: s.Identity(), ManagementURL: s.ManagementURL, PID: os.Getpid()}
	for _, p := range s.Citizens() {
		line.People = append(line.People, simOpWho{
			FiscalCode: p.CF, Name: p.Name + " " + p.Surname, MaxLevel: p.MaxLevel, Credentials: p.Credentials, Minor: p.Minor, Note: p.Note,
		})
	}
	for _, o := range s.OperatorList() {
		line.Staff = append(line.Staff, simOpStaff{ID: o.ID, Realm: o.Realm, Name: o.Name, Note: o.Note})
	}
	return line
}
