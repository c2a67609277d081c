package testharness

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"airegw/testharness/anprsim"
	"airegw/testharness/coresim"
	"airegw/testharness/opsim"
	"airegw/testharness/sim"
)

// SimOptions says how the simulated outside behaves.
type SimOptions struct {
	Dir     string // keys and ledgers survive in it; empty keeps nothing
	Profile sim.Profile
	Seed    uint64
	Clock   sim.Clock     // nil: the machine's
	Step    time.Duration // between two events of an order at the core; 0: only on demand
	Log     *slog.Logger
	// VoucherKey signs PDND's vouchers; nil: the one in Dir, or a new one. Tests
	// that make many worlds share one, since RSA keys are slow to make.
	VoucherKey *rsa.PrivateKey
	// RegistryTimeout is how long the core waits for the register's answer to a
	// card's notice before it tells it again; 0: as the core does.
	RegistryTimeout time.Duration
	// People are added to the register's synthetic population.
	People []sim.Person
	// Login starts the Trust Anchor and the identity providers too.
	Login bool
	// LoginKeys are their RSA keys; nil: those in Dir, or new ones.
	LoginKeys *opsim.Keys
}

// Sims is the simulated outside of the gateway: the register, the core and, on
// demand, the identity providers, each with protocol and management addresses on
// loopback.
type Sims struct {
	ANPR *anprsim.Server
	Core *coresim.Running
	OP   *opsim.Running // nil without SimOptions.Login
	Connection

	servers []*sim.Server
}

// Connection is what a gateway in another process must know of the simulators.
// It holds a private key of the simulated authority: simulation only.
type Connection struct {
	ANPRURL        string           `json:"anpr_url"`
	ANPRManagement string           `json:"anpr_management"`
	ANPRIdentity   anprsim.Identity `json:"anpr"`
	CoreURL        string           `json:"core_url"`
	CoreManagement string           `json:"core_management"`
	CoreIdentity   coresim.Identity `json:"core"`
	// The Trust Anchor and the identity providers; nil when they do not run.
	OPManagement string          `json:"op_management,omitempty"`
	OPIdentity   *opsim.Identity `json:"op,omitempty"`
	PID          int             `json:"pid"`
}

// StartSims starts the simulators on free loopback ports.
func StartSims(o SimOptions) (_ *Sims, err error) {
	s := &Sims{}
	if o.Clock == nil {
		// One clock for both: a card issued tomorrow would be refused.
		o.Clock = sim.NewReal()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	dir := func(name string) string {
		if o.Dir == "" {
			return ""
		}
		return filepath.Join(o.Dir, name)
	}
	if o.Dir != "" {
		for _, name := range []string{"anpr", "core"} {
			err = os.MkdirAll(dir(name), 0o700)
			if err != nil {
				return nil, fmt.Errorf("folder of the simulators: %w", err)
			}
		}
	}
	s.ANPR, err = anprsim.New(anprsim.Options{Profile: o.Profile, Seed: o.Seed, Clock: o.Clock, Dir: dir("anpr"), Logger: o.Log, Key: o.VoucherKey, People: append(append(sim.People(), anprsim.OfficialSubjects()...), o.People...)})
	if err != nil {
		return nil, fmt.Errorf("register simulator: %w", err)
	}
	protocol, err := sim.Start("127.0.0.1:0", s.ANPR.Handler(), nil)
	if err != nil {
		return nil, fmt.Errorf("register simulator: %w", err)
	}
	s.servers = append(s.servers, protocol)
	management, err := sim.Start("127.0.0.1:0", s.ANPR.Management(), nil)
	if err != nil {
		return nil, fmt.Errorf("register simulator: %w", err)
	}
	s.servers = append(s.servers, management)
	cieonline, err := s.ANPR.IssueSOAP("CIEONL", "CIEONLINE", o.VoucherKey)
	if err != nil {
		return nil, fmt.Errorf("core's identity at the register: %w", err)
	}
	s.Core, err = coresim.Start(coresim.Options{
		Profile: o.Profile, Seed: o.Seed, Clock: o.Clock, Dir: dir("core"), Step: o.Step, Registry: protocol.URL, RegistryTimeout: o.RegistryTimeout, RegistryIdentity: cieonline, Log: o.Log,
	}, "127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("core simulator: %w", err)
	}
	s.Connection = Connection{
		ANPRURL: protocol.URL, ANPRManagement: management.URL, ANPRIdentity: s.ANPR.Identity(),
		CoreURL: s.Core.URL, CoreManagement: s.Core.ManagementURL, CoreIdentity: s.Core.Identity(), PID: os.Getpid(),
	}
	if !o.Login {
		return s, nil
	}
	s.OP, err = opsim.Start(opsim.Options{Profile: o.Profile, Seed: o.Seed, Clock: o.Clock, Dir: dir("op"), Keys: o.LoginKeys, Logger: o.Log}, opsim.Listen{})
	if err != nil {
		return nil, err
	}
	identity := s.OP.Identity()
	s.OPManagement, s.OPIdentity = s.OP.ManagementURL, &identity
	return s, nil
}

// Close stops the simulators; what they answered is in their folder.
func (s *Sims) Close() error {
	var errs []error
	if s.Core != nil {
		errs = append(errs, s.Core.Close())
	}
	for _, server := range s.servers {
		errs = append(errs, server.Close())
	}
	if s.ANPR != nil {
		errs = append(errs, s.ANPR.Close())
	}
	if s.OP != nil {
		errs = append(errs, s.OP.Close())
	}
	return errors.Join(errs...)
}

// Save writes the connection where another process can read it.
func (c Connection) Save(path string) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("connection of the simulators: %w", err)
	}
	return sim.WriteFile(path, append(b, '\n'), 0o600)
}

