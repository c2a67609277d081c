package anprsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"airegw/testharness/sim"
)

const maxBody = 256 << 10

func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
}

// query is RichiestaE002 as read; every scalar is a JSON string.
type query struct {
	IDOperazioneClient string    `json:"idOperazioneClient"`
	CriteriRicerca     *criteria `json:"criteriRicerca"`
	Verifica           *struct {
		DatiDecesso *struct {
			DataEvento string `json:"dataEvento"`
		} `json:"datiDecesso"`
	} `json:"verifica"` // C004 only
	DatiRichiesta *requestData `json:"datiRichiesta"`
}

type requestData struct {
	DataRiferimentoRichiesta string `json:"dataRiferimentoRichiesta"`
	MotivoRichiesta          string `json:"motivoRichiesta"`
	CasoUso                  string `json:"casoUso"`
}

type criteria struct {
	CodiceFiscale string `json:"codiceFiscale"`
	IDANPR        string `json:"idANPR"`
	Cognome       string `json:"cognome"`
	SenzaCognome  string `json:"senzaCognome"`
	Nome          string `json:"nome"`
	SenzaNome     string `json:"senzaNome"`
	Sesso         string `json:"sesso"`
	DatiNascita   *struct {
		DataEvento      string          `json:"dataEvento"`
		SenzaGiorno     string          `json:"senzaGiorno"`
		SenzaGiornoMese string          `json:"senzaGiornoMese"`
		LuogoNascita    json.RawMessage `json:"luogoNascita"`
	} `json:"datiNascita"`
}

var errTrailing = errors.New("body: something follows the JSON value. (code: 1000)")

// parseQuery reads the body as the gateway's schema validation would: members
// nobody announced pass, a scalar that is not a string does not. The error's
// text is the detail on the wire.
func parseQuery(body []byte) (query, error) {
	var q query
	dec := json.NewDecoder(bytes.NewReader(body))
	err := dec.Decode(&q)
	if err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return q, errors.New("body." + wrongType.Field + ": Type expected 'string', found '" + wrongType.Value + "'. (code: 1027)")
		}
		return q, errors.New("body: not a JSON object. (code: 1000)")
	}
	if _, err = dec.Token(); !errors.Is(err, io.EOF) {
		return q, errTrailing
	}
	missing := func(path, field string) error {
		return errors.New("body." + path + field + ": Field '" + field + "' is required. (code: 1026)")
	}
	switch {
	case q.IDOperazioneClient == "":
		return q, missing("", "idOperazioneClient")
	case q.CriteriRicerca == nil:
		return q, missing("", "criteriRicerca")
	case q.DatiRichiesta == nil:
		return q, missing("", "datiRichiesta")
	case q.DatiRichiesta.DataRiferimentoRichiesta == "":
		return q, missing("datiRichiesta.", "dataRiferimentoRichiesta")
	case q.DatiRichiesta.MotivoRichiesta == "":
		return q, missing("datiRichiesta.", "motivoRichiesta")
	case q.DatiRichiesta.CasoUso == "":
		return q, missing("datiRichiesta.", "casoUso")
	}
	return q, nil
}

// guessQuery makes something of a body that is not what the schema says: what
// a gateway without validation would let through.
func guessQuery(body []byte, q query, code string) query {
	if q.CriteriRicerca == nil {
		q.CriteriRicerca = &criteria{}
	}
	if cf := fiscalCodeIn.Find(body); cf != nil && q.CriteriRicerca.CodiceFiscale == "" {
		q.CriteriRicerca.CodiceFiscale = string(cf)
	}
	if q.IDOperazioneClient == "" {
		q.IDOperazioneClient = "1"
	}
	q.DatiRichiesta = &requestData{DataRiferimentoRichiesta: "2026-11-21", MotivoRichiesta: "-", CasoUso: code}
	return q
}

var fiscalCodeIn = regexp.MustCompile(`[A-Z]{6}[0-9A-Z]{9}[A-Z]`)

func (s *Server) serveUnknown(w http.ResponseWriter, r *http.Request) {
	s.recordCall(Call{Operation: "unknown", Status: http.StatusNotFound, Outcome: "NotFound"})
	s.frontNotFound(w, r)
}

