package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/delivery"
	"airegw/gateway/messages"
	"airegw/policies"
)

// stopped is a clock that stands still.
type stopped struct{ at time.Time }

func (c stopped) Now() time.Time                         { return c.at }
func (c stopped) After(d time.Duration) <-chan time.Time { return make(chan time.Time) }

// counterOf is a desk that can validate: what Validate needs and no more.
func counterOf(office string, at time.Time) Desk {
	o, ok := ParseOffice(office)
	if !ok {
		panic("no office " + office)
	}
	return (&Gateway{clock: stopped{at}}).Desk(OperatorScope(Actor{Kind: ActorOperator, ID: "op", Office: o, Role: RoleClerk}))
}

// goodInput is accepted at Rome.
func goodInput() Input {
	return Input{
		Key: "a-good-key", Channel: policies.ChannelComune, Office: "058091", Reason: policies.ReasonFirstIssue,
		Applicant: Applicant{FiscalCode: "RSSCHR95D65H501Q", Surname: "Rossi", GivenName: "Chiara", BirthDate: "1995-04-25"},
		Delivery:  DeliveryChoice{Option: policies.DeliveryComunePickup},
		Contacts:  Contacts{Email: "chiara.rossi@example.org", Phone: "+44 20 7946 0958"},
	}
}

// checkProblem wants exactly one problem, with a text in both languages.
func checkProblem(t *testing.T, err error, field, code string) Problem {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != Invalid {
		t.Fatalf("wanted an Invalid error, got %v", err)
	}
	if len(e.Problems) != 1 || e.Problems[0].Field != field || e.Problems[0].Code != code {
		t.Fatalf("wanted %s %s alone, got %+v", field, code, e.Problems)
	}
	p := e.Problems[0]
	if !messages.Has(p.Code) {
		t.Fatalf("%s has no text", p.Code)
	}
	it, en := messages.Text("it", p.Code, p.Args), messages.Text("en", p.Code, p.Args)
	if it == en || strings.Contains(it, "{") || strings.Contains(en, "{") {
		t.Fatalf("texts of %s: %q, %q", p.Code, it, en)
	}
	for _, name := range messages.Arguments(p.Code) {
		if p.Args[name] == "" {
			t.Errorf("%s lacks its argument %s", p.Code, name)
		}
	}
	return p
}

func TestAGoodInputHasNoProblem(t *testing.T) {
	t.Parallel()
	if err := counterOf("058091", testNow).Validate(goodInput()); err != nil {
		t.Fatal(err)
	}
}

