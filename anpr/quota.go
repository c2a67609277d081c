package anpr

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The register counts calls per service and day, failed ones too, and its first
// 429 means: stop until midnight (spec §1.8, §8 row 10). What was spent and
// until when to stop outlives a restart; what is left goes to whoever waits
// most visibly.

// Urgency ranks the questions. A day's budget is spent in this order, highest
// first; the zero value comes last.
type Urgency int

// The urgencies.
const (
	UrgencyRefresh Urgency = iota // a worker asks again by itself
	UrgencyRequest                // a new request
	UrgencyRelay                  // the check again before an order is relayed
	UrgencyCounter                // somebody stands at the counter
)

// share is the part of a day's budget, in percent, beyond which questions of an
// urgency are not asked any more: the rest is kept for the higher ones.
func (u Urgency) share() int {
	switch u {
	case UrgencyCounter:
		return 100
	case UrgencyRelay:
		return 95
	case UrgencyRequest:
		return 85
	default:
		return 60
	}
}

// most is how many calls of a day may have been made before a question of this
// urgency is held back; 0 stays 0 (no budget is set).
func (u Urgency) most(perDay int) int {
	if perDay <= 0 {
		return 0
	}
	return max(1, perDay*u.share()/100)
}

// stopPDND is the name under which a stop of the token endpoint is remembered.
const stopPDND = "pdnd"

// probeEvery is how often a stop is tried that our own count does not explain:
// 429 came on very first calls (spec §1.8, sync bugs).
const probeEvery = time.Hour

// Booking is one call about to be made.
type Booking struct {
	Service string
	Day     string // YYYY-MM-DD, Europe/Rome
	Most    int    // refuse once so many were made; 0: no limit
	At      time.Time
	Traces  []Trace // of calls before, to be kept in the same write
}

// Trace is what PDND's daily tracing wants to know of calls.
type Trace struct {
	Day       string // YYYY-MM-DD, Europe/Rome
	PurposeID string
	Status    int    // HTTP; 0 when no whole answer came
	TokenID   string // jti of the voucher
	Count     int
}

// Stop says until when a service is not asked.
type Stop struct {
	Service string
	Code    ErrorCode
	Since   time.Time
	Until   time.Time
	// ProbeAt is when one question may try whether it still holds; zero: never.
	ProbeAt time.Time
}

// Spent is the state of a day.
type Spent struct {
	Used  map[string]int // calls by service
	Stops []Stop         // also past ones
}

// Quota remembers what was spent and until when to stop, durably, for all
// replicas. The store implements it.
type Quota interface {
	// Book counts a call; false, and nothing counted, when Most were made.
	Book(ctx context.Context, b Booking) (bool, error)
	// Keep stores traces. Durable on return.
	Keep(ctx context.Context, traces []Trace) error
	// Spent answers the counts of a day and the stops.
	Spent(ctx context.Context, day string) (Spent, error)
	// Stop remembers a stop; one that lasts longer already stays.
	Stop(ctx context.Context, s Stop) error
	// Probe moves a stop's ProbeAt from one moment to the next; false when
	// another was quicker.
	Probe(ctx context.Context, service string, from, next time.Time) (bool, error)
	// Resume forgets a stop.
	Resume(ctx context.Context, service string) error
}

// tracer collects what the tracing wants until it is written with the next
// booking or a flush. A kill loses what was answered since, at most.
type tracer struct {
	mu      sync.Mutex
	pending []Trace
}

func (t *tracer) add(tr Trace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.pending {
		p := &t.pending[i]
		if p.Day == tr.Day && p.PurposeID == tr.PurposeID && p.Status == tr.Status && p.TokenID == tr.TokenID {
			p.Count += tr.Count
			return
		}
	}
	t.pending = append(t.pending, tr)
}

func (t *tracer) take() []Trace {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.pending
	t.pending = nil
	return out
}

func (t *tracer) giveBack(traces []Trace) {
	for _, tr := range traces {
		t.add(tr)
	}
}

// Flush writes what the tracing still has to know. Durable on return.
func (c *Client) Flush(ctx context.Context) error {
	if c.cfg.Quota == nil {
		return nil
	}
	traces := c.traces.take()
	if len(traces) == 0 {
		return nil
	}
	err := c.cfg.Quota.Keep(ctx, traces)
	if err != nil {
		c.traces.giveBack(traces)
	}
	return err
}

// day is the day whose quota a call is of.
func (c *Client) day(at time.Time) string { return at.In(c.rome).Format(time.DateOnly) }

// midnight is when the next day's quota begins.
func (c *Client) midnight(at time.Time) time.Time {
	y, m, d := at.In(c.rome).Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, c.rome).UTC()
}

