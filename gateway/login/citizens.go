package login

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/url"
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
type Citizens struct{ cfg CitizensConfig }

// NewCitizens checks the configuration.
func NewCitizens(cfg CitizensConfig) (*Citizens, error) {
	if cfg.Entity == nil || cfg.RedirectURI == "" || cfg.Provider == nil || cfg.Client == nil || cfg.Store == nil || cfg.Clock == nil || cfg.Random == nil {
		return nil, refuse(CodeInternal, "config", errors.New("incomplete"))
	}
	return &Citizens{cfg: cfg}, nil
}

// Ready answers until when logins can begin, as things stand; an *Error of
// CodeNoChain with RetryAt when they cannot. It asks nobody: pages may call it
// each time. The button "Entra con CIE" is shown only while it answers without
// error (D trust_negotiation).
func (c *Citizens) Ready() (until time.Time, err error) {
	return time.Time{}, refuse(CodeNoChain, "", nil)
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
	GivenName  string
	FamilyName string
	BirthDate  string // YYYY-MM-DD
	Level      Level  // reached; may be above what was asked
	At         time.Time

	ReturnTo string // of the Start
	Lang     string
	StepUp   bool // a login on top of one: Start.Person was set
}

// NewBinding draws a value for Start.Binding: 43 alphanumerics.
func NewBinding(random io.Reader) (string, error) { return alphanumerics(random, 43) }

// Begin makes an attempt and answers where to send the browser. The attempt is
// durable on return. Errors: CodeNoChain, CodeStart, CodeStore, CodeInternal.
func (c *Citizens) Begin(ctx context.Context, s Start) (Redirect, error) {
	return Redirect{}, refuse(CodeNoChain, "", nil)
}

// Finish judges the provider's answer: params are the query (or form) of our
// redirect address, binding is the browser's cookie, "" when there is none. On
// return the evidence is durable, the attempt is spent, whatever came of it.
func (c *Citizens) Finish(ctx context.Context, params url.Values, binding string) (Identity, error) {
	return Identity{}, refuse(CodeAttemptUnknown, "", nil)
}

// Logout revokes the access token of a login (D logout: a relying party with
// sessions must). The wish is durable on return, also when the error says that
// the provider did not answer: Sweep tries again. End the session first.
func (c *Citizens) Logout(ctx context.Context, reference string) error { return nil }

// Sweep revokes what Logout could not; run it every minute or so.
func (c *Citizens) Sweep(ctx context.Context) error { return nil }
