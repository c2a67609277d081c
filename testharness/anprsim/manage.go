package anprsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"airegw/testharness/sim"
)

// Management is the surface for tests and demonstrations; see README.md for
// the calls. Loopback only, no authentication.
func (s *Server) Management() http.Handler {
	mux := http.NewServeMux()
	sim.Manage(mux, s.clock, s.faults)
	mux.HandleFunc("GET /identity", func(w http.ResponseWriter, _ *http.Request) { sim.WriteJSON(w, http.StatusOK, s.Identity()) })
	mux.HandleFunc("GET /calls", s.manageCalls)
	mux.HandleFunc("GET /refusals", func(w http.ResponseWriter, _ *http.Request) {
		sim.WriteJSON(w, http.StatusOK, map[string]any{"refusals": s.Refusals()})
	})
	mux.HandleFunc("GET /cards", func(w http.ResponseWriter, _ *http.Request) {
		sim.WriteJSON(w, http.StatusOK, map[string]any{"cards": s.Cards()})
	})
	mux.HandleFunc("GET /people", func(w http.ResponseWriter, _ *http.Request) {
		sim.WriteJSON(w, http.StatusOK, map[string]any{"people": s.People()})
	})
	mux.HandleFunc("GET /people/{cf}", s.managePerson)
	mux.HandleFunc("POST /people/{cf}", s.manageChange)
	mux.HandleFunc("DELETE /people/{cf}", func(w http.ResponseWriter, r *http.Request) {
		if manageFailed(w, s.Reset(r.PathValue("cf"))) {
			return
		}
		s.managePerson(w, r)
	})
	mux.HandleFunc("POST /clients", s.manageClient)
	mux.HandleFunc("POST /vouchers", s.manageVoucher)
	mux.HandleFunc("POST /soap", s.manageSOAP)
	mux.HandleFunc("GET /alignments", func(w http.ResponseWriter, _ *http.Request) {
		sim.WriteJSON(w, http.StatusOK, map[string]any{"alignments": s.Alignments()})
	})
	mux.HandleFunc("POST /alignments/{id}", s.manageAlignment)
	mux.HandleFunc("GET /mutants", s.manageMutants)
	mux.HandleFunc("POST /mutants", s.manageMutate)
	mux.HandleFunc("GET /quota", s.manageQuota)
	mux.HandleFunc("POST /quota", s.manageLimits)
	return sim.LoopbackOnly(mux)
}

// manageFailed answers an error of a management call; false when there is none.
func manageFailed(w http.ResponseWriter, err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, ErrNoSuchPerson):
		sim.WriteProblem(w, sim.Problem{Status: http.StatusNotFound, Code: "no_such_person", Detail: err.Error()})
	default:
		sim.WriteProblem(w, sim.Problem{Status: http.StatusBadRequest, Code: "invalid", Detail: err.Error()})
	}
	return true
}

func (s *Server) manageCalls(w http.ResponseWriter, r *http.Request) {
	calls := s.Calls()
	if service := r.URL.Query().Get("service"); service != "" {
		kept := calls[:0]
		for _, c := range calls {
			if c.Operation == service {
				kept = append(kept, c)
			}
		}
		calls = kept
	}
	if limit, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && limit >= 0 && limit < len(calls) {
		calls = calls[len(calls)-limit:]
	}
	sim.WriteJSON(w, http.StatusOK, map[string]any{"calls": calls})
}

func (s *Server) managePerson(w http.ResponseWriter, r *http.Request) {
	people := s.byCF(r.PathValue("cf"))
	if len(people) == 0 {
		manageFailed(w, ErrNoSuchPerson)
		return
	}
	sim.WriteJSON(w, http.StatusOK, map[string]any{"people": people})
}

// manageChange merges the members given into the record: an object member
// (address, post, birth, aire, card) is itself merged.
func (s *Server) manageChange(w http.ResponseWriter, r *http.Request) {
	index, err := personIndex(r)
	if manageFailed(w, err) {
		return
	}
	body, err := readBody(w, r, maxBody)
	if manageFailed(w, err) {
		return
	}
	err = s.Change(r.PathValue("cf"), index, func(p *sim.Person) error { return merge(p, body) })
	if manageFailed(w, err) {
		return
	}
	s.managePerson(w, r)
}