// frontNotFound is the 404 of the front appliance: not a citizen absent.
func (s *Server) frontNotFound(w http.ResponseWriter, _ *http.Request) {
	if s.broken(MutantFrontNotFoundEN122) {
		sim.WriteJSON(w, http.StatusNotFound, map[string]any{"listaErrori": []anomaly{{Code: "EN122", Kind: "E", Text: "Soggetto non registrato in ANPR"}}})
		return
	}
	id := s.uuid()
	w.Header().Set("X-Global-Transaction-ID", id)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusNotFound)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "https://govway.org/handling-errors/404/NotFound.html", "title": "NotFound", "status": 404,
		"detail": "Unknown API Request", "Error Code": "0x00d30003", "Error SubCode": "0x00000000",
		"Error Message": "Unknown API Request", "X-Global-Transaction-ID": id,
	})
}

// govwayProblem is an error of the gateway before ANPR is reached.
func (s *Server) govwayProblem(w http.ResponseWriter, status int, title, detail string) {
	w.Header().Set("GovWay-Transaction-ErrorType", title)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "https://govway.org/handling-errors/" + strconv.Itoa(status) + "/" + title + ".html", "title": title,
		"status": status, "detail": detail, "govway_id": w.Header().Get("GovWay-Transaction-ID"),
	})
}

var titleStatus = map[string]int{
	"TokenAuthenticationRequired": 401, "TokenAuthenticationFailed": 401, "TokenExpired": 401,
	"TokenNotBefore": 401, "TokenInTheFuture": 401, "TokenRequiredClaimsNotFound": 401,
	"AuthorizationDeny": 403, "InteroperabilityInvalidRequest": 400, "InvalidRequestContent": 400,
	"ContentTypeNotProvided": 400, "ContentTypeNotSupported": 400, "BadRequest": 400,
	"RequestSizeExceeded": 413, "LimitExceeded": 429, "TooManyRequests": 429, "APIUnavailable": 503,
}

var titleDetail = map[string]string{
	"TokenAuthenticationRequired":    "A token is required",
	"TokenAuthenticationFailed":      "Invalid token",
	"TokenExpired":                   "Expired token",
	"TokenNotBefore":                 "Token not usable yet",
	"TokenInTheFuture":               "Token in the future",
	"TokenRequiredClaimsNotFound":    "Required token claims not found",
	"AuthorizationDeny":              "Authorization deny",
	"InteroperabilityInvalidRequest": "Invalid request",
	"ContentTypeNotProvided":         "Content-Type required",
	"ContentTypeNotSupported":        "Content-Type not supported",
	"BadRequest":                     "Bad request",
	"RequestSizeExceeded":            "Request size exceeded",
	"LimitExceeded":                  "Limit exceeded detected",
	"TooManyRequests":                "Too many requests detected",
	"APIUnavailable":                 "The API implementation is temporarily unavailable",
}

// exchange is one call of door A on its way through.
type exchange struct {
	*taken
	w    http.ResponseWriter
	r    *http.Request
	call Call
}

// markHeaders writes the fault header for all faults that touched the answer.
func (x *exchange) markHeaders() {
	for _, name := range x.names {
		sim.Mark(x.w.Header(), name)
	}
}

func (x *exchange) done(status int, outcome string) {
	x.call.Status, x.call.Outcome, x.call.Faults = status, outcome, x.names
	x.s.recordCall(x.call)
	x.markHeaders()
}

// refuse answers for the gateway and keeps the true cause.
func (x *exchange) refuse(c cause) {
	status := titleStatus[c.title]
	x.done(status, c.title)
	x.s.diagnose(Refusal{Operation: x.op, Client: x.call.Client, Status: status, Wire: c.title, Code: c.code, Detail: c.detail})
	detail := titleDetail[c.title]
	if c.title == "InvalidRequestContent" {
		// The one title whose detail is not hidden.
		detail = "Request content not conform to API specification: Validation error(s) :\n" + c.detail
	} else if x.s.broken(MutantGatewayTalkative) {
		detail = c.detail
	}
	x.s.govwayProblem(x.w, status, c.title, detail)
}

