package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// objection is what the tests' post says, by the API and on its page.
const objection = `{"answer":"objection","ground":"request_under_way","text":"Una carta <b> è pronta qui"}`

func TestAnOfficeAnswersANoticeByTheAPIAndTheRequestsOfficeGoesOnAgainstIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hold := holdAPI(t)
	p := atBuenosAires(t)
	number, _ := w.submitted(p.CF, "FOREIGN_RESIDENCE")
	w.work()
	post, desk, chief := hold(w.as("operator", "op-4")), hold(w.machine(clientID, w.client)), hold(w.as("operator", "op-2"))

	list := post.get("/api/v1/notices")
	shows(t, "the post's list", list, number, `"status":"open"`, `"told_as":"post"`, `"last_day":"2026-11-25"`, `"code":"054013"`)
	if strings.Contains(list.body, p.CF) || strings.Contains(list.body, p.Surname) {
		t.Error("a list tells whom it is about")
	}
	var page struct {
		Notices []struct {
			ID string `json:"id"`
		} `json:"notices"`
	}
	if err := json.Unmarshal([]byte(list.body), &page); err != nil || len(page.Notices) != 1 {
		t.Fatalf("%s %v", list.body, err)
	}
	one := "/api/v1/notices/" + page.Notices[0].ID
	shows(t, "the notice", post.get(one), p.CF, p.Surname)
	for body, code := range map[string]string{
		`{"answer":"perhaps"}`: "clearance_answer_unknown", `{"answer":"objection"}`: "clearance_ground_unknown",
		`{"answer":"objection","ground":"other"}`: "clearance_text_missing", `{"answer":"none","why":"x"}`: "unknown_field",
	} {
		if got := post.json(one+"/answer", body); got.status != http.StatusBadRequest || !strings.Contains(got.body, code) {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	for name, b := range map[string]*browser{"the office of the request": desk, "a third office": hold(w.machine(otherClientID, w.other))} {
		if got := b.json(one+"/answer", objection); got.status != http.StatusNotFound {
			t.Errorf("%s answers: %d", name, got.status)
		}
	}
	shows(t, "objected", post.json(one+"/answer", objection), `"status":"objection"`, `"ground":"request_under_way"`)

	// The request's office sees who objects and why; the citizen that there is a
	// question.
	shows(t, "the request's notices", desk.get("/api/v1/requests/"+number+"/notices"), `"status":"objection"`, "è pronta qui", "Buenos Aires")
	shows(t, "parked", desk.get("/api/v1/requests/"+number), `"code":"clearance_objection"`, "request_under_way", `"type":"objected"`)
	banner := w.as("operator", "op-2").get("/operator/requests/" + number)
	shows(t, "the banner", banner, "(Buenos Aires: Un’altra richiesta o carta è in corso)")
	if strings.Contains(banner.body, "request_under_way") {
		t.Error("a code in place of words")
	}
	citizen := w.as("citizen", "citizen-"+p.IDANPR)
	for _, path := range []string{"/citizen/requests/" + number, "/api/v1/requests/" + number, "/api/v1/requests", "/citizen", "/citizen/data.json"} {
		got := citizen.get(path)
		if got.status != http.StatusOK || strings.Contains(got.body, "request_under_way") || strings.Contains(got.body, "pronta qui") {
			t.Errorf("%s tells the citizen too much: %d", path, got.status)
		}
	}
	shows(t, "the citizen's page", citizen.get("/citizen/requests/"+number), "Un altro ufficio ha posto una questione")
	if got := citizen.get("/api/v1/requests/" + number + "/notices"); got.status != http.StatusForbidden {
		t.Errorf("the citizen's notices: %d", got.status)
	}

	if got := chief.json("/api/v1/requests/"+number+"/counter/overrule", `{"why":""}`); got.status != http.StatusBadRequest {
		t.Errorf("overruled without a reason: %d", got.status)
	}
	if got := desk.json("/api/v1/requests/"+number+"/counter/overrule", `{"why":"x"}`); got.status != http.StatusForbidden {
		t.Errorf("overruled by a machine: %d", got.status)
	}
	if got := chief.json("/api/v1/requests/"+number+"/counter/overrule", `{"why":"La carta di là è annullata"}`); got.status != http.StatusOK || strings.Contains(got.body, "parked") {
		t.Errorf("overrule: %d %s", got.status, got.body)
	}
	shows(t, "overruled", post.get(one), `"status":"overruled"`)
	if got := post.json(one+"/answer", `{"answer":"withdrawn"}`); got.status != http.StatusConflict {
		t.Errorf("withdrawn afterwards: %d", got.status)
	}
	if strings.Contains(w.log.String(), p.CF) || strings.Contains(w.log.String(), p.Surname) || strings.Contains(w.log.String(), "pronta qui") {
		t.Error("the log holds personal data")
	}
}

// TestNoticesInABrowser: a post answers a notice, the comune's referent reads it
// and goes on against it; every page held to axe-core in both languages.
func TestNoticesInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newPage(t, w)
	one := atBuenosAires(t)
	number, _ := w.submitted(one.CF, "FOREIGN_RESIDENCE")
	w.work()
	p.open("/?lang=it")
	p.login("operator", "op-4")
	p.open("/operator")
	p.shows("Avvisi (1)")
	p.open("/operator/notices")
	p.look("notices")
	p.click(`.sessions a`)
	notice := strings.TrimPrefix(p.at(), w.url)
	p.shows(one.CF)
	p.look("notice")
	p.js(`document.querySelector('input[name=answer][value=objection]').click()`)
	p.send(`textarea[name=text]`)
	p.shows("Scegliere il motivo dell’opposizione")
	p.look("notice-problem")
	p.js(`document.querySelector('input[name=answer][value=objection]').click()`)
	p.fill(map[string]string{"ground": "request_under_way", "text": "Una carta <b> è pronta qui"})
	p.send(`textarea[name=text]`)
	p.shows("Risposta registrata")
	p.shows("Ritirare l’opposizione")
	p.inEnglish(map[string]string{"notices": "/operator/notices?all=1", "notice": notice})

	p.login("operator", "op-2")
	p.open("/operator/requests/" + number)
	p.shows("Una carta <b> è pronta qui")
	p.shows("Buenos Aires")
	p.look("request-objected")
	p.js(`const d = document.querySelector('form[action$="/overrule"]'); d.closest("details").open = true; d.querySelector("[name=why]").value = "La carta di là è annullata";`)
	p.send(`[name=why]`)
	p.shows("la richiesta prosegue")
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		t.Errorf("console: %s", f)
	}
}

