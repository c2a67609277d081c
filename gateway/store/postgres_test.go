package store_test

import (
	"sync"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/gateway/store/pgtest"
	"airegw/gateway/store/storetest"
)

func (h home) shared(address string, now func() time.Time) store.Options {
	return store.Options{URL: address, Keys: h.keys(), Environment: store.Simulation, Now: now, SealEvery: -1}
}

func TestPostgreSQLKeepsTheStoreContract(t *testing.T) {
	t.Parallel()
	var opened sync.Map // *store.Store → func() *store.Store
	var launch func(t *testing.T, o store.Options) *store.Store
	launch = func(t *testing.T, o store.Options) *store.Store {
		s := open(t, o)
		opened.Store(s, func() *store.Store { return launch(t, o) })
		return s
	}
	storetest.Run(t, storetest.Engine{
		Open: func(t *testing.T, now func() time.Time) gateway.Store {
			// The role with the least rights; the other tests run as the owner.
			o := newHome(t).shared(pgtest.Database(t), now)
			o.Role = store.RoleWeb
			return launch(t, o)
		},
		// The server ends what a dead replica had begun: its connections are cut.
		Crash: func(t *testing.T, s gateway.Store) gateway.Store {
			s.(*store.Store).CutConnections(t)
			again, _ := opened.Load(s)
			return again.(func() *store.Store)()
		},
		FailStatement: func(s gateway.Store, k int) (func() bool, func()) { return s.(*store.Store).FailStatement(t, k) },
		Contents:      func(t *testing.T, s gateway.Store) string { return s.(*store.Store).Contents(t) },
	})
}
