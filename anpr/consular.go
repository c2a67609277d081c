package anpr

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"airegw/anpr/wssec"
	"airegw/gateway/fault"
	"airegw/gateway/outbound"
)

// The operations of door C, the consular SOAP service (spec §4.2bis). Its C001
// has nothing to do with the C001 of door A, hence the prefix.
const (
	ConsularC001 Service = "cons/C001" // the whole record of an AIRE subject
	ConsularC002 Service = "cons/C002" // ask the comune of AIRE registration to align its data
	ConsularC003 Service = "cons/C003" // ask for a fiscal code through the Revenue Agency
	ConsularC010 Service = "cons/C010" // is this person in AIRE?
)

// ConsularConfig of a Consular.
type ConsularConfig struct {
	URL         string // of the service, as published
	Sender      string // codMittente: six characters in the schema, free here (spec §9 question 5)
	Recipient   string // codDestinatario, ANPR00 when empty
	Environment string // tipoInvio: TEST, PRE_SUB, PROD or FREE
	Site        string // IdSede of the assertion
	Station     string // IdPostazione, at most 20: the one of the station certificate
	Application string // IdApplicazione
	// User is idUtente where the actor's own id has more than 16 characters; at
	// most 16. The assertion's subject is always the actor.
	User string

	Signer wssec.Signer
	// Answers checks the register's signature; UnsignedAnswers takes answers
	// without one, for a register that does not sign (TLS alone then vouches).
	Answers         wssec.Checker
	UnsignedAnswers bool

	Out          *outbound.Client
	OperationIDs OperationIDs
	PostServes   func(post, stateISTAT string) (serves, known bool) // as of ClientConfig

	Clock  func() time.Time
	Rand   io.Reader
	Logger *slog.Logger
}

// Consular asks the register through door C. It answers a check with the same
// Record as Client does, and carries the alignment requests of correction
// tasks. Safe for concurrent use.
//
// Promise, beside those of the package: nothing of an answer is read but the
// bytes the register signed; an answer that is not about our own question, by
// operation, id and time, is no answer (a repeated id is answered with the
// earlier answer even when the question differs, spec §4.2).
type Consular struct {
	cfg    ConsularConfig
	random sync.Mutex
	order  sync.Mutex
}

var (
	environments   = []string{"TEST", "PRE_SUB", "PROD", "FREE"}
	operationShape = regexp.MustCompile(`^[0-9]{1,30}$`)
)

// NewConsular checks the configuration and makes a Consular; it calls nobody.
func NewConsular(cfg ConsularConfig) (*Consular, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "":
		return nil, errors.New("anpr consular: URL")
	case cfg.Sender == "" || cfg.Site == "" || cfg.Station == "" || cfg.Application == "":
		return nil, errors.New("anpr consular: sender, site, station and application must be given")
	case len(cfg.Station) > 20:
		return nil, errors.New("anpr consular: the station has at most 20 characters")
	case cfg.User == "" || len(cfg.User) > 16:
		return nil, errors.New("anpr consular: the user has 1 to 16 characters")
	case !slices.Contains(environments, cfg.Environment):
		return nil, fmt.Errorf("anpr consular: the environment is one of %v", environments)
	case !cfg.Signer.Suite.Known():
		return nil, errors.New("anpr consular: unknown suite of algorithms")
	case cfg.Answers.Trust == nil && !cfg.UnsignedAnswers:
		return nil, errors.New("anpr consular: nobody is trusted to sign the answers")
	case cfg.Out == nil || cfg.OperationIDs == nil || cfg.Clock == nil || cfg.Rand == nil:
		return nil, errors.New("anpr consular: client, operation ids, clock and randomness must be given")
	}
	if cfg.Recipient == "" {
		cfg.Recipient = "ANPR00"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Consular{cfg: cfg}, nil
}

