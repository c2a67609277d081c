package crash

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/app"
	"airegw/testharness"
	"airegw/testharness/anprsim"
	"airegw/testharness/sim"
)

// The restore drill. A backup is taken by the real program while people submit;
// then the machine is lost with all that came after. The backup is put in place
// in a new folder and a gateway started on it: everything that was acknowledged
// before the backup began is there, the trail verifies, and what was open comes
// to its end, though the core has heard more of it than we remember.
func TestABackupUnderLoadIsRestoredAndWhatWasOpenEndsOnce(t *testing.T) {
	aloneInASoak(t)
	const submitted, each = 160, 2
	// Where a request stands at the backup, and what the core does with the order
	// then; afterwards all go on to the core's receipt before the machine is lost.
	stands := []struct {
		state gateway.State
		fault string
	}{
		{gateway.StateInEnquiry, ""},
		{gateway.StateFormsReady, ""},
		{gateway.StateSigned, sim.FaultDropRequest}, // the core has not heard of it
		{gateway.StateSigned, sim.FaultDropAnswer},  // the core has accepted it, we were not told
	}
	// The register answers an operation id that it has seen as it did then, whoever
	// is asked about: no id may be used again after the restore.
	s := newStation(t, stationOptions{
		engine: onSQLite, people: submitted + each*len(stands), adjust: func(s *station, c *app.Config) {
			c.Register.StrictOrder = true
			err := s.sims.ANPR.Faults().Set(sim.Rule{Name: anprsim.FaultStrictOpID, Probability: 1})
			if err != nil {
				t.Fatal(err)
			}
		},
	})
	s.start()
	defer func() { s.stop() }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	desk := s.session(comune)
	var rides []*ride
	for i, at := range stands {
		for k := range each {
			r := &ride{s: s, desk: desk, person: testharness.SyntheticPerson(submitted + each*i + k)}
			rides = append(rides, r)
			r.upTo(ctx, gateway.StateInEnquiry)
			if at.fault != "" {
				s.coreFault(sim.Rule{Name: at.fault, Op: "submission", Match: r.number + ".1", Probability: 1})
			}
			r.upTo(ctx, at.state)
		}
	}

	// People submit; in the midst of it the backup.
	l := &submissions{s: s, most: submitted, numbers: map[int]string{}}
	l.begin(ctx, desk)
	for l.count() < submitted/4 {
		time.Sleep(5 * time.Millisecond)
		if ctx.Err() != nil {
			t.Fatal("nobody can submit")
		}
	}
	mark := l.copy()
	keys, copied := filepath.Join(s.dir, "keys", "database.keys"), filepath.Join(s.dir, "backup.db")
	s.command("backup", "create", "--database", filepath.Join(s.dir, "airegw.db"), "--keys", keys, copied)
	l.callers.Wait()
	for _, r := range rides {
		for _, name := range []string{sim.FaultDropRequest, sim.FaultDropAnswer} {
			s.coreFault(sim.Rule{Name: name, Op: "submission", Match: r.number + ".1"})
		}
		r.upTo(ctx, gateway.StateRelayed)
	}
	s.stop()

	// Another machine: the configuration and the keys, which are kept elsewhere,
	// and the backup.
	lost := s.dir
	s.dir = memoryDir(t)
	for _, part := range []string{"keys", "clients", "rules", "airegw.yaml"} {
		s.bring(lost, part)
	}
	s.config = filepath.Join(s.dir, "airegw.yaml")
	s.command("backup", "restore", "--keys", keys, copied, filepath.Join(s.dir, "airegw.db"))
	s.start()
	s.command("audit", "verify", "--database", filepath.Join(s.dir, "airegw.db"), "--keys", filepath.Join(s.dir, "keys", "database.keys"))
	desk = s.session(comune)
	for n, number := range mark {
		at := seen{}
		err := desk.Get(ctx, "/api/v1/requests/"+number, &at)
		if err != nil || !at.has("submitted") {
			t.Errorf("I1: person %d was told %s before the backup began: %v", n, number, err)
		}
	}

	// Everybody comes again with the same form: whoever is in the backup is told
	// the same number, the others get one.
	again := &submissions{s: s, most: submitted, numbers: map[int]string{}}
	again.begin(ctx, desk)
	again.callers.Wait()
	kept := 0
	for n, number := range l.numbers {
		if again.numbers[n] == number {
			kept++
		} else if mark[n] != "" {
			t.Errorf("I1: person %d was told %s, and now %q", n, number, again.numbers[n])
		}
	}
	s.numbers = nil
	for _, number := range again.numbers {
		s.numbers = append(s.numbers, number)
	}
	for _, r := range rides {
		r.desk = desk
		s.numbers = append(s.numbers, r.number)
		err := r.finish(ctx)
		if err != nil {
			t.Errorf("after the restore: %v\n%s", err, s.log.String())
		}
	}
	s.quiet(ctx, desk, again.numbers)
	s.judge(submitted + len(rides))
	t.Logf("%d acknowledged before the backup began, %d by its end, %d in all; %d orders the core knew more of", len(mark), kept, submitted, len(rides))
}

