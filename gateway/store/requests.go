package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"airegw/gateway"
	"airegw/gateway/fault"
)

// openStates is the list of open states as SQL, as in the index
// requests_open_person.
var openStates = stateList(gateway.OpenStates())

// stateList answers states as a list of SQL literals. States are constants of
// ours: no quoting is needed, and a test compares them with the migrations.
func stateList(states []gateway.State) string {
	quoted := make([]string, len(states))
	for i, s := range states {
		quoted[i] = "'" + string(s) + "'"
	}
	return strings.Join(quoted, ", ")
}

const (
	// Without a target, ON CONFLICT covers every unique index: key, open person
	// and number. Which one it was is asked only when it happens.
	sqlInsertRequest = `INSERT INTO requests (id, office_id, state, version, applicant_digest, surname_digest, tracker_digest,
	key_namespace, key_digest, body_digest, created_at, updated_at, work_step, work_due, work_actor)
VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12, $13) ON CONFLICT DO NOTHING`
	sqlByKey     = `SELECT id, body_digest FROM requests WHERE key_namespace = $1 AND key_digest = $2`
	sqlAddPerson = `INSERT INTO request_persons (person_digest, request_id, office_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`
)

// The events of a change and their lines in the audit trail are two statements,
// however many they are.
var (
	sqlInsertEvents = manyRows(`INSERT INTO events (request_id, seq, office_id, type, to_state, at, actor, data, key_id, private, private_digest)
VALUES `, 11)
	sqlInsertAudits = manyRows(sqlAuditColumns, 7)
	// SQLite looks the name of each parameter up among all of a statement's, one
	// after the other; those that have none are bound by their place at once.
	sqliteInsertEvents = unnamed(sqlInsertEvents)
	sqliteInsertAudits = unnamed(sqlInsertAudits)
)

var parameter = regexp.MustCompile(`\$[0-9]+`)

// unnamed answers statements, whose parameters stand in their order, without the
// parameters' numbers.
func unnamed(texts [mostRows + 1]string) [mostRows + 1]string {
	for i, text := range texts {
		texts[i] = parameter.ReplaceAllString(text, "?")
	}
	return texts
}

// mostRows is how many rows one statement adds at most.
const mostRows = 16

// manyRows answers the statements that add 1 to mostRows rows of so many columns,
// by their number.
func manyRows(text string, columns int) [mostRows + 1]string {
	var texts [mostRows + 1]string
	n := 0
	for rows := 1; rows <= mostRows; rows++ {
		if rows > 1 {
			text += ", "
		}
		text += "("
		for c := range columns {
			n++
			if c > 0 {
				text += ", "
			}
			text += "$" + strconv.Itoa(n)
		}
		text += ")"
		texts[rows] = text
	}
	return texts
}

var sqlOpenOfPerson = `SELECT id, office_id FROM requests WHERE applicant_digest = $1 AND state IN (` + openStates + `)`

// Create implements gateway.Store. The request, its persons, its event and the
// audit entries are one commit. A number that is taken already is Conflict
// "number_taken".
func (s *Store) Create(ctx context.Context, n gateway.NewRequest) (id string, created bool, err error) {
	if n.Event.Seq != 1 || n.ID == "" || n.Applicant == "" || n.Key == "" || n.Namespace == "" {
		return "", false, internal("create request", errors.New("incomplete"))
	}
	office := n.Office.ID()
	applicant := s.keys.person(n.Applicant)
	surname, tracker := s.keys.surname(n.Surname), s.keys.tracker(n.ID, n.Tracker)
	namespace, key := s.keys.digest(forNamespace, n.Namespace), s.keys.digest(forKey, n.Key)
	persons := s.personDigests(append([]string{n.Applicant}, n.Persons...))
	at := micros(n.Event.At)
	event, err := s.prepareEvent(n.ID, n.Event)
	if err != nil {
		return "", false, err
	}
	audit, err := s.prepareAudit(office, n.Audit)
	if err != nil {
		return "", false, err
	}
	asked, err := workActor(n.Work.Actor)
	if err != nil {
		return "", false, err
	}
	err = s.write(audited(ctx), func(t *tx) error {
		id, created = "", false // it may run twice
		rows, err := t.exec(sqlInsertRequest, n.ID, office, string(n.Event.To), applicant, surname, tracker,
			namespace, key, n.BodyDigest, at, string(n.Work.Step), micros(n.Work.Due), asked)
		if err != nil {
			return err
		}
		if rows == 0 {
			id, err = knownRequest(t, n.ID, namespace, key, n.BodyDigest, applicant)
			return err
		}
		for _, p := range persons {
			_, err = t.exec(sqlAddPerson, p, n.ID, office)
			if err != nil {
				return err
			}
		}
		err = insertEvents(t, office, []*eventRow{event})
		if err != nil {
			return err
		}
		id, created = n.ID, true
		return insertAudit(t, audit)
	})
	if err != nil {
		return "", false, err
	}
	s.tell()
	return id, created, nil
}

