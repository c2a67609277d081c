package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/policies"
)

// decidedOn answers what the rules would have said then of an adult in Argentina
// who asks at a comune for delivery at the post, or elsewhere.
func decidedOn(t *testing.T, day string, delivery policies.DeliveryOption) gateway.Decided {
	t.Helper()
	at, err := readInstant(day, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	facts := policies.Facts{
		On: at.UTC(), Channel: policies.ChannelComune, Reason: policies.ReasonFirstIssue, ResidenceCountry: "AR",
		RequestedDelivery: delivery, Expatriation: policies.ExpatriationDeclared, RegisterSubjects: 1,
		Person: policies.Person{BirthDate: policies.Date{Year: 1980, Month: 11, Day: 20}, AIRE: policies.Yes, Citizenship: "IT", Alive: policies.Yes, CFValidated: policies.Yes},
	}
	return gateway.Decided{At: facts.On, Facts: facts, Decision: policies.Shipped().Record(facts)}
}

// requestWith stores a request with these decisions and answers the flags that
// name its database.
func requestWith(t *testing.T, number string, decisions ...gateway.Decided) []string {
	t.Helper()
	dir := t.TempDir()
	o := store.Options{Path: filepath.Join(dir, "airegw.db"), Keys: filepath.Join(dir, "database.keys"), Environment: store.Simulation, SealEvery: -1}
	db, err := store.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	const person = "RSSMRA80S60H501W"
	at := time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	actor := gateway.Actor{Kind: gateway.ActorWorker, ID: "decide"}
	_, _, err = db.Create(context.Background(), gateway.NewRequest{
		ID: number, Namespace: "citizen:a", Key: "key", BodyDigest: strings.Repeat("0", 64), Applicant: person, Persons: []string{person},
		Tracker: "ABCDEFGHJK", Event: gateway.Event{Seq: 1, Type: gateway.EventSubmitted, To: gateway.StateSubmitted, At: at, Actor: actor},
	})
	if err != nil {
		t.Fatal(err)
	}
	change := gateway.Change{ID: number, Version: 1, State: gateway.StateSubmitted, To: gateway.StateSubmitted, Persons: []string{person}}
	for i, d := range decisions {
		private, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		change.Events = append(change.Events, gateway.Event{Seq: i + 2, Type: gateway.EventDecided, To: gateway.StateSubmitted, At: d.At, Actor: actor, Private: private})
	}
	if len(change.Events) > 0 {
		if err := db.Commit(context.Background(), change); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return []string{"explain", number, "--database", o.Path, "--keys", o.Keys, "--on", "2026-11-21"}
}

func replayed(t *testing.T, args []string) (code int, answer requestAnswer, text string) {
	t.Helper()
	code, out, text := airegw(t, "", append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("exit %d, %v: %s%s", code, err, out, text)
	}
	return code, answer, text
}

func TestAPastDecisionIsReplayedWithTheRulesOfThatDay(t *testing.T) {
	t.Parallel()
	args := requestWith(t, "R26-AAAAAAAAA", decidedOn(t, "2026-11-02", policies.DeliveryConsulate), decidedOn(t, "2026-11-03", policies.DeliveryComunePickup))
	before, err := os.ReadFile(args[3])
	if err != nil {
		t.Fatal(err)
	}
	code, a, text := replayed(t, args)
	if code != 0 || text != "" || len(a.Decisions) != 2 || a.Decisions[0].Decision.Outcome != "refused" || a.Decisions[1].Decision.Outcome != "accepted" {
		t.Fatalf("exit %d, %s: %+v", code, text, a)
	}
	for i, d := range a.Decisions {
		if !d.FactsHold || !d.Replay.RulesFound || !d.Replay.Same || !d.Today.Same || d.Today.RuleSet != policies.Shipped().Hash() {
			t.Errorf("decision %d: got %+v", i, d)
		}
	}
	after, err := os.ReadFile(args[3])
	if err != nil || string(after) != string(before) {
		t.Errorf("the database changed (%v)", err)
	}
	code, out, _ := airegw(t, "", args...)
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	golden(t, "explain/request.txt", out)
}

func TestExplainSaysWhatTheRulesOfTodayWouldAnswerOtherwise(t *testing.T) {
	t.Parallel()
	// Refused on the last day before any comune could be asked.
	args := requestWith(t, "R26-AAAAAAAAA", decidedOn(t, "2026-05-31", policies.DeliveryComunePickup))
	code, a, _ := replayed(t, args)
	d := a.Decisions[0]
	if code != 0 || !d.Replay.Same || d.Today.Same {
		t.Fatalf("exit %d: %+v", code, d)
	}
	if first := d.Today.Differences[0]; first != (difference{"outcome", "refused", "accepted"}) {
		t.Errorf("got %+v", d.Today.Differences)
	}
	_, out, _ := airegw(t, "", args...)
	if !strings.Contains(out, "outcome: refused -> accepted") || !strings.Contains(out, "options.COMUNE_PICKUP: refuse ") {
		t.Errorf("got %s", out)
	}
}

func TestADecisionOfOtherRulesIsComparedAndSaysSo(t *testing.T) {
	t.Parallel()
	// Decided by rules that allow the post in Argentina: those shipped do not.
	decided := decidedOn(t, "2026-11-02", policies.DeliveryConsulate)
	other, err := policies.Shipped().With([]policies.Given{{Country: "AR", Option: policies.DeliveryConsulate, Allowed: true}})
	if err != nil {
		t.Fatal(err)
	}
	decided.Decision = other.Record(decided.Facts)
	args := requestWith(t, "R26-AAAAAAAAA", decided)
	code, a, _ := replayed(t, args)
	d := a.Decisions[0]
	if code != 0 || d.Replay.RulesFound || d.Replay.Same || d.Today.Same || !d.FactsHold {
		t.Fatalf("exit %d: %+v", code, d)
	}
	_, out, _ := airegw(t, "", args...)
	if !strings.Contains(out, "not in this binary") || !strings.Contains(out, "outcome: accepted -> refused") {
		t.Errorf("got %s", out)
	}
}

func TestTheRulesOfThatDayMayBeGiven(t *testing.T) {
	t.Parallel()
	dir := copyRules(t)
	edit(t, filepath.Join(dir, "70-fees-login-booking-travel.yaml"), "value: 2221", "value: 2500")
	old, err := policies.Load(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	decided := decidedOn(t, "2026-11-02", policies.DeliveryComunePickup)
	decided.Decision = old.Record(decided.Facts)
	code, a, _ := replayed(t, append(requestWith(t, "R26-AAAAAAAAA", decided), "--rules", dir))
	d := a.Decisions[0]
	if code != 0 || !d.Replay.RulesFound || !d.Replay.Same || d.Replay.RuleSet != old.Hash() {
		t.Fatalf("exit %d: %+v", code, d.Replay)
	}
	if len(d.Today.Differences) != 1 || d.Today.Differences[0] != (difference{"fee_eur", "25.00", "22.21"}) {
		t.Errorf("got %+v", d.Today.Differences)
	}
}

func TestADecisionThatDoesNotFollowFromItsFactsIsBad(t *testing.T) {
	t.Parallel()
	facts := decidedOn(t, "2026-11-02", policies.DeliveryComunePickup)
	facts.Facts.Person.BirthDate.Year++
	answer := decidedOn(t, "2026-11-02", policies.DeliveryComunePickup)
	answer.Decision.FeeCents = 1
	for name, decided := range map[string]gateway.Decided{"facts changed": facts, "answer changed": answer} {
		code, a, text := replayed(t, requestWith(t, "R26-AAAAAAAAA", decided))
		d := a.Decisions[0]
		if code != 1 || !strings.Contains(text, "do not follow") || d.FactsHold && d.Replay.Same {
			t.Errorf("%s: exit %d, %s: %+v", name, code, text, d)
		}
	}
}

func TestThereIsNothingToExplainBeforeADecision(t *testing.T) {
	t.Parallel()
	args := requestWith(t, "R26-AAAAAAAAA")
	if code, _, text := airegw(t, "", args...); code != 1 || !strings.Contains(text, "nothing has been decided") {
		t.Errorf("exit %d, %s", code, text)
	}
	args[1] = "R26-BBBBBBBBB"
	if code, _, text := airegw(t, "", args...); code != 1 || !strings.Contains(text, `no request "R26-BBBBBBBBB"`) {
		t.Errorf("exit %d, %s", code, text)
	}
}
