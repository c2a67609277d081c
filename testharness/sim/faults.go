package sim

import (
	"fmt"
	"net/http"
	"sort"
	"sync"
)

// FaultHeader marks an answer that a fault has touched, so that no one hunts a
// bug that was injected. An answer that never leaves cannot carry it; the
// count still tells.
const FaultHeader = "X-Sim-Fault"

// Fault declares one way a simulator can misbehave.
type Fault struct {
	Name    string  // machine code
	About   string  // one line for the management page
	Rude    float64 // probability per opportunity in the rude profile
	Hostile float64 // the same in the hostile profile
}

// Rule is when a fault fires. An opportunity fires for certain while Count
// lasts, else with Probability; never after Max firings.
type Rule struct {
	Name        string  `json:"name"`
	Op          string  `json:"op,omitempty"`    // only this operation of the simulator; empty means all
	Match       string  `json:"match,omitempty"` // only this subject (order key, fiscal code …); empty means all
	Probability float64 `json:"probability"`
	Count       int     `json:"count"`           // the next so many opportunities, for certain
	Max         int     `json:"max,omitempty"`   // stop after so many firings; 0 means no limit
	Param       string  `json:"param,omitempty"` // what the fault needs: a duration, a code
}

// FaultState is a rule with what it has done.
type FaultState struct {
	Rule
	About    string `json:"about,omitempty"`
	Injected int64  `json:"injected"`
}

// Faults is the register of a simulator's faults, safe for concurrent use.
type Faults struct {
	rand    *Rand
	profile Profile

	mu       sync.Mutex
	declared map[string]Fault
	rules    []*ruleState
	injected map[string]int64
}

type ruleState struct {
	Rule
	fired int64
}

// NewFaults declares the faults of a simulator and sets the rates of the
// profile. Two faults of the same name are a mistake of the programmer: panic.
func NewFaults(profile Profile, rng *Rand, faults ...Fault) *Faults {
	f := &Faults{rand: rng.Sub("faults"), profile: profile, declared: make(map[string]Fault), injected: make(map[string]int64)}
	for _, d := range faults {
		if _, twice := f.declared[d.Name]; twice || d.Name == "" {
			panic("sim: fault declared twice or without a name: " + d.Name)
		}
		f.declared[d.Name] = d
	}
	f.Reset()
	return f
}

// Reset goes back to the rates of the profile. The counts stay.
func (f *Faults) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
	for _, d := range f.declared {
		p := 0.0
		switch f.profile {
		case Rude:
			p = d.Rude
		case Hostile:
			p = d.Hostile
		}
		if p > 0 {
			f.rules = append(f.rules, &ruleState{Rule: Rule{Name: d.Name, Probability: p}})
		}
	}
	f.sort()
}

// sort keeps the order of draws independent of map order.
func (f *Faults) sort() {
	sort.SliceStable(f.rules, func(i, j int) bool { return f.rules[i].Name < f.rules[j].Name })
}

// Set replaces the rule with the same name, operation and match. An unknown
// fault, a probability outside [0,1] or a negative number is an error.
func (f *Faults) Set(rule Rule) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.declared[rule.Name]; !known {
		return fmt.Errorf("unknown fault %q", rule.Name)
	}
	if !(rule.Probability >= 0 && rule.Probability <= 1) {
		return fmt.Errorf("fault %s: probability %v is outside 0 to 1", rule.Name, rule.Probability)
	}
	if rule.Count < 0 || rule.Max < 0 {
		return fmt.Errorf("fault %s: count and max are not negative", rule.Name)
	}
	for i, r := range f.rules {
		if r.Name == rule.Name && r.Op == rule.Op && r.Match == rule.Match {
			f.rules[i] = &ruleState{Rule: rule}
			return nil
		}
	}
	f.rules = append(f.rules, &ruleState{Rule: rule})
	f.sort()
	return nil
}

// Inject makes the next count opportunities of a fault fire.
func (f *Faults) Inject(name string, count int) error {
	return f.Set(Rule{Name: name, Count: count})
}

// Take says whether the fault fires at this opportunity, counts it if so, and
// gives the parameter of the rule. op is the operation at hand, subject what
// it is about. Asking for an undeclared fault is a mistake of the programmer:
// panic.
func (f *Faults) Take(name, op, subject string) (param string, fires bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.declared[name]; !known {
		panic("sim: undeclared fault " + name)
	}
	for _, r := range f.rules {
		if r.Name != name || (r.Op != "" && r.Op != op) || (r.Match != "" && r.Match != subject) {
			continue
		}
		if r.Max > 0 && r.fired >= int64(r.Max) {
			continue
		}
		switch {
		case r.Count > 0:
			r.Count--
		case r.Probability > 0 && f.rand.Float64() < r.Probability:
		default:
			continue
		}
		r.fired++
		f.injected[name]++
		return r.Param, true
	}
	return "", false
}

// Fires is Take for faults without a parameter.
func (f *Faults) Fires(name, op, subject string) bool {
	_, fires := f.Take(name, op, subject)
	return fires
}

// Has says whether the fault is declared.
func (f *Faults) Has(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, known := f.declared[name]
	return known
}

// Injected is how many times the fault has fired since the start.
func (f *Faults) Injected(name string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.injected[name]
}

// Total is how many faults of any name have fired.
func (f *Faults) Total() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var total int64
	for _, n := range f.injected {
		total += n
	}
	return total
}

// Snapshot lists all declared faults with their rules, by name: one line per
// rule, one without rates for a fault that has none. Injected counts the name,
// over all its rules.
func (f *Faults) Snapshot() []FaultState {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make([]string, 0, len(f.declared))
	for name := range f.declared {
		names = append(names, name)
	}
	sort.Strings(names)
	var list []FaultState
	for _, name := range names {
		found := false
		for _, r := range f.rules {
			if r.Name == name {
				list = append(list, FaultState{Rule: r.Rule, About: f.declared[name].About, Injected: f.injected[name]})
				found = true
			}
		}
		if !found {
			list = append(list, FaultState{Rule: Rule{Name: name}, About: f.declared[name].About, Injected: f.injected[name]})
		}
	}
	return list
}

// Mark writes the fault header of an answer.
func Mark(h http.Header, fault string) { h.Add(FaultHeader, fault) }
