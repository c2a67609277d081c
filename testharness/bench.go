package testharness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/gateway/store"
	"airegw/gateway/web"
	"airegw/policies"
	"airegw/testharness/sim"
)

// SubmitBench is what `airegw bench submit` answers: acknowledged durable
// submissions over HTTP, beside the machine's own limit in the same run.
type SubmitBench struct {
	Clients      int     `json:"clients"`
	Seconds      float64 `json:"seconds"`
	Acknowledged int     `json:"acknowledged"`
	Rows         int     `json:"rows_counted"` // in the database afterwards
	PerSecond    float64 `json:"per_second"`
	P50          float64 `json:"p50_ms"`
	P99          float64 `json:"p99_ms"`
	PeakRSS      float64 `json:"peak_rss_mib"`
	Durability   string  `json:"durability"`
	Limit        struct {
		Rows            int     `json:"rows"`
		RowsCounted     int64   `json:"rows_counted"`
		PerSecond       float64 `json:"group_committed_rows_per_second"`
		FsyncsPerSecond float64 `json:"fsyncs_per_second"`
	} `json:"machine_limit"`
	Share    float64 `json:"share_of_limit"`
	Machine  string  `json:"machine"`
	Failures int     `json:"failures"`
}

// BenchOptions bounds a bench.
type BenchOptions struct {
	Dir     string        // must not hold a database
	Clients int           // default 16
	For     time.Duration // default 8 s, at most 60 s
	Most    int           // at most this many submissions; default 400,000
}

// BenchSubmit measures acknowledged durable submissions per second through the
// real binary's parts: HTTP on loopback, authentication by bearer, validation,
// one commit. The register is not asked (the workers do that later): what is
// measured ends where the number is given. Generator and server share the
// machine.
func BenchSubmit(ctx context.Context, o BenchOptions) (SubmitBench, error) {
	if o.Clients <= 0 {
		o.Clients = 16
	}
	if o.For <= 0 || o.For > time.Minute {
		o.For = 8 * time.Second
	}
	if o.Most <= 0 || o.Most > 400_000 {
		o.Most = 400_000
	}
	b := SubmitBench{Clients: o.Clients, Durability: "SQLite WAL, synchronous=FULL, group commit", Machine: fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}
	err := benchLimit(ctx, o, &b)
	if err != nil {
		return b, err
	}
	sims, err := StartSims(SimOptions{})
	if err != nil {
		return b, err
	}
	defer sims.Close() //nolint:errcheck // nothing is kept
	office := "comune:058091"
	workers := DemoWorkers()
	workers.Poll = time.Hour // the workers wait: only the acknowledgement is measured
	c, err := Configure(ctx, sims.Connection, o.Dir, GatewayOptions{Clients: []Office{office}, Workers: workers, Log: app.LogConfig{Level: "error"}})
	if err != nil {
		return b, err
	}
	a, err := app.Assemble(ctx, c, app.Options{Limits: web.Limits{APIPerSecond: 1e9}})
	if err != nil {
		return b, err
	}
	serveCtx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- a.Serve(serveCtx) }()
	client, key, err := ReadClient(filepath.Join(o.Dir, "clients", "058091.client.json"))
	if err == nil {
		err = o.load(ctx, func() *Session { return ClientSession(a.URL(), client.ID, key) }, &b)
	}
	stop()
	err = errors.Join(err, <-served)
	if err == nil {
		counts, countErr := a.Store.Counts(ctx, time.Now().UTC())
		err = countErr
		for _, n := range counts.ByState {
			b.Rows += n
		}
	}
	err = errors.Join(err, a.Close())
	if err == nil && b.Rows != b.Acknowledged {
		err = fmt.Errorf("%d acknowledged, %d rows", b.Acknowledged, b.Rows)
	}
	b.PeakRSS = peakRSS()
	if b.Limit.PerSecond > 0 {
		b.Share = b.PerSecond / b.Limit.PerSecond
	}
	return b, err
}

