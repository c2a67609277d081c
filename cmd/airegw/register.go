package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"airegw/anpr"
	"airegw/gateway/app"
	"airegw/policies"
)

// registerCmd is what the link to ANPR and PDND needs from its administrator.
type registerCmd struct {
	Tracing tracingCmd      `cmd:"" help:"PDND's daily tracing as CSV: date, purpose, status, voucher, count."`
	Keys    registerKeysCmd `cmd:"" help:"The public halves of our keys at PDND, to be uploaded there: both, in a rotation."`
	Quota   quotaCmd        `cmd:"" help:"What was asked of each service today, and which are not asked until when."`
}

type tracingCmd struct {
	database
	Day string `help:"Day in Italy, YYYY-MM-DD; default yesterday." placeholder:"DAY"`
	Out string `help:"Folder for the file DAY.csv, which must not exist; default standard output." type:"existingdir" placeholder:"DIR"`
}

// Run writes the file of a day. It reads beside a running server.
func (c *tracingCmd) Run(ctx context.Context, std streams) error {
	day := c.Day
	if day == "" {
		day = time.Now().In(policies.Rome()).AddDate(0, 0, -1).Format(time.DateOnly)
	}
	_, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return usage("--day: %s is no day, YYYY-MM-DD", day)
	}
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	traces, err := db.Tracing(ctx, day)
	err = errors.Join(err, db.Close())
	if err != nil {
		return err
	}
	if c.Out == "" {
		return writeTracing(std.out, traces)
	}
	path := filepath.Join(c.Out, day+".csv")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // counts, no personal data
	if err != nil {
		return bad("tracing: %w", err)
	}
	err = errors.Join(writeTracing(f, traces), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write tracing: %w", err)
	}
	fmt.Fprintln(std.err, path)
	return nil
}

// writeTracing writes the file as PDND reads it. A call without a whole answer
// is traced as a gateway's timeout is (spec §7, error taxonomy).
func writeTracing(w io.Writer, traces []anpr.Trace) error {
	out := csv.NewWriter(w)
	lines := [][]string{{"date", "purpose_id", "status", "token_id", "requests_count"}}
	for _, t := range traces {
		status := t.Status
		if status == 0 {
			status = 504
		}
		line := []string{t.Day, t.PurposeID, strconv.Itoa(status), t.TokenID, strconv.Itoa(t.Count)}
		lines = append(lines, line)
	}
	return errors.Join(out.WriteAll(lines), out.Error())
}

type registerKeysCmd struct {
	Config string `arg:"" help:"Configuration file." type:"existingfile"`
}

// Run prints a JWK set without private members.
func (c *registerKeysCmd) Run(std streams) error {
	config, err := app.ReadConfig(c.Config)
	if err != nil {
		return bad("%w", err)
	}
	set, err := app.RegisterKeys(config)
	if err != nil {
		return bad("%w", err)
	}
	_, err = fmt.Fprintf(std.out, "%s\n", set)
	return err
}

type quotaCmd struct {
	database
	JSON bool `help:"Machine output." name:"json"`
}

// Run prints today's counts and the stops that hold.
func (c *quotaCmd) Run(ctx context.Context, std streams) error {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	spent, err := db.Quota().Spent(ctx, now.In(policies.Rome()).Format(time.DateOnly))
	err = errors.Join(err, db.Close())
	if err != nil {
		return err
	}
	type stop struct {
		Service string    `json:"service"`
		Code    string    `json:"code"`
		Until   time.Time `json:"until"`
	}
	answer := struct {
		Used  map[string]int `json:"used"`
		Stops []stop         `json:"stops"`
	}{spent.Used, []stop{}}
	for _, s := range spent.Stops {
		if now.Before(s.Until) {
			answer.Stops = append(answer.Stops, stop{s.Service, string(s.Code), s.Until})
		}
	}
	if c.JSON {
		return json.NewEncoder(std.out).Encode(answer)
	}
	for _, service := range []string{"C030", "C015", "C020", "C019", "C018"} {
		fmt.Fprintf(std.out, "%s  %d\n", service, answer.Used[service])
	}
	for _, s := range answer.Stops {
		fmt.Fprintf(std.out, "%s  not asked until %s (%s)\n", s.Service, s.Until.Format(time.RFC3339), s.Code)
	}
	return nil
}
