package crash

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airegw/testharness"
)

// failpoints are the places on the way of a request at which something is made
// durable, before and after. The two commits of the store are met by every
// write: "@k" picks one on the way.
var failpoints = []string{
	"intake.commit", "intake.committed", "work.claimed", "check.answered", "decision.commit", "route.commit",
	"prepare.send", "prepare.answered", "prepare.kept", "forms.confirmed", "sign.commit", "sign.committed",
	"outbox.claim", "outbox.claimed", "relay.kept", "relay.sent", "relay.settled", "change.answered",
	"event.verified", "event.kept", "event.apply", "feed.read", "halves.wipe", "seal.block",
	"store.commit@1", "store.commit@6", "store.commit@13", "store.committed@1", "store.committed@6", "store.committed@13",
}

// atStart are passed when the gateway starts.
var atStart = map[string]bool{"halves.wipe": true}

// TestEveryFailpointHoldsTheInvariants breaks the gateway at each named point,
// in each way, on each database, while a request is on its way through it: the
// request still comes to its end, once, and every invariant holds.
func TestEveryFailpointHoldsTheInvariants(t *testing.T) {
	t.Parallel()
	bin, err := breakable()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []engine{onSQLite, onPostgreSQL} {
		for _, way := range []struct {
			action string
			lots   int // processes that share the points
		}{
			{"kill", 3},
			{"error", 2},
			{"stall:1500ms", 3}, // past the lease
		} {
			name, _, _ := strings.Cut(way.action, ":")
			for lot := range way.lots {
				t.Run(fmt.Sprintf("%s %s %d", e, name, lot+1), func(t *testing.T) {
					t.Parallel()
					var points []string
					for i, p := range failpoints {
						if i%way.lots == lot {
							points = append(points, p)
						}
					}
					breakAt(t, bin, e, way.action, points)
				})
			}
		}
	}
}

// breakAt takes one request per point through one gateway.
func breakAt(t *testing.T, bin string, e engine, action string, points []string) {
	s := newStation(t, stationOptions{engine: e, bin: bin, people: len(points), env: []string{"GOGC=400"}}) // it lives for seconds
	s.start()
	defer s.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for i, point := range points {
		name, k, _ := strings.Cut(point, "@")
		if k == "" {
			k = "1"
		}
		passed := func() int { return strings.Count(s.log.String(), "failpoint "+name+":") }
		before := passed()
		s.arm(name + "=" + action + "@" + k)
		if atStart[name] {
			s.stop()
			s.start()
		}
		r := &ride{s: s, desk: s.session(comune), person: testharness.SyntheticPerson(i)}
		stop := s.watch()
		err := r.finish(ctx)
		// What happens beside the request (the feed, the seal) may come after it.
		for late := 0; err == nil && passed() == before && late < 300; late++ {
			time.Sleep(10 * time.Millisecond)
		}
		stop()
		if err != nil {
			t.Fatalf("%s=%s: %v\n%s", point, action, err, s.log.String())
		}
		if passed() == before {
			t.Errorf("%s=%s: the request did not pass there", point, action)
		}
		s.arm("")
	}
	s.judge(len(points))
}

// watch starts the gateway again whenever it is killed, until stop is called.
func (s *station) watch() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(5 * time.Millisecond):
				s.revive(true)
			}
		}
	}()
	return func() { close(end); <-ended }
}

// TestABackupThatIsInterruptedIsNoBackup stops `backup create` at its points: what
// is left is not taken for a backup, and the next one is whole.
func TestABackupThatIsInterruptedIsNoBackup(t *testing.T) {
	t.Parallel()
	bin, err := breakable()
	if err != nil {
		t.Fatal(err)
	}
	s := newStation(t, stationOptions{engine: onSQLite, bin: bin, people: 1})
	s.start()
	defer s.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r := &ride{s: s, desk: s.session(comune), person: testharness.SyntheticPerson(0)}
	err = r.finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(s.dir, "keys", "database.keys")
	backup := func(name string, env ...string) error {
		p := launch(t, &s.log, bin, env, "backup", "create", "--database", filepath.Join(s.dir, "airegw.db"), "--keys", keys, filepath.Join(s.dir, name))
		return <-p.done
	}
	restore := func(name string) error {
		p := launch(t, &s.log, bin, nil, "backup", "restore", "--keys", keys, filepath.Join(s.dir, name), filepath.Join(s.dir, name+".restored"))
		return <-p.done
	}
	for _, point := range []string{"backup.copied", "backup.described"} {
		for _, action := range []string{"kill", "error", "stall:50ms"} {
			name := strings.ReplaceAll(point+"-"+action, ":", "-")
			err := backup(name, "FAILPOINT="+point+"="+action)
			_, absent := os.Stat(filepath.Join(s.dir, name))
			switch {
			case action == "stall:50ms" && err == nil && absent == nil:
				err = restore(name)
				if err != nil {
					t.Errorf("%s: the backup cannot be restored: %v\n%s", name, err, s.log.String())
				}
			case action == "stall:50ms" || err == nil || !os.IsNotExist(absent):
				t.Errorf("%s: %v, %v", name, err, absent)
			}
			err = backup(name + "-next")
			if err == nil {
				err = restore(name + "-next")
			}
			if err != nil {
				t.Errorf("%s: the next backup: %v\n%s", name, err, s.log.String())
			}
		}
	}
	s.judge(1)
}
