package testharness

import (
	"encoding/json"
	"sync"
	"testing"

	"airegw/gateway"
)

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// total answers how many requests there are and how many audit entries.
func (w *flow) total() (requests, audit int) {
	w.t.Helper()
	counts, err := w.app.Store.Counts(w.ctx, w.clock.Now())
	w.must("count", err)
	for _, n := range counts.ByState {
		requests += n
	}
	report, err := w.app.Store.VerifyAudit(w.ctx)
	w.must("audit", err)
	if !report.OK() {
		w.t.Fatalf("audit: %+v", report.Bad)
	}
	return requests, report.Entries
}

func TestWhatIsRefusedLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	kept := ordinary(t, 0)
	w.submit(d, ask(kept))
	requests, audit := w.total()
	bad := func(f func(in *gateway.Input)) gateway.Input {
		in := ask(ordinary(t, 1))
		f(&in)
		return in
	}
	for name, in := range map[string]gateway.Input{
		"no key":          bad(func(in *gateway.Input) { in.Key = "" }),
		"a short key":     bad(func(in *gateway.Input) { in.Key = "short" }),
		"a wrong code":    bad(func(in *gateway.Input) { in.Applicant.FiscalCode = "RSSCHR95D65H501A" }),
		"another office":  bad(func(in *gateway.Input) { in.Office = "F205" }),
		"a used key":      bad(func(in *gateway.Input) { in.Key = "key-" + kept.CF }),
		"an open request": func() gateway.Input { in := ask(kept); in.Key = "another-key-of-hers"; return in }(),
	} {
		_, err := d.Submit(w.ctx, in)
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if r, a := w.total(); r != requests || a != audit {
		t.Errorf("%d requests and %d audit entries, not %d and %d", r, a, requests, audit)
	}
}

func TestTheSameKeyAnswersTheSameNumberAndAnotherBodyIsAConflict(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := ordinary(t, 0)
	first, err := d.Submit(w.ctx, ask(p))
	w.must("submit", err)
	if !first.Created || len(first.TrackerCode) != 10 || first.State != gateway.StateSubmitted {
		t.Fatalf("%+v", first)
	}
	again, err := d.Submit(w.ctx, ask(p))
	if err != nil || again.Created || again.Number != first.Number || again.TrackerCode != first.TrackerCode {
		t.Fatalf("%+v %v", again, err)
	}
	other := ask(p)
	other.Contacts.Email = "other@example.org"
	_, err = d.Submit(w.ctx, other)
	refusedAs(t, err, gateway.Conflict, "key_reused")
	// In another namespace the key is another key: there it meets the open request.
	_, err = w.desk("F205").Submit(w.ctx, ask(p))
	refusedAs(t, err, gateway.Conflict, "already_open_elsewhere")
	in := ask(p)
	in.Office = "H501"
	_, err = w.citizen(p).Submit(w.ctx, in)
	refusedAs(t, err, gateway.Conflict, "already_open")
	q := ask(ordinary(t, 1))
	q.Key = ask(p).Key
	if _, err = w.desk("F205").Submit(w.ctx, q); err != nil {
		t.Errorf("another office's key: %v", err)
	}
	// After the work it still is the same, in its state of now.
	w.work()
	again, err = d.Submit(w.ctx, ask(p))
	if err != nil || again.Number != first.Number || again.State != gateway.StatePrechecked {
		t.Errorf("%+v %v", again, err)
	}
}

func TestAPersonHasOneOpenRequestAndMayAskAgainOnceItHasEnded(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	p := ordinary(t, 0)
	number := w.submit(d, ask(p))
	second := ask(p)
	second.Key = "the-second-form"
	_, err := d.Submit(w.ctx, second)
	refusedAs(t, err, gateway.Conflict, "already_open")
	w.must("cancel", d.Cancel(w.ctx, number, "", ""))
	if n := w.submit(d, second); n == number {
		t.Error("the second form got the first's number")
	}
}

func TestSixtyFourHandsWithOneFormMakeOneRequest(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	acks := make([]gateway.Ack, 64)
	errs := make([]error, len(acks))
	var wg sync.WaitGroup
	for i := range acks {
		wg.Go(func() { acks[i], errs[i] = d.Submit(w.ctx, ask(ordinary(t, 0))) })
	}
	wg.Wait()
	created := 0
	for i := range acks {
		if errs[i] != nil || acks[i].Number != acks[0].Number || acks[i].TrackerCode != acks[0].TrackerCode {
			t.Fatalf("%+v %v", acks[i], errs[i])
		}
		if acks[i].Created {
			created++
		}
	}
	if created != 1 {
		t.Errorf("created %d times", created)
	}
	if n, _ := w.total(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestSixtyFourFormsForOnePersonMakeOneRequest(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	offices := []string{"H501", "F205", "F839", "L219"}
	p := ordinary(t, 0)
	errs := make([]error, 64)
	var wg sync.WaitGroup
	for i := range errs {
		in := ask(p)
		in.Key = "form-" + string(rune('a'+i/8)) + "-" + string(rune('a'+i%8)) + "-xx"
		d := w.desk(offices[i%len(offices)])
		wg.Go(func() { _, errs[i] = d.Submit(w.ctx, in) })
	}
	wg.Wait()
	taken := 0
	for _, err := range errs {
		if err == nil {
			taken++
			continue
		}
		if code := gateway.CodeOf(err); code != "already_open" && code != "already_open_elsewhere" {
			t.Errorf("%v", err)
		}
	}
	if n, _ := w.total(); taken != 1 || n != 1 {
		t.Errorf("%d taken, %d requests", taken, n)
	}
}

func TestWorkersBesideEachOtherCheckEachRequestOnce(t *testing.T) {
	t.Parallel()
	w := newFlow(t, dawn)
	d := w.desk("H501")
	var numbers []string
	for i := range 12 {
		numbers = append(numbers, w.submit(d, ask(ordinary(t, i))))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				again, err := w.g.WorkOnce(w.ctx)
				if err != nil {
					t.Error(err)
				}
				if !again {
					return
				}
			}
		})
	}
	wg.Wait()
	w.work()
	for _, number := range numbers {
		w.is(d, number, gateway.StatePrechecked)
		if n := len(w.checksOf(number)); n != 1 {
			t.Errorf("%s was checked %d times", number, n)
		}
	}
	w.sound()
}
