package gateway

// Wake makes the workers look for work now rather than at their next poll. It
// never waits. Whoever learns that another replica stored work calls it: a hint
// only, since the poll finds what a lost hint did not tell.
func (g *Gateway) Wake() {
	for _, wake := range []chan struct{}{g.wakeWork, g.wakeRelay, g.wakeStatus} {
		poke(wake)
	}
}
