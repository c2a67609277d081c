package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"airegw/gateway"
	"airegw/testharness"
)

type submitCmd struct {
	File     string        `help:"JSON Lines file, one RequestInput a line (\"-\": standard input)." required:"" placeholder:"FILE"`
	URL      string        `help:"Address of the gateway (default: the one in the client file)." name:"url" placeholder:"URL"`
	Client   string        `help:"Client file: id, office, private key. Without it, of the files in data/clients (the demo writes them) each line uses its office's." placeholder:"FILE" type:"path"`
	Wait     bool          `help:"Wait until each request leaves the register's and the rules' hands, and report what came of it."`
	Limit    time.Duration `help:"How long --wait may take in all." default:"2m"`
	Parallel int           `help:"Lines under way at once." default:"8"`
	JSON     bool          `help:"One JSON object a line on stdout." name:"json"`
}

// submitted is what came of one line.
type submitted struct {
	Line     int                        `json:"line"`
	Key      string                     `json:"key,omitempty"`
	Accepted bool                       `json:"accepted"`
	Created  bool                       `json:"created"`
	Number   string                     `json:"number,omitempty"`
	Tracker  string                     `json:"tracker_code,omitempty"`
	State    string                     `json:"state,omitempty"`
	Outcome  string                     `json:"outcome,omitempty"`
	Code     string                     `json:"code,omitempty"`
	Problems []testharness.FieldProblem `json:"problems,omitempty"`

	session *testharness.Session
}

// Run submits line by line; a broken line never stops the others. Exit 1 if any
// line was refused.
func (c *submitCmd) Run(ctx context.Context, std streams) error {
	in := std.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return usage("%w", err)
		}
		defer f.Close() //nolint:errcheck // read-only
		in = f
	}
	if c.Parallel < 1 || c.Parallel > 64 {
		return usage("--parallel is between 1 and 64")
	}
	callers, err := c.callers()
	if err != nil {
		return usage("%w", err)
	}
	progress := newProgress(std.err, "righe / lines")
	results := c.submitAll(ctx, callers, in, progress)
	if c.Wait {
		ctx, cancel := context.WithTimeout(ctx, c.Limit)
		defer cancel()
		c.await(ctx, results)
	}
	return c.report(std, results)
}

// callers are the machine clients at hand, by office; one given by name speaks
// for every line, and the gateway refuses what is not its office's.
type callers struct {
	only     *testharness.Session
	byOffice map[string]*testharness.Session
}

// callers reads the client files and where the gateway is.
func (c *submitCmd) callers() (callers, error) {
	paths := []string{c.Client}
	if c.Client == "" {
		found, err := filepath.Glob(filepath.Join("data", "clients", "*.client.json"))
		if err != nil || len(found) == 0 {
			return callers{}, errors.New("no client file: say --client FILE (the demo writes some into data/clients)")
		}
		paths = found
	}
	all := callers{byOffice: map[string]*testharness.Session{}}
	for _, path := range paths {
		client, key, err := testharness.ReadClient(path)
		if err != nil {
			return callers{}, err
		}
		base := c.URL
		if base == "" {
			base = client.BaseURL
		}
		if base == "" {
			return callers{}, errors.New("no address: say --url URL")
		}
		session := testharness.ClientSession(base, client.ID, key)
		all.byOffice[client.Office] = session
		if len(paths) == 1 {
			all.only = session
		}
	}
	return all, nil
}

// of answers who speaks for the office that a line names.
func (c callers) of(raw []byte) (*testharness.Session, bool) {
	if c.only != nil {
		return c.only, true
	}
	var line struct {
		Office string `json:"office"`
	}
	_ = json.Unmarshal(raw, &line) // the gateway says what is wrong with a broken line
	if office, ok := gateway.ParseOffice(line.Office); ok {
		session, ok := c.byOffice[office.ID()]
		return session, ok
	}
	for _, any := range c.byOffice {
		return any, true // whoever asks, the gateway names the fault
	}
	return nil, false
}

// submitAll sends every line and answers what came of each, in order.
func (c *submitCmd) submitAll(ctx context.Context, all callers, in io.Reader, progress *progress) []submitted {
	var results []submitted
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, c.Parallel)
	reader := bufio.NewReaderSize(in, gateway.MaxInput+2)
	for n := 1; ctx.Err() == nil; n++ {
		raw, tooLong, err := readBounded(reader)
		if err != nil && len(raw) == 0 {
			break
		}
		mu.Lock()
		results = append(results, submitted{Line: n})
		mu.Unlock()
		if len(bytes.TrimSpace(raw)) == 0 && !tooLong {
			mu.Lock()
			results[n-1].Code = "line_empty"
			mu.Unlock()
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			r := submitted{Line: n, Code: "body_too_large"}
			if !tooLong {
				r = c.one(ctx, all, n, raw)
			}
			mu.Lock()
			results[n-1] = r
			mu.Unlock()
			progress.add(1)
		})
	}
	wg.Wait()
	return results
}

