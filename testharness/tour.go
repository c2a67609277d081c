package testharness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"airegw/delivery"
	"airegw/gateway"
	"airegw/policies"
	"airegw/testharness/sim"
)

// TourOptions says where the demo is and how to show what happens.
type TourOptions struct {
	BaseURL string
	Dir     string // the demo's folder: the tour keeps its progress there
	Conn    Connection
	Out     io.Writer     // progress and the final table
	Limit   time.Duration // default 40 s
	Poll    time.Duration // default 60 ms

	DatabaseURL string // of the PostgreSQL database to judge; empty: the file in Dir
}

// TourLine is one line of the final table.
type TourLine struct {
	Who      string `json:"who"`
	From     string `json:"from"`
	Office   string `json:"office"`
	Delivery string `json:"delivery"`
	Number   string `json:"number"`
	NUN      string `json:"nun"`
	State    string `json:"state"`
	Want     string `json:"want"`
	Note     string `json:"note"`
	Error    string `json:"error,omitempty"`
}

// tourFile remembers a tour that was interrupted: its keys come from Run, so
// that going on repeats nothing.
type tourFile struct {
	Run  string `json:"run"`
	Done bool   `json:"done"`
}

// journey is one citizen's way through the life of a request.
type journey struct {
	who      string // fiscal code
	operator string
	note     string
	channel  policies.Channel
	reason   policies.Reason
	delivery policies.DeliveryOption
	evidence []string
	assent   bool // the first parent gives assent online, as a citizen
	// second lets another operator try a second request for the same person,
	// which must be refused.
	second string
	// fallback is chosen after delivery was refused with its reason.
	fallback policies.DeliveryOption
	// before prepares the outside, once, before the request is made.
	before func(ctx context.Context, c Connection, p sim.Person) error
	// correct repairs the register once the request is misaligned.
	correct func(ctx context.Context, c Connection, p sim.Person) error
	// pickup is who hands the card over when it waits at another office.
	pickup string
}

// journeys are the ten of the tour: five continents and more, both channels,
// all four deliveries.
func journeys() []journey {
	returned := func(ctx context.Context, c Connection, p sim.Person) error {
		return c.PlanParcel(ctx, p.CF, "cnsd_certified", "in_production", "shipped", "out_for_delivery", "returned", "shipped", "out_for_delivery", "delivered")
	}
	invalidCode := func(ctx context.Context, c Connection, p sim.Person) error {
		return c.ChangePerson(ctx, p.CF, map[string]any{"cf_validity": "9"})
	}
	validCode := func(ctx context.Context, c Connection, p sim.Person) error {
		return c.ChangePerson(ctx, p.CF, map[string]any{"cf_validity": "1"})
	}
	return []journey{
		{who: "FRRLCU86D57Z600N", operator: "op-012", note: "posta al consolato / at the post", channel: policies.ChannelPost, reason: policies.ReasonFirstIssue, delivery: policies.DeliveryForeignResidence},
		{who: "RSSCHR95D65H501Q", operator: "op-001", note: "in vacanza a Roma / on holiday in Rome", channel: policies.ChannelComune, reason: policies.ReasonFirstIssue, delivery: policies.DeliveryITAddress},
		{who: "SRRKKA83L47Z219S", operator: "op-010", note: "ritiro in comune / pick-up at the comune", channel: policies.ChannelComune, reason: policies.ReasonFirstIssue, delivery: policies.DeliveryComunePickup},
		{who: "CRSWJR94E68Z322K", operator: "op-007", pickup: "op-025", note: "consegna al consolato: la posta locale va in casella / at the post: local mail goes to boxes", channel: policies.ChannelComune, reason: policies.ReasonFirstIssue, delivery: policies.DeliveryConsulate},
		{who: "BRNMTA15H14Z600G", operator: "op-022", assent: true, note: "minore, genitori in due Paesi / minor, parents in two countries", channel: policies.ChannelPost, reason: policies.ReasonFirstIssue, delivery: policies.DeliveryForeignResidence},
		{who: "BRNPLA74A18F205R", operator: "op-002", note: "furto / theft", channel: policies.ChannelComune, reason: policies.ReasonTheft, evidence: []string{"police_report"}, delivery: policies.DeliveryForeignResidence},
		{who: "CSTRFL00A17Z602N", operator: "op-003", before: invalidCode, correct: validCode, note: "codice fiscale da validare, poi corretto / tax code to be validated, then corrected", channel: policies.ChannelComune, reason: policies.ReasonFirstIssue, delivery: policies.DeliveryComunePickup},
		{who: "MRTSRA92H49Z133T", operator: "op-017", fallback: policies.DeliveryForeignResidence, note: "consegna al consolato rifiutata, poi a casa / delivery at the post refused, then home", channel: policies.ChannelPost, reason: policies.ReasonFirstIssue, delivery: policies.DeliveryConsulate},
		{who: "CRBJPH73R43Z700T", operator: "op-019", before: returned, note: "pacco tornato e rispedito / parcel returned and sent again", channel: policies.ChannelPost, reason: policies.ReasonFirstIssue, delivery: policies.DeliveryForeignResidence},
		{who: "CLMLCU87L15F205H", operator: "op-016", second: "op-004", note: "seconda richiesta rifiutata / second request refused", channel: policies.ChannelPost, reason: policies.ReasonFirstIssue, delivery: policies.DeliveryForeignResidence},
	}
}