// ReadConnection reads what Save wrote.
func ReadConnection(path string) (Connection, error) {
	var c Connection
	b, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("connection of the simulators: %w", err)
	}
	err = json.Unmarshal(b, &c)
	if err != nil {
		return c, fmt.Errorf("connection of the simulators: %s: %w", path, err)
	}
	return c, nil
}

// CoreLedger asks the core for its testimony.
func (c Connection) CoreLedger(ctx context.Context) (CoreLedger, error) {
	var l CoreLedger
	err := c.get(ctx, c.CoreManagement+"/ledger", &l)
	return l, err
}

// CoreLedger is the part of the core's ledger that judges a gateway.
type CoreLedger struct {
	Orders []struct {
		OrderKey    string `json:"order_key"`
		RequestID   string `json:"request_id"`
		NUN         string `json:"nun"`
		State       string `json:"state"`
		Live        bool   `json:"live"`
		Acceptances int    `json:"acceptances"`
	} `json:"orders"`
	Acceptances map[string]int      `json:"acceptances"`
	Live        map[string][]string `json:"live"`
	Violations  []string            `json:"violations"`
	Registry    []struct {
		Operation string `json:"operation"`
		OrderKey  string `json:"order_key"`
		State     string `json:"state"`
		Code      string `json:"code"`
	} `json:"registry"`
}

// PlanParcel tells the core what will happen to the next order of a person.
func (c Connection) PlanParcel(ctx context.Context, fiscalCode string, steps ...string) error {
	return c.post(ctx, c.CoreManagement+"/plans", map[string]any{"fiscal_code": fiscalCode, "steps": steps, "uses": 1}, nil)
}

// ChangePerson merges members into a person's record in the register.
func (c Connection) ChangePerson(ctx context.Context, fiscalCode string, members map[string]any) error {
	return c.post(ctx, c.ANPRManagement+"/people/"+fiscalCode, members, nil)
}

// RegisterRelyingParty onboards an entity at the simulated Trust Anchor: it must
// be serving its Entity Configuration.
func (c Connection) RegisterRelyingParty(ctx context.Context, id string) error {
	return c.post(ctx, c.OPManagement+"/relying-parties", map[string]string{"id": id}, nil)
}

// RegisterOperatorsClient tells the operators' providers of a client.
func (c Connection) RegisterOperatorsClient(ctx context.Context, client opsim.OperatorClient) error {
	return c.post(ctx, c.OPManagement+"/operators/clients", client, nil)
}

// AutoLogin lets people log in without pages; none: all who reach the level.
func (c Connection) AutoLogin(ctx context.Context, people ...string) error {
	return c.post(ctx, c.OPManagement+"/auto", opsim.Auto{People: people}, nil)
}

func (c Connection) get(ctx context.Context, url string, out any) error {
	return manage(ctx, http.MethodGet, url, nil, out)
}

func (c Connection) post(ctx context.Context, url string, in, out any) error {
	return manage(ctx, http.MethodPost, url, in, out)
}

// manageMost bounds an answer of a simulator's management: the ledger of a soak's
// two hundred thousand orders has a hundred MiB.
const manageMost = 1 << 30

// manage calls a management address of a simulator.
func manage(ctx context.Context, method, url string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("manage %s: %w", url, err)
		}
		body = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return fmt.Errorf("manage %s: %w", url, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("manage: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	b, err := io.ReadAll(io.LimitReader(resp.Body, manageMost+1))
	if err != nil {
		return fmt.Errorf("manage %s: %w", url, err)
	}
	if len(b) > manageMost {
		return fmt.Errorf("manage %s: the answer is longer than %d bytes", url, manageMost)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("manage %s: %s: %.200s", url, resp.Status, b)
	}
	if out == nil {
		return nil
	}
	err = json.Unmarshal(b, out)
	if err != nil {
		return fmt.Errorf("manage %s: %w", url, err)
	}
	return nil
}
