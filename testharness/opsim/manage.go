package opsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"airegw/testharness/sim"
)

const manageLimit = 1 << 20

// Management is the surface for tests and demonstrations; README.md lists the
// calls. Loopback only, no authentication.
func (s *Server) Management() http.Handler {
	mux := http.NewServeMux()
	sim.Manage(mux, s.wire, s.faults)
	told := func(v func() any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { sim.WriteJSON(w, http.StatusOK, v()) }
	}
	mux.HandleFunc("GET /identity", told(func() any { return s.Identity() }))
	mux.HandleFunc("GET /catalogue", told(func() any { return map[string]any{"faults": Catalogue()} }))
	mux.HandleFunc("GET /refusals", told(func() any { return map[string]any{"refusals": s.Refusals()} }))
	mux.HandleFunc("GET /people", told(func() any { return map[string]any{"people": s.Citizens()} }))
	mux.HandleFunc("GET /operators", told(func() any { return map[string]any{"operators": s.OperatorList()} }))
	mux.HandleFunc("GET /state", told(func() any { return s.State() }))
	mux.HandleFunc("GET /ledger", s.manageLedger)
	do := func(pattern string, status int, act func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := act(r)
			switch {
			case errors.Is(err, ErrNoSuchPerson):
				sim.WriteProblem(w, sim.Problem{Status: http.StatusNotFound, Code: "no_such_person", Detail: err.Error()})
			case err != nil:
				sim.WriteProblem(w, sim.Problem{Status: http.StatusBadRequest, Code: "refused", Detail: err.Error()})
			case answer == nil:
				w.WriteHeader(http.StatusNoContent)
			default:
				sim.WriteJSON(w, status, answer)
			}
		})
	}
	do("POST /relying-parties", http.StatusCreated, s.manageRegister)
	do("DELETE /relying-parties", http.StatusNoContent, func(r *http.Request) (any, error) { return nil, s.Unregister(r.URL.Query().Get("id")) })
	do("POST /marks", http.StatusNoContent, s.manageMark)
	do("POST /auto", http.StatusNoContent, s.manageAuto)
	do("DELETE /auto", http.StatusNoContent, func(*http.Request) (any, error) { return nil, s.SetAuto(nil) })
	do("POST /people/{cf}", http.StatusOK, s.managePerson)
	do("POST /operators/clients", http.StatusNoContent, s.manageClient)
	do("POST /operators/auto", http.StatusNoContent, s.manageOperatorAuto)
	do("POST /operators/{id}/claims", http.StatusNoContent, s.manageOperatorClaims)
	do("POST /keys/rotate", http.StatusNoContent, s.manageRotate)
	do("POST /chains/forget", http.StatusNoContent, func(r *http.Request) (any, error) {
		s.ForgetChain(r.URL.Query().Get("id"))
		return nil, nil
	})
	do("POST /down", http.StatusNoContent, s.manageDown)
	do("POST /lifetimes", http.StatusNoContent, s.manageLifetimes)
	do("POST /trust-failure", http.StatusNoContent, s.manageTrustFailure)
	return sim.LoopbackOnly(mux)
}

// Identity is what a gateway must be told to trust this simulator.
type Identity struct {
	Addresses
	AnchorJWKS json.RawMessage   `json:"anchor_jwks"`
	Issuers    map[string]string `json:"issuers"` // of the operators' providers, by realm
	Endpoints  Endpoints         `json:"endpoints"`
	Seed       uint64            `json:"seed"`
}

// Identity is what a gateway must be told to trust this simulator.
func (s *Server) Identity() Identity {
	return Identity{
		Addresses: s.at, AnchorJWKS: s.AnchorJWKS(), Endpoints: s.Endpoints(), Seed: s.Seed(),
		Issuers: map[string]string{RealmInterno: s.Issuer(RealmInterno), RealmEsteri: s.Issuer(RealmEsteri)},
	}
}

// State is what the simulator holds now.
type State struct {
	RelyingParties []string        `json:"relying_parties"`
	Chains         []string        `json:"chains"` // clients the provider trusts now
	LiveTokens     int             `json:"live_tokens"`
	OpenLogins     int             `json:"open_logins"`
	Down           map[string]bool `json:"down"`
	Auto           *Auto           `json:"auto,omitempty"`
	OperatorAuto   string          `json:"operator_auto,omitempty"`
}

// State is what the simulator holds now.
func (s *Server) State() State {
	now := s.wire.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := State{RelyingParties: []string{}, Chains: []string{}, Down: map[string]bool{}, Auto: s.auto, OperatorAuto: s.operatorAuto}
	for id, e := range s.entities {
		if e.Type != TypeProvider {
			st.RelyingParties = append(st.RelyingParties, id)
		}
	}
	for id, c := range s.clients {
		if c.expires.After(now) {
			st.Chains = append(st.Chains, id)
		}
	}
	for _, t := range s.tokens {
		if t.expires.After(now) {
			st.LiveTokens++
		}
	}
	for _, i := range s.interactions {
		if !i.done && i.expires.After(now) {
			st.OpenLogins++
		}
	}
	for party, down := range s.down {
		st.Down[party] = down
	}
	return st
}

func (s *Server) manageLedger(w http.ResponseWriter, r *http.Request) {
	events := s.Events()
	if kind := r.URL.Query().Get("kind"); kind != "" {
		kept := events[:0]
		for _, e := range events {
			if e.Kind == kind {
				kept = append(kept, e)
			}
		}
		events = kept
	}
	if limit, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && limit >= 0 && limit < len(events) {
		events = events[len(events)-limit:]
	}
	sim.WriteJSON(w, http.StatusOK, map[string]any{"events": events})
}

