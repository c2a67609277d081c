package anpr

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	_ "time/tzdata" // dates of the register are Rome's, on machines without zone files too
	"unicode/utf8"

	"github.com/google/uuid"

	"airegw/gateway/jose"
	"airegw/gateway/outbound"
)

// Service is an e-service of ANPR on PDND by its use case code. The same codes
// mean other things at other doors (spec §0).
type Service string

// The services of the AIRE check, in the order they are asked (spec §1.2).
const (
	C030 Service = "C030" // fiscal code → idANPR
	C015 Service = "C015" // generalità, AIRE flag
	C020 Service = "C020" // foreign address, consulate
	C019 Service = "C019" // alive
	C018 Service = "C018" // citizenship
)

var flow = []Service{C030, C015, C020, C019, C018}

// ServiceConfig is one granted service. Base URL, audience and purpose are
// three values that agree in nothing (spec §1.1).
type ServiceConfig struct {
	// BaseURL as published, with the -PDND segment; the operation is appended.
	BaseURL string
	// Audience of the Agid-JWT-* tokens, without -PDND and without the operation.
	Audience string
	// PurposeID of PDND, a uuid.
	PurposeID string
	// Out calls this service; a breaker and limits per service.
	Out *outbound.Client
	// PerDay is our own budget of calls a day, at most the quota granted; 0 sets
	// none. Needs ClientConfig.Quota.
	PerDay int
}

// OperationIDs gives the next idOperazioneClient: digits, at most 30, greater
// than every one given before, also before a restart (spec §1.4, §8 row 33: a
// repeated id is answered with the earlier answer). The store implements it.
type OperationIDs interface {
	NextOperationID(ctx context.Context) (string, error)
}

// ClientConfig of a Client.
type ClientConfig struct {
	ClientID string   // of PDND, a uuid
	Key      jose.Key // RS256; its kid is registered at PDND
	// NextKey, when given, is the second key of a rotation, registered too: the
	// client changes over when the first is refused.
	NextKey       jose.Key
	TokenURL      string // of PDND
	TokenAudience string // aud of the client assertion, no scheme (spec §2.2)
	Token         *outbound.Client
	// Services that are granted; a service missing here is simply not asked.
	// One of C030, C015, C020 must be there.
	Services     map[Service]ServiceConfig
	OperationIDs OperationIDs
	// Quota remembers what was spent and when to stop; nil: nothing is counted.
	Quota Quota
	// StrictOrder sends one call at a time, so that ids also arrive in order;
	// for a register that refuses a lower id (the old wording, spec §1.4).
	StrictOrder bool
	// PostServes tells whether a consular post (ANPR code) serves a state
	// (ISTAT code); nil leaves the question to others.
	PostServes func(post, stateISTAT string) (serves, known bool)

	Clock  func() time.Time
	Rand   io.Reader // ids and nonces
	Logger *slog.Logger
}

// Client asks the register. Safe for concurrent use.
type Client struct {
	cfg      ClientConfig
	rome     *time.Location
	keys     []jose.Key
	active   atomic.Int32 // index of the key that was accepted last
	vouchers vouchers
	traces   tracer
	order    sync.Mutex   // StrictOrder
	random   sync.Mutex   // Rand need not be safe
	skew     atomic.Int64 // nanoseconds, register minus us
}

// Actor is the audit identity of a question (AUDIT_REST_02). For a worker the
// user is the service's own id; for a citizen an opaque id, never a code that
// names them.
type Actor struct {
	User     string // opaque id of who asks, at most 100 characters
	Location string // station, "portal" or service id, at most 100
	LoA      string // level of the login, at most 20 (spec §3.4)
}

