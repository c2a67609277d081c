package policies

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// changedSet is the shipped set with one file edited.
func changedSet(t *testing.T, file, old, now string) *Set {
	t.Helper()
	files := tinySet(t)
	text := string(files[file].Data)
	if !strings.Contains(text, old) {
		t.Fatalf("%s does not hold %q", file, old)
	}
	files[file] = &fstest.MapFile{Data: []byte(strings.Replace(text, old, now, 1))}
	next, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestTheAnswersOfASetDoNotDifferFromItsOwn(t *testing.T) {
	t.Parallel()
	if d := Shipped().DiffAnswers(Shipped(), time.Unix(0, 0)); len(d) != 0 {
		t.Errorf("got %+v", d)
	}
}

func TestAChangedFeeShowsForTheReasonsAndCountriesThatPayIt(t *testing.T) {
	t.Parallel()
	next := changedSet(t, "70-fees-login-booking-travel.yaml", "value: 2195", "value: 2300")
	d := Shipped().DiffAnswers(next, rome2(t, "2026-11-21T12:00"))
	if len(d) != 1 {
		t.Fatalf("got %d changes: %+v", len(d), d)
	}
	c := d[0]
	if c.About != "fee" || c.Channel != ChannelPost || c.Before != "21.95 EUR" || c.After != "23.00 EUR" || len(c.Countries) != 250 ||
		c.AgeFrom != 0 || c.AgeTo != -1 || !c.From.IsZero() || !c.To.IsZero() || !strings.HasPrefix(c.BeforeRule, "fee.post.first@") {
		t.Errorf("got %+v", c)
	}
	if len(c.Reasons) < 2 || c.Reasons[0] != ReasonFirstIssue {
		t.Errorf("got the reasons %v", c.Reasons)
	}
}

// setWith is the shipped set with another value of a key's first rule.
func setWith(t *testing.T, key, from, to string) *Set {
	t.Helper()
	files := tinySet(t)
	for name, f := range files {
		text := string(f.Data)
		if at := strings.Index(text, "key: "+key+"\n"); at >= 0 {
			files[name] = &fstest.MapFile{Data: []byte(text[:at] + strings.Replace(text[at:], from, to, 1))}
		}
	}
	set, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestAChangedAgeLimitShowsAsTheAgesItMoves(t *testing.T) {
	t.Parallel()
	next := setWith(t, "capture.fingerprints_from_age", "value: 12", "value: 10")
	d := Shipped().DiffAnswers(next, rome2(t, "2026-11-21T12:00"))
	if len(d) != 2 {
		t.Fatalf("got %d changes: %+v", len(d), d)
	}
	for _, c := range d {
		if c.About != "capture" || c.AgeFrom != 10 || c.AgeTo != 11 || c.After != "fingerprints" || len(c.Countries) != 250 {
			t.Errorf("got %+v", c)
		}
	}
}

func TestARuleForOneCountryShowsForThatCountryFromItsDate(t *testing.T) {
	t.Parallel()
	files := tinySet(t)
	files["90-extra.yaml"] = &fstest.MapFile{Data: []byte(extraRule)}
	next, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	d := Shipped().DiffAnswers(next, rome2(t, "2026-11-21T12:00"))
	found := 0
	for _, c := range d {
		if len(c.Countries) != 1 || c.Countries[0] != "AR" || c.Channel != ChannelComune || c.Delivery != DeliveryConsulate ||
			!c.From.Equal(rome2(t, "2027-01-01T00:00")) || c.AgeFrom != 0 || c.AgeTo != -1 {
			t.Errorf("got %+v", c)
		}
		if c.About == "delivery" && c.After == "allow provisional" && c.Before == "refuse (delivery.consulate_no_local_need)" {
			found++
		}
	}
	if found != 1 || len(d) != 2 { // the verdict, and with it the expected day
		t.Errorf("got %+v", d)
	}
	back := next.DiffAnswers(Shipped(), rome2(t, "2026-11-21T12:00"))
	if len(back) != 2 || back[0].Before != d[0].After {
		t.Errorf("the other way round: %+v", back)
	}
}

func TestACountryThatDisappearsLosesEveryAnswer(t *testing.T) {
	t.Parallel()
	next := changedSet(t, "00-places.yaml", "AR, ", "")
	for _, c := range Shipped().DiffAnswers(next, rome2(t, "2026-11-21T12:00")) {
		if len(c.Countries) != 1 || c.Countries[0] != "AR" || c.After != noAnswer {
			t.Errorf("got %+v", c)
		}
	}
}

func TestTheRulesInForceAreOneForEachKey(t *testing.T) {
	t.Parallel()
	rules, err := Shipped().InForce("AR", "", rome2(t, "2026-11-21T12:00"))
	if err != nil || len(rules) != int(keyCount) {
		t.Fatalf("got %d rules, %v", len(rules), err)
	}
	for i, r := range rules {
		if r.Key != keyTable[i].name || r.Answer() == "" && len(r.Codes) > 0 {
			t.Errorf("key %d: got %+v", i, r)
		}
		switch r.Value().(type) {
		case Verdict, int, string, []string:
		default:
			t.Errorf("%s: got a value of type %T", r.ID, r.Value())
		}
	}
	if _, err := Shipped().InForce("XX", "", rome2(t, "2026-11-21T12:00")); err == nil {
		t.Error("XX has rules")
	}
}
