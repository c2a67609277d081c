package web

import (
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/time/rate"

	broken "airegw/gateway/fault"
)

// limiter holds one token bucket per key. Its memory is bounded: when too many
// keys are known, the full buckets (callers that have not called for long) go,
// and if that is not enough, all of them.
type limiter struct {
	every rate.Limit
	burst int
	mu    sync.Mutex
	known map[string]*rate.Limiter
}

const limiterKeys = 50_000

func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{every: rate.Limit(perSecond), burst: burst, known: map[string]*rate.Limiter{}}
}

func (l *limiter) bucket(key string, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.known[key]
	if ok {
		return b
	}
	if len(l.known) >= limiterKeys {
		for k, b := range l.known {
			if b.TokensAt(now) >= float64(l.burst) {
				delete(l.known, k)
			}
		}
		if len(l.known) >= limiterKeys {
			clear(l.known)
		}
	}
	b = rate.NewLimiter(l.every, l.burst)
	l.known[key] = b
	return b
}

// take takes one token of a key and sets the throttling headers of the Italian
// guidelines (RAC_ROBUSTEZZA_001): the limit, what is left, and the seconds
// until all of it is back.
func (l *limiter) take(c *gin.Context, key string, now time.Time) error {
	b := l.bucket(key, now)
	ok := b.AllowN(now, 1)
	left := math.Max(0, b.TokensAt(now))
	reset := int(math.Ceil((float64(l.burst) - left) / float64(l.every)))
	h := c.Writer.Header()
	h["X-RateLimit-Limit"] = []string{strconv.Itoa(l.burst)}
	h["X-RateLimit-Remaining"] = []string{strconv.Itoa(int(left))}
	h["X-RateLimit-Reset"] = []string{strconv.Itoa(reset)}
	if ok || broken.Mutant("web.rate") {
		return nil
	}
	wait := time.Duration((1 - left) / float64(l.every) * float64(time.Second))
	seconds := strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
	return fault{status: http.StatusTooManyRequests, code: "too_many_requests", args: map[string]string{"seconds": seconds}, retry: wait}
}

// limiters are the rates of the public surfaces. They are per process: several
// replicas add up.
type limiters struct {
	api, track, lookup, login *limiter
	person, office            *limiter // pages of one person; all calls for one office
}

func newLimiters(l Limits) *limiters {
	or := func(v, d float64) float64 {
		if v <= 0 {
			return d
		}
		return v
	}
	api, track := or(l.APIPerSecond, 20_000), or(l.TrackPerMinute, 10)
	lookup, login := or(l.LookupPerSecond, 10), or(l.LoginPerMinute, 60)
	person, office := or(l.PersonPerMinute, 1_200), or(l.OfficePerSecond, 30_000)
	return &limiters{
		api:    newLimiter(api, int(math.Ceil(api))),
		track:  newLimiter(track/60, int(math.Ceil(track))),
		lookup: newLimiter(lookup, int(math.Ceil(lookup*3))),
		login:  newLimiter(login/60, int(math.Ceil(login))),
		person: newLimiter(person/60, int(math.Ceil(person))),
		office: newLimiter(office, int(math.Ceil(office))),
	}
}

// throttle applies the rates of a call that is not static: the office's as a
// whole, whoever calls for it and by whichever door, then the person's on pages
// and the client's, session's or address's on the API.
func (s *Server) throttle(c *gin.Context, ev *event) error {
	if !ev.who.office.IsZero() {
		err := s.limits.office.take(c, ev.who.office.ID(), ev.start)
		if err != nil {
			return err
		}
	}
	key := ev.who.kind.String() + " " + ev.who.id
	switch {
	case ev.route.Surface == SurfaceAPI && ev.who.signedIn():
		return s.limits.api.take(c, key, ev.start)
	case ev.route.Surface == SurfaceAPI:
		return s.limits.api.take(c, "ip "+address(c), ev.start)
	case ev.who.signedIn():
		return s.limits.person.take(c, key, ev.start)
	}
	return nil
}

// address answers the peer's address, an IPv6 one by its /64: a household has
// all of it.
func address(c *gin.Context) string {
	host, _, err := net.SplitHostPort(c.Request.RemoteAddr)
	if err != nil {
		return c.Request.RemoteAddr
	}
	ip := net.ParseIP(host)
	if ip != nil && ip.To4() == nil {
		return ip.Mask(net.CIDRMask(64, 128)).String()
	}
	return host
}