// readBounded reads one line of at most the largest input; the rest of a longer
// one is skipped and said to be too long.
func readBounded(r *bufio.Reader) (line []byte, tooLong bool, err error) {
	for {
		part, isPrefix, err := r.ReadLine()
		if len(line)+len(part) <= gateway.MaxInput {
			line = append(line, part...)
		} else {
			tooLong = true
		}
		if err != nil || !isPrefix {
			return line, tooLong, err
		}
	}
}

// one submits one line, patiently while the gateway asks for it.
func (c *submitCmd) one(ctx context.Context, all callers, n int, raw []byte) submitted {
	r := submitted{Line: n}
	session, ok := all.of(raw)
	if !ok {
		r.Code, r.Outcome = "client_missing", "no client file for this office"
		return r
	}
	r.session = session
	for try := 0; ; try++ {
		var ack gateway.Ack
		_, err := session.PostRaw(ctx, "/api/v1/requests", raw, &ack)
		var p *testharness.Problem
		switch {
		case err == nil:
			r.Accepted, r.Created, r.Number, r.Tracker, r.State = true, ack.Created, ack.Number, ack.TrackerCode, string(ack.State)
			return r
		case errors.As(err, &p) && p.Status != 503 && p.Status != 429:
			r.Code, r.Problems, r.Outcome = p.Code, p.Problems, p.Detail
			return r
		case try >= 20 || ctx.Err() != nil:
			r.Code, r.Outcome = "gateway_unavailable", err.Error()
			return r
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(50*(try+1)) * time.Millisecond):
		}
	}
}

// await looks at the accepted requests until each left the workers' hands.
func (c *submitCmd) await(ctx context.Context, results []submitted) {
	for i := range results {
		r := &results[i]
		for r.Accepted && ctx.Err() == nil {
			var now struct {
				State    string `json:"state"`
				NextStep struct {
					Text string `json:"text"`
				} `json:"next_step"`
				Outcome *struct {
					Code string `json:"code"`
					Text string `json:"text"`
				} `json:"outcome"`
				History []struct {
					Type string `json:"type"`
				} `json:"history"`
			}
			err := r.session.Get(ctx, "/api/v1/requests/"+r.Number, &now)
			if err != nil {
				r.Outcome = err.Error()
				break
			}
			r.State, r.Outcome = now.State, now.NextStep.Text
			if now.Outcome != nil {
				r.Code, r.Outcome = now.Outcome.Code, now.Outcome.Text
			}
			last := ""
			if n := len(now.History); n > 0 {
				last = now.History[n-1].Type
			}
			settled := now.State != string(gateway.StateSubmitted) && (now.State != string(gateway.StatePrechecked) || last == "routed" || last == "parked")
			if settled {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// report prints what came of each line.
func (c *submitCmd) report(std streams, results []submitted) error {
	accepted, created, refused := 0, 0, 0
	enc := json.NewEncoder(std.out)
	enc.SetEscapeHTML(false)
	for _, r := range results {
		switch {
		case r.Accepted && r.Created:
			accepted, created = accepted+1, created+1
		case r.Accepted:
			accepted++
		default:
			refused++
		}
		if c.JSON {
			err := enc.Encode(r)
			if err != nil {
				return fmt.Errorf("write report: %w", err)
			}
			continue
		}
		if r.Accepted {
			fmt.Fprintf(std.out, "%6d  %-9s %s  %s %s\n", r.Line, map[bool]string{true: "accepted", false: "repeated"}[r.Created], r.Number, r.State, r.Outcome)
			continue
		}
		fmt.Fprintf(std.out, "%6d  refused   %s %s\n", r.Line, r.Code, r.Outcome)
		for _, p := range r.Problems {
			fmt.Fprintf(std.out, "        %s  %s: %s\n", p.Field, p.Code, p.Detail)
		}
	}
	fmt.Fprintf(std.err, "%d righe / lines: %d accettate / accepted (%d nuove / new), %d rifiutate / refused\n", len(results), accepted, created, refused)
	if refused > 0 {
		return bad("%d of %d lines refused", refused, len(results))
	}
	return nil
}

// progress tells a person on stderr how far something is, at most once a
// second and only once it takes longer than two.
type progress struct {
	mu    sync.Mutex
	w     io.Writer
	what  string
	n     int
	start time.Time
	told  time.Time
}

func newProgress(w io.Writer, what string) *progress {
	return &progress{w: w, what: what, start: time.Now()}
}

func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n += n
	now := time.Now()
	if now.Sub(p.start) > 2*time.Second && now.Sub(p.told) > time.Second {
		p.told = now
		fmt.Fprintf(p.w, "… %d %s\n", p.n, p.what)
	}
}