// knownRequest says why a new request was not stored: the answer of an earlier
// submission, or the conflict.
func knownRequest(t *tx, number, namespace, key, body, applicant string) (string, error) {
	var id, stored, office string
	found, err := t.get(sqlByKey, []any{namespace, key}, &id, &stored)
	if err != nil {
		return "", err
	}
	if found {
		if stored != body && !fault.Mutant("store.key-body") {
			return "", gateway.NewError(gateway.Conflict, "key_reused")
		}
		return id, nil
	}
	found, err = t.get(sqlOpenOfPerson, []any{applicant}, &id, &office)
	if err != nil {
		return "", err
	}
	if found {
		return "", gateway.NewError(gateway.Conflict, "already_open", "request", id, "office", office)
	}
	found, err = t.get(`SELECT id FROM requests WHERE id = $1`, []any{number}, &id)
	if err != nil {
		return "", err
	}
	if !found {
		return "", errAgain // the person's open request ended in another replica just now
	}
	return "", gateway.NewError(gateway.Conflict, "number_taken")
}

// personDigests answers the distinct digests of fiscal codes, sorted.
func (s *Store) personDigests(fiscalCodes []string) []string {
	digests := make([]string, 0, len(fiscalCodes))
	for _, code := range fiscalCodes {
		if d := s.keys.person(code); d != "" && !slices.Contains(digests, d) {
			digests = append(digests, d)
		}
	}
	sort.Strings(digests)
	return digests
}

// eventRow is an event made ready outside the writer: encrypted, digested.
type eventRow struct {
	request  string
	seq      int
	typ, to  string
	at       int64
	actor    string
	data     string
	keyID    string
	private  []byte
	digest   string // of the private side
	contents string // of the whole row, for the audit chain
}

func (s *Store) prepareEvent(request string, e gateway.Event) (*eventRow, error) {
	actor, err := json.Marshal(e.Actor)
	if err != nil {
		return nil, internal("encode actor", err)
	}
	r := &eventRow{
		request: request, seq: e.Seq, typ: string(e.Type), to: string(e.To), at: micros(e.At),
		actor: string(actor), data: string(e.Data),
	}
	if len(e.Private) > 0 {
		row := request + "/" + strconv.Itoa(e.Seq)
		r.keyID, r.private, err = s.keys.seal("events", row, "private", e.Private)
		if err != nil {
			return nil, internal("encrypt event", err)
		}
		r.digest = s.keys.privateDigest(row, e.Private)
	}
	r.contents = r.contentDigest()
	return r, nil
}

// privateDigest is what the audit chain keeps of an event's private side: keyed,
// so that nobody without the key can try names against it.
func (k *keyring) privateDigest(row string, plain []byte) string {
	m := hmac.New(sha256.New, k.digests[forPrivate])
	m.Write(binding(row))
	m.Write(plain)
	return hex.EncodeToString(m.Sum(nil))
}

