package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"airegw/testharness/anprcontract"
)

type simSignCmd struct {
	Endpoint anprEndpoint `embed:""`
	Service  string       `help:"Code of the service: C030, C020 …" required:"" placeholder:"CODE"`
	Body     string       `help:"File with the exact body to sign; - is standard input." placeholder:"FILE"`
	CF       string       `help:"Instead of a body: ask about this fiscal code." name:"cf" placeholder:"CODE"`
	ID       string       `help:"Instead of a body: ask about this idANPR." name:"id" placeholder:"ID"`
	Reason   string       `help:"motivoRichiesta of the question." default:"PROVA-1"`
	Curl     bool         `help:"Print the whole curl command instead of the headers." xor:"form"`
	JSON     bool         `help:"Print method, url, headers and body as JSON." name:"json" xor:"form"`
}

// Run gets a voucher, signs the body and prints the headers, one a line: what
// "curl -H @-" reads. They are good for one call within two minutes.
func (c *simSignCmd) Run(ctx context.Context, std streams) error {
	body, err := c.body(std)
	if err != nil {
		return err
	}
	target, _, err := c.Endpoint.target(ctx, false)
	if err != nil {
		return err
	}
	call, err := anprcontract.Sign(ctx, target, strings.ToUpper(c.Service), body)
	if err != nil {
		return bad("%w", err)
	}
	names := make([]string, 0, len(call.Headers))
	for name := range call.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	var out strings.Builder
	switch {
	case c.JSON:
		return json.NewEncoder(std.out).Encode(call)
	case c.Curl:
		fmt.Fprintf(&out, "curl -sS -X %s %s", call.Method, quoted(call.URL))
		for _, name := range names {
			fmt.Fprintf(&out, " \\\n  -H %s", quoted(name+": "+call.Headers[name]))
		}
		fmt.Fprintf(&out, " \\\n  --data-binary %s\n", quoted(call.Body))
	default:
		for _, name := range names {
			fmt.Fprintf(&out, "%s: %s\n", name, call.Headers[name])
		}
	}
	_, err = io.WriteString(std.out, out.String())
	return err
}

func (c *simSignCmd) body(std streams) (string, error) {
	switch {
	case c.Body != "" && (c.CF != "" || c.ID != "") || c.CF != "" && c.ID != "":
		return "", usage("--body, --cf and --id exclude each other")
	case c.Body == "-":
		b, err := io.ReadAll(io.LimitReader(std.in, 1<<20))
		if err != nil {
			return "", fmt.Errorf("body: %w", err)
		}
		return string(b), nil
	case c.Body != "":
		b, err := os.ReadFile(c.Body)
		if err != nil {
			return "", usage("body: %w", err)
		}
		return string(b), nil
	case c.CF == "" && c.ID == "":
		return "", usage("one of --body, --cf and --id is needed")
	case !c.Curl && !c.JSON:
		// The headers alone would sign a body nobody has seen.
		return "", usage("--cf and --id make the body: print it too, with --curl or --json")
	}
	return anprcontract.Question(strings.ToUpper(c.Service), c.CF, c.ID, c.Reason, time.Now())
}

// quoted is one word for a POSIX shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
