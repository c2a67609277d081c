// Package crash kills the real gateway with SIGKILL while a tour runs against
// simulators in another process, starts it again, and judges: everything
// acknowledged is there and finishes, one acceptance each at the core. These
// tests wait on real time, with deadlines, and run without the race detector.
package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"airegw/testharness"
)

// binary is the real airegw, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "airegw-crash-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "airegw")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, "airegw/cmd/airegw") // as `make build`: symbols cost 40 % of the linking
	build.Stderr = os.Stderr
	err = build.Run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "build airegw:", err)
		os.Exit(1)
	}
	// These tests wait for other processes more than they work, and have memory.
	debug.SetGCPercent(400)
	flag.Parse()
	beside := "10"
	if os.Getenv("SOAK_MINUTES") != "" {
		beside = "2" // see lastShare
		go watchSoak()
	}
	err = flag.Set("test.parallel", beside)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	err = writeReport(code == 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report of the soak:", err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// process is one airegw.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout io.ReadCloser
	stderr *lockedBuffer
	done   chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), stderr: &lockedBuffer{}, done: make(chan error, 1)}
	p.cmd.Stderr = p.stderr
	p.cmd.Env = append(os.Environ(), "GOGC=400") // it lives for seconds
	// A test that dies must not leave a gateway behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	p.stdout, err = p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = p.cmd.Start()
	if err != nil {
		t.Fatalf("start airegw %s: %v", strings.Join(args, " "), err)
	}
	t.Cleanup(p.kill)
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// startSims starts the simulators in a process of their own.
func startSims(t *testing.T, dir string, step string) *simulators {
	t.Helper()
	p := start(t, "sim", "all", "--dir", dir, "--step", step)
	var c testharness.Connection
	err := json.NewDecoder(p.stdout).Decode(&c)
	if err != nil {
		t.Fatalf("the simulators say nothing: %v\n%s", err, p.stderr)
	}
	return &simulators{p, filepath.Join(dir, "sims.json")}
}

// simulators run in a process of their own, which no test kills before its end.
type simulators struct {
	*process
	file string
}

// comesUp bounds how long a gateway may take to start; it takes half a second, but
// not beside ten tests, or a soak's bad line, on two cores.
const comesUp = 2 * time.Minute