// Query is one question about one person.
type Query struct {
	FiscalCode string // sixteen characters, or eleven digits; upper case
	// Reason is the number of the request (motivoRichiesta, audit).
	Reason string
	Actor  Actor
	// AsOf asks for the record of a past day; zero is today in Rome.
	AsOf time.Time
	// Surname and GivenName as declared, to be compared; may be empty.
	Surname, GivenName string
	// KnownSurname and KnownGivenName are what the register told last: door C wants
	// names beside the code and is asked with these where none are declared. They
	// are never compared, since a record that was wrong once would stay so.
	KnownSurname, KnownGivenName string
	// Urgency ranks the question where the day's budget runs short.
	Urgency Urgency
	// BirthDate (YYYY-MM-DD) and Sex (M, F) as declared; may be empty. With both
	// and the names, a person whom the register knows under another fiscal code
	// is looked for by personal data (spec §8 row 21).
	BirthDate, Sex string
	// AIREComune is the comune of AIRE registration as far as it is known; door C
	// cannot be asked without, door A does not need it.
	AIREComune ComuneRef
	// DeclaredComune is the comune of AIRE registration as the applicant or the
	// consular file says, before the register has told: it may be wrong.
	DeclaredComune ComuneRef
	// Post is the key of the consular post that the question is asked for, AnyPost
	// where it is not known yet, "" for a comune's.
	Post string

	probes []string // services whose stop this check tries
}

// AnyPost stands for the competent post, before it is known.
const AnyPost = "*"