// Check asks C001 about one person; as Client.Check. Query.AIREComune must be
// given: the service knows no search without it.
func (c *Consular) Check(ctx context.Context, q Query) (Record, error) {
	if err := q.check(); err != nil {
		return Record{}, err
	}
	if !istatShape.MatchString(q.AIREComune.ISTAT) {
		return Record{}, &RegisterError{Kind: KindQuery, Code: CodeQuery, Service: ConsularC001, Detail: "aire_comune"}
	}
	now := c.cfg.Clock().UTC().Truncate(time.Millisecond)
	rec := Record{
		Version: recordVersion, Provenance: FromANPR, AskedAt: now, AsOf: romeDate(now), AskedFor: q.FiscalCode,
		Person: Person{FiscalCodeValidated: Unknown, AIRE: Unknown, Italian: Unknown, Alive: Unknown},
	}
	answer, err := c.call(ctx, soapQuestion{service: ConsularC001, actor: q.Actor, requester: true, message: soapMessage{
		Person: personOf(q), Comune: comuneOf(q.AIREComune),
	}}, &rec.Calls)
	if err != nil {
		err.Calls = rec.Calls
		c.log(ctx, err)
		return Record{}, err
	}
	r, err := answer.reading()
	if err != nil {
		err.Service, err.Calls = ConsularC001, rec.Calls
		c.log(ctx, err)
		return Record{}, err
	}
	if p, ok := provenances[answer.Provenance]; ok {
		rec.Provenance = p
	}
	for _, f := range r.findings {
		rec.add(f)
	}
	got := map[Service]bool{}
	if r.subject != nil {
		rec.merge(ConsularC001, *r.subject)
		if rec.Person.AIREComune.ISTAT == "" {
			// Another comune than the one asked for is an error of the service.
			rec.Person.AIREComune = q.AIREComune
		}
		rec.cancelled(r.subject)
		// One answer tells what four services of door A do.
		got[C015], got[C020], got[C019] = true, true, true
	}
	rec.judge(q, got, c.cfg.PostServes)
	return rec, nil
}

// IsAIRE asks C010 whether the person is registered in AIRE. Unknown is never
// returned without an error.
func (c *Consular) IsAIRE(ctx context.Context, q Query) (Answer, []Call, error) {
	if err := q.check(); err != nil {
		return Unknown, nil, err
	}
	var calls []Call
	answer, err := c.call(ctx, soapQuestion{service: ConsularC010, actor: q.Actor, message: soapMessage{Person: personOf(q)}}, &calls)
	if err == nil {
		var r reading
		r, err = answer.codes(ConsularC010)
		switch {
		case err != nil:
		case r.absent, slices.ContainsFunc(r.findings, func(f Finding) bool { return f.Code == FindingNotAIRE }):
			return No, calls, nil
		case answer.IsAIRE == "true" || answer.IsAIRE == "1":
			return Yes, calls, nil
		case answer.IsAIRE == "false" || answer.IsAIRE == "0":
			return No, calls, nil
		default:
			err = &RegisterError{Kind: KindTemporary, Code: CodeUnreadable}
		}
	}
	err.Service, err.Calls = ConsularC010, calls
	c.log(ctx, err)
	return Unknown, calls, err
}

// AlignmentQuery is one request to put the register right.
type AlignmentQuery struct {
	Service Service // ConsularC002 or ConsularC003
	// OperationID is kept by the caller before the call and given again with
	// every repetition: the register answers a repetition with its first answer.
	// Digits, at most 30, from the same OperationIDs as all others.
	OperationID string
	Person      Query   // whose record; Reason and Actor as ever, AIREComune when known (needed for C003)
	Post        PostRef // the consular post that asks; for C003
	Residence   Address // as it should be, abroad, with Post as its consulate; zero leaves it out (C002 only)
	Since       string  // YYYY-MM-DD, since when; may be empty
	Follow      string  // idOperazioneANPR of an earlier C002: asks how it stands, in place of asking anew
}

// Alignment is how a request stands.
type Alignment struct {
	// Reference is the register's id of the operation, to be quoted and followed.
	Reference string
	// Done is statoRichiesta 1, or for C003 a fiscal code that came back
	// validated; otherwise a clerk works on it (hours to weeks).
	Done bool
	// Pending says that the same request was open already (EN179).
	Pending bool
	Call    Call
}

// RefusedError is a final no of door C to an alignment request: it does not
// change by repeating.
type RefusedError struct {
	Code Code
	Call Call
}

