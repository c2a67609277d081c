// Package coresim is the issuance core as the gateway sees it: it allots
// numbers (NUN) and first PIN/PUK halves, takes signed submissions, has them
// certified (CNSD) and produced (IPZS), ships the cards, and tells the gateway
// and the register (ANPR) what happened. The contract is
// gateway/issuance/core.openapi.yaml.
//
// It promises what a judge must: what it answers is on stable storage first
// (with a Dir), one acceptance per key, a number is never given twice, nothing
// is produced uncertified, and its ledger tells every acceptance.
//
// It refuses to be convenient: strict messages, mutual TLS, and in the rude and
// hostile profiles broken answers, lost, doubled and reordered pushes, each
// counted. It shares no code with the product: a mistake in both would hide.
//
// Cards in the register: the core tells ANPR of a new card (CIE8), and of the
// electronic card it takes the place of (CIE7), when production begins. From
// then on a cancellation is no longer granted, so what was told stays true. A
// defective card is annulled when the defect is found.
package coresim

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"airegw/testharness/sim"
)

// DefaultIssuer is the core's id in messages, when Options names none.
const DefaultIssuer = "issuance-core"

// Options are the arguments of New. The zero value is a polite core in memory
// that moves orders only by Advance.
type Options struct {
	Profile sim.Profile // zero: polite
	Seed    uint64      // zero: choose one
	Clock   sim.Clock   // zero: the machine's
	// MessageClock stamps iat and exp of messages. Zero: Clock, unless that is a
	// *sim.RealClock, whose Advance must not make messages come from the
	// future: then the machine's own time.
	MessageClock sim.Clock
	// Dir keeps keys, certificates and the ledger; everything answered is there
	// before it is answered. Empty: memory only and new keys.
	Dir string
	// Issuer is the core's id. Zero: DefaultIssuer.
	Issuer string
	// Gateways are known from the start; RegisterGateway adds more.
	Gateways []Gateway
	// Step is the time between two events of an order on Clock. Zero: orders
	// move only by Advance and POST /advance.
	Step time.Duration
	// Registry is the base URL of the register's simulator (door B). Empty: the
	// register is not told.
	Registry string
	// RegistryTimeout is how long the register may take to answer; 0 is 10 s.
	RegistryTimeout time.Duration
	// RegistryIdentity is what the core signs with there, as CIEOnline (sender
	// CIEONL); needed with Registry. anprsim.Server.IssueSOAP makes it.
	RegistryIdentity sim.SOAPIdentity
	// Log gets what a person would want to see. Zero: nowhere.
	Log *slog.Logger
}

// Gateway is a client of the core.
type Gateway struct {
	ID      string          `json:"id"`                 // common name of its certificate and iss of its messages
	JWKS    json.RawMessage `json:"jwks"`               // its public keys, P-256; replaced as a whole
	PushURL string          `json:"push_url,omitempty"` // https, loopback; /core/v1/events is added; empty: no pushes
	CAPEM   string          `json:"ca_pem,omitempty"`   // who signed its server certificate; empty: the core's own authority
}

// Sim is a running core.
type Sim struct {
	opts      Options
	issuer    string
	clock     sim.Clock
	wire      sim.Clock
	rand      *sim.Rand
	faults    *sim.Faults
	log       *slog.Logger
	authority *sim.Authority
	key       *ecdsa.PrivateKey
	rogue     *ecdsa.PrivateKey // signs what the fault wrong_signature touches
	kid       string
	halves    []byte // secret the first halves are derived from; no half is ever stored
	serverTLS *tls.Config
	pushPair  tls.Certificate
	journal   *sim.Journal

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	push   *pusher
	anpr   *registry

	mu     sync.Mutex
	closed bool
	state
}

// Identity is what a gateway must know to trust this core.
type Identity struct {
	Issuer string          `json:"issuer"`
	JWKS   json.RawMessage `json:"jwks"`
	CAPEM  string          `json:"ca_pem"`
}

// New makes a core, or brings back the one kept in Options.Dir.
func New(opts Options) (*Sim, error) {
	s := &Sim{opts: opts, issuer: opts.Issuer, clock: opts.Clock, wire: opts.MessageClock, log: opts.Log}
	profile, err := sim.ParseProfile(string(opts.Profile))
	if err != nil {
		return nil, err
	}
	if s.issuer == "" {
		s.issuer = DefaultIssuer
	}
	if opts.Registry != "" && opts.RegistryIdentity.SiteKey == "" {
		return nil, errors.New("core: the register takes signed messages only, and no identity is given")
	}
	if s.clock == nil {
		s.clock = sim.NewReal()
	}
	s.wire = sim.MessageClock(s.wire, s.clock)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.rand = sim.NewRand(opts.Seed)
	s.faults = sim.NewFaults(profile, s.rand, append(sim.TransportFaults(), ownFaults()...)...)
	s.state = newState()
	err = s.openKeys()
	if err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.push = newPusher(s)
	s.anpr = newRegistry(s)
	err = s.openLedger()
	if err == nil {
		for _, g := range opts.Gateways {
			err = errors.Join(err, s.RegisterGateway(g))
		}
	}
	if err != nil {
		s.cancel()
		_ = s.journal.Close()
		return nil, err
	}
	s.push.start()
	s.anpr.start()
	s.mu.Lock()
	for _, o := range s.byAge {
		s.schedule(o)
	}
	for _, e := range s.held {
		s.releaseLater(e)
	}
	s.mu.Unlock()
	return s, nil
}

