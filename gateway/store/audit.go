package store

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"airegw/gateway"
	"airegw/gateway/fault"
)

// The audit trail is one row per act. Every event has its row, in the same
// commit. A sealer chains the rows a moment later, in commit order:
//
//	d(i) = SHA-256 of the row's fields, among them the digest of the event row or of the salted payload
//	c(i) = SHA-256(c(i-1), id(i), d(i))
//
// A block keeps id(i) and c(i) of each of its rows, and a MAC over the block,
// so that who can write the database but has not the keys cannot chain anew.

const (
	sqlAuditColumns = `INSERT INTO audit_entries (at, office_id, actor, act, subject, event_seq, content_digest)
VALUES `
	sqlInsertAudit   = sqlAuditColumns + `($1, $2, $3, $4, $5, $6, $7)`
	sqlInsertAuditID = sqlInsertAudit + ` RETURNING id`
	sqlInsertPayload = `INSERT INTO audit_payloads (entry_id, salt, payload) VALUES ($1, $2, $3)`
	sqlLastBlock     = `SELECT block_no, last_id, head FROM audit_blocks ORDER BY block_no DESC LIMIT 1`
	sqlInsertBlock   = `INSERT INTO audit_blocks (block_no, first_id, last_id, entries, seals, head, mac, sealed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
)

// maxBlock is how many entries one block seals at most.
const maxBlock = 4096

// sealSize is the size of one entry in a block's seals.
const sealSize = 8 + sha256.Size

// auditRow is an entry made ready outside the writer.
type auditRow struct {
	at            int64
	office        string
	actor         string
	act           string
	subject       string
	salt, payload string
	digest        string
}

func (s *Store) prepareAudit(office string, entries []gateway.AuditEntry) ([]auditRow, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	rows := make([]auditRow, len(entries))
	for i, e := range entries {
		actor, err := json.Marshal(e.Actor)
		if err != nil {
			return nil, internal("encode actor", err)
		}
		r := auditRow{at: micros(e.At), office: office, actor: string(actor), act: e.Act, subject: e.Subject}
		if r.office == "" {
			r.office = e.Actor.Office.ID()
		}
		if len(e.Payload) > 0 {
			payload, err := json.Marshal(e.Payload)
			if err != nil {
				return nil, internal("encode audit payload", err)
			}
			r.payload = string(payload)
			r.salt, err = s.keys.salt()
			if err != nil {
				return nil, internal("draw salt", err)
			}
			r.digest = payloadDigest(r.salt, r.payload)
		}
		rows[i] = r
	}
	return rows, nil
}

func payloadDigest(salt, payload string) string {
	sum := sha256.Sum256(binding("payload", salt, payload))
	return hex.EncodeToString(sum[:])
}

func insertAudit(t *tx, rows []auditRow) error {
	for _, r := range rows {
		_, err := insertAuditEntry(t, r)
		if err != nil {
			return err
		}
	}
	return nil
}

// insertAuditEntry adds one line and answers its id, 0 when it has no payload.
func insertAuditEntry(t *tx, r auditRow) (int64, error) {
	err := t.auditing()
	if err != nil {
		return 0, err
	}
	if r.digest == "" {
		_, err = t.exec(sqlInsertAudit, r.at, r.office, r.actor, r.act, r.subject, 0, "")
		return 0, err
	}
	var id int64
	added, err := t.returning(sqlInsertAuditID, r.at, r.office, r.actor, r.act, r.subject, 0, r.digest)
	if err != nil {
		return 0, err
	}
	_, err = one(added, &id)
	if err != nil {
		return 0, err
	}
	_, err = t.exec(sqlInsertPayload, id, r.salt, r.payload)
	return id, err
}

// Audit implements gateway.Store.
func (s *Store) Audit(ctx context.Context, entries ...gateway.AuditEntry) error {
	if len(entries) == 0 {
		return nil
	}
	rows, err := s.prepareAudit("", entries)
	if err != nil {
		return err
	}
	return s.write(audited(ctx), func(t *tx) error { return insertAudit(t, rows) })
}

// sealer extends the chain while the store is open.
func (s *Store) sealer(every time.Duration) {
	defer s.stopped.Done()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if !s.dirty.Swap(false) {
			continue
		}
		_, err := s.Seal(context.Background())
		s.sealErr.Store(&err) // shown by Stats until a sealing succeeds
		if err != nil {
			s.dirty.Store(true)
		}
	}
}

// Seal chains every entry committed so far and answers how many it chained: none
// by a replica of RoleWeb, which leaves it to the others.
func (s *Store) Seal(ctx context.Context) (int, error) {
	if s.readOnly {
		return 0, gateway.NewError(gateway.Unavailable, "store_read_only")
	}
	if s.role == RoleWeb {
		return 0, nil
	}
	s.sealing.Lock()
	defer s.sealing.Unlock()
	alone, err := s.alone(ctx, lockSeal)
	if err != nil {
		return 0, err
	}
	defer alone()
	total := 0
	upTo, err := s.auditHorizon(ctx)
	if err != nil {
		return 0, err
	}
	for {
		n, err := s.sealBlock(ctx, upTo)
		if err != nil {
			return total, err
		}
		total += n
		if n < maxBlock {
			return total, nil
		}
	}
}

func (s *Store) sealBlock(ctx context.Context, upTo int64) (int, error) {
	var no, last int64
	head := genesis()
	var stored string
	found, err := s.get(ctx, sqlLastBlock, nil, &no, &last, &stored)
	if err != nil {
		return 0, translate("read chain", err)
	}
	if found {
		head, err = hex.DecodeString(stored)
		if err != nil {
			return 0, internal("read chain", err)
		}
	}
	rows, err := s.query(ctx, `SELECT id, at, office_id, actor, act, subject, event_seq, content_digest
FROM audit_entries WHERE id > $1 AND id <= $2 ORDER BY id LIMIT CAST($3 AS BIGINT)`, last, upTo, maxBlock)
	if err != nil {
		return 0, translate("read audit entries", err)
	}
	defer rows.Close()
	var seals []byte
	var first, id int64
	n := 0
	for rows.Next() {
		var e entry
		err = rows.Scan(&e.id, &e.at, &e.office, &e.actor, &e.act, &e.subject, &e.seq, &e.content)
		if err != nil {
			return 0, translate("read audit entries", err)
		}
		if n == 0 {
			first = e.id
		}
		id = e.id
		head = link(head, id, e.digest())
		seals = binary.BigEndian.AppendUint64(seals, uint64(id))
		seals = append(seals, head...)
		n++
	}
	err = rows.Err()
	if err != nil {
		return 0, translate("read audit entries", err)
	}
	if n == 0 {
		return 0, nil
	}
	b := block{no: no + 1, first: first, last: id, entries: n, seals: seals, head: hex.EncodeToString(head), at: micros(s.now())}
	b.mac = s.keys.blockMAC(b)
	err = fault.Point("seal.block")
	if err != nil {
		return 0, internal("seal", err)
	}
	err = s.write(ctx, func(t *tx) error {
		_, err := t.exec(sqlInsertBlock, b.no, b.first, b.last, b.entries, b.seals, b.head, b.mac, b.at)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// genesis is the chain value before the first entry.
func genesis() []byte {
	sum := sha256.Sum256([]byte("airegw audit chain v1"))
	return sum[:]
}

// link answers the chain value of an entry after the one before it.
func link(before []byte, id int64, digest [sha256.Size]byte) []byte {
	h := sha256.New()
	h.Write(before)
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(id))
	h.Write(n[:])
	h.Write(digest[:])
	return h.Sum(nil)
}

// entry is a row of the audit trail as read back.
type entry struct {
	id      int64
	at      int64
	office  string
	actor   string
	act     string
	subject string
	seq     int
	content string
}

// digest covers every field but the id, which the link covers: so that a row
// that stands in another's place can be told from a changed one.
func (e entry) digest() [sha256.Size]byte {
	return sha256.Sum256(binding("entry", strconv.FormatInt(e.at, 10), e.office, e.actor, e.act, e.subject,
		strconv.Itoa(e.seq), e.content))
}

type block struct {
	no, first, last int64
	entries         int
	seals           []byte
	head, mac       string
	at              int64
}

func (k *keyring) blockMAC(b block) string {
	m := hmac.New(sha256.New, k.digests[forAudit])
	fmt.Fprintf(m, "%d %d %d %d %s %d ", b.no, b.first, b.last, b.entries, b.head, b.at)
	m.Write(b.seals)
	return hex.EncodeToString(m.Sum(nil))
}

// Report is what VerifyAudit found.
type Report struct {
	Entries  int     `json:"entries"`
	Sealed   int     `json:"sealed"`
	Unsealed int     `json:"unsealed"` // the tail the sealer has not reached yet; their rows were checked, but not their chain
	Blocks   int     `json:"blocks"`
	Erased   int     `json:"erased"` // payloads and private parts erased by retention; their digests stay
	Head     string  `json:"head"`   // last chain value, "" before the first block
	Bad      *BadRow `json:"bad,omitempty"`
}

// OK says that nothing is wrong.
func (r Report) OK() bool { return r.Bad == nil }

// BadRow names the first thing that is wrong, in the order of the chain.
type BadRow struct {
	Entry   int64  `json:"entry"`             // id in audit_entries; 0 when the block itself is wrong
	Block   int64  `json:"block"`             // 0 in the unsealed tail
	Subject string `json:"subject,omitempty"` // request number or other opaque id of the entry
	What    string `json:"what"`
}

// What can be wrong with the audit trail.
const (
	BadChanged = "changed"       // the row says something else than when it was sealed
	BadMissing = "missing"       // a sealed row is gone
	BadSwapped = "swapped"       // the row holds what belongs to another
	BadExtra   = "extra"         // a row among sealed ones that was never sealed
	BadPayload = "payload"       // the payload is not what the row's digest covers
	BadEvent   = "event"         // the event row differs from its audit row
	BadPrivate = "event_private" // the event's private side does not open or is another
	BadBlock   = "block"         // a block of the chain was changed
	BadGap     = "block_missing" // a block of the chain is gone
	BadOrphan  = "event_orphan"  // an event without an audit row
)

// badRow carries a finding through error returns.
type badRow struct{ BadRow }

func (b *badRow) Error() string { return b.What }

// VerifyAudit reads the whole trail in one snapshot and checks chain, rows,
// payloads and events. It changes nothing and works beside a running server
// (ReadOnly). Errors say that it could not be read, never that it is bad.
func (s *Store) VerifyAudit(ctx context.Context) (Report, error) {
	tx, err := s.snapshot(ctx)
	if err != nil {
		return Report{}, translate("verify audit", err)
	}
	defer func() { _ = tx.Rollback() }() // it only read
	v := verifier{keys: s.keys, tx: tx}
	bad, err := v.verify(ctx)
	if err != nil {
		return Report{}, translate("verify audit", err)
	}
	if bad != nil {
		v.report.Bad = &bad.BadRow
	}
	return v.report, nil
}

// snapshot begins a reading of one moment.
func (s *Store) snapshot(ctx context.Context) (*sql.Tx, error) {
	o := &sql.TxOptions{ReadOnly: true}
	if isPostgres(s.reader) {
		o.Isolation = isolationSnapshot
	}
	return s.reader.BeginTx(ctx, o)
}

type verifier struct {
	keys   *keyring
	tx     *sql.Tx
	report Report
	events int // entries that stand for an event
}

func (v *verifier) verify(ctx context.Context) (*badRow, error) {
	head := genesis()
	var last, no int64
	for {
		b, found, err := v.nextBlock(ctx, no)
		if err != nil {
			return nil, err
		}
		if !found {
			break
		}
		if b.no != no+1 {
			return &badRow{BadRow{Entry: last + 1, Block: no + 1, What: BadGap}}, nil
		}
		bad, err := v.block(ctx, b, last, head)
		if bad != nil || err != nil {
			return bad, err
		}
		no, last = b.no, b.last
		head, err = hex.DecodeString(b.head)
		if err != nil {
			return &badRow{BadRow{Block: no, What: BadBlock}}, nil
		}
		v.report.Blocks++
		v.report.Sealed += b.entries
		v.report.Head = b.head
	}
	tail, err := v.entries(ctx, last, 1<<62)
	if err != nil {
		return nil, err
	}
	for _, e := range tail {
		v.report.Entries++
		v.report.Unsealed++
		if bad := v.content(e, 0); bad != nil {
			return bad, nil
		}
	}
	return v.orphan(ctx)
}

func (v *verifier) nextBlock(ctx context.Context, after int64) (b block, found bool, err error) {
	rows, err := v.tx.QueryContext(ctx, `SELECT block_no, first_id, last_id, entries, seals, head, mac, sealed_at
FROM audit_blocks WHERE block_no > $1 ORDER BY block_no LIMIT 1`, after)
	if err != nil {
		return block{}, false, err
	}
	found, err = one(rows, &b.no, &b.first, &b.last, &b.entries, &b.seals, &b.head, &b.mac, &b.at)
	return b, found, err
}

// block checks one block against its rows. The rows come first, so that the
// entry is named rather than the block when both are wrong.
func (v *verifier) block(ctx context.Context, b block, last int64, head []byte) (*badRow, error) {
	genuine := fault.Mutant("store.audit-mac") || hmac.Equal([]byte(v.keys.blockMAC(b)), []byte(b.mac))
	if len(b.seals) != b.entries*sealSize || b.entries == 0 || b.first <= last || b.last < b.first {
		return &badRow{BadRow{Block: b.no, What: BadBlock}}, nil
	}
	rows, err := v.entries(ctx, last, b.last)
	if err != nil {
		return nil, err
	}
	byID := make(map[int64]*fullEntry, len(rows))
	for _, e := range rows {
		byID[e.id] = e
	}
	before, seen := head, int64(0)
	for i := range b.entries {
		seal := b.seals[i*sealSize : (i+1)*sealSize]
		id, want := int64(binary.BigEndian.Uint64(seal)), seal[8:]
		e := byID[id]
		if e == nil && !genuine {
			return &badRow{BadRow{Block: b.no, What: BadBlock}}, nil
		}
		if e == nil {
			return &badRow{BadRow{Entry: id, Block: b.no, What: BadMissing}}, nil
		}
		v.report.Entries++
		if !bytes.Equal(link(before, id, e.digest()), want) && !fault.Mutant("store.audit-chain") {
			what := BadChanged
			if !genuine {
				what = BadBlock
			} else if belongsElsewhere(b, head, i, e.digest()) {
				what = BadSwapped
			}
			return &badRow{BadRow{Entry: id, Block: b.no, Subject: e.subject, What: what}}, nil
		}
		if bad := v.content(e, b.no); bad != nil {
			return bad, nil
		}
		e.sealed, before, seen = true, want, id
	}
	for _, e := range rows {
		if !e.sealed {
			return &badRow{BadRow{Entry: e.id, Block: b.no, Subject: e.subject, What: BadExtra}}, nil
		}
	}
	if !genuine || seen != b.last || hex.EncodeToString(before) != b.head {
		return &badRow{BadRow{Block: b.no, What: BadBlock}}, nil
	}
	return nil, nil
}

// belongsElsewhere says that a row's content is what another entry of the block
// was sealed with.
func belongsElsewhere(b block, head []byte, here int, digest [sha256.Size]byte) bool {
	before := head
	for i := range b.entries {
		seal := b.seals[i*sealSize : (i+1)*sealSize]
		if i != here && bytes.Equal(link(before, int64(binary.BigEndian.Uint64(seal)), digest), seal[8:]) {
			return true
		}
		before = seal[8:]
	}
	return false
}

// fullEntry is an entry with what it covers.
type fullEntry struct {
	entry
	salt, payload  sql.NullString
	payloadErased  sql.NullInt64
	event          eventRow
	eventThere     bool
	privateErased  int64
	private        []byte
	privateKeyName string
	sealed         bool
}

func (v *verifier) entries(ctx context.Context, after, upTo int64) ([]*fullEntry, error) {
	rows, err := v.tx.QueryContext(ctx, `SELECT a.id, a.at, a.office_id, a.actor, a.act, a.subject, a.event_seq, a.content_digest,
	p.salt, p.payload, p.erased_at,
	e.type, e.to_state, e.at, e.actor, e.data, e.private_digest, e.erased_at, e.key_id, e.private
FROM audit_entries a
LEFT JOIN audit_payloads p ON p.entry_id = a.id
LEFT JOIN events e ON a.event_seq > 0 AND e.request_id = a.subject AND e.seq = a.event_seq
WHERE a.id > $1 AND a.id <= $2 ORDER BY a.id`, after, upTo)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*fullEntry
	for rows.Next() {
		e := new(fullEntry)
		var typ, to, actor, data, digest, keyID sql.NullString
		var at, erased sql.NullInt64
		err = rows.Scan(&e.id, &e.at, &e.office, &e.actor, &e.act, &e.subject, &e.seq, &e.content,
			&e.salt, &e.payload, &e.payloadErased,
			&typ, &to, &at, &actor, &data, &digest, &erased, &keyID, &e.private)
		if err != nil {
			return nil, err
		}
		e.eventThere = typ.Valid
		e.event = eventRow{
			request: e.subject, seq: e.seq, typ: typ.String, to: to.String, at: at.Int64,
			actor: actor.String, data: data.String, digest: digest.String,
		}
		e.privateErased, e.privateKeyName = erased.Int64, keyID.String
		all = append(all, e)
	}
	return all, rows.Err()
}

// content checks what an entry covers: its event row, or its payload.
func (v *verifier) content(e *fullEntry, block int64) *badRow {
	bad := func(what string) *badRow {
		return &badRow{BadRow{Entry: e.id, Block: block, Subject: e.subject, What: what}}
	}
	if e.seq > 0 {
		v.events++
		if !e.eventThere || e.event.contentDigest() != e.content || e.event.typ != e.act || e.event.at != e.at || e.event.actor != e.actor {
			return bad(BadEvent)
		}
		return v.private(e, bad)
	}
	switch {
	case e.content == "" && !e.payload.Valid:
		return nil
	case e.content != "" && e.payload.Valid && e.payloadErased.Int64 != 0 && e.payload.String == "" && e.salt.String == "":
		v.report.Erased++
		return nil
	case e.content != "" && e.payload.Valid && payloadDigest(e.salt.String, e.payload.String) == e.content:
		return nil
	}
	return bad(BadPayload)
}

func (v *verifier) private(e *fullEntry, bad func(string) *badRow) *badRow {
	switch {
	case e.event.digest == "" && len(e.private) == 0:
		return nil
	case e.event.digest != "" && len(e.private) == 0 && e.privateErased != 0:
		v.report.Erased++
		return nil
	}
	row := e.event.request + "/" + strconv.Itoa(e.seq)
	plain, err := v.keys.open(e.privateKeyName, "events", row, "private", e.private)
	if err != nil || len(plain) == 0 || v.keys.privateDigest(row, plain) != e.event.digest {
		return bad(BadPrivate)
	}
	return nil
}

// orphan looks for events that nobody wrote into the trail. It counts first:
// only a difference is worth the slow question.
func (v *verifier) orphan(ctx context.Context) (*badRow, error) {
	var events int
	err := v.tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM events`).Scan(&events)
	if err != nil {
		return nil, err
	}
	if events == v.events {
		return nil, nil
	}
	rows, err := v.tx.QueryContext(ctx, `SELECT e.request_id FROM events e
LEFT JOIN audit_entries a ON a.subject = e.request_id AND a.event_seq = e.seq
WHERE a.id IS NULL ORDER BY e.request_id, e.seq LIMIT 1`)
	if err != nil {
		return nil, err
	}
	var subject string
	found, err := one(rows, &subject)
	if err != nil {
		return nil, err
	}
	if !found {
		return &badRow{BadRow{What: BadEvent}}, nil // an event counted twice
	}
	return &badRow{BadRow{Subject: subject, What: BadOrphan}}, nil
}
