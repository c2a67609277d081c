package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
)

// hurried is a clock on which whoever waits has waited.
type hurried struct {
	now    time.Time
	waited []time.Duration
}

func (c *hurried) Now() time.Time { return c.now }

func (c *hurried) After(d time.Duration) <-chan time.Time {
	c.waited = append(c.waited, d)
	c.now = c.now.Add(d)
	done := make(chan time.Time, 1)
	done <- c.now
	return done
}

func TestADatabaseThatIsAwayIsWaitedForAndNoLonger(t *testing.T) {
	t.Parallel()
	away := &gateway.Error{Kind: gateway.Unavailable, Code: "store_unavailable", Err: errors.New("connection refused")}
	shared, alone := DatabaseConfig{URLFile: "database.url"}, DatabaseConfig{Path: "airegw.db"}
	brief := shared
	brief.Wait = time.Second
	for name, c := range map[string]struct {
		database DatabaseConfig
		fails    int // so many tries end with err
		err      error
		tries    int
		waited   time.Duration
		there    bool
	}{
		"there at once":         {shared, 0, nil, 1, 0, true},
		"back after three":      {shared, 3, away, 4, 1400 * time.Millisecond, true},
		"away for good":         {shared, 1000, away, 17, time.Minute, false},
		"a setting's patience":  {brief, 1000, away, 4, time.Second, false},
		"a file of our own":     {alone, 1000, away, 1, 0, false},
		"a wrong password":      {shared, 1000, gateway.NewError(gateway.Invalid, "store_login"), 1, 0, false},
		"a newer schema":        {shared, 1000, gateway.NewError(gateway.Conflict, "store_schema"), 1, 0, false},
		"a foreign certificate": {shared, 1000, &gateway.Error{Kind: gateway.Unavailable, Code: "store_unavailable", Err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}}, 1, 0, false},
	} {
		clock := &hurried{now: time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)}
		var log bytes.Buffer
		o := Options{Clock: clock, Log: slog.New(slog.NewTextHandler(&log, nil))}
		tries := 0
		a, err := awaitDatabase(t.Context(), Config{Database: c.database}, o, func(context.Context, Config, Options) (*App, error) {
			tries++
			if tries <= c.fails {
				return nil, c.err
			}
			return &App{}, nil
		})
		var waited time.Duration
		for _, d := range clock.waited {
			waited += d
		}
		if tries != c.tries || waited != c.waited || (a != nil) != c.there || (err == nil) != c.there || (err != nil && !errors.Is(err, c.err)) {
			t.Errorf("%s: %d tries over %s, %v %v", name, tries, waited, a, err)
		}
		if said := strings.Count(log.String(), "the database is away"); said != len(clock.waited) {
			t.Errorf("%s: waited %d times and said so %d times", name, len(clock.waited), said)
		}
	}
}

func TestAStartThatIsToldToStopWaitsForNoDatabase(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	o := Options{Clock: gateway.SystemClock{}, Log: slog.New(slog.DiscardHandler)}
	_, err := awaitDatabase(ctx, Config{Database: DatabaseConfig{URLFile: "database.url", Wait: time.Hour}}, o, func(context.Context, Config, Options) (*App, error) {
		time.AfterFunc(time.Millisecond, stop)
		return nil, gateway.NewError(gateway.Unavailable, "store_unavailable")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