func TestEachBadValueNamesItsFieldAndReasonInBothLanguages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		office, field, code string
		spoil               func(in *Input)
	}{
		"no channel":                 {"", "/channel", "channel_unknown", func(in *Input) { in.Channel = "" }},
		"an unknown channel":         {"", "/channel", "channel_unknown", func(in *Input) { in.Channel = "pigeon" }},
		"an unknown office":          {"", "/office", "office_unknown", func(in *Input) { in.Office = "999999" }},
		"another's office":           {"", "/office", "office_not_yours", func(in *Input) { in.Office = "015146" }},
		"a post as comune":           {"post:ar-buenos-aires", "/office", "office_wrong_kind", func(in *Input) { in.Office = "" }},
		"an unknown reason":          {"", "/reason", "reason_unknown", func(in *Input) { in.Reason = "vanity" }},
		"a wrong check letter":       {"", "/applicant/fiscal_code", "cf_checksum", func(in *Input) { in.Applicant.FiscalCode = "RSSCHR95D65H501A" }},
		"a short code":               {"", "/applicant/fiscal_code", "cf_characters", func(in *Input) { in.Applicant.FiscalCode = "RSSCHR95D65" }},
		"an empty code":              {"", "/applicant/fiscal_code", "cf_empty", func(in *Input) { in.Applicant.FiscalCode = "" }},
		"letters no name has":        {"", "/applicant/surname", "name_shape", func(in *Input) { in.Applicant.Surname = "R0ssi" }},
		"an impossible date":         {"", "/applicant/birth_date", "date_impossible", func(in *Input) { in.Applicant.BirthDate = "1995-02-30" }},
		"a date the wrong way round": {"", "/applicant/birth_date", "date_impossible", func(in *Input) { in.Applicant.BirthDate = "25/04/1995" }},
		"a birth to come":            {"", "/applicant/birth_date", "date_in_future", func(in *Input) { in.Applicant.BirthDate = "2026-11-22" }},
		"a birth the code denies":    {"", "/applicant/birth_date", "birth_date_not_of_code", func(in *Input) { in.Applicant.BirthDate = "1995-04-26" }},
		"parents of an adult":        {"", "/parents", "parents_not_needed", func(in *Input) { in.Parents = []Parent{{FiscalCode: "LVRTRS90P63L219X"}} }},
		"parents of an adult, no date": {"", "/parents", "parents_not_needed", func(in *Input) {
			in.Applicant.BirthDate, in.Parents = "", []Parent{{FiscalCode: "LVRTRS90P63L219X"}}
		}},
		"a minor alone":            {"", "/parents", "parents_missing", func(in *Input) { in.Applicant = Applicant{FiscalCode: "LVRLEO19A12Z114O"} }},
		"one parent twice":         {"", "/parents/1/fiscal_code", "person_twice", func(in *Input) { minor(in, "LVRTRS90P63L219X", "lvrtrs90p63l219x") }},
		"the child as parent":      {"", "/parents/0/fiscal_code", "person_twice", func(in *Input) { minor(in, "LVRLEO19A12Z114O") }},
		"a parent with a bad code": {"", "/parents/0/fiscal_code", "cf_checksum", func(in *Input) { minor(in, "LVRTRS90P63L219A") }},
		"three parents":            {"", "/parents", "too_many_parents", func(in *Input) { minor(in, "LVRTRS90P63L219X", "FRRTBS80R07L378H", "CTTMNK81E42Z133X") }},
		"a parent's odd name": {"", "/parents/0", "name_shape", func(in *Input) {
			minor(in, "LVRTRS90P63L219X")
			in.Parents[0].Surname = "<script>"
		}},
		"an unknown delivery": {"", "/delivery/option", "delivery_unknown", func(in *Input) { in.Delivery.Option = "DRONE" }},
		"no Italian address":  {"", "/delivery/address", "address_missing", func(in *Input) { in.Delivery.Option = policies.DeliveryITAddress }},
		"an address of one's own": {"", "/delivery/address", "address_is_the_registers", func(in *Input) {
			in.Delivery = DeliveryChoice{Option: policies.DeliveryForeignResidence, Address: rome()}
		}},
		"an address that is foreign": {"", "/delivery/address/iso2", "address_not_italian", func(in *Input) {
			in.Delivery = DeliveryChoice{Option: policies.DeliveryITAddress, Address: &delivery.Address{ISO2: "FR"}}
		}},
		"a delegate without name": {"", "/delivery/delegate", "name_shape", func(in *Input) { in.Delivery.Delegate = &Delegate{Surname: "Rossi"} }},
		"a delegate's bad code": {"", "/delivery/delegate/fiscal_code", "cf_checksum", func(in *Input) {
			in.Delivery.Delegate = &Delegate{Surname: "Rossi", GivenName: "Chiara", FiscalCode: "RSSCHR95D65H501A"}
		}},
		"no e-mail":            {"", "/contacts/email", "email_missing", func(in *Input) { in.Contacts.Email = " " }},
		"an e-mail with name":  {"", "/contacts/email", "email_shape", func(in *Input) { in.Contacts.Email = "Chiara <c@example.org>" }},
		"half a phone":         {"", "/contacts/phone", "phone_shape", func(in *Input) { in.Contacts.Phone = "+39" }},
		"a phone at home":      {"", "/contacts/phone", "phone_shape", func(in *Input) { in.Contacts.Phone = "06 1234567" }},
		"a language not ours":  {"", "/contacts/language", "language_unknown", func(in *Input) { in.Contacts.Language = "tlh" }},
		"an unknown card":      {"", "/previous_card/kind", "card_kind_unknown", func(in *Input) { in.PreviousCard = &PreviousCard{Kind: "stone"} }},
		"a card number":        {"", "/previous_card/number", "card_number_shape", func(in *Input) { in.PreviousCard = &PreviousCard{Kind: "paper", Number: "ax-1"} }},
		"a card's expiry":      {"", "/previous_card/expires", "date_impossible", func(in *Input) { in.PreviousCard = &PreviousCard{Kind: "paper", Expires: "2026-13-01"} }},
		"a report by nobody":   {"", "/report/authority", "report_authority_missing", func(in *Input) { in.Report = &Report{Date: "2026-01-01"} }},
		"a report never made":  {"", "/report/date", "date_impossible", func(in *Input) { in.Report = &Report{Authority: "Questura", Date: "2026-02-29"} }},
		"a report of tomorrow": {"", "/report/date", "date_in_future", func(in *Input) { in.Report = &Report{Authority: "Questura", Date: "2026-11-22"} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := goodInput()
			c.spoil(&in)
			if c.office == "" {
				c.office = "058091"
			}
			checkProblem(t, counterOf(c.office, testNow).Validate(in), c.field, c.code)
		})
	}
}