// contentDigest covers everything that an event says. office_id is left out: it
// says who sees the row and follows the request.
func (r *eventRow) contentDigest() string {
	sum := sha256.Sum256(binding("event", r.request, strconv.Itoa(r.seq), r.typ, r.to, strconv.FormatInt(r.at, 10),
		r.actor, r.data, r.digest))
	return hex.EncodeToString(sum[:])
}

// insertEvents stores events, in their order, and their lines in the audit trail.
func insertEvents(t *tx, office string, rows []*eventRow) error {
	if len(rows) == 0 {
		return nil
	}
	err := t.auditing()
	if err != nil {
		return err
	}
	for some := range slices.Chunk(rows, mostRows) {
		var events, audits []any
		for _, r := range some {
			var private any
			if r.private != nil {
				private = r.private
			}
			events = append(events, r.request, r.seq, office, r.typ, r.to, r.at, r.actor, r.data, r.keyID, private, r.digest)
			audits = append(audits, r.at, office, r.actor, r.typ, r.request, r.seq, r.contents)
		}
		_, err = t.exec(t.either(sqliteInsertEvents[len(some)], sqlInsertEvents[len(some)]), events...)
		if err != nil {
			return err
		}
		_, err = t.exec(t.either(sqliteInsertAudits[len(some)], sqlInsertAudits[len(some)]), audits...)
		if err != nil {
			return err
		}
	}
	return nil
}

// sight is what a Scope comes to in SQL: one of its members is set, or nothing
// is seen.
type sight struct {
	system bool
	office string
	person string // digest
}

func (s *Store) sight(scope gateway.Scope) sight {
	if scope.System() {
		return sight{system: true}
	}
	if code, ok := scope.Person(); ok {
		return sight{person: s.keys.person(code)}
	}
	if office, ok := scope.Office(); ok {
		return sight{office: office.ID()}
	}
	return sight{}
}

// where answers the condition on requests r and its argument, for placeholder
// $n. ok is false when nothing is seen.
func (v sight) where(n int) (condition string, arg any, ok bool) {
	switch {
	case v.system:
		return fmt.Sprintf("$%d = ''", n), "", true
	case v.person != "" && fault.Mutant("store.person"):
		return fmt.Sprintf("$%d <> ''", n), v.person, true
	case v.person != "":
		return fmt.Sprintf("r.id IN (SELECT p.request_id FROM request_persons p WHERE p.person_digest = $%d)", n), v.person, true
	case v.office != "" && fault.Mutant("store.office"):
		return fmt.Sprintf("$%d <> ''", n), v.office, true
	case v.office != "":
		return fmt.Sprintf("r.office_id = $%d", n), v.office, true
	}
	return "", nil, false
}

// Load implements gateway.Store. One statement: events and mark are of one
// moment.
func (s *Store) Load(ctx context.Context, scope gateway.Scope, id string) ([]gateway.Event, gateway.Mark, error) {
	return s.load(ctx, s.sight(scope), id)
}

func (s *Store) load(ctx context.Context, v sight, id string) ([]gateway.Event, gateway.Mark, error) {
	ctx = v.in(ctx)
	condition, arg, ok := v.where(2)
	if !ok {
		return nil, gateway.Mark{}, notFound()
	}
	rows, err := s.query(ctx, `SELECT r.mark_kind, r.mark_code, r.mark_due, r.mark_tries, r.mark_detail,
	e.seq, e.type, e.to_state, e.at, e.actor, e.data, e.key_id, e.private
FROM requests r JOIN events e ON e.request_id = r.id
WHERE r.id = $1 AND `+condition+` ORDER BY e.seq`, id, arg)
	if err != nil {
		return nil, gateway.Mark{}, translate("load request", err)
	}
	defer rows.Close()
	var events []gateway.Event
	var mark gateway.Mark
	var last string // the actor of the event before, as it is stored: mostly the next one's too
	var known gateway.Actor
	for rows.Next() {
		var e gateway.Event
		var due, at int64
		var actor, data, keyID string
		var private []byte
		err = rows.Scan(&mark.Kind, &mark.Code, &due, &mark.Tries, &mark.Detail,
			&e.Seq, &e.Type, &e.To, &at, &actor, &data, &keyID, &private)
		if err != nil {
			return nil, gateway.Mark{}, translate("load request", err)
		}
		mark.Due, e.At = instant(due), instant(at)
		if actor != last || actor == "" {
			last, known = actor, gateway.Actor{}
			err = json.Unmarshal([]byte(actor), &known)
			if err != nil {
				return nil, gateway.Mark{}, internal("decode actor", err)
			}
		}
		e.Actor = known
		if data != "" {
			e.Data = json.RawMessage(data)
		}
		plain, err := s.keys.open(keyID, "events", id+"/"+strconv.Itoa(e.Seq), "private", private)
		if err != nil {
			return nil, gateway.Mark{}, internal("decrypt event", err)
		}
		if plain != nil {
			e.Private = plain
		}
		events = append(events, e)
	}
	err = rows.Err()
	if err != nil {
		return nil, gateway.Mark{}, translate("load request", err)
	}
	if len(events) == 0 {
		return nil, gateway.Mark{}, notFound()
	}
	return events, mark, nil
}

