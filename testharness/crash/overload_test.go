package crash

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/testharness"
)

// flood is what callers were told.
type flood struct {
	mu       sync.Mutex
	numbers  []string
	took     []time.Duration // of the accepted
	refused  int             // 503 with Retry-After
	bad      []string        // any other answer
	noAnswer int
}

// submitOne submits the form of synthetic person n and notes the answer.
func (f *flood) submitOne(ctx context.Context, s *testharness.Session, n int) {
	var ack gateway.Ack
	from := time.Now()
	_, err := s.Post(ctx, "/api/v1/requests", gateway.Input{
		Key: fmt.Sprintf("flood-%07d", n), Channel: "comune", Office: comune, Reason: "first_issue",
		Applicant: gateway.Applicant{FiscalCode: testharness.SyntheticCode(n)}, Delivery: gateway.DeliveryChoice{Option: "COMUNE_PICKUP"},
		Contacts: gateway.Contacts{Email: "a@example.org"},
	}, &ack)
	took := time.Since(from)
	f.mu.Lock()
	defer f.mu.Unlock()
	var p *testharness.Problem
	switch {
	case err == nil:
		f.numbers = append(f.numbers, ack.Number)
		f.took = append(f.took, took)
	case errors.As(err, &p) && p.Status == http.StatusServiceUnavailable && p.RetryAfter > 0:
		f.refused++
	case errors.As(err, &p):
		f.bad = append(f.bad, err.Error())
	default:
		f.noAnswer++
	}
}

func (f *flood) p99() time.Duration {
	if len(f.took) == 0 {
		return 0
	}
	slices.Sort(f.took)
	return f.took[len(f.took)*99/100]
}

// deaf points the register's address at nobody: what is about acknowledging need
// not check ten thousand people.
func deaf(_ *station, c *app.Config) {
	c.Register.TokenURL = "http://127.0.0.1:1/token"
	c.Workers.RetryFirst, c.Workers.RetryMost = time.Hour, time.Hour
}

// TestThreeTimesTheLoadIsRefusedInTimeAndForgotten meets a gateway on a slow disk
// (each commit takes 700 ms) with three times what it can take: whoever is let in
// gets a number, the others a 503 with Retry-After, memory stays bounded; a moment
// after the flood everybody is served again.
func TestThreeTimesTheLoadIsRefusedInTimeAndForgotten(t *testing.T) {
	aloneInASoak(t)
	bin, err := breakable()
	if err != nil {
		t.Fatal(err)
	}
	s := newStation(t, stationOptions{engine: onSQLite, bin: bin, adjust: deaf})
	s.start()
	defer s.stop()
	desk := s.session(comune)
	before := s.memory("VmRSS")
	s.arm("store.commit=stall:700ms")
	calmly := &flood{}
	for n := range 4 {
		var few sync.WaitGroup
		for k := range 4 {
			few.Go(func() { calmly.submitOne(t.Context(), desk, 2_000_000+4*n+k) })
		}
		few.Wait()
	}
	f := &flood{}
	const perSecond, seconds = 1500, 3
	var callers sync.WaitGroup
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	from := time.Now()
	offered := 0
	for n := 0; time.Since(from) < seconds*time.Second; {
		<-tick.C
		for due := int(time.Since(from).Seconds() * perSecond); offered < due && offered < perSecond*seconds; offered++ {
			callers.Go(func() { f.submitOne(t.Context(), desk, n) })
			n++
		}
	}
	callers.Wait()
	s.arm("")
	from = time.Now()
	after := &flood{}
	for n := 1_000_000; len(after.numbers) == 0; n++ {
		after.submitOne(t.Context(), desk, n)
		if time.Since(from) > 20*time.Second {
			t.Fatalf("the gateway does not come back: %+v", after)
		}
	}
	recovered := time.Since(from)
	for _, b := range f.bad[:min(3, len(f.bad))] {
		t.Errorf("answered %s", b)
	}
	if f.refused == 0 || len(f.numbers) < 100 || f.noAnswer > offered/100 {
		t.Errorf("%d offered: %d accepted, %d refused, %d without an answer", offered, len(f.numbers), f.refused, f.noAnswer)
	}
	peak := s.memory("VmHWM")
	if peak > before+256 {
		t.Errorf("memory grew from %.0f MiB to %.0f MiB", before, peak)
	}
	s.numbers = slices.Concat(calmly.numbers, f.numbers, after.numbers)
	s.judge(0)
	ratio := f.p99().Seconds() / calmly.p99().Seconds()
	measured(t, "3x overload: p99 of the accepted against calm", ratio, "times", "<= 4", ratio <= 4)
	measured(t, "3x overload: served again after", recovered.Seconds(), "s", "< 5", recovered < 5*time.Second)
	t.Logf("%d offered in %d s: %d accepted (p99 %s; %s when calm), %d refused; memory %.0f MiB, at most %.0f; served again after %s",
		offered, seconds, len(f.numbers), f.p99().Round(time.Millisecond), calmly.p99().Round(time.Millisecond), f.refused, before, peak, recovered.Round(time.Millisecond))
}

