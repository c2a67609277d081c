package login

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"airegw/gateway"
	"airegw/gateway/fault"
)

// flow is what the two doors have in common: an attempt begins, its answer is
// judged, an end is recorded.
type flow struct {
	door     Door
	store    Store
	clock    func() time.Time
	random   io.Reader
	logger   *slog.Logger
	lifetime time.Duration
	skew     time.Duration
}

// Lengths of what is drawn. State and nonce have at least 32 alphanumerics (D
// authorization_endpoint); RFC 7636 wants 43 to 128 characters of a verifier.
const (
	stateLength    = 43
	verifierLength = 64
	minBinding     = 32
	maxReturn      = 2048
)

// checkStart judges what a page asks for and answers where to return to.
func checkStart(binding, returnTo, lang string) (string, error) {
	if len(binding) < minBinding || len(binding) > 256 {
		return "", refuse(CodeStart, "binding", nil)
	}
	if returnTo == "" {
		returnTo = "/"
	}
	// A path of ours: never another host, in any spelling a browser knows.
	if returnTo[0] != '/' || strings.HasPrefix(returnTo, "//") || len(returnTo) > maxReturn || strings.ContainsFunc(returnTo, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f }) {
		return "", refuse(CodeStart, "return_to", nil)
	}
	if lang != "" && lang != "it" && lang != "en" {
		return "", refuse(CodeStart, "lang", nil)
	}
	return returnTo, nil
}

// attempt draws a new one.
func (f *flow) attempt(s AttemptSecrets, binding string) (Attempt, error) {
	now := f.clock().UTC()
	a := Attempt{Door: f.door, CreatedAt: now, ExpiresAt: now.Add(f.lifetime), Secrets: s}
	a.Secrets.Binding = digestOf(binding)
	var errs [4]error
	a.Reference, errs[0] = reference(f.random)
	a.State, errs[1] = alphanumerics(f.random, stateLength)
	a.Secrets.Nonce, errs[2] = alphanumerics(f.random, stateLength)
	a.Secrets.Verifier, errs[3] = alphanumerics(f.random, verifierLength)
	if err := errors.Join(errs[:]...); err != nil {
		return Attempt{}, refuse(CodeInternal, "random", err)
	}
	return a, nil
}

func (f *flow) begin(ctx context.Context, a Attempt, t *trail) error {
	if err := f.store.BeginLogin(ctx, a, t.records...); err != nil {
		return refuse(CodeStore, "", err)
	}
	f.log(ctx, slog.LevelInfo, "login begun", "door", string(f.door), "reference", a.Reference, "level", int(a.Secrets.Level))
	return nil
}

// take finds the attempt an answer belongs to and spends it. The attempt in
// hand, if any, comes back beside the error, for the page.
func (f *flow) take(ctx context.Context, params url.Values, binding string) (Attempt, error) {
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(params[name]) > 1 && !fault.Mutant("login.response-repeated") {
			return Attempt{}, refuse(CodeResponse, name, nil)
		}
	}
	state := params.Get("state")
	if state == "" {
		return Attempt{}, refuse(CodeResponseState, "state", nil)
	}
	if len(state) > 256 {
		return Attempt{}, refuse(CodeResponse, "state", nil)
	}
	now := f.clock()
	a, err := f.store.TakeLogin(ctx, f.door, state, now)
	switch {
	case gateway.CodeOf(err) == "login_attempt_unknown":
		return Attempt{}, refuse(CodeAttemptUnknown, "", nil)
	case gateway.CodeOf(err) == "login_attempt_used":
		return a, refuse(CodeAttemptUsed, "", nil)
	case err != nil:
		return Attempt{}, refuse(CodeStore, "", err)
	}
	// The cookie first: whatever the answer says, it is for the browser that
	// began (login CSRF).
	if subtle.ConstantTimeCompare([]byte(digestOf(binding)), []byte(a.Secrets.Binding)) != 1 && !fault.Mutant("login.binding") {
		// Nothing of the attempt is for this browser's page.
		return Attempt{Reference: a.Reference, Secrets: AttemptSecrets{Issuer: a.Secrets.Issuer}}, refuse(CodeBinding, "", nil)
	}
	if !now.Before(a.ExpiresAt) && !fault.Mutant("login.attempt-expiry") {
		return a, refuse(CodeAttemptExpired, "", nil)
	}
	return a, nil
}

