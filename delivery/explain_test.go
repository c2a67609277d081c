package delivery

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestDueIsExplainedWithTheHolidaysSkipped(t *testing.T) {
	t.Parallel()
	x, err := ExplainDue([]byte(`{"from":"2026-12-23","working_days":6}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(b), `{"due":"2027-01-04","holidays_skipped":[{"date":"2026-12-25"`) || len(x.HolidaysSkipped) != 2 {
		t.Errorf("got %s", b)
	}
	if x, err := ExplainDue([]byte(`{"from":"2026-06-08","working_days":0}`)); err != nil || x.HolidaysSkipped == nil {
		t.Errorf("got %+v %v", x, err)
	}
	for _, bad := range []string{
		``, `[]`, `{}`, `{"from":"2026-12-23"}`, `{"working_days":6}`, `{"from":"2026-02-30","working_days":6}`,
		`{"from":"2026-12-23","working_days":-1}`, `{"from":"2026-12-23","working_days":1.5}`, `{"from":"2026-12-23","working_days":6,"x":1}`,
		`{"from":"2026-12-23","working_days":6} 1`, "\xff",
	} {
		if _, err := ExplainDue([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

func TestALabelIsExplainedOrRefusedWithItsProblem(t *testing.T) {
	t.Parallel()
	x, err := ExplainLabel([]byte(`{"address":{"iso2":"DE","recipient":"Luca Verdi","street":"Invalidenstraße","house_number":"116","postcode":"10115","locality":"Berlin"}}`))
	if err != nil || strings.Join(x.Lines, "|") != "Luca Verdi|Invalidenstraße 116|10115 BERLIN|GERMANIA - GERMANY" {
		t.Errorf("got %v %v", x, err)
	}
	_, err = ExplainLabel([]byte(`{"address":{"iso2":"DE","recipient":"Luca Verdi","street":"Berlin","house_number":"1","postcode":"10115","locality":"Berlin"}}`))
	var ae *AddressError
	if !errors.As(err, &ae) || ae.Problems[0].Code != CodeAddressStreetIsCity {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{`{}`, `{"address":null}`, `{"address":{"zip":"1"}}`, `{"address":[]}`, `x`} {
		var ie *InputError
		if _, err := ExplainLabel([]byte(bad)); !errors.As(err, &ie) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}