const (
	// With the persons who see it, one after the other, so that one question tells
	// all that a change builds upon.
	sqlStand = `SELECT r.state, r.version, r.office_id, r.work_fence,
	COALESCE((SELECT string_agg(p.person_digest, ' ' ORDER BY p.person_digest) FROM request_persons p WHERE p.request_id = r.id), '')
FROM requests r WHERE r.id = $1`
	// NULL leaves a column as it is. A change that sets work without holding the
	// lease takes it from whoever does; one that holds it gives it back.
	sqlChange = `UPDATE requests SET state = $4, version = $5, office_id = $6, updated_at = $7,
	surname_digest = COALESCE($8, surname_digest), tracker_digest = COALESCE($9, tracker_digest),
	work_step = COALESCE($10, work_step), work_due = COALESCE($11, work_due),
	work_tries = CASE WHEN $10 IS NULL THEN work_tries ELSE 0 END,
	work_fence = work_fence + $12, work_lease = CASE WHEN $13 = 1 THEN 0 ELSE work_lease END,
	mark_kind = COALESCE($14, mark_kind), mark_code = COALESCE($15, mark_code), mark_due = COALESCE($16, mark_due),
	mark_tries = COALESCE($17, mark_tries), mark_detail = COALESCE($18, mark_detail),
	work_actor = CASE WHEN $10 IS NULL THEN work_actor ELSE $19 END
WHERE id = $1 AND version = $2 AND state = $3`
	sqlDropPerson   = `DELETE FROM request_persons WHERE request_id = $1 AND person_digest = $2`
	sqlApplied      = `UPDATE core_events SET status = 'applied', code = '' WHERE order_key = $1 AND seq <= $2 AND status <> 'applied'`
	sqlPrinted      = `UPDATE halves SET printed_at = $2 WHERE order_key = $1 AND printed_at = 0`
	sqlWipe         = `UPDATE halves SET private = NULL, key_id = '', wiped_at = $2 WHERE order_key = $1 AND wiped_at = 0`
	sqlUnparkOutbox = `UPDATE outbox SET status = 'open', due = $2, lease = 0, fence = fence + 1, code = '', detail = ''
WHERE request_id = $1 AND status = 'parked'`
	sqlUnparkCore = `UPDATE core_events SET status = 'pending', code = '' WHERE request_id = $1 AND status = 'parked'`
)

// officeFollows are the rows of a request that follow it to another office.
var officeFollows = []string{
	`UPDATE request_persons SET office_id = $2 WHERE request_id = $1`,
	`UPDATE events SET office_id = $2 WHERE request_id = $1`,
	`UPDATE outbox SET office_id = $2 WHERE request_id = $1`,
	`UPDATE core_events SET office_id = $2 WHERE request_id = $1`,
	`UPDATE halves SET office_id = $2 WHERE request_id = $1`,
}

