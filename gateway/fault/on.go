//go:build mutants

package fault

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled says whether this build can be broken on purpose.
const Enabled = true

// ErrInjected is what a point with the action "error" answers.
var ErrInjected = errors.New("injected fault")

// Mutant answers whether the check called name is removed in this process.
func Mutant(name string) bool {
	mutantsOnce.Do(func() { mutants = split(os.Getenv("MUTANT")) })
	for _, m := range mutants {
		if m == name {
			return true
		}
	}
	return false
}

// Point does what FAILPOINT says for name, at the k-th passage ("@k", counted
// from 1) or at every one: "error" answers ErrInjected, "stall:2s" waits, "kill"
// ends the process as SIGKILL does, with nothing flushed; "goroutines" says on
// stderr how many there are and fails nothing. FAILPOINT_FILE names
// a file that says the same and may change while the process runs: each new
// text counts its passages from the start.
func Point(name string) error {
	p := armed()[name]
	if p == nil || !p.due() {
		return nil
	}
	if p.action == "goroutines" {
		fmt.Fprintf(os.Stderr, "goroutines %d\n", runtime.NumGoroutine())
		return nil
	}
	fmt.Fprintf(os.Stderr, "failpoint %s: %s\n", name, p.action)
	switch p.action {
	case "error":
		return fmt.Errorf("%w at %s", ErrInjected, name)
	case "stall":
		time.Sleep(p.wait)
		return nil
	default: // kill
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until the signal is there
	}
}

type point struct {
	action string
	wait   time.Duration
	at     int // 0: every passage

	mu     sync.Mutex
	passed int
}

// due counts a passage and answers whether this one is meant.
func (p *point) due() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed++
	return p.at == 0 || p.at == p.passed
}

var (
	mutantsOnce sync.Once
	mutants     []string

	pointsMu sync.Mutex
	text     string // what points was read from
	points   map[string]*point
)

// armed answers the points as the environment or the file says now.
func armed() map[string]*point {
	pointsMu.Lock()
	defer pointsMu.Unlock()
	now := os.Getenv("FAILPOINT")
	if path := os.Getenv("FAILPOINT_FILE"); path != "" {
		raw, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			fmt.Fprintln(os.Stderr, "FAILPOINT_FILE:", err)
			os.Exit(2)
		}
		now = strings.TrimSpace(string(raw))
	}
	if points == nil || now != text {
		points, text = readPoints(now), now
	}
	return points
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func readPoints(list string) map[string]*point {
	points := map[string]*point{}
	for _, entry := range split(list) {
		name, action, _ := strings.Cut(entry, "=")
		p := &point{}
		action, at, counted := strings.Cut(action, "@")
		var err error
		if counted {
			p.at, err = strconv.Atoi(at)
		}
		p.action = action
		if wait, ok := strings.CutPrefix(action, "stall:"); ok && err == nil {
			p.action = "stall"
			p.wait, err = time.ParseDuration(wait)
		}
		if err != nil || !slices.Contains([]string{"error", "kill", "stall", "goroutines"}, p.action) {
			fmt.Fprintf(os.Stderr, "FAILPOINT: %q is not name=error|kill|stall:DURATION|goroutines[@k]\n", entry)
			os.Exit(2)
		}
		points[name] = p
	}
	return points
}
