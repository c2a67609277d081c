package consulate

import (
	"slices"
	"time"
)

// firstGroup are the states whose residents could first ask for the CIE at
// their post (spec A113, seed 003): the European Union, Switzerland, Monaco, San
// Marino, Norway, Vatican City, Liechtenstein, Andorra, Iceland. Italy itself
// has no posts.
var firstGroup = []string{
	"AD", "AT", "BE", "BG", "CH", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS", "LI", "LT",
	"LU", "LV", "MC", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK", "SM", "VA",
}

// FirstGroup lists the states of the first roll-out by ISO2 code (spec A113).
func FirstGroup() []string { return slices.Clone(firstGroup) }

// InFirstGroup reports whether a state is in the FirstGroup.
func InFirstGroup(iso2 string) bool { return slices.Contains(firstGroup, stateCode(iso2)) }

// RollOutStatus is what the snapshot of seed 003 says of a state.
type RollOutStatus string

// The statuses of the snapshot.
const (
	RollOutActive RollOutStatus = "active"
	RollOutSoon   RollOutStatus = "soon"
)

// RollOutState is one state of the snapshot.
type RollOutState struct {
	ISO2   string
	Status RollOutStatus
}

// RollOut is the state of the CIE abroad at one moment.
type RollOut struct {
	Posts    int // posts the process involves
	States   int // states they are in
	Named    []RollOutState
	Complete string // when completion was expected, in the source's words
	Source   string
}

// Snapshot2020 is what seed 003 stated around 2019-2020 (spec A112): the totals
// as stated, and the ten states it names. It is history, kept to be reproduced;
// CanCapture answers about any day.
func Snapshot2020() RollOut {
	return RollOut{
		Posts: 52, States: 32,
		Named: []RollOutState{
			{"FR", RollOutActive},
			{"GR", RollOutActive},
			{"AT", RollOutActive},
			{"RO", RollOutActive},
			{"CY", RollOutActive},
			{"LT", RollOutActive},
			{"EE", RollOutActive},
			{"LV", RollOutActive},
			{"DE", RollOutSoon},
			{"LU", RollOutSoon},
		},
		Complete: "entro il 2020/inizio 2021",
		Source:   "spec A112 (seed 003)",
	}
}

// Activation is a day on which posts began to take requests.
type Activation struct {
	Since Date
	Posts []Post
}

// Activations lists the known beginnings in their order (spec B.2.1), by the
// dates of posts.tsv. A month stands before the days within it.
func Activations() []Activation {
	byDate := map[Date][]Post{}
	for _, p := range theNetwork().posts {
		if p.Captures.Status == CapturesKnown && p.Captures.Since != "" {
			byDate[p.Captures.Since] = append(byDate[p.Captures.Since], p)
		}
	}
	var all []Activation
	for since, posts := range byDate {
		all = append(all, Activation{since, posts})
	}
	slices.SortFunc(all, func(a, b Activation) int {
		at, _ := a.Since.start(time.UTC)
		bt, _ := b.Since.start(time.UTC)
		if order := at.Compare(bt); order != 0 {
			return order
		}
		return len(a.Since) - len(b.Since)
	})
	return all
}
