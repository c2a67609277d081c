// Command airegw is the gateway through which Italians abroad (AIRE) get the
// electronic identity card (CIE) at any comune or at the competent consular
// post. This package holds flags and printing only; every capability lives in
// a package of its own (see the layout in README.md).
//
// Conventions every command keeps: machine output (--json) on stdout, logs and
// progress on stderr, exit 0 when done, 1 when the thing asked about is bad
// (unknown comune, broken chain, refused line), 2 for wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the Makefile from the changelog's newest release.
var version = "dev"

// streams carries the process's standard streams so that commands can be run
// inside tests.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// badError says that the command did its work and the thing asked about is
// bad: exit code 1.
type badError struct{ err error }

func (e badError) Error() string { return e.err.Error() }
func (e badError) Unwrap() error { return e.err }

// bad marks an error as exit code 1.
func bad(format string, args ...any) error { return badError{fmt.Errorf(format, args...)} }

// usageError says that the command was called wrongly: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usage marks an error as exit code 2.
func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A file that may not grow (ulimit -f, a quota) is an error of the write that
	// meets it, not the end of the process.
	signal.Ignore(syscall.SIGXFSZ)
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run parses the arguments, runs one command and answers the exit code.
func run(ctx context.Context, args []string, std streams) int {
	var root cli
	exit := -1
	parser, err := kong.New(&root,
		kong.Name("airegw"),
		kong.Description(description),
		kong.Writers(std.out, std.err),
		kong.Exit(func(code int) { exit = code }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Vars{"version": version},
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
	)
	if err != nil {
		fmt.Fprintln(std.err, "airegw:", err)
		return 2
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 {
		return exit
	}
	if err != nil {
		fmt.Fprintln(std.err, "airegw:", err)
		fmt.Fprintln(std.err, "Try: airegw --help")
		return 2
	}
	err = parsed.Run()
	var wrong usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintln(std.err, "airegw:", err)
		return 2
	default:
		fmt.Fprintln(std.err, "airegw:", err)
		return 1
	}
}
