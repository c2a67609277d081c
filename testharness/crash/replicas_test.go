package crash

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"airegw/gateway/app"
	"airegw/gateway/store/pgtest"
	"airegw/testharness"
)

// killsAtMost is how often a working replica is killed: for 20 seconds, one every
// 2 s. On a machine so busy that none starts in 4 s nothing would ever go on.
const killsAtMost = 10

// Three replicas on one PostgreSQL: one serves people, two work. The working
// ones are killed in turn, with what they had claimed in their hands, and the
// tour still takes everybody to the card, though the database crashes twice, too.
func TestReplicasThatAreKilledInTurnFinishEveryRequestOnPostgreSQL(t *testing.T) {
	t.Parallel()
	dir, cluster := t.TempDir(), pgtest.New(t)
	address := cluster.Database(t)
	sims, err := testharness.StartSims(testharness.SimOptions{Seed: 11, Step: 250 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := sims.Close()
		if err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	workers := testharness.DemoWorkers()
	workers.Lease = 2 * time.Second
	c, err := testharness.Configure(ctx, sims.Connection, dir, testharness.GatewayOptions{
		Clients: testharness.DemoOffices(), Workers: workers, Log: app.LogConfig{Level: "error"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Database = app.DatabaseConfig{URLFile: "database.url", Keys: "keys/database.keys"}
	config, err := c.YAML()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "database.url"), []byte(address+"\n"), 0o600)
	}
	file := filepath.Join(dir, "replica.yaml")
	if err == nil {
		err = os.WriteFile(file, config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	web, err := app.Assemble(ctx, c, app.Options{Demo: testharness.DemoDoor(), Roles: app.RoleWeb})
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- web.Run(serving) }()
	work := func() *process { return start(t, "serve", "--config", file, "--roles", "work") }
	replicas := [2]*process{work(), work()}

	type result struct {
		lines []testharness.TourLine
		err   error
	}
	var progress lockedBuffer
	finished := make(chan result, 1)
	go func() {
		lines, err := testharness.Tour(ctx, testharness.TourOptions{
			BaseURL: web.URL(), Dir: dir, Conn: sims.Connection, Out: &progress, Limit: 90 * time.Second, DatabaseURL: address,
		})
		finished <- result{lines, err}
	}()
	var r result
	kills := 0
	every := time.NewTicker(2 * time.Second)
	defer every.Stop()
	for done := false; !done; {
		select {
		case r = <-finished:
			done = true
		case <-every.C:
			if kills == killsAtMost {
				every.Stop() // from here on the two that live bring it to the end
				continue
			}
			replicas[kills%2].kill()
			replicas[kills%2] = work()
			kills++
			if kills == 2 || kills == 4 {
				cluster.Restart(t)
			}
		}
	}
	if r.err != nil {
		t.Fatalf("the tour after %d kills: %v\n%s\n%s\n%s", kills, r.err, progress.String(), replicas[0].stderr, replicas[1].stderr)
	}
	if kills < 2 {
		t.Fatalf("%d kills: the tour was too quick to prove anything", kills)
	}
	stop()
	err = <-served
	if err != nil {
		t.Fatal(err)
	}
	err = web.Close()
	if err != nil {
		t.Fatal(err)
	}
	var numbers []string
	for _, l := range r.lines {
		numbers = append(numbers, l.Number)
	}
	broken, err := testharness.CheckInvariants(t.Context(), testharness.Judged{
		Dir: dir, URL: address, Conn: sims.Connection, Acknowledged: numbers, Now: time.Now(), Quiet: true,
	})
	if err != nil || len(broken) > 0 || len(numbers) == 0 {
		t.Fatalf("%d requests, %v, %v", len(numbers), broken, err)
	}
	t.Logf("%d requests, %d kills", len(numbers), kills)
}