// The last day runs to its end in Rome: the page says so and takes nothing after.
func TestANoticeIsNotAnsweredOnItsPageAfterItsLastDay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := atBuenosAires(t)
	w.submitted(p.CF, "FOREIGN_RESIDENCE")
	w.work()
	post := w.as("operator", "op-4")
	_, rest, found := strings.Cut(post.get("/operator/notices").body, `href="/operator/notices/R`)
	id, _, _ := strings.Cut(rest, `"`)
	if !found {
		t.Fatal("no notice on the list")
	}
	path := "/operator/notices/R" + id
	if got := post.get(path); !strings.Contains(got.body, `name="ground"`) || !strings.Contains(got.body, "25/11/2026") {
		t.Errorf("%.600s", got.body)
	}
	w.pass(time.Date(2026, 11, 25, 23, 0, 0, 0, time.UTC).Sub(worldStart))
	post = w.as("operator", "op-4") // the session is over by now
	if got := post.get(path); strings.Contains(got.body, `name="ground"`) || !strings.Contains(got.body, "Nessuna risposta: assenso") {
		t.Errorf("%.900s", got.body)
	}
	if got := post.get("/operator/notices"); !strings.Contains(got.body, "Nessun avviso") {
		t.Error("still to be answered")
	}
	got := post.post(path+"/answer", url.Values{"answer": {"none"}})
	if got.status != http.StatusConflict || !strings.Contains(got.body, "2026-11-25") {
		t.Errorf("%d %.600s", got.status, got.body)
	}
}