func rome() *delivery.Address {
	return &delivery.Address{ISO2: "IT", Street: "Via dei Serpenti", HouseNumber: "12", Postcode: "00184", Locality: "Roma", Region: "RM"}
}

// minor makes the input one for Leo, seven years old, with these parents.
func minor(in *Input, parents ...string) {
	in.Applicant = Applicant{FiscalCode: "LVRLEO19A12Z114O"}
	for _, cf := range parents {
		in.Parents = append(in.Parents, Parent{FiscalCode: cf})
	}
}

func TestSeveralFaultsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	in := goodInput()
	in.Reason, in.Applicant.FiscalCode, in.Contacts.Email, in.Delivery.Option = "x", "x", "x", "x"
	var e *Error
	if !errors.As(counterOf("058091", testNow).Validate(in), &e) || len(e.Problems) < 4 {
		t.Fatalf("%+v", e)
	}
}

func TestAComuneThatCeasedNamesItsSuccessors(t *testing.T) {
	t.Parallel()
	_, former := anpr.FindComuni("Perego") // since 2015 La Valletta Brianza
	if len(former) != 1 {
		t.Fatalf("%+v", former)
	}
	in := goodInput()
	for _, code := range []string{former[0].ISTAT, former[0].Catastale} {
		in.Office = code
		p := checkProblem(t, counterOf("058091", testNow).Validate(in), "/office", "comune_ceased")
		if p.Args["comune"] != "Perego" || !strings.Contains(p.Args["successors"], "La Valletta Brianza") {
			t.Fatalf("%+v", p)
		}
	}
}

// postLike answers the first post for which f holds.
func postLike(t *testing.T, f func(p consulate.Post) bool) consulate.Post {
	t.Helper()
	for _, p := range consulate.Posts() {
		if f(p) {
			return p
		}
	}
	t.Fatal("no such post")
	return consulate.Post{}
}

func TestAnHonoraryPostNeverCapturesAndAClosedOneIsGone(t *testing.T) {
	t.Parallel()
	honorary := postLike(t, func(p consulate.Post) bool { return p.Open(testNow) && p.Kind == "honorary" })
	closed := postLike(t, func(p consulate.Post) bool { return !p.Open(testNow) })
	citizen := (&Gateway{clock: stopped{testNow}}).Desk(CitizenScope("RSSCHR95D65H501Q", "c", 3))
	in := goodInput()
	in.Channel, in.Delivery.Option = policies.ChannelPost, policies.DeliveryForeignResidence
	in.Office = honorary.Key
	checkProblem(t, citizen.Validate(in), "/office", "post_cannot_capture")
	in.Office = closed.Key
	checkProblem(t, citizen.Validate(in), "/office", "post_closed")
}

