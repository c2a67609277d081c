package outbound

import (
	"net/http"
	"testing"
	"time"
)

// FuzzRetryAfter: a peer's wish to be left alone is between nothing and a day.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "5", "-1", "99999999999", "Sun, 22 Nov 2026 12:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "1e3"} {
		f.Add(seed)
	}
	c := &Client{}
	c.cfg.Clock = func() time.Time { return time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC) }
	f.Fuzz(func(t *testing.T, text string) {
		if wait := c.retryAfter(http.Header{"Retry-After": {text}}); wait < 0 || wait > 24*time.Hour {
			t.Fatalf("%q is %v", text, wait)
		}
	})
}
