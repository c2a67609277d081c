package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"airegw/gateway"
)

// class is one kind of rows that are erased when their time is over. due names
// up to $2 rows whose time was over at $1 (micros), digest what is known of
// their content; erase does one of them. With a due that already erases and
// answers what it erased, erase is nil.
type class struct {
	name string
	keep func(gateway.Retention) time.Duration
	due  string
	// left counts what is due at $1, for the proof.
	left  string
	most  int
	erase func(t *tx, name string, now int64) error
}

func atOnce(gateway.Retention) time.Duration { return 0 }

// tokenIDKept is how long the id of an expired token is kept: a clock that was
// ahead and is set back makes the token good again, and its id must be known.
const tokenIDKept = 24 * time.Hour

var ended = stateList(endedStates())

// endedStates are the states nothing can follow.
func endedStates() []gateway.State {
	return slices.DeleteFunc(gateway.States(), func(s gateway.State) bool { return !s.Final() })
}

// classes are the kinds of rows, in the order in which they are erased.
var classes = []class{
	{
		name: "sessions", keep: atOnce, most: 1000,
		due: `DELETE FROM sessions WHERE token_digest IN (
	SELECT token_digest FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) RETURNING token_digest, ''`,
		left: `SELECT COUNT(*) FROM sessions WHERE expires_at <= $1`,
	},
	{
		name: "token_ids", keep: func(gateway.Retention) time.Duration { return tokenIDKept }, most: 1000,
		due: `DELETE FROM used_jti WHERE jti_digest IN (
	SELECT jti_digest FROM used_jti WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) RETURNING jti_digest, ''`,
		left: `SELECT COUNT(*) FROM used_jti WHERE expires_at <= $1`,
	},
	{
		name: "session_list", keep: atOnce, most: 1000,
		due:  `DELETE FROM session_list WHERE id IN (SELECT id FROM session_list WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) RETURNING id, ''`,
		left: `SELECT COUNT(*) FROM session_list WHERE expires_at <= $1`,
	},
	{
		name: "core_bodies", keep: atOnce, most: 500, // acknowledged by the core (B.5)
		due: `UPDATE outbox SET private = NULL, key_id = '' WHERE id IN (
	SELECT id FROM outbox WHERE status = 'settled' AND private IS NOT NULL AND settled_at <= $1 LIMIT $2) RETURNING kind || '/' || act_key, ''`,
		left: `SELECT COUNT(*) FROM outbox WHERE status = 'settled' AND private IS NOT NULL AND settled_at <= $1`,
	},
	{
		name: "dossiers", keep: func(r gateway.Retention) time.Duration { return r.Dossier }, most: 50,
		due: `SELECT id, applicant_digest FROM requests WHERE erased_at = 0 AND state IN (` + ended + `) AND updated_at <= $1
ORDER BY updated_at, id LIMIT $2`,
		left:  `SELECT COUNT(*) FROM requests WHERE erased_at = 0 AND state IN (` + ended + `) AND updated_at <= $1`,
		erase: eraseDossier,
	},
	{
		name: "audit_payloads", keep: func(r gateway.Retention) time.Duration { return r.Audit }, most: 1000,
		due: `UPDATE audit_payloads SET salt = '', payload = '', erased_at = ` + nowMark + ` WHERE entry_id IN (
	SELECT p.entry_id FROM audit_payloads p JOIN audit_entries a ON a.id = p.entry_id
	WHERE p.erased_at = 0 AND a.at <= $1 ORDER BY p.entry_id LIMIT $2) RETURNING entry_id, ''`,
		left: `SELECT COUNT(*) FROM audit_payloads p JOIN audit_entries a ON a.id = p.entry_id WHERE p.erased_at = 0 AND a.at <= $1`,
	},
	{
		name: "login_attempts", keep: func(gateway.Retention) time.Duration { return attemptKept }, most: 1000,
		due: `DELETE FROM login_attempts WHERE state_digest IN (
	SELECT state_digest FROM login_attempts WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) RETURNING reference, ''`,
		left: `SELECT COUNT(*) FROM login_attempts WHERE expires_at <= $1`,
	},
	{
		name: "login_tokens", keep: atOnce, most: 1000,
		due: `DELETE FROM login_tokens WHERE reference IN (
	SELECT reference FROM login_tokens WHERE expires_at <= $1 LIMIT $2) RETURNING reference, ''`,
		left: `SELECT COUNT(*) FROM login_tokens WHERE expires_at <= $1`,
	},
	{
		name: "login_records", keep: func(r gateway.Retention) time.Duration { return r.Login }, most: 1000,
		due: `DELETE FROM login_records WHERE (reference, seq) IN (
	SELECT reference, seq FROM login_records WHERE at <= $1 ORDER BY at LIMIT $2) RETURNING reference || '/' || CAST(seq AS TEXT), digest`,
		left: `SELECT COUNT(*) FROM login_records WHERE at <= $1`,
	},
	{
		name: "login_shared", keep: func(r gateway.Retention) time.Duration { return r.Login }, most: 1000,
		due: `DELETE FROM login_shared WHERE digest IN (
	SELECT s.digest FROM login_shared s WHERE s.first_at <= $1
	AND NOT EXISTS (SELECT 1 FROM login_records r WHERE r.shared_digest = s.digest) LIMIT $2) RETURNING digest, ''`,
		left: `SELECT COUNT(*) FROM login_shared s WHERE s.first_at <= $1 AND NOT EXISTS (SELECT 1 FROM login_records r WHERE r.shared_digest = s.digest)`,
	},
	{
		name: "card_reports", keep: func(r gateway.Retention) time.Duration { return r.Report }, most: 500,
		due:  `DELETE FROM card_reports WHERE id IN (SELECT id FROM card_reports WHERE at <= $1 ORDER BY at LIMIT $2) RETURNING id, body_digest`,
		left: `SELECT COUNT(*) FROM card_reports WHERE at <= $1`,
	},
	{
		name: "card_notices", keep: func(r gateway.Retention) time.Duration { return r.Report }, most: 500,
		due: `DELETE FROM card_notices WHERE card_digest || source || notice_id IN (
	SELECT card_digest || source || notice_id FROM card_notices WHERE received_at <= $1 LIMIT $2)
RETURNING source || '/' || notice_id, card_digest`,
		left: `SELECT COUNT(*) FROM card_notices WHERE received_at <= $1`,
	},
}

