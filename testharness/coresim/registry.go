package coresim

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"airegw/testharness/sim"
)

// Door B of the register (specs anpr-pdnd-modi §4.1, §4.2). Its ids must grow and a repeated id repeats the earlier answer, hence
// one worker, strictly in order, and the id is drawn before the first attempt.

const (
	registryPath    = "/anpr-ws-cie-webapp/AnprServiceCIE"
	registryTimeout = 10 * time.Second
	registryAnswer  = 1 << 20
)

// Waits between attempts, about the network and so in the machine's time; the
// last one repeats until the register answers.
var registryWaits = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 10 * time.Second}

// Notice is one thing to tell the register.
type Notice struct {
	ID        uint64     `json:"id"`        // idOperazioneComune
	Operation string     `json:"operation"` // CIE8 issued, CIE7 annulled
	OrderKey  string     `json:"order_key"`
	NUN       string     `json:"nun"`
	At        time.Time  `json:"at"`
	State     string     `json:"state"` // pending, told, refused
	Code      string     `json:"code,omitempty"`
	ToldAt    *time.Time `json:"told_at,omitempty"`
}

type toldRecord struct {
	ID    uint64    `json:"id"`
	State string    `json:"state"`
	Code  string    `json:"code,omitempty"`
	At    time.Time `json:"at"`
}

func (s *Sim) applyNotice(n *Notice) {
	s.notices = append(s.notices, n)
	s.lastOp = max(s.lastOp, n.ID)
}

func (s *Sim) applyTold(r *toldRecord) {
	for _, n := range s.notices {
		if n.ID == r.ID {
			n.State, n.Code, n.ToldAt = r.State, r.Code, &r.At
		}
	}
}

// tellRegistry queues what an event means for the register; spoilt is the
// number before the event. The caller holds mu. Without a register nothing is
// owed to it.
func (s *Sim) tellRegistry(o *order, e *heldEvent, spoilt string) error {
	if s.opts.Registry == "" {
		return nil
	}
	tell := func(operation, nun string) error {
		// 19 digits: the time to the second and a counter below it.
		stamp, err := strconv.ParseUint(e.At.Format("20060102150405")+"00000", 10, 64)
		if err != nil {
			return fmt.Errorf("draw an operation id: %w", err)
		}
		n := &Notice{ID: max(stamp, s.lastOp+1), Operation: operation, OrderKey: o.key, NUN: nun, At: e.At, State: "pending"}
		err = s.write(record{Notice: n})
		if err != nil {
			return err
		}
		s.applyNotice(n)
		s.anpr.wake()
		return nil
	}
	switch e.Type {
	case "in_production":
		err := tell("CIE8", e.NUN)
		previous := o.prepare.PreviousCard
		if err == nil && e.Details.ReplacesNUN == "" && previous != nil && previous.Kind == "electronic" {
			err = tell("CIE7", previous.Number)
		}
		return err
	case "production_defect":
		return tell("CIE7", spoilt)
	}
	return nil
}

// registry is the worker that tells the register.
type registry struct {
	s      *Sim
	signal chan struct{}
	client *http.Client
}

