package coresim

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/testharness/sim"
)

// receiver is the push side of a gateway, by the contract.
type receiver struct {
	server *sim.Server
	mu     sync.Mutex
	refuse int // answer 503 so many times
	events []map[string]any
	faults []string
	peers  map[string]bool
	came   chan struct{}
}

func newReceiver(t *testing.T, w *world, g *gatewayClient) *receiver {
	t.Helper()
	r := &receiver{peers: map[string]bool{}, came: make(chan struct{}, 1000)}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(w.core.Identity().CAPEM))
	mux := http.NewServeMux()
	mux.HandleFunc("POST /core/v1/events", func(rw http.ResponseWriter, req *http.Request) {
		text, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.peers[req.TLS.PeerCertificates[0].Subject.CommonName] = true
		if r.refuse > 0 {
			r.refuse--
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		r.events = append(r.events, g.check(text, typEvent, "", schema(t, "#/components/schemas/Event")))
		r.faults = append(r.faults, req.Header.Get(sim.FaultHeader))
		rw.WriteHeader(http.StatusNoContent)
		r.came <- struct{}{}
	})
	server, err := sim.Start("127.0.0.1:0", mux, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{g.pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.server = server
	t.Cleanup(func() { _ = server.Close() })
	err = w.core.RegisterGateway(Gateway{ID: g.id, JWKS: publicJWKS(&g.key.PublicKey, g.kid), PushURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *receiver) wait(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-r.came:
		case <-time.After(20 * time.Second):
			t.Fatal("a push did not come")
		}
	}
}

// settled waits until no push is waiting or under way, and no notice to the
// register.
func settled(t *testing.T, w *world) Ledger {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		l := w.core.Ledger()
		pending := l.Pushes.Pending > 0
		for _, n := range l.Registry {
			pending = pending || n.State == "pending"
		}
		if !pending {
			return l
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not settled: %+v", l)
		}
	}
}

func (r *receiver) seqs() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, e := range r.events {
		list = append(list, fmt.Sprint(e["seq"]))
	}
	return strings.Join(list, ",")
}

func TestEventsArePushedInOrderAndAgainUntilTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Dir: t.TempDir()})
	g := w.gateway("airegw")
	r := newReceiver(t, w, g)
	r.refuse = 2
	g.accept(example(t, "AIREOrder", "R.1"))
	if _, err := w.core.Advance(AdvanceRequest{All: true, Steps: 5}); err != nil {
		t.Fatal(err)
	}
	r.wait(t, 5)
	l := settled(t, w)
	if r.seqs() != "1,2,3,4,5" || l.Pushes.Taken != 5 || l.Pushes.Sent != 7 {
		t.Errorf("pushed %s, %+v", r.seqs(), l.Pushes)
	}
	if !r.peers[DefaultIssuer] {
		t.Errorf("the core came as %v", r.peers)
	}
}

func TestALostDoubledOrLatePushIsHealedByTheFeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	r := newReceiver(t, w, g)
	g.accept(example(t, "AIREOrder", "R.1"))
	step := func(fault string) {
		t.Helper()
		if fault != "" {
			if err := w.core.Faults().Inject(fault, 1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.core.Advance(AdvanceRequest{All: true}); err != nil {
			t.Fatal(err)
		}
		settled(t, w)
	}
	step(FaultDropPush)
	step(FaultDuplicatePush)
	step(FaultReorderPush)
	step("")
	step("")
	if r.seqs() != "2,2,4,3,5" {
		t.Errorf("pushed %s", r.seqs())
	}
	if strings.Join(r.faults, ",") != ",duplicate_push,,reorder_push," {
		t.Errorf("marks %q", r.faults)
	}
	events, _, _ := g.feed("", 10)
	if typesOf(events) != "cnsd_certified,in_production,shipped,out_for_delivery,delivered" {
		t.Errorf("feed %s", typesOf(events))
	}
}

func TestAGatewayThatIsDownDoesNotHoldTheCore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	g := w.gateway("airegw")
	r := newReceiver(t, w, g)
	if err := r.server.Close(); err != nil {
		t.Fatal(err)
	}
	g.accept(example(t, "AIREOrder", "R.1"))
	if _, err := w.core.Advance(AdvanceRequest{All: true}); err != nil {
		t.Fatal(err)
	}
	if l := settled(t, w); l.Pushes.GivenUp != 1 || l.Pushes.Taken != 0 {
		t.Errorf("%+v", l.Pushes)
	}
	if events, _, _ := g.feed("", 10); len(events) != 1 {
		t.Errorf("feed %s", typesOf(events))
	}
}

