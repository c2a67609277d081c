package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/gateway/store"
	"airegw/policies"
	"airegw/testharness"
)

// tracedDatabase is a database that saw some calls of a day.
func tracedDatabase(t *testing.T, traces ...anpr.Trace) []string {
	t.Helper()
	dir := t.TempDir()
	path, keys := filepath.Join(dir, "a.db"), filepath.Join(dir, "a.keys")
	db, err := store.Open(t.Context(), store.Options{Path: path, Keys: keys, Environment: store.Simulation})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for range 3 {
		ok, err := db.Quota().Book(t.Context(), anpr.Booking{Service: "C030", Day: now.In(policies.Rome()).Format(time.DateOnly), At: now})
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	for _, err := range []error{
		db.Quota().Keep(t.Context(), traces),
		db.Quota().Stop(t.Context(), anpr.Stop{Service: "C020", Code: anpr.CodeQuota, Since: now, Until: now.Add(time.Hour)}),
		db.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--database", path, "--keys", keys}
}

func TestTheDailyTracingIsAFileOfTheDay(t *testing.T) {
	t.Parallel()
	const purpose = "3f0c6c1e-0000-4000-8000-000000000001"
	flags := tracedDatabase(
		t,
		anpr.Trace{Day: "2026-11-20", PurposeID: purpose, Status: 200, TokenID: "t-1", Count: 12},
		anpr.Trace{Day: "2026-11-20", PurposeID: purpose, Status: 0, TokenID: "t-1", Count: 1},
		anpr.Trace{Day: "2026-11-20", PurposeID: purpose, Status: 404, TokenID: `odd,"token`, Count: 2},
		anpr.Trace{Day: "2026-11-21", PurposeID: purpose, Status: 200, TokenID: "t-2", Count: 7},
	)
	out := t.TempDir()
	tracing := append([]string{"register", "tracing", "--day", "2026-11-20", "--out", out}, flags...)
	code, _, problem := airegw(t, "", tracing...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, problem)
	}
	raw, err := os.ReadFile(filepath.Join(out, "2026-11-20.csv"))
	want := "date,purpose_id,status,token_id,requests_count\n" +
		"2026-11-20," + purpose + ",504,t-1,1\n" +
		"2026-11-20," + purpose + ",200,t-1,12\n" +
		"2026-11-20," + purpose + ",404,\"odd,\"\"token\",2\n"
	if err != nil || string(raw) != want {
		t.Fatalf("%v\n%s", err, raw)
	}
	if code, _, problem = airegw(t, "", tracing...); code != 1 || !strings.Contains(problem, "exists") {
		t.Errorf("written over: exit %d, %s", code, problem)
	}
	code, text, _ := airegw(t, "", append([]string{"register", "tracing", "--day", "2026-11-19"}, flags...)...)
	if code != 0 || text != "date,purpose_id,status,token_id,requests_count\n" {
		t.Errorf("exit %d, %q", code, text)
	}
	if code, _, _ = airegw(t, "", append([]string{"register", "tracing", "--day", "yesterday"}, flags...)...); code != 2 {
		t.Errorf("no day: exit %d", code)
	}

	code, text, problem = airegw(t, "", append([]string{"register", "quota", "--json"}, flags...)...)
	var quota struct {
		Used  map[string]int      `json:"used"`
		Stops []map[string]string `json:"stops"`
	}
	err = json.Unmarshal([]byte(text), &quota)
	if code != 0 || err != nil || quota.Used["C030"] != 3 || len(quota.Stops) != 1 || quota.Stops[0]["service"] != "C020" {
		t.Errorf("exit %d %v %s%s", code, err, text, problem)
	}
}

func TestTheBenchOfTheRegisterCountsWhatTheSimulatorSaw(t *testing.T) {
	t.Parallel()
	code, out, problem := airegw(t, "", "bench", "anpr", "--json", "--for", "150ms", "--clients", "2")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, problem)
	}
	var b testharness.ANPRBench
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		t.Fatal(err)
	}
	if b.Cached.Checks == 0 || b.Cached.Calls != 5*b.Cached.Checks || b.Cached.Vouchers != 0 || b.Cached.PerSecond <= 0 || b.Cached.AddedP50 <= 0 {
		t.Errorf("%+v", b.Cached)
	}
	if b.Fresh.Checks == 0 || b.Fresh.Vouchers != 5*b.Fresh.Checks || b.Fresh.Calls != 5*b.Fresh.Checks || b.Fresh.AddedP50 <= 0 {
		t.Errorf("%+v", b.Fresh)
	}
}
