package login

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"airegw/gateway/federation"
	"airegw/gateway/outbound"
)

// Prompt says what the provider asks of a person it already knows.
type Prompt string

// The two prompts of the profile; there are no others.
const (
	// PromptConsent reuses the person's session at the provider, if any.
	PromptConsent Prompt = "consent"
	// PromptLogin forces authentication; the default.
	PromptLogin Prompt = "consent login"
)

// CitizensConfig of a Citizens. All but what is marked optional is required.
type CitizensConfig struct {
	// Entity is our relying party: its id, keys and algorithms.
	Entity *federation.Entity
	// RedirectURI is one of those registered.
	RedirectURI string
	// Provider gives the provider with the chain that vouches for it, or
	// *federation.Unavailable: Member.Provider, or a provider that was registered
	// by hand (the chain is nil then).
	Provider func() (*federation.Provider, *federation.Chain, error)
	// Client calls token, UserInfo and revocation endpoints.
	Client *outbound.Client
	Store  Store
	Clock  func() time.Time
	Random io.Reader    // cryptographic; safe for concurrent use
	Logger *slog.Logger // optional

	Lifetime time.Duration // optional: of an attempt; 0 = 30 minutes
	Skew     time.Duration // optional: between provider's clock and ours; 0 = 3 minutes
}

// Citizens logs citizens in. Safe for concurrent use.
type Citizens struct {
	cfg  CitizensConfig
	flow flow
}

// NewCitizens checks the configuration.
func NewCitizens(cfg CitizensConfig) (*Citizens, error) {
	if cfg.Entity == nil || cfg.RedirectURI == "" || cfg.Provider == nil || cfg.Client == nil || cfg.Store == nil || cfg.Clock == nil || cfg.Random == nil {
		return nil, refuse(CodeInternal, "config", errors.New("incomplete"))
	}
	if cfg.Lifetime <= 0 {
		cfg.Lifetime = 30 * time.Minute
	}
	if cfg.Skew <= 0 {
		cfg.Skew = 3 * time.Minute
	}
	return &Citizens{cfg: cfg, flow: flow{
		door: DoorCitizen, store: cfg.Store, clock: cfg.Clock, random: cfg.Random, logger: cfg.Logger,
		lifetime: cfg.Lifetime, skew: cfg.Skew,
	}}, nil
}

// Ready answers until when logins can begin, as things stand (the zero time: no
// end is known); an *Error of CodeNoChain with RetryAt when they cannot. It asks nobody: pages may call it
// each time. The button "Entra con CIE" is shown only while it answers without
// error (D trust_negotiation).
func (c *Citizens) Ready() (until time.Time, err error) {
	_, chain, err := c.provider()
	if err != nil || chain == nil {
		return time.Time{}, err
	}
	return chain.ExpiresAt, nil
}

// provider gives the provider, or CodeNoChain.
func (c *Citizens) provider() (*federation.Provider, *federation.Chain, error) {
	p, chain, err := c.cfg.Provider()
	if err == nil {
		return p, chain, nil
	}
	e := refuse(CodeNoChain, string(federation.CodeOf(err)), err)
	var away *federation.Unavailable
	if errors.As(err, &away) {
		e.RetryAt = away.RetryAt
	}
	return nil, nil, e
}

// Start says what a login is for.
type Start struct {
	Level    Level  // least level; see LevelFor
	Prompt   Prompt // "" = PromptLogin
	ReturnTo string // path on our own site to go to after; "" = "/"
	Lang     string // "it" or "en": the provider's pages, and ours after
	// Binding is the value of a cookie that only this browser has: at least 32
	// characters, from NewBinding. Several attempts may share it.
	Binding string
	// Person is Identity.ID of who is logged in, for a step-up: Finish refuses
	// anybody else (CodeOtherPerson). "" for a new login.
	Person string
}

// Redirect is where to send the browser.
type Redirect struct {
	URL       string
	Reference string
	State     string    // of the attempt: web names the cookie that binds it by this
	ExpiresAt time.Time // of the attempt
}

// Identity is who logged in.
type Identity struct {
	// ID is opaque and stable: of provider and subject, for scopes and audit.
	ID         string
	Reference  string // of the login: keep it in the session for Logout
	Issuer     string
	Subject    string // pairwise
	FiscalCode string // 16 characters, upper case
	GivenName  string // "" of who has none
	FamilyName string // "" of who has none
	BirthDate  string // YYYY-MM-DD
	Level      Level  // reached; may be above what was asked
	At         time.Time

	ReturnTo string // of the Start
	Lang     string
	StepUp   bool // a login on top of one: Start.Person was set
}

// NewBinding draws a value for Start.Binding: 43 alphanumerics.
func NewBinding(random io.Reader) (string, error) { return alphanumerics(random, 43) }