// submissions are many people's, eight at a time.
type submissions struct {
	s       *station
	most    int
	callers sync.WaitGroup
	mu      sync.Mutex
	numbers map[int]string // by person
}

func (l *submissions) begin(ctx context.Context, desk *testharness.Session) {
	for c := range 8 {
		l.callers.Go(func() {
			for n := c; n < l.most && ctx.Err() == nil; n += 8 {
				r := &ride{s: l.s, desk: desk, person: testharness.SyntheticPerson(n)}
				for r.number == "" && ctx.Err() == nil {
					err := r.submit(ctx)
					var p *testharness.Problem
					if errors.As(err, &p) && p.Status < 500 {
						l.s.t.Errorf("person %d: %v", n, err)
						break
					}
				}
				l.mu.Lock()
				l.numbers[n] = r.number
				l.mu.Unlock()
			}
		})
	}
}

func (l *submissions) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.numbers)
}

func (l *submissions) copy() map[int]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[int]string{}
	for n, number := range l.numbers {
		all[n] = number
	}
	return all
}

// upTo takes a ride on until it stands in a state, and not further.
func (r *ride) upTo(ctx context.Context, state gateway.State) {
	r.s.t.Helper()
	r.until = state
	err := r.finish(ctx)
	if err != nil {
		r.s.t.Fatal(err)
	}
	r.until = ""
}

func (s *station) coreFault(r sim.Rule) {
	s.t.Helper()
	err := s.sims.Core.Faults().Set(r)
	if err != nil {
		s.t.Fatal(err)
	}
}

// command runs the program to its end.
func (s *station) command(args ...string) {
	s.t.Helper()
	p := launch(s.t, &s.log, s.bin, nil, args...)
	err := <-p.done
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", strings.Join(args[:2], " "), err, p.stderr)
	}
}

// bring copies a file or a folder from another folder, for its owner only, as
// keys must be; nothing if it is not there.
func (s *station) bring(from, name string) {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(from, name))
	if err == nil {
		err = os.Mkdir(filepath.Join(s.dir, name), 0o700)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range entries {
			s.bring(from, filepath.Join(name, e.Name()))
		}
		return
	}
	raw, err := os.ReadFile(filepath.Join(from, name))
	if os.IsNotExist(err) {
		return
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, name), raw, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// quiet waits until the workers have done what was submitted.
func (s *station) quiet(ctx context.Context, desk *testharness.Session, numbers map[int]string) {
	s.t.Helper()
	left := make([]string, 0, len(numbers))
	for _, number := range numbers {
		left = append(left, number)
	}
	for len(left) > 0 {
		left = slices.DeleteFunc(left, func(number string) bool {
			at := seen{}
			err := desk.Get(ctx, "/api/v1/requests/"+number, &at)
			return err == nil && at.has("routed")
		})
		if ctx.Err() != nil {
			s.t.Fatalf("%d of %d still wait", len(left), len(numbers))
		}
	}
}
