package crash

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/gateway/jose"
	"airegw/gateway/store/pgtest"
	"airegw/testharness"
	"airegw/testharness/coresim"
	"airegw/testharness/sim"
)

// engine is a database under the gateway.
type engine string

const (
	onSQLite     engine = "SQLite"
	onPostgreSQL engine = "PostgreSQL"
)

// breakable is airegw built with `-tags mutants`, built when it is first needed.
var breakable = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "airegw-mutants")
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-tags", "mutants", "-o", path, "airegw/cmd/airegw").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build airegw with -tags mutants: %w: %s", err, out)
	}
	return path, nil
})

// rsaKeys are PDND's and ours, made once: they are slow to make and say nothing
// here.
var rsaKeys = sync.OnceValues(func() (keys struct {
	voucher *rsa.PrivateKey
	client  []byte
}, err error,
) {
	keys.voucher, err = rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return keys, err
	}
	key, err := jose.GenerateKey(jose.RS256)
	if err != nil {
		return keys, err
	}
	dir, err := os.MkdirTemp("", "airegw-key-")
	if err != nil {
		return keys, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "pdnd.jwk")
	err = jose.SaveKey(path, key)
	if err != nil {
		return keys, err
	}
	keys.client, err = os.ReadFile(path)
	return keys, err
})

// comune and another are the offices with a machine client at a station.
const (
	comune  = "058091"
	another = "054013"
)

// station is one gateway, as often as it is started, on one folder among
// simulators of its own, which live in the test's process.
type station struct {
	t      *testing.T
	dir    string
	bin    string
	sims   *testharness.Sims
	config string // file of the gateway
	url    string
	dbURL  string
	points string // file of the armed points
	env    []string

	mu      sync.Mutex
	proc    *process
	starts  int
	log     lockedBuffer // stderr of all lives
	numbers []string     // acknowledged
}

type stationOptions struct {
	engine  engine
	bin     string // empty: the production binary
	people  int    // synthetic people beside the register's own
	workers app.WorkerConfig
	step    time.Duration
	profile sim.Profile
	seed    uint64
	cluster *pgtest.Cluster // nil: the test binary's
	env     []string
	adjust  func(*station, *app.Config)
}

// simulate starts simulators in the test's process. The register's quota of a day
// is lifted: minutes of a soak ask it as often as weeks do.
func simulate(t *testing.T, o testharness.SimOptions) *testharness.Sims {
	t.Helper()
	sims, err := testharness.StartSims(o)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, "simulators", sims.Close)
	for code := range sims.ANPRIdentity.Services {
		sims.ANPR.SetLimit(code, 1<<30)
	}
	return sims
}

// quick are times for tests that wait for real: leases that end soon, polls and
// retries that come soon.
func quick() app.WorkerConfig {
	return app.WorkerConfig{
		Lease: 1200 * time.Millisecond, Poll: 40 * time.Millisecond, RetryFirst: 40 * time.Millisecond, RetryMost: 300 * time.Millisecond,
		Realign: time.Second, FeedEvery: 120 * time.Millisecond,
	}
}