// NewClient checks the configuration and makes a Client; it calls nobody.
func NewClient(cfg ClientConfig) (*Client, error) {
	switch {
	case uuid.Validate(cfg.ClientID) != nil:
		return nil, errors.New("anpr: client id is not a uuid")
	case cfg.Key.Algorithm() != jose.RS256:
		return nil, errors.New("anpr: the PDND key must be RS256")
	case !cfg.NextKey.IsZero() && (cfg.NextKey.Algorithm() != jose.RS256 || cfg.NextKey.KID() == cfg.Key.KID()):
		return nil, errors.New("anpr: the second PDND key must be RS256 and another one")
	case cfg.Token == nil || cfg.TokenURL == "" || cfg.TokenAudience == "":
		return nil, errors.New("anpr: token endpoint, its audience or its client missing")
	case strings.Contains(cfg.TokenAudience, "://"):
		return nil, errors.New("anpr: the audience of the client assertion has no scheme")
	case cfg.OperationIDs == nil || cfg.Clock == nil || cfg.Rand == nil:
		return nil, errors.New("anpr: operation ids, clock and randomness must be given")
	case len(cfg.Services) == 0:
		return nil, errors.New("anpr: no service is granted")
	}
	for s, sc := range cfg.Services {
		if err := checkService(s, sc, cfg.TokenAudience); err != nil {
			return nil, err
		}
	}
	c := &Client{cfg: cfg, keys: []jose.Key{cfg.Key}}
	if !cfg.NextKey.IsZero() {
		c.keys = append(c.keys, cfg.NextKey)
	}
	if !c.granted(C030) && !c.granted(C015) && !c.granted(C020) {
		return nil, errors.New("anpr: C030, C015 or C020 is needed")
	}
	if c.cfg.Logger == nil {
		c.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.rome, err = time.LoadLocation("Europe/Rome"); err != nil {
		return nil, fmt.Errorf("anpr: %w", err)
	}
	return c, nil
}

// checkService finds at start what the register would answer with a 400
// without a reason (spec §8 row 1).
func checkService(s Service, sc ServiceConfig, tokenAudience string) error {
	known := false
	for _, f := range flow {
		known = known || f == s
	}
	u, err := url.Parse(sc.BaseURL)
	switch {
	case !known:
		return fmt.Errorf("anpr: service %s is not one of the AIRE check", s)
	case sc.Out == nil:
		return fmt.Errorf("anpr %s: no client", s)
	case err != nil || u.Host == "" || u.RawQuery != "":
		return fmt.Errorf("anpr %s: base URL", s)
	case strings.HasSuffix(sc.BaseURL, operation):
		return fmt.Errorf("anpr %s: the base URL ends before the operation", s)
	case uuid.Validate(sc.PurposeID) != nil:
		return fmt.Errorf("anpr %s: purpose id is not a uuid", s)
	case sc.Audience == "":
		return fmt.Errorf("anpr %s: no audience", s)
	case strings.HasSuffix(sc.Audience, operation):
		return fmt.Errorf("anpr %s: the audience has no operation", s)
	case strings.Contains(sc.Audience, "MinInternoPortaANPR-PDND"):
		return fmt.Errorf("anpr %s: the audience has no -PDND", s)
	case sc.Audience == tokenAudience:
		return fmt.Errorf("anpr %s: the audience is that of PDND", s)
	case strings.ContainsRune(sc.BaseURL+sc.Audience, '–'):
		// Some published documents write the service's name with an en dash.
		return fmt.Errorf("anpr %s: an en dash in the address", s)
	}
	if code := serviceIn(sc.Audience); code != "" && code != string(s) {
		return fmt.Errorf("anpr %s: the audience is of %s", s, code)
	}
	if code := serviceIn(sc.BaseURL); code != "" && code != string(s) {
		return fmt.Errorf("anpr %s: the base URL is of %s", s, code)
	}
	return nil
}

const operation = "/anpr-service-e002"

// serviceIn finds "C0nn" at the start of a path segment.
func serviceIn(address string) string {
	for seg := range strings.SplitSeq(address, "/") {
		if len(seg) > 4 && seg[0] == 'C' && allDigits(seg[1:4]) && seg[4] == '-' {
			return seg[:4]
		}
	}
	return ""
}

func (c *Client) granted(s Service) bool { _, ok := c.cfg.Services[s]; return ok }

// Services that are granted, in the order they are asked.
func (c *Client) Services() []Service {
	var out []Service
	for _, s := range flow {
		if c.granted(s) {
			out = append(out, s)
		}
	}
	return out
}

// Check asks the granted services about one person and returns what they said
// as one Record, findings included. A *RegisterError means that the register
// did not say: the request waits (its Kind tells whether somebody must act),
// and nothing about the person follows from it.
func (c *Client) Check(ctx context.Context, q Query) (Record, error) {
	if err := q.check(); err != nil {
		return Record{}, err
	}
	probes, held := c.ready(ctx, q.Urgency)
	if held != nil {
		return Record{}, held
	}
	q.probes = probes
	now := c.cfg.Clock().UTC().Truncate(time.Millisecond)
	asOf := now
	if !q.AsOf.IsZero() {
		asOf = q.AsOf
	}
	rec := Record{
		Version: recordVersion, Provenance: FromANPR, AskedAt: now, AsOf: asOf.In(c.rome).Format(time.DateOnly), AskedFor: q.FiscalCode,
		Person: Person{FiscalCodeValidated: Unknown, AIRE: Unknown, Italian: Unknown, Alive: Unknown},
	}
	got, err := c.ask(ctx, q, &rec)
	if err != nil {
		err.Calls = rec.Calls
		c.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "register check failed",
			slog.String("service", string(err.Service)), slog.String("kind", string(err.Kind)), slog.String("code", string(err.Code)),
			slog.Int("status", err.Status), slog.String("title", err.Title), slog.String("source", string(err.Source)),
			slog.String("detail", err.Detail), slog.String("transaction", err.TransactionID),
			slog.Int64("clock_skew_ms", err.ClockSkew.Milliseconds()))
		return Record{}, err
	}
	rec.judge(q, got, c.cfg.PostServes)
	return rec, nil
}

