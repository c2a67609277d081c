package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"airegw/gateway"
	"airegw/gateway/fault"
	"airegw/gateway/login"
)

var (
	_ login.Store = (*Store)(nil)
	_ login.Cards = (*Store)(nil)
)

// attemptKept is how long an attempt is known after its end.
const attemptKept = 24 * time.Hour

const (
	sqlInsertAttempt = `INSERT INTO login_attempts (state_digest, reference, door, key_id, private, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	sqlSpendAttempt  = `UPDATE login_attempts SET used_at = $2, key_id = '', private = NULL WHERE state_digest = $1 AND used_at = 0`
	sqlLastRecord    = `SELECT seq, digest FROM login_records WHERE reference = $1 ORDER BY seq DESC LIMIT 1`
	sqlInsertRecord  = `INSERT INTO login_records (reference, seq, kind, at, key_id, private, shared_digest, content_digest, digest, audit_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	sqlInsertShared = `INSERT INTO login_shared (digest, key_id, private, first_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	sqlInsertToken  = `INSERT INTO login_tokens (reference, key_id, private, expires_at) VALUES ($1, $2, $3, $4)`
	sqlAbandonToken = `INSERT INTO login_tokens (reference, key_id, private, expires_at, wanted_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (reference) DO UPDATE SET wanted_at = excluded.wanted_at`
)

// BeginLogin implements login.Store.
func (s *Store) BeginLogin(ctx context.Context, a login.Attempt, records ...login.Record) error {
	digest := s.keys.digest(forLogin, a.State)
	secrets, err := json.Marshal(a.Secrets)
	if err != nil {
		return internal("encode attempt", err)
	}
	keyID, private, err := s.keys.seal("login_attempts", digest, "private", secrets)
	if err != nil {
		return internal("encrypt attempt", err)
	}
	batch, err := s.prepareRecords(a.Reference, records)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		err := insertRecords(t, batch, nil)
		if err != nil {
			return err
		}
		_, err = t.exec(sqlInsertAttempt, digest, a.Reference, string(a.Door), keyID, private, micros(a.CreatedAt), micros(a.ExpiresAt))
		return err
	})
}

// TakeLogin implements login.Store.
func (s *Store) TakeLogin(ctx context.Context, d login.Door, state string, now time.Time) (login.Attempt, error) {
	digest := s.keys.digest(forLogin, state)
	a := login.Attempt{Door: d, State: state}
	var keyID string
	var private []byte
	var used int64
	err := s.write(ctx, func(t *tx) error {
		var created, expires int64
		found, err := t.get(`SELECT reference, key_id, private, created_at, expires_at, used_at FROM login_attempts
WHERE state_digest = $1 AND door = $2`+t.locks(), []any{digest, string(d)}, &a.Reference, &keyID, &private, &created, &expires, &used)
		if err != nil {
			return err
		}
		if !found {
			return gateway.NewError(gateway.NotFound, "login_attempt_unknown")
		}
		a.CreatedAt, a.ExpiresAt = instant(created), instant(expires)
		if used != 0 {
			return gateway.NewError(gateway.Conflict, "login_attempt_used")
		}
		if fault.Mutant("store.login-spent") {
			return nil
		}
		_, err = t.exec(sqlSpendAttempt, digest, micros(now))
		return err
	})
	if err != nil {
		return a, err
	}
	secrets, err := s.keys.open(keyID, "login_attempts", digest, "private", private)
	if err == nil {
		err = json.Unmarshal(secrets, &a.Secrets)
	}
	if err != nil {
		return login.Attempt{}, internal("decrypt attempt", err)
	}
	return a, nil
}

// CompleteLogin implements login.Store.
func (s *Store) CompleteLogin(ctx context.Context, c login.Completed) error {
	batch, err := s.prepareRecords(c.Reference, c.Records)
	if err != nil {
		return err
	}
	entries, err := s.prepareAudit("", c.Audit)
	if err != nil {
		return err
	}
	var once []string
	for _, id := range c.Once {
		once = append(once, s.keys.digest(forJTI, id))
	}
	var keyID string
	var private []byte
	if c.Token != nil {
		keyID, private, err = s.keys.seal("login_tokens", c.Reference, "private", []byte(c.Token.Token))
		if err != nil {
			return internal("encrypt token", err)
		}
	}
	return s.write(ctx, func(t *tx) error {
		for _, digest := range once {
			err := useJTI(t, digest, c.OnceUntil)
			if err != nil {
				return err
			}
		}
		err := insertRecords(t, batch, entries)
		if err != nil || c.Token == nil {
			return err
		}
		_, err = t.exec(sqlInsertToken, c.Reference, keyID, private, micros(c.Token.ExpiresAt))
		return err
	})
}

// RecordLogin implements login.Store.
func (s *Store) RecordLogin(ctx context.Context, reference string, records []login.Record, audit ...gateway.AuditEntry) error {
	batch, err := s.prepareRecords(reference, records)
	if err != nil {
		return err
	}
	entries, err := s.prepareAudit("", audit)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error { return insertRecords(t, batch, entries) })
}

// recordBatch is the records of one writing, encrypted; their chain is made in
// the transaction, where the record before is known.
type recordBatch struct {
	reference string
	rows      []recordRow
	salt      string
}

type recordRow struct {
	kind          string
	at            int64
	keyID         string
	private       []byte
	shared        string
	sharedKey     string
	sharedPrivate []byte
	digest        string
}

func (s *Store) prepareRecords(reference string, records []login.Record) (recordBatch, error) {
	b := recordBatch{reference: reference}
	if len(records) == 0 {
		return b, nil
	}
	var err error
	b.salt, err = s.keys.salt()
	if err != nil {
		return b, internal("draw salt", err)
	}
	for _, r := range records {
		sum := sha256.Sum256(r.Content)
		row := recordRow{kind: string(r.Kind), at: micros(r.At), digest: hex.EncodeToString(sum[:])}
		if r.Shared {
			row.shared = row.digest
			row.sharedKey, row.sharedPrivate, err = s.keys.seal("login_shared", row.shared, "private", r.Content)
		} else {
			row.keyID, row.private, err = s.keys.seal("login_records", reference, "private", r.Content)
		}
		if err != nil {
			return b, internal("encrypt record", err)
		}
		b.rows = append(b.rows, row)
	}
	return b, nil
}

// recordDigest chains a record to the one before it.
func recordDigest(before, reference string, seq int, kind string, at int64, content string) string {
	sum := sha256.Sum256(binding("login record", before, reference, strconv.Itoa(seq), kind, strconv.FormatInt(at, 10), content))
	return hex.EncodeToString(sum[:])
}

// insertRecords adds the records of a login with the audit entry that holds
// their head, then entries.
func insertRecords(t *tx, b recordBatch, entries []auditRow) error {
	if len(b.rows) == 0 {
		return insertAudit(t, entries)
	}
	var seq int
	var head string
	_, err := t.get(sqlLastRecord, []any{b.reference}, &seq, &head)
	if err != nil {
		return err
	}
	digests := make([]string, len(b.rows))
	for i, r := range b.rows {
		head = recordDigest(head, b.reference, seq+i+1, r.kind, r.at, r.digest)
		digests[i] = head
	}
	id, err := insertAuditEntry(t, headEntry(b, seq+len(b.rows), head))
	if err != nil {
		return err
	}
	for i, r := range b.rows {
		if r.shared != "" {
			_, err = t.exec(sqlInsertShared, r.shared, r.sharedKey, r.sharedPrivate, r.at)
			if err != nil {
				return err
			}
		}
		_, err = t.exec(sqlInsertRecord, b.reference, seq+i+1, r.kind, r.at, r.keyID, r.private, r.shared, r.digest, digests[i], id)
		if err != nil {
			return err
		}
	}
	return insertAudit(t, entries)
}

// recorder is who writes the register's heads into the audit trail.
const recorder = `{"kind":"worker","id":"login"}`

func headEntry(b recordBatch, seq int, head string) auditRow {
	payload := headPayload(seq, head)
	return auditRow{
		at: b.rows[len(b.rows)-1].at, actor: recorder, act: "login_recorded", subject: b.reference,
		payload: payload, salt: b.salt, digest: payloadDigest(b.salt, payload),
	}
}

func headPayload(seq int, head string) string {
	return fmt.Sprintf(`{"head":"%s","records":"%d"}`, head, seq)
}

// WantRevoked implements login.Store.
func (s *Store) WantRevoked(ctx context.Context, reference string) (login.HeldToken, bool, error) {
	now := micros(s.now())
	var keyID string
	var private []byte
	var expires int64
	var found bool
	err := s.write(ctx, func(t *tx) error {
		var err error
		found, err = t.get(`SELECT key_id, private, expires_at FROM login_tokens WHERE reference = $1 AND key_id <> ''`+t.locks(),
			[]any{reference}, &keyID, &private, &expires)
		if err != nil || !found {
			return err
		}
		_, err = t.exec(`UPDATE login_tokens SET wanted_at = $2 WHERE reference = $1 AND wanted_at = 0`, reference, now)
		return err
	})
	if err != nil || !found {
		return login.HeldToken{}, false, err
	}
	token, err := s.heldToken(reference, keyID, private, expires)
	return token, err == nil, err
}

func (s *Store) heldToken(reference, keyID string, private []byte, expires int64) (login.HeldToken, error) {
	token, err := s.keys.open(keyID, "login_tokens", reference, "private", private)
	if err != nil {
		return login.HeldToken{}, internal("decrypt token", err)
	}
	return login.HeldToken{Login: reference, Token: string(token), ExpiresAt: instant(expires)}, nil
}

// AbandonToken implements login.Store. The row may be there already: a login whose
// commit was cut off may have been stored all the same.
func (s *Store) AbandonToken(ctx context.Context, token login.HeldToken, now time.Time) error {
	keyID, private, err := s.keys.seal("login_tokens", token.Login, "private", []byte(token.Token))
	if err != nil {
		return internal("encrypt token", err)
	}
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(sqlAbandonToken, token.Login, keyID, private, micros(token.ExpiresAt), micros(now))
		return err
	})
}

// RevokeDue implements login.Store.
func (s *Store) RevokeDue(ctx context.Context, now time.Time, limit int) ([]login.HeldToken, error) {
	rows, err := s.query(ctx, `SELECT reference, key_id, private, expires_at FROM login_tokens
WHERE wanted_at <> 0 AND key_id <> '' AND expires_at > $1 ORDER BY wanted_at LIMIT $2`, micros(now), limit)
	if err != nil {
		return nil, translate("read tokens", err)
	}
	defer rows.Close()
	var out []login.HeldToken
	for rows.Next() {
		var reference, keyID string
		var private []byte
		var expires int64
		err = rows.Scan(&reference, &keyID, &private, &expires)
		if err != nil {
			return nil, translate("read tokens", err)
		}
		token, err := s.heldToken(reference, keyID, private, expires)
		if err != nil {
			return nil, err
		}
		out = append(out, token)
	}
	err = rows.Err()
	if err != nil {
		return nil, translate("read tokens", err)
	}
	return out, nil
}

// ForgetToken implements login.Store. The row stays, empty, until it is purged:
// the web role deletes nothing.
func (s *Store) ForgetToken(ctx context.Context, reference string, records ...login.Record) error {
	batch, err := s.prepareRecords(reference, records)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		err := insertRecords(t, batch, nil)
		if err != nil {
			return err
		}
		_, err = t.exec(`UPDATE login_tokens SET key_id = '', private = NULL WHERE reference = $1`, reference)
		return err
	})
}

// ExportLogin implements login.Store. It holds each record against its digest
// and the chain, and the head against the audit trail. RoleWeb may not: no page
// shows the register, it is for those appointed (D log_management), and the
// trail's payloads are closed to it; Forbidden "login_register_role".
func (s *Store) ExportLogin(ctx context.Context, reference string) (login.Export, error) {
	e := login.Export{Reference: reference}
	if s.role == RoleWeb {
		return e, gateway.NewError(gateway.Forbidden, "login_register_role")
	}
	rows, err := s.query(ctx, `SELECT r.seq, r.kind, r.at, r.key_id, r.private, r.shared_digest, r.content_digest, r.digest, r.audit_id,
	COALESCE(c.key_id, ''), c.private
FROM login_records r LEFT JOIN login_shared c ON c.digest = r.shared_digest WHERE r.reference = $1 ORDER BY r.seq`, reference)
	if err != nil {
		return e, translate("read register", err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind, keyID, shared, content, digest, sharedKey string
		var at int64
		var private, sharedPrivate []byte
		var r login.ExportRecord
		err = rows.Scan(&r.Seq, &kind, &at, &keyID, &private, &shared, &content, &digest, &e.AuditID, &sharedKey, &sharedPrivate)
		if err != nil {
			return e, translate("read register", err)
		}
		if shared != "" {
			r.Content, err = s.keys.open(sharedKey, "login_shared", shared, "private", sharedPrivate)
		} else {
			r.Content, err = s.keys.open(keyID, "login_records", reference, "private", private)
		}
		if err != nil {
			return e, broken(reference, r.Seq, err)
		}
		sum := sha256.Sum256(r.Content)
		if hex.EncodeToString(sum[:]) != content || r.Seq != len(e.Records)+1 || recordDigest(e.Head, reference, r.Seq, kind, at, content) != digest {
			return e, broken(reference, r.Seq, errors.New("not what was recorded"))
		}
		r.Kind, r.At, r.Shared, r.Digest, e.Head = login.RecordKind(kind), instant(at), shared != "", digest, digest
		e.Records = append(e.Records, r)
	}
	err = rows.Err()
	if err != nil {
		return e, translate("read register", err)
	}
	if len(e.Records) == 0 {
		return e, notFound()
	}
	var act, subject, digest, salt, payload string
	found, err := s.get(ctx, `SELECT a.act, a.subject, a.content_digest, p.salt, p.payload FROM audit_entries a
JOIN audit_payloads p ON p.entry_id = a.id WHERE a.id = $1`, []any{e.AuditID}, &act, &subject, &digest, &salt, &payload)
	if notGranted(err) {
		return login.Export{Reference: reference}, &gateway.Error{Kind: gateway.Forbidden, Code: "login_register_role", Err: err}
	}
	if err != nil {
		return e, translate("read register", err)
	}
	if !found || act != "login_recorded" || subject != reference || payload != headPayload(len(e.Records), e.Head) || payloadDigest(salt, payload) != digest {
		return e, broken(reference, len(e.Records), errors.New("the audit trail does not hold this head"))
	}
	return e, nil
}

func broken(reference string, seq int, err error) error {
	return &gateway.Error{
		Kind: gateway.Internal, Code: "login_register_broken", Args: map[string]string{"reference": reference, "record": strconv.Itoa(seq)}, Err: err,
	}
}

// PutCard implements login.Cards.
func (s *Store) PutCard(ctx context.Context, c login.Card, audit ...gateway.AuditEntry) error {
	entries, err := s.prepareAudit(c.Office.ID(), audit)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		n, err := t.exec(`INSERT INTO operator_cards (fingerprint, operator_id, office_id, state, not_after, issued_at)
VALUES ($1, $2, $3, 'issued', $4, $5) ON CONFLICT DO NOTHING`, c.Fingerprint, c.Operator, c.Office.ID(), micros(c.NotAfter), micros(c.IssuedAt))
		if err != nil {
			return err
		}
		if n == 0 {
			return gateway.NewError(gateway.Conflict, "login_card_known")
		}
		return insertAudit(t, entries)
	})
}

// MoveCard implements login.Cards.
func (s *Store) MoveCard(ctx context.Context, office gateway.Office, fingerprint string, from, to login.CardState, at time.Time, audit ...gateway.AuditEntry) error {
	entries, err := s.prepareAudit(office.ID(), audit)
	if err != nil {
		return err
	}
	column := map[login.CardState]string{login.CardActive: "activated_at", login.CardRevoked: "revoked_at"}[to]
	if column == "" || from == login.CardRevoked || from == to {
		return gateway.NewError(gateway.Conflict, "login_card_state")
	}
	return s.write(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE operator_cards SET state = $3, `+column+` = $4 WHERE fingerprint = $1 AND office_id = $2 AND state = $5`,
			fingerprint, office.ID(), string(to), micros(at), string(from))
		if err != nil {
			return err
		}
		if n == 1 {
			return insertAudit(t, entries)
		}
		var state string
		found, err := t.get(`SELECT state FROM operator_cards WHERE fingerprint = $1 AND office_id = $2`, []any{fingerprint, office.ID()}, &state)
		if err != nil {
			return err
		}
		if !found {
			return notFound()
		}
		return gateway.NewError(gateway.Conflict, "login_card_state")
	})
}