// Commit implements gateway.Store. A lost compare-and-set is Conflict
// "state_moved", a lost lease Conflict "lease_lost". Unpark also gives the
// request's parked core events back to be applied.
func (s *Store) Commit(ctx context.Context, c gateway.Change) error {
	office := c.Office.ID()
	to := c.State
	events := make([]*eventRow, len(c.Events))
	updated := s.now()
	for i, e := range c.Events {
		if e.Seq != c.Version+1+i {
			return internal("change request", fmt.Errorf("event %d after %d", e.Seq, c.Version+i))
		}
		row, err := s.prepareEvent(c.ID, e)
		if err != nil {
			return err
		}
		events[i], to, updated = row, e.To, e.At
	}
	if to != c.To {
		return internal("change request", fmt.Errorf("events lead to %q, the row to %q", to, c.To))
	}
	audit, err := s.prepareAudit(office, c.Audit)
	if err != nil {
		return err
	}
	outbox, err := s.prepareOutbox(c)
	if err != nil {
		return err
	}
	corrections, err := s.prepareSync(c.Corrections)
	if err != nil {
		return err
	}
	clearances, err := s.prepareClearances(c.Clearances)
	if err != nil {
		return err
	}
	asked := ""
	if c.Work != nil {
		asked, err = workActor(c.Work.Actor)
		if err != nil {
			return err
		}
	}
	args := append(s.changeArgs(c, office, updated), asked)
	persons := s.personDigests(c.Persons)
	now := micros(updated)
	err = s.write(audited(ctx), func(t *tx) error {
		before, have, err := compare(t, c)
		if err != nil {
			return err
		}
		n, err := t.exec(sqlChange, args...)
		if err != nil {
			return changeError(err)
		}
		if n != 1 {
			return gateway.NewError(gateway.Conflict, "state_moved")
		}
		err = setPersons(t, c.ID, office, have, persons)
		if err != nil {
			return err
		}
		if before != office {
			err = follow(t, c.ID, office)
			if err != nil {
				return err
			}
		}
		err = insertEvents(t, office, events)
		if err != nil {
			return err
		}
		err = commitOutbox(t, c, outbox, office, now)
		if err != nil {
			return err
		}
		err = commitRest(t, c, now)
		if err != nil {
			return err
		}
		err = openDialogue(t, c, now)
		if err != nil {
			return err
		}
		err = corrections.apply(s, t, c.ID)
		if err != nil {
			return err
		}
		err = clearances.apply(s, t, c.ID)
		if err != nil {
			return err
		}
		return insertAudit(t, audit)
	})
	if err == nil && (c.Work != nil || len(c.Outbox) > 0 || c.Unpark) {
		s.tell()
	}
	return err
}

// workActor is who asked for a step, as it is kept beside it; "" for nobody.
func workActor(a gateway.Actor) (string, error) {
	if a == (gateway.Actor{}) {
		return "", nil
	}
	raw, err := json.Marshal(a)
	if err != nil {
		return "", internal("encode actor", err)
	}
	return string(raw), nil
}

// follow takes the rows of a request to its new office.
func follow(t *tx, id, office string) error {
	if t.raw != nil {
		_, err := t.exec(`SELECT airegw_follow($1)`, id) // as the requests row says
		return err
	}
	for _, text := range officeFollows {
		_, err := t.exec(text, id, office)
		if err != nil {
			return err
		}
	}
	return nil
}

// changeArgs answers the arguments of sqlChange; nil leaves a column.
func (s *Store) changeArgs(c gateway.Change, office string, updated time.Time) []any {
	leave := func(v string) any {
		if v == "" {
			return nil
		}
		return v
	}
	var step, due, kind, code, markDue, tries, detail any
	raise, unlease := 0, 0
	if c.Fence != 0 {
		unlease = 1
	}
	if c.Work != nil {
		step, due = string(c.Work.Step), micros(c.Work.Due)
		if c.Fence == 0 {
			raise, unlease = 1, 1
		}
	}
	if c.Mark != nil {
		kind, code, markDue, tries, detail = string(c.Mark.Kind), c.Mark.Code, micros(c.Mark.Due), c.Mark.Tries, c.Mark.Detail
	}
	return []any{
		c.ID, c.Version, string(c.State), string(c.To), c.Version + len(c.Events), office, micros(updated),
		leave(s.keys.surname(c.Surname)), leave(s.keys.tracker(c.ID, c.Tracker)),
		step, due, raise, unlease, kind, code, markDue, tries, detail,
	}
}

