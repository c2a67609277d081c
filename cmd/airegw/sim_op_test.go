package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestTheSimulatedProvidersSayWhereTheyAreAndWhoCanLogIn(t *testing.T) {
	t.Parallel()
	var line simOpLine
	untilTheEnd(t, &line, "sim", "op", "--auto", "FRRLCU86D57Z600N")
	if line.Anchor == line.Provider || line.Issuers["interno"] == "" || !strings.Contains(string(line.AnchorJWKS), `"kid"`) {
		t.Errorf("%+v", line.Identity)
	}
	if len(line.People) < 50 || len(line.Staff) < 20 {
		t.Errorf("%d people, %d operators", len(line.People), len(line.Staff))
	}
	for _, address := range []string{
		line.Anchor + "/list?entity_type=openid_provider", line.Provider + "/.well-known/openid-federation",
		line.Issuers["esteri"] + "/.well-known/openid-configuration", line.ManagementURL + "/catalogue",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK || resp.Body.Close() != nil {
			t.Errorf("%s: %s", address, resp.Status)
		}
	}
	if exit, _, problems := command(t, "sim", "op", "--auto", "NOBODY"); exit == 0 || !strings.Contains(problems, "no such person") {
		t.Errorf("an unknown person: exit %d %s", exit, problems)
	}
}