func newRegistry(s *Sim) *registry {
	return &registry{s: s, signal: make(chan struct{}, 1), client: &http.Client{
		Transport:     &http.Transport{Proxy: nil, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (r *registry) wake() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

func (r *registry) start() {
	if r.s.opts.Registry == "" {
		return
	}
	r.s.work.Go(r.run)
	r.wake()
}

func (r *registry) run() {
	failures := 0
	for {
		wait := make(<-chan time.Time)
		if failures > 0 {
			timer := time.NewTimer(registryWaits[min(failures, len(registryWaits))-1])
			wait = timer.C
		}
		select {
		case <-r.s.ctx.Done():
			return
		case <-r.signal:
		case <-wait:
		}
		for {
			more, err := r.tellNext()
			if err != nil {
				failures++
				r.s.log.Warn("core: the register was not told yet", "error", err)
				break
			}
			failures = 0
			if !more {
				break
			}
		}
	}
}

// tellNext tells the oldest pending notice; more is false when there was none.
func (r *registry) tellNext() (more bool, err error) {
	r.s.mu.Lock()
	var n *Notice
	var text []byte
	for _, candidate := range r.s.notices {
		if candidate.State == "pending" {
			n = candidate
			text, err = r.request(n, r.s.orders[n.OrderKey])
			break
		}
	}
	r.s.mu.Unlock()
	if n == nil || err != nil {
		return false, err
	}
	// The id must be on the ledger before the register can know it.
	err = r.s.journal.Flush()
	if err != nil {
		return false, err
	}
	state, code, err := r.call(text, n)
	if err != nil {
		return false, err
	}
	r.s.mu.Lock()
	told := &toldRecord{ID: n.ID, State: state, Code: code, At: r.s.now()}
	err = r.s.write(record{Told: told})
	if err == nil {
		r.s.applyTold(told)
	}
	r.s.mu.Unlock()
	return true, err
}

type soapRequest struct {
	XMLName xml.Name
	Header  struct {
		ID          string `xml:"idOperazioneComune"`
		Sender      string `xml:"codMittente"`
		Receiver    string `xml:"codDestinatario"`
		Operation   string `xml:"operazioneRichiesta"`
		At          string `xml:"dataOraRichiesta"`
		Kind        string `xml:"tipoOperazione"`
		Environment string `xml:"tipoInvio"`
	} `xml:"testataRichiesta"`
	Asker struct {
		Sender  string `xml:"codMittente"`
		Station string `xml:"idPostazione"`
		User    string `xml:"idUtente"`
	} `xml:"datiRichiedente"`
	Person struct {
		FiscalCode  string `xml:"codiceFiscale>codFiscale"`
		Surname     string `xml:"cognome,omitempty"`
		NoSurname   string `xml:"senzaCognome,omitempty"`
		GivenName   string `xml:"nome,omitempty"`
		NoGivenName string `xml:"senzaNome,omitempty"`
	} `xml:"generalita"`
	Card       soapCard `xml:"cartaIdentita"`
	AnnulledOn string   `xml:"dataAnnullamento,omitempty"`
}

type soapCard struct {
	Number     string      `xml:"numero"`
	IssuedOn   string      `xml:"dataRilascio,omitempty"`
	Electronic string      `xml:"cartaceaElettronica"`
	TravelBan  string      `xml:"interdizioneEspatrio,omitempty"`
	Comune     *soapComune `xml:"comuneRilascio"`
	Post       *soapPost   `xml:"consolatoRilascio"`
	ExpiresOn  string      `xml:"dataScadenza,omitempty"`
}

type soapComune struct {
	Name  string `xml:"nomeComune,omitempty"`
	Istat string `xml:"codiceIstat"`
}

type soapPost struct {
	Code string `xml:"codiceConsolato"`
	Name string `xml:"descrizioneConsolato,omitempty"`
}

const registryNamespace = "http://sogei.it/ANPR/CIE0Servizi"

// request is the element of a notice: the same bytes at every attempt.
func (r *registry) request(n *Notice, o *order) ([]byte, error) {
	var m soapRequest
	m.XMLName = xml.Name{Space: registryNamespace, Local: "Richiesta" + n.Operation}
	h := &m.Header
	h.ID, h.Sender, h.Receiver = strconv.FormatUint(n.ID, 10), "CIEONL", "ANPR00"
	h.Operation, h.At, h.Kind, h.Environment = n.Operation, n.At.Format(time.RFC3339), "C", "TEST"
	p := o.prepare
	m.Asker.Sender, m.Asker.Station, m.Asker.User = p.Office.Code, p.Actor.Station, first(p.Actor.Operator, 16)
	m.Person.FiscalCode, m.Person.Surname, m.Person.GivenName = p.Applicant.FiscalCode, p.Applicant.Surname, p.Applicant.GivenName
	if p.Applicant.Surname == "" {
		m.Person.NoSurname = "S"
	}
	if p.Applicant.GivenName == "" {
		m.Person.NoGivenName = "S"
	}
	m.Card = soapCard{Number: n.NUN, Electronic: "1"}
	if n.Operation == "CIE7" {
		m.AnnulledOn = n.At.Format(time.DateOnly)
	} else {
		m.Card.IssuedOn, m.Card.ExpiresOn, m.Card.TravelBan = n.At.Format(time.DateOnly), p.Expiry, "N"
		if p.PrintNote == "not_valid_for_travel" {
			m.Card.TravelBan = "S"
		}
		// One of the two, never both (EHR41).
		if p.Office.Kind == "post" {
			m.Card.Post = &soapPost{Code: p.Office.Code, Name: p.Office.Name}
		} else {
			m.Card.Comune = &soapComune{Name: p.Office.Name, Istat: p.Office.Code}
		}
	}
	return marshalSOAP(&m)
}

// marshalSOAP keeps the request element in the namespace and its children
// unqualified, as the register wants them.
func marshalSOAP(m *soapRequest) ([]byte, error) {
	name := m.XMLName.Local
	m.XMLName = xml.Name{Local: "cie:" + name}
	body, err := xml.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	body = bytes.Replace(body, []byte("<cie:"+name+">"), []byte(`<cie:`+name+` xmlns:cie="`+registryNamespace+`">`), 1)
	return body, nil
}

func first(s string, n int) string {
	runes := []rune(s)
	return string(runes[:min(n, len(runes))])
}

// call signs and posts a notice. Told or refused are answers; an error means no
// answer, to be asked again with the same id and a fresh signature.
func (r *registry) call(element []byte, n *Notice) (state, code string, err error) {
	limit := r.s.opts.RegistryTimeout
	if limit <= 0 {
		limit = registryTimeout
	}
	ctx, cancel := context.WithTimeout(r.s.ctx, limit)
	defer cancel()
	me := r.s.opts.RegistryIdentity
	text, err := me.Sign(sim.SOAPOrder{Body: string(element), Operator: "CIEONLINE", Now: r.s.wire.Now()})
	if err != nil {
		return "", "", fmt.Errorf("sign for the register: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(r.s.opts.Registry, "/")+registryPath, bytes.NewReader(text))
	if err != nil {
		return "", "", fmt.Errorf("ask the register: %w", err)
	}
	req.Header.Set("Content-Type", "text/xml; charset=UTF-8")
	req.Header.Set("SOAPAction", `""`)
	resp, err := r.client.Do(req)
	if err != nil {
		return "", "", fmt.Errorf("ask the register: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, registryAnswer))
	if err != nil {
		return "", "", fmt.Errorf("read the register's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("the register answered %d", resp.StatusCode)
	}
	checked, err := me.CheckAnswer(answer, r.s.wire.Now())
	if err != nil {
		return "", "", fmt.Errorf("the register's answer is not signed by it: %w", err)
	}
	return readRegistryAnswer(checked.Body, n.Operation)
}

// readRegistryAnswer reads the signed Body and takes only what the register promises; anything else is
// an error, never a success.
func readRegistryAnswer(answer []byte, operation string) (state, code string, err error) {
	type header struct {
		Outcome string `xml:"esitoOperazione"`
	}
	var body struct {
		XMLName  xml.Name `xml:"http://schemas.xmlsoap.org/soap/envelope/ Body"`
		Outcomes []struct {
			XMLName xml.Name
			Answer  struct {
				Header header `xml:"testataRisposta"`
			} `xml:"RispostaCIE8"`
			Annulled struct {
				Header header `xml:"testataRisposta"`
			} `xml:"RispostaCIE7"`
			Refusal *struct {
				Header header   `xml:"testataRisposta"`
				Codes  []string `xml:"listaErrori>errore>codiceErroreAnomalia"`
			} `xml:"rispostaKO"`
		} `xml:",any"`
	}
	err = xml.Unmarshal(answer, &body)
	if err != nil {
		return "", "", fmt.Errorf("the register's answer is not XML as promised: %w", err)
	}
	if len(body.Outcomes) != 1 || body.Outcomes[0].XMLName.Local != "RispostaEsito"+operation ||
		body.Outcomes[0].XMLName.Space != registryNamespace {
		return "", "", errors.New("the register's answer is not the one asked for")
	}
	o := body.Outcomes[0]
	if o.Refusal != nil {
		code = "unknown"
		if len(o.Refusal.Codes) > 0 {
			code = first(o.Refusal.Codes[0], 20)
		}
		return "refused", code, nil
	}
	outcome := o.Answer.Header.Outcome
	if operation == "CIE7" {
		outcome = o.Annulled.Header.Outcome
	}
	if outcome != "0000" {
		return "", "", fmt.Errorf("the register's outcome is %q", first(outcome, 20))
	}
	return "told", "", nil
}