func TestACitizenAsksOnlyForTheOwnPersonOrTheOwnChild(t *testing.T) {
	t.Parallel()
	as := func(cf string) Desk { return (&Gateway{clock: stopped{testNow}}).Desk(CitizenScope(cf, "c", 3)) }
	in := goodInput()
	checkProblem(t, as("LVRTRS90P63L219X").Validate(in), "/applicant/fiscal_code", "not_for_others")
	if err := as("RSSCHR95D65H501Q").Validate(in); err != nil {
		t.Fatal(err)
	}
	minor(&in, "LVRTRS90P63L219X")
	if err := as("LVRTRS90P63L219X").Validate(in); err != nil {
		t.Fatal(err)
	}
	checkProblem(t, as("FRRTBS80R07L378H").Validate(in), "/applicant/fiscal_code", "not_for_others")
}

// Naming oneself as the parent of an adult opened that adult's request, and with
// it the register's record, to anybody.
func TestNobodyCanAskForAnAdultByPosingAsAParent(t *testing.T) {
	t.Parallel()
	in := goodInput()
	in.Applicant = Applicant{FiscalCode: "RSSCHR95D65H501Q"}
	in.Parents = []Parent{{FiscalCode: "LVRTRS90P63L219X"}}
	desk := (&Gateway{clock: stopped{testNow}}).Desk(CitizenScope("LVRTRS90P63L219X", "c", 3))
	checkProblem(t, desk.Validate(in), "/parents", "parents_not_needed")
}

func TestNobodyWithoutAScopeSubmits(t *testing.T) {
	t.Parallel()
	err := (&Gateway{clock: stopped{testNow}}).Desk(Scope{}).Validate(goodInput())
	if KindOf(err) != Unauthenticated {
		t.Fatal(err)
	}
}

func decode(body string) error {
	_, err := DecodeInput(strings.NewReader(body))
	return err
}