func (s *Sim) openKeys() error {
	if s.opts.Dir != "" {
		err := os.MkdirAll(s.opts.Dir, 0o700)
		if err != nil {
			return fmt.Errorf("make the core's folder: %w", err)
		}
	}
	var err error
	s.authority, err = sim.OpenAuthority(s.opts.Dir, "core-ca")
	if err != nil {
		return err
	}
	s.key, err = sim.OpenKey(s.opts.Dir, "core-signing")
	if err != nil {
		return err
	}
	s.rogue, err = sim.OpenKey("", "rogue")
	if err != nil {
		return err
	}
	s.kid, err = thumbprint(&s.key.PublicKey)
	if err != nil {
		return err
	}
	s.serverTLS, err = s.authority.ServerTLS(s.issuer, s.authority.Pool())
	if err != nil {
		return err
	}
	s.pushPair, err = s.authority.TLSCertificate(s.issuer)
	if err != nil {
		return err
	}
	return s.openHalves()
}

func (s *Sim) openHalves() error {
	path := filepath.Join(s.opts.Dir, "halves.key")
	if s.opts.Dir != "" {
		secret, err := os.ReadFile(path)
		if err == nil && len(secret) == 32 {
			s.halves = secret
			return nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("read the secret of the halves: %w", err)
		}
	}
	s.halves = make([]byte, 32)
	_, _ = rand.Read(s.halves) // never fails since Go 1.24
	if s.opts.Dir == "" {
		return nil
	}
	return sim.WriteFile(path, s.halves, 0o600)
}

// Close stops timers, pushes and reports, and closes the ledger. Orders stay as
// they are.
func (s *Sim) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for _, o := range s.byAge {
		if o.timer != nil {
			o.timer.Stop()
		}
	}
	for _, e := range s.held {
		if e.timer != nil {
			e.timer.Stop()
		}
	}
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
	return s.journal.Close()
}

// Seed is the seed in use, to print and to replay.
func (s *Sim) Seed() uint64 { return s.rand.Seed() }

// Faults is the register of faults.
func (s *Sim) Faults() *sim.Faults { return s.faults }

// Clock is the core's clock.
func (s *Sim) Clock() sim.Clock { return s.clock }

// ProtocolTLS is the configuration the protocol must be served with: it asks
// every client for a certificate of IssueClient.
func (s *Sim) ProtocolTLS() *tls.Config { return s.serverTLS.Clone() }

// IssueClient makes a client certificate; name becomes the client id. The same
// certificate serves as the gateway's server certificate on loopback, for the
// pushes.
func (s *Sim) IssueClient(name string) (certPEM, keyPEM []byte, err error) {
	return s.authority.Issue(name)
}

// Identity is what a gateway must know to trust this core.
func (s *Sim) Identity() Identity {
	return Identity{Issuer: s.issuer, JWKS: publicJWKS(&s.key.PublicKey, s.kid), CAPEM: string(s.authority.CAPEM())}
}

// Running is a core that serves.
type Running struct {
	*Sim
	URL           string // protocol, https
	ManagementURL string // http
	servers       []*sim.Server
}

// Start makes a core and serves protocol and management on two loopback
// addresses, as in 127.0.0.1:0.
func Start(opts Options, protocolAddr, managementAddr string) (*Running, error) {
	s, err := New(opts)
	if err != nil {
		return nil, err
	}
	r := &Running{Sim: s}
	protocol, err := sim.Start(protocolAddr, s.Protocol(), s.ProtocolTLS())
	if err == nil {
		r.URL = protocol.URL
		r.servers = append(r.servers, protocol)
		var management *sim.Server
		management, err = sim.Start(managementAddr, s.Management(), nil)
		if err == nil {
			r.ManagementURL = management.URL
			r.servers = append(r.servers, management)
		}
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close stops serving, then the core.
func (r *Running) Close() error {
	var err error
	for _, server := range r.servers {
		err = errors.Join(err, server.Close())
	}
	return errors.Join(err, r.Sim.Close())
}

// Names of the core's own faults, beside sim.TransportFaults.
const (
	FaultWrongSignature = "wrong_signature"
	FaultWrongTyp       = "wrong_typ"
	FaultStaleAnswer    = "stale_answer"
	FaultHoldEvents     = "hold_events"
	FaultDropPush       = "drop_push"
	FaultDuplicatePush  = "duplicate_push"
	FaultReorderPush    = "reorder_push"
	FaultCNSDReject     = "cnsd_reject"
	FaultDefect         = "production_defect"
)

func ownFaults() []sim.Fault {
	return []sim.Fault{
		{Name: FaultWrongSignature, About: "the request is carried out, the answer is signed by a key that is not the core's", Rude: 0.01, Hostile: 0.03},
		{Name: FaultWrongTyp, About: "the request is carried out, the answer says it is of another type", Rude: 0.005, Hostile: 0.02},
		{Name: FaultStaleAnswer, About: "the request is carried out, the answer has expired an hour ago", Rude: 0.005, Hostile: 0.02},
		{Name: FaultHoldEvents, About: "an event and those after it of its order stay unseen; param is a duration on the core's clock (default 1m)", Hostile: 0.02},
		{Name: FaultDropPush, About: "an event is not pushed; the feed has it", Rude: 0.10, Hostile: 0.25},
		{Name: FaultDuplicatePush, About: "an event is pushed twice", Rude: 0.10, Hostile: 0.25},
		{Name: FaultReorderPush, About: "an event is pushed after the next one of its order, or never", Rude: 0.05, Hostile: 0.15},
		{Name: FaultCNSDReject, About: "certification is refused; param is the reason (default data_mismatch)"},
		{Name: FaultDefect, About: "production spoils the card and makes it again under a new number; param is the reason (default chip_failure)"},
	}
}

// Protocol is the contract's handler; serve it with ProtocolTLS.
func (s *Sim) Protocol() http.Handler { return s.protocol() }
