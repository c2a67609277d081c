package policies

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestASupposedRuleOutweighsTheSetAtItsPlaceOnly(t *testing.T) {
	t.Parallel()
	s := Shipped()
	on := rome2(t, "2026-11-21T12:00")
	w, err := s.With([]Given{
		{Country: "AR", Option: DeliveryConsulate, Allowed: true, Code: "test.local_need"},
		{Country: "AE", Option: DeliveryForeignResidence, Allowed: true, Channel: ChannelPost},
		{Country: "BR", Post: "br-recife", Option: DeliveryForeignResidence, From: rome2(t, "2027-01-01T00:00")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.Hash() == s.Hash() || !strings.HasPrefix(w.Hash(), "supposed-") {
		t.Errorf("hash %s", w.Hash())
	}
	for _, c := range []struct {
		on            time.Time
		country, post string
		channel       Channel
		option        DeliveryOption
		want          bool
	}{
		{on, "AR", "", ChannelComune, DeliveryConsulate, true},
		{on, "AR", "ar-cordoba", ChannelPost, DeliveryConsulate, true},
		{on, "UY", "", ChannelComune, DeliveryConsulate, false},
		{on, "AE", "", ChannelPost, DeliveryForeignResidence, true},
		{on, "AE", "", ChannelComune, DeliveryForeignResidence, false},
		{on, "BR", "br-recife", ChannelComune, DeliveryForeignResidence, true},
		{rome2(t, "2027-01-01T00:00"), "BR", "br-recife", ChannelComune, DeliveryForeignResidence, false},
		{rome2(t, "2027-01-01T00:00"), "BR", "", ChannelComune, DeliveryForeignResidence, true},
	} {
		f := plainFacts(c.on, c.country)
		f.Post, f.Channel = c.post, c.channel
		d := w.Decide(f)
		if o := d.Options.For(c.option); o.Allowed != c.want {
			t.Errorf("%+v: got %+v", c, o)
		}
		checkWhole(t, w, f)
	}
	d := s.Decide(plainFacts(on, "AR"))
	if o := d.Options.For(DeliveryConsulate); o.Allowed {
		t.Error("the set itself has changed")
	}
}

func TestBadSupposedRulesAreRefused(t *testing.T) {
	t.Parallel()
	at := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, g := range map[string][]Given{
		"no option":       {{Country: "AR"}},
		"unknown country": {{Country: "ZZ", Option: DeliveryConsulate}},
		"bad country":     {{Country: "argentina", Option: DeliveryConsulate}},
		"post alone":      {{Post: "x", Option: DeliveryConsulate}},
		"bad channel":     {{Option: DeliveryConsulate, Channel: "moon"}},
		"bad code":        {{Option: DeliveryConsulate, Code: "a b"}},
		"no time":         {{Option: DeliveryConsulate, From: at, To: at}},
		"overlap":         {{Country: "AR", Option: DeliveryConsulate}, {Country: "AR", Option: DeliveryConsulate, From: at}},
	} {
		_, err := Shipped().With(g)
		var all LoadErrors
		if !errors.As(err, &all) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestASetDoesNotDifferFromItself(t *testing.T) {
	t.Parallel()
	if d := Shipped().Diff(Shipped(), time.Unix(0, 0)); len(d) != 0 {
		t.Errorf("got %v", d)
	}
}

func TestADiffShowsChangedAnswersAndNotChangedLines(t *testing.T) {
	t.Parallel()
	files := tinySet(t)
	now := rome2(t, "2026-11-21T12:00")
	// Another text is no change of answer.
	name := "70-fees-login-booking-travel.yaml"
	text := strings.Replace(string(files[name].Data), "Duplicate at a comune", "A duplicate at a comune", 1)
	// Another fee is, in every country; so is one country's delivery.
	text = strings.Replace(text, "value: 2195", "value: 2300", 1)
	files[name] = &fstest.MapFile{Data: []byte(text)}
	files["90-extra.yaml"] = &fstest.MapFile{Data: []byte(extraRule)}
	next, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	d := Shipped().Diff(next, now)
	if len(d) != 2 {
		t.Fatalf("got %d changes: %+v", len(d), d)
	}
	if c := d[0]; c.Key != "delivery.comune.CONSULATE" || len(c.Countries) != 1 || c.Countries[0] != "AR" ||
		!c.From.Equal(rome2(t, "2027-01-01T00:00")) || !c.To.IsZero() || c.After != "allow provisional" ||
		c.Before != "refuse (delivery.consulate_no_local_need)" {
		t.Errorf("got %+v", c)
	}
	if c := d[1]; c.Key != "fee.post.first" || len(c.Countries) != 250 || !c.From.IsZero() || c.Before != "2195" || c.After != "2300" {
		t.Errorf("got %+v", c)
	}
	back := next.Diff(Shipped(), now)
	if len(back) != 2 || back[1].Before != "2300" || back[1].After != "2195" {
		t.Errorf("the other way round: %+v", back)
	}
}

func TestACountryThatDisappearsIsAChange(t *testing.T) {
	t.Parallel()
	files := tinySet(t)
	name := "00-places.yaml"
	files[name] = &fstest.MapFile{Data: []byte(strings.Replace(string(files[name].Data), "AR, ", "", 1))}
	next, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	d := Shipped().Diff(next, rome2(t, "2026-11-21T12:00"))
	if len(d) != int(keyCount) {
		t.Errorf("got %d changes", len(d))
	}
	for _, c := range d {
		if len(c.Countries) != 1 || c.Countries[0] != "AR" || c.After != "(no answer)" {
			t.Errorf("got %+v", c)
		}
	}
}