// Tour takes ten citizens through the whole life of a request, from the form to
// the card in hand, over HTTP and without hands, in one demo that is running.
// It first finishes what an interrupted tour left. It answers the final table;
// the error is not nil unless each ended as it should and every invariant
// holds.
func Tour(ctx context.Context, o TourOptions) ([]TourLine, error) {
	if o.Limit <= 0 {
		o.Limit = 40 * time.Second
	}
	if o.Poll <= 0 {
		o.Poll = 60 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, o.Limit)
	defer cancel()
	path := filepath.Join(o.Dir, "tour.json")
	run, resumed, err := openTour(path)
	if err != nil {
		return nil, err
	}
	t := &tour{o: o, run: run, started: time.Now(), fresh: !resumed}
	if resumed {
		t.say("il giro %s era rimasto a metà: lo finisco / finishing the interrupted tour %s", run, run)
	}
	all := journeys()
	lines := make([]TourLine, len(all))
	var wg sync.WaitGroup
	for i, j := range all {
		wg.Go(func() { lines[i] = t.travel(ctx, i, j) })
	}
	wg.Wait()
	t.table(lines)
	var errs []error
	for _, l := range lines {
		if l.Error != "" || l.State != l.Want {
			errs = append(errs, fmt.Errorf("%s: %s (wanted %s) %s", l.Who, l.State, l.Want, l.Error))
		}
	}
	var acknowledged []string
	for _, l := range lines {
		if l.Number != "" {
			acknowledged = append(acknowledged, l.Number)
		}
	}
	broken, err := CheckInvariants(context.WithoutCancel(ctx), Judged{Dir: o.Dir, URL: o.DatabaseURL, Conn: o.Conn, Acknowledged: acknowledged, Now: time.Now().UTC()})
	if err != nil {
		errs = append(errs, err)
	}
	for _, b := range broken {
		errs = append(errs, errors.New("invariant: "+b))
	}
	if len(errs) > 0 {
		return lines, errors.Join(errs...)
	}
	t.say("tutto come deve: %d carte in mano, invarianti verificate / all as it should be: %d cards in hand, invariants hold (%.1f s)",
		len(lines), len(lines), time.Since(t.started).Seconds())
	return lines, closeTour(path, run)
}

