package storetest

import (
	"testing"
	"time"

	"airegw/gateway"
)

// horizon is one of a clock that went back by back.
func (b *bench) horizon(back time.Duration) gateway.Horizon {
	now := b.clock.Now()
	return gateway.Horizon{
		Now: now, Lease: now.Add(30 * time.Second), Slack: 5 * time.Minute, Outbox: 15 * time.Minute, Work: 25 * time.Hour, Back: back,
	}
}

func (b *bench) bringNear(t *testing.T, back time.Duration, want gateway.Nearer) {
	t.Helper()
	told := gateway.Nearer{}
	n, err := b.BringNear(b.ctx, b.horizon(back), func(n gateway.Nearer) gateway.AuditEntry {
		told = n
		return gateway.AuditEntry{At: b.clock.Now(), Act: "clock_went_back"}
	})
	must(t, err)
	if n != want || told != want {
		t.Errorf("brought near %+v and told %+v, want %+v", n, told, want)
	}
}

func clockSetBack(t *testing.T, b *bench) {
	t.Helper()
	lease, hour := 30*time.Second, time.Hour
	for n := range 3 {
		b.create(t, n, castello)
	}
	b.outbox(t, b.create(t, 3, castello), "a", "b")
	b.bringNear(t, 0, gateway.Nearer{}) // all is as it should be
	// The clock is ten years ahead: one is claimed, one waits for its next try, an
	// order is claimed.
	b.clock.Advance(10 * 365 * 24 * hour)
	tasks, err := b.ClaimWork(b.ctx, b.clock.Now(), lease, 3)
	must(t, err)
	rows, err := b.ClaimOutbox(b.ctx, b.clock.Now(), lease, 1)
	must(t, err)
	if len(tasks) != 3 || len(rows) != 1 {
		t.Fatalf("%d tasks and %d rows claimed", len(tasks), len(rows))
	}
	later := b.clock.Now().Add(10 * time.Minute)
	must(t, b.ReleaseWork(b.ctx, tasks[1], later, gateway.Mark{Kind: gateway.MarkWaiting, Code: "register_unavailable", Due: later, Tries: 1}))
	must(t, b.PutHalves(b.ctx, tasks[0].RequestID, tasks[0].RequestID+".1", gateway.Halves{PIN: "1234", PUK: "5678"}))
	b.clock.Advance(-10 * 365 * 24 * hour)
	b.bringNear(t, 0, gateway.Nearer{Leases: 3, Waits: 1, Halves: 1})
	b.bringNear(t, 0, gateway.Nearer{})
	_, err = b.Halves(b.ctx, tasks[0].RequestID+".1")
	wantKind(t, err, gateway.NotFound, "")
	// The worker that lives gives its task back as if nothing had been.
	must(t, b.ReleaseWork(b.ctx, tasks[0], b.clock.Now().Add(hour), gateway.Mark{}))
	again, err := b.ClaimWork(b.ctx, b.clock.Now(), lease, 10)
	must(t, err)
	if len(again) != 1 || again[0].RequestID != tasks[1].RequestID {
		t.Fatalf("claimed %+v: what waited, and nobody's lease", again)
	}
	b.clock.Advance(lease)
	again, err = b.ClaimWork(b.ctx, b.clock.Now(), lease, 10)
	must(t, err)
	rows, err = b.ClaimOutbox(b.ctx, b.clock.Now(), lease, 10)
	must(t, err)
	if len(again) != 2 || len(rows) != 1 {
		t.Fatalf("%d tasks and %d rows claimed after the leases", len(again), len(rows))
	}
	// An hour back is within what may wait; who knows of it says so.
	due := b.clock.Now().Add(hour + time.Minute)
	must(t, b.ReleaseOutbox(b.ctx, rows[0], due, "core_unavailable", "", false))
	b.bringNear(t, hour, gateway.Nearer{Waits: 2}) // the row, and the task given back above
	b.clock.Advance(time.Minute)
	rows, err = b.ClaimOutbox(b.ctx, b.clock.Now(), lease, 10)
	must(t, err)
	if len(rows) != 1 {
		t.Fatalf("%d rows due a minute later", len(rows))
	}
}
