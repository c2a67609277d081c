package web_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/federation"
	"airegw/gateway/jose"
	"airegw/gateway/login"
	"airegw/gateway/outbound"
	"airegw/gateway/store"
	"airegw/gateway/web"
	"airegw/testharness/opsim"
	"airegw/testharness/sim"
)

// opKeys are the simulated providers' RSA keys, made once.
var opKeys = sync.OnceValues(opsim.NewKeys)

// loginWorld is a world with the simulated federation beside it: the gateway at
// localhost, the providers at 127.0.0.1, two sites.
type loginWorld struct {
	*world
	op     *opsim.Running
	member *federation.Member
}

// roleWords are the operators' providers' words for our roles.
var roleWords = map[string]gateway.Role{
	"operator": gateway.RoleClerk, "supervisor": gateway.RoleReferent,
	"owner_interior": gateway.RoleOwnerInterior, "owner_maeci": gateway.RoleOwnerMAECI,
}

func newLoginWorld(t *testing.T, change ...func(*web.Options)) *loginWorld {
	t.Helper()
	return newLoginWorldOf(t, func(*federation.Settings) {}, func(l *loginWorld) {
		if _, err := l.op.Register(t.Context(), l.url); err != nil {
			t.Fatal(err)
		}
	}, change...)
}

// newLoginWorldOf is newLoginWorld with other settings of the federation, joined
// another way.
func newLoginWorldOf(t *testing.T, settings func(*federation.Settings), join func(*loginWorld), change ...func(*web.Options)) *loginWorld {
	t.Helper()
	keys, err := opKeys()
	if err != nil {
		t.Fatal(err)
	}
	l := &loginWorld{}
	l.op, err = opsim.Start(opsim.Options{Seed: 5, Clock: sim.NewManual(worldStart), Keys: keys}, opsim.Listen{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.op.Close(); err != nil {
			t.Error(err)
		}
	})
	pins := filepath.Join(t.TempDir(), "anchor.json")
	if err := os.WriteFile(pins, l.op.AnchorJWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	var base string
	l.world = newWorld(t, append([]func(*web.Options){func(o *web.Options) {
		o.BaseURL = strings.Replace(o.BaseURL, "127.0.0.1", "localhost", 1)
		base = o.BaseURL
		l.member = memberAt(t, o.Clock, base, "", func(s *federation.Settings) {
			s.Anchor, s.AnchorKeys, s.Provider, s.RequireMark = l.op.Addresses.Anchor, pins, l.op.Addresses.Provider, true
			settings(s)
		})
		redirect := base + web.PathCitizenCallback
		if l.member.Party != l.member.Entity {
			redirect = l.member.Party.ID() + "/callback"
		}
		o.Federation = l.member
		kept, _ := o.Book.(*store.Store)
		o.Citizens, err = login.NewCitizens(login.CitizensConfig{
			Entity: l.member.Party, RedirectURI: redirect, Provider: l.member.Provider, Client: l.member.Protocol,
			Store: kept, Clock: o.Clock, Random: rand.Reader, Logger: o.Log,
		})
		if err != nil {
			t.Fatal(err)
		}
		o.Operators = l.newOperators(t, kept, o)
	}}, change...)...)
	l.url = base
	join(l)
	l.member.StepMarks(t.Context())
	l.member.Chain.Step(t.Context())
	if _, _, err := l.member.Provider(); err != nil || l.member.MarkError() != nil {
		t.Fatal(err, l.member.MarkError())
	}
	return l
}

func (l *loginWorld) newOperators(t *testing.T, kept *store.Store, o *web.Options) *login.Operators {
	t.Helper()
	key, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := json.Marshal(jose.NewKeySet(key.Public()))
	if err != nil {
		t.Fatal(err)
	}
	callback := o.BaseURL + web.PathOperatorCallback
	if err := l.op.RegisterClient(opsim.OperatorClient{ID: "airegw", RedirectURIs: []string{callback}, JWKS: jwks}); err != nil {
		t.Fatal(err)
	}
	out, err := outbound.New(outbound.Config{Peer: "operators", Deadline: 5 * time.Second, MaxBody: 256 << 10, Clock: o.Clock, Rand: func() float64 { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	operators, err := login.NewOperators(login.OperatorsConfig{
		Providers: []login.OperatorProvider{{
			Name: "Interno", Issuer: l.op.Issuer(opsim.RealmInterno), ClientID: "airegw", Key: key,
			Offices: []gateway.Office{{Kind: gateway.OfficeComune, Code: "058091"}, castello}, Roles: roleWords, Client: out,
		}},
		RedirectURI: callback, Store: kept, Cards: kept, Clock: o.Clock, Random: rand.Reader, Logger: o.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return operators
}

// auto lets people in without pages, at the level asked.
func (l *loginWorld) auto(people ...string) {
	l.t.Helper()
	if err := l.op.SetAuto(&opsim.Auto{People: people}); err != nil {
		l.t.Fatal(err)
	}
}

// follow opens an address and goes where the redirects lead, to the providers
// and back, until a page comes; it answers the page and its address.
func (b *browser) follow(path string) (reply, string) {
	b.w.t.Helper()
	address := path
	if strings.HasPrefix(path, "/") {
		address = b.w.url + path
	}
	for range 10 {
		a := b.do("GET", address, "", "", nil)
		if a.header.Get("Location") == "" {
			return a, address
		}
		from, err := url.Parse(address)
		if err != nil {
			b.w.t.Fatal(err)
		}
		to, err := from.Parse(a.header.Get("Location"))
		if err != nil {
			b.w.t.Fatal(err)
		}
		address = to.String()
	}
	b.w.t.Fatal("redirected without an end")
	return reply{}, ""
}

// sessions answers how many sessions are open in the database.
func (l *loginWorld) sessions(owner string) int {
	l.t.Helper()
	list, err := l.store.SessionsOf(context.Background(), owner)
	if err != nil {
		l.t.Fatal(err)
	}
	return len(list)
}
