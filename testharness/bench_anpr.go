package testharness

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"airegw/anpr"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
	"airegw/gateway/store"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// ANPRBench is what `airegw bench anpr` answers: whole checks of a person (five
// services) against the strict simulator, and what our side adds to one call,
// each with the voucher from the cache and with a new one.
type ANPRBench struct {
	Cached  ANPRRun `json:"cached_voucher"`
	Fresh   ANPRRun `json:"new_voucher"`
	Machine string  `json:"machine"`
	Counts  string  `json:"what_counts"`
}

// ANPRRun is one half of it.
type ANPRRun struct {
	Clients   int     `json:"clients"`
	Seconds   float64 `json:"seconds"`
	Checks    int     `json:"checks"`         // that answered a whole record
	Calls     int     `json:"register_calls"` // as the simulator counted them, without vouchers
	Vouchers  int     `json:"vouchers"`
	PerSecond float64 `json:"checks_per_second"`
	P50       float64 `json:"check_p50_ms"`
	P99       float64 `json:"check_p99_ms"`
	// Added latency: a signed call of ours less a bare POST, both to a server
	// that answers at once.
	CallP50 float64 `json:"call_p50_ms"`
	// CPU time, which other work on the machine does not lengthen: of a whole check
	// with the simulator's part, and of one call of ours with the server that
	// answers at once.
	CheckCPU float64 `json:"check_cpu_ms"`
	CallCPU  float64 `json:"call_cpu_ms"`
	BareP50  float64 `json:"bare_post_p50_ms"`
	AddedP50 float64 `json:"added_latency_p50_ms"`
}

// ANPRBenchOptions bounds the bench.
type ANPRBenchOptions struct {
	Dir     string        // of the database with operation ids and quota
	Clients int           // default 4, at most 32
	For     time.Duration // of each half, default 4 s, at most 30 s
}

// benchVouchers bounds the half with new vouchers: PDND, and its simulator, give
// 600 a minute to an organisation.
const benchVouchers = 100

// benchAnswer is what the server that answers at once says.
const benchAnswer = `{"idOperazioneANPR":"1","listaSoggetti":{"datiSoggetto":[{"identificativi":{"idANPR":"AF41450AS"}}]}}`

