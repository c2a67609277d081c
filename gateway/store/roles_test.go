package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/store"
	"airegw/gateway/store/pgtest"
	"airegw/gateway/store/storetest"
)

// Statements without any condition of ours, as the web role: row security alone
// keeps the offices apart.
func TestRawSQLAsTheWebRoleSeesNoForeignRow(t *testing.T) {
	t.Parallel()
	h, address, clock := newHome(t), pgtest.Database(t), storetest.NewClock()
	o := h.shared(address, clock.Now)
	o.Role = store.RoleWeb
	web := open(t, o)
	offices := []gateway.Office{
		{Kind: gateway.OfficeComune, Code: "054013"}, {Kind: gateway.OfficeComune, Code: "058091"}, {Kind: gateway.OfficePost, Code: "ar-buenos-aires"}, {},
	}
	const each = 3
	var citizen string
	for i, office := range offices {
		for n := range each {
			r := submission(i*each+n, clock.Now())
			r.Office = office
			r.Audit[0].Actor.Office = office
			_, _, err := web.Create(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			err = web.Commit(t.Context(), gateway.Change{
				ID: r.ID, Version: 1, State: gateway.StateSubmitted, To: gateway.StateSubmitted, Office: office,
				Events:     []gateway.Event{{Seq: 2, Type: gateway.EventDecided, To: gateway.StateSubmitted, At: clock.Now()}},
				Outbox:     []gateway.Outbox{{OrderKey: r.ID + ".1", Kind: gateway.OutboxSubmission, Key: r.ID, Due: clock.Now()}},
				Clearances: tellNext(r, offices, i, clock.Now()),
			})
			if err == nil {
				err = web.PutHalves(t.Context(), r.ID, r.ID+".1", gateway.Halves{PIN: "1", PUK: "2"})
			}
			if err == nil {
				err = web.SaveCoreEvents(t.Context(), []gateway.CoreEvent{{EventID: r.ID, OrderKey: r.ID + ".1", Seq: 1, Type: "x"}}, "")
			}
			if err == nil && !office.IsZero() {
				err = web.PutClient(t.Context(), store.Client{ID: r.ID, Office: office, JWKS: []byte(`{}`)})
			}
			if err != nil {
				t.Fatal(err)
			}
			citizen = web.PersonDigest(r.Applicant)
		}
	}
	tables := map[string]int64{
		"requests": each, "request_persons": each, "events": 2 * each, "outbox": each, "core_events": each, "halves": each,
		"audit_entries": 3 * each, "clients": each, "clearances": each,
	}
	ask := func(office, person, text string) int64 {
		t.Helper()
		n, err := web.Raw(office, person, text)
		if err != nil {
			t.Fatalf("%q as %q: %v", text, office, err)
		}
		return n
	}
	for table, own := range tables {
		for _, office := range offices[:3] {
			if n := ask(office.ID(), "", `SELECT COUNT(*) FROM `+table); n != own {
				t.Errorf("%s shows %s %d rows, %d are its own", table, office.ID(), n, own)
			}
			if n := ask(office.ID(), "", `SELECT COUNT(*) FROM `+table+` WHERE office_id <> '`+office.ID()+`'`); n != 0 {
				t.Errorf("%s shows %s %d foreign rows", table, office.ID(), n)
			}
		}
		for _, nobody := range []string{"", "comune:999999"} {
			if n := ask(nobody, "", `SELECT COUNT(*) FROM `+table); n != 0 {
				t.Errorf("%s shows %q %d rows", table, nobody, n)
			}
		}
		if n := ask("*", "", `SELECT COUNT(*) FROM `+table); n < each*3 {
			t.Errorf("the gateway itself sees %d rows of %s", n, table)
		}
		if table == "audit_entries" || table == "clients" || table == "clearances" {
			continue
		}
		if n := ask("", citizen, `SELECT COUNT(*) FROM `+table); n != own/each {
			t.Errorf("%s shows a citizen %d rows, %d are theirs", table, n, own/each)
		}
	}
	mine := offices[0].ID()
	if n := ask(mine, "", `UPDATE requests SET surname_digest = 'x'`); n != each {
		t.Errorf("an office changed %d rows, %d are its own", n, each)
	}
	for _, text := range []string{
		`UPDATE requests SET office_id = '` + offices[1].ID() + `'`,
		`INSERT INTO request_persons (person_digest, request_id, office_id) VALUES (repeat('a', 32), 'R26-000000003', '` + offices[1].ID() + `')`,
	} {
		_, err := web.Raw(mine, "", text)
		if err == nil || !strings.Contains(err.Error(), "row-level security") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, table := range []string{
		"requests", "request_persons", "events", "outbox", "core_events", "halves", "series", "audit_entries", "audit_payloads", "audit_blocks",
		"sessions", "clients", "used_jti", "revocations", "rule_sets", "rule_approvals", "consular_rates", "passages", "reconciliations", "meta", "goose_db_version",
		"login_attempts", "login_records", "login_shared", "login_tokens", "operator_cards",
		"card_reports", "session_list", "registry_dialogues", "clearances",
	} {
		refused(t, web, `DELETE FROM `+table)
		refused(t, web, `TRUNCATE `+table)
	}
	refused(t, web, `UPDATE events SET actor = ''`)
	refused(t, web, `UPDATE events SET office_id = '`+mine+`'`)
	refused(t, web, `UPDATE login_records SET digest = ''`)
	refused(t, web, `UPDATE login_shared SET digest = ''`)
	refused(t, web, `UPDATE audit_entries SET actor = ''`)
	refused(t, web, `UPDATE audit_payloads SET payload = ''`)
	refused(t, web, `SELECT COUNT(*) FROM audit_payloads`)
	refused(t, web, `INSERT INTO audit_blocks (block_no, first_id, last_id, entries, seals, head, mac, sealed_at) VALUES (1, 1, 1, 1, '', '', '', 1)`)
	refused(t, web, `ALTER TABLE requests DISABLE ROW LEVEL SECURITY`)

	// The work role sees all and seals what the web role left.
	o.Role = store.RoleWork
	work := open(t, o)
	n, err := work.Raw("", "", `SELECT COUNT(*) FROM requests`)
	if err != nil || n != int64(len(offices)*each) {
		t.Fatalf("%d %v", n, err)
	}
	sealed, err := web.Seal(t.Context())
	if err != nil || sealed != 0 {
		t.Fatalf("the web role sealed %d, %v", sealed, err)
	}
	sealed, err = work.Seal(t.Context())
	if err != nil || sealed != 3*each*len(offices)+3*each { // each notice is a line
		t.Fatalf("the work role sealed %d, %v", sealed, err)
	}
	_, _, err = work.Retain(t.Context(), gateway.Retention{}, clock.Now(), gateway.Actor{})
	if err != nil {
		t.Fatal(err)
	}
	report, err := work.VerifyAudit(t.Context())
	if err != nil || !report.OK() {
		t.Fatalf("%+v %v", report, err)
	}
}

// tellNext tells the next of the three offices of a request of one of them.
func tellNext(r gateway.NewRequest, offices []gateway.Office, i int, now time.Time) *gateway.ClearanceChange {
	if offices[i].IsZero() {
		return nil
	}
	to := offices[(i+1)%3]
	return &gateway.ClearanceChange{Tell: []gateway.Clearance{{
		ID: r.ID + "." + to.Code, Request: r.ID, Office: to, As: gateway.ToldPost, Asked: offices[i],
		ToldAt: now, LastDay: "2026-11-25", Until: now.Add(time.Hour),
	}}}
}

func refused(t *testing.T, web *store.Store, text string) {
	t.Helper()
	_, err := web.Raw("*", "", text)
	if err == nil || !strings.Contains(err.Error(), "permission denied") && !strings.Contains(err.Error(), "must be owner") {
		t.Errorf("%s: %v", text, fmt.Sprint(err))
	}
}

// TestTheTransactionRegisterIsExportedByWhoMayReadIt: what serves pages writes it
// and never reads it as a whole; who is appointed uses another user of the
// database.
func TestTheTransactionRegisterIsExportedByWhoMayReadIt(t *testing.T) {
	t.Parallel()
	h, address := newHome(t), pgtest.Database(t)
	o := h.shared(address, atNoon)
	o.Role = store.RoleWeb
	web := open(t, o)
	registerOf(t, web)
	_, err := web.ExportLogin(t.Context(), "AAAA-1")
	wantCode(t, err, gateway.Forbidden, "login_register_role")
	// A user who has no more rights than that role, without taking it on.
	for _, s := range []string{"clerk", "auditor"} {
		pgtest.Exec(t, address, `CREATE ROLE `+s+` LOGIN`)
	}
	pgtest.Exec(t, address, `GRANT airegw_web TO clerk`, `GRANT airegw_work TO auditor`)
	for user, may := range map[string]bool{"postgres": true, "auditor": true, "clerk": false} {
		o = h.shared(strings.Replace(address, "user=postgres", "user="+user, 1), atNoon)
		o.ReadOnly = true
		e, err := open(t, o).ExportLogin(t.Context(), "AAAA-1")
		if !may {
			wantCode(t, err, gateway.Forbidden, "login_register_role")
			if len(e.Records) != 0 {
				t.Errorf("%s sees %d records beside the error", user, len(e.Records))
			}
			continue
		}
		if err != nil || len(e.Records) != 4 {
			t.Errorf("%s: %d records, %v", user, len(e.Records), err)
		}
	}
	o = h.shared(address, atNoon)
	o.Role = store.RoleWork
	if e, err := open(t, o).ExportLogin(t.Context(), "AAAA-2"); err != nil || len(e.Records) != 4 {
		t.Errorf("the work role: %d records, %v", len(e.Records), err)
	}
}

func TestTheWebRoleEndsSessionsAndRoutesWithoutTheRightToDelete(t *testing.T) {
	t.Parallel()
	h, clock := newHome(t), storetest.NewClock()
	o := h.shared(pgtest.Database(t), clock.Now)
	o.Role = store.RoleWeb
	web := open(t, o)
	sessions := web.Sessions()
	err := sessions.CommitCtx(t.Context(), "token", []byte("data"), clock.Now().AddDate(0, 0, 1))
	if err == nil {
		err = sessions.DeleteCtx(t.Context(), "token")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, found, err := sessions.FindCtx(t.Context(), "token")
	if err != nil || found {
		t.Fatalf("an ended session is found: %v %v", found, err)
	}
	err = web.Revoke(t.Context(), "operator", "op")
	if err == nil {
		err = web.Reinstate(t.Context(), "operator", "op")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, revoked, err := web.Revoked(t.Context(), "operator", "op")
	if err != nil || revoked {
		t.Fatalf("reinstated and revoked: %v %v", revoked, err)
	}
	o = h.shared("", clock.Now)
	o.Path, o.Role = h.path(), store.RoleWeb
	_, err = store.Open(t.Context(), o)
	wantCode(t, err, gateway.Invalid, "store_options") // SQLite has no roles
}

func TestAUserWhoMayNotMakeRolesServesWithoutThem(t *testing.T) {
	t.Parallel()
	h, address, clock := newHome(t), pgtest.Database(t), storetest.NewClock()
	pgtest.Exec(t, address, `CREATE ROLE plain LOGIN`, `GRANT CREATE, USAGE ON SCHEMA public TO plain`)
	plain := strings.Replace(address, "user=postgres", "user=plain", 1)
	s := open(t, h.shared(plain, clock.Now))
	_, _, err := s.Create(t.Context(), submission(1, clock.Now()))
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.LoadAll(t.Context(), "R26-000000001")
	if err != nil || n != 1 {
		t.Fatalf("%d %v", n, err)
	}
	o := h.shared(plain, clock.Now)
	o.Role = store.RoleWeb
	_, err = store.Open(t.Context(), o)
	wantCode(t, err, gateway.Invalid, "store_roles")
}
