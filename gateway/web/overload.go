package web

import (
	"net/http"
	"time"
)

// inFlight is how many calls are answered at once unless Limits says otherwise:
// more than the store's writer takes in two commits, little enough that whoever
// waits is still there when the answer comes.
const inFlight = 512

// tooBusy asks a caller to come back: 503 with Retry-After.
var tooBusy = fault{status: http.StatusServiceUnavailable, code: "too_busy", retry: time.Second}

// bounded lets refuse answer, at once and without a look at the call,
// when as many calls are under way as may be: whoever is let in is served in time,
// and memory has a bound. Health is always answered.
func bounded(most int, refuse, next http.Handler) http.Handler {
	if most <= 0 {
		most = inFlight
	}
	slots := make(chan struct{}, most)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/status" || r.URL.Path == "/api/v1/status" {
			next.ServeHTTP(w, r)
			return
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			refuse.ServeHTTP(w, r)
		}
	})
}