// register is door B of the register, as specs anpr-pdnd-modi §4.2 has it.
type register struct {
	mu      sync.Mutex
	answers []func(http.ResponseWriter, string) // what to do next; then all is well
	asked   []string
	texts   []string
}

func (r *register) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	envelope, _ := io.ReadAll(req.Body)
	message, err := soapAuthority().CheckRequest(envelope, testStart, nil)
	text := message.Body
	var body struct {
		Request struct {
			XMLName xml.Name
			Header  struct {
				ID        string `xml:"idOperazioneComune"`
				Operation string `xml:"operazioneRichiesta"`
			} `xml:"testataRichiesta"`
			Number string `xml:"cartaIdentita>numero"`
		} `xml:",any"`
	}
	if err == nil {
		err = xml.Unmarshal(text, &body)
	}
	q := body.Request
	if err != nil || message.Sender != "CIEONL" || q.XMLName.Space != registryNamespace || q.XMLName.Local != "Richiesta"+q.Header.Operation || req.URL.Path != registryPath {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, q.Header.Operation+" "+q.Number+" "+q.Header.ID)
	r.texts = append(r.texts, string(text[bytes.Index(text, []byte("<cie:")):]))
	if len(r.answers) > 0 {
		answer := r.answers[0]
		r.answers = r.answers[1:]
		answer(w, q.Header.Operation)
		return
	}
	writeSOAP(w, q.Header.Operation, `<cie:Risposta%s><testataRisposta><esitoOperazione>0000</esitoOperazione></testataRisposta></cie:Risposta%[1]s>`)
}

func writeSOAP(w http.ResponseWriter, operation, inner string) {
	w.Header().Set("Content-Type", "text/xml; charset=UTF-8")
	if strings.Contains(inner, "%") {
		inner = fmt.Sprintf(inner, operation)
	}
	text, err := soapAuthority().Sign(sim.SOAPOrder{Now: testStart, Body: fmt.Sprintf(
		`<cie:RispostaEsito%[1]s xmlns:cie="%[2]s">%[3]s</cie:RispostaEsito%[1]s>`, operation, registryNamespace, inner)})
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(text)
}

// soapKey is the register's and the core's: making one takes long.
var soapKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

var soapAuthority = sync.OnceValue(func() *sim.SOAPAuthority {
	a, err := sim.NewSOAPAuthority(soapKey())
	if err != nil {
		panic(err)
	}
	return a
})

func atRegister(t *testing.T) sim.SOAPIdentity {
	t.Helper()
	id, err := soapAuthority().Issue("CIEONL", "CIEONLINE", soapKey())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestTheCoreTellsTheRegisterOfNewAndAnnulledCards(t *testing.T) {
	t.Parallel()
	door := &register{answers: []func(http.ResponseWriter, string){
		func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusServiceUnavailable) },
		func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, "<html>fine</html>") },
	}}
	server := httptest.NewServer(door)
	t.Cleanup(server.Close)
	w := newWorld(t, Options{Registry: server.URL, RegistryIdentity: atRegister(t), Dir: t.TempDir()})
	g := w.gateway("airegw")
	nun := g.accept(example(t, "AIREOrder", "R.1"))
	if _, err := w.core.Advance(AdvanceRequest{All: true}); err != nil {
		t.Fatal(err)
	}
	if l := settled(t, w); len(l.Registry) != 0 {
		t.Errorf("told before production: %+v", l.Registry)
	}
	if _, err := w.core.Advance(AdvanceRequest{All: true}); err != nil {
		t.Fatal(err)
	}
	l := settled(t, w)
	if len(l.Registry) != 2 || l.Registry[0].State != "told" || l.Registry[1].State != "told" {
		t.Fatalf("%+v", l.Registry)
	}
	// Two failures, asked again with the same id; then the old card.
	if len(door.asked) != 4 || door.asked[0] != door.asked[2] || !strings.HasPrefix(door.asked[0], "CIE8 "+nun+" ") || !strings.HasPrefix(door.asked[3], "CIE7 CA00001AB ") {
		t.Errorf("asked: %q", door.asked)
	}
	if door.texts[0] != door.texts[2] || l.Registry[1].ID <= l.Registry[0].ID {
		t.Error("a repeat is another text, or the ids do not grow")
	}
	for _, part := range []string{
		"<codFiscale>RSSBNC64T70H501S</codFiscale>", "<cognome>ROSSI</cognome>", "<interdizioneEspatrio>N</interdizioneEspatrio>",
		"<comuneRilascio><nomeComune>Roma</nomeComune><codiceIstat>058091</codiceIstat></comuneRilascio>", "<dataScadenza>2036-12-30</dataScadenza>", "<dataRilascio>2026-11-21</dataRilascio>",
	} {
		if !strings.Contains(door.texts[0], part) {
			t.Errorf("%s is missing in %s", part, door.texts[0])
		}
	}

	door.mu.Lock()
	door.answers = append(door.answers, func(w http.ResponseWriter, operation string) {
		writeSOAP(w, operation, `<cie:rispostaKO><testataRisposta><esitoOperazione>XXXX</esitoOperazione></testataRisposta><listaErrori><errore><codiceErroreAnomalia>EN397</codiceErroreAnomalia><tipoErroreAnomalia>E</tipoErroreAnomalia></errore></listaErrori></cie:rispostaKO>`)
	})
	door.mu.Unlock()
	at := set(set(set(example(t, "AIREOrder", "S.1"), "channel", "post"), "office", map[string]any{"kind": "post", "code": "2830100"}), "previous_card", nil)
	g.accept(at)
	if _, err := w.core.Advance(AdvanceRequest{OrderKey: "S.1", Steps: 2}); err != nil {
		t.Fatal(err)
	}
	l = settled(t, w)
	last := l.Registry[len(l.Registry)-1]
	if len(l.Registry) != 3 || last.State != "refused" || last.Code != "EN397" {
		t.Errorf("refusal: %+v", last)
	}
	if text := door.texts[len(door.texts)-1]; !strings.Contains(text, "<codiceConsolato>2830100</codiceConsolato>") || strings.Contains(text, "comuneRilascio") {
		t.Errorf("issued at a post: %s", text)
	}
}

