package testharness

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/gateway/store/pgtest"
	"airegw/testharness/sim"
)

// steppedClock is the gateway's own clock, which may be wrong by a step; the
// outside lives by the true one.
type steppedClock struct {
	handClock
	mu    sync.Mutex
	wrong time.Duration
}

func (c *steppedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handClock.Now().Add(c.wrong)
}

func (c *steppedClock) set(wrong time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = wrong
}

// The gateway's clock jumps an hour forward and back, an hour back and forward,
// and back to long before the leases that are out, while pieces are leased and
// left, retries scheduled, a session open, vouchers cached and code halves kept.
// Whatever waits is brought to its end soon after the clock is right again, once.
func TestAClockThatJumpsLosesDoublesAndStopsNothing(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			w := newFlow(t, dawn)
			w.must("close", w.app.Close())
			clock := &steppedClock{handClock: w.clock}
			w.own, w.door = clock, DemoDoor()
			if engine == "PostgreSQL" {
				w.dbURL = pgtest.Database(t)
				w.config.Database = app.DatabaseConfig{URLFile: filepath.Join(w.dir, "database.url"), Keys: "keys/database.keys"}
				w.must("address", os.WriteFile(w.config.Database.URLFile, []byte(w.dbURL+"\n"), 0o600))
			}
			w.assemble()
			for i, jump := range []struct {
				name string
				// wrong is how far the clock is off while work is begun, then while the
				// gateway goes on; at the end it is right.
				begin, after time.Duration
			}{
				{"an hour ahead, then set right", time.Hour, 0},
				{"right, then an hour ahead", 0, time.Hour},
				{"right, then an hour behind: before the leases began", 0, -time.Hour},
				{"ten years ahead, then set right", 10 * 365 * 24 * time.Hour, 0},
			} {
				w.throughAJump(clock, 4*i, jump.name, jump.begin, jump.after)
			}
			w.sound()
			w.clock.Advance(time.Hour)
			w.drain("house", w.g.HouseOnce)
			report, err := w.app.Store.VerifyAudit(w.ctx)
			if err != nil || !report.OK() {
				t.Errorf("the audit chain: %+v %v", report.Bad, err)
			}
		})
	}
}

// throughAJump begins four requests and brings them to the core's receipt while
// the clock jumps.
func (w *flow) throughAJump(clock *steppedClock, first int, name string, begin, after time.Duration) {
	w.t.Helper()
	d := w.desk("H501")
	const lease = 30 * time.Second
	// Rightly: a signed order each, vouchers are cached by now.
	left, retried := w.signed(d, ask(ordinary(w.t, first))), w.signed(d, ask(ordinary(w.t, first+1)))
	printed := w.taken(d, ask(ordinary(w.t, first+2)))
	w.enquiry(d, printed)
	w.must("prepare", d.PrepareForms(w.ctx, printed))
	cookie := w.login("op-001")

	clock.set(begin)
	_, err := d.PrintForms(w.ctx, printed)
	w.must("print", err)
	// A worker takes an order and dies; the core does not answer the other one.
	w.coreFault(sim.Rule{Name: sim.FaultDropAnswer, Op: "submission", Probability: 1})
	dead, err := w.app.Store.ClaimOutbox(w.ctx, clock.Now(), lease, 1)
	if err != nil || len(dead) != 1 || dead[0].RequestID != left {
		w.t.Fatalf("%s: claimed %+v, %v", name, dead, err)
	}
	w.relay()
	// A form comes in; a worker takes it and dies; another's check fails.
	w.registerFault(sim.Rule{Name: "outage", Probability: 1})
	waiting := w.submit(d, ask(ordinary(w.t, first+3)))
	w.work()
	w.seen(cookie)

	clock.set(after)
	w.drain("house", w.g.HouseOnce)
	w.relay()
	w.work()
	w.seen(cookie)
	w.seen(w.login("op-001"))

	clock.set(0)
	w.coreFault(sim.Rule{Name: sim.FaultDropAnswer, Op: "submission"})
	w.registerFault(sim.Rule{Name: "outage"})
	right := w.clock.Now()
	for {
		w.drain("house", w.g.HouseOnce)
		w.relay()
		w.work()
		r := w.open(d, waiting)
		if w.open(d, left).State == gateway.StateRelayed && w.open(d, retried).State == gateway.StateRelayed &&
			r.State == gateway.StatePrechecked && r.Decision != nil && !r.Office.IsZero() {
			break
		}
		if w.clock.Now().Sub(right) > 25*time.Minute {
			w.t.Fatalf("%s: %v after the clock was right, %s (%+v), %s (%+v), %s (%+v)", name, w.clock.Now().Sub(right),
				w.open(d, left).State, w.open(d, left).Mark, w.open(d, retried).State, w.open(d, retried).Mark, r.State, r.Mark)
		}
		w.pass(20 * time.Second)
	}
	for _, number := range []string{left, retried} {
		w.once(number + ".1")
		r := w.open(d, number)
		relayed := 0
		for _, e := range r.Events {
			if e.Type == gateway.EventRelayed {
				relayed++
				if e.At.Before(r.Register.At) {
					w.t.Errorf("%s: %s relayed at %s on a check of %s", name, number, e.At, r.Register.At)
				}
			}
		}
		if relayed != 1 {
			w.t.Errorf("%s: %s relayed %d times", name, number, relayed)
		}
	}
	// Whoever woke late has nothing to say any more.
	err = w.app.Store.ReleaseOutbox(w.ctx, dead[0], clock.Now(), "late", "", false)
	refusedAs(w.t, err, gateway.Conflict, "lease_lost")
	// The halves live an hour after the print by the true clock at most, and come
	// again from the core.
	w.pass(time.Hour + time.Second)
	w.drain("house", w.g.HouseOnce)
	_, err = w.app.Store.Halves(w.ctx, printed+".1")
	refusedAs(w.t, err, gateway.NotFound, "not_found")
	w.must("cancel", d.Cancel(w.ctx, printed, "withdrawn", ""))
	w.relay()
	w.is(d, printed, gateway.StateCancelled)
}

// login opens a session of an operator through the demo's door.
func (w *flow) login(operator string) *http.Cookie {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(url.Values{"operator": {operator}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = "127.0.0.1:4000"
	r.Host = strings.TrimPrefix(w.app.URL(), "http://")
	rec := httptest.NewRecorder()
	w.app.Handler().ServeHTTP(rec, r)
	cookies := rec.Result().Cookies()
	if rec.Code != http.StatusSeeOther || len(cookies) == 0 {
		w.t.Fatalf("login: %d %s", rec.Code, rec.Body)
	}
	return cookies[0]
}

// seen calls with a session, which is alive or over, and never an error of ours.
func (w *flow) seen(cookie *http.Cookie) {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/api/v1/requests", nil)
	r.RemoteAddr = "127.0.0.1:4000"
	r.Host = strings.TrimPrefix(w.app.URL(), "http://")
	r.AddCookie(cookie)
	rec := httptest.NewRecorder()
	w.app.Handler().ServeHTTP(rec, r)
	if rec.Code != http.StatusOK && rec.Code != http.StatusUnauthorized {
		w.t.Errorf("a call in a session: %d %s", rec.Code, rec.Body)
	}
}
