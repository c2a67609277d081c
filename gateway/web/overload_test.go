package web

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestOneCallTooManyIsRefusedAtOnceAndTheNextIsServed(t *testing.T) {
	t.Parallel()
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(explain(tooBusy).status) })
	inside, leave := make(chan struct{}), make(chan struct{})
	h := bounded(1, refuse, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
	if w := call("/api/v1/requests"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("answered %d", w.Code)
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