// compare checks what the caller believed and answers the office and the persons
// so far.
func compare(t *tx, c gateway.Change) (office string, persons []string, err error) {
	var state gateway.State
	var version int
	var fence int64
	var digests string
	found, err := t.get(t.either(sqlStand, sqlStand+` FOR UPDATE OF r`), []any{c.ID}, &state, &version, &office, &fence, &digests)
	if err != nil {
		return "", nil, err
	}
	switch {
	case !found:
		return "", nil, notFound()
	case c.Fence != 0 && c.Fence != fence && !fault.Mutant("store.fence-work"):
		return "", nil, gateway.NewError(gateway.Conflict, "lease_lost")
	case state != c.State || version != c.Version:
		return "", nil, gateway.NewError(gateway.Conflict, "state_moved")
	}
	return office, strings.Fields(digests), nil
}

// changeError names the only unique index a change can hit: a request becoming
// open again while the person has another.
func changeError(err error) error {
	if gateway.KindOf(translate("", err)) == gateway.Conflict {
		return &gateway.Error{Kind: gateway.Conflict, Code: "already_open", Err: wrapped("change request", err)}
	}
	return err
}

// setPersons makes the list of who may see a request what it must be; an empty
// one leaves it, since a request always has its applicant.
func setPersons(t *tx, id, office string, have, want []string) error {
	if len(want) == 0 || slices.Equal(have, want) {
		return nil
	}
	for _, p := range have {
		if !slices.Contains(want, p) {
			_, err := t.exec(t.either(sqlDropPerson, `SELECT airegw_drop_person($1, $2)`), id, p)
			if err != nil {
				return err
			}
		}
	}
	for _, p := range want {
		if !slices.Contains(have, p) {
			_, err := t.exec(sqlAddPerson, p, id, office)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// commitRest does what a change says about core events and halves.
func commitRest(t *tx, c gateway.Change, now int64) error {
	if c.Applied != nil {
		_, err := t.exec(sqlApplied, c.Applied.OrderKey, c.Applied.Seq)
		if err != nil {
			return err
		}
	}
	err := commitPassage(t, c.Passage)
	if err != nil {
		return err
	}
	if c.Printed != "" {
		_, err := t.exec(sqlPrinted, c.Printed, now)
		if err != nil {
			return err
		}
	}
	if c.WipeKey != "" {
		_, err := t.exec(sqlWipe, c.WipeKey, now)
		if err != nil {
			return err
		}
	}
	if c.Unpark {
		_, err := t.exec(sqlUnparkOutbox, c.ID, now)
		if err != nil {
			return err
		}
		_, err = t.exec(sqlUnparkCore, c.ID)
		if err != nil {
			return err
		}
	}
	return nil
}

// strings1 reads a column of text and closes rows.
func strings1(rows *sql.Rows) ([]string, error) {
	defer rows.Close()
	var all []string
	for rows.Next() {
		var v string
		err := rows.Scan(&v)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// Find implements gateway.Store. A fiscal code finds requests that name it as
// applicant or parent.
func (s *Store) Find(ctx context.Context, scope gateway.Scope, q gateway.Criteria) ([]gateway.Row, error) {
	return s.find(ctx, s.sight(scope), q)
}

// findQuery answers the query of a list and its arguments. ok is false when
// nothing can be found.
func (s *Store) findQuery(v sight, q gateway.Criteria) (text string, args []any, ok bool) {
	condition, arg, ok := v.where(1)
	if !ok {
		return "", nil, false
	}
	args = []any{arg}
	from := "requests r"
	where := []string{condition}
	and := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args))))
	}
	if number := strings.TrimSpace(q.Number); number != "" {
		and("r.id = ?", number)
	}
	if len(q.Numbers) > 0 {
		where = append(where, "r.id IN ("+listed(&args, q.Numbers)+")")
	}
	if q.FiscalCode != "" {
		// CROSS JOIN makes SQLite begin with the person's few requests rather than
		// with all of the office's; PostgreSQL reads it as any join.
		from = "request_persons f CROSS JOIN requests r"
		and("f.person_digest = ? AND r.id = f.request_id", s.keys.person(q.FiscalCode))
	}
	if q.Surname != "" {
		digest := s.keys.surname(q.Surname)
		if digest == "" {
			return "", nil, false // nothing but punctuation: nobody's surname
		}
		and("r.surname_digest = ? AND r.surname_digest <> ''", digest)
	}
	if len(q.States) > 0 {
		where = append(where, "r.state IN ("+listed(&args, q.States)+")")
	}
	if q.Marked != "" {
		and("r.mark_kind = ? AND r.mark_kind <> ''", string(q.Marked))
	}
	if q.After != "" {
		// The row of the page before must be seen too, else its place in time
		// would leak.
		args = append(args, q.After)
		n := "$" + strconv.Itoa(len(args))
		inner := strings.ReplaceAll(condition, "r.", "a.")
		where = append(where, "(r.created_at, r.id) < (SELECT a.created_at, a.id FROM requests a WHERE a.id = "+n+" AND "+inner+")")
	}
	limit := q.Limit
	if limit <= 0 {
		limit = 50
	}
	args = append(args, min(limit, 500))
	return `SELECT r.id, r.state, r.office_id, r.created_at, r.updated_at,
	r.mark_kind, r.mark_code, r.mark_due, r.mark_tries, r.mark_detail
FROM ` + from + ` WHERE ` + strings.Join(where, " AND ") + ` ORDER BY r.created_at DESC, r.id DESC LIMIT $` + strconv.Itoa(len(args)), args, true
}

