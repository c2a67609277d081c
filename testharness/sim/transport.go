package sim

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// Names of the transport faults that Unpleasant injects.
const (
	FaultHTTP503        = "http_503"
	FaultHTML200        = "html_200"
	FaultEmpty200       = "empty_200"
	FaultDropRequest    = "drop_request"
	FaultDropAnswer     = "accept_then_drop_answer"
	FaultCutBody        = "cut_body"
	FaultSlow           = "slow"
	defaultSlowDuration = 2 * time.Second
)

// TransportFaults are the faults any HTTP service can have, for NewFaults.
func TransportFaults() []Fault {
	return []Fault{
		{Name: FaultHTTP503, About: "503 before the request is looked at", Rude: 0.03, Hostile: 0.08},
		{Name: FaultHTML200, About: "200 with an HTML page instead of the answer; nothing was done", Rude: 0.01, Hostile: 0.04},
		{Name: FaultEmpty200, About: "200 with an empty body; nothing was done", Rude: 0.01, Hostile: 0.04},
		{Name: FaultDropRequest, About: "the connection closes before anything was done", Rude: 0.01, Hostile: 0.04},
		{Name: FaultDropAnswer, About: "the request is carried out, then the connection closes without an answer", Rude: 0.03, Hostile: 0.08},
		{Name: FaultCutBody, About: "the request is carried out, the answer breaks off half-way", Rude: 0.01, Hostile: 0.04},
		{Name: FaultSlow, About: "the answer waits; param is a duration on the simulator's clock (default 2s)", Hostile: 0.01},
	}
}

// Unpleasant wraps a handler with the transport faults: at most one per
// request. op names the operation of a request, subject what it is about; both
// may be nil.
func Unpleasant(faults *Faults, clock Clock, op, subject func(*http.Request) string, next http.Handler) http.Handler {
	of := func(f func(*http.Request) string, r *http.Request) string {
		if f == nil {
			return ""
		}
		return f(r)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		opName, about := of(op, r), of(subject, r)
		fires := func(name string) bool {
			return faults.Has(name) && faults.Fires(name, opName, about)
		}
		switch {
		case fires(FaultHTTP503):
			Mark(w.Header(), FaultHTTP503)
			w.Header().Set("Retry-After", "0")
			WriteProblem(w, Problem{Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: "injected by the simulator"})
			return
		case fires(FaultHTML200):
			Mark(w.Header(), FaultHTML200)
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte("<!doctype html><title>Service</title><p>Everything is fine.</p>"))
			return
		case fires(FaultEmpty200):
			Mark(w.Header(), FaultEmpty200)
			w.WriteHeader(http.StatusOK)
			return
		case fires(FaultDropRequest):
			panic(http.ErrAbortHandler)
		case fires(FaultDropAnswer):
			next.ServeHTTP(newRecorder(), r)
			panic(http.ErrAbortHandler)
		case fires(FaultCutBody):
			rec := newRecorder()
			next.ServeHTTP(rec, r)
			cut(w, rec)
			return
		}
		if faults.Has(FaultSlow) {
			if param, slow := faults.Take(FaultSlow, opName, about); slow {
				d, err := time.ParseDuration(param)
				if err != nil {
					d = defaultSlowDuration
				}
				Mark(w.Header(), FaultSlow)
				wake := make(chan struct{})
				timer := clock.AfterFunc(d, func() { close(wake) })
				defer timer.Stop()
				select {
				case <-wake:
				case <-r.Context().Done():
					return
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// cut announces the whole body, sends half of it and closes.
func cut(w http.ResponseWriter, rec *recorder) {
	for k, v := range rec.header {
		w.Header()[k] = v
	}
	Mark(w.Header(), FaultCutBody)
	w.Header().Set("Content-Length", strconv.Itoa(rec.body.Len()+1))
	w.WriteHeader(rec.status)
	_, _ = w.Write(rec.body.Bytes()[:rec.body.Len()/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}, status: http.StatusOK} }

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
