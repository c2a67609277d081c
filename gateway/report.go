package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"airegw/anpr"
	"airegw/policies"
)

// A citizen reports that the card was stolen or lost (B.1.8). The report is an
// event about the card, not about a request: from then on no office takes the
// card for proof of who somebody is, whoever has to know of stolen cards is told
// (A12), and a new request finds the police report filled in. It does not block
// the card itself: that is done with the police report by the Ministry's own
// line, which the page says.

// ReportKind says what happened to a card.
type ReportKind string

// The kinds of report.
const (
	ReportTheft ReportKind = "theft"
	ReportLoss  ReportKind = "loss"
)

// CardReportInput is what a citizen says.
type CardReportInput struct {
	Key    string     `json:"key"` // idempotency key, born with the form
	Kind   ReportKind `json:"kind"`
	On     string     `json:"on"`               // YYYY-MM-DD, the day it was noticed
	Card   string     `json:"card,omitempty"`   // the card's number, where known
	Police *Report    `json:"police,omitempty"` // when made already
}

// CardReport is a report as stored.
type CardReport struct {
	ID     string // D, year, nine characters
	At     time.Time
	Actor  Actor
	Person string // fiscal code of the holder
	CardReportInput
}

// CardReportStore keeps reports. Errors are those of Store.
type CardReportStore interface {
	// SaveCardReport stores a report and its audit entry in one commit. A form key
	// seen before answers the report it made and created=false; with another
	// digest Conflict "key_reused".
	SaveCardReport(ctx context.Context, r CardReport, digest string, audit ...AuditEntry) (id string, created bool, err error)
	// CardReports answers a person's reports, newest first.
	CardReports(ctx context.Context, fiscalCode string) ([]CardReport, error)
	// UntoldCardReports answers up to n reports nobody was told of, oldest first;
	// CardReportTold marks one.
	UntoldCardReports(ctx context.Context, n int) ([]CardReport, error)
	CardReportTold(ctx context.Context, id string, at time.Time) error
}

// CardEvents is whoever has to know of stolen and lost cards (A12: the Public
// Security department). Tell must be idempotent by the report's ID: a report is
// told again after any failure, the oldest first. *CardEventRefused when the
// receiver is in order and takes this one not: the others do not wait for it.
type CardEvents interface {
	Tell(ctx context.Context, r CardReport) error
}

// CardEventRefused says that the receiver does not take this report as it is.
type CardEventRefused struct{ Err error }

func (e *CardEventRefused) Error() string {
	return "the receiver of card events refuses: " + e.Err.Error()
}

// Unwrap answers the client's own error.
func (e *CardEventRefused) Unwrap() error { return e.Err }

// ReportCard takes a report of theft or loss from the holder, at the login level
// the rules ask for. When it returns nil the report is durable; it answers the
// report's number. The same form again answers the same number.
func (d Desk) ReportCard(ctx context.Context, in CardReportInput) (string, error) {
	person, ok := d.scope.Person()
	if !ok {
		return "", NewError(Forbidden, "citizen_only")
	}
	if err := d.levelled(policies.ActReportLoss); err != nil {
		return "", err
	}
	now := d.g.clock.Now()
	if err := checkCardReport(in, now); err != nil {
		return "", err
	}
	code, err := d.g.code(9)
	if err != nil {
		return "", wrap("draw number", err)
	}
	r := CardReport{ID: now.In(policies.Rome()).Format("D06-") + code, At: now, Actor: d.scope.actor, Person: person, CardReportInput: in}
	r.Key = d.namespace() + "\n" + in.Key
	id, created, err := d.g.store.SaveCardReport(ctx, r, in.digest(), AuditEntry{
		At: now, Actor: d.scope.actor, Act: "card_reported", Subject: r.ID, Payload: map[string]string{"kind": string(in.Kind)},
	})
	if err != nil {
		return "", wrap("store report", err)
	}
	if created {
		poke(d.g.wakeReports)
	}
	return id, nil
}