// startGateway starts the gateway and waits until it is healthy.
func startGateway(t *testing.T, dir, sims, listen string) (*process, string) {
	t.Helper()
	args := []string{"demo", "--dir", dir, "--sims", sims}
	if listen != "" {
		args = append(args, "--listen", listen)
	}
	p := start(t, args...)
	go func() { _, _ = io.Copy(io.Discard, p.stdout) }()
	deadline := time.Now().Add(comesUp)
	for time.Now().Before(deadline) {
		info, ok := testharness.FindDemo(t.Context(), dir)
		if ok && info.PID == p.cmd.Process.Pid {
			return p, info.URL
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("the gateway does not come up\n%s", p.stderr)
	return nil, ""
}

func TestAGatewayKilledAtTenMomentsOfATourFinishesEveryRequest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sims := startSims(t, filepath.Join(dir, "sims"), "250ms")
	gateway, url := startGateway(t, filepath.Join(dir, "gateway"), sims.file, "127.0.0.1:0")
	listen := strings.TrimPrefix(url, "http://")
	conn, err := testharness.ReadConnection(sims.file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	type result struct {
		lines []testharness.TourLine
		err   error
	}
	var progress lockedBuffer
	finished := make(chan result, 1)
	go func() {
		lines, err := testharness.Tour(ctx, testharness.TourOptions{
			BaseURL: url, Dir: filepath.Join(dir, "gateway"), Conn: conn, Out: &progress, Limit: 140 * time.Second,
		})
		finished <- result{lines, err}
	}()
	// Ten moments, at growing distances from the start, so that they fall into
	// submission, checks, counter work, relay and delivery.
	kills := 0
	for i := 0; kills < 10; i++ {
		select {
		case r := <-finished:
			// The tour was faster than ten kills: kill the quiet gateway for the
			// rest, which must not lose anything either.
			finished <- r
		case <-time.After(time.Duration(90+i*55) * time.Millisecond):
		}
		gateway.kill()
		kills++
		gateway, _ = startGateway(t, filepath.Join(dir, "gateway"), sims.file, listen)
	}
	r := <-finished
	if r.err != nil {
		t.Fatalf("the tour did not end as it should after %d kills: %v\n%s\n%s", kills, r.err, progress.String(), gateway.stderr)
	}
	var numbers []string
	for _, l := range r.lines {
		numbers = append(numbers, l.Number)
	}
	judge(t, filepath.Join(dir, "gateway"), conn, numbers)
	during := strings.Count(progress.String(), "\n")
	t.Logf("%d kills, %d requests, %d lines of progress", kills, len(numbers), during)
}

// TestAKilledLoadLosesNothingThatWasAcknowledged submits from many callers
// while the gateway is killed at random moments and started again: ten times in
// CI (and ten in the tour above), three hundred times in a soak of forty minutes,
// each ten on a fresh folder. KILLS asks for another number.
func TestAKilledLoadLosesNothingThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	kills := soak(t, 10, 300)
	if v := os.Getenv("KILLS"); v != "" {
		var err error
		kills, err = strconv.Atoi(v)
		if err != nil || kills < 1 || kills > 100_000 {
			t.Fatalf("KILLS is %q, not a number", v)
		}
	}
	acknowledged, done, from := 0, 0, time.Now()
	for round := 0; done < kills; round++ {
		if asked := soakMinutes(t) > 0 && os.Getenv("KILLS") == ""; asked && time.Since(from) > share(t, lastShare) {
			break // the figure says how far it came
		}
		acknowledged += killedLoad(t, uint64(round)+1)
		if t.Failed() {
			return
		}
		done += 10
		tell(t, "%d of %d kills, %d acknowledged", done, kills, acknowledged)
	}
	// What is lost or doubled has failed above.
	measured(t, fmt.Sprintf("kill -9 under load: lost or doubled of %d acknowledged", acknowledged), 0, "requests", "0", true)
	measured(t, "kill -9 under load", float64(done), "kills", fmt.Sprintf(">= %d", kills), done >= kills)
	t.Logf("%d acknowledged over %d kills, none lost", acknowledged, done)
}

// killedLoad is one round: eight callers, ten kills at moments the seed draws.
func killedLoad(t *testing.T, seed uint64) int {
	t.Helper()
	underWay(t)
	dir := t.TempDir()
	sims := startSims(t, filepath.Join(dir, "sims"), "100ms")
	gateway, url := startGateway(t, filepath.Join(dir, "gateway"), sims.file, "127.0.0.1:0")
	listen := strings.TrimPrefix(url, "http://")
	conn, err := testharness.ReadConnection(sims.file)
	if err != nil {
		t.Fatal(err)
	}
	client, key, err := testharness.ReadClient(filepath.Join(dir, "gateway", "clients", "058091.client.json"))
	if err != nil {
		t.Fatal(err)
	}
	l := &load{stop: make(chan struct{})}
	for c := range 8 {
		session := testharness.ClientSession(url, client.ID, key)
		l.callers.Go(func() { l.call(t, session, c) })
	}
	dice := rand.New(rand.NewPCG(seed, 9)) //nolint:gosec // a seed to replay
	for range 10 {
		time.Sleep(time.Duration(40+dice.IntN(450)) * time.Millisecond)
		gateway.kill()
		gateway, _ = startGateway(t, filepath.Join(dir, "gateway"), sims.file, listen)
	}
	close(l.stop)
	l.callers.Wait()
	if len(l.acknowledged) < 50 {
		t.Fatalf("only %d requests were acknowledged: the test proves too little", len(l.acknowledged))
	}
	judge(t, filepath.Join(dir, "gateway"), conn, l.acknowledged)
	gateway.kill()
	sims.kill()
	return len(l.acknowledged)
}

// load is the callers of one round and what they were told.
type load struct {
	callers      sync.WaitGroup
	stop         chan struct{}
	mu           sync.Mutex
	acknowledged []string
}

func (l *load) call(t *testing.T, session *testharness.Session, c int) {
	for n := c; n < 4000; n += 8 {
		select {
		case <-l.stop:
			return
		default:
		}
		var ack struct {
			Number string `json:"number"`
		}
		body := fmt.Sprintf(`{"key":"crash-%06d","channel":"comune","office":"058091","reason":"first_issue","applicant":{"fiscal_code":%q},"delivery":{"option":"FOREIGN_RESIDENCE"},"contacts":{"email":"a@example.org"}}`,
			n, testharness.SyntheticCode(n))
		_, err := session.PostRaw(t.Context(), "/api/v1/requests", []byte(body), &ack)
		var problem *testharness.Problem
		switch {
		case err == nil:
			l.mu.Lock()
			l.acknowledged = append(l.acknowledged, ack.Number)
			l.mu.Unlock()
		case errors.As(err, &problem) && problem.Status != http.StatusServiceUnavailable:
			t.Errorf("request %d: %v", n, err)
			return
		default:
			time.Sleep(20 * time.Millisecond) // it was killed: the number may or may not exist
		}
	}
}

// judge holds the invariants against what is on disk.
func judge(t *testing.T, dir string, conn testharness.Connection, numbers []string) {
	t.Helper()
	broken, err := testharness.CheckInvariants(t.Context(), testharness.Judged{
		Dir: dir, Conn: conn, Acknowledged: numbers, Now: time.Now().UTC(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
}
