package anprsim

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"airegw/testharness/sim"
)

// How much of the ledgers is kept in memory for the management surface.
const (
	keepCalls    = 5000
	keepRefusals = 500
)

// Call is one line of the ledger of calls.
type Call struct {
	Seq       int64     `json:"seq"`
	Time      time.Time `json:"time"`
	Operation string    `json:"operation"` // token, service code, CIE2 …
	Client    string    `json:"client,omitempty"`
	Purpose   string    `json:"purpose,omitempty"`
	UserID    string    `json:"user_id,omitempty"` // audit claims of the caller
	Location  string    `json:"user_location,omitempty"`
	LoA       string    `json:"loa,omitempty"`
	Reason    string    `json:"reason,omitempty"`  // motivoRichiesta
	Subject   string    `json:"subject,omitempty"` // tax code or idANPR asked for
	ClientOp  string    `json:"client_operation,omitempty"`
	ANPROp    string    `json:"anpr_operation,omitempty"`
	Status    int       `json:"status"`
	Outcome   string    `json:"outcome"` // OK, or the title or code of the refusal
	Faults    []string  `json:"faults,omitempty"`
}

// Refusal is the true cause of an opaque answer.
type Refusal struct {
	Time      time.Time `json:"time"`
	Operation string    `json:"operation"`
	Client    string    `json:"client,omitempty"`
	Status    int       `json:"status"`
	Wire      string    `json:"wire"`   // what the caller was told
	Code      string    `json:"code"`   // ours, stable; PDND's four digits for the token endpoint
	Detail    string    `json:"detail"` // what to mend
}

// CardEvent is a card told by CIE8 (issued) or CIE7 (annulled).
type CardEvent struct {
	Time      time.Time `json:"time"`
	Operation string    `json:"operation"` // CIE8 or CIE7
	Sender    string    `json:"sender"`
	ClientOp  string    `json:"client_operation"`
	ANPROp    string    `json:"anpr_operation"`
	CF        string    `json:"cf"`
	Card      sim.Card  `json:"card"` // as the register holds it after the event
}

// entry is one line of the journal.
type entry struct {
	Kind   string      `json:"kind"` // client, person, reset, cie
	Client *Client     `json:"client,omitempty"`
	CF     string      `json:"cf,omitempty"`
	Person *sim.Person `json:"person,omitempty"`
	Index  int         `json:"index,omitempty"` // which of the people with this tax code
	Card   *CardEvent  `json:"card,omitempty"`
	Reply  *soapReply  `json:"reply,omitempty"`
	Align  *alignment  `json:"align,omitempty"`
}

func (s *Server) openJournal() error {
	var err error
	s.journal, err = sim.OpenJournal(filepath.Join(s.opt.Dir, "anpr.journal"), func(line []byte) error {
		var e entry
		err := json.Unmarshal(line, &e)
		if err != nil {
			return fmt.Errorf("entry: %w", err)
		}
		return s.replay(e)
	})
	return err
}

func (s *Server) replay(e entry) error {
	switch e.Kind {
	case "client":
		s.clients[e.Client.ID] = e.Client
	case "person":
		// A folder may be older than the population: who is no longer in it stays out.
		if s.nth(e.CF, e.Index) != nil {
			return s.setPerson(e.CF, e.Index, *e.Person)
		}
	case "reset":
		s.resetPerson(e.CF)
	case "cie":
		if e.Card != nil {
			s.applyCard(*e.Card)
		}
		if e.Align != nil {
			s.aligning[e.Align.ID] = *e.Align
		}
		if e.Reply != nil {
			s.keepReply(*e.Reply)
		}
	default:
		return fmt.Errorf("unknown entry %q", e.Kind)
	}
	return nil
}

// append writes to the journal; call it with the lock held, then flush without.
func (s *Server) append(e entry) error {
	err := s.journal.Append(e)
	if err != nil {
		return fmt.Errorf("keep %s: %w", e.Kind, err)
	}
	return nil
}

func (s *Server) flush() error {
	err := s.journal.Flush()
	if err != nil {
		return fmt.Errorf("keep the ledger: %w", err)
	}
	return nil
}

// nextOperation is the id ANPR gives to an operation.
func (s *Server) nextOperation() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	return fmt.Sprint(s.seq)
}

func (s *Server) recordCall(c Call) {
	s.calls.Add(func(seq int64) Call {
		c.Seq, c.Time = seq, s.clock.Now()
		return c
	})
}

// diagnose keeps the true cause of a refusal and logs it. No personal data.
func (s *Server) diagnose(r Refusal) {
	r.Time = s.clock.Now()
	s.log.Warn("refused", "operation", r.Operation, "client", r.Client, "status", r.Status, "wire", r.Wire, "code", r.Code, "detail", r.Detail)
	s.refusals.Add(func(int64) Refusal { return r })
}

// Refusals returns the true causes of the last refusals, newest first.
func (s *Server) Refusals() []Refusal { return s.refusals.NewestFirst() }

// Calls returns the last calls, oldest first.
func (s *Server) Calls() []Call { return s.calls.All() }

// Cards returns all card events, oldest first.
func (s *Server) Cards() []CardEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.cards)
}
