package testharness

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"airegw/gateway/app"
	"airegw/gateway/web"
	"airegw/testharness/sim"
)

// LoginBench is what `airegw bench login` answers: complete logins per second,
// beside the RSA-2048 signatures the same machine makes in the same run.
type LoginBench struct {
	Runs       []LoginRun `json:"runs"`
	Signatures struct {
		OneCore  float64 `json:"one_core_per_second"`
		AllCores float64 `json:"all_cores_per_second"`
	} `json:"rsa_2048_signatures"`
	Machine string `json:"machine"`
	Counts  string `json:"what_counts"`
}

// LoginRun is one run at a number of clients. CPU is in milliseconds of one
// core for each login.
type LoginRun struct {
	Clients      int     `json:"clients"`
	Seconds      float64 `json:"seconds"`
	Logins       int     `json:"logins"`        // that ended on the citizen's own page
	Sessions     int64   `json:"sessions_rows"` // new rows in the database
	PerSecond    float64 `json:"per_second"`
	P50          float64 `json:"p50_ms"`
	P99          float64 `json:"p99_ms"`
	GatewayCPU   float64 `json:"gateway_and_generator_cpu_ms"`
	SimulatorCPU float64 `json:"simulator_cpu_ms"`
	Share        float64 `json:"gateway_and_generator_share_of_cpu"`
}

// LoginBenchOptions bounds the bench.
type LoginBenchOptions struct {
	Dir     string        // must not hold a database
	Binary  string        // of airegw, for the simulators' own process
	Clients []int         // default 1 and 8
	For     time.Duration // of each run; default 5 s, at most 30 s
	Most    int           // at most this many logins in a run; default 5,000
	Log     io.Writer     // the simulators'; nil discards
}

// BenchLogin measures complete logins per second: the start, the provider's
// answer, token, UserInfo, evidence and session stored, the citizen's own page
// shown. The chain is warm. The simulators run in another process, so that the
// CPU they take is told apart; the load generator runs in ours.
func BenchLogin(ctx context.Context, o LoginBenchOptions) (b LoginBench, err error) {
	if len(o.Clients) == 0 {
		o.Clients = []int{1, 8}
	}
	if o.For <= 0 || o.For > 30*time.Second {
		o.For = 5 * time.Second
	}
	if o.Most <= 0 || o.Most > 50_000 {
		o.Most = 5_000
	}
	b.Machine = fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	b.Counts = "level 2 through the simulated CIE provider: signed request, code, token, encrypted UserInfo, evidence and session durable, own page shown with the person's name"
	b.Signatures.OneCore, b.Signatures.AllCores, err = benchSignatures(ctx)
	if err != nil {
		return b, err
	}
	conn, stopSims, err := simsElsewhere(ctx, o)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, stopSims()) }()
	workers := DemoWorkers()
	workers.Poll = time.Hour
	c, err := Configure(ctx, conn, o.Dir, GatewayOptions{Workers: workers, Log: app.LogConfig{Level: "error"}})
	if err != nil {
		return b, err
	}
	a, err := app.Assemble(ctx, c, app.Options{Limits: web.Limits{LoginPerMinute: 1e9}})
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- a.Serve(serving) }()
	defer func() { stop(); err = errors.Join(err, <-served) }()
	err = JoinFederation(ctx, conn, a)
	if err == nil {
		err = conn.AutoLogin(ctx, sim.People()[0].CF)
	}
	if err == nil {
		_, err = login(ctx, a.URL()) // warm: keys, connections, statements
	}
	if err != nil {
		return b, fmt.Errorf("before the runs: %w", err)
	}
	for _, n := range o.Clients {
		run, err := o.run(ctx, a, conn.PID, n)
		if err != nil {
			return b, err
		}
		b.Runs = append(b.Runs, run)
	}
	return b, nil
}