func (c *Client) ask(ctx context.Context, q Query, rec *Record) (map[Service]bool, *RegisterError) {
	got := map[Service]bool{}
	key := criteria{CF: q.FiscalCode}
	reresolved := false
	for _, s := range flow {
		if !c.granted(s) {
			continue
		}
		r, err := c.call(ctx, s, key, q, rec)
		if err != nil {
			return got, err
		}
		if r.absent && key.ID != "" && !reresolved {
			reresolved = true
			if key, r, err = c.askAgain(ctx, s, key, r, q, rec); err != nil {
				return got, err
			}
		}
		if s == C030 && r.absent {
			id, err := c.byPersonalData(ctx, q, rec)
			if err != nil {
				return got, err
			}
			if id != "" {
				elsewhere, err := c.elsewhere(ctx, q, id, rec)
				if err != nil {
					return got, err
				}
				if elsewhere {
					rec.add(Finding{Code: FindingCFSuperseded, Service: s, Source: r.source()})
					key = criteria{ID: id}
					continue
				}
			}
		}
		for _, f := range r.findings {
			rec.add(f)
		}
		if r.subject != nil {
			if id := string(r.subject.Ids.ID); id != "" && rec.Person.IDANPR != "" && id != rec.Person.IDANPR {
				rec.add(Finding{Code: FindingDuplicate, Service: s, Detail: "id_differs"})
			}
			rec.merge(s, *r.subject)
			got[s] = true
		}
		if rec.Has(FindingDuplicate) {
			// Whose data would come next is a guess: a person decides (row 17).
			return got, nil
		}
		if s == C030 {
			if r.absent {
				return got, nil
			}
			if id := r.id(); id != "" {
				key = criteria{ID: id}
			}
		}
	}
	return got, nil
}

// byPersonalData asks C030 by name, sex and birth date for somebody whose
// fiscal code the register does not know. "" when it cannot be asked, or when
// not exactly one person answers.
func (c *Client) byPersonalData(ctx context.Context, q Query, rec *Record) (string, *RegisterError) {
	if q.Surname == "" || q.GivenName == "" || q.BirthDate == "" || q.Sex == "" || !c.granted(C015) {
		return "", nil
	}
	r, err := c.call(ctx, C030, criteria{
		Surname: strings.ToUpper(q.Surname), Name: strings.ToUpper(q.GivenName), Sex: q.Sex, Birth: &birthCriteria{Date: q.BirthDate},
	}, q, rec)
	if err != nil {
		return "", err
	}
	return r.id(), nil
}

// elsewhere tells whether the person of this id is surely the one asked for,
// under another fiscal code: name and birth date must be the declared ones. A
// namesake is not, and then nothing of them stays in the record.
func (c *Client) elsewhere(ctx context.Context, q Query, id string, rec *Record) (bool, *RegisterError) {
	r, err := c.call(ctx, C015, criteria{ID: id}, q, rec)
	if err != nil || r.subject == nil {
		return false, err
	}
	probe := Record{}
	probe.merge(C015, *r.subject)
	p := probe.Person
	return p.BirthDate == q.BirthDate &&
		CompareName(q.Surname, p.Surname) != NameDifferent && CompareName(q.GivenName, p.GivenName) != NameDifferent, nil
}

// askAgain is for a service that does not know the id C030 gave. The id may
// have changed since (spec §8 row 37): resolve it again, then ask by fiscal
// code, before "not there" is believed. It returns the key to go on with.
func (c *Client) askAgain(ctx context.Context, s Service, key criteria, r reading, q Query, rec *Record) (criteria, reading, *RegisterError) {
	byCF := criteria{CF: q.FiscalCode}
	fresh, err := c.call(ctx, C030, byCF, q, rec)
	if err != nil || fresh.id() == "" {
		return key, r, err
	}
	if id := fresh.id(); id != key.ID {
		key, rec.Person.IDANPR = criteria{ID: id}, id
		if r, err = c.call(ctx, s, key, q, rec); err != nil || !r.absent {
			return key, r, err
		}
	}
	again, err := c.call(ctx, s, byCF, q, rec)
	if err != nil {
		return key, r, err
	}
	if again.absent {
		return key, again, nil
	}
	return byCF, again, nil
}

// source is the register's code behind the first finding.
func (r reading) source() Code {
	if len(r.findings) == 0 {
		return ""
	}
	return r.findings[0].Source
}

func (r reading) id() string {
	if r.subject == nil {
		return ""
	}
	return string(r.subject.Ids.ID)
}