func (e *RefusedError) Error() string { return "anpr: door C refuses: " + string(e.Code) }

// Align carries one alignment request. A *RegisterError waits: repeat it with
// the same OperationID, except after CodeOperationPassed, when a later id went
// before it and the register never took it: then with a new one. A
// *RefusedError is final.
func (c *Consular) Align(ctx context.Context, a AlignmentQuery) (Alignment, error) {
	bad := func(field string) (Alignment, error) {
		return Alignment{}, &RegisterError{Kind: KindQuery, Code: CodeQuery, Service: a.Service, Detail: field}
	}
	switch {
	case a.Service != ConsularC002 && a.Service != ConsularC003:
		return bad("service")
	case !operationShape.MatchString(a.OperationID):
		return bad("operation_id")
	case a.Follow != "" && !operationShape.MatchString(a.Follow):
		return bad("follow")
	case a.Service == ConsularC003 && !istatShape.MatchString(a.Person.AIREComune.ISTAT):
		return bad("aire_comune")
	case a.Residence != (Address{}) && a.Service == ConsularC002:
		if field := a.residenceProblem(); field != "" {
			return bad(field)
		}
	}
	if err := a.Person.check(); err != nil {
		return Alignment{}, err
	}
	m := soapMessage{Person: personOf(a.Person), Comune: comuneOf(a.Person.AIREComune), Follow: a.Follow}
	if a.Service == ConsularC003 {
		m.Post = postOf(a.Post)
	} else {
		m.Residence = residenceOf(a.Residence, a.Since, a.Post)
	}
	var calls []Call
	answer, err := c.call(ctx, soapQuestion{service: a.Service, operation: a.OperationID, actor: a.Person.Actor, requester: true, message: m}, &calls)
	if err != nil {
		err.Calls = calls
		c.log(ctx, err)
		return Alignment{}, err
	}
	out := Alignment{Reference: clip(string(answer.Header.RegisterID), 64), Call: calls[len(calls)-1]}
	codes := answer.errorCodes()
	switch {
	case slices.Contains(codes, "EN179"):
		out.Pending = true
		return out, nil
	case slices.ContainsFunc(codes, func(c Code) bool { return slices.Contains(codesOutage, c) }):
		err = &RegisterError{Kind: KindTemporary, Code: CodeOutage, Source: codes[0]}
	case slices.ContainsFunc(codes, func(c Code) bool { return slices.Contains(codesOurFault, c) }):
		err = &RegisterError{Kind: KindConfiguration, Code: CodeRequestInvalid, Source: codes[0]}
	case len(codes) > 0:
		return Alignment{}, &RefusedError{Code: codes[0], Call: out.Call}
	case a.Service == ConsularC002 && answer.State == "1":
		out.Done = true
		return out, nil
	case a.Service == ConsularC002 && answer.State == "0":
		return out, nil
	case a.Service == ConsularC003 && answer.General.CF.Code != "":
		out.Done = answer.General.CF.Validity == "1"
		return out, nil
	case a.Service == ConsularC003 && out.Reference != "":
		return out, nil
	default:
		err = &RegisterError{Kind: KindTemporary, Code: CodeUnreadable}
	}
	err.Service, err.Calls = a.Service, calls
	c.log(ctx, err)
	return Alignment{}, err
}

// residenceProblem names the first member of the residence that the schema does
// not take (spec §4.4, localitaEstera): "" when there is none. A post without a
// code of the register cannot ask for one, since consolato is mandatory.
func (a AlignmentQuery) residenceProblem() string {
	r := a.Residence
	for _, m := range []struct {
		name, text string
		most       int
	}{
		{"street", r.Street, 120},
		{"number", r.Number, 9},
		{"care_of", r.CareOf, 100},
		{"notes", r.Notes, 240},
		{"postcode", r.Postcode, 10},
		{"locality", r.Locality, 120},
		{"province", r.Province, 30},
		{"state_name", r.StateName, 120},
	} {
		if utf8.RuneCountInString(m.text) > m.most {
			return "residence_" + m.name
		}
	}
	switch {
	case !r.Foreign, !stateShape.MatchString(r.StateISTAT):
		return "residence_state"
	case r.Locality == "":
		return "residence_locality"
	case r.Street == "" && (r.Number != "" || r.Postcode == "" && r.Province == "" && r.CareOf == ""):
		return "residence_street" // toponimo has a name before it has a number
	case a.Post.Code == "" || a.Post.Description == "":
		return "residence_post"
	case a.Since != "" && !dateShape.MatchString(a.Since):
		return "residence_since"
	}
	return ""
}

