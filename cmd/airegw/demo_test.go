package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/testharness"
)

// heard is output that a test waits on.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, err := h.text.Write(p)
	select {
	case h.more <- struct{}{}:
	default:
	}
	return n, err
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// await waits until something was said.
func (h *heard) await(t *testing.T, what string) {
	t.Helper()
	late := time.After(time.Minute)
	for !strings.Contains(h.String(), what) {
		select {
		case <-h.more:
		case <-late:
			t.Fatalf("never said %q:\n%s", what, h)
		}
	}
}

func TestADemoSaysWhereToGoAndATourTakesTenCitizensToTheirCards(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	ctx, stop := context.WithCancel(context.Background())
	said, logged := &heard{more: make(chan struct{}, 1)}, &heard{more: make(chan struct{}, 1)}
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"demo", "--dir", dir, "--listen", "127.0.0.1:0", "--step", "30ms"}, streams{strings.NewReader(""), said, logged})
	}()
	defer func() {
		stop()
		if code := <-done; code != 0 {
			t.Errorf("the demo ended with %d: %s", code, logged)
		}
	}()
	said.await(t, "Ctrl-C")
	for _, want := range []string{"http://127.0.0.1:", "/login", "/status", "openapi.yaml", "operatore", "cittadino", "demo --tour"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	code, out, text := airegw(t, "", "demo", "--tour", "--dir", dir, "--limit", "2m", "--json")
	var answer struct {
		Lines []testharness.TourLine `json:"lines"`
		OK    bool                   `json:"ok"`
	}
	if err := json.Unmarshal([]byte(out), &answer); code != 0 || err != nil || !answer.OK {
		t.Fatalf("exit %d, %v\n%s\n%s", code, err, out, text)
	}
	deliveries, offices := map[string]bool{}, map[string]bool{}
	for _, l := range answer.Lines {
		if l.State != l.Want || l.Number == "" || l.NUN == "" || l.Error != "" {
			t.Errorf("%+v", l)
		}
		deliveries[l.Delivery], offices[l.Office] = true, true
	}
	if len(answer.Lines) != 10 || len(deliveries) != 4 || len(offices) < 8 {
		t.Errorf("%d citizens, deliveries %v, offices %v", len(answer.Lines), deliveries, offices)
	}
	for _, want := range []string{"tutto come deve", "already_open_elsewhere", "invarianti"} {
		if !strings.Contains(text+out, want) {
			t.Errorf("the tour does not tell %q:\n%s", want, text)
		}
	}
	if code, _, text := airegw(t, "", "audit", "verify", "--database", filepath.Join(dir, "airegw.db"), "--keys", filepath.Join(dir, "keys", "database.keys")); code != 0 {
		t.Errorf("audit: exit %d %s", code, text)
	}
}

func TestDemoExitsWithTwoForWrongUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"demo", "--profile", "angelic"}, {"demo", "--step", "soon"}, {"demo", "--wander"}} {
		if code, _, text := airegw(t, "", args...); code != 2 || text == "" {
			t.Errorf("%v: exit %d %q", args, code, text)
		}
	}
}
