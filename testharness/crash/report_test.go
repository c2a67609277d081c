package crash

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// figure is one promised number of a soak.
type figure struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Bound string  `json:"bound"` // what was promised
	Kept  bool    `json:"kept"`
}

var (
	figuresMu sync.Mutex
	figures   []figure
)

// soakMinutes answers SOAK_MINUTES, 0 in CI.
func soakMinutes(t *testing.T) int {
	t.Helper()
	v := os.Getenv("SOAK_MINUTES")
	if v == "" {
		return 0
	}
	minutes, err := strconv.Atoi(v)
	if err != nil || minutes < 1 || minutes > 24*60 {
		t.Fatalf("SOAK_MINUTES is %q, not a number of minutes", v)
	}
	return minutes
}

// share answers a share, of 40, of the soak's minutes.
func share(t *testing.T, of40 int) time.Duration {
	t.Helper()
	return time.Duration(soakMinutes(t)) * time.Minute * time.Duration(of40) / 40
}

// soak answers a number of CI, or of `make soak`: the long one belongs to 40
// minutes, a shorter soak takes its share.
func soak(t *testing.T, ci, long int) int {
	t.Helper()
	minutes := soakMinutes(t)
	if minutes == 0 {
		return ci
	}
	return max(ci, long*min(minutes, 40)/40)
}

// aloneInASoak lets a test run beside the others in CI, and in a soak before those
// that run beside each other: what is measured has the machine for itself.
func aloneInASoak(t *testing.T) {
	t.Helper()
	if soakMinutes(t) == 0 {
		t.Parallel()
	}
}

// lastShare is how many of a soak's 40 minutes are left for what measures nothing
// but its own effects, side by side: the kills, which wait more than they work, and
// the bad line, which takes what it can get.
const lastShare = 17

// measured notes a figure for the soak's report, and fails when the promise is
// broken in a soak; CI asserts effects, not seconds.
func measured(t *testing.T, what string, value float64, unit, bound string, kept bool) {
	t.Helper()
	if soakMinutes(t) > 0 && !kept {
		t.Errorf("%s: %.1f %s, promised %s", what, value, unit, bound)
	}
	figuresMu.Lock()
	defer figuresMu.Unlock()
	figures = append(figures, figure{what, value, unit, bound, kept})
}

// running says what each test under way is at; past is how those before ended.
var (
	runningMu sync.Mutex
	running   = map[string]string{}
	past      []ended
)

// ended is one test of a soak.
type ended struct {
	Test    string  `json:"test"`
	Seconds float64 `json:"seconds"`
	OK      bool    `json:"ok"`
}

// underWay notes that a test has begun, and its end.
func underWay(t *testing.T) {
	t.Helper()
	runningMu.Lock()
	defer runningMu.Unlock()
	if _, known := running[t.Name()]; known {
		return
	}
	running[t.Name()] = "begun"
	from := time.Now()
	t.Cleanup(func() {
		runningMu.Lock()
		defer runningMu.Unlock()
		delete(running, t.Name())
		past = append(past, ended{t.Name(), time.Since(from).Seconds(), !t.Failed()})
	})
}

// tell says how far a test is, for whoever watches a soak.
func tell(t *testing.T, format string, args ...any) {
	t.Helper()
	underWay(t)
	runningMu.Lock()
	defer runningMu.Unlock()
	running[t.Name()] = fmt.Sprintf(format, args...)
}

// watchSoak says on stderr every 20 seconds what a soak is at.
func watchSoak() {
	from := time.Now()
	for range time.Tick(20 * time.Second) {
		runningMu.Lock()
		for name, at := range running {
			fmt.Fprintf(os.Stderr, "soak %4.0f s  %s: %s\n", time.Since(from).Seconds(), name, at)
		}
		runningMu.Unlock()
	}
}

// writeReport writes SOAK_REPORT (JSON) and prints the same as text.
func writeReport(passed bool) error {
	path := os.Getenv("SOAK_REPORT")
	if path == "" {
		return nil
	}
	figuresMu.Lock()
	defer figuresMu.Unlock()
	runningMu.Lock()
	defer runningMu.Unlock()
	raw, err := json.MarshalIndent(map[string]any{
		"minutes": os.Getenv("SOAK_MINUTES"), "at": time.Now().UTC(), "passed": passed, "cores": runtime.NumCPU(), "tests": past, "figures": figures,
	}, "", "  ")
	if err != nil {
		return err
	}
	for _, f := range figures {
		kept := "kept"
		if !f.Kept {
			kept = "BROKEN"
		}
		fmt.Printf("%-70s %12.1f %-10s promised %-20s %s\n", f.What, f.Value, f.Unit, f.Bound, kept)
	}
	return os.WriteFile(path, append(raw, '\n'), 0o600)
}
