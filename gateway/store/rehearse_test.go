package store_test

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/anpr"
	"airegw/gateway"
	"airegw/gateway/login"
	"airegw/gateway/store"
)

// elsewhere are writes that no rehearsal meets, with the reason.
var elsewhere = map[string]string{
	"sealBlock": "one INSERT; TestTheSealerChainsOnItsOwn and the failpoint seal.block",
	"rawInsert": "of the bench",
	"rotate":    "needs two keys; TestEveryColumnMovesToTheNewestKeyAndTheOldOneCanGo fails its statements",
}

// rehearsedEverywhere fails for each function of the package that writes and
// whose writes were not rehearsed on an engine: see Rehearse. The engine's own
// contract test calls it once all of its parts have run.
func rehearsedEverywhere(t *testing.T, engine string) {
	t.Helper()
	if f := flag.Lookup("test.run"); f != nil && strings.Contains(f.Value.String(), "/") {
		t.Log("a part of the suite was asked for: whether every write is rehearsed is not judged")
		return
	}
	have := map[string]bool{}
	for name := range store.Rehearsed(engine) {
		have[name[strings.LastIndexByte(name, '.')+1:]] = true
	}
	for _, name := range writers(t) {
		if elsewhere[name] == "" && !have[name] {
			t.Errorf("%s: no test rehearses the write of %s: call it from package storetest or from otherWrites", engine, name)
		}
	}
}

// writers answers the functions of the package that call write.
func writers(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if ok && sel.Sel.Name == "write" && len(call.Args) == 2 && !slices.Contains(names, f.Name.Name) && !isPostgresPen(sel) {
					names = append(names, f.Name.Name)
				}
				return true
			})
		}
	}
	if len(names) < 20 {
		t.Fatalf("only %v write", names)
	}
	return names
}

// isPostgresPen says that the call is one of s.pg.write, which is below write.
func isPostgresPen(sel *ast.SelectorExpr) bool {
	inner, ok := sel.X.(*ast.SelectorExpr)
	return ok && inner.Sel.Name == "pg"
}

// otherWrites calls the writes that package storetest does not know.
func otherWrites(t *testing.T, s *store.Store) {
	ctx := t.Context()
	s.Rehearse(t)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	office := gateway.Office{Kind: gateway.OfficeComune, Code: "054013"}
	must("PutClient", s.PutClient(ctx, store.Client{ID: "client-1", Office: office, JWKS: []byte(`{"keys":[]}`)}))
	must("RevokeClient", s.RevokeClient(ctx, "client-1"))
	must("UseJTI", s.UseJTI(ctx, "jti-1", noon.Add(time.Hour)))
	must("Revoke", s.Revoke(ctx, "operator", "op-1"))
	must("Reinstate", s.Reinstate(ctx, "operator", "op-1"))
	must("BeginLogin", s.BeginLogin(ctx, login.Attempt{
		Reference: "AAAA-1", Door: login.DoorCitizen, State: "state-1", CreatedAt: noon, ExpiresAt: noon.Add(time.Hour),
	}, loginRecord(login.RecordAuthenticationRequest, `{}`)))
	must("RecordLogin", s.RecordLogin(ctx, "AAAA-1", []login.Record{loginRecord(login.RecordTrustChain, `["c"]`)},
		gateway.AuditEntry{At: noon, Act: "login_failed", Subject: "AAAA-1", Payload: map[string]string{"a": "b"}}))
	must("CompleteLogin", s.CompleteLogin(ctx, login.Completed{
		Reference: "AAAA-1", Once: []string{"jti"}, OnceUntil: noon.Add(time.Minute),
		Token:   &login.HeldToken{Login: "AAAA-1", Token: "t", ExpiresAt: noon.Add(time.Minute)},
		Records: []login.Record{loginRecord(login.RecordOutcome, `{}`)},
	}))
	must("ForgetToken", s.ForgetToken(ctx, "AAAA-1", loginRecord(login.RecordOutcome, `{}`)))
	worker := gateway.Actor{Kind: gateway.ActorWorker, ID: "retention"}
	q := s.Quota()
	must("Stop", q.Stop(ctx, anpr.Stop{Service: "C030", Code: "EN001", Since: noon, Until: noon.Add(time.Hour), ProbeAt: noon.Add(time.Minute)}))
	_, err := q.Probe(ctx, "C030", noon.Add(time.Minute), noon.Add(2*time.Minute))
	must("Probe", err)
	must("Resume", q.Resume(ctx, "C030"))
	note := gateway.SessionNote{ID: "s-1", Owner: "o-1", StartedAt: noon, ExpiresAt: noon.Add(time.Hour)}
	must("NoteSession", s.NoteSession(ctx, note, ""))
	note.ID = "s-2"
	must("NoteSession", s.NoteSession(ctx, note, "s-1"))
	must("KeepSession", s.KeepSession(ctx, "s-2", noon.Add(2*time.Hour)))
	must("EndSession", s.EndSession(ctx, "o-1", "s-2"))
	must("CommitCtx", s.Sessions().CommitCtx(ctx, "token", []byte("data"), noon.Add(-time.Hour)))
	_, _, err = s.Retain(ctx, gateway.Retention{}, noon, worker)
	must("Retain", err)
	must("SaveCardNotice", s.SaveCardNotice(ctx, gateway.CardNotice{
		Source: "questura", ID: "notice-1", Kind: gateway.CardLost, Card: "CA00000AA", HappenedAt: noon,
	}, []byte("signed"), noon, gateway.AuditEntry{At: noon, Act: "card_noticed"}))
	must("CommitCtx", s.Sessions().CommitCtx(ctx, "token-2", []byte("data"), noon.Add(time.Hour)))
	must("DeleteCtx", s.Sessions().DeleteCtx(ctx, "token-2"))
	must("Audit", s.Audit(ctx, gateway.AuditEntry{At: noon, Act: "look"}, gateway.AuditEntry{At: noon, Act: "look", Payload: map[string]string{"a": "b"}}))
	_, _, err = s.Retain(ctx, gateway.Retention{Audit: time.Minute, Dossier: time.Minute}, noon.Add(time.Hour), worker)
	must("Retain", err)
}