// memory answers a line of /proc/PID/status in MiB.
func (s *station) memory(line string) float64 {
	s.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.proc.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for l := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				s.t.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	s.t.Fatalf("no %s in /proc", line)
	return 0
}

// TestADiskThatIsFullRefusesAndGoesOnWhenThereIsRoom takes the room from the
// running production binary: its files may not grow past a limit (RLIMIT_FSIZE,
// set by prlimit), which every write past it meets as an error of the disk. It
// answers 503 with Retry-After, acknowledges nothing that it has not stored, and
// goes on when there is room again.
func TestADiskThatIsFullRefusesAndGoesOnWhenThereIsRoom(t *testing.T) {
	aloneInASoak(t)
	s := newStation(t, stationOptions{engine: onSQLite, adjust: deaf})
	s.start()
	defer s.stop()
	desk := s.session(comune)
	f := &flood{}
	next := 0
	load := func(most int) {
		var callers sync.WaitGroup
		var mu sync.Mutex
		for range 16 {
			callers.Go(func() {
				for {
					mu.Lock()
					n := next
					next++
					mu.Unlock()
					if n >= most {
						return
					}
					f.submitOne(t.Context(), desk, n)
				}
			})
		}
		callers.Wait()
	}
	load(200)
	wal, err := os.Stat(filepath.Join(s.dir, "airegw.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	s.limitFiles(uint64(wal.Size()) + 64<<10)
	// A log that was checkpointed begins anew at its start: it may take a while until
	// the log or the database itself wants to grow past the limit.
	for most := 1200; f.refused == 0 && most <= 12_000; most += 1000 {
		next = len(f.numbers)
		load(most)
	}
	stored := len(f.numbers)
	if f.refused == 0 || len(f.bad) > 0 || f.noAnswer > 0 {
		t.Errorf("%d acknowledged, %d refused, %d without an answer, %v", stored, f.refused, f.noAnswer, f.bad[:min(3, len(f.bad))])
	}
	if !s.healthyOrSaysSo() {
		t.Error("the gateway is gone")
	}
	s.limitFiles(^uint64(0))
	next = 20_000
	load(20_200)
	if got := len(f.numbers) - stored; got < 190 {
		t.Errorf("with room again %d of 200 were acknowledged (%d refused)", got, f.refused)
	}
	s.numbers = f.numbers
	s.judge(0)
	s.stop()
	p := launch(t, &s.log, s.bin, nil, "audit", "verify", "--database", filepath.Join(s.dir, "airegw.db"), "--keys", filepath.Join(s.dir, "keys", "database.keys"))
	err = <-p.done
	if err != nil {
		t.Errorf("verify: %v\n%s", err, s.log.String())
	}
	s.integrity()
	t.Logf("%d acknowledged, %d refused while the disk was full", len(f.numbers), f.refused)
}

// healthyOrSaysSo says that the process answers its health, good or bad.
func (s *station) healthyOrSaysSo() bool {
	resp, err := http.Get(s.url + "/status") //nolint:noctx // a test's own short question
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return true
}

// limitFiles bounds how big a file the gateway may write (its soft limit).
func (s *station) limitFiles(most uint64) {
	s.t.Helper()
	limit := struct{ soft, hard uint64 }{most, ^uint64(0)}
	_, _, code := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(s.proc.cmd.Process.Pid), syscall.RLIMIT_FSIZE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0) //nolint:gosec // the kernel's own call
	if code != 0 {
		s.t.Fatalf("prlimit: %v", code)
	}
}

// integrity lets SQLite check the file: a backup begins with a whole read, and a
// restore checks it page by page.
func (s *station) integrity() {
	s.t.Helper()
	keys, copied := filepath.Join(s.dir, "keys", "database.keys"), filepath.Join(s.dir, "copy.db")
	for _, args := range [][]string{
		{"backup", "create", "--database", filepath.Join(s.dir, "airegw.db"), "--keys", keys, copied},
		{"backup", "restore", "--keys", keys, copied, copied + ".restored"},
	} {
		p := launch(s.t, &s.log, s.bin, nil, args...)
		err := <-p.done
		if err != nil {
			s.t.Fatalf("%s: %v\n%s", strings.Join(args[:2], " "), err, s.log.String())
		}
	}
}