func (q Query) check() error {
	bad := func(field string) error {
		return &RegisterError{Kind: KindQuery, Code: CodeQuery, Detail: field}
	}
	plain := func(s string, most int) bool {
		if s == "" || len(s) > most || !utf8.ValidString(s) {
			return false
		}
		return cleanText(s) == s
	}
	switch {
	case len(q.FiscalCode) != 16 && (len(q.FiscalCode) != 11 || !allDigits(q.FiscalCode)):
		return bad("fiscal_code")
	case q.FiscalCode != clip(strings.ToUpper(q.FiscalCode), 16):
		return bad("fiscal_code")
	case !plain(q.Reason, 100):
		return bad("reason")
	case !plain(q.Actor.User, 100):
		return bad("actor.user")
	case !plain(q.Actor.Location, 100):
		return bad("actor.location")
	case !plain(q.Actor.LoA, 20):
		return bad("actor.loa")
	case q.BirthDate != "" && !dateShape.MatchString(q.BirthDate):
		return bad("birth_date")
	case q.Sex != "" && q.Sex != "M" && q.Sex != "F":
		return bad("sex")
	case !utf8.ValidString(q.Surname+q.GivenName) || len(q.Surname) > 320 || len(q.GivenName) > 320:
		return bad("name")
	}
	return nil
}

// The request of spec §1.4; every scalar a string.
type wireRequest struct {
	OperationID string      `json:"idOperazioneClient"`
	Criteria    criteria    `json:"criteriRicerca"`
	Data        requestData `json:"datiRichiesta"`
}

type criteria struct {
	CF string `json:"codiceFiscale,omitempty"`
	ID string `json:"idANPR,omitempty"`

	Surname string         `json:"cognome,omitempty"`
	Name    string         `json:"nome,omitempty"`
	Sex     string         `json:"sesso,omitempty"`
	Birth   *birthCriteria `json:"datiNascita,omitempty"`
}

type birthCriteria struct {
	Date string `json:"dataEvento"`
}

// one tells whether exactly one way of searching is filled.
func (c criteria) one() bool {
	personal := c.Surname != "" && c.Name != "" && c.Sex != "" && c.Birth != nil
	anyPersonal := c.Surname != "" || c.Name != "" || c.Sex != "" || c.Birth != nil
	if personal {
		return c.CF == "" && c.ID == ""
	}
	return !anyPersonal && (c.CF == "") != (c.ID == "")
}

type requestData struct {
	AsOf   string  `json:"dataRiferimentoRichiesta"`
	Reason string  `json:"motivoRichiesta"`
	Case   Service `json:"casoUso"`
}

// signatureClaims is the Agid-JWT-Signature of spec §3.3.
type signatureClaims struct {
	Iss     string         `json:"iss"`
	Sub     string         `json:"sub"`
	Aud     string         `json:"aud"`
	Jti     string         `json:"jti"`
	Iat     int64          `json:"iat"`
	Exp     int64          `json:"exp"`
	Headers []signedHeader `json:"signed_headers"`
}

// signedHeader is one element of an array of one-key objects.
type signedHeader struct {
	Digest      string `json:"digest,omitempty"`
	ContentType string `json:"content-type,omitempty"`
}

const contentType = "application/json"

// call asks one service, with one renewal of the voucher when the register
// refuses it (401, or the opaque 400 behind which a stale pair or a key not
// yet propagated may hide, spec §8 rows 5 and 6), then one try with the other
// key where there is one. Its evidence is appended to rec whatever comes out.
func (c *Client) call(ctx context.Context, s Service, who criteria, q Query, rec *Record) (reading, *RegisterError) {
	sc := c.cfg.Services[s]
	key := voucherKey{service: s, purposeID: sc.PurposeID, actor: q.Actor, signer: c.active.Load()}
	for try := 0; ; try++ {
		v, err := c.voucher(ctx, key, sc)
		if err != nil {
			err.Service = s
			return reading{}, err
		}
		c.resume(ctx, q, stopPDND)
		ev := Call{Service: s, PurposeID: sc.PurposeID, TrackingDigest: v.digest, VoucherRenewed: try > 0}
		r, err := c.send(ctx, s, sc, v, who, q, rec.AsOf, &ev)
		rec.Calls = append(rec.Calls, ev)
		if err == nil {
			c.active.Store(v.signer)
			c.resume(ctx, q, string(s))
			return r, nil
		}
		err.Service, err.TransactionID = s, ev.TransactionID
		if err.Kind == KindConfiguration {
			err.ClockSkew = time.Duration(c.skew.Load())
		}
		if err.Code != CodeTokenRefused && err.Code != CodeRequestRefused || try > len(c.keys)-1 {
			return reading{}, err
		}
		c.vouchers.drop(key, v)
		if try > 0 {
			key.signer = (v.signer + 1) % int32(len(c.keys)) //nolint:gosec // two keys at most
		}
	}
}

