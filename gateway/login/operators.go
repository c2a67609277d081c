package login

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"time"

	"airegw/gateway"
	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

// OperatorProvider is the OpenID Provider of one administration, with what it
// may say of whom.
type OperatorProvider struct {
	// Name is shown where a person chooses, and logged.
	Name     string
	Issuer   string // for discovery, byte for byte as it calls itself
	ClientID string
	// Key signs private_key_jwt assertions; zero: Secret is sent in the form.
	Key    jose.Key
	Secret string
	// Offices it may speak for, all of them; a person chooses an office and the
	// provider follows from it, never from an e-mail domain.
	Offices []gateway.Office
	// Roles it may give.
	Roles []gateway.Role
	// Claims names the ID Token's claims; empty members have defaults.
	Claims OperatorClaims
	// Scopes beside openid.
	Scopes []string
	Client *outbound.Client
}

// OperatorClaims names claims. Defaults: airegw_office, airegw_role,
// airegw_station, name.
type OperatorClaims struct{ Office, Role, Station, Name string }

// OperatorsConfig of an Operators.
type OperatorsConfig struct {
	Providers   []OperatorProvider
	RedirectURI string
	Store       Store
	Cards       Cards // optional: the operators' smart cards
	Clock       func() time.Time
	Random      io.Reader
	Logger      *slog.Logger // optional

	Lifetime time.Duration // optional: of an attempt; 0 = 15 minutes
	Skew     time.Duration // optional; 0 = 1 minute
}

// Operators logs operators in. Safe for concurrent use.
type Operators struct{ cfg OperatorsConfig }

// IdleTime is how long an operator's session may rest before it ends, OwnTime
// how long it may last: a counter is a public place.
const (
	IdleTime = 15 * time.Minute
	OwnTime  = 8 * time.Hour
)

// NewOperators checks the configuration: no two providers for one office.
func NewOperators(cfg OperatorsConfig) (*Operators, error) {
	if len(cfg.Providers) == 0 || cfg.RedirectURI == "" || cfg.Store == nil || cfg.Clock == nil || cfg.Random == nil {
		return nil, refuse(CodeInternal, "config", errors.New("incomplete"))
	}
	return &Operators{cfg: cfg}, nil
}

// Offices lists the offices somebody can log in for.
func (o *Operators) Offices() []gateway.Office { return nil }

// OperatorStart says for which office somebody logs in.
type OperatorStart struct {
	Office   gateway.Office
	ReturnTo string
	Lang     string
	Binding  string // as Start.Binding
}

// OperatorIdentity is an operator who logged in.
type OperatorIdentity struct {
	ID        string // opaque and stable: of provider and subject
	Reference string
	Name      string // for the page's head
	Office    gateway.Office
	Role      gateway.Role
	Station   string
	Provider  string // its Name
	At        time.Time

	ReturnTo string
	Lang     string
}

// Begin sends an operator to the provider of the office. Errors:
// CodeOfficeUnknown, CodeDiscovery, CodeStart, CodeStore.
func (o *Operators) Begin(ctx context.Context, s OperatorStart) (Redirect, error) {
	return Redirect{}, refuse(CodeOfficeUnknown, "", nil)
}

// Finish judges the provider's answer, as Citizens.Finish. A provider that
// speaks for an office or role it may not is refused and audited.
func (o *Operators) Finish(ctx context.Context, params url.Values, binding string) (OperatorIdentity, error) {
	return OperatorIdentity{}, refuse(CodeAttemptUnknown, "", nil)
}

// StepUp holds a client certificate against the cards: it must be active, in its
// time and this operator's own. chain is the verified chain of the TLS handshake
// (tls.ConnectionState.VerifiedChains[0]), nil when no certificate came. The
// outcome is audited either way.
func (o *Operators) StepUp(ctx context.Context, who gateway.Actor, chain []*x509.Certificate) (Card, error) {
	return Card{}, refuse(CodeCardMissing, "", nil)
}