func (in CardReportInput) digest() string {
	b, err := json.Marshal(in)
	if err != nil {
		panic(fmt.Sprintf("gateway: %T: %v", in, err)) // plain texts always marshal
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func checkCardReport(in CardReportInput, now time.Time) error {
	var problems []Problem
	bad := func(field, code string) { problems = append(problems, Problem{Field: field, Code: code}) }
	if !keyShape.MatchString(in.Key) {
		bad("/key", "key_shape")
	}
	if in.Kind != ReportTheft && in.Kind != ReportLoss {
		bad("/kind", "report_kind_unknown")
	}
	past := func(field, text string) {
		date, err := policies.ParseDate(text)
		switch {
		case err != nil:
			bad(field, "date_impossible")
		case policies.DateOf(now).Before(date):
			bad(field, "date_in_future")
		}
	}
	past("/on", in.On)
	if in.Card != "" && !cardShape.MatchString(in.Card) {
		bad("/card", "card_number_shape")
	}
	if p := in.Police; p != nil {
		if !reportShape.MatchString(p.Authority) {
			bad("/police/authority", "report_authority_missing")
		}
		if p.Number != "" && !reportShape.MatchString(p.Number) {
			bad("/police/number", "report_authority_missing")
		}
		past("/police/date", p.Date)
	}
	if len(problems) > 0 {
		return &Error{Kind: Invalid, Code: "invalid_input", Problems: problems}
	}
	return nil
}

// MyCardReports answers the citizen's own reports, newest first.
func (d Desk) MyCardReports(ctx context.Context) ([]CardReport, error) {
	person, ok := d.scope.Person()
	if !ok {
		return nil, NewError(Forbidden, "citizen_only")
	}
	list, err := d.g.store.CardReports(ctx, person)
	return list, wrap("read reports", err)
}

// CardReportsOf answers what the applicant of a request reported about the card
// they have now, newest first: whoever sees the request sees it.
func (d Desk) CardReportsOf(ctx context.Context, r *Request) ([]CardReport, error) {
	list, err := d.g.store.CardReports(ctx, r.Input.Applicant.FiscalCode)
	if err != nil || len(list) == 0 {
		return nil, wrap("read reports", err)
	}
	// A card handed over since is another card.
	since, err := d.g.store.Find(ctx, systemScope("report"), Criteria{
		FiscalCode: r.Input.Applicant.FiscalCode, States: []State{StateDelivered}, Limit: 1,
	})
	if err != nil {
		return nil, wrap("list requests", err)
	}
	return slices.DeleteFunc(list, func(c CardReport) bool {
		return len(since) > 0 && c.At.Before(since[0].UpdatedAt)
	}), nil
}

// cardProves refuses an old card as proof of identity once its holder reported
// it stolen or lost: whoever shows it found it, or stole it.
func (d Desk) cardProves(ctx context.Context, number, identity string) error {
	if identity != "paper_card" && identity != "electronic_card" {
		return nil
	}
	r, err := d.g.load(ctx, d.scope, number)
	if err != nil {
		return err
	}
	list, err := d.CardReportsOf(ctx, r)
	if err != nil || len(list) == 0 {
		return err
	}
	return NewError(Conflict, "card_reported", "report", list[0].ID)
}

// TellOnce tells whoever has to know of the reports that are waiting; without
// anybody to tell they wait. again says that more may wait.
func (g *Gateway) TellOnce(ctx context.Context) (again bool, err error) {
	if g.cards == nil {
		return false, nil
	}
	const most = 100
	list, err := g.store.UntoldCardReports(ctx, most)
	if err != nil {
		return false, wrap("read reports", err)
	}
	told := 0
	for _, r := range list {
		err = g.cards.Tell(ctx, r)
		g.saw("card_events", err)
		var refused *CardEventRefused
		if errors.As(err, &refused) {
			g.log.Warn("a report of a card is not taken by its receiver", "report", r.ID, "err", err)
			continue
		}
		if err != nil {
			break // logged as a peer out of order; it is told again
		}
		err = g.store.CardReportTold(ctx, r.ID, g.clock.Now())
		if err != nil {
			return false, wrap("note that a report was told", err)
		}
		told++
	}
	return told > 0 && len(list) == most, nil
}

// OwnRecord is what the register last said of a person, and when.
type OwnRecord struct {
	Request string // the request it was asked for
	State   State  // of that request
	At      time.Time
	Record  anpr.Record
}

// recordsSought is how many of the newest requests are looked through.
const recordsSought = 10

// OwnRecord answers what the register said of the citizen the last time somebody
// asked because of a request: the register is never asked because of a look.
// NotFound "no_record" when nobody has asked yet. The look is audited.
func (d Desk) OwnRecord(ctx context.Context) (OwnRecord, error) {
	person, ok := d.scope.Person()
	if !ok {
		return OwnRecord{}, NewError(Forbidden, "citizen_only")
	}
	if err := d.levelled(policies.ActView); err != nil {
		return OwnRecord{}, err
	}
	rows, err := d.g.store.Find(ctx, d.scope, Criteria{Limit: recordsSought})
	if err != nil {
		return OwnRecord{}, wrap("list requests", err)
	}
	var last OwnRecord
	for _, row := range rows {
		r, err := d.g.load(ctx, d.scope, row.ID)
		if err != nil {
			return OwnRecord{}, err
		}
		if r.Register == nil || r.Register.At.Before(last.At) || (r.Register.At.Equal(last.At) && r.State.Final()) {
			continue
		}
		if found, ok := r.registerOf(person); ok {
			last = OwnRecord{Request: r.ID, State: r.State, At: r.Register.At, Record: found}
		}
	}
	if last.Request == "" {
		return OwnRecord{}, NewError(NotFound, "no_record")
	}
	err = d.g.store.Audit(ctx, AuditEntry{At: d.g.clock.Now(), Actor: d.scope.actor, Act: "record_seen", Subject: last.Request})
	return last, wrap("audit look", err)
}

// registerOf answers what the register said of one of the persons a request names.
func (r *Request) registerOf(person string) (anpr.Record, bool) {
	if r.Input.Applicant.FiscalCode == person {
		return r.Register.Applicant, r.Register.Applicant.Found
	}
	for i, p := range r.Input.Parents {
		if p.FiscalCode == person && i < len(r.Register.Parents) {
			return r.Register.Parents[i], r.Register.Parents[i].Found
		}
	}
	return anpr.Record{}, false
}