func (s *Server) serveDoorA(w http.ResponseWriter, r *http.Request) {
	code, rest, ok := splitServicePath(r.URL.Path)
	if !ok || (rest != queryPath && rest != "/status") {
		s.serveUnknown(w, r)
		return
	}
	if !s.broken(MutantNoTransaction) {
		w.Header().Set("GovWay-Transaction-ID", s.uuid())
		w.Header().Set("GovWay-Message-ID", s.uuid())
	}
	x := &exchange{taken: &taken{s: s, op: code}, w: w, r: r, call: Call{Operation: code}}
	if x.frontFaults() {
		return
	}
	if rest == "/status" {
		if r.Method != http.MethodGet {
			x.refuse(cause{"BadRequest", "method", "GET only"})
			return
		}
		x.call.Operation = code + " status"
		x.status()
		return
	}
	if r.Method != http.MethodPost {
		x.refuse(cause{"BadRequest", "method", "POST only"})
		return
	}
	x.query(code)
}

// htmlError plays the front end's own page.
func (x *exchange) htmlError() bool {
	param, ok := x.take(FaultHTMLError)
	if !ok {
		return false
	}
	status, err := strconv.Atoi(param)
	if err != nil || status < 200 || status > 599 {
		status = http.StatusInternalServerError
	}
	x.done(status, "html")
	x.w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	x.w.WriteHeader(status)
	_, _ = io.WriteString(x.w, "<!DOCTYPE html><html><head><title>GovWay-OP20000-9999</title></head><body><h1>Servizio non disponibile</h1></body></html>")
	return true
}

// frontFaults plays the appliance's own troubles, before anything is read.
func (x *exchange) frontFaults() bool {
	if x.htmlError() {
		return true
	}
	switch {
	case x.fires(FaultNotFoundFront):
		x.done(http.StatusNotFound, "NotFound")
		x.s.frontNotFound(x.w, x.r)
	case x.fires(FaultFlap):
		id := x.s.uuid()
		x.done(http.StatusServiceUnavailable, "GatewayError")
		x.w.Header().Set("X-Global-Transaction-ID", id)
		x.w.Header().Set("Content-Type", "application/problem+json")
		x.w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(x.w).Encode(map[string]any{
			"type": "https://govway.org/handling-errors/503/GatewayError.html", "title": "GatewayError", "status": 503,
			"detail": "Unexpected error", "Error Code": "0x00c30008", "X-Global-Transaction-ID": id,
		})
	case x.fires(FaultMaintenance):
		x.refuse(cause{"APIUnavailable", "maintenance", "maintenance, injected"})
	case x.fires(FaultAPIUnavailable):
		x.refuse(cause{"APIUnavailable", "api_unavailable", "backend down, injected"})
	default:
		return false
	}
	return true
}

func (x *exchange) status() {
	x.done(http.StatusOK, "OK")
	x.w.Header().Set("Content-Type", "application/problem+json")
	x.w.Header().Set("Cache-Control", "no-store")
	if x.s.broken(MutantStatusBody) {
		_, _ = io.WriteString(x.w, "OK")
		return
	}
	_ = json.NewEncoder(x.w).Encode(map[string]any{"listaErrori": []anomaly{{Code: "200", Text: "OK"}}})
}