// listed adds values to a query's arguments and answers the places they have.
func listed[T ~string](args *[]any, values []T) string {
	places := make([]string, len(values))
	for i, v := range values {
		*args = append(*args, string(v))
		places[i] = "$" + strconv.Itoa(len(*args))
	}
	return strings.Join(places, ", ")
}

func (s *Store) find(ctx context.Context, v sight, q gateway.Criteria) ([]gateway.Row, error) {
	err := s.alive()
	if err != nil {
		return nil, err
	}
	ctx = v.in(ctx)
	text, args, ok := s.findQuery(v, q)
	if !ok {
		return nil, nil
	}
	rows, err := s.reader.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, translate("find requests", err)
	}
	defer rows.Close()
	var found []gateway.Row
	for rows.Next() {
		var r gateway.Row
		var office string
		var created, updated, due int64
		err = rows.Scan(&r.ID, &r.State, &office, &created, &updated,
			&r.Mark.Kind, &r.Mark.Code, &due, &r.Mark.Tries, &r.Mark.Detail)
		if err != nil {
			return nil, translate("find requests", err)
		}
		r.Office, r.CreatedAt, r.UpdatedAt, r.Mark.Due = gateway.OfficeFromID(office), instant(created), instant(updated), instant(due)
		found = append(found, r)
	}
	err = rows.Err()
	if err != nil {
		return nil, translate("find requests", err)
	}
	return found, nil
}

// Track implements gateway.Store. The comparison takes the same time whether
// the number exists or not.
func (s *Store) Track(ctx context.Context, id, code string) error {
	stored := strings.Repeat("0", 2*digestSize)
	found, err := s.get(ctx, `SELECT tracker_digest FROM requests WHERE id = $1`, []any{id}, &stored)
	if err != nil {
		return translate("track request", err)
	}
	given := s.keys.tracker(id, code)
	same := subtle.ConstantTimeCompare([]byte(stored), []byte(given)) == 1
	if !found || (!same && !fault.Mutant("store.tracker")) || given == "" {
		return notFound()
	}
	return nil
}