func TestWhatTheRegisterWasNotToldIsToldAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	down := newWorld(t, Options{Registry: "http://127.0.0.1:1", RegistryIdentity: atRegister(t), Dir: dir})
	g := down.gateway("airegw")
	g.accept(example(t, "AIREOrder", "R.1"))
	if _, err := down.core.Advance(AdvanceRequest{All: true, Steps: 2}); err != nil {
		t.Fatal(err)
	}
	before := down.core.Ledger().Registry
	if err := down.core.Close(); err != nil {
		t.Fatal(err)
	}
	door := &register{}
	server := httptest.NewServer(door)
	t.Cleanup(server.Close)
	up := newWorld(t, Options{Registry: server.URL, RegistryIdentity: atRegister(t), Dir: dir})
	after := settled(t, up).Registry
	if len(before) != 2 || len(after) != 2 || after[0].ID != before[0].ID || after[1].State != "told" {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// A rude core and a gateway that keeps to the contract: whatever is injected,
// each order is accepted once and nothing is lost.
func TestARudeCoreStillAcceptsEachOrderOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Profile: sim.Rude, Seed: 11})
	g := w.gateway("airegw")
	// insist repeats until a signed answer comes, as the contract allows for
	// keyed writes.
	insist := func(do func() (reply, error)) reply {
		for range 100 {
			r, err := do()
			if err == nil && r.body != nil {
				return r
			}
		}
		t.Fatal("no clear answer in a hundred tries")
		return reply{}
	}
	const orders = 40
	for i := range orders {
		key := fmt.Sprintf("RUDE%d.1", i)
		body := example(t, "AIREOrder", key)
		p := insist(func() (reply, error) { return g.post("/v1/orders", key, key, body, false) })
		nun := p.str("nun")
		insist(func() (reply, error) {
			return g.post("/v1/orders/{key}/forms-confirmed", key, "", map[string]any{
				"order_key": key, "nun": nun, "confirmed_at": "2026-11-21T10:00:00Z", "prints": 1, "actor": testActor(),
			}, false)
		})
		r := insist(func() (reply, error) {
			return g.post("/v1/orders/{key}/submission", key, "", submissionOf(key, nun, p.str("prepare_digest")), false)
		})
		if r.status != http.StatusOK || r.str("order_key") != key {
			t.Errorf("%s: %d %v", key, r.status, r.body)
		}
	}
	l := w.core.Ledger()
	if len(l.Acceptances) != orders || len(l.Violations) != 0 {
		t.Errorf("%d acceptances, %v", len(l.Acceptances), l.Violations)
	}
	for key, n := range l.Acceptances {
		if n != 1 {
			t.Errorf("%s accepted %d times", key, n)
		}
	}
	if w.core.Faults().Total() == 0 {
		t.Error("a rude core that injected nothing")
	}
	t.Logf("%d faults injected", w.core.Faults().Total())
}

