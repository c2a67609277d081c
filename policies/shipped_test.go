package policies

import "testing"

func TestEveryCaseBesideTheShippedRulesHolds(t *testing.T) {
	t.Parallel()
	rep, err := Shipped().RunCases(ShippedCases())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range rep.Failures {
		t.Error(f)
	}
	t.Logf("%d cases in %d files", rep.Cases, rep.Files)
}
