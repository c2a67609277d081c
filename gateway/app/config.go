package app

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"airegw/gateway"
	"airegw/gateway/federation"
	"airegw/gateway/outbound"
	"airegw/gateway/sad"
	"airegw/gateway/store"
)

// Config is everything an installation says, in one YAML file. Unknown members
// are refused; every error names its path; the zero value of a member that is
// not marked "needed" works. Secrets are files, never values. Relative file
// names are relative to the configuration file.
type Config struct {
	// Environment is "production" (default) or "simulation". In a simulation
	// everything stays on loopback, every page carries a banner and the database
	// is marked for life.
	Environment string `yaml:"environment"`
	// Listen is the address of pages and API; default 127.0.0.1:8080. TLS ends at
	// the proxy in front.
	Listen string `yaml:"listen"`
	// BaseURL is how people reach the gateway: https, or http on loopback. Needed.
	BaseURL string `yaml:"base_url"`

	Database DatabaseConfig `yaml:"database"`
	Register RegisterConfig `yaml:"register"`
	Core     CoreConfig     `yaml:"core"`
	Rules    RulesConfig    `yaml:"rules"`
	Clients  []ClientConfig `yaml:"clients"`
	// Federation is our membership in the CIE federation, through which citizens
	// log in; without it they cannot. Its paths are relative to this file too.
	Federation *federation.Settings `yaml:"federation,omitempty"`
	// Operators are the OpenID Providers of the administrations, through which
	// operators log in.
	Operators []OperatorsConfig `yaml:"operators,omitempty"`
	// Consular is the register's consular door; without it posts ask for
	// corrections by other means.
	Consular *ConsularConfig `yaml:"consular,omitempty"`
	// SAD is the dialogue with comuni's own registries, by ISTAT code of those
	// that have it on; nobody by default.
	SAD map[string]sad.Settings `yaml:"sad,omitempty"`
	// Cards is the listener at which operators show their smart cards (SCO).
	Cards CardsConfig `yaml:"cards,omitempty"`

	Workers WorkerConfig `yaml:"workers"`
	Log     LogConfig    `yaml:"log"`

	Retention     RetentionConfig  `yaml:"retention"`
	Limits        LimitsConfig     `yaml:"limits"`
	CardReporters []ReporterConfig `yaml:"card_reporters"`
	// CardEvents is who is told of the cards that citizens report stolen or lost.
	CardEvents CardEventsConfig `yaml:"card_events,omitempty"`

	dir string // of the file
}

// DatabaseConfig names the database: a file of our own, or a PostgreSQL that
// several replicas share. One of Path and URLFile is needed.
type DatabaseConfig struct {
	Path string `yaml:"path"` // SQLite
	// URLFile holds the address of a PostgreSQL database, postgres://… or libpq's
	// keywords, on its first line. It is a file because it may hold a password.
	URLFile string `yaml:"url_file"`
	Keys    string `yaml:"keys"` // file with the column and digest keys; needed
	// Wait bounds how long a start waits for a PostgreSQL that is away (it
	// restarts, or is not yet there); default one minute. What waiting does not
	// mend (a wrong password, an unknown database) ends the start at once.
	Wait time.Duration `yaml:"wait,omitempty"`
}

// RegisterConfig is the way to ANPR: PDND for the voucher, then one e-service
// each. Base URL, audience and purpose are three values that agree in nothing.
type RegisterConfig struct {
	ClientID      string                   `yaml:"client_id"` // of PDND, a uuid; needed
	KeyFile       string                   `yaml:"key_file"`  // RS256, PEM or JWK, mode 0600; needed
	TokenURL      string                   `yaml:"token_url"` // needed
	TokenAudience string                   `yaml:"token_audience"`
	Services      map[string]ServiceConfig `yaml:"services"` // C030, C015, C020, C019, C018: those granted
	StrictOrder   bool                     `yaml:"strict_order"`
	// NextKeyFile is the second key of a rotation, registered at PDND too: the
	// client changes over by itself when one of the two is refused.
	NextKeyFile string `yaml:"next_key_file"`
	Peer        `yaml:",inline"`
}