// load drives the submissions, closed loop, and measures each.
func (o BenchOptions) load(ctx context.Context, session func() *Session, b *SubmitBench) error {
	ctx, cancel := context.WithTimeout(ctx, o.For)
	defer cancel()
	var wg sync.WaitGroup
	took := make([][]time.Duration, o.Clients)
	failures := make([]int, o.Clients)
	var first error
	var once sync.Once
	start := time.Now()
	for c := range o.Clients {
		s := session()
		wg.Go(func() {
			for n := c; n < o.Most && ctx.Err() == nil; n += o.Clients {
				body := benchBody(n)
				from := time.Now()
				status, err := s.PostRaw(ctx, "/api/v1/requests", body, nil)
				if err != nil {
					// The call that the end of the run cuts off is neither
					// acknowledged nor failed; its row may exist: wait for it.
					if ctx.Err() != nil {
						status, err = s.PostRaw(context.WithoutCancel(ctx), "/api/v1/requests", body, nil)
					}
					if err != nil {
						failures[c]++
						once.Do(func() { first = err })
						continue
					}
				}
				if status == 201 || status == 200 {
					took[c] = append(took[c], time.Since(from))
				}
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	var all []time.Duration
	for c := range took {
		all = append(all, took[c]...)
		b.Failures += failures[c]
	}
	slices.Sort(all)
	b.Acknowledged, b.Seconds = len(all), elapsed.Seconds()
	b.PerSecond = float64(len(all)) / elapsed.Seconds()
	if len(all) > 0 {
		b.P50 = float64(all[len(all)/2].Microseconds()) / 1000
		b.P99 = float64(all[len(all)*99/100].Microseconds()) / 1000
	}
	if b.Failures > 0 {
		return fmt.Errorf("%d submissions failed, the first: %w", b.Failures, first)
	}
	return nil
}

// benchBody makes the request of synthetic person n: a fiscal code of their own.
func benchBody(n int) []byte {
	return []byte(`{"key":"bench-` + fmt.Sprintf("%08d", n) + `","channel":"comune","office":"058091","reason":"first_issue",` +
		`"applicant":{"fiscal_code":"` + SyntheticCode(n) + `"},` +
		`"delivery":{"option":"FOREIGN_RESIDENCE"},"contacts":{"email":"bench@example.org"}}`)
}

// SyntheticCode makes the nth of a series of well-formed fiscal codes of adults
// born in Rome; the letters of the names count, so that no two are equal for n
// below 150 million.
func SyntheticCode(n int) string {
	const consonants = "BCDFGHLMNPRSTVZ"
	name := make([]byte, 6)
	for i := range name {
		name[i] = consonants[n%len(consonants)]
		n /= len(consonants)
	}
	code := string(name) + fmt.Sprintf("%02d", 50+n%40) + "A01H501"
	return code + string(rune(controlLetter(code)))
}

// controlLetter follows D.M. 23 December 1976.
func controlLetter(code string) byte {
	odd := [36]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for i := range 15 {
		v := int(code[i] - '0')
		if code[i] >= 'A' {
			v = int(code[i]-'A') + 10
		}
		switch {
		case i%2 == 0:
			sum += odd[v]
		case v >= 10:
			sum += v - 10
		default:
			sum += v
		}
	}
	return byte('A' + sum%26)
}

// benchLimit measures the machine: the same rows straight into a database of
// its own, and fsyncs.
func benchLimit(ctx context.Context, o BenchOptions, b *SubmitBench) error {
	dir := filepath.Join(o.Dir, "limit")
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return fmt.Errorf("folder of the bench: %w", err)
	}
	b.Limit.FsyncsPerSecond, err = store.FsyncsPerSecond(dir, min(time.Second, o.For))
	if err != nil {
		return fmt.Errorf("fsyncs: %w", err)
	}
	db, err := store.Open(ctx, store.Options{Path: filepath.Join(dir, "limit.db"), Keys: filepath.Join(dir, "limit.keys"), Environment: store.Simulation})
	if err != nil {
		return fmt.Errorf("database of the limit: %w", err)
	}
	in, err := gateway.DecodeInput(strings.NewReader(string(benchBody(0))))
	if err == nil && in.Channel != policies.ChannelComune {
		err = errors.New("the bench's own body does not read")
	}
	if err == nil {
		var r store.BenchResult
		// A short bench asks for a short limit; the whole one from eight seconds on.
		r, err = db.RawInsertBench(ctx, max(500, min(40_000, int(o.For.Seconds()*5000))), o.Clients, benchBody(0))
		b.Limit.Rows, b.Limit.RowsCounted, b.Limit.PerSecond = r.Rows, r.Counts, r.PerSecond()
	}
	return errors.Join(err, db.Close())
}

// peakRSS answers the process's peak memory in MiB, generator included.
func peakRSS() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err == nil {
				return float64(kib) / 1024
			}
		}
	}
	return 0
}

// SyntheticPerson makes the nth of a series of ordinary AIRE citizens of Buenos
// Aires with the fiscal code of SyntheticCode: born in Rome on 1 January 1950,
// with nothing in the register against a card. n is below a million.
func SyntheticPerson(n int) sim.Person {
	code := SyntheticCode(n)
	return sim.Person{
		CF: code, CFValidity: "1", IDANPR: fmt.Sprintf("Q%c%05d%cQ", 'A'+n%26, n/26, 'A'+n%26),
		Surname: code[:3] + "A", Name: code[3:6] + "A", Sex: "M",
		Birth:        sim.Birth{Date: "1950-01-01", ComuneName: "ROMA", ComuneISTAT: "058091"},
		Citizenships: []sim.Citizenship{{State: "ITALIA", StateISTAT: "100"}}, Status: sim.StatusAIRE,
		AIRE: &sim.AIRE{ComuneISTAT: "058091", ComuneName: "ROMA", Since: "1999-03-22", Reason: "C01", Initiative: "1", ComuneChoice: "1"},
		Post: &sim.Post{Code: "2600103", Seat: "BUENOS AIRES"},
		Address: sim.Address{
			Street: "AVENIDA CORRIENTES", Number: strconv.Itoa(1 + n%9000), Postcode: "C1193AAB", Locality: "CIUDAD AUTÓNOMA DE BUENOS AIRES",
			Province: "BUENOS AIRES", State: "ARGENTINA", StateISTAT: "602", ISO2: "AR",
		},
		ResidenceSince: "1999-03-22", Continent: "South America", Email: fmt.Sprintf("synthetic%06d@example.org", n), Scenario: "ok", Note: "one of many",
	}
}
