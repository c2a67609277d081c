// Package sadsim is a comune's own registry as the dialogue of seed 004 (5.9)
// meets it: over http, or through a pair of folders. Its messages are the
// provisional ones of gateway/sad, written anew: nothing of the product is used.
//
// It promises to answer about the people it was given, with the constants of
// its comune, and to count what it was asked. It refuses what is not a question
// of the dialogue, and listens on loopback only, by its caller.
package sadsim

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"airegw/testharness/sim"
)

// Person as the registry has them.
type Person struct {
	Surname, Name, Birth string
	Travel               bool // the card is valid for travel
}

// Registry is one. Safe for concurrent use.
type Registry struct {
	// Yes and No are the comune's constants.
	Yes, No string
	// Spoil, when set, changes an answer before it is sent.
	Spoil func(string) string

	mu     sync.Mutex
	people map[string]Person
	asked  []string
}

// New makes a registry with people by fiscal code.
func New(yes, no string, people map[string]Person) *Registry {
	return &Registry{Yes: yes, No: no, people: people}
}

// FromPopulation takes the simulators' people who were born in Italy.
func FromPopulation() map[string]Person {
	out := map[string]Person{}
	for _, p := range sim.People() {
		out[p.CF] = Person{Surname: p.Surname, Name: p.Name, Birth: p.Birth.Date, Travel: true}
	}
	return out
}

// Asked lists the ids of the questions, in order.
func (r *Registry) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.asked...)
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}

var errQuestion = errors.New("not a question of the dialogue")

// Answer answers one question.
func (r *Registry) Answer(question []byte) (string, error) {
	var q struct {
		XMLName xml.Name `xml:"richiestaAPR"`
		Version string   `xml:"versione,attr"`
		ID      string   `xml:"id,attr"`
		Comune  string   `xml:"comune"`
		CF      string   `xml:"codiceFiscale"`
	}
	if xml.Unmarshal(question, &q) != nil || q.Version != "provvisoria-1" || q.ID == "" || len(q.Comune) != 6 || q.CF == "" {
		return "", errQuestion
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, q.ID)
	p, ok := r.people[q.CF]
	inner := "<esito>assente</esito>"
	if ok {
		word := r.No
		if p.Travel {
			word = r.Yes
		}
		inner = fmt.Sprintf("<esito>trovato</esito><soggetto><cognome>%s</cognome><nome>%s</nome><dataNascita>%s</dataNascita><validitaEspatrio>%s</validitaEspatrio></soggetto>",
			escaped(p.Surname), escaped(p.Name), escaped(p.Birth), escaped(word))
	}
	text := `<?xml version="1.0" encoding="UTF-8"?><rispostaAPR versione="provvisoria-1" id="` + escaped(q.ID) + `">` + inner + `</rispostaAPR>`
	if r.Spoil != nil {
		text = r.Spoil(text)
	}
	return text, nil
}

// ServeHTTP is the http way, at any path.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 64<<10))
	if err != nil || req.Method != http.MethodPost {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	text, err := r.Answer(body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/xml; charset=UTF-8")
	_, _ = io.WriteString(w, text)
}

// Sweep is the folder way: it answers every question in upload that has no
// answer in download yet.
func (r *Registry) Sweep(upload, download string) error {
	names, err := filepath.Glob(filepath.Join(upload, "*.xml"))
	if err != nil {
		return fmt.Errorf("requests: %w", err)
	}
	for _, name := range names {
		to := filepath.Join(download, filepath.Base(name))
		if _, err := os.Stat(to); err == nil {
			continue
		}
		question, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("request: %w", err)
		}
		text, err := r.Answer(question)
		if err == nil {
			err = sim.WriteFile(to, []byte(text), 0o600)
		}
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return nil
}