// ServiceConfig is one granted e-service.
type ServiceConfig struct {
	BaseURL  string `yaml:"base_url"`
	Audience string `yaml:"audience"`
	Purpose  string `yaml:"purpose"`
	// PerDay is our own budget of calls a day (Europe/Rome), at most the quota
	// that was granted; 0: none. Near its end only the counter still asks.
	PerDay int `yaml:"per_day"`
	// Deadline of one call of this service, retries included; default the
	// register's.
	Deadline time.Duration `yaml:"deadline"`
}

// CoreConfig is the way to the issuance core, and the core's way back.
type CoreConfig struct {
	URL        string `yaml:"url"`         // needed
	ID         string `yaml:"id"`          // the core's id in messages; needed
	JWKSFile   string `yaml:"jwks_file"`   // the core's public keys; needed
	ClientID   string `yaml:"client_id"`   // ours, also the name in our certificate; needed
	KeyFile    string `yaml:"key_file"`    // our signing key, ES256; needed
	EventsAddr string `yaml:"events_addr"` // where the core pushes events, mutual TLS; empty: the feed alone
	Peer       `yaml:",inline"`
}

// Peer is how a peer is reached.
type Peer struct {
	CAFile   string        `yaml:"ca_file"`
	CertFile string        `yaml:"cert_file"`
	CertKey  string        `yaml:"cert_key_file"`
	Proxy    string        `yaml:"proxy"`
	Deadline time.Duration `yaml:"deadline"` // of one call, retries included; default 15 s
}

// ClientConfig is a machine that may call the API for one office.
type ClientConfig struct {
	ID       string `yaml:"id"`
	Office   string `yaml:"office"`    // see gateway.ParseOffice
	JWKSFile string `yaml:"jwks_file"` // its public keys
	Revoked  bool   `yaml:"revoked"`
}

// WorkerConfig tunes the workers; zero values are gateway.Settings' defaults.
type WorkerConfig struct {
	Lease        time.Duration `yaml:"lease"`
	Poll         time.Duration `yaml:"poll"`
	Count        int           `yaml:"count"`
	RecheckAfter time.Duration `yaml:"recheck_after"`
	RetryFirst   time.Duration `yaml:"retry_first"`
	RetryMost    time.Duration `yaml:"retry_most"`
	Realign      time.Duration `yaml:"realign"`
	FeedEvery    time.Duration `yaml:"feed_every"`
	AbandonAfter time.Duration `yaml:"abandon_after"`
}

// LogConfig says how logs look. They go to stderr.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug, info (default), warn, error
	Format string `yaml:"format"` // text (default) or json
}

// FieldError is what is wrong with one member of a configuration.
type FieldError struct {
	Path string // as in core.jwks_file
	Text string
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Text }

// ReadConfig reads and checks a configuration file. The error joins one
// *FieldError per fault, or is the parser's with line and column.
func ReadConfig(path string) (Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := ParseConfig(raw)
	if err != nil {
		return Config{}, err
	}
	c.dir = filepath.Dir(path)
	return c, c.Check()
}

// ParseConfig reads a configuration strictly; it does not check values.
func ParseConfig(raw []byte) (Config, error) {
	var c Config
	dec := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict(), yaml.DisallowUnknownField())
	err := dec.Decode(&c)
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}

