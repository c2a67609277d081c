package gateway

import (
	"context"
	"strconv"
	"time"
)

// Retention says how long what is kept for a reason is kept (specs B.5; the
// figures are its proposals, to be set by each installation's impact
// assessment). The zero value of each means its default. What serves no
// purpose any more has no setting: sessions and token ids go when they expire,
// bodies to the core once the core has acknowledged them, first halves with
// their forms.
type Retention struct {
	// Dossier is how long the personal data of an ended request are kept after
	// its last event; default 11 years: the card's validity and a year to archive.
	Dossier time.Duration
	// Audit is how long the payloads of audit entries are kept; default 10 years.
	// The entries themselves, which name nobody, stay in the chain.
	Audit time.Duration
	// Login is how long the evidence of a login is kept; default 24 months (D
	// log_management) and one.
	Login time.Duration
	// Report is how long a report of a lost or stolen card is kept; default 11
	// years, as the dossier.
	Report time.Duration
}

const day = 24 * time.Hour

// WithDefaults answers the same with every figure set.
func (r Retention) WithDefaults() Retention {
	for _, f := range []struct {
		at   *time.Duration
		days time.Duration
	}{{&r.Dossier, 4018}, {&r.Audit, 3653}, {&r.Login, 762}, {&r.Report, 4018}} {
		if *f.at <= 0 {
			*f.at = f.days * day
		}
	}
	return r
}

// Erased is the proof that something was erased: kept for good, and in the audit
// trail. Digest is SHA-256 over the names of the rows and what was known of
// their contents by digest, in the order of the names.
type Erased struct {
	Class   string    `json:"class"`
	At      time.Time `json:"at"`
	Cutoff  time.Time `json:"cutoff"` // what had ended by then was erased
	Entries int       `json:"entries"`
	Digest  string    `json:"digest"`
}

// RetentionStore is the part of a Store that forgets.
type RetentionStore interface {
	// Retain erases what is older than r allows, a bounded part of each class,
	// each with its proof and audit entry in one commit. more says that something
	// is left.
	Retain(ctx context.Context, r Retention, now time.Time, actor Actor) (done []Erased, more bool, err error)
	// Rotate encrypts a bounded number of columns anew that were encrypted with
	// another key than the newest, whose id it answers. moved is 0 when none is
	// left.
	Rotate(ctx context.Context) (moved int, key string, err error)
}

// forgetEvery is how often retention and key rotation look whether something is
// due.
const forgetEvery = time.Hour

// forget does a bounded part of what retention and a new key demand. again says
// that more is due at once.
func (g *Gateway) forget(ctx context.Context) (again bool, err error) {
	now := g.clock.Now()
	g.mu.Lock()
	due := !now.Before(g.forgetAt)
	g.mu.Unlock()
	if !due {
		return false, nil
	}
	actor := systemScope("retention").actor
	erased, more, err := g.store.Retain(ctx, g.set.Retention, now, actor)
	if err != nil {
		return false, wrap("erase what is no longer kept", err)
	}
	for _, e := range erased {
		g.log.Info("erased", "class", e.Class, "entries", e.Entries, "cutoff", e.Cutoff, "digest", e.Digest)
	}
	moved, key, err := g.store.Rotate(ctx)
	if err != nil {
		return false, wrap("encrypt with the newest key", err)
	}
	if moved > 0 {
		err = g.store.Audit(ctx, AuditEntry{
			At: now, Actor: actor, Act: "keys_rotated", Subject: key, Payload: map[string]string{"columns": strconv.Itoa(moved)},
		})
		if err != nil {
			return false, wrap("record key rotation", err)
		}
	}
	if more || moved > 0 {
		return true, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetAt = now.Add(forgetEvery)
	return false, nil
}
