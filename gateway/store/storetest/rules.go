package storetest

import (
	"testing"
	"time"

	"airegw/gateway"
	"airegw/policies"
)

const draftHash = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

func (b *bench) approval(owner policies.Owner, who string) gateway.RuleApproval {
	return gateway.RuleApproval{
		Owner: owner, JWS: "a..b", At: b.clock.Now(),
		Actor: gateway.Actor{Kind: gateway.ActorOperator, ID: who, Role: gateway.RoleOwnerInterior},
	}
}

func ruleSetsKept(t *testing.T, b *bench) {
	t.Helper()
	set := gateway.RuleSet{Hash: draftHash, Uploader: gateway.Actor{Kind: gateway.ActorOperator, ID: "x"}, UploadedAt: b.clock.Now(), EffectiveAt: b.clock.Now()}
	audit := gateway.AuditEntry{At: b.clock.Now(), Actor: set.Uploader, Act: "rules_uploaded", Subject: set.Hash}
	must(t, b.SaveRuleSet(b.ctx, set, []byte{0, 1, 255}, audit))
	wantKind(t, b.SaveRuleSet(b.ctx, set, []byte("other"), audit), gateway.Conflict, "rules_known")
	files, err := b.RuleFiles(b.ctx, draftHash)
	if err != nil || string(files) != "\x00\x01\xff" {
		t.Errorf("files %x, %v", files, err)
	}
	_, err = b.RuleFiles(b.ctx, "sha256:unknown")
	wantKind(t, err, gateway.NotFound, "not_found")

	later := b.clock.Now().Add(time.Hour)
	wantKind(t, b.ApproveRuleSet(b.ctx, "sha256:unknown", b.approval(policies.OwnerInterior, "a"), later), gateway.NotFound, "not_found")
	must(t, b.ApproveRuleSet(b.ctx, draftHash, b.approval(policies.OwnerInterior, "a"), later))
	wantKind(t, b.ApproveRuleSet(b.ctx, draftHash, b.approval(policies.OwnerInterior, "b"), later.Add(1)), gateway.Conflict, "rules_approved_already")
	wantKind(t, b.ApproveRuleSet(b.ctx, draftHash, b.approval(policies.OwnerMAECI, "a"), later.Add(1)), gateway.Conflict, "rules_same_person")
	sets, err := b.RuleSets(b.ctx)
	if err != nil || len(sets) != 1 || len(sets[0].Approvals) != 1 || sets[0].Approved() || !sets[0].EffectiveAt.Equal(later) {
		t.Fatalf("%+v %v", sets, err)
	}
	must(t, b.ApproveRuleSet(b.ctx, draftHash, b.approval(policies.OwnerMAECI, "b"), later))
	sets, err = b.RuleSets(b.ctx)
	if err != nil || len(sets) != 1 || !sets[0].Approved() || sets[0].Approvals[1].Actor.ID != "b" || sets[0].Uploader.ID != "x" {
		t.Fatalf("%+v %v", sets, err)
	}
}

func rulesDecideAgain(t *testing.T, b *bench) {
	t.Helper()
	set := gateway.RuleSet{Hash: draftHash, Uploader: gateway.Actor{ID: "x"}, UploadedAt: b.clock.Now()}
	must(t, b.SaveRuleSet(b.ctx, set, []byte("files")))
	// One that waits for its check is decided after it anyway, one that was
	// checked is sent again, a refused one is nobody's any more.
	b.create(t, 1, castello)
	checked, refused := b.create(t, 2, castello), b.create(t, 3, castello)
	for r, to := range map[*gateway.NewRequest]gateway.State{&checked: gateway.StatePrechecked, &refused: gateway.StateRefused} {
		c := b.change(*r, gateway.EventAligned, to)
		if to == gateway.StateRefused {
			c = b.change(*r, gateway.EventRefused, to)
		}
		c.Work = &gateway.Work{}
		must(t, b.Commit(b.ctx, c))
	}
	n, err := b.ApplyRuleSet(b.ctx, draftHash, b.clock.Now())
	if err != nil || n != 1 {
		t.Errorf("%d requests are decided again, want 1: %v", n, err)
	}
	n, err = b.ApplyRuleSet(b.ctx, draftHash, b.clock.Now())
	if err != nil || n != 0 {
		t.Errorf("applied twice: %d, %v", n, err)
	}
	tasks, err := b.ClaimWork(b.ctx, b.clock.Now(), time.Minute, 10)
	steps := map[string]gateway.Step{}
	for _, task := range tasks {
		steps[task.RequestID] = task.Step
	}
	if err != nil || len(steps) != 2 || steps[checked.ID] != gateway.StepDecide {
		t.Errorf("%v %v", steps, err)
	}
	sets, err := b.RuleSets(b.ctx)
	if err != nil || !sets[0].AppliedAt.Equal(b.clock.Now()) || !sets[0].EffectiveAt.IsZero() {
		t.Errorf("%+v %v", sets, err)
	}
}