// merge reads a JSON object over p; unknown members are errors.
func merge(p *sim.Person, body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err := dec.Decode(p)
	if err != nil {
		return err
	}
	if _, err = dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

func (s *Server) manageClient(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r, maxBody)
	if manageFailed(w, err) {
		return
	}
	var c Client
	err = sim.ReadJSON(bytes.NewReader(body), maxBody, &c)
	if manageFailed(w, err) || manageFailed(w, s.RegisterClient(c)) {
		return
	}
	s.mu.Lock()
	registered := *s.clients[c.ID]
	s.mu.Unlock()
	sim.WriteJSON(w, http.StatusCreated, registered)
}

// manageVoucher makes a voucher the token endpoint would not give: an old one,
// one of the future. Nobody can wait ten minutes in a test.
func (s *Server) manageVoucher(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Client   string `json:"client_id"`
		Service  string `json:"service"`
		Digest   string `json:"digest"`   // 64 hex digits; empty: none
		Issued   string `json:"issued"`   // offset from now, a Go duration: "-20m"
		Lifetime string `json:"lifetime"` // a Go duration; empty: as usual
	}
	err := sim.ReadJSON(r.Body, maxBody, &body)
	order := voucherOrder{code: body.Service, issued: s.wire.Now(), lifetime: s.opt.VoucherLifetime}
	var d time.Duration
	if err == nil && body.Issued != "" {
		d, err = time.ParseDuration(body.Issued)
		order.issued = order.issued.Add(d)
	}
	if err == nil && body.Lifetime != "" {
		order.lifetime, err = time.ParseDuration(body.Lifetime)
	}
	if manageFailed(w, err) {
		return
	}
	s.mu.Lock()
	client := s.clients[body.Client]
	s.mu.Unlock()
	if client == nil || client.Purposes[body.Service] == "" {
		manageFailed(w, errors.New("unknown client, or no purpose for that service"))
		return
	}
	order.client, order.purpose = *client, client.Purposes[body.Service]
	if body.Digest != "" {
		order.digest = map[string]string{"alg": "SHA256", "value": body.Digest}
	}
	voucher, err := s.issueVoucher(order)
	if manageFailed(w, err) {
		return
	}
	sim.WriteJSON(w, http.StatusCreated, map[string]any{"access_token": voucher})
}

// manageSOAP issues the certificates of a sender of doors B and C, with a new key.
func (s *Server) manageSOAP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Sender  string `json:"sender"`
		Station string `json:"station"`
	}
	if manageFailed(w, sim.ReadJSON(r.Body, maxBody, &body)) {
		return
	}
	id, err := s.IssueSOAP(body.Sender, body.Station, nil)
	if manageFailed(w, err) {
		return
	}
	sim.WriteJSON(w, http.StatusCreated, id)
}

// manageAlignment is the clerk of the comune who closes a request: what it asks
// for is done, or with {"refused":true} is not.
func (s *Server) manageAlignment(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Refused bool `json:"refused"`
	}
	text, err := readBody(w, r, maxBody)
	if err == nil && len(bytes.TrimSpace(text)) > 0 {
		err = sim.ReadJSON(bytes.NewReader(text), maxBody, &body)
	}
	if manageFailed(w, err) || manageFailed(w, s.closeAlignment(r.PathValue("id"), body.Refused)) {
		return
	}
	sim.WriteJSON(w, http.StatusOK, map[string]any{"alignments": s.Alignments()})
}

func (s *Server) manageQuota(w http.ResponseWriter, _ *http.Request) {
	type line struct {
		Used  int `json:"used"`
		Limit int `json:"limit"`
	}
	out := map[string]line{}
	s.mu.Lock()
	for code := range serviceNames {
		out[code] = line{Used: s.used[code], Limit: s.limits[code]}
	}
	s.mu.Unlock()
	sim.WriteJSON(w, http.StatusOK, map[string]any{"quota": out})
}

func (s *Server) manageLimits(w http.ResponseWriter, r *http.Request) {
	limits := map[string]int{}
	if manageFailed(w, sim.ReadJSON(r.Body, maxBody, &limits)) {
		return
	}
	for code, n := range limits {
		if serviceNames[code] == "" || n < 0 {
			manageFailed(w, errors.New("unknown service or negative limit: "+code))
			return
		}
	}
	for code, n := range limits {
		s.SetLimit(code, n)
	}
	s.manageQuota(w, r)
}
