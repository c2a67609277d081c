package policies

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

const someFacts = `{"on":"2026-11-21T12:00:00+01:00","channel":"comune","reason":"theft","residence_country":"AR",
"requested_delivery":"IT_ADDRESS","fingerprints":"taken","person":{"birth_date":"1980-11-20","aire":true,"citizenship":"IT",
"alive":true,"cf_validated":null,"existing_card":{"kind":"cie","state":"stolen","expires":"2030-01-01"}},
"parents_assent":"one+judge","has_minor_children":false,"delegate":true,"expatriation":"declared","evidence":["police_report"],
"changed":[],"birth_act_transcribed":true,"register_subjects":1,"open_request_elsewhere":false,"office_is_aire_comune":false,
"post_competent":true,"requesting_comune":"058091","pickup_comune":"058091","italian_address":true,
"foreign_address_equals_register":true,"requested_document":"cie","urgency":"","on_chosen":"2026-11-01T12:00:00Z"}`

func TestFactsAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	f, err := ParseFacts([]byte(someFacts))
	if err != nil {
		t.Fatal(err)
	}
	if f.Person.CFValidated != Unknown || f.Person.AIRE != Yes || f.HasMinorChildren != No || f.OtherParentAssent != Unknown {
		t.Errorf("tri-state values: %+v", f)
	}
	if f.Person.BirthDate != (Date{1980, time.November, 20}) || f.ParentsAssent != AssentOneJudge || f.OnChosen.IsZero() {
		t.Errorf("got %+v", f)
	}
}

func TestTheDigestDependsOnTheInstantAndNotOnItsZone(t *testing.T) {
	t.Parallel()
	f, err := ParseFacts([]byte(someFacts))
	if err != nil {
		t.Fatal(err)
	}
	g := f
	g.On = f.On.UTC().Add(300 * time.Millisecond)
	if f.Digest() != g.Digest() {
		t.Error("the zone changes the digest")
	}
	g.On = f.On.Add(time.Second)
	if f.Digest() == g.Digest() {
		t.Error("the instant does not change the digest")
	}
	if !strings.HasPrefix(f.Digest(), "sha256:") || len(f.Digest()) != 7+64 {
		t.Error(f.Digest())
	}
}

func TestBadFactsAreRefusedWithTheMemberThatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ from, to, code, field string }{
		"unknown member":          {`"delegate"`, `"delegates"`, CodeFactsMember, "delegates"},
		"unknown person member":   {`"aire"`, `"airee"`, CodeFactsMember, "airee"},
		"member in capitals":      {`"delegate"`, `"Delegate"`, CodeFactsMember, "Delegate"},
		"member twice":            {`"delegate":true`, `"delegate":true,"delegate":false`, CodeFactsMember, "delegate"},
		"person member twice":     {`"alive":true`, `"alive":true,"alive":false`, CodeFactsMember, "alive"},
		"unknown channel":         {`"comune"`, `"moon"`, CodeFactsValue, "channel"},
		"unknown reason":          {`"theft"`, `"boredom"`, CodeFactsValue, "reason"},
		"unknown delivery":        {`"IT_ADDRESS"`, `"MOON"`, CodeFactsValue, "requested_delivery"},
		"unknown prints":          {`"taken"`, `"eaten"`, CodeFactsValue, "fingerprints"},
		"unknown card kind":       {`"kind":"cie"`, `"kind":"gold"`, CodeFactsValue, "person.existing_card.kind"},
		"unknown card state":      {`"state":"stolen"`, `"state":"gone"`, CodeFactsValue, "person.existing_card.state"},
		"unknown assent":          {`"one+judge"`, `"two"`, CodeFactsValue, "parents_assent"},
		"unknown document":        {`"requested_document":"cie"`, `"requested_document":"gold"`, CodeFactsValue, "requested_document"},
		"unknown urgency":         {`"urgency":""`, `"urgency":"mood"`, CodeFactsValue, "urgency"},
		"unknown expatriation":    {`"declared"`, `"perhaps"`, CodeFactsValue, "expatriation"},
		"citizenship of three":    {`"citizenship":"IT"`, `"citizenship":"ITA"`, CodeFactsValue, "person.citizenship"},
		"negative subjects":       {`"register_subjects":1`, `"register_subjects":-1`, CodeFactsValue, "register_subjects"},
		"day that does not exist": {`1980-11-20`, `1981-02-29`, CodeFactsDate, "person.birth_date"},
		"card expiry as a number": {`"expires":"2030-01-01"`, `"expires":20300101`, CodeFactsDate, "person.existing_card.expires"},
		"born after the request":  {`1980-11-20`, `2026-11-22`, CodeFactsDate, "person.birth_date"},
		"time without zone":       {`12:00:00+01:00`, `12:00:00`, CodeFactsDate, "on"},
		"number for a text":       {`"channel":"comune"`, `"channel":1`, CodeFactsType, "channel"},
		"no channel":              {`"channel":"comune",`, ``, CodeFactsMissing, "channel"},
		"no reason":               {`"reason":"theft",`, ``, CodeFactsMissing, "reason"},
		"no country":              {`"residence_country":"AR",`, ``, CodeFactsMissing, "residence_country"},
		"no instant":              {`"on":"2026-11-21T12:00:00+01:00",`, ``, CodeFactsMissing, "on"},
		"text for a truth":        {`"delegate":true`, `"delegate":"yes"`, CodeFactsValue, "delegate"},
		"number for a truth":      {`"alive":true`, `"alive":1`, CodeFactsValue, "person.alive"},
		"bytes after the object":  {`12:00:00Z"}`, `12:00:00Z"} {}`, CodeFactsJSON, "$"},
		"cut in the middle":       {`,"on_chosen":"2026-11-01T12:00:00Z"}`, ``, CodeFactsJSON, "$"},
		"invalid UTF-8":           {`police_report`, "pol\xffice", CodeFactsJSON, "$"},
	} {
		text := strings.Replace(someFacts, c.from, c.to, 1)
		if text == someFacts {
			t.Errorf("%s: the case changes nothing", name)
		}
		_, err := ParseFacts([]byte(text))
		var fe *FactsError
		if !errors.As(err, &fe) || fe.Code != c.code || fe.Field != c.field {
			t.Errorf("%s: got %v, want %s on %s", name, err, c.code, c.field)
		}
	}
	for _, text := range []string{"", " ", "null", "[]", "3", `"x"`, "{", "}", "{}{}"} {
		if _, err := ParseFacts([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func FuzzFacts(f *testing.F) {
	f.Add([]byte(someFacts))
	f.Add([]byte(`{"on":"2026-11-21T12:00:00Z","channel":"post","reason":"loss","residence_country":"XX","person":{}}`))
	f.Add([]byte(`{"on":"9999-12-31T23:59:59Z","channel":"post","reason":"loss","residence_country":"AR","person":{"birth_date":"1800-01-01"}}`))
	f.Add([]byte(`{"a":{"b":[{"c":[]}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ParseFacts(b)
		if err != nil {
			var fe *FactsError
			if !errors.As(err, &fe) {
				t.Fatalf("not a FactsError: %v", err)
			}
			return
		}
		d := Shipped().Record(v)
		if _, err := json.Marshal(d); err != nil {
			t.Fatal(err)
		}
		back, err := ParseFacts(v.Canonical())
		if err != nil || back.Digest() != v.Digest() {
			t.Fatalf("canonical facts do not read back: %v", err)
		}
	})
}