// nowMark stands for the moment of erasing where a statement sets it.
const nowMark = "$3"

// eraseDossier takes everything personal out of an ended request: what its
// events hold encrypted, who may find it, the carrier's tracking codes. What
// happened, when and by whom stays, and with it the audit chain.
func eraseDossier(t *tx, id string, now int64) error {
	nobody := sha256.Sum256([]byte("airegw erased " + id)) // the digest of no code
	for _, s := range []struct {
		text string
		args []any
	}{
		{`UPDATE events SET private = NULL, key_id = '', erased_at = $2 WHERE request_id = $1 AND private IS NOT NULL`, []any{id, now}},
		{`UPDATE outbox SET private = NULL, key_id = '' WHERE request_id = $1 AND private IS NOT NULL`, []any{id}},
		{`UPDATE registry_dialogues SET private = NULL, key_id = '' WHERE request_id = $1 AND private IS NOT NULL`, []any{id}},
		{`UPDATE corrections SET private = NULL, key_id = '' WHERE request_id = $1 AND private IS NOT NULL`, []any{id}},
		{`UPDATE clearances SET private = NULL, key_id = '' WHERE request_id = $1 AND private IS NOT NULL`, []any{id}},
		{`UPDATE core_events SET details = '' WHERE request_id = $1 AND details <> ''`, []any{id}},
		{`DELETE FROM request_persons WHERE request_id = $1`, []any{id}},
		{
			`UPDATE requests SET applicant_digest = $2, surname_digest = '', tracker_digest = '', mark_detail = '', erased_at = $3 WHERE id = $1`,
			[]any{id, hex.EncodeToString(nobody[:digestSize]), now},
		},
	} {
		_, err := t.exec(s.text, s.args...)
		if err != nil {
			return err
		}
	}
	return nil
}

// Retain implements gateway.RetentionStore.
func (s *Store) Retain(ctx context.Context, r gateway.Retention, now time.Time, actor gateway.Actor) ([]gateway.Erased, bool, error) {
	if s.role == RoleWeb {
		return nil, false, nil
	}
	r = r.WithDefaults()
	var done []gateway.Erased
	more := false
	for _, c := range classes {
		e, err := s.retain(ctx, c, now.Add(-c.keep(r)), now, actor)
		if err != nil {
			return done, false, err
		}
		if e.Entries > 0 {
			done = append(done, e)
		}
		more = more || e.Entries == c.most
	}
	return done, more, nil
}

