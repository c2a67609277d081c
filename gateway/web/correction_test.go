package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"airegw/testharness/sim"
)

func TestAPostSeesAndAnswersWhatACitizenReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var p sim.Person
	for _, one := range sim.People() {
		if one.Scenario == "ok" && one.Post != nil && one.Post.Code == "2600103" && len(one.Parents) == 0 {
			p = one
			break
		}
	}
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