var stateShape = regexp.MustCompile(`^[0-9]{3}$`)

func (c *Consular) log(ctx context.Context, err *RegisterError) {
	c.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "consular door failed",
		slog.String("service", string(err.Service)), slog.String("kind", string(err.Kind)), slog.String("code", string(err.Code)),
		slog.Int("status", err.Status), slog.String("source", string(err.Source)), slog.String("detail", err.Detail))
}

// soapQuestion is one call before it is signed.
type soapQuestion struct {
	service   Service
	operation string // empty: a new id at every try
	actor     Actor
	requester bool // datiRichiedente is sent
	message   soapMessage
}

// call asks once and reads the answer; its evidence goes to calls whatever
// comes out.
func (c *Consular) call(ctx context.Context, q soapQuestion, calls *[]Call) (soapAnswer, *RegisterError) {
	// Ids must arrive in order too: the service refuses a lower one.
	c.order.Lock()
	defer c.order.Unlock()
	ev := Call{Service: q.service}
	answer, err := c.send(ctx, q, &ev)
	*calls = append(*calls, ev)
	if err != nil {
		err.Service, err.TransactionID = q.service, ev.TransactionID
	}
	return answer, err
}

func (c *Consular) send(ctx context.Context, q soapQuestion, ev *Call) (soapAnswer, *RegisterError) {
	resp, err := c.cfg.Out.Do(ctx, outbound.Request{
		Operation: string(q.service), Method: http.MethodPost, URL: c.cfg.URL,
		// A question may be repeated; an alignment request repeats its id.
		Idempotent: true,
		Accept:     func(int) bool { return true },
		Prepare: func(ctx context.Context, _ int) (http.Header, []byte, error) {
			body, err := c.signed(ctx, q, ev)
			return http.Header{"Content-Type": {"text/xml; charset=UTF-8"}, "Accept": {"text/xml"}, "Soapaction": {`""`}}, body, err
		},
	})
	if err != nil {
		return soapAnswer{}, transportError(err, c.cfg.Clock)
	}
	sum := sha256.Sum256(resp.Body)
	ev.Status, ev.Tries, ev.AnswerDigest = resp.Status, resp.Tries, hex.EncodeToString(sum[:])
	ev.TransactionID = clip(resp.Header.Get("X-Global-Transaction-ID"), 100)
	answer, rerr := c.read(q, resp.Status, resp.Body, ev)
	if rerr != nil {
		rerr.Status = resp.Status
		return soapAnswer{}, rerr
	}
	ev.RegisterOperationID = clip(string(answer.Header.RegisterID), 64)
	if source, ok := answer.passed(); ok {
		return soapAnswer{}, &RegisterError{Kind: KindTemporary, Code: CodeOperationPassed, Source: source, Status: resp.Status}
	}
	for _, n := range answer.Errors.List {
		ev.Notices = append(ev.Notices, Code(clip(string(n.Code), 16)))
	}
	return answer, nil
}

func (c *Consular) signed(ctx context.Context, q soapQuestion, ev *Call) ([]byte, error) {
	id := q.operation
	if id == "" {
		var err error
		if id, err = c.cfg.OperationIDs.NextOperationID(ctx); err != nil {
			return nil, &RegisterError{Kind: KindTemporary, Code: CodeNoOperationID, Service: q.service, Err: err}
		}
	}
	now := c.cfg.Clock().UTC().Truncate(time.Millisecond)
	ev.OperationID, ev.AskedAt = id, now
	body, err := q.body(&c.cfg, id, now)
	if err != nil {
		return nil, &RegisterError{Kind: KindQuery, Code: CodeQuery, Service: q.service, Detail: "body"}
	}
	c.random.Lock()
	defer c.random.Unlock()
	out, err := c.cfg.Signer.Request(body, wssec.Statement{
		Operator: q.actor.User, Site: c.cfg.Site, Station: c.cfg.Station, Application: c.cfg.Application,
	}, now, c.cfg.Rand)
	if err != nil {
		return nil, preflightError(q.service, err)
	}
	return out, nil
}