func TestAMalformedBodyNamesThePlace(t *testing.T) {
	t.Parallel()
	good, err := json.Marshal(goodInput())
	if err != nil {
		t.Fatal(err)
	}
	if err := decode(string(good)); err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat(`{"applicant":`, 30) + `1` + strings.Repeat(`}`, 30)
	for name, c := range map[string]struct{ body, field, code string }{
		"nothing":                  {"", "", "not_json"},
		"no object":                {`[]`, "", "not_one_object"},
		"a string":                 {`"x"`, "", "not_one_object"},
		"truncated":                {string(good[:len(good)/2]), "", "not_json"},
		"two objects":              {`{}{}`, "", "not_one_object"},
		"garbage after":            {`{}]`, "", "not_json"},
		"unknown at the top":       {`{"office":"058091","offise":1}`, "/offise", "unknown_field"},
		"unknown below":            {`{"applicant":{"fiscal_code":"x","cf":"y"}}`, "/applicant/cf", "unknown_field"},
		"unknown in a list":        {`{"parents":[{},{"father":true}]}`, "/parents/1/father", "unknown_field"},
		"unknown in an address":    {`{"delivery":{"option":"x","address":{"planet":"Mars"}}}`, "/delivery/address/planet", "unknown_field"},
		"another case":             {`{"Channel":"comune"}`, "/Channel", "unknown_field"},
		"a name with a slash":      {`{"a/b~c":1}`, "/a~1b~0c", "unknown_field"},
		"a name without end":       {`{"` + strings.Repeat("x", 100) + `":1}`, "", "unknown_field"},
		"repeated":                 {`{"channel":"comune","channel":"post"}`, "/channel", "repeated_field"},
		"repeated below":           {`{"applicant":{"surname":"A","surname":"B"}}`, "/applicant/surname", "repeated_field"},
		"null":                     {`{"channel":null}`, "/channel", "null_value"},
		"null object":              {`{"previous_card":null}`, "/previous_card", "null_value"},
		"null in a list":           {`{"parents":[null]}`, "/parents/0", "null_value"},
		"a number for a text":      {`{"channel":7}`, "/channel", "wrong_type"},
		"a text for an object":     {`{"applicant":"Rossi"}`, "/applicant", "wrong_type"},
		"an object for a list":     {`{"parents":{}}`, "/parents", "wrong_type"},
		"a list for a text":        {`{"applicant":{"fiscal_code":["A"]}}`, "/applicant/fiscal_code", "wrong_type"},
		"a number in a list":       {`{"parents":[{},{"fiscal_code":7}]}`, "/parents/1/fiscal_code", "wrong_type"},
		"invalid UTF-8":            {"{\"office\":\"\xff\"}", "", "not_utf8"},
		"too deep":                 {deep, strings.Repeat("/applicant", 17), "too_deep"},
		"too deep under a list":    {`{"parents":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`, "/parents" + strings.Repeat("/0", 16), "too_deep"},
		"too large":                {`{"key":"` + strings.Repeat("k", MaxInput) + `"}`, "", "body_too_large"},
		"too large by white space": {`{}` + strings.Repeat(" ", MaxInput), "", "body_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := decode(c.body)
			var e *Error
			if !errors.As(err, &e) || e.Kind != Invalid || len(e.Problems) == 0 {
				t.Fatalf("wanted an Invalid error, got %v", err)
			}
			if !slices.ContainsFunc(e.Problems, func(p Problem) bool { return p.Field == c.field && p.Code == c.code }) {
				t.Fatalf("wanted %s %s, got %+v", c.field, c.code, e.Problems)
			}
			for _, p := range e.Problems {
				if !messages.Has(p.Code) {
					t.Errorf("%s has no text", p.Code)
				}
			}
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the line is cut") }

func TestABodyThatBreaksOffIsNotReadAsAWhole(t *testing.T) {
	t.Parallel()
	_, err := DecodeInput(brokenReader{})
	checkProblem(t, err, "", "body_cut")
}

func TestTheDigestOfAnInputDoesNotDependOnItsKeyAndOnNothingElse(t *testing.T) {
	t.Parallel()
	a, b := goodInput(), goodInput()
	b.Key = "another-key"
	if a.Digest() != b.Digest() {
		t.Error("the key changes the digest")
	}
	b.Contacts.Email = "other@example.org"
	if a.Digest() == b.Digest() {
		t.Error("the e-mail does not change the digest")
	}
}

// FuzzDecodeInput: whatever is accepted is one object with known, unrepeated
// members, and reads back the same; whatever is refused is Invalid with a place.
func FuzzDecodeInput(f *testing.F) {
	good, err := json.Marshal(goodInput())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good))
	for _, s := range []string{``, `{}`, `{"parents":[{"fiscal_code":"x"}]}`, `{"a":null}`, `{"channel":"a","channel":"b"}`, "{\"\xff\":1}", `{"delivery":{"address":{"iso2":"IT"}}}`, `[[[[`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		in, err := DecodeInput(strings.NewReader(body))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Kind != Invalid || len(e.Problems) == 0 {
				t.Fatalf("refused as %v", err)
			}
			for _, p := range e.Problems {
				if p.Code == "" || (p.Field != "" && p.Field[0] != '/') {
					t.Fatalf("problem %+v", p)
				}
			}
			return
		}
		again, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeInput(strings.NewReader(string(again)))
		if err != nil || back.Digest() != in.Digest() {
			t.Fatalf("%s does not read back: %v", again, err)
		}
	})
}

// FuzzDecodeStrict does the same with a body of the counter, numbers and lists.
func FuzzDecodeStrict(f *testing.F) {
	f.Add([]byte(`{"station":"PDL","photo":"p","fingerprints":[{"hand":"left","quality":80}],"height_cm":170}`))
	f.Add([]byte(`{"height_cm":1e400}`))
	f.Add([]byte(`{"fingerprints":[1,{"quality":"x"}]}`))
	f.Add([]byte(`{"height_cm":1.5,"photo":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c Capture
		err := DecodeStrict(raw, &c)
		if err != nil {
			if KindOf(err) != Invalid {
				t.Fatalf("refused as %v", err)
			}
			return
		}
		var loose map[string]any
		if err := json.Unmarshal(raw, &loose); err != nil {
			t.Fatalf("accepted %q: %v", raw, err)
		}
		for name := range loose {
			if !slices.Contains([]string{"station", "photo", "signature", "fingerprints", "exemption", "height_cm"}, name) {
				t.Fatalf("accepted the member %q", name)
			}
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back Capture
		if err := DecodeStrict(b, &back); err != nil || !reflect.DeepEqual(fmt.Sprint(c), fmt.Sprint(back)) {
			t.Fatalf("%s does not read back: %v", b, err)
		}
	})
}
