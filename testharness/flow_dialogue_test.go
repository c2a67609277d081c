package testharness

import (
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/gateway"
	"airegw/gateway/sad"
	"airegw/testharness/sadsim"
)

const rome = "058091" // desk H501

// dialogueWorld is a flow in which Rome has the dialogue on.
func dialogueWorld(t *testing.T, s sad.Settings) *flow {
	t.Helper()
	w := newFlow(t, dawn)
	w.must("close", w.app.Close())
	w.config.SAD = map[string]sad.Settings{rome: s}
	w.assemble()
	return w
}

func TestOpeningTheDossierAsksTheComunesOwnRegistryOnce(t *testing.T) {
	t.Parallel()
	p := ordinary(t, 4)
	registry := sadsim.New("S", "N", map[string]sadsim.Person{p.CF: {Surname: p.Surname, Name: p.Name, Birth: "1901-01-01", Travel: true}})
	h := httptest.NewServer(registry)
	t.Cleanup(h.Close)
	at := netip.MustParseAddrPort(h.Listener.Addr().String())
	w := dialogueWorld(t, sad.Settings{Kind: sad.KindHTTP, Address: at.Addr().String(), Port: int(at.Port()), Path: "/apr", Constants: "S/N"})
	d := w.desk("H501")
	number := w.taken(d, ask(p))
	w.drain("dialogue", w.g.DialogueOnce)
	if len(registry.Asked()) != 0 {
		t.Fatal("asked before the counter opened the dossier")
	}
	w.enquiry(d, number)
	// The first answer is nonsense: it is asked again, later.
	registry.Spoil = func(string) string { return "<html>" }
	w.drain("dialogue", w.g.DialogueOnce)
	if got, err := d.Dialogue(w.ctx, number); err != nil || got.Status != gateway.DialogueOpen || got.Code != string(sad.CodeUnread) {
		t.Fatalf("%+v %v", got, err)
	}
	registry.Spoil = nil
	w.pass(time.Hour)
	w.drain("dialogue", w.g.DialogueOnce)
	got, err := d.Dialogue(w.ctx, number)
	if err != nil || got.Status != gateway.DialogueAnswered || got.Answer == nil || !got.Answer.Found || !*got.Answer.Travel || !slices.Equal(got.Answer.Differs, []string{"birth_date"}) {
		t.Fatalf("%+v %v", got, err)
	}
	if asked := registry.Asked(); len(asked) != 2 || asked[0] != number || asked[1] != number {
		t.Errorf("asked %v", asked)
	}
	_, err = w.desk(p.AIRE.ComuneISTAT).Dialogue(w.ctx, number)
	refusedAs(t, err, gateway.NotFound, "not_found")
	w.sound()
}

func TestTheDialogueThroughFoldersWaitsAndIsOffElsewhere(t *testing.T) {
	t.Parallel()
	up, down := t.TempDir(), t.TempDir()
	registry := sadsim.New("VERO", "FALSO", sadsim.FromPopulation())
	w := dialogueWorld(t, sad.Settings{Kind: sad.KindFTP, Upload: up, Download: down, Constants: "VERO/FALSO"})
	d := w.desk("H501")
	number := w.taken(d, ask(ordinary(t, 4)))
	w.enquiry(d, number)
	w.drain("dialogue", w.g.DialogueOnce)
	if files, err := os.ReadDir(up); err != nil || len(files) != 1 || !strings.HasSuffix(files[0].Name(), ".xml") {
		t.Fatalf("%v %v", files, err)
	}
	w.must("sweep", registry.Sweep(up, down))
	w.pass(time.Hour)
	w.drain("dialogue", w.g.DialogueOnce)
	if got, err := d.Dialogue(w.ctx, number); err != nil || got.Status != gateway.DialogueAnswered || len(got.Answer.Differs) != 0 {
		t.Fatalf("%+v %v", got, err)
	}
	for _, dir := range []string{up, down} {
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("personal data stay in a folder: %v", left)
		}
	}
	// A post has no such registry, and another comune has it off.
	in := ask(ordinary(t, 5))
	in.Channel, in.Office, in.Delivery.Option = "post", "", "FOREIGN_RESIDENCE"
	there := w.desk(ordinary(t, 5).Post.Code)
	other := w.taken(there, in)
	w.enquiry(there, other)
	w.drain("dialogue", w.g.DialogueOnce)
	_, err := there.Dialogue(w.ctx, other)
	refusedAs(t, err, gateway.NotFound, "not_found")
	w.sound()
}
