package policies

import "testing"

func TestNobodyIsToldOfARequestWhereTheRuleGivesNoDays(t *testing.T) {
	t.Parallel()
	none := setWith(t, "comune.clearance_working_days", "value: 3", "value: 0")
	elsewhere := Facts{On: rome2(t, "2026-11-21T12:00"), Channel: ChannelComune, OfficeIsAIREComune: No}
	if got := none.Notices(&elsewhere); len(got) != 0 {
		t.Errorf("told all the same: %+v", got)
	}
	if got := Shipped().Notices(&elsewhere); len(got) != 1 || got[0].WorkingDays != 3 || got[0].Status != StatusProvisional {
		t.Errorf("got %+v", got)
	}
	own, post := elsewhere, elsewhere
	own.OfficeIsAIREComune, post.Channel = Yes, ChannelPost
	if len(Shipped().Notices(&own)) != 0 || len(Shipped().Notices(&post)) != 0 {
		t.Error("told of a request at the own comune or at a post")
	}
}
