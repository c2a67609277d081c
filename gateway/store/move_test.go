package store_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/gateway/store/pgtest"
	"airegw/gateway/store/storetest"
)

func TestADatabaseMovesToPostgreSQLWhole(t *testing.T) {
	t.Parallel()
	h, clock := newHome(t), storetest.NewClock()
	s, err := store.Open(t.Context(), h.options(clock.Now))
	if err != nil {
		t.Fatal(err)
	}
	const requests = 30
	for n := range requests {
		_, _, err = s.Create(t.Context(), submission(n, clock.Now()))
		if err != nil {
			t.Fatal(err)
		}
	}
	c := gateway.Change{
		ID: "R26-000000001", Version: 1, State: gateway.StateSubmitted, To: gateway.StateSubmitted,
		Office: gateway.Office{Kind: gateway.OfficeComune, Code: "054013"},
		Events: []gateway.Event{{Seq: 2, Type: gateway.EventDecided, To: gateway.StateSubmitted, At: clock.Now(), Private: json.RawMessage(`{"x":1}`)}},
		Outbox: []gateway.Outbox{{OrderKey: "R26-000000001.1", Kind: gateway.OutboxSubmission, Key: "k", Due: clock.Now(), Private: json.RawMessage(`{}`)}},
	}
	err = s.Commit(t.Context(), c)
	if err == nil {
		err = s.PutHalves(t.Context(), "R26-000000001", "R26-000000001.1", gateway.Halves{PIN: "1", PUK: "2"})
	}
	if err == nil {
		err = s.SaveCoreEvents(t.Context(), []gateway.CoreEvent{{EventID: "e", OrderKey: "R26-000000001.1", Seq: 1, Type: "x"}}, "cursor")
	}
	if err == nil {
		err = s.Sessions().CommitCtx(t.Context(), "token", []byte("data"), clock.Now().Add(time.Hour))
	}
	if err != nil {
		t.Fatal(err)
	}
	before := s.Contents(t)
	address := pgtest.Database(t)
	o := store.MoveOptions{From: h.path(), To: address, Keys: h.keys(), Environment: store.Simulation, Now: clock.Now}
	_, _, err = store.Move(t.Context(), o)
	wantCode(t, err, gateway.Unavailable, "store_locked") // a server has it
	err = s.Close()
	if err != nil {
		t.Fatal(err)
	}
	moved, report, err := store.Move(t.Context(), o)
	if err != nil || !report.OK() || report.Unsealed != 0 || report.Sealed != 2*requests+1 {
		t.Fatalf("%+v %v", report, err)
	}
	rows := map[string]int64{}
	for _, m := range moved {
		rows[m.Table] = m.Rows
		if len(m.SHA256) != 64 {
			t.Errorf("%+v", m)
		}
	}
	if rows["requests"] != requests || rows["events"] != requests+1 || rows["outbox"] != 1 || rows["halves"] != 1 || rows["meta"] != 4 {
		t.Fatalf("%v", rows)
	}
	p := open(t, h.shared(address, clock.Now))
	if after := p.Contents(t); after != before {
		t.Fatalf("it holds\n%s\nand held\n%s", after, before)
	}
	// Numbers go on, and so does the life of what moved.
	_, _, err = p.Create(t.Context(), submission(requests, clock.Now()))
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := p.ClaimOutbox(t.Context(), clock.Now(), time.Minute, 5)
	if err != nil || len(claimed) != 1 || string(claimed[0].Private) != `{}` {
		t.Fatalf("%+v %v", claimed, err)
	}
	_, err = p.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	report, err = p.VerifyAudit(t.Context())
	if err != nil || !report.OK() || report.Sealed != 2*requests+3 {
		t.Fatalf("%+v %v", report, err)
	}
	_, _, err = store.Move(context.Background(), o)
	wantCode(t, err, gateway.Conflict, "move_not_empty")
	o.From += ".absent"
	_, _, err = store.Move(context.Background(), o)
	wantCode(t, err, gateway.NotFound, "store_absent")
	_, err = os.Stat(o.From)
	if !os.IsNotExist(err) {
		t.Fatalf("it made what it was to read: %v", err)
	}
}
