package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"airegw/gateway"
)

// FuzzForms: whatever a form holds, reading it never panics, and an amount that
// is accepted is one a till can hold.
func FuzzForms(f *testing.F) {
	f.Add("euro=22,21&means=card")
	f.Add("euro=.5&means=exempt&exemption=x")
	f.Add("photo=p&print_right=r&quality_right=80&height_cm=170&station=S")
	f.Add("/delivery/option=IT_ADDRESS&/delivery/address/street=Via&/delivery/delegate/surname=X")
	f.Add("/parents/0/fiscal_code=A&/report/date=2026-01-01&/changed=name&/reason=changed_data&/channel=comune&office_name=roma")
	f.Add("/residence/iso2=AR&/residence/street=Calle&/residence/since=2026-01-01")
	s := &Server{}
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		fee, err := readFee(values)
		if err == nil && (fee.Cents < 0 || fee.Cents > 100_199) {
			t.Errorf("fee of %d cents accepted", fee.Cents)
		}
		c, err := readCapture(values)
		if err == nil && (c.HeightCM < 0 || c.HeightCM > 260 || len(c.Fingerprints) > 2) {
			t.Errorf("capture %+v accepted", c)
		}
		if d := readDelivery(values, "/delivery"); d.Address != nil && d.Option != "IT_ADDRESS" {
			t.Error("an address with another delivery")
		}
		if r := readResidence(values); r != nil && *r == (gateway.CorrectedResidence{}) {
			t.Error("an empty residence is asked for")
		}
		who := &event{who: caller{kind: Operator, office: gateway.Office{Kind: gateway.OfficeComune, Code: "054013"}}}
		if in, _ := s.readInput(who, values); in.Office != "054013" {
			t.Errorf("an operator's form chose the office %q", in.Office)
		}
	})
}

// FuzzUpload: of a multipart form come at most the files it may hold, none twice.
func FuzzUpload(f *testing.F) {
	const head = "--x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a.yaml\"\r\n\r\n"
	f.Add(head + "a\r\n--x\r\nContent-Disposition: form-data; name=\"effective\"\r\n\r\n2026-12-01\r\n--x--\r\n")
	f.Add(head + "a\r\n" + head + "b\r\n--x--\r\n")
	f.Add("--x--")
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		c, _ := gin.CreateTestContext(httptest.NewRecorder())
		c.Request = r
		files, at, err := readUpload(c)
		if err == nil && (len(files) == 0 || len(files) > gateway.MaxRuleFiles || at.Location() != time.UTC) {
			t.Errorf("%d files from %v", len(files), at)
		}
	})
}

// FuzzNumberShape: what is kept in the record of a call is a number of ours or
// nothing.
func FuzzNumberShape(f *testing.F) {
	f.Add("R26-7K2M9QX4T")
	f.Add("MARIO ROSSI")
	f.Fuzz(func(t *testing.T, n string) {
		if numberShape(n) && (strings.ContainsAny(n, " \n@") || n[0] != 'R') {
			t.Errorf("%q passes for a number", n)
		}
	})
}

// FuzzFold: the search folds any text to letters, digits and single spaces.
func FuzzFold(f *testing.F) {
	f.Add("Città di Castello")
	f.Add("L'Aquila\x00\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := fold(s)
		if strings.Contains(got, "  ") || strings.TrimSpace(got) != got {
			t.Errorf("%q", got)
		}
	})
}
