package coresim

import (
	"net/http"

	"airegw/testharness/sim"
)

const manageLimit = 4 << 20

// Management is the surface for tests and the curious; serve it without TLS, on
// loopback. Beside /clock and /faults of every simulator:
//
//	GET  /identity             issuer, JWKS, CA
//	GET  /ledger               acceptances per key, live orders per request, pushes, register, violations
//	GET  /orders/{key}         what was prepared, and every event
//	GET  /plans   POST /plans  a Plan
//	POST /advance              an AdvanceRequest; answers the events
//	POST /release              let held events be seen
//	GET  /gateways  POST /gateways  a Gateway
//	POST /clients              {"name":…}: a client certificate and its key
func (s *Sim) Management() http.Handler {
	mux := http.NewServeMux()
	sim.Manage(mux, s.clock, s.faults)
	mux.HandleFunc("GET /identity", func(w http.ResponseWriter, _ *http.Request) {
		sim.WriteJSON(w, http.StatusOK, s.Identity())
	})
	mux.HandleFunc("GET /ledger", func(w http.ResponseWriter, _ *http.Request) {
		ledger := s.Ledger()
		// What is told is durable, here too: a judge does not testify to what a
		// kill may still undo.
		err := s.journal.Flush()
		if err != nil {
			sim.WriteProblem(w, sim.Problem{Status: http.StatusInternalServerError, Code: "internal", Detail: err.Error()})
			return
		}
		sim.WriteJSON(w, http.StatusOK, ledger)
	})
	mux.HandleFunc("GET /orders/{key}", func(w http.ResponseWriter, r *http.Request) {
		detail, ok := s.Order(r.PathValue("key"))
		if !ok {
			sim.WriteProblem(w, sim.Problem{Status: http.StatusNotFound, Code: "order_unknown"})
			return
		}
		sim.WriteJSON(w, http.StatusOK, detail)
	})
	mux.HandleFunc("GET /plans", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		plans := []Plan{}
		for _, p := range s.plans {
			plans = append(plans, *p)
		}
		s.mu.Unlock()
		sim.WriteJSON(w, http.StatusOK, map[string]any{"plans": plans})
	})
	mux.HandleFunc("POST /plans", func(w http.ResponseWriter, r *http.Request) {
		var p Plan
		manage(w, r, &p, func() (any, error) { return map[string]string{"status": "planned"}, s.SetPlan(p) })
	})
	mux.HandleFunc("POST /advance", func(w http.ResponseWriter, r *http.Request) {
		var a AdvanceRequest
		manage(w, r, &a, func() (any, error) {
			events, err := s.Advance(a)
			return map[string]any{"events": events}, err
		})
	})
	mux.HandleFunc("POST /release", func(w http.ResponseWriter, r *http.Request) {
		var nothing struct{}
		manage(w, r, &nothing, func() (any, error) { return map[string]string{"status": "released"}, s.ReleaseHeld() })
	})
	mux.HandleFunc("GET /gateways", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		list := []Gateway{}
		for _, g := range s.gateways {
			list = append(list, g.Gateway)
		}
		s.mu.Unlock()
		sim.WriteJSON(w, http.StatusOK, map[string]any{"gateways": list})
	})
	mux.HandleFunc("POST /gateways", func(w http.ResponseWriter, r *http.Request) {
		var g Gateway
		manage(w, r, &g, func() (any, error) { return s.Identity(), s.RegisterGateway(g) })
	})
	mux.HandleFunc("POST /clients", func(w http.ResponseWriter, r *http.Request) {
		var c struct {
			Name string `json:"name"`
		}
		manage(w, r, &c, func() (any, error) {
			certPEM, keyPEM, err := s.IssueClient(c.Name)
			return map[string]string{"cert_pem": string(certPEM), "key_pem": string(keyPEM)}, err
		})
	})
	return sim.LoopbackOnly(mux)
}

func manage(w http.ResponseWriter, r *http.Request, in any, do func() (any, error)) {
	err := sim.ReadJSON(r.Body, manageLimit, in)
	var out any
	if err == nil {
		out, err = do()
	}
	if err != nil {
		sim.WriteProblem(w, sim.Problem{Status: http.StatusBadRequest, Code: "malformed", Detail: err.Error()})
		return
	}
	sim.WriteJSON(w, http.StatusOK, out)
}

// OrderDetail is one order with all the core knows of it, without halves.
type OrderDetail struct {
	OrderLine
	Prepare  prepareBody `json:"prepare"`
	Delivery delivery    `json:"delivery_now"`
	Changes  []Outcome   `json:"changes"`
	Events   []Event     `json:"events"`
}

// Order tells of one order.
func (s *Sim) Order(key string) (OrderDetail, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.orders[key]
	if o == nil {
		return OrderDetail{}, false
	}
	d := OrderDetail{OrderLine: o.line(), Prepare: o.prepare, Delivery: o.delivery, Changes: append([]Outcome{}, o.changeList...), Events: []Event{}}
	for _, e := range o.events {
		d.Events = append(d.Events, e.Event)
	}
	return d, true
}