func (c *Client) send(ctx context.Context, s Service, sc ServiceConfig, v *voucher, who criteria, q Query, asOf string, ev *Call) (reading, *RegisterError) {
	if c.cfg.StrictOrder {
		c.order.Lock()
		defer c.order.Unlock()
	}
	sent := 0
	resp, err := sc.Out.Do(ctx, outbound.Request{
		Operation: string(s), Method: http.MethodPost, URL: sc.BaseURL + operation,
		// A question changes nothing: it may be repeated, each time with its own
		// operation id and signature.
		Idempotent: true,
		Accept:     func(int) bool { return true },
		Prepare: func(ctx context.Context, _ int) (http.Header, []byte, error) {
			if sent > 0 {
				c.trace(sc, v, 0) // the try before brought no whole answer
			}
			h, body, err := c.signed(ctx, s, sc, v, who, q, asOf, ev)
			if err == nil {
				sent++
			}
			return h, body, err
		},
	})
	if err != nil {
		if sent > 0 {
			c.trace(sc, v, 0)
		}
		return reading{}, transportError(err, c.cfg.Clock)
	}
	c.trace(sc, v, resp.Status)
	sum := sha256.Sum256(resp.Body)
	ev.Status, ev.Tries, ev.AnswerDigest = resp.Status, resp.Tries, hex.EncodeToString(sum[:])
	ev.TransactionID = clip(resp.Header.Get("GovWay-Transaction-ID"), 100)
	ev.MessageID = clip(resp.Header.Get("GovWay-Message-ID"), 100)
	ev.GlobalTransactionID = clip(resp.Header.Get("X-Global-Transaction-ID"), 100)
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		c.skew.Store(int64(at.Sub(c.cfg.Clock().Truncate(time.Second))))
	}
	r, rerr := readAnswer(s, resp.Status, resp.Body)
	ev.RegisterOperationID, ev.Notices = r.opID, r.notices
	if rerr != nil {
		rerr.Status = resp.Status
		wait, advised := advice(resp.Header)
		switch {
		case rerr.Code == CodeQuota:
			rerr.RetryAt = c.quotaEnd(resp.Header)
			c.stop(ctx, string(s), rerr, advised)
		case advised:
			rerr.RetryAt = c.cfg.Clock().UTC().Add(wait)
		}
		return reading{}, rerr
	}
	return r, nil
}