// openTour answers the run to work on: an unfinished one goes on.
func openTour(path string) (run string, resumed bool, err error) {
	var f tourFile
	b, err := os.ReadFile(path)
	if err == nil && json.Unmarshal(b, &f) == nil && f.Run != "" && !f.Done {
		return f.Run, true, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", false, fmt.Errorf("progress of the tour: %w", err)
	}
	f = tourFile{Run: strconv.FormatInt(time.Now().UnixMilli(), 36)}
	b, err = json.Marshal(f)
	if err != nil {
		return "", false, fmt.Errorf("progress of the tour: %w", err)
	}
	return f.Run, false, sim.WriteFile(path, b, 0o600)
}

func closeTour(path, run string) error {
	b, err := json.Marshal(tourFile{Run: run, Done: true})
	if err != nil {
		return fmt.Errorf("progress of the tour: %w", err)
	}
	return sim.WriteFile(path, b, 0o600)
}

type tour struct {
	o       TourOptions
	run     string
	fresh   bool
	started time.Time
	mu      sync.Mutex
}

// say prints a line of progress.
func (t *tour) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.o.Out, "%5.1f s  %s\n", time.Since(t.started).Seconds(), fmt.Sprintf(format, args...))
}

// request is what the tour reads of the gateway's answer.
type request struct {
	Number string `json:"number"`
	State  string `json:"state"`
	Office struct {
		Name string `json:"name"`
	} `json:"office"`
	Delivery gateway.DeliveryChoice `json:"delivery"`
	Decision *struct {
		FeeCents int `json:"fee_cents"`
		Options  []struct {
			Option  string `json:"option"`
			Verdict string `json:"verdict"`
			Reason  string `json:"reason"`
		} `json:"options"`
	} `json:"decision"`
	Orders []struct {
		NUN            string `json:"nun"`
		Prints         int    `json:"prints"`
		FormsConfirmed bool   `json:"forms_confirmed"`
		Closed         bool   `json:"closed"`
	} `json:"orders"`
	Outcome *struct {
		Code string `json:"code"`
		Text string `json:"text"`
	} `json:"outcome"`
	History []struct {
		Type string `json:"type"`
	} `json:"history"`
}

func (r request) has(event string) bool {
	for _, h := range r.History {
		if h.Type == event {
			return true
		}
	}
	return false
}

func (r request) nun() string {
	if len(r.Orders) == 0 {
		return ""
	}
	return r.Orders[len(r.Orders)-1].NUN
}

// travel does one journey to its end and answers its line of the table.
func (t *tour) travel(ctx context.Context, i int, j journey) TourLine {
	p, ok := sim.PersonByCF(j.who)
	line := TourLine{Want: string(gateway.StateDelivered), Note: j.note, Delivery: string(j.delivery)}
	if !ok {
		line.Error = "nobody has the fiscal code " + j.who
		return line
	}
	line.Who = strings.TrimSpace(p.Name + " " + p.Surname)
	line.From = p.Address.Locality + " (" + p.Address.ISO2 + ")"
	w := &walker{tour: t, j: j, p: p, label: fmt.Sprintf("[%2d] %s", i+1, line.Who), key: fmt.Sprintf("tour-%s-%02d", t.run, i+1)}
	err := w.walk(ctx)
	line.Number, line.NUN, line.State, line.Office = w.number, w.last.nun(), w.last.State, w.last.Office.Name
	if w.last.Delivery.Option != "" {
		line.Delivery = string(w.last.Delivery.Option)
	}
	if w.learned != "" {
		line.Note += " — " + w.learned
	}
	if err != nil {
		line.Error = err.Error()
	}
	return line
}

// walker is one journey under way.
type walker struct {
	*tour
	j       journey
	p       sim.Person
	label   string
	key     string
	number  string
	last    request
	learned string // what the journey showed, for the table
	desk    *Session
	fixed   bool
}