func newStation(t *testing.T, o stationOptions) *station {
	t.Helper()
	underWay(t)
	keys, err := rsaKeys()
	if err != nil {
		t.Fatal(err)
	}
	s := &station{t: t, dir: memoryDir(t), bin: o.bin, env: o.env}
	if s.bin == "" {
		s.bin = binary
	}
	s.points = filepath.Join(s.dir, "points")
	var people []sim.Person
	for n := range o.people {
		people = append(people, testharness.SyntheticPerson(n))
	}
	if o.seed == 0 {
		o.seed = 11
	}
	s.sims = simulate(t, testharness.SimOptions{Profile: o.profile, Seed: o.seed, Step: o.step, VoucherKey: keys.voucher, People: people})
	err = os.MkdirAll(filepath.Join(s.dir, "keys"), 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, "keys", "pdnd.jwk"), keys.client, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if o.workers == (app.WorkerConfig{}) {
		o.workers = quick()
	}
	c, err := testharness.Configure(t.Context(), s.sims.Connection, s.dir, testharness.GatewayOptions{
		Listen: freeAddress(t), Clients: []string{"comune:" + comune, "comune:" + another}, Workers: o.workers, Log: app.LogConfig{Level: "error"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.url = c.BaseURL
	if o.engine == onPostgreSQL {
		if o.cluster != nil {
			s.dbURL = o.cluster.Database(t)
		} else {
			s.dbURL = pgtest.Database(t)
		}
		c.Database = app.DatabaseConfig{URLFile: "database.url", Keys: "keys/database.keys"}
		err = os.WriteFile(filepath.Join(s.dir, "database.url"), []byte(s.dbURL+"\n"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	if o.adjust != nil {
		o.adjust(s, &c)
	}
	s.config = filepath.Join(s.dir, "airegw.yaml")
	s.writeConfig(c)
	return s
}

func (s *station) writeConfig(c app.Config) {
	s.t.Helper()
	raw, err := c.YAML()
	if err == nil {
		err = os.WriteFile(s.config, raw, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// launch starts a binary; its stderr goes to log.
func launch(t *testing.T, log io.Writer, bin string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(bin, args...), stderr: &lockedBuffer{}, done: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = io.MultiWriter(p.stderr, log)
	// A test that dies must not leave a gateway behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := p.cmd.Start()
	if err != nil {
		t.Fatalf("start %s: %v", strings.Join(args, " "), err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p
}

// start starts the gateway and waits until it is healthy, or until a failpoint
// has killed it.
func (s *station) start() {
	s.t.Helper()
	deadline := time.Now().Add(comesUp)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc = launch(s.t, &s.log, s.bin, append([]string{"FAILPOINT_FILE=" + s.points}, s.env...), "serve", "--config", s.config)
	s.starts++
	for time.Now().Before(deadline) {
		if s.healthy() {
			return
		}
		select {
		case err := <-s.proc.done:
			s.proc.done <- err
			if killed(err) {
				return
			}
			s.t.Fatalf("the gateway does not start: %v\n%s", err, s.proc.stderr)
		case <-time.After(15 * time.Millisecond):
		}
	}
	s.t.Fatalf("the gateway does not come up\n%s", s.proc.stderr)
}

func (s *station) healthy() bool {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/status", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// stop ends the gateway as kill -9 does.
func (s *station) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		_ = s.proc.cmd.Process.Kill()
		<-s.proc.done
		s.proc = nil
	}
}

// revive starts the gateway again when it is gone; disarm says that whatever
// point killed it must not do so again.
func (s *station) revive(disarm bool) {
	s.t.Helper()
	s.mu.Lock()
	p := s.proc
	s.mu.Unlock()
	select {
	case err := <-p.done:
		if !killed(err) {
			s.t.Fatalf("the gateway ended by itself: %v\n%s", err, p.stderr)
		}
		if disarm {
			s.arm("")
		}
		s.start()
	default:
	}
}

// arm says which points fail from now on; empty: none.
func (s *station) arm(points string) {
	s.t.Helper()
	armFile(s.t, s.points, points)
}

// armFile says in the file of a process which of its points fail from now on.
func armFile(t *testing.T, file, points string) {
	t.Helper()
	part := file + ".part"
	err := os.WriteFile(part, []byte(points), 0o600)
	if err == nil {
		err = os.Rename(part, file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// session speaks as the machine of an office.
func (s *station) session(office string) *testharness.Session {
	s.t.Helper()
	client, key, err := testharness.ReadClient(filepath.Join(s.dir, "clients", office+".client.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	return testharness.ClientSession(s.url, client.ID, key)
}

// ride is one citizen's request from the form to the certified order, which is
// then cancelled: every durable boundary is on its way.
type ride struct {
	s      *station
	desk   *testharness.Session
	person sim.Person
	number string

	moved bool          // the core was told to certify
	until gateway.State // where the ride is to stop, while it is set
}

// seen is what a ride reads of the gateway's answer.
type seen struct {
	State    string `json:"state"`
	Decision *struct {
		FeeCents int `json:"fee_cents"`
	} `json:"decision"`
	Mark *struct {
		Kind   string `json:"kind"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
	} `json:"mark"`
	Orders []struct {
		Asked string `json:"asked"`
	} `json:"orders"`
	History []struct {
		Type string `json:"type"`
	} `json:"history"`
}

func (r seen) has(event string) bool {
	for _, h := range r.History {
		if h.Type == event {
			return true
		}
	}
	return false
}

// finish takes the ride to its end, patient with everything that may pass.
func (r *ride) finish(ctx context.Context) error {
	var last error
	var at seen
	for {
		done, err := r.step(ctx, &at)
		if done {
			return nil
		}
		if err != nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is still %q (mark %+v): %w", r.number, at.State, at.Mark, errors.Join(ctx.Err(), last))
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// step looks where the request stands and does the next act. Every error is
// worth another try: the next look tells what became of the act.
func (r *ride) step(ctx context.Context, at *seen) (done bool, err error) {
	if r.number == "" {
		return false, r.submit(ctx)
	}
	*at = seen{}
	err = r.desk.Get(ctx, "/api/v1/requests/"+r.number, at)
	if err != nil {
		return false, err
	}
	if r.until != "" && at.State == string(r.until) {
		return true, nil
	}
	switch gateway.State(at.State) {
	case gateway.StatePrechecked:
		if !at.has("routed") {
			return false, nil
		}
		return false, r.acts(ctx, at, "presence", nil, "documents", gateway.Documents{Identity: "passport"},
			"declaration", gateway.Declaration{NoObstacles: true}, "enquiry", nil)
	case gateway.StateInEnquiry:
		return false, r.acts(ctx, at, "capture", gateway.Capture{
			Station: "PDL-TEST-01", Photo: "photo:1", Signature: "signature:1", HeightCM: 170,
			Fingerprints: []gateway.Fingerprint{{Hand: "right", Finger: "index", Quality: 80, Ref: "print:right"}, {Hand: "left", Finger: "index", Quality: 80, Ref: "print:left"}},
		}, "fee", gateway.Fee{Cents: at.Decision.FeeCents, Means: "card"}, "prepare", nil)
	case gateway.StateFormsReady:
		return false, r.acts(ctx, at, "print", nil, "confirm", nil, "sign", nil)
	case gateway.StateRelayed:
		if !r.moved {
			_, err = r.s.sims.Core.Advance(coresim.AdvanceRequest{RequestID: r.number, Steps: 1})
			r.moved = err == nil
		}
		return false, err
	case gateway.StateCertified:
		if at.Orders[len(at.Orders)-1].Asked == "" {
			_, err = r.desk.Post(ctx, "/api/v1/requests/"+r.number+"/cancellation", map[string]string{"code": "withdrawn"}, nil)
		}
		return false, err
	case gateway.StateCancelled:
		return true, nil
	default:
		return false, nil
	}
}

// acts does counter acts, pairs of name and body, but for those on record.
func (r *ride) acts(ctx context.Context, at *seen, pairs ...any) error {
	recorded := map[string]string{"print": "printed", "confirm": "forms_confirmed"}
	for i := 0; i < len(pairs); i += 2 {
		act := pairs[i].(string)
		event := act
		if e := recorded[act]; e != "" {
			event = e
		}
		if at.has(event) {
			continue
		}
		_, err := r.desk.Post(ctx, "/api/v1/requests/"+r.number+"/counter/"+act, pairs[i+1], nil)
		if err != nil {
			return fmt.Errorf("%s: %w", act, err)
		}
	}
	return nil
}

func (r *ride) submit(ctx context.Context) error {
	var ack gateway.Ack
	_, err := r.desk.Post(ctx, "/api/v1/requests", gateway.Input{
		Key: "ride-" + r.person.CF, Channel: "comune", Office: comune, Reason: "first_issue",
		Applicant: gateway.Applicant{FiscalCode: r.person.CF}, Delivery: gateway.DeliveryChoice{Option: "COMUNE_PICKUP"},
		Contacts: gateway.Contacts{Email: r.person.Email},
	}, &ack)
	if err != nil {
		return err
	}
	r.number = ack.Number
	r.s.mu.Lock()
	r.s.numbers = append(r.s.numbers, ack.Number)
	r.s.mu.Unlock()
	return nil
}

// judge holds I1 to I5 against what the station left: each person has one
// request, which the other office does not see.
func (s *station) judge(people int) {
	s.t.Helper()
	broken, err := testharness.CheckInvariants(s.t.Context(), testharness.Judged{
		Dir: s.dir, URL: s.dbURL, Conn: s.sims.Connection, Acknowledged: s.numbers, Now: time.Now().UTC(), Quiet: true, Requests: people,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range broken {
		s.t.Error(b)
	}
	other := s.session(another)
	var list struct {
		Requests []struct {
			Number string `json:"number"`
		} `json:"requests"`
	}
	err = other.Get(s.t.Context(), "/api/v1/requests", &list)
	if err != nil || len(list.Requests) != 0 {
		s.t.Errorf("I3: another office sees %d requests (%v)", len(list.Requests), err)
	}
	for _, number := range s.numbers {
		var p *testharness.Problem
		err = other.Get(s.t.Context(), "/api/v1/requests/"+number, nil)
		if !errors.As(err, &p) || p.Status != http.StatusNotFound || strings.Contains(p.Detail, number) {
			s.t.Errorf("I3: another office asked for %s and got %v", number, err)
		}
	}
}
