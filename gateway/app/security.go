package app

import (
	"fmt"
	"os"
	"strings"
	"time"

	"airegw/gateway"
	"airegw/gateway/jose"
	"airegw/gateway/web"
)

// RetentionConfig says for how many days what is kept is kept; 0 means the
// default of gateway.Retention. What serves no purpose any more (ended sessions,
// acknowledged bodies, printed code halves) goes at once and has no setting.
type RetentionConfig struct {
	DossierDays int `yaml:"dossier_days"` // personal data of an ended request; default 4018
	AuditDays   int `yaml:"audit_days"`   // payloads of audit entries; default 3653
	LoginDays   int `yaml:"login_days"`   // evidence of logins; default 762, never less than 731
	ReportDays  int `yaml:"report_days"`  // reports and notices of lost and stolen cards; default 4018
}

// leastLogin is the shortest life of login evidence: 24 months, which the
// operators of the federation must keep (specs B.5).
const leastLogin = 731

func (r RetentionConfig) retention() gateway.Retention {
	days := func(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
	return gateway.Retention{
		Dossier: days(r.DossierDays), Audit: days(r.AuditDays), Login: days(r.LoginDays), Report: days(r.ReportDays),
	}
}

// LimitsConfig are the rates of this replica; 0 means the default of web.Limits.
type LimitsConfig struct {
	APIPerSecond    float64 `yaml:"api_per_second"`    // of one client, session or address
	OfficePerSecond float64 `yaml:"office_per_second"` // of all who call for one office
	PersonPerMinute float64 `yaml:"person_per_minute"` // pages of one person
	TrackPerMinute  float64 `yaml:"track_per_minute"`  // tracker codes tried from one address
	LookupPerSecond float64 `yaml:"lookup_per_second"` // registry look-ups from one address
	LoginPerMinute  float64 `yaml:"login_per_minute"`  // logins from one address
}

// limits answers the rates, those of options first.
func (l LimitsConfig) limits(o web.Limits) web.Limits {
	or := func(v *float64, d float64) {
		if *v <= 0 {
			*v = d
		}
	}
	or(&o.APIPerSecond, l.APIPerSecond)
	or(&o.OfficePerSecond, l.OfficePerSecond)
	or(&o.PersonPerMinute, l.PersonPerMinute)
	or(&o.TrackPerMinute, l.TrackPerMinute)
	or(&o.LookupPerSecond, l.LookupPerSecond)
	or(&o.LoginPerMinute, l.LoginPerMinute)
	return o
}

// ReporterConfig is an office whose signed notices of lost and stolen cards are
// taken (A12): police, Questura, another administration.
type ReporterConfig struct {
	ID       string `yaml:"id"`
	JWKSFile string `yaml:"jwks_file"` // its public keys
}

// checkSecurity checks what this file configures.
func (c *Config) checkSecurity(bad func(path, text string)) {
	for path, days := range map[string]int{
		"dossier_days": c.Retention.DossierDays, "audit_days": c.Retention.AuditDays, "login_days": c.Retention.LoginDays,
		"report_days": c.Retention.ReportDays,
	} {
		if days < 0 || days > 100*366 {
			bad("retention."+path, "a number of days, at most 36600")
		}
	}
	if c.Retention.LoginDays > 0 && c.Retention.LoginDays < leastLogin {
		bad("retention.login_days", fmt.Sprintf("evidence of logins is kept for 24 months: at least %d", leastLogin))
	}
	for path, v := range map[string]float64{
		"api_per_second": c.Limits.APIPerSecond, "office_per_second": c.Limits.OfficePerSecond, "person_per_minute": c.Limits.PersonPerMinute,
		"track_per_minute": c.Limits.TrackPerMinute, "lookup_per_second": c.Limits.LookupPerSecond, "login_per_minute": c.Limits.LoginPerMinute,
	} {
		if v < 0 {
			bad("limits."+path, "is a rate")
		}
	}
	seen := map[string]bool{}
	for i, r := range c.CardReporters {
		at := fmt.Sprintf("card_reporters[%d]", i)
		if r.ID == "" || len(r.ID) > 64 || seen[r.ID] || strings.ContainsAny(r.ID, "/ \n") {
			bad(at+".id", "is needed, once, without spaces and slashes")
		}
		seen[r.ID] = true
		if r.JWKSFile == "" {
			bad(at+".jwks_file", "is needed")
		}
	}
}

// notices answers whose notices of cards are taken.
func (c *Config) notices() (gateway.Notices, error) {
	notices := gateway.Notices{Audience: strings.TrimSuffix(c.BaseURL, "/") + "/api/v1"}
	for i, r := range c.CardReporters {
		at := fmt.Sprintf("card_reporters[%d].jwks_file", i)
		raw, err := os.ReadFile(c.file(r.JWKSFile))
		if err != nil {
			return gateway.Notices{}, &FieldError{at, err.Error()}
		}
		keys, err := jose.ParseKeySet(raw)
		if err != nil {
			return gateway.Notices{}, &FieldError{at, err.Error()}
		}
		notices.Reporters = append(notices.Reporters, gateway.Reporter{ID: r.ID, Keys: keys})
	}
	return notices, nil
}

// ReadSecret reads a small file that holds a secret, which nobody but its owner
// may read.
func ReadSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: mode %04o lets others read it, want 0600", path, info.Mode().Perm())
	}
	return os.ReadFile(path)
}
