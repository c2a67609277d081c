// Package anprsim is a stand-in for the population register ANPR (doors A, B and
// C) and for the PDND token endpoint before it, for tests and demonstrations.
//
// It promises to refuse what the real thing is known to refuse
// (specs/anpr-pdnd-modi.md §1 to §4), as opaquely as the real thing does, and
// to tell the true cause at the management surface; to misbehave only as told,
// marking each injected fault; and, when it has a folder, to remember its keys,
// clients, changed records, cards and SOAP answers over a kill.
//
// It refuses to share code with the gateway, to hold anybody but synthetic
// people, and to accept a published key that has a private member.
package anprsim

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

// Paths and names of the simulated world. The hosts end in .invalid so that
// no token of a simulation can be mistaken for one of the real world.
const (
	TokenPath = "/token.oauth2"
	JWKSPath  = "/.well-known/jwks.json"
	CIEPath   = "/anpr-ws-cie-webapp/AnprServiceCIE"
	// ConsularPath is door C, written as the service is.
	ConsularPath = "/anpr-ws-CONSOLATI-webapp/AnprServiceCONSOLATI"

	basePath     = "/govway/rest/in/MinInternoPortaANPR-PDND/"
	queryPath    = "/anpr-service-e002"
	audienceBase = "https://modipa.anpr.sim.invalid/govway/rest/in/MinInternoPortaANPR/"

	tokenIssuer       = "interop.sim.invalid"
	assertionAudience = "auth.interop.sim.invalid/client-assertion"
)

// The services of door A, by code.
var serviceNames = map[string]string{
	"C001": "C001-servizioNotifica",
	"C004": "C004-servizioVerificaDichDecesso",
	"C015": "C015-servizioAccertamentoGeneralita",
	"C018": "C018-servizioAccertamentoCittadinanza",
	"C019": "C019-servizioAccertamentoEsistenzaVita",
	"C020": "C020-servizioAccertamentoResidenza",
	"C021": "C021-servizioAccertamentoStatoFamiglia",
	"C029": "C029-servizioAccertamentoDatiAnagrafici",
	"C030": "C030-servizioAccertamentoIdUnicoNazionale",
}

// Options configures a simulator. The zero value works: polite, real clock,
// memory only, the synthetic population of testharness/sim.
type Options struct {
	Profile sim.Profile
	Seed    uint64    // 0 lets the simulator choose; Seed tells
	Clock   sim.Clock // nil is the machine's

	// MessageClock judges the times of vouchers and tokens. nil is Clock, unless
	// that is a *sim.RealClock, which a demonstration moves forward while its
	// clients stay in the present: then the machine's own time.
	MessageClock sim.Clock

	// Dir keeps keys and ledger over restarts; empty keeps nothing.
	Dir string

	// Clients are registered at start, like RegisterClient.
	Clients []Client

	// People is the register's population; nil is sim.People() and
	// OfficialSubjects().
	People []sim.Person

	// VoucherLifetime is how long a PDND voucher is good for; 0 is 600 s.
	VoucherLifetime time.Duration

	// Key signs the vouchers; nil reads it from Dir or makes a new one.
	Key *rsa.PrivateKey

	// Mutant breaks one rule of the simulator, to judge those who judge it (see
	// Mutants); empty breaks none.
	Mutant string

	// Logger receives the diagnosis log; nil discards it.
	Logger *slog.Logger
}

// Client is a PDND client allowed to call: its public keys and the purposes
// it holds, one per service.
type Client struct {
	ID           string             `json:"client_id"`              // uuid
	Organisation string             `json:"organisation,omitempty"` // uuid of the consumer; empty is derived from ID
	JWKS         jose.JSONWebKeySet `json:"jwks"`                   // RSA public keys; kid is the RFC 7638 thumbprint, filled in when empty
	Purposes     map[string]string  `json:"purposes"`               // service code (C030) to purpose id (uuid)
}

// Identity is what a client needs to know of the simulator, paths being
// relative to the address it listens on.
type Identity struct {
	TokenPath         string            `json:"token_path"`
	JWKSPath          string            `json:"jwks_path"`
	CIEPath           string            `json:"cie_path"`
	ConsularPath      string            `json:"consular_path"`
	AssertionAudience string            `json:"assertion_audience"` // aud of the client assertion
	VoucherIssuer     string            `json:"voucher_issuer"`
	Services          map[string]string `json:"services"`    // code to base path, without the operation
	Audiences         map[string]string `json:"audiences"`   // code to aud of voucher and of the Agid-JWT-* tokens
	QueryPath         string            `json:"query_path"`  // appended to the base path
	StatusPath        string            `json:"status_path"` // appended to the base path
}