func (x *exchange) query(code string) {
	s, h, now := x.s, x.r.Header, x.s.wire.Now()
	voucher, c := s.voucherOf(h, now)
	if c != nil {
		x.refuse(*c)
		return
	}
	x.call.Client, x.call.Purpose = text(voucher.claims, "client_id"), text(voucher.claims, "purposeId")
	anyService := s.broken(MutantVoucherAnyService)
	if !hasAudience(voucher.claims, audience(code)) && !anyService {
		x.refuse(cause{"TokenAuthenticationFailed", "voucher_aud", "the voucher is for another service"})
		return
	}
	if service, client, ok := s.purpose(x.call.Purpose); !ok || service != code && !anyService || client.ID != x.call.Client {
		x.refuse(cause{"AuthorizationDeny", "purpose", "the purpose does not belong to this client and service (any more)"})
		return
	}
	// Failed calls count too (#4565).
	if !s.countCall(code, s.clock.Now()) && !s.broken(MutantNoQuota) {
		x.refuse(cause{"LimitExceeded", "quota", "daily quota of " + code + " used up"})
		return
	}
	if param, ok := x.take(FaultSpurious429); ok {
		if param == "empty" {
			x.done(http.StatusTooManyRequests, "TooManyRequests")
			x.w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		x.refuse(cause{"TooManyRequests", "spurious_429", "injected"})
		return
	}
	body, err := readBody(x.w, x.r, maxBody)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			x.refuse(cause{"RequestSizeExceeded", "too_large", "body larger than 256 KiB"})
			return
		}
		x.refuse(cause{"BadRequest", "body", "body broke off: " + err.Error()})
		return
	}
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case h.Get("Content-Type") == "":
		x.refuse(cause{"ContentTypeNotProvided", "content_type_missing", "Content-Type missing"})
		return
	case err != nil || mediaType != "application/json":
		x.refuse(cause{"ContentTypeNotSupported", "content_type", "Content-Type is not application/json"})
		return
	}
	audit, c := s.checkModI(h, body, code, voucher, now, x.fires(FaultStrictAudit))
	if c == nil && x.fires(FaultKeyPropagation) {
		c = interop("key_propagation", "good signature refused, injected: the key has not arrived yet")
	}
	if c != nil {
		x.refuse(*c)
		return
	}
	x.call.UserID, x.call.Location, x.call.LoA = text(audit.claims, "userID"), text(audit.claims, "userLocation"), text(audit.claims, "LoA")
	q, err := parseQuery(body)
	if err != nil && s.broken(MutantBodyUnchecked) {
		q, err = guessQuery(body, q, code), nil
	}
	if err != nil {
		x.refuse(cause{"InvalidRequestContent", "body", err.Error()})
		return
	}
	x.call.ClientOp, x.call.Reason = q.IDOperazioneClient, q.DatiRichiesta.MotivoRichiesta
	x.subject = strings.ToUpper(q.CriteriRicerca.CodiceFiscale)
	x.call.Subject = x.subject
	if x.subject == "" {
		x.call.Subject = q.CriteriRicerca.IDANPR
		// Fault rules match on the tax code, whatever the person is asked by.
		if p, ok := s.byID(q.CriteriRicerca.IDANPR); ok {
			x.subject = p.CF
		}
	}
	x.answer(code, q)
}

// defaultLimits are the daily quotas that have been seen (§1.8).
func defaultLimits() map[string]int {
	limits := map[string]int{}
	for code := range serviceNames {
		limits[code] = 50000
	}
	limits["C030"], limits["C020"] = 5000, 2000
	return limits
}

// countCall counts a call of the day (Europe/Rome is close enough to UTC for a
// simulator: the window is the UTC day) and says whether it is within quota.
func (s *Server) countCall(code string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	day := now.Format(time.DateOnly)
	if s.used[day] == 0 {
		clear(s.used)
		s.used[day] = 1
	}
	s.used[code]++
	return s.used[code] <= s.limits[code]
}

// SetLimit sets the daily quota of a service; calls already made today count.
func (s *Server) SetLimit(code string, perDay int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits[code] = perDay
}

var (
	opShape     = regexp.MustCompile(`^[0-9A-Za-z]{1,30}$`)
	digitsShape = regexp.MustCompile(`^[0-9]{1,30}$`)
)

// anomaly is TipoErroriAnomalia.
type anomaly struct {
	Code   string `json:"codiceErroreAnomalia,omitempty"`
	Kind   string `json:"tipoErroreAnomalia,omitempty"` // E blocks, W warns
	Text   string `json:"testoErroreAnomalia,omitempty"`
	Object string `json:"oggettoErroreAnomalia,omitempty"`
	Field  string `json:"campoErroreAnomalia,omitempty"`
	Value  string `json:"valoreErroreAnomalia,omitempty"`
}

var warnUseID = anomaly{Code: "EN148", Kind: "W", Text: "Dal 18 aprile 2024 la ricerca va effettuata per idANPR"}

// answerA is an answer of the application, kept for replay under strict-opid.
type answerA struct {
	status  int
	body    []byte
	outcome string
	service string
}

