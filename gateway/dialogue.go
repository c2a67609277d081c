package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"airegw/anpr"
)

// The dialogue with a comune's own registry (SAD 2.8, A50 to A53): where a
// comune has it on, opening the dossier of a request at its counter asks that
// registry about the applicant, as the issuing software of seed 004 (5.9) did
// "during the procedures of issuing". It helps the operator; nothing waits for
// it and nothing is decided by it.

// ComuneRegistries are the registries of the comuni that have the dialogue on.
// gateway/app adapts gateway/sad to it.
type ComuneRegistries interface {
	// Speaks says whether a comune (ISTAT code) has it on.
	Speaks(comune string) bool
	// Ask asks once; the same id for a repetition. Errors: *DialogueError is the
	// dialogue's own, everything else is tried again.
	Ask(ctx context.Context, comune, id string, person Applicant) (DialogueAnswer, error)
	// Done says that the answer is stored.
	Done(comune, id string) error
}

// DialogueError is an answer, or a lack of one, by its code of gateway/sad.
type DialogueError struct {
	Code  string
	Final bool // repeating changes nothing
	Err   error
}

func (e *DialogueError) Error() string { return "registry of the comune: " + e.Code }

// Unwrap answers the client's own error.
func (e *DialogueError) Unwrap() error { return e.Err }

// DialogueStatus is how far a dialogue is. The set is closed.
type DialogueStatus string

// The statuses.
const (
	DialogueOpen     DialogueStatus = "open"
	DialogueAnswered DialogueStatus = "answered"
	DialogueFailed   DialogueStatus = "failed" // given up: Code
)

// DialogueAnswer is what the registry says: personal data, kept encrypted.
type DialogueAnswer struct {
	Found     bool   `json:"found"`
	Surname   string `json:"surname,omitempty"`
	GivenName string `json:"given_name,omitempty"`
	BirthDate string `json:"birth_date,omitempty"`
	Travel    *bool  `json:"travel,omitempty"` // the card there is valid for travel; nil: not said
	// Differs names what is not as the register (ANPR) has it: surname,
	// given_name, birth_date.
	Differs []string `json:"differs,omitempty"`
}

// Dialogue is one.
type Dialogue struct {
	Request    string
	Office     Office // the comune that is asked
	Status     DialogueStatus
	Code       string
	Tries      int
	Due        time.Time
	OpenedAt   time.Time
	AnsweredAt time.Time
	Answer     *DialogueAnswer
}

// DialogueStore keeps dialogues; Change.Dialogue opens them. Errors are those of
// Store.
type DialogueStore interface {
	// ClaimDialogues answers up to n that are open and due, counts a try and
	// makes them due again at the lease's end.
	ClaimDialogues(ctx context.Context, now time.Time, lease time.Duration, n int) ([]Dialogue, error)

	// SettleDialogue stores what came of a claimed one (its next due time, or its
	// end) with its audit entry: Conflict "lease_lost" when another try went on.
	SettleDialogue(ctx context.Context, d Dialogue, audit ...AuditEntry) error

	// Dialogue answers the dialogue of a request; NotFound without one.
	Dialogue(ctx context.Context, request string) (Dialogue, error)
}

// dialogueTries is how often a registry is asked, over hours, before it is
// given up; through folders most tries only look whether the answer is there.
const dialogueTries = 24

// opensDialogue says that the registry of a request's office is to be asked.
func (g *Gateway) opensDialogue(r *Request) bool {
	return g.registries != nil && r.Office.Kind == OfficeComune && g.registries.Speaks(r.Office.Code)
}