// signed builds one try: body, Digest, Agid-JWT-Signature, and checks it all
// before it leaves.
func (c *Client) signed(ctx context.Context, s Service, sc ServiceConfig, v *voucher, who criteria, q Query, asOf string, ev *Call) (http.Header, []byte, error) {
	// The booking and the next id are two durable writes: side by side they cost
	// one sync of the disk. An id that is not used then only leaves a gap.
	var held *RegisterError
	booked := make(chan struct{})
	go func() {
		defer close(booked)
		held = c.book(ctx, s, q.Urgency, c.cfg.Clock().UTC())
	}()
	id, err := c.cfg.OperationIDs.NextOperationID(ctx)
	<-booked
	if held != nil {
		return nil, nil, held
	}
	if err != nil {
		return nil, nil, &RegisterError{Kind: KindTemporary, Code: CodeNoOperationID, Service: s, Err: err}
	}
	jti, err := c.uuid()
	if err != nil {
		return nil, nil, &RegisterError{Kind: KindTemporary, Code: CodeInterrupted, Service: s, Detail: "random", Err: err}
	}
	now := c.cfg.Clock().UTC()
	ev.OperationID, ev.AskedAt = id, now.Truncate(time.Millisecond)
	body, err := json.Marshal(wireRequest{
		OperationID: id, Criteria: who, Data: requestData{AsOf: asOf, Reason: q.Reason, Case: s},
	})
	if err != nil {
		return nil, nil, &RegisterError{Kind: KindQuery, Code: CodeQuery, Service: s, Detail: "body"}
	}
	digest := bodyDigest(body)
	signature, err := jose.Sign(c.keys[v.signer], jose.TypeJWT, signatureClaims{
		Iss: c.cfg.ClientID, Sub: c.cfg.ClientID, Aud: sc.Audience, Jti: jti,
		Iat: now.Unix(), Exp: now.Add(signatureLife).Unix(),
		Headers: []signedHeader{{Digest: digest}, {ContentType: contentType}},
	})
	if err != nil {
		return nil, nil, &RegisterError{Kind: KindConfiguration, Code: CodePreflight, Service: s, Detail: "sign", Err: err}
	}
	header := http.Header{
		"Content-Type":              {contentType},
		"Accept":                    {"application/json, application/problem+json"},
		"Authorization":             {"Bearer " + v.token},
		"Digest":                    {digest},
		"Agid-Jwt-Signature":        {signature},
		"Agid-Jwt-Trackingevidence": {v.evidence},
	}
	rule := c.preflight(s, sc, c.keys[v.signer], header, body, now)
	if rule == "" && !v.fit.Load() {
		rule = c.preflightEvidence(sc, c.keys[v.signer], v.evidence, now)
		v.fit.Store(rule == "")
	}
	if rule != "" {
		return nil, nil, &RegisterError{Kind: KindConfiguration, Code: CodePreflight, Service: s, Detail: rule}
	}
	return header, body, nil
}

// transportError says what a failed call means. Nothing of it is about the
// person.
func transportError(err error, clock func() time.Time) *RegisterError {
	var mine *RegisterError
	if errors.As(err, &mine) {
		return mine // from Prepare
	}
	out := &RegisterError{Kind: KindTemporary, Code: CodeUnreachable, Err: err}
	var e *outbound.Error
	if !errors.As(err, &e) {
		return out
	}
	if e.RetryAfter > 0 {
		out.RetryAt = clock().UTC().Add(e.RetryAfter)
	}
	switch e.Kind {
	case outbound.KindTimeout:
		out.Code = CodeTimeout
	case outbound.KindBreakerOpen:
		out.Code = CodeBreakerOpen
	case outbound.KindCutBody, outbound.KindTooLarge, outbound.KindRedirect:
		out.Code = CodeCutAnswer
	case outbound.KindCanceled:
		out.Code = CodeInterrupted
	case outbound.KindTLS:
		out.Kind, out.Code = KindConfiguration, CodeTLS
	case outbound.KindRequest:
		out.Kind, out.Code, out.Detail = KindConfiguration, CodePreflight, "request"
	case outbound.KindUnreachable, outbound.KindStatus:
	}
	return out
}

// quotaEnd is when a quota opens again: what the answer says, else midnight in
// Rome (spec §1.8; ANPR sends no Retry-After).
func (c *Client) quotaEnd(h http.Header) time.Time {
	now := c.cfg.Clock()
	if wait, ok := advice(h); ok {
		return now.UTC().Add(wait)
	}
	return c.midnight(now)
}

func (c *Client) uuid() (string, error) {
	c.random.Lock()
	defer c.random.Unlock()
	id, err := uuid.NewRandomFromReader(c.cfg.Rand)
	if err != nil {
		return "", errRandom
	}
	return id.String(), nil
}

// digits13 draws a number of exactly thirteen digits (dnonce, spec §3.4).
func (c *Client) digits13() (int64, error) {
	c.random.Lock()
	defer c.random.Unlock()
	var b [8]byte
	if _, err := io.ReadFull(c.cfg.Rand, b[:]); err != nil {
		return 0, errRandom
	}
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return 1_000_000_000_000 + int64(n%9_000_000_000_000), nil
}
