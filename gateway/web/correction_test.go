package web_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"airegw/gateway"
	"airegw/testharness/sim"
)

func TestAPostSeesAndAnswersWhatACitizenReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := atBuenosAires(t)
	number, _ := w.submitted(p.CF, "FOREIGN_RESIDENCE")
	w.work()
	citizen, post := w.as("citizen", "citizen-"+p.IDANPR), w.as("operator", "op-4")
	if got := citizen.post("/citizen/data", url.Values{"part": {"address"}, "said": {"Calle Nueva 7 <b>"}}); got.status != http.StatusSeeOther {
		t.Fatalf("report: %d %.300s", got.status, got.body)
	}
	path := "/operator/corrections/" + number + ".0.reported.address"
	if got := post.get("/operator/corrections"); !strings.Contains(got.body, path) || strings.Contains(got.body, p.CF) {
		t.Errorf("the post's list: %.900s", got.body)
	}
	if got := w.as("operator", "op-1").get("/operator/corrections"); strings.Contains(got.body, path) {
		t.Error("the comune of the request has it on its list")
	}
	if got := w.as("operator", "op-3").get(path); got.status != http.StatusNotFound {
		t.Errorf("another office: %d", got.status)
	}
	got := post.get(path)
	if got.status != http.StatusOK || !strings.Contains(got.body, p.CF) || !strings.Contains(got.body, "Calle Nueva 7 &lt;b&gt;") {
		t.Errorf("%d %.900s", got.status, got.body)
	}
	// The comune sees on the request's page who has it.
	if got := w.as("operator", "op-1").get("/operator/requests/" + number); !strings.Contains(got.body, "Buenos Aires") {
		t.Errorf("the request's page does not tell who mends")
	}
	if got := post.post(path+"/alignment", nil); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, p.CF) {
		t.Errorf("alignment without door C: %d", got.status)
	}
	if got := post.post(path+"/answer", url.Values{"answer": {"perhaps"}}); got.status != http.StatusBadRequest {
		t.Errorf("an answer that is none: %d", got.status)
	}
	if got := post.post(path+"/answer", url.Values{"answer": {"register_right"}, "said": {"Risulta corretto"}}); got.status != http.StatusSeeOther {
		t.Fatalf("answer: %d %.300s", got.status, got.body)
	}
	if got := post.get("/operator/corrections"); strings.Contains(got.body, path) {
		t.Error("still on the list")
	}
}

// consularDoor takes every question and keeps it.
type consularDoor struct{ asked []gateway.AlignmentRequest }

func (d *consularDoor) Align(_ context.Context, a gateway.AlignmentRequest) (gateway.AlignmentAnswer, error) {
	d.asked = append(d.asked, a)
	return gateway.AlignmentAnswer{Reference: "65402692707"}, nil
}

