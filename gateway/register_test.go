package gateway

import (
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/gateway/messages"
)

// TestEveryFindingSaysWhatToDoAndWho holds each finding of the register, and
// each reason of a cancellation from AIRE, to a text in both languages and, when
// it is in the way, to somebody who acts or to a refusal.
func TestEveryFindingSaysWhatToDoAndWho(t *testing.T) {
	t.Parallel()
	findings := []anpr.Finding{}
	for _, code := range anpr.FindingCodes() {
		findings = append(findings, anpr.Finding{Code: code})
	}
	for _, reason := range anpr.CancelReasons() {
		findings = append(findings, anpr.Finding{Code: anpr.FindingCancelled, Detail: reason})
	}
	for _, f := range findings {
		out, matters := findingFor(0, f)
		if !matters || !messages.Has(out.Code) {
			t.Errorf("%s %s: no text %q", f.Code, f.Detail, out.Code)
		}
		if out.Blocks && !mendable(out.Who) {
			t.Errorf("%s %s blocks and nobody acts (%q)", f.Code, f.Detail, out.Who)
		}
		if out.Blocks && out.Refuses {
			t.Errorf("%s %s both blocks and refuses", f.Code, f.Detail)
		}
		if out.Who != "" && !messages.Has("who."+out.Who) {
			t.Errorf("no text for who.%s", out.Who)
		}
	}
	for reason, want := range map[string]struct {
		who     string
		refuses bool
	}{
		"reason_3": {"citizen", true}, "reason_4": {"citizen", true}, "reason_5": {"consulate", false}, "reason_6": {"nobody", true},
		"reason_7": {"aire_comune", false}, "reason_8": {"aire_comune", false}, "reason_10": {"aire_comune", false},
		"": {"aire_comune", false}, "reason_99": {"aire_comune", false},
	} {
		f, _ := findingFor(0, anpr.Finding{Code: anpr.FindingCancelled, Detail: reason})
		if f.Who != want.who || f.Refuses != want.refuses || f.Blocks == f.Refuses {
			t.Errorf("%q: %+v", reason, f)
		}
	}
	for _, part := range WrongParts() {
		if !messages.Has("reported."+part) || !messages.Has("correction.part."+part) || !mendable(string(reportedTo(part))) {
			t.Errorf("reported %s: no text or nobody acts", part)
		}
	}
}

// TestEveryFailureOfTheRegisterWaitsWithAReason: only what cannot be asked at
// all is a person's to look at.
func TestEveryFailureOfTheRegisterWaitsWithAReason(t *testing.T) {
	t.Parallel()
	g := &Gateway{log: slog.New(slog.NewTextHandler(io.Discard, nil)), set: Settings{}.withDefaults(), backoff: rand.New(rand.NewPCG(1, 2))} //nolint:gosec // jitter
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		err    error
		kind   MarkKind
		code   string
		detail string
	}{
		{errors.New("anything"), MarkWaiting, "register_unavailable", ""},
		{&anpr.RegisterError{Kind: anpr.KindTemporary, Code: anpr.CodeOutage, Service: "C020", Status: 503}, MarkWaiting, "register_unavailable", "C020 register_outage 503"},
		{&anpr.RegisterError{Kind: anpr.KindTemporary, Code: anpr.CodeQuota, RetryAt: now.Add(9 * time.Hour)}, MarkWaiting, "register_quota", "register_quota"},
		{&anpr.RegisterError{Kind: anpr.KindTemporary, Code: anpr.CodeVoucherQuota}, MarkWaiting, "register_quota", ""},
		{&anpr.RegisterError{Kind: anpr.KindTemporary, Code: anpr.CodeBudget}, MarkWaiting, "register_budget", ""},
		{&anpr.RegisterError{Kind: anpr.KindConfiguration, Code: anpr.CodeVoucherRefused}, MarkWaiting, "register_agreement", ""},
		{&anpr.RegisterError{Kind: anpr.KindConfiguration, Code: anpr.CodeForbidden}, MarkWaiting, "register_agreement", ""},
		{&anpr.RegisterError{Kind: anpr.KindConfiguration, Code: anpr.CodeRequestRefused, ClockSkew: -time.Minute}, MarkWaiting, "register_configuration", "clock_skew -1m0s"},
		{&anpr.RegisterError{Kind: anpr.KindQuery, Code: anpr.CodeQuery, Detail: "name"}, MarkParked, "register_query", "name"},
	} {
		m := g.registerMark(c.err, now, 3)
		if m.Kind != c.kind || m.Code != c.code || !strings.Contains(m.Detail, c.detail) || !messages.Has(m.Code) {
			t.Errorf("%v: %+v", c.err, m)
		}
		if m.Kind == MarkWaiting && !m.Due.After(now) {
			t.Errorf("%v: due %s", c.err, m.Due)
		}
		if at := retryAt(c.err); m.Due.Before(at) {
			t.Errorf("%v: due %s, before %s", c.err, m.Due, at)
		}
	}
}