// Dialogue answers what the registry of the comune said of the applicant, for
// who may see the request; NotFound where there was no dialogue. The look is
// audited.
func (d Desk) Dialogue(ctx context.Context, number string) (Dialogue, error) {
	r, err := d.g.load(ctx, d.scope, number)
	if err != nil {
		return Dialogue{}, err
	}
	if err := d.officeOnly(); err != nil {
		return Dialogue{}, err
	}
	found, err := d.g.store.Dialogue(ctx, r.ID)
	if err != nil {
		return Dialogue{}, wrap("read dialogue", err)
	}
	err = d.g.store.Audit(ctx, AuditEntry{At: d.g.clock.Now(), Actor: d.scope.actor, Act: "registry_dialogue_seen", Subject: r.ID})
	return found, wrap("audit look", err)
}

// DialogueOnce asks the registries that are due. again says that there may be
// more at once.
func (g *Gateway) DialogueOnce(ctx context.Context) (again bool, err error) {
	if g.registries == nil {
		return false, nil
	}
	due, err := g.store.ClaimDialogues(ctx, g.clock.Now(), g.set.Lease, g.set.Workers)
	if err != nil {
		return false, wrap("claim dialogues", err)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(due))
	for i, d := range due {
		wg.Go(func() { errs[i] = g.dialogue(ctx, d) })
	}
	wg.Wait()
	return len(due) == g.set.Workers, errors.Join(errs...)
}

func (g *Gateway) dialogue(ctx context.Context, d Dialogue) error {
	ctx, cancel := context.WithTimeout(ctx, g.set.Lease)
	defer cancel()
	scope := systemScope("registry-dialogue")
	r, err := g.load(ctx, scope, d.Request)
	if err != nil {
		return err
	}
	now := g.clock.Now()
	act := "registry_dialogue_waits"
	answer, err := g.registries.Ask(ctx, d.Office.Code, d.Request, r.Input.Applicant)
	var says *DialogueError
	switch {
	case err == nil:
		answer.Differs = differs(answer, r)
		d.Status, d.Code, d.Answer, d.Due, d.AnsweredAt, act = DialogueAnswered, "", &answer, time.Time{}, g.clock.Now(), "registry_dialogue_answered"
	case errors.As(err, &says) && says.Final, d.Tries >= dialogueTries, r.State.Final():
		d.Status, d.Code, d.Due, act = DialogueFailed, dialogueCode(err), time.Time{}, "registry_dialogue_failed"
	default:
		d.Code, d.Due = dialogueCode(err), now.Add(g.after(d.Tries))
	}
	payload := map[string]string{"status": string(d.Status)}
	if d.Code != "" {
		payload["code"] = d.Code
	}
	err = g.store.SettleDialogue(ctx, d, AuditEntry{At: now, Actor: scope.actor, Act: act, Subject: d.Request, Payload: payload})
	if KindOf(err) == Conflict {
		return nil // another try has it
	}
	if err != nil {
		return wrap("store dialogue", err)
	}
	if d.Status == DialogueOpen {
		return nil
	}
	err = g.registries.Done(d.Office.Code, d.Request)
	if err != nil {
		g.log.Warn("the files of a dialogue stay", "request", d.Request, "err", err)
	}
	return nil
}

func dialogueCode(err error) string {
	var says *DialogueError
	if errors.As(err, &says) {
		return says.Code
	}
	return "sad_no_answer"
}

// differs compares the comune's registry with ANPR's record, or with what was
// declared where there is none.
func differs(a DialogueAnswer, r *Request) []string {
	if !a.Found {
		return nil
	}
	surname, given, birth := r.Input.Applicant.Surname, r.Input.Applicant.GivenName, ""
	if r.Register != nil && r.Register.Applicant.Found {
		p := r.Register.Applicant.Person
		surname, given, birth = p.Surname, p.GivenName, p.BirthDate
	}
	var out []string
	for _, f := range []struct{ name, theirs, ours string }{{"surname", a.Surname, surname}, {"given_name", a.GivenName, given}} {
		if f.theirs != "" && f.ours != "" && anpr.CompareName(f.theirs, f.ours) == anpr.NameDifferent {
			out = append(out, f.name)
		}
	}
	if a.BirthDate != "" && birth != "" && a.BirthDate != birth {
		out = append(out, "birth_date")
	}
	return slices.Clip(out)
}