func FuzzOpenMessage(f *testing.F) {
	g := &gatewayClient{t: f, id: "airegw", core: DefaultIssuer, key: newKey(f), kid: "k", now: func() time.Time { return testStart }}
	text, _ := g.message(typPrepare, map[string]any{"order_key": "R.1"}, nil)
	f.Add(text)
	f.Add([]byte("e30.e30." + strings.Repeat("A", 86)))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		jws, h, c, err := openMessage(text, typPrepare)
		if err != nil {
			return
		}
		if jws == nil || h.Alg != "ES256" || h.Typ != typPrepare || c.Iss == "" || c.Exp <= c.Iat || len(c.Body) == 0 {
			t.Errorf("taken: %+v %+v", h, c)
		}
	})
}

func FuzzDecodeBody(f *testing.F) {
	for _, name := range []string{"ResidentOrder", "AIREOrder"} {
		text, err := marshal(example(f, name, "R.1"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"order_key":null}`))
	f.Add([]byte(`{"order_key":"a","order_key":"b"}`))
	f.Add([]byte(`{"captures":{"fingerprint_refs":[{"quality":1e3}]}}`))
	prepare := schema(f, "#/components/schemas/PrepareOrder")
	f.Fuzz(func(t *testing.T, text []byte) {
		var b prepareBody
		plain, r := decodeBody(text, &b)
		if r != nil {
			if len(r.Errors) > 100 || r.Status != 422 {
				t.Errorf("%+v", r)
			}
			return
		}
		again, err := canonical(plain)
		if err != nil || string(again) != string(plain) {
			t.Errorf("the canonical form of %s is %s (%v)", plain, again, err)
		}
		if b.validate("2026-11-21") != nil {
			return
		}
		v, err := parsePlain(plain)
		if err != nil {
			t.Fatal(err)
		}
		if err := prepare.VisitJSON(v); err != nil {
			t.Errorf("taken against the contract: %v", err)
		}
	})
}

func FuzzRegistryAnswer(f *testing.F) {
	rec := httptest.NewRecorder()
	writeSOAP(rec, "CIE8", `<cie:Risposta%s><testataRisposta><esitoOperazione>0000</esitoOperazione></testataRisposta></cie:Risposta%[1]s>`)
	f.Add(rec.Body.Bytes())
	f.Add([]byte(`<html>200</html>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		state, _, err := readRegistryAnswer(text, "CIE8")
		if (err == nil) == (state == "") {
			t.Errorf("state %q, %v", state, err)
		}
	})
}

func TestALedgerThatIsDamagedIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, Options{Dir: dir})
	w.gateway("airegw").accept(example(t, "AIREOrder", "R.1"))
	if err := w.core.Close(); err != nil {
		t.Fatal(err)
	}
	path := dir + "/ledger.jsonl"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 0x20
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Dir: dir}); !errors.Is(err, sim.ErrJournalCorrupt) {
		t.Errorf("damaged: %v", err)
	}
}

// A copy of the folder, taken the moment an answer is here, is what a kill
// would leave.
func TestEveryAnswerIsInTheLedgerBeforeItIsGiven(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, Options{Dir: dir})
	g := w.gateway("airegw")
	left := func() OrderLine {
		t.Helper()
		grave := t.TempDir()
		if err := os.CopyFS(grave, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		again, err := New(Options{Dir: grave, Clock: sim.NewManual(testStart)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = again.Close() }()
		if again.halves == nil || string(again.halves) != string(w.core.halves) {
			t.Error("the halves would be others")
		}
		orders := again.Ledger().Orders
		if len(orders) != 1 {
			t.Fatalf("%d orders are left", len(orders))
		}
		return orders[0]
	}
	p := g.prepare(example(t, "AIREOrder", "R.1"))
	if o := left(); o.NUN != p.str("nun") || o.State != statePrepared {
		t.Errorf("prepared: %+v", o)
	}
	g.confirm("R.1", p.str("nun"))
	if o := left(); o.State != stateConfirmed {
		t.Errorf("confirmed: %+v", o)
	}
	r := g.submit("R.1", p.str("nun"), p.str("prepare_digest"))
	if o := left(); o.State != stateAccepted || o.ReceiptID != r.str("receipt_id") || len(o.Next) != 5 {
		t.Errorf("accepted: %+v", o)
	}
	if _, err := w.core.Advance(AdvanceRequest{All: true}); err != nil {
		t.Fatal(err)
	}
	if o := left(); o.State != stateCertified || len(o.Next) != 4 {
		t.Errorf("certified: %+v", o)
	}
	g.cancel("R.1", "cancel-0001")
	if o := left(); o.State != stateCancelled || o.Live || len(o.Next) != 0 {
		t.Errorf("cancelled: %+v", o)
	}
}