func TestACorrectionIsListedReadSentAndAnsweredByTheAPI(t *testing.T) {
	t.Parallel()
	door := &consularDoor{}
	w := newWorldOf(t, door)
	_, router := contract(t)
	held := &heldTo{t: t, router: router, next: http.DefaultTransport, seen: map[string]bool{}}
	p := atBuenosAires(t)
	number, _ := w.submitted(p.CF, "FOREIGN_RESIDENCE")
	w.work()
	citizen, post, comune := w.as("citizen", "citizen-"+p.IDANPR), w.as("operator", "op-4"), w.machine(clientID, w.client)
	citizen.post("/citizen/data", url.Values{"part": {"address"}, "said": {"Calle Nueva 7"}})
	for _, b := range []*browser{post, comune} {
		b.http.Transport = held
	}
	id := number + ".0.reported.address"
	one := "/api/v1/corrections/" + id
	wants := func(got reply, status int, holds string) {
		t.Helper()
		if got.status != status || !strings.Contains(got.body, holds) {
			t.Errorf("%d, not %d with %s: %.600s", got.status, status, holds, got.body)
		}
	}
	list := post.get("/api/v1/corrections")
	wants(list, 200, `"id":"`+id+`"`)
	if strings.Contains(list.body, p.CF) || list.header.Get("X-Ratelimit-Remaining") == "" {
		t.Errorf("a list with personal data, or without the throttling headers: %.600s", list.body)
	}
	wants(post.get("/api/v1/corrections?after="+id), 200, `"corrections":[]`)
	wants(post.get("/api/v1/corrections?after="+strings.Repeat("x", 101)), 400, "text_too_long")
	wants(post.get(one), 200, `"said":"Calle Nueva 7"`)
	// The office of the request sees that there is one, and does not open it; what
	// it gets is what it gets for none.
	wants(comune.get("/api/v1/requests/"+number+"/corrections"), 200, `"code":"reported.address"`)
	there, missing := comune.get(one), comune.get("/api/v1/corrections/R26-000000000.0.reported.address")
	if there.status != 404 || there.status != missing.status || there.body != missing.body {
		t.Errorf("%d %s against %d %s", there.status, there.body, missing.status, missing.body)
	}
	wants(comune.json(one+"/alignment", ""), 404, "not_found")
	wants(comune.json(one+"/answer", `{"answer":"corrected"}`), 404, "not_found")

	wants(post.json(one+"/alignment", `{"residence":{"iso2":"AR","street":"Calle Nueva","house_number":"7","postcode":"2000","locality":"Rosario","region":"Santa Fe"}}`), 400, "residence_of_other_post")
	wants(post.json(one+"/alignment", `{"residence":{"iso2":"AR","lucky_number":"7"}}`), 400, "unknown_field")
	wants(post.json(one+"/alignment", `[]`), 400, "not_one_object")
	good := `{"residence":{"iso2":"AR","street":"Calle Nueva","house_number":"7","postcode":"C1193AAB","locality":"Buenos Aires","region":"Buenos Aires"}}`
	wants(post.json(one+"/alignment", good), 200, `"status":"asking"`)
	wants(post.json(one+"/alignment", good), 409, "alignment_under_way")
	w.align()
	wants(post.get(one), 200, `"reference":"65402692707"`)
	if len(door.asked) != 1 || door.asked[0].Residence.Street != "CALLE NUEVA" || door.asked[0].Residence.StateISTAT != "602" || door.asked[0].Post.ANPRCode != "2600103" {
		t.Errorf("%+v", door.asked)
	}
	wants(post.json(one+"/answer", `{"answer":"perhaps"}`), 400, "correction_answer_unknown")
	wants(post.json(one+"/answer", `{"answer":"register_right","said":"Risulta corretto"}`), 200, `"status":"closed"`)
	wants(post.json(one+"/answer", `{"answer":"register_right"}`), 409, "correction_closed")
	for _, op := range []string{"listCorrections", "openCorrection", "answerCorrection", "askAlignment", "listCorrectionsOfRequest"} {
		if !held.seen[op] {
			t.Errorf("%s was not held to the contract", op)
		}
	}
}

func TestAPostSendsTheCorrectedResidenceFromItsPage(t *testing.T) {
	t.Parallel()
	door := &consularDoor{}
	w := newWorldOf(t, door)
	p := atBuenosAires(t)
	number, _ := w.submitted(p.CF, "FOREIGN_RESIDENCE")
	w.work()
	citizen, post := w.as("citizen", "citizen-"+p.IDANPR), w.as("operator", "op-4")
	citizen.post("/citizen/data", url.Values{"part": {"address"}, "said": {"Calle Nueva 7"}})
	path := "/operator/corrections/" + number + ".0.reported.address"
	if got := post.get(path); !strings.Contains(got.body, `name="/residence/street"`) || !strings.Contains(got.body, `<option value="AR"`) || strings.Contains(got.body, `<option value="CH"`) {
		t.Errorf("the form: %.2000s", got.body)
	}
	form := url.Values{
		"/residence/iso2": {"AR"}, "/residence/street": {"Calle <b>"}, "/residence/house_number": {"7"},
		"/residence/postcode": {"C1193AAB"}, "/residence/region": {"Buenos Aires"},
	}
	got := post.post(path+"/alignment", form)
	if got.status != http.StatusBadRequest || !strings.Contains(got.body, `value="Calle &lt;b&gt;"`) || !strings.Contains(got.body, `id="f--residence-locality-err"`) {
		t.Errorf("without a town: %d %.2500s", got.status, got.body)
	}
	form.Set("/residence/locality", "Buenos Aires")
	form.Set("/residence/street", "Calle Nueva")
	if got = post.post(path+"/alignment", form); got.status != http.StatusSeeOther {
		t.Fatalf("%d %.2500s", got.status, got.body)
	}
	w.align()
	if len(door.asked) != 1 || door.asked[0].Residence.Number != "7" {
		t.Errorf("%+v", door.asked)
	}
	if got = post.get(path); !strings.Contains(got.body, "Calle Nueva 7") || strings.Contains(got.body, `name="/residence/street"`) {
		t.Errorf("what was sent: %.2000s", got.body)
	}
}

// align lets the worker ask the consular door.
func (w *world) align() {
	w.t.Helper()
	if _, err := w.g.AlignOnce(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// atBuenosAires is an adult of that post, which the operator op-4 works at.
func atBuenosAires(t *testing.T) sim.Person {
	t.Helper()
	for _, one := range sim.People() {
		if one.Scenario == "ok" && one.Post != nil && one.Post.Code == "2600103" && len(one.Parents) == 0 {
			return one
		}
	}
	t.Fatal("nobody")
	return sim.Person{}
}