// code judges the answer's parameters (D authorization_endpoint, RFC 9207) and
// gives the authorization code. issuerRequired: a missing iss is an error.
func (f *flow) code(a Attempt, params url.Values, issuerRequired bool) (string, error) {
	iss, code, failure := params.Get("iss"), params.Get("code"), params.Get("error")
	if iss != a.Secrets.Issuer && !fault.Mutant("login.response-issuer") {
		// Some providers leave iss out of an error; nothing hangs on it then.
		if iss != "" {
			return "", refuse(CodeResponseIssuer, "iss", errDiffers)
		}
		if issuerRequired && failure == "" {
			return "", refuse(CodeResponseIssuer, "iss", errMissing)
		}
	}
	if code != "" && failure != "" && !fault.Mutant("login.code-and-error") {
		return "", refuse(CodeResponse, "code and error", nil)
	}
	if failure != "" && code == "" {
		return "", providerError(failure)
	}
	if code == "" || len(code) > 4096 {
		return "", refuse(CodeResponse, "code", nil)
	}
	return code, nil
}

// Why a value is refused, for the log.
var (
	errMissing = errors.New("missing")
	errDiffers = errors.New("not ours")
)

// absent tells a missing value from a wrong one.
func absent(value string) error {
	if value == "" {
		return errMissing
	}
	return errDiffers
}

// providerError is what the provider's answer means. Unknown codes are a generic
// failure, among them the reference provider's rejected_by_user; access_denied
// stands for a refusal and for wrong credentials alike (D errors).
func providerError(code string) *Error {
	field := printable(code)
	switch code {
	case "access_denied", "consent_required":
		return refuse(CodeCancelled, field, nil)
	case "login_required", "interaction_required", "account_selection_required":
		return refuse(CodeInteraction, field, nil)
	case "unmet_authentication_requirements":
		return refuse(CodeLevel, field, nil)
	case "server_error", "temporarily_unavailable", "temporary_unavailable":
		return refuse(CodeProviderBusy, field, nil)
	case "unauthorized_client", "invalid_client", "invalid_request", "invalid_scope", "unsupported_response_type",
		"request_uri_not_supported", "request_not_supported", "registration_not_supported", "invalid_request_object", "invalid_request_uri",
		"invalid_trust_chain", "invalid_metadata":
		return refuse(CodeProviderRefused, field, nil)
	}
	return refuse(CodeProviderUnknown, field, nil)
}

// printable is a foreign word fit for a log.
func printable(word string) string {
	if len(word) > 64 || strings.ContainsFunc(word, func(r rune) bool { return r < '!' || r > '~' }) {
		return "unprintable"
	}
	return word
}

// outcome is the last record of a login.
type outcome struct {
	Code  Code   `json:"code,omitempty"`
	Field string `json:"field,omitempty"`
	Who   string `json:"who,omitempty"`
	Level Level  `json:"level,omitempty"`
}

// failed completes an error with what the page needs, records and logs it. The
// error of an evidence that could not be kept joins the cause. What belongs to no
// attempt, or to one that was over before, is logged only: strangers must not be
// able to fill the register.
func (f *flow) failed(ctx context.Context, a Attempt, t *trail, err error, actor gateway.Actor) error {
	var e *Error
	if !errors.As(err, &e) {
		e = refuse(CodeInternal, "", err)
	}
	told := *e
	told.Reference, told.ReturnTo, told.Level, told.Lang = a.Reference, a.Secrets.ReturnTo, a.Secrets.Level, a.Secrets.Lang
	if told.Reference == "" {
		ref, drawn := reference(f.random)
		told.Reference, told.Err = ref, join(told.Err, drawn)
	}
	if told.Code != CodeStore && a.Secrets.Issuer != "" {
		t.add(RecordOutcome, outcome{Code: told.Code, Field: told.Field})
		kept := f.store.RecordLogin(context.WithoutCancel(ctx), told.Reference, t.records, gateway.AuditEntry{
			At: f.clock().UTC(), Actor: actor, Act: "login_failed", Subject: told.Reference,
			Payload: map[string]string{"door": string(f.door), "code": string(told.Code), "class": string(told.Class)},
		})
		told.Err = join(told.Err, kept)
	}
	f.log(ctx, slog.LevelWarn, "login failed", "door", string(f.door), "reference", told.Reference,
		"code", string(told.Code), "class", string(told.Class), "field", told.Field, "err", told.Err)
	return &told
}

// join keeps a single error as it is.
func join(a, b error) error {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	return errors.Join(a, b)
}

func (f *flow) log(ctx context.Context, level slog.Level, text string, args ...any) {
	if f.logger != nil {
		f.logger.Log(ctx, level, text, args...)
	}
}

// complete stores a login that held; a token seen before is a replay.
func (f *flow) complete(ctx context.Context, c Completed) error {
	err := f.store.CompleteLogin(ctx, c)
	switch {
	case gateway.CodeOf(err) == "jti_used":
		return refuse(CodeIDTokenReplay, "jti", nil)
	case err != nil:
		return refuse(CodeStore, "", err)
	}
	return nil
}

// opaque is the stable id of a provider's subject that scopes and audit use.
func opaque(prefix, issuer, subject string) string {
	return prefix + digestOf(issuer + "\n" + subject)[:27]
}