func (s *Store) retain(ctx context.Context, c class, cutoff, now time.Time, actor gateway.Actor) (gateway.Erased, error) {
	e := gateway.Erased{Class: c.name, At: now, Cutoff: cutoff}
	// Most times there is nothing, which costs no commit.
	var n int
	_, err := s.get(ctx, c.left, []any{micros(cutoff)}, &n)
	if err != nil {
		return e, translate("look for "+c.name, err)
	}
	if n == 0 {
		return e, nil
	}
	err = s.write(ctx, func(t *tx) error {
		e.Entries, e.Digest = 0, ""
		err := t.auditing()
		if err != nil {
			return err
		}
		args := []any{micros(cutoff), c.most}
		if strings.Contains(c.due, nowMark) {
			args = append(args, micros(now))
		}
		rows, err := t.returning(c.due+lockedBy(t, c), args...)
		if err != nil {
			return err
		}
		names, err := named2(rows)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return nil // another replica was quicker
		}
		if c.erase != nil {
			for _, n := range names {
				err = c.erase(t, n[0], micros(now))
				if err != nil {
					return err
				}
			}
		}
		slices.SortFunc(names, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
		sum := sha256.New()
		for _, n := range names {
			sum.Write(binding(c.name, n[0], n[1]))
		}
		e.Entries, e.Digest = len(names), hex.EncodeToString(sum.Sum(nil))
		_, err = t.exec(`INSERT INTO erasures (class, at, cutoff, entries, digest) VALUES ($1, $2, $3, $4, $5)`,
			e.Class, micros(e.At), micros(e.Cutoff), e.Entries, e.Digest)
		if err != nil {
			return err
		}
		entries, err := s.prepareAudit("", []gateway.AuditEntry{erasedEntry(e, actor)})
		if err != nil {
			return err
		}
		return insertAudit(t, entries)
	})
	if err != nil {
		return gateway.Erased{}, err
	}
	return e, nil
}

// lockedBy ends the statement of a class that only names its rows.
func lockedBy(t *tx, c class) string {
	if c.erase == nil {
		return ""
	}
	return t.either("", " FOR UPDATE SKIP LOCKED")
}

// erasedEntry is the line of an erasure in the audit trail. Its payload is in
// the subject, because payloads are erased one day and this must not be.
func erasedEntry(e gateway.Erased, actor gateway.Actor) gateway.AuditEntry {
	return gateway.AuditEntry{At: e.At, Actor: actor, Act: "erased", Subject: erasedSubject(e)}
}

func erasedSubject(e gateway.Erased) string {
	return strings.Join([]string{e.Class, strconv.Itoa(e.Entries), strconv.FormatInt(micros(e.Cutoff), 10), e.Digest}, " ")
}

// named2 reads two columns of text and closes rows.
func named2(rows *sql.Rows) ([][2]string, error) {
	defer rows.Close()
	var all [][2]string
	for rows.Next() {
		var n [2]string
		err := rows.Scan(&n[0], &n[1])
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, rows.Err()
}

// ErasureReport is what was erased so far, and whether that is proven.
type ErasureReport struct {
	Erasures []gateway.Erased `json:"erasures"`
	// Unproven are erasures whose line in the audit trail is missing or says
	// something else, and lines without an erasure.
	Unproven []string `json:"unproven,omitempty"`
	// Left counts, for each class with an erasure, what is there although it was
	// due at the last one; what a bounded step left is counted too, until the
	// next step.
	Left map[string]int `json:"left,omitempty"`
}

// Erasures answers the proofs of deletion, oldest first, each compared with the
// audit trail, which VerifyAudit judges. It changes nothing and works beside a
// running server.
func (s *Store) Erasures(ctx context.Context) (ErasureReport, error) {
	read, err := s.snapshot(ctx)
	if err != nil {
		return ErasureReport{}, translate("read erasures", err)
	}
	defer func() { _ = read.Rollback() }() // it only read
	rows, err := read.QueryContext(ctx, `SELECT class, at, cutoff, entries, digest FROM erasures ORDER BY id`)
	if err != nil {
		return ErasureReport{}, translate("read erasures", err)
	}
	defer rows.Close()
	r := ErasureReport{Left: map[string]int{}}
	said := map[string]int{}
	last := map[string]int64{}
	for rows.Next() {
		var e gateway.Erased
		var at, cutoff int64
		err = rows.Scan(&e.Class, &at, &cutoff, &e.Entries, &e.Digest)
		if err != nil {
			return ErasureReport{}, translate("read erasures", err)
		}
		e.At, e.Cutoff = instant(at), instant(cutoff)
		r.Erasures = append(r.Erasures, e)
		said[erasedSubject(e)]++
		last[e.Class] = max(last[e.Class], cutoff)
	}
	err = rows.Err()
	if err != nil {
		return ErasureReport{}, translate("read erasures", err)
	}
	lines, err := read.QueryContext(ctx, `SELECT subject FROM audit_entries WHERE act = 'erased' AND event_seq = 0 ORDER BY id`)
	if err != nil {
		return ErasureReport{}, translate("read erasures", err)
	}
	subjects, err := strings1(lines)
	if err != nil {
		return ErasureReport{}, translate("read erasures", err)
	}
	for _, subject := range subjects {
		said[subject]--
	}
	for subject, n := range said {
		if n != 0 {
			r.Unproven = append(r.Unproven, subject)
		}
	}
	slices.Sort(r.Unproven)
	for _, c := range classes {
		cutoff, known := last[c.name]
		if !known {
			continue
		}
		var n int
		err = read.QueryRowContext(ctx, c.left, cutoff).Scan(&n)
		if err != nil {
			return ErasureReport{}, translate("count "+c.name, err)
		}
		if n > 0 {
			r.Left[c.name] = n
		}
	}
	return r, nil
}
