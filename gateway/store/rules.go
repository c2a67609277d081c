package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"airegw/gateway"
	"airegw/policies"
)

const (
	sqlInsertRules   = `INSERT INTO rule_sets (hash, files, uploaded_by, uploaded_at, effective_at, applied_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`
	sqlInsertApprove = `INSERT INTO rule_approvals (rule_set, owner, actor_id, actor, jws, at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`
	sqlRuleSets      = `SELECT s.hash, s.uploaded_by, s.uploaded_at, s.effective_at, s.applied_at,
	COALESCE(a.owner, ''), COALESCE(a.actor, ''), COALESCE(a.jws, ''), COALESCE(a.at, 0)
FROM rule_sets s LEFT JOIN rule_approvals a ON a.rule_set = s.hash ORDER BY s.id, a.at, a.owner`
)

// sqlDecideAgain leaves alone what a worker will decide anyway after a check.
// The higher fence makes a step under way lose its commit: it was of the rules
// before.
var sqlDecideAgain = `UPDATE requests SET work_step = 'decide', work_due = $1, work_lease = 0, work_fence = work_fence + 1, work_tries = 0
WHERE work_step <> 'check' AND state IN (` + stateList(gateway.UnsignedStates()) + `)`

// SaveRuleSet implements gateway.RuleStore.
func (s *Store) SaveRuleSet(ctx context.Context, r gateway.RuleSet, files []byte, audit ...gateway.AuditEntry) error {
	if len(files) == 0 || r.Hash == "" {
		return internal("save rule set", errors.New("incomplete"))
	}
	uploader, err := json.Marshal(r.Uploader)
	if err != nil {
		return internal("encode actor", err)
	}
	entries, err := s.prepareAudit("", audit)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		err := t.auditing()
		if err != nil {
			return err
		}
		n, err := t.exec(sqlInsertRules, r.Hash, files, string(uploader), micros(r.UploadedAt), micros(r.EffectiveAt), micros(r.AppliedAt))
		if err != nil {
			return err
		}
		if n == 0 {
			return gateway.NewError(gateway.Conflict, "rules_known")
		}
		for _, a := range r.Approvals {
			err = insertApproval(t, r.Hash, a)
			if err != nil {
				return err
			}
		}
		return insertAudit(t, entries)
	})
}

// insertApproval adds an owner's word; the two unique constraints tell who had
// spoken before.
func insertApproval(t *tx, hash string, a gateway.RuleApproval) error {
	actor, err := json.Marshal(a.Actor)
	if err != nil {
		return err
	}
	n, err := t.exec(sqlInsertApprove, hash, string(a.Owner), a.Actor.ID, string(actor), a.JWS, micros(a.At))
	if err != nil || n == 1 {
		return err
	}
	var owner string
	rows, err := t.query(`SELECT owner FROM rule_approvals WHERE rule_set = $1 AND owner = $2`, hash, string(a.Owner))
	if err != nil {
		return err
	}
	found, err := one(rows, &owner)
	if err != nil {
		return err
	}
	if found {
		return gateway.NewError(gateway.Conflict, "rules_approved_already")
	}
	return gateway.NewError(gateway.Conflict, "rules_same_person")
}

// RuleSets implements gateway.RuleStore.
func (s *Store) RuleSets(ctx context.Context) ([]gateway.RuleSet, error) {
	rows, err := s.query(ctx, sqlRuleSets)
	if err != nil {
		return nil, translate("read rule sets", err)
	}
	defer rows.Close()
	var out []gateway.RuleSet
	for rows.Next() {
		var r gateway.RuleSet
		var uploader, owner, actor, jws string
		var uploaded, effective, applied, at int64
		err = rows.Scan(&r.Hash, &uploader, &uploaded, &effective, &applied, &owner, &actor, &jws, &at)
		if err != nil {
			return nil, translate("read rule sets", err)
		}
		if len(out) == 0 || out[len(out)-1].Hash != r.Hash {
			err = json.Unmarshal([]byte(uploader), &r.Uploader)
			if err != nil {
				return nil, internal("decode actor", err)
			}
			r.UploadedAt, r.EffectiveAt, r.AppliedAt = instant(uploaded), instant(effective), instant(applied)
			out = append(out, r)
		}
		if owner == "" {
			continue
		}
		a := gateway.RuleApproval{Owner: policies.Owner(owner), JWS: jws, At: instant(at)}
		err = json.Unmarshal([]byte(actor), &a.Actor)
		if err != nil {
			return nil, internal("decode actor", err)
		}
		last := &out[len(out)-1]
		last.Approvals = append(last.Approvals, a)
	}
	err = rows.Err()
	if err != nil {
		return nil, translate("read rule sets", err)
	}
	return slices.Clip(out), nil
}

// RuleFiles implements gateway.RuleStore.
func (s *Store) RuleFiles(ctx context.Context, hash string) ([]byte, error) {
	var files []byte
	found, err := s.get(ctx, `SELECT files FROM rule_sets WHERE hash = $1`, []any{hash}, &files)
	if err != nil {
		return nil, translate("read rule files", err)
	}
	if !found {
		return nil, notFound()
	}
	return files, nil
}

// ApproveRuleSet implements gateway.RuleStore.
func (s *Store) ApproveRuleSet(ctx context.Context, hash string, a gateway.RuleApproval, effective time.Time, audit ...gateway.AuditEntry) error {
	entries, err := s.prepareAudit("", audit)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		err := t.auditing()
		if err != nil {
			return err
		}
		n, err := t.exec(`UPDATE rule_sets SET effective_at = $2 WHERE hash = $1`, hash, micros(effective))
		if err != nil {
			return err
		}
		if n == 0 {
			return notFound()
		}
		err = insertApproval(t, hash, a)
		if err != nil {
			return err
		}
		return insertAudit(t, entries)
	})
}

// ApplyRuleSet implements gateway.RuleStore.
func (s *Store) ApplyRuleSet(ctx context.Context, hash string, now time.Time, audit ...gateway.AuditEntry) (int, error) {
	entries, err := s.prepareAudit("", audit)
	if err != nil {
		return 0, err
	}
	var sent int64
	err = s.write(ctx, func(t *tx) error {
		sent = 0
		err := t.auditing()
		if err != nil {
			return err
		}
		n, err := t.exec(`UPDATE rule_sets SET applied_at = $2 WHERE hash = $1 AND applied_at = 0`, hash, micros(now))
		if err != nil || n == 0 {
			return err
		}
		sent, err = t.exec(sqlDecideAgain, micros(now))
		if err != nil {
			return err
		}
		return insertAudit(t, entries)
	})
	if err != nil {
		return 0, err
	}
	return int(sent), nil
}
