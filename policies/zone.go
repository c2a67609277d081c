package policies

import (
	"time"
	_ "time/tzdata" // the image we run in may have no zone files
)

// rome is the zone in which every date of every rule is evaluated (DESIGN §6).
var rome = mustZone("Europe/Rome")

func mustZone(name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		panic("policies: the embedded time zones do not hold " + name + ": " + err.Error())
	}
	return loc
}

// Rome returns the zone in which rules are evaluated.
func Rome() *time.Location { return rome }