func (s *Server) manageRegister(r *http.Request) (any, error) {
	body := struct {
		ID      string `json:"id"`
		Type    string `json:"type"`
		Private bool   `json:"private"`
	}{Type: TypeRelyingParty}
	err := sim.ReadJSON(r.Body, manageLimit, &body)
	if err != nil {
		return nil, err
	}
	return s.RegisterAs(r.Context(), body.ID, body.Type, body.Private)
}

func (s *Server) manageMark(r *http.Request) (any, error) {
	var body struct {
		ID      string `json:"id"`
		Revoked bool   `json:"revoked"`
	}
	err := sim.ReadJSON(r.Body, manageLimit, &body)
	if err != nil {
		return nil, err
	}
	s.RevokeMark(body.ID, body.Revoked)
	return nil, nil
}

func (s *Server) manageAuto(r *http.Request) (any, error) {
	var auto Auto
	err := sim.ReadJSON(r.Body, manageLimit, &auto)
	if err != nil {
		return nil, err
	}
	return nil, s.SetAuto(&auto)
}

func (s *Server) managePerson(r *http.Request) (any, error) {
	cf := r.PathValue("cf")
	c, ok := s.citizen(cf)
	if !ok {
		return nil, fmt.Errorf("%s: %w", cf, ErrNoSuchPerson)
	}
	body := struct {
		MaxLevel    Level    `json:"max_level"`
		Credentials Standing `json:"credentials"`
	}{c.MaxLevel, c.Credentials}
	err := sim.ReadJSON(r.Body, manageLimit, &body)
	if err == nil {
		err = s.SetCredentials(cf, body.MaxLevel, body.Credentials)
	}
	if err != nil {
		return nil, err
	}
	return body, nil
}

func (s *Server) manageClient(r *http.Request) (any, error) {
	var c OperatorClient
	err := sim.ReadJSON(r.Body, manageLimit, &c)
	if err != nil {
		return nil, err
	}
	return nil, s.RegisterClient(c)
}

func (s *Server) manageOperatorAuto(r *http.Request) (any, error) {
	var body struct {
		ID string `json:"id"`
	}
	err := sim.ReadJSON(r.Body, manageLimit, &body)
	if err != nil {
		return nil, err
	}
	return nil, s.SetOperatorAuto(body.ID)
}

func (s *Server) manageOperatorClaims(r *http.Request) (any, error) {
	var claims map[string]any
	err := sim.ReadJSON(r.Body, manageLimit, &claims)
	if err != nil {
		return nil, err
	}
	return nil, s.SetOperatorClaims(r.PathValue("id"), claims)
}

func (s *Server) manageRotate(r *http.Request) (any, error) {
	var body struct {
		Key    string `json:"key"`
		Abrupt bool   `json:"abrupt"`
	}
	err := sim.ReadJSON(r.Body, manageLimit, &body)
	if err != nil {
		return nil, err
	}
	return nil, s.Rotate(body.Key, body.Abrupt)
}

// SetDown takes a party out of service, or brings it back: anchor, provider or
// operators. Everything it is asked is answered by 503.
func (s *Server) SetDown(party string, down bool) error {
	switch party {
	case "anchor", "provider", "operators":
	default:
		return fmt.Errorf("unknown party %q: anchor, provider or operators", party)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[party] = down
	return nil
}

func (s *Server) manageDown(r *http.Request) (any, error) {
	var body struct {
		Party string `json:"party"`
		Down  bool   `json:"down"`
	}
	err := sim.ReadJSON(r.Body, manageLimit, &body)
	if err != nil {
		return nil, err
	}
	return nil, s.SetDown(body.Party, body.Down)
}

// Lifetimes are how long statements are good for: where the clock cannot be
// moved, a chain expires early by short ones.
type Lifetimes struct {
	Anchor    time.Duration // the anchor's configuration
	Statement time.Duration // the anchor's statements about others
	Provider  time.Duration // the provider's configuration
}

func (s *Server) lifetimes() Lifetimes {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life
}

// SetLifetimes changes how long the statements from now on are good for; what
// is not positive stays as it is.
func (s *Server) SetLifetimes(l Lifetimes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range []struct {
		to   *time.Duration
		from time.Duration
	}{{&s.life.Anchor, l.Anchor}, {&s.life.Statement, l.Statement}, {&s.life.Provider, l.Provider}} {
		if c.from > 0 {
			*c.to = c.from
		}
	}
}

func (s *Server) manageLifetimes(r *http.Request) (any, error) {
	var body struct {
		Anchor    string `json:"anchor"`
		Statement string `json:"statement"`
		Provider  string `json:"provider"`
	}
	err := sim.ReadJSON(r.Body, manageLimit, &body)
	if err != nil {
		return nil, err
	}
	var l Lifetimes
	for _, c := range []struct {
		text string
		to   *time.Duration
	}{{body.Anchor, &l.Anchor}, {body.Statement, &l.Statement}, {body.Provider, &l.Provider}} {
		if c.text == "" {
			continue
		}
		*c.to, err = time.ParseDuration(c.text)
		if err != nil || *c.to <= 0 {
			return nil, fmt.Errorf("lifetime %q is not a positive duration", c.text)
		}
	}
	s.SetLifetimes(l)
	return nil, nil
}

func (s *Server) manageTrustFailure(r *http.Request) (any, error) {
	var body struct {
		Redirect bool `json:"redirect"`
	}
	err := sim.ReadJSON(r.Body, manageLimit, &body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redirectTrust = body.Redirect
	return nil, nil
}