// ready says, before anything is spent, whether a check of this urgency may ask
// all of its services. It answers the services whose stop this check tries.
func (c *Client) ready(ctx context.Context, u Urgency) ([]string, *RegisterError) {
	if c.cfg.Quota == nil {
		return nil, nil
	}
	now := c.cfg.Clock().UTC()
	spent, err := c.cfg.Quota.Spent(ctx, c.day(now))
	if err != nil {
		return nil, &RegisterError{Kind: KindTemporary, Code: CodeNoOperationID, Detail: "quota", Err: err}
	}
	for _, s := range c.Services() {
		if most := u.most(c.cfg.Services[s].PerDay); most > 0 && spent.Used[string(s)] >= most {
			return nil, c.overBudget(s, u, now)
		}
	}
	var probes []string
	for _, stop := range spent.Stops {
		if !now.Before(stop.Until) || stop.Service != stopPDND && !c.granted(Service(stop.Service)) {
			continue
		}
		if !stop.ProbeAt.IsZero() && !now.Before(stop.ProbeAt) {
			mine, err := c.cfg.Quota.Probe(ctx, stop.Service, stop.ProbeAt, now.Add(probeEvery))
			if err != nil {
				return nil, &RegisterError{Kind: KindTemporary, Code: CodeNoOperationID, Detail: "quota", Err: err}
			}
			if mine {
				probes = append(probes, stop.Service)
				continue
			}
			stop.ProbeAt = now.Add(probeEvery)
		}
		return nil, &RegisterError{
			Kind: KindTemporary, Code: stop.Code, Service: serviceOf(stop.Service), Detail: "stopped", RetryAt: earliest(stop.Until, stop.ProbeAt),
		}
	}
	return probes, nil
}

// serviceOf is the service of a stop; none for the token endpoint.
func serviceOf(name string) Service {
	if name == stopPDND {
		return ""
	}
	return Service(name)
}

// earliest answers the earlier moment that is one.
func earliest(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}

func (c *Client) overBudget(s Service, u Urgency, now time.Time) *RegisterError {
	return &RegisterError{
		Kind: KindTemporary, Code: CodeBudget, Service: s, Detail: "urgency_" + strconv.Itoa(int(u)), RetryAt: c.midnight(now),
	}
}

// book counts one try of a call against the day's budget.
func (c *Client) book(ctx context.Context, s Service, u Urgency, now time.Time) *RegisterError {
	if c.cfg.Quota == nil {
		return nil
	}
	traces := c.traces.take()
	ok, err := c.cfg.Quota.Book(ctx, Booking{
		Service: string(s), Day: c.day(now), Most: u.most(c.cfg.Services[s].PerDay), At: now, Traces: traces,
	})
	if err != nil || !ok {
		c.traces.giveBack(traces) // a refused booking wrote nothing
	}
	if err != nil {
		return &RegisterError{Kind: KindTemporary, Code: CodeNoOperationID, Service: s, Detail: "quota", Err: err}
	}
	if !ok {
		return c.overBudget(s, u, now)
	}
	return nil
}

// trace remembers an answer for the daily tracing.
func (c *Client) trace(sc ServiceConfig, v *voucher, status int) {
	if c.cfg.Quota != nil {
		c.traces.add(Trace{Day: c.day(c.cfg.Clock()), PurposeID: sc.PurposeID, Status: status, TokenID: v.id, Count: 1})
	}
}

// stop remembers a 429. By midnight's advice; when our own count does not
// explain it, one question an hour may try whether it still holds.
func (c *Client) stop(ctx context.Context, name string, e *RegisterError, advised bool) {
	if c.cfg.Quota == nil {
		return
	}
	now := c.cfg.Clock().UTC()
	s := Stop{Service: name, Code: e.Code, Since: now, Until: e.RetryAt}
	perDay := c.cfg.Services[Service(name)].PerDay
	if !advised && perDay > 0 {
		spent, err := c.cfg.Quota.Spent(ctx, c.day(now))
		if err == nil && spent.Used[name] < perDay {
			s.ProbeAt = now.Add(probeEvery)
			e.RetryAt = earliest(s.Until, s.ProbeAt)
		}
	}
	err := c.cfg.Quota.Stop(ctx, s)
	if err != nil {
		// This check stops all the same; the next one will be told again.
		c.cfg.Logger.LogAttrs(ctx, slog.LevelError, "stop not kept", slog.String("service", name), slog.String("error", err.Error()))
	}
}

// resume forgets a stop that a good answer has shown not to hold.
func (c *Client) resume(ctx context.Context, q Query, name string) {
	if !slices.Contains(q.probes, name) {
		return
	}
	err := c.cfg.Quota.Resume(ctx, name)
	if err != nil {
		c.cfg.Logger.LogAttrs(ctx, slog.LevelError, "stop not lifted", slog.String("service", name), slog.String("error", err.Error()))
	}
}

// advice is how long an answer says to wait: Retry-After, which ANPR does not
// send on a 429, or PDND's interval of its rate in milliseconds.
func advice(h http.Header) (time.Duration, bool) {
	for _, one := range []struct{ name, unit string }{{"Retry-After", "s"}, {"X-Rate-Limit-Interval", "ms"}} {
		if wait := h.Get(one.name); wait != "" {
			if d, err := time.ParseDuration(wait + one.unit); err == nil && d > 0 && d <= 24*time.Hour {
				return d, true
			}
		}
	}
	return 0, false
}

// Usage answers what was spent of a service today and what may be.
type Usage struct {
	Service Service
	Used    int
	PerDay  int // 0: no budget is set
}

// Quotas answers today's usage of the granted services and the stops that hold.
// It reads our own memory and asks nobody.
func (c *Client) Quotas(ctx context.Context) ([]Usage, []Stop, error) {
	if c.cfg.Quota == nil {
		return nil, nil, nil
	}
	now := c.cfg.Clock().UTC()
	spent, err := c.cfg.Quota.Spent(ctx, c.day(now))
	if err != nil {
		return nil, nil, err
	}
	var usage []Usage
	for _, s := range c.Services() {
		usage = append(usage, Usage{Service: s, Used: spent.Used[string(s)], PerDay: c.cfg.Services[s].PerDay})
	}
	holding := slices.DeleteFunc(slices.Clone(spent.Stops), func(s Stop) bool { return !now.Before(s.Until) })
	return usage, holding, nil
}
