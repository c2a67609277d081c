package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"airegw/policies"
)

// benchPolicyCmd measures a full decision: eligibility, the four deliveries,
// fee and dates. It holds no other subject: no store, no network.
type benchPolicyCmd struct {
	Runs int  `help:"Decisions per sample." default:"20000"`
	JSON bool `help:"Machine output." name:"json"`
}

// policyBench is the answer. Times are nanoseconds of one decision in the fastest
// sample: whatever else the machine does can only add to it.
type policyBench struct {
	Decisions int          `json:"decisions"` // per set, all samples together
	Sets      []policyCost `json:"sets"`
	// SHA256 is one SHA-256 over the canonical facts, measured in between the
	// same samples: what this machine takes for a small fixed piece of work.
	SHA256 struct {
		NS    float64 `json:"ns"`
		Bytes int     `json:"bytes"`
	} `json:"sha256"`
	// Ratio is the last set's time over the first's.
	Ratio   float64 `json:"ratio"`
	LimitNS float64 `json:"limit_ns"`
	OK      bool    `json:"ok"` // every set within the limit
}

type policyCost struct {
	Rules  int     `json:"rules"`
	NS     float64 `json:"ns"`
	Allocs float64 `json:"allocs"`
	Bytes  float64 `json:"bytes"`
}

// policyLimit is what a decision may take.
const policyLimit = 1000 * time.Nanosecond

// policySizes are the numbers of rules a decision is measured on; it must cost
// the same on all.
var policySizes = []int{100, 1000}

// policySamples is how often each measurement is repeated, in turn, so that a
// busy moment of the machine falls on all alike.
const policySamples = 25

// Run measures and prints.
func (c *benchPolicyCmd) Run(std streams) error {
	if c.Runs < 1000 || c.Runs > 10_000_000 {
		return usage("--runs: between 1000 and 10000000")
	}
	facts := benchFacts()
	var sets []policies.Sized
	for _, n := range policySizes {
		set, err := policies.Shipped().Sized(n, facts.On)
		if err != nil {
			return fmt.Errorf("rules of the bench: %w", err)
		}
		sets = append(sets, set)
	}
	bytes := facts.Canonical()
	b := policyBench{Decisions: c.Runs * policySamples, LimitNS: float64(policyLimit.Nanoseconds())}
	b.SHA256.Bytes = len(bytes)
	var hashes []float64
	times := make([][]float64, len(sets))
	costs := make([]policyCost, len(sets))
	for range policySamples {
		for i, set := range sets {
			ns, allocs, size, err := timeDecisions(set, facts, c.Runs)
			if err != nil {
				return err
			}
			times[i] = append(times[i], ns)
			costs[i].Allocs, costs[i].Bytes = allocs, size
		}
		begin := time.Now()
		var sink byte
		for range c.Runs {
			sum := sha256.Sum256(bytes)
			sink ^= sum[0]
		}
		runtime.KeepAlive(sink)
		hashes = append(hashes, float64(time.Since(begin).Nanoseconds())/float64(c.Runs))
	}
	b.OK = true
	for i, set := range sets {
		costs[i].Rules, costs[i].NS = set.Rules(), slices.Min(times[i])
		b.OK = b.OK && costs[i].NS <= b.LimitNS
	}
	b.Sets, b.SHA256.NS = costs, slices.Min(hashes)
	b.Ratio = costs[len(costs)-1].NS / costs[0].NS
	if c.JSON {
		err := errors.Join(json.NewEncoder(std.out).Encode(b))
		if err != nil {
			return err
		}
	} else {
		for _, s := range b.Sets {
			fmt.Fprintf(std.out, "%5d rules: %7.0f ns, %.2f allocations (%.0f bytes) a full decision\n", s.Rules, s.NS, s.Allocs, s.Bytes)
		}
		fmt.Fprintf(std.out, "one SHA-256 of the facts (%d bytes) in the same run: %.0f ns\n", b.SHA256.Bytes, b.SHA256.NS)
	}
	if !b.OK {
		return bad("a decision takes more than %s", policyLimit)
	}
	return nil
}

// timeDecisions answers nanoseconds, allocations and bytes of one decision.
func timeDecisions(set policies.Sized, f policies.Facts, runs int) (ns, allocs, size float64, err error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin := time.Now()
	for range runs {
		if d := set.Decide(f); d.Outcome != policies.OutcomeAllowed {
			return 0, 0, 0, bad("the bench's request is not allowed: %s", d.Outcome)
		}
	}
	took := time.Since(begin)
	runtime.ReadMemStats(&after)
	n := float64(runs)
	return float64(took.Nanoseconds()) / n, float64(after.Mallocs-before.Mallocs) / n, float64(after.TotalAlloc-before.TotalAlloc) / n, nil
}

// benchFacts is a request in good order that every question can be asked of.
func benchFacts() policies.Facts {
	return policies.Facts{
		On: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Channel: policies.ChannelComune, Reason: policies.ReasonFirstIssue,
		ResidenceCountry: "AR", RequestedDelivery: policies.DeliveryForeignResidence, RegisterSubjects: 1,
		Fingerprints: policies.PrintsTaken, Expatriation: policies.ExpatriationDeclared, HasMinorChildren: policies.No,
		Person: policies.Person{
			BirthDate: policies.Date{Year: 1985, Month: 5, Day: 17}, AIRE: policies.Yes, Citizenship: "IT", Alive: policies.Yes, CFValidated: policies.Yes,
			ExistingCard: policies.Card{Kind: policies.CardNone},
		},
		ForeignAddressEqualsRegister: policies.Yes, OfficeIsAIREComune: policies.No, OpenRequestElsewhere: policies.No,
		BirthActTranscribed: policies.Yes, Evidence: []string{}, RequestingComune: "054013", Delegate: policies.No,
	}
}