// preflightError is a message that was not fit to be sent: an expired
// certificate, a value that XML cannot hold.
func preflightError(s Service, err error) *RegisterError {
	out := &RegisterError{Kind: KindConfiguration, Code: CodePreflight, Service: s, Err: err}
	var w *wssec.Error
	if errors.As(err, &w) {
		out.Detail = string(w.Code) + "." + w.Detail
	}
	return out
}

// read takes an answer apart. What is not signed says nothing about a person.
func (c *Consular) read(q soapQuestion, status int, body []byte, ev *Call) (soapAnswer, *RegisterError) {
	fail := func(kind ErrorKind, code ErrorCode, detail string) (soapAnswer, *RegisterError) {
		return soapAnswer{}, &RegisterError{Kind: kind, Code: code, Detail: detail}
	}
	switch {
	case status == http.StatusTooManyRequests:
		return fail(KindTemporary, CodeQuota, "")
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fail(KindConfiguration, CodeForbidden, "")
	case status == http.StatusNotFound:
		return fail(KindTemporary, CodePathUnknown, "")
	case isFault(body):
		// The service tells nobody why: a signature, the schema, or itself.
		return fail(KindConfiguration, CodeRequestRefused, "soap_fault")
	case status >= 500:
		return fail(KindTemporary, CodeOutage, "")
	case status != http.StatusOK:
		return fail(KindTemporary, CodeUnexpected, "")
	}
	text := body
	if !c.cfg.UnsignedAnswers && !fault.Mutant("anpr.consular.answer_signature") {
		checked, err := c.cfg.Answers.Answer(body, c.cfg.Clock())
		if err != nil {
			return unsigned(err)
		}
		text = checked.Body
	}
	answer, ok := readSOAP(text, q.service)
	if !ok {
		return fail(KindTemporary, CodeUnreadable, "soap")
	}
	h := answer.Header
	switch {
	case fault.Mutant("anpr.consular.answer_echo"):
	case string(h.OperationID) != ev.OperationID || string(h.Operation) != q.service.bare():
		return fail(KindTemporary, CodeUnexpected, "answer_of_another_question")
	case q.operation == "" && !sameInstant(string(h.Time), ev.AskedAt):
		return fail(KindTemporary, CodeUnexpected, "answer_of_an_earlier_question")
	}
	return answer, nil
}

// unsigned tells an answer that is none (an HTML page, nothing) from one whose
// signature is missing or wrong: the first is an outage, the second is somebody
// else's, or a certificate we were not told of.
func unsigned(err error) (soapAnswer, *RegisterError) {
	out := &RegisterError{Kind: KindConfiguration, Code: CodeAnswerNotSigned, Err: err}
	var w *wssec.Error
	if errors.As(err, &w) {
		out.Detail = string(w.Code)
		if w.Code == wssec.CodeNotXML || w.Code == wssec.CodeNotSOAP || w.Code == wssec.CodeForbidden {
			out.Kind, out.Code = KindTemporary, CodeNotJSON
		}
	}
	return soapAnswer{}, out
}

func sameInstant(text string, at time.Time) bool {
	t, err := time.Parse(time.RFC3339Nano, text)
	return err == nil && t.Equal(at)
}

// bare is the operation's name on the wire.
func (s Service) bare() string { return strings.TrimPrefix(string(s), "cons/") }

var provenances = map[wireText]Provenance{"1": FromANPR, "2": FromINA, "3": FromRevenue, "4": FromCentralAIRE}

// romeDate is the day in Rome.
func romeDate(t time.Time) string {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		rome = time.UTC // cannot be: time/tzdata is linked in
	}
	return t.In(rome).Format(time.DateOnly)
}