// answer runs the application: everything past the gateway.
func (x *exchange) answer(code string, q query) {
	s := x.s
	strict := x.fires(FaultStrictOpID)
	if strict {
		if a, replay := s.earlier(x.call.Client, q.IDOperazioneClient); replay && !s.broken(MutantNoReplay) {
			if a.service != code && !s.broken(MutantOtherService) {
				x.send(code, x.failure(http.StatusBadRequest, anomaly{Code: "EN079", Kind: "E", Text: "Identificativo operazione già utilizzato per altro servizio"}))
				return
			}
			x.send(code, a)
			return
		}
		if _, known := s.earlier(x.call.Client, q.IDOperazioneClient); !known && !s.newestA(x.call.Client, q.IDOperazioneClient) && !s.broken(MutantLowerID) {
			x.send(code, x.failure(http.StatusBadRequest, anomaly{Code: "EN080", Kind: "E", Text: "Identificativo operazione non numerico o inferiore all'ultimo inviato", Field: "idOperazioneClient"}))
			return
		}
	}
	a := x.decide(code, q)
	if strict {
		s.keepA(x.call.Client, q.IDOperazioneClient, a)
	}
	x.send(code, a)
}

func (s *Server) earlier(client, id string) (answerA, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.opsA[client+" "+id]
	return a, ok
}

func (s *Server) newestA(client, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !digitsShape.MatchString(id) || !higher(id, s.lastOpA[client]) {
		return false
	}
	s.lastOpA[client] = id
	return true
}

func (s *Server) keepA(client, id string, a answerA) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opsA[client+" "+id] = a
}

// higher compares two decimal ids of any length.
func higher(a, b string) bool {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a > b
}

func (x *exchange) send(code string, a answerA) {
	outcome := a.outcome
	if x.s.broken(MutantNumbers) {
		a.body = []byte(strings.ReplaceAll(string(a.body), `:"S"`, `:true`))
	}
	x.done(a.status, outcome)
	if a.status >= 400 {
		x.s.diagnose(Refusal{Operation: code, Client: x.call.Client, Status: a.status, Wire: outcome, Code: outcome, Detail: "answer of the application"})
	}
	// The specification says problem+json for errors, the wire does not.
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(a.status)
	_, _ = x.w.Write(a.body)
}

// failure is RispostaKO.
func (x *exchange) failure(status int, errs ...anomaly) answerA {
	outcome := ""
	for _, e := range errs {
		if e.Kind == "E" {
			outcome = e.Code
		}
	}
	body, err := json.Marshal(map[string]any{"idOperazioneANPR": x.operation(), "listaErrori": errs})
	if err != nil {
		body = []byte("{}")
	}
	return answerA{status: status, body: body, outcome: outcome, service: x.op}
}

func (x *exchange) operation() string {
	if x.call.ANPROp == "" {
		x.call.ANPROp = x.s.nextOperation()
		if x.s.broken(MutantOperationShort) {
			x.call.ANPROp = x.call.ANPROp[len(x.call.ANPROp)-6:]
		}
		if param, ok := x.take(FaultOddOpID); ok {
			x.call.ANPROp = "XXXX"
			if param != "" {
				x.call.ANPROp = param
			}
		}
	}
	return x.call.ANPROp
}

