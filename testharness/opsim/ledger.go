package opsim

import "time"

// How much of the ledgers is kept in memory.
const (
	keepEvents   = 5000
	keepRefusals = 500
)

// Event is one line of the ledger.
type Event struct {
	Seq     int64     `json:"seq"`
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"` // registered, authorization_request, login, token, refresh, userinfo, introspection, revocation, operator_login, operator_token
	Client  string    `json:"client,omitempty"`
	Person  string    `json:"person,omitempty"` // fiscal code, or the operator's id
	Level   Level     `json:"level,omitempty"`
	Mode    Mode      `json:"mode,omitempty"` // how the card was used, apart from the level
	Auto    bool      `json:"auto,omitempty"` // without pages
	JTI     string    `json:"jti,omitempty"`  // of the access token
	Outcome string    `json:"outcome"`        // consented, access_denied, issued, revoked …
	Detail  string    `json:"detail,omitempty"`
	Faults  []string  `json:"faults,omitempty"`
}

// Refusal is the true cause of an answer that refused a client.
type Refusal struct {
	Time      time.Time `json:"time"`
	Operation string    `json:"operation"`
	Client    string    `json:"client,omitempty"`
	Status    int       `json:"status"`
	Wire      string    `json:"wire"`  // what the client was told
	Check     string    `json:"check"` // ours, stable
	Detail    string    `json:"detail"`
}

// note adds a line to the ledger.
func (s *Server) note(e Event) {
	s.events.Add(func(seq int64) Event {
		e.Seq, e.Time = seq, s.clock.Now()
		return e
	})
}

// refuse keeps the true cause of a refusal and logs it. No personal data.
func (s *Server) refuse(r Refusal) {
	r.Time = s.clock.Now()
	s.log.Warn("refused", "operation", r.Operation, "client", r.Client, "status", r.Status, "wire", r.Wire, "check", r.Check, "detail", r.Detail)
	s.refusals.Add(func(int64) Refusal { return r })
}

// Events returns the last events, oldest first.
func (s *Server) Events() []Event { return s.events.All() }

// Refusals returns the true causes of the last refusals, newest first.
func (s *Server) Refusals() []Refusal { return s.refusals.NewestFirst() }
