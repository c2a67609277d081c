package web

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestOneCallTooManyIsRefusedAtOnceAndTheNextIsServed(t *testing.T) {
	t.Parallel()
	s := &Server{opt: Options{Clock: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}}
	inside, leave := make(chan struct{}), make(chan struct{})
	h := s.bounded(1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			inside <- struct{}{}
			<-leave
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	call := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	done := make(chan int, 1)
	go func() { done <- call("/slow").Code }()
	<-inside
	if w := call("/api/v1/requests"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" {
		t.Errorf("answered %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if w := call("/status"); w.Code != http.StatusNoContent {
		t.Errorf("health answered %d", w.Code)
	}
	close(leave)
	if code := <-done; code != http.StatusNoContent {
		t.Errorf("the first was answered %d", code)
	}
	if w := call("/api/v1/requests"); w.Code != http.StatusNoContent {
		t.Errorf("the next was answered %d", w.Code)
	}
}