func (w *walker) walk(ctx context.Context) error {
	desk, err := w.login(ctx, "operator", w.j.operator)
	if err != nil {
		return err
	}
	w.desk = desk
	err = w.again(ctx, func() error { return w.submit(ctx) })
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if w.j.second != "" {
		err = w.trySecond(ctx)
		if err != nil {
			return err
		}
	}
	seen := ""
	for {
		err := w.again(ctx, func() error { return w.desk.Get(ctx, "/api/v1/requests/"+w.number, &w.last) })
		if notFound(err) && w.j.pickup != "" {
			// The parcel is at another office by now, and so is the request.
			w.desk, err = w.login(ctx, "operator", w.j.pickup)
			if err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		if w.last.State != seen {
			w.say("%s  %s", w.label, w.last.State)
			seen = w.last.State
		}
		done, err := w.step(ctx)
		if err != nil {
			return fmt.Errorf("in %s: %w", w.last.State, err)
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("still %s after %s", w.last.State, w.o.Limit)
		case <-time.After(w.o.Poll):
		}
	}
}

// login opens a session, patiently.
func (w *walker) login(ctx context.Context, kind, id string) (s *Session, err error) {
	err = w.again(ctx, func() error {
		s, err = DemoLogin(ctx, w.o.BaseURL, kind, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("log in as %s: %w", id, err)
	}
	return s, nil
}

// again repeats f while its error may pass by itself: a gateway that was killed
// and comes back must not end the tour.
func (w *walker) again(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !passing(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(150 * time.Millisecond):
		}
	}
}

// post does one act. An act that the state no longer allows was done before
// (by an interrupted tour, or by the call whose answer was lost): the next look
// says where the request stands.
func (w *walker) post(ctx context.Context, path string, body any) error {
	err := w.again(ctx, func() error {
		_, err := w.desk.Post(ctx, "/api/v1/requests/"+w.number+path, body, nil)
		return err
	})
	var p *Problem
	if errors.As(err, &p) && p.Status == 409 && (p.Code == "state_moved" || p.Code == "order_open" || p.Code == "register_not_asked_yet" || p.Code == "not_decided_yet") {
		return nil
	}
	return err
}

func notFound(err error) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == 404
}

// input is the form.
func (w *walker) input(key string) gateway.Input {
	in := gateway.Input{
		Key: key, Channel: w.j.channel, Reason: w.j.reason,
		Applicant: gateway.Applicant{FiscalCode: w.p.CF, Surname: w.p.Surname, GivenName: w.p.Name},
		Delivery:  gateway.DeliveryChoice{Option: w.j.delivery},
		Contacts:  gateway.Contacts{Email: w.p.Email, Language: "it"},
	}
	for _, cf := range w.p.Parents {
		in.Parents = append(in.Parents, gateway.Parent{FiscalCode: cf})
	}
	if w.j.delivery == policies.DeliveryITAddress {
		in.Delivery.Address = &delivery.Address{
			ISO2: "IT", Street: "Via dei Serpenti", HouseNumber: "12", Postcode: "00184", Locality: "Roma", Region: "RM",
			CareOf: "Famiglia Rossi",
		}
	}
	if w.j.reason == policies.ReasonTheft {
		in.Report = &gateway.Report{Authority: "Questura di Milano", Number: "2026/1184", Date: "2026-11-10"}
		in.PreviousCard = &gateway.PreviousCard{Kind: "electronic", Expires: "2031-01-18"}
	}
	return in
}

func (w *walker) submit(ctx context.Context) error {
	if w.fresh && !w.fixed && w.j.before != nil {
		err := w.j.before(ctx, w.o.Conn, w.p)
		if err != nil {
			return err
		}
	}
	w.fixed = true
	var ack gateway.Ack
	_, err := w.desk.Post(ctx, "/api/v1/requests", w.input(w.key), &ack)
	var p *Problem
	if errors.As(err, &p) && p.Code == "already_open" && p.Args["request"] != "" {
		// Left by a tour whose notes are gone: go on with it.
		w.number = p.Args["request"]
		return nil
	}
	w.number = ack.Number
	return err
}

// trySecond asks for the same person at another office: it must be refused, and
// say no more than that a request is open elsewhere.
func (w *walker) trySecond(ctx context.Context) error {
	other, err := w.login(ctx, "operator", w.j.second)
	if err != nil {
		return err
	}
	in := w.input(w.key + "-second")
	in.Channel = policies.ChannelComune
	err = w.again(ctx, func() error {
		_, err := other.Post(ctx, "/api/v1/requests", in, nil)
		return err
	})
	var p *Problem
	if !errors.As(err, &p) || p.Code != "already_open_elsewhere" {
		return fmt.Errorf("second request for the same person: wanted a refusal, got %v", err) //nolint:errorlint // may be nil
	}
	w.learned = "409 " + p.Code
	w.say("%s  seconda richiesta rifiutata / second request refused: %s", w.label, p.Detail)
	return nil
}

// step does what the request's state asks for.
func (w *walker) step(ctx context.Context) (done bool, err error) {
	switch gateway.State(w.last.State) {
	case gateway.StateMisaligned:
		return false, w.align(ctx)
	case gateway.StatePrechecked:
		return false, w.counter(ctx)
	case gateway.StateInEnquiry:
		return false, w.enquiry(ctx)
	case gateway.StateFormsReady:
		return false, w.forms(ctx)
	case gateway.StateAtComune, gateway.StateAtConsulate:
		return false, w.post(ctx, "/counter/handover", map[string]string{"to": "holder", "check": "ok"})
	case gateway.StateDelivered:
		if w.last.has("returned") {
			w.learned = "returned → reshipped → delivered"
		}
		return true, nil
	case gateway.StateRefused, gateway.StateCancelled, gateway.StateAbandoned, gateway.StateDestroyed:
		if w.last.Outcome != nil {
			w.learned = w.last.Outcome.Code + ": " + w.last.Outcome.Text
		}
		return true, nil
	default:
		return false, nil // the workers, the core or the carrier have it
	}
}

// align has the register corrected and asks again.
func (w *walker) align(ctx context.Context) error {
	if w.j.correct == nil {
		return nil
	}
	if w.learned == "" {
		w.say("%s  il registro viene corretto / the register is corrected", w.label)
		err := w.j.correct(ctx, w.o.Conn, w.p)
		if err != nil {
			return err
		}
		w.learned = "misaligned → corrected"
	}
	return w.post(ctx, "/counter/recheck", nil)
}

// counter does the counter's first acts; a delivery the rules refuse is shown
// with its reason and another one chosen.
func (w *walker) counter(ctx context.Context) error {
	if w.last.Decision == nil || !w.last.has("routed") {
		return nil // not decided or not routed yet
	}
	for _, o := range w.last.Decision.Options {
		if o.Option == string(w.last.Delivery.Option) && o.Verdict == "refuse" {
			if w.j.fallback == "" {
				return fmt.Errorf("delivery refused: %s", o.Reason)
			}
			w.learned = o.Reason
			w.say("%s  consegna rifiutata / delivery refused: %s", w.label, o.Reason)
			return w.post(ctx, "/delivery", gateway.DeliveryChoice{Option: w.j.fallback})
		}
	}
	err := w.papers(ctx)
	if err != nil {
		return err
	}
	if len(w.p.Parents) > 0 && !w.last.has("assent") {
		err = w.assents(ctx)
		if err != nil {
			return err
		}
	}
	return w.post(ctx, "/counter/enquiry", nil)
}

// papers does those acts of the counter that are not on record. One that met a
// worker's change of the request did not happen: it is done at the next look.
func (w *walker) papers(ctx context.Context) error {
	for _, a := range []struct {
		event, path string
		body        any
	}{
		{"presence", "/counter/presence", nil},
		{"documents", "/counter/documents", gateway.Documents{Identity: "passport", Evidence: w.j.evidence}},
		{"declaration", "/counter/declaration", gateway.Declaration{NoObstacles: true}},
	} {
		if w.last.has(a.event) {
			continue
		}
		err := w.post(ctx, a.path, a.body)
		if err != nil {
			return fmt.Errorf("%s: %w", a.event, err)
		}
	}
	return nil
}

// assents: the first parent gives it online from another country, the others at
// the counter.
func (w *walker) assents(ctx context.Context) error {
	for i, cf := range w.p.Parents {
		if i == 0 && w.j.assent {
			parent, ok := sim.PersonByCF(cf)
			if !ok {
				return fmt.Errorf("nobody has the fiscal code of parent %d", i+1)
			}
			online, err := w.login(ctx, "citizen", "citizen-"+parent.IDANPR)
			if err != nil {
				return err
			}
			err = w.again(ctx, func() error {
				_, err := online.Post(ctx, "/api/v1/requests/"+w.number+"/assent", map[string]any{"parent": cf, "given": true}, nil)
				return err
			})
			if err != nil {
				return fmt.Errorf("assent online: %w", err)
			}
			w.say("%s  assenso online da %s / assent given online from %s", w.label, parent.Address.Locality, parent.Address.Locality)
			continue
		}
		err := w.post(ctx, "/counter/assent", map[string]any{"parent": cf, "given": true, "how": "counter"})
		if err != nil {
			return fmt.Errorf("assent at the counter: %w", err)
		}
	}
	return nil
}

func (w *walker) enquiry(ctx context.Context) error {
	err := w.papers(ctx)
	if err != nil {
		return err
	}
	if len(w.last.Orders) == 0 || w.last.Orders[len(w.last.Orders)-1].Closed {
		err = w.post(ctx, "/counter/capture", w.capture())
		if err != nil {
			return fmt.Errorf("capture: %w", err)
		}
		err = w.post(ctx, "/counter/fee", gateway.Fee{Cents: w.last.Decision.FeeCents, Means: "card"})
		if err != nil {
			return fmt.Errorf("fee: %w", err)
		}
	}
	err = w.post(ctx, "/counter/prepare", nil)
	var p *Problem
	if errors.As(err, &p) && p.Status == 409 && strings.HasSuffix(p.Code, "_missing") {
		return nil // an act met a worker's change
	}
	return err
}

// capture answers references as a station makes them; under twelve no prints
// and no signature.
func (w *walker) capture() gateway.Capture {
	ref := "capture:" + w.number
	c := gateway.Capture{Station: w.station(), Photo: ref + ":photo", HeightCM: 170}
	birth, err := policies.ParseDate(w.p.Birth.Date)
	if err == nil && policies.DateOf(time.Now()).Before(policies.Date{Year: birth.Year + 12, Month: birth.Month, Day: birth.Day}) {
		c.Exemption, c.HeightCM = "under_12", 140
		return c
	}
	c.Signature = ref + ":signature"
	c.Fingerprints = []gateway.Fingerprint{
		{Hand: "right", Finger: "index", Quality: 86, Ref: ref + ":right"},
		{Hand: "left", Finger: "index", Quality: 81, Ref: ref + ":left"},
	}
	return c
}

func (w *walker) station() string {
	for _, o := range sim.Operators() {
		if o.ID == w.j.operator {
			return o.Station
		}
	}
	return ""
}

func (w *walker) forms(ctx context.Context) error {
	o := w.last.Orders[len(w.last.Orders)-1]
	if !o.FormsConfirmed {
		err := w.post(ctx, "/counter/print", nil)
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
		err = w.post(ctx, "/counter/confirm", nil)
		if err != nil {
			return fmt.Errorf("confirm: %w", err)
		}
	}
	return w.post(ctx, "/counter/sign", nil)
}

// table prints the final table: who, where, delivery, NUN, state, reason.
func (t *tour) table(lines []TourLine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintln(t.o.Out)
	tw := tabwriter.NewWriter(t.o.Out, 2, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "chi / who\tda / from\tufficio / office\tconsegna / delivery\tnumero / number\tNUN\tstato / state\tmotivo / reason")
	for _, l := range lines {
		note := l.Note
		if l.Error != "" {
			note = "ERRORE / ERROR: " + l.Error
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Who, l.From, l.Office, l.Delivery, l.Number, l.NUN, l.State, note)
	}
	_ = tw.Flush()
	fmt.Fprintln(t.o.Out)
}
