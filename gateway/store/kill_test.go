package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
)

// writerHome is the environment variable that makes this test binary a process
// that writes requests until it is killed.
const writerHome = "AIREGW_TEST_WRITER_HOME"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerHome); dir != "" {
		writeUntilKilled(home{dir})
		return
	}
	os.Exit(m.Run())
}

// writeUntilKilled prints the number of each request once it is acknowledged.
func writeUntilKilled(h home) {
	o := h.options(time.Now)
	o.SealEvery = time.Millisecond
	s, err := store.Open(context.Background(), o)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for n := c; ; n += 8 {
				id, _, err := s.Create(context.Background(), request(n, `{"a":1}`))
				if err != nil {
					fmt.Println("error", err)
					return
				}
				_, err = os.Stdout.WriteString(id + "\n")
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAKilledWriterLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	for _, after := range []int{1, 40, 150} {
		h := newHome(t)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerHome+"="+h.dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		err = cmd.Start()
		if err != nil {
			t.Fatal(err)
		}
		var acknowledged []string
		lines := bufio.NewScanner(out)
		for lines.Scan() { // to the end: what was in the pipe was acknowledged too
			if strings.HasPrefix(lines.Text(), "error") {
				t.Fatal(lines.Text())
			}
			acknowledged = append(acknowledged, lines.Text())
			if len(acknowledged) == after {
				err = cmd.Process.Kill()
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		err = cmd.Wait()
		if err == nil || len(acknowledged) < after {
			t.Fatalf("%d acknowledged, then %v", len(acknowledged), err)
		}
		s := open(t, h.options(time.Now)) // the dead process's lock is gone
		for _, id := range acknowledged {
			n, err := s.LoadAll(t.Context(), strings.TrimSpace(id))
			if err != nil || n != 1 {
				t.Errorf("%s was acknowledged: %d events, %v", id, n, err)
			}
		}
		_, err = s.Seal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.VerifyAudit(t.Context())
		if err != nil || !r.OK() || r.Unsealed != 0 {
			t.Errorf("%+v %+v %v", r, r.Bad, err)
		}
		broken, err := s.Invariants(t.Context(), noon)
		if err != nil || len(broken) != 0 {
			t.Errorf("%v %v", broken, err)
		}
		c, err := s.Counts(t.Context(), noon)
		if err != nil || c.ByState[gateway.StateSubmitted] < len(acknowledged) {
			t.Errorf("%+v %v", c, err)
		}
		if got := s.Pragma(t, "integrity_check"); got != "ok" {
			t.Error(got)
		}
	}
}
