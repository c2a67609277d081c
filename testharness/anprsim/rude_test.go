package anprsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"airegw/testharness/sim"
)

var errNoAnswer = errors.New("no answer that promises anything")

// try is one careful attempt: only the exact answer counts.
func (w *world) try(a ask) (answerOK, error) {
	var out answerOK
	req := w.requestOrNil(a)
	if req == nil {
		return out, errNoAnswer
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
		return out, errNoAnswer
	}
	err = json.Unmarshal(body, &out)
	if err == nil && len(out.Subjects.List) == 0 {
		err = errNoAnswer
	}
	return out, err
}

// requestOrNil is request, with a voucher that may be refused.
func (w *world) requestOrNil(a ask) *http.Request {
	a.evidence = w.trackingEvidence(a)
	res, err := w.tokenOrError(a)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	var out struct {
		AccessToken string `json:"access_token"`
	}
	if err != nil || res.StatusCode != 200 || json.Unmarshal(body, &out) != nil || out.AccessToken == "" {
		return nil
	}
	a.voucher = out.AccessToken
	return w.request(a)
}

func TestARudeRegisterIsSurvivedByAClientThatAsksAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Profile, o.Seed = sim.Rude, 7 })
	visible := 0
	for _, p := range sim.People()[:40] {
		ok := false
		for range 20 {
			out, err := w.try(ask{code: "C030", criteria: byCF(p.CF)})
			if err == nil {
				ok = out.Subjects.List[0].IDs.IDANPR == p.IDANPR
				break
			}
		}
		if !ok {
			visible++
		}
	}
	if injected := w.sim.faults.Total(); injected < 10 || visible != 0 {
		t.Errorf("%d injected, %d visible", injected, visible)
	}
}

func TestTheSameSeedMisbehavesTheSameWay(t *testing.T) {
	t.Parallel()
	run := func() []string {
		w := newWorld(t, func(o *Options) { o.Profile, o.Seed = sim.Rude, 11 })
		var seen []string
		for range 15 {
			_, err := w.try(ask{code: "C030", criteria: byCF(person(t, "ok").CF)})
			calls := w.sim.Calls()
			last := ""
			if len(calls) > 0 {
				last = calls[len(calls)-1].Outcome
			}
			seen = append(seen, last)
			if err == nil {
				seen[len(seen)-1] += " good"
			}
		}
		return seen
	}
	first, second := run(), run()
	a, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(second)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%s\n%s", a, b)
	}
}

func TestAMovedClockDoesNotMakeGoodTokensOld(t *testing.T) {
	t.Parallel()
	real := sim.NewReal()
	w := newWorld(t, func(o *Options) { o.Clock = real })
	w.clock = sim.NewManual(time.Now())
	real.Advance(30 * 24 * time.Hour)
	p := person(t, "ok")
	w.good(ask{code: "C030", criteria: byCF(p.CF)})
	// The register's own dates have moved: a card issued in three weeks is not of the future.
	issued := time.Now().AddDate(0, 0, 21).Format(time.DateOnly)
	if a := w.cie("CIE8", "1", who(p)+cardXML("CA1", issued, "1", atRome, "2040-01-01")); a.code() != "OK" {
		t.Errorf("card: %s", a.raw)
	}
}
