package anprsim

import (
	"testing"
)

func TestAnAIRECitizenIsFoundByEveryService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := person(t, "ok")
	id := w.good(ask{code: "C030", criteria: byCF(p.CF)}).Subjects.List[0]
	if id.IDs.IDANPR != p.IDANPR || id.General != nil {
		t.Errorf("C030 answered %+v", id)
	}
	byID := map[string]any{"idANPR": p.IDANPR}
	c015 := w.good(ask{code: "C015", criteria: byID})
	g := c015.Subjects.List[0].General
	if g == nil || g.CF.CF != p.CF || g.AIRE != "S" || len(c015.Warnings) != 0 {
		t.Errorf("C015 answered %+v, warnings %v", g, c015.Warnings)
	}
	r := w.good(ask{code: "C020", criteria: byID}).Subjects.List[0].Residence[0]
	if r.Kind != "4" || r.Address != nil || r.Foreign.Post.Code != p.Post.Code || r.Foreign.Address.Street.Name != p.Address.Street {
		t.Errorf("C020 answered %+v", r)
	}
	if i := w.good(ask{code: "C019", criteria: byID}).Subjects.List[0].Info; len(i) != 1 || i[0].ID != "1003" || i[0].Value != "S" {
		t.Errorf("C019 answered %+v", i)
	}
	if c := w.good(ask{code: "C018", criteria: byID}).Subjects.List[0].Citizenship; len(c) != 1 || c[0].Code != "100" {
		t.Errorf("C018 answered %+v", c)
	}
	c001 := w.good(ask{code: "C001", criteria: byCF(p.CF)})
	if len(c001.Warnings) != 1 || c001.Warnings[0].Code != "EN148" || c001.Warnings[0].Kind != "W" {
		t.Errorf("a search not made by id carries the warning EN148, got %+v", c001.Warnings)
	}
	call := w.sim.Calls()[len(w.sim.Calls())-1]
	if call.UserID != "op-001" || call.Location != "PDL-H501-01" || call.Reason != "PR-1" || call.Operation != "C001" {
		t.Errorf("ledger %+v", call)
	}
}
