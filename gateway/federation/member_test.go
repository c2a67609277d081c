package federation

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"airegw/gateway/jose"
)

// joined is a member of a site's federation, its keys known to the anchor.
func joined(t *testing.T, now *time.Time, change ...func(*Settings)) (*Member, *site) {
	t.Helper()
	s := newSite(t)
	announce(t, s.op, s.opMark)
	dir := t.TempDir()
	keys, err := LoadKeys(filepath.Join(keysDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	pins := filepath.Join(dir, "pins.json")
	if err := os.WriteFile(pins, mustJSON(t, jwksOf(taKey)), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := Settings{
		ID: s.base + "/gw", Organization: "Comune di Prova", HomepageURI: s.base, PolicyURI: s.base + "/privacy",
		Contacts: []string{"ente@pec.example.test"}, RedirectURIs: []string{s.base + "/gw/callback"},
		Keys: filepath.Join(keysDir(), "keys"), Anchor: s.anchor.ID, AnchorKeys: pins, Provider: s.base + "/op", RequireMark: true,
	}
	for _, c := range change {
		c(&settings)
	}
	m, err := Open(settings, Options{Clock: func() time.Time { return *now }, Rand: func() float64 { return 0.5 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	about := statementOf(s.anchor.ID, s.base+"/gw", taKey, keys.Federation, 30*time.Minute)
	about.claims["metadata_policy"] = object{TypeRelyingParty: object{"jwks": object{"value": jwksOf(keys.CoreSign, keys.CoreEncrypt)}}}
	mark := markOf(s.anchor.ID, s.anchor.ID+"/openid_relying_party/public", s.base+"/gw")
	about.claims["trust_marks"] = []any{object{"id": mark.claims["id"], "trust_mark": mark.sign(t)}}
	gw, op := about.sign(t), s.taOP.sign(t)
	s.answer["/ta/fetch"] = func(w http.ResponseWriter, r *http.Request) {
		body := op
		if r.URL.Query().Get("sub") == s.base+"/gw" {
			body = gw
		}
		statementAnswer(body)(w, r)
	}
	return m, s
}

func TestAMemberLivesThroughADayWithItsProvider(t *testing.T) {
	t.Parallel()
	now := testNow
	m, s := joined(t, &now)
	if _, _, err := m.Provider(); CodeOf(err) != CodeUnavailable {
		t.Fatalf("before anything was fetched: %v", err)
	}
	next := m.Chain.Step(t.Context())
	if marks := m.StepMarks(t.Context()); !marks.Equal(now.Add(24*time.Hour)) || m.MarkError() != nil {
		t.Fatalf("marks again at %s: %v", marks, m.MarkError())
	}
	p, c, err := m.Provider()
	if err != nil {
		t.Fatal(err)
	}
	if p.Issuer != s.base+"/op" || !c.ExpiresAt.Equal(testNow.Add(30*time.Minute)) || len(c.Marks) != 1 || !next.Before(c.ExpiresAt) {
		t.Fatalf("%+v, %+v, next %s", p, c, next)
	}

	a, err := m.Configuration(m.Entity)
	if err != nil || a.Status != 200 || a.ContentType != MediaTypeStatement {
		t.Fatalf("%+v, %v", a, err)
	}
	if payloadOf(t, a.Body)["trust_marks"] == nil {
		t.Error("our mark is not announced")
	}
	asked := len(s.asked)
	known := m.Resolve(m.Entity, url.Values{"sub": {s.base + "/op"}, "anchor": {s.anchor.ID}})
	other := m.Resolve(m.Entity, url.Values{"sub": {s.base + "/sa"}, "anchor": {s.anchor.ID}})
	if known.Status != 200 || other.Status != 404 || len(s.asked) != asked {
		t.Errorf("%d, %d; %d calls for a stranger", known.Status, other.Status, len(s.asked)-asked)
	}

	// The provider turns into one we cannot work with: the good chain stays to
	// its end, then nothing.
	s.mu.Lock()
	s.op.claims["metadata"].(object)[TypeProvider].(object)["token_endpoint_auth_methods_supported"] = []any{"client_secret_basic"}
	s.mu.Unlock()
	for now = next; now.Before(c.ExpiresAt); now = now.Add(time.Minute) {
		m.Chain.Step(t.Context())
		if _, _, err := m.Provider(); err != nil {
			t.Fatalf("at %s: %v", now, err)
		}
	}
	if got := m.Chain.Status(); CodeOf(got.LastError) != CodeProvider {
		t.Errorf("%+v", got)
	}
	now = c.ExpiresAt
	var u *Unavailable
	if _, _, err := m.Provider(); !errors.As(err, &u) {
		t.Fatalf("past its end: %v", err)
	}
	if a := m.Resolve(m.Entity, url.Values{"sub": {s.base + "/op"}, "anchor": {s.anchor.ID}}); a.Status != 503 {
		t.Errorf("%d", a.Status)
	}
}

func TestAMemberWhoseSettingsAreNotUsableIsNotOpened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pins, err := json.Marshal(jose.NewKeySet(taKey.Public()))
	if err != nil {
		t.Fatal(err)
	}
	good := Settings{Provider: opID, Anchor: taID, AnchorKeys: write("pins", string(pins)), Keys: filepath.Join(dir, "none")}
	options := Options{Clock: time.Now, Rand: func() float64 { return 0 }}
	for want, spoil := range map[Code]func(s *Settings, o *Options){
		CodeKeyFile: func(*Settings, *Options) {},
		CodeKeys:    func(s *Settings, _ *Options) { s.AnchorKeys = write("empty", `{"keys":[]}`) },
		CodeConfig:  func(s *Settings, _ *Options) { s.Provider = "op" },
	} {
		s, o := good, options
		spoil(&s, &o)
		if _, err := Open(s, o); CodeOf(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	s := good
	s.AnchorKeys = filepath.Join(dir, "missing")
	if _, err := Open(s, options); CodeOf(err) != CodeConfig {
		t.Errorf("%v", err)
	}
	if _, err := Open(good, Options{}); CodeOf(err) != CodeConfig {
		t.Errorf("%v", err)
	}
}

func TestARolledKeyIsPublishedAndOpensUntilItsFolderLeavesTheList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before := filepath.Join(dir, "before")
	old, err := GenerateKeys(before)
	if err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(dir, "part")
	if err := os.Mkdir(part, 0o700); err != nil {
		t.Fatal(err)
	}
	encrypt, err := jose.GenerateKey(jose.RSAOAEP256)
	if err != nil {
		t.Fatal(err)
	}
	if err := jose.SaveKey(filepath.Join(part, FileCoreEncrypt), encrypt); err != nil {
		t.Fatal(err)
	}
	now := testNow
	m, _ := joined(t, &now, func(s *Settings) { s.FormerKeys = []string{before, part, s.Keys} })
	kids := func(v any) map[string]bool {
		out := map[string]bool{}
		set, err := keysOf(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range set.Keys() {
			out[k.KID()] = true
		}
		return out
	}
	compact, err := m.Entity.Configuration(now)
	if err != nil {
		t.Fatal(err)
	}
	claims := payloadOf(t, compact)
	top := kids(claims["jwks"])
	core := kids(claims["metadata"].(object)[TypeRelyingParty].(object)["jwks"])
	current := m.Entity.Keys()
	if len(top) != 2 || !top[old.Federation.KID()] || !top[current.Federation.KID()] {
		t.Errorf("federation keys %v", top)
	}
	// Former encryption keys are not published: nobody is to use them any more.
	if len(core) != 3 || !core[old.CoreSign.KID()] || !core[current.CoreSign.KID()] || !core[current.CoreEncrypt.KID()] {
		t.Errorf("protocol keys %v", core)
	}
	open := m.Entity.DecryptionKeys()
	if len(open) != 3 || open[0].KID() != current.CoreEncrypt.KID() || open[1].KID() != old.CoreEncrypt.KID() || open[2].KID() != encrypt.KID() {
		t.Errorf("%d keys open answers", len(open))
	}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := loadFormer([]string{empty}, current); CodeOf(err) != CodeKeyFile {
		t.Errorf("a folder without keys: %v", err)
	}
	if err := os.Chmod(filepath.Join(part, FileCoreEncrypt), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadFormer([]string{part}, current); CodeOf(err) != CodeKeyFile {
		t.Errorf("a former key that others may read: %v", err)
	}
}
