package web_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"airegw/gateway"
)

// registry is the own registry of castello, as far as a page needs one.
type registry struct{ answer gateway.DialogueAnswer }

func (*registry) Speaks(comune string) bool { return comune == castello.Code }

func (r *registry) Ask(context.Context, string, string, gateway.Applicant) (gateway.DialogueAnswer, error) {
	return r.answer, nil
}

func (*registry) Done(string, string) error { return nil }

func TestTheCounterReadsWhatTheComunesOwnRegistrySays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person("ok", 0)
	travel := false
	w.own.answer = gateway.DialogueAnswer{Found: true, Surname: p.Surname, GivenName: p.Name, BirthDate: "1901-02-03", Travel: &travel}
	number, _ := w.submitted(p.CF, "FOREIGN_RESIDENCE")
	w.work()
	page := "/operator/requests/" + number
	desk := w.as("operator", "op-1")
	if got := desk.get(page); strings.Contains(got.body, "anagrafe del comune") {
		t.Errorf("a dialogue before the dossier was opened")
	}
	w.must(number, counterWork[:4]...)
	if got := desk.get(page); !strings.Contains(got.body, "non ha ancora risposto") {
		t.Errorf("the page does not say that the registry is asked: %.1500s", got.body)
	}
	_, err := w.g.DialogueOnce(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	got := desk.get(page)
	for _, want := range []string{"ha dati diversi da ANPR", "03/02/1901", "diverso da ANPR: Data di nascita", "<dt>Valida per l’espatrio</dt><dd>no</dd>"} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	// What the comune's registry says is the comune's matter.
	citizen := w.as("citizen", "citizen-"+p.IDANPR)
	if got := citizen.get("/citizen/requests/" + number); got.status != http.StatusOK || strings.Contains(got.body, "1901") {
		t.Errorf("the citizen's page: %d", got.status)
	}
}