// run drives n clients, closed loop, and counts rows before and after.
func (o LoginBenchOptions) run(ctx context.Context, a *app.App, sims, n int) (LoginRun, error) {
	r := LoginRun{Clients: n}
	before, err := a.Store.Stats(ctx)
	if err != nil {
		return r, err
	}
	ownBefore, simBefore, err := cpuTimes(sims)
	if err != nil {
		return r, err
	}
	end := time.Now().Add(o.For)
	var left atomic.Int64
	left.Store(int64(o.Most))
	took, errs := make([][]time.Duration, n), make([]error, n)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for errs[i] == nil && time.Now().Before(end) && ctx.Err() == nil && left.Add(-1) >= 0 {
				var d time.Duration
				d, errs[i] = login(ctx, a.URL())
				if errs[i] == nil {
					took[i] = append(took[i], d)
				}
			}
		})
	}
	wg.Wait()
	r.Seconds = time.Since(start).Seconds()
	if err := errors.Join(errs...); err != nil {
		return r, fmt.Errorf("%d clients: %w", n, err)
	}
	own, their, err := cpuTimes(sims)
	if err != nil {
		return r, err
	}
	after, err := a.Store.Stats(ctx)
	if err != nil {
		return r, err
	}
	all := slices.Concat(took...)
	if len(all) == 0 {
		return r, errors.New("no login in the time given")
	}
	slices.Sort(all)
	r.Logins, r.Sessions = len(all), after.Rows["session_list"]-before.Rows["session_list"]
	r.PerSecond = float64(r.Logins) / r.Seconds
	r.P50, r.P99 = millis(all[len(all)/2]), millis(all[len(all)*99/100])
	ours, theirs := own-ownBefore, their-simBefore
	r.GatewayCPU, r.SimulatorCPU = millis(ours)/float64(r.Logins), millis(theirs)/float64(r.Logins)
	r.Share = ours.Seconds() / (ours + theirs).Seconds()
	if r.Sessions != int64(r.Logins) {
		return r, fmt.Errorf("%d logins, %d sessions in the database", r.Logins, r.Sessions)
	}
	return r, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// login logs somebody in with a browser of their own and sees that the page at
// the end is the citizen's, with a way out for a named person.
func login(ctx context.Context, base string) (time.Duration, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return 0, fmt.Errorf("cookies: %w", err)
	}
	browser := &http.Client{Jar: jar, Timeout: 20 * time.Second, Transport: benchTransport}
	from := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/login/cie?next="+url.QueryEscape("/citizen"), nil)
	if err != nil {
		return 0, fmt.Errorf("log in: %w", err)
	}
	req.Header.Set("Accept-Language", "en")
	resp, err := browser.Do(req)
	if err != nil {
		return 0, fmt.Errorf("log in: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	page, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, fmt.Errorf("log in: %w", err)
	}
	took := time.Since(from)
	if resp.StatusCode != http.StatusOK || resp.Request.URL.String() != base+"/citizen" || !strings.Contains(string(page), `action="/logout"`) {
		return 0, fmt.Errorf("log in: %s at %s: %.300s", resp.Status, resp.Request.URL.Redacted(), page)
	}
	return took, nil
}

var benchTransport = &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}

// benchSignatures answers how many RSA-2048 signatures a second this machine
// makes: on one core, and on all.
func benchSignatures(ctx context.Context) (one, all float64, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return 0, 0, fmt.Errorf("key for the signatures: %w", err)
	}
	digest := sha256.Sum256([]byte("airegw"))
	const span = 700 * time.Millisecond
	measure := func(workers int) (float64, error) {
		var n atomic.Int64
		errs := make([]error, workers)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				for errs[i] == nil && time.Since(start) < span && ctx.Err() == nil {
					_, errs[i] = rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
					n.Add(1)
				}
			})
		}
		wg.Wait()
		return float64(n.Load()) / time.Since(start).Seconds(), errors.Join(errs...)
	}
	one, err = measure(1)
	if err == nil {
		all, err = measure(runtime.NumCPU())
	}
	return one, all, err
}

// simsElsewhere starts the simulators in a process of their own.
func simsElsewhere(ctx context.Context, o LoginBenchOptions) (Connection, func() error, error) {
	file := filepath.Join(o.Dir, "sims.json")
	cmd := exec.CommandContext(ctx, o.Binary, "sim", "all", "--out", file) //nolint:gosec // our own binary
	cmd.Stderr = o.Log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Start()
	if err != nil {
		return Connection{}, nil, fmt.Errorf("start the simulators: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() error {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended //nolint:errcheck // it was told to end
		return nil
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		conn, err := ReadConnection(file)
		if err == nil {
			return conn, stop, nil
		}
		select {
		case err := <-ended:
			return Connection{}, nil, fmt.Errorf("the simulators ended: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return Connection{}, nil, errors.Join(errors.New("the simulators did not start"), stop())
}

// ownCPU answers the CPU time this process has used.
func ownCPU() (time.Duration, error) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	if err != nil {
		return 0, fmt.Errorf("cpu time: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// cpuTimes answers the CPU time this process and another have used.
func cpuTimes(other int) (own, theirs time.Duration, err error) {
	own, err = ownCPU()
	if err != nil {
		return 0, 0, err
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(other), "stat"))
	if err != nil {
		return 0, 0, fmt.Errorf("cpu time of the simulators: %w", err)
	}
	// The name may hold spaces: fields count from its closing parenthesis.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	const ticks = 100 // per second, on every Linux Go runs on
	for _, i := range []int{11, 12} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("cpu time of the simulators: %w", err)
		}
		theirs += time.Duration(n) * time.Second / ticks
	}
	return own, theirs, nil
}
