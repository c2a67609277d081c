package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"airegw/policies"
)

// TestTheBenchOfTheRulesWeighsTheRightThing holds what does not depend on how
// busy the machine is: the shape, the number of rules, the request.
func TestTheBenchOfTheRulesWeighsTheRightThing(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	// Its error says that the limit is missed, which a busy machine may.
	_ = (&benchPolicyCmd{Runs: 1000, JSON: true}).Run(streams{strings.NewReader(""), &out, &errs})
	var b policyBench
	dec := json.NewDecoder(&out)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(b.Sets) != 2 || b.Sets[0].Rules != 100 || b.Sets[1].Rules != 1000 {
		t.Errorf("sets %+v", b.Sets)
	}
	for _, s := range b.Sets {
		if s.NS <= 0 {
			t.Errorf("%d rules: %v ns", s.Rules, s.NS)
		}
	}
	if b.SHA256.NS <= 0 || b.SHA256.Bytes < 200 || b.LimitNS != 1000 || b.Ratio <= 0 {
		t.Errorf("%+v", b)
	}
	facts := benchFacts()
	if d := policies.Shipped().Decide(facts); d.Outcome != policies.OutcomeAllowed || len(d.Findings) != 0 {
		t.Errorf("the bench weighs a request that is %s: %+v", d.Outcome, d.Findings)
	}
}