// decide is the application proper: one question, one answer.
func (x *exchange) decide(code string, q query) answerA {
	c := q.CriteriRicerca
	missing := func(field string) answerA {
		return x.failure(http.StatusBadRequest, anomaly{Code: "EN081", Kind: "E", Text: "Campo obbligatorio non presente: " + field, Field: field})
	}
	switch {
	case x.fires(FaultOutage):
		return x.failure(http.StatusInternalServerError,
			anomaly{Code: "999", Kind: "E", Text: "Non è possibile effettuare l'operazione"},
			anomaly{Code: "EN527", Kind: "E", Text: "Contattare l'assistenza indicando data e idOperazioneANPR"})
	case x.fires(FaultApp999):
		return x.failure(http.StatusBadRequest, anomaly{Code: "999", Kind: "E", Text: "Non è possibile effettuare l'operazione"})
	case !opShape.MatchString(q.IDOperazioneClient) && !x.s.broken(MutantOperationShape):
		return x.failure(http.StatusBadRequest, anomaly{Code: "EN080", Kind: "E", Text: "Identificativo operazione non valido", Field: "idOperazioneClient", Value: q.IDOperazioneClient})
	case q.DatiRichiesta.CasoUso != code && !x.s.broken(MutantUseCase):
		return x.failure(http.StatusBadRequest, anomaly{Code: "EN080", Kind: "E", Text: "Caso d'uso non congruente con il servizio", Field: "casoUso", Value: q.DatiRichiesta.CasoUso})
	}
	asOf, err := time.Parse(time.DateOnly, q.DatiRichiesta.DataRiferimentoRichiesta)
	if err != nil && !x.s.broken(MutantDate) {
		return x.failure(http.StatusBadRequest, anomaly{Code: "EN080", Kind: "E", Text: "Data non valida", Field: "dataRiferimentoRichiesta"})
	}
	if x.s.broken(MutantAsOf) || err != nil {
		asOf = x.s.clock.Now()
	}
	if code == "C004" && (q.Verifica == nil || q.Verifica.DatiDecesso == nil || q.Verifica.DatiDecesso.DataEvento == "") {
		// A client reports EN148 here, with its other meaning.
		return x.failure(http.StatusBadRequest, anomaly{Code: "EN148", Kind: "E", Text: "Dati della verifica non presenti", Field: "verifica.datiDecesso"})
	}
	found, byID := []sim.Person(nil), false
	switch {
	case c.CodiceFiscale == "" && (code == "C030" || c.IDANPR == ""):
		if c.Cognome == "" && c.SenzaCognome != "S" || c.Nome == "" && c.SenzaNome != "S" || c.Sesso == "" || c.DatiNascita == nil || c.DatiNascita.DataEvento == "" {
			return missing("codiceFiscale")
		}
		found = x.s.byData(*c)
		if len(found) > 0 && x.subject == "" {
			x.subject, x.call.Subject = found[0].CF, found[0].CF
		}
	case c.CodiceFiscale != "":
		if c.IDANPR != "" && code != "C030" {
			return x.failure(http.StatusBadRequest, anomaly{Code: "EN080", Kind: "E", Text: "Indicare codiceFiscale oppure idANPR"})
		}
		if !x.fires(FaultCFSuperseded) {
			found = x.s.byCF(strings.ToUpper(c.CodiceFiscale))
		}
	default:
		byID = true
		if p, ok := x.s.byID(c.IDANPR); ok {
			found = []sim.Person{p}
		}
	}
	warnings := []anomaly{}
	if !byID && code != "C030" && !x.s.broken(MutantNoWarning) {
		w := warnUseID
		if x.s.broken(MutantWarningBlocks) {
			w.Kind = "E"
		}
		warnings = append(warnings, w)
	}
	if x.fires(FaultNotFound) || x.fires(FaultAIREMissing) {
		found = nil
	}
	text := "Soggetto non registrato in ANPR"
	live := found[:0:0]
	for _, p := range found {
		switch {
		case p.Status == sim.StatusCancelled && !x.s.broken(MutantCancelled):
			text = "Soggetto cancellato da ANPR"
		case p.Birth.Date > asOf.Format(time.DateOnly):
			return x.failure(http.StatusNotFound, anomaly{Code: "EN042", Kind: "E", Text: "Soggetto non presente in ANPR alla data indicata"})
		default:
			live = append(live, p)
		}
	}
	if len(live) == 0 && x.s.broken(MutantNotFoundEmpty) {
		body, err := json.Marshal(answerOK{Operation: x.operation(), Subjects: subjects{List: []subject{}}})
		if err == nil {
			return answerA{status: http.StatusOK, body: body, outcome: "OK", service: code}
		}
	}
	if len(live) == 0 {
		if x.fires(FaultEN122Old) {
			text = "La richiesta effettuata non produce alcun risultato"
		}
		errs := []anomaly{{Code: "EN122", Kind: "E", Text: text}}
		if x.s.broken(MutantNotFoundNoCode) {
			errs[0].Code = ""
		}
		if x.fires(FaultWarnInErrors) {
			errs = append([]anomaly{warnUseID}, errs...)
		}
		return x.failure(http.StatusNotFound, errs...)
	}
	switch {
	case x.fires(FaultManySubjects):
		return x.failure(http.StatusBadRequest, anomaly{Code: "EN095", Kind: "E", Text: "Individuati più soggetti"})
	case x.fires(FaultDoubleReg):
		return x.failure(http.StatusBadRequest, anomaly{Code: "EN470", Kind: "E", Text: "Soggetto iscritto sia in APR che in AIRE"})
	}
	if code == "C004" {
		return x.verified(live, q.Verifica.DatiDecesso.DataEvento, warnings)
	}
	if x.s.broken(MutantFirstOnly) {
		live = live[:1]
	}
	return x.found(code, live, warnings)
}