// Server is one simulated register. Its methods are safe for concurrent use.
type Server struct {
	opt    Options
	clock  sim.Clock // of the register: dates of cards, quota, ledger
	wire   sim.Clock // of vouchers and tokens
	rand   *sim.Rand
	faults *sim.Faults
	log    *slog.Logger

	keyOnce func() (voucherKey, error)
	soap    func() (*sim.SOAPAuthority, error)
	mutant  atomic.Value // string: the one rule broken on purpose

	calls    sim.Recent[Call]
	refusals sim.Recent[Refusal]

	mu       sync.Mutex
	clients  map[string]*Client
	people   []*record
	original map[string][]sim.Person
	seq      int64
	cards    []CardEvent
	replies  map[string]soapReply // doors B and C, by sender and operation id
	lastOp   map[string]string    // doors B and C, highest id by sender
	aligning map[string]alignment // open requests of door C, by their id
	opsA     map[string]answerA   // door A with strict-opid, by client and id
	lastOpA  map[string]string
	jtis     map[string]time.Time
	swept    time.Time
	used     map[string]int // calls by day and service
	limits   map[string]int
	tokens   map[string]int // tokens by minute and organisation
	journal  *sim.Journal
}

// New builds a simulator. It fails on a malformed client, an unreadable folder
// or a ledger that does not parse; nothing listens yet.
func New(opt Options) (*Server, error) {
	if opt.Clock == nil {
		opt.Clock = sim.NewReal()
	}
	opt.MessageClock = sim.MessageClock(opt.MessageClock, opt.Clock)
	profile, err := sim.ParseProfile(string(opt.Profile))
	if err != nil {
		return nil, fmt.Errorf("register simulator: %w", err)
	}
	if opt.VoucherLifetime == 0 {
		opt.VoucherLifetime = 600 * time.Second
	}
	if opt.People == nil {
		opt.People = append(sim.People(), OfficialSubjects()...)
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	rng := sim.NewRand(opt.Seed)
	s := &Server{
		opt: opt, clock: opt.Clock, wire: opt.MessageClock, rand: rng.Sub("anprsim"), log: opt.Logger,
		faults: sim.NewFaults(profile, rng, Faults()...),
		calls:  sim.Recent[Call]{Keep: keepCalls}, refusals: sim.Recent[Refusal]{Keep: keepRefusals},
		clients: map[string]*Client{}, original: map[string][]sim.Person{},
		replies: map[string]soapReply{}, lastOp: map[string]string{}, aligning: map[string]alignment{},
		opsA: map[string]answerA{}, lastOpA: map[string]string{},
		jtis: map[string]time.Time{}, used: map[string]int{}, limits: defaultLimits(), tokens: map[string]int{},
		// Ids grow over restarts without being kept: they follow the clock. They
		// have been beyond 2^31 since January 2025.
		seq: 5837092700 + opt.Clock.Now().Sub(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)).Milliseconds(),
	}
	s.keyOnce = sync.OnceValues(s.loadKey)
	// One key for all that the register signs.
	s.soap = sync.OnceValues(func() (*sim.SOAPAuthority, error) {
		k, err := s.keyOnce()
		if err != nil {
			return nil, err
		}
		return sim.NewSOAPAuthority(k.private)
	})
	err = s.SetMutant(opt.Mutant)
	if err != nil {
		return nil, err
	}
	for _, p := range opt.People {
		s.original[p.CF] = append(s.original[p.CF], p.Clone())
		s.people = append(s.people, newRecord(p))
	}
	if opt.Dir != "" {
		err = os.MkdirAll(opt.Dir, 0o700)
		if err != nil {
			return nil, fmt.Errorf("folder of the register: %w", err)
		}
		err = s.openJournal()
		if err != nil {
			return nil, fmt.Errorf("open the register's ledger: %w", err)
		}
		// With a folder the key must exist before the first answer, not lazily.
		_, err = s.keyOnce()
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	for _, c := range opt.Clients {
		err = s.RegisterClient(c)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Close flushes and closes the ledger.
func (s *Server) Close() error {
	if s.journal == nil {
		return nil
	}
	err := s.journal.Close()
	if err != nil {
		return fmt.Errorf("close the register's ledger: %w", err)
	}
	return nil
}

// Seed is the seed in use.
func (s *Server) Seed() uint64 { return s.rand.Seed() }

// Faults is the register of injectable faults.
func (s *Server) Faults() *sim.Faults { return s.faults }

// Identity tells the addresses and audiences.
func (s *Server) Identity() Identity {
	id := Identity{
		TokenPath: TokenPath, JWKSPath: JWKSPath, CIEPath: CIEPath, ConsularPath: ConsularPath,
		AssertionAudience: assertionAudience, VoucherIssuer: tokenIssuer,
		Services: map[string]string{}, Audiences: map[string]string{},
		QueryPath: queryPath, StatusPath: "/status",
	}
	for code, name := range serviceNames {
		id.Services[code] = basePath + name + "/v1"
		id.Audiences[code] = audience(code)
	}
	return id
}

func audience(code string) string { return audienceBase + serviceNames[code] + "/v1" }

// Handler is the protocol surface: token endpoint, doors A, B and C.
func (s *Server) Handler() http.Handler {
	// No ServeMux: it would answer an unclean path with a redirect, which the
	// appliance does not.
	route := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == TokenPath:
			s.serveToken(w, r)
		case r.URL.Path == JWKSPath && r.Method == http.MethodGet:
			s.serveJWKS(w, r)
		case r.URL.Path == CIEPath:
			s.serveSOAP(w, r, doorB)
		case r.URL.Path == ConsularPath:
			s.serveSOAP(w, r, doorC)
		case strings.HasPrefix(r.URL.Path, basePath):
			s.serveDoorA(w, r)
		default:
			s.serveUnknown(w, r)
		}
	})
	return sim.Unpleasant(s.faults, s.clock, operationOf, nil, route)
}

