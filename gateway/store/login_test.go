package store_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/login"
	"airegw/gateway/store"
	"airegw/gateway/store/pgtest"
)

func loginRecord(kind login.RecordKind, content string) login.Record {
	return login.Record{Kind: kind, At: noon, Content: json.RawMessage(content), Shared: kind == login.RecordTrustChain}
}

// registerOf stores two logins that share a chain.
func registerOf(t *testing.T, s *store.Store) {
	t.Helper()
	chain := loginRecord(login.RecordTrustChain, `["canary-chain"]`)
	for _, ref := range []string{"AAAA-1", "AAAA-2"} {
		a := login.Attempt{Reference: ref, Door: login.DoorCitizen, State: "canary-state-" + ref, CreatedAt: noon, ExpiresAt: noon.Add(time.Hour), Secrets: login.AttemptSecrets{Nonce: "canary-nonce"}}
		err := s.BeginLogin(t.Context(), a, chain, loginRecord(login.RecordAuthenticationRequest, `{"url":"canary-request"}`))
		if err != nil {
			t.Fatal(err)
		}
		err = s.CompleteLogin(t.Context(), login.Completed{
			Reference: ref, Once: []string{"jti " + ref}, OnceUntil: noon.Add(time.Minute),
			Token:   &login.HeldToken{Login: ref, Token: "canary-access", ExpiresAt: noon.Add(time.Minute)},
			Records: []login.Record{loginRecord(login.RecordTokenResponse, `{"body":"canary-tokens"}`), loginRecord(login.RecordOutcome, `{}`)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheTransactionRegisterIsWholeOrBroken(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]func(t *testing.T) store.Options{
		"SQLite":     func(t *testing.T) store.Options { return newHome(t).options(atNoon) },
		"PostgreSQL": func(t *testing.T) store.Options { return newHome(t).shared(pgtest.Database(t), atNoon) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, options(t))
			registerOf(t, s)
			e, err := s.ExportLogin(t.Context(), "AAAA-1")
			if err != nil || len(e.Records) != 4 || e.Head != e.Records[3].Digest || e.AuditID == 0 {
				t.Fatalf("%+v, %v", e, err)
			}
			if string(e.Records[0].Content) != `["canary-chain"]` || e.Records[2].Kind != login.RecordTokenResponse || string(e.Records[2].Content) != `{"body":"canary-tokens"}` {
				t.Errorf("%s", e.Records[0].Content)
			}
			_, err = s.ExportLogin(t.Context(), "ZZZZ-1")
			if gateway.KindOf(err) != gateway.NotFound {
				t.Error(err)
			}
			if all := s.Contents(t); strings.Count(all, "login_shared digest=") != 1 {
				t.Error("a shared chain is kept more than once")
			} else if strings.Contains(all, "canary") {
				t.Error("something of the register can be read without the keys")
			}
			_, err = s.Seal(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			report, err := s.VerifyAudit(t.Context())
			if err != nil || !report.OK() {
				t.Errorf("%+v %v", report, err)
			}
			for what, text := range map[string]string{
				"another kind":        `UPDATE login_records SET kind = 'outcome' WHERE reference = 'AAAA-1' AND seq = 3`,
				"another time":        `UPDATE login_records SET at = at + 1 WHERE reference = 'AAAA-1' AND seq = 2`,
				"one taken out":       `DELETE FROM login_records WHERE reference = 'AAAA-1' AND seq = 2`,
				"the last taken off":  `DELETE FROM login_records WHERE reference = 'AAAA-1' AND seq = 4`,
				"another login's row": `UPDATE login_records SET reference = 'AAAA-3' WHERE reference = 'AAAA-1'`,
				"shared content gone": `DELETE FROM login_shared`,
			} {
				h := open(t, options(t))
				registerOf(t, h)
				err = h.Write(t.Context(), text)
				if err != nil {
					t.Fatal(err)
				}
				for _, ref := range []string{"AAAA-1", "AAAA-3"} {
					_, err = h.ExportLogin(t.Context(), ref)
					if code := gateway.CodeOf(err); code != "login_register_broken" && code != "not_found" {
						t.Errorf("%s of %s: %v", what, ref, err)
					}
				}
			}
		})
	}
}

func TestWhatIsOverIsForgottenInItsTime(t *testing.T) {
	t.Parallel()
	now := noon
	s := open(t, newHome(t).options(func() time.Time { return now }))
	registerOf(t, s)
	left := func() (attempts, records, shared, tokens int64) {
		st, err := s.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Rows["login_attempts"], st.Rows["login_records"], st.Rows["login_shared"], st.Rows["login_tokens"]
	}
	for _, c := range []struct {
		at                                time.Time
		attempts, records, shared, tokens int64
	}{
		{noon, 2, 8, 1, 2},
		{noon.Add(2 * time.Minute), 2, 8, 1, 0},
		{noon.Add(26 * time.Hour), 0, 8, 1, 0},
		{noon.AddDate(0, 24, 1), 0, 8, 1, 0},
		{noon.AddDate(0, 0, 762), 0, 0, 0, 0},
	} {
		now = c.at
		_, _, err := s.Retain(t.Context(), gateway.Retention{}, now, gateway.Actor{Kind: gateway.ActorWorker, ID: "retention"})
		if err != nil {
			t.Fatal(err)
		}
		a, r, sh, tk := left()
		if a != c.attempts || r != c.records || sh != c.shared || tk != c.tokens {
			t.Errorf("at %s %d attempts, %d records, %d chains, %d tokens are left", c.at, a, r, sh, tk)
		}
	}
}
