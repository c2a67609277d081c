package sim

import (
	"net/http"
	"time"
)

const manageLimit = 1 << 20

// ClockState is what GET /clock answers.
type ClockState struct {
	Now     time.Time `json:"now"`
	Movable bool      `json:"movable"`
}

// clockMove is what POST /clock takes: one of the two.
type clockMove struct {
	Advance string     `json:"advance,omitempty"` // a Go duration, as in "24h"
	To      *time.Time `json:"to,omitempty"`
}

// Manage adds the management routes all simulators share:
//
//	GET  /clock   POST /clock   {"advance":"24h"} or {"to":"2026-12-01T00:00:00Z"}
//	GET  /faults  POST /faults  one Rule or a list of them   DELETE /faults  back to the profile
//
// Wrap the mux in LoopbackOnly before serving it.
func Manage(mux *http.ServeMux, clock Clock, faults *Faults) {
	mux.HandleFunc("GET /clock", func(w http.ResponseWriter, _ *http.Request) {
		_, movable := clock.(Mover)
		WriteJSON(w, http.StatusOK, ClockState{Now: clock.Now(), Movable: movable})
	})
	mux.HandleFunc("POST /clock", func(w http.ResponseWriter, r *http.Request) {
		var move clockMove
		err := ReadJSON(r.Body, manageLimit, &move)
		if err != nil {
			WriteProblem(w, Problem{Status: http.StatusBadRequest, Code: "malformed", Detail: err.Error()})
			return
		}
		mover, ok := clock.(Mover)
		if !ok {
			WriteProblem(w, Problem{Status: http.StatusConflict, Code: "clock_not_movable"})
			return
		}
		var d time.Duration
		switch {
		case move.Advance != "" && move.To == nil:
			d, err = time.ParseDuration(move.Advance)
		case move.Advance == "" && move.To != nil:
			d = move.To.Sub(clock.Now())
		default:
			d = -1
		}
		if err != nil || d < 0 {
			WriteProblem(w, Problem{Status: http.StatusBadRequest, Code: "malformed", Detail: "advance or to, and never back"})
			return
		}
		mover.Advance(d)
		WriteJSON(w, http.StatusOK, ClockState{Now: clock.Now(), Movable: true})
	})
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) {
		WriteJSON(w, http.StatusOK, faultList{Seed: faults.rand.Seed(), Profile: faults.profile, Total: faults.Total(), Faults: faults.Snapshot()})
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Rule
			Rules []Rule `json:"rules"`
		}
		err := ReadJSON(r.Body, manageLimit, &body)
		if err == nil {
			if body.Name != "" {
				body.Rules = append(body.Rules, body.Rule)
			}
			for _, rule := range body.Rules {
				err = faults.Set(rule)
				if err != nil {
					break
				}
			}
		}
		if err != nil {
			WriteProblem(w, Problem{Status: http.StatusBadRequest, Code: "malformed", Detail: err.Error()})
			return
		}
		WriteJSON(w, http.StatusOK, faultList{Seed: faults.rand.Seed(), Profile: faults.profile, Total: faults.Total(), Faults: faults.Snapshot()})
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		faults.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
}

type faultList struct {
	Seed    uint64       `json:"seed"`
	Profile Profile      `json:"profile"`
	Total   int64        `json:"total"`
	Faults  []FaultState `json:"faults"`
}
