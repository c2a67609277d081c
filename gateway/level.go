package gateway

import (
	"strconv"

	"airegw/gateway/fault"
	"airegw/policies"
)

// LevelFor answers the login level (1 to 3) that the rules in force ask of a
// citizen for an act (B.7 Q12). An act the rules do not know needs the highest.
func (g *Gateway) LevelFor(act policies.Act) int {
	now := g.clock.Now()
	return g.rules.now(now).LoginLevel(act, now)
}

// levelled refuses a citizen whose login does not reach what the act needs:
// Forbidden "level_too_low", Args "level" is the one needed. Offices and
// machines have their own ways to prove who they are.
func (d Desk) levelled(act policies.Act) error {
	if _, citizen := d.scope.Person(); !citizen {
		return nil
	}
	if need := d.g.LevelFor(act); d.scope.actor.Level < need && !fault.Mutant("gateway.level") {
		return NewError(Forbidden, "level_too_low", "level", strconv.Itoa(need))
	}
	return nil
}