// operationOf names the operation for the fault rules: token, jwks, CIE, CONS or
// the service code.
func operationOf(r *http.Request) string {
	switch r.URL.Path {
	case TokenPath:
		return "token"
	case JWKSPath:
		return "jwks"
	case CIEPath:
		return doorB.name
	case ConsularPath:
		return doorC.name
	}
	if code, _, ok := splitServicePath(r.URL.Path); ok {
		return code
	}
	return ""
}

// splitServicePath takes the service code and what follows /v1 from a path of
// door A; ok is false for any other path.
func splitServicePath(path string) (code, rest string, ok bool) {
	tail, ok := strings.CutPrefix(path, basePath)
	if !ok {
		return "", "", false
	}
	name, rest, ok := strings.Cut(tail, "/v1")
	if !ok || len(name) < 4 || serviceNames[name[:4]] != name {
		return "", "", false
	}
	return name[:4], rest, true
}

var uuidShape = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// uuid draws a random uuid, version 4.
func (s *Server) uuid() string {
	a, b := s.rand.Uint64(), s.rand.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffffffffffff)
}

// RegisterClient adds a client or replaces the one with the same id. It fails
// on a client or purpose id that is not a uuid, an unknown service, a purpose
// used twice, and a key that is not a public RSA key of at least 2048 bits or
// whose kid is not its thumbprint. Durable when the simulator has a folder.
func (s *Server) RegisterClient(c Client) error {
	err := c.complete()
	if err != nil {
		return fmt.Errorf("register client %q: %w", c.ID, err)
	}
	err = s.addClient(c)
	if err != nil {
		return err
	}
	return s.flush()
}

func (s *Server) addClient(c Client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, other := range s.clients {
		if id == c.ID {
			continue
		}
		for _, mine := range c.Purposes {
			for _, theirs := range other.Purposes {
				if mine == theirs {
					return fmt.Errorf("register client %q: purpose %s belongs to another client", c.ID, mine)
				}
			}
		}
	}
	err := s.append(entry{Kind: "client", Client: &c})
	if err != nil {
		return err
	}
	s.clients[c.ID] = &c
	return nil
}

func (c *Client) complete() error {
	if !uuidShape.MatchString(c.ID) {
		return errors.New("client_id is not a uuid")
	}
	if c.Organisation == "" {
		c.Organisation = c.ID[:24] + "0" + c.ID[25:]
	}
	if len(c.JWKS.Keys) == 0 {
		return errors.New("no key")
	}
	keys := make([]jose.JSONWebKey, 0, len(c.JWKS.Keys))
	for _, k := range c.JWKS.Keys {
		if !k.IsPublic() {
			return errors.New("a key has a private member: only the public half is ever published")
		}
		pub, ok := k.Key.(*rsa.PublicKey)
		if !ok || pub.N.BitLen() < 2048 {
			return errors.New("a key is not RSA of at least 2048 bits")
		}
		kid, err := thumbprint(pub)
		if err != nil {
			return err
		}
		if k.KeyID != "" && k.KeyID != kid {
			return fmt.Errorf("kid %q is not the key's thumbprint %q", k.KeyID, kid)
		}
		keys = append(keys, jose.JSONWebKey{Key: pub, KeyID: kid, Algorithm: "RS256", Use: "sig"})
	}
	c.JWKS.Keys = keys
	seen := map[string]bool{}
	for code, purpose := range c.Purposes {
		if serviceNames[code] == "" {
			return fmt.Errorf("unknown service %q", code)
		}
		if !uuidShape.MatchString(purpose) || seen[purpose] {
			return fmt.Errorf("purpose %q of %s is not a uuid of its own", purpose, code)
		}
		seen[purpose] = true
	}
	return nil
}

// RegisteredClient is a client as it is known, kids and organisation filled in.
func (s *Server) RegisteredClient(id string) (Client, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.clients[id]
	if !ok {
		return Client{}, false
	}
	return *c, true
}

// key finds a client's key by kid.
func (s *Server) key(clientID, kid string) (*rsa.PublicKey, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.clients[clientID]
	if !ok {
		return nil, false
	}
	for _, k := range c.JWKS.Keys {
		if k.KeyID == kid {
			pub, ok := k.Key.(*rsa.PublicKey)
			return pub, ok
		}
	}
	return nil, false
}

// purpose finds the service and the client of a purpose.
func (s *Server) purpose(id string) (code string, client Client, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		for code, p := range c.Purposes {
			if p == id {
				return code, *c, true
			}
		}
	}
	return "", Client{}, false
}