const cardColumns = `fingerprint, operator_id, office_id, state, not_after, issued_at, activated_at, revoked_at`

func scanCard(scan func(...any) error) (login.Card, error) {
	var c login.Card
	var office, state string
	var notAfter, issued, activated, revoked int64
	err := scan(&c.Fingerprint, &c.Operator, &office, &state, &notAfter, &issued, &activated, &revoked)
	c.Office, c.State = gateway.OfficeFromID(office), login.CardState(state)
	c.NotAfter, c.IssuedAt, c.ActivatedAt, c.RevokedAt = instant(notAfter), instant(issued), instant(activated), instant(revoked)
	return c, err
}

// Card implements login.Cards.
func (s *Store) Card(ctx context.Context, fingerprint string) (login.Card, error) {
	cards, err := s.cards(ctx, `SELECT `+cardColumns+` FROM operator_cards WHERE fingerprint = $1`, fingerprint)
	if err != nil {
		return login.Card{}, err
	}
	if len(cards) == 0 {
		return login.Card{}, notFound()
	}
	return cards[0], nil
}

// CardsOf implements login.Cards.
func (s *Store) CardsOf(ctx context.Context, office gateway.Office) ([]login.Card, error) {
	return s.cards(ctx, `SELECT `+cardColumns+` FROM operator_cards WHERE office_id = $1 ORDER BY issued_at DESC, fingerprint`, office.ID())
}

func (s *Store) cards(ctx context.Context, text, arg string) ([]login.Card, error) {
	rows, err := s.query(ctx, text, arg)
	if err != nil {
		return nil, translate("read cards", err)
	}
	defer rows.Close()
	var out []login.Card
	for rows.Next() {
		c, err := scanCard(rows.Scan)
		if err != nil {
			return nil, translate("read cards", err)
		}
		out = append(out, c)
	}
	err = rows.Err()
	if err != nil {
		return nil, translate("read cards", err)
	}
	return out, nil
}