// BenchANPR measures the register's client as it is assembled: durable operation
// ids and quota, strict signatures both ways. Simulator and client share the
// machine.
func BenchANPR(ctx context.Context, o ANPRBenchOptions) (_ ANPRBench, err error) {
	if o.Clients <= 0 || o.Clients > 32 {
		o.Clients = 4
	}
	if o.For <= 0 || o.For > 30*time.Second {
		o.For = 4 * time.Second
	}
	b := ANPRBench{
		Machine: fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		Counts:  "a check is C030, C015, C020, C019, C018 with its record read; ids and quota durable in SQLite; client and simulator on one machine",
	}
	db, err := store.Open(ctx, store.Options{Path: filepath.Join(o.Dir, "bench.db"), Keys: filepath.Join(o.Dir, "bench.keys"), Environment: store.Simulation})
	if err != nil {
		return b, fmt.Errorf("database of the bench: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	key, err := jose.GenerateKey(jose.RS256)
	if err != nil {
		return b, err
	}
	w, err := newANPRBenchWorld(db, key)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for _, half := range []struct {
		run   *ANPRRun
		fresh bool
	}{{&b.Cached, false}, {&b.Fresh, true}} {
		*half.run, err = w.run(ctx, o, half.fresh)
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// anprBench is the client in front of the simulator and of a server that
// answers at once.
type anprBench struct {
	sim     *anprsim.Server
	servers []*sim.Server
	strict  *anpr.Client
	instant *anpr.Client
	bareURL string
}

func newANPRBenchWorld(db *store.Store, key jose.Key) (_ *anprBench, err error) {
	w := &anprBench{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	client := uuid.NewSHA1(uuid.NameSpaceOID, []byte(key.KID()))
	purposes := map[string]string{}
	for _, code := range []string{"C030", "C015", "C020", "C019", "C018"} {
		purposes[code] = uuid.NewSHA1(client, []byte(code)).String()
	}
	published, err := jose.NewKeySet(key.Public()).MarshalJSON()
	if err != nil {
		return w, err
	}
	known := anprsim.Client{ID: client.String(), Purposes: purposes}
	err = json.Unmarshal(published, &known.JWKS)
	if err != nil {
		return w, err
	}
	w.sim, err = anprsim.New(anprsim.Options{Clients: []anprsim.Client{known}})
	if err != nil {
		return w, err
	}
	for code := range purposes {
		w.sim.SetLimit(code, 1<<30)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"access_token":"opaque","token_type":"Bearer","expires_in":600}`)
	})
	mux.HandleFunc("POST /", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, benchAnswer)
	})
	for _, h := range []http.Handler{w.sim.Handler(), mux} {
		s, err := sim.Start("127.0.0.1:0", h, nil)
		if err != nil {
			return w, err
		}
		w.servers = append(w.servers, s)
	}
	w.bareURL = w.servers[1].URL + "/bare"
	id := w.sim.Identity()
	w.strict, err = benchClient(db, key, client.String(), w.servers[0].URL+id.TokenPath, id.AssertionAudience, func(code anpr.Service) anpr.ServiceConfig {
		return anpr.ServiceConfig{BaseURL: w.servers[0].URL + id.Services[string(code)], Audience: id.Audiences[string(code)], PurposeID: purposes[string(code)]}
	}, anpr.C030, anpr.C015, anpr.C020, anpr.C019, anpr.C018)
	if err != nil {
		return w, err
	}
	w.instant, err = benchClient(db, key, client.String(), w.servers[1].URL+"/token", "bench/client-assertion", func(code anpr.Service) anpr.ServiceConfig {
		return anpr.ServiceConfig{BaseURL: w.servers[1].URL + "/" + string(code), Audience: "https://bench.invalid/" + string(code), PurposeID: purposes[string(code)]}
	}, anpr.C030)
	return w, err
}

func benchClient(db *store.Store, key jose.Key, id, tokenURL, tokenAudience string, service func(anpr.Service) anpr.ServiceConfig, codes ...anpr.Service) (*anpr.Client, error) {
	out := func(name string) (*outbound.Client, error) {
		return outbound.New(outbound.Config{
			Peer: name, Deadline: 10 * time.Second, PerTry: 5 * time.Second, MaxBody: 1 << 20, Tries: 1, BackoffMin: 1, BackoffMax: 2,
			Clock: time.Now, Rand: func() float64 { return 0 }, Logger: slog.New(slog.DiscardHandler),
		})
	}
	token, err := out("pdnd")
	if err != nil {
		return nil, err
	}
	services := map[anpr.Service]anpr.ServiceConfig{}
	for _, code := range codes {
		sc := service(code)
		sc.Out, err = out(string(code))
		if err != nil {
			return nil, err
		}
		services[code] = sc
	}
	return anpr.NewClient(anpr.ClientConfig{
		ClientID: id, Key: key, TokenURL: tokenURL, TokenAudience: tokenAudience, Token: token, Services: services,
		OperationIDs: benchIDs{db}, Quota: db.Quota(), Clock: time.Now, Rand: rand.Reader,
	})
}

// benchIDs gives operation ids as the gateway does.
type benchIDs struct{ db *store.Store }

func (i benchIDs) NextOperationID(ctx context.Context) (string, error) {
	n, err := i.db.OperationFor(ctx, "anpr", "", 1, false, time.Now())
	return strconv.FormatInt(n, 10), err
}

func (w *anprBench) close() error {
	var errs []error
	for _, s := range w.servers {
		errs = append(errs, s.Close())
	}
	if w.sim != nil {
		errs = append(errs, w.sim.Close())
	}
	return errors.Join(errs...)
}

// benchQuery asks about a person; a fresh one comes from somebody who never asked
// before, so that no pair of voucher and evidence fits.
func benchQuery(p sim.Person, who string) anpr.Query {
	return anpr.Query{FiscalCode: p.CF, Reason: "bench", Actor: anpr.Actor{User: "bench-" + who, Location: "bench", LoA: "service"}}
}

func (w *anprBench) run(ctx context.Context, o ANPRBenchOptions, fresh bool) (ANPRRun, error) {
	r := ANPRRun{Clients: o.Clients}
	people := slices.DeleteFunc(sim.People(), func(p sim.Person) bool { return p.Scenario != "ok" })
	var turn atomic.Int64
	who := func(n int64) string {
		if fresh {
			return "fresh-" + strconv.FormatInt(n, 10)
		}
		return "cached"
	}
	// What is cached is fetched before the clock starts.
	if !fresh {
		_, err := w.strict.Check(ctx, benchQuery(people[0], who(0)))
		if err != nil {
			return r, fmt.Errorf("bench: %w", err)
		}
	}
	before := w.sim.Calls()
	used, err := ownCPU()
	if err != nil {
		return r, err
	}
	took := make([][]time.Duration, o.Clients)
	errs := make([]error, o.Clients)
	start := time.Now()
	end := start.Add(o.For)
	var wg sync.WaitGroup
	for c := range o.Clients {
		wg.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				n := turn.Add(1)
				if fresh && n > benchVouchers {
					return
				}
				from := time.Now()
				record, err := w.strict.Check(ctx, benchQuery(people[int(n)%len(people)], who(n)))
				if err == nil && (!record.Found || len(record.Calls) != 5) {
					err = fmt.Errorf("a record of %d calls", len(record.Calls))
				}
				if err != nil {
					errs[c] = err
					return
				}
				took[c] = append(took[c], time.Since(from))
			}
		})
	}
	wg.Wait()
	r.Seconds = time.Since(start).Seconds()
	err = errors.Join(errs...)
	if err != nil {
		return r, fmt.Errorf("bench: %w", err)
	}
	spent, err := ownCPU()
	if err != nil {
		return r, err
	}
	all := slices.Concat(took...)
	r.Checks, r.PerSecond = len(all), float64(len(all))/r.Seconds
	r.P50, r.P99 = quantiles(all)
	r.CheckCPU = millis(spent-used) / float64(max(1, len(all)))
	r.Calls, r.Vouchers = callsSince(w.sim.Calls(), before)
	return r, w.added(ctx, o, &r, who)
}

// added measures what our side adds to one call, one after the other.
func (w *anprBench) added(ctx context.Context, o ANPRBenchOptions, r *ANPRRun, who func(int64) string) error {
	rounds := min(200, int64(1+o.For/(20*time.Millisecond)))
	body, err := json.Marshal(map[string]string{"idOperazioneClient": "1"})
	if err != nil {
		return err
	}
	person := sim.People()[0]
	var calls, bare []time.Duration
	var cpu time.Duration
	for n := range rounds {
		from := time.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.bareURL, bytes.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		err = errors.Join(err, resp.Body.Close())
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		bare = append(bare, time.Since(from))
		before, err := ownCPU()
		if err != nil {
			return err
		}
		from = time.Now()
		_, err = w.instant.Check(ctx, benchQuery(person, who(n)))
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		calls = append(calls, time.Since(from))
		after, err := ownCPU()
		if err != nil {
			return err
		}
		cpu += after - before
	}
	r.CallCPU = millis(cpu) / float64(len(calls))
	r.CallP50, _ = quantiles(calls)
	r.BareP50, _ = quantiles(bare)
	r.AddedP50 = r.CallP50 - r.BareP50
	return nil
}

// quantiles answers median and 99th percentile in milliseconds.
func quantiles(all []time.Duration) (p50, p99 float64) {
	if len(all) == 0 {
		return 0, 0
	}
	sorted := slices.Sorted(slices.Values(all))
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return ms(sorted[len(sorted)/2]), ms(sorted[len(sorted)*99/100])
}

// callsSince counts what the simulator saw since an earlier look.
func callsSince(now, before []anprsim.Call) (calls, vouchers int) {
	last := int64(0)
	if len(before) > 0 {
		last = before[len(before)-1].Seq
	}
	for _, c := range now {
		switch {
		case c.Seq <= last:
		case c.Operation == "token":
			vouchers++
		default:
			calls++
		}
	}
	return calls, vouchers
}
