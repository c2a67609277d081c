package main

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"airegw/testharness"
)

// TestMain lets the test's binary stand for airegw's where a command starts
// itself again: the bench of logins runs the simulators in another process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "sim" {
		os.Exit(run(context.Background(), os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
	}
	debug.SetGCPercent(400) // hundreds of commands side by side, and memory for them
	code := m.Run()
	removeTheBinary()
	os.Exit(code)
}

// benched runs a bench and reads what it prints, to the last member.
func benched(t *testing.T, into any, args ...string) {
	t.Helper()
	code, out, problem := airegw(t, "", append([]string{"bench"}, args...)...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, problem)
	}
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Count(out, "\n") != 1 {
		t.Errorf("machine output is not one line:\n%s", out)
	}
}

func TestTheBenchOfLoginsCountsPeopleWhoAreIn(t *testing.T) {
	t.Parallel()
	var b testharness.LoginBench
	benched(t, &b, "login", "--json", "--for", "200ms", "--clients", "1,3")
	if len(b.Runs) != 2 || b.Runs[0].Clients != 1 || b.Runs[1].Clients != 3 || b.Machine == "" || b.Counts == "" {
		t.Fatalf("%+v", b)
	}
	for _, r := range b.Runs {
		if r.Logins < r.Clients || r.Sessions != int64(r.Logins) || math.Abs(r.PerSecond*r.Seconds-float64(r.Logins)) > 0.5 {
			t.Errorf("%d logins, %d sessions, %.1f a second in %.2f s", r.Logins, r.Sessions, r.PerSecond, r.Seconds)
		}
		if r.P50 <= 0 || r.P99 < r.P50 || r.GatewayCPU <= 0 || r.SimulatorCPU < 0 || r.Share <= 0 || r.Share > 1 {
			t.Errorf("%+v", r)
		}
	}
	if b.Signatures.OneCore <= 0 || b.Signatures.AllCores <= 0 {
		t.Errorf("%+v", b.Signatures)
	}
	if code, _, _ := airegw(t, "", "bench", "login", "--clients", "65"); code != 2 {
		t.Errorf("65 clients: exit %d", code)
	}
}

func TestTheBenchOfSubmissionsCountsWhatIsInTheDatabase(t *testing.T) {
	t.Parallel()
	var b testharness.SubmitBench
	benched(t, &b, "submit", "--json", "--for", "200ms", "--clients", "2", "--dir", t.TempDir())
	if b.Clients != 2 || b.Acknowledged == 0 || b.Rows != b.Acknowledged || b.Failures != 0 || math.Abs(b.PerSecond*b.Seconds-float64(b.Acknowledged)) > 0.5 {
		t.Errorf("%+v", b)
	}
	if b.P50 <= 0 || b.P99 < b.P50 || b.PeakRSS <= 0 || b.Durability == "" || b.Machine == "" {
		t.Errorf("%+v", b)
	}
	if b.Limit.Rows == 0 || b.Limit.RowsCounted != int64(b.Limit.Rows) || b.Limit.PerSecond <= 0 || b.Limit.FsyncsPerSecond <= 0 || math.Abs(b.Share-b.PerSecond/b.Limit.PerSecond) > 0.01 {
		t.Errorf("%+v", b)
	}
}

func TestTheBenchOfTheRegisterCountsWholeChecks(t *testing.T) {
	t.Parallel()
	var b testharness.ANPRBench
	benched(t, &b, "anpr", "--json", "--for", "200ms", "--clients", "2")
	for name, r := range map[string]testharness.ANPRRun{"cached": b.Cached, "new": b.Fresh} {
		// What was under way at the end is finished, and was counted as it finished.
		if r.Clients != 2 || r.Checks == 0 || r.Calls != 5*r.Checks || math.Abs(r.PerSecond*r.Seconds-float64(r.Checks)) > 0.5 {
			t.Errorf("%s: %+v", name, r)
		}
		if r.P50 <= 0 || r.P99 < r.P50 || r.CallP50 <= 0 || r.BareP50 <= 0 || r.CheckCPU <= 0 || r.CallCPU <= 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// One voucher per service and asker: none is fetched twice, none is shared.
	if b.Cached.Vouchers != 0 || b.Fresh.Vouchers != b.Fresh.Calls || b.Machine == "" || b.Counts == "" {
		t.Errorf("%+v", b)
	}
}