// Check answers what is wrong with the values, nil when nothing is. It opens no
// connection and reads no secret.
func (c *Config) Check() error {
	var errs []error
	bad := func(path, text string) { errs = append(errs, &FieldError{path, text}) }
	if c.Environment == "" {
		c.Environment = store.Production
	}
	if c.Environment != store.Production && c.Environment != store.Simulation {
		bad("environment", `"production" or "simulation"`)
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8080"
	}
	needed := func(path, v string) {
		if v == "" {
			bad(path, "is needed")
		}
	}
	needed("base_url", c.BaseURL)
	switch {
	case c.Database.Path == "" && c.Database.URLFile == "":
		bad("database.path", "is needed, or database.url_file")
	case c.Database.Path != "" && c.Database.URLFile != "":
		bad("database.url_file", "is in place of database.path: say one of them")
	}
	needed("database.keys", c.Database.Keys)
	if c.Database.Wait < 0 {
		bad("database.wait", "is not negative")
	}
	needed("register.client_id", c.Register.ClientID)
	needed("register.key_file", c.Register.KeyFile)
	needed("register.token_audience", c.Register.TokenAudience)
	needed("core.id", c.Core.ID)
	needed("core.jwks_file", c.Core.JWKSFile)
	needed("core.client_id", c.Core.ClientID)
	needed("core.key_file", c.Core.KeyFile)
	needed("core.ca_file", c.Core.CAFile)
	needed("core.cert_file", c.Core.CertFile)
	needed("core.cert_key_file", c.Core.CertKey)
	for _, o := range c.Rules.owners() {
		needed(o.keyPath, o.key)
		needed(o.approvalPath, o.approval)
	}
	c.checkFederation(bad)
	c.checkOperators(bad)
	c.checkSecurity(bad)
	c.checkConsular(needed, bad)
	c.checkSAD(bad)
	c.checkCards(bad)
	c.checkCardEvents(bad)
	c.checkURL("base_url", c.BaseURL, bad)
	c.checkURL("register.token_url", c.Register.TokenURL, bad)
	c.checkURL("core.url", c.Core.URL, bad)
	if len(c.Register.Services) == 0 {
		bad("register.services", "at least C030 is needed")
	}
	for name, s := range c.Register.Services {
		at := "register.services." + name
		c.checkURL(at+".base_url", s.BaseURL, bad)
		needed(at+".audience", s.Audience)
		needed(at+".purpose", s.Purpose)
		if s.PerDay < 0 {
			bad(at+".per_day", "is not negative")
		}
	}
	for i, cl := range c.Clients {
		at := fmt.Sprintf("clients[%d]", i)
		needed(at+".id", cl.ID)
		needed(at+".jwks_file", cl.JWKSFile)
		if _, ok := gateway.ParseOffice(cl.Office); !ok {
			bad(at+".office", "no comune and no post answers to "+cl.Office)
		}
	}
	if c.Environment == store.Simulation {
		for path, addr := range map[string]string{"listen": c.Listen, "core.events_addr": c.Core.EventsAddr} {
			host, _, err := net.SplitHostPort(addr)
			if addr != "" && (err != nil || !outbound.Loopback(host)) {
				bad(path, "a simulation listens on loopback only")
			}
		}
	}
	switch c.Log.Level {
	case "", "debug", "info", "warn", "error":
	default:
		bad("log.level", "debug, info, warn or error")
	}
	switch c.Log.Format {
	case "", "text", "json":
	default:
		bad("log.format", "text or json")
	}
	return errors.Join(errs...)
}

// checkURL wants https, or http on loopback; a simulation stays on loopback and
// production may not talk to it (a simulator's place).
func (c *Config) checkURL(path, v string, bad func(path, text string)) {
	if v == "" {
		if path != "base_url" {
			bad(path, "is needed")
		}
		return
	}
	u, err := url.Parse(v)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		bad(path, "is no http or https address")
	case u.Scheme == "http" && !outbound.Loopback(u.Hostname()):
		bad(path, "plain http is for loopback only")
	case c.Environment == store.Simulation && !outbound.Loopback(u.Hostname()):
		bad(path, "a simulation stays on loopback")
	case c.Environment == store.Production && outbound.Loopback(u.Hostname()) && path != "base_url":
		bad(path, `a peer on loopback is a simulator: say environment: simulation`)
	case strings.HasSuffix(v, "/"):
		bad(path, "ends without a slash")
	}
}

// file answers a file name relative to the configuration file.
func (c *Config) file(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

// storeOptions answers how the database is opened.
func (c *Config) storeOptions() (store.Options, error) {
	o := store.Options{Path: c.file(c.Database.Path), Keys: c.file(c.Database.Keys), Environment: c.Environment}
	if c.Database.URLFile == "" {
		return o, nil
	}
	raw, err := ReadSecret(c.file(c.Database.URLFile))
	if err != nil {
		return o, &FieldError{"database.url_file", err.Error()}
	}
	o.URL, _, _ = strings.Cut(strings.TrimSpace(string(raw)), "\n")
	if o.URL == "" {
		return o, &FieldError{"database.url_file", "the file is empty"}
	}
	return o, nil
}

// SetDir names the folder that relative file names start from, for a
// configuration that was made and not read.
func (c *Config) SetDir(dir string) { c.dir = dir }

// YAML answers the configuration as a file.
func (c Config) YAML() ([]byte, error) {
	b, err := yaml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return b, nil
}
